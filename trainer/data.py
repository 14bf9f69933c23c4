"""Batches read from memory-mapped caches: the order of the shapes, and the choice of a block, a view and a text for each.

    data = Data([open_cache("shapes.zarr")], DataConfig(), batch=512, seed=0, needs=Needs(teachers=True))
    for batch in feed(data, range(100), slice(None), threads=2, device=torch.device("cpu")):
        ...

A batch depends only on the configuration, the caches and the batch's number. So the number of threads, the number of ranks and a restart do
not change it. Every epoch has all shapes once (or as often as `passes` sets) in a new random order. Epochs form one stream without gaps,
from which batches are cut; only shapes that do not fill the last batch of a run are left out. A rank takes its rows of each batch.

Several caches form one data set: classes are matched by name, teachers by name and weights. `trainer.part` reads one cache. A place is a
position in the list of all selected shapes of all caches (`trainer.order.Pool`).

Letters: B shapes in a batch, S places, N shapes of a cache, P points, C channels, V views in a step, M templates, E a teacher's width,
G tokens, D the guide's width, R blocks, Q extra rows, H wrong texts of a shape.
"""

import contextlib
import dataclasses
import functools
import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache_schema import products
from cache_schema.classes import united
from cache_schema.errors import UserError
from cache_schema.overlay import told_behind
from cache_schema.records import differences
from cache_schema.rows import Rows
from cache_schema.spec import GREY, DenseSpec, GuideSpec, Record, TeacherSpec, did_you_mean
from cache_schema.store import Cache
from cache_schema.terminal import counted
from trainer.batch import SIDES, Batch, Negatives, Side, Statistics, Used, target
from trainer.captions import Captions, Ints, Mix, mixture
from trainer.order import Choices, Drawn, Epochs, PlaceNumbers, Pool
from trainer.part import DataConfig, Needs, Part, check_names
from trainer.points import Blocks, Convention, Known

DRAW, POINTS, CAPTIONER = 1, 3, 4
"""Numbers of the streams of random numbers, as `trainer.order.ORDER`. The streams are for: the choices for each shape of a batch, points
sampled again, and the captioner."""
AHEAD: Final = 2
"""Number of finished batches that may wait in the queue, in addition to one for each thread."""

T = TypeVar("T")


