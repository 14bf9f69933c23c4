"""Attention in bfloat16 and the maximum of a linear layer take paths of their own on a CPU; they must say what torch's operations say."""

import pytest
import torch
import torch.nn.functional as F

from trainer.encoders import pooled
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


@pytest.mark.parametrize("groups, members, width, channels", [(130, 32, 24, 17), (1, 8, 3, 5), (64, 1, 4, 4), (3, 300, 2, 3)])
@pytest.mark.parametrize("half", [False, True])
def test_maximum_of_a_linear_layer_is_that_of_torch(half, groups, members, width, channels):
    """Values to the bit; gradients by torch in float64, of the same values. Of members that come twice, the first gets it."""
    generator = torch.Generator().manual_seed(groups)
    points, weight = torch.randn(groups, members, width, generator=generator), torch.randn(channels, width, generator=generator)
    points[:, members // 2 :] = points[:, : members - members // 2].clone()
    gradient = torch.randn(groups, channels, generator=generator)
    if half:
        points, weight, gradient = points.bfloat16(), weight.bfloat16(), gradient.bfloat16()
    points.requires_grad_(), weight.requires_grad_()
    with torch.no_grad():
        values, first = F.linear(points, weight).max(1)
    got = pooled.linear_max(points, weight)
    assert torch.equal(got, values) and torch.equal(pooled.linear_max(points.detach(), weight.detach()), values)
    found = torch.autograd.grad(got, (points, weight), gradient)
    chosen = torch.zeros(groups, members, channels, dtype=torch.float64).scatter_(1, first.unsqueeze(1), gradient.double().unsqueeze(1))
    wanted = chosen @ weight.double(), chosen.flatten(0, 1).T @ points.double().flatten(0, 1)
    for ours, exact in zip(found, wanted, strict=True):
        assert ours.dtype == points.dtype
        torch.testing.assert_close(
            ours.double(), exact, rtol=2e-2 if half else 1e-4, atol=(2e-2 if half else 1e-5) * exact.abs().max().item()
        )


def test_maximum_of_a_linear_layer_under_autocast_and_with_nan():
    points, weight = torch.randn(4, 8, 6), torch.randn(5, 6).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        got = pooled.linear_max(points, weight)
    (ours,) = torch.autograd.grad(got.float().sum(), weight)
    (theirs,) = torch.autograd.grad(pooled.plain(points.bfloat16(), weight.bfloat16()).float().sum(), weight)
    assert got.dtype == torch.bfloat16 and ours.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=2e-2)
    points[1, 3] = torch.nan
    spoilt = pooled.linear_max(points, weight)  # no value is the maximum, which must not lead to a point that is not there
    assert spoilt[1].isnan().all() and spoilt[[0, 2, 3]].isfinite().all()
    (ours,) = torch.autograd.grad(spoilt[[0, 2, 3]].sum(), weight)
    assert ours.isfinite().all()
