"""The training loop, one for all stages. Read it from top to bottom: `train` is the whole story of a run.

    train(config, [Path("shapes.zarr")], Path("runs/align"))

Nothing that happens in a step depends on the steps before but for weights and optimiser: shapes, draws and drop path come from the run's
seed and the step's number. So a checkpoint needs no generator state, and a run that goes on from one ends as if it had never stopped.
"""

import contextlib
import dataclasses
import json
import math
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from rich.console import Console
from rich.text import Text
from torch import Tensor, nn

from cache_schema.spec import from_json, to_json
from cache_schema.store import Cache, differences, open_cache, write_file
from trainer import checkpoint, distributed, log, optim, signals
from trainer.augment import augment, draw
from trainer.batch import Batch
from trainer.checkpoint import Header, Loaded
from trainer.config import AlignConfig, DistillConfig
from trainer.data import Data, Needs, feed
from trainer.distributed import Ranks
from trainer.stage import Facts, Stage, build, teachers

MODEL, STEP, DROP_PATH = range(3)
"""What a generator is seeded for, beside the run's seed."""
CONFIG: Final = "config.json"
SETTLING: Final = 20
"""Steps whose mean loss is taken as that of the start, and of now, when looking for divergence."""


def train(
    config: AlignConfig | DistillConfig,
    caches: Sequence[Path],
    run: Path,
    *,
    guide_run: Path | None = None,
    resume: bool = False,
    device: str = "auto",
    console: Console | None = None,
) -> None:
    """Train one stage, to the end or to a signal, and leave checkpoint, metrics and curves in a folder.

    Args:
        config: see there.
        caches: one or more.
        run: the folder.
        guide_run: for stage 2, the run of stage 1 whose weights the student starts from or whose guide runs online.
        resume: go on with what is in the folder, if anything is.
        device: of torch; auto takes a GPU if there is one.
        console: where to speak; standard error by default.

    Raises:
        ValueError: something does not fit, memory does not suffice, or the training diverged.
        Stopped: it was asked to stop; all is saved.
    """
    console = console or Console(stderr=True)
    _check_folder(run, resume)
    with distributed.joined(device) as ranks, _memory_explained(config):
        guide = _load_guide(config, guide_run, ranks.device)
        accumulate = config.optim.accumulate
        micro = config.optim.batch // accumulate  # shapes of one forward pass, over all ranks
        own = ranks.share(micro)
        data = _open(config, caches, guide, micro, ranks)
        per_epoch = data.epoch / config.optim.batch
        steps = int(config.optim.epochs * per_epoch)
        if config.optim.epochs and not steps:
            raise ValueError(f"{config.optim.epochs} epochs of {data.epoch} shapes do not fill one batch of {config.optim.batch}")

        stage, facts = _build(config, data, guide)
        stage.to(ranks.device)
        optimizer = optim.adamw(stage, config.optim)
        average = optim.Average(stage, config.optim.ema)
        header = Header(config=config, facts=facts, caches=data.used, step=0, steps=steps, guide=guide.weights if guide else "")
        start = _restore(run, header, stage, optimizer, average) if resume and checkpoint.path(run).exists() else 0
        ranks.wait()  # nobody may look into the folder after the first rank has begun to write
        model = distributed.replicated(stage, ranks)
        if config.compile:
            model.compile()
        trained = [parameter for _, parameter in optim.named(stage)]
        generator = torch.Generator(ranks.device)
        half = config.precision == "bfloat16" or (config.precision == "auto" and ranks.device.type == "cuda")
        autocast = torch.autocast(ranks.device.type, torch.bfloat16, enabled=half)

        if ranks.first:
            _describe(run, header, stage, guide)
            size = sum(p.numel() for p in trained)
            told = f"{data}. {size:,} parameters, {steps} steps of {config.optim.batch} on {ranks.device}"
            console.print(Text(told), soft_wrap=True)
        watch = Watch(config.diverged)
        probe_steps = config.probe_every * per_epoch
        numbers = range(start * accumulate, steps * accumulate)
        batches = feed(data, numbers, own, threads=config.data.threads, device=ranks.device)

        def save(step: int) -> None:
            if ranks.first:
                now = dataclasses.replace(header, step=step)
                checkpoint.save(run, now, stage, optim.state(stage, optimizer), average.tensors)

        stage.train()
        step, unread, interval = start, None, []
        waited, began = 0.0, time.perf_counter()
        with (
            _logging(run, start, steps, console, ranks) as writer,
            contextlib.closing(batches),
            signals.postponed(ranks.count == 1) as asked,
        ):
            for step in range(start + 1, steps + 1):
                # ---- one step of training
                rate = optim.learning_rate(config.optim, step - 1, steps, per_epoch)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                parts = []
                for number in range((step - 1) * accumulate, step * accumulate):
                    waiting = time.perf_counter()
                    batch = next(batches)
                    waited += time.perf_counter() - waiting
                    torch.manual_seed(_seed(config.seed, DROP_PATH, number, ranks.rank))
                    generator.manual_seed(_seed(config.seed, STEP, number))
                    drawn = stage.draw(micro, generator).rows(own.start, own.stop)
                    changes = draw(config.augment, micro, data.points, generator).rows(own.start, own.stop)
                    alone = ranks.count == 1 or number + 1 == step * accumulate  # gradients meet after the last part
                    with contextlib.nullcontext() if alone else model.no_sync(), autocast:  # type: ignore[operator]
                        if guide is not None and online(config):
                            batch = _guided(batch, guide)
                        losses = model(dataclasses.replace(batch, points=augment(batch.points, changes)), drawn)
                        (losses["loss"] / accumulate).backward()
                    parts.append(torch.stack([loss.detach().float() for loss in losses.values()]))
                norm = nn.utils.clip_grad_norm_(trained, config.optim.clip or math.inf)
                optimizer.step()
                optimizer.zero_grad()
                if config.optim.ema:
                    average.update(stage)

                # ---- what came of it, read a step late so that the device runs ahead; but never saved unread
                if unread is not None:
                    interval.append(watch.read(*unread))
                found = ranks.mean(torch.cat([torch.stack(parts).mean(0), norm.detach().float().reshape(1)]))
                unread = step, (*losses, "grad_norm"), found
                stopping = ranks.any(asked())
                logging = step % config.log_every == 0 or step == steps or stopping
                probing = bool(config.probe) and step // probe_steps > (step - 1) // probe_steps
                saving = step % config.save_every == 0 or step == steps or stopping or probing
                if logging or saving:
                    interval.append(watch.read(*unread))
                    unread = None
                if logging:
                    elapsed = time.perf_counter() - began
                    speed = {"samples_per_s": len(interval) * config.optim.batch / elapsed, "data_wait": waited / elapsed}
                    if writer:
                        writer.write({"step": step, "epoch": step / per_epoch, **_means(interval), "lr": rate, **speed})
                if saving:
                    save(step)
                if probing:
                    if writer:
                        writer.write({"step": step, **_probe(config.probe, run, data.parts[0].cache, ranks.device)})
                    ranks.wait()
                if logging:  # what saving and probing took is in no interval
                    interval, waited, began = [], 0.0, time.perf_counter()
                if stopping:
                    break
        if not steps:
            save(0)
        if ranks.first:
            log.curves(run)
        ranks.wait()
    if step < steps:
        raise signals.Stopped


