"""The virtual scanner: exact depth against rays that NumPy casts, the sensor's noise and losses, boxes, and the source `scan:`."""

import dataclasses
import shutil

import numpy as np
import pytest

from cache_schema.errors import UserError
from cache_schema.spec import PointSpec, ViewSpec
from pipeline import scan
from pipeline.cameras import RIGS
from pipeline.geometry import Mesh, Part, normalized
from pipeline.opening import create, open_config_source
from pipeline.origins import source_again
from pipeline.recipes import BuildConfig, SourceConfig
from pipeline.scan import Crop, Scan, Sensor
from pipeline.sources import s3dis, scanned, scannet
from pipeline.sources.catalog import open_source
from pipeline.worker import Task, Workers

EXACT = Sensor(pixels=128, noise=0, drop=0)


def box(low, high) -> Part:
    """A box between two corners."""
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * (np.array(high) - low) + low
    quads = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return Part(vertices=corners.astype(np.float32), faces=faces.astype(np.int32))


def ball(radius: float, middle: tuple[float, float, float]) -> Part:
    """A ball of 100 times 100 quads."""
    v, u = np.meshgrid(np.linspace(0, np.pi, 101), np.linspace(0, 2 * np.pi, 101), indexing="ij")
    xyz = np.stack([np.sin(v) * np.cos(u), np.cos(v), np.sin(v) * np.sin(u)], axis=-1).reshape(-1, 3) * radius + middle
    at = (np.arange(100)[:, None] * 101 + np.arange(100)).ravel()
    faces = np.concatenate([np.stack([at, at + 1, at + 101], axis=1), np.stack([at + 1, at + 102, at + 101], axis=1)])
    return Part(vertices=xyz.astype(np.float32), faces=faces.astype(np.int32))


def mesh(*parts: Part) -> Mesh:
    return Mesh(parts=parts, colored=False)


def walk_around(shape: Mesh, count: int = 6, seed: int = 0) -> np.ndarray:
    return scan.poses_around(*scan.bounds(shape), count, np.random.default_rng(seed))


# --------------------------------------------------------------------------------------------------------- without noise


def cast(places: np.ndarray, directions: np.ndarray, low, high) -> np.ndarray:
    """The distance along rays `[n, 3]` to a box, in lengths of the direction; infinite where they miss it."""
    with np.errstate(divide="ignore"):
        ends = (np.array([low, high])[:, None] - places) / directions  # [2, n, 3]
    enter, leave = ends.min(axis=0).max(axis=1), ends.max(axis=0).min(axis=1)
    return np.where(enter <= leave, enter, np.inf)


def test_every_pixel_sees_what_a_ray_hits_first():
    boxes = [((-0.5, 0, -0.3), (0.5, 0.6, 0.3)), ((-0.2, 0, 0.5), (0.1, 0.9, 0.7)), ((-3, -0.1, -3), (3, 0, 3))]
    shape = mesh(*(box(*one) for one in boxes))
    walk = scan.poses_around(np.array([-0.5, 0, -0.3]), np.array([0.5, 0.9, 0.7]), 4, np.random.default_rng(3))
    for matrix, shot in zip(walk, scan._renderer(128).shots(shape, walk, True), strict=True):
        directions = scan.rays(128).reshape(-1, 3) @ matrix[:3, :3].T
        distance = np.stack([cast(matrix[:3, 3], directions, *one) for one in boxes])
        depth, part = distance.min(axis=0).reshape(128, 128), distance.argmin(axis=0).reshape(128, 128)
        same = shot.part == np.where(np.isfinite(depth), part, -1)
        assert same.mean() > 0.995  # pixels whose middle lies on an edge may differ
        assert {0, 1, 2} <= set(np.unique(shot.part).tolist())
        seen = same & np.isfinite(depth)
        assert np.median(np.abs(shot.depth - depth)[seen]) < 2e-5 and np.quantile(np.abs(shot.depth - depth)[seen], 0.99) < 5e-4
        points = scan.back_projected(shot.depth, matrix).reshape(-1, 3)
        exact = matrix[:3, 3] + directions * depth.reshape(-1, 1)
        assert np.quantile(np.abs(points - exact)[seen.ravel()], 0.99) < 5e-4
        assert shot.rgb is not None and shot.rgb.shape == (128, 128, 3)
        assert ((shot.depth == 0) == (shot.part < 0)).all()


