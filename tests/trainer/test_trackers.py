"""Experiment trackers: what they are told, that a run goes on under its id, and that none of them can stop a training.

The libraries are stand-ins with the signatures of the real ones (trackio 0.43, wandb 0.31, mlflow 3.17): a call with an argument that a
real one does not take fails here, too.
"""

import importlib
import importlib.machinery
import io
import json
import sys
import types

import pytest
from rich.console import Console

from cache_schema.errors import UserError
from tests.trainer.conftest import config_of
from trainer import checkpoint, log
from trainer.config import TRACKERS, LogConfig
from trainer.loop import train
from trainer.trackers import catalog


def fake_trackio(calls):
    class Run:
        def __init__(self, name):
            self.name = name

        def log(self, metrics: dict, step: int | None = None):
            calls.append(("log", step, metrics))

        def finish(self):
            calls.append(("finish",))

    def init(project, name=None, group=None, space_id=None, server_url=None, config=None, resume="never", settings=None):
        calls.append(("init", project, name, config, resume))
        return Run(name)

    return {"trackio": {"init": init}}


def fake_wandb(calls):
    class Run:
        def __init__(self, id):
            self.id = id or "abc123"

        def log(self, data, step=None, commit=None):
            calls.append(("log", step, data))

        def finish(self, exit_code=None):
            calls.append(("finish", exit_code))

    class Settings:
        def __init__(self, *, console="auto", init_timeout=90.0):
            assert console in ("auto", "off", "wrap", "redirect")

    def init(entity=None, project=None, dir=None, id=None, name=None, config=None, resume=None, settings=None):
        assert isinstance(dir, str) and resume in (None, "allow", "must", "never", "auto")
        calls.append(("init", project, name, config, id))
        return Run(id)

    return {"wandb": {"init": init, "Settings": Settings}}


def fake_mlflow(calls):
    class Metric:
        def __init__(self, key, value, timestamp, step, model_id=None):
            assert all(c.isalnum() or c in "_-. /" for c in key) and timestamp > 1e12
            self.key, self.value, self.step = key, value, step

    class Param:
        def __init__(self, key, value):
            assert all(c.isalnum() or c in "_-. /" for c in key) and len(value) <= 500
            self.key, self.value = key, value

    class MlflowClient:
        def __init__(self, tracking_uri=None, registry_uri=None):
            pass

        def get_experiment_by_name(self, name):
            return None

        def create_experiment(self, name, artifact_location=None, tags=None):
            return f"number of {name}"

        def create_run(self, experiment_id, start_time=None, tags=None, run_name=None):
            calls.append(("init", experiment_id.removeprefix("number of "), run_name, {}, None))
            return types.SimpleNamespace(info=types.SimpleNamespace(run_id="f00"))

        def update_run(self, run_id, status=None, name=None):
            calls.append(("init", "mmpd", None, None, run_id))

        def log_batch(self, run_id, metrics=(), params=(), tags=(), synchronous=None):
            assert run_id == "f00" and len(params) <= 100
            calls[0][3].update({param.key: param.value for param in params})
            if metrics:
                calls.append(("log", metrics[0].step, {metric.key: metric.value for metric in metrics}))

        def set_terminated(self, run_id, status=None, end_time=None):
            calls.append(("finish", status))

    return {"mlflow": {"MlflowClient": MlflowClient}, "mlflow.entities": {"Metric": Metric, "Param": Param}}


FAKES = {"trackio": fake_trackio, "wandb": fake_wandb, "mlflow": fake_mlflow}


@pytest.fixture
def calls(monkeypatch):
    """The calls of all stand-ins, by tracker. Our modules are imported anew with them."""
    found = {name: [] for name in FAKES}
    for name, fake in FAKES.items():
        for module, content in fake(found[name]).items():
            made = types.ModuleType(module)
            made.__dict__.update(content, __spec__=importlib.machinery.ModuleSpec(module, None))
            monkeypatch.setitem(sys.modules, module, made)
        monkeypatch.delitem(sys.modules, TRACKERS[name], raising=False)
    yield found
    for name in FAKES:
        sys.modules.pop(TRACKERS[name], None)


