"""PointMamba (https://arxiv.org/abs/2402.10739): a Mamba that reads mini-PointNet patches along two Hilbert curves.

    encoder = build("pointmamba-s")                      # trainer.encoders.catalog
    encoder.load_state_dict(...)                         # published weights: `from_published`

The centres of a shape are sorted twice: along a Hilbert curve, and along the same curve with x and y swapped. The tokens of each order have
their own scale and shift. Mamba reads both sequences, one after the other. A group has one token in each sequence; its output is the mean
of both. So the mean over output tokens is the mean over both sequences, the input of the published classifier.

The published pre-training reads one of the curves, drawn at random. Its decoder inserts mask tokens at their positions on that curve: see
`forward` with `curve`, and `decoder`. The authors draw one curve for a batch; here each shape has its own.

Letters: B shapes, P points, C channels, G groups, Gv visible and Gh hidden ones, K points per group, S curves, T tokens of a sequence,
D width, E channels inside a mixer, N states of a channel.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cache_schema.errors import UserError
from cache_schema.spec import added
from trainer import ops
from trainer.encoders import mamba_cpu
from trainer.encoders.blocks import DropPath, PatchEmbed, chamfer, check_sizes, cleared, evenly, grouped, initialise, on_rows, position_mlp
from trainer.encoders.names import from_names, to_names
from trainer.encoders.protocol import Encoded, Level, Missing, Patches, Scale, Site, refuse_masked
from trainer.encoders.scan import selective_scan

CURVES: Final = ((0, 1, 2), (1, 0, 2))
"""First, second and third axis of each curve."""
MOST_BITS: Final = 16
"""Largest number of levels of a curve. Coordinates of cells are limited to 2 to this number: 1300 units away on the published grid."""
UNIT_BITS: Final = 7
"""Smallest number of levels of a curve: 128 cells along an axis, enough for a shape in the unit sphere."""


@dataclass(frozen=True, kw_only=True)
class PointMambaConfig:
    """Sizes of the encoder. The defaults are the published ones."""

    channels: int = 3
    """3 for coordinates, 6 with colours."""
    groups: int = 64
    """Number of groups of a shape, G."""
    group_size: int = 32
    """Points per group, K."""
    embed: tuple[int, int, int] = (128, 256, 512)
    """Widths inside the patch embedding."""
    dim: int = 384
    """Width of a token, D."""
    depth: int = 12
    state: int = 16
    """Number of states of a channel, N."""
    conv: int = 4
    """Kernel size, in tokens, of the convolution before the scan."""
    expand: int = 2
    """Ratio of the channels inside a mixer to the width: E = expand * D."""
    grid: float = 0.02
    """Edge length of the cells of the curves."""
    drop_path: float = 0.1
    """Rate at the last block, rising linearly from 0."""
    mask_ratio: float = 0.6
    """Share of groups hidden in masked modelling."""
    missing: Missing = added("repeat")
    """What is made of points that repeat others, because a shape has fewer than a block. `repeat`: they are points as any. `mask`: they are
    left out of neighbourhoods, and groups around them out of everything."""

    def __post_init__(self) -> None:
        check_sizes(self, "groups", "group_size", "embed", "dim", "depth", "state", "conv", "expand")
        if self.grid <= 0:
            raise UserError(f"grid must be positive, got {self.grid}")

    @property
    def centres(self) -> int:
        return self.groups


HEADLESS: Final = True
"""Whether `PointMamba.decoder` has no attention, so that it reads no number of heads; see `trainer.unread`."""
S: Final = PointMambaConfig()
CONFIGS: Final = {
    "pointmamba-s": S,
    # PointMamba has one size, with the width and depth of ViT-S; these have those of ViT-B and ViT-L.
    "pointmamba-b": dataclasses.replace(S, dim=768),
    "pointmamba-l": dataclasses.replace(S, dim=1024, depth=24),
    # Trains on two CPU cores.
    "pointmamba-tiny": dataclasses.replace(S, groups=32, embed=(32, 64, 128), dim=96, depth=4, state=8, drop_path=0.0),
}


@dataclass(frozen=True, kw_only=True)
class SerialLevel(Level):
    """A grouping, and the positions of its groups along the curves."""

    places: Tensor
    """[B, S, G] int64: the position of each group along each curve."""

    @property
    def order(self) -> Tensor:
        """The group at each position along each curve, [B, S, G] int64."""
        return self.places.argsort(-1)


@dataclass(frozen=True, kw_only=True)
class SerialEncoded(Encoded):
    """Tokens in the order of the centres, and the curve along which each shape was read."""

    curve: Tensor | None
    """[B] int64: index in `CURVES`; None if shapes were read along all curves."""


# -------------------------------------------------------------------------------------------------------------- the curves


def _automaton() -> tuple[list[int], list[int]]:
    """Skilling's Hilbert curve in three dimensions (https://doi.org/10.1063/1.1751381), one level at a time.

    The bits of one level decide how the axes are swapped and inverted on the next level. So a state is a permutation of the axes, an
    inversion of each, and whether the Gray code so far has an odd number of ones.

    Returns:
        A table and a list of states. The index into the table is 8 * state + the bits of the three axes. The value is 8 * (8 * the next
        state) + three bits of the position on the curve. The list has the cycle of states, from the first one, for levels of zeros.
    """
    states = [((0, 1, 2), (0, 0, 0), 0)]
    table: list[int] = []
    for axes, inverted, odd in states:  # it grows
        for octant in range(8):
            bits = [octant >> 2 - axis & 1 for axis in range(3)]
            own = [bits[axis] ^ turn for axis, turn in zip(axes, inverted, strict=True)]
            next_axes, next_inverted = list(axes), list(inverted)
            for i in range(3):
                if own[i]:
                    next_inverted[0] ^= 1
                else:
                    next_axes[0], next_axes[i] = next_axes[i], next_axes[0]
                    next_inverted[0], next_inverted[i] = next_inverted[i], next_inverted[0]
            first, second = odd ^ own[0], odd ^ own[0] ^ own[1]
            third = second ^ own[2]
            state = (tuple(next_axes), tuple(next_inverted), third)
            if state not in states:
                states.append(state)  # type: ignore[arg-type]
            table.append(64 * states.index(state) + 4 * first + 2 * second + third)  # type: ignore[arg-type]
    zeros = [0]
    while (state_after := table[8 * zeros[-1]] >> 6) != 0:
        zeros.append(state_after)
    return table, zeros


TABLE, ZEROS = _automaton()


class CurvePlaces(nn.Module):
    """The position of every centre along every curve: [B, G, 3] to [B, S, G] int64. Centres in one cell keep the order of their indices.

    The direction of a Hilbert curve depends on its number of levels. In the published code, the largest shape of a batch decides this
    number. Here each shape has its own number, at least `UNIT_BITS`, so its order does not depend on other shapes. Both agree for batches
    of shapes in the unit sphere, unless all of them are small.
    """

    digits: Tensor
    after: Tensor
    start: Tensor
    powers: Tensor
    axes: Tensor

    def __init__(self, grid: float) -> None:
        super().__init__()
        self.grid = grid
        self.register_buffer("digits", torch.tensor([entry & 7 for entry in TABLE]), persistent=False)
        self.register_buffer("after", torch.tensor([entry >> 3 for entry in TABLE]), persistent=False)
        self.register_buffer("start", torch.tensor([8 * state for state in ZEROS]), persistent=False)
        self.register_buffer("powers", 2 ** torch.arange(MOST_BITS), persistent=False)
        self.register_buffer("axes", torch.tensor(CURVES), persistent=False)

    @torch.no_grad()
    def forward(self, centres: Tensor) -> Tensor:
        cells = (centres.float() / self.grid).floor().long()  # [B, G, 3]
        cells = (cells - cells.amin(1, keepdim=True)).clamp(max=2**MOST_BITS - 1)
        needed = (cells.amax((1, 2)).unsqueeze(-1) >= self.powers).sum(-1).clamp(min=UNIT_BITS)  # [B]
        # No shifts here and below, which ONNX has for unsigned numbers only.
        levels = (cells[..., self.axes].permute(0, 2, 1, 3).unsqueeze(-1) & self.powers) != 0  # [B, S, G, 3, bits]
        octants = (levels * self.powers[:3].flip(0).unsqueeze(-1)).sum(-2)  # [B, S, G, bits]
        # The state to start from, so that the leading levels of zeros lead to the first state.
        state = self.start[(needed - MOST_BITS) % len(ZEROS)].view(-1, 1, 1)
        code = torch.zeros_like(octants[..., 0])
        for octant in octants.flip(-1).unbind(-1):
            index = state + octant
            code, state = 8 * code + self.digits[index], self.after[index]
        # A position takes 48 bits. With the index below it no two are equal, and a sort of any kind, such as ONNX's, is a stable one.
        count = code.shape[-1]
        return (code * count + torch.arange(count, device=code.device)).argsort(-1).argsort(-1)


# --------------------------------------------------------------------------------------------------------------- the model


class Mixer(nn.Module):
    """A layer of Mamba (https://arxiv.org/abs/2312.00752, figure 3): gate, causal convolution, selective scan. [B, T, D] to the same
    shape."""

    def __init__(self, dim: int, state: int, conv: int, expand: int) -> None:
        super().__init__()
        inner, self.state, self.rank = expand * dim, state, math.ceil(dim / 16)
        self.in_proj = nn.Linear(dim, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, conv, groups=inner, padding=conv - 1)
        self.x_proj = nn.Linear(inner, self.rank + 2 * state, bias=False)
        self.dt_proj = nn.Linear(self.rank, inner)
        self.A_log = nn.Parameter(torch.arange(1.0, state + 1).log().repeat(inner, 1))  # [E, N]
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, dim, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x, gate = self.in_proj(tokens).chunk(2, -1)  # [B, T, E] each
        x = convolved(x, self.conv1d)
        dt, b, c = self.x_proj(x).split((self.rank, self.state, self.state), -1)
        dt = F.softplus(F.linear(dt, self.dt_proj.weight).float() + self.dt_proj.bias.float())  # [B, T, E]
        y = selective_scan(x, dt, -self.A_log.float().exp(), b, c, self.D)
        out: Tensor = self.out_proj(y * F.silu(gate))
        return out


def convolved(x: Tensor, conv: nn.Conv1d) -> Tensor:
    """SiLU of a causal convolution of each channel of x [B, T, E], in the same shape. `conv` has a padding of K - 1 at both ends."""
    assert conv.bias is not None
    if mamba_cpu.usable(x, conv.kernel_size[0]):
        return mamba_cpu.convolved(x, conv.weight, conv.bias)
    return plain_convolution(x, conv.weight, conv.bias)


def plain_convolution(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The same outputs as `convolved`, in plain torch, on any device, of weights [E, 1, K] and a bias [E]."""
    channels, _, kernel = weight.shape
    y = F.conv1d(x.mT, weight, bias, padding=kernel - 1, groups=channels)[..., : x.shape[1]]
    return F.silu(y.mT.contiguous())


class Block(nn.Module):
    """A block that adds one mixer to the tokens [B, T, D], after a norm."""

    def __init__(self, config: PointMambaConfig, drop_path: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.dim)
        self.mixer = Mixer(config.dim, config.state, config.conv, config.expand)
        self.drop_path = DropPath(drop_path)
        self.beside: nn.Module | None = None
        """An optional branch parallel to the mixer. Its input is the tokens before the norm: see `Site.beside`."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.drop_path(self.mixer(self.norm(x)))
        return out if self.beside is None else out + self.beside(x)

    def site(self) -> Site:
        """The places for new parts in this block. Mamba has no attention."""
        linears = ("mixer.in_proj", "mixer.out_proj")
        return Site(block=self, dim=self.norm.normalized_shape[0], linears=linears, branch="mixer", attention=None)


class Mamba(nn.Module):
    """A sequence of blocks. Its input tokens already include positions. The rate of drop path grows linearly from 0 to `drop_path`."""

    def __init__(self, config: PointMambaConfig, depth: int, drop_path: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(config, rate) for rate in torch.linspace(0, drop_path, depth, device="cpu").tolist()])

    def forward(self, x: Tensor) -> Tensor:
        return self.states(x, (len(self.blocks),))[0]

    def states(self, x: Tensor, after: Sequence[int]) -> list[Tensor]:
        """The tokens [B, T, D] after each of the given numbers of blocks; 0 for the tokens themselves."""
        kept = {0: x}
        for i, block in enumerate(self.blocks, 1):
            x = block(x)
            if i in after:
                kept[i] = x
        return [kept[i] for i in after]


class PointMamba(nn.Module):
    """PointMamba, an implementation of `trainer.encoders.protocol.Encoder` that reads a shape along two curves (`Curved`, `Arranged`)."""

    curves: Final = len(CURVES)

    def __init__(self, config: PointMambaConfig) -> None:
        super().__init__()
        self.config = config
        self.dim, self.groups, self.group_size, self.mask_ratio = config.dim, config.groups, config.group_size, config.mask_ratio
        self.centres = config.centres
        self.embed = PatchEmbed(config.channels, config.embed, config.dim)
        self.positions = position_mlp(config.dim)
        self.places = CurvePlaces(config.grid)
        self.scales = nn.ParameterList([1 + 0.02 * torch.randn(config.dim) for _ in CURVES])
        self.shifts = nn.ParameterList([0.02 * torch.randn(config.dim) for _ in CURVES])
        self.mamba = Mamba(config, config.depth, config.drop_path)
        self.norm = nn.LayerNorm(config.dim)
        self.apply(initialise_mamba)

    def patchify(self, points: Tensor, ordered: bool) -> Patches:
        """Group points [B, P, C] on one level.

        Raises:
            UserError: the points have another number of channels than the encoder reads, or are too few for the groups.
        """
        config = self.config
        level = grouped(points, ordered, groups=self.groups, group_size=self.group_size, channels=config.channels, missing=config.missing)
        return Patches(levels=(self.along(level),))

    def along(self, level: Level) -> SerialLevel:
        """See `trainer.encoders.protocol.Arranged`."""
        # As published, the curves fill the box of all centres, so visible groups keep their order in the whole shape. The position of
        # this box is the only information about hidden groups that the encoder gets.
        places = self.places(level.centres)
        return SerialLevel(groups=level.groups, centres=level.centres, members=level.members, real=level.real, places=places)

    def forward(self, patches: Patches, visible: Tensor | None = None, curve: Tensor | None = None) -> SerialEncoded:
        """Tokens in the order of the centres. With `curve` [B] int64, each shape is read along this curve only."""
        level = patches.coarsest
        assert isinstance(level, SerialLevel), "patches of another encoder"
        groups, centres, places, real = level.groups, level.centres, level.places, level.real
        if visible is None:
            visible = torch.arange(self.groups, device=centres.device).expand(centres.shape[0], -1)
        else:
            groups = ops.gather(groups.flatten(2), visible).unflatten(2, groups.shape[2:])  # [B, Gv, K, C]
            centres = ops.gather(centres, visible)
            places = places.gather(2, visible.unsqueeze(1).expand(-1, self.curves, -1))  # [B, S, Gv]
            real = None if real is None else real.gather(1, visible)
        scale, shift = torch.stack(list(self.scales)), torch.stack(list(self.shifts))  # [S, D]
        if curve is not None:
            scale, shift = scale[curve].unsqueeze(1), shift[curve].unsqueeze(1)  # [B, 1, D]
            places = places.gather(1, curve.view(-1, 1, 1).expand(-1, 1, places.shape[2]))  # [B, 1, Gv]
        (tokens,) = self._read(groups, centres, places, scale, shift, (self.config.depth,), real)
        return SerialEncoded(tokens=cleared(tokens, real), visible=visible, curve=curve, real=real)

    def layers(self, patches: Patches, parts: int = 3) -> tuple[Scale, ...]:
        """See `trainer.encoders.protocol.Layered`. A feature is the mean over the curves, as in `forward`."""
        refuse_masked(self, "features of several depths")
        level = patches.coarsest
        assert isinstance(level, SerialLevel), "patches of another encoder"
        scale, shift = torch.stack(list(self.scales)), torch.stack(list(self.shifts))  # [S, D]
        found = self._read(level.groups, level.centres, level.places, scale, shift, evenly(self.config.depth, parts), None)
        return tuple(Scale(tokens=tokens, centres=level.centres) for tokens in found)

    def _read(
        self, groups: Tensor, centres: Tensor, places: Tensor, scale: Tensor, shift: Tensor, after: Sequence[int], real: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Read groups along curves, and take their tokens [B, Gv, D] after each of the given numbers of blocks, with the norm.

        Args:
            groups, centres: [B, Gv, K, C] and [B, Gv, 3].
            places: [B, S, Gv], the position of each group along each curve that is read.
            scale, shift: [S, D] or [B, 1, D], those of the curves that are read.
            after: numbers of blocks.
            real: [B, Gv] bool, as in `Encoded`. Missing groups are read at the very end, after all curves: a scan goes forward, so that
                their tokens change no other one.
        """
        tokens = on_rows(self.embed, groups, real).unsqueeze(1) * scale.unsqueeze(-2) + shift.unsqueeze(-2)
        tokens = tokens + self.positions(centres).unsqueeze(1)  # [B, S, Gv, D]
        # Token indices of all curves, curve after curve, each sorted along its curve.
        first = centres.shape[1] * torch.arange(places.shape[1], device=places.device).unsqueeze(-1)
        if real is None:
            rows = (places.argsort(-1) + first).flatten(1)  # [B, T]
        else:
            # Places are below the number of groups of the whole shape, so the curves do not mix.
            turn = places + self.groups * (torch.arange(places.shape[1], device=places.device).unsqueeze(-1))
            rows = (turn + self.groups * places.shape[1] * ~real.unsqueeze(1)).flatten(1).argsort(-1)  # [B, T]
        back = rows.argsort(-1)
        states = self.mamba.states(ops.gather(tokens.flatten(1, 2), rows), after)  # [B, T, D] each
        return tuple(ops.gather(self.norm(state), back).unflatten(1, places.shape[1:]).mean(1) for state in states)

    def sites(self) -> list[Site]:
        """See `trainer.encoders.protocol.Tunable`."""
        return [cast(Block, block).site() for block in self.mamba.blocks]

    def decoder(self, depth: int, heads: int, drop_path: float) -> "SerialReconstruction":
        """The decoder of the published pre-training. It has no attention, so `heads` has no effect (`HEADLESS`)."""
        return SerialReconstruction(self.config, depth, drop_path)


class SerialReconstruction(nn.Module):
    """The objective of PointMamba's own pre-training: it predicts the coordinates of the hidden groups.

    Mask tokens are inserted at their positions on the curve that the encoder read. A shorter Mamba then reads this curve.
    """

    def __init__(self, config: PointMambaConfig, depth: int, drop_path: float) -> None:
        super().__init__()
        self.missing = config.missing
        self.mask_token = nn.Parameter(torch.empty(1, 1, config.dim))
        self.positions = position_mlp(config.dim)
        self.decoder = Mamba(config, depth, drop_path)
        self.norm = nn.LayerNorm(config.dim)
        self.head = nn.Linear(config.dim, 3 * config.group_size)
        self.apply(initialise_mamba)
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(self, encoded: Encoded, patches: Patches, hidden: Tensor) -> Tensor:
        """Chamfer-L2, a scalar, between predicted and true members of the hidden groups [B, Gh], relative to their centres.

        Raises:
            UserError: the encoder read the shapes along all curves instead of one.
        """
        level = patches.coarsest
        assert isinstance(level, SerialLevel) and isinstance(encoded, SerialEncoded), "patches or tokens of another encoder"
        if encoded.curve is None:
            raise UserError("PointMamba's decoder goes along one curve: give the encoder `curve`")
        b, count = hidden.shape
        groups = torch.cat([encoded.visible, hidden], 1)  # [B, G]
        tokens = torch.cat([encoded.tokens, self.mask_token.to(encoded.tokens.dtype).expand(b, count, -1)], 1)
        tokens = tokens + self.positions(ops.gather(level.centres, groups))  # [B, G, D]
        places = level.places[torch.arange(b, device=hidden.device), encoded.curve].gather(1, groups)
        real = None if level.real is None else level.real.gather(1, groups)
        if real is not None:
            places = places + groups.shape[1] * ~real  # missing groups are read last
        rows = places.argsort(-1)
        read = self.norm(self.decoder(ops.gather(tokens, rows)))
        masked = ops.gather(read, rows.argsort(-1)[:, -count:])  # [B, Gh, D]
        predicted = self.head(masked).unflatten(-1, (-1, 3))  # [B, Gh, K, 3]
        true = ops.gather(level.groups[..., :3].flatten(2), hidden).unflatten(2, (-1, 3))  # [B, Gh, K, 3]
        return chamfer(predicted, true, None if real is None else real[:, -count:], self.missing)


def initialise_mamba(module: nn.Module) -> None:
    """Initialise a layer as the published encoder does. For `Module.apply`.

    Weights of convolutions and linear layers are normal with deviation 0.02. All biases are 0, also the bias of the step sizes. Mamba
    itself spreads that bias, so that memories differ in length, but PointMamba's initialisation runs later and overwrites it.
    """
    initialise(module)
    if isinstance(module, nn.Conv1d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        assert module.bias is not None
        nn.init.zeros_(module.bias)


def build(config: PointMambaConfig) -> PointMamba:
    return PointMamba(config)


# ------------------------------------------------------------------------------------------------------- published weights

_ENCODER: Final = {
    "encoder.first_conv.0.": "encoder.embed.lift.",
    "encoder.first_conv.1.": "encoder.embed.norm1.",
    "encoder.first_conv.3.": "encoder.embed.widen.",
    "encoder.second_conv.0.": "encoder.embed.local.",
    "encoder.second_conv.1.": "encoder.embed.norm2.",
    "encoder.second_conv.3.": "encoder.embed.out.",
    "pos_embed.": "encoder.positions.",
    "blocks.layers.": "encoder.mamba.blocks.",
    "blocks.norm_f.": "encoder.norm.",
    "OrderScale_gamma_1": "encoder.scales.0",
    "OrderScale_gamma_2": "encoder.scales.1",
    "OrderScale_beta_1": "encoder.shifts.0",
    "OrderScale_beta_2": "encoder.shifts.1",
}
PUBLISHED: Final = {
    **{f"MAE_encoder.{theirs}": ours for theirs, ours in _ENCODER.items()},
    "mask_token": "reconstruction.mask_token",
    "decoder_pos_embed.": "reconstruction.positions.",
    "MAE_decoder.blocks.layers.": "reconstruction.decoder.blocks.",
    "MAE_decoder.blocks.norm_f.": "reconstruction.norm.",
    "increase_dim.0.": "reconstruction.head.",
}
"""Prefixes of tensor names: from the published pre-training model to our `trainer.distill.Distill` with coordinate reconstruction."""


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a published PointMamba under our names: of a pre-training model, or of a fine-tuned one without its head.

    Raises:
        UserError: a name in `state` is unknown for this model. One such name is `norm_ffn`, a second norm in the blocks of an older model.
            It cannot be left out, since the features would be much worse.
    """
    for name in state:
        if ".norm_ffn." in name:
            raise UserError(
                f"{name!r} belongs to an older PointMamba, whose blocks have a second norm: it cannot be loaded into this encoder"
            )
    return from_names(state, PUBLISHED | _ENCODER, "PointMamba")


def to_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `from_published`, under the names of the pre-training model."""
    return to_names(state, PUBLISHED, "PointMamba")
