"""Ways to change a cache, for processes that die meanwhile; see `tests.torture.torture`."""

from collections.abc import Callable
from pathlib import Path

from cache_schema import products, store
from cache_schema.copy import copy
from cache_schema.selection import Selection
from pipeline import publish
from pipeline.append import Wanted, append
from pipeline.edits import relabel, remove
from pipeline.retry import retry as try_again
from pipeline.work import Machine
from tests.boxes import Silent, box_off

CPU = Machine(workers=1, device="cpu")


def grow(cache: Path, other: Path) -> None:
    """Append the shapes of the folder `other`."""
    append(cache, str(other), Wanted(), CPU, Silent())


def retry(cache: Path, other: Path) -> None:
    """Mend the files of failed shapes in the folder `other`, which the cache was built from, and try them again."""
    for name in other.rglob("broken.off"):
        name.write_text(box_off((5, 1, 2)))
    try_again(cache, str(other), CPU, Silent())


def drop(cache: Path, other: Path) -> None:
    """Remove the points, and all that is made from them."""
    remove(cache, [products.POINTS.name], True, Silent())


def label(cache: Path, other: Path) -> None:
    """Give every second shape a new class and a new split."""
    table = cache.with_name("labels.csv")
    if not table.exists():
        table.write_text("id,class,split\n" + "".join(f"{name},new,val\n" for name in store.open_cache(cache).ids()[::2]))
    relabel(cache, table, Silent())


def part(cache: Path, other: Path) -> None:
    """Copy some shapes to where `other` is."""
    copy(cache, other, where=Selection.parse("split=train"))


def give(cache: Path, other: Path) -> None:
    """Push to where `other` is."""
    publish.push(cache, str(other), jobs=3, allow_unknown=True, terminal=Silent())


def fetch(cache: Path, other: Path) -> None:
    """Pull to where `other` is."""
    publish.pull(str(cache), other, jobs=3, terminal=Silent())


ACTIONS: dict[str, Callable[[Path, Path], None]] = {
    "append": grow,
    "retry": retry,
    "remove": drop,
    "relabel": label,
    "copy": part,
    "push": give,
    "push changes": give,
    "pull": fetch,
}
"""What is done, by name. Each is given the cache and another place."""
