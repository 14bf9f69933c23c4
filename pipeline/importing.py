"""The commands that bring embeddings and captions of other people into a cache that exists.

    import_embeddings(path, file, Embeddings(teacher="clip", kind="image"), terminal)
    import_captions(path, file, Captions(name="cap3d"), machine, batch, terminal)

Everything is checked before anything is written: ids, shapes, widths, NaN, zeros. Ids are compared exactly. After a kill, run the same
command again: it continues.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from cache_schema import products, store
from cache_schema.errors import UserError
from cache_schema.names import path_name
from cache_schema.spec import IMPORTED, TEXT_BYTES, CaptionSpec, LabelSet, Record, TeacherSpec
from cache_schema.store import Cache
from cache_schema.terminal import counted
from pipeline import imported, journal
from pipeline import labels as sets
from pipeline.formats import said, vectors
from pipeline.formats.vectors import Vectors
from pipeline.imported import check_teacher, sorted_ids
from pipeline.opening import check_place
from pipeline.work import Terminal, caught_up, held

Kind = Literal["image", "text", "labels"]
Missing = Literal["fail", "status"]

CHUNK: Final = 4096
"""Number of shapes whose embeddings are checked at once."""


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """What a file of embeddings is."""

    teacher: str
    """Name of the teacher in the cache."""
    kind: Kind
    """`image`: of pictures of shapes. `text`: of captions of the cache. `labels`: of class names."""
    model: str = ""
    """The model that made them, as their authors tell it; empty for that of the imported teacher of this name, or else the name."""
    text_side: bool = True
    """Whether the model also reads texts."""
    key: str = ""
    """Name of the array in the file; empty for the only one."""
    ids: Path | None = None
    """A file with the ids; None if they are in the file."""
    captions: str = ""
    """For `text`: name of the captions that were embedded."""
    labels: str = ""
    """For `labels`: name of the label set; `source` for the classes of the cache."""
    templates: tuple[str, ...] = ()
    """For `labels`: the sentences, each with one `{}`; empty for the class name alone, or for an average over unknown sentences."""
    missing: Missing = "fail"
    """What happens if shapes of the cache are not in the file: `fail`, or `status`, which stores zeros for them and lists them."""

    @property
    def of(self) -> products.Kind:
        """The kind of the product."""
        return products.KINDS[self.kind]

    def __post_init__(self) -> None:
        path_name(self.teacher, "the teacher")
        for kind, name, value in ((products.TEXT, "captions", self.captions), (products.LABELS, "labels", self.labels)):
            if kind is self.of and not value:
                raise UserError(f"embeddings of the kind {kind.name} need --{name} NAME")
            if kind is not self.of and value:
                raise UserError(f"--{name} is for embeddings of the kind {kind.name}, got --kind {self.kind}")
        if self.templates and self.of is not products.LABELS:
            raise UserError(f"--template is for label sets, got --kind {self.kind}")
        if self.of is not products.IMAGE and not self.text_side:
            raise UserError(f"embeddings of the kind {self.kind} come from a teacher that reads texts: leave out --no-text-side")


@dataclass(frozen=True, kw_only=True)
class Captions:
    """What a file of captions is."""

    name: str
    """Name of the captions in the cache."""
    author: str = ""
    """Who or what wrote them; empty for the name."""
    most: int = 10
    """Largest number of captions of a shape that are kept."""
    missing: Missing = "fail"
    """See `Embeddings.missing`; shapes that are not in the file get empty captions."""

    def __post_init__(self) -> None:
        path_name(self.name, "the captions")
        if not 1 <= self.most <= 1000:
            raise UserError(f"the number of captions of a shape must lie in 1..1000, got {self.most}")


def opened(path: Path) -> Cache:
    """Open the cache that gets something, before anything is written.

    Raises:
        UserError: it is no cache, has an older format, or its shapes are not made yet.
    """
    cache = store.open_ahead(path)
    if cache.manifest.format_version == 1:
        raise UserError(f"{path} has format 1: convert it by `mmpd-cache copy {path} NEW`, then import into the copy")
    cache.record(products.STATUS.name)
    check_place(path)
    return cache


def digest_of(file: Path) -> str:
    """sha256 of a file, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def import_embeddings(path: Path, file: Path, asked: Embeddings, terminal: Terminal) -> Record:
    """Store embeddings from a file as a product of a cache.

    Args:
        path: the cache.
        file: the file.
        asked: what the file is.
        terminal: gets messages.

    Returns:
        The record of the product.

    Raises:
        UserError: the file is unsound, its ids do not match, or the cache has other products of this name. Nothing was written.
    """
    cache = opened(path)
    found = vectors.read(file, key=asked.key, ids=asked.ids)
    _check_twice(found.ids, file.name)
    digest = digest_of(file)
    inputs = (("file", digest[:16]), *((("ids", digest_of(asked.ids)[:16]),) if asked.ids is not None else ()))
    made_by = ((IMPORTED, file.name), ("file_sha256", digest))
    teacher = imported.teacher_spec(asked.teacher, asked.model or _told(cache, asked.teacher), found.entry[-1], text=asked.text_side)
    check_teacher(cache, teacher)
    if asked.of is products.LABELS:
        record, stored = _labels(cache, asked, found, teacher, inputs, made_by)
        return _stored(path, record, lambda shard: [stored], terminal)
    if asked.of is products.IMAGE:
        record, empty = imported.image_record(teacher, _views(found.entry), inputs, made_by), None
    else:
        captions = cache.record(products.CAPTIONS.product(captions=asked.captions))
        record = imported.text_record(captions, teacher, inputs, made_by)
        if _views(found.entry) != record.per_shape:
            raise UserError(f"{captions.product} has {record.per_shape} texts of each shape, and {file.name} {_views(found.entry)}")
        empty = ~_said(cache, captions)  # [N, V * K]
    matching = _Matching(cache, found.ids, file.name, None if empty is None else np.asarray(empty.all(axis=1)))
    matching.check(asked.missing, terminal)
    values = _Values(found, matching, empty)
    values.check()
    return _stored(path, record, values.of_shard, terminal)


