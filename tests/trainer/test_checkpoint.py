"""Checkpoints: they come back as they were, and what is no checkpoint of ours is refused in words."""

import dataclasses
import json
import shutil

import pytest
import safetensors.torch
import torch

from cache_schema import store, synthetic
from cache_schema.errors import UserError
from cache_schema.spec import PointSpec, fingerprint
from tests.trainer.conftest import config_of
from trainer import checkpoint
from trainer.align import Teacher
from trainer.checkpoint import Header, Source, Used
from trainer.data import Data
from trainer.loop import train
from trainer.part import DataConfig, Needs
from trainer.stage import Facts, build

TEACHER = Teacher(name="a.b", dim=8, text=False, objective="regress", weight=2.0)


@pytest.fixture
def run(tmp_path):
    """A run that was saved without being trained."""
    config, facts = config_of("align"), Facts(teachers=(TEACHER,))
    torch.manual_seed(0)
    header = Header(config=config, facts=facts, caches=(Used(path="x.zarr", products=(("points", "0"),)),), step=3, steps=9)
    (tmp_path / "run").mkdir()
    checkpoint.save(tmp_path / "run", header, build(config, facts), {}, {})
    return tmp_path / "run"


def test_what_is_saved_comes_back(run):
    torch.manual_seed(0)
    model = build(config_of("align"), Facts(teachers=(TEACHER,)))
    loaded = checkpoint.load(run)
    assert (loaded.config, loaded.step, loaded.header.steps) == (config_of("align"), 3, 9)
    assert loaded.header.facts.teachers == (TEACHER,) and loaded.header.caches[0].products == (("points", "0"),)
    assert not loaded.model.training
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), loaded.model.state_dict().values(), strict=True))
    assert loaded.weights == checkpoint.digest(model.state_dict()) == checkpoint.weights(run)
    features = loaded.model.features(torch.randn(2, 64, 3), ordered=True)
    assert features.tokens.shape == (2, 32, 48) and features.summary.shape == (2, 48)


def test_the_encoder_is_built_from_what_was_stored_not_from_its_name(run, monkeypatch):
    from trainer.encoders import pointmae

    wider = {**pointmae.CONFIGS, "pointmae-tiny": dataclasses.replace(pointmae.CONFIGS["pointmae-tiny"], groups=16, depth=7)}
    monkeypatch.setattr(pointmae, "CONFIGS", wider)
    assert checkpoint.load(run).model.encoder.groups == 32


def test_the_digest_is_of_what_features_come_from():
    model = build(config_of("align"), Facts(teachers=(TEACHER,)))
    before = checkpoint.digest(model.state_dict())
    with torch.no_grad():
        next(model.teachers.parameters()).add_(1)
    assert checkpoint.digest(model.state_dict()) == before
    with torch.no_grad():
        model.encoder.embed.norm1.running_mean.add_(1)
    assert checkpoint.digest(model.state_dict()) != before


def test_the_average_is_handed_on_where_there_is_one(run):
    header = checkpoint.load(run).header
    model = build(header.config, header.facts)
    average = {name: torch.full_like(value, 2) for name, value in model.state_dict().items()}
    checkpoint.save(run, header, model, {}, average)
    loaded = checkpoint.load(run)
    assert (loaded.model.pool.query == 2).all() and checkpoint.weights(run) == loaded.weights


@pytest.mark.parametrize("size", [0, 6, 200, -1])
def test_a_truncated_file_is_refused(run, size):
    path = checkpoint.path(run)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match="cut short or damaged"):
        checkpoint.load(run)


def test_a_pickle_is_refused_whatever_its_name(run):
    torch.save({"weights": torch.zeros(3)}, checkpoint.path(run))
    with pytest.raises(ValueError, match="is a pickle"):
        checkpoint.load(run)
    checkpoint.path(run).rename(run / "model.pth")
    with pytest.raises(ValueError, match=r"only model.pth: a pickle.* never loaded"):
        checkpoint.load(run)


@pytest.mark.parametrize("start", [b"\x80", b"PK"])
def test_a_header_of_any_length_is_no_pickle(run, start):
    body = checkpoint.path(run).read_bytes()
    length = int.from_bytes(body[:8], "little")
    more = (int.from_bytes(start, "little") - length) % 256 ** len(start)
    checkpoint.path(run).write_bytes((length + more).to_bytes(8, "little") + body[8 : 8 + length] + b" " * more + body[8 + length :])
    assert checkpoint.path(run).read_bytes().startswith(start)
    assert checkpoint.load(run).step == 3


