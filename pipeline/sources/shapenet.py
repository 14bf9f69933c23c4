"""ShapeNet: its meshes as they are distributed, or clouds made from them, and the usual split lists. +Y up.

    open_source("ShapeNetCore.v2/", textures="grey")        # SYNSET/MODEL/models/model_normalized.obj; v1's SYNSET/MODEL/model.obj
    open_source("ShapeNetCore.v2/", lists="ShapeNet-55/")   # only the models that train.txt and test.txt name, with these splits
    open_source("ShapeNet55-34/")                           # shapenet_pc/SYNSET-MODEL.npy and ShapeNet-55/*.txt, as Point-BERT gives them
    open_source("ShapeNetCore.v2/02691156/")                # one synset
    open_source("shapenetcore_partanno/")                   # SYNSET/MODEL.txt or SYNSET/points/MODEL.pts, and train_test_split/*.json

Id: `SYNSET-MODEL` for all kinds of files. Label: the name of the synset in ShapeNet-55; for other synsets, the number.

Lists are .txt files, or .json files with a list of texts, with train, val or test in their name. They lie in the folder that the option
`lists` gives (default: `ShapeNet-55` or `train_test_split` below the location, else the location). A line is `SYNSET-MODEL` or
`SYNSET/MODEL`, with or without folders before it and an extension. A table is a list, too: a .csv file with the columns `synsetId`,
`modelId` and `split`, as SHREC16's `all.csv`; `lists` may be its path. If there are lists, the shapes are exactly the listed models; a
listed model that is missing fails when it is read. Synsets in a table of which nothing is here are left out: it lists all of ShapeNet, and
many have a part. `split=0.8` makes a split instead, see `splits.made`; a table is then not looked at, unless `lists` names it.
Many models of ShapeNet name a texture that is missing; `textures="grey"` reads them without it.
"""

import csv
import io
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cache_schema.errors import UserError
from cache_schema.terminal import counted, some
from pipeline.formats.said import separator
from pipeline.reading import decoded
from pipeline.sources import splits
from pipeline.sources.catalog import Entry, Source, Textures, shape_id
from pipeline.sources.files import FileReader, find_files
from pipeline.sources.folders import folder_at, folders_in

LOOKS_FOR: Final = "SYNSET/MODEL/models/model_normalized.obj, SYNSET/MODEL/model.obj, SYNSET-MODEL.npy or SYNSET/MODEL.txt"

SYNSETS: Final = {
    "02691156": "airplane",
    "02747177": "trash bin",
    "02773838": "bag",
    "02801938": "basket",
    "02808440": "bathtub",
    "02818832": "bed",
    "02828884": "bench",
    "02843684": "birdhouse",
    "02871439": "bookshelf",
    "02876657": "bottle",
    "02880940": "bowl",
    "02924116": "bus",
    "02933112": "cabinet",
    "02942699": "camera",
    "02946921": "can",
    "02954340": "cap",
    "02958343": "car",
    "02992529": "cellphone",
    "03001627": "chair",
    "03046257": "clock",
    "03085013": "keyboard",
    "03207941": "dishwasher",
    "03211117": "display",
    "03261776": "earphone",
    "03325088": "faucet",
    "03337140": "file cabinet",
    "03467517": "guitar",
    "03513137": "helmet",
    "03593526": "jar",
    "03624134": "knife",
    "03636649": "lamp",
    "03642806": "laptop",
    "03691459": "loudspeaker",
    "03710193": "mailbox",
    "03759954": "microphone",
    "03761084": "microwaves",
    "03790512": "motorbike",
    "03797390": "mug",
    "03928116": "piano",
    "03938244": "pillow",
    "03948459": "pistol",
    "03991062": "flowerpot",
    "04004475": "printer",
    "04074963": "remote",
    "04090263": "rifle",
    "04099429": "rocket",
    "04225987": "skateboard",
    "04256520": "sofa",
    "04330267": "stove",
    "04379243": "table",
    "04401088": "telephone",
    "04460130": "tower",
    "04468005": "train",
    "04530566": "watercraft",
    "04554684": "washer",
}
"""WordNet offset to name: the 55 categories of ShapeNetCore."""

