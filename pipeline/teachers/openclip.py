"""Teachers loaded by open_clip: any architecture and pretrained tag that it knows, or a local folder that it saved.

A local folder holds `open_clip_config.json`, a file of weights and, if the text model needs one, a Hugging Face tokenizer.

Patch features lie in the space of the texts. They are what the model's last attention would return if each place attended to itself alone:
its values, projected as the model projects the attention's output (MaskCLIP, https://arxiv.org/abs/2112.01071). The residual and the MLP
around that attention are left out (ClearCLIP, https://arxiv.org/abs/2407.12442). A network that ends with an average gets its head applied
at each place instead.
"""

import dataclasses
import functools
import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError

from cache_schema.errors import UserError
from cache_schema.spec import TeacherSpec, canonical, did_you_mean
from pipeline import weights
from pipeline.teachers import patches
from pipeline.teachers.catalog import Precision, measure
from pipeline.teachers.patches import Framing, Grid
from pipeline.torchvision_ops import declare_missing

declare_missing()
import open_clip  # noqa: E402 - imports torchvision
from open_clip.modified_resnet import ModifiedResNet  # noqa: E402
from open_clip.timm_model import TimmModel  # noqa: E402
from open_clip.transform import PreprocessCfg, image_transform_v2  # noqa: E402
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer  # noqa: E402
from timm.models import eva, vision_transformer  # noqa: E402

PACKAGES = ("open_clip_torch", "timm", "torchvision", "pillow")
"""Packages, besides torch, whose versions are recorded with the embeddings."""

_PRECISIONS = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
_CHECKPOINT = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
"""Weight files of a hub repository of open_clip's, in open_clip's own order of preference."""


class Preparation:
    """Prepares pictures as open_clip does. Teachers with the same settings have one and the same object."""

    def __init__(self, settings: PreprocessCfg) -> None:
        self._transform = image_transform_v2(settings, is_train=False)

    def __call__(self, image: np.ndarray) -> torch.Tensor:
        """[H, W, 3] uint8 -> [3, S, S] float32"""
        pixels: torch.Tensor = self._transform(Image.fromarray(image))
        return pixels

    @classmethod
    def of(cls, settings: PreprocessCfg) -> "Preparation":
        """Return the preparation with these settings. open_clip takes the side of a square picture, and both sides, for the same."""
        sides = (settings.size,) * 2 if isinstance(settings.size, int) else settings.size
        return _preparation(canonical(dataclasses.asdict(settings) | {"size": sides}))


@functools.cache
def _preparation(settings: bytes) -> Preparation:
    """Make a preparation from nothing but its key, so two with the same key are the same."""
    return Preparation(PreprocessCfg(**json.loads(settings)))


class OpenClip:
    """A CLIP-like model with both sides. See `catalog.Teacher`."""

    spec: TeacherSpec
    notes: tuple[str, ...] = ()

    def __init__(self, model: Any, tokenize: Callable[..., torch.Tensor] | None, device: torch.device, dtype: torch.dtype) -> None:
        self.model = model.eval()
        self.tokenize = tokenize
        self.lock = threading.Lock()  # two threads must not use a tokenizer at once
        self.preprocess = Preparation.of(PreprocessCfg(**model.visual.preprocess_cfg))
        self.device, self.dtype = device, dtype

    @torch.inference_mode()
    def embed_images(self, pixels: torch.Tensor) -> torch.Tensor:
        embedded: torch.Tensor = self.model.encode_image(pixels.to(self.device, self.dtype)).float().cpu()  # [B, E]
        return embedded

    @property
    def patch_method(self) -> str:
        return patches.told(_patches_of(self.model.visual, self.spec.name)[0], self.model.visual)

    @torch.inference_mode()
    def embed_patches(self, pixels: torch.Tensor) -> torch.Tensor:
        compute = _patches_of(self.model.visual, self.spec.name)[1]
        return patches.squared(compute(self.model.visual, pixels.to(self.device, self.dtype)), self.spec.name)

    def patch_grid(self, size: int) -> Grid:
        # On a square picture all three modes of resizing do the same: the whole picture becomes S x S.
        framing = patches.checked(Framing(scale=self.spec.image_size / size), self, size, self.spec.name)
        blank = torch.zeros(1, 3, self.spec.image_size, self.spec.image_size)
        lattice = patches.lattice(self.model.visual, lambda: self.embed_patches(blank), self.spec.image_size, self.spec.name)
        return patches.grid(framing, lattice, self.spec.image_size, size)

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        if self.tokenize is None:
            raise UserError(f"teacher {self.spec.name} ({self.spec.model}) has no text side")
        with self.lock:
            tokens = self.tokenize(list(texts)).to(self.device)
        embedded: torch.Tensor = self.model.encode_text(tokens).float().cpu()  # [B, E]
        return embedded

    def too_long(self, texts: Sequence[str]) -> list[bool]:
        assert self.tokenize is not None
        with self.lock:
            read = self.tokenize(["", *texts])
            wider = self.tokenize(["", *texts], context_length=read.shape[1] + 1)
        # With room for one token more, a text that fits stays as it is, and the new place is padding, as that of no text is. The end of
        # a text that is cut moves on; it is not told from padding where both are one token, as in SigLIP's tokenizer.
        moved = (wider[:, :-1] != read).any(dim=1) | (wider[:, -1] != wider[0, -1])
        longer: list[bool] = moved[1:].tolist()
        return longer