def test_a_ball_has_only_the_side_that_was_seen():
    shape = mesh(ball(0.5, (0, 0.5, 0)))
    walk = walk_around(shape)
    seen = scan.scanned(shape, walk, EXACT, np.random.default_rng(0))
    out = (seen.points - (0, 0.5, 0)) / 0.5
    assert len(out) > 5000 and np.abs(np.linalg.norm(out, axis=1) - 1).max() * 0.5 < 1e-3
    toward = np.stack([np.einsum("nk,nk->n", out, matrix[:3, 3] - seen.points) for matrix in walk])  # [K, n]
    assert toward.max(axis=0).min() > -0.01  # each point faces a camera
    assert seen.points[:, 1].min() > 0.06  # the underside is missing
    assert out[:, 2].min() > -0.9  # and the back
    assert np.abs(np.linalg.norm(scan.fused(seen).points - (0, 0.5, 0), axis=1) - 0.5).max() < 1e-3


def test_a_box_has_a_top_and_the_sides_that_were_seen():
    low, high = np.array([-0.5, 0, -0.4]), np.array([0.5, 0.8, 0.4])
    shape = mesh(box(low, high))
    points = scan.scanned(shape, walk_around(shape), EXACT, np.random.default_rng(0)).points
    off = np.concatenate([np.abs(points - low), np.abs(points - high)], axis=1)  # [n, 6 sides]
    side = off.argmin(axis=1)
    assert off.min(axis=1).max() < 1e-3 and (points >= low - 1e-3).all() and (points <= high + 1e-3).all()
    share = np.bincount(side, minlength=6) / len(side)
    assert share[1] < 0.002 and share[2] < 0.002  # bottom and back, but for pixels on an edge
    assert share[4] > 0.1 and share[5] > 0.1  # top and front


def test_a_walk_stays_at_head_height_on_one_side():
    for seed in range(50):
        low, high = np.array([-0.5, 0, -0.3]), np.array([0.5, 0.7, 0.3])
        walk = scan.poses_around(low, high, 12, np.random.default_rng(seed), front=90)
        place, back = walk[:, :3, 3], walk[:, :3, 2]
        assert (place[:, 0] > 0.15).all() and ((place[:, 1] > 1.2) & (place[:, 1] < 1.9)).all()
        assert np.allclose(np.linalg.det(walk[:, :3, :3]), 1) and (back[:, 1] > 0.1).all()  # it looks down
        middle = (low + high) / 2
        aim = np.einsum("kd,kd->k", (place - middle) / np.linalg.norm(place - middle, axis=1, keepdims=True), back)
        assert (aim > np.cos(np.radians(15))).all()


# ------------------------------------------------------------------------------------------------------------ the sensor


@pytest.mark.parametrize("distance", [1.0, 2.0])
def test_noise_grows_with_the_square_of_the_distance(distance):
    flat = np.full((400, 400), distance)
    done = scan.measured(flat, Sensor(noise=0.002, drop=0), np.random.default_rng(0))
    assert abs(done.mean() - distance) < 5e-5 * distance**2
    assert done.std() / (0.002 * distance**2) == pytest.approx(np.sqrt(1 + 1 / 12), rel=0.01)
    steps = 1 / done / 0.002
    assert np.abs(steps - np.rint(steps)).max() < 1e-6  # inverse depth is rounded


@pytest.mark.parametrize("drop", [0.05, 0.3])
def test_the_asked_share_is_lost_in_holes(drop):
    flat = np.full((192, 192), 1.5)
    flat[:, :20] = 0
    done = scan.measured(flat, Sensor(noise=0, drop=drop), np.random.default_rng(1))
    lost = (done == 0)[:, 20:]
    assert lost.mean() == pytest.approx(drop, abs=1e-4) and (done[:, :20] == 0).all()
    assert lost[:, 1:][lost[:, :-1]].mean() > 0.7  # they hang together
    assert set(np.unique(done)) == {0, 1.5}


