"""Which class is which: by index within a cache, by name between caches, and never one for two."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import safetensors.torch

from cache_schema import store, synthetic
from cache_schema.classes import chosen, matched, spelling, united
from cache_schema.errors import UserError
from cache_schema.layout import node_json
from cache_schema.records import sealed
from cache_schema.spec import LabelSet, PointSpec
from pipeline import edits
from tests.boxes import Silent
from tests.growth import grow
from tests.trainer.conftest import LABELS, RANDOM, config_of, keep
from trainer import checkpoint, classifiers, log
from trainer.data import Data
from trainer.loop import train
from trainer.part import DataConfig, Needs
from trainer.tasks import catalog, compare, table
from trainer.tasks.shapes import matched as brought_together
from trainer.tasks.shapes import of_split
from trainer.trained import relabelled_since


@pytest.mark.parametrize(
    ("names", "others", "places"),
    [
        (("-1", "+1"), ("-1", "+1"), [0, 1]),
        (("-1", "+1"), ("+1", "-1"), [1, 0]),
        (("c", "C"), ("C", "c", "d"), [1, 0]),
        (("t-bar", "T bar"), ("T bar", "t-bar"), [1, 0]),
        (("night_stand", "bed"), ("bed", "night stand"), [1, 0]),
        (("Night-Stand", "sofa"), ("night_stand",), [0, -1]),
        (("t-bar",), ("T bar", "t-bar"), [1]),
        (("-1", "+1"), ("1", "0"), [-1, -1]),
        (("A-",), ("A", "A+"), [-1]),
        (("Bed - King", "a--b", "level -1"), ("bed king", "A b", "level 1"), [0, 1, -1]),
        (("+", "-"), ("-", "+", "_"), [1, 0]),
        ((), ("a",), []),
    ],
)
def test_names_are_matched_exactly_and_then_by_spelling(names, others, places):
    assert matched(names, others).tolist() == places


@pytest.mark.parametrize(
    ("names", "others", "told"),
    [
        (("T-Bar",), ("t-bar", "T bar"), r"class 'T-Bar' in a.*there is 'T-Bar' in a, and 't-bar' and 'T bar' in b"),
        (("t-bar", "T bar"), ("t_bar",), r"'t-bar' and 'T bar' in a, and 't_bar' in b"),
        (("t-bar", "T bar"), ("t-bar",), r"class 'T bar' in a.*Give the same class the same name in both"),
        (("a",), ("a", "a"), r"class 'a' in a"),
    ],
)
def test_what_collides_is_refused_with_both_names(names, others, told):
    with pytest.raises(ValueError, match=told):
        matched(names, others, "a", "b")


def test_a_list_made_of_the_names_goes_by_place():
    assert matched(("t-bar", "t bar", "1"), ("t bar", "t bar", "1"), own=True).tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="cannot be told"):
        matched(("t-bar", "t bar"), ("t bar", "t bar"))


@pytest.mark.parametrize(
    ("names", "made"),
    [
        (("Bed - King", "Chair"), ("Bed King", "Chair")),
        (("-1", "0"), ("1", "0")),
        (("a--b", "foo-", "- x"), ("a b", "foo", "x")),
        (("_a-_b", "c"), ("a b", "c")),
    ],
)
def test_the_set_source_goes_by_place_whatever_hyphens_became(names, made):
    assert matched(names, made, own=True).tolist() == list(range(len(names)))


def test_a_set_called_source_that_was_made_otherwise_goes_by_name():
    assert matched(("Bed - King", "Chair"), ("chair", "bed king"), own=True).tolist() == [1, 0]
    assert matched(("-1", "0"), ("0", "1"), own=True).tolist() == [-1, 0]


def test_training_and_zeroshot_take_a_cache_whose_names_have_hyphens(tmp_path):
    classes = ("Bed - King", "foo-")
    made = LabelSet(name="source", classes=("Bed King", "foo"), templates=("a {}",))
    path = tmp_path / "a.zarr"
    cache = synthetic.write(path, shapes=32, shard=16, points=PointSpec(count=64, blocks=2, ordered=32), labels=made)
    renamed = dataclasses.replace(cache.manifest, classes=classes)
    (path / "zarr.json").write_bytes(node_json(None, sealed(renamed)))
    cache = store.open_cache(path)
    train(config_of("align", "data.labels=source", "optim.batch=8"), [path], tmp_path / "run", device="cpu")
    result = catalog.evaluate("zeroshot", checkpoint.load(tmp_path / "run"), cache, catalog.options("zeroshot", ["test_split=all"]))
    assert (
        result.scores.test.shapes == 32
        and sum(map(sum, result.scores.confusion)) >= 32
        and not any("left out" in n for n in result.scores.notes)
    )


def test_several_caches_together():
    classes, places = united([("night_stand", "bed"), ("sofa", "night stand"), ("Night Stand",)], "abc")
    assert classes == ("night_stand", "bed", "sofa") and [p.tolist() for p in places] == [[0, 1], [2, 0], [0]]
    assert united([("-1", "+1")], "a")[0] == ("-1", "+1")
    for lists in ([("c", "C"), ("C", "c")], [("c",), ("c", "C")][:1] * 2):
        assert united(lists, "ab")[1]
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        lists = [[("x_y",), ("x y",), ("x_y", "x y")][i] for i in order]
        with pytest.raises(ValueError, match="cannot be told"):
            united(lists, "abc")


def test_a_setting_names_classes_one_by_one():
    assert chosen(("Night Stand", "night_stand", "nix"), ("night_stand", "bed")).tolist() == [0, 0, -1]
    assert chosen(("c",), ("C", "c")).tolist() == [1]
    with pytest.raises(ValueError, match=r"'T-Bar'.*'t-bar' and 'T bar'"):
        chosen(("T-Bar",), ("t-bar", "T bar"))
    assert spelling("__") == "__" and spelling(" Night-Stand ") == "night stand"


# ---------------------------------------------------------------------------------------------- in training and in every task

PLAIN = ("one", "two", "three", "four")
TASKS = {
    "svm": ["c=0.1", "train_split=all", "test_split=all"],
    "knn": ["neighbours=3", "train_split=all", "test_split=all"],
    "fewshot": ["ways=3", "shots=2", "folds=3", "train_split=all", "test_split=all"],
    "classify": ["epochs=2", "seeds=1", "train_split=all", "test_split=all"],
    "zeroshot": ["test_split=all"],
    "retrieval": ["test_split=all"],
}


def cache_of(path, classes, shapes=32):
    labels = LabelSet(name="source", classes=classes, templates=("a {}",))
    return synthetic.write(path, shapes=shapes, shard=16, points=PointSpec(count=64, blocks=2, ordered=32), labels=labels)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """What is found of classes whose names nobody confuses: losses of stage 1, and the numbers of every task."""
    return found(tmp_path_factory.mktemp("plain"), PLAIN)


def found(folder, classes):
    cache = cache_of(folder / "shapes.zarr", classes)
    train(config_of("align", "optim.epochs=2", "align.positives=category", "data.templates=1"), [cache.path], folder / "run", device="cpu")
    losses = [record["loss"] for record in log.records(folder / "run")]
    loaded = checkpoint.load(folder / "run")
    results = {task: catalog.evaluate(task, loaded, cache, catalog.options(task, chosen)) for task, chosen in TASKS.items()}
    return losses, {task: (result.scores.metrics, result.scores.confusion) for task, result in results.items()}


@pytest.mark.parametrize("classes", [("-1", "+1", "1", "0"), ("c", "C", "t-bar", "T bar"), ("a_b", "a-b", "a b", "A B")])
def test_names_that_are_alike_are_classes_of_their_own(plain, tmp_path, classes):
    losses, results = found(tmp_path, classes)
    assert losses == plain[0], "multi-positive targets of stage 1"
    assert results == plain[1]


def test_two_caches_are_brought_together_by_spelling_where_it_is_clear(tmp_path):
    first, second = cache_of(tmp_path / "a.zarr", ("night_stand", "bed")), cache_of(tmp_path / "b.zarr", ("Bed", "night stand"))
    data = Data([first, second], DataConfig(splits=()), batch=64, seed=0, needs=Needs())
    assert data.classes == ("night_stand", "bed")
    batch = data.batch(0)
    own = [index % 2 if index < 32 else 1 - index % 2 for index in batch.index.tolist()]
    assert batch.label.tolist() == own
    train_, test, notes = brought_together(of_split(first, "all"), of_split(second, "all"))
    assert test.classes == train_.classes and test.labels.tolist() == [1, 0] * 16 and not notes
    assert Data([first, second], DataConfig(splits=(), classes=("night-stand",)), batch=8, seed=0, needs=Needs()).epoch == 32


def test_caches_whose_names_collide_are_refused(tmp_path):
    first, second = cache_of(tmp_path / "a.zarr", ("t_bar", "bed")), cache_of(tmp_path / "b.zarr", ("t-bar", "T bar"))
    told = r"cannot be told from its spelling.*'t-bar' and 'T bar'"
    with pytest.raises(ValueError, match=told):
        Data([first, second], DataConfig(splits=()), batch=8, seed=0, needs=Needs())
    with pytest.raises(ValueError, match=told):
        brought_together(of_split(first, "all"), of_split(second, "all"))
    with pytest.raises(ValueError, match=told):
        brought_together(of_split(second, "all"), of_split(first, "all"))
    with pytest.raises(ValueError, match=told):
        Data([second], DataConfig(splits=(), classes=("T_Bar",)), batch=8, seed=0, needs=Needs())


def test_in_one_cache_a_class_without_training_shapes_is_not_taken_for_another(tmp_path):
    cache = cache_of(tmp_path / "a.zarr", ("c", "C", "d"))
    seen = of_split(cache, "all")
    train_, test, notes = brought_together(seen.of(seen.labels != 1), seen)
    assert train_.classes == test.classes == ("c", "d") and set(store.open_cache(cache.path).array("label")[:][test.rows]) == {0, 2}
    assert "since the classifier does not know their classes: C" in notes[0]


def renamed(path, rows, name):
    """`mmpd-cache relabel`: another class for the shapes in some rows. The cache as it is then."""
    lines, ids = path.with_suffix(".csv"), store.open_cache(path).ids()
    lines.write_text("id,class\n" + "".join(f"{ids[row]},{name}\n" for row in rows))
    edits.relabel(path, lines, Silent())
    return store.open_cache(path)


def test_after_a_relabelling_results_of_before_are_others_and_what_was_trained_says_so(aligned, cache_path, tmp_path):
    run, path = shutil.copytree(aligned, tmp_path / "run"), shutil.copytree(cache_path, tmp_path / "small.zarr")
    keep(checkpoint.load(run), path, "mine")
    loaded, cache = checkpoint.load(run), store.open_cache(path)
    chosen = catalog.options("knn", ["repeats=1", "train_split=all", "test_split=all"])

    def told(cache):
        return catalog.measure(loaded, "mine", cache, ["test_split=all"]).scores.notes, catalog.evaluate("knn", loaded, cache, chosen)

    notes, before = told(cache)
    assert not any("relabel" in note for note in (*notes, *before.scores.notes))
    notes, grown = told(
        grow(
            shutil.copytree(path, tmp_path / "grown" / "small.zarr"),
            labels=LABELS,
            points=PointSpec(count=64, blocks=2, ordered=32),
            guide=RANDOM,
        )
    )
    assert not any("got other classes" in note or "by now" in note for note in (*notes, *grown.scores.notes)), (
        "new shapes change no old one"
    )
    assert any("58 shapes then, 63 now" in note for note in notes)

    without = catalog.options("retrieval", ["repeats=1"])
    blind = catalog.evaluate("retrieval", loaded, cache, without)
    beside = shutil.copytree(path, tmp_path / "other.zarr")
    cache = renamed(path, [2, 5, 8], "cube")
    assert catalog.evaluate("retrieval", loaded, cache, without).alike(blind), "it asks for no classes"
    notes, after = told(cache)
    assert any(note.startswith("shapes that mine has learned from have other classes in small.zarr by now") for note in notes)
    assert any(
        note.startswith("split 'all' has other shapes, or other classes of them, than when it was kept (58 shapes then") for note in notes
    )
    said = "the encoder was trained on small.zarr before shapes there got other classes, splits or names"
    assert any(note.startswith(said) for note in notes) and any(note.startswith(said) for note in after.scores.notes)
    moved = catalog.evaluate("knn", loaded, renamed(beside, [2, 5, 8], "cube"), chosen)
    assert any(note.startswith(said.replace("small.zarr", "small.zarr, which is other.zarr now,")) for note in moved.scores.notes)
    (used,), data, seed = loaded.header.caches, loaded.config.data, loaded.config.seed
    assert relabelled_since(used, cache, config=data, seed=seed) == "small.zarr"
    assert relabelled_since(dataclasses.replace(used, data="of other files"), cache, config=data, seed=seed) == "", "it has the same name"
    old = relabelled_since(dataclasses.replace(used, data="", path="/then.zarr"), cache, config=data, seed=seed)
    assert old == "then.zarr, which is by its points small.zarr now,"

    scratch = catalog.options("classify", ["scratch=true", "epochs=1", "seeds=1", "train_split=all", "test_split=all"])
    assert not any("relabel" in note for note in catalog.evaluate("classify", loaded, cache, scratch).scores.notes), "no weights of the run"
    assert not after.alike(before) and before.scores.test.shapes == after.scores.test.shapes
    with pytest.raises(UserError, match="other shapes, points or classes under the same name"):
        compare.refuse_unlike("knn", [before, after])
    first, second = before.save(tmp_path / "a"), dataclasses.replace(after, run="b", trial="b")
    assert after.save(tmp_path / "a") != first, "both are kept"
    joined = table.table(table.collect([tmp_path / "a"])).markdown()
    assert f"small ({after.mark}, measured last) all" in joined and f"small ({before.mark}) all" in joined
    assert "`measured last`: those as they were at the last measuring" in joined
    both = compare.compare({"a": [before, after], "b": [second]})
    assert any("which of them was measured last is not known" in note for note in both.notes), "they were not saved"
    assert [one.title.split(": ")[0] for one in both.found] == [f"knn train_split=all repeats=1, small ({after.mark}) all"]
    assert f"small ({before.mark}) all: not measured for b." in both.notes[-1]
    assert (both.found[0].mark, both.found[0].measured_last) == (after.mark, None)
    assert "or other classes of them, under the same name" in table.table([before, second]).markdown()
    older = dataclasses.replace(before.scores.test, labels=""), dataclasses.replace(before.scores.train, labels="")
    old = dataclasses.replace(before, scores=dataclasses.replace(before.scores, test=older[0], train=older[1]))
    assert old.alike(after) and after.alike(old), "an earlier version did not record them"
    three = [dataclasses.replace(old, run="c"), before, second]
    assert "or other classes of them, under the same name" in table.table(three).markdown()
    with pytest.raises(UserError, match="knn of run and b cannot be compared"):
        compare.refuse_unlike("knn", three)
    assert after.save(tmp_path / "b") == old.save(tmp_path / "b"), "it is replaced"
    other = dataclasses.replace(old, scores=dataclasses.replace(old.scores, test=dataclasses.replace(older[0], points="q")))
    assert other.save(tmp_path / "c") != old.save(tmp_path / "c") == after.save(tmp_path / "c"), "under the mark of then, too"


def test_a_classifier_of_an_earlier_version_is_kept_again_with_the_classes_of_its_shapes(aligned, cache_path, tmp_path):
    run = shutil.copytree(aligned, tmp_path / "run")
    keep(checkpoint.load(run), cache_path, "mine")
    file, whole = classifiers.path(run, "mine"), classifiers.path(run, "mine").read_bytes()
    with safetensors.safe_open(file, "pt") as opened:
        metadata, tensors = json.loads(opened.metadata()[classifiers.METADATA]), {key: opened.get_tensor(key) for key in opened.keys()}
    for data in ("train", "test"):
        assert len(metadata["about"]["origin"][data].pop("labels")) == 16
    file.write_bytes(safetensors.torch.save(tensors, {classifiers.METADATA: json.dumps(metadata, sort_keys=True)}))
    assert classifiers.load(run, "mine").renamed(store.open_cache(cache_path)) == ""
    keep(checkpoint.load(run), cache_path, "mine")
    assert file.read_bytes() == whole


def test_two_splits_together_are_the_shapes_of_both(cache_path):
    cache = store.open_cache(cache_path)
    both = of_split(cache, "train+test")
    assert both.name.startswith("split 'train+test' of ") and np.array_equal(both.rows, of_split(cache, "all").rows)
    assert np.array_equal(of_split(cache, "test+test").rows, of_split(cache, "test").rows)
    with pytest.raises(UserError, match=r"has no split 'tst'; did you mean 'test'"):
        of_split(cache, "train+tst")
    cache.manifest = dataclasses.replace(cache.manifest, splits=("train+test", "test"))
    assert np.array_equal(of_split(cache, "train+test").rows, np.setdiff1d(both.rows, of_split(cache, "test").rows)), "a name with a plus"


def test_a_digest_of_classes_is_one_of_names(cache_path):
    shapes = of_split(store.open_cache(cache_path), "test")
    turned = dataclasses.replace(shapes, labels=2 - shapes.labels, classes=shapes.classes[::-1])
    assert turned.data == shapes.data and len(shapes.data.labels) == 16
    assert dataclasses.replace(shapes, classes=("a", "b", "c")).data != shapes.data
    assert dataclasses.replace(shapes, labels=np.full(len(shapes), -1)).data.labels == ""
    assert shapes.of(np.arange(3)).data.labels != shapes.data.labels
