"""Write what goes beside a published cache: a card for people and hubs, and a small table of shapes that a hub's viewer can show.

    text = readme(outgoing, records, "s3://lab/shapes.zarr", table_digest(outgoing, records))
    data = table(outgoing, records)                    # a Parquet file: id, class, split, caption, thumbnail

The card is Markdown with a metadata block (https://huggingface.co/docs/hub/datasets-cards). Words in it come from whoever made the cache,
so they are shown as letters and never as markup.
"""

import hashlib
import io
import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cache_schema import licences, products, spec
from cache_schema.cards import hub_licence, licences_of, plain
from cache_schema.errors import UserError
from cache_schema.layout import ShardFile, texts
from cache_schema.remote import TABLE
from cache_schema.spec import PointSpec, Record, ViewSpec
from cache_schema.store import Cache
from cache_schema.terminal import counted
from pipeline import pictures as drawing
from pipeline.describe import asked_in_words, describe, describe_source, human, product_bytes, status_counts
from pipeline.licensing import told
from pipeline.private import Outgoing
from pipeline.snapshot import Snapshot
from pipeline.timings import measured

THUMBNAIL: Final = 96
"""Largest height and width of a thumbnail in pixels."""
THUMBNAILS: Final = 10_000
"""Number of shapes that have a thumbnail in the table. The others have none, so that the table stays small."""
NAMES: Final = 60
"""Number of classes that the card lists."""
SIZES: Final = (("n<1K", 1e3), ("1K<n<10K", 1e4), ("10K<n<100K", 1e5), ("100K<n<1M", 1e6), ("1M<n<10M", 1e7), ("n>10M", math.inf))
"""Categories of size of a hub, each with the number of shapes that it ends at."""


def licence_holders(cache: Cache, names: Iterable[str], only: Collection[str] | None = None) -> dict[str, list[str]]:
    """Tell who is under which licence: for each name of a licence (empty for unknown), `N shapes` and names of products.

    Args:
        cache: the cache.
        names: the products that count.
        only: the licences whose shapes count; None for all.
    """
    found = told(cache)
    holders: dict[str, list[str]] = {}
    for name, count in found.shapes.items():
        if count and (only is None or name in only):
            holders.setdefault(name if name in cache.manifest.licences else "", []).append(counted(count, "shape"))
    for product in names:
        if product in found.products:
            holders.setdefault(found.products[product], []).append(product)
    return holders


# ---------------------------------------------------------------------------------------------------------------- card


def readme(outgoing: Outgoing, every: Mapping[str, Record], url: str, digest: str) -> bytes:
    """Write the card.

    Args:
        outgoing: the cache.
        every: records of all products at the place, by name.
        url: the place, as a reader names it.
        digest: `table_digest` of the table beside the card.
    """
    cache, m = outgoing.cache, outgoing.manifest
    name = url.rstrip("/").rpartition("/")[2]
    counts, holders = status_counts(cache), _holders(cache, every)
    head = [
        "---",
        f"pretty_name: {json.dumps(name)}",
        f"license: {hub_licence(holders)}",
        "tags: [3d, point-cloud, zarr, mmpd]",
        f"size_categories: [{json.dumps(next(size for size, end in SIZES if m.count < end))}]",
        f"configs: [{{config_name: shapes, data_files: {TABLE}}}]",
        "---",
        f"<!-- {TABLE} {digest} -->",
    ]
    failed = f" {counted(counts['failed'], 'more shape')} could not be read; the cache says why." if counts["failed"] else ""
    parts = [
        "\n".join(head),
        f"# {plain(name)}",
        f"A cache of {counted(counts['ok'], '3D shape')} for pre-training 3D encoders, made by mmpd: a Zarr v3 hierarchy that any Zarr "
        f"client reads. `{TABLE}` lists the shapes.{failed}",
        _loading(url, name, outgoing, every),
        "## What it holds\n\n" + _products(outgoing, every),
        "## How it was made\n\n" + _made(outgoing),
        "## Licences\n\n" + licences_of(holders),
    ]
    return ("\n\n".join(parts) + "\n").encode()


