"""The file in which `mmpd-cache query` hands the embedding of a text or a picture to `mmpd-train search`.

    write(path, Query(teacher=spec, text="a wooden chair"), embedding)
    query, embedding = read(path)                       # [E] float32

It is a safetensors file with the tensor `embedding` and, as JSON in its header, what was embedded and by which teacher.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from cache_schema.errors import UserError
from cache_schema.files import write_file
from cache_schema.spec import TeacherSpec, from_json, to_json

METADATA: Final = "mmpd.query"
"""Key of our metadata in the header of the file."""
TENSOR: Final = "embedding"


@dataclass(frozen=True, kw_only=True)
class Query:
    """What was embedded."""

    teacher: TeacherSpec
    text: str = ""
    """The text, as the teacher was given it; empty for a picture."""
    picture: str = ""
    """Name of the file of the picture, without its folder; empty for a text."""
    notes: tuple[str, ...] = ()
    """What a reader of the result should know, such as a part of the picture that the teacher did not see."""


def write(path: Path, query: Query, embedding: NDArray[Any]) -> None:
    """Write a query and its embedding [E]."""
    tensors = {TENSOR: np.ascontiguousarray(embedding, np.float32)}
    write_file(path, safetensors.numpy.save(tensors, {METADATA: json.dumps(to_json(query), sort_keys=True)}))


def read(path: Path) -> tuple[Query, NDArray[np.float32]]:
    """Read a query and its embedding, [E] float32.

    Raises:
        UserError: the file is no such file, or damaged.
    """
    try:
        with safe_open(path, "np") as file:
            query = from_json(Query, json.loads((file.metadata() or {})[METADATA]), str(path))
            embedding: NDArray[np.float32] = file.get_tensor(TENSOR)
    except (SafetensorError, KeyError, OSError, json.JSONDecodeError) as error:
        raise UserError(f"{path} is no file of `mmpd-cache query`: {error}") from error
    if embedding.shape != (query.teacher.dim,) or not np.isfinite(embedding).all():
        raise UserError(f"{path}: expected {query.teacher.dim} finite numbers, got {list(embedding.shape)}")
    return query, embedding