def _stored(path: Path, record: Record, of_shard: Callable[[int], list[NDArray[Any]]], terminal: Terminal) -> Record:
    """Write a product shard by shard, under the lock of the cache. `of_shard` gives the arrays of a shard."""
    with held(path, terminal) as file:
        # Class names are about no shapes: an overlay takes them without the new ones.
        cache = store.open_cache(path) if products.of(record).labelled else caught_up(path, terminal, [record])
        begun = cache.begin(record)
        if begun.complete:
            return begun
        journal.append(file, journal.Import(product=record.product))
        nodes = cache.arrays(begun)
        for shard in cache.missing(begun):
            cache.write(begun, shard, {node.path: array for node, array in zip(nodes, of_shard(shard), strict=True)})
        done = imported.finish(cache, begun) if products.of(begun) is not products.LABELS else cache.finish(begun)
        journal.append(file, journal.Done())
    imported.tell_lacking([done], terminal)
    return done


def _told(cache: Cache, name: str) -> str:
    """The model that an imported teacher of the cache is told to be; empty if the cache has no imported teacher of this name."""
    found = (record.spec for record in cache.records().values())
    return next((t.model for t in found if isinstance(t, TeacherSpec) and t.imported and t.name == name), "")


def _views(entry: tuple[int, ...]) -> int:
    """Number of embeddings of a shape."""
    return entry[0] if len(entry) == 2 else 1


def _check_twice(ids: Sequence[str], name: str) -> None:
    seen: set[str] = set()
    for one in ids:
        if one in seen:
            raise UserError(f"{name} has the id {one!r} twice; keep one of them")
        seen.add(one)


