"""Batches from caches: what is in them, that everything comes once, and that nothing but seed and number decides."""

import dataclasses
import hashlib
import itertools
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from cache_schema import layout, spec, store, synthetic
from cache_schema.errors import UserError
from cache_schema.spec import LabelSet, PointSpec, Record
from tests.trainer.conftest import FAILED, LABELS, config_of, write_small
from tests.trainer.test_points import write as write_points
from trainer.data import Data, feed
from trainer.folder import begun
from trainer.loop import train
from trainer.part import DataConfig, Needs

CPU = torch.device("cpu")
TEACHERS = Needs(teachers=True, color=True, centres=32)
A = synthetic.teacher("random-a")


def opened(path, batch=8, needs=TEACHERS, seed=0, **config):
    return Data([store.open_cache(path)], DataConfig(**config), batch=batch, seed=seed, needs=needs)


def flat(batch):
    """All tensors of a batch by name."""
    out = {}
    for name, value in vars(batch).items():
        values = value if isinstance(value, dict) else {"": value}
        out |= {f"{name}/{key}": tensor for key, tensor in values.items() if isinstance(tensor, torch.Tensor)}
    return out


def add(cache, record):
    """A product full of ones."""
    cache.begin(record)
    for shard in range(cache.manifest.shards):
        rows = min(cache.manifest.shard, cache.manifest.shapes - shard * cache.manifest.shard)
        cache.write(record, shard, {node.path: np.ones((rows, *node.shape[1:]), node.dtype) for node in cache.arrays(record)})
    cache.finish(record)


def same(a, b):
    a, b = flat(a), flat(b)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# ------------------------------------------------------------------------------------------------------ which shapes when


def test_every_usable_shape_comes_once_in_an_epoch_across_the_seams_of_batches(cache_path):
    data = opened(cache_path, batch=8)
    expected = [row for row in range(60) if row % 3 != 2 and row not in FAILED]
    assert data.epoch == len(expected) == 38
    stream = torch.cat([data.batch(number).index for number in range(19)]).numpy()  # 19 batches of 8 are 4 epochs of 38
    epochs = stream.reshape(4, 38)
    assert all(sorted(epoch) == expected for epoch in epochs)
    assert not np.array_equal(epochs[0], epochs[1])


def test_ranks_share_a_batch(cache_path):
    data = opened(cache_path, negatives=6)
    whole, parts = data.batch(3), [data.batch(3, slice(0, 4)), data.batch(3, slice(4, 8))]
    for name, value in flat(whole).items():
        assert torch.equal(value, torch.cat([flat(part)[name] for part in parts])), name
    assert torch.equal(whole.negatives.text["random-a"], parts[1].negatives.text["random-a"])


def test_threads_and_where_one_begins_change_nothing(cache_path):
    expected = [opened(cache_path).batch(number) for number in range(12)]
    for threads in (1, 3):
        got = list(feed(opened(cache_path), range(5, 12), slice(None), threads=threads, device=CPU))
        assert len(got) == 7 and all(same(a, b) for a, b in zip(got, expected[5:], strict=True))


def test_an_error_in_a_thread_is_raised_where_batches_are_used(cache_path, monkeypatch):
    data = opened(cache_path)

    def broken(number, share):
        raise OSError(f"batch {number}")

    monkeypatch.setattr(data, "batch", broken)
    with pytest.raises(OSError, match="batch 4"):
        next(feed(data, range(4, 9), slice(None), threads=2, device=CPU))


def test_the_seed_decides(cache_path):
    assert same(opened(cache_path).batch(2), opened(cache_path).batch(2))
    assert not torch.equal(opened(cache_path).batch(2).index, opened(cache_path, seed=1).batch(2).index)


