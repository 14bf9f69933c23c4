"""Published checkpoints become runs of ours, and encoders of ours files under their authors' names.

    report = import_checkpoint(Path("pretrain.pth"), "point-mae", Path("runs/point-mae"))
    export_encoder(Path("runs/point-mae"), Path("encoder.safetensors"))

A file is only data here: `trainer.foreign` reads it, and runs nothing. Every tensor of it is taken, dropped for a reason that is given, or
refused. The run has made no steps; it serves `eval`, `guide` and `distill --init` as any other does. A checkpoint of ULIP becomes a run of
stage 1, whose head for the teacher is the published projection.

Letters: D width, E a teacher's width.
"""

import dataclasses
import hashlib
import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import safetensors.torch
import torch
from torch import Tensor

from cache_schema.errors import UserError
from cache_schema.settings import override
from cache_schema.spec import did_you_mean
from cache_schema.store import write_file
from trainer import checkpoint
from trainer.align import AlignOptions, Teacher, TeacherLosses
from trainer.checkpoint import Header, Source
from trainer.config import AlignConfig, DistillConfig
from trainer.distill import Distill, GlobalBranch
from trainer.encoders import catalog
from trainer.foreign import read, unchecked
from trainer.points import Convention
from trainer.recipes import StageName, configured
from trainer.stage import Facts, Stage, build

