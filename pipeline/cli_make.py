"""The commands that make a cache and add shapes: build, plan, fetch, append, retry. `pipeline.cli` registers them."""

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from cache_schema import store
from cache_schema.errors import Partial, UserError
from cache_schema.lacking import remedy
from cache_schema.terminal import counted
from pipeline.cli_options import (
    CachePath,
    Device,
    Json,
    Moved,
    Overlay,
    Recipe,
    Scheduler,
    Set,
    SetOfNew,
    SetOfOld,
    Strict,
    Workers,
    names_in,
)
from pipeline.describe import human, remarks, status_counts
from pipeline.terminal import cell, out, print_json, progress, say, show

if TYPE_CHECKING:
    from pipeline.recipes import BuildConfig
    from pipeline.work import Machine


def build(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="Folder, list or HDF5 file of shapes, or a built-in collection: starter. scan:SOURCE scans its shapes."
        ),
    ],
    cache: CachePath,
    recipe: Recipe = "",
    workers: Workers = 0,
    scheduler: Scheduler = "",
    device: Device = "auto",
    set_: Set = None,
    strict: Strict = False,
    overlay: Overlay = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Build nothing: tell what it would cost, like `mmpd-cache plan`.")] = False,
    passing: Annotated[bool, typer.Option("--passing", hidden=True, help="The cache is removed soon: do not point to it.")] = False,
    as_json: Json = False,
) -> None:
    """Make a cache from shapes. After a stop, run it again: it continues, and the cache gets the same bytes. Settings need not be repeated.

    A shape that cannot be read or drawn does not stop the build. `mmpd-cache status` lists these shapes with the reasons. Repair their
    files, then run the same command again, or `mmpd-cache retry`. The exit code is 1 if every shape failed, or captions
    have no text of any shape.

    \b
    mmpd-cache build starter out.zarr
    mmpd-cache build meshes/ out.zarr --recipe clip-dino --set points.blocks=4
    mmpd-cache build scans/ out.zarr --recipe points --set source.up=z
    mmpd-cache build labelled/ out.zarr --recipe points --set source.labels=field --set source.parts=leg,seat
    mmpd-cache build meshes/ /lab/shared.zarr --recipe clip-dino --overlay mine.zarr
    """
    from cache_schema.overlay import laid
    from pipeline.building import build_cache
    from pipeline.work import Machine

    config = settings(recipe, set_ or [], cache)
    machine = Machine(workers=workers, scheduler=scheduler, device=device)
    if dry_run:
        foretell(source, cache, config, machine, as_json=as_json)
        return
    with laid(cache, overlay) as path, progress() as terminal:
        before = finished_at(path)
        partial: Partial | None = None
        try:
            made = build_cache(source, path, config, machine, terminal)
        except Partial as error:
            made, partial = store.open_cache(path), error
    with contextlib.suppress(*([typer.Exit] if partial is not None else [])):
        closing(path, made, strict, passing, as_json=as_json, did={"made": [name for name in finished_in(made) if name not in before]})
    if partial is not None:
        raise partial


def settings(recipe: str, assignments: list[str], cache: Path) -> "BuildConfig":
    """Return the settings of a build: those of a recipe, or those of the last build of a cache that is there, changed by assignments."""
    from pipeline.opening import recorded_config
    from pipeline.recipes import changed, configured

    before = None if recipe else recorded_config(cache)
    if before is None:
        return configured(recipe or "default", assignments)
    also = f", with {' '.join(assignments)}" if assignments else ""
    say(f"{cache} is there: going on with the settings of its last build{also}. --recipe NAME begins with those of a recipe")
    return changed(before, assignments)


def plan(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The shapes, as `build` takes them.")],
    cache: CachePath,
    recipe: Recipe = "",
    workers: Workers = 0,
    scheduler: Scheduler = "",
    device: Device = "auto",
    set_: Set = None,
    sample: Annotated[int, typer.Option(min=1, help="Number of shapes to build. More take longer and tell more.")] = 32,
    as_json: Json = False,
) -> None:
    """Tell what a build will cost before it begins: hours, size, memory, missing weights, shapes that fail.

    A few shapes of all sizes are really built in a temporary folder, which is removed. Nothing is written at CACHE. If it is there, only
    what it lacks is counted. The result is a guess with a range: other shapes may be slower. A captioner behind an address is asked about
    these shapes, too, to tell tokens and cost.

    \b
    mmpd-cache plan meshes/ out.zarr --recipe clip-dino
    mmpd-cache build meshes/ out.zarr --recipe clip-dino --dry-run      # the same
    """
    from pipeline.work import Machine

    config = settings(recipe, set_ or [], cache)
    foretell(source, cache, config, Machine(workers=workers, scheduler=scheduler, device=device), sample, as_json)


