"""Sources of shapes: their names, and the interface of every source.

    source = open_source("meshes/")                     # or starter, list.csv, shapes.h5, ...; the kind is detected
    source = open_source("h5_files", variant="OBJ_BG")  # settings of a source are keyword arguments, all text
    geometry = source.reader.read(source.entries[0])    # in any process: a reader is small and can be pickled

A new source is one module and one line in `SOURCES`, or an entry point in another package (`cache_schema.plugins`). The module has:
  LOOKS_FOR                  one line, what its shapes look like on disk
  recognises(location)       whether `auto` should choose it; fast, without listing everything
  open_source(location, *, textures, **options) -> Source
                             lists the shapes; its keyword arguments are the source's options; with `**more`, it checks those that it
                             hands on to another source itself
  example(folder) -> str     makes the smallest possible collection and returns its location, for the contract test

Listing reads as little as possible. Shapes are read later, one by one, so that a broken shape fails alone. Names, order and options do not
depend on the machine: they hold no absolute path, no time and nothing of the locale. This module is fast to import, because the modules of
the sources are imported when they are needed.
"""

import difflib
import hashlib
import importlib
import inspect
import itertools
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final, Literal, NoReturn, Protocol, get_args, runtime_checkable

from cache_schema import plugins
from cache_schema.errors import UserError
from cache_schema.spec import MADE_IN_CODE, TEXT_BYTES, did_you_mean
from cache_schema.terminal import counted, escaped, some
from pipeline.formats.catalog import ANY_DATA, ELSEWHERE, FORMATS, READINGS
from pipeline.sources.stated import STATED, licence_in

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.geometry import Cloud, Mesh

SOURCES: Final[dict[str, str]] = {
    "scan": "pipeline.sources.scanned",
    "lidar": "pipeline.sources.lidar",
    "starter": "pipeline.starter.shapes",
    "rooms": "pipeline.starter.rooms",
    "forms": "pipeline.starter.forms",
    "shapenetpart": "pipeline.sources.shapenetpart",
    "partnet": "pipeline.sources.partnet",
    "s3dis": "pipeline.sources.s3dis",
    "scannet": "pipeline.sources.scannet",
    "sunrgbd": "pipeline.sources.sunrgbd",
    "kitti": "pipeline.sources.kitti",
    "semantickitti": "pipeline.sources.semantickitti",
    "openshape": "pipeline.sources.openshape",
    "ulip": "pipeline.sources.ulip",
    "objaverse": "pipeline.sources.objaverse",
    "modelnetfewshot": "pipeline.sources.modelnetfewshot",
    "list": "pipeline.sources.listing",
    "hdf5": "pipeline.sources.hdf5",
    "modelnet": "pipeline.sources.modelnet",
    "shapenet": "pipeline.sources.shapenet",
    "folder": "pipeline.sources.folder",
}
"""By name of a source: its module. `auto` chooses the first source that recognises the location, so the most specific ones come first."""

FROM_FILES: Final = "file"
"""The value of `licence` that reads what the files of shapes state."""

ANYTHING: Final = ("hdf5", "list", "folder")
"""Sources that read files in any layout, so that they say nothing about a folder."""

NEAR: Final = 50
"""Largest number of folders in a location that are asked whether they are a collection."""

CROWDED: Final = 1000
"""Most things in a folder that is asked whether it is a collection though it was not given."""

BESIDE: Final = 10_000
"""Largest number of files and folders whose names are compared with that of a location that does not exist."""

Textures = Literal["require", "grey"]
"""Whether a shape whose texture file is missing fails (`require`) or is read without it (`grey`)."""

ARCHIVES: Final = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")
"""Extensions of archives, which are not read."""

MAY_HOLD: Final = (*ARCHIVES, *ANY_DATA)
"""Extensions of files that may hold shapes, or something else, such as the archive that a folder was unpacked from, or weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One shape of a source, before it is read."""

    id: str
    """Its permanent name, which is part of the random state of its samples. At most 256 bytes of UTF-8."""
    locator: str
    """The place where its reader finds it: a path relative to the root, or an index."""
    label: str = ""
    """Class name; empty for none. `Chair` and `chair` are two classes."""
    split: str = ""
    """train, val, test or a name of the user's own; empty for none."""
    up: Literal["", "x", "y", "z", "-x", "-y", "-z"] = ""
    """Up axis of this shape, if a list gives one; empty for the axis of the reader."""
    licence: str = ""
    """Name of the licence it is under, where the source knows; empty for unknown."""


