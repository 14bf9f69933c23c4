"""Patch features of teachers as targets of tokens, in both stages, and zero-shot parts."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cache_schema import synthetic
from cache_schema.errors import UserError
from cache_schema.products import DENSE, LABELS
from cache_schema.spec import DenseSpec, LabelSet, PointSpec, Record, to_json
from tests.trainer.conftest import config_of
from trainer import checkpoint
from trainer.augment import AugmentOptions, augment, draw
from trainer.batch import Batch, regrouped
from trainer.data import Data
from trainer.loop import train
from trainer.part import DataConfig, Needs
from trainer.prepare import new_stage, open_data
from trainer.tasks import catalog as tasks
from trainer.tasks import parts, zeroshot_parts

LABELLED = LabelSet(name="source", classes=("cone", "cube"), templates=("a {}", "the shape of a {}"))
PARTS = ("tip", "side", "base")
GROUPS = ("encoder.groups=8", "encoder.group_size=8")
ON = ("align.local_weight=0.5", *GROUPS)


def write(path, *, dense=("clip", "dino"), labelled=False, seed=0, unseen=()):
    """A cache of 24 shapes in which two teachers have patch features on 8 groups of the first of two blocks. No view sees rows `unseen`."""
    teachers = (synthetic.teacher("clip"), synthetic.teacher("dino", 16, text=False))
    points = PointSpec(count=64, blocks=2, ordered=16, parts=PARTS if labelled else ())
    cache = synthetic.write(path, shapes=24, teachers=teachers, labels=LABELLED, points=points, failed=(4,), seed=seed)
    rng = np.random.default_rng(seed)
    for teacher in teachers:
        if teacher.name in dense:
            spec = DenseSpec(teacher=teacher, blocks=1, groups=8, group_size=4, dim=teacher.dim, method="random")
            record = Record(product=DENSE.product(teacher=teacher.name), kind=DENSE.name, spec=spec, per_shape=3, inputs=())
            seen = rng.integers(0, 3, (24, 1, 8)).astype(np.uint8)
            seen[list(unseen)] = 0
            features = rng.standard_normal((24, 1, 8, teacher.dim)).astype(np.float16) * (seen > 0)[..., None]
            synthetic.fill(cache, {record: {f"{record.product}/features": features, f"{record.product}/seen": seen}})
    return cache


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return write(tmp_path_factory.mktemp("dense") / "dense.zarr")


def parted(cache, stage="align", *assignments):
    """The data and the untrained model of a run."""
    config = config_of(stage, *assignments)
    ranks = type("One", (), {"device": torch.device("cpu"), "first": True})()
    data = open_data(config, [cache], None, 8, ranks)
    return config, data, new_stage(config, data, None)[0]


# ------------------------------------------------------------------------------------------------------- stage 1


def test_without_the_local_loss_nothing_changes(cache):
    _, data, off = parted(cache, "align", *GROUPS)
    config, more, on = parted(cache, "align", *ON)
    assert data.batch(0).dense == {} and off.local is None
    assert not [name for name, _ in data.used[0].products if name.startswith("dense")]
    assert "local_weight" not in to_json(config_of("align").align) and "dense" not in to_json(config_of("align").data)
    # All else begins and counts as without it. Only blocks with patch features are read, so the batch comes from the same data.
    batch, generator = more.batch(0), torch.Generator().manual_seed(0)
    drawn = on.draw(8, generator)
    assert {name: value for name, value in on.state_dict().items() if not name.startswith("local.")}.keys() == off.state_dict().keys()
    torch.manual_seed(0)
    expected = off(batch, drawn)
    torch.manual_seed(0)
    found = on(batch, drawn)
    assert all(torch.equal(found[name], value) for name, value in expected.items() if name != "loss")
    local = (found["local/clip"] + found["local/dino"]) / 2
    torch.testing.assert_close(found["loss"], expected["loss"] + config.align.local_weight * local)


def test_the_local_loss_is_the_mean_over_groups_that_a_view_sees(cache):
    _, data, stage = parted(cache, "align", *ON)
    stage.eval()
    batch = data.batch(0)
    found = stage(batch, stage.draw(8, torch.Generator().manual_seed(0)))
    tokens = stage.encoder(stage.encoder.patchify(batch.points, True)).tokens
    for name in ("clip", "dino"):
        # As the cache holds them: token i belongs to group i of the first block.
        stored, seen = (cache.array(f"dense/{name}/{which}")[:][batch.index, 0].astype(np.float32) for which in ("features", "seen"))
        predicted = stage.local.embed(tokens)[name].detach().numpy()
        assert 0 < (seen == 0).mean() < 1
        each = [
            1 - p @ s / np.linalg.norm(p) / np.linalg.norm(s) for p, s, n in zip(*map(_flat, (predicted, stored, seen)), strict=True) if n
        ]
        assert found[f"local/{name}"].item() == pytest.approx(np.mean(each), abs=1e-5)
    found["loss"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in stage.local.parameters())


def _flat(values):
    return values.reshape(-1, values.shape[-1]) if values.ndim == 3 else values.reshape(-1)


def test_features_follow_points_that_move_to_other_places():
    """Dropped points let later ones move up: token i then has another centre, which may have no group."""
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(4, 32, 3, generator=generator)
    drawn = draw(AugmentOptions(rotate=False, tilt=0, scale=(1, 1), shift=0, drop=0.6), 4, 32, generator)
    # The feature of a group is the place of its centre, so it is easy to see where it should be.
    batch = Batch(points=points, index=torch.arange(4), label=torch.zeros(4), dense={"a": points[:, :8].half()})
    batch = dataclasses.replace(batch, dense_seen={"a": torch.rand(4, 8, generator=generator) > 0.3})
    moved = regrouped(dataclasses.replace(batch, points=augment(points, drawn)), drawn.source)
    seen = moved.dense_seen["a"]
    assert 0 < seen.sum() < batch.dense_seen["a"].sum()
    torch.testing.assert_close(moved.dense["a"][seen], moved.points[:, :8][seen].half())
    for row in range(4):
        assert seen[row].sum() == sum(int(place < 8 and batch.dense_seen["a"][row, place]) for place in drawn.source[row, :8].tolist())
    assert regrouped(batch, None) is batch


def test_a_run_learns_and_its_checkpoint_has_the_heads(cache, tmp_path):
    train(config_of("align", *ON, "optim.epochs=6", "data.dense=dino"), [cache.path], tmp_path / "run", device="cpu")
    loaded = checkpoint.load(tmp_path / "run")
    assert loaded.config.data.dense == ("dino",)
    assert [(t.name, t.dim, t.text) for t in loaded.header.facts.patches] == [("dino", 16, False)]
    assert loaded.model.local.embed(torch.zeros(2, 8, 48))["dino"].shape == (2, 8, 16)
    assert ("dense/dino", cache.record("dense/dino").fingerprint) in loaded.header.caches[0].products
    with pytest.raises(UserError, match="tokens learned patch features of teachers without a text side only: dino"):
        zeroshot_parts.readers(loaded.model, ())


def test_a_cache_without_a_teacher_counts_nowhere(cache, tmp_path):
    other = write(tmp_path / "other.zarr", dense=("dino",), seed=1)
    needs = Needs(teachers=True, groups=8, centres=8)
    batch = Data([cache, other], DataConfig(splits=(), templates=0), batch=40, seed=0, needs=needs).batch(0)
    there = batch.index < 24
    assert 0 < there.sum() < 40
    assert not batch.dense_seen["clip"][~there].any() and batch.dense_seen["clip"][there].any() and batch.dense_seen["dino"][~there].any()
    assert not batch.dense["clip"][~there].any()


@pytest.mark.parametrize(
    ("stage", "assignments", "message"),
    [
        ("align", ("data.dense=clip",), "data.dense has no effect: no loss uses patch features"),
        (
            "align",
            (*ON, "data.dense=siglip"),
            r"no finished patch features of siglip on points. Complete: clip, dino. `mmpd-cache add-dense",
        ),
        ("align", ("align.local_weight=1", "encoder.groups=16"), r"dense/clip has 8 groups, the encoder 16: --set encoder\.groups=8"),
        ("align", ("align.local_weight=1", "encoder.groups=32"), r"only 16 are in farthest-point order; the encoder needs 32"),
        ("align", (*ON, "data.resample=true"), "no patch features are known"),
        ("align", ("align.local_weight=-1",), "must not be negative"),
        ("distill", ("align.local_weight=1",), "a loss of stage 1 and has no effect in stage 2"),
        ("distill", ("distill.tokens=dense", "distill.local_weight=0"), "distill.tokens"),
        (
            "distill",
            (*GROUPS, "distill.tokens=dense", "distill.global_weight=0", "start=random"),
            "of one teacher, got clip, dino: name it",
        ),
        ("distill", ("distill.tokens=dense", "augment.drop=0.1"), "augment.drop must be 0"),
    ],
)
def test_what_cannot_be_is_refused(cache, stage, assignments, message):
    with pytest.raises(UserError, match=message):
        parted(cache, stage, *assignments)


# ------------------------------------------------------------------------------------------------------- stage 2

TOKENS = (*GROUPS, "distill.tokens=dense", "distill.global_weight=0", "start=random", "data.dense=dino")


@pytest.mark.parametrize("masked", ["false", "true"])
def test_stage_2_predicts_patch_features(cache, masked):
    _, data, stage = parted(cache, "distill", *TOKENS, f"distill.masked_only={masked}")
    assert data.guide is None
    stage.eval()
    batch = data.batch(0)
    drawn = stage.draw(8, torch.Generator().manual_seed(0))
    patches = stage.encoder.patchify(batch.points, True)
    predicted = stage.local(stage.encoder(patches, drawn.visible), patches.coarsest.centres, drawn.order)
    keep = batch.dense_seen["dino"].clone()
    if masked == "true":
        keep &= torch.zeros_like(keep).scatter(1, drawn.hidden, True)
    apart = 1 - F.cosine_similarity(predicted, batch.dense["dino"].float(), dim=-1)
    torch.testing.assert_close(stage(batch, drawn)["loss"], apart[keep].mean())


def test_stage_2_trains_on_patch_features_beside_a_guide(cache, tmp_path):
    train(config_of("distill", *TOKENS, "optim.epochs=1"), [cache.path], tmp_path / "run", device="cpu")
    assert checkpoint.load(tmp_path / "run").model.local.head.out_features == 16
    config = config_of("distill", *GROUPS, "distill.tokens=dense", "data.dense=dino")
    assert config.needs_guide and not config_of("distill", *TOKENS).needs_guide


# -------------------------------------------------------------------------------------------------- zero-shot parts


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A cache whose shapes have a tip, a side and a base by height, and a short run on it with heads for tokens."""
    folder = tmp_path_factory.mktemp("parts")
    cache = write(folder / "parts.zarr", labelled=True)
    clip = synthetic.teacher("clip")
    product = LABELS.product(set="parts", teacher="clip")
    record = Record(
        product=product, kind=LABELS.name, spec=clip, labels=LabelSet(name="parts", classes=PARTS, templates=("a {}",)), inputs=()
    )
    names = np.random.default_rng(5).standard_normal((3, 1, clip.dim)).astype(np.float16)
    synthetic.fill(cache, {record: {product: names}})
    train(config_of("align", *ON, "optim.epochs=1"), [cache.path], folder / "run", device="cpu")
    return cache, checkpoint.load(folder / "run"), F.normalize(torch.from_numpy(names[:, 0]).float(), dim=-1)


