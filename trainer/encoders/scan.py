"""The selective scan of Mamba (https://arxiv.org/abs/2312.00752, section 3): a recurrence whose decay and input depend on the token.

    y = selective_scan(x, dt, a, b, c, d)

Token t moves each channel's state by h[t] = exp(dt[t] a) h[t-1] + dt[t] x[t] b[t] and reads y[t] = c[t] h[t] + d x[t]. `mamba_ssm` has a
kernel for the scan, which is used if it is installed and the tensors are on a GPU. On a CPU, our own kernel is used (`mamba_cpu`) if there
is a C compiler. In all other cases, and in compiled graphs on a GPU, `plain_scan` is used; in files for other runtimes, `exported_scan`.

The plain scan cuts the tokens into about sqrt(T) chunks. For the backward pass, only the state at the start of each chunk is
kept; the other states are computed again, chunk by chunk. On a CPU, chunks run one after another, so that the memory in use stays in the
cache. On a GPU, where a step costs a few kernel launches, all chunks run in parallel, in two passes. The first pass starts every chunk from
a zero state and finds its last state. From these, the true first state of each chunk is computed, and the second pass starts from it.
The adjoint recurrence runs in the same way, from the end.

Decays are exponentials of numbers that are zero or negative, and products of such exponentials. There is no division and no difference of
logarithms, so nothing can overflow. The scan is one opaque operator, because a compiler would unroll its loops.

Letters: B shapes, T tokens, E channels, N states of a channel, C chunks, Q tokens of a chunk.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.encoders import mamba_cpu

# The kernel of Mamba's authors is optional, because its installation needs a GPU and a compiler.
try:
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn as kernel
except ImportError:
    kernel = None


def selective_scan(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Outputs y [B, T, E] of the scan, in the dtype of x. The recurrence is computed in float32 or float64, also under autocast.

    Args:
        x: [B, T, E], the inputs.
        dt: [B, T, E], step sizes, not negative.
        a: [E, N], rates, not positive.
        b, c: [B, T, N], how inputs enter the state and how it is read.
        d: [E], weight of the input itself.
    """
    # Files of other runtimes know neither this module's operator nor the kernel, so they get a graph of plain operations.
    if torch.compiler.is_exporting():
        return exported_scan(x, dt, a, b, c, d)
    # A compiled graph uses the plain scan, which is one operator for the compiler.
    if kernel is not None and x.is_cuda and not torch.compiler.is_compiling():
        return kernel_scan(x, dt, a, b, c, d)
    if mamba_cpu.usable(x, a.shape[1]):
        return mamba_cpu.scanned(x, dt, a, b, c, d)
    return plain_scan(x, dt, a, b, c, d)


