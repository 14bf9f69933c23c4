"""Read the losses of a run, one step late, so that the CPU does not wait for the device. Stop a run that diverges.

meter = Meter(Watch(3.0, explain), batch=128)
meter.add(step, ("loss", "grad_norm"), values)                      # reads the step before
meter.catch_up()                                                    # reads this one too
{**meter.means(), **meter.speed()}                                  # since `restart`
"""

import dataclasses
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import torch
from torch import Tensor

from cache_schema.errors import UserError
from trainer.options import LOSS, UNBALANCED

SETTLING: Final = 20
"""Number of steps over which the loss is averaged, both at the start and now, to detect divergence."""


class Watch:
    """Checks the values of every step, and stops a run when one is not finite or the loss diverges."""

    def __init__(
        self, limit: float, explain: Callable[[int], str], first: Iterable[float] = (), recent: Iterable[float] = (), watched: str = LOSS
    ) -> None:
        """
        Args:
            limit: stop the run if the loss is more than this many times the loss at the start.
            explain: function that takes the number of a failed step and returns a sentence with the cause or the remedy.
            first, recent: the first and the latest losses of a continued run, from its checkpoint.
            watched: name of the loss that these are.
        """
        self.limit, self.explain, self.watched = limit, explain, watched
        self.first, self.recent = list(first), deque(recent, maxlen=SETTLING)

    def read(self, step: int, names: Sequence[str], values: Tensor) -> dict[str, float]:
        """The values of a step by name.

        Raises:
            UserError: one is not finite, or the loss has grown beyond the limit.
        """
        found = dict(zip(names, values.tolist(), strict=True))
        infinite = [name for name, value in found.items() if not math.isfinite(value)]
        if infinite:
            raise UserError(f"step {step}: {', '.join(infinite)} not finite ({found[infinite[0]]}). {self.explain(step)}")
        name = UNBALANCED if UNBALANCED in found else LOSS
        if name != self.watched:  # a run that was begun when only the balanced sum was known
            self.watched, self.first, self.recent = name, [], deque(maxlen=SETTLING)
        loss = found[name]
        if len(self.first) < SETTLING:
            self.first.append(loss)
        self.recent.append(loss)
        start, now = sum(self.first) / len(self.first), sum(self.recent) / len(self.recent)
        if now > self.limit * start:
            raise UserError(f"step {step}: diverged; the loss was {start:.4g} at the start and is {now:.4g} now. {self.explain(step)}")
        return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unread:
    """The values of a step on their way to the CPU."""

    step: int
    names: Sequence[str]
    values: Tensor
    """In memory of the CPU, which a GPU may still be writing."""
    arrived: torch.cuda.Event | None
    """Recorded after the copy from a GPU; None if the values were on the CPU."""

    @classmethod
    def of(cls, step: int, names: Sequence[str], values: Tensor) -> "Unread":
        """Begin to copy the values. The copy is queued right behind the step that computes them. If it were asked for when the values are
        read, it would be queued behind the next step, and the CPU would wait for that one as well."""
        if not values.is_cuda:
            return cls(step=step, names=names, values=values, arrived=None)
        here = torch.empty(values.shape, dtype=values.dtype, pin_memory=True).copy_(values, non_blocking=True)
        return cls(step=step, names=names, values=here, arrived=torch.cuda.current_stream(values.device).record_event())

    def read(self, watch: Watch) -> dict[str, float]:
        """Wait for the values, and check them. Raises as `Watch.read`."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return watch.read(self.step, self.names, self.values)


class Meter:
    """Losses and speed of the steps since the last record."""

    def __init__(self, watch: Watch, batch: int) -> None:
        """
        Args:
            watch: checks the values of every step.
            batch: shapes in a step.
        """
        self.watch, self.batch = watch, batch
        self._unread: Unread | None = None
        self.restart()

    def restart(self) -> None:
        """Begin a new interval now."""
        self._steps: list[dict[str, float]] = []
        self._waited, self._began = 0.0, time.perf_counter()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time spent inside as waiting for data."""
        began = time.perf_counter()
        yield
        self._waited += time.perf_counter() - began

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time spent inside out of the speed: it is no training."""
        began = time.perf_counter()
        yield
        self._began += time.perf_counter() - began

    def add(self, step: int, names: Sequence[str], values: Tensor) -> None:
        """Store the values of a step, which the device may still be computing, and read those of the step before.

        Raises:
            UserError: as `Watch.read`.
        """
        unread = Unread.of(step, names, values)
        self.catch_up()
        self._unread = unread

    def catch_up(self) -> None:
        """Read the values of the last step if they are unread. This waits until the device has computed them.

        Raises:
            UserError: as `Watch.read`.
        """
        if self._unread is not None:
            unread, self._unread = self._unread, None
            self._steps.append(unread.read(self.watch))

    def means(self) -> dict[str, float]:
        """Mean of each value over the steps of the interval."""
        return {name: sum(step[name] for step in self._steps) / len(self._steps) for name in self._steps[0]}

    def speed(self) -> dict[str, float]:
        """Shapes in a second, and the share of the time spent waiting for data."""
        elapsed = time.perf_counter() - self._began
        return {"samples_per_s": len(self._steps) * self.batch / elapsed, "data_wait": self._waited / elapsed}
