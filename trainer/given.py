"""Shapes that a user names: a cache, or files and folders, which `mmpd-cache` turns into a cache in a process of its own.

    with opened(["scans/"], Wanted(convention=run.convention), say=print) as given:
        vectors = embed(given.cache)

The trainer reads no meshes. So files and folders become a cache of points only, prepared like the points of the run's training: a shape
has the same points whether it comes from a folder or from such a cache. The cache is removed at the end unless it is to be kept.

Where `mmpd[pipeline]` is not installed, `clouds` reads tables of points by NumPy.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from cache_schema.axes import UP
from cache_schema.errors import UserError
from cache_schema.overlay import told_behind
from cache_schema.remote import is_remote
from cache_schema.spec import PointSpec, SourceSpec
from cache_schema.store import Cache, open_cache
from cache_schema.terminal import some
from trainer.terminal import err

if TYPE_CHECKING:
    from trainer.points import Convention

PIPELINE: Final = (sys.executable, "-c", "from pipeline.cli import main; main()")
"""How `mmpd-cache` is started: by the same Python, wherever its script lies."""
AHEAD: Final = """
import contextlib, json, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
from pipeline import cli
with contextlib.suppress(ImportError):  # the command itself says what lacks
    import pipeline.building
if line := sys.stdin.readline():
    sys.argv[1:] = json.loads(line)
    cli.main()
