"""How much slower is training from an S3 server, through a mirror, than from a local cache? Steps of both alternate in one process.

    python bench/afar.py --shapes 512 --steps 60

The mirror holds a quarter of the cache's size. A turn is an epoch. The first one, in which the mirror is filled, is a row of its own.
"""

import argparse
import contextlib
import dataclasses
import tempfile
from pathlib import Path

import pytest
from measure import Report, Turn, turn

from cache_schema import synthetic
from cache_schema.spec import GuideSpec, LabelSet, PointSpec
from pipeline import publish
from tests.pipeline.afar import Quiet, s3_server
from trainer import distributed, loop, prepare
from trainer.afar import Ahead
from trainer.data import feed
from trainer.meter import Meter, Watch
from trainer.recipes import configured

LABELS = LabelSet(name="source", classes=("cone", "cube", "torus"), templates=("a {}", "the shape of a {}"))


class Run:
    """A training that is made step by step."""

    def __init__(self, cache, config, ranks, held):
        self.training = prepare.prepared(config, [cache], Path("bench"), prepare.Sources(), ranks, asked=())
        data, share = self.training.data, ranks.share(self.training.micro)
        self.ahead = held.enter_context(contextlib.closing(Ahead(data, range(10**6), share)))
        batches = feed(data, range(10**6), share, threads=1, device=ranks.device, held=self.ahead.held)
        self.batches = held.enter_context(contextlib.closing(batches))
        self.meter, self.ranks, self.number = Meter(Watch(100.0, lambda step: "", (), ()), config.optim.batch), ranks, 0

    def step(self):
        self.number += 1
        _, values = loop._step(self.training, self.training.stage, self.batches, self.number, 1e-3, self.meter, self.ranks)
        self.losses = values.tolist()


def epoch(runs, steps):
    """A turn of each run: its steps of an epoch, made one by one in turns. Both must have the same losses."""
    taken = {name: [] for name in runs}
    for step in range(steps):
        for name in list(runs)[:: -1 if step % 2 else 1]:
            taken[name].append(turn(runs[name].step))
        assert len({tuple(run.losses) for run in runs.values()}) == 1, "losses differ"
    return {name: Turn(sum(one.wall for one in part), sum(one.processor for one in part), steps, steps) for name, part in taken.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", type=int, default=512)
    parser.add_argument("--steps", type=int, default=60)
    arguments = parser.parse_args()
    with contextlib.ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        patch = held.enter_context(pytest.MonkeyPatch.context())
        held.enter_context(s3_server(patch))
        points = PointSpec(count=1024, blocks=2, ordered=64, normals=True)
        guide = GuideSpec(name="g", encoder="none", weights="none", tokens=64, dim=384, blocks=2)
        teachers = (synthetic.teacher("a", 512), synthetic.teacher("b", 384, text=False))
        synthetic.write(
            folder / "a.zarr", shapes=arguments.shapes, shard=32, views=12, points=points, teachers=teachers, labels=LABELS, guide=guide
        )
        publish.push(folder / "a.zarr", "s3://lab/a.zarr", allow_unknown=True, terminal=Quiet())
        size = sum(file.stat().st_size for file in (folder / "a.zarr").rglob("*") if file.is_file())
        config = configured("smoke", "align", ["optim.batch=32", "data.teachers=b", "data.blocks=1"])
        there = dataclasses.replace(config, data=dataclasses.replace(config.data, mirror=str(folder / "m"), mirror_limit=f"{size // 4}B"))
        with distributed.joined("cpu") as ranks:
            near, far = Run(folder / "a.zarr", config, ranks, held), Run("s3://lab/a.zarr", there, ranks, held)
            runs = {"from S3 on this machine": far, "from a local cache": near}
            mirror, steps = far.ahead.mirror, -(-near.training.data.epoch // 32)
            report = held.enter_context(Report("afar"))
            what = f"a step of the smoke model, {size / 1e6:.0f} MB cache, mirror of a quarter of it"
            report.row(f"{what}: first epoch", {name: [one] for name, one in epoch(runs, steps).items()}, "steps")
            fetched, later = mirror.fetched, [epoch(runs, steps) for _ in range(max(1, arguments.steps // steps - 1))]
            report.row(f"{what}: later epochs", {name: [each[name] for each in later] for name in runs}, "steps")
            report.figure("fetched", {"later epochs": (mirror.fetched - fetched) / 1e6, "first epoch": fetched / 1e6}, "MB")


if __name__ == "__main__":
    main()
