"""The captions of a run: the captioners of each cache, their shares, and the choice of a text for each shape.

    names = chosen(open_cache("shapes.zarr"), ("blip2", "cap3d"))       # checked; () chooses all captions of the cache
    mix = Mix([captions_of_first_cache, captions_of_second_cache])
    which = mix.captioner(part, row, chance)                            # [B]
    column = mix.column(part, row, which, look, chance)                 # [B], columns in the text arrays

Letters: B shapes in a batch, N shapes of a cache, V views, K captions of a view or of a shape, n of them that are drawn, T captioners,
L bytes of a text, E a teacher's width.
"""

import contextlib
import dataclasses
import hashlib
import json
import mmap
import re
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cache_schema import products
from cache_schema.classes import spelling, words
from cache_schema.errors import UserError
from cache_schema.spec import TEXT_BYTES, CaptionSpec, Record, did_you_mean
from cache_schema.store import Cache

Ints = NDArray[np.int64]
NONE: Final = -1
"""Key of a caption that is not there."""


@dataclass(frozen=True, kw_only=True)
class Captions:
    """One captioner's texts in one cache."""

    name: str
    """Name of the captions in the cache."""
    share: float
    """Share of this cache's drawn captions that come from this captioner."""
    by_view: bool
    """Whether each view has captions of its own. Otherwise they are about the whole shape."""
    views: int = 1
    """Number of views with captions of their own, V; 1 if captions are about the whole shape."""
    keep: int
    """Captions of a view, or of a shape, that teachers have embedded, K."""
    kinds: tuple[str, ...] = ()
    """Kind of each of these captions, K; empty if they are of one kind."""
    drawn: tuple[int, ...]
    """Which of the K captions are drawn: those of the kinds that the run asks for, or all. n of them."""
    key: Ints
    """A number for each caption, -1 for none. Equal texts have equal numbers. [N, V * K], or [N, K] if captions are about the whole
    shape."""
    there: NDArray[np.bool_] | None = None
    """Which of the drawn captions each view or shape has, [N, V, n]. None if all have all."""

    def of_shape(self, rows: Ints) -> NDArray[np.bool_]:
        """Whether shapes have any caption that is drawn. [B]"""
        return np.ones(len(rows), np.bool_) if self.there is None else np.asarray(self.there[rows].any(axis=(1, 2)))


def opened(cache: Cache, record: Record, share: float, kinds: Sequence[str] = ()) -> Captions:
    """The captions of a complete product of a cache.

    Args:
        cache: the cache.
        record: the product.
        share: see `Captions.share`.
        kinds: kinds of captions that are drawn; empty for all. Captions that have no kinds are all drawn.

    Raises:
        UserError: the captions have kinds, and none of these.
    """
    spec, name = record.spec, products.parts(record)["captions"]
    assert isinstance(spec, CaptionSpec)
    embedded, drawn = spec.kinds[: spec.keep], drawn_of(spec, kinds)
    if not drawn:
        raise UserError(
            f"{cache.path}: captions {name!r} have the kinds {', '.join(embedded)}, got {', '.join(kinds)}: name one of them, or "
            "other captions"
        )
    keys, there = _keys_of(cache, record, spec), None
    if spec.may_lack:
        there = (keys != NONE).reshape(len(keys), record.per_shape, spec.keep)[:, :, list(drawn)]
    return Captions(
        name=name,
        share=share,
        by_view=spec.per == "view",
        views=record.per_shape,
        keep=spec.keep,
        kinds=embedded,
        drawn=drawn,
        key=keys,
        there=None if there is None or there.all() else there,
    )


def drawn_of(spec: CaptionSpec, kinds: Sequence[str]) -> tuple[int, ...]:
    """Which of the embedded captions are drawn: those of these kinds; all if no kinds are given, or the captions have none."""
    embedded = spec.kinds[: spec.keep]
    return tuple(i for i in range(spec.keep) if not kinds or not embedded or embedded[i] in kinds)


