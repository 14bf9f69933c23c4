"""Repair brings back the bytes that were written or says what is left; it never takes damage for the original."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from cache_schema import spec, store, validate
from cache_schema.errors import UserError
from cache_schema.layout import text_cells, texts
from pipeline import embedding, journal
from pipeline.repair import repair
from pipeline.work import Machine
from tests.harm import exchange, flip
from tests.pipeline.conftest import Silent, box_off, build, contents, small, write_meshes

CPU = Machine(workers=1, device="cpu")


@pytest.mark.parametrize("product", ["status", "views", "image/random-dino", "captions/blip2"])
def test_shards_that_changed_places_with_their_markers_come_back(copied, built, product):
    exchange(store.open_cache(copied), product)
    assert {p.shard for p in validate.problems(copied) if p.product == product} == {0, 1, 2}
    repair(copied, "", CPU, Silent())
    assert contents(copied) == contents(built)


def test_exchanged_shards_of_changed_meshes_are_left_as_they_are(copied, tmp_path):
    other = write_meshes(tmp_path / "other")
    (other / "slab" / "train" / "box_0.off").write_text(box_off((9, 1, 1)))
    exchange(store.open_cache(copied), "points")
    before = contents(copied)
    with pytest.raises(UserError, match=r"points, shard 0, 1, 2"):
        repair(copied, str(other), CPU, Silent())
    assert contents(copied) == before
    assert any(p.product == "points" for p in validate.problems(copied))


def test_all_that_can_be_mended_is_mended_at_once(copied, built):
    """Descriptions, groups, markers, columns, statistics, embeddings, class names, a whole folder."""
    for lost in (
        "points/xyz/zarr.json",
        "image/starter-resnet/zarr.json",
        "labels/zarr.json",
        "products/image/zarr.json",
        "stats/text/blip2/zarr.json",
        "products/points/c/1/0/0",
        "products/index/c/0/0/0",
        "stats/image/starter-resnet/c/0/0",
        "label/c/1",
        "captions/blip2/score/c/1/0/0",
    ):
        (copied / lost).unlink()
    for damaged in ("status/c/0", "text/blip2/starter-resnet/c/0/0/0", "products/views/c/0/0/0", "labels/source/starter-resnet/c/0/0/0"):
        flip(copied / damaged)
    shutil.rmtree(copied / "image" / "random-dino")
    repair(copied, "", CPU, Silent())
    assert validate.problems(copied) == []
    assert contents(copied) == contents(built)


def test_the_record_of_the_index_comes_from_the_source(copied, built):
    flip(copied / "products/index/zarr.json")
    repair(copied, "", CPU, Silent())
    assert contents(copied) == contents(built)


def test_one_thing_that_cannot_be_mended_does_not_keep_others_from_it(copied, built, meshes):
    Path(f"{copied}.journal").unlink()
    (copied / "points/xyz/c/0/0/0/0").unlink()
    (copied / "products/image/random-dino/zarr.json").unlink()
    flip(copied / "image/starter-resnet/c/1/0/0")
    (copied / "stats/text/blip2/starter-resnet/c/0/0").unlink()
    with pytest.raises(UserError, match="not all could be mended") as caught:
        repair(copied, "", CPU, Silent())
    lines = str(caught.value).splitlines()[1:]
    assert len(lines) == 2 and "products/image/random-dino/zarr.json" in lines[0] and "run the command that made it" in lines[0]
    assert "points, shard 0" in lines[1] and "give it with --source" in lines[1]
    left = {name for name, data in contents(built).items() if contents(copied).get(name) != data}
    assert left == {"points/xyz/c/0/0/0/0", "products/image/random-dino/zarr.json"}
    # The advice holds.
    shutil.rmtree(copied / "products/image/random-dino")
    build(meshes, copied)
    assert contents(copied) == contents(built)


def test_after_data_was_deleted_by_hand_a_command_makes_it_again(copied, built):
    """Its record and markers say that it is there."""
    shutil.rmtree(copied / "image" / "starter-resnet")
    shutil.rmtree(copied / "stats" / "image" / "starter-resnet")
    embedding.add_teacher(copied, "starter-resnet", None, 64, CPU, Silent())
    assert contents(copied) == contents(built)


def test_a_lost_root_is_written_again_by_the_build(copied, built, meshes):
    (copied / "zarr.json").unlink()
    build(meshes, copied)
    assert contents(copied) == contents(built)


@pytest.mark.parametrize(
    "line",
    [
        "5",
        "null",
        "[]",
        '"build"',
        "{}",
        '{"event": "build"}',
        '{"time": 1}',
        '{"time": "x", "event": "build"}',
        '{"time": NaN, "event": "done"}',
        '{"time": 1, "event": 5}',
        '{"time": 1, "event": "build", "config": 5}',
        '{"time": 1, "event": "build", "source": []}',
        '{"time": 1, "event": "shard"}',
        '{"time": 1, "event": "shard", "product": "points", "shard": "0", "seconds": 1}',
        '{"time": 1, "event": "shard", "product": "shapes", "shard": 0, "shapes": 3, "steps": {"read": "x"}}',
        '{"time": 1e300, "event": "done"}',
        "[" * 50_000,
        "\x00\x01",
        '{"time": 1, "event": "shard", "product": "image/t", "shard": 0}',
    ],
)
def test_lines_of_another_shape_are_left_out_of_a_journal_and_counted(copied, line):
    from pipeline import timings
    from pipeline.snapshot import Snapshot

    whole = journal.read_journal(copied)
    assert whole.ignored == 0 and type(whole.last_build) is journal.Build
    with open(f"{copied}.journal", "a", encoding="utf-8") as file:
        file.write(line + "\n")
    assert journal.read_journal(copied) == journal.Journal(events=whole.events, ignored=1)
    assert timings.costs(Snapshot(store.open_cache(copied)))["ignored"] == 1


def test_there_is_nothing_to_do_for_a_whole_cache(copied):
    assert repair(copied, "", CPU, Silent()) == []
    assert np.array_equal(store.open_cache(copied).ok(), store.open_cache(copied).column("status") == spec.OK)


def test_lost_remarks_of_another_version_are_written_in_the_words_of_this_one(tmp_path):
    """A sound remark, the reason of a failure, and whatever else was said before stay as they are."""
    home = tmp_path / "clouds"
    home.mkdir()
    for i in range(6):
        rows = "".join(f"{x} {y} {i}.5\n" for x in range(i + 2) for y in range(3)) if i else ""
        head = f"ply\nformat ascii 1.0\nelement vertex {3 * (i + 2)}\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
        (home / f"{i}.ply").write_text(head + rows)
    path = tmp_path / "c.zarr"
    cache = build(home, path, small(views=None, captions=None, teachers=(), labels=(), shard=2))
    fresh, status = contents(path), cache.column("status").reshape(3, 2)
    with_failure = int(np.flatnonzero((status != spec.OK).any(axis=1))[0])
    one, other = sorted({0, 1, 2} - {with_failure})
    older, nodes = cache.record("status"), {node.path: node for node in cache.arrays(cache.record("status"))}
    for shard in range(3):  # what software does that words remarks otherwise
        values = {name: cache.shard_rows(node, shard)[:2] for name, node in nodes.items()}
        cache.reopen(older, shard)
        older = cache.records()["status"]
        cache.write(older, shard, values | {"reason": text_cells([f"{text}; in older words" for text in texts(values["reason"])])})
    cache.finish(older)
    before = contents(path)
    assert validate.problems(path) == [] and before["reason/c/0/0"] != fresh["reason/c/0/0"]

    (path / nodes["reason"].key(one)).unlink()
    flip(path / nodes["colored"].key(other))
    (path / nodes["reason"].key(with_failure)).unlink()
    with pytest.raises(UserError, match=rf"status, shard {with_failure}: .* another version of this software made it"):
        repair(path, "", CPU, Silent())
    changed = {name for name, data in before.items() if contents(path).get(name) != data}
    assert {name for name in changed if "zarr.json" not in name} == {
        nodes["reason"].key(one),
        nodes["reason"].key(with_failure),
        f"products/status/c/{one}/0/0",
    }
    assert contents(path)[nodes["reason"].key(one)] == fresh[nodes["reason"].key(one)]
    assert {problem.where for problem in validate.problems(path)} == {nodes["reason"].key(with_failure)}
    (path / nodes["reason"].key(with_failure)).write_bytes(before[nodes["reason"].key(with_failure)])
    assert validate.problems(path) == [], "its digest is that of all markers"

    (path / nodes["reason"].key(other)).unlink()
    assert [line for line in repair(path, "", CPU, Silent()) if "in the words of this version" in line]
    assert validate.problems(path) == []
    # Another mesh is no other wording.
    (path / nodes["reason"].key(other)).unlink()
    for file in home.iterdir():
        file.write_text(file.read_text().replace(".5", ".25"))
    with pytest.raises(UserError, match="a mesh, a model"):
        repair(path, "", CPU, Silent())
