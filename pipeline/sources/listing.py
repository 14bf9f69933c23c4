"""A list of shapes: CSV, JSON, JSON lines or plain text. Lists select shapes of a large collection, such as Objaverse.

    open_source("chosen.csv")                      # paths are relative to the list's folder
    open_source("object-paths.json", root="glbs/") # or to another folder

  .csv     a header line, then one shape a line. Columns: path, and optionally id, label, split, up (x, y, z, -x, -y or -z), licence (or
           license). Commas, semicolons or tabs separate the cells. Splits are kept as they are written, so Train is not train
  .jsonl   one object a line, with the same names
  .json    a list of such objects or of paths, or {id: path}, as Objaverse's `object-paths.json` is
  .txt     one path a line, with or without quotes; empty lines and lines that begin with # are left out

Backslashes in a path, as on Windows, are read as / unless there is a file with backslashes in its name. If the list gives no id, the id is
the path. A listed file that is missing fails when it is read.
The option `label` says where classes come from: `auto` (default) from the list, `folder` from the folder of a file, `file` (or `name`) from
the words of its name; `none` leaves them out. `split=0.8` makes a split by a hash of the id, see `splits.made`.
The options `labels` and `parts` read labels of parts, as for a folder (`pipeline.sources.folder`).
Up axis: from the list, else from the option `up`: `x`, `y`, `z`, `-x`, `-y`, `-z`, or `auto` (default), the usual axis of the format, see
`files.usual_up`. The shape is turned, never mirrored, until this axis is +Y, see `pipeline.geometry.TURNS`.
"""

import csv
import hashlib
import io
import json
import os
import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

from cache_schema.axes import UP
from cache_schema.errors import UserError
from cache_schema.spec import canonical, did_you_mean
from cache_schema.terminal import counted
from pipeline.formats.said import separator
from pipeline.formats.table import is_table, table_told
from pipeline.sources import splits
from pipeline.sources.catalog import Entry, Source, Textures, shape_id, shape_text
from pipeline.sources.files import AXES, Axis, FileReader, axes_told
from pipeline.sources.folder import label_asked, name_in
from pipeline.sources.folders import WORDS_OR_NUMBERS
from pipeline.sources.options import choice
from pipeline.sources.parts import chosen, labelled_by

LOOKS_FOR: Final = "a .csv, .json, .jsonl or .txt list of paths"

COLUMNS: Final = ("path", "id", "label", "split", "up", "licence", "license")
"""Names of the columns that a list may have. `licence` and `license` mean the same."""


def recognises(location: str) -> bool:
    extension = os.path.splitext(location)[1].lower()
    if not os.path.isfile(location) or extension not in (".csv", ".json", ".jsonl", ".txt"):
        return False
    return extension not in WORDS_OR_NUMBERS or not is_table(Path(location))


