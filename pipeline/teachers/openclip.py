"""Teachers loaded by open_clip: any architecture and pretrained tag that it knows, or a local folder that it saved.

A local folder holds `open_clip_config.json`, a file of weights and, if the text model needs one, a Hugging Face tokenizer.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError

from cache_schema.errors import UserError
from cache_schema.spec import TeacherSpec, canonical, did_you_mean
from pipeline import weights
from pipeline.teachers.catalog import Precision, measure
from pipeline.torchvision_ops import declare_missing

declare_missing()
import open_clip  # noqa: E402 - imports torchvision
from open_clip.transform import PreprocessCfg, image_transform_v2  # noqa: E402

PACKAGES = ("open_clip_torch", "timm", "torchvision", "pillow")
"""Packages, besides torch, whose versions are recorded with the embeddings."""

_PRECISIONS = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
_CHECKPOINT = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
"""Weight files of a hub repository of open_clip's, in open_clip's own order of preference."""


class OpenClip:
    """A CLIP-like model with both sides. See `catalog.Teacher`."""

    spec: TeacherSpec

    def __init__(self, model: Any, tokenize: Callable[[list[str]], torch.Tensor], device: torch.device, dtype: torch.dtype) -> None:
        self.model = model.eval()
        self.tokenize = tokenize
        self.lock = threading.Lock()  # two threads must not use a tokenizer at once
        self.transform = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
        self.device, self.dtype = device, dtype

    def preprocess(self, image: np.ndarray) -> torch.Tensor:
        pixels: torch.Tensor = self.transform(Image.fromarray(image))  # [3, S, S]
        return pixels

    @torch.inference_mode()
    def embed_images(self, pixels: torch.Tensor) -> torch.Tensor:
        embedded: torch.Tensor = self.model.encode_image(pixels.to(self.device, self.dtype)).float().cpu()  # [B, E]
        return embedded

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        with self.lock:
            tokens = self.tokenize(list(texts)).to(self.device)
        embedded: torch.Tensor = self.model.encode_text(tokens).float().cpu()  # [B, E]
        return embedded


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
        # Loaded by path, so that the revision can be pinned; the tag's own normalisation and resizing then have to be named.
        options = {"pretrained": path, "force_preprocess_cfg": open_clip.get_pretrained_cfg(reference, tag)}
    try:
        loaded = open_clip.create_model(reference, precision=_PRECISIONS[precision], device=device, require_pretrained=True, **options)
        tokenize = _tokenizer(reference)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise UserError(f"open_clip cannot load {model}: {error}") from error
    teacher = OpenClip(loaded, tokenize, device, getattr(torch, precision))
    image_size, dim = measure(teacher)
    teacher.spec = TeacherSpec(
        name=name,
        backend="open_clip",
        model=weights.public(model),
        revision=commit,
        weights=weights.digest(loaded.state_dict()),
        preprocess=f"open_clip {canonical(loaded.visual.preprocess_cfg).decode()}",
        dim=dim,
        text=True,
        image_size=image_size,
        precision=precision,
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
    repo, _, file = open_clip.get_pretrained_cfg(architecture, tag)["hf_hub"].rpartition("/")
    names = (file.replace(".bin", ".safetensors"), file) if file else _CHECKPOINT
    folder, commit = weights.folder(repo, revision, files=(), weights=names)
    return str(next(folder / n for n in names if (folder / n).is_file())), commit


def _tokenizer(reference: str) -> Callable[[list[str]], torch.Tensor]:
    """The tokenizer of an architecture or folder; most come with open_clip, some from the hub."""
    remote = open_clip.get_model_config(reference)["text_cfg"].get("hf_tokenizer_name")
    if remote and not reference.startswith("local-dir:"):
        weights.folder(remote, "", weights=())
    found: Callable[[list[str]], torch.Tensor] = open_clip.get_tokenizer(reference, **({"local_files_only": True} if remote else {}))
    return found
