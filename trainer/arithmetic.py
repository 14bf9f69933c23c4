"""Which numbers the forward pass of a training computes with: float32, or bfloat16 by autocast. Here alone it is decided.

    chosen = choose("auto", torch.device("cpu"))         # Arithmetic(precision="bfloat16", why="this processor has avx512_bf16")
    with chosen.autocast(device):
        losses = model(batch)

Weights, gradients as the optimiser sees them, losses and distances are float32 in either case. With bfloat16 a training takes about half
the time where the hardware computes it; elsewhere it is emulated, which takes longer than float32. The results agree within the spread of
seeds.
"""

from dataclasses import dataclass
from typing import Final, Literal

import torch

Precision = Literal["float32", "bfloat16"]
Asked = Literal["auto", "float32", "bfloat16"]

INSTRUCTIONS: Final = ("amx_bf16", "avx512_bf16", "sve_bf16", "bf16")
"""Instructions that multiply matrices of bfloat16, by the names of `torch.cpu.get_capabilities`: AMX and AVX-512 on x86, SVE and NEON on
ARM."""
AMPERE: Final = (8, 0)
"""First compute capability of NVIDIA's GPUs with bfloat16."""


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """The precision of a forward pass, and the reason for it, as a part of a sentence."""

    precision: Precision
    why: str

    def autocast(self, device: torch.device) -> torch.autocast:
        """The context in which a forward pass has this precision."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16")


def choose(asked: Asked, device: torch.device, kept: str | None = None) -> Arithmetic:
    """The precision of a run.

    Args:
        asked: the setting of the run.
        device: where it computes.
        kept: what the run has computed with so far, since a run does not change its precision on another machine. "" if an earlier version
            of mmpd did not store it; there `auto` meant bfloat16 on any GPU and float32 on any CPU. None for a new run.
    """
    if asked != "auto":
        return Arithmetic(precision=asked, why="as set")
    best = _best(device)
    if kept is None:
        return best
    begun: Precision = "bfloat16" if kept == "bfloat16" or (not kept and device.type == "cuda") else "float32"
    return (
        best
        if begun == best.precision
        else Arithmetic(precision=begun, why=f"as the run was begun; a new one would take {best.precision}, since {best.why}")
    )


def of_task(learns: bool, device: torch.device) -> Arithmetic:
    """The precision in which an evaluation trains.

    On a CPU it is float32: that results in bfloat16 agree within seeds is shown for pre-training only, and an evaluation has no setting by
    which two results could be told apart. On a GPU it is bfloat16 if the GPU has it.

    Args:
        learns: whether the encoder, or new parts in it, learns. If only a head does, features are computed in float32.
        device: where it computes.
    """
    if not learns or device.type == "cpu":
        return Arithmetic(precision="float32", why="evaluations on a CPU and frozen encoders have it")
    return _best(device)


def _best(device: torch.device) -> Arithmetic:
    """bfloat16 where the device computes it, else float32. Nothing is timed: the device says what it has."""
    if device.type == "cuda":
        fits = torch.version.hip is not None or torch.cuda.get_device_capability(device) >= AMPERE
        return _arithmetic(fits, "this GPU computes it", "this GPU has no bfloat16")
    if device.type != "cpu":
        return _arithmetic(False, "", f"bfloat16 is not tried on {device.type}")
    if not torch.backends.mkldnn.is_available():  # such as on macOS: torch's own products in bfloat16 use none of these instructions
        return _arithmetic(False, "", "this torch has no oneDNN, which computes bfloat16")
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is None:
        return _arithmetic(False, "", f"torch {torch.__version__} does not say what this processor computes, as torch 2.11 does")
    has = capabilities()
    found = next((name for name in INSTRUCTIONS if has.get(name)), "")
    return _arithmetic(bool(found), f"this processor has {found}", "this processor has no bfloat16")


def _arithmetic(half: bool, reason: str, otherwise: str) -> Arithmetic:
    return Arithmetic(precision="bfloat16", why=reason) if half else Arithmetic(precision="float32", why=otherwise)
