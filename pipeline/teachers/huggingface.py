"""Teachers loaded by transformers: CLIP, SigLIP and similar models that read text, and vision models such as DINOv2 that do not.

A model comes from a hub id (with a revision) or a local folder. The embeddings are the image and text features of a vision-language model,
or the pooled output of a vision model. For DINOv2 that is the class token after the last LayerNorm.

Patch features of CLIP are the values of its last attention, projected as the model projects the class token (MaskCLIP,
https://arxiv.org/abs/2112.01071). SigLIP pools by an attention of one query, whose values and MLP are applied to each token. Both lie in
the space of the texts. Patch features of vision models are their patch tokens after the last LayerNorm.
"""

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from cache_schema.errors import UserError
from cache_schema.spec import TeacherSpec, canonical
from pipeline import weights
from pipeline.teachers import patches
from pipeline.teachers.catalog import Precision, measure
from pipeline.teachers.patches import Framing, Grid
from pipeline.torchvision_ops import declare_missing

declare_missing()
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer  # noqa: E402 - imports torchvision

PACKAGES = ("transformers", "torchvision")
"""Packages, besides torch, whose versions are recorded with the embeddings."""

_PREPROCESS = (
    "do_convert_rgb",
    "do_resize",
    "size",
    "resample",
    "do_center_crop",
    "crop_size",
    "do_rescale",
    "rescale_factor",
    "do_normalize",
    "image_mean",
    "image_std",
)
"""Settings of an image processor that change its pixels. They are recorded as they are."""
_RARE = ("crop_pct", "do_flip_channel_order", "do_pad", "pad_size", "rescale_offset")
"""Settings that change its pixels, too, and that few processors have. They are recorded unless they say no: so the descriptions of usual
teachers, and their fingerprints, are those of earlier versions."""


class HuggingFace:
    """A model with `get_image_features` and `get_text_features`, or with a `pooler_output`. See `catalog.Teacher`."""

    spec: TeacherSpec
    notes: tuple[str, ...] = ()

    def __init__(self, model: Any, processor: Any, tokenizer: Any, device: torch.device, dtype: torch.dtype) -> None:
        self.model, self.processor, self.tokenizer = model.eval(), processor, tokenizer
        self.device, self.dtype = device, dtype
        self.image = getattr(model, "get_image_features", model)
        self.lock = threading.Lock()  # two threads must not use a tokenizer at once

    def preprocess(self, image: np.ndarray) -> torch.Tensor:
        pixels: torch.Tensor = self.processor(image, return_tensors="pt", input_data_format="channels_last")["pixel_values"][0]  # [3, S, S]
        return pixels

    @torch.inference_mode()
    def embed_images(self, pixels: torch.Tensor) -> torch.Tensor:
        return self._pooled(self.image(pixel_values=pixels.to(self.device, self.dtype)))

    @property
    def patch_method(self) -> str:
        return self._patches()[0]

    @torch.inference_mode()
    def embed_patches(self, pixels: torch.Tensor) -> torch.Tensor:
        return patches.squared(self._patches()[1](self.model, pixels.to(self.device, self.dtype)), self.spec.name)

    def patch_grid(self, size: int) -> Grid:
        s = self.spec.image_size
        framing = patches.checked(_framing(self.processor.to_dict(), size, s, self.spec.name), self, size, self.spec.name)
        blank = torch.zeros(1, 3, s, s)
        return patches.grid(framing, patches.lattice(self.model, lambda: self.embed_patches(blank), s, self.spec.name), s, size)

    def _patches(self) -> "tuple[str, Compute]":
        kind = self.model.config.model_type
        if kind not in _PATCHES:
            raise patches.unknown(self.spec.name, f"the kind of model that transformers calls {kind!r}")
        return _PATCHES[kind]

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        if self.tokenizer is None:
            raise UserError(f"teacher {self.spec.name} ({self.spec.model}) has no text side")
        length = self._length
        # SigLIP was trained on texts padded to full length, with the padding attended to; anything else shifts its embeddings.
        siglip = self.model.config.model_type == "siglip"
        padding = "max_length" if siglip else True
        with self.lock:
            inputs = self.tokenizer(list(texts), padding=padding, max_length=length, truncation=True, return_tensors="pt").to(self.device)
        if siglip:
            inputs.pop("attention_mask", None)
        return self._pooled(self.model.get_text_features(**inputs))

    @property
    def _length(self) -> int:
        """Number of tokens that are read of a text."""
        return int(min(self.tokenizer.model_max_length, self.model.config.text_config.max_position_embeddings))

    def too_long(self, texts: Sequence[str]) -> list[bool]:
        with self.lock:
            return [len(tokens) > self._length for tokens in self.tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]]

    def _pooled(self, output: Any) -> torch.Tensor:
        pooled = getattr(output, "pooler_output", None)
        if pooled is None:
            raise UserError(f"{type(self.model).__name__} gives no pooled features, so there is nothing to cache")
        features: torch.Tensor = pooled.float().cpu()  # [B, E], or [B, E, 1, 1] of a convolutional network
        return features.flatten(1) if features.shape[2:] == (1, 1) else features


def needs(model: str, revision: str) -> list[weights.Need]:
    """Tell what files of the hub a model needs. `model` and `revision` are those of `load`."""
    return [weights.Need(model=model, revision=revision)]


