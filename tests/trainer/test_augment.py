"""What augmentation may do to a block, and that its farthest-point order survives it."""

import dataclasses

import pytest
import torch

from trainer import ops
from trainer.augment import GREY, AugmentOptions, augment, draw

STILL = AugmentOptions(rotate=False, tilt=0, scale=(1, 1), shift=0, drop=0, drop_color=0)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def blocks(generator) -> torch.Tensor:
    """[4, 300, 6] with colours, the first 64 points in farthest-point order, the others as they came."""
    points = torch.rand(4, 300, 6, generator=generator)
    first = ops.farthest_points(points[..., :3], 64)
    rest = torch.ones(4, 300, dtype=torch.bool).scatter(1, first, False).nonzero()[:, 1].view(4, -1)
    return ops.gather(points, torch.cat([first, rest], 1))


def changed(blocks: torch.Tensor, generator: torch.Generator, **options) -> torch.Tensor:
    return augment(blocks, draw(dataclasses.replace(STILL, **options), *blocks.shape[:2], generator))


def test_no_change_changes_nothing(blocks, generator):
    assert torch.equal(changed(blocks, generator), blocks)


def test_the_farthest_point_order_survives(blocks, generator):
    moved = changed(blocks, generator, rotate=True, tilt=30, scale=(0.5, 2), shift=1)
    assert not torch.allclose(moved, blocks, atol=0.1)
    assert ops.farthest_points(moved[..., :3], 64).tolist() == [list(range(64))] * 4


def test_rotation_is_about_the_up_axis_and_rigid(blocks, generator):
    turned, before = changed(blocks, generator, rotate=True)[..., :3], blocks[..., :3]
    torch.testing.assert_close(turned[..., 1], before[..., 1])
    assert (turned[..., 0] - before[..., 0]).abs().max() > 0.1
    torch.testing.assert_close(ops.squared_distances(turned, turned), ops.squared_distances(before, before), atol=1e-5, rtol=0)
    frame = draw(dataclasses.replace(STILL, rotate=True, tilt=90), 50, 1, generator).matrix
    torch.testing.assert_close(torch.linalg.det(frame), torch.ones(50))


def test_tilt_scale_and_shift_keep_their_limits(generator):
    up = torch.tensor([[[0.0, 1, 0]]]).expand(500, 1, 3)
    heights = changed(up, generator, rotate=True, tilt=10)[:, 0, 1]
    assert 0.9848 < heights.min() < 0.99  # cos 10 degrees = 0.98481
    lengths = changed(up, generator, rotate=True, scale=(0.8, 1.25))[:, 0].norm(dim=-1)
    assert 0.8 <= lengths.min() < 0.85 and 1.2 < lengths.max() <= 1.2501
    shifts = (changed(up, generator, shift=0.1) - up).abs().amax((0, 1))
    assert (shifts <= 0.1001).all() and (shifts > 0.09).all()


def test_a_scale_for_each_axis_keeps_its_limits_and_the_shapes_own_axes(generator):
    axes = torch.eye(3).expand(500, 3, 3)
    scales = changed(axes, generator, scale=(0.5, 2), per_axis=True)
    assert torch.equal(scales, torch.diag_embed(scales.diagonal(dim1=1, dim2=2)))
    drawn = scales.diagonal(dim1=1, dim2=2)
    assert 0.5 <= drawn.min() < 0.52 and 1.97 < drawn.max() <= 2 and torch.corrcoef(drawn.T).fill_diagonal_(0).abs().max() < 0.15
    turned = changed(axes, generator, rotate=True, scale=(0.5, 2), per_axis=True)  # the scale comes first, or axes would not stay square
    lengths = turned.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(turned @ turned.mT, torch.diag_embed(lengths.squeeze(-1) ** 2), atol=1e-5, rtol=0)
    one = changed(axes, generator, rotate=True, scale=(0.5, 2)).norm(dim=-1)
    torch.testing.assert_close(one, one[:, :1].expand(-1, 3))


def test_a_scale_for_each_axis_keeps_the_first_points_spread(blocks, generator):
    after = changed(blocks, generator, scale=(2 / 3, 3 / 2), per_axis=True)
    for shape in after[..., :3]:
        best = shape[ops.farthest_points(shape[None], 32)[0]]
        cover, least = (ops.squared_distances(first, shape).amin(0).max().sqrt() for first in (shape[:32], best))
        assert cover < 1.6 * least


def test_dropping_keeps_shape_order_and_spread(blocks, generator):
    thinned = changed(blocks, generator, drop=0.4)
    assert thinned.shape == blocks.shape
    for before, after in zip(blocks, thinned, strict=True):
        places = [int((before == point).all(-1).nonzero()[0, 0]) for point in after]
        kept = next((i for i in range(1, 300) if places[i] <= places[i - 1]), 300)
        assert kept >= 150 and places[:kept] == sorted(places[:kept])
        assert places[kept:] == [places[i % kept] for i in range(kept, 300)]
        cover = ops.squared_distances(after[:32, :3], before[:, :3]).amin(0).max().sqrt()
        best = ops.squared_distances(before[:32, :3], before[:, :3]).amin(0).max().sqrt()
        assert cover < 1.6 * best  # 32 random points cover at 2 to 2.5 times the radius
    shares = [len({tuple(point) for point in shape.tolist()}) / 300 for shape in thinned]
    assert max(shares) - min(shares) > 0.02


def test_dropped_colours_are_grey_for_a_whole_shape(generator):
    points = torch.rand(400, 3, 6, generator=generator)
    grey = (changed(points, generator, drop_color=0.25)[..., 3:] == GREY).flatten(1)
    assert torch.equal(grey.all(1), grey.any(1))
    assert grey.all(1).float().mean().item() == pytest.approx(0.25, abs=0.08)


def test_points_without_colours_have_none_to_drop(blocks, generator):
    assert changed(blocks[..., :3], generator, drop_color=1).shape == (4, 300, 3)


def test_the_same_generator_gives_the_same_change_and_ranks_their_share(blocks):
    drawn = [draw(AugmentOptions(), 4, 300, torch.Generator().manual_seed(3)) for _ in range(2)]
    whole = augment(blocks, drawn[0])
    assert torch.equal(whole, augment(blocks, drawn[1]))
    assert torch.equal(whole[2:], augment(blocks[2:], drawn[0].rows(2, 4)))


def test_options_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r"ascending order, got \(1\.2, 0\.8\)"):
        AugmentOptions(scale=(1.2, 0.8))
    with pytest.raises(ValueError, match="drop must lie in"):
        AugmentOptions(drop=1)
    with pytest.raises(ValueError, match=r"augment\.scale=1\.1,1\.1 leaves nothing to draw"):
        AugmentOptions(scale=(1.1, 1.1), per_axis=True)
