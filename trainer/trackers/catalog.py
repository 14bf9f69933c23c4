"""Experiment trackers: services that show the metrics of many runs. TensorBoard is none of them: its files are always written.

    trackers = Trackers(run, LogConfig(trackers=("wandb",)), facts, say)     # only on the first rank
    trackers.log(10, {"loss": 1.5})
    trackers.close(finished=True)

To add a tracker, add a module with a function `start` and a line to `TRACKERS`, and an extra of its name to pyproject.toml. A tracker that
fails, for example without network or login, is left out with one warning; the training goes on.
"""

import contextlib
import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from cache_schema.errors import UserError
from cache_schema.files import write_file
from trainer.config import TRACKERS, LogConfig

FILE: Final = "trackers.json"
"""Name of the file in the folder of a run that stores by tracker the id of the run there. A resumed run goes on under it."""
NOT_TRACKED: Final = ("step",)
"""Keys of a record that are no metrics."""


class Tracker(Protocol):
    """A run of a tracker."""

    id: str
    """The tracker's own id of the run, by which `start` finds it again."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Send the metrics of one step."""
        ...

    def close(self, finished: bool) -> None:
        """End the run. `finished`: it came to its last step; otherwise it may be resumed."""
        ...


class Module(Protocol):
    """Interface of the modules in `TRACKERS`."""

    def start(self, folder: Path, project: str, name: str, facts: Mapping[str, Any], known: str) -> Tracker:
        """Begin a run, or go on with the one whose id is `known`, if that is not empty.

        Args:
            folder: the folder of the run, for files that the tracker keeps on this machine.
            project: the project that the run belongs to.
            name: the name of the run.
            facts: configuration and size of the run, as JSON values, possibly nested.
            known: id of the run in this tracker, if it was begun before; empty for a new one.
        """
        ...


def check(config: LogConfig) -> None:
    """Raises UserError if the package of a tracker is not installed: before the training, and not after hours of it."""
    for name in config.trackers:
        if importlib.util.find_spec(name) is None:
            raise UserError(f"log.trackers={name} needs the package {name}, which is not installed: pip install 'mmpd[{name}]'")


class Trackers:
    """The trackers of one run, each of which may fail. Only the first rank has them."""

    def __init__(self, folder: Path, config: LogConfig, facts: Mapping[str, Any], say: Callable[[str], None]) -> None:
        """
        Args:
            folder: the folder of the run. Its name is the name of the run.
            config: which trackers, and the project.
            facts: see `Module.start`.
            say: prints a warning.
        """
        self.say = say
        self.running: dict[str, Tracker] = {}
        ids = _ids(folder)
        for name in config.trackers:
            module: Module = importlib.import_module(TRACKERS[name])
            with self._guarded(name):
                self.running[name] = module.start(folder, config.project, folder.resolve().name, facts, ids.get(name, ""))
                ids[name] = self.running[name].id
        if self.running:
            write_file(folder / FILE, (json.dumps(ids, indent=2) + "\n").encode())

    def log(self, record: Mapping[str, float]) -> None:
        """Send the record of one step, which has the key `step`, to all trackers."""
        values = {name: float(value) for name, value in record.items() if name not in NOT_TRACKED}
        for name, tracker in list(self.running.items()):
            with self._guarded(name):
                tracker.log(int(record["step"]), values)

    def close(self, finished: bool) -> None:
        """End the run in all trackers."""
        for name, tracker in list(self.running.items()):
            with self._guarded(name):
                tracker.close(finished)
        self.running.clear()

    @contextlib.contextmanager
    def _guarded(self, name: str) -> Any:
        """Leave a tracker out after its first error. What it prints goes to standard error, as all messages of a training."""
        try:
            with contextlib.redirect_stdout(sys.stderr):
                yield
        except Exception as error:  # a library of others, and a network: anything can be raised
            self.running.pop(name, None)
            reason = str(error).strip().partition("\n")[0] or "no reason given"
            self.say(f"Warning: {name} is left out of this training ({type(error).__name__}: {reason}). The training goes on")


def _ids(folder: Path) -> dict[str, str]:
    """The ids of a run by tracker. A damaged file is as none: the trackers then begin new runs."""
    try:
        found = json.loads((folder / FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(name): str(one) for name, one in found.items()} if isinstance(found, dict) else {}
