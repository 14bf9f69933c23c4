"""Part labels of every official layout: written by a test exactly so, read, built into a cache, compared at every stored point.

Run: pytest tests/pipeline/test_point_labels.py
"""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from cache_schema.errors import UserError
from cache_schema.layout import texts
from pipeline import building
from pipeline.formats.labels import Labelling, Labels, vocabulary, whole_numbers
from pipeline.geometry import Cloud, Mesh, normalized
from pipeline.points import sample
from pipeline.recipes import configured
from pipeline.sources import shapenetpart
from pipeline.sources.catalog import Source, open_source
from pipeline.work import Machine
from tests.boxes import Silent

SMALL = ["points.count=96", "points.blocks=2", "points.ordered=32"]


def built(location: str, tmp_path: Path, *options: str):
    """The cache of a source by the points recipe, and its source."""
    settings = [*SMALL, *(f"source.{option}" for option in options)]
    cache = building.build_cache(location, tmp_path / "c.zarr", configured("points", settings), Machine(workers=1, device="cpu"), Silent())
    return cache, open_source(location, **dict(option.split("=", 1) for option in options))


def stored(cache, row: int) -> tuple[np.ndarray, np.ndarray]:
    """All stored points `[m, 3]` of a shape, and their parts `[m]`."""
    rows, blocks = np.array([row, row]), np.array([0, 1])
    xyz, part = (cache.rows(name).gather(rows, blocks) for name in ("points/xyz", "points/part"))
    return xyz.reshape(-1, 3).astype(np.float64), part.reshape(-1)


def check_cloud(cache, row: int, points: np.ndarray, part: np.ndarray) -> None:
    """Every stored point has the part of the nearest point of the file. `points` `[n, 3]` are +Y up; stored ones are float16."""
    centred = points - points.mean(axis=0)
    placed = centred / np.linalg.norm(centred, axis=1).max()
    xyz, found = stored(cache, row)
    distance = np.linalg.norm(xyz[:, None] - placed[None], axis=2)
    assert distance.min(axis=1).max() < 2e-3, "a stored point is none of the file"
    np.testing.assert_array_equal(found, part[distance.argmin(axis=1)])
    assert len(np.unique(found)) > 1


def clouds(count: int, n: int = 300) -> np.ndarray:
    return np.random.default_rng(count).normal(size=(count, n, 3)).astype(np.float32)


# ----------------------------------------------------------------------------------------------------------- ShapeNetPart


def text_release(folder: Path, end: str = "\n") -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """ShapeNetPart v0_normal with an airplane, a motorbike and two tables. By id: points and labels 0..49."""
    truth = {}
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    wanted = {"02691156-10155655850468db78d106ce0a280f87": "train", "03790512-a1": "val", "04379243-b2": "test", "04379243-c3": "test"}
    for (name, split), points in zip(wanted.items(), clouds(4), strict=True):
        synset, model = name.split("-")
        first, parts = shapenetpart.FIRST[synset], len(shapenetpart.CATEGORIES[synset][1])
        labels = first + np.random.default_rng(7).integers(0, parts, len(points))
        (folder / synset).mkdir(parents=True, exist_ok=True)
        rows = [f"{x:.6f} {y:.6f} {z:.6f} 0.000000 1.000000 0.000000 {label:.6f}" for (x, y, z), label in zip(points, labels, strict=True)]
        (folder / synset / f"{model}.txt").write_text(end.join(rows) + end, newline="")
        lists[split].append(f"shape_data/{synset}/{model}")
        truth[name] = points, labels
    (folder / "train_test_split").mkdir()
    for split, names in lists.items():
        (folder / "train_test_split" / f"shuffled_{split}_file_list.json").write_text(json.dumps(names))
    names = [f"{category.capitalize()}\t{synset}" for synset, (category, _) in shapenetpart.CATEGORIES.items()]
    (folder / "synsetoffset2category.txt").write_text(end.join(names) + end, newline="")
    return truth


def test_the_parts_of_shapenetpart_have_the_official_numbers():
    assert len(shapenetpart.PARTS) == len(set(shapenetpart.PARTS)) == 50 and len(shapenetpart.CATEGORIES) == 16
    counts = [len(parts) for _, parts in shapenetpart.CATEGORIES.values()]
    assert counts == [4, 2, 2, 4, 4, 3, 3, 2, 4, 2, 6, 2, 3, 3, 3, 3]
    named = {name: shapenetpart.FIRST[synset] for synset, (name, _) in shapenetpart.CATEGORIES.items()}
    assert [named[name] for name in ("earphone", "lamp", "motorbike", "pistol", "table")] == [16, 24, 30, 38, 47]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_shapenetpart_as_text(tmp_path, end):
    truth = text_release(tmp_path / "s", end)
    cache, source = built(str(tmp_path / "s"), tmp_path)
    assert source.reader.kind == "shapenetpart" and all(cache.ok())
    assert [(e.label, e.split) for e in source.entries] == [
        ("airplane", "train"),
        ("motorbike", "val"),
        ("table", "test"),
        ("table", "test"),
    ]
    assert cache.record("points").spec.parts == shapenetpart.PARTS
    for row, entry in enumerate(source.entries):
        check_cloud(cache, row, *truth[entry.id])
    read = source.reader.read(source.entries[0])
    assert isinstance(read, Cloud) and read.normals is not None and (read.normals == [0, 1, 0]).all()


def test_shapenetpart_of_the_first_release_counts_from_one(tmp_path):
    folder = tmp_path / "s" / "03001627"
    for name in ("points", "points_label"):
        (folder / name).mkdir(parents=True)
    points, labels = clouds(1)[0], np.arange(300) % 4 + 1
    np.savetxt(folder / "points" / "1a.pts", points, fmt="%.5f")
    (folder / "points_label" / "1a.seg").write_text("\n".join(map(str, labels)) + "\n")
    np.savetxt(folder / "points" / "2b.pts", points, fmt="%.5f")
    cache, source = built(str(tmp_path / "s"), tmp_path)
    assert source.reader.kind == "shapenetpart" and cache.ok().tolist() == [True, False]
    assert "points_label/2b.seg cannot be read" in texts(cache.column("reason"))[1]
    check_cloud(cache, 0, points, labels - 1 + 12)
    before = source.reader.read(source.entries[0]).beside
    (folder / "points_label" / "1a.seg").write_text("1\n" * 300)
    assert source.reader.read(source.entries[0]).beside != before, "labels are part of what a shape was made from"


