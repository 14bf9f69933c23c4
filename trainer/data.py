"""Batches straight from memory-mapped caches: which shape, which of its blocks, views and texts, in which order.

    data = Data([open_cache("shapes.zarr")], DataConfig(), batch=512, seed=0, needs=Needs(teachers=True))
    for batch in feed(data, range(100), slice(None), threads=2, device=torch.device("cpu")):
        ...

Batch `number` is a function of the configuration, the caches and that number alone, so neither threads nor ranks nor a restart change
what is seen. Shapes come in epochs, each in a new random order over everything; batches are cut from epoch after epoch without a
seam, so that every shape comes once in each (or as often as `passes` says), and only what does not fill the very last batch of a run
is left out. A rank takes its rows of each batch.

Several caches form one set: classes are brought together by name, teachers by name and weights.

Letters: B shapes in a batch, N shapes of a cache, P points, C channels, V views, K captions a view, M templates, E a teacher's width,
G tokens, D the guide's width, Q extra rows.
"""

import dataclasses
import functools
import hashlib
import itertools
import threading
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache_schema.errors import UserError
from cache_schema.spec import GREY, CaptionSpec, GuideSpec, LabelSet, PointSpec, Record, TeacherSpec, did_you_mean
from cache_schema.store import Cache, Rows, differences, text_cells
from trainer.batch import Batch, Negatives, Statistics, Used
from trainer.classes import NONE, chosen, matched, united
from trainer.config import DataConfig, DistillConfig, StageConfig
from trainer.points import Blocks, Convention

ORDER, DRAW, SUBSET, POINTS = range(4)
"""What a generator is seeded for, beside the run's seed."""
AHEAD: Final = 2
"""Finished batches that wait to be asked for, beside those that threads are at."""

Ints = NDArray[np.int64]
SOURCE: Final = "source"
"""The label set that is made of a cache's own classes, in their order."""

T = TypeVar("T")
C = TypeVar("C", bound=StageConfig)


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a stage reads beside the coordinates."""

    teachers: bool = False
    guide: str | None = None
    """Name of the guide, empty for the only one there is; None for none."""
    color: bool = False
    centres: int = 1
    """How many leading points must be in farthest-point order to serve as centres."""


@dataclass(frozen=True)
class Drawn:
    """What chance chose for the shapes of a batch. [B] each."""

    part: Ints
    """Which cache."""
    row: Ints
    own_class: Ints
    """By that cache's numbering."""
    label: Ints
    """By the numbering over all caches."""
    block: Ints
    view: Ints
    caption: Ints
    """Column of the text arrays: a caption of that view."""
    template: Ints
    """Template that takes the caption's place; -1 for none."""

    def of(self, which: slice) -> "Drawn":
        return Drawn(*(getattr(self, field.name)[which] for field in dataclasses.fields(self)))


