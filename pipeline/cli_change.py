"""The commands that change a cache: its products, labels, licences, overlays. `pipeline.cli` registers them."""

from pathlib import Path
from typing import Annotated

import typer

from cache_schema import spec, store
from cache_schema.class_lists import CLASS_LISTS
from cache_schema.errors import UserError
from cache_schema.terminal import counted
from pipeline.cli_make import print_outcome
from pipeline.cli_options import Batch, CachePath, Device, Json, Overlay, Scheduler, Workers
from pipeline.describe import human, product_bytes
from pipeline.terminal import print_json, progress, say


def remove(
    cache: CachePath,
    names: Annotated[list[str], typer.Argument(metavar="PRODUCT...", help="Names from `mmpd-cache info`, such as image/clip-vit-b32.")],
    dependants: Annotated[bool, typer.Option("--with-dependants", help="Remove the products that are made from them, too.")] = False,
    for_good: Annotated[bool, typer.Option("--for-good", help="Remove points or views although no command can make them again.")] = False,
    as_json: Json = False,
) -> None:
    """Remove products from a cache, finished or not. The files are gone for good.

    A product that others are made from is only removed together with them. A training that has opened the cache goes on with what it has
    mapped into memory, and stops if it needs more of a product that is gone.

    \b
    mmpd-cache remove out.zarr image/dinov2-small
    mmpd-cache remove out.zarr captions/blip2-opt-2.7b --with-dependants
    """
    from pipeline.edits import remove as remove_products

    with progress() as terminal:
        gone = remove_products(cache, names, dependants, terminal, for_good=for_good)
    say(f"{cache} no longer has {', '.join(gone)}.")
    if as_json:
        print_outcome(cache, store.open_cache(cache), {"removed": gone})


def relabel(
    cache: CachePath,
    file: Annotated[
        Path, typer.Argument(metavar="FILE.csv", help="Table with the column id, and any of class, split and name.", show_default=False)
    ],
    as_json: Json = False,
) -> None:
    """Give shapes other classes, splits or names. Nothing is built again.

    The first line of FILE.csv names the columns; the others have an id from the cache and what it gets. An empty class or split means
    none. Shapes that are not in the file stay as they are. Classes and splits that are new come after the others, and none is dropped.
    The cache notes which columns no longer are what its source says. With new names (ids) files are no longer found, so `retry` refuses.

    \b
    mmpd-cache relabel out.zarr labels.csv        # id,class,split / chairs/0001.obj,chair,test / ...
    """
    from pipeline.edits import relabel as relabel_shapes

    with progress() as terminal:
        done = relabel_shapes(cache, file, terminal)
    if as_json:
        print_json({"changed": done.changed, "notes": list(done.notes)})
        return
    for column, count in done.changed.items():
        say(f"{count} shape{'s' * (count != 1)} with another {column}.")
    for note in done.notes:
        say(f"Note: {note}")


def add_teacher(
    cache: CachePath,
    name: Annotated[str, typer.Argument(metavar="TEACHER", help="A name from `mmpd-cache teachers`, or BACKEND:MODEL.")],
    precision: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.", show_default=False)] = None,
    licence: Annotated[
        str, typer.Option(help="Licence of the weights, if the model's card says none or another.", show_default=False)
    ] = "",
    batch: Batch = 64,
    scheduler: Scheduler = "",
    device: Device = "auto",
    overlay: Overlay = None,
) -> None:
    """Embed the stored pictures, captions and label sets with another teacher. All else in the cache stays unchanged.

    \b
    mmpd-cache add-teacher out.zarr dinov2-small
    mmpd-cache add-teacher out.zarr open_clip:ViT-L-14/laion2b_s32b_b82k
    mmpd-cache add-teacher out.zarr mine=transformers:./my-siglip
    """
    from cache_schema.overlay import laid
    from pipeline import embedding
    from pipeline.work import Machine

    with laid(cache, overlay) as path, progress() as terminal:
        machine = Machine(scheduler=scheduler, device=device)
        record = embedding.add_teacher(path, name, precision, batch, machine, terminal, licence)
    say(f"{path} now has {record.product}.")


