"""A cache that grows: half and the rest have the bytes of a cache built at once, readers see the old cache or the new one."""

import dataclasses
import hashlib
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from cache_schema import products, store, validate
from cache_schema.errors import UserError
from cache_schema.products import markers
from cache_schema.spec import Coverage, GuideSpec, PointSpec, Record, ViewSpec
from pipeline.append import Wanted, append
from pipeline.cameras import RIGS
from pipeline.complete import Retried
from pipeline.edits import relabel, remove
from pipeline.recipes import DenseConfig, SourceConfig
from pipeline.records import software_changes
from pipeline.retry import retry
from pipeline.work import Machine
from tests.boxes import Silent, box_off, contents, write_meshes
from tests.pipeline.conftest import build, small
from trainer.data import Data
from trainer.part import DataConfig, Needs

OWN = "labels/source/starter-resnet"
CPU = Machine(workers=1, device="cpu")
FEW = small(
    views=ViewSpec(rig=RIGS["ring4"], size=48, depth=True),
    teachers=("starter-resnet",),
    dense=DenseConfig(teachers=("starter-resnet",), groups=8, group_size=4),
)


def grow(path: Path, meshes: Path, *only: str, **wanted: object):
    return append(path, str(meshes), Wanted(products=only, **wanted), CPU, Silent())  # type: ignore[arg-type]


def halves(meshes: Path, folder: Path, first: int) -> tuple[Path, Path]:
    """Two folders with the first ids of a collection, and with the others."""
    ids = sorted(p.relative_to(meshes).as_posix() for p in meshes.rglob("*.off"))
    for i, name in enumerate(ids):
        place = folder / ("one" if i < first else "two") / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(meshes / name, place)
    return folder / "one", folder / "two"


def table(path: Path) -> dict[str, dict[str, bytes]]:
    """Every array of a cache by id of the shape: the bytes of its row. Classes and splits are names."""
    cache = store.open_cache(path)
    ids, names = cache.ids(), {"label": cache.manifest.classes, "split": cache.manifest.splits}
    found: dict[str, dict[str, bytes]] = {}
    for record in cache.products().values():
        for node in () if products.of(record).labelled else cache.arrays(record):
            values = cache.array(node.path)[:]
            rows = [names[node.path][v] if v >= 0 else "" for v in values] if node.path in names else [v.tobytes() for v in values]
            found[node.path] = {str(name): row for name, row in zip(ids, rows, strict=True) if name}
    return found


@pytest.fixture(scope="module")
def boxes(tmp_path_factory):
    return write_meshes(tmp_path_factory.mktemp("collection") / "boxes", 9)


@pytest.fixture(scope="module")
def at_once(boxes, tmp_path_factory):
    """A cache of all shapes, built at once."""
    path = tmp_path_factory.mktemp("once") / "c.zarr"
    build(boxes, path, FEW)
    return path


@pytest.fixture(scope="module")
def half(boxes, tmp_path_factory):
    """A cache of the first five shapes, with one row that nobody has in its second shard, and the folder of the others."""
    folder = tmp_path_factory.mktemp("half")
    one, two = halves(boxes, folder, 5)
    build(one, folder / "c.zarr", FEW)
    return folder / "c.zarr", one, two


@pytest.fixture
def mine(half, tmp_path):
    shutil.copytree(half[0], tmp_path / "c.zarr")
    shutil.copy(f"{half[0]}.journal", tmp_path)
    return tmp_path / "c.zarr"


@pytest.fixture(scope="module")
def whole(half, tmp_path_factory):
    """The cache that has grown."""
    path = tmp_path_factory.mktemp("grown") / "c.zarr"
    shutil.copytree(half[0], path)
    shutil.copy(f"{half[0]}.journal", f"{path}.journal")
    made = grow(path, half[2])
    assert (made.shapes, made.known, made.unfinished) == (6, 0, ())
    return path


