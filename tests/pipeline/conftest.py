"""A small collection of mesh files and a cache built from it, shared by the tests of the pipeline."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from cache_schema.spec import CaptionSpec, PointSpec, ViewSpec
from pipeline import commands, run
from pipeline.cameras import RIGS
from pipeline.recipes import BuildConfig, configured
from tests.pipeline import checkpoints


class Silent:
    """A terminal nobody looks at."""

    def say(self, text: str) -> None: ...

    def begin(self, totals: dict[str, int]) -> None: ...

    def advance(self, product: str, units: int) -> None: ...


def box_off(size: tuple[float, float, float]) -> str:
    """An OFF file of a box."""
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * size
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    lines = [" ".join(map(str, corner)) for corner in corners] + [f"4 {' '.join(map(str, face))}" for face in faces]
    return f"OFF\n8 6 0\n{chr(10).join(lines)}\n"


def write_meshes(folder: Path) -> Path:
    """Two classes, two splits, seven boxes and two files that are no shapes."""
    for i in range(7):
        file = folder / ("tower" if i % 2 else "slab") / ("test" if i > 4 else "train") / f"box_{i}.off"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(box_off((1, 1, 2 + i) if i % 2 else (3, 2 + i, 1)))
    (folder / "slab" / "train" / "broken.off").write_text("OFF\n3 1 0\n0 0 nan\n")
    (folder / "tower" / "test" / "empty.off").write_text("")
    return folder


def small(**changes: object) -> BuildConfig:
    """A build in which everything happens and nothing takes long."""
    config = configured("smoke", [])
    config = dataclasses.replace(
        config,
        points=PointSpec(count=64, blocks=2, ordered=16),
        views=ViewSpec(rig=RIGS["ring4"], size=48),
        shard=4,
        teachers=("starter-resnet", f"random-dino=transformers:{checkpoints.dino()}"),
        captions=CaptionSpec(captioner="blip2", model=str(checkpoints.blip2()), samples=2, max_tokens=8, rank_by="starter-resnet"),
    )
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]


def build(meshes: Path, path: Path, config: BuildConfig | None = None, **machine: object) -> commands.Cache:
    settings = {"workers": 1, "device": "cpu", **machine}
    return commands.build_cache(str(meshes), path, config or small(), commands.Machine(**settings), Silent())  # type: ignore[arg-type]


@pytest.fixture(scope="session", autouse=True)
def asked_once():
    """What draws the pictures here is asked once and not at every build: the process that answers costs half of a small build."""
    ask, answers = run.renderer, {}

    def renderer(task):
        drawing = task.views is not None
        if drawing not in answers:
            answers[drawing] = ask(task)
        return answers[drawing]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "renderer", renderer)
        yield


@pytest.fixture(scope="session")
def meshes(tmp_path_factory):
    return write_meshes(tmp_path_factory.mktemp("collection") / "boxes")


@pytest.fixture(scope="session")
def built(meshes, tmp_path_factory):
    """A complete cache. Not to be changed: `copied` is."""
    path = tmp_path_factory.mktemp("built") / "boxes.zarr"
    build(meshes, path)
    return path


@pytest.fixture
def copied(built, tmp_path):
    """A copy of it, with its journal, to do things to."""
    shutil.copytree(built, tmp_path / built.name)
    shutil.copy(f"{built}.journal", tmp_path)
    return tmp_path / built.name


def contents(path: Path) -> dict[str, bytes]:
    """Every file of a cache with its bytes."""
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}
