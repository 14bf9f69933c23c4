"""The machinery of the study, with commands that do nothing: what is run when, what survives a stop, and what is refused."""

import dataclasses
import io
import itertools
import json
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest

SCIENCE = Path(__file__).parents[1] / "science"
sys.path.insert(0, str(SCIENCE))

import elsewhere  # noqa: E402
import jobs  # noqa: E402
import page  # noqa: E402
import report  # noqa: E402
import rows  # noqa: E402
import score  # noqa: E402
import seeds as simulated  # noqa: E402
import study  # noqa: E402
import testsets  # noqa: E402
import untaught  # noqa: E402
from jobs import Job, Ledger  # noqa: E402

from cache_schema import synthetic  # noqa: E402
from cache_schema.spec import LabelSet, PointSpec  # noqa: E402
from cache_schema.store import Cache, open_cache  # noqa: E402
from pipeline.edits import relabel  # noqa: E402
from pipeline.starter.kinds.catalog import KINDS  # noqa: E402
from tests.boxes import Silent  # noqa: E402
from trainer import checkpoint  # noqa: E402
from trainer.guide import write as write_guide  # noqa: E402
from trainer.loop import train  # noqa: E402
from trainer.recipes import configured  # noqa: E402
from trainer.tasks import catalog  # noqa: E402


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A folder of commands of ours that write their words into a file, and fail if one of them is `broken`."""
    monkeypatch.setattr(jobs, "BIN", tmp_path / "bin")
    monkeypatch.setattr(jobs, "LOOK", 0.01)
    (tmp_path / "bin").mkdir()
    for name in ("mmpd-cache", "mmpd-train"):
        script = tmp_path / "bin" / name
        script.write_text('#!/bin/sh\necho "$(basename $0) $*" >> said\ncase " $* " in *" broken "*) echo no weights; exit 3;; esac\n')
        script.chmod(0o755)
    return tmp_path


def said(folder):
    return (folder / "said").read_text().splitlines()


def job(name, *words, after=(), **more):
    return Job(name=name, command=("mmpd-train", *words), after=after, **more)


def test_jobs_run_once_each_after_what_they_need(fake):
    plan = [job("a/1", "first"), job("b/2", "second", after=("a/1",)), job("b/3", "third", after=("a/1",), writes="x")]
    assert Ledger(fake).work(plan, slots=2) == []
    assert said(fake)[0] == "mmpd-train first" and sorted(said(fake)) == [f"mmpd-train {word}" for word in ("first", "second", "third")]
    assert Ledger(fake).work(plan, slots=2) == [] and len(said(fake)) == 3, "what is done is not run again"
    kept = json.loads((fake / "jobs/b/2.json").read_text())
    assert kept["done"] and kept["command"] == ["mmpd-train", "second"] and kept["seconds"] >= 0 and kept["commit"] == jobs.commit()


def test_a_job_that_fails_stops_only_those_that_need_it(fake):
    plan = [job("a", "broken"), job("b", "later", after=("a",)), job("c", "last", after=("b",)), job("d", "other")]
    assert Ledger(fake).work(plan, slots=1) == ["a", "b", "c"]
    assert said(fake) == ["mmpd-train broken", "mmpd-train other"]
    assert Ledger(fake).work(plan, slots=1) == ["a", "b", "c"], "it is tried again"


def test_another_command_of_the_same_name_is_refused(fake):
    Ledger(fake).work([job("a", "one"), job("g", "one", grows=True)], slots=1)
    with pytest.raises(SystemExit, match=r"is of the command\n  mmpd-train one\nand now it is\n  mmpd-train two"):
        Ledger(fake).work([job("a", "two")], slots=1)
    assert Ledger(fake).work([job("g", "one", "two", grows=True)], slots=1) == []
    assert said(fake)[-1] == "mmpd-train one two"


def test_a_job_that_failed_before_it_made_anything_may_get_another_command(fake, capsys):
    made = fake / "made"
    assert Ledger(fake).work([job("a", "broken", made=made.exists)], slots=1) == ["a"]
    assert f"FAILED a: no weights, see {fake}/jobs/a.log\n" in capsys.readouterr().out
    made.touch()
    with pytest.raises(SystemExit, match="and now it is"):
        Ledger(fake).work([job("a", "other", made=made.exists)], slots=1)
    made.unlink()
    assert Ledger(fake).work([job("a", "other", made=made.exists)], slots=1) == []


def test_a_cache_that_was_built_anew_is_noticed(fake):
    plan = [job("a", "one", reads=("c.zarr",))]
    assert Ledger(fake).work(plan, slots=1) == []
    synthetic.write(fake / "c.zarr", shapes=4, points=PointSpec(count=64, blocks=1, ordered=32))
    assert Ledger(fake).done(plan[0]), "there was no cache when it ran"
    plan = [job("b", "one", reads=("c.zarr",))]
    assert Ledger(fake).work(plan, slots=1) == [] and Ledger(fake).done(plan[0])
    shutil.rmtree(fake / "c.zarr")
    synthetic.write(fake / "c.zarr", shapes=4, points=PointSpec(count=64, blocks=2, ordered=32))
    with pytest.raises(SystemExit, match=r"b\.json is of c\.zarr as it was before it was built anew"):
        Ledger(fake).work(plan, slots=1)


def relabelled(cache, column, value):
    """Change one thing of the first shape of a cache by `mmpd-cache relabel`. Returns what it was."""
    there = open_cache(cache)
    names = {"class": there.manifest.classes, "split": there.manifest.splits}
    was = str(there.ids()[0]) if column == "name" else names[column][there.column({"class": "label", "split": "split"}[column])[0]]
    table = cache.with_suffix(f".{column}.csv")
    table.write_text(f"id,{column}\n{there.ids()[0]},{value}\n")
    relabel(cache, table, Silent())
    return was


@pytest.mark.parametrize("column", ["class", "split", "name"])
def test_a_job_on_a_cache_that_was_relabelled_since_is_refused_or_run_again(fake, column):
    cache = synthetic.write(fake / "c.zarr", shapes=4, points=PointSpec(count=64, blocks=1, ordered=32)).path
    plan = [job("train", "one", reads=("c.zarr",)), job("again", "two", reads=("c.zarr",), grows=True)]
    assert Ledger(fake).work(plan, slots=1) == []
    assert Ledger(fake).work(plan, slots=1) == [] and len(said(fake)) == 2
    was = relabelled(cache, column, "other")
    with pytest.raises(SystemExit, match=r"train\.json is of c\.zarr as it was before its classes, splits or names changed"):
        Ledger(fake).work(plan, slots=1)
    if column == "name":
        relabelled(cache, column, was)
        assert Ledger(fake).done(plan[0]), "its labels are those of then again"
        relabelled(cache, column, "other")
    assert Ledger(fake).work(plan[1:], slots=1) == [] and said(fake)[2:] == ["mmpd-train two"]
    noted = json.loads((fake / "jobs/train.json").read_text())
    del noted["labels"]
    (fake / "jobs/train.json").write_text(json.dumps(noted))
    assert Ledger(fake).done(plan[0]), "an earlier version did not note labels"


def test_labels_are_those_that_a_job_began_with(fake):
    """The command relabels its cache while it runs."""
    cache = synthetic.write(fake / "c.zarr", shapes=4, points=PointSpec(count=64, blocks=1, ordered=32)).path
    before = jobs.labels_of(cache)
    script = fake / "bin" / "mmpd-train"
    table = fake / "t.csv"
    table.write_text(f"id,split\n{open_cache(cache).ids()[0]},other\n")
    code = "from pathlib import Path; from pipeline.edits import relabel; from tests.boxes import Silent; import sys; "
    code += "relabel(*map(Path, sys.argv[1:]), Silent())"
    script.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{code}' {cache} {table}\n")
    assert Ledger(fake).work([job("a", "x", reads=("c.zarr",))], slots=1) == []
    assert jobs.labels_of(cache) != before and Ledger(fake).read("a")["labels"] == {"c.zarr": before}


def test_a_build_that_was_stopped_goes_on(fake, monkeypatch):
    plan = [job("a", "build"), job("b", "one", after=("a",), reads=("c.zarr",))]
    finish = Cache.finish
    monkeypatch.setattr(Cache, "finish", lambda cache, record: 1 / 0 if record.kind == "points" else finish(cache, record))
    with pytest.raises(ZeroDivisionError):
        synthetic.write(fake / "c.zarr", shapes=4, points=PointSpec(count=64, blocks=1, ordered=32))
    assert (fake / "c.zarr/zarr.json").exists()
    assert Ledger(fake).work(plan, slots=1) == [] and said(fake) == ["mmpd-train build", "mmpd-train one"]


def test_one_ledger_works_in_a_folder_at_a_time(fake):
    with Ledger(fake)._alone(), pytest.raises(SystemExit, match="another command is at work in"):
        Ledger(fake).work([job("a", "one")], slots=1)
    assert Ledger(fake).work([job("a", "one")], slots=1) == []


STUCK = """
import sys, jobs
from pathlib import Path
jobs.BIN = Path(sys.argv[1]) / "bin"
jobs.EVERY = 0.0
print(jobs.Ledger(Path(sys.argv[1])).work([jobs.Job(name="a", command=("mmpd-train", "x"))], slots=1))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not end a process whose parent ends")
def test_after_kill_9_nothing_runs_on_and_the_time_adds_up(fake):
    """The command spends time and never ends; then it is replaced by one that does."""
    script = fake / "bin" / "mmpd-train"
    script.write_text("#!/bin/sh\necho $$ > number\nwhile :; do :; done\n")
    parent = subprocess.Popen([sys.executable, "-c", STUCK, str(fake)], cwd=SCIENCE, stdout=subprocess.DEVNULL)
    while not (fake / "jobs/a.json").exists() or not json.loads((fake / "jobs/a.json").read_text())["seconds"] >= 0.05:
        assert parent.poll() is None
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    number = int((fake / "number").read_text())
    while Path(f"/proc/{number}/stat").exists() and Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.02)
    before = json.loads((fake / "jobs/a.json").read_text())
    assert not before["done"]
    script.write_text("#!/bin/sh\nexit 0\n")
    assert Ledger(fake).work([job("a", "x")], slots=1) == []
    after = json.loads((fake / "jobs/a.json").read_text())
    assert after["done"] and after["seconds"] >= before["seconds"]


