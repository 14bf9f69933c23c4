"""Values of Python in files that other people pickled, read without executing anything.

    value = read(Path("00a1.npy"))        # an array, or the dict that was saved by `np.save(path, {...})`

A pickle is a program that may call any function by name. This reader carries out the few instructions that arrays, numbers, texts, bytes,
lists, tuples and dicts need, in its own code. It never imports or calls what a file names. It knows the few names by which NumPy and
Python write arrays, types, single numbers and bytes, and does itself what they stand for. Every other name, and every other
instruction, is refused.

No file makes this reader use much more memory than its own size: arrays must have as many bytes as their shape says, whole numbers have at
most 64 bits, instructions and nesting are limited. A pickle may hold one list in many places of another. Written out in full, the value has
a limited size, so that whoever walks over it comes to an end.

Texts that are no Unicode, such as halves of surrogate pairs, are refused.
"""

import math
import pickletools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError
from cache_schema.spec import short
from cache_schema.terminal import article

LARGEST: Final = 8 << 30
"""Largest size of a file, in bytes."""

STEPS: Final = 20_000_000
"""Largest number of instructions in a file."""

DEPTH: Final = 16
"""Deepest nesting of lists, tuples and dicts."""

MOST_LISTED: Final = 100_000_000
"""Largest number of numbers in nested lists that are read as an array."""

DENSEST: Final = 200
"""Largest ratio of a value that is written out in full, with each part once for every place that it has, to its file."""

SMALLEST: Final = 1 << 20
"""Size in bytes that a smaller file counts as, where its value is compared with it."""

NODE: Final = 32
"""Bytes that a value counts beside its text or its numbers."""

TYPES: Final = re.compile(r"[<>|=]?(?:b1|[iu][1248]|f[248]|[US][0-9]{1,6}|O8?)")
"""Types of numbers and texts, as NumPy writes them. `O` is an array of Python values, which becomes a list."""

CORE: Final = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")
"""Modules in which NumPy 1 and 2 keep the functions that pickles name."""


def read(path: Path) -> Any:
    """Read a `.npy` or a plain pickle.

    Returns:
        An array of numbers or texts; or a dict, list, tuple, text, number or None of such values.

    Raises:
        UserError: the file is missing, damaged or too large, or it asks for anything but arrays, numbers, texts, lists and dicts.
    """
    try:
        if (size := path.stat().st_size) > LARGEST:
            raise UserError(f"{path.name} has {size:,} bytes, more than {LARGEST:,}")
        with path.open("rb") as file:
            head = file.read(6)
            file.seek(0)
            return _npy(path, size) if head == b"\x93NUMPY" else unpickled(file.read(), path.name)
    except OSError as error:
        raise UserError(f"{path.name} cannot be read: {error.strerror or error}") from error


def holds_objects(path: Path) -> bool:
    """Whether a file is a `.npy` with Python values, such as a dict. Only its header is read."""
    try:
        with path.open("rb") as file:
            return _header(file, path.name)[1].hasobject
    except (UserError, OSError):
        return False


def _npy(path: Path, size: int) -> Any:
    with path.open("rb") as file:
        shape, dtype, fortran = _header(file, path.name)
        if dtype.hasobject:
            return unpickled(file.read(), path.name)
        wanted, there = math.prod(shape) * dtype.itemsize, size - file.tell()
        if there < wanted:
            raise UserError(f"{path.name} is cut short: an array {list(shape)} of {dtype} has {wanted:,} bytes, and there are {there:,}")
        order = "F" if fortran else "C"
        flat = np.frombuffer(file.read(wanted), dtype)
        check_array(flat, path.name)
        return flat.reshape(shape, order=order)  # type: ignore[call-overload]


def _header(file: Any, name: str) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    """Shape, type and order of a `.npy`. The file is left at the beginning of the numbers.

    Raises:
        UserError: it has no sound header.
    """
    try:
        version = np.lib.format.read_magic(file)
        parsed = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = parsed(file)
    except Exception as error:  # NumPy parses the header as Python code, and raises whatever that may raise
        raise UserError(f"{name} is no sound .npy file: {short(str(error))}") from error
    if dtype.names or dtype.subdtype or min(shape, default=0) < 0:
        raise UserError(f"{name} holds records of the type {short(str(dtype))}, expected an array of numbers or a dict of them")
    return shape, dtype, fortran


