"""The folder of a run: who may write into it, how the run was begun, and going on with what is there.

    check(run, resume=False)                                            # refuses a folder that holds something else
    with held(run):                                                     # no other process trains in it
        describe(run, header, encoder, guide_run)                       # RUN/config.json
    config, guide_run = begun(run)

Checkpoints, metrics and curves in it are the trade of `trainer.checkpoint` and `trainer.log`.
"""

import contextlib
import fcntl
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import torch

from cache_schema.errors import UserError
from cache_schema.files import write_file
from cache_schema.records import differences
from cache_schema.spec import from_json, to_json
from trainer import checkpoint, optim
from trainer.checkpoint import Header
from trainer.config import AlignConfig, DistillConfig
from trainer.stage import Stage

CONFIG: Final = "config.json"
"""Name of the file that says how the run was begun."""
LOCK: Final = ".lock"
"""Name of the file that a process locks while it trains."""


def begun(run: Path) -> tuple[AlignConfig | DistillConfig | None, Path | None]:
    """The configuration of a run, and the run its guide came from; None where there is none.

    Raises:
        UserError: the file that says so is damaged.
    """
    if not (run / CONFIG).exists():
        return None, None
    try:
        body = json.loads((run / CONFIG).read_bytes())
        kind = {"align": AlignConfig, "distill": DistillConfig}[body["config"]["stage"]]
        config, init = from_json(kind, body["config"], str(run / CONFIG)), body["init"]
    except (ValueError, KeyError, TypeError) as error:  # of JSON that is none, or of another form
        raise UserError(
            f"{run / CONFIG} does not say how the run was begun ({type(error).__name__}: {error}): restore it from a copy, or begin anew "
            "in another folder"
        ) from error
    return config, Path(init) if init else None


def describe(run: Path, header: Header, stage: Stage, guide_run: Path | None) -> None:
    """Write down what the run is, for people and for going on before there is a checkpoint.

    Args:
        run: the folder.
        header: of the checkpoints to come.
        stage: the model.
        guide_run: the run that the guide comes from.
    """
    run.mkdir(parents=True, exist_ok=True)
    body = {
        "config": to_json(header.config),
        "encoder": to_json(stage.encoder.config),
        "caches": to_json(header.caches),
        "init": None if guide_run is None else str(guide_run.absolute()),
    }
    write_file(run / CONFIG, (json.dumps(body, indent=2) + "\n").encode())


def check(run: Path, resume: bool) -> None:
    """Check that a run may be written into a folder. Hidden files do not count.

    Raises:
        UserError: it holds a run and `resume` is not asked for, or it holds something else.
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
    """Hold the folder of a run for writing, and make it if need be. The hold ends with the process, however that ends. Half-written files
    of writers that were killed are cleared; they can be as large as a checkpoint.

    Raises:
        UserError: another process holds it.
    """
    run.mkdir(parents=True, exist_ok=True)
    with open(run / LOCK, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise UserError(f"{run} is being trained by another process: stop that one first, or give another folder") from error
        for leftover in run.glob(".*.tmp"):  # of writers that were killed: who holds the folder is the only one who writes here
            leftover.unlink(missing_ok=True)
        yield


def restore(run: Path, header: Header, stage: Stage, optimizer: torch.optim.Optimizer, average: optim.Average) -> Header:
    """Take weights, optimiser and average from a run's checkpoint.

    Args:
        run: the folder.
        header: what a checkpoint would say of the run as it is asked for now.
        stage, optimizer, average: get their state.

    Returns:
        The header of that checkpoint; `header` where there is none yet.

    Raises:
        UserError: the run was begun with another configuration, guide or data.
    """
    if not checkpoint.path(run).exists():
        _check_same(run, begun(run)[0] or header.config, header.config)
        return header
    there, encoder, tensors = checkpoint.read(run)
    more = differences(encoder, stage.encoder.config)
    colors = stage.encoder.config.channels == 6 and header.config.augment.drop_color > 0
    if there.step < there.steps and header.points and (there.points.grey != header.points.grey if there.points else colors):
        more.append("shapes without colours were given another grey, by an earlier version of mmpd or another guide")
    if there.guide != header.guide:
        more.append(f"its guide is {there.guide[:12]}, asked {header.guide[:12]}")
    _check_same(run, there.config, header.config, more)
    checkpoint.same_caches(there.caches, header.caches, run)
    checkpoint.assign(stage, checkpoint.named(tensors, checkpoint.WEIGHTS), str(checkpoint.path(run)))
    optim.restore(stage, optimizer, checkpoint.named(tensors, checkpoint.OPTIMIZER))
    average.restore(checkpoint.named(tensors, checkpoint.AVERAGE))
    return there


def _check_same(run: Path, there: AlignConfig | DistillConfig, asked: AlignConfig | DistillConfig, more: Sequence[str] = ()) -> None:
    """Raise UserError if a run was begun with another configuration. `more` are differences already found."""
    changed = [*differences(there, asked), *more]
    if type(there) is not type(asked):
        changed = [f"its stage is {there.stage}, asked {asked.stage}"]
    if changed:
        raise UserError(
            f"{run} was begun with another configuration: {'; '.join(changed)}. Resume without --recipe and --set, or give another folder"
        )
