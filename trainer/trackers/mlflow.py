"""MLflow (https://mlflow.org/docs/latest): `--set log.trackers=mlflow`.

It reads its own environment: `MLFLOW_TRACKING_URI` for the server or the file, as in `sqlite:///mlflow.db`.
"""

import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mlflow import MlflowClient

PARAMS: Final = 100
"""Number of settings that one call takes."""
LENGTH: Final = 500
"""Number of characters of a setting's value that every version takes."""


class Run:
    """A run of MLflow. It uses the client, so that a run that the program has open elsewhere stays as it is."""

    def __init__(self, client: "MlflowClient", id: str) -> None:
        self.client, self.id = client, id

    def log(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.client.log_batch(self.id, metrics=[Metric(_key(name), value, now, step) for name, value in values.items()])

    def close(self, finished: bool) -> None:
        self.client.set_terminated(self.id, status="FINISHED" if finished else "KILLED")


def start(folder: Path, project: str, name: str, facts: Mapping[str, Any], known: str) -> Run:
    """See `trainer.trackers.catalog.Module`. The project is MLflow's experiment."""
    from mlflow import MlflowClient
    from mlflow.entities import Param

    client = MlflowClient()
    if known:
        client.update_run(known, status="RUNNING")
        return Run(client, known)
    experiment = client.get_experiment_by_name(project)
    number = experiment.experiment_id if experiment else client.create_experiment(project)
    run = Run(client, client.create_run(number, run_name=name).info.run_id)
    settings = [Param(_key(key), str(value)[:LENGTH]) for key, value in _flat(facts)]
    for start in range(0, len(settings), PARAMS):
        client.log_batch(run.id, params=settings[start : start + PARAMS])
    return run


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as pairs of a name, such as `optim.lr`, and a value."""
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _key(name: str) -> str:
    """A name with no characters but those that MLflow takes."""
    return re.sub(r"[^\w./ -]", "_", name)
