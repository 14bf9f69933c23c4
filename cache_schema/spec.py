"""Typed descriptions of everything in a cache, their JSON form and their fingerprints.

Each description is a frozen dataclass. `to_json` writes it and `from_json` reads it back; an unknown or missing key is an error that
names the nearest known key. `fingerprint` is a hash over all fields that change a result.
- A field made by `label()` holds a name, a path or the like. It is stored, but is no part of the fingerprint.
- A field made by `added()` is younger than some caches. At its default it is neither stored nor part of the fingerprint, so that those
  caches keep their bytes and fingerprints.

`cache_schema.products` says which arrays a product with such a description has.

Letters used for shapes in this package: N shapes, S shapes per shard, R blocks per shape, P points per block, V views,
H x W pixels, K captions kept per view, T texts per shape (V x K), C classes, M templates or boxes, E embedding width,
G tokens or groups, D encoder width, L bytes of text.
"""

import dataclasses
import difflib
import functools
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
"""Format of new caches. This software also reads format 1, which `mmpd-cache copy` converts. It refuses newer formats."""

TEXT_BYTES: Final = 256
"""Bytes of a text cell (id, reason, caption). A cell holds UTF-8 padded with zeros, as uint8, so that any Zarr client can read it."""

PENDING, OK, FAILED = 0, 1, 2
"""Values of the `status` array."""

GREY: Final = 190 / 255
"""Grey of everything that has no colour of its own, in pictures and in points: 0..1 in each channel, stored as 190."""

IMPORTED: Final = "imported"
"""Backend of a teacher, and name of a captioner, whose embeddings or texts were brought from a file: nothing here computed them."""

CUT: Final = "cut"
"""Name in `Record.made_by` of the number of texts that are longer than their teacher reads."""
LACKING: Final = "lacking"
"""Name in `Record.made_by`: the number of usable shapes for which an imported product has nothing."""
COUNTED: Final = (LACKING, CUT)
"""Names in `Record.made_by` of numbers that are counted when a product is complete. They say nothing about how it was made."""
READER: Final = "reader"
"""First word of names in `Record.made_by` of points that tell how files were read, such as `reader .npz`. The value is the number of the
reading in `pipeline.formats.catalog.READINGS`."""
MADE_IN_CODE: Final = ("starter", "rooms", "forms")
"""Sources whose shapes are made in code, so that no file is read for them. They are named by these words instead of a place."""
SCANNERS: Final = ("scan", "lidar")
"""Sources that scan the shapes of another one. They record its kind as the option `inner`."""
NOT_KNOWN: Final = "not known"
"""Value in `Record.made_by` of what a part of several caches that became one does not tell."""

T = TypeVar("T")


def label(default: Any = dataclasses.MISSING) -> Any:
    """Make a dataclass field that is no part of a fingerprint: it says what something is called or where it came from."""
    return field(metadata={"identity": False}) if default is dataclasses.MISSING else field(default=default, metadata={"identity": False})


def added(default: Any, *, identity: bool = True) -> Any:
    """Make a dataclass field that older caches do not have. At its default it is left out of JSON and fingerprints.

    Args:
        default: the value that a cache without the field has.
        identity: False for a field that is never part of a fingerprint, like one made by `label`.
    """
    return field(default=default, metadata={"identity": identity, "added": True})


# ---------------------------------------------------------------------------------------------- what is in a cache


