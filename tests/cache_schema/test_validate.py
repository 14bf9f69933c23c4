"""Verification finds any changed byte in any file and names the file."""

import numpy as np
import pytest

from cache_schema import synthetic, validate
from cache_schema.spec import GuideSpec, Record


@pytest.fixture
def cache(tmp_path):
    guide = GuideSpec(name="g", encoder="e", weights="w", tokens=3, dim=5, blocks=2)
    return synthetic.write(tmp_path / "c.zarr", shapes=5, shard=2, views=2, guide=guide, failed=(1,))


def test_a_good_cache_has_no_problems(cache):
    seen = []
    assert validate.problems(cache.path, lambda done, total: seen.append((done, total))) == []
    assert seen[-1][0] == seen[-1][1] > 10


def found_by(path):
    """Where problems of a cache are found."""
    try:
        return {problem.where for problem in validate.problems(path)}
    except ValueError as error:  # the root says what the rest is: without it there is no cache
        assert str(path) in str(error)
        return {"zarr.json"}


def test_one_flipped_bit_in_any_file_is_found_and_named(cache):
    """Every file that tells of others by itself, and of data every fifth, at its first, its last or a random byte."""
    rng = np.random.default_rng(0)
    files = [p for p in sorted(cache.path.rglob("*")) if p.is_file()]
    assert len(files) > 80
    data = {cache.path / array.key(shard) for record in cache.records().values() for array in cache.arrays(record) for shard in range(3)}
    telling, few = [p for p in files if p not in data], [p for p in files if p in data][::5]
    assert len(telling) > 30 and len(few) > 8
    for number, file in enumerate((*telling, *few)):
        good = file.read_bytes()
        flip(file, (0, -1, rng.integers(len(good)))[number % 3], rng)
        assert str(file.relative_to(cache.path)) in found_by(cache.path), file
        file.write_bytes(good)


def test_flipped_bits_at_both_ends_of_all_data_are_found_and_named(cache):
    """Damage of one file hides that of no other."""
    rng = np.random.default_rng(1)
    keys = [array.key(shard) for record in cache.records().values() for array in cache.arrays(record) for shard in range(3)]
    files = [cache.path / key for key in keys if (cache.path / key).exists()]
    assert len(files) > 40
    for at in (0, -1):
        for file in files:
            flip(file, at, rng)
        assert found_by(cache.path) == {str(file.relative_to(cache.path)) for file in files}


def flip(file, at, rng):
    """Change one bit of a byte."""
    data = bytearray(file.read_bytes())
    data[at] ^= 1 << int(rng.integers(8))
    file.write_bytes(data)


def test_missing_and_stray_files_are_named(cache):
    gone = cache.path / cache.arrays(cache.record("points"))[0].key(1)
    gone.unlink()
    (cache.path / "points" / "notes.txt").write_text("!")
    found = {(p.where, p.kind, p.product, p.shard) for p in validate.problems(cache.path)}
    assert found == {("points/xyz/c/1/0/0/0", "missing", "points", 1), ("points/notes.txt", "stray", "", -1)}


def test_an_unfinished_product_is_said_to_be_unfinished(cache):
    record = Record(product="image/new", kind="image", spec=synthetic.teacher("new", 4), per_shape=2, inputs=())
    cache.begin(record)
    cache.write(record, 0, {"image/new": np.ones((2, 2, 4), np.float16)})
    (problem,) = validate.problems(cache.path)
    assert (problem.kind, problem.message[:18]) == ("unfinished", "1 of 3 shards made")


def test_halves_are_judged_by_their_bits_as_numpy_judges_them():
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    wanted = np.isfinite(every)
    assert validate._infinite(every) == (~wanted).sum() and validate._infinite(every[wanted]) == 0 and validate._infinite(every[:0]) == 0
    single = np.array([0, np.nan, 1, -np.inf], np.float32)
    assert validate._infinite(single) == 2


def test_lengths_of_vectors_do_not_depend_on_how_many_are_looked_at_together(monkeypatch):
    vectors = np.random.default_rng(0).standard_normal((1000, 3)).astype(np.float16)
    monkeypatch.setattr(validate, "VECTORS", 7)
    found = np.sqrt(np.concatenate(list(validate._squares(vectors.ravel()))))
    assert np.allclose(found, np.linalg.norm(vectors.astype(np.float64), axis=1), rtol=1e-6)


@pytest.mark.parametrize(
    ("path", "value", "words"), [("image/random-a", np.nan, "not finite"), ("points/xyz", 3.0, "outside the unit sphere")]
)
def test_impossible_numbers_are_found_behind_right_checksums(cache, path, value, words):
    product = "points" if path.startswith("points") else path
    record = cache.record(product)
    values = {node.path: cache.shard_rows(node, 0).copy() for node in cache.arrays(record)}
    values[path].reshape(-1)[:3] = value
    cache.write(record, 0, values)
    found = [p for p in validate.problems(cache.path) if p.kind == "values"]
    assert [words in p.message and p.where.startswith(path) for p in found] == [True]


def test_a_cache_of_nothing_is_an_error_not_a_list(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        validate.problems(tmp_path / "nothing.zarr")
