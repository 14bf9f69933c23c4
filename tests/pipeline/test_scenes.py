"""Sources of scenes: files in each official layout are written here, read, cut into crops and brought together again."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import zarr

from cache_schema.errors import UserError
from cache_schema.layout import texts
from pipeline import building
from pipeline.geometry import Boxes, Cloud
from pipeline.recipes import configured
from pipeline.retry import retry
from pipeline.sources import crops, s3dis, scannet, sunrgbd
from pipeline.sources.catalog import open_source
from pipeline.sources.crops import Crop, columns, cropped
from pipeline.work import Machine
from tests.boxes import Silent

OBJECTS = (
    ("floor", (0, 0, 0), (3, 2.2, 0.02)),
    ("wall", (0, 0, 0), (3, 0.05, 2.4)),
    ("chair", (1, 1, 0), (1.5, 1.6, 0.9)),
    ("table", (2, 1, 0), (2.9, 1.8, 0.7)),
    ("chair", (0.2, 1, 0), (0.7, 1.5, 0.8)),
)
"""A made-up room with +Z up: the class, and the least and largest corner of each object."""


def room(rng: np.random.Generator, count: int = 300) -> list[tuple[str, np.ndarray]]:
    """By object: its class and its points `[count, 6]` with three decimals, as S3DIS writes them: x y z r g b."""
    return [
        (name, np.column_stack([np.round(rng.uniform(low, high, (count, 3)), 3), rng.integers(0, 256, (count, 3))]))
        for name, low, high in OBJECTS
    ]


def up(places: np.ndarray) -> np.ndarray:
    return np.stack([places[:, 0], places[:, 2], -places[:, 1]], axis=1)


def inside(points: np.ndarray, box: np.ndarray, slack: float = 1e-4) -> np.ndarray:
    """Which points lie in a box of the format: into the box's own axes by the transposed rotation matrix about +Y, then compared."""
    c, s = np.cos(box[6]), np.sin(box[6])
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    return np.all(np.abs((points - box[:3]) @ turn) <= box[3:6] / 2 + slack, axis=1)


def whole(source, index: int = 0) -> Cloud:
    reader = pickle.loads(pickle.dumps(source.reader))
    return reader.read(source.entries[index])


def placed(scene: Cloud, points: np.ndarray) -> None:
    """The points are those of the file, but for one shift that puts the middle of the footprint and the floor at 0."""
    expected = up(points)
    low, high = expected.min(axis=0), expected.max(axis=0)
    np.testing.assert_allclose(scene.points, expected - [(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2], atol=1e-5)


# -------------------------------------------------------------------------------------------------------------- crops


@pytest.mark.parametrize("seed", range(6))
def test_columns_cover_every_point_and_four_of_them_away_from_the_walls(seed):
    rng = np.random.default_rng(seed)
    points = rng.uniform(-7, 7, (500, 3)) * rng.uniform(0.05, 1, 3)
    points[:4, :] = np.round(points[:4, :], 1)  # points on the edges of columns
    size = float(rng.choice([0.3, 1.0, 1.7]))
    for stride, times in ((size, 1), (size / 2, 4)):
        held = np.stack([column.holds(points) for column in columns(points.min(axis=0), points.max(axis=0), size, stride)])
        count = held.sum(axis=0)
        low, high = points.min(axis=0), points.max(axis=0)
        away = np.all((points[:, [0, 2]] >= low[[0, 2]] + size - stride) & (points[:, [0, 2]] <= high[[0, 2]] - size + stride), axis=1)
        assert (count >= 1).all() and (count <= times).all()
        assert (count[away] == times).all()


def test_rounding_leaves_no_gap_between_columns():
    beginnings = [column.x0 for column in columns(np.array([0.1, 0, 0]), np.array([90, 1, 0.05]), 0.1, 0.1)]
    points = np.array([[place, 0, 0] for edge in beginnings for place in (np.nextafter(edge, -9), edge)][1:])
    held = sum(column.holds(points).astype(int) for column in columns(np.array([0.1, 0, 0]), np.array([90, 1, 0.05]), 0.1, 0.1))
    assert len(beginnings) > 800 and (held == 1).all()


@pytest.mark.parametrize("stride", ["1.0", "0.5", "0.4"])
def test_the_points_of_columns_are_counted_as_they_are_cut(stride):
    """Many points lie on the edges of columns. Half of the columns have too few points."""
    points = np.random.default_rng(3).integers(0, 14, (300, 3)) * 0.25
    crop = Crop.chosen("columns", "1.0", stride, "25")
    held = {column.name: column.holds(points) for column in columns(points.min(axis=0), points.max(axis=0), 1.0, float(stride))}
    kept = {name: rows for name, rows in held.items() if rows.sum() >= 25}
    few = sum(0 < rows.sum() < 25 for rows in held.values())
    lost = np.count_nonzero(~np.any(list(kept.values()), axis=0))
    assert crop.names(points) == (list(kept), few, lost) and few and kept


def test_a_crop_is_moved_and_keeps_its_labels_and_the_boxes_that_begin_in_it():
    rng = np.random.default_rng(0)
    points = rng.uniform((0, 0.3, 0), (3, 2, 3), (900, 3)).astype(np.float32)
    box = np.array([[0.5, 1, 0.5, 9, 9, 9, 0.3], [1.5, 1, 0.5, 1, 1, 1, 0]])
    scene = Cloud(points=points, part=np.arange(900).astype(np.int16), boxes=Boxes(box=box, kind=np.array([4, 5], np.int32)))
    column = columns(points.min(axis=0), points.max(axis=0), 1.0, 1.0)[0]
    crop = cropped(scene, column)
    assert column.name == "x000z000"
    assert (np.abs(crop.points[:, [0, 2]]) <= 0.5 + 1e-6).all() and crop.points[:, 1].min() >= 0
    np.testing.assert_allclose(
        crop.points - points[crop.origin], np.broadcast_to((crop.points - points[crop.origin])[0], crop.points.shape), atol=1e-6
    )
    np.testing.assert_array_equal(crop.part, crop.origin)
    np.testing.assert_allclose(crop.points[0] - points[crop.origin[0]], crop.boxes.box[0, :3] - box[0, :3], atol=1e-6)
    assert crop.boxes.kind.tolist() == [4] and crop.boxes.box[0, 3:].tolist() == [9, 9, 9, 0.3]
    again = cropped(crop, None)
    np.testing.assert_array_equal(again.origin, crop.origin)  # a crop of a crop still names points of the scene


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": "cubes"}, "option crop: expected one of 'whole', 'columns', got 'cubes'"),
        ({"size": "0"}, "option size: expected metres"),
        ({"size": "nan"}, "option size: expected metres"),
        ({"stride": "2"}, "option stride: expected at most the size"),
        ({"least": "1"}, "option least: expected a number of points from 2"),
        ({"least": "many"}, "option least"),
        ({"crop": "whole", "size": "2.0"}, "option size: a whole scene has none"),
    ],
)
def test_wrong_crops(options, message):
    with pytest.raises(UserError, match=message):
        Crop.chosen(**({"crop": "columns", "size": "1", "stride": "0.5", "least": "100"} | options))


