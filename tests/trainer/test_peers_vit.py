"""ACT, ReCon and ULIP: what is imported computes what the published models do.

Each of these is written here once more, plainly, with the authors' parameter names, and on top of the plain Point-MAE of `test_encoders`.
"""

import argparse

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cache_schema import store
from tests.trainer.conftest import write_small
from tests.trainer.test_cli import command  # noqa: F401
from tests.trainer.test_encoders import Attention, Blocks, Embed, close, positions, untrivial
from trainer import checkpoint, ops
from trainer.align import Teacher
from trainer.encoders import catalog
from trainer.published.exporting import export_encoder
from trainer.published.importing import import_checkpoint
from trainer.published.peers import ULIP_HEADS
from trainer.recipes import configured
from trainer.stage import Facts, build
from trainer.tasks import catalog as tasks
from trainer.tasks import zeroshot
from trainer.tasks.shapes import of_split

GROUPS, SIZE, DIM, DEPTH, HEADS = 16, 8, 24, 2, 3
SIZES = [
    f"encoder.{name}={value}"
    for name, value in (("groups", GROUPS), ("group_size", SIZE), ("dim", DIM), ("depth", DEPTH), ("heads", HEADS))
]
DISTILL = [*SIZES, "distill.heads=3"]


class ClassToken(nn.Module):
    """ACT's encoder, a fine-tuned Point-MAE; with `reduce` and colours ULIP's."""

    extra = ("cls",)

    def __init__(self, channels: int = 3, reduce: int = 0) -> None:
        super().__init__()
        self.encoder = Embed(reduce or DIM, channels)
        self.reduce_dim = nn.Linear(reduce, DIM) if reduce else nn.Identity()
        for name in self.extra:
            setattr(self, f"{name}_token", nn.Parameter(torch.randn(1, 1, DIM)))
            setattr(self, f"{name}_pos", nn.Parameter(torch.randn(1, 1, DIM)))
        self.pos_embed = positions(DIM)
        self.blocks = Blocks(DIM, DEPTH, HEADS)
        self.norm = nn.LayerNorm(DIM)

    def forward(self, points: Tensor) -> Tensor:
        """Points [B, P, C] to tokens [B, extra + G, D]."""
        xyz, count = points[..., :3], len(points)
        centres = ops.gather(xyz, ops.farthest_points(xyz, GROUPS))
        near = torch.cdist(centres.double(), xyz.double()).argsort(-1)[..., :SIZE]
        groups = points[torch.arange(count).view(-1, 1, 1), near]
        groups = torch.cat([groups[..., :3] - centres.unsqueeze(2), groups[..., 3:]], -1)
        tokens = [getattr(self, f"{name}_token").expand(count, -1, -1) for name in self.extra]
        places = [getattr(self, f"{name}_pos").expand(count, -1, -1) for name in self.extra]
        x = torch.cat([*tokens, self.reduce_dim(self.encoder(groups))], 1)
        return self.norm(self.blocks(x, torch.cat([*places, self.pos_embed(centres)], 1)))

    def feature(self, points: Tensor) -> Tensor:
        """What the published heads read, [B, (extra + 1) D]."""
        tokens = self(points)
        return torch.cat([*tokens[:, : len(self.extra)].unbind(1), tokens[:, len(self.extra) :].max(1).values], -1)


class CrossAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.kv, self.proj = nn.Linear(DIM, DIM, bias=False), nn.Linear(DIM, 2 * DIM, bias=False), nn.Linear(DIM, DIM)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        b, n, m, width = len(x), x.shape[1], y.shape[1], DIM // HEADS
        q = self.q(x).reshape(b, n, HEADS, width).transpose(1, 2)
        k, v = self.kv(y).reshape(b, m, 2, HEADS, width).permute(2, 0, 3, 1, 4)
        return self.proj(((q @ k.transpose(-2, -1) * width**-0.5).softmax(-1) @ v).transpose(1, 2).reshape(b, n, DIM))


class ReConBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for branch, attention in (("", Attention(DIM, HEADS)), ("_contrast", CrossAttention())):
            setattr(self, f"norm1{branch}", nn.LayerNorm(DIM))
            setattr(self, f"norm2{branch}", nn.LayerNorm(DIM))
            setattr(self, f"attn{branch}", attention)
            setattr(self, f"mlp{branch}", nn.ModuleDict({"fc1": nn.Linear(DIM, 4 * DIM), "fc2": nn.Linear(4 * DIM, DIM)}))

    def forward(self, x: Tensor) -> Tensor:
        queries, patches = x[:, :3], x[:, 3:]
        queries, patches = self.norm1_contrast(queries), self.norm1(patches)
        queries, patches = queries + self.attn_contrast(queries, patches), patches + self.attn(patches)
        queries, patches = self.norm2_contrast(queries), self.norm2(patches)
        queries = queries + self.mlp_contrast["fc2"](F.gelu(self.mlp_contrast["fc1"](queries)))
        patches = patches + self.mlp["fc2"](F.gelu(self.mlp["fc1"](patches)))
        return torch.cat([queries, patches], 1)


class ReCon(ClassToken):
    extra = ("cls", "img", "text")

    def __init__(self) -> None:
        super().__init__()
        self.blocks.blocks = nn.ModuleList([ReConBlock() for _ in range(DEPTH)])


class ULIP(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.point_encoder = ClassToken(channels, reduce=256)
        self.pc_projection = nn.Parameter(torch.randn(2 * DIM, 32))
        self.logit_scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, points: Tensor) -> Tensor:
        embedding = self.point_encoder.feature(points) @ self.pc_projection
        return embedding / embedding.norm(dim=-1, keepdim=True)


def peer(kind, *sizes):
    torch.manual_seed(2)
    model = kind(*sizes)
    untrivial(model)
    return model.eval().requires_grad_(False)


def under(prefix, state):
    return {prefix + name: value for name, value in state.items()}


@pytest.fixture
def points():
    return torch.cat([torch.randn(3, 64, 3), torch.rand(3, 64, 3)], -1)


@pytest.fixture
def imported(tmp_path):
    """Save weights, then import them: the report and the model of the run."""

    def call(architecture, weights, sizes, run="run", **options):
        torch.save(weights, tmp_path / "peer.pth")
        report = import_checkpoint(tmp_path / "peer.pth", architecture, tmp_path / run, [*sizes, "points.count=64"], **options)
        return report, checkpoint.load(tmp_path / run)

    return call


# ------------------------------------------------------------------------------------------------------------ a class token

ACT_ELSE = {
    "proj_head.weight": torch.ones(2, 2),
    "mask_token": torch.ones(1, 1, DIM),
    "ACT_decoder.blocks.0.norm1.bias": torch.ones(DIM),
    "decoder_pos_embed.0.bias": torch.ones(DIM),
    "dvae_tokenizer.encoder.first_conv.0.weight": torch.ones(2),
    "ACT_encoder.lm_head.weight": torch.ones(2),
    "ACT_encoder.cls_head.0.weight": torch.ones(2),
}


@pytest.mark.parametrize(
    ("architecture", "prefix", "others"),
    [
        ("act", "ACT_encoder.", ACT_ELSE),
        ("act", "", {"cls_head_finetune.0.weight": torch.ones(2)}),
        ("point-mae", "", {"cls_head_finetune.0.weight": torch.ones(2)}),
    ],
)
def test_patches_attend_to_the_class_token(imported, points, tmp_path, architecture, prefix, others):
    model, points = peer(ClassToken), points[..., :3]
    weights = under(prefix, model.state_dict())
    report, loaded = imported(architecture, {"base_model": under("module.", weights | others)}, DISTILL)
    assert {tensor.name for tensor in report.dropped} == set(others) and {tensor.name for tensor in report.taken} == set(weights)
    assert all(tensor.name.startswith("summary.") for tensor in report.missing) and loaded.model.reconstruction is None
    assert loaded.model.encoder.dim == DIM
    assert close(loaded.model.features(points, ordered=False).tokens, model(points)[:, 1:])

    _, joined = imported(architecture, weights, [*DISTILL, "encoder.class_token=joined"], "joined")
    tokens = joined.model.features(points, ordered=False).tokens
    assert tokens.shape[2] == joined.model.encoder.dim == 2 * DIM
    assert close(tokens.amax(1), model.feature(points))

    export_encoder(tmp_path / "run", tmp_path / "encoder.safetensors")
    back = safetensors.torch.load_file(tmp_path / "encoder.safetensors")
    assert back.keys() == under("MAE_encoder.", model.state_dict()).keys()
    assert all(torch.equal(back[f"MAE_encoder.{name}"], value) for name, value in model.state_dict().items())


def test_a_class_token_learns(points):
    encoder = catalog.build("pointmae-tiny", class_token="attended").train()
    tokens = encoder(encoder.patchify(points[..., :3], ordered=False), torch.arange(5).expand(3, -1)).tokens
    assert tokens.shape == (3, 5, encoder.config.dim)
    (tokens * torch.linspace(-1, 1, encoder.dim)).square().sum().backward()
    assert all(parameter.grad.any() for parameter in encoder.learnt_tokens.parameters())


