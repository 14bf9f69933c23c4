"""The licences of a cache: those of its shapes and of the models that made its products, what they allow together, and setting one.

told(cache).together            # "it may be shared on conditions: name the authors (CC-BY-4.0)"
set_licence(path, "my-clip", "apache-2.0", terminal)
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cache_schema import licences, products, store
from cache_schema.errors import UserError
from cache_schema.spec import CaptionSpec, DenseSpec, Record, TeacherSpec, did_you_mean
from cache_schema.store import Cache
from pipeline.describe import NO_LICENCE, origin
from pipeline.opening import check_place
from pipeline.sources.catalog import shape_text
from pipeline.work import Terminal, held


@dataclass(frozen=True, kw_only=True)
class Told:
    """The licences of a cache."""

    shapes: Mapping[str, int]
    """Number of shapes by licence; `NO_LICENCE` for unknown."""
    products: Mapping[str, str]
    """Licence of the models that made a product, by product; empty for unknown."""
    together: str
    """What they allow together, in words."""

    @property
    def names(self) -> list[str]:
        """All names of licences, each once. An empty one stands for unknown."""
        shapes = ["" if name == NO_LICENCE else name for name, count in self.shapes.items() if count]
        return list(dict.fromkeys([*shapes, *self.products.values()]))


def told(cache: Cache) -> Told:
    """Tell the licences of the shapes and products of a cache, and what they allow together.

    Licences of models count for what they made, too. Without any licence of shapes all shapes are unknown.
    """
    shapes: dict[str, int] = origin(cache)["licences"] or {NO_LICENCE: cache.manifest.count}
    made = licences.of_products(cache.records())
    found = Told(shapes=shapes, products=made, together="")
    return dataclasses.replace(found, together=licences.in_words(found.names))


def set_licence(path: Path, name: str, licence: str, terminal: Terminal) -> list[str]:
    """Write the licence of a teacher or a captioner into the records of a cache. Nothing else changes.

    Args:
        path: the cache.
        name: name of the teacher or of the captions in the cache.
        licence: name of the licence; empty for unknown.
        terminal: gets a message if another command holds the cache.

    Returns:
        The products that it made.

    Raises:
        UserError: the cache has nothing of this name, or cannot be written.
    """
    licence = shape_text(licence.strip())
    opened = store.open_cache(path)  # no lock file beside what is no cache
    check_place(path)
    named = {one for record in opened.records().values() if (one := _model(record))}
    if name not in named:
        raise UserError(f"{path} has nothing of a teacher or captioner {name!r}{did_you_mean(name, named)}")
    with held(path, terminal):
        cache = store.open_cache(path)
        records = [record for record in cache.records().values() if _model(record) == name]
        for record in records:
            cache.rewrite_record(_licensed(record, licence))
    return [record.product for record in records]


def _model(record: Record) -> str:
    """Return the name of the teacher or captioner that made a product; empty for none."""
    if record.teacher is not None:
        return record.teacher.name
    return products.parts(record)["captions"] if isinstance(record.spec, CaptionSpec) else ""


def _licensed(record: Record, licence: str) -> Record:
    described = record.spec
    if isinstance(described, DenseSpec):
        return dataclasses.replace(
            record, spec=dataclasses.replace(described, teacher=dataclasses.replace(described.teacher, licence=licence))
        )
    assert isinstance(described, TeacherSpec | CaptionSpec)
    return dataclasses.replace(record, spec=dataclasses.replace(described, licence=licence))
