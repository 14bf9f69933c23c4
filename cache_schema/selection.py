"""Select shapes of a cache by class, split and licence, as `--where split=train,class=chair|table` does, and products by name.

    selection = Selection.parse("split=train,class=chair|table")
    selection.rows(open_cache("shapes.zarr"))          # rows of the shapes that fit, in order

A shape fits if, for every column that is named, its value is among those given. Commas separate conditions, bars separate values. A column
may be named several times: its values add up. In a name, write a backslash before a comma, a bar, an
equals sign or a backslash.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cache_schema import products
from cache_schema.errors import UserError
from cache_schema.spec import Manifest, Record, did_you_mean, short
from cache_schema.store import Cache

COLUMNS: Final = {"class": "label", "split": "split", "licence": "licence"}
"""Arrays of the index by the word that names them in a selection."""
UNFINISHED: Final = "is not finished"
UNASKED: Final = "was not asked for"
"""Reasons why a product is not among those chosen."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which shapes of a cache are meant. Without values all are."""

    values: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """(word of `COLUMNS`, names that fit), each word once, in the order of `COLUMNS`, each with its names sorted."""

    @staticmethod
    def parse(text: str) -> "Selection":
        """Read a selection as a user writes it. An empty text selects all shapes.

        Raises:
            UserError: a condition is not of the form NAME=VALUE, or there is no such column.
        """
        found: dict[str, set[str]] = {}
        for part in _split(text, ",") if text.strip() else []:
            word, *rest = _split(part, "=")
            word, given = _plain(word), [_plain(value) for value in _split("=".join(rest), "|")]
            if len(rest) != 1 or not word or not all(given):
                raise UserError(f"{short(text)}: expected conditions such as split=train,class=chair|table, got {short(part)}")
            if word not in COLUMNS:
                raise UserError(
                    f"{short(text)}: shapes are selected by {', '.join(COLUMNS)}, got {short(word)}{did_you_mean(word, COLUMNS)}"
                )
            found.setdefault(word, set()).update(given)
        return Selection(values=tuple((word, tuple(sorted(found[word]))) for word in COLUMNS if word in found))

    @property
    def text(self) -> str:
        """The selection as `parse` reads it."""
        return ",".join(f"{word}={'|'.join(map(_escaped, names))}" for word, names in self.values)

    def check(self, manifest: Manifest) -> None:
        """Refuse names that a cache does not have.

        Raises:
            UserError: a name is unknown. The message has the nearest one.
        """
        known = names_of(manifest)
        for word, names in self.values:
            for name in names:
                if name not in known[word]:
                    raise UserError(f"the cache has no {word} {short(name)}{did_you_mean(name, known[word]) or '; there is none'}")

    def rows(self, cache: Cache) -> NDArray[np.int64]:
        """Return the rows that fit, in order. Rows between two segments, which hold no shape, never do; shapes that failed may. [n]

        Raises:
            UserError: the cache does not know a name, no shape fits, or its index is damaged.
        """
        self.check(cache.manifest)
        cache.proven(products.INDEX.name)
        known = names_of(cache.manifest)
        fits = held(cache.manifest)
        for word, names in self.values:
            fits &= np.isin(cache.column(COLUMNS[word]), [known[word].index(name) for name in names])
        if not fits.any():
            raise UserError(f"{cache.path}: no shape fits {self.text}")
        return np.flatnonzero(fits)


ALL: Final = Selection()
"""Selects all shapes."""


def chosen_products(original: Cache, names: Sequence[str]) -> dict[str, Record]:
    """Return the finished products of a cache that are meant, by name.

    Raises:
        UserError: a name is unknown, or its product is not finished.
    """
    there = original.products()
    if not names:
        return there
    for name in names:
        if name not in there:
            original.record(name)  # raises: unknown, or unfinished
    return {name: record for name, record in there.items() if name in names or name in products.FIXED}


def left_out(original: Cache, names: Sequence[str], chosen: Collection[str]) -> dict[str, str]:
    """Return why products of a cache are not copied, by name. Unfinished ones that nobody asked for were not asked for.

    Args:
        original: the cache.
        names: what was asked for; empty for all.
        chosen: names of the products that are copied (`chosen_products`).
    """
    there = original.products()
    wanted = [name for name in original.records() if not names or name in products.FIXED]
    return {
        name: UNFINISHED if name in wanted and name not in there else UNASKED
        for name in sorted(original.records())
        if name not in chosen and name != products.INDEX.name
    }


def held(manifest: Manifest) -> NDArray[np.bool_]:
    """Tell which rows of a cache hold a shape: all but those between two segments. [N]"""
    out = np.zeros(manifest.shapes, bool)
    for shard in range(manifest.shards):
        rows = manifest.rows(shard)
        out[rows.start : rows.stop] = True
    return out


def names_of(manifest: Manifest) -> Mapping[str, tuple[str, ...]]:
    """Names of a cache, by the word that names their column."""
    return {"class": manifest.classes, "split": manifest.splits, "licence": manifest.licences}


def _split(text: str, mark: str) -> list[str]:
    """Cut a text at a mark, but not where a backslash comes before it. Backslashes stay."""
    parts = [""]
    for piece in re.findall(r"\\.|[^\\]|\\$", text, re.DOTALL):
        if piece == mark:
            parts.append("")
        else:
            parts[-1] += piece
    return parts


def _plain(text: str) -> str:
    """Remove the spaces around a name, and the backslashes in it."""
    return re.sub(r"\\(.)", r"\1", text.strip(), flags=re.DOTALL)


def _escaped(name: str) -> str:
    return re.sub(r"([\\,|=])", r"\\\1", name)
