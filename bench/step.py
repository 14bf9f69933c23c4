"""What a training step costs: against a plain Point-MAE step, a peer's, a teacher in the loop, and data already in memory.

    python bench/step.py                         # distill, teacher, encoders, threads, data; --only NAME for one of them
    python bench/step.py --peers PYTHON          # also torch-pointcloud's steps, in that interpreter

distill  stage 2 with ViT-S at batch 32, against the plain Point-MAE step of `plain_pointmae.py` and torch-pointcloud's, in float32 and in
         bfloat16; as shipped against the plain one in float32; and against its own arithmetic at the rate of one large matrix product
teacher  a cached stage-1 step with ViT-S at batch 32, against forward and backward pass of its Transformer alone, and against the same step
         with a ViT-B/32 image tower (random weights: right for timing only) run on 32 pictures in it; and the peak memory of both
encoders the peers' own pre-training with PointMamba against the ViT of its width and depth, batch 32; with Point-M2AE at batch 16,
         against torch-pointcloud's
threads  a stage-1 step of the tiny encoder by one thread, as `mmpd-train` trains a small model, against a thread for each processor,
         which sleep or spin while they wait
data     the tiny encoder fed from a cache by the trainer's own loader, against the same step on one batch held in memory

Every step runs in a process of its own, ours with the memory settings of `mmpd-train`; plain steps and peers are shown without and with
them. Plain Point-MAE and the peers find farthest points in the step and reconstruct points. Our stage 2 reads stored order and distils.
The peer has an environment of its own, which one makes by

    python -m venv peer && peer/bin/pip install torch==2.13.0 torch-pointcloud==0.0.18      # then --peers peer/bin/python

Its farthest points and nearest neighbours are ours, since its own need an extension that is not on PyPI; see `peer_step.py`.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import machine
import torch
from measure import Report, Turn
from served import Served, serve
from torch.utils.flop_counter import FlopCounterMode

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
SMALLER = {"point-m2ae": 16}
"""Shapes in a batch where they are not `SIZE`."""
DIFFERS = "ours reads stored order and distils, the others find farthest points and reconstruct points"
"""What the title of a row says where ours and the others do not do the same work."""
PRECISIONS = ("float32", "bfloat16")
Loss = Callable[[], torch.Tensor]


# ------------------------------------------------------------------------------------------------------------ the steps


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


def step(model: torch.nn.Module, loss: Loss, precision: str = "float32") -> Callable[[], None]:
    """One step of training."""
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-4, fused=True)

    def run() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            value = loss()
        value.backward()
        optimizer.step()

    return run


def distill() -> tuple[torch.nn.Module, Loss]:
    """Stage 2 with ViT-S."""
    data, model, generator = batch(), Distill(build("pointmae-s"), DistillOptions()), torch.Generator()
    return model, lambda: model(data, model.draw(SIZE, generator))["loss"]


def plain() -> tuple[torch.nn.Module, Loss]:
    from plain_pointmae import PlainPointMAE

    data, model = batch(), PlainPointMAE()
    return model, lambda: model(data.points)


def align(encoder: str = "pointmae-s") -> tuple[torch.nn.Module, Loss]:
    """Stage 1, targets from the cache."""
    data, generator = batch(), torch.Generator()
    model = Align(build(encoder), (Teacher(name="t", dim=512, text=True, objective="contrast"),), AlignOptions())
    return model, lambda: model(data, model.draw(SIZE, generator))["loss"]


def tower() -> tuple[torch.nn.Module, Loss]:
    """The same with a teacher's image tower in the step."""
    from pipeline.torchvision_ops import declare_missing

    declare_missing()
    import open_clip

    data, generator = batch(), torch.Generator()
    model = Align(build("pointmae-s"), (Teacher(name="t", dim=512, text=True, objective="contrast"),), AlignOptions())
    teacher, pictures = open_clip.create_model("ViT-B-32").visual.eval(), torch.randn(SIZE, 3, 224, 224)

    def loss() -> torch.Tensor:
        with torch.inference_mode():
            target = teacher(pictures).clone()
        data.image["t"].copy_(target)
        return model(data, model.draw(SIZE, generator))["loss"]

    return model, loss


