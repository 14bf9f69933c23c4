"""Numbers that a report computes from a cache: how good its teachers are by themselves, and which shapes are there twice.

    found = findings(Snapshot(cache))
    found.accuracy[0].percent          # zero-shot accuracy of the first teacher with the first label set, in percent
    found.duplicates.crossing          # shapes of one split that are in another one, too

The page and `mmpd-cache report CACHE --json` show the same numbers, because both take them from here. Of a large cache a sample is read,
always the same one.

Letters: N shapes, n sampled shapes, V views, E embedding width, C classes of a label set, M sentences of a class.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cache_schema import products, spec
from cache_schema.classes import NONE, matched
from cache_schema.errors import UserError
from cache_schema.intervals import wilson
from cache_schema.rows import Rows
from cache_schema.spec import CaptionSpec, Record, TeacherSpec
from cache_schema.store import Cache
from pipeline.snapshot import Snapshot

SAMPLE: Final = 2000
"""Number of shapes among which neighbours are searched, and whose captions are looked at."""
MEASURED: Final = 20_000
"""Number of shapes on which the teachers' accuracy is measured."""
BINS: Final = 24
"""Number of bars of the distribution of caption scores."""
LISTED: Final = 50
"""Number of groups of equal shapes that are listed."""
MEMBERS: Final = 8
"""Number of shapes that are listed of one group."""
OWN_CLASSES: Final = "source"
"""Name of the label set that is made of the cache's own classes, in their order."""


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Zero-shot accuracy of a teacher on its own pictures: how often the class whose sentences are nearest is the right one."""

    label_set: str
    teacher: str
    split: str
    """Name of the split; empty for all shapes."""
    shapes: int
    """Number of shapes that count: usable, embedded, and of a class that the label set has."""
    left_out: int
    """Number of usable, embedded shapes of the split that have a class, but none of the label set."""
    percent: float | None
    """Accuracy in percent; None if no shape counts."""
    interval: tuple[float, float] | None
    """Its 95 % interval over other shapes of the same kind, in percent (Wilson)."""
    chance: float
    """Accuracy of guessing, in percent."""
    classes: int
    """Number of classes of the label set."""
    note: str
    """Why there is no number; empty if there is one."""


@dataclass(frozen=True, kw_only=True)
class CaptionRanks:
    """How well a teacher matches shapes with their own captions."""

    captions: str
    shapes: int
    first: float
    """Percentage of the shapes whose own captions are nearest to their pictures."""
    median: float
    """Median rank of a shape's own captions; 1 is the best."""


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """How often the nearest other shape has the same class, for one teacher."""

    teacher: str
    sampled: int
    """Number of shapes among which neighbours are searched."""
    counted: int
    """Number of those that share their class with another one. Only they count."""
    same: float | None
    """Percentage of these whose nearest other shape has the same class; None if there are none."""
    interval: tuple[float, float] | None
    """95 % interval of `same` in percent (Wilson)."""
    chance: float | None
    """The same percentage for a random other shape."""
    captions: tuple[CaptionRanks, ...]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Distribution of the scores of the embedded captions of one captioner: cosines to the picture, as the ranking teacher sees them."""

    captions: str
    ranked_by: str
    """Name of the teacher that gave the scores."""
    shapes: int
    """Number of shapes whose captions are counted."""
    scores: int
    mean: float
    quantiles: tuple[float, float, float, float, float]
    """Least, first quartile, median, third quartile, greatest."""
    edges: tuple[float, ...]
    """Ends of the bars, one more than there are bars."""
    counts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Member:
    """One of several shapes that are made from the same data."""

    row: int
    id: str
    label: str
    split: str


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """Two splits that share data."""

    splits: tuple[str, str]
    shapes: tuple[int, int]
    """Number of shapes of either split whose data a shape of the other one has, too."""


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Usable shapes that are made from the same data, byte for byte, by the digests in `source_sha256`."""

    known: int
    """Number of usable shapes with a digest."""
    shapes: int
    """Number of shapes that are there more than once, all counted."""
    groups: int
    """Number of different data among these."""
    disagreeing: int
    """Number of groups whose shapes have different classes."""
    crossing: tuple[Crossing, ...]
    listed: tuple[tuple[Member, ...], ...]
    """The first groups, those across splits before all others, each with its first shapes."""


