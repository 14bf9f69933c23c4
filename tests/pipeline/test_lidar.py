"""The laser scanner on a car: rays, rings, noise and distances; and the sources of laser scans, on miniature data in official layouts."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cache_schema import spec
from cache_schema.distances import at_distance, distance_in
from cache_schema.errors import UserError
from pipeline import lidar, opening, origins
from pipeline.geometry import Cloud, Mesh, Part
from pipeline.lidar import Lidar, cast, directions, on_street, placed, scanned
from pipeline.recipes import BuildConfig, SourceConfig
from pipeline.sources import folders, kitti, semantickitti
from pipeline.sources import lidar as source
from pipeline.sources.catalog import open_source, recognised

EXACT = Lidar(rings=32, noise=0, drop=0)


def box(x: float, y: float, z: float) -> Mesh:
    """A box that stands on the origin."""
    corners = np.array([(a, b, c) for a in (-x / 2, x / 2) for b in (0, y) for c in (-z / 2, z / 2)], np.float32)
    faces = [
        (0, 1, 3),
        (0, 3, 2),
        (4, 6, 7),
        (4, 7, 5),
        (0, 4, 5),
        (0, 5, 1),
        (2, 3, 7),
        (2, 7, 6),
        (0, 2, 6),
        (0, 6, 4),
        (1, 5, 7),
        (1, 7, 3),
    ]
    return Mesh(parts=(Part(vertices=corners, faces=np.array(faces, np.int32)),), colored=False)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


# ------------------------------------------------------------------------------------------------------------ the rays


def test_the_nearest_triangle_is_hit_as_by_a_plain_loop():
    triangles = rng().normal(0, 3, (30, 1, 3)) + rng().normal(0, 1, (30, 3, 3)) + (0, 0, 4)
    elevations, azimuths = np.linspace(-0.8, 0.8, 9), np.linspace(-1.5, 1.5, 20)
    distance, which = cast(triangles, elevations, azimuths)
    rays = directions(elevations[:, None], azimuths[None]).reshape(-1, 3)
    assert np.allclose(np.linalg.norm(rays, axis=1), 1)
    hits = 0
    for ray, far, number in zip(rays, distance, which, strict=True):
        best, first = np.inf, -1
        for i, (a, b, c) in enumerate(triangles):  # a + u (b - a) + v (c - a) = t ray
            u, v, t = np.linalg.solve(np.column_stack([b - a, c - a, -ray]), -a)
            if u >= 0 and v >= 0 and u + v <= 1 and 0 < t < best:
                best, first = t, i
        assert number == first and (far == best or abs(far - best) < 1e-9)
        hits += first >= 0
    assert hits > 20


def test_a_batch_of_pairs_changes_nothing(monkeypatch):
    mesh = placed(box(2, 2, 2), 8, 0.3)
    whole = scanned(mesh, EXACT, rng())
    monkeypatch.setattr(lidar, "PAIRS", 50)
    assert np.array_equal(scanned(mesh, EXACT, rng()).points, whole.points)


def test_exact_points_lie_on_the_surface_and_on_rings():
    seen = scanned(placed(box(1.8, 1.5, 4.2), 10, 0.7), EXACT, rng())
    assert len(seen.points) > 200
    turned = (seen.points - np.array([np.sin(0.7) * 10, 0, np.cos(0.7) * 10])) / (0.9, 0.75, 2.1) - (0, 1, 0)
    assert np.allclose(np.abs(turned).max(axis=1), 1, atol=1e-5)
    from_sensor = seen.points - (0, EXACT.height, 0)
    elevation = np.arcsin(from_sensor[:, 1] / np.linalg.norm(from_sensor, axis=1))
    assert np.allclose(elevation, EXACT.elevations[seen.ring], atol=1e-9)
    azimuth = np.degrees(np.arctan2(from_sensor[:, 0], from_sensor[:, 2])) / EXACT.step
    assert np.allclose((azimuth - azimuth[0] + 0.5) % 1, 0.5, atol=1e-6), "shots are one step apart"


def test_only_the_side_that_faces_the_sensor_is_seen():
    seen = scanned(placed(box(2, 1, 2), 12, 0.0), EXACT, rng())
    assert (seen.points[:, 2] < 13 - 1e-6).all() and (seen.points[:, 1] > -1e-6).all()
    assert np.isclose(seen.points[:, 2], 11).any() and np.isclose(seen.points[:, 1], 1).any(), "the front and the top"


def test_fewer_points_come_back_from_afar():
    counts = [len(scanned(placed(box(1.8, 1.5, 4.2), far, 0.2), EXACT, rng()).points) for far in (6, 12, 24, 48)]
    assert counts[0] > 3 * counts[1] > 9 * counts[2] > 27 * counts[3] > 0
    twice = dataclasses.replace(EXACT, rings=64)
    assert len(scanned(placed(box(1.8, 1.5, 4.2), 12, 0.2), twice, rng()).points) > 1.8 * counts[1]


def test_noise_is_along_the_ray_and_rays_are_lost():
    mesh = placed(box(3, 2, 3), 9, 0.2)
    exact = scanned(mesh, EXACT, rng())
    noisy = scanned(mesh, dataclasses.replace(EXACT, noise=0.05), rng())
    sensor = np.array([0, EXACT.height, 0])
    one, two = exact.points - sensor, noisy.points - sensor
    assert np.allclose(np.cross(one, two), 0, atol=1e-6), "the directions are the same"
    assert np.std(np.linalg.norm(two, axis=1) - np.linalg.norm(one, axis=1)) == pytest.approx(0.05, rel=0.1)
    lossy = scanned(mesh, dataclasses.replace(EXACT, drop=0.4), rng())
    assert len(lossy.points) == pytest.approx(0.6 * len(exact.points), rel=0.1)
    assert {tuple(p) for p in lossy.points.round(6)} < {tuple(p) for p in exact.points.round(6)}


def test_a_laser_sees_no_glass():
    parts = box(2, 2, 2).parts
    glass = dataclasses.replace(parts[0], alpha_mode="BLEND")
    with pytest.raises(UserError, match="a laser sees no glass"):
        scanned(placed(Mesh(parts=(glass,), colored=False), 9, 0), EXACT, rng())


def test_the_size_of_a_shape_does_not_depend_on_its_heading():
    for heading in (0.0, 0.6, 2.0):
        standing = on_street(box(1, 1, 2), 4.4, heading)
        places = standing.parts[0].vertices @ lidar.rotation(heading)
        assert np.allclose(np.ptp(places, axis=0), (2.2, 2.2, 4.4), atol=1e-5)
        assert np.isclose(standing.parts[0].vertices[:, 1].min(), 0, atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "message"), [({"rings": 0}, "rings"), ({"drop": 1.0}, "drop"), ({"lowest": 3.0}, "lowest must be below highest")]
)
def test_a_sensor_that_cannot_be_is_refused(wrong, message):
    with pytest.raises(UserError, match=message):
        Lidar(**wrong)
    with pytest.raises(UserError, match="would reach the sensor"):
        placed(box(4, 1, 4), 2, 0)


# ---------------------------------------------------------------------------------------------------------- the source


def test_the_street_is_scanned_in_the_sizes_of_its_things():
    found = open_source("lidar:street", count="45", copies="1", far="12", ground="true")
    assert {entry.label for entry in found.entries} == set(source.SIZES)
    assert found.labelled.parts == source.PARTS
    for label in ("car", "person", "pole", "tree"):
        entry = next(entry for entry in found.entries if entry.label == label)
        cloud = found.reader.read(entry)
        assert isinstance(cloud, Cloud) and cloud.part is not None
        mine, street = cloud.points[cloud.part == 1], cloud.points[cloud.part == 0]
        assert 0.3 * source.SIZES[label] < np.ptp(mine, axis=0).max() < 1.5 * source.SIZES[label]
        assert len(street) and np.ptp(street[:, 1]) < 0.2, "the street is flat"
    assert np.array_equal(found.reader.read(entry).points, cloud.points), "a scan depends on its settings and its id alone"


def test_ids_tell_the_distance_and_settings_change_the_scan(tmp_path):
    location = source.example(tmp_path)
    found = open_source(location, size="4", far="20")
    entry = found.entries[0]
    metres = distance_in(entry.id)
    assert metres is not None and 5 <= metres <= 20 and entry.id == at_distance(entry.id.rpartition("@")[0], metres)
    points = found.reader.read(entry).points
    assert len(points) < 3000
    other = open_source(location, size="4", far="20", noise="0.1")
    assert other.entries[0].id == entry.id, "the place does not depend on the sensor"
    assert other.reader.digest(other.entries[0]) != found.reader.digest(entry)
    assert not np.array_equal(other.reader.read(other.entries[0]).points, points)
    assert open_source(location, size="4", far="20", lidar_seed="1").entries != found.entries
    with pytest.raises(UserError, match=r"points came back from it at .* fewer than 50000"):
        open_source(location, size="4", least="50000").reader.read(entry)
    for wrong, message in (({"near": "80"}, "near"), ({"rings": "0"}, "rings"), ({"lowest": "5"}, "lowest"), ({"ground": "yes"}, "ground")):
        with pytest.raises(UserError, match=message):
            open_source(location, **wrong)
    with pytest.raises(UserError, match="scans cannot be scanned again"):
        open_source("lidar:x", inner="scan")


def test_numbers_of_many_digits_open_the_same_source_again(tmp_path):
    (tmp_path / "scans").mkdir()
    scans = source.example(tmp_path / "scans")
    asked = {"lidar_seed": "123456789", "noise": "0.0123456789", "size": "4.123456789"}
    for location, options in ((scans, asked), (kitti.example(tmp_path / "kitti"), {"margin": "0.1234567891"})):
        found = open_source(location, **options)
        assert options.items() <= dict(found.reader.options).items()
        assert open_source(found.reader.location, **dict(found.reader.options)) == found


def test_the_location_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source.example(tmp_path)
    found = open_source("lidar:.", size="4")
    assert found.reader.location == f"lidar:{tmp_path}"
    monkeypatch.chdir("/")
    assert open_source(found.reader.location, **dict(found.reader.options)) == found
    assert open_source("lidar:street", count="45").reader.location == "lidar:street"


def test_another_seed_makes_other_people_poles_and_trees():
    one, two = (open_source("lidar:street", count="45", copies="1", far="10", seed=seed) for seed in ("0", "7"))
    for label in source.MADE:
        mine, other = (next(entry for entry in found.entries if entry.label == label) for found in (one, two))
        assert mine.id != other.id and mine.locator == other.locator, "another place"
        assert one.reader.digest(mine) != two.reader.digest(mine)
        assert not np.array_equal(one.reader.read(mine).points, two.reader.read(other).points)
    again = open_source("lidar:street", **dict(two.reader.options))
    assert again == two and np.array_equal(again.reader.read(other).points, two.reader.read(other).points)


@pytest.mark.parametrize("options", [("count=90", "copies=1"), ("count=2", "classes=car"), ("count=4", "classes=car,house")])
def test_a_cache_of_scans_opens_its_source_again(tmp_path, options):
    asked = BuildConfig(source=SourceConfig(options=options))
    cache = opening.create(tmp_path / "c.zarr", opening.open_config_source("lidar:street", asked), 0)
    note = {"time": 1, "event": "build", "source": "lidar:street", "config": spec.to_json(asked)}
    (tmp_path / "c.zarr.journal").write_text(json.dumps(note) + "\n")
    source, _ = origins.source_again(cache, "")
    assert [entry.id for entry in source.entries] == list(cache.ids())


def test_options_that_leave_nothing_outdoors_are_explained():
    for location in ("lidar:starter", "lidar:street"):
        with pytest.raises(UserError, match=r"option label: .* kinds alone"):
            open_source(location, label="material")
        with pytest.raises(UserError, match=r"option classes: 'chair' does not stand outdoors; .* tent"):
            open_source(location, classes="car,chair")
    street = open_source("lidar:street", classes="tent", count="4")
    assert {entry.label for entry in street.entries} == {"tent"}
    assert any("no people, poles and trees" in note for note in street.notes)
    assert not any("no people" in note for note in open_source("lidar:street", classes="car", count="1").notes)
    with pytest.raises(UserError, match="lowest must be below highest"):
        open_source("lidar:starter", lowest="5")


def test_sizes_are_known_in_any_spelling_and_unknown_classes_are_named(tmp_path):
    source.example(tmp_path)
    (tmp_path / "car.off").rename(tmp_path / "CAR.off")
    for name in ("urn", "vase", "yurt", "zebra"):
        shutil.copy(tmp_path / "house_A.off", tmp_path / f"{name}.off")
    found = open_source(f"lidar:{tmp_path}", label="file")
    assert source.size_of("Traffic_Cone") == source.SIZES["traffic cone"] and source.size_of("CAR") == source.SIZES["car"]
    assert any("no size is known of 4 classes (urn, vase, yurt and 1 more)" in note for note in found.notes)


def test_a_long_id_keeps_its_distance(tmp_path):
    source.example(tmp_path)
    names = ["house " + "a" * 240, "house " + "a" * 239 + "b"]
    for name in names:
        shutil.copy(tmp_path / "house_A.off", tmp_path / f"{name}.off")
    found = open_source(f"lidar:{tmp_path}", size="4", copies="9")
    assert len({entry.id for entry in found.entries}) == 45
    assert all(distance_in(entry.id) is not None and len(entry.id.encode()) <= 256 for entry in found.entries)
    assert at_distance("é" * 200, 7.0) != at_distance("é" * 201, 7.0) and len(at_distance("é" * 200, 7.0).encode()) in (255, 256)


def test_a_distance_is_said_by_ids_of_laser_scans_alone():
    assert distance_in(at_distance("car/1", 7.25)) == pytest.approx(7.2, abs=0.06)
    assert distance_in("car/0001#0") is None and distance_in("me@7m") is None and distance_in("@12.5m/car") is None


# ------------------------------------------------------------------------------------------------- KITTI, SemanticKITTI


def test_objects_of_kitti_are_the_points_in_their_boxes(tmp_path):
    found = open_source(kitti.example(tmp_path))
    assert [(entry.id, entry.label, entry.split) for entry in found.entries] == [
        ("000000/Car_0@10.0m", "Car", ""),
        ("000001/Car_0@20.0m", "Car", ""),
    ]
    assert found.skipped == {"DontCare": 2} and any("ImageSets" in note for note in found.notes)
    cloud = found.reader.read(found.entries[1])
    scan = np.fromfile(tmp_path / "training/velodyne/000001.bin", "<f4").reshape(-1, 4)[:, :3]
    mine = (np.abs(scan - (20, 1, -0.95)) <= (2, 0.8, 0.75)).all(axis=1)
    assert mine.sum() == len(cloud.points) == 300, "none of the ground"
    assert np.allclose(np.ptp(cloud.points, axis=0), np.ptp(scan[mine], axis=0)[[0, 2, 1]], atol=1e-4), "+Y is up"


def test_a_turned_box_of_kitti_is_where_its_corners_are():
    """The corners of the authors' devkit: the box in its own axes, turned about the camera's y axis, and moved."""
    label = kitti.Labelled("Car", np.array([4.0, 1.5, 1.6]), np.array([3.0, 1.6, 20.0]), 0.7)
    own = np.array([(x, y, z) for x in (-2, 2) for y in (-1.5, 0) for z in (-0.8, 0.8)])
    turn = np.array([[np.cos(0.7), 0, np.sin(0.7)], [0, 1, 0], [-np.sin(0.7), 0, np.cos(0.7)]])
    to_camera = np.array([[0.0, -1, 0, 0.1], [0, 0, -1, -0.2], [1, 0, 0, -0.3]])
    for scale, expected in ((0.999, True), (1.001, False)):
        middle = np.array([0, -0.75, 0])
        corners = (middle + scale * (own - middle)) @ turn.T + label.bottom
        laser = (corners - to_camera[:, 3]) @ np.linalg.inv(to_camera[:, :3]).T
        assert (kitti.inside(laser, label, to_camera, 0.0) == expected).all()
        assert kitti.inside(laser, label, to_camera, 0.1).all()


def test_splits_and_faults_of_kitti(tmp_path):
    location = kitti.example(tmp_path)
    (tmp_path / "ImageSets").mkdir()
    (tmp_path / "ImageSets/train.txt").write_text("000000\n")
    (tmp_path / "ImageSets/val.txt").write_text("000001\n")
    found = open_source(location)
    assert [entry.split for entry in found.entries] == ["train", "val"] and found.notes == ("splits of ImageSets: 1 train, 1 val",)
    assert open_source(str(tmp_path / "training")).entries == found.entries
    before = found.reader.digest(found.entries[0])
    with pytest.raises(UserError, match="300 laser points are in it, which are fewer than 301"):
        open_source(location, least="301").reader.read(found.entries[0])
    cut = tmp_path / "training/velodyne/000000.bin"
    cut.write_bytes(cut.read_bytes()[:-3])
    with pytest.raises(UserError, match="expected 16 for each point"):
        found.reader.read(found.entries[0])
    assert found.reader.digest(found.entries[0]) != before
    calib = tmp_path / "training/calib/000001.txt"
    calib.write_text(calib.read_text().replace("R0_rect", "R1_rect"))
    with pytest.raises(UserError, match="expected R0_rect with 9 numbers, got none"):
        found.reader.read(found.entries[1])
    label = tmp_path / "training/label_2/000000.txt"
    for line, message in (
        ("Cat 0 0 0 1 2 3 4 1 1 1 0 0 5 0", "expected a class of Car"),
        ("Car 0 0 0 1 2 3 4 1 -1 1 0 0 5 0", "not positive"),
    ):
        label.write_text(line + "\n" + label.read_text().splitlines()[-1])
        left = open_source(location)
        assert [entry.id for entry in left.entries] == ["000001/Car_0@20.0m"] and left.skipped["line that is no label"] == 1
        assert any("label_2/000000.txt, line 1: " in note and message in note for note in left.notes)
        with pytest.raises(UserError, match=message):
            found.reader.read(found.entries[0])
    (tmp_path / "training/label_2/000001.txt").write_text("Cat\n")
    with pytest.raises(UserError, match="2 damaged lines of labels left out"):
        open_source(location)


def test_splits_of_kitti_tell_which_scans_have_none(tmp_path):
    location = kitti.example(tmp_path)
    lists = tmp_path / "ImageSets"
    lists.mkdir()
    (lists / "train.txt").write_text("0\n")
    found = open_source(location)
    assert [entry.split for entry in found.entries] == ["train", ""]
    assert any("1 scan in no list, such as 000001" in note for note in found.notes)
    (lists / "val.txt").write_text("1\n")
    lists.rename(tmp_path / "training/ImageSets")
    assert [entry.split for entry in open_source(location).entries] == ["train", "val"]
    (tmp_path / "training/label_2/000001.txt").unlink()
    assert any("1 scan without a file in label_2 left out, such as 000001" in note for note in open_source(location).notes)
    (tmp_path / "training/label_2/000000.txt").write_text("")
    with pytest.raises(UserError, match="names an object"):
        open_source(location)


@pytest.mark.parametrize("change", [lambda rows: rows[:, :3], lambda rows: rows.astype("<f8")], ids=["three numbers a point", "float64"])
def test_points_of_another_layout_are_not_read_as_others(tmp_path, change):
    found = open_source(kitti.example(tmp_path))
    scan = tmp_path / "training/velodyne/000000.bin"
    scan.write_bytes(change(np.frombuffer(scan.read_bytes(), "<f4").reshape(-1, 4)).tobytes())
    with pytest.raises(UserError, match="a reflectance is negative"):
        found.reader.read(found.entries[0])


@pytest.mark.parametrize("turn", ["2 0 0 0 2 0 0 0 2", "1 0 0 0 1 0 0 0 -1", "0 0 0 0 0 0 0 0 0"])
def test_a_calibration_is_a_rotation_and_a_box_turns_in_radians(tmp_path, turn):
    found = open_source(kitti.example(tmp_path))
    calib = tmp_path / "training/calib/000000.txt"
    calib.write_text(f"R0_rect: {turn}\n{calib.read_text().splitlines()[1]}")
    with pytest.raises(UserError, match=r"calib/000000\.txt: .* no rotation"):
        found.reader.read(found.entries[0])
    with pytest.raises(UserError, match="is it in degrees"):
        kitti.label_in("Car 0 0 0 1 2 3 4 1.5 1.6 4 0 0 5 -90", "here")


def test_what_is_damaged_in_the_middle_is_said_of_the_shape(tmp_path):
    """Points without a place, boxes of impossible sizes, files that cannot be read, and lists of other words."""
    location = Path(kitti.example(tmp_path / "kitti"))
    scan, label, home = location / "training/velodyne/000000.bin", location / "training/label_2/000000.txt", location / "training"
    rows = np.frombuffer(scan.read_bytes(), "<f4").reshape(-1, 4)
    for value in (np.nan, np.inf, 1e30):
        damaged = rows.copy()
        damaged[:50, 0] = value
        scan.write_bytes(damaged.tobytes())
        source = open_source(str(location))
        cloud = source.reader.read(source.entries[0])
        assert len(cloud.points) == 250
        assert "50 points of the scan have no place within 1000 m and are left out: is velodyne/000000.bin damaged?" in cloud.warnings
    millimetres, unlit = rows.copy(), rows.copy()
    millimetres[:, :3] *= 1000
    unlit[5, 3] = np.nan
    for damaged, said in ((millimetres, "most points have no place within 1000 m"), (unlit, "reflectance is negative or no number: nan")):
        scan.write_bytes(damaged.tobytes())
        with pytest.raises(UserError, match=said):
            source.reader.read(source.entries[0])
    scan.write_bytes(rows.tobytes())
    line = label.read_text().splitlines()[0]
    for old, new in ((" 4.0 ", " 1e300 "), (" 4.0 ", " 500 "), (" -1.0 ", " 1e9 ")):
        label.write_text(line.replace(old, new))
        source = open_source(str(location))
        assert len(source.entries) == 1
        assert any("label_2/000000.txt, line 1: expected sizes up to 100 m and places within 1000 m" in note for note in source.notes)
    label.unlink()
    label.symlink_to("nowhere")
    assert any("label_2/000000.txt cannot be read: No such file" in note for note in open_source(str(location)).notes)
    calib = home / "calib" / "000001.txt"
    calib.write_text(calib.read_text() + "\nR0_rect: 1 0 0 0 1 0 0 0 1\n")
    with pytest.raises(UserError, match="R0_rect is there twice"):
        source.reader.read(source.entries[-1])
    (location / "ImageSets").mkdir()
    (location / "ImageSets" / "train.txt").write_text("000000\n000001.bin\n")
    with pytest.raises(UserError, match=r"ImageSets/train.txt: expected the numbers of scans, such as 000012, got '000001\.bin'"):
        open_source(str(location))


def test_a_split_of_kitti_is_made_by_scans(tmp_path):
    location = kitti.example(tmp_path)
    home = tmp_path / "training"
    car = (home / "label_2/000000.txt").read_text().splitlines()[0]
    for number in range(20):
        for folder, ending in (("velodyne", "bin"), ("calib", "txt")):
            if number > 1:
                shutil.copy(home / folder / f"000000.{ending}", home / folder / f"{number:06d}.{ending}")
        (home / f"label_2/{number:06d}.txt").write_text(f"{car}\n{car}\n")
    found = open_source(location, split="0.5")
    pairs = {(entry.id[:6], entry.split) for entry in found.entries}
    assert len(found.entries) == 40 and len(pairs) == 20 and {split for _, split in pairs} == {"train", "test"}
    assert open_source(found.reader.location, **dict(found.reader.options)) == found
    assert open_source(location, split="0.5", split_seed="1").entries != found.entries


def test_a_folder_of_kitti_too_high_or_too_deep_is_taken_or_the_right_one_is_named(tmp_path):
    location = kitti.example(tmp_path / "data" / "kitti")
    whole = open_source(location)
    for near in ("data", "data/kitti/training", "data/kitti/training/velodyne", "data/kitti/training/label_2"):
        found = open_source(str(tmp_path / near))
        assert found == whole and found.reader.location == str(tmp_path / "data/kitti/training")
        assert any("is taken for KITTI's folder" in note for note in found.notes) == (near != "data/kitti/training")
    (tmp_path / "data/kitti/testing/velodyne").mkdir(parents=True)
    with pytest.raises(UserError, match=r"has no labels; give '.*/data/kitti', whose `training` has them"):
        open_source(str(tmp_path / "data/kitti/testing"), kind="kitti")
    with pytest.raises(UserError, match=r"is a part of a collection: give '.*/data/kitti'"):
        (tmp_path / "data/kitti/ImageSets").mkdir()
        open_source(str(tmp_path / "data/kitti/ImageSets"), kind="kitti")
    (tmp_path / "data" / "other").mkdir()
    assert open_source(str(tmp_path / "data"), kind="kitti") == whole, "the user says what is looked for"
    with pytest.raises(UserError, match=r"Near it is what other sources read: give '.*/data/kitti' \(kitti\)"):
        open_source(str(tmp_path / "data"))
    with pytest.raises(UserError, match=r"Near it is what other sources read: give '.*/data/kitti' \(kitti\)"):
        open_source(str(tmp_path / "data/kitti/ImageSets"))
    kitti.example(tmp_path / "data" / "other")
    with pytest.raises(UserError, match=r"holds several collections: give one of '.*/data/kitti', '.*/data/other'"):
        open_source(str(tmp_path / "data"), kind="kitti")


def test_a_folder_of_semantickitti_too_high_or_too_deep_is_taken_or_the_right_one_is_named(tmp_path):
    whole = open_source(semantickitti.example(tmp_path / "data" / "dataset"))
    for near in ("data", "data/dataset/sequences"):
        found = open_source(str(tmp_path / near))
        assert found == whole and found.reader.location == str(tmp_path / "data/dataset")
        assert any("is taken for SemanticKITTI's folder" in note for note in found.notes) == (near == "data")
    for near, said in (("00", "is one sequence"), ("00/velodyne", "is a part of one sequence"), ("00/labels", "is a part of one")):
        with pytest.raises(UserError, match=rf"{said}.*; give '.*/data/dataset', because the split goes by sequences"):
            open_source(str(tmp_path / "data/dataset/sequences" / near))
    (tmp_path / "data" / "other").mkdir()
    with pytest.raises(UserError, match=r"give '.*/data/dataset' \(semantickitti\)"):
        open_source(str(tmp_path / "data"))
    assert open_source(str(tmp_path / "data"), kind="semantickitti") == whole


def test_archives_of_kitti_that_are_unpacked_apart_are_read_together(tmp_path):
    """As 7-Zip and file managers do by default: each into a folder with the name of the archive."""
    whole = open_source(kitti.example(tmp_path / "whole"))
    apart, read = tmp_path / "apart", kitti.example(tmp_path / "copy")
    for name in ("velodyne", "label_2", "calib"):
        (apart / f"data_object_{name}" / "training").mkdir(parents=True)
        (Path(read) / "training" / name).rename(apart / f"data_object_{name}" / "training" / name)
        (apart / f"data_object_{name}" / "testing" / name).mkdir(parents=True)
    (apart / "data_object_image_2/training/image_2").mkdir(parents=True)
    (apart / "devkit_object/ImageSets").mkdir(parents=True)
    (apart / "devkit_object/ImageSets/train.txt").write_text("000000\n")
    (apart / "devkit_object/ImageSets/val.txt").write_text("000001\n")
    found = open_source(str(apart))
    assert recognised(str(apart)) == "kitti" and [one.id for one in found.entries] == [one.id for one in whole.entries]
    assert [one.split for one in found.entries] == ["train", "val"]
    assert any("taken from data_object_velodyne/training/velodyne, data_object_label_2/training/label_2" in note for note in found.notes)
    for one, other in zip(found.entries, whole.entries, strict=True):
        assert np.array_equal(found.reader.read(one).points, whole.reader.read(other).points)
        assert found.reader.digest(one) == whole.reader.digest(other)
    assert open_source(found.reader.location, **dict(found.reader.options)) == found
    deeper = tmp_path / "data" / "downloads"
    deeper.parent.mkdir()
    apart.rename(deeper)
    assert [one.id for one in open_source(str(deeper.parent), kind="kitti").entries] == [one.id for one in whole.entries]
    for part, lacks in (
        ("data_object_velodyne", "label_2"),
        ("data_object_label_2/training", "velodyne"),
        ("data_object_calib/training/calib", "velodyne"),
    ):
        with pytest.raises(
            UserError, match=rf"has no folder {lacks}; it lies in '.*/data_object_{lacks}/training': give '{deeper}', below"
        ):
            open_source(str(deeper / part), kind="kitti")
    (deeper / "old/training/calib").mkdir(parents=True)
    with pytest.raises(UserError, match=r"holds several folders calib: '.*data_object_calib/training/calib' and '.*/old/training/calib'"):
        open_source(str(deeper))
    shutil.rmtree(deeper / "old")
    shutil.rmtree(deeper / "data_object_calib")
    for root, lacks in ((deeper, "calib"), (deeper / "data_object_velodyne", "label_2 and calib")):
        with pytest.raises(
            UserError, match=rf"'{root}' has no folder {lacks}; .*data_object_calib.zip\), and may be unpacked anywhere below"
        ):
            open_source(str(root), kind="kitti")


def test_archives_of_semantickitti_that_are_unpacked_apart_are_read_together(tmp_path):
    """Scans and labels, and some sequences and others."""
    whole = open_source(semantickitti.example(tmp_path / "whole"))
    copy, apart = Path(semantickitti.example(tmp_path / "copy")) / "sequences", tmp_path / "apart"
    scans, labels, more = (
        apart / name / "sequences" for name in ("data_odometry_velodyne/dataset", "data_odometry_labels/dataset", "more")
    )
    for sequence, name, home in (("00", "velodyne", scans), ("00", "labels", labels), ("08", "velodyne", more), ("08", "labels", labels)):
        (home / sequence).mkdir(parents=True, exist_ok=True)
        (copy / sequence / name).rename(home / sequence / name)
    (apart / "data_odometry_calib/dataset/sequences/00").mkdir(parents=True)
    found = open_source(str(apart))
    assert recognised(str(apart)) == "semantickitti" and found.entries == whole.entries and found.reader.location == str(apart)
    told = "sequences are taken from data_odometry_labels/dataset/sequences, data_odometry_velodyne/dataset/sequences, more/sequences"
    assert found.notes[0] == told
    for one in found.entries:
        assert np.array_equal(found.reader.read(one).points, whole.reader.read(one).points)
        assert found.reader.digest(one) == whole.reader.digest(one)
    assert open_source(found.reader.location, **dict(found.reader.options)) == found
    # `sequences` itself is given, and labels lie deeper beside it.
    mixed = tmp_path / "mixed"
    shutil.copytree(apart / "data_odometry_velodyne/dataset/sequences", mixed / "sequences")
    shutil.copytree(apart / "data_odometry_labels/dataset/sequences", mixed / "labels/dataset/sequences")
    for given in (mixed, mixed / "sequences"):
        found = open_source(str(given), kind="semantickitti")
        assert found.entries and found.notes[0] == "sequences are taken from labels/dataset/sequences, sequences"
        assert open_source(found.reader.location, **dict(found.reader.options)) == found
    for part, lacks in (("data_odometry_velodyne", "labels"), ("data_odometry_labels/dataset", "velodyne")):
        with pytest.raises(UserError, match=rf"no sequence has a folder {lacks}; some in '.*' have: give '{apart}', below which both are"):
            open_source(str(apart / part), kind="semantickitti")
    (apart / "old/sequences/08/labels").mkdir(parents=True)
    with pytest.raises(UserError, match=r"sequence 08 has several folders labels: '.*' and '.*'; give a folder that holds one of each"):
        open_source(str(apart), kind="semantickitti")
    shutil.rmtree(apart / "old")
    shutil.rmtree(apart / "data_odometry_labels")
    with pytest.raises(
        UserError, match=r"no sequence has a folder labels; .*data_odometry_labels.zip\), and may be unpacked anywhere below"
    ):
        open_source(str(apart), kind="semantickitti")


@pytest.mark.parametrize(("kind", "example"), [("kitti", kitti.example), ("semantickitti", semantickitti.example)])
def test_shapes_beside_a_folder_of_laser_scans_are_not_lost(tmp_path, kind, example):
    example(tmp_path / "inner")
    for name, text in (("readme.txt", "Scans.\n"), (".hidden.off", ""), ("sheet.pdf", "")):
        (tmp_path / name).write_text(text)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / ".git").mkdir()
    assert recognised(str(tmp_path)) == kind
    for name, text in (("mine.off", "OFF\n3 1 0\n0 0 0\n1 0 0\n0 0 1\n3 0 1 2\n"), ("mine.txt", "0 0 0\n1 0 0\n0 1 0\n0 0 1\n" * 2)):
        (tmp_path / name).write_text(text)
        assert recognised(str(tmp_path)) == "folder", name
        assert name in [entry.locator for entry in open_source(str(tmp_path)).entries]
        (tmp_path / name).unlink()
    (tmp_path / "second").mkdir()
    assert recognised(str(tmp_path)) == "folder"


def test_to_recognise_laser_scans_asks_for_no_state_of_files(tmp_path, monkeypatch):
    for i in range(5):
        (tmp_path / f"{i}.jpg").touch()
    (tmp_path / "one").mkdir()
    asked, stat = [], Path.stat
    monkeypatch.setattr(Path, "stat", lambda self, **how: asked.append(self.name) or stat(self, **how))
    assert not kitti.recognises(str(tmp_path)) and not semantickitti.recognises(str(tmp_path))
    assert not {name for name in asked if name.endswith(".jpg")} and folders.folders_in(tmp_path) == [tmp_path / "one"]


def test_what_was_not_downloaded_is_named(tmp_path):
    location = kitti.example(tmp_path / "kitti")
    for folder in ("label_2", "calib", "velodyne"):
        (tmp_path / "kitti/training" / folder).rename(tmp_path / "away")
        with pytest.raises(UserError, match=f"has no folder {folder}; .*data_object_{folder}.zip"):
            open_source(location)
        (tmp_path / "away").rename(tmp_path / "kitti/training" / folder)
    (tmp_path / "kitti/training").rename(tmp_path / "kitti/testing")
    for root in ("kitti", "kitti/testing"):
        with pytest.raises(UserError, match="has only `testing`"):
            open_source(str(tmp_path / root))
    location = semantickitti.example(tmp_path / "dataset")
    assert open_source(location + "/sequences") == open_source(location)
    with pytest.raises(UserError, match="is one sequence"):
        open_source(location + "/sequences/00")
    for folder in ("labels", "velodyne"):
        for sequence in ("00", "08"):
            (tmp_path / "dataset/sequences" / sequence / folder).rename(tmp_path / sequence)
        with pytest.raises(UserError, match=f"no sequence has a folder {folder}; .*data_odometry_{folder}.zip"):
            open_source(location)
        for sequence in ("00", "08"):
            (tmp_path / sequence).rename(tmp_path / "dataset/sequences" / sequence / folder)


def test_a_broken_scan_of_semantickitti_is_left_out_alone(tmp_path):
    location = semantickitti.example(tmp_path)
    (tmp_path / "sequences/08/velodyne/000000.bin").unlink()
    found = open_source(location)
    assert [entry.id[:2] for entry in found.entries] == ["00", "00"] and found.skipped["scan that cannot be read"] == 1
    assert any("sequences/08, scan 000000: no such file: velodyne/000000.bin" in note for note in found.notes)
    cut = tmp_path / "sequences/00/labels/000000.label"
    cut.write_bytes(cut.read_bytes()[:-3])
    with pytest.raises(UserError, match=r"2 scans left out that cannot be read: sequences/00, scan 000000: labels/000000\.label has"):
        open_source(location)


def test_labels_that_are_not_as_downloaded_are_explained(tmp_path):
    location = semantickitti.example(tmp_path)
    paths = [tmp_path / f"sequences/{sequence}/labels/000000.label" for sequence in ("00", "08")]
    marks = np.fromfile(paths[0], "<u4")
    (marks & 0xFFFF).astype("<u4").tofile(paths[0])
    found = open_source(location)
    assert {entry.id[:2] for entry in found.entries} == {"08"} and found.skipped[semantickitti.UNNUMBERED] == 2
    (marks & 0xFFFF).astype("<u4").tofile(paths[1])
    with pytest.raises(UserError, match="2 scans have classes, but no numbers of things"):
        open_source(location)
    np.where(marks & 0xFFFF == 40, 9, marks).astype("<u4").tofile(paths[0])
    with pytest.raises(UserError, match=r"class 9 is none of SemanticKITTI; .* learning_map"):
        open_source(location)
    marks.tofile(paths[1])
    for path in paths:
        np.zeros_like(marks).tofile(path)
    with pytest.raises(UserError, match="the labels of 2 scans name no thing"):
        open_source(location)
    paths[0].unlink()
    marks.tofile(paths[1])
    (tmp_path / "sequences/8").mkdir()
    notes = open_source(location).notes
    assert any("1 scan without a file of labels left out" in note for note in notes) and any("left out: 8" in note for note in notes)
    assert not any("in the split val" in note for note in notes)
    shutil.move(tmp_path / "sequences/08", tmp_path / "sequences/07")
    assert any("nothing is in the split val" in note for note in open_source(location).notes)
    shutil.move(tmp_path / "sequences/07", tmp_path / "sequences/08")
    for path in (paths[1], tmp_path / "sequences/08/velodyne/000000.bin"):
        path.rename(path.with_stem("000003"))
    with pytest.raises(UserError, match="none of 1 labelled scans has a number that 10 divides"):
        open_source(location)


def test_a_point_without_a_place_does_not_count_in_the_distance(tmp_path):
    location = semantickitti.example(tmp_path)
    scan = tmp_path / "sequences/00/velodyne/000000.bin"
    rows = np.fromfile(scan, "<f4").reshape(-1, 4)
    rows[:50] = np.nan
    rows.tofile(scan)
    assert distance_in(open_source(location).entries[0].id) == pytest.approx(np.hypot(*rows[50:200, :2].mean(0)), abs=0.06)


def test_things_of_semantickitti_are_the_points_with_their_number(tmp_path):
    location = semantickitti.example(tmp_path)
    found = open_source(location)
    told = [(entry.id.partition("@")[0], entry.label, entry.split) for entry in found.entries]
    assert told == [
        ("00/000000/car_1", "car", "train"),
        ("00/000000/moving-person_2", "person", "train"),
        ("08/000000/car_1", "car", "val"),
        ("08/000000/moving-person_2", "person", "val"),
    ]
    scan = np.fromfile(tmp_path / "sequences/00/velodyne/000000.bin", "<f4").reshape(-1, 4)
    cloud = found.reader.read(found.entries[1])
    assert len(cloud.points) == 40
    expected = np.column_stack([scan[200:240, 0], scan[200:240, 2], -scan[200:240, 1]])
    assert np.allclose(cloud.points - cloud.points.mean(0), expected - expected.mean(0), atol=1e-5)
    assert distance_in(found.entries[1].id) == pytest.approx(np.hypot(*scan[200:240, :2].mean(0)), abs=0.06)
    few = open_source(location, least="100")
    assert [entry.label for entry in few.entries] == ["car", "car"] and few.skipped == {semantickitti.FEW: 2}
    for name in ("000007", "000020"):
        for folder, ending in (("velodyne", "bin"), ("labels", "label")):
            home = tmp_path / "sequences/00" / folder
            shutil.copy(home / f"000000.{ending}", home / f"{name}.{ending}")
    assert {entry.id[:9] for entry in open_source(location).entries} == {"00/000000", "00/000020", "08/000000"}
    assert len(open_source(location, every="1").entries) == 8
    shutil.copytree(tmp_path / "sequences/08", tmp_path / "sequences/11")
    hidden = open_source(location)
    assert {(entry.id[:2], entry.split) for entry in hidden.entries} == {("00", "train"), ("08", "val"), ("11", "test")}
    assert "in the split test: 11" in " ".join(hidden.notes) and "split test" not in " ".join(found.notes)
    label = tmp_path / "sequences/08/labels/000000.label"
    label.write_bytes(label.read_bytes()[:-4])
    with pytest.raises(UserError, match="expected 4 for each: is it of another scan"):
        found.reader.read(found.entries[2])
