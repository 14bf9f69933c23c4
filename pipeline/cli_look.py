"""The commands that look at a cache, or at what other commands take; and `query`, for a search. `pipeline.cli` registers them."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

import typer
from rich.table import Table

from cache_schema import products, spec, store, validate
from cache_schema.errors import UserError
from cache_schema.files import is_held
from cache_schema.lacking import lacking_ids, textless
from cache_schema.overlay import told_behind
from cache_schema.products import markers
from cache_schema.terminal import counted, some
from pipeline.cli_options import CachePath, Device, Json, Moved
from pipeline.describe import (
    asked_in_words,
    chosen_views,
    describe,
    failures_and_remarks,
    human,
    origin,
    product_bytes,
    starter_warning,
    status_counts,
)
from pipeline.readings import in_words, remedy
from pipeline.records import only_with
from pipeline.terminal import cell, out, print_json, progress, say, show

if TYPE_CHECKING:
    from pipeline.findings import Scarce


T = TypeVar("T")
TEXTLESS: Final = "no shape has a text in it, so it teaches nothing; `mmpd-cache remove` removes it"
"""What `status` and `info` say of captions without any text."""
LISTED: Final = 20
"""Number of shapes with a remark that `status` lists."""
FAILED_LISTED: Final = 1000
"""Most failed shapes that `status` lists; a million shapes may have tens of thousands."""


def status(cache: CachePath, as_json: Json = False) -> None:
    """Show which shapes are ok, which failed and why, and which products are complete."""
    from pipeline.journal import asked

    opened = store.open_cache(cache)
    records = opened.records()
    status = records.get(products.STATUS.name)
    done = status is not None and not opened.missing(status)
    questions = asked(opened)
    failed, noted = failures_and_remarks(opened) if done else ([], [])
    repeated = int(opened.repeated().sum()) if done else 0
    scarce, why = scarce_of(opened) if repeated else (None, "")
    counts = status_counts(opened)
    lacking, unlisted = seen_or_why(lambda: lacking_ids(opened), dict[str, list[str]]()) if done else ({}, "")
    empty, unseen = seen_or_why(lambda: textless(opened), list[str]()) if done else ([], "")
    chosen = chosen_views(records)
    states = {}
    for name, record in records.items():
        # To look for every file of a complete product takes a while, and the table does not show the number.
        missing = len(opened.missing(record)) if as_json or not record.complete else 0
        states[name] = {"complete": record.complete, "shards": markers(opened.manifest, record).shape[0], "missing": missing}
    if as_json:
        body = {**origin(opened), "shapes": counts, "remarked": len(noted), "repeated": repeated}
        body |= {"failed": [{"id": i, "reason": r} for i, r in failed], "remarks": [{"id": i, "remark": r} for i, r in noted]}
        body |= {"chosen_views": chosen} if chosen else {}
        body |= {"scarce": dataclasses.asdict(scarce)} if scarce else {}
        body |= {"uncounted": why} if why else {}
        body |= {"unseen": unlisted or unseen} if unlisted or unseen else {}
        print_json(body | {"lacking": lacking, "textless": empty, "asked": questions, "products": states})
        return
    show(", ".join(f"{count} {name}" for name, count in counts.items()))
    show_origin(opened)
    if noted:
        show(f"{len(noted)} of the ok shapes {'has' if len(noted) == 1 else 'have'} a remark; see below")
    if repeated:
        have = "has" if repeated == 1 else "have"
        show(f"{repeated} of the ok shapes {have} fewer points in the file than a block holds: points are repeated in their blocks")
    if scarce:
        show(f"    {scarce.told}")
    if why:
        show(f"    {why}")
    if unlisted or unseen:
        show(f"what shapes lack is not known: {unlisted or unseen}")
    if chosen:
        show(f"views: {chosen}")
    for name in empty:
        show(f"{name}: {TEXTLESS}")
    for name, ids in lacking.items():
        if name in empty:
            continue
        show(f"{len(ids)} of the ok shapes lack something in {name}: {some(ids, LISTED)}")
    table = Table("product", "state", box=None)
    for name, product in states.items():
        made = product["shards"] - product["missing"]
        state = "complete" if product["complete"] else f"{made} of {counted(product['shards'], 'shard')}"
        table.add_row(cell(name), state + ", without any text" * (name in empty))
    out.print(table)
    for name, numbers in questions.items():
        show(f"{name}: {asked_in_words(numbers)}")
    for name, message in opened.lost().items():
        show(f"products/{name}/zarr.json {message}")
    for shape, reason in failed[:FAILED_LISTED]:
        show(f"failed  {shape}: {reason}")
    if len(failed) > FAILED_LISTED:
        show(f"and {len(failed) - FAILED_LISTED} more that failed; --json lists all")
    for shape, remark in noted[:LISTED]:
        show(f"remark  {shape}: {remark}")
    if len(noted) > LISTED:
        show(f"and {len(noted) - LISTED} more with a remark; --json lists all")
    if failed:
        show(f"After you repair their files: mmpd-cache retry {cache}{only_with(opened.records().values())}")


def seen_or_why(look: Callable[[], T], nothing: T) -> tuple[T, str]:
    """Return what `look` returns. If a file is damaged or gone: `nothing`, and why in words, because it is then that one looks at the
    rest."""
    try:
        return look(), ""
    except (OSError, ValueError) as error:
        return nothing, str(error)


def scarce_of(cache: store.Cache) -> "tuple[Scarce | None, str]":
    """Tell how many points the shapes have that have fewer than a block; None if there are none, or the points are not finished or cannot
    be read. If they cannot be read, also tell why."""
    from pipeline.findings import counted_or_why, scarce

    points = cache.records().get(products.POINTS.name)
    if points is None or not points.complete:
        return None, ""
    return counted_or_why(lambda: scarce(cache, cache.ok(), cache.rows("points/xyz", "off")))


def verify(
    cache: CachePath,
    repair: Annotated[bool, typer.Option("--repair", help="Make damaged shards again.")] = False,
    source: Moved = "",
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Check every byte of every file. List the damaged files, and exit with 1 if there are any."""
    with progress() as terminal:
        found = validate.problems(cache, lambda done, total: terminal.at("verify", done, total))
    if repair and found:
        from pipeline.repair import repair as mend
        from pipeline.work import Machine

        with progress() as terminal:
            done = mend(cache, source, Machine(device=device), terminal)
        for line in done:
            say(line)
        found = validate.problems(cache)
    if as_json:
        print_json({"problems": [spec.to_json(problem) for problem in found]})
    else:
        for problem in found:
            show(f"{os.path.join(problem.shared, problem.where)}: {problem.kind}: {problem.message}")
        show(f"{len(found)} problem{'s' * (len(found) != 1)}" if found else "everything is as it was written")
    if found:
        raise typer.Exit(1)


