"""The encoders by name, and what an encoder is.

    encoder = build("pointmae-tiny", channels=6)
    patches = encoder.patchify(points, ordered=True)
    tokens = encoder(patches, visible=None).tokens

A new encoder is a module beside this one and a line in `ENCODERS`. Heads, decoders, losses and shuffling live outside of encoders.

Letters: B shapes, P points, C channels, G groups (tokens), K points per group, D width.
"""

import dataclasses
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from cache_schema.errors import UserError
from cache_schema.spec import did_you_mean
from trainer.batch import Tensors

ENCODERS: Final = {
    "pointmae-s": "trainer.encoders.pointmae",
    "pointmae-tiny": "trainer.encoders.pointmae",
    "pointbert-s": "trainer.encoders.pointbert",
    "pointbert-tiny": "trainer.encoders.pointbert",
    "recon-s": "trainer.encoders.recon",
    "recon-tiny": "trainer.encoders.recon",
    "pointm2ae-s": "trainer.encoders.pointm2ae",
    "pointm2ae-tiny": "trainer.encoders.pointm2ae",
    "pointmamba-s": "trainer.encoders.pointmamba",
    "pointmamba-tiny": "trainer.encoders.pointmamba",
}
"""Name, family and size, to the module that has it: in its dict `CONFIGS` under that name, built by its function `build`."""


@dataclass(frozen=True, kw_only=True)
class Level(Tensors):
    """One grouping of points."""

    groups: Tensor
    """[B, G, K, C]: members, coordinates relative to their centre. On a coarser level C = 3."""
    centres: Tensor
    """[B, G, 3]."""
    members: Tensor
    """[B, G, K] int64: rows of the points, or on a coarser level of the centres below it."""


@dataclass(frozen=True, kw_only=True)
class Patches(Tensors):
    """A shape cut up: levels from fine to coarse. The last one has a group for every token."""

    levels: tuple[Level, ...]

    @property
    def coarsest(self) -> Level:
        return self.levels[-1]


@dataclass(frozen=True, kw_only=True)
class Finer(Tensors):
    """Tokens of a level below the coarsest, before any norm."""

    tokens: Tensor
    """[B, L, D]: one in each of L slots; a shape may leave the last of them unused."""
    slot: Tensor
    """[B, G] int64: of each group; -1 for those that are hidden."""


@dataclass(frozen=True, kw_only=True)
class Encoded(Tensors):
    """Tokens of the groups an encoder was shown."""

    tokens: Tensor
    """[B, Gv, D], in the order of `visible`."""
    visible: Tensor
    """[B, Gv] int64: the group of each token."""
    finer: tuple[Finer, ...] = ()
    """Where there are several levels, those below, from fine to coarse."""


class Encoder(Protocol):
    """A `torch.nn.Module` from points to tokens."""

    config: Any
    """The frozen dataclass it was built from. It has `channels`, `groups`, `centres` and `mask_ratio`."""
    dim: int
    """Width of a token, D."""
    groups: int
    """Tokens of a whole shape, G."""
    centres: int
    """How many leading points must be in farthest-point order to serve as centres: the groups of the finest level."""
    group_size: int
    """Points per group of the coarsest level, K."""
    mask_ratio: float
    """Share of groups hidden in masked modelling."""

    def patchify(self, points: Tensor, ordered: bool) -> Patches:
        """Group points [B, P, C]. If they are in farthest-point order, the first are the centres; if not, sampling finds them."""
        ...

    def __call__(self, patches: Patches, visible: Tensor | None = None) -> Encoded:
        """Tokens of the groups in `visible` [B, Gv], or of all. Nothing of the hidden ones enters.

        Whatever order an encoder uses inside, tokens come out by centre. One of several levels is masked on the coarsest and hides
        what lies below.
        """
        ...


@runtime_checkable
class OwnDecoder(Protocol):
    """An encoder whose authors reconstruct coordinates otherwise than Point-MAE's do."""

    def decoder(self, depth: int, heads: int, drop_path: float) -> nn.Module:
        """What takes the place of `trainer.distill.Reconstruction`, and is called as that is."""
        ...


