"""Miniatures of data sets in their official layouts: the folders, names and file formats of the real ones, with a few made shapes."""

import shutil
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from cache_schema import class_lists
from pipeline.sources import modelnetfewshot, s3dis, scannet, shapenetpart

SYNSETS = ("02691156", "03001627", "04379243")
"""Airplane, chair and table, which ShapeNet-55 and ShapeNetPart both have."""
FORMS = ((1.0, 0.1, 0.6), (0.4, 0.8, 0.4), (0.9, 0.3, 0.6))
"""Half axes of the shapes of each class."""


def cloud(rng: np.random.Generator, kind: int, points: int) -> NDArray[np.float32]:
    """Points on an ellipsoid. [points, 3]"""
    rays = rng.normal(size=(points, 3))
    return (rays / np.linalg.norm(rays, axis=1, keepdims=True) * FORMS[kind % len(FORMS)]).astype(np.float32)


def shapenet55(folder: Path, points: int = 256) -> None:
    """Point-BERT's ShapeNet55-34: a cloud for each shape, and the lists."""
    rng, home = np.random.default_rng(0), folder / "ShapeNet55-34"
    (home / "shapenet_pc").mkdir(parents=True)
    (home / "ShapeNet-55").mkdir()
    for split, each in (("train", 4), ("test", 1)):
        names = [f"{synset}-{split}{one}.npy" for synset in SYNSETS for one in range(each)]
        for name in names:
            np.save(home / "shapenet_pc" / name, cloud(rng, SYNSETS.index(name[:8]), points))
        (home / "ShapeNet-55" / f"{split}.txt").write_text("\n".join(names) + "\n")


def scanobjectnn(folder: Path, points: int = 256) -> None:
    """The six files of ScanObjectNN's three variants."""
    rng = np.random.default_rng(1)
    for place, ending in (("main_split", ""), ("main_split_nobg", ""), ("main_split", "_augmentedrot_scale75")):
        (folder / "ScanObjectNN" / place).mkdir(parents=True, exist_ok=True)
        for side, each in (("training", 3), ("test", 2)):
            labels = np.repeat(np.arange(3), each)
            with h5py.File(folder / "ScanObjectNN" / place / f"{side}_objectdataset{ending}.h5", "w") as file:
                file["data"] = np.stack([cloud(rng, int(label), points) for label in labels])
                file["label"] = labels.astype(np.int64)


def modelnet40(folder: Path, points: int = 256) -> None:
    """ModelNet40's HDF5 files, with its 40 names."""
    rng, home = np.random.default_rng(2), folder / "modelnet40_ply_hdf5_2048"
    home.mkdir(parents=True)
    (home / "shape_names.txt").write_text("\n".join(class_lists.names("modelnet40")) + "\n")
    for side, each in (("train", 4), ("test", 2)):
        labels = np.repeat([0, 8, 33], each)  # airplane, chair, table
        with h5py.File(home / f"ply_data_{side}0.h5", "w") as file:
            file["data"] = np.stack([cloud(rng, place // each, points) for place in range(len(labels))])
            file["label"] = labels[:, None].astype(np.uint8)


def fewshot(folder: Path, points: int = 256) -> None:
    """Point-BERT's folds of 5 classes with 10 shapes, all ten. The last one has the shapes of the first one: folds share some."""
    home = folder / "ModelNetFewshot"
    modelnetfewshot.write_example(home, ways=5, shots=10, queries=1, count=10, points=points)
    shutil.copy(home / "5way_10shot" / "0.pkl", home / "5way_10shot" / "9.pkl")


def parts(folder: Path, points: int = 256) -> None:
    """ShapeNetPart's texts of seven columns, and its lists."""
    rng, home = np.random.default_rng(3), folder / "shapenetcore_partanno_segmentation_benchmark_v0_normal"
    (home / shapenetpart.LISTS).mkdir(parents=True)
    for split, each in (("train", 4), ("val", 1), ("test", 1)):
        names = []
        for kind, synset in enumerate(SYNSETS[:2]):
            (home / synset).mkdir(exist_ok=True)
            for one in range(each):
                xyz = cloud(rng, kind, points)
                part = shapenetpart.FIRST[synset] + (xyz[:, 1] > 0)
                np.savetxt(home / synset / f"{split}{one}.txt", np.column_stack([xyz, xyz, part]), fmt="%.5f")
                names.append(f'"shape_data/{synset}/{split}{one}"')
        (home / shapenetpart.LISTS / f"shuffled_{split}_file_list.json").write_text(f"[{', '.join(names)}]")
    (home / "synsetoffset2category.txt").write_text("Airplane\t02691156\nChair\t03001627\n")


def rooms(folder: Path) -> None:
    """S3DIS's folders of annotations, in three areas."""
    home = _made(folder / "Stanford3dDataset_v1.2_Aligned_Version")
    s3dis.example(home)
    shutil.copytree(home / "Area_1", home / "Area_2")  # a training needs two crops


def scans(folder: Path) -> None:
    """VoteNet's export of ScanNet, and the lists."""
    home = _made(folder / "scannet_train_detection_data")
    scannet.example(home)
    (home / "scannetv2_train.txt").write_text("scene0000_00\n")
    (home / "scannetv2_val.txt").write_text("scene0001_00\n")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def all_of_them(folder: Path, points: int = 256) -> None:
    """Every data set of the paper's table."""
    for make in (shapenet55, scanobjectnn, modelnet40, fewshot, parts):
        make(folder, points)
    rooms(folder)
    scans(folder)
