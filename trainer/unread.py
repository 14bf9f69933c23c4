"""When each setting of a training is read, and the settings of a new run that nothing would read.

    check_new(base, config)                             # before any data is opened
    check_read(["data.templates"], config, data)        # what depends on the caches

Each setting stands in one of these lists: in `ALWAYS`, in `CHECKED`, or in rows of `READINGS`. A test compares them with the settings
that there are, so a new one has to say when it is read. The settings of an encoder are those that its file reads.

A run of an earlier version may have settings that are refused here: it is still read and continued. A training without steps
(`optim.epochs=0`) may have all settings of the training that it is compared with.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cache_schema.errors import UserError
from trainer.config import AlignConfig, DistillConfig
from trainer.encoders import catalog

if TYPE_CHECKING:
    from trainer.data import Data

Config = AlignConfig | DistillConfig

ALWAYS: Final = (
    *("stage", "start", "seed", "precision", "compile", "recompute", "distributed", "diverged", "log_every", "save_every", "probe"),
    *("encoder.name", "encoder.options", "log.trackers"),
    *("data.splits", "data.classes", "data.fraction", "data.passes", "data.blocks", "data.resample", "data.threads", "data.resident"),
    *("data.verify", "data.mirror"),
    *("augment.rotate", "augment.tilt", "augment.scale", "augment.per_axis", "augment.shift", "augment.drop"),
    *("optim.batch", "optim.accumulate", "optim.epochs", "optim.lr", "optim.lr_end", "optim.cosine", "optim.warmup", "optim.betas"),
    *("optim.weight_decay", "optim.clip", "optim.ema", "optim.freeze"),
    *("distill.mask_ratio", "distill.local_weight", "distill.global_weight", "distill.projected_weight", "distill.teacher_weight"),
    "distill.reconstruction_weight",
)
"""Settings that every training reads whose stage has them."""
CHECKED: Final = (
    *("compile_mode", "optim.layer_decay", "data.hard_kinds", "distill.tokens", "distill.standardise_targets"),
    *("align.queries", "align.local_weight", "align.reconstruction_weight", "align.reconstruction_depth", "align.balance"),
)
"""Settings of which the dataclasses themselves say when they are read, and refuse them otherwise, also in runs of before."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Settings that are read under one condition. A setting that stands in several rows is read where all of their conditions hold."""

    names: tuple[str, ...]
    """Settings as `--set` writes them."""
    when: Callable[[Config], bool]
    """The condition."""
    otherwise: str
    """The end of the error message: `NAME would have no effect where …`."""


def _masks(config: Config) -> bool:
    return isinstance(config, DistillConfig)


def _asks_teachers(config: Config) -> bool:
    """Whether losses on the teachers' own embeddings are computed."""
    return not isinstance(config, DistillConfig) or config.distill.teacher_weight > 0


def _reconstructs(config: Config) -> bool:
    losses = config.distill if isinstance(config, DistillConfig) else config.align
    return losses.reconstruction_weight > 0


def _decodes_by_heads(config: Config) -> bool:
    """Whether a decoder of coordinates is made that has attention."""
    return _reconstructs(config) and not getattr(catalog.family(config.encoder.name), HEADLESS, False)


def _of_stage_2(condition: Callable[[DistillConfig], bool]) -> Callable[[Config], bool]:
    """A condition on the settings of stage 2, which alone has the settings in question."""
    return lambda config: not isinstance(config, DistillConfig) or condition(config)


HEADLESS: Final = "HEADLESS"
"""Name of a constant of an encoder's module: whether its own decoder of coordinates has no attention, and reads no number of heads."""

