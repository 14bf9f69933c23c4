"""What a result says beside its number: how many shapes, what chance scores, and how far other shapes might have moved it."""

import csv
import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console

from cache_schema.intervals import wilson
from tests.trainer.test_points import run, write  # noqa: F401
from trainer import checkpoint
from trainer.tasks import catalog, features, finetune, picture, result
from trainer.tasks import table as tables
from trainer.tasks.accuracy import accuracies, by_distance, by_points, counted, in_all
from trainer.tasks.result import Metric
from trainer.tasks.shapes import of_split


@pytest.mark.parametrize(
    ("percent", "count", "low", "high"), [(90, 50, 78.64, 95.65), (0, 10, 0, 27.75), (100, 10, 72.25, 100), (50, 100, 40.38, 59.62)]
)
def test_the_interval_is_wilsons(percent, count, low, high):
    assert wilson(percent, count) == pytest.approx((low, high), abs=0.02)


def test_laser_scans_are_told_by_distance():
    names = ["car/0#0@7.5m", "car/1#0@10.0m", "pole/0#0@19.9m", "pole/1#0@55.0m", "pole/2"]
    labels, guesses = np.array([0, 0, 1, 1, 1]), [np.array([0, 1, 1, 0, 1]), np.array([0, 1, 0, 0, 1])]
    told = by_distance(names, labels, guesses, "blocks", 2)
    assert [(one.name, one.values, one.shapes) for one in told] == [
        ("accuracy at 0-10 m", (100.0, 100.0), 1),
        ("accuracy at 10-20 m", (50.0, 0.0), 2),
        ("accuracy at 40 m and more", (0.0, 0.0), 1),
    ]
    assert all(one.chance == 50 and not one.headline for one in told)
    assert by_distance(["a", "b#1", "c@far", "d", "e"], labels, guesses, "blocks", 2) == (), "other shapes have no distance"


def test_shapes_of_few_points_are_told_by_their_number():
    labels, guesses = np.array([0, 0, 1, 1, 1]), [np.array([0, 1, 1, 0, 1]), np.array([0, 1, 0, 0, 1])]
    told = by_points(np.array([8, 31, 32, 511, 1024]), labels, guesses, "blocks", 2)
    assert [(one.name, one.values, one.shapes) for one in told] == [
        ("accuracy of 0-31 points", (50.0, 50.0), 2),
        ("accuracy of 32-127 points", (100.0, 0.0), 1),
        ("accuracy of 128-511 points", (0.0, 0.0), 1),
        ("accuracy of 512 points and more", (100.0, 100.0), 1),
    ]
    assert by_points(None, labels, guesses, "blocks", 2) == ()


def test_accuracies_say_chance_shapes_and_interval():
    labels = np.array([0] * 30 + [1] * 10 + [2] * 10)
    predictions = [np.where(np.arange(50) % 5 == 0, 3, labels), labels]
    accuracy, by_class = accuracies(labels, predictions, "blocks", 4)
    assert (accuracy.mean, accuracy.shapes, accuracy.chance, accuracy.largest) == (90, 50, 25, 60)
    assert accuracy.interval == pytest.approx(wilson(90, 50)) and by_class.chance == 25
    low, high = by_class.interval
    assert 75 < low < by_class.mean < high <= 100
    again = accuracies(labels, predictions, "blocks", 4)
    assert (accuracy, by_class) == again


