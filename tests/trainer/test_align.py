"""Stage 1: its losses against formulas written out, what a batch may lack, and several ranks as one."""

import dataclasses
import math
import shutil
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from tests.trainer.ranks import in_ranks
from trainer.align import Align, AlignDraw, Contrast, Regression, Teacher, TeacherLosses, answers
from trainer.batch import Batch, Negatives
from trainer.distributed import gathered, mean
from trainer.encoders import catalog
from trainer.heads import AttentionPool, Projection
from trainer.options import AlignOptions

B, D, Q = 6, 12, 5
CLIP = Teacher(name="clip", dim=7, text=True, objective="contrast")
DINO = Teacher(name="dino.v2", dim=9, text=False, objective="regress")
STATISTICS = {"image/dino.v2": (torch.linspace(-1, 1, 9), torch.linspace(0.5, 2, 9))}


@pytest.fixture
def generator() -> torch.Generator:
    torch.manual_seed(0)  # of weights
    return torch.Generator().manual_seed(0)


@pytest.fixture
def batch(generator) -> Batch:
    """Shapes 0 and 1 share a text, 2 and 3 a category, 4 has neither, 5 its text and its category with extra rows."""
    return Batch(
        points=torch.randn(B, 64, 3, generator=generator),
        index=torch.arange(B),
        label=torch.tensor([0, 1, 2, 2, -1, 3]),
        text_key=torch.tensor([7, 7, 8, 9, -1, 10]),
        image={"clip": torch.randn(B, 7, generator=generator), "dino.v2": torch.randn(B, 9, generator=generator).half()},
        text={"clip": torch.randn(B, 7, generator=generator)},
        negatives=Negatives(
            image={"clip": torch.randn(Q, 7, generator=generator)},
            text={"clip": torch.randn(Q, 7, generator=generator)},
            text_key=torch.tensor([10, -1, 20, 21, 22]),
            label=torch.tensor([-1, 3, -1, 8, 9]),
        ),
    )


@pytest.fixture
def summary(generator) -> Tensor:
    return torch.randn(B, D, generator=generator, requires_grad=True)


@pytest.fixture
def losses(generator) -> TeacherLosses:
    return TeacherLosses(D, (CLIP, DINO), AlignOptions(), STATISTICS)


EVERYONE = AlignDraw(keep=torch.ones(B, 2, dtype=torch.bool))


def info_nce(points: Tensor, targets: Tensor, extra: Tensor, scale: float, right: list[set[int]], usable: list[int]) -> list[float]:
    """Both directions' mean for every usable shape, one exponential after the other."""
    candidates = [*targets, *extra]
    columns = [j for j in range(len(candidates)) if j >= len(targets) or j in usable]
    out = []
    for i in usable:
        to_target = {j: math.exp(scale * F.cosine_similarity(points[i], candidates[j], dim=0).item()) for j in columns}
        to_points = {j: math.exp(scale * F.cosine_similarity(targets[i], points[j], dim=0).item()) for j in range(len(points))}
        parts = []
        for likely, good in ((to_target, right[i] & set(columns)), (to_points, {j for j in right[i] if j < len(points)})):
            parts.append(-sum(math.log(likely[j] / sum(likely.values())) for j in good) / len(good))
        out.append(sum(parts) / 2)
    return out


RIGHT = [{0, 1}, {0, 1}, {2, 3}, {2, 3}, {4}, {5, 6, 7}]


def test_right_answers_share_the_text_or_the_category(batch):
    def found(mode: str) -> list[set[int]]:
        return [set(row.nonzero().flatten().tolist()) for row in answers(batch, mode).of_shapes]

    assert found("either") == RIGHT
    assert found("text") == [{0, 1}, {0, 1}, {2}, {3}, {4}, {5, 6}]
    assert found("category") == [{0}, {1}, {2, 3}, {2, 3}, {4}, {5, 7}]
    assert found("none") == [{i} for i in range(B)]
    batch = dataclasses.replace(batch, index=torch.tensor([0, 1, 2, 3, 0, 5]))  # shape 0 comes again, with another text
    assert found("none") == [{0, 4}, {1}, {2}, {3}, {0, 4}, {5}]
    assert found("text") == [{0, 1, 4}, {0, 1}, {2}, {3}, {0, 4}, {5, 6}]


