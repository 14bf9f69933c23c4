"""When each option of a task is read, and options that nothing would read. `trainer.unread` does the same for a training.

    check("svm", options)                               # before a cache is opened
    check_read("retrieval", options, loaded, cache)     # what depends on the run and the caches
    notes = told("classify", options)                   # what has less effect than one may think

Each option of each task stands in `ALWAYS`, in `CHECKED`, or in rows of `READINGS`. A test compares them with the options that there are,
so a new one has to say when it is read. Tasks of other packages are not checked.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cache_schema.errors import UserError
from cache_schema.store import Cache
from trainer.augment import AugmentOptions
from trainer.checkpoint import Loaded
from trainer.points import specification
from trainer.tasks.protocol import TaskOptions
from trainer.tasks.teachers import contrasted


def _below(prefix: str, *names: str) -> tuple[str, ...]:
    """Names of options of a nested dataclass, as `--set` writes them."""
    return tuple(f"{prefix}.{name}" for name in names)


_AUGMENT: Final = _below("augment", "rotate", "tilt", "scale", "per_axis", "shift", "drop")
_SCHEDULE: Final = ("tune", "epochs", "batch", "lr", "weight_decay", "clip")
_CLASSIFYING: Final = (*_SCHEDULE, *_AUGMENT, "points", "groups", "group_size", "smoothing")
_EFFICIENT: Final = _below(
    "efficient",
    *(
        "lora_rank",
        "adapter_width",
        "prompts",
        "spectral_width",
        "window",
        "basis",
        "laplacian",
        "monarch_blocks",
        "neighbours",
        "strength",
    ),
    *("pointlora_rank", "shared_width", "selected", "selected_large"),
)
_TUNING: Final = (*_EFFICIENT, "freeze", "layer_decay")
_SEGMENTING: Final = (*_SCHEDULE, *_AUGMENT, "scratch", "seeds")
_READ: Final = ("train_split", "test_split", "groups", "group_size", "points")

ALWAYS: Final[Mapping[str, tuple[str, ...]]] = {
    "zeroshot": ("test_split", "labels", "teachers", "head", "average"),
    "svm": ("train_split", "test_split", "pool", "c", "average"),
    "crossval": ("test_split", "folds", "pool", "c", "average", "seed"),
    "knn": ("train_split", "test_split", "pool", "neighbours", "average"),
    "retrieval": ("test_split", "teachers", "repeats"),
    "fewshot": ("ways", "shots", "folds", "stored", "by", "pool"),
    "classify": (*_CLASSIFYING, "train_split", "test_split", "pool", "scratch", "seeds", "peer_protocol"),
    "parts": (*_READ, "published"),
    "zeroshot-parts": ("train_split", "test_split", "labels", "teachers", "points"),
    "scenes": (*_SEGMENTING, *_READ, "balance"),
    "detect": (
        *(*_SCHEDULE, "train_split", "test_split", "scratch", "seeds", "queries", "least_points"),
        *_below("model", "layers", "dim", "heads", "dropout", "head_dropout", "reach", "start", "pre_encoder"),
        *_below("weights", "match_class", "match_centre", "match_overlap", "kind", "centre", "size", "overlap"),
        *_below("augment", "turn", "quarters", "mirror", "scale", "shift"),
    ),
}
"""Options that every call of a task reads."""
CHECKED: Final[Mapping[str, tuple[str, ...]]] = {
    "zeroshot": ("repeats",),
    "svm": ("repeats", "seed"),
    "crossval": ("repeats",),
    "knn": ("repeats",),
    "fewshot": (
        *("train_split", "test_split", "queries", "seed", "c"),
        *_below("training", *_CLASSIFYING, *_TUNING, "dropout", "class_token", "drop_path"),
    ),
    "classify": (*_TUNING, "dropout", "class_token", "drop_path", "votes", "vote_repeats"),
    "parts": (*_SEGMENTING, *_TUNING, "dropout", "peer_protocol", "votes"),
    "scenes": (*_TUNING, "dropout", "scale", "middle"),
    "detect": (
        *(*_TUNING, "groups", "scale", "middle"),
        *_below("model", "bins", "pre_tokens", "pre_radius", "pre_points"),
        *_below("weights", "angle_bin", "angle_rest"),
    ),
}
"""Options of which the dataclasses or the tasks themselves say when they are read, and refuse them otherwise."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Options that are read under one condition."""

    tasks: tuple[str, ...]
    names: tuple[str, ...]
    """Options as `--set` writes them."""
    when: Callable[[Any], bool] | None = None
    """The condition on the options of the task; None if the run and the cache decide."""
    on: Callable[[Any, Loaded, Cache], bool] | None = None
    """The condition on the options, the run, and the cache with the training shapes; None if the options alone decide."""
    otherwise: str
    """The end of the error message: `NAME would have no effect where …`. It may name `{cache}`."""
    noted: bool = False
    """Whether it is told in the result, and not refused, since some effect is left."""


