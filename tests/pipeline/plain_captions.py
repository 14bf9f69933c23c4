"""BLIP-2's captions by the loop of transformers, one row of the language model for each sample: what `pipeline.captioners.blip2` must
equal, and what `bench/captions.py` compares its speed with."""

import numpy as np
import torch
from transformers import LogitsProcessor

from pipeline.captioners.blip2 import Blip2
from pipeline.captioners.catalog import fit, generator


class Draw(LogitsProcessor):
    """Picks one word for each row by temperature and top-p, with random numbers that were drawn before.

    It makes all other words impossible, so that the sampling of the library must take this one.
    """

    def __init__(self, draws, temperature, top_p):
        """draws: [rows, steps] float64 in [0, 1)."""
        self.draws, self.temperature, self.top_p = draws, temperature, top_p
        self.step = 0

    def __call__(self, input_ids, scores):
        """scores: [rows, words] -> the same shape, 0 for the word picked and -inf elsewhere."""
        chances = torch.softmax(scores.double() / self.temperature, dim=-1)
        ordered, words = chances.sort(dim=-1, descending=True, stable=True)
        beyond = ordered.cumsum(dim=-1) - ordered >= self.top_p
        chances = chances.masked_fill(beyond.scatter(-1, words, beyond), 0)
        reached = chances.cumsum(dim=-1)
        target = self.draws[:, self.step, None] * reached[:, -1:]  # [rows, 1]
        picked = torch.searchsorted(reached, target, right=True).clamp(max=scores.shape[-1] - 1)
        self.step += 1
        return torch.full_like(scores, -torch.inf).scatter(-1, picked, 0.0)


@torch.inference_mode()
def caption(captioner: Blip2, images: np.ndarray, keys: list[str]) -> list[list[str]]:
    """The captions that `captioner.caption` writes."""
    spec = captioner.spec
    draws = np.stack([generator(spec.seed, key, sample).random(spec.max_tokens) for key in keys for sample in range(spec.samples)])
    inputs = captioner.processor(
        images=list(images), text=[spec.prompt] * len(images), return_tensors="pt", input_data_format="channels_last"
    ).to(captioner.device, captioner.dtype)
    words = captioner.model.generate(
        **inputs,
        do_sample=True,
        num_return_sequences=spec.samples,
        min_new_tokens=1,
        max_new_tokens=spec.max_tokens,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        logits_processor=[Draw(torch.from_numpy(draws).to(captioner.device), spec.temperature, spec.top_p)],
    )
    texts = captioner.processor.batch_decode(words, skip_special_tokens=True)
    before = f"{spec.prompt} " if captioner.model.language_model.config.is_encoder_decoder else ""
    fitted = [fit(before + text) for text in texts]
    return [fitted[i : i + spec.samples] for i in range(0, len(fitted), spec.samples)]
