"""What the starter teachers are made of and what each is taught. Each is saved as the library it belongs to saves its own.

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
"""Pixels a side that every starter teacher sees."""

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
"""Picture sides in open_clip's words."""

EMBEDDING: Final = 128
"""Width of what pictures and sentences share."""

TEXT: Final = {"context_length": 32, "width": 128, "heads": 4, "hf_tokenizer_name": ".", "pool_type": "eos", "eos_id": 2, "pad_id": 1}
"""`.`: the tokenizer lies beside the weights."""

PATCH: Final = 16
WIDTH: Final = 160
LAYERS: Final = 6
HEADS: Final = 4
"""The size of the ViT with which starter-attributes and starter-blip2 see."""

IMITATED: Final = {"maps": WIDTH, "image_features": WIDTH}
"""What that ViT learns from starter-resnet, from its places and its class token: widths."""


class Student(Protocol):
    """A starter teacher while it is taught."""

    model: nn.Module
    """What is trained."""

    def loss(self, pixels: Tensor, descriptions: Sequence[Description], proportions: Tensor, rng: Rng) -> Tensor:
        """The loss of one batch.

        Args:
            pixels: [B, 3, S, S] float32 in 0..1.
            descriptions: [B], of the shapes.
            proportions: [B, 2], logarithms of height and depth over width.
            rng: draws what is said about each.
        """
        ...

    def save(self, place: Path) -> None:
        """Write a checkpoint that the library loads with its own calls."""
        ...


# ---------------------------------------------------------------------------------------------------------- image and text


class ImageText:
    """CLIP (https://arxiv.org/abs/2103.00020), with every sentence that is true of a shape counted as a match for it. Beside what is
    said of the batch, one sentence names each kind there is, so that every picture has to be told from all of them."""

    def __init__(self, vision: Mapping[str, Any], corpus: Sequence[str], *, layers: int, master: Any = None) -> None:
        """
        Args:
            vision: picture side.
            corpus: texts for the tokenizer.
            layers: of the text side.
            master: another's picture side, whose embedding a head, thrown away, learns to tell from this one's.
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
    """Heads, thrown away, that learn to tell what starter-resnet sees from what a student sees: a convolution needs far fewer pictures to
    find out what matters, and passes it on (as in https://arxiv.org/abs/2012.12877)."""

    def __init__(self, master: Any, widths: Mapping[str, int]) -> None:
        """
        Args:
            master: starter-resnet's picture side.
            widths: of what the student sees, by what it is to tell: `image_features`, the embedding, or `maps`, of places of 16 pixels.
        """
        self.master = master.eval().to(memory_format=torch.channels_last)
        told = {"image_features": EMBEDDING, "maps": 16 * RESNET_WIDTH}
        self.heads = nn.ModuleDict({name: nn.Linear(width, told[name]) for name, width in widths.items()})

    def loss(self, pixels: Tensor, seen: Mapping[str, Tensor]) -> Tensor:
        """pixels: as in `Student.loss`; seen: of each, [B, P places, width] for maps, else [B, width]."""
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
    """A vision transformer with heads for what a description holds, and for what starter-resnet sees. The heads are thrown away, the
    class token is kept."""

    def __init__(self, parts: Sequence[str], master: Any) -> None:
        """master: `starter-resnet`'s picture side."""
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
    """Where each is among the names, -1 for none."""
    return torch.tensor([names.index(name) if name in names else -1 for name in wanted])


# ----------------------------------------------------------------------------------------------------------------- captions


class Captioner:
    """BLIP-2 (https://arxiv.org/abs/2301.12597) with an OPT of two layers. As there, the picture side has learned before; it goes on to
    learn, from starter-resnet also. Of a caption's words one names the kind: a head on the queries, thrown away, keeps that from being
    lost among the others."""

    def __init__(self, corpus: Sequence[str], learned: Mapping[str, Tensor], master: Any) -> None:
        """learned: `starter-attributes`' state dict; master: `starter-resnet`'s picture side."""
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
        self.start = self.processor(images=[blank], text=[""], return_tensors="pt")["input_ids"][0].tolist()  # a place for each query
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
        del state["language_model.lm_head.weight"]  # is the words' embedding, once more
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
