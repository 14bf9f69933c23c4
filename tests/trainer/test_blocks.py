"""Attention in bfloat16 on a CPU takes a path of its own; it must say what torch's fused attention says in float32."""

import pytest
import torch
import torch.nn.functional as F

from trainer.encoders.blocks import attend


@pytest.mark.parametrize("keys", [9, 300])  # few, and many for their width
@pytest.mark.parametrize("masked", [False, True])
def test_attention_in_bfloat16_agrees_with_the_fused_one_in_float32(masked, keys):
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, count, 16, generator=generator, requires_grad=True) for count in (5, keys, keys))
    mask = torch.rand(2, 1, 5, keys, generator=generator) < 0.6
    mask[..., 0] = True  # someone is seen by each
    mask = mask if masked else None
    exact = F.scaled_dot_product_attention(q, k, v, mask)
    wanted = torch.autograd.grad(exact.square().sum(), (q, k, v))
    with torch.autocast("cpu", torch.bfloat16):
        got = attend(q.bfloat16(), k.bfloat16(), v.bfloat16(), mask)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), exact, rtol=0.05, atol=0.03)
    for ours, theirs in zip(torch.autograd.grad(got.float().square().sum(), (q, k, v)), wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0.1, atol=0.15)
