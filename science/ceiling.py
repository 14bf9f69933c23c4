"""What the teachers reach by themselves, on the pictures of a collection: the ceiling for a 3D encoder that learns from them.

    python science/ceiling.py caches/modelnet10.zarr ceilings "modelnet10 SVM" "modelnet10 zero-shot"
    python science/ceiling.py modelnet10.zarr                                   # the linear SVM and zero-shot, printed

The features of a shape are the mean of a teacher's embeddings of its pictures. A test is done with them as `mmpd-train eval` does it with
a 3D encoder's features: the same shapes, folds and search for C. The row `all` has the embeddings of all teachers side by side. Zero-shot
names a shape by the mean over its pictures, in the words of the teacher itself. Writes a file for each test, if a folder is named.
"""

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from jobs import commit, told
from labelled import labels_hold, labels_of
from numpy.typing import NDArray
from running import plainly
from testsets import TESTS, Test

from cache_schema import products
from cache_schema.classes import SOURCE
from cache_schema.errors import UserError
from cache_schema.files import write_file
from cache_schema.store import Cache, open_cache
from trainer.part import teachers_of
from trainer.tasks import catalog, crossval, fewshot, svm
from trainer.tasks.shapes import Shapes, matched, of_split, relabelled
from trainer.tasks.zeroshot import class_embeddings

PLAIN: Final = (Test(about="linear SVM", collection="", task="svm"), Test(about="zero-shot", collection="", task="zeroshot"))
"""The tests of a cache that is no collection of the study."""


def embedded(cache: Cache, teacher: str, rows: NDArray[np.int64]) -> torch.Tensor:
    """Embeddings of the pictures of the shapes in these rows of the cache, [n, V, E], of length 1."""
    return F.normalize(torch.from_numpy(cache.array(products.IMAGE.product(teacher=teacher))[:][rows]).float(), dim=-1)


def values(cache: Cache, teachers: list[str], test: Test) -> list[float]:
    """The accuracy in percent, for each fold if there are folds. Empty for a test that these teachers cannot do.

    Raises:
        UserError: classes of the cache are not in the words of the teacher, or it cannot be tested otherwise.
    """
    if test.task == "zeroshot":
        return _named(cache, teachers, test)
    assert test.task in ("svm", "crossval", "fewshot"), f"there is no ceiling for {test.task}"
    chosen: Any = catalog.options(test.task, test.settings)
    if isinstance(chosen, crossval.Options):
        return [_crossed(cache, teachers, chosen)]
    train, asked, _ = matched(of_split(cache, chosen.train_split), of_split(cache, chosen.test_split))
    known, new = _features(train, teachers), _features(asked, teachers)
    if isinstance(chosen, svm.Options):
        c = svm.choose(known, train.labels, chosen.seed) if chosen.c is None else chosen.c
        return [100 * float(svm.fit(known, train.labels, c).score(new, asked.labels))]
    dealt = [fewshot.deal(train, asked, chosen, fold) for fold in range(chosen.folds)]
    probes = [svm.fit(known[support], train.labels[support], chosen.c) for support, _ in dealt]
    return [100 * float(probe.score(new[queries], asked.labels[queries])) for probe, (_, queries) in zip(probes, dealt, strict=True)]


def _crossed(cache: Cache, teachers: list[str], chosen: crossval.Options) -> float:
    shapes = of_split(cache, chosen.test_split)
    shapes, _, _ = matched(shapes, shapes)
    every, objects = _features(shapes, teachers), crossval.objects_of(shapes)
    parts = list(crossval.dealt(shapes, objects, chosen.folds, chosen.seed))
    fitting = [chosen.c or svm.choose(every[known], shapes.labels[known], chosen.seed, objects[known]) for known, _ in parts]
    found, _ = crossval.predicted(every, shapes.labels, parts, fitting)
    return 100 * float((found == shapes.labels).mean())