def test_selection_by_split_class_and_fraction(cache_path):
    def rows(**config):
        data = opened(cache_path, batch=1, **config)
        return {int(data.batch(number).index) for number in range(data.epoch)}

    usable = set(range(60)) - set(FAILED)
    assert rows(splits=()) == usable
    assert rows(splits=("test",)) == {row for row in usable if row % 3 == 2}
    assert rows(splits=(), classes=("torus",)) == {row for row in usable if row % 3 == 2}
    some = rows(fraction=0.5)
    assert len(some) == 19 and some < rows() and some == rows(fraction=0.5)
    assert rows(fraction=0.5, splits=()) != some


# --------------------------------------------------------------------------------------------------- what is in a batch


def test_a_batch_holds_one_block_one_view_and_a_text_of_that_view(cache_path):
    cache = store.open_cache(cache_path)
    xyz, rgb = cache.array("points/xyz")[:].astype(np.float32), cache.array("points/rgb")[:]
    image, text = cache.array("image/random-a")[:], cache.array("text/synthetic/random-a")[:]
    templates, words = cache.array("labels/source/random-a")[:], layout.texts(cache.array("captions/synthetic/text")[:])
    data = opened(cache_path, batch=38)
    seen, texts = {"block": set(), "view": set(), "text": set()}, {}
    for number in range(4):
        batch = data.batch(number)
        for i, row in enumerate(batch.index.tolist()):
            assert batch.label[i] == row % 3
            (block,) = [r for r in range(2) if np.array_equal(xyz[row, r], batch.points[i, :, :3])]
            np.testing.assert_allclose(batch.points[i, :, 3:], rgb[row, block] / 255, rtol=1e-6)
            (view,) = [v for v in range(3) if np.array_equal(image[row, v], batch.image["random-a"][i])]
            target = batch.text["random-a"][i].numpy()
            if np.array_equal(target, text[row, view]):
                kind, said = "caption", words[row, view, 0]
            else:
                (kind,) = [m for m in range(2) if np.array_equal(templates[row % 3, m], target)]
                said = LABELS.templates[kind].format(LABELS.classes[row % 3])
            assert texts.setdefault(said, batch.text_key[i].item()) == batch.text_key[i].item() >= 0
            for name, value in (("block", block), ("view", view), ("text", kind)):
                seen[name].add(value)
    assert seen == {"block": {0, 1}, "view": {0, 1, 2}, "text": {"caption", 0, 1}}
    assert len(set(texts.values())) == len(texts)
    assert "random-b" in batch.image and "random-b" not in batch.text and batch.image_valid == {}
    assert batch.points.dtype == torch.float32 and batch.image["random-a"].dtype == torch.float16


def test_the_share_of_templates_is_as_asked(cache_path):
    captions = opened(cache_path, batch=38, templates=0).batch(0).text_key
    filled = opened(cache_path, batch=38, templates=1).batch(0).text_key
    assert len(set(filled.tolist())) == 4 and not set(captions.tolist()) & set(filled.tolist())  # two classes, two templates
    half = [opened(cache_path, batch=38).batch(n).text_key for n in range(20)]
    share = np.isin(torch.cat(half), filled).mean()
    assert 0.42 < share < 0.58


def test_guided_blocks_only_with_the_guides_features(cache_path):
    cache = store.open_cache(cache_path)
    data = opened(cache_path, needs=Needs(guide="", centres=32))
    batch = data.batch(0)
    assert torch.equal(batch.points, torch.from_numpy(cache.array("points/xyz")[:][batch.index, 0].astype(np.float32)))
    assert torch.equal(batch.guide_tokens, torch.from_numpy(cache.array("guide/random/tokens")[:][batch.index, 0]))
    assert torch.equal(batch.guide_summary, torch.from_numpy(cache.array("guide/random/summary")[:][batch.index, 0]))
    assert batch.image == {} and data.guide.dim == 96