def info(cache: CachePath, as_json: Json = False) -> None:
    """Show what is in a cache and what made it: products, teachers, weights, cameras, seeds, versions, sizes."""
    from pipeline.licensing import told
    from pipeline.timings import measured

    opened = store.open_cache(cache)
    records = opened.records()
    sizes = {name: product_bytes(opened, record) for name, record in records.items()}
    status = records.get(products.STATUS.name)
    scarce, why = scarce_of(opened) if status is not None and status.complete else (None, "")
    empty, unseen = seen_or_why(lambda: textless(opened), list[str]())
    if as_json:
        body = {name: {**spec.to_json(record), "fingerprint": record.fingerprint, "bytes": sizes[name]} for name, record in records.items()}
        more: dict[str, Any] = {"licence": dataclasses.asdict(told(opened)), "costs": measured(opened)}
        if scarce is not None:
            more["scarce"] = dataclasses.asdict(scarce)
        if why:
            more["uncounted"] = why
        more["textless"] = empty
        if unseen:
            more["unseen"] = unseen
        print_json({"path": str(cache), **origin(opened), **more, "manifest": spec.to_json(opened.manifest), "products": body})
        return
    m = opened.manifest
    show(
        f"{cache}: {counted(m.count, 'shape')} from {m.source.kind} in {counted(m.shards, 'shard')} of {m.shard}; "
        f"{counted(len(m.classes), 'class')}; "
        f"format {m.format_version}{'; `mmpd-cache copy` converts it' if m.format_version < spec.FORMAT_VERSION else ''}"
    )
    show_origin(opened)
    for name, record in records.items():
        show(f"{name}  {human(sizes[name])}  {record.fingerprint}{'' if record.complete else '  unfinished'}")
        if made_of := describe(record):
            show(f"    {made_of}")
        if name in empty:
            show(f"    {TEXTLESS}")
        for node in opened.arrays(record):
            show(f"    {node.path} {list(node.shape)} {node.dtype}")
        if name == products.POINTS.name and (readers := origin(opened).get("readers")):
            show(f"    readings of the files: {told_readers(readers)}")
        if name == products.POINTS.name and scarce is not None:
            show(f"    {counted(scarce.shapes, 'shape')} with fewer points than a block: {scarce.told}")
        if name == products.POINTS.name and why:
            show(f"    {why}")
    if unseen:
        show(f"whether captions have texts is not known: {unseen}")
    show_licences(opened)
    show_costs(opened)


def show_licences(cache: store.Cache) -> None:
    """Show the licences of the models that made products, and what all licences of the cache allow together."""
    from pipeline.licensing import told

    found = told(cache)
    by_licence: dict[str, list[str]] = {}
    for product, name in found.products.items():
        by_licence.setdefault(name or "(none)", []).append(product)
    for name, made in by_licence.items():
        show(f"licence of the models of {', '.join(made)}: {name}")
    show(f"sharing this cache: {found.together}")