def test_contrast_is_symmetric_info_nce_over_all_right_answers(batch, summary, losses):
    with torch.no_grad():
        losses.targets["text/clip"].log_scale.fill_(math.log(5))
    found = losses(summary, batch, EVERYONE)
    embedded = losses.embed(summary)["text/clip"].detach()
    expected = info_nce(embedded, batch.text["clip"], batch.negatives.text["clip"], 5, RIGHT, list(range(B)))
    assert found["text/clip"].item() == pytest.approx(sum(expected) / B, rel=1e-5)


def test_shapes_without_a_target_are_neither_asked_nor_wrong_answers(batch, summary, losses):
    valid = torch.tensor([True, False, True, True, True, False])
    batch = dataclasses.replace(batch, image_valid={"clip": valid, "dino.v2": ~valid})
    with torch.no_grad():
        losses.targets["image/clip"].log_scale.fill_(math.log(5))
    found = losses(summary, batch, EVERYONE)
    embedded = losses.embed(summary)["image/clip"].detach()
    expected = info_nce(embedded, batch.image["clip"], batch.negatives.image["clip"], 5, RIGHT, [0, 2, 3, 4])
    assert found["image/clip"].item() == pytest.approx(sum(expected) / 4, rel=1e-5)
    one = losses.targets["image/dino_v2"](summary, batch.image["dino.v2"].unsqueeze(1), ~valid, ~valid.unsqueeze(1))
    assert found["image/dino.v2"].item() == one.item()


def test_no_target_at_all_is_no_loss_and_no_nan(batch, summary, losses):
    nobody = torch.zeros(B, dtype=torch.bool)
    batch = dataclasses.replace(batch, image_valid={"clip": nobody, "dino.v2": nobody}, text_valid={"clip": nobody}, negatives=None)
    found = losses(summary, batch, EVERYONE)
    assert found["loss"].item() == 0
    found["loss"].backward()
    assert summary.grad.abs().max() == 0
    assert all(p.grad is None or p.grad.abs().max() == 0 for p in losses.parameters())


def test_regression_is_cosine_and_smooth_l1_to_standardised_targets(batch, summary, losses):
    average, variance = STATISTICS["image/dino.v2"]
    target = (batch.image["dino.v2"].float() - average) / variance.sqrt()
    out = losses.embed(summary)["image/dino.v2"].detach()
    gap = (out - target).abs()
    smooth = torch.where(gap < 1, gap.square() / 2, gap - 0.5).mean(1)
    expected = 0.9 * (1 - (out * target).sum(1) / out.norm(dim=1) / target.norm(dim=1)) + 0.1 * smooth
    assert losses(summary, batch, EVERYONE)["image/dino.v2"].item() == pytest.approx(expected.mean().item(), rel=1e-5)
    assert out.norm(dim=1).std() > 0  # not of unit length, which SmoothL1 could not match


def test_the_sum_weighs_teachers_and_averages_their_modalities(batch, summary, generator):
    found = TeacherLosses(D, (CLIP, DINO), AlignOptions(), STATISTICS)(summary, batch, EVERYONE)
    clip = (found["image/clip"] + found["text/clip"]) / 2
    assert found["loss"].item() == pytest.approx((clip / 2 + found["image/dino.v2"] / 2).item())
    weighed = tuple(dataclasses.replace(t, weight=w) for t, w in ((CLIP, 2.0), (DINO, 0.0)))
    found = TeacherLosses(D, weighed, AlignOptions(), STATISTICS)(summary, batch, EVERYONE)
    assert found["loss"].item() == pytest.approx((found["image/clip"] + found["text/clip"]).item())


def test_temperatures_start_at_0_07_and_stop_at_0_01(batch, summary, losses):
    scales = [module.log_scale for module in losses.targets.values() if isinstance(module, Contrast)]
    assert len(scales) == 2 and scales[0] is not scales[1]
    assert all(scale.exp().item() == pytest.approx(1 / 0.07) for scale in scales)
    with torch.no_grad():
        scales[0].fill_(9.0)
    losses(summary, batch, EVERYONE)["loss"].backward()
    assert scales[0].exp().item() == pytest.approx(100, rel=1e-5)
    assert scales[0].grad != 0  # and can come back


