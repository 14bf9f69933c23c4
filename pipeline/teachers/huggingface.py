"""Teachers loaded by transformers: CLIP, SigLIP and similar models that read text, and vision models such as DINOv2 that do not.

A model comes from a hub id (with a revision) or a local folder. The embeddings are the image and text features of a vision-language model,
or the pooled output of a vision model. For DINOv2 that is the class token after the last LayerNorm.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from cache_schema.errors import UserError
from cache_schema.spec import TeacherSpec, canonical
from pipeline import weights
from pipeline.teachers.catalog import Precision, measure
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
"""The settings of an image processor that change its pixels."""


class HuggingFace:
    """A model with `get_image_features` and `get_text_features`, or with a `pooler_output`. See `catalog.Teacher`."""

    spec: TeacherSpec

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

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        if self.tokenizer is None:
            raise UserError(f"teacher {self.spec.name} ({self.spec.model}) has no text side")
        length = min(self.tokenizer.model_max_length, self.model.config.text_config.max_position_embeddings)
        # SigLIP was trained on texts padded to full length, with the padding attended to; anything else shifts its embeddings.
        siglip = self.model.config.model_type == "siglip"
        padding = "max_length" if siglip else True
        with self.lock:
            inputs = self.tokenizer(list(texts), padding=padding, max_length=length, truncation=True, return_tensors="pt").to(self.device)
        if siglip:
            inputs.pop("attention_mask", None)
        return self._pooled(self.model.get_text_features(**inputs))

    def _pooled(self, output: Any) -> torch.Tensor:
        pooled = getattr(output, "pooler_output", None)
        if pooled is None:
            raise UserError(f"{type(self.model).__name__} gives no pooled features, so there is nothing to cache")
        features: torch.Tensor = pooled.float().cpu()  # [B, E]
        return features


def load(model: str, *, name: str, revision: str, device: torch.device | str, precision: Precision) -> HuggingFace:
    """Load a hub id or a local folder.

    Raises:
        UserError: weights or settings are neither local nor can be downloaded, are incomplete, or the model gives no pooled features.
    """
    device, dtype = torch.device(device), getattr(torch, precision)
    folder, commit = weights.folder(model, revision)
    loaded, processor, tokenizer = _load(folder, model, dtype)
    teacher = HuggingFace(loaded.to(device), processor, tokenizer, device, dtype)
    image_size, dim = measure(teacher)
    settings = {key: value for key in _PREPROCESS if (value := processor.to_dict().get(key)) is not None}
    teacher.spec = TeacherSpec(
        name=name,
        backend="transformers",
        model=weights.public(model),
        revision=commit,
        weights=weights.digest(loaded.state_dict()),
        preprocess=f"{type(processor).__name__} {canonical(settings).decode()}",
        dim=dim,
        text=tokenizer is not None,
        image_size=image_size,
        precision=precision,
    )
    return teacher


def _load(folder: Path, model: str, dtype: torch.dtype) -> tuple[Any, Any, Any]:
    """Model, image processor, and the tokenizer where there is a text side."""
    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        with weights.without_progress_bars():
            loaded, report = AutoModel.from_pretrained(folder, dtype=dtype, output_loading_info=True, **local)
        processor = AutoImageProcessor.from_pretrained(folder, **local)
        tokenizer = AutoTokenizer.from_pretrained(folder, **local) if hasattr(loaded, "get_text_features") else None
    except ImportError as error:  # some tokenizers need another package
        raise UserError(f"{model} needs a package that is not installed: {str(error).strip().partition('. ')[0]}") from error
    except (OSError, RuntimeError, SafetensorError) as error:
        raise UserError(f"transformers cannot load {model} from {folder}: {error}") from error
    if report["missing_keys"]:
        # transformers only warns, and fills missing weights with random numbers.
        raise UserError(f"{model}: the checkpoint lacks {', '.join(sorted(report['missing_keys']))}")
    return loaded, processor, tokenizer
