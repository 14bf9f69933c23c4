"""Training on imported embeddings: other numbers of views, shapes without an embedding or a text, and what results say."""

import dataclasses

import numpy as np
import pytest
import torch

from cache_schema import layout, store, synthetic
from cache_schema.copy import copy
from cache_schema.errors import UserError
from cache_schema.spec import IMPORTED, LACKING, CaptionSpec, LabelSet, PointSpec, Record, SourceSpec, TeacherSpec, fingerprint, ids_digest
from tests.trainer.conftest import config_of
from trainer import checkpoint
from trainer.data import Data
from trainer.loop import train
from trainer.part import DataConfig, Needs
from trainer.tasks import catalog, retrieval

N, E = 40, 8
LABELS = LabelSet(name="source", classes=("cone", "cube", "torus"), templates=("a {}", "the {}"))


def imported(name, dim=E, *, text=True):
    return TeacherSpec(
        name=name,
        backend=IMPORTED,
        model=f"model of {name}",
        weights=f"told:{name}",
        preprocess="unknown",
        dim=dim,
        text=text,
        image_size=0,
    )


def vectors(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float16)


BIG, SMALL = imported("big"), imported("small", 4, text=False)
IMAGE = vectors(1, N, 5, E)
IMAGE[::4] = 0
ONE = vectors(2, N, 1, 4)
COUNTS = np.arange(N) % 3
"""Texts of each shape by `part`: none, one or two of two."""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """40 shapes with three views of a computed teacher; an imported one has five pictures of three in four shapes, another one of each.

    The captions `full` are about every shape; `part` has none, one or two texts of a shape.
    """
    cache = synthetic.write(
        tmp_path_factory.mktemp("imported") / "c.zarr", shapes=N, shard=16, points=PointSpec(count=64, blocks=2, ordered=32), labels=LABELS
    )
    names = {"full": np.full(N, 2), "part": COUNTS}
    wanted = {
        Record(product="image/big", kind="image", spec=BIG, per_shape=5, inputs=(), made_by=((LACKING, "10"),)): {"image/big": IMAGE},
        Record(product="image/small", kind="image", spec=SMALL, per_shape=1, inputs=()): {"image/small": ONE},
    }
    for seed, (name, counts) in enumerate(names.items()):
        spec = CaptionSpec(name=name, captioner=IMPORTED, samples=2, keep=2, per="shape")
        there = np.arange(2) < counts[:, None]
        said = [f"{name} {row} {i}" if there[row, i] else "" for row in range(N) for i in range(2)]
        lacking = ((LACKING, str(int((counts == 0).sum()))),) if (counts == 0).any() else ()
        captions = Record(product=f"captions/{name}", kind="captions", spec=spec, per_shape=1, inputs=(), made_by=lacking)
        cells = layout.text_cells(said).reshape(N, 1, 2, -1)
        wanted[captions] = {f"captions/{name}/text": cells, f"captions/{name}/score": np.zeros((N, 1, 2), np.float32)}
        text = Record(product=f"text/{name}/big", kind="text", spec=BIG, per_shape=2, inputs=(), made_by=lacking)
        wanted[text] = {f"text/{name}/big": vectors(10 + seed, N, 2, E) * there[..., None].astype(np.float16)}
    label = Record(product="labels/source/big", kind="labels", spec=BIG, labels=LABELS, inputs=())
    wanted[label] = {"labels/source/big": vectors(5, 3, 2, E)}
    synthetic.fill(cache, wanted)
    return cache.path


def opened(path, batch=20, **changes):
    config = DataConfig(**{"splits": (), "teachers": ("big",), "captions": ("full", "part"), "templates": 0.0} | changes)
    return Data([store.open_cache(path)], config, batch=batch, seed=0, needs=Needs(teachers=True))


def batches(data, count=20):
    return [data.batch(number) for number in range(count)]


def test_a_shape_without_an_embedding_has_no_image_target(path):
    for batch in batches(opened(path)):
        there = torch.from_numpy(IMAGE.any((1, 2)))[batch.index]
        assert torch.equal(batch.image_valid["big"], there) and not batch.image["big"][~there].any()
    assert "10 without image/big" in str(opened(path))


def test_views_are_drawn_evenly_from_as_many_as_each_teacher_has(path):
    data = opened(path, teachers=("random-b", "big", "small"), captions=("full",), batch=40)
    seen = {name: np.zeros(count) for name, count in (("random-b", 3), ("big", 5), ("small", 1))}
    for batch in batches(data, 25):
        for name, counts in seen.items():
            stored = torch.from_numpy(store.open_cache(path).array(f"image/{name}")[:])[batch.index]  # [B, V, E]
            match = (stored == batch.image[name][:, None]).all(-1)
            counts += match[stored.any((1, 2)) if stored.ndim == 2 else stored.flatten(1).any(1)].sum(0).numpy()
    for counts in seen.values():
        assert counts.min() > 0 and abs(counts / counts.sum() - 1 / len(counts)).max() < 0.06


def test_texts_come_from_those_that_a_shape_has(path):
    """Where `part` has nothing on a shape, `full` has its chance; of a shape's texts each is drawn as often, and none that is not there."""
    data, cache = opened(path, captions=("full", "part"), batch=40), store.open_cache(path)
    stored = {name: torch.from_numpy(cache.array(f"text/{name}/big")[:]) for name in ("full", "part")}
    drawn = np.zeros((3, 2, 2))
    for batch in batches(data, 100):
        assert batch.text_valid["big"].all() and (batch.text_key >= 0).all()
        for place, name in enumerate(("full", "part")):
            match = (stored[name][batch.index] == batch.text["big"][:, None]).all(-1).numpy()  # [B, 2]
            for count in range(3):
                drawn[count, place] += match[COUNTS[batch.index.numpy()] == count].sum(0)
    share = drawn / drawn.sum((1, 2), keepdims=True)
    expected = np.array([[[0.5, 0.5], [0, 0]], [[0.25, 0.25], [0.5, 0]], [[0.25, 0.25], [0.25, 0.25]]])
    assert np.abs(share - expected).max() < 0.04 and not drawn[expected == 0].any()


