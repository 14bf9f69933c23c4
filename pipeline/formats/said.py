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
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from cache_schema.errors import UserError
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
    for shape, text in reader(path):
        if text.strip():
            found.setdefault(shape, []).append(text.strip())
        else:
            found.setdefault(shape, [])
    if not any(found.values()):
        raise UserError(f"{path.name} holds no captions")
    return found


def _bytes(path: Path) -> bytes:
    try:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except (OSError, EOFError) as error:
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
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True, delimiter=delimiter)
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
                raise UserError(
                    f"{path.name}, line {reader.line_num}: expected {width} cells{told}, got {len(row)}; quote captions with commas"
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
            except ValueError as error:
                raise UserError(f"{path.name}, line {number}, is no JSON: {error}") from error
            yield from _pairs([held], f"{path.name}, line {number}")


def _pickled(path: Path) -> Iterator[tuple[str, str]]:
    yield from _pairs(unpickled.read(path), path.name)


def _parquet(path: Path) -> Iterator[tuple[str, str]]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        raise UserError(f"{path.name}: .parquet is read by the package pyarrow: pip install pyarrow, or save it as .csv") from error
    yield from _pairs(parquet.read_table(path).to_pylist(), path.name)


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
        raise UserError(f"{where}: expected captions by id, or a list of objects with an id and a caption, got a {type(held).__name__}")


def _row(row: Any, where: str) -> Iterator[tuple[str, str]]:
    names = {key.lower(): key for key in row if isinstance(key, str)} if isinstance(row, dict) else {}
    shape, texts = (next((names[one] for one in known if one in names), None) for known in (IDS, TEXTS))
    if shape is None or texts is None or not isinstance(row[shape], str):
        raise UserError(f"{where}: expected an object with {'/'.join(IDS[:3])} and {'/'.join(TEXTS[:3])}, got {str(row)[:60]!r}")
    for text in _captions(row[texts], where):
        yield row[shape], text


def _captions(value: Any, where: str) -> Iterable[str]:
    texts = unpickled.texts_of(value)
    if texts is None:
        raise UserError(f"{where}: expected a caption or a list of captions, got {str(value)[:60]!r}")
    return texts or [""]
