"""What a GPU makes of training, teachers, captions and drawing: one run of at most eight minutes, which makes its own data.

    python bench/gpu.py                          # or `make bench-gpu`; rows go to build/bench/gpu.json as they are measured
    python bench/gpu.py --device cpu --smoke     # every line of it, at sizes that mean nothing
    python bench/gpu.py --only steps --only feeding

All weights are random, which is right for timing and for nothing else. A section that fails leaves its error as a row, and the next one
begins. A run that is cut off leaves the rows that it has.

limits    one large matrix product in bf16, a copy inside the memory of the GPU, and copies to it: what nothing can beat
steps     the trainer's own step, both stages and three families, batch 128 and 512: samples/s, peak memory, arithmetic as a share of the
          matrix product's, and how often the CPU waits for the GPU
feeding   the same step fed from a cache, from arrays in the memory of the GPU, and on one batch that stays there
teachers  images/s of towers as large as those of CLIP ViT-B/32 and OpenCLIP ViT-bigG/14, in bf16
captions  captions/s of a model as large as BLIP-2 with OPT 2.7B: our captioner against the plain `generate` of transformers
drawing   views/s of one process that draws by EGL, loading apart
sizes     a step with encoders of sizes B and L, with and without recomputed activations
profile   where the time of the slowest step goes
modes     the step as it is, compiled, as CUDA graphs, and with measured kernels; last, since compiling may take what is left

Letters: B shapes, G tokens, D width.
"""

import argparse
import contextlib
import functools
import itertools
import os
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from measure import FOLDER, Report, Turn
from torch.utils.flop_counter import FlopCounterMode

from cache_schema import synthetic
from cache_schema.errors import UserError
from cache_schema.spec import CaptionSpec, GuideSpec, LabelSet, PointSpec, ViewSpec
from trainer import data as loading
from trainer import loop, prepare
from trainer.batch import Batch
from trainer.distributed import Ranks, device_of
from trainer.meter import Meter, Watch
from trainer.recipes import TEACHERS, StageName, configured

SECONDS: Final = 470.0
"""Time of the whole run. What is still at work ten seconds later, such as a compiler, is ended."""
BUDGETS: Final = {
    "limits": 15.0,
    "steps": 100.0,
    "feeding": 40.0,
    "teachers": 35.0,
    "captions": 95.0,
    "drawing": 20.0,
    "sizes": 55.0,
    "profile": 15.0,
    "modes": 95.0,
}
"""Seconds of each section, in their order. A section begins no new row after its time."""
FAMILIES: Final = ("pointmae", "pointm2ae", "pointmamba")
STAGES: Final[tuple[StageName, ...]] = ("align", "distill")
WIDTHS: Final = (1280, 1152, 1024)
"""Widths of the embeddings of `trainer.recipes.TEACHERS`."""


class Late(Exception):
    """The time of a section is over."""


@dataclass
class Session:
    """What all sections use."""

    device: torch.device
    small: bool
    report: Report
    folder: Path
    """A temporary folder for data."""
    end: float = 0.0
    """When the present section must stop, by `time.monotonic`."""
    peak: float | None = None
    """Operations in a second of the large matrix product."""
    slowest: tuple[float, str, Callable[[], object]] | None = None
    """The slowest step: seconds for a sample, its name, and the step."""

    def size(self, usual: int, small: int) -> int:
        """A size, or the one for `--smoke`."""
        return small if self.small else usual

    def synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def timed(self, run: Callable[[], object], per: float, seconds: float = 2.0, rounds: int = 5) -> list[Turn]:
        """Time a function after two calls that do not count: `rounds` turns of equal numbers of calls, about `seconds` together. With
        `--smoke` the second call is timed.

        Raises:
            Late: the time of the section is over.
        """
        if time.monotonic() > self.end:
            raise Late
        run()
        self.synchronise()
        calls = 1
        if not self.small:
            start = time.perf_counter()
            run()
            self.synchronise()
            calls = max(1, round(seconds / rounds / max(time.perf_counter() - start, 1e-6)))
        turns = []
        for _ in range(self.size(rounds, 1)):
            wall, processor = time.perf_counter(), time.process_time()
            for _ in range(calls):
                run()
            self.synchronise()
            turns.append(Turn(time.perf_counter() - wall, time.process_time() - processor, per * calls, calls))
        return turns

    def facts(self, what: str, values: dict[str, float], unit: str) -> None:
        """Figures that are not compared with each other."""
        self.report.figure(what, values, unit, compared=False)


