"""What is read is what was written: exchanged shards and damaged files are found by training, evaluation and guide."""

import dataclasses

import pytest

from cache_schema.errors import UserError
from cache_schema.products import markers
from cache_schema.rows import Rows
from tests.harm import copied, exchange, flip
from tests.trainer.conftest import config_of
from trainer import checkpoint, guide
from trainer.loop import train
from trainer.tasks import catalog

EXCHANGED = "{} is not as it was when it was finished.*verify --repair"
WRITTEN = "is not as it was written.*verify --repair"


@pytest.fixture
def cache(guided, tmp_path):
    return copied(guided, tmp_path)


def _quick(task):
    chosen = catalog.task(task).SMOKE
    both = {"train_split": "all", "test_split": "all"}
    return dataclasses.replace(chosen, **{name: split for name, split in both.items() if hasattr(chosen, name)})


@pytest.mark.parametrize(
    "product", ["index", "status", "points", "captions/synthetic", "image/random-a", "text/synthetic/random-a", "labels/source/random-a"]
)
def test_training_refuses_exchanged_shards(cache, tmp_path, product):
    record = cache.record(product)
    if markers(cache.manifest, record).shape[0] == 1:  # nothing to exchange: another product's shard with its marker
        node = cache.arrays(record)[0]
        values = cache.column(node.path)[::-1].copy()
        cache.write(record, 0, {node.path: values})
    else:
        exchange(cache, product)
    with pytest.raises(UserError, match=EXCHANGED.format(product)):
        train(config_of("align", "data.labels=source"), [cache.path], tmp_path / "run", device="cpu")


def test_stage_2_refuses_an_exchanged_guide(cache, aligned, tmp_path):
    exchange(cache, "guide/own")
    with pytest.raises(UserError, match=EXCHANGED.format("guide/own")):
        train(config_of("distill", "guide=own"), [cache.path], tmp_path / "run", guide_run=aligned, device="cpu")


@pytest.mark.parametrize(
    ("task", "product"),
    [(task, product) for task in ("svm", "retrieval") for product in ("index", "status", "points")] + [("retrieval", "image/random-a")],
)
def test_an_evaluation_refuses_exchanged_shards(cache, aligned, task, product):
    exchange(cache, product)
    with pytest.raises(UserError, match=EXCHANGED.format(product)):
        catalog.evaluate(task, checkpoint.load(aligned), cache, _quick(task))


def test_a_guide_refuses_exchanged_points(cache, aligned):
    exchange(cache, "points")
    with pytest.raises(UserError, match=EXCHANGED.format("points")):
        guide.write(cache, checkpoint.load(aligned), "new", device="cpu")
    assert "guide/new" not in cache.records()


@pytest.mark.parametrize(
    ("task", "product"),
    [
        ("knn", "points"),
        ("classify", "points"),
        ("zeroshot", "points"),
        ("retrieval", "image/random-a"),
        ("zeroshot", "labels/source/random-a"),
    ],
)
def test_an_evaluation_of_damaged_files_has_no_result(cache, aligned, task, product):
    flip(cache.path / cache.arrays(cache.record(product))[0].key(0))
    with pytest.raises(UserError, match=WRITTEN):
        catalog.evaluate(task, checkpoint.load(aligned), cache, _quick(task))


def test_a_run_that_read_damage_at_last_does_not_end(cache, tmp_path, monkeypatch):
    flip(cache.path / cache.arrays(cache.record("points"))[0].key(0))
    monkeypatch.setattr(Rows, "gather", _unlucky(Rows.gather))
    with pytest.raises(UserError, match=WRITTEN):
        train(config_of("align"), [cache.path], tmp_path / "run", device="cpu")
    assert not checkpoint.path(tmp_path / "run").exists() or checkpoint.load(tmp_path / "run").header.unfinished


def _unlucky(gather):
    """As `gather` where no check is ever done by the time of the reading."""

    def instead(self, rows, columns=None, out=None):
        try:
            return gather(self, rows, columns, out)
        except UserError:
            problem, self._problem = self._problem, ""
            found = gather(self, rows, columns, out)
            self._problem = problem
            return found

    return instead