class Data:
    """The data set of a run: the selected shapes of all its caches, and batches of them by number."""

    def __init__(
        self, caches: Sequence[Cache], config: DataConfig, *, batch: int, seed: int, needs: Needs, pinned: bool = False, grey: float = GREY
    ) -> None:
        """
        Args:
            caches: one or more.
            config: the settings of the run's data.
            batch: shapes in a batch, over all ranks.
            seed: seed of all random choices.
            needs: what the stage reads.
            pinned: whether batches are in page-locked memory, from which a GPU copies asynchronously.
            grey: colour of shapes that have no colours.

        Raises:
            UserError: no shape is selected, a product is missing, unfinished or changed since it was finished, or the caches do not fit
                together. The message lists what exists.
        """
        self.config, self.size, self.seed, self.needs, self.pinned = config, batch, seed, needs, pinned
        check_names(caches, config, needs)
        self.parts = [Part(cache, config, needs, seed) for cache in caches]
        self.classes, places = united([part.cache.manifest.classes for part in self.parts], [str(part.cache.path) for part in self.parts])
        self.teachers = self._united_teachers()
        if config.captions and not any(part.captions for part in self.parts):
            raise UserError(
                "data.captions has no effect: no captions are read. Leave it out (--set data.captions=), or lower data.templates"
            )
        if config.views > 1 and not any(part.varied for part in self.parts):
            raise UserError("data.views has no effect: every shape has one view and one text. Leave it out (--set data.views=1)")
        self._check_kinds()
        self._different = _united_guides({part.cache.path: part.guide for part in self.parts if part.guide})
        self.guide: GuideSpec | None = next((part.guide for part in self.parts if part.guide), None)
        self.patches = self._united_patches()
        """The teachers whose patch features are read, by name."""
        self.convention = _convention(self.parts, needs, grey)
        self.points = self.convention.count
        """Points of a shape, P."""
        self._blocks = self._open_blocks()
        self.ordered = not config.resample and all(blocks.ordered for blocks in self._blocks)
        """Whether points come in farthest-point order."""
        # One list of all shapes, as arrays: a batch then takes a few indexing operations, for any number of shapes.
        self.pool = Pool(self.parts, places)
        self._choices = Choices(
            blocks=np.array([part.blocks for part in self.parts]), templates=np.array([part.template_count for part in self.parts])
        )
        self._mix = Mix([part.captions for part in self.parts])
        self._first_index = np.cumsum([0, *[cache.manifest.shapes for cache in caches[:-1]]])
        """Index, in a batch, of each cache's first row. [parts]"""
        self.epochs = self._epochs()

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be compared between caches, and what of them does not fit their shapes any more (`Part.notes`)."""
        return (*self._different, *(note for part in self.parts for note in part.notes))

    def _check_kinds(self) -> None:
        """Check that captions of each kind named in the settings are read.

        Raises:
            UserError: they are not, or wrong captions are asked for and there are none.
        """
        if self.config.hard and not any(part.hard for part in self.parts):
            raise UserError(
                f"data.hard: no cache has captions {self.config.hard!r} with a teacher that reads text. `mmpd-cache add-captioner CACHE "
                "wrong-descriptions` makes some"
            )
        if self.config.hard and not any(
            one.of_shape(part.rows.astype(np.int64)).any() for part in self.parts if (one := part.hard_captions)
        ):
            raise UserError(
                f"data.hard: no shape that is trained on has a text in the captions {self.config.hard!r}: where nothing that is stated "
                "can be exchanged there are no wrong texts; leave data.hard out"
            )
        hard = [part.hard_captions for part in self.parts if part.hard_captions is not None]
        for setting, asked, read in (
            ("caption_kinds", self.config.caption_kinds, [c for part in self.parts for c in part.captions]),
            ("hard_kinds", self.config.hard_kinds, hard),
        ):
            known = dict.fromkeys(kind for c in read for kind in c.kinds)
            for kind in asked:
                if kind not in known:
                    some = did_you_mean(kind, known) or ", only captions without kinds, or none"
                    raise UserError(f"data.{setting}: no caption of the kind {kind!r} is read{some}")

    @functools.cached_property
    def hard_kinds(self) -> tuple[str, ...]:
        """Kinds of the wrong texts that are read of a shape; empty for none. H"""
        read = [part.hard_captions for part in self.parts if part.hard_captions is not None]
        return tuple(dict.fromkeys(c.kinds[i] for c in read for i in c.drawn))

    def _united_teachers(self) -> dict[str, TeacherSpec]:
        """The teachers by name, in the order of `data.teachers`."""
        config, found = self.config, _united({part.cache.path: part.teachers for part in self.parts})
        if config.negatives and any(set(part.teachers) != set(found) or part.lacking for part in self.parts):
            raise UserError(
                "data.negatives needs every teacher in every cache, with an embedding of every shape: a missing embedding cannot be a "
                "wrong answer"
            )
        return {name: found[name] for name in config.teachers} if self.needs.teachers and config.teachers else found

    def _united_patches(self) -> dict[str, DenseSpec]:
        """The teachers of patch features by name, in the order of `data.dense`."""
        _united(
            {part.cache.path: {name: dataclasses.replace(spec, blocks=1) for name, spec in part.patches.items()} for part in self.parts}
        )
        found: dict[str, DenseSpec] = {}
        for part in self.parts:
            found |= {name: spec for name, spec in part.patches.items() if name not in found}  # as the first cache has it
        return {name: found[name] for name in self.config.dense} if self.config.dense else found

    def _open_blocks(self) -> list[Blocks]:
        channels = 6 if self.needs.color else 3
        # Training never joins blocks: a cached guide has tokens for the groups of single blocks.
        return [
            Blocks(
                part.cache,
                self.convention,
                channels=channels,
                centres=self.needs.centres,
                join=False,
                verify=self.config.verify,
                known=Known(spec=part.points, colored=part.colored),
            )
            for part in self.parts
        ]

    def _epochs(self) -> Epochs:
        passes = self.config.passes or (1.0,) * len(self.parts)
        if len(passes) != len(self.parts):
            raise UserError(f"data.passes needs one number for each of {len(self.parts)} caches, got {passes}")
        return Epochs([len(part.rows) for part in self.parts], passes, self.size, self.seed)

    @property
    def used(self) -> tuple[Used, ...]:
        """The description of the data that a checkpoint stores."""
        return tuple(Used(path=part.cache.address, products=part.fingerprints, rows=part.selection, data=part.data) for part in self.parts)

    @property
    def repeated(self) -> int:
        """Number of selected shapes that have fewer different points than a block."""
        return sum(int(part.cache.repeated()[part.rows].sum()) for part in self.parts)

    @property
    def epoch(self) -> int:
        """Shapes in an epoch."""
        return self.epochs.length

    def __str__(self) -> str:
        caches = "; ".join(_described(part, self.teachers) for part in self.parts)
        named = [f"{name} ({_provenance(spec)})" if spec.imported else name for name, spec in self.teachers.items()]
        teachers = f"; teachers {', '.join(named)}" if named else ""
        few = "" if self.config.resample else "fewer points in farthest-point order than centres, which are therefore "
        patches = f"; patch features of {', '.join(self.patches)} on the first {self._blocks_used()}" if self.patches else ""
        views = f"; {self.config.views} views and texts of a shape in a step{self._views_again()}" if self.config.views > 1 else ""
        order = "" if self.ordered else f"; {few or 'points and centres '}sampled at every step"
        cut = f"; {self.points} points a shape, as the smallest blocks have" if len({p.points.count for p in self.parts}) > 1 else ""
        hard = f"; wrong texts of each shape: {self.config.hard} ({', '.join(self.hard_kinds)})" if self.hard_kinds else ""
        return f"{caches}{teachers}{views}{hard}{patches}{cut}{order}"

    def _views_again(self) -> str:
        """What is said if shapes have fewer views than a step draws, in words; empty if no views are read or there are enough."""
        stored = sorted({count for part in self.parts for count in part.views.values() if count < self.config.views})
        return f", of {' and '.join(map(str, stored))} stored, so that views repeat" if stored else ""

    def _blocks_used(self) -> str:
        """Number of blocks of a shape that are used, in words."""
        number = max(part.blocks for part in self.parts)
        return "block of each shape, the only one used" if number == 1 else f"{number} blocks of each shape, the only ones used"

    def row(self, index: int) -> tuple[Path, int]:
        """A shape's cache and its row there, from its index in a batch."""
        part = int(np.searchsorted(self._first_index, index, side="right")) - 1
        return self.parts[part].cache.path, index - int(self._first_index[part])

    def settle_reads(self) -> None:
        """Wait until every file read so far is compared with its checksum, if `data.verify` is set.

        Raises:
            UserError: a file does not match its checksum.
        """
        for array in (array for part in self.parts for array in part.opened):
            array.settle()
        for blocks in self._blocks:
            blocks.settle()

    def statistics(self) -> Statistics:
        """Mean and variance of the embeddings of every teacher, over all caches, weighted by their numbers of shapes.

        The values for texts come from the captions, weighted by the captioners' shares, or from the templates if no captions are drawn.
        """
        shapes = [part.cache.manifest.count for part in self.parts]
        out = {}
        for name in self.teachers:
            for side in SIDES:
                moments = [part.moments(side, name) for part in self.parts]
                having = [(values, count) for values, count in zip(moments, shapes, strict=True) if values is not None]
                if having:
                    mean, variance = mixture([values for values, _ in having], [count for _, count in having])
                    out[target(side, name)] = (torch.from_numpy(mean), torch.from_numpy(variance))
        return out

    def points_of(self, part: Part) -> tuple[Rows, ...]:
        """The arrays of points that batches read from a cache."""
        return self._blocks[self.parts.index(part)].opened

    def opened(self) -> Iterator[tuple[Part, Rows]]:
        """Every array whose files batches read, with its cache."""
        for part in self.parts:
            for rows in (*part.opened, *self.points_of(part)):
                yield part, rows

    def reads(self, number: int, share: slice = slice(None)) -> Iterator[tuple[Part, Rows, Ints]]:
        """Tell what `batch` reads from files: for each array, its cache and the rows that are read. [n]"""
        drawn, seen, others = self._drawn(number, share)
        for i, part in enumerate(self.parts):
            mine, looks = (some.of(np.flatnonzero(some.part == i)) for some in (drawn, seen))
            theirs = None if others is None else others.of(np.flatnonzero(others.part == i))
            for rows in (*self.points_of(part), *part.guided.values(), *itertools.chain(*part.dense.values())):
                yield part, rows, mine.row
            both = looks.row if theirs is None else np.concatenate([looks.row, theirs.row])
            captioner = looks.captioner if theirs is None else np.concatenate([looks.captioner, theirs.captioner])
            for rows in part.images.values():
                yield part, rows, both
            for arrays in part.texts.values():
                for place, rows in enumerate(arrays):
                    yield part, rows, both[captioner == place]
            for rows in part.hard.values():
                yield part, rows, mine.row

    def _drawn(self, number: int, share: slice) -> tuple[Drawn, Drawn, Drawn | None]:
        """The shapes of rows `share` of a batch with their random choices [B], the same for each of their views [B * V], and those of the
        batch's other shapes, if there are any [Q]."""
        rng, captioners = (np.random.default_rng((self.seed, stream, number)) for stream in (DRAW, CAPTIONER))
        # Draw for the whole batch first, then take this rank's rows: the choices must not depend on the number of ranks.
        views = self.config.views
        start, stop, _ = share.indices(self.size)
        seen = self._draw(self.epochs.batch(number), rng, captioners, views).of(slice(start * views, stop * views))
        drawn = seen.of(slice(None, None, views))
        wanted = self.config.negatives if self.teachers else 0
        others = self._draw(self.epochs.following(number, wanted), rng, captioners) if wanted else None  # the same for all ranks
        return drawn, seen, others

    def batch(self, number: int, share: slice = slice(None)) -> Batch:
        """Rows `share` of batch `number`."""
        drawn, seen, others = self._drawn(number, share)
        image, text = self._images(seen), self._texts(seen)
        image_valid, text_valid = self._valid("image", image, seen), self._valid("text", text, seen)
        guide, text_key = self.guide, self._text_keys(seen)
        return Batch(
            points=self._resampled(drawn, number, share) if self.config.resample else self._points(drawn, drawn.block),
            index=torch.from_numpy(self._first_index[drawn.part] + drawn.row),
            label=torch.from_numpy(drawn.label),
            ordered=self.ordered,
            image={name: self._by_shape(values) for name, values in image.items()},
            text={name: self._by_shape(values) for name, values in text.items()},
            text_key=self._by_shape(text_key),
            image_valid={name: self._by_shape(there) for name, there in image_valid.items()},
            text_valid={name: self._by_shape(there) for name, there in text_valid.items()},
            guide_tokens=None if guide is None else self._guided("tokens", drawn, guide.tokens, guide.dim),
            guide_summary=None if guide is None else self._guided("summary", drawn, guide.dim),
            dense={name: self._dense(name, drawn) for name in self.patches},
            dense_seen={name: self._dense_seen(name, drawn) for name in self.patches},
            negatives=None if others is None else self._negatives(others),
            hard={name: self._hard(name, drawn) for name, spec in self.teachers.items() if spec.text} if self.hard_kinds else {},
            hard_valid=self._hard_there(drawn, text_key) if self.hard_kinds else None,
        )

    # ---- random choices

    def _draw(self, places: PlaceNumbers, rng: np.random.Generator, captioners: np.random.Generator, views: int = 1) -> Drawn:
        """Draw the choices for some views and texts of the shapes at these places: the captioner from `captioners`, everything else from
        `rng`."""
        # Always draw all random numbers, needed or not. So the view of a shape does not change if, for example, templates are turned off,
        # and runs that differ in one setting make the same other choices.
        block, *chances = rng.random((5, len(places)))
        # A separate stream: a run with one captioner draws the same as in versions without several captioners.
        look, caption, *others = *chances, captioners.random(len(places))
        # Chances that are 1 / V apart choose V different ones of V or more, in arrays of any size, and each of these as often as any other
        # does. The first view is the one that a run with one view draws. The texts of a shape by one captioner are as far apart as their
        # number allows, so that they are of different kinds.
        view, template, kind, captioner = (((c[:, None] + np.arange(views) / views) % 1).ravel() for c in (look, *others))
        shapes, block = self.pool.at(np.repeat(places, views)), np.repeat(block, views)
        choices = self._choices.of(shapes.part)
        filled = (kind < self.config.templates) & (choices.templates > 0) & (shapes.own_class >= 0)
        captioner = self._mix.captioner(shapes.part, shapes.row, captioner)
        nth, of = _nth(captioner.reshape(-1, views), filled.reshape(-1, views))
        caption = ((caption[:, None] + nth / of) % 1).ravel()
        return Drawn(
            **vars(shapes),
            block=_below(choices.blocks, block),
            look=view,
            captioner=captioner,
            # If each view has captions, take a caption of the view whose picture is drawn.
            caption=self._mix.column(shapes.part, shapes.row, captioner, view, caption),
            template=np.where(filled, _below(choices.templates, template), -1),
        )

    # ---- reading

    def _present(self, drawn: Drawn) -> Iterator[tuple[Part, Ints]]:
        """Each cache with shapes in the batch, and the positions of these shapes in the batch."""
        for i, part in enumerate(self.parts):
            here = np.flatnonzero(drawn.part == i)
            if len(here):
                yield part, here

    def _gather(
        self,
        arrays: Sequence[Sequence[Rows]],
        drawn: Drawn,
        which: Ints | int,
        column: Ints,
        *shape: int,
        dtype: torch.dtype = torch.float16,
    ) -> Tensor:
        """Entries (row, column) of the arrays of every cache, as stored; zeros if a cache has no array. [B, *shape]

        Args:
            arrays: for each cache, the arrays to choose from.
            drawn: the shapes, whose rows are read.
            which: index of each shape's array among the arrays of its cache, [B]; or one index for all.
            column: column of each shape's entry. [B]
            shape: shape of an entry.
            dtype: type of the stored numbers.
        """
        # Zeros instead of uninitialised memory: a mask does not remove a NaN, since 0 * NaN is NaN.
        out = (torch.empty if all(arrays) else torch.zeros)(len(drawn.row), *shape, dtype=dtype, pin_memory=self.pinned)
        values = out.numpy()  # shares its memory
        for part, choices in enumerate(arrays):
            for place, array in enumerate(choices):
                here = np.flatnonzero((drawn.part == part) & (which == place))
                if len(here) == len(values):
                    # The usual case, one cache: from the mapped file straight into the batch, copied once.
                    array.gather(drawn.row, column, out=values)
                elif len(here):
                    values[here] = array.gather(drawn.row[here], column[here])
        return out

    def _guided(self, name: str, drawn: Drawn, *shape: int) -> Tensor:
        """The guide's features of the drawn blocks. [B, *shape]"""
        return self._gather([[part.guided[name]] if part.guided else [] for part in self.parts], drawn, 0, drawn.block, *shape)

    def _dense(self, name: str, drawn: Drawn) -> Tensor:
        """A teacher's patch features of the drawn blocks. [B, G, E]"""
        spec, arrays = self.patches[name], [[part.dense[name][0]] if name in part.dense else [] for part in self.parts]
        return self._gather(arrays, drawn, 0, drawn.block, spec.groups, spec.dim)

    def _dense_seen(self, name: str, drawn: Drawn) -> Tensor:
        """Whether a view sees the groups of the drawn blocks; never in a cache without the teacher. [B, G] bool"""
        arrays = [[part.dense[name][1]] if name in part.dense else [] for part in self.parts]
        return self._gather(arrays, drawn, 0, drawn.block, self.patches[name].groups, dtype=torch.uint8) > 0

    def _points(self, drawn: Drawn, block: Ints) -> Tensor:
        """Points of these blocks, with colours if the stage needs them. [B, P, C]"""
        out = torch.empty(len(drawn.row), self.points, 6 if self.needs.color else 3, pin_memory=self.pinned)
        values = out.numpy()  # shares its memory
        for i, blocks in enumerate(self._blocks):
            here = np.flatnonzero(drawn.part == i)
            if len(here) == len(values):
                blocks.fill(values, drawn.row, block)
            elif len(here):
                values[here] = blocks.read(drawn.row[here], block[here]).numpy()
        return out

    def _resampled(self, drawn: Drawn, number: int, share: slice) -> Tensor:
        """Points sampled again: as many as a block has, drawn without repetition from all blocks in use. [B, P, C]"""
        blocks, own = self._choices.blocks.min(), np.zeros_like(drawn.block)
        pool = torch.cat([self._points(drawn, own + block) for block in range(blocks)], dim=1)  # [B, R * P, C]
        # The P smallest of R * P random numbers are a choice without repetition. As in `batch`, draw for all ranks, then cut.
        keys = np.random.default_rng((self.seed, POINTS, number)).random((self.size, pool.shape[1]))[share]
        chosen = torch.from_numpy(np.argpartition(keys, self.points - 1, axis=1)[:, : self.points])
        return pool.take_along_dim(chosen[..., None], dim=1)

    def _images(self, drawn: Drawn) -> dict[str, Tensor]:
        """Embeddings of the drawn views by teacher. [B, E] each"""
        images = {name: [[part.images[name]] if name in part.images else [] for part in self.parts] for name in self.teachers}
        views = {name: np.array([part.views.get(name, 1) for part in self.parts]) for name in self.teachers}
        return {
            name: self._gather(images[name], drawn, 0, _below(views[name][drawn.part], drawn.look), spec.dim)
            for name, spec in self.teachers.items()
        }

    def _texts(self, drawn: Drawn) -> dict[str, Tensor]:
        """Embeddings of the drawn captions or templates, for every teacher with a text side. [B, E] each"""
        out = {}
        for name, spec in self.teachers.items():
            if spec.text:
                # Read captions for all shapes, then overwrite some with templates: so one gather fills the batch.
                arrays = [part.texts.get(name, ()) for part in self.parts]
                out[name] = self._gather(arrays, drawn, drawn.captioner, drawn.caption, spec.dim)
                for part, here in self._present(drawn):
                    here = here[drawn.template[here] >= 0]
                    if name in part.templates:
                        out[name].numpy()[here] = part.templates[name][drawn.own_class[here], drawn.template[here]]
        return out

    def _hard(self, name: str, drawn: Drawn) -> Tensor:
        """A teacher's embeddings of the wrong texts of shapes. [B, H, E]"""
        arrays, found = [[part.hard[name]] if name in part.hard else [] for part in self.parts], []
        for kind in self.hard_kinds:
            columns = np.array([self._hard_column(part, kind) for part in self.parts])
            found.append(self._gather(arrays, drawn, 0, np.maximum(columns[drawn.part], 0), self.teachers[name].dim))
        return torch.stack(found, 1)

    def _hard_there(self, drawn: Drawn, text_key: Tensor) -> Tensor:
        """Which wrong texts there are. One that is equal to a drawn text about its shape is none. [B, H] bool"""
        key = np.full((len(drawn.row), len(self.hard_kinds)), -1, np.int64)
        for part, here in self._present(drawn):
            for place, kind in enumerate(self.hard_kinds):
                column = self._hard_column(part, kind)
                if column >= 0 and part.hard_captions is not None:
                    key[here, place] = part.hard_captions.key[drawn.row[here], column]
        own = text_key.numpy().reshape(len(key), 1, -1)  # [B, 1, V]
        return self._there((key >= 0) & (key[:, :, None] != own).all(-1))

    @staticmethod
    def _hard_column(part: Part, kind: str) -> int:
        """Column of a kind of wrong texts in the arrays of a cache; -1 for none."""
        read = part.hard_captions
        return next((i for i in read.drawn if read.kinds[i] == kind), -1) if read is not None else -1

    def _valid(self, side: Side, embedded: Mapping[str, Tensor], drawn: Drawn) -> dict[str, Tensor]:
        """Which shapes have a target of one side, by teacher. [B] bool

        A teacher of which all caches have everything gets no mask: for the losses this means that no target is missing.
        """
        valid = {}
        for name, values in embedded.items():
            there = np.array([name in part.teachers for part in self.parts])
            lacking = any(target(side, name) in part.lacking for part in self.parts)
            if lacking or not there.all():
                some = self._there(there[drawn.part])
                # Where a shape has no embedding in a file that was imported, zeros are stored; no teacher gives these.
                valid[name] = some & (values != 0).any(-1) if lacking else some
        return valid

    def _there(self, flags: NDArray[np.bool_]) -> Tensor:
        """Flags where the targets of the batch are. [B] bool"""
        return torch.from_numpy(flags)

    def _by_shape(self, tensor: Tensor) -> Tensor:
        """What views have, [B * V, ...], by shape and view, [B, V, ...], if there are several."""
        return tensor.unflatten(0, (-1, self.config.views)) if self.config.views > 1 else tensor

    def _text_keys(self, drawn: Drawn) -> Tensor:
        """A number for each drawn text. Equal texts have equal numbers, also in different caches. [B]"""
        key = np.full(len(drawn.row), -1, np.int64)
        for part, here in self._present(drawn):
            # Keys are hashes of the texts, so equal texts have equal keys: in two caches, or if a caption equals a filled template.
            # Contrast must not treat an equal text as a wrong answer.
            for place, captions in enumerate(part.captions):
                theirs = here[drawn.captioner[here] == place]
                key[theirs] = captions.key[drawn.row[theirs], drawn.caption[theirs]]
            here = here[drawn.template[here] >= 0]
            if part.template_key is not None:
                key[here] = part.template_key[drawn.own_class[here], drawn.template[here]]
        return torch.from_numpy(key)

    def _negatives(self, drawn: Drawn) -> Negatives:
        return Negatives(
            image=self._images(drawn), text=self._texts(drawn), text_key=self._text_keys(drawn), label=torch.from_numpy(drawn.label)
        )