def test_caches_may_have_features_of_different_numbers_of_blocks(tmp_path):
    made = []
    for blocks in (1, 2):
        guide = spec.GuideSpec(name="random", encoder="none", weights="none", tokens=32, dim=8, blocks=blocks)
        made.append(synthetic.write(tmp_path / f"{blocks}.zarr", shapes=12, shard=6, guide=guide, seed=blocks))
    data = Data(made, DataConfig(), batch=16, seed=0, needs=Needs(guide="", centres=32))
    for number in range(3):
        batch = data.batch(number)
        for i, index in enumerate(batch.index.tolist()):
            cache, row = made[index // 12], index % 12
            known = cache.array("guide/random/tokens")[row]  # [R, G, D]
            assert (known == batch.guide_tokens[i].numpy()).all(axis=(1, 2)).any(), (number, i)
        assert {index // 12 for index in batch.index.tolist()} == {0, 1}


def test_a_guide_that_an_earlier_version_wrote_into_one_of_the_caches_is_compared_as_far_as_it_is_known(tmp_path):
    known = spec.GuideSpec(
        name="g", encoder="none", weights="none", tokens=32, dim=8, blocks=1, settings=(("encoder.group_size", "16"),), run="a", setup="x"
    )
    older = dataclasses.replace(known, settings=(), run="", setup="")
    specs = {
        "known": known,
        "older": older,
        "same": dataclasses.replace(older, setup="x"),
        "trained": dataclasses.replace(older, weights="others"),
        "regrouped": dataclasses.replace(known, settings=(("encoder.group_size", "8"),)),
    }
    made = {name: synthetic.write(tmp_path / f"{name}.zarr", shapes=6, shard=6, guide=guide) for name, guide in specs.items()}

    def united(*names):
        return Data([made[name] for name in names], DataConfig(), batch=4, seed=0, needs=Needs(guide="", centres=32))

    for names in (("older", "known"), ("known", "older")):
        (note,) = united(*names).notes
        assert "the guide in older.zarr were written by an earlier version" in note and "nothing else could be compared" in note
    assert united("known", "same").notes == () == united("older", "older").notes, "the fingerprint of its training tells the settings"
    for names, message in (
        (("older", "trained"), "weights is"),
        (("known", "trained"), "weights is"),
        (("known", "regrouped"), r"settings: encoder\.group_size is"),
    ):
        with pytest.raises(UserError, match=f"is not the same: {message}"):
            united(*names)
    with pytest.raises(UserError, match=r"known\.zarr and in .*regrouped\.zarr is not the same: settings: encoder\.group_size is"):
        united("older", "known", "regrouped")


def test_fewer_blocks_are_the_first_ones(cache_path):
    xyz = store.open_cache(cache_path).array("points/xyz")[:].astype(np.float32)
    data = opened(cache_path, blocks=1)
    for number in range(4):
        batch = data.batch(number)
        assert all(np.array_equal(xyz[row, 0], points[:, :3]) for row, points in zip(batch.index, batch.points.numpy(), strict=True))


def test_resampled_points_are_of_all_blocks_and_new_each_time(cache_path):
    xyz = store.open_cache(cache_path).array("points/xyz")[:].astype(np.float32)
    data = opened(cache_path, batch=38, resample=True)
    one, again = data.batch(0), data.batch(1)
    assert not one.ordered and "points and centres sampled at every step" in str(data)
    for row, points in zip(one.index.tolist(), one.points[..., :3].numpy(), strict=True):
        pool = {tuple(point) for point in xyz[row].reshape(-1, 3)}
        assert {tuple(point) for point in points} <= pool and not np.array_equal(points, xyz[row, 0])
    both = [set(map(tuple, batch.points[batch.index.tolist().index(0)].tolist())) for batch in (one, again)]
    assert both[0] != both[1]
    assert torch.equal(one.points[8:20], opened(cache_path, batch=38, resample=True).batch(0, slice(8, 20)).points)
    with pytest.raises(ValueError, match=r"no cached guide knows.*guide_online=true"):
        opened(cache_path, resample=True, needs=Needs(guide=""))


def test_negatives_are_other_shapes(cache_path):
    data = opened(cache_path, batch=30, negatives=100)
    image = store.open_cache(cache_path).array("image/random-b")[:]
    for number in range(3):
        batch = data.batch(number)
        extra = [int(np.flatnonzero((image == value.numpy()).all(-1).any(1))[0]) for value in batch.negatives.image["random-b"]]
        assert not set(extra) & set(batch.index.tolist()) and len(set(extra)) == len(extra) >= 8  # of the 38 - 30 that are left
        assert torch.equal(batch.negatives.label, torch.tensor(extra) % 3)


def test_too_few_ordered_points_are_not_taken_for_centres(cache_path):
    assert opened(cache_path).batch(0).ordered
    data = opened(cache_path, needs=Needs(centres=33))
    assert not data.batch(0).ordered and "sampled at every step" in str(data)


def test_statistics_are_those_of_the_cache(cache_path):
    stats = store.open_cache(cache_path).array("stats/image/random-b")[:]
    mean, variance = opened(cache_path).statistics()["image/random-b"]
    np.testing.assert_allclose(mean, stats[0])
    np.testing.assert_allclose(variance, stats[1])
    templates = store.open_cache(cache_path).array("labels/source/random-a")[:].reshape(-1, 32).astype(float)
    mean, variance = opened(cache_path, templates=1).statistics()["text/random-a"]
    np.testing.assert_allclose(mean, templates.mean(0))
    np.testing.assert_allclose(variance, templates.var(0))


# ------------------------------------------------------------------------------------------------------- several caches


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """30 shapes of other classes, one of them shared, and one teacher less."""
    path = tmp_path_factory.mktemp("other") / "other.zarr"
    labels = LabelSet(name="source", classes=("Torus", "ring"), templates=("one {}",))
    synthetic.write(path, shapes=30, shard=8, points=PointSpec(count=64, blocks=3, ordered=32), labels=labels, teachers=(A,), seed=1)
    return path


def mixed(cache_path, other, batch=8, needs=TEACHERS, **config):
    return Data([store.open_cache(cache_path), store.open_cache(other)], DataConfig(**config), batch=batch, seed=0, needs=needs)


def test_caches_are_mixed_by_class_name_and_missing_teachers_are_masked(cache_path, other):
    data = mixed(cache_path, other, batch=58)
    assert data.classes == ("cone", "cube", "torus", "ring") and data.epoch == 38 + 20
    batch = data.batch(0)
    second = ~batch.image_valid["random-b"]
    assert second.sum() == 20 and (batch.image["random-b"][second] == 0).all() and "random-a" not in batch.image_valid
    assert set(batch.label[second].tolist()) == {2, 3} and set(batch.label[~second].tolist()) == {0, 1}
    xyz = store.open_cache(other).array("points/xyz")[:].astype(np.float32)
    for index, points in zip(batch.index[second].tolist(), batch.points[second], strict=True):
        path, row = data.row(index)
        assert path == other and index == 60 + row  # the other's rows are no shapes of the first
        assert any(np.array_equal(xyz[row, block], points[:, :3]) for block in range(3))
    assert all(data.row(index) == (cache_path, index) for index in batch.index[~second].tolist())
    stats = [store.open_cache(path).array("stats/image/random-a")[:][0] for path in (cache_path, other)]
    np.testing.assert_allclose(data.statistics()["image/random-a"][0], (2 * stats[0] + stats[1]) / 3)


def test_passes_say_how_often_a_cache_is_gone_through(cache_path, other):
    data = mixed(cache_path, other, batch=1, passes=(0.5, 2.0), needs=Needs())
    assert data.epoch == 19 + 40
    drawn = [(data.pool.part[place], data.pool.row[place]) for place in data.epochs.order(0)]
    counts = {place: drawn.count(place) for place in drawn}
    assert sorted(counts.values()) == [1] * 19 + [2] * 20
    assert set(data.epochs.order(0)) != set(data.epochs.order(1))


def test_caches_must_fit_together(cache_path, other, tmp_path):
    with pytest.raises(ValueError, match="every teacher in every cache"):
        mixed(cache_path, other, negatives=4)
    with pytest.raises(ValueError, match="one number for each of 2 caches"):
        mixed(cache_path, other, passes=(1.0,))
    points = PointSpec(count=64, blocks=2, ordered=32)
    synthetic.write(tmp_path / "wide.zarr", teachers=(synthetic.teacher("random-a", 48),), points=points, labels=LABELS)
    with pytest.raises(ValueError, match=r"random-a in .* is not the same: dim is 32, asked 48"):
        mixed(cache_path, tmp_path / "wide.zarr")
    synthetic.write(tmp_path / "raw.zarr", points=dataclasses.replace(points, normalize="none"), labels=LABELS)
    with pytest.raises(ValueError, match="points of the same normalize: unit_sphere, none"):
        mixed(cache_path, tmp_path / "raw.zarr", needs=Needs())


def test_of_larger_blocks_as_many_points_are_taken_as_the_smallest_have(cache_path, tmp_path):
    path = tmp_path / "long.zarr"
    synthetic.write(path, points=PointSpec(count=80, blocks=2, ordered=32), labels=LABELS)
    data = mixed(cache_path, path, batch=40, needs=Needs(centres=32))
    assert "64 points a shape, as the smallest blocks have" in str(data)
    assert data.points == 64 and data.ordered and data.convention.ordered == 32
    batch = data.batch(0)
    xyz = store.open_cache(path).array("points/xyz")[:].astype(np.float32)
    for index, points in zip(batch.index[batch.index >= 60].tolist(), batch.points[batch.index >= 60].numpy(), strict=True):
        stored = [block for block in xyz[index - 60] if np.array_equal(block[:32], points[:32])]
        assert len(stored) == 1 and len({tuple(point) for point in points} & {tuple(point) for point in stored[0]}) == 64


# ---------------------------------------------------------------------------------------------------- a user's mistakes


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"teachers": ("clip",)}, "teacher clip is not there. Complete: random-a, random-b"),
        ({"splits": ("trian",)}, "no split 'trian'; did you mean 'train'"),
        ({"classes": ("cub",)}, "no cache has a class 'cub'; did you mean 'cube'"),
        ({"classes": ("torus",)}, r"no shape is left to train on \(60 shapes, 58 usable, 38 of split train, 0 of class torus\)"),
        ({"labels": "modelnet40"}, "mmpd-cache labels .* modelnet40"),
        ({"batch": 39}, "a batch of 39 is larger than an epoch of 38 shapes"),
        ({"fraction": 0.0001}, "an epoch would have 1 shape, but a batch needs at least 2: raise data.fraction"),
        ({"passes": (0.001,)}, "an epoch would have 0 shapes"),
    ],
)
def test_what_is_not_there_is_named(cache_path, config, message):
    with pytest.raises(ValueError, match=message):
        opened(cache_path, **config)


