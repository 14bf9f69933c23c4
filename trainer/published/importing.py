"""Import published checkpoints as runs.

    report = import_checkpoint(Path("pretrain.pth"), "point-mae", Path("runs/point-mae"))

`trainer.foreign` reads a file without executing any code from it. Every tensor of the file is taken, dropped with a reason, or refused with
an error. The run has 0 steps; it works with `eval`, `guide` and `distill --init` as any other run does. A checkpoint of ULIP becomes a run
of stage 1, whose head for the teacher is the published projection. The classifier of a fine-tuned model is kept with the run
(`trainer.classifiers`).

Letters: D width, E a teacher's width.
"""

import dataclasses
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from cache_schema.errors import UserError
from cache_schema.settings import override
from cache_schema.spec import did_you_mean
from trainer import checkpoint, classifiers
from trainer.align import Teacher, TeacherLosses
from trainer.checkpoint import Header, Source
from trainer.classifiers import About, Published
from trainer.config import AlignConfig, DistillConfig
from trainer.distill import Distill, GlobalBranch
from trainer.encoders import catalog
from trainer.encoders.protocol import Encoder
from trainer.foreign import read, unchecked
from trainer.options import AlignOptions
from trainer.points import Convention
from trainer.published import heads
from trainer.published.heads import Head
from trainer.published.peers import ENDS, HEAD, PEERS, PROJECTION, SCALE, Peer, signs
from trainer.recipes import configured
from trainer.stage import Facts, Stage, build