def test_a_scene_in_millimetres_is_refused_and_not_cut_into_millions_of_columns():
    with pytest.raises(UserError, match="are its units metres"):
        columns(np.zeros(3), np.array([9e6, 2000, 8e6]), 1.0, 0.5)


# ------------------------------------------------------------------------------------------------------------ S3DIS


def write_s3dis(home: Path, name: str, objects: list[tuple[str, np.ndarray]], end: str = "\n") -> list[np.ndarray]:
    """A room as v1.2 has it. Returns the points in the order of the names of the annotation files."""
    place = home / name / "Annotations"
    place.mkdir(parents=True)
    numbers: dict[str, int] = {}
    texts: dict[str, tuple[str, np.ndarray]] = {}
    for kind, rows in objects:
        numbers[kind] = numbers.get(kind, 0) + 1
        lines = [" ".join([*(f"{v:.3f}" for v in row[:3]), *(f"{v:.0f}" for v in row[3:])]) for row in rows]
        texts[f"{kind}_{numbers[kind]}.txt"] = end.join([*lines, ""]), rows
    for file, (text, _) in texts.items():
        (place / file).write_bytes(text.encode())
    (home / name / f"{name.split('/')[-1]}.txt").write_bytes("".join(text for text, _ in texts.values()).encode())
    (place / ".DS_Store").write_bytes(b"\0\1")
    return [texts[file][1] for file in sorted(texts)]


@pytest.fixture
def rooms(tmp_path):
    home = tmp_path / "Stanford3dDataset_v1.2_Aligned_Version"
    rng = np.random.default_rng(1)
    ordered = write_s3dis(home, "Area_5/hallway_6", [("stairs" if kind == "wall" else kind, rows) for kind, rows in room(rng)])
    write_s3dis(home, "Area_1/conferenceRoom_1", room(rng), end="\r\n")
    (home / "Area_1" / "Area_1_alignmentAngle.txt").write_text("## Global alignment\n")
    return home, ordered


def test_s3dis_texts(rooms):
    home, ordered = rooms
    source = open_source(str(home), crop="whole")
    assert source.reader.kind == "s3dis"
    assert [(e.id, e.label, e.split) for e in source.entries] == [
        ("Area_1/conferenceRoom_1#whole", "conferenceRoom", "train"),
        ("Area_5/hallway_6#whole", "hallway", "test"),
    ]
    scene, points = whole(source, 1), np.concatenate(ordered)
    placed(scene, points[:, :3])
    np.testing.assert_array_equal(scene.colors, points[:, 3:])
    np.testing.assert_array_equal(scene.instance, np.repeat(np.arange(5), 300))  # chair_1 chair_2 floor_1 stairs_1 table_1
    names = np.array(source.labelled.parts)[scene.part[::300]].tolist()
    assert names == ["chair", "chair", "floor", "clutter", "table"]
    np.testing.assert_array_equal(scene.origin, np.arange(len(points)))
    assert source.labelled.boxes == s3dis.CLASSES and source.labelled.most == 5
    for number, box in enumerate(scene.boxes.box):
        held = scene.points[scene.instance == number]
        np.testing.assert_allclose(box, [*(held.min(0) + held.max(0)) / 2, *np.ptp(held, axis=0), 0], atol=1e-5)
    assert scene.warnings == () and len(scene.boxes.box) == 5
    chosen = open_source(str(home), crop="whole", boxes="furniture", test_area="1")
    assert [e.split for e in chosen.entries] == ["test", "train"]
    found = whole(chosen, 1).boxes
    assert [chosen.labelled.boxes[kind] for kind in found.kind] == ["chair", "chair", "table"] and chosen.labelled.most == 3
    first = whole(source, 0)  # its lines end in CRLF
    assert len(first.points) == 1500 and not first.warnings


def test_s3dis_files_of_the_published_version_have_stray_characters(rooms):
    home, ordered = rooms
    path = home / "Area_5/hallway_6/Annotations/floor_1.txt"
    lines = path.read_bytes().split(b"\n")
    cells = lines[17].split(b" ")
    lines[17] = b" ".join([*cells[:3], cells[3] + b"\x10" + cells[4], cells[5]])  # as in line 180389 of Area_5/hallway_6/.../ceiling_1.txt
    lines[18] = lines[18].replace(b".", b".\x10", 1)
    path.write_bytes(b"\n".join(lines))
    scene = whole(open_source(str(home), crop="whole"), 1)
    placed(scene, np.concatenate(ordered)[:, :3])
    np.testing.assert_array_equal(scene.colors, np.concatenate(ordered)[:, 3:])
    assert any("floor_1.txt: control characters in line 18, 19" in text for text in scene.warnings)


def test_a_copy_of_a_file_of_an_object_is_no_other_object(rooms):
    """As `wall_3 (1).txt` in Area_5/office_36."""
    home, ordered = rooms
    place = home / "Area_5/hallway_6/Annotations"
    lines = (place / "floor_1.txt").read_text().splitlines()
    (place / "floor_1 (1).txt").write_text("\r\n".join(lines[:40]))
    source = open_source(str(home), crop="whole")
    scene = whole(source, 1)
    placed(scene, np.concatenate(ordered)[:, :3])
    assert len(scene.boxes.box) == 5 and source.labelled.most == 5
    assert any("floor_1 (1).txt is left out: all of its lines are in floor_1.txt, too" in text for text in scene.warnings)
    (place / "floor_1 (1).txt").write_text("9 9 9 1 2 3\n")  # something else under such a name is an object
    other = whole(open_source(str(home), crop="whole"), 1)
    assert len(other.boxes.box) == 6 and len(other.points) == len(scene.points) + 1


@pytest.mark.parametrize("part", ["Area_5", "Area_5/hallway_6", "Area_5/hallway_6/Annotations"])
def test_a_part_of_s3dis_is_no_folder_of_clouds(rooms, part):
    home, _ = rooms
    with pytest.raises(UserError, match=f"is a part of a collection; give '{home}'"):
        open_source(str(home / part))


