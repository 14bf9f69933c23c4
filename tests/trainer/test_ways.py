"""The comparison of ways of fine-tuning (`science/tuning.py`): every way has its row, and no other result takes its place."""

import argparse
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from cache_schema import store
from tests.trainer.test_tasks import write
from trainer import checkpoint
from trainer.tasks import catalog

SCIENCE = Path(__file__).parents[2] / "science"
sys.path.insert(0, str(SCIENCE))

import alike  # noqa: E402
import repeats  # noqa: E402
import tuning  # noqa: E402
import wrong  # noqa: E402

WAYS = ["full", "scratch", "linear", "lora"]


def measured(run, cache, settings):
    catalog.evaluate("classify", checkpoint.load(run), store.open_cache(cache), catalog.options("classify", settings)).save(run)


def work(ledger, jobs, slots):
    """Do in this process what the commands of the jobs do."""
    for job in [job for job in jobs if not ledger.done(job)]:
        *_, run, cache = job.command[:5]
        measured(Path(run), cache, [word for word in job.command[5:] if word != "--set"])
        ledger.note(job, 1.0, done=True)
    return []


@pytest.fixture
def asked(aligned, tmp_path, monkeypatch):
    monkeypatch.setattr(tuning.Ledger, "work", work)
    shutil.copytree(aligned, tmp_path / "run")
    return argparse.Namespace(
        against="full",
        folder=tmp_path / "ways",
        run=tmp_path / "run",
        caches=[write(tmp_path / "c.zarr").path],
        methods=WAYS,
        epochs=1,
        seeds=2,
        lr=5e-4,
    )


def test_every_way_has_a_row_that_is_compared_with_full_fine_tuning(asked):
    study = tuning.Study(asked)
    assert study.ledger.work(study.jobs(), 1) == [] and study.lost([]) == []
    rows = study.rows()
    assert [row["way"] for row in rows] == WAYS and all(len(row["values"]) == 2 for row in rows)
    assert ["p" in row for row in rows] == [False, True, True, True] and all(0 < row["p"] <= 1 for row in rows[1:])
    assert [row["learned"] is not None for row in rows] == [False, False, False, True]
    text = tuning.table(rows, "full")
    assert all(f"| {way} | " in text for way in WAYS) and "| lora |" in text and f"{rows[3]['learned']:,}" in text

    measured(asked.run, asked.caches[0], ["tune=full", "epochs=1", "seeds=2", "lr=5e-4", "batch=4"])
    assert study.rows() == rows, "a result with other settings is none of the study's"


def test_results_of_weights_that_changed_are_missed(asked, monkeypatch):
    study = tuning.Study(asked)
    study.ledger.work(study.jobs(), 1)
    monkeypatch.setattr(tuning.saved, "weights", lambda run: "other")
    assert study.rows() == [] and [way for _, way in study.lost([])] == WAYS
    assert study.lost([study._name(asked.caches[0], "lora")])[-1][1] == "linear"


def test_a_mistake_of_the_user_of_a_script_is_one_line(tmp_path, monkeypatch):
    there = str(write(tmp_path / "c.zarr").path)
    for script, location, message in (
        (wrong, str(tmp_path / "none.zarr"), "does not exist"),
        (wrong, there, "has no product 'captions/descriptions'"),
        (alike, there, "has 1 teacher: two are needed"),
    ):
        monkeypatch.setattr(sys, "argv", [script.__name__, location])
        with pytest.raises(SystemExit, match=message):
            script.main()


def test_a_folder_of_kitti_is_looked_at_before_anything_is_built(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["repeats.py", str(tmp_path / "study"), "--kitti", str(tmp_path / "kitti")])
    with pytest.raises(SystemExit):
        repeats.main()
    assert "kitti is no folder" in capsys.readouterr().err and not (tmp_path / "study").exists()


def test_a_teacher_explains_what_it_knows_and_not_what_another_one_knows_alone():
    draw = np.random.default_rng(0)
    shared, own = (draw.normal(size=(200, 6)).astype(np.float32) for _ in range(2))
    both = np.concatenate([shared, own], axis=1)
    turned = both @ np.linalg.qr(draw.normal(size=(12, 12)))[0].astype(np.float32)
    assert alike.explained(both, turned + 3) > 99.9, "the same in other axes"
    assert 35 < alike.explained(shared, turned) < 65 and alike.explained(turned, shared) > 99.9, "half of it, and all of the half"
    with pytest.raises(alike.UserError, match="the same embedding"):
        alike.explained(shared, np.ones_like(own))
    assert abs(alike.explained(shared, own)) < 10 and alike.explained(shared, own) == alike.explained(shared, own)
