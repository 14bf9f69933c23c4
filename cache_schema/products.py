"""The table of all kinds of products that a cache can have. No other code compares names of kinds or builds names of products.

    IMAGE.product(teacher="clip")                      # 'image/clip'
    of(record).statistics                              # whether a product of its kind comes with mean and variance
    select(cache.products(), TEXT, teacher="clip")     # the records of one teacher's embedded captions, of every captioner
    arrays(cache.manifest, record)                     # what a product has on disk

To add a kind, add an entry to `KINDS` and the code that makes it. `KINDS` is in the order of making: a kind comes after the kinds that it
is made from. The letters of shapes are those of `cache_schema.spec`.

Format 1 differs in three ways, which only `Kind.pattern_1` and `arrays` know. It has one captioner, so its products are called `captions`
and `text/<teacher>`. It has no arrays `repeated` and `licence`. Its axes are named by their role alone.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from cache_schema.errors import UserError
from cache_schema.layout import ArraySpec
from cache_schema.spec import (
    FORMAT_VERSION,
    TEXT_BYTES,
    BoxSpec,
    CaptionSpec,
    DenseSpec,
    GuideSpec,
    Manifest,
    PointSpec,
    Record,
    SourceSpec,
    TeacherSpec,
    ViewSpec,
    did_you_mean,
    short,
)
from cache_schema.terminal import article

ONLY_CAPTIONS: Final = "captions"
"""Name that `parts` and `select` give to the captions of a format 1 cache, which have no name on disk."""

Maker = Callable[["_Shapes", Record], tuple[ArraySpec, ...]]
"""Function that lists the arrays of a product."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of product."""

    name: str
    """What `Record.kind` holds. It is also the first part of the product's name."""
    pattern: str
    """Pattern of the names of its products. A part in angle brackets differs from product to product."""
    spec: type
    """The class of `Record.spec`."""
    arrays: Maker
    """The arrays of a product, in the order of the checksums in its completion marker."""
    inputs: tuple[str, ...] = ()
    """Names of the kinds that it is computed from; `index` is left out, because everything needs it."""
    origin: Literal["listing", "files", "cache", "words", "guide"]
    """What it is made from: the source's list of shapes (`listing`), a shape's own files, other products of the cache, the words of a
    label set, or the training run of a guide."""
    unit: str = "shape"
    """Unit in which progress is counted, in the singular."""
    statistics: bool = False
    """Whether mean and variance of its values are stored once it is complete."""
    labelled: bool = False
    """Whether its record has a label set."""
    pattern_1: str = ""
    """Pattern of the names in format 1; empty if it is the same."""

    def parts_of(self, version: int = FORMAT_VERSION) -> tuple[str, ...]:
        """Split the pattern of one format into its parts."""
        return tuple((self.pattern_1 if version == 1 and self.pattern_1 else self.pattern).split("/"))

    def product(self, version: int = FORMAT_VERSION, /, **names: str) -> str:
        """Build the name of a product, such as `TEXT.product(captions="blip2", teacher="clip")`. Format 1 ignores names it has no part
        for."""
        return "/".join(names[part[1:-1]] if part.startswith("<") else part for part in self.parts_of(version))

    def per_shape(self, record: Record) -> int:
        """Number of units of progress for each shape."""
        return 1 if self.unit == "shape" else record.per_shape


