"""Objaverse by a list of ids: its meshes, with the classes of LVIS, and the licence and the name of every object.

    open_source("objaverse:uids.txt")                          # downloaded by the package `objaverse` where they are missing
    open_source("hf-objaverse-v1/")                            # a folder that was downloaded, and nothing else is used
    open_source("hf-objaverse-v1/", uids="uids.txt")           # some of its objects

The folder is the one that the package `objaverse` fills (github.com/allenai/objaverse-xl, objaverse/__init__.py): `object-paths.json.gz`,
{UID: "glbs/000-023/UID.glb"}; `metadata/000-023.json.gz`, {UID: annotation}; `lvis-annotations.json.gz`, {class: [UIDs]}. Files without
`.gz` are read, too. A list is a text with one UID a line, a JSON list, or a CSV with a column `uid` (or one column).

Id: the UID. Class: that of LVIS, else none. Licence: `license` of the annotation, a Creative Commons licence (`by` is CC-BY-4.0). A build
stores the name that the maker gave the object as `captions/objaverse-name`. The captioner `descriptions` makes texts of the class, and of
the maker's name, tags and description. +Y up, as in all glTF.

`object-paths.json.gz` names all objects of Objaverse, also those that were not downloaded. So a folder without a list has the objects whose
files are there, and a note counts the others. With a list, an object whose file is missing fails when it is read; an id that Objaverse does
not know stops the listing. The folder may also be given as its `glbs`.
"""

import contextlib
import csv
import gzip
import hashlib
import importlib
import io
import json
import os
import re
import struct
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, cast

from cache_schema.errors import UserError
from cache_schema.spec import TEXT_BYTES
from pipeline import reading
from pipeline.geometry import Geometry
from pipeline.labels import readable
from pipeline.sources import annotations, splits
from pipeline.sources.catalog import Entry, Extras, Given, GivenTexts, Source, Textures, shape_id, shape_text
from pipeline.sources.files import suffix_of
from pipeline.sources.folders import folders_in
from pipeline.statements import Statement

PREFIX: Final = "objaverse:"
LOOKS_FOR: Final = "objaverse: and a list of ids, or the folder of the package objaverse (glbs/, metadata/, object-paths.json.gz)"

PATHS: Final = "object-paths.json"
LVIS: Final = "lvis-annotations.json"

LICENCES: Final = {
    "by": "CC-BY-4.0",
    "by-sa": "CC-BY-SA-4.0",
    "by-nd": "CC-BY-ND-4.0",
    "by-nc": "CC-BY-NC-4.0",
    "by-nc-sa": "CC-BY-NC-SA-4.0",
    "by-nc-nd": "CC-BY-NC-ND-4.0",
    "cc0": "CC0-1.0",
}
"""By the word in an annotation: the name of the licence. The page of Objaverse names version 4.0 of all, and CC0 1.0."""

NAMES: Final = "objaverse-name"
"""Name of the captions with the names of objects."""

TAGS: Final = 8
"""Most tags of an object that are read."""
LONGEST: Final = 2 * TEXT_BYTES
"""Most characters of a description that are kept. A text cell has room for half as many."""
ADDRESS: Final = re.compile(r"\S*(?:https?://|www\.)\S*")
"""An address in a description."""

LARGEST: Final = 4 << 30
"""Largest size of an unpacked JSON file, in bytes."""


@dataclass(frozen=True, kw_only=True)
class ObjaverseReader:
    """Reads objects. See `catalog.Reader` and `catalog.GivingReader`."""

    kind: str = "objaverse"
    location: str
    root: str
    options: tuple[tuple[str, str], ...]
    textures: Textures

    def read(self, entry: Entry) -> Geometry:
        return reading.load(self._path(entry), up="y", textures=self.textures)

    def read_by(self, entry: Entry) -> tuple[str, ...]:
        """See `catalog.NamingReader`."""
        return (suffix_of(entry.locator),)

    def digest(self, entry: Entry) -> bytes:
        with self._path(entry).open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()

    def extras(self, entry: Entry) -> Extras:
        name = self._kept(entry, "name", _name) or ""
        return Extras(texts={NAMES: [[name]]} if name else {})

    def states(self, entry: Entry) -> Statement:
        """The class of LVIS, and what its maker wrote on Sketchfab; see `statements.StatingReader`."""
        told = self._kept(entry, "statement", _stated)
        return replace(_Told(*told).statement() if told else Statement(), name=readable(entry.label))

    def _kept(self, entry: Entry, what: str, made: Callable[[Mapping[str, Any]], Any]) -> Any:
        """What is made of the annotation of an object; None if there is nothing. Its file is read once in a process.

        Args:
            entry: the object.
            what: a name of what is made.
            made: makes it: values of JSON, which are false if there is nothing.
        """
        root, part = Path(self.root), _part(entry.locator)

        def read() -> Iterator[tuple[str, str]]:
            for uid, said in _annotated(root, part):
                if found := made(said):
                    yield uid, json.dumps(found)

        path = _path(root, _metadata(part))
        version = (path, path.stat().st_mtime_ns, path.stat().st_size) if path else (root, part)
        text = annotations.kept().get((what, *version), Path(entry.locator).stem, read)
        return None if text is None else json.loads(text)

    def _path(self, entry: Entry) -> Path:
        path = Path(self.root, entry.locator)
        if not path.is_file():
            raise UserError(f"no such file: {entry.locator}; it was not downloaded")
        return path


