"""Tell what a build will cost before it begins: hours, bytes, memory, missing weights, shapes that fail.

found = estimate("meshes/", Path("out.zarr"), config, Machine(), terminal)
found.hours, found.low, found.high, found.bytes

A sample of the shapes is really built, by the code of `build`, in a temporary place that is removed. The sample spreads evenly over the
sizes of the files, so that a few huge shapes count as much as they will. What its shards cost is multiplied. The result is a guess: other
shapes may be slower than those of the sample, and another load of the machine changes all. So it has a range, from how much the shards of
the sample differ.
"""

import contextlib
import dataclasses
import math
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from cache_schema import products, spec
from cache_schema.errors import UserError
from cache_schema.intervals import wilson
from cache_schema.layout import ArraySpec
from cache_schema.spec import CaptionSpec, Manifest, TeacherSpec
from cache_schema.store import Cache, open_cache
from cache_schema.terminal import counted, duration, some
from pipeline import building, fetch, journal, label_sets
from pipeline.captioners import catalog as captioners
from pipeline.describe import asked_in_words, failures, human, product_bytes
from pipeline.executors import catalog as executors
from pipeline.journal import ShapesMade, ShardMade, read_journal
from pipeline.opening import check_place, labelled, open_again, open_config_source
from pipeline.recipes import BuildConfig, shard_size
from pipeline.sources.catalog import Entry, Source
from pipeline.teachers.catalog import choice
from pipeline.work import Machine, Terminal

SAMPLE: Final = 32
"""Number of shapes that are built, unless another is asked for."""

SHARDS: Final = 4
"""Number of shards of the sample. How they differ tells how sure the result is."""

LEAST_SPREAD: Final = 0.15
"""Smallest relative half width of the range of hours: so much the same build differs from day to day on one machine."""

FILES: Final = 20_000
"""Largest number of files whose sizes are asked for."""

# ---------------------------------------------------------------------------------------------------------- the result


@dataclass(frozen=True, kw_only=True)
class Step:
    """One product, or one step of shape processes."""

    name: str
    where: str
    """What computes it, such as `2 processes` or `cuda:0`."""
    hours: float
    """Hours of that device, or of one process."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a build will cost, as far as a sample tells."""

    shapes: int
    """Number of shapes of the source."""
    done: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Part of each product, 0 to 1, that the cache has already; empty if there is no cache."""
    sample: int
    """Number of shapes that were built to find out; 0 if nothing could be built."""
    machine: str
    """Kind of the machine."""
    steps: tuple[Step, ...] = ()
    hours: float = 0.0
    """Wall time of the whole build."""
    low: float = 0.0
    high: float = 0.0
    bytes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Size by product of the complete cache, as far as it is known."""
    there: int = 0
    """Bytes of the cache that is there already."""
    free: int = 0
    """Free bytes of the disk that the cache is for."""
    memory: int = 0
    """Bytes of memory that all processes together took at most, and larger shards will take."""
    failed: tuple[tuple[str, str], ...] = ()
    """(id, reason) of the shapes of the sample that failed."""
    missing: tuple[str, ...] = ()
    """Names of models whose weights are not here, as `mmpd-cache fetch` takes them. Nothing is known of what they make."""
    without: tuple[str, ...] = ()
    """What was left out of the sample, because weights are missing."""
    asked: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """What the server of the captioner will be asked, such as `questions`, `prompt_tokens` and `cost`; see
    `pipeline.captioners.http.Http.used`. Empty if there is none."""
    spent: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """What it was asked to find that out. It may cost, too."""
    at_once: tuple[int, int] = (0, 0)
    """Number of questions that it was asked at a time to find that out, and that it will be asked at a time."""
    unanswered: str = ""
    """Why the server of the captioner could not be asked, so that nothing but the number of `questions` is known; empty if it could."""
    took: float = 0.0
    """Seconds that this took."""

    @property
    def total(self) -> int:
        """Bytes of the complete cache."""
        return sum(self.bytes.values())

    @property
    def fits(self) -> bool:
        """Whether the disk has room for the products that were counted."""
        return self.total - self.there <= self.free


# -------------------------------------------------------------------------------------------------------- the command


