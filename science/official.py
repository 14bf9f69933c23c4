"""The data sets of the paper's table in their official layouts: by which files they are known, what is built of each, and its tests.

To add a data set or a test, add an entry to `DATA_SETS`. `science/finding.py` looks for them in a folder.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from jobs import options

from cache_schema import class_lists
from pipeline.sources import shapenetpart
from trainer.tasks.protocol import TASKS

LINK: Final = "DATA"
"""Name of the link to the folder of the data sets, in the folder of the results. All commands are run beside it."""
LEARN: Final = "shapenet55"
"""The data set that every row is trained on."""
LEARNED: Final = 41952
"""Number of shapes in its list of training shapes."""
LISTS: Final = "ShapeNet-55"
"""Folder with the usual lists of ShapeNet's training and test shapes."""
SYNSET: Final = "0[0-9][0-9][0-9][0-9][0-9][0-9][0-9]"
"""Pattern of the name of a folder of ShapeNet."""
SCENE: Final = "scene[0-9][0-9][0-9][0-9]_[0-9][0-9]"
"""Pattern of the name of a scan of ScanNet."""
ALONE: Final = "airplane"
"""A class of ModelNet40 that ModelNet10 does not have."""
MODELNET40: Final = ((9843, 9840), 2468)
"""Numbers of training and test shapes of ModelNet40. PointNet's HDF5 files lack three training shapes."""
FOLDS: Final = 10
"""Number of published few-shot folds of each kind."""


Apart = Literal["splits", "labels"]
"""What of a data set may come apart from its shapes: what tells training and test shapes; labels of points, and boxes."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """One official layout of a data set."""

    kind: str
    """The source that reads it."""
    expected: str
    """How it looks, for people."""
    tells: tuple[tuple[str, ...], ...]
    """By what it is known: groups of patterns of files below the folder. All files of one group must be there."""
    named: tuple[str, ...] = ()
    """Patterns of files that tell only in a folder that the user names as this data set."""
    unsure: str = ""
    """What these files do not tell, in words."""
    holds: Callable[[Path], str] | None = None
    """Says why a folder with the files is another data set; empty if it is not."""
    stands_in: bool = False
    """Whether it is taken only where no other layout is there."""
    settings: tuple[str, ...] = ()
    """Settings of the build that this layout needs."""
    note: str = ""
    """What a reader of numbers on it must know."""


@dataclass(frozen=True, kw_only=True)
class Build:
    """One cache of a data set."""

    name: str
    """Name of the cache: `caches/NAME.zarr`."""
    recipe: str = "points"
    settings: tuple[str, ...] = ()
    objects: bool = True
    """Whether its rows are single objects, which get as many points as the encoder reads. Scenes have their recipe's own."""
    points: int = 0
    """Number of points of an object if that is more than the encoder reads in its pre-training."""