def open_source(
    location: str,
    *,
    textures: Textures = "require",
    root: str = "",
    up: str = "auto",
    listed_up: str = "",
    label: str = "auto",
    labels: str = "auto",
    parts: str = "",
    instances: str = "",
    split: str = "",
    split_seed: str = "0",
) -> Source:
    """Reads a list.

    Args:
        location: the list.
        textures: see `catalog.open_source`.
        root: the folder that paths are relative to; by default the folder of the list. It is not recorded.
        up: up axis of the shapes for which the list gives none.
        listed_up: a hash of the up axes in the list. A cache records it, because ids do not show when axes change. Users do not set it.
        label: where classes come from: auto, folder, file (or name), none.
        labels: how labels of parts are read, as for a folder: auto, none, seg, field, material ...
        parts: names of the parts.
        instances: the field with the number of each point's object.
        split: makes a split, see `splits.fractions`.
        split_seed: seed of the split that is made.
    """
    axis: Axis = choice("option up", up, AXES)
    label = label_asked(label)
    recorded = splits.settings(split, split_seed)
    path = Path(location).absolute()
    base = Path(root).absolute() if root else path.parent
    if not base.is_dir():
        raise UserError(f"option root: {root!r} is no folder")
    if (text := table_told(path)) and path.suffix.lower() in WORDS_OR_NUMBERS:
        raise UserError(f"{path.name} is no list of paths: {text}")
    entries = [_entry(row, f"{path.name}, {where}", base) for where, row in _rows(path)]
    notes = [] if split else splits.otherwise(entries)
    if label != "auto":
        entries = [replace(entry, label=_label(entry, label)) for entry in entries]
    without = sum(not entry.label for entry in entries)
    if without and label == "auto":
        some = "no classes in the list" if without == len(entries) else f"{counted(without, 'shape')} without a class in the list"
        notes.append(f"{some}; --set source.label=folder|file takes them from the paths")
    entries, said = splits.finished(entries, split, split_seed, "the list")
    ups = sorted((entry.id, entry.up) for entry in entries if entry.up)
    digest = hashlib.sha256(canonical(ups)).hexdigest()[:16] if ups else ""
    if listed_up not in ("", digest):
        raise UserError(f"{path.name} gives other up axes than it did (option listed_up)")
    options = {"up": up, **dict(recorded)} | ({"listed_up": digest} if ups else {}) | ({"label": label} if label != "auto" else {})
    if up == "auto" and len(ups) < len(entries):
        kinds = {os.path.splitext(entry.locator)[1].lower() for entry in entries if not entry.up}
        notes += [axes_told(kinds & set(UP))] if kinds & set(UP) else []
    how, more, told = chosen(labels, parts, instances, base, [base / entry.locator for entry in entries])
    recorded_all = tuple(sorted((options | dict(more)).items()))
    reader = FileReader(kind="list", location=str(path), root=str(base), up=axis, options=recorded_all, textures=textures, labels=how)
    return Source.of(reader, entries, None, (*notes, *said, *told), labelled=labelled_by(how))


def _label(entry: Entry, label: str) -> str:
    """The class of a shape by its path; `label` is `folder`, `file` or `none`."""
    text = shape_text(entry.locator)
    folder, _, name = text.rpartition("/")
    return {"folder": folder.rsplit("/", 1)[-1], "file": name_in(name), "none": ""}[label]


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every row of a list, each with its place in words (`line 3`)."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"cannot read the list {str(path)!r} as UTF-8 text: {error}{'; save it as CSV UTF-8' * isinstance(error, UnicodeDecodeError)}"
        ) from error
    match path.suffix.lower():
        case ".csv":
            yield from _csv_rows(path.name, text)
        case ".jsonl":
            for number, line in enumerate(text.split("\n"), 1):
                if line.strip():
                    yield f"line {number}", _object(_json(path.name, line, number), f"{path.name}, line {number}")
        case ".json":
            data = _json(path.name, text, 1)
            if isinstance(data, dict):
                yield from ((f"id {name!r}", {"id": name, "path": value}) for name, value in data.items())
            elif isinstance(data, list):
                for number, item in enumerate(data, 1):
                    where = f"item {number}"
                    yield where, {"path": item} if isinstance(item, str) else _object(item, f"{path.name}, {where}")
            else:
                raise UserError(f"{path.name}: expected a list of objects or paths, or one object {{id: path}}, got {data!r:.40}")
        case ".txt":
            for number, line in enumerate(text.splitlines(), 1):
                if line.strip() and not line.startswith("#"):
                    path_ = line.strip()
                    quoted = len(path_) > 2 and path_[0] == path_[-1] and path_[0] in "\"'"
                    yield f"line {number}", {"path": path_[1:-1] if quoted else path_}
        case suffix:
            raise UserError(f"{path.name}: expected {LOOKS_FOR}, got {suffix or 'no extension'}")


