"""`mmpd-cache`: make a cache of 3D shapes, add products, check it and look at it. `--help` explains each command."""

import contextlib
import dataclasses
import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from cache_schema import products, spec, store, validate
from cache_schema.class_lists import CLASS_LISTS
from cache_schema.errors import Partial, UserError
from cache_schema.files import is_held
from cache_schema.lacking import lacking_ids, remedy, textless
from cache_schema.overlay import told_behind
from cache_schema.products import markers
from cache_schema.selection import UNASKED
from cache_schema.terminal import LOG_FILE, QUIET, LogFile, counted, everywhere, json_text, printable, version_line
from pipeline.describe import (
    asked_in_words,
    chosen_views,
    describe,
    failures_and_remarks,
    human,
    origin,
    product_bytes,
    remarks,
    starter_warning,
    status_counts,
)

if TYPE_CHECKING:
    from pipeline.findings import Scarce
    from pipeline.recipes import BuildConfig
    from pipeline.work import Machine

# Teachers and renderers share the cores. By default the threads of OpenMP spin while they wait, which takes the cores from the renderers:
# builds then ran at a fifth of the speed. OpenMP reads this variable when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

app = typer.Typer(
    help="Turn 3D shapes into a cache of points, pictures, captions and teacher embeddings. Start with: mmpd-cache build starter out.zarr",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
out = Console()
err = Console(stderr=True)
log: Final = LogFile()

T = TypeVar("T")
TEXTLESS: Final = "no shape has a text in it, so it teaches nothing; `mmpd-cache remove` removes it"
"""What is said of captions without any text."""
LISTED: Final = 20
"""Number of shapes with a remark that `status` lists."""
FAILED_LISTED: Final = 1000
"""Most failed shapes that `status` lists; a million shapes may have tens of thousands."""

CachePath = Annotated[Path, typer.Argument(metavar="CACHE", help="Folder of the cache, NAME.zarr.", show_default=False)]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=C", help="Change one setting of the recipe. Repeatable.", show_default=False)
]
Recipe = Annotated[
    str,
    typer.Option(
        help="Which products to make; see `mmpd-cache recipes`. Without it: the settings of the cache's last build, or `default`.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Workers = Annotated[int, typer.Option(min=0, help="Number of processes that read and draw shapes. 0: one per core.")]
Scheduler = Annotated[
    str,
    typer.Option(
        metavar="ADDRESS",
        help="Run on a dask cluster, e.g. tcp://host:8786; or on jobs of Slurm, e.g. slurm:partition=gpu,gpus=1,nodes=4.",
        show_default=False,
    ),
]
Device = Annotated[
    str, typer.Option(help="Torch devices of the models, with commas between them. auto: all GPUs, or the CPU if there is none.")
]
Overlay = Annotated[
    Path | None,
    typer.Option(
        "--overlay",
        metavar="MINE.zarr",
        help="Write new products into this folder of your own and leave CACHE as it is. Both are then one cache, MINE.zarr.",
        show_default=False,
    ),
]
Jobs = Annotated[int, typer.Option(min=1, max=256, help="Number of files that move at once.")]
Batch = Annotated[int, typer.Option(min=1, help="Number of pictures or texts per forward pass.")]


def _version(asked: bool) -> None:
    if asked:
        sys.stdout.write(version_line())
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help=QUIET)] = False,
    log_file: Annotated[Path | None, typer.Option("--log-file", metavar="FILE", help=LOG_FILE, show_default=False)] = None,
) -> None:
    """Turn 3D shapes into a cache of points, pictures, captions and teacher embeddings. Start with: mmpd-cache build starter out.zarr

    --quiet and --log-file may stand anywhere in a command.
    """
    err.quiet = quiet
    log.begin(log_file, f"mmpd-cache {' '.join(sys.argv[1:])}")


@app.command()
def build(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="Folder, list or HDF5 file of shapes, or a built-in collection: starter. scan:SOURCE scans its shapes."
        ),
    ],
    cache: CachePath,
    recipe: Recipe = "",
    workers: Workers = 0,
    scheduler: Scheduler = "",
    device: Device = "auto",
    set_: Set = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if any shape failed.")] = False,
    overlay: Overlay = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Build nothing: tell what it would cost, like `mmpd-cache plan`.")] = False,
    passing: Annotated[bool, typer.Option("--passing", hidden=True, help="The cache is removed soon: do not point to it.")] = False,
    as_json: Json = False,
) -> None:
    """Make a cache from shapes. After a stop, run it again: it continues, and the cache gets the same bytes. Settings need not be repeated.

    A shape that cannot be read or drawn does not stop the build. `mmpd-cache status` lists these shapes with the reasons. Repair their
    files, then run the same command again, or `mmpd-cache retry`. The exit code is 1 if every shape failed, or captions
    have no text of any shape.

    \b
    mmpd-cache build starter out.zarr
    mmpd-cache build meshes/ out.zarr --recipe clip-dino --set points.blocks=4
    mmpd-cache build scans/ out.zarr --recipe points --set source.up=z
    mmpd-cache build labelled/ out.zarr --recipe points --set source.labels=field --set source.parts=leg,seat
    mmpd-cache build meshes/ /lab/shared.zarr --recipe clip-dino --overlay mine.zarr
    """
    from cache_schema.overlay import laid
    from pipeline.commands import build_cache
    from pipeline.work import Machine

    config = settings(recipe, set_ or [], cache)
    machine = Machine(workers=workers, scheduler=scheduler, device=device)
    if dry_run:
        foretell(source, cache, config, machine, as_json=as_json)
        return
    with laid(cache, overlay) as path, progress() as terminal:
        before = finished_at(path)
        partial: Partial | None = None
        try:
            made = build_cache(source, path, config, machine, terminal)
        except Partial as error:
            made, partial = store.open_cache(path), error
    with contextlib.suppress(*([typer.Exit] if partial is not None else [])):
        closing(path, made, strict, passing, as_json=as_json, did={"made": [name for name in finished_in(made) if name not in before]})
    if partial is not None:
        raise partial


