"""The part of one cache that a run uses: the selected shapes, and the arrays of the teachers and the guide.

    part = Part(open_cache("shapes.zarr"), DataConfig(), Needs(teachers=True), seed=0)
    part.rows                                                           # rows of the shapes that were selected
    part.images["clip-vit-b32"].gather(rows, views)                     # read from mapped files

`Part` opens and checks one cache. `trainer.data` draws batches from several parts.

Letters: N shapes of a cache, n selected shapes, V views, M templates, E a teacher's width.
"""

import functools
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from cache_schema import products
from cache_schema.checks import check_numbers
from cache_schema.classes import NONE, SOURCE, chosen, matched
from cache_schema.errors import UserError
from cache_schema.layout import text_cells
from cache_schema.mirror import bytes_of
from cache_schema.rows import Rows
from cache_schema.spec import CaptionSpec, DenseSpec, GuideSpec, LabelSet, PointSpec, Record, TeacherSpec, added, did_you_mean, label
from cache_schema.store import Cache
from cache_schema.terminal import counted
from trainer import captions
from trainer.batch import Side, target
from trainer.captions import Captions, Ints

SUBSET = 2
"""Number of the stream of random numbers that chooses `data.fraction`. Streams 1, 3 and 4 belong to `trainer.data`, stream 0 to
`trainer.order`."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Settings of the data: which cached shapes and targets a run uses, and how it draws them."""

    splits: tuple[str, ...] = ("train",)
    """Names of splits; empty for all. A cache without splits is used completely."""
    classes: tuple[str, ...] = ()
    """Names of classes; empty for all shapes, also those without a class."""
    fraction: float = 1.0
    """Share of the selected shapes to use, drawn with the run's seed."""
    passes: tuple[float, ...] = ()
    """How often an epoch uses each cache: 0.5 is a random half of it, 2 is all of it twice. Empty: once each."""
    teachers: tuple[str, ...] = ()
    """Names of teachers; empty for all in the caches. If one of several caches lacks a teacher, the teacher's loss ignores its shapes."""
    teacher_weights: tuple[float, ...] = ()
    """Weights in the loss, in the order of `teachers`; empty for 1 / (number of teachers) each."""
    captions: tuple[str, ...] = added(())
    """Names of captions, mixed by `caption_weights`; empty for all that a cache has when the run begins, also those added to the cache
    later than the others. In a cache of format 1 the name is `captions`."""
    caption_weights: tuple[float, ...] = added(())
    """Weights by which captions are drawn, in the order of `captions`; empty for equal weights."""
    caption_kinds: tuple[str, ...] = added(())
    """Kinds of texts that are drawn of captions that have kinds, such as `name,sentence` of `descriptions`; empty for all. Of captions
    without kinds all texts are drawn."""
    hard: str = added("")
    """Name of captions that are wrong on purpose (`mmpd-cache add-captioner CACHE wrong-descriptions`). In the contrast with texts they are
    additional wrong answers, those of a shape for that shape alone. It needs `align.positives=text` or `none`."""
    hard_kinds: tuple[str, ...] = added(())
    """Kinds of these captions that are read, such as `count,part`; empty for all. Points without colours show no colour, so that `color`
    teaches an encoder nothing that reads coordinates alone."""
    templates: float = 0.5
    """Share of texts that are templates filled with the shape's class. All others are captions: of the drawn view, or of the shape if views
    have no captions. Shapes without a class only have captions."""
    labels: str = "source"
    """Name of the label set with the templates."""
    dense: tuple[str, ...] = added(())
    """Names of teachers whose patch features on points are read, if a loss uses them; empty for all that the caches have."""
    blocks: int = 0
    """Number of stored blocks of each shape to use, from the first; 0 for all."""
    resample: bool = False
    """At every step, sample points from all used blocks together and find new centres, instead of reading one block. This is slow; it
    serves to measure the effect of stored blocks."""
    views: int = added(1)
    """Number of views of a shape, and of texts, that a step draws: all are right answers. The encoder runs once on each shape. Views do not
    repeat where a shape has as many (HOLA, https://arxiv.org/abs/2606.01334)."""
    negatives: int = 0
    """Number of other shapes whose embeddings serve as additional wrong answers in the contrastive loss."""
    threads: int = label(2)
    """Number of threads that prepare batches."""
    resident: Literal["no", "auto", "device"] = added("no", identity=False)
    """Where the arrays are that batches are gathered from. `no`: in files, mapped into memory. `device`: loaded once into the memory of the
    device, and refused if they do not fit. `auto`: on a GPU with twice as much free memory, otherwise in files; the run says which."""
    verify: Literal["first_use", "off"] = label("first_use")
    """`first_use`: when a file is first read, compare it with its checksum in the background, and stop the run if it is damaged."""

    mirror: str = label("")
    """Folder for the files of caches that are elsewhere (s3://, gs://, https://, hf://datasets/). Several runs may share it."""
    mirror_limit: str = label("50GiB")
    """Largest size of all files of data in `mirror`. Those that were used longest ago are deleted."""

    def __post_init__(self) -> None:
        bytes_of(self.mirror_limit, "data.mirror_limit")
        check_numbers(self, {"teacher_weights": 0, "caption_weights": 0}, "data.")
        if not 0 < self.fraction <= 1:
            raise UserError(f"data.fraction must lie in (0, 1], got {self.fraction}")
        if not 0 <= self.templates <= 1:
            raise UserError(f"data.templates must lie in [0, 1], got {self.templates}")
        if self.resident != "no" and self.resample:
            raise UserError(f"data.resident={self.resident} has no effect with data.resample, which samples from files: leave one out")
        for name, least in {"negatives": 0, "views": 1, "blocks": 0, "threads": 1}.items():
            if getattr(self, name) < least:
                raise UserError(f"data.{name} must be at least {least}, got {getattr(self, name)}")
        if any(p <= 0 for p in self.passes):
            raise UserError(f"data.passes must be positive, got {self.passes}")
        for one, many in {"teacher": "teachers", "caption": "captions"}.items():
            names, weights = getattr(self, many), getattr(self, f"{one}_weights")
            if len(set(names)) < len(names):
                raise UserError(f"data.{many} has the same name twice: {', '.join(names)}")
            if weights and len(weights) != len(names):
                raise UserError(f"data.{one}_weights needs one weight for each of data.{many}, got {weights}")
        if self.hard_kinds and not self.hard:
            raise UserError("data.hard_kinds has no effect without data.hard: name the captions, or leave it out")
        for name in ("caption_kinds", "hard_kinds"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise UserError(f"data.{name} has the same kind twice: {', '.join(getattr(self, name))}")
        if self.caption_weights and not any(self.caption_weights):
            raise UserError(f"data.caption_weights must not all be 0, got {self.caption_weights}")


@dataclass(frozen=True, kw_only=True)
class Needs:
    """The data that a stage reads in addition to the coordinates."""

    teachers: bool = False
    guide: str | None = None
    """Name of the guide; empty for the only guide of the cache; None for no guide."""
    groups: int = 0
    """Number of groups of points for which patch features of teachers are read; 0 for none."""
    color: bool = False
    centres: int = 1
    """Number of leading points that must be in farthest-point order to serve as centres."""


class Part:
    """The part of one cache that a run uses. It opens everything that is read later, so that missing data is reported before the
    training."""

    def __init__(self, cache: Cache, config: DataConfig, needs: Needs, seed: int) -> None:
        """
        Args:
            cache: the cache. Products that the run needs must be complete.
            config: the settings of the run's data.
            needs: the data that the stage reads.
            seed: seed of the run; it decides the choice of `data.fraction`.

        Raises:
            UserError: no shape is selected, or a product is missing, unfinished or changed since it was finished.
        """
        self.cache = cache
        self.used: dict[str, Record] = {}
        """Records of the products that are read, by product name."""
        self.images: dict[str, Rows] = {}
        """Embeddings of views by teacher, [N, V, E]. This array and the following ones are memory-mapped."""
        self.texts: dict[str, tuple[Rows, ...]] = {}
        """Embeddings of captions for every teacher with a text side, one array for each of `captions`. Empty if no captions are read."""
        self.dense: dict[str, tuple[Rows, Rows]] = {}
        """Patch features on points by teacher, [N, R', G, E], and how many views see each group, [N, R', G]."""
        self.guided: dict[str, Rows] = {}
        """Arrays of the guide by name: `tokens` and `summary`."""
        self._use(products.INDEX.name)
        self._use(products.STATUS.name)
        columns = _Columns(cache)
        self.rows = _selected(columns, config, seed)
        """Rows of the selected shapes, ascending. [n]"""
        self.unsplit = int((columns.ok & (columns.split == NONE)).sum()) if cache.manifest.splits and config.splits else 0
        """Number of usable shapes that are in no split of a cache with splits, and are therefore not selected. A cache without splits that
        has grown by shapes with splits has such shapes."""
        self.own_class = columns.label[self.rows]
        """Index in the cache's classes of each selected shape's class; -1 for none. [n]"""
        self.colored = cache.colored() if needs.color else None
        """Which shapes have colours, [N]; None if no colours are read."""
        self.points = _spec(PointSpec, self._use(products.POINTS.name))
        self.blocks = min(config.blocks or self.points.blocks, self.points.blocks)
        """Number of blocks of a shape that are used, from the first."""
        self.views: dict[str, int] = {}
        """Number of embedded views of a shape by teacher, V. Imported teachers may have others than those of the cache."""
        self.lacking: dict[str, int] = {}
        """By target (`trainer.batch.target`) of which not every shape has an embedding: about how many shapes lack one. Some may have been
        left out by the selection; captions of several captioners make up for each other."""
        self.captions: tuple[Captions, ...] = ()
        """The captions to draw from, one entry for each captioner; empty if no captions are read."""
        self.unasked: tuple[str, ...] = ()
        """Names of captions of which nothing is drawn, because they have none of the kinds that the run asks for."""
        self.hard: dict[str, Rows] = {}
        """Embeddings of captions that are wrong on purpose, by teacher, [N, K, E]; empty if they are not read or this cache has none."""
        self.hard_captions: Captions | None = None
        """These captions."""
        self._told: list[Record] = []
        """The captions that are read, also those that are wrong on purpose."""
        self.teachers: dict[str, TeacherSpec] = {}
        self.templates: dict[str, NDArray[np.float16]] = {}
        """Embeddings of filled templates by teacher. [classes of the cache, M, E]"""
        self.template_key: Ints | None = None
        """A number for each filled template. Equal texts, also captions, have equal numbers. [classes of the cache, M]"""
        self.guide: GuideSpec | None = None
        self.patches: dict[str, DenseSpec] = {}
        """The teachers whose patch features are read, by name."""
        if needs.teachers:
            self._open_teachers(config)
        if needs.groups:
            self._open_dense(config, needs.groups, max(needs.centres, needs.groups))
        if needs.guide is not None and config.resample:
            raise UserError("data.resample samples points that no cached guide knows: add --set guide_online=true")
        if needs.guide is not None:
            self._open_guide(needs.guide, config)

    @property
    def fingerprints(self) -> tuple[tuple[str, str], ...]:
        """Name and fingerprint of every product that is read, sorted. A checkpoint stores them to describe this cache."""
        return tuple(sorted((name, record.fingerprint) for name, record in self.used.items()))

    @property
    def selection(self) -> str:
        """Number of the selected shapes, and a digest of their rows. A run that goes on must select the same, to draw the same batches."""
        return digest_of(self.rows)

    @property
    def data(self) -> str:
        """A digest of the data that the selected shapes were made from; empty if the cache does not tell, or cannot say it any more."""
        with suppress(OSError, ValueError, LookupError, TypeError):  # no step needs it; a result then says that only names were compared
            return data_digest_of(self.cache, self.rows)
        return ""

    @functools.cached_property
    def notes(self) -> tuple[str, ...]:
        """What a reader of results should know of this cache, such as captions that say other classes than it has. All texts are read for
        it, so that of several ranks only the first one asks."""
        rows = self.rows.astype(np.int64)
        return tuple(filter(None, (captions.outdated(self.cache, record, rows) for record in self._told)))

    @property
    def template_count(self) -> int:
        """Number of templates, M; 0 for none."""
        return 0 if self.template_key is None else self.template_key.shape[1]

    @property
    def varied(self) -> bool:
        """Whether shapes have more than one view or text to draw from."""
        captions = sum(len(c.drawn) * (c.views if c.by_view else 1) for c in self.captions)
        return max([*self.views.values(), captions + self.template_count], default=0) > 1

    @property
    def opened(self) -> Iterator[Rows]:
        """All arrays that batches read, except for the points."""
        several = (*self.texts.values(), *self.dense.values())
        yield from (*self.images.values(), *itertools.chain(*several), *self.hard.values(), *self.guided.values())

    def moments(self, side: Side, teacher: str) -> NDArray[np.float64] | None:
        """Mean and variance of a teacher's embeddings of one side; None if they are not read. [2, E]

        The values for texts come from the captions, weighted by the captioners' shares, or from the templates if no captions are read.
        """
        read = self.texts.get(teacher, ()) if side == "text" else [self.images[teacher]] if teacher in self.images else []
        stored = [self.cache.column(f"stats/{rows.node.path}") for rows in read]
        if stored:
            return stored[0] if len(stored) == 1 else captions.mixture(stored, [c.share for c in self.captions])
        if side == "text" and teacher in self.templates:
            values = self.templates[teacher].astype(np.float64)
            return np.stack([values.mean((0, 1)), values.var((0, 1))])
        return None

    def _use(self, product: str) -> Record:
        """The record of a complete product. It is added to `used`."""
        self.used[product] = self.cache.proven(product)
        return self.used[product]

    def _open_teachers(self, config: DataConfig) -> None:
        # Open only what is drawn: a run on templates alone needs no captions in its caches, and the other way round.
        classed = self.own_class >= 0
        captioned = config.templates < 1 or not classed.all()
        templates = config.templates > 0 and bool(classed.any())
        known = teachers_of(self.cache)
        # This cache may lack a teacher that another cache has: the teacher's loss ignores this cache's shapes.
        for name in [name for name in config.teachers if name in known] if config.teachers else known:
            record = self._use(products.IMAGE.product(teacher=name))
            self.views[name] = record.per_shape
            self.teachers[name] = _spec(TeacherSpec, record)
            if record.lacking:
                self.lacking[target("image", name)] = record.lacking
            self.images[name] = self.cache.rows(record.product, config.verify)
            if self.teachers[name].text and templates:
                self._open_templates(name, config.labels)
        if captioned and any(teacher.text for teacher in self.teachers.values()):
            self._open_captions(config)
        if config.hard and any(teacher.text for teacher in self.teachers.values()):
            self._open_hard(config.hard, config)

    def _open_captions(self, config: DataConfig) -> None:
        """Open the captions of each captioner, and every teacher's embeddings of them."""
        version, names = self.cache.manifest.format_version, captions.chosen(self.cache, config.captions)
        shares = {name: share for name, share in zip(names, captions.shares(config.caption_weights, len(names)), strict=True) if share}
        kinds = config.caption_kinds
        specs = {name: _spec(CaptionSpec, self.cache.record(products.CAPTIONS.product(version, captions=name))) for name in shares}
        unasked = tuple(name for name, spec in specs.items() if not captions.drawn_of(spec, kinds))
        if unasked and len(unasked) < len(shares):  # otherwise there is nothing to draw, which `captions.opened` refuses
            self.unasked, asked = unasked, [name for name in shares if name not in unasked]
            shares = dict(zip(asked, captions.shares([shares[name] for name in asked], len(asked)), strict=True))
        said = {name: self._use(products.CAPTIONS.product(version, captions=name)) for name in shares}
        for teacher in (name for name, spec in self.teachers.items() if spec.text):
            self._check_embedded(list(shares), teacher)
            found = [self._use(products.TEXT.product(version, captions=name, teacher=teacher)) for name in shares]
            self.texts[teacher] = tuple(self.cache.rows(record.product, config.verify) for record in found)
            lacking = [max(record.lacking, said[name].lacking) for name, record in zip(shares, found, strict=True)]
            if any(lacking):
                self.lacking[target("text", teacher)] = min(lacking)
        self.captions = tuple(captions.opened(self.cache, said[name], float(share), kinds) for name, share in shares.items())
        self._told += said.values()
        # Shapes that have captions, but none of a kind that is drawn.
        silent = int((~np.any([c.of_shape(self.rows.astype(np.int64)) for c in self.captions], axis=0)).sum()) if kinds else 0
        for teacher in self.texts if silent else ():
            self.lacking[target("text", teacher)] = max(silent, self.lacking.get(target("text", teacher), 0))

    def _open_hard(self, name: str, config: DataConfig) -> None:
        """Open captions that are wrong on purpose, if this cache has them."""
        version, there = self.cache.manifest.format_version, self.cache.records()
        record = there.get(products.CAPTIONS.product(version, captions=name))
        if record is None:
            return
        if not products.is_wrong(there, record):
            raise UserError(
                f"{self.cache.path}: data.hard={name}: these captions are not wrong on purpose, so they are no wrong answers. "
                f"`mmpd-cache add-captioner {self.cache.path} wrong-descriptions` makes some"
            )
        self.hard_captions = captions.opened(self.cache, self._use(record.product), 1.0, config.hard_kinds)
        self._told.append(record)
        for teacher in (one for one, spec in self.teachers.items() if spec.text):
            embedded = self._use(products.TEXT.product(version, captions=name, teacher=teacher))
            self.hard[teacher] = self.cache.rows(embedded.product, config.verify)

    def _check_embedded(self, names: list[str], teacher: str) -> None:
        """Check that a teacher has embedded captions. Raises the errors of `captions.chosen`."""
        try:
            captions.chosen(self.cache, names, teacher)
        except UserError as error:
            if not self.teachers[teacher].imported:
                raise
            raise UserError(
                f"{error}; {teacher} was imported, and no model here embeds captions for it: `mmpd-cache import-embeddings "
                f"{self.cache.path} FILE --teacher {teacher} --kind text --captions NAME` brings them; --set data.captions=NAME takes "
                "others; a teacher without texts is imported with --no-text-side"
            ) from error

    def _open_templates(self, teacher: str, name: str) -> None:
        product, classes = products.LABELS.product(set=name, teacher=teacher), self.cache.manifest.classes
        try:
            record = self._use(product)
        except UserError as error:
            if product in self.cache.products():  # the product exists, but has changed since it was finished
                raise
            raise UserError(f"{error}; {self._labels_come(teacher, name)}; --set data.templates=0 trains without it") from error
        labels = record.labels
        assert isinstance(labels, LabelSet)
        rows = matched(classes, labels.classes, str(self.cache.path), f"label set {name!r}", own=name == SOURCE)
        if NONE in rows:
            missing = classes[rows.tolist().index(NONE)]
            raise UserError(f"{self.cache.path}: label set {name!r} has no class {missing!r}; choose another by --set data.labels=NAME")
        self.templates[teacher] = self.cache.column(product)[rows]
        keys = captions.text_keys(
            text_cells([template.replace("{}", labels.classes[row]) for row in rows for template in labels.templates])
        )
        self.template_key = keys.reshape(len(classes), -1)

    def _labels_come(self, teacher: str, name: str) -> str:
        """How a label set embedded by a teacher comes into the cache, in words."""
        if self.teachers[teacher].imported:
            return f"`mmpd-cache import-embeddings {self.cache.path} FILE --teacher {teacher} --kind labels --labels {name}` brings it"
        return f"`mmpd-cache labels {self.cache.path} {name}` makes it"

    def _open_dense(self, config: DataConfig, groups: int, centres: int) -> None:
        if config.resample:
            raise UserError(
                "data.resample samples points of which no patch features are known: leave it out, or the loss on patch features"
            )
        if self.points.ordered < centres:
            raise UserError(
                f"{self.cache.path}: patch features belong to the first points of a block, of which only {self.points.ordered} are in "
                f"farthest-point order; the encoder needs {centres}: build a cache with --set points.ordered={centres}"
            )
        known = dense_of(self.cache)
        for name in [name for name in config.dense if name in known] if config.dense else known:
            record = self._use(products.DENSE.product(teacher=name))
            spec = self.patches[name] = _spec(DenseSpec, record)
            if spec.groups < groups:
                raise UserError(
                    f"{self.cache.path}: {record.product} has {spec.groups} groups, the encoder {groups}: --set "
                    f"encoder.groups={spec.groups}, or make it under another name: `mmpd-cache add-dense {self.cache.path} OTHER={name} "
                    f"--groups {groups}`"
                )
            features, seen = (self.cache.rows(node.path, config.verify) for node in self.cache.arrays(record))
            self.dense[name] = features, seen
            self.blocks = min(self.blocks, spec.blocks)

    def _open_guide(self, name: str, config: DataConfig) -> None:
        known = [products.parts(record)["guide"] for record in products.select(self.cache.records(), products.GUIDE)]
        if not name and len(known) != 1:
            there = f"has several guides ({', '.join(known)}): choose one by --guide NAME" if known else "has no guide"
            raise UserError(f"{self.cache.path} {there}. `mmpd-train guide {self.cache.path} RUN` makes one from a run of stage 1")
        record = self._use(products.GUIDE.product(guide=name or known[0]))
        self.guide = _spec(GuideSpec, record)
        # The same guide may have different names in two caches, so its arrays are stored under their own names.
        paths = [node.path for node in self.cache.arrays(record)]
        self.guided = {path.rpartition("/")[2]: self.cache.rows(path, config.verify) for path in paths}
        self.blocks = min(self.blocks, self.guide.blocks)


def teachers_of(cache: Cache) -> list[str]:
    """Names of the teachers whose image embeddings are complete."""
    return [products.parts(record)["teacher"] for record in cache.of(products.IMAGE)]


def dense_of(cache: Cache) -> list[str]:
    """Names of the teachers whose patch features on points are complete."""
    return [products.parts(record)["teacher"] for record in cache.of(products.DENSE)]


def check_names(caches: Sequence[Cache], config: DataConfig, needs: Needs) -> None:
    """Check that at least one of the caches has each class and teacher named in the settings.

    Raises:
        UserError: no cache has a class or a teacher, or the settings name teachers that no loss uses.
    """
    places = np.array([chosen(config.classes, cache.manifest.classes, str(cache.path)) for cache in caches])  # [caches, names]
    classes = {name for cache in caches for name in cache.manifest.classes}
    for name, found in zip(config.classes, places.T, strict=True):
        if (found == NONE).all():
            raise UserError(f"data.classes: no cache has a class {name!r}{did_you_mean(name, classes)}")
    if needs.teachers:
        _check_teachers(caches, config.teachers)
    elif unread := _unread(config):
        raise UserError(
            f"{' and '.join(unread)} would have no effect: no loss uses a teacher. Leave it out "
            f"({', '.join(f'--set {back}' for back in unread.values())}), or use the teachers by --set distill.teacher_weight=1"
        )
    if needs.groups:
        _check_dense(caches, config.dense)
    elif config.dense:
        raise UserError(
            "data.dense has no effect: no loss uses patch features. Leave it out (--set data.dense=), or use them by --set "
            "align.local_weight=1 in stage 1 or --set distill.tokens=dense in stage 2"
        )


def _check_dense(caches: Sequence[Cache], asked: Sequence[str]) -> None:
    known = sorted({name for cache in caches for name in dense_of(cache)})
    paths = ", ".join(str(cache.path) for cache in caches)
    for name in asked or [""] * (not known):
        if name not in known:
            raise UserError(
                f"{paths}: no finished patch features{f' of {name}' if name else ''} on points. Complete: {', '.join(known) or 'none'}. "
                f"`mmpd-cache add-dense CACHE {name or 'TEACHER'}` makes them"
            )


def _unread(config: DataConfig) -> dict[str, str]:
    """The settings that were made for teachers and their texts, each with the assignment that takes it back."""
    usual = DataConfig()
    made = {"teachers": "", "negatives": "0", "views": "1", "hard": "", "caption_kinds": ""}
    return {f"data.{name}": f"data.{name}={back}" for name, back in made.items() if getattr(config, name) != getattr(usual, name)}


def _check_teachers(caches: Sequence[Cache], asked: Sequence[str]) -> None:
    known = sorted({name for cache in caches for name in teachers_of(cache)})
    images = [record for cache in caches for record in products.select(cache.records(), products.IMAGE)]
    begun = {products.parts(record)["teacher"] for record in images if not record.complete}
    paths = ", ".join(str(cache.path) for cache in caches)
    for name in asked:
        if name not in known:
            state = "is still being made: run the command that began it again" if name in begun else "is not there"
            raise UserError(
                f"{paths}: teacher {name} {state}. Complete: {', '.join(known) or 'none'}. Choose with --set data.teachers=A,B, or add one "
                "with `mmpd-cache add-teacher`"
            )
    if not known:
        making = ", ".join(sorted(begun))
        state = f"only {making} still being made: run the command that began it again" if begun else "no teacher at all"
        raise UserError(f"{paths}: there is {state}. `mmpd-cache add-teacher` adds one")


class _Columns:
    """What a selection looks at, each read once: a million shapes have thousands of files of each. [N] each"""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache

    @functools.cached_property
    def ok(self) -> NDArray[np.bool_]:
        return self.cache.ok()

    @functools.cached_property
    def split(self) -> NDArray[np.signedinteger]:
        return self._narrow("split", len(self.cache.manifest.splits))

    @functools.cached_property
    def label(self) -> NDArray[np.signedinteger]:
        return self._narrow("label", len(self.cache.manifest.classes))

    def _narrow(self, name: str, names: int) -> NDArray[np.signedinteger]:
        """A column of indices of so many names, or -1, in the fewest bytes that hold all of them. [N]

        Raises:
            UserError: there is another number in it, as in a cache that somebody else has written.
        """
        indices = self.cache.column(name)
        if len(indices) and not (-1 <= indices.min() and indices.max() < names):
            raise UserError(f"{self.cache.path}: {name} has numbers outside -1..{names - 1}, which name nothing: mmpd-cache verify")
        return indices.astype(np.min_scalar_type(-1 - names))


def digest_of(rows: NDArray[np.signedinteger]) -> str:
    """The number of some rows, and a digest of them, as a checkpoint keeps it of the rows that a run reads."""
    return f"{len(rows)} of {hashlib.sha256(rows.astype('<i8').tobytes()).hexdigest()[:16]}"


def data_digest_of(cache: Cache, rows: NDArray[np.signedinteger]) -> str:
    """A digest of the data that some rows were made from, as a checkpoint keeps it of the rows that a run reads; empty if the cache does
    not tell."""
    digests = cache.column("source_sha256")[rows]
    return hashlib.sha256(digests.tobytes()).hexdigest()[:16] if digests.any() else ""


def selected(cache: Cache, config: DataConfig, seed: int) -> NDArray[np.int32]:
    """Rows of the usable shapes of the selected splits and classes, ascending. [n]

    Raises:
        UserError: the cache has no such split, or no shape is left.
    """
    return _selected(_Columns(cache), config, seed)


def _selected(columns: _Columns, config: DataConfig, seed: int) -> NDArray[np.int32]:
    cache = columns.cache
    manifest = cache.manifest
    keep = columns.ok.copy()
    counts = [counted(manifest.count, "shape"), f"{keep.sum()} usable"]
    if manifest.splits and config.splits:
        unknown = [name for name in config.splits if name not in manifest.splits]
        if unknown:
            raise UserError(f"data.splits: {cache.path} has no split {unknown[0]!r}{did_you_mean(unknown[0], manifest.splits)}")
        # `np.isin` would make eight bytes of every index.
        keep &= functools.reduce(np.logical_or, (columns.split == manifest.splits.index(name) for name in config.splits))
        counts.append(f"{keep.sum()} of split {', '.join(config.splits)}")
    if config.classes:
        asked = chosen(config.classes, manifest.classes, str(cache.path))
        keep &= np.isin(columns.label, asked[asked != NONE])
        counts.append(f"{keep.sum()} of class {', '.join(config.classes)}")
    rows = np.arange(len(keep), dtype=np.int32)[keep]
    if not len(rows):
        failed = "" if columns.ok.any() else f"; `mmpd-cache status {cache.path}` says why they failed"
        raise UserError(f"{cache.path}: no shape is left to train on ({', '.join(counts)}){failed}")
    if config.fraction == 1:
        return rows
    count = max(1, round(config.fraction * len(rows)))
    # Sorted, so that neighbours in the list are near each other on disk, for any fraction.
    return np.sort(np.random.default_rng((seed, SUBSET)).permutation(rows)[:count])


def _spec(kind: type[T], record: Record) -> T:
    assert isinstance(record.spec, kind), record
    return record.spec
