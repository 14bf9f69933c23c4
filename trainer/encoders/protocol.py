"""Interfaces of encoders: the encoder itself, its inputs and outputs, and the places where other parts can be attached.

    patches = encoder.patchify(points, ordered=True)      # Encoder
    tokens = encoder(patches, visible=None).tokens
    scales = encoder.layers(patches)                      # Layered: features of several depths
    sites = encoder.sites()                               # Tunable: one Site for each block

Code outside this package uses encoders only through these types, never by their class.

Letters: B shapes, P points, C channels, G groups (tokens), K points per group, S sequences in which a shape is read, D width.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass
from typing import Any, ClassVar, Final, Literal, Protocol, runtime_checkable

from torch import Tensor, nn

from cache_schema.errors import UserError
from trainer.batch import Tensors

Missing = Literal["repeat", "mask"]
"""What an encoder makes of points that only repeat others, because a shape has fewer than a block. `repeat`: they are points as any.
`mask`: they are left out (`Level.real`)."""
MISSING: Final = "missing"
"""Name of the setting of this type, which the configuration of an encoder may have."""


class EncoderSettings(Protocol):
    """The configuration of an encoder: a frozen dataclass with these fields, and any others."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def channels(self) -> int:
        """3 for coordinates, 6 with colours."""

    @property
    def groups(self) -> int:
        """Number of tokens of a whole shape, G."""

    @property
    def centres(self) -> int:
        """Number of leading points that must be in farthest-point order to serve as centres."""

    @property
    def mask_ratio(self) -> float:
        """Share of groups hidden in masked modelling."""


# ------------------------------------------------------------------------------------------------------ shapes and tokens


@dataclass(frozen=True, kw_only=True)
class Level(Tensors):
    """One grouping of points."""

    groups: Tensor
    """[B, G, K, C]: members of each group, with coordinates relative to the centre. On coarser levels C = 3."""
    centres: Tensor
    """[B, G, 3]."""
    members: Tensor
    """[B, G, K] int64: indices of the members: points, or on coarser levels centres of the level below."""
    real: Tensor | None = None
    """[B, G] bool: False for a group that is missing, since its centre repeats another one. It takes no part in anything: see `Missing`.
    None: no group is missing."""

    @property
    def order(self) -> Tensor | None:
        """[B, S, G] int64: the group of each token in each sequence that the blocks read. None: one sequence, in the order of the
        groups."""
        return None


@dataclass(frozen=True, kw_only=True)
class Patches(Tensors):
    """The groups of a shape: levels from fine to coarse. The last level has one group for every token."""

    levels: tuple[Level, ...]

    @property
    def coarsest(self) -> Level:
        """The level whose groups are the tokens."""
        return self.levels[-1]


@dataclass(frozen=True, kw_only=True)
class Finer(Tensors):
    """Tokens of a level below the coarsest, before any norm."""

    tokens: Tensor
    """[B, L, D]: one token in each of L slots. The last slots of a shape may be unused."""
    slot: Tensor
    """[B, G] int64: the slot of each group; -1 for groups that are hidden."""


@dataclass(frozen=True, kw_only=True)
class Encoded(Tensors):
    """Output of an encoder: tokens of the visible groups."""

    tokens: Tensor
    """[B, Gv, D], in the order of `visible`."""
    visible: Tensor
    """[B, Gv] int64: the group of each token."""
    finer: tuple[Finer, ...] = ()
    """The tokens of the levels below the coarsest, from fine to coarse; empty if there is one level."""
    real: Tensor | None = None
    """[B, Gv] bool: False for groups in `visible` that are missing (`Level.real`). Their tokens are zeros. None: no group is missing."""


# ------------------------------------------------------------------------------------------------------------ the encoder


