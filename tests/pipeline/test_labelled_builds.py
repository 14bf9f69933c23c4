"""Labels of points and boxes on their way from a made-up source to the cache. Run: pytest tests/pipeline/test_labelled_builds.py"""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest

from cache_schema import products
from cache_schema.errors import UserError
from cache_schema.layout import texts
from cache_schema.spec import PointSpec
from cache_schema.store import open_cache
from pipeline import building
from pipeline.geometry import Boxes, Cloud, Mesh, Part, copied, finished, finished_cloud, joined, labels_at, normalized
from pipeline.points import sample
from pipeline.recipes import configured
from pipeline.retry import retry
from pipeline.sources.catalog import Entry, Labelled, Source
from pipeline.work import Machine
from tests.boxes import Silent

SPEC = PointSpec(count=64, blocks=2, ordered=16, normals=True)
UP = np.array([0, 1, 0])
LABELLED = dataclasses.replace(SPEC, parts=("low", "high"), instances=True, origins=True)


def stairs() -> Mesh:
    """Two squares at heights 0 and 1 in one part, and one at height 2 without labels in another part."""
    square = np.array([[0, 0, 0], [0, 0, 1], [1, 0, 1], [1, 0, 0]], np.float64)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    steps = Part(
        vertices=np.concatenate([square, square + UP]),
        faces=np.concatenate([faces, faces + 4]),
        part=np.array([0, 0, 1, 1]),
        instance=np.array([7, 7, 8, 8]),
    )
    return Mesh(parts=(steps, Part(vertices=square + 2 * UP, faces=faces)), colored=True)


def heights(xyz: np.ndarray) -> np.ndarray:
    """Number of the step, 0 to 2, that each normalised point lies on."""
    y = xyz[..., 1].astype(np.float64)
    return np.rint(2 * (y - y.min()) / (y.max() - y.min())).astype(int)


def test_a_point_has_the_label_of_its_triangle_and_labels_change_nothing_else():
    mesh = normalized(finished(stairs(), "y"), "unit_sphere")
    with_labels, without = sample(mesh, LABELLED, "a"), sample(mesh, SPEC, "a")
    for one, other in zip(with_labels[:3], without[:3], strict=True):
        np.testing.assert_array_equal(one, other)
    step = heights(with_labels.xyz)
    np.testing.assert_array_equal(with_labels.labels["part"], np.array([0, 1, -1])[step])
    np.testing.assert_array_equal(with_labels.labels["instance"], np.array([7, 8, -1])[step])
    assert (with_labels.labels["origin"] == -1).all() and not without.labels
    assert {name: values.dtype for name, values in with_labels.labels.items()} == {"part": "int16", "instance": "int32", "origin": "int32"}


def test_a_cloud_keeps_the_label_of_each_point():
    rng = np.random.default_rng(0)
    points = rng.random((500, 3))
    points[17] = np.nan
    cloud = finished_cloud(points, None, None, (points[:, 1] > 0.5).astype(int), np.arange(500) % 5, np.arange(500))
    assert len(cloud.points) == 499 and 17 not in cloud.origin
    made = sample(normalized(finished(cloud, "z"), "none"), dataclasses.replace(LABELLED, normalize="none", dtype="float32"), "a")
    origin = made.labels["origin"]
    np.testing.assert_array_equal(made.labels["instance"], origin % 5)
    np.testing.assert_array_equal(made.labels["part"], points[origin, 1] > 0.5)
    np.testing.assert_allclose(made.xyz, np.stack([points[origin, 0], points[origin, 2], -points[origin, 1]], -1), atol=1e-6)


def test_labels_survive_copies_joining_and_coincident_surfaces():
    low = stairs().parts[0]
    two = copied(low, np.stack([np.eye(4), np.diag([1.0, 1, 1, 1]) + np.array([[0, 0, 0, 5]] + [[0] * 4] * 3)]))
    np.testing.assert_array_equal(two.part, np.tile(low.part, 2))
    both = joined([low, stairs().parts[1]])
    np.testing.assert_array_equal(both.part, [0, 0, 1, 1, -1, -1])
    # Twice the same surface: one copy counts, and keeps its labels.
    twice = Mesh(parts=(dataclasses.replace(low, base_color=(1.0, 0, 0, 1)), low), colored=True)
    made = sample(normalized(finished(twice, "y"), "unit_sphere"), LABELLED, "a")
    np.testing.assert_array_equal(made.labels["part"], np.rint(heights(made.xyz) / 2))