class Part:
    """What is used of one cache."""

    def __init__(self, cache: Cache, config: DataConfig, needs: Needs, seed: int) -> None:
        self.cache = cache
        self.used: dict[str, Record] = {}
        self.arrays: dict[str, Rows] = {}
        """Memory-mapped arrays by path; those of the guide as `guide/tokens` and `guide/summary`."""
        self._take("index")
        self._take("status")
        self.rows = _selected(cache, config, seed)
        self.own_class = cache.column("label").astype(np.int64)[self.rows]
        self.points = _spec(PointSpec, self._take("points"))
        self.blocks, self.views, self.keep = min(config.blocks or self.points.blocks, self.points.blocks), 1, 1
        self.teachers: dict[str, TeacherSpec] = {}
        self.text_key: Ints | None = None  # [N, V * K]
        self.templates: dict[str, NDArray[np.float16]] = {}  # teacher to [own classes, M, E]
        self.template_key: Ints | None = None  # [own classes, M]
        self.guide: GuideSpec | None = None
        if needs.teachers:
            self._open_teachers(config)
        if needs.guide is not None and config.resample:
            raise UserError("data.resample draws points that no cached guide knows: add --set guide_online=true")
        if needs.guide is not None:
            self._open_guide(needs.guide, config)

    def _take(self, product: str) -> Record:
        self.used[product] = self.cache.proven(product)
        return self.used[product]

    def _open_teachers(self, config: DataConfig) -> None:
        classed = self.own_class >= 0
        captions = config.templates < 1 or not classed.all()
        templates = config.templates > 0 and classed.any()
        known = teachers_of(self.cache)
        for name in [name for name in config.teachers if name in known] if config.teachers else known:
            record = self._take(f"image/{name}")
            self.views = record.per_shape
            self.teachers[name] = _spec(TeacherSpec, record)
            self.arrays[record.product] = self.cache.rows(record.product, config.verify)
            if self.teachers[name].text and captions:
                self._take(f"text/{name}")
                self.arrays[f"text/{name}"] = self.cache.rows(f"text/{name}", config.verify)
            if self.teachers[name].text and templates:
                self._open_templates(name, config.labels)
        if any(path.startswith("text/") for path in self.arrays):
            record = self._take("captions")
            self.keep = _spec(CaptionSpec, record).keep
            self.text_key = _caption_keys(self.cache, record, self.keep)

    def _open_templates(self, teacher: str, name: str) -> None:
        product, classes = f"labels/{name}/{teacher}", self.cache.manifest.classes
        try:
            record = self._take(product)
        except UserError as error:
            if product in self.cache.products():  # it is there, and not as it was finished
                raise
            raise UserError(
                f"{error}. `mmpd-cache labels {self.cache.path} {name}` makes it, --set data.templates=0 does without"
            ) from error
        labels = record.labels
        assert isinstance(labels, LabelSet)
        rows = matched(classes, labels.classes, str(self.cache.path), f"label set {name!r}", own=name == SOURCE)
        if NONE in rows:
            missing = classes[rows.tolist().index(NONE)]
            raise UserError(f"{self.cache.path}: label set {name!r} has no class {missing!r}; choose another by --set data.labels=NAME")
        self.templates[teacher] = self.cache.column(product)[rows]
        keys = _keys(text_cells([template.replace("{}", labels.classes[row]) for row in rows for template in labels.templates]))
        self.template_key = keys.reshape(len(classes), -1)

    def _open_guide(self, name: str, config: DataConfig) -> None:
        known = [product.removeprefix("guide/") for product, record in self.cache.records().items() if record.kind == "guide"]
        if not name and len(known) != 1:
            there = f"has several guides ({', '.join(known)}): choose one by --guide NAME" if known else "has no guide"
            raise UserError(f"{self.cache.path} {there}. `mmpd-train guide {self.cache.path} RUN` makes one of a run of stage 1")
        record = self._take(f"guide/{name or known[0]}")
        self.guide = _spec(GuideSpec, record)
        for kind in ("tokens", "summary"):
            self.arrays[f"guide/{kind}"] = self.cache.rows(f"{record.product}/{kind}", config.verify)
        self.blocks = min(self.blocks, self.guide.blocks)

    def moments(self, path: str) -> NDArray[np.float64] | None:
        """Mean and variance of embeddings; None if they are not read. [2, E]"""
        kind, name = path.split("/", 1)
        if path in self.arrays:
            return self.cache.column(f"stats/{path}")
        if kind == "text" and name in self.templates:
            values = self.templates[name].astype(np.float64)
            return np.stack([values.mean((0, 1)), values.var((0, 1))])
        return None