def transformer() -> tuple[torch.nn.Module, Loss]:
    """The blocks of ViT-S alone, on the tokens of all groups."""
    model = build("pointmae-s").transformer
    tokens = torch.randn(SIZE, 64, 384)
    return model, lambda: model(tokens).mean()


def pretraining(recipe: str, points: int, size: int) -> tuple[torch.nn.Module, Loss]:
    config = configured(recipe, "distill")
    model, given, generator = Distill(build(config.encoder.name), config.distill), batch(points, size), torch.Generator()
    return model, lambda: model(given, model.draw(size, generator))["loss"]


STEPS: dict[str, Callable[[], tuple[torch.nn.Module, Loss]]] = {
    "distill": distill,
    "plain": plain,
    "align": align,
    "align-tiny": lambda: align("pointmae-tiny"),
    "tower": tower,
    "transformer": transformer,
    "point-mae": lambda: pretraining("point-mae", 1024, SIZE),
    "pointmamba": lambda: pretraining("pointmamba", 1024, SIZE),
    "point-m2ae": lambda: pretraining("point-m2ae", 2048, SMALLER["point-m2ae"]),
}


def product(name: str, precision: str) -> Callable[[], None]:
    """One large matrix product with as many operations as a step."""
    with FlopCounterMode(display=False) as counted:
        step(*STEPS[name](), precision)()
    dtype, side = getattr(torch, precision), 2048
    left, right = torch.randn(round(counted.get_total_flops() / (2 * side * side)), side, dtype=dtype), torch.randn(side, side, dtype=dtype)

    def run() -> None:
        torch.mm(left, right)

    return run


def child(name: str, precision: str, *words: str, **environment: str) -> Served:
    """A step in a process of its own, with these environment variables in addition."""
    return Served([sys.executable, __file__, "--serve", name, "--precision", precision, *words], {**os.environ, **environment})


def compare(report: Report, what: str, children: dict[str, Served], rounds: int, per: float = SIZE, limits: tuple[str, ...] = ()) -> None:
    """A row of steps in turns. The children end."""
    try:
        report.compare(what, children, rounds, per, "samples", limits)
    finally:
        for one in children.values():
            one.close()


def shipped() -> tuple[str, str]:
    """The precision that a run takes here by itself, and why. `against.py` runs this file with older packages, too."""
    try:
        from trainer import arithmetic
    except ImportError:
        return "float32", "that checkout takes no other on a CPU"
    chosen = arithmetic.choose("auto", torch.device("cpu"))
    return chosen.precision, chosen.why


def keep_freed() -> None:
    """The memory settings of `mmpd-train`, if that has any."""
    try:
        from trainer import machine
    except ImportError:
        return
    machine.keep_freed()


# ------------------------------------------------------------------------------------------------------------- the rows


def stage2(report: Report, rounds: int, peers: str) -> None:
    for precision in PRECISIONS:
        children = {"ours": child("distill", precision, "--keep"), "plain Point-MAE": child("plain", precision)}
        children["plain, memory settings as ours"] = child("plain", precision, "--keep")
        if peers:
            children |= both(peers, "Point-MAE", precision)
        else:
            report.missing(f"torch-pointcloud's Point-MAE, {precision}", "needs --peers PYTHON")
        compare(report, f"stage 2, ViT-S, batch 32, {precision}; {DIFFERS}", children, rounds)
        ways = {"ours": child("distill", precision, "--keep"), "its arithmetic": child("distill", precision, "--product")}
        what = f"stage 2, {precision}, against one large matrix product of as many operations"
        compare(report, what, ways, rounds, limits=("its arithmetic",))
    precision, why = shipped()
    ways = {
        "ours": child("distill", precision, "--keep"),
        "plain Point-MAE, float32, without our memory settings": child("plain", "float32"),
    }
    compare(report, f"stage 2 as shipped: {precision}, since {why}; {DIFFERS}", ways, rounds)


def both(python: str, model: str, precision: str) -> dict[str, Served]:
    """torch-pointcloud's step without and with our memory settings."""
    command = [python, str(Path(__file__).with_name("peer_step.py")), model.lower(), "--precision", precision]
    name = f"torch-pointcloud's {model}"
    return {name: Served(command), f"{name}, memory settings as ours": Served([*command, "--keep"])}