def test_s3dis_arrays(tmp_path):
    rng = np.random.default_rng(2)
    points = np.concatenate([np.column_stack([rows, np.full(len(rows), s3dis.CLASSES.index(kind))]) for kind, rows in room(rng)])
    np.save(tmp_path / "Area_1_conferenceRoom_1.npy", points)
    np.save(tmp_path / "Area_5_office_12.npy", points.astype(np.float32)[::-1])
    source = open_source(str(tmp_path), crop="whole")
    assert [(e.id, e.label, e.split) for e in source.entries] == [
        ("Area_1/conferenceRoom_1#whole", "conferenceRoom", "train"),
        ("Area_5/office_12#whole", "office", "test"),
    ]
    assert (source.labelled.parts, source.labelled.instances, source.labelled.boxes) == (s3dis.CLASSES, False, ())
    scene = whole(source)
    placed(scene, points[:, :3])
    np.testing.assert_array_equal(np.column_stack([scene.colors, scene.part]), points[:, 3:])
    assert scene.instance is None and scene.boxes is None
    assert any("neither instances nor boxes" in note for note in source.notes)


def layout_of_room(layout: str, home: Path, points: np.ndarray, classes: np.ndarray, objects: np.ndarray) -> None:
    """A room as MMDetection3D (three arrays, objects from 1) or Pointcept (a folder of arrays) keeps it."""
    home.mkdir(parents=True)
    if layout == "mmdetection3d":
        np.save(home / "Area_5_office_1_point.npy", points.astype(np.float32))
        np.save(home / "Area_5_office_1_sem_label.npy", classes)
        np.save(home / "Area_5_office_1_ins_label.npy", objects + 1)
        return
    (home / "Area_5" / "office_1").mkdir(parents=True)
    rows = {"coord": points[:, :3].astype(np.float32), "color": points[:, 3:].astype(np.uint8), "segment": classes[:, None]}
    for name, values in {**rows, "instance": objects[:, None].astype(np.int16)}.items():
        np.save(home / "Area_5" / "office_1" / f"{name}.npy", values)


@pytest.mark.parametrize("layout", ["mmdetection3d", "pointcept"])
@pytest.mark.parametrize("above", [False, True])
def test_s3dis_as_others_keep_it_has_objects_and_boxes(tmp_path, layout, above):
    objects = room(np.random.default_rng(2))
    points = np.concatenate([rows for _, rows in objects])
    classes = np.repeat([s3dis.CLASSES.index(kind) for kind, _ in objects], 300)
    layout_of_room(layout, tmp_path / "data" / "s3dis", points, classes, np.repeat(np.arange(len(objects)), 300))
    source = open_source(str(tmp_path / "data" if above else tmp_path / "data" / "s3dis"), crop="whole", boxes="furniture")
    assert [(e.id, e.label, e.split) for e in source.entries] == [("Area_5/office_1#whole", "office", "test")]
    scene = whole(source)
    placed(scene, points[:, :3].astype(np.float32))
    np.testing.assert_array_equal(np.column_stack([scene.colors, scene.part]), np.column_stack([points[:, 3:], classes]))
    boxed = [i for i, (kind, _) in enumerate(objects) if kind in s3dis.FURNITURE]
    assert [source.labelled.boxes[k] for k in scene.boxes.kind] == [objects[i][0] for i in boxed]
    for number, box in zip(boxed, scene.boxes.box, strict=True):
        assert inside(scene.points[scene.instance == number], box).all()
        np.testing.assert_allclose(box[3:6], np.ptp(up(objects[number][1]), axis=0), atol=1e-6)


@pytest.mark.parametrize("folder", ["stanford_indoor3d", "trainval_fullarea", "s3disfull/raw"])
def test_rooms_are_found_in_the_folder_below(tmp_path, folder):
    (tmp_path / folder).mkdir(parents=True)
    np.save(tmp_path / folder / "Area_1_WC_1.npy", np.ones((5, 7)))
    (tmp_path / folder / "._Area_1_WC_1.npy").write_bytes(b"\0")
    assert [e.id for e in open_source(str(tmp_path), crop="whole").entries] == ["Area_1/WC_1#whole"]


def test_colours_from_minus_one_to_one_are_no_colours(tmp_path):
    np.save(tmp_path / "Area_1_a_1.npy", np.column_stack([np.ones((9, 3)), np.linspace(-1, 1, 27).reshape(9, 3), np.ones(9)]))
    with pytest.raises(UserError, match="colours reach from -1 to 1"):
        whole(open_source(str(tmp_path), crop="whole"))


def test_points_far_away_in_float32_are_remarked(tmp_path):
    far = np.column_stack([np.random.default_rng(0).uniform(4e6, 4e6 + 2, (50, 3)), np.ones((50, 4))])
    for number, dtype in enumerate((np.float64, np.float32)):
        np.save(tmp_path / f"Area_1_a_{number}.npy", far.astype(dtype))
    source = open_source(str(tmp_path), crop="whole")
    assert [any("exact to 0.25 m" in said for said in whole(source, row).warnings) for row in (0, 1)] == [False, True]


def test_a_broken_scene_finds_room_for_its_boxes_once_it_is_mended(tmp_path):
    rng = np.random.default_rng(0)
    write_s3dis(tmp_path / "s", "Area_1/office_1", room(rng)[:1])
    write_s3dis(tmp_path / "s", "Area_1/office_2", room(rng))
    odd = tmp_path / "s" / "Area_1" / "office_2" / "Annotations" / "chair_1.txt"
    odd.rename(odd.with_name("thing_1.txt"))
    config = configured("whole-scenes", ["points.count=64", "points.ordered=16"])
    building.build_cache(str(tmp_path / "s"), tmp_path / "c.zarr", config, Machine(device="cpu", workers=1), Silent())
    odd.with_name("thing_1.txt").rename(odd)
    retry(tmp_path / "c.zarr", str(tmp_path / "s"), Machine(device="cpu", workers=1), Silent())
    kinds = zarr.open_group(tmp_path / "c.zarr", mode="r")["boxes/class"][:]
    assert (kinds >= 0).sum(axis=1).tolist() == [1, len(OBJECTS)]


def test_what_is_predicted_for_crops_comes_back_to_the_points_of_the_scene(rooms):
    home, ordered = rooms
    source = open_source(str(home), least="2")
    mine = [entry for entry in source.entries if entry.id.startswith("Area_5/")]
    points = np.concatenate(ordered)
    assert len(mine) == 5 * 4 and mine[0].id == "Area_5/hallway_6#x000z000"
    votes, shifts = np.zeros((len(points), len(s3dis.CLASSES)), int), []
    for entry in mine:
        crop = source.reader.read(entry)
        np.add.at(votes, (crop.origin, crop.part.astype(int)), 1)
        shifts.append(up(points[crop.origin, :3]) - crop.points)
        assert np.ptp(shifts[-1], axis=0).max() < 1e-5 and (np.abs(crop.points[:, [0, 2]]) <= 0.5 + 1e-5).all()
        np.testing.assert_array_equal(crop.colors, points[crop.origin, 3:])
    truth = whole(open_source(str(home), crop="whole"), 1).part
    assert votes.sum(axis=1).min() >= 1 and votes.sum(axis=1).max() == 4
    np.testing.assert_array_equal(votes.argmax(axis=1), truth)
    assert np.ptp([shift[0, 1] for shift in shifts]) < 1e-5  # one floor for all crops