def _csv_rows(name: str, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    told, text = separator(text)
    lines = io.StringIO(text, newline="")
    above = 1 if told else 0
    if told:
        lines.readline()  # empty now; it would be taken for the header
    reader = csv.DictReader(lines, strict=True, delimiter=told or _delimiter(text))
    try:
        for column in reader.fieldnames or ():
            _check_column(column, name)
        _check_once(reader.fieldnames or (), "column", name)
        for row in reader:
            where = f"line {reader.line_num + above}"
            if None in row:
                raise UserError(f"{name}, {where}: more cells than the {len(reader.fieldnames or ())} columns of the header")
            yield where, dict(row)
    except csv.Error as error:
        raise UserError(f"{name}, line {reader.line_num + above}: no readable CSV: {error}") from error


def _delimiter(text: str) -> str:
    """The character that separates the cells: the one that makes `path` a cell of the header, else the most frequent one in it."""
    head = next(iter(text.splitlines()), "")
    for delimiter in ",;\t":
        if "path" in (cell.strip().strip('"') for cell in head.split(delimiter)):
            return delimiter
    return max(",;\t", key=head.count)


def _json(name: str, text: str, line: int) -> Any:
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _distinct(pairs, name))
    except json.JSONDecodeError as error:
        raise UserError(f"{name}, line {line + error.lineno - 1}: no readable JSON: {error.msg}") from error
    except RecursionError as error:
        raise UserError(f"{name}, line {line}: no readable JSON: nested too deeply") from error


def _distinct(pairs: list[tuple[str, Any]], name: str) -> dict[str, Any]:
    """A JSON object. Python's own reading would keep the last of two equal keys, and so lose a shape."""
    _check_once([key for key, _ in pairs], "key", name)
    return dict(pairs)


def _check_once(names: Sequence[str], what: str, where: str) -> None:
    twice = next((name for name, times in Counter(names).items() if times > 1), None)
    if twice is not None:
        raise UserError(f"{where}: the {what} {twice!r} is there twice; keep one of them")


def _object(item: Any, where: str) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise UserError(f"{where}: expected an object with the names {', '.join(COLUMNS)}, got {item!r:.40}")
    for column in item:
        _check_column(column, where)
    return item


def _check_column(column: str, where: str) -> None:
    if not column.strip():
        raise UserError(f"{where}: a column without a name; pandas writes its index so, save the list with index=False")
    if column not in COLUMNS:
        raise UserError(f"{where}: unknown column {column!r}{did_you_mean(column, COLUMNS)}")


def _locator(written: str, base: Path) -> str:
    """A path of a list, relative to `base` where it lies below it."""
    if "\\" in written and not os.path.lexists(base / written):
        written = written.replace("\\", "/")
    locator = posixpath.normpath(written)
    if os.path.isabs(locator) and Path(locator).is_relative_to(base):
        locator = Path(locator).relative_to(base).as_posix()
    return locator


def _entry(row: dict[str, Any], where: str, base: Path) -> Entry:
    """The entry of a row.

    Raises:
        UserError: the row has a cell that is no text, no path, or an unknown up axis.
    """
    for column, value in row.items():
        if value is not None and not isinstance(value, str):
            raise UserError(f"{where}: expected {column} as text, got {value!r:.40}")
    cells = {column: (row.get(column) or "").strip() for column in COLUMNS}
    shape_text(cells["path"])  # no file has such a name, if it raises
    if not cells["path"]:
        raise UserError(f"{where}: no path")
    locator = _locator(cells["path"], base)
    if os.path.isabs(locator) and not cells["id"]:
        raise UserError(f"{where}: {locator!r} does not lie below {str(base)!r}; give the shape an id, or the option root")
    axis: Literal["", "x", "y", "z", "-x", "-y", "-z"] = choice(f"{where}, up", cells["up"], ("", *AXES[1:]))
    licence = shape_text(cells["licence"] or cells["license"])
    text = shape_text(cells["id"] or locator)
    return Entry(
        id=shape_id(text), locator=locator, label=shape_text(cells["label"]), split=shape_text(cells["split"]), up=axis, licence=licence
    )


def example(folder: Path) -> str:
    (folder / "chair.off").write_text("OFF\n3 1 0\n0 0 0\n1 0 0\n0 0 1\n3 0 1 2\n")
    (folder / "chosen.csv").write_text("path,id,label,split,up\nchair.off,one,chair,train,z\nchair.off,two,chair,test,y\n")
    return str(folder / "chosen.csv")
