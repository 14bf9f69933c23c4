"""Test shapes that are not new: what a task learned from and what the encoder was trained on stands beside each score."""

import csv
import dataclasses
import io
import json
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch

from cache_schema import overlay, store
from cache_schema.errors import UserError
from cache_schema.spec import PointSpec
from tests.trainer.conftest import FAILED, config_of, keep, write_small
from tests.trainer.labelled import write_cache
from trainer import checkpoint, classifiers, cli_eval, guide
from trainer.batch import Used
from trainer.data import Data
from trainer.loop import train
from trainer.part import DataConfig, Needs, data_digest_of, digest_of
from trainer.tasks import catalog, compare, seen, table
from trainer.tasks.result import Seen, load
from trainer.tasks.seen import Identities, Sides, same
from trainer.tasks.shapes import of_split

TESTED = 20 - sum(row % 3 == 2 for row in FAILED)
"""Number of usable test shapes of `cache_path`."""


@pytest.fixture(scope="module")
def everything(cache_path, tmp_path_factory):
    """A run on all splits of the cache."""
    run = tmp_path_factory.mktemp("runs") / "everything"
    train(config_of("align", "optim.epochs=1", "data.splits="), [cache_path], run, device="cpu")
    return run


def measured(run, cache_path, name="zeroshot", **options):
    chosen = dataclasses.replace(catalog.task(name).SMOKE, **options)
    return catalog.evaluate(name, checkpoint.load(run), store.open_cache(cache_path), chosen)


@pytest.mark.parametrize("name", ["zeroshot", "retrieval"])
def test_an_encoder_that_was_trained_on_test_shapes_says_so_beside_each_score(name, everything, aligned, cache_path):
    new = measured(aligned, cache_path, name)
    assert new.scores.seen == Seen(tested=TESTED) and not new.scores.warning
    found = measured(everything, cache_path, name)
    assert found.scores.seen == Seen(tested=TESTED, trained=TESTED)
    assert found.said(found.scores.metrics[0]).endswith(f"encoder saw {TESTED} of {TESTED}")
    assert json.loads(found.json())["scores"]["seen"] == {"tested": TESTED, "learned": 0, "trained": TESTED, "unchecked": []}
    assert f"the encoder was trained on {TESTED} of the {TESTED} test shapes" in found.scores.notes


def test_cross_validation_learns_from_no_shape_that_it_tests(aligned, cache_path):
    assert measured(aligned, cache_path, "crossval").scores.seen == Seen(tested=58, trained=38)


def test_what_is_not_new_stands_in_every_form_of_a_table_and_beside_a_comparison(everything, aligned, cache_path, tmp_path):
    runs = []
    for run, name, options in ((everything, "zeroshot", {}), (aligned, "knn", {"test_split": "all"}), (aligned, "zeroshot", {})):
        runs.append(tmp_path / f"run{len(runs)}")
        shutil.copytree(run, runs[-1])
        catalog.save(measured(runs[-1], cache_path, name, **options), runs[-1])
    results = table.collect(runs)
    joined = table.table(results)
    said = f"encoder saw {TESTED} of {TESTED}"
    both = "learned from 38 of 38, encoder saw 38 of 38"
    assert said in joined.markdown() and both in joined.markdown() and joined.markdown().count("encoder saw") == 2
    rows = list(csv.DictReader(io.StringIO(joined.csv())))
    assert [(row["learned"], row["trained"], row["warning"]) for row in rows] == [
        ("0", str(TESTED), said),
        ("0", "0", ""),
        ("38", "38", both),
    ]
    cells = [cell for row in json.loads(joined.json())["rows"] for cell in row[1:] if cell]
    assert [(cell["learned"], cell["trained"], cell.get("warning")) for cell in cells] == [(0, TESTED, said), (38, 38, both), (0, 0, None)]
    found = compare.compare(compare.sides_of([one for one in results if one.run != "run1"], "run"))
    assert any(f"test shapes of run0 that may not be new: {said}." in note for note in found.notes)
    assert not any("run2, not all" in note for note in found.notes)