@dataclass(frozen=True, kw_only=True)
class Test:
    """An evaluation: `mmpd-train eval TASK RUN caches/CACHE.zarr --set ...`. It gives one or two columns."""

    name: str
    cache: str
    task: str
    columns: tuple[tuple[str, str], ...]
    """(title of a column, name of the metric in the result). An empty name is that of the headline metric."""
    settings: tuple[str, ...] = ()
    by_family: Mapping[str, tuple[str, ...]] | None = None
    """More settings by the family of the encoder; those of the key `` for all others."""
    epochs: str = ""
    """The setting that says how long it trains; empty if it trains nothing."""
    usual: int = 0
    """Number of epochs in the papers."""
    shapes: int = 0
    """Number of training shapes of all its trainings together; 0 for those of the cache, once for each seed."""
    seeds: bool = False
    """Whether it is repeated with several seeds."""
    scratch: bool = False
    """Whether the task can begin with new random weights for each seed, as the row without pre-training should."""
    labels: bool = False
    """Whether it compares with class names, which only runs of stage 1 can."""
    small: tuple[str, ...] = ()
    """Settings that take the place of `settings` and `by_family` in a trial of the commands."""
    weight: float = 1.0
    """How much more than a pre-training pass a pass over one shape or scene costs, about: tokens over tokens."""
    differs: str = ""
    """How the papers' evaluation differs from ours, apart from what holds for all tests."""
    whole: tuple[tuple[int, ...], int] = ((), 0)
    """Numbers of training shapes that the published files may have, and their number of test shapes or scenes; empty and 0 if that cannot
    be compared."""
    unlike_by: Mapping[str, str] = field(default_factory=dict)
    """What more differs, as sentences by the family of the encoder; of the key `` for all others. `{points}`: how many points it reads."""

    def __post_init__(self) -> None:
        assert self.task in TASKS and bool(self.epochs) == bool(self.usual) and self.columns and self.weight > 0

    def unlike(self, family: str, points: int) -> str:
        """How the papers' evaluation differs from ours for the encoders of a family that read so many points; empty if it does not."""
        own = self.unlike_by.get(family, self.unlike_by.get("", "")).format(points=f"{points:,}")
        return f"{self.differs}. {own}" if own else self.differs


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A data set of the table."""

    about: str
    named: str
    """Pattern of the names, in small letters, that its folder often has. Only a folder that is not the data set is told by it."""
    places: tuple[Place, ...]
    """Its layouts."""
    builds: tuple[Build, ...]
    tests: tuple[Test, ...] = ()
    learned: float = 1.0
    """Share of its rows that is trained on, for the estimate of time."""
    fetch: Mapping[Apart, str] = field(default_factory=dict)
    """What of it comes apart, and where from."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A data set that is there."""

    place: Place
    path: Path
    """Its folder: relative to the location, or absolute if it lies elsewhere."""
    settings: tuple[str, ...] = ()
    """Settings of the build that depend on what lies beside it."""
    notes: tuple[str, ...] = ()
    lacking: dict[str, str] = field(default_factory=dict)
    """By test that cannot be done: what it lacks."""
    fewer: str = ""
    """That it has fewer or other shapes than the published files, in words; empty if it has as many, or nobody counted."""
    passed: tuple[str, ...] = ()
    """Folders that look like this data set by their names and are not taken, with the reason."""

    @property
    def location(self) -> str:
        """The argument of a build."""
        return str(Path(LINK, self.path))


SCALED: Final = ("rotate=false", "scale=0.6667,1.5", "per_axis=true", "shift=0.2")
"""The augmentation with which the papers fine-tune on ModelNet40, as in Point-MAE."""
METRES: Final = ("scale=1", "middle=0", "augment.rotate=false", "augment.scale=0.8,1.25", "augment.shift=0.1")
"""Coordinates and augmentation with which ACT and its followers train on S3DIS: metres, scaled and shifted, not rotated."""
BEST: Final = (
    "the papers take the epoch and often the seed that are best on the test shapes, and some let votes decide; here it is the last epoch, "
    "and the mean over all seeds. `--peer-protocol` of `mmpd-train eval` gives both"
)
CLASS: Final = ("pool=max", "class_token=true")
"""What the heads of papers read with a plain Transformer: a new class token, and the maximum over tokens."""
READ: Final = ("points=2048", "groups=128", "group_size=32")
"""Settings with which the papers read scans of objects."""
ROUND_HEADS: Final[Mapping[str, tuple[str, ...]]] = {
    "": CLASS,
    "recon": ("pool=max",),
    "pointbert": ("pool=max",),
    "pointmamba": ("pool=mean", "lr=3e-4"),
    "pointm2ae": ("points=1024", "pool=mean_plus_max", "smoothing=0.3"),
}
"""Settings of fine-tuning on ModelNet40 by family of the encoder, as their authors have them."""
SCAN_HEADS: Final[Mapping[str, tuple[str, ...]]] = {
    "": (*READ, *CLASS),
    "recon": (*READ, "pool=max"),
    "pointbert": (*READ, "pool=max"),
    "pointmamba": (*READ, "pool=mean", "drop_path=0.5"),
    "pointm2ae": ("points=2048", "group_size=16"),
}
"""Settings of fine-tuning on scans of objects by family of the encoder, as their authors have them. With group_size=16 the groups of
Point-M2AE's three levels have 32, 16 and 16 members."""
FEW_HEADS: Final[Mapping[str, tuple[str, ...]]] = {
    "": ("pool=max", "training.class_token=true"),
    "recon": ("pool=max",),
    "pointbert": ("pool=max",),
    "pointmamba": ("pool=mean", "training.drop_path=0.5"),
    "pointm2ae": ("training.points=1024",),
}
"""Settings of few-shot fine-tuning by family of the encoder, as their authors have them."""
DRAWN: Final = "the papers draw the points of each training step anew; here it is one of the stored blocks"
"""What differs for fine-tuning on objects."""
FIRST: Final = "The authors of Point-M2AE leave the first token out of the maximum; here it is in"
"""What differs for Point-M2AE on scans."""
UNKNOWN: Final = (
    "No settings for few-shot were found in the repository of Point-M2AE's authors; here the head reads mean and maximum of 1,024 points"
)
"""What a reader of few-shot numbers of Point-M2AE must know."""


