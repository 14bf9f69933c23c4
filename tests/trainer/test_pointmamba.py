"""PointMamba: the scan is the recurrence, the curves are Hilbert's, and the model is the published one.

All three are written here once more, plainly: a loop over tokens, Skilling's algorithm bit by bit, and the authors' model under their own
parameter names. With `MMPD_GOLDEN` naming a folder that has `point_mamba_cls.npz` and `point_mamba_pretrain.npz`, those are reproduced too.
"""

import dataclasses
import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer import ops
from trainer.batch import Batch
from trainer.distill import Distill, DistillDraw
from trainer.encoders import catalog, mamba_cpu, pointmamba, protocol, scan
from trainer.options import DistillOptions
from trainer.recipes import experiment

SMALL = {"groups": 16, "group_size": 8, "dim": 24, "depth": 2, "state": 4, "embed": (128, 256, 512)}
CODED = {"local_weight": 0, "global_weight": 0, "reconstruction_weight": 1}


@pytest.fixture
def generator() -> torch.Generator:
    torch.manual_seed(0)  # of weights
    return torch.Generator().manual_seed(0)


def close(a: Tensor, b: Tensor, within: float = 1e-5) -> bool:
    return ((a - b).abs().max() <= within * b.abs().max()).item()


# ---------------------------------------------------------------------------------------------------------------- the scan