def test_what_is_no_run_is_named(run, tmp_path):
    with pytest.raises(ValueError, match="not a folder with a run"):
        checkpoint.load(tmp_path / "nowhere")
    checkpoint.path(run).unlink()
    with pytest.raises(ValueError, match="stopped before its first checkpoint"):
        checkpoint.load(run)
    safetensors.torch.save_file({"w": torch.zeros(2)}, checkpoint.path(run))
    with pytest.raises(ValueError, match="not written by mmpd-train"):
        checkpoint.load(run)


@pytest.mark.parametrize(("change", "message"), [({"format": 2}, "format 2, this software reads 1"), ({"speed": 1}, "no field 'speed'")])
def test_another_version_is_named(run, change, message):
    with safetensors.safe_open(checkpoint.path(run), "pt") as file:
        body = json.loads(file.metadata()["mmpd"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    body["header"] |= change
    safetensors.torch.save_file(tensors, checkpoint.path(run), {"mmpd": json.dumps(body)})
    with pytest.raises(ValueError, match=message):
        checkpoint.load(run)


@pytest.mark.parametrize(
    "lacking", ["encoder", "header", "header.config", "header.config.stage", "header.config.encoder", "encoder.channels"]
)
def test_a_file_of_another_form_is_named(run, lacking):
    with safetensors.safe_open(checkpoint.path(run), "pt") as file:
        whole = body = json.loads(file.metadata()["mmpd"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    *above, last = lacking.split(".")
    for name in above:
        body = body[name]
    del body[last]
    safetensors.torch.save_file(tensors, checkpoint.path(run), {"mmpd": json.dumps(whole)})
    for read in (checkpoint.settings, checkpoint.load):
        with pytest.raises(UserError, match=rf"last\.safetensors does not say how the run was made \(KeyError: '{last}'\)"):
            read(run)


def test_runs_imported_by_an_earlier_version_are_read_if_they_were_exact(run):
    with safetensors.safe_open(checkpoint.path(run), "pt") as file:
        body = json.loads(file.metadata()["mmpd"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    body["header"]["source"] = {"file": "a.pth", "sha256": "0", "architecture": "act", "differs": ""}
    safetensors.torch.save_file(tensors, checkpoint.path(run), {"mmpd": json.dumps(body)})
    assert checkpoint.load(run).header.source == Source(file="a.pth", sha256="0", architecture="act")
    body["header"]["source"]["differs"] = "without its class token"
    safetensors.torch.save_file(tensors, checkpoint.path(run), {"mmpd": json.dumps(body)})
    with pytest.raises(ValueError, match=r"inexactly \(without its class token\): import it again"):
        checkpoint.load(run)


def test_weights_of_another_shape_are_listed(run):
    model = checkpoint.load(run).model
    tensors = {name: value for name, value in model.state_dict().items() if name != "pool.query"}
    tensors["pool.proj.bias"] = torch.zeros(7)
    tensors["extra"] = torch.zeros(1)
    with pytest.raises(ValueError, match=r"pool.proj.bias is \[7\], expected \[48\]; pool.query is missing; extra is not expected"):
        checkpoint.assign(model, tensors, "here")


def test_a_student_of_another_encoder_cannot_start_from_the_guide(cache_path, aligned, tmp_path):
    config = config_of("distill", "guide=random", "guide_online=true", "encoder.dim=96", "encoder.depth=2")
    with pytest.raises(ValueError, match=r"cannot start from .*dim is 48, asked 96; depth is 1, asked 2"):
        train(config, [cache_path], tmp_path / "run", guide_run=aligned, device="cpu")


def test_a_run_goes_on_only_as_it_was_begun(cache_path, aligned, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(aligned, run)
    with pytest.raises(ValueError, match=r"begun with another configuration: optim\.lr is 0\.001, asked 0\.01"):
        train(config_of("align", "optim.lr=0.01"), [cache_path], run, resume=True, device="cpu")
    with pytest.raises(ValueError, match="trained on 1 caches, now there are 2"):
        train(config_of("align"), [cache_path, cache_path], run, resume=True, device="cpu")
    # Settings and caches are compared before the data is opened, whose errors would be about what was never meant.
    with pytest.raises(ValueError, match=r"begun with another configuration: .*optim\.batch is 8, asked 4000"):
        train(config_of("align", "optim.batch=4000"), [cache_path], run, resume=True, device="cpu")
    bare = synthetic.write(tmp_path / "bare.zarr", teachers=(synthetic.teacher("else"),))
    with pytest.raises(ValueError, match=r"bare.zarr is not what .* was trained on .*image/random-a.* differ or are missing"):
        train(config_of("align"), [bare.path], run, resume=True, device="cpu")
    with pytest.raises(ValueError, match="already holds a run"):
        train(config_of("align"), [cache_path], run, device="cpu")


def test_a_run_knows_its_teachers_again(cache_path, aligned):
    cache = store.open_cache(cache_path)
    met = checkpoint.load(aligned).header.facts.teachers
    assert met and all(t.fingerprint == fingerprint(cache.record(f"image/{t.name}").spec) for t in met)


def test_runs_of_one_setup_differ_in_their_seeds_only():
    def header(stage, *assignments, print_="0", **about):
        caches = (Used(path="x", products=(("guide/" + about.pop("name", "g"), print_), ("points", "p"))),)
        return Header(config=config_of(stage, *assignments), facts=Facts(), caches=caches, step=9, steps=9, **about)

    one = header("align")
    assert checkpoint.setup(one) == checkpoint.setup(header("align", "seed=1"))
    assert checkpoint.setup(one, seeds=True) != checkpoint.setup(header("align", "seed=1"), seeds=True)
    assert checkpoint.setup(one) != checkpoint.setup(header("align", "data.teachers=random-a"))

    # Two guides are repetitions of each other by what they were trained on, wherever they lie.
    first, again, other = (
        header("distill", f"guide={name}", print_=print_, name=name, guide=weights, guide_setup=setup)
        for name, print_, weights, setup in (
            ("a", "0", "w0", "two teachers"),
            ("b", "1", "w1", "two teachers"),
            ("c", "2", "w2", "one teacher"),
        )
    )
    assert checkpoint.setup(first) == checkpoint.setup(again) != checkpoint.setup(other)
    assert checkpoint.setup(first, seeds=True) != checkpoint.setup(again, seeds=True)
    unknown = [dataclasses.replace(h, guide_setup="", guide="") for h in (first, again)]
    assert checkpoint.setup(unknown[0]) != checkpoint.setup(unknown[1])


def test_a_student_says_what_its_guide_is(guided, aligned, tmp_path):
    cached = store.open_cache(guided).record("guide/own").spec
    guide = checkpoint.load(aligned)
    assert cached.setup == checkpoint.setup(guide.header)
    train(config_of("distill", "guide=own"), [guided], tmp_path / "run", guide_run=aligned, device="cpu")
    found = checkpoint.load(tmp_path / "run").header.guide_setup
    assert found == checkpoint.guide_setup(None, cached) == checkpoint.guide_setup(guide, cached)
    assert len({found, checkpoint.guide_setup(guide, None), checkpoint.guide_setup(guide, dataclasses.replace(cached, blocks=1))}) == 3
    assert checkpoint.guide_setup(None, dataclasses.replace(cached, setup="")) == checkpoint.guide_setup(None, None) == ""


def test_a_cache_made_otherwise_is_named(tmp_path):
    saved = (Used(path="old.zarr", products=(("image/a", "1"), ("points", "2"))),)
    checkpoint.same_caches(saved, (Used(path="moved.zarr", products=saved[0].products),), tmp_path)
    with pytest.raises(ValueError, match="image/a differ"):
        checkpoint.same_caches(saved, (Used(path="new.zarr", products=(("image/a", "3"), ("points", "2"))),), tmp_path)


def test_a_run_does_not_go_on_with_other_shapes(tmp_path):
    """Shapes that `retry` mended since change all later batches, and no product's fingerprint."""
    path = tmp_path / "c.zarr"
    used = []
    for failed in ((3, 5), (3,)):
        synthetic.write(path, shapes=20, shard=8, failed=failed, points=PointSpec(count=32, blocks=1, ordered=16))
        used.append(Data([store.open_cache(path)], DataConfig(splits=()), batch=4, seed=0, needs=Needs()).used)
        shutil.rmtree(path)
    assert used[0][0].products == used[1][0].products
    checkpoint.same_caches(used[0], used[0], tmp_path)
    checkpoint.same_caches((dataclasses.replace(used[0][0], rows=""),), used[1], tmp_path)  # written by an earlier version
    with pytest.raises(UserError, match="18 selected then, 19 now"):
        checkpoint.same_caches(used[0], used[1], tmp_path)
