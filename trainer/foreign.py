"""Weights out of files that others wrote, whatever they are wrapped in, without running anything that a file asks for.

    weights = read(Path("pretrain.pth"))                # {name: tensor}
    weights = read(Path("lightning.ckpt"), key="ema")

A pickle is a program that may call whatever it can name. Here it can name what tensors, arrays, numbers and plain containers are
made of, nothing else: every other name it asks for, a function or a class, is answered with an empty class of ours, `Inert`, that
keeps what it is given and does nothing. So optimisers, settings and models of classes that nobody has here do not stand in the way
of the tensors beside them.
"""

import collections
import difflib
import pickle
import pickletools
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, NoReturn

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from cache_schema.errors import UserError
from cache_schema.spec import did_you_mean
from trainer import checkpoint

CONTAINERS: Final = (
    "base_model",
    "state_dict",
    "model_state_dict",
    "model",
    "model_state",
    "model_ema",
    "state_dict_ema",
    "ema",
    "ema_model",
    "ema_state_dict",
    "net",
    "network",
    "module",
    "weights",
    "params",
    "encoder",
)
"""Names under which files hold the weights, beside other things."""
OTHERS: Final = re.compile(r"optim|sched|scaler|grad|metric|config|args|hyper|callback|loop|epoch|buffer", re.IGNORECASE)
"""Pattern of names of things that may hold tensors but are rarely weights."""
NEVER: Final = re.compile(r"optim|sched|scaler|grad", re.IGNORECASE)
"""Pattern of names of things that are never weights. It finds fewer names than `OTHERS`."""
NAMED: Final = 8
"""Largest number of names in a message."""
DEPTH: Final = 5
"""Largest number of nested containers that are searched."""


MAGIC: Final = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
"""Number at the start of a file in the old form of `torch.save`."""
_PACKED: Final = {
    b"\x1f\x8b": "packed by gzip",
    b"BZh": "packed by bzip2",
    b"\xfd7zXZ": "packed by xz",
    b"\x28\xb5\x2f\xfd": "packed by zstd",
    b"Rar!": "a RAR archive",
    b"7z\xbc\xaf": "a 7-zip archive",
}
"""First bytes of files that hold other files, to what these are."""


def read(file: Path, key: str = "") -> dict[str, Tensor]:
    """The weights in a file by name.

    Args:
        file: what `torch.save` wrote, in any of its forms, or safetensors. Its first bytes tell which, not its name.
        key: name in the file under which the weights are, with a dot between nested names; empty to find out.

    Raises:
        UserError: the file is something else or damaged, or holds no weights, or several and `key` does not say which.
    """
    if not file.is_file():
        raise UserError(f"{file} is no file")
    found = _content(file)
    if key:
        return _under(file, found, key)
    candidates = dict(_candidates(found))
    if not candidates:
        within = ". If they are in one of these, --key NAME says in which" if _mapping(found) else ""
        raise UserError(f"{file} holds no weights by name; it holds {_summary(found)}{within}")
    if "" in candidates:
        return candidates[""]
    if len(candidates) > 1:
        first, *rest = candidates.values()
        if any(not _same(first, other) for other in rest):
            raise UserError(f"{file} holds weights under {_some(sorted(candidates))}, which differ: say which to take by --key NAME")
    return next(iter(candidates.values()))


# ------------------------------------------------------------------------------------------------ which of its contents


def _candidates(found: Any) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Path and content of everything in a file that may be its weights. The path of the file itself is empty."""
    known = list(_walk(found, "", DEPTH, lambda name: name in CONTAINERS))
    if any(path for path, _ in known):
        yield from known
        return
    most = max((len(weights) for _, weights in known), default=0)
    for no in (OTHERS, NEVER):
        other = [(path, w) for path, w in _walk(found, "", DEPTH, lambda name, no=no: not no.search(name)) if path and len(w) > most]
        if other:
            yield from other
            return
    yield from known


def _walk(value: Any, path: str, depth: int, enter: Any) -> Iterator[tuple[str, dict[str, Tensor]]]:
    inside = _mapping(value)
    inner = {name: part for name, part in inside.items() if isinstance(name, str) and enter(name) and _mapping(part)}
    deeper = [item for name, part in inner.items() if depth for item in _walk(part, f"{path}.{name}" if path else name, depth - 1, enter)]
    if deeper:
        yield from deeper
    elif weights := _weights(inside):
        yield path, weights


def _mapping(value: Any) -> Mapping[Any, Any]:
    """The names and values in a container, or the weights in a pickled module; empty for anything else."""
    if isinstance(value, Inert) and isinstance(value.__dict__.get("_modules"), Mapping):
        return dict(_of_module(value, "", 64))
    if isinstance(value, Inert):
        return {**value.__dict__, **value}
    return value if isinstance(value, Mapping) else {}


def _of_module(module: "Inert", prefix: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers of a whole model that was pickled with its class."""
    for group in ("_parameters", "_buffers"):
        for name, value in _mapping(module.__dict__.get(group)).items():
            if isinstance(value, Tensor):
                yield f"{prefix}{name}", value
    for name, child in _mapping(module.__dict__.get("_modules")).items():
        if isinstance(child, Inert) and depth:
            yield from _of_module(child, f"{prefix}{name}.", depth - 1)