def one_by_one(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    h, y = x.new_zeros(len(x), *a.shape), []
    for t in range(x.shape[1]):
        h = torch.exp(dt[:, t, :, None] * a) * h + (dt[:, t] * x[:, t]).unsqueeze(-1) * b[:, t, None]
        y.append((h * c[:, t, None]).sum(-1) + d * x[:, t])
    return torch.stack(y, 1)


def scanned(generator: torch.Generator, tokens: int, step: float = 1.0, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """x, dt, a, b, c, d of 2 shapes, 5 channels and 3 states, in order of the arguments."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    values = [
        normal(2, tokens, 5),
        step * normal(2, tokens, 5).exp(),
        -normal(5, 3).exp(),
        normal(2, tokens, 3),
        normal(2, tokens, 3),
        normal(5),
    ]
    return [value.to(dtype).requires_grad_() for value in values]


@pytest.mark.parametrize("abreast", [False, True])
@pytest.mark.parametrize(("tokens", "chunk"), [(1, None), (2, 1), (7, 7), (7, 3), (12, 4), (26, None), (26, 40)])
def test_the_scan_is_the_recurrence(generator, tokens, chunk, abreast):
    values = scanned(generator, tokens)
    ours, plain = scan.plain_scan(*values, chunk=chunk, abreast=abreast), one_by_one(*values)
    assert close(ours, plain, 1e-12)
    weights = torch.randn(plain.shape, generator=generator, dtype=torch.float64)
    gradients = [torch.autograd.grad((y * weights).sum(), values) for y in (ours, plain)]
    for own, expected in zip(*gradients, strict=True):
        assert close(own, expected, 1e-12)


@pytest.mark.parametrize("abreast", [False, True])
def test_the_operator_is_what_torch_expects(generator, abreast):
    values = scanned(generator, 5)
    assert torch.autograd.gradcheck(lambda *values: scan.plain_scan(*values, chunk=2, abreast=abreast), values)
    _, dt, a, b, c, _ = (value.detach() for value in values)
    cut = [value.unflatten(1, (1, 5)).requires_grad_() for value in (dt, dt, b, c)]
    torch.library.opcheck(scan._scan, (a.mT.contiguous().requires_grad_(), *cut, abreast))


@pytest.mark.parametrize("abreast", [False, True])
@pytest.mark.parametrize("step", [1e-6, 1.0, 1e4])
def test_the_scan_is_safe_in_float32(generator, step, abreast):
    """Steps that keep everything, some of it, and nothing: their products would overflow and vanish if anything were divided by a decay."""
    values = scanned(generator, 40, step, torch.float32)
    wide = [value.detach().double().requires_grad_() for value in values]
    ours, plain = scan.plain_scan(*values, abreast=abreast), one_by_one(*wide)
    assert close(ours.double(), plain)
    gradients = torch.autograd.grad(ours.sum(), values), torch.autograd.grad(plain.sum(), wide)
    for own, expected in zip(
        *gradients, strict=True
    ):  # where everything is forgotten, that of the rates is smaller than float32 has numbers
        assert ((own.double() - expected).abs().max() <= 1e-4 * expected.abs().max() + 1e-20).item()


@pytest.mark.parametrize("selective_scan", [scan.selective_scan, scan.plain_scan])
def test_autocast_and_the_type_of_inputs_do_not_reach_inside(generator, selective_scan):
    values = scanned(generator, 20, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        inside = selective_scan(*values)
        gradients = torch.autograd.grad(inside.sum(), values)
    outside = selective_scan(*values)
    assert torch.equal(inside, outside)
    assert all(torch.equal(*pair) for pair in zip(gradients, torch.autograd.grad(outside.sum(), values), strict=True))
    x, dt, a, b, c, d = (value.detach() for value in values)
    half = x.bfloat16(), dt, a, b.bfloat16(), c.bfloat16(), d
    assert selective_scan(*half).dtype == torch.bfloat16
    assert torch.equal(selective_scan(*half), selective_scan(*(value.float() for value in half)).bfloat16())


def test_compiled_the_scan_is_the_same(generator):
    values = scanned(generator, 20)
    compiled = torch.compile(scan.selective_scan, backend="aot_eager", fullgraph=True)
    outputs = compiled(*values), scan.selective_scan(*values)
    assert close(*outputs, 1e-12)
    gradients = [torch.autograd.grad(y.square().sum(), values) for y in outputs]
    assert all(close(*pair, 1e-12) for pair in zip(*gradients, strict=True))


@pytest.mark.skipif(scan.kernel is None or not torch.cuda.is_available(), reason="mamba_ssm is not installed, or there is no GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernel_is_the_plain_scan(generator, dtype):
    values = [value.detach().cuda() for value in scanned(generator, 70, dtype=torch.float32)]
    values = [value.to(dtype) if i in (0, 3, 4) else value for i, value in enumerate(values)]
    gradients, outputs = [], []
    for function in (scan.kernel_scan, scan.plain_scan):
        leaves = [value.clone().requires_grad_() for value in values]
        outputs.append(function(*leaves))
        gradients.append(torch.autograd.grad(outputs[-1].float().square().sum(), leaves))
    assert outputs[0].dtype == outputs[1].dtype == dtype
    within = 1e-4 if dtype == torch.float32 else 2e-2
    assert close(outputs[0].float(), outputs[1].float(), within)
    assert all(close(own.float(), expected.float(), within) for own, expected in zip(*gradients, strict=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_the_scan_is_the_same_on_a_gpu(generator):
    values = scanned(generator, 50, dtype=torch.float32)
    there = [value.detach().cuda().requires_grad_() for value in values]
    outputs = scan.plain_scan(*there), scan.plain_scan(*values)
    assert close(outputs[0].cpu(), outputs[1])
    gradients = torch.autograd.grad(outputs[0].sum(), there), torch.autograd.grad(outputs[1].sum(), values)
    assert all(close(own.cpu(), expected, 1e-4) for own, expected in zip(*gradients, strict=True))


# ------------------------------------------------------------------------------------------------------ kernels for a CPU


@pytest.fixture
def kernels() -> None:
    if not mamba_cpu.available():
        pytest.skip("there is no C compiler")


def agree(ours: Callable[..., Tensor], plain: Callable[..., Tensor], values: list[Tensor], within: float = 1e-5) -> None:
    """Outputs and gradients of `ours` in float32 are those of `plain` in float64."""
    wide = [value.detach().double().requires_grad_() for value in values]
    y, expected = ours(*values), plain(*wide)
    weights = torch.linspace(-1, 1, y.numel()).view(y.shape)
    gradients = torch.autograd.grad((y * weights).sum(), values), torch.autograd.grad((expected * weights.double()).sum(), wide)
    for own, known in ((y, expected), *zip(*gradients, strict=True)):
        # Where everything is forgotten, gradients of rates are smaller than the numbers of float32.
        assert ((own.double() - known).abs().max() <= within * known.abs().max() + 1e-20).item()


@pytest.mark.parametrize("step", [1e-6, 1.0, 1e4])
@pytest.mark.parametrize(("tokens", "channels", "states"), [(1, 16, 1), (2, 5, 3), (64, 37, 16)])
def test_the_kernel_of_the_scan_is_the_recurrence(kernels, generator, tokens, channels, states, step):
    x, dt, rate, b, c, d = (
        torch.randn(shape, generator=generator)
        for shape in ((3, tokens, channels), (3, tokens, channels), (channels, states), *[(3, tokens, states)] * 2, (channels,))
    )
    values = [value.requires_grad_() for value in (x, step * dt.exp(), -rate.exp(), b, c, d)]
    agree(mamba_cpu.scanned, one_by_one, values)


@pytest.mark.parametrize(("tokens", "channels", "kernel"), [(1, 16, 4), (3, 5, 4), (4, 5, 1), (40, 37, 4), (5, 16, 9)])
def test_the_kernel_of_the_convolution_is_the_plain_one(kernels, generator, tokens, channels, kernel):
    shapes = (3, tokens, channels), (channels, 1, kernel), (channels,)
    values = [(9 * torch.randn(shape, generator=generator)).requires_grad_() for shape in shapes]  # SiLU far to both sides of 0
    agree(mamba_cpu.convolved, pointmamba.plain_convolution, values)


@pytest.mark.parametrize("broken", [torch.nan, -torch.nan, torch.inf])
def test_a_broken_number_is_not_hidden_by_the_kernels(kernels, generator, broken):
    """A training that diverges has to be seen."""
    values = [value.detach() for value in scanned(generator, 4, dtype=torch.float32)]
    for i in (0, 1, 2, 3, 4, 5) if broken != torch.inf else (0, 1, 3, 4, 5):
        given = [value.clone() for value in values]
        given[i].view(-1)[0] = broken
        assert not mamba_cpu.scanned(*given).isfinite().all()
    x, weight, bias = torch.randn(1, 6, 5, generator=generator), torch.ones(5, 1, 4), torch.zeros(5)
    for value in (x, weight, bias):
        kept = value.clone()
        value.view(-1)[0] = broken
        assert not mamba_cpu.convolved(x, weight, bias).isfinite().all()
        value.copy_(kept)


def test_the_kernels_are_operators_that_torch_expects(kernels, generator):
    x, dt, a, b, c, d = (value.detach() for value in scanned(generator, 5, dtype=torch.float32))
    torch.library.opcheck(mamba_cpu._scan, [value.requires_grad_() for value in (x, dt, a.mT.contiguous(), b, c, d)])
    torch.library.opcheck(mamba_cpu._convolve, (x, torch.randn(4, 5, requires_grad=True), d))


@pytest.mark.parametrize("bf16", [False, True])
def test_a_step_with_the_kernels_is_a_plain_step(kernels, batch, generator, monkeypatch, bf16):
    stage = Distill(catalog.build("pointmamba-s", **SMALL), DistillOptions(**OWN))
    draw, results = stage.draw(3, generator), []
    for usable in (mamba_cpu.usable, lambda x, most: False):
        monkeypatch.setattr(mamba_cpu, "usable", usable)
        torch.manual_seed(1)  # of drop path
        stage.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = stage(batch, draw)["loss"]
        loss.backward()
        results.append((loss.detach(), *(p.grad.clone() for p in stage.encoder.mamba.parameters())))
    assert all(close(*pair, 5e-2 if bf16 else 1e-4) for pair in zip(*results, strict=True))


@pytest.fixture
def anew():
    """The kernels are compiled again in this test and after it."""
    caches = mamba_cpu._tried, mamba_cpu._library
    for function in caches:
        function.cache_clear()
    yield
    for function in caches:
        function.cache_clear()


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [
        ("", "CC is empty"),
        ('"', "CC is no command: No closing quotation"),
        ("no-such-compiler", "No such file"),
        ("cc -Dvec=", "error"),
        (r"""sh -c 'printf "\351chec" >&2; exit 1'""", "chec"),  # a message that is not UTF-8
    ],
)
def test_without_a_compiler_the_plain_scan_is_used_and_this_is_said(anew, generator, monkeypatch, capsys, compiler, reason):
    monkeypatch.setenv("CC", compiler)
    values = [value.detach() for value in scanned(generator, 6, dtype=torch.float32)]
    assert torch.equal(scan.selective_scan(*values), scan.plain_scan(*values))
    scan.selective_scan(*values)
    said = capsys.readouterr().err
    assert said.count("Mamba runs in plain torch") == 1 and reason in said


def test_kernels_that_compute_something_else_are_not_used(kernels, anew, monkeypatch, capsys):
    monkeypatch.setattr(mamba_cpu, "scanned", lambda *values: 1.001 * scan.plain_scan(*values))
    assert not mamba_cpu.available()
    assert "their results differ" in capsys.readouterr().err


# -------------------------------------------------------------------------------------------------------------- the curves


def skilling(cell: list[int], bits: int) -> int:
    """The place of a cell on a Hilbert curve of so many levels (https://doi.org/10.1063/1.1751381)."""
    cell = list(cell)
    for level in reversed(range(1, bits)):
        below = (1 << level) - 1
        for i in range(3):
            if cell[i] >> level & 1:
                cell[0] ^= below
            else:
                swap = (cell[0] ^ cell[i]) & below
                cell[0] ^= swap
                cell[i] ^= swap
    gray = [cell[i] >> level & 1 for level in reversed(range(bits)) for i in range(3)]
    code, parity = 0, 0
    for bit in gray:
        parity ^= bit
        code = code << 1 | parity
    return code


def published_order(centres: Tensor, swapped: bool) -> Tensor:
    """Groups along a curve, [B, G], with as many levels as the largest shape of the batch needs."""
    cells = (centres / 0.02).floor().long()
    cells = cells - cells.amin(1, keepdim=True)
    bits = int(cells.max()).bit_length()
    if swapped:
        cells = cells[..., [1, 0, 2]]
    return torch.tensor([[skilling(cell, bits) for cell in shape] for shape in cells.tolist()]).argsort(dim=1, stable=True)


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_a_curve_goes_from_neighbour_to_neighbour_and_everywhere_once(bits, monkeypatch):
    monkeypatch.setattr(pointmamba, "UNIT_BITS", 1)
    axis = torch.arange(2**bits)
    cells = torch.cartesian_prod(axis, axis, axis)
    places = pointmamba.CurvePlaces(grid=1.0)(cells.unsqueeze(0) + 0.5)[0]  # [S, G]
    for curve in places:
        assert torch.equal(curve.sort().values, torch.arange(len(cells)))
        assert (cells[curve.argsort()].diff(dim=0).abs().sum(1) == 1).all()
    swapped = cells[:, 1] * 2**bits * 2**bits + cells[:, 0] * 2**bits + cells[:, 2]  # rows of the cells with x and y swapped
    assert torch.equal(places[1], places[0][swapped])


@pytest.mark.parametrize("extent", [1.3, 2.5, 2.6, 11, 600])
def test_centres_are_ordered_as_published(generator, extent):
    centres = extent * torch.rand(2, 40, 3, generator=generator) - 1
    centres[0, :2] = torch.tensor([[-1.0, -1.0, -1.0], [extent - 1.0, 0.0, 0.0]])
    centres[1, :2] = torch.tensor([[-1.0, -1.0, -1.0], [0.0, 0.0, extent - 1.0]])
    places = pointmamba.CurvePlaces(0.02)(centres)
    assert torch.equal(places[:, 0].argsort(1), published_order(centres, swapped=False))
    assert torch.equal(places[:, 1].argsort(1), published_order(centres, swapped=True))
    assert not torch.equal(places[:, 0], places[:, 1])


def test_a_shapes_order_is_its_own(generator):
    """Whatever else is in the batch, where it lies on the grid, and if several centres share a cell."""
    small, large = torch.rand(1, 30, 3, generator=generator), 9 * torch.rand(1, 30, 3, generator=generator)
    places = pointmamba.CurvePlaces(0.02)
    alone, together = places(small), places(torch.cat([small, large]))
    assert torch.equal(alone[0], together[0]) and torch.equal(places(large)[0], together[1])
    assert torch.equal(places(small + 0.02 * 64), alone)
    same = small[:, :1].expand(-1, 5, -1)
    assert places(same).tolist() == [[[0, 1, 2, 3, 4]] * 2]
    far = torch.tensor([[[0.0, 0, 0], [1e9, 1e9, 1e9], [1.0, 0, 0]]])
    assert places(far).sort(-1).values.tolist() == [[[0, 1, 2]] * 2]


# ----------------------------------------------------------------------------------------------- the published model, plainly


class Embed(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.first_conv = nn.Sequential(nn.Conv1d(3, 128, 1), nn.BatchNorm1d(128), nn.ReLU(), nn.Conv1d(128, 256, 1))
        self.second_conv = nn.Sequential(nn.Conv1d(512, 512, 1), nn.BatchNorm1d(512), nn.ReLU(), nn.Conv1d(512, dim, 1))

    def forward(self, groups: Tensor) -> Tensor:
        b, g, k, _ = groups.shape
        local = self.first_conv(groups.reshape(b * g, k, 3).transpose(1, 2))
        whole = local.max(2, keepdim=True).values.expand(-1, -1, k)
        return self.second_conv(torch.cat([whole, local], 1)).max(2).values.reshape(b, g, -1)


class Mixer(nn.Module):
    def __init__(self, dim: int, state: int) -> None:
        super().__init__()
        self.state, self.rank = state, -(-dim // 16)
        self.in_proj = nn.Linear(dim, 4 * dim, bias=False)
        self.conv1d = nn.Conv1d(2 * dim, 2 * dim, 4, groups=2 * dim)
        self.x_proj = nn.Linear(2 * dim, self.rank + 2 * state, bias=False)
        self.dt_proj = nn.Linear(self.rank, 2 * dim)
        self.A_log = nn.Parameter(torch.randn(2 * dim, state))
        self.D = nn.Parameter(torch.randn(2 * dim))
        self.out_proj = nn.Linear(2 * dim, dim, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x, gate = self.in_proj(tokens).chunk(2, -1)
        x = F.silu(self.conv1d(F.pad(x.transpose(1, 2), (3, 0))).transpose(1, 2))
        rest = self.x_proj(x)
        dt, b, c = rest[..., : self.rank], rest[..., self.rank : self.rank + self.state], rest[..., -self.state :]
        y = one_by_one(x, F.softplus(self.dt_proj(dt)), -torch.exp(self.A_log), b, c, self.D)
        return self.out_proj(y * F.silu(gate))


class Layer(nn.Module):
    def __init__(self, dim: int, state: int) -> None:
        super().__init__()
        self.mixer, self.norm = Mixer(dim, state), nn.LayerNorm(dim)


class Stack(nn.Module):
    def __init__(self, dim: int, state: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Layer(dim, state) for _ in range(depth)])
        self.norm_f = nn.LayerNorm(dim)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        x = x + positions
        for layer in self.layers:
            x = x + layer.mixer(layer.norm(x))
        return self.norm_f(x)


def positions(dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, dim))


class Published(nn.Module):
    def __init__(self, *, groups: int, group_size: int, dim: int, depth: int, state: int, decoder_depth: int) -> None:
        super().__init__()
        self.groups, self.group_size = groups, group_size
        self.MAE_encoder = encoder = nn.Module()
        encoder.encoder, encoder.pos_embed, encoder.blocks = Embed(dim), positions(dim), Stack(dim, state, depth)
        for name in ("gamma_1", "beta_1", "gamma_2", "beta_2"):
            setattr(encoder, f"OrderScale_{name}", nn.Parameter(torch.randn(dim)))
        self.mask_token = nn.Parameter(torch.randn(1, 1, dim))
        self.decoder_pos_embed = positions(dim)
        self.MAE_decoder = nn.Module()
        self.MAE_decoder.blocks = Stack(dim, state, decoder_depth)
        self.increase_dim = nn.Sequential(nn.Conv1d(dim, 3 * group_size, 1))
        for name, value in self.state_dict().items():  # no bias, norm or statistic may be trivial, or it would not be seen
            if not name.endswith("num_batches_tracked"):
                value.copy_(torch.rand_like(value) + 0.5 if name.endswith("var") else value + 0.1 * torch.randn_like(value))

    def cut(self, points: Tensor) -> tuple[Tensor, Tensor]:
        centres = ops.gather(points, ops.farthest_points(points, self.groups))
        near = (centres.unsqueeze(2) - points.unsqueeze(1)).square().sum(-1).argsort(-1)[..., : self.group_size]
        return points[torch.arange(len(points)).view(-1, 1, 1), near] - centres.unsqueeze(2), centres

    def scaled(self, tokens: Tensor, curve: int) -> Tensor:
        encoder = self.MAE_encoder
        return tokens * getattr(encoder, f"OrderScale_gamma_{curve + 1}") + getattr(encoder, f"OrderScale_beta_{curve + 1}")

    def both(self, points: Tensor) -> Tensor:
        """[B, 2G, D]: the classifier's tokens, along the curve and along the swapped one."""
        groups, centres = self.cut(points)
        encoder, b = self.MAE_encoder, torch.arange(len(points)).unsqueeze(1)
        tokens, places = encoder.encoder(groups), encoder.pos_embed(centres)
        orders = [published_order(centres, swapped) for swapped in (False, True)]
        sequences = [self.scaled(tokens[b, order], curve) for curve, order in enumerate(orders)]
        return encoder.blocks(torch.cat(sequences, 1), torch.cat([places[b, order] for order in orders], 1))

    def loss(self, points: Tensor, mask: Tensor, curve: int) -> Tensor:
        """`mask` [B, G] is over the order of the curve."""
        groups, centres = self.cut(points)
        order, b, dim = published_order(centres, bool(curve)), torch.arange(len(points)).unsqueeze(1), self.mask_token.shape[-1]
        groups, centres = groups[b, order], centres[b, order]
        encoder = self.MAE_encoder
        shown = centres[~mask].reshape(len(points), -1, 3)
        tokens = self.scaled(encoder.encoder(groups), curve)[~mask].reshape(len(points), -1, dim)
        full = self.mask_token.expand(len(points), self.groups, -1).clone()
        full[~mask] = encoder.blocks(tokens, encoder.pos_embed(shown)).flatten(0, 1)
        decoded = self.MAE_decoder.blocks(full, self.decoder_pos_embed(centres))
        rebuilt = self.increase_dim(decoded[mask].unsqueeze(-1)).reshape(-1, self.group_size, 1, 3)
        squared = (rebuilt - groups[mask].unsqueeze(1)).square().sum(-1)
        return squared.min(1).values.mean() + squared.min(2).values.mean()


@pytest.fixture
def published(generator) -> Published:
    return Published(groups=16, group_size=8, dim=24, depth=2, state=4, decoder_depth=1).eval()


@pytest.fixture
def ours(published) -> Distill:
    stage = Distill(catalog.build("pointmamba-s", **SMALL), DistillOptions(**CODED, reconstruction_depth=1))
    stage.load_state_dict(pointmamba.from_published(published.state_dict()))
    return stage.eval()


@pytest.fixture
def points(generator) -> Tensor:
    """[3, 90, 3], not ordered; the first shape reaches as far as one in the unit sphere may."""
    points = torch.rand(3, 90, 3, generator=generator) * 1.9 - 0.95
    points[:, 0] = -0.95
    return points


def by_place(patches: protocol.Patches, curve: int, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The visible and the hidden groups of a mask over the order of a curve, ascending."""
    order = patches.coarsest.places[:, curve].argsort(1)
    return tuple(order[where].view(len(order), -1).sort(1).values for where in (~mask, mask))


def test_tokens_are_those_of_the_published_classifier(published, ours, points):
    tokens, both = ours.features(points, ordered=False).tokens, published.both(points)
    centres = published.cut(points)[1]
    along, across = (
        both[:, half].gather(1, published_order(centres, swapped).argsort(1).unsqueeze(-1).expand(-1, -1, 24))
        for half, swapped in ((slice(16), False), (slice(16, None), True))
    )
    assert close(tokens, (along + across) / 2)
    assert close(tokens.mean(1), both.mean(1))  # what its head is given


@pytest.mark.parametrize("curve", [0, 1])
def test_pre_training_loss_is_that_of_the_published_model(published, ours, points, generator, curve):
    mask = torch.rand(3, 16, generator=generator).argsort(1) < 9
    visible, hidden = by_place(ours.encoder.patchify(points, ordered=False), curve, mask)
    batch = Batch(points=points, index=torch.arange(3), label=torch.arange(3), ordered=False)
    draw = DistillDraw(visible=visible, hidden=hidden, order=None, teachers=None, curve=torch.full((3,), curve))
    assert close(ours(batch, draw)["reconstruction"], published.loss(points, mask, curve))


def test_each_shape_of_a_batch_may_have_its_own_curve(ours, points):
    patches = ours.encoder.patchify(points, ordered=False)
    visible = torch.arange(9).expand(3, -1)
    one = [ours.encoder(patches, visible, torch.full((3,), curve)).tokens for curve in (0, 1)]
    mixed = ours.encoder(patches, visible, torch.tensor([0, 1, 0])).tokens
    torch.testing.assert_close(mixed, torch.stack([one[0][0], one[1][1], one[0][2]]), rtol=1e-5, atol=1e-5)
    assert not close(one[0], one[1], 1e-2)


def test_names_map_there_and_back(published, ours):
    theirs, back = published.state_dict(), pointmamba.to_published(ours.state_dict())
    assert back.keys() == theirs.keys()
    assert all(torch.equal(back[name], value) for name, value in theirs.items())
    prefixed = pointmamba.from_published({f"module.{name}": value for name, value in theirs.items()})
    assert prefixed.keys() == ours.state_dict().keys()
    of_encoder = {name: value for name, value in theirs.items() if name.startswith("MAE_encoder.")}
    tuned = pointmamba.from_published({name.removeprefix("MAE_encoder."): value for name, value in of_encoder.items()})
    assert tuned.keys() == {name for name in prefixed if name.startswith("encoder.")}
    with pytest.raises(ValueError, match=r"'cls_head_finetune.0.bias' is no parameter of a PointMamba pre-training model"):
        pointmamba.from_published(theirs | {"cls_head_finetune.0.bias": torch.zeros(256)})
    with pytest.raises(ValueError, match=r"'blocks.layers.0.norm_ffn.weight' belongs to an older PointMamba"):
        pointmamba.from_published({"blocks.layers.0.norm_ffn.weight": torch.ones(24)})


def test_size_is_the_published_one():
    assert catalog.config("pointmamba-s") == pointmamba.PointMambaConfig()
    stage = Distill(catalog.build("pointmamba-s"), DistillOptions(**CODED))
    sizes = {name: round(sum(p.numel() for p in part.parameters()) / 1e6, 1) for name, part in (("encoder", stage.encoder), ("all", stage))}
    assert sizes == {"encoder": 12.1, "all": 16.1}  # the published 12.3 are with a classifier


# ------------------------------------------------------------------------------------------------------- as other encoders


@torch.no_grad()
def test_nothing_of_hidden_groups_enters_but_their_part_in_the_order(points, generator):
    encoder = catalog.build("pointmamba-tiny", groups=16, group_size=8).eval()
    patches = encoder.patchify(points, ordered=False)
    shown = torch.rand(3, 16, generator=generator).argsort(1)[:, :5]
    hidden = torch.ones(3, 16, dtype=torch.bool).scatter(1, shown, False)
    level = patches.coarsest
    broken = dataclasses.replace(
        level,
        groups=level.groups.masked_fill(hidden.view(3, -1, 1, 1), torch.nan),
        centres=level.centres.masked_fill(hidden.unsqueeze(2), torch.nan),
        members=level.members,
    )
    encoded = encoder(protocol.Patches(levels=(broken,)), shown)
    assert torch.equal(encoded.visible, shown) and encoded.tokens.isfinite().all()
    assert torch.equal(encoded.tokens, encoder(patches, shown).tokens)


@torch.no_grad()
def test_tokens_come_by_centre(points):
    encoder = catalog.build("pointmamba-tiny", groups=16, group_size=8).eval()
    patches, order = encoder.patchify(points, ordered=False), torch.randperm(16).expand(3, -1)
    whole = encoder(patches).tokens
    torch.testing.assert_close(encoder(patches, order).tokens, ops.gather(whole, order), rtol=1e-4, atol=1e-5)


@pytest.fixture
def batch(points) -> Batch:
    return Batch(
        points=points,
        index=torch.arange(3),
        label=torch.arange(3),
        ordered=False,
        guide_tokens=torch.randn(3, 16, 24),
        guide_summary=torch.randn(3, 24),
    )


OWN, STAGE_2 = {**CODED, "reconstruction_depth": 1}, {"local_depth": 1}


@pytest.mark.parametrize("options", [OWN, STAGE_2], ids=["own", "stage 2"])
def test_it_trains_in_both_objectives(batch, generator, options):
    """Its loss falls on one batch, and no parameter is left out, although a step of its own objective goes along one curve a shape."""
    stage = Distill(catalog.build("pointmamba-s", **SMALL), DistillOptions(**options))
    draw = stage.draw(3, generator)
    assert (draw.curve is None) == (options is STAGE_2)
    optimizer = torch.optim.AdamW(stage.parameters(), lr=2e-3)
    course = []
    for _ in range(12):
        loss = stage(batch, draw)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        course.append(loss.item())
    assert course[-1] < 0.97 * course[0]
    assert all(p.grad is not None for p in stage.parameters())
    stage.eval()
    assert stage.features(batch.points, ordered=False).tokens.shape == (3, 16, 24)


def test_a_step_draws_a_curve_for_every_shape():
    stage = Distill(catalog.build("pointmamba-s", **SMALL), DistillOptions(**OWN))
    curves = [stage.draw(200, torch.Generator().manual_seed(seed)).curve for seed in (1, 1, 2)]
    assert torch.equal(curves[0], curves[1]) and not torch.equal(curves[0], curves[2])
    assert set(curves[0].tolist()) == {0, 1} and 70 < curves[0].sum() < 130
    assert stage.draw(4, torch.Generator()).rows(1, 3).curve.shape == (2,)


def test_compiled_in_bf16_its_own_pre_training_still_trains(batch, generator):
    """Its encoder is compiled in the tests of all encoders, stage 2 in its own."""
    stage = Distill(catalog.build("pointmamba-s", **SMALL | {"depth": 1}), DistillOptions(**OWN))
    with torch.autocast("cpu", torch.bfloat16):
        losses = torch.compile(stage, backend="eager", fullgraph=True)(batch, stage.draw(3, generator))
    losses["loss"].backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in stage.parameters())


def test_the_recipe_is_the_published_pre_training():
    config = experiment("pointmamba").distill
    assert config.encoder.resolved() == pointmamba.PointMambaConfig()
    assert (config.augment.rotate, config.augment.tilt, config.augment.scale, config.augment.shift) == (True, 0, (1, 1), 0)
    assert (config.optim.batch, config.optim.epochs, config.optim.lr, config.optim.weight_decay, config.optim.clip) == (
        128,
        300,
        1e-3,
        0.05,
        0,
    )
    assert config.distill == DistillOptions(**CODED) and config.distill.reconstruction_depth == 4
    assert not config.needs_guide and not config.needs_guide_run


def test_mistakes_are_named(ours, points):
    for setting in ("groups", "group_size", "dim", "depth", "state", "conv", "expand"):
        with pytest.raises(ValueError, match=f"{setting} must be at least 1, got 0"):
            catalog.build("pointmamba-tiny", **{setting: 0})
    with pytest.raises(ValueError, match="embed must be at least 1, got -1"):
        catalog.build("pointmamba-tiny", embed=(32, -1, 64))
    with pytest.raises(ValueError, match=r"grid must be positive, got 0"):
        catalog.build("pointmamba-tiny", grid=0)
    with pytest.raises(ValueError, match=r"mask_ratio must lie in \[0, 1\), got 1"):
        catalog.build("pointmamba-tiny", mask_ratio=1)
    with pytest.raises(ValueError, match=r"drop_path must lie in \[0, 1\), got 1"):
        catalog.build("pointmamba-tiny", drop_path=1)
    with pytest.raises(ValueError, match="channels must be 3"):
        catalog.build("pointmamba-tiny", channels=4)
    with pytest.raises(ValueError, match="points have 3 channels, the encoder was built for 6"):
        catalog.build("pointmamba-tiny", channels=6).patchify(points, ordered=False)
    with pytest.raises(ValueError, match="need at least 32 points, got 20"):
        catalog.build("pointmamba-tiny").patchify(points[:, :20], ordered=False)
    patches, visible = ours.encoder.patchify(points, ordered=False), torch.arange(9).expand(3, -1)
    with pytest.raises(ValueError, match="goes along one curve: give the encoder `curve`"):
        ours.reconstruction(ours.encoder(patches, visible), patches, torch.arange(9, 16).expand(3, -1))


# ------------------------------------------------------------------------------------------------- files of the authors' model


def golden(name: str) -> tuple[dict[str, Tensor], dict[str, Tensor], dict]:
    """Weights, inputs and outputs, configuration."""
    stored = np.load(Path(os.environ["MMPD_GOLDEN"]) / f"{name}.npz")
    weights, io = (
        {key.removeprefix(p): torch.from_numpy(stored[key]) for key in stored.files if key.startswith(p)} for p in ("sd/", "io/")
    )
    return weights, io, json.loads(bytes(stored["config"]))


needs_golden = pytest.mark.skipif("MMPD_GOLDEN" not in os.environ, reason="MMPD_GOLDEN names no folder")


@needs_golden
@torch.no_grad()
def test_golden_classifier():
    weights, io, config = golden("point_mamba_cls")
    sizes = {"groups": config["num_group"], "group_size": config["group_size"], "dim": config["trans_dim"], "depth": config["depth"]}
    encoder, head = catalog.build("pointmamba-s", **sizes).eval(), "cls_head_finetune."
    own = pointmamba.from_published({name: value for name, value in weights.items() if not name.startswith(head)})
    encoder.load_state_dict({name.removeprefix("encoder."): value for name, value in own.items()})
    sequences = []
    encoder.norm.register_forward_hook(lambda module, given, made: sequences.append(made))
    tokens = encoder(encoder.patchify(io["points"], ordered=False)).tokens
    assert close(sequences[0], io["tokens"], 1e-4)
    wide = config["trans_dim"], 256, 256
    layers = [(nn.Linear(*pair), nn.BatchNorm1d(256), nn.ReLU(), nn.Dropout(0.5)) for pair in itertools.pairwise(wide)]
    classifier = nn.Sequential(*itertools.chain(*layers), nn.Linear(256, config["cls_dim"])).eval()
    classifier.load_state_dict({name.removeprefix(head): value for name, value in weights.items() if name.startswith(head)})
    assert close(classifier(tokens.mean(1)), io["logits"], 1e-4)


@needs_golden
@torch.no_grad()
def test_golden_pre_training():
    weights, io, config = golden("point_mamba_pretrain")
    mamba = config["mamba_config"]
    sizes = {"groups": config["num_group"], "group_size": config["group_size"], "dim": mamba["trans_dim"], "depth": mamba["depth"]}
    stage = Distill(catalog.build("pointmamba-s", **sizes), DistillOptions(**CODED, reconstruction_depth=mamba["decoder_depth"])).eval()
    stage.load_state_dict(pointmamba.from_published(weights))
    points, curve = io["points"], int(io["order_index"])
    visible, hidden = by_place(stage.encoder.patchify(points, ordered=False), curve, io["mask"])
    batch = Batch(points=points, index=torch.arange(3), label=torch.arange(3), ordered=False)
    draw = DistillDraw(visible=visible, hidden=hidden, order=None, teachers=None, curve=torch.full((3,), curve))
    assert close(stage(batch, draw)["reconstruction"], io["loss"], 1e-4)
