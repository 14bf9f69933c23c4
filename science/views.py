"""Are views that are chosen for each shape better than a ring of as many? What they show, and what teachers make of them.

    python science/views.py build/views modelnet10 --teachers starter-resnet efficientnet-lite0
    python science/views.py build/views-kaykit props.csv --train 3 --test 3 --pictures 6

Draws every shape once, from the cameras of all rings and of the candidates, framed alike, and embeds the pictures. Every row is a part of
these: the rings, and the cameras that `pipeline.choosing` takes by the small pictures of the candidates. For each row and teacher: a linear
SVM on the mean embedding of a shape (fitted on train, scored on the other splits), zero-shot by the class names if the teacher reads
text, the share of surface points that a view sees, and processor seconds for a shape. Differences are against the ring of as many views, or
the next smaller one, on the same test shapes: the mean, and 95 % of 2,000 bootstrap samples of the shapes.
Finished shapes are kept: after an interruption, run the same command again. Writes views.json and views.md, and prints the table.
"""

import argparse
import json
import time
from collections import defaultdict
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from running import plainly

from cache_schema.errors import UserError
from cache_schema.spec import CameraRig, Coverage, ViewSpec
from pipeline import labels
from pipeline.cameras import RIGS, poses
from pipeline.choosing import candidates
from pipeline.dense import sight
from pipeline.geometry import Cloud, Geometry, extent, normalized
from pipeline.points import surface
from pipeline.render import Renderer
from pipeline.sources.catalog import Entry, Source, open_source
from pipeline.teachers import catalog
from pipeline.teachers.catalog import Teacher
from trainer.tasks import svm

RINGS: Final = ("ring4", "ring8", "ring12", "ring30")
FROM: Final = "dome30"
"""The rig whose cameras are candidates."""
POLICIES: Final[dict[str, Coverage]] = {
    "coverage": Coverage(),
    "surface": Coverage(teacher="", likeness=0.0),
    "likeness": Coverage(surface=0.0),
    "spread": Coverage(surface=0.0, teacher="", likeness=0.0, spread=1.0),
}
COUNTS: Final = (2, 4, 8, 12)
"""Numbers of views that are chosen."""
BATCH: Final = 16


def union() -> tuple[CameraRig, dict[str, list[int]]]:
    """All cameras, each once, and which of them belong to each rig."""
    cameras = list(dict.fromkeys(replace(one, azimuth=one.azimuth % 360) for name in (*RINGS, FROM) for one in RIGS[name].cameras))
    where = {name: [cameras.index(replace(one, azimuth=one.azimuth % 360)) for one in RIGS[name].cameras] for name in (*RINGS, FROM)}
    return CameraRig(name="all", cameras=tuple(cameras)), where


