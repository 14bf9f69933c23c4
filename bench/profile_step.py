"""Where the time of a training step of stage 2 goes, against the time that its matrix products would take at the rate of one large product.

    python bench/profile_step.py [--steps 4] [--draw]

ViT-S, one thread, batch 32, in float32 and in bf16, in processor time, with the memory settings of `mmpd-train`. torch.profiler gives the
time of each operation. Hooks on modules tell which part of the model it belongs to; its backward pass belongs to the same part. `--draw`
writes docs/pictures/step.svg.
"""

import argparse
import contextlib
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from measure import Report, Turn
from step import SIZE, batch, keep_freed
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function

from trainer.distill import Distill
from trainer.encoders.blocks import Transformer
from trainer.encoders.catalog import build
from trainer.options import DistillOptions

PICTURE = Path(__file__).parent.parent / "docs" / "pictures" / "step.svg"
PARTS = {
    "patch embedding": "encoder.embed",
    "encoder": "encoder.transformer",
    "local decoder": "local.decoder",
    "global decoder": "summary.decoder",
}
"""Parts of a step that are modules, each with the name of its module in the stage."""
NEIGHBOURS, LOSSES, OPTIMISER, COPIES, REST = "grouping", "heads and losses", "optimiser", "casts and copies", "other"
NAMES = (*PARTS, NEIGHBOURS, LOSSES, OPTIMISER, COPIES, REST)
COPYING = {"aten::copy_", "aten::_to_copy", "aten::to", "aten::clone", "aten::contiguous", "aten::fill_", "aten::zero_", "aten::cat"}
"""Operations that move numbers and compute none."""
PRODUCTS = {"aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"}
MARK = "part: "
"""Beginning of the names under which the profiler records the parts."""


@dataclass
class Profile:
    """Seconds of a step by part, and FLOPs of its matrix products by part."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(NAMES, 0.0))
    flops: dict[str, float] = field(default_factory=lambda: dict.fromkeys(NAMES, 0.0))
    clock: float = 0.0
    """Seconds of a step without the profiler."""
    processor: float = 0.0
    """The same in processor time."""
    system: float = 0.0
    """Share of them that the system took, mostly for pages of memory that are new."""
    rate: float = 0.0
    """FLOP/s of one large matrix product."""


@contextlib.contextmanager
def marked(model: Distill) -> Iterator[None]:
    """Ranges of the profiler around the parts of a model."""
    handles, open_ranges = [], []

    def begin(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            open_ranges.append(record_function(MARK + name))
            open_ranges[-1].__enter__()

        return hook

    def end(*_: object) -> None:
        open_ranges.pop().__exit__(None, None, None)

    modules = dict(model.named_modules())
    for name, path in (*PARTS.items(), (LOSSES, "")):
        whole = modules[path]
        for module in whole.blocks if isinstance(whole, Transformer) else [whole]:  # its blocks: not always is it called itself
            handles += [module.register_forward_pre_hook(begin(name)), module.register_forward_hook(end)]
    patchify = model.encoder.patchify

    def grouping(*arguments: object) -> object:
        with record_function(MARK + NEIGHBOURS):
            return patchify(*arguments)

    model.encoder.patchify = grouping  # type: ignore[method-assign]
    try:
        yield
    finally:
        del model.encoder.patchify
        for handle in handles:
            handle.remove()


def part(event: FunctionEvent) -> str | None:
    """The innermost range around an operation."""
    while event is not None and not event.name.startswith(MARK):
        event = event.cpu_parent
    return event and event.name.removeprefix(MARK)


def ancestors(event: FunctionEvent) -> Iterator[FunctionEvent]:
    while event is not None:
        yield event
        event = event.cpu_parent


def sorted_by_part(events: list[FunctionEvent], steps: int) -> Profile:
    """Own time of every operation, given to its part; an operation of the backward pass to that of the forward pass that it undoes."""
    found, forward = Profile(), {}
    for event in events:
        if (name := part(event)) and event.sequence_nr >= 0:
            forward.setdefault(event.sequence_nr, name)
    for event in events:
        if event.name.startswith((MARK, "ProfilerStep")):
            continue
        name = part(event) or next((forward[one.sequence_nr] for one in ancestors(event) if one.sequence_nr in forward), REST)
        if any(one.name.startswith("Optimizer.") or one.name == "aten::_fused_adamw_" for one in ancestors(event)):
            name = OPTIMISER
        if name != OPTIMISER and event.name in COPYING:
            name = COPIES
        found.seconds[name] += event.self_cpu_time_total / 1e6 / steps
        if event.name in PRODUCTS:
            found.flops[name] += (event.flops or 0) / steps
    return found


def profiled(model: Distill, precision: torch.dtype, steps: int) -> Profile:
    """Profile some steps, after one that does not count."""
    data, generator = batch(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-4, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            loss = model(data, model.draw(SIZE, generator))["loss"]
        loss.backward()
        optimizer.step()

    step()
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    for _ in range(steps):
        step()
    plain, after = (time.perf_counter() - start) / steps, resource.getrusage(resource.RUSAGE_SELF)
    with marked(model), profile(activities=[ProfilerActivity.CPU], record_shapes=True, with_flops=True) as seen:
        for _ in range(steps):
            step()
    found = sorted_by_part(list(seen.events()), steps)
    system, user = after.ru_stime - before.ru_stime, after.ru_utime - before.ru_utime
    found.clock, found.processor, found.rate = plain, (system + user) / steps, rate(precision)
    found.system = system / (system + user)
    return found


def rate(precision: torch.dtype, side: int = 4096, rounds: int = 3) -> float:
    """FLOP/s of a large matrix product in processor time: the best of some."""
    left, right, out = (torch.randn(side, side).to(precision) for _ in range(3))
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        torch.mm(left, right, out=out)
        seconds.append(time.process_time() - start)
    return 2 * side**3 / min(seconds)


COLOURS = {  # Okabe and Ito, https://jfly.uni-koeln.de/color/; light enough for dark letters
    "patch embedding": "#7fb8dd",
    "encoder": "#7fd0b9",
    "local decoder": "#f2cf7f",
    "global decoder": "#f6e9a0",
    NEIGHBOURS: "#e5bbd3",
    LOSSES: "#eaae7f",
    OPTIMISER: "#b9b3dc",
    COPIES: "#b7bcc4",
    REST: "#e7e5e4",
}
WIDTH, LEFT, RIGHT = 720, 92, 640
"""Width of the picture; where bars begin, and where the longest one ends."""
STYLE = """text { fill: #1f2328; font-size: 14px; }
    .key { font-size: 13px; }
    .share { font-size: 13px; text-anchor: middle; }
    .name { font-weight: 650; }
    .card { fill: #fbfaf7; stroke: #d8d5cc; }
    .part { stroke: #fbfaf7; }"""


def picture(profiles: dict[str, Profile]) -> str:
    """An SVG with two bars for each precision: the step by parts, and what its matrix products would take at the rate of a large one."""
    scale = (RIGHT - LEFT) / max(one.processor for one in profiles.values())
    body, y = list(legend()), 130
    for precision, one in profiles.items():
        whole, ideal = sum(one.seconds.values()), sum(one.flops.values()) / one.rate
        body.append(text(24, y + 27, precision, "name"))
        body += bar(y, 42, {name: seconds / whole * one.processor * scale for name, seconds in one.seconds.items()}, shares=True)
        body.append(text(LEFT + one.processor * scale + 8, y + 27, f"{one.processor:.2f} s"))
        body += bar(y + 46, 18, {name: flops / one.rate * scale for name, flops in one.flops.items()}, shares=False)
        body.append(text(LEFT + ideal * scale + 8, y + 60, f"{ideal:.2f} s at {one.rate / 1e9:,.0f} GFLOP/s"))
        y += 92
    described = " ".join(told(precision, one) for precision, one in profiles.items())
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 28}" font-family="system-ui, Helvetica, Arial, sans-serif"'
            ' role="img" aria-labelledby="title desc">',
            f'  <title id="title">Where a step goes</title>\n  <desc id="desc">{described}</desc>\n  <style>\n    {STYLE}\n  </style>',
            f'  <rect class="card" x="1" y="1" width="{WIDTH - 2}" height="{y + 26}" rx="14"/>',
            text(24, 36, f"One training step of stage 2: ViT-S, batch {SIZE}, one core, processor time", "name"),
            *body,
            text(LEFT, y + 8, "Thin: its matrix products alone, at the rate of one large product.", "key"),
            "</svg>\n",
        )
    )