def _features(shapes: Shapes, teachers: list[str]) -> NDArray[np.float32]:
    return np.concatenate([embedded(shapes.cache, teacher, shapes.rows).mean(1).numpy() for teacher in teachers], 1)


def _named(cache: Cache, teachers: list[str], test: Test) -> list[float]:
    if len(teachers) > 1 or not cache.of(products.LABELS, set=SOURCE, teacher=teachers[0]):
        return []
    chosen: Any = catalog.options(test.task, [one for one in test.settings if not one.startswith("teachers=")])
    shapes = of_split(cache, chosen.test_split)
    known = cache.record(products.LABELS.product(set=SOURCE, teacher=teachers[0])).labels
    assert known is not None
    shapes, lost = relabelled(shapes, known.classes, f"label set {SOURCE!r} of {cache.path}", own=True)
    if lost:
        raise UserError(
            f"{lost[0]}; `mmpd-cache remove {cache.path} labels/{SOURCE}/{teachers[0]}`, then `mmpd-cache labels {cache.path} {SOURCE}`"
        )
    near = embedded(cache, teachers[0], shapes.rows).mean(1) @ class_embeddings(cache, SOURCE, teachers[0]).T  # [n, K]
    return [100 * float((near.argmax(1) == torch.from_numpy(shapes.labels)).float().mean())]


def measured(cache: Cache, test: Test) -> dict[str, Any]:
    """The `values` of each teacher by its name, and those of `all` together; and `left_out`, with why a teacher has none."""
    names = sorted(teachers_of(cache))
    several = {name: [name] for name in names} | ({"all": names} if len(names) > 1 else {})
    found: dict[str, list[float]] = {}
    left: dict[str, str] = {}
    for name, teachers in several.items():
        try:
            found[name] = values(cache, teachers, test)
        except UserError as error:
            left[name] = str(error)
    return {"values": {name: own for name, own in found.items() if own}, "left_out": left}


def told_of(test: Test) -> list[str]:
    """The task and the settings of a test."""
    return [test.task, *test.settings]


def made_of(cache: Cache) -> dict[str, str]:
    """Digest of what ceilings are measured on: each teacher's embeddings of pictures and of class names, by product."""
    return {record.product: record.content for record in (*cache.of(products.IMAGE), *cache.of(products.LABELS, set=SOURCE))}


def changed(found: Mapping[str, Any], test: Test, path: Path) -> str:
    """What has changed since a ceiling was measured, in words; empty if nothing has, or the cache is not there. What an earlier version did
    not record is not compared.

    Args:
        found: what the file of the ceiling says.
        test: the test as it is now.
        path: the cache.

    Raises:
        UserError: the cache is damaged.
    """
    if found.get("test", told_of(test)) != told_of(test):
        return "the test has other settings now"
    if not (path / "zarr.json").exists():
        return ""
    if not labels_hold(found, [path]):
        return "its cache has other classes, splits or names now (`mmpd-cache relabel`)"
    now = made_of(open_cache(path))
    return "its cache has other embeddings of pictures or class names now" if found.get("made_of", now) != now else ""


@plainly()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("tests", nargs="*", metavar="TEST", help=f"of: {', '.join(TESTS)}")
    arguments = parser.parse_args()
    cache = open_cache(arguments.cache)
    if arguments.folder is None:
        print(json.dumps({test.about: measured(cache, test) for test in PLAIN}, indent=2))
        return
    for name in arguments.tests:
        began = time.process_time()
        command = told(["ceiling.py", str(arguments.cache), str(arguments.folder), name])
        found = {"command": command, "commit": commit(), "test": told_of(TESTS[name]), "made_of": made_of(cache)}
        found |= {"labels": [labels_of(arguments.cache)], **measured(cache, TESTS[name])}
        text = json.dumps(found | {"seconds": round(time.process_time() - began, 2)}, indent=1)
        arguments.folder.mkdir(parents=True, exist_ok=True)
        write_file(arguments.folder / f"{name}.json", (text + "\n").encode())
        print(name, flush=True)


if __name__ == "__main__":
    main()