@dataclass(frozen=True, kw_only=True)
class SourceSpec:
    """Tells which shapes a cache holds and how they were read."""

    kind: str
    """Name of the source in `pipeline.sources`."""
    ids: str
    """sha256 over the shape ids, in the order of rows."""
    options: tuple[tuple[str, str], ...] = ()
    """(name, value) of the source's own settings that change what is read, such as the up axis; sorted by name."""
    textures: Literal["require", "grey"] = "require"
    """What happens to a shape whose texture file is missing: it fails (`require`), or is read without the texture (`grey`)."""
    of: int = added(0, identity=False)
    """Number of shapes that the source lists, if the cache has only some of them; 0 if it has all."""
    relabelled: tuple[tuple[str, str], ...] = added(())
    """(column, sha256 over the names that all shapes then had in it) of what `relabel` changed: `class`, `split` or `name`. These columns
    are no longer what the source says."""
    also: tuple["SourceSpec", ...] = added(())
    """Sources of the second and the later segments of a cache; see `Manifest.segments`. The fields above then tell about the first one."""

    @property
    def scanned(self) -> str:
        """The kind of the source whose shapes the first segment has: of scans, that of the source of what is scanned."""
        return dict(self.options).get("inner", self.kind) if self.kind in SCANNERS else self.kind

    @property
    def from_files(self) -> bool:
        """Whether some shapes of any segment are read from files. All others are made in code."""
        own = self.scanned not in MADE_IN_CODE or "meshes" in dict(self.options)
        return own or any(more.from_files for more in self.also)


POINT_LABELS: Final[dict[str, str]] = {"part": "int16", "instance": "int32", "origin": "int32"}
"""Names of the labels that a point can have, with the types of their arrays. -1 is none."""


