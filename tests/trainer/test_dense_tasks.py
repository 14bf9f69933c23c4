"""What the tasks `parts`, `scenes` and `detect` share: what is frozen stays, seeds repeat, and what cannot be is refused or said."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from cache_schema.errors import UserError
from cache_schema.store import Cache
from tests.trainer import rooms
from tests.trainer.labelled import write_parts, write_scenes
from tests.trainer.test_segmentation import rewritten, stage_of
from trainer import checkpoint
from trainer.tasks import catalog, detect, parts, scenes, segment
from trainer.tasks.accuracy import interval
from trainer.tasks.detector import DetectorOptions
from trainer.tasks.metres import Frame
from trainer.tasks.result import Scores
from trainer.tasks.seen import Sides
from trainer.tasks.shapes import of_split

BOXES = dataclasses.replace(
    detect.SMOKE, queries=16, tune="mlp", model=DetectorOptions(layers=1, dim=24, heads=2, dropout=0.0), lr=1e-3, batch=4
)
MODULES = {"parts": (parts, parts.SMOKE), "scenes": (scenes, scenes.SMOKE), "detect": (detect, BOXES)}


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Cache]:
    path = tmp_path_factory.mktemp("caches")
    return {
        "parts": write_parts(path / "parts.zarr", shapes=18),
        "scenes": write_scenes(path / "scenes.zarr", scenes=3, count=128),
        "detect": rooms.write(path / "rooms.zarr", rooms=6, tests=2, count=128),
    }


def run(task: str, caches: dict[str, Cache], test: Cache | None = None, train: Cache | None = None, **changes: object) -> Scores:
    module, options = MODULES[task]
    own = train or caches[task]
    return module.run(stage_of(), own, test or own, dataclasses.replace(options, **changes))  # type: ignore[attr-defined, no-any-return]


# ------------------------------------------------------------------------------------------------------------ what is kept


@pytest.mark.parametrize("tune", ["mlp", "linear"])
def test_a_frozen_encoder_keeps_weights_and_statistics_to_the_bit(tune: str, caches: dict[str, Cache]) -> None:
    stage = stage_of()
    before = {name: value.clone() for name, value in stage.encoder.state_dict().items()}  # type: ignore[attr-defined]
    assert any("running_mean" in name for name in before)
    task = parts.prepared(stage, caches["parts"], caches["parts"], parts.SMOKE)
    options = dataclasses.replace(parts.SMOKE, tune=tune, epochs=2)
    model = segment.segmenter(stage, task.train, options, len(task.names), 3)
    head = [value.clone() for value in model.head.parameters()]
    *_, model = segment.fit(model, task.train, options, seed=0)
    encoders = [model.encoder]
    if tune == "mlp":
        train = detect.scenes(caches["detect"], "train")
        encoders.append(detect.fit(stage.encoder, train, stage.convention, Frame(), dataclasses.replace(BOXES, epochs=2), 0).encoder)
    for encoder in encoders:
        after = encoder.state_dict()  # type: ignore[attr-defined]
        assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)
    assert not any(torch.equal(old, new) for old, new in zip(head, model.head.parameters(), strict=True))


@pytest.mark.parametrize("task", MODULES)
def test_the_same_seed_gives_the_same_numbers_and_another_one_others(task: str, caches: dict[str, Cache]) -> None:
    one, two = run(task, caches, tune="full", epochs=2, lr=1e-2, seeds=2), run(task, caches, tune="full", epochs=2, lr=1e-2, seeds=2)
    assert one == two
    if task != "detect":  # two rooms and two epochs: nothing is found
        assert one.metrics[0].values[0] != one.metrics[0].values[1]
    if task == "parts":
        peers = run(task, caches, tune="full", epochs=2, lr=1e-2, seeds=2, peer_protocol=True, votes=2)
        assert peers.metrics[: len(one.metrics)] == one.metrics, "a look at the test shapes changed the training"


def test_scenes_are_turned_about_the_vertical_only(caches: dict[str, Cache]) -> None:
    task = scenes.prepared(stage_of(), caches["scenes"], caches["scenes"], scenes.SMOKE)
    points, labels = task.train.read(np.arange(4), 0), torch.zeros(4, 128, dtype=torch.int64)
    moved, _ = segment.changed(points, labels, scenes.TURNING, torch.Generator().manual_seed(0))
    size = (moved[..., 1] / points[..., 1]).median(1).values[:, None]
    assert torch.allclose(moved[..., 1], size * points[..., 1], atol=1e-5) and ((size >= 0.9) & (size <= 1.1)).all()
    assert torch.allclose(moved[..., ::2].norm(dim=-1), size * points[..., ::2].norm(dim=-1), atol=1e-5)
    assert not torch.allclose(moved[..., 0], size * points[..., 0], atol=0.1)


def test_points_without_a_label_count_neither_in_the_loss_nor_in_a_score() -> None:
    torch.manual_seed(0)
    logits, labels, weights = torch.randn(2, 9, 4), torch.randint(-1, 4, (2, 9)), torch.tensor([1.0, 3, 2, 5])
    logits.requires_grad_()
    loss = segment.cross_entropy(logits, labels, weights)
    known = labels >= 0
    each = -logits.log_softmax(-1)[known].gather(1, labels[known, None])[:, 0]
    assert torch.allclose(loss, (each * weights[labels[known]]).sum() / weights[labels[known]].sum())
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient[~known] == 0).all() and (gradient[known] != 0).all()
    assert segment.cross_entropy(logits, torch.full((2, 9), -1), weights) == 0


# -------------------------------------------------------------------------------------------------------------- what is said


@pytest.mark.parametrize("task", MODULES)
def test_a_result_names_its_units_and_has_no_interval_over_one(task: str, caches: dict[str, Cache], tmp_path: Path) -> None:
    one = {
        "parts": lambda: write_parts(tmp_path / "one.zarr", shapes=3, forms=("tower",)),
        "scenes": lambda: caches["scenes"],
        "detect": lambda: rooms.write(tmp_path / "one.zarr", rooms=3, tests=1, count=128),
    }[task]()
    found = run(task, caches, test=one, train=caches[task])
    units = "shape" if task == "parts" else "scene"
    metric = found.metrics[0]
    assert metric.base.startswith(f"1 test {units},") and metric.interval is None and metric.units == units + "s"
    assert task == "parts" or any("there are few test scenes (1)" in note for note in found.notes)
    told = run(task, caches).metrics[0].base
    assert told.startswith({"parts": "6 test shapes", "scenes": "1 test scene,", "detect": "2 test scenes"}[task])


def test_an_interval_is_no_point_where_all_is_right_and_says_nothing_of_one_scene() -> None:
    assert interval(lambda chosen: 100.0, 20) == pytest.approx((83.9, 100), abs=0.1)
    assert interval(lambda chosen: 0.0, 20) == pytest.approx((0, 16.1), abs=0.1)
    assert interval(lambda chosen: 0.0, 1) is None
    values = np.array([10.0, math.nan, 30, 50])  # a scene without the class: draws of it alone do not count

    def mean(chosen: np.ndarray) -> float:
        own = values[chosen][~np.isnan(values[chosen])]
        return float(own.mean()) if len(own) else math.nan

    low, high = interval(mean, 4)  # type: ignore[misc]
    assert 10 <= low < 30 < high <= 50


def test_crops_of_one_scene_in_both_splits_are_said(aligned: Path, tmp_path: Path) -> None:
    crops = rooms.write(tmp_path / "c.zarr", rooms=4, tests=2, count=64, ids=["a#1", "a#2", "a#3", "b#1"])
    labelled = write_scenes(tmp_path / "s.zarr", scenes=3, count=64)
    for cache, tested, said in (
        (crops, "test", "1 of 2 test scenes are also training scenes, or crops of them"),
        (labelled, "all", "2 of 3 test scenes are also training scenes, or crops of them"),
    ):
        sides = Sides(train=of_split(cache, "train", labelled=False), test=of_split(cache, tested, labelled=False))
        assert sides.seen(checkpoint.header(aligned), scratch=True, units="scenes").notes("scenes") == [said]


def test_a_probe_is_refused_without_labels_of_points(caches: dict[str, Cache]) -> None:
    assert catalog.lacks("parts", caches["parts"]) == catalog.lacks("scenes", caches["scenes"]) == ""
    for task in ("parts", "scenes", "zeroshot-parts"):
        assert "needs the array points/part, which" in catalog.lacks(task, caches["detect"])


# ---------------------------------------------------------------------------------------------------------- what is refused


def blank(cache: Cache, path: Path) -> Cache:
    """The same cache with the label -1 everywhere."""
    names = cache.record("points").spec.parts
    return rewritten(cache, path, parts=names, part=np.full_like(cache.column("points/part"), -1))


REFUSED: dict[str, tuple[str, Callable[[dict[str, Cache], Path], dict[str, object]], str]] = {
    "parts of scenes": ("parts", lambda c, p: {"train": c["scenes"]}, "`scenes` labels points without"),
    "scenes without labels": ("scenes", lambda c, p: {"train": c["detect"]}, "has no labels of points"),
    "boxes of shapes": ("detect", lambda c, p: {"train": c["parts"]}, "has no boxes"),
    "more groups than points": ("parts", lambda c, p: {"groups": 256}, "256 groups of 16 need at least 256 points, got 128"),
    "larger groups than blocks": ("scenes", lambda c, p: {"group_size": 200}, "need at least 200 points"),
    "fewer points than groups": ("parts", lambda c, p: {"points": 8}, "need at least 16 points, got 8"),
    "more points than stored": ("scenes", lambda c, p: {"points": 5000}, "points=5000: a shape of .* has 128 points in each of 2 blocks"),
    "no test label": ("scenes", lambda c, p: {"test": blank(c["scenes"], p)}, "no point of a class that training knows"),
    "no known part": (
        "parts",
        lambda c, p: {"test": rewritten(c["parts"], p, parts=tuple("abcde"), part=c["parts"].column("points/part"))},
        "no training shape has one of the parts that the test shapes of its class have: c of rod",
    ),
    "metres and unit sphere": (
        "detect",
        lambda c, p: {"scale": 2.0, "train": rooms.write(p, rooms=4, tests=2, count=64, normalize="unit_sphere")},
        "scale and middle are for caches in metres",
    ),
    "two kinds of points": (
        "detect",
        lambda c, p: {"test": rooms.write(p, rooms=4, tests=2, count=64, normalize="unit_sphere")},
        "one cache has metres, the other the unit sphere",
    ),
    "angles of upright boxes": (
        "detect",
        lambda c, p: {"model": dataclasses.replace(BOXES.model, bins=6)},
        "model.bins would have no effect where no box of split 'train'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_before_a_training(
    case: str, caches: dict[str, Cache], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.tasks.finetune.adamw", None)
    task, changes, message = REFUSED[case]
    with pytest.raises(UserError, match=message):
        run(task, caches, **changes(caches, tmp_path / "other.zarr"))  # type: ignore[arg-type]


def test_metres_may_be_read_as_they_are(caches: dict[str, Cache]) -> None:
    """A run of the unit sphere was told "build a cache with points.normalize=unit_sphere" where 1 m was to be 1."""
    assert "1 m are 1, and the height 0 m is 0 (as asked)" in run("scenes", caches, scale=1.0, middle=0.0).notes[0]
    note = next(note for note in run("detect", caches, scale=None, middle=None).notes if "m are 1" in note)
    assert note.endswith("(measured on the training crops)")
    turned = Frame(middle=1.2, scale=2.0)
    points = torch.randn(5, 6)
    assert torch.allclose(turned.back(turned(points)[:, :3]), points[:, :3], atol=1e-6) and torch.equal(
        turned(points)[:, 3:], points[:, 3:]
    )
