"""The tasks by name: measuring what a trained model is good for, on the splits of a cache.

    result = evaluate("svm", checkpoint.load(run), cache, options("svm", ["c=0.01"]))
    save(result, run)                                                   # RUN/eval/...json and the picture of its confusions

A task is a module beside this one and a line in `TASKS`. It has `Options` (a frozen dataclass, a doc line under each field), `SMOKE` (the
quickest of them) and `run(stage, train_cache, test_cache, options) -> Scores`, with the stage on its device and in evaluation mode.
"""

import dataclasses
import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from cache_schema.settings import override
from cache_schema.spec import did_you_mean, fingerprint, to_json
from cache_schema.store import Cache
from trainer.checkpoint import Header, Loaded
from trainer.config import DistillConfig
from trainer.tasks import picture
from trainer.tasks.result import Result

TASKS: Final = {
    "zeroshot": "trainer.tasks.zeroshot",
    "svm": "trainer.tasks.svm",
    "knn": "trainer.tasks.knn",
    "retrieval": "trainer.tasks.retrieval",
    "fewshot": "trainer.tasks.fewshot",
    "classify": "trainer.tasks.classify",
}
"""Name to module path, imported when chosen."""


def task(name: str) -> Any:
    """The module of a task.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in TASKS:
        raise ValueError(f"no task is called {name!r}{did_you_mean(name, TASKS)}")
    return importlib.import_module(TASKS[name])


def options(name: str, assignments: Sequence[str] = (), *, peer_protocol: bool = False) -> Any:
    """A task's options with `--set` assignments.

    Raises:
        ValueError: no such task or option, a value that does not fit, or a peer protocol where there is none.
    """
    chosen = override(task(name).Options(), assignments)
    if not peer_protocol:
        return chosen
    if not hasattr(chosen, "peer_protocol"):
        raise ValueError(f"task {name} has no peer protocol: nothing in it could be chosen by the test shapes. Leave --peer-protocol out.")
    return dataclasses.replace(chosen, peer_protocol=True)


def evaluate(name: str, loaded: Loaded, cache: Cache, chosen: Any, test_cache: Cache | None = None) -> Result:
    """Measure a run.

    Args:
        name: of the task.
        loaded: the run, its model on the device to use.
        cache: to learn from, and to test on where there is no other.
        chosen: the task's options.
        test_cache: to test on; classes are matched by their names.

    Raises:
        ValueError: the model, a cache or an option does not allow it.
    """
    scores = task(name).run(loaded.model, cache, test_cache or cache, chosen)
    header = loaded.header
    if header.step < header.steps:
        scores = dataclasses.replace(scores, notes=(*scores.notes, f"the run had made {header.step} of {header.steps} steps"))
    peers = getattr(chosen, "peer_protocol", False)
    return Result(
        task=name,
        run=loaded.run.resolve().name,
        setup=_setup(header),
        protocol="last epoch, peer protocol where named" if peers else "last epoch",
        settings=tuple(_flat(to_json(chosen))),
        scores=scores,
    )


def save(result: Result, run: Path) -> list[Path]:
    """Keep a result in the folder of its run, with a picture of its confusions where it has them. Returns the files."""
    files = [result.save(run)]
    if result.scores.confusion:
        files.append(files[0].with_suffix(".png"))
        picture.confusion(result, files[1])
    return files


def _setup(header: Header) -> str:
    """Fingerprint of configuration and data without the seed, and without the guide, which has a seed of its own."""
    config = dataclasses.replace(header.config, seed=0)
    if isinstance(config, DistillConfig):
        config = dataclasses.replace(config, guide="")
    products = tuple(tuple(p for p in used.products if not p[0].startswith("guide/")) for used in header.caches)
    return fingerprint((config, products))


def _flat(settings: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (a.b, JSON of the value)."""
    pairs = []
    for name, value in settings.items():
        pairs += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, json.dumps(value))]
    return pairs
