"""Stage 2: what shuffling does and does not change, where gradients go, and the baselines as options."""

import copy
import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.align import Align, Teacher, TeacherLosses
from trainer.batch import Batch, Features
from trainer.distill import Distill, DistillDraw, distance
from trainer.encoders import catalog, protocol
from trainer.options import AlignOptions, DistillOptions

B, G, D = 4, 16, 24
CLIP = Teacher(name="clip", dim=7, text=True, objective="contrast")
DINO = Teacher(name="dino", dim=9, text=False, objective="regress")
STATISTICS = {"image/dino": (torch.zeros(9), torch.ones(9))}


@pytest.fixture
def generator() -> torch.Generator:
    torch.manual_seed(0)  # of weights
    return torch.Generator().manual_seed(0)


@pytest.fixture
def batch(generator) -> Batch:
    return Batch(
        points=torch.randn(B, 64, 3, generator=generator),
        index=torch.arange(B),
        label=torch.arange(B),
        text_key=torch.arange(B),
        image={"clip": torch.randn(B, 7, generator=generator), "dino": torch.randn(B, 9, generator=generator)},
        text={"clip": torch.randn(B, 7, generator=generator)},
        guide_tokens=torch.randn(B, G, D, generator=generator).half(),
        guide_summary=torch.randn(B, D, generator=generator).half(),
    )


def encoder(**settings) -> protocol.Encoder:
    return catalog.build("pointmae-tiny", **{"groups": G, "group_size": 8, "dim": D, "depth": 2, **settings})


def student(teachers: TeacherLosses | None = None, guide_dim: int | None = None, **options) -> Distill:
    return Distill(encoder(), DistillOptions(**{"local_depth": 2, "drop_path": 0.0, **options}), guide_dim, teachers)


def heads() -> TeacherLosses:
    return TeacherLosses(D, (CLIP, DINO), AlignOptions(), STATISTICS)


def identity(draw: DistillDraw) -> DistillDraw:
    return dataclasses.replace(draw, order=torch.arange(G).expand(B, -1))


# ---------------------------------------------------------------------------------------------------------------- chance


def test_masks_hide_the_encoders_share_and_change_with_every_shape(generator):
    draw = student().draw(500, generator)
    assert draw.visible.shape == (500, 7) and draw.hidden.shape == (500, 9)  # int(0.6 * 16) hidden
    together = torch.cat([draw.visible, draw.hidden], 1)
    assert (together.sort(1).values == torch.arange(G)).all()
    assert (draw.visible.diff(dim=1) > 0).all() and (draw.hidden.diff(dim=1) > 0).all()
    counts = draw.visible.flatten().bincount(minlength=G)
    assert counts.min() > 160 and counts.max() < 280  # 219 each on average
    assert student(mask_ratio=0.8).draw(2, generator).visible.shape == (2, 4)


def test_shuffling_permutes_what_it_says(generator):
    every = student().draw(500, generator).order
    assert (every.sort(1).values == torch.arange(G)).all()
    assert (every == torch.arange(G)).float().mean() < 0.1
    draw = student(shuffle="visible_only").draw(500, generator)
    assert torch.equal(draw.order.gather(1, draw.hidden), draw.hidden)
    moved = draw.order.gather(1, draw.visible)
    assert torch.equal(moved.sort(1).values, draw.visible) and (moved == draw.visible).float().mean() < 0.2
    assert student(shuffle="none").draw(5, generator).order is None
    assert student(local_weight=0).draw(5, generator).order is None


def test_a_draw_depends_on_its_generator_alone():
    stage = student(teacher_weight=1, teachers=heads())
    draws = []
    for seed in (1, 1, 2):
        torch.rand(seed)  # the global generator moves on
        draws.append(stage.draw(B, torch.Generator().manual_seed(seed)))
    assert torch.equal(draws[0].visible, draws[1].visible) and torch.equal(draws[0].order, draws[1].order)
    assert not torch.equal(draws[0].order, draws[2].order)
    part = draws[0].rows(1, 3)
    assert torch.equal(part.order, draws[0].order[1:3]) and torch.equal(part.teachers.keep, draws[0].teachers.keep[1:3])


# ------------------------------------------------------------------------------------------------------------- shuffling


