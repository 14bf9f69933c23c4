"""Captions of several captioners, and caches of both formats: what is drawn of which, and that nothing else changes with it."""

import dataclasses
import hashlib
import json
import math

import numpy as np
import pytest
import torch

from cache_schema import layout, store, synthetic
from cache_schema.layout import text_cells
from cache_schema.spec import CaptionSpec, PointSpec, Record
from tests.trainer.conftest import LABELS, config_of, write_small
from tests.trainer.test_data import GOLDEN, A, digest, flat, opened, other, same, ways  # noqa: F401
from trainer import captions, checkpoint, guide, prepare
from trainer.data import Data, feed
from trainer.distributed import Ranks
from trainer.folder import begun
from trainer.loop import train
from trainer.part import DataConfig, Needs
from trainer.tasks import retrieval, zeroshot

POINTS = PointSpec(count=64, blocks=2, ordered=32)


@pytest.fixture(scope="session")
def old(tmp_path_factory):
    """The small cache as format 1 has it."""
    path = tmp_path_factory.mktemp("old") / "old.zarr"
    write_small(path, format_version=1)
    return path


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """40 shapes in `train` with the captions `one` and `two` of each of three views, and two captions `whole` about each shape."""
    cache = synthetic.write(
        tmp_path_factory.mktemp("pair") / "pair.zarr", shapes=60, shard=16, points=POINTS, labels=LABELS, captions=("one", "two")
    )
    add_whole(cache)
    return cache.path


def add_whole(cache):
    """Captions about shapes: three, of which two are embedded."""
    words = CaptionSpec(name="whole", captioner="none", samples=3, keep=2, per="shape")
    said = layout.text_cells([f"shape {row}, caption {rank}" for row in range(60) for rank in range(3)]).reshape(60, 1, 3, -1)
    said[:, 0, 0] = store.open_cache(cache.path).array("captions/one/text")[:, 0, 0]  # the first is what `one` says of the first view
    embedded = np.random.default_rng(5).standard_normal((60, 2, 32)).astype(np.float16)
    captions = Record(product="captions/whole", kind="captions", spec=words, per_shape=1, inputs=())
    text = Record(product="text/whole/random-a", kind="text", spec=A, per_shape=2, inputs=())
    values = {"captions/whole/text": said, "captions/whole/score": np.zeros((60, 1, 3), np.float32)}
    synthetic.fill(cache, {captions: values, text: {"text/whole/random-a": embedded}})


def drawn(data, batches):
    """(row, view, captioner, column) of every text in some batches, found by the embeddings; and its key."""
    cache = data.parts[0].cache
    names = [c.name for c in data.parts[0].captions]
    texts = {name: cache.array(f"text/{name}/random-a")[:] for name in names}
    image = cache.array("image/random-a")[:]
    for number in range(batches):
        batch = data.batch(number)
        for i, row in enumerate(batch.index.tolist()):
            (view,) = np.flatnonzero((image[row] == batch.image["random-a"][i].numpy()).all(-1))
            places = {n: np.flatnonzero((t[row] == batch.text["random-a"][i].numpy()).all(-1)) for n, t in texts.items()}
            ((name, column),) = [(n, int(p[0])) for n, p in places.items() if len(p)]
            yield row, int(view), name, column, batch.text_key[i].item()


# --------------------------------------------------------------------------------------------------------- both formats


@pytest.mark.parametrize("way", GOLDEN)
def test_a_cache_of_format_1_gives_the_same_batches(old, other, way):  # noqa: F811
    assert digest(ways(old, other)[way]) == GOLDEN[way]


def test_statistics_and_products_of_both_formats(old, cache_path):
    one, two = opened(old), opened(cache_path)
    assert one.statistics().keys() == two.statistics().keys() == {"image/random-a", "text/random-a", "image/random-b"}
    for name, (mean, variance) in one.statistics().items():
        assert torch.equal(mean, two.statistics()[name][0]) and torch.equal(variance, two.statistics()[name][1])
    used = {name for name, _ in one.used[0].products} ^ {name for name, _ in two.used[0].products}
    assert used == {"captions", "text/random-a", "captions/synthetic", "text/synthetic/random-a"}
    assert same(opened(old, captions=("captions",)).batch(0), opened(cache_path, captions=("synthetic",)).batch(0))


