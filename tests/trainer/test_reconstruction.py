"""Stage 1 with reconstruction, for encoders of every family, and stage 2 with standardised targets."""
# ruff: noqa: F811 - fixtures of other modules

import dataclasses
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from tests.trainer.conftest import config_of
from tests.trainer.ranks import in_ranks
from tests.trainer.test_align import CLIP, DINO, STATISTICS, B, batch, generator  # noqa: F401
from tests.trainer.test_distill import D, G, student
from tests.trainer.test_distill import batch as guided_batch  # noqa: F401
from trainer import reconstruction
from trainer.align import Align
from trainer.distill import distance
from trainer.distributed import moments
from trainer.encoders import catalog
from trainer.options import AlignOptions
from trainer.stage import Facts, build

FAMILIES = {
    "pointmae-tiny": {"dim": 24, "depth": 1, "groups": 16, "group_size": 8},
    "pointmamba-tiny": {"dim": 24, "depth": 1, "groups": 8, "group_size": 8},
    "pointm2ae-tiny": {"counts": (32, 16, 8), "embed": (8, 8, 16), "widths": (12, 24, 48), "depths": (1, 1, 1)},
}
ON = AlignOptions(heads=3, reconstruction_weight=0.5, reconstruction_depth=1)


def stage_of(name: str, options: AlignOptions = ON) -> Align:
    torch.manual_seed(0)
    return Align(catalog.build(name, **FAMILIES[name]), (CLIP, DINO), options, STATISTICS)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


# --------------------------------------------------------------------------------------------------------------- stage 1


@pytest.mark.parametrize("name", FAMILIES)
def test_hidden_groups_are_predicted_from_the_visible_ones(name, batch):
    """The loss is Chamfer's distance of what the decoder says to the hidden members, and it alone reaches encoder and decoder."""
    stage = stage_of(name)
    draw = stage.draw(B, seeded())
    groups, shown = stage.encoder.groups, reconstruction.shown(stage.encoder)
    assert draw.visible.shape == (B, shown) and draw.hidden.shape == (B, groups - shown) and 0 < shown < groups
    assert (torch.cat([draw.visible, draw.hidden], 1).sort(1).values == torch.arange(groups)).all()
    found = stage(batch, draw)
    weighed = (found["image/clip"] + found["text/clip"]) / 4 + found["image/dino.v2"] / 2 + 0.5 * found["reconstruction"]
    assert found["loss"].item() == pytest.approx(weighed.item(), rel=1e-5)

    found["reconstruction"].backward()
    reached = {key.partition(".")[0] for key, p in stage.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert reached == {"encoder", "reconstruction"}
    assert all(p.grad is not None for p in stage.reconstruction.parameters())


def test_the_loss_is_chamfers_distance_to_hidden_members(batch):
    stage = stage_of("pointmae-tiny").eval()
    draw, said = stage.draw(B, seeded()), []
    stage.reconstruction.head.register_forward_hook(lambda module, given, out: said.append(out.unflatten(-1, (-1, 3))))
    found = stage(batch, draw)
    level = stage.encoder.patchify(batch.points, batch.ordered).coarsest
    expected = []
    for i in range(B):
        for place, group in enumerate(draw.hidden[i].tolist()):
            apart = (said[0][i, place].unsqueeze(1) - level.groups[i, group, :, :3]).square().sum(-1)  # [K, K]
            expected.append(apart.min(0).values.mean() + apart.min(1).values.mean())
    assert found["reconstruction"].item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-4)
    assert said[0].shape[1] == draw.hidden.shape[1]


@pytest.mark.parametrize("name", FAMILIES)
def test_ranks_draw_for_the_whole_batch_and_cut(name):
    stage = stage_of(name)
    one, two = stage.draw(B, seeded()), stage.draw(B, seeded())
    for field in ("keep", "visible", "hidden", "curve"):
        whole, again = getattr(one, field), getattr(two, field)
        assert (whole is None) == (again is None) == (field == "curve" and name != "pointmamba-tiny")
        if whole is not None:
            parts = [getattr(two.rows(start, start + 3), field) for start in (0, 3)]
            assert torch.equal(whole, again) and torch.equal(torch.cat(parts), whole)