def test_the_identity_permutation_is_the_plain_branch_bit_for_bit(batch, generator):
    stage = student()
    draw = stage.draw(B, generator)
    shuffled, plain = stage(batch, identity(draw)), stage(batch, dataclasses.replace(draw, order=None))
    assert all(torch.equal(shuffled[name], plain[name]) for name in plain)
    gradients = [torch.autograd.grad(losses["local"], list(stage.local.parameters())) for losses in (shuffled, plain)]
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    assert stage(batch, draw)["local"] != plain["local"]
    assert stage(batch, draw)["global"] == plain["global"]  # whose branch is never shuffled


def test_slots_hold_permuted_tokens_under_canonical_positions(generator):
    """Slot i: the token that `order` names, or the mask token, with position i."""
    stage = student()
    draw = stage.draw(B, generator)
    seen = []

    class Spy(nn.Module):
        def forward(self, tokens: Tensor, positions: Tensor, mask: None) -> Tensor:
            seen.extend([tokens, positions])
            return tokens

    stage.local.decoder = Spy()
    centres = torch.randn(B, G, 3, generator=generator)
    tokens = torch.randn(B, draw.visible.shape[1], D, generator=generator)
    stage.local(protocol.Encoded(tokens=tokens, visible=draw.visible), centres, draw.order)
    assert torch.equal(seen[1], stage.local.positions(centres))
    for b in range(B):
        for slot in range(G):
            shown = (draw.visible[b] == draw.order[b, slot]).nonzero()
            expected = tokens[b, shown[0, 0]] if len(shown) else stage.local.mask_token[0, 0]
            assert torch.equal(seen[0][b, slot], expected)


def test_relabelling_tokens_with_their_positions_changes_nothing(batch, generator):
    stage = student(reconstruction_weight=1).eval()
    draw = stage.draw(B, generator)
    patches = stage.encoder.patchify(batch.points, batch.ordered)
    new = torch.randperm(G, generator=generator)  # group new[i] is called i
    called = new.argsort()
    relabelled = protocol.Patches(
        levels=tuple(
            protocol.Level(groups=level.groups[:, new], centres=level.centres[:, new], members=level.members[:, new])
            for level in patches.levels
        )
    )
    renamed = DistillDraw(visible=called[draw.visible], hidden=called[draw.hidden], order=called[draw.order][:, new], teachers=None)
    losses = []
    for cut, drawn, tokens in ((patches, draw, batch.guide_tokens), (relabelled, renamed, batch.guide_tokens[:, new])):
        stage.encoder.patchify = lambda points, ordered, cut=cut: cut
        losses.append(stage(dataclasses.replace(batch, guide_tokens=tokens), drawn))
    assert set(losses[0]) == {"local", "global", "reconstruction", "loss"}
    for name, loss in losses[0].items():
        assert losses[1][name].item() == pytest.approx(loss.item(), rel=1e-5), name


def test_a_copy_of_the_guide_passes_unshuffled_and_fails_shuffled(batch, generator):
    """Student = guide, nothing masked, identity for a decoder, no positions."""
    guide = Align(encoder(), (CLIP,), AlignOptions()).eval()
    stage = student(mask_ratio=0.0, global_weight=0).eval()
    stage.encoder.load_state_dict(guide.encoder.state_dict())
    stage.local.positions = Zero()
    stage.local.decoder = Identity()
    stage.local.norm = stage.local.head = nn.Identity()
    features = guide.features(batch.points, batch.ordered)
    spread = F.layer_norm(features.tokens, (D,))
    assert distance(spread, spread.roll(1, 1)) > 0.1  # tokens differ, or the probe would show nothing
    batch = dataclasses.replace(batch, guide_tokens=features.tokens)
    draw = stage.draw(B, generator)
    assert draw.hidden.shape == (B, 0)
    assert stage(batch, identity(draw))["local"].abs() < 1e-5
    assert stage(batch, draw)["local"] > 0.5 * distance(spread, spread.roll(1, 1))


class Identity(nn.Module):
    def forward(self, tokens: Tensor, positions: Tensor, mask: None) -> Tensor:
        return tokens + positions


class Zero(nn.Module):
    def forward(self, centres: Tensor) -> Tensor:
        return centres.new_zeros(*centres.shape[:-1], D)


