"""Evaluations during a training: which tasks, when, and at what cost. A training ends with the same bits with them and without.

probes = Probes(config, data, stage, ranks)
if probes.due(step, last=False) and (names := probes.chosen(last=False)):
    results = probes.measure(names, run, say)                          # {"knn accuracy": 80.0, "chance/knn accuracy": 10.0}

Tasks that a user names are evaluated whenever they are due. `auto` adds cheap ones, as long as they take at most `SHARE` of the time that
the training itself took so far.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch

from cache_schema.classes import SOURCE
from cache_schema.errors import UserError
from cache_schema.mirror import MirroredCache
from cache_schema.products import LABELS, parts
from cache_schema.store import Cache
from trainer import checkpoint
from trainer.config import AUTO, AlignConfig, DistillConfig
from trainer.data import Data
from trainer.distributed import Ranks
from trainer.log import CHANCE
from trainer.stage import Stage
from trainer.tasks.protocol import TaskOptions

SHARE: Final = 0.02
"""Largest share of the time of training that tasks chosen by `auto` may take."""
START: Final = 0.5
"""Assumed cost in seconds of the first evaluation by a task, beside its forward passes: reading the checkpoint, importing modules."""
FORWARD: Final = 0.5
"""Assumed time for the features of a shape, as a share of that for a shape of training, until a task has been measured."""
VALIDATION: Final = "val"
"""Split that probes use if the cache has it; else they use `test`."""


class Probes:
    """The evaluations of one training."""

    def __init__(self, config: AlignConfig | DistillConfig, data: Data, stage: Stage, ranks: Ranks) -> None:
        """
        Args:
            config: settings of the run.
            data: its data; the first cache is evaluated.
            stage: the model.
            ranks: the processes of the run. The first one evaluates, and the others wait.
        """
        self.config, self.data, self.stage, self.ranks = config, data, stage, ranks
        self.cache = data.parts[0].cache
        self.named = tuple(name for name in config.probe if name != AUTO)
        self.costs: dict[str, list[float]] = {}
        """Seconds that each task took, each time."""
        self.began, self.steps = time.monotonic(), 0
        self._automatic: dict[str, int] | None = None

    def due(self, step: int, last: bool) -> bool:
        """Whether another `probe_every` epochs are over by this step, or it is the last one."""
        self.steps += 1
        if not self.config.probe:
            return False
        interval, seen = self.config.probe_every * self.data.epoch, step * self.config.optim.batch
        return last or seen // interval > (seen - self.config.optim.batch) // interval

    def chosen(self, last: bool) -> tuple[str, ...]:
        """The tasks to evaluate now: all that are named, and those of `auto` that do not cost too much.

        Each task has its own part of the time, so that a cheap one does not use up what a dearer one waits for. At the last step it may
        also take what others have left.
        """
        if self._automatic is None:
            self._automatic = automatic(self.cache, self.stage) if AUTO in self.config.probe else {}
        trained = time.monotonic() - self.began - sum(map(sum, self.costs.values()))
        shape = trained * self.ranks.count / (self.steps * self.config.optim.batch)  # seconds for one on one rank
        chosen = list(self.named)
        left = SHARE * trained - sum(sum(self.costs.get(name, [])) for name in self._automatic)
        for name, count in self._automatic.items():
            costs = self.costs.get(name, [])
            expected = costs[-1] if costs else START + FORWARD * shape * count
            own = SHARE / len(self._automatic) * trained - sum(costs)
            if name not in chosen and expected <= (left if last else own):
                chosen.append(name)
                left -= expected
        return tuple(chosen)

    def measure(self, names: Sequence[str], run: Path, say: Callable[[str], None]) -> dict[str, float]:
        """Headline results of some tasks, with their quickest options, for the checkpoint just saved; and their chance. They are in percent
        if their names do not tell otherwise (`trainer.log.SCALE`). A failed task only gives a message, and `auto` does not choose it again.
        """
        from trainer.tasks import catalog

        loaded = checkpoint.load(run)
        loaded.model.to(self.ranks.device)
        found: dict[str, float] = {}
        for name in names:
            began = time.monotonic()
            try:
                quickest = self._options(catalog.task(name).SMOKE)
                scores = catalog.evaluate(name, loaded, self.cache, quickest, judged=False).scores  # nobody reads its notes
            except (UserError, torch.OutOfMemoryError) as error:
                say(f"probe {name} at step {loaded.step}: {error}. The training goes on")
                (self._automatic or {}).pop(name, None)
                continue
            finally:
                self.costs.setdefault(name, []).append(time.monotonic() - began)
            if scores.warning and not self.costs[name][1:]:  # once
                say(f"probe {name} on split {scores.test.split!r}: test shapes that may not be new: {scores.warning}")
            for metric in scores.metrics:
                if metric.headline:
                    key = f"{name} {metric.name}" + (f" [{metric.scale}]" if metric.scale else "")  # trainer.log.SCALE reads it
                    found[key] = metric.mean
                    found |= {f"{CHANCE}{key}": metric.chance} if metric.chance is not None else {}
        return found

    def _options(self, quickest: TaskOptions) -> TaskOptions:
        """The options, with the validation split for the test if there is one: test shapes are for the end."""
        if VALIDATION in self.cache.manifest.splits and getattr(quickest, "test_split", "") is None:
            return dataclasses.replace(quickest, test_split=VALIDATION)
        return quickest


def check(names: Sequence[str], cache: Cache) -> None:
    """Check the tasks that a run names, before the training and not after hours of it.

    Raises:
        UserError: a task is unknown, or lacks something of the cache.
    """
    if named := [name for name in names if name != AUTO]:
        from trainer.tasks import catalog

        for name in named:
            if missing := catalog.lacks(name, cache):
                raise UserError(f"probe {name} {missing}. Leave it out by --set probe=, or put a cache first that has it")


def automatic(cache: Cache, stage: Stage) -> dict[str, int]:
    """The tasks that `auto` may choose for a cache and a model, and the number of shapes whose features each needs; the cheapest first.

    They fit nothing: zero-shot classification if the model has a teacher's text space and the cache has class names in it, and nearest
    neighbours if the cache has classes in a training split. There is none for a cache elsewhere, of which they would fetch more files.
    """
    splits = cache.manifest.splits
    tested = next((name for name in (VALIDATION, "test") if name in splits), None)
    if tested is None or len(cache.manifest.classes) < 2 or isinstance(cache, MirroredCache):
        return {}
    split, usable = cache.column("split"), cache.ok() & (cache.column("label") >= 0)
    count = {name: int(np.count_nonzero(usable & (split == splits.index(name)))) for name in splits}
    found: dict[str, int] = {}
    if not count[tested]:
        return found
    met = {teacher.name for teacher in stage.teachers.teachers if teacher.objective == "contrast"} if stage.teachers else set()
    if any(names["teacher"] in met and names["set"] == SOURCE for names in map(parts, cache.of(LABELS))):
        found["zeroshot"] = count[tested]
    if count.get("train"):
        found["knn"] = count[tested] + count["train"]
    return found
