"""Every method of tuning on every encoder of the catalogue, and on one that nobody has heard of."""

import copy
import itertools
import sys
import types
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cache_schema.errors import UserError
from trainer import checkpoint, ops
from trainer.batch import Batch
from trainer.config import EncoderConfig
from trainer.encoders import blocks, catalog
from trainer.encoders.protocol import Curved, Encoded, Level, Patches, Site, Tunable
from trainer.recipes import configured
from trainer.stage import Facts
from trainer.stage import build as build_stage
from trainer.tuning.adapted import Adapted
from trainer.tuning.catalog import METHODS, MODES, Efficient, adapt, learned, sizes

ENCODERS = sorted(name for name in catalog.ENCODERS if name.endswith("-tiny"))
OPTIONS = Efficient(
    lora_rank=2,
    adapter_width=3,
    prompts=2,
    spectral_width=4,
    window=8,
    monarch_blocks=12,
    pointlora_rank=2,
    shared_width=3,
    selected=4,
    selected_large=2,
)


@pytest.fixture(autouse=True)
def seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def encoder_of(name):
    """With weights that make something of its input."""
    encoder = catalog.build(name)
    for module in encoder.modules():
        if isinstance(module, nn.Linear):
            module.reset_parameters()
    return encoder.eval()


def points(count=2):
    return F.normalize(torch.randn(count, 256, 3), dim=-1) * torch.rand(count, 256, 1) ** (1 / 3)


