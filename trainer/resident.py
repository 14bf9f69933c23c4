"""Training data that lies in the memory of the device: `--set data.resident=device`.

    data = Resident([open_cache("shapes.zarr")], DataConfig(resident="device"), ..., device=torch.device("cuda"))
    data.batch(0)                                                       # gathered on the device

Usually batches are read from mapped files and copied to a GPU while it computes. That keeps up with a GPU as long as the files are in the
page cache. Where they are not (a network file system, less memory than data), or where many ranks share few cores, the arrays that a run
reads may be loaded once instead: those of ShapeNet-55 with three teachers take less than 30 GB. Batches are the same, bit for bit.

Letters: B shapes in a batch, n selected shapes of a cache, W columns of an array (blocks, views or texts), P points.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache_schema.errors import UserError
from cache_schema.rows import Rows
from trainer.batch import Batch
from trainer.captions import Ints
from trainer.data import Data
from trainer.order import Drawn
from trainer.part import Part
from trainer.points import SCALE

CHUNK: Final = 4096
"""Number of entries that are read from files and copied to the device at a time."""
MOST: Final = 0.9
"""Largest share of the free memory that `data.resident=device` takes."""
MODEST: Final = 0.5
"""Largest share of the free memory that `data.resident=auto` takes: the model and its activations need the rest."""


class Resident(Data):
    """Data whose arrays are loaded to a device when it is made, if they fit."""

    def __init__(self, *arguments: Any, device: torch.device, **options: Any) -> None:
        """
        Args:
            arguments, options: those of `Data`.
            device: where the arrays lie, and the batches.

        Raises:
            UserError: as `Data`; or `data.resident` is `device`, and the arrays do not fit into the free memory of the device.
        """
        super().__init__(*arguments, **options)
        self.device = device
        self._held: dict[Rows, Tensor] = {}
        """The selected rows of each array as one list of entries, [n * W, ...]; empty if the arrays stay in files."""
        self._templates: dict[tuple[int, str], Tensor] = {}
        """Embeddings of filled templates by cache and teacher. [classes, M, E]"""
        self._position = [_positions(part) for part in self.parts]
        """For each cache, the place of each of its rows among the selected ones; -1 for others."""
        self._size, free = sum(_bytes(*item) for item in self._arrays()), free_memory(device)
        self._free = free
        if self.config.resident == "device" and self._size > MOST * free:
            raise UserError(
                f"data.resident=device: the arrays of this run take {_gib(self._size)}, and {device} has {_gib(free)} free: leave it out, "
                "or use fewer blocks (--set data.blocks=1), teachers or shapes"
            )
        if self.config.resident == "device" or (device.type != "cpu" and self._size <= MODEST * free):
            self._load()

    def __str__(self) -> str:
        if self._held:
            return f"{super().__str__()}; {_gib(self._size)} of arrays in the memory of {self.device}"
        why = "the processor reads them there" if self.device.type == "cpu" else f"{_gib(self._free)} of {self.device} are free"
        return f"{super().__str__()}; {_gib(self._size)} of arrays stay in files, since {why}"

    # ---- loading

    def _arrays(self) -> Iterator[tuple[Part, Rows, int]]:
        """Every array that batches read, its cache, and how many of its columns are used, W."""
        for part in self.parts:
            for rows in self.points_of(part):
                yield part, rows, part.blocks
            for rows in part.opened:
                yield part, rows, part.blocks if _of_blocks(part, rows) else rows.shape[1]

    def _load(self) -> None:
        for part, rows, width in self._arrays():
            shares = self._blocks[self.parts.index(part)]
            kept = shares.kept if rows in self.points_of(part) else None
            self._held[rows] = _loaded(rows, part.rows.astype(np.int64), width, kept, self.device)
        for i, part in enumerate(self.parts):
            for name, values in part.templates.items():
                self._templates[i, name] = torch.from_numpy(np.ascontiguousarray(values)).to(self.device)

    # ---- batches

    def opened(self) -> Iterator[tuple[Part, Rows]]:
        yield from () if self._held else super().opened()

    def reads(self, number: int, share: slice = slice(None)) -> Iterator[tuple[Part, Rows, Ints]]:
        yield from () if self._held else super().reads(number, share)

    def batch(self, number: int, share: slice = slice(None)) -> Batch:
        batch = super().batch(number, share)
        return batch if not self._held or self.device.type == "cpu" else batch.pinned().to(self.device)

    def _gather(
        self,
        arrays: Sequence[Sequence[Rows]],
        drawn: Drawn,
        which: Ints | int,
        column: Ints,
        *shape: int,
        dtype: torch.dtype = torch.float16,
    ) -> Tensor:
        if not self._held:
            return super()._gather(arrays, drawn, which, column, *shape, dtype=dtype)
        out = torch.zeros(len(drawn.row), *shape, dtype=dtype, device=self.device)
        for i, choices in enumerate(arrays):
            for place, array in enumerate(choices):
                here = np.flatnonzero((drawn.part == i) & (which == place))
                if len(here) == len(out):
                    return self._entries(i, array, drawn.row, column)
                if len(here):
                    out[self._sent(here)] = self._entries(i, array, drawn.row[here], column[here])
        return out

    def _points(self, drawn: Drawn, block: Ints) -> Tensor:
        if not self._held:
            return super()._points(drawn, block)
        out = torch.empty(len(drawn.row), self.points, 6 if self.needs.color else 3, device=self.device)
        for i, blocks in enumerate(self._blocks):
            here = np.flatnonzero(drawn.part == i)
            if not len(here):
                continue
            row, column, places = drawn.row[here], block[here], self._sent(here)
            points = [self._entries(i, blocks.xyz, row, column).float()]
            if blocks.rgb is not None:
                assert blocks.colored is not None
                colors = self._entries(i, blocks.rgb, row, column).float() * float(SCALE)
                grey = self._sent(~blocks.colored[row] | blocks.colorless)
                points.append(colors.masked_fill(grey.view(-1, 1, 1), float(blocks.grey)))
            out[places] = torch.cat(points, -1)
        return out

    def _texts(self, drawn: Drawn) -> dict[str, Tensor]:
        if not self._held:
            return super()._texts(drawn)
        out = {}
        for name, spec in self.teachers.items():
            if spec.text:
                arrays = [part.texts.get(name, ()) for part in self.parts]
                out[name] = self._gather(arrays, drawn, drawn.captioner, drawn.caption, spec.dim)
                for i, _ in enumerate(self.parts):
                    here = np.flatnonzero((drawn.part == i) & (drawn.template >= 0))
                    if (i, name) in self._templates and len(here):
                        filled = self._templates[i, name][self._sent(drawn.own_class[here]), self._sent(drawn.template[here])]
                        out[name][self._sent(here)] = filled
        return out

    def _there(self, flags: NDArray[np.bool_]) -> Tensor:
        return self._sent(flags) if self._held else super()._there(flags)

    def _entries(self, part: int, array: Rows, row: Ints, column: Ints) -> Tensor:
        """Entries (row, column) of an array of one cache. [b, ...]"""
        held = self._held[array]
        width = len(held) // len(self.parts[part].rows)
        return held.index_select(0, self._sent(self._position[part][row] * width + column))

    def _sent(self, values: NDArray[Any]) -> Tensor:
        """Indices or flags on the device."""
        tensor = torch.from_numpy(values)
        return tensor if self.device.type == "cpu" else tensor.pin_memory().to(self.device, non_blocking=True)


def free_memory(device: torch.device) -> int:
    """Bytes of memory that are free on a device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))


