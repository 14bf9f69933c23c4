"""Clouds in memory, brought to the form of the points that a run was trained on.

    given = taken(clouds)                                               # one tensor for each cloud
    for batch in prepared(given, convention, channels=6, device=device):
        body(batch.points, ordered=batch.ordered)                       # points [b, P, C]

Clouds may have any scale, place and number of points. The rules are those of the pipeline, so a cloud in memory and the same cloud in a
file that `mmpd-cache build` reads differ only in which of the points are drawn:

- Points that are not finite are left out. The mean of the others becomes the origin, and the farthest of them has distance 1. Nothing
  moves if the run was trained on points with `normalize=none`. The axes stay as they are: +Y is up, which cannot be told from a cloud.
- Of more points than the run knew, an even share is taken at random, as a block of a cache is. Which points these are follows from where
  they lie, not from their order, scale or place.
- Of fewer points, each is taken equally often, give or take one.
- Colours lie in 0..1. Whole numbers up to 255, with one above 1, are taken as 0..255, as are all integers. Anything else is refused. A
  cloud without colours gets the grey of the run. Colours are dropped if the run reads none, or never saw any.

Where that changes much, or drops colours, a `CloudWarning` says so.

Letters: b clouds of a batch, n points of a cloud, P points that the run was trained on, C channels (xyz, or xyz and rgb).
"""

import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache_schema.crowds import OUTLYING_SAID, outlying, outlying_each
from cache_schema.errors import UserError
from trainer.points import SCALE, Blocks, Convention, share

Array: TypeAlias = NDArray[Any] | Tensor
Clouds: TypeAlias = Array | Sequence[NDArray[Any]] | Sequence[Tensor]
"""One cloud [n, 3] or [n, 6], several of equal size [b, n, 3 or 6], or a sequence of clouds of any sizes."""

AT_ONCE: Final = 1 << 20
"""Number of points, with padding, that are prepared at once; more only if one cloud has more."""
REACH: Final = 1e15
"""Largest coordinate. The pipeline has the same limit."""
FINE: Final = 1 << 10
"""Points whose places agree within 1/FINE of the radius draw the same lot. It is coarse, so that rounding after a move changes few lots,
also on the flat faces of a shape, where many points share a coordinate."""
FEW: Final = 0.9
"""Share of different places among the points needed, below which a warning calls a cloud poor in points."""
FLAT: Final = 1e-3
"""Thickness of a cloud, as a share of its length, below which a warning calls it flat."""
COARSE: Final = 2e-3
"""Step between neighbouring numbers, as a share of the radius, above which a warning calls the coordinates coarse."""
FLAT_SAID: Final = "all its points lie in a plane or on a line"
REPEATED_SAID: Final = "it has fewer points than a block, so some are repeated, which an encoder with encoder.missing=mask leaves out"


class CloudWarning(UserWarning):
    """Something about given clouds changes their features much: few points, missing colours, a flat shape, coarse coordinates."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """Clouds that a caller gave, checked one by one for shape and type."""

    clouds: tuple[Tensor, ...]
    """[n, 3 or 6] each, of the type that they were given in, or float64."""
    tensors: bool
    """Whether they were given as tensors. Results then are tensors, too."""

    def __len__(self) -> int:
        return len(self.clouds)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A batch of clouds as a model reads them."""

    which: Tensor
    """[b] int64: number of each cloud in what was given. Several shares of one cloud follow each other."""
    points: Tensor
    """[b, P, C] float32."""
    centre: Tensor
    """[b, 3] float64: the place in the given cloud that became the origin."""
    radius: Tensor
    """[b] float64: the length in the given cloud that became 1."""

    def back(self, xyz: Tensor) -> Tensor:
        """Places [b, m, 3] of the prepared points in the coordinates of the given clouds. float32"""
        return (xyz.double() * self.radius[:, None, None] + self.centre[:, None]).float()

    def forth(self, number: int, xyz: Tensor) -> Tensor:
        """Places [m, 3] in the coordinates of the given cloud at position `number` of the batch, moved as its points were. float32"""
        return ((xyz.double() - self.centre[number]) / self.radius[number]).float()