"""
"""Program of a `mmpd-cache` that is started before there is a command for it: it imports, and reads its arguments as a line of JSON."""
INSTALL: Final = "pip install 'mmpd[pipeline]'"
LISTS: Final = (".csv", ".json", ".jsonl", ".txt", ".h5", ".hdf5")
"""Endings of files that may be lists or collections of shapes, not shapes."""
TABLES: Final = (".npy", ".npz", ".txt", ".xyz", ".pts")
"""Endings of files that `clouds` reads."""
OF_SPLITS: Final = "source.split="
"""In a note of a build about splits, which only a training uses."""
SHAPES: Final = "shapes.zarr"
"""Name of a cache that is made for one command only."""
MARK: Final = "zarr.json"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """How shapes are to be prepared."""

    convention: "Convention | None"
    """The points that the run was trained on; None if that is unknown."""
    centres: int = 1
    """Number of leading points of a block that the model uses as centres."""
    keep: Path | None = None
    """Where the cache is kept; None to remove it."""
    beside: Path | None = None
    """Folder for a cache that is not kept; None for the folder for temporary files."""
    settings: tuple[str, ...] = ()
    """Settings of the source or limits, as `source.up=z`."""

    def __post_init__(self) -> None:
        for setting in self.settings:
            if not setting.strip().startswith(("source.", "limits.")):
                raise UserError(
                    f"--set takes source.NAME=VALUE (how files are read) and limits.NAME=VALUE (time and memory of a shape), got "
                    f"{setting!r}: the run decides the points"
                )


@dataclass(frozen=True, kw_only=True)
class Given:
    """The shapes of a user, as a cache."""

    cache: Cache
    name: str
    """What the user named."""
    made: bool
    """Whether the cache was made of files for this command."""
    notes: tuple[str, ...] = ()
    """What the build said about choices that it made: classes, splits, the up axis."""


def is_cache(what: str | Path) -> bool:
    """Whether a path is a cache on this machine."""
    return (Path(what) / MARK).is_file()


@contextlib.contextmanager
def opened(what: Sequence[str], wanted: Wanted, say: Callable[[str], None]) -> Iterator[Given]:
    """Open a cache, or make one of files and folders. What the build says goes to standard error.

    Args:
        what: a cache; or a folder, a list or a collection that `mmpd-cache build` takes; or one or several files of shapes.
        wanted: how shapes are to be prepared.
        say: gets a line about what is done.

    Raises:
        UserError: nothing is there, no shape can be read, or the pipeline is not installed.
    """
    name = some(what, 3)
    if len(what) == 1 and (is_cache(what[0]) or what[0].rstrip("/").endswith(".zarr")):
        if wanted.settings or wanted.keep:
            raise UserError(f"--set and --keep-cache would have no effect: {what[0]} is a cache already. Leave them out")
        cache = open_cache(what[0])
        if said := told_behind(cache):
            say(f"Note: {said}")
        yield Given(cache=cache, name=name, made=False)
        return
    _check_there(what)
    if absent := lacking():
        raise UserError(_not_installed(what, absent))
    with contextlib.ExitStack() as held:
        if wanted.beside is not None:
            wanted.beside.mkdir(parents=True, exist_ok=True)
        if wanted.keep is not None and is_cache(wanted.keep):
            check_unchanged(wanted.keep, what)
            say(f"reuses {wanted.keep}, which is there")
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix=".mmpd-", dir=wanted.beside)))
        path = wanted.keep or folder / SHAPES
        notes = build(_source(what, folder), path, wanted, folder)
        if wanted.keep:
            say(f"{path} has the points of {name} and can be given instead of it")
        yield Given(cache=open_cache(path), name=name, made=True, notes=notes)


def build(source: str, path: Path, wanted: Wanted, folder: Path) -> tuple[str, ...]:
    """Make a cache of points with `mmpd-cache build`.

    Args:
        source: what `build` takes.
        path: the cache. If it is there, it is completed.
        wanted: how shapes are to be prepared.
        folder: a folder for a file with what the build says.

    Returns:
        The notes of the build.

    Raises:
        UserError: the build refuses, or no shape can be read.
    """
    log = folder / "log.txt"
    settings = [*points(wanted), "point_labels=false", "given=false", *wanted.settings]
    log.unlink(missing_ok=True)
    # 1: every shape failed. The cache has the reasons then, which whoever opens it tells.
    every = (0, 1)
    passing = () if wanted.keep else ("--passing",)
    told = ("--recipe", "points", *passing, *(f"--set={one}" for one in settings))
    call_pipeline("--log-file", str(log), "build", source, str(path), *told, fine=every)
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    notes = [line.partition(" Note: ")[2] for line in lines if " Note: " in line]
    return tuple(note for note in notes if OF_SPLITS not in note)


def check_unchanged(path: Path, what: Sequence[str]) -> None:
    """Check that a cache that is there was made of the files as they are now. Whether it has the same shapes, the build checks.

    Files beside a shape's own, such as materials and textures, are not compared. Of lists and collections, whose files cannot be told from
    the names of shapes, only the time of the last change is compared.

    Raises:
        UserError: a file has changed since.
    """
    cache = open_cache(path)
    first = Path(what[0])
    listed = len(what) == 1 and first.is_file() and first.suffix.lower() in LISTS and not _is_table(first)
    changed = first if listed and first.stat().st_mtime > (path / MARK).stat().st_mtime else None
    if not listed:
        root = first if first.is_dir() else Path(os.path.commonpath([Path(one).absolute().parent for one in what]))
        digests = cache.column("source_sha256")
        for name, digest in zip(cache.ids(), digests, strict=True):
            file = root / str(name)
            # Zeros: the file could not be read then, and the build tries it again.
            if digest.any() and file.is_file() and _sha256(file) != digest.tobytes():
                changed = file
                break
    if changed is not None:
        raise UserError(f"{changed} has changed since {path} was made of it: delete {path}, or name another with --keep-cache")


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def up_told(cache: Cache) -> str:
    """Which axis of the files of a cache was taken as up, and whether somebody chose it or it was guessed from the format."""
    source = cache.manifest.source
    ids = cache.ids()
    said = [_up_told(one, ids if not source.also else ()) for one in (source, *source.also)]
    return "; ".join(dict.fromkeys(said))


def _up_told(source: SourceSpec, ids: Iterable[str]) -> str:
    up = dict(source.options).get("up", "")
    if up in ("x", "y", "z"):
        return f"+{up.upper()}, given (source.up={up})"
    if not up:
        return f"as the source {source.kind} defines it"
    endings = {Path(name).suffix.lower() for name in map(str, ids)}
    of_axes = {axis: sorted(one for one in endings if UP.get(one) == axis) for axis in ("y", "z")}
    usual = ", ".join(f"+{axis.upper()} for {' '.join(known)}" for axis, known in of_axes.items() if known)
    listed = "; a list named it for some files" if "listed_up" in dict(source.options) else ""
    return f"guessed, the usual axis of the format{f' ({usual})' if usual else ''}{listed}; source.up=y|z chooses when the files are read"


def points(wanted: Wanted) -> list[str]:
    """The settings of `mmpd-cache build` that make points like those of a run's training."""
    run = wanted.convention
    if run is None:
        return ["points.normals=false"]
    plain = PointSpec()
    ordered = min(run.count, max(run.ordered or min(plain.ordered, run.count), wanted.centres))
    return [
        f"points.count={run.count}",
        f"points.normalize={run.normalize}",
        f"points.ordered={ordered}",
        f"points.dtype={run.dtype}",
        "points.normals=false",
    ]