def chosen(cache: Cache, names: Sequence[str], teacher: str = "") -> list[str]:
    """Names of the captions to read in a cache.

    Args:
        cache: the cache.
        names: names of captions; empty for all complete captions.
        teacher: name of a teacher that must have embedded the captions; empty for any captions.

    Raises:
        UserError: the cache has no captions, lacks one of `names`, or captions are unfinished.
    """
    version = cache.manifest.format_version
    kind, others = (products.TEXT, {"teacher": teacher}) if teacher else (products.CAPTIONS, {})
    right = {n: not products.is_wrong(cache.records(), r) for r in cache.of(kind, **others) for n in [products.parts(r)["captions"]]}
    known = [name for name, so in right.items() if so]
    what = f"captions embedded by {teacher}" if teacher else "captions"
    for name in names:
        if not right.get(name, True):
            raise UserError(
                f"{cache.path}: the captions {name!r} are wrong on purpose, so nothing takes them for right ones. Name others; a training "
                f"takes these for wrong answers by --set data.hard={name}"
            )
        if name not in known:
            if products.select(cache.records(), kind, captions=name, **others):
                cache.record(kind.product(version, captions=name, **others))  # raises the error for unfinished captions
            old = "; format 1 has no names for captions, `mmpd-cache copy` gives them one" if version == 1 else ""
            raise UserError(f"{cache.path} has no {what} called {name!r}{did_you_mean(name, known)}{old}")
    if not known:
        raise UserError(f"{cache.path} has no {what}. `mmpd-cache add-captioner` adds some; a training with data.templates=1 needs none")
    return list(names) or known


REWRITTEN: Final = ("samples", "keep", "seed", "per", "sheet", "over", "rank_by")
"""Settings, beside the sentences, that decide which texts captions by sentences have."""
NO_WORD: Final = re.compile(r"[^\w\s-]")
"""What stands between words but blanks."""
LISTED: Final = 300
"""Most characters of sentences that a note repeats."""


def outdated(cache: Cache, record: Record, rows: Ints) -> str:
    """A note on captions that say other classes of some shapes than the cache has by now, since `mmpd-cache relabel` writes no texts; empty
    if there is nothing to say. Other names of files change no class, so nothing is said of them.

    Args:
        cache: the cache.
        record: the captions.
        rows: rows of the shapes, ascending. [n]

    A sentence that is filled with a name says it in one place. A text of what a source states says another class if it has the name of one
    of the cache's classes, which keep those of before, and not that of the shape's own.
    """
    spec, source = record.spec, cache.manifest.source
    assert isinstance(spec, CaptionSpec)
    if not any(column == "class" for part in (source, *source.also) for column, _ in part.relabelled):
        return ""
    if not spec.stated and not spec.templates:
        return ""
    count = _contradicted(cache, record, spec, np.asarray(rows, np.int64))
    if not count:
        return ""
    told = f"{record.product} of {cache.home.name} says another class of {count} of {len(rows)} shapes than the cache has"
    if spec.stated:
        return f"{told} (`mmpd-cache relabel`): the source states it so. Name other captions, or leave these out, if that matters"
    name = products.parts(record)["captions"]
    again = f"`mmpd-cache remove CACHE {record.product} --with-dependants`"
    return f"{told} (`mmpd-cache relabel`). To write it anew, with its embeddings: {again}, and then {_made_by(spec, name)}"


def _made_by(spec: CaptionSpec, name: str) -> str:
    """The command that writes captions by sentences, with all settings that decide what they say. The path of the cache is left open, since
    notes are handed on with a run."""
    usual = {field.name: field.default for field in dataclasses.fields(spec)}
    settings = [f"{one}={getattr(spec, one)}" for one in REWRITTEN if getattr(spec, one) != usual[one]]
    sentences = json.dumps(spec.templates, ensure_ascii=False)
    known = len(sentences) <= LISTED
    given = [f"--set {shlex.quote(one)}" for one in (*settings, *([f"templates={sentences}"] if known else []))]
    command = " ".join(["mmpd-cache add-captioner CACHE", shlex.quote(f"{name}={spec.captioner}"), *given])
    if known:
        return f"`{command}`"
    more = f"with `--set templates=...` for its {len(spec.templates)} sentences if they are not those of the captioner"
    return f"`{command}`, {more} (`mmpd-cache info CACHE --json` shows them)"


def _contradicted(cache: Cache, record: Record, spec: CaptionSpec, rows: Ints) -> int:
    """The number of shapes, among those in some rows [n], of which a caption says another class than the cache has."""
    node, classes, labels = cache.arrays(record)[0], cache.manifest.classes, cache.column("label")
    names, count = [spelling(words(name)) for name in classes], 0
    ids = cache.ids() if spec.templates and (labels[rows] < 0).any() else ()
    for shard, texts in cache.column_shards(node.path):
        first = shard * node.shard
        here = rows[slice(*np.searchsorted(rows, (first, first + len(texts))))]
        if spec.templates:
            texts = texts[:, :1, :1]  # all sentences about a shape are filled at once, with one name
        for label in np.unique(labels[here]):
            some = here[labels[here] == label]
            cells = np.ascontiguousarray(texts[some - first]).view(f"V{texts.shape[-1]}").reshape(len(some), -1)  # [b, K]
            said, place = np.unique(cells, return_inverse=True)
            told = [value.tobytes().rstrip(b"\0").decode() for value in said]
            if spec.stated:
                other = np.array([_states_other(text, label, names) for text in told], bool)[place.reshape(cells.shape)].any(1)
            elif label >= 0:
                other = np.array([not _fits(text, spec.templates, (names[label],)) for text in told], bool)[place.ravel()]
            else:  # filled with the names of the files
                stems = [spelling(words(PurePosixPath(str(ids[row])).stem)) for row in some]
                pairs = zip((told[one] for one in place.ravel()), stems, strict=True)
                other = np.array([_fits(text, spec.templates, names) and not _fits(text, spec.templates, (s,)) for text, s in pairs], bool)
            count += int(other.sum())
    return count


