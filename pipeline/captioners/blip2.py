"""Captions by BLIP-2 (https://arxiv.org/abs/2301.12597) with transformers, from a hub id or a local folder.

Each caption of each picture has its own random numbers: one uniform number per token, drawn before from (seed, key, sample). It picks the
token from the cumulative distribution. So a caption does not depend on the batch, except through rounding in the model. Each picture is
encoded once for all its samples.
"""

import dataclasses
import threading
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from safetensors import SafetensorError

from cache_schema.errors import UserError
from cache_schema.spec import CaptionSpec
from pipeline import weights
from pipeline.captioners.catalog import fit, generator
from pipeline.torchvision_ops import declare_missing

declare_missing()
from transformers import Blip2ForConditionalGeneration, Blip2Processor, LogitsProcessor  # noqa: E402 - imports torchvision

PACKAGES: Final = ("torch", "transformers")
"""The packages whose versions are recorded with its captions."""


class Draw(LogitsProcessor):
    """Picks one token for each row by temperature and top-p, with random numbers that were drawn before.

    It makes all other tokens impossible, so that the sampling of the library must take this one.
    """

    def __init__(self, draws: torch.Tensor, temperature: float, top_p: float) -> None:
        """draws: [rows, steps] float64 in [0, 1)."""
        self.draws, self.temperature, self.top_p = draws, temperature, top_p
        self.step = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """scores: [rows, vocabulary] -> the same shape, 0 for the token picked and -inf elsewhere."""
        chances = torch.softmax(scores.double() / self.temperature, dim=-1)
        ordered, tokens = chances.sort(dim=-1, descending=True, stable=True)
        beyond = ordered.cumsum(dim=-1) - ordered >= self.top_p  # the most likely token always stays
        chances = chances.masked_fill(beyond.scatter(-1, tokens, beyond), 0)
        reached = chances.cumsum(dim=-1)
        target = self.draws[:, self.step, None] * reached[:, -1:]  # [rows, 1]
        picked = torch.searchsorted(reached, target, right=True).clamp(max=scores.shape[-1] - 1)
        self.step += 1
        return torch.full_like(scores, -torch.inf).scatter(-1, picked, 0.0)


def load(spec: CaptionSpec, *, device: torch.device | str) -> "Blip2":
    """Load a hub id or a local folder.

    Raises:
        UserError: weights or settings are neither local nor can be downloaded, are incomplete, or were saved without image tokens.
    """
    return Blip2(spec, device)


class Blip2:
    """A BLIP-2 model; see `catalog.Captioner`. With a prompt, a caption is the prompt and what the model continues it with."""

    def __init__(self, spec: CaptionSpec, device: torch.device | str) -> None:
        folder, commit = weights.folder(spec.model, spec.revision)
        self.device, self.dtype = torch.device(device), getattr(torch, spec.precision)
        try:
            with weights.without_progress_bars():
                loaded: Any = Blip2ForConditionalGeneration.from_pretrained(
                    folder, dtype=self.dtype, output_loading_info=True, local_files_only=True
                )
            self.processor = Blip2Processor.from_pretrained(folder, local_files_only=True)
        except (OSError, RuntimeError, SafetensorError) as error:
            raise UserError(f"transformers cannot load BLIP-2 {spec.model} from {folder}: {error}") from error
        model, report = loaded
        if report["missing_keys"]:
            # transformers only warns, and fills them with random numbers.
            raise UserError(f"{spec.model}: the checkpoint lacks {', '.join(sorted(report['missing_keys']))}")
        if model.config.image_token_index is None or self.processor.num_query_tokens is None:
            raise UserError(f"{spec.model} was saved by an old transformers without image tokens; use a newer revision of it")
        self.model = model.eval().to(self.device)
        self.lock = threading.Lock()  # two threads must not use a tokenizer at once
        self.spec = dataclasses.replace(
            spec,
            model=weights.public(spec.model),
            revision=commit,
            weights=weights.digest(model.state_dict()),
            licence=spec.licence or weights.licence(spec.model, folder),
        )

    @torch.inference_mode()
    def caption(self, images: np.ndarray, keys: Sequence[str], names: Sequence[str]) -> list[list[str]]:
        spec = self.spec
        draws = np.stack([generator(spec.seed, key, sample).random(spec.max_tokens) for key in keys for sample in range(spec.samples)])
        draw = Draw(torch.from_numpy(draws).to(self.device), spec.temperature, spec.top_p)
        with self.lock:
            inputs = self.processor(
                images=list(images), text=[spec.prompt] * len(images), return_tensors="pt", input_data_format="channels_last"
            ).to(self.device, self.dtype)
        tokens = self.model.generate(
            **inputs,
            do_sample=True,
            num_return_sequences=spec.samples,
            min_new_tokens=1,
            max_new_tokens=spec.max_tokens,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            logits_processor=[draw],
        )
        with self.lock:
            texts: list[str] = self.processor.batch_decode(tokens, skip_special_tokens=True)
        # A decoder-only language model returns the prompt with the continuation. One with an encoder returns only the continuation.
        before = f"{spec.prompt} " if self.model.language_model.config.is_encoder_decoder else ""
        fitted = [fit(before + text) for text in texts]  # B x samples
        return [fitted[i : i + spec.samples] for i in range(0, len(fitted), spec.samples)]
