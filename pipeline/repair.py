"""Mending a cache: damaged files are made again, shard by shard, and nothing else.

`cache_schema.mending` sees to it that only what is proven to be right gets into its place; here it is made, stage after
stage, and what cannot be made is remembered with its reason.
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
from cache_schema.spec import CaptionSpec, Problem, Record, TeacherSpec
from cache_schema.store import Cache
from pipeline import build, journal
from pipeline.complete import pictures
from pipeline.executors import catalog as executors
from pipeline.models import Models
from pipeline.opening import columns, described_shapes, last_config, places, source_again
from pipeline.plan import Plan, Todo
from pipeline.recipes import BuildConfig
from pipeline.records import batch_size
from pipeline.sources.catalog import Source
from pipeline.work import Machine, Terminal, Work, held
from pipeline.worker import Task

ROUNDS: Final = 4
"""What is mended may bring to light what could not be seen before: embeddings whose statistics were unknown while `status` was damaged."""
CHANGED: Final = "it cannot be made again with the bytes of before: a mesh, a model, a package, a limit or a batch size has changed"


def repair(path: Path, location: str, machine: Machine, terminal: Terminal) -> list[str]:
    """Mend all that can be mended.

    Args:
        path: the cache.
        location: the source; empty for the one the journal beside the cache names.
        machine: where to run.
        terminal: who to tell.

    Returns:
        What was done, a line each.

    Raises:
        UserError: some damage is left, each with its reason: a source or a model is not here, or makes other bytes than
            before. What could be mended is mended.
    """
    with held(path, terminal) as notes:
        cache = Mending(path.resolve(), store.open_cache(path).manifest)
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
"""Kinds of products that are mended together, in the order of making."""


class _Mender:
    """One repair: what it was given, what it has done, and why it could not do the rest."""

    def __init__(self, cache: Mending, work: Work, location: str) -> None:
        """
        Args:
            cache: the cache to mend.
            work: that cache, and what it is made with.
            location: the source; empty for the one the journal beside the cache names.
        """
        self.cache, self.work, self.location = cache, work, location
        self.done: list[str] = []
        self.reasons: dict[str, str] = {}
        """By product, or by place of a file, why it was not made again."""
        self.records: dict[str, Record] = {}
        self.bad: dict[str, set[int]] = {}
        """By product, the shards that are damaged at this moment."""
        self.config = BuildConfig()
        self._source: Source | None = None

    def mend(self, found: Sequence[Problem]) -> None:
        """One round over what was found."""
        cache = self.cache
        self.records, damaged = cache.read_records()
        self.reasons = dict(damaged)
        cache.refused.clear()
        cache.doubted = {problem.product for problem in found if problem.message == validate.EXCHANGED}
        self.bad = {}
        for problem in found:
            if problem.shard >= 0 and problem.product in self.records:
                self.bad.setdefault(problem.product, set()).add(problem.shard)
        nodes = validate.nodes(cache, self.records)
        for problem in found:
            if problem.where in nodes:
                if self._guarded(problem.where, cache.put_file, problem.where, nodes[problem.where][0]):
                    self.done.append(f"wrote {problem.where}")
        if "index" not in self.records and any(problem.product == "index" for problem in found):
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
        """What is left, a line for each file, or for each product that could not be made again."""
        lines: dict[str, str] = {}
        for problem in found:
            reason = self.reasons.get(problem.product) or self.reasons.get(problem.where)
            if problem.shard >= 0 and reason:
                shards = sorted({p.shard for p in found if p.product == problem.product and p.shard >= 0})
                some = ", ".join(map(str, shards[:10])) + (f" and {len(shards) - 10} more" if len(shards) > 10 else "")
                lines.setdefault(problem.product, f"{problem.product}, shard {some}: {reason}")
            else:
                lines.setdefault(problem.where, f"{problem.where}: {reason or problem.message}")
        return list(lines.values())

    # how things are made again

    def _guarded(self, what: str, act: Callable[..., object], *arguments: object) -> bool:
        """Do something for a product or a file; where that is not possible, remember why and go on."""
        try:
            act(*arguments)
        except (UserError, OSError) as error:
            self.reasons[what] = str(error)
            return False
        return True

    def _mark_again(self, found: Sequence[Problem]) -> None:
        """Completion markers alone are lost: they follow from the files."""
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
        """Make the damaged shards of products of one stage again, and put those into place that are right."""
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
        self.bad[product] -= right
        if self.bad[product]:
            self.reasons.setdefault(product, f"{CHANGED}. Restore what has changed, or build the cache anew")

    def _make_one(self, record: Record) -> None:
        """Make the damaged shards of one product that does not come from meshes."""
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
            case products.CAPTIONS, CaptionSpec() as described:
                models.captioner(described, batch_size(record, "caption_batch", config.caption_batch))
            case _, TeacherSpec() as described:
                models.teacher(described)
        needs = self._needs(record)
        gone = [name for name in needs if name not in self.records]
        blocked = {shard for name in needs for shard in self.bad.get(name, ())}
        if isinstance(record.spec, CaptionSpec) and record.spec.rank_by:
            blocked |= self.bad.get(products.IMAGE.product(teacher=record.spec.rank_by), set())
        if gone or asked <= blocked:
            raise UserError(f"it is made of {' and '.join(gone or needs)}, which cannot be mended")
        self._run({record.product: asked - blocked}, None)
        if asked & blocked:
            raise UserError(f"it is made of {' and '.join(needs)}, of which shard {min(asked & blocked)} cannot be mended")

    def _needs(self, record: Record) -> tuple[str, ...]:
        """The products that one is made from, but for what ranks captions."""
        version, names = self.cache.manifest.format_version, products.parts(record)
        return tuple(products.KINDS[kind].product(version, **names) for kind in products.of(record).inputs)

    def _make_from_files(self, made: Sequence[str]) -> None:
        source = self.source()
        points, views = described_shapes(self.records)
        compressed = pictures(self.cache, self.records[products.VIEWS.name]) if views else ()
        task = Task(reader=source.reader, points=points, views=views, pictures=compressed, limits=self.config.limits)
        self._run({product: set(self.bad[product]) for product in made}, task)

    def _run(self, only: dict[str, set[int]], task: Task | None) -> None:
        """Run a plan for some shards. A shard that cannot be made does not keep the others from being made.

        Raises:
            UserError: some could not be made; with the reason of each.
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
            """Why a part could not be made; empty where it was."""
            try:
                executors.run(work, Todo(self.cache, plan, part))
            except (UserError, OSError) as error:
                return str(error)
            return ""

        failures = [failure(only)]
        if not failures[0]:
            return
        # Which shard is at fault shows when each is made alone.
        alone: list[str] = []
        for shard in sorted(set().union(*only.values())):
            part = {product: {shard} & shards - self._tried(product) for product, shards in only.items()}
            if any(part.values()) and (said := failure(part)):
                alone.append(said)
                if alone[-2:-1] == [said]:
                    break  # the same again: it is not the shard's fault
        raise UserError("; ".join(dict.fromkeys(failures + alone)))

    def _tried(self, product: str) -> set[int]:
        """Shards of a product that were made again, whether or not they came out right."""
        return {*self.cache.made.get(product, ()), *(shard for name, shard in self.cache.refused if name == product)}

    def _index_again(self) -> None:
        """Describe the index again. Its ids are proven by the digest in the root; the files that are there must be those of the source."""
        source, plain = self.source(), Cache(self.cache.path, self.cache.manifest)
        record = index_record(plain.manifest)
        values: dict[str, Any] = dict(zip(("id", "label", "split", "licence"), columns(plain.manifest, source), strict=True))
        for node in plain.arrays(record):
            for shard in range(plain.manifest.shards):
                rows = plain.manifest.rows(shard)
                part: Any = values[node.path][rows.start : rows.stop]
                expected = encode(node, text_cells(part) if node.path == "id" else np.asarray(part, np.int32))
                place = plain.path / node.key(shard)
                if place.is_file() and read_file(place) != expected:
                    raise UserError(f"{place} differs from what the source says, and its record is lost; build the cache anew")
        described = plain.path / "products" / record.product / "zarr.json"
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
        """The source the cache was built from, opened once. Raises as `source_again` does."""
        if self._source is None:
            self._source, self.config = source_again(self.cache, self.location)
        return self._source
