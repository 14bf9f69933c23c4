"""What the rows of the study are tested on: collections, each one built by a command, and the tests on them.

`held_out.md` says which of them may be looked at when. `DATA` in a location is the folder of real meshes, which `--data` names.
"""

from dataclasses import dataclass, replace
from typing import Final, Literal

from rows import LEARN, REAL, TEACHERS

Use = Literal["development", "final"]

UNSEEN: Final = ("bench", "boat", "bookshelf", "fence", "microwave", "rocket", "teapot", "tent", "vase", "wardrobe")
"""The ten kinds of starter shapes that pre-training never sees: furniture (bench, bookshelf, wardrobe), vehicles (boat, rocket), household
(microwave, teapot, vase) and structures (fence, tent). None is a class of ModelNet10. The teachers and the captioner that come with the
project were taught all 45 kinds; EfficientNet-Lite0 and Point-MAE were not."""

SEEN: Final = (
    "airplane bathtub bed bottle bowl bucket car chair clock desk door dresser frying_pan guitar house keyboard ladder lamp laptop mailbox "
    "monitor mug night_stand piano potted_plant radio refrigerator sink sofa stairs stool table toilet traffic_cone umbrella"
)
"""The other 35 kinds, with underscores for the blanks in their names."""

DESIGNED: Final = ("airplane", "chair", "ladder", "lamp", "mailbox", "monitor", "piano", "radio", "stairs")
"""The seen kinds whose designs have names."""
DRAWERS: Final = ("desk", "dresser", "night stand")
"""Seen kinds with several numbers of drawers."""

EACH: Final = 64
"""Number of shapes of each kind in collections of starter shapes that are only tested on."""
LIGHT: Final = ("points.blocks=3", "points.normals=false", "views.rig=ring4", "captions=none")
"""Settings of a collection that is only tested on: the blocks that a linear SVM reads, and pictures for the teachers."""
SCANNED: Final = ("source.variant=hard", "source.copies=1")
"""Settings of scans: boxes that are shifted, turned and scaled, one of each object. Two scans of one object are no independent shapes: a
paired test that takes them as such calls chance a difference too often."""


TAUGHT: Final = (
    "the starter teachers and their captioner were taught these kinds; EfficientNet-Lite0, Point-MAE and the teacher of rows with "
    "`untaught` in their name were not"
)
"""A note on collections of unseen kinds."""
OTHERS: Final = "source.seed=1"
"""Setting of starter shapes that are none of those of pre-training."""


@dataclass(frozen=True, kw_only=True)
class Collection:
    """Shapes that are tested on. `mmpd-cache build LOCATION caches/NAME.zarr --set ...` builds it."""

    about: str
    location: str
    settings: tuple[str, ...] = LIGHT
    use: Use = "development"
    """`final`: it is scored once, when nothing is chosen any more (`held_out.md`)."""
    note: str = ""
    """What a reader of its numbers must know."""
    stated: tuple[str, ...] = ()
    """Captioners that state what is asked here. Rows with their texts were taught it, of other shapes."""
    tested: bool = True
    """Whether rows are tested on it. Otherwise it is only trained on."""


def _kinds(names: str | tuple[str, ...]) -> str:
    kinds = tuple(name.replace("_", " ") for name in names.split()) if isinstance(names, str) else names
    return f"source.classes={','.join(kinds)}"


