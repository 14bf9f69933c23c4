"""Small checkpoints with random weights, in the very file formats of real ones: for tests, and for a first cache without downloads.

    folder = ensure("random-clip")

Each is made once, in `$MMPD_HOME/checkpoints` (by default under `~/.cache/mmpd`), from a fixed seed and without the
libraries' own initialisation, so that its files are the same bytes wherever the same package versions run. They know
nothing about the world: their embeddings tell shapes apart, their captions are words in no order.
"""

import json
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cache_schema.spec import did_you_mean
from pipeline.weights import without_progress_bars

if TYPE_CHECKING:
    import torch

REVISION = 1
"""Part of the folder's name. Raised when a checkpoint made here changes, so that an older one is not taken for it."""

_WORDS = (
    "a an the of on in with and one two small large round flat long tall thin heavy white grey brown red green blue black wooden metal "
    "glass plastic plain open closed old new curved straight empty single chair table lamp sofa bed desk shelf cabinet door box bottle "
    "bowl cup plate tree rock car boat wheel house wall tower bridge fence barrel crate sword shield key coin leg seat back handle top "
    "side edge corner shape model object picture view piece part made standing lying seen from above front below"
).split()


def ensure(name: str) -> Path:
    """The folder of a random checkpoint, made now if this machine has none. Several processes may ask at once.

    Raises:
        ValueError: there is no such checkpoint, or its folder cannot be written.
    """
    if name not in MAKERS:
        raise ValueError(f"no random checkpoint {name!r}{did_you_mean(name, MAKERS)}")
    home = Path(os.environ.get("MMPD_HOME") or Path.home() / ".cache" / "mmpd") / "checkpoints"
    folder = home / f"{name}-{REVISION}"
    if folder.is_dir():
        return folder
    draft = home / f".{name}-{uuid.uuid4().hex}"
    try:
        draft.mkdir(parents=True)
    except OSError as error:
        raise ValueError(f"cannot make the {name} checkpoint in {home}: {error}; set MMPD_HOME to a folder that can be written") from error
    try:
        with without_progress_bars():
            MAKERS[name](draft)
        draft.rename(folder)
    except OSError:
        if not folder.is_dir():  # otherwise another process was quicker, with the same bytes
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def fill(model: "torch.nn.Module", seed: int) -> None:
    """Draw a model's weights anew, scaled by fan-in; norms, biases and scalars keep the constants they start from.

    Uniform numbers of numpy's generator, because those are the same on every processor.
    """
    import torch

    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            values = rng.uniform(-1, 1, parameter.shape)
            if parameter.ndim < 2 and bool((parameter == parameter.reshape(-1)[0]).all()):
                continue
            fan_in = max(1, int(np.prod(parameter.shape[1:])))
            parameter.copy_(torch.from_numpy(values * np.sqrt(3 / fan_in)))


def _clip(folder: Path) -> None:
    """open_clip: ViT of 2 layers, 64 wide, on 64 x 64 pixels, and a text tower with open_clip's own vocabulary."""
    import torch
    from safetensors.torch import save_file

    from pipeline.torchvision_ops import declare_missing

    declare_missing()
    import open_clip

    config = {
        "embed_dim": 64,
        "vision_cfg": {"image_size": 64, "patch_size": 16, "width": 64, "layers": 2, "head_width": 32},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    }
    with torch.random.fork_rng(devices=[]):  # building a model draws from the global generator; its numbers are replaced
        model = open_clip.CLIP(**config)
    fill(model, seed=1)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    preprocess = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD, "interpolation": "bicubic"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}, indent=2))


def _dino(folder: Path) -> None:
    """transformers: DINOv2 of 2 layers, 64 wide, on 56 x 56 pixels."""
    import torch

    from pipeline.torchvision_ops import declare_missing

    declare_missing()
    from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

    config = Dinov2Config(hidden_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14)
    with torch.random.fork_rng(devices=[]):
        model = Dinov2Model(config)
    fill(model, seed=2)
    model.save_pretrained(folder)
    BitImageProcessor(
        size={"shortest_edge": 64}, crop_size={"height": 56, "width": 56}, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]
    ).save_pretrained(folder)


def _blip2(folder: Path) -> None:
    """transformers: BLIP-2 with a ViT and an OPT of 2 layers, 64 wide, and a byte-level BPE tokenizer trained on `_WORDS`."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    from pipeline.torchvision_ops import declare_missing

    declare_missing()
    from transformers import (
        Blip2Config,
        Blip2ForConditionalGeneration,
        Blip2Processor,
        BlipImageProcessor,
        PreTrainedTokenizerFast,
    )

    special = ["<s>", "<pad>", "</s>", "<unk>", "<image>"]
    tokens = Tokenizer(models.BPE(unk_token="<unk>"))
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokens.decoder = decoders.ByteLevel()
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    tokens.train_from_iterator(
        [f" {word}" for word in _WORDS for _ in range(2)],
        trainers.BpeTrainer(vocab_size=600, special_tokens=special, initial_alphabet=letters, show_progress=False),
    )
    start = tokens.token_to_id("</s>")
    tokens.post_processor = processors.TemplateProcessing(single="</s> $A", special_tokens=[("</s>", start)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokens,
        bos_token="</s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=["<image>"],
    )
    image = BlipImageProcessor(size={"height": 64, "width": 64})
    Blip2Processor(image, tokenizer, num_query_tokens=8).save_pretrained(folder)
    wide = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Blip2Config(
        vision_config={**wide, "intermediate_size": 256, "image_size": 64, "patch_size": 16},
        qformer_config={**wide, "intermediate_size": 256, "encoder_hidden_size": 64, "vocab_size": 32, "max_position_embeddings": 32},
        text_config={
            **wide, "model_type": "opt", "vocab_size": len(tokenizer), "ffn_dim": 256, "word_embed_proj_dim": 64,
            "max_position_embeddings": 256, "bos_token_id": start, "eos_token_id": start, "pad_token_id": tokens.token_to_id("<pad>"),
        },
        num_query_tokens=8, image_token_index=tokens.token_to_id("<image>"),
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        model = Blip2ForConditionalGeneration(config)
    fill(model, seed=3)
    model.save_pretrained(folder)


MAKERS: dict[str, Callable[[Path], None]] = {"random-clip": _clip, "random-dino": _dino, "random-blip2": _blip2}
"""Name to what writes it. Every backend of `pipeline.teachers.catalog` has one, which its contract test uses."""
