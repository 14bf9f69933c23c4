"""Files of captions with ids, as Cap3D publishes them: .csv (id, caption), .json, .jsonl, .parquet and pickled dicts.

    by_id = read(Path("Cap3D_automated_Objaverse_full.csv"))     # {"00a1...": ["A red chair."], ...}

Cap3D's CSV has no header line (arXiv:2306.07279, huggingface.co/datasets/tiange/Cap3D). A header that names an id and a caption is
recognised. An id on several lines has several captions.
"""

import csv
import gzip
import importlib
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np

from cache_schema.errors import UserError
from cache_schema.spec import short
from cache_schema.terminal import article
from pipeline.formats import unpickled

IDS: Final = ("uid", "id", "object_id", "uids", "ids", "shape", "model_id", "modelid")
TEXTS: Final = ("caption", "captions", "text", "description", "texts", "sentence")
"""Names of the columns with ids and with captions, in small letters."""

LARGEST: Final = 16 << 30
"""Largest size of a file, in bytes."""


def read(path: Path) -> dict[str, list[str]]:
    """The captions in a file by id, without empty ones.

    Raises:
        UserError: it is missing, damaged, of another kind, or holds no captions.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    if path.stat().st_size > LARGEST:
        raise UserError(f"{path.name} is larger than {LARGEST:,} bytes")
    kinds = {".csv": _csv, ".tsv": _csv, ".json": _json, ".jsonl": _json_lines, ".parquet": _parquet, ".pkl": _pickled, ".npy": _pickled}
    name = path.name.lower().removesuffix(".gz")
    reader = kinds.get(Path(name).suffix)
    if reader is None:
        raise UserError(f"{path.name}: captions are read from {' '.join(kinds)}")
    found: dict[str, list[str]] = {}
    left = unpickled.DENSEST * max(path.stat().st_size, unpickled.SMALLEST)
    for shape, text in reader(path):
        left -= unpickled.NODE + len(text)
        if left < 0:
            raise UserError(f"{path.name} has texts of more than {unpickled.DENSEST} times its size: it is damaged or hostile")
        unpickled.check_text(shape, f"{path.name}, id {ascii(shape)[:80]},")
        unpickled.check_text(text, f"{path.name}, id {shape[:80]!r},")
        if text.strip():
            found.setdefault(shape, []).append(text.strip())
        else:
            found.setdefault(shape, [])
    if not any(found.values()):
        raise UserError(f"{path.name} holds no captions")
    return found


def separator(text: str) -> tuple[str, str]:
    """Read the first line `sep=;` of a table, by which Excel tells how its cells are separated.

    Returns:
        The separator, empty if no line tells it; and the text, in which that line is empty, so that numbers of lines stay.
    """
    first, end, rest = text.partition("\n")
    told = re.fullmatch(r'"?sep=(.)"?[,;\t]*\s*', first, re.IGNORECASE)
    return (told[1], end + rest) if told else ("", text)


def _bytes(path: Path) -> bytes:
    try:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path.name} cannot be read, cut short? ({error})") from error
    if len(data) > LARGEST:
        raise UserError(f"{path.name} unpacks to more than {LARGEST:,} bytes")
    return data


def _text(path: Path) -> str:
    try:
        return _bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path.name} is no UTF-8 text: {error}") from error


def _csv(path: Path) -> Iterator[tuple[str, str]]:
    delimiter = "\t" if ".tsv" in path.name.lower() else ","
    told, text = separator(_text(path))
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=told or delimiter)
    columns: tuple[int, int] | None = None
    width = 2
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if columns is None:
                head = [cell.strip().lower() for cell in row]
                found = tuple(next((head.index(one) for one in names if one in head), -1) for names in (IDS, TEXTS))
                columns, width = ((found[0], found[1]), len(row)) if min(found) >= 0 else ((0, 1), 2)
                if min(found) >= 0:
                    continue
            if len(row) != width:
                told = "" if width > 2 else " (id, caption)"
                named = "" if width > 2 else ", or name the columns in a first line, as uid,kind,caption"
                raise UserError(
                    f"{path.name}, line {reader.line_num}: expected {width} cells{told}, got {len(row)}; quote captions with commas{named}"
                )
            yield row[columns[0]].strip(), row[columns[1]]
    except csv.Error as error:
        raise UserError(f"{path.name}, line {reader.line_num}: no readable CSV: {error}") from error


def _json(path: Path) -> Iterator[tuple[str, str]]:
    try:
        held = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path.name} is no JSON: {error}") from error
    yield from _pairs(held, path.name)


def _json_lines(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(_text(path).split("\n"), 1):
        if line.strip():
            try:
                held = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path.name}, line {number}, is no JSON: {error}") from error
            yield from _pairs([held], f"{path.name}, line {number}")


def _pickled(path: Path) -> Iterator[tuple[str, str]]:
    yield from _pairs(unpickled.read(path), path.name)


def _parquet(path: Path) -> Iterator[tuple[str, str]]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        raise UserError(f"{path.name}: .parquet is read by the package pyarrow: pip install pyarrow, or save it as .csv") from error
    try:
        rows = parquet.read_table(path).to_pylist()
    except (OSError, ValueError, RuntimeError, KeyError, NotImplementedError) as error:
        raise UserError(f"{path.name} cannot be read, damaged or cut short? ({str(error)[:120]})") from error
    yield from _pairs(rows, path.name)


def _pairs(held: Any, where: str) -> Iterator[tuple[str, str]]:
    """(id, caption) of `{id: caption or captions}`, or of a list of objects with an id and captions."""
    if isinstance(held, dict):
        for shape, value in held.items():
            for text in _captions(value, f"{where}, {shape}"):
                yield str(shape), text
    elif isinstance(held, list):
        for number, row in enumerate(held, 1):
            yield from _row(row, f"{where}, item {number}")
    else:
        raise UserError(f"{where}: expected captions by id, or a list of objects with id and caption, got {article(type(held).__name__)}")


def _row(row: Any, where: str) -> Iterator[tuple[str, str]]:
    names = {key.lower(): key for key in row if isinstance(key, str)} if isinstance(row, dict) else {}
    shape, texts = (next((names[one] for one in known if one in names), None) for known in (IDS, TEXTS))
    if shape is None or texts is None or not isinstance(row[shape], str):
        raise UserError(f"{where}: expected an object with {'/'.join(IDS[:3])} and {'/'.join(TEXTS[:3])}, got {_told(row)}")
    for text in _captions(row[texts], where):
        yield row[shape], text


def _captions(value: Any, where: str) -> Iterable[str]:
    texts = unpickled.texts_of(value)
    if texts is None:
        raise UserError(f"{where}: expected a caption or a list of captions, got {_told(value)}")
    return texts or [""]


def _told(value: Any) -> str:
    """What a value is, in a few words. A value of a pickle is not written out, because a small file can describe a huge one."""
    if isinstance(value, dict):
        return f"an object with {', '.join(map(short, islice(value, 4))) or 'nothing'}"
    return article(type(value).__name__) if isinstance(value, list | tuple | np.ndarray) else short(value)
