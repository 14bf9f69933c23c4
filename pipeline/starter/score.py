"""What the starter teachers can do on shapes they have not seen, by the code that loads any teacher. Writes a model card into each.

    python -m pipeline.starter.score                                   # those that are shipped; prints JSON
    python -m pipeline.starter.score build/starter-teachers --card     # new ones, and their model cards

zero-shot  each view alone, and each shape by the mean over its views, against 64 sentences for each kind: share named rightly
captions   one sample a view as a build draws it: share that name the kind, and share of stated attributes that are so
nearest    for the teacher without words: share of views whose nearest view of another shape is of the same kind
"""

import json
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import track

from cache_schema.spec import CaptionSpec, LabelSet, ViewSpec
from pipeline import caption, labels
from pipeline.cameras import RIGS
from pipeline.mesh import normalized
from pipeline.sources.kinds.catalog import KINDS
from pipeline.sources.shapes import Description, make
from pipeline.starter.texts import claims, wrong
from pipeline.teachers import catalog
from pipeline.weights import SHIPPED

SEED: Final = 500_000
"""Of the shapes to be named: not those of the collection, nor those learned from."""

BACKEND: Final = {"starter-resnet": "open_clip", "starter-regnet": "open_clip", "starter-attributes": "transformers"}
CAPTIONER: Final = "starter-blip2"

Numbers = dict[str, Any]


def drawn(count: int) -> tuple[np.ndarray, list[Description]]:
    """Unseen shapes from the four sides of `ring4`, as a build draws them. [N, V, H, W, 3], [N]"""
    from pipeline.render import Renderer

    made = [make(SEED, index) for index in range(count)]
    with closing(Renderer(ViewSpec(rig=RIGS["ring4"]))) as renderer:
        rgb = np.stack([renderer.render(normalized(one.mesh, "unit_sphere")).rgb for one in track(made, "drawing", console=_console)])
    return rgb, [one.description for one in made]


def named(name: str, folder: Path, rgb: np.ndarray, descriptions: list[Description]) -> Numbers:
    """Scores of an image-text teacher, or of one without text."""
    teacher = catalog.load(f"{name}={BACKEND[name]}:{(folder / name).absolute()}")
    shapes, views = rgb.shape[:2]
    pixels = torch.stack([teacher.preprocess(image) for image in rgb.reshape(-1, *rgb.shape[2:])])
    image = torch.cat([teacher.embed_images(batch) for batch in track(pixels.split(64), name, console=_console)])
    image = torch.nn.functional.normalize(image, dim=1)
    truth = torch.tensor([list(KINDS).index(one.kind) for one in descriptions]).repeat_interleave(views)
    if not teacher.spec.text:
        alike = image @ image.T
        shape = torch.arange(shapes).repeat_interleave(views)
        alike[shape[:, None] == shape[None]] = -1
        return {"nearest": _share(truth[alike.argmax(1)] == truth)}
    kinds = LabelSet(name="kinds", classes=tuple(KINDS), templates=labels.TEMPLATES)
    sentences = torch.from_numpy(labels.embed(kinds, teacher)).float()  # [C, M, E]
    classes = torch.nn.functional.normalize(torch.nn.functional.normalize(sentences, dim=-1).mean(1), dim=1)  # [C, E]
    near = image @ classes.T  # [N V, C]
    guess, whole = near.argmax(1), near.view(shapes, views, -1).mean(1).argmax(1)
    missed = Counter(list(KINDS)[k] for k in truth[guess != truth].tolist())
    return {
        "zero-shot of single views": _share(guess == truth),
        "zero-shot of shapes, by the mean over their four views": _share(whole == truth[::views]),
        "views missed of the hardest kinds": dict(missed.most_common(5)),
    }


def captioned(folder: Path, rgb: np.ndarray, descriptions: list[Description]) -> Numbers:
    """Scores of the captioner, one caption a view."""
    spec = CaptionSpec(captioner="blip2", model=str((folder / CAPTIONER).absolute()), samples=1, temperature=0.7)
    captioner = caption.load(spec, batch=32)
    right, mistakes, stated = 0, 0, 0
    examples: list[str] = []
    views = rgb.shape[1]
    for start in track(range(0, len(rgb), 8), CAPTIONER, console=_console):
        images = rgb[start : start + 8].reshape(-1, *rgb.shape[2:])
        keys = [f"{start + i // views}/{i % views}" for i in range(len(images))]
        for i, (text,) in enumerate(captioner.caption(images, keys, [""] * len(images))):
            truth = descriptions[start + i // views]
            said = claims(text)
            right += said.kind == truth.kind
            untrue, count = wrong(said, truth)
            mistakes, stated = mistakes + len(untrue), stated + count
            if i == 0:
                examples.append(f"{text} | {truth.kind}: {', '.join(untrue)}")
    captions = len(rgb) * views
    attributes = {"attributes right": round(1 - mistakes / max(1, stated), 4), "attributes a caption": round(stated / captions, 2)}
    return {"names the kind": round(right / captions, 4), **attributes, "examples": examples[:12]}


def card(name: str, scores: Numbers, shapes: int) -> str:
    """The model card of one."""
    what = {
        "starter-resnet": "an image-text model (CLIP) with a ResNet. Load: `open_clip.create_model('local-dir:FOLDER')`",
        "starter-regnet": "an image-text model (CLIP) with a RegNet. Load: `open_clip.create_model('local-dir:FOLDER')`",
        "starter-attributes": "a vision transformer of DINOv2's form. Load: `transformers.AutoModel.from_pretrained('FOLDER')`",
        CAPTIONER: "a captioner (BLIP-2). Load: `transformers.Blip2ForConditionalGeneration.from_pretrained('FOLDER')`",
    }[name]
    numbers = "\n".join(f"- {key}: {value:.1%}" for key, value in scores.items() if isinstance(value, float) and value <= 1)
    return f"""# {name}

A small teacher for a first cache without downloads: {what}.

Trained from nothing by `make starter-teachers` on pictures of shapes made in code (`pipeline/sources/kinds`), with sentences of a
grammar over their descriptions (`pipeline/starter/texts.py`). It has seen no photograph, no person and no text but that.

Scores on {shapes} shapes of other seeds, four views each (`python -m pipeline.starter.score`):

{numbers}

Limits: knows {len(KINDS)} kinds of things on plain backgrounds at 96 x 96 pixels. Good for trying this project, for nothing else.
"""


def _share(right: torch.Tensor) -> float:
    return round(float(right.float().mean()), 4)


_console = Console(stderr=True)


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of the checkpoints.")] = SHIPPED,
    shapes: Annotated[int, typer.Option(help="Shapes to be named.")] = 10 * len(KINDS),
    cards: Annotated[bool, typer.Option("--card", help="Write README.md into each checkpoint.")] = False,
) -> None:
    """Score starter teachers on shapes they have not seen."""
    rgb, descriptions = drawn(shapes)
    scores = {name: named(name, folder, rgb, descriptions) for name in BACKEND if (folder / name).is_dir()}
    if (folder / CAPTIONER).is_dir():
        scores[CAPTIONER] = captioned(folder, rgb, descriptions)
    if cards:
        for name, numbers in scores.items():
            (folder / name / "README.md").write_text(card(name, numbers, shapes))
    typer.echo(json.dumps(scores, indent=2))


if __name__ == "__main__":
    typer.run(main)