OTHERS: Final = {"02834778": "bicycle", "02858304": "boat"}
"""The two folders that version 1 has besides. Their models are in other categories in part; no list of ShapeNet-55 names them."""

ELSEWHERE: Final = "those of ShapeNet-55 are train.txt and test.txt in Point-BERT's repository, read by"
"""Where the usual lists are from."""

COLUMNS: Final = ("synsetid", "modelid", "split")
"""Columns, in small letters, by which a .csv file is known for a table of splits."""

HEAD: Final = 4096
"""Number of bytes in which the columns of a table are looked for."""

SOME: Final = 3
"""Most folders without a mesh that a note names."""

MODEL: Final = re.compile(
    r"(?:.*/)?(\d{8})(?:/([^/]+)/(?:models/model_normalized|model)\.obj|-([^/]+)\.npy|/(?:points/)?([^/]+)\.(?:txt|pts))"
)


def recognises(location: str) -> bool:
    """Whether a synset is the name of a folder, or the beginning of a file's, at the location or in `shapenet_pc` below it."""
    folders = [path for path in (Path(location), Path(location, "shapenet_pc")) if path.is_dir()]
    if _synset(Path(location).absolute()) and any(Path(location).glob("*/models/model_normalized.obj")):
        return True
    return any(re.split("-", name, maxsplit=1)[0] in SYNSETS for folder in folders for name in os.listdir(folder))


def _synset(root: Path) -> str:
    """The synset that a folder is called by; empty if it is none."""
    return root.name if root.name in SYNSETS.keys() | OTHERS.keys() else ""


def open_source(location: str, *, textures: Textures = "require", lists: str = "", split: str = "", split_seed: str = "0") -> Source:
    """Lists ShapeNet. The layouts and `lists` are explained at the head of this module."""
    recorded = splits.settings(split, split_seed)
    root = folder_at(location)
    locators, skipped = find_files(root, (".obj", ".npy", ".txt", ".pts"))
    entries = []
    alone = f"{_synset(root)}/" if _synset(root) else ""
    for locator in locators:
        if model := MODEL.fullmatch(locator) or MODEL.fullmatch(alone + locator):
            entries.append(Entry(id=shape_id(f"{model[1]}-{model[2] or model[3] or model[4]}"), locator=locator, label=_named(model[1])))
        else:
            skipped[os.path.splitext(locator)[1] + " elsewhere"] += 1
    usual = next((root / name for name in ("ShapeNet-55", "train_test_split") if (root / name).is_dir()), root)
    found = read_lists(_place(lists) if lists else usual, tables=bool(lists) or not split)
    told = found.told
    if lists and not told:
        raise UserError(
            f"option lists: {lists!r} holds no .txt file with train, val or test in its name, and no .csv file with the columns synsetId, "
            "modelId and split"
        )
    notes = []
    if told and entries:
        skipped[".csv"] -= sum(file.parent == root and file.suffix == ".csv" for file in found.files)
        here = {entry.id.partition("-")[0] for entry in entries}
        elsewhere = {name for name in told if name in found.of_tables and name.partition("-")[0] not in here}
        if elsewhere == told.keys():
            raise UserError(
                f"{some([file.name for file in found.files])} lists no model of the synsets that are here ({some(sorted(here))})"
            )
        if elsewhere and not alone:
            synsets = {name.partition("-")[0] for name in elsewhere}
            notes.append(f"left out of the table, because no folder of theirs is here: {counted(len(synsets), 'synset')}")
        told = {name: one for name, one in told.items() if name not in elsewhere}
        if alone:
            told = {name: one for name, one in told.items() if name.startswith(f"{root.name}-")}
        skipped["not in the lists"] = sum(entry.id not in told for entry in entries)
        entries = listed(entries, told, root.name if alone else "")
    entries, more = splits.finished(entries, split, split_seed, some([file.name for file in found.files]) or "the lists")
    notes += more
    if not told and not split:
        notes.append(f"no lists are here; {_near(root)}")
    if not told and (bare := _without_mesh(root, {entry.locator for entry in entries})):
        notes.append(f"{len(bare):,} folders of models have no mesh and are left out: {some(bare, SOME)}")
    reader = FileReader(kind="shapenet", location=str(root), up="y", options=recorded, textures=textures)
    return Source.of(reader, entries, +skipped, notes)


