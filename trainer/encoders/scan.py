"""The selective scan of Mamba (https://arxiv.org/abs/2312.00752, section 3): a recurrence whose decay and input depend on the token.

    y = selective_scan(x, dt, a, b, c, d)

Token t moves each channel's state by h[t] = exp(dt[t] a) h[t-1] + dt[t] x[t] b[t] and reads y[t] = c[t] h[t] + d x[t]. `mamba_ssm` has a
kernel for it, which is used where it is installed and the tensors are on its GPU; everywhere else, and in compiled graphs, it is
`plain_scan`.

The plain one cuts the tokens into chunks that advance side by side: once to learn the state that each chunk leaves behind if it starts
from nothing, then, with these handed on from chunk to chunk, once more from the true start. T tokens take about 3 sqrt(T) steps instead
of T, which is what counts where a step is a few kernel launches or nodes of a graph. Eager on a CPU there is one chunk: a step's state
stays in the cache, and nothing is done twice. Decays are exponentials of what is never positive, and products of such: there is no
division, no difference of logarithms, nothing to overflow. Only the states at chunk starts are kept for the backward pass, which
computes the others anew and runs the adjoint recurrence the same way from the end.

Letters: B shapes, T tokens, E channels, N states of a channel, C chunks, Q tokens of a chunk.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

try:
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn as kernel
except ImportError:
    kernel = None


def selective_scan(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Outputs [B, T, E] of the scan, in the type of x. Inside it is float32 or wider, also under autocast.

    Args:
        x: [B, T, E], the inputs.
        dt: [B, T, E], step sizes, not negative.
        a: [E, N], rates, not positive.
        b, c: [B, T, N], how inputs enter the state and how it is read.
        d: [E], weight of the input itself.
    """
    if kernel is not None and x.is_cuda and not torch.compiler.is_compiling():
        return kernel_scan(x, dt, a, b, c, d)
    return plain_scan(x, dt, a, b, c, d)


def kernel_scan(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """`selective_scan` by `mamba_ssm`, on a GPU only."""
    rows = [value.float().mT.contiguous() for value in (x, dt, b, c)]  # channels first, as it wants them
    return kernel(rows[0], rows[1], a.float(), rows[2], rows[3], d.float()).mT.to(x.dtype)


def plain_scan(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, chunk: int | None = None) -> Tensor:
    """`selective_scan` in plain torch, on any device, compiled or not. `chunk`: tokens of a chunk, Q; None for the fastest."""
    tokens = x.shape[1]
    if chunk is None:
        eager_cpu = x.device.type == "cpu" and not torch.compiler.is_compiling()
        chunk = tokens if eager_cpu else math.isqrt(tokens - 1) + 1
    wide = torch.promote_types(x.dtype, torch.float32)
    x_wide, dt = x.to(wide), dt.to(wide)
    # Padding is neutral: a step of size 0 neither decays the state nor adds to it.
    short = -tokens % chunk
    cut = [F.pad(value, (0, 0, 0, short)).unflatten(1, (-1, chunk)) for value in (dt, dt * x_wide, b.to(wide), c.to(wide))]
    y = _Scan.apply(a.to(wide).mT.contiguous(), *cut)  # [B, C, Q, E]
    return (y.flatten(1, 2)[:, :tokens] + d.to(wide) * x_wide).to(x.dtype)


class _Scan(torch.autograd.Function):
    """y[t] = c[t] h[t] with h[t] = exp(dt[t] a) h[t-1] + u[t] b[t], for a [N, E], dt and u [B, C, Q, E], b and c [B, C, Q, N].

    Channels are innermost in a state, [B, C, N, E]: long rows for vector units, and reading it is a product of matrices.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, dt: Tensor, u: Tensor, b: Tensor, c: Tensor) -> Tensor:
        steps = list(zip(dt.unbind(2), u.unbind(2), b.unbind(2), strict=True))
        left = a.new_zeros(*dt.shape[:2], *a.shape)  # [B, C, N, E]
        if dt.shape[1] > 1:
            for step in steps:
                left = _advance(left, a, *step)
        start = _handed_on(left, _decay(dt.sum(2), a))
        with torch.autocast(dt.device.type, enabled=False):
            y, h = [], start
            for step, read in zip(steps, c.unbind(2), strict=True):
                h = _advance(h, a, *step)
                y.append((read.unsqueeze(-2) @ h).squeeze(-2))  # [B, C, E]
        ctx.save_for_backward(a, dt, u, b, c, start)
        return torch.stack(y, 2)

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        a, dt, u, b, c, start = ctx.saved_tensors
        dts, us, bs, cs, gys = (value.unbind(2) for value in (dt, u, b, c, gy))
        states = [start]
        for step in zip(dts, us, bs, strict=True):
            states.append(_advance(states[-1], a, *step))
        last_first = range(dt.shape[2] - 1, -1, -1)
        left = torch.zeros_like(start)
        if dt.shape[1] > 1:
            for q in last_first:
                left = torch.addcmul(left, cs[q].unsqueeze(-1), gys[q].unsqueeze(-2)) * _decay(dts[q], a)
        g = _handed_on(left.flip(1), _decay(dt.sum(2), a).flip(1)).flip(1)  # adjoint of the state that leaves the chunk
        ga = torch.zeros_like(start)
        gdt, gu, gb, gc = [], [], [], []
        with torch.autocast(dt.device.type, enabled=False):
            for q in last_first:
                g = torch.addcmul(g, cs[q].unsqueeze(-1), gys[q].unsqueeze(-2))  # of h[q], [B, C, N, E]
                gc.append((states.pop() @ gys[q].unsqueeze(-1)).squeeze(-1))  # [B, C, N]
                gb.append((g @ us[q].unsqueeze(-1)).squeeze(-1))  # [B, C, N]
                gu.append((bs[q].unsqueeze(-2) @ g).squeeze(-2))  # [B, C, E]
                g = g * _decay(dts[q], a)  # of h[q-1]
                rate = g * states[-1]  # of dt a
                gdt.append((rate * a).sum(-2))  # [B, C, E]
                ga = torch.addcmul(ga, rate, dts[q].unsqueeze(-2))
        return (ga.sum((0, 1)), *(_stacked(parts) for parts in (gdt, gu, gb, gc)))


def _decay(dt: Tensor, a: Tensor) -> Tensor:
    """[..., N, E] of dt [..., E] and a [N, E]."""
    return torch.exp(dt.unsqueeze(-2) * a)


def _advance(h: Tensor, a: Tensor, dt: Tensor, u: Tensor, b: Tensor) -> Tensor:
    """The states [B, C, N, E] one token later."""
    return torch.addcmul(b.unsqueeze(-1) * u.unsqueeze(-2), _decay(dt, a), h)


def _handed_on(left: Tensor, decay: Tensor) -> Tensor:
    """The states that chunks start from, [B, C, N, E], given what each leaves if it starts from nothing and how it decays its start."""
    start = [torch.zeros_like(left[:, 0])]
    for own, kept in zip(left.unbind(1)[:-1], decay.unbind(1)[:-1], strict=True):
        start.append(torch.addcmul(own, kept, start[-1]))
    return torch.stack(start, 1)


def _stacked(last_first: list[Tensor]) -> Tensor:
    """[B, C, Q, ...] of the steps' [B, C, ...]."""
    return torch.stack(last_first[::-1], 2)
