"""What the tests of the trainer share, to be read only: a small cache of random numbers, a run on it, the cache with that run's guide."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from cache_schema import store, synthetic
from cache_schema.spec import GuideSpec, LabelSet, PointSpec
from tests.figures import undrawn_curves  # noqa: F401
from trainer import checkpoint, curves, guide
from trainer.loop import train
from trainer.recipes import configured
from trainer.tasks import catalog

LABELS = LabelSet(name="source", classes=("cone", "cube", "torus"), templates=("a {}", "the shape of a {}"))
RANDOM = GuideSpec(name="random", encoder="none", weights="none", tokens=32, dim=96, blocks=1)
FAILED = (4, 9)
SMALL = ("encoder.depth=1", "encoder.embed=16,24,32", "encoder.dim=48", "encoder.group_size=16")


@pytest.fixture(scope="session")
def cache_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 shapes, 38 of them in `train` and usable; two teachers; a guide of 32 tokens on the first of two blocks."""
    path = tmp_path_factory.mktemp("caches") / "small.zarr"
    write_small(path)
    return path


def write_small(path: Path, **settings: Any) -> None:
    points = PointSpec(count=64, blocks=2, ordered=32)
    settings = {"shapes": 60, "shard": 16, "points": points} | settings
    synthetic.write(path, labels=LABELS, guide=RANDOM, failed=FAILED, **settings)


def keep(loaded: checkpoint.Loaded, cache_path: Path, name: str, task: str = "classify") -> None:
    """Keep a classifier of all shapes of a cache with a run."""
    options = dataclasses.replace(catalog.task(task).SMOKE, train_split="all", test_split="all")
    catalog.keep(catalog.evaluate(task, loaded, store.open_cache(cache_path), options), loaded, name)


def config_of(stage: str, *assignments: str, recipe: str = "smoke"):
    """A configuration that takes a few hundredths of a second a step, and the same numbers on every processor."""
    return configured(recipe, stage, [*SMALL, "log_every=1", "data.threads=1", "probe=", "precision=float32", *assignments])


@pytest.fixture(scope="session")
def aligned(cache_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of stage 1: 9 steps of 8. Its curves are drawn."""
    run = tmp_path_factory.mktemp("runs") / "aligned"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "Figure", Figure)
        train(config_of("align"), [cache_path], run, device="cpu")
    return run


@pytest.fixture(scope="session")
def guided(cache_path: Path, aligned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the cache with that run's guide, called `own`, beside the random one."""
    path = tmp_path_factory.mktemp("caches") / "guided.zarr"
    shutil.copytree(cache_path, path)
    guide.write(store.open_cache(path), checkpoint.load(aligned), "own", device="cpu")
    return path