@pytest.mark.parametrize("config", [{"teachers": ("random-a",)}, {"negatives": 4}])
def test_a_choice_of_teachers_that_nothing_reads_is_refused(cache_path, config):
    with pytest.raises(ValueError, match=r"no effect: no loss uses a teacher.* distill\.teacher_weight=1"):
        opened(cache_path, needs=Needs(), **config)


def test_a_run_goes_on_when_its_cache_has_grown(tmp_path):
    """The teachers and the guide it left to the cache to name were written down as it began."""
    path = tmp_path / "c.zarr"
    write_small(path)
    runs = {"align": (), "distill": ("start=random",)}
    for stage, settings in runs.items():
        train(config_of(stage, "optim.epochs=1", *settings), [path], tmp_path / stage, device="cpu")
    assert begun(tmp_path / "align").config.data.teachers == ("random-a", "random-b")
    assert begun(tmp_path / "distill").config.guide == "random" and begun(tmp_path / "distill").config.data.teachers == ()
    guide = spec.GuideSpec(name="late", encoder="none", weights="none", tokens=32, dim=8, blocks=1)
    add(store.open_cache(path), Record(product="guide/late", kind="guide", spec=guide, inputs=()))
    teacher = synthetic.teacher("late", text=False)
    add(store.open_cache(path), Record(product="image/late", kind="image", spec=teacher, per_shape=3, inputs=()))
    for stage in runs:
        train(begun(tmp_path / stage).config, [path], tmp_path / stage, resume=True, device="cpu")
    with pytest.raises(ValueError, match=r"data\.teachers is .*'random-b'\), asked .*'late'"):
        train(config_of("align", "optim.epochs=1"), [path], tmp_path / "align", resume=True, device="cpu")