class Watch:
    """Looks at the losses of every step, and stops a run that has come to nothing."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.first: list[float] = []
        self.recent: deque[float] = deque(maxlen=SETTLING)

    def read(self, step: int, names: Sequence[str], values: Tensor) -> dict[str, float]:
        """The values of a step by name.

        Raises:
            ValueError: one is not finite, or the loss has grown beyond the limit.
        """
        found = dict(zip(names, values.tolist(), strict=True))
        infinite = [name for name, value in found.items() if not math.isfinite(value)]
        remedy = "Lower optim.lr or optim.clip and go on from the last checkpoint, which is from before, or begin anew"
        if infinite:
            raise ValueError(f"step {step}: {', '.join(infinite)} not finite ({found[infinite[0]]}). {remedy}")
        if len(self.first) < SETTLING:
            self.first.append(found["loss"])
        self.recent.append(found["loss"])
        start, now = sum(self.first) / len(self.first), sum(self.recent) / len(self.recent)
        if now > self.limit * start:
            raise ValueError(f"step {step}: diverged; the loss was {start:.4g} at the start and is {now:.4g} now. {remedy}")
        return found


def online(config: AlignConfig | DistillConfig) -> bool:
    """Whether the guide's features are made at every step."""
    return isinstance(config, DistillConfig) and config.needs_guide and config.guide_online