def by_name(result):
    return {metric.name: metric for metric in result.scores.metrics}


def test_zero_shot_parts_stand_beside_chance_the_summary_and_pictures(scene):
    cache, loaded, _ = scene
    found = tasks.evaluate("zeroshot-parts", loaded, cache, zeroshot_parts.Options())
    metrics = by_name(found)
    names = [
        f"clip {which}{kind} over {what}"
        for kind in ("", " of the summary's guess", " of patch features, with pictures")
        for which, what in (("mIoU", "shapes"), ("mIoU", "categories"), ("points right", "shapes"))
    ]
    assert list(metrics) == names
    assert all(0 <= metric.mean <= 100 and metric.chance is not None for metric in metrics.values())
    assert found.scores.drawing is not None


def test_tokens_that_know_the_parts_are_right_and_chance_is_what_guessing_gives(scene, monkeypatch):
    """The head is replaced by one that knows: each token gets the name of the part in which its centre lies."""
    cache, loaded, names = scene
    task = parts.prepared(loaded.model, cache, cache, parts.Options())
    rows = task.test.shapes.rows
    stored = torch.from_numpy(cache.array("points/part")[:].astype(np.int64))[rows, 0, :8]

    def knows(tokens):
        assert len(tokens) == len(rows)  # all test shapes are one batch here
        return {"clip": 3 * names[stored.clamp(min=0)]}

    monkeypatch.setattr(loaded.model.local, "embed", knows)
    tokens, whole = zeroshot_parts.by_points(loaded.model, task, names, "clip")
    centres = task.test.read(np.arange(len(rows)), 0)[..., :3]
    clear = (stored >= 0).all(1)
    assert (torch.from_numpy(tokens)[:, :8] == stored)[clear].all()  # at the centres themselves nothing is interpolated
    nearest = torch.cdist(centres, centres[:, :8]).topk(3, largest=False)
    weights = 1 / (nearest.values**2 + 1e-8)
    votes = torch.zeros(*tokens.shape, 3).scatter_add(
        2, stored.clamp(min=0).gather(1, nearest.indices.flatten(1)).view(*nearest.indices.shape), weights
    )
    scores = (votes / votes.sum(-1, keepdim=True)) @ (names @ names.T)
    assert (scores.argmax(-1).numpy() == tokens).mean() > 0.999
    assert whole is not None and all(len(np.unique(row)) == 1 for row in whole)
    # Uniform guesses of k equally frequent parts overlap in 1 / (2 k - 1) of their union.
    assert parts.chances(task)[0].mean() == pytest.approx(100 / 5, abs=2.5)
    assert parts.chances(task)[1].mean() == pytest.approx(100 / 3, abs=1)
    assert parts.right(task, task.truth).tolist() == [100] * len(rows)