class Reader(Protocol):
    """Reads single shapes. A reader is small, immutable and picklable, so that it can be sent to worker processes."""

    @property
    def kind(self) -> str:
        """Its name in `SOURCES`."""

    @property
    def location(self) -> str:
        """Absolute path, or the name of a built-in collection."""

    @property
    def options(self) -> tuple[tuple[str, str], ...]:
        """Settings that change what is read, sorted by name, as `SourceSpec.options` records them. `open_source` accepts all of them again.
        Settings that only say where files are (a root, a folder of lists) are not among them."""

    @property
    def textures(self) -> Textures:
        """Whether a shape whose texture file is missing fails or is read without it."""

    def read(self, entry: Entry) -> "Mesh | Cloud":
        """The shape, +Y up.

        Raises:
            UserError: the shape cannot be read. The message gives a reason that a person understands.
        """

    def digest(self, entry: Entry) -> bytes:
        """sha256 (32 bytes) of the data that the shape is made from: its file, its row of a file, or its parameters.

        If a mesh has several files (.obj with .mtl, .gltf with .bin, textures), the digest covers only the main one. The field `beside` of
        the shape that `read` returns covers the others.

        Raises:
            UserError: there is no such file.
        """


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """The labels that a source has below the level of shapes. A shape without labels is read all the same; its points then have none."""

    parts: tuple[str, ...] = ()
    """Names of the parts of objects, or of the classes of things in scenes. Labels `part` of a shape are indices into them."""
    instances: bool = False
    """Whether shapes have labels `instance`."""
    origins: bool = False
    """Whether shapes are crops of scenes, and have labels `origin`."""
    boxes: tuple[str, ...] = ()
    """Names of the classes of boxes. `Boxes.kind` of a shape holds indices into them."""
    most: int = 0
    """Largest number of boxes of a shape. A shape with more fails."""


