"""Caches given away and fetched: from a folder, an S3 server on loopback, a web server, and a place that dies at any moment."""

import dataclasses
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from cache_schema import local, products, remote, spec, store, synthetic, validate
from cache_schema.errors import UserError
from cache_schema.files import exclusive
from cache_schema.layout import node_json, text_cells
from cache_schema.licences import both
from cache_schema.records import sealed
from cache_schema.remote import described_at, place_of
from cache_schema.selection import Selection
from cache_schema.spec import CaptionSpec, Manifest, Record
from pipeline import private, publish
from tests.forks import Command
from tests.growth import again, grow
from tests.harm import flip
from tests.pipeline.afar import Killed, Memory, Quiet, change, hub_server, objects, s3_server, web_server
from tests.pipeline.test_cli import run

SHARD = 8
SHAPES = 16
MOMENTS = int(os.environ.get("MOMENTS", "4"))
"""Number of moments at which a push or a pull dies; MOMENTS=20 tries more."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """16 shapes in 2 shards; to be read only."""
    path = tmp_path_factory.mktemp("caches") / "small.zarr"
    synthetic.write(path, shapes=SHAPES, shard=SHARD, failed=(4,))
    return path


@pytest.fixture(scope="module")
def lab():
    with pytest.MonkeyPatch.context() as patch, s3_server(patch) as counter:
        yield counter


@pytest.fixture(scope="module")
def pushed(cache, lab):
    """The address of that cache on the server, and what pushing it said. Tests that change it put it right again."""
    return "s3://lab/whole.zarr", push(cache, "s3://lab/whole.zarr")


def push(path, url, **options):
    return publish.push(path, url, terminal=Quiet(), allow_unknown=True, **options)


def pull(url, path, *patterns, **options):
    return publish.pull(url, path, patterns=patterns, terminal=Quiet(), **options)


def files(path: Path) -> dict[str, bytes]:
    """All files of a cache, by place."""
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def at(monkeypatch, place):
    monkeypatch.setattr(publish, "place_of", lambda url: place)
    return place.url


# ------------------------------------------------------------------------------------------------------ there and back


def test_a_pulled_cache_has_the_bytes_of_the_pushed_one(cache, pushed, tmp_path):
    url, moved = pushed
    there = objects("lab/whole.zarr")
    assert {key: data for key, data in there.items() if key not in (remote.CARD, remote.TABLE)} == files(cache)
    assert moved.files == len(there)
    pull(url, tmp_path / "back.zarr")
    assert files(tmp_path / "back.zarr") == files(cache)
    assert validate.problems(tmp_path / "back.zarr") == []
    # Nothing moves a second time.
    assert push(cache, url).files == pull(url, tmp_path / "back.zarr").files == 0
    assert not [key for key, data in there.items() if b"mmpd-test-secret" in data or b"mmpd-test-key" in data]


def test_any_zarr_client_opens_the_pushed_cache(cache, pushed):
    import xarray
    import zarr

    xyz = store.open_cache(cache).rows("points/xyz").gather(np.arange(SHAPES))
    np.testing.assert_array_equal(zarr.open_group(pushed[0], mode="r")["points/xyz"][:], xyz)
    np.testing.assert_array_equal(xarray.open_zarr(pushed[0], group="points", chunks=None)["xyz"].values, xyz)


def test_a_damaged_file_is_named_and_not_kept(cache, pushed, tmp_path):
    url, _ = pushed
    key = "points/rgb/c/1/0/0/0"
    right = (cache / key).read_bytes()
    change(f"lab/whole.zarr/{key}", right[:100] + bytes([right[100] ^ 1]) + right[101:])
    with pytest.raises(UserError, match=re.escape(f"{url}/{key} does not match")):
        pull(url, tmp_path / "back.zarr")
    here = store.open_cache(tmp_path / "back.zarr")
    assert "points" not in here.products() and 1 in here.missing(here.records()["points"])
    assert not here.file(key).exists()
    change(f"lab/whole.zarr/{key}", right)
    pull(url, tmp_path / "back.zarr")
    assert files(tmp_path / "back.zarr") == files(cache)


def test_only_what_is_asked_for_moves(cache, lab, pushed, tmp_path):
    url, _ = pushed
    there = objects("lab/whole.zarr")
    lab.reset()
    moved = pull(url, tmp_path / "part.zarr", "image/random-b")
    opened = store.open_cache(cache)
    wanted = {"zarr.json", *index_files(opened, "index"), *index_files(opened, "status"), *index_files(opened, "image/random-b")}
    wanted |= {products.statistics_array(opened.manifest, opened.record("image/random-b")).key(0)}
    assert lab.got == {f"/lab/whole.zarr/{key}": len(there[key]) for key in wanted}
    assert moved.by_product["image/random-b"] == sum(len(there[key]) for key in wanted if "random-b" in key)
    assert set(store.open_cache(tmp_path / "part.zarr").products()) == {"index", "status", "image/random-b"}
    assert validate.problems(tmp_path / "part.zarr") == []
    pull(url, tmp_path / "part.zarr", "image/*", "points")
    assert set(store.open_cache(tmp_path / "part.zarr").products()) == {"index", "status", "points", "image/random-a", "image/random-b"}
    with pytest.raises(UserError, match="no complete product 'image/randm-a'; did you mean 'image/random-a'"):
        pull(url, tmp_path / "part.zarr", "image/randm-a")


def test_a_selection_fetches_the_shards_that_hold_it_and_copies_its_rows(tmp_path, monkeypatch):
    from cache_schema.copy import copy

    whole = synthetic.write(tmp_path / "whole.zarr", shapes=24, shard=3)
    relabel = dict.fromkeys(range(24), 0) | {7: 1, 8: 1, 22: 1}  # shards 2 and 7 hold the class
    label = np.array([relabel[row] for row in range(24)], np.int32)
    index = whole.record("index")
    for shard in range(8):
        columns = {node.path: whole.shard_rows(node, shard) for node in whole.arrays(index)}
        whole.reopen(index, shard)
        whole.write(dataclasses.replace(index, complete=False, content=""), shard, columns | {"label": label[3 * shard : 3 * shard + 3]})
    whole.finish(dataclasses.replace(index, complete=False, content=""))
    url = at(monkeypatch, place := Memory())
    push(whole.path, url)
    asked, read = [], place.read
    monkeypatch.setattr(place, "read", lambda key, most: (asked.append(key), read(key, most))[1])
    where = Selection.parse(f"class={whole.manifest.classes[1]}")
    new = tmp_path / "some.zarr"

    def stopped(self, product, units):
        if product == "points":
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Quiet, "advance", stopped)
        with pytest.raises(Killed):
            pull(url, new, "points", "image/*", where=where)
    assert (tmp_path / ".some.zarr.pulling").is_dir()
    moved = pull(url, new, "points", "image/*", where=where)
    copy(whole.path, tmp_path / "expected.zarr", names=("points", "image/random-a", "image/random-b"), where=where)
    assert files(new) == files(tmp_path / "expected.zarr") and store.open_cache(new).manifest.shapes == 3
    # Each file of data came once, although the pull was stopped, and of the products only those of two shards.
    data = [key for key in asked if "/c/" in key and not key.startswith("products/")]
    assert len(data) == len(set(data))
    assert {key.split("/c/")[1].partition("/")[0] for key in data if key.startswith(("points", "image", "status"))} == {"2", "7"}
    assert set(moved.by_product) == {"image/random-a", "image/random-b"} and not list(tmp_path.glob("*.pulling"))
    # More products of the same shapes later; a damaged file is named.
    key = "text/synthetic/random-a/c/7/0/0"
    place.files[key] = place.files[key][:-1] + b"x"
    with pytest.raises(UserError, match=f"{url}/{key} does not match"):
        pull(url, new, "text/*", where=where)
    with pytest.raises(UserError, match="no cache has the class 'chaise'"):
        pull(url, tmp_path / "none.zarr", where=Selection.parse("class=chaise"))
    assert not list(tmp_path.glob("*none.zarr.p*"))
    with pytest.raises(UserError, match="is another cache"):
        pull(url, new, where=Selection.parse("split=train"))


def index_files(cache, product):
    record = cache.record(product)
    marker = products.markers(cache.manifest, record)
    return [node.key(shard) for node in (marker, *cache.arrays(record)) for shard in range(marker.shape[0])]


def added(path: Path, name: str = "extra") -> store.Cache:
    """Add one more teacher to a cache."""
    cache = store.open_cache(path)
    teacher = synthetic.teacher(name, 8, text=False)
    record = Record(product=f"image/{name}", kind="image", spec=teacher, per_shape=3, inputs=())
    synthetic.fill(cache, {record: {f"image/{name}": np.random.default_rng(1).normal(size=(SHAPES, 3, 8)).astype(np.float16)}})
    return cache


def test_a_second_push_moves_the_new_product_only(cache, lab, tmp_path):
    shutil.copytree(cache, tmp_path / "mine.zarr")
    push(tmp_path / "mine.zarr", "s3://lab/grown.zarr")
    added(tmp_path / "mine.zarr")
    lab.reset()
    push(tmp_path / "mine.zarr", "s3://lab/grown.zarr")
    data = {key for key in lab.put if "/c/" in key}
    assert data and all("image/extra" in key for key in data)
    # Besides it only descriptions of the product, the card, and the root.
    below = {key.removeprefix("/lab/grown.zarr/") for key in set(lab.put) - data}
    assert below == {"zarr.json", "README.md", "image/extra/zarr.json", "products/image/extra/zarr.json", "stats/image/extra/zarr.json"}
    pull("s3://lab/grown.zarr", tmp_path / "back.zarr")
    assert files(tmp_path / "back.zarr") == files(tmp_path / "mine.zarr")
    # Somebody without this teacher pushes: it stays there.
    push(cache, "s3://lab/grown.zarr")
    assert "image/extra" in described_at(place_of("s3://lab/grown.zarr")).records


def test_another_cache_is_not_overwritten(cache, tmp_path):
    push(cache, str(tmp_path / "out.zarr"))
    synthetic.write(tmp_path / "other.zarr", shapes=25, shard=SHARD)
    with pytest.raises(UserError, match="holds another cache"):
        push(tmp_path / "other.zarr", str(tmp_path / "out.zarr"))
    with pytest.raises(UserError, match="is another cache"):
        pull(str(cache), tmp_path / "other.zarr")
    with pytest.raises(UserError, match="lies inside it"):
        push(cache, str(cache / "sub"))


# ------------------------------------------------------------------------------------------ a place that changes later


@pytest.fixture
def grown(cache, tmp_path):
    """A place with a cache, a copy that was pulled from it, and the cache that was pushed there again once it had grown by 5 shapes."""
    shutil.copytree(cache, tmp_path / "lab.zarr")
    place = Memory()
    with pytest.MonkeyPatch.context() as patch:
        url = at(patch, place)
        push(cache, url)
        pull(url, tmp_path / "mine.zarr")
        grow(tmp_path / "lab.zarr")
        push(tmp_path / "lab.zarr", url)
        pull(url, tmp_path / "whole.zarr")
        yield url, place, tmp_path


def whole(path: Path) -> dict[str, object]:
    """All files of a cache by place, but with records in place of descriptions, and without what they were before it grew."""
    told = {f"products/{name}/zarr.json": dataclasses.replace(r, before=()) for name, r in store.open_cache(path).records().items()}
    return files(path) | told | {"zarr.json": store.open_cache(path).manifest}


def counting(monkeypatch, place):
    """The keys that are read from a place from now on."""
    read, seen = place.read, []
    monkeypatch.setattr(place, "read", lambda key, most: (seen.append(key), read(key, most))[1])
    return seen


def test_a_pull_fetches_the_new_shapes_of_a_place_that_has_grown(cache, grown, monkeypatch):
    url, place, folder = grown
    early = store.open_cache(folder / "mine.zarr")
    before = {name: early.proven(name) for name in early.products()}
    seen = counting(monkeypatch, place)
    pull(url, folder / "mine.zarr", "points")  # what is here grows, too, and never a part of it
    assert whole(folder / "mine.zarr") == whole(folder / "whole.zarr") and not validate.problems(folder / "mine.zarr")
    assert store.open_cache(folder / "mine.zarr").manifest.segments == (16, 5)
    data = {key for key in seen if "/c/" in key and not key.startswith(("products/", "stats/"))}
    assert data and {key.partition("/c/")[2].partition("/")[0] for key in data} == {"2"}  # the third shard only
    assert {name: early.proven(name) for name in before} == before and early.ok().sum() == 15  # who had it open goes on
    seen.clear()
    pull(url, folder / "mine.zarr")
    assert not [key for key in seen if "/c/" in key]


def killed_after(reads, place, monkeypatch, command):
    """Run a command that dies when it has read so many files of a place."""
    read, place.reads = place.read, 0

    def dying(key, most):
        if place.reads >= reads:
            raise Killed
        return read(key, most)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(place, "read", dying)
        command()


def test_a_pull_of_new_shapes_that_dies_anywhere_is_old_or_new_and_goes_on(grown, monkeypatch):
    url, place, folder = grown
    right, was = whole(folder / "whole.zarr"), files(folder / "mine.zarr")
    shutil.copytree(folder / "mine.zarr", folder / "try.zarr")
    place.reads = 0
    pull(url, folder / "try.zarr", jobs=1)
    total = place.reads
    for left in np.linspace(1, total - 1, MOMENTS).astype(int).tolist():
        shutil.rmtree(folder / "try.zarr")
        shutil.copytree(folder / "mine.zarr", folder / "try.zarr")
        killed_after(left, place, monkeypatch, lambda: pull(url, folder / "try.zarr", jobs=1))
        now = store.open_cache(folder / "try.zarr")
        assert now.manifest.count == 16 and all(now.proven(name) for name in now.products())
        assert {name: data for name, data in files(folder / "try.zarr").items() if name in was} == was
        half = files(folder / "try.zarr").keys() - was.keys()
        code, said, _ = run("status", folder / "try.zarr")
        assert code == 0 and ("a pull or an append was stopped" in said) == any(name.startswith("products/") for name in half)
        pull(url, folder / "try.zarr", jobs=1)
        assert whole(folder / "try.zarr") == right


def test_a_pull_of_new_shapes_is_all_or_nothing_when_it_is_written(grown, monkeypatch):
    """It dies while the last files are put in place; the next command that writes to the cache finishes that."""
    url, _, folder = grown
    right, replace = whole(folder / "whole.zarr"), os.replace
    for last in (0, 1, 7, 20):
        shutil.copytree(folder / "mine.zarr", folder / "try.zarr")
        calls = 0

        def dying(one, other, last=last):
            nonlocal calls
            if (calls := calls + (".change" in str(one))) > last:
                raise Killed
            replace(one, other)

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(os, "replace", dying)
            pull(url, folder / "try.zarr")
        now = store.open_cache(folder / "try.zarr")
        assert all(now.proven(name) for name in now.products()) and now.manifest.count == 16
        pull(url, folder / "try.zarr")
        assert whole(folder / "try.zarr") == right
        shutil.rmtree(folder / "try.zarr")


def test_shapes_that_were_tried_again_at_the_place_change_in_all_products_together(cache, monkeypatch, tmp_path):
    """Old points beside the new status would read as whole."""
    shutil.copytree(cache, tmp_path / "lab.zarr")
    url = at(monkeypatch, place := Memory())
    push(cache, url)
    pull(url, tmp_path / "mine.zarr")
    lab = store.open_cache(tmp_path / "lab.zarr")
    for name in ("status", "points"):
        again(lab, name)
    grow(tmp_path / "lab.zarr")
    push(tmp_path / "lab.zarr", url)
    shutil.copytree(tmp_path / "mine.zarr", tmp_path / "try.zarr")
    place.reads = 0
    pull(url, tmp_path / "try.zarr", jobs=1)
    total = place.reads
    assert whole(tmp_path / "try.zarr") == whole(tmp_path / "lab.zarr") and total > 20
    for left in (total - 3, total - 12):
        shutil.rmtree(tmp_path / "try.zarr")
        shutil.copytree(tmp_path / "mine.zarr", tmp_path / "try.zarr")
        killed_after(left, place, monkeypatch, lambda: pull(url, tmp_path / "try.zarr", jobs=1))
        assert {"status", "points"} & set(store.open_cache(tmp_path / "try.zarr").products()) == set()
        pull(url, tmp_path / "try.zarr", jobs=1)
        assert whole(tmp_path / "try.zarr") == whole(tmp_path / "lab.zarr")


def test_a_copy_that_was_itself_changed_is_not_pulled_over(grown):
    url, _, folder = grown
    mine = folder / "mine.zarr"
    added(mine)
    before = files(mine)
    with pytest.raises(UserError, match=r"lacks image/extra, which .*mmpd-cache remove .*image/extra`. Or pull into a new path, and put"):
        pull(url, mine)
    assert files(mine) == before
    assert run("remove", mine, "image/extra")[0] == 0
    pull(url, mine)
    assert whole(mine) == whole(folder / "whole.zarr")
    grow(mine, 3)
    with pytest.raises(UserError, match=r"has 24 shapes, and memory:.* only the first 21 of them: .* was appended to"):
        pull(url, mine)


def test_shapes_that_were_changed_here_are_not_replaced(grown):
    url, _, folder = grown
    mine = folder / "mine.zarr"
    again(store.open_cache(mine), "points")
    (folder / "mine.zarr.journal").write_text(json.dumps({"time": 1.0, "event": "retry"}) + "\n")
    with pytest.raises(UserError, match=r"have other values in points for the same shapes, and a command has changed .* Pull into a new"):
        pull(url, mine)
    assert "points" in store.open_cache(mine).products()
    (folder / "mine.zarr.journal").unlink()  # then it can only be the place that has changed
    pull(url, mine)
    assert whole(mine) == whole(folder / "whole.zarr")


@pytest.mark.parametrize("product", ["image/extra", "image/random-a"])  # one's own; and one that the place has, too
def test_shapes_that_change_at_the_place_are_not_mixed_into_a_product_that_was_begun_here(cache, tmp_path, product):
    lab, url, mine = tmp_path / "lab.zarr", str(tmp_path / "place.zarr"), tmp_path / "mine.zarr"
    shutil.copytree(cache, lab)
    push(lab, url)
    pull(url, mine, "points")
    begun = Record(product="image/extra", kind="image", spec=synthetic.teacher("extra"), per_shape=3, inputs=())
    if product != begun.product:
        begun = dataclasses.replace(store.open_cache(lab).record(product), complete=False, content="")
    with exclusive(mine):
        here = store.open_cache(mine)
        node = here.arrays(record := here.begin(begun))[0]
        here.write(record, 1, {node.path: np.ones((len(here.manifest.rows(1)), *node.shape[1:]), node.dtype)})
    opened = store.open_cache(lab)
    for name in ("status", "points"):
        again(opened, name)
    push(lab, url)
    before = files(mine)
    with pytest.raises(UserError, match=rf"other values in status for .*a part of {product} is made .*mmpd-cache remove .*{product}`"):
        pull(url, mine, "points")
    assert files(mine) == before
    if product == "image/random-a":
        pull(url, mine, "points", product)  # it comes whole
        assert store.open_cache(mine).record(product) == opened.record(product)
    else:
        assert run("remove", mine, product)[0] == 0
        pull(url, mine)
    assert not validate.problems(mine)


def test_a_product_that_was_begun_here_goes_on_when_its_shapes_stay(grown):
    url, _, folder = grown
    mine = store.open_cache(folder / "mine.zarr")
    begun = mine.begin(Record(product="image/extra", kind="image", spec=synthetic.teacher("extra"), per_shape=3, inputs=()))
    node = mine.arrays(begun)[0]
    mine.write(begun, 0, {node.path: np.ones((8, *node.shape[1:]), node.dtype)})
    pull(url, mine.path)
    now = store.open_cache(mine.path)
    assert now.manifest.count == 21 and now.missing(now.records()["image/extra"]) == [1, 2]


def test_a_pull_of_other_classes_says_which_own_products_do_not_fit_them(cache, tmp_path):
    lab, url, mine = tmp_path / "lab.zarr", str(tmp_path / "place.zarr"), tmp_path / "mine.zarr"
    shutil.copytree(cache, lab)
    push(lab, url)
    pull(url, mine)
    with exclusive(mine):
        here = store.open_cache(mine)
        for name, change in (
            ("captions/named", {"product": "captions/named"}),
            ("labels/source/random-a", {"product": "labels/source/random-a"}),
        ):
            like = here.record("captions/synthetic" if name.startswith("captions") else "labels/three/random-a")
            if like.labels is None:
                change |= {"spec": dataclasses.replace(like.spec, name="named", templates=("a {}",))}
            else:
                change |= {"labels": dataclasses.replace(like.labels, name="source")}
            begun = here.begin(dataclasses.replace(like, complete=False, content="", **change))
            for shard in here.missing(begun):
                pairs = zip(here.arrays(like), here.arrays(begun), strict=True)
                here.write(begun, shard, {node.path: here.shard_rows(was, shard) for was, node in pairs})
            here.finish(begun)
    publish.pull(url, mine, terminal=(terminal := Quiet()))
    assert not [text for text in terminal.said if "Warning" in text]
    (tmp_path / "table.csv").write_text("id,class\ncone/000000,vase\n")
    assert run("relabel", lab, tmp_path / "table.csv")[0] == 0
    push(lab, url)
    publish.pull(url, mine, terminal=terminal)
    assert [text for text in terminal.said if "Warning" in text] == [
        "Warning: labels/source/random-a lacks vase: remove it, and make it again by `mmpd-cache labels mine.zarr source`",
        "Warning: captions/named was written with the names of the old classes, and what is made from it still says them",
    ]
    assert "vase" in store.open_cache(mine).manifest.classes and not validate.problems(mine)


def test_a_copy_and_a_place_that_grew_apart_are_two_caches(grown):
    url, _, folder = grown
    grow(folder / "mine.zarr", 3)
    before = files(folder / "mine.zarr")
    with pytest.raises(UserError, match=r"began with the same shapes, and each of them got other ones since .*Pull into a new path"):
        pull(url, folder / "mine.zarr")
    assert files(folder / "mine.zarr") == before


def test_a_first_pull_that_was_stopped_goes_on_when_its_place_has_grown(cache, monkeypatch, tmp_path):
    url = at(monkeypatch, place := Memory())
    shutil.copytree(cache, tmp_path / "lab.zarr")
    push(cache, url)
    for left in (3, 40):  # in the index, and behind it
        shutil.rmtree(tmp_path / "mine.zarr", ignore_errors=True)
        killed_after(left, place, monkeypatch, lambda: pull(url, tmp_path / "mine.zarr", jobs=1))
        assert (tmp_path / "mine.zarr" / "zarr.json").exists() == (left == 40)
        grow(tmp_path / "lab.zarr", 3)
        push(tmp_path / "lab.zarr", url)
        pull(url, tmp_path / "mine.zarr")
        assert whole(tmp_path / "mine.zarr") == whole(tmp_path / "lab.zarr")


# ---------------------------------------------------------------------------------------------------------------- kills


def test_a_push_that_dies_anywhere_is_never_taken_for_complete_and_goes_on(cache, monkeypatch, tmp_path):
    url = at(monkeypatch, whole := Memory())
    total = push(cache, url, jobs=1).files
    for number, left in enumerate(np.linspace(0, total - 1, MOMENTS).astype(int).tolist()):
        place = Memory()
        place.left = left
        at(monkeypatch, place)
        with pytest.raises(Killed):
            push(cache, url, jobs=1)
        with pytest.raises(UserError, match="holds no complete cache"):
            described_at(place)
        place.left = 10**9
        before = dict(place.files)
        again = push(cache, url, jobs=1)
        assert place.files == whole.files, left
        written = {key for key in before if "/c/" in key and f"products/{key.partition('/c/')[0]}" not in key}
        assert again.files <= total - sum("products/" in key and "/c/" in key for key in written), (number, left)


def test_a_replaced_product_is_seen_old_or_new_but_never_mixed(cache, monkeypatch, tmp_path):
    shutil.copytree(cache, tmp_path / "new.zarr")
    changed = store.open_cache(tmp_path / "new.zarr")
    record = changed.record("image/random-b")
    for shard in (0, 1):
        values = changed.shard_rows(changed.arrays(record)[0], shard)
        changed.reopen(record, shard)
        changed.write(dataclasses.replace(record, complete=False, content=""), shard, {"image/random-b": -values})
    changed.finish(dataclasses.replace(record, complete=False, content=""))
    states = [files(cache), files(tmp_path / "new.zarr")]
    url = at(monkeypatch, first := Memory())
    push(cache, url, jobs=1)
    total = None
    for left in range(0, 60, 24 // MOMENTS or 1):
        place = Memory()
        place.files, place.left = dict(first.files), left
        at(monkeypatch, place)
        try:
            push(tmp_path / "new.zarr", url, jobs=1)
            total = left
        except Killed:
            pass
        shutil.rmtree(tmp_path / "seen.zarr", ignore_errors=True)
        pull(url, tmp_path / "seen.zarr")
        seen = {key: data for key, data in files(tmp_path / "seen.zarr").items() if "image/random-b" in key}
        assert not seen or any(seen == {key: state[key] for key in seen} for state in states), left
        place.left = 10**9
        push(tmp_path / "new.zarr", url, jobs=1)
        pull(url, tmp_path / "seen.zarr")
        assert files(tmp_path / "seen.zarr") == states[1]
        if total is not None:
            break
    assert total


def test_a_pull_that_dies_anywhere_goes_on(cache, monkeypatch, tmp_path):
    url = at(monkeypatch, place := Memory())
    push(cache, url)
    place.reads = 0
    pull(url, tmp_path / "whole.zarr", jobs=1)
    total = place.reads
    for left in np.linspace(0, total - 1, MOMENTS).astype(int).tolist():
        shutil.rmtree(tmp_path / "back.zarr", ignore_errors=True)
        killed_after(left, place, monkeypatch, lambda: pull(url, tmp_path / "back.zarr", jobs=1))
        if (tmp_path / "back.zarr" / "zarr.json").exists():
            for name in store.open_cache(tmp_path / "back.zarr").products():
                store.open_cache(tmp_path / "back.zarr").proven(name)
        done = place.reads
        place.reads = 0
        pull(url, tmp_path / "back.zarr", jobs=1)
        assert files(tmp_path / "back.zarr") == files(tmp_path / "whole.zarr")
        assert left < 20 or place.reads < total, (left, done)


def test_killed_commands_go_on(cache, lab, tmp_path):
    """Real processes and SIGKILL, over the network."""
    orders = (
        ["mmpd-cache", "push", cache, "s3://lab/killed.zarr", "--allow-unknown"],
        ["mmpd-cache", "pull", "s3://lab/killed.zarr", tmp_path / "back.zarr"],
    )
    for order, moving in zip(orders, (lab.put, lab.got), strict=True):
        lab.reset()
        killed = Command(order, tmp_path / f"{order[1]} killed")
        while len(moving) < 20 and killed.alive:
            time.sleep(0.002)
        killed.send(signal.SIGKILL)
        assert killed.end() == -signal.SIGKILL
        again = Command(order, tmp_path / order[1])
        assert again.end() == 0, again.err
    assert files(tmp_path / "back.zarr") == files(cache)


# -------------------------------------------------------------------------------------------------------------- nothing local


def test_nothing_local_goes_out(copied, tmp_path, monkeypatch):
    """A cache built with models from local folders, whose failed shape names its file by a path."""
    monkeypatch.setattr(local.getpass, "getuser", lambda: "janedoe")
    monkeypatch.setattr(local.socket, "gethostname", lambda: "gpubox7.lab.example")
    opened = store.open_cache(copied)
    journal = json.loads(Path(f"{copied}.journal").read_text().splitlines()[0])
    sources = [journal["source"], *journal["models"].values()]
    assert len(sources) > 2 and all(place.startswith("/") for place in sources)
    status = opened.record("status")
    nodes = {node.path: opened.shard_rows(node, 0) for node in opened.arrays(status)}
    said = [
        "",
        f"{journal['source']}/a b.off is cut short",
        "/home/janedoe/x y/mesh.obj: no such file; asked janedoe on gpubox7",
        "and/or 1/2",
    ]
    nodes["reason"] = text_cells(said)
    opened.reopen(status, 0)
    opened.write(dataclasses.replace(status, complete=False, content=""), 0, nodes)
    opened.finish(dataclasses.replace(status, complete=False, content=""))
    image = opened.record("image/random-dino")
    labelled = dataclasses.replace(image, spec=dataclasses.replace(image.spec, model="http://gpubox7:8000/v1 of /home/janedoe/models/dino"))
    opened.file("products/image/random-dino/zarr.json").write_bytes(node_json(products.markers(opened.manifest, image), sealed(labelled)))

    push(copied, str(tmp_path / "out.zarr"))
    out = store.open_cache(tmp_path / "out.zarr")
    assert validate.problems(tmp_path / "out.zarr") == []
    reasons = private.texts(out.column("reason"))[:4].tolist()
    assert reasons == ["", "a b.off is cut short", "mesh.obj: no such file; asked (removed) on (removed)", "and/or 1/2"]
    assert out.record("image/random-dino").spec.model == "(removed) of dino"
    assert out.record("image/random-dino").fingerprint == image.fingerprint
    secret = [*sources, str(Path.home()) + "/", "janedoe", "gpubox7", str(tmp_path)]
    for key, data in files(tmp_path / "out.zarr").items():
        assert not [word for word in secret if word.encode() in data], key
    assert push(copied, str(tmp_path / "out.zarr")).files == 0


def test_a_place_that_decides_a_fingerprint_is_refused(tmp_path):
    for settings, words in (
        ({"classes": ("/home/jane/chairs", "b")}, "the manifest.classes"),
        ({}, "the record of captions/c.spec.prompt"),
    ):
        path = tmp_path / f"{len(settings)}.zarr"
        source = spec.SourceSpec(kind="synthetic", ids=spec.ids_digest(["a"]))
        cache = store.create(path, Manifest(shapes=1, shard=1, source=source, **settings), ["a"], [0 if settings else -1], [-1])
        described = CaptionSpec(name="c", captioner="x", prompt="file:///home/jane/prompt.txt", samples=1)
        record = Record(product="captions/c", kind="captions", spec=described, per_shape=1, inputs=())
        text, score = np.zeros((1, 1, 1, 256), np.uint8), np.zeros((1, 1, 1), np.float32)
        synthetic.fill(cache, {record: {"captions/c/text": text, "captions/c/score": score}})
        with pytest.raises(UserError, match=rf"{words}.* holds a place of this machine"):
            push(path, str(tmp_path / "out.zarr"))
        assert not (tmp_path / "out.zarr").exists()


def test_addresses_with_credentials_are_refused():
    for url in ("https://user:secret@lab.org/a.zarr", "s3://key:secret@lab/a.zarr", "https://lab.org/a.zarr?token=secret"):
        with pytest.raises(UserError, match="must not hold") as caught:
            place_of(url)
        assert "secret" not in str(caught.value)


# ------------------------------------------------------------------------------------------------------------ licences


def licensed(path, names, held):
    source = spec.SourceSpec(kind="synthetic", ids=spec.ids_digest(map(str, range(len(held)))))
    manifest = Manifest(shapes=len(held), shard=2, source=source, licences=names)
    store.create(path, manifest, list(map(str, range(len(held)))), [-1] * len(held), [-1] * len(held), held)
    return path


def test_what_a_licence_forbids_is_not_pushed(tmp_path):
    out = str(tmp_path / "out.zarr")
    with pytest.raises(UserError, match=r"must not be given away: 1 shape \(CC BY-ND 4.0: it forbids"):
        publish.push(licensed(tmp_path / "nd.zarr", ("CC BY-ND 4.0", "MIT"), [0, 1, 1]), out, allow_unknown=True, terminal=Quiet())
    mixed = licensed(tmp_path / "mixed.zarr", (both(["MIT OR Apache-2.0", "all-rights-reserved"]), "MIT"), [0, 1, 1])
    with pytest.raises(UserError, match=r"must not be given away: 1 shape \(\(MIT OR Apache-2.0\) AND all-rights"):
        publish.push(mixed, out, allow_unknown=True, terminal=Quiet())
    some = licensed(tmp_path / "some.zarr", ("MIT",), [0, -1, -1])
    with pytest.raises(UserError, match=r"nobody knows .* 2 shapes \(no licence.*--allow-unknown"):
        publish.push(some, out, terminal=Quiet())
    assert not (tmp_path / "out.zarr").exists()
    publish.push(some, out, allow_unknown=True, terminal=(told := Quiet()))
    assert "not known" in told.said[0] and "- not known: 2 shapes" in (tmp_path / "out.zarr/README.md").read_text()
    free = licensed(tmp_path / "free.zarr", ("mit",), [0, 0])
    publish.push(free, str(tmp_path / "free-out.zarr"), terminal=Quiet())
    assert "\nlicense: mit\n" in (tmp_path / "free-out.zarr/README.md").read_text()


def test_only_what_may_be_shared_is_pushed(cache, tmp_path):
    """Shapes are left out by their licence, products by their names."""
    names, held = ("CC BY-ND 4.0", "by", "MIT"), [0, 1, 2, 1, -1, 2, 0, 1]
    path = licensed(tmp_path / "some.zarr", names, held)
    some = store.open_cache(path)
    status = Record(product="status", kind="status", spec=some.manifest.source, inputs=())
    values = {node.path: np.zeros(node.shape, node.dtype) for node in products.arrays(some.manifest, status)}
    teacher = dataclasses.replace(synthetic.teacher("t", 4, text=False), licence="MIT")
    closed = dataclasses.replace(synthetic.teacher("c", 4, text=False), licence="proprietary")
    made = {
        Record(product=f"image/{t.name}", kind="image", spec=t, per_shape=1, inputs=()): {
            f"image/{t.name}": np.arange(32, dtype=np.float16).reshape(8, 1, 4)
        }
        for t in (teacher, closed)
    }
    synthetic.fill(some, {status: values | {"status": np.ones(8, np.uint8)}, **made})
    out = tmp_path / "out.zarr"
    with pytest.raises(UserError, match=r"2 shapes \(CC BY-ND.*image/c \(proprietary.*--only-licence.*--products"):
        publish.push(path, str(out), allow_unknown=True, terminal=Quiet())
    with pytest.raises(UserError, match=r"image/c \(proprietary"):
        publish.push(path, str(out), only_licence=("cc-by", "mit"), terminal=Quiet())
    with pytest.raises(
        UserError, match=r"no shape under cc0 \(it has 2 shapes under CC BY-ND 4.0; 3 shapes under by; 2 shapes under MIT; 1 "
    ):
        publish.push(path, str(out), only_licence=("cc0",), terminal=Quiet())
    assert not out.exists()
    options = {"only_licence": ("cc-by", "mit"), "patterns": ("image/t",)}
    publish.push(path, str(out), terminal=(told := Quiet()), **options)
    assert told.said[0] == ("Shapes under MIT, by go out. These stay here: 2 shapes under CC BY-ND 4.0; 1 shape under no known licence.")
    gone = store.open_cache(out)
    assert gone.ids().tolist() == ["1", "2", "3", "5", "7"] and set(gone.products()) == {"index", "status", "image/t"}
    np.testing.assert_array_equal(gone.rows("image/t").gather(np.arange(5))[:, 0, 0], [4, 8, 12, 20, 28])
    assert "BY-ND" not in (out / "README.md").read_text().partition("## Licences")[2] and not list(tmp_path.glob("*.outgoing*"))
    assert publish.push(path, str(out), terminal=Quiet(), **options).files == 0
    # Products that are not named stay at the place, and the table shows nothing of what does not go out.
    push(cache, str(tmp_path / "two.zarr"), patterns=("points",))
    push(cache, str(tmp_path / "two.zarr"), patterns=("image/random-a",))
    there = described_at(place_of(str(tmp_path / "two.zarr"))).records
    assert set(there) == {"index", "status", "points", "image/random-a"}
    assert "a random" not in str(pyarrow.parquet.read_table(tmp_path / "two.zarr/shapes.parquet").to_pydict())


def some_licensed(path, ids=("a", "b", "c")):
    """A cache of three shapes, the last of which must not go out."""
    source = spec.SourceSpec(kind="synthetic", ids=spec.ids_digest(ids))
    manifest = Manifest(shapes=3, shard=2, source=source, licences=("MIT", "by-nd"))
    store.create(path, manifest, list(ids), [-1] * 3, [-1] * 3, [0, 0, 1])
    some = store.open_cache(path)
    status = Record(product="status", kind="status", spec=some.manifest.source, inputs=())
    values = {node.path: np.zeros(node.shape, node.dtype) for node in products.arrays(some.manifest, status)}
    synthetic.fill(some, {status: values | {"status": np.ones(3, np.uint8)}})
    return path


def test_the_copy_of_what_may_be_shared_is_not_left_behind(tmp_path, monkeypatch):
    free = {"only_licence": ("mit",)}
    bad = some_licensed(tmp_path / "bad.zarr", ("a", "/home/jane/b", "c"))
    with pytest.raises(UserError, match=rf"^{bad}: the id of row 1 holds a place"):
        push(bad, str(tmp_path / "out.zarr"), **free)
    good = some_licensed(tmp_path / "good.zarr", ("a", "b", "/home/jane/c"))  # which stays here
    place = Memory()
    url = at(monkeypatch, place)

    def lost(key, data):
        raise UserError("the connection is lost")

    monkeypatch.setattr(place, "write", lost)
    with pytest.raises(UserError, match="connection is lost"):
        push(good, url, **free)
    assert not [*tmp_path.glob(".*")]
    monkeypatch.undo()
    at(monkeypatch, place)
    place.left = 3
    with pytest.raises(Killed):
        push(good, url, **free)
    stage = tmp_path / ".good.zarr.outgoing"
    assert stage.stat().st_mode & 0o77 == Path(f"{stage}.journal").stat().st_mode & 0o77 == 0
    place.left = 10**9
    push(good, url, **free)
    assert described_at(place).manifest.shapes == 2 and not [*tmp_path.glob(".*")]


def test_a_cache_in_a_folder_that_takes_no_files_is_copied_elsewhere(tmp_path, monkeypatch):
    shared, scratch = tmp_path / "shared", tmp_path / "scratch"
    path = some_licensed(shared / "some.zarr")
    scratch.mkdir()
    monkeypatch.setattr(publish.tempfile, "gettempdir", lambda: str(scratch))
    access = os.access
    monkeypatch.setattr(os, "access", lambda at, mode: Path(at) != shared and access(at, mode))
    url = at(monkeypatch, Memory())
    for options, where in (({}, scratch), ({"staging": tmp_path / "new"}, tmp_path / "new")):
        publish.push(path, url, only_licence=("mit",), terminal=(told := Quiet()), **options)
        assert f"copied to {where}/.some.zarr-" in "".join(told.said) and not [*where.iterdir()]
    monkeypatch.undo()
    publish.push(path, str(tmp_path / "a" / "out.zarr"), only_licence=("mit",), terminal=(told := Quiet()))
    assert "copied to" not in "".join(told.said)
    monkeypatch.setattr(os, "access", lambda at, mode: Path(at) != shared and access(at, mode))
    publish.push(path, str(tmp_path / "a" / "out.zarr"), only_licence=("mit",), terminal=(told := Quiet()))
    assert f"copied to {tmp_path}/a/.some.zarr-" in "".join(told.said) and not [*(tmp_path / "a").glob(".*")]
    stage = publish._stage(store.open_cache(path), scratch, None, Quiet())
    stage.symlink_to(shared)
    with pytest.raises(UserError, match="is a symbolic link"):
        push(path, str(tmp_path / "b.zarr"), only_licence=("mit",), staging=scratch)


def test_many_at_once_hold_a_folder_that_each_deletes(tmp_path):
    """Each deletes the folder and its journal at the end, while others wait for the lock on this journal."""
    code = """if True:
        import shutil, sys
        from pathlib import Path
        from cache_schema.files import exclusive
        stage = Path(sys.argv[1])
        for _ in range(100):
            with exclusive(stage, temporary=True):
                stage.mkdir()  # fails if another is at work
                (stage / "file").write_text("")
                shutil.rmtree(stage)
    """
    every = [subprocess.Popen([sys.executable, "-c", code, tmp_path / "stage"], cwd=Path(__file__).parents[2]) for _ in range(4)]
    assert [process.wait() for process in every] == [0] * 4
    assert not [*tmp_path.iterdir()]


# ------------------------------------------------------------------------------------------------------- card and table


def test_the_card_and_the_table_tell_of_a_real_build(built, tmp_path):
    import pandas
    import yaml

    push(built, str(tmp_path / "out.zarr"))
    text = (tmp_path / "out.zarr/README.md").read_text()
    _, head, body = text.split("---\n", 2)
    said = yaml.safe_load(head)
    assert said["size_categories"] == ["n<1K"] and said["configs"] == [{"config_name": "shapes", "data_files": "shapes.parquet"}]
    for words in ("zarr.open_group(", "| `image/starter-resnet` |", "Measured: views", "hours", "Software: ", "Licences"):
        assert words in body, words
    frame = pandas.read_parquet(tmp_path / "out.zarr/shapes.parquet")
    cache = store.open_cache(built)
    ok = cache.ok()
    assert frame["id"].tolist() == cache.ids()[ok].tolist()
    assert frame["class"].tolist() == [cache.manifest.classes[i] for i in cache.column("label")[ok]]
    scores, cells = cache.column("captions/blip2/score"), cache.column("captions/blip2/text")
    best = [private.texts(c.reshape(-1, 256))[s.argmax()] for c, s in zip(cells[ok], scores[ok], strict=True)]
    assert [caption or "" for caption in frame["caption"]] == best
    for cell in frame["thumbnail"]:
        picture = np.asarray(Image.open(io.BytesIO(cell["bytes"])))
        assert picture.shape == (48, 48, 3) and picture.std() > 1
    features = json.loads(pyarrow.parquet.read_schema(tmp_path / "out.zarr/shapes.parquet").metadata[b"huggingface"])["info"]["features"]
    assert features["thumbnail"] == {"_type": "Image"}


# ----------------------------------------------------------------------------------------------------------------- web


def test_a_plain_web_server_without_listings_is_enough(cache, tmp_path):
    push(cache, str(tmp_path / "www" / "out.zarr"))
    with web_server(tmp_path / "www") as (address, asked):
        pull(f"{address}/out.zarr", tmp_path / "back.zarr")
        assert files(tmp_path / "back.zarr") == files(cache)
        assert not [path for _, path in asked if path.endswith("/")]
        with pytest.raises(UserError, match=f"{address}/none.zarr holds no complete cache"):
            pull(f"{address}/none.zarr", tmp_path / "none.zarr")
        with pytest.raises(UserError, match="can only be read"):
            push(cache, f"{address}/new.zarr")
        flip(tmp_path / "www/out.zarr/points/xyz/c/1/0/0/0")
        with pytest.raises(UserError, match=f"{address}/out.zarr/points/xyz/c/1/0/0/0 does not match"):
            pull(f"{address}/out.zarr", tmp_path / "again.zarr")


def test_a_lost_connection_is_tried_again_and_then_named(cache, monkeypatch, tmp_path):
    monkeypatch.setattr(remote, "WAITS", (0.01, 0.01))
    push(cache, str(tmp_path / "www" / "out.zarr"))
    with web_server(tmp_path / "www") as (address, _):
        pass  # nobody listens there any more
    with pytest.raises(UserError, match=f"{address}/out.zarr/zarr.json: the connection is lost .* 3 tries"):
        pull(f"{address}/out.zarr", tmp_path / "back.zarr")
    tries = []

    def shaky():
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionResetError("reset")
        return "here"

    assert remote.patiently("x", shaky) == "here"


def test_the_hub_takes_a_cache_in_commits_with_the_root_last(cache, monkeypatch, tmp_path):
    """The real client of the hub, and a stand-in of its HTTP interface."""
    with hub_server(monkeypatch) as hub:
        push(cache, "hf://datasets/me/shapes")
        assert {key: data for key, data in hub.files.items() if key not in (remote.CARD, remote.TABLE)} == files(cache)
        assert hub.commits[-1] == ["zarr.json"] and len(hub.commits) < 6
        assert hub.tokens == {"Bearer hf_of_the_test"} and not [key for key, data in hub.files.items() if b"hf_of_the_test" in data]
        pull("hf://datasets/me/shapes", tmp_path / "back.zarr")
        assert files(tmp_path / "back.zarr") == files(cache)
        before = len(hub.commits)
        assert push(cache, "hf://datasets/me/shapes").files == 0 and len(hub.commits) == before
        with pytest.raises(UserError, match="hf://datasets/me/none holds no complete cache"):
            pull("hf://datasets/me/none", tmp_path / "none.zarr")


@pytest.mark.parametrize("public", [False, True])
def test_a_data_set_on_the_hub_is_private_unless_it_is_asked_for(cache, monkeypatch, tmp_path, public):
    url = "hf://datasets/me/shapes"
    with hub_server(monkeypatch) as hub:

        def said(**options):
            publish.push(cache, url, allow_unknown=True, patterns=("index",), terminal=(told := Quiet()), **options)
            return next(line for line in told.said if line.startswith(url))

        assert ("made public: everybody" if public else "made private: only me can") in said(public=public)
        assert hub.private != public
        # What is there stays as it is, and the command says so.
        assert ("is public: everybody" if public else "private, although --public") in said(public=True)
        assert ("is public: everybody" if public else "stays private") in said() and hub.private != public
    with pytest.raises(UserError, match="--public is for data sets on the hub"):
        push(cache, str(tmp_path / "out.zarr"), public=True)


# ------------------------------------------------------------------------------------------------------------- hostile


def root_with(place, change) -> None:
    """Rewrite the root at a place in memory, with a right checksum, as a hostile server would."""
    body = json.loads(place.files["zarr.json"])
    change(body)
    place.files["zarr.json"] = json.dumps(body).encode()


def sealed_again(attributes, **changes):
    record = {**attributes["mmpd"], **changes}
    attributes |= {"mmpd": record, "sha256": spec.hashlib.sha256(spec.canonical(record)).hexdigest()}


def test_a_hostile_cache_is_refused(cache, monkeypatch, tmp_path):
    url = at(monkeypatch, good := Memory())
    push(cache, url)

    fresh = (tmp_path / "in" / f"{number}.zarr" for number in count())

    def attack(change):
        at(monkeypatch, place := Memory())
        place.files = dict(good.files)
        root_with(place, change)
        with pytest.raises(UserError) as caught:
            pull(url, next(fresh))
        assert not [p for p in tmp_path.rglob("*") if p.is_file() and not p.is_relative_to(tmp_path / "in")]
        return str(caught.value)

    def moved(name):
        def change(body):
            nodes = body["consolidated_metadata"]["metadata"]
            node = nodes.pop("products/image/random-b")
            sealed_again(node["attributes"], product=name)
            nodes[f"products/{name}"] = node

        return change

    assert "cannot be a file name" in attack(moved("image/../../../evil"))
    assert "cannot be a file name" in attack(moved("image//tmp"))
    nodes = lambda body: body["consolidated_metadata"]["metadata"]  # noqa: E731
    lie = lambda body: sealed_again(nodes(body)["products/points"]["attributes"], content="0" * 64)  # noqa: E731
    assert "do not add up" in attack(lie)
    huge = {"count": 2**20, "blocks": 16, "ordered": 1}
    points = store.open_cache(cache).record("points")
    big = spec.to_json(dataclasses.replace(points.spec, **huge))
    at(monkeypatch, place := Memory())
    place.files = dict(good.files)
    root_with(place, lambda body: sealed_again(nodes(body)["products/points"]["attributes"], spec=big))
    pull(url, lying := next(fresh))
    assert validate.problems(lying), "what lies about its sizes is found by verify"
    assert "free" in attack(lambda body: sealed_again(body["attributes"], shapes=10**13, shard=10**6))
    assert attack(lambda body: sealed_again(body["attributes"], shapes=10**9, shard=10**9))
    assert "damaged" in attack(lambda body: body["attributes"]["mmpd"].update(shapes=5))
    assert "format version 3" in attack(lambda body: sealed_again(body["attributes"], format_version=3))


def test_an_endless_file_is_not_read_to_its_end(cache, monkeypatch, tmp_path):
    url = at(monkeypatch, place := Memory())
    push(cache, url)
    key = "label/c/0"
    place.files[key] = bytes(10**7)
    with pytest.raises(UserError, match=f"{key} is larger than"):
        pull(url, tmp_path / "back.zarr")


def test_without_the_packages_the_message_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(UserError, match=re.escape("pip install 'mmpd[remote]'")):
        place_of("s3://lab/a.zarr")