def test_a_cache_of_format_1_serves_every_command(old, cache_path, tmp_path):
    """The same losses, the same weights, the same zero-shot numbers as its copy in format 2; a run goes on; a guide and a student."""
    runs = {path: tmp_path / f"run{i}" for i, path in enumerate((old, cache_path))}
    scores = {}
    for path, run in runs.items():
        train(config_of("align", "optim.epochs=1"), [path], run, device="cpu")
        model = checkpoint.load(run)
        assert model.step == 4  # of 8 shapes each
        cache = store.open_cache(path)
        scores[path] = [
            task.run(model.model, cache, cache, task.Options(test_split="all", repeats=1)).metrics for task in (zeroshot, retrieval)
        ]
    assert checkpoint.load(runs[old]).weights == checkpoint.load(runs[cache_path]).weights
    assert scores[old] == scores[cache_path] and scores[old]
    assert begun(runs[old]).config.data.captions == () and begun(runs[cache_path]).config.data.captions == ("synthetic",)
    for path, run in runs.items():
        train(begun(run).config, [path], run, resume=True, device="cpu")
    copied = store.open_cache(old)
    guide.write(copied, checkpoint.load(runs[old]), "format1", device="cpu")
    assert min(guide.spread(copied, "format1")) > 0
    student = config_of("distill", "guide=format1", "optim.epochs=1")
    train(student, [old], tmp_path / "student", guide_run=runs[old], device="cpu")
    assert checkpoint.load(tmp_path / "student").step == 4


# ------------------------------------------------------------------------------------------------------ several captioners


def test_captions_are_mixed_by_weights_and_each_text_is_of_its_captioner(pair):
    data = opened(pair, batch=40, templates=0, captions=("one", "two"), caption_weights=(3.0, 1.0))
    seen = list(drawn(data, 25))
    share = sum(name == "one" for *_, name, _, _ in seen) / len(seen)
    assert abs(share - 0.75) < 4 * math.sqrt(0.75 * 0.25 / len(seen))
    assert all(view == column for _, view, _, column, _ in seen), "a caption of the view that was drawn"
    keys = {name: data.parts[0].captions[i].key for i, name in enumerate(("one", "two"))}
    assert all(keys[name][row, column] == key for row, _, name, column, key in seen)
    assert "captions one 75 %, two 25 %" in str(data)
    # Whose caption it is has nothing to do with the view, the block and the shape.
    ofs = {name: [view for _, view, n, _, _ in seen if n == name] for name in ("one", "two")}
    assert all(abs(views.count(v) / len(views) - 1 / 3) < 4 * math.sqrt(2 / 9 / len(views)) for views in ofs.values() for v in range(3))


def test_by_default_all_captions_are_mixed_equally_and_that_is_said(pair):
    data = opened(pair, batch=40, templates=0)
    seen = list(drawn(data, 25))
    for name in ("one", "two", "whole"):
        share = sum(n == name for *_, n, _, _ in seen) / len(seen)
        assert abs(share - 1 / 3) < 4 * math.sqrt(2 / 9 / len(seen))
    assert "shapes, captions one 33.3 %, two 33.3 %, whole 33.3 %" in str(data)
    assert "captions" not in str(opened(pair, captions=("two",)))


def test_captions_about_a_shape_do_not_depend_on_the_view(pair):
    data = opened(pair, batch=40, templates=0, captions=("whole",))
    seen = list(drawn(data, 25))
    assert {(view, column) for _, view, _, column, _ in seen} == {(view, column) for view in range(3) for column in range(2)}
    assert len({(row, column, key) for row, _, _, column, key in seen}) == len({(row, column) for row, _, _, column, _ in seen})