def needs(model: str, revision: str) -> list[weights.Need]:
    """Tell what files of the hub `ARCHITECTURE/TAG` needs: the weights, and a tokenizer where open_clip has none for it.

    Raises:
        UserError: unknown architecture or tag.
    """
    architecture, tag = _architecture(model)
    repo, names = _repository(architecture, tag)
    remote = open_clip.get_model_config(architecture)["text_cfg"].get("hf_tokenizer_name")
    return [
        weights.Need(model=repo, revision=revision, files=(), weights=names),
        *([weights.Need(model=remote, weights=())] if remote else []),
    ]


def load(model: str, *, name: str, revision: str, device: torch.device | str, precision: Precision) -> OpenClip:
    """Load `ARCHITECTURE/TAG` or a local folder.

    Raises:
        UserError: unknown architecture or tag, or weights or tokenizer that are neither local nor can be downloaded.
    """
    device = torch.device(device)
    if weights.is_local(model):
        folder, commit = weights.folder(model, revision)
        reference, options = f"local-dir:{folder}", {}
    else:
        reference, tag = _architecture(model)
        path, commit = _checkpoint(reference, tag, revision)
        folder = Path(path).parent
        # Loaded by path, so that the revision can be pinned; the tag's own normalisation and resizing then have to be named.
        options = {"pretrained": path, "force_preprocess_cfg": open_clip.get_pretrained_cfg(reference, tag)}
    try:
        loaded = open_clip.create_model(reference, precision=_PRECISIONS[precision], device=device, require_pretrained=True, **options)
        remote = open_clip.get_model_config(reference)["text_cfg"].get("hf_tokenizer_name")
        lacking = weights.is_path(model) and remote and not weights.has_tokenizer(folder)
        tokenize = None if lacking else _tokenizer(reference, remote)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise UserError(f"open_clip cannot load {model}: {error}") from error
    teacher = OpenClip(loaded, tokenize, device, getattr(torch, precision))
    if tokenize is None:
        teacher.notes = (weights.no_tokenizer(model),)
    image_size, dim = measure(teacher)
    teacher.spec = TeacherSpec(
        name=name,
        backend="open_clip",
        model=weights.public(model),
        revision=commit,
        weights=weights.digest(loaded.state_dict()),
        preprocess=f"open_clip {canonical(loaded.visual.preprocess_cfg).decode()}",
        dim=dim,
        text=tokenize is not None,
        image_size=image_size,
        precision=precision,
        licence=weights.licence(model, folder),
    )
    return teacher


def _architecture(model: str) -> tuple[str, str]:
    """`ARCHITECTURE/TAG` in two, checked."""
    architecture, _, tag = model.rpartition("/")
    if architecture not in open_clip.list_models():
        raise UserError(
            f"open_clip has no architecture {architecture!r} (expected ARCHITECTURE/TAG or a folder that starts with /, ./ or ~, "
            f"got {model!r}){did_you_mean(architecture, open_clip.list_models())}"
        )
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if tag not in tags:
        raise UserError(f"open_clip has no weights {tag!r} of {architecture}{did_you_mean(tag, tags)}")
    quick = f"{architecture}-quickgelu"
    if open_clip.get_pretrained_cfg(architecture, tag).get("quick_gelu") and quick in open_clip.list_models():
        # open_clip only warns, and the embeddings come out wrong.
        raise UserError(f"{model} was trained with another activation: use {quick}/{tag}")
    return architecture, tag


def _checkpoint(architecture: str, tag: str, revision: str) -> tuple[str, str]:
    """The weights file of a tag, and its commit."""
    repo, names = _repository(architecture, tag)
    folder, commit = weights.folder(repo, revision, files=(), weights=names)
    return str(next(folder / n for n in names if (folder / n).is_file())), commit


def _repository(architecture: str, tag: str) -> tuple[str, tuple[str, ...]]:
    """The hub id of a tag, and the names of its weight files in order of preference."""
    repo, _, file = open_clip.get_pretrained_cfg(architecture, tag)["hf_hub"].rpartition("/")
    return repo, (file.replace(".bin", ".safetensors"), file) if file else _CHECKPOINT


def _tokenizer(reference: str, remote: str | None) -> Callable[..., torch.Tensor]:
    """The tokenizer of an architecture or folder; most come with open_clip, some from the hub, where `remote` is their id."""
    if remote and not reference.startswith("local-dir:"):
        weights.folder(remote, "", weights=())
    found: Callable[..., torch.Tensor] = open_clip.get_tokenizer(reference, **({"local_files_only": True} if remote else {}))
    return found


# ------------------------------------------------------------------------------------------------------ patch features

Compute = Callable[[Any, torch.Tensor], torch.Tensor]
"""Computes the patch features [B, h x h, E] of an image network, from pre-processed pictures [B, 3, S, S]."""