def settings(recipe: str, assignments: list[str], cache: Path) -> "BuildConfig":
    """Return the settings of a build: those of a recipe, or those of the last build of a cache that is there, changed by assignments."""
    from pipeline.opening import recorded_config
    from pipeline.recipes import changed, configured

    before = None if recipe else recorded_config(cache)
    if before is None:
        return configured(recipe or "default", assignments)
    also = f", with {' '.join(assignments)}" if assignments else ""
    say(f"{cache} is there: going on with the settings of its last build{also}. --recipe NAME begins with those of a recipe")
    return changed(before, assignments)


@app.command()
def plan(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The shapes, as `build` takes them.")],
    cache: CachePath,
    recipe: Recipe = "",
    workers: Workers = 0,
    scheduler: Scheduler = "",
    device: Device = "auto",
    set_: Set = None,
    sample: Annotated[int, typer.Option(min=1, help="Number of shapes to build. More take longer and tell more.")] = 32,
    as_json: Json = False,
) -> None:
    """Tell what a build will cost before it begins: hours, size, memory, missing weights, shapes that fail.

    A few shapes of all sizes are really built in a temporary folder, which is removed. Nothing is written at CACHE. If it is there, only
    what it lacks is counted. The result is a guess with a range: other shapes may be slower. A captioner behind an address is asked about
    these shapes, too, to tell tokens and cost.

    \b
    mmpd-cache plan meshes/ out.zarr --recipe clip-dino
    mmpd-cache build meshes/ out.zarr --recipe clip-dino --dry-run      # the same
    """
    from pipeline.work import Machine

    config = settings(recipe, set_ or [], cache)
    foretell(source, cache, config, Machine(workers=workers, scheduler=scheduler, device=device), sample, as_json)


def foretell(source: str, cache: Path, config: "BuildConfig", machine: "Machine", sample: int | None = None, as_json: bool = False) -> None:
    """Show what a build will cost. Exit with 1 if the disk has no room for it, or every shape of the sample failed."""
    from pipeline import estimate

    with progress() as terminal:
        found = estimate.estimate(source, cache, config, machine, terminal, sample or estimate.SAMPLE)
    if as_json:
        print_json({**dataclasses.asdict(found), "total": found.total, "fits": found.fits})
    else:
        table = Table("step or product", "on", "hours", "size", box=None)
        for step in found.steps:
            size = found.bytes.get(step.name)
            table.add_row(cell(step.name), cell(step.where), f"{step.hours:.3g}", "" if size is None else human(size))
        for name, size in found.bytes.items():
            if name not in {step.name for step in found.steps}:
                table.add_row(cell(name), "", "", human(size))
        out.print(table)
        for line in estimate.in_words(found, cache):
            show(line)
    if not found.fits or len(found.failed) == found.sample:
        raise typer.Exit(1)


@app.command()
def fetch(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="Recipes, teachers or captioners, as the other commands take them.")
    ],
    set_: Set = None,
) -> None:
    """Download the weights of models into the cache of the hub (HF_HOME), for machines without a network. What is there stays.

    Run it on a login node, then build on nodes that see the same HF_HOME with HF_HUB_OFFLINE=1.

    \b
    mmpd-cache fetch clip-dino
    mmpd-cache fetch dinov2-large open_clip:ViT-L-14/laion2b_s32b_b82k blip2-opt-2.7b
    """
    from pipeline.fetch import fetch as fetch_models

    with progress() as terminal:
        found = fetch_models(names, terminal, set_ or [])
    say(f"All weights of {', '.join(model.name for model in found) or 'it'} are on this machine.")


@app.command()
def append(
    cache: CachePath,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Folder, list or HDF5 file of shapes, or a built-in collection.")],
    products_: Annotated[
        str,
        typer.Option(
            "--products",
            metavar="A,B",
            help="Make only these products of the new shapes. The others are unfinished afterwards. Default: all.",
            show_default=False,
        ),
    ] = "",
    skip: Annotated[bool, typer.Option("--skip", help="Leave out shapes whose id the cache has, whatever their files are.")] = False,
    workers: Workers = 0,
    scheduler: Scheduler = "",
    device: Device = "auto",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="source.B=C",
            help="Change how the source is read (source.NAME), what a shape may take (limits.NAME), or where and how a captioner's server "
            "is asked (captions.server.NAME). Repeatable.",
            show_default=False,
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if any shape of the cache failed.")] = False,
    as_json: Json = False,
) -> None:
    """Add the shapes of another source to a finished cache, in new shards, with all products that it has.

    The files of older shards stay as they are. A training that runs meanwhile, or that opened the cache before, goes on with the shapes it
    knows. After a stop, run the same command again: it continues. Shapes that the cache has already (the same id and file) are left out.
    If a product cannot be made here as it was made (a model is missing, a guide, another version of a package), nothing is begun, and
    the message names it; --products then says which ones to make.

    \b
    mmpd-cache append out.zarr more-meshes/
    mmpd-cache append out.zarr more-scans/ --set source.up=z --products points,views,image/clip-vit-b32
    """
    from pipeline.append import Wanted
    from pipeline.append import append as append_shapes
    from pipeline.work import Machine

    wanted = Wanted(products=names_in(products_), settings=tuple(set_ or ()), skip=skip)
    with progress() as terminal:
        made = append_shapes(cache, source, wanted, Machine(workers=workers, scheduler=scheduler, device=device), terminal)
    if made.known:
        say(f"{made.known} shapes of {source} are in {cache} already and were left out.")
    did = {"appended": made.shapes, "known": made.known}
    if not made.shapes:
        say("There is nothing new to append.")
        if as_json:
            print_outcome(cache, made.cache, did)
        return
    say(f"{counted(made.shapes, 'shape')} appended.")
    for name in made.unfinished:
        say(f"{name} is unfinished: it lacks the new shapes. {remedy(cache, made.cache.records()[name])}")
    closing(cache, made.cache, strict, as_json=as_json, did=did)


