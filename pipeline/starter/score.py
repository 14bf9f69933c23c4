"""Score the starter teachers on unseen shapes, with the code that loads any teacher, and write their model cards.

    python -m pipeline.starter.score                                   # those that are shipped; prints JSON
    python -m pipeline.starter.score build/starter-teachers --card     # new ones, and their model cards

zero-shot  share of views, and of shapes by the mean over their views, whose kind is recognised, with 64 sentences for each kind
parts      share of pixels whose part is named right among all names of parts, by patch features; and its mean over parts
captions   share of captions that name the kind, and share of stated attributes that are true; captions as in the recipe `default`
nearest    for the teacher without text: share of views whose nearest view of another shape has the same kind
"""

import dataclasses
import json
import re
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import track

from cache_schema.spec import LabelSet, ViewSpec
from pipeline import labels
from pipeline.cameras import RIGS
from pipeline.captioners.catalog import load as load_captioner
from pipeline.geometry import normalized
from pipeline.ranking import rank
from pipeline.recipes import configured
from pipeline.starter.kinds.catalog import KINDS
from pipeline.starter.kinds.thing import PARTS
from pipeline.starter.pictures import NOTHING, Study, draw
from pipeline.starter.shapes import Description, make
from pipeline.starter.texts import claims, wrong
from pipeline.teachers import catalog
from pipeline.weights import SHIPPED

SEED: Final = 500_000
"""Seed of the shapes that are scored. The collection and the training have others."""

BACKEND: Final = {
    "starter-resnet": "open_clip",
    "starter-regnet": "open_clip",
    "starter-attributes": "transformers",
    "starter-parts": "open_clip",
}
KNOWS_PARTS: Final = "starter-parts"
CAPTIONER: Final = "starter-blip2"

Numbers = dict[str, Any]

VIEWS, SHAPES, NEAREST = "zero-shot of single views", "zero-shot of shapes, by the mean over their four views", "nearest"
PIXELS, PARTWISE = "parts of pixels, of all names of parts", "parts of pixels, mean over parts"
KIND, RIGHT = "names the kind", "attributes right"
SHARES: Final = (VIEWS, SHAPES, NEAREST, PIXELS, PARTWISE, KIND, RIGHT)


def drawn(count: int) -> tuple[np.ndarray, list[Description]]:
    """Draw unseen shapes with the cameras of `ring4`, as a build does. Returns pictures [N, V, H, W, 3] and descriptions [N]."""
    from pipeline.render import Renderer

    made = [make(SEED, index) for index in range(count)]
    with closing(Renderer(ViewSpec(rig=RIGS["ring4"]))) as renderer:
        rgb = np.stack([renderer.render(normalized(one.mesh, "unit_sphere")).rgb for one in track(made, "drawing", console=_console)])
    return rgb, [one.description for one in made]


def named(name: str, folder: Path, rgb: np.ndarray, descriptions: list[Description]) -> Numbers:
    """Score a teacher, with or without text."""
    teacher = _loaded(name, folder)
    shapes, views = rgb.shape[:2]
    pixels = torch.stack([teacher.preprocess(image) for image in rgb.reshape(-1, *rgb.shape[2:])])
    image = torch.cat([teacher.embed_images(batch) for batch in track(pixels.split(64), name, console=_console)])
    image = torch.nn.functional.normalize(image, dim=1)
    truth = torch.tensor([list(KINDS).index(one.kind) for one in descriptions]).repeat_interleave(views)
    if not teacher.spec.text:
        alike = image @ image.T
        shape = torch.arange(shapes).repeat_interleave(views)
        alike[shape[:, None] == shape[None]] = -1
        return {NEAREST: _share(truth[alike.argmax(1)] == truth)}
    kinds = LabelSet(name="kinds", classes=tuple(KINDS), templates=labels.TEMPLATES)
    sentences = torch.from_numpy(labels.embed(kinds, teacher)).float()  # [C, M, E]
    classes = torch.nn.functional.normalize(torch.nn.functional.normalize(sentences, dim=-1).mean(1), dim=1)  # [C, E]
    near = image @ classes.T  # [N V, C]
    guess, whole = near.argmax(1), near.view(shapes, views, -1).mean(1).argmax(1)
    missed = Counter(list(KINDS)[k] for k in truth[guess != truth].tolist())
    return {
        VIEWS: _share(guess == truth),
        SHAPES: _share(whole == truth[::views]),
        "views missed of the hardest kinds": dict(missed.most_common(5)),
    }


def parted(folder: Path, count: int) -> Numbers:
    """Score patch features by the names of the parts that pixels show, in random views of unseen shapes."""
    teacher = _loaded(KNOWS_PARTS, folder)
    with tempfile.TemporaryDirectory() as place:
        views = draw(Path(place), Study(seed=SEED, shapes=count, views=4, chunk=min(count, 50), parts=True), workers=1)
    assert views.part is not None
    names = LabelSet(name="parts", classes=PARTS, templates=labels.PART_TEMPLATES)
    normalize = torch.nn.functional.normalize
    texts = normalize(normalize(torch.from_numpy(labels.embed(names, teacher)).float(), dim=-1).mean(1), dim=1)  # [C, E]
    right, seen = torch.zeros(len(PARTS)), torch.zeros(len(PARTS))
    for rgb, part in track(zip(views.rgb, views.part, strict=True), KNOWS_PARTS, total=count, console=_console):
        maps = teacher.embed_patches(torch.stack([teacher.preprocess(image) for image in rgb])).permute(0, 3, 1, 2)  # [V, E, h, h]
        fine = torch.nn.functional.interpolate(maps, size=part.shape[-2:], mode="bilinear", align_corners=False)
        guess = torch.einsum("vexy,ce->vcxy", normalize(fine, dim=1), texts).argmax(1)  # [V, S, S]
        truth = torch.from_numpy(part).long()
        shown = truth != NOTHING
        seen += torch.bincount(truth[shown], minlength=len(PARTS))
        right += torch.bincount(truth[shown & (guess == truth)], minlength=len(PARTS))
    return {PIXELS: round(float(right.sum() / seen.sum()), 4), PARTWISE: round(float((right / seen)[seen > 0].mean()), 4)}


