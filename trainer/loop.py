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
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.text import Text
from torch import Tensor, nn

from cache_schema.errors import UserError
from cache_schema.products import ONLY_CAPTIONS, POINTS
from cache_schema.spec import GREY, GuideSpec, PointSpec, to_json
from cache_schema.store import Cache
from cache_schema.terminal import printable
from trainer import arithmetic, checkpoint, distributed, folder, layers, log, machine, optim, signals, start
from trainer.afar import Ahead, open_all
from trainer.arithmetic import Arithmetic
from trainer.augment import augment, draw, together
from trainer.batch import Batch, regrouped, target
from trainer.checkpoint import Header, Init, Loaded, Past
from trainer.config import AlignConfig, DistillConfig
from trainer.data import Data, feed
from trainer.distributed import Ranks
from trainer.encoders.catalog import check_grouping
from trainer.encoders.protocol import MISSING, missing
from trainer.guide import COMPARES, compare_nearby, past_nearby, refuse_stale
from trainer.meter import Meter, Watch
from trainer.part import Needs
from trainer.probes import Probes, check
from trainer.recompute import blocks, recompute
from trainer.resident import Resident
from trainer.software import changed, software
from trainer.stage import Facts, Stage, build, patch_teachers, teachers
from trainer.trackers import catalog as trackers
from trainer.unread import check_read

MODEL, STEP, DROP_PATH = range(3)
"""Numbers that are combined with the run's seed, for separate random numbers: initial weights, the draws of a step, and drop path."""


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What a run starts from."""

    init: Loaded | None = None
    """The run that gives the first weights, and is not the guide."""
    guide: Loaded | None = None
    named: Loaded | None = None
    """The run of which the features in the cache are said to be made. It is compared with them, and gives nothing."""
    kept: Header | None = None
    """The header of the run's own last checkpoint, if it is continued from there. It then needs no other weights."""

    @property
    def digest(self) -> str:
        """Digest of the guide's weights; empty without a guide."""
        return self.guide.weights if self.guide else self.kept.guide if self.kept else ""

    @property
    def grey(self) -> float:
        """The colour of shapes without colours: that of what the run starts from."""
        own = self.kept.points if self.kept else None
        known = [loaded.model.convention for loaded in (self.guide, self.init) if loaded] or [own]
        return known[0].grey if known[0] else GREY


@dataclass(frozen=True, kw_only=True)
class Training:
    """All parts of a run, before its first step."""

    config: AlignConfig | DistillConfig
    data: Data
    sources: Sources
    stage: Stage
    optimizer: torch.optim.Optimizer
    average: optim.Average
    header: Header
    """Header of the run's checkpoints, except for `step`."""
    generator: torch.Generator
    """Makes the random draws. It is seeded anew for every batch."""
    arithmetic: Arithmetic
    """Precision of the forward pass."""
    frozen: layers.Frozen
    """What of the encoder is not trained."""
    scalars: frozenset[str] = frozenset()
    """Names of weights that are single numbers in a checkpoint and rows of one number here; see `distributed.shard`."""

    @property
    def guide(self) -> Loaded | None:
        """The guide, if that itself is needed, and not only its cached features."""
        return self.sources.guide

    @property
    def micro(self) -> int:
        """Shapes of one forward pass, over all ranks."""
        return self.config.optim.batch // self.config.optim.accumulate

    @functools.cached_property
    def trained(self) -> list[nn.Parameter]:
        """The parameters that are trained."""
        return [parameter for _, parameter in optim.named(self.stage)]

    @property
    def size(self) -> int:
        """Number of weights that are trained."""
        return sum(parameter.numel() for parameter in self.trained)

    @property
    def computed(self) -> int:
        """Number of weights that a step computes with, those of a guide that runs online included."""
        models = [self.stage, self.guide.model] if self.guide and online(self.config) else [self.stage]
        return sum(parameter.numel() for model in models for parameter in model.parameters())

    def numbers(self, step: int) -> range:
        """Numbers of the batches that a step is made of; steps count from 1."""
        return range((step - 1) * self.config.optim.accumulate, step * self.config.optim.accumulate)


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
        config, sources, paths = _sources(config, run, init, guide_run, resume, ranks.device)
        training = _prepare(config, caches, run, sources, ranks, asked)
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