def test_some_pixels_at_an_edge_fly_and_half_are_lost():
    step = np.full((300, 300), 1.0)
    step[:, 150:] = 2.0
    flown = scan.measured(step, Sensor(noise=1e-7, drop=0), np.random.default_rng(0))
    between = (flown > 1.001) & (flown < 1.999)
    assert between[:, 149:151].mean() == pytest.approx(scan.FLYING, abs=0.05) and not np.delete(between, (149, 150), axis=1).any()
    held = scan.measured(step, Sensor(noise=0, drop=1e-9), np.random.default_rng(0))
    assert (held[:, 149:151] == 0).mean() == pytest.approx(scan.EDGE_LOSS, abs=0.06) and (np.delete(held, (149, 150), axis=1) > 0).all()


@pytest.mark.parametrize(("angle", "kept"), [(70, True), (84, False)])
def test_a_surface_that_is_grazed_is_lost(angle, kept):
    across = scan.rays(512)[..., 0]
    depth = 0.1 / (1 + across * np.tan(np.radians(angle)))  # a plane whose normal has this angle to the optical axis
    middle = (slice(200, 312), slice(250, 262))
    done = scan.measured(np.where((depth > 0) & (depth < 1), depth, 0), Sensor(noise=0, drop=1e-9), np.random.default_rng(0))
    assert (done[middle] > 0).all() == kept and (done[middle] == 0).all() != kept


def test_points_of_one_part_in_one_voxel_become_their_mean():
    points = np.array([[0.001, 0, 0], [0.003, 0, 0], [0.004, 0, 0], [-0.001, 0, 0]])
    colors = np.array([[10, 0, 0], [20, 0, 0], [99, 0, 0], [7, 0, 0]], np.uint8)
    done = scan.fused(Scan(points, np.array([0, 0, 5, 0], np.int32), colors))
    assert done.points[:, 0].tolist() == [-0.001, 0.002, 0.004] and done.part.tolist() == [0, 0, 5]
    assert done.colors is not None and done.colors[:, 0].tolist() == [7, 15, 99]


# -------------------------------------------------------------------------------------------------------------- boxes


def test_boxes_of_hard_are_drawn_as_said():
    start = Crop(np.array([1.0, 2, 3]), np.array([1.0, 2, 4]), 0.0)
    rng = np.random.default_rng(0)
    drawn = [scan.perturbed(start, rng) for _ in range(1000)]
    uniform = np.array(
        [
            *((np.stack([one.center for one in drawn]) - start.center) / start.size + 0.5).T,
            [(one.size[0] - 0.75) / 0.5 for one in drawn],
            [(one.angle + np.pi) / (2 * np.pi) for one in drawn],
        ]
    )  # [5, 1000] in 0..1
    assert uniform.min() >= 0 and uniform.max() <= 1
    largest = np.abs(np.sort(uniform, axis=1) - (np.arange(1000) + 0.5) / 1000).max()  # Kolmogorov-Smirnov
    assert largest < 0.061  # 1.95 / sqrt(1000): one in a thousand
    assert np.abs(np.corrcoef(uniform) - np.eye(5)).max() < 0.12
    assert all(np.allclose(one.size / one.size[0], start.size) for one in drawn)


def test_a_crop_is_in_the_axes_of_its_box():
    # The box is turned by 90 degrees, so that its long axis x lies along -Z of the world.
    points = np.array([[1.0, 0, -1.9], [1.0, 0, 1.9], [2.4, 0, 0], [2.6, 0, 0], [1, 2, 0]])
    seen = Scan(points, np.arange(5, dtype=np.int32), None)
    done = scan.cropped(seen, Crop(np.array([1.0, 0, 0]), np.array([4.0, 2, 3]), np.pi / 2))
    assert done.part.tolist() == [0, 1, 2]
    assert np.allclose(done.points, [[1.9, 0, 0], [-1.9, 0, 0], [0, 0, 1.4]])


