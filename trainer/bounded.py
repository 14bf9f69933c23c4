"""Build a model from the header of a file that a stranger may have written, without more memory than the file's own tensors need.

refuse_huge(to_json(settings))
with bounded(tensors):
    encoder = catalog.family(name).build(settings)  # UserError before a tensor of 10^18 numbers, or the 200,000th layer, is made
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from cache_schema.errors import UserError

LARGEST: Final = 1 << 20
"""Largest number that a size in a header may have. The widest layers of published models have a few thousand features."""
SPARE: Final = 1 << 24
"""Number of elements that a model may have besides four times those of its file, for what is in no file (some buffers)."""
CALLS: Final = 1000
"""Number of tensors that a model may make besides eight times those of its file."""
SIZED: Final = ("empty", "zeros", "ones", "full", "rand", "normal", "new_")
"""Beginnings of the names of torch's operations that make a tensor of a given size."""
COUNTED: Final = ("arange", "range", "linspace", "triu_indices", "tril_indices", "eye")
"""Names of torch's operations that make a tensor whose size is a product of some of their whole numbers."""


def refuse_huge(value: Any) -> None:
    """Check the numbers of a JSON value.

    Raises:
        UserError: a whole number in it is larger than `LARGEST`.
    """
    if isinstance(value, dict | list | tuple):
        for one in value.values() if isinstance(value, dict) else value:
            refuse_huge(one)
    elif isinstance(value, int) and abs(value) > LARGEST:
        raise UserError(f"a size of more than {LARGEST} cannot be")


@contextmanager
def bounded(tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Refuse, inside this block, to make a model that is much larger than the tensors that it is made for. Only this thread is watched.

    Raises:
        UserError: the model is larger, or its sizes contradict each other.
    """
    try:
        with _Watch(CALLS + 8 * len(tensors), SPARE + 4 * sum(tensor.numel() for tensor in tensors.values())):
            yield
    except UserError:
        raise
    except (ArithmeticError, AssertionError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        told = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"its header describes a model that cannot be built ({told[:200]})") from error


class _Watch(TorchDispatchMode):
    """Counts the tensors that are made, and their elements. It is asked before any memory is taken."""

    def __init__(self, calls: int, elements: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls, self.elements = calls, elements

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here. torch would import its compiler to say so, which takes longer than to build the model."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in COUNTED:
            self._make(math.prod(max(int(abs(one)), 1) for one in args if isinstance(one, int | float)))
        elif name.startswith(SIZED) and not name.endswith("_"):
            size = next((one for one in args if isinstance(one, list | tuple)), ())
            self._make(math.prod(map(int, size)))
        return func(*args, **(kwargs or {}))

    def _make(self, elements: int) -> None:
        self.calls -= 1
        self.elements -= elements
        if self.calls < 0 or self.elements < 0:
            raise UserError("its header describes a model that is larger than its tensors")