def _sources(
    config: AlignConfig | DistillConfig, run: Path, init: Path | None, guide_run: Path | None, resume: bool, device: torch.device
) -> tuple[AlignConfig | DistillConfig, Sources, tuple[Path | None, Path | None]]:
    """Load what the run starts from. Also returns the settings with `start` as it is now, and the paths of `init` and of the guide's run.

    A run that is continued from a checkpoint has its weights there: only a guide that works online is loaded again.
    """
    before = folder.begun(run) if resume else folder.Begun()
    if resume and checkpoint.path(run).exists() and init is None:
        kept = checkpoint.header(run)
        if isinstance(config, DistillConfig) and isinstance(kept.config, DistillConfig) and kept.config.start == "run":
            config = dataclasses.replace(config, start="run")
        guide_run = guide_run or (before.guide_run if online(config) else None)
        guide, named = _guide(config, guide_run, device)
        return config, Sources(guide=guide, named=named, kept=kept), (before.init, guide_run or before.guide_run)
    if init is None and guide_run is None:
        init, guide_run = before.init, before.guide_run
    config, init, guide_run = start.sources(config, init, guide_run)
    if config.optim.freeze and init is None and not (isinstance(config, DistillConfig) and config.start == "guide"):
        raise UserError("optim.freeze would keep random weights as they are: name the run whose weights are kept by --init RUN")
    guide, named = _guide(config, guide_run, device)
    return config, Sources(init=checkpoint.load(init) if init else None, guide=guide, named=named), (init, guide_run)


def _guide(config: AlignConfig | DistillConfig, run: Path | None, device: torch.device) -> tuple[Loaded, None] | tuple[None, Loaded | None]:
    """The run of a guide. It is the first of the two if it is needed: without gradients, on the device. It is the second if it is only
    compared with the features in the cache. The other is None."""
    if run is None:
        return None, None
    loaded = checkpoint.load(run)
    if isinstance(config, DistillConfig) and not config.needs_guide_run:
        return None, loaded
    loaded.model.requires_grad_(False).to(device)
    return loaded, None


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


def _compared(
    config: AlignConfig | DistillConfig, found: Sequence[tuple[Cache, GuideSpec]], sources: Sources, run: Path
) -> tuple[str, ...]:
    """Compare the features of guides in caches with the runs that made them. Returns notes on what could not be compared.

    Raises:
        UserError: features are not those of the run that was named for them.
    """
    if not found or not isinstance(config, DistillConfig):
        return ()
    known = [loaded for loaded in (sources.guide, sources.named) if loaded is not None]
    if known:
        return tuple(note for loaded in known for note in refuse_stale(found, loaded, config.start))
    if sources.kept is not None:  # it was compared when the run began
        return ()
    return tuple(compare_nearby(found, _near(run, sources)))


def _guide_past(config: AlignConfig | DistillConfig, found: Sequence[tuple[Cache, GuideSpec]], sources: Sources, run: Path) -> Past | None:
    """What the guide of a student has learned from that does not start from it; None if that is not known, and for all other runs."""
    if not isinstance(config, DistillConfig) or config.start == "guide" or not config.needs_guide:
        return None
    if loaded := sources.guide or sources.named:
        return checkpoint.learned_from(loaded.header)
    return sources.kept.guide_past if sources.kept else past_nearby(found, _near(run, sources))


def _near(run: Path, sources: Sources) -> list[Path]:
    """The folders in which other runs may lie that this one has to do with."""
    return [one.resolve().parent for one in (run, *([sources.init.run] if sources.init else []))]