def _loaded(rows: Rows, selected: Ints, width: int, kept: Ints | None, device: torch.device) -> Tensor:
    """The first columns of some rows as one list of entries on a device. [n * W, ...]

    Args:
        rows: the array.
        selected: the rows. [n]
        width: number of columns, W.
        kept: which points of an entry are kept; None for all of it.
        device: where they go.
    """
    row, column = np.repeat(selected, width), np.tile(np.arange(width), len(selected))
    first = rows.gather(row[:1], column[:1])
    shape = first.shape[1:] if kept is None else (len(kept), *first.shape[2:])
    out = torch.empty(len(row), *shape, dtype=torch.from_numpy(first).dtype, device=device)
    for start in range(0, len(row), CHUNK):
        values = rows.gather(row[start : start + CHUNK], column[start : start + CHUNK])
        out[start : start + CHUNK] = torch.from_numpy(values if kept is None else values[:, kept])
    return out


def _positions(part: Part) -> Ints:
    position = np.full(part.cache.manifest.shapes, -1, np.int64)
    position[part.rows] = np.arange(len(part.rows))
    return position


def _of_blocks(part: Part, rows: Rows) -> bool:
    """Whether the columns of an array are blocks of points, of which `Part.blocks` are used."""
    return any(rows is other for other in (*part.guided.values(), *(array for pair in part.dense.values() for array in pair)))


def _bytes(part: Part, rows: Rows, width: int) -> int:
    return len(part.rows) * width * (rows.node.row_bytes // rows.shape[1])


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB"