def test_an_unfinished_product_is_named(tmp_path):
    cache = synthetic.write(tmp_path / "c.zarr", labels=LABELS)
    record = Record(product="image/late", kind="image", spec=synthetic.teacher("late"), per_shape=3, inputs=())
    cache.begin(record)
    with pytest.raises(ValueError, match="teacher late is still being made"):
        opened(cache.path, teachers=("late",))
    assert "late" not in opened(cache.path).teachers
    guide = spec.GuideSpec(name="late", encoder="none", weights="none", tokens=32, dim=8, blocks=1)
    with pytest.raises(ValueError, match="has no guide"):
        opened(cache.path, needs=Needs(guide=""))
    cache.begin(Record(product="guide/late", kind="guide", spec=guide, inputs=()))
    with pytest.raises(ValueError, match=r"guide/late.* not finished"):
        opened(cache.path, needs=Needs(guide=""))


def test_a_cache_without_teachers_is_told_so(tmp_path):
    cache = write_points(tmp_path / "c.zarr")
    with pytest.raises(ValueError, match=r"c\.zarr: there is no teacher at all\. `mmpd-cache add-teacher` adds one"):
        opened(cache.path)
    cache.begin(Record(product="image/late", kind="image", spec=synthetic.teacher("late"), per_shape=3, inputs=()))
    with pytest.raises(ValueError, match="there is only late still being made: run the command that began it again"):
        opened(cache.path)