def test_equal_texts_of_different_captioners_have_one_key(pair):
    one, _, whole = opened(pair).parts[0].captions
    np.testing.assert_array_equal(one.key[:, 0], whole.key[:, 0])
    assert not np.isin(whole.key[:, 1], one.key).any() and whole.key.shape == (60, 2)


def test_whose_captions_changes_nothing_else_and_only_seed_and_number_decide_it(pair):
    def one(**settings):
        return opened(pair, batch=40, negatives=10, **settings)

    alone, mixed = flat(one(captions=("one",)).batch(3)), flat(one(captions=("one", "whole")).batch(3))
    changed = {name for name, value in alone.items() if not torch.equal(value, mixed[name])}
    assert changed == {"text/random-a", "text_key/"}
    assert same(one().batch(3), one().batch(3))
    whole, parts = one().batch(3), [one().batch(3, slice(0, 15)), one().batch(3, slice(15, 40))]
    for name, value in flat(whole).items():
        assert torch.equal(value, torch.cat([flat(part)[name] for part in parts])), name
    assert all(torch.equal(whole.negatives.text["random-a"], part.negatives.text["random-a"]) for part in parts)
    got = list(feed(one(), range(2, 6), slice(None), threads=3, device=torch.device("cpu")))
    assert all(same(a, one().batch(number)) for number, a in zip(range(2, 6), got, strict=True))
    assert not torch.equal(whole.text["random-a"], opened(pair, batch=40, negatives=10, seed=1).batch(3).text["random-a"])


def test_a_share_of_nothing_is_not_even_opened(pair):
    data = opened(pair, captions=("one", "two"), caption_weights=(0.0, 2.0))
    assert [c.name for c in data.parts[0].captions] == ["two"] and not any("one" in name for name, _ in data.used[0].products)
    assert same(data.batch(1), opened(pair, captions=("two",)).batch(1))


def test_statistics_of_several_captioners_are_those_of_the_mixture(pair):
    cache = store.open_cache(pair)
    one, two = (cache.array(f"text/{name}/random-a")[:].reshape(-1, 32).astype(float) for name in ("one", "two"))
    together = np.concatenate([one, one, one, two])
    mean, variance = opened(pair, captions=("one", "two"), caption_weights=(3.0, 1.0)).statistics()["text/random-a"]
    np.testing.assert_allclose(mean, together.mean(0), atol=1e-6)
    np.testing.assert_allclose(variance, together.var(0), rtol=1e-6)


def test_templates_alone_open_no_captions(pair):
    data = opened(pair, templates=1)
    assert not data.parts[0].captions and not any(name.startswith(("captions", "text")) for name, _ in data.used[0].products)
    assert (data.batch(0).text_key >= 0).all()


def test_caches_with_captions_of_different_names_are_mixed(pair, old, cache_path):
    def of(*paths, **settings):
        caches = [store.open_cache(path) for path in paths]
        return Data(caches, DataConfig(templates=0, **settings), batch=40, seed=0, needs=Needs(teachers=True))

    data = of(pair, old)
    assert [[c.name for c in part.captions] for part in data.parts] == [["one", "two", "whole"], ["captions"]]
    batch, texts = data.batch(0), store.open_cache(old).array("text/random-a")[:]
    for index, text in zip(batch.index.tolist(), batch.text["random-a"].numpy(), strict=True):
        assert (index >= 60) == (index >= 60 and (texts[index - 60] == text).all(-1).any())
    with pytest.raises(ValueError, match=r"small\.zarr has no captions called 'one'; .*synthetic"):
        of(pair, cache_path, captions=("one",))


def test_a_run_goes_on_when_its_cache_has_got_another_captioner(tmp_path):
    cache = synthetic.write(tmp_path / "c.zarr", shapes=60, shard=16, points=POINTS, labels=LABELS, captions=("one", "two"))
    config = config_of("align", "optim.epochs=1")
    train(config, [cache.path], tmp_path / "run", device="cpu")
    add_whole(cache)
    assert begun(tmp_path / "run").config.data.captions == ("one", "two")
    train(begun(tmp_path / "run").config, [cache.path], tmp_path / "run", resume=True, device="cpu")
    with pytest.raises(ValueError, match=r"data\.captions is .*asked .*'whole'"):
        train(config, [cache.path], tmp_path / "run", resume=True, device="cpu")