def _fits(text: str, templates: Sequence[str], names: Sequence[str]) -> bool:
    """Whether a sentence can be one of some templates, filled with one of some names."""
    if len(text.encode()) > TEXT_BYTES - 4:  # it may have been cut
        return True
    halves = (template.split("{}") for template in templates)
    filled = [text[len(a) : len(text) - len(b)] for a, b in halves if text.startswith(a) and text.endswith(b)]
    return any(name in map(spelling, filled) for name in names)


def _states_other(text: str, label: int, names: Sequence[str]) -> bool:
    """Whether a text has the name of another class than its shape's, and not that one; none of the names for a shape without a class."""
    said = f" {spelling(re.sub(NO_WORD, ' ', text))} "
    return any(f" {name} " in said for name in names) and not (label >= 0 and f" {names[label]} " in said)


def shares(weights: Sequence[float], count: int) -> NDArray[np.float64]:
    """Shares that add up to 1, from `count` weights; equal shares if there are no weights. [count]"""
    values = np.asarray(weights or (1.0,) * count, np.float64)
    return np.asarray(values / values.sum())


def mixture(moments: Sequence[NDArray[np.float64]], weights: Sequence[float]) -> NDArray[np.float64]:
    """Mean and variance of values that come from several sets, [2, E], from those of each set, [2, E], in proportion to weights."""
    means, variances = np.stack(moments, 1)  # [sets, E] each
    mean = np.average(means, axis=0, weights=weights)
    # The variance of a mixture: the mean of the variances, and the variance of the means.
    return np.stack([mean, np.average(variances + (means - mean) ** 2, axis=0, weights=weights)])


class Mix:
    """The captions of several caches, with the random choice of a caption for a shape.

    For shapes without any caption, the results have no meaning.
    """

    def __init__(self, captions: Sequence[Sequence[Captions]]) -> None:
        """
        Args:
            captions: the captions of each cache.
        """
        size = (len(captions), max([1, *map(len, captions)]))
        # [caches, T] each. If a cache has fewer captioners than another, the last entries of its row are never drawn.
        self._below = np.ones(size)  # the chances below which a captioner, or one before it, is drawn
        self._views = np.ones(size, np.int64)
        self._keep = np.ones(size, np.int64)
        self._number = np.ones(size, np.int64)  # of captions that are drawn, n
        most = max([1, *(len(c.drawn) for those in captions for c in those)])
        self._drawn = np.zeros((*size, most), np.int64)
        self._partial = {i: those for i, those in enumerate(captions) if any(c.there is not None for c in those)}
        """The captions of caches in which some shapes or views lack a caption, by index of the cache."""
        for i, those in enumerate(captions):
            if those:
                self._below[i, : len(those)] = _below([c.share for c in those])
                self._views[i, : len(those)] = [c.views if c.by_view else 1 for c in those]
                self._keep[i, : len(those)] = [c.keep for c in those]
                self._number[i, : len(those)] = [len(c.drawn) for c in those]
                for place, c in enumerate(those):
                    self._drawn[i, place, : len(c.drawn)] = c.drawn

    def captioner(self, part: Ints, row: Ints, chance: NDArray[np.float64]) -> Ints:
        """Index of the captioner of each shape's text in its cache. [B]

        Args:
            part, row: index of each shape's cache, and its row there. [B]
            chance: random numbers in [0, 1). [B]

        Where a captioner has nothing on a shape, the others share its chance.
        """
        which = np.asarray((chance[:, None] >= self._below[part]).sum(1))
        for i, those in self._partial.items():
            here = np.flatnonzero(part == i)
            shares = np.stack([c.of_shape(row[here]) * c.share for c in those], axis=1)  # [b, T]
            some = shares.any(axis=1)
            which[here[some]] = (chance[here[some], None] >= _below(shares[some])).sum(1)
        return which

    def column(self, part: Ints, row: Ints, captioner: Ints, look: NDArray[np.float64], chance: NDArray[np.float64]) -> Ints:
        """Column of the text in the captioner's arrays: a text about a view, or about the shape. [B]

        Args:
            part, row, captioner: index of each shape's cache, its row there, and the captioner. [B]
            look: random numbers in [0, 1) that choose the view. [B]
            chance: random numbers in [0, 1) that choose one of its captions. [B]

        The columns of text arrays are view by view, K of each.
        """
        view = (look * self._views[part, captioner]).astype(np.int64)
        text = (chance * self._number[part, captioner]).astype(np.int64)  # of those that are drawn
        for i, those in self._partial.items():
            for place, c in enumerate(those):
                here = np.flatnonzero((part == i) & (captioner == place))
                if c.there is not None and len(here):
                    there = c.there[row[here], view[here]]  # [b, n]
                    first = np.argsort(~there, axis=1, kind="stable")  # those that are there, in order, and then the others
                    nth = (chance[here] * np.maximum(there.sum(axis=1), 1)).astype(np.int64)
                    text[here] = first[np.arange(len(here)), nth]
        return view * self._keep[part, captioner] + self._drawn[part, captioner, text]