def test_without_classes_there_are_only_captions(tmp_path):
    path = tmp_path / "bare.zarr"
    manifest = spec.Manifest(shapes=6, shard=3, source=spec.SourceSpec(kind="none", ids=spec.ids_digest("abcdef")))
    cache = store.create(path, manifest, list("abcdef"), [-1] * 6, [-1] * 6)
    points = PointSpec(count=64, blocks=1, ordered=32)
    words = spec.CaptionSpec(name="c", captioner="none", samples=1)
    captions = Record(product="captions/c", kind="captions", spec=words, per_shape=2, inputs=())
    records = [
        Record(product="status", kind="status", spec=manifest.source, inputs=()),
        Record(product="points", kind="points", spec=points, inputs=()),
        captions,
        Record(product="image/random-a", kind="image", spec=A, per_shape=2, inputs=()),
        Record(product="text/c/random-a", kind="text", spec=A, per_shape=2, inputs=()),
    ]
    for record in records:
        add(cache, record)
    data = opened(path, batch=6)
    assert data.epoch == 6 and (data.batch(0).label == -1).all() and data.batch(0).text["random-a"].all()


def test_a_label_sets_spelling_of_a_class_is_what_was_said(tmp_path):
    cache = synthetic.write(tmp_path / "c.zarr", labels=LabelSet(name="source", classes=("night_stand", "tv-stand"), templates=("a {}",)))
    spoken = LabelSet(name="spoken", classes=("tv stand", "Night Stand"), templates=("this {}",))
    record = Record(product="labels/spoken/random-a", kind="labels", spec=synthetic.teacher("random-a"), labels=spoken, inputs=())
    cache.begin(record)
    values = np.arange(2, dtype=np.float16)[:, None, None].repeat(32, 2)
    cache.write(record, 0, {record.product: values})
    cache.finish(record)
    batch = opened(cache.path, labels="spoken", templates=1).batch(0)
    assert torch.equal(batch.text["random-a"][:, 0], 1 - batch.label.half())
    assert len(set(zip(batch.label.tolist(), batch.text_key.tolist(), strict=True))) == 2


