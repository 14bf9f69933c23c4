"""The interface of a task, and the tasks by name.

To add a task, add a module to this package and a line to `TASKS`. The module follows `Task`: it has `Options`, a frozen dataclass with a
docstring under each field; `SMOKE`, the options of its quickest form; and `run`.

    @dataclass(frozen=True, kw_only=True)
    class Options:
        test_split: str | None = told(None)                             # the title of a result already has the split
        depth: int = 3                                                  # a title includes `depth=4`

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
    "crossval": "trainer.tasks.crossval",
    "knn": "trainer.tasks.knn",
    "retrieval": "trainer.tasks.retrieval",
    "fewshot": "trainer.tasks.fewshot",
    "classify": "trainer.tasks.classify",
    "parts": "trainer.tasks.parts",
    "zeroshot-parts": "trainer.tasks.zeroshot_parts",
    "scenes": "trainer.tasks.scenes",
    "detect": "trainer.tasks.detect",
}
"""Name to module path. A module is imported when its task is chosen."""

TOLD: Final = "told in the title"
"""Key in the metadata of the fields that `told` creates."""

T = TypeVar("T")


def told(default: T) -> T:
    """Declare a field of a task's options whose value is already in the title of a result: in the variant, or as the name of the split.

    Every other option is added to the title as `name=value` if it differs from its default.
    """
    field: T = dataclasses.field(default=default, metadata={TOLD: True})
    return field


class TaskOptions(Protocol):
    """Options of a task: a frozen dataclass. Two field names have a meaning outside the task.

    `train_split`: the split that the task learns from. A training does not probe the task if its cache lacks this split.
    `peer_protocol`: whether to report also numbers that were chosen on the test shapes, as many papers do. `--peer-protocol` sets it.
    """

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


class Task(Protocol):
    """The module of a task. It may also have these:

    `NEEDS`: the names of products (`boxes`) and arrays (`points/part`) that a cache must have for it. A training then refuses to probe the
    task on a cache without them.
    `PROBES`: True if it reads the encoder as it was trained. A note then says if its features are worse than those of random weights.
    `KEEPS`: True if its scores have a classifier that `--keep` can keep.
    `RESUMES`: True if its trainings take long, and go on after a stop (`trainer.tasks.unfinished`). `finetune.epochs` makes them, always in
    the same order.
    """

    @property
    def Options(self) -> Callable[[], TaskOptions]:
        """The class of its options."""

    @property
    def SMOKE(self) -> TaskOptions:
        """Options of its quickest form, used by probes and tests."""

    @property
    def run(self) -> "Callable[[Stage, Cache, Cache, Any], Scores]":
        """Measure a model. Arguments: the model, on its device and in evaluation mode; the cache with the training shapes; the cache with
        the test shapes; the options.
        """