@dataclass(frozen=True, kw_only=True)
class Scarce:
    """Usable shapes with fewer points than a block, and how many they have: the different points of their first block."""

    shapes: int
    """Number of these shapes."""
    block: int
    """Number of points of a block."""
    counted: int
    """Number of these shapes whose points were counted."""
    quantiles: tuple[int, int, int, int, int]
    """Least, first quartile, median, third quartile, greatest number of points."""
    below: tuple[tuple[int, int], ...]
    """Numbers of points, doubled from one to the next, and how many of the counted shapes have fewer than that, but not fewer than the one
    before. The last one is `block` + 1."""

    @property
    def told(self) -> str:
        """The numbers in words."""
        least, first, median, third, greatest = self.quantiles
        of = "" if self.counted == self.shapes else f"; of {self.counted} that were looked at"
        if least == greatest:
            return f"in blocks of {self.block}, {least} differ{of}"
        return f"in blocks of {self.block}, {least} to {greatest} differ, {median} in the median, {first} to {third} in the middle half{of}"


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Everything that a report computes."""

    shapes: dict[str, int]
    """Number of shapes by status."""
    accuracy: tuple[Accuracy, ...]
    neighbours: tuple[Neighbours, ...]
    scores: tuple[Scores, ...]
    duplicates: Duplicates
    scarce: Scarce | None
    """None if every usable shape has enough points for a block, or the points cannot be read."""
    uncounted: str
    """Why the points cannot be read; empty if they can."""


def findings(snapshot: Snapshot) -> Findings:
    """Compute all numbers of a report."""
    few, why = _scarce(snapshot)
    return Findings(
        shapes=snapshot.counts,
        accuracy=tuple(accuracy(snapshot)),
        neighbours=tuple(neighbours(snapshot, record) for record in compared(snapshot)),
        scores=tuple(found for record in right_captions(snapshot) if (found := scores(snapshot, record)) is not None),
        duplicates=duplicates(snapshot),
        scarce=few,
        uncounted=why,
    )


def kept(snapshot: Snapshot, kind: products.Kind) -> list[Record]:
    """List the records of a kind."""
    return [record for record in snapshot.records.values() if products.of(record) is kind]


def right_captions(snapshot: Snapshot) -> list[Record]:
    """List the records of captions but for those that are wrong on purpose."""
    return [record for record in kept(snapshot, products.CAPTIONS) if not products.is_wrong(snapshot.records, record)]


def compared(snapshot: Snapshot) -> list[Record]:
    """List the teachers' records of pictures of which at least two shapes have an embedding."""
    return [record for record in kept(snapshot, products.IMAGE) if usable(snapshot, record).sum() > 1]


def usable(snapshot: Snapshot, record: Record) -> NDArray[np.bool_]:
    """Tell which shapes are ok and have their rows of a product. [N]"""
    there: NDArray[np.bool_] = snapshot.done(record.product) & (snapshot.status == spec.OK)
    return there


def sampled(rows: NDArray[Any], most: int) -> NDArray[np.int64]:
    """At most `most` of the rows, in order. They are not evenly spaced, because classes may come round in turn."""
    return np.sort(np.random.default_rng(0).permutation(rows)[:most])


# ------------------------------------------------------------------------------------------------------------- points


def scarce(cache: Cache, there: NDArray[np.bool_], stored: Rows) -> Scarce | None:
    """Count the points of shapes that have fewer than a block, out of those that are there [N]; None if there is none. `stored` is
    points/xyz.

    The number is not stored. It is that of different places in the first block, which holds all points of such a shape: each of them
    equally often, give or take one.
    """
    found = np.flatnonzero(cache.repeated() & there)
    if not len(found):
        return None
    rows = sampled(found, SAMPLE)
    counts = np.array([different(stored.gather(row[None], 0 * row[None])[0]) for row in rows])
    block = stored.node.shape[2]
    least, first, median, third, greatest = np.quantile(counts, (0, 0.25, 0.5, 0.75, 1), method="lower").astype(int).tolist()
    limits = [limit for limit in (8 << i for i in range(32)) if limit <= block]
    place = np.searchsorted(limits, counts, side="right")
    below = zip([*limits, block + 1], np.bincount(place, minlength=len(limits) + 1).tolist(), strict=True)
    return Scarce(shapes=len(found), block=block, counted=len(rows), quantiles=(least, first, median, third, greatest), below=tuple(below))


