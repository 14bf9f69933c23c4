"""Rooms made in code: labels and boxes are exact, furniture does not overlap, and what is in a room depends on nothing but its numbers."""

import hashlib
import itertools
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cache_schema.errors import UserError
from pipeline.geometry import Cloud
from pipeline.sources.catalog import Source, open_source
from pipeline.starter.indoors import programmes, scene
from pipeline.starter.indoors.footprints import Footprint
from pipeline.starter.indoors.known import KNOWN, SAME, kind_of
from pipeline.starter.indoors.shell import SIZES, planned
from pipeline.starter.indoors.stock import Collection, Starters
from tests.forks import FORKS


def cuboid(path: Path, size: tuple[float, float, float], back: float = 0.0) -> None:
    """Writes a box of a size along x, y, z; with `back`, a thin wall of that height on its side towards -x."""
    lows, highs = [(0.0, 0.0, 0.0)], [size]
    if back:
        lows.append((0.0, size[1], 0.0))
        highs.append((size[0] * 0.1, size[1] + back, size[2]))
    vertices, faces = [], []
    for low, high in zip(lows, highs, strict=True):
        start = len(vertices)
        vertices += list(itertools.product(*zip(low, high, strict=True)))
        quads = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
        faces += [tuple(start + k for k in quad) for quad in quads]
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"v {x} {y} {z}" for x, y, z in vertices] + ["f " + " ".join(str(k + 1) for k in face) for face in faces]
    path.write_text("\n".join(lines) + "\n")


SIZES_GIVEN = {"bed": (100, 30, 200), "night_stand": (40, 50, 45), "chair": (40, 80, 45), "desk": (140, 74, 60), "table": (90, 70, 90)}
"""By class: width, height, depth in a unit that nobody tells."""


@pytest.fixture
def meshes(tmp_path):
    """A collection of boxes: eight of each class in train and two in test."""
    for name, size in SIZES_GIVEN.items():
        for number in range(10):
            cuboid(tmp_path / "meshes" / name / ("train" if number < 8 else "test") / f"{number}.obj", size)
    return tmp_path / "meshes"


@pytest.fixture(scope="module")
def rooms() -> Source:
    return open_source("rooms", count="3", density="200", seed="3")


@pytest.fixture(scope="module")
def clouds(rooms) -> list[Cloud]:
    return [rooms.reader.read(entry) for entry in rooms.entries]


@pytest.fixture(scope="module")
def furnished() -> list[scene.Room]:
    stock = Starters(seed=5)
    wanted = [scene.Wanted(seed=5, index=k, split="train", ceiling=False, kinds=stock.kinds("train")) for k in range(4)]
    return [scene.made(one, stock) for one in wanted]