@dataclass(frozen=True, kw_only=True)
class _Shapes:
    """Describes arrays whose axis 0 has one entry for each shape."""

    manifest: Manifest

    def rows(self, path: str, dtype: str, shape: tuple[int, ...], dims: tuple[str, ...]) -> ArraySpec:
        """Describe an uncompressed array with one chunk per shape and many chunks per file. Training reads these. `shape` and `dims`
        leave out axis 0."""
        return self._array(path, dtype, shape, dims, chunk=(1, *shape), sharded=True)

    def table(self, path: str, dtype: str, shape: tuple[int, ...], dims: tuple[str, ...]) -> ArraySpec:
        """Describe a compressed array with one chunk per shard, which is read as a whole. `shape` and `dims` leave out axis 0."""
        return self._array(path, dtype, shape, dims, chunk=(self.manifest.shard, *shape), codec="zstd")

    def pictures(self, path: str, dtype: str, shape: tuple[int, ...], dims: tuple[str, ...], level: int) -> ArraySpec:
        """Describe a compressed array with one chunk per entry of axis 1 and many chunks per file. `shape` and `dims` leave out axis 0."""
        return self._array(path, dtype, shape, dims, chunk=(1, 1, *shape[1:]), sharded=True, codec="zstd", level=level)

    def _array(self, path: str, dtype: str, shape: tuple[int, ...], dims: tuple[str, ...], **how: Any) -> ArraySpec:
        m = self.manifest
        whole, names = (m.shapes, *shape), ("shape", *dims)
        return ArraySpec(path=path, dtype=dtype, shape=whole, shard=m.shard, dims=names, partial=m.partial, **how)


def _index(to: _Shapes, record: Record) -> tuple[ArraySpec, ...]:
    licence = (to.table("licence", "int32", (), ()),) if to.manifest.format_version > 1 else ()
    return (
        to.table("id", "uint8", (TEXT_BYTES,), ("byte_id",)),
        to.table("label", "int32", (), ()),
        to.table("split", "int32", (), ()),
        *licence,
    )


def _status(to: _Shapes, record: Record) -> tuple[ArraySpec, ...]:
    repeated = (to.table("repeated", "uint8", (), ()),) if to.manifest.format_version > 1 else ()
    return (
        to.table("status", "uint8", (), ()),
        to.table("reason", "uint8", (TEXT_BYTES,), ("byte_reason",)),
        to.table("source_sha256", "uint8", (32,), ("byte_sha256",)),
        to.table("colored", "uint8", (), ()),
        *repeated,
    )


def _points(to: _Shapes, record: Record) -> tuple[ArraySpec, ...]:
    spec = record.spec
    assert isinstance(spec, PointSpec)
    block, dims = (spec.blocks, spec.count), ("block", "point")
    made = [
        to.rows("points/xyz", spec.dtype, (*block, 3), (*dims, "axis")),
        to.rows("points/rgb", "uint8", (*block, 3), (*dims, "channel")),
    ]
    if spec.normals:
        made.append(to.rows("points/normal", "float16", (*block, 3), (*dims, "axis")))
    return (*made, *(to.rows(label_array(name), dtype, block, dims) for name, dtype in spec.labels.items()))


def label_array(name: str) -> str:
    """Return the path of the array of a label of points, such as `part`."""
    return f"points/{name}"


def _views(to: _Shapes, record: Record) -> tuple[ArraySpec, ...]:
    spec = record.spec
    assert isinstance(spec, ViewSpec)
    v, size, dims = spec.count, spec.size, ("view", "row", "column")
    picture = to.pictures("views/rgb", "uint8", (v, size, size, 3), (*dims, "channel"), spec.level)
    pose = to.rows("views/pose", "float32", (v, 4, 4), ("view", "to", "from"))
    depth = to.pictures("views/depth", "float16", (v, size, size), dims, spec.level)
    return (picture, pose, depth) if spec.depth else (picture, pose)


def _captions(to: _Shapes, record: Record) -> tuple[ArraySpec, ...]:
    spec = record.spec
    assert isinstance(spec, CaptionSpec)
    cells, dims = (record.per_shape, spec.samples), ("view", "rank")
    return (
        to.table(f"{record.product}/text", "uint8", (*cells, TEXT_BYTES), (*dims, "byte")),
        to.table(f"{record.product}/score", "float32", cells, dims),
    )


def _embeddings(to: _Shapes, record: Record) -> tuple[ArraySpec, ...]:
    spec = record.spec
    assert isinstance(spec, TeacherSpec)
    return (to.rows(record.product, "float16", (record.per_shape, spec.dim), (record.kind, f"dim_{spec.name}")),)