def show_costs(cache: store.Cache) -> None:
    """Show what the products cost, where the journal beside the cache says so."""
    from pipeline.timings import measured

    found = measured(cache)
    for name, numbers in found["asked"].items():
        show(f"asked for {name}: {asked_in_words(numbers)}")
    if not found["stages"]:
        return
    show(f"measured on {', '.join(found['machines']) or 'a machine that the journal does not name'}:")
    table = Table("step", "hours", "units", "seconds per 1000", box=None)
    for stage in found["stages"]:
        per = f"{stage['seconds'] / stage['units'] * 1000:.3g}" if stage["units"] else ""
        table.add_row(cell(stage["name"]), f"{stage['hours']:.3g}", cell(f"{stage['units']} {stage['unit']}"), per)
    out.print(table)


def show_origin(cache: store.Cache) -> None:
    """Show how many shapes have which licence, how the cache has grown and what it is an overlay of, where that is so."""
    told = origin(cache)
    if told["licences"]:
        show("licences: " + ", ".join(f"{count} {name}" for name, count in told["licences"].items()))
    if "segments" in told:
        show("segments: " + ", ".join(counted(count, "shape") for count in told["segments"]))
    if "shared" in told:
        show(f"overlay of {told['shared']}; of its own it has: {', '.join(told['own']) or 'nothing yet'}")
    if "behind" in told:
        show(told_behind(cache))
    if "ahead" in told:
        at_work = "a command is at work on them" if is_held(cache.path) else "a pull or an append was stopped; run it again"
        show(f"files of {counted(told['ahead'], 'shard')} of new shapes are there, which are not part of the cache yet: {at_work}")
    if "sources" in told:
        show("sources: " + "; ".join(told["sources"]))
    if "read_otherwise" in told:
        show(f"some files are read otherwise by now: {told_otherwise(cache, told)}")
    if "relabelled" in told:
        show(f"relabelled: {', '.join(told['relabelled'])} of some shapes is not what the source says")


def told_otherwise(cache: store.Cache, told: Mapping[str, Any]) -> str:
    """Say of which files the reading has changed since, and what to do. `told`: see `pipeline.describe.origin`."""
    return f"{in_words({name: ' and '.join(told['readers'][name]) for name in told['read_otherwise']})}. {remedy(cache)}"


def told_readers(readers: Mapping[str, list[str]]) -> str:
    """Write how the files of a cache were read, such as `.npz 1, .obj 2`."""
    known = [f"{name} {' and '.join(numbers)}" for name, numbers in sorted(readers.items()) if name]
    return ", ".join([*known, *(["others not known" if known else "not known"] if "" in readers else [])])


def query(
    teacher: Annotated[
        str, typer.Argument(metavar="TEACHER", help="Its name in the cache, a name from `mmpd-cache teachers`, or NAME=BACKEND:MODEL.")
    ],
    file: Annotated[Path, typer.Argument(metavar="OUT.safetensors", help="The file to write.")],
    text: Annotated[str, typer.Option(help="The text to embed, as it is.", show_default=False)] = "",
    image: Annotated[Path | None, typer.Option(metavar="PICTURE", help="The picture to embed.", show_default=False)] = None,
    cache: Annotated[
        Path | None, typer.Option(metavar="CACHE", help="A cache that was made with this teacher.", show_default=False)
    ] = None,
    same: Annotated[str, typer.Option(metavar="FINGERPRINT", help="Refuse a teacher with another fingerprint.", show_default=False)] = "",
    device: Device = "auto",
) -> None:
    """Embed one text or one picture with a teacher. `mmpd-train search` calls this and looks for the shapes that are near.

    \b
    mmpd-cache query starter-resnet chair.safetensors --text "a wooden chair"
    mmpd-cache query clip-vit-b32 photo.safetensors --image photo.jpg
    """
    from cache_schema.query_files import write
    from pipeline.executors.catalog import devices
    from pipeline.query import embed, load
    from pipeline.work import Machine

    if bool(text) == (image is not None):
        raise UserError("a query is a text or a picture: give one of --text and --image")
    said, embedding = embed(load(teacher, same, cache, devices(Machine(device=device))[0]), text=text, picture=image)
    if cache is not None:
        manifest = store.open_cache(cache).manifest
        if warning := starter_warning([said.teacher.model], manifest.source, manifest.classes):
            said = dataclasses.replace(said, notes=(*said.notes, warning))
    write(file, said, embedding)
    for line in said.notes:
        say(f"Note: {line}")


