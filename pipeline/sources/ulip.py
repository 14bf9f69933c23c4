"""The triplets of ULIP and ULIP-2 (arXiv:2212.05171, arXiv:2305.08275): their clouds and their texts. +Y up.

    open_source("shapenet-55/")                  # shapenet_pc/SYNSET-MODEL.npy, train.txt, test.txt, taxonomy.json, captions/
    open_source("ULIP-Objaverse_triplets/")      # objaverse_pc_parallel/UID/UID_8192.npz, merged_data.json
    open_source("objaverse-lvis/")               # lvis.json, objaverse_lvis_metadata.json and the .npy that it names

The layouts are those of the loader in ULIP's code (github.com/salesforce/ULIP, data/dataset_3d.py) where it reads them, else of public
code that reads the published files:
  ShapeNet   lists of SYNSET-MODEL.npy; a cloud [8192, 3] each; taxonomy.json, [{"synsetId", "name": "airplane,aeroplane"}, ...];
             captions/SYNSET-MODEL.json, {"SYNSET-MODEL_r_012.png": [ten texts], ...} of the views 12 degrees apart
  Objaverse  UID_8192.npz with `arr_0`, in a folder of its own or not; merged_data.json, {".../UID/VIEW.png": [texts], ...}
  LVIS       lvis.json, {UID: path of a .npy}; each holds a dict with xyz [10000, 3] and rgb in 0..1, which nothing executes;
             `value_to_key_mapping` in the metadata gives the class of each UID
The pictures are not read: a build draws views of its own. Texts about a view are about ULIP's view, whose camera differs from that of the
cache's view of the same number.

Id: `SYNSET-MODEL` or the UID. Class: the name of the synset, or LVIS's. Split: train.txt and test.txt; LVIS is a test set; `split=0.8`
makes one by a hash of the id. Where lists are there, the shapes are exactly those listed; a listed shape that is missing fails when it is
read.
Licence: the terms that ULIP's page names, ODC-By 1.0 for Objaverse's triplets and ShapeNet's terms of use for those of ShapeNet.
A build stores `captions/ulip-blip2` (texts of views) and `captions/ulip-names` (the names of the synset), where they are there.
"""

import functools
import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from cache_schema.errors import UserError
from cache_schema.terminal import article
from pipeline import reading
from pipeline.geometry import Geometry
from pipeline.sources import splits
from pipeline.sources.catalog import Entry, Extras, Given, GivenTexts, Source, Textures, shape_id, shape_text
from pipeline.sources.files import find_files, suffix_of
from pipeline.sources.folders import folder_at
from pipeline.sources.openshape import cloud_of, record_of
from pipeline.sources.options import choice, whole
from pipeline.sources.shapenet import SYNSETS

LOOKS_FOR: Final = "ULIP's triplets: shapenet_pc/ with taxonomy.json or captions/, objaverse_pc_parallel/, or lvis.json with its metadata"

CLOUDS: Final = {"shapenet": "shapenet_pc", "objaverse": "objaverse_pc_parallel"}
"""By layout: the folder of the clouds."""
LICENCES: Final = {"shapenet": "ShapeNet terms of use", "objaverse": "ODC-By-1.0", "lvis": "ODC-By-1.0"}
"""By layout: the licence that ULIP's page names for the triplets as a whole."""
METADATA: Final = "objaverse_lvis_metadata.json"

VIEWS, NAMES = "ulip-blip2", "ulip-names"
"""Names of the captions of views, and of those with the names of a synset."""

LARGEST: Final = 16 << 30
"""Largest size of a JSON file, in bytes."""

LOOKED: Final = 16
"""Number of files of texts that are read to learn the names of the views."""

TEXTS: Final = "10"
"""Largest number of texts of a view that are kept, unless another is asked for."""

Layout = Literal["shapenet", "objaverse", "lvis"]