def _labels(to: _Shapes, record: Record) -> tuple[ArraySpec, ...]:
    spec, labels = record.spec, record.labels
    assert isinstance(spec, TeacherSpec) and labels is not None
    shape = (len(labels.classes), len(labels.templates), spec.dim)
    dims = ("class", "template", f"dim_{spec.name}")
    return (ArraySpec(path=record.product, dtype="float16", shape=shape, chunk=(1, *shape[1:]), shard=shape[0], dims=dims, sharded=True),)


def _dense(to: _Shapes, record: Record) -> tuple[ArraySpec, ...]:
    spec = record.spec
    assert isinstance(spec, DenseSpec)
    group, dims = (spec.blocks, spec.groups), ("block", "group")
    return (
        to.rows(f"{record.product}/features", "float16", (*group, spec.dim), (*dims, "dim")),
        to.rows(f"{record.product}/seen", "uint8", group, dims),
    )


def _guide(to: _Shapes, record: Record) -> tuple[ArraySpec, ...]:
    spec = record.spec
    assert isinstance(spec, GuideSpec)
    return (
        to.rows(f"{record.product}/tokens", "float16", (spec.blocks, spec.tokens, spec.dim), ("block", "token", "dim")),
        to.rows(f"{record.product}/summary", "float16", (spec.blocks, spec.dim), ("block", "dim")),
    )


def _boxes(to: _Shapes, record: Record) -> tuple[ArraySpec, ...]:
    spec = record.spec
    assert isinstance(spec, BoxSpec)
    return (
        to.rows("boxes/box", "float32", (spec.most, 7), ("object", "value")),
        to.rows("boxes/class", "int32", (spec.most,), ("object",)),
    )


INDEX: Final = Kind(name="index", pattern="index", spec=SourceSpec, arrays=_index, origin="listing")
"""`id`, `label`, `split` and `licence` of each shape."""
STATUS: Final = Kind(name="status", pattern="status", spec=SourceSpec, arrays=_status, origin="files")
"""What became of each shape: `status`, `reason`, `source_sha256`, `colored`, `repeated`."""
POINTS: Final = Kind(name="points", pattern="points", spec=PointSpec, arrays=_points, origin="files")
"""`points/xyz` and `points/rgb` in blocks of farthest-point order. Optional: `points/normal`, `points/part`, `points/instance`,
`points/origin`."""
VIEWS: Final = Kind(name="views", pattern="views", spec=ViewSpec, arrays=_views, origin="files")
"""`views/rgb` and `views/pose`. Optional: `views/depth`."""
BOXES: Final = Kind(name="boxes", pattern="boxes", spec=BoxSpec, arrays=_boxes, origin="files")
"""Objects of a scene: `boxes/box` (centre, size, angle about the vertical axis) and `boxes/class`."""
IMAGE: Final = Kind(
    name="image",
    pattern="image/<teacher>",
    spec=TeacherSpec,
    arrays=_embeddings,
    inputs=("status", "views"),
    origin="cache",
    unit="view",
    statistics=True,
)
"""A teacher's embeddings of the views."""
CAPTIONS: Final = Kind(
    name="captions",
    pattern="captions/<captions>",
    spec=CaptionSpec,
    arrays=_captions,
    inputs=("status", "views"),
    origin="cache",
    unit="view",
    pattern_1="captions",
)
"""A captioner's texts about the views or the shapes, with scores."""
TEXT: Final = Kind(
    name="text",
    pattern="text/<captions>/<teacher>",
    spec=TeacherSpec,
    arrays=_embeddings,
    inputs=("status", "captions"),
    origin="cache",
    unit="text",
    statistics=True,
    pattern_1="text/<teacher>",
)
"""A teacher's embeddings of one captioner's best captions."""
LABELS: Final = Kind(
    name="labels", pattern="labels/<set>/<teacher>", spec=TeacherSpec, arrays=_labels, origin="words", unit="text", labelled=True
)
"""A teacher's embeddings of class names in sentences."""
DENSE: Final = Kind(
    name="dense",
    pattern="dense/<teacher>",
    spec=DenseSpec,
    arrays=_dense,
    inputs=("status", "points", "views"),
    origin="cache",
    unit="view",
)
"""A teacher's patch features on groups of points, and how many views saw each group."""
GUIDE: Final = Kind(name="guide", pattern="guide/<guide>", spec=GuideSpec, arrays=_guide, inputs=("points",), origin="guide")
"""A guide's features of groups of points (`tokens`) and of blocks (`summary`). Stage 2 of training learns from them."""

