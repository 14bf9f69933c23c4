"""A vector for each shape, in files that other programs read: Parquet, NumPy's .npz, or .csv.

    with computed(model, cache, rows, folder) as values:                 # [m, D], mapped from a file
        write(Path("vectors.parquet"), Table.of(cache, rows), values, about)

Every shape that was asked for has a row, also one that could not be read: then `status` is `failed`, `reason` says why, and it has no
vector. Files are written whole or not at all, and only a part of the vectors is in memory at a time.

Letters: n shapes, m of them with a vector, D width of a vector.
"""

import contextlib
import csv
import dataclasses
import importlib.metadata
import io
import json
import os
import secrets
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from cache_schema import products
from cache_schema.errors import UserError
from cache_schema.layout import texts
from cache_schema.spec import OK, SourceSpec, did_you_mean, to_json
from cache_schema.store import Cache

CHUNK: Final = 8192
"""Number of shapes that are written at a time. It changes no result."""
PART: Final = 1024
"""Number of shapes that are embedded at a time, after which progress is told. It changes no result."""
METADATA: Final = b"mmpd"
"""Key of our JSON in the metadata of a Parquet file."""
ENDINGS: Final = (".parquet", ".npz", ".csv")
LEAST: Final = 3
"""Smallest number of shapes of a map."""
FLAT: Final = 1e-7
"""Variance, relative to the mean square, below which all vectors count as equal."""


