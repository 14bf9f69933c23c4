"""The shared cache below an overlay: what the root of an overlay says about it, and whether it is still as it was.

An overlay is a folder with products of its own, which names the shared cache that all other products lie in. `cache_schema.store` reads
both as one `Cache`. Nothing is ever written into the shared cache.

A shared cache that grows keeps the shapes that it had. Its overlay is then used with these, until the overlay's own products are made
for the new shapes, too: `opened` gives the shared cache as it was, and `Below.brought` as it is.

    below = opened(Path("mine.zarr"), described, open_cache)
    below.holds("points/xyz/c/0/0/0/0")                # whether the shared cache has this file
    faults(described, below, {"guide/mine"})           # why products of the overlay do not fit the shared cache any more
"""

import dataclasses
import hashlib
import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from cache_schema import products, records, spec
from cache_schema.errors import UserError
from cache_schema.spec import Manifest, Record, label

VERSION: Final = 1
"""Version of the description in the root of an overlay."""
MARK: Final = "overlay"
"""Key that only the description of an overlay has, and the manifest of a cache has not."""


class Shared(Protocol):
    """What an overlay asks of its shared cache: a `cache_schema.store.Cache` that is no overlay."""

    path: Path
    manifest: Manifest

    def file(self, key: str) -> Path:
        """Return where a file of the cache lies."""

    def open_file(self, key: str) -> tuple[Path, int]:
        """Open a file of the cache for reading. Returns its path and descriptor, which the caller closes."""

    def read_records(self) -> tuple[dict[str, Record], dict[str, str]]:
        """Read the record of every product that was begun. Also returns what is wrong with records that cannot be read."""

    def lost(self) -> dict[str, str]:
        """Find products that have completion markers but no record."""

    def proven(self, product: str) -> Record:
        """Read the record of a complete product, and compare its completion markers with the digest in the record."""

    def content(self, record: Record) -> str:
        """Compute the digest of a product from its completion markers."""

    def at(self, manifest: Manifest) -> "Shared":
        """Return the cache as it was when it had another manifest, with fewer shapes."""


@dataclass(frozen=True, kw_only=True)
class MadeFrom:
    """What a product of an overlay was made from, as far as that lies in the shared cache."""

    product: str
    """Name of the overlay's product."""
    inputs: tuple[tuple[str, str], ...]
    """(name, `content`) of the products of the shared cache that it is made from, sorted by name."""


@dataclass(frozen=True, kw_only=True)
class Overlay:
    """The description in the root of an overlay. It takes the place of the manifest, which is that of the shared cache."""

    overlay: int = VERSION
    """Version of this description."""
    shared: str = label()
    """Path of the shared cache from the overlay, with `/` between the parts."""
    absolute: str = label()
    """Absolute path of the shared cache, for an overlay that was moved alone."""
    shapes: int
    """Number of rows of the shared cache, N, for messages."""
    rows: str
    """sha256 of what says which shape each row holds, and in which shard it lies; see `rows_digest`."""
    made_from: tuple[MadeFrom, ...] = ()
    """What each product of the overlay was made from, in the order of names."""

    def places(self, path: Path) -> list[Path]:
        """Where the shared cache of the overlay at `path` may be: the first place that has the same shapes counts."""
        return list(dict.fromkeys(Path(os.path.normpath(place)) for place in (path.resolve() / self.shared, Path("/", self.absolute))))

    def with_made_from(self, made: MadeFrom, there: Iterable[str]) -> "Overlay":
        """Return the description with one entry more. Entries of products that are not `there` any more are dropped."""
        kept = {other.product: other for other in self.made_from if other.product in set(there)} | {made.product: made}
        return dataclasses.replace(self, made_from=tuple(kept[name] for name in sorted(kept)))


def rows_digest(manifest: Manifest) -> str:
    """Return the sha256 of what says which shape each row of a cache holds. Names of classes, splits and licences are not part of it."""
    said = {
        "ids": [source.ids for source in (manifest.source, *manifest.source.also)],
        "shapes": manifest.shapes,
        "shard": manifest.shard,
        "segments": list(manifest.segments),
        "format_version": manifest.format_version,
    }
    return hashlib.sha256(spec.canonical(said)).hexdigest()


def then(now: Manifest, said: Overlay) -> Manifest | None:
    """Return the manifest of a shared cache when it had the shapes that its overlay knows; None if these are not its first shapes.

    Names of classes, splits and licences are those of now, because a cache that grows or is relabelled only gets more of them.
    """
    return next((manifest for manifest in (now, *spec.earlier(now)) if rows_digest(manifest) == said.rows), None)


def fits(path: Path, said: Overlay) -> bool:
    """Whether a plain cache that can be read is at a path, and has the shapes that an overlay knows, and perhaps more."""
    try:
        now = records.opened(Manifest, records.attributes_of(path / "zarr.json"), path / "zarr.json")
    except (UserError, OSError, KeyError, ValueError):
        return False
    return then(now, said) is not None