@pytest.mark.parametrize(
    ("sizes", "shares"),
    [
        ([1] * 45, 0.6),
        ([2] * 45, 0.7),
        ([2] * 10, 0.9),
        ([6] * 4, 0.95),
        ([6] * 4, 0.93),
        ([5] * 40, 0.9),
        ([1] * 2, 0.5),
        ([1] * 3, 0.9),
        ([50] * 10, 0.9),
        ([1] * 40, 0.02),
        ([100] * 3 + [2] * 7, [0.95] * 3 + [0.5] * 7),
        ([100] * 3 + [2] * 7, [0.5] * 3 + [0.95] * 7),
        ([100, 1], [0.9, 0.9]),
        ([3] * 20, [0.1] * 10 + [0.9] * 10),
    ],
)
def test_the_interval_of_class_accuracy_holds_the_truth(sizes, shares):
    """In at least 90 of 100 draws of test shapes, for classes of few shapes too, and never of width zero."""
    chance, labels = np.random.default_rng(0), np.repeat(np.arange(len(sizes)), sizes)
    shares = np.broadcast_to(shares, len(sizes))
    draws = 400
    intervals = []
    for _ in range(draws):
        right = chance.random(len(labels)) < shares[labels]
        intervals.append(accuracies(labels, [np.where(right, labels, -1)], "blocks", len(sizes))[1].interval)
    held = sum(low - 1e-9 <= 100 * shares.mean() <= high + 1e-9 for low, high in intervals)
    assert held >= 0.9 * draws and all(0 <= low < high - 1 and high <= 100 for low, high in intervals)


@pytest.mark.parametrize(("shape_count", "right"), [(1, 0), (1, 2), (1, 5), (6, 5), (3, 1)])
def test_of_classes_of_one_size_both_accuracies_say_the_same(shape_count, right):
    labels = np.repeat(np.arange(5), shape_count)
    accuracy, by_class = accuracies(labels, [np.where(labels < right, labels, -1)], "blocks", 5)
    assert by_class.mean == pytest.approx(accuracy.mean) and by_class.interval == pytest.approx(accuracy.interval)
    assert by_class.verdict == accuracy.verdict or accuracy.verdict.startswith("as always")


@pytest.mark.parametrize(
    ("value", "chance", "largest", "told"),
    [
        (10.0, 10.0, None, "at chance"),
        (20.0, 10.0, None, ""),
        (3.0, 50.0, None, "below chance"),
        (62.0, 10.0, 60.0, "as always the largest class"),
        (40.0, 10.0, 60.0, "below always the largest class"),
        (90.0, 10.0, 60.0, ""),
    ],
)
def test_what_lies_at_chance_is_said(value, chance, largest, told):
    metric = dataclasses.replace(counted("a", [value], "blocks", 100, chance), largest=largest)
    assert metric.verdict == told and metric.told.endswith(told or "]")
    of_parts = dataclasses.replace(metric, answer="largest part of a kind")
    assert of_parts.verdict == told.replace("largest class", "largest part of a kind")


def test_unknown_numbers_of_old_files_are_unknown():
    old = Metric(name="accuracy", values=(80.0, 82.0), over="blocks", headline=True)
    assert (old.verdict, old.extent, old.base, old.told) == ("", "", "", str(old))


def test_a_result_file_of_an_earlier_version_is_read(run, tmp_path):  # noqa: F811
    found = evaluated(run, write(tmp_path / "c.zarr"))
    body = json.loads(found.json())
    for metric in body["scores"]["metrics"]:
        for name in ("shapes", "interval", "chance", "largest"):
            del metric[name]
    (tmp_path / "old.json").write_text(json.dumps(body))
    old = result.load(tmp_path / "old.json")
    assert old.scores.metrics[0].interval is None and old.scores.metrics[0].mean == found.scores.metrics[0].mean
    assert "unknown" in shown(old.rich()) and shown(tables.table([old]).rich())


def evaluated(run, cache, task="knn", settings=("neighbours=3",)):  # noqa: F811
    return catalog.evaluate(task, checkpoint.load(run), cache, catalog.options(task, settings))


def shown(table, width=80):
    console = Console(width=width, file=None, record=True)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


