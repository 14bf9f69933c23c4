"""Two parts of Mamba's mixer on a CPU by kernels in C, which are compiled when they are first needed: the causal convolution with its SiLU,
and the selective scan.

    if usable(x):
        x = convolved(x, weight, bias)
        y = scanned(x, dt, a, b, c, d)

Both have so few operations per number that plain torch spends its time on reading and writing. The kernels (`mamba.c`) keep what belongs to
a few channels in registers and in the first caches, over all tokens. Their plain twins are `trainer.encoders.pointmamba.plain_convolution`
and `trainer.encoders.scan.plain_scan`.

A C compiler is needed: the one that the environment variable CC names, or `cc`. It takes about half a second in every process. The library
is made for the processor at hand, so it is not kept for other processes, which may run on other machines. If it cannot be compiled, or
differs from its definition on a small example, that is said once, and plain torch is used. An empty CC chooses plain torch.

Letters: B shapes, T tokens, E channels, N states of a channel, K tokens under the convolution.
"""

import ctypes
import functools
import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.terminal import say

SOURCE: Final = Path(__file__).with_name("mamba.c")
FLAGS: Final = ("-O2", "-march=native", "-fopenmp", "-shared", "-fPIC", "-w")
"""Options of the compiler. The library for threads is the one that torch has loaded, so `torch.set_num_threads` holds for kernels too."""
SECONDS: Final = 60
"""Longest time that the compiler may take."""
MOST: Final = 256
"""Largest N and K: the kernels hold the states of a vector of channels, and the weights of the convolution, on the stack."""


def usable(x: Tensor, most: int) -> bool:
    """Whether the kernels can compute something of the inputs x.

    Args:
        x: the inputs.
        most: the number of states of a channel, or of tokens under the convolution.
    """
    narrow = torch.promote_types(x.dtype, torch.float32) == torch.float32
    return x.device.type == "cpu" and narrow and most <= MOST and not torch.compiler.is_exporting() and bool(available())


# Compiling and loading a library cannot be part of a graph of torch.compile. Torch has no types on the decorator.
@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def available() -> bool:
    """Whether the kernels work on this machine. The first call compiles them; if that fails, it says so."""
    return _tried()


