"""Encoders of all families as graphs: onnxruntime and torch.export give what torch gives, on points that are prepared as the page says."""

import functools
import json
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from cache_schema import store
from cache_schema.errors import UserError
from tests.trainer.conftest import SMALL, keep, write_small
from trainer import checkpoint, classifiers, graphs
from trainer.loop import train
from trainer.recipes import configured
from trainer.tasks.features import Body

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "hand-on.md"
LEAST = ("align.pool=max", "align.projection=linear", "data.teachers=random-a")
"""What follows the encoder is the same for every family: one of them has all of it."""
FAMILIES = {
    "pointmae-tiny": SMALL,
    "pointmamba-tiny": (*SMALL, "encoder.groups=2", *LEAST),  # its scan is a loop over tokens, which a graph writes out
    "pointm2ae-tiny": (
        "encoder.counts=32,16,8",
        "encoder.embed=8,8,16",
        "encoder.widths=12,24,48",
        "encoder.depths=1,1,1",
        "align.heads=3",
    ),
}


@pytest.fixture(scope="module")
def runs(cache_path, tmp_path_factory):
    """A run of each family, by the name of its encoder: one step."""
    folder = tmp_path_factory.mktemp("families")
    for name, small in FAMILIES.items():
        config = configured("smoke", "align", [f"encoder.name={name}", *small, "data.threads=1", "optim.epochs=1"])
        train(config, [cache_path], folder / name, device="cpu")
    return {name: folder / name for name in FAMILIES}


@pytest.fixture(scope="module")
def files(runs, tmp_path_factory):
    """Gives the file of a family's graph, and what was told of it. Each is made once, when it is first asked for."""
    folder = tmp_path_factory.mktemp("graphs")
    return functools.cache(lambda name: (folder / f"{name}.onnx", graphs.write(runs[name], folder / f"{name}.onnx")))


def prepared(points, count):
    """The function of the page, as a reader would copy it."""
    code = re.search(r"```python\n(import numpy as np\n+def prepared.*?)```", PAGE.read_text(), re.DOTALL)[1]
    names = {}
    exec(code, names)
    return names["prepared"](points, count)


@pytest.mark.parametrize("name", ["pointmamba-tiny", "pointm2ae-tiny"])
def test_onnxruntime_gives_what_torch_gives(name, runs, files):
    """Point-MAE's operators are in the file of a classifier, below. To export takes long: each operator is exported once."""
    file, made = files(name)
    session = onnxruntime.InferenceSession(file)
    model = checkpoint.load(runs[name]).model
    generator = np.random.default_rng(3)
    clouds = [30 + 7 * generator.normal(size=(n, 3)) * (1, 2, 0.5) for n in (64, 500, 2000)]
    for chosen in (clouds[:1], clouds, clouds[::-1] * 2):  # another number of shapes than in the export each time
        batch = np.concatenate([prepared(cloud, 64) for cloud in chosen])
        found = dict(zip([o.name for o in session.get_outputs()], session.run(None, {"points": batch}), strict=True))
        truth = model.features(torch.from_numpy(batch), ordered=True)
        np.testing.assert_allclose(found["summary"], truth.summary, atol=1e-4)
        np.testing.assert_allclose(found["vector"], Body.of(model, "mean_max")(torch.from_numpy(batch), True).detach(), atol=1e-4)
        np.testing.assert_allclose(found["tokens"], truth.tokens, atol=1e-4)
        with torch.no_grad():
            spaces = model.teachers.embed(truth.summary)
        assert spaces.keys() == {"image/random-a", "text/random-a"} | ({"image/random-b"} if name == "pointm2ae-tiny" else set())
        np.testing.assert_allclose(found["text/random-a"], spaces["text/random-a"], atol=1e-4)
        if "image/random-b" in spaces:  # by regression: made the teacher's
            np.testing.assert_allclose(np.linalg.norm(found["image/random-b"], axis=1), 1, atol=1e-4)
    assert list(found) == [value.name for value in made.outputs]
    assert {node.domain for node in onnx.load(file).graph.node} == {""}, "operators of ONNX alone"
    with pytest.raises(Exception, match=r"Got: 65 Expected: 64"):
        session.run(None, {"points": np.zeros((1, 65, 3), np.float32)})


def test_groups_that_the_caller_has_found(runs):
    points = prepared(np.random.default_rng(0).normal(size=(300, 3)), 64)
    for run in runs.values():
        model, given = checkpoint.load(run).model, []
        config = model.encoder.config
        levels = zip(getattr(config, "counts", (config.groups,)), getattr(config, "sizes", (model.encoder.group_size,)), strict=True)
        coordinates = points[0]
        for groups, size in levels:
            centres = points[0][:groups]
            members = np.argsort(((centres[:, None] - coordinates) ** 2).sum(-1), axis=1, kind="stable")[:, :size]
            given += [centres, members] if given else [coordinates[members] - centres[:, None], centres]
            coordinates = centres
        named = graphs.inputs(model, torch.from_numpy(points), "groups")
        assert [value.shape[1:] for value in named] == [array.shape for array in given]
        with torch.no_grad():
            _, tokens, summary, *_ = graphs.Graph(model, "groups").eval()(*(torch.from_numpy(array[None]) for array in given))
        truth = model.features(torch.from_numpy(points), ordered=True)
        torch.testing.assert_close(summary, truth.summary, atol=1e-5, rtol=0)
        torch.testing.assert_close(tokens, truth.tokens, atol=1e-5, rtol=0)