def test_a_pooled_cell_shows_what_the_run_knows_that_knows_most():
    none, some, unknown = Seen(tested=9), Seen(tested=9, trained=4), Seen(tested=9, trained=None, more=True)
    old, *results = [type("R", (), {"scores": type("S", (), {"seen": seen})}) for seen in (None, none, some, unknown)]
    assert table._most(results[:2]) is some and table._most(results) is unknown
    learned = Seen(tested=9, learned=2)
    results.append(type("R", (), {"scores": type("S", (), {"seen": learned})}))
    assert table._most(results) is learned, "what is known for certain is not hidden by what may be"
    assert table._most([old, *results[:2]]) is some and table._most([old]) is None and table._most([]) is None


def test_a_run_without_steps_and_one_from_scratch_have_seen_nothing(everything, cache_path, tmp_path):
    train(config_of("align", "optim.epochs=0", "data.splits="), [cache_path], tmp_path / "still", device="cpu")
    assert measured(tmp_path / "still", cache_path).scores.seen == Seen(tested=TESTED)
    header = checkpoint.header(everything)
    sides = Sides(test=of_split(store.open_cache(cache_path), "test"))
    assert sides.seen(header, scratch=True) == Seen(tested=TESTED) and sides.seen(header).trained == TESTED


def test_what_a_run_started_from_counts(everything, cache_path, tmp_path):
    train(config_of("align", "optim.epochs=0"), [cache_path], tmp_path / "later", init=everything, device="cpu")
    assert measured(tmp_path / "later", cache_path).scores.seen == Seen(tested=TESTED, trained=TESTED)


def test_a_fraction_of_the_shapes_is_known_exactly(cache_path, tmp_path):
    train(config_of("align", "optim.epochs=1", "data.splits=", "data.fraction=0.5"), [cache_path], tmp_path / "half", device="cpu")
    cache, header = store.open_cache(cache_path), checkpoint.header(tmp_path / "half")
    seen = Sides(test=of_split(cache, "all")).seen(header)
    assert seen == Seen(tested=58, trained=29)
    other = dataclasses.replace(header, config=dataclasses.replace(header.config, seed=5))  # not the rows whose digest is kept
    assert Sides(test=of_split(cache, "all")).seen(other) == Seen(tested=58, trained=None, more=True)
    assert Seen(tested=58, trained=None, more=True).told == "encoder may have seen them"


def test_what_a_run_started_from_is_known_by_its_digest_or_not_at_all(cache_path, tmp_path):
    """Both runs select the same; without a digest nothing is known of the first, and what the second one read still is."""
    cache = store.open_cache(cache_path)
    chosen = ("data.splits=train,test", f"data.classes={cache.manifest.classes[0]}", "data.fraction=0.5")
    config = config_of("align", "optim.epochs=1", *chosen)
    train(config, [cache_path], tmp_path / "a", device="cpu")
    train(config, [cache_path], tmp_path / "b", init=tmp_path / "a", device="cpu")
    header, sides = checkpoint.header(tmp_path / "b"), Sides(test=of_split(cache, "all"))
    own = sides.seen(dataclasses.replace(header, init=None))
    assert 0 < own.trained < 58 and sides.seen(header) == own
    before = dataclasses.replace(header.init, caches=tuple(dataclasses.replace(used, rows="") for used in header.init.caches))
    found = sides.seen(dataclasses.replace(header, init=before))
    assert found == dataclasses.replace(own, more=True) and found.told == f"encoder saw at least {own.trained} of 58"
    assert sides.seen(dataclasses.replace(header, init=before, step=0)) == Seen(tested=58, trained=None, more=True)
    assert any("which of its shapes is not known" in note for note in found.notes("shapes"))