def test_ctrl_c_ends_what_runs(fake, monkeypatch):
    (fake / "bin" / "mmpd-train").write_text("#!/bin/sh\nexec sleep 1000\n")
    ledger, stops = Ledger(fake), [KeyboardInterrupt()]

    def stop(_):
        if stops:
            raise stops.pop()

    monkeypatch.setattr(jobs.time, "sleep", stop)
    with pytest.raises(KeyboardInterrupt):
        ledger.work([job("a", "x")], slots=1)
    monkeypatch.undo()
    assert not ledger.read("a")["done"]


# ------------------------------------------------------------------------------------------------------------ the plan


def test_every_row_can_be_planned_and_comes_after_what_it_needs(tmp_path):
    """Settings and recipes of all rows are valid; `configured` would raise otherwise."""
    (tmp_path / "data").mkdir()
    names = list(testsets.COLLECTIONS)
    plan = study.Study(tmp_path / "s", {"epochs": 2, "shapes": 4, "precision": "bfloat16"}, tmp_path / "data").jobs(
        rows.order(list(rows.ROWS)), 2, names
    )
    known: set[str] = set()
    for one in plan:
        assert known.issuperset(one.after), f"{one.name} comes before what it needs"
        known.add(one.name)
    assert len(known) == len(plan)
    assert {f"train/{rows.slug(name, seed)}" for name in rows.ROWS for seed in (0, 1)} <= known
    by_name = {one.name: " ".join(one.command) for one in plan}
    assert "--init runs/stage-1-1 --set" in by_name["train/stage-2-1"] and "--guide stage-1-1" in by_name["train/stage-2-1"]
    assert "guide_online=true" in by_name["train/online-0"] and "--guide " not in by_name["train/online-0"]
    assert "optim.epochs=4" in by_name["train/twice-stage-1-0"] and "optim.epochs" not in by_name["train/scratch-0"]
    trained = [name for name in by_name if name.startswith("train/")]
    assert trained.index("train/stage-2-1") < trained.index("train/no-shuffle-0"), "the main rows come first, with all their seeds"


def test_rows_with_captions_of_their_own_are_trained_on_an_overlay_and_no_other_row_is(tmp_path):
    plan = study.Study(tmp_path / "s", {"epochs": 2, "shapes": 4, "precision": "float32"}, None, keep=False).jobs(
        rows.order(["stage 1", "several views", "hard prompts"]), 1, ["starter"]
    )
    made = {one.name: one for one in plan}
    assert {name for name in made if name.startswith("captions/")} == {"captions/descriptions", "captions/wrong-descriptions"}
    added = made["captions/wrong-descriptions"]
    assert added.command[2:] == ("caches/starter.zarr", "wrong-descriptions", "--overlay", "caches/starter-words.zarr")
    assert added.after == ("build/starter",) and added.writes == made["captions/descriptions"].writes == "starter-words"
    hard, plain = made["train/hard-prompts-0"], made["train/several-views-0"]
    assert hard.command[2] == "caches/starter-words.zarr" and {"captions/descriptions", "captions/wrong-descriptions"} <= set(hard.after)
    assert plain.command[2] == made["train/stage-1-0"].command[2] == "caches/starter.zarr"
    assert {row.group for row in rows.ROWS.values() if row.captions} == {"language"}
    assert report.TITLES.keys() == set(get_args(rows.Group))


def test_a_teacher_of_the_study_is_taught_first_without_the_unseen_kinds(tmp_path, monkeypatch):
    named = "on point-mae, stage 2, untaught"
    plan = study.Study(tmp_path / "s", {"epochs": 2, "shapes": 4, "precision": "float32"}, None, keep=False).jobs(
        rows.order([named, "stage 1, names"]), 1, ["starter"]
    )
    made = {one.name: one for one in plan}
    teach, added, learned = (made[name] for name in ("teach/starter-resnet-35", "taught/starter-resnet-35", "train/stage-1-names-0"))
    assert added.command[3] == f"{rows.UNTAUGHT}=open_clip:{teach.command[1]}/starter-resnet" and teach.name in added.after
    assert added.command[-1] == "caches/starter-untaught.zarr" and learned.command[2] == "caches/starter.zarr"
    aligned, distilled = made["train/on-point-mae-stage-1-untaught-0"], made["train/on-point-mae-stage-2-untaught-0"]
    assert aligned.command[2] == "caches/starter-untaught.zarr" and added.name in aligned.after
    assert distilled.command[2] == "caches/starter.zarr"  # a guide's features lie there, and it reads no teacher
    asked = {}
    monkeypatch.setattr(untaught.train, "main", lambda folder, **settings: asked.update(settings))
    monkeypatch.setattr(sys, "argv", ["untaught.py", "there"])
    untaught.main()
    assert set(asked["without"]) == set(testsets.UNSEEN) and asked["only"] == [rows.ONE]