class Data:
    """All that a run draws from."""

    def __init__(
        self, caches: Sequence[Cache], config: DataConfig, *, batch: int, seed: int, needs: Needs, pinned: bool = False, grey: float = GREY
    ) -> None:
        """
        Args:
            caches: one or more.
            config: see there.
            batch: shapes in a batch, over all ranks.
            seed: of everything that is drawn.
            needs: what is read.
            pinned: whether batches lie in page-locked memory, from which a GPU copies without waiting.
            grey: the colour of shapes that have none.

        Raises:
            UserError: nothing is selected, a product is missing, unfinished or not as it was finished, or the caches do not fit
                together; the message says what there is.
        """
        self.config, self.size, self.seed, self.needs, self.pinned = config, batch, seed, needs, pinned
        _check_names(caches, config, needs)
        self.parts = [Part(cache, config, needs, seed) for cache in caches]
        self.classes, places = united([part.cache.manifest.classes for part in self.parts], [str(part.cache.path) for part in self.parts])
        teachers = _united({part.cache.path: part.teachers for part in self.parts})
        self.teachers = {name: teachers[name] for name in config.teachers} if needs.teachers and config.teachers else teachers
        guides = _united({part.cache.path: {"guide": part.guide} for part in self.parts if part.guide})
        self.guide: GuideSpec | None = guides.get("guide")
        specs = [part.points for part in self.parts]
        normalize = _same("points of the same normalize", [spec.normalize for spec in specs])
        colors = [bool(part.cache.colored()[part.rows].any()) for part in self.parts] if needs.color else [False]
        self.convention = Convention(
            count=min(spec.count for spec in specs),  # of larger blocks a share: see trainer.points
            normalize=normalize,
            ordered=min(spec.ordered for spec in specs),
            dtype="float16" if any(spec.dtype == "float16" for spec in specs) else "float32",
            colored=any(colors),
            grey=grey,
        )
        self.points = self.convention.count
        self._blocks = [
            Blocks(part.cache, self.convention, channels=6 if needs.color else 3, centres=needs.centres, join=False, verify=config.verify)
            for part in self.parts
        ]
        self.ordered = not config.resample and all(blocks.ordered for blocks in self._blocks)
        if config.negatives and any(set(part.teachers) != set(self.teachers) for part in self.parts):
            raise UserError("data.negatives needs every teacher in every cache: an embedding that is missing is no wrong answer")

        # One pool of all shapes; a batch is a choice of places in it.
        self._part = np.concatenate([np.full(len(part.rows), i) for i, part in enumerate(self.parts)])
        self._row = np.concatenate([part.rows for part in self.parts])
        self._own_class = np.concatenate([part.own_class for part in self.parts])
        numbers = [np.append(place, NONE) for place in places]  # the last is for shapes without a class, whose number is -1
        self._label = np.concatenate([ids[part.own_class] for ids, part in zip(numbers, self.parts, strict=True)])
        templates = [0 if part.template_key is None else part.template_key.shape[1] for part in self.parts]
        self._limits = np.array([[p.blocks, p.views, p.keep, m] for p, m in zip(self.parts, templates, strict=True)]).T  # [4, parts]

        self._offset = np.cumsum([0, *[cache.manifest.shapes for cache in caches[:-1]]])  # index of each cache's first row
        passes = config.passes or (1.0,) * len(caches)
        if len(passes) != len(caches):
            raise UserError(f"data.passes needs one number for each of {len(caches)} caches, got {passes}")
        places = [np.flatnonzero(self._part == i) for i in range(len(caches))]
        self._quota = [(own, int(p), round((p - int(p)) * len(own))) for own, p in zip(places, passes, strict=True)]
        self.epoch = sum(whole * len(own) + rest for own, whole, rest in self._quota)
        """Shapes in an epoch."""
        if self.epoch < min(batch, 2):
            raise UserError(
                f"an epoch would have {self.epoch} of the shapes, and a batch needs at least 2: raise data.fraction or data.passes, or "
                "take more splits or classes"
            )
        if batch > self.epoch:
            raise UserError(f"a batch of {batch} is larger than an epoch of {self.epoch} shapes: --set optim.batch={self.epoch} or less")
        self._orders: dict[int, Ints] = {}
        self._lock = threading.Lock()

    @property
    def used(self) -> tuple[Used, ...]:
        """What a checkpoint says of the data."""
        return tuple(
            Used(path=str(part.cache.path), products=tuple(sorted((name, record.fingerprint) for name, record in part.used.items())))
            for part in self.parts
        )

    def __str__(self) -> str:
        caches = "; ".join(f"{part.cache.path}: {len(part.rows)} of {part.cache.manifest.shapes} shapes" for part in self.parts)
        teachers = f"; teachers {', '.join(self.teachers)}" if self.teachers else ""
        few = "" if self.config.resample else "fewer points in farthest-point order than centres, which are therefore "
        order = "" if self.ordered else f"; {few or 'points and centres '}sampled at every step"
        cut = f"; {self.points} points a shape, as the smallest blocks have" if len({p.points.count for p in self.parts}) > 1 else ""
        return f"{caches}{teachers}{cut}{order}"

    def row(self, index: int) -> tuple[Path, int]:
        """A shape's cache and its row there, from its index in a batch."""
        part = int(np.searchsorted(self._offset, index, side="right")) - 1
        return self.parts[part].cache.path, index - int(self._offset[part])

    def settle_reads(self) -> None:
        """Wait until every file read so far is compared with its checksum, where `data.verify` asks for that.

        Raises:
            UserError: one is not as it was written.
        """
        for array in (array for part in self.parts for array in part.arrays.values()):
            array.settle()
        for blocks in self._blocks:
            blocks.settle()

    def settled(self, config: C) -> C:
        """A run's configuration with the teachers and the guide by name, where it left them to the caches: these may have more of
        them by the time the run goes on.
        """
        if self.teachers:
            config = dataclasses.replace(config, data=dataclasses.replace(config.data, teachers=tuple(self.teachers)))
        guides = {part.guide.name for part in self.parts if part.guide}
        if isinstance(config, DistillConfig) and len(guides) == 1:  # of several caches, each may call the same guide by another name
            config = dataclasses.replace(config, guide=guides.pop())
        return config

    def statistics(self) -> Statistics:
        """Mean and variance of the embeddings of every teacher, over the caches in proportion to their shapes. Of texts, those of all
        captions; where none are drawn, those of the templates.
        """
        out = {}
        for path in (f"{kind}/{name}" for name in self.teachers for kind in ("image", "text")):
            found = [(part.moments(path), part.cache.manifest.shapes) for part in self.parts]
            having = [(moments, shapes) for moments, shapes in found if moments is not None]
            if having:
                means, variances = np.stack([moments for moments, _ in having], 1)  # [caches, E] each
                shares = [shapes for _, shapes in having]
                mean = np.average(means, axis=0, weights=shares)
                variance = np.average(variances + (means - mean) ** 2, axis=0, weights=shares)
                out[path] = (torch.from_numpy(mean), torch.from_numpy(variance))
        return out

    def batch(self, number: int, share: slice = slice(None)) -> Batch:
        """Rows `share` of batch `number`."""
        rng = np.random.default_rng((self.seed, DRAW, number))
        drawn = self._draw(self._shapes(number), rng).of(share)
        others = self._draw(self._neighbours(number), rng) if self.config.negatives and self.teachers else None
        having = {name: np.array([name in part.teachers for part in self.parts]) for name in self.teachers}
        valid = {name: torch.from_numpy(there[drawn.part]) for name, there in having.items() if not there.all()}
        guide = self.guide
        return Batch(
            points=self._resampled(drawn, number, share) if self.config.resample else self._points(drawn, drawn.block),
            index=torch.from_numpy(self._offset[drawn.part] + drawn.row),
            label=torch.from_numpy(drawn.label),
            ordered=self.ordered,
            image=self._images(drawn),
            text=self._texts(drawn),
            text_key=self._text_keys(drawn),
            image_valid=valid,
            text_valid={name: there for name, there in valid.items() if self.teachers[name].text},
            guide_tokens=None if guide is None else self._gather("guide/tokens", drawn, drawn.block, guide.tokens, guide.dim),
            guide_summary=None if guide is None else self._gather("guide/summary", drawn, drawn.block, guide.dim),
            negatives=None
            if others is None
            else Negatives(
                image=self._images(others), text=self._texts(others), text_key=self._text_keys(others), label=torch.from_numpy(others.label)
            ),
        )

    # what is drawn

    def _shapes(self, number: int) -> Ints:
        """Places of batch `number`. [B]"""
        epoch, offset = np.divmod(np.arange(number * self.size, (number + 1) * self.size), self.epoch)
        return np.concatenate([self._order(int(e))[offset[epoch == e]] for e in np.unique(epoch)])

    def _neighbours(self, number: int) -> Ints:
        """The places that follow those of a batch in the order of its epoch, without any of the batch's own. [Q]"""
        epoch, offset = divmod((number + 1) * self.size - 1, self.epoch)
        ahead = np.arange(min(self.config.negatives + self.size, self.epoch))
        following = self._order(epoch)[(offset + 1 + ahead) % self.epoch]
        return following[~np.isin(following, self._shapes(number))][: self.config.negatives]

    def _order(self, epoch: int) -> Ints:
        """Places in the order of one epoch."""
        with self._lock:
            if epoch not in self._orders:
                rng = np.random.default_rng((self.seed, ORDER, epoch))
                chosen = [np.concatenate([*[own] * whole, rng.permutation(own)[:rest]]) for own, whole, rest in self._quota]
                self._orders = {e: order for e, order in self._orders.items() if abs(e - epoch) <= 1}
                self._orders[epoch] = rng.permutation(np.concatenate(chosen))
            return self._orders[epoch]

    def _draw(self, places: Ints, rng: np.random.Generator) -> Drawn:
        part, own_class = self._part[places], self._own_class[places]
        block, view, caption, template, kind = rng.random((5, len(places)))
        blocks, views, keep, templates = self._limits[:, part]
        filled = (kind < self.config.templates) & (templates > 0) & (own_class >= 0)
        view = _below(views, view)
        return Drawn(
            part=part,
            row=self._row[places],
            own_class=own_class,
            label=self._label[places],
            block=_below(blocks, block),
            view=view,
            caption=view * keep + _below(keep, caption),
            template=np.where(filled, _below(templates, template), -1),
        )

    # what is read

    def _present(self, drawn: Drawn) -> Iterator[tuple[Part, Ints]]:
        """Each cache that shapes were drawn of, with their places in the batch."""
        for i, part in enumerate(self.parts):
            here = np.flatnonzero(drawn.part == i)
            if len(here):
                yield part, here

    def _gather(self, path: str, drawn: Drawn, column: Ints, *shape: int) -> Tensor:
        """Entries (row, column) of one array of every cache, as stored; zeros where a cache does not have it. [B, *shape]"""
        everywhere = all(path in part.arrays for part in self.parts)
        out = (torch.empty if everywhere else torch.zeros)(len(drawn.row), *shape, dtype=torch.float16, pin_memory=self.pinned)
        values = out.numpy()
        for part, here in self._present(drawn):
            array = part.arrays.get(path)
            if array is not None and len(here) == len(values):
                array.gather(drawn.row, column, out=values)
            elif array is not None:
                values[here] = array.gather(drawn.row[here], column[here])
        return out

    def _points(self, drawn: Drawn, block: Ints) -> Tensor:
        out = torch.empty(len(drawn.row), self.points, 6 if self.needs.color else 3, pin_memory=self.pinned)
        values = out.numpy()
        for i, blocks in enumerate(self._blocks):
            here = np.flatnonzero(drawn.part == i)
            if len(here) == len(values):
                blocks.fill(values, drawn.row, block)
            elif len(here):
                values[here] = blocks.read(drawn.row[here], block[here]).numpy()
        return out  # [B, P, C]

    def _resampled(self, drawn: Drawn, number: int, share: slice) -> Tensor:
        """As many points as a block has, drawn without repetition out of all blocks in use. [B, P, C]"""
        blocks, own = self._limits[0].min(), np.zeros_like(drawn.block)
        pool = torch.cat([self._points(drawn, own + block) for block in range(blocks)], dim=1)  # [B, R * P, C]
        keys = np.random.default_rng((self.seed, POINTS, number)).random((self.size, pool.shape[1]))[share]
        chosen = torch.from_numpy(np.argpartition(keys, self.points - 1, axis=1)[:, : self.points])
        return pool.take_along_dim(chosen[..., None], dim=1)

    def _images(self, drawn: Drawn) -> dict[str, Tensor]:
        return {name: self._gather(f"image/{name}", drawn, drawn.view, spec.dim) for name, spec in self.teachers.items()}

    def _texts(self, drawn: Drawn) -> dict[str, Tensor]:
        out = {}
        for name, spec in self.teachers.items():
            if spec.text:
                out[name] = self._gather(f"text/{name}", drawn, drawn.caption, spec.dim)
                for part, here in self._present(drawn):
                    here = here[drawn.template[here] >= 0]
                    if name in part.templates:
                        out[name].numpy()[here] = part.templates[name][drawn.own_class[here], drawn.template[here]]
        return out

    def _text_keys(self, drawn: Drawn) -> Tensor:
        key = np.full(len(drawn.row), -1, np.int64)
        for part, here in self._present(drawn):
            if part.text_key is not None:
                key[here] = part.text_key[drawn.row[here], drawn.caption[here]]
            here = here[drawn.template[here] >= 0]
            if part.template_key is not None:
                key[here] = part.template_key[drawn.own_class[here], drawn.template[here]]
        return torch.from_numpy(key)


