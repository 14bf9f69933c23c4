"""An overlay and its shared cache are one cache: the bytes of one made in one place, and an error that says so where they do not fit."""

import dataclasses
import hashlib
import json
import os
import re
import shutil

import numpy as np
import pytest

from cache_schema import below, files, overlay, products, records, spec, store, synthetic, validate
from cache_schema.copy import copy
from cache_schema.errors import UserError
from cache_schema.files import exclusive
from cache_schema.layout import node_json
from cache_schema.spec import GuideSpec, LabelSet, Record
from pipeline.edits import relabel
from tests.boxes import Silent, contents
from tests.growth import again, grow
from tests.harm import flip
from tests.readonly import read_only

GUIDE = GuideSpec(name="mine", encoder="e", weights="w", tokens=4, dim=8, blocks=2)
LABELS = LabelSet(name="more", classes=("cone", "cube"), templates=("a {}",))
NEW = ("guide/mine", "image/extra", "labels/more/random-a")


def add(cache, seed=1, only=NEW):
    """Make three products, of three kinds, from nothing but a seed."""
    rng = np.random.default_rng(seed)
    views = cache.of(products.IMAGE)[0].per_shape
    wanted = [
        Record(product="guide/mine", kind="guide", spec=GUIDE, inputs=(("points", cache.record("points").fingerprint),)),
        Record(product="image/extra", kind="image", spec=synthetic.teacher("extra", 4), per_shape=views, inputs=()),
        Record(product="labels/more/random-a", kind="labels", spec=synthetic.teacher("random-a"), labels=LABELS, inputs=()),
    ]
    for record in wanted:
        shapes = {node.path: rng.standard_normal(node.shape).astype(node.dtype) for node in cache.arrays(record)}
        if record.product in only:
            synthetic.fill(cache, {record: shapes})
    return cache


@pytest.fixture(params=[spec.FORMAT_VERSION, 1])
def version(request):
    return request.param


@pytest.fixture
def shared(tmp_path):
    return synthetic.write(tmp_path / "lab" / "shared.zarr", failed=(3,))


@pytest.fixture
def mine(tmp_path, shared):
    """An overlay with three products."""
    overlay.lay(shared.path, tmp_path / "home" / "mine.zarr")
    return add(store.open_cache(tmp_path / "home" / "mine.zarr")).path


def data(path):
    """Contents of all files but the root's, by place."""
    return {name: content for name, content in contents(path).items() if name != "zarr.json"}


def test_an_overlay_has_the_bytes_of_a_cache_made_in_one_place_and_the_shared_cache_keeps_its_own(tmp_path, version):
    base = synthetic.write(tmp_path / "base.zarr", failed=(3,), format_version=version)
    plain = tmp_path / "plain.zarr"
    shutil.copytree(base.path, plain)
    one, before = add(store.open_cache(plain)), contents(base.path)
    with read_only(base.path, tmp_path / "base.zarr.journal", tmp_path / "base.zarr.lock"):
        with overlay.laid(base.path, tmp_path / "mine.zarr") as path:
            with exclusive(path):
                both = add(store.open_cache(path))
        both = store.open_cache(path)
        assert validate.problems(path) == []
        made = copy(path, tmp_path / "copied.zarr").cache
    assert contents(base.path) == before
    assert data(base.path) | data(path) == data(plain)
    twice = data(base.path).keys() & data(path).keys()
    assert all(data(path)[name] == node_json() for name in twice)  # groups
    assert list(both.records().items()) == list(one.records().items()) and list(both.products()) == list(one.products())
    for name, record in one.products().items():
        assert both.proven(name) == record
        for node in one.arrays(record):
            assert np.array_equal(both.array(node.path)[:], one.array(node.path)[:])
            if node.codec == "raw":
                rows = np.arange(node.shape[0])[::-1]
                assert np.array_equal(both.rows(node.path, "first_use").gather(rows), one.rows(node.path).gather(rows))
    assert np.array_equal(both.column("stats/image/extra"), one.column("stats/image/extra"))
    assert contents(made.path) == contents(copy(plain, tmp_path / "again.zarr").cache.path)
    assert validate.problems(made.path) == [] and made.below is None


