"""Read weights from checkpoint files of other projects, without executing code from the file.

    weights = read(Path("pretrain.pth"))                # {name: tensor}
    weights = read(Path("lightning.ckpt"), key="ema")

A pickle is a program that may call any function by name. This reader knows only the names needed for tensors, arrays, numbers and plain
containers. For every other name, of a function or a class, the pickle gets the class `Inert`, which stores its arguments and does nothing.
So a file can also hold optimisers, settings and objects of unknown classes: its tensors can still be read.
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
from cache_schema.terminal import article
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
"""Usual keys of the weights in files that also hold other things."""
OTHERS: Final = re.compile(r"optim|sched|scaler|grad|metric|config|args|hyper|callback|loop|epoch|buffer", re.IGNORECASE)
"""Pattern of keys whose values may hold tensors but are rarely weights."""
NEVER: Final = re.compile(r"optim|sched|scaler|grad", re.IGNORECASE)
"""Pattern of keys whose values are never weights. It matches fewer keys than `OTHERS`."""
NAMED: Final = 8
"""Largest number of names in a message."""
DEPTH: Final = 5
"""Largest depth of nested containers that is searched."""


MAGIC: Final = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
"""Number at the start of a file in the old format of `torch.save`."""
_PACKED: Final = {
    b"\x1f\x8b": "packed by gzip",
    b"BZh": "packed by bzip2",
    b"\xfd7zXZ": "packed by xz",
    b"\x28\xb5\x2f\xfd": "packed by zstd",
    b"Rar!": "a RAR archive",
    b"7z\xbc\xaf": "a 7-zip archive",
}
"""First bytes of compressed files and archives, with their description."""


def read(file: Path, key: str = "") -> dict[str, Tensor]:
    """The weights in a file by name.

    Args:
        file: a file of `torch.save`, in any of its formats, or safetensors. Its first bytes decide which, not its name.
        key: key of the weights in the file, with dots between nested keys; empty to find them.

    Raises:
        UserError: the file has another format or is damaged, holds no weights, or holds several sets of weights and `key` is empty.
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


# ------------------------------------------------------------------------------------------- finding the weights in a file


def _candidates(found: Any) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Key and value of everything in a file that may be its weights. The key of the whole content is empty."""
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
    """Names and values in a container, or the weights of a pickled module; empty for anything else."""
    if isinstance(value, Inert) and isinstance(value.__dict__.get("_modules"), Mapping):
        return dict(_of_module(value, "", 64))
    if isinstance(value, Inert):
        return {**value.__dict__, **value}
    return value if isinstance(value, Mapping) else {}


def _of_module(module: "Inert", prefix: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers of a model that was pickled as an object."""
    for group in ("_parameters", "_buffers"):
        for name, value in _mapping(module.__dict__.get(group)).items():
            if isinstance(value, Tensor):
                yield f"{prefix}{name}", value
    for name, child in _mapping(module.__dict__.get("_modules")).items():
        if isinstance(child, Inert) and depth:
            yield from _of_module(child, f"{prefix}{name}.", depth - 1)


