"""Write files so that they are complete or absent, change several together, and lock a cache for one writer at a time.

Two files lie beside a cache `NAME.zarr`. Writers lock `NAME.zarr.journal` and so take turns. While one of them is at work,
`NAME.zarr.lock` holds its token. `NAME.zarr.change` is there while several files are changed together; see `write_together`.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TextIO

from cache_schema.errors import UserError

NOT_REGULAR = "no regular file but a pipe or a device"
"""Message for what is found in the place of a file."""
MENDS = "`mmpd-cache verify --repair` mends it"
READ = 1 << 20
"""Bytes that are asked for where one call did not read a whole file."""
ORDER = "order.json"
"""File in the folder of a change that lists what is to be done. While it is not there, nothing is decided."""


class MissingFile(UserError):
    """A file of a cache is not there."""


def write_file(path: Path, data: bytes, within: Path | None = None) -> None:
    """Write a file so that it is complete or absent, even after a power cut.

    Args:
        path: the file.
        data: its whole contents.
        within: the cache that the file belongs to. A symbolic link between the cache and the file is refused, because the data would land
            somewhere else.

    Raises:
        OSError: the disk is full or not writable; `filename` and the message name the file. Nothing is left behind.
        UserError: a symbolic link is on the way, a folder is in the place of the file, or a file in the place of a folder.
    """
    with staged([(path, data)], within) as place:
        place()


@contextlib.contextmanager
def staged(files: Sequence[tuple[Path, bytes]], within: Path | None = None) -> Iterator[Callable[[], None]]:
    """Write files beside their places, to put all of them in place in one short moment. Each is then complete or absent.

    Args:
        files: (place, whole contents) of each file.
        within: see `write_file`.

    Yields:
        A function that puts the files in place, in their order. What was not put in place is removed at the end.

    Raises:
        OSError, UserError: see `write_file`. The function raises them, too.
    """
    temporary = [path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp") for path, _ in files]

    def place() -> None:
        for (path, _), beside in zip(files, temporary, strict=True):
            with _named(path):
                if within is not None:
                    refuse_links(path, within)
                os.replace(beside, path)
                _sync(path.parent)

    try:
        for (path, data), beside in zip(files, temporary, strict=True):
            if within is not None:
                refuse_links(path, within)
            with _named(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                # O_EXCL: a link that somebody put there under this name is not followed.
                with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
        yield place
    finally:
        for beside in temporary:
            with contextlib.suppress(OSError):  # it is in its place, or its folder was never made
                beside.unlink()


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Let the errors of writing a file name it, and say what is in its place."""
    try:
        yield
    except (IsADirectoryError, NotADirectoryError, FileExistsError) as error:
        wrong = path if isinstance(error, IsADirectoryError) else next((p for p in path.parents if p.exists() and not p.is_dir()), path)
        what = "a folder where a file belongs" if wrong == path else "a file where a folder belongs"
        raise UserError(f"{wrong} is {what}. Move it away and run the command again") from error
    except OSError as error:
        error.filename, error.filename2 = str(path), None  # a write that fails does not say which file it was
        raise


def refuse_links(path: Path, within: Path) -> None:
    """Refuse a place in a cache that symbolic links lead out of. Call this before you write, replace or delete anything there.

    Args:
        path: the place. It may be a link itself, because the link is then replaced or deleted.
        within: the cache.

    Raises:
        UserError: a folder between the cache and the place is a symbolic link.
    """
    for parent in path.relative_to(within).parents:
        if parent.name and (within / parent).is_symlink():
            raise UserError(
                f"{within / parent} is a symbolic link to {os.readlink(within / parent)}, and nothing is written through links inside "
                "a cache. Put the folder itself in its place"
            )


def open_regular(path: str | os.PathLike[str], flags: int = os.O_RDONLY) -> int:
    """Open a regular file and return its descriptor. It never waits for a named pipe or a device. Use it as `opener` of `open`.

    Raises:
        OSError: the file cannot be opened or is not a regular file. For a folder it is an IsADirectoryError.
    """
    return _opened(path, flags)[0]


def _opened(path: str | os.PathLike[str], flags: int = os.O_RDONLY) -> tuple[int, int]:
    """Do what `open_regular` does. Returns the descriptor and the size of the file in bytes."""
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    found = os.fstat(descriptor)
    mode = found.st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise OSError(errno.EINVAL, NOT_REGULAR, str(path))
    return descriptor, found.st_size