def _other_names(folder: Path) -> str:
    """Why the names of classes beside HDF5 files are not those of ModelNet40; empty if they are."""
    path = folder / "shape_names.txt"
    if not path.is_file():  # https://github.com/antao97/PointCloudDatasets names the class of each row
        return _other_names_of_rows(folder)
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError as error:
        return f"has a shape_names.txt that cannot be read: {error.strerror}"
    return _other_classes("a shape_names.txt", lines)


def _other_names_of_rows(folder: Path) -> str:
    """Why the names of the rows of HDF5 files are not the classes of ModelNet40; empty if they are."""
    names: list[str] = []
    for path in sorted(folder.glob("t*_id2name.json")):
        try:
            names += map(str, json.loads(path.read_text(encoding="utf-8-sig")))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            return f"has a {path.name} that cannot be read: {error}"
    return _other_classes("files *_id2name.json", names)


def _other_classes(what: str, names: Iterable[str]) -> str:
    """Why some names are not the classes of ModelNet40; empty if they are. `what`: where they are from."""
    found, wanted = {name.strip().replace("_", " ") for name in names if name.strip()}, set(class_lists.names("modelnet40"))
    if found == wanted:
        return ""
    one = min(found ^ wanted)
    return f"has {what} of {len(found)} classes that are not the 40 of ModelNet40: {one!r} is in one list alone"


def _without_parts(folder: Path) -> str:
    """Why files with the names of ShapeNetPart's are not those; empty if they are."""
    return "" if shapenetpart.recognises(str(folder)) else "has no labels of ShapeNetPart's parts in its files"


def _classified(
    name: str,
    title: str,
    cache: str,
    differs: str,
    by_family: Mapping[str, tuple[str, ...]],
    *augment: str,
    whole: tuple[tuple[int, ...], int],
    unlike_by: Mapping[str, str] | None = None,
    weight: float = 1.0,
) -> Test:
    return Test(
        name=name,
        cache=cache,
        task="classify",
        columns=((title, "accuracy"),),
        settings=tuple(f"augment.{one}" for one in augment),
        by_family=by_family,
        epochs="epochs",
        usual=300,
        seeds=True,
        scratch=True,
        small=("batch=4",),
        differs=differs,
        whole=whole,
        unlike_by=unlike_by or {},
        weight=weight,
    )


def _scanned(variant: str) -> DataSet:
    nobg = "_nobg" * (variant == "OBJ_ONLY")
    ending = "_augmentedrot_scale75" * (variant == "PB_T50_RS")
    files = tuple(f"main_split{nobg}/{side}_objectdataset{ending}.h5" for side in ("training", "test"))
    name = variant.lower()
    place = Place(
        kind="hdf5",
        expected=" and ".join(files),
        tells=(files,),
        named=tuple(Path(file).name for file in files),
        unsure="whether the scans are with their background (main_split) or without (main_split_nobg)",
        settings=(f"source.variant={variant}",),
    )
    differs = (
        "fine-tuning rotates about the vertical, as ReCon's and its followers' does, and Point-MAE's and Point-M2AE's do not; the papers "
        "read points as they are in the files, here shapes are brought into the unit sphere as in pre-training; the learning rate is that "
        f"of Point-MAE, 5e-4, where ReCon's is 2e-5; {DRAWN}"
    )
    whole = ((11416,), 2882) if variant == "PB_T50_RS" else ((2309,), 581)
    return DataSet(
        about=f"ScanObjectNN, {variant}",
        named=r"scan_?object_?nn.*|h5_files",
        places=(place,),
        builds=(Build(name=name, points=2048),),
        tests=(_classified(variant, variant, name, differs, SCAN_HEADS, whole=whole, unlike_by={"pointm2ae": FIRST}, weight=2.0),),
        learned=0.8,
    )


