"""The journal beside a cache. It tells what commands did and what each shard cost, with one JSON object per line.

    append(file, Labels(set="modelnet40"))             # writes {"time": ..., "event": "labels", "set": "modelnet40"}
    read_journal(Path("out.zarr")).last_build          # the event of the last build or retry

Only this module writes and parses events. A journal may come from a stranger, like its cache, and a kill may cut its last line. So lines
that this software does not write are skipped and counted. Unknown events are kept.
"""

import dataclasses
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, TextIO

from cache_schema.files import journal_file, regular_bytes
from cache_schema.spec import CaptionSpec
from cache_schema.store import Cache

# ------------------------------------------------------------------------------------------------------------- events


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line of the journal: something that a command did."""

    event: ClassVar[str] = ""
    """Name of the event in the file."""
    time: float = 0.0
    """Time of writing in seconds since 1970, which `append` sets."""


@dataclass(frozen=True, kw_only=True)
class Begun(Event):
    """A command began. All events up to the next `Begun` belong to it."""

    subject: ClassVar[str] = ""
    """Name of the field that tells what the command adds; empty if there is none."""
    machine: str = ""
    """Kind of the machine: its processor, cores and GPUs."""

    @property
    def title(self) -> str:
        """Short description of the command."""
        return f"{self.event} {getattr(self, self.subject) if self.subject else ''}".strip()


@dataclass(frozen=True, kw_only=True)
class Loading(Begun):
    """A command that loads models began."""

    models: Mapping[str, str] = field(default_factory=dict)
    """Folders of local models, by the digest of their weights."""


@dataclass(frozen=True, kw_only=True)
class Build(Loading):
    """A build began."""

    event: ClassVar[str] = "build"
    source: str = ""
    """Location of the shapes."""
    kind: str = ""
    """Kind of the source, a name in `pipeline.sources.catalog.SOURCES`."""
    config: Mapping[str, Any] | None = None
    """The build's settings, a `BuildConfig` as JSON."""


@dataclass(frozen=True, kw_only=True)
class Retry(Build):
    """A retry of failed shapes began."""

    event: ClassVar[str] = "retry"


@dataclass(frozen=True, kw_only=True)
class Append(Build):
    """Shapes of another source are being appended."""

    event: ClassVar[str] = "append"


@dataclass(frozen=True, kw_only=True)
class Remove(Begun):
    """Products are being removed."""

    event: ClassVar[str] = "remove"
    subject: ClassVar[str] = "product"
    product: str = ""
    """Names of the products, with commas between them."""


@dataclass(frozen=True, kw_only=True)
class Relabel(Begun):
    """Classes, splits or names of shapes are being changed."""

    event: ClassVar[str] = "relabel"
    subject: ClassVar[str] = "source"
    source: str = ""
    """The file that says how."""
    changed: Mapping[str, int] = field(default_factory=dict)
    """Number of shapes that change, by column of the file."""


@dataclass(frozen=True, kw_only=True)
class AddTeacher(Loading):
    """A teacher is being added."""

    event: ClassVar[str] = "add-teacher"
    subject: ClassVar[str] = "teacher"
    teacher: str = ""
    """Its name or reference."""


@dataclass(frozen=True, kw_only=True)
class AddDense(AddTeacher):
    """Patch features of a teacher are being carried to points."""

    event: ClassVar[str] = "add-dense"


@dataclass(frozen=True, kw_only=True)
class AddCaptioner(Loading):
    """A captioner is being added."""

    event: ClassVar[str] = "add-captioner"
    subject: ClassVar[str] = "captioner"
    captioner: str = ""
    """Name of its captions in the cache."""


@dataclass(frozen=True, kw_only=True)
class Labels(Begun):
    """A label set is being added."""

    event: ClassVar[str] = "labels"
    subject: ClassVar[str] = "set"
    set: str = ""
    """The label set's name or file."""


@dataclass(frozen=True, kw_only=True)
class Import(Begun):
    """A product is being brought from a file."""

    event: ClassVar[str] = "import"
    subject: ClassVar[str] = "product"
    product: str = ""
    """Name of the product."""


