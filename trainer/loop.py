"""The training loop, one for all stages. Read it from top to bottom: `train` is the whole story of a run.

    train(config, [Path("shapes.zarr")], Path("runs/align"))

Nothing that happens in a step depends on the steps before but for weights and optimiser: shapes, draws and drop path come from the run's
seed and the step's number. So a checkpoint needs no generator state, and a run that goes on from one ends as if it had never stopped.
"""

import contextlib
import dataclasses
import fcntl
import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from rich.console import Console
from rich.text import Text
from torch import Tensor, nn

from cache_schema.errors import UserError
from cache_schema.spec import GREY, from_json, to_json
from cache_schema.store import Cache, differences, open_cache, write_file
from cache_schema.terminal import printable
from trainer import checkpoint, distributed, log, optim, signals
from trainer.augment import augment, draw
from trainer.batch import Batch
from trainer.checkpoint import Header, Loaded
from trainer.config import AlignConfig, DistillConfig
from trainer.data import Data, Needs, feed
from trainer.distributed import Ranks
from trainer.encoders.catalog import check_grouping
from trainer.stage import Facts, Stage, build, teachers

MODEL, STEP, DROP_PATH = range(3)
"""What a generator is seeded for, beside the run's seed."""
CONFIG: Final = "config.json"
LOCK: Final = ".lock"
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
        UserError: something does not fit, memory does not suffice, or the training diverged.
        Stopped: it was asked to stop; all is saved.
    """
    console = console or Console(stderr=True)
    with distributed.joined(device) as ranks, _memory_explained(config, ranks), contextlib.ExitStack() as held:
        if ranks.first:
            _check_folder(run, resume)
        guide = _load_guide(config, guide_run, ranks.device)
        accumulate = config.optim.accumulate
        micro = config.optim.batch // accumulate  # shapes of one forward pass, over all ranks
        own = ranks.share(micro)
        data = _open(config, caches, guide, micro, ranks)
        _check_probe(config.probe, data.parts[0].cache)
        config = data.settled(config)
        per_epoch = data.epoch / config.optim.batch
        steps = optim.steps(config.optim, data.epoch)

        stage, facts = _build(config, data, guide)
        stage.to(ranks.device)
        optimizer = optim.adamw(stage, config.optim)
        average = optim.Average(stage, config.optim.ema)
        header = Header(
            config=config,
            facts=facts,
            caches=data.used,
            step=0,
            steps=steps,
            guide=guide.weights if guide else "",
            guide_setup=checkpoint.guide_setup(guide, data.guide),
            points=data.convention,
        )
        if ranks.first:
            held.enter_context(_held(run))
        before = _restore(run, header, stage, optimizer, average) if resume else header
        start = before.step
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
            console.print(Text(printable(told)), soft_wrap=True)
            if guide and guide.header.unfinished:
                console.print(Text(printable(f"Note on the guide {guide.run}: {guide.header.unfinished}")), soft_wrap=True)

        def explain(step: int) -> str:
            return _broken(data, range((step - 1) * accumulate, step * accumulate)) or (
                "Begin anew: the command that began this run, with another folder and a lower learning rate or clip: "
                f"--set optim.lr={config.optim.lr / 2:g} halves it. Its last checkpoint may already hold what went wrong"
            )

        watch = Watch(config.diverged, explain, before.first, before.recent)
        probe_shapes = config.probe_every * data.epoch
        numbers = range(start * accumulate, steps * accumulate)
        batches = feed(data, numbers, own, threads=config.data.threads, device=ranks.device)

        def save(step: int) -> None:
            if ranks.first:
                now = dataclasses.replace(header, step=step, first=tuple(watch.first), recent=tuple(watch.recent))
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
                    with contextlib.nullcontext() if alone else model.no_sync():  # type: ignore[operator]
                        with autocast:  # the forward pass alone: gradients have the types of what they belong to
                            if guide is not None and online(config):
                                batch = _guided(batch, guide)
                            losses = model(dataclasses.replace(batch, points=augment(batch.points, changes, data.convention.grey)), drawn)
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
                seen = step * config.optim.batch
                due = seen // probe_shapes > (seen - config.optim.batch) // probe_shapes or step == steps
                probing = bool(config.probe) and due
                saving = step % config.save_every == 0 or step == steps or stopping or probing
                if logging or saving:
                    interval.append(watch.read(*unread))
                    unread = None
                if logging:
                    elapsed = time.perf_counter() - began
                    speed = {"samples_per_s": len(interval) * config.optim.batch / elapsed, "data_wait": waited / elapsed}
                    if writer:
                        writer.write({"step": step, "epoch": step / per_epoch, **_means(interval), "lr": rate, **speed})
                if step == steps:  # nothing that is known to be wrong may end as a finished run
                    data.settle_reads()
                    ranks.wait()
                if saving:
                    save(step)
                if probing:
                    if writer and (results := _probe(config.probe, run, data.parts[0].cache, ranks.device, writer.say)):
                        writer.write({"step": step, **results})
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

    def __init__(self, limit: float, explain: Callable[[int], str], first: Iterable[float] = (), recent: Iterable[float] = ()) -> None:
        """
        Args:
            limit: how many times the loss of the start is too much.
            explain: from a step that went wrong to the cause or the remedy, in a sentence.
            first, recent: losses seen before, of a run that goes on.
        """
        self.limit, self.explain = limit, explain
        self.first, self.recent = list(first), deque(recent, maxlen=SETTLING)

    def read(self, step: int, names: Sequence[str], values: Tensor) -> dict[str, float]:
        """The values of a step by name.

        Raises:
            UserError: one is not finite, or the loss has grown beyond the limit.
        """
        found = dict(zip(names, values.tolist(), strict=True))
        infinite = [name for name, value in found.items() if not math.isfinite(value)]
        if infinite:
            raise UserError(f"step {step}: {', '.join(infinite)} not finite ({found[infinite[0]]}). {self.explain(step)}")
        if len(self.first) < SETTLING:
            self.first.append(found["loss"])
        self.recent.append(found["loss"])
        start, now = sum(self.first) / len(self.first), sum(self.recent) / len(self.recent)
        if now > self.limit * start:
            raise UserError(f"step {step}: diverged; the loss was {start:.4g} at the start and is {now:.4g} now. {self.explain(step)}")
        return found


def online(config: AlignConfig | DistillConfig) -> bool:
    """Whether the guide's features are made at every step."""
    return isinstance(config, DistillConfig) and config.needs_guide and config.guide_online