@dataclass(frozen=True, kw_only=True)
class UlipReader:
    """Reads ULIP's clouds and texts. See `catalog.Reader` and `catalog.GivingReader`."""

    kind: str = "ulip"
    location: str
    root: str
    layout: Layout
    up: Literal["y", "z"]
    options: tuple[tuple[str, str], ...]
    textures: Textures
    given: Given = Given()
    views: tuple[str, ...] = ()
    """Names of the views in the order of their texts, without the id."""

    def read(self, entry: Entry) -> Geometry:
        path = Path(self.root, entry.locator)
        if not path.is_file():
            raise UserError(f"no such file: {entry.locator}")
        cloud = cloud_of(record_of(path), self.up) if self.layout == "lvis" else reading.load(path, up=self.up, textures=self.textures)
        if self.layout != "shapenet":
            return cloud
        self.extras(entry)  # a shape that is ok has sound texts
        left = self._left_out(entry)
        said = f"{left} texts are left out, because none of the first {LOOKED} files has so many of a view"
        return replace(cloud, warnings=(*cloud.warnings, said)) if left else cloud

    def read_by(self, entry: Entry) -> tuple[str, ...]:
        """See `catalog.NamingReader`."""
        return (self.kind,) if self.layout == "lvis" else (suffix_of(entry.locator),)

    def digest(self, entry: Entry) -> bytes:
        try:
            with Path(self.root, entry.locator).open("rb") as file:
                return hashlib.file_digest(file, "sha256").digest()
        except FileNotFoundError as error:
            raise UserError(f"no such file: {entry.locator}") from error

    def extras(self, entry: Entry) -> Extras:
        texts: dict[str, Sequence[Sequence[str]]] = {}
        for one in self.given.texts:
            if one.name == NAMES:
                said: list[list[str]] = [names_of(Path(self.root)).get(entry.id.partition("-")[0], [])[: one.samples]]
            else:
                by_view = self._captions(entry)
                said = [by_view.get(view, [])[: one.samples] for view in self.views]
            if any(said):
                texts[one.name] = said
        return Extras(texts=texts)

    def _left_out(self, entry: Entry) -> int:
        """Number of texts of views that were asked for, and that are more than the first files have."""
        samples = next((one.samples for one in self.given.texts if one.name == VIEWS), 0)
        asked = int(dict(self.options).get("texts", TEXTS)) if samples else 0
        return sum(max(min(len(texts), asked) - samples, 0) for texts in self._captions(entry).values())

    def _captions(self, entry: Entry) -> Mapping[str, list[str]]:
        """The texts of a shape by view."""
        if self.layout == "objaverse":
            return merged(Path(self.root, "merged_data.json")).get(entry.id, {})
        path = Path(self.root, "captions", f"{Path(entry.locator).stem}.json")
        found = captions_in(path) if path.is_file() else {}
        if unknown := [view for view in found if view not in self.views]:
            raise UserError(f"{path.name} has the view {unknown[0]!r}, which the first files do not have")
        return found


def _json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: it is missing, damaged or too large.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise UserError(f"{path.name} is larger than {LARGEST:,} bytes")
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"cannot read {path.name}: {error}") from error


def _texts(value: Any, where: str) -> list[str]:
    """A text, or a list of texts, without empty ones."""
    said = [value] if isinstance(value, str) else value
    if not isinstance(said, list) or not all(isinstance(text, str) for text in said):
        raise UserError(f"{where}: expected a list of texts, got {str(value)[:60]!r}")
    return [text for text in said if text.strip()]


def captions_in(path: Path) -> dict[str, list[str]]:
    """The texts in a file `captions/SYNSET-MODEL.json`, by the name of the view without the id.

    Raises:
        UserError: the file is damaged, or holds something else.
    """
    held = _json(path)
    if not isinstance(held, dict):
        raise UserError(f"{path.name}: expected texts by name of the picture, got {article(type(held).__name__)}")
    return {_view(name.removeprefix(path.stem)): _texts(said, f"{path.name}, {name}") for name, said in held.items()}


def _view(name: str) -> str:
    return re.sub(r"\.(png|jpg|jpeg)$", "", name, flags=re.IGNORECASE)


@functools.lru_cache(maxsize=1)
def merged(path: Path) -> dict[str, dict[str, list[str]]]:
    """The texts in `merged_data.json` by UID and name of the view. The folders before the UID are those of the authors' machine.

    Raises:
        UserError: the file is damaged, or holds something else.
    """
    held = _json(path)
    if not isinstance(held, dict):
        raise UserError(f"{path.name}: expected texts by path of the picture, got {article(type(held).__name__)}")
    found: dict[str, dict[str, list[str]]] = {}
    for place, said in held.items():
        folder, _, name = place.replace("\\", "/").rpartition("/")
        found.setdefault(folder.rpartition("/")[2], {})[_view(name)] = _texts(said, f"{path.name}, {place[-60:]}")
    return found