class Killed(BaseException):
    pass


class Dying:
    """`os.replace`, which puts every file into its place, and dies in call number `last`, from 0; in none if that is -1."""

    def __init__(self):
        self.calls, self.last, self.replace = 0, -1, os.replace

    def __call__(self, beside, path):
        if self.calls == self.last:
            raise Killed
        self.calls += 1
        self.replace(beside, path)


def test_a_kill_at_any_write_is_made_good_by_the_same_command(tmp_path, shared, monkeypatch):
    before, replace = contents(shared.path), Dying()

    def command(name):
        overlay.lay(shared.path, tmp_path / name)  # and not `laid`, which tidies up: whoever is killed does not
        with exclusive(tmp_path / name):
            add(store.open_cache(tmp_path / name), only=("image/extra",))

    monkeypatch.setattr(files.os, "replace", replace)  # what puts every file into its place
    command("once.zarr")
    whole, total = contents(tmp_path / "once.zarr"), replace.calls
    assert total > 15
    for last in range(total):
        replace.calls, replace.last = 0, last
        with pytest.raises(Killed):
            command("mine.zarr")
        replace.last = -1
        command("mine.zarr")
        assert contents(tmp_path / "mine.zarr") == whole
        shutil.rmtree(tmp_path / "mine.zarr")
    assert contents(shared.path) == before


def reopened(cache):
    cache.reopen(cache.record("points"), 0)


def removed(cache):
    shutil.rmtree(cache.path / "products" / "points")
    shutil.rmtree(cache.path / "points")


def other_shapes(cache):
    shutil.rmtree(cache.path)
    synthetic.write(cache.path, shapes=25)


def larger(cache):
    """Another cache with more shapes, the first of which have the same ids. It says nothing of growth."""
    shutil.rmtree(cache.path)
    synthetic.write(cache.path, shapes=28)


def twin(cache):
    """A cache that has grown from the same ids, but not from the same shapes."""
    shutil.rmtree(cache.path)
    synthetic.write(cache.path, failed=(3,), seed=7)
    grow(cache.path)


def changed_and_grown(cache):
    again(cache, "points")
    grow(cache.path)