def estimate(location: str, path: Path, config: BuildConfig, machine: Machine, terminal: Terminal, sample: int = SAMPLE) -> Estimate:
    """Build a few shapes in a temporary place, and tell what the whole build will cost. Nothing is written at `path`.

    Args:
        location: a path, or the name of a built-in collection.
        path: where the cache will be, or is.
        config: what the cache must hold.
        machine: where the build will run.
        terminal: gets the notes of the source first, then messages and progress.
        sample: number of shapes to build.

    Raises:
        UserError: the errors of `pipeline.building.build_cache` that do not concern missing weights.
    """
    start = time.perf_counter()
    building.check(config, path)
    check_place(path)
    source = open_config_source(location, config)
    building.tell_notes(source, terminal)
    labelled(config, source, path)
    open_again(path, source, config.shard)  # refuses what the build would refuse
    missing = [model.name for model in fetch.of_build(config) if model.missing]
    unanswered, probed = _unanswered(config.captions)
    possible, without = reduced(config, [*missing, *([fetch.of_captioner(config.captions).name] if config.captions and unanswered else [])])
    count = len(source.entries)
    few = chosen(source, min(sample, count))
    done, there = _there(path)
    found = Estimate(
        shapes=count,
        done=done,
        there=there,
        sample=len(few.entries),
        machine=machine.kind(),
        free=shutil.disk_usage(next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())).free,
        missing=tuple(missing),
        without=tuple(without),
        asked={"questions": float(questions(config, count))} if unanswered else {},
        spent=probed,
        unanswered=unanswered,
    )
    shard = _sample_shard(possible, len(few.entries), count)
    with _temporary(path) as folder:
        terminal.say(f"building {len(few.entries)} of {counted(count, 'shape')} to measure")
        begun = time.time()
        asked = dataclasses.replace(possible, shard=shard)
        cache = building.build_cache(location, folder / "sample.zarr", asked, machine, terminal, opened=few)
        measured = _Measured(cache=cache, whole=source, config=config, machine=machine, begun=begun)
        found = dataclasses.replace(found, **measured.costs(done), failed=tuple(failures(cache)))
        for numbers in journal.asked(cache).values():
            found = dataclasses.replace(found, spent={name: found.spent.get(name, 0.0) + value for name, value in numbers.items()})
    return dataclasses.replace(found, took=time.perf_counter() - start)