def fingerprint(cloud: Cloud) -> str:
    arrays = (cloud.points, cloud.colors, cloud.normals, cloud.part, cloud.instance, cloud.boxes.box, cloud.boxes.kind)
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def in_own_axes(points: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Points in the axes of a box, as shares of half its size `[n, 3]`: all within -1..1 lie in it."""
    c, s = math.cos(box[6]), math.sin(box[6])
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    return (points - box[:3]) @ turn / (box[3:6] / 2)


# ------------------------------------------------------------------------------------------------------ labels and boxes


def test_every_point_of_an_object_lies_in_its_box_and_has_its_class(rooms, clouds):
    parts, kinds = rooms.labelled.parts, rooms.labelled.boxes
    assert set(kinds) == set(parts) - {"floor", "wall", "door", "window", "clutter"}
    for cloud in clouds:
        there = np.unique(cloud.instance[cloud.instance >= 0])
        assert there.tolist() == list(range(len(cloud.boxes.box))) and len(there) <= rooms.labelled.most
        for number, (box, kind) in enumerate(zip(cloud.boxes.box, cloud.boxes.kind, strict=True)):
            own = cloud.instance == number
            shares = np.abs(in_own_axes(cloud.points[own].astype(np.float64), box))
            assert shares.max() < 1 + 1e-4
            assert {parts[label] for label in np.unique(cloud.part[own])} == {kinds[kind]}
        loose = {parts[label] for label in np.unique(cloud.part[cloud.instance < 0])}
        assert {"floor", "wall", "door"} <= loose and loose.isdisjoint(kinds)


def test_boxes_are_tight(furnished):
    for room in furnished:
        for piece in room.pieces:
            if piece.instance >= 0:
                vertices = np.concatenate([part.vertices[np.unique(part.faces)] for part in piece.mesh.parts]).astype(np.float64)
                shares = in_own_axes(vertices, np.array(room.placed[piece.instance].box()))
                assert np.allclose(shares.max(axis=0), 1, atol=1e-3) and np.allclose(shares.min(axis=0), -1, atol=0.02)


def test_floors_are_at_zero_and_walls_bound_the_room(rooms, clouds):
    index = {name: rooms.labelled.parts.index(name) for name in ("floor", "wall", "door", "window")}
    for cloud in clouds:
        low, high = cloud.points.min(axis=0), cloud.points.max(axis=0)
        assert np.allclose(low + high, [0, high[1], 0], atol=1e-5) and low[1] == 0
        assert (cloud.points[cloud.part == index["floor"], 1] == 0).all()
        assert np.allclose(np.linalg.norm(cloud.normals, axis=1), 1, atol=2e-3)
        shell = cloud.points[np.isin(cloud.part, list(index.values()))]
        assert np.allclose(shell.min(axis=0), low) and np.allclose(shell.max(axis=0), high)


def test_a_ceiling_is_a_class_of_its_own():
    source = open_source("rooms", count="1", density="100", ceiling="yes")
    cloud = source.reader.read(source.entries[0])
    top = cloud.points[cloud.part == source.labelled.parts.index("ceiling")]
    assert len(top) and np.allclose(top[:, 1], cloud.points[:, 1].max())


# ------------------------------------------------------------------------------------------------------------ the layout


def test_no_two_things_on_the_floor_overlap_and_doors_stay_free(furnished):
    grid = np.stack(np.meshgrid(np.linspace(-0.99, 0.99, 25), [0.0], np.linspace(-0.99, 0.99, 25)), axis=-1).reshape(-1, 3)
    for room in furnished:
        boxes = [np.array(one.box()) for one in room.placed if one.on is None]
        doors = [(wall, door) for wall in room.shell.walls for door in wall.doors]
        for one in boxes:
            c, s = math.cos(one[6]), math.sin(one[6])
            places = one[:3] + (grid * one[3:6] / 2) @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T
            for two in (two for two in boxes if two is not one):
                assert (np.abs(in_own_axes(places, two))[:, [0, 2]].max(axis=1) > 1 - 1e-6).all()
            for wall, door in doors:
                c, s = math.cos(wall.turn), math.sin(wall.turn)
                off = places[:, [0, 2]] - (wall.x, wall.z)
                along, ahead = off @ (c, -s), off @ (s, c)
                assert not ((along > door.begin) & (along < door.end) & (ahead < 0.9) & (ahead > 0)).any()


def test_what_stands_on_others_touches_them(furnished):
    tops = [one for room in furnished for one in room.placed if one.on is not None]
    assert len(tops) > 3
    for one in tops:
        assert one.on is not None and 0.25 <= one.y <= 1.5 and one.y <= one.on.y + one.on.item.size[1] + 1e-6
        assert one.on.footprint.wider(0.05).overlaps(one.footprint)


def test_overlaps_agree_with_a_grid_of_places():
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.linspace(-0.5, 0.5, 61), np.linspace(-0.5, 0.5, 61)), axis=-1).reshape(-1, 2)
    met = 0
    for _ in range(150):
        one, two = (
            Footprint(
                x=rng.uniform(-1, 1), z=rng.uniform(-1, 1), width=rng.uniform(0.2, 2), depth=rng.uniform(0.2, 2), turn=rng.uniform(-4, 4)
            )
            for _ in range(2)
        )
        places = np.array([one.place(x, z) for x, z in grid * (one.width, one.depth)]) - (two.x, two.z)
        c, s = math.cos(two.turn), math.sin(two.turn)
        shares = np.abs(places @ np.array([[c, s], [-s, c]])) / (two.width / 2, two.depth / 2)
        shared = bool((shares.max(axis=1) < 1).any())
        met += shared
        assert one.overlaps(two) == two.overlaps(one)
        assert one.overlaps(two) or not shared
        assert shared or not one.wider(-0.06).overlaps(two.wider(-0.06)) or min(one.width, one.depth, two.width, two.depth) < 0.3
    assert 25 < met < 125


def test_plans_close_and_lie_in_their_bounds():
    notched = 0
    for seed, kind in itertools.product(range(30), SIZES):
        shell = planned(np.random.default_rng(seed), kind)
        notched += shell.notch is not None
        ends = np.array([wall.at(wall.length, 0) for wall in shell.walls])
        begins = np.array([(wall.x, wall.z) for wall in shell.walls])
        assert np.allclose(ends, np.roll(begins, -1, axis=0))
        x, z = begins.T
        area = (x @ np.roll(z, -1) - np.roll(x, -1) @ z) / 2  # the shoelace formula
        assert area == pytest.approx(shell.area) == pytest.approx(sum((b - a) * (d - c) for a, b, c, d in shell.rectangles()))
        for wall in shell.walls:
            step = Footprint(x=wall.at(wall.length / 2, 0.06)[0], z=wall.at(wall.length / 2, 0.06)[1], width=0.1, depth=0.1, turn=wall.turn)
            assert shell.holds(step)
            assert all(0 < hole.begin and hole.end < wall.length and hole.top < shell.height for hole in (*wall.doors, *wall.windows))
        assert any(wall.doors for wall in shell.walls)
    assert notched > 10


def test_rooms_hold_what_their_kind_promises(rooms, clouds):
    for entry, cloud in zip(rooms.entries, clouds, strict=True):
        names = {rooms.labelled.boxes[kind] for kind in cloud.boxes.kind}
        assert names & set(programmes.ESSENTIAL[entry.label])


# --------------------------------------------------------------------------------------------------- always the same


def elsewhere() -> str:
    """The fingerprint of the third room, made in this process alone."""
    source = open_source("rooms", count="9", density="200", seed="3")
    return fingerprint(source.reader.read(source.entries[2]))


def test_a_room_depends_on_its_numbers_alone(rooms, clouds):
    with FORKS.Pool(1) as pool:
        assert pool.apply(elsewhere) == fingerprint(clouds[2])
    assert len({fingerprint(cloud) for cloud in clouds}) == len(clouds)
    other = open_source("rooms", count="1", density="200", seed="4")
    assert fingerprint(other.reader.read(other.entries[0])) != fingerprint(clouds[0])
    assert other.reader.digest(other.entries[0]) != rooms.reader.digest(rooms.entries[0])


def test_columns_hold_every_point_of_the_room(rooms, clouds):
    source = open_source("rooms", count="2", density="200", seed="3", crop="columns", size="1.5", stride="1.0", least="20")
    assert not any("no crop" in note for note in source.notes)
    for number, whole in enumerate(clouds[:2]):
        crops = [entry for entry in source.entries if entry.id.startswith(f"room/{number:04d}#")]
        seen = np.zeros(len(whole.points), int)
        for entry in crops:
            crop = source.reader.read(entry)
            assert len(crop.points) >= 20 and np.abs(crop.points[:, [0, 2]]).max() <= 0.75 + 1e-4
            shift = crop.points - whole.points[crop.origin]
            assert np.ptp(shift, axis=0).max() < 1e-4 and abs(shift[:, 1]).max() < 1e-5
            assert (crop.part == whole.part[crop.origin]).all() and (crop.instance == whole.instance[crop.origin]).all()
            seen[crop.origin] += 1
        assert seen.min() >= 1 and seen.max() <= 4


def test_tests_hold_other_shapes_than_training():
    stock = Starters(seed=0)
    rng = np.random.default_rng(0)
    drawn = {split: {stock.drawn(rng, "chair", split) for _ in range(200)} for split in ("train", "test")}
    assert {int(name.split("/")[1]) % 4 for name in drawn["test"]} == {3}
    assert {int(name.split("/")[1]) % 4 for name in drawn["train"]} == {0, 1, 2}
    assert Counter(entry.split for entry in open_source("rooms", count="8").entries) == {"train": 6, "test": 2}


# ------------------------------------------------------------------------------------------------ other people's meshes


def test_rooms_of_other_meshes_hold_only_those_of_their_split(meshes, monkeypatch):
    source = open_source(f"rooms:{meshes}", count="8", density="100")
    assert source.labelled.boxes == ("bed", "chair", "desk", "night stand", "table")
    read = list[str]()
    original = Collection.item
    monkeypatch.setattr(Collection, "item", lambda self, name: (read.append(name), original(self, name))[1])
    for entry in source.entries:
        read.clear()
        cloud = source.reader.read(entry)
        assert {name.split("/")[1] for name in read} == {entry.split}
        for box, kind in zip(cloud.boxes.box, cloud.boxes.kind, strict=True):
            given = np.array(SIZES_GIVEN[source.labelled.boxes[kind].replace(" ", "_")])
            ratios = box[3:6] / given
            assert sorted(ratios) == pytest.approx([ratios[1]] * 3) or sorted(box[[3, 5]] / given[[2, 0]]) == pytest.approx([ratios[1]] * 2)
            assert 0.005 < ratios[1] < 0.02  # from centimetres to metres


def test_a_broken_mesh_is_replaced_and_told(meshes):
    for path in meshes.glob("chair/train/*.obj"):
        path.write_text("v 0 0\nf 1 2 3\n")
    source = open_source(f"rooms:{meshes}", count="8", density="100")
    clouds = [source.reader.read(entry) for entry in source.entries if entry.split == "train"]
    assert all("chair" not in [source.labelled.boxes[kind] for kind in cloud.boxes.kind] and len(cloud.boxes.box) for cloud in clouds)
    assert any("meshes that cannot be read are replaced by others" in text for cloud in clouds for text in cloud.warnings)
    for path in meshes.rglob("*.obj"):
        path.write_text("v 0 0\n")
    with pytest.raises(UserError, match=r"none of the .* meshes chosen for the room can be read"):
        source.reader.read(source.entries[1])


def test_a_changed_mesh_changes_the_digest_of_its_rooms_alone(meshes):
    source = open_source(f"rooms:{meshes}", count="8", density="100")
    before = [source.reader.digest(entry) for entry in source.entries]
    for path in meshes.glob("*/test/*.obj"):
        cuboid(path, (10, 10, 10))
    again = open_source(f"rooms:{meshes}", count="8", density="100", seed="0", classes="bed,chair,desk,night_stand,table")
    changed = [one != two for one, two in zip(before, [again.reader.digest(entry) for entry in again.entries], strict=True)]
    assert changed == [entry.split == "test" for entry in source.entries]


def test_other_meshes_than_those_of_the_cache_are_refused(meshes):
    source = open_source(f"rooms:{meshes}", count="1")
    cuboid(meshes / "chair/train/new.obj", (1, 1, 1))
    with pytest.raises(UserError, match="holds other meshes than the cache was made with"):
        open_source(source.reader.location, **dict(source.reader.options))


def test_a_collection_without_a_split_is_dealt_and_told(tmp_path):
    for number in range(40):
        cuboid(tmp_path / f"chair_{number}.obj", (40, 80, 45))
        cuboid(tmp_path / f"xylophone_{number}.obj", (40, 80, 45))
    cuboid(tmp_path / "wall.obj", (3, 3, 3))
    source = open_source(f"rooms:{tmp_path}", count="4", label="file", density="100")
    assert {entry.split for entry in source.entries} == {"train", "test"} and {entry.label for entry in source.entries} == {"room"}
    for words in (
        "no split found: a quarter of the meshes",
        "do not furnish rooms (1 shape): wall",
        "usual size is not known (1): xylophone",
    ):
        assert any(words in note for note in source.notes), (words, source.notes)
    assert all(len(source.reader.read(entry).boxes.box) > 2 for entry in source.entries)


def test_the_back_of_a_chair_tells_where_it_faces(tmp_path):
    cuboid(tmp_path / "chair" / "one.obj", (40, 40, 42), back=40)
    cuboid(tmp_path / "chair" / "two.obj", (40, 40, 42), back=40)
    stock = Collection.of(open_source(str(tmp_path), label="folder", up="y"))
    item = stock.item("chair/one.obj")
    vertices = np.concatenate([part.vertices for part in item.parts])
    high = vertices[vertices[:, 1] > 0.6 * item.size[1]]
    assert (high[:, 2] < 0).all() and np.ptp(high[:, 0]) > 4 * np.ptp(high[:, 2])  # the back is behind, across the chair
    assert vertices[:, 1].min() == 0 and np.allclose(vertices.min(axis=0) + vertices.max(axis=0), [0, item.size[1], 0], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("night_stand", "night stand"),
        ("NightStand", "night stand"),
        ("bed_double", "bed"),
        ("couch pillows", "sofa"),
        ("lamp table", "lamp"),
        ("table_lamp", "lamp"),
        ("kitchentable sink large", "table"),
        ("Chairs", "chair"),
        ("wall doorway", None),
        ("floor_kitchen", None),
        ("xylophone", "xylophone"),
        ("carton", "carton"),
        ("BookShelf", "bookshelf"),
        ("book_case tall", "bookshelf"),
        ("tv_stand", "cabinet"),
        ("piano stool", "stool"),
        ("toilet paper", None),
        ("ToiletPaper roll", None),
    ],
)
def test_names_of_classes_become_kinds(name, kind):
    assert kind_of(name) == kind


def test_every_word_means_a_known_kind():
    assert set(SAME.values()) <= set(KNOWN) and not set(SAME) & set(KNOWN)
    assert all(kind_of(kind) == kind for kind in KNOWN)
    assert all(kind in KNOWN for room in programmes.PROGRAMMES.values() for step in room for kind in (*step.kinds, *step.near))


# ------------------------------------------------------------------------------------------------------------- options


def test_furniture_can_be_chosen():
    source = open_source("rooms", count="3", density="100", classes="night_stand, bed,chair")
    assert source.labelled.boxes == ("bed", "chair", "night stand")
    assert dict(source.reader.options)["classes"] == "bed,chair,night stand"
    found = {source.labelled.boxes[kind] for entry in source.entries for kind in source.reader.read(entry).boxes.kind}
    assert "bed" in found


@pytest.mark.parametrize(
    ("location", "options", "message"),
    [
        ("rooms", {"revision": "0"}, "asked for '0'"),
        ("rooms", {"density": "0"}, "option density: expected points per square metre"),
        ("rooms", {"classes": "chiar"}, "no furniture called 'chiar'; did you mean 'chair'"),
        ("rooms", {"classes": "mug"}, "no furniture called 'mug'"),
        ("rooms", {"up": "z"}, "option up is for the source of the meshes"),
        ("rooms", {"ceiling": "maybe"}, "option ceiling"),
        ("rooms", {"crop": "columns", "stride": "2"}, "option stride"),
        ("rooms:rooms", {}, "where PATH is a place with meshes"),
        ("rooms:", {}, "where PATH is a place with meshes"),
        ("rooms:/nowhere", {}, "neither a path nor the name"),
    ],
)
def test_mistakes_are_explained(location, options, message):
    with pytest.raises(UserError, match=message):
        open_source(location, **options)