def feed(data: Data, numbers: range, share: slice, *, threads: int, device: torch.device) -> Generator[Batch, None, None]:
    """Rows `share` of the batches `numbers`, in that order and on the device. Threads prepare them, and copy them to a GPU on a stream
    of their own, while the batches before are in use.
    """
    copying = torch.cuda.Stream(device) if device.type == "cuda" else None

    def make(number: int) -> tuple[Batch, torch.cuda.Event | None]:
        batch = data.batch(number, share)
        if copying is None:
            return batch, None
        with torch.cuda.stream(copying):
            return batch.to(device), copying.record_event()

    # Threads begin on the first GPU, whichever this rank's is.
    settle = None if copying is None else functools.partial(torch.cuda.set_device, device)
    with ThreadPoolExecutor(threads, "batches", settle) as pool:
        asked: deque[Future[tuple[Batch, torch.cuda.Event | None]]] = deque()
        todo = iter(numbers)
        try:
            asked.extend(pool.submit(make, number) for number in itertools.islice(todo, threads + AHEAD))
            while asked:
                ready = asked.popleft().result()
                asked.extend(pool.submit(make, number) for number in itertools.islice(todo, 1))
                yield _arrived(*ready, device)
        finally:
            for future in asked:
                future.cancel()


def _arrived(batch: Batch, copied: torch.cuda.Event | None, device: torch.device) -> Batch:
    """A batch whose copy is done before the present stream goes on to use it, and whose memory is kept until that use is over."""
    if copied is not None:
        present = torch.cuda.current_stream(device)
        present.wait_event(copied)
        batch.record_stream(present)
    return batch


