"""Products are removed without a trace, shapes get other classes, and a kill leaves nothing half done."""

import os
import shutil

import numpy as np
import pytest

from cache_schema import products, spec, store, synthetic, validate
from cache_schema.errors import UserError
from cache_schema.files import exclusive
from cache_schema.spec import GuideSpec
from pipeline.edits import read_table, relabel, remove
from pipeline.journal import read_journal
from tests.boxes import Silent, contents

GUIDE = GuideSpec(name="g", encoder="e", weights="w", tokens=4, dim=8, blocks=2)


def cache_at(path, **how):
    return synthetic.write(path, shapes=14, shard=4, guide=GUIDE, captions=("one", "two"), failed=(3,), **how)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return cache_at(tmp_path_factory.mktemp("first") / "c.zarr").path


@pytest.fixture
def cache(first, tmp_path):
    """A cache of the test's own."""
    shutil.copytree(first, tmp_path / "c.zarr")
    return store.open_cache(tmp_path / "c.zarr")


@pytest.fixture(scope="module")
def removed(first, tmp_path_factory):
    """The files of the cache without two of its products, and how many files were put into place for that."""
    path = tmp_path_factory.mktemp("removed") / "c.zarr"
    shutil.copytree(first, path)
    with pytest.MonkeyPatch.context() as patch:
        count = dying(patch, 0)
        remove(path, ["captions/two"], True, Silent())
    return contents(path), count[0]


@pytest.fixture(scope="module")
def relabelled(first, tmp_path_factory):
    """A table, the files of the cache that it was applied to, and how many files were put into place for that."""
    path = tmp_path_factory.mktemp("relabelled") / "c.zarr"
    shutil.copytree(first, path)
    table = path.with_name("t.csv")
    table.write_text("id,class,split\n" + "".join(f"{name},new,val\n" for name in store.open_cache(path).ids()[::3]))
    with pytest.MonkeyPatch.context() as patch:
        count = dying(patch, 0)
        relabel(path, table, Silent())
    return table, contents(path), count[0]


class Killed(BaseException):
    """Stands for a kill: nothing of ours catches it."""


def dying(patch, number):
    """Let the n-th file that is put into its place be the last one. 0: count them."""
    replace, done = os.replace, [0]

    def counted(*places, **options):
        done[0] += 1
        if done[0] == number:
            raise Killed
        replace(*places, **options)

    patch.setattr(os, "replace", counted)
    return done


# ------------------------------------------------------------------------------------------------------------ removing


@pytest.mark.parametrize("name", ["image/random-b", "text/two/random-a", "labels/three/random-a", "guide/g"])
def test_a_cache_without_a_product_is_as_if_it_had_never_had_it(cache, name, tmp_path):
    reader = store.open_cache(cache.path)
    mapped = reader.rows(name if "guide" not in name else f"{name}/tokens")
    rows = np.arange(3)
    before = mapped.gather(rows)
    files = contents(cache.path)
    assert remove(cache.path, [name], False, Silent()) == [name]
    assert not validate.problems(cache.path) and name not in store.open_cache(cache.path).records()
    np.testing.assert_array_equal(mapped.gather(rows), before)
    left = contents(cache.path)
    assert {k: v for k, v in files.items() if k in left and k != "zarr.json"} == {k: v for k, v in left.items() if k != "zarr.json"}
    gone = [k for k in files if k not in left]
    groups = [name.rpartition("/")[0], name.split("/")[0]]  # some were there for this product alone
    above = [f"{place}{group}/zarr.json" for place in ("", "products/", "stats/") for group in groups]
    assert all(name in k or k in above for k in gone), gone


def test_what_others_are_made_from_is_removed_with_them_or_not_at_all(cache):
    files = contents(cache.path)
    for names, message in [
        (["captions/one"], "text/one/random-a is made from captions/one: name them, too, or add --with-dependants"),
        (["image/random-c"], "no product 'image/random-c'; did you mean 'image/random-"),
        (["index"], "index is part of every cache"),
        (["status"], "status is part of every cache"),
    ]:
        with pytest.raises(UserError, match=message):
            remove(cache.path, names, False, Silent())
    assert contents(cache.path) == files
    assert remove(cache.path, ["captions/one"], True, Silent()) == ["text/one/random-a", "captions/one"]
    assert remove(cache.path, ["points", "guide/g"], False, Silent()) == ["guide/g", "points"]
    assert not validate.problems(cache.path) and set(store.open_cache(cache.path).of(products.CAPTIONS)[0].product.split("/")) == {
        "captions",
        "two",
    }