@functools.lru_cache(maxsize=4)
def names_of(root: Path) -> dict[str, list[str]]:
    """The names of each synset in taxonomy.json; nothing where there is no such file.

    Raises:
        UserError: the file is damaged, or holds something else.
    """
    path = root / "taxonomy.json"
    if not path.is_file():
        return {}
    rows = _json(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) and isinstance(row.get("synsetId"), str) for row in rows):
        raise UserError(f"{path.name}: expected a list of objects with synsetId and name")
    return {row["synsetId"]: [name.strip() for name in str(row.get("name", "")).split(",") if name.strip()] for row in rows}


# ------------------------------------------------------------------------------------------------------------ the listing


def recognises(location: str) -> bool:
    return _layout(Path(location)) is not None if os.path.isdir(location) else False


def _layout(path: Path) -> Layout | None:
    """The layout of a folder; None if it is none of ULIP's."""
    if (path / "lvis.json").is_file() and (path / METADATA).is_file():
        return "lvis"
    if (path / CLOUDS["objaverse"]).is_dir():
        return "objaverse"
    if (path / CLOUDS["shapenet"]).is_dir() and ((path / "taxonomy.json").is_file() or (path / "captions").is_dir()):
        return "shapenet"
    return None


def open_source(
    location: str,
    *,
    textures: Textures = "require",
    up: str = "y",
    captions: str = "auto",
    texts: str = TEXTS,
    split: str = "",
    split_seed: str = "0",
) -> Source:
    """Lists ULIP's triplets.

    Args:
        location: the folder.
        textures: see `catalog.open_source`.
        up: `y` or `z`.
        captions: `auto` for the texts that are there, `none` for clouds alone. merged_data.json of Objaverse is read as a whole, which
            takes several times its size in memory.
        texts: largest number of texts that are kept of a view.
        split: makes a split, see `splits.fractions`.
        split_seed: seed of the split that is made.
    """
    axis: Literal["y", "z"] = choice("option up", up, ("y", "z"))
    choice("option captions", captions, ("auto", "none"))
    kept = whole("texts", texts, 1, 100, "a number of texts")
    recorded = splits.settings(split, split_seed)
    root = folder_at(location)
    layout = _layout(root)
    if layout is None:
        raise UserError(f"{location!r} is none of ULIP's layouts; expected {LOOKS_FOR}")
    listing = {"shapenet": _shapenet, "objaverse": _objaverse, "lvis": _lvis}[layout]
    entries, skipped, told_by = listing(root)
    entries, said = splits.finished([replace(entry, licence=LICENCES[layout]) for entry in entries], split, split_seed, told_by)
    chosen = [("up", up)] * (up != "y") + [("captions", captions)] * (captions != "auto") + [("texts", texts)] * (kept != int(TEXTS))
    reader = UlipReader(
        location=str(root), root=str(root), layout=layout, up=axis, options=tuple(sorted((*chosen, *recorded))), textures=textures
    )
    notes = [*said, f"+{up.upper()} is taken for up, as ULIP's loader turns clouds about y; choose with --set source.up=y|z"]
    notes.append(f"licence of every shape: {LICENCES[layout]}, which ULIP's page names for these triplets as a whole")
    if captions == "auto" and layout != "lvis":
        reader, more = _with_texts(reader, entries, kept)
        notes += more
    return Source.of(reader, entries, skipped, notes, given=reader.given)


def _shapenet(root: Path) -> tuple[list[Entry], dict[str, int], str]:
    files, skipped = find_files(root / CLOUDS["shapenet"], (".npy",))
    names = {Path(file).stem for file in files}
    listed = {split: list(_lines(root / f"{split}.txt")) for split in ("train", "val", "test") if (root / f"{split}.txt").is_file()}
    if listed:
        of_split = {name: split for split, lines in listed.items() for name in lines}
        if len(of_split) < sum(map(len, listed.values())):
            raise UserError("a shape is in two lists, or twice in one: " + ", ".join(f"{split}.txt" for split in listed))
        if left := len(names - set(of_split)):
            skipped["not in the lists"] = left
    else:
        of_split = dict.fromkeys(sorted(names), "")
    entries = []
    for name, split in of_split.items():
        synset = name.partition("-")[0]
        label = SYNSETS.get(synset) or next(iter(names_of(root).get(synset, [])), synset)
        locator = f"{CLOUDS['shapenet']}/{name}.npy"
        entries.append(Entry(id=shape_id(shape_text(name)), locator=locator, label=shape_text(label), split=split))
    return entries, dict(skipped), "the lists"


