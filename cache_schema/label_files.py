"""Label files: class names embedded by one teacher, in one safetensors file without a cache. Zero-shot classification compares shapes with
them.

    write(Path("mine.safetensors"), LabelFile(labels=labels, teacher=spec, embeddings=values, made_by=versions))
    file = read(Path("mine.safetensors"))                # file.labels.classes, file.embeddings [C, M, E]

The file has one tensor, `embeddings` [C, M, E] float16. Its header holds JSON under the key `mmpd`: the label set, the teacher with its
fingerprint, and the packages that computed the embeddings.

Letters: C classes, M templates, E width of the teacher's embeddings.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError
from cache_schema.files import write_file
from cache_schema.names import path_name
from cache_schema.spec import LabelSet, TeacherSpec, fingerprint, from_json, to_json
from cache_schema.terminal import some

FORMAT: Final = 1
"""Version of the form of the file. A reader refuses any other."""
SUFFIX: Final = ".safetensors"
"""Ending of the name of a label file."""
_METADATA: Final = "mmpd"
"""Key of our JSON in the safetensors header."""
_KIND: Final = "labels"
"""What the header says that the file is. It tells a label file from other safetensors files of this project."""
_TENSOR: Final = "embeddings"
"""Name of the only tensor."""


_HOW: Final = "`mmpd-cache labels --names A,B --teacher NAME OUT.safetensors` makes one"
"""Advice in errors."""


@dataclass(frozen=True, kw_only=True)
class LabelFile:
    """The contents of a label file."""

    labels: LabelSet
    teacher: TeacherSpec
    """The teacher that embedded the sentences."""
    embeddings: NDArray[np.float16]
    """[C, M, E]: embedding of each class in each sentence, as the teacher gives it."""
    made_by: tuple[tuple[str, str], ...] = ()
    """(name, version) of the packages that computed the embeddings."""


def write(path: Path, file: LabelFile) -> None:
    """Write a label file, whole or not at all. A file that is there is replaced.

    Raises:
        UserError: the embeddings have another shape than the label set and the teacher say, or are not finite.
    """
    import safetensors.numpy  # here, so that commands that need none of it start without it

    _check_embeddings(path, file.labels, file.teacher, file.embeddings)
    body = {
        "kind": _KIND,
        "format": FORMAT,
        "labels": to_json(file.labels),
        "teacher": to_json(file.teacher),
        "fingerprint": fingerprint(file.teacher),
        "made_by": to_json(file.made_by),
    }
    tensors = {_TENSOR: np.ascontiguousarray(file.embeddings)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, safetensors.numpy.save(tensors, {_METADATA: json.dumps(body, sort_keys=True)}))


def read(path: Path) -> LabelFile:
    """Read a label file that anybody may have written.

    Raises:
        UserError: there is no such file, it is damaged or no label file, or its parts do not fit together. The message says which.
    """
    body, embeddings = _parts(path)
    if body.get("kind") != _KIND:
        raise UserError(f"{path} is no label file: its header says {str(body.get('kind', 'nothing'))[:40]!r}; {_HOW}")
    if isinstance(body.get("format"), bool) or body.get("format") != FORMAT:
        raise UserError(
            f"{path} has format {str(body.get('format'))[:40]}, this software reads {FORMAT}; use the version of mmpd that wrote it"
        )
    missing = [key for key in ("labels", "teacher", "fingerprint") if key not in body]
    if missing:
        raise UserError(f"{path}: its header has no {missing[0]!r}; {_HOW}")
    labels: LabelSet = from_json(LabelSet, body["labels"], f"{path}: labels")
    teacher: TeacherSpec = from_json(TeacherSpec, body["teacher"], f"{path}: teacher")
    made_by: tuple[tuple[str, str], ...] = from_json(tuple[tuple[str, str], ...], body.get("made_by", []), f"{path}: made_by")
    path_name(labels.name, f"{path}: label set")
    path_name(teacher.name, f"{path}: teacher")
    if body["fingerprint"] != fingerprint(teacher):
        raise UserError(f"{path}: the teacher in its header does not have the fingerprint that stands beside it; {_HOW}")
    if len(set(labels.classes)) < len(labels.classes) or not all(name.strip() for name in labels.classes):
        raise UserError(f"{path}: a class name is empty or comes twice; {_HOW}")
    _check_embeddings(path, labels, teacher, embeddings)
    return LabelFile(labels=labels, teacher=teacher, embeddings=embeddings, made_by=made_by)


def _parts(path: Path) -> tuple[Mapping[str, Any], NDArray[Any]]:
    """The JSON in the header of a file, and its tensor. Raises UserError where the file has another form."""
    import safetensors

    if not path.is_file():
        raise UserError(f"there is no label file {path}; {_HOW}")
    try:
        with safetensors.safe_open(path, "np") as opened:
            text, names = (opened.metadata() or {}).get(_METADATA), list(opened.keys())
            embeddings = opened.get_tensor(_TENSOR) if _TENSOR in names else None
    except (safetensors.SafetensorError, TypeError, ValueError) as error:  # the latter two: a type that NumPy does not have
        raise UserError(f"{path} is no label file, or is damaged ({error}); {_HOW}") from error
    if text is None or embeddings is None:
        raise UserError(f"{path} is no label file: it has no {'header of ours' if text is None else f'tensor {_TENSOR!r}'}; {_HOW}")
    if names != [_TENSOR]:
        raise UserError(f"{path}: expected one tensor, {_TENSOR!r}, got {some(sorted(names), 4)}; {_HOW}")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: its header is no JSON ({error}); {_HOW}") from error
    if not isinstance(body, dict):
        raise UserError(f"{path}: expected an object of JSON in its header, got {type(body).__name__}; {_HOW}")
    return body, embeddings


def _check_embeddings(path: Path, labels: LabelSet, teacher: TeacherSpec, embeddings: NDArray[Any]) -> None:
    wanted = len(labels.classes), len(labels.templates), teacher.dim
    if not teacher.text:
        raise UserError(f"{path}: the teacher {teacher.name} reads no text, so it cannot have embedded class names")
    if embeddings.shape != wanted or embeddings.dtype != np.float16:
        raise UserError(
            f"{path}: expected embeddings {list(wanted)} float16 ({wanted[0]} classes, {wanted[1]} templates, {wanted[2]} wide), got "
            f"{list(embeddings.shape)} {embeddings.dtype}"
        )
    if not np.isfinite(embeddings).all():
        raise UserError(f"{path}: {int((~np.isfinite(embeddings)).sum()):,} of its numbers are not finite (NaN or infinity)")
    if not embeddings.any(axis=-1).all():
        raise UserError(f"{path}: the embedding of a sentence is all zeros, which has no direction to compare with")