# ------------------------------------------------------------------------------------------------------------ what is given


def taken(clouds: Clouds) -> Given:
    """Check the shapes and types of clouds.

    Raises:
        UserError: there is a cloud of another form. The message says which, and what to do.
    """
    if isinstance(clouds, np.ndarray | Tensor):
        if clouds.ndim not in (2, 3):
            raise UserError(f"expected one cloud [n, 3 or 6] or several [b, n, 3 or 6], got an array {list(clouds.shape)}")
        several: Sequence[Any] = [clouds] if clouds.ndim == 2 else clouds  # type: ignore[assignment]
    elif isinstance(clouds, Sequence) and not isinstance(clouds, str | bytes):
        several = clouds
    else:
        raise UserError(f"expected clouds as a NumPy array, a torch tensor or a sequence of these, got {type(clouds).__name__}")
    tensors = {isinstance(cloud, Tensor) for cloud in several} or {isinstance(clouds, Tensor)}
    if len(tensors) > 1:
        raise UserError("some clouds are NumPy arrays and some are torch tensors: give one kind")
    return Given(clouds=tuple(_cloud(cloud, _name(i, len(several))) for i, cloud in enumerate(several)), tensors=tensors.pop())


def _name(number: int, count: int) -> str:
    return "the cloud" if count == 1 else f"cloud {number} (counted from 0)"


def _cloud(cloud: Any, name: str) -> Tensor:
    """A cloud as a tensor, [n, 3 or 6]. Raises UserError for another form."""
    if not isinstance(cloud, np.ndarray | Tensor):
        raise UserError(f"{name} is of type {type(cloud).__name__}: expected a NumPy array or a torch tensor [n, 3 or 6]")
    shape = list(cloud.shape)
    if len(shape) != 2 or shape[1] not in (3, 6):
        turned = len(shape) == 2 and shape[0] in (3, 6)
        advice = ": it lies on its side, give its transpose, cloud.T" if turned else ", xyz or xyz and rgb"
        raise UserError(f"{name} has shape {shape}, expected [n, 3] or [n, 6]{advice}")
    if isinstance(cloud, Tensor):
        if cloud.is_complex() or cloud.dtype == torch.bool or cloud.is_quantized or cloud.is_sparse:
            raise UserError(f"{name} is of type {cloud.dtype}: expected real numbers")
        return cloud.detach()
    if isinstance(cloud, np.ma.MaskedArray):
        raise UserError(f"{name} is a masked array, whose mask would be lost: give the points that count, cloud[~mask.any(1)].data")
    if cloud.dtype.kind not in "iuf":
        raise UserError(f"{name} is of type {cloud.dtype}: expected real numbers")
    # torch knows no other byte order, no negative strides, no float128 and hardly any unsigned integers.
    plain = cloud.dtype in (np.float16, np.float32, np.float64, np.uint8, np.int32, np.int64)
    return torch.from_numpy(np.array(cloud, dtype=cloud.dtype.newbyteorder("=") if plain else _wide(cloud.dtype), order="C"))


def _wide(dtype: np.dtype[Any]) -> type:
    return np.float64 if dtype.kind == "f" or dtype.itemsize == 8 else np.int64


# ------------------------------------------------------------------------------------------------------------- what is said


def outside() -> int:
    """The `stacklevel` of a warning that is to name the caller of this package, as seen from the function that asks. Frames of torch are
    passed over: its decorators and modules lie between ours, and between ours and the caller's."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("trainer", "torch"):
        frame, level = frame.f_back, level + 1
    return level


class Sayings:
    """Collects remarks about the clouds of one call. `warn` then gives one warning for each kind of remark."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._found: dict[str, list[int]] = {}

    def add(self, what: str, which: Tensor, where: Tensor) -> None:
        """Say `what` about the clouds `which` [b] for which `where` [b] is true."""
        numbers = which[where.cpu()].tolist()
        if numbers:
            self._found.setdefault(what, []).extend(numbers)

    def warn(self) -> None:
        """Give the warnings."""
        for what, numbers in self._found.items():
            first = f"the first is number {min(numbers)}, counted from 0" if self.count > 1 else ""
            which = f"{len(numbers)} of {self.count} clouds ({first})" if first else "the cloud"
            warnings.warn(f"{which}: {what}", CloudWarning, stacklevel=outside())