# ------------------------------------------------------------------------------------------------------ the same, bit for bit

GOLDEN = {
    "plain": "232ffa5b398b2126",
    "points": "1e7191065ecb67c5",
    "seed": "2d21bd46700dffc2",
    "negatives": "1368f60f6c7bfb35",
    "resample": "dc9426992ff6d9bc",
    "guide": "37925853e6fb13e0",
    "some": "ebf8a3e8b799ce77",
    "two": "59d497d3b125885f",
    "two-negatives": "2b19e54794a07738",
}
"""Beginning of the sha256 over eight batches of each way to draw. A change of the loader that is to change nothing must keep them; only
one that means to draw otherwise writes them anew."""


def digest(data):
    out = hashlib.sha256()
    for number in range(8):
        batch = data.batch(number)
        others = {f"negatives/{name}": tensor for name, tensor in flat(batch.negatives).items()} if batch.negatives else {}
        for name, tensor in sorted((flat(batch) | others).items()):
            out.update(f"{name} {tensor.dtype} {list(tensor.shape)} ".encode())
            out.update(tensor.contiguous().numpy().tobytes())
    return out.hexdigest()[:16]


def ways(path, other):
    """Every way to draw, on one cache and on two."""
    return {
        "plain": opened(path),
        "points": opened(path, needs=Needs()),
        "seed": opened(path, seed=7, templates=0.2, blocks=1),
        "negatives": opened(path, negatives=6),
        "resample": opened(path, resample=True),
        "guide": opened(path, needs=Needs(guide="random", centres=32)),
        "some": opened(path, splits=(), classes=("cone", "torus"), fraction=0.7, teachers=("random-b",)),
        "two": mixed(path, other, batch=16, passes=(0.5, 2.0)),
        "two-negatives": mixed(path, path, batch=16, negatives=20),
    }


@pytest.mark.parametrize("way", GOLDEN)
def test_batches_are_what_they_were(cache_path, other, way):
    assert digest(ways(cache_path, other)[way]) == GOLDEN[way]


def test_shapes_that_are_in_no_split_are_left_out_with_a_word(cache_path):
    """As in a cache without splits that has grown by shapes with splits."""
    cache = store.open_cache(cache_path)
    read, split, ok = cache.column, cache.column("split"), cache.ok()
    split[::3] = -1
    cache.column = lambda path: split.copy() if path == "split" else read(path)
    train = DataConfig(splits=cache.manifest.splits[:1], templates=0.0)
    said = [str(Data([cache], config, batch=4, seed=0, needs=Needs())) for config in (train, DataConfig(splits=()))]
    assert f"({int(ok[::3].sum())} are in no split and are left out)" in said[0] and "no split" not in said[1]


def test_memory_stays_as_it_is_over_many_batches(cache_path):
    """500 batches that were kept would be 30 MB each time; what others take now and then, in one of three times alone."""

    def private():
        return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))

    data, seen = opened(cache_path, batch=32), []
    with closing(feed(data, range(2000), slice(None), threads=2, device=CPU)) as batches:
        for number, _ in enumerate(batches):
            if number % 500 == 499:
                seen.append(private())
    assert min(after - before for before, after in itertools.pairwise(seen)) < 8 << 10, f"KiB after each 500: {seen}"
