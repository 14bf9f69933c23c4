"""A study that goes on on another machine: its numbers in one file, without caches and weights.

    python science/study.py build/study --pack study.tar.xz           # on the first machine; a command may be at work in the folder
    python science/study.py build/there --unpack study.tar.xz         # on another one, into a new folder
    python science/study.py build/there --data ../data --seeds 5      # trains what lacks, on caches that it builds anew

The file has the scores, the ceilings, what is known about each job, the settings, and what the caches were (`described`). What holds there:

- A seed that was trained elsewhere is not trained again, and its numbers stay in the tables. Its weights and the caches that it was
  measured on are not there, so nobody can check its numbers again: study.json marks them, and the tables name them.
- Caches are built anew. A job that reads one fails if it is not what it was elsewhere: other points, embeddings, files or labels.
- A teacher that the study teaches (`untaught.py`) is taught anew, and no two machines teach the same weights. So its rows go on here only
  with its model from there: copy teachers/NAME/starter-resnet (4 MB) into the new folder first.
- A row that needs the weights of one that was trained elsewhere fails, too. It can be trained for other seeds.
- The time of a job adds up over all machines.
"""

import io
import json
import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, Final

from labelled import labels_of, points_of

from cache_schema import products
from cache_schema.files import write_file
from cache_schema.store import open_cache
from trainer.part import data_digest_of

FILE: Final = "elsewhere.json"
"""Name of the file in a folder that says what the caches were on the machine that it came from."""
SETTINGS: Final = "settings.json"
MARK: Final = "elsewhere"
"""Key of what is known about a job that was done on another machine."""
KEPT: Final = {"scores": 3, "ceilings": 2, "jobs": 3}
"""Folders that are packed, and the number of names in a place there."""
COMPARED: Final = (products.POINTS, products.CAPTIONS, products.IMAGE, products.TEXT, products.DENSE, products.LABELS)
"""Kinds of products that must be as they were. Features of guides are of runs, which differ by their seeds."""
LARGEST: Final = 1 << 30
"""Most bytes that a packed file may unpack to."""


def described(path: Path) -> dict[str, Any]:
    """What a cache is: the fingerprints of its products, and digests of the files of its shapes and of their labels."""
    state = (path / "zarr.json").stat()
    return _described(path.resolve(), state.st_mtime_ns, state.st_ino)


@cache
def _described(path: Path, *state: int) -> dict[str, Any]:
    """The description, made once while that of the cache is the same file."""
    opened = open_cache(path)
    found = [record for kind in COMPARED for record in products.select(opened.products(), kind)]
    files = data_digest_of(opened, opened.ok().nonzero()[0]) if points_of(path) else ""
    return {"products": {record.product: record.fingerprint for record in found}, "files": files, "labels": labels_of(path)}


def differs(folder: Path, place: str) -> str:
    """In what a cache differs from the one of its name that jobs read elsewhere, in words; empty if in nothing, or if one of them is not
    known. `place`: such as `caches/starter.zarr`."""
    known = read(folder).get(place)
    if known is None or not (folder / place / "zarr.json").exists():
        return ""
    now = described(folder / place)
    other = [name for name, print_ in known["products"].items() if now["products"].get(name, print_) != print_]
    other += [f"{name} of its shapes" for name in ("files", "labels") if now[name] and known[name] and now[name] != known[name]]
    return f"it has other {', '.join(other)}{_taught(folder, place, other)}" if other else ""


def _taught(folder: Path, place: str, other: list[str]) -> str:
    """What to do if a cache has embeddings of a teacher that the study taught anew: the rest of a sentence, empty if it has none of one."""
    names = [name for product in other if (folder / "teachers" / (name := product.rpartition("/")[2])).is_dir()]
    if not names:
        return ""
    return (
        f". The teacher {names[0]} was taught here, and no two machines teach the same weights: remove teachers/{names[0]}, copy "
        f"teachers/{names[0]}/starter-resnet from the first machine, remove {place} and jobs/taught/{names[0]}.json, and run this again"
    )