def test_retrieval_takes_the_texts_of_all_captioners_or_of_those_named(pair, tmp_path):
    train(config_of("align", "optim.epochs=1"), [pair], tmp_path / "run", device="cpu")
    model, cache = checkpoint.load(tmp_path / "run").model, store.open_cache(pair)
    everyone = retrieval.run(model, cache, cache, retrieval.Options(repeats=1))
    assert "text/random-a: the texts of a shape come from text/one/random-a, text/two/random-a, text/whole/random-a" in everyone.notes
    one = retrieval.run(model, cache, cache, retrieval.Options(repeats=1, captions=("one",)))
    assert not any("the texts of a shape" in note for note in one.notes)
    with pytest.raises(ValueError, match="no captions embedded by random-a called 'on'; did you mean 'one'"):
        retrieval.run(model, cache, cache, retrieval.Options(captions=("on",)))


# ---------------------------------------------------------------------------------------------------- a user's mistakes


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"captions": ("one", "one")}, "data.captions has the same name twice: one, one"),
        ({"captions": ("one", "two"), "caption_weights": (1.0,)}, "needs one weight for each of data.captions"),
        ({"caption_weights": (1.0,)}, "needs one weight for each of data.captions"),
        ({"captions": ("one", "two"), "caption_weights": (1.0, -1.0)}, "data.caption_weights must be at least 0"),
        ({"captions": ("one", "two"), "caption_weights": (0.0, 0.0)}, "must not all be 0"),
        ({"captions": ("one", "two"), "caption_weights": (1.0, math.nan)}, "must be a finite number"),
        ({"captions": ("oen",)}, "has no captions called 'oen'; did you mean 'one'"),
        ({"captions": ("one",), "templates": 1}, "data.captions has no effect: no captions are read"),
        ({"captions": ("one",), "needs": Needs()}, "data.captions has no effect: no captions are read"),
    ],
)
def test_what_cannot_be_is_refused(pair, config, message):
    with pytest.raises(ValueError, match=message):
        opened(pair, **config)


def test_captions_that_are_not_finished_are_named(tmp_path):
    cache = synthetic.write(tmp_path / "c.zarr", labels=LABELS)
    late = CaptionSpec(name="late", captioner="none", samples=1)
    begun_ = cache.begin(Record(product="captions/late", kind="captions", spec=late, per_shape=3, inputs=()))
    assert [c.name for c in opened(cache.path).parts[0].captions] == ["synthetic"]
    with pytest.raises(ValueError, match=r"captions/late' is not finished; run the command that began it again"):
        opened(cache.path, captions=("late",))
    for shard in range(3):
        cache.write(begun_, shard, {n.path: np.ones((8, *n.shape[1:]), n.dtype) for n in cache.arrays(begun_)})
    cache.finish(begun_)
    with pytest.raises(ValueError, match="has no captions embedded by random-a called 'late'"):
        opened(cache.path)
    opened(cache.path, captions=("synthetic",))


def test_a_cache_without_captions_is_told_so(tmp_path):
    cache = synthetic.write(tmp_path / "c.zarr", labels=LABELS, captions=())
    with pytest.raises(ValueError, match=r"c\.zarr has no captions\. `mmpd-cache add-captioner` adds some"):
        opened(cache.path)
    assert opened(cache.path, templates=1).batch(0).text["random-a"].any()


@pytest.mark.parametrize("remembered", [0, 3, 1 << 16])
def test_keys_are_hashes_of_whole_cells_however_many_are_remembered(monkeypatch, remembered):
    monkeypatch.setattr(captions, "REMEMBERED", remembered)
    said = ["", "a chair", "a chair", "a chair ", "zero\0inside", "\0first", "x" * 300, "\u00fc" * 128, *map(str, range(9)), "a chair"]
    cells, known = layout.text_cells(said), captions._Keys()
    wanted = [int.from_bytes(hashlib.blake2b(cell.tobytes(), digest_size=8).digest(), "little") >> 1 for cell in cells]
    assert captions.text_keys(cells, known).tolist() == wanted == captions.text_keys(cells, known).tolist()
    assert captions.text_keys(np.stack([cells, cells], 1)[:, 0]).tolist() == wanted and len(known) <= remembered
    assert captions.text_keys(cells[:0]).shape == (0,)