def test_a_shape_without_any_text_has_no_text_target(path):
    data = opened(path, captions=("part",))
    for batch in batches(data):
        there = torch.from_numpy(COUNTS > 0)[batch.index]
        assert torch.equal(batch.text_valid["big"], there) and torch.equal(batch.text_key >= 0, there)
    for batch in batches(opened(path, captions=("part",), templates=0.5), 5):
        assert torch.equal(batch.text_valid["big"], batch.text_key >= 0), "a template is a text"
        assert batch.text_valid["big"][COUNTS[batch.index.numpy()] == 0].any() and not batch.text_valid["big"].all()
    with pytest.raises(UserError, match="with an embedding of every shape"):
        opened(path, captions=("part",), negatives=4)


def test_losses_do_not_depend_on_what_stands_in_for_a_missing_embedding(path):
    from trainer.prepare import new_stage  # the losses of a real stage on a batch whose invalid rows are replaced

    data = opened(path)
    config = config_of("align", "data.splits=", "data.teachers=big", "data.captions=part", "data.templates=0")
    torch.manual_seed(0)
    stage, _ = new_stage(config, data, None)
    batch = data.batch(0)
    noise = torch.where(batch.image_valid["big"][:, None], batch.image["big"], torch.randn(20, E).half())
    draw = stage.draw(20, torch.Generator().manual_seed(1))
    one, two = (stage.eval()(b, draw)["image/big"] for b in (batch, dataclasses.replace(batch, image={"big": noise})))
    assert torch.allclose(one, two) and torch.isfinite(one)


def test_a_run_and_its_results_say_that_they_learned_from_imported_embeddings(path, tmp_path, capsys):
    train(
        config_of("align", "optim.epochs=1", "data.splits=", "data.teachers=big", "data.captions=full", "data.templates=0"),
        [path],
        tmp_path / "run",
        device="cpu",
    )
    assert "big (imported, told to be of model of big)" in " ".join(capsys.readouterr().err.split())
    loaded, cache = checkpoint.load(tmp_path / "run"), store.open_cache(path)
    (teacher,) = loaded.header.facts.teachers
    assert teacher.imported == "model of big" and teacher.fingerprint == fingerprint(BIG)
    for task, changes in (("zeroshot", ["labels=source"]), ("retrieval", [])):
        result = catalog.evaluate(task, loaded, cache, catalog.options(task, ["test_split=all", "repeats=1", *changes]))
        assert any("learned from imported embeddings of big: they are told to be of model of big" in n for n in result.scores.notes)
    scores = retrieval.run(loaded.model, cache, cache, retrieval.Options(test_split="all", repeats=1, captions=("part",)))
    assert "image/big: 10 of 40 shapes have no embedding and are left out" in scores.notes
    assert {m.shapes for m in scores.metrics if "to image" in m.name} == {30}
    assert {m.shapes for m in scores.metrics if "to text" in m.name} == {int((COUNTS > 0).sum())}


def test_what_an_imported_teacher_lacks_is_explained(path):
    with pytest.raises(UserError, match=r"big was imported, and no model here embeds captions for it: .*import-embeddings"):
        opened(path, captions=("synthetic",))
    with pytest.raises(UserError, match=r"import-embeddings .* --teacher big --kind labels --labels other` brings it"):
        opened(path, templates=0.5, labels="other")


@pytest.mark.parametrize("turned", [False, True])
def test_what_is_missing_in_any_of_several_copied_caches_is_no_target(tmp_path, turned):
    """The first cache has every embedding, the second one lacks some: whatever the order, no zeros are learned from."""
    paths, few, image = [], imported("few", E, text=False), vectors(6, N, 1, E)
    for seed, gone in enumerate((N, 4)):
        made = synthetic.write(tmp_path / f"{seed}.zarr", shapes=N, shard=16, points=PointSpec(count=64, blocks=1, ordered=32), seed=seed)
        manifest = dataclasses.replace(made.manifest, source=SourceSpec(kind="synthetic", ids=ids_digest(f"{seed}/{i}" for i in range(N))))
        cache = store.create(tmp_path / f"c{seed}.zarr", manifest, [f"{seed}/{i}" for i in range(N)], [0] * N, [0] * N)
        for name in ("status", "points"):
            record = cache.begin(dataclasses.replace(made.record(name), complete=False, content=""))
            for shard in range(manifest.shards):
                cache.write(record, shard, {node.path: made.shard_rows(node, shard) for node in made.arrays(record)})
            cache.finish(record)
        lacking = ((LACKING, "10"),) if seed else ()
        record = Record(product="image/few", kind="image", spec=few, per_shape=1, inputs=(), made_by=lacking)
        synthetic.fill(
            cache, {record: {"image/few": image * (np.arange(N) % gone > 0 if seed else np.ones(N))[:, None, None].astype("f2")}}
        )
        paths.append(cache.path)
    first, other = paths[::-1] if turned else paths
    both = copy(first, tmp_path / "both.zarr", also=[other]).cache
    assert both.record("image/few").lacking == 10
    data = opened(both.path, batch=40, teachers=("few",), captions=())
    batches = [data.batch(number) for number in range(2)]
    there = torch.cat([(batch.image["few"] != 0).any(-1) for batch in batches])
    assert int((~there).sum()) == 10
    assert torch.equal(torch.cat([batch.image_valid["few"] for batch in batches]), there)
