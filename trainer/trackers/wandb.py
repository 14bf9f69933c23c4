"""Weights & Biases (https://docs.wandb.ai): `--set log.trackers=wandb`.

It reads its own environment: `WANDB_API_KEY`, `WANDB_ENTITY`, `WANDB_MODE=offline` for a machine without network (`wandb sync` then sends
what was written).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Run:
    """A run of Weights & Biases."""

    def __init__(self, run: Any) -> None:
        self.run, self.id = run, str(run.id)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def close(self, finished: bool) -> None:
        self.run.finish(exit_code=0 if finished else 1)


def start(folder: Path, project: str, name: str, facts: Mapping[str, Any], known: str) -> Run:
    """See `trainer.trackers.catalog.Module`. A resumed run ignores steps that it has already."""
    import wandb

    # Without `console`, it would capture what the training prints, the progress bar too.
    settings = wandb.Settings(console="off")
    resume = {"id": known, "resume": "allow"} if known else {}
    run = wandb.init(project=project, name=name, config=dict(facts), dir=str(folder), settings=settings, **resume)
    return Run(run)