def feed(
    data: Data,
    numbers: range,
    share: slice,
    *,
    threads: int,
    device: torch.device,
    held: Callable[[int], contextlib.AbstractContextManager[None]] = lambda number: contextlib.nullcontext(),
) -> Generator[Batch, None, None]:
    """Yield rows `share` of the batches `numbers`, in that order and on the device. While one batch is in use, threads prepare the next
    ones and copy them to a GPU on a separate stream. A batch is made within `held` of its number.
    """
    # On the training's stream, a copy would wait for the step before it, and the next step would wait for the copy.
    copying = torch.cuda.Stream(device) if device.type == "cuda" else None

    def make(number: int) -> tuple[Batch, torch.cuda.Event | None]:
        with held(number), torch.cuda.stream(copying):  # resident data gathers its batches on the device
            batch = data.batch(number, share)
        if copying is None:
            return batch, None
        # Torch's allocator of page-locked memory is a ring: it keeps the memory of earlier batches, and hands a piece out again once the
        # event behind the copy from it is done. So nothing is allocated after the first batches, and no batch is copied twice on the CPU.
        with torch.cuda.stream(copying):
            return batch.pinned().to(device), copying.record_event()

    # A new thread uses the first GPU by default, so set this rank's GPU.
    settle = None if copying is None else functools.partial(torch.cuda.set_device, device)
    with ThreadPoolExecutor(threads, "batches", settle) as pool:
        asked: deque[Future[tuple[Batch, torch.cuda.Event | None]]] = deque()
        todo = iter(numbers)
        try:
            # A queue of bounded length: batches keep their order, however long each one takes, and memory is bounded.
            asked.extend(pool.submit(make, number) for number in itertools.islice(todo, threads + AHEAD))
            while asked:
                ready = asked.popleft().result()
                asked.extend(pool.submit(make, number) for number in itertools.islice(todo, 1))
                yield _arrived(*ready, device)
        finally:
            for future in asked:
                future.cancel()