def hdf5_release(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """ShapeNetPart's HDF5: two files for training, one for each other split. Returns all points and labels, file after file."""
    folder.mkdir(parents=True)
    points, categories = clouds(8), np.array([0, 4, 15, 10, 2, 0, 8, 6])
    first = np.array(list(shapenetpart.FIRST.values()))
    sizes = np.array([len(parts) for _, parts in shapenetpart.CATEGORIES.values()])
    pid = first[categories][:, None] + np.arange(300) % sizes[categories][:, None]
    for place, name in enumerate(("test0", "train0", "train1", "val0")):
        rows = slice(2 * place, 2 * place + 2)
        with h5py.File(folder / f"ply_data_{name}.h5", "w") as file:
            file.create_dataset("data", data=points[rows], compression="gzip")
            file["label"], file["pid"] = categories[rows, None].astype(np.uint8), pid[rows].astype(np.uint8)
    for split, names in {"train": ("train0", "train1"), "val": ("val0",), "test": ("test0",)}.items():
        (folder / f"{split}_hdf5_file_list.txt").write_text("".join(f"ply_data_{name}.h5\n" for name in names))
    listed = [f"{name.capitalize()}\t{synset}" for synset, (name, _) in shapenetpart.CATEGORIES.items()]
    (folder / "all_object_categories.txt").write_text("\n".join(listed))
    numbers = [[synset, i] for synset, (_, parts) in shapenetpart.CATEGORIES.items() for i, _ in enumerate(parts)]
    (folder / "overallid_to_catid_partid.json").write_text(json.dumps(numbers))
    return points, pid


def test_shapenetpart_as_hdf5(tmp_path):
    points, pid = hdf5_release(tmp_path / "s" / "hdf5_data")
    cache, source = built(str(tmp_path / "s"), tmp_path)
    assert source.reader.kind == "shapenetpart" and all(cache.ok())
    assert [(e.label, e.split) for e in source.entries][:4] == [
        ("airplane", "test"),
        ("chair", "test"),
        ("table", "train"),
        ("motorbike", "train"),
    ]
    for row in range(8):
        check_cloud(cache, row, points[row], pid[row])


def test_shapenetpart_is_recognised_beside_hidden_and_damaged_files_and_in_its_folder(tmp_path):
    release = tmp_path / "s" / "shapenetcore_partanno_segmentation_benchmark_v0_normal"
    text_release(release, "\n")
    for synset in ("02691156", "04379243"):
        (release / synset / "._0.txt").write_bytes(b"\0\5\x16\7")  # macOS puts such files beside every file of an archive
        (release / synset / "000.txt").write_bytes(b"")
    for folder in (release, release.parent):
        source = open_source(str(folder))
        assert source.reader.kind == "shapenetpart" and len(source.entries) == 4


def test_shapenetpart_as_train0_h5_with_seg(tmp_path):
    points, pid = hdf5_release(tmp_path / "hdf5_data")
    home = (tmp_path / "hdf5_data").rename(tmp_path / "shapenetpart_hdf5_2048")
    for path in [*home.glob("*.txt"), *home.glob("*.json")]:
        path.unlink()
    for path in home.glob("*.h5"):
        with h5py.File(path, "a") as file:
            file.move("pid", "seg")
        path.rename(path.with_name(path.name.removeprefix("ply_data_")))
    cache, source = built(str(home), tmp_path)
    assert source.reader.kind == "shapenetpart" and [e.split for e in source.entries] == ["test"] * 2 + ["train"] * 4 + ["val"] * 2
    for row in range(8):
        check_cloud(cache, row, points[row], pid[row])


def without_file(folder: Path) -> None:
    (folder / "hdf5_data" / "ply_data_train1.h5").unlink()


def in_two_splits(folder: Path) -> None:
    (folder / "hdf5_data" / "test_hdf5_file_list.txt").write_text("ply_data_train0.h5\r\n")


def in_another_order(folder: Path) -> None:
    (folder / "hdf5_data" / "all_object_categories.txt").write_text("Table\t04379243\nChair\t03001627\n")


def numbered_otherwise(folder: Path) -> None:
    (folder / "hdf5_data" / "overallid_to_catid_partid.json").write_text('[["02691156", 0]]')


def odd_shapes(folder: Path) -> None:
    with h5py.File(folder / "hdf5_data" / "ply_data_val0.h5", "a") as file:
        del file["pid"]
        file["pid"] = np.zeros((2, 299), np.uint8)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (without_file, "names ply_data_train1.h5, which is missing"),
        (in_two_splits, "puts ply_data_train0.h5 into train, and another list puts it into test"),
        (in_another_order, "does not list the 16 categories"),
        (numbered_otherwise, "numbers the parts otherwise"),
        (odd_shapes, r"expected label \[2\] and pid \[2, 300\], got \[2, 1\] and \[2, 299\]"),
    ],
)
def test_a_damaged_hdf5_release_of_shapenetpart_is_refused(tmp_path, harm: Callable[[Path], None], reason):
    hdf5_release(tmp_path / "hdf5_data")
    harm(tmp_path)
    with pytest.raises(UserError, match=reason):
        open_source(str(tmp_path), kind="shapenetpart")


def test_wrong_rows_of_shapenetpart_fail_alone_with_the_reason(tmp_path):
    truth = text_release(tmp_path)
    path = next(tmp_path.glob("02691156/*.txt"))
    lines = path.read_text().splitlines()
    source = open_source(str(tmp_path))
    start = lines[5].rsplit(" ", 1)[0]
    for text, reason in (
        ([*lines[:5], f"{start} 50", *lines[6:]], r"none of airplane \(0 to 3\), such as 50 at point 5"),
        ([*lines[:5], f"{start} nan", *lines[6:]], "the label nan at place 5 is no whole number"),
        ([*lines[:5], f"{start} 1.5", *lines[6:]], r"the label 1\.5 at place 5 is no whole number"),
        ([*lines[:5], start, *lines[6:]], "line 6 has 6 numbers, expected 7"),
        ([line.rsplit(" ", 1)[0] for line in lines], r"expected 7 columns \(x y z nx ny nz label\), got 6"),
    ):
        path.write_text("\n".join(text))
        with pytest.raises(UserError, match=reason):
            source.reader.read(source.entries[0])
    for entry in source.entries[1:]:
        assert (source.reader.read(entry).part == truth[entry.id][1]).all()


def test_lists_of_shapenetpart_choose_and_what_they_lack_is_said(tmp_path):
    text_release(tmp_path)
    lists = tmp_path / "train_test_split"
    (lists / "shuffled_val_file_list.json").unlink()
    (lists / "shuffled_test_file_list.json").write_text('["shape_data/04379243/b2", "shape_data/04379243/gone"]')
    source = open_source(str(tmp_path))
    assert [e.id[:9] for e in source.entries] == ["02691156-", "04379243-", "04379243-"]
    assert source.skipped["not in the lists"] == 2
    said = " ".join(source.notes)
    assert "no list of val: no shape is in val" in said and "1 of 3 listed shapes are missing, such as 04379243/gone.txt" in said
    with pytest.raises(UserError, match=r"no such file: 04379243/gone\.txt"):
        source.reader.read(source.entries[2])
    (lists / "shuffled_test_file_list.json").write_text('["shape_data/02691156/10155655850468db78d106ce0a280f87"]')
    with pytest.raises(UserError, match=r"is in the split '(test|train)' already"):
        open_source(str(tmp_path))
    (lists / "shuffled_test_file_list.json").write_text('["shape_data/12345678/x"]')
    with pytest.raises(UserError, match="12345678 is none of the 16 categories"):
        open_source(str(tmp_path))


