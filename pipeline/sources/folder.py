"""A folder of meshes and clouds in any format that is read here, in any tree of folders.

    open_source("meshes/")
    open_source("assets/", label="file", up="z")

Id: the path below the folder, with its extension (`furniture/chair_A.gltf`).

Split: a level of folders that are all, or two of them, called train, val or test (or training, valid, validation, testing, in any
case) gives the split. A folder `train` among `bus` and `car` is a class.

Label, by the option `label`:
  folder   the first folder on the way to the file that is no split
  file     the words of the file's name, without single letters and what has digits in it: `chair_A_wood_02.gltf` is a `chair wood`
  none     no labels
  auto     (default) `folder` where there is a split level, or where the folders tell at least as many kinds apart as the file names do;
           else `file`. So `chair/0001.off` and `chair/chair_17.obj` go by their folder, packs like `city/bench.glb` by their file.

Up axis, by the option `up`: `y`, `z`, or `auto` (default): what is usual for the format, see `files.usual_up`.
"""

import os
import re
from pathlib import Path
from typing import Final

from pipeline.sources.catalog import Entry, Source, Textures, shape_id, shape_text
from pipeline.sources.files import UP, Axis, FileReader, choice, find_files, folder_at

LOOKS_FOR: Final = f"a folder of {' '.join(UP)} files"

SPLITS: Final = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
"""What folders of a split are called, in small letters, and the split."""


def recognises(location: str) -> bool:
    return os.path.isdir(location)


def open_source(location: str, *, textures: Textures = "require", label: str = "auto", up: str = "auto") -> Source:
    """Lists a folder. The options are explained at the head of this module."""
    choice("option label", label, ("auto", "folder", "file", "none"))
    axis: Axis = choice("option up", up, ("auto", "y", "z"))
    root = folder_at(location)
    locators, skipped = find_files(root, UP)
    texts = [shape_text(locator) for locator in locators]
    ways = [text.split("/")[:-1] for text in texts]
    level = split_level(ways)
    splits = [SPLITS.get(way[level].lower(), "") if 0 <= level < len(way) else "" for way in ways]
    for way, split in zip(ways, splits, strict=True):
        if split:
            del way[level]
    folders, names = [way[0] if way else "" for way in ways], [name_in(text.rsplit("/", 1)[-1]) for text in texts]
    if label == "auto":
        kinds = len(set(folders) - {""})
        label = "folder" if kinds and (level >= 0 or kinds >= len(set(names) - {""})) else "file"
    labels = {"folder": folders, "file": names, "none": [""] * len(texts)}[label]
    reader = FileReader(kind="folder", location=str(root), up=axis, options=(("label", label), ("up", up)), textures=textures)
    columns = zip(texts, locators, labels, splits, strict=True)
    return Source.of(reader, (Entry(id=shape_id(t), locator=f, label=name, split=split) for t, f, name, split in columns), skipped)


def split_level(ways: list[list[str]]) -> int:
    """How deep the folders that name the split are (0 is just below the root), or -1 where there are none.

    Args:
        ways: for each file, the folders on the way to it.
    """
    for depth in range(max(map(len, ways), default=0)):
        names = {way[depth] for way in ways if len(way) > depth}
        splits = [SPLITS[name.lower()] for name in names if name.lower() in SPLITS]
        if len(splits) == len(names) or len(set(splits)) > 1:
            return depth
    return -1


def name_in(file: str) -> str:
    """What a file's name calls its shape: `chair_A_wood.gltf` a `chair wood`, `wallB-002.gltf.glb` a `wall`, `0017.off` nothing."""
    while os.path.splitext(file)[1].lower() in UP:
        file = os.path.splitext(file)[0]
    words = re.split(r"[\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", file).lower())
    kept = (word.rstrip("0123456789") for word in words)
    return " ".join(word for word in kept if not re.search(r"\d|^[a-z]?$", word))


def example(folder: Path) -> str:
    for name in ("chair_A.off", "chair_B.off", "table.off"):
        (folder / name).write_text("OFF\n3 1 0\n0 0 0\n1 0 0\n0 0 1\n3 0 1 2\n")
    return str(folder)