def _arrived(batch: Batch, copied: torch.cuda.Event | None, device: torch.device) -> Batch:
    """A batch that is safe to use on the current stream: the stream waits for the copy, and the memory is kept until the use ends."""
    if copied is not None:
        present = torch.cuda.current_stream(device)
        present.wait_event(copied)
        batch.record_stream(present)
    return batch


def _provenance(spec: TeacherSpec) -> str:
    """Where the embeddings of an imported teacher come from, in words."""
    return f"imported, told to be of {spec.model}{'' if spec.text else ', pictures only'}"


def _described(part: Part, teachers: Iterable[str]) -> str:
    """How much of a cache is used, in words, the shares and kinds of its captions, how many texts teachers have cut, and what it lacks.
    `teachers`: those of the run."""
    mixed = ", ".join(f"{captions.name}{_kinds_in(captions)} {100 * captions.share:.3g} %" for captions in part.captions)
    mix = f", captions {mixed}" if len(part.captions) > 1 or any(captions.kinds for captions in part.captions) else ""
    if part.unasked:
        mix += f", nothing of {', '.join(part.unasked)}, which has none of the kinds asked for"
    cut = "".join(f", {record.cut} of {product} {_shortened(part, record)}" for product, record in part.used.items() if record.cut)
    lack = "".join(f", {count} without {product}" for product, count in part.lacking.items() if count)
    unsplit = f" ({part.unsplit} are in no split and are left out)" if part.unsplit else ""
    absent = ", ".join(name for name in teachers if name not in part.teachers)
    none = f", nothing by {absent}" if absent else ""
    behind = f" ({said})" if (said := told_behind(part.cache)) else ""
    return f"{part.cache.address}: {len(part.rows)} of {counted(part.cache.manifest.count, 'shape')}{unsplit}{mix}{cut}{none}{lack}{behind}"