def _lines(path: Path) -> Iterator[str]:
    """The names in a list, without the extension."""
    for line in path.read_text(encoding="utf-8-sig").splitlines():
        if line.strip():
            yield line.strip().removesuffix(".npy")


def _objaverse(root: Path) -> tuple[list[Entry], dict[str, int], str]:
    files, skipped = find_files(root / CLOUDS["objaverse"], (".npz",))
    entries = []
    for file in files:
        uid = re.sub(r"_\d+$", "", Path(file).stem)
        entries.append(Entry(id=shape_id(shape_text(uid)), locator=f"{CLOUDS['objaverse']}/{file}"))
    return entries, dict(skipped), "names of files"


def _lvis(root: Path) -> tuple[list[Entry], dict[str, int], str]:
    files, metadata = _json(root / "lvis.json"), _json(root / METADATA)
    classes = metadata.get("value_to_key_mapping") if isinstance(metadata, dict) else None
    if not isinstance(files, dict) or not isinstance(classes, dict):
        raise UserError(f"expected lvis.json with a path for each UID, and {METADATA} with value_to_key_mapping")
    entries = []
    for uid, place in files.items():
        label = classes.get(uid)
        if not isinstance(place, str) or not isinstance(label, str) or os.path.isabs(place) or ".." in place.split("/"):
            raise UserError(f"lvis.json: expected a path below the folder and a class for {uid!r}, got {place!r} and {label!r}")
        entries.append(Entry(id=shape_id(shape_text(uid)), locator=place, label=shape_text(label), split="test"))
    return entries, {}, "lvis.json"


def _with_texts(reader: UlipReader, entries: Sequence[Entry], kept: int) -> tuple[UlipReader, list[str]]:
    """The reader with what the folder holds of texts, and notes about it."""
    root, found = Path(reader.root), []
    if reader.layout == "objaverse":
        by_shape = list(merged(root / "merged_data.json").values()) if (root / "merged_data.json").is_file() else []
    else:
        paths = (root / "captions" / f"{Path(entry.locator).stem}.json" for entry in sorted(entries, key=lambda entry: entry.id))
        by_shape = [captions_in(path) for path in itertools.islice(filter(Path.is_file, paths), LOOKED)]
    views = tuple(sorted({view for shape in by_shape for view in shape}, key=_natural))
    if views:
        samples = min(kept, max(len(texts) for shape in by_shape for texts in shape.values()))
        found.append(GivenTexts(name=VIEWS, author="BLIP-2, as ULIP-2's authors say", samples=max(samples, 1), views=len(views)))
    if reader.layout == "shapenet" and (names := names_of(root)):
        most = max(map(len, names.values()))
        found.append(GivenTexts(name=NAMES, author="names of the synset in ShapeNet's taxonomy", samples=max(1, min(kept, most))))
    notes = [f"imported from the files: texts {', '.join(one.name for one in found)}"] if found else ["no texts are there"]
    if views:
        notes.append(f"{VIEWS} has texts of {len(views)} views that ULIP drew; they are not the views that this cache draws")
    return replace(reader, given=Given(texts=tuple(found)), views=views), notes


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key by which `2` comes before `10`."""
    return [(int(part), "") if part.isdigit() and part.isascii() else (-1, part) for part in re.split(r"(\d+)", name)]


def example(folder: Path) -> str:
    """Three clouds in the layout of ShapeNet's triplets, with texts of three views."""
    import numpy as np

    root, rng = folder / "shapenet-55", np.random.default_rng(0)
    names = ("02691156-1a04", "02691156-1a6f", "03001627-1006")
    for below in ("shapenet_pc", "captions"):
        (root / below).mkdir(parents=True)
    for name in names:
        np.save(root / "shapenet_pc" / f"{name}.npy", rng.uniform(-1, 1, (64, 3)).astype(np.float32))
        said = {f"{name}_r_{angle:03d}.png": [f"{name} at {angle}, text {i}" for i in range(2)] for angle in (0, 12, 24)}
        (root / "captions" / f"{name}.json").write_text(json.dumps(said))
    (root / "train.txt").write_text(f"{names[0]}.npy\n{names[2]}.npy\n")
    (root / "test.txt").write_text(f"{names[1]}.npy\n")
    taxonomy = [{"synsetId": "02691156", "name": "airplane,aeroplane,plane"}, {"synsetId": "03001627", "name": "chair"}]
    (root / "taxonomy.json").write_text(json.dumps(taxonomy))
    return str(root)