def _load_guide(config: AlignConfig | DistillConfig, run: Path | None, device: torch.device) -> Loaded | None:
    if not isinstance(config, DistillConfig):
        return None
    if not config.needs_guide_run:
        if run is not None:
            raise UserError(f"the run {run} is of no use: the student starts from random weights (start=random). Leave --init out")
        return None
    if run is None:
        raise UserError(
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
    centres = encoder.centres
    if guide is not None and online(config):
        centres = max(centres, guide.model.encoder.centres)
        if guide.model.encoder.config.channels > encoder.channels:
            raise UserError(f"the guide {guide.run} sees colours, the student does not: --set encoder.channels=6")
    needs = Needs(
        teachers=isinstance(config, AlignConfig) or config.distill.teacher_weight > 0,
        guide=config.guide if isinstance(config, DistillConfig) and config.needs_guide and not online(config) else None,
        color=encoder.channels == 6,
        centres=centres,
    )
    opened = [open_cache(path) for path in caches]
    grey = guide.model.convention.grey if guide and guide.model.convention else GREY  # one value for a run and what it comes from
    data = Data(opened, config.data, batch=batch, seed=config.seed, needs=needs, pinned=ranks.device.type == "cuda", grey=grey)
    if guide is not None and online(config):
        _check_points(guide, data)
    return data


def _check_points(guide: Loaded, data: Data) -> None:
    """Refuse a guide that would be given points of another kind than it was trained on."""
    known = guide.model.convention
    if known and known.normalize != data.convention.normalize:
        raise UserError(
            f"the guide {guide.run} was trained on points with normalize={known.normalize}, these have {data.convention.normalize}: "
            "take a cache whose points are as the guide's"
        )
    if known and known.count > data.points:
        raise UserError(
            f"the guide {guide.run} was trained on {known.count} points a shape, here are {data.points}: take a cache with as many"
        )


def _build(config: AlignConfig | DistillConfig, data: Data, guide: Loaded | None) -> tuple[Stage, Facts]:
    """The module to train, with the weights it starts from, and what they depend on."""
    met = teachers(data.teachers, config.data, config.objective)
    tokens, dim = (data.guide.tokens, data.guide.dim) if data.guide else (0, 0)
    if guide is not None:
        if data.guide and data.guide.weights != guide.weights:
            raise UserError(
                f"the guide in the cache (weights {data.guide.weights[:12]}) was not made of {guide.run} (weights {guide.weights[:12]}): "
                "name its run by --init, or make a guide of this one"
            )
        if online(config):
            tokens, dim = guide.model.encoder.groups, guide.model.encoder.dim
        if isinstance(config, DistillConfig) and config.distill.projected_weight:
            met = guide.header.facts.teachers
            projection = guide.header.config.align.projection
            if config.align.projection != projection:
                raise UserError(f"the heads of {guide.run} are of another form: --set align.projection={projection}")
    groups = config.encoder.resolved().groups
    if tokens not in (0, groups) and isinstance(config, DistillConfig) and config.distill.local_weight:
        raise UserError(f"the guide has {tokens} tokens, the student {groups} groups: --set encoder.groups={tokens}")
    facts = Facts(teachers=met, guide_dim=dim)
    with torch.random.fork_rng([]):
        torch.manual_seed(_seed(config.seed, MODEL))
        stage = build(config, facts, data.statistics() if data.teachers else None)
    check_grouping(stage.encoder, data.points, "take a cache with more points a shape")
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
    try:
        body = json.loads((run / CONFIG).read_bytes())
        kind = {"align": AlignConfig, "distill": DistillConfig}[body["config"]["stage"]]
        config, init = from_json(kind, body["config"], str(run / CONFIG)), body["init"]
    except (ValueError, KeyError, TypeError) as error:  # of JSON that is none, or of another form
        raise UserError(
            f"{run / CONFIG} does not say how the run was begun ({type(error).__name__}: {error}): restore it from a copy, or begin anew "
            "in another folder"
        ) from error
    return config, Path(init) if init else None


def _check_probe(names: Sequence[str], cache: Cache) -> None:
    """Raise UserError where a task is unknown or has no shapes in the cache, before hours are spent until it is asked for."""
    if names:
        from trainer.tasks import catalog

        for name in names:
            if missing := catalog.lacks(name, cache):
                raise UserError(f"probe {name} {missing}. Leave it out by --set probe=, or put a cache first that has it")


def _check_folder(run: Path, resume: bool) -> None:
    """Raise UserError where a folder holds a run that is not to go on, or something else. Hidden files are nothing."""
    if not run.exists():
        return
    if (run / CONFIG).exists() or checkpoint.path(run).exists():
        if not resume:
            raise UserError(f"{run} already holds a run: go on with --resume, or give another folder")
    elif not run.is_dir() or any(not path.name.startswith(".") for path in run.iterdir()):
        raise UserError(f"{run} exists and is no run; give another folder")


@contextlib.contextmanager
def _held(run: Path) -> Iterator[None]:
    """Hold the folder of a run, made if need be, for writing. The hold ends with the process, however that ends. Clears half-written files
    of writers that were killed, which can be as large as a checkpoint.

    Raises:
        UserError: another process holds it.
    """
    run.mkdir(parents=True, exist_ok=True)
    with open(run / LOCK, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise UserError(f"{run} is being trained by another process: stop that one first, or give another folder") from error
        for leftover in run.glob(".*.tmp"):  # of writers that were killed: who holds the folder is the only one who writes here
            leftover.unlink(missing_ok=True)
        yield


def _restore(run: Path, header: Header, stage: Stage, optimizer: torch.optim.Optimizer, average: optim.Average) -> Header:
    """Take weights and optimiser from a run's checkpoint. Returns what that says of itself; where there is none yet, `header`."""
    if not checkpoint.path(run).exists():
        _check_same(run, begun(run)[0] or header.config, header.config)
        return header
    there, encoder, tensors = checkpoint.read(run)
    more = differences(encoder, stage.encoder.config)
    colors = stage.encoder.config.channels == 6 and header.config.augment.drop_color > 0
    if there.step < there.steps and header.points and (there.points.grey != header.points.grey if there.points else colors):
        more.append("shapes without colours were given another grey, by an earlier version of mmpd or another guide")
    if there.guide != header.guide:
        more.append(f"its guide is {there.guide[:12]}, asked {header.guide[:12]}")
    _check_same(run, there.config, header.config, more)
    checkpoint.same_caches(there.caches, header.caches, run)
    checkpoint.assign(stage, checkpoint.named(tensors, checkpoint.WEIGHTS), str(checkpoint.path(run)))
    optim.restore(stage, optimizer, checkpoint.named(tensors, checkpoint.OPTIMIZER))
    average.restore(checkpoint.named(tensors, checkpoint.AVERAGE))
    return there


def _check_same(run: Path, there: AlignConfig | DistillConfig, asked: AlignConfig | DistillConfig, more: Sequence[str] = ()) -> None:
    """Raise UserError where a run was begun with another configuration. `more` are differences already found."""
    changed = [*differences(there, asked), *more]
    if type(there) is not type(asked):
        changed = [f"its stage is {there.stage}, asked {asked.stage}"]
    if changed:
        raise UserError(
            f"{run} was begun with another configuration: {'; '.join(changed)}. Resume without --recipe and --set, or give another folder"
        )


def _probe(names: Sequence[str], run: Path, cache: Cache, device: torch.device, say: Callable[[str], None]) -> dict[str, float]:
    """Headline numbers of some tasks, at their quickest, for the checkpoint just saved. A task that cannot be done is only spoken of."""
    from trainer.tasks import catalog

    loaded = checkpoint.load(run)
    loaded.model.to(device)
    found: dict[str, float] = {}
    for name in names:
        try:
            metrics = catalog.evaluate(name, loaded, cache, catalog.task(name).SMOKE).scores.metrics
        except (UserError, torch.OutOfMemoryError) as error:
            say(f"probe {name} at step {loaded.step}: {error}. The training goes on")
        else:
            found |= {f"{name} {metric.name}": metric.mean for metric in metrics if metric.headline}
    return found


def _means(records: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: sum(record[name] for record in records) / len(records) for name in records[0]}


def _seed(*numbers: int) -> int:
    """One seed of several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def _broken(data: Data, numbers: Iterable[int]) -> str:
    """In a sentence what was stored wrongly among all that some batches were made of; nothing if all of it is finite."""
    found = set()
    for number in numbers:
        batch = data.batch(number)
        arrays = {"points": batch.points, "guide tokens": batch.guide_tokens, "guide summary": batch.guide_summary}
        arrays |= {f"image/{name}": values for name, values in batch.image.items()}
        arrays |= {f"text/{name}": values for name, values in batch.text.items()}
        for name, values in arrays.items():
            if values is not None:
                broken = batch.index[~values.flatten(1).isfinite().all(1)]
                found |= {(*data.row(index), name) for index in broken.tolist()}
    where = ", ".join(f"{path} row {row} {name}" for path, row, name in sorted(found))
    return f"Stored numbers are not finite: {where}. `mmpd-cache verify CACHE` finds all such shards" if found else ""


@contextlib.contextmanager
def _memory_explained(config: AlignConfig | DistillConfig, ranks: Ranks) -> Iterator[None]:
    """Turn running out of memory into advice."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not distributed.out_of_memory(error):
            raise
        o = config.optim
        pieces = (n for n in range(2 * o.accumulate, o.batch // 2 + 1) if o.batch % (n * ranks.count) == 0)
        parts = next(pieces, None)
        keeping = f"--set optim.accumulate={parts}, though contrast then compares fewer shapes at a time, or " if parts else ""
        raise UserError(
            f"out of memory with {o.batch // o.accumulate} shapes in a forward pass, over all ranks. Begin anew with fewer: the command "
            f"that began this run, with another folder and {keeping}a lower optim.batch, now {o.batch}"
        ) from error
