"""The mirror: files of a cache elsewhere, fetched when they are needed, within a limit, by several processes."""

import os
import re
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_schema import mirror as mirrors
from cache_schema import store, synthetic
from cache_schema.errors import UserError
from cache_schema.mirror import Mirror, bytes_of, opened, shard_bytes, size_text
from tests.harm import flip

SHAPES, SHARD = 32, 4


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """A cache of 8 shards, to be read only. A path is a place like any other, so that no server is needed."""
    path = tmp_path_factory.mktemp("there") / "a.zarr"
    synthetic.write(path, shapes=SHAPES, shard=SHARD)
    return path


@pytest.fixture(scope="module")
def points(there):
    cache = store.open_cache(there)
    size = shard_bytes(cache.rows("points/xyz").node, 0)
    return cache.rows("points/xyz").gather(np.arange(SHAPES)), size


def deleted_maps(folder):
    """Number of mapped files that are deleted, so that their space is not free."""
    with open("/proc/self/maps") as file:
        return sum(line.rstrip().endswith("(deleted)") and str(folder) in line for line in file)


def on_disk(folder):
    return sum(file.stat().st_size for file in (folder / "files").rglob("*") if file.is_file())


@given(st.integers(1, 2**50))
def test_sizes_are_read_as_they_are_written(size):
    assert size <= bytes_of(size_text(size), "limit") <= size * 1.1 + 1


@pytest.mark.parametrize(("text", "size"), [("50GiB", 50 << 30), ("1.5 tb", 15 * 10**11), ("7", 7), ("2MiB", 2 << 20)])
def test_sizes(text, size):
    assert bytes_of(text, "limit") == size
    for wrong in (f"-{text}", f"{text}x", "", "0GiB", "nan"):
        with pytest.raises(UserError, match="limit must be a size"):
            bytes_of(wrong, "limit")


def test_reads_are_the_same_within_the_limit(there, points, tmp_path):
    values, size = points
    mirror = Mirror(tmp_path / "m", 3 * size + 2**13)
    cache = opened(str(there), mirror)
    rows, rng = cache.rows("points/xyz"), np.random.default_rng(0)
    for _ in range(40):
        some = rng.integers(0, SHAPES // SHARD, 2).repeat(2) * SHARD + rng.integers(0, SHARD, 4)
        np.testing.assert_array_equal(rows.gather(some), values[some])
        assert on_disk(tmp_path / "m") == mirror.size() <= mirror.limit
    assert deleted_maps(tmp_path / "m") == 0
    assert cache.ids().tolist() == store.open_cache(there).ids().tolist()
    np.testing.assert_array_equal(cache.column("captions/synthetic/text"), store.open_cache(there).column("captions/synthetic/text"))
    assert cache.products() == store.open_cache(there).products()


def test_the_file_that_was_used_longest_ago_goes(there, points, tmp_path):
    _, size = points
    mirror = Mirror(tmp_path / "m", 3 * size)
    cache = opened(str(there), mirror)
    rows = cache.rows("points/xyz")
    first = {}
    for shard in (0, 1, 2):
        rows.gather(np.array([shard * SHARD]))
        first[shard] = cache.file(rows.node.key(shard))
    cache.file(rows.node.key(0))  # used again
    rows.gather(np.array([3 * SHARD]))
    assert [first[shard].exists() for shard in (0, 1, 2)] == [True, False, True]


def test_two_processes_share_files_and_see_what_the_other_deletes(there, points, tmp_path, monkeypatch):
    """Two mirrors on one folder know nothing of each other, as in two processes."""
    values, size = points
    monkeypatch.setattr(mirrors, "LOOK", 0.0)
    limit = 9 * size
    one, two = (opened(str(there), Mirror(tmp_path / "m", limit)) for _ in range(2))
    every = np.arange(SHAPES)
    one.rows("points/xyz").gather(every)
    fetched, rows = two.mirror.fetched, two.rows("points/xyz")
    np.testing.assert_array_equal(rows.gather(every), values)
    assert two.mirror.fetched == fetched
    one.rows("image/random-a").gather(every)  # other files push some of the points out
    one.rows("points/rgb").gather(every)
    assert deleted_maps(tmp_path / "m")
    two.mirror.look()
    one.mirror.look()
    assert deleted_maps(tmp_path / "m") == 0
    np.testing.assert_array_equal(rows.gather(every[:4]), values[:4])


def test_processes_at_work_in_a_tight_mirror_read_what_is_there(there, points, tmp_path):
    values, size = points
    children = []
    for seed in range(3):
        if not (child := os.fork()):
            try:
                rows, rng = opened(str(there), Mirror(tmp_path / "m", 4 * size)).rows("points/xyz"), np.random.default_rng(seed)
                for _ in range(60):
                    some = rng.integers(0, SHAPES, 2)
                    assert np.array_equal(rows.gather(some), values[some])
            except BaseException:
                import traceback

                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert on_disk(tmp_path / "m") <= 4 * size


def test_a_file_that_others_delete_as_soon_as_it_came_is_read_all_the_same(there, points, tmp_path, monkeypatch):
    """As when processes with a large need of space delete each file before this one comes back to it."""
    values, _ = points
    look = Mirror.look

    def deleted(self):
        look(self)
        for path in (self.folder / "files").glob("??/*"):
            path.unlink()

    monkeypatch.setattr(Mirror, "look", deleted)
    cache = opened(str(there), Mirror(tmp_path / "m", 1 << 30))
    before = len(os.listdir("/proc/self/fd"))
    rows = cache.rows("points/xyz")
    np.testing.assert_array_equal(rows.gather(np.arange(SHAPES)), values)
    assert len(cache.ids()) == SHAPES and cache.ok().shape == (SHAPES,)
    assert len(os.listdir("/proc/self/fd")) == before


def test_damage_here_is_fetched_again_and_damage_there_is_named(there, points, tmp_path):
    values, _ = points
    shutil.copytree(there, tmp_path / "b.zarr")
    rows = opened(str(tmp_path / "b.zarr"), Mirror(tmp_path / "m", 1 << 30)).rows("points/xyz")
    rows.gather(np.arange(4))
    again = opened(str(tmp_path / "b.zarr"), Mirror(tmp_path / "m", 1 << 30))
    flip(again.mirror.path(next(iter(again.files(again.rows("points/xyz"), np.array([0]))))))
    np.testing.assert_array_equal(again.rows("points/xyz").gather(np.arange(4)), values[:4])
    flip(tmp_path / "b.zarr" / rows.node.key(5))
    with pytest.raises(UserError, match=re.escape(f"b.zarr/{rows.node.key(5)} does not match")):
        again.rows("points/xyz").gather(np.array([5 * SHARD]))
    assert on_disk(tmp_path / "m") == again.mirror.size()


def test_a_mirror_in_another_folder_or_too_small_is_refused(there, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="something else than a mirror"):
        Mirror(tmp_path / "full", 10)
    with pytest.raises(UserError, match=r"data\.mirror_limit=.* is the least that works"):
        opened(str(there), Mirror(tmp_path / "m", 10))


def test_a_damaged_ledger_is_made_again(there, points, tmp_path):
    opened(str(there), Mirror(tmp_path / "m", 1 << 30)).rows("points/xyz").gather(np.arange(SHAPES))
    (tmp_path / "m" / "ledger.sqlite").write_bytes(b"no database" * 1000)
    assert Mirror(tmp_path / "m", 1 << 30).size() == on_disk(tmp_path / "m")
