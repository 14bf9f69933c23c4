"""The networks and losses of the starter teachers. Each is saved in the form of its library.

    student = STUDENTS["starter-resnet"](corpus, parts, folder)      # an untrained model
    loss = student.loss(lesson)                                      # a batch of pictures and what is known of them
    student.save(place)                                              # float16 safetensors, configuration, tokenizer, pre-processing

starter-resnet       image and text with one embedding (CLIP), through open_clip: a convolutional network
starter-regnet       CLIP through open_clip again, with a network of timm's; it also learns what starter-resnet sees
starter-attributes   pictures alone, through transformers: a ViT of DINOv2's form taught kinds, colours, materials, parts and proportions,
                     and what starter-resnet sees
starter-parts        image and text with one embedding, through open_clip: a ViT whose patch features are near the names of the parts that
                     they show; its picture side begins as starter-attributes', its text side as starter-regnet's
starter-blip2        tells what it sees (BLIP-2), through transformers; its picture side begins as starter-attributes' and goes on
                     learning what starter-resnet sees

Letters: B pictures, S pixels a side, E width, h patches a side, Q places in a picture, K names of parts.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from cache_schema.errors import UserError
from pipeline.labels import PART_TEMPLATES, TEMPLATES
from pipeline.starter.kinds.catalog import KINDS
from pipeline.starter.kinds.thing import COLORS, PARTS, STYLES, pick
from pipeline.starter.pictures import NOTHING
from pipeline.starter.shapes import Description
from pipeline.starter.texts import SUBSTANCES, Rng, caption, facts, sentence
from pipeline.torchvision_ops import declare_missing
from pipeline.weights import SHIPPED, without_progress_bars

declare_missing()
import open_clip  # noqa: E402 - imports torchvision
from transformers import (  # noqa: E402 - imports torchvision
    BitImageProcessor,
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    BlipImageProcessor,
    Dinov2Config,
    Dinov2Model,
)

from pipeline.starter.tokens import IMAGE, captioner_tokenizer, image_text_tokenizer, saved  # noqa: E402 - imports transformers
from pipeline.teachers.openclip import last_values  # noqa: E402 - imports torchvision
from pipeline.teachers.patches import entering  # noqa: E402 - imports torchvision
from pipeline.words import counted  # noqa: E402

SIZE: Final = 96
"""Height and width, in pixels, of the pictures that the starter teachers see."""

MEAN: Final = (0.5, 0.5, 0.5)
STD: Final = (0.5, 0.5, 0.5)

RESNET_WIDTH: Final = 18
RESNET: Final = {"width": RESNET_WIDTH, "layers": [1, 1, 1, 1], "head_width": 64, "image_size": SIZE}
REGNET: Final = {
    "timm_model_name": "regnetx_002",
    "timm_model_pretrained": False,
    "timm_pool": "avg",
    "timm_proj": "linear",
    "image_size": SIZE,
}
"""Settings of the image networks, in the form of open_clip."""

EMBEDDING: Final = 128
"""Width of the embedding that pictures and sentences share."""

TEXT: Final = {"context_length": 32, "width": 128, "heads": 4, "hf_tokenizer_name": ".", "pool_type": "eos", "eos_id": 2, "pad_id": 1}
"""Settings of the text network, in the form of open_clip. `.` means that the tokenizer lies beside the weights."""

PATCH: Final = 16
WIDTH: Final = 160
LAYERS: Final = 6
HEADS: Final = 4
"""Sizes of the ViT in starter-attributes and starter-blip2."""

IMITATED: Final = {"maps": WIDTH, "image_features": WIDTH}
"""Widths of the patch features and of the class token from which that ViT learns to predict starter-resnet."""

QUERIES: Final = 8
"""Number of queries of starter-blip2, by which its language side sees a picture."""
SURE: Final = 0.4
"""Least chance of a fact that a caption tells, as the heads of starter-blip2 guess it."""
NEW: Final = 0.7
"""Share of the new weights in those of a captioner that goes on from others. It keeps what it knew of earlier pictures
(https://arxiv.org/abs/2109.01903)."""

PART_PATCH: Final = 12
PART_LAYERS: Final = 5
"""Patch size and layers of the ViT in starter-parts. It begins as the first layers of starter-attributes'."""

FIRST_SCALE: Final = math.log(1 / 0.07)
"""Logarithm of the first scale of similarities of patches and names, as in CLIP."""
PLACES: Final = 96
"""Number of places of a picture whose parts starter-parts learns in a step."""


class Lesson(NamedTuple):
    """One batch."""

    pixels: Tensor
    """[B, 3, S, S] float32 in 0..1."""
    descriptions: list[Description]
    """Descriptions of the shapes. [B]"""
    proportions: Tensor
    """Logarithms of height over width and of depth over width. [B, 2]"""
    kinds: Sequence[str]
    """All kinds that pictures are told from, those of these among them."""
    rng: Rng
    """Random generator for the sentences."""
    part: Tensor | None = None
    """Index in `PARTS` of the part that each pixel shows, `NOTHING` beside the shape. [B, S, S] int64. None if that is not known."""


class Student(Protocol):
    """A starter teacher in training."""

    model: nn.Module
    """The module that is trained."""

    def loss(self, lesson: Lesson) -> Tensor:
        """The loss of one batch."""
        ...

    def save(self, place: Path) -> None:
        """Write a checkpoint that the library loads with its own calls."""
        ...


# ---------------------------------------------------------------------------------------------------------- image and text


class ImageText:
    """CLIP (https://arxiv.org/abs/2103.00020). Every sentence of the batch that is true of a shape counts as a match. One more sentence for
    each kind takes part, so that every picture must be told from all kinds."""

    def __init__(self, vision: Mapping[str, Any], tokenizer: Any, *, layers: int, master: Any = None) -> None:
        """
        Args:
            vision: settings of the image network.
            tokenizer: tokenizer of texts.
            layers: number of layers of the text network.
            master: image network of another teacher. A head learns to predict its embedding, and is dropped after training.
        """
        self.tokenizer = tokenizer
        settings = TEXT | {"layers": layers, "vocab_size": len(self.tokenizer)}
        self.config = {"embed_dim": EMBEDDING, "vision_cfg": dict(vision), "text_cfg": settings}
        text = {key: value for key, value in settings.items() if key != "hf_tokenizer_name"}
        self.clip: Any = open_clip.CLIP(embed_dim=EMBEDDING, vision_cfg=dict(vision), text_cfg=text)
        self.imitation = Imitation(master, {"image_features": EMBEDDING}) if master else None
        model: Any = nn.ModuleList([self.clip, self.imitation.heads]) if self.imitation else self.clip
        self.model: nn.Module = model.to(memory_format=torch.channels_last)

    def loss(self, lesson: Lesson) -> Tensor:
        image = self.clip.encode_image(normalized(lesson.pixels), normalize=True)  # [B, E]
        loss = self.contrast(image, lesson)
        return loss if self.imitation is None else loss + 4 * self.imitation.loss(lesson.pixels, {"image_features": image})

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Embed texts. [number of texts, E], of unit length"""
        length = TEXT["context_length"]
        tokens = self.tokenizer(list(texts), padding="max_length", truncation=True, max_length=length, return_tensors="pt")["input_ids"]
        embedded: Tensor = self.clip.encode_text(tokens, normalize=True).float()
        return embedded

    def contrast(self, image: Tensor, lesson: Lesson) -> Tensor:
        """The loss of embedded pictures [B, E], of unit length, against new sentences about them and about all kinds."""
        kinds, rng = lesson.kinds, lesson.rng
        told = [sentence(description, rng) for description in lesson.descriptions]
        texts = [*(one.text for one in told), *(pick(rng, TEMPLATES).replace("{}", kind) for kind in kinds)]
        logits = self.clip.logit_scale.exp().clamp(max=100) * image.float() @ self.encode(texts).T  # [B, B + kinds]: picture, text
        logits, naming = logits.split([len(told), len(kinds)], dim=1)
        known = [facts(description) for description in lesson.descriptions]
        match = torch.tensor([[one.told <= truth for one in told] for truth in known], dtype=torch.float32)  # [B, B]
        by_image: Tensor = -(match / match.sum(1, keepdim=True) * logits.log_softmax(1)).sum(1).mean()
        by_text: Tensor = -(match / match.sum(0, keepdim=True) * logits.log_softmax(0)).sum(0).mean()
        kind = _places(kinds, [description.kind for description in lesson.descriptions])
        loss: Tensor = (by_image + by_text) / 2 + F.cross_entropy(naming, kind)
        return loss

    def save(self, place: Path) -> None:
        save_file(halved(self.clip), place / "open_clip_model.safetensors")
        preprocess = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"}
        (place / "open_clip_config.json").write_text(json.dumps({"model_cfg": self.config, "preprocess_cfg": preprocess}, indent=2) + "\n")
        self.tokenizer.save_pretrained(place)
        compacted(place / "tokenizer.json")


class Imitation:
    """Heads that learn to predict the features of starter-resnet from those of a student. They are dropped after training. A convolutional
    network learns from far fewer pictures, and so helps a transformer (as in https://arxiv.org/abs/2012.12877)."""

    def __init__(self, master: Any, widths: Mapping[str, int]) -> None:
        """
        Args:
            master: image network of starter-resnet.
            widths: widths of the student's features, by what they predict: `image_features` (the embedding) or `maps` (16-pixel patches).
        """
        self.master = master.eval().to(memory_format=torch.channels_last)
        told = {"image_features": EMBEDDING, "maps": 16 * RESNET_WIDTH}
        self.heads = nn.ModuleDict({name: nn.Linear(width, told[name]) for name, width in widths.items()})

    def loss(self, pixels: Tensor, seen: Mapping[str, Tensor]) -> Tensor:
        """Compute the loss. `pixels` as in `Lesson`; `seen` holds the student's features: [B, P patches, width] for maps, else [B,
        width]."""
        with torch.no_grad():
            master = self.master.forward_intermediates(normalized(pixels))
        told = {name: head(seen[name]).float() for name, head in self.heads.items()}
        loss = 1 - F.cosine_similarity(told["image_features"], master["image_features"].float()).mean()
        if "maps" in told:
            maps = master["image_intermediates"][3].flatten(2).transpose(1, 2).float()  # [B, P, 16 width of the ResNet]
            loss = loss + F.mse_loss(told["maps"], F.layer_norm(maps, maps.shape[-1:]))
        return loss


# --------------------------------------------------------------------------------------------------------------- attributes


class Facts:
    """Heads that predict facts about a shape from features of its picture: kind, colour, material, styles, and parts with their numbers.
    They are dropped after training."""

    def __init__(self, width: int, parts: Sequence[str]) -> None:
        """`width`: that of the features; `parts`: names of parts to predict, such as `two armrest`."""
        self.parts = {part: i for i, part in enumerate(parts)}
        outputs = (len(KINDS), len(COLORS), len(SUBSTANCES), len(STYLES) + len(parts))
        self.heads = nn.ModuleList(nn.Linear(width, output) for output in outputs)

    def guessed(self, features: Tensor) -> tuple[Tensor, ...]:
        """Return logits of kinds, colours, materials, and of styles and parts. [B, width] -> [B, number] each"""
        return tuple(head(features).float() for head in self.heads)

    def loss(self, guessed: Sequence[Tensor], descriptions: Sequence[Description]) -> Tensor:
        """Compute the loss of what was guessed."""
        kind, color, material, has = guessed
        present = torch.zeros_like(has)
        for row, description in enumerate(descriptions):
            present[row, [STYLES.index(word) for word in description.style]] = 1
            named = [f"{counted(part.count)} {part.noun}" for part in description.parts]
            present[row, [len(STYLES) + self.parts[part] for part in named if part in self.parts]] = 1
        return (
            F.cross_entropy(kind, _places(list(KINDS), [d.kind for d in descriptions]))
            + 0.3 * F.cross_entropy(color, _places(list(COLORS), [d.color for d in descriptions]), ignore_index=-1)
            + 0.3 * F.cross_entropy(material, _places(SUBSTANCES, [d.material for d in descriptions]), ignore_index=-1)
            + 10 * F.binary_cross_entropy_with_logits(has, present)
        )

    def likely(self, guessed: Sequence[Tensor], descriptions: Sequence[Description], least: float) -> list[tuple[Description, list[str]]]:
        """Leave out of descriptions what the heads find less likely than `least`, because the pictures do not show it well enough.

        Returns:
            What is left of each description, and the nouns of those of its parts whose number is not likely. [B]
        """
        _, color, material, has = guessed
        colors, materials, present = color.softmax(1).tolist(), material.softmax(1).tolist(), has.sigmoid().tolist()
        left = []
        for row, one in enumerate(descriptions):
            style = tuple(word for word in one.style if present[row][STYLES.index(word)] >= least)
            chance = {part: present[row][len(STYLES) + i] for part, i in self.parts.items()}
            parts, uncounted = [], []
            for part in one.parts:
                number = counted(part.count)
                if chance.get(f"{number} {part.noun}", 0) >= least:
                    parts.append(part)
                elif part.count > 1 and self._several(chance, part.noun) >= least:
                    parts.append(part)
                    uncounted.append(part.noun)
            left.append(
                (
                    replace(
                        one,
                        color=one.color if one.color and colors[row][list(COLORS).index(one.color)] >= least else "",
                        material=one.material if one.material and materials[row][SUBSTANCES.index(one.material)] >= least else "",
                        style=style,
                        parts=tuple(parts),
                    ),
                    uncounted,
                )
            )
        return left

    @staticmethod
    def _several(chance: Mapping[str, float], noun: str) -> float:
        """The chance of several parts of a noun, whatever their number."""
        return sum(value for part, value in chance.items() if part.split(" ", 1)[1] == noun and part != f"one {noun}")


class Attributes:
    """A vision transformer with heads that predict the description of a shape and the features of starter-resnet. After training the heads
    are dropped, and the class token is the embedding."""

    def __init__(self, parts: Sequence[str], master: Any) -> None:
        """`parts`: names of parts to predict; `master`: image network of starter-resnet."""
        self.backbone = Dinov2Model(
            Dinov2Config(
                hidden_size=WIDTH,
                num_hidden_layers=LAYERS,
                num_attention_heads=HEADS,
                mlp_ratio=4,
                layerscale_value=1.0,
                image_size=SIZE,
                patch_size=PATCH,
            )
        )
        self.facts = Facts(WIDTH, parts)
        self.proportion = nn.Linear(WIDTH, 2)
        self.imitation = Imitation(master, IMITATED)
        self.model: nn.Module = nn.ModuleList([self.backbone, self.facts.heads, self.proportion, self.imitation.heads])

    def loss(self, lesson: Lesson) -> Tensor:
        pixels = lesson.pixels
        seen = self.backbone(pixel_values=normalized(pixels))
        return (
            self.facts.loss(self.facts.guessed(seen.pooler_output), lesson.descriptions)
            + 0.5 * F.smooth_l1_loss(self.proportion(seen.pooler_output).float(), lesson.proportions)
            + 2 * self.imitation.loss(pixels, {"maps": seen.last_hidden_state[:, 1:], "image_features": seen.pooler_output})
        )

    def save(self, place: Path) -> None:
        self.backbone.save_pretrained(place, state_dict=halved(self.backbone))
        BitImageProcessor(
            size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}, image_mean=list(MEAN), image_std=list(STD)
        ).save_pretrained(place)


def _places(names: Sequence[str], wanted: Sequence[str]) -> Tensor:
    """Return the index of each wanted name, -1 for a name that is not there."""
    return torch.tensor([names.index(name) if name in names else -1 for name in wanted])


# ----------------------------------------------------------------------------------------------------------------- captions


class Captioner:
    """BLIP-2 (https://arxiv.org/abs/2301.12597) with an OPT of two layers. As there, the image network was trained before. Here it trains
    further, also with starter-resnet. Only one word of a caption names the kind, or a colour, so heads on the queries learn the facts, too.
    They are dropped after training. Captions tell only the facts that the heads find likely: what a picture hides must not be guessed."""

    def __init__(self, model: Any, processor: Any, parts: Sequence[str], master: Any) -> None:
        """
        Args:
            model: a `Blip2ForConditionalGeneration`.
            processor: what prepares its pictures and texts.
            parts: names of parts that the heads predict.
            master: image network of starter-resnet.
        """
        self.captioner, self.processor = model, processor
        self.facts = Facts(QUERIES * model.config.qformer_config.hidden_size, parts)
        self.imitation = Imitation(master, IMITATED)
        self.before: dict[str, Tensor] | None = None
        """What it goes on from."""
        self.heads = nn.ModuleList([self.facts.heads, self.imitation.heads])
        """The heads that help a captioner to learn. No checkpoint has them, so one that goes on from a checkpoint begins with new ones."""
        self.model: nn.Module = nn.ModuleList([model, self.facts.heads, self.imitation.heads])
        blank = np.zeros((SIZE, SIZE, 3), np.uint8)
        self.start = self.processor(images=[blank], text=[""], return_tensors="pt")["input_ids"][0].tolist()  # one token for each query
        assert self.start.count(model.config.image_token_index) == model.config.num_query_tokens

    @classmethod
    def untrained(cls, corpus: Sequence[str], parts: Sequence[str], learned: Mapping[str, Tensor], master: Any) -> "Captioner":
        """Make one from `corpus` (texts for the tokenizer) and `learned` (state dict of starter-attributes). Others as in `__init__`."""
        tokenizer = captioner_tokenizer(corpus)
        image = BlipImageProcessor(size={"height": SIZE, "width": SIZE}, image_mean=list(MEAN), image_std=list(STD))
        processor = Blip2Processor(image, tokenizer, num_query_tokens=QUERIES)
        end, small = tokenizer.eos_token_id, 128
        config = Blip2Config(
            vision_config={
                "hidden_size": WIDTH,
                "num_hidden_layers": LAYERS,
                "num_attention_heads": HEADS,
                "intermediate_size": 4 * WIDTH,
                "image_size": SIZE,
                "patch_size": PATCH,
                "layer_norm_eps": 1e-6,
            },
            qformer_config={
                "hidden_size": small,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "intermediate_size": 2 * small,
                "encoder_hidden_size": WIDTH,
                "vocab_size": QUERIES,
                "max_position_embeddings": QUERIES,
                "cross_attention_frequency": 1,
                "hidden_dropout_prob": 0.0,
                "attention_probs_dropout_prob": 0.0,
            },
            text_config={
                "model_type": "opt",
                "hidden_size": small,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "ffn_dim": 4 * small,
                "word_embed_proj_dim": small,
                "vocab_size": len(tokenizer),
                "max_position_embeddings": 64,
                "bos_token_id": end,
                "eos_token_id": end,
                "pad_token_id": tokenizer.pad_token_id,
                "dropout": 0.0,
            },
            num_query_tokens=QUERIES,
            image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        )
        model: Any = Blip2ForConditionalGeneration(config)
        model.vision_model.load_state_dict(as_blip2(learned), strict=True)
        return cls(model, processor, parts, master)

    @classmethod
    def begun(cls, place: Path, parts: Sequence[str], master: Any) -> "Captioner":
        """Go on from a checkpoint. What is saved lies between the weights of before and the new ones. Others as in `__init__`."""
        with without_progress_bars():
            model = Blip2ForConditionalGeneration.from_pretrained(place, dtype=torch.float32)
        student = cls(model, Blip2Processor.from_pretrained(place), parts, master)
        student.before = {name: value.detach().clone() for name, value in model.named_parameters()}
        return student

    def loss(self, lesson: Lesson) -> Tensor:
        pixels, rng = normalized(lesson.pixels), lesson.rng
        seen = self.captioner.get_image_features(pixels, return_dict=True)
        guessed = self.facts.guessed(seen.qformer_outputs.last_hidden_state.flatten(1))
        tokenizer = self.processor.tokenizer
        texts = [caption(one, rng, uncounted) for one, uncounted in self.facts.likely(guessed, lesson.descriptions, SURE)]
        ids = [[*row, tokenizer.eos_token_id] for row in tokenizer(texts, add_special_tokens=False)["input_ids"]]
        longest = max(map(len, ids))
        rows = torch.tensor([[*self.start, *row, *[tokenizer.pad_token_id] * (longest - len(row))] for row in ids])
        labels = torch.tensor([[*[-100] * len(self.start), *row, *[-100] * (longest - len(row))] for row in ids])
        mask = (rows != tokenizer.pad_token_id).long()
        out = self.captioner(None, input_ids=rows, attention_mask=mask, labels=labels, mm_encoder_outputs={"image": seen})
        features = seen.vision_outputs.last_hidden_state  # [B, 1 + P, W]
        loss: Tensor = (
            out.loss
            + 0.5 * self.facts.loss(guessed, lesson.descriptions)
            + 2 * self.imitation.loss(lesson.pixels, {"maps": features[:, 1:], "image_features": features[:, 0]})
        )
        return loss

    def save(self, place: Path) -> None:
        if self.before is not None:
            with torch.no_grad():
                for name, value in self.captioner.named_parameters():
                    value.lerp_(self.before[name], 1 - NEW)
        state = halved(self.captioner)
        del state["language_model.lm_head.weight"]  # a copy of the token embeddings
        with without_progress_bars():
            self.captioner.save_pretrained(place, state_dict=state)
        self.processor.save_pretrained(place)
        compacted(place / "tokenizer.json")


def as_blip2(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A DINOv2's parameters under the names of the picture side of transformers' BLIP-2, which has no scale of layers."""
    out = {
        "embeddings.class_embedding": state["embeddings.cls_token"],
        "embeddings.position_embedding": state["embeddings.position_embeddings"],
        "embeddings.patch_embedding.weight": state["embeddings.patch_embeddings.projection.weight"],
        "embeddings.patch_embedding.bias": state["embeddings.patch_embeddings.projection.bias"],
        "post_layernorm.weight": state["layernorm.weight"],
        "post_layernorm.bias": state["layernorm.bias"],
    }
    for layer in range(LAYERS):
        theirs, ours = f"encoder.layer.{layer}", f"encoder.layers.{layer}"
        attention = [f"{theirs}.attention.attention.{name}" for name in ("query", "key", "value")]
        for kind in ("weight", "bias"):
            out[f"{ours}.layer_norm1.{kind}"] = state[f"{theirs}.norm1.{kind}"]
            out[f"{ours}.layer_norm2.{kind}"] = state[f"{theirs}.norm2.{kind}"]
            out[f"{ours}.self_attn.qkv.{kind}"] = torch.cat([state[f"{name}.{kind}"] for name in attention])
            out[f"{ours}.mlp.fc1.{kind}"] = state[f"{theirs}.mlp.fc1.{kind}"]
            for new, old, scale in (("self_attn.projection", "attention.output.dense", 1), ("mlp.fc2", "mlp.fc2", 2)):
                scales = state[f"{theirs}.layer_scale{scale}.lambda1"]
                value = state[f"{theirs}.{old}.{kind}"]
                out[f"{ours}.{new}.{kind}"] = value * (scales[:, None] if kind == "weight" else scales)
    return out


# ------------------------------------------------------------------------------------------------------------ names of parts


class PartNames(ImageText):
    """CLIP with a ViT whose patch features, as `teachers.openclip` computes them, lie near the names of the parts that they show.

    Patch features are interpolated at places of the shape, as `pipeline.dense` does at points, and must be told from the names of all
    parts in the batch. Small parts get more than their share of places. As in `ImageText`, pictures learn sentences about the whole.
    """

    def __init__(self, learned: Mapping[str, Tensor], text: tuple[Any, Mapping[str, Tensor]]) -> None:
        """`learned`: state dict of starter-attributes; `text`: tokenizer and state dict of starter-regnet's text side."""
        tokenizer, state = text
        vision = {"layers": PART_LAYERS, "width": WIDTH, "head_width": WIDTH // HEADS, "patch_size": PART_PATCH, "image_size": SIZE}
        super().__init__(vision | {"no_ln_pre": True}, tokenizer, layers=1)
        state = dict(state) | {f"visual.{name}": value for name, value in as_open_clip(learned, PART_LAYERS).items()}
        state["visual.proj"] = self.clip.visual.proj.detach()  # starter-attributes has none
        self.clip.load_state_dict(state, strict=True)
        self.scale = nn.Parameter(torch.tensor(FIRST_SCALE))
        self.model = nn.ModuleList([self.clip, nn.ParameterList([self.scale])])

    def loss(self, lesson: Lesson) -> Tensor:
        assert lesson.part is not None
        visual = self.clip.visual
        with entering(visual.transformer.resblocks[-1]) as calls:
            image = self.clip.encode_image(normalized(lesson.pixels), normalize=True)  # [B, E]
        maps = last_values(visual, calls[0][0])  # [B, h h, E]
        return self.contrast(image, lesson) + 2 * self.naming(maps, lesson.part, lesson.rng)

    def naming(self, maps: Tensor, part: Tensor, rng: Rng) -> Tensor:
        """Cross-entropy of the names of parts, at random places of patch features [B, h h, E]. `part` [B, S, S] as in `Lesson`."""
        size, side = part.shape[-1], math.isqrt(maps.shape[1])
        shown = part.flatten(1)  # [B, S S]
        amount = torch.zeros(len(shown), NOTHING + 1).scatter_add_(1, shown, torch.ones(shown.shape))
        amount[:, NOTHING] = torch.inf
        chance = torch.Generator().manual_seed(int(rng.integers(2**31)))  # so that a stopped training goes on alike
        place = torch.multinomial(amount.gather(1, shown).rsqrt() + 1e-12, PLACES, replacement=True, generator=chance)  # [B, Q]
        at = torch.stack([place % size, place // size], dim=-1)  # [B, Q, 2] column and row
        grid = ((2 * at + 1) / size - 1)[:, None].float()  # [B, 1, Q, 2] in -1..1
        features = F.grid_sample(
            maps.transpose(1, 2).unflatten(2, (side, side)).float(), grid, padding_mode="border", align_corners=False
        )  # [B, E, 1, Q]
        features = F.normalize(features[:, :, 0].transpose(1, 2), dim=-1)  # [B, Q, E]
        truth = shown.gather(1, place)  # [B, Q]
        names = [int(one) for one in truth.unique() if one != NOTHING]
        texts = self.encode([pick(rng, PART_TEMPLATES).replace("{}", PARTS[one]) for one in names])  # [K, E]
        row = torch.full((NOTHING + 1,), -100)
        row[names] = torch.arange(len(names))
        logits = self.scale.exp().clamp(max=100) * features @ texts.T  # [B, Q, K]
        return F.cross_entropy(logits.flatten(0, 1), row[truth].flatten())


def as_open_clip(state: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """The first layers of a DINOv2 under the names of a ViT of open_clip, with smaller patches.

    A smaller patch is seen as if it were enlarged to the old size. Positions are interpolated. What the patch embedding adds to each patch
    goes into the positions.
    """
    old = as_blip2(state)
    grid = old["embeddings.position_embedding"][0]  # [1 + h h, W]
    square = grid[1:].T.unflatten(1, (SIZE // PATCH, SIZE // PATCH))[None]  # [1, W, h, h]
    finer = F.interpolate(square, size=(SIZE // PART_PATCH, SIZE // PART_PATCH), mode="bicubic", align_corners=False)[0].flatten(1).T
    enlarge = F.interpolate(torch.eye(PART_PATCH)[None], size=PATCH, mode="linear", align_corners=False)[0]  # [new side, old side]
    out = {
        "class_embedding": old["embeddings.class_embedding"].flatten(),
        "positional_embedding": torch.cat([grid[:1], finer + old["embeddings.patch_embedding.bias"]]),
        "conv1.weight": torch.einsum("wcij,pi,qj->wcpq", old["embeddings.patch_embedding.weight"], enlarge, enlarge),
    }
    for kind in ("weight", "bias"):
        out[f"ln_post.{kind}"] = old[f"post_layernorm.{kind}"]
        for layer in range(layers):
            theirs, ours = f"encoder.layers.{layer}", f"transformer.resblocks.{layer}"
            out[f"{ours}.attn.in_proj_{kind}"] = old[f"{theirs}.self_attn.qkv.{kind}"]
            for new, name in _BLOCK.items():
                out[f"{ours}.{new}.{kind}"] = old[f"{theirs}.{name}.{kind}"]
    return out


_BLOCK: Final = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.projection",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
"""Layers of a block: names in open_clip to names in transformers' BLIP-2."""


# ------------------------------------------------------------------------------------------------------------------ all


def _master(folder: Path) -> Any:
    path = folder / "starter-resnet"
    if not path.is_dir():
        raise UserError(f"this one learns from starter-resnet, and there is no {path}: train starter-resnet first")
    return open_clip.create_model(f"local-dir:{path.absolute()}").visual


def _learned(folder: Path) -> dict[str, Tensor]:
    path = folder / "starter-attributes" / "model.safetensors"
    if not path.is_file():
        raise UserError(f"this one begins with starter-attributes' picture side, and there is no {path}: train starter-attributes first")
    return {name: value.float() for name, value in load_file(path).items()}


def _learned_text(folder: Path) -> tuple[Any, dict[str, Tensor]]:
    """The tokenizer of starter-regnet, and the parameters of its text side."""
    path = folder / "starter-regnet"
    if not path.is_dir():
        raise UserError(f"this one begins with starter-regnet's text side, and there is no {path}: train starter-regnet first")
    state = load_file(path / "open_clip_model.safetensors")
    return saved(path), {name: value.float() for name, value in state.items() if not name.startswith("visual.")}


STUDENTS: Final[dict[str, Callable[[Sequence[str], Sequence[str], Path], Student]]] = {
    "starter-resnet": lambda corpus, parts, folder: ImageText(RESNET, image_text_tokenizer(corpus), layers=2),
    "starter-regnet": lambda corpus, parts, folder: ImageText(REGNET, image_text_tokenizer(corpus), layers=1, master=_master(folder)),
    "starter-attributes": lambda corpus, parts, folder: Attributes(parts, _master(folder)),
    "starter-parts": lambda corpus, parts, folder: PartNames(_learned(folder), _learned_text(folder)),
    "starter-blip2": lambda corpus, parts, folder: Captioner.untrained(corpus, parts, _learned(folder), _master(folder)),
}
"""Name to what makes one untrained from (corpus, parts with their counts, folder of those trained before). In the order to train in."""

GOING_ON: Final[dict[str, Callable[[Sequence[str], Path], Captioner]]] = {
    "starter-blip2": lambda parts, folder: Captioner.begun(folder / "starter-blip2", parts, _master(folder))
}
"""Name to what makes one from its checkpoint in a folder, to be trained further: (parts with their counts, that folder)."""


def weights_to_go_on_from(folder: Path, name: str) -> Path:
    """Find the weights of one of `GOING_ON` in a folder of checkpoints.

    Raises:
        UserError: a file is missing there, of the model itself or of starter-resnet, from which it learns.
    """
    needed = [f"{name}/{file}" for file in ("config.json", "model.safetensors", "processor_config.json", "tokenizer.json")]
    needed += [f"starter-resnet/open_clip_{file}" for file in ("config.json", "model.safetensors")]
    if missing := [file for file in needed if not (folder / file).is_file()]:
        raise UserError(f"{name} cannot go on from {folder}, which lacks {', '.join(missing)}. The shipped ones lie in {SHIPPED}")
    return folder / name / "model.safetensors"


def normalized(pixels: Tensor) -> Tensor:
    return (pixels - 0.5) / 0.5


def halved(model: nn.Module) -> dict[str, Tensor]:
    """A state dict in float16."""
    return {name: (value.half() if value.is_floating_point() else value).contiguous() for name, value in model.state_dict().items()}


def compacted(path: Path) -> None:
    """Rewrite a JSON file without white space."""
    path.write_text(json.dumps(json.loads(path.read_text()), ensure_ascii=False, separators=(",", ":")))