@pytest.mark.parametrize(
    ("task", "settings", "chance"),
    [
        ("svm", ["c=0.1"], 50),
        ("knn", ["neighbours=3"], 50),
        ("classify", ["epochs=1", "seeds=1"], 50),
        ("fewshot", ["ways=2", "shots=2", "folds=3"], 50),
    ],
)
def test_every_task_says_them(run, tmp_path, task, settings, chance):  # noqa: F811
    cache = write(tmp_path / "c.zarr")
    found = evaluated(run, cache, task, settings)
    first = found.scores.metrics[0]
    assert first.chance == chance and first.shapes == 12 and first.interval[0] < first.mean < first.interval[1] + 1e-9
    body = json.loads(found.json())["scores"]
    assert body["metrics"][0]["chance"] == chance and len(body["metrics"][0]["interval"]) == 2 and body["test"]["shapes"] == 12
    text = shown(found.rich(), 120)
    assert "12 test shapes" in text and f"{first.interval[0]:.1f}" in text and "50.0" in text and "at chance" in text
    table = tables.table([found])
    assert "| 12 | 50.0 |" in table.markdown() and "at chance" in table.markdown()
    assert json.loads(table.json())["rows"][0][1]["chance"] == chance


def test_the_largest_class_is_that_of_all_shapes(run, tmp_path):  # noqa: F811
    """Zero-shot has none over all shapes, and the one at 0-10 m was shown as if it were."""
    found = evaluated(run, write(tmp_path / "c.zarr"))
    first = found.scores.metrics[0]
    near = dataclasses.replace(first, name="top-1 at 0-10 m", headline=False, largest=87.5)
    for metrics, told in (((first, near), "Always the largest class: 50.0."), ((dataclasses.replace(first, largest=None), near), "")):
        text = shown(dataclasses.replace(found, scores=dataclasses.replace(found.scores, metrics=metrics)).rich(), 200)
        assert "87.5" not in text and (told in text if told else "Always" not in text)


def test_the_picture_says_them(run, tmp_path, monkeypatch):  # noqa: F811
    titles = []
    monkeypatch.setattr(picture, "as_png", lambda figure: (titles.append(figure.axes[0].get_title()), b"x")[1])
    catalog.save(evaluated(run, write(tmp_path / "c.zarr")), tmp_path)
    assert "chance 50.0" in titles[0] and "12 test shapes" in titles[0] and "at chance" in titles[0] and "[" in titles[0]


def test_every_form_of_a_table_has_the_notes(run, tmp_path):  # noqa: F811
    found = evaluated(run, write(tmp_path / "c.zarr"), "knn", ["neighbours=3"])
    noted = dataclasses.replace(found, scores=dataclasses.replace(found.scores, notes=("out of date, a b", "two")))
    other = dataclasses.replace(found, run="other", settings=(*found.settings, ("more", "1")))
    table = tables.table([noted, other])
    assert all(any(note in told for told in table.notes) for note in (*noted.scores.notes, "Not comparable"))
    assert all(note in table.markdown() for note in table.notes) and json.loads(table.json())["notes"] == list(table.notes)
    first, second = csv.DictReader(table.csv().splitlines())
    assert first["notes"].startswith("out of date, a b; two; Not comparable: ") and "more None / 1" in first["notes"]
    assert second["notes"] == first["notes"].removeprefix("out of date, a b; two; ")


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize(("runs", "tasks"), [(1, 1), (1, 9), (9, 1), (9, 9), (30, 2)])
def test_no_number_of_a_table_is_broken(run, tmp_path, runs, tasks, width):  # noqa: F811
    found = evaluated(run, write(tmp_path / "c.zarr"))
    several = [dataclasses.replace(found, task=f"task-{j}", run=f"a-run-of-some-name-{i}") for i in range(runs) for j in range(tasks)]
    table = tables.table(several)
    lines = shown(table.rich(width), width).splitlines()
    metric = table.lines[0].cells[0]
    for part in (str(metric), metric.extent, "at chance"):
        assert sum(line.count(part) for line in lines) >= runs * tasks and all(len(line) <= width for line in lines)
    piped = shown(table.rich(None), 10_000)
    assert all(f"a-run-of-some-name-{i} " in piped for i in range(runs)) and all(
        f"task-{j} neighbours=3, c test" in piped for j in range(tasks)
    )


def test_long_names_are_folded_in_a_terminal_and_whole_in_a_pipe(run, tmp_path):  # noqa: F811
    long = "a/very/long/path/to/the/folder/of/a/run" * 3
    found = dataclasses.replace(evaluated(run, write(tmp_path / "c.zarr")), run=long)
    for width in (40, 80):
        text = shown(tables.table([found]).rich(width), width)
        assert "…" not in text and text.count("/") >= long.count("/") and str(found.scores.metrics[0]) in text
    assert long in shown(tables.table([found]).rich(None), 10_000)


