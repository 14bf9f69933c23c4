"""What a run starts from: the weights of another run, its guide, or its own last checkpoint.

    base = like("align", init)                                          # settings, if no recipe is named
    config, init, guide = sources(config, init, guide_run)              # paths: who gives weights, who is the guide
    taken = take(stage, config, facts, guide_digest, checkpoint.load(init))
    say(told(taken))

Weights are taken part by part: the encoder, the pool, the head of a teacher, a decoder. A part is taken if all of its tensors have the
names and shapes of the new model's, and mean the same: a head needs the same teacher, and attention the same number of heads. What was
taken, what is new and what was not used is told, and stored in the header of the run's checkpoints. The state of the optimiser is never
taken.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from torch import Tensor

from cache_schema.errors import UserError
from cache_schema.records import differences
from cache_schema.terminal import counted
from trainer import checkpoint
from trainer.align import module_name
from trainer.batch import targets
from trainer.checkpoint import Init, Loaded, Part
from trainer.config import AlignConfig, DistillConfig, StageConfig
from trainer.recipes import configured
from trainer.saved import LEARNING
from trainer.stage import Facts, Stage

GROUPING: Final = ("groups", "group_size", "counts", "sizes")
"""Settings of encoders that say how points are grouped. No weight depends on them."""
WIDE: Final = ("encoder", "pool", "reconstruction", "local", "summary")
"""Parts of a model that are one module each; `local` and `summary` without the last layer, which is a part of its own."""
NAMES: Final = {
    "local": "local decoder",
    "local.head": "last layer of the local decoder",
    "summary": "global decoder",
    "summary.head": "last layer of the global decoder",
    "reconstruction": "decoder of coordinates",
    "teachers": "scales of the teachers' losses",
}
"""Parts in words."""
OPTIMISER: Final = "the state of the optimiser is not taken: the schedule begins anew"
"""Sentence about the optimiser that is printed whenever a run starts from another."""


def like(stage: Literal["align", "distill"], init: Path, recipe: str) -> AlignConfig | DistillConfig:
    """The settings of a new run that starts from another one, if no recipe is asked for: those of that run if it is of the same stage and
    was trained here, otherwise those of `recipe` with the encoder of that run.
    """
    header = checkpoint.header(init)
    if header.config.stage == stage and header.source is None:
        return header.config
    return dataclasses.replace(configured(recipe, stage, []), encoder=header.config.encoder)


def sources(
    config: AlignConfig | DistillConfig, init: Path | None, guide_run: Path | None
) -> tuple[AlignConfig | DistillConfig, Path | None, Path | None]:
    """Decide which run gives the first weights, and which is the guide of stage 2.

    Args:
        config: the settings.
        init: the run that `--init` names. A run of stage 1 is taken for the guide, unless `guide_run` names that one.
        guide_run: the run of the guide.

    Returns:
        The settings, with `start` as it is now; the run that only gives weights; the run of the guide, if that itself is needed or named.

    Raises:
        UserError: a run is missing, or would not be used.
    """
    if not isinstance(config, DistillConfig):
        if guide_run is not None:
            raise UserError(f"the run {guide_run} is of no use: stage 1 has no guide. Name the run that it starts from by --init")
        if init is None and config.start == "run":
            raise UserError(
                "start=run: name the run whose weights stage 1 starts from by --init RUN, for example one of `mmpd-train distill CACHE RUN "
                "--recipe point-mae`; or --set start=any for random weights"
            )
        return config, init, None
    if init is not None:
        stage = checkpoint.header(init).config.stage
        idle = config.start == "random" and not config.needs_guide_run
        if guide_run is not None or stage == "distill" or config.start == "run" or idle:
            config = dataclasses.replace(config, start="run")
        else:
            init, guide_run = None, init
    elif config.start == "run":
        raise UserError("start=run: name the run whose weights the student starts from by --init RUN")
    if guide_run is None and config.needs_guide_run:
        raise UserError(
            "the student starts from its guide's weights: name the guide's run by --init RUN, or --set start=random"
            if config.start == "guide"
            else f"guide_online and projected_weight need the guide itself: name its run by {'--guide-run' if init else '--init'} RUN"
        )
    if guide_run is not None and not (config.needs_guide or config.needs_guide_run):  # features in a cache are compared with it
        why = "the student starts from random weights (start=random)" if config.start == "random" else f"the student starts from {init}"
        raise UserError(f"the run {guide_run} is of no use: {why}. Leave {'--guide-run' if init else '--init'} out")
    return config, init, guide_run


# ------------------------------------------------------------------------------------------------------- taking weights


@dataclass(frozen=True, kw_only=True)
class _Model:
    """A model, and what its parts mean."""

    stage: Stage
    config: StageConfig
    facts: Facts
    guide: str
    """Digest of the guide's weights in stage 2; empty without a guide."""

    def parts(self) -> dict[str, dict[str, Tensor]]:
        """The tensors of each part, by their names in the model."""
        found: dict[str, dict[str, Tensor]] = {}
        for name, value in self.stage.state_dict().items():
            found.setdefault(_part(name), {})[name] = value
        # The mean and deviation of a teacher's embeddings are facts of the data, and no weights.
        learnt = {name for name, _ in self.stage.named_parameters()}
        kept = {part: {n: v for n, v in own.items() if n in learnt or part in WIDE} for part, own in found.items()}
        return {part: own for part, own in kept.items() if own}  # not the running means of losses, either

    def meaning(self, part: str) -> object:
        """What a part needs to have in common with another one, beyond names and shapes."""
        if part == "pool":
            asked = tuple(t.name for t in self.facts.teachers) if self.config.align.queries == "teacher" else ()  # whose each query is
            return ("align.heads", self.config.align.heads, asked)
        if part == "teachers":  # a number for each loss
            return tuple((t.name, t.text, t.fingerprint) for t in self.facts.teachers)
        if part == "reconstruction":
            return ("heads", (self.config.distill if isinstance(self.config, DistillConfig) else self.config.align).heads)
        if part in ("local", "summary") and isinstance(self.config, DistillConfig):
            return ("distill.heads", self.config.distill.heads)
        if part in ("local.head", "summary.head") and isinstance(self.config, DistillConfig):
            if part == "local.head" and self.config.distill.predicts == "dense":
                return tuple(teacher.fingerprint or object() for teacher in self.facts.patches)
            return ("guide", self.guide)
        for teacher in self.facts.teachers:
            if part in {f"teachers.targets.{module_name(p)}" for p in targets(teacher.name, teacher.text).values()}:
                return (teacher.objective, teacher.fingerprint or object())
        for patches in self.facts.patches:
            if part == f"local.heads.{module_name(patches.name)}":
                return patches.fingerprint or object()
        return None