def recognises(location: str) -> bool:
    if location.startswith(PREFIX):
        return True
    path = _home(Path(location))
    return (path / "glbs").is_dir() and any((path / f"{PATHS}{end}").is_file() for end in ("", ".gz"))


def _home(path: Path) -> Path:
    """The folder of the package, which may be given as its folder `glbs`."""
    return path.absolute().parent if path.absolute().name == "glbs" else path


def open_source(
    location: str, *, textures: Textures = "require", uids: str = "", download: str = "1", split: str = "", split_seed: str = "0"
) -> Source:
    """Lists objects of Objaverse.

    Args:
        location: `objaverse:` and a list of ids, or a folder.
        textures: see `catalog.open_source`.
        uids: a list of ids that chooses objects of a folder. It is not recorded, because the ids are.
        download: number of processes that download, for `objaverse:`. It is not recorded.
        split: makes a split, see `splits.fractions`.
        split_seed: seed of the split that is made.
    """
    recorded = splits.settings(split, split_seed)
    if location.startswith(PREFIX):
        if uids:
            raise UserError(f"give the list of ids either as {PREFIX}LIST or as option uids")
        path = Path(location.removeprefix(PREFIX)).absolute()
        wanted = ids_in(path)
        root, where = _downloaded(wanted, download), f"{PREFIX}{path}"
    else:
        root = _home(Path(location)).absolute()
        wanted, where = (ids_in(Path(uids)) if uids else []), str(root)
    entries, named, notes = _listed(root, wanted or None)
    entries, said = splits.finished(entries, split, split_seed, "Objaverse")
    reader = ObjaverseReader(location=where, root=str(root), options=recorded, textures=textures)
    texts = (GivenTexts(name=NAMES, author="the makers of the objects, on Sketchfab", samples=1),) if named else ()
    return Source.of(reader, entries, None, (*said, *notes), given=Given(texts=texts))


def _downloaded(wanted: Sequence[str], processes: str) -> Path:
    """Download objects and their annotations by the package `objaverse`. Returns its folder.

    Raises:
        UserError: the package is not installed, or the download failed.
    """
    if not (processes.isdigit() and processes.isascii() and 1 <= int(processes) <= 256):
        raise UserError(f"option download: expected a number of processes from 1 to 256, got {processes!r}")
    try:
        package = importlib.import_module("objaverse")
    except ModuleNotFoundError as error:
        raise UserError("objaverse: downloads by the package objaverse: pip install 'mmpd[objaverse]', or give a folder") from error
    root = Path(package._VERSIONED_PATH)
    try:
        try:
            package.load_annotations(list(wanted))
        except KeyError:  # so it says that it does not know an id; by then it has written the paths of all that it knows
            paths = _json(root, PATHS)
            _refuse_unknown(wanted, paths if isinstance(paths, dict) else {})
            raise UserError(f"{str(root)!r}: the package objaverse cannot read its own files; delete this folder and try again") from None
        package.load_lvis_annotations()
        found = package.load_objects(list(wanted), download_processes=int(processes))
    except (OSError, ValueError, EOFError, zlib.error) as error:  # the package reads files that an earlier download has cut short
        if isinstance(error, UserError):
            raise
        raise UserError(f"the download from Objaverse failed: {error}; run the same command again, it goes on") from error
    _refuse_unknown(wanted, found)
    return root


def _refuse_unknown(wanted: Sequence[str], known: Collection[str]) -> None:
    if missing := [uid for uid in wanted if uid not in known]:
        raise UserError(f"Objaverse does not know {len(missing)} of {len(wanted)} ids, the first is {missing[0]!r}")