# ----------------------------------------------------------------------------------------------------- opening a cache


def teachers_of(cache: Cache) -> list[str]:
    """Names of the teachers whose image embeddings are complete."""
    return [product.removeprefix("image/") for product, record in cache.products().items() if record.kind == "image"]


def _check_names(caches: Sequence[Cache], config: DataConfig, needs: Needs) -> None:
    places = np.array([chosen(config.classes, cache.manifest.classes, str(cache.path)) for cache in caches])  # [caches, names]
    classes = {name for cache in caches for name in cache.manifest.classes}
    for name, found in zip(config.classes, places.T, strict=True):
        if (found == NONE).all():
            raise UserError(f"data.classes: no cache has a class {name!r}{did_you_mean(name, classes)}")
    if not needs.teachers:
        if config.teachers or config.negatives:
            raise UserError(
                "data.teachers and data.negatives have no effect: no loss asks for a teacher. Leave them out (--set data.teachers= "
                "--set data.negatives=0), or give the teachers a share by --set distill.teacher_weight=1"
            )
        return
    known = sorted({name for cache in caches for name in teachers_of(cache)})
    begun = {name for cache in caches for name, record in cache.records().items() if not record.complete}
    paths = ", ".join(str(cache.path) for cache in caches)
    for name in config.teachers:
        if name not in known:
            state = "is still being made: run the command that began it again" if f"image/{name}" in begun else "is not there"
            raise UserError(
                f"{paths}: teacher {name} {state}. Complete: {', '.join(known) or 'none'}. Choose with --set data.teachers=A,B, or add one "
                "with `mmpd-cache add-teacher`"
            )
    if not known:
        made = sorted(name.removeprefix("image/") for name in begun if name.startswith("image/"))
        state = f"only {', '.join(made)} still being made: run the command that began it again" if made else "no teacher at all"
        raise UserError(f"{paths}: there is {state}. `mmpd-cache add-teacher` adds one")