def _patches_of(visual: Any, name: str) -> tuple[str, Compute]:
    """Tell what the patch features of an image network are, in words, and return the function that computes them.

    Raises:
        UserError: the architecture is not known.
    """
    if type(visual) is VisionTransformer:
        if visual.attn_pool is None and type(visual.transformer.resblocks[-1]) is ResidualAttentionBlock and visual.transformer.batch_first:
            return "values of the last attention, output projection, last norm, projection", _vit_values
        raise patches.unknown(name, "a ViT of open_clip with attention pooling or blocks of another form")
    if type(visual) is ModifiedResNet:
        return "values of the attention pooling, output projection", _resnet_values
    if type(visual) is TimmModel and "pool" not in dict(visual.head.named_children()):
        trunk = visual.trunk
        if type(trunk) in (vision_transformer.VisionTransformer, eva.Eva):
            if trunk.attn_pool is not None:
                return "head at each token of the last layer", _timm_pooled
            if type(trunk.blocks[-1]) in _VALUES:
                return "values of the last attention, output projection, last norm, head", _timm_values
        elif getattr(trunk, "output_fmt", "NCHW") == "NCHW":
            return "head at each place of the last map", _timm_places
    what = type(visual.trunk).__name__ if type(visual) is TimmModel else type(visual).__name__
    raise patches.unknown(name, f"open_clip's {what}")


def _vit_values(visual: Any, pixels: torch.Tensor) -> torch.Tensor:
    with patches.entering(visual.transformer.resblocks[-1]) as calls:
        visual(pixels)
    return last_values(visual, calls[0][0])


def last_values(visual: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Compute the patch features [B, N, E] of open_clip's ViT from the tokens that enter its last block [B, 1 + N, D]."""
    block, width = visual.transformer.resblocks[-1], visual.conv1.out_channels
    attention = block.attn
    values = torch.nn.functional.linear(block.ln_1(tokens), attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :])
    out: torch.Tensor = visual.ln_post(block.ls_1(attention.out_proj(values)))[:, 1:] @ visual.proj
    return out


def _resnet_values(visual: Any, pixels: torch.Tensor) -> torch.Tensor:
    pool = visual.attnpool
    with patches.entering(pool) as calls:
        visual(pixels)
    places = calls[0][0].flatten(2).transpose(1, 2)  # [B, N, C]
    out: torch.Tensor = pool.c_proj(pool.v_proj(places + pool.positional_embedding[1:].to(places.dtype)))
    return out


def _timm_places(visual: Any, pixels: torch.Tensor) -> torch.Tensor:
    maps = visual.trunk.forward_features(pixels)  # [B, C, h, h]
    if maps.ndim != 4 or maps.shape[1] != visual.trunk.num_features:
        raise patches.unknown("of open_clip", f"timm's {type(visual.trunk).__name__}")
    places = maps.flatten(2).transpose(1, 2).flatten(0, 1)[..., None, None]  # [B h h, C, 1, 1]
    out: torch.Tensor = visual.head(visual.trunk.forward_head(places)).unflatten(0, (len(pixels), -1))
    return out


def _timm_pooled(visual: Any, pixels: torch.Tensor) -> torch.Tensor:
    trunk = visual.trunk
    return _timm_head(visual, trunk.forward_features(pixels)[:, trunk.num_prefix_tokens :])


def _timm_values(visual: Any, pixels: torch.Tensor) -> torch.Tensor:
    trunk = visual.trunk
    block = trunk.blocks[-1]
    with patches.entering(block) as calls:
        trunk.forward_features(pixels)
    tokens, named = calls[0]  # [B, N, D]
    rope = {"rope": named["rope"]} if named.get("rope") is not None else {}
    values = _VALUES[type(block)](block, tokens, {**rope, "attn_mask": patches.only_itself(tokens)})
    return _timm_head(visual, trunk.norm(values)[:, trunk.num_prefix_tokens :])


_VALUES: dict[type, Callable[[Any, torch.Tensor, dict[str, Any]], torch.Tensor]] = {
    vision_transformer.Block: lambda block, x, how: block.ls1(block.attn(block.norm1(x), **how)),
    eva.EvaBlock: lambda block, x, how: block.attn(block.norm1(x), **how) * (1 if block.gamma_1 is None else block.gamma_1),
    eva.EvaBlockPostNorm: lambda block, x, how: block.norm1(block.attn(x, **how)),
}
"""What the attention branch of a timm block gives to its tokens, by class of the block."""


def _timm_head(visual: Any, tokens: torch.Tensor) -> torch.Tensor:
    """The model's pooling and projection applied to each token [B, N, D] alone. [B, N, E]"""
    # Whatever the pooling takes - the first token, a mean, or attention over all - it gets copies of one token.
    alone = tokens.flatten(0, 1)[:, None].expand(-1, visual.trunk.num_prefix_tokens + 1, -1)
    out: torch.Tensor = visual.head(visual.trunk.forward_head(alone)).unflatten(0, tokens.shape[:2])
    return out