WRAPPERS: Final = ("module.", "base_model.", "model.", "net.")
"""Prefixes that all names have if a model was saved inside a wrapper."""
_WITHIN: Final = re.compile(r"(?:(?<=\.)|^)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""Parts that torch inserts into names if a module is compiled, distributed over GPUs, or uses activation checkpointing."""

NOTHING: Final = {
    "align": ("optim.epochs=0",),
    "distill": ("optim.epochs=0", "augment.per_axis=false", "distill.global_weight=1", "distill.global_depth=0"),
}
"""Settings of an imported run that differ from the recipe of the published pre-training: no epochs, and in stage 2 a summary (`average`),
which is a guide's and forbids a scale for each axis."""
COUNT: Final = "num_batches_tracked"
"""Ending of the names of batch norms' step counts. Files converted from other libraries lack them."""
POINTS: Final = "points."
"""Prefix of settings for the points in the model's training, if they differ from the published ones: `trainer.points.Convention`."""
CHANGEABLE: Final = {"align": ("encoder.", POINTS), "distill": ("encoder.", "distill.reconstruction_depth=", "distill.heads=", POINTS)}
"""Prefixes of the settings that an import takes, by stage: sizes that a file does not store."""
LEFT_OUT: Final = "left out as asked"

Stages = AlignConfig | DistillConfig
Rename = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
"""The function `from_published` of an encoder's module."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A tensor of the file that our model uses."""

    name: str
    ours: tuple[str, ...]
    """Names in our model. They may be several: one layer of the authors may be two of ours."""


@dataclass(frozen=True, kw_only=True)
class Left:
    """A tensor of the file that our model does not use, or a tensor of our model that the file does not have."""

    name: str
    reason: str
    """Why our model does not use the tensor, or the value used instead of a missing one."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Report of an import: every tensor of the file and of our model."""

    source: Source
    encoder: str
    taken: tuple[Taken, ...]
    dropped: tuple[Left, ...]
    missing: tuple[Left, ...]
    """Tensors of our model that the file does not have."""
    input: str
    """Input of the published model, in words."""
    notes: tuple[str, ...] = ()
    """Further notes for the user."""


def import_checkpoint(
    file: Path,
    architecture: str,
    out: Path,
    assignments: Sequence[str] = (),
    teacher: str = "",
    *,
    key: str = "",
    drop: Sequence[str] = (),
    classes: str = "",
) -> Report:
    """Turn a published checkpoint into a run.

    Args:
        file: a file written by `torch.save`, of any name, or safetensors.
        architecture: a name of `PEERS`.
        out: folder of the run; it must be new or empty.
        assignments: sizes that differ from the published ones, as `--set` takes them.
        teacher: in stage 1, the name in caches of the model's teacher; empty for the published one.
        key: key of the weights in the file; empty to find them.
        drop: prefixes of tensors to leave out, by their names in the file or their unwrapped names.
        classes: names of the classes of the file's classifier, as `trainer.published.heads.class_names` takes them; empty if unknown.

    Raises:
        UserError: the file is not a checkpoint, is damaged, or has another architecture or other sizes; it has unknown tensors, two tensors
            for the same name, or values that are not finite; the folder is in use; a teacher must be named and is not, or is named
            although there is none; `classes` do not fit the classifier, or there is none.
    """
    peer, teacher, points, sizes = _asked(architecture, assignments, teacher)
    if out.exists() and (not out.is_dir() or any(not path.name.startswith(".") for path in out.iterdir())):
        raise UserError(f"{out} is in use: give another folder")
    kept, dropped, of_head = _chosen(file, architecture, key, drop)
    implied = [setting for end, setting in peer.implied.items() if any(name.endswith(end) for name in kept)]
    given = [*NOTHING[peer.stage], *peer.settings, *implied, *sizes]
    config: Stages = configured(peer.recipe, peer.stage, given)
    points = _believed(peer, architecture, config, points, assignments)

    of_teacher = {name: kept.pop(name) for name in (PROJECTION, SCALE) if peer.stage == "align" and name in kept}
    ours, taken = _translated(file, peer, kept, catalog.family(config.encoder.name).from_published)
    facts = Facts()
    if peer.stage == "align":
        facts, heads, of_heads = _heads(file, of_teacher, teacher)
        ours, taken = ours | heads, taken | of_heads
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, teachers=(teacher,)))
    elif not any(name.startswith("reconstruction.") for name in ours):  # fine-tuned, or not trained as published
        config = configured(peer.recipe, peer.stage, [*given, "distill.reconstruction_weight=0"])
    stage, missing = _filled(file, config, facts, ours)
    catalog.check_grouping(stage.encoder, points.count, "give the number of points per shape in training with --set points.count=N")

    source = Source(file=file.name, sha256=_digest(file), architecture=architecture)
    head = _classifier(file, peer, stage.encoder, of_head, classes)
    about = None
    if isinstance(head, Head):
        about = _about(head, config, stage, points, source, classes)
        taken |= {peer.head + name: (f"{classifiers.FOLDER}/{classifiers.PUBLISHED}: head.{name}",) for name in of_head}
    out.mkdir(parents=True, exist_ok=True)
    if isinstance(head, Head) and about is not None:
        classifiers.save(out, classifiers.PUBLISHED, about, head.settings, head.layers)
    else:
        dropped |= {peer.head + name: f"{HEAD}: {head}" for name in of_head}
    checkpoint.save(out, Header(config=config, facts=facts, caches=(), step=0, steps=0, source=source, points=points), stage, {}, {})
    unused = {name: "the published model does not use it" for name, found in taken.items() if not found}
    return Report(
        source=source,
        encoder=config.encoder.name,
        taken=tuple(Taken(name=name, ours=found) for name, found in taken.items() if found),
        dropped=tuple(Left(name=name, reason=reason) for name, reason in (dropped | unused).items()),
        missing=tuple(Left(name=name, reason=reason) for name, reason in missing.items()),
        input=peer.input,
        notes=(*filter(None, [unchecked(file)]), *_told(out, about, stage)),
    )


def _classifier(file: Path, peer: Peer, encoder: Encoder, tensors: Mapping[str, Tensor], classes: str) -> Head | str:
    """The file's classifier; or in words why it is not kept. Empty if there is none.

    Raises:
        UserError: `classes` do not fit it, or are given although there is none.
    """
    found = heads.read(peer, encoder, tensors) if tensors else ""
    if isinstance(found, Head):
        heads.class_names(classes, found.classes)
        if found.classes < 2:
            return "it has one class only"
    elif classes:
        raise UserError(f"--classes {classes}: {file} has no classifier that could be kept{f', since {found}' if found else ''}")
    return found


