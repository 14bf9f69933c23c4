"""Append the shapes of another source to a finished cache.

    append(Path("shapes.zarr"), "more/", Wanted(), Machine(), terminal)

The new shapes are first made in a cache of their own beside the other one, `NAME.zarr.growing`, by the same code as in a build and with the
same records. Then its shards become the next shards of the cache:
1. The files of the new shards are put into their places. Nobody reads them yet, because the manifest ends before them.
2. The records, the statistics, the index and at last the manifest are written together (`cache_schema.files.write_together`).

Why in this order: a reader that opens the cache sees the old one or the new one, and never an unfinished product, and a reader that opened
it before goes on with the old one. Its shards keep their bytes, and the new records still say what the products were (`Record.before`).
After a kill, the same command continues; a build or another command in between does no harm.
"""

import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cache_schema import products, spec, store
from cache_schema.errors import UserError
from cache_schema.files import exclusive, journal_file, place_file, read_file, refuse_links, write_together
from cache_schema.lacking import grown as grown_by
from cache_schema.layout import node_json
from cache_schema.products import markers, statistics_array
from cache_schema.records import attributes_of, opened, outgrown, sealed
from cache_schema.settings import override
from cache_schema.spec import BoxSpec, Manifest, PointSpec, Record, SourceSpec, TeacherSpec, ViewSpec, did_you_mean
from cache_schema.store import Cache
from cache_schema.terminal import some
from pipeline import build, journal, labels, readings
from pipeline.complete import complete, hindrance
from pipeline.edits import told_new
from pipeline.executors import catalog as executors
from pipeline.models import SERVER, Models, server_settings
from pipeline.opening import check_place, columns, described, described_shapes, last_config, open_config_source, places
from pipeline.recipes import BuildConfig, SourceConfig
from pipeline.records import batch_size, label_record
from pipeline.sources.catalog import Entry, Source
from pipeline.work import Machine, Terminal, Work, held
from pipeline.worker import Task

SOME: Final = 5
"""Number of names that a message lists."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to append."""

    products: tuple[str, ...] = ()
    """Names of the products that are made for the new shapes; empty for all. The others are unfinished afterwards."""
    settings: tuple[str, ...] = ()
    """Settings of the source (`source.up=z`), of the limits for each shape (`limits.seconds=600`), and of a captioner's server
    (`captions.server.address=http://there/v1`), which may have moved."""
    skip: bool = False
    """Whether to leave out shapes whose id the cache has already, whatever their files are."""


@dataclass(frozen=True, kw_only=True)
class Appended:
    """What was appended."""

    cache: Cache
    """The cache as it is now."""
    shapes: int
    """Number of new shapes."""
    known: int
    """Number of shapes of the source that were left out, because the cache has them."""
    unfinished: tuple[str, ...]
    """Names of products that lack the new shapes now."""
    left: int = 0
    """Number of new shapes that were not read, because this version would read them otherwise than those of the cache. They have failed."""


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What is known before anything is written."""

    entries: tuple[Entry, ...]
    """The new shapes."""
    known: int
    source: Source
    part: SourceSpec
    """Description of the new shapes."""
    config: BuildConfig
    carried: tuple[Record, ...]
    """Products that are made for the new shapes, in the order of making."""
    labels: tuple[Record, ...]
    """Label sets of the cache's own classes that lack new classes."""
    task: Task
    manifest: Manifest
    """The manifest of the cache once it has grown."""


@dataclass(frozen=True, kw_only=True)
class _Shifted(Work):
    """Work on the new shapes, which notes the numbers that their shards will have in the cache."""

    first: int
    """Number of the first of these shards."""

    def note(self, event: journal.Event) -> None:
        """Write one event to the journal of the cache."""
        if isinstance(event, journal.ShardMade | journal.ShapesMade | journal.Asking | journal.Asked):
            event = dataclasses.replace(event, shard=event.shard + self.first)
        super().note(event)