def test_what_was_trained_elsewhere_is_told_and_no_place_of_another_machine_is_opened(everything, cache_path, tmp_path, monkeypatch):
    header, cache = checkpoint.header(everything), store.open_cache(cache_path)
    source = checkpoint.Source(file="pretrain.pth", sha256="0" * 64, architecture="point-mae")
    whole = Sides(test=of_split(cache, "test"))
    before = seen._compared.cache_info().hits
    assert whole.seen(header) == Sides(test=of_split(cache, "test")).seen(header)
    assert seen._compared.cache_info().hits == before + 1  # tasks of one command compare once
    found = whole.seen(dataclasses.replace(header, source=source, caches=(), step=0))
    assert found == Seen(tested=TESTED, trained=None, unchecked=("unknown data (imported from pretrain.pth)",)) and not found.told
    write_small(tmp_path / "other.zarr", points=PointSpec(count=64, blocks=2, ordered=33), seed=1)
    other = Sides(test=of_split(store.open_cache(tmp_path / "other.zarr"), "test"))
    monkeypatch.chdir(cache_path.parent)
    for path, reason in (
        (cache_path.name, "trained elsewhere"),
        (f"hf://datasets/lab/{cache_path.name}", "not on this machine"),
        (str(tmp_path / cache_path.name), "not found where it was then"),
        (str(tmp_path / "other.zarr"), "has other points by now"),
    ):
        moved = dataclasses.replace(header, caches=(dataclasses.replace(header.caches[0], path=path),))
        assert other.seen(moved) == Seen(tested=TESTED, unchecked=(f"{path.rpartition('/')[2]} ({reason})",))
        assert whole.seen(moved) == Seen(tested=TESTED, trained=TESTED)  # its points and the digest of its data say that it is this cache
        older = dataclasses.replace(header, caches=(dataclasses.replace(moved.caches[0], data=""),))
        taken = f"{cache_path.name}, with shapes of the same names, was taken for it, and their data could not be compared"
        assert whole.seen(older).unchecked == (f"{path.rpartition('/')[2]} ({reason}; {taken})",) and whole.seen(older).trained == TESTED


@pytest.mark.parametrize("damage", ["", "source_sha256", "source_sha256/c/0/0", "products/points/zarr.json", "zarr.json"])
def test_a_damaged_training_cache_ends_no_evaluation_on_another(damage, everything, cache_path, tmp_path):
    bad, other = tmp_path / "bad.zarr", tmp_path / "other.zarr"
    shutil.copytree(cache_path, bad)
    write_small(other, points=PointSpec(count=64, blocks=2, ordered=33), seed=1)
    header, file = checkpoint.header(everything), bad / damage
    moved = dataclasses.replace(header, caches=(dataclasses.replace(header.caches[0], path=str(bad)),))
    if file.is_dir() and damage:
        shutil.rmtree(file)
    elif damage:
        file.write_bytes(file.read_bytes()[:7])
    found = Sides(test=of_split(store.open_cache(other), "test")).seen(moved)
    assert found == Seen(tested=TESTED, unchecked=("bad.zarr (cannot be read)",) if damage else ())


def test_a_copy_and_an_overlay_are_the_same_shapes_and_a_cache_that_is_gone_is_told(everything, cache_path, tmp_path):
    shutil.copytree(cache_path, tmp_path / "copy.zarr")
    assert measured(everything, tmp_path / "copy.zarr").scores.seen.trained == TESTED
    with overlay.laid(cache_path, tmp_path / "mine.zarr") as mine:
        assert measured(everything, mine).scores.seen.trained == TESTED
    gone = tmp_path / "gone.zarr"
    shutil.copytree(cache_path, gone)
    train(config_of("align", "optim.epochs=1"), [gone], tmp_path / "run", device="cpu")
    shutil.rmtree(gone)
    write_small(tmp_path / "other.zarr", points=PointSpec(count=64, blocks=2, ordered=33), seed=1)
    found = measured(tmp_path / "run", tmp_path / "other.zarr")
    assert found.scores.seen == Seen(tested=TESTED, unchecked=("gone.zarr (not found where it was then)",)) and not found.scores.warning
    note = "not checked whether the encoder knows test shapes: it was trained on gone.zarr (not found where it was then)"
    assert note in found.scores.notes


def test_equal_data_is_the_same_shape_in_any_cache_and_an_object_in_one(tmp_path):
    digests = np.zeros((6, 32), np.uint8)
    digests[:4, 0] = 1, 2, 3, 1
    names = ["a/0#0", "a/1", "a/2", "b/0", "b/1", "a/0#1"]
    points, xyz = PointSpec(count=4, blocks=1, ordered=1), {"points/xyz": np.zeros((6, 1, 4, 3), np.float16)}
    pieces, origin = dataclasses.replace(points, origins=True), {"points/origin": np.zeros((6, 1, 4), np.int32)}
    cache = write_cache(tmp_path / "c.zarr", names, [0] * 6, pieces, xyz | origin, digests=digests)
    other = write_cache(tmp_path / "o.zarr", names[::-1], [0] * 6, points, xyz, digests=digests[::-1].copy())
    whole = of_split(cache, "all", labelled=False)
    assert same(whole, cache, np.array([0])).tolist() == [True, False, False, True, False, True]  # itself, its copy, and its other scan
    assert same(whole, other, np.array([5, 0])).tolist() == [True, False, False, True, False, False]  # names of another cache prove nothing
    assert same(whole, other, np.array([1])).tolist() == [False] * 6  # no digest proves nothing either
    files = of_split(other, "all", labelled=False)  # neither scans nor crops, so a file may have any name
    assert same(files, other, np.array([0])).tolist() == [True] + [False] * 5
    assert same(files, other, np.array([0]), pieces=True).tolist() == [True, False, False, False, False, True]