Embedder = Callable[[Cache, NDArray[np.int64]], NDArray[np.float32]]
"""Gives vectors [n, D] of some shapes: those in these rows [n] of a cache."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """The shapes that were asked for, in the order of rows."""

    ids: Sequence[str]
    classes: Sequence[str | None]
    """None for a shape without a class."""
    splits: Sequence[str | None]
    reasons: Sequence[str | None]
    """Why a shape has no vector; None for a shape that has one."""
    remarks: Sequence[str | None]
    """What was left out or replaced when a shape was read; None for nothing."""

    @classmethod
    def of(cls, cache: Cache, rows: NDArray[np.int64]) -> "Table":
        """The shapes in some rows of a cache."""
        m = cache.manifest
        label, split, status = (cache.column(name)[rows] for name in ("label", "split", "status"))
        said = texts(cache.column("reason")[rows])
        fine = status == OK
        return cls(
            ids=list(cache.ids()[rows]),
            classes=[m.classes[i] if i >= 0 else None for i in label],
            splits=[m.splits[i] if i >= 0 else None for i in split],
            reasons=[None if ok else text or "no reason is recorded" for ok, text in zip(fine, said, strict=True)],
            remarks=[text or None if ok else None for ok, text in zip(fine, said, strict=True)],
        )

    def __len__(self) -> int:
        return len(self.ids)

    def remarked(self, said: Sequence[str]) -> "Table":
        """The same with further remarks about the shapes that have a vector, empty for none. [m]"""
        remarks = list(self.remarks)
        for i, text in zip(np.flatnonzero(self.fine).tolist(), said, strict=True):
            remarks[i] = "; ".join(filter(None, (remarks[i], text))) or None
        return dataclasses.replace(self, remarks=remarks)

    @property
    def fine(self) -> NDArray[np.bool_]:
        """Which shapes have a vector. [n]"""
        return np.array([reason is None for reason in self.reasons], bool)


def copies(table: Table, digests: NDArray[np.uint8], mark: str = "") -> list[str]:
    """A remark about each shape that has a vector and was made from the same data as another one, byte for byte; empty for the others. [m]

    Args:
        table: the shapes.
        digests: `source_sha256` of each [n, 32]; zeros where nothing is known of it.
        mark: the character in front of the name of a piece in an id, if the shapes are pieces of scenes. All pieces of a scene are made
            from its data; only those of one name, of two scenes, are copies. Empty if the shapes are no pieces.
    """
    fine = np.flatnonzero(table.fine)
    by_data: dict[tuple[bytes, str], list[int]] = {}
    for i in fine[digests[fine].any(axis=1)].tolist():
        by_data.setdefault((digests[i].tobytes(), table.ids[i].rpartition(mark)[2] if mark else ""), []).append(i)
    said = dict.fromkeys(fine.tolist(), "")
    for alike in (group for group in by_data.values() if len(group) > 1):
        for i in alike:
            other = table.ids[alike[0] if i != alike[0] else alike[1]]
            said[i] = f"made from the same data as {other}, byte for byte" + f" (and {len(alike) - 2} more)" * (len(alike) > 2)
    return list(said.values())


@contextlib.contextmanager
def computed(
    embed: Embedder, cache: Cache, rows: NDArray[np.int64], folder: Path, step: Callable[[int, int], None] | None = None
) -> Iterator[NDArray[np.float32]]:
    """Embed usable shapes, and hold the vectors in a file meanwhile.

    Args:
        embed: gives the vectors.
        cache, rows: the shapes, all usable.
        folder: a folder for the file, which is removed at the end.
        step: gets the number of finished shapes and of all.

    Yields:
        Vectors, [m, D].

    Raises:
        UserError: a vector is not finite: the training of the run diverged.
    """
    path = folder / f".vectors.{secrets.token_hex(8)}.tmp"
    try:
        yield fill(path, embed, cache, rows, step)
    finally:
        path.unlink(missing_ok=True)


def fill(
    path: Path,
    embed: Embedder,
    cache: Cache,
    rows: NDArray[np.int64],
    step: Callable[[int, int], None] | None = None,
    change: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None = None,
) -> NDArray[np.float32]:
    """Embed usable shapes into a new .npy file, and map it. `change` is applied to the vectors of each part. See `computed`."""
    out: np.memmap[Any, np.dtype[np.float32]] | None = None
    if step is not None:
        step(0, len(rows))
    for start in range(0, len(rows), PART):
        part = rows[start : start + PART]
        found = embed(cache, part)
        if not np.isfinite(found).all():
            raise UserError("a vector of the model is NaN or infinite: its training diverged; take another run")
        found = found if change is None else change(found)
        if out is None:
            out = np.lib.format.open_memmap(path, "w+", np.float32, (len(rows), found.shape[1]))
        out[start : start + len(part)] = found
        if step is not None:
            step(start + len(part), len(rows))
    if out is None:
        raise UserError(f"{cache.path}: there is no usable shape to embed")
    out.flush()
    return out


def about(kind: str, run: dict[str, Any], cache: Cache | None, notes: Sequence[str], **more: Any) -> dict[str, Any]:
    """The facts that a file carries beside its vectors, as JSON values: the model, the points, where they came from, the software.

    Args:
        kind: what the file holds.
        run: facts of the model.
        cache: the cache of the shapes; None for files of points that were read by NumPy.
        notes: sentences for the reader.
        more: further facts.
    """
    source: list[dict[str, Any]] = []
    points: dict[str, Any] | None = None
    if cache is not None:
        m = cache.manifest.source
        source = [_source(one) for one in (m, *m.also)]
        record = cache.record(products.POINTS.name)
        points = {"fingerprint": record.fingerprint, **to_json(record.spec)}
    return {
        "kind": kind,
        "mmpd": importlib.metadata.version("mmpd"),
        "numpy": np.__version__,
        "run": run,
        "source": source,
        "points": points,
        "notes": list(notes),
        **more,
    }


def _source(one: SourceSpec) -> dict[str, Any]:
    return {"kind": one.kind, "options": dict(one.options), "textures": one.textures}


# -------------------------------------------------------------------------------------------------------------- files


def check_place(path: Path, force: bool) -> None:
    """Refuse a file that cannot be written, before anything is computed.

    Raises:
        UserError: the ending is unknown, a folder is there, or a file is there and `force` is not set.
    """
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"{path}: vectors are written as {', '.join(ENDINGS)}, got {path.suffix or 'no ending'!r}" + _near(path.suffix))
    refuse_there(path, force)
    if path.suffix.lower() == ".csv":
        refuse_there(beside(path), force)


def refuse_there(path: Path, force: bool) -> None:
    """Refuse to replace a file unless `force` is set, and always to replace a folder."""
    if path.is_dir():
        raise UserError(f"{path} is a folder; give the name of a file")
    if path.exists() and not force:
        raise UserError(f"{path} is there already: give another name, or --force to replace it")


def _near(suffix: str) -> str:
    return did_you_mean(suffix, ENDINGS) if suffix else ""


def beside(path: Path) -> Path:
    """The file with the facts beside a .csv file, which cannot hold them."""
    return path.with_name(path.name + ".json")


def write(path: Path, table: Table, values: NDArray[np.float32], facts: dict[str, Any]) -> None:
    """Write vectors in the format of the file's ending.

    Args:
        path: the file; its folder is made.
        table: the n shapes.
        values: vectors of those that have one, in their order. [m, D]
        facts: see `about`.

    Raises:
        OSError: the disk is full or not writable. Nothing is left behind.
    """
    assert int(table.fine.sum()) == len(values)
    writer = {".parquet": _parquet, ".npz": _npz, ".csv": _csv}[path.suffix.lower()]
    with whole(path) as file:
        writer(file, table, values, facts)
    if path.suffix.lower() == ".csv":
        with whole(beside(path)) as file:
            file.write((json.dumps(facts, indent=2) + "\n").encode())


@contextlib.contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing that comes to its place when all of it is written, and never otherwise.

    `cache_schema.files.write_file` does this for files that fit into memory.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _places(table: Table) -> NDArray[np.int64]:
    """Place of each shape's vector among the vectors; -1 for none. [n]"""
    return np.where(table.fine, np.cumsum(table.fine) - 1, -1)


