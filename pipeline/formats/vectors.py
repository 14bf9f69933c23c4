"""Files of embeddings with ids: .npz, .npy, .safetensors, .h5, .parquet and pickled dicts.

    found = read(Path("clip.npz"))           # found.ids, found.take([0, 1]) -> [2, ...]

A file holds an array [N, E] or [N, V, E] of floating-point numbers, and the N ids in an array of texts (`ids`, `uid`, `names` ...), in the
metadata (safetensors), or in another file that is given. Or it holds an array for each id, under the id as its name.
"""

import csv
import importlib
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError
from cache_schema.spec import did_you_mean
from cache_schema.terminal import article
from pipeline.formats import said, unpickled

ID_KEYS: Final = ("ids", "id", "uids", "uid", "object_id", "object_ids", "names", "name", "keys", "key", "classes", "class", "labels")
"""Names of arrays, columns or metadata with ids. The first that a file has is used."""

DENSEST: Final = 200
"""Largest ratio of unpacked to stored bytes. A small file can declare any number of zeros."""

EXTENSIONS: Final = (".npz", ".npy", ".safetensors", ".h5", ".hdf5", ".parquet", ".pkl", ".pickle")

Take = Callable[[Sequence[int]], NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Vectors:
    """Embeddings with ids."""

    ids: tuple[str, ...]
    """[N], in the order of the file."""
    take: Take
    """Gives entries by their numbers, [n, *entry], in the type of the file."""
    entry: tuple[int, ...]
    """Shape of an entry: (E,) or (V, E)."""


def read(path: Path, *, key: str = "", ids: Path | None = None) -> Vectors:
    """Open a file of embeddings.

    Args:
        path: the file.
        key: name of the array, the data set or the column with the embeddings; empty for the only one.
        ids: a file with the ids, for a file that has none: a text with one a line, JSON, CSV or .npy.

    Raises:
        UserError: it is missing, damaged, of another kind, or has no ids or no embeddings.
    """
    readers: dict[str, Callable[[Path], Mapping[str, Any]]] = {
        ".npz": _npz,
        ".npy": _npy,
        ".safetensors": _safetensors,
        ".h5": _hdf5,
        ".hdf5": _hdf5,
        ".parquet": _parquet,
        ".pkl": _pickled,
        ".pickle": _pickled,
    }
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise UserError(f"{path.name}: embeddings are read from {' '.join(EXTENSIONS)}; save {suffix or 'it'} as .npz or .safetensors")
    try:
        held = readers[suffix](path)
        found = _found(path.name, held, key, None if ids is None else ids_of(ids))
        for one in found.ids:
            unpickled.check_text(one, path.name if ids is None else ids.name)
        return found
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, NotImplementedError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path.name} cannot be read, damaged or cut short? ({str(error)[:120]})") from error


# --------------------------------------------------------------------------------------------------------- what a file holds


def _npz(path: Path) -> Mapping[str, Any]:
    with zipfile.ZipFile(path) as archive:
        _check_size(path, sum(info.file_size for info in archive.infolist()))
    with np.load(path, allow_pickle=False) as loaded:
        held = {name: loaded[name] for name in loaded.files}
    for name, array in held.items():
        unpickled.check_array(np.ascontiguousarray(array).reshape(-1), f"{path.name}, {name},")
    return held


def _npy(path: Path) -> Mapping[str, Any]:
    if not unpickled.holds_objects(path):
        return {"array": np.load(path, mmap_mode="r", allow_pickle=False)}
    return _pickled(path)


def _pickled(path: Path) -> Mapping[str, Any]:
    held = unpickled.read(path)
    if isinstance(held, dict) and all(isinstance(name, str) for name in held):
        made = {id(value): _plain(value) for value in {id(value): value for value in held.values()}.values()}  # shared ones once
        return {name: made[id(value)] for name, value in held.items()}
    raise UserError(f"{path.name}: expected a dict of arrays by id or name, got {article(type(held).__name__)}")


def _plain(value: Any) -> Any:
    """A value of a pickled dict: texts and numbers as arrays; of a dict with one array, this array."""
    if isinstance(value, dict):
        arrays = {name: array for name, item in value.items() if (array := unpickled.numbers_of(item)) is not None}
        return next(iter(arrays.values())) if len(arrays) == 1 else arrays
    numbers = unpickled.numbers_of(value)
    if numbers is not None:
        return numbers
    texts = unpickled.texts_of(value)
    return value if texts is None else np.array(texts, dtype=str)