def _load_guide(config: AlignConfig | DistillConfig, run: Path | None, device: torch.device) -> Loaded | None:
    if not isinstance(config, DistillConfig):
        return None
    if not config.needs_guide_run:
        if run is not None:
            raise ValueError(f"the run {run} is of no use: the student starts from random weights (start=random). Leave --init out")
        return None
    if run is None:
        raise ValueError(
            "the student starts from its guide's weights: name the guide's run by --init RUN, or --set start=random"
            if config.start == "guide"
            else "guide_online and projected_weight need the guide itself: name its run by --init RUN"
        )
    guide = checkpoint.load(run)
    guide.model.requires_grad_(False).to(device)
    return guide


def _open(config: AlignConfig | DistillConfig, caches: Sequence[Path], guide: Loaded | None, batch: int, ranks: Ranks) -> Data:
    """What is read of the caches."""
    encoder = config.encoder.resolved()
    centres = encoder.groups
    if guide is not None and online(config):
        centres = max(centres, guide.model.encoder.groups)
        if guide.model.encoder.config.channels > encoder.channels:
            raise ValueError(f"the guide {guide.run} sees colours, the student does not: --set encoder.channels=6")
    needs = Needs(
        teachers=isinstance(config, AlignConfig) or config.distill.teacher_weight > 0,
        guide=config.guide if isinstance(config, DistillConfig) and config.needs_guide and not online(config) else None,
        color=encoder.channels == 6,
        centres=centres,
    )
    opened = [open_cache(path) for path in caches]
    return Data(opened, config.data, batch=batch, seed=config.seed, needs=needs, pinned=ranks.device.type == "cuda")


def _build(config: AlignConfig | DistillConfig, data: Data, guide: Loaded | None) -> tuple[Stage, Facts]:
    """The module to train, with the weights it starts from, and what they depend on."""
    met = teachers(data.teachers, config.data, config.objective)
    tokens, dim = (data.guide.tokens, data.guide.dim) if data.guide else (0, 0)
    if guide is not None:
        if data.guide and data.guide.weights != guide.weights:
            raise ValueError(
                f"the guide in the cache (weights {data.guide.weights[:12]}) was not made of {guide.run} (weights {guide.weights[:12]}): "
                "name its run by --init, or make a guide of this one"
            )
        if online(config):
            tokens, dim = guide.model.encoder.groups, guide.model.encoder.dim
        if isinstance(config, DistillConfig) and config.distill.projected_weight:
            met = guide.header.facts.teachers
    groups = config.encoder.resolved().groups
    if tokens not in (0, groups) and isinstance(config, DistillConfig) and config.distill.local_weight:
        raise ValueError(f"the guide has {tokens} tokens, the student {groups} groups: --set encoder.groups={tokens}")
    facts = Facts(teachers=met, guide_dim=dim)
    with torch.random.fork_rng([]):
        torch.manual_seed(_seed(config.seed, MODEL))
        stage = build(config, facts, data.statistics() if data.teachers else None)
    if isinstance(config, DistillConfig) and guide is not None:
        if config.start == "guide":
            checkpoint.assign_encoder(stage, config, guide)
        if config.distill.projected_weight:
            heads = guide.model.get_submodule("teachers").state_dict()
            checkpoint.assign(stage.get_submodule("teachers"), heads, f"the heads of {guide.run}")
    return stage, facts


def _guided(batch: Batch, guide: Loaded) -> Batch:
    """With the guide's features of the blocks as they are stored, like those in a cache."""
    features = guide.model.features(batch.points[..., : guide.model.encoder.config.channels], batch.ordered)
    return dataclasses.replace(batch, guide_tokens=features.tokens, guide_summary=features.summary)