def _prepare(
    config: AlignConfig | DistillConfig, caches: Sequence[Path | str], run: Path, sources: Sources, ranks: Ranks, asked: Sequence[str]
) -> Training:
    """Open the data and build the model, with the weights it starts from. `asked`: as for `train`."""
    guide, kept = sources.guide, sources.kept
    opened = open_all(caches, config.data)
    if kept is not None:
        checkpoint.same_products(kept.caches, opened, run)
    most = max(_blocks(cache) for cache in opened)
    fewer = (f"data.blocks={config.data.blocks}: a shape has {most} here, and all are used",) if config.data.blocks > most else ()
    data = _open(config, opened, guide, config.optim.batch // config.optim.accumulate, ranks, sources.grey)
    check_read(asked, config, data)
    guided = [(part.cache, part.guide) for part in data.parts if part.guide]
    notes = _compared(config, guided, sources, run)
    check_masked(config, data.repeated, ranks.count)
    check(config.probe, data.parts[0].cache)
    trackers.check(config.log)
    config = _settled(config, data)
    steps = optim.steps(config.optim, data.epoch)
    stage, facts = _build(config, data, guide, kept)
    digest = sources.digest
    if not digest and data.guide and isinstance(config, DistillConfig) and config.start == "run":  # whose head fits is told by it
        digest = data.guide.weights
    taken = _take(stage, config, facts, sources, data, digest)
    frozen = layers.freeze(stage.encoder, config.optim.freeze)
    stage.to(ranks.device)
    if config.recompute:
        recompute(stage.encoder)
    chosen = _arithmetic(config, kept, ranks)
    return Training(
        config=config,
        data=data,
        sources=sources,
        stage=stage,
        optimizer=optim.adamw(stage, config.optim),
        average=optim.Average(stage, config.optim.ema),
        header=Header(
            config=config,
            facts=facts,
            caches=data.used,
            step=0,
            steps=steps,
            guide=digest,
            guide_setup=kept.guide_setup if kept and not guide else checkpoint.guide_setup(guide, data.guide),
            guide_past=_guide_past(config, guided, sources, run),
            points=data.convention,
            init=kept.init if kept else taken,
            precision=chosen.precision if steps else "",  # a run without steps is the same on every processor
            made_by=software(),
            notes=(*data.notes, *fewer, *notes),
        ),
        generator=torch.Generator(ranks.device),
        arithmetic=chosen,
        frozen=frozen,
    )


def check_masked(config: AlignConfig | DistillConfig, repeated: int, ranks: int) -> None:
    """Refuse what does not fit an encoder that leaves points out. repeated: number of shapes that repeat some; ranks: number of ranks."""
    if getattr(config.encoder.resolved(), MISSING, "repeat") == "repeat":
        return
    if config.compile and ranks > 1:
        raise UserError(
            "compile=true does not fit encoder.missing=mask on several ranks: its losses were never compared with those of a run that is "
            "not compiled. Leave compile out, train on one rank, or take --set encoder.missing=repeat"
        )
    if repeated and _reads_dense(config):
        raise UserError(
            f"{repeated} of the selected shapes have fewer points than a block. Their patch features are means over groups with repeated "
            "points, which encoder.missing=mask leaves out of its groups. Take --set encoder.missing=repeat, or shapes with enough "
            "points, or no patch features (align.local_weight=0, distill.tokens=guide)"
        )


def _arithmetic(config: AlignConfig | DistillConfig, kept: Header | None, ranks: Ranks) -> Arithmetic:
    """The precision of a run, the same on all ranks. `kept`: the header of the run that goes on."""
    chosen = arithmetic.choose(config.precision, ranks.device, kept.precision if kept else None)
    if ranks.any(chosen.precision == "float32") and chosen.precision == "bfloat16":
        return Arithmetic(precision="float32", why="another rank has no bfloat16")
    return chosen


def _take(stage: Stage, config: AlignConfig | DistillConfig, facts: Facts, sources: Sources, data: Data, digest: str) -> Init | None:
    """Give a new model the weights that it starts from. Returns what was taken; None for nothing. `digest` is that of the guide."""
    guide, taken = sources.guide, None
    projected = isinstance(config, DistillConfig) and config.distill.projected_weight > 0
    other = sources.init or (guide if isinstance(config, DistillConfig) and config.start == "guide" else None)
    if other is not None and sources.kept is None:
        taken = start.take(stage, config, facts, digest, other, heads=not projected)
        taken = dataclasses.replace(taken, notes=(*taken.notes, *_other_points(other, data)))
    if projected and guide is not None:
        # The heads alone: how a guide's losses were balanced is of no use here.
        heads = {name: value for name, value in guide.model.get_submodule("teachers").state_dict().items() if name.startswith("targets.")}
        checkpoint.assign(stage.get_submodule("teachers"), heads, f"the heads of {guide.run}")
    return taken


def _other_points(other: Loaded, data: Data) -> Iterator[str]:
    """Notes on how the points of the data differ from those that another run was trained on."""
    known = checkpoint.trained_on(other.header)
    for name, there, here in (
        ("points", known and known.count, data.convention.count),
        ("normalize", known and known.normalize, data.convention.normalize),
    ):
        if there is not None and there != here:
            yield f"it was trained with {name}={there}, here it is {here}"


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
    if not steps or (before.step == steps and training.header.notes != before.notes):
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
        torch.manual_seed(_seed(config.seed, DROP_PATH, number, ranks.rank))
        training.generator.manual_seed(_seed(config.seed, STEP, number))
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
    told = f"{training.data}. {training.size:,} parameters, {steps} steps of {training.config.optim.batch} on {ranks.device}"
    told += ", by one thread, since the steps are small" if alone and steps else ""
    told += f" in {chosen.precision} ({chosen.why})" if steps else ""
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


def _settled(config: AlignConfig | DistillConfig, data: Data) -> AlignConfig | DistillConfig:
    """The configuration, with the names of teachers, captions and guide filled in where they were left empty. This is needed because the
    caches may have more of them when the run is resumed.
    """
    if data.patches:
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, dense=tuple(data.patches)))
    if data.teachers:
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, teachers=tuple(data.teachers)))
    captions = {tuple(c.name for c in part.captions) for part in data.parts if part.captions}
    # If caches have captions of different names, no single setting fits all of them. A cache of format 1 never gets more captions.
    if not config.data.captions and len(captions) == 1 and captions != {(ONLY_CAPTIONS,)}:
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, captions=captions.pop()))
    guides = {part.guide.name for part in data.parts if part.guide}
    if isinstance(config, DistillConfig) and len(guides) == 1:  # several caches may have different names for the same guide
        config = dataclasses.replace(config, guide=guides.pop())
    return config


