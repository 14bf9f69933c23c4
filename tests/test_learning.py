"""From shapes to a number, by the commands a user types: the shipped teachers, both stages, and evaluation on unseen shapes.

Floors are far below what a sound method reaches and far above chance, so that a broken loss, a broken cache or teachers that know nothing
fail here. `science/study.py` is the whole of it.
"""

import contextlib
import importlib.util
import io
import json
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from cache_schema.copy import copy
from cache_schema.selection import Selection
from tests.figures import undrawn_curves  # noqa: F401
from trainer import cli

pytestmark = [pytest.mark.skipif(importlib.util.find_spec("open_clip") is None, reason="builds a cache"), pytest.mark.timeout(900)]

KINDS = 45


def called(*command: object) -> str:
    done = subprocess.run([str(Path(sys.executable).parent / str(command[0])), *map(str, command[1:])], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def train(*command: object) -> str:
    """What `mmpd-train` says, called in this process: each one of its own would load torch again."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()) as said:
        patch.setattr(sys, "argv", ["mmpd-train", *map(str, command)])
        warnings.simplefilter("default")
        try:
            with pytest.raises(SystemExit) as ended:
                cli.main()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    assert not ended.value.code, said.getvalue()
    return said.getvalue()


def measured(task: str, run: Path, cache: Path) -> float:
    metrics = json.loads(train("eval", task, run, cache, "--json"))["scores"]["metrics"]
    return min(sum(metric["values"]) / len(metric["values"]) for metric in metrics if metric["headline"])  # of each teacher there is


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    path = tmp_path_factory.mktemp("learning") / "starter.zarr"
    settings = (f"source.count={8 * KINDS}", "points.count=512", "points.blocks=2", "views.size=112", "captions.samples=3")
    called("mmpd-cache", "build", "starter", path, "--recipe", "smoke", *(part for setting in settings for part in ("--set", setting)))
    return path


def test_both_stages_learn(cache, tmp_path):
    """45 kinds: chance is 2.2 %."""
    align, distill, scratch = tmp_path / "align", tmp_path / "distill", tmp_path / "scratch"
    called("mmpd-train", "align", cache, align, "--set", "optim.epochs=32")
    train("guide", cache, align)
    train("distill", cache, distill, "--init", align, "--guide", "align", "--set", "optim.epochs=10")
    train("distill", cache, scratch, "--recipe", "scratch", "--set", "encoder.name=pointmae-tiny")
    zeroshot, stage1 = measured("zeroshot", align, cache), measured("svm", align, cache)
    stage2, untrained = measured("svm", distill, cache), measured("svm", scratch, cache)
    print(f"zero-shot {zeroshot:.1f}, SVM: scratch {untrained:.1f}, stage 1 {stage1:.1f}, stage 2 {stage2:.1f}")
    assert zeroshot > 15
    assert min(stage1, stage2) > untrained and min(stage1, stage2) > 30
    losses = [json.loads(line) for line in (distill / "metrics.jsonl").read_text().splitlines()]
    trained = [line["loss"] for line in losses if "loss" in line]
    assert trained[-1] < 0.7 * trained[0]


@pytest.fixture(scope="module")
def few(cache, tmp_path_factory):
    """The shapes of twelve kinds."""
    path = tmp_path_factory.mktemp("learning") / "few.zarr"
    copy(cache, path, where=Selection.parse("class=airplane|bathtub|bed|bench|bottle|bowl|car|chair|desk|lamp|sofa|table"))
    return path


QUICK = {"fewshot": ("folds=2", "shots=3", "queries=2"), "classify": ("epochs=1", "warmup=0", "seeds=1")}
"""Tasks that take long by default."""


@pytest.mark.parametrize("encoder", ["pointm2ae-tiny", "pointmamba-tiny"])
def test_every_other_encoder_goes_through_both_stages_and_every_task(few, tmp_path, encoder):
    """At smoke size: that it works, not how well."""
    align, distill = tmp_path / f"{encoder}-align", tmp_path / "distill"
    same = ("--recipe", "smoke", "--set", f"encoder.name={encoder}", "--set", "optim.epochs=1")
    train("align", few, align, *same)
    train("guide", few, align)
    train("distill", few, distill, *same, "--init", align, "--guide", align.name)
    for run, tasks in ((align, ("zeroshot", "retrieval")), (distill, ("svm", "knn", "fewshot", "classify"))):
        for task in tasks:
            settings = [part for setting in QUICK.get(task, ()) for part in ("--set", setting)]
            scores = json.loads(train("eval", task, run, few, "--json", *settings))["scores"]
            assert any(metric["headline"] and metric["values"] for metric in scores["metrics"])
            if task in ("svm", "knn"):  # at this size a value may be chance, but features that differ give more than one class
                assert sum(any(column) for column in zip(*scores["confusion"], strict=True)) > 1