def _safetensors(path: Path) -> Mapping[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:  # torch reads bfloat16, which NumPy does not know
            held: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise UserError(f"{path.name} is no sound safetensors file: {error}") from error
    arrays = {name: tensor.float().numpy() if tensor.is_floating_point() else tensor.numpy() for name, tensor in held.items()}
    listed = next((metadata[name] for name in ID_KEYS if name in metadata), None)
    if listed is not None:
        arrays["ids"] = np.array(_listed(json.loads(listed), f"the metadata of {path.name}"), dtype=str)
    return arrays


def _hdf5(path: Path) -> Mapping[str, Any]:
    import h5py

    with h5py.File(path, "r") as file:
        found: dict[str, Any] = {}

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                _check_size(path, item.size * item.dtype.itemsize)
                if item.external or item.is_virtual:
                    raise UserError(f"{path.name}, {name}: its numbers lie in another file")
                texts = h5py.check_string_dtype(item.dtype) is not None
                found[name] = np.array(item.asstr()[()], dtype=str) if texts else item[()]

        file.visititems(visit)
    return found


def _check_size(path: Path, unpacked: int) -> None:
    if unpacked > DENSEST * max(path.stat().st_size, 1 << 20):
        raise UserError(f"{path.name} unpacks to {unpacked:,} bytes, more than {DENSEST} times its size: it is damaged or hostile")


def _parquet(path: Path) -> Mapping[str, Any]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        raise UserError(f"{path.name}: .parquet is read by the package pyarrow: pip install pyarrow, or save it as .npz") from error
    table = parquet.read_table(path)
    found: dict[str, Any] = {}
    for name in table.column_names:
        rows = table.column(name).to_pylist()
        if rows and all(isinstance(row, str) for row in rows):
            found[name] = np.array(rows, dtype=str)
        elif rows and all(isinstance(row, list) and len(row) == len(rows[0]) for row in rows):
            found[name] = np.array(rows, np.float32)
    return found


# ------------------------------------------------------------------------------------------------------ which is which


def _found(name: str, held: Mapping[str, Any], key: str, given: Sequence[str] | None) -> Vectors:
    """The embeddings and the ids among the arrays of a file.

    Args:
        name: name of the file, for messages.
        held: the arrays by name, or arrays by name in turn.
        key: see `read`.
        given: the ids, where another file gives them.
    """
    floats = {one: array for one, array in held.items() if _is_floats(array)}
    listed = given
    own = next((one for one in ID_KEYS if isinstance(held.get(one), np.ndarray) and held[one].dtype.kind in "US"), None)
    if own is not None:
        if given is not None:
            raise UserError(f"{name} has ids of its own ({own}); leave out the file of ids")
        listed = [text.decode() if isinstance(text, bytes) else text for text in held[own].reshape(-1).tolist()]
    if listed is None:
        return _by_id(name, held, key)
    if key and key not in floats:
        raise UserError(f"{name} has no array {key!r} of floating-point numbers{did_you_mean(key, floats)}")
    chosen = [key] if key else [one for one in floats if one != own]
    if len(chosen) != 1:
        told = ", ".join(f"{one} {list(array.shape)}" for one, array in floats.items()) or "none"
        raise UserError(f"{name}: which of these arrays holds the embeddings? {told}; name it with --key")
    array = floats[chosen[0]]
    if array.ndim not in (2, 3) or len(array) != len(listed):
        raise UserError(
            f"{name}, {chosen[0]}: expected [{len(listed)}, E] or [{len(listed)}, V, E] for {len(listed)} ids, got {array.shape}"
        )
    return Vectors(ids=tuple(listed), take=lambda which: np.asarray(array[np.asarray(which, np.int64)]), entry=tuple(array.shape[1:]))


def _is_floats(array: Any) -> bool:
    return isinstance(array, np.ndarray) and array.dtype.kind == "f"


def _by_id(name: str, held: Mapping[str, Any], key: str) -> Vectors:
    """Embeddings that lie under their ids."""
    entries = {one: value[key] if isinstance(value, Mapping) and key in value else value for one, value in held.items()}
    wrong = next((one for one, value in entries.items() if not _is_floats(value)), None)
    shapes = {value.shape for value in entries.values() if isinstance(value, np.ndarray)}
    if not entries or wrong is not None or len(shapes) != 1 or next(iter(shapes)) == () or (len(entries) == 1 and "array" in entries):
        told = ", ".join(f"{one} {_told(value)}" for one, value in list(entries.items())[:6]) or "nothing"
        raise UserError(
            f"{name} has no ids: expected an array of texts called {', '.join(ID_KEYS[:5])} ..., an array of one shape for each id, or a "
            f"file of ids given by --ids; it holds {told}"
        )
    shape, ids = next(iter(shapes)), tuple(entries)
    if len(shape) not in (1, 2):
        raise UserError(f"{name}: expected an embedding [E] or [V, E] for each id, got {list(shape)}")
    return Vectors(ids=ids, take=lambda which: np.stack([entries[ids[i]] for i in which]), entry=shape)


def _told(value: Any) -> str:
    return f"{list(value.shape)} {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__


def ids_of(path: Path) -> list[str]:
    """The ids or names in a file: a text with one a line, a JSON list, a CSV of one column or with a column of ids, or a .npy of texts.

    Raises:
        UserError: it is missing, or of another kind.
    """
    if path.suffix.lower() in (".npy", ".npz"):
        texts = unpickled.texts_of(unpickled.read(path))
        if texts is None:
            raise UserError(f"{path.name}: expected an array of texts")
        return texts
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".json":
            return _listed(json.loads(text), path.name)
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"cannot read the ids in {path.name}: {error}") from error
    if path.suffix.lower() != ".csv":
        return [line.strip() for line in text.splitlines() if line.strip()]
    told, text = said.separator(text)
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=told or ",") if row]
    head = [cell.strip().lower() for cell in rows[0]] if rows else []
    column = next((head.index(one) for one in ID_KEYS if one in head), None)
    if column is None and any(len(row) != 1 for row in rows):
        raise UserError(f"{path.name}: expected one column, or a column called {', '.join(ID_KEYS[:5])}")
    return [row[column or 0].strip() for row in rows[0 if column is None else 1 :]]


def _listed(value: Any, where: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise UserError(f"{where}: expected a list of ids as texts, got {article(type(value).__name__)}")
    return value