def text(x: float, y: float, words: str, kind: str = "plain") -> str:
    return f'  <text class="{kind}" x="{x:.1f}" y="{y:.1f}">{words}</text>'


def legend() -> Iterator[str]:
    """The colours of the parts, five in a line."""
    for i, name in enumerate(NAMES):
        x, y = (24, 168, 292, 446, 582)[i % 5], 58 + i // 5 * 26
        yield f'  <rect x="{x}" y="{y}" width="16" height="16" fill="{COLOURS[name]}"/>'
        yield text(x + 22, y + 13, name, "key")


def bar(y: float, height: float, widths: dict[str, float], shares: bool) -> Iterator[str]:
    """Parts beside each other, with their shares where they have room."""
    x, whole = float(LEFT), sum(widths.values())
    for name in NAMES:
        width = widths[name]
        yield f'  <rect class="part" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{height}" fill="{COLOURS[name]}"/>'
        if shares and width > 26:
            yield text(x + width / 2, y + height / 2 + 5, f"{width / whole:.0%}", "share")
        x += width


def told(precision: str, one: Profile) -> str:
    """A profile in words, for those who cannot see the picture."""
    whole, ideal = sum(one.seconds.values()), sum(one.flops.values()) / one.rate
    shares = ", ".join(f"{name} {seconds / whole:.0%}" for name, seconds in one.seconds.items())
    return f"{precision}: {one.processor:.2f} s of processor time a step: {shares}. At the rate of a large matrix product: {ideal:.2f} s."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--draw", nargs="?", const=PICTURE, type=Path)
    arguments = parser.parse_args()
    keep_freed()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    profiles = {}
    with Report("profile") as report:
        for name, precision in (("float32", torch.float32), ("bf16", torch.bfloat16)):
            one = profiles[name] = profiled(Distill(build("pointmae-s"), DistillOptions()), precision, arguments.steps)
            whole, flops = sum(one.seconds.values()), sum(one.flops.values())
            what = f"a step of stage 2, ViT-S, batch {SIZE}, one thread, {name}"
            limit = f"its products, {flops / SIZE / 1e9:.1f} GFLOP a sample, at {one.rate / 1e9:,.0f} GFLOP/s"
            turns = {"ours": [Turn(one.clock, one.processor, SIZE)], limit: [Turn(flops / one.rate, flops / one.rate, SIZE)]}
            report.row(what, turns, "samples", limits=(limit,))
            shares = {part: 100 * seconds / whole for part, seconds in one.seconds.items()}
            report.figure(f"{what}: share of its time", shares | {"the system": 100 * one.system}, "%", compared=False)
    if arguments.draw:
        arguments.draw.write_text(picture(profiles))


if __name__ == "__main__":
    main()
