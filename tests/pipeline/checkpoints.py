"""Small checkpoints with random weights, in the very file formats of real ones: tests load them by the code that loads those.

    dino(), blip2()      # folders, made when first asked for, gone with the process

Weights are drawn from fixed seeds. Processes that a test starts find the same folders.
"""

import atexit
import functools
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from pipeline.weights import without_progress_bars

_WORDS = (
    "a an the of on in with and one two small large round flat long tall thin heavy white grey brown red green blue black wooden metal "
    "glass plastic plain open closed old new curved straight empty single chair table lamp sofa bed desk shelf cabinet door box bottle "
    "bowl cup plate tree rock car boat wheel house wall tower bridge fence barrel crate sword shield key coin leg seat back handle top "
    "side edge corner shape model object picture view piece part made standing lying seen from above front below"
).split()


HOME = "MMPD_TEST_CHECKPOINTS"
"""Environment variable by which the processes a test starts find what it has made."""


@functools.cache
def _home() -> Path:
    if HOME not in os.environ:
        os.environ[HOME] = tempfile.mkdtemp(prefix="mmpd-random-")
        atexit.register(shutil.rmtree, os.environ[HOME], ignore_errors=True)
    return Path(os.environ[HOME])


@functools.cache
def dino() -> Path:
    """transformers: DINOv2 of 2 layers, 64 wide, on 56 x 56 pixels."""
    return _made("random-dino", _dino)


@functools.cache
def convnext(share: float, seed: int = 4) -> Path:
    """transformers: ConvNext, 64 wide, that crops `share` of each side of a picture to 64 x 64 pixels."""
    return _made(f"random-convnext-{share}-{seed}", functools.partial(_convnext, share=share, seed=seed))


@functools.cache
def mobile() -> Path:
    """timm: a small EfficientNet that pads as TensorFlow does, on 96 x 96 pixels."""
    return _made("random-mobile", _mobile)


@functools.cache
def conse() -> Path:
    """timm: that EfficientNet with names of its classes; in `text`, a BERT of 2 layers, 64 wide, as sentence-transformers saves it."""
    return _made("random-conse", _conse)


@functools.cache
def blip2() -> Path:
    """transformers: BLIP-2 with a ViT and an OPT of 2 layers, 64 wide, and a byte-level BPE tokenizer trained on `_WORDS`."""
    return _made("random-blip2", _blip2)


def _made(name: str, make: Callable[[Path], None]) -> Path:
    folder = _home() / name
    if not folder.exists():
        folder.mkdir()
        with without_progress_bars():
            make(folder)
    return folder


def fill(model: torch.nn.Module, seed: int) -> None:
    """Draw a model's weights anew, scaled by fan-in; norms, biases and scalars keep the constants they start from.

    Uniform numbers of numpy's generator, because those are the same on every processor.
    """
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            values = rng.uniform(-1, 1, parameter.shape)
            if parameter.ndim < 2 and bool((parameter == parameter.reshape(-1)[0]).all()):
                continue
            fan_in = max(1, int(np.prod(parameter.shape[1:])))
            parameter.copy_(torch.from_numpy(values * np.sqrt(3 / fan_in)))


def _dino(folder: Path) -> None:
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


def _convnext(folder: Path, share: float, seed: int) -> None:
    from pipeline.torchvision_ops import declare_missing

    declare_missing()
    from transformers import ConvNextConfig, ConvNextImageProcessor, ConvNextModel

    with torch.random.fork_rng(devices=[]):
        model = ConvNextModel(ConvNextConfig(hidden_sizes=[16, 16, 32, 64], depths=[1, 1, 1, 1]))
    fill(model, seed=seed)
    model.save_pretrained(folder)
    ConvNextImageProcessor(size={"shortest_edge": 64}, crop_pct=share).save_pretrained(folder)


def _mobile(folder: Path, names: tuple[str, ...] = ()) -> None:
    import timm
    from timm.models import save_for_hf

    with torch.random.fork_rng(devices=[]):
        classes = {"num_classes": len(names)} if names else {}
        model = timm.create_model("test_efficientnet", pad_type="same", pretrained_cfg_overlay={"input_size": (3, 96, 96)}, **classes)
    fill(model, seed=6)
    if names:
        model.get_classifier().weight.data.mul_(30)  # so that it is sure of something
    save_for_hf(model, folder, model_config={"label_names": list(names)} if names else None, safe_serialization=True)


def _conse(folder: Path) -> None:
    _mobile(folder, tuple(f"{word}, thing" for word in _WORDS[40:80]))
    _sentences(folder / "text")


def _sentences(folder: Path) -> None:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    from pipeline.torchvision_ops import declare_missing

    declare_missing()
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: i for i, word in enumerate([*special, *dict.fromkeys(_WORDS)])}
    tokens = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokens.normalizer, tokens.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    tokens.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    named = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), special, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokens, **named).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=48,
    )
    with torch.random.fork_rng(devices=[]):
        model = BertModel(config)
    fill(model, seed=7)
    model.save_pretrained(folder)
    steps = [{"idx": i, "type": f"sentence_transformers.models.{step}"} for i, step in enumerate(("Transformer", "Pooling", "Normalize"))]
    (folder / "1_Pooling").mkdir()
    for file, content in {
        "modules.json": steps,
        "sentence_bert_config.json": {"max_seq_length": 32},
        "1_Pooling/config.json": {"word_embedding_dimension": 64, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False},
    }.items():
        (folder / file).write_text(json.dumps(content))


def _blip2(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    from pipeline.torchvision_ops import declare_missing

    declare_missing()
    from transformers import Blip2Config, Blip2ForConditionalGeneration, Blip2Processor, BlipImageProcessor, PreTrainedTokenizerFast

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
            **wide,
            "model_type": "opt",
            "vocab_size": len(tokenizer),
            "ffn_dim": 256,
            "word_embed_proj_dim": 64,
            "max_position_embeddings": 256,
            "bos_token_id": start,
            "eos_token_id": start,
            "pad_token_id": tokens.token_to_id("<pad>"),
        },
        num_query_tokens=8,
        image_token_index=tokens.token_to_id("<image>"),
    )
    with torch.random.fork_rng(devices=[]):
        model = Blip2ForConditionalGeneration(config)
    fill(model, seed=3)
    model.save_pretrained(folder)