def test_half_and_the_rest_have_the_bytes_of_a_cache_built_at_once(at_once, half, whole):
    assert not validate.problems(whole)
    cache = store.open_cache(whole)
    assert cache.manifest.segments == (5, 6) and cache.manifest.count == 11
    right, ours = table(at_once), table(whole)
    assert set(right) == set(ours) and len(right) > 20
    for name, rows in right.items():
        assert ours[name] == rows, name
    before, after = contents(half[0]), contents(whole)
    shards = [name for name in before if "/c/" in name and not name.startswith(("stats/", "labels/", "products/labels/"))]
    assert all(after[name] == before[name] for name in shards)  # older shards stay as they are
    once = store.open_cache(at_once)
    for name in ("stats/image/starter-resnet", "stats/text/blip2/starter-resnet"):
        np.testing.assert_allclose(cache.column(name), once.column(name), rtol=0, atol=1e-12)
    assert not [p.name for p in whole.parent.iterdir() if p.name not in (whole.name, f"{whole.name}.journal")]


def test_a_reader_that_opened_the_cache_before_sees_what_it_saw(mine, half):
    def seen(cache):
        """What the cache says, by what is asked."""
        found = {name: cache.proven(name) for name in cache.products() if name != OWN}
        arrays = [node for record in found.values() for node in cache.arrays(record)]
        said = {node.path: cache.column(node.path) for node in arrays if not node.sharded}
        said |= {
            node.path: cache.rows(node.path, "first_use").gather(np.arange(5)) for node in arrays if node.sharded and node.codec == "raw"
        }
        said |= {f"zarr {node.path}": cache.array(node.path)[:] for node in arrays}
        said |= {name: cache.column(f"stats/{name}") for name in ("image/starter-resnet", "text/blip2/starter-resnet")}
        return found, {name: hashlib.sha256(values.tobytes()).hexdigest() for name, values in said.items()}

    cache = store.open_cache(mine)
    before = seen(cache)
    grow(mine, half[2])
    after = seen(cache)
    assert after[0] == before[0]
    assert {name for name in before[1] if after[1][name] != before[1][name]} == set()
    assert store.open_cache(mine).manifest.count == 11


def test_new_names_come_last_and_the_label_set_has_them(mine, tmp_path):
    more = tmp_path / "more"
    for name in ("arch/val/one.off", "slab/train/more.off"):
        (more / name).parent.mkdir(parents=True)
        (more / name).write_text(box_off((1, 2, 3)))
    before = store.open_cache(mine).column(OWN)
    cache = grow(mine, more).cache
    assert cache.manifest.classes == ("slab", "tower", "arch")[-len(cache.manifest.classes) :] or cache.manifest.classes == ("slab", "arch")
    record = cache.record(OWN)
    assert record.labels is not None and record.labels.classes == cache.manifest.classes
    after = cache.column(OWN)
    assert len(after) == len(cache.manifest.classes) and after[: len(before)].tobytes() == before.tobytes()
    row = list(cache.ids()).index("arch/val/one.off")
    assert cache.manifest.classes[cache.column("label")[row]] == "arch" and cache.manifest.splits[cache.column("split")[row]] == "val"
    assert not validate.problems(mine)


def batch_of(data: Data, number: int) -> tuple[list[str], dict[str, str]]:
    """The ids of a batch, and a hash of each of its tensors but the numbers of rows."""
    batch = data.batch(number)
    ids = data.parts[0].cache.ids()[batch.index.numpy()].tolist()
    tensors = {"points": batch.points, "label": batch.label}
    tensors |= {f"{side} {name}": one for side in ("image", "text", "dense") for name, one in getattr(batch, side).items()}
    return ids, {name: hashlib.sha256(one.numpy().tobytes()).hexdigest() for name, one in tensors.items()}


def test_training_draws_the_same_batches(at_once, whole):
    needs = Needs(teachers=True, color=True, groups=8)
    one, two = (Data([store.open_cache(path)], DataConfig(templates=0.3), batch=4, seed=5, needs=needs) for path in (at_once, whole))
    for number in range(12):
        ids, tensors = batch_of(one, number)
        assert (ids, tensors) == batch_of(two, number) and len(tensors) == 5
    one.settle_reads()
    two.settle_reads()


# ------------------------------------------------------------------------------------------------ points alone: quick