def _weights(inside: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Tensors by name, also NumPy arrays as tensors. A single NumPy number counts only if its layer also has a tensor or array."""
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
    """An array of numbers as a tensor of the same shape; None for anything else."""
    if array is None or array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        return None
    return torch.from_numpy(array.copy(order="C"))


def _under(file: Path, found: Any, key: str) -> dict[str, Tensor]:
    names = key.split(".") if key not in _mapping(found) else [key]
    for i, name in enumerate(names):
        inside = _mapping(found)
        if name not in inside:
            start = ".".join(names[i:]) + "."
            inner = list(dict(_candidates(found)).values())  # in a flat file: the tensors whose names begin with the key
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
    return _some(inside) if inside else article(type(found).__name__)


# --------------------------------------------------------------------------------------------------------- reading a file


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
        raise UserError(f"{file} is no checkpoint of PyTorch and no safetensors, judging by its first bytes ({start[:8]!r})")
    elif MAGIC not in start[:32] and size > len(MAGIC) and _whole_pickle(file):
        raise UserError(
            f"{file} is a plain pickle, not of torch.save: if you trust it, load it with pickle, and save its content with torch.save"
        )
    try:
        with warnings.catch_warnings(), open(file, "rb") as opened:  # opened here, since torch treats some file names specially
            warnings.simplefilter("ignore")  # about old formats, which are read correctly
            # Not `weights_only`: it knows few classes, and fails for every other. `_Pickle` is safe, since it never returns a foreign
            # function.
            return torch.load(opened, map_location="cpu", pickle_module=_Pickle, weights_only=False)
    except UserError:
        raise
    except MemoryError:
        raise UserError(f"{file} is damaged, or needs more memory than there is") from None
    except AttributeError as error:
        if error.obj is not Inert:
            raise UserError(f"{file} is cut short or damaged ({size:,} bytes; AttributeError)") from error
        raise UserError(f"{file} holds a type of tensor that is not known here, perhaps float8: save its tensors as float32") from None
    except Exception as error:  # a damaged pickle may raise any error
        raise UserError(f"{file} is cut short or damaged ({size:,} bytes; {type(error).__name__})") from error


def _safetensors(file: Path) -> dict[str, Tensor]:
    try:
        with safetensors.safe_open(file, "pt") as opened:
            if checkpoint.METADATA in (opened.metadata() or {}):
                raise UserError(f"{file} is already a run of mmpd: use the run as it is, or `mmpd-train export` it")
        return safetensors.torch.load_file(file)
    except safetensors.SafetensorError as error:
        raise UserError(f"{file} is cut short or damaged ({error})") from error


def _no_checkpoint(start: bytes) -> str:
    """What a file is, judging by its first bytes, and what to do, if it is a known format but no checkpoint; else empty."""
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not start:
        return "empty: its download failed, or the disk was full. Get it again"
    if start.startswith(b"version https://git-lfs"):
        return "a pointer of git-lfs and not the file itself: `git lfs pull` gets that"
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<")):
        return "a web page and not the file: open its address in a browser, and download the file from there"
    if text.startswith((b"{", b"[")):
        return "JSON text and not weights: a server's response, or settings. Get the file itself"
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
    """Whether a file is one complete pickle. Its operations are listed, not executed."""
    try:
        with open(file, "rb") as opened:
            for _ in pickletools.genops(opened):
                pass
            return not opened.read(1)
    except Exception:  # the file may have any content
        return False


def unchecked(file: Path) -> str:
    """A note if `torch.save` wrote a file without checksums, so that damage cannot be detected. Empty for a file with checksums, and for
    formats that never have them.
    """
    if not zipfile.is_zipfile(file):
        return ""
    with zipfile.ZipFile(file) as opened:
        bare = any(entry.file_size and not entry.CRC for entry in opened.infolist())
    return f"{file} was saved without checksums: damage cannot be detected" if bare else ""


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
                if entry.CRC:  # torch can save without checksums; then all are 0
                    damaged = entry.filename  # for the case that reading it fails
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


# ---------------------------------------------------------------------------------------------------- safe reading of pickles


class Inert(dict[Any, Any]):
    """Replaces every class and function in a file that is not known as data. It stores its arguments, and does nothing."""

    def __new__(cls, *arguments: Any, **named: Any) -> "Inert":
        return super().__new__(cls)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__()

    __hash__ = object.__hash__  # type: ignore[assignment]  # it may be a key of a dict, or in a set

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
    """Wrap a function that builds data in an object, so that a pickle cannot set its attributes."""

    class Rebuilt:
        __slots__ = ()

        def __call__(self, *arguments: Any) -> Any:
            return function(*arguments)

    return Rebuilt()


def _of_type(function: Any, kind: Any, arguments: Any, state: Any) -> Any:
    """Replaces `torch._tensor._rebuild_from_type_v2`: builds a tensor and leaves out its extra attributes."""
    return function(*arguments) if function in _TENSORS.values() else Inert()


class _Type:
    """A simple dtype of NumPy. A pickle sets its byte order in a second step."""

    __slots__ = ("dtype",)

    def __init__(self, text: Any = "", *rest: Any) -> None:
        simple = isinstance(text, str) and re.fullmatch(r"[<>=|]?([fiub]\d{1,2}|c\d{1,2}|[SU]\d{1,6}|\?)", text)
        self.dtype = np.dtype(text) if simple else None  # a dtype of objects or fields could hold anything

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
    """Replaces `_codecs.encode`, which old pickles use for bytes."""
    return text.encode("latin1")


def _scalar(kind: Any, data: Any = b"") -> Any:
    """Builds a single number of NumPy, as pickles do."""
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
"""Objects that a pickle gets for a module and a name. For all other names it gets `Inert`."""


class _Unpickler(pickle.Unpickler):
    """A reader of pickles that knows tensors, arrays and plain containers, and returns `Inert` for every other name."""

    def find_class(self, module: str, name: str) -> Any:
        found = _DATA.get((module, name))
        return Inert if found is None else found

    def get_extension(self, code: int) -> NoReturn:
        raise pickle.UnpicklingError("an extension code")


def _load(file: Any, **options: Any) -> Any:
    return _Unpickler(file, **options).load()


_Pickle: Final = SimpleNamespace(Unpickler=_Unpickler, load=_load, __name__="trainer.foreign")
"""Replaces the module `pickle` in `torch.load`."""