# ------------------------------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("branch", ["local", "global", "reconstruction", "projected", "image/clip", "text/clip", "image/dino"])
def test_every_branch_reaches_the_encoder(batch, generator, branch):
    teacher_loss = "/" in branch
    stage = student(heads(), reconstruction_weight=1, teacher_weight=float(teacher_loss), projected_weight=float(not teacher_loss))
    losses = stage(batch, stage.draw(B, generator))
    losses[branch].backward()
    reached = {name for name, p in stage.encoder.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    cancelled = {"embed.lift.bias", "embed.widen.bias", "embed.local.bias"}  # constants that a batch norm takes out again
    assert {name for name, _ in stage.encoder.named_parameters()} - cancelled <= reached


def test_the_guide_gets_none(batch, generator):
    guide = Align(encoder(), (CLIP, DINO), AlignOptions(), STATISTICS).eval()
    features = guide.features(batch.points, batch.ordered)
    stage = student(copy.deepcopy(guide.teachers), projected_weight=1)
    live = Features(tokens=features.tokens.requires_grad_(), summary=features.summary.requires_grad_())
    batch = dataclasses.replace(batch, guide_tokens=live.tokens, guide_summary=live.summary)
    stage(batch, stage.draw(B, generator))["loss"].backward()
    assert live.tokens.grad is None and live.summary.grad is None
    assert all(p.grad is None for p in guide.parameters())
    assert all(p.grad is None and not p.requires_grad for p in stage.teachers.parameters())
    assert all(p.grad is not None for p in stage.summary.parameters())


# ---------------------------------------------------------------------------------------------------------------- losses


def test_local_loss_is_one_minus_cosine_over_all_slots_or_the_hidden_ones(batch, generator):
    stage = student(global_weight=0).eval()
    draw = stage.draw(B, generator)
    patches = stage.encoder.patchify(batch.points, batch.ordered)
    predicted = stage.local(stage.encoder(patches, draw.visible), patches.coarsest.centres, draw.order)
    target = batch.guide_tokens.float()
    cosine = 1 - (predicted * target).sum(-1) / predicted.norm(dim=-1) / target.norm(dim=-1)  # [B, G]
    assert stage(batch, draw)["local"].item() == pytest.approx(cosine.mean().item(), rel=1e-5)
    hidden = student(global_weight=0, masked_only=True).eval()
    hidden.load_state_dict(stage.state_dict())
    assert hidden(batch, draw)["local"].item() == pytest.approx(cosine.gather(1, draw.hidden).mean().item(), rel=1e-5)
    normalised = student(global_weight=0, normalise_targets=True).eval()
    normalised.load_state_dict(stage.state_dict())
    target = (target - target.mean(-1, keepdim=True)) / target.std(-1, keepdim=True)
    assert normalised(batch, draw)["local"].item() == pytest.approx(distance(predicted, target).item(), rel=1e-5)


def test_global_branch_sees_visible_tokens_in_any_order(batch, generator):
    stage = student(local_weight=0).eval()
    draw = stage.draw(B, generator)
    flipped = dataclasses.replace(draw, visible=draw.visible.flip(1))
    first = stage(batch, draw)["global"].item()
    assert stage(batch, flipped)["global"].item() == pytest.approx(first, rel=1e-5)
    other = dataclasses.replace(draw, visible=draw.hidden[:, :7], hidden=draw.hidden)
    assert stage(batch, other)["global"].item() != pytest.approx(first, rel=1e-5)


def test_projected_loss_compares_in_the_teachers_spaces(batch, generator):
    stage = student(heads(), projected_weight=1, local_weight=0, global_weight=0).eval()
    draw = stage.draw(B, generator)
    encoded = stage.encoder(stage.encoder.patchify(batch.points, batch.ordered), draw.visible)
    ours, guides = stage.teachers.embed(stage.summary(encoded.tokens)), stage.teachers.embed(batch.guide_summary.float())
    expected = sum(distance(ours[product], guides[product]) for product in ("image/clip", "text/clip", "image/dino")) / 3
    assert stage(batch, draw)["projected"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_sum_is_weighed(batch, generator):
    stage = student(heads(), local_weight=2, global_weight=3, reconstruction_weight=0.5, projected_weight=0.25)
    losses = stage(batch, stage.draw(B, generator))
    expected = 2 * losses["local"] + 3 * losses["global"] + 0.5 * losses["reconstruction"] + 0.25 * losses["projected"]
    assert losses["loss"].item() == pytest.approx(expected.item())


def test_a_guide_may_be_wider_than_its_student(batch, generator):
    wide = dataclasses.replace(batch, guide_tokens=torch.randn(B, G, 40), guide_summary=torch.randn(B, 40))
    stage = student(guide_dim=40)
    assert stage(wide, stage.draw(B, generator))["loss"].isfinite()


BASELINES = {
    "mmpd": ({}, {"local", "global"}),
    "no shuffle": ({"shuffle": "none"}, {"local", "global"}),
    "visible shuffled": ({"shuffle": "visible_only"}, {"local", "global"}),
    "no global": ({"global_weight": 0}, {"local"}),
    "no local": ({"local_weight": 0}, {"global"}),
    "point-mae": ({"local_weight": 0, "global_weight": 0, "reconstruction_weight": 1}, {"reconstruction"}),
    "act": ({"global_weight": 0, "shuffle": "none", "masked_only": True, "mask_ratio": 0.8}, {"local"}),
    "recon": (
        {"local_weight": 0, "global_weight": 0, "reconstruction_weight": 1, "teacher_weight": 1},
        {"reconstruction", "image/clip", "text/clip", "image/dino"},
    ),
}


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_are_options(batch, generator, name):
    """Each trains all it has: its loss falls on one batch, and no parameter is left out of it."""
    options, expected = BASELINES[name]
    needs_guide = {"local", "global"} & expected
    batch = batch if needs_guide else dataclasses.replace(batch, guide_tokens=None, guide_summary=None)
    stage = student(heads() if "teacher_weight" in options else None, **options)
    draw = stage.draw(B, generator)
    optimizer = torch.optim.AdamW(stage.parameters(), lr=2e-3)
    course = []
    for _ in range(12):
        losses = stage(batch, draw)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        course.append(losses["loss"].item())
    assert set(losses) == expected | {"loss"}
    assert course[-1] < 0.97 * course[0]
    assert all(p.grad is not None for p in stage.parameters())


def test_compiled_in_bf16_it_still_trains(batch, generator):
    options = DistillOptions(local_depth=1, projected_weight=1, reconstruction_weight=1, reconstruction_depth=1)
    stage = Distill(encoder(depth=1), options, teachers=heads())
    with torch.autocast("cpu", torch.bfloat16):
        losses = torch.compile(stage, backend="aot_eager", fullgraph=True)(batch, stage.draw(B, generator))
    losses["loss"].backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in stage.parameters() if p.requires_grad)


def test_mistakes_are_named(batch, generator):
    with pytest.raises(ValueError, match="one must be positive, got"):
        DistillOptions(local_weight=0, global_weight=0)
    with pytest.raises(ValueError, match="set one of them to 0"):
        DistillOptions(projected_weight=1, teacher_weight=1)
    with pytest.raises(ValueError, match=r"mask_ratio must lie in \[0, 1\), got 1"):
        DistillOptions(mask_ratio=1.0)
    for wrong in ({"heads": 0}, {"local_depth": -1}, {"global_depth": -1}, {"reconstruction_depth": -1}):
        with pytest.raises(ValueError, match="distill: expected heads >= 1 and depths >= 0"):
            DistillOptions(**wrong)
    with pytest.raises(ValueError, match=r"drop_path must lie in \[0, 1\), got 1"):
        DistillOptions(drop_path=1)
    for unread in ({"tokens": "dense"}, {"local_weight": 0, "reconstruction_weight": 1}):
        with pytest.raises(ValueError, match=r"distill\.standardise_targets would have no effect where"):
            DistillOptions(standardise_targets=True, global_weight=0, **unread)
    with pytest.raises(ValueError, match="need the teachers' heads: give `teachers`"):
        student(projected_weight=1)
    with pytest.raises(ValueError, match="need hidden groups: raise mask_ratio so that it hides one of 16"):
        student(mask_ratio=0.05, reconstruction_weight=1)
    stage = student()
    with pytest.raises(ValueError, match="the batch has no guide tokens"):
        stage(dataclasses.replace(batch, guide_tokens=None), stage.draw(B, generator))
