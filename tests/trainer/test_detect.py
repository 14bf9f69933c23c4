"""Detection: matching and loss by hand and by brute force, augmentation of scenes with boxes, and the task on made-up rooms."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch

from cache_schema import store
from cache_schema.errors import UserError
from tests.trainer import rooms
from trainer import checkpoint
from trainer.align import Align, AlignOptions, Teacher
from trainer.checkpoint import Header, Loaded
from trainer.config import AlignConfig, OptimConfig
from trainer.encoders.catalog import build, regrouped
from trainer.points import Convention
from trainer.stage import Facts
from trainer.tasks import boxes, catalog, detect
from trainer.tasks.abstraction import in_balls
from trainer.tasks.detect import Options
from trainer.tasks.detector import DetectorOptions
from trainer.tasks.matching import Predictions, SetWeights, Targets, binned, match, overlap, set_loss
from trainer.tasks.scene_boxes import SceneAugment, both, changed, draw, scenes
from trainer.tuning.catalog import Efficient

ENCODERS = {
    "pointmae-tiny": {"groups": 32, "group_size": 16, "embed": (16, 16, 32), "dim": 48, "depth": 2, "heads": 2},
    "pointmamba-tiny": {"groups": 32, "group_size": 16, "embed": (16, 16, 32), "dim": 48, "depth": 2},
    "pointm2ae-tiny": {"counts": (64, 32, 16), "embed": (16, 16, 32), "widths": (24, 24, 48), "depths": (1, 1, 1), "heads": 2},
}
MODEL = DetectorOptions(layers=2, dim=48, heads=2, dropout=0.0, head_dropout=0.0)
SMALL = Options(epochs=1, batch=4, seeds=1, queries=24, model=MODEL)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return rooms.write(tmp_path_factory.mktemp("caches") / "rooms.zarr", rooms=12, tests=4, count=256)


def aligned(name, **sizes):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        teacher = Teacher(name="a", dim=8, text=True, objective="contrast")
        stage = Align(build(name, **ENCODERS.get(name, {}) | sizes), (teacher,), AlignOptions(heads=2), {})
    return stage.eval()


def mean(scores, name):
    return next(metric for metric in scores.metrics if metric.name == name).mean


# ------------------------------------------------------------------------------------------------------ matching and loss


def random_boxes(*shape, turned=True):
    angles = torch.rand(*shape, 1) * 6 - 3
    return torch.cat([torch.rand(*shape, 3) * 2, torch.rand(*shape, 3) + 0.2, angles * turned], -1)


def test_overlap_is_the_intersection_over_union_where_boxes_meet_and_negative_where_they_do_not():
    torch.manual_seed(0)
    a, b = random_boxes(50, turned=False), random_boxes(50, turned=False)
    found = overlap(a, b)
    expected = torch.from_numpy(np.diagonal(boxes.iou(a.double().numpy(), b.double().numpy())).copy()).float()
    around = torch.maximum(a[:, :3] + a[:, 3:6] / 2, b[:, :3] + b[:, 3:6] / 2) - torch.minimum(
        a[:, :3] - a[:, 3:6] / 2, b[:, :3] - b[:, 3:6] / 2
    )
    both_volumes = a[:, 3:6].prod(-1) + b[:, 3:6].prod(-1)
    union = both_volumes / (1 + expected)
    assert torch.allclose(found, expected - 1 + union / around.prod(-1), atol=1e-5)
    assert torch.allclose(overlap(a, a), torch.ones(50), atol=1e-5)
    far = torch.tensor([5.0, 0, 0, 1, 1, 1, 0]).requires_grad_()
    apart = overlap(far, torch.tensor([0.0, 0, 0, 1, 1, 1, 0]))
    assert apart.item() == pytest.approx(-4 / 6)  # a union of 2 in a hull of 6
    (gradient,) = torch.autograd.grad(apart, far)
    assert gradient[0] < 0, "nearer is better"


def test_overlap_with_the_right_angle_does_not_depend_on_a_common_turn():
    torch.manual_seed(1)
    a, b = random_boxes(20, turned=False), random_boxes(20, turned=False)
    turn = SceneAugment(turn=180)
    drawn = draw(turn, 1, torch.Generator().manual_seed(0))
    _, moved = changed(torch.zeros(1, 1, 3), torch.stack([*a, *b])[None], drawn, upright=False)
    assert torch.allclose(overlap(moved[0, :20], moved[0, 20:]), overlap(a, b), atol=1e-5)


def predictions(found, logits, count=12):
    """Predictions [1, B, Q] of given boxes [B, Q, 7]."""
    bins, rests = binned(found[..., 6], count)
    sure = 50.0 * torch.nn.functional.one_hot(bins, count)
    return Predictions(
        logits=logits[None],
        centres=found[None, ..., :3],
        sizes=found[None, ..., 3:6],
        bins=sure[None],
        rests=rests[None, ..., None].expand(*sure[None].shape),
    )


def test_matching_is_the_cheapest_of_all_assignments():
    torch.manual_seed(2)
    weights = SetWeights(match_centre=1.0)
    true, kinds = random_boxes(3, 3), torch.tensor([[0, 1, -1], [1, 1, 0], [-1, -1, -1]])
    targets = Targets(boxes=true, kinds=kinds, extent=torch.full((3, 3), 4.0))
    predicted = predictions(random_boxes(3, 4), torch.randn(3, 4, 3))
    found = match(predicted, targets, weights)[0]
    probability = predicted.logits[0].softmax(-1)
    for scene in range(3):
        there = [j for j in range(3) if kinds[scene, j] >= 0]

        def cost(rows, scene=scene, there=there):
            total = 0.0
            for row, j in zip(rows, there, strict=True):
                box, other = predicted.boxes[0, scene, row], true[scene, j]
                total -= probability[scene, row, kinds[scene, j]] + 2 * overlap(box, other) - (box[:3] - other[:3]).abs().sum() / 4
            return float(total)

        best = min(itertools.permutations(range(4), len(there)), key=cost)
        expected = torch.full((4,), -1)
        for row, j in zip(best, there, strict=True):
            expected[row] = j
        assert torch.equal(found[scene], expected)


def test_more_true_boxes_than_predictions_leave_some_without_one():
    true = random_boxes(1, 3)
    targets = Targets(boxes=true, kinds=torch.zeros(1, 3, dtype=torch.int64), extent=torch.ones(1, 3))
    found = match(predictions(true[:, 1:2], torch.zeros(1, 1, 2)), targets, SetWeights())
    assert found.tolist() == [[[1]]]


def test_the_loss_of_right_predictions_is_zero_and_its_parts_are_those_of_the_definition():
    torch.manual_seed(3)
    true, kinds = random_boxes(2, 2), torch.tensor([[0, 1], [1, -1]])
    targets = Targets(boxes=true, kinds=kinds, extent=torch.tensor([[2.0, 1, 4], [1, 2, 3]]))
    sure = 50.0 * torch.nn.functional.one_hot(torch.tensor([[2, 0, 1], [2, 1, 2]]), 3)
    found = torch.cat([random_boxes(2, 1), true], 1)  # prediction 0 says "no object"
    perfect = set_loss(predictions(found, sure), targets, SetWeights())
    assert all(value.abs() < 1e-4 for value in perfect.values())
    shifted = found.clone()
    shifted[..., 0] += 0.1
    shifted[..., 4] += 0.2
    losses = set_loss(predictions(shifted, sure * 0), targets, SetWeights())
    assert losses["centre"].item() == pytest.approx((2 * 0.1 / 2 + 0.1 / 1) / 3, abs=1e-5)
    assert losses["size"].item() == pytest.approx((2 * 0.2 / 1 + 0.2 / 2) / 3, abs=1e-5)
    assert losses["kind"].item() == pytest.approx(math.log(3), abs=1e-5) and losses["angle_rest"].item() < 1e-6
    weighted = {"kind": 1, "centre": 5, "size": 1, "overlap": 1, "angle_bin": 0.1, "angle_rest": 0.5}
    assert losses["loss"].item() == pytest.approx(sum(w * losses[name].item() for name, w in weighted.items()), rel=1e-5)
    # "No object" counts a quarter: one of three is wrong, then a sure mistake costs (0.25 or 1) * 50 / (sum of the weights).
    wrong = sure.clone()
    wrong[0, 0] = sure[0, 1]
    one = set_loss(predictions(found, wrong), targets, SetWeights())["kind"].item()
    assert one == pytest.approx(0.25 * 50 / (3 * 1 + 3 * 0.25), rel=1e-4)
    twice = predictions(shifted, sure * 0)
    twice = dataclasses.replace(twice, **{name: value.expand(2, *value.shape[1:]) for name, value in vars(twice).items()})
    assert set_loss(twice, targets, SetWeights())["loss"].item() == pytest.approx(2 * losses["loss"].item(), rel=1e-5)


def test_angles_survive_their_bins_and_half_a_turn_changes_nothing():
    angles = torch.linspace(-7, 7, 101)
    for count in (1, 4, 12):
        bins, rests = binned(angles, count)
        assert ((0 <= bins) & (bins < count)).all() and (rests.abs() <= 1 + 1e-4).all()
        away = ((bins + rests / 2) * (math.pi / count) - angles) / math.pi
        assert torch.allclose(away, away.round(), atol=1e-5)
        one, other = binned(angles + math.pi / 7, count), binned(angles + math.pi / 7 + math.pi, count)
        assert torch.equal(one[0], other[0]) and torch.allclose(one[1], other[1], atol=1e-4)


# ------------------------------------------------------------------------------------------------- scenes and their changes


@pytest.mark.parametrize("upright", [False, True])
def test_boxes_change_with_their_points(upright):
    rng = np.random.default_rng(0)
    box = np.array([[0.5, 1, -1, 2, 1, 0.5, 0.0 if upright else 0.7]])
    points = torch.from_numpy(boxes.corners(box)[0] * 0.999 + 0.001 * box[0, :3]).float()
    options = SceneAugment(turn=5 if upright else 180, scale=(0.5, 2), shift=1)
    count = 16
    drawn = draw(options, count, torch.Generator().manual_seed(int(rng.integers(100))))
    moved, own = changed(points.expand(count, -1, -1), torch.from_numpy(box).float().expand(count, -1, -1), drawn, upright=upright)
    for some, (one,) in zip(moved.double().numpy(), own.double().numpy(), strict=True):
        assert boxes.inside(some, one[None]).all()
        smallest = boxes.envelopes(one[None])[0]
        assert np.allclose(some.max(0) - some.min(0), smallest[3:6], rtol=0.01), "no larger than needed"
        assert not upright or one[6] == 0
    still = draw(SceneAugment(turn=0, quarters=False, mirror=False), 2, torch.Generator().manual_seed(0))
    same, own = changed(points[None].expand(2, -1, -1), torch.from_numpy(box).float().expand(2, -1, -1), still, upright=upright)
    assert torch.equal(same[0], points) and torch.allclose(own[0], torch.from_numpy(box).float())


def test_a_quarter_turn_is_no_turn(tmp_path):
    def turn(box, _):
        box[..., 3:6] = box[..., [5, 4, 3]]
        box[..., 6] = -math.pi / 2

    plain, other = rooms.write(tmp_path / "a.zarr", rooms=4), rooms.write(tmp_path / "b.zarr", rooms=4, change=turn)
    one, two = scenes(plain, "all"), scenes(other, "all")
    assert one.upright and two.upright and np.allclose(one.boxes, two.boxes, atol=1e-5)
    assert not scenes(rooms.write(tmp_path / "t.zarr", rooms=4, turned=True), "all").upright


@pytest.mark.parametrize(("place", "value"), [(0, np.nan), (4, -1), (6, np.inf), ("class", 7), ("class", -2)])
def test_an_impossible_box_is_refused_with_its_place(tmp_path, place, value):
    def spoil(box, kinds):
        if place == "class":
            kinds[2, 0] = value
        else:
            box[2, 0, place] = value

    with pytest.raises(UserError, match=r"box 0 of row 2 must have"):
        scenes(rooms.write(tmp_path / "r.zarr", rooms=4, change=spoil), "all")


def test_what_does_not_fit_is_said(cache, cache_path, tmp_path):
    with pytest.raises(UserError, match=r"has no boxes, which a detector learns from"):
        scenes(store.open_cache(cache_path), "train")

    def emptied(box, kinds):
        kinds[:] = -1

    def thin(box, kinds):
        box[:, 0, 3] = 0

    empty = scenes(rooms.write(tmp_path / "e.zarr", rooms=4, tests=2, change=emptied), "all")
    with pytest.raises(UserError, match="has no box to learn from"):
        both(empty, scenes(cache, "test"))
    with pytest.raises(UserError, match="no box of a class that the detector knows: crate, pillar, table"):
        both(scenes(cache, "train"), empty)
    flat = scenes(rooms.write(tmp_path / "f.zarr", rooms=4, tests=2, change=thin), "test")
    assert any("2 test boxes have no volume: they count as not found" in note for note in both(scenes(cache, "train"), flat)[2])
    turned = scenes(rooms.write(tmp_path / "t.zarr", rooms=4, turned=True), "all")
    assert any("predicts no angles" in note for note in both(scenes(cache, "train"), turned)[2])


def test_classes_are_matched_by_name_and_others_left_out(cache, tmp_path, monkeypatch):
    monkeypatch.setitem(rooms.KINDS, "Lamp", (0.3, 1.5, 0.3))
    monkeypatch.setitem(rooms.KINDS, "Table", rooms.KINDS["table"])
    other = rooms.write(tmp_path / "o.zarr", rooms=12, tests=12, kinds=("Table", "Lamp", "crate"), count=64)
    test = scenes(other, "test")
    train, matched, notes = both(scenes(cache, "train"), test)
    assert train.names == matched.names == ("crate", "pillar", "table")
    assert np.array_equal(matched.kinds == 2, test.kinds == 0) and np.array_equal(matched.kinds == 0, test.kinds == 2)
    lost = int((test.kinds == 1).sum())
    assert lost and any(
        note.startswith(f"{lost} of {int((test.kinds >= 0).sum())} test boxes are left out") and "Lamp" in note for note in notes
    )


# ------------------------------------------------------------------------------------------------------------ the detector


def test_an_encoder_with_other_groups_keeps_its_weights():
    torch.manual_seed(0)
    for name, sizes in ENCODERS.items():
        encoder = build(name, **sizes).eval()
        points = torch.rand(2, 256, 3)
        same, more = regrouped(encoder, encoder.groups), regrouped(encoder, 2 * encoder.groups)
        assert torch.equal(same(same.patchify(points, False)).tokens, encoder(encoder.patchify(points, False)).tokens)
        assert more(more.patchify(points, False)).tokens.shape[1] == more.groups == 2 * encoder.groups
    odd = {**ENCODERS["pointm2ae-tiny"], "counts": (50, 30, 20)}
    with pytest.raises(UserError, match="take a multiple of 20"):
        regrouped(build("pointm2ae-tiny", **odd), 7)


def test_groups_are_the_first_points_in_a_ball():
    torch.manual_seed(0)
    xyz = torch.rand(2, 300, 3)
    found = in_balls(xyz[:, :5], xyz, 0.2, 6)
    for b, g in itertools.product(range(2), range(5)):
        near = [i for i in range(300) if (xyz[b, i] - xyz[b, g]).norm() < 0.2][:6]
        assert found[b, g].tolist() == near + near[:1] * (6 - len(near))


PRE = dataclasses.replace(MODEL, pre_encoder=True, pre_tokens=32, pre_radius=0.4, pre_points=8)


@pytest.mark.parametrize(("name", "tune"), [("pointmae-tiny", "full"), ("pointbert-tiny", "mlp"), ("recon-tiny", "pointgst")])
def test_the_pre_encoder_feeds_the_transformer(cache, name, tune):
    stage = aligned(name, groups=32, embed=(16, 16, 32), dim=48, depth=2, heads=2, **({"reduce": 16} if name == "pointbert-tiny" else {}))
    scores = detect.run(stage, cache, cache, dataclasses.replace(SMALL, tune=tune, model=PRE))
    assert 0 <= mean(scores, "AP25") <= 100


@pytest.mark.parametrize("name", ["pointmamba-tiny", "pointm2ae-tiny"])
def test_the_pre_encoder_is_refused_where_blocks_read_nothing_else(cache, name):
    with pytest.raises(UserError, match=r"model\.pre_encoder: \w+ cannot read tokens"):
        detect.run(aligned(name), cache, cache, dataclasses.replace(SMALL, model=PRE))


# ---------------------------------------------------------------------------------------------------------------- the task


@pytest.mark.parametrize("tune", ["full", "mlp", "lora"])
@pytest.mark.parametrize("name", ENCODERS)
def test_every_family_is_tuned_in_every_way(cache, name, tune):
    stage = aligned(name)
    before = {key: value.clone() for key, value in stage.state_dict().items()}
    scores = detect.run(
        stage, cache, cache, dataclasses.replace(SMALL, tune=tune, efficient=Efficient(lora_rank=2) if tune == "lora" else Efficient())
    )
    assert all(torch.equal(value, before[key]) for key, value in stage.state_dict().items())
    assert scores.variant == tune and [m.name for m in scores.metrics if m.headline] == ["AP25", "AP50"]
    assert sum(m.name.startswith("AP25 ") for m in scores.metrics) == 3
    assert any("parameters learned" in note for note in scores.notes) == (tune == "lora")
    assert scores.drawing.png("title $1").startswith(b"\x89PNG")


def test_a_detector_learns_turned_boxes_by_heart(tmp_path, monkeypatch):
    """Long pieces of furniture: without its angle, a box of the right size and place hardly overlaps the true one by half."""
    monkeypatch.setitem(rooms.KINDS, "beam", (1.6, 0.4, 0.3))
    found = rooms.write(tmp_path / "r.zarr", rooms=8, tests=8, count=192, kinds=("beam", "table"), turned=True)
    chosen = dataclasses.replace(
        SMALL,
        train_split="test",
        epochs=120,
        lr=2e-3,
        weight_decay=0.01,
        warmup=3.0,
        augment=SceneAugment(turn=0, quarters=False, mirror=False),
        weights=SetWeights(angle_bin=1.0),
    )
    kept, real = [], detect.detect
    monkeypatch.setattr(detect, "detect", lambda *arguments: kept.append(real(*arguments)) or kept[-1])
    scores = detect.run(aligned("pointmae-tiny"), found, found, chosen)
    assert mean(scores, "AP25") > 60, mean(scores, "AP25")
    assert mean(scores, "AP25") >= mean(scores, "AP50")
    header = Header(config=AlignConfig(optim=OptimConfig(batch=8, epochs=1, lr=1e-3)), facts=Facts(), caches=(), step=0, steps=0)
    assert scores.sides is not None and scores.sides.seen(header, scratch=True, units="scenes").learned == 8
    unturned = [dataclasses.replace(own, boxes=own.boxes * [1, 1, 1, 1, 1, 1, 0]) for own in kept[0]]
    metrics = {metric.name: metric.mean for metric in detect._metrics([unturned], unturned, scenes(found, "test"))}
    assert mean(scores, "AP50") > max(30, 2 * metrics["AP50"]), (mean(scores, "AP50"), metrics["AP50"])


def test_a_detector_finds_boxes_in_rooms_that_it_has_not_seen(tmp_path, monkeypatch):
    monkeypatch.setitem(rooms.KINDS, "block", (1.3, 1.0, 1.1))
    found = rooms.write(tmp_path / "r.zarr", rooms=48, tests=16, count=128, kinds=("block",))
    chosen = dataclasses.replace(SMALL, epochs=15, lr=2e-3, warmup=2.0, weight_decay=0.05)
    scores = detect.run(aligned("pointmae-tiny"), found, found, chosen)
    ap = next(m for m in scores.metrics if m.name == "AP25")
    assert ap.interval[0] > max(10 * ap.chance, 20) and not ap.verdict, (ap.told, ap.chance)


def test_what_cannot_be_done_is_refused(cache):
    with pytest.raises(UserError, match="tune=linear: one linear layer cannot predict"):
        Options(tune="linear")
    with pytest.raises(UserError, match="too few for queries=300"):
        detect.run(aligned("pointmae-tiny"), cache, cache, dataclasses.replace(SMALL, queries=300))
    with pytest.raises(UserError, match=r"model\.pre_tokens would have no effect where model\.pre_encoder=false"):
        DetectorOptions(pre_tokens=64)
    with pytest.raises(UserError, match=r"groups would have no effect"):
        dataclasses.replace(SMALL, groups=64, model=PRE)
    with pytest.raises(UserError, match=r"multiple of model\.heads, got 48 and 5"):
        detect.run(aligned("pointmae-tiny"), cache, cache, dataclasses.replace(SMALL, model=dataclasses.replace(MODEL, heads=5)))


def test_a_training_that_diverges_is_stopped(cache, monkeypatch):
    def broken(*arguments):
        return {name: value * math.nan for name, value in set_loss(*arguments).items()}

    monkeypatch.setattr(detect, "set_loss", broken)
    with pytest.raises(UserError, match=r"diverged in epoch \d of 2"):
        detect.run(aligned("pointmae-tiny"), cache, cache, dataclasses.replace(SMALL, epochs=2))


def test_a_result_says_how_scenes_were_read_and_is_saved_with_its_picture(cache, tmp_path):
    stage = aligned("pointmae-tiny")
    header = Header(
        config=AlignConfig(optim=OptimConfig(batch=8, epochs=1, lr=1e-3)),
        facts=Facts(),
        caches=(),
        step=1,
        steps=1,
        points=Convention(count=64),
    )
    run = Loaded(run=tmp_path / "run", header=header, model=stage, weights=checkpoint.digest(stage.state_dict()))
    chosen = dataclasses.replace(SMALL, groups=64, scratch=True, scale=2.0)
    found = catalog.evaluate("detect", run, cache, chosen)
    read = "trained on 64 points of a shape, normalize=unit_sphere, and reads 256 points of a scene, normalize=none, in 64 tokens"
    assert any(read in note for note in found.scores.notes)
    assert any("2 m are 1, and the height 0 m is 0 (as asked)" in note for note in found.scores.notes)
    assert found.title.startswith("detect full from scratch epochs=1 batch=4")
    files = catalog.save(found, tmp_path / "run")
    assert [file.suffix for file in files] == [".json", ".png"] and files[1].read_bytes().startswith(b"\x89PNG")


def test_the_guess_puts_mean_boxes_of_every_class_at_the_queries(cache):
    train = scenes(cache, "train")
    kinds = train.kinds[train.kinds >= 0]
    (guess,) = detect.guessed(train, [np.array([[0.0, 0, 0], [0.05, 0, 0], [3, 0, 0]])])
    assert len(guess.boxes) == 6, "the first two overlap"
    for kind in range(3):
        (rows,) = np.nonzero(guess.scores[:, kind])
        assert guess.scores[rows, kind] == pytest.approx((kinds == kind).mean())
        assert np.allclose(guess.boxes[rows, 3:6], train.boxes[train.kinds == kind, 3:6].mean(0))


def test_an_interval_is_no_point_where_nothing_was_found(cache):
    test = scenes(cache, "test")
    nothing = [boxes.Detections(boxes=np.zeros((0, 7)), scores=np.zeros((0, 3)))] * len(test)
    everything = [boxes.Detections(boxes=own, scores=np.eye(3)[kinds]) for own, kinds in map(test.of, range(len(test)))]
    for found, value, ends in ((nothing, 0, (0, 49)), (everything, 100, (51, 100))):
        metric = detect._metrics([found], nothing, test)[0]
        assert metric.values == (value,) and metric.interval == pytest.approx(ends, abs=0.5)


def test_what_no_query_can_find_is_noted(cache):
    chosen = dataclasses.replace(SMALL, queries=2, model=dataclasses.replace(MODEL, reach=0.01))
    notes = detect.run(aligned("pointmae-tiny"), cache, cache, chosen).notes
    assert any("have no query within model.reach=0.01 of their centre" in note for note in notes)
    crowded = sum(len(scenes(cache, "test").of(i)[0]) > 2 for i in range(4))
    assert f"{crowded} of 4 test scenes have more boxes than queries, so not all can be found" in notes


def test_a_probe_without_boxes_is_refused_before_the_training(cache, cache_path):
    assert catalog.lacks("detect", cache) == ""
    assert "needs the product boxes, which" in catalog.lacks("detect", store.open_cache(cache_path))
