"""Captions by BLIP-2 (https://arxiv.org/abs/2301.12597) with transformers, from a hub id or a local folder.

Each caption of each picture has its own random numbers: one uniform number per token, drawn before from (seed, key, sample). It picks the
token from the cumulative distribution. So a caption does not depend on the batch, except through rounding in the model.

A picture is encoded once for all its samples. Samples of a picture with the same tokens so far need the same next scores, so they share one
row of the language model's batch until their tokens differ, and a caption that has ended leaves the batch. An OPT runs in fewer operations
than in transformers (`opt.py`). Up to rounding in the model, the captions are those of transformers' own loop with one row for each sample,
which `tests/pipeline/plain_captions.py` computes.

Letters: B pictures, S samples of a picture, C captions (B x S), N captions that go on, R rows of the language model, T tokens, D its width,
W words of its vocabulary, k likeliest words.
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
from pipeline.captioners import opt
from pipeline.captioners.catalog import fit, generator
from pipeline.torchvision_ops import declare_missing

declare_missing()
from transformers import Blip2ForConditionalGeneration, Blip2Processor  # noqa: E402 - imports torchvision

PACKAGES: Final = ("torch", "transformers")
"""The packages whose versions are recorded with its captions."""


_BLANK: Final = np.zeros((8, 8, 3), np.uint8)
"""A picture for finding out the tokens of a prompt, which have places for those of a picture."""

UNREAD: Final = (
    "repetition_penalty",
    "encoder_repetition_penalty",
    "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size",
    "bad_words_ids",
    "sequence_bias",
    "suppress_tokens",
    "begin_suppress_tokens",
    "num_beams",
    "exponential_decay_length_penalty",
    "typical_p",
    "min_p",
    "epsilon_cutoff",
    "eta_cutoff",
    "guidance_scale",
)
"""Settings of a language model that change the choice of words, in ways that `picked` does not know."""

NEAR: Final = (16, 128)
"""Numbers of likeliest words that are tried to choose from. All words are taken where these are less likely than `top_p` together."""


def picked(scores: torch.Tensor, row: torch.Tensor, chance: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    """Pick a word for each caption by temperature and top-p (https://arxiv.org/abs/1904.09751).

    The likeliest words that have the probability `top_p` together are put into the order of the vocabulary. `chance` is a place in their
    cumulative probability.

    Args:
        scores: a score of each word. [R, W]
        row: the row of `scores` that each caption goes on from. [N]
        chance: random numbers in [0, 1). [N] float64
        temperature, top_p: see `CaptionSpec`.

    Returns:
        Words. [N] int64
    """
    chances = torch.softmax(scores.double().div_(temperature), dim=-1)
    ranks = _ranks(scores)
    for count in (*NEAR, scores.shape[1]):
        words = ranks.topk(min(count, scores.shape[1]), dim=-1).indices  # [R, k], the likeliest first
        likely = chances.gather(-1, words)
        if bool((likely.sum(dim=-1) >= top_p).all()):
            break
    beyond = likely.cumsum(dim=-1) - likely >= top_p  # the likeliest word always stays
    words, order = words.sort(dim=-1)
    reached = likely.masked_fill(beyond, 0).gather(-1, order).cumsum(dim=-1)[row]  # [N, k]
    place = torch.searchsorted(reached, chance[:, None] * reached[:, -1:], right=True).clamp(max=reached.shape[1] - 1)
    return words[row].gather(-1, place)[:, 0]


def _ranks(scores: torch.Tensor) -> torch.Tensor:
    """Return numbers that all differ and have the order of the scores. Of words with equal scores the first in the vocabulary ranks first.
    [R, W] int64

    `topk` leaves the order of equal numbers open. So each has the bits of the score, which as an integer have the order of the scores, and
    below them the place in the vocabulary.
    """
    bits = (scores.float() + 0.0).view(torch.int32)  # + 0.0 makes -0 equal to 0
    bits = (bits >> 31).bitwise_and_(0x7FFFFFFF).bitwise_xor_(bits)  # the larger a negative number, the smaller its bits
    return bits.long().bitwise_left_shift_(32).sub_(torch.arange(scores.shape[1], device=scores.device))


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
        language = self.model.language_model
        self.steps = opt.Steps(language) if opt.knows(language) else None
        """What runs the language model; None: it runs as transformers has it."""
        self.lock = threading.Lock()  # two threads must not use a tokenizer at once
        self.prompt = self.processor(text=spec.prompt, images=_BLANK, return_tensors="pt")["input_ids"].to(self.device)  # [1, T]
        language = self.model.language_model.generation_config
        if unread := [name for name in UNREAD if getattr(language, name, None) not in (None, 0, 1, [])]:  # 0 or 1 is no change of any
            raise UserError(
                f"{spec.model}: its settings ask for {', '.join(unread)}, which captions are not drawn with; take another model"
            )
        ends = [] if language.eos_token_id is None else language.eos_token_id
        self.ends = torch.tensor(ends, device=self.device).reshape(-1)
        self.padding = int(self.processor.tokenizer.pad_token_id)
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
        chances = np.stack([generator(spec.seed, key, sample).random(spec.max_tokens) for key in keys for sample in range(spec.samples)])
        pixels = self.processor.image_processor(list(images), return_tensors="pt", input_data_format="channels_last")["pixel_values"]
        tokens = self._continued(self._prefix(pixels.to(self.device, self.dtype)), torch.from_numpy(chances).to(self.device))
        before = ""
        if self.model.language_model.config.is_encoder_decoder:
            before = f"{spec.prompt} "
        else:
            tokens = torch.cat([self.prompt.expand(len(tokens), -1), tokens], dim=1)
        with self.lock:
            texts: list[str] = self.processor.batch_decode(tokens, skip_special_tokens=True)
        fitted = [fit(before + text) for text in texts]  # C
        return [fitted[i : i + spec.samples] for i in range(0, len(fitted), spec.samples)]

    def _prefix(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return what a caption of each picture goes on from: the picture as tokens, and the prompt. [B, 3, H, W] -> [B, T, D]"""
        model = self.model
        seen = model.get_image_features(pixels).pooler_output
        words = model.get_input_embeddings()(self.prompt)  # [1, T, D]
        pictures = (self.prompt == model.config.image_token_index)[..., None].expand(len(pixels), -1, 1)
        whole: torch.Tensor = words.expand(len(pixels), -1, -1).masked_scatter(pictures, seen.to(words.dtype))
        return whole

    def _continued(self, prefix: torch.Tensor, chances: torch.Tensor) -> torch.Tensor:
        """Draw the words of all captions.

        Args:
            prefix: what the captions of each picture go on from. [B, T, D]
            chances: a random number for each word of each caption, picture by picture. [C, max_tokens]

        Returns:
            Words, the end included, then padding. [C, max_tokens]
        """
        spec = self.spec
        decoder = self.steps.begin(prefix) if self.steps else _Decoder(self.model.language_model, prefix)
        samples = len(chances) // len(prefix)
        words = torch.full(chances.shape, self.padding, device=self.device)
        going = torch.arange(len(chances), device=self.device)  # captions that have not ended. [N]
        row = going // samples  # the row of the model that each of them goes on from. [N]
        for step in range(spec.max_tokens):
            scores = decoder.scores
            if step == 0:
                scores[:, self.ends] = -torch.inf  # a caption has at least one word
            word = picked(scores, row, chances[going, step], spec.temperature, spec.top_p)
            words[going, step] = word
            on = ~torch.isin(word, self.ends)
            going, row, word = going[on], row[on], word[on]
            if not len(going) or step == spec.max_tokens - 1:
                break
            # Captions that went on from the same row with the same word share a row again.
            pairs, row = (row * scores.shape[1] + word).unique(return_inverse=True)
            decoder.step(pairs // scores.shape[1], pairs % scores.shape[1])
        return words


class _Decoder:
    """A language model that continues several beginnings at once, with what it has computed of their words."""

    def __init__(self, model: Any, prefix: torch.Tensor) -> None:
        """
        Args:
            model: a language model of transformers, with or without an encoder.
            prefix: embedded beginnings. [R, T, D]
        """
        self.model = model
        self.cache: Any = None
        self.encoded: torch.Tensor | None = None
        """What the encoder makes of the beginnings, if there is one. [R, T, D]"""
        if model.config.is_encoder_decoder:
            self.encoded = model.get_encoder()(inputs_embeds=prefix).last_hidden_state
            first = model.generation_config.decoder_start_token_id
            self._run(torch.full((len(prefix),), first, device=prefix.device))
        else:
            self._keep(model(inputs_embeds=prefix, use_cache=True))

    def step(self, row: torch.Tensor, word: torch.Tensor) -> None:
        """Go on from some rows, each with one more word. Rows may be repeated or left out. [R'] each"""
        if len(row) != len(self.scores) or not torch.equal(row, torch.arange(len(row), device=row.device)):
            self.cache.reorder_cache(row)
            if self.encoded is not None:
                self.encoded = self.encoded[row]
        self._run(word)

    def _run(self, word: torch.Tensor) -> None:
        if self.encoded is None:
            self._keep(self.model(input_ids=word[:, None], past_key_values=self.cache, use_cache=True))
        else:
            encoded = (self.encoded,)
            self._keep(self.model(encoder_outputs=encoded, decoder_input_ids=word[:, None], past_key_values=self.cache, use_cache=True))

    def _keep(self, output: Any) -> None:
        self.cache = output.past_key_values
        self.scores: torch.Tensor = output.logits[:, -1].float()
        """A score of each word as the next one. [R, W]"""