def regular_bytes(path: str | os.PathLike[str]) -> bytes:
    """Read all bytes of a regular file. Raises the errors of `open_regular`."""
    # By calls of the system alone: a million shapes are tens of thousands of small files, and `open` takes as long as they do to read.
    file, size = _opened(path)
    try:
        data = os.read(file, size + 1)
        if len(data) == size:
            return data
        parts = [data]
        while more := os.read(file, READ):  # one call reads 2 GiB at most, and a file may grow
            parts.append(more)
        return b"".join(parts)
    finally:
        os.close(file)


def read_file(path: Path) -> bytes:
    """Read all bytes of a file of a cache.

    Raises:
        UserError: it is missing, or is a folder, a named pipe or a device.
        OSError: it cannot be read.
    """
    try:
        return regular_bytes(path)
    except FileNotFoundError:
        raise MissingFile(f"{path} is missing; {MENDS}") from None
    except (IsADirectoryError, NotADirectoryError) as error:
        raise UserError(f"{path} is not a file ({error.strerror}); move what is in its place away, then {MENDS}") from error
    except OSError as error:
        if error.strerror != NOT_REGULAR and error.errno != errno.ENXIO:  # the latter is what opening a socket says
            raise
        raise UserError(f"{path} is {NOT_REGULAR}; move what is in its place away, then {MENDS}") from error