def is_overlay(attributes: Mapping[str, Any]) -> bool:
    """Whether the attributes of a root describe an overlay."""
    body = attributes.get(records.KEY)
    return isinstance(body, dict) and MARK in body


def described(path: Path) -> Overlay:
    """Read the description in the root of an overlay.

    Raises:
        UserError: it is damaged, or a newer version of this software wrote it.
    """
    node = path / "zarr.json"
    attributes = records.attributes_of(node)
    body = attributes.get(records.KEY)
    version = body.get(MARK) if isinstance(body, dict) else None
    if version != VERSION:
        raise UserError(
            f"{path} is an overlay of version {spec.short(version)}, this software reads {VERSION}; use a newer version of mmpd"
        )
    return records.opened(Overlay, attributes, node)


_NODE: Final = re.compile(r"(.*?)(?:/zarr\.json|/c/\d+(?:/\d+)*)")
"""The array or group that a file belongs to: the place of its `zarr.json`, or of a file of data."""


@dataclass(frozen=True)
class Below:
    """The shared cache of an overlay that is open.

    Products that are begun in the shared cache later are not seen: as long as an overlay is open, each product lies in one place.
    """

    cache: Shared
    products: frozenset[str]
    """Names of the products that were begun in the shared cache when the overlay was opened, finished or not."""
    now: Manifest
    """The manifest of the shared cache when the overlay was opened. If the overlay lacks its last shapes, `cache` has an earlier one."""
    later: frozenset[str] = frozenset()
    """Names of products that the shared cache has only since it had more shapes than `cache`. They are not seen."""
    index: Record | None = None
    """The record of the index for the shapes of `cache`, if the one on disk does not tell: shapes were relabelled after the growth."""
    since: int = 0
    """Number of rows for which the overlay's own products are made, if `brought` shows more; else 0."""

    @property
    def behind(self) -> bool:
        """Whether the shared cache has more shapes by now than are seen."""
        return self.now.shapes != self.cache.manifest.shapes

    def brought(self, own: bool) -> "Below":
        """Return the shared cache with all shapes that it has. The overlay's own products count as unfinished then.

        Args:
            own: whether the overlay has products about shapes.
        """
        if not self.behind:
            return self
        return Below(self.cache.at(self.now), self.products, self.now, since=self.cache.manifest.shapes if own else 0)

    def read_records(self) -> tuple[dict[str, Record], dict[str, str]]:
        """Read the records of the shared cache that are seen. Also returns what is wrong with records that cannot be read."""
        there, damaged = self.cache.read_records()
        seen = {name: record for name, record in there.items() if name not in self.later}
        if self.index is not None and self.index.product in seen:
            seen[self.index.product] = self.index
        return seen, damaged

    def holds(self, key: str) -> bool:
        """Whether a file belongs to a product of the shared cache, by its place, such as `products/points/zarr.json`."""
        found = _NODE.fullmatch(key)
        if found is None:
            return False
        node = found[1]
        if node.startswith("products/"):
            return node.removeprefix("products/") in self.products
        return products.owner(node.removeprefix("stats/"), self.cache.manifest.format_version) in self.products

    def catching_up(self, path: Path) -> str:
        """Say which command gives the products of the overlay at a path the shapes that they lack."""
        return f"`mmpd-cache retry {shlex.quote(str(path))}`, or the command that made what lies there, takes in the new shapes"

    def refusal(self, product: str) -> UserError:
        """Return the error of who would write to a product of the shared cache."""
        where = self.cache.path
        return UserError(
            f"{product} lies in the shared cache {where}, to which an overlay writes nothing. What belongs to {where} is made, finished, "
            f"tried again and mended there, with a command on {where} itself"
        )

    def not_here(self, path: Path, what: str) -> UserError:
        """Return the error of who asks an overlay for what is done with its shared cache.

        Args:
            path: the overlay.
            what: why, such as `its shapes are those of`.
        """
        where = self.cache.path
        return UserError(f"{path} is an overlay: {what} the shared cache {where}; run this command on {where}")

    def made_from(self, record: Record) -> MadeFrom:
        """Tell what of the shared cache a product of the overlay is made from.

        Raises:
            UserError: a product that it is made from is not finished in the shared cache.
        """
        version, (there, _) = self.cache.manifest.format_version, self.read_records()
        wanted = {products.STATUS.name} if products.of(record).origin in ("files", "cache", "guide") else set()
        names = sorted(({*products.needs(record, version)} | wanted) & self.products)
        for name in names:
            if name not in there or not there[name].complete:
                raise UserError(
                    f"{self.cache.path}: {name} is not finished, and {record.product} would be made from it. Finish it there first"
                )
        return MadeFrom(product=record.product, inputs=tuple((name, there[name].content) for name in names))

    def record(self, product: str) -> Record | None:
        """Read the record of a product of the shared cache; None if it is not seen. Raises a `UserError` if it is damaged."""
        if product in self.later:
            return None
        if self.index is not None and product == self.index.product:
            return self.index
        return records.Records(self.cache.path, self.cache.manifest).one(product)

    def begun_since(self, product: str) -> bool:
        """Whether a product was begun in the shared cache after the overlay was opened."""
        return product not in self.products and self.cache.file(f"products/{product}/zarr.json").exists()