def append(path: Path, location: str, wanted: Wanted, machine: Machine, terminal: Terminal) -> Appended:
    """Append the shapes of a source. After a kill, call it again: it continues.

    Args:
        path: the cache.
        location: a path, or the name of a built-in collection.
        wanted: which products are made, and how the source is read.
        machine: where to run.
        terminal: gets messages and progress.

    Raises:
        UserError: the source or a setting is wrong, the cache is not finished, it has shapes of the same ids, this version would read all
            new shapes otherwise than those of the cache, a product cannot be made here with what made it, or another append was stopped.
            The cache is then unchanged.
    """
    before = store.open_cache(path)  # no lock file beside what is no cache
    devices = executors.devices(machine)
    executors.check(machine)
    check_place(path)
    if (done := _finished(path, before, location, wanted, terminal)) is not None:
        return done
    models = Models(devices[0], places(path))
    models.moved(server_settings(wanted.settings), before)
    plan = _planned(before, location, wanted, models, machine, terminal)
    if not plan.entries:
        return Appended(cache=before, shapes=0, known=plan.known, unfinished=())
    with held(path, terminal) as notes:
        cache = store.open_cache(path)
        if plan.part in cache.manifest.source.also:  # taking the lock has finished what was stopped
            _clear(path)
            return _result(cache, plan)
        _unchanged(before, cache)
        reader = plan.source.reader
        note = journal.Append(source=reader.location, kind=reader.kind, config=spec.to_json(plan.config))
        with _growing(path, plan) as part:
            first = cache.manifest.shards
            work = _Shifted(cache=part, entries=plan.entries, models=models, machine=machine, terminal=terminal, journal=notes, first=first)
            work.note(note)
            begun = [part.begin(_of_new(record, plan)) for record in plan.carried]
            complete(work, begun, plan.task, plan.config, every=False)
            made = [_label_set(work, record, plan.manifest.classes, plan.config) for record in plan.labels]
            _join(cache, part, plan, made)
            work.note(journal.Done())
        _clear(path)
        return _result(store.open_cache(path), plan)


def _of_new(record: Record, plan: _Plan) -> Record:
    """Return the record of a product that is begun for the new shapes alone. Their points say how these were read."""
    begun = dataclasses.replace(record, complete=False, content="", before=())
    read = [entry for entry in plan.entries if entry.id not in plan.task.refused]
    return readings.noted(begun, plan.source.reader, read) if products.of(record) is products.POINTS else begun


def _result(cache: Cache, plan: _Plan) -> Appended:
    unfinished = tuple(record.product for record in products.in_order(cache.records().values()) if not record.complete)
    return Appended(cache=cache, shapes=len(plan.entries), known=plan.known, unfinished=unfinished, left=len(plan.task.refused))


# ------------------------------------------------------------------------------------------------------ before it begins


def _planned(cache: Cache, location: str, wanted: Wanted, models: Models, machine: Machine, terminal: Terminal) -> _Plan:
    """Check everything, and say what will be made. Nothing is written. Arguments and errors as in `append`."""
    there = _growable(cache)
    config = _config(cache, wanted.settings)
    source = open_config_source(location, config)
    for text in source.notes:
        terminal.say(f"Note: {text}")
    if config.source.kind == "auto":
        _refuse_read_otherwise(cache, location, source)
    entries = _new_entries(cache, source, wanted.skip)
    refused, why = readings.left_out(cache, source.reader, entries)
    if len(refused) == len(entries):
        readings.refuse_other(cache, source.reader, entries, "build the new shapes into a cache of their own")
    elif refused:
        said = f"{readings.clash(cache, source.reader, entries)}. They fail, and the others are appended. {readings.remedy(cache)}"
        terminal.say(f"Warning: {said}")
    points, views, boxes = described_shapes(there)
    _same_labels(cache, source, points, boxes, terminal)
    whole = described(source)
    part = dataclasses.replace(
        whole, ids=spec.ids_digest(entry.id for entry in entries), of=len(source.entries) if len(entries) < len(source.entries) else 0
    )
    if entries and cache.manifest.renamed:
        terminal.say(
            "Note: `relabel` has given shapes of this cache other names. Those of one file each are known by it; one of several files may "
            "come in a second time"
        )
    carried = _carried(cache, there, wanted.products)
    manifest = _grown(cache, entries, part) if entries else cache.manifest
    for text in told_new(cache.manifest, manifest):
        terminal.say(f"Note: {text}")
    lacking = _lacking(there, manifest, wanted.products, terminal)
    task = Task(reader=source.reader, points=points, views=views, boxes=boxes, limits=config.limits, judge=models.judge(views))
    task = dataclasses.replace(task, refused=refused, why=why)
    if entries:
        readings.tell_unknown(cache, source.reader, entries, terminal.say)
        _check_makers(cache, (*carried, *lacking), there, task, wanted, models, machine)
    return _Plan(
        entries=entries,
        known=len(source.entries) - len(entries),
        source=source,
        part=part,
        config=dataclasses.replace(config, points=points, views=views),
        carried=carried,
        labels=lacking,
        task=task,
        manifest=manifest,
    )