@contextlib.contextmanager
def exclusive(path: str | os.PathLike[str], wait: Callable[[], None] | None = None, *, temporary: bool = False) -> Iterator[TextIO]:
    """Hold a cache for writing, and remove what a killed writer left behind. Other writers wait. The hold ends with the process.

    Args:
        path: the cache. The lock is on `<path>.journal` beside it. Builds note their timings there, because the cache itself must not
            differ from run to run.
        wait: called once if another process holds the cache.
        temporary: whether the journal is deleted at the end if the cache is not there any more.

    Yields:
        The journal, open for appending lines.

    Raises:
        UserError: no file can be made in this place, such as /proc; or a link, a folder or a named pipe is in the place of one of the
            files beside the cache.
    """
    path = Path(path).resolve()  # one lock, by whatever name the cache is reached
    with made_in(path.parent, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = _locked(path, wait)
    with opened as journal:
        with _open_beside(_lock_file(path), "a") as lock:
            token = secrets.token_hex(16)
            _say_holder(lock, token, wait)
            _holds[path] = token
            for leftover in leftovers(path):
                leftover.unlink(missing_ok=True)
            _finish_change(path)
            try:
                yield journal
            finally:
                del _holds[path]
                if _said(_lock_file(path))[:1] == [token]:  # else a file server has lost our lock, and another holds the cache now
                    _say_holder(lock, "")
                    _lock_file(path).unlink(missing_ok=True)
                    if temporary and not path.exists():
                        journal_file(path).unlink(missing_ok=True)


def _locked(path: Path, wait: Callable[[], None] | None) -> TextIO:
    """Open the journal of a cache and lock it. If another process deletes it while we wait for the lock, the next one is locked."""
    while True:
        journal = _open_beside(journal_file(path), "a+")
        try:
            try:
                fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise
                if wait is not None:
                    wait()
                    wait = None
                fcntl.flock(journal, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(journal.fileno()), os.stat(journal_file(path))):
                    return journal
        except BaseException:
            journal.close()
            raise
        journal.close()


@contextlib.contextmanager
def made_in(folder: Path, path: Path) -> Iterator[None]:
    """Say clearly that nothing can be made in a folder such as /proc, which holds only what the system puts there.

    Args:
        folder: the folder.
        path: what is being made there.
    """
    try:
        yield
    except FileNotFoundError as error:  # what such file systems say
        raise UserError(f"{path} cannot be made: {folder} takes no new files. Give a place you may write to") from error


def write_together(path: Path, files: Sequence[tuple[str, bytes]], gone: Sequence[str] = ()) -> None:
    """Change several files of a cache so that, even after a kill, either none is changed or all are. Call it under `exclusive`.

    The new files are first written beside the cache. Then a list of them is written: from now on the change is decided. Then the files are
    moved to their places in the given order. If that is interrupted, the next writer moves the others before it does anything else.

    Args:
        path: the cache.
        files: (place in the cache, contents). A place may occur several times; it is changed each time.
        gone: places of folders in the cache that are removed afterwards, in this order. Each disappears at once, with all that is in it.

    Raises:
        OSError: the disk is full or not writable. Nothing was changed.
        UserError: see `write_file`.
    """
    path = path.resolve()
    folder = _change_folder(path)
    _finish_change(path)
    folder.mkdir()
    for number, (_, data) in enumerate(files):
        write_file(folder / str(number), data)
    steps = [[key, hashlib.sha256(data).hexdigest()] for key, data in files] + [[key, ""] for key in gone]
    write_file(folder / ORDER, json.dumps(steps).encode())
    _finish_change(path)


def _finish_change(path: Path) -> None:
    """Finish a change of several files that is decided, or forget one that is not."""
    folder = _change_folder(path)
    if folder.is_symlink() or not folder.is_dir():
        return
    if (folder / ORDER).is_file():
        for number, (key, digest) in enumerate(_steps(folder / ORDER)):
            new = folder / str(number)
            refuse_links(path / key, path)
            if not digest:  # it is to be removed
                if (path / key).is_dir() and not (path / key).is_symlink():
                    os.replace(path / key, new)
                continue
            if not new.exists():
                continue  # it is in its place already
            if hashlib.sha256(regular_bytes(new)).hexdigest() != digest:
                raise UserError(f"{new} is damaged, and with it a change of {path} that was stopped; restore both from a copy")
            (path / key).parent.mkdir(parents=True, exist_ok=True)
            os.replace(new, path / key)
            _sync((path / key).parent)
        (folder / ORDER).unlink()
    foreign = [name for name in sorted(os.listdir(folder)) if not name.isdecimal() and not (name[0] == "." and name.endswith(".tmp"))]
    if foreign:
        raise UserError(f"{folder} is where changes of {path.name} are prepared, and holds {foreign[0]!r}: move it away")
    shutil.rmtree(folder)


def _steps(order: Path) -> list[tuple[str, str]]:
    """Read the list of a change: (place in the cache, sha256 of the new file, or nothing for a folder that is removed).

    Raises:
        UserError: it is damaged, or a place is outside the cache.
    """
    try:
        said = json.loads(regular_bytes(order))
        steps = [(PurePosixPath(key), str(digest)) for key, digest in said]
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{order} is damaged; remove the folder that it is in and run the command again") from error
    if any(key.is_absolute() or ".." in key.parts or not key.parts for key, _ in steps):
        raise UserError(f"{order} names a file outside the cache: another program wrote it; remove the folder that it is in")
    return [(key.as_posix(), digest) for key, digest in steps]


def _change_folder(path: Path) -> Path:
    return path.with_name(path.name + ".change")


def _sync(folder: Path) -> None:
    """Wait until the names of the files in a folder are on the disk."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def place_file(source: Path, path: Path, within: Path) -> None:
    """Put a file of another folder into a cache, without copying its bytes where the file system allows that. The other file stays.

    Args:
        source: a regular file.
        path: its new place, which may hold an older file.
        within: the cache.

    Raises:
        OSError, UserError: see `write_file`.
    """
    refuse_links(path, within)
    if path.is_file() and os.path.samefile(source, path):
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.link.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary, follow_symlinks=False)
        os.replace(temporary, path)
    except OSError:  # another file system, or one without links
        write_file(path, regular_bytes(source), within)
    else:
        _sync(path.parent)


def _open_beside(path: Path, mode: str) -> TextIO:
    """Open a file beside a cache for writing. A symbolic link in its place is refused, because it could lead to any other file."""
    try:
        return open(path, mode, encoding="utf-8", opener=lambda name, flags: open_regular(name, flags | os.O_NOFOLLOW))  # type: ignore[return-value]
    except OSError as error:
        if path.is_symlink():
            what = f"a symbolic link to {os.readlink(path)}"
        elif path.is_dir():
            what = "a folder"
        elif error.strerror == NOT_REGULAR or error.errno == errno.ENXIO:
            what = NOT_REGULAR
        else:
            raise
        raise UserError(f"{path} is {what}, where a file of the cache belongs. Remove it and run the command again") from error


def journal_file(path: Path) -> Path:
    """Return the path of the journal beside a cache."""
    return path.with_name(path.name + ".journal")


def leftovers(path: Path) -> Iterator[Path]:
    """Yield the temporary files that a stopped writer left in a cache."""
    # By hand, and not by `os.walk`: a million shapes are tens of thousands of folders, and this takes two thirds of the time.
    folders = [os.fspath(path)]
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif entry.name.startswith(".") and entry.name.endswith(".tmp") and not entry.is_dir():
                    yield Path(entry.path)


def is_held(path: Path) -> bool:
    """Whether a process is writing to a cache now."""
    try:
        journal = open(journal_file(path.resolve()), "rb", opener=open_regular)
    except OSError:
        return False
    with journal:
        try:
            fcntl.flock(journal, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def held_token(path: str | os.PathLike[str]) -> str:
    """Return the token of the present holder of a cache, for `open_cache`; empty if nobody holds it. Each hold has a token of its own."""
    return "".join(_said(_lock_file(Path(path).resolve()))[:1])


def claim(path: Path, token: str, part: str) -> str:
    """Claim a part of a cache, such as a shard, for the holder's task that makes it. Earlier claims of the same part end.

    A scheduler gives a task to another worker when it takes the first one for dead. That one may only be slow, or cut off. So each task
    claims its part when it begins, and after that nothing of an earlier task for this part is written.

    Args:
        path: the cache.
        token: token of the hold.
        part: name of the part, without blanks.

    Returns:
        A token for `open_cache` that is good until this hold ends, or another task claims the part.

    Raises:
        UserError: the hold with this token has ended.
    """
    claimed = f"{part}:{secrets.token_hex(8)}"
    with _checked(path, token) as lock:
        assert lock is not None, "a claim is made for a holder"
        lock.write(f"{claimed}\n")
        lock.flush()
    return f"{token} {claimed}"


def claims(path: Path) -> Counter[str]:
    """Count how often each part of a cache was claimed for its present holder."""
    return Counter(line.partition(":")[0] for line in _said(_lock_file(path))[1:])


@contextlib.contextmanager
def still_held(path: Path, token: str) -> Iterator[None]:
    """Write on behalf of the holder of a cache. Until the writing is done nobody else writes, and nobody can take the cache over.

    This is for a dask worker, which goes on with its task after its client was killed, or after its part was given to another worker. When
    it writes, another build or worker may be at work. So keep everything that takes long outside, and put files in their places inside.

    Args:
        path: the cache.
        token: token of the hold, or what `claim` returned. Empty for the holder itself. Its hold is checked, too, because a file
            server that was cut off may have given the lock to another.

    Raises:
        UserError: the hold with this token has ended, or the part was claimed by another task.
    """
    with _checked(path, token):
        yield


@contextlib.contextmanager
def _checked(path: Path, token: str) -> Iterator[TextIO | None]:
    """Do `still_held`. Yields the lock file, open and locked, for more claims; None if there is no hold to check."""
    hold, _, claimed = (token or _holds.get(path, "")).partition(" ")
    if not hold:
        yield None
        return
    taken = UserError(f"{path}: another build has taken over; this one writes nothing any more")
    try:
        lock: TextIO = open(_lock_file(path), "r+", encoding="ascii", errors="replace", opener=open_regular)
    except FileNotFoundError:
        raise taken from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = lock.read().splitlines()
        if said[:1] != [hold]:
            raise taken
        part = claimed.partition(":")[0]
        if claimed and claimed != next((line for line in reversed(said[1:]) if line.partition(":")[0] == part), ""):
            raise UserError(f"{path}: {part} was given to another worker; this one writes nothing of it any more")
        yield lock


_holds: dict[Path, str] = {}
"""Tokens of the caches that this process holds."""


def _said(lock: Path) -> list[str]:
    """Read the lines of a lock file: the token of the holder, and the claims of its tasks. None of them if nobody holds the cache."""
    try:
        return regular_bytes(lock).decode("ascii", errors="replace").splitlines()
    except FileNotFoundError:
        return []


def _lock_file(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _say_holder(lock: TextIO, token: str, wait: Callable[[], None] | None = None) -> None:
    """Write the token of a holder into the lock file. Waits until files that are being put in place are there; then `wait` is called."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if wait is not None:
            wait()
        fcntl.flock(lock, fcntl.LOCK_EX)
    lock.truncate(0)  # in place: those who wait for this file are to read what is in it now
    lock.write(token and f"{token}\n")
    lock.flush()
    fcntl.flock(lock, fcntl.LOCK_UN)
