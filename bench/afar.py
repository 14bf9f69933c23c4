"""How much slower is training from an S3 server, through a mirror, than from a local cache? Steps of both alternate in one process.

    python bench/afar.py --shapes 512 --steps 60

The mirror holds a quarter of the cache's size. Prints the ratio of steps per second after the first epoch, with the spread over epochs,
and the bytes that were fetched in each epoch.
"""

import argparse
import contextlib
import dataclasses
import statistics
import tempfile
import time
from pathlib import Path

import pytest

from cache_schema import synthetic
from cache_schema.spec import GuideSpec, LabelSet, PointSpec
from pipeline import publish
from tests.pipeline.afar import Quiet, s3_server
from trainer import distributed, loop
from trainer.afar import Ahead
from trainer.data import feed
from trainer.meter import Meter, Watch
from trainer.recipes import configured

LABELS = LabelSet(name="source", classes=("cone", "cube", "torus"), templates=("a {}", "the shape of a {}"))


class Run:
    """A training that is made step by step."""

    def __init__(self, cache, config, ranks, held):
        self.training = loop._prepare(config, [cache], None, ranks)
        data, share = self.training.data, ranks.share(self.training.micro)
        self.ahead = held.enter_context(contextlib.closing(Ahead(data, range(10**6), share)))
        batches = feed(data, range(10**6), share, threads=1, device=ranks.device, held=self.ahead.held)
        self.batches = held.enter_context(contextlib.closing(batches))
        self.meter, self.ranks, self.number = Meter(Watch(100.0, lambda step: "", (), ()), config.optim.batch), ranks, 0

    def step(self):
        self.number += 1
        start = time.perf_counter()
        _, values = loop._step(self.training, self.training.stage, self.batches, self.number, 1e-3, self.meter, self.ranks)
        return time.perf_counter() - start, values.tolist()


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
            runs = Run(folder / "a.zarr", config, ranks, held), Run("s3://lab/a.zarr", there, ranks, held)
            mirror, epoch = runs[1].ahead.mirror, -(-runs[0].training.data.epoch // 32)
            print(f"cache {size} bytes, mirror {mirror.limit}, {epoch} steps an epoch")
            ratios, before = [], 0
            for number in range(arguments.steps // epoch):
                times = [[run.step() for run in (runs if step % 2 else runs[::-1])] for step in range(epoch)]
                pairs = [pair if step % 2 else pair[::-1] for step, pair in enumerate(times)]
                assert all(a[1] == b[1] for a, b in pairs), "losses differ"
                ratio = statistics.median(a[0] for a, _ in pairs) / statistics.median(b[0] for _, b in pairs)
                print(f"epoch {number + 1}: {ratio:.3f} of local, {mirror.fetched - before} bytes fetched")
                before = mirror.fetched
                ratios += [ratio] * (number > 0)
        print(f"after the first epoch: {statistics.median(ratios):.3f} of local ({min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
