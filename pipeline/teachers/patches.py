"""Where the patches of a teacher lie in a picture, and what every backend needs to compute patch features.

    grid = teacher.patch_grid(224)                     # for square pictures of 224 pixels
    grid.place(columns)                                # position in units of patches: 0.0 is the centre of the first patch

A picture is resized and cropped before a model sees it (`Framing`). Inside the model, layers with strides place one patch every few pixels
(`Lattice`). Both together tell which pixels of the picture a patch belongs to (`Grid`). The lattice is computed from kernel, stride and
padding of the layers that ran: it is the middle of what a place reads. For convolutional networks these are not the middles of equal
squares: a 3 x 3 convolution of stride 2 and padding 1 has its first place at the first pixel.

Layers that pad as TensorFlow does are an exception: what a place reads goes further beyond its square on one side than on the other, and
the middle of it lies half a patch off in EfficientNet. But by the gradients of its trained weights, a patch of EfficientNet-Lite0 looks
nearer to the middle of its square than to the middle of what it reads (`tests/pipeline/test_dense.py`). So the odd place of padding is
shared between both sides. Other networks of this kind were not measured.

Letters: S pixels a side of the model's input, h patches a side.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from cache_schema.errors import UserError

STRIDED = (nn.Conv2d, nn.AvgPool2d, nn.MaxPool2d)
"""Layers that may change the number of places in a map."""
SAME = ("Conv2dSame", "MaxPool2dSame", "AvgPool2dSame")
"""Layers of timm that pad as TensorFlow does: so that there is a place for each stride, with the odd one behind."""


@dataclass(frozen=True, kw_only=True)
class Framing:
    """How a square picture is resized and cropped: pixel position x of the picture becomes `scale * x - offset` of the model's input.

    Positions count from the left or upper edge: the middle of the first pixel is 0.5.
    """

    scale: float
    offset: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Lattice:
    """Places of the patches in the input of a model, equal in both directions. Lengths are in pixels of the input."""

    first: float
    """Position of the centre of the first patch."""
    step: float
    """Distance from one patch to the next."""
    count: int
    """Patches a side, h."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Places of the patches in a stored square picture, equal in both directions. Lengths are in pixels of that picture."""

    first: float
    """Position of the centre of the first patch; the middle of the first pixel is 0.5."""
    step: float
    """Distance from one patch to the next."""
    count: int
    """Patches a side, h."""
    low: float
    """Lower end of the part of the picture that the model sees."""
    high: float
    """Upper end of that part."""

    def place(self, pixels: np.ndarray) -> np.ndarray:
        """Positions in units of patches, of positions in pixels [...]: 0 is the centre of the first patch, `count - 1` of the last one.
        Beyond these centres the nearest patch counts, so results are cut to that range."""
        return np.clip((pixels - self.first) / self.step, 0, self.count - 1)

    def covers(self, pixels: np.ndarray) -> np.ndarray:
        """Whether the model sees the pixel at a position [...]. It does not see what is cropped away."""
        return (pixels >= self.low) & (pixels < self.high)


class Preprocessing(Protocol):
    """The part of a teacher that `checked` needs."""

    def preprocess(self, image: np.ndarray) -> Tensor: ...


def grid(framing: Framing, lattice: Lattice, image_size: int, size: int) -> Grid:
    """Put framing and lattice together.

    Args:
        framing: how pictures of `size` pixels become the model's input.
        lattice: the patches in the model's input.
        image_size: S.
        size: pixels a side of a stored picture.
    """
    inside = [min(max((edge + framing.offset) / framing.scale, 0.0), float(size)) for edge in (0, image_size)]
    return Grid(
        first=(lattice.first + framing.offset) / framing.scale,
        step=lattice.step / framing.scale,
        count=lattice.count,
        low=inside[0],
        high=inside[1],
    )


def checked(framing: Framing, teacher: Preprocessing, size: int, name: str) -> Framing:
    """Compare a framing that was computed from settings with what the pre-processing does to a picture of its own coordinates.

    Raises:
        UserError: the pre-processing puts pixels elsewhere, by half a pixel or more.
    """
    ramp = np.arange(size, dtype=np.float64) + 0.5
    levels = np.rint(ramp / size * 255).astype(np.uint8)
    black, white = (float(teacher.preprocess(np.full((size, size, 3), value, np.uint8))[0].median()) for value in (0, 255))
    for axis in (0, 1):
        picture = np.repeat(np.broadcast_to(levels[:, None] if axis == 0 else levels, (size, size))[..., None], 3, axis=2)
        seen = teacher.preprocess(np.ascontiguousarray(picture))[0].double().median(1 - axis).values.numpy()  # [S]
        there = (seen - black) / (white - black) * size  # the position that each input pixel shows
        expected = (np.arange(len(seen)) + 0.5 + framing.offset) / framing.scale
        middle = (expected > 0.1 * size) & (expected < 0.9 * size)  # at the edges, a filter sees less than its width
        apart = float(np.abs(there - expected)[middle].max()) if middle.any() else np.inf
        # One of 255 levels is worth size / 255 pixels, and rounding twice may miss by one.
        if apart * framing.scale >= 0.5 + framing.scale * size / 255:
            raise UserError(
                f"teacher {name}: its pre-processing moves pictures in a way that is not known here (by {apart:.1f} pixels of {size}), so "
                "nobody can tell where its patches lie"
            )
    return framing