READINGS: Final = (
    Reading(names=("probe_every",), when=lambda c: bool(c.probe), otherwise="probe is empty"),
    Reading(names=("log.project",), when=lambda c: bool(c.log.trackers), otherwise="log.trackers is empty"),
    Reading(names=("data.mirror_limit",), when=lambda c: bool(c.data.mirror), otherwise="data.mirror is empty"),
    Reading(names=("augment.drop_color",), when=lambda c: c.encoder.resolved().channels != 3, otherwise="encoder.channels=3"),
    # ---- teachers and their texts
    Reading(
        names=(
            *("objective", "align.positives", "align.teacher_drop", "data.teachers", "data.teacher_weights", "data.captions"),
            *("data.caption_weights", "data.caption_kinds", "data.hard", "data.templates", "data.labels", "data.views", "data.negatives"),
        ),
        when=_asks_teachers,
        otherwise="distill.teacher_weight=0",
    ),
    Reading(
        names=("align.positives", "data.negatives"),
        when=lambda c: c.objective != "regress",
        otherwise="objective=regress, which has no wrong answers",
    ),
    Reading(names=("data.labels",), when=lambda c: c.data.templates > 0, otherwise="data.templates=0"),
    Reading(names=("align.teacher_drop",), when=lambda c: len(c.data.teachers) != 1, otherwise="data.teachers names one teacher"),
    Reading(names=("data.caption_weights",), when=lambda c: len(c.data.captions) != 1, otherwise="data.captions names one captioner"),
    # ---- stage 1
    Reading(names=("align.pool",), when=lambda c: not _masks(c), otherwise="the stage is 2"),
    Reading(names=("align.heads",), when=lambda c: not _masks(c), otherwise="the stage is 2, which reads distill.heads"),
    Reading(
        names=("align.heads",),
        when=lambda c: c.align.pool == "attention" or _decodes_by_heads(c),
        otherwise="align.pool=max, without another attention of stage 1",
    ),
    Reading(
        names=("data.dense",),
        when=lambda c: c.distill.predicts == "dense" if isinstance(c, DistillConfig) else c.align.local_weight > 0,
        otherwise="no loss uses patch features (align.local_weight in stage 1, distill.tokens=dense in stage 2)",
    ),
    # ---- stage 2
    Reading(
        names=("distill.shuffle", "distill.masked_only", "distill.local_depth"),
        when=_of_stage_2(lambda c: c.distill.local_weight > 0),
        otherwise="distill.local_weight=0",
    ),
    Reading(
        names=("distill.drop_path",),
        when=_of_stage_2(lambda c: c.distill.local_weight > 0 or _reconstructs(c)),
        otherwise="distill.local_weight=0 and distill.reconstruction_weight=0",
    ),
    Reading(
        names=("distill.normalise_targets",),
        when=_of_stage_2(lambda c: c.distill.predicts == "guide" or c.distill.global_weight > 0),
        otherwise="no loss is on the guide's tokens or summary",
    ),
    Reading(names=("distill.global_depth",), when=_of_stage_2(lambda c: c.distill.summarises), otherwise="no loss is on a summary"),
    Reading(names=("distill.reconstruction_depth",), when=_of_stage_2(_reconstructs), otherwise="distill.reconstruction_weight=0"),
    Reading(
        names=("distill.heads",),
        when=_of_stage_2(lambda c: c.distill.local_weight > 0 or c.distill.summarises or _decodes_by_heads(c)),
        otherwise="the only decoder is that of coordinates, which has no attention with this encoder",
    ),
    Reading(
        names=("align.projection",),
        when=_of_stage_2(lambda c: c.distill.teacher_weight + c.distill.projected_weight > 0),
        otherwise="distill.teacher_weight=0 and distill.projected_weight=0",
    ),
    Reading(names=("guide", "guide_online"), when=_of_stage_2(lambda c: c.needs_guide), otherwise="no loss is on a guide's features"),
    Reading(names=("guide",), when=_of_stage_2(lambda c: not c.guide_online), otherwise="guide_online=true"),
)
"""Conditions that a configuration tells."""


def idle(config: Config) -> dict[str, str]:
    """Settings that nothing reads in a configuration: their names, as `--set` writes them, and what makes them useless."""
    found: dict[str, str] = {}
    for row in READINGS:
        if not row.when(config):
            found = dict.fromkeys(row.names, row.otherwise) | found
    return found


def check_new(base: Config, config: Config) -> None:
    """Check the settings of a new run.

    Args:
        base: the configuration before the user changed it. What is idle there already is not the user's doing.
        config: the configuration after it.

    Raises:
        UserError: a changed setting would have no effect; the learning rate would rise to its end; or a probe is named twice.
    """
    for name, why in idle(config).items():
        if _value(base, name) != _value(config, name):
            raise UserError(f"{name} would have no effect where {why}: leave it out")
    if config.optim.epochs and config.optim.lr_end > config.optim.lr:
        raise UserError(
            f"optim.lr_end must be at most optim.lr, since the rate falls to it: got optim.lr_end={config.optim.lr_end:g} and "
            f"optim.lr={config.optim.lr:g}. Set optim.lr_end, too"
        )
    if twice := sorted({name for name in config.probe if config.probe.count(name) > 1}):
        raise UserError(f"probe names {twice[0]} twice: name it once")


def check_read(asked: Sequence[str], config: Config, data: "Data") -> None:
    """Check that the caches of a new run have what the settings that a user gave are about.

    Args:
        asked: names of these settings, as `--set` writes them.
        config: the configuration.
        data: the data that the run reads.

    Raises:
        UserError: one of them differs from its default and would have no effect.
    """
    for name, why in _idle_on(config, data):
        if name in asked and _value(config, name) != _default(config, name):
            raise UserError(f"{name} would have no effect where {why}: leave it out")


def _idle_on(config: Config, data: "Data") -> Iterator[tuple[str, str]]:
    """The settings that nothing reads on these data, although the configuration would have them read, and what makes them useless."""
    if config.data.splits and not any(part.cache.manifest.splits for part in data.parts):  # without names it is true of any cache
        yield "data.splits", "no cache has splits"
    if not data.convention.colored:
        yield "augment.drop_color", "no shape has colours"
    if not data.needs.teachers:
        return
    if len(data.teachers) == 1:
        yield "align.teacher_drop", "there is one teacher"
    if not any(teacher.text for teacher in data.teachers.values()):
        for name in ("data.templates", "data.labels", "data.caption_weights"):
            yield name, "no teacher reads texts"
        if config.objective == "by_teacher":
            for name in ("align.positives", "data.negatives"):
                yield name, "no teacher reads texts, so that each is regressed (objective=by_teacher)"
    elif config.data.templates > 0 and not any((part.own_class >= 0).any() for part in data.parts):
        for name in ("data.templates", "data.labels"):
            yield name, "no shape has a class"


def _value(config: Any, name: str) -> Any:
    return functools.reduce(getattr, name.split("."), config)


def _default(config: Any, name: str) -> Any:
    """The default of a setting, which its dataclass has as an attribute."""
    *parents, last = name.split(".")
    return getattr(type(functools.reduce(getattr, parents, config)), last)