def _weights(inside: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Tensors by name, and NumPy arrays as tensors. A single NumPy number counts only beside a tensor or array of the same layer."""
    found: dict[str, Tensor] = {}
    arrays = {name: value for name, value in inside.items() if isinstance(name, str) and isinstance(value, Tensor | _Array)}
    layers = {name.rpartition(".")[0] for name in arrays} - {""}
    for name, value in inside.items():
        if isinstance(value, np.generic) and isinstance(name, str) and name.rpartition(".")[0] in layers:
            value = _tensor(np.asarray(value))
        elif isinstance(value, _Array):
            value = _tensor(value.value)
        if isinstance(name, str) and isinstance(value, Tensor) and value.layout == torch.strided:
            found[name] = value.detach()
    return found


def _tensor(array: np.ndarray | None) -> Tensor | None:
    """An array of numbers as a tensor of its shape, which may have no axes; None for anything else."""
    if array is None or array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        return None
    return torch.from_numpy(array.copy(order="C"))


def _under(file: Path, found: Any, key: str) -> dict[str, Tensor]:
    names = key.split(".") if key not in _mapping(found) else [key]
    for i, name in enumerate(names):
        inside = _mapping(found)
        if name not in inside:
            start = ".".join(names[i:]) + "."
            inner = list(dict(_candidates(found)).values())  # of a flat file, the part whose names begin so
            for whole in (_weights(inside), *(inner if len(inner) == 1 else ())):
                if flat := {n.removeprefix(start): value for n, value in whole.items() if n.startswith(start)}:
                    return flat
            known = list(dict.fromkeys(n.partition(".")[0] for n in inside if isinstance(n, str)))
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            told = did_you_mean(name, near) if near else f"; there is: {_some(known)}" if known else ""
            raise UserError(f"{file} has nothing called {key!r}{told}")
        found = inside[name]
    weights = _weights(_mapping(found)) or dict(_candidates(found)).get("", {})
    if not weights:
        inner = list(dict(_candidates(found)).values())
        if len(inner) == 1:
            return inner[0]
        raise UserError(f"{file} holds no weights by name under {key!r}; it holds {_summary(found)}")
    return weights


def _some(names: Iterable[str]) -> str:
    first, rest = (listed := list(names))[:NAMED], len(listed) - NAMED
    return ", ".join(first) + (f" and {rest} more" if rest > 0 else "")


def _same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    if one.keys() != other.keys():
        return False
    return all(v.shape == other[n].shape and v.dtype == other[n].dtype and torch.equal(v, other[n]) for n, v in one.items())


def _summary(found: Any) -> str:
    inside = [repr(str(name)) for name in _mapping(found)]
    return _some(inside) if inside else f"a {type(found).__name__}"


# ----------------------------------------------------------------------------------------------------- what a file holds


def _content(file: Path) -> Any:
    """The object that was saved in a file. Raises as `read`."""
    size = file.stat().st_size
    with open(file, "rb") as opened:
        start = opened.read(512)
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 32:
        return _safetensors(file)
    if message := _no_checkpoint(start):
        raise UserError(f"{file} is {message}")
    if start.startswith(b"PK"):
        _check_zip(file)
    elif not _is_pickle(start):
        raise UserError(f"{file} is no checkpoint of PyTorch and no safetensors by its first bytes ({start[:8]!r})")
    elif MAGIC not in start[:32] and size > len(MAGIC) and _whole_pickle(file):
        raise UserError(
            f"{file} is a plain pickle, not of torch.save: load it with pickle where you trust it, and torch.save what it holds"
        )
    try:
        with warnings.catch_warnings(), open(file, "rb") as opened:  # opened here, since torch goes by some names
            warnings.simplefilter("ignore")  # of old forms, which are read all the same
            # Not `weights_only`: that knows few classes, and stops at every other. `_Pickle` names nothing that does anything.
            return torch.load(opened, map_location="cpu", pickle_module=_Pickle, weights_only=False)
    except UserError:
        raise
    except MemoryError:
        raise UserError(f"{file} is damaged, or needs more memory than there is") from None
    except AttributeError as error:
        if error.obj is not Inert:
            raise UserError(f"{file} is cut short or damaged ({size:,} bytes; AttributeError)") from error
        raise UserError(f"{file} holds a type of tensor that is not known here, perhaps float8: save its tensors as float32") from None
    except Exception as error:  # a damaged pickle may stumble over anything
        raise UserError(f"{file} is cut short or damaged ({size:,} bytes; {type(error).__name__})") from error


def _safetensors(file: Path) -> dict[str, Tensor]:
    try:
        with safetensors.safe_open(file, "pt") as opened:
            if checkpoint.METADATA in (opened.metadata() or {}):
                raise UserError(f"{file} is of a run of ours: use the run as it is, or `mmpd-train export` it")
        return safetensors.torch.load_file(file)
    except safetensors.SafetensorError as error:
        raise UserError(f"{file} is cut short or damaged ({error})") from error


def _no_checkpoint(start: bytes) -> str:
    """What a file is by its first bytes, and what to do, if it is a known thing that is no checkpoint; else empty."""
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not start:
        return "empty: its download failed, or the disk was full. Get it again"
    if start.startswith(b"version https://git-lfs"):
        return "a pointer of git-lfs and not the file itself: `git lfs pull` gets that"
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<")):
        return "a web page and not the file: open its address in a browser, and save what the page offers"
    if text.startswith((b"{", b"[")):
        return "JSON text and not weights: an answer of a server, or settings. Get the file itself"
    for mark, what in _PACKED.items():
        if start.startswith(mark):
            return f"{what}: unpack it first"
    if start[257:262] == b"ustar":
        return "a tar archive: unpack it first"
    if start.startswith(b"\x89HDF"):
        return "HDF5, of Keras perhaps, and no checkpoint of PyTorch"
    if start.startswith(b"\x93NUMPY"):
        return "one array of NumPy and no checkpoint: weights have names"
    if not start.strip(b"\0"):
        return "nothing but zeros: its download broke off. Get it again"
    return ""


def _is_pickle(start: bytes) -> bool:
    """Whether the first bytes may be those of a pickle. torch writes protocol 2 and later."""
    return start[:1] == b"\x80" and 2 <= start[1] <= pickle.HIGHEST_PROTOCOL


def _whole_pickle(file: Path) -> bool:
    """Whether a file is one pickle to its end. Only its operations are listed; nothing in it is run."""
    try:
        with open(file, "rb") as opened:
            for _ in pickletools.genops(opened):
                pass
            return not opened.read(1)
    except Exception:  # it may be anything
        return False


def unchecked(file: Path) -> str:
    """A note that damage to a file would not show, if `torch.save` wrote it without checksums. Empty for a file that has checksums, and for
    kinds of files that never have them.
    """
    if not zipfile.is_zipfile(file):
        return ""
    with zipfile.ZipFile(file) as opened:
        bare = any(entry.file_size and not entry.CRC for entry in opened.infolist())
    return f"{file} was saved without checksums: damage to it would not show" if bare else ""


def _check_zip(file: Path) -> None:
    """Raise UserError for a zip that `torch.save` did not write, or whose content does not match its checksums."""
    if not zipfile.is_zipfile(file):
        raise UserError(
            f"{file} is cut short: it begins as a checkpoint, and its end is missing ({file.stat().st_size:,} bytes). Get it again"
        )
    damaged = ""
    try:
        with zipfile.ZipFile(file) as opened:
            names = opened.namelist()
            for entry in opened.infolist():
                if entry.CRC:  # torch can save without, and then they are all 0
                    damaged = entry.filename  # should reading it fail
                    with opened.open(entry) as part:
                        while part.read(1 << 20):
                            pass
                    damaged = ""
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError):
        where = f": its part {damaged} is not what was saved" if damaged else ""
        raise UserError(f"{file} is damaged{where}. Get it again") from None
    if any(name.endswith("/constants.pkl") for name in names):
        raise UserError(f"{file} is a TorchScript program and no checkpoint: save the state_dict() of its model, and import that")
    if not any(name.endswith("/data.pkl") for name in names):
        shown = ", ".join(names[:3]) or "nothing"
        raise UserError(f"{file} is a zip of other files ({shown}{', ...' * (len(names) > 3)}): unpack it, and import the checkpoint in it")


# -------------------------------------------------------------------------------------------------- pickles, made harmless


class Inert(dict[Any, Any]):
    """Stands for every class and function that a file asks for and that is no data. It keeps what it is given, and does nothing."""

    def __new__(cls, *arguments: Any, **named: Any) -> "Inert":
        return super().__new__(cls)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__()

    __hash__ = object.__hash__  # type: ignore[assignment]  # it may be a key, or in a set

    def __eq__(self, other: object) -> bool:
        return self is other

    def __setstate__(self, state: Any) -> None:
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, Mapping):
                self.__dict__.update({str(name): value for name, value in part.items()})

    def __call__(self, *arguments: Any, **named: Any) -> "Inert":
        return Inert()

    def append(self, value: Any) -> None:
        """Do nothing, where a file takes this for a list."""

    def extend(self, values: Any) -> None:
        """Do nothing, where a file takes this for a list."""

    def add(self, value: Any) -> None:
        """Do nothing, where a file takes this for a set."""


def _rebuilt(function: Any) -> Any:
    """Wrap a function that builds data in an object whose attributes a pickle cannot set."""

    class Rebuilt:
        __slots__ = ()

        def __call__(self, *arguments: Any) -> Any:
            return function(*arguments)

    return Rebuilt()


def _of_type(function: Any, kind: Any, arguments: Any, state: Any) -> Any:
    """Stands for `torch._tensor._rebuild_from_type_v2`: builds a tensor and leaves its extra attributes out."""
    return function(*arguments) if function in _TENSORS.values() else Inert()


class _Type:
    """A simple dtype of NumPy. A pickle gives its byte order in a second step."""

    __slots__ = ("dtype",)

    def __init__(self, text: Any = "", *rest: Any) -> None:
        simple = isinstance(text, str) and re.fullmatch(r"[<>=|]?([fiub]\d{1,2}|c\d{1,2}|[SU]\d{1,6}|\?)", text)
        self.dtype = np.dtype(text) if simple else None  # one of objects or of fields could hold anything

    def __setstate__(self, state: Any) -> None:
        if self.dtype is not None and isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """An array of NumPy. A pickle fills it in a second step."""

    __slots__ = ("value",)

    def __init__(self, *arguments: Any) -> None:
        self.value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, data = state
        if isinstance(kind, _Type) and kind.dtype is not None and isinstance(data, bytes):
            array = np.frombuffer(data, kind.dtype).reshape(shape, order="F" if fortran else "C")
            self.value = array.astype(kind.dtype.newbyteorder("="))


def _bytes(text: str, encoding: str = "latin1") -> bytes:
    """Stands for `_codecs.encode`, by which old pickles write bytes."""
    return text.encode("latin1")


def _scalar(kind: Any, data: Any = b"") -> Any:
    """A single number of NumPy, as pickles build it."""
    if not isinstance(kind, _Type) or kind.dtype is None:
        return Inert()
    return np.frombuffer(data if isinstance(data, bytes) else _bytes(data), kind.dtype)[0]


_TENSORS: Final = {
    ("torch._utils", "_rebuild_tensor"): _rebuilt(torch._utils._rebuild_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _rebuilt(torch._utils._rebuild_tensor_v2),
    ("torch._utils", "_rebuild_tensor_v3"): _rebuilt(torch._utils._rebuild_tensor_v3),
    ("torch._utils", "_rebuild_parameter"): _rebuilt(lambda data, *rest: data),
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuilt(lambda data, *rest: data),
    ("torch.nn.parameter", "Parameter"): _rebuilt(lambda data, *rest: data),
}
_DATA: Final[dict[tuple[str, str], Any]] = {
    **_TENSORS,
    ("torch._tensor", "_rebuild_from_type_v2"): _rebuilt(_of_type),
    ("torch", "Size"): _rebuilt(lambda *arguments: tuple(*arguments)),
    ("torch", "device"): _rebuilt(lambda *arguments: "cpu"),
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("_codecs", "encode"): _rebuilt(_bytes),
    ("numpy", "dtype"): _rebuilt(_Type),
    ("numpy", "ndarray"): Inert,
    **{
        (f"{module}.multiarray", name): _rebuilt(function)
        for module in ("numpy.core", "numpy._core")
        for name, function in (("_reconstruct", _Array), ("scalar", _scalar))
    },
    **{
        (module, kind.__name__): _rebuilt(kind)
        for module in ("builtins", "__builtin__")
        for kind in (set, frozenset, complex, int, float, bool, str, list, dict, tuple)
    },
    **{("torch", name): getattr(torch, name) for name in dir(torch) if isinstance(getattr(torch, name), torch.dtype)},
}
"""What a pickle gets when it asks for a name of a module. For all other names it gets `Inert`."""


class _Unpickler(pickle.Unpickler):
    """A reader of pickles that gives tensors, arrays and plain containers, and `Inert` for every other name."""

    def find_class(self, module: str, name: str) -> Any:
        found = _DATA.get((module, name))
        return Inert if found is None else found

    def get_extension(self, code: int) -> NoReturn:
        raise pickle.UnpicklingError("an extension code")


def _load(file: Any, **options: Any) -> Any:
    return _Unpickler(file, **options).load()


_Pickle: Final = SimpleNamespace(Unpickler=_Unpickler, load=_load, __name__="trainer.foreign")
"""Stands for the module `pickle` in `torch.load`."""