def names_in(text: str) -> tuple[str, ...]:
    """Return the names in a text with commas between them."""
    return tuple(filter(None, (name.strip() for name in text.split(","))))


@app.command()
def retry(
    cache: CachePath,
    source: Annotated[str, typer.Option(help="Where the shapes are now, if they have moved.", show_default=False)] = "",
    workers: Workers = 0,
    scheduler: Scheduler = "",
    device: Device = "auto",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="limits.B=C",
            help="Allow each shape more time (limits.seconds) or memory (limits.memory_gib), or say where and how a captioner's server is "
            "asked now (captions.server.NAME). Repeatable.",
            show_default=False,
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if any shape fails again.")] = False,
    as_json: Json = False,
) -> None:
    """Try failed shapes again, and add those that are ok now to all products: points, pictures, captions, embeddings.

    Shapes that are ok and whose own file has changed since they were read are made anew. Other shapes stay unchanged. The cache becomes the
    same as if no shape had failed. `mmpd-cache build` tries only those failed shapes again whose own file has changed, and only names the
    others whose file has changed. This command tries all of them, for example after a texture was missing or the time was too short.

    In an overlay whose shared cache has grown, it makes the overlay's products for the new shapes.

    \b
    mmpd-cache retry out.zarr
    mmpd-cache retry out.zarr --source /moved/meshes --set limits.seconds=600
    """
    from pipeline import commands
    from pipeline.models import SERVER, server_settings
    from pipeline.work import Machine

    wrong = [assignment for assignment in set_ or [] if not assignment.strip().startswith(("limits.", SERVER))]
    if wrong:
        raise UserError(
            f"retry only sets limits.seconds, limits.memory_gib and {SERVER}NAME, got {wrong[0]}: what a cache holds stays as it is"
        )
    limits = [assignment.strip().removeprefix("limits.") for assignment in set_ or [] if assignment.strip().startswith("limits.")]
    with progress() as terminal:
        machine = Machine(workers=workers, scheduler=scheduler, device=device)
        found = commands.retry(cache, source, machine, terminal, limits, server_settings(set_ or []))
    did = {"tried": found.tried, "changed": found.changed, "mended": found.mended}
    if not found.tried:
        say("No shape failed, and no file has changed since it was read.")
        if as_json:
            print_outcome(cache, store.open_cache(cache), did)
        return
    which = f"failed shapes and {counted(found.changed, 'changed shape')}" if found.changed else "failed shapes"
    failed = f"{found.tried - found.mended} failed{' again' * (not found.changed)}"
    say(f"{found.tried - found.changed} {which} tried again: {found.mended} ok now, {failed}.")
    closing(cache, store.open_cache(cache), strict, as_json=as_json, did=did)


def closing(
    path: Path, cache: store.Cache, strict: bool, passing: bool = False, *, as_json: bool = False, did: Mapping[str, Any] | None = None
) -> None:
    """Say how many shapes are ok and failed; `as_json` also prints it, with what the command did. Exit with 1 if none is ok, or with
    `strict` if any failed.

    With `passing`, the cache is made for another command only, which tells the reasons itself."""
    if as_json:
        print_outcome(path, cache, did or {})
    counts = status_counts(cache)
    noted = len(remarks(cache))
    also = f", {noted} of them with a remark" if noted else ""
    unfinished = unfinished_in(cache)
    state = f"lacks {', '.join(unfinished)} of some shapes" if unfinished else "is complete"
    say(f"{'It' if passing else path} {state}: {counted(counts['ok'], 'shape')} ok{also}, {counts['failed']} failed.")
    if (counts["failed"] or noted) and not passing:
        say(f"Reasons: mmpd-cache status {path}")
    if counts["failed"] and (strict or not counts["ok"]):
        raise typer.Exit(1)


def finished_at(path: Path) -> list[str]:
    """`finished_in` a cache, if there is one that can be opened; the command itself says what is wrong with another."""
    with contextlib.suppress(UserError, OSError):
        return finished_in(store.open_cache(path))
    return []


def finished_in(cache: store.Cache) -> list[str]:
    """Names of products that all shapes have, sorted."""
    return sorted(name for name, record in cache.records().items() if record.complete)


def unfinished_in(cache: store.Cache) -> list[str]:
    """Names of products that lack some shapes."""
    return [name for name, record in cache.records().items() if not record.complete]


def print_outcome(path: Path, cache: store.Cache, did: Mapping[str, Any]) -> None:
    """Print as JSON what a command did to a cache, and how the cache is now: the same keys for every command that changes or makes one."""
    now = {
        "shapes": status_counts(cache),
        "remarked": len(remarks(cache)),
        "products": finished_in(cache),
        "unfinished": unfinished_in(cache),
    }
    print_json({"path": str(path), "did": dict(did), **now})


@app.command()
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


@app.command()
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


@app.command("add-teacher")
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
    from pipeline import commands
    from pipeline.work import Machine

    with laid(cache, overlay) as path, progress() as terminal:
        machine = Machine(scheduler=scheduler, device=device)
        record = commands.add_teacher(path, name, precision, batch, machine, terminal, licence)
    say(f"{path} now has {record.product}.")


@app.command("add-dense")
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
    from pipeline import commands
    from pipeline.recipes import DenseConfig
    from pipeline.work import Machine

    how = DenseConfig(blocks=blocks, groups=groups, group_size=group_size)
    with laid(cache, overlay) as path, progress() as terminal:
        machine = Machine(workers=workers, scheduler=scheduler, device=device)
        record = commands.add_dense(path, name, how, precision, batch, machine, terminal, source)
    size = product_bytes(store.open_cache(path), record)
    if as_json:
        print_json({"product": record.product, "bytes": size, **spec.to_json(record)})
        return
    say(f"{path} now has {record.product}, {human(size)}.")


@app.command()
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
    from pipeline import commands
    from pipeline.captioners.catalog import asked
    from pipeline.work import Machine

    with laid(cache, overlay) as path, progress() as terminal:
        machine = Machine(scheduler=scheduler, device=device)
        record = commands.add_captioner(path, asked(name, set_ or []), batch, machine, terminal, source)
    say(f"{path} now has {record.product}.")