@contextlib.contextmanager
def ahead(what: Sequence[str]) -> Iterator[None]:
    """Start `mmpd-cache` if files are to be read, so that it imports its packages while this process imports torch and loads the run.
    `call_pipeline` takes it. If nothing has taken it, it is ended with the block.
    """
    if lacking() or (len(what) == 1 and is_cache(what[0])):
        yield
        return
    process = _popen((sys.executable, "-c", AHEAD), subprocess.PIPE)
    _waiting.append(process)
    try:
        yield
    finally:
        if process in _waiting:
            _waiting.remove(process)
            process.kill()
            process.communicate()


_waiting: Final[list["subprocess.Popen[bytes]"]] = []
"""Processes that `ahead` has started and that have no arguments yet."""


def call_pipeline(*arguments: str, fine: Sequence[int] = (0,)) -> None:
    """Run `mmpd-cache` in a process of its own. It shows its progress on this terminal. `fine` has the exit codes that are no failure.

    Raises:
        UserError: it did not end well. It has said why.
    """
    arguments = ("--quiet", *arguments) if err.quiet else arguments
    with _waiting.pop() if _waiting else _popen((*PIPELINE, *arguments)) as process:
        try:
            process.communicate(f"{json.dumps(arguments)}\n".encode() if process.stdin else None)
        except BaseException:
            process.kill()
            raise
    if process.returncode not in fine:
        what = next(word for word in arguments if word in ("build", "labels", "query"))
        raise UserError(f"`mmpd-cache {what}` did not succeed (exit code {process.returncode}); the lines above say why")


def _popen(command: Sequence[str], stdin: int | None = None) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(command, stdin=stdin, stdout=sys.stderr.fileno() if _has_file(sys.stderr) else None)


def _has_file(stream: object) -> bool:
    try:
        stream.fileno()  # type: ignore[attr-defined]
    except (OSError, AttributeError, ValueError):
        return False
    return True


def lacking() -> list[str]:
    """Packages of `mmpd[pipeline]` that are not installed."""
    try:
        needed = importlib.metadata.requires("mmpd") or []
    except importlib.metadata.PackageNotFoundError:  # run from a folder, without being installed: then mmpd-cache itself says what lacks
        return []
    names = [re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in needed if re.search(r"""extra *== *['"]pipeline['"]""", line)]
    return [name for name in names if not _installed(name)]


def _installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _check_there(what: Sequence[str]) -> None:
    for one in what:
        if is_remote(one):
            raise UserError(f"{one} is elsewhere: fetch it first, `mmpd-cache pull {one} HERE.zarr --products points`")
        if len(what) > 1 and not Path(one).is_file():
            state = "is a folder" if Path(one).is_dir() else "does not exist"
            raise UserError(f"{one} {state}: give one folder, or one cache, or any number of files of shapes")


def _not_installed(what: Sequence[str], absent: Sequence[str]) -> str:
    return (
        f"{what[0]} is no cache, and reading meshes and folders needs packages that are not installed ({', '.join(absent[:3])}): "
        f"{INSTALL}. Without them, give a cache, or files of points: {' '.join(TABLES)}"
    )


def _source(what: Sequence[str], folder: Path) -> str:
    """What `mmpd-cache build` is given: the folder, list or collection that the user named, or a list of the files."""
    first = Path(what[0])
    if len(what) == 1 and (not first.is_file() or (first.suffix.lower() in LISTS and not _is_table(first))):
        return what[0]
    files = [Path(one).absolute() for one in what]
    common = Path(os.path.commonpath([file.parent for file in files]))
    ids = [file.relative_to(common).as_posix() for file in files]
    if len(set(ids)) < len(ids):
        raise UserError(f"a file is named twice: {next(one for one in ids if ids.count(one) > 1)}")
    chosen = folder / "files.json"
    chosen.write_text(json.dumps(dict(zip(ids, map(str, files), strict=True))))
    return str(chosen)


