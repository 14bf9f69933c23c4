"""Batches from arrays in the memory of a device: the same as from mapped files, bit for bit, and refused where there is no room."""

import dataclasses

import pytest
import torch

from cache_schema import store, synthetic
from cache_schema.spec import PointSpec
from tests.trainer import test_data
from tests.trainer.conftest import LABELS
from tests.trainer.test_data import CPU, GOLDEN, TEACHERS, digest, ways
from tests.trainer.test_data import other as other
from trainer import resident
from trainer.data import Data, feed
from trainer.part import DataConfig
from trainer.resident import Resident


def loaded(caches, config, device=CPU, how="device", **options):
    return Resident(caches, dataclasses.replace(config, resident=how), device=device, **options)


@pytest.mark.parametrize("way", sorted(GOLDEN.keys() - {"resample"}))
def test_batches_are_those_of_mapped_files(cache_path, other, way, monkeypatch):
    monkeypatch.setattr(test_data, "Data", lambda caches, config, **o: (Data if config.resample else loaded)(caches, config, **o))
    data = ways(cache_path, other)[way]
    assert data._held and digest(data) == GOLDEN[way]


def test_shares_of_larger_blocks_are_those_of_mapped_files(cache_path, tmp_path):
    synthetic.write(tmp_path / "larger.zarr", points=PointSpec(count=80, blocks=2, ordered=32), labels=LABELS)
    caches = [store.open_cache(path) for path in (cache_path, tmp_path / "larger.zarr")]
    options = {"batch": 12, "seed": 0, "needs": TEACHERS}
    config = DataConfig(splits=(), templates=1)
    both = [digest(kind(caches, config, **options)) for kind in (Data, loaded)]
    assert both[0] == both[1]


def test_a_feed_takes_them_as_they_are(cache_path):
    data = loaded([store.open_cache(cache_path)], DataConfig(), batch=8, seed=0, needs=TEACHERS)
    batches = list(feed(data, range(3), slice(2, 6), threads=2, device=CPU))
    assert all(test_data.same(batch, data.batch(number, slice(2, 6))) for number, batch in enumerate(batches))


def test_without_room_it_is_refused_or_left_in_files_with_a_word(cache_path, monkeypatch):
    monkeypatch.setattr(resident, "free_memory", lambda device: 10_000)
    caches, options = [store.open_cache(cache_path)], {"batch": 8, "seed": 0, "needs": TEACHERS}
    with pytest.raises(ValueError, match=r"the arrays of this run take .* GiB, and cpu has 0.00 GiB free"):
        loaded(caches, DataConfig(), **options)
    gpu = loaded(caches, DataConfig(), device=torch.device("cuda", 0), how="auto", **options)
    assert not gpu._held and "stay in files, since 0.00 GiB of cuda:0 are free" in str(gpu)
    assert torch.equal(gpu.batch(0).points, Data(caches, DataConfig(), **options).batch(0).points)


def test_what_has_no_effect_is_refused():
    with pytest.raises(ValueError, match=r"data.resident=auto has no effect with data.resample"):
        DataConfig(resident="auto", resample=True)