def faults(said: Overlay, below: Below, own: Mapping[str, Record], path: Path) -> list[str]:
    """List why products of an overlay do not fit its shared cache any more.

    Args:
        said: the description of the overlay.
        below: the shared cache.
        own: records of the overlay's own products, by name.
        path: the overlay.
    """
    shared, known = below.cache.path, {made.product: made for made in said.made_from}
    there, damaged = below.cache.read_records()
    found = []
    for name, record in own.items():
        folder = path / "products" / name
        if name in below.products:
            same = name in there and there[name].content == record.content and record.complete
            what = "with the same bytes" if same else "and nobody can tell which of the two is meant"
            found.append(f"{name} is in {path} and by now in {shared} too, {what}: delete {folder} to use that of {shared}")
        elif name not in known:
            found.append(f"nothing says what {name} was made from: delete {folder} and run the command that made it again")
        else:
            for product, content in known[name].inputs:
                fault = _fault(product, content, there, damaged)
                if fault:
                    again = f"delete {folder} and run the command that made {name} again"
                    found.append(f"{name} was made from {product} of {shared}, which {fault}: {again}")
    return found


def _fault(product: str, content: str, there: Mapping[str, Record], damaged: Mapping[str, str]) -> str:
    """Say what happened to a product of the shared cache that another one was made from; empty if it is as it was."""
    if product not in there:
        return "is damaged" if product in damaged else "is not there any more"
    if not there[product].complete:
        return "is being made again now, or its making was stopped (wait until it is finished, or finish it there)"
    return "" if there[product].content == content else "has been made again since, with other values"


def opened(path: Path, said: Overlay, open_cache: Callable[[Path], Shared]) -> Below:
    """Open the shared cache of an overlay, with the shapes that the overlay knows.

    Args:
        path: the overlay.
        said: the description of the overlay.
        open_cache: `store.open_cache`.

    Raises:
        UserError: the shared cache is not where the overlay says, is an overlay itself, is damaged, or holds other shapes than it did.
    """
    problems: list[str] = []
    for place in said.places(path):
        cache = _open_place(place, problems, open_cache)
        if cache is None:
            continue
        found = over(said, cache)
        if found is not None:
            return found
        problems.append(other_rows(said, cache))
    if not problems:
        looked = " and ".join(map(str, said.places(path)))
        problems.append(
            f"it is not there (looked for {looked}). Put it back, or say where it is now: `mmpd-cache overlay SHARED.zarr {path}`"
        )
    raise UserError(f"{path} is an overlay, and its shared cache cannot be used: {'; '.join(problems)}")


def _open_place(place: Path, problems: list[str], open_cache: Callable[[Path], Shared]) -> Shared | None:
    """Open the cache at a place. Returns None if nothing is there, or adds what is wrong to `problems`."""
    try:
        if not (place / "zarr.json").exists():
            return None
        if is_overlay(records.attributes_of(place / "zarr.json")):
            problems.append(f"{place} is an overlay itself, and an overlay lies on a plain cache only; `mmpd-cache copy` makes one of it")
            return None
        return open_cache(place)
    except UserError as error:
        problems.append(str(error))
    except OSError as error:
        problems.append(f"{place} cannot be read ({error.strerror})")
    except ValueError:  # a path that no file system has
        problems.append(f"{spec.short(str(place))} is no path")
    return None


def over(said: Overlay, cache: Shared) -> Below | None:
    """Return a plain cache as an overlay sees it; None if it holds other shapes than the overlay was made on.

    Raises:
        UserError: the index of the cache is damaged.
    """
    manifest = then(cache.manifest, said)
    if manifest is None:
        return None
    there, damaged = cache.read_records()
    names = frozenset({*there, *damaged, *cache.lost()})
    if manifest == cache.manifest:
        return Below(cache, names, cache.manifest)
    rows, index = manifest.shapes, products.INDEX.name
    later = {name for name, record in there.items() if not products.of(record).labelled and rows not in dict(record.before)}
    shown = _index_of(cache, manifest) if index in later else None
    return Below(cache.at(manifest), names, cache.manifest, frozenset(later - {index}), shown)


def _index_of(cache: Shared, manifest: Manifest) -> Record:
    """Return the record of the index of a cache for the shapes that it had with an earlier manifest."""
    record = dataclasses.replace(cache.proven(products.INDEX.name), spec=manifest.source, complete=False, content="", before=())
    return dataclasses.replace(record, complete=True, content=cache.at(manifest).content(record))


def other_rows(said: Overlay, cache: Shared) -> str:
    """Say how the rows of a shared cache differ from those that its overlay was made on."""
    now = cache.manifest
    return (
        f"{cache.path} holds other shapes than the overlay was made on ({now.shapes} rows in shards of {now.shard}; then it were "
        f"{said.shapes}), or the same in another order. Put the cache of then back, or make the products again in another overlay "
        "(--overlay ANOTHER.zarr)"
    )