def test_rows_with_other_pictures_are_trained_on_a_cache_of_the_same_shapes(tmp_path):
    plan = study.Study(tmp_path / "s", {"epochs": 2, "shapes": 4, "precision": "float32"}, None, keep=False).jobs(
        rows.order(["chosen-2 views", "ring-4 views"]), 1, ["starter"]
    )
    made = {one.name: " ".join(one.command) for one in plan}
    chosen, ring, usual = (made[f"build/starter{name}"] for name in ("-chosen-2", "-ring-4", ""))
    shapes = [word for word in usual.split() if word.startswith(("source.", "points."))]
    assert all(word in one.split() for word in shapes for one in (chosen, ring)), "the same shapes and points"
    assert "views.policy=coverage --set views.policy.count=2" in chosen and chosen.count("views.rig=") == ring.count("views.rig=") == 1
    assert made["train/chosen-2-views-0"].split()[2] == "caches/starter-chosen-2.zarr"
    assert f"teachers={rows.ONE}" in chosen and f"data.teachers={rows.ONE}" in made["train/chosen-2-views-0"]
    assert rows.HALF.keys() | rows.HALF.values() == rows.VIEWS.keys()


def test_rows_are_compared_with_rows_of_their_family():
    for name, row in rows.ROWS.items():
        if row.against:
            encoder = [
                [one for one in rows.ROWS[own].settings if one.startswith("encoder.name=")][:1] or ["encoder.name=" + rows.ENCODER]
                for own in (name, row.against)
            ]
            assert row.against != name and encoder[0] == encoder[1], name
    assert rows.ROWS["stage 2, pointmamba"].against == "point-mae, pointmamba" and rows.ROWS["no shuffle"].against == "stage 2"


def test_a_row_must_not_be_trained_on_a_final_set(tmp_path, monkeypatch):
    monkeypatch.setitem(rows.ROWS, "bad", rows.Row(group="ablations", about="-", stage="distill", also=("unseen",)))
    made = study.Study(tmp_path / "s", {"epochs": 2, "shapes": 4, "precision": "float32"}, None, keep=False)
    with pytest.raises(AssertionError, match="row bad is trained on unseen, which is kept for final numbers"):
        made.jobs(["bad"], 1, ["starter"])


def test_a_row_may_start_from_one_row_and_be_guided_by_another(tmp_path, monkeypatch):
    monkeypatch.setitem(
        rows.ROWS, "both", rows.Row(group="ablations", about="-", stage="distill", init="point-mae", guide="stage 1", also=("shrec16",))
    )
    (tmp_path / "data").mkdir()
    made = study.Study(tmp_path / "s", {"epochs": 2, "shapes": 4, "precision": "float32"}, tmp_path / "data")
    plan = {one.name: one for one in made.jobs(rows.order(["both"]), 1, ["starter"])}
    words = " ".join(plan["train/both-0"].command)
    assert "--also caches/shrec16.zarr --guide stage-1-0 --init runs/point-mae-0 " in words and "start=run" in words
    assert {"build/shrec16", "train/point-mae-0", "train/stage-1-0", "guide/stage-1-0"} <= set(plan["train/both-0"].after)


def test_kinds_and_tests_are_what_they_say():
    seen = {name.replace("_", " ") for name in testsets.SEEN.split()}
    assert seen | set(testsets.UNSEEN) == set(KINDS) and not seen & set(testsets.UNSEEN)
    assert len(testsets.UNSEEN) == 10 and study.KINDS == len(seen)
    page = (SCIENCE / "held_out.md").read_text()
    development, _, final = page.partition("## For final numbers alone")
    for name, one in testsets.COLLECTIONS.items():
        assert f"`{name}`" in (final if one.use == "final" else development), f"{name} is not in its table of held_out.md"
    for test in testsets.TESTS.values():
        assert test.collection in testsets.COLLECTIONS
        catalog.options(test.task, test.settings)


def test_no_set_that_is_looked_at_before_the_end_has_an_unseen_kind():
    """Starter shapes that are trained on or developed with name their kinds, and none of the ten is among them."""
    early = {name: one for name, one in testsets.COLLECTIONS.items() if one.use == "development" and "starter" in one.location}
    assert {"starter", "designs", "materials", "drawers"} <= set(early)
    for name, one in early.items():
        (kinds,) = (text.partition("=")[2].split(",") for text in one.settings if text.startswith("source.classes="))
        assert not set(kinds) & set(testsets.UNSEEN) and set(kinds) <= set(KINDS), name


def test_a_tested_scan_is_the_only_one_of_its_object():
    """Two scans of one object would count as two independent shapes in a paired test."""
    for name, one in testsets.COLLECTIONS.items():
        if one.location.startswith("scan:") and one.tested:
            assert "source.copies=1" in one.settings, name


def asked(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["study.py", *map(str, words)])
    study.main()


