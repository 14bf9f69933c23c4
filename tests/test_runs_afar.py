"""Runs on the hub: push, pull, `fetch` and the hub's own class of models, by the real client and a stand-in of the hub's interface."""

import pickle

import pytest
import torch

from cache_schema import synthetic
from cache_schema.errors import UserError
from cache_schema.spec import PointSpec
from tests.figures import undrawn_curves  # noqa: F401
from tests.pipeline.afar import hub_server
from tests.trainer.conftest import LABELS, config_of
from trainer import checkpoint, handing
from trainer.loop import train
from trainer.tasks.features import Body


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    synthetic.write(folder / "a.zarr", shapes=24, shard=8, points=PointSpec(count=64, blocks=2, ordered=32), labels=LABELS)
    train(config_of("align", "optim.epochs=1"), [folder / "a.zarr"], folder / "mine", device="cpu")
    return folder / "mine"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with hub_server(monkeypatch) as server:
        yield server


def test_a_run_goes_to_the_hub_and_comes_back(run, hub, tmp_path):
    told = []
    handing.push(run, "hf://me/shapes", allow_unknown=True, say=told.append)
    assert hub.private and "made private: only me can see it" in told[-1]
    assert len(hub.commits) == 1 and set(hub.commits[0]) == {"model.safetensors", "config.json", "README.md", "curves.png"}
    assert hub.tokens == {"Bearer hf_of_the_test"} and not [name for name, data in hub.files.items() if b"hf_of_the_test" in data]
    assert 'Model.from_pretrained("me/shapes")' in hub.files["README.md"].decode()
    handing.pull("hf://me/shapes", tmp_path / "theirs")
    assert checkpoint.weights(tmp_path / "theirs") == checkpoint.weights(run)
    hub.files["pytorch_model.bin"] = pickle.dumps("evil")
    found = handing.fetch("me/shapes", revision="main")
    assert checkpoint.load(found).weights == checkpoint.weights(run)
    assert found.is_relative_to(tmp_path / "hub") and "pytorch_model.bin" not in hub.read
    before = len(hub.read)
    assert handing.fetch("hf://me/shapes") == found and len(hub.read) - before <= 3, "no file is fetched twice"


def test_what_is_no_run_or_damaged_is_named(run, hub):
    with pytest.raises(UserError, match="hf://me/shapes is not there"):
        handing.fetch("me/shapes")
    hub.made, hub.files = True, {"pytorch_model.bin": pickle.dumps("evil"), "config.json": b"{}"}
    with pytest.raises(UserError, match=r"holds no run of this project: it lacks .* least of all pickles"):
        handing.fetch("me/shapes")
    assert "pytorch_model.bin" not in hub.read
    with pytest.raises(UserError, match="describes no run of this project"):
        handing.push(run, "hf://me/shapes", allow_unknown=True)


def test_weights_that_were_changed_at_the_hub_are_refused(run, hub):
    handing.push(run, "hf://me/shapes", allow_unknown=True)
    data = bytearray(hub.files["model.safetensors"])
    data[-5] ^= 64
    hub.files["model.safetensors"] = bytes(data)
    # Only the weights that give features enter the digest; those of a head do not. So change all of them.
    start = 8 + int.from_bytes(data[:8], "little")
    hub.files["model.safetensors"] = bytes(data[:start]) + bytes(len(data) - start)
    with pytest.raises(UserError, match=r"the weights of hf://me/shapes are not those of its config.json"):
        handing.fetch("me/shapes")


def test_the_hubs_own_class_of_models_loads_and_saves_the_folder(run, tmp_path):
    handing.push(run, str(tmp_path / "place"), allow_unknown=True)
    model = handing.HubModel.from_pretrained(str(tmp_path / "place"))
    points = torch.rand(2, 64, 3)
    with torch.no_grad():
        torch.testing.assert_close(model(points), Body.of(checkpoint.load(run).model, "mean_max")(points, False), rtol=0, atol=0)
    model.save_pretrained(tmp_path / "saved")
    assert checkpoint.load(handing.fetch(str(tmp_path / "saved"))).weights == checkpoint.weights(run)
    handing.pull(str(tmp_path / "saved"), tmp_path / "theirs")
