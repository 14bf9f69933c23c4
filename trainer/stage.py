"""Build the module to train from a configuration.

stage = build(config, Facts(teachers=..., guide_dim=...), statistics)
"""

from dataclasses import dataclass

import torch

from cache_schema.errors import UserError
from cache_schema.spec import DenseSpec, TeacherSpec, added, fingerprint
from trainer.align import Align, PatchTeacher, Teacher, TeacherLosses
from trainer.batch import Statistics, targets
from trainer.config import AlignConfig, DistillConfig, StageConfig
from trainer.distill import Distill
from trainer.encoders import catalog
from trainer.encoders.protocol import Encoder, EncoderSettings, OwnDecoder
from trainer.part import DataConfig

Stage = Align | Distill


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Facts that decide the shapes of a model's weights, in addition to its configuration."""

    teachers: tuple[Teacher, ...] = ()
    """Teachers that the model has heads for."""
    guide_dim: int = 0
    """Width of the guide's features; 0 for none."""
    patches: tuple[PatchTeacher, ...] = added(())
    """Teachers whose patch features are targets of tokens."""


def build(config: StageConfig, facts: Facts, statistics: Statistics | None = None, encoder: EncoderSettings | None = None) -> Stage:
    """A new model. Its weights come from torch's global generator.

    Args:
        config: the configuration of either stage.
        facts: the teachers and the width of the guide.
        statistics: mean and variance of the embeddings that are regressed; None if weights are loaded afterwards, since they hold both.
        encoder: the encoder's own configuration, if it was stored; None for the one that `config` names.

    Raises:
        UserError: the parts do not fit together.
    """
    made = catalog.build(config.encoder.name, **vars(encoder or config.encoder.resolved()))
    _check_heads(config, made)
    if statistics is None:
        dims = {name: t.dim for t in facts.teachers for name in targets(t.name, t.text).values()}
        statistics = {name: (torch.zeros(dim), torch.ones(dim)) for name, dim in dims.items()}
    if isinstance(config, AlignConfig):
        return Align(made, facts.teachers, config.align, statistics, facts.patches)
    assert isinstance(config, DistillConfig)
    heads = None
    if facts.teachers:
        heads = TeacherLosses(facts.guide_dim or made.dim, facts.teachers, config.align, statistics)
    return Distill(made, config.distill, facts.guide_dim or None, heads, facts.patches)


def _check_heads(config: StageConfig, encoder: Encoder) -> None:
    """Check that the heads of pooling and decoders divide the width of the encoder.

    Raises:
        UserError: they do not. The message says which number does.
    """
    used = {}
    if isinstance(config, AlignConfig):
        decoded = config.align.reconstruction_weight and not isinstance(encoder, OwnDecoder)
        if config.align.pool == "attention" or decoded:
            used["align.heads"] = config.align.heads
    if isinstance(config, DistillConfig):
        predicted = config.distill.local_weight or config.distill.summarises
        if predicted or (config.distill.reconstruction_weight and not isinstance(encoder, OwnDecoder)):
            used["distill.heads"] = config.distill.heads
    for setting, heads in used.items():
        width = encoder.dim
        if width % heads:  # a head of a Vision Transformer has 64 channels
            fitting = width // 64 if width % 64 == 0 else max(n for n in range(1, heads + 1) if width % n == 0)
            raise UserError(f"{setting}={heads} does not divide the width {width} of {config.encoder.name}: --set {setting}={fitting}")


def patch_teachers(specs: dict[str, DenseSpec]) -> tuple[PatchTeacher, ...]:
    """The teachers of tokens in the form that the losses need, from the specifications of their products."""
    return tuple(
        PatchTeacher(name=name, dim=spec.dim, text=spec.teacher.text, fingerprint=fingerprint(spec.teacher)) for name, spec in specs.items()
    )


def teachers(specs: dict[str, TeacherSpec], data: DataConfig, objective: str) -> tuple[Teacher, ...]:
    """The teachers in the form that the losses need, from their specifications and the run's configuration."""
    weights = dict(zip(data.teachers, data.teacher_weights, strict=False))
    return tuple(
        Teacher(
            name=name,
            dim=spec.dim,
            text=spec.text,
            objective=("contrast" if spec.text else "regress") if objective == "by_teacher" else objective,  # type: ignore[arg-type]
            weight=weights.get(name),
            fingerprint=fingerprint(spec),
            imported=spec.model if spec.imported else "",
        )
        for name, spec in specs.items()
    )