# -------------------------------------------------------------------------------------------------------------------- ReCon

RECON_ELSE = {
    "mask_token": torch.ones(1, 1, DIM),
    "decoder_pos_embed.0.bias": torch.ones(DIM),
    "MAE_decoder.blocks.0.norm1.bias": torch.ones(DIM),
    "increase_dim.0.bias": torch.ones(96),
    "img_encoder.blocks.0.norm1.bias": torch.ones(8),
    "text_encoder.token_embedding.weight": torch.ones(8, 8),
    "img_proj.weight": torch.ones(8, DIM),
    "text_proj.bias": torch.ones(8),
    "cls_proj.0.weight": torch.ones(8, DIM),
}


@pytest.mark.parametrize(("prefix", "others"), [("MAE_encoder.", RECON_ELSE), ("", {"cls_head_finetune.0.weight": torch.ones(2)})])
def test_recon(imported, points, tmp_path, prefix, others):
    model, points = peer(ReCon), points[..., :3]
    weights = under(prefix, model.state_dict())
    report, loaded = imported("recon", {"base_model": under("module.", weights | others)}, DISTILL)
    assert {tensor.name for tensor in report.dropped} == set(others) and {tensor.name for tensor in report.taken} == set(weights)
    assert all(tensor.name.startswith("summary.") for tensor in report.missing)
    tokens = loaded.model.features(points, ordered=False).tokens
    assert tokens.shape == (3, GROUPS, 4 * DIM) and loaded.model.encoder.dim == 4 * DIM
    assert close(tokens[..., 3 * DIM :], model(points)[:, 3:])
    assert close(tokens.amax(1), model.feature(points))

    export_encoder(tmp_path / "run", tmp_path / "encoder.safetensors")
    back = safetensors.torch.load_file(tmp_path / "encoder.safetensors")
    assert all(torch.equal(back.pop(f"MAE_encoder.{name}"), value) for name, value in model.state_dict().items()) and not back


def test_recon_has_its_tokens():
    for setting in ("none", "attended"):
        with pytest.raises(ValueError, match=f"class_token of ReCon must be joined, got {setting}"):
            catalog.build("recon-tiny", class_token=setting)


# ------------------------------------------------------------------------------------------------------------ ULIP and ULIP-2


def ulip_file(model):
    """As the authors save one, with a frozen tower, on several GPUs."""
    towers = (
        {"open_clip_model.visual.proj": torch.ones(3)}
        if model.point_encoder.encoder.first_conv[0].in_channels == 6
        else {
            "visual.cls_token": torch.ones(3),
            "transformer.resblocks.0.ln_1.weight": torch.ones(3),
            "token_embedding.weight": torch.ones(3, 3),
            "positional_embedding": torch.ones(3, 3),
            "ln_final.bias": torch.ones(3),
            "image_projection": torch.ones(3, 3),
            "text_projection": torch.ones(3, 3),
        }
    )
    settings = argparse.Namespace(model="ULIP", betas=(0.9, 0.98))
    return {"epoch": "last", "state_dict": under("module.", model.state_dict() | towers), "args": settings}, set(towers)


@pytest.mark.parametrize(("architecture", "channels"), [("ulip", 3), ("ulip-2", 6)])
def test_ulip(imported, points, tmp_path, cache_path, architecture, channels):
    model, points = peer(ULIP, channels), points[..., :channels]
    file, towers = ulip_file(model)
    report, loaded = imported(architecture, file, SIZES, teacher="random-a")
    assert {tensor.name for tensor in report.dropped} == towers and not report.missing
    assert {tensor.name for tensor in report.taken} == set(model.state_dict())
    stage = loaded.model
    assert {name for tensor in report.taken for name in tensor.ours} == set(stage.state_dict())
    summary = stage.features(points, ordered=False).summary
    assert close(summary, model.point_encoder.feature(points))
    embedded = stage.teachers.embed(summary)
    assert embedded.keys() == {"image/random-a", "text/random-a"}
    assert all(close(embedding, model(points)) for embedding in embedded.values())
    assert all(value == model.logit_scale for name, value in stage.state_dict().items() if name.endswith("log_scale"))

    cache = store.open_cache(cache_path)
    shapes = of_split(cache, None)
    nearest = [
        (model(shapes.points(range(len(shapes)), block, channels)) @ zeroshot.class_embeddings(cache, "source", "random-a").T).argmax(1)
        for block in range(2)
    ]
    expected = [100 * (found == torch.from_numpy(shapes.labels)).float().mean().item() for found in nearest]
    result = tasks.evaluate("zeroshot", loaded, cache, zeroshot.Options())
    assert result.scores.metrics[0].values == pytest.approx(expected)

    export_encoder(tmp_path / "run", tmp_path / "encoder.safetensors")
    back = safetensors.torch.load_file(tmp_path / "encoder.safetensors")
    assert back.keys() == model.state_dict().keys() and all(torch.equal(back[n], value) for n, value in model.state_dict().items())
    import_checkpoint(tmp_path / "encoder.safetensors", architecture, tmp_path / "again", [*SIZES, "points.count=64"], teacher="random-a")
    again = checkpoint.load(tmp_path / "again").model.state_dict()
    assert all(torch.equal(again[name], value) for name, value in stage.state_dict().items())


