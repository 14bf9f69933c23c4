"""The published few-shot folds of ModelNet40: what is read, and what is no fold."""

import os
import pickle

import numpy as np
import pytest

from cache_schema.errors import UserError
from cache_schema.folds import folds
from pipeline.sources import modelnetfewshot
from pipeline.sources.catalog import open_source


def shape(seed):
    """A cloud of points on a sphere with its normals, as the published files have them."""
    rays = np.random.default_rng(seed).normal(size=(32, 3))
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    return np.hstack([0.5 * rays, rays]).astype(np.float32)


def fold(*, ways=2, shots=2, queries=1, kinds=(8, 33)):
    """The contents of a file."""
    return {
        side: [(shape(10 * way + one), way, np.int32(kinds[way])) for way in range(ways) for one in range(each)]
        for side, each in (("train", shots), ("test", queries))
    }


def saved(folder, what, name="2way_2shot/0.pkl", protocol=3):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(what if isinstance(what, bytes) else pickle.dumps(what, protocol))
    return str(folder)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_fold_is_read_as_it_was_written(tmp_path, protocol):
    made = fold()
    source = open_source(saved(tmp_path, made, protocol=protocol))
    told = [(entry.id, entry.label, entry.split) for entry in source.entries]
    assert told == [
        ("2way2shot/0/test/000000", "chair", "2way2shot-fold0-test"),
        ("2way2shot/0/test/000001", "table", "2way2shot-fold0-test"),
        ("2way2shot/0/train/000000", "chair", "2way2shot-fold0-train"),
        ("2way2shot/0/train/000001", "chair", "2way2shot-fold0-train"),
        ("2way2shot/0/train/000002", "table", "2way2shot-fold0-train"),
        ("2way2shot/0/train/000003", "table", "2way2shot-fold0-train"),
    ]
    cloud = source.reader.read(source.entries[3])
    written = made["train"][1][0]
    assert np.array_equal(cloud.points, written[:, :3]) and np.allclose(cloud.normals, written[:, 3:], atol=1e-6)
    assert cloud.colors is None and not cloud.warnings
    digests = [source.reader.digest(entry) for entry in source.entries]
    assert digests[0] == digests[2], "a query with the data of a training shape is found by its digest"
    assert source.reader.written(source.entries[0]) > 0


def test_all_kinds_of_folds_are_listed_and_none_is_mixed(tmp_path):
    saved(tmp_path, fold(), "ModelNetFewshot/2way2shot/0.pkl")
    saved(tmp_path, fold(kinds=(0, 1)), "ModelNetFewshot/2way2shot/1.pkl")
    saved(tmp_path, fold(shots=1), "ModelNetFewshot/2way_1shot/0.pkl")
    saved(tmp_path, b"notes", "ModelNetFewshot/2way_1shot/readme.pkl")
    source = open_source(str(tmp_path / "ModelNetFewshot"))
    assert [(one.shots, one.number) for one in folds({entry.split for entry in source.entries})] == [(1, 0), (2, 0), (2, 1)]
    assert {entry.label for entry in source.entries if entry.split == "2way2shot-fold1-train"} == {"airplane", "bathtub"}
    assert "folds: 1 of 2-way 1-shot, 2 of 2-way 2-shot" in source.notes[0] and source.skipped == {".pkl elsewhere": 1}


def test_names_of_classes_may_stand_for_their_numbers(tmp_path):
    named = {side: [(cloud, way, ("chair", "table")[way]) for cloud, way, _ in items] for side, items in fold().items()}
    assert open_source(saved(tmp_path / "a", named)).entries == open_source(saved(tmp_path / "b", fold())).entries


def swapped():
    made = fold()
    made["test"][0] = (made["test"][0][0], 1, made["test"][0][2])
    return made


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (fold(shots=3), r"0\.pkl: expected 2 classes with 2 training shapes and queries each, got 2 classes with \[3\] training shapes"),
        (fold(ways=1), "got 1 classes"),
        (fold(kinds=(8, 8)), "one class has two numbers"),
        (fold(kinds=(8, 40)), "the class 40 is none of the 40 of ModelNet40"),
        (swapped(), "the number 1 means 'table' and 'chair'"),
        ({"train": fold()["train"], "test": []}, "queries of 0"),
        ({"train": fold()["train"]}, "expected a dict with the lists train and test, got a dict with train"),
        ([1, 2], "expected a dict with the lists train and test, got list"),
        ({"train": [(1, 2)], "test": []}, r"train 0: expected \(cloud, number of the class in the fold, class\), got tuple"),
        ({"train": [(shape(0), 0.5, 8)], "test": []}, "expected a whole number for the class, got '0.5'"),
        (b"\x80\x03", "no sound pickle"),
    ],
)
def test_a_file_that_is_no_fold_of_its_name_is_refused(tmp_path, what, said):
    with pytest.raises(UserError, match=said):
        open_source(saved(tmp_path, what))


def test_nothing_in_a_file_is_executed(tmp_path):
    class Bad:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    with pytest.raises(UserError, match="is a pickle that asks for"):
        open_source(saved(tmp_path, {"train": [Bad()], "test": []}))
    assert not (tmp_path / "executed").exists()


def test_one_fold_in_two_folders_is_refused(tmp_path):
    saved(tmp_path, fold(), "2way2shot/0.pkl")
    with pytest.raises(UserError, match="two files hold one fold"):
        open_source(saved(tmp_path, fold(), "2way_2shot/0.pkl"))


def test_a_file_that_changes_after_it_was_listed_is_found_out(tmp_path):
    source = open_source(saved(tmp_path, fold()))
    reader, first, last = source.reader, source.entries[0], source.entries[-1]
    reader.read(first)
    saved(tmp_path, fold(kinds=(9, 33), shots=1))
    with pytest.raises(UserError, match="is of 'cone' now, and was of 'chair'"):
        reader.read(first)
    with pytest.raises(UserError, match="there is no train shape 3"):
        reader.read(last)
    (tmp_path / "2way_2shot" / "0.pkl").unlink()
    with pytest.raises(UserError, match=r"no such file: 2way_2shot/0\.pkl"):
        reader.read(first)


def test_the_example_has_the_published_form(tmp_path):
    entries = open_source(modelnetfewshot.write_example(tmp_path, ways=5, shots=10, queries=20, count=2)).entries
    assert len(entries) == 2 * 5 * (10 + 20)
