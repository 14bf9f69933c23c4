"""What a training step costs: against a plain Point-MAE step, against a teacher in the loop, and against data already in memory.

    python bench/step.py [--rounds 7] [--only distill|teacher|encoders|data]

distill  stage 2 with ViT-S at batch 32, against the plain Point-MAE step of `plain_pointmae.py`, both in float32, then both in bf16
teacher  a cached stage-1 step with ViT-S at batch 32, against the same step with a ViT-B/32 image tower (random weights: right for
         timing only) run on 32 pictures in it; and the peak memory of both, each in a process of its own
encoders the peers' own pre-training with PointMamba against the ViT of its width and depth, batch 32; and with Point-M2AE at batch 16,
         beside one large matrix product that tells this machine from another
data     the tiny encoder fed from a cache by the trainer's own loader, against the same step on one batch held in memory

Every comparison takes turns within one run; the median of the rounds is compared.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import torch

from cache_schema import store, synthetic
from cache_schema.spec import PointSpec
from trainer.align import Align, Teacher
from trainer.batch import Batch
from trainer.distill import Distill
from trainer.encoders.catalog import build
from trainer.options import AlignOptions, DistillOptions
from trainer.part import DataConfig, Needs
from trainer.recipes import configured

SIZE = 32


def batch(points: int = 1024, size: int = SIZE) -> Batch:
    """Shapes and targets of random numbers."""
    generator = torch.Generator().manual_seed(0)
    xyz = torch.randn(size, points, 3, generator=generator)
    xyz /= xyz.norm(dim=-1).amax(1)[:, None, None]
    return Batch(
        points=xyz,
        index=torch.arange(size),
        label=torch.arange(size),
        image={"t": torch.randn(size, 512, generator=generator)},
        text={"t": torch.randn(size, 512, generator=generator)},
        text_key=torch.arange(size),
        guide_tokens=torch.randn(size, 64, 384, generator=generator),
        guide_summary=torch.randn(size, 384, generator=generator),
    )


def step(model: torch.nn.Module, loss: Callable[[], torch.Tensor]) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-4, fused=True)

    def run() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return run


def compared(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each, in turns, after one round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for i in range(rounds + 1):
        for name, run in steps.items():
            start = time.perf_counter()
            run()
            if i:
                times[name].append(time.perf_counter() - start)
    return times


def show(times: dict[str, list[float]]) -> None:
    first = next(iter(times.values()))
    for name, seconds in times.items():
        ratios = [a / b for a, b in zip(first, seconds, strict=True)]
        middle = statistics.median(ratios)
        print(
            f"{name:44} {statistics.median(seconds):7.3f} s   {middle:5.2f}x faster   ({min(ratios):.2f} to {max(ratios):.2f})", flush=True
        )


def distill(rounds: int) -> None:
    from plain_pointmae import PlainPointMAE

    plain, ours, generator, data = PlainPointMAE(), Distill(build("pointmae-s"), DistillOptions()), torch.Generator(), batch()

    def loss() -> torch.Tensor:
        return ours(data, ours.draw(SIZE, generator))["loss"]

    def in_bf16(loss: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
        def run() -> torch.Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return loss()

        return run

    for precision, cast in (("float32", lambda loss: loss), ("bf16", in_bf16)):
        steps = {
            f"plain Point-MAE step, {precision}": step(plain, cast(lambda: plain(data.points))),
            f"distill, ViT-S, {precision}": step(ours, cast(loss)),
        }
        show(compared(steps, rounds))


def align_steps(teacher: bool) -> dict[str, Callable[[], None]]:
    data, generator = batch(), torch.Generator()
    ours = Align(build("pointmae-s"), (Teacher(name="t", dim=512, text=True, objective="contrast"),), AlignOptions())
    steps = {"align, ViT-S, targets from the cache": step(ours, lambda: ours(data, ours.draw(SIZE, generator))["loss"])}
    if teacher:
        from pipeline.torchvision_ops import declare_missing

        declare_missing()
        import open_clip

        tower = open_clip.create_model("ViT-B-32").visual.eval()
        pictures = torch.randn(SIZE, 3, 224, 224)

        def loss() -> torch.Tensor:
            with torch.inference_mode():
                target = tower(pictures).clone()
            data.image["t"].copy_(target)
            return ours(data, ours.draw(SIZE, generator))["loss"]

        steps = {"align, ViT-S, ViT-B/32 image tower in the step": step(ours, loss), **steps}
    return steps


def teacher(rounds: int) -> None:
    show(compared(align_steps(teacher=True), rounds))
    for kind in ("cached", "tower"):
        command = [sys.executable, __file__, "--peak", kind]
        print(f"peak memory, {kind:8} {subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()}", flush=True)


def peak(kind: str) -> None:
    """Child: two steps of one kind alone."""
    run = next(iter(align_steps(teacher=kind == "tower").values()))
    run(), run()
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    print(f"{int(line.split()[1]) / 2**20:.2f} GiB")


def encoders(rounds: int) -> None:
    def pretraining(recipe: str, points: int, size: int) -> Callable[[], None]:
        config = configured(recipe, "distill")
        model, given, generator = Distill(build(config.encoder.name), config.distill), batch(points, size), torch.Generator()
        return step(model, lambda: model(given, model.draw(size, generator))["loss"])

    show(compared({name: pretraining(name, 1024, SIZE) for name in ("point-mae", "pointmamba")}, rounds))
    side = 4096
    left, right = torch.randn(side, side), torch.randn(side, side)
    times = compared({"point-m2ae, batch 16": pretraining("point-m2ae", 2048, 16), "matrix product": lambda: left @ right}, rounds)
    m2ae, product = (statistics.median(seconds) for seconds in times.values())
    print(f"point-m2ae, batch 16: {m2ae:.2f} s; {side} x {side} float32 matrix product: {2 * side**3 / product / 1e9:.0f} GFLOP/s")


def data(rounds: int) -> None:
    from trainer import data as loading

    with tempfile.TemporaryDirectory(prefix="mmpd-bench-") as place:
        path = Path(place) / "c.zarr"
        synthetic.write(path, shapes=2048, shard=128, views=12, points=PointSpec(), teachers=(synthetic.teacher("t", 512),))
        needs = Needs(teachers=True, centres=32)
        source = loading.Data([store.open_cache(path)], DataConfig(templates=0, splits=()), batch=SIZE, seed=0, needs=needs)
        model = Align(build("pointmae-tiny"), (Teacher(name="t", dim=512, text=True, objective="contrast"),), AlignOptions())
        generator, held, count = torch.Generator(), source.batch(0), 40
        run_on = {"now": held}
        one = step(model, lambda: model(run_on["now"], model.draw(SIZE, generator))["loss"])
        waits: list[float] = []

        def from_memory() -> None:
            run_on["now"] = held
            one()

        # Turns are taken step by step: over whole rounds of steps the machine's own ups and downs are larger than the difference.
        with closing(loading.feed(source, range(rounds * count), slice(None), threads=2, device=torch.device("cpu"))) as feed:

            def from_cache() -> None:
                start = time.perf_counter()
                run_on["now"] = next(feed)
                waits.append(time.perf_counter() - start)
                one()

            times = compared({"a step on one batch in memory": from_memory, "a step from the cache": from_cache}, rounds * count - 1)
        show(times)
        memory, cache = times.values()
        print(f"waiting for data: {sum(waits[1:]) / sum(cache):.2%} of the time; per round a step from the cache takes", end=" ")
        ratios = [sum(cache[i : i + count]) / sum(memory[i : i + count]) for i in range(0, len(cache), count)]
        print(f"{statistics.median(ratios):.3f}x a step from memory ({min(ratios):.3f} to {max(ratios):.3f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=["distill", "teacher", "encoders", "data"])
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        peak(arguments.peak)
        return
    for part in (distill, teacher, encoders, data):
        if arguments.only in (None, part.__name__):
            part(arguments.rounds)


if __name__ == "__main__":
    main()
