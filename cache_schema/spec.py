"""What a cache is made of: typed descriptions, their JSON form and their fingerprints.

Everything here is a frozen dataclass. `to_json` and `from_json` round-trip it strictly (an unknown or missing key
is an error that names the nearest known one). `fingerprint` hashes what changes a result and nothing else: a field
marked `label()` - a name, a path, a weights location - is recorded on disk but does not enter the hash. A field marked
`added()` came after caches had been written without it: at its default it is neither recorded nor hashed, so that those
caches keep their bytes and fingerprints. Which arrays a description stands for is in `cache_schema.products`.

Letters used for shapes in this package: N shapes, S shapes per shard, R blocks per shape, P points per block, V views,
H x W pixels, K captions kept per view, T texts per shape (V x K), C classes, M templates or boxes, E embedding width,
G tokens or groups, D encoder width, L bytes of text.
"""

import dataclasses
import difflib
import hashlib
import itertools
import json
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

from cache_schema.checks import within
from cache_schema.errors import UserError

FORMAT_VERSION: Final = 2
"""Format of every new cache. Format 1 is read as it is, and `mmpd-cache copy` converts it; a newer format is refused."""

TEXT_BYTES: Final = 256
"""Length of every text cell (id, reason, caption): UTF-8, zero padded. Plain uint8, so that any Zarr client reads it."""

PENDING, OK, FAILED = 0, 1, 2
"""Values of the `status` array."""

GREY: Final = 190 / 255
"""What has no colour of its own is this grey, 0..1 in each channel, in pictures and in points; points store it as 190."""

T = TypeVar("T")


def label(default: Any = dataclasses.MISSING) -> Any:
    """A dataclass field that says where something came from or what it is called, and so is no part of a fingerprint."""
    return field(metadata={"identity": False}) if default is dataclasses.MISSING else field(default=default, metadata={"identity": False})


def added(default: Any, *, identity: bool = True) -> Any:
    """A dataclass field that caches written before it existed do not have. At its default it is left out of JSON and fingerprints.

    Args:
        default: what those caches mean by not having it.
        identity: False for a field that is never part of a fingerprint, as with `label`.
    """
    return field(default=default, metadata={"identity": identity, "added": True})


# ---------------------------------------------------------------------------------------------- what is in a cache


@dataclass(frozen=True, kw_only=True)
class SourceSpec:
    """Which shapes, and how they were read."""

    kind: str
    """Name of the source in `pipeline.sources`."""
    ids: str
    """sha256 over the shape ids, in row order."""
    options: tuple[tuple[str, str], ...] = ()
    """The source's own settings that change what is read (up axis, variant, seed), sorted by name."""
    textures: Literal["require", "grey"] = "require"
    """A shape whose texture file is missing fails (`require`) or is read without it (`grey`)."""


@dataclass(frozen=True, kw_only=True)
class PointSpec:
    """The `points` product: R blocks of P surface points, each in farthest-point order."""

    count: int = 1024
    """Points per block, P."""
    blocks: int = 8
    """Blocks per shape, R."""
    ordered: int = 512
    """How many leading points of a block are in farthest-point order; the rest follow in random order."""
    dtype: Literal["float16", "float32"] = "float16"
    """Stored precision of coordinates. The order is computed on the stored values."""
    normalize: Literal["unit_sphere", "none"] = "unit_sphere"
    """`unit_sphere`: area centroid at the origin, farthest surface point at distance 1."""
    seed: int = 0
    """With a shape's id, the whole random state of its samples."""
    revision: int = 2
    """Raised when our sampling code changes its results."""
    normals: bool = added(False)
    """Whether `points/normal` is stored: the surface's normal at each point, of length 1; estimated for clouds that have none."""
    parts: tuple[str, ...] = added(())
    """Names of the parts that `points/part` holds indices into, -1 for none; empty where points have no part."""
    instances: bool = added(False)
    """Whether `points/instance` is stored: which object of a scene a point belongs to, -1 for none."""

    def __post_init__(self) -> None:
        within("points.count", self.count, 1, 2**20)
        within("points.blocks", self.blocks, 1, 2**16)
        within("points.count times points.blocks", self.count * self.blocks, 1, 2**24)
        within("points.seed", self.seed, -(2**63), 2**63 - 1)
        if not 1 <= self.ordered <= self.count:
            raise UserError(f"points.ordered must lie in 1..count ({self.count}), got {self.ordered}")