@app.command("import-captions")
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
    from pipeline import commands
    from pipeline.importing import Captions
    from pipeline.work import Machine

    asked = Captions(name=name, author=author, most=most, missing=_choice("--missing", missing, ("fail", "status")))
    with progress() as terminal:
        record = commands.import_captions(cache, file, asked, batch, Machine(device=device), terminal, embed=embed)
    say(f"{cache} now has {record.product}.")


@app.command("import-embeddings")
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

    asked = Embeddings(
        teacher=teacher,
        kind=_choice("--kind", kind, ("image", "text", "labels")),
        model=model,
        text_side=text_side,
        key=key,
        ids=ids,
        captions=captions,
        labels=labels,
        templates=tuple(template or ()),
        missing=_choice("--missing", missing, ("fail", "status")),
    )
    with progress() as terminal:
        record = bring(cache, file, asked, terminal)
    if as_json:
        print_json({"product": record.product, "fingerprint": record.fingerprint, "lacking": record.lacking, **spec.to_json(record)})
        return
    say(f"{cache} now has {record.product}, marked as imported.")


@app.command()
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
    from pipeline import commands
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
            added = commands.add_labels(path, second, batch, machine, terminal)
        say(f"{path} now has labels/{added.name}: {len(added.classes)} classes, {len(added.templates)} templates.")
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
        written = commands.write_labels(file, made, teacher[0], precision, batch, machine, terminal)
    counts = f"{len(made.classes)} classes, {len(made.templates)} templates"
    say(f"{file} now has the label set {made.name}: {counts}, by {written.teacher.name}.")


def _refuse_idle(given: dict[str, object], where: str) -> None:
    """Raise UserError if one of some options was given that has no effect."""
    idle = [option for option, value in given.items() if value]
    if idle:
        raise UserError(f"{' and '.join(idle)} would have no effect {where}: leave it out")


@app.command()
def query(
    teacher: Annotated[
        str, typer.Argument(metavar="TEACHER", help="Its name in the cache, a name from `mmpd-cache teachers`, or NAME=BACKEND:MODEL.")
    ],
    file: Annotated[Path, typer.Argument(metavar="OUT.safetensors", help="The file to write.")],
    text: Annotated[str, typer.Option(help="The text to embed, as it is.", show_default=False)] = "",
    image: Annotated[Path | None, typer.Option(metavar="PICTURE", help="The picture to embed.", show_default=False)] = None,
    cache: Annotated[
        Path | None, typer.Option(metavar="CACHE", help="A cache that was made with this teacher.", show_default=False)
    ] = None,
    same: Annotated[str, typer.Option(metavar="FINGERPRINT", help="Refuse a teacher with another fingerprint.", show_default=False)] = "",
    device: Device = "auto",
) -> None:
    """Embed one text or one picture with a teacher. `mmpd-train search` calls this and looks for the shapes that are near.

    \b
    mmpd-cache query starter-resnet chair.safetensors --text "a wooden chair"
    mmpd-cache query clip-vit-b32 photo.safetensors --image photo.jpg
    """
    from cache_schema.query_files import write
    from pipeline.executors.catalog import devices
    from pipeline.query import embed, load
    from pipeline.work import Machine

    if bool(text) == (image is not None):
        raise UserError("a query is a text or a picture: give one of --text and --image")
    said, embedding = embed(load(teacher, same, cache, devices(Machine(device=device))[0]), text=text, picture=image)
    if cache is not None:
        manifest = store.open_cache(cache).manifest
        if warning := starter_warning([said.teacher.model], manifest.source, manifest.classes):
            said = dataclasses.replace(said, notes=(*said.notes, warning))
    write(file, said, embedding)
    for line in said.notes:
        say(f"Note: {line}")


