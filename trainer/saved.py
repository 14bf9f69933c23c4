"""The file of a run's newest checkpoint: where it lies, and what its features depend on, read without torch.

    saved.path(Path("runs/align"))                      # runs/align/last.safetensors, whether or not it exists
    saved.weights(Path("runs/align"))                   # sha256, as `trainer.checkpoint.Loaded.weights`
    saved.settings(Path("runs/align"))                  # settings that no weight tells, as `trainer.checkpoint.Loaded.settings`

`trainer.checkpoint` reads and writes the whole file.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import safetensors

from cache_schema.errors import UserError

LAST: Final = "last.safetensors"
"""Name of the file with the newest checkpoint, in the folder of the run."""
SHARED: Final = "model.safetensors"
"""Name of this file in a run that was handed on (`trainer.handing`): the name that tools of the hub look for."""
WEIGHTS, AVERAGE, OPTIMIZER = "model.", "ema.", "optimizer."
"""Prefixes of the names of tensors in the file."""
METADATA: Final = "mmpd"
"""Key of our metadata in the safetensors header."""
LEARNING: Final = ("drop_path", "mask_ratio", "authors_padding")
"""Settings of encoders that change only how they learn."""
Settings = tuple[tuple[str, str], ...]
"""Names and values, as JSON, of settings; sorted by name."""
FEATURES: Final = ("encoder.", "pool.", "summary.")
"""Prefixes of the parameters that produce features; heads and decoders are excluded."""
TYPES: Final = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
}
"""Types of tensors: the name in a safetensors file, and torch's name."""


def path(run: Path) -> Path:
    """The file with the newest checkpoint of a run, whether or not it exists."""
    return run / SHARED if (run / SHARED).is_file() and not (run / LAST).is_file() else run / LAST


def weights(run: Path) -> str:
    """The digest of a run's weights, as `trainer.checkpoint.digest` computes it of the loaded model.

    Raises:
        UserError: there is no checkpoint, or it is damaged or pickled.
    """
    file = _checked(run)
    out = hashlib.sha256()
    with open(file, "rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(length))
        prefix = AVERAGE if any(name.startswith(AVERAGE) for name in header) else WEIGHTS
        starts = tuple(prefix + start for start in FEATURES)
        for name in sorted(name for name in header if name.startswith(starts)):
            one = header[name]
            begin, end = one["data_offsets"]
            opened.seek(8 + length + begin)
            kind = TYPES.get(one["dtype"], one["dtype"])
            out.update(f"{name.removeprefix(prefix)} torch.{kind} {one['shape']} ".encode())
            out.update(opened.read(end - begin))
    return out.hexdigest()


def settings(run: Path) -> Settings:
    """Settings of a run that change its features, and that no weight tells: how points are grouped, radii, heads, the number of points.

    Two runs with the same weights and the same settings have the same features.

    Raises:
        UserError: there is no checkpoint of ours, or it is damaged or pickled.
    """
    file = _checked(run)
    with open(file, "rb") as opened:
        metadata = json.loads(opened.read(int.from_bytes(opened.read(8), "little"))).get("__metadata__", {})
    try:
        found = _settings(told(file, metadata))
    except (KeyError, TypeError, AttributeError) as error:
        raise other_form(file, error) from error
    return tuple(sorted((name, json.dumps(value, sort_keys=True)) for name, value in found.items()))


def told(file: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """What the metadata of a checkpoint says, from JSON: a `header`, and the configuration of the `encoder`.

    Raises:
        UserError: it was not written by mmpd-train, or has another form.
    """
    if METADATA not in metadata:
        raise UserError(f"{file} was not written by mmpd-train: it says nothing of a configuration")
    try:
        found = json.loads(metadata[METADATA])
        return {name: dict(found[name]) for name in ("header", "encoder")}
    except (ValueError, KeyError, TypeError) as error:
        raise other_form(file, error) from error


def other_form(file: Path, error: Exception) -> UserError:
    """The error for a checkpoint whose metadata has not what a reader looks for."""
    return UserError(
        f"{file} does not say how the run was made ({type(error).__name__}: {error}): restore it from a copy, or use the version of mmpd "
        "that wrote it"
    )


def _settings(body: Mapping[str, Any]) -> dict[str, Any]:
    """What `settings` gives, by name, from what the metadata of a checkpoint says."""
    encoder, header = body["encoder"], body["header"]
    config, points = header["config"], header.get("points") or {}
    found: dict[str, Any] = {f"encoder.{name}": value for name, value in encoder.items() if name not in LEARNING}
    found["encoder"] = config["encoder"]["name"]
    stage = config["stage"]
    pooling = (
        ("pool", "heads") if stage == "align" and config[stage].get("pool") != "max" else ("heads",) if stage == "distill" else ("pool",)
    )
    found |= {f"{stage}.{name}": config[stage].get(name) for name in pooling}
    read = ("count", "normalize", *(("grey", "colored") if encoder["channels"] == 6 else ()))
    return found | {f"points.{name}": points[name] for name in read if name in points}


def _checked(run: Path) -> Path:
    """The file of a checkpoint, which is whole. Raises as `weights`."""
    file = path(run)
    check_kind(run, file)
    try:
        with safetensors.safe_open(file, "np"):  # it checks the header, and that the file is as long as the header says
            pass
    except safetensors.SafetensorError as error:
        raise damaged(file, error) from error
    return file


def damaged(file: Path, error: Exception) -> UserError:
    """The error for a file that cannot be read as safetensors."""
    return UserError(f"{file} is cut short or damaged ({error}); train again, or restore it from a copy")


def check_kind(run: Path, file: Path) -> None:
    """Check that a file can be a checkpoint of ours.

    Raises:
        UserError: it cannot; the message says why.
    """
    if not run.is_dir():
        raise UserError(
            f"{run} is not a folder with a run; `mmpd-train align CACHE {run}` makes one, `mmpd-train pull "
            "starter-point-mae RUN` copies one that comes along"
        )
    if not file.is_file():
        foreign = sorted(p.name for p in run.iterdir() if p.suffix in (".pt", ".pth", ".ckpt", ".pkl", ".bin"))
        if foreign:
            raise UserError(f"{run} has no {file.name}, only {foreign[0]}: a pickle, which may run any code and is never loaded here")
        raise UserError(f"{run} has no {file.name}: it is no run, or was stopped before its first checkpoint")
    with open(file, "rb") as opened:
        start = opened.read(9)
    # A file of ours begins with the length of its header, 8 bytes of any value, and the header with a brace.
    if start[8:] != b"{" and start.startswith((b"PK", b"\x80")):
        raise UserError(f"{file} is a pickle (torch.save) by its first bytes: it may run any code and is never loaded here")
