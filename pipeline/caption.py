"""Texts about views: drawn by BLIP-2, or sentences filled with a shape's name; and their order by an image-text teacher.

    captioner = load(CHOICES["blip2-opt-2.7b"], device="cpu", batch=8)
    texts = captioner.caption(pictures, keys, names)          # pictures [B, H, W, 3] -> B lists of `samples` texts
    order, scores = rank(image_embeddings, text_embeddings)   # best first

What a caption says depends on the picture, its key and the sample's number, never on what else is in the batch. A caption
may come out empty, when a model has nothing to say: it is kept as it is, and ranked with the others.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from cache_schema.errors import UserError
from cache_schema.spec import TEXT_BYTES, CaptionSpec, did_you_mean
from pipeline import labels

if TYPE_CHECKING:
    import torch


class Captioner(Protocol):
    """Makes texts about pictures."""

    spec: CaptionSpec
    """What was asked for, with the weights' digest and revision filled in."""

    def caption(self, images: np.ndarray, keys: Sequence[str], names: Sequence[str]) -> list[list[str]]:
        """`samples` texts for each picture.

        Args:
            images: [B, H, W, 3] uint8.
            keys: what each picture is of (shape and view): with the seed, all of its random state.
            names: the shape's label or file name as words; what templates are filled with.

        Returns:
            B lists of `spec.samples` texts, in the order drawn, each of at most `TEXT_BYTES` bytes.
        """
        ...


def _template(spec: CaptionSpec, device: "torch.device | str", batch: int) -> Captioner:
    return Templates(spec)


def _blip2(spec: CaptionSpec, device: "torch.device | str", batch: int) -> Captioner:
    from pipeline.blip2 import Blip2  # brings transformers, so only when chosen

    return Blip2(spec, device, batch)


CAPTIONERS: dict[str, Callable[[CaptionSpec, "torch.device | str", int], Captioner]] = {"blip2": _blip2, "template": _template}
"""Name to what makes one from (spec, device, batch)."""

CHOICES: dict[str, CaptionSpec] = {
    "blip2-opt-2.7b": CaptionSpec(
        captioner="blip2", model="Salesforce/blip2-opt-2.7b", revision="59a1ef6c1e5117b3f65523d1c6066825bcf315e3"
    ),
    "starter-blip2": CaptionSpec(captioner="blip2", model="starter-blip2", samples=8, max_tokens=40, temperature=0.4),
    "template": CaptionSpec(captioner="template", templates=labels.TEMPLATES),
}
"""Known captioners, to be used as they are or changed with `dataclasses.replace`."""


def load(spec: CaptionSpec, *, device: "torch.device | str" = "cpu", batch: int = 8) -> Captioner:
    """Make the captioner a specification asks for.

    Args:
        spec: `weights` may be empty; otherwise the loaded weights must be those.
        device: where the model computes.
        batch: pictures at a time, each with all its samples.

    Raises:
        UserError: there is no such captioner, its weights cannot be had or are others than `spec.weights`.
    """
    if spec.captioner not in CAPTIONERS:
        raise UserError(f"no captioner {spec.captioner!r}{did_you_mean(spec.captioner, CAPTIONERS)}")
    captioner = CAPTIONERS[spec.captioner](spec, device, batch)
    if spec.weights and captioner.spec.weights != spec.weights:
        raise UserError(
            f"the weights of {spec.model} have changed: expected digest {spec.weights[:12]}, got {captioner.spec.weights[:12]}; "
            "name the model the captions were begun with, or begin another cache"
        )
    return captioner


class Templates:
    """Sentences filled with the shape's name; each view gets its own choice, none twice."""

    def __init__(self, spec: CaptionSpec) -> None:
        if len(spec.templates) < spec.samples:
            raise UserError(f"captions.samples is {spec.samples}, but there are only {len(spec.templates)} templates; set one of them")
        bad = [t for t in spec.templates if t.count("{}") != 1]
        if bad:
            raise UserError(f"captions.templates: a template needs exactly one {{}}, got {bad[0]!r}")
        self.spec = spec

    def caption(self, images: np.ndarray, keys: Sequence[str], names: Sequence[str]) -> list[list[str]]:
        nameless = [key for key, name in zip(keys, names, strict=True) if not name]
        if nameless:
            raise UserError(f"{nameless[0]} has no label or name to fill a template with; use another captioner or name the shapes")
        chosen = [generator(self.spec.seed, key).permutation(len(self.spec.templates))[: self.spec.samples] for key in keys]
        return [[fit(self.spec.templates[i].replace("{}", name)) for i in row] for row, name in zip(chosen, names, strict=True)]


def generator(*state: str | int) -> np.random.Generator:
    """A generator of its own for each combination of names and numbers."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256("\0".join(map(str, state)).encode()).digest()))


def fit(text: str) -> str:
    """A text as one line of printable characters that fits in `TEXT_BYTES` of UTF-8, cut between characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line.encode()[:TEXT_BYTES].decode(errors="ignore").rstrip()


def rank(images: np.ndarray, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order the texts of each picture by their cosine to it.

    Cosines are rounded to four decimals, so that float rounding (another thread count, another machine) does not show in
    the order; equal ones keep the order they came in.

    Args:
        images: [B, E], texts: [B, K, E], of one teacher, of any length.

    Returns:
        Order [B, K] int64, best first, and the scores in that order [B, K] float32.
    """
    images, texts = images.astype(np.float64), texts.astype(np.float64)
    length = np.linalg.norm(images, axis=-1)[:, None] * np.linalg.norm(texts, axis=-1)  # [B, K]
    dots = np.einsum("be,bke->bk", images, texts)
    scores = np.round(np.divide(dots, length, out=np.zeros_like(dots), where=length > 0), 4).astype(np.float32)
    order = np.argsort(-scores, axis=1, kind="stable")
    return order, np.take_along_axis(scores, order, axis=1)
