"""Parameter-efficient fine-tuning: a trained encoder stays as it is, and small new parts in its blocks learn.

    encoder = adapt(encoder, "pointgst", Efficient())                   # an encoder again; only the new parts need gradients
    print(learned(encoder))

The last layer of every new part begins at zero, so the features begin as those of the encoder. New parts have no dropout and know no
training mode: an encoder that is adapted stays in evaluation mode, or its batch norms and its drop path would change what is frozen.

- `lora`: low-rank updates (https://arxiv.org/abs/2106.09685) of the projections of attention and MLP; in Mamba of those into and out of
  the mixer.
- `adapter`: bottlenecks (https://arxiv.org/abs/1902.00751) after every MLP, in Mamba after every mixer.
- `prompt`: learned tokens that every block attends to, through a gate for each head (https://arxiv.org/abs/2303.16199). Tokens put among
  the others would change the softmax, and with it the features, from the first step. Mamba has no attention and is refused.
- `pointgst`: adapters in the spectrum of a graph over the patch centres (https://arxiv.org/abs/2410.08114), beside every MLP; in Mamba,
  where the paper has none, beside every block.

Letters: B shapes, G groups, N tokens of a sequence, S sequences that a shape is read in, D width, H heads, R rank or width of a new part,
W windows of L centres.
"""

from dataclasses import dataclass
from typing import Final, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cache_schema.errors import UserError
from cache_schema.settings import refuse_unread
from trainer import ops
from trainer.encoders import blocks, pointmamba
from trainer.encoders.catalog import Encoded, Encoder, Level, Patches

Mode = Literal["lora", "adapter", "prompt", "pointgst"]
MODES: Final[tuple[Mode, ...]] = get_args(Mode)
CELLS: Final = 100
"""In a unit of length, of those that the windows of PointGST are ordered by; as published."""


