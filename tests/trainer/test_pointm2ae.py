"""Point-M2AE: ours is the published model, what masking shows on each level, and both stages with it.

The published model is written here once more, plainly: a loop over shapes, 1x1 convolutions, attention by hand, the authors' parameter
names, and their padding of masked shapes if asked for. With `MMPD_GOLDEN` naming a folder, its `point_m2ae.npz` is compared too.
"""

import copy
import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cache_schema import store, synthetic
from cache_schema.spec import LabelSet, PointSpec
from tests.trainer.test_encoders import Attention, Embed, close
from trainer import checkpoint, guide, log, ops, prepare
from trainer import points as stored
from trainer.batch import Batch
from trainer.distill import Distill, DistillDraw
from trainer.distributed import Ranks
from trainer.encoders import catalog, pointm2ae, protocol
from trainer.loop import train
from trainer.options import DistillOptions
from trainer.recipes import configured
from trainer.tasks.features import Body, extract
from trainer.tasks.shapes import Shapes

COUNTS, SIZES, WIDTHS, RADII = (64, 32, 16), (8, 6, 4), (12, 24, 48), (0.4, 0.8, 1.6)
SMALL = {"counts": COUNTS, "sizes": SIZES, "widths": WIDTHS, "depths": (2, 2, 2), "heads": 3, "radii": RADII}
RECONSTRUCT = {"local_weight": 0, "global_weight": 0, "reconstruction_weight": 1, "reconstruction_depth": 1}


@pytest.fixture
def generator() -> torch.Generator:
    torch.manual_seed(0)  # of weights
    return torch.Generator().manual_seed(0)


# ----------------------------------------------------------------------------------------------- the published model, plainly


class Merge(Embed):
    """The patch embedding of the levels above the finest."""

    def __init__(self, below: int, dim: int) -> None:
        super().__init__(dim)
        self.first_conv = nn.Sequential(nn.Conv1d(below, below, 1), nn.BatchNorm1d(below), nn.ReLU(), nn.Conv1d(below, below, 1))
        self.second_conv = nn.Sequential(nn.Conv1d(2 * below, dim, 1), nn.BatchNorm1d(dim), nn.ReLU(), nn.Conv1d(dim, dim, 1))

    def forward(self, groups: Tensor) -> Tensor:
        g, k, _ = groups.shape
        local = self.first_conv(groups.transpose(1, 2))
        whole = local.max(2, keepdim=True).values.expand(-1, -1, k)
        return self.second_conv(torch.cat([whole, local], 1)).max(2).values.reshape(g, -1)


