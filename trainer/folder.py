"""The folder of a run: check and lock it, store how the run was begun, and continue the run.

    check(run, resume=False)                                            # refuses a folder with other files
    with held(run):                                                     # no other process can train in it
        describe(run, header, stage, init, guide_run)                   # RUN/config.json
    before = begun(run)                                                 # Begun: config, init, guide_run

`trainer.checkpoint` writes the checkpoints in the folder, `trainer.log` metrics and curves.
"""

import contextlib
import dataclasses
import fcntl
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from cache_schema.errors import UserError
from cache_schema.files import write_file
from cache_schema.records import differences
from cache_schema.spec import from_json, to_json
from trainer import checkpoint, optim
from trainer.checkpoint import Header
from trainer.config import AlignConfig, DistillConfig
from trainer.encoders.protocol import EncoderSettings
from trainer.stage import Stage

CONFIG: Final = "config.json"
"""Name of the file that stores how the run was begun."""
FILLED: Final = ("teachers", "captions", "dense")
"""Settings of the data that a run fills in with the names that its caches have (`trainer.loop`)."""
LOCK: Final = ".lock"
"""Name of the file that a process locks while it trains."""


@dataclass(frozen=True, kw_only=True)
class Begun:
    """How a run was begun."""

    config: AlignConfig | DistillConfig | None = None
    """None if there is no run."""
    init: Path | None = None
    """The run whose weights it started from, other than the guide's; None if there is none."""
    guide_run: Path | None = None
    """The run of its guide; None if there is none."""


def begun(run: Path) -> Begun:
    """How the run in a folder was begun.

    Raises:
        UserError: the file that says so is damaged.
    """
    if not (run / CONFIG).exists():
        return Begun()
    try:
        body = json.loads((run / CONFIG).read_bytes())
        kind = {"align": AlignConfig, "distill": DistillConfig}[body["config"]["stage"]]
        config = from_json(kind, body["config"], str(run / CONFIG))
        # Earlier versions had only runs of guides, and called them `init`.
        init, guide_run = (body["init"], body["guide_run"]) if "guide_run" in body else (None, body["init"])
        return Begun(config=config, init=Path(init) if init else None, guide_run=Path(guide_run) if guide_run else None)
    except (ValueError, KeyError, TypeError) as error:  # the file is not JSON, or has other fields
        raise UserError(
            f"{run / CONFIG} does not say how the run was begun ({type(error).__name__}: {error}): restore it from a copy, or begin anew "
            "in another folder"
        ) from error


def describe(run: Path, header: Header, stage: Stage, init: Path | None, guide_run: Path | None) -> None:
    """Write the file that stores how a run was begun. People read it, and a run without a checkpoint is continued from it.

    Args:
        run: the folder.
        header: header of the checkpoints that will follow.
        stage: the model.
        init: the run whose weights it starts from, other than the guide's; None without one.
        guide_run: the run of the guide; None without a guide.
    """
    run.mkdir(parents=True, exist_ok=True)
    body = described(header, stage.encoder.config, init, guide_run)
    write_file(run / CONFIG, (json.dumps(body, indent=2) + "\n").encode())


def described(header: Header, encoder: EncoderSettings, init: Path | None, guide_run: Path | None) -> dict[str, Any]:
    """What the file says that `describe` writes. Arguments as there; `encoder` is the encoder's own configuration."""
    return {
        "config": to_json(header.config),
        "precision": header.precision,
        "encoder": to_json(encoder),
        "caches": to_json(header.caches),
        "start": to_json(header.init),
        "init": None if init is None else str(init.absolute()),
        "guide_run": None if guide_run is None else str(guide_run.absolute()),
    }


def check(run: Path, resume: bool) -> None:
    """Check that a run may be written into a folder. Hidden files are ignored.

    Raises:
        UserError: the folder holds a run and `resume` is not set, or it holds other files.
    """
    if not run.exists():
        return
    if (run / CONFIG).exists() or checkpoint.path(run).exists():
        if not resume:
            raise UserError(f"{run} already holds a run: go on with --resume, or give another folder")
    elif not run.is_dir() or any(not path.name.startswith(".") for path in run.iterdir()):
        raise UserError(f"{run} exists and is no run; give another folder")