KINDS: Final[dict[str, Kind]] = {
    kind.name: kind for kind in (INDEX, STATUS, POINTS, VIEWS, BOXES, IMAGE, CAPTIONS, TEXT, LABELS, DENSE, GUIDE)
}
"""Every kind by its name, in the order of making."""

FIXED: Final[dict[str, tuple[str, ...]]] = {
    INDEX.name: ("id", "label", "split", "licence"),
    STATUS.name: ("status", "reason", "source_sha256", "colored", "repeated"),
}
"""Names of the arrays that lie in the root of a cache, by kind."""


def of(record: Record) -> Kind:
    """Return the kind of a record that has passed `check`."""
    return KINDS[record.kind]


def from_files(record: Record) -> bool:
    """Whether a product is made from a shape's own files."""
    return of(record).origin == "files"


def from_cache(record: Record) -> bool:
    """Whether a product is made, shard by shard, from what the cache holds already."""
    return of(record).origin == "cache"


def in_order(records: Iterable[Record]) -> list[Record]:
    """Records in the order of making."""
    order = list(KINDS)
    return sorted(records, key=lambda record: order.index(record.kind))


def parts(record: Record) -> dict[str, str]:
    """Take the name of a product apart: `text/blip2/clip` gives `{"captions": "blip2", "teacher": "clip"}`."""
    kind, words = of(record), record.product.split("/")
    found = {part[1:-1]: ONLY_CAPTIONS for part in kind.parts_of() if part == "<captions>"}
    pattern = next(p for p in (kind.parts_of(), kind.parts_of(1)) if len(p) == len(words))
    return found | {part[1:-1]: word for part, word in zip(pattern, words, strict=True) if part.startswith("<")}


def needs(record: Record, version: int = FORMAT_VERSION) -> tuple[str, ...]:
    """Names of the products that a product is made from, but for the index. The embeddings that rank captions are among them.

    Args:
        record: the product.
        version: format of the cache that it is in.
    """
    # What was imported was made from pictures that others have drawn.
    unseen = (isinstance(record.spec, TeacherSpec | CaptionSpec) and record.spec.imported) or without_views(record)
    made_from = [KINDS[kind].product(version, **parts(record)) for kind in of(record).inputs if not (unseen and kind == VIEWS.name)]
    if isinstance(record.spec, CaptionSpec) and record.spec.rank_by:
        made_from.append(IMAGE.product(version, teacher=record.spec.rank_by))
    return tuple(made_from)


def without_views(record: Record) -> bool:
    """Whether a product holds captions of what a source states that were made in a cache without views. They need none."""
    return isinstance(record.spec, CaptionSpec) and record.spec.stated and VIEWS.name not in dict(record.inputs)


def select(records: Mapping[str, Record], kind: Kind, **names: str) -> list[Record]:
    """Select the records of a kind that have the given names, such as `select(cache.products(), TEXT, teacher="clip")`."""
    return [r for r in records.values() if r.kind == kind.name and names.items() <= parts(r).items()]


def is_wrong(records: Mapping[str, Record], record: Record) -> bool:
    """Whether a product holds captions, or embedded captions, wrong on purpose (`CaptionSpec.wrong`). `records`: all of the cache."""
    told = record
    if of(record) is TEXT:
        told = next(iter(select(records, CAPTIONS, captions=parts(record)["captions"])), record)
    return isinstance(told.spec, CaptionSpec) and told.spec.wrong


def renamed(record: Record, version: int) -> Record:
    """Return the record with the name that it has in a cache of some format."""
    kind = KINDS.get(record.kind)
    if kind is None or not kind.pattern_1 or len(record.product.split("/")) == len(kind.parts_of(version)):
        return record
    described = dataclasses.replace(record.spec, name="") if isinstance(record.spec, CaptionSpec) and version == 1 else record.spec
    return dataclasses.replace(record, product=kind.product(version, **parts(record)), spec=described)


