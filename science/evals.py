"""Run several `mmpd-train eval` commands on one run in one process, and keep each result in a file with its command and time.

    python science/evals.py scores/mmpd-0 "MN40 SVM: mmpd-train eval svm runs/mmpd-0 caches/modelnet40.zarr --set c=0.1" ...

Run in the folder of the results. A result that is there already, by the same command, of the same weights and on the same points with the
same labels, is kept: so after any stop the same call goes on. A test that fails is told, with its reason, and the others go on; the exit
code is then 1.
"""

import argparse
import contextlib
import dataclasses
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import score  # it suits the machine before NumPy is imported

from cache_schema.errors import UserError
from cache_schema.store import open_cache
from trainer import checkpoint, saved
from trainer.checkpoint import Loaded
from trainer.distributed import device_of
from trainer.tasks import catalog
from trainer.tasks.features import once


@dataclass(frozen=True, kw_only=True)
class Eval:
    """One command."""

    name: str
    """Name of the test, and of its file."""
    command: str
    task: str
    run: Path
    cache: Path
    settings: tuple[str, ...]
    test_cache: Path | None

    @classmethod
    def of(cls, text: str) -> "Eval":
        """The command in `NAME: mmpd-train eval TASK RUN CACHE ...`."""
        name, _, command = text.partition(": ")
        parser = argparse.ArgumentParser(prog=f"NAME: {command[:40]}")
        parser.add_argument("program", choices=["mmpd-train"])
        parser.add_argument("eval", choices=["eval"])
        parser.add_argument("task")
        parser.add_argument("run", type=Path)
        parser.add_argument("cache", type=Path)
        parser.add_argument("--set", dest="settings", action="append", default=[])
        parser.add_argument("--test-cache", type=Path)
        words = parser.parse_args(shlex.split(command))
        return cls(
            name=name,
            command=command,
            task=words.task,
            run=words.run,
            cache=words.cache,
            settings=tuple(words.settings),
            test_cache=words.test_cache,
        )

    @property
    def caches(self) -> list[Path]:
        """The caches that it reads."""
        return [path for path in (self.cache, self.test_cache) if path is not None]

    def done(self, folder: Path) -> bool:
        """Whether its result is there, of the same command, weights, points and labels. Points and labels of a cache that was removed are
        not compared: if it is built again with others, the result does not hold any more."""
        if not self.file(folder).exists():
            return False
        caches = self.caches if all((path / "zarr.json").exists() for path in self.caches) else []
        try:
            points, settings = [score.points(path) for path in caches], saved.settings(self.run)
            return score.there(self.file(folder), self.command, saved.weights(self.run), *points, settings=settings, labels=caches)
        except UserError:  # the run or a cache is damaged or half made: the command says it when it is run
            return False

    def beside(self, home: Path) -> "Eval":
        """The same, with paths that hold in any folder. `home`: the folder of the results, where the command is run."""
        test = None if self.test_cache is None else home / self.test_cache
        return dataclasses.replace(self, run=home / self.run, cache=home / self.cache, test_cache=test)

    def file(self, folder: Path) -> Path:
        """The file of its result."""
        return folder / f"{self.name}.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("evals", nargs="+", metavar="NAME: COMMAND")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    by_cache: dict[Path, list[Eval]] = {}
    for one in map(Eval.of, arguments.evals):
        if not one.done(folder):
            by_cache.setdefault(one.cache, []).append(one)
    loaded: Loaded | None = None
    failed: list[str] = []
    for several in by_cache.values():
        # Features of a cache are kept only while its tests run, and only if there are several of them: a cache of scenes is large.
        with once(features=True) if len(several) > 1 else contextlib.nullcontext():
            for one in several:
                if loaded is None or loaded.run != one.run:
                    loaded = checkpoint.load(one.run)
                    loaded.model.to(device_of("auto"))
                try:
                    measured(one, loaded, folder)
                    print(one.name, flush=True)
                except UserError as error:
                    failed.append(f"{one.name}: {error}")
                    print(f"FAILED {failed[-1]}", file=sys.stderr, flush=True)
    if failed:
        raise SystemExit(1)


def measured(one: Eval, loaded: Loaded, folder: Path) -> None:
    """Measure, and write the file."""
    options = catalog.options(one.task, one.settings)
    test = None if one.test_cache is None else open_cache(one.test_cache)
    score.measure(
        one.file(folder), one.command, loaded, one.caches, lambda: catalog.evaluate(one.task, loaded, open_cache(one.cache), options, test)
    )


if __name__ == "__main__":
    main()