WRAPPERS: Final = ("module.", "base_model.", "model.", "net.")
"""What stands before every name of a model that was wrapped when it was saved."""
_WITHIN: Final = re.compile(r"(?:(?<=\.)|^)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What torch puts into names of a model, or of a part of it, that is compiled, dealt to several GPUs or saves memory."""

NOTHING: Final = {"align": ("optim.epochs=0",), "distill": ("optim.epochs=0", "distill.global_weight=1", "distill.global_depth=0")}
"""What differs in a run that is imported from the recipe of the peer's pre-training: no training, and in stage 2 a summary (`average`)."""
COUNT: Final = "num_batches_tracked"
"""How the names of counts end in batch norms. Files converted from elsewhere lack them."""
POINTS: Final = "points."
"""How settings begin that say with which points a model was trained, if not with the published ones: `trainer.points.Convention`."""
CHANGEABLE: Final = {"align": ("encoder.", POINTS), "distill": ("encoder.", "distill.reconstruction_depth=", "distill.heads=", POINTS)}
"""How settings begin that an import takes, by stage: sizes that a file does not say."""

LEFT_OUT: Final = "left out as asked"
HEAD: Final = "head of a downstream task"
ULIP_HEADS: Final = ("align.pool=max", "align.projection=linear")
"""How ULIP's stage 1 differs from ours, as settings."""
PROJECTION, SCALE = "pc_projection", "logit_scale"
"""ULIP's: [D, E], and the logarithm of the inverse temperature."""
ENDS: Final = {PROJECTION: ".head.layers.weight", SCALE: ".log_scale"}
"""How the names end of what those are here, once for images and once for texts. The projection is transposed."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """How files of one architecture are read."""

    recipe: str
    """Our recipe of its pre-training."""
    stage: StageName = "distill"
    settings: tuple[str, ...] = ()
    """Settings in which its model differs from the recipe's."""
    implied: Mapping[str, str] = field(default_factory=dict)
    """How a name ends that not every file has, and the setting that it asks for."""
    input: str
    """What the model was published with, in words: points, what they are, and how they are grouped."""
    points: Convention
    """The same points, for the run's file."""
    teacher: str = ""
    """In stage 1 what `mmpd-cache teachers` calls the one it was aligned with; empty where that is none of them."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """How names begin in its files, and in those that the encoder's `from_published` reads."""
    dropped: Mapping[str, str] = field(default_factory=dict)
    """How names begin that have no place here, and why. This comes before `renamed`."""
    replaced: Mapping[str, str] = field(default_factory=dict)
    """How names begin that fine-tuning neither loads nor trains, and those of what it has in their place. Where a file with a head has
    both, the first are dropped."""


_MAE: Final = {
    name: f"MAE_encoder.{name}"
    for name in ("encoder.", "reduce_dim.", "cls_", "img_token", "img_pos", "text_token", "text_pos", "pos_embed.", "blocks.", "norm.")
}
"""How names begin in a fine-tuned Point-MAE, ACT or ReCon, whose names have no prefix, and how the same begin in a pre-trained one."""
_TUNED: Final = {"cls_head_finetune.": HEAD}
_CLASS_TOKEN: Final = {"cls_token": "encoder.class_token=attended"}
_USUAL: Final = "1024 points, coordinates in the unit sphere, in 64 groups of 32"
_POINTS: Final = Convention(count=1024, colored=False)
_M2AE: Final = Peer(
    recipe="point-m2ae",
    points=Convention(count=2048, colored=False),
    input="2048 points, coordinates in the unit sphere, in 512, 256 and 64 groups of 16, 8 and 8",
    renamed={"norm.": "h_encoder.encoder_norms.2."},
    dropped=_TUNED,
    replaced={"h_encoder.encoder_norms.": "norm."},
)
_FEATURES: Final = "decoder of features, which a decoder of coordinates cannot take over"
_PATCHES: Final = "decoder of patches alone: here the class, image and text token stand beside them"
_FROZEN: Final = "the frozen teacher"
_SLIP: Final = ("visual.", "transformer.", "token_embedding.", "positional_embedding", "ln_final.", "image_projection", "text_projection")
_TOWERS: Final = dict.fromkeys((*_SLIP, "open_clip_model."), _FROZEN)
PEERS: Final = {
    "point-mae": Peer(recipe="point-mae", input=_USUAL, points=_POINTS, implied=_CLASS_TOKEN, renamed=_MAE, dropped=_TUNED),
    "point-m2ae": _M2AE,
    "pointmamba": Peer(recipe="pointmamba", input=_USUAL, points=_POINTS, dropped=_TUNED),
    "recon": Peer(
        recipe="point-mae",
        settings=("encoder.name=recon-s",),
        input=_USUAL,
        points=_POINTS,
        renamed=_MAE,
        dropped={
            **dict.fromkeys(("MAE_decoder.", "decoder_pos_embed.", "mask_token", "increase_dim."), _PATCHES),
            **dict.fromkeys(("img_encoder.", "text_encoder."), _FROZEN),
            **dict.fromkeys(("img_proj.", "text_proj."), "regresses to the frozen teacher"),
            "cls_proj.": "head of the class token",
            **_TUNED,
        },
    ),
    "act": Peer(
        recipe="point-mae",
        input=_USUAL,
        points=_POINTS,
        implied=_CLASS_TOKEN,
        renamed={"ACT_encoder.": "MAE_encoder."} | _MAE,
        dropped={
            "ACT_encoder.cls_head.": "head of the class token",
            "ACT_encoder.lm_head.": "head of the dVAE's codes",
            **dict.fromkeys(("ACT_decoder.", "decoder_pos_embed.", "mask_token", "proj_head."), _FEATURES),
            "dvae_tokenizer.": _FROZEN,
            **_TUNED,
        },
    ),
    "i2p-mae": Peer(
        recipe=_M2AE.recipe,
        input=_M2AE.input,
        points=_M2AE.points,
        renamed=_M2AE.renamed,
        replaced=_M2AE.replaced,
        dropped={
            "rec_head_3d.": "predicts 8 points a group, the decoder of Point-M2AE has a head for 16",
            "rec_head_2d.": "head of the image features",
            "clip_model.": _FROZEN,
            **_M2AE.dropped,
        },
    ),
    "ulip": Peer(
        recipe="ulip2-like",
        stage="align",
        settings=("encoder.name=pointbert-s", *ULIP_HEADS),
        points=Convention(count=8192, colored=False),
        input="8192 points, coordinates in the unit sphere, in 512 groups of 32",
        dropped=_TOWERS,
    ),
    "ulip-2": Peer(
        recipe="ulip2-like",
        stage="align",
        settings=("encoder.name=pointbert-s", "encoder.channels=6", "encoder.depth=18", *ULIP_HEADS),
        points=Convention(count=10000, colored=True, grey=0.4),
        input="10000 points, coordinates in the unit sphere and colours in 0..1 (all 0.4 where there are none), in 512 groups of 32",
        teacher="openclip-bigg14",
        dropped=_TOWERS,
    ),
}
"""By the name of the architecture. In this order: https://arxiv.org/abs/2203.06604, https://arxiv.org/abs/2205.14401,
https://arxiv.org/abs/2402.10739, https://arxiv.org/abs/2302.02318, https://arxiv.org/abs/2212.08320, https://arxiv.org/abs/2212.06785,
https://arxiv.org/abs/2212.05171, https://arxiv.org/abs/2305.08275."""

SIGNS: Final = {
    "point_encoder.": ("ulip", "ulip-2"),
    "_contrast.": ("recon",),
    "ACT_encoder.": ("act",),
    "rec_head_3d.": ("i2p-mae",),
    "clip_model.": ("i2p-mae",),
    "rec_head.": ("point-m2ae",),
    "h_encoder.": ("point-m2ae", "i2p-mae"),
    "transformer_q.": (),
    ".mixer.": ("pointmamba",),
    "MAE_encoder.": ("point-mae",),
    "blocks.blocks.": ("point-mae", "act"),
}
"""Part of a tensor's name to the architectures that have it; the first part that is found in a file decides. Nothing here reads files of
Point-BERT's own pre-training (`transformer_q.`)."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A tensor that has its place here."""

    name: str
    ours: tuple[str, ...]
    """Its names here: one layer there may be two here."""


@dataclass(frozen=True, kw_only=True)
class Left:
    """A tensor there that has no place here, or one here that is not there."""

    name: str
    reason: str
    """Why it has none, or what stands in its place."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What became of every tensor of a file."""

    source: Source
    encoder: str
    taken: tuple[Taken, ...]
    dropped: tuple[Left, ...]
    missing: tuple[Left, ...]
    """What the file does not have of our model."""
    input: str
    """What the model was published with, in words."""
    notes: tuple[str, ...] = ()
    """What else a reader must know."""


def import_checkpoint(
    file: Path, architecture: str, out: Path, assignments: Sequence[str] = (), teacher: str = "", *, key: str = "", drop: Sequence[str] = ()
) -> Report:
    """Make a run of a published checkpoint.

    Args:
        file: what `torch.save` wrote, whatever it is called, or safetensors.
        architecture: a name of `PEERS`.
        out: folder of the run; it must be new or empty.
        assignments: sizes other than the published ones, as `--set` takes them.
        teacher: of stage 1, what caches call the teacher it was aligned with; empty for the published one.
        key: under which of its names the file has the weights; empty to find out.
        drop: how names begin of tensors to leave out, as they are in the file or without what they are wrapped in.

    Raises:
        UserError: the file is no checkpoint, is damaged, is of another architecture or other sizes, or has tensors
            nobody knows, two for one place, or values that are not finite; the folder is in use; or the teacher is needed and not named, or
            named and not needed.
    """
    peer, teacher, points, sizes = _asked(architecture, assignments, teacher)
    if out.exists() and (not out.is_dir() or any(not path.name.startswith(".") for path in out.iterdir())):
        raise UserError(f"{out} is in use: give another folder")
    kept, dropped = _chosen(file, architecture, key, drop)

    implied = [setting for end, setting in peer.implied.items() if any(name.endswith(end) for name in kept)]
    given = [*NOTHING[peer.stage], *peer.settings, *implied, *sizes]
    config: AlignConfig | DistillConfig = configured(peer.recipe, peer.stage, given)
    usual = configured(peer.recipe, peer.stage, peer.settings).encoder
    told = any(name.partition("=")[0].strip() == f"{POINTS}colored" for name in assignments)
    if config.encoder.resolved().channels != usual.resolved().channels and not told:
        points = dataclasses.replace(points, colored=None)  # with other channels it was not trained as published
    module = catalog.ENCODERS[config.encoder.name]
    expected = catalog.ENCODERS[usual.name]
    if module != expected:
        fitting = ", ".join(name for name, other in catalog.ENCODERS.items() if other == expected)
        raise UserError(f"{architecture} is read by the encoders {fitting}, not by {config.encoder.name}")

    of_teacher = {name: kept.pop(name) for name in (PROJECTION, SCALE) if peer.stage == "align" and name in kept}
    ours, taken = _translated(file, peer, kept, importlib.import_module(module).from_published)
    facts = Facts()
    if peer.stage == "align":
        facts, heads, of_heads = _heads(file, of_teacher, teacher)
        ours, taken = ours | heads, taken | of_heads
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, teachers=(teacher,)))
    elif not any(name.startswith("reconstruction.") for name in ours):  # fine-tuned, or trained otherwise
        config = configured(peer.recipe, peer.stage, [*given, "distill.reconstruction_weight=0"])
    stage, missing = _filled(file, config, facts, ours)
    catalog.check_grouping(stage.encoder, points.count, "say by --set points.count=N how many points a shape had in training")

    source = Source(file=file.name, sha256=_digest(file), architecture=architecture)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint.save(out, Header(config=config, facts=facts, caches=(), step=0, steps=0, source=source, points=points), stage, {}, {})
    unused = {name: "the published model does not use it" for name, found in taken.items() if not found}
    return Report(
        source=source,
        encoder=config.encoder.name,
        taken=tuple(Taken(name=name, ours=found) for name, found in taken.items() if found),
        dropped=tuple(Left(name=name, reason=reason) for name, reason in (dropped | unused).items()),
        missing=tuple(Left(name=name, reason=reason) for name, reason in missing.items()),
        input=peer.input,
        notes=tuple(filter(None, [unchecked(file)])),
    )