def _parquet(file: IO[bytes], table: Table, values: NDArray[np.float32], facts: dict[str, Any]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    width, text, places = values.shape[1], pa.string(), _places(table)
    fields = [pa.field("id", text, nullable=False), pa.field("class", text), pa.field("split", text)]
    fields += [pa.field("status", text, nullable=False), pa.field("reason", text), pa.field("vector", pa.list_(pa.float32(), width))]
    schema = pa.schema(fields, {METADATA: json.dumps(facts)})
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for start in range(0, len(table), CHUNK):
            part = slice(start, start + CHUNK)
            at = places[part]
            flat = np.zeros((len(at), width), np.float32)
            flat[at >= 0] = values[at[at >= 0]]
            vector = pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), width, mask=pa.array(at < 0))
            why = [reason or remark for reason, remark in zip(table.reasons[part], table.remarks[part], strict=True)]
            columns = [table.ids[part], table.classes[part], table.splits[part], _status(at), why]
            arrays = [pa.array(column, text) for column in columns]
            writer.write_batch(pa.record_batch([*arrays, vector], schema=schema))


def _status(places: NDArray[np.int64]) -> list[str]:
    return ["ok" if place >= 0 else "failed" for place in places]


def _npz(file: IO[bytes], table: Table, values: NDArray[np.float32], facts: dict[str, Any]) -> None:
    fine = table.fine
    of = {"id": table.ids, "class": table.classes, "split": table.splits, "remark": table.remarks}
    arrays: dict[str, NDArray[Any]] = {name: _words(column, fine) for name, column in of.items()}
    arrays["vector"] = values
    arrays |= {"failed_id": _words(table.ids, ~fine), "failed_reason": _words(table.reasons, ~fine), "about": np.array(json.dumps(facts))}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _words(column: Sequence[str | None], chosen: NDArray[np.bool_]) -> NDArray[np.str_]:
    """Texts of the chosen shapes, empty for none, in a type that needs no pickle."""
    return np.array([column[i] or "" for i in np.flatnonzero(chosen).tolist()], np.str_)


def _csv(file: IO[bytes], table: Table, values: NDArray[np.float32], facts: dict[str, Any]) -> None:
    width, places = values.shape[1], _places(table)
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["id", "class", "split", "status", "reason", *(f"v{i}" for i in range(width))])
    for i, place in enumerate(places.tolist()):
        vector = [""] * width if place < 0 else [f"{value:.9g}" for value in values[place]]
        why = table.reasons[i] or table.remarks[i] or ""
        rows.writerow([table.ids[i], table.classes[i] or "", table.splits[i] or "", _status(places[i : i + 1])[0], why, *vector])
    text.detach()


# --------------------------------------------------------------------------------------------------------------- a map


def plane(values: NDArray[np.float32]) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Places of vectors on a plane: their first two principal components.

    Args:
        values: vectors. [m, D]

    Returns:
        Places [m, 2], and for both axes the share of the variance that lies along them, 0..1.

    Raises:
        UserError: there are fewer than `LEAST` vectors, or they are all equal.
    """
    if len(values) < LEAST:
        raise UserError(f"a map needs at least {LEAST} shapes, got {len(values)}")
    mean, covariance = values.mean(0, dtype=np.float64), np.zeros((values.shape[1],) * 2)
    for start in range(0, len(values), CHUNK):
        centred = values[start : start + CHUNK] - mean
        covariance += centred.T @ centred
    scatter = float(np.trace(covariance))
    if scatter <= FLAT * (scatter + len(values) * float(mean @ mean)):
        raise UserError("all vectors are almost equal, so there is nothing to map: the model has collapsed, or all shapes are one")
    found, axes = np.linalg.eigh(covariance)
    axes = axes[:, :-3:-1]  # [D, 2]
    axes = axes * np.where(axes[np.abs(axes).argmax(0), [0, 1]] < 0, -1, 1)  # the sign is arbitrary: fix it
    shares = np.maximum(found[:-3:-1], 0) / scatter
    place = np.concatenate([(values[start : start + CHUNK] - mean) @ axes for start in range(0, len(values), CHUNK)])
    return place, (float(shares[0]), float(shares[1]))