def _growable(cache: Cache) -> dict[str, Record]:
    """Return the complete products of a cache that may grow.

    Raises:
        UserError: it may not.
    """
    manifest = cache.manifest
    if cache.below is not None:
        raise cache.below.not_here(cache.path, "its shapes are those of")
    if manifest.format_version == 1:
        raise UserError(f"{cache.path} has format 1, which cannot grow: convert it by `mmpd-cache copy {cache.path} NEW`")
    if manifest.segments and not manifest.source.also:
        raise UserError(f"{cache.path} does not say which source its segments are of: another program made it, and it cannot grow")
    there = cache.products()
    for name in (products.STATUS.name, products.POINTS.name):
        if name not in there:
            raise UserError(f"{cache.path}: {name} is not finished, so nothing can be appended; run the command that began it again")
    for name, record in there.items():
        if not products.of(record).labelled:
            cache.proven(name)
    return there


def _config(cache: Cache, settings: Sequence[str]) -> BuildConfig:
    """Return the settings of the cache's last build, but those of the source and of the limits as they are asked for.

    Raises:
        UserError: another setting is asked for.
    """
    for text in settings:
        if not text.strip().startswith(("source.", "limits.", SERVER)):
            raise UserError(
                f"append only sets source.NAME, limits.NAME and {SERVER}NAME, got {text}: what is made of a shape stays as it "
                "is in the cache"
            )
    before = last_config(cache)
    config: BuildConfig = override(
        dataclasses.replace(before, source=SourceConfig()), [text for text in settings if not text.strip().startswith(SERVER)]
    )
    return config


def _refuse_read_otherwise(cache: Cache, location: str, source: Source) -> None:
    """Refuse a place that the cache has shapes of, if it is now taken for another kind of source. Ids may differ by kind, so the same
    shapes could come in a second time.

    Raises:
        UserError: it is such a place.
    """
    place = str(Path(location).absolute())
    for event in journal.journal_of(cache).events:
        if isinstance(event, journal.Build) and event.source == place and event.kind not in ("", source.reader.kind):
            raise UserError(
                f"{location} was read as {event.kind} for {cache.path}, and is now as {source.reader.kind}, which may name its shapes "
                f"otherwise: --set source.kind={event.kind} takes only what is new"
            )


def _new_entries(cache: Cache, source: Source, skip: bool) -> tuple[Entry, ...]:
    """Return the entries of a source that a cache does not have.

    Raises:
        UserError: the cache has other shapes of the same ids.
    """
    ids = cache.ids()
    rows = {str(name): row for row, name in enumerate(ids) if name}
    known = [entry for entry in source.entries if entry.id in rows]
    if known and not skip:
        digests = cache.column("source_sha256")
        other = [entry.id for entry in known if _digest(source, entry) != digests[rows[entry.id]].tobytes()]
        if other:
            raise UserError(
                f"{cache.path} has shapes of these ids already, and their files are not known to be the same: "
                f"{some(other, SOME)}. (Where a shape has several files, this cannot be told from its main file.) To leave out "
                "what the cache has, add --skip; to append other shapes, give them other names"
            )
    new = tuple(entry for entry in source.entries if entry.id not in rows)
    if new:
        _refuse_other_classes(cache, source, known, rows)
    return _without_renamed(cache, source, new, skip)


