"""Score one run of the study on several tests, in one process: features of a collection are computed once for all of its tests.

    python science/score.py runs/stage-1-0 scores/stage-1-0 "shrec16 SVM" "modelnet10 SVM"

Run in the folder of a study. Writes a file for each test: the whole result with the predicted classes, the command that gives the same
result, its processor time and the commit. What is there already for the same weights and the same points is kept. A test that the run
cannot do (zero-shot without a head for texts) is written down with the reason.
"""

import argparse
import json
import shlex
import time
from pathlib import Path

from jobs import commit, options
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
from trainer.tasks.teachers import contrasted  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("tests", nargs="+", choices=list(TESTS))
    arguments = parser.parse_args()
    run, weights, loaded = arguments.run, saved.weights(arguments.run), None
    by_collection: dict[str, list[str]] = {}
    for name in arguments.tests:
        collection = TESTS[name].collection
        if not there(arguments.folder / f"{name}.json", command(TESTS[name], run), weights, points(collection)):
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


def points(collection: str) -> str:
    """Fingerprint of the points of a collection."""
    return str(open_cache(cache(collection)).record(products.POINTS.name).fingerprint)


def cache(collection: str) -> Path:
    """Where the cache of a collection is."""
    return Path("caches") / f"{collection}.zarr"


def there(path: Path, asked: str, weights: str, points: str) -> bool:
    """Whether a test is scored already, of these weights, on these points and by this command."""
    if not path.exists():
        return False
    found = json.loads(path.read_text())
    scores = found.get("result", {"scores": {}})["scores"]  # a test that was skipped has used no points
    used = {scores[name]["points"] for name in ("train", "test") if scores.get(name)}
    return bool(found["command"] == asked and found["weights"] == weights and used <= {points})


def score(loaded: Loaded, test: Test, path: Path) -> None:
    """Measure, and write the file."""
    began = time.process_time()
    found = {"command": command(test, loaded.run), "weights": loaded.weights, "commit": commit()}
    try:
        if test.task == "zeroshot":
            contrasted(loaded.model, test.metric.split()[:1], text=True)
    except UserError as error:
        found["skipped"] = str(error)
    else:
        result = catalog.evaluate(test.task, loaded, open_cache(cache(test.collection)), catalog.options(test.task, test.settings))
        found |= {"seconds": round(time.process_time() - began, 2), "result": json.loads(result.json())}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, (json.dumps(found, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