DESCRIPTIONS: Final = ("descriptions", "wrong-descriptions")
"""Captioners whose texts name design, material and numbers of parts."""
COLLECTIONS: Final[dict[str, Collection]] = {
    LEARN: Collection(
        about="unseen starter shapes of the 35 kinds of pre-training",
        location="starter",
        settings=("points.blocks=8", "views.rig=ring4", _kinds(SEEN)),
    ),
    "unseen": Collection(
        about="starter shapes of ten kinds that pre-training never sees",
        location="starter",
        settings=(*LIGHT, _kinds(UNSEEN), f"source.count={EACH * len(UNSEEN)}"),
        use="final",
        note=TAUGHT,
    ),
    "shrec16": Collection(about="real meshes of animals, people and tools, 30 classes", location="DATA/shrec16"),
    "modelnet10": Collection(about="real CAD models of furniture, ten classes", location="DATA/modelnet10-sample"),
    "scan-unseen": Collection(
        about="scans of the ten unseen kinds",
        location="scan:starter",
        settings=(*LIGHT, *SCANNED, _kinds(UNSEEN), f"source.count={EACH * len(UNSEEN)}"),
        use="final",
        note=TAUGHT,
    ),
    "scan-modelnet10": Collection(about="scans of the CAD models", location="scan:DATA/modelnet10-sample", settings=(*LIGHT, *SCANNED)),
    "scan-kaykit": Collection(
        about="scans of 441 props for games; the class is the pack: city, dungeon, furniture, restaurant",
        location="scan:DATA/kaykit",
        settings=(*LIGHT, *SCANNED, "source.label=folder", "source.split=0.7"),
        use="final",
    ),
    "designs": Collection(
        about=f"designs within a kind: {len(DESIGNED)} kinds of starter shapes, such as folding, swivel and tubular chairs",
        location="starter",
        settings=(*LIGHT, OTHERS, _kinds(DESIGNED), f"source.count={EACH * len(DESIGNED)}", "source.label=design"),
        stated=DESCRIPTIONS,
    ),
    "materials": Collection(
        about="the material of starter shapes of the 35 kinds of pre-training that have colours",
        location="starter",
        settings=(*LIGHT, OTHERS, _kinds(SEEN), f"source.count={EACH * 15}", "source.label=material"),
        stated=DESCRIPTIONS,
        note="encoders see points without colours: they can tell a material by the form alone, the teachers also by the colour",
    ),
    "drawers": Collection(
        about="how many drawers a desk, dresser or night stand has",
        location="starter",
        settings=(*LIGHT, OTHERS, _kinds(DRAWERS), f"source.count={EACH * 10}", "source.label=count:drawer"),
        stated=DESCRIPTIONS,
    ),
    "forms": Collection(
        about="bodies without names, made by random rules",
        location="forms",
        settings=("points.blocks=8", "points.normals=false", "views.rig=ring4", "captions=none", "source.count=960"),
        tested=False,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Test:
    """A task on a collection: `mmpd-train eval TASK RUN caches/COLLECTION.zarr --set ...`."""

    about: str
    collection: str
    task: Literal["svm", "crossval", "fewshot", "zeroshot", "knn"] = "svm"
    settings: tuple[str, ...] = ()
    metric: str = "accuracy"

    @property
    def depths(self) -> bool:
        """Whether it reads several depths of an encoder, which embeddings of pictures do not have."""
        return "pool=depths" in self.settings


def _shots(collection: str, ways: int, *counts: int) -> dict[str, Test]:
    """Few-shot tests of all classes of a collection at once, in ten folds, on all test shapes."""
    return {
        f"{collection} {shots}-shot": Test(
            about=f"{ways} classes, {shots} shape{'s' * (shots > 1)} of each",
            collection=collection,
            task="fewshot",
            settings=(f"ways={ways}", f"shots={shots}", "queries=1000"),
        )
        for shots in counts
    }


def _zeroshot(collection: str, *settings: str) -> dict[str, Test]:
    test = Test(
        about=f"zero-shot in the words of {TEACHERS[0]}",
        collection=collection,
        task="zeroshot",
        settings=(f"teachers={TEACHERS[0]}", *settings),
        metric=f"{TEACHERS[0]} top-1",
    )
    return {f"{collection} zero-shot": test}


_LINEAR: Final = {
    **{f"{name} SVM": Test(about="linear SVM", collection=name) for name, one in COLLECTIONS.items() if one.tested},
    **{
        f"{name} crossval": Test(about="linear SVM, each shape tested in one of five folds", collection=name, task="crossval")
        for name in ("shrec16", "modelnet10", "scan-modelnet10")
    },
}
TESTS: Final[dict[str, Test]] = {
    **_LINEAR,
    **{
        f"{name} at depths": replace(test, about=f"{test.about}, on features of four depths", settings=("pool=depths",))
        for name, test in _LINEAR.items()
    },
    **_zeroshot(LEARN),
    **_shots("unseen", 10, 1, 5),
    **_zeroshot("unseen"),
    **_shots("shrec16", 30, 1, 5, 10),
    **_shots("modelnet10", 10, 1, 5, 10, 20),
    **_zeroshot("modelnet10", "test_split=all"),
    **_shots("scan-modelnet10", 10, 10),
}


def teachers(collection: str) -> str:
    """The setting that names the teachers of a collection. Those that were taught starter shapes have nothing to say on shapes without
    kinds, which nobody is tested on."""
    return f"teachers={','.join((*TEACHERS, REAL) if COLLECTIONS[collection].tested else (REAL,))}"