def of_data(path, *first):
    """A cache of four shapes, each made from data whose digest begins with a number; 0 for no digest. All have the same points."""
    digests = np.zeros((4, 32), np.uint8)
    digests[:, 0] = first
    points = PointSpec(count=4, blocks=1, ordered=1)
    return write_cache(path, ["a", "b", "c", "d"], [0] * 4, points, {"points/xyz": np.zeros((4, 1, 4, 3), np.float16)}, digests=digests)


def trained_on(header, cache, *, recorded=True):
    """The header of a run that was trained on all shapes of a cache; `recorded`: by this version, which records a digest of their data."""
    every = np.arange(4)
    products = (("points", cache.products()["points"].fingerprint),)
    used = Used(path=str(cache.path), products=products, rows=digest_of(every), data=data_digest_of(cache, every) if recorded else "")
    return dataclasses.replace(header, caches=(used,))


@pytest.mark.parametrize("recorded", [True, False])
def test_other_data_under_the_same_names_is_no_training_cache(recorded, everything, tmp_path):
    """Two folders with files of the same names: their caches have the same points, as far as a fingerprint says."""
    a, b = of_data(tmp_path / "a.zarr", 1, 2, 3, 4), of_data(tmp_path / "b.zarr", 9, 1, 3, 8)
    assert a.products()["points"].fingerprint == b.products()["points"].fingerprint
    header = trained_on(checkpoint.header(everything), a, recorded=recorded)
    sides = Sides(test=of_split(b, "all", labelled=False))
    assert sides.seen(header) == Seen(tested=4, trained=2), "the shapes whose data the run has read, under whatever name"
    assert Sides(test=of_split(a, "all", labelled=False)).seen(header) == Seen(tested=4, trained=4)
    shutil.rmtree(a.path)
    copied = Sides(test=of_split(of_data(tmp_path / "copy.zarr", 1, 2, 3, 4), "all", labelled=False)).seen(header)
    found = Sides(test=of_split(store.open_cache(b.path), "all", labelled=False)).seen(header)  # opened anew: a comparison is remembered
    if recorded:
        assert copied == Seen(tested=4, trained=4), "a copy, as the digest of its data says"
        assert found == Seen(tested=4, trained=0, unchecked=("a.zarr (not found where it was then)",))
    else:
        assert copied.trained == found.trained == 4 and "b.zarr, with shapes of the same names, was taken for it" in found.unchecked[0]
        assert any("their data could not be compared" in note for note in found.notes("shapes"))


def test_a_training_cache_that_was_built_anew_of_other_data_is_told(everything, tmp_path):
    header = trained_on(checkpoint.header(everything), of_data(tmp_path / "a.zarr", 1, 2, 3, 4))
    shutil.rmtree(tmp_path / "a.zarr")
    now = of_data(tmp_path / "a.zarr", 5, 6, 7, 8)
    assert Sides(test=of_split(now, "all", labelled=False)).seen(header) == Seen(tested=4, unchecked=("a.zarr (has other data by now)",))


def test_a_training_records_a_digest_of_its_data_or_none(tmp_path):
    a, b, none = (
        of_data(tmp_path / "a.zarr", 1, 2, 3, 4),
        of_data(tmp_path / "b.zarr", 1, 2, 3, 5),
        of_data(tmp_path / "c.zarr", 0, 0, 0, 0),
    )
    rows = np.arange(4)
    assert data_digest_of(a, rows) != data_digest_of(b, rows) and data_digest_of(a, rows[:3]) == data_digest_of(b, rows[:3]) != ""
    assert data_digest_of(none, rows) == ""
    config = DataConfig(splits=("train",))
    assert Data([a], config, batch=2, seed=0, needs=Needs()).used[0].data == data_digest_of(a, rows)
    shutil.rmtree(a.path / "source_sha256" / "c")
    assert Data([store.open_cache(a.path)], config, batch=2, seed=0, needs=Needs()).used[0].data == "", "no training ends for it"