def add_dense(
    cache: CachePath,
    name: Annotated[str, typer.Argument(metavar="TEACHER", help="A name from `mmpd-cache teachers`, or BACKEND:MODEL.")],
    blocks: Annotated[int, typer.Option(min=0, help="Number of leading blocks of each shape that get features; 0 for all.")] = 1,
    groups: Annotated[int, typer.Option(min=1, help="Number of groups in a block: as many as the encoder has tokens, or more.")] = 64,
    group_size: Annotated[int, typer.Option(min=1, help="Number of points in a group.")] = 32,
    source: Annotated[
        str, typer.Option(help="Where the shapes are now, if they have moved and depth has to be drawn.", show_default=False)
    ] = "",
    precision: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.", show_default=False)] = None,
    batch: Batch = 64,
    workers: Workers = 0,
    scheduler: Scheduler = "",
    device: Device = "auto",
    as_json: Json = False,
    overlay: Overlay = None,
) -> None:
    """Carry a teacher's patch features of the stored pictures to the points: dense/TEACHER. All else in the cache stays unchanged.

    A point gets the mean of the patches in which it is seen, a group of points the mean of its points. Training aligns tokens with them by
    --set align.local_weight=1. Size and time are told first. Depth tells which points a picture shows. If the cache stores none (the
    default), depth is drawn again from the files of the shapes, which must be unchanged, and is not kept. With --set views.depth=true,
    build stores it.

    \b
    mmpd-cache add-dense out.zarr starter-attributes
    mmpd-cache add-dense out.zarr clip-vit-b32 --blocks 4 --source /moved/meshes
    """
    from cache_schema.overlay import laid
    from pipeline import embedding
    from pipeline.recipes import DenseConfig
    from pipeline.work import Machine

    how = DenseConfig(blocks=blocks, groups=groups, group_size=group_size)
    with laid(cache, overlay) as path, progress() as terminal:
        machine = Machine(workers=workers, scheduler=scheduler, device=device)
        record = embedding.add_dense(path, name, how, precision, batch, machine, terminal, source)
    size = product_bytes(store.open_cache(path), record)
    if as_json:
        print_json({"product": record.product, "bytes": size, **spec.to_json(record)})
        return
    say(f"{path} now has {record.product}, {human(size)}.")


def add_captioner(
    cache: CachePath,
    name: Annotated[
        str, typer.Argument(metavar="CAPTIONER", help="A name from `mmpd-cache captioners`, or MINE=NAME to call its captions MINE.")
    ],
    batch: Batch = 16,
    source: Annotated[
        str, typer.Option(help="Where the shapes are now, if they have moved and the captions are of what is stated.", show_default=False)
    ] = "",
    scheduler: Scheduler = "",
    device: Device = "auto",
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="B=C", help="Change one setting of the captioner. Repeatable.", show_default=False)
    ] = None,
    overlay: Overlay = None,
) -> None:
    """Write captions of the stored pictures, or of what the source states about the shapes, and embed them with every teacher that reads
    text.

    All else in the cache stays unchanged. To choose the captions for training, one set or a mix: mmpd-train align ... --set
    data.captions=a,b

    \b
    mmpd-cache add-captioner out.zarr template
    mmpd-cache add-captioner out.zarr descriptions
    mmpd-cache add-captioner out.zarr blip2-opt-2.7b --set samples=10 --set rank_by=clip-vit-b32
    mmpd-cache add-captioner out.zarr mine=blip2-opt-2.7b --set model=./my-blip2
    mmpd-cache add-captioner out.zarr qwen=http-shape --set server.address=http://localhost:8000/v1 --set model=Qwen/Qwen2.5-VL-7B-Instruct
    """
    from cache_schema.overlay import laid
    from pipeline import captioning
    from pipeline.captioners.catalog import asked
    from pipeline.work import Machine

    with laid(cache, overlay) as path, progress() as terminal:
        machine = Machine(scheduler=scheduler, device=device)
        record = captioning.add_captioner(path, asked(name, set_ or []), batch, machine, terminal, source)
    say(f"{path} now has {record.product}.")


def import_captions(
    cache: CachePath,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Captions by id: .csv, .json, .jsonl, .parquet or a pickled dict; also .gz.")
    ],
    name: Annotated[str, typer.Option(help="Name of the captions in the cache: captions/NAME.")],
    author: Annotated[str, typer.Option(help="Who or what wrote them.", show_default=False)] = "",
    most: Annotated[int, typer.Option(min=1, help="Largest number of captions of a shape that are kept.")] = 10,
    missing: Annotated[str, typer.Option(help="What to do if shapes have no caption: fail, or status, which lists them.")] = "fail",
    embed: Annotated[bool, typer.Option("--embed/--no-embed", help="Embed them with every teacher of the cache that reads text.")] = True,
    batch: Batch = 64,
    device: Device = "auto",
) -> None:
    """Store captions of other people, such as Cap3D's, and embed them with every teacher that reads text.

    Ids are compared exactly with the ids of the shapes. What does not match is counted and named. A file is never executed.

    \b
    mmpd-cache import-captions out.zarr Cap3D_automated_Objaverse_full.csv --name cap3d
    mmpd-cache import-captions out.zarr texts.jsonl --name mine --missing status --no-embed
    """
    from pipeline import captioning
    from pipeline.importing import Captions
    from pipeline.sources.options import choice
    from pipeline.work import Machine

    asked = Captions(name=name, author=author, most=most, missing=choice("--missing", missing, ("fail", "status")))
    with progress() as terminal:
        record = captioning.import_captions(cache, file, asked, batch, Machine(device=device), terminal, embed=embed)
    say(f"{cache} now has {record.product}.")