@dataclass(frozen=True, kw_only=True)
class PointSpec:
    """The `points` product: R blocks of P surface points, each in farthest-point order."""

    count: int = 1024
    """Points per block, P."""
    blocks: int = 8
    """Blocks per shape, R."""
    ordered: int = 512
    """Number of leading points of a block that are in farthest-point order. The rest follow in random order."""
    dtype: Literal["float16", "float32"] = "float16"
    """Type of the stored coordinates. The farthest-point order is that of the stored values."""
    normalize: Literal["unit_sphere", "none"] = "unit_sphere"
    """`unit_sphere` moves the area centroid to the origin and the farthest surface point to distance 1; `none` moves nothing."""
    seed: int = 0
    """Seed of the random numbers. Together with the shape's id it decides all samples of the shape."""
    revision: int = 2
    """Version of the results of our sampling code."""
    normals: bool = added(False)
    """Whether `points/normal` is stored: the unit normal of the surface at each point, estimated for clouds that have none."""
    parts: tuple[str, ...] = added(())
    """Names of parts. `points/part` holds indices into them, -1 for none. Empty if there is no `points/part`."""
    instances: bool = added(False)
    """Whether `points/instance` is stored: the number of the object of a scene that a point belongs to, -1 for none."""
    origins: bool = added(False)
    """Whether `points/origin` is stored: the number of a point in the list of points of its scene, -1 for none. Crops of a scene overlap,
    and this tells which of their points are one."""

    @property
    def labels(self) -> dict[str, str]:
        """The labels of points that are stored: the type by the name of the array in `points/`."""
        stored = {"part": bool(self.parts), "instance": self.instances, "origin": self.origins}
        return {name: dtype for name, dtype in POINT_LABELS.items() if stored[name]}

    def __post_init__(self) -> None:
        within("points.count", self.count, 1, 2**20)
        within("points.blocks", self.blocks, 1, 2**16)
        within("points.count times points.blocks", self.count * self.blocks, 1, 2**24)
        within("points.seed", self.seed, -(2**63), 2**63 - 1)
        if not 1 <= self.ordered <= self.count:
            raise UserError(f"points.ordered must lie in 1..count ({self.count}), got {self.ordered}")


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A camera on the sphere around a shape. Angles are in degrees. Azimuth 0 looks along -Z at the shape, 90 along -X; +Y is up."""

    azimuth: float
    elevation: float

    def __post_init__(self) -> None:
        within("a camera's azimuth", self.azimuth, -360, 360)
        within("a camera's elevation", self.elevation, -90, 90)


@dataclass(frozen=True, kw_only=True)
class CameraRig:
    """The cameras that see a shape, in the order of views."""

    name: str = label()
    cameras: tuple[Camera, ...]
    fov: float = 40.0
    """Field of view in degrees, vertical and horizontal."""

    def __post_init__(self) -> None:
        if not self.cameras:
            raise UserError(f"camera rig {self.name!r} has no cameras")
        if not 1 <= self.fov <= 120:
            raise UserError(f"camera rig {self.name!r}: fov must lie in 1..120 degrees, got {self.fov}")


@dataclass(frozen=True, kw_only=True)
class TeacherSpec:
    """A frozen foundation model. It makes `image/<name>` and, if it reads text, `text/<captions>/<name>` and `labels/<set>/<name>`."""

    name: str = label()
    backend: str
    """Name in `pipeline.teachers.catalog.BACKENDS`, or `imported`."""
    model: str = label()
    """What the backend loads: architecture/tag, hub id, or the catalogue's name of a local checkpoint."""
    revision: str = label("")
    """Commit on the hub, if there is one. Weights are identified by their digest, not by this."""
    weights: str
    """sha256 over the loaded parameters and buffers (names, types, shapes, bytes). Of an imported teacher: `told:` and the name of the
    model that whoever imported its embeddings gave, because nobody here has seen the weights."""
    preprocess: str
    """Resizing, cropping and normalisation as text, as the authors of the model define them."""
    dim: int
    """Embedding width, E."""
    text: bool
    """Whether the model reads text."""
    image_size: int
    """Height and width of the picture the model sees."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Arithmetic of the forward pass."""
    licence: str = added("", identity=False)
    """Name of the licence of the weights, as their authors or the user say; empty for unknown. See `cache_schema.licences`."""

    @property
    def imported(self) -> bool:
        """Whether its embeddings were brought from a file, and no model is known that makes them."""
        return self.backend == IMPORTED


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How views are chosen for each shape. A small picture is drawn from each camera of the rig. Those cameras are taken that together see
    most of the surface, and whose pictures stand best for those of all cameras. `pipeline.choosing` says how."""

    count: int = 4
    """Number of cameras that are chosen for a shape, V."""
    size: int = 64
    """Height and width of the small pictures in pixels."""
    teacher: str = label("starter-resnet")
    """Name or reference of the cheap teacher that compares the small pictures; empty for none. It runs on a CPU, beside the drawing."""
    judge: TeacherSpec | None = None
    """The cheap teacher, once it is loaded. A build fills this in."""
    surface: float = 1.0
    """Weight of the share of the surface that the chosen cameras see, of what any camera of the rig sees."""
    likeness: float = 1.0
    """Weight of how well the chosen pictures stand for all: the mean over the cameras of the likeness, 0 to 1, of each picture to the
    nearest chosen one. It needs a teacher."""
    spread: float = 0.1
    """Weight of how near each camera of the rig is to a chosen one, 0 to 1. It decides where a shape looks alike from all sides."""
    points: int = 1024
    """Number of points of the surface that are looked for in the small pictures."""
    revision: int = 2
    """Version of the results of our choosing: since 2, cameras that see a sheet from its edge are taken last."""

    def __post_init__(self) -> None:
        within("views.policy.count", self.count, 1, 1000)
        within("views.policy.size", self.size, 16, 1024)
        within("views.policy.points", self.points, 16, 2**20)
        for name in ("surface", "likeness", "spread"):
            within(f"views.policy.{name}", getattr(self, name), 0.0, 1e6)
        if not self.surface + self.likeness + self.spread > 0:
            raise UserError("views.policy: one of surface, likeness and spread must be more than 0, or there is nothing to choose by")
        if self.likeness and not self.teacher:
            raise UserError(
                "views.policy.likeness: there is no teacher to compare pictures with. Set it to 0, or name one in views.policy.teacher"
            )
        if not self.surface and self.points != Coverage.points:
            raise UserError("views.policy.points: nobody would read it where surface is 0. Leave it out, or set surface to more than 0")
        if self.teacher and not self.likeness:
            raise UserError("views.policy.teacher: nobody would read it where likeness is 0. Set it to nothing, or likeness to more than 0")


@dataclass(frozen=True, kw_only=True)
class ViewSpec:
    """The `views` product: V pictures of each shape."""

    rig: CameraRig
    """The cameras. With a `policy` they are candidates."""
    size: int = 224
    """Height and width in pixels."""
    background: tuple[int, int, int] = (255, 255, 255)
    """RGB behind the shape, 0..255."""
    depth: bool = False
    """Whether `views/depth` is stored: distance along the optical axis in units of the normalised shape, 0 where nothing is."""
    level: int = label(3)
    """zstd level of the stored pixels. It changes no result, because zstd loses nothing."""
    revision: int = 2
    """Version of the results of our shading and framing."""
    policy: Coverage | None = added(None)
    """How cameras of the rig are chosen for each shape. None: all of them see every shape."""

    @property
    def count(self) -> int:
        """Number of views of a shape, V."""
        return len(self.rig.cameras) if self.policy is None else self.policy.count

    def __post_init__(self) -> None:
        if self.policy is not None and self.policy.count > len(self.rig.cameras):
            raise UserError(
                f"views.policy.count: {self.policy.count} views cannot be chosen from the {len(self.rig.cameras)} cameras of "
                f"{self.rig.name}: lower it, or set views.rig to a rig with more cameras"
            )
        within("views.size", self.size, 16, 4096)
        within("views.level", self.level, 1, 22)
        for value in self.background:
            within("views.background (red, green and blue)", value, 0, 255)


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server that writes captions, and how it is asked. A model in memory has none."""

    address: str = label("")
    """What the addresses of its services begin with, such as `http://localhost:8000/v1`; empty for no server. It holds no secrets."""
    key: str = label("")
    """Name of the environment variable that holds the key to the server; empty if it wants none. The key itself is not stored anywhere."""
    at_once: int = label(16)
    """Number of requests that wait for an answer at a time."""
    timeout: float = label(120.0)
    """Seconds after which a request without an answer is sent again."""
    patience: float = label(300.0)
    """Seconds without any answer after which a build gives up."""
    sight: bool = label(True)
    """Whether to make sure at the beginning that the server counts more tokens for a question with a picture than for one without."""
    price_in: float = label(0.0)
    """Price of a million tokens of questions, pictures included, in any currency; 0 for unknown or none."""
    price_out: float = label(0.0)
    """Price of a million tokens of answers."""

    def __post_init__(self) -> None:
        within("captions.server.at_once", self.at_once, 1, 4096)
        within("captions.server.timeout", self.timeout, 0.01, 86_400)
        within("captions.server.patience", self.patience, 0, 86_400)
        within("captions.server.price_in", self.price_in, 0, 1e6)
        within("captions.server.price_out", self.price_out, 0, 1e6)