def _refuse_other_classes(cache: Cache, source: Source, known: Sequence[Entry], rows: Mapping[str, int]) -> None:
    """Refuse a source that names the classes of shapes otherwise than the cache: its new shapes would be named by another rule.

    Args:
        cache: the cache. Nothing is compared if `relabel` has changed its classes.
        source: the source.
        known: entries of the source that the cache has. Those of other files are not compared.
        rows: the row of each shape in the cache, by its id.

    Raises:
        UserError: classes differ.
    """
    manifest, labels, digests = cache.manifest, cache.column("label"), cache.column("source_sha256")
    if any(column == "class" for part in (manifest.source, *manifest.source.also) for column, _ in part.relabelled):
        return
    there = {entry.id: manifest.classes[label] if (label := int(labels[rows[entry.id]])) >= 0 else "" for entry in known}
    if other := [
        f"{entry.id} is {entry.label or 'of no class'} here and {was or 'of no class'} there"
        for entry in known
        if (was := there[entry.id]) != entry.label and _digest(source, entry) == digests[rows[entry.id]].tobytes()
    ]:
        raise UserError(
            f"the classes of shapes that {cache.path} has are others in this source, so the new shapes would be named by another rule: "
            f"{some(other, SOME)}. Name the rule of the cache, such as --set source.label=file, folder or none; or give the cache these "
            "classes by `mmpd-cache relabel`"
        )


def _without_renamed(cache: Cache, source: Source, new: tuple[Entry, ...], skip: bool) -> tuple[Entry, ...]:
    """Leave out entries that a cache has under another id, if `relabel` has given its shapes other names.

    Raises:
        UserError: there are such entries, and `skip` is not set.
    """
    if not cache.manifest.renamed:
        return new
    names = {digest.tobytes(): str(name) for digest, name in zip(cache.column("source_sha256"), cache.ids(), strict=True) if name}
    there = {entry.id: names[digest] for entry in new if (digest := _digest(source, entry)) in names}
    if there and not skip:
        renamed = some([f"{one} is {name}" for one, name in there.items()], SOME)
        raise UserError(
            f"{cache.path} has {len(there)} of these shapes under names that `relabel` gave them: {renamed}. To leave out what the "
            "cache has, add --skip"
        )
    return tuple(entry for entry in new if entry.id not in there)


def _digest(source: Source, entry: Entry) -> bytes:
    """Return the sha256 of a shape's own file; nothing if it cannot be read."""
    try:
        return source.reader.digest(entry)
    except (UserError, OSError):
        return b""


def _same_labels(cache: Cache, source: Source, points: PointSpec, boxes: BoxSpec | None, terminal: Terminal) -> None:
    """Refuse a source whose labels of points, or boxes, are not those of the cache.

    Raises:
        UserError: they are others.
    """
    theirs = source.labelled
    if points.parts and theirs.parts and theirs.parts != points.parts:
        raise UserError(
            f"{cache.path} labels points with {len(points.parts)} names ({some(points.parts, SOME)}), and this source with other "
            f"ones ({some(theirs.parts, SOME)}): numbers would mean different things. Build it into another path"
        )
    if boxes is not None and theirs.boxes and (theirs.boxes != boxes.names or theirs.most > boxes.most):
        raise UserError(
            f"{cache.path} has room for {boxes.most} boxes of {len(boxes.names)} classes ({some(boxes.names, SOME)}), and this "
            f"source has {theirs.most} of {len(theirs.boxes)} ({some(theirs.boxes, SOME)}). Build it into another path"
        )
    wants = [(bool(points.parts), bool(theirs.parts), "parts"), (points.instances, theirs.instances, "instances")]
    wants += [(points.origins, theirs.origins, "origins"), (boxes is not None, bool(theirs.boxes), "boxes")]
    for ours, has, what in wants:
        if ours and not has:
            terminal.say(f"Note: this source has no {what}, so those of the new shapes are -1")
        if has and not ours:
            terminal.say(f"Note: the cache has no {what}, so those of the new shapes are left out")


