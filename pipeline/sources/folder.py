"""A folder of meshes and clouds in any readable format, with any subfolders.

    open_source("meshes/")
    open_source("assets/", label="file", up="z")

Id: the path below the folder, with its extension (`furniture/chair_A.gltf`).

Split: folders called train, val or test (or training, valid, validation, testing, in any case) give the split, if all folders on their
level have such names or at least two splits are there. So a folder `train` beside `bus` and `car` is a class. Without such folders, lists
of names beside the shapes (`modelnet40_train.txt`) give the split. `split=0.8` makes a split instead, see `splits.made`; `split_seed=1`
makes another one.

Label, by the option `label`:
  folder   the first folder on the path that is no split
  file     (or name) the words of the file name, without single letters and numbers: `chair_A_wood_02.gltf` is a
           `chair wood`
  none     no labels
  auto     (default) `folder` if folders give the split, if the folders have at least as many different names as the files, or if there
           are two folders or more and most files have no words in their names; else `file`. So `chair/0001.off` and
           `chair/chair_17.obj` get the class of their folder, `city/bench.glb` that of its file.

A .txt, .csv, .asc or .npz file with the name of another shape beside it is left out: it is an annotation of that shape.

Labels of parts, by the option `labels`, see `pipeline.formats.labels`: `none`; `seg` (a file of labels beside each shape), `field`,
`field:NAME`, `column:NUMBER`, `material`, `group`; or `auto` (default): `seg` if every shape has such a file, else `none`. The option
`parts` names the parts: `parts=leg,seat` for the labels 0 and 1, `parts=1:leg,2:seat` for others, `parts=Wood:leg` for names of materials.
Without it a file `parts.txt` does, else a pass over all labels lists them. With `field`, `instances=NAME` names the field with the number
of the object of each face, vertex or point.

Up axis, by the option `up`: `x`, `y`, `z`, `-x`, `-y`, `-z`, or `auto` (default), the usual axis of the format, see `files.usual_up`.
The shape is turned, never mirrored, until this axis is +Y, see `pipeline.geometry.TURNS`.
"""

import os
import re
from collections import Counter
from pathlib import Path
from typing import Final

from cache_schema.axes import UP
from cache_schema.terminal import counted
from pipeline.sources import splits
from pipeline.sources.catalog import Entry, Source, Textures, shape_id, shape_text
from pipeline.sources.files import AXES, WORDS_OR_NUMBERS, Axis, FileReader, axes_told, find_files, folder_at
from pipeline.sources.options import choice
from pipeline.sources.parts import chosen, labelled_by
from pipeline.sources.splits import SPLITS

SOME: Final = 5
"""Most files that a note names."""

LOOKS_FOR: Final = f"a folder of {' '.join(UP)} files"


def recognises(location: str) -> bool:
    return os.path.isdir(location)


def open_source(
    location: str,
    *,
    textures: Textures = "require",
    label: str = "auto",
    labels: str = "auto",
    parts: str = "",
    instances: str = "",
    up: str = "auto",
    split: str = "",
    split_seed: str = "0",
) -> Source:
    """Lists a folder. The options are explained at the head of this module."""
    label = label_asked(label)
    axis: Axis = choice("option up", up, AXES)
    recorded = splits.settings(split, split_seed)
    root = folder_at(location)
    no_tables: list[str] = []
    locators, skipped = find_files(root, UP, no_tables)
    locators = _without_annotations(locators, skipped)
    texts = [shape_text(locator) for locator in locators]
    ways = [text.split("/")[:-1] for text in texts]
    level = split_level(ways)
    notes = [] if level >= 0 else _split_like_classes(ways)
    told, told_by = [SPLITS.get(way[level].lower(), "") if 0 <= level < len(way) else "" for way in ways], "folder names"
    for way, one in zip(ways, told, strict=True):
        if one:
            del way[level]
    if not any(told):
        told, told_by, said = splits.listed(root, texts, _lists(root))
        notes += said
    folders, names = [way[0] if way else "" for way in ways], [name_in(text.rsplit("/", 1)[-1]) for text in texts]
    guessed = label == "auto"
    if guessed:
        kinds = len(set(folders) - {""})
        wordless = kinds > 1 and 2 * names.count("") > len(names)
        label = "folder" if kinds and (level >= 0 or wordless or kinds >= len(set(names) - {""})) else "file"
    classes = {"folder": folders, "file": names, "none": [""] * len(texts)}[label]
    columns = zip(texts, locators, classes, told, strict=True)
    entries = [Entry(id=shape_id(t), locator=f, label=name, split=one) for t, f, name, one in columns]
    entries, said = splits.finished(entries, split, split_seed, told_by)
    if entries:
        notes = [*([_told(label, classes, folders, guessed)] if label != "none" else []), *said, *notes]
        if up == "auto":
            notes.append(axes_told(os.path.splitext(locator)[1].lower() for locator in locators))
    how, more, said = chosen(labels, parts, instances, root, [root / locator for locator in locators])
    options = tuple(sorted((("label", label), *more, *recorded, ("up", up))))
    reader = FileReader(kind="folder", location=str(root), up=axis, options=options, textures=textures, labels=how)
    return Source.of(reader, entries, skipped, [*notes, *said, *_left_out(no_tables)], labelled=labelled_by(how))