def report(
    cache: CachePath,
    page: Annotated[Path | None, typer.Argument(metavar="[PAGE.html]", help="The page to write.", show_default=False)] = None,
    shapes: Annotated[int, typer.Option(help="Number of shapes to show.")] = 48,
    method: Annotated[str, typer.Option("--map", help="How the map of embeddings is made: pca or umap.")] = "pca",
    as_json: Json = False,
) -> None:
    """Write an HTML page about a cache: its shapes with views, captions and points that can be turned, a map of embeddings, nearest
    neighbours, accuracy of the teachers, duplicates, failures, licences, sizes, timings.

    The page is one file that needs no other. --json prints the numbers that it computes; without PAGE, no page is written.
    """
    from pipeline import findings
    from pipeline.report import write
    from pipeline.snapshot import Snapshot
    from pipeline.sources.options import choice

    chosen: Literal["pca", "umap"] = choice("map", method, ("pca", "umap"))
    opened = store.open_cache(cache)
    if page is None and not as_json:
        raise UserError(f"give the name of the page to write, such as {cache.name.removesuffix('.zarr')}.html, or --json")
    if page is not None:
        write(opened, page, shapes, chosen)
        if not as_json:
            say(f"wrote {page}")
    if as_json:
        print_json(dataclasses.asdict(findings.findings(Snapshot(opened))))


def recipes(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Show one recipe in full.", show_default=False)] = "", as_json: Json = False
) -> None:
    """List the recipes of `build`, or show every setting of one."""
    from pipeline.recipes import RECIPES, configured

    if name:
        print_json(spec.to_json(configured(name, [])))
    elif as_json:
        print_json({key: spec.to_json(recipe()) for key, recipe in RECIPES.items()})
    else:
        table = Table("recipe", "what", box=None)
        for key, recipe in RECIPES.items():
            table.add_row(cell(key), cell((recipe.__doc__ or "").strip()))
        out.print(table)


def teachers(as_json: Json = False) -> None:
    """List the teachers known by name, and tell how to name any other."""
    from cache_schema import plugins
    from pipeline.teachers.catalog import BACKENDS, TEACHERS

    if as_json:
        print_json({name: dataclasses.asdict(choice) for name, choice in TEACHERS.items()})
        return
    table = Table("teacher", "backend", "model", "about", box=None)
    for name, choice in TEACHERS.items():
        table.add_row(*map(cell, (name, choice.backend, choice.model, choice.about)))
    out.print(table)
    for name in plugins.others("teachers", BACKENDS):
        show(f"{name}:MODEL, {plugins.state('teachers', name, BACKENDS)}")
    for line in plugins.refused("teachers", BACKENDS):
        show(line)
    show("Any other: open_clip:ARCHITECTURE/TAG, transformers:HUB/ID@REVISION or timm:HUB/ID@REVISION, or a ./folder after the colon.")
    show("NAME=... gives it a name.")


def captioners(as_json: Json = False) -> None:
    """List the captioners known by name, and tell how to choose any other."""
    from cache_schema import plugins
    from pipeline.captioners.catalog import BACKENDS, known

    found = known()
    if as_json:
        print_json({name: {**spec.to_json(choice.spec), "about": choice.about} for name, choice in found.items()})
        return
    table = Table("captioner", "backend", "model", "about", box=None)
    for name, choice in found.items():
        table.add_row(*map(cell, (name, choice.spec.captioner, choice.spec.model, choice.about)))
    out.print(table)
    for name in plugins.others("captioners", BACKENDS):
        if name not in found:
            show(f"{name}, {plugins.state('captioners', name, BACKENDS)}")
    for line in plugins.refused("captioners", BACKENDS):
        show(line)
    show("In a build: --set captions=NAME. Any other model: MINE=NAME --set model=HUB/ID (or ./folder) in `mmpd-cache add-captioner`.")
    show("A model behind an address: http (a caption of each view) or http-shape (three texts of each shape), with --set model=NAME")
    show("--set server.address=http://localhost:8000/v1 and, for a key, --set server.key=ENVIRONMENT_VARIABLE.")


def sources(as_json: Json = False) -> None:
    """List the kinds of sources that shapes can come from, what each kind looks for, and its settings."""
    from cache_schema import plugins
    from pipeline.sources.catalog import SOURCES, about

    found = about()
    if as_json:
        print_json({name: {"looks_for": looks_for, "options": options} for name, (looks_for, options) in found.items()})
        return
    table = Table("source", "looks for", "settings: --set source.NAME=VALUE", box=None)
    for name, (looks_for, options) in found.items():
        table.add_row(cell(name), cell(looks_for), cell(", ".join(f"{option}={value}" for option, value in options.items())))
    out.print(table)
    for line in plugins.refused("sources", SOURCES):
        show(line)
    show("`mmpd-cache build` takes the first kind that fits; --set source.kind=NAME chooses another.")