@contextlib.contextmanager
def held(run: Path) -> Iterator[None]:
    """Lock the folder of a run for writing; create it if it does not exist. The lock ends with the process, even if that is killed.

    Half-written files of killed processes are deleted, since they can be as large as a checkpoint.

    Raises:
        UserError: another process has locked the folder.
    """
    run.mkdir(parents=True, exist_ok=True)
    with open(run / LOCK, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise UserError(f"{run} is being trained by another process: stop that one first, or give another folder") from error
        for leftover in run.glob(".*.tmp"):  # the writer was killed: only the owner of the lock writes here
            leftover.unlink(missing_ok=True)
        yield


def refuse_other(run: Path, asked: AlignConfig | DistillConfig) -> None:
    """Compare the settings that a run is to be continued with with those that it was begun with, before any data is opened: other settings
    may not fit the data, and the error about that would mislead.

    Names that a run fills in by itself, and the source of the first weights, are left to `restore`.

    Raises:
        UserError: they differ.
    """
    there = begun(run).config
    if there is None:
        return
    if type(there) is type(asked):
        filled = {name: getattr(there.data, name) for name in FILLED if not getattr(asked.data, name)}
        asked = dataclasses.replace(asked, data=dataclasses.replace(asked.data, **filled), start=there.start)  # type: ignore[arg-type]
    if isinstance(there, DistillConfig) and isinstance(asked, DistillConfig) and not asked.guide:
        asked = dataclasses.replace(asked, guide=there.guide)
    _check_same(run, there, asked)


def restore(run: Path, header: Header, stage: Stage, optimizer: torch.optim.Optimizer, average: optim.Average) -> Header:
    """Load weights, state of the optimiser, and average from a run's checkpoint.

    Args:
        run: the folder.
        header: header of a checkpoint of the run with the present settings, to compare with.
        stage, optimizer, average: they receive the stored state.

    Returns:
        The header of that checkpoint; `header` if there is no checkpoint yet.

    Raises:
        UserError: the run was begun with another configuration, guide or data.
    """
    if not checkpoint.path(run).exists():
        _check_same(run, begun(run).config or header.config, header.config)
        return header
    there, encoder, tensors = checkpoint.read(run)
    more = differences(encoder, stage.encoder.config)
    colors = stage.encoder.config.channels == 6 and header.config.augment.drop_color > 0
    if there.step < there.steps and header.points and (there.points.grey != header.points.grey if there.points else colors):
        more.append("shapes without colours were given another grey, by an earlier version of mmpd or another guide")
    if there.guide != header.guide:
        more.append(f"its guide is {there.guide[:12]}, asked {header.guide[:12]}")
    if there.init and header.init and there.init.weights != header.init.weights:
        more.append(f"it started from weights {there.init.weights[:12]}, asked {header.init.weights[:12]}")
    if there.guide == header.guide and there.guide_setup and header.guide_setup and there.guide_setup != header.guide_setup:
        more.append("its guide had the same weights and other settings")
    if there.precision not in ("", header.precision):
        more.append(f"it computed in {there.precision}, asked {header.precision}")
    _check_same(run, there.config, header.config, more)
    checkpoint.same_caches(there.caches, header.caches, run)
    checkpoint.assign(stage, checkpoint.named(tensors, checkpoint.WEIGHTS), str(checkpoint.path(run)))
    optim.restore(stage, optimizer, checkpoint.named(tensors, checkpoint.OPTIMIZER))
    average.restore(checkpoint.named(tensors, checkpoint.AVERAGE))
    return there


def _check_same(run: Path, there: AlignConfig | DistillConfig, asked: AlignConfig | DistillConfig, more: Sequence[str] = ()) -> None:
    """Raise UserError if a run was begun with another configuration. `more` has differences that are already known."""
    changed = [*differences(there, asked), *more]
    if type(there) is not type(asked):
        changed = [f"its stage is {there.stage}, asked {asked.stage}"]
    if changed:
        raise UserError(
            f"{run} was begun with another configuration: {'; '.join(changed)}. Resume without --recipe and --set; to go on with other "
            f"settings, such as more epochs, begin a new run with another folder and --init {run}"
        )
