"""Two readers and a training go on while a cache grows, gets captions, loses a product and has failed shapes tried again.

    python -m tests.torture.readers            # a minute; prints how many batches were compared

Each reader is a process that draws the same batches again and again, and compares their hashes with those of a copy that nobody changes.
The training opens the cache before everything, and ends after it. Its losses must be those of a training on the copy.
"""

import dataclasses
import hashlib
import multiprocessing
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from cache_schema import store, validate
from pipeline import captioning
from pipeline.append import Wanted, append
from pipeline.edits import remove
from pipeline.retry import retry
from pipeline.work import Machine
from tests.boxes import Silent, box_off, write_meshes
from tests.torture import build_once
from trainer import log
from trainer.batch import Batch
from trainer.data import Data
from trainer.loop import train
from trainer.part import DataConfig, Needs
from trainer.recipes import configured

CPU = Machine(workers=1, device="cpu")
TEACHERS: Final = ("starter-resnet", "starter-regnet")
"""Teachers that are read. A third one is removed meanwhile."""
BATCHES: Final = 12
"""Number of batches that a reader draws in each round."""
HALF: Final = 8
"""Number of the batch at which the training waits."""
SETTINGS: Final = (
    *("encoder.depth=1", "encoder.embed=16,24,32", "encoder.dim=48", "encoder.group_size=8", "encoder.groups=16"),
    *("optim.batch=4", "optim.epochs=6", "log_every=1", "data.threads=1", f"data.teachers={','.join(TEACHERS)}"),
)
"""Settings of a small training."""


def hashes(cache: Path, seed: int) -> tuple[Data, list[str]]:
    """Open a cache. Returns the data, and the hash of each of the first batches."""
    data = Data([store.open_cache(cache)], DataConfig(teachers=TEACHERS), batch=4, seed=seed, needs=Needs(teachers=True, color=True))
    return data, drawn(data)


def drawn(data: Data) -> list[str]:
    """Hash the ids and all tensors of the first batches."""
    ids, found = data.parts[0].cache.ids(), []
    for number in range(BATCHES):
        batch = data.batch(number)
        tensors = {"points": batch.points, "label": batch.label}
        tensors |= {f"{side} {name}": one for side in ("image", "text") for name, one in getattr(batch, side).items()}
        digest = hashlib.sha256(repr(ids[batch.index.numpy()].tolist()).encode())
        for name in sorted(tensors):
            digest.update(name.encode() + tensors[name].numpy().tobytes())
        found.append(digest.hexdigest())
    return found


def read(cache: Path, quiet: Path, seed: int, folder: Path) -> None:
    """Compare batches until the file `stop` is there, one round more after it. Writes the number of rounds, or what is wrong."""
    _, right = hashes(quiet, seed)
    data, found = hashes(cache, seed)
    (folder / f"ready{seed}").touch()
    rounds, last = 1, False
    while found == right and not last:
        last = (folder / "stop").exists()
        found, rounds = drawn(data), rounds + 1
    data.settle_reads()
    (folder / f"said{seed}").write_text(str(rounds) if found == right else f"batches of reader {seed} differ in round {rounds}")


def trained(cache: Path, run: Path, stop: Path | None) -> None:
    """Train for some epochs. The second half waits until the file `stop` is there."""
    if stop is not None:
        ask = Data.batch

        def waiting(data: Data, number: int, *share: slice) -> Batch:
            while number == HALF and not stop.exists():
                time.sleep(0.05)
            return ask(data, number, *share)

        Data.batch = waiting  # type: ignore[method-assign]
    train(configured("smoke", "align", SETTINGS), [cache], run, device="cpu")


def change(cache: Path, meshes: Path, more: Path) -> None:
    """Do everything to a cache that disturbs nobody who opened it before."""
    assert append(cache, str(more), Wanted(), CPU, Silent()).shapes == 5
    captions = build_once.config("smoke").captions
    assert captions is not None
    captioning.add_captioner(cache, dataclasses.replace(captions, name="second", seed=7), 8, CPU, Silent())
    remove(cache, ["image/starter-attributes"], True, Silent())
    for name in meshes.rglob("broken.off"):
        name.write_text(box_off((5, 1, 2)))
    assert retry(cache, "", CPU, Silent()).mended == 1
    problems = validate.problems(cache)
    assert not problems, problems[:3]


def main() -> None:
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["tests.torture.readers"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        meshes, more = write_meshes(folder / "meshes", 14, ("slab/train/broken.off",)), folder / "more"
        for number, file in enumerate(sorted(write_meshes(more, 5, ()).rglob("*.off"))):
            file.rename(file.with_name(f"more_{number}.off"))
        busy, quiet, stop = folder / "busy.zarr", folder / "quiet.zarr", folder / "stop"
        build_once.build(meshes, busy, "smoke")
        shutil.copytree(busy, quiet)
        processes = [forks.Process(target=read, args=(busy, quiet, seed, folder)) for seed in range(2)]
        processes.append(forks.Process(target=trained, args=(busy, folder / "run", stop)))
        for process in processes:
            process.start()
        while not all((folder / f"ready{seed}").exists() for seed in range(2)) or not any((folder / "run").glob("*")):
            assert all(process.exitcode is None for process in processes)
            time.sleep(0.1)
        try:
            change(busy, meshes, more)
        finally:
            stop.touch()
            for process in processes:
                process.join()
        trained(quiet, folder / "quiet run", None)
        losses = [[record["loss"] for record in log.records(folder / run)] for run in ("run", "quiet run")]
        said = [(folder / f"said{seed}").read_text() for seed in range(2)]
        held = all(text.isdecimal() for text in said) and losses[0] == losses[1] and not any(process.exitcode for process in processes)
        print(f"rounds of {BATCHES} batches of each reader: {', '.join(said)}; steps of the training: {len(losses[0])}")
        print("no batch and no loss differs" if held else f"NOT HELD: losses {losses}")
        sys.exit(not held)


if __name__ == "__main__":
    main()