def _loading(url: str, name: str, outgoing: Outgoing, every: Mapping[str, Record]) -> str:
    record = next((record for product, record in every.items() if product not in products.FIXED), None)
    first = "id" if record is None else outgoing.cache.arrays(record)[0].path
    afar = "://" in url
    shown = url if afar else f"path/to/{name}"
    mirror = " --set data.mirror=mirror --set data.mirror_limit=50GiB" if afar else ""  # a cache in a folder is read where it is
    return (
        "## How to load it\n\n```python\nimport zarr\n"
        f'cache = zarr.open_group({json.dumps(shown)}, mode="r")\nusable = cache["status"][:] == 1\n'
        f"first = cache[{json.dumps(first)}][0]\n```\n\n"
        "Row i of every array but `labels`, `stats` and `products` is shape i. Rows whose `status` is not 1 hold no usable shape.\n\n"
        f"```bash\nmmpd-cache pull {shown} {name} --products 'points,image/*'\n"
        f"mmpd-train align {shown} runs/align{mirror}\n```"
    )


def _products(outgoing: Outgoing, every: Mapping[str, Record]) -> str:
    lines = ["| product | size | arrays | made by | fingerprint |", "|---|---|---|---|---|"]
    for name, record in every.items():
        arrays = ", ".join(f"`{node.path}` {'x'.join(map(str, node.shape))} {node.dtype}" for node in outgoing.cache.arrays(record))
        size = human(product_bytes(outgoing.cache, record)) if name in outgoing.records else ""
        by = "" if name in products.FIXED else plain(describe(record))
        lines.append(f"| `{name}` | {size} | {arrays} | {by} | `{record.fingerprint}` |")
    classes = ", ".join(plain(one) for one in outgoing.manifest.classes[:NAMES])
    more = len(outgoing.manifest.classes) - NAMES
    listed = f"\n\nClasses: {classes}{f' and {more} more' if more > 0 else ''}." if classes else ""
    splits = f" Splits: {', '.join(map(plain, outgoing.manifest.splits))}." if outgoing.manifest.splits else ""
    return "\n".join(lines) + listed + splits


def _made(outgoing: Outgoing) -> str:
    source = outgoing.manifest.source
    lines = [f"- Source: {plain(describe_source(part))}" for part in (source, *source.also)]
    for record in outgoing.records.values():
        if isinstance(record.spec, PointSpec | ViewSpec):
            lines.append(f"- `{record.product}`: {plain(describe(record))}")
    versions = {f"{name} {value}" for record in outgoing.records.values() for name, value in record.made_by if not name.endswith("_batch")}
    if versions:
        lines.append(f"- Software: {plain(', '.join(sorted(versions)))}")
    cost = measured(outgoing.cache)
    for stage in cost["stages"]:
        lines.append(f"- Measured: {plain(stage['name'])}, {stage['units']} {plain(stage['unit'])} in {stage['hours']:.3g} hours")
    lines += [f"- Asked for {plain(name)}: {plain(asked_in_words(numbers))}" for name, numbers in cost["asked"].items()]
    if cost["machines"]:
        lines.append(f"- Machines: {plain(outgoing.cleaner.cleaned(', '.join(cost['machines'])))}")
    if not cost["stages"]:
        lines.append("- Measured hours: not known, the journal of the build was not there")
    return "\n".join(lines)


def _holders(cache: Cache, every: Mapping[str, Record]) -> dict[str, list[str]]:
    """Tell who is under which licence at a place, where products may be that the cache does not have."""
    holders = licence_holders(cache, every)
    here = cache.records()
    for product, name in licences.of_products(every).items():
        if product not in here:
            holders.setdefault(name, []).append(product)
    return holders


# --------------------------------------------------------------------------------------------------------------- table


def table_digest(outgoing: Outgoing, shown: Collection[str]) -> str:
    """Return a digest of everything that the table of shapes depends on. It changes if the table does.

    Args:
        outgoing: the cache.
        shown: products that the table may show something of.
    """
    said = [THUMBNAIL, THUMBNAILS, *outgoing.manifest.classes, *outgoing.manifest.splits]
    here = outgoing.cache.products() | outgoing.records
    said += [f"{name} {here[name].content}" for name in shown if here[name].kind in _TABLE_KINDS]
    return hashlib.sha256(spec.canonical(said)).hexdigest()


