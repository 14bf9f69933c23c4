"""What a task is, and the tasks by name.

A new task is a module beside this one and a line in `TASKS`. The module has what `Task` says: `Options`, a frozen dataclass with a doc
line under each field; `SMOKE`, the quickest of them; and `run`.

    @dataclass(frozen=True, kw_only=True)
    class Options:
        test_split: str | None = told(None)                             # the title of a result has the split anyway
        depth: int = 3                                                  # `depth=4` becomes part of the title

This module is light to import: `mmpd-train eval --help` lists the tasks.
"""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, TypeVar

if TYPE_CHECKING:
    from cache_schema.store import Cache
    from trainer.stage import Stage
    from trainer.tasks.result import Scores

TASKS: Final = {
    "zeroshot": "trainer.tasks.zeroshot",
    "svm": "trainer.tasks.svm",
    "knn": "trainer.tasks.knn",
    "retrieval": "trainer.tasks.retrieval",
    "fewshot": "trainer.tasks.fewshot",
    "classify": "trainer.tasks.classify",
}
"""Name to module path. A module is imported when its task is chosen."""

TOLD: Final = "told in the title"
"""Key in the metadata of a field that `told` made."""

T = TypeVar("T")


def told(default: T) -> T:
    """A field of a task's options whose value the title of a result tells in words: by the task's variant, or by the name of the split.

    Every other option is added to the title as `name=value` where it differs from its default.
    """
    field: T = dataclasses.field(default=default, metadata={TOLD: True})
    return field


class TaskOptions(Protocol):
    """Options of a task: a frozen dataclass. Two names have a meaning beyond the task.

    `train_split`: the task learns from that split of a cache, and is not probed where the cache lacks it.
    `peer_protocol`: the task can report numbers chosen by the test shapes, as peers do; `--peer-protocol` sets it.
    """

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


class Task(Protocol):
    """The module of a task."""

    @property
    def Options(self) -> Callable[[], TaskOptions]:
        """The class of its options."""

    @property
    def SMOKE(self) -> TaskOptions:
        """Options of its quickest form, by which probes and tests run it."""

    @property
    def run(self) -> "Callable[[Stage, Cache, Cache, Any], Scores]":
        """Measure a model.

        Called with the model, on its device and in evaluation mode; the cache to learn from; the cache to test on; and the options.
        """
