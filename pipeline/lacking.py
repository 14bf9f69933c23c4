"""The shapes that lack something in products that were brought from files, by their ids.

for name, ids in lacking_ids(cache).items(): ...         # {"captions/cap3d": ["00a1", ...]}
"""

from cache_schema.lacking import is_imported as is_imported
from cache_schema.lacking import lacking
from cache_schema.store import Cache


def lacking_ids(cache: Cache) -> dict[str, list[str]]:
    """By imported product: the ids of usable shapes that lack something in it."""
    found = {}
    for name, record in cache.records().items():
        if record.complete and record.lacking and is_imported(record):
            ids = cache.ids()
            found[name] = [ids[row] for _, rows in lacking(cache, record) for row in rows]
    return found