def test_a_dropped_teacher_is_not_asked_about_a_shape(batch, summary, losses):
    keep = EVERYONE.keep.clone()
    keep[:4, 0] = False
    found = losses(summary, batch, AlignDraw(keep=keep))
    parts = [mean_of_row(losses, summary, batch, row) for row in (4, 5)]
    assert found["text/clip"].item() == pytest.approx(sum(parts) / 2, rel=1e-5)


def mean_of_row(losses: TeacherLosses, summary: Tensor, batch: Batch, row: int) -> float:
    keep = torch.zeros(B, 2, dtype=torch.bool)
    keep[row] = True
    return losses(summary, batch, AlignDraw(keep=keep))["text/clip"].item()


def test_one_teacher_always_stays(generator):
    losses = TeacherLosses(D, (CLIP, DINO), AlignOptions(teacher_drop=0.9), STATISTICS)
    keep = losses.draw(2000, generator).keep
    assert keep.any(1).all()
    assert keep.float().mean().item() == pytest.approx((1 + 0.01) / 2, abs=0.02)
    assert TeacherLosses(D, (CLIP, DINO), AlignOptions(), STATISTICS).draw(50, generator).keep.all()


def test_a_step_reaches_every_parameter_also_in_bf16_compiled(batch, generator):
    """The other way to pool is compiled together with reconstruction, in the tests of that."""
    heads = AlignOptions(teacher_drop=0.2, pool="max", projection="linear")
    encoder = catalog.build("pointmae-tiny", dim=12, depth=1)
    stage = Align(encoder, (CLIP, DINO), heads, STATISTICS)
    with torch.autocast("cpu", torch.bfloat16):
        found = torch.compile(stage, backend="aot_eager", fullgraph=True)(batch, stage.draw(B, generator))
    assert set(found) == {"image/clip", "text/clip", "image/dino.v2", "loss"}
    found["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in stage.parameters())


def test_it_learns_to_tell_shapes_apart(batch, generator):
    stage = Align(catalog.build("pointmae-tiny", dim=12, depth=1), (CLIP,), AlignOptions(positives="none"))
    optimizer = torch.optim.AdamW(stage.parameters(), lr=3e-3)
    course = []
    for _ in range(30):
        course.append(stage(batch, stage.draw(B, generator))["loss"])
        optimizer.zero_grad()
        course[-1].backward()
        optimizer.step()
    assert course[-1] < 0.5 * course[0]


def test_features_carry_no_gradient_and_need_evaluation_mode(batch, generator):
    stage = Align(catalog.build("pointmae-tiny", dim=12, depth=1), (CLIP,), AlignOptions())
    with pytest.raises(AssertionError, match="batch norms"):
        stage.features(batch.points, ordered=True)
    features = stage.eval().features(batch.points, ordered=True)
    assert features.tokens.shape == (B, 32, 12) and features.summary.shape == (B, 12)
    assert not features.tokens.requires_grad and not features.summary.requires_grad


def test_pooling_attends_to_tokens_in_any_order_and_number(generator):
    pool = AttentionPool(12, 3)
    tokens = torch.randn(2, 9, 12, generator=generator)
    assert pool(tokens).shape == (2, 12)
    torch.testing.assert_close(pool(tokens), pool(tokens[:, torch.randperm(9, generator=generator)]))
    assert not torch.allclose(pool(tokens), pool(tokens[:, :5]), atol=1e-4)
    assert torch.allclose(Projection(12, 5, unit=True)(pool(tokens)).norm(dim=-1), torch.ones(2))


def test_mistakes_are_named(batch, summary, losses):
    with pytest.raises(ValueError, match=r"image/dino\.v2: regression needs the mean and variance .* got them for \[\]"):
        TeacherLosses(D, (CLIP, DINO), AlignOptions(), {})
    with pytest.raises(ValueError, match=r"teachers of different names, got \['clip', 'clip'\]"):
        TeacherLosses(D, (CLIP, CLIP), AlignOptions(), {})
    with pytest.raises(ValueError, match=r"the batch has no target text/clip, only \[\]"):
        losses(summary, dataclasses.replace(batch, text={}), EVERYONE)
    with pytest.raises(ValueError, match="teacher_drop must lie in"):
        AlignOptions(teacher_drop=1)
    with pytest.raises(ValueError, match=r"align\.heads must be at least 1, got -1"):
        AlignOptions(heads=-1)
    with pytest.raises(ValueError, match=r"align\.heads would have no effect where align\.pool=max"):
        AlignOptions(heads=4, pool="max")
    with pytest.raises(ValueError, match="multiple of the number of heads, got 12 and 5"):
        AttentionPool(12, 5)


# --------------------------------------------------------------------------------------------------------------- several ranks


def split_losses(batch: Batch, part: slice) -> Batch:
    """Some rows of a batch, with all of its extra negatives."""
    rows = dataclasses.replace(batch, negatives=None)
    return dataclasses.replace(
        rows,
        points=rows.points[part],
        index=rows.index[part],
        label=rows.label[part],
        text_key=rows.text_key[part],
        image={name: value[part] for name, value in rows.image.items()},
        text={name: value[part] for name, value in rows.text.items()},
        image_valid={name: value[part] for name, value in rows.image_valid.items()},
        negatives=batch.negatives,
    )


def on_rank(rank: int, folder: Path, batch: Batch, summary: Tensor, state: dict[str, Tensor]) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    losses = TeacherLosses(D, (CLIP, DINO), AlignOptions(), STATISTICS)
    losses.load_state_dict(state)
    part = slice(3 * rank, 3 * rank + 3)
    own = summary.detach()[part].clone().requires_grad_()
    found = losses(own, split_losses(batch, part), AlignDraw(keep=EVERYONE.keep[part]))
    found["loss"].backward()
    gradients = {name: p.grad for name, p in losses.named_parameters()}
    torch.save({"loss": {k: v.detach() for k, v in found.items()}, "own": own.grad, "gradients": gradients}, folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_ranks_are_one_in_losses_and_gradients(batch, summary, losses, tmp_path):
    """The mean over the ranks; with right answers and one shape across ranks, and missing targets that fall on one of them only."""
    valid = torch.tensor([True, False, False, True, True, True])
    index = torch.tensor([0, 1, 2, 3, 4, 0])
    batch = dataclasses.replace(batch, index=index, image_valid={"clip": valid}, label=torch.tensor([0, 1, 2, 2, 0, 3]))
    in_ranks(on_rank, tmp_path, batch, summary.detach(), losses.state_dict())
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    alone = losses(summary, batch, EVERYONE)
    alone["loss"].backward()
    for name, loss in alone.items():
        assert (ranks[0]["loss"][name] + ranks[1]["loss"][name]).item() / 2 == pytest.approx(loss.item(), rel=1e-5), name
    own = torch.cat([rank["own"] for rank in ranks]) / 2  # as DDP averages what lies behind it
    torch.testing.assert_close(own, summary.grad, atol=1e-5, rtol=1e-4)
    for name, parameter in losses.named_parameters():
        averaged = (ranks[0]["gradients"][name] + ranks[1]["gradients"][name]) / 2
        torch.testing.assert_close(averaged, parameter.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.skipif(shutil.which("c++") is None, reason="nothing to compile with")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's compiler about torch
def test_compiled_truth_values_of_all_ranks_are_read_as_such(tmp_path, generator):
    """Here a group of one, where they would come out wrong in silence; of two ranks they would not compile."""

    def summed(x: Tensor, valid: Tensor) -> Tensor:
        return x.where(gathered(valid), 0).sum(1)

    x, valid = torch.randn(4, B, generator=generator), torch.tensor([True, False, True, True, False, True])
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        torch.testing.assert_close(torch.compile(summed)(x, valid), x[:, valid].sum(1))
    finally:
        dist.destroy_process_group()


def test_a_mean_leaves_rows_out():
    assert mean(torch.tensor([1.0, 5, 9]), torch.tensor([True, False, True])).item() == 5


def test_a_constant_dimension_does_not_blow_a_regression_up(summary):
    regression = Regression(D, 2, torch.zeros(2), torch.tensor([0.0, 1.0]))
    rounded, there = torch.zeros(B, 1, 2).index_fill(2, torch.tensor(0), 1e-4), torch.ones(B, 1, dtype=torch.bool)
    assert regression(summary, rounded, there[:, 0], there) < 3