def convolved(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """SiLU of a causal convolution of each channel, [B, T, E] float32, computed in float32 also under autocast.

    Args:
        x: [B, T, E], the inputs.
        weight: [E, 1, K], those of the K - 1 tokens before and of the token itself.
        bias: [E].
    """
    y: Tensor = _convolve(x.float(), weight.squeeze(1).mT.float(), bias.float())
    return y


def scanned(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """The same outputs as `trainer.encoders.scan.selective_scan`, computed in float32 also under autocast."""
    y: Tensor = _scan(*(value.float() for value in (x, dt, a.mT, b, c, d)))
    return y.to(x.dtype)


# ------------------------------------------------------------------------------------------------------------- the library


@functools.cache
def _tried() -> bool:
    """See `available`."""
    try:
        _check()
    except (OSError, subprocess.SubprocessError, ArithmeticError) as error:
        detail = (getattr(error, "stderr", None) or str(error)).strip()
        say(f"Mamba runs in plain torch, and a step takes 1.5 times as long, since its kernels for CPUs were not compiled: {detail[:300]}")
        return False
    return True


@functools.cache
def _library() -> ctypes.CDLL:
    """The compiled kernels.

    Raises:
        OSError: there is no compiler, or its result cannot be loaded.
        subprocess.SubprocessError: the compiler failed or took too long.
    """
    try:
        compiler = shlex.split(os.environ.get("CC", "cc"))
    except ValueError as error:
        raise OSError(f"CC is no command: {error}") from error
    if not compiler:
        raise OSError("CC is empty")
    with tempfile.TemporaryDirectory(prefix="mmpd-mamba-") as folder:
        file = Path(folder) / "mamba.so"
        command = [*compiler, *FLAGS, str(SOURCE), "-o", str(file)]
        subprocess.run(
            command, check=True, capture_output=True, encoding="utf-8", errors="replace", stdin=subprocess.DEVNULL, timeout=SECONDS
        )
        return ctypes.CDLL(str(file))


def _run(function: str, sizes: tuple[int, ...], *arrays: Tensor) -> None:
    """Call a kernel with sizes and contiguous float32 arrays, as its declaration lists them."""
    assert all(array.dtype == torch.float32 and array.is_contiguous() for array in arrays), "arrays must be contiguous and in float32"
    places = (ctypes.c_void_p(array.data_ptr()) for array in arrays)
    if _library()[function](*map(ctypes.c_int64, sizes), *places):
        raise MemoryError(f"not enough memory for {function} of {sizes}")


def _check() -> None:
    """Compile the kernels and compare them with their definitions on a small example.

    Raises:
        OSError, subprocess.SubprocessError: see `_library`.
        ArithmeticError: the results differ.
    """
    generator = torch.Generator().manual_seed(0)
    # A number of channels that no vector divides, and step sizes from almost nothing to much.
    shapes = (2, 7, 21), (2, 7, 21), (21, 3), (2, 7, 3), (2, 7, 3), (21,), (21, 1, 4)
    results = []
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", enabled=False):
        values = [torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu").requires_grad_() for shape in shapes]
        x, step, rate, b, c, d, weight = values
        for convolution, scan in ((convolved, scanned), (_convolution, _recurrence)):
            y = scan(convolution(x, weight, d), (3 * step).exp(), -rate.exp(), b, c, d)
            results.append((y, *torch.autograd.grad(y.square().sum(), values)))
    for ours, plain in zip(*results, strict=True):
        if not torch.allclose(ours, plain, rtol=1e-4, atol=1e-4 * plain.abs().max().item()):
            raise ArithmeticError("their results differ from their definition")


def _convolution(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`convolved`, as it is defined."""
    kernel, tokens = weight.shape[2], x.shape[1]
    padded = F.pad(x, (0, 0, kernel - 1, 0))
    return F.silu(bias + torch.stack([weight[:, 0, k] * padded[:, k : k + tokens] for k in range(kernel)]).sum(0))


def _recurrence(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """`scanned`, as it is defined."""
    h, y = x.new_zeros(len(x), *a.shape), []
    for t in range(x.shape[1]):
        h = torch.exp(dt[:, t, :, None] * a) * h + (dt[:, t] * x[:, t]).unsqueeze(-1) * b[:, t, None]  # [B, E, N]
        y.append((h * c[:, t, None]).sum(-1) + d * x[:, t])
    return torch.stack(y, 1)


# ----------------------------------------------------------------------------------------------------------- the operators


@torch.library.custom_op("mmpd::convolve_on_cpu", mutates_args=())
def _convolve(x: Tensor, w: Tensor, bias: Tensor) -> Tensor:
    """Outputs [B, T, E] of inputs x [B, T, E], weights [K, E] and a bias [E]."""
    given = [value.contiguous() for value in (x, w, bias)]
    y = torch.empty_like(given[0])
    _run("convolve", (*x.shape, len(w)), *given, y)
    return y


@_convolve.register_fake
def _(x: Tensor, w: Tensor, bias: Tensor) -> Tensor:
    return x.new_empty(x.shape)


@torch.library.custom_op("mmpd::convolve_on_cpu_backward", mutates_args=())
def _convolve_backward(gy: Tensor, x: Tensor, w: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `_convolve` with respect to its arguments, given the gradient with respect to y."""
    given = [value.contiguous() for value in (gy, x, w, bias)]
    gx, gw, gbias = torch.empty_like(given[1]), w.new_empty(len(x), *w.shape), bias.new_empty(len(x), *bias.shape)
    _run("convolve_backward", (*x.shape, len(w)), *given, gx, gw, gbias)
    return gx, gw.sum(0), gbias.sum(0)


@_convolve_backward.register_fake
def _(gy: Tensor, x: Tensor, w: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), w.new_empty(w.shape), bias.new_empty(bias.shape)


@torch.library.custom_op("mmpd::scan_on_cpu", mutates_args=())
def _scan(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Outputs [B, T, E]. The arguments are those of `selective_scan`, but a is [N, E]."""
    given = [value.contiguous() for value in (x, dt, a, b, c, d)]
    y = torch.empty_like(given[0])
    _run("scan", (*x.shape, len(a)), *given, y)
    return y


@_scan.register_fake
def _(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    return x.new_empty(x.shape)


@torch.library.custom_op("mmpd::scan_on_cpu_backward", mutates_args=())
def _scan_backward(
    gy: Tensor, x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of `_scan` with respect to its arguments, given the gradient with respect to y."""
    given = [value.contiguous() for value in (gy, x, dt, a, b, c, d)]
    gx, gdt, gb, gc = (torch.empty_like(given[i]) for i in (1, 2, 4, 5))
    ga, gd = a.new_empty(len(x), *a.shape), d.new_empty(len(x), *d.shape)
    _run("scan_backward", (*x.shape, len(a)), *given, gx, gdt, ga, gb, gc, gd)
    return gx, gdt, ga.sum(0), gb, gc, gd.sum(0)


@_scan_backward.register_fake
def _(
    gy: Tensor, x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    gx, gdt, ga, gb, gc, gd = (value.new_empty(value.shape) for value in (x, dt, a, b, c, d))
    return gx, gdt, ga, gb, gc, gd


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


_convolve.register_autograd(lambda ctx, gy: _convolve_backward(gy, *ctx.saved_tensors), setup_context=_keep)
_scan.register_autograd(lambda ctx, gy: _scan_backward(gy, *ctx.saved_tensors), setup_context=_keep)