def begin(cache, run, *settings, **given):
    console = Console(file=io.StringIO(), width=500)
    config = config_of("align", "optim.epochs=1", "log.trackers=trackio,wandb,mlflow", *settings)
    train(config, [cache], run, device="cpu", console=console, **given)
    return console.file.getvalue()


def test_every_tracker_has_a_test_and_an_extra():
    import tomllib
    from pathlib import Path

    extras = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert TRACKERS.keys() == FAKES.keys() <= extras.keys() and not set(TRACKERS) & set(" ".join(extras["dev"]).split())


def test_trackers_get_name_configuration_and_metrics_and_a_resumed_run_its_id(cache_path, tmp_path, calls):
    run = tmp_path / "mine"
    said = begin(cache_path, run)
    assert "Warning" not in said
    written = log.records(run)
    for name, made in calls.items():
        kind, project, title, config, _ = made[0]
        assert (kind, project, title) == ("init", "mmpd", "mine"), name
        rate = config["optim.lr"] if name == "mlflow" else config["optim"]["lr"]
        assert float(rate) == 0.001 and str(cache_path.parent) not in json.dumps(config)
        sent = [call for call in made if call[0] == "log"]
        assert [step for _, step, _ in sent] == [record["step"] for record in written]
        assert [values["loss"] for *_, values in sent] == [record["loss"] for record in written] and "step" not in sent[0][2]
        assert made[-1] == {"trackio": ("finish",), "wandb": ("finish", 0), "mlflow": ("finish", "FINISHED")}[name]
    assert json.loads((run / catalog.FILE).read_text()) == {"trackio": "mine", "wandb": "abc123", "mlflow": "f00"}

    for made in calls.values():
        del made[1:]
    begin(cache_path, run, resume=True)  # nothing is left to do
    assert calls["wandb"][1][4] == "abc123" and calls["mlflow"][1][4] == "f00" and calls["trackio"][1][2:5:2] == ("mine", "allow")
    assert [made[-1][0] for made in calls.values()] == ["finish"] * 3


def test_a_tracker_that_fails_is_told_once_and_stops_nothing(cache_path, aligned, tmp_path, calls, monkeypatch):
    def no_login(*args, **kwargs):
        raise ConnectionError("no login\nsecond line")

    monkeypatch.setattr(sys.modules["wandb"], "init", no_login)
    steps = []

    def breaks(self, run_id, metrics=(), params=(), tags=(), synchronous=None):
        steps.extend(metric.step for metric in metrics[:1])
        if len(steps) == 2:
            raise TimeoutError

    monkeypatch.setattr(sys.modules["mlflow"].MlflowClient, "log_batch", breaks)
    said = begin(cache_path, tmp_path / "run")
    assert said.count("Warning: wandb is left out of this training (ConnectionError: no login). The training goes on") == 1
    assert said.count("Warning: mlflow is left out of this training (TimeoutError: no reason given)") == 1 and steps == [1, 2]
    assert len([call for call in calls["trackio"] if call[0] == "log"]) == len(log.records(tmp_path / "run")) == 4
    assert checkpoint.header(tmp_path / "run").step == 4


def test_no_tracker_changes_a_run_and_wrong_ones_are_named(cache_path, tmp_path, calls, monkeypatch):
    plain, tracked = config_of("align"), config_of("align", "log.trackers=wandb", "log.project=x")
    from cache_schema.records import differences
    from cache_schema.spec import fingerprint

    assert fingerprint(plain) == fingerprint(tracked) and not differences(plain, tracked)
    with pytest.raises(UserError, match="no tracker is called 'wandbb'; did you mean 'wandb'"):
        config_of("align", "log.trackers=wandbb")
    with pytest.raises(UserError, match="twice"):
        LogConfig(trackers=("wandb", "wandb"))
    monkeypatch.delitem(sys.modules, "mlflow")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mlflow" else True)
    with pytest.raises(UserError, match=r"log\.trackers=mlflow needs the package mlflow.*pip install 'mmpd\[mlflow\]'"):
        begin(cache_path, tmp_path / "run")
    assert not (tmp_path / "run").exists()
