"""Point-set operations against brute force written another way, their gradients, and what compilers and autocast make of them."""

import numpy as np
import pytest
import torch

from trainer import ops


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def plain_farthest(points: np.ndarray, count: int) -> list[int]:
    gap, chosen = np.full(len(points), np.inf), [0]
    while len(chosen) < count:
        gap = np.minimum(gap, ((points - points[chosen[-1]]) ** 2).sum(-1))
        chosen.append(int(gap.argmax()))
    return chosen


def test_farthest_points_equal_plain_sampling(generator):
    xyz = torch.randn(3, 70, 3, generator=generator)
    index = ops.farthest_points(xyz, 40)
    assert index.tolist() == [plain_farthest(points, 40) for points in xyz.numpy()]


def test_of_equally_far_points_the_first_is_taken():
    square = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [1, 1, 0]]])
    assert ops.farthest_points(square, 5).tolist() == [[0, 3, 1, 2, 0]]


def test_points_in_farthest_order_answer_their_own_prefix(generator):
    xyz = torch.randn(2, 100, 3, generator=generator)
    ordered = ops.gather(xyz, ops.farthest_points(xyz, 64))
    for count in (64, 32, 8):
        assert ops.farthest_points(ordered, count).tolist() == [list(range(count))] * 2


@pytest.mark.parametrize("pairs", [1, 150, 301, 10_000])
def test_nearest_equals_a_full_sort(generator, monkeypatch, pairs):
    """However many distances are computed at a time: for one query, some queries of a shape, one shape, or all."""
    monkeypatch.setattr(ops, "PAIRS", pairs)
    query, xyz = torch.randn(2, 5, 3, generator=generator), torch.randn(2, 60, 3, generator=generator)
    squared = ((query.numpy()[:, :, None] - xyz.numpy()[:, None]) ** 2).sum(-1)
    assert ops.nearest(query, xyz, 7).tolist() == squared.argsort(-1, kind="stable")[..., :7].tolist()


def test_of_equally_near_points_the_first_is_taken():
    xyz = torch.tensor([[[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, 0, 0], [0, -1, 0]]])
    assert ops.nearest(xyz[:, 3:4], xyz, 4).tolist() == [[[3, 0, 1, 2]]]


def test_distances_do_not_lose_digits_in_bf16():
    """Coordinates that bf16 can hold, whose squared differences it cannot tell apart."""
    xyz = torch.tensor([[[1.0, 1.0, 0.0], [1.0, 1.0, 0.0625], [1.0, 1.0, 0.015625]]], dtype=torch.bfloat16)
    query = torch.tensor([[[-8.0, 1.0, 0.0]]], dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert ops.nearest(query, xyz, 3).tolist() == [[[0, 2, 1]]]
        assert ops.squared_distances(query, xyz).dtype == torch.float32


def test_far_from_the_origin_neighbours_stay_exact(generator):
    xyz = torch.randint(0, 64, (1, 50, 3), generator=generator) / 64
    assert torch.equal(ops.nearest(xyz + 1000, xyz + 1000, 8), ops.nearest(xyz, xyz, 8))


def test_gather_takes_rows(generator):
    values, index = torch.randn(2, 9, 4, generator=generator), torch.randint(0, 9, (2, 3, 5), generator=generator)
    out = ops.gather(values, index)
    assert out.shape == (2, 3, 5, 4)
    assert torch.equal(out[1, 2, 3], values[1, index[1, 2, 3]])


def test_chamfer_is_the_mean_of_both_directions(generator):
    a, b = torch.randn(2, 4, 6, 3, generator=generator), torch.randn(2, 4, 9, 3, generator=generator)
    squared = ((a.numpy()[..., :, None, :] - b.numpy()[..., None, :, :]) ** 2).sum(-1)
    assert ops.chamfer(a, b).item() == pytest.approx(squared.min(-1).mean() + squared.min(-2).mean(), rel=1e-6)
    assert ops.chamfer(a, a).item() == 0
    which = torch.tensor([[True, False, True, True], [False, False, True, False]])
    assert ops.chamfer(a, b, which).item() == pytest.approx(ops.chamfer(a[which], b[which]).item(), rel=1e-6)
    assert ops.chamfer(a, b, which & False).item() == 0


def test_interpolation_weighs_by_inverse_squared_distance():
    xyz = torch.tensor([[[0.0, 0, 0], [3, 0, 0], [0, 9, 0], [50, 50, 50]]])
    features = torch.tensor([[[1.0], [10], [100], [1e6]]])
    at_point, between = ops.interpolate(torch.tensor([[[0.0, 0, 0], [1, 0, 0]]]), xyz, features)[0, :, 0].tolist()
    assert at_point == pytest.approx(1, abs=1e-4)
    weights = np.array([1, 1 / 4, 1 / 82])
    assert between == pytest.approx((weights * [1, 10, 100]).sum() / weights.sum(), rel=1e-5)


def test_gradients(generator):
    def some(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator, requires_grad=True)

    index = torch.tensor([[0, 2, 2], [1, 1, 3]])
    assert torch.autograd.gradcheck(lambda values: ops.gather(values, index), some(2, 4, 3))
    assert torch.autograd.gradcheck(ops.chamfer, (some(2, 5, 3), some(2, 4, 3)))
    assert torch.autograd.gradcheck(ops.squared_distances, (some(2, 5, 3), some(2, 4, 3)))
    assert torch.autograd.gradcheck(ops.interpolate, (some(1, 3, 3), some(1, 6, 3), some(1, 6, 2)))


def test_all_compile_as_one_graph(generator):
    xyz = torch.randn(2, 40, 3, generator=generator, requires_grad=True)

    def pipeline(xyz: torch.Tensor) -> torch.Tensor:
        centres = ops.gather(xyz, ops.farthest_points(xyz, 8))
        groups = ops.gather(xyz, ops.nearest(centres, xyz, 4))
        return ops.chamfer(groups, groups.roll(1, 1)) + ops.interpolate(xyz, centres, centres).sum()

    compiled = torch.compile(pipeline, backend="aot_eager", fullgraph=True)(xyz)
    plain = pipeline(xyz)
    assert torch.equal(compiled, plain)
    assert torch.equal(*[torch.autograd.grad(value, xyz)[0] for value in (compiled, plain)])


def test_too_many_are_refused(generator):
    xyz = torch.randn(1, 10, 3, generator=generator)
    with pytest.raises(ValueError, match=r"1\.\.10, .* got 11"):
        ops.farthest_points(xyz, 11)
    with pytest.raises(ValueError, match=r"1\.\.10, .* got 11"):
        ops.nearest(xyz, xyz, 11)
