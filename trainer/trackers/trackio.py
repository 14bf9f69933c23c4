"""Trackio (https://huggingface.co/docs/trackio): `--set log.trackers=trackio`. `trackio show` shows the runs of this machine.

It reads its own environment: `TRACKIO_DIR` for the folder, `TRACKIO_SPACE_ID` for a Space on the hub.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Run:
    """A run of Trackio, which is known by its name in the project."""

    def __init__(self, run: Any) -> None:
        self.run, self.id = run, str(run.name)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def close(self, finished: bool) -> None:
        self.run.finish()


def start(folder: Path, project: str, name: str, facts: Mapping[str, Any], known: str) -> Run:
    """See `trainer.trackers.catalog.Module`."""
    import trackio

    run = trackio.init(project=project, name=known or name, config=dict(facts), resume="allow" if known else "never")
    return Run(run)