def test_keys_in_a_file_are_those_in_memory_and_rows_without_a_shape_have_none(pair, monkeypatch):
    cache = store.open_cache(pair)
    record = cache.record("captions/one")
    shards = [(shard, (texts[:14] if shard == 1 else texts).copy()) for shard, texts in cache.column_shards("captions/one/text")]
    monkeypatch.setattr(cache, "column_shards", lambda path: iter(shards))  # as in a cache that has grown: rows 30 and 31 hold no shape
    wanted = captions.text_keys(cache.array("captions/one/text")[:, :, 0].reshape(180, -1)).reshape(60, 3)
    wanted[30:32] = captions.NONE
    mapped = captions.opened(cache, record, 1).key
    assert (mapped == wanted).all() and not mapped.flags.writeable

    def full(*_):
        raise OSError("no room")

    monkeypatch.setattr(captions.tempfile, "TemporaryFile", full)
    assert (captions.opened(cache, record, 1).key == wanted).all()


TEMPLATES = ("a {}.", "the shape of a {} on a table")


@pytest.fixture
def filled(tmp_path):
    """A cache with captions by templates: two sentences of each view; and texts of what a source states."""
    write_small(tmp_path / "c.zarr")
    cache = store.open_cache(tmp_path / "c.zarr")
    made = CaptionSpec(name="names", captioner="template", templates=TEMPLATES, samples=2)
    stated = CaptionSpec(name="told", captioner="descriptions", samples=1, per="shape", kinds=("name",), stated=True)
    classes, labels = cache.manifest.classes, cache.column("label")
    for spec, views in ((made, 3), (stated, 1)):
        product = f"captions/{spec.name}"
        inputs = (("views", "0"),)
        record = Record(product=product, kind="captions", spec=spec, per_shape=views, inputs=inputs)
        cache.begin(record)
        for shard in range(cache.manifest.shards):
            rows = cache.manifest.rows(shard)
            texts = [[t.replace("{}", classes[labels[row]]) for t in TEMPLATES[: spec.samples]] * views for row in rows]
            cells = text_cells([one for some in texts for one in some]).reshape(len(rows), views, spec.samples, -1)
            cache.write(record, shard, {f"{product}/text": cells, f"{product}/score": np.zeros(cells.shape[:3], np.float32)})
        cache.finish(record)
    return store.open_cache(tmp_path / "c.zarr")


def renamed(cache, classes, column="class"):
    """The cache as `mmpd-cache relabel` leaves it: other names, and the texts of before."""
    source = dataclasses.replace(cache.manifest.source, relabelled=((column, "0"),))
    cache.manifest = dataclasses.replace(cache.manifest, classes=classes, source=source)
    cache._refuse_relabelled = lambda record: None  # the files on disk are those of before, in which no class has another name
    return cache


KNOWN = ("cone", "cube", "torus")
"""Names of classes that a cache keeps when shapes get others."""


@pytest.mark.parametrize(("classes", "wrong"), [(("pyramid", "cube", "torus"), 1), (("Cone", "cube", "torus"), 0), (("a", "b", "c"), 3)])
def test_sentences_with_old_names_are_noticed(filled, classes, wrong):
    rows = np.flatnonzero(filled.ok())
    record = filled.record("captions/names")
    assert captions.outdated(filled, record, rows) == ""
    count = int((filled.column("label")[rows] < wrong).sum())
    note = captions.outdated(renamed(filled, classes), record, rows)
    assert note.startswith(f"captions/names of c.zarr says another class of {count} of {len(rows)} shapes") if wrong else note == ""
    some = rows[5:-3]
    left = captions.outdated(filled, record, some)
    assert f" of {int((filled.column('label')[some] < wrong).sum())} of {len(some)} shapes" in left if wrong else left == ""
    for column in ("split", "name"):
        assert captions.outdated(renamed(filled, classes, column), record, rows) == "", "another split or file name changes no class"