def ids_in(path: Path) -> list[str]:
    """The ids in a list: a text with one a line, a JSON list, or a CSV with a column `uid`.

    Raises:
        UserError: the list is missing, empty, has an id twice, or is no list.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the list of ids {path.name!r}: {error}") from error
    match path.suffix.lower():
        case ".json":
            try:
                held = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path.name} is no JSON: {error}") from error
            found = list(held) if isinstance(held, list | dict) else []
        case ".csv":
            rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
            head = [cell.strip().lower() for cell in rows[0]] if rows else []
            column = next((head.index(name) for name in ("uid", "id") if name in head), None)
            found = [row[column or 0] for row in rows[0 if column is None else 1 :] if len(row) > (column or 0)]
        case _:
            found = [line for line in text.splitlines() if not line.startswith("#")]
    if not all(isinstance(uid, str) for uid in found):
        raise UserError(f"{path.name}: expected ids as texts")
    ids = [uid.strip().removesuffix(".glb") for uid in found if uid.strip()]
    twice = next((uid for uid, count in Counter(ids).items() if count > 1), None)
    if not ids or twice is not None:
        raise UserError(f"{path.name} {'holds no ids' if not ids else f'has the id {twice!r} twice'}")
    return ids


def _json(root: Path, name: str) -> Any:
    """The content of a JSON file, packed by gzip or not; None where there is no such file.

    Raises:
        UserError: it is damaged or too large.
    """
    if (path := _path(root, name)) is None:
        return None
    with _unpacked(path) as file:
        data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise UserError(f"{path.name} is larger than {LARGEST:,} bytes")
        return json.loads(data)


def _path(root: Path, name: str) -> Path | None:
    """A JSON file, packed by gzip or not; None where there is no such file."""
    return next((path for path in (root / f"{name}.gz", root / name) if path.is_file()), None)


@contextlib.contextmanager
def _unpacked(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that may be packed by gzip. Errors of reading it become a UserError that names it."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            yield cast(IO[bytes], file)  # a GzipFile has all that is used of it
    except (OSError, ValueError, EOFError, zlib.error, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"cannot read {path.name}, cut short? ({error})") from error


def _listed(root: Path, wanted: Collection[str] | None) -> tuple[list[Entry], bool, list[str]]:
    """The entries of objects, whether any of them has a name, and notes."""
    paths = _json(root, PATHS)
    if not isinstance(paths, dict) or not all(isinstance(place, str) for place in paths.values()):
        raise UserError(f"{str(root)!r} has no {PATHS}.gz with a path for each id")
    if wanted is not None and (unknown := [uid for uid in wanted if uid not in paths]):
        raise UserError(f"Objaverse has no object {unknown[0]!r}, and {len(unknown) - 1} more of {len(wanted)} ids are unknown")
    chosen = {uid: paths[uid] for uid in (paths if wanted is None else wanted)}
    for place in chosen.values():
        shape_text(place)  # no file has such a name, if it raises
    if bad := next((place for place in chosen.values() if place.startswith("/") or ".." in place.split("/")), None):
        raise UserError(f"{PATHS}.gz has a path that leads out of its folder: {bad[:100]!r}")
    if wanted is None:
        there = _there(root)
        chosen = {uid: place for uid, place in chosen.items() if place in there}
        if not chosen:
            told = f"none of the {len(paths):,} objects that {PATHS}.gz names was downloaded"
            raise UserError(f"{str(root)!r}: {told}; give {PREFIX}LIST, which downloads those of a list")
    (words, named), (classes, notes) = _licensed(root, chosen), _classes(root)
    if left := len(paths) - len(chosen) if wanted is None else 0:
        notes.append(f"{left:,} objects that {PATHS}.gz names were not downloaded and are left out; --set source.uids=LIST keeps to a list")
    entries, unknown_words = [], Counter[str]()
    for uid, place in chosen.items():
        word = words.get(uid, "")
        licence = LICENCES.get(word, "")
        if word and not licence:
            unknown_words[word[:40]] += 1
        entries.append(Entry(id=shape_id(shape_text(uid)), locator=place, label=shape_text(classes.get(uid, "")), licence=licence))
    without = sum(not entry.licence for entry in entries)
    if without:
        notes.append(f"{without} of {len(entries)} objects have no licence in the annotations; it is unknown")
    for word, count in unknown_words.items():
        notes.append(f"{count} objects are under {word!r}, which is none of Creative Commons' that Objaverse names")
    return entries, named, notes


def _there(root: Path) -> set[str]:
    """The paths of the files of objects that are there: `glbs/000-023/UID.glb`."""
    return {f"glbs/{part.name}/{name}" for part in folders_in(root / "glbs") for name in os.listdir(part)}


def _part(place: str) -> str:
    """The name of the file of annotations of `glbs/000-023/UID.glb`: `000-023`."""
    return place.split("/")[1] if place.count("/") >= 2 else ""


def _metadata(part: str) -> str:
    """The name of a file of annotations, as if it were not packed."""
    return f"metadata/{part}.json"


def _licensed(root: Path, chosen: Mapping[str, str]) -> tuple[dict[str, str], bool]:
    """The word for the licence of each object that has one, by id; and whether any object has a name."""
    words, named = dict[str, str](), False
    for part in sorted({_part(place) for place in chosen.values()} - {""}):
        for uid, said in _annotated(root, part):
            if uid in chosen:
                named = named or bool(_name(said))
                if word := said.get("license"):
                    words[uid] = sys.intern(str(word))  # a million objects share a few words
    return words, named


def _annotated(root: Path, part: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The annotations in one file with their ids, one at a time; none where there is no such file.

    Raises:
        UserError: the file is damaged, or holds something else.
    """
    if (path := _path(root, _metadata(part))) is not None:
        with _unpacked(path) as file:
            yield from ((uid, said) for uid, said in annotations.entries(file, LARGEST) if isinstance(said, dict))


