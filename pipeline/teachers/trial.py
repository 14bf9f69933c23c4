"""The form that embeddings of any teacher must have, and a first trial of teachers of other packages.

    values = answers(teacher, teacher.embed_images(pixels), len(pixels))    # [B, E] float32, or an error that names the teacher
    refuse(teacher, ("mine", "friday", "float32"), "friday:model, package friday 0.1")              # before anything of a cache is begun

Our own backends are held to `catalog.Teacher` by contract tests. Nobody runs these for the backend of another package, so it is tried
once, on two pictures and two texts. Its usual mistakes (no `eval()`, an axis too many, the wrong name) otherwise end in embeddings that
look right.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from cache_schema.errors import UserError
from cache_schema.spec import TeacherSpec
from cache_schema.terminal import article
from pipeline.teachers.patches import Grid


class Described(Protocol):
    """A teacher, as far as messages about it need one: see `catalog.Teacher`."""

    spec: TeacherSpec


SAME: Final = 0.03
"""Most that two embeddings of one picture may differ in different batches, as a share of their length: bfloat16 rounds by 0.004."""
_TEXTS: Final = ["a red chair", "an aeroplane with four engines"]


def answers(teacher: Described, values: Any, count: int, call: str = "embed_images") -> NDArray[np.float32]:
    """Return what a teacher said about `count` pictures or texts, [count, E] float32.

    Args:
        teacher: the teacher.
        values: what it returned.
        count: how many pictures or texts it was given.
        call: the method that returned it, for the message.

    Raises:
        UserError: this is no tensor [count, E] of floats on the CPU, with E as `TeacherSpec.dim` says.
    """
    said = f"teacher {teacher.spec.name}: {call}"
    expected = f"expected a float32 tensor {[count, teacher.spec.dim]} on the CPU"
    if not isinstance(values, torch.Tensor):
        raise UserError(f"{said} returned {_told(values)}, {expected}")
    if list(values.shape) != [count, teacher.spec.dim]:
        raise UserError(f"{said} returned {_told(values)}, {expected}: one vector each, as wide as spec.dim says")
    if not values.is_floating_point() or values.device.type != "cpu":
        raise UserError(f"{said} returned {_told(values)}, {expected}")
    if values.requires_grad:
        raise UserError(f"{said} returned a tensor that needs gradients: put @torch.inference_mode() above {call}")
    found: NDArray[np.float32] = values.float().numpy()
    return found


def patch_answers(teacher: Described, values: Any, count: int, side: int, dim: int) -> torch.Tensor:
    """Return what `embed_patches` of a teacher said about `count` pictures, [count, h, h, E] float32.

    Args:
        teacher: the teacher.
        values: what it returned.
        count: how many pictures it was given.
        side: patches a side, h, as `patch_grid` says.
        dim: width of a feature, E.

    Raises:
        UserError: this is no such tensor of floats on the CPU.
    """
    said = f"teacher {teacher.spec.name}: embed_patches"
    expected = f"expected a float32 tensor {[count, side, side, dim]} on the CPU"
    if not isinstance(values, torch.Tensor) or list(values.shape) != [count, side, side, dim]:
        raise UserError(f"{said} returned {_told(values)}, {expected}: a feature for each of the {side} x {side} patches of `patch_grid`")
    if not values.is_floating_point() or values.device.type != "cpu":
        raise UserError(f"{said} returned {_told(values)}, {expected}")
    if values.requires_grad:
        raise UserError(f"{said} returned a tensor that needs gradients: put @torch.inference_mode() above embed_patches")
    return values.float()


def refuse_patches(teacher: Any, told: str) -> None:
    """Refuse the patch features of a teacher of another package that break a promise of `catalog.Teacher`: `patch_method`, `patch_grid`
    and `embed_patches`, which is tried on two pictures.

    Args:
        teacher: the teacher, which `refuse` has taken.
        told: what it is, for the message.

    Raises:
        UserError: they break one; the message says which.
    """
    said = f"teacher {teacher.spec.name} ({told})"
    if not isinstance(teacher.patch_method, str) or not teacher.patch_method.strip():
        raise UserError(f"{said}: its patch_method is {teacher.patch_method!r}, expected words on what embed_patches computes")
    pictures = _pictures()
    size = len(pictures[0])
    with blamed(said, "patch_grid"):
        grid = teacher.patch_grid(size)
    if not isinstance(grid, Grid) or not isinstance(grid.count, int) or grid.count < 1:
        raise UserError(f"{said}: patch_grid returned {grid!r}, expected a Grid of pipeline.teachers.patches with at least one patch")
    last = grid.first + grid.step * (grid.count - 1)
    if not (0 <= grid.low < grid.high <= size and grid.step > 0 and grid.first < grid.high and last > grid.low):
        raise UserError(
            f"{said}: patch_grid puts the patches of a picture of {size} pixels at {grid.first:g} to {last:g}, and says that the model "
            f"sees {grid.low:g} to {grid.high:g}: expected places in the picture, in its pixels"
        )
    pixels = [teacher.preprocess(picture) for picture in pictures]
    with blamed(said, "embed_patches"):
        first, second = (teacher.embed_patches(torch.stack([pixels[i] for i in which])) for which in ((0, 1), (0, 0)))
    width = teacher.spec.dim if teacher.spec.text or not isinstance(first, torch.Tensor) or first.ndim != 4 else first.shape[-1]
    together, again = (patch_answers(teacher, values, 2, grid.count, width).flatten(1).numpy() for values in (first, second))
    _compare(said, "embed_patches", together, again, "pictures")
    features = together.reshape(2, -1, width)
    varies = bool((pixels[1] != pixels[1][:, :1, :1]).any())  # not if only a corner of the picture is read
    if grid.count > 1 and varies and (features[1] == features[1, 0]).all():
        raise UserError(f"{said}: embed_patches returned the same vector for all patches of a picture of noise")


def not_finite(values: NDArray[np.float32], precision: str) -> str:
    """Say why values of a teacher are not finite in float16, and what to do: the rest of a sentence. `values` is of any shape."""
    finite = values[np.isfinite(values)]
    if precision == "float16":
        return ": its precision is float16, so use float32 or bfloat16"
    if finite.size == values.size:
        return f": the largest is {np.abs(finite).max():.3g}, and a cache has room for 65504. Let the teacher divide its embeddings"
    return f": they are not finite in its own precision, {precision}, either, so mend the teacher or its weights"


def refuse(teacher: Any, asked: tuple[str, str, str], told: str) -> None:
    """Refuse a teacher of another package that breaks a promise of `catalog.Teacher`.

    Args:
        teacher: what its `load` returned.
        asked: (name, backend, precision) with which it was loaded.
        told: what it is, for the message.

    Raises:
        UserError: it breaks one; the message says which.
    """
    name, backend, precision = asked
    said = f"teacher {name} ({told})"
    spec = getattr(teacher, "spec", None)
    if not isinstance(spec, TeacherSpec):
        raise UserError(f"{said}: its load returned {_told(teacher)}, expected an object with a TeacherSpec in `spec`")
    for field, right in (("name", name), ("backend", backend), ("precision", precision)):
        if getattr(spec, field) != right:
            raise UserError(f"{said}: its spec.{field} is {getattr(spec, field)!r}, expected {right!r}, as load was told")
    wanted = ("preprocess", "embed_images", *(["embed_texts"] if spec.text else []))
    if lacking := [one for one in wanted if not callable(getattr(teacher, one, None))]:
        raise UserError(f"{said} has no {' and no '.join(lacking)}")
    with blamed(said, "preprocess"):
        pixels = [teacher.preprocess(picture) for picture in _pictures()]
    size = spec.image_size
    for one in pixels:
        if not isinstance(one, torch.Tensor) or one.dtype != torch.float32 or list(one.shape) != [3, size, size]:
            shown = f"expected a float32 tensor {[3, size, size]}, as spec.image_size says"
            raise UserError(f"{said}: preprocess returned {_told(one)}, {shown}")
        if not one.isfinite().all():
            raise UserError(f"{said}: preprocess returned values that are not finite")
    with blamed(said, "embed_images"):
        together, again = (teacher.embed_images(torch.stack([pixels[i] for i in which])) for which in ((0, 1), (0, 0)))
    _compare(said, "embed_images", answers(teacher, together, 2), answers(teacher, again, 2), "pictures")
    if spec.text:
        with blamed(said, "embed_texts"):
            together, again = (teacher.embed_texts([_TEXTS[i] for i in which]) for which in ((0, 1), (0, 0)))
        _compare(said, "embed_texts", answers(teacher, together, 2, "embed_texts"), answers(teacher, again, 2, "embed_texts"), "texts")


@contextmanager
def blamed(said: str, call: str) -> Iterator[None]:
    """Add to the traceback of an error in the code of another package whose it is."""
    try:
        yield
    except Exception as error:
        error.add_note(f"{said} raised this in {call}, when it was tried. Nothing was begun: mend it there, and run the same command")
        raise


def _compare(said: str, call: str, together: NDArray[np.float32], again: NDArray[np.float32], what: str) -> None:
    """Refuse embeddings that are not finite, the same for different things, or others in another batch: `together` is of two things,
    `again` twice of the first one. [2, E] each."""
    if not (np.isfinite(together).all() and np.isfinite(again).all()):
        raise UserError(f"{said}: {call} returned values that are not finite for plain {what}")
    length = float(np.linalg.norm(again[0]))
    if (together[0] == together[1]).all():
        raise UserError(f"{said}: {call} returned the same vector for two different {what}")
    if max(np.linalg.norm(together[0] - again[0]), np.linalg.norm(again[0] - again[1])) > SAME * length:
        raise UserError(
            f"{said}: {call} returned different vectors for one and the same of the {what}, in two batches. A vector must not depend on "
            f"chance or on the rest of its batch: call eval() on the model (dropout, batch norm), and take no mean over the batch"
        )


def _pictures() -> list[NDArray[np.uint8]]:
    """Two pictures of the size that views often have, [224, 224, 3]: a dark square on white, and blurred noise."""
    square = np.full((224, 224, 3), 255, np.uint8)
    square[60:150, 80:170] = (90, 40, 20)
    noise = np.random.default_rng(0).integers(0, 256, (28, 28, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    return [square, noise]


def _told(value: Any) -> str:
    """What a value is, in words."""
    if isinstance(value, torch.Tensor):
        return f"{article(str(value.dtype).removeprefix('torch.'))} tensor {list(value.shape)} on {value.device}"
    if isinstance(value, np.ndarray):
        return f"a numpy array {list(value.shape)}"
    return "nothing (None)" if value is None else article(type(value).__name__)