@dataclass(frozen=True, kw_only=True)
class Efficient:
    """Sizes of the new parts, of each way of tuning. In a Transformer of width 384 and depth 12 the defaults come to about 0.6 M parameters
    with `lora` and `adapter`, and with `pointgst`, as published, together with the head; prompts are fewer. In PointMamba `lora` has half
    as many."""

    lora_rank: int = 8
    adapter_width: int = 64
    prompts: int = 10
    """Learned tokens of every block."""
    spectral_width: int = 36
    window: int = 32
    """PointGST: centres in a local graph, or all where there are fewer."""
    basis: Literal["sample", "batch"] = "sample"
    """PointGST: every graph in its own unit of length; or `batch` as published, where the unit is the shortest distance in the whole batch,
    so that a shape's features depend on the others, and the basis is transposed."""

    def __post_init__(self) -> None:
        for name in ("lora_rank", "adapter_width", "prompts", "spectral_width", "window"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, got {getattr(self, name)}")


SIZES: Final[dict[str, tuple[str, ...]]] = {
    "lora": ("lora_rank",),
    "adapter": ("adapter_width",),
    "prompt": ("prompts",),
    "pointgst": ("spectral_width", "window", "basis"),
}
"""Which fields of `Efficient` each way of tuning reads."""


class LowRank(nn.Module):
    """A linear layer and a learned update of rank R. [..., in] to [..., out]"""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.up(self.down(x))


class Bottleneck(nn.Module):
    """x and what a narrow layer makes of it. [..., D] to the same"""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(dim, width), nn.Linear(width, dim)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(F.gelu(self.down(x)))


class Prompted(nn.Module):
    """Attention that also looks at learned tokens, by a softmax of their own."""

    def __init__(self, attention: blocks.Attention, prompts: int) -> None:
        super().__init__()
        self.attention = attention
        # They stand among tokens that a norm has passed, so they have the size of those.
        self.prompts = nn.Parameter(torch.randn(prompts, attention.proj.in_features))
        self.gates = nn.Parameter(torch.zeros(attention.heads, 1, 1))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """As `Attention`: tokens [B, N, D]. No mask hides the prompts."""
        attention, heads = self.attention, self.attention.heads
        of_queries, of_others = attention.qkv.weight.tensor_split((x.shape[-1],))
        q = F.linear(x, of_queries).unflatten(-1, (heads, -1)).transpose(1, 2)  # [B, H, N, D / H]
        k, v = F.linear(self.prompts, of_others).unflatten(-1, (2, heads, -1)).permute(1, 2, 0, 3)  # [H, prompts, D / H] each
        k, v = (side.expand(len(x), -1, -1, -1) for side in (k, v))
        seen = self.gates * blocks.attend(q, k, v)
        return attention(x, mask) + F.linear(seen.transpose(1, 2).flatten(2).to(x.dtype), attention.proj.weight)


class Spectral(nn.Module):
    """The adapter of PointGST: what it adds to tokens [B, N, D], N = S * G.

    Tokens are taken into a global and a local spectrum, one map is learned for both, and they are taken back.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.down, self.adapt, self.up = nn.Linear(dim, width), nn.Linear(width, width), nn.Linear(width, dim)
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        nn.init.xavier_uniform_(self.down.weight)
        for layer in (self.adapt, self.up):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.spectra: tuple[Tensor, Tensor] | None = None
        """Global and local, [B, S, G, G] each, while `Adapted` runs."""

    def forward(self, tokens: Tensor) -> Tensor:
        assert self.spectra is not None, "an adapter of PointGST is told the centres by the encoder around it"
        narrow = self.down(tokens)
        x = narrow.unflatten(1, self.spectra[0].shape[1:3])  # [B, S, G, R]
        out = F.silu(x)
        for spectrum, norm in zip(self.spectra, self.norms, strict=True):
            waves = spectrum @ x
            out = out + spectrum.mT @ (waves + F.silu(self.adapt(norm(waves))))
        return self.up(out.flatten(1, 2))


class Beside(nn.Module):
    """A block of Mamba and an adapter of the same tokens [B, N, D]."""

    def __init__(self, block: nn.Module, adapter: Spectral) -> None:
        super().__init__()
        self.block, self.adapter = block, adapter

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x) + self.adapter(x)


class Adapted(nn.Module):
    """See `trainer.encoders.catalog.Encoder`: one with new parts in its blocks."""

    def __init__(self, encoder: Encoder, options: Efficient, spectral: list[list[Spectral]]) -> None:
        super().__init__()
        self.encoder, self.options = encoder, options
        self.config, self.dim, self.groups, self.centres = encoder.config, encoder.dim, encoder.groups, encoder.centres
        self.group_size, self.mask_ratio = encoder.group_size, encoder.mask_ratio
        self.spectral = spectral
        """The spectral adapters in the encoder's blocks, by level."""

    def patchify(self, points: Tensor, ordered: bool) -> Patches:
        return self.encoder.patchify(points, ordered)

    def forward(self, patches: Patches, visible: Tensor | None = None) -> Encoded:
        """Raises UserError for hidden groups with PointGST, whose graphs are of whole shapes."""
        if not self.spectral:
            return self.encoder(patches, visible)
        if visible is not None:
            raise UserError("pointgst: the graphs are of whole shapes, so no group can be hidden")
        for level, adapters in zip(patches.levels, self.spectral, strict=True):
            found = spectra(level, self.options)
            for adapter in adapters:
                adapter.spectra = found
        encoded = self.encoder(patches)
        for adapters in self.spectral:
            for adapter in adapters:
                adapter.spectra = None  # what the backward pass needs of them, it holds itself
        return encoded


def adapt(encoder: Encoder, mode: Mode, options: Efficient) -> Adapted:
    """Freeze an encoder and put new parts into its blocks, in place. Their weights come from torch's global generator.

    Args:
        encoder: in evaluation mode, where it must stay.
        mode: which parts; see at the head of this module.
        options: their sizes.

    Raises:
        UserError: this encoder has no place for such parts, or its groups are not a multiple of the window.
    """
    assert isinstance(encoder, nn.Module) and not encoder.training
    stacks = [module for module in encoder.modules() if isinstance(module, blocks.Transformer | pointmamba.Mamba)]
    name, device = type(encoder).__name__, next(encoder.parameters()).device
    if not stacks:
        raise UserError(f"tune={mode}: {name} has no blocks that are known here; take full, mlp or linear")
    if mode == "prompt" and any(isinstance(stack, pointmamba.Mamba) for stack in stacks):
        raise UserError(f"tune=prompt: prompts are what tokens attend to, and {name} has no attention; take lora, adapter or pointgst")
    encoder.requires_grad_(False)
    spectral = [[s for block in stack.blocks if (s := _extend(block, mode, options))] for stack in stacks]
    # Mamba's block cannot hold one itself.
    for stack, adapters in zip(stacks, spectral, strict=True):
        if isinstance(stack, pointmamba.Mamba) and adapters:
            stack.blocks = nn.ModuleList([Beside(block, adapter) for block, adapter in zip(stack.blocks, adapters, strict=True)])
    return Adapted(encoder, options, spectral if mode == "pointgst" else []).to(device).eval()


def check_sizes(tune: str, options: Efficient) -> None:
    """Refuse sizes that would have no effect.

    Raises:
        UserError: one is not as usual that this way of tuning does not read.
    """
    read = SIZES.get(tune, ())
    known = f"it reads {', '.join(f'efficient.{name}' for name in read)} alone" if read else f"only {', '.join(MODES)} have such parts"
    refuse_unread(options, [name for name in vars(options) if name not in read], f"tune={tune} ({known})", prefix="efficient.")


def learned(module: nn.Module) -> int:
    """How many parameters need gradients."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def _extend(block: nn.Module, mode: Mode, options: Efficient) -> Spectral | None:
    """New parts in a block; the adapter if it is one of PointGST, which in a Transformer's block has its place already."""
    mamba = isinstance(block, pointmamba.Block)
    norm = block.get_submodule("norm" if mamba else "norm1")
    assert isinstance(norm, nn.LayerNorm)
    dim = norm.normalized_shape[0]
    if mode == "lora":
        for path in ("mixer.in_proj", "mixer.out_proj") if mamba else ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"):
            linear = block.get_submodule(path)
            assert isinstance(linear, nn.Linear)
            block.set_submodule(path, LowRank(linear, options.lora_rank))
    elif mode == "adapter":
        path = "mixer" if mamba else "mlp"
        block.set_submodule(path, nn.Sequential(block.get_submodule(path), Bottleneck(dim, options.adapter_width)))
    elif mode == "prompt":
        assert isinstance(block, blocks.Block)
        block.set_submodule("attn", Prompted(block.attn, options.prompts))
    else:
        adapter = Spectral(dim, options.spectral_width)
        if isinstance(block, blocks.Block):
            block.beside = adapter
        return adapter
    return None


# ------------------------------------------------------------------------------------------------------------- the spectrum


@torch.no_grad()
def spectra(level: Level, options: Efficient) -> tuple[Tensor, Tensor]:
    """The bases over all centres of a level and over windows of them, [B, S, G, G] each: rows are its waves, one value for each token.

    Raises:
        UserError: the groups are not a multiple of the window.
    """
    centres = level.centres
    groups = centres.shape[1]
    size = min(options.window, groups)
    if groups % size:
        raise UserError(f"pointgst: {groups} groups cannot be cut into windows of {size}; set efficient.window to a divisor")
    order = z_order(centres).unflatten(1, (-1, size))  # [B, W, L]
    windows = basis(ops.gather(centres, order), options.basis)  # [B, W, L, L]
    local = windows.new_zeros(*windows.shape[:3], groups).scatter(-1, order.unsqueeze(2).expand_as(windows), windows)
    both = [basis(centres, options.basis).unsqueeze(1), local.flatten(1, 2).unsqueeze(1)]  # [B, 1, G, G] each
    if isinstance(level, pointmamba.SerialLevel):  # tokens follow each other along the curves
        along = level.places.argsort(-1).unsqueeze(2).expand(-1, -1, groups, -1)  # [B, S, G, G]
        both = [matrix.expand_as(along).gather(-1, along) for matrix in both]
    return both[0], both[1]


@torch.no_grad()
def basis(centres: Tensor, kind: Literal["sample", "batch"]) -> Tensor:
    """Eigenvectors of the normalised Laplacian of graphs over centres [..., N, 3], with weights of one over the distance in units of the
    shortest. [..., N, N]

    `sample`: the shortest of the graph itself, and rows are eigenvectors, with the sign that makes their largest entry positive: solvers
    differ in it between devices and sizes of a batch. `batch`: the shortest of all graphs, and columns are eigenvectors, as published.
    """
    distances = ops.squared_distances(centres, centres).sqrt()  # [..., N, N]
    apart = distances.masked_fill(distances == 0, torch.inf)
    unit = apart.amin() if kind == "batch" else apart.amin((-2, -1), keepdim=True)
    weights = 1 / (distances / unit).clamp(min=1)  # 1 for a centre and itself, and for centres in one place
    scale = weights.sum(-1).rsqrt()
    laplacian = torch.eye(centres.shape[-2], device=centres.device) - scale.unsqueeze(-1) * weights * scale.unsqueeze(-2)
    vectors = torch.linalg.eigh(laplacian).eigenvectors
    if kind == "batch":
        return vectors
    peak = vectors.gather(-2, vectors.abs().argmax(-2, keepdim=True))  # [..., 1, N]
    return (vectors * peak.sign()).mT


def z_order(centres: Tensor) -> Tensor:
    """Indices [B, G] of centres [B, G, 3] along a Morton curve, whose highest axis is y, then x, then z. As published, cells are counted
    from the origin in 16 bits, so that negative ones follow the others.
    """
    bits = torch.arange(16, device=centres.device)
    places = 3 * bits + torch.tensor([[1], [2], [0]], device=centres.device)  # [3, bits]
    cells = (CELLS * centres.float()).long().unsqueeze(-1)  # [B, G, 3, 1]
    return ((cells >> bits & 1) << places).sum((-2, -1)).argsort(dim=-1, stable=True)