PLAIN = small(views=None, captions=None, teachers=(), labels=())


@pytest.fixture(scope="module")
def plain(boxes, tmp_path_factory):
    """A cache of the points of five shapes, and the folders of these and of the others. A broken file is in each."""
    folder = tmp_path_factory.mktemp("plain")
    one, two = halves(boxes, folder, 5)
    (one / "slab/train/torn.off").write_text("OFF\n")
    (two / "tower/train/torn.off").write_text("OFF\n")
    build(one, folder / "c.zarr", PLAIN)
    return folder / "c.zarr", one, two


@pytest.fixture
def points(plain, tmp_path):
    """A copy of the cache with its journal, and of the folders."""
    shutil.copytree(plain[1], tmp_path / "one")
    shutil.copytree(plain[2], tmp_path / "two")
    shutil.copytree(plain[0], tmp_path / "c.zarr")
    journal = Path(f"{plain[0]}.journal").read_text().replace(str(plain[1]), str(tmp_path / "one"))
    (tmp_path / "c.zarr.journal").write_text(journal)
    return tmp_path / "c.zarr", tmp_path / "one", tmp_path / "two"


def add_guide(path: Path) -> None:
    cache = store.open_cache(path)
    guide = GuideSpec(name="g", encoder="e", weights="w", tokens=4, dim=8, blocks=2)
    record = cache.begin(Record(product="guide/g", kind="guide", spec=guide, inputs=(("points", cache.record("points").fingerprint),)))
    for shard in range(cache.manifest.shards):
        n = len(cache.manifest.rows(shard))
        cache.write(record, shard, {node.path: np.ones((n, *node.shape[1:]), np.float16) for node in cache.arrays(record)})
    cache.finish(record)


def test_failed_shapes_of_both_sources_are_tried_again(points, tmp_path):
    path, one, two = points
    assert grow(path, two).shapes == 7
    for folder, name in ((one, "slab/train/torn.off"), (two, "tower/train/torn.off")):
        (folder / name).write_text(box_off((2, 2, 5)))
    assert retry(path, "", CPU, Silent()).mended == 2
    assert not validate.problems(path)
    for folder in (one, two):  # the bytes of caches of which nothing ever failed
        build(folder, tmp_path / f"{folder.name}.zarr", PLAIN)
    ours, right = table(path), [table(tmp_path / f"{name}.zarr") for name in ("one", "two")]
    for name in ("points/xyz", "points/rgb", "points/normal", "status", "source_sha256", "label", "split"):
        assert ours[name] == {**right[0][name], **right[1][name]}, name


def test_a_product_that_cannot_be_carried_on_is_named_and_nothing_is_begun(points):
    path, _, two = points
    add_guide(path)
    files, reader = contents(path), store.open_cache(path)
    with pytest.raises(UserError, match=r"guide/g: `mmpd-train guide CACHE RUN --name g`.*\n.*--products points: they are then unfinished"):
        grow(path, two)
    for names, message in [(("point",), "no product 'point'; did you mean 'points'"), (("guide/h",), "no product 'guide/h'")]:
        with pytest.raises(UserError, match=message):
            grow(path, two, *names)
    assert contents(path) == files and {p.name for p in path.parent.iterdir()} == {"c.zarr", "c.zarr.journal", "one", "two"}
    for node in (markers(reader.manifest, guide := reader.record("guide/g")), *reader.arrays(guide)):
        (path / node.key(2)).parent.mkdir(parents=True, exist_ok=True)  # as an append of other shapes left it that was given up
        shutil.copy(path / node.key(0), path / node.key(2))
    assert {problem.kind for problem in validate.problems(path)} == {"unfinished"}
    made = grow(path, two, "points")
    assert made.unfinished == ("guide/g",) and made.cache.missing(made.cache.records()["guide/g"]) == [2, 3]
    assert reader.proven("guide/g").complete  # who opened it before goes on
    np.testing.assert_array_equal(reader.rows("guide/g/tokens").gather(np.arange(6)), 1)
    assert {problem.kind for problem in validate.problems(path)} == {"unfinished"}