def kernel_scan(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """The same outputs as `selective_scan`, by the kernel of `mamba_ssm`. The tensors must be on a GPU."""
    rows = [value.float().mT.contiguous() for value in (x, dt, b, c)]  # the kernel needs channels first
    y: Tensor = kernel(rows[0], rows[1], a.float(), rows[2], rows[3], d.float()).mT.to(x.dtype)
    return y


def plain_scan(
    x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, chunk: int | None = None, abreast: bool | None = None
) -> Tensor:
    """The same outputs as `selective_scan`, in plain torch, on any device, compiled or not.

    Args:
        x, dt, a, b, c, d: as in `selective_scan`.
        chunk: number of tokens in a chunk, Q; None for the square root of the number of tokens.
        abreast: whether chunks run in parallel; None for the faster way: in parallel on all devices except the CPU.
    """
    tokens = x.shape[1]
    # With sqrt(T) chunks of sqrt(T) tokens, the numbers of kept and of recomputed states are equal: this needs the least memory.
    chunk = math.ceil(math.sqrt(tokens)) if chunk is None else chunk
    wide = torch.promote_types(x.dtype, torch.float32)
    x_wide, dt = x.to(wide), dt.to(wide)
    # Padding is neutral: a step of size 0 neither decays the state nor adds to it.
    short = -tokens % chunk
    cut = [F.pad(value, (0, 0, 0, short)).unflatten(1, (-1, chunk)) for value in (dt, dt * x_wide, b.to(wide), c.to(wide))]
    # The scan computes powers of 2, so divide the rates by log 2 once here.
    rates = a.to(wide).mT.contiguous() / math.log(2)
    y: Tensor
    y, _ = _scan(rates, *cut, x.device.type != "cpu" if abreast is None else abreast)  # [B, C, Q, E]
    return (y.flatten(1, 2)[:, :tokens] + d.to(wide) * x_wide).to(x.dtype)


def exported_scan(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """The same outputs as `selective_scan`, without gradients in mind, as a graph of few plain operations: for ONNX and `torch.export`.

    Chunks run in parallel from a zero state. A state is linear in the first state of its chunk, and the decays since then multiply: so the
    first states follow from the last ones, and each is added, decayed, to the states of its chunk.
    """
    tokens = x.shape[1]
    chunk = math.ceil(math.sqrt(tokens))
    short = -tokens % chunk
    dts, puts, writes, reads = (F.pad(v.float(), (0, 0, 0, short)).unflatten(1, (-1, chunk)) for v in (dt, dt * x, b, c))
    rates = a.float().mT  # [N, E]
    decays = (dts.unsqueeze(-2) * rates).exp()  # [B, C, Q, N, E]
    added = writes.unsqueeze(-1) * puts.unsqueeze(-2)  # [B, C, Q, N, E]
    states = [added[:, :, 0]]
    for q in range(1, chunk):
        states.append(decays[:, :, q] * states[-1] + added[:, :, q])
    since = (dts.cumsum(2).unsqueeze(-2) * rates).exp()  # [B, C, Q, N, E]: decay since the start of the chunk
    starts = [torch.zeros_like(states[-1][:, 0])]
    for i in range(dts.shape[1] - 1):
        starts.append(since[:, i, -1] * starts[-1] + states[-1][:, i])
    h = torch.stack(states, 2) + since * torch.stack(starts, 1).unsqueeze(2)  # [B, C, Q, N, E]
    y = (reads.unsqueeze(-2) @ h).squeeze(-2)  # [B, C, Q, E]
    out: Tensor = (y.flatten(1, 2)[:, :tokens] + d.float() * x).to(x.dtype)
    return out


@torch.library.custom_op("mmpd::scan", mutates_args=())
def _scan(a: Tensor, dt: Tensor, u: Tensor, b: Tensor, c: Tensor, abreast: bool) -> tuple[Tensor, Tensor]:
    """The recurrence h[t] = 2 ** (dt[t] a) h[t-1] + u[t] b[t], read as y[t] = c[t] h[t].

    Args:
        a: [N, E], rates.
        dt, u: [B, C, Q, E], step sizes, and inputs times step sizes.
        b, c: [B, C, Q, N], how inputs enter the state and how it is read.
        abreast: whether chunks run in parallel.

    Returns:
        y [B, C, Q, E], and the states at chunk starts [B, C, N, E].
    """
    # Channels are the last axis of a state, so that vector units get long rows. Powers of 2 cost a third of powers of e on some CPUs.
    if abreast:
        # A chunk is linear in its first state: its last state is the last state for a zero start, plus the start times all its decays,
        # whose exponents add up. So the starts follow from one pass over all chunks at once.
        left = a.new_zeros(*dt.shape[:2], *a.shape)
        for length, put, write in _tokens(dt, u, b):
            left = _advanced(left, a, length, put, write)
        start = _handed_on(left, _decay(dt.sum(2), a))
        return _read(a, dt, u, b, c, start)[0], start
    # One chunk after another: nothing is computed twice, and the states of one chunk stay in the cache.
    h, ys, starts = a.new_zeros(len(dt), 1, *a.shape), [], []
    for lengths, puts, writes, reads in _chunks(dt, u, b, c):
        starts.append(h)
        y, h = _read(a, lengths, puts, writes, reads, h)
        ys.append(y)
    return torch.cat(ys, 1), torch.cat(starts, 1)


@_scan.register_fake
def _(a: Tensor, dt: Tensor, u: Tensor, b: Tensor, c: Tensor, abreast: bool) -> tuple[Tensor, Tensor]:
    return dt.new_empty(dt.shape), a.new_empty(*dt.shape[:2], *a.shape)


@torch.library.custom_op("mmpd::scan_backward", mutates_args=())
def _scan_backward(
    gy: Tensor, a: Tensor, dt: Tensor, u: Tensor, b: Tensor, c: Tensor, start: Tensor, abreast: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of `_scan` with respect to a, dt, u, b and c, given the gradient with respect to y."""
    # On a CPU, new memory costs more time than the arithmetic, so buffers are allocated once and reused.
    memory = start.new_empty(dt.shape[2], *(start if abreast else start[:, :1]).shape)
    if abreast:
        # The adjoint recurrence, g[t-1] = decay[t] (g[t] + c[t] gy[t]), has the same form, from the last token to the first.
        left = torch.zeros_like(start)
        for read, gradient, step in reversed(_tokens(c, gy, dt)):
            left = torch.addcmul(left, read.unsqueeze(-1), gradient.unsqueeze(-2)).mul_(_decay(step, a))
        g = _handed_on(left.flip(1), _decay(dt.sum(2), a).flip(1)).flip(1)
        ga, _, gdt, gu, gb, gc = _pulled_back(gy, a, dt, u, b, c, start, g, memory)
        return ga, gdt, gu, gb, gc
    g, ga, parts = torch.zeros_like(start[:, :1]), torch.zeros_like(a), []
    for gradients, lengths, puts, writes, reads, first in reversed(_chunks(gy, dt, u, b, c, start)):
        of_rates, g, *others = _pulled_back(gradients, a, lengths, puts, writes, reads, first, g, memory)
        ga += of_rates
        parts.append(others)
    gdt, gu, gb, gc = (torch.cat(values[::-1], 1) for values in zip(*parts, strict=True))
    return ga, gdt, gu, gb, gc


@_scan_backward.register_fake
def _(
    gy: Tensor, a: Tensor, dt: Tensor, u: Tensor, b: Tensor, c: Tensor, start: Tensor, abreast: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    return a.new_empty(a.shape), dt.new_empty(dt.shape), u.new_empty(u.shape), b.new_empty(b.shape), c.new_empty(c.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.abreast = inputs
    ctx.save_for_backward(*tensors, output[1])


def _gradients(ctx: Any, gy: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    return *_scan_backward(gy, *ctx.saved_tensors, ctx.abreast), None


_scan.register_autograd(_gradients, setup_context=_keep)


def _read(a: Tensor, dt: Tensor, u: Tensor, b: Tensor, c: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs y [B, C, Q, E] and last states [B, C, N, E] of chunks that start from the states h [B, C, N, E]."""
    y, h, spare = [], h.clone(), torch.empty_like(h)
    # Autocast would compute these products in bfloat16, and the error of a state adds up over all later tokens.
    with torch.autocast(h.device.type, enabled=False):
        for length, put, write, read in _tokens(dt, u, b, c):
            h, spare = _advanced(h, a, length, put, write, spare), h
            y.append(torch.einsum("zcn,zcne->zce", read, h))
    return torch.stack(y, 2), h


def _pulled_back(
    gy: Tensor, a: Tensor, dt: Tensor, u: Tensor, b: Tensor, c: Tensor, start: Tensor, g: Tensor, memory: Tensor
) -> tuple[Tensor, ...]:
    """Gradients with respect to a, the states at chunk starts, dt, u, b and c, given the gradients with respect to y and the last states,
    g.

    The states in between are computed again and stored in `memory` [Q, B, C, N, E], which is overwritten.
    """
    # Run forward again to get every token's state, then backward.
    states = [start]
    for out, (length, put, write) in zip(memory, _tokens(dt, u, b), strict=True):
        states.append(_advanced(states[-1], a, length, put, write, out))
    g, ga, spare = g.clone(), torch.zeros_like(g), torch.empty_like(g)
    gdt, gu, gb, gc = [], [], [], []
    with torch.autocast(g.device.type, enabled=False):
        for gradient, length, put, write, read in reversed(_tokens(gy, dt, u, b, c)):
            g.addcmul_(read.unsqueeze(-1), gradient.unsqueeze(-2))  # gradient of this token's state, [B, C, N, E]
            gc.append(torch.einsum("zcne,zce->zcn", states.pop(), gradient))
            gb.append(torch.einsum("zcne,zce->zcn", g, put))
            gu.append(torch.einsum("zcn,zcne->zce", write, g))
            g.mul_(_decay(length, a, out=spare))  # gradient of the state before
            rate = torch.mul(g, states[-1], out=spare)  # gradient of dt a, without the factor log 2
            ga.addcmul_(rate, length.unsqueeze(-2))
            gdt.append(rate.mul_(a).sum(-2))  # [B, C, E]
    # The derivative of 2 ** z is log 2 * 2 ** z: the factor is applied once, to the sums.
    through_decay = [math.log(2) * value for value in (ga.sum((0, 1)), torch.stack(gdt[::-1], 2))]
    return through_decay[0], g, through_decay[1], *(torch.stack(values[::-1], 2) for values in (gu, gb, gc))


def _decay(dt: Tensor, a: Tensor, out: Tensor | None = None) -> Tensor:
    """Decays 2 ** (dt a), [..., N, E], of step sizes dt [..., E] and rates a [N, E]."""
    return torch.mul(dt.unsqueeze(-2), a, out=out).exp2_()


def _advanced(h: Tensor, a: Tensor, dt: Tensor, u: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """The states [B, C, N, E] one token later than h."""
    return _decay(dt, a, out).mul_(h).addcmul_(b.unsqueeze(-1), u.unsqueeze(-2))


def _handed_on(left: Tensor, decay: Tensor) -> Tensor:
    """The first states of all chunks, [B, C, N, E].

    Args:
        left: [B, C, N, E], the last state of each chunk if it starts from a zero state.
        decay: [B, C, N, E], the product of all decays of each chunk.
    """
    start = [torch.zeros_like(left[:, 0])]
    for own, kept in zip(left.unbind(1)[:-1], decay.unbind(1)[:-1], strict=True):
        start.append(torch.addcmul(own, kept, start[-1]))
    return torch.stack(start, 1)


def _tokens(*values: Tensor) -> list[tuple[Tensor, ...]]:
    """Cut values [B, C, Q, ...] into the tokens of a chunk: Q tuples of [B, C, ...]."""
    return list(zip(*(value.unbind(2) for value in values), strict=True))


def _chunks(*values: Tensor) -> list[tuple[Tensor, ...]]:
    """Cut values [B, C, ...] into chunks: C tuples of [B, 1, ...]."""
    return list(zip(*(value.split(1, 1) for value in values), strict=True))