def _selected(cache: Cache, config: DataConfig, seed: int) -> Ints:
    """Usable rows of the splits and classes that were asked for."""
    manifest = cache.manifest
    keep = cache.ok()
    counts = [f"{manifest.shapes} shapes", f"{keep.sum()} usable"]
    if manifest.splits and config.splits:
        unknown = [name for name in config.splits if name not in manifest.splits]
        if unknown:
            raise UserError(f"data.splits: {cache.path} has no split {unknown[0]!r}{did_you_mean(unknown[0], manifest.splits)}")
        keep &= np.isin(cache.column("split"), [manifest.splits.index(name) for name in config.splits])
        counts.append(f"{keep.sum()} of split {', '.join(config.splits)}")
    if config.classes:
        asked = chosen(config.classes, manifest.classes, str(cache.path))
        keep &= np.isin(cache.column("label"), asked[asked != NONE])
        counts.append(f"{keep.sum()} of class {', '.join(config.classes)}")
    rows = np.flatnonzero(keep)
    if not len(rows):
        raise UserError(f"{cache.path}: no shape is left to train on ({', '.join(counts)})")
    count = max(1, round(config.fraction * len(rows)))
    return np.sort(np.random.default_rng((seed, SUBSET)).permutation(rows)[:count])


def _caption_keys(cache: Cache, captions: Record, keep: int) -> Ints:
    """A key for each text that is embedded, equal for equal texts. [N, V * K]"""
    cells = (shard[:, :, :keep] for _, shard in cache.column_shards(cache.arrays(captions)[0].path))
    return np.concatenate([_keys(shard.reshape(-1, shard.shape[-1])).reshape(len(shard), -1) for shard in cells])