def _carried(cache: Cache, there: dict[str, Record], asked: Sequence[str]) -> tuple[Record, ...]:
    """Return the products that are made for the new shapes, in the order of making.

    Raises:
        UserError: there is no product of a name, it is not finished, or it needs one that is left out.
    """
    begun = cache.records()
    for name in asked:
        if name not in there:
            if name in begun:
                raise UserError(f"{cache.path}: {name} is not finished, so it is not carried on; run the command that began it again")
            raise UserError(f"{cache.path} has no product {name!r}{did_you_mean(name, there)}")
    of_shapes = [record for record in there.values() if products.of(record).origin in ("files", "cache", "guide")]
    always = (products.STATUS.name, products.POINTS.name)
    chosen = [record for record in of_shapes if not asked or record.product in asked or record.product in always]
    names = {record.product for record in chosen}
    for record in chosen:
        gone = [name for name in products.needs(record) if name not in names]
        if gone:
            raise UserError(f"{record.product} is made from {gone[0]}, which is not finished or not among --products: name both or none")
    return tuple(products.in_order(chosen))


def _lacking(there: dict[str, Record], manifest: Manifest, asked: Sequence[str], terminal: Terminal) -> tuple[Record, ...]:
    """Return the label sets of the cache's own classes that have to be made again, because they lack new classes."""
    own = [r for r in there.values() if r.labels is not None and r.labels.name == "source"]
    needed = {labels.readable(name) for name in manifest.classes}
    found = [record for record in own if record.labels is not None and needed - set(record.labels.classes)]
    if found and (said := labels.told_confused(manifest.classes)):
        terminal.say(f"Warning: {', '.join(r.product for r in found)} will lack the new classes: {said}")
        return ()
    left = [record.product for record in found if asked and record.product not in asked]
    if left:
        terminal.say(f"Warning: {', '.join(left)} will lack the new classes")
    return tuple(record for record in found if record.product not in left)


def _check_makers(
    cache: Cache, wanted: Sequence[Record], there: dict[str, Record], task: Task, asked: Wanted, models: Models, machine: Machine
) -> None:
    """Load every model that is needed, and compare software with that which made the cache.

    Raises:
        UserError: a product cannot be made here as it was made. The message names all of them, and how to append without them.
    """
    views = [record for record in wanted if isinstance(record.spec, ViewSpec)]
    renderer = executors.renderer(task, machine) if views else ""
    reasons = {record.product: reason for record in wanted if (reason := _hindrance(record, models, renderer))}
    while True:  # what is made from a product that cannot be made
        more = {
            record.product: f"it is made from {name}"
            for record in wanted
            for name in products.needs(record)
            if name in reasons and record.product not in reasons
        }
        if not more:
            break
        reasons |= more
    if not reasons:
        return
    lines = "\n".join(f"- {name}: {reason}" for name, reason in reasons.items())
    rest = [record.product for record in wanted if record.product not in reasons and record.product != products.STATUS.name]
    if products.STATUS.name in reasons or products.POINTS.name in reasons:
        how = "The points of all shapes must be made by the same software: install it, or build the new shapes into a cache of their own"
    else:
        how = f"Make that possible, or append without them by --products {','.join(rest)}: they are then unfinished until they are made"
    raise UserError(f"{cache.path}: these products cannot be made for the new shapes as they were made for the others:\n{lines}\n{how}")


def _hindrance(record: Record, models: Models, renderer: str) -> str:
    """Say why a product cannot be made on this machine as it was made; empty if it can."""
    if products.of(record) is products.GUIDE:
        name = products.parts(record)["guide"]
        return f"`mmpd-train guide CACHE RUN --name {name}` makes it, after the append, with the run it is of"
    return hindrance(record, models, renderer)


