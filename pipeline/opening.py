"""Open what a command works on: the source of the shapes, the cache, and the settings of the last build.

source = open_config_source("meshes/", config)
cache = open_again(path, source, config.shard) or create(path, source, config.shard)
"""

import contextlib
import dataclasses
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from cache_schema import overlay, products, spec, store
from cache_schema.errors import UserError
from cache_schema.records import differences
from cache_schema.selection import COLUMNS
from cache_schema.spec import BoxSpec, Manifest, PointSpec, Record, SourceSpec, TeacherSpec, ViewSpec
from cache_schema.store import Cache
from cache_schema.terminal import counted
from pipeline import weights
from pipeline.journal import Append, Build, Loading, journal_of, read_journal
from pipeline.recipes import BuildConfig, SourceConfig, shard_size
from pipeline.sources.catalog import Labelled, Source, open_source

# ------------------------------------------------------------------------------------------------------- the source


def open_config_source(location: str, config: BuildConfig) -> Source:
    """Open the source of a build.

    Raises:
        UserError: nothing is there, or an option is wrong.
    """
    return open_source(location, kind=config.source.kind, textures=config.source.textures, **config.source.settings)


def described(source: Source) -> SourceSpec:
    """Return the description of a source that a cache records."""
    reader = source.reader
    return SourceSpec(
        kind=reader.kind, ids=spec.ids_digest(e.id for e in source.entries), options=tuple(reader.options), textures=reader.textures
    )


def columns(manifest: Manifest, source: Source) -> tuple[list[str], list[int], list[int], list[int]]:
    """Return ids, labels, splits and licences of all rows, as `store.create` takes them."""
    label, split, licence = ({name: i for i, name in enumerate(names)} for names in (manifest.classes, manifest.splits, manifest.licences))
    entries = source.entries
    return (
        [e.id for e in entries],
        [label.get(e.label, -1) for e in entries],
        [split.get(e.split, -1) for e in entries],
        [licence.get(e.licence, -1) for e in entries],
    )


def last_config(cache: Cache) -> BuildConfig:
    """Return the settings of the last build from the journal beside a cache. Without a journal only the settings of the source are
    known."""
    config = config_of(journal_of(cache).last_build)
    if config is not None:
        return config
    there = cache.manifest.source
    options = tuple(f"{name}={value}" for name, value in there.options)
    return BuildConfig(source=SourceConfig(kind=there.kind, textures=there.textures, options=options))


def recorded_config(path: Path) -> BuildConfig | None:
    """Return the settings of the last build of the cache at `path`, as a user may give them; None if there is no cache or no journal."""
    if not (path / "zarr.json").exists():
        return None
    # An append that was stopped has noted how another source is read.
    builds = (event for event in reversed(journal_of(store.open_cache(path)).events) if isinstance(event, Build))
    config = config_of(next((event for event in builds if not isinstance(event, Append)), None))
    # What the source says of its labels is asked again.
    return config and dataclasses.replace(config, points=dataclasses.replace(config.points, parts=(), instances=False, origins=False))


def config_of(event: Build | None) -> BuildConfig | None:
    """Return the settings of a build in the journal; None if it has none that this version knows."""
    if event is not None and event.config is not None:
        with contextlib.suppress(UserError):  # another version may have written them
            config: BuildConfig = spec.from_json(BuildConfig, event.config)
            return config
    return None


# -------------------------------------------------------------------------------------------------------- the cache


