"""The training loop, one for all stages. Read it from top to bottom: `train`, `_steps` and `_step` are the whole story of a run.

    train(config, [Path("shapes.zarr")], Path("runs/align"))

Except for weights and optimiser, nothing in a step depends on earlier steps: shapes, random draws and drop path come from the run's seed
and the step's number. So a checkpoint needs no generator state, and a resumed run ends as if it had never stopped.
"""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.text import Text
from torch import Tensor, nn

from cache_schema.errors import UserError
from cache_schema.spec import to_json
from cache_schema.terminal import counted, printable
from trainer import checkpoint, distributed, folder, log, machine, optim, signals, start
from trainer.afar import Ahead
from trainer.augment import augment, draw, together
from trainer.batch import Batch, regrouped, target
from trainer.checkpoint import Header, Loaded
from trainer.config import AlignConfig, DistillConfig
from trainer.data import Data, feed
from trainer.distributed import Ranks
from trainer.encoders.protocol import missing
from trainer.guide import COMPARES
from trainer.meter import Meter, Watch
from trainer.prepare import DROP_PATH, STEP, Training, online, prepared, seed_of, sources_of
from trainer.probes import Probes
from trainer.recompute import blocks
from trainer.software import changed


def train(
    config: AlignConfig | DistillConfig,
    caches: Sequence[Path | str],
    run: Path,
    *,
    init: Path | None = None,
    guide_run: Path | None = None,
    resume: bool = False,
    device: str = "auto",
    console: Console | None = None,
    asked: Sequence[str] = (),
) -> None:
    """Train one stage until its end or a signal, and write checkpoint, metrics and curves to a folder.

    Args:
        config: the complete settings of the run.
        caches: one or more caches, each a path or an address; see `trainer.afar`.
        run: the folder of the run.
        init: the run whose weights are taken as far as they fit (`trainer.start`). A run of stage 1 is the guide of stage 2, too, if
            `guide_run` names no other.
        guide_run: for stage 2, the run of stage 1 that is the guide: the student starts from it, or it runs online.
        resume: continue the run in the folder; begin a run if the folder is empty. A run that has a checkpoint does not need `init` again.
        device: a torch device; `auto` takes a GPU if there is one. On a CPU small steps are made by one thread (`machine.suited`), unless
            the environment variable OMP_NUM_THREADS is set.
        console: console for messages; standard error by default.
        asked: names of the settings that the user of a new run gave. Those that nothing reads of these caches are refused.

    Raises:
        UserError: settings, caches, guide and folder do not fit together, there is too little memory, or the training diverged.
        Stopped: a signal asked the training to stop; its work is saved.
    """
    console = console or Console(stderr=True)
    with distributed.joined(device) as ranks, _memory_explained(config, ranks), contextlib.ExitStack() as held:
        if ranks.first:
            folder.check(run, resume)
        if resume:
            folder.refuse_other(run, config)
        config, sources, paths = sources_of(config, run, init, guide_run, resume, ranks.device)
        training = prepared(config, caches, run, sources, ranks, asked)
        alone = ranks.device.type == "cpu" and held.enter_context(machine.suited(training.computed, training.micro // ranks.count))
        if ranks.first:
            held.enter_context(folder.held(run))
        before = training.header
        if resume:
            before = folder.restore(run, before, training.stage, training.optimizer, training.average)
            training = _continued(training, before)
        header = training.header
        ranks.wait()  # all ranks must have read the folder before the first rank writes to it
        if ranks.first:
            folder.describe(run, header, training.stage, *paths)
            _announce(training, before, ranks, alone, console)
        with _logging(run, before.step, training, console, ranks) as writer:
            last = _steps(training, before, run, ranks, writer)
        if ranks.first and log.records(run):
            from trainer import curves  # it imports matplotlib, which takes a second

            curves.draw([run], run / curves.FILE)
        ranks.wait()
    if last < header.steps:
        raise signals.Stopped


def _continued(training: Training, before: Header) -> Training:
    """A training that goes on from a checkpoint, with a note if other software made the steps before. Where features were compared by now,
    it is not said any more that they were not."""
    header, sources = training.header, training.sources
    left = before.step < header.steps
    other = changed(before.made_by, header.made_by, f"the first {before.step} steps") if before.step and left else ""
    compared = sources.guide is not None or sources.named is not None  # else they would have been refused
    kept = [note for note in before.notes if not (compared and note.endswith(COMPARES))]
    notes = tuple(dict.fromkeys(filter(None, (*kept, *header.notes, other))))
    made_by = header.made_by if left else before.made_by
    return dataclasses.replace(training, header=dataclasses.replace(header, notes=notes, made_by=made_by))


def _steps(training: Training, before: Header, run: Path, ranks: Ranks, writer: log.Log | None) -> int:
    """All steps after those of `before`, to the end or to a signal. Returns the number of the last one made."""
    config, data, stage, steps = training.config, training.data, training.stage, training.header.steps
    per_epoch = data.epoch / config.optim.batch
    watch = Watch(config.diverged, functools.partial(_explained, training), before.first, before.recent, before.watched)
    probes = Probes(config, data, stage, ranks)
    training, model = _spread(training, ranks)
    if config.compile:
        model.compile(mode=config.compile_mode)
    numbers = range(before.step * config.optim.accumulate, steps * config.optim.accumulate)
    ahead = Ahead(data, numbers, ranks.share(training.micro))
    batches = feed(data, numbers, ranks.share(training.micro), threads=config.data.threads, device=ranks.device, held=ahead.held)

    def save(step: int) -> None:
        parts = stage.state_dict(), optim.state(stage, training.optimizer), training.average.tensors
        weights, state, average = (distributed.gathered_state(tensors, training.scalars, ranks) for tensors in parts)
        if ranks.first:
            now = dataclasses.replace(
                training.header, step=step, first=tuple(watch.first), recent=tuple(watch.recent), watched=watch.watched
            )
            checkpoint.save(run, now, stage, state, average, weights)

    stage.train()
    training.frozen.hold()
    step, meter = before.step, Meter(watch, config.optim.batch)
    with contextlib.closing(batches), contextlib.closing(ahead), signals.postponed(ranks.count == 1) as asked:
        for step in range(before.step + 1, steps + 1):
            rate = optim.learning_rate(config.optim, step - 1, steps, per_epoch)
            names, values = _step(training, model, batches, step, rate, meter, ranks)

            # Values are read one step late, so that the CPU does not wait for the device. But all are read before saving.
            meter.add(step, names, ranks.mean(values))
            stopping = ranks.any(asked())
            logging = step % config.log_every == 0 or step == steps or stopping
            due = probes.due(step, last=step == steps)
            probing = probes.chosen(last=step == steps) if due and writer else ()
            saving = step % config.save_every == 0 or step == steps or stopping or bool(probing)
            if due:
                saving = ranks.any(saving)  # the first rank alone knows what it probes, and all ranks save together
            if logging or saving:
                meter.catch_up()
            if logging and writer:
                writer.write({"step": step, "epoch": step / per_epoch, **meter.means(), "lr": rate, **meter.speed()})
            if step == steps:  # a run that read damaged data must not be saved as finished
                data.settle_reads()
                ranks.wait()
            with meter.paused():
                if saving:
                    save(step)
                if writer and probing and (results := probes.measure(probing, run, writer.say)):
                    writer.write({"step": step, "epoch": step / per_epoch, **results})
                if due:
                    ranks.wait()
            if logging:
                meter.restart()
            if stopping:
                break
    if not steps or (before.step == steps and ranks.any(training.header.notes != before.notes)):  # only the first one knows all notes
        save(steps)
    return step


def _spread(training: Training, ranks: Ranks) -> tuple[Training, nn.Module]:
    """Put a model on all ranks: a copy on each, or a part on each. Returns the training, and the module to call in it."""
    stage, config = training.stage, training.config
    if not distributed.shards(config.distributed, stage, ranks):
        return training, distributed.replicated(stage, ranks)
    state = optim.state(stage, training.optimizer)
    scalars = distributed.shard(stage, ranks, blocks(stage.encoder))
    optimizer, average = optim.adamw(stage, config.optim), optim.Average(stage, config.optim.ema)
    optim.restore(stage, optimizer, state)
    average.restore(training.average.tensors)
    return dataclasses.replace(training, optimizer=optimizer, average=average, scalars=scalars), stage


def _step(
    training: Training, model: nn.Module, batches: Iterator[Batch], step: int, rate: float, meter: Meter, ranks: Ranks
) -> tuple[tuple[str, ...], Tensor]:
    """One step of training. Returns the names of losses and gradient norm, and the values, which the device may still be computing.

    Args:
        training: the model and its optimiser, which take the step.
        model: the stage for the forward pass, replicated over the ranks and compiled where the run does so.
        batches: gives the next ones.
        step: its number, from 1.
        rate: learning rate.
        meter: measures the time of waiting for batches.
        ranks: this process among those of the run.
    """
    config, micro, own = training.config, training.micro, ranks.share(training.micro)
    optim.set_rate(training.optimizer, rate)
    parts, names = [], ()
    numbers = training.numbers(step)
    for number in numbers:
        with meter.waiting():
            batch = next(batches)
        # Seeded by the batch's number alone, so that a run that goes on needs no state of a generator. Drop path differs between ranks;
        # draws are made for the whole batch and cut, so that they do not depend on how many ranks there are.
        torch.manual_seed(seed_of(config.seed, DROP_PATH, number, ranks.rank))
        training.generator.manual_seed(seed_of(config.seed, STEP, number))
        drawn = training.stage.draw(micro, training.generator).rows(own.start, own.stop)
        changes = draw(config.augment, micro, training.data.points, training.generator).rows(own.start, own.stop)
        alone = ranks.count == 1 or number == numbers[-1]  # gradients meet after the last part
        with contextlib.nullcontext() if alone else distributed.deferred(model):
            with training.arithmetic.autocast(ranks.device):  # only the forward pass: the backward pass uses the same types by itself
                if training.guide is not None and online(config):
                    batch = _guided(batch, training.guide)
                if missing(training.stage.encoder) == "mask":
                    changes = together(changes, batch.points)
                points = augment(batch.points, changes, training.data.convention.grey)
                losses = model(regrouped(dataclasses.replace(batch, points=points), changes.source), drawn)
            (losses["loss"] / config.optim.accumulate).backward()
        parts.append(torch.stack([loss.detach().float() for loss in losses.values()]))
        names = tuple(losses)
    norm = distributed.whole(nn.utils.clip_grad_norm_(training.trained, config.optim.clip or math.inf))
    training.optimizer.step()
    training.optimizer.zero_grad()
    if config.optim.ema:
        training.average.update(training.stage)
    return (*names, "grad_norm"), torch.cat([torch.stack(parts).mean(0), norm.detach().float().reshape(1)])


def _announce(training: Training, before: Header, ranks: Ranks, alone: bool, console: Console) -> None:
    """Print the data, the size of the model, the number of steps, and what the weights come from. `alone`: one thread computes."""
    steps, chosen = training.header.steps, training.arithmetic
    told = f"{training.data}. {training.size:,} parameters, {counted(steps, 'step')} of {training.config.optim.batch} on {ranks.device}"
    told += f", in {chosen.precision} ({chosen.why})" if steps else ""
    told += ", by one thread because steps are small" if alone and steps else ""
    console.print(Text(printable(told)), soft_wrap=True)
    guide, lines = training.guide, []
    if training.data.repeated:
        how = (
            "the encoder leaves out the points that repeat others"
            if missing(training.stage.encoder) == "mask"
            else "some are repeated; encoder.missing=mask leaves those out"
        )
        lines.append(f"{training.data.repeated} of the shapes have fewer points than a block: {how}")
    if training.config.distributed == "fsdp" and ranks.count == 1:
        lines.append("distributed=fsdp has no effect in one process, which keeps the whole model: start several by torchrun")
    if 0 < before.step < steps:
        lines.append(f"goes on after step {before.step}")
    if training.header.init and before.step == 0:
        lines += start.told(training.header.init, training.frozen.told)
    if guide and guide.header.unfinished:
        lines.append(f"Note on the guide {guide.run}: {guide.header.unfinished}")
    lines += [f"Note: {note}" for note in training.header.notes]
    for line in lines:
        console.print(Text(printable(line)), soft_wrap=True)


def _explained(training: Training, step: int) -> str:
    """The cause of a step that went wrong, or the remedy, in a sentence."""
    return _broken(training.data, training.numbers(step)) or (
        "Begin anew: the command that began this run, with another folder and a lower learning rate or clip: "
        f"--set optim.lr={training.config.optim.lr / 2:g} halves it. Its last checkpoint may already hold what went wrong"
    )


def _guided(batch: Batch, guide: Loaded) -> Batch:
    """Add the guide's features to a batch. They are computed from the blocks as stored, like the features in a cache."""
    with torch.autocast("cpu", enabled=False):  # features in a cache are float32, too, before they are stored; a GPU is not meant
        features = guide.model.features(batch.points[..., : guide.model.encoder.config.channels], batch.ordered)
    return dataclasses.replace(batch, guide_tokens=features.tokens, guide_summary=features.summary)


def _logging(
    run: Path, begin: int, training: Training, console: Console, ranks: Ranks
) -> contextlib.AbstractContextManager[log.Log | None]:
    """The log of the run, on the first rank."""
    if not ranks.first:
        return contextlib.nullcontext()
    header, config = training.header, training.config
    facts = {
        **to_json(header.config),
        "encoder": {"name": config.encoder.name, **to_json(config.encoder.resolved(), whole=True)},
        "precision": header.precision,
        "steps": header.steps,
        "parameters": training.size,
        "caches": [Path(used.path).name for used in header.caches],  # names alone: a path is nobody else's business
        "init": header.init.run if header.init else "",
    }
    return contextlib.closing(log.Log(run, begin, header.steps, console, config.log, facts))


def _broken(data: Data, numbers: Iterable[int]) -> str:
    """A sentence that names the stored data of some batches that is not finite; empty if all of it is finite."""
    found = set()
    for number in numbers:
        batch = data.batch(number)
        arrays = {"points": batch.points, "guide tokens": batch.guide_tokens, "guide summary": batch.guide_summary}
        arrays |= {target("image", name): values for name, values in batch.image.items()}
        arrays |= {target("text", name): values for name, values in batch.text.items()}
        arrays |= {f"patches of {name}": values for name, values in batch.dense.items()}
        for name, values in arrays.items():
            if values is not None:
                broken = batch.index[~values.flatten(1).isfinite().all(1)]
                found |= {(*data.row(index), name) for index in broken.tolist()}
    where = ", ".join(f"{path} row {row} {name}" for path, row, name in sorted(found))
    return f"Stored numbers are not finite: {where}. `mmpd-cache verify CACHE` finds all such shards" if found else ""


@contextlib.contextmanager
def _memory_explained(config: AlignConfig | DistillConfig, ranks: Ranks) -> Iterator[None]:
    """Turn errors for lack of memory into a UserError with advice."""
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