def test_pictures_count_only_where_a_view_sees(scene, tmp_path):
    cache, loaded, names = scene
    task = parts.prepared(loaded.model, cache, cache, parts.Options())
    (teacher,) = zeroshot_parts.readers(loaded.model, ())
    found, why = zeroshot_parts.by_pictures(task, names, teacher, cache)
    assert found is not None and why == ""
    features, seen = (cache.array(f"dense/clip/{which}")[:][task.test.shapes.rows, 0] for which in ("features", "seen"))
    own = F.normalize(torch.from_numpy(features).float(), dim=-1) @ names.T
    allowed = torch.from_numpy(task.known[task.categories])
    at_centres = own.masked_fill(~allowed[:, None], -torch.inf).argmax(-1).numpy()
    assert (found[:, :8] == at_centres)[seen > 0].all()
    stranger = dataclasses.replace(teacher, fingerprint="other")
    assert "another teacher" in zeroshot_parts.by_pictures(task, names, stranger, cache)[1]
    rows = task.test.shapes.rows
    other = write(tmp_path / "other.zarr", labelled=True, unseen=rows[:2])
    told = zeroshot_parts.by_pictures(parts.prepared(loaded.model, other, other, parts.Options()), names, teacher, other)[1]
    assert told.startswith(f"no view sees a group of 2 of {len(rows)} test shapes")


def test_zero_shot_parts_say_what_is_missing(scene, tmp_path):
    cache, loaded, _ = scene
    with pytest.raises(UserError, match="no label set 'bits'"):
        tasks.evaluate("zeroshot-parts", loaded, cache, zeroshot_parts.Options(labels="bits"))
    with pytest.raises(UserError, match="did not learn patch features in the space of texts of 'dino'"):
        tasks.evaluate("zeroshot-parts", loaded, cache, zeroshot_parts.Options(teachers=("dino",)))
    train(config_of("align", *GROUPS, "optim.epochs=0"), [cache.path], tmp_path / "run", device="cpu")
    with pytest.raises(UserError, match=r"no head from tokens to patch features.*align\.local_weight=1"):
        tasks.evaluate("zeroshot-parts", checkpoint.load(tmp_path / "run"), cache, zeroshot_parts.Options())
