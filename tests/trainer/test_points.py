"""What a run's points were goes with it, and every reader gives it the same again, or says what differs."""

import dataclasses
import json

import numpy as np
import pytest
import safetensors
import torch

from cache_schema import spec, store, synthetic
from cache_schema.spec import Manifest, PointSpec, Record, SourceSpec
from cache_schema.store import open_cache
from tests.trainer.conftest import config_of
from trainer import checkpoint, guide, points
from trainer.augment import AugmentOptions, augment, draw
from trainer.loop import train
from trainer.points import GREY, Blocks, Convention, share
from trainer.tasks import catalog

TASKS = {"svm": ["c=0.1"], "knn": ["neighbours=3"], "fewshot": ["ways=2", "shots=2", "folds=2"], "classify": ["epochs=1", "seeds=1"]}


def write(path, count=64, blocks=2, ordered=32, normalize="unit_sphere", colored=None, repeated=0, grey=7, shapes=24, dtype="float16"):
    """Random points of two classes. Colours of row i are i, and `grey` where it has none; the last `repeated` shapes are repeated."""
    rng = np.random.default_rng(0)
    colored = np.ones(shapes, bool) if colored is None else np.isin(np.arange(shapes), colored)
    source = SourceSpec(kind="synthetic", ids=spec.ids_digest([str(i) for i in range(shapes)]))
    manifest = Manifest(shapes=shapes, shard=16, source=source, classes=("a", "b"), splits=("train", "test"))
    cache = store.create(
        path, manifest, [str(i) for i in range(shapes)], [i % 2 for i in range(shapes)], [i // 2 % 2 for i in range(shapes)]
    )
    color = np.where(colored, np.arange(shapes), grey).astype(np.uint8)
    made = PointSpec(count=count, blocks=blocks, ordered=ordered, normalize=normalize, dtype=dtype)
    products = {
        Record(product="status", kind="status", spec=source, inputs=()): {
            "status": np.full(shapes, spec.OK, np.uint8),
            "reason": np.zeros((shapes, spec.TEXT_BYTES), np.uint8),
            "source_sha256": np.zeros((shapes, 32), np.uint8),
            "colored": colored.astype(np.uint8),
            "repeated": (np.arange(shapes) >= shapes - repeated).astype(np.uint8),
        },
        Record(product="points", kind="points", spec=made, inputs=()): {
            "points/xyz": rng.standard_normal((shapes, blocks, count, 3)).astype(dtype),
            "points/rgb": np.broadcast_to(color[:, None, None, None], (shapes, blocks, count, 3)),
        },
    }
    synthetic.fill(cache, products)
    return cache


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with colours, on 64 points of shapes of which two thirds have colours."""
    folder = tmp_path_factory.mktemp("points")
    cache = write(folder / "own.zarr", colored=range(16))
    settings = ("encoder.channels=6", "optim.batch=4", "encoder.name=pointmae-tiny")
    train(config_of("distill", *settings, recipe="scratch"), [cache.path], folder / "run", device="cpu")
    return folder / "run"


# ------------------------------------------------------------------------------------------------------ what a run says


def test_a_run_says_what_its_points_were(run):
    loaded = checkpoint.load(run)
    assert loaded.header.points == loaded.model.convention
    assert loaded.header.points == Convention(count=64, ordered=32, dtype="float16", colored=True, grey=GREY)
    with safetensors.safe_open(checkpoint.path(run), "pt") as opened:
        said = json.loads(opened.metadata()["mmpd"])["header"]["points"]
    assert said["count"] == 64 and said["normalize"] == "unit_sphere" and said["grey"] == pytest.approx(190 / 255)


def test_a_run_of_an_earlier_version_takes_it_from_the_cache_it_was_trained_on(run, tmp_path):
    loaded = checkpoint.load(run)
    header = dataclasses.replace(loaded.header, points=None)
    found = checkpoint.trained_on(header)
    assert found is not None and (found.count, found.normalize, found.colored) == (64, "unit_sphere", None)
    gone = dataclasses.replace(header, caches=tuple(dataclasses.replace(used, path="/nowhere.zarr") for used in header.caches))
    assert checkpoint.trained_on(gone) is None
    own = open_cache(header.caches[0].path)
    assert checkpoint.trained_on(gone, [own]) == found
    other = write(tmp_path / "other.zarr", count=80)
    assert checkpoint.trained_on(gone, [other]) is None
    old = dataclasses.replace(loaded, header=gone)
    result = catalog.evaluate("knn", old, other, catalog.options("knn", ["neighbours=3"]))
    assert any("does not record the number, normalisation and colours of its training points" in note for note in result.scores.notes)


# --------------------------------------------------------------------------------------------------- how many points


@pytest.mark.parametrize(
    ("there", "blocks", "ordered", "count", "joined", "in_order", "short"),
    [
        (64, 2, 32, 2, 1, True, False),  # as it was
        (64, 2, 8, 2, 1, False, False),  # too few in order to serve as centres
        (100, 3, 32, 3, 1, False, False),  # a share of a larger block, whose centres are found anew
        (100, 3, 8, 3, 1, False, False),
        (40, 3, 32, 1, 2, False, False),  # two together, of which a share
        (32, 4, 32, 2, 2, False, False),
        (16, 2, 16, 2, 1, True, True),  # not enough in all
    ],
)
def test_every_reader_is_given_as_many_points_as_the_run_saw(tmp_path, there, blocks, ordered, count, joined, in_order, short):
    cache = write(tmp_path / "c.zarr", count=there, blocks=blocks, ordered=ordered)
    found = Blocks(cache, Convention(count=64), channels=6, centres=16)
    assert (found.blocks, found.joined, found.ordered, found.short) == (count, joined, in_order, short)
    read = found.read(np.array([3, 7]), np.array([0, count - 1]))
    assert read.shape == (2, there if short else 64, 6) and read.dtype == torch.float32
    stored = cache.array("points/xyz")[:].astype(np.float32)
    for row, block, got in ((3, 0, read[0]), (7, count - 1, read[1])):
        pool = stored[row, block * joined : (block + 1) * joined].reshape(-1, 3)
        assert {tuple(p) for p in got[:, :3].numpy()} <= {tuple(p) for p in pool}
        assert len({tuple(p) for p in got[:, :3].numpy()}) == len(got)
        if in_order:
            assert np.array_equal(got[:16, :3], pool[:16]), "the centres are the block's own"
    again = Blocks(cache, Convention(count=64), channels=6, centres=16).read(np.array([3, 7]), np.array([0, count - 1]))
    assert torch.equal(read, again)


def test_a_share_is_even_and_keeps_what_serves_as_centres():
    found = share(4096, 1024, 64)
    assert np.array_equal(found[:64], np.arange(64)) and len(set(found)) == 1024 and (np.diff(found) > 0).all()
    assert abs(found[64:].mean() - (64 + 4095) / 2) < 100
    assert np.array_equal(share(10, 4, 8), np.arange(4))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("made", "told"),
    [
        ({}, ""),
        ({"count": 100}, "given by 64 points, as many as the run was trained on: out of 100 stored"),
        ({"count": 32}, "given by 64 points, as many as the run was trained on: 2 stored blocks of 32 together"),
        ({"count": 32, "blocks": 1}, "the run was trained on 64 points a shape, the test shapes have 32"),
        ({"repeated": 4}, "2 of 12 test shapes have fewer points than a block, some are repeated"),
        ({"colored": ()}, "12 of 12 test shapes have no colours of their own and are given grey 0.745; the run was trained with colours"),
        ({"colored": range(20)}, "2 of 12 test shapes have no colours of their own"),
    ],
)
def test_a_result_says_what_is_otherwise_than_in_training(run, tmp_path, task, made, told):
    cache = write(tmp_path / "c.zarr", **made)
    result = catalog.evaluate(task, checkpoint.load(run), cache, catalog.options(task, TASKS[task]))
    assert any(told in note for note in result.scores.notes) if told else not any("shapes" in n for n in result.scores.notes)


def test_of_a_large_block_and_of_joined_ones_features_are_those_of_the_run(run, tmp_path):
    """A cache of the run's own blocks, cut in two: together they are what it was trained on, but for the order."""
    loaded = checkpoint.load(run)
    own = open_cache(loaded.header.caches[0].path)
    halves = write(tmp_path / "halves.zarr", count=32, blocks=4, colored=range(16))
    xyz = halves.array("points/xyz")[:]
    whole = own.array("points/xyz")[:]
    assert np.array_equal(xyz.reshape(whole.shape), whole), "the same random numbers"
    one = Blocks(halves, loaded.model.convention, channels=6, centres=loaded.model.encoder.centres).read(np.arange(24), 1)
    other = Blocks(own, loaded.model.convention, channels=6, centres=loaded.model.encoder.centres).read(np.arange(24), 1)
    assert torch.equal(one, other)


def test_another_normalisation_is_refused(run, tmp_path):
    cache = write(tmp_path / "c.zarr", normalize="none")
    with pytest.raises(
        ValueError, match=r"normalize=unit_sphere, those of .* have none: build a cache with --set points\.normalize=unit_sph"
    ):
        catalog.evaluate("knn", checkpoint.load(run), cache, catalog.options("knn", ["neighbours=3"]))


def test_features_by_hand_are_of_as_many_points_and_of_fewer_with_a_warning(run):
    model = checkpoint.load(run).model
    many = torch.rand(2, 100, 6)
    chosen = torch.from_numpy(share(100, 64, model.encoder.centres))
    assert torch.equal(model.features(many, ordered=True).tokens, model.features(many[:, chosen], ordered=True).tokens)
    with pytest.warns(UserWarning, match="trained on 64 points a shape and is given 40"):
        model.features(many[:, :40], ordered=False)


def test_a_guide_takes_as_many_points_or_refuses(aligned, tmp_path):
    loaded = checkpoint.load(aligned)
    large = write(tmp_path / "large.zarr", count=100)
    record = guide.write(large, loaded, "own", device="cpu")
    assert ("points.count", "64") in record.inputs
    rows = np.arange(3)
    given = Blocks(large, loaded.model.convention, channels=3, centres=32, join=False).read(rows, 1)
    expected = loaded.model.features(given, ordered=True).tokens.half()
    assert np.array_equal(large.array("guide/own/tokens")[:][rows, 1], expected)
    with pytest.raises(ValueError, match=r"was trained on 64 points a shape, .* has blocks of 40.*--set points\.count=64"):
        guide.write(write(tmp_path / "small.zarr", count=40), loaded, "own", device="cpu")
    with pytest.raises(ValueError, match="have none"):
        guide.write(write(tmp_path / "none.zarr", normalize="none"), loaded, "own", device="cpu")


# ------------------------------------------------------------------------------------------------------------- colours


def test_shapes_without_colours_have_the_grey_of_the_run_everywhere(tmp_path):
    cache = write(tmp_path / "c.zarr", colored=(0, 1), grey=7)
    for grey in (GREY, 0.4):
        read = Blocks(cache, Convention(count=64, grey=grey), channels=6, centres=8).read(np.array([0, 1, 2]), 0)
        assert (read[2, :, 3:] == np.float32(grey)).all() and (read[1, :, 3:] == np.float32(1) * points.SCALE).all()
    assert np.float32(190) * points.SCALE == np.float32(GREY), "what the pipeline stores reads as this grey, to the last bit"
    changed = augment(read, draw(AugmentOptions(drop_color=1.0, drop=0.0), 3, 64, torch.Generator()), 0.4)
    assert (changed[..., 3:] == np.float32(0.4)).all()


def test_all_readers_turn_colours_into_the_same_numbers(tmp_path):
    cache = write(tmp_path / "c.zarr", shapes=250)
    rows = np.arange(250)
    read = Blocks(cache, None, channels=6, centres=8).read(rows, 0)[:, 0, 3].numpy()
    assert np.array_equal(read, rows.astype(np.uint8) * np.float32(1 / 255))


def test_a_student_has_the_grey_of_its_guide(tmp_path, run):
    loaded = checkpoint.load(run)
    header = dataclasses.replace(loaded.header, points=dataclasses.replace(loaded.header.points, grey=0.4))
    checkpoint.save(tmp_path / "guide", header, loaded.model, {}, {})
    own = header.caches[0].path
    settings = ("encoder.channels=6", "optim.batch=4", "encoder.name=pointmae-tiny", "start=guide")
    train(config_of("distill", *settings, recipe="scratch"), [own], tmp_path / "student", guide_run=tmp_path / "guide", device="cpu")
    assert checkpoint.load(tmp_path / "student").header.points.grey == 0.4


@pytest.mark.parametrize("wrong", [{"count": 0}, {"count": 1, "grey": 1.5}, {"count": 1, "grey": float("nan")}])
def test_what_points_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match=r"points\."):
        Convention(**wrong)


def test_a_run_that_never_saw_a_colour_is_given_none(tmp_path):
    cache = write(tmp_path / "c.zarr", colored=range(8), shapes=16)
    rows, known = np.arange(16), Convention(count=64, ordered=32, colored=False, grey=0.25)
    blocks = Blocks(cache, known, channels=6, centres=32)
    assert (blocks.read(rows, 0)[..., 3:] == 0.25).all()
    assert blocks.notes(rows) == ("8 of 16 test shapes have colours, which are dropped, since the run was trained without any",)
    kept = Blocks(cache, dataclasses.replace(known, colored=True), channels=6, centres=32).read(rows, 0)
    assert (kept[8:, :, 3:] == 0.25).all() and np.allclose(kept[:8, 0, 3], np.arange(8) / 255)