def read(folder: Path) -> dict[str, Any]:
    """What the caches were on the machine that a folder came from, by their places; empty for a folder that began here."""
    path = folder / FILE
    return dict(json.loads(path.read_text())) if path.exists() else {}


def pack(folder: Path, file: Path) -> int:
    """Write what a study found into a file, from which `unpack` starts a folder elsewhere. Nothing in the folder changes.

    Returns:
        The number of scores.

    Raises:
        SystemExit: the folder is none of a study.
    """
    if not (folder / SETTINGS).exists():
        raise SystemExit(f"{folder} is no folder of a study: it has no {SETTINGS}. Give the folder of one")
    caches = read(folder)
    for path in sorted((folder / "caches").glob("*.zarr")):
        if (path / "zarr.json").exists():
            place = f"caches/{path.name}"
            caches[place] = _both(caches.get(place), described(path))
    packed = {name: (folder / name).read_bytes() for name in (SETTINGS, *_places(folder))}
    packed[FILE] = (json.dumps(caches, indent=1) + "\n").encode()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:xz") as archive:
        for name, data in packed.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    write_file(file, out.getvalue())
    return sum(name.startswith("scores/") for name in packed)


def _both(first: dict[str, Any] | None, now: dict[str, Any]) -> dict[str, Any]:
    """What a cache was on the `first` machine, whose numbers are packed again, and what only this one knows of it."""
    if first is None:
        return now
    return {name: first[name] or now[name] for name in ("files", "labels")} | {"products": now["products"] | first["products"]}


def _places(folder: Path) -> Iterator[str]:
    """The files of a folder that are packed."""
    for name, depth in KEPT.items():
        for path in sorted((folder / name).glob("/".join(["*"] * (depth - 1)))):
            if path.suffix == ".json":
                yield path.relative_to(folder).as_posix()


def unpack(file: Path, folder: Path) -> int:
    """Start a folder with what a study found on another machine. Jobs that were done there are marked.

    Returns:
        The number of scores.

    Raises:
        SystemExit: the folder has something in it already, or the file is none of `pack`.
    """
    if folder.exists() and any(folder.iterdir()):
        raise SystemExit(f"{folder} has something in it already: choose another folder")
    try:
        packed = dict(_packed(file))
        values = {name: json.loads(data) for name, data in packed.items()}
    except (OSError, tarfile.TarError, EOFError, ValueError) as error:
        raise SystemExit(f"{file} is no file of `--pack`: {error}") from error
    if not {SETTINGS, FILE} <= packed.keys() or not all(isinstance(value, dict) for value in values.values()):
        raise SystemExit(f"{file} is no file of `--pack`: it lacks {SETTINGS}, or what the caches were")
    for name, found in values.items():
        if name.startswith("jobs/") and found.get("done"):
            packed[name] = (json.dumps(found | {MARK: True}, indent=1) + "\n").encode()
    for name in sorted(packed, key=lambda name: name == SETTINGS):  # a folder without it is none of a study
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_file(folder / name, packed[name])
    return sum(name.startswith("scores/") for name in packed)


def _packed(file: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the files in a packed one, each with its place. Anybody may have written it.

    Raises:
        ValueError: a place is none that is packed, or there is too much.
    """
    left = LARGEST
    with tarfile.open(file, "r:xz") as archive:
        for entry in archive:
            place = PurePosixPath(entry.name)
            known = entry.name in (SETTINGS, FILE) or (place.suffix == ".json" and KEPT.get(place.parts[0]) == len(place.parts))
            if not (entry.isfile() and known and place.as_posix() == entry.name and ".." not in place.parts):
                raise ValueError(f"{entry.name!r} does not belong there")
            left -= entry.size
            content = archive.extractfile(entry)
            if left < 0 or content is None:
                raise ValueError("it has too much in it")
            yield entry.name, content.read()
