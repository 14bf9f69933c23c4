"""A folder of meshes and clouds in any readable format, with any subfolders.

    open_source("meshes/")
    open_source("assets/", label="file", up="z")

Id: the path below the folder, with its extension (`furniture/chair_A.gltf`).

Split: folders called train, val or test (or training, valid, validation, testing, in any case) give the split, if all folders on their
level have such names or at least two splits are there. So a folder `train` beside `bus` and `car` is a class. Without such folders, lists
of names beside the shapes (`modelnet40_train.txt`) give the split. `split=0.8` makes a split instead, see `splits.made`; `split_seed=1`
makes another one.

Label, by the option `label`:
  folder   the first folder on the path that is no split. If all shapes are in one folder (or one in that, and so on) in which others are
           like classes, it is one of those: see `_class_level`
  file     (or name) the words of the file name, without single letters and numbers: `chair_A_wood_02.gltf` is a
           `chair wood`
  none     no labels
  auto     (default) `folder` if folders give the split, if the folders have at least as many different names as the files, or if there
           are two folders or more and most files have no words in their names; else `file`. So `chair/0001.off` and
           `chair/chair_17.obj` get the class of their folder, `city/bench.glb` that of its file.

A .txt, .csv, .asc or .npz file with the name of another shape beside it is left out: it is an annotation of that shape. So are texts of
few rows that lie under one name beside other shapes in several folders (`3d_keypoints.txt` beside each `model.obj`).

Labels of parts, by the option `labels`, see `pipeline.formats.labels`: `none`; `seg` (a file of labels beside each shape), `field`,
`field:NAME`, `column:NUMBER`, `material`, `group`; or `auto` (default): `seg` if every shape has such a file, else `none`. The option
`parts` names the parts: `parts=leg,seat` for the labels 0 and 1, `parts=1:leg,2:seat` for others, `parts=Wood:leg` for names of materials.
Without it a file `parts.txt` does, else a pass over all labels lists them. With `field`, `instances=NAME` names the field with the number
of the object of each face, vertex or point.

Up axis, by the option `up`: `x`, `y`, `z`, `-x`, `-y`, `-z`, or `auto` (default), the usual axis of the format, see `files.usual_up`.
The shape is turned, never mirrored, until this axis is +Y, see `pipeline.geometry.TURNS`.
"""

import itertools
import os
import re
from collections import Counter
from pathlib import Path
from typing import Final

from cache_schema.axes import UP
from cache_schema.terminal import counted, some
from pipeline.sources import splits
from pipeline.sources.catalog import Entry, Source, Textures, shape_id, shape_text
from pipeline.sources.files import AXES, Axis, FileReader, axes_told, find_files
from pipeline.sources.folders import WORDS_OR_NUMBERS, folder_at
from pipeline.sources.options import choice
from pipeline.sources.parts import chosen, labelled_by
from pipeline.sources.splits import SPLITS

SOME: Final = 5
"""Most files that a note names."""

FEW_ROWS: Final = 64
"""Most lines of a text that is no cloud if other shapes lie beside it and beside texts of its name in other folders. It has landmarks or
measures; a cloud has more."""

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
    locators = _without_annotations(root, locators, skipped)
    texts = [shape_text(locator) for locator in locators]
    ways = [text.split("/")[:-1] for text in texts]
    level = split_level(ways)
    notes = [] if level >= 0 else _split_like_classes(ways)
    told, told_by = [SPLITS.get(way[level].lower(), "") if 0 <= level < len(way) else "" for way in ways], "folder names"
    for way, one in zip(ways, told, strict=True):
        if one:
            del way[level]
    if not any(told):
        told, told_by, said = splits.listed(root, texts, _lists(root, locators))
        notes += said
    files = [text.rsplit("/", 1)[-1] for text in texts]
    first = _class_level(ways, files)
    folders, names = [way[first] if way else "" for way in ways], [name_in(file) for file in files]
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
        notes = [*([_told(label, classes, folders, "/".join(ways[0][:first]), guessed)] if label != "none" else []), *said, *notes]
        if up == "auto":
            notes.append(axes_told(os.path.splitext(locator)[1].lower() for locator in locators))
    notes += _alike_inside(texts)
    how, more, said = chosen(labels, parts, instances, root, [root / locator for locator in locators])
    options = tuple(sorted((("label", label), *more, *recorded, ("up", up))))
    reader = FileReader(kind="folder", location=str(root), up=axis, options=options, textures=textures, labels=how)
    return Source.of(reader, entries, skipped, [*notes, *said, *_left_out(no_tables)], labelled=labelled_by(how))


def _left_out(locators: list[str]) -> list[str]:
    """A sentence about files that may have been meant as clouds, and are no tables of points; none if there are none."""
    named = sorted(name for name in locators if not splits.split_named(Path(name).stem))
    if not named:
        return []
    return [f"left out, because they were not understood as tables of points: {some(named, SOME)}"]


