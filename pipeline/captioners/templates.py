"""The template captioner puts the name of a shape into sentences. It uses no pictures and no model."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from cache_schema.errors import UserError
from cache_schema.spec import CaptionSpec
from pipeline.captioners.catalog import fit, generator

if TYPE_CHECKING:
    import torch

PACKAGES: Final = ("torch", "transformers")
"""Packages whose versions are recorded. Templates use none, but older caches record these, and `retry` compares them."""

IDLE: Final = ("model", "prompt", "max_tokens", "temperature", "top_p", "precision")
"""Settings that are for models."""


def load(spec: CaptionSpec, *, device: "torch.device | str") -> "Templates":
    """Make the captioner. It loads nothing, so `device` has no effect.

    Raises:
        UserError: there are fewer templates than samples, or a template does not have exactly one `{}`.
    """
    return Templates(spec)


class Templates:
    """Puts the name of a shape into sentences. Each view gets a choice of different sentences. See `catalog.Captioner`."""

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