# ------------------------------------------------------------------------------------------------------------- preparation


def prepared(
    given: Given, convention: Convention, *, channels: int, batch: int, device: torch.device, draws: int = 1, placed: bool = False
) -> Iterator[Prepared]:
    """Batches of clouds in the form of the points that a run was trained on. Clouds of similar size come together, so not in their order.

    Args:
        given: the clouds.
        convention: the points of the run.
        channels: 3, or 6 with colours.
        batch: largest number of clouds in a batch.
        device: where the points are wanted.
        draws: largest number of shares that are drawn of one cloud. No point is in two of them.
        placed: the clouds lie as the blocks of a cache do: they are not moved, and the order of their points counts.

    Raises:
        UserError: a cloud has no two different points, coordinates that are too large, or colours that nobody can read.
    """
    said = Sayings(len(given))
    # Doubles keep the detail of shapes far from the origin. Not every accelerator has them.
    where = device if device.type == "cuda" else torch.device("cpu")
    for numbers in _batches([len(cloud) for cloud in given.clouds], batch, alike=placed):
        clouds = [given.clouds[i].to(where) for i in numbers]
        which = torch.tensor(numbers)
        padded = _Padded(clouds, which, len(given))
        colors = padded.colors(convention, channels, said)
        mean, reach, flat = _measured(padded, said)
        if placed:
            centre, radius = torch.zeros_like(mean), torch.ones_like(reach)
            owner = torch.arange(len(clouds), device=where)
            chosen = _in_order(padded, convention.count, said)
        else:
            centre, radius = _origin(padded, convention.normalize, mean, reach)
            owner, chosen = _drawn(padded, (padded.xyz - mean[:, None]) / reach[:, None, None], colors, convention.count, draws, said)
        xyz = _rounded(padded, (padded.xyz - centre[:, None]) / radius[:, None, None], convention)
        around = ((padded.xyz - mean[:, None]) / reach[:, None, None]).cpu().numpy()
        real = padded.there.cpu().numpy()
        far = outlying_each(around) if real.all() else [outlying(one[there]) for one, there in zip(around, real, strict=True)]
        odd = torch.as_tensor(far, dtype=torch.bool)
        if convention.normalize != "none" and not placed:
            said.add(OUTLYING_SAID, which, odd)
        said.add(FLAT_SAID, which, flat.cpu() & ~odd)
        points = xyz if colors is None else torch.cat([xyz, colors], -1)
        points = points[owner[:, None], chosen].to(device)
        yield Prepared(which=which[owner.cpu()], points=points, centre=centre[owner], radius=radius[owner])
    said.warn()


def _batches(counts: Sequence[int], most: int, *, alike: bool) -> Iterator[list[int]]:
    """Numbers of clouds that are prepared together: of similar size, with not more than `AT_ONCE` points after padding; of equal size if
    `alike`."""
    batch: list[int] = []
    for number in sorted(range(len(counts)), key=lambda i: counts[i]):
        full = len(batch) == most or (len(batch) + 1) * counts[number] > AT_ONCE
        if batch and (full or (alike and counts[batch[0]] != counts[number])):
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