def test_a_scene_is_read_once_for_all_of_its_crops(rooms, monkeypatch):
    home, _ = rooms
    source = open_source(str(home))
    monkeypatch.setattr(crops, "_last", {})
    read, opened = s3dis.numbers, []
    monkeypatch.setattr(s3dis, "numbers", lambda path, said: (opened.append(path), read(path, said))[1])
    for entry in source.entries:
        source.reader.read(entry)
    assert len(opened) == len(set(opened)) == 10
    path = home / "Area_5/hallway_6/Annotations/chair_1.txt"
    os.utime(path, ns=(1, 1))  # a file that changed is read again, and so is its digest
    before = source.reader.digest(source.entries[-1])
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-20]))
    assert source.reader.digest(source.entries[-1]) != before
    source.reader.read(source.entries[-1])
    assert len(opened) == 15


def test_an_option_of_scenes_is_refused_for_shapes_with_the_sources_that_have_it(tmp_path):
    (tmp_path / "a.off").write_text("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n")
    with pytest.raises(UserError, match=r"'folder' has no option 'crop', which a recipe .*: rooms, s3dis, scannet, sunrgbd;"):
        open_source(str(tmp_path), **configured("scenes", []).source.settings)


def test_small_crops_are_left_out_and_counted(rooms):
    home, ordered = rooms
    source = open_source(str(home), least="130", stride="1")
    points = up(np.concatenate(ordered)[:, :3])
    cells = np.floor((points[:, [0, 2]] - points[:, [0, 2]].min(axis=0)).astype(np.float32) + 1e-6)
    counts = np.unique(cells, axis=0, return_counts=True)[1]
    mine = [entry for entry in source.entries if entry.id.startswith("Area_5/")]
    assert len(mine) == np.count_nonzero(counts >= 130) < len(counts)
    assert any("crops with fewer than 130 points are left out" in note and "lie in no crop" in note for note in source.notes)
    assert any("source.least=2" in note for note in source.notes)
    assert not any("source.least=2" in note for note in open_source(str(home), least="2", size="0.1", stride="0.1").notes)


def test_a_room_that_cannot_be_read_is_one_row_that_fails(rooms):
    home, _ = rooms
    path = home / "Area_1/conferenceRoom_1/Annotations/table_1.txt"
    before = path.read_bytes()
    path.write_text("1 2 3\n")
    source = open_source(str(home))
    assert [entry.id for entry in source.entries if entry.id.startswith("Area_1/")] == ["Area_1/conferenceRoom_1#unread"]
    assert any("of 1 scene that cannot be read" in note and "table_1.txt: expected six numbers" in note for note in source.notes)
    with pytest.raises(UserError, match="expected six numbers"):
        source.reader.read(source.entries[0])
    path.write_bytes(before)
    with pytest.raises(UserError, match="could not be read when its crops were listed"):
        source.reader.read(source.entries[0])


def test_a_missing_file_of_an_object_is_said(rooms):
    home, _ = rooms
    (home / "Area_5/hallway_6/Annotations/chair_2.txt").unlink()
    scene = whole(open_source(str(home), crop="whole"), 1)
    assert len(scene.points) == 1200
    assert any("hallway_6.txt has 1,500 points and its Annotations have 1,200" in text for text in scene.warnings)