def test_a_note_has_every_setting_of_the_sentences(filled):
    record, rows = filled.record("captions/names"), np.arange(9)
    note = captions.outdated(renamed(filled, ("pyramid", "cube", "torus")), record, rows)
    sentences = json.dumps(TEMPLATES)
    assert note.endswith(f"`mmpd-cache add-captioner CACHE names=template --set samples=2 --set 'templates={sentences}'`")
    assert "`mmpd-cache remove CACHE captions/names --with-dependants`" in note
    spec = dataclasses.replace(record.spec, samples=4, keep=2, seed=7, templates=tuple(f"sentence {i} of a {{}}" for i in range(64)))
    told = captions._made_by(spec, "my names")
    assert told.startswith("`mmpd-cache add-captioner CACHE 'my names=template' --set keep=2 --set seed=7`, with `--set templates=...`")


def test_shapes_without_a_class_are_called_by_their_files_or_by_a_class_of_before(filled, monkeypatch):
    record, rows = filled.record("captions/names"), np.flatnonzero(filled.ok())
    labels = filled.column("label").copy()
    cache, count = renamed(filled, KNOWN), int((labels[rows] == 0).sum())
    plain = cache.column
    monkeypatch.setattr(cache, "column", lambda path: np.where(labels == 0, -1, labels) if path == "label" else plain(path))
    assert f" of {count} of {len(rows)} shapes" in captions.outdated(cache, record, rows), "it says `cone`, and the cache no class"
    monkeypatch.setattr(cache, "ids", lambda: ["cone.glb"] * len(labels))
    assert captions.outdated(cache, record, rows) == "", "it says the name of the file"


def test_texts_of_what_a_source_states_are_compared_where_they_say_a_class(filled):
    record, rows = filled.record("captions/told"), np.flatnonzero(filled.ok())
    assert captions.outdated(filled, record, rows) == ""
    assert captions.outdated(renamed(filled, KNOWN), record, rows) == "", "another class of a shape that is not read"
    note, count = (
        captions.outdated(renamed(filled, ("pyramid", "cube", "torus", "cone")), record, rows),
        (filled.column("label")[rows] == 0).sum(),
    )
    assert f"says another class of {count} of {len(rows)} shapes" in note and "the source states it so" in note
    assert captions.outdated(renamed(filled, ("pyramid", "cube", "torus", "cone"), "name"), record, rows) == ""
    assert captions.outdated(renamed(filled, ("a b", "c d", "e f")), record, rows) == "", "it names no class of the cache"
    assert captions.outdated(filled, filled.record("captions/synthetic"), rows) == "", "a model has looked at pictures"


def test_a_training_says_that_its_captions_have_old_names(filled, monkeypatch):
    """In its log and its record, from which results have it. Captions that nobody embeds are not read."""
    monkeypatch.setattr(captions, "outdated", lambda cache, record, rows: f"{record.product} is old")
    data = Data([filled], DataConfig(captions=("synthetic",)), batch=8, seed=0, needs=Needs(teachers=True))
    assert data.notes == ("captions/synthetic is old",)
    assert Data([filled], DataConfig(templates=1), batch=8, seed=0, needs=Needs(teachers=True)).notes == ()


def test_of_several_ranks_the_first_one_reads_the_texts_for_it(filled, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(captions, "outdated", lambda cache, record, rows: asked.append(record.product) or "old")
    config = config_of("align", "data.captions=synthetic", "optim.epochs=0")
    found = [
        prepare.prepared(config, [filled.path], tmp_path, prepare.Sources(), Ranks(device=torch.device("cpu"), rank=rank), []).header.notes
        for rank in (1, 0)
    ]
    assert asked == ["captions/synthetic"] and found == [(), ("old",)]
