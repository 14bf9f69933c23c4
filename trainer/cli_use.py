"""The commands that use a trained run: `embed` and `predict`, and what they share with `search` (`trainer.cli_search`). `trainer.cli`
registers them."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import numpy as np
import typer
from numpy.typing import NDArray
from rich.table import Table as Printed
from rich.text import Text

from cache_schema.errors import UserError
from cache_schema.files import write_file
from cache_schema.spec import did_you_mean
from cache_schema.terminal import counted, printable
from trainer.terminal import out, print_json, progress, say

if TYPE_CHECKING:
    from cache_schema.store import Cache
    from trainer.checkpoint import Loaded
    from trainer.classifiers import Kept
    from trainer.given import Given, Wanted
    from trainer.model import Model
    from trainer.predict import Predicted
    from trainer.vectors import Table

LISTED: Final = 20
"""Number of shapes that the terminal shows of each kind. Files and --json have all."""
REASONS: Final = 10
"""Number of reasons that an error tells where no shape could be read."""

RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of the run.", show_default=False)]
Where = Annotated[
    str, typer.Option(metavar="split=test,class=A|B", help="Only the shapes that fit: class, split, licence.", show_default=False)
]
Split = Annotated[str, typer.Option(metavar="NAME", help="Only the shapes of this split.", show_default=False)]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="source.B=C", help="How files are read, as `mmpd-cache build` takes it. Repeatable.", show_default=False),
]
Keep = Annotated[
    Path | None,
    typer.Option("--keep-cache", metavar="NEW.zarr", help="Keep the cache that is made of files and folders.", show_default=False),
]
Force = Annotated[bool, typer.Option("--force", help="Replace files that are there.")]
WhatAndOut = Annotated[
    list[str],
    typer.Argument(
        metavar="WHAT... OUT",
        help="A cache, a folder of shapes, or files of shapes; last, the file to write: .parquet, .npz or .csv.",
        show_default=False,
    ),
]
What = Annotated[list[str], typer.Argument(metavar="WHAT...", help="A cache, a folder of shapes, or files of shapes.", show_default=False)]
PoolName = Literal["mean_max", "summary", "summary_max", "depths", "max", "mean", "mean_plus_max"]
"""The values of `trainer.tasks.features.Pool`, which imports torch."""
Pool = Annotated[
    PoolName | None,
    typer.Option(
        help="How tokens become one vector. summary: the run's own. depths: mean and maximum at four depths, or on each level. Default: "
        "mean_max, mean and maximum.",
        show_default=False,
    ),
]
Blocks = Annotated[
    int | None,
    typer.Option(min=1, help="Number of stored samples of a shape whose vectors are averaged. Default: 4, or all.", show_default=False),
]
MapPage = Annotated[
    Path | None,
    typer.Option(
        "--map",
        metavar="PAGE.html",
        help="Also write a page: a map of the shapes, and the neighbours of each, with pictures.",
        show_default=False,
    ),
]
Labels = Annotated[
    str,
    typer.Option(
        metavar="SET|FILE",
        help="Class names: a label set that travels with the run, a label file, a text file with a name in each line, or A,B,C.",
        show_default=False,
    ),
]
Reader = Annotated[
    str,
    typer.Option(metavar="NAME", help="For names: the teacher that embeds them. Default: the run's first that reads.", show_default=False),
]
Device = Annotated[str, typer.Option(help="Torch device. auto: a GPU if there is one, else the CPU.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


@dataclass
class Opened:
    """A run that is used."""

    loaded: "Loaded"
    model: "Model"
    notes: list[str] = field(default_factory=list)
    """Sentences for the reader of the result."""

    @property
    def facts(self) -> dict[str, Any]:
        """What tells this model from others, as JSON values."""
        import dataclasses

        convention = self.model.convention
        return {
            "name": self.loaded.run.resolve().name,
            "encoder": self.loaded.config.encoder.name,
            "weights": self.model.digest,
            "settings": dict(self.loaded.settings),
            "step": self.loaded.step,
            "points": None if convention is None else dataclasses.asdict(convention),
        }


def opened_run(run: Path, device: str) -> Opened:
    from trainer import checkpoint
    from trainer.model import Model

    loaded = checkpoint.load(run)
    with quiet():
        return Opened(loaded=loaded, model=Model(loaded, device))


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out what the model warns of: `trainer.neighbours.notes` says it once for all shapes."""
    from trainer.model import ModelWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelWarning)
        yield


