"""Folders that nobody may write to, not even root, whom permission bits do not stop: an audit hook of Python refuses every writing call."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_closed: list[Path] = []
_WRITING = {
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.symlink",
    "os.link",
    "os.truncate",
    "os.chmod",
    "os.utime",
    "shutil.rmtree",
}


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if not _closed:
        return
    writes = event in _WRITING
    if event == "open" and isinstance(arguments[2], int):
        writes = bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))
    if writes:
        for place in arguments[:2] if event == "os.rename" else arguments[:1]:
            if isinstance(place, str | os.PathLike) and any(Path(os.path.abspath(place)).is_relative_to(folder) for folder in _closed):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(place))


_installed: list[bool] = []


@contextlib.contextmanager
def read_only(*folders: Path) -> Iterator[None]:
    """Make folders and all that is in them read-only for this process, as a read-only file system does."""
    if not _installed:
        sys.addaudithook(_watch)
        _installed.append(True)
    access = os.access

    def asked(path, mode, **options):
        inside = any(Path(os.path.abspath(path)).is_relative_to(folder) for folder in _closed)
        return access(path, mode, **options) and not (mode & os.W_OK and inside)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "access", asked)
        _closed.extend(folder.resolve() for folder in folders)
        try:
            yield
        finally:
            _closed.clear()
