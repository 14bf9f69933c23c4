"""PointGST (https://arxiv.org/abs/2410.08114): adapters in the spectrum of a graph over the patch centres.

Each adapter is a branch parallel to a block's MLP. In Mamba, which the paper does not cover, it is parallel to the mixer.
Neighbours in the graph are near each other in space. An adapter works on the waves of the graph (its eigenvectors), which cover all
centres. Learnt tokens, such as a class token, have no adapter; the authors' have one without the waves.

Letters: B shapes, G groups, N tokens of all sequences, S sequences of a shape, D width, R width of an adapter, W windows of
L centres.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cache_schema.errors import UserError
from cache_schema.spec import added
from trainer import ops
from trainer.encoders.protocol import Level, Site
from trainer.tuning.adapted import Told, check_positive

CELLS: Final = 100
"""Number of grid cells per unit of length, for sorting the centres into windows; as published."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Sizes of spectral adapters."""

    spectral_width: int = 36
    """Width of every adapter, R. The published 0.6 M parameters count the head as well."""
    window: int = 32
    """PointGST: number of centres in a local graph; all centres if there are fewer."""
    basis: Literal["sample", "batch"] = "sample"
    """PointGST: unit of length of a graph. `sample`: its own shortest distance. `batch`, as published: the shortest distance in the whole
    batch, so a shape's features depend on the other shapes; the basis is then transposed."""
    laplacian: Literal["normalised", "plain"] = added("normalised")
    """PointGST: matrix whose eigenvectors are the waves. `plain`, as in the authors' code for classification: degrees minus weights.
    `normalised`, as in their code for detection: that, divided by the degrees."""

    def __post_init__(self) -> None:
        check_positive(self, "spectral_width", "window")


class Spectral(nn.Module):
    """The adapter of PointGST: maps tokens [B, N, D], N = S * G, to a residual of the same shape.

    It transforms tokens into a global and a local spectrum, applies the same learned map to both, and transforms them back.
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
        """Global and local basis, [B, S, G, G] each, during a forward pass of the encoder; else None."""

    def forward(self, tokens: Tensor) -> Tensor:
        assert self.spectra is not None, "an adapter of PointGST works only inside its `Adapted` encoder, which sets the spectra"
        narrow = self.down(tokens)
        x = narrow.unflatten(1, self.spectra[0].shape[1:3])  # [B, S, G, R]
        out = F.silu(x)
        for spectrum, norm in zip(self.spectra, self.norms, strict=True):
            waves = spectrum @ x
            out = out + spectrum.mT @ (waves + F.silu(self.adapt(norm(waves))))
        added: Tensor = self.up(out.flatten(1, 2))
        return added


def attach(sites: Sequence[Site], options: Options, name: str) -> Told:
    """Add an adapter parallel to the last branch of every block, in place. See `trainer.tuning.catalog.Method`.

    The adapters need the spectra of every batch. The returned context manager sets them for each forward pass. It raises UserError for
    hidden groups, since the graphs need whole shapes, and for a number of groups that is not a multiple of the window.
    """
    levels: list[list[Spectral]] = [[] for _ in range(1 + max(site.level for site in sites))]
    for site in sites:
        assert getattr(site.block, site.beside) is None, f"{name} offers a place that is taken"
        adapter = Spectral(site.dim, options.spectral_width)
        setattr(site.block, site.beside, adapter)
        levels[site.level].append(adapter)
    return Told("pointgst: the graphs are", "spectra", levels, functools.partial(spectra, options=options))


# ------------------------------------------------------------------------------------------------------------- the spectrum


@torch.no_grad()
def spectra(level: Level, options: Options) -> tuple[Tensor, Tensor]:
    """The global basis, over all centres of a level, and the local basis, over windows of centres, [B, S, G, G] each. Rows are the waves:
    one value for each token.

    Raises:
        UserError: the number of groups is not a multiple of the window.
    """
    centres = level.centres
    groups = centres.shape[1]
    size = min(options.window, groups)
    if groups % size:
        raise UserError(f"pointgst: {groups} groups cannot be cut into windows of {size}; set efficient.window to a divisor")
    order = z_order(centres).unflatten(1, (-1, size))  # [B, W, L]
    windows = basis(ops.gather(centres, order), options.basis, options.laplacian)  # [B, W, L, L]
    local = windows.new_zeros(*windows.shape[:3], groups).scatter(-1, order.unsqueeze(2).expand_as(windows), windows)
    both = [basis(centres, options.basis, options.laplacian).unsqueeze(1), local.flatten(1, 2).unsqueeze(1)]  # [B, 1, G, G] each
    if (sequences := level.order) is not None:  # [B, S, G]: tokens may have another order than the centres
        along = sequences.unsqueeze(2).expand(-1, -1, groups, -1)  # [B, S, G, G]
        both = [matrix.expand_as(along).gather(-1, along) for matrix in both]
    return both[0], both[1]


@torch.no_grad()
def basis(centres: Tensor, kind: Literal["sample", "batch"], laplacian: Literal["normalised", "plain"] = "normalised") -> Tensor:
    """Eigenvectors of the Laplacian of graphs over centres [..., N, 3]. The weight of an edge is unit / distance. [..., N, N]

    `sample`: the unit is the shortest distance in the graph. Rows are eigenvectors, with the sign that makes their largest entry positive,
    since solvers return different signs for other devices and batch sizes. `batch`, as published: the unit is the shortest distance in all
    graphs, and columns are eigenvectors.
    """
    distances = ops.squared_distances(centres, centres).sqrt()  # [..., N, N]
    apart = distances.masked_fill(distances == 0, torch.inf)
    unit = apart.amin() if kind == "batch" else apart.amin((-2, -1), keepdim=True)
    weights = 1 / (distances / unit).clamp(min=1)  # 1 for a centre and itself, and for equal centres
    degrees = weights.sum(-1)
    matrix = torch.diag_embed(degrees) - weights
    if laplacian == "normalised":
        scale = degrees.rsqrt()
        matrix = torch.eye(centres.shape[-2], device=centres.device) - scale.unsqueeze(-1) * weights * scale.unsqueeze(-2)
    vectors: Tensor = torch.linalg.eigh(matrix).eigenvectors
    if kind == "batch":
        return vectors
    peak = vectors.gather(-2, vectors.abs().argmax(-2, keepdim=True))  # [..., 1, N]
    return (vectors * peak.sign()).mT


def z_order(centres: Tensor) -> Tensor:
    """Indices [B, G] of centres [B, G, 3] along a Morton curve, whose highest axis is y, then x, then z. As published, cells are
    numbered from the origin with 16 bits, so negative cells come after the others.
    """
    bits = torch.arange(16, device=centres.device)
    places = 3 * bits + torch.tensor([[1], [2], [0]], device=centres.device)  # [3, bits]
    cells = (CELLS * centres.float()).long().unsqueeze(-1)  # [B, G, 3, 1]
    return ((cells >> bits & 1) << places).sum((-2, -1)).argsort(dim=-1, stable=True)