@dataclass(frozen=True, kw_only=True)
class Job:
    """What `embed` is asked for."""

    file: Path
    map: Path | None
    where: str
    split: str
    pool: PoolName | None
    blocks: int | None
    as_json: bool


def embed(
    run: RunPath,
    paths: WhatAndOut,
    where: Where = "",
    split: Split = "",
    pool: Pool = None,
    blocks: Blocks = None,
    map_: MapPage = None,
    set_: Set = None,
    keep_cache: Keep = None,
    force: Force = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Compute a vector for each shape, and write them with ids and classes into a file.

    Files and folders are read by mmpd-cache, as `mmpd-cache build` reads them: meshes (.glb .obj .stl .ply ...) and clouds (.ply .xyz .las
    .npy ...), of any size and place. It says which axis it takes for up; --set source.up=z changes that. Shapes that cannot be read stay in
    the file with the reason and without a vector; if none can be read, the exit code is 1. Without mmpd[pipeline], files of points are
    read by NumPy.

    \b
    mmpd-train embed runs/align out.zarr vectors.parquet
    mmpd-train embed runs/align scans/ vectors.parquet --map map.html
    mmpd-train embed runs/align a.glb b.stl vectors.csv
    mmpd-train embed runs/align out.zarr test.npz --split test --blocks 8
    """
    from trainer import vectors
    from trainer.given import ahead

    if len(paths) < 2:
        raise UserError("embed takes a run, what to embed, and the file to write: mmpd-train embed RUN WHAT OUT.parquet")
    *what, target = paths
    job = Job(file=Path(target), map=map_, where=where, split=split, pool=pool, blocks=blocks, as_json=as_json)
    vectors.check_place(job.file, force)
    if map_ is not None:
        check_page(map_, force)
    with ahead(what):
        using = opened_run(run, device)
        _embed_any(using, what, job, set_ or [], keep_cache)


def _embed_any(using: Opened, what: Sequence[str], job: Job, settings: Sequence[str], keep: Path | None) -> None:
    """Embed what the user named: a cache, or files and folders, by `mmpd-cache` where it is installed."""
    from trainer.given import LISTS, clouds, is_cache, lacking
    from trainer.vectors import LEAST

    if lacking() and not (len(what) == 1 and is_cache(what[0])):
        if keep:
            raise UserError("--keep-cache would have no effect: without mmpd[pipeline] no cache is made. Leave it out")
        up = _up(settings)
        _embed_clouds(using, clouds(what, up), up, job)
    else:
        few = all(Path(one).is_file() and Path(one).suffix.lower() not in LISTS for one in what) and len(what) < LEAST
        if job.map is not None and few:
            raise UserError(f"a map needs at least {LEAST} shapes, got {len(what)}: leave --map out")
        _embed_shapes(using, what, wanted_of(using, settings, keep, beside=job.file.parent), job)


def wanted_of(using: Opened, settings: Sequence[str], keep: Path | None = None, beside: Path | None = None) -> "Wanted":
    """The settings by which `mmpd-cache build` reads the user's files, so that their points are like those of the run's training."""
    from trainer.given import Wanted

    centres = using.loaded.model.encoder.centres
    return Wanted(convention=using.model.convention, centres=centres, keep=keep, beside=beside, settings=tuple(settings))


def _embed_shapes(using: Opened, what: Sequence[str], wanted: "Wanted", job: Job) -> None:
    """Embed the shapes of a cache, or of files and folders that become one."""
    from trainer import vectors
    from trainer.given import opened

    with ExitStack() as held:
        given = held.enter_context(opened(what, wanted, say))
        held.enter_context(quiet())
        rows, table = chosen_rows(using, given.cache, job.where, job.split)
        if job.map is not None and not given.made and table.fine.sum() < vectors.LEAST:
            raise UserError(f"a map needs at least {vectors.LEAST} shapes, got {table.fine.sum()}: leave --map out")
        using.notes += [*given.notes, *notes_on(using, given.cache, rows[table.fine])]
        job.file.parent.mkdir(parents=True, exist_ok=True)
        values, more = held.enter_context(_vectors(using, given.cache, rows[table.fine], job))
        asked = {**_asked(using, job, values, given.name), **more}
        facts = vectors.about("vectors", using.facts, given.cache, using.notes, **asked)
        vectors.write(job.file, table, values, facts)
        shown = job.map is not None and _write_map(job.map, given, table, rows[table.fine], values, using, asked)
    _said_of(table, job.file, facts, job.as_json)
    if shown:
        say(f"{job.map} shows them: open it in a browser")
    if not table.fine.any():
        raise typer.Exit(1)


@contextmanager
def _vectors(using: Opened, cache: "Cache", rows: NDArray[np.int64], job: Job) -> "Iterator[tuple[NDArray[np.float32], dict[str, Any]]]":
    """The vectors of usable shapes [m, D], and facts about them: the samples that they are means of, their noise, and the up axis."""
    from trainer import vectors
    from trainer.given import up_told
    from trainer.neighbours import noise, noise_told, samples, stored_blocks
    from trainer.tasks.features import Body

    model, body = using.model, Body.of(using.loaded.model, job.pool or using.model.pool)
    blocks, stored = samples(body, cache, job.blocks), stored_blocks(body, cache)
    up = up_told(cache)
    say(f"Up axis: {up}")
    if not len(rows):
        yield model.embed_cache(cache, rows, 0, job.pool), {"blocks": blocks, "up": up}
        return

    def of_blocks(part: NDArray[np.int64], chosen: range) -> NDArray[np.float32]:
        return model.embed_cache(cache, part, chosen, job.pool)

    with ExitStack() as held:
        step = held.enter_context(progress("vectors"))
        folder = job.file.parent
        values = held.enter_context(vectors.computed(lambda _, part: of_blocks(part, range(blocks)), cache, rows, folder, step))
        found = noise(of_blocks, cache, rows, values, blocks, stored)
        say(f"Each vector is the mean over {counted(blocks, 'stored sample')} of a shape. Noise: {noise_told(found)}")
        yield values, {"blocks": blocks, "noise": found, "up": up}


def _asked(using: Opened, job: Job, values: NDArray[np.float32], what: str) -> dict[str, Any]:
    """Facts of the file about what was asked for."""
    more = {"dim": values.shape[1], "pool": job.pool or using.model.pool}
    return {**more, "where": job.where, "split": job.split, "given": what}


def chosen_rows(using: Opened, cache: "Cache", where: str, split: str) -> "tuple[NDArray[np.int64], Table]":
    """Rows of the shapes that are asked for, failed ones too, and what the cache and the points of each say about it."""
    from cache_schema import products
    from cache_schema.selection import Selection
    from trainer.clouds import remarks
    from trainer.points import Blocks
    from trainer.tasks.shapes import CROP, in_pieces
    from trainer.vectors import Table, copies

    cache.proven(products.POINTS.name)
    cache.proven(products.STATUS.name)
    asked = Selection.parse(where)
    if split:
        if any(word == "split" for word, _ in asked.values):
            raise UserError("--split and --where both choose splits: give one of them")
        asked = Selection(values=(*asked.values, ("split", (split,))))
    rows = asked.rows(cache)
    table = Table.of(cache, rows)
    blocks = Blocks(cache, using.model.convention, channels=3, centres=using.loaded.model.encoder.centres)
    alike = copies(table, cache.column("source_sha256")[rows], CROP if in_pieces(cache) else "")
    table = table.remarked(remarks(blocks, rows[table.fine])).remarked(alike)
    _say_remarks(table)
    return rows, table


def _say_remarks(table: "Table") -> None:
    """Say what was found about shapes that have a vector."""
    noted = [(name, remark) for name, remark in zip(table.ids, table.remarks, strict=True) if remark]
    for name, remark in noted[:LISTED]:
        say(f"Remark: {name}: {remark}")
    if len(noted) > LISTED:
        say(f"... and {len(noted) - LISTED} more with a remark")


def refuse_none(table: "Table", cache: "Cache") -> None:
    """Refuse shapes of which none could be read."""
    if table.fine.any():
        return
    told = [f"{name}: {reason}" for name, reason in zip(table.ids, table.reasons, strict=True)]
    more = f"\n... and {len(told) - REASONS} more" if len(told) > REASONS else ""
    listed = "\n".join(told[:REASONS]) + more
    raise UserError(f"none of {counted(len(table), 'shape')} could be read:\n{listed}")


def notes_on(using: Opened, cache: "Cache", rows: NDArray[np.int64]) -> tuple[str, ...]:
    from trainer.neighbours import notes

    found = notes(using.loaded, cache, rows)
    for note in found:
        say(f"Note: {note}")
    return found


def _said_of(table: "Table", file: Path, facts: dict[str, Any], as_json: bool) -> None:
    failed = [(name, reason) for name, reason in zip(table.ids, table.reasons, strict=True) if reason]
    noted = sum(remark is not None for remark in table.remarks)
    if as_json:
        shapes = {"asked": len(table), "embedded": len(table) - len(failed), "failed": [{"id": i, "reason": r} for i, r in failed]}
        shapes["remarks"] = [{"id": i, "remark": r} for i, r in zip(table.ids, table.remarks, strict=True) if r]
        print_json({"file": str(file), "shapes": shapes, **facts})
    for name, reason in failed[:LISTED]:
        say(f"Failed: {name}: {reason}")
    if len(failed) > LISTED:
        say(f"... and {len(failed) - LISTED} more failed; {file} has all with their reasons")
    also = f", {len(failed)} without a vector (see above)" if failed else ""
    also += f", {noted} with a remark in the column reason" if noted else ""
    say(f"{file} has {counted(len(table) - len(failed), 'vector')} of width {facts['dim']}{also}")


def _up(settings: Sequence[str]) -> str:
    """The up axis of files of points that NumPy reads, which is the only setting that it has."""
    from trainer.given import INSTALL

    names = [one.partition("=")[0].strip() for one in settings]
    found = [one.partition("=")[2].strip() for one in settings]
    if any(name != "source.up" for name in names) or any(axis not in ("auto", "y", "z") for axis in found):
        raise UserError(f"without the pipeline only --set source.up=y|z can be given, got {' '.join(settings)}. For others: {INSTALL}")
    return found[-1] if found else "auto"


def _embed_clouds(using: Opened, found: "dict[str, NDArray[np.float32]]", up: str, job: Job) -> None:
    """Embed clouds that NumPy has read, on a machine without the pipeline."""
    from cache_schema.axes import UP
    from trainer import vectors
    from trainer.given import INSTALL

    if job.where or job.split or job.map or job.blocks is not None:
        raise UserError(f"--where, --split, --map and --blocks need a cache: give one, or {INSTALL}")
    axes = {UP[Path(name).suffix.lower()] if up == "auto" else up for name in found}
    told = " or ".join(f"+{axis.upper()}" for axis in sorted(axes))
    note = f"mmpd[pipeline] is not installed ({INSTALL}), so the files of points were read by NumPy, with {told} up" + (
        ", as usual for the format; --set source.up=y|z changes that" if up == "auto" else ""
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        values = using.model.embed(list(found.values()), job.pool)
    using.notes += [note, *dict.fromkeys(str(one.message) for one in caught)]
    for line in using.notes:
        say(f"Note: {line}")
    none = [None] * len(found)
    table = vectors.Table(ids=list(found), classes=none, splits=none, reasons=none, remarks=none)
    chosen = f"{told}, " + ("guessed, the usual axis of the format" if up == "auto" else f"given (source.up={up})")
    facts = vectors.about("vectors", using.facts, None, using.notes, up=chosen, **_asked(using, job, values, ""))
    vectors.write(job.file, table, values, facts)
    _said_of(table, job.file, facts, job.as_json)


def check_page(path: Path, force: bool) -> None:
    from trainer.vectors import refuse_there

    if path.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"{path}: a page is written as .html, got {path.suffix or 'no ending'!r}")
    refuse_there(path, force)


def _write_map(
    path: Path, given: "Given", table: "Table", rows: NDArray[np.int64], values: NDArray[np.float32], using: Opened, asked: dict[str, Any]
) -> bool:
    """Write the page of a map. Returns False where there is nothing to map, and says why."""
    from trainer.neighbours import noise_told
    from trainer.pages import Shown, of_map

    failed = len(table) - len(rows)
    facts = {
        "Shapes": f"{len(rows)} of {given.name}" + (f"; {failed} could not be read, see the end" if failed else ""),
        "Model": f"{using.facts['name']}, {using.facts['encoder']}, weights {using.model.digest[:12]}",
        "Vectors": f"the mean over {counted(asked['blocks'], 'stored sample')} of each shape",
        "Up axis": asked["up"],
    }
    if "noise" in asked:
        facts["Noise"] = noise_told(asked["noise"])
    shown = Shown(cache=given.cache, table=table, rows=rows, values=values)
    try:
        page = of_map(shown, f"Map of {counted(len(rows), 'shape')}", facts, using.notes)
    except UserError as error:  # the vectors are worth keeping all the same
        say(f"No page is written: {error}")
        return False
    write_file(path, page)
    return True


def predict(
    run: RunPath,
    what: What,
    labels: Labels = "",
    classifier: Annotated[str, typer.Option(metavar="NAME", help="A classifier that is kept with the run.", show_default=False)] = "",
    teacher: Reader = "",
    where: Where = "",
    split: Split = "",
    csv: Annotated[Path | None, typer.Option(metavar="FILE.csv", help="Write the table into a file, too.", show_default=False)] = None,
    set_: Set = None,
    keep_cache: Keep = None,
    force: Force = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Name shapes: the five likeliest classes of each with their probabilities.

    With --labels nothing was trained for these classes: a shape is compared with sentences about them in the space of a teacher. A
    probability then says how near a class is compared with the other classes of the list, not how sure one may be. A kept SVM has no
    probabilities: its scores are each class's share of the votes between pairs of classes.

    \b
    mmpd-train predict runs/align scans/ --labels modelnet40
    mmpd-train predict runs/align chair.glb --labels "chair,table,lamp"
    mmpd-train predict runs/align out.zarr --split test --classifier svm --csv classes.csv
    """
    from trainer.given import ahead, opened, up_told
    from trainer.vectors import refuse_there

    if bool(labels) == bool(classifier):
        raise UserError("predict needs class names: give one of --labels and --classifier")
    if csv is not None:
        refuse_there(csv, force)
    with ExitStack() as held:
        if classifier:  # names are embedded by another call of mmpd-cache
            held.enter_context(ahead(what))
        using = opened_run(run, device)
        from trainer.neighbours import samples
        from trainer.predict import of_cache
        from trainer.tasks.features import Body

        kept = _kept(using, classifier) if classifier else None
        name = classifier or held.enter_context(_label_set(using, labels, teacher, device))
        given = held.enter_context(opened(what, wanted_of(using, set_ or [], keep_cache), say))
        held.enter_context(quiet())
        rows, table = chosen_rows(using, given.cache, where, split)
        refuse_none(table, given.cache)
        using.notes += [*given.notes, *notes_on(using, given.cache, rows[table.fine])]
        if kept is not None:
            using.notes += _known_to(kept, given.cache, rows[table.fine])
        blocks = samples(kept.body if kept else Body.of(using.loaded.model, "mean_max"), given.cache)
        count = len(using.notes)  # those before are said already
        using.notes.append(f"up axis of the files: {up_told(given.cache)}")
        using.notes.append(f"features are the mean over {counted(blocks, 'stored sample')} of each shape")
        step = held.enter_context(progress("classes"))
        found = of_cache(using.model, given.cache, rows[table.fine], name, step, range(blocks), "classifier" if classifier else "labels")
    using.notes += filter(None, [found.others(table)])
    for note in using.notes[count:]:
        say(f"Note: {note}")
    if csv is not None:
        write_file(csv, found.csv(table))
    _print_predictions(using, found, table, csv, as_json)


def _kept(using: Opened, name: str) -> "Kept":
    """A kept classifier of the run. What a reader of its predictions should know, such as that its scores are no probabilities, is said."""
    known = using.model.classifiers
    if name not in known:
        raise UserError(f"{using.loaded.run} has no classifier {name!r}{did_you_mean(name, known) or '; it has none'}")
    from trainer.classifiers import load

    kept = load(using.loaded.run, name, using.model.device, using.loaded)
    for note in kept.notes:
        say(f"Note: {note}")
    using.notes += kept.notes
    return kept


def _known_to(kept: "Kept", cache: "Cache", rows: "NDArray[np.int64]") -> Iterator[str]:
    """Say which of some shapes a kept classifier has learned from: what it says of them is no sign of what it says of others. And whether
    they have other classes by now. Yields the notes."""
    from trainer.tasks.shapes import of_rows

    found = [kept.renamed(cache)]
    if kept.learned is None:
        found.append(f"not known which of these shapes {kept.name} has learned from")
    elif count := int(kept.learned.among(of_rows(cache, rows)).sum()):
        found.append(f"{kept.name} has learned from {count} of these {counted(len(rows), 'shape')}: it knows them")
    for note in filter(None, found):
        say(f"Note: {note}")
        yield note


def _print_predictions(using: Opened, found: "Predicted", table: "Table", csv: Path | None, as_json: bool) -> None:
    agreement = found.agreement(table)
    if as_json:
        facts = {"run": using.facts, "about": found.about, "classes": list(found.classes), "notes": using.notes}
        print_json({**facts, "agreement": agreement, "shapes": found.rows(table)})
    else:
        _print_classes(found.rows(table), csv)
    say(f"Classes: {found.about}")
    if agreement is not None:
        n, agree, chance = agreement["shapes"], agreement["agree"], agreement["chance"]
        origin = "that were guessed from names of files" if any("guessed from" in note for note in using.notes) else "of the cache"
        told = f"chance: {chance:.1f} of {n} ({100 * chance / n:.3g} %)"
        say(f"{agree} of {counted(n, 'shape')} ({100 * agree / n:.1f} %) have the class {origin} as the likeliest; {told}")


def columns(*names: str) -> Printed:
    """A table for the terminal that breaks long names instead of cutting them."""
    table = Printed(box=None)
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def _print_classes(rows: Sequence[dict[str, Any]], csv: Path | None) -> None:
    table = columns("shape", "class", "likeliest", "then")
    for row in rows[:LISTED]:
        said = [
            f"{one['class']} {one['score']:.3f}" if "score" in one else f"{one['class']} {100 * one['probability']:.1f} %"
            for one in row.get("top", [])
        ]
        cells = (row["id"], row["class"] or "", said[0] if said else f"failed: {row['reason']}", ", ".join(said[1:]))
        table.add_row(*(Text(printable(cell)) for cell in cells))
    out.print(table)
    if len(rows) > LISTED:
        say(f"... and {len(rows) - LISTED} more shapes: " + (f"{csv} has all" if csv else "--csv FILE.csv or --json has all"))


@contextmanager
def _label_set(using: Opened, labels: str, teacher: str, device: str) -> Iterator[str]:
    """What `Model.classify` takes: a label set or a label file, or one that is made of names for this command only."""
    import tempfile

    from cache_schema.label_files import SUFFIX
    from trainer.given import INSTALL, call_pipeline, lacking
    from trainer.neighbours import teacher_of

    if using.loaded.model.teachers is None:
        raise UserError("this run learned without words: use --classifier, or a run that `mmpd-train align` made")
    known = labels.partition("@")[0] in using.model.label_sets
    if known or labels.endswith(SUFFIX):
        if teacher:
            raise UserError("--teacher would have no effect: the label set names its teacher (SET@TEACHER chooses another). Leave it out")
        yield labels
        return
    if not Path(labels).is_file() and "," not in labels:
        has = ", ".join(using.model.label_sets) or "none"
        raise UserError(
            f"{using.loaded.run} has no label set {labels!r} (it has: {has}), and there is no such file. Give names with commas between "
            f"them, or a file with a name in each line; `mmpd-train labels {using.loaded.run} CACHE SET` copies a cache's label set"
        )
    if absent := lacking():
        raise UserError(f"names are embedded by mmpd-cache, which needs packages that lack ({', '.join(absent[:3])}): {INSTALL}")
    reader = teacher_of(using.loaded, teacher, text=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"names{SUFFIX}"
        what = [labels, str(file)] if Path(labels).is_file() else [str(file), "--names", labels]
        call_pipeline("labels", *what, "--teacher", teacher or reader.name, "--device", device)
        yield str(file)