class Encoder(Protocol):
    """An encoder: a `torch.nn.Module` that maps points to tokens."""

    @property
    def config(self) -> EncoderSettings:
        """The configuration from which it was built."""

    dim: int
    """Width of a token, D."""
    groups: int
    """Tokens of a whole shape, G."""
    centres: int
    """Number of leading points that must be in farthest-point order to serve as centres: the number of groups of the finest level."""
    group_size: int
    """Points per group of the coarsest level, K."""
    mask_ratio: float
    """Share of groups hidden in masked modelling."""

    def patchify(self, points: Tensor, ordered: bool) -> Patches:
        """Group points [B, P, C]. If they are `ordered`, in farthest-point order, the first points are the centres; if not, centres are
        sampled.

        Raises:
            UserError: the points have another number of channels than the encoder reads, or are too few for the groups.
        """
        ...

    def __call__(self, patches: Patches, visible: Tensor | None = None) -> Encoded:
        """Tokens of the groups in `visible` [B, Gv]; None for all groups. The result does not depend on hidden groups.

        Tokens are returned in the order of `visible`, for any order that the encoder uses inside. In an encoder with several levels,
        `visible` refers to the coarsest level, and the groups below hidden groups are hidden too.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Scale(Tensors):
    """Features of a whole shape at one depth, or on one level, of an encoder."""

    tokens: Tensor
    """[B, G, D]: one feature for each group, after a norm. It has no learnt tokens, such as a class token."""
    centres: Tensor
    """[B, G, 3]: the centre of each group."""


@runtime_checkable
class Layered(Protocol):
    """An encoder that gives features of several depths: for tasks that label every point (`trainer.tasks.propagation`), and for vectors of
    shapes (`pool=depths`)."""

    def layers(self, patches: Patches, parts: int = 3) -> tuple[Scale, ...]:
        """Scales of a whole shape, from shallow to deep.

        An encoder with one level gives its tokens after each of equal parts of its blocks: of three parts, after one third, two thirds and
        all of them, rounded up. They are the blocks that Point-MAE (https://arxiv.org/abs/2203.06604) reads for segmentation: 4, 8 and 12
        of 12. An encoder with several levels gives the levels, from fine to coarse, whatever `parts` is. The groups, and the width of the
        tokens, may differ from scale to scale.
        """
        ...


@runtime_checkable
class Stacked(Protocol):
    """An encoder whose blocks can read tokens that something else has embedded, such as the pre-encoder of a detector."""

    @property
    def width(self) -> int:
        """Width of the tokens that the blocks read, W; 0 if they cannot read such tokens."""

    def read(self, tokens: Tensor, level: Level) -> Tensor:
        """The tokens [B, G, W] of the groups of `level`, without positions, after all blocks and the last norm: [B, G, D]."""
        ...


@runtime_checkable
class OwnDecoder(Protocol):
    """An encoder with its own decoder of coordinates, because its authors do not use Point-MAE's."""

    def decoder(self, depth: int, heads: int, drop_path: float) -> nn.Module:
        """A new decoder, with the same call as `trainer.distill.Reconstruction`."""
        ...


@runtime_checkable
class Curved(Protocol):
    """An encoder that reads a shape along several curves through its groups. Pre-training by reconstruction reads it along one."""

    curves: int
    """Number of curves, S."""

    def __call__(self, patches: Patches, visible: Tensor | None = None, curve: Tensor | None = None) -> Encoded:
        """Tokens as from `Encoder.__call__`. With `curve` [B] int64, each shape is read along this curve only."""
        ...


@runtime_checkable
class Arranged(Protocol):
    """An encoder whose `patchify` adds something of its own to a grouping. Only an encoder with one level can be one."""

    def along(self, level: Level) -> Level:
        """What `patchify` makes of groups, their centres and members, such as their positions on curves."""
        ...


# -------------------------------------------------------------------------------------------------- places for new parts


@dataclass(frozen=True, kw_only=True)
class Site:
    """One block of an encoder and the places in it where `trainer.tuning` can attach new parts.

    A path names a submodule of the block, for `Module.get_submodule`. The submodule may be replaced by any module with the same call.
    """

    block: nn.Module
    dim: int
    """Width of the tokens that the block reads, D."""
    linears: tuple[str, ...]
    """Paths of the linear layers that project tokens: those of attention and MLP, or those into and out of a mixer."""
    branch: str
    """Path of the last module in the block whose output [B, N, D] is added to the tokens: the MLP, or the mixer."""
    attention: str | None
    """Path of the block's `trainer.encoders.blocks.Attention`; None if it has no attention."""
    beside: str = "beside"
    """Name of the block's attribute for one more branch; the attribute is None while it is unused. The input of the branch is the groups'
    tokens [B, S * G, D], in `Level.order`. The block adds the branch's output to its own output for these tokens."""
    level: int = 0
    """Index in `Patches.levels` of the level to whose groups the tokens belong."""
    embed: Callable[[Level], Tensor] | None = None
    """Embeds any groups of points, of any size, as the encoder embeds its own: tokens with their positions [B, G, D], as the first block
    reads them. None if the tokens are not made of points, as on coarser levels."""


@runtime_checkable
class Tunable(Protocol):
    """An encoder to which `trainer.tuning` can attach new parts."""

    def sites(self) -> Sequence[Site]:
        """The places in each block, in the order in which the blocks run."""
        ...


def missing(encoder: Encoder) -> Missing:
    """What an encoder makes of points that only repeat others. An encoder without such a setting takes them as any."""
    found: Missing = getattr(encoder.config, MISSING, "repeat")
    return found


def refuse_masked(encoder: Encoder, what: str) -> None:
    """Refuse an encoder that leaves repeated points out, where that cannot be done.

    Args:
        encoder: the encoder.
        what: the beginning of the message, such as "a graph".

    Raises:
        UserError: `encoder.missing` is `mask`.
    """
    if missing(encoder) == "mask":
        raise UserError(
            f"{what} cannot leave out points that repeat others, as this encoder does (encoder.missing=mask). A new run with the same "
            "weights reads such points as any: `mmpd-train align CACHE NEW --init RUN --set encoder.missing=repeat --set optim.epochs=0`, "
            "with the other settings of the encoder of RUN; for a cache without teachers `mmpd-train distill CACHE NEW --recipe point-mae` "
            "and the same. Where points repeat, its features differ from those of RUN"
        )


class Family(Protocol):
    """Interface of the modules in `trainer.encoders.catalog.ENCODERS`."""

    CONFIGS: Mapping[str, EncoderSettings]
    """Configurations by name."""

    # `Any`, since every module has its own class of configurations. The catalogue passes a configuration from `CONFIGS`.
    def build(self, config: Any) -> Encoder:
        """A new encoder from a configuration of this module. Its weights come from torch's global generator."""
        ...

    def from_published(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights of the authors' model under our names. Raises UserError for a name that is unknown for this model."""
        ...

    def to_published(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inverse of `from_published`."""
        ...