@dataclass(frozen=True, kw_only=True)
class CaptionSpec:
    """A `captions/<name>` product: texts about each view or each shape, the best first."""

    name: str = added("", identity=False)
    """Name of the captions in the cache. Empty in format 1, which has only one captioner."""
    captioner: str
    """Name in `pipeline.captioners.catalog.BACKENDS`, or `imported`."""
    model: str = label("")
    """What the captioner loads; empty for templates."""
    revision: str = label("")
    """Commit on the hub, if there is one."""
    weights: str = ""
    """sha256 over the loaded parameters; empty for templates. Of a model behind an address: `told:` and the name by which its server calls
    it, because nobody here has seen the weights."""
    prompt: str = ""
    """Words that every caption begins with; empty for free captions. Of a model behind an address: what it is asked."""
    templates: tuple[str, ...] = ()
    """Sentences of the template captioner. Each has one `{}` for the name of the shape."""
    samples: int = 4
    """Number of captions drawn for each view. All are stored, with their scores."""
    keep: int = 1
    """Number of best captions of each view that the teachers embed, K."""
    max_tokens: int = 24
    """Longest caption in tokens."""
    temperature: float = 1.0
    """Temperature of sampling: below 1 likely tokens become likelier. 0, the likeliest ones, is for a model behind an address only."""
    top_p: float = 0.9
    """Only the likeliest tokens that together have this probability are drawn."""
    rank_by: str = label("")
    """Teacher that ranks the captions of a view by the cosine to its picture. Empty: the drawn order stays, and scores are 0."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    seed: int = 0
    revision_of_code: int = 1
    """Version of the results of our sampling and ranking code."""
    per: Literal["view", "shape"] = added("view")
    """What a caption describes: one view, or the whole shape."""
    licence: str = added("", identity=False)
    """Name of the licence of the captioner's weights; empty for unknown or templates."""
    sheet: int = added(0)
    """Number of views on one picture that is shown to the captioner of a shape; 0: it is shown the first view alone."""
    kinds: tuple[str, ...] = added(())
    """Kinds of the texts, such as `tags`, `sentence` and `paragraph`: text i of each view or shape is of kind i, whatever its score. Empty:
    all texts are of one kind, the best first."""
    over: Literal["first", "mean", "max"] = added("first")
    """How a text about a whole shape is scored: by its cosine with the first view, by the mean of its cosines with all views, or by the
    largest of them."""
    reproducible: bool = added(True, identity=False)
    """Whether the same model writes the same texts again. False for a model behind an address. A view or shape may then lack a text,
    which is empty."""
    server: Server = added(Server(), identity=False)
    """The server of a model behind an address."""
    without: tuple[str, ...] = added(())
    """Parameters of questions to the server, such as `seed`, that are left out because it does not take them: its own values hold."""
    stated: bool = added(False)
    """Whether the texts are made of what the source states about shapes, and not of pictures. A shape of which it states too little lacks
    a text, which is empty."""
    wrong: bool = added(False)
    """Whether each text says one thing that is not so: wrong answers for training, never captions."""

    def __post_init__(self) -> None:
        within("captions.samples", self.samples, 1, 1000)
        within("captions.max_tokens", self.max_tokens, 1, 1000)
        within("captions.seed", self.seed, -(2**63), 2**63 - 1)
        within("captions.temperature", self.temperature, 1e-6 if self.reproducible else 0, 100)
        if not 1 <= self.keep <= self.samples:
            raise UserError(f"captions.keep must lie in 1..samples ({self.samples}), got {self.keep}")
        within("captions.top_p", self.top_p, 1e-12, 1)
        within("captions.sheet", self.sheet, 0, 100)
        if self.kinds and len(self.kinds) != self.samples:
            raise UserError(f"captions.samples must be the number of captions.kinds ({len(self.kinds)}), got {self.samples}")
        if self.per == "view" and (self.sheet or self.over != "first"):
            raise UserError("captions.sheet and captions.over are for texts about shapes: set captions.per=shape, too, or leave them out")
        if len(set(self.kinds)) < len(self.kinds):
            raise UserError(f"captions.kinds names a kind twice: {', '.join(self.kinds)}")
        if self.wrong and (self.per == "view" or not self.kinds):
            raise UserError("captions.wrong is for texts about shapes of several kinds: set captions.per=shape and captions.kinds, too")
        if self.stated and (self.per == "view" or self.sheet):
            raise UserError(
                "texts of what a source states are about shapes, and show no pictures: set captions.per=shape and captions.sheet=0"
            )

    @property
    def imported(self) -> bool:
        """Whether its texts were brought from a file. A shape or view without one has an empty text."""
        return self.captioner == IMPORTED

    @property
    def may_lack(self) -> bool:
        """Whether an empty text means that there is none. Any other captioner may write an empty text."""
        return self.imported or self.stated or not self.reproducible

    @property
    def usual_name(self) -> str:
        """The name of captions that nobody has named: that of the model, or of the captioner if it has no model."""
        name = self.model.rstrip("/").rpartition("/")[2] or self.captioner
        return re.sub(r"^[^A-Za-z0-9]+|[^A-Za-z0-9._-]|\.(?=\.)", "", name) or "captions"