def check_place(path: Path) -> None:
    """Refuse a place that cannot hold a cache, before anything is written there or beside it.

    Raises:
        UserError: it is a file, or a folder of something else, or nobody may write there.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(path)) and not path.exists():
        raise UserError(f"{path} is an address, and caches are built in folders: build here, then `mmpd-cache push` it there")
    if path.exists() and not path.is_dir():
        raise UserError(
            f"{path} is a file; give the name of a folder, to be made or with a cache in it, such as {path.with_suffix('.zarr')}"
        )
    if path.is_dir() and not (path / "zarr.json").exists():
        store.check_empty(path)
    overlay.refuse_unwritable(path)
    for folder in [path] * path.is_dir() + [next(parent for parent in path.absolute().parents if parent.exists())]:
        if not folder.is_dir():
            raise UserError(f"{path} cannot be made: {folder} is a file")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise UserError(f"{path} cannot be written: {folder} is read-only for you. Give a place you may write to")


def create(path: Path, source: Source, shard: int) -> Cache:
    """Make a new, empty cache of the shapes of a source. `shard` is the number of shapes per shard; 0 chooses one."""
    entries = source.entries
    classes = tuple(sorted({e.label for e in entries if e.label}))
    splits = tuple(sorted({e.split for e in entries if e.split}))
    manifest = Manifest(
        shapes=len(entries),
        shard=shard or shard_size(len(entries)),
        source=described(source),
        classes=classes,
        splits=splits,
        licences=tuple(sorted({e.licence for e in entries if e.licence})),
    )
    return store.create(path, manifest, *columns(manifest, source))


def open_again(path: Path, source: Source, shard: int) -> Cache | None:
    """Open the cache at `path`, and compare it with a source. Returns None if there is no cache.

    Args:
        path: the cache.
        source: the source.
        shard: the number of shapes per shard that the cache must have; 0 for any.

    Raises:
        UserError: the cache was built from other shapes, or from the same shapes with other settings.
    """
    if not (path / "zarr.json").exists():
        return None
    asked, entries = described(source), source.entries
    cache = store.open_cache(path)
    _refuse_grown(cache)
    there = dataclasses.replace(cache.manifest.source, relabelled=())
    if spec.fingerprint(there) != spec.fingerprint(asked):
        if there.ids != asked.ids:
            now, then = {e.id for e in entries}, set(cache.ids())
            added, gone = sorted(now - then), sorted(then - now)
            kinds = (there.kind, asked.kind)
            otherwise = f"It was read as {kinds[0]}, and is now as {kinds[1]}: try --set source.kind={kinds[0]}. " * (kinds[0] != kinds[1])
            raise UserError(
                f"{path} was built from other shapes: {len(added)} new{f' ({added[0]})' if added else ''}, "
                f"{len(gone)} gone{f' ({gone[0]})' if gone else ''}. {otherwise}Build into another path, "
                + ("or restore the shapes." if gone else f"or add the new ones by `mmpd-cache append {path} SOURCE`.")
            )
        raise UserError(
            f"{path} was built from this source read otherwise: {'; '.join(differences(there, asked))}. Build into another path, or with "
            f"the recorded settings: {_restoring(there, asked)}"
        )
    same_labels(cache, source)
    if shard not in (0, cache.manifest.shard):
        there_are = cache.manifest.shard
        raise UserError(
            f"{path} has shards of {counted(there_are, 'shape')}, asked {shard}; build into another path, or with --set shard={there_are}"
        )
    return cache


def same_labels(cache: Cache, source: Source) -> None:
    """Compare the classes and the splits of a cache with those of its source, but for those that `relabel` changed.

    Args:
        cache: the cache.
        source: its source, with an entry for each row.

    Raises:
        UserError: they differ.
    """
    said = cache.manifest.source
    ours = {COLUMNS[word] for part in (said, *said.also) for word, _ in part.relabelled if word in COLUMNS}
    for name, values in zip(("label", "split"), columns(cache.manifest, source)[1:3], strict=True):
        changed = [] if name in ours else (cache.column(name) != values).nonzero()[0]
        if len(changed):
            raise UserError(
                f"{cache.path}: the {name} of {source.entries[changed[0]].id} and {len(changed) - 1} more has changed; build into another "
                f"path, or take it over by `mmpd-cache relabel {cache.path} FILE.csv`"
            )


def _refuse_grown(cache: Cache) -> None:
    """Refuse to build a cache from one source if it has the shapes of several."""
    manifest = cache.manifest if cache.below is None else cache.below.now
    if manifest.segments:
        raise UserError(
            f"{cache.path} has grown: it holds {counted(manifest.count, 'shape')} in {len(manifest.segments)} segments, so no one source "
            "can build it. `mmpd-cache retry` makes what failed or is missing, `add-teacher`, `add-captioner` and `labels` add products, "
            "and `append` adds shapes; or build into another path"
        )


def _restoring(there: SourceSpec, asked: SourceSpec) -> str:
    """Write the options of `build` that read a source as the cache records it."""
    options = [("kind", there.kind), ("textures", there.textures), *there.options]
    here = {("kind", asked.kind), ("textures", asked.textures), *asked.options}
    changed = [f"--set {shlex.quote(f'source.{name}={value}')}" for name, value in options if (name, value) not in here]
    more = sorted({name for name, _ in asked.options} - {name for name, _ in there.options})
    return " ".join([*changed, *(f"(without source.{name})" for name in more)])


def described_shapes(there: Mapping[str, Record]) -> tuple[PointSpec, ViewSpec | None, BoxSpec | None]:
    """Return the specifications of the points, the views and the boxes; None if there are no views or no boxes.

    Args:
        there: records by product, with one of points.
    """
    points = there[products.POINTS.name].spec
    views = there[products.VIEWS.name].spec if products.VIEWS.name in there else None
    boxes = there[products.BOXES.name].spec if products.BOXES.name in there else None
    assert isinstance(points, PointSpec) and (views is None or isinstance(views, ViewSpec))
    assert boxes is None or isinstance(boxes, BoxSpec)
    return points, views, boxes


def labelled(config: BuildConfig, source: Source, path: Path) -> tuple[PointSpec, BoxSpec | None]:
    """Return the specifications of the points with the labels that the source has, and of the boxes if it has any.

    Args:
        config: the settings of a build. Without `point_labels`, neither labels nor boxes are stored.
        source: the source.
        path: the cache, which may be there already.

    Raises:
        UserError: the cache at `path` was built with other labels.
    """
    there = source.labelled if config.point_labels else Labelled()
    points = dataclasses.replace(config.points, parts=there.parts, instances=there.instances, origins=there.origins)
    if (path / "zarr.json").exists():
        record = store.open_cache(path).records().get(products.POINTS.name)
        before = record.spec.labels if record is not None and isinstance(record.spec, PointSpec) else points.labels
        if before != points.labels:
            advice = "build with --set point_labels=false, " if not before else ""
            raise UserError(
                f"{path} has {_listed(before)}, and this build would store {_listed(points.labels)}: {advice}remove it and "
                "build it anew, or build into another path"
            )
    return points, BoxSpec(names=there.boxes, most=there.most) if there.boxes else None


def _listed(labels: Mapping[str, str]) -> str:
    """Name the labels of points for a message."""
    return f"the labels of points {', '.join(labels)}" if labels else "no labels of points"


def finished(cache: Cache) -> dict[str, Record]:
    """Return the records of complete products. A lost record is no error, unlike in `Cache.products`, because the caller may make it
    again."""
    return {name: record for name, record in cache.records().items() if record.complete}


def text_teachers(cache: Cache) -> list[TeacherSpec]:
    """List the teachers of a cache that read text and have finished embeddings or patch features of its views. No model here is the one of
    an imported teacher, so none of these is among them."""
    found: dict[str, TeacherSpec] = {}
    for kind in (products.IMAGE, products.DENSE):
        for record in products.select(finished(cache), kind):
            teacher = record.teacher
            if teacher is not None and teacher.text and not teacher.imported:
                found.setdefault(teacher.name, teacher)
    return list(found.values())


def has_views(path: Path) -> bool:
    """Whether a cache with finished views is at `path`."""
    return (path / "zarr.json").exists() and products.VIEWS.name in finished(store.open_cache(path))


# ------------------------------------------------------------------------------------------------------- local models


def place_of(digest: str, model: str) -> dict[str, str]:
    """Return the folder of a model that is given as a path, by the digest of its weights; else nothing. Templates have no weights."""
    return {digest: str(Path(model).expanduser().absolute())} if digest and weights.is_path(model) else {}


def places(path: Path) -> dict[str, str]:
    """Return the folders of local models that the journal beside a cache names, by the digest of their weights."""
    found: dict[str, str] = {}
    there = (path / "zarr.json").exists()
    for event in (journal_of(store.open_cache(path)) if there else read_journal(path)).events:
        if isinstance(event, Loading):
            found |= event.models
    return found
