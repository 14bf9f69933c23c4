"""Label sets that travel with a run: label files in its folder, `RUN/labels/SET@TEACHER.safetensors`.

    added = add(loaded, Path("out.zarr"), "modelnet40")                 # copies of a cache's label set, one for each teacher
    known = sets(run)                                                   # {"modelnet40": ("clip-vit-b32",)}
    file = read(run, "modelnet40", "clip-vit-b32")

`cache_schema.label_files` describes the files. A run takes only label sets that its own teachers have embedded.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np

from cache_schema import label_files
from cache_schema.errors import UserError
from cache_schema.label_files import LabelFile
from cache_schema.products import LABELS, parts
from cache_schema.spec import TeacherSpec, did_you_mean
from cache_schema.store import Cache, open_cache
from trainer.align import Teacher
from trainer.checkpoint import Loaded
from trainer.tasks.teachers import contrasted, same_specification

FOLDER: Final = "labels"
"""Name of the folder with the label files, in the folder of the run."""
AT: Final = "@"
"""Character between the name of a label set and that of its teacher."""


def path(run: Path, name: str, teacher: str) -> Path:
    """The file of a label set embedded by a teacher, whether or not it exists."""
    return run / FOLDER / f"{name}{AT}{teacher}{label_files.SUFFIX}"


def sets(run: Path) -> dict[str, tuple[str, ...]]:
    """The names of the label sets of a run, and the teachers that embedded each."""
    found: dict[str, list[str]] = {}
    for file in sorted((run / FOLDER).glob(f"*{AT}*{label_files.SUFFIX}")):
        name, _, teacher = file.name.removesuffix(label_files.SUFFIX).partition(AT)
        if not name.startswith("."):
            found.setdefault(name, []).append(teacher)
    return {name: tuple(teachers) for name, teachers in found.items()}


def read(run: Path, name: str, teacher: str) -> LabelFile:
    """A label set of a run.

    Raises:
        UserError: the run does not have it, or its file is damaged or is another one than its name says.
    """
    file = path(run, name, teacher)
    found = label_files.read(file)
    if (found.labels.name, found.teacher.name) != (name, teacher):
        raise UserError(f"{file} holds {found.labels.name!r} of {found.teacher.name}: give it the name that it had")
    return found


def add(loaded: Loaded, source: Path, name: str = "") -> list[LabelFile]:
    """Copy label sets into the folder of a run. One that is there is replaced.

    Args:
        loaded: the run.
        source: a cache, or a label file.
        name: the label set; empty for all that the cache has, or for that of the file.

    Returns:
        What was copied, one for each label set and teacher.

    Raises:
        UserError: there is no such label set of the run's teachers.
    """
    teachers = {teacher.name: teacher for teacher in contrasted(loaded.model, (), text=True)}
    found = [label_files.read(source)] if source.is_file() else list(_stored(open_cache(source), teachers, name))
    for file in found:
        if name and file.labels.name != name:
            raise UserError(f"{source} holds the label set {file.labels.name!r}, not {name!r}")
        if file.teacher.name not in teachers:
            raise UserError(f"{source} was embedded by {file.teacher.name}, but {loaded.run} learned from {', '.join(teachers)}")
        same_specification(teachers[file.teacher.name], file.teacher, f"{source}: label set {file.labels.name}")
    for file in found:
        label_files.write(path(loaded.run, file.labels.name, file.teacher.name), file)
    return found


def _stored(cache: Cache, teachers: Mapping[str, Teacher], name: str) -> Iterator[LabelFile]:
    """The label sets of a cache that some teachers have embedded: one of them, or all if `name` is empty."""
    records = [record for record in cache.of(LABELS) if parts(record)["teacher"] in teachers]
    known = dict.fromkeys(parts(record)["set"] for record in records)
    if not known or (name and name not in known):
        what = f"label set {name!r}" if name else "label set"
        raise UserError(
            f"{cache.path} has no {what} embedded by {' or '.join(teachers)}{did_you_mean(name, known)}; `mmpd-cache labels {cache.path} "
            f"{name or 'SET'}` makes one"
        )
    for record in records:
        if name in ("", parts(record)["set"]):
            spec, labels = cache.proven(record.product).spec, record.labels
            assert isinstance(spec, TeacherSpec) and labels is not None
            embeddings = np.asarray(cache.column(record.product), np.float16)
            yield LabelFile(labels=labels, teacher=spec, embeddings=embeddings, made_by=record.made_by)