class _Padded:
    """Clouds of several sizes in one tensor. Clouds with fewer points are padded."""

    def __init__(self, clouds: Sequence[Tensor], which: Tensor, count: int) -> None:
        self.which, self._count = which, count
        longest = max(len(cloud) for cloud in clouds)
        self.xyz = clouds[0].new_zeros(len(clouds), longest, 3, dtype=torch.float64)
        """[b, n, 3] float64. Points that are not there are 0."""
        self.there = torch.zeros(len(clouds), longest, dtype=torch.bool, device=self.xyz.device)
        """[b, n]: whether a point is no padding, and finite."""
        self.rgb = self.xyz.new_zeros(len(clouds), longest, 3, dtype=torch.float32) if any(c.shape[1] == 6 for c in clouds) else None
        """[b, n, 3] float32, as given."""
        self.colored = torch.tensor([cloud.shape[1] == 6 for cloud in clouds], device=self.xyz.device)
        """[b]: whether a cloud has colours."""
        self.whole = torch.tensor([not cloud.is_floating_point() for cloud in clouds], device=self.xyz.device)
        """[b]: whether a cloud has integers."""
        self.step = torch.tensor([torch.finfo(c.dtype).eps if c.is_floating_point() else 0 for c in clouds], device=self.xyz.device)
        """[b]: relative distance of neighbouring numbers; 0 for integers."""
        for i, cloud in enumerate(clouds):
            self.xyz[i, : len(cloud)] = cloud[:, :3]
            self.there[i, : len(cloud)] = True
            if self.rgb is not None and cloud.shape[1] == 6:
                self.rgb[i, : len(cloud)] = cloud[:, 3:]
        self.given = self.there.sum(1)
        """[b]: number of points, also of those that are not finite."""
        self.there &= self.xyz.isfinite().all(-1)
        self.xyz.masked_fill_(~self.there[..., None], 0)
        self.number = self.there.sum(1)
        """[b]: number of finite points."""

    def refuse(self, where: Tensor, reason: str) -> None:
        """Raise UserError if `where` [b] is true for a cloud."""
        if where.any():
            raise UserError(f"{_name(int(self.which[where.cpu()].min()), self._count)} {reason}")

    def colors(self, convention: Convention, channels: int, said: Sayings) -> Tensor | None:
        """Colours [b, n, 3] in 0..1, grey where a cloud has none; None if the run reads none.

        Raises:
            UserError: the colours have a range that nobody can know.
        """
        if channels == 3:
            said.add("its colours are dropped, since the run reads none", self.which, self.colored)
            return None
        grey = self.xyz.new_full(self.xyz.shape, convention.grey, dtype=torch.float32)
        if convention.colored is False:
            said.add("its colours are dropped, since the run was trained without any", self.which, self.colored)
            return grey
        known = "; the run was trained with colours" if convention.colored else ""
        said.add(f"it has no colours and is given grey {convention.grey:.3g}{known}", self.which, ~self.colored)
        if self.rgb is None:
            return grey
        rgb = self.rgb.where(self.there[..., None], 0)
        bytes_ = self._bytes(rgb)
        return (
            (rgb / torch.where(bytes_, 255.0, 1.0)[:, None, None])
            .mul(255)
            .round()
            .mul(float(SCALE))
            .where(self.colored[:, None, None], grey)
        )

    def _bytes(self, rgb: Tensor) -> Tensor:
        """Whether colours [b, n, 3] are in 0..255, [b]. Raises UserError for other ranges than this one and 0..1."""
        how = "give colours in 0..1, or whole numbers in 0..255; normals and other features are not read"
        self.refuse(~rgb.isfinite().flatten(1).all(1), f"has colours that are not finite (NaN or infinity): {how}")
        low, high = rgb.flatten(1).amin(1), rgb.flatten(1).amax(1)
        reach = f"has colours from {float(low.min()):.3g} to {float(high.max()):.3g}"
        self.refuse((low < 0) | (high > 255), f"{reach}: {how}")
        whole = (rgb == rgb.round()).flatten(1).all(1)
        self.refuse((high > 1) & ~whole, f"{reach}, and not all are whole numbers, so that their range is not clear: {how}")
        return (high > 1) | self.whole


