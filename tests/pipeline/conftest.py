"""A small collection of mesh files and a cache built from it, shared by the tests of the pipeline."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from cache_schema.spec import CaptionSpec, PointSpec, ViewSpec
from cache_schema.store import Cache
from pipeline import building
from pipeline.cameras import RIGS
from pipeline.executors import here
from pipeline.recipes import BuildConfig, configured
from pipeline.work import Machine
from tests.boxes import Silent, box_off, contents, write_meshes  # noqa: F401
from tests.kept import fresh_processes, kept_processes  # noqa: F401
from tests.pipeline import checkpoints


def small(**changes: object) -> BuildConfig:
    """A build in which everything happens and nothing takes long."""
    config = configured("smoke", [])
    config = dataclasses.replace(
        config,
        points=PointSpec(count=64, blocks=2, ordered=16, normals=True),
        views=ViewSpec(rig=RIGS["ring4"], size=48),
        shard=4,
        teachers=("starter-resnet", f"random-dino=transformers:{checkpoints.dino()}"),
        captions=CaptionSpec(captioner="blip2", model=str(checkpoints.blip2()), samples=2, max_tokens=8, rank_by="starter-resnet"),
    )
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]


def build(meshes: Path, path: Path, config: BuildConfig | None = None, **machine: object) -> Cache:
    settings = {"workers": 1, "device": "cpu", **machine}
    return building.build_cache(str(meshes), path, config or small(), Machine(**settings), Silent())  # type: ignore[arg-type]


@pytest.fixture(scope="session", autouse=True)
def asked_once():
    """Ask once for the name of the OpenGL driver. The process that answers takes half of the time of a small build."""
    ask, answers = here.renderer, {}

    def renderer(task, device):
        drawing = task.views is not None
        if drawing not in answers:
            answers[drawing] = ask(task, device)
        return answers[drawing]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(here, "renderer", renderer)
        yield


@pytest.fixture(scope="session")
def meshes(tmp_path_factory):
    return write_meshes(tmp_path_factory.mktemp("collection") / "boxes")


@pytest.fixture(scope="session")
def built(meshes, tmp_path_factory):
    """A complete cache. Tests do not change it; they change `copied`."""
    path = tmp_path_factory.mktemp("built") / "boxes.zarr"
    build(meshes, path)
    return path


@pytest.fixture
def copied(built, tmp_path):
    """A copy of `built` with its journal. Tests may change it."""
    shutil.copytree(built, tmp_path / built.name)
    shutil.copy(f"{built}.journal", tmp_path)
    return tmp_path / built.name
