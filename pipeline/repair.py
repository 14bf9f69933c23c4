"""Mending a cache: damaged files are made again, shard by shard, and nothing else."""

import dataclasses
from pathlib import Path
from typing import TextIO

from cache_schema import spec, store, validate
from cache_schema.errors import UserError
from cache_schema.spec import Problem, Record, TeacherSpec, ViewSpec
from cache_schema.store import Cache
from pipeline import build, run
from pipeline.build import Models, Plan
from pipeline.commands import Machine, Terminal, columns, last_build, note, open_config_source, places, run_plan
from pipeline.recipes import BuildConfig, SourceConfig
from pipeline.sources.catalog import Source
from pipeline.worker import Task


def repair(path: Path, location: str, machine: Machine, terminal: Terminal) -> list[str]:
    """Make damaged files again, shard by shard, and nothing else.

    Args:
        location: the source; empty for the one the journal beside the cache names.

    Returns:
        What was done, a line each.

    Raises:
        UserError: the source or a model that is needed is not here, or makes other bytes than before.
    """
    done: list[str] = []
    with store.exclusive(path, lambda: terminal.say(f"another command is at work on {path}; waiting for it")) as journal:
        cache = store.Mending(path.resolve(), store.open_cache(path).manifest)
        found = validate.problems(path)  # while nobody else writes
        records = cache.records()
        note(journal, event="repair", files=[p.where for p in found])
        for problem in found:
            if problem.kind in ("metadata", "missing") and problem.shard < 0:
                done.append(_rewrite_node(cache, records, problem))
        damaged: dict[str, set[int]] = {}
        for problem in found:
            if problem.shard >= 0:
                damaged.setdefault(problem.product, set()).add(problem.shard)
        _remake(cache, records, damaged, location, machine, terminal, journal)
        for product, shards in damaged.items():
            if records[product].complete and cache.content(records[product]) != records[product].content:
                where = f"{product}, shard {', '.join(map(str, sorted(shards)))}"
                raise UserError(
                    f"{path}: {where} was made again, but not with the bytes of before: a mesh, a model or a package has changed. "
                    "Build the cache anew."
                )
            done += [f"made {product} again, shard {shard}" for shard in sorted(shards)]
        for problem in found:
            if problem.where.startswith("stats/") and problem.kind == "corrupt":
                cache.finish(dataclasses.replace(records[problem.product], complete=False, content=""))
                done.append(f"made the statistics of {problem.product} again")
        note(journal, event="done")
    return done


def _rewrite_node(cache: Cache, records: dict[str, Record], problem: Problem) -> str:
    """Write a `zarr.json` that follows from the records."""
    path = problem.where.removesuffix("/zarr.json")
    nodes = {node.path: (node, {"product": r.product}) for r in records.values() for node in cache.arrays(r)}
    nodes |= {f"stats/{r.product}": (store.stats_array(cache.arrays(r)[0]), {}) for r in records.values() if r.kind in ("image", "text")}
    if (
        problem.where == "zarr.json"
        or path.removeprefix("products/") in records
        or (problem.kind == "metadata" and path.startswith("products/"))
    ):
        raise UserError(
            f"{cache.path / problem.where} describes what the files are and cannot be made from them. "
            + ("Build the cache anew." if problem.where == "zarr.json" else f"Delete {path} and run the command that made it again.")
        )
    node, attributes = nodes.get(path, (None, {}))
    store.write_file(cache.path / problem.where, store.node_json(node, attributes))
    return f"wrote {problem.where}"


def _remake(
    cache: Cache,
    records: dict[str, Record],
    damaged: dict[str, set[int]],
    location: str,
    machine: Machine,
    terminal: Terminal,
    journal: TextIO,
) -> None:
    models = Models(machine.devices()[0], places(cache.path))
    for product in damaged:
        record = records[product]
        if record.kind == "labels":
            assert isinstance(record.spec, TeacherSpec)
            build.make_labels(cache, record, models.teacher(record.spec), 64, models)
        elif record.kind == "guide":
            raise UserError(f"{cache.path}: shard {min(damaged[product])} of {product} is damaged; `mmpd-train guide` makes it again")
    source = None
    config = BuildConfig()
    if any(records[p].kind in ("index", *build.FROM_FILES) for p in damaged):
        source, config = _source_again(cache, location)
    if "index" in damaged:
        assert source is not None
        for shard in damaged["index"]:
            store.write_index(cache, shard, *columns(cache.manifest, source))
    order = {kind: i for i, kind in enumerate(("status", "points", "views", "image", "captions", "text"))}
    ordered = sorted((r for r in records.values() if r.kind in order), key=lambda r: order[r.kind])
    task = None
    if source is not None:
        points, views = records["points"].spec, records["views"].spec if "views" in records else None
        assert isinstance(points, spec.PointSpec) and (views is None or isinstance(views, ViewSpec))
        pictures = tuple(n for n in cache.arrays(records["views"]) if n.codec == "zstd") if views else ()
        task = Task(reader=source.reader, points=points, views=views, pictures=pictures, limits=config.limits)
    plan = Plan(
        path=cache.path.absolute(), records=tuple(ordered), task=task, devices=machine.devices()[:1],
        image_batch=config.image_batch, caption_batch=config.caption_batch,
    )  # fmt: skip
    run_plan(cache, run.Todo(cache, plan, damaged), source, models, dataclasses.replace(machine, scheduler=""), terminal, journal)


def _source_again(cache: Cache, location: str) -> tuple[Source, BuildConfig]:
    """The source a cache was built from, and the settings of its last build."""
    noted = last_build(cache.path)
    location = location or noted.get("source", "")
    if not location:
        raise UserError(f"{cache.path} has no journal beside it that names its source; give it with --source")
    there = cache.manifest.source
    recorded = SourceConfig(kind=there.kind, textures=there.textures, options=tuple(f"{name}={value}" for name, value in there.options))
    config = spec.from_json(BuildConfig, noted["config"]) if "config" in noted else BuildConfig(source=recorded)
    source = open_config_source(location, config)
    if spec.ids_digest(e.id for e in source.entries) != there.ids:
        raise UserError(f"{location} does not hold the shapes {cache.path} was built from")
    return source, config