def stage1(report: Report, rounds: int, peers: str) -> None:
    for name in dict.fromkeys(("float32", shipped()[0])):
        ways = {"ours": child("align", name, "--keep"), "the Transformer alone": child("transformer", name, "--keep")}
        ways["ViT-B/32 image tower in the step"] = child("tower", name, "--keep")
        compare(report, f"stage 1, ViT-S, batch 32, targets from the cache, {name}", ways, rounds)
    peaks = {name: float(subprocess.run([sys.executable, __file__, "--peak", kind], capture_output=True, text=True, check=True).stdout)
             for name, kind in (("ours", "align"), ("ViT-B/32 image tower in the step", "tower"))}  # fmt: skip
    report.figure("peak memory of stage 1, float32", peaks, "GiB")


def encoders(report: Report, rounds: int, peers: str) -> None:
    for precision in PRECISIONS:
        ways = {"ours, PointMamba": child("pointmamba", precision, "--keep"), "ours, Point-MAE": child("point-mae", precision, "--keep")}
        compare(report, f"PointMamba's pre-training, batch 32, {precision}", ways, rounds)
        if not peers:
            report.missing(f"torch-pointcloud's Point-M2AE, {precision}", "needs --peers PYTHON")
            continue
        if precision == "bfloat16":
            report.missing(
                f"torch-pointcloud's Point-M2AE, {precision}", "under autocast its forward pass fails: it mixes types in an assignment"
            )
        ways = {"ours": child("point-m2ae", precision, "--keep")}
        if precision == "float32":
            ways |= both(peers, "Point-M2AE", precision)
        compare(
            report,
            f"Point-M2AE's pre-training, batch 16, {precision}; all reconstruct points, ours reads stored order",
            ways,
            rounds,
            per=16,
        )


def threads(report: Report, rounds: int, peers: str) -> None:
    precision, _ = shipped()
    ways = {
        "one thread": child("align-tiny", precision, "--keep", OMP_NUM_THREADS="1"),
        "a thread for each processor, which sleeps while it waits": child("align-tiny", precision, "--keep", OMP_WAIT_POLICY="PASSIVE"),
        "a thread for each processor, which spins": child("align-tiny", precision, "--keep"),
    }
    compare(report, f"stage 1, tiny encoder, batch 32, {precision}", ways, rounds)


def data(report: Report, rounds: int, peers: str) -> None:
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
        turns: dict[str, list[Turn]] = {"from the cache": [], "on one batch in memory": []}

        def timed(run: Callable[[], None]) -> tuple[float, float]:
            start, used = time.perf_counter(), machine.own()
            run()
            return time.perf_counter() - start, machine.own() - used

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

            for _ in range(rounds):
                taken = [(timed(from_cache), timed(from_memory)) for _ in range(count)]
                for name, own in zip(turns, zip(*taken, strict=True), strict=True):
                    turns[name].append(Turn(sum(wall for wall, _ in own), sum(used for _, used in own), count * SIZE, count))
        report.row("a step of the tiny encoder, stage 1, batch 32", turns, "samples", ("on one batch in memory",))
        wall = sum(turn.wall for turn in turns["from the cache"])
        print(f"  waiting for data: {sum(waits[1:]) / wall:.2%} of the time", flush=True)


ROWS = {"distill": stage2, "teacher": stage1, "encoders": encoders, "threads": threads, "data": data}


def peak(name: str) -> None:
    """Child: two steps of one kind alone."""
    run = step(*STEPS[name]())
    run(), run()
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    print(int(line.split()[1]) / 2**20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=ROWS)
    parser.add_argument("--peers", metavar="PYTHON", default="", help="an interpreter with torch-pointcloud")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help=argparse.SUPPRESS)
    parser.add_argument("--keep", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--product", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.keep:
        keep_freed()
    if arguments.peak:
        peak(arguments.peak)
    elif arguments.serve:
        run = product(arguments.serve, arguments.precision) if arguments.product else step(*STEPS[arguments.serve](), arguments.precision)
        serve(run, SMALLER.get(arguments.serve, SIZE))
    else:
        with Report("step") as report:
            for name, rows in ROWS.items():
                if arguments.only in (None, name):
                    rows(report, arguments.rounds, arguments.peers)


if __name__ == "__main__":
    main()