def import_embeddings(
    cache: CachePath,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Embeddings with ids: .npz, .npy, .safetensors, .h5, .parquet or a pickled dict.")
    ],
    teacher: Annotated[str, typer.Option(help="Name of the teacher in the cache.")],
    kind: Annotated[str, typer.Option(help="What was embedded: image (pictures of shapes), text (captions) or labels (class names).")],
    model: Annotated[str, typer.Option(help="The model that made them, as their authors tell it.", show_default=False)] = "",
    text_side: Annotated[bool, typer.Option("--text-side/--no-text-side", help="Whether this model also reads texts.")] = True,
    key: Annotated[str, typer.Option(help="Name of the array in the file; needed if there are several.", show_default=False)] = "",
    ids: Annotated[Path | None, typer.Option(help="File with the ids, if the first file has none.", show_default=False)] = None,
    captions: Annotated[str, typer.Option(help="For text: the captions of the cache that were embedded.", show_default=False)] = "",
    labels: Annotated[
        str, typer.Option(help="For labels: name of the label set; source for the cache's own classes.", show_default=False)
    ] = "",
    template: Annotated[
        list[str] | None, typer.Option(help="For labels: a sentence with {} for the class. Repeatable.", show_default=False)
    ] = None,
    missing: Annotated[str, typer.Option(help="What to do if shapes are not in the file: fail, or status, which lists them.")] = "fail",
    as_json: Json = False,
) -> None:
    """Store embeddings that others have computed. The cache marks them as imported, and so does every result of a training on them.

    A file holds an array [N, E] (an embedding of each shape) or [N, V, E] (of V views or texts) and N ids, or an array under each id.
    NaN, zeros, ids that are there twice and shapes that are not in the file are refused. Nothing in a file is executed.

    \b
    mmpd-cache import-embeddings out.zarr clip.npz --teacher clip --kind image --model "OpenAI CLIP ViT-B/32"
    mmpd-cache import-embeddings out.zarr texts.npz --teacher clip --kind text --captions cap3d --model "OpenAI CLIP ViT-B/32"
    mmpd-cache import-embeddings out.zarr cat_name_pt_feat.npy --teacher openclip-bigg14 --kind labels --labels modelnet40
    """
    from pipeline.importing import Embeddings
    from pipeline.importing import import_embeddings as bring
    from pipeline.sources.options import choice

    asked = Embeddings(
        teacher=teacher,
        kind=choice("--kind", kind, ("image", "text", "labels")),
        model=model,
        text_side=text_side,
        key=key,
        ids=ids,
        captions=captions,
        labels=labels,
        templates=tuple(template or ()),
        missing=choice("--missing", missing, ("fail", "status")),
    )
    with progress() as terminal:
        record = bring(cache, file, asked, terminal)
    if as_json:
        print_json({"product": record.product, "fingerprint": record.fingerprint, "lacking": record.lacking, **spec.to_json(record)})
        return
    say(f"{cache} now has {record.product}, marked as imported.")