def test_a_room_holds_the_object_the_neighbour_beside_it_and_a_wall_behind():
    shape, other = scan.standing(normalized(mesh(box((0, 0, 0), (2, 1, 1))), "none"), 1.0), mesh(ball(3, (9, 9, 9)))
    low, high = scan.bounds(shape)
    assert np.allclose(low, [-0.5, 0, -0.25]) and np.allclose(high, [0.5, 0.5, 0.25])
    for seed in range(30):
        room = scan.room(shape, other, np.random.default_rng(seed))
        turn = scan.rotation(np.radians(room.front))
        places = [part.vertices @ turn for part in room.mesh.parts]  # in axes of the room: the wall is at -Z
        mine, beside, floor, wall = places
        assert room.own == 1 and (room.mesh.parts[0].vertices == shape.parts[0].vertices).all()
        assert 0 <= mine[:, 2].min() - wall[:, 2].max() <= 0.2 + 1e-5 and beside[:, 2].min() > wall[:, 2].max()
        assert abs(beside[:, 1].min()) < 1e-5 and (floor[:, 1] == 0).all() and 0.6 <= np.ptp(beside[:, 1]) <= 1.2
        gap = max(beside[:, 0].min() - mine[:, 0].max(), mine[:, 0].min() - beside[:, 0].max())
        assert 0.02 - 1e-5 <= gap <= 0.3 + 1e-5


# --------------------------------------------------------------------------------------------------------- the source


@pytest.fixture
def boxes(tmp_path) -> str:
    """Eight boxes of two classes, six to train on and two to test."""
    scanned.example(tmp_path)
    text = (tmp_path / "box_A.off").read_text()
    for path in tmp_path.glob("*.off"):
        path.unlink()
    for number in range(8):
        folder = tmp_path / ("test" if number % 4 == 3 else "train") / ("crate" if number % 2 else "box")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:03}.off").write_text(text.replace("0 1 1\n", f"0 1 1.{number}\n"))
    return f"scan:{tmp_path}"


def test_variants_and_copies_keep_the_split_of_their_object(boxes):
    plain, hard = open_source(boxes), open_source(boxes, variant="hard", copies="3")
    inner = {entry.id: entry for entry in open_source(boxes.removeprefix("scan:")).entries}
    assert {(entry.id, entry.label, entry.split) for entry in plain.entries} == {(e.id, e.label, e.split) for e in inner.values()}
    assert len(hard.entries) == 24 and hard.entries[4].id == f"{hard.entries[3].id[:-2]}#1"
    for entry in (*plain.entries, *hard.entries):
        made = scanned.Locator.of(entry.locator)
        assert made.neighbour is not None and made.neighbour.id != made.object.id
        assert inner[made.object.id].split == inner[made.neighbour.id].split == entry.split
    assert dict(hard.reader.options) == {
        "variant": "hard",
        "copies": "3",
        "poses": "12",
        "pixels": "192",
        "noise": "0.0015",
        "drop": "0.1",
        "scan_seed": "0",
        "scan_revision": "1",
        "inner": "folder",
        **dict(open_source(boxes.removeprefix("scan:")).reader.options),
    }
    assert open_source(boxes, scan_seed="1").entries != plain.entries  # other neighbours


def test_a_scan_with_a_neighbour_is_under_both_licences(tmp_path):
    plant = {"a.off": "MIT OR Apache-2.0", "b.off": "all-rights-reserved", "c.off": ""}
    scanned.example(tmp_path)
    for name in plant:
        (tmp_path / name).write_text((tmp_path / "box_A.off").read_text())
    (tmp_path / "list.csv").write_text("path,licence\n" + "".join(f"{name},{licence}\n" for name, licence in plant.items()))
    for variant in ("only", "bg"):
        for entry in open_source(f"scan:{tmp_path}/list.csv", variant=variant).entries:
            other = plant[scanned.Locator.of(entry.locator).neighbour.id]
            mine = plant[entry.id]
            forbidden = "all-rights-reserved" if "all-rights-reserved" in (mine, other) else ""
            both = "(MIT OR Apache-2.0) AND all-rights-reserved" if mine and other else forbidden
            assert entry.licence == (mine if variant == "only" else both)