def load(model: str, *, name: str, revision: str, device: torch.device | str, precision: Precision) -> HuggingFace:
    """Load a hub id or a local folder.

    Raises:
        UserError: weights or settings are neither local nor can be downloaded, are incomplete, or the model gives no pooled features.
    """
    device, dtype = torch.device(device), getattr(torch, precision)
    folder, commit = weights.folder(model, revision)
    loaded, processor, tokenizer = _load(folder, model, dtype)
    teacher = HuggingFace(loaded.to(device), processor, tokenizer, device, dtype)
    if tokenizer is None and hasattr(loaded, "get_text_features"):
        teacher.notes = (weights.no_tokenizer(model),)
    image_size, dim = measure(teacher)
    teacher.spec = TeacherSpec(
        name=name,
        backend="transformers",
        model=weights.public(model),
        revision=commit,
        weights=weights.digest(loaded.state_dict()),
        preprocess=f"{type(processor).__name__} {canonical(_settings(processor)).decode()}",
        dim=dim,
        text=tokenizer is not None,
        image_size=image_size,
        precision=precision,
        licence=weights.licence(model, folder),
    )
    return teacher


def _settings(processor: Any) -> dict[str, Any]:
    """Return the settings of an image processor on which its pixels depend."""
    named = json.loads(processor.to_json_string())
    usual = {key: named[key] for key in _PREPROCESS if named.get(key) is not None}
    return usual | {key: named[key] for key in _RARE if named.get(key)}


def _load(folder: Path, model: str, dtype: torch.dtype) -> tuple[Any, Any, Any]:
    """Model, image processor, and the tokenizer where there is a text side."""
    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        with weights.without_progress_bars():
            loaded, report = AutoModel.from_pretrained(folder, dtype=dtype, output_loading_info=True, **local)
        processor = AutoImageProcessor.from_pretrained(folder, **local)
        reads = hasattr(loaded, "get_text_features") and (not weights.is_path(model) or weights.has_tokenizer(folder))
        tokenizer = AutoTokenizer.from_pretrained(folder, **local) if reads else None
    except ImportError as error:  # some tokenizers need another package
        raise UserError(f"{model} needs a package that is not installed: {str(error).strip().partition('. ')[0]}") from error
    except (OSError, RuntimeError, SafetensorError) as error:
        raise UserError(f"transformers cannot load {model} from {folder}: {error}") from error
    if report["missing_keys"]:
        # transformers only warns, and fills missing weights with random numbers.
        raise UserError(f"{model}: the checkpoint lacks {', '.join(sorted(report['missing_keys']))}")
    return loaded, processor, tokenizer


# ------------------------------------------------------------------------------------------------------ patch features

Compute = Callable[[Any, torch.Tensor], torch.Tensor]
"""Computes the patch features [B, h x h, E] of a model, from pre-processed pictures [B, 3, S, S]."""


def _clip_values(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    vision = model.vision_model
    layer = vision.encoder.layers[-1]
    with patches.entering(layer) as calls:
        vision(pixel_values=pixels)
    tokens = calls[0][0]  # [B, N + 1, D]
    attention = layer.self_attn
    out: torch.Tensor = model.visual_projection(vision.post_layernorm(attention.out_proj(attention.v_proj(layer.layer_norm1(tokens)))))
    return out[:, 1:]


def _siglip_head(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    vision = model.vision_model
    tokens = vision(pixel_values=pixels).last_hidden_state  # [B, N, D]
    out: torch.Tensor = vision.head(tokens.flatten(0, 1)[:, None]).unflatten(0, tokens.shape[:2])  # attention over one token: its value
    return out


def _last_tokens(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    tokens: torch.Tensor = model(pixel_values=pixels).last_hidden_state  # [B, 1 + registers + N, D]
    before: int = 1 + (getattr(model.config, "num_register_tokens", 0) or 0)
    return tokens[:, before:]


_PATCHES: dict[str, tuple[str, Compute]] = {
    "clip": ("values of the last attention, output projection, last norm, projection", _clip_values),
    "siglip": ("head at each token of the last layer", _siglip_head),
    **dict.fromkeys(("dinov2", "dinov2_with_registers", "dinov3_vit", "vit"), ("tokens of the last layer", _last_tokens)),
}
"""What the patch features are in words, and the function that computes them, by the `model_type` of transformers."""


def _framing(settings: dict[str, Any], size: int, image_size: int, name: str) -> Framing:
    """How an image processor of these settings resizes and crops a square picture of `size` pixels.

    Raises:
        UserError: the settings have another form.
    """
    side = size
    if settings.get("do_resize"):
        asked = {key: value for key, value in (settings.get("size") or {}).items() if value is not None}
        if set(asked) == {"shortest_edge"} or (set(asked) == {"height", "width"} and asked["height"] == asked["width"]):
            side = next(iter(asked.values()))
        else:
            raise UserError(f"teacher {name}: pictures are resized to {asked}, and nobody here knows what that does to a square picture")
    # The crop begins at half of the difference, rounded down; a smaller picture is padded on both sides.
    offset = (side - image_size) // 2 if settings.get("do_center_crop") and side >= image_size else -((image_size - side) // 2)
    return Framing(scale=side / size, offset=float(offset))