def online(config: AlignConfig | DistillConfig) -> bool:
    """Whether the guide's features are made at every step."""
    return isinstance(config, DistillConfig) and config.needs_guide and config.guide_online


def _reads_dense(config: AlignConfig | DistillConfig) -> bool:
    """Whether a loss uses patch features of teachers on points."""
    return config.align.local_weight > 0 if isinstance(config, AlignConfig) else config.distill.predicts == "dense"


def _open(
    config: AlignConfig | DistillConfig, opened: Sequence[Cache], guide: Loaded | None, batch: int, ranks: Ranks, grey: float = GREY
) -> Data:
    """The data that the stage reads from the opened caches."""
    encoder = config.encoder.resolved()
    centres = encoder.centres
    if guide is not None and online(config):
        centres = max(centres, guide.model.encoder.centres)
        if guide.model.encoder.config.channels > encoder.channels:
            raise UserError(f"the guide {guide.run} sees colours, the student does not: --set encoder.channels=6")
    needs = Needs(
        teachers=isinstance(config, AlignConfig) or config.distill.teacher_weight > 0,
        guide=config.guide if isinstance(config, DistillConfig) and config.needs_guide and not online(config) else None,
        groups=encoder.groups if _reads_dense(config) else 0,
        color=encoder.channels == 6,
        centres=centres,
    )
    kind = Data if config.data.resident == "no" else functools.partial(Resident, device=ranks.device)
    data = kind(opened, config.data, batch=batch, seed=config.seed, needs=needs, pinned=ranks.device.type == "cuda", grey=grey)
    if guide is not None and online(config):
        _check_points(guide, data)
    return data


def _blocks(cache: Cache) -> int:
    """Number of stored blocks of a shape."""
    spec = cache.record(POINTS.name).spec
    assert isinstance(spec, PointSpec)
    return spec.blocks


def _check_points(guide: Loaded, data: Data) -> None:
    """Refuse a guide that was trained on another kind of points."""
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


def _build(config: AlignConfig | DistillConfig, data: Data, guide: Loaded | None, kept: Header | None = None) -> tuple[Stage, Facts]:
    """The module to train, with new weights, and what their shapes depend on. `kept`: the header of the run that goes on."""
    met = teachers(data.teachers, config.data, config.objective)
    tokens, dim = (data.guide.tokens, data.guide.dim) if data.guide else (0, 0)
    if guide is not None:
        if online(config):
            tokens, dim = guide.model.encoder.groups, guide.model.encoder.dim
        if isinstance(config, DistillConfig) and config.distill.projected_weight:
            met = guide.header.facts.teachers
            if guide.header.config.align.queries != "shared":
                raise UserError(
                    f"distill.projected_weight: the heads of {guide.run} read summaries of their own (align.queries=teacher), of which a "
                    "guide tells only the mean: take a guide with align.queries=shared, or --set distill.projected_weight=0"
                )
            projection = guide.header.config.align.projection
            if config.align.projection != projection:
                raise UserError(f"the heads of {guide.run} are of another form: --set align.projection={projection}")
    elif kept is not None and isinstance(config, DistillConfig) and config.distill.projected_weight:
        met = kept.facts.teachers
    groups = config.encoder.resolved().groups
    if tokens not in (0, groups) and isinstance(config, DistillConfig) and config.distill.predicts == "guide":
        raise UserError(f"the guide has {tokens} tokens, the student {groups} groups: --set encoder.groups={tokens}")
    if isinstance(config, DistillConfig) and config.needs_guide:
        treated = missing(guide.model.encoder) if guide is not None and online(config) else data.guide.missing if data.guide else "repeat"
        own = getattr(config.encoder.resolved(), MISSING, "repeat")
        if treated != own:
            raise UserError(
                f"the guide was made with encoder.missing={treated}, the student has {own}: they do not agree on which groups there are. "
                f"Add --set encoder.missing={treated}, or take another guide"
            )
    facts = Facts(teachers=met, guide_dim=dim, patches=patch_teachers(data.patches))
    with torch.random.fork_rng([]):
        torch.manual_seed(_seed(config.seed, MODEL))
        stage = build(config, facts, data.statistics() if data.teachers else None)
    check_grouping(stage.encoder, data.points, "take a cache with more points a shape")
    return stage, facts


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


def _seed(*numbers: int) -> int:
    """One seed, computed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


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