def test_a_collection_that_grows_keeps_most_neighbours():
    few, more = (open_source("scan:starter", count=count) for count in ("400", "440"))
    beside = {entry.id: scanned.Locator.of(entry.locator).neighbour for entry in more.entries}
    same = [beside[entry.id] == scanned.Locator.of(entry.locator).neighbour for entry in few.entries]
    assert 0.8 < np.mean(same) < 1


def test_a_scan_is_the_same_in_every_process_and_says_what_it_read(boxes):
    source = open_source(boxes, variant="hard", copies="2", pixels="96", poses="4")
    task = Task(reader=source.reader, points=PointSpec(count=256, ordered=64), views=None)
    drawn = dataclasses.replace(task, views=ViewSpec(rig=RIGS["ring4"], size=32))  # the renderer of the views and the scanner's take turns
    with Workers(task, 1) as one, Workers(drawn, 2) as two:
        first = [one.submit(entry).result() for entry in source.entries[:4]]
        again = [future.result() for future in [two.submit(entry) for entry in reversed(source.entries[:4])]][::-1]
    assert [made.reason for made in first] == [""] * 4
    for a, b in zip(first, again, strict=True):
        assert (a.xyz == b.xyz).all() and a.source_sha256 == b.source_sha256
    assert len({made.source_sha256 for made in first}) == 4 and not (first[0].xyz == first[1].xyz).all()


def test_a_digest_covers_object_neighbour_and_settings(boxes, tmp_path):
    source = open_source(boxes)
    entry, before = source.entries[0], source.reader.digest(source.entries[0])
    assert open_source(boxes, noise="0.002").reader.digest(entry) != before
    made = scanned.Locator.of(entry.locator)
    for one in (made.neighbour, made.object):
        path = tmp_path / one.locator
        held = path.read_text()
        path.write_text(held + "\n# changed\n")
        assert source.reader.digest(entry) != before
        path.write_text(held)
    assert source.reader.digest(entry) == before


def test_a_broken_neighbour_is_left_out_and_said(boxes, tmp_path):
    source = open_source(boxes, pixels="96", poses="4")
    entry = source.entries[0]
    other = scanned.Locator.of(entry.locator).neighbour
    (tmp_path / other.locator).write_text("OFF\nbroken")
    cloud = source.reader.read(entry)
    assert len(cloud.warnings) == 1 and f"without a neighbour, because {other.id} cannot be read" in cloud.warnings[0]
    (tmp_path / other.locator).unlink()
    assert len(source.reader.digest(entry)) == 32


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"variant": "hart"}, "option variant: .*did you mean 'hard'"),
        ({"copies": "5"}, "option copies: only variant=hard"),
        ({"variant": "hard", "copies": "0"}, "option copies: expected a whole number from 1"),
        ({"noise": "nan"}, "option noise: expected a number"),
        ({"noise": "2"}, "option noise"),
        ({"pixels": "8"}, "option pixels: expected a whole number from 16"),
        ({"nois": "1"}, "source 'scan' has no option 'nois'; did you mean 'noise'"),
        ({"lable": "file"}, "did you mean 'label'"),
        ({"inner": "foldr"}, "option inner"),
        ({"scan_revision": "0"}, "revision 1"),
    ],
)
def test_wrong_options_are_refused(boxes, options, said):
    with pytest.raises(UserError, match=said):
        open_source(boxes, **options)


def test_what_cannot_be_scanned_is_refused(boxes, tmp_path):
    with pytest.raises(UserError, match="scan: and the location of a source of meshes"):
        open_source(f"scan:{boxes}")
    with pytest.raises(UserError, match="neither a path nor"):
        open_source("scan:nowhere")
    with pytest.raises(UserError, match="both have an option 'variant'"):
        open_source(boxes, inner="hdf5")
    with pytest.raises(UserError, match="'rooms' holds scenes, and the scanner walks around single objects"):
        open_source("scan:rooms", count="2")
    (tmp_path / "rooms").mkdir()
    for module in (s3dis, scannet):
        with pytest.raises(UserError, match="holds scenes, and the scanner walks around single objects"):
            open_source(f"scan:{module.example(tmp_path / 'rooms')}")
        shutil.rmtree(tmp_path / "rooms")
        (tmp_path / "rooms").mkdir()
    (tmp_path / "cloud.xyz").write_text("0 0 0\n1 1 1\n0 1 0\n")
    source = open_source(boxes)
    cloud = next(entry for entry in source.entries if entry.id == "cloud.xyz")
    with pytest.raises(UserError, match="only surfaces can be scanned"):
        source.reader.read(cloud)
    glass = Part(**{**vars(box((0, 0, 0), (1, 1, 1))), "alpha_mode": "BLEND", "base_color": (1.0, 1.0, 1.0, 0.4)})
    here = scanned.Locator.of(source.entries[0].locator)
    for variant in ("only", "bg", "hard"):  # a floor and a wall do not stand in for an object that nobody sees
        reader = open_source(boxes, variant=variant).reader
        with pytest.raises(UserError, match="the scanner saw 0 points of it"):
            reader._cloud(reader.scan(normalized(mesh(glass), "none"), None, "glass"), here)