def _moves(augment: AugmentOptions) -> bool:
    """Whether an augmentation changes coordinates at all."""
    return bool(augment.rotate or augment.tilt or augment.scale != (1, 1) or augment.shift)


def _rises(options: Any) -> bool:
    return bool(options.warmup <= options.epochs / 10)


def _reads_text(options: Any, loaded: Loaded, cache: Cache) -> bool:
    return any(teacher.text for teacher in contrasted(loaded.model, options.teachers, text=False))


def _larger(options: Any, loaded: Loaded, cache: Cache) -> bool:
    """Whether a block has more points than the loss of a step looks at."""
    stored, convention = specification(cache), loaded.model.convention
    joined = -(-(options.points or (convention.count if convention else 1)) // stored.count)  # to reach the number of the run
    return bool(options.loss_points < stored.count * (joined if joined <= stored.blocks else 1))  # else a block is given as it is


def _reads_colours(options: Any, loaded: Loaded, cache: Cache) -> bool:
    return loaded.config.encoder.resolved().channels != 3


def _trained_with_colours(options: Any, loaded: Loaded, cache: Cache) -> bool:
    return loaded.model.convention is None or loaded.model.convention.colored is not False


def _has_colours(options: Any, loaded: Loaded, cache: Cache) -> bool:
    return bool((cache.colored() & cache.ok()).any())


_AUGMENTED: Final = ("classify", "parts", "scenes", "fewshot")
_DROP_COLOUR: Final = ("augment.drop_color", "training.augment.drop_color")

READINGS: Final = (
    Reading(
        tasks=("classify",),
        names=("votes", "vote_repeats"),
        when=lambda o: _moves(o.augment) or bool(o.augment.drop or o.augment.drop_color),
        otherwise="augment changes nothing, so that all copies of a shape are the same",
    ),
    Reading(
        tasks=("parts",),
        names=("votes",),
        when=lambda o: _moves(o.augment),
        otherwise="augment moves no points, and drops none of the copies that vote, so that all of them are the same",
    ),
    Reading(
        tasks=("classify", "parts", "scenes", "detect"),
        names=("warmup",),
        when=_rises,
        otherwise="the learning rate rises over a tenth of all epochs at most",
        noted=True,
    ),
    Reading(
        tasks=("fewshot",),
        names=("training.warmup",),
        when=lambda o: _rises(o.training),
        otherwise="the learning rate rises over a tenth of all epochs at most",
        noted=True,
    ),
    Reading(tasks=("detect",), names=("weights.nothing",), when=lambda o: o.weights.kind > 0, otherwise="weights.kind=0"),
    Reading(tasks=("retrieval",), names=("captions",), on=_reads_text, otherwise="none of the teachers reads texts"),
    Reading(tasks=("parts", "scenes"), names=("loss_points",), on=_larger, otherwise="a block of {cache} has no more points than that"),
    Reading(tasks=_AUGMENTED, names=_DROP_COLOUR, on=_reads_colours, otherwise="the encoder of the run reads no colours"),
    Reading(tasks=_AUGMENTED, names=_DROP_COLOUR, on=_trained_with_colours, otherwise="the run was trained without colours and reads none"),
    Reading(tasks=_AUGMENTED, names=_DROP_COLOUR, on=_has_colours, otherwise="no shape of {cache} has colours"),
)
"""Conditions. An option that stands in several rows is read where all of their conditions hold."""


def check(task: str, options: TaskOptions) -> None:
    """Check options before anything is opened.

    Raises:
        UserError: an option differs from its default and would have no effect.
    """
    for row in READINGS:
        if task in row.tasks and row.when is not None and not row.noted and not row.when(options):
            _refuse(row, options, "")


def check_read(task: str, options: TaskOptions, loaded: Loaded, cache: Cache) -> None:
    """Check options by the run and the cache with the training shapes. Raises as `check`."""
    for row in READINGS:
        if task in row.tasks and row.on is not None and _changed(row, options) and not row.on(options, loaded, cache):
            _refuse(row, options, str(cache.path))


def told(task: str, options: TaskOptions) -> list[str]:
    """Notes for the reader of a result on options that have less effect than their numbers say."""
    return [
        f"{name}={_value(options, name):g} is more than was used: {row.otherwise}"
        for row in READINGS
        if task in row.tasks and row.noted and row.when is not None and not row.when(options)
        for name in _changed(row, options)
    ]


def _refuse(row: Reading, options: TaskOptions, cache: str) -> None:
    if names := _changed(row, options):
        raise UserError(f"{' and '.join(names)} would have no effect where {row.otherwise.format(cache=cache)}: leave it out")


def _changed(row: Reading, options: TaskOptions) -> list[str]:
    """Those options of a row that differ from their defaults."""
    usual = type(options)()
    return [name for name in row.names if _value(options, name, None) != _value(usual, name, None)]


def _value(options: Any, name: str, *default: Any) -> Any:
    return functools.reduce(lambda value, part: getattr(value, part, *default), name.split("."), options)
