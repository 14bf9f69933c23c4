"""A cache that grows: half and the rest have the bytes of a cache built at once, readers see the old cache or the new one."""

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from cache_schema import products, store, validate
from cache_schema.spec import ViewSpec
from pipeline.append import Wanted, append
from pipeline.cameras import RIGS
from pipeline.recipes import DenseConfig
from pipeline.work import Machine
from tests.boxes import Silent, box_off, contents, write_meshes
from tests.pipeline.conftest import build, small

OWN = "labels/source/starter-resnet"
CPU = Machine(workers=1, device="cpu")
FEW = small(
    views=ViewSpec(rig=RIGS["ring4"], size=48, depth=True),
    teachers=("starter-resnet",),
    dense=DenseConfig(teachers=("starter-resnet",), groups=8, group_size=4),
)


def grow(path: Path, meshes: Path, *only: str, **wanted: object):
    return append(path, str(meshes), Wanted(products=only, **wanted), CPU, Silent())  # type: ignore[arg-type]


def halves(meshes: Path, folder: Path, first: int) -> tuple[Path, Path]:
    """Two folders with the first ids of a collection, and with the others."""
    ids = sorted(p.relative_to(meshes).as_posix() for p in meshes.rglob("*.off"))
    for i, name in enumerate(ids):
        place = folder / ("one" if i < first else "two") / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(meshes / name, place)
    return folder / "one", folder / "two"


def table(path: Path) -> dict[str, dict[str, bytes]]:
    """Every array of a cache by id of the shape: the bytes of its row. Classes and splits are names."""
    cache = store.open_cache(path)
    ids, names = cache.ids(), {"label": cache.manifest.classes, "split": cache.manifest.splits}
    found: dict[str, dict[str, bytes]] = {}
    for record in cache.products().values():
        for node in () if products.of(record).labelled else cache.arrays(record):
            values = cache.array(node.path)[:]
            rows = [names[node.path][v] if v >= 0 else "" for v in values] if node.path in names else [v.tobytes() for v in values]
            found[node.path] = {str(name): row for name, row in zip(ids, rows, strict=True) if name}
    return found


@pytest.fixture(scope="module")
def at_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("once")
    meshes = write_meshes(folder / "boxes", 9)
    build(meshes, folder / "c.zarr", FEW)
    return meshes, folder / "c.zarr"


@pytest.fixture(scope="module")
def half(at_once, tmp_path_factory):
    """A cache of the first five shapes, with one row that nobody has in its second shard, and the folder of the others."""
    folder = tmp_path_factory.mktemp("half")
    one, two = halves(at_once[0], folder, 5)
    build(one, folder / "c.zarr", FEW)
    return folder / "c.zarr", one, two


@pytest.fixture
def mine(half, tmp_path):
    shutil.copytree(half[0], tmp_path / "c.zarr")
    shutil.copy(f"{half[0]}.journal", tmp_path)
    return tmp_path / "c.zarr"


@pytest.fixture(scope="module")
def whole(half, tmp_path_factory):
    """The cache that has grown."""
    path = tmp_path_factory.mktemp("grown") / "c.zarr"
    shutil.copytree(half[0], path)
    shutil.copy(f"{half[0]}.journal", f"{path}.journal")
    made = grow(path, half[2])
    assert (made.shapes, made.known, made.unfinished) == (6, 0, ())
    return path


def test_half_and_the_rest_have_the_bytes_of_a_cache_built_at_once(at_once, half, whole):
    assert not validate.problems(whole)
    cache = store.open_cache(whole)
    assert cache.manifest.segments == (5, 6) and cache.manifest.count == 11
    right, ours = table(at_once[1]), table(whole)
    assert set(right) == set(ours) and len(right) > 20
    for name, rows in right.items():
        assert ours[name] == rows, name
    before, after = contents(half[0]), contents(whole)
    shards = [name for name in before if "/c/" in name and not name.startswith(("stats/", "labels/", "products/labels/"))]
    assert all(after[name] == before[name] for name in shards)  # older shards stay as they are
    once = store.open_cache(at_once[1])
    for name in ("stats/image/starter-resnet", "stats/text/blip2/starter-resnet"):
        np.testing.assert_allclose(cache.column(name), once.column(name), rtol=0, atol=1e-12)
    assert not [p.name for p in whole.parent.iterdir() if p.name not in (whole.name, f"{whole.name}.journal")]


def test_a_reader_that_opened_the_cache_before_sees_what_it_saw(mine, half):
    def seen(cache):
        """What the cache says, by what is asked."""
        found = {name: cache.proven(name) for name in cache.products() if name != OWN}
        arrays = [node for record in found.values() for node in cache.arrays(record)]
        said = {node.path: cache.column(node.path) for node in arrays if not node.sharded}
        said |= {
            node.path: cache.rows(node.path, "first_use").gather(np.arange(5)) for node in arrays if node.sharded and node.codec == "raw"
        }
        said |= {f"zarr {node.path}": cache.array(node.path)[:] for node in arrays}
        said |= {name: cache.column(f"stats/{name}") for name in ("image/starter-resnet", "text/blip2/starter-resnet")}
        return found, {name: hashlib.sha256(values.tobytes()).hexdigest() for name, values in said.items()}

    cache = store.open_cache(mine)
    before = seen(cache)
    grow(mine, half[2])
    after = seen(cache)
    assert after[0] == before[0]
    assert {name for name in before[1] if after[1][name] != before[1][name]} == set()
    assert store.open_cache(mine).manifest.count == 11


def test_new_names_come_last_and_the_label_set_has_them(mine, tmp_path):
    more = tmp_path / "more"
    for name in ("arch/val/one.off", "slab/train/more.off"):
        (more / name).parent.mkdir(parents=True)
        (more / name).write_text(box_off((1, 2, 3)))
    before = store.open_cache(mine).column(OWN)
    cache = grow(mine, more).cache
    assert cache.manifest.classes == ("slab", "tower", "arch")[-len(cache.manifest.classes) :] or cache.manifest.classes == ("slab", "arch")
    record = cache.record(OWN)
    assert record.labels is not None and record.labels.classes == cache.manifest.classes
    after = cache.column(OWN)
    assert len(after) == len(cache.manifest.classes) and after[: len(before)].tobytes() == before.tobytes()
    row = list(cache.ids()).index("arch/val/one.off")
    assert cache.manifest.classes[cache.column("label")[row]] == "arch" and cache.manifest.splits[cache.column("split")[row]] == "val"
    assert not validate.problems(mine)


class Killed(BaseException):
    pass


def dying(monkeypatch, number: int) -> None:
    """Let the process 'die' at its n-th file; nothing after it is cleaned up."""
    replace, done = os.replace, 0

    def counted(*places, **options):
        nonlocal done
        done += 1
        if done == number:
            raise Killed
        replace(*places, **options)

    monkeypatch.setattr(os, "replace", counted)