@dataclass(frozen=True, kw_only=True)
class Camera:
    """One camera on the sphere around a shape. Degrees; azimuth 0 looks along -Z at the shape, 90 along -X; +Y is up."""

    azimuth: float
    elevation: float

    def __post_init__(self) -> None:
        within("a camera's azimuth", self.azimuth, -360, 360)
        within("a camera's elevation", self.elevation, -90, 90)


@dataclass(frozen=True, kw_only=True)
class CameraRig:
    """The cameras a shape is seen by, in view order."""

    name: str = label()
    cameras: tuple[Camera, ...]
    fov: float = 40.0
    """Vertical and horizontal field of view, degrees."""

    def __post_init__(self) -> None:
        if not self.cameras:
            raise UserError(f"camera rig {self.name!r} has no cameras")
        if not 1 <= self.fov <= 120:
            raise UserError(f"camera rig {self.name!r}: fov must lie in 1..120 degrees, got {self.fov}")


@dataclass(frozen=True, kw_only=True)
class ViewSpec:
    """The `views` product: V pictures of each shape."""

    rig: CameraRig
    size: int = 224
    """Height and width in pixels."""
    background: tuple[int, int, int] = (255, 255, 255)
    """RGB behind the shape, 0..255."""
    depth: bool = False
    """Store `views/depth` as well: distance along the optical axis in units of the normalised shape, 0 where nothing is."""
    level: int = label(3)
    """zstd level of the stored pixels. Lossless, so it changes no result."""
    revision: int = 2
    """Raised when our shading or framing changes its results."""

    def __post_init__(self) -> None:
        within("views.size", self.size, 16, 4096)
        within("views.level", self.level, 1, 22)
        for value in self.background:
            within("views.background (red, green and blue)", value, 0, 255)


@dataclass(frozen=True, kw_only=True)
class TeacherSpec:
    """One frozen foundation model. Makes `image/<name>`, and with a text side `text/<captions>/<name>` and `labels/<set>/<name>`."""

    name: str = label()
    backend: str
    """Name in `pipeline.teachers.catalog.BACKENDS`."""
    model: str = label()
    """What the backend was asked to load: architecture/tag, hub id, or the catalogue's name of a local checkpoint."""
    revision: str = label("")
    """Hub commit where there is one. The digest is what identifies the weights."""
    weights: str
    """sha256 over the loaded parameters and buffers (names, types, shapes, bytes)."""
    preprocess: str
    """Resize, crop and normalisation in words, as the model's authors define them."""
    dim: int
    """Embedding width, E."""
    text: bool
    """Whether there is a text side."""
    image_size: int
    """Height and width of the picture the model sees."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Arithmetic of the forward pass."""


