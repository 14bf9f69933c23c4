"""The commands that carry a cache elsewhere: copy, push, pull. `pipeline.cli` registers them."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from cache_schema.selection import UNASKED
from cache_schema.terminal import counted
from pipeline.cli_make import print_outcome
from pipeline.cli_options import CachePath, Jobs, Json, names_in
from pipeline.terminal import print_json, progress, say


def copy(
    cache: CachePath,
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Where to put the copy: a new path, or a copy that was stopped.")],
    products_: Annotated[
        str, typer.Option("--products", metavar="A,B", help="Copy only these products. Default: all that are finished.", show_default=False)
    ] = "",
    where: Annotated[
        str, typer.Option(metavar="split=train,class=A|B", help="Copy only the shapes that fit: class, split, licence.", show_default=False)
    ] = "",
    also: Annotated[
        list[Path] | None,
        typer.Option("--also", metavar="OTHER.zarr", help="Copy the shapes of this cache, too. Repeatable.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Copy a cache, a part of it, or several caches as one. Nothing is computed again. The copy has the newest format.

    Every shape keeps its bytes; each file is compared with its checksum as it is read. Without options all files are copied as they are,
    which converts an older cache. Caches are only brought together if their products were made in the same way, and if no two shapes have
    the same id; classes and splits are matched by name. After a stop, run the same command again: it continues.

    \b
    mmpd-cache copy old.zarr new.zarr
    mmpd-cache copy all.zarr chairs.zarr --where 'split=train,class=chair|stool' --products points,image/clip-vit-b32
    mmpd-cache copy one.zarr both.zarr --also two.zarr
    """
    from cache_schema.copy import copy as copy_cache
    from cache_schema.selection import Selection

    with progress() as terminal:
        made = copy_cache(
            cache,
            new,
            names=names_in(products_),
            where=Selection.parse(where),
            also=also or (),
            wait=lambda: terminal.say(f"another command is at work on {new}; waiting for it"),
            begin=lambda totals: terminal.begin(dict(totals)),
            advance=terminal.advance,
        )
    for name, reason in made.left_out.items():
        if not products_ or reason != UNASKED:
            say(f"{name} {reason} and was left out.")
    m = made.cache.manifest
    say(f"{new} has {counted(m.count, 'shape')} and {counted(len(made.cache.products()), 'finished product')}, format {m.format_version}.")
    if as_json:
        print_outcome(new, made.cache, {"copied": m.count, "left_out": dict(made.left_out)})


def push(
    cache: CachePath,
    url: Annotated[str, typer.Argument(metavar="URL", help="A folder, s3://BUCKET/NAME, gs://BUCKET/NAME or hf://datasets/USER/NAME.")],
    products_: Annotated[
        str, typer.Option("--products", metavar="NAMES", help="Which products, e.g. points,image/*. Default: all.", show_default=False)
    ] = "",
    only_licence: Annotated[
        str,
        typer.Option(
            "--only-licence",
            metavar="NAMES",
            help="Push only shapes under these licences, e.g. cc-by,mit. Shapes without a known licence stay here.",
            show_default=False,
        ),
    ] = "",
    jobs: Jobs = 8,
    allow_unknown: Annotated[
        bool, typer.Option("--allow-unknown", help="Push although the licence of some shapes or models is not known.")
    ] = False,
    public: Annotated[
        bool, typer.Option("--public", help="Let everybody see a data set that is made on the hub. Default: a private one.")
    ] = False,
    staging: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where the copy of the shapes that go out lies meanwhile, with --only-licence. Default: beside the cache.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Give a cache away: write its complete products to another place, with a card (README.md) and a table of shapes (shapes.parquet).

    Only files that differ there move. After a stop, run the same command again: it goes on. A half-pushed cache is never taken for a
    complete one. Places on this machine and names of its user do not go out. A licence that forbids to share is obeyed: leave out shapes by
    --only-licence and products by --products. Credentials come from the environment or from the files of each library, and are never
    stored. Needs pip install 'mmpd[remote]'.

    \b
    mmpd-cache push out.zarr /shared/out.zarr
    mmpd-cache push out.zarr s3://lab/out.zarr
    mmpd-cache push out.zarr hf://datasets/me/shapes
    mmpd-cache push out.zarr s3://lab/free.zarr --only-licence cc-by,cc0,mit --products 'points,image/*'
    """
    from pipeline.publish import push as push_cache

    with progress() as terminal:
        moved = push_cache(
            cache,
            url,
            patterns=names_in(products_),
            only_licence=names_in(only_licence),
            jobs=jobs,
            allow_unknown=allow_unknown,
            staging=staging,
            public=public,
            terminal=terminal,
        )
    if as_json:
        print_json(dataclasses.asdict(moved))
    what = "all complete products" if not (products_ or only_licence) else "what was chosen"
    say(f"{url} has {what} of {cache}: {moved}.")


def pull(
    url: Annotated[str, typer.Argument(metavar="URL", help="A folder, s3://, gs://, https:// or hf://datasets/USER/NAME.")],
    cache: Annotated[Path, typer.Argument(metavar="CACHE", help="Where to put it: a new path, or one that was pulled from there before.")],
    products_: Annotated[
        str, typer.Option("--products", metavar="NAMES", help="Which products, e.g. points,image/*. Default: all.", show_default=False)
    ] = "",
    where: Annotated[
        str, typer.Option(metavar="split=train,class=A|B", help="Keep only the shapes that fit: class, split, licence.", show_default=False)
    ] = "",
    jobs: Jobs = 8,
    as_json: Json = False,
) -> None:
    """Fetch a cache, or a part of it. Every file is checked against its completion marker before it is kept.

    Only files that differ here move. After a stop, run the same command again: it goes on. Index and status always come along. If the cache
    there has grown or changed since, what is finished here changes with it as a whole, once everything has come.

    With --where, the index is fetched, and of each product the shards that hold a shape that fits. A shard is one file, so it moves as a
    whole, also for one shape. Shards lie in .CACHE.pulling beside the cache until their shapes are copied into it.

    \b
    mmpd-cache pull s3://lab/out.zarr mine.zarr
    mmpd-cache pull hf://datasets/lab/shapes mine.zarr --products 'points,captions/*,text/*/clip-vit-b32,image/clip-vit-b32'
    mmpd-cache pull https://lab.org/out.zarr mine.zarr --products points
    mmpd-cache pull s3://lab/out.zarr chairs.zarr --where 'split=train,class=chair|stool'
    """
    from cache_schema.selection import Selection
    from pipeline.publish import pull as pull_cache

    with progress() as terminal:
        moved = pull_cache(url, cache, patterns=names_in(products_), where=Selection.parse(where), jobs=jobs, terminal=terminal)
    if as_json:
        print_json(dataclasses.asdict(moved))
    say(f"{cache} is complete: {moved}.")