def lattice(model: nn.Module, run: Callable[[], Tensor], image_size: int, name: str) -> Lattice:
    """Find the places of a model's patches from the strided layers that run.

    Args:
        model: the model, of which all layers are watched.
        run: computes the patch features of one picture. [1, h, h, E]
        image_size: S.
        name: name of the teacher, for messages.

    Raises:
        UserError: the layers do not explain the number of patches, or contradict each other.
    """
    known: dict[int, tuple[float, float]] = {image_size: (0.5, 1.0)}
    problems: list[str] = []
    here = threading.get_ident()

    def watch(layer: Any, inputs: tuple[Any, ...], output: Any) -> None:
        if threading.get_ident() != here:  # another thread runs the model, too
            return
        before, after = int(inputs[0].shape[-1]), int(output.shape[-1])
        if inputs[0].shape[-1] != inputs[0].shape[-2] or before not in known or (before == after == 1):
            return
        kernel, stride, dilation = (_side(getattr(layer, what, 1)) for what in ("kernel_size", "stride", "dilation"))
        reach = dilation * (kernel - 1)
        left, both = _padding(layer, before, stride, reach)
        start, jump = known[before]
        place = (start + (reach / 2 - left) * jump, jump * stride)
        if after != (before + both - reach - 1) // stride + 1 or known.setdefault(after, place) != place:
            problems.append(f"{type(layer).__name__} from {before} to {after} places")

    hooks = [layer.register_forward_hook(watch) for layer in model.modules() if isinstance(layer, STRIDED)]
    try:
        found = run()
    finally:
        for hook in hooks:
            hook.remove()
    count = found.shape[1]
    if problems or count not in known or found.shape[2] != count:
        why = problems[0] if problems else f"no layer ends with {list(found.shape[1:3])} places"
        raise UserError(f"teacher {name}: where its patches lie cannot be told from its layers ({why})")
    first, step = known[count]
    return Lattice(first=first, step=step, count=count)


def told(method: str, model: nn.Module) -> str:
    """What a patch feature is, in words, with what `_padding` takes for granted of a model's layers. It is recorded with the features."""
    return f"{method}, in equal squares" if any(type(layer).__name__ in SAME for layer in model.modules()) else method


def _padding(layer: nn.Module, size: int, stride: int, reach: int) -> tuple[float, int]:
    """Places that a layer adds before a map of `size` places, and on both sides together. An odd place of TensorFlow's counts half before.

    Args:
        layer: one of `STRIDED`.
        size: places of the map, in one direction.
        stride: the layer's.
        reach: distance of the first and last place that its kernel covers.
    """
    if type(layer).__name__ in SAME:
        both = max((-(-size // stride) - 1) * stride + reach + 1 - size, 0)
        return both / 2, both
    padding = _side(getattr(layer, "padding", 1))
    return padding, 2 * padding


def _side(value: Any) -> int:
    """A setting of a layer that is equal in both directions; -1 if it is not a number or not equal, which no formula accepts."""
    if isinstance(value, tuple):
        value = value[0] if len(set(value)) == 1 else -1
    return value if isinstance(value, int) else -1


@contextlib.contextmanager
def entering(layer: nn.Module) -> Iterator[list[tuple[Tensor, dict[str, Any]]]]:
    """Collect what this thread calls a layer with, while the context is open: its first argument, and the arguments by name.

    On a CPU several threads run a model at once (`pipeline.models.Models`), and each sees the calls of all.
    """
    calls: list[tuple[Tensor, dict[str, Any]]] = []
    mine = threading.get_ident()

    def keep(_: Any, inputs: tuple[Any, ...], named: dict[str, Any] | None = None) -> None:
        if threading.get_ident() == mine:
            assert named is not None  # only a thread that comes upon a hook that is being removed gives none
            calls.append((inputs[0] if inputs else named["hidden_states"], named))

    hook = layer.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        yield calls
    finally:
        hook.remove()


def only_itself(tokens: Tensor) -> Tensor:
    """A mask [N, N] to add to the logits of an attention over tokens [B, N, D], so that each token attends to itself alone. The attention
    then returns each token's value."""
    count = tokens.shape[1]
    mask = torch.full((count, count), -torch.inf, dtype=tokens.dtype, device=tokens.device)
    return mask.fill_diagonal_(0)


def squared(tokens: Tensor, name: str) -> Tensor:
    """Tokens [B, N, E] of a square grid, row by row, as [B, h, h, E] float32 on the CPU.

    Raises:
        UserError: N is not a square.
    """
    side = round(tokens.shape[1] ** 0.5)
    if side * side != tokens.shape[1]:
        raise UserError(f"teacher {name} gives {tokens.shape[1]} patches, which are no square grid")
    out: Tensor = tokens.unflatten(1, (side, side)).float().cpu()
    return out


def unknown(name: str, what: str) -> UserError:
    """The error for an architecture of which nobody has said what its patch features are."""
    return UserError(
        f"teacher {name}: patch features of {what} are not known here. Known are open_clip's ViT and ResNet, timm's ViT, EVA and "
        "convolutional networks, alone and in open_clip, and CLIP, SigLIP, DINO and DINOv2/v3 of transformers"
    )