@dataclass(frozen=True, kw_only=True)
class GivenTexts:
    """Texts of shapes that a source has. They become the captions `captions/<name>`."""

    name: str
    """Name of the captions in the cache."""
    author: str
    """Who or what wrote them, in words."""
    samples: int
    """Largest number of texts of a shape or view."""
    views: int = 0
    """Number of views that have texts of their own; 0 for texts about whole shapes."""
    embedded: bool = False
    """Whether the source also has the teacher's embeddings of them."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """Embeddings and texts that a source has of its shapes. A build stores them as imported products."""

    teacher: str = ""
    """Name of the teacher that the embeddings are of; empty for none."""
    model: str = ""
    """The model of the teacher, as the authors of the collection tell it."""
    dim: int = 0
    """Width of an embedding, E."""
    views: int = 0
    """Number of image embeddings of a shape, V."""
    texts: tuple[GivenTexts, ...] = ()

    def __bool__(self) -> bool:
        """Whether the source has any embeddings or texts."""
        return bool(self.teacher or self.texts)


@dataclass(frozen=True, kw_only=True)
class Extras:
    """What a source has of one shape, as `Given` describes it."""

    image: "NDArray[np.float32] | None" = None
    """[V, E]; None if the source has no embeddings."""
    texts: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    """By name of the captions: the texts of each view, or one list about the shape. A shape without an entry has no texts."""
    embedded: "Mapping[str, Sequence[NDArray[np.float32]]]" = field(default_factory=dict)
    """By name of the captions: the embeddings of these texts, [number, E] for each view or for the shape."""


@runtime_checkable
class DatedReader(Protocol):
    """A `Reader` that knows when the own file of a shape was written."""

    def written(self, entry: Entry) -> float:
        """Seconds since 1970 when the file of a shape was last written, moved or replaced; 0 if this is not known or there is no file."""


class NamingReader(Protocol):
    """A `Reader` of shapes that are not all read by the code of its own source."""

    def read_by(self, entry: Entry) -> tuple[str, ...]:
        """Names in `pipeline.formats.catalog.READINGS`, in any order, of everything that reads the files of a shape. Others are ignored, as
        the extension of a file that nothing reads. Empty for a shape that is made in code."""


class GivingReader(Protocol):
    """A `Reader` of a source with `Source.given`."""

    def extras(self, entry: Entry) -> Extras:
        """What the source has of a shape.

        Raises:
            UserError: it cannot be read, or is unsound: another width, NaN, zeros. If so, `read` raises it, too.
        """


@dataclass(frozen=True, kw_only=True)
class Source:
    """The shapes of a source, and how to read them. Make one with `Source.of`."""

    reader: Reader
    entries: tuple[Entry, ...]
    """The shapes, sorted by id in code point order. Ids are unique."""
    skipped: Mapping[str, int]
    """Files that are no shapes: their number by extension (`.png`) or reason (`hidden`)."""
    notes: tuple[str, ...] = field(default=(), compare=False)
    """Sentences about guesses, each with the setting that changes it. They are shown before the build begins."""
    labelled: Labelled = Labelled()
    """The labels of points, and the boxes, that shapes have."""
    given: Given = Given()
    """Embeddings and texts of shapes. If there are any, the reader is a `GivingReader`."""

    @staticmethod
    def of(
        reader: Reader,
        entries: Iterable[Entry],
        skipped: Mapping[str, int] | None = None,
        notes: Iterable[str] = (),
        labelled: Labelled = Labelled(),
        given: Given = Given(),
    ) -> "Source":
        """A source with its entries in order. Adds notes about class names that are easily confused or seem to mean none, and about files
        that cannot be read. Of files that only may hold shapes (`MAY_HOLD`) it says nothing if there are fewer than shapes.

        Raises:
            UserError: two entries have the same id.
        """
        ordered = sorted(entries, key=lambda entry: entry.id)
        for one, two in itertools.pairwise(ordered):
            if one.id == two.id:
                files = (one.locator, two.locator)
                alike = files[0] != files[1] and len({unicodedata.normalize("NFC", file) for file in files}) == 1
                first, second = map(ascii if alike else repr, files)
                how = ", which look alike and are spelled by other characters" * alike
                raise UserError(f"two shapes have the id {one.id!r}: {first} and {second}{how}; rename one of them")
        skipped = dict(sorted((skipped or {}).items()))
        labels = {entry.label for entry in ordered}
        unread = {what: count for what, count in skipped.items() if what not in MAY_HOLD or count >= len(ordered)}
        said = (*notes, *_alike(labels), *_like_none(labels), *_unreadable(unread))
        return Source(reader=reader, entries=tuple(ordered), skipped=skipped, notes=said, labelled=labelled, given=given)


def read_by(reader: Reader, entry: Entry) -> tuple[str, ...]:
    """What reads the files of a shape: names in `pipeline.formats.catalog.READINGS`. Empty for a shape that is made in code, or by a source
    of another package."""
    own: Callable[[Entry], tuple[str, ...]] | None = getattr(reader, "read_by", None)  # faster than `isinstance` of a protocol
    return tuple(name for name in ((reader.kind,) if own is None else own(entry)) if name in READINGS)


def open_source(location: str, *, kind: str = "auto", textures: Textures = "require", licence: str = "", **options: str) -> Source:
    """Lists the shapes at a location.

    Args:
        location: a path, or the name of a built-in collection.
        kind: a name in `SOURCES`, or `auto` for the first source that recognises the location.
        textures: whether a shape whose texture file is missing fails (`require`) or is read without it (`grey`).
        licence: name of the licence of every shape for which the source knows none, or `file` for what glTF files state. It does not
            change what is read, so it is not among `Reader.options`.
        options: further settings of the source, see the `open_source` of its module.

    Raises:
        UserError: nothing is there, the kind or an option is unknown, or no shape was found.
    """
    known = kinds()
    if kind not in ("auto", *known):
        raise UserError(f"unknown kind of source {kind!r}{did_you_mean(kind, known)}")
    _refuse_elsewhere(location)
    if textures not in get_args(Textures):
        raise UserError(f"textures: expected one of {', '.join(get_args(Textures))}, got {textures!r}")
    found, unasked = _recognised(location) if kind == "auto" else (kind, [])
    inside, inner = _further_in(location, found, sure=kind != "auto")
    hint = " (recognised as {!r}; set kind for another)" if kind == "auto" else ""
    try:
        source = _opened(inside, inner, textures, options, hint)
    except UserError as error:
        others = _collections_in(Path(location).absolute()) if kind == "auto" and inside == "folder" else ""
        raise UserError(f"{error}. In it is what other sources read: give {others}") if others else error from error
    looks_only = inner != location and not source.entries
    if looks_only:
        source = _opened(found, location, textures, options, hint)
    elif inner != location:
        unasked = [f"{location!r} is taken for the only folder in it, {inner!r} ({inside})", *unasked]
        found, location = inside, inner
    module = plugins.module("sources", found, SOURCES)
    if not source.entries:
        instead = _collections_near(location) if kind == "auto" else ""
        seen = _seen(source.skipped)
        raise UserError(f"{location!r} holds no shapes; source {found!r} looks for {module.LOOKS_FOR}; it saw {seen}{instead}")
    if kind == "auto" and found == "folder" and not looks_only and (others := _collections_in(Path(location).absolute())):
        unasked = [f"{location!r} is read as one collection, though parts of it have a known layout: give {others} alone", *unasked]
    if unasked:
        source = replace(source, notes=(*source.notes, *unasked))
    return _licensed(source, shape_text(licence.strip()))


def _opened(kind: str, location: str, textures: Textures, options: Mapping[str, str], hint: str) -> Source:
    """The source of a kind at a location. `hint` is what the message about an unknown option adds, with `{!r}` for the kind. Raises as the
    source does, and as `check_options`."""
    module = plugins.module("sources", kind, SOURCES)
    if not _hands_on(module):
        check_options(kind, options, hint=hint.format(kind))
    source: Source = module.open_source(location, textures=textures, **options)
    return source


def kinds() -> list[str]:
    """The names of all kinds of sources: ours, and those of other installed packages (`cache_schema.plugins`)."""
    return plugins.names("sources", SOURCES)


def _seen(skipped: Mapping[str, int]) -> str:
    """What a source found instead of shapes, and what to do about it."""
    seen = ", ".join(f"{count} {what}" for what, count in skipped.items()) or "no files at all"
    return "; ".join((seen, *_unreadable(skipped)))


def _licensed(source: Source, licence: str) -> Source:
    """The source, with this licence for each shape that has none yet."""
    if not licence:
        return source
    if licence == FROM_FILES:
        return _stated(source)
    return replace(source, entries=tuple(entry if entry.licence else replace(entry, licence=licence) for entry in source.entries))


def _stated(source: Source) -> Source:
    """The source, with the licences that its glTF files state, for shapes that have none yet. A note counts them.

    Raises:
        UserError: no shape of the source is a glTF file.
    """
    root = getattr(source.reader, "root", "") or source.reader.location
    paths = {entry.id: Path(root, entry.locator) for entry in source.entries if os.path.splitext(entry.locator)[1].lower() in STATED}
    if not paths:
        raise UserError(f"source.licence={FROM_FILES} reads what {' and '.join(STATED)} files state, and there is no such shape")
    said = {entry: shape_text(licence_in(path)) for entry, path in paths.items()}
    entries = [entry if entry.licence else replace(entry, licence=said.get(entry.id, "")) for entry in source.entries]
    counts = Counter(entry.licence for entry in entries)
    told = ", ".join(f"{count} {name or 'without'}" for name, count in counts.most_common())
    note = f"licences read from {counted(len(paths), 'file')}: {told}"
    return replace(source, entries=tuple(entries), notes=(*source.notes, note))


def check_options(kind: str, names: Iterable[str], inner: str = "", hint: str = "") -> None:
    """Refuses names of options that a kind of source does not have.

    Args:
        kind: a name in `SOURCES`.
        names: the names.
        inner: another name in `SOURCES`, whose options the kind takes, too; empty for none.
        hint: what the message adds.

    Raises:
        UserError: a name is unknown, or both kinds have an option of that name.
    """
    known = _known_options(plugins.module("sources", kind, SOURCES))
    more = _known_options(plugins.module("sources", inner, SOURCES)) if inner else {}
    if shared := sorted((known.keys() & more.keys()) - {"licence"}):
        raise UserError(f"source {kind!r} cannot take source {inner!r} into it, because both have an option {shared[0]!r}")
    for name in names:
        if name not in known and name not in more:
            having = ", ".join(one for one, (_, options) in about().items() if name in options)
            other = f", which a recipe or --set gives; these sources have it: {having}" if having else ""
            raise UserError(f"source {kind!r} has no option {name!r}{other}{did_you_mean(name, {**known, **more})}{hint}")


def _known_options(module: ModuleType) -> dict[str, str]:
    """The options of a source by name, with their defaults: the source's own, and `licence`, which every source has."""
    parameters = inspect.signature(module.open_source).parameters.values()
    own = {p.name: str(p.default) for p in parameters if p.name not in ("location", "textures") and p.kind != p.VAR_KEYWORD}
    return own | {"licence": ""}


