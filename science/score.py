"""Score one run of the study on several tests, in one process: features of a collection are computed once for all of its tests.

    python science/score.py runs/stage-1-0 scores/stage-1-0 "shrec16 SVM" "modelnet10 SVM"

Run in the folder of a study. Writes a file for each test: the whole result with the predicted classes, the command that gives the same
result, its processor time and the commit. What is there already for the same weights, settings, points and labels is kept. A test that the
run cannot do (zero-shot without a head for texts) is written down with the reason.
"""

import argparse
import json
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs import commit, options
from labelled import labels_hold, labels_of, points_of
from running import plainly
from testsets import TESTS, Test

from trainer import machine

machine.suit()

from cache_schema import products  # noqa: E402
from cache_schema.errors import UserError  # noqa: E402 (NumPy reads the number of threads when it is imported)
from cache_schema.files import write_file  # noqa: E402
from cache_schema.store import open_cache  # noqa: E402
from trainer import checkpoint, saved  # noqa: E402
from trainer.checkpoint import Loaded  # noqa: E402
from trainer.tasks import catalog  # noqa: E402
from trainer.tasks.features import once  # noqa: E402
from trainer.tasks.result import Result  # noqa: E402
from trainer.tasks.teachers import contrasted  # noqa: E402


@plainly()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("tests", nargs="+", choices=list(TESTS))
    arguments = parser.parse_args()
    run, loaded = arguments.run, None
    weights, settings = saved.weights(run), saved.settings(run)
    by_collection: dict[str, list[str]] = {}
    for name in arguments.tests:
        collection, file, asked = TESTS[name].collection, arguments.folder / f"{name}.json", command(TESTS[name], run)
        if not there(file, asked, weights, points(cache(collection)), settings=settings, labels=[cache(collection)]):
            by_collection.setdefault(collection, []).append(name)
    for names in by_collection.values():
        loaded = loaded or checkpoint.load(run)
        with once(features=True):
            for name in names:
                score(loaded, TESTS[name], arguments.folder / f"{name}.json")
                print(name, flush=True)


def command(test: Test, run: Path) -> str:
    """The command that gives the same result."""
    words = ["mmpd-train", "eval", test.task, str(run), f"caches/{test.collection}.zarr", *options(test.settings)]
    return shlex.join(words)


def points(path: Path) -> str:
    """Fingerprint of the points of a cache."""
    return points_of(path) or open_cache(path).record(products.POINTS.name).fingerprint  # without points, this says what is missing


def cache(collection: str) -> Path:
    """Where the cache of a collection is."""
    return Path("caches") / f"{collection}.zarr"


def there(path: Path, asked: str, weights: str, *points: str, settings: saved.Settings = (), labels: Sequence[Path] = ()) -> bool:
    """Whether a test is scored already, as it would be now. Arguments as those of `changed`."""
    return path.exists() and not changed(json.loads(path.read_text()), asked, weights, *points, settings=settings, labels=labels)


def changed(
    found: Mapping[str, Any], asked: str, weights: str, *points: str, settings: saved.Settings = (), labels: Sequence[Path] = ()
) -> str:
    """What has changed since a test was scored, in words; empty if nothing has.

    Args:
        found: what the file of the test says.
        asked: the command that would be run now.
        weights: digest of the weights that the run has now; empty for a run that is not there, which is not compared.
        points: fingerprints of the points of the caches that it reads; none for caches that are not there.
        settings: the settings of the run that no weight tells. They are compared where they are recorded.
        labels: the caches that it reads, in the order of the command. Their labels are compared where they are recorded.
    """
    scores = found.get("result", {"scores": {}})["scores"]  # a test that was skipped has used no points
    used = {scores[name]["points"] for name in ("train", "test") if scores.get(name)}
    known = tuple(tuple(one) for one in found.get("result", {}).get("model", ()))
    if found["command"] != asked:
        return f"it was measured by another command: {found['command']}"
    if weights and found["weights"] != weights:
        return "its run has other weights now"
    if known and settings and known != settings:
        return "its run has other settings now"
    if points and not used <= set(points):
        return "its cache was built anew, with other shapes or points"
    return "" if labels_hold(found, labels) else "its cache has other classes, splits or names now (`mmpd-cache relabel`)"


def score(loaded: Loaded, test: Test, path: Path) -> None:
    """Measure, and write the file."""
    asked = command(test, loaded.run)
    try:
        if test.task == "zeroshot":
            contrasted(loaded.model, test.metric.split()[:1], text=True)
    except UserError as error:
        write(path, asked, loaded, {"skipped": str(error)})
    else:
        options, place = catalog.options(test.task, test.settings), cache(test.collection)
        measure(path, asked, loaded, [place], lambda: catalog.evaluate(test.task, loaded, open_cache(place), options))


def measure(path: Path, asked: str, loaded: Loaded, caches: Sequence[Path], evaluate: Callable[[], Result]) -> None:
    """Measure, and write the result with the command that gives the same, its time, and the labels of the caches that it reads."""
    labelled = [labels_of(path) for path in caches]
    processor, wall = time.process_time(), time.monotonic()
    result = evaluate()
    seconds = {"seconds": round(time.process_time() - processor, 2), "wall_seconds": round(time.monotonic() - wall, 2)}
    write(path, asked, loaded, {**seconds, "labels": labelled, "result": json.loads(result.json())})


def write(path: Path, asked: str, loaded: Loaded, found: dict[str, Any]) -> None:
    """Write the file of a test."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {"command": asked, "weights": loaded.weights, "commit": commit(), **found}
    write_file(path, (json.dumps(whole, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