@dataclass(frozen=True, kw_only=True)
class LabelSet:
    """Class names and sentence templates. Every teacher that reads text embeds each class in each sentence, in the place of its `{}`."""

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
    """Features that a frozen encoder of stage 1 computes on stored blocks. Stage 2 learns to predict them."""

    name: str = label()
    encoder: str
    """Name of the encoder with its size, in the trainer."""
    weights: str
    """sha256 over the guide's parameters."""
    tokens: int
    """Tokens per block, G."""
    dim: int
    """Width of a token and of the summary, D."""
    blocks: int
    """Number of leading blocks of each shape that have features."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    missing: Literal["repeat", "mask"] = added("repeat")
    """What the encoder makes of points that repeat others. `mask`: it leaves them out, and tokens around them are zeros."""
    settings: tuple[tuple[str, str], ...] = added(())
    """(name, value as JSON) of all settings of the guide that change its features and that no weight tells, such as the number of points in
    a group; sorted by name. Empty in older caches."""
    run: str = added("", identity=False)
    """Name of the folder of the guide's run; empty in older caches."""
    setup: str = label("")
    """Fingerprint of the training of the guide without its seed. The trainer finds repetitions of one experiment by it. Empty: unknown."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.name):
            raise UserError(
                f"a guide's name must begin with a letter or a digit and hold only these, '.', '_' and '-', got {self.name!r}; "
                "choose another by --name"
            )


@dataclass(frozen=True, kw_only=True)
class DenseSpec:
    """A `dense/<teacher>` product: patch features of the views, projected onto the points and averaged over groups of points."""

    teacher: TeacherSpec
    """The teacher that computes the patch features."""
    blocks: int
    """Number of leading blocks of each shape that have features."""
    groups: int
    """Number of groups in a block, G. Their centres are the first G points of the block."""
    group_size: int
    """Number of points in a group: those nearest to its centre."""
    dim: int
    """Width of a patch feature, E."""
    method: str
    """What a patch feature of this teacher is, in words."""
    carrying: int = 1
    """Version of the results of the code that carries patch features to points."""

    def __post_init__(self) -> None:
        within("dense.blocks", self.blocks, 1, 2**16)
        within("dense.groups", self.groups, 1, 2**20)
        within("dense.group_size", self.group_size, 1, 2**20)


@dataclass(frozen=True, kw_only=True)
class BoxSpec:
    """The `boxes` product: the objects of a scene."""

    names: tuple[str, ...]
    """Names of classes. `boxes/class` holds indices into them."""
    most: int
    """Number of boxes that a scene has room for, M. Unused ones have class -1."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The description in the root of a cache: its shapes, and how they are divided into shards."""

    format_version: int = FORMAT_VERSION
    shapes: int
    """Number of rows, N."""
    shard: int
    """Shapes per shard, S. A shard is made, written and verified as a whole; a stopped build continues with the next one."""
    source: SourceSpec
    classes: tuple[str, ...] = ()
    """Names of classes. `label` holds indices into them, -1 for none."""
    splits: tuple[str, ...] = ()
    """Names of splits. `split` holds indices into them, -1 for none."""
    licences: tuple[str, ...] = added(())
    """Names of licences. `licence` holds indices into them, -1 for unknown."""
    segments: tuple[int, ...] = added(())
    """Number of shapes in each segment of a cache that has grown; empty for a cache that was made at once. Each segment begins a new shard,
    so that older shards stay unchanged. Rows between the last shape of a segment and the next shard hold no shape."""

    def __post_init__(self) -> None:
        if self.shapes < 1 or self.shard < 1:
            raise UserError(f"a cache needs at least one shape and one shape per shard, got {self.shapes} and {self.shard}")
        if self.segments and (min(self.segments) < 1 or self.shapes != self._starts[-1] * self.shard + self.segments[-1]):
            raise UserError(f"segments of {self.segments} shapes in shards of {self.shard} do not end at row {self.shapes}")
        if self.source.also and len(self.source.also) + 1 != len(self.segments):
            raise UserError(f"a cache of {len(self.source.also) + 1} sources has as many segments, got {len(self.segments)}")

    @property
    def count(self) -> int:
        """Number of shapes: of rows that hold one."""
        return sum(self.segments) if self.segments else self.shapes

    @property
    def renamed(self) -> bool:
        """Whether `relabel` has given shapes other names than those of their sources."""
        return any(column == "name" for part in (self.source, *self.source.also) for column, _ in part.relabelled)

    @property
    def spans(self) -> list[range]:
        """The rows of each segment. A cache that was made at once is one segment."""
        if not self.segments:
            return [range(self.shapes)]
        return [range(start * self.shard, start * self.shard + n) for start, n in zip(self._starts, self.segments, strict=True)]

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
        """Return the rows of one shard that hold shapes."""
        start = shard * self.shard
        return range(start, start + dict(self.partial).get(shard, min(self.shard, self.shapes - start)))