def test_another_run_of_its_encoder_has_no_projection_to_export(tmp_path):
    config = configured("ulip2-like", "align", ["encoder.name=pointbert-tiny", *ULIP_HEADS])
    facts = Facts(teachers=(Teacher(name="clip", dim=8, text=True, objective="contrast"),))
    header = checkpoint.Header(config=config, facts=facts, caches=(), step=9, steps=9)
    (tmp_path / "run").mkdir()
    checkpoint.save(tmp_path / "run", header, build(config, facts), {}, {})
    export_encoder(tmp_path / "run", tmp_path / "encoder.safetensors")
    assert all(name.startswith("point_encoder.") for name in safetensors.torch.load_file(tmp_path / "encoder.safetensors"))
    with pytest.raises(ValueError, match="has no pc_projection"):
        import_checkpoint(tmp_path / "encoder.safetensors", "ulip", tmp_path / "again", ["encoder.name=pointbert-tiny"], "clip")


def test_ulip_guides_and_answers_on_the_command_line(command, tmp_path):  # noqa: F811
    torch.save(ulip_file(peer(ULIP, 6))[0], tmp_path / "peer.pt")
    sizes = [f"--set={size}" for size in (*SIZES, "points.count=64")]
    code, _, err = command("import", tmp_path / "peer.pt", tmp_path / "run", "--as", "ulip-2", "--teacher", "random-a", *sizes)
    assert code == 0 and "Input of the published model: 10000 points" in err
    write_small(tmp_path / "small.zarr")
    code, out, _ = command("eval", "zeroshot", tmp_path / "run", tmp_path / "small.zarr", "--json")
    assert code == 0 and "random-a top-1" in out
    assert command("guide", tmp_path / "small.zarr", tmp_path / "run", "--name", "peer", "--blocks", "1", "--device", "cpu")[0] == 0
    assert store.open_cache(tmp_path / "small.zarr").array("guide/peer/tokens").shape[-2:] == (GROUPS, 2 * DIM)


def test_what_ulip_needs(imported):
    file, _ = ulip_file(peer(ULIP, 3))
    with pytest.raises(ValueError, match="ulip was aligned with is called in your caches: --teacher NAME"):
        imported("ulip", file, SIZES)
    with pytest.raises(ValueError, match="act was aligned with no teacher: leave out clip"):
        imported("act", {}, DISTILL, teacher="clip")
    with pytest.raises(ValueError, match=r"distill\.heads=3: an import of ulip only sets encoder\.\*, points\.\*$"):
        imported("ulip", file, [*SIZES, "distill.heads=3"], teacher="clip")
    with pytest.raises(ValueError, match=r"lift\.weight is \[128, 3\], expected \[128, 6\]"):
        imported("ulip-2", file, SIZES)
    del file["state_dict"]["module.pc_projection"]
    with pytest.raises(ValueError, match="has no pc_projection"):
        imported("ulip", file, SIZES, teacher="clip")


def test_published_sizes():
    """By the shapes of the authors' tensors."""
    ulip2 = catalog.build("pointbert-s", channels=6, depth=18)
    assert ulip2.dim == 768 and ulip2.groups == 512
    assert ulip2.state_dict()["embed.out.weight"].shape == (256, 512) and ulip2.state_dict()["reduce.weight"].shape == (384, 256)
    recon = sum(parameter.numel() for parameter in catalog.build("recon-s").parameters())
    assert round((recon + (1536 * 256 + 256 * 256 + 256 * 15)) / 1e6, 1) == 43.6  # with a head of 15 classes