def best(turns: list[Turn]) -> float:
    """Units in a second in the middle turn."""
    return sorted(one.units / one.wall for one in turns)[len(turns) // 2]


# --------------------------------------------------------------------------------------------------------------- limits


def limits(session: Session) -> None:
    side, device = session.size(8192, 64), session.device
    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    turns = session.timed(lambda: left @ right, 2 * side**3 / 1e12)
    session.peak = 1e12 * best(turns)
    session.report.row(f"matrix product of {side} x {side} in bf16", {"torch": turns}, "TFLOP")
    count = session.size(1 << 30, 1 << 12)
    here, there = (torch.empty(count, dtype=torch.uint8, device=device) for _ in range(2))
    session.report.row("copy in the memory of the device", {"copy": session.timed(lambda: here.copy_(there), count / 1e9)}, "GB")
    pageable = torch.empty(count, dtype=torch.uint8)
    ways = {"pageable": session.timed(lambda: here.copy_(pageable), count / 1e9)}
    if device.type == "cuda":
        pinned = pageable.pin_memory()
        ways = {"page-locked": session.timed(lambda: here.copy_(pinned, non_blocking=True), count / 1e9), **ways}
    session.report.row("copy to the device", ways, "GB")


# ---------------------------------------------------------------------------------------------------------------- steps


def cache(session: Session) -> Path:
    """A cache of random numbers as wide as the recipes' own: three teachers, 1,024 points a shape, and a guide."""
    path = session.folder / "shapes.zarr"
    if not path.exists():
        teachers = [synthetic.teacher(name, dim, text="dino" not in name) for name, dim in zip(TEACHERS, WIDTHS, strict=True)]
        shapes, points = session.size(1600, 24), session.size(1024, 256)
        synthetic.write(
            path,
            shapes=shapes,
            shard=session.size(400, 8),
            views=session.size(4, 2),
            points=PointSpec(count=points, blocks=2, ordered=session.size(512, 256)),
            teachers=tuple(teachers),
            labels=LabelSet(name="source", classes=("cone", "cube", "torus"), templates=("a {}", "the shape of a {}")),
            guide=GuideSpec(name="bench", encoder="none", weights="none", tokens=session.size(64, 32), dim=384, blocks=2),
        )
    return path


class Trained:
    """A training of the trainer's own, of which single steps are run."""

    def __init__(self, session: Session, stage: StageName, encoder: str, batch: int, *settings: str) -> None:
        chosen = [f"encoder.name={encoder}", f"optim.batch={batch}", "optim.epochs=1000", "probe=", *settings]
        config = configured("mmpd", stage, chosen + ["start=random"] * (stage == "distill"))
        self.ranks = Ranks(device=session.device)
        self.training = prepare.prepared(config, [cache(session)], Path("bench"), prepare.Sources(), self.ranks, asked=())
        self.model: torch.nn.Module = self.training.stage
        self.training.stage.train()
        self.meter, self.step = Meter(Watch(1e9, str), batch), 0
        self.held = self.training.data.batch(0).to(session.device)
        session.synchronise()

    def run(self, batches: Iterator[Batch] | None = None) -> None:
        """One step, on the next batch or on the one that is held. The values of the step before are read, as in a training."""
        self.step += 1
        given = itertools.repeat(self.held) if batches is None else batches
        names, values = loop._step(self.training, self.model, given, self.step, 1e-5, self.meter, self.ranks)
        self.meter.add(self.step, names, values)

    def operations(self) -> float:
        """Multiplications and additions of one step, forth and back. Products of matrices, convolutions and attention count."""
        with FlopCounterMode(display=False) as counter:
            self.run()
        return float(counter.get_total_flops())

    def waits(self) -> int:
        """How often the CPU waits for the GPU in one step, the reading of values apart."""
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                self.run()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return sum("synchroniz" in str(one.message) for one in caught)


def name_of(session: Session, family: str, size: str = "s") -> str:
    return f"{family}-tiny" if session.small else f"{family}-{size}"


def steps(session: Session) -> None:
    for batch in (4,) if session.small else (128, 512):
        for family, stage in itertools.product(FAMILIES, STAGES):
            encoder = name_of(session, family)
            what = f"{stage}, {encoder}, batch {batch}"
            with memory(session, what) as before:
                measured(session, Trained(session, stage, encoder, batch), what, batch, before)


def measured(session: Session, one: Trained, what: str, batch: int, before: int) -> None:
    """The rows of one training. `before`: bytes of the GPU that were taken before it was made."""
    cuda = session.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(session.device)
    turns = session.timed(one.run, batch)
    peak = torch.cuda.max_memory_allocated(session.device) - before if cuda else 0
    session.report.row(f"step: {what}", {"as shipped": turns}, "samples")
    if session.slowest is None or 1 / best(turns) > session.slowest[0]:
        session.slowest = 1 / best(turns), what, one.run
    operations = one.operations() / batch
    session.facts(f"arithmetic: {what}", {"a sample": operations / 1e9}, "GFLOP")
    if session.peak:
        session.facts(f"share of the matrix product's rate: {what}", {"model": operations * best(turns) / session.peak}, "")
    if cuda:
        session.facts(f"peak memory: {what}", {"allocated": peak / 2**30}, "GiB")
        session.facts(f"waits of the CPU for the GPU: {what}", {"in a step": one.waits()}, "")


@contextlib.contextmanager
def memory(session: Session, what: str) -> Iterator[int]:
    """Turn a lack of memory into a row, so that smaller things are still measured; and free what was used. Yields the bytes of the GPU that
    are taken already."""
    try:
        yield torch.cuda.memory_allocated(session.device) if session.device.type == "cuda" else 0
    except torch.OutOfMemoryError as error:
        session.report.missing(what, f"out of memory: {str(error).splitlines()[0]}")
    finally:
        if session.device.type == "cuda":
            torch.cuda.empty_cache()


def feeding(session: Session) -> None:
    batch, encoder = session.size(512, 4), name_of(session, "pointmae")
    for stage in STAGES:
        ways: dict[str, list[Turn]] = {}
        for where, resident in (("from a cache", "no"), ("from the memory of the device", "device")):
            one = Trained(session, stage, encoder, batch, f"data.resident={resident}")
            feed = loading.feed(one.training.data, range(10**6), slice(None), threads=2, device=session.device)
            with contextlib.closing(feed):
                run = lambda one=one, feed=feed: one.run(feed)  # noqa: E731
                ways[where] = session.timed(run, batch)
            if where == "from a cache":
                ways["one batch that stays there"] = session.timed(one.run, batch)
        session.report.row(f"feeding: {stage}, {encoder}, batch {batch}", ways, "samples", ("one batch that stays there",))


def sizes(session: Session) -> None:
    batch, cuda = session.size(128, 4), session.device.type == "cuda"
    for size, family in itertools.product(("b",) if session.small else ("b", "l"), FAMILIES):
        encoder, ways, peaks = name_of(session, family, size), {}, {}
        fitting = ["distill.heads=16"] if size == "l" else []
        for what, again in (("all activations kept", "false"), ("activations computed again", "true")):
            with memory(session, f"step: distill, {encoder}, batch {batch}, {what}") as before:
                one = Trained(session, "distill", encoder, batch, *fitting, f"recompute={again}")
                if cuda:
                    torch.cuda.reset_peak_memory_stats(session.device)
                ways[what] = session.timed(one.run, batch)
                if cuda:
                    peaks[what] = (torch.cuda.max_memory_allocated(session.device) - before) / 2**30
                del one
        if ways:
            session.report.row(f"sizes: distill, {encoder}, batch {batch}", ways, "samples")
        if peaks:
            session.facts(f"sizes: peak memory, distill, {encoder}, batch {batch}", peaks, "GiB")


def modes(session: Session) -> None:
    batch, encoder = session.size(128, 4), name_of(session, "pointmae")
    plain: list[Turn] = []
    for mode in ("as it is", *(("aot_eager",) if session.small else ("default", "reduce-overhead", "max-autotune"))):
        one = Trained(session, "distill", encoder, batch)
        if mode != "as it is":
            one.model.compile(**({"backend": mode} if session.small else {"mode": mode}))
        began = time.perf_counter()
        one.run()
        one.meter.catch_up()
        took, loss = time.perf_counter() - began, one.meter.means()["loss"]
        turns = session.timed(one.run, batch)
        plain = plain or turns
        session.report.row(f"modes: distill, {encoder}, batch {batch}, {mode}", {mode: turns, "as it is": plain}, "samples")
        session.facts(f"modes: first step, {mode}", {"with compiling": took}, "s")
        session.facts(f"modes: loss of the first step, {mode}", {"loss": loss}, "")
        torch.compiler.reset()


def profile(session: Session) -> None:
    if session.slowest is None:
        session.report.missing("profile", "no step was measured")
        return
    _, what, run = session.slowest
    cuda = session.device.type == "cuda"
    activities = [torch.profiler.ProfilerActivity.CPU] + [torch.profiler.ProfilerActivity.CUDA] * cuda
    count = session.size(5, 1)
    run()
    session.synchronise()
    start = time.perf_counter()
    with torch.profiler.profile(activities=activities) as taken:
        for _ in range(count):
            run()
        session.synchronise()
    wall = time.perf_counter() - start
    # On a GPU, kernels and copies are events of their own. An operation's event has their time, too, so it would count twice.
    events = [event for event in taken.key_averages() if (event.device_type == torch.autograd.DeviceType.CUDA) == cuda]
    spent = {event.key: (event.self_device_time_total if cuda else event.self_cpu_time_total) / 1e6 for event in events}
    session.facts(f"profile of a step, {what}", {"by the clock, profiled": 1e3 * wall / count}, "ms")
    session.facts(f"profile of a step, {what}: launches", {"in a step": sum(event.count for event in events) / count}, "")
    session.facts(f"profile of a step, {what}: share of the time in which they run", {"share": sum(spent.values()) / wall}, "")
    top = sorted(spent.items(), key=lambda item: -item[1])[:15]
    session.facts(f"profile of a step, {what}: where the time goes", {name[:80]: 1e3 * seconds / count for name, seconds in top}, "ms")


# ------------------------------------------------------------------------------------------------- teachers and captions


def teachers(session: Session) -> None:
    from pipeline.torchvision_ops import declare_missing

    declare_missing()
    import open_clip
    from open_clip.model import _build_vision_tower

    from pipeline.models import Turns

    batch = session.size(64, 2)
    for name in ("ViT-B-32", "ViT-bigG-14"):
        config = open_clip.get_model_config(name)
        seen = {**config["vision_cfg"], **({"image_size": 28, "patch_size": 14, "layers": 1} if session.small else {})}
        with memory(session, f"teacher: {name}"):
            with made_on(session.device):
                tower = _build_vision_tower(config["embed_dim"], seen).eval()
            side = seen["image_size"]
            pictures = torch.zeros(batch, 3, side, side)
            there = pictures.to(session.device, torch.bfloat16)
            turns = Turns(str(session.device)) if session.device.type == "cuda" else contextlib.nullcontext()

            def copied(tower: Any = tower, pictures: torch.Tensor = pictures) -> None:
                tower(pictures.to(session.device, torch.bfloat16)).float().cpu()

            def two(copied: Callable[[], None] = copied, turns: Any = turns) -> None:
                """Two threads, as a build has them."""
                threads = [threading.Thread(target=in_turn, args=(turns, copied)) for _ in range(2)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()

            with torch.inference_mode():
                ways = {
                    "pictures on the device": session.timed(lambda tower=tower, there=there: tower(there), batch),
                    "pictures copied, one batch at a time": session.timed(copied, batch),
                    "pictures copied, two batches at once": session.timed(two, 2 * batch),
                }
            session.report.row(f"teacher: {name}, batch {batch}, bf16", ways, "pictures")


def in_turn(turns: Any, work: Callable[[], None]) -> None:
    with torch.inference_mode(), turns:
        work()


@contextlib.contextmanager
def made_on(device: torch.device) -> Iterator[None]:
    """Make models in bf16 on a device: on the CPU it takes minutes to draw billions of weights."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with device:
            yield
    finally:
        torch.set_default_dtype(usual)


WORDS: Final = "a an the of on in with and one two small large round flat long tall thin heavy white grey red green blue black".split()


def blip2(session: Session) -> Path:
    """A folder with a BLIP-2 of random weights, as large as the one with OPT 2.7B."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import Blip2Config, Blip2ForConditionalGeneration, Blip2Processor, BlipImageProcessor, PreTrainedTokenizerFast

    folder, special = session.folder / "blip2", ["<s>", "<pad>", "</s>", "<unk>", "<image>"]
    tokens = Tokenizer(models.BPE(unk_token="<unk>"))
    tokens.pre_tokenizer, tokens.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=special, initial_alphabet=letters, show_progress=False)
    tokens.train_from_iterator([f" {word}" for word in WORDS for _ in range(2)], trainer)
    tokens.post_processor = processors.TemplateProcessing(single="</s> $A", special_tokens=[("</s>", 2)])
    named = {"bos_token": "</s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokens, additional_special_tokens=["<image>"], **named)
    side, queries = session.size(224, 28), session.size(32, 4)
    Blip2Processor(BlipImageProcessor(size={"height": side, "width": side}), tokenizer, num_query_tokens=queries).save_pretrained(folder)
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    opt = {"hidden_size": 2560, "num_hidden_layers": 32, "num_attention_heads": 32, "ffn_dim": 10240, "word_embed_proj_dim": 2560}
    ends = {"bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 1, "vocab_size": session.size(50304, len(tokenizer))}
    config = Blip2Config(
        vision_config={**small, "intermediate_size": 64, "image_size": side} if session.small else {},
        qformer_config={**small, "intermediate_size": 64, "encoder_hidden_size": 32} if session.small else {},
        text_config={"model_type": "opt", **ends, **({**small, "ffn_dim": 64, "word_embed_proj_dim": 32} if session.small else opt)},
        num_query_tokens=queries,
        image_token_index=4,
    )
    with made_on(session.device):
        model = Blip2ForConditionalGeneration(config)
    model.save_pretrained(folder)
    return folder


def captions(session: Session) -> None:
    from pipeline.torchvision_ops import declare_missing

    declare_missing()
    from pipeline.captioners import catalog

    count, samples, length = session.size(12, 2), session.size(4, 2), session.size(24, 4)
    with memory(session, "captions"):
        folder = blip2(session)
        spec = CaptionSpec(captioner="blip2", model=str(folder), samples=samples, max_tokens=length, precision="bfloat16", prompt="a")
        captioner: Any = catalog.load(spec, device=session.device)
        pictures = np.random.default_rng(0).integers(0, 255, (count, 64, 64, 3), np.uint8)

        def plain() -> None:
            inputs = captioner.processor(
                images=list(pictures), text=["a"] * count, return_tensors="pt", input_data_format="channels_last"
            ).to(session.device, torch.bfloat16)
            options = {"do_sample": True, "top_p": 0.9, "num_return_sequences": samples, "max_new_tokens": length}
            captioner.model.generate(**inputs, min_new_tokens=length, **options)

        def ours() -> None:
            captioner.caption(pictures, [str(i) for i in range(count)], ["shape"] * count)

        with torch.inference_mode():
            ways = {"ours": session.timed(ours, count * samples, 8.0), "plain generate": session.timed(plain, count * samples, 8.0)}
        what = f"captions: BLIP-2 with OPT 2.7B, bf16, {count} pictures, {samples} captions of {length} tokens each"
        session.report.row(what if not session.small else "captions: a small model", ways, "captions")


def drawing(session: Session) -> None:
    from pipeline import graphics

    os.environ |= graphics.environment(str(session.device))
    from pipeline.cameras import RIGS
    from pipeline.geometry import Mesh, normalized
    from pipeline.reading import load
    from pipeline.render import Renderer

    rings = session.size(100, 8)
    file = session.folder / "ball.obj"
    file.write_text(ball(rings))
    read = functools.partial(load, file, up="y", textures="grey")
    loaded = normalized(read(), "unit_sphere")
    assert isinstance(loaded, Mesh)
    renderer = Renderer(ViewSpec(rig=RIGS["ring12"]))
    views = len(renderer.render(loaded).rgb)
    what = f"drawing: {len(loaded.parts[0].faces):,} triangles by {renderer.describe()}, one process"
    session.report.row(what, {"draw": session.timed(lambda: renderer.render(loaded), views)}, "views")
    session.report.row("loading: the same shape from its file", {"read": session.timed(read, 1)}, "shapes")


def ball(rings: int) -> str:
    """A sphere as an OBJ file, with 4 rings^2 triangles or so."""
    across = 2 * rings
    up, around = np.meshgrid(np.linspace(0, np.pi, rings + 1), np.linspace(0, 2 * np.pi, across, endpoint=False), indexing="ij")
    points = np.stack([np.sin(up) * np.cos(around), np.cos(up), np.sin(up) * np.sin(around)], -1).reshape(-1, 3)
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in points]
    for i, j in itertools.product(range(rings), range(across)):
        a, b = i * across + j + 1, i * across + (j + 1) % across + 1
        lines += [f"f {a} {b} {b + across}", f"f {a} {b + across} {a + across}"]
    return "\n".join(lines) + "\n"


# ------------------------------------------------------------------------------------------------------------------ all


def described(session: Session) -> dict[str, object]:
    """The device and its software."""
    facts: dict[str, object] = {
        "device": str(session.device),
        "smoke": session.small,
        "cuda": torch.version.cuda,
        "time": time.strftime("%FT%TZ", time.gmtime()),
    }
    if session.device.type == "cuda":
        card = torch.cuda.get_device_properties(session.device)
        facts |= {"name": card.name, "memory_gib": round(card.total_memory / 2**30, 1), "capability": f"{card.major}.{card.minor}"}
        facts |= {"cudnn": torch.backends.cudnn.version(), "driver": driver()}
    return facts


def driver() -> str:
    """Version of the driver of the GPU; empty if it is not told."""
    try:
        return Path("/proc/driver/nvidia/version").read_text().splitlines()[0]
    except (OSError, IndexError):
        return ""


def run_all(session: Session, chosen: list[str], seconds: float) -> int:
    """Run sections, each within its time. Returns the number of those that measured something."""
    began, worked = time.monotonic(), 0
    for name, budget in BUDGETS.items():
        if chosen and name not in chosen:
            continue
        session.end = min(time.monotonic() + budget, began + seconds)
        before = len(session.report.rows)
        try:
            globals()[name](session)
        except Late:
            session.report.missing(name, "its time was over before the rest of its rows")
        except Exception as error:  # whatever it is, the other sections are worth having
            session.report.missing(name, f"{type(error).__name__}: {error}"[:500])
        worked += any("missing" not in row for row in session.report.rows[before:])
    return worked


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="a torch device")
    parser.add_argument("--smoke", action="store_true", help="sizes that mean nothing, to see that every line runs")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="time of the whole run")
    parser.add_argument("--only", action="append", choices=list(BUDGETS), help="a section; may be repeated")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where gpu.json goes")
    given = parser.parse_args(arguments)
    try:
        device = device_of(given.device)
    except UserError as error:
        print(f"bench/gpu.py: {error}", file=sys.stderr)
        return 1
    report = Report("gpu", given.folder)
    with report, tempfile.TemporaryDirectory(prefix="mmpd-bench-", ignore_cleanup_errors=True) as place:
        session = Session(device, given.smoke, report, Path(place))
        report.facts["gpu"] = described(session)
        print(", ".join(f"{key} {value}" for key, value in described(session).items()), flush=True)
        # A compiler cannot be asked to stop, and the rows are written.
        watchdog = threading.Timer(given.seconds + 10, lambda: os._exit(0 if any("missing" not in row for row in report.rows) else 1))
        watchdog.daemon = True
        watchdog.start()
        worked = run_all(session, given.only or [], given.seconds)
        watchdog.cancel()
    return 0 if worked else 1


if __name__ == "__main__":
    sys.exit(main())