def _left_out(locators: list[str]) -> list[str]:
    """A sentence about files that may have been meant as clouds, and are no tables of points; none if there are none."""
    named = sorted(name for name in locators if not splits.split_named(Path(name).stem))
    if not named:
        return []
    more = f" and {len(named) - SOME} more" * (len(named) > SOME)
    return [f"left out, because they were not understood as tables of points: {', '.join(named[:SOME])}{more}"]


def _without_annotations(locators: list[str], skipped: Counter[str]) -> list[str]:
    """The files without annotations: tables of numbers with the name of a shape beside them, such as keypoints or labels. They are counted
    in `skipped`."""
    shapes = {stem for stem, extension in map(os.path.splitext, locators) if extension.lower() not in (*WORDS_OR_NUMBERS, ".npz")}
    kept = []
    for locator in locators:
        stem, extension = os.path.splitext(locator)
        if extension.lower() in (*WORDS_OR_NUMBERS, ".npz") and stem in shapes:
            skipped[f"{extension.lower()} named like a shape beside it"] += 1
        else:
            kept.append(locator)
    return kept


def label_asked(label: str) -> str:
    """The option `label`: `auto`, `folder`, `file` or `none`. `name` is another word for `file`.

    Raises:
        UserError: it is another word.
    """
    asked = choice("option label", label, ("auto", "folder", "file", "name", "none"))
    return "file" if asked == "name" else asked


def _told(label: str, labels: list[str], folders: list[str], guessed: bool) -> str:
    """A sentence about classes that are the names of folders or of files."""
    counts, inside = Counter(filter(None, labels)), set(filter(None, folders))
    change = "choose with --set source.label=folder|file|none"
    if not counts:
        return f"no classes found: the {label} names hold no words; {change}"
    alone = sum(count == 1 for count in counts.values())
    without = len(labels) - counts.total()
    few = label == "file" and len(inside) > 1 and 2 * alone > len(counts)
    return (
        f"classes are {'guessed from' if guessed else 'the'} {label} names: {counted(len(counts), 'class')}"
        + (f", {alone} of them with one shape" if alone else "")
        + (f" (folders would give {counted(len(inside), 'class')})" if few else "")
        + (f"; {without} without a class" if without else "")
        + f"; {change}" * guessed
    )


def _split_like_classes(ways: list[list[str]]) -> list[str]:
    """Sentences about folders with the name of a split that are no split, because the folders beside them have other names."""
    found = sorted({way[depth] for way in ways for depth in range(len(way)) if way[depth].lower() in SPLITS})
    return [f"the folder {name!r} is no split, because the folders beside it are none" for name in found[:3]]


def _lists(root: Path) -> list[Path]:
    """Files that may list the shapes of a split: those in the root or in a folder for splits, with a fitting name."""
    folders = [root, *(root / name for name in ("train_test_split", "splits", "split", "lists"))]
    names = [path for folder in folders if folder.is_dir() for path in folder.iterdir() if path.suffix.lower() in (".txt", ".json")]
    return [path for path in names if splits.split_named(path.stem) and path.is_file()]


def split_level(ways: list[list[str]]) -> int:
    """The depth of the folders that give the split (0 is just below the root); -1 where there are none.

    Args:
        ways: for each file, the folders on its path.
    """
    for depth in range(max(map(len, ways), default=0)):
        names = {way[depth] for way in ways if len(way) > depth}
        told = [SPLITS[name.lower()] for name in names if name.lower() in SPLITS]
        if len(told) == len(names) or len(set(told)) > 1:
            return depth
    return -1


def name_in(file: str) -> str:
    """The class that a file name gives: `chair_A_wood.gltf` is a `chair wood`, `wallB-002.gltf.glb` is a `wall`, `0017.off` has none
    (empty)."""
    while os.path.splitext(file)[1].lower() in UP:
        file = os.path.splitext(file)[0]
    words = re.split(r"[\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", file).lower())
    kept = (word.rstrip("0123456789") for word in words)
    return " ".join(word for word in kept if not re.search(r"\d|^[a-z]?$", word))


def example(folder: Path) -> str:
    for name in ("chair_A.off", "chair_B.off", "table.off"):
        (folder / name).write_text("OFF\n3 1 0\n0 0 0\n1 0 0\n0 0 1\n3 0 1 2\n")
    return str(folder)