def _asked(architecture: str, assignments: Sequence[str], teacher: str) -> tuple[Peer, str, Convention, list[str]]:
    """What is to be imported: the peer, its teacher's name, its points, and the settings of its model. Raises as `import_checkpoint`."""
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


def _chosen(file: Path, architecture: str, key: str, drop: Sequence[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The weights in a file that have a place here, by their names without what they are wrapped in; and by name the reason for which
    others are dropped. Raises as `import_checkpoint`.
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
    kept = {name: value for name, value in state.items() if name not in dropped}
    for name, value in kept.items():
        if value.is_complex():
            raise UserError(f"{file}: {name} is of complex numbers, which no weights here are")
        if not value.isfinite().all():
            raise UserError(f"{file} is damaged, or its training diverged: {name} is not finite")
    return kept, dropped


def _filled(file: Path, config: AlignConfig | DistillConfig, facts: Facts, ours: Mapping[str, Tensor]) -> tuple[Stage, dict[str, str]]:
    """A model of ours with weights under our names; and by name what stands in the place of those that are missing.

    Raises:
        UserError: they are those of another model.
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
    missing |= dict.fromkeys(sorted(counts), "0: of how many batches the averages are, on which no feature depends")  # 0 when new
    try:
        checkpoint.assign(stage, {name: own[name] for name in missing} | dict(ours), str(file))
    except UserError as error:
        raise UserError(f"{error}. Is it of other sizes than those published? --set encoder.depth=6 and the like say which") from error
    return stage, missing


def export_encoder(run: Path, out: Path) -> int:
    """Write the encoder of a run as safetensors, under the names of its authors' pre-training model. Of an imported ULIP the projection
    goes with it. Returns how many tensors that are.

    Raises:
        UserError: there is no run, or the file's name does not fit or is taken.
    """
    if out.suffix != ".safetensors":
        raise UserError(f"{out} must end in .safetensors")
    if out.exists():
        raise UserError(f"{out} exists: give another name")
    loaded = checkpoint.load(run)
    state = {f"encoder.{name}": value for name, value in loaded.model.get_submodule("encoder").state_dict().items()}
    theirs: dict[str, Tensor] = importlib.import_module(catalog.ENCODERS[loaded.config.encoder.name]).to_published(state)
    source = loaded.header.source
    if source and PEERS[source.architecture].stage == "align":  # elsewhere images and texts have heads of their own, or other ones
        theirs |= _projection(loaded.model.state_dict())
    theirs = {name: value.contiguous() for name, value in theirs.items()}
    write_file(out, safetensors.torch.save(theirs, {"format": "pt"}))
    return len(theirs)


def average(summary: GlobalBranch) -> None:
    """Have a summary without blocks be the mean of the tokens, each normalised. No published model has a summary, and random weights would
    make one of no meaning.
    """
    pool, dim = summary.pool, len(summary.head.weight)
    with torch.no_grad():
        pool.query.zero_()  # attends to all alike
        pool.kv.weight.copy_(torch.cat([torch.zeros(dim, dim), torch.eye(dim)]))  # [2 D, D]
        for layer in (pool.proj, summary.head):
            layer.weight.copy_(torch.eye(dim))
            layer.bias.zero_()
        pool.mlp.fc2.weight.zero_()
        pool.mlp.fc2.bias.zero_()


def _unwrapped(file: Path, peer: Peer, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights without what stands before their names, or within them, of models that were wrapped when they were saved.

    Besides the usual, whatever words most names begin with are taken off where the architecture knows more names without them.

    Raises:
        UserError: two names are one without that.
    """
    plain = {name: _WITHIN.sub("", name) for name in weights}
    while any(short.startswith(WRAPPERS) for short in plain.values()):
        plain = {name: short.partition(".")[2] if short.startswith(WRAPPERS) else short for name, short in plain.items()}
    from_published = importlib.import_module(
        catalog.ENCODERS[configured(peer.recipe, peer.stage, peer.settings).encoder.name]
    ).from_published

    def knows(name: str) -> bool:
        if name.startswith((*peer.dropped, *peer.replaced)) or (peer.stage == "align" and name in (PROJECTION, SCALE)):
            return True
        start = next((start for start in peer.renamed if name.startswith(start)), "")
        try:
            return bool(from_published({peer.renamed.get(start, "") + name.removeprefix(start): torch.zeros(2, 2)}))
        except (ValueError, RuntimeError, IndexError):  # of a name that is unknown, or of zeros that have not its tensor's shape
            return False

    def known(prefix: str) -> int:
        return sum(knows(short.removeprefix(prefix)) for short in plain.values())

    prefixes = {".".join(short.split(".")[:i]) + "." for short in plain.values() for i in range(1, min(short.count("."), 4) + 1)}
    prefixes = {p for p in prefixes if not any(sign in p for sign in SIGNS)}  # which say what a file is of
    common = [p for p in sorted(prefixes, key=len) if 2 * sum(short.startswith(p) for short in plain.values()) > len(plain)]
    best = max(["", *common], key=known)  # of equally good ones the shortest
    found: dict[str, str] = {}
    for name, short in plain.items():
        short = short.removeprefix(best)
        if (other := found.setdefault(short, name)) != name:
            raise UserError(f"{file} has both {other} and {name}, which are one name: leave out the one that is not used (--drop or --key)")
    return {short: weights[name] for short, name in found.items()}


def _check_architecture(file: Path, names: Mapping[str, Tensor], architecture: str) -> None:
    """Raise UserError where names of tensors tell of another architecture."""
    found = next((of for sign, of in SIGNS.items() if any(sign in name for name in names)), (architecture,))
    if architecture not in found:
        remedy = f"try --as {' or --as '.join(found)}" if found else "it is of Point-BERT's own pre-training, which nothing here reads"
        raise UserError(f"{file} is no checkpoint of {architecture} by the names in it: {remedy}")


def _replaced(peer: Peer, names: Mapping[str, Tensor]) -> dict[str, str]:
    """How names begin of what fine-tuning left as it was made, and why they are dropped."""

    def there(start: str) -> bool:
        return any(name.startswith(start) for name in names)

    tuned = any(there(start) for start, reason in peer.dropped.items() if reason == HEAD)
    return {old: f"fine-tuning trained {new} in its place" for old, new in peer.replaced.items() if tuned and there(new)}


def _translated(
    file: Path, peer: Peer, state: Mapping[str, Tensor], from_published: Any
) -> tuple[dict[str, Tensor], dict[str, tuple[str, ...]]]:
    """Tensors under our names, and by their names what those are.

    Raises:
        UserError: one has no place here, or two have the same; the message says which.
    """
    source: dict[str, str] = {}
    ours: dict[str, Tensor] = {}
    taken: dict[str, tuple[str, ...]] = {}
    for name, value in state.items():
        start = next((start for start in peer.renamed if name.startswith(start)), "")
        try:
            found = from_published({peer.renamed.get(start, "") + name.removeprefix(start): value})
        except ValueError as error:  # a UserError for the name, or torch's and Python's own where a tensor has other axes than it should
            raise UserError(f"{file} is not understood: {error}. If it is of no use here, --drop {name} leaves it out") from error
        for own in found:
            if (other := source.setdefault(own, name)) != name:
                raise UserError(f"{file} has both {other} and {name} for {own}: leave out the one that is not used")
        ours |= found
        taken[name] = tuple(found)
    return ours, taken


def _heads(file: Path, state: Mapping[str, Tensor], name: str) -> tuple[Facts, dict[str, Tensor], dict[str, tuple[str, ...]]]:
    """The teacher of a model of ULIP, and as `_translated` what leads into the teacher's space: the same for images and texts.

    Raises:
        UserError: it is not there.
    """
    if PROJECTION not in state or state[PROJECTION].ndim != 2 or SCALE not in state:
        raise UserError(f"{file} has no {PROJECTION} [D, E] or no {SCALE}: without them it has no place in a teacher's space")
    facts = Facts(teachers=(Teacher(name=name, dim=state[PROJECTION].shape[1], text=True, objective="contrast"),))
    heads = TeacherLosses(len(state[PROJECTION]), facts.teachers, AlignOptions(projection="linear"), {}).state_dict()
    weights = {PROJECTION: state[PROJECTION].T, SCALE: state[SCALE]}
    taken = {theirs: tuple(f"teachers.{own}" for own in heads if own.endswith(end)) for theirs, end in ENDS.items()}
    return facts, {own: weights[theirs] for theirs, found in taken.items() for own in found}, taken


def _projection(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `_heads`: what leads into the teacher's space, of a run that was imported."""
    found = {theirs: next(value for name, value in state.items() if name.endswith(end)) for theirs, end in ENDS.items()}
    return found | {PROJECTION: found[PROJECTION].T}


def _digest(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