def _few(ways: int, shots: int) -> Test:
    return Test(
        name=f"{ways}-way {shots}-shot",
        cache="fewshot",
        task="fewshot",
        columns=((f"MN40 {ways}w{shots}s", "accuracy"),),
        settings=(
            "stored=true",
            f"ways={ways}",
            f"shots={shots}",
            f"folds={FOLDS}",
            "by=finetune",
            *(f"training.augment.{one}" for one in SCALED),
        ),
        epochs="training.epochs",
        usual=150,
        shapes=ways * shots * FOLDS,
        small=("stored=true", f"ways={ways}", f"shots={shots}", f"folds={FOLDS}", "by=finetune", "training.batch=32"),
        by_family=FEW_HEADS,
        differs="the published folds are taken as they are. The papers keep a head for all 40 classes; here it has those of the fold. "
        f"{DRAWN[0].upper()}{DRAWN[1:]}",
        unlike_by={"pointm2ae": UNKNOWN},
    )


DATA_SETS: Final[dict[str, DataSet]] = {
    LEARN: DataSet(
        about="ShapeNet-55, for pre-training",
        named=r"shape_?net(?!.*part).*",
        places=(
            Place(
                kind="shapenet",
                expected="SYNSET/MODEL/models/model_normalized.obj, and anywhere ShapeNet-55/{train,test}.txt",
                tells=((f"{SYNSET}/*/models/model_normalized.obj",), (f"{SYNSET}/*/model.obj",)),
                settings=("source.textures=grey",),
            ),
            Place(
                kind="shapenet",
                expected="shapenet_pc/SYNSET-MODEL.npy and ShapeNet-55/{train,test}.txt",
                tells=((f"shapenet_pc/{SYNSET}-*.npy", f"{LISTS}/*.txt"),),
                stands_in=True,
                note="the teachers saw pictures of clouds, not of meshes: there were no meshes (ShapeNetCore.v2)",
            ),
        ),
        builds=(Build(name=LEARN, recipe="pictures"),),
        learned=0.8,
    ),
    "obj_bg": _scanned("OBJ_BG"),
    "obj_only": _scanned("OBJ_ONLY"),
    "pb_t50_rs": _scanned("PB_T50_RS"),
    "modelnet40": DataSet(
        about="ModelNet40",
        named=r"model_?net_?40(?!.*few).*",
        places=(
            Place(
                kind="hdf5",
                expected="ply_data_{train,test}*.h5 with shape_names.txt, which names the 40 classes",
                tells=(("ply_data_train*.h5", "ply_data_test*.h5", "shape_names.txt"),),
                holds=_other_names,
            ),
            Place(
                kind="hdf5",
                expected="train*.h5 and test*.h5 with shape_names.txt or train0_id2name.json and so on, which name the 40 classes",
                tells=(("train*.h5", "test*.h5", "shape_names.txt"), ("train*.h5", "test*.h5", "train*_id2name.json")),
                holds=_other_names,
            ),
            Place(
                kind="folder",
                expected=f"{ALONE}/*.txt and those of the other classes, with modelnet40_{{train,test}}.txt",
                tells=((f"{ALONE}/*.txt", "modelnet40_train.txt", "modelnet40_test.txt"),),
            ),
            Place(
                kind="modelnet",
                expected=f"{ALONE}/{{train,test}}/*.off and those of the other classes",
                tells=((f"{ALONE}/train/*.off", f"{ALONE}/test/*.off"),),
            ),
        ),
        builds=(Build(name="modelnet40"),),
        tests=(
            Test(
                name="ModelNet40 SVM",
                cache="modelnet40",
                task="svm",
                columns=(("MN40 SVM", "accuracy"),),
                by_family={"": (), "pointm2ae": ("pool=mean_plus_max",)},
                small=("c=0.1", "repeats=1"),
                whole=MODELNET40,
                differs="the papers choose C on the test shapes; here cross-validation on training shapes does. They fit features as they "
                "are; here features are standardised. The value is the mean over stored blocks",
                unlike_by={
                    "": "The features are mean and maximum over tokens",
                    "pointm2ae": "The papers read 1,024 points, also with Point-M2AE; here the encoder reads {points}, as in its "
                    "pre-training. The features are the sum of mean and maximum, as its authors have them",
                },
            ),
            _classified(
                "ModelNet40 fine-tuned",
                "MN40 fine-tuned",
                "modelnet40",
                f"single pass; the papers' higher numbers are votes; {DRAWN}",
                ROUND_HEADS,
                *SCALED,
                whole=MODELNET40,
            ),
            Test(
                name="ModelNet40 zero-shot",
                cache="modelnet40",
                task="zeroshot",
                columns=(("MN40 zero-shot", ""),),
                settings=("labels=modelnet40",),
                labels=True,
                small=("labels=modelnet40", "repeats=1"),
                whole=((), MODELNET40[1]),
                differs="64 sentences for each class name, in the words of the first teacher that reads text, mean of both heads, which "
                "stage 1 alone has",
            ),
        ),
        learned=0.8,
    ),
    "fewshot": DataSet(
        about="the published few-shot folds of ModelNet40",
        named=r"model_?net.*few_?shot.*",
        places=(
            Place(
                kind="modelnetfewshot",
                expected="5way_10shot/{0..9}.pkl, and 5way_20shot, 10way_10shot, 10way_20shot",
                tells=(("*way*shot/[0-9].pkl",),),
            ),
        ),
        builds=(Build(name="fewshot"),),
        tests=tuple(_few(ways, shots) for ways in (5, 10) for shots in (10, 20)),
    ),
    "shapenetpart": DataSet(
        about="ShapeNetPart, part segmentation",
        named=r"shape_?net.*part.*|hdf5_data|partannotation",
        places=(
            Place(
                kind="shapenetpart",
                expected="SYNSET/MODEL.txt of 7 columns with train_test_split/, SYNSET/points/MODEL.pts with points_label/MODEL.seg, or "
                "ply_data_{train,test}*.h5 with pid",
                tells=(
                    (f"{SYNSET}/*.txt", "train_test_split/*.json"),
                    (f"{SYNSET}/points/*.pts", f"{SYNSET}/points_label/*.seg"),
                    ("ply_data_train*.h5", "ply_data_test*.h5"),
                    ("train*.h5", "test*.h5"),
                ),
                holds=_without_parts,
            ),
        ),
        builds=(Build(name="shapenetpart"),),
        tests=(
            Test(
                name="ShapeNetPart",
                cache="shapenetpart",
                task="parts",
                columns=(("Part mIoU_C", "mIoU over categories"), ("Part mIoU_I", "mIoU over shapes")),
                settings=("train_split=train+val",),  # as in PartNormalDataset(split="trainval") of the papers' code
                by_family={"": ("groups=128", "group_size=32", "points=2048"), "pointm2ae": ("points=2048",)},
                epochs="epochs",
                usual=300,
                seeds=True,
                scratch=True,
                small=("train_split=train+val", "batch=4"),
                whole=((14007,), 2874),
                weight=2.0,
                differs="the published loops step the optimiser twice for each batch, ours once; they draw 2,048 points with repetition",
                unlike_by={
                    "pointm2ae": "The authors of Point-M2AE propagate each level by layers of its own, have one layer more, and add "
                    "maximum and mean over points; here the head is that of Point-MAE on the three levels"
                },
            ),
        ),
        learned=0.83,
        fetch={"splits": "the lists are train_test_split/shuffled_{train,val,test}_file_list.json of the official archive"},
    ),
    "s3dis": DataSet(
        about="S3DIS, segmentation of Area 5",
        named=r"stanford.*3d.*|s3dis.*|trainval_fullarea",
        places=(
            Place(
                kind="s3dis",
                expected="Area_1/office_1/Annotations/*.txt, Area_1/office_1/coord.npy or Area_1_office_1.npy",
                tells=(
                    ("[Aa]rea_[1-6]*/*/[Aa]nnotations/*.txt",),
                    ("[Aa]rea_[1-6]*/*/coord.npy",),
                    ("[Aa]rea_[1-6]*_*.npy",),
                    ("raw/[Aa]rea_[1-6]*_*.npy",),
                ),
            ),
        ),
        builds=(Build(name="s3dis", recipe="scenes", objects=False),),
        tests=(
            Test(
                name="S3DIS Area 5",
                cache="s3dis",
                task="scenes",
                columns=(("S3DIS mAcc", "mAcc"), ("S3DIS mIoU", "mIoU")),
                settings=METRES,
                whole=((), 68),
                by_family={"": ("groups=128", "group_size=32", "points=2048"), "pointm2ae": ("points=2048",)},
                epochs="epochs",
                usual=60,
                seeds=True,
                scratch=True,
                small=("batch=4",),
                weight=2.0,
                differs="the papers average over random blocks of Area 5; here every point of a room counts once, with the mean of its "
                "probabilities. Their epoch draws a block for every 2,048 points of all rooms, ours takes each column once, so that 60 "
                "epochs are fewer steps; and their loop steps the optimiser twice for each batch. Both see coordinates in "
                "metres without colours",
            ),
        ),
        learned=0.75,
        fetch={
            "splits": "the papers test on Area_5: fetch it, too, with its labels",
            "labels": "labels come with the rooms: fetch the release with Annotations, or an export that has them",
        },
    ),
    "scannet": DataSet(
        about="ScanNet, detection and segmentation",
        named=r"scan_?net.*|scans",
        places=(
            Place(
                kind="scannet",
                expected="SCENE/SCENE_vh_clean_2.ply, SCENE_vert.npy or SCENE/coord.npy, and scannetv2_{train,val}.txt",
                tells=(
                    (f"{SCENE}/{SCENE}_vh_clean_2.ply",),
                    (f"{SCENE}/coord.npy",),
                    (f"{SCENE}_vert.npy",),
                    *((f"{home}/{SCENE}/{SCENE}_vh_clean_2.ply",) for home in ("scans", "scans_test")),
                    *((f"{home}/{SCENE}/coord.npy",) for home in ("train", "val", "test")),
                ),
            ),
        ),
        builds=(Build(name="scannet", recipe="whole-scenes", objects=False), Build(name="scannet-columns", recipe="scenes", objects=False)),
        tests=(
            Test(
                name="ScanNet detection",
                cache="scannet",
                task="detect",
                columns=(("ScanNet AP25", "AP25"), ("ScanNet AP50", "AP50")),
                settings=("test_split=val", "augment.quarters=false"),
                by_family={"": ("groups=1024",), "pointm2ae": ("groups=256",)},
                epochs="epochs",
                usual=1080,
                seeds=True,
                scratch=True,
                whole=((1201,), 312),
                small=("test_split=val", "queries=16", "model.layers=1", "model.dim=24", "model.heads=2", "augment.turn=0"),
                weight=16.0,
                differs="Point-M2AE pre-trains on ScanNet itself, and others set a network before the encoder (`model.pre_encoder`); here "
                "the encoder of the row reads the scene, queries begin with the tokens around them, the decoder is as wide as the encoder, "
                "training takes no random cuboids of a scene, and biases and norms do not decay",
            ),
            Test(
                name="ScanNet segmentation",
                cache="scannet-columns",
                task="scenes",
                columns=(("ScanNet mIoU", "mIoU"),),
                settings=("test_split=val",),
                by_family={"": ("groups=128", "group_size=32", "points=2048"), "pointm2ae": ("points=2048",)},
                epochs="epochs",
                usual=60,
                seeds=True,
                scratch=True,
                small=("test_split=val", "batch=4"),
                whole=((), 312),
                weight=2.0,
                differs="on the split val, and on columns of one metre; no paper of the table gives it",
            ),
        ),
        learned=0.8,
        fetch={
            "splits": "fetch scannetv2_train.txt and scannetv2_val.txt (https://github.com/ScanNet/ScanNet, Tasks/Benchmark) into its "
            "folder",
            "labels": "labels and boxes come with the scans and with the exports of VoteNet and MMDetection3D; Pointcept's arrays have no "
            "boxes",
        },
    ),
}

TESTS: Final = {test.name: test for one in DATA_SETS.values() for test in one.tests}


# ----------------------------------------------------------------------------------------------------------------- commands


def build(one: Build, found: Found, settings: tuple[str, ...]) -> tuple[str, ...]:
    """The command that builds a cache."""
    words = ("mmpd-cache", "build", found.location, f"caches/{one.name}.zarr", "--recipe", one.recipe)
    kind = f"source.kind={found.place.kind}"
    return (*words, *options([kind, *one.settings, *found.settings, *settings]))