@dataclass(frozen=True, kw_only=True)
class Repair(Begun):
    """A repair began."""

    event: ClassVar[str] = "repair"
    files: tuple[str, ...] = ()
    """The first hundred damaged files."""


@dataclass(frozen=True, kw_only=True)
class Unknown(Begun):
    """A command of another version of this software began."""

    subject: ClassVar[str] = "name"
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class ShardMade(Event):
    """One shard of a product was made from what the cache holds."""

    event: ClassVar[str] = "shard"
    product: str
    shard: int
    seconds: float
    """Wall time."""
    machine: str = ""
    """Kind of the machine of a cluster that made it; empty for the machine of the command."""
    asked: Mapping[str, float] = field(default_factory=dict)
    """What a captioner's server was asked for the shard, such as `questions`, `prompt_tokens` and `cost`."""
    refused: tuple[str, ...] = ()
    """Why the server refused pictures, which have no text: the first hundred, with their shapes and views."""


@dataclass(frozen=True, kw_only=True)
class Asking(Event):
    """A captioner's server is being asked for a shard. `ShardMade` or `Asked` of the same shard follows, unless the command is killed."""

    event: ClassVar[str] = "asking"
    product: str
    shard: int


@dataclass(frozen=True, kw_only=True)
class Asked(Event):
    """A captioner's server was asked something, but made no shard by it: the first questions of a command, those about shapes that were
    tried again, or an error or Ctrl-C came."""

    event: ClassVar[str] = "asked"
    product: str
    shard: int
    asked: Mapping[str, float] = field(default_factory=dict)
    """As in `ShardMade`."""
    refused: tuple[str, ...] = ()
    """As in `ShardMade`."""
    machine: str = ""
    """As in `ShardMade`."""


@dataclass(frozen=True, kw_only=True)
class ShapesMade(Event):
    """The shapes of one shard were read, sampled and drawn. The file says `"product": "shapes"`."""

    event: ClassVar[str] = "shard"
    shard: int
    shapes: int
    """Number of shapes in the shard."""
    waited: float = 0.0
    """Seconds that the writing process waited for these shapes."""
    steps: Mapping[str, float]
    """Seconds that shape processes spent, by step."""
    lost: tuple[str, ...] = ()
    """Ids of shapes that fail from now on, because their files have changed."""
    machine: str = ""
    """As in `ShardMade`."""


@dataclass(frozen=True, kw_only=True)
class Done(Event):
    """The command is finished."""

    event: ClassVar[str] = "done"


SHAPES: Final = "shapes"
"""Name of the product of `ShapesMade` in the file."""
SELDOM: Final = ("lost", "machine", "asked", "refused")
"""Fields that are not written if they are empty."""
EVENTS: Final[dict[str, type[Event]]] = {
    e.event: e
    for e in (Build, Retry, Append, Remove, Relabel, AddTeacher, AddDense, AddCaptioner, Labels, Import, Repair, Asking, Asked, Done)
}
"""Classes by their names in the file. An event `shard` has two classes; see `_class`."""

# ------------------------------------------------------------------------------------------------- reading and writing


@dataclass(frozen=True, kw_only=True)
class Journal:
    """Contents of a journal."""

    events: tuple[Event, ...] = ()
    """Events in the order of writing."""
    ignored: int = 0
    """Number of lines that are not events."""

    @property
    def last_build(self) -> Build | None:
        """Return the last `Build`, `Retry` or `Append`; None if there is none."""
        return next((event for event in reversed(self.events) if isinstance(event, Build)), None)


def read_journal(path: Path) -> Journal:
    """Read the journal beside the cache at `path`. A missing journal is an empty one."""
    try:
        text = regular_bytes(journal_file(path)).decode(errors="replace")
    except (FileNotFoundError, IsADirectoryError):
        return Journal()
    found = [_parsed(line) for line in filter(str.strip, text.splitlines())]
    return Journal(events=tuple(event for event in found if event is not None), ignored=found.count(None))


def journal_of(cache: Cache) -> Journal:
    """Read the journal beside a cache; for an overlay that of the shared cache and then its own."""
    found = [read_journal(path) for path in cache.paths]
    return Journal(events=tuple(event for one in found for event in one.events), ignored=sum(one.ignored for one in found))