def _loaded(name: str, folder: Path) -> catalog.Teacher:
    return catalog.load(f"{name}={BACKEND[name]}:{(folder / name).absolute()}")


def captioned(folder: Path, rgb: np.ndarray, descriptions: list[Description]) -> Numbers:
    """Score the captioner by the best caption of each view."""
    recipe = configured("default", []).captions
    assert recipe is not None
    captioner = load_captioner(dataclasses.replace(recipe, model=str((folder / CAPTIONER).absolute())))
    judge = _loaded(recipe.rank_by, folder)
    kept: list[str] = []
    for start in track(range(0, len(rgb), 16), CAPTIONER, console=_console):
        images = rgb[start : start + 16].reshape(-1, *rgb.shape[2:])
        texts = captioner.caption(images, [f"{start}/{i}" for i in range(len(images))], [""] * len(images))  # [B], samples each
        seen = judge.embed_images(torch.stack([judge.preprocess(image) for image in images])).numpy()
        read = np.stack([judge.embed_texts(row).numpy() for row in texts])
        order, _ = rank(seen, read)
        kept += [row[best] for row, best in zip(texts, order[:, 0], strict=True)]
    said = [claims(text) for text in kept]
    truths = [truth for truth in descriptions for _ in range(rgb.shape[1])]
    checked = [wrong(one, truth) for one, truth in zip(said, truths, strict=True)]
    stated, mistakes = sum(count for _, count in checked), sum(len(untrue) for untrue, _ in checked)
    named = [one.kind == truth.kind for one, truth in zip(said, truths, strict=True)]
    examples = [f"{text} | {truth.kind}: {', '.join(bad)}" for text, truth, (bad, _) in zip(kept, truths, checked, strict=True)]
    return {
        KIND: _share(torch.tensor(named)),
        RIGHT: round(1 - mistakes / stated, 4) if stated else None,
        "attributes a caption": round(stated / len(kept), 2),
        "examples": examples[:: rgb.shape[1]][:12],
    }


def card(name: str, scores: Numbers, shapes: int, before: str = "") -> str:
    """Write the model card of a teacher. A paragraph `These weights: ...` of the previous card is kept."""
    history = "".join(re.findall(r"^These weights: .*?\n(?=\n)", before, re.DOTALL | re.MULTILINE))
    what = {
        "starter-resnet": "an image-text model (CLIP) with a ResNet. Load: `open_clip.create_model('local-dir:FOLDER')`",
        "starter-regnet": "an image-text model (CLIP) with a RegNet. Load: `open_clip.create_model('local-dir:FOLDER')`",
        "starter-attributes": "a vision transformer of DINOv2's form. Load: `transformers.AutoModel.from_pretrained('FOLDER')`",
        KNOWS_PARTS: "an image-text model (CLIP) with a ViT whose patch features are near the names of the parts that they show. "
        "Load: `open_clip.create_model('local-dir:FOLDER')`",
        CAPTIONER: "a captioner (BLIP-2). Load: `transformers.Blip2ForConditionalGeneration.from_pretrained('FOLDER')`",
    }[name]
    shares = [key for key in SHARES if scores.get(key) is not None]
    numbers = "\n".join(f"- {key}: {scores[key]:.1%}" for key in shares)
    return f"""# {name}

A small teacher for a first cache without downloads: {what}.

Trained from nothing by `make starter-teachers` on pictures of shapes made in code (`pipeline/starter/kinds`), with sentences of a
grammar over their descriptions (`pipeline/starter/texts.py`). It has seen no photograph, no person and no text but that.
{history}
Scores on {shapes} shapes of other seeds, four views each (`python -m pipeline.starter.score`):

{numbers}

The kinds and the sentences are those it was taught; only the shapes are new to it.

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
    if not any((folder / name).is_dir() for name in (*BACKEND, CAPTIONER)):
        raise typer.BadParameter(f"{folder} has none of {', '.join((*BACKEND, CAPTIONER))}")
    rgb, descriptions = drawn(shapes)
    scores = {name: named(name, folder, rgb, descriptions) for name in BACKEND if (folder / name).is_dir()}
    if (folder / KNOWS_PARTS).is_dir():
        scores[KNOWS_PARTS] |= parted(folder, shapes)
    if (folder / CAPTIONER).is_dir():
        scores[CAPTIONER] = captioned(folder, rgb, descriptions)
    if cards:
        for name, numbers in scores.items():
            path = folder / name / "README.md"
            path.write_text(card(name, numbers, shapes, path.read_text() if path.exists() else ""))
    typer.echo(json.dumps(scores, indent=2))


if __name__ == "__main__":
    typer.run(main)
