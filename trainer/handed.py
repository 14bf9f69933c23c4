"""What a run at a place says about itself: our part of its `config.json`, read from strangers and written by `trainer.handing`.

handed = read(data, "hf://user/name/config.json")   # checked: every name is that of a file that a push writes
said = stated(run, weights)                         # who is under which licence, as whoever pushed the run says
"""

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cache_schema.errors import UserError
from cache_schema.names import path_name
from cache_schema.remote import CARD
from cache_schema.spec import added, from_json
from cache_schema.terminal import printable
from trainer import classifiers, folder, labels
from trainer.checkpoint import SHARED, Header
from trainer.tasks import result

KEY: Final = "mmpd"
"""Key of our part of `config.json`."""
FORMAT: Final = 1
"""Version of that part. A reader refuses any other."""
CURVES: Final = "curves.png"
"""Picture of the losses in the folder of a run."""
FOLDERS: Final = {result.FOLDER: ".json", labels.FOLDER: ".safetensors", classifiers.FOLDER: classifiers.SUFFIX}
"""Folders of a run that travel, and the end of the names of the files in them that do."""
TRAINING: Final = "training.safetensors"
"""Name of the whole checkpoint at the place, with the state of the optimiser, if that goes along."""
SAYS: Final = " (as whoever pushed the run says)"
"""End of the description of a holder of a licence that was not read from a cache here."""
_RESULT: Final = re.compile(r"[^\W_][\w.-]{0,249}")
"""Name of the file of a result without its end, as `Result.file` makes it: letters may be of any language."""


@dataclass(frozen=True, kw_only=True)
class File:
    """A file of a run at a place."""

    name: str
    """Its place in the folder."""
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Handed:
    """Our part of `config.json`: what a run at a place is."""

    format: int = FORMAT
    header: Header
    digest: str
    """Digest of the weights (`checkpoint.Loaded.weights`)."""
    trial: str
    """Fingerprint of the experiment with its seeds, by which a later push of the same run is recognised."""
    files: tuple[File, ...]
    """All other files."""
    holders: tuple[tuple[str, tuple[str, ...]], ...] = added(())
    """(licence, who is under it) when the run was pushed; an empty licence stands for unknown. None in older files."""


def read(data: bytes, where: str) -> Handed:
    """Our part of the bytes of a `config.json`. Everything in it may come from a stranger.

    Args:
        data: the bytes.
        where: the place of the file, for errors.

    Raises:
        UserError: it is damaged, of another version, or not of this software; or it lists a file that no push writes.
    """
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is damaged: {error}") from error
    said = body.get(KEY) if isinstance(body, dict) else None
    if not isinstance(said, dict):
        raise UserError(f"{where} describes no run of this project: no {KEY!r} in it")
    if said.get("format") != FORMAT:
        raise UserError(f"{where} has format {json.dumps(said.get('format'))[:40]}, this software reads {FORMAT}; use a newer mmpd")
    try:
        handed: Handed = from_json(Handed, said, where)
    except ValueError as error:
        raise UserError(f"{where}: {error}. It is damaged, or was written by another version of mmpd") from error
    names = [file.name for file in handed.files]
    for name in names:
        check_name(name, where)
    if SHARED not in names:
        raise UserError(f"{where} lists no {SHARED}: it is damaged")
    return handed


def check_name(name: str, where: str) -> None:
    """Check that a file of a run can travel under its name.

    Args:
        name: its place in the folder of the run, such as `labels/modelnet40@clip.safetensors`.
        where: what lists it, for errors.

    Raises:
        UserError: a push writes no such file, or the name leads out of a folder.
    """
    if name in (SHARED, TRAINING, CARD, CURVES):
        return
    parent, _, file = name.partition("/")
    end = FOLDERS.get(parent, "")
    if not end or not file.endswith(end):
        raise UserError(f"{where} lists {name[:100]!r}, which is no file of a run")
    stem = file.removesuffix(end)
    if parent == result.FOLDER:
        if not _RESULT.fullmatch(stem) or ".." in stem:
            raise UserError(f"{where}: {name[:100]!r} cannot be the name of a result: it has other characters than letters, digits, . _ -")
        return
    if parent == labels.FOLDER and labels.AT not in stem:
        raise UserError(f"{where} lists {name[:100]!r}, which is no label set: its name is not SET{labels.AT}TEACHER{end}")
    for part in stem.split(labels.AT, 1) if parent == labels.FOLDER else [stem]:
        path_name(part, f"{where}: file {name[:100]!r}")


def of(run: Path, weights: str) -> Handed | None:
    """Our part of the `config.json` in a folder. None if it has none, as a run that was trained here, or if it is about other weights.

    Args:
        run: the folder.
        weights: digest of its weights.
    """
    file = run / folder.CONFIG
    with suppress(UserError, OSError):
        found = read(file.read_bytes(), str(file))
        return found if found.digest == weights else None
    return None


def stated(run: Path, weights: str) -> Mapping[str, tuple[str, ...]]:
    """Who is under which licence, as the `config.json` says that came along with a run. Each ends in `SAYS`. Empty if it says nothing.

    Arguments as in `of`.
    """
    found = of(run, weights)
    said = found.holders if found else ()
    return {printable(name): tuple(printable(one).removesuffix(SAYS) + SAYS for one in who) for name, who in said if who}


def unchanged(run: Path, weights: str, name: str) -> bool:
    """Whether a file of a run, by its place in the folder, is one that came along with it."""
    found = of(run, weights)
    listed = {file.name: file.sha256 for file in found.files} if found else {}
    return name in listed and sha256(run / name) == listed[name]


def sha256(path: Path) -> str:
    """The sha256 of a file in hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