@app.command("overlay")
def lay_overlay(
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


@app.command()
def status(cache: CachePath, as_json: Json = False) -> None:
    """Show which shapes are ok, which failed and why, and which products are complete."""
    from pipeline.journal import asked

    opened = store.open_cache(cache)
    records = opened.records()
    status = records.get(products.STATUS.name)
    done = status is not None and not opened.missing(status)
    questions = asked(opened)
    failed, noted = failures_and_remarks(opened) if done else ([], [])
    repeated = int(opened.repeated().sum()) if done else 0
    scarce, why = scarce_of(opened) if repeated else (None, "")
    counts = status_counts(opened)
    lacking, unlisted = seen_or_why(lambda: lacking_ids(opened), dict[str, list[str]]()) if done else ({}, "")
    empty, unseen = seen_or_why(lambda: textless(opened), list[str]()) if done else ([], "")
    chosen = chosen_views(records)
    states = {}
    for name, record in records.items():
        # To look for every file of a complete product takes a while, and the table does not show the number.
        missing = len(opened.missing(record)) if as_json or not record.complete else 0
        states[name] = {"complete": record.complete, "shards": markers(opened.manifest, record).shape[0], "missing": missing}
    if as_json:
        body = {**origin(opened), "shapes": counts, "remarked": len(noted), "repeated": repeated}
        body |= {"failed": [{"id": i, "reason": r} for i, r in failed], "remarks": [{"id": i, "remark": r} for i, r in noted]}
        body |= {"chosen_views": chosen} if chosen else {}
        body |= {"scarce": dataclasses.asdict(scarce)} if scarce else {}
        body |= {"uncounted": why} if why else {}
        body |= {"unseen": unlisted or unseen} if unlisted or unseen else {}
        print_json(body | {"lacking": lacking, "textless": empty, "asked": questions, "products": states})
        return
    show(", ".join(f"{count} {name}" for name, count in counts.items()))
    show_origin(opened)
    if noted:
        show(f"{len(noted)} of the ok shapes have a remark; see below")
    if repeated:
        show(f"{repeated} of the ok shapes have fewer points in their file than a block holds: points are repeated in their blocks")
    if scarce:
        show(f"    {scarce.told}")
    if why:
        show(f"    {why}")
    if unlisted or unseen:
        show(f"what shapes lack is not known: {unlisted or unseen}")
    if chosen:
        show(f"views: {chosen}")
    for name in empty:
        show(f"{name}: {TEXTLESS}")
    for name, ids in lacking.items():
        if name in empty:
            continue
        show(f"{len(ids)} of the ok shapes lack something in {name}: {', '.join(ids[:LISTED])}{' ...' if len(ids) > LISTED else ''}")
    table = Table("product", "state", box=None)
    for name, product in states.items():
        made = product["shards"] - product["missing"]
        state = "complete" if product["complete"] else f"{made} of {product['shards']} shards"
        table.add_row(cell(name), state + ", without any text" * (name in empty))
    out.print(table)
    for name, numbers in questions.items():
        show(f"{name}: {asked_in_words(numbers)}")
    for name, message in opened.lost().items():
        show(f"products/{name}/zarr.json {message}")
    for shape, reason in failed[:FAILED_LISTED]:
        show(f"failed  {shape}: {reason}")
    if len(failed) > FAILED_LISTED:
        show(f"and {len(failed) - FAILED_LISTED} more that failed; --json lists all")
    for shape, remark in noted[:LISTED]:
        show(f"remark  {shape}: {remark}")
    if len(noted) > LISTED:
        show(f"and {len(noted) - LISTED} more with a remark; --json lists all")
    if failed:
        show(f"After you repair their files: mmpd-cache retry {cache}")


def seen_or_why(look: Callable[[], T], nothing: T) -> tuple[T, str]:
    """Return what `look` returns. If a file is damaged or gone: `nothing`, and why in words, because it is then that one looks at the
    rest."""
    try:
        return look(), ""
    except (OSError, ValueError) as error:
        return nothing, str(error)


def scarce_of(cache: store.Cache) -> "tuple[Scarce | None, str]":
    """Tell how many points the shapes have that have fewer than a block; None if there are none, or the points are not finished or cannot
    be read. If they cannot be read, also tell why."""
    from pipeline.findings import counted_or_why, scarce

    points = cache.records().get(products.POINTS.name)
    if points is None or not points.complete:
        return None, ""
    return counted_or_why(lambda: scarce(cache, cache.ok(), cache.rows("points/xyz", "off")))


@app.command()
def verify(
    cache: CachePath,
    repair: Annotated[bool, typer.Option("--repair", help="Make damaged shards again.")] = False,
    source: Annotated[str, typer.Option(help="Where the shapes are now, if they have moved.", show_default=False)] = "",
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Check every byte of every file. List the damaged files, and exit with 1 if there are any."""
    with progress() as terminal:
        found = validate.problems(cache, lambda done, total: terminal.at("verify", done, total))
    if repair and found:
        from pipeline.repair import repair as mend
        from pipeline.work import Machine

        with progress() as terminal:
            done = mend(cache, source, Machine(device=device), terminal)
        for line in done:
            say(line)
        found = validate.problems(cache)
    if as_json:
        print_json({"problems": [spec.to_json(problem) for problem in found]})
    else:
        for problem in found:
            show(f"{os.path.join(problem.shared, problem.where)}: {problem.kind}: {problem.message}")
        show(f"{len(found)} problem{'s' * (len(found) != 1)}" if found else "everything is as it was written")
    if found:
        raise typer.Exit(1)


@app.command()
def info(cache: CachePath, as_json: Json = False) -> None:
    """Show what is in a cache and what made it: products, teachers, weights, cameras, seeds, versions, sizes."""
    from pipeline.licensing import told
    from pipeline.timings import measured

    opened = store.open_cache(cache)
    records = opened.records()
    sizes = {name: product_bytes(opened, record) for name, record in records.items()}
    status = records.get(products.STATUS.name)
    scarce, why = scarce_of(opened) if status is not None and status.complete else (None, "")
    empty, unseen = seen_or_why(lambda: textless(opened), list[str]())
    if as_json:
        body = {name: {**spec.to_json(record), "fingerprint": record.fingerprint, "bytes": sizes[name]} for name, record in records.items()}
        more: dict[str, Any] = {"licence": dataclasses.asdict(told(opened)), "costs": measured(opened)}
        if scarce is not None:
            more["scarce"] = dataclasses.asdict(scarce)
        if why:
            more["uncounted"] = why
        more["textless"] = empty
        if unseen:
            more["unseen"] = unseen
        print_json({"path": str(cache), **origin(opened), **more, "manifest": spec.to_json(opened.manifest), "products": body})
        return
    m = opened.manifest
    show(
        f"{cache}: {counted(m.count, 'shape')} from {m.source.kind} in {counted(m.shards, 'shard')} of {m.shard}; "
        f"{counted(len(m.classes), 'class')}; "
        f"format {m.format_version}{'; `mmpd-cache copy` converts it' if m.format_version < spec.FORMAT_VERSION else ''}"
    )
    show_origin(opened)
    for name, record in records.items():
        show(f"{name}  {human(sizes[name])}  {record.fingerprint}{'' if record.complete else '  unfinished'}")
        if made_of := describe(record):
            show(f"    {made_of}")
        if name in empty:
            show(f"    {TEXTLESS}")
        for node in opened.arrays(record):
            show(f"    {node.path} {list(node.shape)} {node.dtype}")
        if name == products.POINTS.name and scarce is not None:
            show(f"    {counted(scarce.shapes, 'shape')} with fewer points than a block: {scarce.told}")
        if name == products.POINTS.name and why:
            show(f"    {why}")
    if unseen:
        show(f"whether captions have texts is not known: {unseen}")
    show_licences(opened)
    show_costs(opened)


def show_licences(cache: store.Cache) -> None:
    """Show the licences of the models that made products, and what all licences of the cache allow together."""
    from pipeline.licensing import told

    found = told(cache)
    by_licence: dict[str, list[str]] = {}
    for product, name in found.products.items():
        by_licence.setdefault(name or "(none)", []).append(product)
    for name, made in by_licence.items():
        show(f"licence of the models of {', '.join(made)}: {name}")
    show(f"sharing this cache: {found.together}")


def show_costs(cache: store.Cache) -> None:
    """Show what the products cost, where the journal beside the cache says so."""
    from pipeline.timings import measured

    found = measured(cache)
    for name, numbers in found["asked"].items():
        show(f"asked for {name}: {asked_in_words(numbers)}")
    if not found["stages"]:
        return
    show(f"measured on {', '.join(found['machines']) or 'a machine that the journal does not name'}:")
    table = Table("step", "hours", "units", "seconds per 1000", box=None)
    for stage in found["stages"]:
        per = f"{stage['seconds'] / stage['units'] * 1000:.3g}" if stage["units"] else ""
        table.add_row(cell(stage["name"]), f"{stage['hours']:.3g}", cell(f"{stage['units']} {stage['unit']}"), per)
    out.print(table)


@app.command()
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


def show_origin(cache: store.Cache) -> None:
    """Show how many shapes have which licence, how the cache has grown and what it is an overlay of, where that is so."""
    told = origin(cache)
    if told["licences"]:
        show("licences: " + ", ".join(f"{count} {name}" for name, count in told["licences"].items()))
    if "segments" in told:
        show("segments: " + ", ".join(f"{count} shapes" for count in told["segments"]))
    if "shared" in told:
        show(f"overlay of {told['shared']}; of its own it has: {', '.join(told['own']) or 'nothing yet'}")
    if "behind" in told:
        show(told_behind(cache))
    if "ahead" in told:
        at_work = "a command is at work on them" if is_held(cache.path) else "a pull or an append was stopped; run it again"
        show(f"files of {counted(told['ahead'], 'shard')} of new shapes are there, which are not part of the cache yet: {at_work}")
    if "sources" in told:
        show("sources: " + "; ".join(told["sources"]))
    if "relabelled" in told:
        show(f"relabelled: {', '.join(told['relabelled'])} of some shapes is not what the source says")


@app.command()
def copy(
    cache: CachePath,
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Where to put the copy: a new path, or a copy that was stopped.")],
    products_: Annotated[
        str, typer.Option("--products", metavar="A,B", help="Copy only these products. Default: all that are finished.", show_default=False)
    ] = "",
    where: Annotated[
        str, typer.Option(metavar="split=train,class=A|B", help="Copy only the shapes that fit: class, split, licence.", show_default=False)
    ] = "",
    also: Annotated[
        list[Path] | None,
        typer.Option("--also", metavar="OTHER.zarr", help="Copy the shapes of this cache, too. Repeatable.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Copy a cache, a part of it, or several caches as one. Nothing is computed again. The copy has the newest format.

    Every shape keeps its bytes; each file is compared with its checksum as it is read. Without options all files are copied as they are,
    which converts an older cache. Caches are only brought together if their products were made in the same way, and if no two shapes have
    the same id; classes and splits are matched by name. After a stop, run the same command again: it continues.

    \b
    mmpd-cache copy old.zarr new.zarr
    mmpd-cache copy all.zarr chairs.zarr --where 'split=train,class=chair|stool' --products points,image/clip-vit-b32
    mmpd-cache copy one.zarr both.zarr --also two.zarr
    """
    from cache_schema.copy import copy as copy_cache
    from cache_schema.selection import Selection

    with progress() as terminal:
        made = copy_cache(
            cache,
            new,
            names=names_in(products_),
            where=Selection.parse(where),
            also=also or (),
            wait=lambda: terminal.say(f"another command is at work on {new}; waiting for it"),
            begin=lambda totals: terminal.begin(dict(totals)),
            advance=terminal.advance,
        )
    for name, reason in made.left_out.items():
        if not products_ or reason != UNASKED:
            say(f"{name} {reason} and was left out.")
    m = made.cache.manifest
    say(f"{new} has {m.count} shapes and {len(made.cache.products())} finished products, in format {m.format_version}.")
    if as_json:
        print_outcome(new, made.cache, {"copied": m.count, "left_out": dict(made.left_out)})


@app.command()
def push(
    cache: CachePath,
    url: Annotated[str, typer.Argument(metavar="URL", help="A folder, s3://BUCKET/NAME, gs://BUCKET/NAME or hf://datasets/USER/NAME.")],
    products_: Annotated[
        str, typer.Option("--products", metavar="NAMES", help="Which products, e.g. points,image/*. Default: all.", show_default=False)
    ] = "",
    only_licence: Annotated[
        str,
        typer.Option(
            "--only-licence",
            metavar="NAMES",
            help="Push only shapes under these licences, e.g. cc-by,mit. Shapes without a known licence stay here.",
            show_default=False,
        ),
    ] = "",
    jobs: Jobs = 8,
    allow_unknown: Annotated[
        bool, typer.Option("--allow-unknown", help="Push although the licence of some shapes or models is not known.")
    ] = False,
    public: Annotated[
        bool, typer.Option("--public", help="Let everybody see a data set that is made on the hub. Default: a private one.")
    ] = False,
    staging: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where the copy of the shapes that go out lies meanwhile, with --only-licence. Default: beside the cache.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Give a cache away: write its complete products to another place, with a card (README.md) and a table of shapes (shapes.parquet).

    Only files that differ there move. After a stop, run the same command again: it goes on. A half-pushed cache is never taken for a
    complete one. Places on this machine and names of its user do not go out. A licence that forbids to share is obeyed: leave out shapes by
    --only-licence and products by --products. Credentials come from the environment or from the files of each library, and are never
    stored. Needs pip install 'mmpd[remote]'.

    \b
    mmpd-cache push out.zarr /shared/out.zarr
    mmpd-cache push out.zarr s3://lab/out.zarr
    mmpd-cache push out.zarr hf://datasets/me/shapes
    mmpd-cache push out.zarr s3://lab/free.zarr --only-licence cc-by,cc0,mit --products 'points,image/*'
    """
    from pipeline.publish import push as push_cache

    with progress() as terminal:
        moved = push_cache(
            cache,
            url,
            patterns=names_in(products_),
            only_licence=names_in(only_licence),
            jobs=jobs,
            allow_unknown=allow_unknown,
            staging=staging,
            public=public,
            terminal=terminal,
        )
    if as_json:
        print_json(dataclasses.asdict(moved))
    what = "all complete products" if not (products_ or only_licence) else "what was chosen"
    say(f"{url} has {what} of {cache}: {moved}.")


@app.command()
def pull(
    url: Annotated[str, typer.Argument(metavar="URL", help="A folder, s3://, gs://, https:// or hf://datasets/USER/NAME.")],
    cache: Annotated[Path, typer.Argument(metavar="CACHE", help="Where to put it: a new path, or one that was pulled from there before.")],
    products_: Annotated[
        str, typer.Option("--products", metavar="NAMES", help="Which products, e.g. points,image/*. Default: all.", show_default=False)
    ] = "",
    where: Annotated[
        str, typer.Option(metavar="split=train,class=A|B", help="Keep only the shapes that fit: class, split, licence.", show_default=False)
    ] = "",
    jobs: Jobs = 8,
    as_json: Json = False,
) -> None:
    """Fetch a cache, or a part of it. Every file is checked against its completion marker before it is kept.

    Only files that differ here move. After a stop, run the same command again: it goes on. Index and status always come along. If the cache
    there has grown or changed since, what is finished here changes with it as a whole, once everything has come.

    With --where, the index is fetched, and of each product the shards that hold a shape that fits. A shard is one file, so it moves as a
    whole, also for one shape. Shards lie in .CACHE.pulling beside the cache until their shapes are copied into it.

    \b
    mmpd-cache pull s3://lab/out.zarr mine.zarr
    mmpd-cache pull hf://datasets/lab/shapes mine.zarr --products 'points,captions/*,text/*/clip-vit-b32,image/clip-vit-b32'
    mmpd-cache pull https://lab.org/out.zarr mine.zarr --products points
    mmpd-cache pull s3://lab/out.zarr chairs.zarr --where 'split=train,class=chair|stool'
    """
    from cache_schema.selection import Selection
    from pipeline.publish import pull as pull_cache

    with progress() as terminal:
        moved = pull_cache(url, cache, patterns=names_in(products_), where=Selection.parse(where), jobs=jobs, terminal=terminal)
    if as_json:
        print_json(dataclasses.asdict(moved))
    say(f"{cache} is complete: {moved}.")


@app.command()
def report(
    cache: CachePath,
    page: Annotated[Path | None, typer.Argument(metavar="[PAGE.html]", help="The page to write.", show_default=False)] = None,
    shapes: Annotated[int, typer.Option(help="Number of shapes to show.")] = 48,
    method: Annotated[str, typer.Option("--map", help="How the map of embeddings is made: pca or umap.")] = "pca",
    as_json: Json = False,
) -> None:
    """Write an HTML page about a cache: its shapes with views, captions and points that can be turned, a map of embeddings, nearest
    neighbours, accuracy of the teachers, duplicates, failures, licences, sizes, timings.

    The page is one file that needs no other. --json prints the numbers that it computes; without PAGE, no page is written.
    """
    from pipeline import findings
    from pipeline.report import write
    from pipeline.snapshot import Snapshot

    chosen: Literal["pca", "umap"] = _choice("map", method, ("pca", "umap"))
    opened = store.open_cache(cache)
    if page is None and not as_json:
        raise UserError(f"give the name of the page to write, such as {cache.name.removesuffix('.zarr')}.html, or --json")
    if page is not None:
        write(opened, page, shapes, chosen)
        if not as_json:
            say(f"wrote {page}")
    if as_json:
        print_json(dataclasses.asdict(findings.findings(Snapshot(opened))))


@app.command()
def recipes(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Show one recipe in full.", show_default=False)] = "", as_json: Json = False
) -> None:
    """List the recipes of `build`, or show every setting of one."""
    from pipeline.recipes import RECIPES, configured

    if name:
        print_json(spec.to_json(configured(name, [])))
    elif as_json:
        print_json({key: spec.to_json(recipe()) for key, recipe in RECIPES.items()})
    else:
        table = Table("recipe", "what", box=None)
        for key, recipe in RECIPES.items():
            table.add_row(cell(key), cell((recipe.__doc__ or "").strip()))
        out.print(table)


@app.command()
def teachers(as_json: Json = False) -> None:
    """List the teachers known by name, and tell how to name any other."""
    from cache_schema import plugins
    from pipeline.teachers.catalog import BACKENDS, TEACHERS

    if as_json:
        print_json({name: dataclasses.asdict(choice) for name, choice in TEACHERS.items()})
        return
    table = Table("teacher", "backend", "model", "about", box=None)
    for name, choice in TEACHERS.items():
        table.add_row(*map(cell, (name, choice.backend, choice.model, choice.about)))
    out.print(table)
    for name in plugins.others("teachers", BACKENDS):
        show(f"{name}:MODEL, {plugins.state('teachers', name, BACKENDS)}")
    for line in plugins.refused("teachers", BACKENDS):
        show(line)
    show("Any other: open_clip:ARCHITECTURE/TAG, transformers:HUB/ID@REVISION or timm:HUB/ID@REVISION, or a ./folder after the colon.")
    show("NAME=... gives it a name.")


@app.command()
def captioners(as_json: Json = False) -> None:
    """List the captioners known by name, and tell how to choose any other."""
    from cache_schema import plugins
    from pipeline.captioners.catalog import BACKENDS, known

    found = known()
    if as_json:
        print_json({name: {**spec.to_json(choice.spec), "about": choice.about} for name, choice in found.items()})
        return
    table = Table("captioner", "backend", "model", "about", box=None)
    for name, choice in found.items():
        table.add_row(*map(cell, (name, choice.spec.captioner, choice.spec.model, choice.about)))
    out.print(table)
    for name in plugins.others("captioners", BACKENDS):
        if name not in found:
            show(f"{name}, {plugins.state('captioners', name, BACKENDS)}")
    for line in plugins.refused("captioners", BACKENDS):
        show(line)
    show("In a build: --set captions=NAME. Any other model: MINE=NAME --set model=HUB/ID (or ./folder) in `mmpd-cache add-captioner`.")
    show("A model behind an address: http (a caption of each view) or http-shape (three texts of each shape), with --set model=NAME")
    show("--set server.address=http://localhost:8000/v1 and, for a key, --set server.key=ENVIRONMENT_VARIABLE.")


@app.command()
def sources(as_json: Json = False) -> None:
    """List the kinds of sources that shapes can come from, what each kind looks for, and its settings."""
    from cache_schema import plugins
    from pipeline.sources.catalog import SOURCES, about

    found = about()
    if as_json:
        print_json({name: {"looks_for": looks_for, "options": options} for name, (looks_for, options) in found.items()})
        return
    table = Table("source", "looks for", "settings: --set source.NAME=VALUE", box=None)
    for name, (looks_for, options) in found.items():
        table.add_row(cell(name), cell(looks_for), cell(", ".join(f"{option}={value}" for option, value in options.items())))
    out.print(table)
    for line in plugins.refused("sources", SOURCES):
        show(line)
    show("`mmpd-cache build` takes the first kind that fits; --set source.kind=NAME chooses another.")


# -------------------------------------------------------------------------------------------------- the terminal


def _choice(what: str, value: str, allowed: tuple[Any, ...]) -> Any:
    """The value of an option, if it is one of those allowed."""
    from pipeline.sources.options import choice

    return choice(what, value, allowed)


def print_json(value: Any) -> None:
    """Print a value as JSON, without breaking lines at the width of the terminal."""
    sys.stdout.write(json_text(value) + "\n")


def show(text: str) -> None:
    """Print a line of the result on standard output. Characters that a terminal would obey are shown as letters."""
    out.print(Text(printable(text)), soft_wrap=True)


def say(text: str, style: str = "") -> None:
    """Print a line about progress or a mistake on standard error, made safe like `show`."""
    log.note(text)
    err.print(Text(printable(text), style), soft_wrap=True)


def cell(text: str) -> Text:
    """Return a text for the cell of a table, made safe like `show`."""
    return Text(printable(text))


class Rate(ProgressColumn):
    """Column with the units per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:.1f}/s")


class Rest(ProgressColumn):
    """Column with the seconds that captions wait for their server."""

    end = 0.0
    """When the wait ends."""

    def render(self, task: Task) -> Text:
        left = self.end - time.monotonic()
        waits = left > 0 and not task.finished and task.description.startswith(f"{products.CAPTIONS.name}/")
        return Text(f"waits {left:.0f} s" if waits else "")


class Bars:
    """Progress bars by product: a `pipeline.work.Terminal`."""

    def __init__(self, bars: Progress, rest: Rest) -> None:
        self.bars, self.rest = bars, rest
        self.tasks: dict[str, TaskID] = {}

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        log.note(text)
        self.bars.console.print(Text(printable(text)), soft_wrap=True)

    def begin(self, totals: dict[str, int]) -> None:
        """Draw a bar for each product. `totals` has the units of each."""
        self.tasks = {name: self.bars.add_task(printable(name), total=total) for name, total in totals.items()}

    def advance(self, product: str, units: int) -> None:
        """Move the bar of a product on. Products without a bar are ignored."""
        if product in self.tasks:
            self.bars.advance(self.tasks[product], units)

    def wait(self, why: str, seconds: float) -> None:
        """Print why nothing goes on, and count the seconds down beside the bars of captions."""
        self.say(why)
        self.rest.end = time.monotonic() + seconds

    def at(self, name: str, done: int, total: int) -> None:
        """Move a bar to `done` of `total`. A new bar is drawn first."""
        if name not in self.tasks:
            self.tasks[name] = self.bars.add_task(printable(name), total=total)
        self.bars.update(self.tasks[name], completed=done)


@contextmanager
def progress() -> Iterator["Bars"]:
    """Show progress bars with rates and remaining time on standard error. Jobs of Slurm that are started inside end with this."""
    from pipeline import waits
    from pipeline.executors import slurm

    rest = Rest()
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:24}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        rest,
    )
    with Progress(*columns, console=err, disable=err.quiet) as bars:
        shown = Bars(bars, rest)
        with slurm.held(shown.say), waits.heard(shown.wait):
            yield shown