def _about(head: Head, config: Stages, stage: Stage, points: Convention, source: Source, classes: str) -> About:
    """The description of a published classifier."""
    names, class_list = heads.class_names(classes, head.classes)
    return About(
        classes=names,
        encoder=config.encoder.name,
        pool=head.pool,
        points=points,
        tune=classifiers.PUBLISHED,
        form=classifiers.form_of(head.layers),
        own=False,
        weights=checkpoint.digest(stage.state_dict()),
        origin=Published(source=source, class_list=class_list),
    )


def _told(out: Path, about: About | None, stage: Stage) -> tuple[str, ...]:
    """Notes on the classifier of an imported run."""
    if about is None:
        return ()
    names = "" if about.named else ", whose names are not known: --classes names them"
    kept = f"The classifier is kept as {classifiers.PUBLISHED!r}: {len(about.classes)} classes{names}"
    use = f"mmpd-train eval classify {out} CACHE --as-published measures it"
    return (f"{kept}. {use}", *heads.unlike(about, stage.encoder.config))


def _asked(architecture: str, assignments: Sequence[str], teacher: str) -> tuple[Peer, str, Convention, list[str]]:
    """The peer, its teacher's name, its points, and the user's settings for its model. Raises as `import_checkpoint`."""
    if architecture not in PEERS:
        raise UserError(f"no architecture {architecture!r}{did_you_mean(architecture, PEERS)}")
    peer = PEERS[architecture]
    for assignment in assignments:
        if not assignment.startswith(CHANGEABLE[peer.stage]):
            takes = ", ".join(f"{start}*".replace("=*", "") for start in CHANGEABLE[peer.stage])
            raise UserError(f"{assignment}: an import of {architecture} only sets {takes}")
    points = override(peer.points, [assignment.removeprefix(POINTS) for assignment in assignments if assignment.startswith(POINTS)])
    if teacher and peer.stage == "distill":
        raise UserError(f"{architecture} was aligned with no teacher: leave out {teacher}")
    teacher = teacher or peer.teacher
    if peer.stage == "align" and not teacher:
        raise UserError(f"say what the teacher that {architecture} was aligned with is called in your caches: --teacher NAME")
    return peer, teacher, points, [assignment for assignment in assignments if not assignment.startswith(POINTS)]


def _believed(peer: Peer, architecture: str, config: Stages, points: Convention, assignments: Sequence[str]) -> Convention:
    """The points that a model was trained on: `points`, with colours unknown if it reads other channels than the published model.

    Raises:
        UserError: the configuration names an encoder of another family.
    """
    usual = configured(peer.recipe, peer.stage, peer.settings).encoder
    expected = catalog.ENCODERS[usual.name]
    if catalog.ENCODERS[config.encoder.name] != expected:
        fitting = ", ".join(name for name, other in catalog.ENCODERS.items() if other == expected)
        raise UserError(f"{architecture} is read by the encoders {fitting}, not by {config.encoder.name}")
    told = any(name.partition("=")[0].strip() == f"{POINTS}colored" for name in assignments)
    if config.encoder.resolved().channels != usual.resolved().channels and not told:
        return dataclasses.replace(points, colored=None)  # with other channels it was not trained as published
    return points


def _chosen(file: Path, architecture: str, key: str, drop: Sequence[str]) -> tuple[dict[str, Tensor], dict[str, str], dict[str, Tensor]]:
    """The weights in a file that our model uses, by unwrapped name; the reasons for dropping the others, by name; and the weights of the
    classifier, under their names without the prefix `Peer.head`. Raises as `import_checkpoint`.
    """
    peer = PEERS[architecture]
    found = read(file, key)
    wrapped = [name for name in found if name.startswith(tuple(drop))]
    if len(wrapped) == len(found):
        raise UserError(f"--drop {' --drop '.join(drop)} leaves nothing of {file}")
    state = _unwrapped(file, peer, {name: value for name, value in found.items() if name not in wrapped})
    for start in drop:
        if not any(name.startswith(start) for name in (*wrapped, *state)):
            raise UserError(f"--drop {start}: no tensor of {file} has a name that begins so, such as {next(iter(state))!r} does")
    asked = dict.fromkeys(drop, LEFT_OUT)
    _check_architecture(file, {name: value for name, value in state.items() if not name.startswith(tuple(asked))}, architecture)

    drops = {**asked, **peer.dropped, **_replaced(peer, state)}
    dropped = dict.fromkeys(wrapped, LEFT_OUT) | {
        name: reason for name in state for start, reason in drops.items() if name.startswith(start)
    }
    of_head = {name for name, reason in dropped.items() if reason == HEAD and name.startswith(peer.head)}
    kept = {name: value for name, value in state.items() if name not in dropped}
    for name, value in (kept | {name: state[name] for name in of_head}).items():
        if value.is_complex():
            raise UserError(f"{file}: {name} is of complex numbers, but weights here are real")
        if not value.isfinite().all():
            raise UserError(f"{file} is damaged, or its training diverged: {name} is not finite")
    head = {name.removeprefix(peer.head): value for name, value in state.items() if name in of_head}
    return kept, {name: reason for name, reason in dropped.items() if name not in of_head}, head