def test_labels_and_boxes_reach_the_cache(rooms, tmp_path):
    home, ordered = rooms
    sets = ["points.normalize=none", "points.count=128", "points.blocks=2", "points.dtype=float32", "shard=16"]
    sets += ["points.ordered=16", "source.test_area=1", "source.boxes=furniture"]
    machine = Machine(workers=1, device="cpu")
    cache = building.build_cache(str(home), tmp_path / "rooms.zarr", configured("points", sets), machine, Silent())
    group = zarr.open_group(cache.path, mode="r")
    ids, points = texts(group["id"][:]).tolist(), np.concatenate(ordered)
    row = ids.index("Area_5/hallway_6#x002z001")
    origin = group["points/origin"][row]
    part = np.array([s3dis.CLASSES.index(name) for name in ("chair", "chair", "floor", "clutter", "table")])[origin // 300]
    np.testing.assert_array_equal(group["points/instance"][row], origin // 300)
    np.testing.assert_array_equal(group["points/part"][row], part)
    np.testing.assert_array_equal(group["points/rgb"][row], points[origin, 3:])
    shift = up(points[origin.reshape(-1), :3]) - group["points/xyz"][row].reshape(-1, 3)
    assert np.ptp(shift, axis=0).max() < 1e-5 and abs(shift[0, 1] - points[:, 2].min()) < 1e-5
    kinds = group["boxes/class"][row]
    assert [s3dis.FURNITURE[kind] for kind in kinds if kind >= 0] == ["chair"]  # the chair from 1 to 1.5 m has its middle here
    chair = ordered[0][:, :3]
    np.testing.assert_allclose(group["boxes/box"][row, 0, 3:], [*np.ptp(up(chair), axis=0), 0], atol=1e-5)
    np.testing.assert_allclose(group["boxes/box"][row, 0, :3] + shift[0], up((chair.min(0) + chair.max(0))[None] / 2)[0], atol=1e-5)


# ----------------------------------------------------------------------------------------------------------- ScanNet

GROUPS = (("floor", 2), ("wall", 1), ("office chair", 5), ("coffee table", 7), ("mystery", 40))
"""Raw name and NYU40 number of the objects of `OBJECTS`; the last has none of the benchmark's classes."""


def write_ply(path: Path, places: np.ndarray, rgb: np.ndarray, label: np.ndarray | None = None) -> None:
    """A mesh as ScanNet writes it: binary, RGBA, and perhaps a label at each vertex."""
    kinds = [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1"), ("alpha", "u1")]
    names = {"<f4": "float", "u1": "uchar", "<u2": "ushort"}
    kinds += [("label", "<u2")] if label is not None else []
    rows = np.zeros(len(places), kinds)
    for name, values in zip("xyz", places.T, strict=True):
        rows[name] = values
    rows["red"], rows["green"], rows["blue"], rows["alpha"] = *rgb.T, np.full(len(rgb), 255)
    if label is not None:
        rows["label"] = label
    faces = np.zeros(2, [("n", "u1"), ("v", "<i4", 3)])
    faces["n"], faces["v"] = 3, [[0, 1, 2], [2, 1, 3]]  # most vertices are in no face, and still are points
    head = ["ply", "format binary_little_endian 1.0", "comment MLIB generated", f"element vertex {len(rows)}"]
    head += [f"property {names[kind]} {name}" for name, kind in kinds]
    head += ["element face 2", "property list uchar int vertex_indices", "end_header", ""]
    path.write_bytes("\n".join(head).encode() + rows.tobytes() + faces.tobytes())


def write_scannet(home: Path, name: str, seed: int, labels: bool = True, objects: bool = True, aligned: bool = True):
    """A scan as v2 has it. Returns its points `[n, 6]` as scanned, its object, its NYU40 number, and the alignment."""
    rng = np.random.default_rng(seed)
    points = np.concatenate([rows for _, rows in room(rng)])
    owner = np.repeat(np.arange(5), 300)
    order = rng.permutation(len(points))
    points, owner = points[order].astype(np.float32), owner[order]
    owner[rng.random(len(owner)) < 0.1] = -1  # not annotated
    numbers = np.append([number for _, number in GROUPS], 0)[owner]
    scan = home / name
    scan.mkdir(parents=True)
    write_ply(scan / f"{name}_vh_clean_2.ply", points[:, :3], points[:, 3:])
    if labels:
        write_ply(scan / f"{name}_vh_clean_2.labels.ply", points[:, :3], points[:, 3:], numbers)
    segment = np.where(owner < 0, 900, owner * 7 + rng.integers(0, 3, len(owner)))  # several segments an object
    (scan / f"{name}_vh_clean_2.0.010000.segs.json").write_text(
        json.dumps({"params": {"kThresh": "0.01"}, "sceneId": name, "segIndices": segment.tolist()})
    )
    if objects:
        groups = [{"id": i, "objectId": i, "segments": sorted(set(segment[owner == i].tolist())), "label": GROUPS[i][0]} for i in range(5)]
        (scan / f"{name}.aggregation.json").write_text(
            json.dumps({"sceneId": f"scannet.{name}", "appId": "Aggregator.v2", "segGroups": groups})
        )
    c, s = np.cos(0.4), np.sin(0.4)
    matrix = np.array([[c, -s, 0, 1.5], [s, c, 0, -2.5], [0, 0, 1, 0.25], [0, 0, 0, 1]])
    said = "axisAlignment = " + " ".join(f"{v:.6f}" for v in matrix.reshape(-1)) + " \n"
    (scan / f"{name}.txt").write_text((said if aligned else "") + "colorHeight = 968\nnumDepthFrames = 5578\nsceneType = Apartment \n")
    return points, owner, numbers, np.round(matrix, 6) if aligned else np.eye(4)


def write_table(path: Path) -> None:
    head = "id\traw_category\tcategory\tcount\tnyu40id\teigen13id\tnyuClass\tnyu40class\teigen13class\n"
    rows = [f"{i}\t{name}\t{name}\t9\t{number}\t1\tx\tx\tx\n" for i, (name, number) in enumerate(GROUPS)]
    path.write_text(head + "".join(rows))


@pytest.mark.parametrize("layout", ["labels", "names", "both"])
def test_scannet_scans(tmp_path, layout):
    points, owner, numbers, matrix = write_scannet(tmp_path / "scans", "scene0000_00", 3, labels=layout != "names")
    write_scannet(tmp_path / "scans", "scene0011_01", 4, labels=layout != "names")
    write_scannet(tmp_path / "scans_test", "scene0707_00", 5, labels=False, objects=False, aligned=False)
    if layout != "labels":
        write_table(tmp_path / "scannetv2-labels.combined.tsv")
    for split, name in (("train", "scene0000_00"), ("val", "scene0011_01\r\n")):
        (tmp_path / f"scannetv2_{split}.txt").write_text(name + "\n")
    source = open_source(str(tmp_path))
    assert source.reader.kind == "scannet"
    assert [(e.id, e.label, e.split) for e in source.entries] == [
        ("scene0000_00#whole", "Apartment", "train"),
        ("scene0011_01#whole", "Apartment", "val"),
        ("scene0707_00#whole", "Apartment", "test"),
    ]
    scene = whole(source)
    moved = points[:, :3].astype(np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
    placed(scene, moved)
    np.testing.assert_array_equal(scene.colors, points[:, 3:])
    np.testing.assert_array_equal(scene.instance, owner)
    names = {1: "wall", 2: "floor", 5: "chair", 7: "table"}
    truth = [names.get(number, "") for number in numbers]
    assert [source.labelled.parts[kind] if kind >= 0 else "" for kind in scene.part] == truth
    assert [source.labelled.boxes[kind] for kind in scene.boxes.kind] == ["chair", "table"]
    for box, number in zip(scene.boxes.box, (2, 3), strict=True):
        held = scene.points[owner == number]
        np.testing.assert_allclose(box, [*(held.min(0) + held.max(0)) / 2, *np.ptp(held, axis=0), 0], atol=1e-5)
    assert source.labelled.most == (5 if layout == "labels" else 2)
    bare = whole(source, 2)
    assert bare.part is None and bare.boxes is None and len(bare.points) == 1500
    assert {"the scan has no labels", "no axisAlignment: the axes stay as they were scanned"} <= set(bare.warnings)
    assert any("1 of 3 scans have no axisAlignment" in note for note in source.notes)
    assert any("1 of 3 scans have no labels" in note for note in source.notes)


def test_scannet_lists_and_twice_listed_objects(tmp_path):
    _, owner, _, _ = write_scannet(tmp_path, "scene0217_00", 0)
    path = tmp_path / "scene0217_00" / "scene0217_00.aggregation.json"
    said = json.loads(path.read_text())
    said["segGroups"] += [group | {"objectId": group["objectId"] + 5} for group in said["segGroups"]]
    path.write_text(json.dumps(said))
    scene = whole(open_source(str(tmp_path)))
    np.testing.assert_array_equal(scene.instance, owner)
    assert len(scene.boxes.box) == 2 and any("lists 5 objects twice" in text for text in scene.warnings)
    for content, message in (("scene0217_00\nscene1\n", "line 2: expected the name of a scan"), ("", "is in the split 'train' already")):
        (tmp_path / "scannetv2_train.txt").write_text(content or "scene0217_00\n")
        (tmp_path / "scannetv2_val.txt").write_text("scene0217_00\n")
        with pytest.raises(UserError, match=message):
            open_source(str(tmp_path))


def test_scannet_labels_that_are_no_class(tmp_path):
    """scene0270_00 and scene0384_00 have 50 and 149, https://github.com/ScanNet/ScanNet/issues/20."""
    points, _, numbers, _ = write_scannet(tmp_path, "scene0270_00", 0)
    odd = np.where(np.arange(len(numbers)) % 7 == 0, 50, numbers)
    write_ply(tmp_path / "scene0270_00" / "scene0270_00_vh_clean_2.labels.ply", points[:, :3], points[:, 3:], odd)
    usual = np.array([list(scannet.NYU40).index(n) if n in scannet.NYU40 else -1 for n in numbers])
    scene = whole(open_source(str(tmp_path)))
    np.testing.assert_array_equal(scene.part, np.where(odd == 50, -1, usual))
    assert any("have labels that are none of NYU40 (50): they have none here" in text for text in scene.warnings)


def test_a_single_scan_is_no_folder_of_meshes(tmp_path):
    write_scannet(tmp_path, "scene0270_00", 0)
    with pytest.raises(UserError, match=f"is a single scan; give '{tmp_path}'"):
        open_source(str(tmp_path / "scene0270_00"))


def write_votenet(home: Path, name: str, seed: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    objects = room(rng)
    vert = np.concatenate([rows for _, rows in objects]).astype(np.float32)
    sem = np.repeat([number for _, number in GROUPS], 300).astype(np.uint32)
    ins = np.repeat(np.arange(1, 6), 300).astype(np.uint32)
    sem[:40], ins[:40] = 0, 0
    rows = [rows for _, rows in objects[2:4]]
    bbox = [
        [*(one[:, :3].min(0) + one[:, :3].max(0)) / 2, *np.ptp(one[:, :3], axis=0), number]
        for one, number in zip(rows, (5, 7), strict=True)
    ]
    home.mkdir(exist_ok=True, parents=True)
    for end, values in (("vert", vert), ("sem_label", sem), ("ins_label", ins), ("bbox", np.array(bbox))):
        np.save(home / f"{name}_{end}.npy", values)
    return vert, sem, ins, np.array(bbox)


def test_scannet_as_votenet_exports_it(tmp_path):
    home = tmp_path / "scannet" / "scannet_train_detection_data"
    vert, sem, ins, bbox = write_votenet(home, "scene0001_00", 6)
    write_votenet(home, "scene0002_00", 7)
    np.save(home / "scene0002_00_bbox.npy", np.zeros(0))
    (tmp_path / "scannet" / "meta_data").mkdir()
    (tmp_path / "scannet" / "meta_data" / "scannetv2_train.txt").write_text("scene0001_00\nscene0191_00\n")
    source = open_source(str(home))
    assert [(e.id, e.split) for e in source.entries] == [("scene0001_00#whole", "train"), ("scene0002_00#whole", "")]
    assert {"1 scan of the lists missing", "1 scan in no list, so without a split"} <= set(source.notes)
    scene = whole(source)
    placed(scene, vert[:, :3])
    np.testing.assert_array_equal(scene.colors, vert[:, 3:])
    np.testing.assert_array_equal(scene.instance, ins.astype(int) - 1)
    names = {1: "wall", 2: "floor", 5: "chair", 7: "table"}
    assert [source.labelled.parts[k] if k >= 0 else "" for k in scene.part] == [names.get(int(n), "") for n in sem]
    assert [source.labelled.boxes[k] for k in scene.boxes.kind] == ["chair", "table"]
    for box, stored, number in zip(scene.boxes.box, bbox, (3, 4), strict=True):
        np.testing.assert_allclose(box[3:], [*stored[[3, 5, 4]], 0])
        assert inside(scene.points[ins == number], box).all()
    assert len(whole(source, 1).boxes.box) == 0 and source.labelled.most == 2


def test_scannet_as_mmdetection3d_exports_it_is_aligned(tmp_path):
    home = tmp_path / "scannet_instance_data"
    vert, _, ins, bbox = write_votenet(home, "scene0001_00", 6)
    turn = np.array([[0, -1, 0, 2], [1, 0, 0, 3], [0, 0, 1, -0.5], [0, 0, 0, 1.0]])
    aligned = bbox.copy()
    aligned[:, :3] = bbox[:, :3] @ turn[:3, :3].T + turn[:3, 3]
    aligned[:, [3, 4]] = bbox[:, [4, 3]]  # a quarter turn
    (home / "scene0001_00_bbox.npy").unlink()
    for end, values in (("aligned_bbox", aligned), ("unaligned_bbox", bbox), ("axis_align_matrix", turn)):
        np.save(home / f"scene0001_00_{end}.npy", values)
    np.save(home / "scene0707_00_vert.npy", vert)  # a scan for the test server
    source = open_source(str(tmp_path))
    assert [e.id for e in source.entries] == ["scene0001_00#whole", "scene0707_00#whole"]
    scene = whole(source)
    placed(scene, vert[:, :3].astype(np.float64) @ turn[:3, :3].T + turn[:3, 3])
    for box, number in zip(scene.boxes.box, (3, 4), strict=True):
        assert inside(scene.points[ins == number], box).all()
        np.testing.assert_allclose(box[3:6], np.ptp(scene.points[ins == number], axis=0), atol=1e-4)
    assert whole(source, 1).part is None and "the scan has no labels" in whole(source, 1).warnings
    np.save(home / "scene0001_00_bbox.npy", bbox)
    with pytest.raises(UserError, match="keep the files of one"):
        whole(open_source(str(tmp_path)))


def test_scannet_as_pointcept_keeps_it(tmp_path):
    rng = np.random.default_rng(0)
    points, part, objects = rng.normal(size=(90, 3)).astype(np.float32), rng.integers(-1, 20, 90), rng.integers(-1, 4, 90)
    for split, name in (("train", "scene0000_00"), ("val", "scene0001_00"), ("test", "scene0707_00")):
        (tmp_path / split / name).mkdir(parents=True)
        rows = {"coord": points, "color": np.full((90, 3), 7, np.uint8), "normal": points, "segment200": part}
        for file, values in (rows if split == "test" else {**rows, "segment20": part, "instance": objects}).items():
            np.save(tmp_path / split / name / f"{file}.npy", values)
    source = open_source(str(tmp_path))
    assert [(e.id, e.split) for e in source.entries] == [
        ("scene0000_00#whole", "train"),
        ("scene0001_00#whole", "val"),
        ("scene0707_00#whole", "test"),
    ]
    assert source.labelled.boxes == () and not any("no split" in note for note in source.notes)
    scene = whole(source)
    placed(scene, points)
    np.testing.assert_array_equal(np.column_stack([scene.part, scene.instance]), np.column_stack([part, objects]))
    assert "normal.npy is not read: normals are estimated from the points" in scene.warnings
    assert whole(source, 2).part is None
    np.save(tmp_path / "train" / "scene0000_00" / "segment20.npy", part[:-1])
    with pytest.raises(UserError, match="89 rows for 90 points"):
        whole(source)


# --------------------------------------------------------------------------------------------------------- SUN RGB-D


def write_sunrgbd(home: Path, number: int, rng: np.random.Generator, angles: np.ndarray):
    """A scene as VoteNet exports it: boxes turned by headings from +x towards -y, and points that lie in them. Returns the points and
    the box of each, -1 for none."""
    home.mkdir(parents=True, exist_ok=True)
    points, owner, boxes = [rng.uniform((-3, 0, -1), (3, 1, 0), (200, 3))], [np.full(200, -1)], []
    for index, heading in enumerate(angles):
        half, center = rng.uniform(0.2, 0.9, 3), np.array([rng.uniform(-3, 3), 4 + 3 * index, 0.4])
        c, s = np.cos(-heading), np.sin(-heading)
        local = rng.uniform(-1, 1, (100, 3)) * half
        local[0] = half * (1, -1, 1)  # a corner, which lies in no box of another turn or other lengths
        points.append(local @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]).T + center)
        owner.append(np.full(100, index))
        boxes.append([*center, *half, heading, index % 10])
    points, owner = np.concatenate(points), np.concatenate(owner)
    centers = np.array([*boxes, [0] * 8])[:, :3]
    ways = np.where(owner[:, None] >= 0, centers[owner] - points, 0)
    np.savez_compressed(home / f"{number:06d}_pc.npz", pc=np.column_stack([points, rng.uniform(0, 1, points.shape)]))
    np.save(home / f"{number:06d}_bbox.npy", np.array(boxes).reshape(-1, 8))
    np.savez_compressed(home / f"{number:06d}_votes.npz", point_votes=np.column_stack([owner >= 0, np.tile(ways, 3)]))
    return points, owner


@pytest.mark.parametrize("seed", range(4))
def test_turned_boxes_hold_the_points_of_their_objects(tmp_path, seed):
    rng = np.random.default_rng(seed)
    angles = np.concatenate([rng.uniform(-np.pi, np.pi, 10), [0, np.pi / 2, np.pi, -np.pi / 2]])
    points, owner = write_sunrgbd(tmp_path / "sunrgbd_pc_bbox_votes_50k_v1_train", 5, rng, angles)
    write_sunrgbd(tmp_path / "sunrgbd_pc_bbox_votes_50k_v1_val", 8, rng, np.zeros(0))
    source = open_source(str(tmp_path))
    assert source.reader.kind == "sunrgbd" and source.labelled.most == 14
    assert [(e.id, e.split) for e in source.entries] == [("000005#whole", "train"), ("000008#whole", "val")]
    scene = whole(source)
    placed(scene, points)
    np.testing.assert_array_equal(scene.instance, owner)
    assert [source.labelled.boxes[k] for k in scene.boxes.kind] == [sunrgbd.CLASSES[i % 10] for i in range(14)]
    np.testing.assert_array_equal(scene.part, np.where(owner < 0, -1, owner % 10))
    for number, box in enumerate(scene.boxes.box):
        assert inside(scene.points[owner == number], box).all()
        tight = box * np.array([1, 1, 1, 0.98, 0.98, 0.98, 1])  # the corner pins the size, and the turn but for half turns
        assert not inside(scene.points[owner == number], tight, 0).all()
    assert len(whole(source, 1).boxes.box) == 0
    unlabelled = open_source(str(tmp_path), votes="none")
    assert whole(unlabelled).part is None and unlabelled.labelled.parts == () and len(whole(unlabelled).boxes.box) == 14


def test_a_half_turned_box_is_no_other_box(tmp_path):
    """By hand: a box 2 long along its heading and 1 wide. The heading of 30 degrees goes from +x towards -y, which is +z in the cache."""
    home = tmp_path / "sunrgbd_pc_bbox_votes_50k_v2_val"
    home.mkdir()
    tip = np.array([np.cos(np.pi / 6), -np.sin(np.pi / 6), 0])
    np.savez(home / "000001_pc.npz", pc=np.column_stack([np.array([tip, -tip, [0, 0, 0.25]]), np.full((3, 3), 0.5)]))
    np.save(home / "000001_bbox.npy", np.array([[0, 0, 0, 1, 0.5, 0.25, np.pi / 6, 9]]))
    np.savez(home / "000001_votes.npz", point_votes=np.zeros((3, 10)))
    scene = whole(open_source(str(home)))
    np.testing.assert_allclose(scene.boxes.box[0], [0, 0, 0, 2, 0.5, 1, -np.pi / 6], atol=1e-7)
    ahead = np.array([np.cos(scene.boxes.box[0, 6]), 0, -np.sin(scene.boxes.box[0, 6])])  # the box's own x axis after the turn
    np.testing.assert_allclose(scene.points[0] - scene.boxes.box[0, :3], ahead, atol=1e-6)
    assert sunrgbd.CLASSES[scene.boxes.kind[0]] == "bathtub"


def test_two_versions_of_the_labels_are_not_mixed(tmp_path):
    for version in ("v1", "v2"):
        write_sunrgbd(tmp_path / f"sunrgbd_pc_bbox_votes_50k_{version}_val", 5, np.random.default_rng(0), np.zeros(1))
    with pytest.raises(UserError, match="holds the labels v1 and v2; choose one with --set source"):
        open_source(str(tmp_path))
    assert len(open_source(str(tmp_path), version="v2").entries) == 1
    with pytest.raises(UserError, match="'v3' is not among the folders, which have v1, v2"):
        open_source(str(tmp_path), version="v3")


# ------------------------------------------------------------------------------------------------------ broken files


def text(name: str, content: str):
    return lambda home: (home / name).write_text(content)


def gone(name: str):
    return lambda home: (home / name).unlink()


def named(name: str, other: str):
    return lambda home: (home / name).rename(home / other)


def changed(name: str, change):
    return lambda home: np.save(home / name, change(np.load(home / name)))


def archive(name: str, **arrays: np.ndarray):
    return lambda home: np.savez(home / name, **arrays)


def labels(count: int, label: int | None):
    """Another file of labels: with this number of vertices, and this label or none."""
    many = None if label is None else np.full(count, label)
    return lambda home: write_ply(home / f"{SCAN}_vh_clean_2.labels.ply", np.zeros((count, 3)), np.zeros((count, 3)), many)


def cut_short(name: str):
    return lambda home: (home / name).write_bytes((home / name).read_bytes()[:-60])


def emptied(home: Path) -> None:
    for path in (home / "Area_1/office_1/Annotations").glob("*.txt"):
        path.write_text("")


def cleared(home: Path) -> None:
    for path in (home / "Area_1/office_1/Annotations").iterdir():
        path.unlink()


CHAIR, ROOM = "Area_1/office_1/Annotations/chair_1.txt", "Area_1_office_1.npy"
SCAN, EXPORT = "scene0000_00/scene0000_00", "scene0001_00"
SEGMENTS, GROUPED = f"{SCAN}_vh_clean_2.0.010000.segs.json", f"{SCAN}.aggregation.json"

BROKEN = [
    ("s3dis", text(CHAIR, "1 2 3 4 5 6\n1 2 3 4 5\n"), "chair_1.txt: expected lines x y z r g b"),
    ("s3dis", text(CHAIR, "1 2 3 4 5\n"), "expected six numbers a line .*, got 5"),
    ("s3dis", text(CHAIR, "1 2 3 4 5 600\n"), "colours reach from .* to 600, expected 0 to 255"),
    ("s3dis", text(CHAIR, "1 2 3 4 five 6\n"), "chair_1.txt: expected lines x y z r g b .*five"),
    ("s3dis", named(CHAIR, CHAIR.replace("chair", "chiar")), "Annotations/chiar_1.txt: expected CLASS_NUMBER.txt"),
    ("s3dis", cleared, "Annotations holds no file"),
    ("s3dis", emptied, "the scene has no points"),
    ("s3dis", named("Area_1/office_1/Annotations", "Area_1/office_1/Other"), "office_1 has no folder Annotations"),
    ("s3dis", lambda home: (home / "Area_0/office_1").mkdir(parents=True), "office_1 has no folder Annotations"),
    ("rooms", changed(ROOM, lambda v: v[:, :6]), r"expected the shape \[n, 7\], got \[9, 6\]"),
    ("rooms", changed(ROOM, lambda v: v + 13), "class.*: row 0 has 13, expected a whole number from -1 to 12"),
    ("rooms", changed(ROOM, lambda v: v + 0.5), "row 0 has 0.5, expected a whole number"),
    ("rooms", changed(ROOM, lambda v: v[:0]), "the scene has no points"),
    ("rooms", changed(ROOM, lambda v: v * [np.nan, 1, 1, 1, 1, 1, 1]), "none of the scene's 9 points is finite"),
    ("rooms", text(ROOM, "1 2 3"), "cannot be read as an array"),
    ("rooms", lambda home: np.save(home / ROOM, np.array([{}])), "Python objects, which are never unpickled"),
    ("scans", gone(f"{SCAN}_vh_clean_2.ply"), f"no such file: {SCAN}_vh_clean_2.ply"),
    ("scans", labels(9, 1), "labels.ply has 9 vertices for the 1,500 of the scan"),
    ("scans", labels(1500, 41), "row 0 has 41, expected a whole number from 0 to 40"),
    ("scans", labels(1500, None), "have no property 'label'"),
    ("scans", gone(SEGMENTS), f"no such file: {SEGMENTS}"),
    ("scans", text(SEGMENTS, '{"segIndices": [1, 2]}'), "segs.json has 2 vertices for the 1,500"),
    ("scans", text(SEGMENTS, '{"segIndices": [1, "a"]}'), "segIndices: expected a list of whole numbers"),
    ("scans", text(GROUPED, '{"segGroups": [{"objectId": 0, "label": "a", "segments": [5000]}]}'), "object 0 has the segment 5000"),
    ("scans", text(GROUPED, '{"segGroups": [{"label": "a"}]}'), "expected objects with objectId, label and segments"),
    ("scans", text(GROUPED, "{"), "is no JSON"),
    ("scans", gone(f"{SCAN}_vh_clean_2.labels.ply"), "neither .*labels.ply nor the table"),
    ("scans", text(f"{SCAN}.txt", "axisAlignment = 1 0 0\n"), "axisAlignment: expected 16 numbers"),
    ("scans", lambda home: (home / "scene0000_00").rename(home / "old") and (home / "scene0000_00").mkdir(), "no such file: .*clean_2.ply"),
    ("votenet", gone(f"{EXPORT}_vert.npy"), f"no such file: .*/{EXPORT}_vert.npy"),
    ("votenet", gone(f"{EXPORT}_ins_label.npy"), f"no such file: .*/{EXPORT}_ins_label.npy"),
    ("votenet", changed(f"{EXPORT}_sem_label.npy", lambda v: v[:-1]), "sem_label.npy has 1,499 labels for the 1,500 points"),
    ("votenet", changed(f"{EXPORT}_sem_label.npy", lambda v: v + 50), "sem_label.npy: row 0 has 50"),
    ("votenet", changed(f"{EXPORT}_bbox.npy", lambda v: v[:, :6]), r"expected the shape \[n, 7\], got \[2, 6\]"),
    ("votenet", changed(f"{EXPORT}_bbox.npy", lambda v: v * [1, 1, 1, -1, 1, 1, 1]), "a box has a negative size"),
    ("votenet", lambda home: np.save(home / f"{EXPORT}_bbox.npy", np.array([{}])), "Python objects, which are never unpickled"),
    ("sun", gone("000005_bbox.npy"), "no such file: .*/000005_bbox.npy"),
    ("sun", gone("000005_pc.npz"), "no such file: .*/000005_pc.npz"),
    ("sun", gone("000005_votes.npz"), "no such file: .*/000005_votes.npz"),
    ("sun", archive("000005_pc.npz", cloud=np.zeros((4, 6))), "has no array 'pc'; it has cloud"),
    ("sun", cut_short("000005_pc.npz"), "cannot be read as an archive"),
    ("sun", archive("000005_votes.npz", point_votes=np.zeros((7, 10))), "has 7 votes for the 300 points"),
    ("sun", changed("000005_bbox.npy", lambda v: v + 1), "vote for places where no box has its centre"),
    ("sun", changed("000005_bbox.npy", lambda v: v + 10 * np.eye(8)[7]), "row 0 has 10, expected a whole number from 0 to 9"),
]


@pytest.mark.parametrize(("layout", "breaks", "message"), BROKEN, ids=range(len(BROKEN)))
def test_broken_files_have_reasons_and_cost_their_scene_only(tmp_path, layout, breaks, message):
    rng = np.random.default_rng(0)
    home = tmp_path / ("sunrgbd_pc_bbox_votes_50k_v1_val" if layout == "sun" else "home")
    home.mkdir()
    if layout == "s3dis":
        write_s3dis(home, "Area_1/office_1", room(rng, 9))
        write_s3dis(home, "Area_2/office_1", room(rng, 9))
    elif layout == "rooms":
        np.save(home / "Area_1_office_1.npy", np.zeros((9, 7)))
        np.save(home / "Area_2_office_1.npy", rng.uniform(0, 1, (9, 7)).round())
    elif layout == "scans":
        write_scannet(home, "scene0000_00", 0)
        write_scannet(home, "scene0001_00", 1)
    elif layout == "votenet":
        write_votenet(home, "scene0001_00", 0)
        write_votenet(home, "scene0002_00", 0)
    else:
        write_sunrgbd(home, 5, rng, np.ones(1))
        write_sunrgbd(home, 6, rng, np.ones(1))
    breaks(home)
    source = open_source(str(home), crop="whole")
    with pytest.raises(UserError, match=message):
        source.reader.read(source.entries[0])
    assert all(len(source.reader.read(entry).points) >= 9 for entry in source.entries[1:]) and len(source.entries) >= 2