def listed(source: Source, train: int, test: int) -> list[Entry]:
    """Some shapes of each class and split, evenly spread over the list; the first of each class come first. 0: all."""
    groups: dict[tuple[str, bool], list[Entry]] = defaultdict(list)
    for entry in source.entries:
        groups[entry.label, entry.split == "train"].append(entry)
    chosen = []
    for (_, of_train), mine in groups.items():
        most = min(len(mine), (train if of_train else test) or len(mine))
        chosen += [(place, mine[place * len(mine) // most]) for place in range(most)]
    return [entry for _, entry in sorted(chosen, key=lambda pair: (pair[0], pair[1].id))]


class Study:
    """The shapes of one collection, drawn and embedded."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.folder: Path = asked.folder
        self.size: int = asked.size
        self.rig, self.where = union()
        self.source = open_source(asked.location, kind="auto", textures="require", **dict(text.split("=", 1) for text in asked.set))
        self.entries = listed(self.source, asked.train, asked.test)
        torch.set_num_threads(1)
        self.teachers = {name: catalog.load(name) for name in asked.teachers}
        self.cheap = catalog.load(Coverage().teacher)
        (self.folder / "shapes").mkdir(parents=True, exist_ok=True)

    def draw(self) -> None:
        """Draw and embed every shape that is not there yet. A shape that fails is said, and left out."""
        small = ViewSpec(rig=RIGS[FROM], size=Coverage().size, depth=True)
        with closing(Renderer(ViewSpec(rig=self.rig, size=self.size, depth=True))) as large, closing(Renderer(small)) as sketch:
            for number, entry in enumerate(self.entries):
                file = self._file(entry)
                if file.exists():
                    continue
                try:
                    values = self._drawn(entry, large, sketch)
                except Exception as error:  # one shape must not stop the study
                    print(f"{entry.id}: {error}", flush=True)
                    continue
                np.savez(file.with_suffix(".draft.npz"), **values)
                file.with_suffix(".draft.npz").rename(file)
                print(f"{number + 1} of {len(self.entries)}: {entry.id}", flush=True)

    def _drawn(self, entry: Entry, large: Renderer, sketch: Renderer) -> dict[str, NDArray[Any]]:
        shape = normalized(self.source.reader.read(entry), "unit_sphere")
        start = time.process_time()
        drawn = large.render(shape)
        drawing = (time.process_time() - start) / len(drawn.pose)
        places = surface(shape, Coverage().points)
        assert drawn.depth is not None
        start = time.process_time()
        pose = framed(shape, RIGS[FROM])
        little = sketch.render(shape, pose)
        assert little.depth is not None
        cheap = embedded(self.cheap, little.rgb)
        found = candidates(places, pose, little.depth, self.rig.fov, np.ones(len(pose), bool), cheap)
        first = found.greedy(replace(POLICIES["coverage"], count=max(COUNTS)))
        choosing = time.process_time() - start
        taken = {f"taken {name}": np.array(found.greedy(replace(policy, count=max(COUNTS)))) for name, policy in POLICIES.items()}
        assert taken["taken coverage"].tolist() == first
        values: dict[str, NDArray[Any]] = {
            "seen": sight(places, drawn.pose, drawn.depth, self.rig.fov).clear,
            "seconds drawing": np.array(drawing),
            "seconds choosing": np.array(choosing),
            **taken,
        }
        for name, teacher in self.teachers.items():
            start = time.process_time()
            values[f"embedded {name}"] = embedded(teacher, drawn.rgb)
            values[f"seconds {name}"] = np.array((time.process_time() - start) / len(drawn.rgb))
        return values

    def _file(self, entry: Entry) -> Path:
        return self.folder / "shapes" / f"{entry.id.replace('/', '~')}.npz"

    def table(self) -> dict[str, Any]:
        """Score every row.

        Raises:
            UserError: no shape is there to learn from, or none to test on.
        """
        there = [entry for entry in self.entries if self._file(entry).exists() and entry.label]
        files = [dict(np.load(self._file(entry))) for entry in there]
        classes = sorted({entry.label for entry in there})
        truth = np.array([classes.index(entry.label) for entry in there])
        train = np.array([entry.split == "train" for entry in there], bool)
        if not 0 < train.sum() < len(there):
            raise UserError(
                f"of {len(self.entries)} shapes {len(there)} have a class and could be drawn, {train.sum()} of these are in the split "
                "train: expected some there and some in another split, as --set split=0.8 makes. What cannot be drawn is named above"
            )
        rows: dict[str, list[list[int]]] = {name: [self.where[name]] * len(files) for name in RINGS}
        for policy in POLICIES:
            for count in COUNTS:
                rows[f"{policy} {count}"] = [[self.where[FROM][i] for i in file[f"taken {policy}"][:count]] for file in files]
        seconds = {name: float(np.median([file[f"seconds {name}"] for file in files])) for name in ("drawing", "choosing", *self.teachers)}
        scores: dict[str, Any] = {}
        for name, views in rows.items():
            count = len(views[0])
            shown = [file["seen"][mine].any(0).mean() for file, mine in zip(files, views, strict=True)]
            row = scores[name] = {"views": count, "surface": round(100 * float(np.mean(shown)), 2), "teachers": {}}
            choosing = seconds["choosing"] if name not in RINGS else 0.0
            for teacher in self.teachers:
                right = self._right(teacher, files, views, truth, train, classes)
                row["teachers"][teacher] = {
                    "seconds": round(choosing + count * (seconds["drawing"] + seconds[teacher]), 3),
                    **{what: values.astype(int).tolist() for what, values in right.items()},
                }
        for row in scores.values():
            ring = [scores[name] for name in RINGS if scores[name]["views"] <= row["views"]] or [scores[RINGS[0]]]
            for teacher, mine in row["teachers"].items():
                for what in ("svm", "zero-shot"):
                    if what in mine:
                        mine[f"{what} against ring"] = compared(mine[what], ring[-1]["teachers"][teacher][what])
        for row in scores.values():
            for mine in row["teachers"].values():
                mine |= {what: round(100 * float(np.mean(mine[what])), 2) for what in ("svm", "zero-shot") if what in mine}
        about = {"shapes": len(there), "train": int(train.sum()), "classes": len(classes), "seconds": seconds}
        return {"about": about, "rows": scores}

    def _right(
        self,
        name: str,
        files: list[dict[str, NDArray[Any]]],
        views: list[list[int]],
        truth: NDArray[Any],
        train: NDArray[Any],
        classes: list[str],
    ) -> dict[str, NDArray[np.bool_]]:
        """Which test shapes the SVM names rightly, and which of all shapes the teacher names without training."""
        each = [F.normalize(torch.from_numpy(file[f"embedded {name}"][mine]), dim=-1) for file, mine in zip(files, views, strict=True)]
        features = torch.stack([one.mean(0) for one in each]).numpy()  # [N, E]
        right = {}
        if train.any() and not train.all():
            probe = svm.fit(features[train], truth[train], svm.choose(features[train], truth[train], svm.Options().seed))
            right["svm"] = np.asarray(probe.predict(features[~train]) == truth[~train])
        teacher = self.teachers[name]
        if teacher.spec.text:
            words = torch.from_numpy(labels.embed(labels.label_set("source", classes), teacher, 64).astype(np.float32))  # [C, M, E]
            words = F.normalize(F.normalize(words, dim=-1).mean(1), dim=-1)
            right["zero-shot"] = (torch.from_numpy(features) @ words.T).argmax(1).numpy() == truth
        return right

    def pictures(self, count: int) -> None:
        """Draw the shapes of which chosen views see most more than the ring of as many: the ring in the upper row, the choice below."""
        gains = []
        for entry in self.entries:
            if self._file(entry).exists():
                file = np.load(self._file(entry))
                mine = [self.where[FROM][i] for i in file["taken coverage"][:4]]
                gains.append((float(file["seen"][mine].any(0).mean() - file["seen"][self.where["ring4"]].any(0).mean()), entry))
        gains.sort(key=lambda pair: (-pair[0], pair[1].id))
        rows = []
        for gain, entry in gains[:count]:
            print(f"{entry.id}: {100 * gain:+.1f} points of the surface")
            shape = normalized(self.source.reader.read(entry), "unit_sphere")
            taken = np.load(self._file(entry))["taken coverage"][:4]
            cameras = [RIGS["ring4"], CameraRig(name="chosen", cameras=tuple(RIGS[FROM].cameras[i] for i in taken))]
            strips = []
            for rig in cameras:
                with closing(Renderer(ViewSpec(rig=rig))) as renderer:
                    strips.append(np.concatenate(renderer.render(shape).rgb, axis=1))
            rows.append(np.concatenate([*strips, np.full((6, strips[0].shape[1], 3), 80, np.uint8)]))
        if rows:
            half = (len(rows) + 1) // 2
            rows += [np.full_like(rows[0], 255)] * (2 * half - len(rows))
            columns = [np.concatenate(rows[:half]), np.full((half * len(rows[0]), 12, 3), 80, np.uint8), np.concatenate(rows[half:])]
            Image.fromarray(np.concatenate(columns, axis=1)).save(self.folder / "views.png")


def framed(shape: Geometry, rig: CameraRig) -> NDArray[np.float32]:
    """The cameras of a rig around a shape, as a renderer places them, but for the size of splats and outlines. [C, 4, 4]"""
    return poses(rig, shape.points if isinstance(shape, Cloud) else np.concatenate([extent(part) for part in shape.parts]), 0.02)


def embedded(teacher: Teacher, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Embed pictures [V, H, W, 3] -> [V, E]."""
    parts = [pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH)]
    return np.concatenate([teacher.embed_images(torch.stack([teacher.preprocess(one) for one in part])).numpy() for part in parts])


def compared(mine: list[int], other: list[int]) -> list[float]:
    """The difference of two accuracies on the same shapes, in points, and 95 % of bootstrap samples of the shapes."""
    difference = np.array(mine) - np.array(other)
    drawn = np.random.default_rng(0).integers(0, len(difference), (2000, len(difference)))
    low, high = np.percentile(100 * difference[drawn].mean(1), (2.5, 97.5))
    return [round(float(value), 2) for value in (100 * difference.mean(), low, high)]


def in_words(found: dict[str, Any]) -> str:
    """The table as Markdown."""
    teachers = list(next(iter(found["rows"].values()))["teachers"])
    columns = [
        (teacher, what) for teacher in teachers for what in ("zero-shot", "svm") if what in found["rows"]["ring4"]["teachers"][teacher]
    ]
    lines = [
        "| views | surface seen | "
        + " | ".join(f"{teacher}, {what} | against a ring" for teacher, what in columns)
        + " | seconds a shape |"
    ]
    lines.append("|---" * (3 + 2 * len(columns)) + "|")
    for name, row in found["rows"].items():
        cells = [name, f"{row['surface']:.1f}"]
        for teacher, what in columns:
            mean, low, high = row["teachers"][teacher][f"{what} against ring"]
            cells += [f"{row['teachers'][teacher][what]:.1f}", "" if name in RINGS else f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"]
        cells.append(", ".join(f"{row['teachers'][teacher]['seconds']:.2f}" for teacher in teachers))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


@plainly(goes_on=True)
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("location", help="a path, or the name of a built-in collection")
    parser.add_argument("--teachers", nargs="+", default=["starter-resnet"])
    parser.add_argument("--train", type=int, default=0, help="shapes of each class to learn from; 0 for all")
    parser.add_argument("--test", type=int, default=0, help="shapes of each class to test on; 0 for all")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of the source, such as count=360")
    parser.add_argument("--size", type=int, default=224, help="height and width of the pictures for the teachers")
    parser.add_argument("--pictures", type=int, default=0, help="number of shapes to draw that gain most")
    asked = parser.parse_args()
    study = Study(asked)
    study.draw()
    found = study.table()
    (study.folder / "views.json").write_text(json.dumps(found, indent=1) + "\n")
    (study.folder / "views.md").write_text(in_words(found))
    print(in_words(found))
    study.pictures(asked.pictures)


if __name__ == "__main__":
    main()
