"""How long the paper's table takes, before it begins: builds from a sample that is really built, trainings from the encoder's rate.

    print(told(estimate(paper, Path("/data"), rate=None)))

The rate is shapes a second, there and back through the encoder of the rows, measured here for a few seconds, or told by the user for
another machine. Heads, decoders, losses and the reading of batches come on top, so each training has a range, up to twice the encoder's
own time. The hours of builds are those of `mmpd-cache plan`, on this machine. What is done already counts nothing.
"""

import json
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from jobs import BIN, Job, Ledger
from official import DATA_SETS, LEARN, LINK, Test

from cache_schema.terminal import counted
from trainer.arithmetic import of_task
from trainer.distributed import device_of
from trainer.encoders.catalog import build

if TYPE_CHECKING:
    from paper import Paper

ABOVE: Final = 2.0
"""Largest time of a training over that of its encoder's passes."""
SECONDS: Final = 10.0
"""Time of the measurement, about."""
STEPS: Final = 50
"""Largest number of steps of the measurement."""
UNKNOWN: Final = "not counted"
"""Beginning of the note of a job whose hours are not known."""
SAMPLE: Final = 8
"""Number of shapes of each cache that are built to tell its hours."""
FORWARD: Final = 1 / 3
"""Time of a pass without gradients, such as those of an SVM, a guide or a test, over that of a training pass."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One job."""

    name: str
    low: float
    """Hours, if nothing comes on top."""
    high: float
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Hours:
    """The answer."""

    lines: tuple[Line, ...]
    rate: float
    """Shapes a second, there and back."""
    told: str
    """Where the rate comes from, in words."""


def estimate(paper: "Paper", data: Path, rate: float | None) -> Hours:
    """The hours of every job that is not done.

    Args:
        paper: what is to be done.
        data: the folder of the data sets.
        rate: shapes a second of the encoder, told by the user; None to measure it here.
    """
    ledger = Ledger(paper.folder)
    if rate is None:
        rate, where = measured(paper.asked.encoder, paper.asked.points)
    else:
        where = "as told by --rate"
    lines, rows = list[Line](), dict[str, float]()
    for name, jobs in paper.builds().items():
        for job in jobs:
            line, shapes = _build(paper, job, data, done=bool(ledger.refused(job)) or ledger.done(job))
            rows[job.writes] = shapes * DATA_SETS[name].learned
            lines += [line] if line is not None else []
    for job in paper.trainings():
        if not ledger.refused(job) and not ledger.done(job):
            known = rows[LEARN] if job.name.startswith(("train/", "guide/")) else 0.0  # labels and patch features are not estimated
            lines.append(_line(job.name, _passes(paper, job, rows[LEARN]), known, rate))
    for row, seed in paper.runs:
        for test in paper.tests(row):
            if not paper.scored(test, row, seed):
                shapes = rows[test.cache]
                lines.append(_line(f"{row.run(seed)}, {test.name}", passes(paper, test, shapes), shapes, rate))
    return Hours(lines=tuple(lines), rate=rate, told=where)


def _line(name: str, count: float, shapes: float, rate: float) -> Line:
    """The hours of `count` passes; not counted if the number of shapes is not known."""
    if not shapes:
        return Line(name=name, low=0, high=0, note=UNKNOWN)
    return Line(name=name, low=count / rate / 3600, high=ABOVE * count / rate / 3600)


def _passes(paper: "Paper", job: Job, shapes: float) -> float:
    """Training passes over a shape in a pre-training or a guide; 0 for labels and patch features, which `plan` cannot tell."""
    what, _, run = job.name.partition("/")
    if what == "guide":
        return 8 * FORWARD * shapes  # all of eight blocks
    return shapes * paper.configs[run.rpartition("-")[0]].optim.epochs if what == "train" else 0.0


def passes(paper: "Paper", test: Test, shapes: float) -> float:
    """Training passes over a shape in a test.

    Args:
        paper: the seeds and epochs that are asked for.
        test: the test.
        shapes: number of training shapes of its cache.
    """
    if not test.epochs:
        return FORWARD * 3 * shapes  # three blocks
    return test.weight * (test.shapes or shapes * paper.asked.seeds) * paper.asked.times(test.usual)


def _build(paper: "Paper", job: Job, data: Path, *, done: bool) -> tuple[Line | None, float]:
    """The hours of a build, None if it is done; and the number of its rows."""
    cache = paper.folder / "caches" / f"{job.writes}.zarr"
    words = [word if word != f"caches/{job.writes}.zarr" else str(cache) for word in job.command]
    words[1] = "plan"
    words = [re.sub(rf"^(|source\.lists=){LINK}(?=/|$)", lambda way: f"{way[1]}{data}", word) for word in words]
    if done:
        from cache_schema.store import open_cache

        return None, float(open_cache(cache).manifest.shapes)
    called = subprocess.run([str(BIN / words[0]), *words[1:], "--sample", str(SAMPLE), "--json"], capture_output=True, text=True)
    try:
        found: dict[str, Any] = json.loads(called.stdout)
    except ValueError:
        reason = (called.stderr.strip().splitlines() or ["no answer"])[-1]
        return Line(name=job.name, low=0, high=0, note=f"{UNKNOWN}: {reason[:200]}"), 0.0
    lacking = f"without {', '.join(found['missing'])}, whose weights are not here" if found.get("missing") else ""
    return Line(name=job.name, low=float(found["low"]), high=float(found["high"]), note=lacking), float(found["shapes"])


def measured(encoder: str, points: int) -> tuple[float, str]:
    """Shapes a second, there and back through an encoder with random weights on random points; and where that is, in words."""
    device = device_of("auto")
    batch = 128 if device.type == "cuda" else 8
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(encoder)
        assert isinstance(model, torch.nn.Module)
        model = model.to(device).train()
        clouds = torch.randn(batch, points, model.config.channels, device=device)
    computing = of_task(True, device)

    def step() -> None:
        with computing.autocast(device):
            loss = model(model.patchify(clouds, True)).tokens.float().square().mean()
        loss.backward()
        model.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    step()
    began, count = time.monotonic(), 0
    while not count or (time.monotonic() - began < SECONDS and count < STEPS):
        step()
        count += 1
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"the CPU, {torch.get_num_threads()} threads"
    return count * batch / (
        time.monotonic() - began
    ), f"measured here for {time.monotonic() - began:.0f} s on {name}, in {computing.precision}"


def told(found: Hours) -> str:
    """The answer as text."""
    lines = ["# Hours", f"{found.rate:.1f} shapes a second, there and back through the encoder, {found.told}."]
    lines += [f"{line.low:9.2f} to {line.high:9.2f}  {line.name}{'  (' + line.note + ')' if line.note else ''}" for line in found.lines]
    low, high = (sum(values) for values in ([line.low for line in found.lines], [line.high for line in found.lines]))
    lost = sum(line.note.startswith(UNKNOWN) for line in found.lines)
    without = f"; without {counted(lost, 'job')}, marked above" if lost else ""
    lines.append(f"{low:9.2f} to {high:9.2f}  together, one after the other: {low / 24:.1f} to {high / 24:.1f} days{without}")
    return "\n".join(lines)