def _without_annotations(root: Path, locators: list[str], skipped: Counter[str]) -> list[str]:
    """The files without annotations: tables of numbers with the name of a shape beside them, such as labels, and short ones of one name
    beside shapes in several folders, such as keypoints. They are counted in `skipped`."""
    beside = {one: os.path.splitext(one)[1].lower() in (*WORDS_OR_NUMBERS, ".npz") for one in locators}
    shapes = {os.path.splitext(one)[0] for one, may_be in beside.items() if not may_be}
    homes = {os.path.dirname(one) for one, may_be in beside.items() if not may_be}
    named: dict[str, list[str]] = {}
    for one in (one for one, may_be in beside.items() if may_be and not one.lower().endswith(".npz")):
        named.setdefault(os.path.basename(one), []).append(one)
    short = {
        name
        for name, ones in named.items()
        if len(ones) > 1
        and name_in(name)
        and all(os.path.dirname(one) in homes for one in ones)
        and all(_rows(root / one) <= FEW_ROWS for one in ones)
    }
    kept = []
    for locator, may_be in beside.items():
        name, (stem, extension) = os.path.basename(locator), os.path.splitext(locator)
        if may_be and stem in shapes:
            skipped[f"{extension.lower()} named like a shape beside it"] += 1
        elif name in short:
            skipped[f"{shape_text(name)} of few rows beside another shape"] += 1
        else:
            kept.append(locator)
    return kept


def _rows(path: Path) -> int:
    """The number of lines of a text, or `FEW_ROWS` + 1 if it has more. A file that may not be read has none."""
    try:
        with path.open("rb") as lines:
            return sum(1 for _ in itertools.islice(lines, FEW_ROWS + 1))
    except OSError:
        return 0


def label_asked(label: str) -> str:
    """The option `label`: `auto`, `folder`, `file` or `none`. `name` is another word for `file`.

    Raises:
        UserError: it is another word.
    """
    asked = choice("option label", label, ("auto", "folder", "file", "name", "none"))
    return "file" if asked == "name" else asked


def _told(label: str, labels: list[str], folders: list[str], around: str, guessed: bool) -> str:
    """A sentence about classes that are the names of folders or of files. `around`: the folder that all those folders are in, if any."""
    counts, inside = Counter(filter(None, labels)), set(filter(None, folders))
    change = "choose with --set source.label=folder|file|none"
    if not counts:
        return f"no classes found: the {label} names hold no words; {change}"
    alone = sum(count == 1 for count in counts.values())
    without = len(labels) - counts.total()
    few = label == "file" and len(inside) > 1 and 2 * alone > len(counts)
    return (
        f"classes are {'guessed from' if guessed else 'the'} {label} names"
        + f" in {around!r}" * (label == "folder" and bool(around))
        + f": {counted(len(counts), 'class')}"
        + (f", {alone} of them with one shape" if alone else "")
        + (f" (folders would give {counted(len(inside), 'class')})" if few else "")
        + (f"; {without} without a class" if without else "")
        + f"; {change}" * guessed
    )


def _split_like_classes(ways: list[list[str]]) -> list[str]:
    """Sentences about folders with the name of a split that are no split, because the folders beside them have other names."""
    found = sorted({way[depth] for way in ways for depth in range(len(way)) if way[depth].lower() in SPLITS})
    return [f"the folder {name!r} is no split, because the folders beside it are none" for name in found[:3]]


def _lists(root: Path, locators: list[str]) -> list[Path]:
    """Files that may list the shapes of a split: those in the root, in a folder that all shapes are in, or in a folder for splits in one of
    these, with a fitting name. `locators`: the paths of the shapes."""
    shared = os.path.commonpath(map(os.path.dirname, locators)).split("/") if locators else [""]
    homes = [root, *(root.joinpath(*shared[: depth + 1]) for depth in range(len(shared)) if shared[0])]
    folders = [home / name for home in homes for name in ("", "train_test_split", "splits", "split", "lists")]
    names = [path for folder in folders if folder.is_dir() for path in folder.iterdir() if path.suffix.lower() in (".txt", ".json")]
    return [path for path in names if splits.split_named(path.stem) and path.is_file()]


def _class_level(ways: list[list[str]], files: list[str]) -> int:
    """The depth of the folders that give the class: 0, unless all shapes are in one folder, and further in there are folders like classes.

    An archive becomes such a folder, as `modelnet40_normal_resampled/airplane/airplane_0001.txt`. Folders are like classes if several are
    beside each other, most of their names are words, one of them holds several things, and most names of things in them are in one of them
    alone. So `meshes/3f2a/model.obj` beside `meshes/81bc/model.obj` are two shapes in folders of their own.

    Args:
        ways: for each shape, the folders on its path that are no split.
        files: the names of the files.
    """
    depth = 0
    while ways and all(len(way) > depth + 1 for way in ways) and len({way[depth] for way in ways}) == 1:
        depth += 1
    inside: dict[str, set[str]] = {}
    for way, file in zip(ways, files, strict=True) if depth else ():
        inside.setdefault(way[depth], set()).add(way[depth + 1] if len(way) > depth + 1 else file)
    held = Counter(name for names in inside.values() for name in names if name_in(name))
    words = sum(bool(name_in(name)) for name in inside)
    own = not held or 2 * sum(count > 1 for count in held.values()) < len(held)
    return depth if len(inside) > 1 and 2 * words > len(inside) and max(map(len, inside.values())) > 1 and own else 0


SAME: Final = 3
"""Fewest folders with equal names of files that a note tells."""


def _alike_inside(texts: list[str]) -> list[str]:
    """A sentence about folders that hold the same few files each, as `raw_model.obj` and `normalized_model.obj`; none if most do not."""
    inside: dict[str, list[str]] = {}
    for text in texts:
        folder, _, file = text.rpartition("/")
        inside.setdefault(folder, []).append(file)
    kinds = Counter(tuple(sorted(files)) for files in inside.values() if len(files) > 1 and all(map(name_in, files)))
    files, count = kinds.most_common(1)[0] if kinds else ((), 0)
    if count < SAME or 2 * count <= len(inside):
        return []
    return [
        f"{count} folders hold {some(files, separator=' and ')} each, and every file is read as a shape; if they are one shape in several "
        "forms, give a list of paths with one of them"
    ]


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
