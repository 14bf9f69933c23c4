"""The tasks by name: measuring what a trained model is good for, on the splits of a cache.

    result = evaluate("svm", checkpoint.load(run), cache, options("svm", ["c=0.01"]))
    save(result, run)                                                   # RUN/eval/...json and the picture of its confusions

`trainer.tasks.protocol` says what a task is and how one is added.
"""

import dataclasses
import importlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, cast

from cache_schema.errors import UserError
from cache_schema.settings import override
from cache_schema.spec import did_you_mean, to_json
from cache_schema.store import Cache
from trainer import checkpoint
from trainer.checkpoint import Loaded, setup
from trainer.tasks import picture
from trainer.tasks.protocol import TASKS as TASKS
from trainer.tasks.protocol import TOLD, Task, TaskOptions
from trainer.tasks.result import Result

PLAIN: Final = str.maketrans("", "", '"[] ')
"""Characters of JSON that `--set` does without: `[0.5, 1]` is `0.5,1` there."""


def task(name: str) -> Task:
    """The module of a task.

    Raises:
        UserError: there is none of that name.
    """
    if name not in TASKS:
        raise UserError(f"no task is called {name!r}{did_you_mean(name, TASKS)}")
    return cast(Task, importlib.import_module(TASKS[name]))


def lacks(name: str, cache: Cache) -> str:
    """What a cache lacks for the quickest form of a task, in words; empty if nothing.

    Raises:
        UserError: there is no such task.
    """
    quickest = task(name).SMOKE
    splits = cache.manifest.splits
    learned = getattr(quickest, "train_split", None)
    if learned is not None and learned not in splits:
        return f"learns from a split {learned!r}, which {cache.path} does not have"
    if not {"test", "val"} & set(splits):
        return f"tests on a split 'test' or 'val', and {cache.path} has neither"
    return ""


def options(name: str, assignments: Sequence[str] = (), *, peer_protocol: bool = False) -> TaskOptions:
    """A task's options with `--set` assignments.

    Raises:
        UserError: no such task or option, a value that does not fit, or a peer protocol where there is none.
    """
    default = task(name).Options()
    if not peer_protocol:
        return override(default, assignments)
    if not hasattr(default, "peer_protocol"):
        raise UserError(f"task {name} has no peer protocol: nothing in it could be chosen by the test shapes. Leave --peer-protocol out.")
    return override(default, [*assignments, "peer_protocol=true"])


def evaluate(name: str, loaded: Loaded, cache: Cache, chosen: TaskOptions, test_cache: Cache | None = None) -> Result:
    """Measure a run.

    Args:
        name: of the task.
        loaded: the run, its model on the device to use.
        cache: to learn from, and to test on where there is no other.
        chosen: the task's options.
        test_cache: to test on; classes are matched by their names.

    Raises:
        UserError: the model, a cache or an option does not allow it.
    """
    module, header = task(name), loaded.header
    loaded.model.convention = checkpoint.trained_on(header, (test_cache or cache, cache))
    known = loaded.model.convention is not None
    unknown = "" if known else "the run does not say how many points a shape had in training, how they were normalised and how coloured"
    if unknown and header.source:
        unknown += ": import it again, which records it"
    scores = module.run(loaded.model, cache, test_cache or cache, chosen)
    settings, usual, titled = _flat(to_json(chosen)), _flat(to_json(module.Options())), set(_told(chosen))
    unusual = [f"{key}={value.translate(PLAIN)}" for key, value in settings if (key, value) not in usual and key not in titled]
    scores = dataclasses.replace(
        scores,
        variant=" ".join(filter(None, (scores.variant, *unusual))),
        notes=tuple(filter(None, (*scores.notes, unknown, header.unfinished))),
    )
    peers = getattr(chosen, "peer_protocol", False)
    return Result(
        task=name,
        run=loaded.run.resolve().name,
        setup=setup(header),
        trial=setup(header, seeds=True),
        weights=loaded.weights,
        protocol="last epoch, peer protocol where named" if peers else "last epoch",
        settings=tuple(settings),
        scores=scores,
    )


def save(result: Result, run: Path) -> list[Path]:
    """Keep a result in the folder of its run, with a picture of its confusions where it has them. Returns the files."""
    files = [result.save(run)]
    if result.scores.confusion:
        files.append(files[0].with_suffix(".png"))
        picture.confusion(result, files[1])
    return files


def _told(options: TaskOptions, prefix: str = "") -> Iterator[str]:
    """Names, as `training.tune`, of the options that a title tells in words."""
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from _told(value, f"{prefix}{field.name}.")
        elif TOLD in field.metadata:
            yield prefix + field.name


def _flat(settings: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (a.b, JSON of the value)."""
    pairs = []
    for name, value in settings.items():
        pairs += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, json.dumps(value))]
    return pairs