# ------------------------------------------------------------------------------------------------------------- labels


def test_labels_tell_the_object_from_the_background(boxes):
    only, bg, hard = (open_source(boxes, variant=variant) for variant in ("only", "bg", "hard"))
    assert only.labelled.parts == () and bg.labelled.parts == hard.labelled.parts == ("background", "object")
    alone, around, shifted = (source.reader.read(source.entries[0]) for source in (only, bg, hard))
    assert alone.part is None and set(np.unique(around.part)) == set(np.unique(shifted.part)) == {0, 1}
    assert (around.points[around.part == 1] == alone.points).all()  # one and the same scan
    low = alone.points[:, 1].min()
    floor = around.points[(around.part == 0) & (around.points[:, 1] < low + 0.1)]
    assert len(floor) > 100 and abs(np.median(floor[:, 1]) - low) < 0.02


@pytest.mark.parametrize("variant", ["only", "bg"])
def test_labels_of_triangles_become_labels_of_points(boxes, variant):
    source = open_source(boxes, variant=variant, noise="0", drop="0")
    shape = mesh(box((0, 0, 0), (1, 1, 1)), box((1, 0, 0), (1.5, 0.5, 1)))
    top = (shape.parts[0].vertices[shape.parts[0].faces][..., 1] == 1).all(axis=1)
    crate, beside = shape.parts  # the crate has parts; what is beside it has none
    one = dataclasses.replace(crate, part=top.astype(np.int16), instance=np.zeros(12, np.int32))
    two = dataclasses.replace(beside, instance=np.ones(12, np.int32))
    reader = dataclasses.replace(source.reader, told=False)
    here = scanned.Locator.of(source.entries[0].locator)
    cloud = reader._cloud(reader.scan(normalized(mesh(one, two), "none"), None, "crate"), here)
    assert cloud.part is not None and cloud.instance is not None
    high = cloud.points[cloud.instance == 0, 1].max()
    own = cloud.instance >= 0
    assert (own.all()) == (variant == "only") and (cloud.part[~own] == -1).all()
    assert (cloud.part[cloud.instance == 1] == -1).all() and set(np.unique(cloud.part[cloud.instance == 0])) == {0, 1}
    assert ((cloud.points[cloud.instance == 0, 1] > high - 0.008) == (cloud.part[cloud.instance == 0] == 1)).mean() > 0.98
    lower = cloud.points[cloud.instance == 1, 1]
    assert len(lower) and lower.max() < high - 0.3  # it is a third as high as the whole is long


def test_a_cache_of_copies_opens_its_source_again(tmp_path):
    asked = BuildConfig(source=SourceConfig(options=("count=3", "variant=hard", "copies=2")))
    source = open_config_source("scan:starter", asked)
    cache = create(tmp_path / "c.zarr", source, 0)
    assert cache.manifest.shapes == 6
    again, _ = source_again(cache, "scan:starter")
    assert again.entries == source.entries and again.reader == source.reader
    sealed = dataclasses.replace(cache.manifest.source, options=tuple(sorted({**dict(source.reader.options), "count": "900"}.items())))
    cache.manifest = dataclasses.replace(cache.manifest, source=sealed)
    with pytest.raises(UserError, match="said to make 900"):
        source_again(cache, "scan:starter")