def _grown(cache: Cache, entries: Sequence[Entry], part: SourceSpec) -> Manifest:
    """Return the manifest of a cache with more shapes. New names of classes, splits and licences come after the others."""
    old = cache.manifest

    def joined(names: tuple[str, ...], found: set[str]) -> tuple[str, ...]:
        return (*names, *sorted(found - {*names, ""}))

    return dataclasses.replace(
        old,
        shapes=old.shards * old.shard + len(entries),
        segments=(*(old.segments or (old.shapes,)), len(entries)),
        source=dataclasses.replace(old.source, also=(*old.source.also, part)),
        classes=joined(old.classes, {entry.label for entry in entries}),
        splits=joined(old.splits, {entry.split for entry in entries}),
        licences=joined(old.licences, {entry.licence for entry in entries}),
    )


# -------------------------------------------------------------------------------------------------- the new shapes alone


def _folder(path: Path) -> Path:
    """Return the place of the cache of new shapes."""
    path = path.resolve()
    return path.with_name(path.name + ".growing")


@contextmanager
def _growing(path: Path, plan: _Plan) -> Iterator[Cache]:
    """Hold the cache of the new shapes, new or as far as it was made.

    Raises:
        UserError: an append of other shapes was stopped.
    """
    folder = _folder(path)
    names = {name: tuple(sorted({getattr(entry, name) for entry in plan.entries} - {""})) for name in ("label", "split", "licence")}
    manifest = Manifest(
        shapes=len(plan.entries),
        shard=plan.manifest.shard,
        source=plan.part,
        classes=names["label"],
        splits=names["split"],
        licences=names["licence"],
    )
    with exclusive(folder):
        if (folder / "zarr.json").is_file():
            part = store.open_cache(folder)
            if part.manifest != manifest:
                was = part.manifest
                raise UserError(
                    f"an append of other shapes to {path} was stopped ({was.shapes} of {was.source.kind}): run it again, or delete {folder}"
                )
        else:
            own = dataclasses.replace(plan.source, entries=plan.entries)
            part = store.create(folder, manifest, *columns(manifest, own))
        yield part


def _finished(path: Path, cache: Cache, location: str, wanted: Wanted, terminal: Terminal) -> Appended | None:
    """Clean up after an append that was stopped when all but this was done. None if there was none, or if it was of other shapes."""
    folder = _folder(path)
    if not (folder / "zarr.json").is_file():
        return None
    node = folder / "zarr.json"
    part = opened(Manifest, attributes_of(node), node)  # more of it may be gone already
    if part.source not in cache.manifest.source.also:
        return None
    with held(path, terminal):
        _clear(path)
    span = cache.manifest.spans[1 + cache.manifest.source.also.index(part.source)]
    listed = {entry.id for entry in open_config_source(location, _config(cache, wanted.settings)).entries}
    ids = cache.ids()
    if not set(ids[span.start : span.stop]) <= listed <= set(ids):
        return None
    unfinished = tuple(record.product for record in products.in_order(cache.records().values()) if not record.complete)
    return Appended(cache=cache, shapes=part.shapes, known=len(listed) - part.shapes, unfinished=unfinished)


def _clear(path: Path) -> None:
    """Remove the cache of the new shapes. Its root goes last, because it tells that this is to be done."""
    folder = _folder(path)
    with exclusive(folder):  # at its end, a lock file is removed that a killed append has left
        if folder.is_dir():
            for place in folder.iterdir():
                if place.is_dir():
                    shutil.rmtree(place)
            shutil.rmtree(folder)
    journal_file(folder).unlink(missing_ok=True)


def _label_set(work: Work, record: Record, classes: Sequence[str], config: BuildConfig) -> Record:
    """Make a label set of all classes, in the cache of the new shapes. Returns its finished record."""
    assert isinstance(record.spec, TeacherSpec)
    batch = batch_size(record, "text_batch", config.image_batch)
    wanted = label_record(labels.label_set("source", classes), record.spec, work.models.here, batch)
    begun = work.cache.begin(wanted)
    if work.cache.missing(begun):
        build.make_labels(work.cache, begun, work.models.teacher(record.spec), batch, work.models)
    return work.cache.finish(begun)


# ------------------------------------------------------------------------------------------------------------ the joining


