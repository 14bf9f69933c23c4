"""Tries to break caches, and counts how often it does: kills, damage, orphans, full disks, files cut short under a reader.

    make torture                                  # ten minutes
    python -m tests.torture.torture --minutes 60 --seed 3
    python -m tests.torture.torture --kinds "append killed,push killed" --tries 20

A try holds if no wrong byte stays unsaid: a killed build that is run again ends with the bytes of one that was not killed;
damage is named by `verify`, and `verify --repair` either brings back the same bytes or says what is left. Each try that
does not hold is printed with its seed. Tries of all kinds take turns until the time is over.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cache_schema import store, validate
from cache_schema.errors import UserError
from cache_schema.files import exclusive, held_token, leftovers
from cache_schema.products import markers
from cache_schema.spec import Record
from pipeline.repair import repair
from pipeline.work import Machine
from tests.boxes import contents, write_meshes
from tests.forks import FORKS
from tests.torture import build_once, change_once

CPU = Machine(workers=1, device="cpu")
Rng = np.random.Generator
Files = dict[str, bytes]
SAID, ADVICE = "said", "mended by following the advice"
"""Of damage that `verify --repair` could not mend: said to be left, or gone once what it advised was done."""


@dataclass
class Ground:
    """A complete cache to do things to, and how often it was killed and where."""

    meshes: Path
    built: Path
    recipe: str
    writes: int
    """Files that a build puts in their places."""
    files: Files = field(default_factory=dict)
    changed: dict[str, tuple[Files, int]] = field(default_factory=dict)
    """What the cache is after each command that changes it, and the number of files that the command puts in their places."""

    def copy(self, folder: Path) -> Path:
        shutil.copytree(self.built, folder / self.built.name)
        shutil.copy(f"{self.built}.journal", folder)
        return folder / self.built.name


def prepare(folder: Path, recipe: str) -> Ground:
    meshes, built = folder / "meshes", folder / f"{recipe}.zarr"
    if not meshes.exists():
        write_meshes(meshes, 8, ("slab/train/broken.off",))
    code, said = forked("count", 0, built.with_name("said"), build_once.build, meshes, built, recipe)
    assert code == 0, said
    return Ground(meshes, built, recipe, int(said), contents(built))


def forked(how: str, number: int, said: Path, act: Callable[..., None], *arguments: object) -> tuple[int, str]:
    """Act in a process that has imported everything; see `build_once.watched`. Returns its exit status, and the number of its writes or
    its error."""
    said.unlink(missing_ok=True)
    process = FORKS.Process(target=build_once.watched, args=(how, number, said, act, *arguments))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode, said.read_text().strip() if said.exists() else ""


# --------------------------------------------------------------------------------------------------- kills and full disks


def killed_build(ground: Ground, folder: Path, rng: Rng) -> str:
    """Kill a build at one of its writes, perhaps a second time, then let it finish. Returns what is wrong, if anything."""
    cache = folder / "k.zarr"
    for _ in range(int(rng.integers(1, 3))):
        number = int(rng.integers(1, ground.writes + 1))
        how = str(rng.choice(["before", "after"]))
        forked(how, number, folder / "said", build_once.build, ground.meshes, cache, ground.recipe)
    build_once.build(ground.meshes, cache, ground.recipe)
    return "" if contents(cache) == ground.files else f"killed at write {number}: other bytes"


def full_disk(ground: Ground, folder: Path, rng: Rng) -> str:
    """No file may grow beyond a limit: the message names a file, nothing half is left, and the build goes on afterwards."""
    cache = folder / "f.zarr"
    limit = int(rng.integers(100, max(map(len, ground.files.values()))))
    code, said = forked("full", limit, folder / "said", build_once.build, ground.meshes, cache, ground.recipe)
    if code == 0 or ".zarr" not in said.splitlines()[-1]:
        return f"limit {limit}: the last words name no file: {said.splitlines()[-1:]}"
    if any(leftovers(cache)):
        return f"limit {limit}: half a file is left"
    build_once.build(ground.meshes, cache, ground.recipe)
    return "" if contents(cache) == ground.files else f"limit {limit}: other bytes"


def orphan(ground: Ground, folder: Path, rng: Rng) -> str:
    """A task of a build that was killed writes while another build is at work, and after it."""
    path = ground.copy(folder)
    with exclusive(path):
        late = store.open_cache(path, token=held_token(path))
    record = late.record("points")
    shard = int(rng.integers(late.manifest.shards))
    wrong = {node.path: np.ones((len(late.manifest.rows(shard)), *node.shape[1:]), node.dtype) for node in late.arrays(record)}

    def refused() -> bool:
        try:
            late.write(record, shard, wrong)
        except UserError:
            return True
        return False

    with exclusive(path):
        during = refused()
    return "" if during and refused() and contents(path) == ground.files else "an orphan wrote"


def cut_while_mapped(ground: Ground, folder: Path, rng: Rng) -> str:
    """A shard is cut short while a process reads it: that process must end with the file's name."""
    path = ground.copy(folder)
    shard = int(rng.integers(2))
    file = path / f"points/xyz/c/{shard}/0/0/0"
    script = (
        "import sys, os, numpy as np\nfrom cache_schema import store\n"
        "rows = store.open_cache(sys.argv[1]).rows('points/xyz')\nat = np.arange(9)\nrows.gather(at, 0 * at)\n"
        "os.truncate(sys.argv[2], 0)\nrows.gather(at, 0 * at)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, path, file], capture_output=True, text=True, check=False)
    last = ended.stderr.strip().splitlines()[-1:] or [""]
    return "" if ended.returncode == 1 and str(file) in last[0] else f"exit {ended.returncode}: {last[0]}"


def killed_change(action: str) -> Callable[[Ground, Path, Rng], str]:
    """A command that changes a cache is killed at one of its writes, and run again: it ends with the bytes of one that was not killed."""

    def places(ground: Ground, folder: Path) -> tuple[Path, Path]:
        """Prepare the cache, and the other place that the command works with."""
        folder.mkdir()
        cache, other = ground.copy(folder), folder / "other.zarr"
        if action == "retry":
            other = Path(shutil.copytree(ground.meshes, folder / "meshes"))
        elif action == "append":
            other = write_meshes(folder / "more" / "more", 5, ())
            other = other.parent
        elif action == "push changes":  # the place has an earlier state
            change_once.give(cache, other)
            change_once.label(cache, other)
        return cache, other

    def run(cache: Path, other: Path, how: str, number: int) -> tuple[int, str]:
        return forked(how, number, cache.with_name("said"), change_once.ACTIONS[action], cache, other)

    def tried(ground: Ground, folder: Path, rng: Rng) -> str:
        if action not in ground.changed:
            code, said = run(*places(ground, folder / "right"), "count", 0)
            if code:
                return f"not killed, exit {code}: {said.splitlines()[-1:]}"
            ground.changed[action] = (contents(result(folder / "right", ground)), int(said))
        right, writes = ground.changed[action]
        cache, other = places(ground, folder / "killed")
        reader = store.open_cache(cache).rows("points/xyz")
        before = reader.gather(np.arange(2))
        number = int(rng.integers(1, writes + 1))
        code, _ = run(cache, other, str(rng.choice(["before", "after"])), number)
        if code != -signal.SIGKILL:
            return f"not killed at write {number} of {writes}, but exit {code}"
        if not np.array_equal(reader.gather(np.arange(2)), before):
            return f"killed at write {number}: a reader that opened the cache before reads something else"
        code, said = run(cache, other, "count", 0)
        if code:
            return f"killed at write {number}, again exit {code}: {said.splitlines()[-1:]}"
        made = result(folder / "killed", ground)
        left = [p.name for p in made.parent.iterdir() if p.name.startswith(f"{made.name}.") and not p.name.endswith(".journal")]
        found = [f"{problem.where}: {problem.message}" for problem in validate.problems(made)]
        now = contents(made)
        other_bytes = sorted(name for name in {*now, *right} if now.get(name) != right.get(name))
        return f"killed at write {number}: other bytes in {other_bytes[:5]}, {left} {found[:3]}" * bool(other_bytes or left or found)

    def result(folder: Path, ground: Ground) -> Path:
        return folder / ("other.zarr" if action in ("copy", "pull", "push", "push changes") else ground.built.name)

    return tried


# ------------------------------------------------------------------------------------------------------------- damage


def flip(path: Path, rng: Rng) -> list[str]:
    """One bit of one file. Returns the files of which one must be named, as every kind of damage does."""
    file = some_file(path, rng)
    data = bytearray(file.read_bytes())
    data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    file.write_bytes(data)
    return [named(path, file)]


def delete(path: Path, rng: Rng) -> list[str]:
    file = some_file(path, rng)
    file.unlink()
    return [named(path, file)]


def truncate(path: Path, rng: Rng) -> list[str]:
    file = some_file(path, rng)
    os.truncate(file, int(rng.integers(file.stat().st_size)))
    return [named(path, file)]


def lengthen(path: Path, rng: Rng) -> list[str]:
    file = some_file(path, rng)
    file.write_bytes(file.read_bytes() + b"\0" * int(rng.integers(1, 5000)))
    return [named(path, file)]


def swap(path: Path, rng: Rng) -> list[str]:
    """Two files of other bytes change places."""
    one = some_file(path, rng)
    others = [p for p in all_files(path) if p.read_bytes() != one.read_bytes() and p.parent.parent == one.parent.parent]
    if not others:
        return []
    other = others[int(rng.integers(len(others)))]
    exchange(one, other)
    return [named(path, one), named(path, other)]


def swap_with_markers(path: Path, rng: Rng) -> list[str]:
    """Two shards of a product change places, together with their completion markers."""
    cache = store.open_cache(path)
    records = [r for r in cache.products().values() if r.kind != "labels"]
    record: Record = records[int(rng.integers(len(records)))]
    one, other = rng.choice(cache.manifest.shards - 1, 2, replace=False).tolist()
    marker = markers(cache.manifest, record)
    if (path / marker.key(one)).read_bytes() == (path / marker.key(other)).read_bytes():
        return []
    for node in (marker, *cache.arrays(record)):
        exchange(path / node.key(one), path / node.key(other))
    return [marker.key(one), marker.key(other)]


def folder_instead(path: Path, rng: Rng) -> list[str]:
    """A folder where a file belongs, empty or not."""
    file = some_file(path, rng)
    file.unlink()
    file.mkdir()
    if rng.random() < 0.5:
        (file / "something").write_text("!")
    return [named(path, file)]


def link_instead(path: Path, rng: Rng) -> list[str]:
    """A symbolic link to the same file, or the same folder, outside the cache."""
    place = some_file(path, rng)
    if rng.random() < 0.5 and place.parent != path:
        place = place.parent
    target = path.parent / "elsewhere"
    shutil.move(place, target)
    place.symlink_to(target)
    return [named(path, place)]


def lose_array(path: Path, rng: Rng) -> list[str]:
    """A folder is gone, with all that was in it."""
    folders = [p for p in sorted(path.rglob("*")) if p.is_dir() and p.name != "c" and not p.name.isdecimal()]
    gone = folders[int(rng.integers(len(folders)))]
    shutil.rmtree(gone)
    return [f"{named(path, gone)}/"]


def stray(path: Path, rng: Rng) -> list[str]:
    """A file, an empty folder or a half file that nothing has use for."""
    base = some_file(path, rng).parent
    kind = rng.choice(["file", "folder", "half"])
    place = base / {"file": "notes.txt", "folder": "new folder", "half": ".0.1.2.tmp"}[str(kind)]
    place.mkdir() if kind == "folder" else place.write_text("!")
    return [named(path, place)]


DAMAGE: dict[str, Callable[[Path, Rng], list[str]]] = {
    "bit flipped": flip,
    "file deleted": delete,
    "file cut short": truncate,
    "file lengthened": lengthen,
    "files exchanged": swap,
    "shards exchanged": swap_with_markers,
    "folder for file": folder_instead,
    "symbolic link": link_instead,
    "folder deleted": lose_array,
    "stray": stray,
}


def all_files(path: Path) -> list[Path]:
    return [p for p in sorted(path.rglob("*")) if p.is_file()]


def some_file(path: Path, rng: Rng) -> Path:
    files = [p for p in all_files(path) if p.stat().st_size]
    return files[int(rng.integers(len(files)))]


def named(path: Path, file: Path) -> str:
    return file.relative_to(path).as_posix()


def exchange(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def damaged(ground: Ground, folder: Path, rng: Rng, kinds: list[Callable[[Path, Rng], list[str]]]) -> str:
    """Do damage, see that it is named, mend it, see that it is mended or said to be left.

    Returns:
        What is wrong, if anything; SAID if it could not be mended, and that is said.
    """
    path = ground.copy(folder)
    places = [place for damage in kinds for place in damage(path, rng)]
    if not places or (stray not in kinds and whole(ground, path)):  # two exchanges may undo each other
        return ""
    try:
        found = [problem.where for problem in validate.problems(path)]
    except UserError as error:
        return f"{places}: {error}" if str(path) not in str(error) else rebuilt(ground, path, places)
    if not any(where == place or where.startswith(f"{place.rstrip('/')}/") for where in found for place in places):
        return f"{places} is not named, but {found[:5]}"
    left = ""
    try:
        repair(path, "", CPU, build_once.Silent())
    except UserError as error:
        left = str(error)
    again = validate.problems(path)
    if whole(ground, path):
        return f"{places}: the same bytes, but {again} {left}" if left or any(p.kind != "stray" for p in again) else ""
    if not again:
        return f"{places}: other bytes, and nothing is said"
    return rebuilt(ground, path, places)


def rebuilt(ground: Ground, path: Path, places: list[str]) -> str:
    """Follow the advice for what could not be mended: delete the records that are damaged, and run the build again."""
    try:
        damaged_records = [p.product for p in validate.problems(path) if p.where == f"products/{p.product}/zarr.json"]
    except UserError:
        damaged_records = []
        if (path / "zarr.json").is_file():
            (path / "zarr.json").unlink()
    for product in damaged_records:
        shutil.rmtree(path / "products" / product, ignore_errors=True)
    try:
        build_once.build(ground.meshes, path, ground.recipe)
    except UserError:
        return SAID
    if whole(ground, path):
        return ADVICE
    return SAID if validate.problems(path) else f"{places}: after another build other bytes, and nothing is said"


def whole(ground: Ground, path: Path) -> bool:
    """Whether a cache holds the bytes it held, and nothing else but strays."""
    now = contents(path)
    return not any(p.is_symlink() for p in path.rglob("*")) and all(now.get(name) == data for name, data in ground.files.items())


# --------------------------------------------------------------------------------------------------------------- turns


@dataclass
class Count:
    tried: int = 0
    held: int = 0
    advised: int = 0
    """Held, and mended by following the advice."""
    said: int = 0
    """Held, but only named."""


def one_try(kind: str, ground: Ground, seed: int) -> str:
    """One try of a kind. Returns what is wrong, if anything; an exception that is no `UserError` is wrong as well."""
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            if kind in DAMAGE:
                return damaged(ground, folder, rng, [DAMAGE[kind]])
            if kind == "two kinds at once":
                return damaged(ground, folder, rng, [DAMAGE[str(k)] for k in rng.choice(list(DAMAGE)[:6], 2)])
            return OTHERS[kind](ground, folder, rng)
        except Exception as error:  # whatever it is, it is not the clear message that is asked for
            return f"{type(error).__name__}: {error}"


OTHERS: dict[str, Callable[[Ground, Path, Rng], str]] = {
    "build killed": killed_build,
    "disk full": full_disk,
    "orphaned task": orphan,
    "cut while mapped": cut_while_mapped,
    **{f"{action} killed": killed_change(action) for action in change_once.ACTIONS},
}
KINDS = (*DAMAGE, "two kinds at once", *OTHERS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--tries", type=int, default=1 << 60, help="at most so many of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(KINDS), help="what is tried, with commas; all by default: %(default)s")
    parser.add_argument("--recipes", default="points,smoke", help="what is built: points, smoke, or both with a comma")
    arguments = parser.parse_args()
    kinds = arguments.kinds.split(",")
    if unknown := set(kinds) - set(KINDS):
        parser.error(f"there are no kinds {', '.join(sorted(unknown))}")
    end = time.monotonic() + 60 * arguments.minutes
    counts = {kind: Count() for kind in kinds}
    with tempfile.TemporaryDirectory() as name:
        grounds = [prepare(Path(name), recipe) for recipe in arguments.recipes.split(",")]
        seed = arguments.seed * 1_000_000
        for turn in range(arguments.tries):
            for kind in kinds:
                if time.monotonic() > end:
                    break
                seed += 1
                ground = grounds[turn % len(grounds)]
                wrong = one_try(kind, ground, seed)
                counts[kind].tried += 1
                counts[kind].held += wrong in ("", SAID, ADVICE)
                counts[kind].advised += wrong == ADVICE
                counts[kind].said += wrong == SAID
                if wrong not in ("", SAID, ADVICE):
                    print(f"NOT HELD  {kind}, recipe {ground.recipe}, seed {seed}: {wrong}", flush=True)
            if time.monotonic() > end:
                break
    print(f"\n{'kind':20}{'tried':>8}{'held':>8}{'by advice':>12}{'only said':>12}")
    for kind, count in counts.items():
        print(f"{kind:20}{count.tried:8}{count.held:8}{count.advised:12}{count.said:12}")
    sys.exit(any(count.held < count.tried for count in counts.values()))


if __name__ == "__main__":
    main()