def test_a_mirrored_copy_keeps_its_places_on_a_picture_of_labels():
    # Every corner has a texel of its own, whose label is the number of its vertex.
    places = np.array([[[1 / 6, 0.5], [3 / 6, 0.5], [5 / 6, 0.5]]], np.float32)
    one = Part(vertices=np.eye(3), faces=np.array([[0, 1, 2]]), label_map=np.array([[0, 1, 2]], np.int16), label_uv=places)
    both = copied(one, np.stack([np.eye(4), np.diag([-1.0, 1, 1, 1])]))
    assert both.faces.tolist() == [[0, 1, 2], [5, 4, 3]]
    for corner in range(3):
        found = labels_at(both, "part", np.arange(2), np.eye(3)[[corner, corner]])
        assert found.tolist() == (both.faces[:, corner] % 3).tolist()


@dataclasses.dataclass(frozen=True, kw_only=True)
class StairReader:
    """Gives stairs with one box, clouds with labels, and a scene with too many boxes."""

    kind: str = "stairs"
    location: str = "stairs"
    options: tuple[tuple[str, str], ...] = ()
    textures: str = "require"

    def read(self, entry: Entry) -> Mesh | Cloud:
        many = 3 if entry.id == "crowded" else 1
        boxes = Boxes(box=np.tile([0.5, 1.0, 0.5, 1.0, 2.0, 1.0, 0.25], (many, 1)), kind=np.zeros(many, np.int32))
        return dataclasses.replace(finished(stairs(), "y"), boxes=boxes if entry.id != "bare" else None)

    def digest(self, entry: Entry) -> bytes:
        return hashlib.sha256(entry.id.encode()).digest()


@pytest.fixture
def stair_source(monkeypatch):
    def open_stairs(location, **_):
        entries = [Entry(id=name, locator=name) for name in ("bare", "crowded", "one")]
        return Source.of(StairReader(), entries, labelled=Labelled(parts=("low", "high"), instances=True, boxes=("stair",), most=2))

    monkeypatch.setattr("pipeline.opening.open_source", open_stairs)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))  # the shape processes import the reader


def build(path, *assignments):
    settings = ["points.count=64", "points.blocks=2", "points.ordered=16", *assignments]
    return building.build_cache("stairs", path, configured("points", settings), Machine(workers=1, device="cpu"), Silent())


def test_a_build_stores_labels_and_boxes_and_a_retry_keeps_them(stair_source, tmp_path):
    cache = build(tmp_path / "a.zarr")
    assert [bool(ok) for ok in cache.ok()] == [True, False, True]
    assert "3 boxes" in texts(cache.column("reason"))[1]
    points = cache.record(products.POINTS.name).spec
    assert points.parts == ("low", "high") and points.instances and not points.origins
    xyz, part = (cache.rows(name).gather(np.array([0, 2]), np.array([1, 1])) for name in ("points/xyz", "points/part"))
    for block, labels in zip(xyz, part, strict=True):
        np.testing.assert_array_equal(labels, np.array([0, 1, -1])[heights(block)])
    box, kind = (cache.shard_rows(cache.node(f"boxes/{name}"), 0) for name in ("box", "class"))
    assert kind.tolist() == [[-1, -1], [0, 0], [0, -1]]
    # The box spans the stairs from 0 to 2, so in the stored points it does, too.
    centre, size = box[2, 0, :3], box[2, 0, 3:6]
    np.testing.assert_allclose(xyz[1][:, 1].min(), centre[1] - size[1] / 2, atol=2e-3)
    np.testing.assert_allclose(xyz[1][:, 1].max(), centre[1] + size[1] / 2, atol=2e-3)
    assert box[2, 0, 6] == 0.25
    before = {p: p.read_bytes() for p in sorted((tmp_path / "a.zarr").rglob("c/*/*")) if p.is_file()}
    retry(tmp_path / "a.zarr", "", Machine(workers=1, device="cpu"), Silent())
    assert before == {p: p.read_bytes() for p in before}


def test_labels_can_be_left_out_and_a_cache_with_others_is_refused(stair_source, tmp_path):
    cache = build(tmp_path / "a.zarr", "point_labels=false")
    assert set(cache.products()) == {"index", "status", "points"} and not cache.record("points").spec.labels
    with pytest.raises(UserError, match=r"no labels of points.*part, instance.*--set point_labels=false"):
        build(tmp_path / "a.zarr")
    assert not open_cache(tmp_path / "a.zarr").record("points").spec.labels
    with pytest.raises(UserError, match="the source decides"):
        configured("points", ["points.parts=leg"])