def _measured(padded: _Padded, said: Sayings) -> tuple[Tensor, Tensor, Tensor]:
    """The mean of the points of each cloud [b, 3], and the distance of the farthest from it [b], as the pipeline measures them; and whether
    the cloud is flat [b].

    Raises:
        UserError: a cloud has no two different points, or coordinates that are too large.
    """
    xyz, there, number = padded.xyz, padded.there[..., None], padded.number
    padded.refuse(padded.given == 0, "has no points")
    padded.refuse(number == 0, "has no finite point: all are NaN or infinity")
    said.add("points that are not finite (NaN or infinity) are left out", padded.which, number < padded.given)
    high, low = _box(xyz, there)
    largest = torch.maximum(high.abs(), low.abs()).amax(1)
    padded.refuse(largest > REACH, f"has coordinates beyond {REACH:g}")
    padded.refuse((high == low).all(1), "has no two different points")
    mean = xyz.sum(1) / number[:, None]
    out = (xyz - mean[:, None]).where(there, 0)
    radius = out.norm(dim=-1).amax(1)
    said.add(
        "its coordinates are coarse: it is small and far from the origin, or of a short type",
        padded.which,
        padded.step * largest / radius > COARSE,
    )
    return mean, radius, _flat(out.mT @ out / (number * radius.square())[:, None, None])


def _flat(scatter: Tensor) -> Tensor:
    """Whether clouds with these scatter matrices [b, 3, 3] lie in a plane or on a line. [b]"""
    spread = torch.linalg.eigvalsh(scatter)  # [b, 3], ascending
    flat: Tensor = spread[:, 0] < FLAT**2 * spread[:, 2]
    return flat


def remarks(blocks: Blocks, rows: NDArray[np.int64], at_once: int = 1024) -> list[str]:
    """What changes the features of stored shapes much, by the checks that clouds in memory undergo: few points, a flat shape, a few far
    points that set the scale. They are seen on the first stored block of each shape.

    Args:
        blocks: the blocks of a cache.
        rows: rows of usable shapes. [n]
        at_once: number of shapes that are read at a time. It changes no result.

    Returns:
        For each shape what is to be said, empty for nothing. [n]
    """
    found = []
    for start in range(0, len(rows), at_once):
        part = rows[start : start + at_once]
        xyz = blocks.read(part, 0)[..., :3].double()  # [b, P, 3]
        out = xyz - xyz.mean(1, keepdim=True)
        scaled = blocks.spec.normalize != "none"
        # The scale was set by all points of the shape, so the far ones need not be in the block.
        around = xyz if scaled else out / out.norm(dim=-1).amax(1).clamp(min=1e-12)[:, None, None]
        odd = outlying_each(around.numpy()).tolist()
        # A shape that far points have made small looks flat, by these points or by rounding.
        flat = [it and not far for it, far in zip(_flat(out.mT @ out).tolist(), odd, strict=True)]
        facts = (
            (REPEATED_SAID, blocks.cache.repeated()[part].tolist()),
            (FLAT_SAID, flat),
            (OUTLYING_SAID, [far and scaled for far in odd]),
        )
        found += ["; ".join(what for what, where in facts if where[i]) for i in range(len(part))]
    return found