def test_without_it_draws_and_weights_are_as_before():
    plain, on = stage_of("pointmae-tiny", AlignOptions(heads=3)), stage_of("pointmae-tiny")
    draw = plain.draw(B, seeded())
    assert draw.visible is None and draw.hidden is None and draw.curve is None
    assert torch.equal(draw.keep, on.draw(B, seeded()).keep), "it draws after what was drawn before"
    old, new = plain.state_dict(), on.state_dict()
    assert all(torch.equal(value, new[name]) for name, value in old.items())
    assert {name.partition(".")[0] for name in new.keys() - old.keys()} == {"reconstruction"}


def test_compiled_in_bf16_it_reaches_every_parameter(batch):
    options = dataclasses.replace(ON, teacher_drop=0.2)
    stage = stage_of(
        "pointmae-tiny", options
    )  # the decoders of the other families are compiled in their own tests; each takes half a minute
    with torch.autocast("cpu", torch.bfloat16):
        found = torch.compile(stage, backend="eager", fullgraph=True)(batch, stage.draw(B, seeded()))
    found["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in stage.parameters())


def test_a_wrong_number_of_heads_of_the_decoder_is_named():
    config = config_of("align", "align.pool=max", "align.reconstruction_weight=1", "align.heads=5")
    with pytest.raises(ValueError, match=r"align\.heads=5 does not divide the width 48"):
        build(config, Facts(teachers=(CLIP,)))
    with pytest.raises(ValueError, match=r"align\.reconstruction_depth would have no effect where align\.reconstruction_weight=0"):
        AlignOptions(reconstruction_depth=4)
    with pytest.raises(ValueError, match=r"align\.reconstruction_weight must not be negative, got -1"):
        AlignOptions(reconstruction_weight=-1)


# --------------------------------------------------------------------------------------------------------------- stage 2


def standardised(features: Tensor) -> Tensor:
    """Features [..., C] without the mean and deviation of each channel, one channel after the other."""
    out = features.double().clone()
    for channel in range(out.shape[-1]):
        values = out[..., channel]
        middle = values.sum() / values.numel()
        out[..., channel] = (values - middle) / ((values - middle).square().sum() / values.numel()).sqrt()
    return out.float()


def test_standardised_targets_are_those_of_the_formula(guided_batch, generator):
    shifted = dataclasses.replace(
        guided_batch, guide_tokens=guided_batch.guide_tokens * 2 + 5, guide_summary=guided_batch.guide_summary + 3
    )
    stage = student(standardise_targets=True).eval()
    draw, said = stage.draw(len(shifted.points), generator), {}
    stage.local.head.register_forward_hook(lambda module, given, out: said.update(local=out))
    stage.summary.head.register_forward_hook(lambda module, given, out: said.update(summary=out))
    found = stage(shifted, draw)
    tokens, summary = standardised(shifted.guide_tokens.float()), standardised(shifted.guide_summary.float())
    assert found["local"].item() == pytest.approx(distance(said["local"], tokens).item(), rel=1e-4)
    assert found["global"].item() == pytest.approx(distance(said["summary"], summary).item(), rel=1e-4)
    plain = student().eval()
    plain.load_state_dict(stage.state_dict())
    assert plain(shifted, draw)["local"].item() != pytest.approx(found["local"].item(), rel=1e-2)


def test_a_channel_that_is_constant_stays_finite(guided_batch, generator):
    constant = dataclasses.replace(guided_batch, guide_summary=torch.ones_like(guided_batch.guide_summary))
    stage = student(standardise_targets=True)
    assert stage(constant, stage.draw(len(constant.points), generator))["loss"].isfinite()


def on_rank(rank: int, folder: Path, features: Tensor) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    stage = student(standardise_targets=True)
    torch.save((stage._target(features[2 * rank : 2 * rank + 2], "tokens"), moments(features[3 * rank :, 0])), folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_targets_are_standardised_over_all_ranks(tmp_path, generator):
    """A rank of its own statistics would train on other targets than one process does on the whole batch."""
    features = torch.randn(4, G, D, generator=generator) * torch.linspace(0.5, 3, D) + torch.linspace(-2, 2, 4).view(4, 1, 1)
    in_ranks(on_rank, tmp_path, features)
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    torch.testing.assert_close(torch.cat([part[0] for part in parts]), standardised(features), atol=1e-5, rtol=1e-4)
    rows = torch.cat([features[:, 0], features[3:, 0]])  # ranks with 4 and 1 rows
    for average, variance, count in (part[1] for part in parts):
        torch.testing.assert_close(average, rows.mean(0))
        torch.testing.assert_close(variance, rows.var(0, correction=0))
        assert (count == 5).all()