def _logging(run: Path, start: int, steps: int, console: Console, ranks: Ranks) -> contextlib.AbstractContextManager[log.Log | None]:
    return contextlib.closing(log.Log(run, start, steps, console)) if ranks.first else contextlib.nullcontext()


def _describe(run: Path, header: Header, stage: Stage, guide: Loaded | None) -> None:
    """Write down what the run is, for people and for going on before there is a checkpoint."""
    run.mkdir(parents=True, exist_ok=True)
    body = {
        "config": to_json(header.config),
        "encoder": to_json(stage.encoder.config),
        "caches": to_json(header.caches),
        "init": None if guide is None else str(guide.run.absolute()),
    }
    write_file(run / CONFIG, (json.dumps(body, indent=2) + "\n").encode())


def begun(run: Path) -> tuple[AlignConfig | DistillConfig | None, Path | None]:
    """The configuration of a run, and the run its guide came from; None where there is none."""
    if not (run / CONFIG).exists():
        return None, None
    body = json.loads((run / CONFIG).read_bytes())
    kind = {"align": AlignConfig, "distill": DistillConfig}[body["config"]["stage"]]
    return from_json(kind, body["config"], str(run / CONFIG)), Path(body["init"]) if body["init"] else None


def _check_folder(run: Path, resume: bool) -> None:
    if resume or not run.exists():
        return
    if (run / CONFIG).exists():
        raise ValueError(f"{run} already holds a run: go on with --resume, or give another folder")
    if not run.is_dir() or any(run.iterdir()):
        raise ValueError(f"{run} exists and is no run; give another folder")


def _restore(run: Path, header: Header, stage: Stage, optimizer: torch.optim.Optimizer, average: optim.Average) -> int:
    """Take weights and optimiser from a run's checkpoint. Returns the steps it has made."""
    there, encoder, tensors = checkpoint.read(run)
    changed = differences(there.config, header.config) + differences(encoder, stage.encoder.config)
    if there.guide != header.guide:
        changed.append(f"its guide is {there.guide[:12]}, asked {header.guide[:12]}")
    if type(there.config) is not type(header.config):
        changed = [f"its stage is {there.config.stage}, asked {header.config.stage}"]
    if changed:
        raise ValueError(f"{run} was begun with another configuration: {'; '.join(changed)}. Resume without --recipe and --set")
    checkpoint.same_caches(there.caches, header.caches, run)
    checkpoint.assign(stage, checkpoint.named(tensors, checkpoint.WEIGHTS), str(checkpoint.path(run)))
    optim.restore(stage, optimizer, checkpoint.named(tensors, checkpoint.OPTIMIZER))
    average.restore(checkpoint.named(tensors, checkpoint.AVERAGE))
    return there.step


def _probe(names: Sequence[str], run: Path, cache: Cache, device: torch.device) -> dict[str, float]:
    """Headline numbers of some tasks, at their quickest, for the checkpoint just saved."""
    from trainer.tasks import catalog

    loaded = checkpoint.load(run)
    loaded.model.to(device)
    results = [catalog.evaluate(name, loaded, cache, catalog.task(name).SMOKE) for name in names]
    return {f"{result.task} {metric.name}": metric.mean for result in results for metric in result.scores.metrics if metric.headline}


def _means(records: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: sum(record[name] for record in records) / len(records) for name in records[0]}


def _seed(*numbers: int) -> int:
    """One seed of several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


@contextlib.contextmanager
def _memory_explained(config: AlignConfig | DistillConfig) -> Iterator[None]:
    """Turn running out of memory into advice."""
    try:
        yield
    except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
        out_of_memory = isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
        if not out_of_memory:
            raise
        o = config.optim
        raise ValueError(
            f"out of memory with {o.batch // o.accumulate} shapes in a forward pass. Halve that and keep the batch of {o.batch} by "
            f"--set optim.accumulate={2 * o.accumulate}, though contrast then compares fewer shapes at a time; or lower optim.batch"
        ) from error