def test_an_unfinished_product_and_one_without_its_record_are_removed(cache):
    record = cache.record("image/random-b")
    cache.reopen(record, 1)
    assert remove(cache.path, ["image/random-b"], False, Silent()) == ["image/random-b"]
    (cache.path / "products/points/zarr.json").write_text("{}")
    assert remove(cache.path, ["points"], True, Silent()) == ["points", "guide/g"]
    assert not validate.problems(cache.path)


@pytest.mark.parametrize("which", range(5))
def test_a_removal_that_is_killed_anywhere_is_finished_or_was_never_begun(cache, removed, monkeypatch, which, tmp_path):
    whole, (right, count) = contents(cache.path), removed
    with monkeypatch.context() as patch:
        dying(patch, 1 + which * (count - 1) // 4)
        with pytest.raises(Killed):
            remove(cache.path, ["captions/two"], True, Silent())
    with exclusive(cache.path):  # any command that writes
        pass
    assert contents(cache.path) in (whole, right)
    if contents(cache.path) == whole:
        remove(cache.path, ["captions/two"], True, Silent())
    assert contents(cache.path) == right and {p.name for p in tmp_path.iterdir()} == {"c.zarr", "c.zarr.journal"}


# ---------------------------------------------------------------------------------------------------------- relabelling


def test_a_shape_is_what_the_table_says_and_all_others_stay(cache, tmp_path):
    ids, m = [*cache.ids()], cache.manifest
    table = tmp_path / "t.csv"
    table.write_bytes("\ufeffID;Split;class\r\n".encode() + f"{ids[1]};val;cone\r\n\r\n{ids[9]};;zebra\r\n{ids[0]};train;\r\n".encode())
    before = {name: cache.column(name) for name in ("label", "split", "id", "licence")}
    old = cache.record("index").fingerprint
    done = relabel(cache.path, table, Silent())
    assert done.changed == {"split": 2, "class": 3}
    again = store.open_cache(cache.path)
    assert again.manifest.classes == (*m.classes, "zebra") and again.manifest.splits == (*m.splits, "val")
    label, split = before["label"].copy(), before["split"].copy()
    label[[1, 9, 0]], split[[1, 9]] = [m.classes.index("cone"), 3, -1], [2, -1]
    for name, right in {**before, "label": label, "split": split}.items():
        np.testing.assert_array_equal(again.column(name), right)
    assert not validate.problems(cache.path)
    assert again.record("index").fingerprint != old and again.record("points") == cache.record("points")
    assert [column for column, _ in again.manifest.source.relabelled] == ["class", "split"]
    events = read_journal(cache.path).events
    assert [event.event for event in events] == ["relabel", "done"] and events[0].changed == {"split": 2, "class": 3}
    files = contents(cache.path)
    assert relabel(cache.path, table, Silent()).changed == {"split": 0, "class": 0} and contents(cache.path) == files


def test_names_change_places_and_no_two_are_alike(cache, tmp_path):
    ids, table = [*cache.ids()], tmp_path / "t.csv"
    table.write_text(f"id,name\n{ids[0]},{ids[1]}\n{ids[1]},{ids[0]}\n{ids[5]},new name\n")
    assert relabel(cache.path, table, Silent()).changed == {"name": 3}
    assert [*store.open_cache(cache.path).ids()] == [ids[1], ids[0], *ids[2:5], "new name", *ids[6:]]
    table.write_text(f"id,name\n{ids[0]},{ids[2]}\n")
    with pytest.raises(UserError, match="would both be called"):
        relabel(cache.path, table, Silent())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf \r\n", "is empty"),
        (b"id,class\n", "no lines below"),
        (b"id\na\n", "at least one of class, split, name"),
        (b"class,split\na,b\n", "expected the column id"),
        (b"id,class,class\na,b,c\n", "each once"),
        (b"id,label\na,b\n", "names the columns: id and any of class, split, name; got 'label'"),
        (b"id,class\na,b\na,c\n", "the id 'a' is in lines 2 and 3"),
        (b"id,class\na,b,c\n", "line 2: expected 2 cells, got 3"),
        (b"id,class;split\na,b\n", "has both ',' and ';'"),
        ("id,class\nä,b\n".encode("latin-1"), "no UTF-8 text"),
        (b'id,class\n"a,b\n', "line 2"),
        (b"id,class\na\x00,b\n", "is no text"),
        (b"id,class\nnobody,cone\nno-one,cone\n", "the cache has no shapes 'nobody', 'no-one'"),
        (b"id,name\ncone/000000,\n", "cannot be the name of 'cone/000000'"),
    ],
)
def test_a_table_of_another_form_is_refused_and_changes_nothing(cache, tmp_path, text, message):
    (tmp_path / "t.csv").write_bytes(text)
    files = contents(cache.path)
    with pytest.raises(UserError, match=message):
        relabel(cache.path, tmp_path / "t.csv", Silent())
    assert contents(cache.path) == files