# ---------------------------------------------------------------------------------------------------------------- PartNet


def partnet(folder: Path, *groups: str, names: bool = True) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """sem_seg_h5 with two files for training. By CATEGORY-LEVEL: all points and labels, in the order of ids."""
    truth = {}
    for number, group in enumerate(groups):
        (folder / "sem_seg_h5" / group).mkdir(parents=True)
        points = clouds(8 + number)[:8]
        labels = np.random.default_rng(number).integers(0, 4 + number, (8, 300))
        for place, name in enumerate(("test-00", "train-00", "train-01", "val-00")):
            with h5py.File(folder / "sem_seg_h5" / group / f"{name}.h5", "w") as file:
                rows = slice(2 * place, 2 * place + 2)
                file["data"], file["label_seg"] = points[rows], labels[rows].astype(np.uint8)
                file["data_num"] = np.full(2, 300, np.int32)
        for split, held in {"train": ("train-00", "train-01"), "val": ("val-00",), "test": ("test-00",)}.items():
            (folder / "sem_seg_h5" / group / f"{split}_files.txt").write_text("".join(f"./{name}.h5\n" for name in held))
        if names:
            stats = folder / "stats" / "after_merging_label_ids"
            stats.mkdir(parents=True, exist_ok=True)
            category, level = group.split("-")
            lines = [f"{2 * i + 1} {category.lower()}/part_{i} leaf" for i in range(3 + number)]
            (stats / f"{category}-level-{level}.txt").write_text("\n".join(lines) + "\n")
        truth[group] = points, labels
    return truth


def test_partnet_for_semantic_segmentation(tmp_path):
    truth = partnet(tmp_path / "p", "Chair-1", "TrashCan-1")
    cache, source = built(str(tmp_path / "p" / "sem_seg_h5"), tmp_path)
    assert source.reader.kind == "partnet" and all(cache.ok()) and len(source.entries) == 16
    assert source.labelled.parts == (*(f"chair/part_{i}" for i in range(3)), *(f"trashcan/part_{i}" for i in range(4)))
    assert {(e.label, e.split) for e in source.entries} >= {("trash can", "val"), ("chair", "train")}
    for row, entry in enumerate(source.entries):
        points, labels = truth[entry.id.split("/")[0]]
        start = 0 if entry.label == "chair" else 3
        check_cloud(cache, row, points[row % 8], np.where(labels[row % 8] > 0, labels[row % 8] - 1 + start, -1))


def test_partnet_without_names_counts_its_labels_and_levels_are_chosen(tmp_path):
    partnet(tmp_path, "Chair-1", "Chair-3", names=False)
    root = str(tmp_path / "sem_seg_h5")
    with pytest.raises(UserError, match="the levels 1, 3 of PartNet are here"):
        open_source(root)
    source = open_source(root, level="3")
    assert source.labelled.parts == ("chair 1", "chair 2", "chair 3", "chair 4") and source.skipped["of another level"] == 4
    assert any("nothing names its 4 parts" in note for note in source.notes)
    one = open_source(str(tmp_path / "sem_seg_h5" / "Chair-1"))
    assert len(one.labelled.parts) == 3 and len(one.entries) == 8
    (tmp_path / "sem_seg_h5" / "Chair-1" / "train-01.h5").unlink()
    with pytest.raises(UserError, match=r"train_files\.txt names train-01\.h5, which is missing"):
        open_source(str(tmp_path / "sem_seg_h5" / "Chair-1"))


def test_partnet_is_recognised_beside_hidden_files(tmp_path):
    partnet(tmp_path, "Chair-1")
    for path in list(tmp_path.rglob("*.h5")):
        path.with_name(f"._{path.name}").write_bytes(b"\0")
    assert open_source(str(tmp_path / "sem_seg_h5")).reader.kind == "partnet"


def test_a_label_of_partnet_beyond_its_names_fails(tmp_path):
    partnet(tmp_path, "Chair-1")
    with h5py.File(tmp_path / "sem_seg_h5" / "Chair-1" / "val-00.h5", "a") as file:
        file["label_seg"][1, 7] = 4
    source = open_source(str(tmp_path / "sem_seg_h5"))
    with pytest.raises(UserError, match=r"the label 4 of a point; Chair-1 has the labels 0 \(other\) to 3"):
        source.reader.read(source.entries[7])
    (tmp_path / "stats" / "after_merging_label_ids" / "Chair-level-1.txt").unlink()
    with pytest.raises(UserError, match=r"Chair-level-1\.txt is missing"):
        open_source(str(tmp_path / "sem_seg_h5"))


def test_partnet_for_instance_segmentation(tmp_path):
    folder = tmp_path / "p" / "Chair-3"
    folder.mkdir(parents=True)
    points, rng = clouds(2), np.random.default_rng(5)
    instance = rng.integers(-1, 6, (2, 300))
    kind = np.array([1, 2, 2, 3, 1, 2])  # the label of each object, from 1
    label = np.where(instance >= 0, kind[instance], 0)
    masks = instance[:, None] == np.arange(200)[None, :, None]
    masks[:, 150] = True  # not valid, so it is no object
    valid = np.tile(np.arange(200) < 6, (2, 1))
    with h5py.File(folder / "train-00.h5", "w") as file:
        file["pts"], file["gt_label"], file["gt_mask"], file["gt_valid"] = points, label.astype(np.uint8), masks, valid
        file["gt_other_mask"] = label == 0
    of_masks = np.zeros((2, 200), np.uint8)
    of_masks[:, :6] = kind - 1
    with h5py.File(folder / "test-00.h5", "w") as file:
        file["pts"], file["gt_mask_label"], file["gt_mask"], file["gt_mask_valid"] = points, of_masks, masks, valid
    for name, first in (("train-00", 40), ("test-00", 20)):
        (folder / f"{name}.json").write_text(json.dumps([{"anno_id": str(first + i), "model_id": "x", "ins_seg": []} for i in range(2)]))
    cache, source = built(str(tmp_path / "p"), tmp_path)
    assert [e.id for e in source.entries] == ["Chair-3/20", "Chair-3/21", "Chair-3/40", "Chair-3/41"]
    assert cache.record("points").spec.instances and len(source.labelled.parts) == 3
    for row in range(4):
        check_cloud(cache, row, points[row % 2], label[row % 2] - 1)
        read = source.reader.read(source.entries[row])
        np.testing.assert_array_equal(read.instance, instance[row % 2])
    with h5py.File(folder / "train-00.h5", "a") as file:
        file["gt_valid"][0, 150] = True
    with pytest.raises(UserError, match="points are in more than one object"):
        source.reader.read(source.entries[2])
    (folder / "train-00.json").write_text('[{"anno_id": "1"}]')
    with pytest.raises(UserError, match=r"train-00\.json describes 1 shapes, and train-00\.h5 holds 2"):
        open_source(str(tmp_path / "p"))


