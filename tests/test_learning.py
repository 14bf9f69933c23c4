"""From shapes to a number, by the commands a user types: the shipped teachers, both stages, and evaluation on unseen shapes.

Floors are far below what a sound method reaches and far above chance, so that a broken loss, a broken cache or teachers that know nothing
fail here. `science/study.py` is the whole of it.
"""

import contextlib
import importlib.util
import io
import json
import signal
import sys
import warnings
from pathlib import Path

import pytest

from tests.figures import undrawn_curves  # noqa: F401
from tests.forks import Command
from trainer import cli

pytestmark = [pytest.mark.skipif(importlib.util.find_spec("open_clip") is None, reason="builds a cache"), pytest.mark.timeout(900)]

KINDS = ("airplane", "bathtub", "bed", "bottle", "car", "chair", "desk", "lamp", "sofa", "table")
SMALL = ("encoder.name=pointmae-tiny", "encoder.depth=2", "encoder.dim=48", "encoder.embed=16,24,32", "encoder.group_size=16")
"""An encoder that learns these kinds in seconds."""


def assigned(*settings: str) -> tuple[str, ...]:
    return tuple(word for setting in settings for word in ("--set", setting))


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
    source = (f"source.classes={','.join(KINDS)}", f"source.count={12 * len(KINDS)}", "views.size=96")
    products = ("teachers=starter-resnet,starter-attributes", "captions.samples=1")
    build = Command(("mmpd-cache", "build", "starter", path, "--recipe", "smoke", *assigned(*source, *products)), path.with_name("said"))
    assert build.end() == 0, build.err
    return path


def test_both_stages_learn(cache, tmp_path):
    """Ten kinds: chance is 10 %."""
    align, distill, scratch = tmp_path / "align", tmp_path / "distill", tmp_path / "scratch"
    train("align", cache, align, *assigned("optim.epochs=40", *SMALL))
    train("guide", cache, align)
    train("distill", cache, distill, "--init", align, "--guide", "align", *assigned("optim.epochs=40", *SMALL))
    train("distill", cache, scratch, "--recipe", "scratch", *assigned("optim.batch=32", *SMALL))
    zeroshot, stage1 = measured("zeroshot", align, cache), measured("svm", align, cache)
    stage2, untrained = measured("svm", distill, cache), measured("svm", scratch, cache)
    print(f"zero-shot {zeroshot:.1f}, SVM: scratch {untrained:.1f}, stage 1 {stage1:.1f}, stage 2 {stage2:.1f}")
    assert zeroshot > 30
    assert min(stage1, stage2) > untrained and min(stage1, stage2) > 40
    losses = [json.loads(line) for line in (distill / "metrics.jsonl").read_text().splitlines()]
    trained = [line["loss"] for line in losses if "loss" in line]
    assert trained[-1] < 0.7 * trained[0]


QUICK = {"fewshot": ("folds=2", "shots=3", "queries=2"), "classify": ("epochs=1", "warmup=0", "seeds=1")}
"""Tasks that take long by default."""


OTHERS = {
    "pointm2ae-tiny": ("encoder.counts=64,32,16", "encoder.embed=16,16,32", "encoder.widths=24,24,48", "encoder.depths=1,1,1"),
    "pointmamba-tiny": ("encoder.depth=2", "encoder.dim=48", "encoder.embed=16,24,32", "encoder.group_size=16"),
}


TASKS = {"pointm2ae-tiny": (("zeroshot",), ("svm", "fewshot", "classify")), "pointmamba-tiny": (("zeroshot", "retrieval"), ("knn",))}
"""Tasks of each of them, with its run of stage 1 and with that of stage 2."""


@pytest.mark.parametrize("encoder", OTHERS)
def test_every_other_encoder_goes_through_both_stages_and_to_numbers(cache, tmp_path, encoder):
    """At smoke size: that it works, not how well. Tasks see features alone, so that each is done with one of the encoders."""
    align, distill = tmp_path / f"{encoder}-align", tmp_path / "distill"
    same = ("--recipe", "smoke", *assigned(f"encoder.name={encoder}", *OTHERS[encoder], "optim.epochs=1"))
    train("align", cache, align, *same)
    train("guide", cache, align)
    train("distill", cache, distill, *same, "--init", align, "--guide", align.name)
    for run, tasks in zip((align, distill), TASKS[encoder], strict=True):
        for task in tasks:
            scores = json.loads(train("eval", task, run, cache, "--json", *assigned(*QUICK.get(task, ()))))["scores"]
            assert any(metric["headline"] and metric["values"] for metric in scores["metrics"])
            if task in ("svm", "knn"):  # at this size a value may be chance, but features that differ give more than one class
                assert sum(any(column) for column in zip(*scores["confusion"], strict=True)) > 1
