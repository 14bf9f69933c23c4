"""Train the starter teachers. This takes hours on two cores. A finished teacher is kept, and a stopped run continues.

    python -m pipeline.starter.train build/starter-teachers                        # all, in order
    python -m pipeline.starter.train build/starter-teachers --only starter-resnet  # one of them
    python -m pipeline.starter.train build/few --without boat --without tent       # none of these kinds is seen or named
    python -m pipeline.starter.train build/more --begin pipeline/starter/checkpoints  # the captioner goes on, on other shapes

Pictures, sentences and steps depend only on the seeds. Arithmetic is bfloat16 under autocast, so the last digits of weights differ between
processors.
"""

import hashlib
import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import Progress
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from cache_schema.errors import UserError
from pipeline.starter.kinds.catalog import KINDS
from pipeline.starter.pictures import Study, Views, augmented, draw, greyed
from pipeline.starter.shapes import REVISION
from pipeline.starter.students import GOING_ON, SIZE, STUDENTS, Lesson, Student, weights_to_go_on_from
from pipeline.starter.texts import corpus

STEPS: Final = {
    "starter-resnet": (3000, 3600, 4000),
    "starter-regnet": (5000, 4500, 4500),
    "starter-attributes": (4500,),
    "starter-parts": (400, 500),
    "starter-blip2": (3000, 1500, 3000, 6000, 5000),
}
"""Number of steps in each cycle of each model. The learning rate falls to 0 over a cycle, and starts high again in the next."""
MORE: Final = {"starter-blip2": (100, 1100)}
"""The same for models that go on from a checkpoint. In the first cycle they keep still, and their new heads alone learn: what these say at
first would teach them wrongly."""
MORE_STUDY: Final = Study(seed=4_000_000, shapes=4400)
"""Pictures for models that go on. Their shapes are new to them."""
BATCH: Final = 96
"""Pictures per step."""
PART_BATCH: Final = 32
"""Pictures per step where the parts in them are learned. A picture has more patches there."""
PART_STUDY: Final = Study(shapes=4000, chunk=100, parts=True)
"""Pictures from which starter-parts learns."""
RATE: Final = 1e-3
"""Highest learning rate of what begins at random."""
MORE_RATE: Final = 5e-4
"""Highest learning rate of what goes on from a checkpoint."""
WARM_UP: Final = 150
"""Steps over which the learning rate rises at the beginning of a cycle, or a tenth of the cycle if that is less."""
GREY: Final = 0.2
"""Share of pictures that are shown and described without colours."""
KEEP_EVERY: Final = 200
"""Number of steps between saved states."""
RARE: Final = 350
"""Heads learn a part if at least one in so many shapes has it."""

console = Console(stderr=True)


def lesson(views: Views, seed: int, step: int) -> Lesson:
    """Make the batch of one step."""
    rng = np.random.default_rng((seed, step))
    count = BATCH if views.part is None else min(BATCH, PART_BATCH)
    rows, column = rng.integers(len(views.rgb), size=count), rng.integers(views.rgb.shape[1], size=count)
    rgb = views.rgb[rows, column]  # [B, S, S, 3]
    grey = rng.random(count) < GREY
    rgb[grey] = greyed(rgb[grey])
    descriptions = [views.descriptions[row] for row in rows]
    descriptions = [one.without_colors() if hidden else one for one, hidden in zip(descriptions, grey, strict=True)]
    part = None if views.part is None else views.part[rows, column]
    pixels, part_seen = augmented(rgb, size=SIZE, rng=rng, part=part)
    return Lesson(pixels, descriptions, torch.from_numpy(views.proportions[rows]), views.kinds, rng, part_seen)


def share(step: int, cycles: Sequence[int]) -> float:
    """Return the learning rate at a step as a share of the highest: each cycle has a warm-up and half a cosine."""
    begin = 0
    for length in cycles:
        if step < begin + length:
            return min(1, (step - begin + 1) / min(WARM_UP, length / 10)) * (0.5 + 0.5 * math.cos(math.pi * (step - begin) / length))
        begin += length
    raise UserError(f"step {step} of {begin}")


def teach(
    student: Student,
    views: Views,
    name: str,
    folder: Path,
    *,
    cycles: Sequence[int],
    seed: int,
    rate: float = RATE,
    heads: nn.Module | None = None,
) -> None:
    """Train a model to the end, from the last saved state if there is one. Writes the checkpoint to `folder/NAME`.

    Args:
        student: the model.
        views: pictures to learn from.
        name: name of the model.
        folder: where its state and its checkpoint go.
        cycles: number of steps in each cycle of the learning rate.
        seed: seed of the batches.
        rate: highest learning rate.
        heads: those of its modules that are new, if it goes on from a checkpoint. They learn at `RATE`, and alone in the first cycle.
    """
    new = {id(parameter) for parameter in heads.parameters()} if heads is not None else set()
    parts: dict[tuple[bool, bool], list[nn.Parameter]] = {
        (flat, fresh): [] for fresh in (False, True)[: 1 + bool(new)] for flat in (True, False)
    }
    for parameter in student.model.parameters():
        parts[parameter.ndim < 2, id(parameter) in new].append(parameter)
    settings = [{"params": some, "weight_decay": 0.0 if flat else 0.05} for (flat, _), some in parts.items()]
    optimizer = torch.optim.AdamW(settings, lr=rate, betas=(0.9, 0.98), fused=True)
    kept, first = folder / f"state-{name}.pt", 0
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        student.model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    steps = sum(cycles)
    student.model.train()
    started = time.monotonic()
    with Progress(*Progress.get_default_columns(), "{task.fields[loss]}", console=console) as progress:
        task = progress.add_task(name, total=steps, completed=first, loss="")
        recent = 0.0
        for step in range(first, steps):
            # On a CPU in bfloat16, the backward pass of fused attention takes several times as long as plain products.
            with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
                loss = student.loss(lesson(views, seed, step))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(student.model.parameters(), 1.0, error_if_nonfinite=True)
            for (_, fresh), group in zip(parts, optimizer.param_groups, strict=True):
                highest = RATE if fresh else rate if not new or step >= cycles[0] else 0.0
                group["lr"] = highest * share(step, cycles)
            optimizer.step()
            recent = loss.item() if step == first else 0.98 * recent + 0.02 * loss.item()
            progress.update(task, advance=1, loss=f"loss {recent:.3f}")
            if (step + 1) % KEEP_EVERY == 0:
                draft = kept.with_suffix(".draft")
                torch.save({"model": student.model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}, draft)
                draft.rename(kept)
                left = timedelta(seconds=round((time.monotonic() - started) / (step + 1 - first) * (steps - step - 1)))
                console.print(f"{name} step {step + 1} of {steps}, {left} left, loss {recent:.3f}")
    place = folder / f".{name}"
    place.mkdir(exist_ok=True)
    student.model.eval()
    student.save(place)
    place.rename(folder / name)