def _named(synset: str) -> str:
    """The class of a synset: its name, or its number if it has none here."""
    return SYNSETS.get(synset) or OTHERS.get(synset, synset)


def _without_mesh(root: Path, locators: set[str]) -> list[str]:
    """The folders of models without a mesh, as `02958343/9fb1d03b22ecac5835da01f298003d56` of version 2. None if the models are clouds.

    Args:
        root: the location.
        locators: the paths of the meshes.
    """
    if not any(locator.endswith(".obj") for locator in locators):
        return []
    kept = {locator.removesuffix("/models/model_normalized.obj").removesuffix("/model.obj") for locator in locators}
    homes = [root] if _synset(root) else [path for path in folders_in(root) if path.name in SYNSETS or path.name in OTHERS]
    models = (path.relative_to(root).as_posix() for home in homes for path in folders_in(home))
    return [model for model in models if model not in kept]


def _place(lists: str) -> Path:
    """The folder with lists, or the table, that the option `lists` names.

    Raises:
        UserError: there is neither.
    """
    if not lists.lower().endswith(".csv") or Path(lists).is_dir():
        return folder_at(lists)
    if not Path(lists).is_file():
        raise UserError(f"option lists: there is no file {lists!r}")
    return Path(lists).absolute()


def _near(root: Path) -> str:
    """Where lists are, and the setting that reads them, in words."""
    beside = root.parent / "ShapeNet-55"
    if beside.is_dir():
        return f"those in {str(beside)!r} are read by --set source.lists=FOLDER"
    if table := next((path for path in sorted(root.parent.glob("*.csv")) if path.is_file() and _is_table(path)), None):
        return f"{str(table)!r} is read by --set source.lists=FILE"
    return f"{ELSEWHERE} --set source.lists=FOLDER"


@dataclass(frozen=True, kw_only=True)
class Lists:
    """What lists tell."""

    told: dict[str, str]
    """By id: its split."""
    of_tables: frozenset[str]
    """The ids that a table names."""
    files: tuple[Path, ...]
    """The lists."""


def read_lists(place: Path, *, tables: bool = True) -> Lists:
    """Read the lists in a folder, or a table.

    Args:
        place: the folder, or the file.
        tables: whether tables in the folder count.

    Raises:
        UserError: a line names no model, a model is in two splits, or there are lists and all are empty.
    """
    told, of_tables, files = dict[str, str](), set[str](), list[Path]()
    patterns = ("*.txt", "*.json", *(["*.csv"] if tables else []))
    for path in [place] if place.is_file() else sorted(path for pattern in patterns for path in place.glob(pattern) if path.is_file()):
        table = path.suffix.lower() == ".csv"
        split = "" if table else splits.split_named(path.stem)
        if not (_is_table(path) if table else split):
            continue
        found = _of_table(path) if table else _of_list(path, split)
        files.append(path)
        for number, name, split in found:
            if told.setdefault(name, split) != split:
                raise UserError(f"{path.name}, line {number}: {name} is in the split {told[name]!r} already")
        of_tables.update(name for _, name, _ in found if table)
    if files and not told:
        raise UserError(
            f"{files[-1].name} names no model, and neither does another list beside it: expected lines such as SYNSET-MODEL, or a table "
            "with the columns synsetId, modelId and split"
        )
    return Lists(told=told, of_tables=frozenset(of_tables), files=tuple(files))