def _sample_shard(config: BuildConfig, sample: int, shapes: int) -> int:
    """Return the number of shapes in a shard of the sample. A captioner's server is asked as many questions at a time as it will be,
    because how fast it answers depends on that: so a shard has so many shapes, as far as the sample and the shards of the build do."""
    shard = -(-sample // SHARDS)
    captions = config.captions
    if captions is not None and captions.server.address:
        busy = -(-captions.server.at_once // _pictures(config))
        shard = max(shard, min(busy, sample, config.shard or shard_size(shapes)))
    return shard


def _unanswered(captions: CaptionSpec | None) -> tuple[str, dict[str, float]]:
    """Return why the server of a captioner cannot be asked, and what it was asked to find out; nothing if it can, or if there is none."""
    if captions is None or captions.reproducible:
        return "", {}
    try:
        captioner = captioners.load(captions)
    except UserError as error:
        return str(error), {}
    return "", captioner.used() if isinstance(captioner, captioners.Asking) else {}


def questions(config: BuildConfig, shapes: int) -> int:
    """Return the number of questions to the server of a captioner about `shapes` shapes, if all are usable and all is answered at once."""
    captions = config.captions
    assert captions is not None
    return shapes * _pictures(config) * (1 if captions.kinds else captions.samples)


def _pictures(config: BuildConfig) -> int:
    """Return the number of pictures of a shape that a captioner describes. Those of a shard are described at the same time."""
    captions, views = config.captions, config.views
    assert captions is not None
    if captions.per == "shape":
        return 1
    assert views is not None
    return views.count


def reduced(config: BuildConfig, missing: Sequence[str]) -> tuple[BuildConfig, list[str]]:
    """Return the settings without models whose weights are missing, and what is left out with them."""
    if not missing:
        return config, []
    kept = tuple(name for name in config.teachers if name not in missing)
    without = [name for name in config.teachers if name in missing]
    captions = config.captions
    names = {choice(name)[0] for name in kept}
    if captions is not None and (fetch.of_captioner(captions).name in missing or (captions.rank_by and captions.rank_by not in names)):
        without.append(f"captions {captions.name}")
        captions = None
    views = config.views
    if views is not None and views.policy is not None and views.policy.teacher in missing:
        without.append("choosing views")
        views = dataclasses.replace(views, policy=dataclasses.replace(views.policy, teacher="", likeness=0.0))
    dense = dataclasses.replace(config.dense, teachers=tuple(name for name in config.dense.teachers if name in names))
    licences = tuple(one for one in config.licences if one.partition("=")[0] in names)
    return dataclasses.replace(config, views=views, teachers=kept, captions=captions, dense=dense, licences=licences), without


def chosen(source: Source, count: int) -> Source:
    """Return a source with `count` of its shapes, spread evenly over the sizes of their files; over the list if it has no files."""
    entries = source.entries
    if len(entries) > count:
        every = np.linspace(0, len(entries) - 1, min(len(entries), FILES)).round().astype(int).tolist()
        ordered = sorted((entries[place] for place in every), key=lambda entry: (_size(source, entry), _mixed(entry)))
        places = ((np.arange(count) + 0.5) * len(ordered) / count).astype(int)
        entries = tuple(sorted((ordered[place] for place in places), key=lambda entry: entry.id))
    return dataclasses.replace(source, entries=entries)


def _size(source: Source, entry: Entry) -> int:
    try:
        root = getattr(source.reader, "root", "") or source.reader.location
        return os.stat(os.path.join(root, entry.locator)).st_size
    except (OSError, ValueError):
        return 0


def _mixed(entry: Entry) -> str:
    return spec.fingerprint([entry.id])


def _there(path: Path) -> tuple[dict[str, float], int]:
    """Return the part of each product that a cache has, by product, and the bytes of all; nothing if there is no cache."""
    if not (path / "zarr.json").exists():
        return {}, 0
    cache = open_cache(path)
    done = {}
    for name, record in cache.records().items():
        lacking = 0 if record.complete else sum(len(cache.manifest.rows(shard)) for shard in cache.missing(record))
        done[name] = 1 - lacking / cache.manifest.shapes
    return done, sum(product_bytes(cache, record) for record in cache.records().values())


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """Make a temporary folder and remove it in the end: on the disk of the cache if its folder is there, else where the system has them."""
    parent = path.absolute().parent
    with tempfile.TemporaryDirectory(prefix=".mmpd-plan-", dir=parent if parent.is_dir() else None) as folder:
        yield Path(folder)


# -------------------------------------------------------------------------------------------------------- the measuring


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """The sample after it was built."""

    cache: Cache
    whole: Source
    config: BuildConfig
    machine: Machine
    begun: float
    """When the build of the sample was called, in seconds since 1970."""

    def costs(self, done: Mapping[str, float]) -> dict[str, Any]:
        """Return fields of `Estimate`: steps, hours, low, high, bytes, memory. `done` is its field."""
        events = read_journal(self.cache.path).events
        shapes = [event for event in events if isinstance(event, ShapesMade)]
        models = [event for event in events if isinstance(event, ShardMade)]
        left = self._left(done)
        work: dict[tuple[str, str], float] = {}
        _, processes = executors.at_once(self.machine)
        for made in shapes:
            for step, value in made.steps.items():
                key = step, f"{processes} process{'es' * (processes != 1)}"
                work[key] = work.get(key, 0.0) + value
        captions = self.config.captions
        for one in models:
            key = one.product, captions.server.address if captions and one.asked else ", ".join(executors.devices(self.machine))
            work[key] = work.get(key, 0.0) + one.seconds
        scale = len(self.whole.entries) / self.cache.manifest.shapes
        steps = [Step(name=name, where=where, hours=value * scale * left(name) / 3600) for (name, where), value in work.items()]
        per_shape, spread = self._seconds(shapes, models)
        loading, words = self._once(events)
        todo = sum(step.hours for step in steps) / max(sum(work.values()) * scale / 3600, 1e-9)
        seconds = loading + words * left("labels") + len(self.whole.entries) * per_shape * todo
        if words:
            steps.append(Step(name="labels", where=", ".join(executors.devices(self.machine)), hours=words * left("labels") / 3600))
        wide = max(LEAST_SPREAD, 2 * spread)
        return {
            "steps": tuple(steps),
            "hours": seconds / 3600,
            "low": seconds * max(1 - wide, 0.1) / 3600,
            "high": seconds * (1 + wide) / 3600,
            "bytes": self._sizes(),
            "memory": self._memory(),
            **self._asked(models, scale, left),
        }

    def _asked(self, models: Sequence[ShardMade], scale: float, left: Callable[[str], float]) -> dict[str, Any]:
        """Return the fields `asked` and `at_once` of `Estimate`, if a server was asked."""
        found: dict[str, float] = {}
        for one in models:
            for name, value in one.asked.items():
                found[name] = found.get(name, 0.0) + value * scale * left(one.product)
        captions = self.config.captions
        if not found or captions is None:
            return {}
        whole = _manifest(self.cache.manifest, len(self.whole.entries), self.config.shard)
        each, most = _pictures(self.config), captions.server.at_once
        return {"asked": found, "at_once": (min(self.cache.manifest.shard * each, most), min(whole.shard * each, most))}

    def _left(self, done: Mapping[str, float]) -> Callable[[str], float]:
        """Return a function that tells the part of a product, of a step of shapes, or of `labels` that is left to make."""
        files = [name for name, record in self.cache.records().items() if products.from_files(record)]
        drawn = max((1 - done.get(name, 0.0) for name in files), default=1.0)
        words = max((1 - done.get(one.product, 0.0) for one in self._label_sets(self._classes())), default=0.0)
        made = {name for name, record in self.cache.records().items() if products.from_cache(record)}
        return lambda name: words if name == "labels" else 1 - done.get(name, 0.0) if name in made else drawn

    def _seconds(self, shapes: Sequence[ShapesMade], models: Sequence[ShardMade]) -> tuple[float, float]:
        """Return the wall time of one shape in seconds, and how unsure that is, as a part of it.

        On a CPU, shape processes and models share the cores, so that their times add up: the time of the process with the models is what
        it waited for shapes and what the models took. On GPUs both run at once, and the slower side decides. The work is spread over the
        workers of a cluster.
        """
        count, (devices, processes) = self.cache.manifest.shapes, executors.at_once(self.machine)
        drawn = {made.shard: sum(made.steps.values()) / processes for made in shapes}
        embedded: dict[int, float] = {}
        for one in models:
            embedded[one.shard] = embedded.get(one.shard, 0.0) + one.seconds
        rows = {shard: len(self.cache.manifest.rows(shard)) for shard in range(self.cache.manifest.shards)}
        if executors.devices(self.machine) == ("cpu",) and not self.machine.scheduler:
            # Before the first shape, processes start and compile shaders. That happens once.
            first = max(shapes[0].waited - drawn[shapes[0].shard], 0.0) if shapes else 0.0
            whole = sum(made.waited for made in shapes) - first + sum(embedded.values())
            mean = whole / count
        else:
            later = [shard for shard in embedded if shard > 0] or list(embedded)  # the first passes of a model are slower
            model = sum(embedded[shard] for shard in later) / max(sum(rows[shard] for shard in later), 1) / devices
            draw = sum(drawn.values()) / count
            mean = draw + model if executors.devices(self.machine) == ("cpu",) else max(draw, model)
        each = [(drawn.get(shard, 0.0) + embedded.get(shard, 0.0)) / number for shard, number in rows.items()]
        deviation = statistics.stdev(each) / max(statistics.mean(each), 1e-9) if len(each) > 1 else 1.0
        return mean, deviation / math.sqrt(len(each))

    def _once(self, events: Sequence[journal.Event]) -> tuple[float, float]:
        """Return the seconds that happen once: loading, and embedding the label sets of all classes."""
        build = next(event for event in events if isinstance(event, journal.Build))
        last = [event.time for event in events if isinstance(event, ShapesMade | ShardMade)][-1]
        done = next(event.time for event in events if isinstance(event, journal.Done))
        here = sum(math.prod(record.labels_shape) for record in self._label_sets(self.cache.manifest.classes))
        whole = sum(math.prod(record.labels_shape) for record in self._label_sets(self._classes()))
        loading, closing = max(build.time - self.begun, 0.0), done - last
        return (loading, closing * whole / here) if here else (loading + closing, 0.0)

    def _classes(self) -> tuple[str, ...]:
        return tuple(sorted({entry.label for entry in self.whole.entries if entry.label}))

    def _label_sets(self, classes: tuple[str, ...]) -> "list[_Words]":
        """List what is embedded of the label sets of the build: for each teacher that reads text, classes and templates."""
        there = self.cache.records()
        readers = {r.spec.name: r.spec for r in there.values() if isinstance(r.spec, TeacherSpec) and r.spec.text}
        cache = dataclasses.replace(self.cache.manifest, classes=classes)
        found = []
        for made in label_sets.wanted_labels(Cache(self.cache.path, cache), self.config):
            shape = len(made.classes), len(made.templates)
            for reader in readers.values():
                name = products.LABELS.product(set=made.name, teacher=reader.name)
                found.append(_Words(product=name, labels_shape=shape, dim=reader.dim))
        return found

    def _sizes(self) -> dict[str, int]:
        """Return the bytes of each product of the whole cache. Arrays that are not compressed are known exactly."""
        there, count = self.cache.manifest, self.cache.manifest.shapes
        whole = _manifest(there, len(self.whole.entries), self.config.shard)
        sizes = {
            name: sum(self._array_bytes(node, count, whole.shapes) for node in products.arrays(whole, record))
            for name, record in self.cache.records().items()
            if not products.of(record).labelled
        }
        for words in self._label_sets(self._classes()):
            sizes[words.product] = 2 * math.prod(words.labels_shape) * words.dim
        return sizes

    def _array_bytes(self, node: ArraySpec, count: int, shapes: int) -> int:
        if node.codec == "raw":
            return math.prod(node.shape) * np.dtype(node.dtype).itemsize
        files = self.cache.folder(node.path).rglob("*")
        return round(sum(file.stat().st_size for file in files if file.is_file()) * shapes / count)

    def _memory(self) -> int:
        """Return the bytes of memory of all processes at their peaks: this one, and as many shape processes as there are, each as large as
        the largest. Two shards of shapes wait in memory, and those of the real build are larger than those of the sample."""
        unit = 1 if sys.platform == "darwin" else 1024
        mine = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
        there = self.cache.records()
        held = (
            sum(product_bytes(self.cache, record) for record in there.values() if products.from_files(record)) / self.cache.manifest.shapes
        )
        whole = _manifest(self.cache.manifest, len(self.whole.entries), self.config.shard)
        return round(mine + child * self.machine.processes() + 3 * held * max(whole.shard - self.cache.manifest.shard, 0))


@dataclass(frozen=True, kw_only=True)
class _Words:
    """A label set embedded by one teacher."""

    product: str
    labels_shape: tuple[int, int]
    """Number of classes and of templates."""
    dim: int


def _manifest(like: Manifest, shapes: int, shard: int) -> Manifest:
    return dataclasses.replace(like, shapes=shapes, shard=shard or shard_size(shapes), segments=())


# ----------------------------------------------------------------------------------------------------------- in words


def in_words(found: Estimate, path: Path) -> list[str]:
    """Say what was found, in lines."""
    lines = []
    if found.done:
        begun = ", ".join(f"{name} {part:.0%}" for name, part in found.done.items())
        lines.append(f"{path} is there, so only what it lacks was counted; it has {begun}")
    where = "cluster" if found.machine.endswith("cluster") else "machine"
    most_likely, least, most = (duration(3600 * hours) for hours in (found.hours, found.low, found.high))
    lines.append(
        f"about {most_likely} on this {where} ({least} to {most}), from {counted(found.sample, 'shape')}, measured on {found.machine}"
    )
    room = "it fits" if found.fits else "IT DOES NOT FIT"
    lines.append(f"about {human(found.total)} on disk, where {human(found.free)} are free: {room}")
    lines.append(f"about {human(found.memory)} of memory at the peak")
    if found.missing:
        lines.append(
            f"weights are missing, so {', '.join(found.without)} was not measured, and time and size come on top. "
            f"Fetch them where there is a network: mmpd-cache fetch {' '.join(found.missing)}"
        )
    if found.unanswered:
        lines.append(
            f"captions were not measured, and time and size come on top, with {found.asked['questions']:,.0f} questions to their server: "
            f"{found.unanswered}"
        )
    elif found.asked:
        lines.append(f"the server of the captions, asked as for the sample: about {asked_in_words(found.asked)}")
        if "cost" not in found.asked:
            lines.append("what that costs is not known; captions.server.price_in and price_out, for a million tokens, tell it")
        if found.at_once[0] < found.at_once[1]:
            lines.append(
                f"captions may take less time: the sample had {found.at_once[0]} questions at a time for their server, and the build has "
                f"{found.at_once[1]}. A larger --sample tells more"
            )
        lines.append(f"to find this out, the server was asked: {asked_in_words(found.spent)}")
    if found.failed:
        low, high = share(len(found.failed), found.sample)
        lines.append(
            f"{len(found.failed)} of {counted(found.sample, 'shape')} failed, so between {low:.0%} and {high:.0%} of all may: "
            + some([f"{shape}: {reason}" for shape, reason in found.failed], 5, "; ")
        )
    else:
        lines.append(f"none of {counted(found.sample, 'shape')} failed, so at most about {share(0, found.sample)[1]:.0%} of all may")
    return lines


def share(failed: int, of: int) -> tuple[float, float]:
    """Return the range of the share of all shapes that fail, with 95 % confidence, from a sample."""
    low, high = wilson(100 * failed / of if of else 0, of, 1.96)
    return low / 100, high / 100