def _part(name: str) -> str:
    """The part of a model that a tensor belongs to."""
    words = name.split(".")
    if words[:2] in (["teachers", "targets"], ["local", "heads"]):
        return ".".join(words[:3])
    return ".".join(words[:2]) if words[:2] in (["local", "head"], ["summary", "head"]) else words[0]


def take(stage: Stage, config: StageConfig, facts: Facts, guide: str, other: Loaded, *, heads: bool = True) -> Init:
    """Give a new model the weights of another run, as far as they fit.

    Args:
        stage: the new model, which is changed.
        config: its settings.
        facts: its teachers.
        guide: digest of its guide's weights; empty without a guide.
        other: the run.
        heads: whether heads of teachers are taken; not if they come from the guide.

    Raises:
        UserError: the encoders differ in more than how they are trained and how points are grouped; the message shows how.
    """
    notes = _assign_encoder(stage, config, other)
    mine = _Model(stage=stage, config=config, facts=facts, guide=guide)
    theirs = _Model(stage=other.model, config=other.config, facts=other.header.facts, guide=other.header.guide)
    own, given = mine.parts(), theirs.parts()
    taken, new, unused = ["encoder"], [], []
    weights: dict[str, Tensor] = {}
    for part in [*own, *(part for part in given if part not in own)]:
        if part == "encoder" or (part.startswith("teachers") and not heads):
            continue
        reason = _unfit(part, mine, theirs, own.get(part), given.get(part))
        if not reason:
            taken.append(part)
            weights |= given[part]
        elif part in own:
            new.append(Part(name=part, reason=reason))
        if reason and part in given:
            unused.append(Part(name=part, reason=reason))
    stage.load_state_dict(weights, strict=False)
    past = checkpoint.learned_from(checkpoint.recalled(other.header, [other.run.resolve().parent]))
    return Init(
        run=other.run.resolve().name,
        stage=other.config.stage,
        weights=other.weights,
        setup=checkpoint.setup(other.header),
        step=other.header.step,
        taken=tuple(taken),
        new=tuple(new),
        unused=tuple(unused),
        notes=tuple(notes),
        caches=past.caches,
        unknown=past.unknown,
    )