def config(name: str, **overrides: Any) -> Any:
    """The configuration called `name` with some fields changed."""
    if name not in ENCODERS:
        raise UserError(f"no encoder is called {name!r}{did_you_mean(name, ENCODERS)}")
    known = importlib.import_module(ENCODERS[name]).CONFIGS[name]
    fields = [f.name for f in dataclasses.fields(known)]
    for field in overrides:
        if field not in fields:
            raise UserError(f"encoder {name} has no setting {field!r}{did_you_mean(field, fields)}")
    return dataclasses.replace(known, **overrides)


def build(name: str, **overrides: Any) -> Encoder:
    """A new encoder of the configuration called `name`. Its weights come from torch's global generator, as any module's do."""
    settings = config(name, **overrides)
    return importlib.import_module(ENCODERS[name]).build(settings)


# ----------------------------------------------------------------------------------------------- what several encoders share


def check_grouping(encoder: Encoder, count: int, more: str) -> None:
    """Make sure that shapes of `count` points can be grouped, before a run begins.

    Args:
        encoder: on the CPU.
        count: points of a shape.
        more: what else than smaller groups helps, for the message.

    Raises:
        UserError: the encoder's groups need more points.
    """
    try:
        encoder.patchify(torch.zeros(1, count, encoder.config.channels), ordered=True)
    except UserError as error:
        fields = [f.name for f in dataclasses.fields(encoder.config)]
        sizes = [f"encoder.{name}" for name in ("groups", "group_size", "counts", "sizes") if name in fields]
        raise UserError(f"{error}. Lower {' or '.join(sizes)}, or {more}") from error


def check_sizes(config: Any, *sizes: str) -> None:
    """Check the channels of an encoder's configuration, these sizes, the rates, and that heads divide the width where there are both.

    Raises:
        UserError: one of them cannot be.
    """
    if config.channels not in (3, 6):
        raise UserError(f"channels must be 3 (coordinates) or 6 (with colours), got {config.channels}")
    for name in sizes:
        value = getattr(config, name)
        if (least := min(value) if isinstance(value, tuple) else value) < 1:
            raise UserError(f"{name} must be at least 1, got {least}")
    if "heads" in sizes and config.dim % config.heads:
        raise UserError(f"dim must be a multiple of heads, got {config.dim} and {config.heads}")
    for name in ("mask_ratio", "drop_path"):
        if not 0 <= getattr(config, name) < 1:
            raise UserError(f"{name} must lie in [0, 1), got {getattr(config, name)}")


_CONVOLUTIONS: Final = (
    ".first_conv.0.weight",
    ".first_conv.3.weight",
    ".second_conv.0.weight",
    ".second_conv.3.weight",
    "increase_dim.0.weight",
    ".fuse.net.0.weight",
    ".net1.0.weight",
    ".net2.0.weight",
    "rec_head.weight",
)
"""How the names end of what the peers convolve with 1x1."""
_LOCAL, _SHARED = ".embed.local.weight", ".embed.shared.weight"


def from_names(state: Mapping[str, Tensor], names: Mapping[str, str], family: str) -> dict[str, Tensor]:
    """Published weights under our names, of an encoder whose patches are those of Point-MAE.

    Args:
        state: by published name.
        names: how published names begin, and ours.
        family: of the encoder, for the message.

    Raises:
        UserError: a name that begins otherwise.
    """
    ours = {}
    for name, value in state.items():
        name = name.removeprefix("module.")
        if name.endswith(_CONVOLUTIONS):
            value = value.squeeze(-1)
        if (own := _renamed(name, names, family)).endswith(_LOCAL):  # its input is [maximum; point]
            ours[own.replace(_LOCAL, _SHARED)], value = value.tensor_split(2, dim=1)
        ours[own] = value
    return ours


def to_names(state: Mapping[str, Tensor], names: Mapping[str, str], family: str) -> dict[str, Tensor]:
    """The inverse of `from_names`, of the same `names`."""
    theirs, back = {}, {ours: published for published, ours in names.items()}
    for name, value in state.items():
        if name.endswith(_SHARED):
            continue
        if name.endswith(_LOCAL):
            value = torch.cat([state[name.replace(_LOCAL, _SHARED)], value], 1)
        name = _renamed(name, back, family)
        theirs[name] = value.unsqueeze(-1) if name.endswith(_CONVOLUTIONS) else value
    return theirs


def _renamed(name: str, prefixes: Mapping[str, str], family: str) -> str:
    for old, new in prefixes.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    raise UserError(f"{name!r} is no parameter of a {family} pre-training model; names there begin with {', '.join(prefixes)}")