def labels(
    first: Annotated[
        str, typer.Argument(metavar="CACHE", help="The cache; with --teacher the label file to write, after SET.", show_default=False)
    ],
    second: Annotated[
        str,
        typer.Argument(
            metavar="SET",
            help=f"{', '.join(CLASS_LISTS)}, source (the cache's own classes), parts (names of its parts), or a file of names.",
            show_default=False,
        ),
    ] = "",
    teacher: Annotated[
        list[str] | None, typer.Option(metavar="TEACHER", help="Write a label file with this teacher, without a cache.", show_default=False)
    ] = None,
    names: Annotated[str, typer.Option(metavar="A,B", help="With --teacher: your own words instead of SET.", show_default=False)] = "",
    name: Annotated[
        str, typer.Option(metavar="NAME", help="With --names: name of the set. Default: the name of the file.", show_default=False)
    ] = "",
    precision: Annotated[
        str | None, typer.Option(help="With --teacher: float32, bfloat16 or float16, as in the cache of the run.", show_default=False)
    ] = None,
    batch: Batch = 64,
    device: Device = "auto",
    overlay: Overlay = None,
) -> None:
    """Embed class names with teachers that read text. Zero-shot classification compares shapes with these embeddings.

    \b
    mmpd-cache labels out.zarr modelnet40                                     # into a cache, with each of its teachers
    mmpd-cache labels modelnet40 --teacher clip-vit-b32 modelnet40.safetensors   # into a label file, without a cache
    mmpd-cache labels --names "chair,coffee table" --teacher clip-vit-b32 mine.safetensors

    Each class name is put into several sentences. A file of names holds one class name per line, or JSON: {"classes": [...], "templates":
    ["a picture of a {}", ...]}. A label file serves every run that learned from the same teacher: `mmpd-train labels RUN mine.safetensors`
    puts it into the folder of the run.
    """
    from cache_schema.label_files import SUFFIX
    from cache_schema.overlay import laid
    from pipeline import label_sets
    from pipeline.labels import label_set, of_names
    from pipeline.work import Machine

    machine = Machine(device=device)
    if not teacher:
        _refuse_idle({"--names": names, "--name": name, "--precision": precision}, "without --teacher")
        if not second or second.endswith(SUFFIX):
            raise UserError(
                "name a cache and a label set (mmpd-cache labels CACHE SET), or a teacher for a label file "
                "(mmpd-cache labels SET OUT.safetensors --teacher T)"
            )
        with laid(Path(first), overlay) as path, progress() as terminal:
            added = label_sets.add_labels(path, second, batch, machine, terminal)
        say(f"{path} now has labels/{added.name}: {counted(len(added.classes), 'class')}, {counted(len(added.templates), 'template')}.")
        return
    _refuse_idle({"--overlay": overlay, "--name": name if not names else ""}, "with --teacher" + ("" if names else ", without --names"))
    if len(teacher) > 1:
        raise UserError(f"a label file is of one teacher, got {' and '.join(teacher)}: run the command once for each, with another OUT")
    if bool(names) == bool(second):
        raise UserError("with --teacher, give either SET and OUT.safetensors, or --names and OUT.safetensors alone")
    file = Path(first if names else second)
    if not names and first in ("source", "parts"):
        raise UserError(f"{first} stands for names in a cache: mmpd-cache labels CACHE {first}, then mmpd-train labels RUN CACHE {first}")
    made = of_names(name or file.stem, names.split(",")) if names else label_set(first)
    with progress() as terminal:
        written = label_sets.write_labels(file, made, teacher[0], precision, batch, machine, terminal)
    counts = f"{counted(len(made.classes), 'class')}, {counted(len(made.templates), 'template')}"
    say(f"{file} now has the label set {made.name}: {counts}, by {written.teacher.name}.")


def _refuse_idle(given: dict[str, object], where: str) -> None:
    """Raise UserError if one of some options was given that has no effect."""
    idle = [option for option, value in given.items() if value]
    if idle:
        raise UserError(f"{' and '.join(idle)} would have no effect {where}: leave it out")


def overlay(
    cache: CachePath,
    mine: Annotated[Path, typer.Argument(metavar="MINE.zarr", help="The overlay: a new path, or one that is there.", show_default=False)],
) -> None:
    """Make an empty overlay of a cache, or tell an overlay where its shared cache is now.

    An overlay is a folder for products of your own. It names CACHE, which stays as it is. MINE.zarr is then one cache with the products of
    both, for every command of mmpd-cache and mmpd-train. `mmpd-cache copy MINE.zarr NEW` makes a plain cache of it. The option --overlay
    of build, add-teacher, add-dense, add-captioner, labels and mmpd-train guide makes an overlay, too.

    \b
    mmpd-cache overlay /lab/shared.zarr mine.zarr
    """
    from cache_schema.overlay import lay

    new = lay(cache, mine)
    say(f"{mine} is {'a new' if new else 'an'} overlay of {cache}.")


def licence(
    cache: CachePath,
    name: Annotated[str, typer.Argument(metavar="MODEL", help="Name of a teacher, or of captions, in the cache.")],
    licence: Annotated[str, typer.Argument(metavar="LICENCE", help="Name of its licence, e.g. apache-2.0. Empty for unknown.")],
) -> None:
    """Say under which licence a teacher or captioner is, if its card did not. Products stay unchanged.

    `info` shows the licences of shapes and models, and what they allow together. Licences of shapes come from --set source.licence=NAME
    or from the source.
    """
    from pipeline.licensing import set_licence

    with progress() as terminal:
        changed = set_licence(cache, name, licence, terminal)
    say(f"{', '.join(changed)}: licence {licence or 'unknown'}.")
