"""What a build will cost, told before it begins, and what is needed for it."""

import dataclasses
import math
import os
from pathlib import Path

import numpy as np
import pytest

from cache_schema import products, store
from cache_schema.errors import UserError
from pipeline import estimate, fetch
from pipeline.describe import product_bytes
from pipeline.estimate import chosen, in_words, reduced, share
from pipeline.journal import ShapesMade, ShardMade
from pipeline.recipes import configured
from pipeline.sources.catalog import open_source
from pipeline.work import Machine
from tests.boxes import Silent, box_off
from tests.pipeline.conftest import build

POINTS = ["points.count=32", "points.ordered=8", "points.blocks=2", "source.label=file", "source.up=y"]


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def collection(tmp_path):
    """Twelve boxes of growing files, two of which are broken."""
    folder = tmp_path / "boxes"
    folder.mkdir()
    for number in range(12):
        text = box_off((1, 2, 3)) + "# " + "x" * 100 * number + "\n"
        (folder / f"box{chr(97 + number)}.off").write_text("OFF\nbroken" + " " * 100 * number if number in (3, 7) else text)
    return folder


class Told(Silent):
    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


def test_a_plan_foretells_the_bytes_and_the_failures_and_leaves_nothing(collection, tmp_path):
    config, terminal = configured("points", POINTS), Told()
    path = tmp_path / "out" / "x.zarr"
    path.parent.mkdir()
    found = estimate.estimate(str(collection), path, config, Machine(workers=1, device="cpu"), terminal, sample=12)
    assert list(path.parent.iterdir()) == []
    said = "\n".join(terminal.lines)
    assert said.index("no split found; --set source.split=0.8") < said.index("to measure")  # guesses are told before
    assert (found.shapes, found.sample, found.missing, found.done) == (12, 12, (), {})
    assert {shape for shape, _ in found.failed} == {"boxd.off", "boxh.off"}
    assert 0 < found.low < found.hours < found.high
    assert {step.name for step in found.steps} == {"read", "points"} and all(step.hours >= 0 for step in found.steps)
    cache = build(collection, path, config)
    for name, record in cache.records().items():
        if products.of(record) is products.POINTS:
            assert found.bytes[name] <= product_bytes(cache, record) <= found.bytes[name] * 1.5 + 4096  # files have an index besides
    words = " ".join(in_words(found, path))
    assert "2 of 12 shapes failed, so between 5% and 45% of all may: boxd.off: " in words and "it fits" in words
    again = estimate.estimate(str(collection), path, config, Machine(workers=1, device="cpu"), Silent(), sample=4)
    assert set(again.done.values()) == {1.0} and sum(step.hours for step in again.steps) == 0
    assert again.there > 0 and "only what it lacks was counted" in in_words(again, path)[0]


def test_missing_weights_are_named_and_the_rest_is_measured(collection, tmp_path):
    config = configured("points", POINTS)
    views = configured(
        "smoke", ["views.size=32", "teachers=dinov2-small,clip-vit-b32", "captions=template", "captions.rank_by=clip-vit-b32"]
    ).views
    captions = configured("smoke", ["captions=template", "captions.rank_by=clip-vit-b32", "teachers=clip-vit-b32"]).captions
    asked = dataclasses.replace(config, views=views, teachers=("dinov2-small", "clip-vit-b32"), captions=captions)
    missing = [model.name for model in fetch.of_build(asked) if model.missing]
    assert missing == ["dinov2-small", "clip-vit-b32"]
    possible, without = reduced(asked, missing)
    assert possible.teachers == () and possible.captions is None
    assert without == ["dinov2-small", "clip-vit-b32", "captions template"]
    kept, _ = reduced(asked, ["dinov2-small"])
    assert kept.teachers == ("clip-vit-b32",) and kept.captions == captions
    found = estimate.Estimate(shapes=1, sample=1, machine="m", missing=tuple(missing), without=tuple(without))
    assert "mmpd-cache fetch dinov2-small clip-vit-b32" in " ".join(in_words(found, tmp_path))