def test_the_caption_counts_the_shapes_that_were_asked(run, tmp_path):  # noqa: F811
    found = evaluated(run, write(tmp_path / "c.zarr"), "fewshot", ["ways=2", "shots=1", "queries=1", "folds=1"])
    assert found.scores.metrics[0].shapes == 2 and "last epoch, 2 test shapes" in " ".join(shown(found.rich(), 200).split())


def test_a_run_without_results_does_not_fail_the_others(run, tmp_path):  # noqa: F811
    evaluated(run, write(tmp_path / "c.zarr")).save(tmp_path / "with")
    (tmp_path / "without").mkdir()
    table = tables.table(tables.collect([tmp_path / "with", tmp_path / "without", tmp_path / "gone"]))
    assert len(table.names) == 1 and f"{tmp_path / 'without'} has no results yet: it is left out." in table.notes
    assert f"{tmp_path / 'gone'} does not exist: it is left out." in table.notes


@pytest.mark.parametrize("task", ["svm", "knn"])
def test_a_cache_without_splits_is_told_how_to_get_some(run, tmp_path, task):  # noqa: F811
    cache = write(tmp_path / "c.zarr")
    cache.manifest = dataclasses.replace(cache.manifest, splits=())
    with pytest.raises(ValueError, match=r"`mmpd-cache build SOURCE CACHE --set source\.split=0\.8`"):
        evaluated(run, cache, task, [])


# --------------------------------------------------------------------------------------------------- batches of one shape


@pytest.mark.parametrize("batch", range(1, 5))
@pytest.mark.parametrize("count", range(2, 10))
def test_no_batch_has_one_shape(run, tmp_path, count, batch):  # noqa: F811
    if batch == 1:
        with pytest.raises(ValueError, match="batch must be at least 2, got 1"):
            finetune.Classifying(batch=batch)
        return
    sizes = [len(part) for part in np.array_split(np.arange(count), finetune.batches(count, batch))]
    assert min(sizes) >= 2 and max(sizes) <= max(batch, 3) and sum(sizes) == count


@pytest.mark.parametrize("count", [2, 3, 5, 7, 9])
@pytest.mark.parametrize("tune", ["full", "mlp"])
def test_fine_tuning_goes_through_with_odd_numbers(run, tmp_path, count, tune):  # noqa: F811
    shapes = of_split(write(tmp_path / "c.zarr"), "all").of(np.arange(count))
    body = features.Body.of(checkpoint.load(run).model, "mean_max")
    with features.seeded(0, torch.device("cpu")):
        assert len(list(finetune.fit(body, shapes, finetune.Classifying(tune=tune, epochs=1, batch=2), 0))) == 1


def test_few_shot_by_fine_tuning_goes_through_with_an_odd_support(run, tmp_path):  # noqa: F811
    settings = ["ways=2", "shots=1", "folds=1", "by=finetune", "training.epochs=1", "training.batch=2"]
    assert evaluated(run, write(tmp_path / "c.zarr"), "fewshot", settings).scores.metrics


def test_one_function_tells_ranges_beside_the_accuracy_where_shapes_differ_in_them():
    labels, guesses = np.array([0, 1, 1]), [np.array([0, 1, 0])]
    shapes = SimpleNamespace(labels=labels, classes=("car", "pole"), ids=["a@5m", "b@15m", "c@15m"], different=np.array([1024, 20, 1024]))
    assert in_all(shapes, guesses, "seeds") == (
        *accuracies(labels, guesses, "seeds", 2),
        *by_distance(shapes.ids, labels, guesses, "seeds", 2),
        *by_points(shapes.different, labels, guesses, "seeds", 2),
    )
    plain = SimpleNamespace(labels=labels, classes=("car", "pole"), ids=["a", "b", "c"], different=None)
    assert in_all(plain, guesses, "seeds") == accuracies(labels, guesses, "seeds", 2)