def _origin(padded: _Padded, normalize: Literal["unit_sphere", "none"], mean: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """The places [b, 3] and lengths [b] that become the origin and 1 (`pipeline.geometry.normalized`)."""
    if normalize == "unit_sphere":
        return mean, radius
    # A shape far from the origin is moved there, as the pipeline does, to keep its detail in float32.
    high, low = _box(padded.xyz, padded.there[..., None])
    middle = (low + high) / 2
    far = middle.norm(dim=-1) > 100 * (high - low).norm(dim=-1)
    return middle.where(far[:, None], 0), torch.ones_like(radius)


def _box(xyz: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """The largest and the smallest coordinates [b, 3] of points [b, n, 3], where `there` [b, n, 1] is true."""
    return xyz.where(there, -torch.inf).amax(1), xyz.where(there, torch.inf).amin(1)


def _rounded(padded: _Padded, xyz: Tensor, convention: Convention) -> Tensor:
    """Coordinates [b, n, 3] in float32, rounded to the type that the run's cache stores."""
    stored = xyz.float().to(getattr(torch, convention.dtype)).float()
    padded.refuse(~stored.isfinite().flatten(1).all(1), f"has coordinates beyond {convention.dtype}, the type of the run's points")
    return stored


def _in_order(padded: _Padded, count: int, said: Sayings) -> Tensor:
    """Positions [b, P] of points of blocks of equal size, by the rule of `trainer.points`: all, or the share of a larger block."""
    padded.refuse(padded.number < padded.given, "has points that are not finite, which no block of a cache has")
    there = padded.there.shape[1]
    said.add(f"the run was trained on {count} points a shape, and it has {there}", padded.which, padded.number < count)
    chosen = torch.arange(there) if there <= count else torch.from_numpy(share(there, count, 0))
    return chosen.to(padded.xyz.device).expand(len(padded.xyz), -1)


# ----------------------------------------------------------------------------------------------------------------- drawing


def _drawn(padded: _Padded, places: Tensor, colors: Tensor | None, count: int, draws: int, said: Sayings) -> tuple[Tensor, Tensor]:
    """Positions [m, P] of even shares of the points of clouds [m], each point equally often if there are too few. Every cloud has as many
    shares as it has points for, but not more than `draws`. `places` and `colors` as in `_shuffled`."""
    order, different = _shuffled(padded, places, colors)
    few = (
        f"it has fewer different points than the {count} that the run was trained on, so some are repeated, which an encoder with "
        "encoder.missing=mask leaves out"
    )
    said.add(few, padded.which, (padded.number < count) | (different < FEW * count))
    shares = (padded.number // count).clamp(1, draws)  # [b]
    owner = torch.arange(len(order), device=order.device).repeat_interleave(shares)  # [m]
    turn = torch.arange(len(owner), device=order.device) - (shares.cumsum(0) - shares)[owner]  # [m], 0, 1, ... for each cloud
    place = (torch.arange(count, device=order.device) + turn[:, None] * count) % padded.number[owner][:, None]
    return owner, order[owner].gather(1, place)


def _shuffled(padded: _Padded, places: Tensor, colors: Tensor | None) -> tuple[Tensor, Tensor]:
    """A random order of the points of each cloud, as positions [b, n], padding last; and the number of different points [b].

    Each point gets a number that is mixed from its place in the cloud, and its colour. The order of these numbers depends neither on the
    order of the points nor on the scale and place of the cloud.

    Args:
        padded: the clouds.
        places: the points with the mean of their cloud at the origin and the farthest at distance 1, [b, n, 3].
        colors: their colours in 0..1, [b, n, 3]; None for none.
    """
    fields = [*(places * FINE).round().long().unbind(-1), *([] if colors is None else (colors * 255).round().long().unbind(-1))]
    key = torch.zeros_like(fields[0])
    for values in fields:
        key = _mixed(key + values)
    key, order = key.where(padded.there, LAST).sort(1)
    # Copies of a point have equal numbers. Each gets a new one, or all copies would be drawn together.
    again = torch.cat([torch.zeros_like(padded.there[:, :1]), key[:, 1:] == key[:, :-1]], 1) & (key != LAST)
    if again.any():
        index = torch.arange(key.shape[1], device=key.device).expand_as(key)
        copy = index - index.where(~again, 0).cummax(1).values
        order = order.gather(1, _mixed(key + copy * STRIDE).where(again, key).argsort(1))
    return order, padded.number - again.sum(1)


LAST: Final = (1 << 63) - 1
"""The largest number of 64 bits."""
STRIDE: Final = 0x9E3779B97F4A7C15 - (1 << 64)
"""2^64 over the golden ratio: multiples of it look random."""


def _mixed(key: Tensor) -> Tensor:
    """Mix the bits of numbers of 64 bits, so that near numbers become far ones: the finaliser of SplitMix64
    (https://doi.org/10.1145/2660193.2660195), here with 62 bits of result and not negative."""
    key = key + STRIDE
    key = (key ^ (key >> 30 & (1 << 34) - 1)) * (0xBF58476D1CE4E5B9 - (1 << 64))
    key = (key ^ (key >> 27 & (1 << 37) - 1)) * (0x94D049BB133111EB - (1 << 64))
    return (key ^ (key >> 31 & (1 << 33) - 1)) & (1 << 62) - 1