def _unchanged(before: Cache, now: Cache) -> None:
    """Refuse to go on if another command has changed a cache while this one waited for it.

    Raises:
        UserError: it has.
    """
    if before.manifest != now.manifest or before.records() != now.records():
        raise UserError(f"{now.path} was changed by another command meanwhile; run this one again")


def _join(cache: Cache, part: Cache, plan: _Plan, label_sets: Sequence[Record]) -> None:
    """Let a cache grow by the shards of another one.

    Args:
        cache: the cache.
        part: the finished cache of the new shapes.
        plan: what was to be made.
        label_sets: label sets in `part` that replace those of the cache.
    """
    grown = Cache(cache.path, plan.manifest)
    first = cache.manifest.shards
    _clear_ahead(cache)
    for record in plan.carried:
        own = part.record(record.product)
        for shard in range(part.manifest.shards):
            nodes = zip(
                (*part.arrays(own), markers(part.manifest, own)), (*grown.arrays(record), markers(grown.manifest, record)), strict=True
            )
            for theirs, ours in nodes:
                place_file(part.file(theirs.key(shard)), grown.file(ours.key(first + shard)), grown.path)
    ids, *numbers = columns(plan.manifest, dataclasses.replace(plan.source, entries=plan.entries))
    gap = first * plan.manifest.shard
    for shard in range(first, grown.manifest.shards):
        store.write_index(grown, shard, [""] * gap + ids, *([-1] * gap + values for values in numbers))
    write_together(cache.path, _changes(cache, grown, part, plan, label_sets))


def _clear_ahead(cache: Cache) -> None:
    """Remove files of shards after the last one. An append that was given up may have left them, and they would pass for new shards."""
    for record in cache.records().values():
        if products.of(record).labelled:
            continue
        for node in (markers(cache.manifest, record), *cache.arrays(record)):
            folder = cache.folder(node.path) / "c"
            refuse_links(folder / "0", cache.path)
            for place in folder.iterdir() if folder.is_dir() else ():
                if place.name.isdecimal() and int(place.name) >= cache.manifest.shards:
                    shutil.rmtree(place) if place.is_dir() and not place.is_symlink() else place.unlink()


def _changes(cache: Cache, grown: Cache, part: Cache, plan: _Plan, label_sets: Sequence[Record]) -> list[tuple[str, bytes]]:
    """Return the files that make a cache with more shards, in the order of writing: each record before what it describes, the root last."""
    files: list[tuple[str, bytes]] = []
    carried = {record.product for record in plan.carried} | {products.INDEX.name}
    after: dict[str, Record] = {}
    replaced = {record.product: record for record in label_sets}
    for name, record in cache.records().items():
        if products.of(record).labelled:
            after[name] = replaced.get(name, record)
            continue
        if products.of(record) is products.INDEX:
            record = dataclasses.replace(record, spec=plan.manifest.source)
        unfinished = outgrown(record, cache.manifest.shapes)
        statistics = b""
        if record.complete and name in carried:
            statistics = grown.statistics(record, checked=True) if products.of(record).statistics else b""
            content = grown.content(record, statistics=statistics or None)
            own = part.record(name)
            joined = readings.grown(record, own, cache.manifest) if products.of(record) is products.POINTS else record
            after[name] = dataclasses.replace(grown_by(joined, own), content=content, before=unfinished.before)
        else:
            after[name] = unfinished
        files.append((f"products/{name}/zarr.json", node_json(markers(grown.manifest, record), sealed(after[name]))))
        files += [(f"{node.path}/zarr.json", node_json(node, {"product": name})) for node in grown.arrays(record)]
        if statistics:
            files.append((statistics_array(grown.manifest, record).key(0), statistics))
    for record in label_sets:
        (node,), marker = part.arrays(record), markers(part.manifest, record)
        files += [(key, read_file(part.file(key))) for key in (node.key(0), marker.key(0))]
        files += [(f"products/{record.product}/zarr.json", node_json(marker, sealed(record)))]
        files += [(f"{node.path}/zarr.json", node_json(node, {"product": record.product}))]
    return [*files, ("zarr.json", store.root_json(grown.manifest, after))]