def different(points: NDArray[Any]) -> int:
    """Number of different places among points [P, 3]."""
    in_order = points[np.lexsort(points.T)]
    return 1 + int((in_order[1:] != in_order[:-1]).any(1).sum())


def _scarce(snapshot: Snapshot) -> tuple[Scarce | None, str]:
    record = snapshot.records.get(products.POINTS.name)
    if record is None:
        return None, ""
    return counted_or_why(lambda: scarce(snapshot.cache, usable(snapshot, record), snapshot.mapped("points/xyz")))


def counted_or_why(count: Callable[[], Scarce | None]) -> tuple[Scarce | None, str]:
    """What `scarce` counts; and if it cannot read the points, why, in words. Else these are empty.

    Points that are damaged or gone must not keep anybody from seeing the rest, since it is then that one looks.
    """
    try:
        return count(), ""
    except (OSError, ValueError) as error:
        return None, f"points not counted: {error}"


# --------------------------------------------------------------------------------------------------------- embeddings


def mean_embeddings(rows: Rows, sample: NDArray[Any]) -> NDArray[np.float32]:
    """The mean over views of unit-length embeddings, at unit length again; zeros where a shape has none. [n, E]"""
    parts = []
    for start in range(0, len(sample), 128):
        values = np.nan_to_num(rows.gather(sample[start : start + 128]).astype(np.float32), posinf=0, neginf=0)
        parts.append(_unit(_unit(values).mean(1)))  # [<= 128, V, E] before
    return np.concatenate(parts)


