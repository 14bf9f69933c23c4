"""All parts of a run before its first step: what it starts from, its data, its model and its optimiser.

    config, sources, paths = sources_of(config, run, init, guide_run, resume, device)
    training = prepared(config, caches, run, sources, ranks, asked=())      # Training

What does not fit together is refused here: settings, caches, the guide and the run that gives the weights. `trainer.loop` makes the steps.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import nn

from cache_schema import plugins
from cache_schema.errors import UserError
from cache_schema.products import ONLY_CAPTIONS, POINTS
from cache_schema.spec import GREY, GuideSpec, PointSpec
from cache_schema.store import Cache
from trainer import arithmetic, checkpoint, folder, layers, optim, start
from trainer.afar import open_all
from trainer.arithmetic import Arithmetic
from trainer.checkpoint import Header, Init, Loaded, Past
from trainer.config import AlignConfig, DistillConfig
from trainer.data import Data
from trainer.distributed import Ranks
from trainer.encoders import trial
from trainer.encoders.catalog import ENCODERS, check_grouping
from trainer.encoders.protocol import MISSING, missing
from trainer.guide import compare_nearby, past_nearby, refuse_stale
from trainer.part import Needs
from trainer.probes import check
from trainer.recompute import recompute
from trainer.resident import Resident
from trainer.software import software
from trainer.stage import Facts, Stage, build, patch_teachers, teachers
from trainer.trackers import catalog as trackers
from trainer.unread import check_read

MODEL, STEP, DROP_PATH = range(3)
"""Numbers that are combined with the run's seed, for separate random numbers: initial weights, the draws of a step, and drop path."""

CPU: Final = torch.device("cpu")
"""Where an encoder is tried if nothing else is said (`new_stage`)."""


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


def sources_of(
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


def prepared(
    config: AlignConfig | DistillConfig, caches: Sequence[Path | str], run: Path, sources: Sources, ranks: Ranks, asked: Sequence[str]
) -> Training:
    """Open the data and build the model, with the weights it starts from. `asked`: as for `train`."""
    guide, kept = sources.guide, sources.kept
    opened = open_all(caches, config.data)
    if kept is not None:
        checkpoint.same_products(kept.caches, opened, run)
    most = max(_blocks(cache) for cache in opened)
    fewer = (f"data.blocks={config.data.blocks}: a shape has {most} here, and all are used",) if config.data.blocks > most else ()
    data = open_data(config, opened, guide, config.optim.batch // config.optim.accumulate, ranks, sources.grey)
    check_read(asked, config, data)
    guided = [(part.cache, part.guide) for part in data.parts if part.guide]
    notes = _compared(config, guided, sources, run)
    check_masked(config, data.repeated, ranks.count)
    check(config.probe, data.parts[0].cache)
    trackers.check(config.log)
    config = _settled(config, data)
    steps = optim.steps(config.optim, data.epoch)
    stage, facts = new_stage(config, data, guide, kept, ranks.device)
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
            notes=(*data.notes, *fewer, *notes) if ranks.first else (),  # the first one writes them; for some, all texts are read
        ),
        generator=torch.Generator(ranks.device),
        arithmetic=chosen,
        frozen=frozen,
    )


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
        return checkpoint.learned_from(checkpoint.recalled(loaded.header, [loaded.run.resolve().parent]))
    return sources.kept.guide_past if sources.kept else past_nearby(found, _near(run, sources))


def _near(run: Path, sources: Sources) -> list[Path]:
    """The folders in which other runs may lie that this one has to do with."""
    return [one.resolve().parent for one in (run, *([sources.init.run] if sources.init else []))]


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


def open_data(
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


def new_stage(
    config: AlignConfig | DistillConfig, data: Data, guide: Loaded | None, kept: Header | None = None, device: torch.device = CPU
) -> tuple[Stage, Facts]:
    """The module to train, with new weights and still on the CPU, and what their shapes depend on.

    Args:
        config: the configuration of the training.
        data: its data.
        guide: the guide, if it makes its features at every step.
        kept: the header of the run that goes on.
        device: where it will be trained.
    """
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
        torch.manual_seed(seed_of(config.seed, MODEL))
        stage = build(config, facts, data.statistics() if data.teachers else None)
    check_grouping(stage.encoder, data.points, "take a cache with more points a shape")
    if theirs := plugins.plugin("encoders", config.encoder.name, ENCODERS):
        trial.refuse(stage.encoder, f"encoder {config.encoder.name!r} ({theirs.told})", data.convention.count, device)
    return stage, facts


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


def online(config: AlignConfig | DistillConfig) -> bool:
    """Whether the guide's features are made at every step."""
    return isinstance(config, DistillConfig) and config.needs_guide and config.guide_online


def _reads_dense(config: AlignConfig | DistillConfig) -> bool:
    """Whether a loss uses patch features of teachers on points."""
    return config.align.local_weight > 0 if isinstance(config, AlignConfig) else config.distill.predicts == "dense"


def seed_of(*numbers: int) -> int:
    """One seed, computed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
