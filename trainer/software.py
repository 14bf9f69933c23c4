"""Which software computes: versions of packages, and a digest of our own code. A state that goes on later says with which it was begun.

made_by = software()                                # (("code", "1f0a..."), ("mmpd", "1.0"), ("torch", "2.13.0"))
note = changed(before, made_by, "the first 40 steps")
"""

import functools
import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

import torch

PACKAGES: Final = ("cache_schema", "trainer")
"""Our packages whose code decides a training."""
ENDINGS: Final = (".c", ".py")
"""Endings of files with code."""

Software = tuple[tuple[str, str], ...]
"""Names and versions, sorted by name."""


@functools.cache
def software() -> Software:
    """The software of this process. It is read once, since a process goes on with the code that it began with."""
    return (("code", _code(Path(__file__).resolve().parents[1])), ("mmpd", version("mmpd")), ("torch", torch.__version__))


def _code(root: Path) -> str:
    """Digest of the files with our code below a folder: 12 hex digits. A version does not tell what somebody has changed."""
    out = hashlib.sha256()
    for file in sorted(file for package in PACKAGES for file in (root / package).rglob("*") if file.suffix in ENDINGS):
        data = file.read_bytes()
        out.update(f"{file.relative_to(root).as_posix()} {len(data)} ".encode())
        out.update(data)
    return out.hexdigest()[:12]


def changed(before: Sequence[Sequence[str]], now: Software, what: str) -> str:
    """A note if something was begun with other software; empty if it was the same.

    Args:
        before: the software that it was begun with; empty if that is not recorded.
        now: the software of this process.
        what: what was made before, such as `the first 40 steps`.
    """
    if not before:
        return f"an earlier version of mmpd made {what}, and did not record its code: the rest may be made by another code"
    there = {one[0]: one[1] for one in before}
    other = [f"{name} {there.get(name, 'unknown')}, now {value}" for name, value in now if there.get(name) != value]
    return f"other software made {what}: {'; '.join(other)}" if other else ""