def embedded(snapshot: Snapshot, record: Record, sample: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Read mean embeddings of shapes. Imported products may lack some.

    Returns:
        The rows that have an embedding [n], and their embeddings [n, E].
    """
    values = mean_embeddings(snapshot.mapped(record.product), sample)
    there = values.any(1)
    return sample[there], values[there]


def _unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-12)
    return unit


# ----------------------------------------------------------------------------------------------------------- accuracy


def accuracy(snapshot: Snapshot) -> Iterator[Accuracy]:
    """Measure every label set with every teacher that embedded it, on all shapes and on each split.

    It is computed as `mmpd-train eval zeroshot` does for an encoder: a class is the mean of its sentences' embeddings, normalised before
    and after the mean; a shape is the mean of its pictures' embeddings, likewise.
    """
    for labels in kept(snapshot, products.LABELS):
        names = products.parts(labels)
        images = products.select(snapshot.records, products.IMAGE, teacher=names["teacher"])
        # Names of parts are no classes of shapes.
        if images and not snapshot.missing[labels.product] and labels.labels is not None and names["set"] != "parts":
            yield from _of_label_set(snapshot, labels, images[0])


def _of_label_set(snapshot: Snapshot, labels: Record, images: Record) -> Iterator[Accuracy]:
    """Measure one label set with one teacher, on all shapes and on each split."""
    assert labels.labels is not None
    places, why = _places(snapshot, labels, images)
    rows = sampled(np.flatnonzero(usable(snapshot, images) & (snapshot.label >= 0)), MEASURED)
    truth = places[snapshot.label[rows]]  # [n]
    right = np.zeros(len(rows), bool)
    if not why and len(rows):
        values = mean_embeddings(snapshot.mapped(images.product), rows)
        sentences = snapshot.cache.column(labels.product).astype(np.float32)  # [C, M, E]
        right = (values @ _unit(_unit(sentences).mean(1)).T).argmax(1) == truth
        rows, truth, right = (column[values.any(1)] for column in (rows, truth, right))
    used = sorted(set(snapshot.split[rows].tolist()) - {NONE})
    for split in (None, *(used if len(used) > 1 else ())):
        chosen = np.ones(len(rows), bool) if split is None else snapshot.split[rows] == split
        counted = chosen & (truth != NONE)
        n, hits = int(counted.sum()), int(right[counted].sum())
        said = why or ("" if n else "no shape has a class of this label set")
        yield Accuracy(
            label_set=products.parts(labels)["set"],
            teacher=products.parts(labels)["teacher"],
            split="" if split is None else snapshot.manifest.splits[split],
            shapes=n,
            left_out=int((chosen & (truth == NONE)).sum()),
            percent=None if said else 100 * hits / n,
            interval=None if said else wilson(100 * hits / n, n),
            chance=100 / len(labels.labels.classes),
            classes=len(labels.labels.classes),
            note=said,
        )


def _places(snapshot: Snapshot, labels: Record, images: Record) -> tuple[NDArray[np.int64], str]:
    """Find the index of each class of the cache in a label set, and say why that cannot be measured; empty if it can."""
    assert labels.labels is not None
    nowhere = np.full(len(snapshot.manifest.classes), NONE, np.int64)
    names = products.parts(labels)
    if not snapshot.manifest.classes:
        return nowhere, "the shapes have no classes"
    if len(labels.labels.classes) < 2:
        return nowhere, "the label set has one class only"
    if spec.fingerprint(labels.spec) != spec.fingerprint(images.spec):
        return nowhere, f"another model of the name {names['teacher']} embedded the label set"
    try:
        own = names["set"] == OWN_CLASSES
        return matched(snapshot.manifest.classes, labels.labels.classes, "the cache", f"label set {names['set']}", own=own), ""
    except UserError as error:
        return nowhere, str(error)


# --------------------------------------------------------------------------------------------------------- neighbours


def neighbours(snapshot: Snapshot, record: Record) -> Neighbours:
    """Measure for one teacher how often the nearest other shape has the same class, and how it matches shapes with their captions."""
    sample, values = embedded(snapshot, record, sampled(np.flatnonzero(usable(snapshot, record)), SAMPLE))
    assert isinstance(record.spec, TeacherSpec)
    label = snapshot.label[sample]
    several = np.bincount(label + 1)[label + 1] if len(label) else np.zeros(0, np.int64)
    counted = (label >= 0) & (several > 1)
    n = int(counted.sum())
    same = chance = interval = None
    if n:
        cosines = values @ values.T
        np.fill_diagonal(cosines, -np.inf)
        hits = int((label == label[cosines.argmax(1)])[counted].sum())
        same, interval = 100 * hits / n, wilson(100 * hits / n, n)
        chance = 100 * float((several - 1)[counted].mean() / (len(sample) - 1))
    return Neighbours(
        teacher=record.spec.name,
        sampled=len(sample),
        counted=n,
        same=same,
        interval=interval,
        chance=chance,
        captions=tuple(
            ranks
            for texts_of in products.select(snapshot.records, products.TEXT, teacher=record.spec.name)
            if not products.is_wrong(snapshot.records, texts_of)
            and (ranks := caption_ranks(snapshot, texts_of, sample, values)) is not None
        ),
    )


def caption_ranks(snapshot: Snapshot, record: Record, sample: NDArray[Any], images: NDArray[np.float32]) -> CaptionRanks | None:
    """Measure how often a shape's own captions are the nearest to its pictures. Returns None if fewer than two shapes have captions.

    If another shape has the same captions, a shape's own come first.

    Args:
        snapshot: the cache.
        record: the embedded captions of one captioner and one teacher.
        sample: rows of the shapes. [n]
        images: mean embedding of the views of each by the same teacher, of length 1. [n, E]
    """
    there = snapshot.done(record.product)[sample]
    if there.sum() < 2:
        return None
    means = mean_embeddings(snapshot.mapped(record.product), sample[there])
    told = means.any(1)
    if told.sum() < 2:
        return None
    cosines = images[there][told] @ means[told].T  # [n images, n texts]
    places = 1 + (cosines > np.diagonal(cosines)[:, None] + 1e-5).sum(1)
    name = products.parts(record)["captions"]
    return CaptionRanks(captions=name, shapes=len(places), first=100 * float((places == 1).mean()), median=float(np.median(places)))


# ------------------------------------------------------------------------------------------------------------- scores


def scores(snapshot: Snapshot, record: Record) -> Scores | None:
    """Count the scores of the captions that teachers embed. Returns None for captions that no teacher ranked, or that are not there."""
    described = record.spec
    assert isinstance(described, CaptionSpec)
    rows = sampled(np.flatnonzero(usable(snapshot, record)), SAMPLE)
    if not described.rank_by or not len(rows):
        return None
    _, node = snapshot.cache.arrays(record)
    values = snapshot.table(node.path, rows)[..., : described.keep].reshape(-1)  # [n x V x K]
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = float(values.min()), float(values.max())
    counts, edges = np.histogram(values, BINS, (low, high if high > low else low + 1e-3))
    least, first, median, third, greatest = np.quantile(values, [0, 0.25, 0.5, 0.75, 1]).tolist()
    return Scores(
        captions=products.parts(record)["captions"],
        ranked_by=described.rank_by,
        shapes=len(rows),
        scores=len(values),
        mean=float(values.mean()),
        quantiles=(least, first, median, third, greatest),
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
    )


# --------------------------------------------------------------------------------------------------------- duplicates


def duplicates(snapshot: Snapshot) -> Duplicates:
    """Find usable shapes that are made from the same data."""
    rows, digests = _digests(snapshot)
    _, place, count = np.unique(digests, return_inverse=True, return_counts=True)
    many = count[place] > 1
    rows, (_, place) = rows[many], np.unique(place[many], return_inverse=True)
    splits, classes = snapshot.split[rows], snapshot.label[rows]
    groups = int(place.max()) + 1 if len(place) else 0
    there = np.zeros((groups, len(snapshot.manifest.splits)), bool)
    there[place[splits >= 0], splits[splits >= 0]] = True
    across = there.sum(1) > 1
    first = np.full(groups, -1)
    first[place[::-1]] = classes[::-1]
    odd = np.zeros(groups, bool)
    odd[place[classes != first[place]]] = True
    order = np.argsort(~across, kind="stable")[:LISTED]
    return Duplicates(
        known=len(digests),
        shapes=len(rows),
        groups=groups,
        disagreeing=int(odd.sum()),
        crossing=tuple(_crossing(snapshot.manifest.splits, there, place, splits)),
        listed=tuple(tuple(_member(snapshot, row) for row in rows[place == group][:MEMBERS].tolist()) for group in order),
    )


def _digests(snapshot: Snapshot) -> tuple[NDArray[np.int64], NDArray[np.void]]:
    """Read the digests of usable shapes that have one: their rows [n], and the digests as single values [n]."""
    found_rows, found = [np.zeros(0, np.int64)], [np.zeros((0, 32), np.uint8)]
    if products.STATUS.name in snapshot.records:
        node, missing = snapshot.nodes["source_sha256"], set(snapshot.missing[products.STATUS.name])
        for shard in sorted(set(range(snapshot.manifest.shards)) - missing):
            rows = snapshot.manifest.rows(shard)
            values = snapshot.cache.shard_rows(node, shard)[: len(rows)]
            good = (snapshot.status[rows.start : rows.stop] == spec.OK) & values.any(1)
            found_rows.append(rows.start + np.flatnonzero(good))
            found.append(values[good])
    whole = np.ascontiguousarray(np.concatenate(found))
    return np.concatenate(found_rows), whole.view("V32").reshape(-1)


def _crossing(splits: tuple[str, ...], there: NDArray[np.bool_], place: NDArray[Any], split: NDArray[Any]) -> Iterator[Crossing]:
    """Count the shapes of each two splits that share data.

    Args:
        splits: names of the splits.
        there: which groups have a shape in which split. [groups, splits]
        place: group of each shape. split: its split, -1 for none. [n] each.
    """
    for i in range(len(splits)):
        for j in range(i + 1, len(splits)):
            both = there[:, i] & there[:, j]
            if both.any():
                counts = [int((both[place] & (split == one)).sum()) for one in (i, j)]
                yield Crossing(splits=(splits[i], splits[j]), shapes=(counts[0], counts[1]))


def _member(snapshot: Snapshot, row: int) -> Member:
    name, label = snapshot.name(row)
    return Member(row=row, id=name, label=label, split=snapshot.split_name(row))