def _unfit(part: str, mine: _Model, theirs: _Model, own: dict[str, Tensor] | None, given: dict[str, Tensor] | None) -> str:
    """Why a part is not taken; empty if it is."""
    if given is None:
        return "not in that run"
    if own is None:
        return "not in the new model"
    if own.keys() != given.keys():
        return "of another form"
    if any(own[name].shape != given[name].shape for name in own):
        return "of another shape"
    if mine.meaning(part) != theirs.meaning(part):
        heads = mine.config.align.heads, theirs.config.align.heads
        teacher = part.startswith(("teachers", "local.heads.")) or (part == "pool" and heads[0] == heads[1])
        return "of another teacher" if teacher else "of another guide" if part.endswith(".head") else "of another number of heads"
    return ""


def _assign_encoder(stage: Stage, config: StageConfig, other: Loaded) -> list[str]:
    """Give the new model another run's encoder. Returns notes on settings that differ. Raises as `take`."""
    ours, theirs = stage.get_submodule("encoder"), other.model.get_submodule("encoder")
    mine, named = config.encoder.name, other.config.encoder.name
    changed = differences(other.model.encoder.config, stage.encoder.config)
    try:
        _check_attention(other, stage)
        checkpoint.assign(ours, theirs.state_dict(), f"the encoder of {other.run}")
    except UserError as error:
        raise UserError(
            f"the encoder ({mine}) cannot start from that of {other.run} ({named}): there {'; '.join(changed) or error}. "
            "Choose the recipe of the same encoder"
            + (", or --set start=random" if isinstance(config, DistillConfig) else ", or leave --init out")
        ) from error
    told = [line for line in changed if line.partition(" ")[0] not in (*GROUPING, *LEARNING)]
    return [f"encoder settings: {'; '.join(told)}"] if told else []


def _check_attention(other: Loaded, stage: Stage) -> None:
    """Refuse another number of attention heads, which no shape of a weight shows."""
    there, here = (getattr(encoder.config, "heads", None) for encoder in (other.model.encoder, stage.encoder))
    if there != here:
        raise UserError(f"heads is {there}, asked {here}")


# ------------------------------------------------------------------------------------------------------------- in words


def told(init: Init, frozen: str = "") -> list[str]:
    """Lines that say what a run started from."""
    lines = [f"Starts from {init.run} ({init.stage}, {counted(init.step, 'step')}): took {_names(init.taken)}; {OPTIMISER}"]
    for what, parts in (("New", init.new), ("Not used of that run", init.unused)):
        if parts:
            lines.append(f"{what}: {', '.join(f'{_name(part.name)} ({part.reason})' for part in parts)}")
    return [*lines, *(f"Note on {init.run}: {note}" for note in init.notes), *([f"Frozen: {frozen}"] if frozen else [])]


def _names(parts: Sequence[str]) -> str:
    return ", ".join(map(_name, parts))


def _name(part: str) -> str:
    """A part in words."""
    if part.startswith("teachers.targets."):
        return f"head {part.removeprefix('teachers.targets.')}"
    if part.startswith("local.heads."):
        return f"head of patches {part.removeprefix('local.heads.')}"
    return NAMES.get(part, part)
