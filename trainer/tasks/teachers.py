"""Embeddings of shapes in the spaces of a model's teachers, which also embed pictures and sentences.

    teachers = contrasted(stage, ("clip",), text=True)
    embedded = embeddings(stage, Body.for_teachers(stage), shapes, block=0)["text/clip"]      # [n, E], of unit length

Letters: n shapes, E a teacher's width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from cache_schema.errors import UserError
from cache_schema.spec import TeacherSpec, did_you_mean, fingerprint
from cache_schema.store import Cache
from trainer.align import PatchTeacher, Teacher
from trainer.stage import Stage
from trainer.tasks.features import Body, extract
from trainer.tasks.shapes import Shapes


def contrasted(stage: Stage, names: Sequence[str], *, text: bool) -> tuple[Teacher, ...]:
    """The teachers with which a model was aligned by contrast. Only their embeddings can be compared with the model's by cosine.

    Args:
        stage: the model.
        names: names of teachers to return; empty for all.
        text: whether to return only teachers with a text side.

    Raises:
        UserError: the model has no such teacher, or not one of those named.
    """
    if stage.teachers is None:
        raise UserError(
            "this model has no heads into the spaces of teachers. Evaluate the run of its guide, or train with projected_weight above 0."
        )
    known = {t.name: t for t in stage.teachers.teachers if t.objective == "contrast" and (t.text or not text)}
    for name in names:
        if name not in known:
            raise UserError(f"this model was not aligned {'with texts' if text else 'by contrast'} of {name!r}{did_you_mean(name, known)}")
    if not known:
        had = ", ".join(t.name for t in stage.teachers.teachers)
        raise UserError(f"this model was aligned {'with texts' if text else 'by contrast'} of no teacher, only with {had}")
    return tuple(known[name] for name in names) or tuple(known.values())


@torch.no_grad()
def embeddings(stage: Stage, body: Body, shapes: Shapes, block: int) -> dict[str, Tensor]:
    """Embeddings of one block of every shape in every teacher's space, [n, E] float32 on the CPU, by target (`trainer.batch.target`).

    `body` is `Body.for_teachers`."""
    assert stage.teachers is not None
    summaries = extract(body, shapes, block).to(next(stage.parameters()).device)
    return {product: embedding.cpu() for product, embedding in stage.teachers.embed(summaries).items()}


def same_teacher(teacher: Teacher | PatchTeacher, cache: Cache, product: str) -> None:
    """Check that a product comes from the teacher that the model learned from. Passes if the model's file does not name its teacher.

    Raises:
        UserError: the product is missing, has changed since it was finished, or comes from another teacher.
    """
    spec = cache.proven(product).spec
    assert isinstance(spec, TeacherSpec)
    same_specification(teacher, spec, f"{cache.path}: {product}")


def same_specification(teacher: Teacher | PatchTeacher, spec: TeacherSpec, what: str) -> None:
    """Check that embeddings come from the teacher that the model learned from. Passes if the model's file does not name its teacher.

    Args:
        teacher: the model's teacher.
        spec: the teacher that made the embeddings.
        what: name of the embeddings in the error.

    Raises:
        UserError: they come from another teacher.
    """
    if teacher.fingerprint not in ("", fingerprint(spec)):
        raise UserError(
            f"{what} comes from another teacher than the {teacher.name!r} this model learned from, from {spec.model} "
            f"(weights {spec.weights[:12]}, {spec.precision}); use what was made with the same one"
        )