def test_results_of_another_revision_of_our_code_are_not_mixed_in(points, monkeypatch):
    path, _, two = points
    before = contents(path)
    monkeypatch.setattr(PointSpec, "revision", PointSpec.revision + 1)  # as if a later version appended
    with pytest.raises(
        UserError, match=r"(?s)points: it was made by other software \(revision 2 of points, here 3\).*build the new shapes"
    ):
        grow(path, two)
    assert contents(path) == before
    policy = Coverage(teacher="", likeness=0.0, revision=1)
    record = store.open_cache(path).record("points")
    chosen = dataclasses.replace(record, product="views", spec=ViewSpec(rig=RIGS["ring4"], policy=policy))
    changes = software_changes(chosen, renderer="", device="cpu")
    assert "revision 1 of chosen views, here 2" in changes and not any("of views" in one for one in changes)


def test_what_the_cache_has_is_left_out_if_it_is_the_same_file_and_else_refused(points, monkeypatch):
    path, one, two = points
    shutil.copytree(one, two, dirs_exist_ok=True)
    files = contents(path)
    changed = two / "slab/train/box_0.off"
    kept = changed.read_text()
    changed.write_text(box_off((9, 9, 1)))
    with pytest.raises(UserError, match=r"their files are not known to be the same: slab/train/box_0\.off"):
        grow(path, two)
    assert contents(path) == files
    changed.write_text(kept)
    made = grow(path, two)
    assert (made.shapes, made.known) == (7, 6)
    source = made.cache.manifest.source
    assert [part.of for part in (source, *source.also)] == [0, 13]
    files = contents(path)
    again = grow(path, two)
    assert (again.shapes, again.known) == (0, 13) and contents(path) == files
    with pytest.raises(UserError, match="has grown: it holds 13 shapes in 2 segments"):
        build(one, path, PLAIN)
    with pytest.raises(UserError, match="has grown"):
        build(two, path, PLAIN)
    with pytest.raises(UserError, match="points cannot be made again, because its shapes are of several sources"):
        remove(path, ["points"], True, Silent())
    assert contents(path) == files
    assert retry(path, "", CPU, Silent()) == Retried(tried=4, mended=0)
    assert remove(path, ["points"], True, Silent(), for_good=True) == ["points"]


def test_shapes_that_were_given_other_names_are_not_appended_again(points, tmp_path):
    path, one, _ = points
    (tmp_path / "names.csv").write_text("id,name\nslab/train/box_0.off,mine\n")
    relabel(path, tmp_path / "names.csv", Silent())
    with pytest.raises(UserError, match=r"has 1 of these shapes under names .* slab/train/box_0\.off is mine\. .* add --skip"):
        grow(path, one)
    assert (made := grow(path, one, skip=True)).shapes == 0 and made.known == 6


def test_an_append_twice_and_one_of_other_labels(points, tmp_path):
    path, _, two = points
    grow(path, two)
    more = tmp_path / "more" / "arch" / "val"
    more.mkdir(parents=True)
    (more / "one.off").write_text(box_off((1, 2, 3)))
    cache = grow(path, more.parents[1]).cache
    assert cache.manifest.segments == (6, 7, 1) and not validate.problems(path)
    assert [rows for rows, _ in cache.record("points").before] == [6, 15]
    with pytest.raises(UserError, match=r"append only sets .* captions\.server\.NAME, got points\.count=8"):
        grow(path, two, settings=("points.count=8",))


def test_failed_shapes_are_tried_again_in_a_folder_that_has_grown(tmp_path):
    folder = tmp_path / "shapes"
    folder.mkdir()
    for name, text in (("a", box_off((1, 2, 3))), ("b", "OFF\nbroken"), ("c", box_off((3, 2, 1)))):
        (folder / f"{name}.off").write_text(text)
    path = tmp_path / "c.zarr"
    build(folder, path, small(views=None, teachers=(), captions=None))
    (folder / "d.off").write_text("OFF\nbroken, too")
    (folder / "b.off").write_text(box_off((2, 2, 2)))
    with pytest.raises(UserError, match=r"holds shapes that .*c\.zarr does not hold: d\.off\. `mmpd-cache append`"):
        retry(path, "", CPU, Silent())
    grow(path, folder, skip=True)
    (folder / "d.off").write_text(box_off((4, 2, 2)))
    assert retry(path, "", CPU, Silent()) == Retried(tried=2, mended=2)
    assert store.open_cache(path).ok().sum() == 4 and not validate.problems(path)