def holds(encoder, mode):
    """What every method promises on every encoder that it takes."""
    patches, inner = encoder.patchify(points(), ordered=False), copy.deepcopy(encoder)
    own = list(inner.state_dict(keep_vars=True).values())
    adapted = adapt(inner, mode, OPTIONS)
    assert isinstance(adapted, Adapted) and not adapted.training
    with torch.no_grad():
        assert torch.equal(adapted(patches).tokens, encoder(patches).tokens), "tuning begins with the encoder's features"
    assert not any(tensor.requires_grad for tensor in own)
    fresh = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    assert 0 < learned(adapted) == sum(parameter.numel() for parameter in fresh) < sum(tensor.numel() for tensor in own)
    # Some parts are closed at first: a step opens them, and after that all of them get gradients.
    optimizer = torch.optim.AdamW(fresh, lr=1e-2)
    target, losses = torch.randn(2, encoder.groups, encoder.dim), []
    for _ in range(4):
        loss = (adapted(patches).tokens - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(parameter.grad.abs().sum() > 0 for parameter in fresh)
    assert all(torch.equal(old, new) for old, new in zip(encoder.state_dict().values(), own, strict=True)), "the encoder is as it was"
    with torch.no_grad():
        assert torch.equal(copy.deepcopy(adapted)(patches).tokens, adapted(patches).tokens), "a copy has parts of its own"


def refusal(encoder, mode):
    """What the message of a method that asks for attention says, if the encoder has not what it asks for."""
    if any(site.attention is None for site in encoder.sites()):
        return "has no attention; take lora, adapter"
    return (
        "no embedding that makes tokens of any groups"
        if mode == "pointlora" and any(site.embed is None for site in encoder.sites())
        else ""
    )


@pytest.mark.parametrize(("name", "mode"), list(itertools.product(ENCODERS, MODES)))
def test_every_method_tunes_every_encoder_or_says_why_not(name, mode):
    encoder = encoder_of(name)
    assert isinstance(encoder, Tunable)
    if mode in ("prompt", "pointlora") and (refused := refusal(encoder, mode)):
        with pytest.raises(UserError, match=refused):
            adapt(encoder, mode, OPTIONS)
        assert all(parameter.requires_grad for parameter in encoder.parameters()), "nothing was done"
        return
    holds(encoder, mode)


@pytest.mark.parametrize("name", ENCODERS)
def test_sites_are_what_they_say(name):
    encoder = encoder_of(name)
    patches, sites = encoder.patchify(points(), ordered=False), encoder.sites()
    seen: dict[int, Tensor] = {}
    for i, site in enumerate(sites):
        assert isinstance(site, Site) and site.block in list(encoder.modules())
        assert site.linears and all(isinstance(site.block.get_submodule(path), nn.Linear) for path in site.linears)
        assert isinstance(site.block.get_submodule(site.branch), nn.Module)
        assert site.attention is None or isinstance(site.block.get_submodule(site.attention), blocks.Attention)
        assert getattr(site.block, site.beside) is None
        if site.embed is not None:
            assert site.embed(patches.levels[site.level]).shape == (2, encoder.groups, site.dim)

        class Beside(nn.Module):
            def __init__(self, place):
                super().__init__()
                self.place = place

            def forward(self, x):
                seen[self.place] = x
                return torch.zeros_like(x)

        setattr(site.block, site.beside, Beside(i))
    encoder(patches)
    assert list(seen) == list(range(len(sites))), "in the order in which the blocks run"
    for i, site in enumerate(sites):
        level = patches.levels[site.level]
        groups, sequences = level.centres.shape[1], 1 if level.order is None else level.order.shape[1]
        assert seen[i].shape == (2, sequences * groups, site.dim)
        if level.order is not None:
            assert torch.equal(level.order.sort(-1).values, torch.arange(groups).expand_as(level.order))
    assert {site.level for site in sites} == set(range(len(patches.levels)))


def test_methods_share_no_option_and_none_is_left_over():
    fields = [name for mode in MODES for name in sizes(mode)]
    assert list(METHODS) == list(MODES) and sorted(fields) == sorted(vars(Efficient()))
    assert sizes("full") == ()


# ------------------------------------------------------------------------------------------ an encoder of somebody else


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    channels: int = 3
    groups: int = 16
    group_size: int = 8
    dim: int = 24
    mask_ratio: float = 0.5

    @property
    def centres(self) -> int:
        return self.groups


@dataclass(frozen=True, kw_only=True)
class SweepLevel(Level):
    axes: Tensor

    @property
    def order(self) -> Tensor:
        return self.axes


class Sweep(nn.Module):
    """Reads the groups of a shape from left to right, then from bottom to top."""

    curves = 2

    def __init__(self, config: SweepConfig) -> None:
        super().__init__()
        self.config, self.dim, self.groups, self.centres = config, config.dim, config.groups, config.groups
        self.group_size, self.mask_ratio = config.group_size, config.mask_ratio
        self.embed = blocks.PatchEmbed(config.channels, (16, 16, 32), config.dim)
        self.positions = blocks.position_mlp(config.dim)
        self.own = nn.Parameter(torch.randn(2, 1, config.dim))
        self.transformer = blocks.Transformer(config.dim, depth=2, heads=2, drop_path=0.0)

    def patchify(self, points, ordered):
        level = blocks.grouped(points, ordered, groups=self.groups, group_size=self.group_size, channels=self.config.channels)
        axes = level.centres[..., :2].mT.argsort(-1)  # [B, S, G]
        return Patches(levels=(SweepLevel(**vars(level), axes=axes),))

    def forward(self, patches, visible=None, curve=None):
        level = patches.coarsest
        if visible is None:
            visible = torch.arange(self.groups).expand(len(level.centres), -1)
        places = level.axes.argsort(-1).gather(2, visible.unsqueeze(1).expand(-1, 2, -1))  # [B, S, Gv]
        own = self.own.expand(len(visible), -1, -1, -1)
        if curve is not None:
            places, own = places[torch.arange(len(curve)), curve].unsqueeze(1), own[torch.arange(len(curve)), curve].unsqueeze(1)
        groups = ops.gather(level.groups.flatten(2), visible).unflatten(2, level.groups.shape[2:])
        tokens = self.embed(groups) + self.positions(ops.gather(level.centres, visible))
        rows = places.argsort(-1)  # [B, S, Gv]
        read = (ops.gather(tokens, rows) + own).flatten(1, 2)
        read = self.transformer(read).unflatten(1, rows.shape[1:])  # [B, S, Gv, D]
        back = rows.argsort(-1).unsqueeze(-1).expand_as(read)
        return Encoded(tokens=read.gather(2, back).mean(1), visible=visible)

    def sites(self):
        return self.transformer.sites()


@pytest.fixture
def sweep(monkeypatch):
    """The one thing that adding an encoder asks for: a module, and its line in the catalogue."""
    module = types.ModuleType("trainer.encoders.sweep")
    module.CONFIGS, module.build = {"sweep-tiny": SweepConfig()}, Sweep
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(catalog.ENCODERS, "sweep-tiny", module.__name__)


@pytest.mark.parametrize("mode", MODES)
def test_a_new_encoder_with_two_curves_can_be_tuned(mode, sweep):
    encoder = catalog.build("sweep-tiny").eval()
    assert isinstance(encoder, Curved) and isinstance(encoder, Tunable)
    if mode == "pointlora":
        with pytest.raises(UserError, match="no embedding that makes tokens of any groups"):
            adapt(encoder, mode, OPTIONS)
        return
    holds(encoder, mode)


def test_a_new_encoder_is_pre_trained_saved_and_loaded(sweep, tmp_path):
    given = ["encoder.name=sweep-tiny", "encoder.groups=8", "distill.heads=2", "distill.reconstruction_depth=1"]
    config = configured("point-mae", "distill", given)
    assert config.encoder == EncoderConfig(name="sweep-tiny", options=("groups=8",))
    stage, generator = build_stage(config, Facts()), torch.Generator().manual_seed(0)
    draw = stage.draw(2, generator)
    assert draw.curve is not None and draw.curve.shape == (2,), "a shape is reconstructed along one of the curves"
    batch = Batch(points=points(), ordered=False, index=torch.arange(2), label=torch.zeros(2, dtype=torch.int64))
    stage(batch, draw)["loss"].backward()
    header = checkpoint.Header(config=config, facts=Facts(), caches=(), step=1, steps=1)
    tmp_path.joinpath("run").mkdir()
    checkpoint.save(tmp_path / "run", header, stage, {}, {})
    loaded = checkpoint.load(tmp_path / "run").model
    xyz = points()
    assert torch.equal(loaded.features(xyz, ordered=False).tokens, stage.eval().features(xyz, ordered=False).tokens)


def test_an_encoder_that_offers_no_place_is_refused():
    class Closed(Sweep):
        def sites(self):
            return []

    with pytest.raises(UserError, match="tune=lora: Closed has no blocks that are known here; take full, mlp or linear"):
        adapt(Closed(SweepConfig()).eval(), "lora", OPTIONS)
