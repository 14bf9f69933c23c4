"""The networks and losses of the starter teachers. Each is saved in the form of its library.

    student = STUDENTS["starter-resnet"](corpus, parts, folder)      # an untrained model
    loss = student.loss(pixels, descriptions, proportions, rng)      # pixels [B, 3, S, S] in 0..1, B descriptions
    student.save(place)                                              # float16 safetensors, configuration, tokenizer, pre-processing

starter-resnet       image and text with one embedding (CLIP), through open_clip: a convolutional network
starter-regnet       CLIP through open_clip again, with a network of timm's; it also learns what starter-resnet sees
starter-attributes   pictures alone, through transformers: a ViT of DINOv2's form taught kinds, colours, materials, parts and proportions,
                     and what starter-resnet sees
starter-blip2        tells what it sees (BLIP-2), through transformers; its picture side begins as starter-attributes' and goes on
                     learning what starter-resnet sees

Letters: B pictures, S pixels a side, E width.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from cache_schema.errors import UserError
from pipeline.labels import TEMPLATES
from pipeline.starter.kinds.catalog import KINDS
from pipeline.starter.kinds.thing import COLORS, STYLES, pick
from pipeline.starter.shapes import Description
from pipeline.starter.texts import SUBSTANCES, Rng, caption, counted, facts, sentence
from pipeline.torchvision_ops import declare_missing

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

from pipeline.starter.tokens import IMAGE, captioner_tokenizer, image_text_tokenizer  # noqa: E402 - imports transformers

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


class Student(Protocol):
    """A starter teacher in training."""

    model: nn.Module
    """The module that is trained."""

    def loss(self, pixels: Tensor, descriptions: Sequence[Description], proportions: Tensor, rng: Rng) -> Tensor:
        """The loss of one batch.

        Args:
            pixels: [B, 3, S, S] float32 in 0..1.
            descriptions: descriptions of the shapes. [B]
            proportions: logarithms of height over width and of depth over width. [B, 2]
            rng: random generator for the sentences.
        """
        ...

    def save(self, place: Path) -> None:
        """Write a checkpoint that the library loads with its own calls."""
        ...


# ---------------------------------------------------------------------------------------------------------- image and text


class ImageText:
    """CLIP (https://arxiv.org/abs/2103.00020). Every sentence of the batch that is true of a shape counts as a match. One more sentence for
    each kind takes part, so that every picture must be told from all kinds."""

    def __init__(self, vision: Mapping[str, Any], corpus: Sequence[str], *, layers: int, master: Any = None) -> None:
        """
        Args:
            vision: settings of the image network.
            corpus: texts for the tokenizer.
            layers: number of layers of the text network.
            master: image network of another teacher. A head learns to predict its embedding, and is dropped after training.
        """
        self.tokenizer = image_text_tokenizer(corpus)
        settings = TEXT | {"layers": layers, "vocab_size": len(self.tokenizer)}
        self.config = {"embed_dim": EMBEDDING, "vision_cfg": dict(vision), "text_cfg": settings}
        text = {key: value for key, value in settings.items() if key != "hf_tokenizer_name"}
        self.clip: Any = open_clip.CLIP(embed_dim=EMBEDDING, vision_cfg=dict(vision), text_cfg=text)
        self.imitation = Imitation(master, {"image_features": EMBEDDING}) if master else None
        model: Any = nn.ModuleList([self.clip, self.imitation.heads]) if self.imitation else self.clip
        self.model: nn.Module = model.to(memory_format=torch.channels_last)

    def loss(self, pixels: Tensor, descriptions: Sequence[Description], proportions: Tensor, rng: Rng) -> Tensor:
        told = [sentence(description, rng) for description in descriptions]
        texts = [*(one.text for one in told), *(pick(rng, TEMPLATES).replace("{}", kind) for kind in KINDS)]
        length = TEXT["context_length"]
        tokens = self.tokenizer(texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")["input_ids"]
        image, text, scale = self.clip(normalized(pixels), tokens)[:3]
        logits = scale.clamp(max=100) * image.float() @ text.float().T  # [B, B + kinds]: picture, text
        logits, naming = logits.split([len(told), len(KINDS)], dim=1)
        known = [facts(description) for description in descriptions]
        match = torch.tensor([[one.told <= truth for one in told] for truth in known], dtype=torch.float32)  # [B, B]
        by_image: Tensor = -(match / match.sum(1, keepdim=True) * logits.log_softmax(1)).sum(1).mean()
        by_text: Tensor = -(match / match.sum(0, keepdim=True) * logits.log_softmax(0)).sum(0).mean()
        loss: Tensor = (by_image + by_text) / 2 + F.cross_entropy(naming, _places(list(KINDS), [d.kind for d in descriptions]))
        if self.imitation is None:
            return loss
        return loss + 4 * self.imitation.loss(pixels, {"image_features": image})

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
        """Compute the loss. `pixels` as in `Student.loss`; `seen` holds the student's features: [B, P patches, width] for maps, else [B,
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
        self.parts = {part: i for i, part in enumerate(parts)}
        outputs = (len(KINDS), len(COLORS), len(SUBSTANCES), len(STYLES) + len(parts), 2)
        self.heads = nn.ModuleList(nn.Linear(WIDTH, width) for width in outputs)
        self.imitation = Imitation(master, IMITATED)
        self.model: nn.Module = nn.ModuleList([self.backbone, self.heads, self.imitation.heads])

    def loss(self, pixels: Tensor, descriptions: Sequence[Description], proportions: Tensor, rng: Rng) -> Tensor:
        seen = self.backbone(pixel_values=normalized(pixels))
        kind, color, material, has, proportion = (head(seen.pooler_output).float() for head in self.heads)
        present = torch.zeros_like(has)
        for row, description in enumerate(descriptions):
            present[row, [STYLES.index(word) for word in description.style]] = 1
            named = [f"{counted(part)} {part.noun}" for part in description.parts]
            present[row, [len(STYLES) + self.parts[part] for part in named if part in self.parts]] = 1
        return (
            F.cross_entropy(kind, _places(list(KINDS), [d.kind for d in descriptions]))
            + 0.3 * F.cross_entropy(color, _places(list(COLORS), [d.color for d in descriptions]), ignore_index=-1)
            + 0.3 * F.cross_entropy(material, _places(SUBSTANCES, [d.material for d in descriptions]), ignore_index=-1)
            + 10 * F.binary_cross_entropy_with_logits(has, present)
            + 0.5 * F.smooth_l1_loss(proportion, proportions)
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
    further, also with starter-resnet. Only one word of a caption names the kind, so a head on the queries learns the kind, too. It is
    dropped after training."""

    def __init__(self, corpus: Sequence[str], learned: Mapping[str, Tensor], master: Any) -> None:
        """`corpus`: texts for the tokenizer; `learned`: state dict of starter-attributes; `master`: image network of starter-resnet."""
        tokenizer = captioner_tokenizer(corpus)
        image = BlipImageProcessor(size={"height": SIZE, "width": SIZE}, image_mean=list(MEAN), image_std=list(STD))
        self.processor = Blip2Processor(image, tokenizer, num_query_tokens=8)
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
                "vocab_size": 8,
                "max_position_embeddings": 8,
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
            num_query_tokens=8,
            image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        )
        model: Any = Blip2ForConditionalGeneration(config)
        model.vision_model.load_state_dict(as_blip2(learned), strict=True)
        self.captioner = model
        self.head = nn.Linear(small, len(KINDS))
        self.imitation = Imitation(master, IMITATED)
        self.model: nn.Module = nn.ModuleList([model, self.head, self.imitation.heads])
        blank = np.zeros((SIZE, SIZE, 3), np.uint8)
        self.start = self.processor(images=[blank], text=[""], return_tensors="pt")["input_ids"][0].tolist()  # one token for each query
        assert self.start.count(config.image_token_index) == config.num_query_tokens

    def loss(self, pixels: Tensor, descriptions: Sequence[Description], proportions: Tensor, rng: Rng) -> Tensor:
        tokenizer = self.processor.tokenizer
        texts = [caption(description, rng) for description in descriptions]
        ids = [[*row, tokenizer.eos_token_id] for row in tokenizer(texts, add_special_tokens=False)["input_ids"]]
        longest = max(map(len, ids))
        rows = torch.tensor([[*self.start, *row, *[tokenizer.pad_token_id] * (longest - len(row))] for row in ids])
        labels = torch.tensor([[*[-100] * len(self.start), *row, *[-100] * (longest - len(row))] for row in ids])
        mask = (rows != tokenizer.pad_token_id).long()
        out = self.captioner(pixel_values=normalized(pixels), input_ids=rows, attention_mask=mask, labels=labels)
        kind = self.head(out.qformer_outputs.last_hidden_state.mean(1)).float()
        seen = out.vision_outputs.last_hidden_state  # [B, 1 + P, W]
        loss: Tensor = (
            out.loss
            + 0.5 * F.cross_entropy(kind, _places(list(KINDS), [d.kind for d in descriptions]))
            + 2 * self.imitation.loss(pixels, {"maps": seen[:, 1:], "image_features": seen[:, 0]})
        )
        return loss

    def save(self, place: Path) -> None:
        state = halved(self.captioner)
        del state["language_model.lm_head.weight"]  # a copy of the token embeddings
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


STUDENTS: Final[dict[str, Callable[[Sequence[str], Sequence[str], Path], Student]]] = {
    "starter-resnet": lambda corpus, parts, folder: ImageText(RESNET, corpus, layers=2),
    "starter-regnet": lambda corpus, parts, folder: ImageText(REGNET, corpus, layers=1, master=_master(folder)),
    "starter-attributes": lambda corpus, parts, folder: Attributes(parts, _master(folder)),
    "starter-blip2": lambda corpus, parts, folder: Captioner(corpus, _learned(folder), _master(folder)),
}
"""Name to what makes one untrained from (corpus, parts with their counts, folder of those trained before). In the order to train in."""


def normalized(pixels: Tensor) -> Tensor:
    return (pixels - 0.5) / 0.5


def halved(model: nn.Module) -> dict[str, Tensor]:
    """A state dict in float16."""
    return {name: (value.half() if value.is_floating_point() else value).contiguous() for name, value in model.state_dict().items()}


def compacted(path: Path) -> None:
    """Rewrite a JSON file without white space."""
    path.write_text(json.dumps(json.loads(path.read_text()), ensure_ascii=False, separators=(",", ":")))