def test_quoted_cells_tabs_and_line_ends_of_all_kinds_are_read(tmp_path):
    for text in ('id\tclass\na\t"x, ""y"""\nb\tz', 'id\tclass\r\na\tx, "y"\r\nb\tz\r\n', 'sep=;\r\nid;class\r\na;"x, ""y"""\r\nb;z'):
        (tmp_path / "t.csv").write_text(text, newline="")
        assert read_table(tmp_path / "t.csv") == {"id": ["a", "b"], "class": ['x, "y"', "z"]}


@pytest.mark.parametrize("which", range(6))
def test_a_relabelling_that_is_killed_anywhere_is_finished_or_was_never_begun(cache, relabelled, monkeypatch, which):
    table, right, count = relabelled
    reader = store.open_cache(cache.path)
    old = [spec_name(reader, row) for row in range(14)]
    with monkeypatch.context() as patch:
        dying(patch, 1 + which * (count - 1) // 5)
        with pytest.raises(Killed):
            relabel(cache.path, table, Silent())
    for opened in (reader, store.open_cache(cache.path)):  # no reader takes the half of it for the whole
        try:
            opened.proven("index")
            said = [opened.manifest.classes[i] for i in opened.column("label")]
        except UserError:
            continue
        assert said in (old, [name if row % 3 else "new" for row, name in enumerate(old)])
    relabel(cache.path, table, Silent())
    assert contents(cache.path) == right and not validate.problems(cache.path)


def spec_name(reader, row: int) -> str:
    """The class of a row of a synthetic cache."""
    return str(reader.manifest.classes[row % 3])


def test_a_label_set_that_lacks_a_class_is_named(tmp_path):
    labels = spec.LabelSet(name="source", classes=("cone", "cube", "torus"), templates=("a {}",))
    cache = cache_at(tmp_path / "c.zarr", labels=labels)
    (tmp_path / "t.csv").write_text(f"id,class\n{cache.ids()[0]},night_stand\n")
    assert "labels/source/random-a lacks night stand" in " ".join(relabel(cache.path, tmp_path / "t.csv", Silent()).notes)


def test_new_classes_are_told_and_those_that_differ_in_letter_case_only(tmp_path):
    cache = cache_at(tmp_path / "c.zarr")
    one, other = cache.ids()[:2]
    (tmp_path / "t.csv").write_text(f"id,class,split\n{one},Cone,val\n{other},arch,\n")
    notes = relabel(cache.path, tmp_path / "t.csv", Silent()).notes
    assert notes[:2] == (
        "new classes: 'Cone', 'arch'",
        "'cone' and 'Cone' count as different classes; to make one of them, give their shapes one class by `mmpd-cache relabel`",
    )
    assert relabel(cache.path, tmp_path / "t.csv", Silent()).notes == ()