def _is_table(path: Path) -> bool:
    """Whether a text file begins with a line of numbers: then it is a cloud and not a list."""
    if path.suffix.lower() not in (".txt", ".csv"):
        return False
    with path.open("rb") as file:
        for line in file.read(4096).decode("utf-8-sig", "replace").splitlines():
            cells = re.split(r"[,;\s]+", line.strip())
            if line.strip() and not line.lstrip().startswith(("#", "//", "%")):
                return all(re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", cell) for cell in cells if cell)
    return False


# ------------------------------------------------------------------------------------------- without the pipeline


def clouds(what: Sequence[str], up: str = "auto") -> dict[str, NDArray[np.float32]]:
    """Read files of points by NumPy: for each name of a file its points, [n, 3], or [n, 6] with colours in 0..1; +Y is up.

    This is for machines without the pipeline, which reads many more layouts. A table must have three columns (x, y, z) or six (x, y, z, r,
    g, b). Pickles are never loaded.

    Args:
        what: files, or one folder.
        up: the axis of the files that points up, y or z; `auto` for the usual one of the format.

    Raises:
        UserError: a file is missing, is of another kind, has something else than finite numbers in three or six columns, or has no two
            different points.
    """
    _check_there(what)
    paths = [Path(one) for one in what]
    if len(paths) == 1 and paths[0].is_dir():
        paths = sorted(path for path in paths[0].rglob("*") if path.is_file() and not path.name.startswith("."))
        if not paths:
            raise UserError(f"{what[0]} has no files")
    wrong = [path for path in paths if path.suffix.lower() not in TABLES]
    if wrong or not all(path.is_file() for path in paths):
        named = wrong[0] if wrong else next(path for path in paths if not path.is_file())
        raise UserError(
            f"{named} {'cannot be read' if named.exists() else 'does not exist'}: without the pipeline only files of points are read "
            f"({' '.join(TABLES)}). For meshes and scans: {INSTALL}"
        )
    root = Path(what[0]) if len(what) == 1 and Path(what[0]).is_dir() else Path(os.path.commonpath([p.absolute().parent for p in paths]))
    return {path.absolute().relative_to(root.absolute()).as_posix(): _cloud(path, up) for path in paths}


def _cloud(path: Path, up: str) -> NDArray[np.float32]:
    try:
        values = _numbers(path)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{path} is no table of numbers: {error}") from error
    if values.ndim != 2 or values.shape[1] not in (3, 6) or len(values) < 1:
        raise UserError(f"{path}: expected points [n, 3] (x y z) or [n, 6] (x y z r g b), got {list(values.shape)}; {INSTALL} reads more")
    if not np.isfinite(values).all():
        raise UserError(f"{path} has numbers that are not finite")
    if values.shape[1] == 6:
        most = values[:, 3:].max()
        if values[:, 3:].min() < 0 or most > 255:
            raise UserError(f"{path}: columns 4 to 6 are no colours (they lie outside 0..255), perhaps normals: leave them out")
        if most > 1:
            values = np.concatenate([values[:, :3], values[:, 3:] / 255], 1)
    if (values[:, :3] == values[0, :3]).all():
        raise UserError(f"{path} has no two different points: leave it out")
    if (UP[path.suffix.lower()] if up == "auto" else up) == "z":
        values = np.concatenate([values[:, :1], values[:, 2:3], -values[:, 1:2], values[:, 3:]], 1)
    return values.astype(np.float32)


def _numbers(path: Path) -> NDArray[np.float64]:
    if path.suffix.lower() == ".npy":
        return np.asarray(np.load(path, allow_pickle=False), np.float64)
    if path.suffix.lower() == ".npz":
        with np.load(path, allow_pickle=False) as file:
            if len(file.files) != 1:
                raise UserError(f"{path} has {len(file.files)} arrays, expected one: {some(file.files, 5)}")
            return np.asarray(file[file.files[0]], np.float64)
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    if path.suffix.lower() == ".pts" and lines and lines[0].strip().isdigit():
        lines = lines[1:]  # the number of points
    return np.loadtxt(map(_cells, lines), dtype=np.float64, ndmin=2)


def _cells(line: str) -> str:
    """A line of a table without comment, with blanks between its numbers. Commas separate numbers too; a decimal comma is refused."""
    cells = re.split("#|//|%", line, maxsplit=1)[0].strip().split(",")
    if len(cells) > 1 and any(len(cell.split()) != 1 for cell in cells):
        raise ValueError(f"commas and blanks both separate numbers: {line.strip()[:60]!r}")
    return " ".join(cells)