def _spelled(cache: Cache, by_id: dict[str, list[str]], name: str, terminal: Terminal) -> dict[str, list[str]]:
    """Texts by id, with ids as the cache spells them. Cap3D writes ShapeNet's as SYNSET_MODEL, and the source `shapenet` as SYNSET-MODEL.

    Args:
        cache: the cache.
        by_id: the texts of a file.
        name: the name of the file.
        terminal: gets a message if ids were spelled otherwise.
    """
    own = {str(one) for one in cache.ids()}
    other = {re.sub(r"^(\d{8})_", r"\1-", shape): texts for shape, texts in by_id.items()}
    if own & by_id.keys() or not own & other.keys() or len(other) < len(by_id):
        return by_id
    terminal.say(f"{name} writes ids as SYNSET_MODEL: they are taken for SYNSET-MODEL, as in the cache")
    return other


def _said(cache: Cache, captions: Record) -> NDArray[np.bool_]:
    """Which kept texts of shapes are there. [N, V * K] All are, of captions that may not lack any."""
    described = captions.spec
    assert isinstance(described, CaptionSpec)
    there = np.ones((cache.manifest.shapes, captions.per_shape * described.keep), np.bool_)
    if described.may_lack:
        for shard, cells in cache.column_shards(cache.arrays(captions)[0].path):
            rows = cells[:, :, : described.keep, 0].reshape(len(cells), -1) != 0
            there[shard * cache.manifest.shard : shard * cache.manifest.shard + len(rows)] = rows
    return there


class _Matching:
    """The shapes of a cache beside the ids of a file."""

    def __init__(self, cache: Cache, ids: Sequence[str], name: str, exempt: NDArray[np.bool_] | None = None) -> None:
        """
        Args:
            cache: the cache.
            ids: the ids of the file.
            name: the name of the file.
            exempt: shapes that need not be in the file. [N]
        """
        self.cache, self.name, self.ids = cache, name, ids
        self.own = cache.ids()
        place = {one: number for number, one in enumerate(ids)}
        self.number = np.array([place.get(one, -1) for one in self.own], np.int64)
        """Number in the file of each shape of the cache, -1 for none. [N]"""
        ok = cache.ok()
        self.found = ok & (self.number >= 0)
        self.lost = ok & (self.number < 0) & (True if exempt is None else ~exempt)

    def check(self, missing: Missing, terminal: Terminal) -> None:
        """Say what does not match.

        Raises:
            UserError: no id matches, or shapes are missing and that is not allowed.
        """
        if not self.found.any():
            raise UserError(
                f"none of the {len(self.ids):,} ids in {self.name} is a usable shape of {self.cache.path}: the file has "
                f"{sorted_ids(self.ids)}, the cache {sorted_ids(self.own)}. Ids are compared exactly; a list (.csv with path and id) gives "
                "the shapes of a cache the ids of the file"
            )
        lost = [self.own[row] for row in np.flatnonzero(self.lost)]
        if lost and missing == "fail":
            raise UserError(
                f"{self.name} has nothing for {len(lost):,} of {int((self.found | self.lost).sum()):,} usable shapes: {sorted_ids(lost)}. "
                "--missing status imports the others; training then leaves these shapes out of the loss"
            )
        if lost:
            terminal.say(f"{len(lost):,} usable shapes are not in {self.name}: {sorted_ids(lost)}")
        if extra := set(self.ids) - set(self.own):
            terminal.say(f"{len(extra):,} of {len(self.ids):,} ids in {self.name} are no shapes of the cache: {sorted_ids(extra)}")


