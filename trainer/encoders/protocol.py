"""What an encoder is, what it makes of a shape, and where other parts can be attached to it.

    patches = encoder.patchify(points, ordered=True)      # Encoder
    tokens = encoder(patches, visible=None).tokens
    sites = encoder.sites()                               # Tunable: one Site for each block

Code outside of this package knows an encoder by these types alone, never by its class.

Letters: B shapes, P points, C channels, G groups (tokens), K points per group, S sequences in which a shape is read, D width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor, nn

from trainer.batch import Tensors


class EncoderSettings(Protocol):
    """The frozen dataclass that an encoder is built from. It may have any other fields beside these."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def channels(self) -> int:
        """3 for coordinates, 6 with colours."""

    @property
    def groups(self) -> int:
        """Tokens of a whole shape, G."""

    @property
    def centres(self) -> int:
        """Number of leading points that must be in farthest-point order to serve as centres."""

    @property
    def mask_ratio(self) -> float:
        """Share of the groups that masked modelling hides."""


# ------------------------------------------------------------------------------------------------------ shapes and tokens


@dataclass(frozen=True, kw_only=True)
class Level(Tensors):
    """One grouping of points."""

    groups: Tensor
    """[B, G, K, C]: members, coordinates relative to their centre. On a coarser level C = 3."""
    centres: Tensor
    """[B, G, 3]."""
    members: Tensor
    """[B, G, K] int64: rows of the points, or on a coarser level of the centres below it."""

    @property
    def order(self) -> Tensor | None:
        """The group of every token that the blocks read, sequence by sequence, [B, S, G] int64. None: one sequence, group after group."""
        return None


@dataclass(frozen=True, kw_only=True)
class Patches(Tensors):
    """A shape cut up: levels from fine to coarse. The last one has a group for every token."""

    levels: tuple[Level, ...]

    @property
    def coarsest(self) -> Level:
        """The level whose groups are the tokens."""
        return self.levels[-1]


@dataclass(frozen=True, kw_only=True)
class Finer(Tensors):
    """Tokens of a level below the coarsest, before any norm."""

    tokens: Tensor
    """[B, L, D]: one in each of L slots; a shape may leave the last of them unused."""
    slot: Tensor
    """[B, G] int64: the slot of each group; -1 for groups that are hidden."""


@dataclass(frozen=True, kw_only=True)
class Encoded(Tensors):
    """Tokens of the groups an encoder was shown."""

    tokens: Tensor
    """[B, Gv, D], in the order of `visible`."""
    visible: Tensor
    """[B, Gv] int64: the group of each token."""
    finer: tuple[Finer, ...] = ()
    """Where there are several levels, the tokens of those below, from fine to coarse."""


# ------------------------------------------------------------------------------------------------------------ the encoder


class Encoder(Protocol):
    """A `torch.nn.Module` from points to tokens."""

    @property
    def config(self) -> EncoderSettings:
        """What it was built from."""

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
        """Group points [B, P, C]. If they are in farthest-point order, the first are the centres; if not, sampling finds them.

        Raises:
            UserError: the points have another width than the encoder reads, or are fewer than a grouping needs.
        """
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


@runtime_checkable
class Curved(Protocol):
    """An encoder that reads a shape along several curves through its groups. Pre-training by reconstruction reads it along one."""

    curves: int
    """Number of curves, S."""

    def __call__(self, patches: Patches, visible: Tensor | None = None, curve: Tensor | None = None) -> Encoded:
        """As every encoder does. With `curve` [B] int64, each shape is read along this one of the curves only."""
        ...


# ---------------------------------------------------------------------------------------------- places for further parts


@dataclass(frozen=True, kw_only=True)
class Site:
    """One block of an encoder and the places in it where `trainer.tuning` can attach new parts.

    A path names a submodule of the block, as `Module.get_submodule` takes it. What stands at a path may be replaced by any module
    that is called in the same way.
    """

    block: nn.Module
    dim: int
    """Width of the tokens that the block reads, D."""
    linears: tuple[str, ...]
    """Paths of the linear layers that project tokens: those of attention and MLP, or those into and out of a mixer."""
    branch: str
    """Path of the last module in the block whose answer [B, N, D] is added to the tokens: the MLP, or the mixer."""
    attention: str | None
    """Path of the block's `trainer.encoders.blocks.Attention`; None where it has no attention."""
    beside: str = "beside"
    """Attribute of the block for one more branch, None while it is free. The branch is called with the tokens [B, S * G, D] of the
    groups, in `Level.order`, and the block adds what it answers to its own result for these tokens."""
    level: int = 0
    """Index in `Patches.levels` of the grouping that the tokens stand for."""


@runtime_checkable
class Tunable(Protocol):
    """An encoder to which `trainer.tuning` can attach new parts."""

    def sites(self) -> Sequence[Site]:
        """The places in each block, in the order in which the blocks run."""
        ...


class Family(Protocol):
    """A module of this package, as `trainer.encoders.catalog.ENCODERS` names it."""

    CONFIGS: Mapping[str, EncoderSettings]
    """Configurations by name."""

    # Every module reads configurations of its own class, which no one type tells: the catalogue hands on what it found in `CONFIGS`.
    def build(self, config: Any) -> Encoder:
        """A new encoder of a configuration of this module. Its weights come from torch's global generator."""
        ...

    def from_published(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights of the authors' model under our names. Raises UserError for a name that such a model does not have."""
        ...

    def to_published(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inverse of `from_published`."""
        ...