def test_final_sets_are_refused_before_the_end(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        asked(monkeypatch, tmp_path / "s", "--collections", "unseen", "--plan")
    assert "unseen: for final numbers alone (science/held_out.md)" in capsys.readouterr().err
    asked(monkeypatch, tmp_path / "s", "--collections", "unseen", "--plan", "--final", "--rows", "scratch")
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["cd", str(tmp_path / "s")] and lines[1][:2] == ["mmpd-cache", "build"], "every line can be pasted"
    scores = next(line for line in lines if "unseen 5-shot" in line and "runs/scratch-0" in line)
    assert scores[0] == "python" and Path(scores[1]).name == "score.py" and Path(scores[1]).is_file()
    assert not (tmp_path / "s").exists(), "a plan writes nothing"
    with pytest.raises(SystemExit):
        asked(monkeypatch, tmp_path / "s", "--collections", "shrec16", "--plan")
    assert "shrec16: real meshes need --data" in capsys.readouterr().err
    study.Study(tmp_path / "s", {"epochs": 100, "shapes": 64, "precision": "float32"}, None)
    with pytest.raises(SystemExit, match=r"holds results of epochs 100, asked 7: choose another folder"):
        asked(monkeypatch, tmp_path / "s", "--collections", "starter", "--plan", "--epochs", 7)


# ---------------------------------------------------------------------------------------------------------- the tables


ASKED = {"epochs": 5, "shapes": 4, "precision": "float32"}


def scored(folder, row, seed, right, points="p", test="shrec16 SVM", task="svm"):
    """A score of a run on a test by the commands of a study of the settings `ASKED`: one block of shapes of class 1."""
    metric = {"name": "accuracy", "values": [100 * sum(right) / len(right)], "over": "blocks", "headline": True, "shapes": len(right)}
    kept = {"metric": "accuracy", "shapes": "x", "truth": " ".join("1" * len(right)), "predicted": [" ".join(map(str, right))]}
    data = {"cache": "shrec16", "points": points, "split": "test", "shapes": len(right)}
    scores = {"test": data, "metrics": [metric], "predictions": [kept], "notes": ["said"]}
    result = {
        "task": task,
        "run": "r",
        "setup": "s",
        "trial": "t",
        "weights": "w",
        "protocol": "last epoch",
        "settings": [],
        "scores": scores,
    }
    path = folder / "scores" / rows.slug(row, seed) / f"{test}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    run = rows.slug(row, seed)
    asked = score.command(testsets.TESTS[test], Path("runs") / run)
    path.write_text(json.dumps({"command": asked, "weights": "w", "commit": "c", "seconds": 1.5, "result": result}))
    Ledger(folder).note(study.Study(folder, ASKED, None, keep=False)._train(rows.ROWS[row], row, seed), 100 + seed, done=True)
    return path


def test_tables_have_means_deviations_and_marks(tmp_path):
    for seed in range(3):
        scored(tmp_path, "point-mae", seed, [1] * 30 + [0] * 30)
        scored(tmp_path, "stage 1", seed, [1] * 50 + [0] * 10)
        scored(tmp_path, "stage 2", seed, [1] * 31 + [0] * 29)
    made = study.Study(tmp_path, ASKED, None)
    (tmp_path / "ceilings").mkdir()
    (tmp_path / "ceilings/shrec16 SVM.json").write_text(json.dumps({"values": {"starter-resnet": [77.0]}, "seconds": 1}))
    text = report.write(made)
    assert "| stage 1 | three teachers, captions and class names | 5 | point-mae | 83.3 ± 0.0 ▲ |" in text
    assert "| stage 2 | and distillation of that guide | 5 + 5 | point-mae | 51.7 ± 0.0 |" in text
    assert "| *starter-resnet* | *ceiling: embeddings of pictures* |  |  | 77.0 |" in text
    data = json.loads((tmp_path / "study.json").read_text())
    one = next(number for number in data["numbers"] if number["row"] == "stage 2" and number["seed"] == 1)
    trained = report.training(data, one)
    assert (
        trained["command"].startswith("mmpd-train distill caches/starter.zarr runs/stage-2-1 ")
        and trained["seconds"] == 101
        and one["all_seconds"] == 202
        and one["notes"] == ["said"]
    )
    assert trained == {"command": trained["command"], "done": True, "seconds": 101, "commit": jobs.commit()}
    assert report.once(data) == data
    earlier = [
        number | {f"train_{key}": report.training(data, number)[key] for key in ("command", "seconds", "commit")}
        for number in data["numbers"]
    ]
    assert report.once(data | {"numbers": earlier}) == data, "earlier versions repeated the training in each number"
    assert report.once(data | {"numbers": earlier, "jobs": {}})["jobs"]["train/stage-2-1"] == trained
    with pytest.raises(SystemExit, match="stage 2, seed 1: its number and its job tell different trainings"):
        report.once(data | {"numbers": earlier, "jobs": data["jobs"] | {"train/stage-2-1": trained | {"seconds": 1}}})
    assert {(c["row"], c["test"]) for c in data["comparisons"]} == {("stage 1", "shrec16 SVM"), ("stage 2", "shrec16 SVM")}
    assert (tmp_path / "study.md").read_text() == text and data["hours"] == round(sum(100 + s for s in range(3)) * 3 / 3600, 2)


def small_cache(path, **points):
    path.parent.mkdir(exist_ok=True)
    return synthetic.write(path, shapes=4, points=PointSpec(count=64, blocks=1, ordered=32, **points))


@pytest.fixture
def carried(tmp_path):
    """A study with three rows of seed 0, and a folder elsewhere that goes on with it."""
    here, there = tmp_path / "here", tmp_path / "there"
    for row in ("point-mae", "stage 1", "stage 2"):
        scored(here, row, 0, [1] * 30 + [0] * 30)
    small_cache(here / "caches/starter.zarr")
    made = study.Study(here, ASKED, None)
    made.ledger.note(made._build("starter"), 9, done=True)
    (here / "runs/point-mae-0").mkdir(parents=True)
    (here / "runs/point-mae-0/weights").write_text("large")
    assert elsewhere.pack(here, tmp_path / "s.tar.xz") == 3 == elsewhere.unpack(tmp_path / "s.tar.xz", there)
    return made, study.Study(there, ASKED, None)


def test_a_study_goes_on_elsewhere_with_its_numbers(carried, monkeypatch):
    here, there = carried
    assert sorted(path.name for path in there.folder.iterdir()) == ["elsewhere.json", "jobs", "scores", "settings.json"]
    before, after = here.numbers(), there.numbers()
    assert [one | {"file": ""} for one in after[0]] == [one | {"file": "", "elsewhere": True} for one in before[0]] and not after[1]
    text = report.write(there)
    assert "Not checked again: from another machine" in text and "- seed 0: point-mae; stage 1; stage 2." in text
    assert "another machine" not in report.write(here) and here.hours() == there.hours()
    found = {one.name: one for one in there.jobs(rows.order(["stage 2"]), 2, ["starter"])}
    left = {name for name, one in found.items() if not there.ledger.done(one)}
    assert left & {"build/starter", "train/stage-1-1", "train/stage-2-1"} == {"build/starter", "train/stage-1-1", "train/stage-2-1"}
    assert not {"train/stage-1-0", "guide/stage-1-0", "train/stage-2-0", "score/stage-2-0"} & left, "their weights are not here"
    assert there.unscored(list(found.values()))[0].startswith("stage-1-0, trained elsewhere, has no score on starter SVM")
    row = rows.ROWS["point-mae"]
    monkeypatch.setitem(rows.ROWS, "point-mae", dataclasses.replace(row, settings=(*row.settings, "optim.lr=1")))
    assert {one["row"] for one in there.numbers()[1]} == {"point-mae"}, "its other seeds would be of this command"
    with pytest.raises(SystemExit, match="and now it is"):
        there.ledger.done(there._train(rows.ROWS["point-mae"], "point-mae", 0))


def test_what_is_trained_elsewhere_needs_the_same_caches_and_weights(carried, fake, tmp_path):
    _, there = carried
    new, ledger = there._train(rows.ROWS["point-mae"], "point-mae", 1), there.ledger
    assert ledger.refuses(new) == "", "its cache is not built yet"
    small_cache(there.folder / "caches/starter.zarr")
    assert ledger.refuses(new) == ""
    shutil.rmtree(there.folder / "caches/starter.zarr")
    small_cache(there.folder / "caches/starter.zarr", seed=7)
    assert "of caches/starter.zarr, which is not the cache of the seeds that were trained elsewhere: it has other points" in ledger.refuses(
        new
    )
    assert "copy teachers/" not in ledger.refuses(new)
    teacher = next(iter(elsewhere.read(there.folder)["caches/starter.zarr"]["products"])).rpartition("/")[2]
    (there.folder / "teachers" / teacher).mkdir(parents=True)
    said_so = f"copy teachers/{teacher}/starter-resnet from the first machine, remove caches/starter.zarr and jobs/taught/{teacher}.json"
    assert said_so in ledger.refuses(new)
    shutil.rmtree(there.folder / "teachers")
    assert len(there.numbers()[0]) == 3, "those of before were measured on theirs"
    elsewhere.pack(there.folder, tmp_path / "t.tar.xz")
    elsewhere.unpack(tmp_path / "t.tar.xz", tmp_path / "third")
    assert elsewhere.read(tmp_path / "third") == elsewhere.read(there.folder), "the numbers are still of the first cache"
    unfinished = {place: one | {"products": {}, "files": ""} for place, one in elsewhere.read(there.folder).items()}
    (tmp_path / "third" / elsewhere.FILE).write_text(json.dumps(unfinished))
    (tmp_path / "third/caches").symlink_to(there.folder / "caches")
    assert elsewhere.differs(tmp_path / "third", "caches/starter.zarr") == "", "it was packed while the cache was built"
    assert ledger.work([job("train/x-1", "new", beside=("caches/starter.zarr",))], slots=1) == ["train/x-1"], "it fails"
    shutil.rmtree(there.folder / "caches/starter.zarr")
    relabelled(small_cache(there.folder / "caches/starter.zarr").path, "class", "sofa")
    assert "it has other labels of its shapes" in ledger.refuses(new)
    shutil.rmtree(there.folder / "caches/starter.zarr")
    other = there._train(rows.ROWS["stage 2"], "stage 2", 0)
    assert "of stage-1-0, trained elsewhere: copy runs/stage-1-0 from there, or train other seeds" in ledger.refuses(other)


def test_jobs_that_were_done_elsewhere_are_run_here_if_they_are_of_no_run(fake):
    kept = {"command": ["mmpd-train", "first"], "done": True, "seconds": 5, "commit": "c", "elsewhere": True}
    for name in ("build/a", "teach/t", "train/x-0"):
        (fake / "jobs" / name).parent.mkdir(parents=True)
        (fake / "jobs" / f"{name}.json").write_text(json.dumps(kept))
    plan = [job("build/a", "first", writes="a"), job("train/x-0", "first", run="runs/x-0", after=("build/a",))]
    plan.append(job("score/x-0", "score", run="runs/x-0", after=("train/x-0", "build/a"), grows=True))
    plan.append(job("teach/t", "first"))  # a teacher of its own
    assert Ledger(fake).work(plan, slots=1) == [] and said(fake) == ["mmpd-train first"] * 2
    built = json.loads((fake / "jobs/build/a.json").read_text())
    assert "elsewhere" not in built and built["seconds"] >= 5, "its time adds up"


def test_only_what_a_study_packs_is_unpacked(tmp_path, monkeypatch):
    for number, name in enumerate(("../x.json", "scores/../../x.json", "scores/a/b/c.json", "runs/a/b.json", "/jobs/a/b.json")):
        with tarfile.open(tmp_path / f"{number}.tar.xz", "w:xz") as archive:
            for place in ("settings.json", "elsewhere.json", name):
                entry = tarfile.TarInfo(place)
                entry.size = 2
                archive.addfile(entry, io.BytesIO(b"{}"))
        with pytest.raises(SystemExit, match=r"is no file of `--pack`.*does not belong there"):
            elsewhere.unpack(tmp_path / f"{number}.tar.xz", tmp_path / "new" / "folder")
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(SystemExit, match="is no file of `--pack`"):
        asked(monkeypatch, tmp_path / "new", "--unpack", str(tmp_path / "text"))
    assert not (tmp_path / "new").exists() and not (tmp_path / "x.json").exists()
    with pytest.raises(SystemExit, match="has something in it already"):
        asked(monkeypatch, tmp_path, "--unpack", str(tmp_path / "0.tar.xz"))
    with pytest.raises(SystemExit, match=r"is no folder of a study: it has no settings\.json"):
        asked(monkeypatch, tmp_path, "--pack", str(tmp_path / "s.tar.xz"))


def test_a_claim_is_tested_on_other_seeds_than_those_that_it_came_from(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "CLAIM", (("stage 1", "shrec16 SVM"), ("stage 2", "shrec16 SVM"), ("stage 1", "shrec16 crossval")))
    for seed, right in enumerate((60, 45, 47, 46)):
        scored(tmp_path, "point-mae", seed, [1] * (30 + seed % 2) + [0] * (30 - seed % 2))
        scored(tmp_path, "stage 1", seed, [1] * right + [0] * (60 - right))
    made = study.Study(tmp_path, ASKED, None)
    report.write(made)
    assert not json.loads((tmp_path / "study.json").read_text())["claim"], "a study of other settings has not claimed it"
    monkeypatch.setattr(report, "CLAIMED_AT", ASKED)
    report.write(made)
    data = json.loads((tmp_path / "study.json").read_text())
    (one,) = data["claim"]
    assert (one["row"], one["outcome"]["runs"], one["mark"]) == ("stage 1", [3, 3], " ▲")
    assert one["outcome"]["means"][0] == pytest.approx(100 * 46 / 60), "without seed 0"
    assert one["adjusted"] == one["outcome"]["p"], "corrected for the claim alone"
    assert [(left["row"], left["test"]) for left in data["claim_not_compared"]] == [
        ("stage 2", "shrec16 SVM"),
        ("stage 1", "shrec16 crossval"),
    ]
    text = page.page([data], "# Top")
    assert "*stage 1* is above *point-mae*" in text and "| shrec16 SVM | 3 | 76.7 and 51.1 | +25.6 [" in text
    assert "Of the claim, and not in the table: shrec16 SVM: not tested: the row has no score here; shrec16 crossval: " in text
    words = "{% set only = study(4) %}\n# Top\n\n{{ only.headline() }}\n\n{{ only.differences() }}\n"
    top = page.page([data], words).partition("\n## ")[0]
    assert "| Point-MAE | 5 | 4 | " in top and " | 50.8, – |" in top and "| the last block | – |" in top, "tables of what is there"
    asked = "# Top\n\n{{ study(4).rows('main') }}\n"
    row = "| stage 1 | three teachers, captions and class names | 4 | point-mae | 82.5"
    assert row in page.page([data], asked).partition("\n## ")[0]
    data["comparisons"][0]["row"] = rows.CLAIM[0][0]
    outcome = data["comparisons"][0]["outcome"]
    assert f"| Point-MAE, longer | the last block | {outcome['difference']:+.1f} [" in page.page([data], words)
    del data["claim"]
    assert "claimed" not in page.page([data], "# Top"), "a study that was written earlier"


def test_what_cannot_be_compared_stops_no_report_and_is_told(tmp_path, monkeypatch):
    """Other points, a missing row of the same family, and few-shot folds each leave a number without a mark, and a sentence."""
    monkeypatch.setitem(rows.ROWS, "own", rows.Row(group="main", about="-", stage="distill", also=("shrec16",)))
    right = [1] * 50 + [0] * 10
    scored(tmp_path, "point-mae", 0, [1] * 30 + [0] * 30)
    scored(tmp_path, "stage 1", 0, right, points="q")
    scored(tmp_path, "own", 0, right)
    scored(tmp_path, "stage 2, pointmamba", 0, right)
    for row in ("point-mae", "stage 1"):
        scored(tmp_path, row, 0, right, test="shrec16 5-shot", task="fewshot")
    text = report.write(study.Study(tmp_path, ASKED, None))
    data = json.loads((tmp_path / "study.json").read_text())
    assert [one["row"] for one in data["comparisons"]] == ["own"]
    left = {(one["row"], one["test"]): one["reason"] for one in data["not_compared"]}
    assert left.keys() == {("stage 1", "shrec16 SVM"), ("stage 1", "shrec16 5-shot"), ("stage 2, pointmamba", "shrec16 SVM")}
    assert (
        left["stage 1", "shrec16 SVM"].startswith("not comparable: ")
        and "other shapes, points or classes" in left["stage 1", "shrec16 SVM"]
    )
    assert "\n- *stage 1* with *point-mae* on shrec16 (5-shot): not tested: each fold chooses other training shapes" in text
    reason = "not tested: the other row has no score here.\n"
    assert f"\n- *stage 2, pointmamba* with *point-mae, pointmamba* on shrec16 (SVM): {reason}" in text
    assert "| own † | - | 5 | point-mae |" in text and "† Trained also on shapes of this collection." in text
    drawn = [tmp_path / "a.svg", tmp_path / "b.svg"]
    for path in drawn:
        page.draw(data, path)
    assert drawn[0].read_bytes() == drawn[1].read_bytes() and b"<svg" in drawn[0].read_bytes()
    assert page.shown(data) == {"shrec16": {"point-mae": [50.0], "stage 1": [pytest.approx(250 / 3)], "own": [pytest.approx(250 / 3)]}}
    text = page.page([data], "# Title")
    assert text.startswith("# Title\n\n![Linear SVM of the rows on shrec16:") and "another size" not in text
    small = data | {"settings": data["settings"] | {"shapes": 1}, "numbers": [one for one in data["numbers"] if one["row"] != "own"]}
    text = page.page([data, small], "# Title")
    _, _, sizes = text.partition("## Does another size rank the rows alike?")
    assert (
        "| row | shrec16, 4 x 5 | shrec16, 1 x 5 |" in sizes
        and "| point-mae | 50.0 | 50.0 |" in sizes
        and "\n| own |" not in sizes.partition("\n## ")[0]
    )
    text = page.all_tables([data, small])
    assert text.index("## 4 shapes of a kind") < text.index("## 1 shapes of a kind")
    further = small | {"name": "wider"}
    text = page.page([data, small, further], "{{ study(1, name='wider').last('point-mae', 'shrec16') }} # Title")
    assert text.startswith("50.0 # Title") and sizes in text, "a further study of a size is no other size"
    with pytest.raises(SystemExit, match="of 4 shapes of a kind and 5 epochs, called wider, that is not in science/"):
        page.page([data, further], "{{ study(4, name='wider').last('point-mae', 'shrec16') }}")
    assert "## 1 shapes of a kind, 5 epochs a stage: wider\n" in page.all_tables([data, small, further])


def test_a_further_study_of_a_size_is_kept_beside_the_first_one(tmp_path, monkeypatch):
    (tmp_path / "docs/pictures").mkdir(parents=True)
    for name, value in (("HERE", tmp_path), ("PAGE", tmp_path / "docs/study.md"), ("TABLES", tmp_path / "docs/study-tables.md")):
        monkeypatch.setattr(page, name, value)
    (tmp_path / "top.md").write_text("# Top")
    monkeypatch.setattr(page, "TOP", tmp_path / "top.md")
    scored(tmp_path / "a", "point-mae", 0, [1] * 30 + [0] * 30)
    report.write(study.Study(tmp_path / "a", ASKED, None))
    monkeypatch.setattr(sys, "argv", ["page.py", str(tmp_path / "a/study.json"), f"wider={tmp_path}/a/study.json"])
    page.main()
    assert sorted(path.name for path in tmp_path.glob("study-*.json")) == ["study-4-5-wider.json", "study-4-5.json"]
    assert (tmp_path / "docs/study-tables.md").read_text().count("\n## 4 shapes of a kind, 5 epochs a stage") == 2


def test_the_pages_in_docs_are_made_of_the_numbers_beside_them():
    """By `python science/page.py`; and no heading is taken for the row of a table."""
    for path, text in page.made().items():
        assert path.read_text() == text, "run python science/page.py"
        lines = text.splitlines()
        assert not [line for before, line in itertools.pairwise(lines) if line.startswith("#") and before and not before.startswith("#")]
    assert not [path.name for path in SCIENCE.glob(page.NUMBERS) if '"train_command"' in path.read_text()], "give them to science/page.py"


def test_what_the_words_of_the_page_quote_comes_from_the_numbers_and_says_what_is_significant():
    """Old intervals once stood beside new numbers, and old words beside new marks."""
    assert not re.findall(r"\[-?[0-9.]+, -?[0-9.]+\]", page.TOP.read_text()), "no interval is written by hand"
    outcome = {"difference": 1.44, "interval": [-0.04, 2.96]}
    compared = {"row": "stage 2", "test": "starter SVM", "outcome": outcome, "mark": " ▲"}
    data = {
        "settings": {"shapes": 16, "epochs": 5, "precision": "float32"},
        "rows": {"stage 2": {"group": "main", "about": "-", "against": "stage 1"}},
        "tests": {"starter SVM": {"collection": "starter"}},
        "collections": {"starter": {"use": "development"}},
        "numbers": [{"row": "stage 2", "test": "starter SVM", "value": value, "seed": 0} for value in (50.0, 51.0)],
        "comparisons": [compared],
        "hours": 1,
    }

    def said(text):
        return page.page([data], "{% set small = study(16) %}\n" + text).partition("\n")[0]

    assert said('{{ small.last("stage 2", "starter") }}: {{ small.last_apart("stage 2", "starter", "▲") }}') == "50.5: +1.4 [0.0, 3.0]"
    assert said('{{ small.none_apart("main", mark="▼") }}{{ small.score("stage 2", "starter SVM") }}') == "50.5"
    for text, match in (
        ('{{ small.last_apart("stage 2", "starter") }}', "says '' of stage 2 on starter SVM, the study of 16 shapes .* '▲'"),
        ('{{ small.none_apart("main") }}', "nothing is significant here: stage 2 ▲ on starter SVM"),
        ('{{ small.all("stage 2", "starter") }}', "stage 2 has no number on starter SVM at depths"),
        ('{{ small.all_apart("stage 2", "starter") }}', "stage 2 was not compared on starter SVM at depths in the study of 16 shapes"),
        ('{{ small.last("stage 2", "shrec") }}', "no row .* was tested on shrec"),
        ('{{ small.rows("main", "blocks") }}', "no such rows and groups: blocks"),
        ("{{ study(64).headline() }}", "a study of 64 shapes of a kind and 5 epochs that is not in science/"),
        ("{{ smal }}", "top.md: 'smal' is undefined"),
    ):
        with pytest.raises(SystemExit, match=match):
            said(text)


def test_intervals_with_shared_seeds_hold_where_rows_vary_alike_and_less_often_for_a_row_that_varies_more():
    alike, apart = (simulated.held(12, 2, times, 300, np.random.default_rng(0)) for times in (1.0, 3.0))
    assert alike["it and another, shared"][0] > 0.92 > 0.85 > apart["it and another, shared"][0]
    assert alike["two others, each for itself"][1] > 2 * alike["two others, shared"][1], "what sharing is for"


def test_a_score_is_stale_on_other_points_or_weights(tmp_path):
    path = scored(tmp_path, "point-mae", 0, [1] * 6)
    found = json.loads(path.read_text())
    asked = found["command"]
    assert score.there(path, asked, "w", "p")
    assert not score.there(path, asked, "w", "q") and not score.there(path, asked, "v", "p")
    assert score.there(path, asked, "w", "p", settings=(("encoder.group_size", "8"),)), "it records none"
    found["result"]["model"] = [["encoder.group_size", "16"]]
    path.write_text(json.dumps(found))
    same = [score.there(path, asked, "w", "p", settings=(("encoder.group_size", size),)) for size in ("16", "8")]
    assert same == [True, False]


def test_a_score_is_stale_once_its_collection_is_relabelled(tmp_path, monkeypatch):
    """What was scored before labels were recorded is not compared. So are scores of caches that are not there."""
    import evals
    import labelled

    monkeypatch.chdir(tmp_path)
    cache = synthetic.write(Path("caches/shrec16.zarr"), shapes=6)
    loaded, before = SimpleNamespace(weights="w"), labelled.labels_of(cache.path)
    result = SimpleNamespace(json=lambda: json.dumps({"scores": {"test": {"points": score.points(cache.path)}}}))
    path, one = Path("scores/a-0/shrec16 SVM.json"), evals.Eval.of("shrec16 SVM: mmpd-train eval svm runs/a-0 caches/shrec16.zarr")
    monkeypatch.setattr(evals.saved, "weights", lambda run: "w")
    monkeypatch.setattr(evals.saved, "settings", lambda run: ())
    score.measure(path, one.command, loaded, one.caches, lambda: result)
    old = json.loads(path.read_text())
    assert old["labels"] == [before]
    whole, points = study.Study(tmp_path, {}, None, keep=False), score.points(cache.path)
    job = whole._score("point-mae", 0, ["shrec16"])
    assert job.made is not None and job.made(), "it has no score yet"
    kept = partial(whole._scores_hold, "a-0", ["shrec16 SVM"])

    def holds():
        there = score.there(path, one.command, "w", points, labels=one.caches)
        assert there == one.done(path.parent) == kept()
        return there

    assert holds()
    for column, value in (("class", "new"), ("split", "test"), ("name", "other")):
        table = tmp_path / f"{column}.csv"
        table.write_text(f"id,{column}\n{open_cache(cache.path).ids()[0]},{value}\n")
        relabel(cache.path, table, Silent())
        assert not holds(), column
        assert score.points(cache.path) == points
        score.measure(path, one.command, loaded, one.caches, lambda: result)
        assert holds() and json.loads(path.read_text())["labels"] != [before]
    path.write_text(json.dumps({name: value for name, value in old.items() if name != "labels"}))
    assert holds(), "nothing is recorded"
    path.write_text(json.dumps(old))
    (cache.path / "label" / "zarr.json").unlink()
    assert not one.done(path.parent) and not kept(), "the command says what is damaged"
    shutil.rmtree("caches")
    assert one.done(path.parent) and kept()


def test_tables_leave_out_what_does_not_hold_any_more_and_say_why(tmp_path, monkeypatch):
    """A row that is defined otherwise, a collection with other points, one with other labels, and a run with other weights."""
    cache = synthetic.write(tmp_path / "caches/shrec16.zarr", shapes=6)
    learned = synthetic.write(tmp_path / "caches/starter.zarr", shapes=6).path
    for seed, row in enumerate(("point-mae", "scratch", "stage 1")):
        path = scored(tmp_path, row, seed, [1] * 6, points=score.points(cache.path))
        path.write_text(json.dumps(json.loads(path.read_text()) | {"labels": [jobs.labels_of(cache.path)]}))
    made = study.Study(tmp_path, ASKED, None)

    def left():
        text = report.write(made)
        data = json.loads((tmp_path / "study.json").read_text())
        old = {one["row"]: one["reason"] for one in data["not_current"]}
        assert old.keys().isdisjoint(one["row"] for one in data["numbers"]) and len(old) + len(data["numbers"]) == 3
        assert all(reason in text for reason in old.values()) and ("Left out: out of date" in text) == bool(old)
        assert page.all_tables([data]).count("out of date") == bool(old)
        return old

    assert left() == {}
    with monkeypatch.context() as inside:
        inside.setitem(rows.ROWS, "point-mae", dataclasses.replace(rows.ROWS["point-mae"], times=2.0))
        assert left()["point-mae"].startswith("its training is of the command mmpd-train distill ")
    with monkeypatch.context() as inside:
        inside.setattr(study, "weights_of", lambda run: "other")
        inside.setattr(study.saved, "settings", lambda run: ())
        inside.setattr(study, "trained_otherwise", lambda *asked: "")
        (tmp_path / "runs/scratch-1").mkdir(parents=True)
        (tmp_path / "runs/scratch-1/last.safetensors").touch()
        assert left() == {"scratch": "its run has other weights now"}
        shutil.rmtree(tmp_path / "runs")
    was = relabelled(learned, "name", "other")
    assert left().keys() == {"point-mae", "scratch", "stage 1"} and "caches/starter.zarr as it was" in left()["scratch"]
    relabelled(learned, "name", was)
    assert left() == {}
    relabelled(cache.path, "class", "new")
    assert set(left().values()) == {"its cache has other classes, splits or names now (`mmpd-cache relabel`)"}
    shutil.rmtree(cache.path)
    synthetic.write(cache.path, shapes=6, points=PointSpec(count=48, blocks=3, ordered=32))
    assert set(left().values()) == {"its cache was built anew, with other shapes or points"}
    shutil.rmtree(cache.path)
    assert left() == {}, "what is not there is not compared"


def test_a_row_is_out_of_date_with_one_that_it_needs(tmp_path):
    path = scored(tmp_path, "stage 2", 0, [1] * 6)
    made = study.Study(tmp_path, ASKED, None)
    made.ledger.note(made._train(rows.ROWS["stage 1"], "stage 1", 0), 1, done=True)
    assert made.training_changed("stage 2", 0) == ""
    made.ledger.note(job("train/stage-1-0", "other"), 1, done=True)
    reason = made.training_changed("stage 2", 0)
    assert reason.startswith("it needs stage 1: its training is of the command mmpd-train other and now it is mmpd-train align")
    assert made.numbers() == ([], [{"row": "stage 2", "seed": 0, "test": path.stem, "reason": reason}])


def test_ceilings_are_measured_again_once_labels_or_embeddings_are_others(tmp_path, monkeypatch):
    """The file says what it was measured on. Where a class has no name that a teacher has read, it says that instead of a number."""
    import ceiling

    names = LabelSet(name="source", classes=("cone", "cube", "torus"), templates=("a {}",))
    cache = synthetic.write(tmp_path / "caches/shrec16.zarr", shapes=24, labels=names).path
    monkeypatch.chdir(tmp_path)
    made, tests = study.Study(tmp_path, ASKED, None, keep=False), ["shrec16 1-shot", "shrec16 named"]
    monkeypatch.setitem(
        testsets.TESTS, tests[1], testsets.Test(about="-", collection="shrec16", task="zeroshot", settings=("test_split=all",))
    )
    monkeypatch.setitem(testsets.TESTS, tests[0], testsets.Test(about="-", collection="shrec16", task="svm", settings=("c=0.1",)))

    def measure():
        monkeypatch.setattr(sys, "argv", ["ceiling.py", "caches/shrec16.zarr", "ceilings", *tests])
        ceiling.main()
        found, old = made.ceilings()
        assert sorted(found) == tests and not old
        return found

    found = measure()
    assert found[tests[1]]["values"] and not found[tests[1]]["left_out"] and found[tests[0]]["labels"] == [jobs.labels_of(cache)]
    job = made._ceiling("shrec16")
    assert job.made is not None and job.made() and job.grows and tests[1] in job.command
    relabelled(cache, "class", "new")
    reason = "its cache has other classes, splits or names now (`mmpd-cache relabel`)"
    assert not job.made() and made.ceilings() == ({}, dict.fromkeys(tests, reason))
    assert f"- ceilings on {', '.join(sorted(tests, key=list(testsets.TESTS).index))}: {reason}." in report.write(made)
    found = measure()
    assert job.made() and not found[tests[1]]["values"]
    assert found[tests[1]]["left_out"].keys() == {"random-a"}
    assert "does not know their classes: new; `mmpd-cache remove" in found[tests[1]]["left_out"]["random-a"]
    with monkeypatch.context() as inside:
        inside.setitem(testsets.TESTS, tests[0], dataclasses.replace(testsets.TESTS[tests[0]], settings=("c=1",)))
        assert made.ceilings()[1] == {tests[0]: "the test has other settings now"} and not job.made()
    kept = tmp_path / "ceilings" / f"{tests[0]}.json"
    old = json.loads(kept.read_text())
    kept.write_text(json.dumps(old | {"made_of": old["made_of"] | {"image/other": "c"}}))
    assert made.ceilings()[1] == {tests[0]: "its cache has other embeddings of pictures or class names now"}
    kept.write_text(json.dumps({"values": old["values"], "seconds": 1}))
    assert not made.ceilings()[1], "an earlier version recorded nothing"


def test_missing_files_are_told_in_a_line(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match=r"is no folder of a study: it has no settings\.json"):
        asked(monkeypatch, tmp_path / "none", "--tables")
    monkeypatch.setattr(sys, "argv", ["page.py", str(tmp_path / "study.json")])
    with pytest.raises(SystemExit, match=r"study\.json: missing\. Give the study\.json"):
        page.main()


def test_rows_whose_texts_state_what_a_test_asks_are_marked():
    row = {"about": "-", "epochs": 1, "against": "", "also": [], "group": "language"}
    data = {
        "rows": {"told": {**row, "captions": ["descriptions"]}, "plain": {**row, "captions": []}},
        "tests": {f"{name} SVM": {"collection": name} for name in ("designs", "shrec16")},
        "collections": {name: {"stated": list(testsets.COLLECTIONS[name].stated)} for name in ("designs", "shrec16")},
        "numbers": [{"row": row, "test": f"{name} SVM", "value": 50.0} for row in ("told", "plain") for name in ("designs", "shrec16")],
        "comparisons": [],
        "not_compared": [],
        "ceilings": {},
    }
    asked, other = (report._table(data, "language", ["told", "plain"], [f"{name} SVM"]) for name in ("designs", "shrec16"))
    assert "| told ‡ |" in asked and "| plain |" in asked and "‡ The texts of this row state what is asked here" in asked
    assert "‡" not in other
    assert {name for name, one in testsets.COLLECTIONS.items() if one.stated} == {"designs", "materials", "drawers"}


def test_a_run_of_a_recipe_that_means_something_else_since_does_not_count(tmp_path, monkeypatch):
    asked = [f"encoder.name={rows.ENCODER}", "optim.batch=4", "optim.epochs=0", "encoder.groups=8", "encoder.group_size=8"]
    config = configured("scratch", "distill", asked)
    run = tmp_path / "runs" / "scratch-0"
    assert not jobs.trained_otherwise(run, config), "nothing is there yet"
    synthetic.write(tmp_path / "c.zarr", shapes=8, points=PointSpec(count=64, blocks=1, ordered=32))
    train(config, [tmp_path / "c.zarr"], run, device="cpu")
    assert not jobs.trained_otherwise(run, config)
    changed = dataclasses.replace(config, augment=dataclasses.replace(config.augment, per_axis=not config.augment.per_axis))
    away = "remove runs/scratch-0 and jobs/train/scratch-0.json, and the same command trains it anew"
    was, now = config.augment.per_axis, changed.augment.per_axis
    assert jobs.trained_otherwise(run, changed) == (
        f"of another configuration than it has now (augment.per_axis is {was}, asked {now}): {away}"
    )
    assert "(its stage is distill, asked align)" in jobs.trained_otherwise(run, configured("tiny", "align"))


def test_what_rests_on_a_run_that_was_trained_again_does_not_hold_and_says_what_to_remove(fake, monkeypatch):
    """A guide, its features, and a run that starts from it; then the guide has other weights."""
    small = ["encoder.name=pointmae-tiny", "encoder.groups=8", "encoder.group_size=8", "optim.batch=4", "optim.epochs=0", "probe="]
    guide, run, cache = fake / "runs/stage-1-0", fake / "runs/stage-2-0", fake / "caches/starter.zarr"
    synthetic.write(cache, shapes=8, points=PointSpec(count=64, blocks=1, ordered=32))

    def train_guide(seed):
        shutil.rmtree(guide, ignore_errors=True)
        train(
            configured("tiny", "align", [*small, "data.templates=0", "align.positives=text", f"seed={seed}"]), [cache], guide, device="cpu"
        )

    train_guide(0)
    write_guide(open_cache(cache), checkpoint.load(guide), guide.name, device="cpu")
    config = configured("tiny", "distill", small)
    train(dataclasses.replace(config, guide=guide.name), [cache], run, init=guide, device="cpu")
    made = study.Study(fake, ASKED, None)
    (wrote,), trained = made._guides(rows.ROWS["stage 2"], 0), made._train(rows.ROWS["stage 2"], "stage 2", 0)
    plan = [
        Job(name="train/stage-1-0", command=("mmpd-train", "align")),
        dataclasses.replace(wrote, after=("train/stage-1-0",)),
        dataclasses.replace(
            trained, after=("train/stage-1-0", wrote.name), refuses=partial(jobs.trained_otherwise, run, config, guide, guide)
        ),
    ]
    ledger = Ledger(fake)
    for one in plan:
        ledger.note(one, 1, done=True)
    assert ledger.work(plan, 1) == [] and not (fake / "said").exists()
    train_guide(1)
    monkeypatch.setattr(jobs, "LOOK", 0.0)
    away = "remove runs/stage-2-0 and jobs/train/stage-2-0.json, and the same command trains it anew"
    assert ledger.stale(plan[2]) == f"of other weights of stage-1-0 than it has now: {away}", "once, though it is guide and first weights"
    remove = "`mmpd-cache remove caches/starter.zarr guide/stage-1-0`, and the same command writes them anew"
    assert ledger.stale(plan[1]) == f"of other weights or settings of stage-1-0 than it has now: {remove}"
    assert not ledger.done(plan[1]) and not ledger.done(plan[2])
    assert ledger.work(plan, 1) == ["guide/stage-1-0", "train/stage-2-0"] and not (fake / "said").exists()
    shutil.rmtree(cache / "products/guide/stage-1-0")
    assert ledger.work(plan, 1) == ["train/stage-2-0"] and said(fake) == ["mmpd-train guide caches/starter.zarr runs/stage-1-0"]
    shutil.rmtree(run)
    (fake / "jobs/train/stage-2-0.json").unlink()
    assert ledger.work(plan, 1) == [] and said(fake)[-1].startswith("mmpd-train distill caches/starter.zarr runs/stage-2-0 ")


def test_a_job_that_is_done_is_looked_at_once_more_when_what_it_needs_has_run(fake, capsys):
    """What it needs is made anew in the same call. It does not run again where it still holds, and neither does what needs it."""
    state = {"reason": ""}
    first, last = job("a", "first"), job("c", "last", after=("b",), grows=True)
    plan = [first, job("b", "second", after=("a",), refuses=lambda: state["reason"] if len(said(fake)) > 3 else ""), last]
    ledger = Ledger(fake)
    assert ledger.work(plan, 1) == [] and len(said(fake)) == 3
    (fake / "jobs/a.json").unlink()
    state["reason"] = "of other weights of a: remove b"
    capsys.readouterr()
    assert ledger.work(plan, 1) == ["b", "c"] and said(fake)[3:] == ["mmpd-train first"]
    assert "FAILED b: it is of other weights of a: remove b" in capsys.readouterr().out
    (fake / "jobs/a.json").unlink()
    state["reason"] = ""
    assert ledger.work(plan, 1) == [] and said(fake)[3:] == ["mmpd-train first"] * 2