# ------------------------------------------------------------------------------------------------------ the instructions


@dataclass(frozen=True)
class _Name:
    """A name that a pickle mentions. Nothing is imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}".replace("\n", " ")[:80]


@dataclass
class _Type:
    """The type of an array, as far as the pickle has told it."""

    text: str
    order: str = "="

    def dtype(self, what: str) -> np.dtype[Any]:
        """The type for NumPy.

        Raises:
            UserError: it is no type of numbers or texts.
        """
        if not TYPES.fullmatch(self.text):
            raise UserError(f"{what} asks for an array of the type {short(self.text)}, expected numbers or texts")
        return np.dtype(self.text).newbyteorder(self.order if self.order in "<>" else "=")  # type: ignore[arg-type]


@dataclass
class _Array:
    """An array that the pickle has begun to describe."""

    value: Any = None
    done: bool = False


MARK: Final = object()
"""What the instruction MARK puts on the stack."""


@dataclass
class _Machine:
    """The stack and the memo of one pickle."""

    what: str
    """Name of the file, for messages."""
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def refuse(self, asked: str) -> UserError:
        return UserError(
            f"{self.what} is a pickle that asks for {asked}: only arrays, numbers, texts, lists and dicts are read, and nothing was "
            "executed. Do not open it with other programs unless you trust who made it"
        )

    def damaged(self) -> UserError:
        return UserError(f"{self.what} is no sound pickle: damaged or cut short?")

    def pop(self) -> Any:
        if not self.stack:
            raise self.damaged()
        return self.stack.pop()

    def to_mark(self) -> list[Any]:
        """Take everything above the last mark from the stack."""
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is MARK:
                taken, self.stack[place:] = self.stack[place + 1 :], []
                return taken
        raise self.damaged()

    def name(self, module: Any, name: Any) -> _Name:
        if not isinstance(module, str) or not isinstance(name, str):
            raise self.damaged()
        found = _Name(module, name)
        if (module, name) not in KNOWN:
            raise self.refuse(str(found))
        return found

    def put(self, key: int) -> None:
        if not self.stack:
            raise self.damaged()
        self.memo[key] = self.stack[-1]

    def get(self, key: int) -> Any:
        if key not in self.memo:
            raise self.damaged()
        return self.memo[key]

    def set_items(self, target: Any, pairs: list[Any]) -> None:
        if not isinstance(target, dict) or len(pairs) % 2:
            raise self.damaged()
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not isinstance(key, str | int | float | bytes | bool | None):
                raise self.refuse(f"a dict with a key of the type {type(key).__name__.strip('_')}")
            target[key] = value

    def extend(self, target: Any, items: list[Any]) -> None:
        if not isinstance(target, list):
            raise self.damaged()
        target.extend(items)

    # what NumPy's names stand for

    def reduce(self, called: Any, given: Any) -> Any:
        """Do what a name stands for with some arguments."""
        if not isinstance(called, _Name) or not isinstance(given, tuple):
            raise self.refuse(f"a call of {article(type(called).__name__.strip('_'))}")
        try:
            return KNOWN[called.module, called.name](self, *given)
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            if isinstance(error, UserError):
                raise
            raise self.refuse(f"{called} in an unusual way") from error

    def begun(self, kind: Any, shape: Any, code: Any) -> _Array:
        """`_reconstruct(ndarray, (0,), b"b")`: an empty array, which BUILD fills."""
        if kind != _Name("numpy", "ndarray") or shape != (0,) or code not in (b"b", "b"):
            raise self.refuse("an array of its own kind")
        return _Array()

    def called_directly(self, *given: Any) -> None:
        """`ndarray(...)`: no pickle of NumPy calls it."""
        raise self.refuse("a call of numpy.ndarray")

    def array_type(self, text: Any, *flags: Any) -> _Type:
        """`dtype("f4", False, True)`."""
        if not isinstance(text, str):
            raise self.refuse("a type of its own kind")
        return _Type(text)

    def number(self, kind: _Type, data: Any) -> Any:
        """`scalar(dtype, b"...")`: one number."""
        return self.filled((), kind, "C", data)[()]

    def from_buffer(self, data: Any, kind: _Type, shape: Any, order: Any) -> _Array:
        """`_frombuffer(b"...", dtype, shape, "C")`: a whole array, as protocol 5 writes it."""
        return _Array(self.filled(shape, kind, order, data), True)

    def encoded(self, text: Any, code: Any) -> bytes:
        """`_codecs.encode(text, "latin1")`: bytes, as protocol 2 writes them."""
        if not isinstance(text, str) or code not in ("latin1", "latin-1"):
            raise self.refuse("an encoding of its own kind")
        return text.encode("latin-1")

    def no_bytes(self) -> bytes:
        """`bytes()`: no bytes, as protocol 2 writes them."""
        return b""

    def filled(self, shape: Any, kind: Any, order: Any, data: Any) -> Any:
        """An array of numbers or texts; a list for a one-dimensional array of Python values, and its value for one without dimensions."""
        if not isinstance(shape, tuple) or not all(type(n) is int and 0 <= n < 2**40 for n in shape) or not isinstance(kind, _Type):
            raise self.refuse("an array of its own kind")
        dtype = kind.dtype(self.what)
        count = math.prod(shape)
        if dtype.hasobject:
            if not isinstance(data, list) or len(data) != count or len(shape) > 1:
                raise self.refuse(f"an array {list(shape)} of Python values in an unusual way")
            return list(data) if shape else data[0]
        if isinstance(data, str):  # Python 2 wrote bytes so
            data = data.encode("latin-1")
        if not isinstance(data, bytes | bytearray) or len(data) != count * dtype.itemsize:
            raise self.refuse(f"an array {list(shape)} of {dtype} with another number of bytes")
        flat = np.frombuffer(data, dtype)
        check_array(flat, self.what)
        return flat.reshape(shape, order="F" if order == "F" else "C")

    def build(self, target: Any, state: Any) -> None:
        """BUILD: the rest of what was begun."""
        if isinstance(target, _Type) and isinstance(state, tuple) and len(state) >= 8:
            _, order, subtype, names, fields = state[:5]
            if subtype is not None or names is not None or fields is not None or order not in ("<", ">", "|", "="):
                raise self.refuse("an array of records")
            target.order = order
        elif isinstance(target, _Array) and not target.done and isinstance(state, tuple) and len(state) == 5:
            _, shape, kind, fortran, data = state
            target.value, target.done = self.filled(shape, kind, "F" if fortran else "C", data), True
        else:
            raise self.refuse(f"a state of {article(type(target).__name__.strip('_'))}")


KNOWN: Final[dict[tuple[str, str], Callable[..., Any]]] = {
    **{(module, "_reconstruct"): _Machine.begun for module in CORE},
    **{(module, "scalar"): _Machine.number for module in CORE},
    **{(module, "_frombuffer"): _Machine.from_buffer for module in CORE},
    ("numpy", "dtype"): _Machine.array_type,
    ("_codecs", "encode"): _Machine.encoded,
    ("__builtin__", "bytes"): _Machine.no_bytes,
    ("builtins", "bytes"): _Machine.no_bytes,
    ("numpy", "ndarray"): _Machine.called_directly,
}
"""By module and name: what this reader does itself where a pickle names it. Nothing else may be named."""


def _push(value: Callable[[_Machine, Any], Any]) -> Callable[[_Machine, Any], None]:
    """An instruction that puts a value on the stack."""
    return lambda machine, argument: machine.stack.append(value(machine, argument))


def _taken(count: int) -> Callable[[_Machine, Any], None]:
    """The instruction that makes a tuple of the last `count` values."""
    return _push(lambda m, _: tuple([m.pop() for _ in range(count)][::-1]))


def _whole(machine: _Machine, value: Any) -> Any:
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise machine.refuse("a number of more than 64 bits")
    return value


def _pop(machine: _Machine, _: Any) -> None:
    machine.pop()


def _pop_mark(machine: _Machine, _: Any) -> None:
    machine.to_mark()


def _append(machine: _Machine, _: Any) -> None:
    item = machine.pop()
    machine.extend(machine.stack[-1] if machine.stack else None, [item])


def _appends(machine: _Machine, _: Any) -> None:
    items = machine.to_mark()
    machine.extend(machine.stack[-1] if machine.stack else None, items)


def _set_item(machine: _Machine, _: Any) -> None:
    value, key = machine.pop(), machine.pop()
    machine.set_items(machine.stack[-1] if machine.stack else None, [key, value])


def _set_items(machine: _Machine, _: Any) -> None:
    pairs = machine.to_mark()
    machine.set_items(machine.stack[-1] if machine.stack else None, pairs)


def _new_dict(machine: _Machine, _: Any) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    machine.set_items(made, machine.to_mark())
    return made


def _global(machine: _Machine, argument: str) -> _Name:
    return machine.name(*argument.split(" ", 1)) if " " in argument else machine.name(argument, "")


def _stack_global(machine: _Machine, _: Any) -> _Name:
    name, module = machine.pop(), machine.pop()
    return machine.name(module, name)


def _reduce(machine: _Machine, _: Any) -> Any:
    given, called = machine.pop(), machine.pop()
    return machine.reduce(called, given)


def _build(machine: _Machine, _: Any) -> None:
    state = machine.pop()
    machine.build(machine.stack[-1] if machine.stack else None, state)


_TEXTS: Final = (
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "FLOAT", "BINFLOAT"),
)
_WHOLE: Final = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4")

INSTRUCTIONS: Final[dict[str, Callable[[_Machine, Any], None]]] = {
    **dict.fromkeys(_TEXTS, _push(lambda _, argument: argument)),
    **dict.fromkeys(_WHOLE, _push(_whole)),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine.put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _push(_Machine.get)),
    **dict.fromkeys(("PROTO", "FRAME"), lambda machine, _: None),
    "NONE": _push(lambda *_: None),
    "NEWTRUE": _push(lambda *_: True),
    "NEWFALSE": _push(lambda *_: False),
    "MARK": _push(lambda *_: MARK),
    "POP": _pop,
    "POP_MARK": _pop_mark,
    "EMPTY_LIST": _push(lambda *_: []),
    "EMPTY_DICT": _push(lambda *_: {}),
    "EMPTY_TUPLE": _push(lambda *_: ()),
    "LIST": _push(lambda machine, _: machine.to_mark()),
    "TUPLE": _push(lambda machine, _: tuple(machine.to_mark())),
    "TUPLE1": _taken(1),
    "TUPLE2": _taken(2),
    "TUPLE3": _taken(3),
    "DICT": _push(_new_dict),
    "APPEND": _append,
    "APPENDS": _appends,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "MEMOIZE": lambda machine, _: machine.put(len(machine.memo)),
    "GLOBAL": _push(_global),
    "STACK_GLOBAL": _push(_stack_global),
    "REDUCE": _push(_reduce),
    "BUILD": _build,
}
"""What each instruction of a pickle does here, by its name in `pickletools`."""


def unpickled(data: bytes, what: str) -> Any:
    """Read the value of a pickle. `what` is the name of its file, for messages.

    Raises:
        UserError: see `read`.
    """
    machine = _Machine(what)
    try:
        for step, (code, argument, _) in enumerate(pickletools.genops(BytesIO(data))):
            if step > STEPS:
                raise UserError(f"{what} has more than {STEPS:,} instructions")
            if code.name == "STOP":
                return _Written(machine, DENSEST * max(len(data), SMALLEST)).of(machine.pop(), 0)[0]
            if code.name not in INSTRUCTIONS:
                raise machine.refuse(f"the instruction {code.name}{'' if argument is None else f' {short(argument)}'}")
            INSTRUCTIONS[code.name](machine, argument)
    except UserError:
        raise
    except (ValueError, IndexError, OverflowError, EOFError) as error:
        raise UserError(f"{what} is no sound pickle, damaged or cut short? ({short(str(error))})") from error
    raise machine.damaged()


class _Written:
    """Gives values with finished arrays in the place of those that were begun, and their sizes when they are written out in full."""

    def __init__(self, machine: _Machine, most: int) -> None:
        """
        Args:
            machine: the machine that made the values.
            most: largest size in bytes.
        """
        self.machine, self.most = machine, most
        self.seen: dict[int, tuple[Any, int]] = {}  # by identity: values that are there several times are looked at once

    def of(self, value: Any, depth: int) -> tuple[Any, int]:
        """A finished value, and its size in bytes.

        Raises:
            UserError: the value holds something that is no value, is nested too deeply, as a list that contains itself is, or is too large.
        """
        if depth > DEPTH:
            raise self.machine.refuse(f"values nested more than {DEPTH} deep")
        if id(value) in self.seen:
            return self.seen[id(value)]
        if isinstance(value, _Array):
            if not value.done:
                raise self.machine.damaged()
            found = self.of(value.value, depth)
        elif isinstance(value, dict):
            keys, sizes = [self.of(key, depth + 1) for key in value], [self.of(item, depth + 1) for item in value.values()]
            done = {key: item for (key, _), (item, _) in zip(keys, sizes, strict=True)}
            found = done, self._sum(size for _, size in (*keys, *sizes))
        elif isinstance(value, list | tuple):
            items = [self.of(item, depth + 1) for item in value]
            parts = [item for item, _ in items]
            found = parts if isinstance(value, list) else tuple(parts), self._sum(size for _, size in items)
        else:
            return self._single(value)
        self.seen[id(value)] = found
        return found

    def _single(self, value: Any) -> tuple[Any, int]:
        if isinstance(value, str):
            check_text(value, self.machine.what)
            return value, NODE + len(value)
        if isinstance(value, bytes | bytearray):
            return value, NODE + len(value)
        if isinstance(value, np.ndarray | np.generic):
            return value, NODE + value.nbytes
        if value is None or isinstance(value, int | float):
            return value, NODE
        raise self.machine.refuse(f"{article(type(value).__name__.strip('_'))} as a value")

    def _sum(self, sizes: Iterable[int]) -> int:
        size = NODE + sum(sizes)
        if size > self.most:
            raise self.machine.refuse(f"the same values in so many places that they have more than {self.most:,} bytes together")
        return size


def check_text(text: str, where: str) -> None:
    """Refuse a text with a lone half of a surrogate pair, which is no character, and which no file of UTF-8 can hold.

    Args:
        text: the text.
        where: the file, and the place in it, for the message.

    Raises:
        UserError: it has one.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        told = ascii(text[max(error.start - 40, 0) : error.start + 40])
        raise UserError(
            f"{where} has a text with half of a surrogate pair, which is no character: {told}; write the text anew as UTF-8"
        ) from error