@dataclass(frozen=True, kw_only=True)
class CaptionSpec:
    """A `captions/<name>` product: texts about each view or each shape, best first."""

    name: str = added("", identity=False)
    """What the captions are called in the cache; empty in format 1, which has one captioner only."""
    captioner: str
    """Name in `pipeline.captioners.catalog.BACKENDS`."""
    model: str = label("")
    """What the captioner was asked to load; empty for templates."""
    revision: str = label("")
    weights: str = ""
    """sha256 over the loaded parameters; empty for templates."""
    prompt: str = ""
    """Words the caption must continue; empty for free captions."""
    templates: tuple[str, ...] = ()
    """For the template captioner: sentences with one `{}` for the shape's name."""
    samples: int = 4
    """Captions drawn per view. All are kept with their scores."""
    keep: int = 1
    """How many of the best are embedded by the teachers, K."""
    max_tokens: int = 24
    """Longest caption in tokens."""
    temperature: float = 1.0
    top_p: float = 0.9
    rank_by: str = label("")
    """Teacher whose image-text cosine orders the captions of a view; empty keeps the drawn order and scores of 0."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    seed: int = 0
    revision_of_code: int = 1
    """Raised when our sampling or ranking code changes its results."""
    per: Literal["view", "shape"] = added("view")
    """What a caption is about."""

    def __post_init__(self) -> None:
        within("captions.samples", self.samples, 1, 1000)
        within("captions.max_tokens", self.max_tokens, 1, 1000)
        within("captions.seed", self.seed, -(2**63), 2**63 - 1)
        within("captions.temperature", self.temperature, 1e-6, 100)
        if not 1 <= self.keep <= self.samples:
            raise UserError(f"captions.keep must lie in 1..samples ({self.samples}), got {self.keep}")
        within("captions.top_p", self.top_p, 1e-12, 1)


@dataclass(frozen=True, kw_only=True)
class LabelSet:
    """Class names times sentence templates, embedded by every teacher with a text side. Each sentence has one `{}`."""

    name: str = label()
    classes: tuple[str, ...]
    templates: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.classes or not self.templates:
            raise UserError(f"label set {self.name!r} needs at least one class and one template")
        bad = [t for t in self.templates if t.count("{}") != 1]
        if bad:
            raise UserError(f"label set {self.name!r}: a template needs exactly one {{}}, got {bad[0]!r}")


@dataclass(frozen=True, kw_only=True)
class GuideSpec:
    """The features of a frozen stage-1 encoder on stored blocks: the targets of stage 2."""

    name: str = label()
    encoder: str
    """Encoder and size, as the trainer names it."""
    weights: str
    """sha256 over the guide's parameters."""
    tokens: int
    """Tokens per block, G."""
    dim: int
    """Width of a token and of the summary, D."""
    blocks: int
    """The first so many blocks of each shape are guided."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    setup: str = label("")
    """Fingerprint of the guide's training, seed aside, by which the trainer knows repetitions of one experiment; empty for unknown."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.name):
            raise UserError(
                f"a guide's name must begin with a letter or a digit and hold only these, '.', '_' and '-', got {self.name!r}; "
                "choose another by --name"
            )


@dataclass(frozen=True, kw_only=True)
class DenseSpec:
    """A `dense/<teacher>` product: a teacher's patch features of the views, carried to the points and averaged in groups."""

    teacher: TeacherSpec
    """Whose patches they are."""
    blocks: int
    """The first so many blocks of each shape have features, R'."""
    groups: int
    """Groups of each block, G; their centres are the block's first G points."""
    group_size: int
    """Nearest points of a centre that make its group."""
    dim: int
    """Width of a patch feature, E."""