def test_partnet_with_the_hierarchy_of_parts(tmp_path):
    folder, names = tmp_path / "p" / "ins_seg_h5" / "Chair", tmp_path / "p" / "after_merging_label_ids"
    folder.mkdir(parents=True)
    names.mkdir()
    (names / "Chair-level-3.txt").write_text("3 chair/back/bar leaf\r\n5 chair/leg leaf\r\n", newline="")
    points, leaves = clouds(2), np.arange(600).reshape(2, 300) % 6
    leg = {"part_name": "chair/leg", "leaf_id_list": [1]}
    held = [
        leg,
        leg | {"leaf_id_list": [2, 4]},
        {"part_name": "chair/back/bar", "leaf_id_list": [0]},
        {"part_name": "chair", "leaf_id_list": [5]},
    ]
    with h5py.File(folder / "train-00.h5", "w") as file:
        file["pts"], file["nor"] = points, np.tile(np.float32([0, 0, 1]), (2, 300, 1))
        file["rgb"], file["opacity"], file["label"] = np.full((2, 300, 3), 9, np.uint8), np.ones((2, 300)), leaves
    records = [{"anno_id": name, "model_id": "m", "ins_seg": held} for name in ("172", "9")]
    (folder / "train-00.json").write_text(json.dumps(records))
    root = str(tmp_path / "p" / "ins_seg_h5")
    with pytest.raises(UserError, match="holds all levels of PartNet; set the option level"):
        open_source(root)
    cache, source = built(root, tmp_path, "level=3")
    assert [e.id for e in source.entries] == ["Chair/172", "Chair/9"] and source.labelled.parts == ("chair/back/bar", "chair/leg")
    for row in range(2):
        check_cloud(cache, row, points[row], np.array([0, 1, 1, -1, 1, -1])[leaves[row]])
        cloud = source.reader.read(source.entries[row])
        np.testing.assert_array_equal(cloud.instance, np.array([2, 0, 1, -1, 1, -1])[leaves[row]])
        assert (cloud.colors == 9).all() and (cloud.normals == [0, 0, 1]).all()
    records[0]["ins_seg"] = [leg, leg]
    (folder / "train-00.json").write_text(json.dumps(records))
    with pytest.raises(UserError, match="points of chair/leg are in another object of the level, too"):
        source.reader.read(source.entries[0])
    records[0]["ins_seg"] = [leg, {"leaf_id_list": [2]}]
    (folder / "train-00.json").write_text(json.dumps(records))
    with pytest.raises(UserError, match="expected part_name and leaf_id_list for each object"):
        source.reader.read(source.entries[0])
    (folder / "train-00.json").unlink()
    with pytest.raises(UserError, match=r"no such file: train-00\.json"):
        source.reader.read(source.entries[0])
    (names / "Chair-level-3.txt").unlink()
    names.rmdir()
    with pytest.raises(UserError, match="needs the names of the parts of each level"):
        open_source(root, kind="partnet", level="3")


# ------------------------------------------------------------------------------------------------------- faces of meshes

RING = 24
"""Number of quads around the tube of `tube`."""