def _filled(file: Path, config: Stages, facts: Facts, ours: Mapping[str, Tensor]) -> tuple[Stage, dict[str, str]]:
    """Our model with these weights; and in words, by name, the value used for each missing weight.

    Raises:
        UserError: the weights belong to another model.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(config.seed)
        stage = build(config, facts)
    own = stage.state_dict()
    missing = {}
    if isinstance(stage, Distill):
        assert stage.summary is not None
        average(stage.summary)
        missing = {name: "the mean of the tokens, each normalised" for name in own if name.startswith("summary.")}
        missing |= {name: "new weights, not trained" for name in own if name.startswith("reconstruction.") and name not in ours}
    counts = {name for name in own if name.endswith(COUNT) and name not in ours and f"{name.removesuffix(COUNT)}running_mean" in ours}
    missing |= dict.fromkeys(sorted(counts), "0: number of batches in the running averages; no feature depends on it")  # 0 when new
    try:
        checkpoint.assign(stage, {name: own[name] for name in missing} | dict(ours), str(file))
    except UserError as error:
        raise UserError(
            f"{error}. If the model's sizes differ from the published ones, give them, such as --set encoder.depth=6"
        ) from error
    return stage, missing


def average(summary: GlobalBranch) -> None:
    """Set the weights of a summary without blocks so that it computes the mean of the normalised tokens.

    No published model has a summary, and a summary with random weights would be useless.
    """
    pool, dim = summary.pool, len(summary.head.weight)
    with torch.no_grad():
        pool.query.zero_()  # equal attention to all tokens
        pool.kv.weight.copy_(torch.cat([torch.zeros(dim, dim), torch.eye(dim)]))  # [2 D, D]
        for layer in (pool.proj, summary.head):
            layer.weight.copy_(torch.eye(dim))
            layer.bias.zero_()
        pool.mlp.fc2.weight.zero_()
        pool.mlp.fc2.bias.zero_()


def _unwrapped(file: Path, peer: Peer, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under unwrapped names: without the parts that a wrapper added to the names when the model was saved.

    In addition to the usual prefixes, the most frequent prefix is removed if the architecture then knows more names.

    Raises:
        UserError: two names become the same.
    """
    plain = {name: _WITHIN.sub("", name) for name in weights}
    while any(short.startswith(WRAPPERS) for short in plain.values()):
        plain = {name: short.partition(".")[2] if short.startswith(WRAPPERS) else short for name, short in plain.items()}
    from_published = catalog.family(configured(peer.recipe, peer.stage, peer.settings).encoder.name).from_published

    def knows(name: str) -> bool:
        if name.startswith((*peer.dropped, *peer.replaced)) or (peer.stage == "align" and name in (PROJECTION, SCALE)):
            return True
        start = next((start for start in peer.renamed if name.startswith(start)), "")
        try:
            return bool(from_published({peer.renamed.get(start, "") + name.removeprefix(start): torch.zeros(2, 2)}))
        except (ValueError, RuntimeError, IndexError):  # the name is unknown, or zeros do not have its tensor's shape
            return False

    def known(prefix: str) -> int:
        return sum(knows(short.removeprefix(prefix)) for short in plain.values())

    prefixes = {".".join(short.split(".")[:i]) + "." for short in plain.values() for i in range(1, min(short.count("."), 4) + 1)}
    prefixes = {p for p in prefixes if not any(sign in p for sign in signs())}  # they identify the architecture of a file
    common = [p for p in sorted(prefixes, key=len) if 2 * sum(short.startswith(p) for short in plain.values()) > len(plain)]
    best = max(["", *common], key=known)  # the shortest if several are equally good
    found: dict[str, str] = {}
    for name, short in plain.items():
        short = short.removeprefix(best)
        if (other := found.setdefault(short, name)) != name:
            raise UserError(f"{file} has both {other} and {name}, which are one name: leave out the unused one (--drop or --key)")
    return {short: weights[name] for short, name in found.items()}