def test_a_file_says_what_it_is(runs, files):
    file, _ = files("pointmamba-tiny")
    model = onnx.load(file)
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert said["mmpd.digest"] == checkpoint.weights(runs["pointmamba-tiny"])
    assert json.loads(said["mmpd.convention"])["count"] == 64
    assert said["mmpd.licences"].startswith("nobody knows whether it may be shared")
    assert "Take 64 points" in said["mmpd.preprocessing"] and "farthest-point order" in said["mmpd.preprocessing"]
    assert str(file.parent).encode() not in file.read_bytes()
    assert str(Path(graphs.__file__).parent).encode() not in file.read_bytes(), "no path of this machine"


def test_torch_export_runs_without_this_software(runs, tmp_path):
    file = tmp_path / "mamba.pt2"
    made = graphs.write(runs["pointmamba-tiny"], file)
    assert made.apart < 1e-5 and not list(tmp_path.glob("*.tmp"))
    with zipfile.ZipFile(file) as members:
        for name in members.namelist():
            for place in (b"/trainer/", b"site-packages", str(Path(graphs.__file__).parents[1]).encode()):
                assert place not in members.read(name), f"{name} holds {place}"
    program = torch.export.load(file)
    assert not any("mmpd" in str(node.target) for node in program.graph.nodes), "no operator of this software"
    points = prepared(np.random.default_rng(1).normal(size=(99, 3)), 64)
    truth = checkpoint.load(runs["pointmamba-tiny"]).model.features(torch.from_numpy(points), ordered=True)
    torch.testing.assert_close(program.module()(torch.from_numpy(points))[1], truth.tokens, atol=1e-5, rtol=0)


def test_a_graph_that_differs_is_not_written(runs, tmp_path, monkeypatch):
    def off(graph, *arguments):
        return b"a file", lambda sample: [value + 0.01 for value in graph(*sample)]

    monkeypatch.setattr(graphs, "_exported", off)
    with pytest.raises(UserError, match="another vector than torch for 1 shapes"):
        graphs.write(runs["pointmae-tiny"], tmp_path / "off.pt2")
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match=r"must end in \.onnx or \.pt2"):
        graphs.write(runs["pointmae-tiny"], tmp_path / "off.pth")


@pytest.mark.parametrize("task", ["classify", "svm"])
def test_a_kept_classifier_gives_its_logits(task, runs, cache_path, tmp_path, monkeypatch):
    """As a real file for one of them. The graph of the other is computed by torch: to export it takes long, and is the same work."""
    given = []
    if task == "classify":
        monkeypatch.setattr(graphs, "_onnx", lambda graph, *rest: given.append((graph, rest[-1])) or (b"", lambda sample: graph(*sample)))
    run = runs["pointmae-tiny"]
    write_small(tmp_path / "study.zarr", shapes=48, licence="CC BY-ND 4.0")
    keep(checkpoint.load(run), tmp_path / "study.zarr", task, task)
    kept = classifiers.load(run, task)
    made = graphs.write(run, tmp_path / "a.onnx", classifier=task)
    assert [(value.name, value.shape) for value in made.outputs] == [("logits", ("batch", 3))]
    points = np.array(store.open_cache(cache_path).column("points/xyz")[:3, 0], np.float32)
    if given:
        ((graph, said),) = given
        compute = lambda sample: graph(torch.from_numpy(sample))[0].detach()  # noqa: E731
    else:
        session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
        file = onnx.load(tmp_path / "a.onnx")
        assert {node.domain for node in file.graph.node} == {""}, "operators of ONNX alone"
        said = {entry.key: entry.value for entry in file.metadata_props}
        compute = lambda sample: session.run(None, {"points": sample})[0]  # noqa: E731
    for count in (1, 3):
        np.testing.assert_allclose(compute(points[:count]), kept.logits(torch.from_numpy(points[:count]), True), atol=1e-4)
    assert json.loads(said["mmpd.classes"]) == list(kept.classes)
    assert "nobody knows" in said["mmpd.licences"], "the cache of the classifier is neither named nor one of the run's"
    with pytest.raises(UserError, match="a classifier takes points"):
        graphs.write(run, tmp_path / "other.pt2", "groups", task)


def test_weights_that_are_not_finite_are_refused_before_a_file_is_made(runs, tmp_path, monkeypatch):
    broken = tmp_path / "broken"
    shutil.copytree(runs["pointmae-tiny"], broken)
    header, encoder, tensors = checkpoint.read(broken)
    spoilt = {name: value * float("nan") if value.is_floating_point() else value for name, value in tensors.items()}
    checkpoint.path(broken).write_bytes(checkpoint.contents(header, encoder, spoilt))
    monkeypatch.setattr(graphs, "_exported", lambda *given: pytest.fail("a file was made"))
    with pytest.raises(UserError, match="NaN or infinite"):
        graphs.write(broken, tmp_path / "encoder.pt2")