def owner(path: str, version: int) -> str | None:
    """Return the name of the product that owns the array at a path; None if no kind has arrays there."""
    first, *rest = path.split("/")
    for kind in (INDEX, STATUS):
        if not rest and first in FIXED[kind.name]:
            return kind.name
    found = KINDS.get(first)
    if found is None or first in FIXED:
        return None
    depth = len(found.parts_of(version))
    return "/".join([first, *rest][:depth]) if len(rest) + 1 >= depth else None


def is_group(name: str, version: int) -> bool:
    """Whether a place in the folder `products` is a group of products, such as `image` or `labels/source`, and so no product."""
    words = name.split("/")
    kind = KINDS.get(words[0])
    return kind is not None and len(words) < len(kind.parts_of(version))


def index_record(manifest: Manifest) -> Record:
    """Return the record of the index, which every cache begins with."""
    return Record(product=INDEX.name, kind=INDEX.name, spec=manifest.source, inputs=())


def status_record(manifest: Manifest) -> Record:
    """Return a record of the status that describes its arrays. It lacks inputs and software, on which the arrays do not depend."""
    return Record(product=STATUS.name, kind=STATUS.name, spec=manifest.source, inputs=())


def check(record: Record, version: int = FORMAT_VERSION) -> None:
    """Check that the name, the kind and the specification of a record belong together.

    Args:
        record: a record of any origin.
        version: format of the cache that it is in.

    Raises:
        UserError: they do not belong together, so this software did not write the record.
    """
    kind = KINDS.get(record.kind)
    if kind is None:
        raise UserError(f"{record.product!r}: there is no kind of products {short(record.kind)}{did_you_mean(record.kind[:40], KINDS)}")
    if not isinstance(record.spec, kind.spec) or kind.labelled != (record.labels is not None):
        got = type(record.spec).__name__ + (" with labels" if record.labels else "")
        wanted = article(kind.spec.__name__)
        raise UserError(f"{record.product!r}: a product of kind {record.kind} is described by {wanted}, got {article(got)}")
    pattern, words = kind.parts_of(version), record.product.split("/")
    if len(pattern) != len(words) or any(p != w for p, w in zip(pattern, words, strict=True) if not p.startswith("<")):
        raise UserError(f"a product of kind {record.kind} is called {'/'.join(pattern)}, got {record.product!r}")
    if record.per_shape < 0:
        raise UserError(f"{record.product!r}: per_shape must not be negative, got {record.per_shape}")


def arrays(manifest: Manifest, record: Record) -> tuple[ArraySpec, ...]:
    """List the arrays of a product, in the order of the checksums in its completion marker."""
    return tuple(_named(manifest, node) for node in of(record).arrays(_Shapes(manifest=manifest), record))


def statistics_array(manifest: Manifest, record: Record) -> ArraySpec:
    """Describe the array with mean and variance of a product's embeddings, per dimension. [2, E]"""
    (node,) = arrays(manifest, record)
    shape = (2, node.shape[-1])
    return ArraySpec(
        path=f"stats/{node.path}", dtype="float64", shape=shape, chunk=shape, shard=2, codec="crc32c", dims=("moment", node.dims[-1])
    )


def markers(manifest: Manifest, record: Record) -> ArraySpec:
    """Describe the array of a product's completion markers: the sha256 of each file of each shard. [shards, files, 32]"""
    nodes = arrays(manifest, record)
    shape = (nodes[0].shards, len(nodes), 32)
    dims = ("shard", f"file_{record.product.rpartition('/')[2]}", "byte")
    node = ArraySpec(
        path=f"products/{record.product}", dtype="uint8", shape=shape, chunk=(1, *shape[1:]), shard=1, codec="crc32c", dims=dims
    )
    return _named(manifest, node)


def _named(manifest: Manifest, node: ArraySpec) -> ArraySpec:
    """Rename the axes of an array for the format of its cache. Format 1 names them by role alone: `dim` instead of `dim_clip`."""
    return node if manifest.format_version > 1 else dataclasses.replace(node, dims=tuple(dim.partition("_")[0] for dim in node.dims))