class _Values:
    """The embeddings of a file in the order of the shapes of a cache."""

    def __init__(self, found: Vectors, matching: _Matching, empty: NDArray[np.bool_] | None) -> None:
        self.found, self.matching, self.empty = found, matching, empty

    def check(self) -> None:
        """Look at every embedding. Raises the errors of `imported.float16`."""
        rows = np.flatnonzero(self.matching.found)
        for start in range(0, len(rows), CHUNK):
            self._of(rows[start : start + CHUNK])

    def of_shard(self, shard: int) -> list[NDArray[Any]]:
        """The array of one shard. [n, V, E]"""
        rows = self.matching.cache.manifest.rows(shard)
        out = np.zeros((len(rows), _views(self.found.entry), self.found.entry[-1]), np.float16)
        here = rows.start + np.flatnonzero(self.matching.found[rows.start : rows.stop])
        if len(here):
            out[here - rows.start] = self._of(here)
        return [out]

    def _of(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        values = self.found.take(self.matching.number[rows].tolist())
        shaped = values.reshape(len(rows), _views(self.found.entry), -1)
        empty = None if self.empty is None else self.empty[rows]
        return imported.float16(shaped, lambda i: f"{self.matching.name}: {self.matching.own[rows[i]]}", empty)


def _labels(
    cache: Cache, asked: Embeddings, found: Vectors, teacher: TeacherSpec, inputs: imported.Inputs, made_by: imported.Inputs
) -> tuple[Record, NDArray[np.float16]]:
    """The record of a label set and its embeddings. [C, M, E]

    Raises:
        UserError: class names read alike, differ from those of the cache for `source`, or sentences are missing.
    """
    count = _views(found.entry)
    if count > 1 and len(asked.templates) != count:
        raise UserError(
            f"there are {count} embeddings of each class: give the {count} sentences with --template, got {len(asked.templates)}"
        )
    templates = asked.templates or ("{}",)
    if len(templates) != count:
        raise UserError(f"there is one embedding of each class, and {len(templates)} sentences were given")
    names = [sets.readable(name) for name in found.ids]
    if groups := sets.confused(found.ids):
        raise UserError(f"classes {' and '.join(map(repr, groups[0]))} read alike; take one of them out")
    order = list(range(len(names)))
    if asked.labels == "source":
        own = [sets.readable(name) for name in cache.manifest.classes]
        lost = [name for name in own if name not in names]
        if lost or not own:
            raise UserError(f"the cache has the classes {sorted_ids(own)}, and the file has no embedding of {sorted_ids(lost)}")
        order = [names.index(name) for name in own]
    made = LabelSet(name=path_name(asked.labels, "the label set"), classes=tuple(names[i] for i in order), templates=templates)
    values = found.take(order).reshape(len(order), count, -1)
    stored = imported.float16(values, lambda i: f"the class {made.classes[i]!r}")
    return imported.label_record(made, teacher, inputs, made_by), stored


# ---------------------------------------------------------------------------------------------------------------- captions


def import_captions(path: Path, file: Path, asked: Captions, terminal: Terminal) -> Record:
    """Store captions of shapes from a file as a product of a cache.

    Args:
        path: the cache.
        file: the file.
        asked: what the file is.
        terminal: gets messages.

    Returns:
        The record of the captions.

    Raises:
        UserError: the file is unsound, its ids do not match, or the cache has other captions of this name. Nothing was written.
    """
    cache = opened(path)
    by_id = _spelled(cache, {shape: texts for shape, texts in said.read(file).items() if texts}, file.name, terminal)
    matching = _Matching(cache, list(by_id), file.name)
    matching.check(asked.missing, terminal)
    chosen = {row: by_id[matching.own[row]][: asked.most] for row in np.flatnonzero(matching.found).tolist()}
    left = sum(len(by_id[matching.own[row]]) - len(texts) for row, texts in chosen.items())
    if left:
        terminal.say(f"{counted(left, 'caption')} left out: at most {asked.most} of a shape are kept")
    samples = max(map(len, chosen.values()))
    digest = digest_of(file)
    inputs, made_by = (("file", digest[:16]),), ((IMPORTED, file.name), ("file_sha256", digest))
    record = imported.caption_record(asked.name, asked.author or asked.name, 0, samples, inputs, made_by)
    cut = sum(len(" ".join(text.split()).encode()) > TEXT_BYTES for texts in chosen.values() for text in texts)
    if cut:
        terminal.say(f"{counted(cut, 'caption')} of more than {TEXT_BYTES} bytes cut there; teachers embed what is left")

    def of_shard(shard: int) -> list[NDArray[Any]]:
        arrays, rows = imported.zeros(cache, record, shard), cache.manifest.rows(shard)
        for row in rows:
            if row in chosen:
                imported.place_texts(arrays[0][row - rows.start], [chosen[row]])
        return arrays

    return _stored(path, record, of_shard, terminal)
