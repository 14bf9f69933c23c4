"""Repair a cache: make damaged files again, shard by shard.

This module makes the files again, stage by stage, and notes why a file cannot be made. `cache_schema.mending` puts a file into its place
only if a checksum proves it.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from cache_schema import products, store, validate
from cache_schema.errors import UserError
from cache_schema.files import read_file, refuse_links
from cache_schema.layout import encode, text_cells
from cache_schema.mending import Mending, clear
from cache_schema.products import index_record, markers
from cache_schema.spec import CaptionSpec, DenseSpec, Problem, Record, TeacherSpec
from cache_schema.store import Cache
from cache_schema.terminal import some
from pipeline import build, journal, readings
from pipeline.executors import catalog as executors
from pipeline.models import Models
from pipeline.opening import columns, described_shapes, last_config, places
from pipeline.origins import source_again
from pipeline.plan import Plan, Todo, depth_again, drawing
from pipeline.recipes import BuildConfig
from pipeline.records import batch_size
from pipeline.sources.catalog import Source
from pipeline.work import Machine, Terminal, Work, held
from pipeline.worker import Task

ROUNDS: Final = 4
"""Most rounds of one repair. A repaired file may reveal further damage: while `status` is damaged, nobody can check the statistics of
embeddings."""
CHANGED: Final = (
    "it cannot be made again with the bytes of before: a mesh, a model, a package, a limit or a batch size has changed, or another version "
    "of this software made it"
)
"""Reason for a shard that came out with other bytes."""


def repair(path: Path, location: str, machine: Machine, terminal: Terminal) -> list[str]:
    """Repair all damage that can be repaired.

    Args:
        path: the cache.
        location: location of the shapes; empty for the one in the journal beside the cache.
        machine: where to run.
        terminal: gets messages and progress.

    Returns:
        A line for each thing that was done.

    Raises:
        UserError: some damage is left. The message gives a reason for each: a source or a model is missing, or makes other bytes than
            before. All other damage is repaired.
    """
    with held(path, terminal) as notes:
        cache = Mending(store.open_cache(path))
        found = validate.problems(path)  # while nobody else writes
        models = Models(machine.devices()[0], places(cache.path))
        here = dataclasses.replace(machine, scheduler="")
        work = Work(cache=cache, models=models, machine=here, terminal=terminal, journal=notes)
        work.note(journal.Repair(files=tuple(problem.where for problem in found[:100])))
        mender = _Mender(cache, work, location)
        for _ in range(ROUNDS):
            before = len(mender.done)
            mender.mend(found)
            if len(mender.done) == before:
                break
            found = validate.problems(path)
            if not found:
                break
        work.note(journal.Done())
    left = mender.explained([problem for problem in found if problem.kind not in ("stray", "unfinished")])
    if not left:
        return mender.done
    for line in mender.done:
        terminal.say(line)
    raise UserError(f"{path}: not all could be mended.\n" + "\n".join(f"- {line}" for line in left))


STAGES: Final = (
    (products.INDEX,),
    tuple(kind for kind in products.KINDS.values() if kind.origin == "files"),
    *((kind,) for kind in products.KINDS.values() if kind.origin not in ("listing", "files")),
)
"""Kinds of products that are repaired together, in the order of making."""


class _Mender:
    """One repair: it collects what was done, and the reasons for what cannot be done."""

    def __init__(self, cache: Mending, work: Work, location: str) -> None:
        """
        Args:
            cache: the cache to repair.
            work: the same cache, and what the command works with.
            location: location of the shapes; empty for the one in the journal beside the cache.
        """
        self.cache, self.work, self.location = cache, work, location
        self.done: list[str] = []
        self.reasons: dict[str, str] = {}
        """Why a product or a file was not made again, by name of the product or place of the file."""
        self.records: dict[str, Record] = {}
        self.bad: dict[str, set[int]] = {}
        """Shards that are still damaged, by product."""
        self.config = BuildConfig()
        self._source: Source | None = None

    def mend(self, found: Sequence[Problem]) -> None:
        """Repair what can be repaired of the problems that were found, in one round."""
        cache = self.cache
        self.records, damaged = cache.read_records()
        self.reasons = dict(damaged)
        cache.refused.clear()
        cache.doubted = {problem.product for problem in found if problem.message == validate.EXCHANGED}
        self.bad = {}
        found = [problem for problem in found if not problem.shared]
        for problem in found:
            if problem.shard >= 0 and problem.product in self.records:
                self.bad.setdefault(problem.product, set()).add(problem.shard)
        nodes = validate.nodes(cache, cache.on_disk().all()[0])
        for problem in found:
            if problem.where in nodes:
                if self._guarded(problem.where, cache.put_file, problem.where, nodes[problem.where][0]):
                    self.done.append(f"wrote {problem.where}")
        if products.INDEX.name not in self.records and any(problem.product == products.INDEX.name for problem in found):
            self._guarded("index", self._index_again)
        self._mark_again(found)
        for stage in STAGES:
            self._make([product for product in self.bad if products.of(self.records[product]) in stage and self.bad[product]])
        for problem in found:
            record = self.records.get(problem.product)
            if record is not None and products.of(record).statistics and problem.where == self._statistics_of(record):
                if not self.bad.get(problem.product) and cache.put_statistics(record):
                    self.done.append(f"made the statistics of {problem.product} again")
                else:
                    self.reasons.setdefault(
                        problem.product, "its statistics cannot be made again before its embeddings and `status` are sound"
                    )

    def _statistics_of(self, record: Record) -> str:
        return products.statistics_array(self.cache.manifest, record).key(0)

    def explained(self, found: Sequence[Problem]) -> list[str]:
        """Describe the problems that are left: a line for each file, or for each product that could not be made again."""
        lines: dict[str, str] = {}
        for problem in found:
            reason = self.reasons.get(problem.product) or self.reasons.get(problem.where)
            if problem.shared:
                lines.setdefault(problem.shared, f"the shared cache is damaged: `mmpd-cache verify --repair {problem.shared}` mends it")
                continue
            if problem.shard >= 0 and reason:
                shards = sorted({p.shard for p in found if p.product == problem.product and p.shard >= 0 and not p.shared})
                lines.setdefault(problem.product, f"{problem.product}, shard {some([*map(str, shards)], 10)}: {reason}")
            else:
                lines.setdefault(problem.where, f"{problem.where}: {reason or problem.message}")
        return list(lines.values())

    # how things are made again

    def _guarded(self, what: str, act: Callable[..., object], *arguments: object) -> bool:
        """Call a function for a product or a file. If it fails, note the reason and return False."""
        try:
            act(*arguments)
        except (UserError, OSError) as error:
            self.reasons[what] = str(error)
            return False
        return True

    def _mark_again(self, found: Sequence[Problem]) -> None:
        """Write completion markers again for shards that have lost only these, from the files of the shards."""
        for product in self.bad:
            record = self.records[product]
            marker = markers(self.cache.manifest, record)
            lost = {p.shard for p in found if p.product == product and p.shard >= 0 and p.where == marker.key(p.shard)}
            alone = lost - {p.shard for p in found if p.product == product and p.shard >= 0 and p.where != marker.key(p.shard)}
            if product not in self.cache.doubted and alone:
                self._guarded(product, self._mark, record, alone)

    def _mark(self, record: Record, shards: set[int]) -> None:
        if self.cache.mark_again(record, shards):
            marker = markers(self.cache.manifest, record)
            self.done += [f"wrote {marker.key(shard)}" for shard in sorted(shards)]
            self.bad[record.product] -= shards

    def _make(self, made: Sequence[str]) -> None:
        """Make the damaged shards of products of one stage again, and put the proven ones into place."""
        if not made:
            return
        if all(products.from_files(self.records[product]) for product in made):
            if not self._guarded("shapes", self._make_from_files, made):
                reason = self.reasons.pop("shapes")
                for product in made:
                    self.reasons.setdefault(product, reason)
        else:
            for product in made:
                self._guarded(product, self._make_one, self.records[product])
        for product in made:
            if self._guarded(f"{product}/", self._settle, product):
                continue
            self.reasons.setdefault(product, self.reasons[f"{product}/"])

    def _settle(self, product: str) -> None:
        right = self.cache.settle(self.records[product])
        self.done += [f"made {product} again, shard {shard}" for shard in sorted(right)]
        if reworded := self.cache.reword(self.records[product]):
            self.records[product] = self.cache.record(product)
            shards = ", ".join(map(str, sorted(reworded)))
            self.done.append(
                f"made {product} again, shard {shards}: the remarks about its shapes are lost and now in the words of this version of the "
                "software; all else in it is as before"
            )
        self.bad[product] -= right | reworded
        if self.bad[product]:
            self.reasons.setdefault(product, f"{CHANGED}{self._read_otherwise(product)}. Restore what has changed, or build the cache anew")

    def _read_otherwise(self, product: str) -> str:
        """Say which files are read otherwise by now, if a product is made from files and the source is open; else an empty text."""
        if self._source is None or not products.from_files(self.records[product]):
            return ""
        found = readings.otherwise(
            self.records.get(products.POINTS.name), readings.names(self._source.reader, [one for one in self._source.entries if one.id])
        )
        return f" ({readings.in_words(found)})" if found else ""

    def _make_one(self, record: Record) -> None:
        """Make the damaged shards of one product that is not made from files."""
        cache, models, asked = self.cache, self.work.models, self.bad[record.product]
        config = last_config(cache)
        match products.of(record), record.spec:
            case products.GUIDE, _:
                name = products.parts(record)["guide"]
                raise UserError(f"`mmpd-train guide {cache.path} RUN --name {name}` makes it again, with the run it was made of")
            case products.INDEX, _:
                source = self.source()
                for shard in sorted(asked):
                    store.write_index(cache, shard, *columns(cache.manifest, source))
                return
            case products.LABELS, TeacherSpec() as described:
                batch = batch_size(record, "text_batch", config.image_batch)
                build.make_labels(cache, record, models.teacher(described), batch, models)
                return
            case products.CAPTIONS, CaptionSpec() as described if not described.reproducible:
                raise UserError(
                    "its server does not write the same texts again. Bring its files back from a copy; or `mmpd-cache remove` it and add "
                    "the captioner again, which asks for all texts anew"
                )
            case products.CAPTIONS, CaptionSpec() as described:
                models.captioner(described)
            case products.DENSE, DenseSpec() as described:
                models.teacher(described.teacher)
            case _, TeacherSpec() as described:
                models.teacher(described)
        needs = products.needs(record, cache.manifest.format_version)
        gone = [name for name in needs if name not in self.records]
        blocked = {shard for name in needs for shard in self.bad.get(name, ())}
        if gone or asked <= blocked:
            raise UserError(f"it is made of {' and '.join(gone or needs)}, which cannot be mended")
        drawn = (record, self.records[products.VIEWS.name]) if products.of(record) is products.DENSE else ()
        stated = isinstance(record.spec, CaptionSpec) and record.spec.stated
        self._run({record.product: asked - blocked}, self._task(drawn, stored=True) if depth_again(drawn) or stated else None)
        if asked & blocked:
            raise UserError(f"it is made of {' and '.join(needs)}, of which shard {min(asked & blocked)} cannot be mended")

    def _make_from_files(self, made: Sequence[str]) -> None:
        task = self._task([record for record in self.records.values() if products.from_files(record)])
        self._run({product: set(self.bad[product]) for product in made}, task)

    def _task(self, records: Sequence[Record], *, stored: bool = False) -> Task:
        """Make the task of the shape processes for some products, and the views. Raises the errors of `source`.

        Args:
            records: the products, and the views.
            stored: whether the views are drawn again as they are stored, so that no cameras are chosen.
        """
        source = self.source()
        points, views, boxes = described_shapes(self.records)
        if stored and views is not None:
            views = dataclasses.replace(views, policy=None)
        judge = self.work.models.judge(views)
        task = Task(reader=source.reader, points=points, views=views, boxes=boxes, limits=self.config.limits, judge=judge)
        return drawing(task, self.cache, records)

    def _run(self, only: dict[str, set[int]], task: Task | None) -> None:
        """Make some shards again. If a shard cannot be made, the others are made all the same.

        Raises:
            UserError: some shards could not be made. The message has the reasons.
        """
        config = last_config(self.cache)
        records = products.in_order(r for r in self.records.values() if products.of(r).origin in ("files", "cache"))
        plan = Plan(
            path=self.cache.path.absolute(),
            records=tuple(records),
            task=task,
            devices=self.work.machine.devices()[:1],
            image_batch=config.image_batch,
            caption_batch=config.caption_batch,
        )
        entries = self._source.entries if task is not None and self._source is not None else ()
        work = dataclasses.replace(self.work, entries=entries)

        def failure(part: dict[str, set[int]]) -> str:
            """Make a part. Returns why that failed; empty if it did not."""
            try:
                executors.run(work, Todo(self.cache, plan, part))
            except (UserError, OSError) as error:
                return str(error)
            return ""

        failures = [failure(only)]
        if not failures[0]:
            return
        # Make each shard alone, to find the one that fails.
        alone: list[str] = []
        for shard in sorted(set().union(*only.values())):
            part = {product: {shard} & shards - self._tried(product) for product, shards in only.items()}
            if any(part.values()) and (said := failure(part)):
                alone.append(said)
                if alone[-2:-1] == [said]:
                    break  # two shards fail for one reason, so the shards are not the cause
        raise UserError("; ".join(dict.fromkeys(failures + alone)))

    def _tried(self, product: str) -> set[int]:
        """Return the shards of a product that were made again, whether or not their bytes were right."""
        return {
            *self.cache.made.get(product, ()),
            *self.cache.reworded.get(product, ()),
            *(shard for name, shard in self.cache.refused if name == product),
        }

    def _index_again(self) -> None:
        """Write the lost record of the index again. The digest in the root proves its ids. Files that are left must agree with the
        source."""
        source, plain = self.source(), Cache(self.cache.path, self.cache.manifest)
        record = index_record(plain.manifest)
        values: dict[str, Any] = dict(zip(("id", "label", "split", "licence"), columns(plain.manifest, source), strict=True))
        for node in plain.arrays(record):
            for shard in range(plain.manifest.shards):
                rows = plain.manifest.rows(shard)
                part: Any = values[node.path][rows.start : rows.stop]
                expected = encode(node, text_cells(part) if node.path == "id" else np.asarray(part, np.int32))
                place = plain.file(node.key(shard))
                if place.is_file() and read_file(place) != expected:
                    raise UserError(f"{place} differs from what the source says, and its record is lost; build the cache anew")
        described = plain.file(f"products/{record.product}/zarr.json")
        refuse_links(described, plain.path)
        clear(described)
        described.unlink(missing_ok=True)
        plain.begin(record)
        for shard in range(plain.manifest.shards):
            store.write_index(plain, shard, *columns(plain.manifest, source))
        plain.finish(record)
        self.reasons.pop("index", None)
        self.done.append("made the index again")

    # what it takes

    def source(self) -> Source:
        """Open the source that the cache was built from, once. Raises the errors of `source_again`."""
        if self._source is None:
            self._source, self.config = source_again(self.cache, self.location)
        return self._source