def test_a_kept_classifier_knows_no_other_data_under_the_same_names(tmp_path):
    learned = Identities.of(of_split(of_data(tmp_path / "a.zarr", 1, 2, 0, 4), "all", labelled=False).of(np.array([0, 1, 2])))
    other = of_split(of_data(tmp_path / "b.zarr", 9, 0, 7, 1), "all", labelled=False)
    # Other data; data that is not known now; data that was not known then; the data of `a`.
    assert learned.among(other).tolist() == [False, True, True, True]
    beyond = dataclasses.replace(learned, rows=np.array([0, 1, 9]))
    assert beyond.among(other).tolist() == [False, True, False, True], "a row that this cache does not have is none of its shapes"


def test_a_kept_classifier_says_which_test_shapes_it_learned_from(aligned, cache_path, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(aligned, run)
    keep(checkpoint.load(run), cache_path, "mine")
    found = catalog.measure(checkpoint.load(run), "mine", store.open_cache(cache_path))
    assert found.scores.seen == Seen(tested=TESTED, learned=TESTED) and found.scores.warning == f"learned from {TESTED} of {TESTED}"
    assert load(found.save(run)).scores.seen == found.scores.seen
    shutil.copytree(cache_path, tmp_path / "copy.zarr")
    assert catalog.measure(checkpoint.load(run), "mine", store.open_cache(tmp_path / "copy.zarr")).scores.seen == found.scores.seen
    write_small(tmp_path / "other.zarr", points=PointSpec(count=64, blocks=2, ordered=33), seed=1)
    elsewhere = catalog.measure(checkpoint.load(run), "mine", store.open_cache(tmp_path / "other.zarr")).scores
    assert elsewhere.seen == Seen(tested=TESTED) and not any("these may be shapes" in note for note in found.scores.notes)


def test_a_kept_few_shot_classifier_learned_from_the_shapes_of_its_fold(aligned, cache_path, tmp_path):
    run, cache = tmp_path / "run", store.open_cache(cache_path)
    shutil.copytree(aligned, run)
    chosen = catalog.options("fewshot", ["ways=2", "shots=2", "folds=1", "queries=2", "train_split=all", "test_split=all"])
    catalog.keep(catalog.evaluate("fewshot", checkpoint.load(run), cache, chosen), checkpoint.load(run), "few")
    scores = catalog.measure(checkpoint.load(run), "few", cache, ["test_split=all"]).scores
    assert scores.seen.learned == 4 and scores.seen.tested > 4


def test_equal_data_in_another_cache_is_known_to_a_kept_classifier(tmp_path):
    digests = np.zeros((4, 32), np.uint8)
    digests[:3, 0] = 1, 2, 3
    points, xyz = PointSpec(count=4, blocks=1, ordered=1), {"points/xyz": np.zeros((4, 1, 4, 3), np.float16)}
    names = ["a", "b", "c", "d"]
    cache = write_cache(tmp_path / "c.zarr", names, [0] * 4, points, xyz, digests=digests)
    other = write_cache(
        tmp_path / "o.zarr",
        ["e", "f", "g", "h"],
        [0] * 4,
        PointSpec(count=4, blocks=1, ordered=1, seed=1),
        xyz,
        digests=digests[::-1].copy(),
    )
    every, theirs = (of_split(one, "all", labelled=False) for one in (cache, other))
    learned = Identities.of(every.of(np.array([0, 3])))
    assert learned.digests.nbytes == 16, "no more of a shape is handed on than tells it from others"
    assert learned.among(every).tolist() == [True, False, False, True]
    assert learned.among(theirs).tolist() == [False, False, False, True], "no digest proves nothing"


def test_a_kept_classifier_of_an_earlier_version_is_loaded_and_not_known(aligned, cache_path, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(aligned, run)
    keep(checkpoint.load(run), cache_path, "mine")
    file = classifiers.path(run, "mine")
    whole = file.read_bytes()
    with safetensors.safe_open(file, "pt") as opened:
        metadata = opened.metadata()
        tensors = {name: opened.get_tensor(name) for name in opened.keys() if not name.startswith("learned.")}
    kept = json.loads(metadata[classifiers.METADATA])
    assert kept["about"]["format"] == 2, "an earlier version says that it cannot read it, and not that it is another model's"
    kept["about"]["format"] = 1
    file.write_bytes(safetensors.torch.save(tensors, {classifiers.METADATA: json.dumps(kept, sort_keys=True)}))
    scores = catalog.measure(checkpoint.load(run), "mine", store.open_cache(cache_path)).scores
    assert scores.seen.learned is None and "not known which test shapes the task has learned from" in scores.notes
    assert any("these may be shapes that it knows" in note for note in scores.notes)
    keep(checkpoint.load(run), cache_path, "mine")
    assert file.read_bytes() == whole, "the same training keeps the same classifier, and by now what it learned from"
    file.write_bytes(safetensors.torch.save(tensors | {"learned.rows": torch.zeros(3)}, metadata))
    with pytest.raises(UserError, match="is damaged: what it says of the shapes"):
        classifiers.load(run, "mine")


@pytest.mark.parametrize("named", [True, False])
def test_what_a_guide_learned_from_counts_for_its_student(named, everything, guided, cache_path, tmp_path):
    """A student of `own` begins at random and sees the split train alone; its guide saw more."""
    near = tmp_path / "own"
    shutil.copytree(everything, near)
    mine = tmp_path / "guided.zarr"
    shutil.copytree(cache_path, mine)
    guide.write(store.open_cache(mine), checkpoint.load(near), "own")
    run = tmp_path / "student"
    given = {"guide_run": near} if named else {}
    train(config_of("distill", "optim.epochs=1", "start=random", "guide=own"), [mine], run, device="cpu", **given)
    header, sides = checkpoint.header(run), Sides(test=of_split(store.open_cache(mine), "test"))
    assert header.guide_past == checkpoint.learned_from(checkpoint.header(near)) and header.init is None
    assert sides.seen(header) == Seen(tested=TESTED, trained=TESTED)
    later = tmp_path / "later"
    train(config_of("align", "optim.epochs=0"), [cache_path], later, init=run, device="cpu")
    assert sides.seen(checkpoint.header(later)).trained == TESTED, "it goes on with what the student has learned"
    unknown = sides.seen(dataclasses.replace(header, guide_past=None))
    assert unknown == Seen(tested=TESTED, trained=None, unchecked=("unknown data (of its guide)",))


def test_a_student_whose_guide_is_not_near_says_so(guided, tmp_path):
    run, far = tmp_path / "student", tmp_path / "far.zarr"
    shutil.copytree(guided, far)
    train(config_of("distill", "optim.epochs=1", "start=random", "guide=own"), [far], run, device="cpu")
    found = Sides(test=of_split(store.open_cache(far), "test")).seen(checkpoint.header(run))
    assert found.trained is None and found.unchecked == ("unknown data (of its guide)",)


def test_the_first_life_of_an_import_is_told_after_two_trainings(everything, cache_path, tmp_path):
    foreign = tmp_path / "foreign"
    shutil.copytree(everything, foreign)
    header, encoder, tensors = checkpoint.read(foreign)
    source = checkpoint.Source(file="pretrain.pth", sha256="0" * 64, architecture="point-mae")
    header = dataclasses.replace(header, source=source, caches=(), step=0)
    checkpoint.path(foreign).write_bytes(checkpoint.contents(header, encoder, tensors))
    before = foreign
    for name in ("once", "twice"):
        train(config_of("align", "optim.epochs=1"), [cache_path], tmp_path / name, init=before, device="cpu")
        before = tmp_path / name
    sides = Sides(test=of_split(store.open_cache(cache_path), "test"))
    found = sides.seen(checkpoint.header(before))
    assert found == Seen(tested=TESTED, trained=None, unchecked=("unknown data (imported from pretrain.pth)",))
    header = checkpoint.header(before)
    older = dataclasses.replace(header, init=dataclasses.replace(header.init, unknown=None))
    assert sides.seen(older).unchecked == ("unknown data (before once, if there was any)",)


def test_what_an_earlier_version_did_not_record_is_looked_up_in_the_run_that_it_started_from(aligned, cache_path, tmp_path):
    """Runs of an earlier version have the caches of before alone, and not that nothing else was before."""

    def forget(run):
        header, encoder, tensors = checkpoint.read(run)
        older = dataclasses.replace(header, init=dataclasses.replace(header.init, caches=(), unknown=None))
        checkpoint.path(run).write_bytes(checkpoint.contents(older, encoder, tensors))

    shutil.copytree(aligned, tmp_path / "first")
    for name, init in (("second", "first"), ("third", "second")):
        train(config_of("align", "optim.epochs=0"), [cache_path], tmp_path / name, init=tmp_path / init, device="cpu")
        forget(tmp_path / name)
    last = checkpoint.header(tmp_path / "third")
    assert checkpoint.learned_from(checkpoint.recalled(last, [tmp_path])) == checkpoint.learned_from(checkpoint.header(aligned))
    assert measured(tmp_path / "third", cache_path).scores.seen == Seen(tested=TESTED)
    later = tmp_path / "later"
    train(config_of("align", "optim.epochs=0"), [cache_path], later, init=tmp_path / "third", device="cpu")
    assert checkpoint.header(later).init.unknown == () and checkpoint.header(later).init.caches == checkpoint.header(aligned).caches
    assert checkpoint.recalled(last, [tmp_path / "elsewhere"]) == last
    train(config_of("align", "optim.epochs=0", "seed=3"), [cache_path], tmp_path / "other", device="cpu")
    shutil.rmtree(tmp_path / "second")
    shutil.copytree(tmp_path / "other", tmp_path / "second")
    assert checkpoint.recalled(last, [tmp_path]) == last, "a run of the same name with other weights"
    shutil.rmtree(tmp_path / "second")
    shutil.copytree(tmp_path / "third", tmp_path / "second")
    found = checkpoint.before(checkpoint.recalled(last, [tmp_path]))  # a run that started from itself, as far as names and weights say
    assert found.unknown == ("unknown data (before second)",)


def test_the_pasts_of_all_guides_are_united(everything, guided, cache_path, tmp_path):
    (tmp_path / "runs").mkdir()
    shutil.copytree(everything, tmp_path / "runs" / "one")
    train(config_of("align", "optim.epochs=1", "data.splits=test", "seed=4"), [cache_path], tmp_path / "runs" / "two", device="cpu")
    found = []
    for name in ("one", "two"):
        mine = tmp_path / f"{name}.zarr"
        shutil.copytree(cache_path, mine)
        guide.write(store.open_cache(mine), checkpoint.load(tmp_path / "runs" / name), "own")
        cache = store.open_cache(mine)
        found.append((cache, cache.record("guide/own").spec))
    past = guide.past_nearby(found, [tmp_path / "runs"])
    alone = [checkpoint.header(tmp_path / "runs" / name).caches for name in ("one", "two")]
    assert past == checkpoint.Past(caches=alone[0] + alone[1]) and alone[0] != alone[1]
    shutil.rmtree(tmp_path / "runs" / "two")
    assert guide.past_nearby(found, [tmp_path / "runs"]) == checkpoint.Past(caches=alone[0], unknown=("unknown data (of its guide)",))
    assert guide.past_nearby(found[1:], [tmp_path / "runs"]) is None


def test_few_shot_learns_from_the_shapes_of_a_fold_alone(aligned, cache_path):
    found = measured(aligned, cache_path, "fewshot", train_split="all", test_split="all", ways=2, shots=2, folds=1, queries=2).scores
    assert found.seen.tested == found.metrics[0].shapes == 4
    cache = store.open_cache(cache_path)
    shapes, header = of_split(cache, "all"), checkpoint.header(aligned)
    first, second = shapes.of(np.arange(3)), shapes.of(np.arange(2, 6))
    folds = ((first, second), (second, shapes.of(np.arange(8, 9))))
    assert Sides(test=shapes.of(np.arange(2, 9)), folds=folds).seen(header, scratch=True) == Seen(tested=7, learned=1)


def test_a_task_that_does_not_say_what_it_used_is_told(aligned, cache_path, monkeypatch):
    module = catalog.task("zeroshot")
    plain = module.run
    monkeypatch.setattr(module, "run", lambda *given: dataclasses.replace(plain(*given), sides=None))
    found = measured(aligned, cache_path)
    assert found.scores.seen is None and any("(Scores.sides)" in note for note in found.scores.notes)


def test_a_run_without_results_is_named_and_not_taken_for_a_repetition(aligned, cache_path, tmp_path):
    shutil.copytree(aligned, tmp_path / "a")
    catalog.save(measured(aligned, cache_path), tmp_path / "a")
    (tmp_path / "b").mkdir()
    with pytest.raises(UserError, match=r"needs two runs with results: .*b has no results yet$"):
        cli_eval.print_compared([tmp_path / "a", tmp_path / "b"], "run", "", [])