def tube() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A tube of quads: vertices `[V, 3]`, polygons `[P, 4]`, and the label of each: 1, 3 or 4 by its place around the axis."""
    angle = np.arange(RING) * 2 * np.pi / RING
    ring = np.column_stack([np.cos(angle), np.zeros(RING), np.sin(angle)])
    i = np.arange(RING)
    quads = np.column_stack([i, (i + 1) % RING, (i + 1) % RING + RING, i + RING])
    return np.concatenate([ring, ring + np.array([0, 2, 0])]), quads, np.array([1, 3, 4])[i * 3 // RING]


def check_tube(cache, row: int, parts: dict[int, int]) -> None:
    """Every stored point has the part of the quad that it lies on; near an edge between two quads either is right.

    Args:
        parts: by label of a quad, the index of the part.
    """
    xyz, found = stored(cache, row)
    around = np.arctan2(xyz[:, 2], xyz[:, 0]) % (2 * np.pi) * RING / (2 * np.pi)
    wanted = np.array([parts[label] for label in tube()[2].tolist()])
    sure = np.abs(around - np.rint(around)) > 0.02
    assert sure.mean() > 0.9
    np.testing.assert_array_equal(found[sure], wanted[np.floor(around[sure]).astype(int) % RING])


def lines_of(table: np.ndarray, before: str = "") -> str:
    return "".join(before + " ".join(f"{value:g}" for value in row) + "\n" for row in table)


def write_off(path: Path) -> None:
    vertices, quads, _ = tube()
    path.write_text(f"OFF\n{len(vertices)} {len(quads)} 0\n" + lines_of(vertices) + lines_of(quads, "4 "))


def write_obj(path: Path) -> None:
    vertices, quads, _ = tube()
    path.write_text(lines_of(vertices, "v ") + lines_of(quads + 1, "f "))


def write_ply(path: Path) -> None:
    vertices, quads, _ = tube()
    head = f"ply\nformat ascii 1.0\nelement vertex {len(vertices)}\nproperty float x\nproperty float y\nproperty float z\n"
    head += f"element face {len(quads)}\nproperty list uchar int vertex_indices\nend_header\n"
    path.write_text(head + lines_of(vertices) + lines_of(quads, "4 "))


@pytest.mark.parametrize("write", [write_off, write_obj, write_ply], ids=lambda write: write.__name__[6:])
def test_a_label_for_each_face_beside_a_mesh(tmp_path, write):
    extension = write.__name__[6:]
    (tmp_path / "m").mkdir()
    write(tmp_path / "m" / f"cup.{extension}")
    (tmp_path / "m" / "cup.seg").write_text("\r\n".join(map(str, tube()[2])) + "\r\n", newline="")
    cache, source = built(str(tmp_path / "m"), tmp_path, "up=y")
    assert source.labelled.parts == ("1", "3", "4") and any("every shape has a file of labels beside it" in n for n in source.notes)
    assert dict(source.reader.options)["labels"] == "seg" and dict(source.reader.options)["parts"] == "1:1,3:3,4:4"
    check_tube(cache, 0, {1: 0, 3: 1, 4: 2})
    again = open_source(str(tmp_path / "m"), **dict(source.reader.options))
    assert again.reader == source.reader and again.labelled == source.labelled
    assert open_source(str(tmp_path / "m"), labels="none").labelled.parts == ()


def test_labels_in_folders_like_those_of_modelnet_and_in_lists(tmp_path):
    for place in ("cup/train/cup_1", "cup/test/cup_2"):
        (tmp_path / place).parent.mkdir(parents=True)
        write_off(tmp_path / f"{place}.off")
        (tmp_path / f"{place}.seg").write_text("\n".join(map(str, tube()[2])))
    source = open_source(str(tmp_path))
    assert source.labelled.parts == ("1", "3", "4") and [(e.label, e.split) for e in source.entries] == [("cup", "test"), ("cup", "train")]
    (tmp_path / "chosen.csv").write_text("path,id,up\ncup/train/cup_1.off,one,y\ncup/train/gone.off,two,y\n")
    source = open_source(str(tmp_path / "chosen.csv"), parts="1:a,3:b,4:a", labels="seg")
    np.testing.assert_array_equal(source.reader.read(source.entries[0]).parts[0].part, np.repeat([0, 1, 0], RING // 3).repeat(2))
    assert open_source(str(tmp_path / "chosen.csv"), **dict(source.reader.options)).reader == source.reader


def test_triangles_of_stl_and_triangles_that_are_cut_keep_their_labels(tmp_path):
    facets = "".join(
        f"facet normal 0 0 1\nouter loop\nvertex {x} 0 0\nvertex {x + 1} 0 0\nvertex {x} 1 0\nendloop\nendfacet\n" for x in range(3)
    )
    (tmp_path / "a.stl").write_text(f"solid a\n{facets}endsolid a\n")
    # A picture that ends at its edge: OBJ cuts the triangles there. The left half has the label 7, the right half 2.
    corners = np.array([[-1, 0, 0], [0.5, 0, 0], [2, 0, 0], [-1, 1, 0], [0.5, 1, 0], [2, 1, 0]])
    Image.new("RGB", (4, 4), "red").save(tmp_path / "b.png")
    (tmp_path / "b.mtl").write_text("newmtl m\nmap_Kd -clamp on b.png\n")
    vt = lines_of(corners[:, :2], "vt ")
    (tmp_path / "b.obj").write_text("mtllib b.mtl\n" + lines_of(corners, "v ") + vt + "usemtl m\nf 1/1 2/2 5/5 4/4\nf 2/2 3/3 6/6 5/5\n")
    (tmp_path / "a.seg").write_text("7\n2\n7\n")
    (tmp_path / "b.seg").write_text("7\n2\n")
    source = open_source(str(tmp_path), up="y", labels="seg", parts="2:right,7:left")
    np.testing.assert_array_equal(source.reader.read(source.entries[0]).parts[0].part, [1, 0, 1])
    (part,) = source.reader.read(source.entries[1]).parts
    assert len(part.faces) > 4, "the picture ends within the triangles"
    np.testing.assert_array_equal(part.part, part.vertices[part.faces].mean(axis=1)[:, 0] < 0.5)


def test_a_file_of_labels_beside_a_format_without_an_order_of_faces_is_no_silent_nothing(tmp_path):
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
    square_gltf(tmp_path, corners)
    (tmp_path / "a.seg").write_text("1\n1\n")
    source = open_source(str(tmp_path))
    with pytest.raises(UserError, match=r"a\.seg cannot be read for a \.gltf file"):
        source.reader.read(source.entries[0])


def test_names_of_parts_come_from_the_option_or_a_file(tmp_path):
    write_off(tmp_path / "cup.off")
    (tmp_path / "cup.seg").write_text(" ".join(map(str, tube()[2])))
    source = open_source(str(tmp_path), parts="1:belly,3:handle,4:belly")
    assert source.labelled.parts == ("belly", "handle") and set(source.reader.read(source.entries[0]).parts[0].part) == {0, 1}
    (tmp_path / "parts.txt").write_text("1 neck\r\n3: lid\r\n4:\r\n", newline="")
    source = open_source(str(tmp_path), up="y")
    assert source.labelled.parts == ("neck", "lid")
    cloud = source.reader.read(source.entries[0])
    assert set(cloud.parts[0].part) == {0, 1, -1} and any("16 of 48 triangles have no part" in text for text in cloud.warnings)
    source = open_source(str(tmp_path), parts="neck,lid")
    with pytest.raises(UserError, match=r"cup\.seg: no part has the label 3, only 0, 1"):
        source.reader.read(source.entries[0])
    for bad, reason in (("1:a,1:b", "'1' comes twice"), ("leg:a", "NUMBER:NAME")):
        with pytest.raises(UserError, match=reason):
            open_source(str(tmp_path), parts=bad)
    with pytest.raises(UserError, match="option parts has no effect"):
        open_source(str(tmp_path), labels="none", parts="a")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1\n" * (RING - 1), f"{RING - 1} labels for {RING} faces"),
        ("1\n" * (RING + 1), f"{RING + 1} labels for {RING} faces"),
        ("1\n" * (2 * RING), f"{2 * RING} labels for {RING} faces"),
        ("1\n" * (RING - 1) + "nan\n", "the label nan|'nan' is no whole number"),
        ("1\n" * (RING - 1) + "1.5\n", r"1\.5 at place \d+ is no whole number"),
        ("1\n" * (RING - 1) + "handle\n", "'handle' is no whole number"),
        ("1\n" * (RING - 1) + "9\n", "no part has the label 9"),
    ],
)
def test_wrong_files_of_labels_fail_alone(tmp_path, text, reason):
    for name in ("good", "wrong"):
        write_off(tmp_path / f"{name}.off")
        (tmp_path / f"{name}.seg").write_text("1\n" * RING)
    (tmp_path / "wrong.seg").write_text(text)
    source = open_source(str(tmp_path), parts="0:none,1:all")
    assert (source.reader.read(source.entries[0]).parts[0].part == 1).all()
    with pytest.raises(UserError, match=reason):
        source.reader.read(source.entries[1])


def test_labels_of_princeton_with_names_and_of_coseg_in_folders(tmp_path):
    labels = tube()[2]
    (tmp_path / "psb").mkdir()
    write_off(tmp_path / "psb" / "61.off")
    text = "".join(f"{name}\n{' '.join(map(str, np.flatnonzero(labels == raw) + 1))}\n" for raw, name in ((3, "upper arm"), (1, "head")))
    (tmp_path / "psb" / "61_labels.txt").write_text(text)
    cache, source = built(str(tmp_path / "psb"), tmp_path, "up=y")
    assert source.labelled.parts == ("head", "upper arm")
    check_tube(cache, 0, {1: 0, 3: 1, 4: -1})
    (tmp_path / "psb" / "61_labels.txt").write_text("head\n0 1\n")
    with pytest.raises(UserError, match="face 0 of 'head'; expected 1 to 24"):
        source.reader.read(source.entries[0])
    (tmp_path / "psb" / "61_labels.txt").write_text("head\n1 2\nupper arm\n2\n")
    with pytest.raises(UserError, match="face 2 is of 'head' and of 'upper arm'"):
        source.reader.read(source.entries[0])
    for name in ("shapes", "gt"):
        (tmp_path / "vases" / name).mkdir(parents=True)
    write_off(tmp_path / "vases" / "shapes" / "1.off")
    write_off(tmp_path / "vases" / "shapes" / "2.off")
    (tmp_path / "vases" / "gt" / "1.seg").write_text("\n".join(map(str, labels)))
    source = open_source(str(tmp_path / "vases"))
    assert not source.labelled.parts and any("1 of 2 shapes have a file of labels" in note for note in source.notes)
    source = open_source(str(tmp_path / "vases"), labels="seg")
    assert source.labelled.parts == ("1", "3", "4") and any("1 of 2 shapes have no file of labels" in note for note in source.notes)
    assert any("no point has a part" in text for text in source.reader.read(source.entries[1]).warnings)


# --------------------------------------------------------------------------------------------- fields, materials, groups


def ply(kind: str, face: bool) -> bytes:
    """The tube as PLY, as text or binary, with a label of each face or of each vertex. A vertex has the label of the quad after it."""
    vertices, quads, labels = tube()
    order = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}[kind]
    head = f"ply\nformat {kind} 1.0\nelement vertex {len(vertices)}\n" + "".join(f"property float {axis}\n" for axis in "xyz")
    head += "" if face else "property int part_id\n"
    head += (
        f"element face {len(quads)}\nproperty list uchar int vertex_indices\n" + ("property uchar label\n" if face else "") + "end_header\n"
    )
    if kind == "ascii":
        rows = vertices if face else np.column_stack([vertices, np.tile(labels, 2)])
        polygons = np.column_stack([np.full(RING, 4), quads, labels] if face else [np.full(RING, 4), quads])
        return (head + lines_of(rows) + lines_of(polygons)).encode()
    points = np.zeros(len(vertices), [("xyz", order + "f4", 3), *([] if face else [("part", order + "i4")])])
    points["xyz"] = vertices
    polygons = np.zeros(RING, [("n", "u1"), ("v", order + "i4", 4), *([("label", "u1")] if face else [])])
    polygons["n"], polygons["v"] = 4, quads
    if face:
        polygons["label"] = labels
    else:
        points["part"] = np.tile(labels, 2)
    return head.encode() + points.tobytes() + polygons.tobytes()


@pytest.mark.parametrize("kind", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_a_field_of_faces_or_vertices_of_ply(tmp_path, kind):
    for name, face in (("faces", True), ("vertices", False)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cup.ply").write_bytes(ply(kind, face))
    cache, source = built(str(tmp_path / "faces"), tmp_path, "labels=field", "up=y")
    assert source.labelled.parts == ("1", "3", "4")
    check_tube(cache, 0, {1: 0, 3: 1, 4: 2})
    source = open_source(str(tmp_path / "vertices"), labels="field:part_id", up="y")
    mesh = source.reader.read(source.entries[0])
    # Each triangle of a quad has two corners of one side and one of the other, which has another label at three places.
    assert any("labels are of vertices: 6 of 48 triangles have several" in text for text in mesh.warnings), mesh.warnings
    part, corners = mesh.parts[0], mesh.parts[0].vertices[mesh.parts[0].faces]
    angle = np.arctan2(corners[..., 2], corners[..., 0]) % (2 * np.pi)
    wanted = np.array([0, 1, 2])[(np.rint(angle * RING / (2 * np.pi)).astype(int) % RING) * 3 // RING]  # [F, 3]
    np.testing.assert_array_equal(part.part, np.sort(wanted, axis=1)[:, 1])  # the median of three with at most two kinds is the majority


def test_fields_and_columns_of_clouds(tmp_path):
    points, labels = clouds(1)[0], np.array([0, 5, -1])[np.arange(300) % 3]
    truth = np.array([0, 1, -1])[np.arange(300) % 3]
    structured = np.zeros(300, [("x", "f4"), ("y", "f4"), ("z", "f4"), ("label", "i8")])
    for axis, values in zip("xyz", points.T, strict=True):
        structured[axis] = values
    structured["label"] = labels
    for name in ("field", "column"):
        (tmp_path / name).mkdir()
    np.save(tmp_path / "field" / "a.npy", structured)
    np.savez(tmp_path / "field" / "b.npz", points=points, seg=labels[:, None])
    head = (
        "ply\nformat ascii 1.0\nelement vertex 300\n" + "".join(f"property float {axis}\n" for axis in "xyz") + "property int category_id\n"
    )
    (tmp_path / "field" / "c.ply").write_text(head + "end_header\n" + lines_of(np.column_stack([points.astype(np.float64), labels])))
    np.savetxt(tmp_path / "field" / "d.txt", np.column_stack([points, labels]), header="x y z part", comments="", fmt="%g")
    fields = "VERSION .7\nFIELDS x y z label\nSIZE 4 4 4 4\nTYPE F F F I\nCOUNT 1 1 1 1\nWIDTH 300\nHEIGHT 1\nPOINTS 300\nDATA ascii\n"
    (tmp_path / "field" / "e.pcd").write_text(fields + lines_of(np.column_stack([points, labels])))
    cache, source = built(str(tmp_path / "field"), tmp_path, "labels=field", "up=y")
    assert source.labelled.parts == ("0", "5") and all(cache.ok()), texts(cache.column("reason"))
    for row in range(5):
        check_cloud(cache, row, points, truth)
    np.savetxt(tmp_path / "column" / "a.txt", np.column_stack([points, np.tile([0, -1, 0], (300, 1)), labels]), fmt="%.6f")
    source = open_source(str(tmp_path / "column"), labels="column:7", parts="0:leg,5:seat")
    cloud = source.reader.read(source.entries[0])
    np.testing.assert_array_equal(cloud.part, truth)
    assert source.labelled.parts == ("leg", "seat") and (cloud.normals == [0, -1, 0]).all()
    with pytest.raises(UserError, match=r"labels=column:8 needs a table with this column.*\[300, 7\]"):
        open_source(str(tmp_path / "column"), labels="column:8", parts="leg").reader.read(source.entries[0])
    np.savez(tmp_path / "field" / "b.npz", points=points, seg=labels, label=labels)
    with pytest.raises(UserError, match="'seg' and 'label' may be labels; name one"):
        open_source(str(tmp_path / "field"), labels="field", parts="0:leg,5:seat").reader.read(
            open_source(str(tmp_path / "field")).entries[1]
        )


def test_labels_that_are_true_or_false(tmp_path):
    points, labels = clouds(1)[0], np.arange(300) % 3 == 0
    np.savez(tmp_path / "a.npz", points=points, label=labels, other=labels)
    source = open_source(str(tmp_path), labels="field", up="y")
    assert source.labelled.parts == ("0", "1")
    cloud = source.reader.read(source.entries[0])
    np.testing.assert_array_equal(cloud.part, labels)
    assert any(text.startswith("left out: other") for text in cloud.warnings)


def test_numbers_of_objects_in_a_field(tmp_path):
    points, labels, objects = clouds(1)[0], np.arange(300) % 2, np.arange(300) % 7 - 1
    np.savez(tmp_path / "a.npz", points=points, label=labels, object_id=objects)
    head = "ply\nformat ascii 1.0\nelement vertex 300\n" + "".join(f"property float {axis}\n" for axis in "xyz")
    head += "property int label\nproperty int object_id\nend_header\n"
    (tmp_path / "b.ply").write_text(head + lines_of(np.column_stack([points.astype(np.float64), labels, objects])))
    vertices, quads, of_quads = tube()
    head = f"ply\nformat ascii 1.0\nelement vertex {len(vertices)}\n" + "".join(f"property float {axis}\n" for axis in "xyz")
    head += f"element face {RING}\nproperty list uchar int vertex_indices\nproperty int label\nproperty int object_id\nend_header\n"
    (tmp_path / "c.ply").write_text(
        head + lines_of(vertices) + lines_of(np.column_stack([np.full(RING, 4), quads, of_quads % 2, of_quads]))
    )
    np.savez(tmp_path / "d.npz", points=points, label=labels)
    source = open_source(str(tmp_path), labels="field", instances="object_id")
    assert source.labelled.instances and source.labelled.parts == ("0", "1")
    a, b, c, d = (source.reader.read(entry) for entry in source.entries)
    for cloud in (a, b):
        np.testing.assert_array_equal(cloud.instance, objects)
        np.testing.assert_array_equal(cloud.part, labels)
        assert not any("object_id" in text for text in cloud.warnings), cloud.warnings
    np.testing.assert_array_equal(c.parts[0].instance, np.repeat(of_quads, 2))
    assert d.instance is None and any("no field 'object_id'" in text for text in d.warnings)
    assert open_source(str(tmp_path), **dict(source.reader.options)).reader == source.reader
    with pytest.raises(UserError, match="set labels to field"):
        open_source(str(tmp_path), instances="object_id")


def named_obj(path: Path, statement: str) -> None:
    """The tube with a statement and a name before the faces of each label; the last third comes before any."""
    vertices, quads, labels = tube()
    text = lines_of(vertices, "v ") + lines_of(quads[labels == 4] + 1, "f ")
    for raw, name in ((1, "leg.001"), (3, "Seat, wide")):
        text += f"{statement} {name}\r\n" + lines_of(quads[labels == raw] + 1, "f ")
    path.write_text(text, newline="")


@pytest.mark.parametrize(("way", "statement"), [("group", "g"), ("group", "o"), ("material", "usemtl")])
def test_names_of_groups_and_materials_of_obj(tmp_path, way, statement):
    (tmp_path / "m").mkdir()
    named_obj(tmp_path / "m" / "cup.obj", statement)
    cache, source = built(str(tmp_path / "m"), tmp_path, f"labels={way}")
    assert source.labelled.parts == ("Seat, wide", "leg") and all(cache.ok())
    check_tube(cache, 0, {1: 1, 3: 0, 4: -1})
    again = open_source(str(tmp_path / "m"), **dict(source.reader.options))
    assert again.reader == source.reader, "names with commas survive being recorded"
    source = open_source(str(tmp_path / "m"), labels=way, parts="leg:support")
    mesh = source.reader.read(source.entries[0])
    assert set(mesh.parts[0].part) == {0, -1} and any("none of the parts give no part: 'Seat, wide'" in text for text in mesh.warnings)


@pytest.mark.parametrize("way", ["material", "group"])
def test_names_of_nodes_and_materials_of_gltf(tmp_path, way):
    vertices, quads, labels = tube()
    faces = np.concatenate([quads[:, :3], quads[:, [0, 2, 3]]])
    of_faces = np.tile(labels, 2)
    data, views, accessors, meshes = vertices.astype("<f4").tobytes(), [], [], []
    views.append({"buffer": 0, "byteLength": len(data)})
    low, high = vertices.min(axis=0).tolist(), vertices.max(axis=0).tolist()
    accessors.append({"bufferView": 0, "componentType": 5126, "count": len(vertices), "type": "VEC3", "min": low, "max": high})
    for number, raw in enumerate((1, 3, 4)):
        part = faces[of_faces == raw].astype("<u4").tobytes()
        views.append({"buffer": 0, "byteOffset": len(data), "byteLength": len(part)})
        accessors.append({"bufferView": number + 1, "componentType": 5125, "count": len(part) // 4, "type": "SCALAR"})
        meshes.append({"primitives": [{"attributes": {"POSITION": 0}, "indices": number + 1, "material": number}]})
        data += part
    names = [{"name": "seat"}, {"name": "leg.002"}, {}]
    nodes = [{"mesh": number, **name} for number, name in enumerate(names)]
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "cup.bin").write_bytes(data)
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0, 1, 2]}],
        "nodes": nodes if way == "group" else [{"mesh": number} for number in range(3)],
        "meshes": meshes,
        "materials": names if way == "material" else [{}, {}, {}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"uri": "cup.bin", "byteLength": len(data)}],
    }
    (tmp_path / "m" / "cup.gltf").write_text(json.dumps(document))
    cache, source = built(str(tmp_path / "m"), tmp_path, f"labels={way}", "parts=leg,seat")
    assert source.labelled.parts == ("leg", "seat")
    check_tube(cache, 0, {1: 1, 3: 0, 4: -1})


def test_labels_of_points_in_any_hdf5_file(tmp_path):
    points, labels = clouds(3), np.arange(900).reshape(3, 300) % 4 * 2
    with h5py.File(tmp_path / "train.h5", "w") as file:
        file["data"], file["pid"], file["label"] = points, labels[..., None].astype(np.int8), np.zeros(3, int)
    assert any("--set source.labels=pid reads it" in note for note in open_source(str(tmp_path / "train.h5")).notes)
    cache, source = built(str(tmp_path / "train.h5"), tmp_path, "labels=pid")
    assert source.labelled.parts == ("0", "2", "4", "6") and source.reader.kind == "hdf5"
    for row in range(3):
        check_cloud(cache, row, points[row], labels[row] // 2)
    assert open_source(str(tmp_path / "train.h5"), **dict(source.reader.options)).reader == source.reader
    with pytest.raises(UserError, match="no part has the label 2, only 0, 1"):
        open_source(str(tmp_path / "train.h5"), labels="pid", parts="a,b").reader.read(source.entries[0])
    with pytest.raises(UserError, match="has no 'gone'"):
        open_source(str(tmp_path / "train.h5"), labels="gone")
    with h5py.File(tmp_path / "train.h5", "a") as file:
        file["words"] = [["leg"] * 300] * 3
    with pytest.raises(UserError, match="words has the type object, expected whole numbers"):
        open_source(str(tmp_path / "train.h5"), labels="words")


@pytest.mark.parametrize("kind", ["obj", "ply", "gltf"])
def test_a_picture_whose_colours_are_labels(tmp_path, kind):
    """A square under a picture of 3 x 2 texels. Each point has the texel that it lies in."""
    (tmp_path / "m").mkdir()
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
    red, green, blue, none = (255, 0, 0, 255), (0, 255, 0, 255), (0, 0, 255, 255), (9, 9, 9, 0)
    Image.fromarray(np.array([[red, green, none], [blue, red, green]], np.uint8)).save(tmp_path / "m" / "a_parts.png")
    if kind == "obj":
        vt = "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
        (tmp_path / "m" / "a.obj").write_text(lines_of(corners, "v ") + vt + "f 1/1 2/2 3/3 4/4\n")
    elif kind == "ply":
        head = "ply\nformat ascii 1.0\nelement vertex 4\n" + "".join(f"property float {name}\n" for name in "xyzst")
        head += "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
        (tmp_path / "m" / "a.ply").write_text(head + lines_of(np.hstack([corners, corners[:, :2]])) + "4 0 1 2 3\n")
    else:
        square_gltf(tmp_path / "m", corners)
    cache, source = built(str(tmp_path / "m"), tmp_path, "labels=texture:{}_parts.png", "up=y")
    assert source.labelled.parts == ("#0000ff", "#00ff00", "#ff0000") and all(cache.ok()), texts(cache.column("reason"))
    xyz, found = stored(cache, 0)
    place = (xyz[:, :2] * np.sqrt(0.5) + 0.5) * [3, 2]  # in texels: half the diagonal of the square has the length 1
    column, row = np.floor(place[:, 0]).astype(int).clip(0, 2), 1 - np.floor(place[:, 1]).astype(int).clip(0, 1)
    sure = (np.abs(place - np.rint(place)) > 0.01).all(axis=1)
    assert sure.mean() > 0.9
    np.testing.assert_array_equal(found[sure], np.array([[2, 1, -1], [0, 2, 1]])[row, column][sure])
    source = open_source(str(tmp_path / "m"), labels="texture:{}_parts.png", parts="#ff0000:leg,#0000ff:leg")
    assert source.labelled.parts == ("leg",) and any("'#00ff00'" in text for text in source.reader.read(source.entries[0]).warnings)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / "m" / "a_parts.png")
    with pytest.raises(UserError, match=r"a_parts\.png has 4,\d+ colours"):
        source.reader.read(source.entries[0])
    (tmp_path / "m" / "a_parts.png").unlink()
    with pytest.raises(UserError, match=r"file 'a_parts\.png', named in a\.\w+, is missing"):
        source.reader.read(source.entries[0])


def square_gltf(folder: Path, corners: np.ndarray) -> None:
    """A square with texture coordinates, which glTF counts down from the upper left corner."""
    uv = corners[:, :2] * [1, -1] + [0, 1]
    data = corners.astype("<f4").tobytes() + uv.astype("<f4").tobytes() + np.array([0, 1, 2, 0, 2, 3], "<u4").tobytes()
    (folder / "a.bin").write_bytes(data)
    kinds = ((5126, 4, "VEC3"), (5126, 4, "VEC2"), (5125, 6, "SCALAR"))
    accessors = [{"bufferView": i, "componentType": c, "count": n, "type": t} for i, (c, n, t) in enumerate(kinds)]
    accessors[0] |= {"min": [0, 0, 0], "max": [1, 1, 0]}
    document = {
        "asset": {"version": "2.0"},
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "indices": 2}]}],
        "nodes": [{"mesh": 0}],
        "accessors": accessors,
        "bufferViews": [{"buffer": 0, "byteOffset": start, "byteLength": size} for start, size in ((0, 48), (48, 32), (80, 24))],
        "buffers": [{"uri": "a.bin", "byteLength": len(data)}],
    }
    (folder / "a.gltf").write_text(json.dumps(document))


# ------------------------------------------------------------------------------------------------------------------- laws


def test_labels_change_no_position(tmp_path):
    write_off(tmp_path / "cup.off")
    (tmp_path / "cup.seg").write_text("\n".join(map(str, tube()[2])))
    spec = configured("points", SMALL).points

    def xyz(source: Source) -> bytes:
        return sample(normalized(source.reader.read(source.entries[0]), "unit_sphere"), spec, "cup").xyz.tobytes()

    assert xyz(open_source(str(tmp_path))) == xyz(open_source(str(tmp_path), labels="none"))


def test_raw_labels_become_indices_whatever_their_type():
    how = Labels(way="field", names=vocabulary(["3:leg", "7:seat", "9:"], True, "here"))
    assert how.parts == ("leg", "seat")
    for kind in ("i1", "u2", "i8", "f4", ">f8", ">i4"):
        np.testing.assert_array_equal(Labelling(how).of_numbers(np.array([7, 3, 9, 3], kind), "x"), [1, 0, -1, 0])
    np.testing.assert_array_equal(Labelling(how).of_numbers(np.array([-1, -100, 3]), "x"), [-1, -1, 0])
    again = vocabulary(how.vocabulary.split(","), True, "here")
    assert again == how.names
    for bad in (np.array([np.nan]), np.array([np.inf]), np.array([0.5]), np.array(["a"]), np.array([1e300])):
        with pytest.raises(UserError, match="whole number"):
            Labelling(how).of_numbers(bad, "x")
    np.testing.assert_array_equal(whole_numbers(b"\xef\xbb\xbf1\r2\r\n 3\t4.0\n\n", "x"), [1, 2, 3, 4])


def test_a_mesh_read_without_labels_has_none(tmp_path):
    write_off(tmp_path / "cup.off")
    source = open_source(str(tmp_path))
    mesh = source.reader.read(source.entries[0])
    assert isinstance(mesh, Mesh) and mesh.parts[0].part is None and not mesh.beside
    with pytest.raises(UserError, match="no shape has a label by seg"):
        open_source(str(tmp_path), labels="seg")
    with pytest.raises(UserError, match="expected none, auto, seg"):
        open_source(str(tmp_path), labels="sega")
