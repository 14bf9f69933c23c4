"""A copy of a cache holds the same bytes in every array, whatever the format of the original; it goes on after a kill."""

import json
import shutil

import numpy as np
import pytest

from cache_schema import products, store, synthetic, validate
from cache_schema.copy import copy
from cache_schema.errors import UserError
from cache_schema.spec import FORMAT_VERSION, CaptionSpec, GuideSpec, Record
from tests.boxes import contents

GUIDE = GuideSpec(name="g", encoder="e", weights="w", tokens=4, dim=8, blocks=2)
RENAMED = {"captions": "captions/synthetic", "text/random-a": "text/synthetic/random-a"}


@pytest.fixture(params=[1, FORMAT_VERSION])
def original(request, tmp_path):
    return synthetic.write(tmp_path / "old.zarr", guide=GUIDE, format_version=request.param, failed=(3,))


def whole(cache, record):
    return {node.path.rpartition("/")[2]: (node.dtype, cache.array(node.path)[:].tobytes()) for node in cache.arrays(record)}


def test_every_array_of_a_copy_equals_the_original(original, tmp_path):
    made = copy(original.path, tmp_path / "new.zarr")
    assert made.cache.manifest.format_version == FORMAT_VERSION and not made.left_out
    assert not validate.problems(made.cache.path)
    new = made.cache.products()
    assert set(new) == {RENAMED.get(name, name) for name in original.products()}
    for name, record in original.products().items():
        there = new[RENAMED.get(name, name)]
        before, after = whole(original, record), whole(made.cache, there)
        assert after.items() >= before.items()
        assert there.fingerprint == record.fingerprint and there.made_by == record.made_by
        if set(before) == set(after):
            assert there.content == record.content
        else:
            assert set(after) - set(before) <= {"licence", "repeated"}
    assert not made.cache.repeated().any() and (made.cache.column("licence") == -1).all()


def test_a_copy_that_was_stopped_goes_on_to_the_bytes_of_one_that_was_not(original, tmp_path):
    class Killed(Exception):
        pass

    def stop(product, shards):
        if product.startswith("image"):
            raise Killed

    with pytest.raises(Killed):
        copy(original.path, tmp_path / "killed.zarr", advance=stop)
    copy(original.path, tmp_path / "killed.zarr")
    copy(original.path, tmp_path / "once.zarr")
    assert contents(tmp_path / "killed.zarr") == contents(tmp_path / "once.zarr")


def test_the_journal_comes_along_and_unfinished_products_are_named(original, tmp_path):
    line = json.dumps({"event": "build", "source": "meshes"})
    (tmp_path / "old.zarr.journal").write_text(line + "\n")
    begun = Record(product="image/new", kind="image", spec=synthetic.teacher("new", 4), per_shape=3, inputs=())
    original.begin(begun)
    made = copy(original.path, tmp_path / "new.zarr")
    assert made.left_out == {"image/new": "is not finished"} and "image/new" not in made.cache.records()
    assert (tmp_path / "new.zarr.journal").read_text() == line + "\n"
    some = copy(original.path, tmp_path / "some.zarr", names=("points",))
    assert some.left_out["image/new"] == "was not asked for" and "index" not in some.left_out


def test_damage_is_found_while_copying_and_a_strangers_place_is_left_alone(original, tmp_path):
    file = original.path / original.node("points/xyz").key(0)
    file.write_bytes(file.read_bytes()[:-9] + b"123456789")
    with pytest.raises(UserError, match="is not as it was written"):
        copy(original.path, tmp_path / "new.zarr")
    with pytest.raises(UserError, match="is the cache itself"):
        copy(original.path, original.path)
    other = synthetic.write(tmp_path / "other.zarr", shapes=9)
    with pytest.raises(UserError, match="is another cache"):
        copy(original.path, other.path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("")
    with pytest.raises(UserError, match=r"holds 'thesis\.tex'"):
        copy(original.path, tmp_path / "mine")


def test_captions_of_format_1_are_named_after_their_model(tmp_path):
    old = synthetic.write(tmp_path / "old.zarr", format_version=1, captions=())
    spec = CaptionSpec(captioner="blip2", model="Salesforce/blip2-opt-2.7b", samples=1)
    record = Record(product="captions", kind="captions", spec=spec, per_shape=3, inputs=())
    cells = {"captions/text": np.zeros((24, 3, 1, 256), np.uint8), "captions/score": np.zeros((24, 3, 1), np.float32)}
    synthetic.fill(old, {record: cells})
    new = copy(old.path, tmp_path / "new.zarr").cache
    (found,) = new.of(products.CAPTIONS)
    assert found.product == "captions/blip2-opt-2.7b" and found.spec.name == "blip2-opt-2.7b"


def test_captions_that_are_called_captions_keep_their_name(tmp_path):
    old = synthetic.write(tmp_path / "old.zarr", captions=("captions", "other"))
    assert set(copy(old.path, tmp_path / "new.zarr").cache.products()) == set(old.products())


def test_embeddings_of_captions_that_were_deleted_are_refused(tmp_path):
    old = synthetic.write(tmp_path / "old.zarr", format_version=1)
    shutil.rmtree(old.path / "products/captions")
    with pytest.raises(UserError, match="embeddings of captions but no captions"):
        copy(old.path, tmp_path / "new.zarr")


def test_one_cache_of_a_development_version_is_refused_by_name(tmp_path):
    cache = synthetic.write(tmp_path / "c.zarr")
    shutil.rmtree(cache.path / "licence")
    root = json.loads((cache.path / "zarr.json").read_bytes())
    del root["consolidated_metadata"]
    (cache.path / "zarr.json").write_text(json.dumps(root))
    with pytest.raises(UserError, match="development version"):
        store.open_cache(cache.path)


def test_a_copy_that_is_behind_its_original_is_refused(original, tmp_path):
    copy(original.path, tmp_path / "new.zarr")
    record = original.record("status")
    values = {node.path: original.array(node.path)[:8] for node in original.arrays(record)}
    original.reopen(record, 0)
    original.write(record, 0, {**values, "colored": np.zeros_like(values["colored"])})
    original.finish(original.records()["status"])
    for product in ("image/random-a", "image/random-b"):  # their statistics are over shapes that are ok, which have not changed
        original.proven(product)
    with pytest.raises(UserError, match=r"was changed after .* had been begun: status differs in shard 0"):
        copy(original.path, tmp_path / "new.zarr")


@pytest.mark.parametrize("place", ["old.zarr/in", "old.zarr/points/new", "", "file"])
def test_a_place_that_cannot_be_leaves_nothing_behind(original, tmp_path, place):
    (tmp_path / "file").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=r"inside|around|is a file"):
        copy(original.path, tmp_path / place)
    assert sorted(tmp_path.rglob("*")) == before