class Stopped(BaseException):
    """Raised by Ctrl-C and by SIGTERM. It is no KeyboardInterrupt, because typer would handle that itself."""


def _stop(*_: Any) -> None:
    raise Stopped


def main() -> None:
    """Run the command line. A user's mistake is shown as one line without a traceback. After Ctrl-C the same command can continue."""
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    try:
        front, rest = everywhere(sys.argv[1:])
        app([*front, *rest])
    except Stopped:
        fail("stopped. What is done is kept; run the same command to go on.", 130)
    except Partial as error:
        fail(str(error), 1)
    except UserError as error:
        fail(str(error), 2)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "cache_schema", "pipeline", "trainer"):
            raise
        fail(f"this command needs the package {package}, which is not installed: pip install 'mmpd[pipeline]'", 2)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            fail(f"the disk is full ({error.filename or error}). Free some space and run the same command: it goes on.", 2)
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            fail(
                f"cannot write {error.filename or ''}: {error.strerror}. Give a place you may write to; new products of a cache that is "
                "read-only for you go into a folder of your own by --overlay MINE.zarr.",
                2,
            )
        if isinstance(error, FileNotFoundError) and error.filename:
            fail(f"{error.filename} does not exist", 2)
        raise


def fail(message: str, code: int) -> None:
    """Print what is wrong, and exit with a code."""
    err.quiet = False
    say(f"mmpd-cache: {message}", "red")
    sys.exit(code)