@dataclass(frozen=True, kw_only=True)
class BoxSpec:
    """The `boxes` product: the objects of a scene."""

    names: tuple[str, ...]
    """Names of the classes that `boxes/class` holds indices into."""
    most: int
    """Boxes a scene has room for, M; unused ones have class -1."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The root of a cache: which shapes there are and how they are dealt into shards."""

    format_version: int = FORMAT_VERSION
    shapes: int
    """N."""
    shard: int
    """Shapes per shard, S: the unit of work, writing, resuming and verifying."""
    source: SourceSpec
    classes: tuple[str, ...] = ()
    """Class names; `label` holds indices into them, -1 for none."""
    splits: tuple[str, ...] = ()
    """Split names; `split` holds indices into them, -1 for none."""
    licences: tuple[str, ...] = added(())
    """Licence names; `licence` holds indices into them, -1 for unknown."""
    segments: tuple[int, ...] = added(())
    """Shapes of each segment of a cache that has grown. Each segment begins with a new shard, so that older shards stay as they are;
    the rows between its last shape and the next shard hold no shape. Empty for a cache that was made in one go."""

    def __post_init__(self) -> None:
        if self.shapes < 1 or self.shard < 1:
            raise UserError(f"a cache needs at least one shape and one shape per shard, got {self.shapes} and {self.shard}")
        if self.segments and (min(self.segments) < 1 or self.shapes != self._starts[-1] * self.shard + self.segments[-1]):
            raise UserError(f"segments of {self.segments} shapes in shards of {self.shard} do not end at row {self.shapes}")

    @property
    def _starts(self) -> list[int]:
        """The first shard of each segment."""
        return [0, *itertools.accumulate(-(-count // self.shard) for count in self.segments[:-1])]

    @property
    def shards(self) -> int:
        return -(-self.shapes // self.shard)

    @property
    def partial(self) -> tuple[tuple[int, int], ...]:
        """(shard, its shapes) of the last shard of each segment but the last, where it is not full."""
        ends = zip(self._starts[1:], self.segments[:-1], strict=True) if self.segments else ()
        return tuple((start - 1, count % self.shard) for start, count in ends if count % self.shard)

    def rows(self, shard: int) -> range:
        """Rows of one shard that hold shapes."""
        start = shard * self.shard
        return range(start, start + dict(self.partial).get(shard, min(self.shard, self.shapes - start)))


@dataclass(frozen=True, kw_only=True)
class Record:
    """What made a product. Stored as attributes of `products/<product>`, whose chunks are its completion markers."""

    product: str = label()
    """Its place in the cache, and the name others find it by."""
    kind: str
    """Name of its kind in `cache_schema.products.KINDS`."""
    spec: SourceSpec | PointSpec | ViewSpec | CaptionSpec | TeacherSpec | DenseSpec | GuideSpec | BoxSpec
    labels: LabelSet | None = None
    """For `labels` products, the set that `spec` (the teacher) embedded."""
    per_shape: int = 0
    """Entries of axis 1 where the spec does not tell: views for `captions` and `image`, texts for `text`."""
    inputs: tuple[tuple[str, str], ...]
    """(role, fingerprint) of everything this was computed from, sorted."""
    made_by: tuple[tuple[str, str], ...] = label(())
    """Package versions, renderer and device that made it. A half-made product is only continued by the same."""
    complete: bool = label(False)
    content: str = label("")
    """sha256 over the checksums of all its files, once complete."""

    @property
    def fingerprint(self) -> str:
        return fingerprint(self)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing wrong with a cache."""

    where: str
    """File or array, relative to the cache."""
    kind: Literal["missing", "corrupt", "metadata", "values", "unfinished", "stray", "version"]
    message: str
    product: str = ""
    shard: int = -1
    """-1 where the whole product is meant."""


# ------------------------------------------------------------------------------------------------------------- JSON


def to_json(value: Any, *, whole: bool = False) -> Any:
    """A dataclass as plain JSON values. Tuples become lists. `whole`: with the fields that were `added()` at their defaults, which files
    leave out.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(_typed(value, f), whole=whole) for f in dataclasses.fields(value) if whole or _recorded(value, f)}
    if isinstance(value, tuple | list):
        return [to_json(item, whole=whole) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{value!r} has no JSON form")


def _recorded(value: Any, f: dataclasses.Field[Any]) -> bool:
    """Whether a field is written at all: one that was `added()` is not, at its default."""
    return not (f.metadata.get("added") and getattr(value, f.name) == f.default)


def _typed(value: Any, f: dataclasses.Field[Any]) -> Any:
    """A field's value; a whole number in a float field is a float, or 30 and 30.0 would be two specifications."""
    held = getattr(value, f.name)
    return float(held) if f.type is float and isinstance(held, int) else held


def from_json(cls: Any, data: Any, where: str = "") -> Any:
    """The value of type `cls` that `to_json` made `data` from.

    `cls` is a dataclass or any annotation used in one. A union of dataclasses is resolved by its keys.

    Raises:
        UserError: a key is unknown or missing, or a value has another type; the message says where.
    """
    where = where or getattr(cls, "__name__", str(cls))
    if dataclasses.is_dataclass(cls) and isinstance(cls, type):
        return _dataclass_from_json(cls, data, where)
    origin, args = typing.get_origin(cls), typing.get_args(cls)
    if origin is Literal:
        if data not in args:
            raise UserError(
                f"{where}: expected one of {', '.join(map(repr, args))}, got {short(data)}{did_you_mean(str(data)[:SHORT], map(str, args))}"
            )
        return data
    if origin is tuple:
        if not isinstance(data, list | tuple):
            raise UserError(f"{where}: expected a list, got {short(data)}")
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(from_json(args[0], item, f"{where}[{i}]") for i, item in enumerate(data))
        if len(data) != len(args):
            raise UserError(f"{where}: expected {len(args)} values, got {len(data)}")
        return tuple(from_json(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(args, data, strict=True)))
    if origin in (typing.Union, types.UnionType):
        return _union_from_json(args, data, where)
    if cls is float and isinstance(data, int | float) and not isinstance(data, bool):
        if not abs(data) < 1e300:  # neither NaN nor infinite: they have no JSON form
            raise UserError(f"{where}: expected a number, got {short(data)}")
        return float(data)
    if not isinstance(data, cls) or (isinstance(data, bool) and cls is not bool):
        raise UserError(f"{where}: expected {cls.__name__}, got {short(data)}")
    return data


def _dataclass_from_json(cls: type[T], data: Any, where: str) -> T:
    if not isinstance(data, Mapping):
        raise UserError(f"{where}: expected an object, got {short(data)}")
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            raise UserError(f"{where} has no field {short(key)}{did_you_mean(str(key)[:SHORT], fields)}")
    missing = [n for n, f in fields.items() if n not in data and f.default is f.default_factory is dataclasses.MISSING]
    if missing:
        raise UserError(f"{where}: missing {', '.join(missing)}")
    kinds = typing.get_type_hints(cls)
    return cls(**{key: from_json(kinds[key], value, f"{where}.{key}") for key, value in data.items()})


def _union_from_json(options: tuple[Any, ...], data: Any, where: str) -> Any:
    if data is None and type(None) in options:
        return None
    classes = [c for c in options if dataclasses.is_dataclass(c)]
    if classes and isinstance(data, Mapping):
        # No two of our classes have the same fields, so the one with the fewest fields apart is the one that was written.
        best = min(classes, key=lambda c: len(set(data) ^ {f.name for f in dataclasses.fields(c)}))
        return from_json(best, data, where)
    for option in options:
        try:
            return from_json(option, data, where)
        except ValueError:
            continue
    raise UserError(f"{where}: {short(data)} fits none of {', '.join(getattr(o, '__name__', str(o)) for o in options)}")


SHORT: Final = 80
"""Characters of a value that a message shows."""


def short(value: Any) -> str:
    """A value in a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= SHORT else text[: SHORT - 3] + "..."


def did_you_mean(name: str, known: typing.Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest known name, else the list of what there is."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; there is: {', '.join(known)}" if known else ""


def canonical(value: Any) -> bytes:
    """The one byte form of a JSON value: sorted keys, no spaces, UTF-8, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def identity(value: Any) -> Any:
    """`to_json` without the fields marked `label()`, and with the class name, for hashing."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [f for f in dataclasses.fields(value) if f.metadata.get("identity", True) and _recorded(value, f)]
        kept = {f.name: identity(_typed(value, f)) for f in fields}
        return {"class": type(value).__name__, **kept}
    if isinstance(value, tuple | list):
        return [identity(item) for item in value]
    return to_json(value)


def fingerprint(value: Any) -> str:
    """16 hex digits over everything that changes a result."""
    return hashlib.sha256(canonical(identity(value))).hexdigest()[:16]


def ids_digest(ids: typing.Iterable[str]) -> str:
    """sha256 over shape ids in row order, as `SourceSpec.ids` holds it."""
    digest = hashlib.sha256()
    for item in ids:
        digest.update(item.encode() + b"\0")
    return digest.hexdigest()