def main(
    folder: Annotated[Path, typer.Argument(help="Where pictures, half-trained models and checkpoints go.")],
    only: Annotated[list[str] | None, typer.Option(help="Train this one; can be repeated.")] = None,
    shapes: Annotated[
        int | None, typer.Option(min=1, help=f"Shapes to draw six pictures of each: {Study.shapes}, or {MORE_STUDY.shapes} with --begin.")
    ] = None,
    steps: Annotated[float, typer.Option(help="Times the usual steps of each: 0.01 for a trial.")] = 1.0,
    rate: Annotated[float | None, typer.Option(help=f"Highest learning rate: {RATE}, or {MORE_RATE} with --begin.")] = None,
    seed: Annotated[int, typer.Option(help="Of initial weights and batches.")] = 0,
    without: Annotated[list[str] | None, typer.Option(help="A kind to leave out; can be repeated.")] = None,
    begin: Annotated[
        Path | None, typer.Option(help=f"Folder of checkpoints from which {', '.join(GOING_ON)} goes on. Take shapes it has not seen.")
    ] = None,
    seed_of_shapes: Annotated[
        int | None, typer.Option(help=f"Of the shapes that are drawn: {Study.seed}, or {MORE_STUDY.seed} with --begin.")
    ] = None,
) -> None:
    """Draw pictures and train the starter teachers."""
    if unknown := sorted(set(only or ()) - set(STUDENTS)):
        raise typer.BadParameter(f"no starter teacher is called {', '.join(unknown)}: there are {', '.join(STUDENTS)}")
    left = tuple(kind for kind in KINDS if kind in (without or ()))
    if unknown := sorted(set(without or ()) - set(KINDS)):
        raise typer.BadParameter(f"no kind is called {', '.join(unknown)}: there are {', '.join(KINDS)}")
    if len(left) == len(KINDS):
        raise typer.BadParameter("no kind is left to learn from")
    if begin and (other := sorted(set(only or ()) - set(GOING_ON))):
        raise typer.BadParameter(f"--begin is for {', '.join(GOING_ON)}, not for {', '.join(other)}")
    names, cycles, usual = (only or GOING_ON, MORE, MORE_STUDY) if begin else (only or STUDENTS, STEPS, Study())
    shapes, seed_of_shapes = shapes or usual.shapes, usual.seed if seed_of_shapes is None else seed_of_shapes
    rate = rate or (MORE_RATE if begin else RATE)
    begun = {name: hashlib.sha256(weights_to_go_on_from(begin, name).read_bytes()).hexdigest() for name in names} if begin else {}
    folder.mkdir(parents=True, exist_ok=True)
    settings: dict[str, object] = {"shapes": shapes, "revision": REVISION, "steps": steps, "cycles": cycles, "seed": seed}
    if begin or seed_of_shapes != Study.seed:
        settings |= {"begin": begun or None, "seed_of_shapes": seed_of_shapes}
    if rate != RATE:
        settings["rate"] = rate
    kept, asked = folder / "study.json", json.dumps(settings | ({"without": left} if left else {}))
    if kept.exists() and kept.read_text() != asked:
        raise typer.BadParameter(f"{folder} holds what {kept.read_text()} made, asked {asked}: name another folder")
    kept.write_text(asked)
    seen: dict[Study, Views] = {}
    for name in names:
        if (folder / name).exists():
            console.print(f"{name} is there")
            continue
        study = replace(PART_STUDY, shapes=min(shapes, PART_STUDY.shapes)) if name == "starter-parts" else Study(shapes=shapes)
        study = replace(study, seed=seed_of_shapes, without=left)
        if study not in seen:
            seen[study] = draw(folder, study, workers=os.cpu_count() or 1)
        views = seen[study]
        torch.manual_seed(seed)
        parts = views.usual_parts(max(1, len(views.descriptions) // RARE))
        lengths = [max(1, round(length * steps)) for length in cycles[name]]
        if begin:
            older = GOING_ON[name](parts, begin)
            teach(older, views, name, folder, cycles=lengths, seed=seed, rate=rate, heads=older.heads)
        else:
            words = list(corpus(views.descriptions[:: max(1, len(views.descriptions) // 2000)], np.random.default_rng(seed)))
            teach(STUDENTS[name](words, parts, folder), views, name, folder, cycles=lengths, seed=seed, rate=rate)


if __name__ == "__main__":
    try:
        typer.run(main)
    except UserError as error:
        raise SystemExit(str(error)) from error