def _hands_on(module: ModuleType) -> bool:
    """Whether a source takes the options of another one, too."""
    return any(p.kind == p.VAR_KEYWORD for p in inspect.signature(module.open_source).parameters.values())


def _refuse_elsewhere(location: str) -> None:
    """Refuses shapes that are not in a folder of this machine.

    Raises:
        UserError: the location is an address, an archive or a cache. The message says what to do.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", location) and not os.path.exists(location):
        raise UserError(
            f"{location!r} is an address, and shapes are read from folders: download them first "
            "(aws s3 sync, gsutil, rclone, wget, huggingface-cli) and give the folder"
        )
    extension = os.path.splitext(location)[1].lower()
    if extension in ARCHIVES and os.path.isfile(location):
        raise UserError(f"{location!r} is an archive: unpack it and give the folder it becomes")
    if extension in ARCHIVES and not os.path.exists(location):
        raise UserError(f"{location!r} does not exist; shapes are read from a folder, so unpack the archive and give the folder")
    if os.path.isfile(os.path.join(location, "zarr.json")):
        raise UserError(
            f"{location!r} is a cache that was built already, not a folder of shapes; a build takes first the shapes, then the cache"
        )


def _unreadable(skipped: Mapping[str, int]) -> list[str]:
    """Sentences about files that hold shapes but cannot be read, or may hold some, and how to convert them."""
    by_remedy: dict[str, list[str]] = {}
    for what, count in skipped.items():
        if what in ELSEWHERE or what in ARCHIVES:
            by_remedy.setdefault(ELSEWHERE.get(what, "unpack them, if there are shapes in them"), []).append(f"{count} {what}")
    return [f"{', '.join(files)} cannot be read here: {remedy}" for remedy, files in by_remedy.items()]


def _alike(labels: Iterable[str]) -> list[str]:
    """A sentence about class names that differ only in case, hyphens, underscores or blanks. They stay different classes."""
    groups: dict[str, list[str]] = {}
    for label in sorted(labels):
        groups.setdefault(re.sub(r"[\s_-]+", "", label).casefold(), []).append(label)
    alike = [" and ".join(map(repr, group)) for group in groups.values() if len(group) > 1]
    if not alike:
        return []
    more = f" (and {len(alike) - 3} more such)" if len(alike) > 3 else ""
    differ = "differ in case, hyphens or blanks alone and stay apart; if they are one class, give them one name"
    return [f"the classes {'; '.join(alike[:3])}{more} {differ}"]


NONE: Final = frozenset({"nan", "none", "null", "n/a", "<na>", "#n/a"})
"""What programs write for a missing value, in small letters."""


def _like_none(labels: Iterable[str]) -> list[str]:
    """A sentence about class names that programs write for a missing value. They stay classes."""
    found = sorted(label for label in labels if label.lower() in NONE)
    return [f"names of classes are taken as written: {', '.join(map(repr, found))}; leave them out if they mean none"] if found else []


def about() -> dict[str, tuple[str, dict[str, str]]]:
    """By name of a source: what it looks for, and its options with their defaults."""
    found: dict[str, tuple[str, dict[str, str]]] = {}
    for name, path in SOURCES.items():
        try:
            module = importlib.import_module(path)
        except ModuleNotFoundError as error:
            found[name] = (f"needs the package {error.name}: pip install 'mmpd[pipeline]'", {})
            continue
        found[name] = (module.LOOKS_FOR, _known_options(module))
    for name in plugins.others("sources", SOURCES):
        state = plugins.state("sources", name, SOURCES)
        if state.startswith("broken"):
            found[name] = (state, {})
        else:
            module = plugins.module("sources", name, SOURCES)
            found[name] = (f"{module.LOOKS_FOR} ({state})", _known_options(module))
    return found


def recognised(location: str) -> str:
    """The name of the first source that recognises a location. Broken sources of other packages are left out.

    Raises:
        UserError: no source does.
    """
    return _further_in(location, _recognised(location)[0])[0]


ONLY: Final = 3
"""Most folders, each the only one in the other, between a location and a collection that is meant by it."""


def _further_in(location: str, kind: str, sure: bool = False) -> tuple[str, str]:
    """The kind and the location of the collection that is meant by a folder around it, as archives are often unpacked. Those given if none
    is.

    Args:
        location: the folder.
        kind: what it is taken for. `folder` fits any folder, so that collections of a known layout in the only folder go before. HDF5
            files do so only where nothing else is a shape, because they may hold anything, as the weights of a model.
        sure: whether the kind is asked for, so that no other one is looked for.
    """
    from pipeline.sources.folders import folders_alone

    if kind not in SOURCES or (kind in ANYTHING if sure else kind != "folder") or (sure and _recognises(kind, location)):
        return kind, location
    place = [Path(location)]
    asked = [kind] if sure else [name for name in SOURCES if name not in ANYTHING or name == "hdf5"]
    for _ in range(ONLY):
        place = folders_alone(place[0], 1) if place else []
        for name in asked if place else ():
            if _recognises(name, str(place[0])) and not (name == "hdf5" and _shapes_below(place[0])):
                return name, str(place[0])
    return kind, location


def _recognises(name: str, location: str) -> bool:
    """Whether a source of ours recognises a location. It does not if it may not look into it; who reads it says so."""
    try:
        return bool(importlib.import_module(SOURCES[name]).recognises(location))
    except OSError:
        return False


def _shapes_below(root: Path) -> bool:
    """Whether there is a file below a folder that is a shape by its extension, texts apart."""
    sure = FORMATS.keys() - {".txt", ".csv"}
    files = (name for _, _, names in os.walk(root) for name in names if not name.startswith("."))
    return any(os.path.splitext(name)[1].lower() in sure for name in files)


def _recognised(location: str) -> tuple[str, list[str]]:
    """The name of the first source that recognises a location; and a sentence for each source of another package that could not be asked.
    Raises as `recognised`."""
    modules: dict[str, ModuleType] = {}
    unasked: list[str] = []
    chosen = ""
    # Sources of other packages come first: the last ones of ours recognise almost anything. All of them are asked, so that each broken one
    # is told.
    for name in plugins.others("sources", SOURCES):
        if (state := plugins.state("sources", name, SOURCES)).startswith("broken"):
            unasked.append(f"source {name!r} was not asked, {state}")
            continue
        modules[name] = plugins.module("sources", name, SOURCES)
        try:
            chosen = chosen or (name if modules[name].recognises(location) else "")
        except (Exception, SystemExit) as error:  # the code of others may raise anything
            unasked.append(f"source {name!r} was not asked, broken: recognises({location!r}) raised {type(error).__name__}: {error}")
    ours = {name: importlib.import_module(path) for name, path in SOURCES.items()}
    chosen = chosen or next((name for name in SOURCES if _recognises(name, location)), "")
    if not chosen:
        _refuse_unknown(location, modules | ours)
    return chosen, unasked


def _refuse_unknown(location: str, modules: Mapping[str, ModuleType]) -> NoReturn:
    """Raise UserError, and say why, for a location that none of the sources, by name, recognises."""
    if not os.path.exists(location):
        raise UserError(
            f"{location!r} does not exist: it is neither a path nor the name of a built-in collection{_near(location)}; "
            "`mmpd-cache sources` lists what is read"
        )
    extension = os.path.splitext(location)[1].lower()
    if os.path.isfile(location) and extension in FORMATS:
        folder = os.path.dirname(location) or "."
        raise UserError(f"{location!r} is one shape; give a folder of them, as {folder!r}, or a list of paths (.csv, .json, .jsonl, .txt)")
    what = "is a file of a kind no source reads"
    if os.path.isfile(location) and extension in ELSEWHERE:
        what = f"is a file of a kind no source reads ({ELSEWHERE[extension]})"
    raise UserError(f"{location!r} {what}; expected " + "; or ".join(f"{module.LOOKS_FOR} ({name})" for name, module in modules.items()))


def _near(location: str) -> str:
    """`; did you mean 'x'?` with the built-in collection, or the file or folder beside, whose name is nearest; empty if none is near."""
    folder, name = os.path.split(location.rstrip("/"))
    try:
        with os.scandir(folder or ".") as items:
            beside = [item.name for item in itertools.islice(items, BESIDE) if not item.name.startswith(".")]
    except (OSError, ValueError):
        beside = []
    known = {one.casefold(): os.path.join(folder, one) for one in sorted(beside)} | ({} if folder else {one: one for one in MADE_IN_CODE})
    near = difflib.get_close_matches(name.casefold(), known, n=1)
    return f"; did you mean {known[near[0]]!r}?" if near else ""


def _collections_near(location: str) -> str:
    """A sentence about collections of a known layout in the folder around a location or in the folders in it; empty if there are none."""
    root = Path(location).absolute()
    found = [*_known([root.parent]), *_known(_folders(root))]
    return f". Near it is what other sources read: give {' or '.join(found)}" if found else ""


def _collections_in(root: Path) -> str:
    """The collections of a known layout among the folders in a folder, in words; empty if there are none."""
    return some(_known(_folders(root)), separator=" or ")


def _folders(root: Path) -> list[Path]:
    """The first folders in a folder, without those that hold very many things and would take long to ask. None where it may not be read."""
    try:
        found = sorted(path for path in itertools.islice(root.iterdir(), BESIDE) if path.is_dir())[:NEAR]
        return [path for path in found if sum(1 for _ in itertools.islice(path.iterdir(), CROWDED + 1)) <= CROWDED]
    except OSError:
        return []


def _known(folders: Iterable[Path]) -> list[str]:
    """The folders that are collections of a known layout, each with the kind of its source."""
    sure = [name for name in SOURCES if name not in ANYTHING]
    kinds_ = {str(path): next((name for name in sure if _recognises(name, str(path))), "") for path in folders}
    return [f"{place!r} ({name})" for place, name in kinds_.items() if name]


def shape_text(path: str) -> str:
    """A path or name as text that is equal on every machine and harmless on a terminal.

    The text is in Unicode form NFC. Bytes that are no UTF-8 are written as `\\xff`. Characters that are not printed (a newline, an escape,
    a change of the writing direction) are written as `\\x0a` or `\\u202e`.

    Raises:
        UserError: it has half of a surrogate pair, which JSON can hold.
    """
    try:
        raw = path.encode("utf-8", "surrogateescape")  # as `os.fsencode`, on every machine
    except UnicodeEncodeError as error:
        told = ascii(path[:80])
        raise UserError(f"the text {told} has half of a surrogate pair, which is no character: write it anew as UTF-8") from error
    text = unicodedata.normalize("NFC", raw.decode("utf-8", "backslashreplace"))
    if text.isprintable():  # nearly every text: a million of them are asked for at a time
        return text
    return "".join(c if c.isprintable() or c in KEPT or unicodedata.category(c) in ("Zs", "Co", "Cn") else escaped(c) for c in text)


KEPT: Final = "\u200c\u200d"
"""Invisible characters that are kept: they join letters or pictures (in Persian, Hindi, emoji)."""


def shape_id(text: str) -> str:
    """The id for a name: the name itself. If it has more than 256 bytes of UTF-8, the id is its beginning and a hash of the whole name."""
    raw = text.encode()
    if len(raw) <= TEXT_BYTES:
        return text
    mark = "~" + hashlib.sha256(raw).hexdigest()[:16]
    return raw[: TEXT_BYTES - len(mark)].decode("utf-8", "ignore") + mark