_TABLE_KINDS: Final = frozenset(
    {products.INDEX.name, products.STATUS.name, products.VIEWS.name, products.POINTS.name, products.CAPTIONS.name}
)


def table(outgoing: Outgoing, shown: Collection[str]) -> bytes:
    """Write the table of usable shapes as a Parquet file: `id`, `class`, `split`, `caption` (the best one of the first captioner) and
    `thumbnail` (a PNG picture, in the form that hubs show: https://huggingface.co/docs/datasets/image_dataset).

    Args:
        outgoing: the cache.
        shown: products that the table may show something of.

    Raises:
        UserError: a file of the cache is damaged, or the package `pyarrow` is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UserError(f"push needs a package that is not installed ({error}): pip install 'mmpd[remote]'") from error
    words = ("id", "class", "split", "caption")
    features = {word: {"dtype": "string", "_type": "Value"} for word in words} | {"thumbnail": {"_type": "Image"}}
    fields = [*((word, pa.string()) for word in words), ("thumbnail", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))]
    schema = pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})
    out = io.BytesIO()
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        for rows in _shards(outgoing.cache, shown):
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    return out.getvalue()


def _shards(cache: Cache, shown: Collection[str]) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of the table, shard by shard."""
    m, snapshot = cache.manifest, Snapshot(cache)
    ok, label, split = snapshot.status == spec.OK, snapshot.label, snapshot.split
    drawn = 0
    captions = _best_captions(cache, shown)
    for shard in range(m.shards):
        rows = [row for row in m.rows(shard) if ok[row]]
        ids = texts(cache.shard_rows(cache.node("id"), shard))
        said = next(captions)
        pictures = _thumbnails(snapshot, shown, shard, rows[: max(THUMBNAILS - drawn, 0)])
        drawn += len(pictures)
        yield [
            {
                "id": str(ids[row - m.rows(shard).start]),
                "class": m.classes[label[row]] if label[row] >= 0 else None,
                "split": m.splits[split[row]] if split[row] >= 0 else None,
                "caption": said[row - m.rows(shard).start] or None,
                "thumbnail": pictures.get(row),
            }
            for row in rows
        ]


def _best_captions(cache: Cache, shown: Collection[str]) -> Iterator[list[str]]:
    """Yield the best caption of each shape, shard by shard; empty texts if there are no captions."""
    right = [record for record in cache.of(products.CAPTIONS) if not products.is_wrong(cache.records(), record)]
    found = [record for record in right if record.product in shown]
    if not found:
        for shard in range(cache.manifest.shards):
            yield [""] * len(cache.manifest.rows(shard))
        return
    text, score = (node.path for node in cache.arrays(found[0]))
    for (_, cells), (_, values) in zip(cache.column_shards(text), cache.column_shards(score), strict=True):
        best = np.nan_to_num(values.reshape(len(values), -1), nan=-np.inf).argmax(1)  # the first one if they were not ranked
        yield [str(one) for one in texts(cells.reshape(len(cells), -1, cells.shape[-1])[np.arange(len(cells)), best])]


def _thumbnails(snapshot: Snapshot, shown: Collection[str], shard: int, rows: list[int]) -> dict[int, dict[str, Any]]:
    """Draw small pictures of shapes of one shard, by row: the view nearest to a three-quarter one, or the points."""
    if not rows:
        return {}
    start = snapshot.manifest.rows(shard).start
    if products.VIEWS.name in shown and products.VIEWS.name in snapshot.records:
        node = snapshot.nodes["views/rgb"]
        file = ShardFile(snapshot.cache.file(node.key(shard)), node)
        pictures = {row: _view(file, row - start, snapshot.points_view) for row in rows}
    elif products.POINTS.name in shown and products.POINTS.name in snapshot.records:
        pictures = {row: drawing.points_picture(snapshot, row) for row in rows}
    else:
        return {}
    return {row: {"bytes": _png(picture), "path": None} for row, picture in pictures.items()}


def _view(file: ShardFile, row: int, view: int) -> Image.Image:
    pixels: NDArray[np.uint8] = file.entry(row, view)
    return Image.fromarray(pixels)


def _png(picture: Image.Image) -> bytes:
    picture = picture.convert("RGB")
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()
