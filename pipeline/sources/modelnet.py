"""ModelNet10 and ModelNet40 as they are distributed: `CLASS/{train,test}/*.off`, +Z up. A folder `val` is read too.

    open_source("ModelNet40/")

The folder names give label and split. Other files are left out.
"""

import os
from pathlib import Path
from typing import Final

from cache_schema.axes import UP
from pipeline.sources.catalog import Entry, Source, Textures, shape_id, shape_text
from pipeline.sources.files import FileReader, find_files
from pipeline.sources.folders import folder_at, folders_in

LOOKS_FOR: Final = "CLASS/{train,test,val}/*.off"

SPLITS: Final = ("train", "test", "val")


def recognises(location: str) -> bool:
    """Whether there are CLASS/SPLIT folders with .off files, no shapes of another format, and no labels of faces, which `folder` reads."""
    if not os.path.isdir(location):
        return False
    folders = [path for home in folders_in(Path(location)) for split in SPLITS if (path := home / split).is_dir()]
    names = [name.lower() for folder in folders for name in os.listdir(folder)]
    extensions = {os.path.splitext(name)[1] for name in names}
    return extensions.intersection(UP) == {".off"} and not any(name.endswith((".seg", "_labels.txt")) for name in names)


def open_source(location: str, *, textures: Textures = "require") -> Source:
    """Lists a ModelNet tree. It has no options."""
    root = folder_at(location)
    locators, skipped = find_files(root, (".off",))
    entries = []
    for locator in locators:
        text = shape_text(locator)
        way = text.split("/")
        if len(way) == 3 and way[1] in SPLITS:
            entries.append(Entry(id=shape_id(text), locator=locator, label=way[0], split=way[1]))
        else:
            skipped[".off elsewhere"] += 1
    reader = FileReader(kind="modelnet", location=str(root), up="z", options=(), textures=textures)
    return Source.of(reader, entries, skipped)


def example(folder: Path) -> str:
    for name in ("chair/train/chair_0001.off", "chair/test/chair_0002.off", "table/train/table_0001.off"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("OFF\n3 1 0\n0 0 0\n1 0 0\n0 0 1\n3 0 1 2\n")
    return str(folder)