class MaskedAttention(Attention):
    def forward(self, x: Tensor, blocked: Tensor) -> Tensor:
        n, d = x.shape
        q, k, v = self.qkv(x).reshape(n, 3, self.heads, d // self.heads).permute(1, 2, 0, 3)
        weights = (q @ k.transpose(-2, -1) * (d // self.heads) ** -0.5).masked_fill(blocked, -1e5).softmax(-1)
        return self.proj((weights @ v).transpose(0, 1).reshape(n, d))


class Blocks(nn.Module):
    def __init__(self, dim: int, depth: int, heads: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        for _ in range(depth):
            block = nn.Module()
            block.norm1, block.norm2, block.attn = nn.LayerNorm(dim), nn.LayerNorm(dim), MaskedAttention(dim, heads)
            block.mlp = nn.ModuleDict({"fc1": nn.Linear(dim, 4 * dim), "fc2": nn.Linear(4 * dim, dim)})
            self.blocks.append(block)

    def forward(self, x: Tensor, positions: Tensor, blocked: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + positions
            x = x + block.attn(block.norm1(x), blocked)
            x = x + block.mlp["fc2"](F.gelu(block.mlp["fc1"](block.norm2(x))))
        return x


def positions(dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, dim), nn.GELU(), nn.Linear(dim, dim))


def convolved(below: int, dim: int) -> list[nn.Module]:
    return [nn.Conv1d(below, dim, 1), nn.BatchNorm1d(dim)]


class Published(nn.Module):
    """One shape at a time. `padding`: as many slots as the shape with most has, the rest as the authors fill them."""

    def __init__(self) -> None:
        super().__init__()
        fine, middle, coarse = WIDTHS
        self.h_encoder = nn.Module()
        self.h_encoder.token_embed = nn.ModuleList([Embed(fine), Merge(fine, middle), Merge(middle, coarse)])
        self.h_encoder.encoder_pos_embeds = nn.ModuleList([positions(width) for width in WIDTHS])
        self.h_encoder.encoder_blocks = nn.ModuleList([Blocks(width, 2, 3) for width in WIDTHS])
        self.h_encoder.encoder_norms = nn.ModuleList([nn.LayerNorm(width) for width in WIDTHS])
        self.mask_token = nn.Parameter(torch.zeros(1, coarse))
        self.h_decoder = nn.ModuleList([Blocks(coarse, 1, 6), Blocks(middle, 1, 6)])
        self.decoder_pos_embeds = nn.ModuleList([positions(coarse), positions(middle)])
        propagation = nn.Module()
        propagation.fuse = nn.Module()
        propagation.fuse.net = nn.Sequential(*convolved(middle + coarse, middle))
        propagation.extraction = nn.Module()
        propagation.extraction.operation = nn.ModuleList([nn.Module()])
        propagation.extraction.operation[0].net1 = nn.Sequential(*convolved(middle, middle))
        propagation.extraction.operation[0].net2 = nn.Sequential(*convolved(middle, middle))
        self.token_prop = nn.ModuleList([propagation])
        self.decoder_norm = nn.LayerNorm(middle)
        self.rec_head = nn.Conv1d(middle, 3 * SIZES[0], 1)
        for name, value in self.state_dict().items():  # no bias, norm or statistic may be trivial, or it would not be seen
            if not name.endswith("num_batches_tracked") and not name.startswith("h_encoder.encoder_norms.0."):
                value.copy_(torch.rand_like(value) + 0.5 if name.endswith("var") else value + 0.1 * torch.randn_like(value))
            if name.endswith("qkv.weight"):  # or attention is a mean over all tokens, whatever the number of heads
                value.mul_(3)

    def cut(self, points: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Centres and the rows of their members on each level, of one shape [P, 3]."""
        out, below = [], points
        for g, k in zip(COUNTS, SIZES, strict=True):
            centres = below[ops.farthest_points(below[None], g)[0]]
            out.append((centres, (centres.unsqueeze(1) - below).square().sum(-1).argsort(dim=-1, stable=True)[:, :k]))
            below = centres
        return out

    def encode(self, points: Tensor, seen: list[Tensor], slots: list[int], padding: bool, near: bool) -> list[Tensor]:
        """Normalised tokens of the groups that `seen` [G] says are shown, on each level; with attention to near ones only if `near`."""
        out, tokens = [], None
        for i, (centres, members) in enumerate(self.cut(points)):
            groups = (points[members] - centres.unsqueeze(1))[None] if tokens is None else tokens[members]
            tokens = self.h_encoder.token_embed[i](groups).reshape(len(centres), -1)
            x, places, count = tokens[seen[i]], centres[seen[i]], int(seen[i].sum())
            if padding:
                x, places = (torch.cat([value, value.new_zeros(slots[i] - count, value.shape[1])]) for value in (x, places))
            far = (places.unsqueeze(1) - places).norm(dim=-1) >= RADII[i]
            left_over = torch.arange(len(x)) >= count
            blocked = far & (left_over | left_over.unsqueeze(1)) if padding else far & near
            x = self.h_encoder.encoder_blocks[i](x, self.h_encoder.encoder_pos_embeds[i](places), blocked)[:count]
            tokens[seen[i]] = x
            out.append(self.h_encoder.encoder_norms[i](x))
        return out

    def show(self, points: Tensor, visible: Tensor) -> list[Tensor]:
        """Which groups [G] of each level are shown, of one shape."""
        seen = [visible]
        for centres, members in reversed(self.cut(points)[1:]):
            below = torch.zeros(COUNTS[COUNTS.index(len(centres)) - 1], dtype=torch.bool)
            for g in seen[0].nonzero():
                below[members[g]] = True
            seen.insert(0, below)
        return seen

    def shown(self, points: Tensor, mask: Tensor, padding: bool) -> list[list[Tensor]]:
        seen = [self.show(shape, ~hidden) for shape, hidden in zip(points, mask, strict=True)]
        if padding:  # the authors send members of hidden groups to the first group of the first shape
            seen[0][1][0] = True
            seen[0][0][self.cut(points[0])[1][1][0]] = True
            seen[0][0][0] = True
        return seen

    def tokens(self, points: Tensor, mask: Tensor, padding: bool = False) -> list[list[Tensor]]:
        seen = self.shown(points, mask, padding)
        slots = [max(int(levels[i].sum()) for levels in seen) for i in range(3)]
        return [self.encode(shape, levels, slots, padding, near=False) for shape, levels in zip(points, seen, strict=True)]

    def fine_tuned(self, points: Tensor) -> Tensor:
        """The fine-tuning model's tokens: everything is shown, attention is to near ones."""
        seen = [torch.ones(g, dtype=torch.bool) for g in COUNTS]
        return torch.stack([self.encode(shape, seen, [], padding=False, near=True)[-1] for shape in points])

    def loss(self, points: Tensor, mask: Tensor, padding: bool = False) -> Tensor:
        squared_from, squared_to = [], []
        seen = self.shown(points, mask, padding)
        for shape, hidden, (_, middle_seen, _), (_, skip, tokens) in zip(
            points, mask, seen, self.tokens(points, mask, padding), strict=True
        ):
            _, (middle, members), (coarse, _) = self.cut(shape)
            order = torch.cat([(~hidden).nonzero()[:, 0], hidden.nonzero()[:, 0]])
            x = torch.cat([tokens, self.mask_token.expand(int(hidden.sum()), -1)])
            free = torch.zeros((), dtype=torch.bool)
            x = self.h_decoder[0](x, self.decoder_pos_embeds[0](coarse[order]), free)
            squared, nearest = (middle.unsqueeze(1) - coarse[order]).square().sum(-1).sort(-1)
            weights = 1 / (squared[:, :3] + 1e-8)
            carried = (x[nearest[:, :3]] * (weights / weights.sum(1, keepdim=True)).unsqueeze(-1)).sum(1)
            own = torch.zeros(len(middle), WIDTHS[1])
            own[middle_seen] = skip
            x = F.gelu(self.token_prop[0].fuse.net(torch.cat([own, carried], 1).T[None]))
            residual = self.token_prop[0].extraction.operation[0]
            x = F.gelu(residual.net2(F.gelu(residual.net1(x))) + x)[0].T
            x = self.decoder_norm(self.h_decoder[1](x, self.decoder_pos_embeds[1](middle), free))[~middle_seen]
            rebuilt = self.rec_head(x.unsqueeze(-1)).reshape(len(x), -1, 1, 3)
            fine = self.cut(shape)[0][0]
            between = (rebuilt - (fine[members] - middle.unsqueeze(1))[~middle_seen].unsqueeze(1)).square().sum(-1)
            squared_from.append(between.min(2).values)
            squared_to.append(between.min(1).values)
        return torch.cat(squared_from).mean() + torch.cat(squared_to).mean()


@pytest.fixture
def published(generator) -> Published:
    return Published().eval()


def ours(published: Published, **settings) -> Distill:
    stage = Distill(catalog.build("pointm2ae-s", **{**SMALL, **settings}), DistillOptions(**RECONSTRUCT))
    stage.load_state_dict(pointm2ae.from_published(published.state_dict()))
    return stage.eval()


@pytest.fixture
def points(generator) -> Tensor:
    """[3, 150, 3] in the unit ball, in no order."""
    points = torch.randn(3, 150, 3, generator=generator)
    return points / points.norm(dim=-1).amax(1)[:, None, None]


@pytest.fixture
def mask(generator) -> Tensor:
    """[3, 16], 12 hidden each. The first group of the first shape is."""
    ranking = torch.rand(3, 16, generator=generator)
    ranking[0, 0] = 0
    return torch.zeros(3, 16, dtype=torch.bool).scatter(1, ranking.argsort(1)[:, :12], True)


def draw_of(mask: Tensor) -> DistillDraw:
    b = len(mask)
    visible, hidden = ((which.nonzero()[:, 1]).view(b, -1) for which in (~mask, mask))
    return DistillDraw(visible=visible, hidden=hidden, order=None, teachers=None)


def batch_of(points: Tensor) -> Batch:
    return Batch(points=points, index=torch.arange(len(points)), label=torch.arange(len(points)), ordered=False)


@torch.no_grad()
def test_tokens_of_whole_shapes_are_those_of_the_published_fine_tuning_model(published, points):
    assert close(ours(published).features(points, ordered=False).tokens, published.fine_tuned(points))


@torch.no_grad()
def test_a_wrong_number_of_heads_would_be_seen(published, points):
    assert not close(ours(published, heads=6).features(points, ordered=False).tokens, published.fine_tuned(points), within=0.01)


@torch.no_grad()
@pytest.mark.parametrize("padding", [False, True])
@pytest.mark.parametrize("hide", [False, True])
def test_tokens_of_masked_shapes_are_those_of_the_published_model(published, points, mask, padding, hide):
    """With nothing hidden it is the way of the published linear probe."""
    mask = mask & hide
    expected = torch.stack([levels[-1] for levels in published.tokens(points, mask, padding)])
    encoder = ours(published, authors_padding=padding).encoder
    assert close(encoder(encoder.patchify(points, ordered=False), draw_of(mask).visible).tokens, expected)


@torch.no_grad()
@pytest.mark.parametrize("padding", [False, True])
def test_pre_training_loss_is_that_of_the_published_model(published, points, mask, padding):
    stage = ours(published, authors_padding=padding)
    loss = stage(batch_of(points), draw_of(mask))["reconstruction"]
    expected = published.loss(points, mask, padding)
    assert close(loss, expected)
    assert not close(loss, published.loss(points, mask, not padding), within=1e-4)


def test_names_map_there_and_back(published):
    stage, theirs = ours(published), published.state_dict()
    back = pointm2ae.to_published(stage.state_dict())
    assert back.keys() == theirs.keys()
    assert all(torch.equal(back[name], value) for name, value in theirs.items())
    prefixed = pointm2ae.from_published({f"module.{name}": value for name, value in theirs.items()})
    assert prefixed.keys() == stage.state_dict().keys()
    with pytest.raises(ValueError, match=r"'cls_token' is no parameter of a Point-M2AE pre-training model"):
        pointm2ae.from_published(theirs | {"cls_token": torch.zeros(1, 1, 24)})


@torch.no_grad()
@pytest.mark.skipif("MMPD_GOLDEN" not in os.environ, reason="MMPD_GOLDEN names no folder with parity files")
def test_feature_and_loss_of_the_parity_file():
    with np.load(Path(os.environ["MMPD_GOLDEN"]) / "point_m2ae.npz") as file:
        known = {name: torch.from_numpy(file[name]) for name in file.files if name != "config"}
        sizes = json.loads(bytes(file["config"]))
    settings = {
        "counts": sizes["num_groups"],
        "sizes": sizes["group_sizes"],
        "widths": sizes["encoder_dims"],
        "depths": sizes["encoder_depths"],
    }
    settings = {name: tuple(values) for name, values in settings.items()}
    state = pointm2ae.from_published({name.removeprefix("sd/"): value for name, value in known.items() if name.startswith("sd/")})
    encoder = catalog.build("pointm2ae-s", **settings, radii=tuple(sizes["local_radius"]), authors_padding=True)
    stage = Distill(encoder, DistillOptions(**RECONSTRUCT))
    stage.load_state_dict(state)
    points, mask = known["io/points"], known["io/mask"]
    tokens = stage.eval().encoder(encoder.patchify(points, ordered=False), draw_of(torch.zeros_like(mask)).visible).tokens
    found = {"feature": tokens.mean(1) + tokens.amax(1), "loss": stage(batch_of(points), draw_of(mask))["reconstruction"]}
    for name, value in found.items():
        error = ((value - known[f"io/{name}"]).abs().max() / known[f"io/{name}"].abs().max()).item()
        print(f"{name}: relative error {error:.1e}")
        assert error < 1e-4


# ------------------------------------------------------------------------------------------------------- masking and radius


@pytest.fixture
def encoder(generator) -> pointm2ae.PointM2AE:
    return catalog.build("pointm2ae-tiny", counts=COUNTS, sizes=SIZES, radii=RADII).eval()


def test_what_visible_groups_are_made_of_is_shown_and_nothing_else(encoder, points, mask):
    patches, visible = encoder.patchify(points, ordered=False), draw_of(mask).visible
    shown = encoder.reveal(patches, visible)
    assert torch.equal(shown[-1].group, visible)
    for b in range(3):
        expected = set(visible[b].tolist())
        for i in (2, 1):
            expected = {member for group in expected for member in patches.levels[i].members[b, group].tolist()}
            below = shown[i - 1]
            assert set(below.group[b].tolist()) == expected == set((below.slot[b] >= 0).nonzero()[:, 0].tolist())
            first = below.group[b, below.filled[b]]
            assert first.tolist() == sorted(expected) and torch.equal(below.slot[b, first], torch.arange(len(first)))
    counts = [(level.slot >= 0).sum(1) for level in shown]
    assert [level.group.shape[1] for level in shown] == [int(count.max()) for count in counts]
    assert counts[0].unique().numel() > 1  # shapes differ, or padding was not seen


@torch.no_grad()
def test_nothing_of_hidden_groups_enters_on_any_level(encoder, points, mask):
    patches, visible = encoder.patchify(points, ordered=False), draw_of(mask).visible
    levels = []
    for level, shown in zip(patches.levels, encoder.reveal(patches, visible), strict=True):
        hidden = shown.slot < 0
        levels.append(
            dataclasses.replace(
                level,
                groups=level.groups.masked_fill(hidden[:, :, None, None], torch.nan),
                centres=level.centres.masked_fill(hidden.unsqueeze(2), torch.nan),
            )
        )
    assert torch.equal(encoder(protocol.Patches(levels=tuple(levels)), visible).tokens, encoder(patches, visible).tokens)


@torch.no_grad()
def test_a_shape_does_not_depend_on_the_others_of_its_batch(encoder, points, mask):
    visible = draw_of(mask).visible
    together = encoder(encoder.patchify(points, ordered=False), visible).tokens
    for b in range(3):
        one = slice(b, b + 1)
        torch.testing.assert_close(encoder(encoder.patchify(points[one], ordered=False), visible[one]).tokens, together[one])


def test_in_training_batch_norms_see_every_visible_group_once(encoder, points, mask):
    encoder.train()
    patches, visible = encoder.patchify(points, ordered=False), draw_of(mask).visible
    seen = encoder.reveal(patches, visible)[0]
    groups, given = patches.levels[0].groups, []
    for module in encoder.tiers[0].embed.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.register_forward_hook(lambda norm, inputs, output: given.append(inputs[0]))
    encoder(patches, visible)
    assert not seen.filled.all()
    alone = encoder.tiers[0].embed.lift(groups[seen.slot >= 0])  # [visible groups, K, D]
    torch.testing.assert_close(given[0], alone.flatten(0, 1))
    assert len(given[1]) == len(given[0])


@torch.no_grad()
def test_tokens_of_whole_shapes_see_what_is_near(encoder, points):
    patches = encoder.patchify(points, ordered=False)
    before, level = encoder(patches).finer[0].tokens, patches.levels[0]
    far = (level.centres - level.centres[:, :1]).norm(dim=-1) >= 2 * RADII[0]  # two blocks reach twice as far as one
    changed = dataclasses.replace(level, groups=torch.where(far[:, :, None, None], -level.groups, level.groups))
    after = encoder(protocol.Patches(levels=(changed, *patches.levels[1:]))).finer[0].tokens
    assert far.any() and torch.equal(after[:, 0], before[:, 0]) and not torch.equal(after[far], before[far])
    free = catalog.build("pointm2ae-tiny", counts=COUNTS, sizes=SIZES, radii=(0.0, 0.0, 0.0)).eval()
    wide = catalog.build("pointm2ae-tiny", counts=COUNTS, sizes=SIZES, radii=(9.0, 9.0, 9.0)).eval()
    for other in (free, wide):
        other.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(free(patches).tokens, wide(patches).tokens)
    assert not close(encoder(patches).tokens, free(patches).tokens, within=1e-3)


def test_masks_are_drawn_on_the_coarsest_level(generator):
    draw = Distill(catalog.build("pointm2ae-tiny"), DistillOptions()).draw(5, generator)
    assert draw.visible.shape == (5, 7) and draw.hidden.shape == (5, 25)  # int(0.8 * 32) hidden
    published = catalog.config("pointm2ae-s")
    assert published.groups - int(published.mask_ratio * published.groups) == 13


# ---------------------------------------------------------------------------------------------------------------- sizes


def test_size_is_the_published_one():
    assert catalog.config("pointm2ae-s") == pointm2ae.PointM2AEConfig()
    config = configured("point-m2ae", "distill")
    stage = Distill(catalog.build(config.encoder.name), config.distill)
    assert round(sum(p.numel() for p in stage.parameters()) / 1e6, 1) == 15.3
    assert [len(level.transformer.blocks) for level in stage.encoder.tiers] == [5, 5, 5]
    rates = [block.drop_path.rate for level in stage.encoder.tiers for block in level.transformer.blocks]
    assert rates == pytest.approx([0.1 * i / 14 for i in range(15)])
    decoders = (*stage.reconstruction.coarse.blocks, *stage.reconstruction.middle.blocks)
    assert [block.drop_path.rate for block in decoders] == pytest.approx([0, 0.1])


@pytest.mark.parametrize("count", [256, 1024, 2048])
def test_any_number_of_points_that_holds_the_centres_will_do(generator, count):
    encoder = catalog.build("pointm2ae-tiny").eval()
    points = torch.randn(1, count, 3, generator=generator)
    tokens = encoder(encoder.patchify(points, ordered=True)).tokens
    assert tokens.shape == (1, 32, 96) and tokens.isfinite().all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"counts": (32, 64, 16)}, "counts must not grow from fine to coarse"),
        ({"sizes": (16, 8, 200)}, "sizes must not exceed the groups of the level below, got 200 of 128"),
        ({"widths": (24, 48, 97)}, "widths must be multiples of heads"),
        ({"depths": (0, 1, 1)}, "depths must be at least 1"),
        ({"radii": (-1.0, 0.0, 0.0)}, "radii must not be negative"),
        ({"channels": 4}, "channels must be 3"),
        ({"mask_ratio": 1.0}, r"mask_ratio must lie in \[0, 1\)"),
        ({"drop_path": 1.0}, r"drop_path must lie in \[0, 1\)"),
    ],
)
def test_a_wrong_setting_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        catalog.build("pointm2ae-tiny", **settings)


def test_points_that_do_not_fit_are_named(points):
    with pytest.raises(ValueError, match="256 groups of 16 need at least 256 points, got 150"):
        catalog.build("pointm2ae-tiny").patchify(points, ordered=True)
    with pytest.raises(ValueError, match="points have 3 channels, the encoder was built for 6"):
        catalog.build("pointm2ae-tiny", channels=6).patchify(points, ordered=True)


# ------------------------------------------------------------------------------------------------------------ both stages

LABELS = LabelSet(name="source", classes=("cone", "cube", "torus"), templates=("a {}",))
TINY = (
    "encoder.name=pointm2ae-tiny",
    "encoder.counts=64,32,16",
    "encoder.sizes=8,6,4",
    "encoder.embed=16,24,32",
    "encoder.depths=1,1,1",
    "log_every=1",
    "data.threads=1",
)


@pytest.fixture(scope="module")
def cache_path(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("caches") / "small.zarr"
    synthetic.write(path, shapes=40, shard=16, points=PointSpec(count=96, blocks=2, ordered=64), labels=LABELS)
    return path


def config_of(stage: str, *assignments: str, recipe: str = "smoke"):
    return configured(recipe, stage, [*TINY, "optim.batch=8", "optim.epochs=1", *assignments])


def test_stored_order_serves_when_it_holds_the_finest_centres(cache_path):
    ranks = Ranks(device=torch.device("cpu"))
    assert prepare.open_data(config_of("align"), [store.open_cache(cache_path)], None, 8, ranks).ordered
    assert not prepare.open_data(config_of("align", "encoder.counts=65,32,16"), [store.open_cache(cache_path)], None, 8, ranks).ordered


def test_it_goes_through_both_stages(cache_path, tmp_path):
    train(config_of("align"), [cache_path], tmp_path / "align", device="cpu")
    cache = store.open_cache(cache_path)
    guide.write(cache, checkpoint.load(tmp_path / "align"), "own", device="cpu")
    model = checkpoint.load(tmp_path / "align").model
    assert stored.Blocks(cache, model.convention, channels=3, centres=model.encoder.centres).ordered
    train(config_of("distill", "guide=own"), [cache_path], tmp_path / "distill", guide_run=tmp_path / "align", device="cpu")
    assert {"local", "global", "loss"} <= log.records(tmp_path / "distill")[-1].keys()
    body, rows = Body.of(checkpoint.load(tmp_path / "distill").model, "mean_max"), np.arange(4)
    shapes = Shapes(cache=cache, split="train", rows=rows, labels=rows, classes=())
    assert body.blocks(shapes).ordered and extract(body, shapes, block=0).shape == (4, 2 * 96)


def test_its_own_pre_training_learns(cache_path, tmp_path):
    config = config_of("distill", "optim.epochs=15", "optim.lr=0.005", "encoder.widths=24,48,96", recipe="point-m2ae")
    train(config, [cache_path], tmp_path / "run", device="cpu")
    losses = [record["loss"] for record in log.records(tmp_path / "run")]
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


def test_every_parameter_of_its_own_pre_training_is_trained(generator, points, mask):
    stage = Distill(catalog.build("pointm2ae-tiny", counts=COUNTS, sizes=SIZES), DistillOptions(**RECONSTRUCT))
    stage(batch_of(points), draw_of(mask))["loss"].backward()
    cancelled = ("embed.lift.bias", "embed.widen.bias", "embed.local.bias", "fuse.0.bias", "extract.0.bias", "extract.3.bias")
    missed = [name for name, p in stage.named_parameters() if p.grad is None or not p.grad.any()]
    assert [name for name in missed if not name.endswith(cancelled)] == []


def test_its_own_pre_training_runs_in_bf16(generator, points, mask):
    """Not compiled: its encoder is compiled in bfloat16 in the tests of all encoders, and all of it in float32 in the next test."""
    stage = Distill(catalog.build("pointm2ae-tiny", counts=COUNTS, sizes=SIZES, depths=(1, 1, 1)), DistillOptions(**RECONSTRUCT))
    with torch.autocast("cpu", torch.bfloat16):
        loss = stage(batch_of(points), draw_of(mask))["loss"]
    loss.backward()
    exact = stage(batch_of(points), draw_of(mask))["loss"]
    assert loss != exact and torch.isclose(loss, exact, rtol=0.1)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in stage.parameters())


def test_compiled_its_batch_norms_count_what_they_count_otherwise(generator, points, mask):
    """A compiled graph has the same number of slots for every batch: those that hold no group must not count."""
    torch.compiler.reset()
    sizes = {"counts": COUNTS, "sizes": SIZES, "depths": (1, 1, 1)}
    plain = Distill(catalog.build("pointm2ae-tiny", **sizes), DistillOptions(drop_path=0.0, **RECONSTRUCT))
    other = copy.deepcopy(plain)
    compiled = torch.compile(other, backend="eager", fullgraph=True)
    for step in range(2):
        batch, draw = batch_of(points.roll(step, 0)), draw_of(mask)
        losses = [stage(batch, draw)["loss"] for stage in (plain, compiled)]
        torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-6)
        for loss in losses:
            loss.backward()
    for own, theirs in zip(plain.parameters(), other.parameters(), strict=True):  # those that a batch norm takes out again are near 0
        torch.testing.assert_close(own.grad, theirs.grad, rtol=1e-3, atol=2e-4)
    moving = dict(other.named_buffers())
    assert any(name.endswith("running_var") for name in moving)
    for name, own in plain.named_buffers():
        torch.testing.assert_close(own, moving[name], rtol=1e-4, atol=1e-6)