def check_array(array: NDArray[Any], where: str) -> None:
    """Refuse an array of texts with numbers that are no characters of Unicode. Other arrays are sound.

    Args:
        array: a one-dimensional array of any type, contiguous.
        where: the file, for the message.

    Raises:
        UserError: there is such a number.
    """
    if array.dtype.kind != "U" or not array.size or not array.dtype.itemsize:
        return
    codes = array.view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
    wrong = codes[(codes > LAST) | ((codes >= SURROGATES[0]) & (codes <= SURROGATES[1]))]
    if len(wrong):
        raise UserError(f"{where} has texts with the number {int(wrong[0]):#x}, which is no character of Unicode: damaged?")


LAST: Final = 0x10FFFF
"""The last character of Unicode."""

SURROGATES: Final = (0xD800, 0xDFFF)
"""The first and the last half of a surrogate pair, which are no characters."""


def texts_of(value: Any) -> list[str] | None:
    """A list of texts, from a list, a tuple or an array of texts; None for anything else."""
    if isinstance(value, np.ndarray):
        value = [item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in value.reshape(-1).tolist()]
    if isinstance(value, str):
        return [value]
    return list(value) if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value) else None


def numbers_of(value: Any) -> NDArray[Any] | None:
    """An array of numbers, from an array or from nested lists of numbers; None for anything else."""
    if isinstance(value, list | tuple):
        first, count = value, 1
        while isinstance(first, list | tuple) and first:
            count, first = count * len(first), first[0]
        try:
            # A list may be there many times in another list, so that a small file describes a huge array.
            value = np.array(value) if count <= MOST_LISTED else None
        except (ValueError, OverflowError):
            return None
    return value if isinstance(value, np.ndarray) and value.dtype.kind in "fiu" else None