def _below(shares: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Running sums of shares along the last axis, in parts of their total. The last is 1, which no chance reaches."""
    sums = np.cumsum(shares, axis=-1)
    return np.asarray(sums / sums[..., -1:])


class _Keys(dict[bytes, int]):
    """Keys of texts, each computed once: captions repeat, and a hash takes ten times as long as to find a text again."""

    def __missing__(self, text: bytes) -> int:
        # 63 bits, so that a key is a positive int64: -1 stands for no text. A billion texts share one with a chance of 5 %.
        key = int.from_bytes(hashlib.blake2b(text.ljust(TEXT_BYTES, b"\0"), digest_size=8).digest(), "little") >> 1
        if len(self) < REMEMBERED:
            self[text] = key
        return key


REMEMBERED: Final = 1 << 16
"""Number of texts whose keys are remembered while keys are computed."""


def text_keys(cells: NDArray[np.uint8], known: _Keys | None = None) -> Ints:
    """63 bits of a hash of every text cell. [n, L] -> [n]

    Args:
        cells: the texts.
        known: keys of texts that came before, to which new ones are added.
    """
    # NumPy's own text type leaves out the zeros behind a text, so that few bytes are looked up. It looks at every zero, so columns that are
    # zeros in all cells are left out before, eight at a time.
    used = 8 * (int(np.bitwise_or.reduce(cells.view("<u8"), axis=0).nonzero()[0].max(initial=0)) + 1)
    texts = np.ascontiguousarray(cells[:, :used]).view(f"S{used}").ravel().tolist()
    return np.fromiter(map((_Keys() if known is None else known).__getitem__, texts), np.int64, len(texts))


def _keys_of(cache: Cache, record: Record, spec: CaptionSpec) -> Ints:
    """A key for each text that is embedded, read only. [N, V * K], or [N, K] if captions are about the whole shape."""
    shape = cache.manifest.shapes, record.per_shape * spec.keep
    # Twelve views with two texts each are 200 MB of keys for a million shapes, in each process of a run.
    with contextlib.suppress(OSError), tempfile.TemporaryFile() as file:  # it has no name, and is gone when it is not mapped any more
        for keys in _key_shards(cache, record, spec):
            file.write(keys.data)  # what was written to a map would end the process on a full disk
        file.flush()
        return np.frombuffer(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ), np.int64).reshape(shape)
    return np.concatenate(list(_key_shards(cache, record, spec))).reshape(shape)  # no folder has room for the file


def _key_shards(cache: Cache, record: Record, spec: CaptionSpec) -> Iterator[Ints]:
    """The keys of the embedded texts of one shard after the other. [n] each; NONE for rows without a shape"""
    # One shard at a time: the texts of a million shapes do not fit into memory.
    known, empty, node = _Keys(), text_keys(np.zeros((1, TEXT_BYTES), np.uint8)), cache.arrays(record)[0]
    for shard, texts in cache.column_shards(node.path):
        rows, width = min(node.shard, node.shape[0] - shard * node.shard), record.per_shape * spec.keep
        found = np.full(rows * width, NONE, np.int64)
        found[: len(texts) * width] = keys = text_keys(texts[:, :, : spec.keep].reshape(-1, texts.shape[-1]), known)
        if spec.may_lack:
            found[: len(keys)][keys == empty] = NONE
        yield found