def _keys(cells: NDArray[np.uint8]) -> Ints:
    """63 bits of a hash of every text cell. [n, L] -> [n]"""
    digests = b"".join(hashlib.blake2b(cell, digest_size=8).digest() for cell in np.ascontiguousarray(cells))
    return (np.frombuffer(digests, "<u8") >> 1).astype(np.int64)


def _spec(kind: type[T], record: Record) -> T:
    assert isinstance(record.spec, kind), record
    return record.spec


def _united(by_cache: Mapping[Any, Mapping[str, T]]) -> dict[str, T]:
    """Specifications by name over all caches, which must agree on each."""
    out: dict[str, tuple[Any, T]] = {}
    for path, specs in by_cache.items():
        for name, spec in specs.items():
            first, known = out.setdefault(name, (path, spec))
            changed = differences(known, spec)
            if changed:
                raise UserError(f"{name} in {first} and in {path} is not the same: {'; '.join(changed)}")
    return {name: spec for name, (_, spec) in out.items()}


def _same(what: str, values: Sequence[T]) -> T:
    if len(set(values)) > 1:
        raise UserError(f"the caches do not all have {what}: {', '.join(map(str, values))}. Train on those that are alike")
    return values[0]


def _below(limit: Ints, chance: NDArray[np.float64]) -> Ints:
    """Whole numbers in 0..limit-1 from chances in [0, 1)."""
    return (chance * limit).astype(np.int64)
