"""Draw pictures of starter shapes for training, with random views, lenses and backgrounds, and augment them with light and crops.

    views = draw(folder, Study(shapes=12000), workers=2)     # resumable: a chunk that lies in the folder is not drawn again
    pixels, _ = augmented(views.rgb[rows], size=96, rng=rng) # [B, 3, 96, 96] in 0..1
    draw(folder, Study(parts=True), workers=2).part          # for each pixel, which part of the shape it shows

Letters: N shapes, V views, B pictures, S pixels a side.
"""

import json
import multiprocessing
import os
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor
from torch.nn import functional as F

from cache_schema.spec import Camera, CameraRig, ViewSpec, fingerprint, from_json, to_json
from pipeline.geometry import Mesh, label_of_faces, normalized, of_faces
from pipeline.starter.kinds.catalog import KINDS
from pipeline.starter.shapes import REVISION, Description, make
from pipeline.words import counted

NOTHING: Final = 255
"""Number of the part where a picture shows no part."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """Which pictures to draw."""

    seed: int = 1_000_000
    """Seed of the shapes. It is far from usual seeds of collections, so that shapes of collections stay unseen."""
    shapes: int = 14_000
    views: int = 6
    """Number of pictures of each shape."""
    size: int = 112
    """Height and width of a picture in pixels."""
    chunk: int = 200
    """Number of shapes that are drawn and saved at a time."""
    parts: bool = False
    """Whether to draw, beside each picture, which part every pixel shows."""
    without: tuple[str, ...] = ()
    """Kinds that are not drawn, for models that must not know them."""

    def index(self, number: int) -> int:
        """The index of a shape of the study, for `shapes.make`: the kinds take turns, without those that are left out."""
        drawn = [place for place, kind in enumerate(KINDS) if kind not in self.without]
        turn, place = divmod(number, len(drawn))
        return turn * len(KINDS) + drawn[place]

    @property
    def name(self) -> str:
        """Name of the folder of its pictures. It does not tell the number of shapes: more may be drawn later."""
        left = f"-without-{fingerprint(self.without)[:8]}" if self.without else ""
        return f"pictures-r{REVISION}-{self.seed}-{self.views}x{self.size}-{self.chunk}{'-parts' * self.parts}{left}"


class Views(NamedTuple):
    rgb: NDArray[np.uint8]
    """[N, V, S, S, 3]"""
    descriptions: list[Description]
    """[N]"""
    proportions: NDArray[np.float32]
    """[N, 2]: logarithms of height over width and of depth over width."""
    part: NDArray[np.uint8] | None = None
    """[N, V, S, S]: index in `kinds.thing.PARTS` of the part at the middle of each pixel, `NOTHING` beside the shape. None if the study has
    no parts."""

    @property
    def kinds(self) -> list[str]:
        """The kinds of these shapes, in the order of `KINDS`."""
        seen = {description.kind for description in self.descriptions}
        return [kind for kind in KINDS if kind in seen]

    def usual_parts(self, least: int) -> list[str]:
        """List parts with their numbers, such as `two armrest`, that at least `least` shapes have."""
        seen = Counter(f"{counted(part.count)} {part.noun}" for description in self.descriptions for part in description.parts)
        return sorted(part for part, count in seen.items() if count >= least)


def draw(folder: Path, study: Study, *, workers: int) -> Views:
    """Draw pictures, or read those that were drawn before. They do not depend on the number of workers.

    Raises:
        UserError: OpenGL cannot be had here.
    """
    place = folder / study.name
    place.mkdir(parents=True, exist_ok=True)
    starts = range(0, study.shapes, study.chunk)
    todo = [(place, study, start) for start in starts if not _path(place, start).exists()]
    os.environ["LP_NUM_THREADS"] = "1"  # software OpenGL's own threads, of which each worker needs one
    if todo:
        with multiprocessing.get_context("spawn").Pool(min(workers, len(todo))) as pool:
            for _ in track(pool.imap_unordered(_draw_chunk, todo), f"drawing {study.shapes} shapes", total=len(todo)):
                pass
    rgb = np.empty((study.shapes, study.views, study.size, study.size, 3), np.uint8)
    part = np.empty(rgb.shape[:-1], np.uint8) if study.parts else None
    known = []
    for start in starts:
        rows = rgb[start : start + study.chunk]
        rows[:] = np.load(_path(place, start))[: len(rows)]
        if part is not None:
            part[start : start + study.chunk] = np.load(_parts_path(place, start))[: len(rows)]
        known += json.loads(_path(place, start).with_suffix(".json").read_text())[: len(rows)]
    return Views(
        rgb=rgb,
        descriptions=[from_json(Description, one["description"]) for one in known],
        proportions=np.array([one["proportions"] for one in known], np.float32),
        part=part,
    )


def _path(place: Path, start: int) -> Path:
    return place / f"{start:06d}.npy"


def _parts_path(place: Path, start: int) -> Path:
    return place / f"{start:06d}.parts.npy"


def _draw_chunk(task: tuple[Path, Study, int]) -> None:
    from pipeline.render import Renderer

    place, study, start = task
    chunk = np.empty((study.chunk, study.views, study.size, study.size, 3), np.uint8)
    part = np.full(chunk.shape[:-1], NOTHING, np.uint8)
    known = []
    rng = np.random.default_rng((study.seed, start))
    spec = ViewSpec(rig=_rig(rng, study.views), size=study.size)
    with closing(Renderer(spec)) as renderer, closing(Renderer(replace(spec, depth=True), oversampling=1)) as numbers:
        for i in range(study.chunk):
            made = make(study.seed, study.index(start + i))
            white = rng.random() < 0.5
            red, green, blue = (255, 255, 255) if white else rng.integers(0, 256, 3).tolist()
            renderer.spec = replace(spec, rig=_rig(rng, study.views), background=(red, green, blue))
            shape = normalized(made.mesh, "unit_sphere")
            drawn = renderer.render(shape)
            chunk[i] = drawn.rgb
            if study.parts:
                assert isinstance(shape, Mesh)
                numbers.spec = replace(renderer.spec, depth=True)
                split, label = by_label(shape)
                seen = np.stack([shot.part for shot in numbers.shots(split, drawn.pose, colors=False)])  # [V, S, S], -1 for nothing
                part[i] = np.append(label, NOTHING)[seen]
            size = np.ptp(np.concatenate([part.vertices for part in made.mesh.parts]), axis=0)
            known.append({"description": to_json(made.description), "proportions": np.log(size[1:] / size[0]).tolist()})
    path = _path(place, start)
    path.with_suffix(".json").write_text(json.dumps(known))
    if study.parts:
        np.save(_parts_path(place, start), part)
    np.save(path.with_suffix(".draft.npy"), chunk)
    path.with_suffix(".draft.npy").rename(path)  # last: what is there is whole


def by_label(mesh: Mesh) -> tuple[Mesh, NDArray[np.uint8]]:
    """Split the parts of a mesh so that each has one label. Returns the mesh, and the label of each of its parts, `NOTHING` for -1."""
    parts, labels = [], []
    for part in mesh.parts:
        of_face = label_of_faces(part, "part")
        for label in np.unique(of_face):
            parts.append(of_faces(part, np.flatnonzero(of_face == label)))
            labels.append(NOTHING if label < 0 else int(label))
    return replace(mesh, parts=tuple(parts)), np.array(labels, np.uint8)


def _rig(rng: np.random.Generator, views: int) -> CameraRig:
    """Choose random cameras around a shape, mostly a little above it, as people take pictures."""
    elevations = np.clip(rng.normal(25, 18, views), -30, 80)
    cameras = tuple(Camera(azimuth=float(a), elevation=float(e)) for a, e in zip(rng.uniform(0, 360, views), elevations, strict=True))
    return CameraRig(name="random", cameras=cameras, fov=float(rng.uniform(25, 60)))


def augmented(
    rgb: NDArray[np.uint8], *, size: int, rng: np.random.Generator, part: NDArray[np.uint8] | None = None
) -> tuple[Tensor, Tensor | None]:
    """Augment pictures by crops, mirror images, light from a side and exposure. Hues stay, because sentences name colours.

    Args:
        rgb: [B, S, S, 3].
        size: height and width of the results.
        rng: random generator.
        part: parts in the pictures, cropped and mirrored like them. [B, S, S]

    Returns:
        Pictures [B, 3, size, size] float32 in 0..1; and the parts [B, size, size] int64, or None.
    """
    count = len(rgb)

    def drawn(low: float, high: float, *shape: int) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, (count, *shape)).astype(np.float32))

    pixels = torch.from_numpy(rgb).permute(0, 3, 1, 2).float() / 255
    zoom = drawn(0.78, 1.1)
    flip = torch.where(drawn(0, 1) < 0.5, -1.0, 1.0)
    turn = drawn(-0.12, 0.12)
    theta = torch.stack(
        [torch.stack([zoom * flip, turn, drawn(-0.12, 0.12)], 1), torch.stack([-turn * flip, zoom, drawn(-0.12, 0.12)], 1)], 1
    )  # [B, 2, 3]
    grid = F.affine_grid(theta, [count, 3, size, size], align_corners=False)
    pixels = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
    if part is not None:
        moved = F.grid_sample(torch.from_numpy(part).float()[:, None], grid, mode="nearest", padding_mode="border", align_corners=False)
    side, angle = drawn(0, 0.3), drawn(0, 2 * np.pi)
    ramp = grid[..., 0] * torch.cos(angle)[:, None, None] + grid[..., 1] * torch.sin(angle)[:, None, None]  # [B, S, S]
    light = drawn(0.8, 1.15)[:, None, None] * (1 + side[:, None, None] * ramp)
    lit = (pixels.clamp(min=1e-4) ** drawn(0.75, 1.35)[:, None, None, None] * light[:, None]).clamp(0, 1)
    return lit, None if part is None else moved[:, 0].long()


def greyed(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return pictures without colours. [..., 3]"""
    light = (rgb @ np.array([0.299, 0.587, 0.114], np.float32)).astype(np.uint8)
    return np.repeat(light[..., None], 3, axis=-1)