def foretell(source: str, cache: Path, config: "BuildConfig", machine: "Machine", sample: int | None = None, as_json: bool = False) -> None:
    """Show what a build will cost. Exit with 1 if the disk has no room for it, or every shape of the sample failed."""
    from pipeline import estimate

    with progress() as terminal:
        found = estimate.estimate(source, cache, config, machine, terminal, sample or estimate.SAMPLE)
    if as_json:
        print_json({**dataclasses.asdict(found), "total": found.total, "fits": found.fits})
    else:
        table = Table("step or product", "on", "hours", "size", box=None)
        for step in found.steps:
            size = found.bytes.get(step.name)
            table.add_row(cell(step.name), cell(step.where), f"{step.hours:.3g}", "" if size is None else human(size))
        for name, size in found.bytes.items():
            if name not in {step.name for step in found.steps}:
                table.add_row(cell(name), "", "", human(size))
        out.print(table)
        for line in estimate.in_words(found, cache):
            show(line)
    if not found.fits or len(found.failed) == found.sample:
        raise typer.Exit(1)


def fetch(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="Recipes, teachers or captioners, as the other commands take them.")
    ],
    set_: Set = None,
) -> None:
    """Download the weights of models into the cache of the hub (HF_HOME), for machines without a network. What is there stays.

    Run it on a login node, then build on nodes that see the same HF_HOME with HF_HUB_OFFLINE=1.

    \b
    mmpd-cache fetch clip-dino
    mmpd-cache fetch dinov2-large open_clip:ViT-L-14/laion2b_s32b_b82k blip2-opt-2.7b
    """
    from pipeline.fetch import fetch as fetch_models

    with progress() as terminal:
        found = fetch_models(names, terminal, set_ or [])
    say(f"All weights of {', '.join(model.name for model in found) or 'it'} are on this machine.")