def _nth(captioner: Ints, filled: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """The place of each text among those of a shape by the same captioner, and their number. Filled templates do not count. [B, V] each"""
    same = (captioner[:, :, None] == captioner[:, None, :]) & ~filled[:, None, :]  # [B, V, V]
    return np.tril(same, -1).sum(2), np.maximum(same.sum(2), 1)


def _shortened(part: Part, record: Record) -> str:
    """What became of texts that are longer than their teacher reads. Wrong ones are not embedded."""
    return "left out" if products.is_wrong(part.cache.records(), record) else "cut"


def _kinds_in(captions: Captions) -> str:
    """The kinds of texts that are drawn of some captions, in brackets; empty if they are of one kind."""
    return f" ({', '.join(captions.kinds[i] for i in captions.drawn)})" if captions.kinds else ""


def _convention(parts: Sequence[Part], needs: Needs, grey: float) -> Convention:
    """The kind of points in a run on these caches. The point count and the length of the farthest-point order are the smallest of all
    caches."""
    specs = [part.points for part in parts]
    return Convention(
        count=min(spec.count for spec in specs),
        normalize=_same("points of the same normalize", [spec.normalize for spec in specs]),
        ordered=min(spec.ordered for spec in specs),
        dtype="float16" if any(spec.dtype == "float16" for spec in specs) else "float32",
        colored=any(part.colored is not None and bool(part.colored[part.rows].any()) for part in parts),
        grey=grey,
    )


def _united(by_cache: Mapping[Path, Mapping[str, T]]) -> dict[str, T]:
    """Specifications by name over all caches. A name must have the same specification in every cache."""
    out: dict[str, tuple[Path, T]] = {}
    for path, specs in by_cache.items():
        for name, spec in specs.items():
            first, known = out.setdefault(name, (path, spec))
            changed = differences(known, spec)
            if changed:
                raise UserError(f"{name} in {first} and in {path} is not the same: {'; '.join(changed)}")
    return {name: spec for name, (_, spec) in out.items()}


def _united_guides(by_cache: Mapping[Path, GuideSpec]) -> tuple[str, ...]:
    """Refuse features of different guides in different caches. An earlier version recorded no settings of a guide: where they are not
    known, the rest is compared. Returns notes on this.
    """
    # Caches may have features of different numbers of blocks: each draws from its own.
    guides = {path: dataclasses.replace(spec, blocks=1) for path, spec in by_cache.items()}
    _united({path: {"guide": spec} for path, spec in guides.items() if spec.settings})
    _united({path: {"guide": dataclasses.replace(spec, settings=())} for path, spec in guides.items()})
    known = next((spec for spec in guides.values() if spec.settings), None)
    return tuple(
        f"the features of the guide in {path.name} were written by an earlier version, which did not record the settings of its encoder, "
        "such as group sizes: its weights are those of the guide in the other caches, and nothing else could be compared"
        for path, spec in guides.items()
        if known and not spec.settings and spec.setup != known.setup
    )


def _same(what: str, values: Sequence[T]) -> T:
    if len(set(values)) > 1:
        raise UserError(f"the caches do not all have {what}: {', '.join(map(str, values))}. Train on caches with the same value")
    return values[0]


def _below(limit: Ints, chance: NDArray[np.float64]) -> Ints:
    """Whole numbers in 0..limit-1 from chances in [0, 1)."""
    return (chance * limit).astype(np.int64)