def _check_architecture(file: Path, names: Mapping[str, Tensor], architecture: str) -> None:
    """Raise UserError if the names of the tensors belong to another architecture than `architecture`."""
    found = next((of for sign, of in signs().items() if any(sign in name for name in names)), (architecture,))
    if architecture not in found:
        remedy = f"try --as {' or --as '.join(found)}" if found else "it is from Point-BERT's own pre-training, which mmpd cannot read"
        raise UserError(f"{file} is no checkpoint of {architecture}, judging by its tensor names: {remedy}")


def _replaced(peer: Peer, names: Mapping[str, Tensor]) -> dict[str, str]:
    """Prefixes of the tensors that fine-tuning did not train, with the reason for dropping each."""

    def there(start: str) -> bool:
        return any(name.startswith(start) for name in names)

    tuned = any(there(start) for start, reason in peer.dropped.items() if reason == HEAD)
    return {old: f"fine-tuning trained {new} in its place" for old, new in peer.replaced.items() if tuned and there(new)}


def _translated(
    file: Path, peer: Peer, state: Mapping[str, Tensor], from_published: Rename
) -> tuple[dict[str, Tensor], dict[str, tuple[str, ...]]]:
    """Tensors of a file under our names; and for each name in the file, the names in our model.

    Raises:
        UserError: a tensor has no name in our model, or two tensors have the same. The message names them.
    """
    source: dict[str, str] = {}
    ours: dict[str, Tensor] = {}
    taken: dict[str, tuple[str, ...]] = {}
    for name, value in state.items():
        start = next((start for start in peer.renamed if name.startswith(start)), "")
        try:
            found = from_published({peer.renamed.get(start, "") + name.removeprefix(start): value})
        except ValueError as error:  # a UserError for an unknown name, or an error of torch or Python for a tensor of unexpected shape
            raise UserError(f"{file} is not understood: {error}. If it is not needed, --drop {name} leaves it out") from error
        for own in found:
            if (other := source.setdefault(own, name)) != name:
                raise UserError(f"{file} has both {other} and {name} for {own}: leave out the unused one")
        ours |= found
        taken[name] = tuple(found)
    return ours, taken


def _heads(file: Path, state: Mapping[str, Tensor], name: str) -> tuple[Facts, dict[str, Tensor], dict[str, tuple[str, ...]]]:
    """The teacher of a ULIP model, and the weights of the projection into the teacher's space, in the form of `_translated`.

    The same projection serves images and texts.

    Raises:
        UserError: the projection or its scale is not in the file.
    """
    if PROJECTION not in state or state[PROJECTION].ndim != 2 or SCALE not in state:
        raise UserError(f"{file} has no {PROJECTION} [D, E] or no {SCALE}: without them its features cannot be compared with a teacher's")
    facts = Facts(teachers=(Teacher(name=name, dim=state[PROJECTION].shape[1], text=True, objective="contrast"),))
    heads = TeacherLosses(len(state[PROJECTION]), facts.teachers, AlignOptions(projection="linear"), {}).state_dict()
    weights = {PROJECTION: state[PROJECTION].T, SCALE: state[SCALE]}
    taken = {theirs: tuple(f"teachers.{own}" for own in heads if own.endswith(end)) for theirs, end in ENDS.items()}
    return facts, {own: weights[theirs] for theirs, found in taken.items() for own in found}, taken


def _digest(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