def test_the_sample_has_files_of_all_sizes(collection):
    source = open_source(str(collection))
    few = chosen(source, 4)
    sizes = sorted(os.path.getsize(collection / entry.locator) for entry in source.entries)
    mine = sorted(os.path.getsize(collection / entry.locator) for entry in few.entries)
    assert len(mine) == 4 and list(few.entries) == sorted(few.entries, key=lambda entry: entry.id)
    for quarter, size in enumerate(mine):  # one of each quarter
        assert sizes[3 * quarter] <= size <= sizes[3 * quarter + 2]
    assert abs(np.mean(mine) - np.mean(sizes)) < 0.15 * np.mean(sizes)
    assert chosen(source, 12).entries == source.entries


def measured(cache, device, shapes, models):
    machine = Machine(workers=2, device=device)
    whole = estimate._Measured(cache=cache, whole=None, config=None, machine=machine, begun=0.0)
    return whole._seconds(shapes, models)


def test_seconds_add_up_on_a_cpu_and_the_slower_side_counts_on_a_gpu(tmp_path, monkeypatch):
    from cache_schema.synthetic import write

    cache = write(tmp_path / "x.zarr")
    shards, rows = cache.manifest.shards, cache.manifest.shapes
    shapes = [ShapesMade(shard=i, shapes=4, waited=5.0 if i == 0 else 1.0, steps={"read": 2.0, "views": 4.0}) for i in range(shards)]
    models = [ShardMade(product="image/a", shard=i, seconds=7.0) for i in range(shards)]
    mean, spread = measured(cache, "cpu", shapes, models)
    # Waiting for the first shard took 2 s longer than its 6 s of work in 2 processes: starting, which happens once.
    assert mean == pytest.approx((3 + (shards - 1) + 7 * shards) / rows) and 0 <= spread < 1
    monkeypatch.setattr(Machine, "devices", lambda self: ("cuda:0",))
    later = sum(len(cache.manifest.rows(i)) for i in range(1, shards))
    assert measured(cache, "auto", shapes, models)[0] == pytest.approx(max(7 * (shards - 1) / later, 3 * shards / rows))


def test_shares_and_times_in_words():
    assert share(0, 0) == (0.0, 1.0)
    low, high = share(2, 12)
    p, z = 2 / 12, 1.96  # the bounds solve (p - q)^2 = z^2 q (1 - q) / n
    for q in (low, high):
        assert (p - q) ** 2 == pytest.approx(z * z * q * (1 - q) / 12)
    assert not math.isnan(sum(share(5, 5)))


@pytest.mark.parametrize(
    ("names", "needs"),
    [
        (["clip-dino"], ["openai/clip-vit-base-patch32", "facebook/dinov2-small", "Salesforce/blip2-opt-2.7b"]),
        (["default", "points", "starter-resnet"], []),
        (["open_clip:ViT-B-16-SigLIP/webli"], ["timm/ViT-B-16-SigLIP", "timm/ViT-B-16-SigLIP"]),
        (["blip2:some/model@main", "mine=transformers:a/b@c"], ["some/model", "a/b"]),
        (["dinov2-small", "dinov2-small"], ["facebook/dinov2-small"]),
    ],
)
def test_what_names_need(names, needs):
    assert [need.model for model in fetch.needed(names) for need in model.needs] == needs


def test_an_unknown_name_and_a_machine_without_network(tmp_path):
    with pytest.raises(UserError, match="did you mean 'clip-dino'"):
        fetch.fetch(["clip-dinno"], Silent())
    with pytest.raises(UserError, match=r"no weights of facebook/dinov2-small at .*HF_HUB_OFFLINE"):
        fetch.fetch(["dinov2-small"], Silent())


def test_a_cache_elsewhere_is_said_to_be_elsewhere(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"PK\3\4")
    with pytest.raises(UserError, match=r"s3://lab/x\.zarr is an address, .* `mmpd-cache pull`"):
        store.open_cache("s3://lab/x.zarr")
    with pytest.raises(UserError, match="is a file, and a cache is a folder: unpack it"):
        store.open_cache(tmp_path / "x.zip")
    with pytest.raises(UserError, match="build here, then `mmpd-cache push`"):
        build(tmp_path, Path("s3://lab/x.zarr"), configured("points", []))