class _Told(NamedTuple):
    """What the maker of an object wrote, as values of JSON."""

    title: str
    tags: Sequence[str]
    text: str

    def statement(self) -> Statement:
        return Statement(title=self.title, tags=tuple(self.tags), text=self.text)


def _stated(said: Mapping[str, Any]) -> _Told | None:
    """The name, the tags and the description in an annotation; None for nothing. Addresses in the description are left out."""
    tags, written = said.get("tags"), said.get("description")
    named = [tag.get("name") if isinstance(tag, dict) else tag for tag in (tags if isinstance(tags, list) else ())]
    text = "".join(c if c.isprintable() else " " for c in ADDRESS.sub("", written)) if isinstance(written, str) else ""
    tags = [tag.strip() for tag in named[:TAGS] if isinstance(tag, str) and tag.strip()]
    told = _Told(_name(said), tags, " ".join(text.split())[:LONGEST])
    return told if any(told) else None


def _name(said: Mapping[str, Any]) -> str:
    name = said.get("name")
    return name.strip() if isinstance(name, str) else ""


def _classes(root: Path) -> tuple[dict[str, str], list[str]]:
    """The class of LVIS by id, and notes. An object of two classes has none."""
    held = _json(root, LVIS)
    if held is None:
        return {}, [f"no {LVIS}.gz is there: objects have no class"]
    if not isinstance(held, dict) or not all(
        isinstance(uids, list) and all(isinstance(uid, str) for uid in uids) for uids in held.values()
    ):
        raise UserError(f"{LVIS}.gz: expected a list of ids for each class")
    found: dict[str, str] = {}
    several = set()
    for name, uids in held.items():
        several |= {uid for uid in uids if found.setdefault(uid, name) != name}
    notes = [f"{len(several)} objects have several classes of LVIS, and therefore none here"] if several else []
    return {uid: name for uid, name in found.items() if uid not in several}, notes


def example(folder: Path) -> str:
    """Two triangles, as the package keeps objects."""
    root = folder / "hf-objaverse-v1"
    paths = {uid: f"glbs/000-001/{uid}.glb" for uid in ("0a01", "0b02")}
    (root / "glbs" / "000-001").mkdir(parents=True)
    (root / "metadata").mkdir()
    for place in paths.values():
        (root / place).write_bytes(triangle())
    (root / f"{PATHS}.gz").write_bytes(gzip.compress(json.dumps(paths).encode(), mtime=0))
    said = {"0a01": {"uid": "0a01", "name": "A chair", "license": "by"}, "0b02": {"uid": "0b02", "name": "Lamp 2", "license": "by-nc"}}
    (root / "metadata" / "000-001.json.gz").write_bytes(gzip.compress(json.dumps(said).encode(), mtime=0))
    (root / f"{LVIS}.gz").write_bytes(gzip.compress(json.dumps({"chair": ["0a01"], "lamp": ["0b02"]}).encode(), mtime=0))
    return str(root)


def triangle() -> bytes:
    """A GLB with one triangle."""
    corners = struct.pack("<9f", 0, 0, 0, 1, 0, 0, 0, 2, 0)
    scene = {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": [0]}],
        "scene": 0,
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3", "min": [0, 0, 0], "max": [1, 2, 0]}],
        "bufferViews": [{"buffer": 0, "byteLength": len(corners)}],
        "buffers": [{"byteLength": len(corners)}],
    }
    text = json.dumps(scene).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(corners), b"BIN\0") + corners
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