def _of_list(path: Path, split: str) -> list[tuple[int, str, str]]:
    """Numbers of lines, ids, and the split in the name of a list.

    Raises:
        UserError: a line names no model.
    """
    found = []
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        model = re.fullmatch(r"(?:.*/)?(\d{8})[-/](?:points/)?([^/]+?)(\.npy|\.obj|\.txt|\.pts)?", line.strip())
        if not model:
            raise UserError(f"{path.name}, line {number}: expected SYNSET-MODEL, got {line!r}")
        found.append((number, f"{model[1]}-{model[2]}", split))
    return found


def _is_table(path: Path) -> bool:
    """Whether a .csv file begins with the columns of a table of splits. Only its beginning is read: others may be large, or damaged."""
    with path.open("rb") as file:
        _, text = separator(decoded(file.read(HEAD)))
    first = next((line for line in text.splitlines() if line.strip()), "")
    return set(COLUMNS) <= {cell.strip().strip('"').lower() for cell in re.split(r"[,;\t]", first)}


def _of_table(path: Path) -> list[tuple[int, str, str]]:
    """Numbers of lines, ids and splits in a table. Synsets may have lost the zeros before them.

    Raises:
        UserError: a row has no synset, model or split, or is no CSV.
    """
    told, text = separator(decoded(path.read_bytes()))
    delimiter = told or max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    rows = filter(any, reader)
    found = []
    try:
        heads = [head.strip().lower() for head in next(rows, [])]
        places = [heads.index(column) for column in COLUMNS]
        for row in rows:
            synset, model, split = (row[place].strip() if place < len(row) else "" for place in places)
            if not (re.fullmatch(r"\d{6,8}", synset) and model and split):
                raise UserError(f"{path.name}, line {reader.line_num}: expected a synset, a model and a split, got {','.join(row)!r:.80}")
            found.append((reader.line_num, f"{synset:0>8}-{model}", splits.SPLITS.get(split.lower(), split)))
    except csv.Error as error:
        raise UserError(f"{path.name}, line {reader.line_num}: no readable CSV: {error}") from error
    return found


def _lines(path: Path) -> list[str]:
    """The lines of a text file, or the texts in a JSON list.

    Raises:
        UserError: the file is neither.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        lines = json.loads(text) if path.suffix == ".json" else text.splitlines()
    except ValueError as error:
        raise UserError(f"{path.name}: cannot be read as a list of models: {error}") from error
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise UserError(f"{path.name}: expected a list of texts SYNSET/MODEL")
    return lines


def listed(entries: list[Entry], told: dict[str, str], alone: str = "") -> list[Entry]:
    """One entry for every id in the lists. The locator of a missing model is the path where it is expected.

    Args:
        entries: the models that are there.
        told: by id: its split.
        alone: the synset whose folder the location is; empty if it holds synsets.
    """
    found = {entry.id: entry for entry in entries}
    folder, extension = entries[0].locator.rpartition("/")[0], os.path.splitext(entries[0].locator)[1]
    chosen = []
    for name, split in told.items():
        synset, _, model = name.partition("-")
        place = f"{synset}/{model}/models/model_normalized.obj"
        if extension != ".obj":
            place = f"{folder}/{name}.npy".lstrip("/") if extension == ".npy" else f"{synset}/{model}{extension}"
        locator = found[name].locator if name in found else place.removeprefix(f"{alone}/")
        chosen.append(Entry(id=shape_id(name), locator=locator, label=_named(synset), split=split))
    return chosen


def example(folder: Path) -> str:
    for model in ("03001627/1a", "03001627/2b", "04379243/3c"):
        path = folder / model / "models" / "model_normalized.obj"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    return str(folder)