def asked(cache: Cache) -> dict[str, dict[str, float]]:
    """Add up what the servers of captioners were asked for a cache, by product; see `ShardMade.asked`.

    All numbers are too small if it is unknown for some shards: `killed` is the number of those at which a command was killed or is still at
    work, `elsewhere` of those that this journal knows nothing of, because they were made before the cache was pulled or copied.
    """
    found: dict[str, dict[str, float]] = {}
    begun: set[tuple[str, int]] = set()

    def add(product: str, numbers: Mapping[str, float]) -> None:
        total = found.setdefault(product, {})
        for name, value in numbers.items():
            total[name] = total.get(name, 0) + value

    for event in journal_of(cache).events:
        if isinstance(event, Begun):  # the command before it was killed
            while begun:
                add(begun.pop()[0], {"killed": 1})
        elif isinstance(event, Asking):
            if (event.product, event.shard) in begun:  # the worker of a cluster that was asking has died
                add(event.product, {"killed": 1})
            begun.add((event.product, event.shard))
        elif isinstance(event, ShardMade | Asked):
            begun.discard((event.product, event.shard))
            if event.asked:
                add(event.product, event.asked)
    for product, _ in begun:
        add(product, {"killed": 1})
    made = Counter(event.product for event in journal_of(cache).events if isinstance(event, ShardMade))
    for name, record in cache.records().items():
        if isinstance(record.spec, CaptionSpec) and record.spec.server.address:
            done = cache.manifest.shards - (0 if record.complete else len(cache.missing(record)))
            if done > made[name]:
                add(name, {"elsewhere": done - made[name]})
    return found


def append(journal: TextIO, event: Event) -> None:
    """Write one event, with the present time.

    Raises:
        OSError: the disk is full. `filename` names the journal.
    """
    body: dict[str, Any] = {"time": round(time.time(), 3), "event": event.event}
    body |= {"product": SHAPES} if isinstance(event, ShapesMade) else {}
    body |= {name: value for name, value in dataclasses.asdict(event).items() if name != "time" and (value or name not in SELDOM)}
    try:
        journal.write(json.dumps(body) + "\n")
        journal.flush()
    except OSError as error:
        error.filename = journal.name
        raise


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e11


def _count(value: Any) -> bool:
    return _number(value) and isinstance(value, int)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_text, value))


FIELDS: Final[dict[str, Callable[[Any], bool]]] = {
    "time": _number,
    "event": _text,
    "machine": _text,
    "source": _text,
    "kind": _text,
    "teacher": _text,
    "captioner": _text,
    "set": _text,
    "product": _text,
    "files": _texts,
    "lost": _texts,
    "refused": _texts,
    "asked": lambda value: isinstance(value, dict) and all(map(_number, value.values())),
    "shard": _count,
    "shapes": _count,
    "waited": _number,
    "seconds": _number,
    "steps": lambda value: isinstance(value, dict) and all(map(_number, value.values())),
    "config": lambda value: isinstance(value, dict),
    "changed": lambda value: isinstance(value, dict) and all(map(_count, value.values())),
    "models": lambda value: isinstance(value, dict) and all(map(_text, value.values())),
}
"""Test of the value of each field of an event in the file, by name of the field."""


def _class(said: Mapping[str, Any]) -> type[Event]:
    if said["event"] == ShardMade.event:
        return ShapesMade if said.get("product") == SHAPES else ShardMade
    return EVENTS.get(said["event"], Unknown)


def _parsed(line: str) -> Event | None:
    """Parse the event in a line; None if the line is not an event."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or not {"time", "event"} <= said.keys():
        return None
    if not all(holds(said[name]) for name, holds in FIELDS.items() if name in said):
        return None
    cls = _class(said)
    if cls is Unknown:
        return Unknown(time=said["time"], name=said["event"])
    values = {f.name: said[f.name] for f in dataclasses.fields(cls) if f.name in said}
    needed = {f.name for f in dataclasses.fields(cls) if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING}
    if not needed <= values.keys():
        return None
    made: Callable[..., Event] = cls
    return made(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