CHANGES = {
    "made again": (
        lambda cache: again(cache, "points"),
        "guide/mine was made from points of .*, which has been made again since.*: delete",
    ),
    "tried again": (lambda cache: again(cache, "status"), "image/extra was made from status of .*, which has been made again since"),
    "begun": (reopened, "guide/mine was made from points of .*, which is being made again now, or its making was stopped"),
    "removed": (removed, "guide/mine was made from points of .*, which is not there any more"),
    "the same name": (lambda cache: add(cache, seed=2, only="guide/mine"), "guide/mine is in .*mine.zarr and by now in .*shared.zarr too"),
    "the same bytes": (lambda cache: add(cache, only="guide/mine"), "with the same bytes: delete .*guide/mine to use that of"),
    "other shapes": (other_shapes, r"shared.zarr holds other shapes than the overlay was made on \(25 rows"),
    "replaced by a larger one": (larger, r"shared.zarr holds other shapes than .* \(28 rows .*--overlay ANOTHER.zarr"),
    "replaced by one that has grown": (twin, "guide/mine was made from points of .*, which has been made again since"),
    "made again, then grown": (changed_and_grown, "guide/mine was made from points of .*, which has been made again since"),
    "grown, then tried again": (
        lambda cache: again(grow(cache.path), "status"),
        "image/extra was made from status of .*, which has been made again since",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_shared_cache_that_changed_is_told_with_what_to_do(shared, mine, change):
    change, words = CHANGES[change]
    change(shared)
    with pytest.raises(UserError, match=words):
        store.open_cache(mine)


def seen(cache):
    """All that a cache says: its records, ids, and the values of every array."""
    arrays = [node for record in cache.products().values() for node in cache.arrays(record)]
    values = {node.path: hashlib.sha256(cache.array(node.path)[:].tobytes()).hexdigest() for node in arrays}
    values |= {f"stats/{name}": cache.column(f"stats/{name}").tobytes() for name in cache.products() if name.startswith("image/")}
    assert all(cache.proven(name) for name in cache.products())
    return cache.manifest, cache.ids().tolist(), cache.products(), values


def test_an_overlay_is_read_as_before_when_its_shared_cache_has_grown(tmp_path, shared, mine):
    early = store.open_cache(mine)
    before, own = seen(early), contents(mine)
    grow(shared.path)
    again(store.open_cache(shared.path), "image/random-b")  # what was made later is not seen, and said
    now = store.open_cache(mine)
    assert overlay.behind(now) == 5 and now.manifest.count == 24
    told = overlay.told_behind(now)
    assert re.search(rf"{shared.path} has grown by 5 shapes, which .*guide/mine.* of {mine} lack", told)
    assert f"`mmpd-cache retry {mine}` makes the rest" in told and f"`mmpd-train guide {mine} RUN --name mine` makes the rest" in told
    with pytest.raises(UserError, match=r"image/random-b was made in the shared cache .* after that had grown, .*mmpd-cache retry"):
        now.record("image/random-b")
    later = seen(now)
    assert later[:2] == before[:2]
    assert later[2] == {name: r for name, r in before[2].items() if name != "image/random-b"}
    assert {key: value for key, value in before[3].items() if "random-b" not in key} == later[3]
    assert validate.problems(mine) == [] and contents(mine) == own
    with pytest.raises(UserError, match=rf"grown by 5 shapes, .*`mmpd-cache retry {mine}` .*Do that first: a copy would lack"):
        copy(mine, tmp_path / "whole.zarr")
    assert not list(tmp_path.glob("whole.zarr*"))
    grow(shared.path, 3)
    assert overlay.behind(store.open_cache(mine)) == 8


def test_class_names_that_came_with_new_shapes_are_told(shared, mine):
    grow(shared.path)
    assert "None of the shapes of before" not in overlay.told_behind(store.open_cache(mine))
    grow(shared.path, 3, classes=("sphere", "vase"))
    cache = store.open_cache(mine)
    assert cache.manifest.count == 24 and cache.manifest.classes[-1] == "vase"
    assert "None of the shapes of before has the class 'sphere', 'vase'. These names count all the same" in overlay.told_behind(cache)


def test_an_overlay_is_read_when_its_shared_cache_has_grown_and_was_relabelled(tmp_path, shared, mine):
    grow(shared.path)
    (tmp_path / "table.csv").write_text("id,class\ncone/000000,vase\n")
    relabel(shared.path, tmp_path / "table.csv", Silent())
    now = store.open_cache(mine)
    assert now.manifest.count == 24 and now.manifest.classes[now.column("label")[0]] == "vase" and len(now.array("label")[:]) == 24
    assert all(now.proven(name) for name in now.products()) and validate.problems(mine) == []


def extended(cache, product, seed=4):
    """Make the shards that a product lacks, from nothing but a seed. Returns its record."""
    record, rng = cache.records()[product], np.random.default_rng(seed)
    for shard in cache.missing(record):
        rows = len(cache.manifest.rows(shard))
        cache.write(record, shard, {n.path: rng.standard_normal((rows, *n.shape[1:])).astype(n.dtype) for n in cache.arrays(record)})
    return cache.finish(record)


def test_an_overlay_takes_in_the_new_shapes_and_has_the_bytes_of_one_cache(tmp_path, shared, mine):
    plain = tmp_path / "plain.zarr"
    shutil.copytree(shared.path, plain)
    add(store.open_cache(plain))
    early = store.open_cache(mine)
    known, kept = seen(early), {name: value for name, value in data(mine).items() if "/c/" in name and not name.startswith("stats")}
    grow(shared.path)
    grow(plain, leave=("guide/mine", "image/extra"))
    before = contents(shared.path)
    ahead = store.open_ahead(mine)
    assert ahead.manifest.count == 29 and not ahead.records()["guide/mine"].complete and ahead.missing(ahead.records()["guide/mine"]) == [3]
    with exclusive(mine):
        assert set(overlay.catch_up(mine)) == {"guide/mine", "image/extra"} and overlay.catch_up(mine) == ()
        assert early.proven("guide/mine") == known[2]["guide/mine"] and seen(early) == known  # who has it open goes on
        with pytest.raises(UserError, match=r"got the new shapes of its shared cache since it was opened; run the command again"):
            early.begin(Record(product="guide/late", kind="guide", spec=GUIDE, inputs=()))
        now, one = store.open_cache(mine), store.open_cache(plain)
        assert overlay.told_behind(now) == "" and set(now.records()) - set(now.products()) == {"guide/mine", "image/extra"}
        assert "unfinished" in {problem.kind for problem in validate.problems(mine)}
        for name in ("guide/mine", "image/extra"):
            assert extended(now, name) == extended(one, name)
    assert data(shared.path) | data(mine) == data(plain) and contents(shared.path) == before
    assert validate.problems(mine) == [] and all(data(mine)[name] == value for name, value in kept.items())
    assert seen(store.open_cache(mine)) == seen(store.open_cache(plain))


def test_taking_in_new_shapes_is_all_or_nothing(shared, mine, monkeypatch):
    grow(shared.path)
    replace = Dying()
    old = shutil.copytree(mine, mine.with_name("old.zarr"))
    monkeypatch.setattr(files.os, "replace", replace)
    done = False
    while not done:
        replace.last, replace.calls = replace.last + 1, 0
        try:
            with exclusive(mine):
                overlay.catch_up(mine)
            done = True
        except Killed:
            cache = store.open_cache(mine)
            assert cache.manifest.count == 24 and all(cache.proven(name) for name in ("guide/mine", "image/extra"))
    assert replace.last > 6
    replace.last, whole = -1, contents(mine)
    shutil.rmtree(mine)
    shutil.move(old, mine)
    with exclusive(mine):
        overlay.catch_up(mine)
    assert contents(mine) == whole and validate.problems(mine)[0].kind == "unfinished"


def test_an_overlay_of_class_names_goes_along_with_a_shared_cache_that_grows(tmp_path, shared):
    overlay.lay(shared.path, tmp_path / "mine.zarr")
    add(store.open_cache(tmp_path / "mine.zarr"), only=("labels/more/random-a",))
    grow(shared.path)
    cache = store.open_cache(tmp_path / "mine.zarr")
    assert cache.manifest.count == 29 and "labels/more/random-a" in cache.products() and overlay.told_behind(cache) == ""
    add(cache, only=("guide/mine",))  # it is of all shapes
    assert store.open_cache(tmp_path / "mine.zarr").manifest.count == 29 and validate.problems(tmp_path / "mine.zarr") == []


def test_a_command_that_does_not_make_all_that_an_overlay_lacks_changes_nothing(shared, mine):
    grow(shared.path)
    before = contents(mine)
    asked = {name: dataclasses.replace(r, complete=False, content="") for name, r in store.open_cache(mine).records().items()}
    guide, image = asked["guide/mine"], asked["image/extra"]
    for made, words in (
        ([guide], r"lacks the new shapes of .* in image/extra, which this command does not make; .* First: `mmpd-cache retry .* makes the"),
        ([], r"in guide/mine, image/extra, .* First: `mmpd-cache retry .*`mmpd-train guide .*another overlay"),
        ([guide, dataclasses.replace(image, per_shape=1)], "made from another specification"),
        ([guide, dataclasses.replace(image, made_by=(("torch", "0"),))], "was begun with other software"),
    ):
        with exclusive(mine), pytest.raises(UserError, match=words):
            overlay.catch_up(mine, made)
        assert contents(mine) == before and store.open_cache(mine).proven("image/extra")
    with exclusive(mine):
        assert set(overlay.catch_up(mine, [guide, image])) == {"guide/mine", "image/extra"}


def test_what_cannot_be_made_for_new_shapes_leaves_an_overlay_as_it_was(tmp_path, shared, mine):
    grow(shared.path, leave=("points",))
    before = contents(mine)
    with exclusive(mine), pytest.raises(UserError, match=r"shared.zarr: points is not finished, and guide/mine would be made from it"):
        overlay.catch_up(mine)
    assert contents(mine) == before and store.open_cache(mine).proven("guide/mine")
    lost = shared.path.with_name("moved.zarr")
    shutil.move(shared.path, lost)
    assert overlay.lay(lost, mine) is False and store.open_cache(mine).home == lost and overlay.behind(store.open_cache(mine)) == 5


def test_what_an_overlay_was_not_made_from_may_change(shared, mine):
    """And a product that is begun below later is not seen by who has the overlay open."""
    early = store.open_cache(mine)
    again(shared, "image/random-a")
    late = Record(product="image/late", kind="image", spec=synthetic.teacher("late", 4), per_shape=3, inputs=())
    shared.begin(late)
    assert "image/late" not in early.records()
    with pytest.raises(UserError, match=r"image/late was begun in the shared cache"):
        early.begin(late)
    now = store.open_cache(mine)
    assert not now.records()["image/late"].complete and "image/late" not in now.products()
    with pytest.raises(UserError, match=r"image/late was begun in the shared cache .*: let it be finished there"):
        now.begin(late)


def test_what_changes_while_a_product_is_made_is_found_before_it_is_finished(tmp_path, shared):
    overlay.lay(shared.path, tmp_path / "mine.zarr")
    cache = store.open_cache(tmp_path / "mine.zarr")
    record = cache.begin(Record(product="guide/mine", kind="guide", spec=GUIDE, inputs=()))
    for shard in range(cache.manifest.shards):
        rows = len(cache.manifest.rows(shard))
        cache.write(record, shard, {node.path: np.zeros((rows, *node.shape[1:]), node.dtype) for node in cache.arrays(record)})
    again(shared, "points")
    with pytest.raises(UserError, match=r"has been made again since"):
        cache.finish(record)
    assert not (tmp_path / "mine.zarr" / "stats").exists()


def test_what_was_deleted_as_told_can_be_made_again(shared, mine):
    again(shared, "points")
    shutil.rmtree(mine / "products" / "guide" / "mine")
    cache = add(store.open_cache(mine), seed=5, only=("guide/mine",))
    assert "guide/mine" in cache.products()
    assert validate.problems(mine) == [] and store.open_cache(mine).proven("guide/mine")


def test_nothing_is_written_into_the_shared_cache(shared, mine):
    cache, before = store.open_cache(mine), contents(shared.path)
    points = cache.record("points")
    values = {node.path: cache.shard_rows(node, 0) for node in cache.arrays(points)}
    for act in (lambda: cache.write(points, 0, values), lambda: cache.reopen(points, 0)):
        with pytest.raises(UserError, match=r"lies in the shared cache .*, to which an overlay writes nothing"):
            act()
    assert cache.begin(dataclasses.replace(points, complete=False, content="")) == points == cache.finish(points)
    assert contents(shared.path) == before


def test_an_overlay_finds_its_shared_cache_wherever_both_or_one_of_them_goes(tmp_path, shared, mine):
    shutil.move(tmp_path / "home", tmp_path / "away")  # alone: by the absolute path
    path = tmp_path / "away" / "mine.zarr"
    assert store.open_cache(path).home == shared.path
    (tmp_path / "deep" / "er").mkdir(parents=True)
    shutil.move(tmp_path / "away", tmp_path / "deep" / "home")
    shutil.move(tmp_path / "lab", tmp_path / "deep" / "lab")  # both together: by the relative path
    path = tmp_path / "deep" / "home" / "mine.zarr"
    assert store.open_cache(path).home == tmp_path / "deep" / "lab" / "shared.zarr"
    shutil.move(tmp_path / "deep" / "lab" / "shared.zarr", tmp_path / "else.zarr")
    with pytest.raises(UserError, match=r"it is not there \(looked for .*Put it back, or say where it is now: `mmpd-cache overlay"):
        store.open_cache(path)
    stranger = synthetic.write(tmp_path / "stranger.zarr", shapes=9)
    with pytest.raises(UserError, match=r"does not fit .*stranger.zarr.*other shapes"):
        overlay.lay(stranger.path, path)
    twin = synthetic.write(tmp_path / "twin.zarr", seed=3)  # the same shapes, other points
    with pytest.raises(UserError, match=r"does not fit .*points of .*twin.zarr, which has been made again"):
        overlay.lay(twin.path, path)
    assert overlay.lay(tmp_path / "else.zarr", path) is False
    assert store.open_cache(path).home == tmp_path / "else.zarr" and validate.problems(path) == []
    with pytest.raises(UserError, match=r"is an overlay of .*else.zarr, not of .*twin.zarr"):
        overlay.lay(twin.path, path)


def test_places_for_an_overlay_that_are_refused(tmp_path, shared, mine):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    (tmp_path / "file").write_text("")
    (tmp_path / "sealed").mkdir()
    plain = synthetic.write(tmp_path / "plain.zarr", shapes=9)
    for place, words in {
        shared.path: "is the shared cache itself",
        shared.path / "points" / "mine.zarr": "lies inside",
        shared.path.parent: "or around it",
        tmp_path / "full": "is no overlay .*thesis.tex",
        tmp_path / "file": "is a file",
        tmp_path / "sealed" / "mine.zarr": "read-only for you. Give a place you may write to",
        plain.path: "is a cache of its own and no overlay",
    }.items():
        with read_only(tmp_path / "sealed"), pytest.raises(UserError, match=words):
            overlay.lay(shared.path, place)
    with pytest.raises(UserError, match=r"is an overlay itself: lay yours on its shared cache, .*shared.zarr"):
        overlay.lay(mine, tmp_path / "third.zarr")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["file", "full", "home", "lab", "plain.zarr", "sealed"]


def test_an_overlay_that_got_no_product_is_removed_if_its_command_failed(tmp_path, shared):
    with pytest.raises(UserError), overlay.laid(shared.path, tmp_path / "mine.zarr") as path:
        store.open_cache(path)
        with exclusive(path):
            raise UserError("no such teacher")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["lab"]


def test_damage_is_told_by_the_cache_that_it_is_in(shared, mine):
    flip(shared.path / shared.node("points/xyz").key(1))
    flip(mine / "image" / "extra" / "c" / "0" / "0" / "0")
    found = {(problem.shared, problem.product, problem.shard, problem.kind) for problem in validate.problems(mine)}
    assert found == {("", "image/extra", 0, "corrupt"), (str(shared.path), "points", 1, "corrupt")}
    with pytest.raises(UserError, match=r"shared.zarr/points/xyz/c/1/0/0/0 is not as it was written"):
        rows = store.open_cache(mine).rows("points/xyz", "first_use")
        rows.gather(np.array([8]))
        rows.settle()
    (mine / "notes.txt").write_text("")
    assert ("", "stray", "notes.txt") in {(problem.shared, problem.kind, problem.where) for problem in validate.problems(mine)}


# ---------------------------------------------------------------------------------------------------------- strangers


def said(path, **changes):
    """Write another description into the root of an overlay, sealed as if it were right."""
    body = {**spec.to_json(below.described(path)), **changes}
    attributes = {**records.sealed(below.described(path)), "mmpd": body, "sha256": hashlib.sha256(spec.canonical(body)).hexdigest()}
    (path / "zarr.json").write_bytes(node_json(None, attributes))


HOSTILE = {
    "itself": ({"shared": ".", "absolute": ""}, "is an overlay itself"),
    "etc": ({"shared": "../../../../../../../../etc", "absolute": "/etc/passwd"}, "it is not there"),
    "null byte": ({"shared": "a\0b", "absolute": "/a\0b"}, "it is not there|is no path"),
    "a long name": ({"shared": "x" * 5000, "absolute": "/" + "y" * 5000}, "cannot be read|it is not there"),
    "a device": ({"shared": "/dev/zero", "absolute": "/dev/stdin"}, "it is not there|cannot be read"),
    "nothing": ({"shared": "", "absolute": ""}, "is an overlay itself|it is not there"),
    "a number": ({"shared": 7}, "Overlay.shared: expected str, got 7"),
    "a list": ({"rows": ["x"]}, "Overlay.rows: expected str"),
    "more": ({"run": "rm -rf"}, "Overlay has no field 'run'"),
    "newer": ({"overlay": 2}, "is an overlay of version 2, this software reads 1"),
    "odd version": ({"overlay": [[]]}, r"is an overlay of version \[\[\]\]"),
    "nothing known": ({"made_from": []}, "nothing says what guide/mine was made from"),
    "a wrong input": ({"made_from": [{"product": p, "inputs": [["../../x", "0"]]} for p in NEW]}, "../../x of .* is not there any more"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_strangers_overlay_is_refused_in_words(mine, name):
    changes, words = HOSTILE[name]
    said(mine, **changes)
    with pytest.raises(UserError, match=words):
        store.open_cache(mine)


def test_an_overlay_over_an_overlay_a_pipe_or_a_damaged_cache_is_refused(tmp_path, shared, mine):
    shutil.copytree(mine, tmp_path / "second.zarr")
    said(mine, shared="../../second.zarr", absolute=str(tmp_path / "second.zarr"))
    with pytest.raises(UserError, match=r"second.zarr is an overlay itself.*copy"):
        store.open_cache(mine)
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "zarr.json")
    said(mine, shared=str(tmp_path / "pipe"), absolute=str(tmp_path / "pipe"))
    with pytest.raises(UserError, match=r"no regular file"):
        store.open_cache(mine)
    said(mine, shared="../../lab/shared.zarr")
    root = json.loads((shared.path / "zarr.json").read_text())
    root["attributes"]["mmpd"]["shapes"] = 10**12
    (shared.path / "zarr.json").write_text(json.dumps(root))
    with pytest.raises(UserError, match=r"its description does not match its checksum"):
        store.open_cache(mine)
    flip(mine / "zarr.json")
    with pytest.raises(UserError, match=r"damaged"):
        store.open_cache(mine)


def test_links_in_an_overlay_lead_no_write_out_of_it(tmp_path, shared, mine):
    (tmp_path / "elsewhere").mkdir()
    (mine / "image" / "late").symlink_to(tmp_path / "elsewhere")
    cache = store.open_cache(mine)
    with pytest.raises(UserError, match=r"is a symbolic link"):
        cache.begin(Record(product="image/late", kind="image", spec=synthetic.teacher("late", 4), per_shape=3, inputs=()))
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_link_to_the_shared_cache_is_followed(tmp_path, shared):
    (tmp_path / "current.zarr").symlink_to(shared.path)
    with overlay.laid(tmp_path / "current.zarr", tmp_path / "mine.zarr") as path:
        assert store.open_cache(path).home == shared.path


def test_a_cache_that_is_read_only_is_refused_with_a_way_out(tmp_path, shared, mine):
    overlay.refuse_unwritable(shared.path)
    overlay.refuse_unwritable(tmp_path / "nothing.zarr")
    for folder in (shared.path, shared.path / "image", shared.path.parent):
        with read_only(folder), pytest.raises(UserError, match=r"shared.zarr cannot be written: .*--overlay MINE.zarr$"):
            overlay.refuse_unwritable(shared.path)
    with read_only(mine), pytest.raises(UserError, match=r"--overlay MINE.zarr, and give .*shared.zarr in place of"):
        overlay.refuse_unwritable(mine)
