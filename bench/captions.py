"""Captions a second by BLIP-2, against the plain loop of transformers that encodes each picture once and has a row for each sample.

    python bench/captions.py [--rounds 5] [--device cpu]

starter  the captioner that comes with the project: 12 views a call, 8 captions each
large    a BLIP-2 with a ViT of 12 layers 768 wide, a Q-Former of 12 and an OPT of 12, as many words as OPT has, 4 captions of 2 pictures;
         random weights, so that captions differ from the first word on and no end shortens them: the least that sharing can bring.
         In float32 and in bfloat16

Both ways write the same captions, which is checked first (in bfloat16 on a CPU, up to rounding).
"""

import argparse
import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import Report

from cache_schema.spec import CaptionSpec
from pipeline.captioners import catalog
from pipeline.starter.score import drawn
from tests.pipeline import plain_captions

PICTURES, SAMPLES, WORDS = 2, 4, 24


def large(folder: Path) -> Path:
    """Write a BLIP-2 of random weights, with the processor of the starter's."""
    from transformers import Blip2Config, Blip2ForConditionalGeneration, Blip2Processor

    starter = Path(catalog.__file__).parents[1] / "starter/checkpoints/starter-blip2"
    processor = Blip2Processor.from_pretrained(starter)
    processor.image_processor.size = {"height": 224, "width": 224}
    processor.num_query_tokens = 32
    vision = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12, "patch_size": 14}
    former = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072, "encoder_hidden_size": 768}
    text = {"model_type": "opt", "hidden_size": 768, "ffn_dim": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    config = Blip2Config(
        vision_config=vision,
        qformer_config=former,
        text_config=text | {"vocab_size": 50272, "word_embed_proj_dim": 768, "eos_token_id": 2, "pad_token_id": 1, "bos_token_id": 2},
        num_query_tokens=32,
        image_token_index=4,
    )
    torch.manual_seed(0)
    Blip2ForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def compared(report: Report, what: str, spec: CaptionSpec, images: np.ndarray, arguments: argparse.Namespace) -> None:
    """Measure one captioner both ways."""
    captioner: Any = catalog.load(spec, device=arguments.device)
    keys = [f"shape#{i}" for i in range(len(images))]
    ours, plain = captioner.caption(images, keys, [""] * len(images)), plain_captions.caption(captioner, images, keys)
    alike = np.mean([a == b for one, other in zip(ours, plain, strict=True) for a, b in zip(one, other, strict=True)])
    assert alike == 1 or spec.precision != "float32", alike
    ways = {
        "ours": lambda: captioner.caption(images, keys, [""] * len(images)) and None,
        "plain generate": lambda: plain_captions.caption(captioner, images, keys) and None,
    }
    report.compare(f"{what}, {alike:.0%} of the captions equal", ways, arguments.rounds, per=len(images) * spec.samples, unit="captions")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # as a build does on a CPU; see `pipeline.models.Models`
    with Report("captions") as report, tempfile.TemporaryDirectory() as folder:
        views = drawn(3)[0].reshape(12, 224, 224, 3)
        compared(report, "starter-blip2, 12 views, 8 captions each", catalog.CAPTIONERS["starter-blip2"].spec, views, arguments)
        images = np.random.default_rng(0).integers(0, 256, (PICTURES, 224, 224, 3), dtype=np.uint8)
        spec = CaptionSpec(captioner="blip2", model=str(large(Path(folder))), samples=SAMPLES, max_tokens=WORDS)
        for precision in ("float32", "bfloat16"):
            one = dataclasses.replace(spec, precision=precision)  # type: ignore[arg-type]
            compared(
                report, f"BLIP-2 with ViT-B and OPT-125M, {PICTURES} pictures, {SAMPLES} captions each, {precision}", one, images, arguments
            )


if __name__ == "__main__":
    main()
