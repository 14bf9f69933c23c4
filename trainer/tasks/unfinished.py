"""Fine-tunings that go on after a stop, with the same result as if nobody had stopped them.

    with keeping(run, "classify", identity):               # around all of an evaluation, and the saving of its result
        ...                                                # finetune.epochs asks for `training()` and saves after epochs

The state of a training lies beside the results of its run until the evaluation has ended: weights, optimiser, random generators and the
number of finished epochs, in a safetensors file that is written whole or not at all. Its name has a fingerprint of everything that the
training depends on, so a state is only taken by the very same evaluation. Only our own code may be another: then the result says so, as
that of a training that goes on by `--resume`.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from cache_schema.files import write_file
from cache_schema.spec import fingerprint
from cache_schema.terminal import counted
from trainer import optim
from trainer.checkpoint import assign, named
from trainer.software import changed, software
from trainer.tasks.result import FOLDER
from trainer.terminal import say

EVERY: Final = 120.0
"""Least number of seconds between two writings of a state. A short training writes none before its end."""
STALE: Final = 14 * 24 * 3600.0
"""Age in seconds at which a state is deleted that nobody went on with."""
BEGINNING: Final = "unfinished-"
"""Beginning of the names of the files."""
FACTS: Final = "mmpd"
WEIGHTS: Final = "weights."
OPTIMIZER: Final = "optimizer."
CHANCE: Final = "chance."
"""Beginning of the names of the states of torch's generators."""


@dataclass(kw_only=True)
class Training:
    """One training of an evaluation."""

    file: Path
    of_all: list[str]
    """Notes on all trainings of the evaluation."""
    notes: list[str] = field(default_factory=list)
    """Notes on this one: which epochs other software made."""
    saved: float = field(default_factory=time.monotonic)
    """When the state was written, or the training began, by the clock of `time.monotonic`."""

    def restore(self, learning: nn.Module, optimizer: torch.optim.Optimizer, order: np.random.Generator, chance: torch.Generator) -> int:
        """Bring a training to where it was stopped. Returns the number of finished epochs: 0 if there is no state that can be read.

        Raises:
            UserError: the state is of other modules.
        """
        try:
            with safetensors.safe_open(self.file, "pt") as opened:
                facts = json.loads((opened.metadata() or {})[FACTS])
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}
        except (OSError, KeyError, ValueError, safetensors.SafetensorError):  # a file of ours is whole: so nobody began, or it is damaged
            return 0
        assign(learning, named(tensors, WEIGHTS), str(self.file))
        optim.restore(learning, optimizer, named(tensors, OPTIMIZER))
        order.bit_generator.state = facts["order"]
        for name, generator in _generators(chance).items():
            generator.set_state(tensors[CHANCE + name])
        done: int = facts["epochs"]
        other = changed(facts.get("made_by", ()), software(), f"the first {counted(done, 'epoch')} of a training")
        self.notes += [*facts.get("notes", ()), *([other] if other else [])]
        self.of_all += [note for note in self.notes if note not in self.of_all]
        for note in self.notes:
            say(f"Note: {note}")
        return done

    def keep(
        self,
        epochs: int,
        learning: nn.Module,
        optimizer: torch.optim.Optimizer,
        order: np.random.Generator,
        chance: torch.Generator,
        *,
        last: bool,
    ) -> None:
        """Write the state after a number of epochs, if it is time to or they are the last ones.

        After the last epoch the state of the optimiser is of no use any more, and is left out.
        """
        if not last and time.monotonic() - self.saved < EVERY:
            return
        tensors: dict[str, Tensor] = {WEIGHTS + name: value for name, value in learning.state_dict().items()}
        if not last:
            tensors |= {OPTIMIZER + name: value for name, value in optim.state(learning, optimizer).items()}
        tensors |= {CHANCE + name: generator.get_state() for name, generator in _generators(chance).items()}
        facts = {"epochs": epochs, "order": order.bit_generator.state, "made_by": software(), "notes": self.notes}
        whole = {name: value.detach().cpu().clone() for name, value in tensors.items()}
        self.saved = time.monotonic()
        try:
            write_file(self.file, safetensors.torch.save(whole, {FACTS: json.dumps(facts)}))
        except OSError as error:  # a full disk must not end a training that needs none
            say(f"Note: the state of this training cannot be kept, so after a stop it begins anew: {error}")

    def drop(self) -> None:
        """Delete the state, since nobody can go on from it."""
        self.file.unlink(missing_ok=True)


def _generators(chance: torch.Generator) -> dict[str, torch.Generator]:
    """The generators of torch that a training draws from: its own, and the global ones, which give dropout."""
    found = {"own": chance, "cpu": torch.default_generator}
    if chance.device.type == "cuda":
        found["cuda"] = torch.cuda.default_generators[torch.device(chance.device).index or 0]
    return found


@dataclass(kw_only=True)
class _Evaluation:
    """The evaluation that runs now."""

    stem: Path
    """Beginning of the paths of its files."""
    begun: int = 0
    """Number of its trainings that have begun."""
    notes: list[str] = field(default_factory=list)
    """Notes on its trainings."""


_NOW: ContextVar[_Evaluation | None] = ContextVar("_NOW", default=None)


@contextmanager
def keeping(run: Path, task: str, identity: Any) -> Iterator[None]:
    """Keep the states of the trainings in the block, so that they can go on after a stop. What is kept is deleted when the block ends well.

    Args:
        run: folder of the run.
        task: name of the task.
        identity: everything that the trainings depend on, for `cache_schema.spec.fingerprint`.
    """
    folder = run / FOLDER
    drafts = folder.glob(f".{BEGINNING}*")  # of a process that was killed while it wrote
    for file in (*folder.glob(f"{BEGINNING}*"), *drafts):
        with suppress(OSError):
            if time.time() - file.stat().st_mtime > STALE:
                file.unlink()
    stem = folder / f"{BEGINNING}{task}-{fingerprint(identity)[:16]}"
    software()  # it is read once: before somebody changes the files of a process that runs for long
    token = _NOW.set(_Evaluation(stem=stem))
    try:
        yield
    finally:
        _NOW.reset(token)
    for file in folder.glob(f"{stem.name}-*"):
        file.unlink(missing_ok=True)


def training() -> Training | None:
    """The next training of the evaluation that runs now; None if states are not kept."""
    now = _NOW.get()
    if now is None:
        return None
    now.begun += 1
    return Training(file=now.stem.with_name(f"{now.stem.name}-{now.begun}.safetensors"), of_all=now.notes)


def notes() -> tuple[str, ...]:
    """Notes on the trainings of the evaluation that runs now, for the reader of its result."""
    now = _NOW.get()
    return tuple(now.notes) if now else ()
