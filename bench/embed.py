"""What embedding costs beside the encoder: `Model.embed_cache` from a cache against the plain forward pass on points in memory.

    python bench/embed.py [--rounds 9] [--shapes 512] [--encoder pointmae-tiny]

Both take the same shapes of 1024 points in turns within one process, in batches of 64. The weights are random: right for timing only.
A ratio of 1 means that reading, checking and pooling cost nothing. Beside it stands `Model.embed` of the same points as clouds in memory.
On a machine with other work, the ratio of processor time says more than that of the clock: both are printed, the median of the rounds.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from cache_schema import store, synthetic
from cache_schema.spec import PointSpec
from trainer import checkpoint
from trainer.align import Teacher
from trainer.checkpoint import Header
from trainer.config import AlignConfig
from trainer.model import Model
from trainer.points import Convention
from trainer.recipes import configured
from trainer.stage import Facts, build
from trainer.tasks.features import BATCH


def model(run: Path, encoder: str) -> Model:
    """A run with random weights that says that it was trained on the points of the cache."""
    config = configured("tiny", "align", [f"encoder.name={encoder}"])
    assert isinstance(config, AlignConfig)
    teacher = Teacher(name="t", dim=512, text=True, objective="contrast")
    facts = Facts(teachers=(teacher,))
    header = Header(config=config, facts=facts, caches=(), step=1, steps=1, points=Convention(count=1024, ordered=512, dtype="float16"))
    run.mkdir()
    checkpoint.save(run, header, build(config, facts), {}, {})
    return Model.load(run, "cpu")


def compared(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds of each by the clock and of the processor, in turns forth and back, after one round that does not count."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for i in range(rounds + 1):
        for name, run in list(ways.items())[:: -1 if i % 2 else 1]:
            start, used = time.perf_counter(), time.process_time()
            run()
            if i:
                times[name].append((time.perf_counter() - start, time.process_time() - used))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--shapes", type=int, default=512)
    parser.add_argument("--encoder", default="pointmae-tiny")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mmpd-bench-") as place:
        path = Path(place) / "c.zarr"
        synthetic.write(path, shapes=arguments.shapes, shard=128, points=PointSpec(), teachers=(synthetic.teacher("t", 512),))
        cache, used = store.open_cache(path), model(Path(place) / "run", arguments.encoder)
        encoder = used._stage.encoder
        held = torch.from_numpy(cache.column("points/xyz")[:, 0]).float()

        @torch.no_grad()
        def forward() -> None:
            for points in held.split(BATCH):
                encoder(encoder.patchify(points, True))

        ways = {"plain forward pass": forward, "embed_cache": lambda: used.embed_cache(cache), "embed, clouds": lambda: used.embed(held)}
        times = compared(ways, arguments.rounds)
    plain = times["plain forward pass"]
    for name, seconds in times.items():
        print(f"{arguments.encoder}  {name:20} {arguments.shapes / statistics.median(clock for clock, _ in seconds):6.0f} shapes/s", end="")
        for what, of in ("clock", 0), ("processor", 1):
            ratios = [base[of] / own[of] for base, own in zip(plain, seconds, strict=True)]
            print(f"   {what} {statistics.median(ratios):.3f} of the plain pass ({min(ratios):.3f} to {max(ratios):.3f})", end="")
        print(flush=True)


if __name__ == "__main__":
    main()