def test_new_shapes_are_not_named_by_another_rule(tmp_path):
    """The classes of a cache are words of file names. A source whose classes are folders is refused."""
    folder, path = tmp_path / "shapes", tmp_path / "c.zarr"
    for number, name in enumerate(("ant/big_1", "ant/2", "ant/3", "bee/4", "bee/5")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.off").write_text(box_off((1, 2, 3 + number)))
    few = small(views=None, teachers=(), captions=None)
    build(folder, path, dataclasses.replace(few, source=SourceConfig(options=("label=file",))))
    (folder / "bee/6.off").write_text(box_off((2, 2, 2)))
    rule = r"bee/4\.off is bee here and of no class there.*--set source\.label=file"
    with pytest.raises(UserError, match=rule):
        grow(path, folder)
    assert store.open_cache(path).manifest.shapes == 5, "nothing is written"
    assert grow(path, folder, settings=("source.label=file",)).shapes == 1
    elsewhere = tmp_path / "elsewhere" / "bee"
    elsewhere.mkdir(parents=True)
    for name in ("4", "8"):
        (elsewhere / f"{name}.off").write_text(box_off((7, 7, 7)))
    assert grow(path, elsewhere.parent, skip=True, settings=("source.label=folder",)).shapes == 1, "bee/4 is another shape there"
    (folder / "bee/7.off").write_text(box_off((3, 2, 2)))
    (tmp_path / "classes.csv").write_text("id,class\nant/2.off,ant\n")
    relabel(path, tmp_path / "classes.csv", Silent())
    assert grow(path, folder).shapes == 1, "the classes that somebody gave are no rule"


def test_no_batch_differs_while_shapes_are_appended_and_tried_again(points):
    path, one, two = points
    caches = [store.open_cache(path) for _ in range(2)]
    data = [Data([cache], DataConfig(), batch=3, seed=number, needs=Needs(color=True)) for number, cache in enumerate(caches)]
    fresh = [Data([store.open_cache(path)], DataConfig(verify="off"), batch=3, seed=number, needs=Needs(color=True)) for number in range(2)]
    right = [[batch_of(one_of, number) for number in range(20)] for one_of in fresh]
    stop, drawn, wrong = threading.Event(), [0, 0], []

    def read(which: int) -> None:
        try:
            while not stop.is_set():
                for number in range(20):
                    drawn[which] += 1
                    if batch_of(data[which], number) != right[which][number]:
                        wrong.append((which, number))
            data[which].settle_reads()
        except BaseException as error:
            wrong.append((which, error))

    threads = [threading.Thread(target=read, args=(which,)) for which in range(2)]
    threads[0].start()
    grow(path, two)
    for folder, name in ((one, "slab/train/torn.off"), (two, "tower/train/torn.off")):
        (folder / name).write_text(box_off((2, 2, 5)))
    threads[1].start()  # it reads its files for the first time while shapes are tried again
    assert retry(path, "", CPU, Silent()).mended == 2
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong and min(drawn) >= 20


# ------------------------------------------------------------------------------------------------------------------ kills


class Killed(BaseException):
    """Stands for a kill: nothing of ours catches it."""


def dying(patch: pytest.MonkeyPatch, number: int) -> list[int]:
    """Let the n-th file that is put into its place be the last one. 0: count them."""
    replace, done = os.replace, [0]

    def counted(*places, **options):
        done[0] += 1
        if done[0] == number:
            raise Killed
        replace(*places, **options)

    patch.setattr(os, "replace", counted)
    return done


@pytest.fixture(scope="module")
def appended(plain, tmp_path_factory):
    """The files of the cache with the points of all shapes, and how many files were put into place."""
    path = tmp_path_factory.mktemp("appended") / "c.zarr"
    shutil.copytree(plain[0], path)
    shutil.copy(f"{plain[0]}.journal", f"{path}.journal")
    with pytest.MonkeyPatch.context() as patch:
        count = dying(patch, 0)
        grow(path, plain[2])
    return contents(path), count[0]


@pytest.mark.parametrize("which", range(6))
def test_an_append_that_is_killed_anywhere_goes_on_and_no_reader_sees_half_of_it(points, appended, monkeypatch, which):
    path, _, two = points
    right, count = appended
    reader, before = store.open_cache(path), table(path)
    with monkeypatch.context() as patch:
        # Most of the kills are in the second part, when the cache itself is changed.
        dying(patch, 1 + which * count // 4 if which < 2 else count - (5 - which) * 6)
        with pytest.raises(Killed):
            grow(path, two)
    for cache in (reader, store.open_cache(path)):
        assert cache.manifest.count in (6, 13)
        for name in cache.products():
            assert cache.proven(name).complete
        np.testing.assert_array_equal(cache.ids()[:6], list(before["id"]))
    assert {problem.kind for problem in validate.problems(path)} <= {"unfinished", "stray"}
    made = grow(path, two)
    assert contents(path) == right and made.cache.manifest.count == 13
    assert not validate.problems(path) and {p.name for p in path.parent.iterdir()} == {"c.zarr", "c.zarr.journal", "one", "two"}


def test_other_shapes_are_appended_after_an_append_that_was_killed_at_its_very_end(points, monkeypatch, tmp_path):
    path, _, two = points

    def stopped(path: Path) -> None:
        raise Killed

    third = tmp_path / "third" / "slab"
    third.mkdir(parents=True)
    (third / "new.off").write_text(box_off((2, 2, 5)))
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.append._clear", stopped)
        with pytest.raises(Killed):
            grow(path, two)
    assert grow(path, third.parent).shapes == 1
    cache = store.open_cache(path)
    assert "slab/new.off" in cache.ids() and cache.manifest.count == 14


def test_who_opened_the_cache_before_it_grew_does_not_undo_that_by_writing(points):
    """Such as `mmpd-train guide`, which opens the cache before it takes the lock."""
    path, _, two = points
    cache = store.open_cache(path)
    guide = GuideSpec(name="g", encoder="e", weights="w", tokens=4, dim=8, blocks=2)
    record = Record(product="guide/g", kind="guide", spec=guide, inputs=(("points", cache.record("points").fingerprint),))
    begun = cache.begin(record)
    for shard in range(cache.manifest.shards):
        n = len(cache.manifest.rows(shard))
        cache.write(begun, shard, {node.path: np.ones((n, *node.shape[1:]), np.float16) for node in cache.arrays(begun)})
    grow(path, two)
    before = contents(path)
    for write in (cache.finish, cache.begin):
        with pytest.raises(UserError, match="has grown or was relabelled since it was opened"):
            write(record)
    assert store.open_cache(path).manifest.count == 13 and contents(path)["zarr.json"] == before["zarr.json"]
    assert not store.open_cache(path).records()["guide/g"].complete


def test_a_place_that_is_taken_for_another_kind_is_no_new_source(tmp_path):
    """As a folder around ModelNet's was a plain folder before, with other ids."""
    for i, name in enumerate(("box/train/1.off", "box/test/2.off", "tin/train/3.off")):
        place = tmp_path / "around" / "data" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(box_off((1, 1, 1 + i)))
    around, path = tmp_path / "around", tmp_path / "c.zarr"
    build(around, path, small(source=SourceConfig(kind="folder"), views=None, captions=None, teachers=()))
    with pytest.raises(UserError, match=r"It was read as folder, and is now as modelnet: try --set source\.kind=folder"):
        build(around, path, small(views=None, captions=None, teachers=()))
    with pytest.raises(UserError, match=r"--set source\.kind=folder takes only what is new"):
        grow(path, around)
    made = grow(path, around, settings=("source.kind=folder",))
    assert (made.shapes, made.known) == (0, 3)