def earlier(manifest: Manifest) -> list[Manifest]:
    """Return the manifests that a cache had before each time it grew, the last first, with the names of classes, splits and licences of
    now. Empty for a cache that has not grown, or that does not say which source each segment is of."""
    if len(manifest.source.also) + 1 != len(manifest.segments):
        return []
    return [
        dataclasses.replace(
            manifest,
            shapes=manifest.spans[count - 1].stop,
            segments=manifest.segments[:count] if count > 1 else (),
            source=dataclasses.replace(manifest.source, also=manifest.source.also[: count - 1]),
        )
        for count in range(len(manifest.segments) - 1, 0, -1)
    ]


def is_reading(name: str) -> bool:
    """Whether a name in `Record.made_by` tells how files were read; see `READER`."""
    return re.match(f"(also )*{READER}( |$)", name) is not None


@dataclass(frozen=True, kw_only=True)
class Record:
    """Tells what a product is and what made it. It is stored in the attributes of the array `products/<product>`, which holds the
    completion markers of the product."""

    product: str = label()
    """Name of the product, which is also its place in the cache."""
    kind: str
    """Name of its kind in `cache_schema.products.KINDS`."""
    spec: SourceSpec | PointSpec | ViewSpec | CaptionSpec | TeacherSpec | DenseSpec | GuideSpec | BoxSpec
    labels: LabelSet | None = None
    """The label set of a `labels` product; `spec` is the teacher that embedded it."""
    per_shape: int = 0
    """Length of axis 1 where `spec` does not tell it: number of views for `captions` and `image`, of texts for `text`."""
    inputs: tuple[tuple[str, str], ...]
    """(role, fingerprint) of everything that the product was computed from, sorted."""
    made_by: tuple[tuple[str, str], ...] = label(())
    """(name, version) of the packages, the renderer and the device that made it. Only the same software continues an unfinished product."""
    complete: bool = label(False)
    """Whether every shard is made."""
    content: str = label("")
    """sha256 over the checksums of all files of a complete product."""
    before: tuple[tuple[int, str], ...] = added((), identity=False)
    """(rows of the cache, content) of the product before the cache grew, for each time. Readers that opened the cache then go by it."""

    @property
    def fingerprint(self) -> str:
        return fingerprint(self)

    @property
    def teacher(self) -> TeacherSpec | None:
        """The teacher of embeddings, of a label set or of patch features; None for products without one."""
        described = self.spec.teacher if isinstance(self.spec, DenseSpec) else self.spec
        return described if isinstance(described, TeacherSpec) else None

    @property
    def lacking(self) -> int:
        """Number of usable shapes for which an imported product has nothing: zeros, or empty texts."""
        said = dict(self.made_by).get(LACKING, "0")
        return int(said) if said.isascii() and said.isdigit() and len(said) < 10 else 0

    @property
    def cut(self) -> int | None:
        """Number of embedded texts of usable shapes that are longer than their teacher reads, which takes their beginning; wrong texts that
        it would cut are not embedded. None if nobody has counted them."""
        said = dict(self.made_by).get(CUT, "")
        return int(said) if said.isascii() and said.isdigit() and len(said) < 12 else None

    @property
    def readings(self) -> dict[str, tuple[str, ...]]:
        """Numbers of the readings of the files that points were made from, by format (`.npz`) or kind of source. A cache that was made of
        several may have more than one. The empty name is there if it is not known of some of its shapes. Empty if nothing is known."""
        found: dict[str, set[str]] = {}
        for name, value in self.made_by:
            if is_reading(name):
                found.setdefault(name.partition(READER)[2].strip(), set()).add(value)
        return {name: tuple(sorted(found[name])) for name in sorted(found)}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing wrong with a cache."""

    where: str
    """Place of the file or folder, relative to the cache."""
    kind: Literal["missing", "corrupt", "metadata", "values", "unfinished", "stray"]
    message: str
    product: str = ""
    shard: int = -1
    """Number of the shard; -1 if the problem concerns the whole product."""
    shared: str = ""
    """Path of the shared cache of an overlay, if the problem is there; `where` is then relative to it."""


# ------------------------------------------------------------------------------------------------------------- JSON


def to_json(value: Any, *, whole: bool = False) -> Any:
    """Turn a dataclass into plain JSON values. Tuples become lists.

    Args:
        value: the dataclass, or a value of one of its fields.
        whole: also write fields made by `added()` that have their default. Files leave them out.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(_typed(value, f), whole=whole) for f in dataclasses.fields(value) if whole or _recorded(value, f)}
    if isinstance(value, tuple | list):
        return [to_json(item, whole=whole) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{value!r} has no JSON form")


def _recorded(value: Any, f: dataclasses.Field[Any]) -> bool:
    """Whether a field is written. A field made by `added()` is not, if it has its default."""
    return not (f.metadata.get("added") and getattr(value, f.name) == f.default)


def _typed(value: Any, f: dataclasses.Field[Any]) -> Any:
    """Return the value of a field. A whole number in a float field becomes a float, because 30 and 30.0 are one specification."""
    held = getattr(value, f.name)
    return float(held) if f.type is float and isinstance(held, int) else held


def from_json(cls: Any, data: Any, where: str = "") -> Any:
    """Turn JSON values back into a value of type `cls`.

    `cls` is a dataclass, or any annotation used in one. The keys decide between the dataclasses of a union.

    Raises:
        UserError: a key is unknown or missing, or a value has another type. The message says where.
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


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    """Return the types of the fields of a class. Finding them out takes longer than reading a file."""
    return typing.get_type_hints(cls)


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
    kinds = _hints(typing.cast(type, cls))
    return cls(**{key: from_json(kinds[key], value, f"{where}.{key}") for key, value in data.items()})


def _union_from_json(options: tuple[Any, ...], data: Any, where: str) -> Any:
    if data is None and type(None) in options:
        return None
    classes = [c for c in options if dataclasses.is_dataclass(c)]
    if classes and isinstance(data, Mapping):
        # No two of our classes have the same fields. The class whose fields differ least from the keys is the one that was written.
        best = min(classes, key=lambda c: len(set(data) ^ {f.name for f in dataclasses.fields(c)}))
        return from_json(best, data, where)
    for option in options:
        try:
            return from_json(option, data, where)
        except ValueError:
            continue
    raise UserError(f"{where}: {short(data)} fits none of {', '.join(getattr(o, '__name__', str(o)) for o in options)}")


SHORT: Final = 80
"""Number of characters of a value that a message shows."""


def short(value: Any) -> str:
    """Write a value for a message. A long one is cut."""
    text = repr(value)
    return text if len(text) <= SHORT else text[: SHORT - 3] + "..."


def did_you_mean(name: str, known: typing.Iterable[str]) -> str:
    """Return `; did you mean 'x'?` with the nearest known name, or a list of all known names if none is near."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; there is: {', '.join(known)}" if known else ""


def canonical(value: Any) -> bytes:
    """Write a JSON value in the only form that is hashed: sorted keys, no spaces, UTF-8, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def identity(value: Any) -> Any:
    """Return what the fingerprint of a value is computed from: its JSON with class names and without fields made by `label()`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [f for f in dataclasses.fields(value) if f.metadata.get("identity", True) and _recorded(value, f)]
        kept = {f.name: identity(_typed(value, f)) for f in fields}
        return {"class": type(value).__name__, **kept}
    if isinstance(value, tuple | list):
        return [identity(item) for item in value]
    return to_json(value)


def fingerprint(value: Any) -> str:
    """Return the fingerprint of a description: 16 hex digits of a hash over everything that changes a result."""
    return hashlib.sha256(canonical(identity(value))).hexdigest()[:16]


def ids_digest(ids: typing.Iterable[str]) -> str:
    """Return the sha256 over shape ids in the order of rows, as `SourceSpec.ids` holds it."""
    digest = hashlib.sha256()
    for item in ids:
        digest.update(item.encode() + b"\0")
    return digest.hexdigest()