def append(
    cache: CachePath,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Folder, list or HDF5 file of shapes, or a built-in collection.")],
    products_: Annotated[
        str,
        typer.Option(
            "--products",
            metavar="A,B",
            help="Make only these products of the new shapes. The others are unfinished afterwards. Default: all.",
            show_default=False,
        ),
    ] = "",
    skip: Annotated[bool, typer.Option("--skip", help="Leave out shapes whose id the cache has, whatever their files are.")] = False,
    workers: Workers = 0,
    scheduler: Scheduler = "",
    device: Device = "auto",
    set_: SetOfNew = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Add the shapes of another source to a finished cache, in new shards, with all products that it has.

    The files of older shards stay as they are. A training that runs meanwhile, or that opened the cache before, goes on with the shapes it
    knows. After a stop, run the same command again: it continues. Shapes that the cache has already (the same id and file) are left out.
    If a product cannot be made here as it was made (a model is missing, a guide, another version of a package), nothing is begun, and
    the message names it; --products then says which ones to make. Shapes that this version would read otherwise than those of the cache
    fail, and the exit code is 1; `retry --reread` reads all of them anew.

    \b
    mmpd-cache append out.zarr more-meshes/
    mmpd-cache append out.zarr more-scans/ --set source.up=z --products points,views,image/clip-vit-b32
    """
    from pipeline.append import Wanted
    from pipeline.append import append as append_shapes
    from pipeline.work import Machine

    wanted = Wanted(products=names_in(products_), settings=tuple(set_ or ()), skip=skip)
    with progress() as terminal:
        made = append_shapes(cache, source, wanted, Machine(workers=workers, scheduler=scheduler, device=device), terminal)
    if made.known:
        say(f"left out, because {cache} has them already: {counted(made.known, 'shape')} of {source}.")
    did = {"appended": made.shapes, "known": made.known, "left": made.left}
    if not made.shapes:
        say("There is nothing new to append.")
        if as_json:
            print_outcome(cache, made.cache, did)
        return
    left = f", {made.left} of them without being read, because the cache's shapes of such files were read otherwise" * bool(made.left)
    say(f"{counted(made.shapes, 'shape')} appended{left}.")
    for name in made.unfinished:
        say(f"{name} is unfinished: it lacks the new shapes. {remedy(cache, made.cache.records()[name])}")
    closing(cache, made.cache, strict, as_json=as_json, did=did)
    if made.left:
        raise typer.Exit(1)


def retry(
    cache: CachePath,
    source: Moved = "",
    workers: Workers = 0,
    scheduler: Scheduler = "",
    device: Device = "auto",
    set_: SetOfOld = None,
    reread: Annotated[
        bool,
        typer.Option(
            "--reread",
            help="Make those shapes anew, too, whose files this version of the software reads otherwise than the cache's were read, or of "
            "which that is not known.",
        ),
    ] = False,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Try failed shapes again, and add those that are ok now to all products: points, pictures, captions, embeddings.

    Shapes that are ok and whose own file has changed since they were read are made anew. Other shapes stay unchanged. The cache becomes the
    same as if no shape had failed. `mmpd-cache build` tries only those failed shapes again whose own file has changed, and only names the
    others whose file has changed. This command tries all of them, for example after a texture was missing or the time was too short.

    If this version of the software reads some files otherwise than those of the cache were read, shapes of such files are left as they are:
    the cache would mix both. --reread makes all of them anew. It needs the packages that made the cache. `mmpd-cache info` says how the
    files were read.

    In an overlay whose shared cache has grown, it makes the overlay's products for the new shapes.

    \b
    mmpd-cache retry out.zarr
    mmpd-cache retry out.zarr --reread
    mmpd-cache retry out.zarr --source /moved/meshes --set limits.seconds=600
    """
    from pipeline.models import SERVER, server_settings
    from pipeline.retry import retry as retry_shapes
    from pipeline.work import Machine

    wrong = [assignment for assignment in set_ or [] if not assignment.strip().startswith(("limits.", SERVER))]
    if wrong:
        raise UserError(
            f"retry only sets limits.seconds, limits.memory_gib and {SERVER}NAME, got {wrong[0]}: what a cache holds stays as it is"
        )
    limits = [assignment.strip().removeprefix("limits.") for assignment in set_ or [] if assignment.strip().startswith("limits.")]
    with progress() as terminal:
        machine = Machine(workers=workers, scheduler=scheduler, device=device)
        found = retry_shapes(cache, source, machine, terminal, limits, server_settings(set_ or []), reread=reread)
    did = {"tried": found.tried, "changed": found.changed, "reread": found.reread, "mended": found.mended, "left": found.left}
    if not found.tried and not found.left:
        say(f"No shape failed, and no file has changed since it was read{', or is read otherwise by now' * reread}.")
        if as_json:
            print_outcome(cache, store.open_cache(cache), did)
        return
    were_ok = found.changed + found.reread
    which = [
        counted(found.tried - were_ok, "failed shape"),
        *([counted(found.changed, "changed shape")] if found.changed else []),
        *([f"{counted(found.reread, 'shape')} with unchanged files"] if found.reread else []),
    ]
    failed = f"{found.tried - found.mended} failed{' again' * (not were_ok)}"
    left = f" {counted(found.left, 'shape')} left as {'it is' if found.left == 1 else 'they are'}." * bool(found.left)
    say(f"{' and '.join(which)} tried again: {found.mended} ok now, {failed}.{left}")
    closing(cache, store.open_cache(cache), strict, as_json=as_json, did=did)


def closing(
    path: Path, cache: store.Cache, strict: bool, passing: bool = False, *, as_json: bool = False, did: Mapping[str, Any] | None = None
) -> None:
    """Say how many shapes are ok and failed; `as_json` also prints it, with what the command did. Exit with 1 if none is ok, or with
    `strict` if any failed.

    With `passing`, the cache is made for another command only, which tells the reasons itself."""
    if as_json:
        print_outcome(path, cache, did or {})
    counts = status_counts(cache)
    noted = len(remarks(cache))
    also = f", {noted} of them with a remark" if noted else ""
    unfinished = unfinished_in(cache)
    state = f"lacks {', '.join(unfinished)} of some shapes" if unfinished else "is complete"
    say(f"{'It' if passing else path} {state}: {counted(counts['ok'], 'shape')} ok{also}, {counts['failed']} failed.")
    if (counts["failed"] or noted) and not passing:
        say(f"Reasons: mmpd-cache status {path}")
    if counts["failed"] and (strict or not counts["ok"]):
        raise typer.Exit(1)


def finished_at(path: Path) -> list[str]:
    """`finished_in` a cache, if there is one that can be opened; the command itself says what is wrong with another."""
    with contextlib.suppress(UserError, OSError):
        return finished_in(store.open_cache(path))
    return []


def finished_in(cache: store.Cache) -> list[str]:
    """Names of products that all shapes have, sorted."""
    return sorted(name for name, record in cache.records().items() if record.complete)


def unfinished_in(cache: store.Cache) -> list[str]:
    """Names of products that lack some shapes."""
    return [name for name, record in cache.records().items() if not record.complete]


def print_outcome(path: Path, cache: store.Cache, did: Mapping[str, Any]) -> None:
    """Print as JSON what a command did to a cache, and how the cache is now: the same keys for every command that changes or makes one."""
    now = {
        "shapes": status_counts(cache),
        "remarked": len(remarks(cache)),
        "products": finished_in(cache),
        "unfinished": unfinished_in(cache),
    }
    print_json({"path": str(path), "did": dict(did), **now})
