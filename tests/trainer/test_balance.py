"""Remedies where several teachers do not help: a query for each teacher, and losses on a common scale."""
# ruff: noqa: F811 - fixtures of other modules

import dataclasses

import pytest
import torch

from cache_schema import store
from tests.trainer.conftest import config_of
from tests.trainer.test_align import CLIP, DINO, EVERYONE, STATISTICS, B, D, batch, generator, summary  # noqa: F401  # noqa: F401
from trainer import checkpoint, graphs, optim
from trainer.align import Align, AlignDraw, TeacherLosses
from trainer.encoders import catalog
from trainer.heads import AttentionPool
from trainer.loop import train
from trainer.meter import Watch
from trainer.model import Model
from trainer.options import UNBALANCED, AlignOptions
from trainer.stage import build
from trainer.tasks import zeroshot
from trainer.tasks.features import Body
from trainer.tasks.shapes import of_split
from trainer.tasks.teachers import embeddings

OWN = AlignOptions(queries="teacher")


@pytest.fixture
def two(generator) -> Align:
    return Align(catalog.build("pointmae-tiny", dim=12, depth=1), (CLIP, DINO), OWN, STATISTICS)


# ------------------------------------------------------------------------------------------------------- queries of teachers


def test_several_queries_are_several_poolings_with_the_same_weights(generator):
    pool, tokens = AttentionPool(12, 3, 2), torch.randn(4, 9, 12, generator=generator)
    torch.nn.init.normal_(pool.query, generator=generator)
    one = AttentionPool(12, 3)
    for i in range(2):
        one.load_state_dict(pool.state_dict() | {"query": pool.query[..., 12 * i : 12 * i + 12]})
        torch.testing.assert_close(pool.each(tokens)[:, i], one(tokens))
    torch.testing.assert_close(pool(tokens), pool.each(tokens).mean(1))
    assert (pool.each(tokens)[:, 0] != pool.each(tokens)[:, 1]).all()


def test_a_teachers_losses_reach_its_own_query_only(two, batch, generator):
    found = two(batch, two.draw(B, generator))
    assert found.keys() == {"image/clip", "text/clip", "image/dino.v2", "loss"}
    for product, own in (("text/clip", slice(0, 12)), ("image/dino.v2", slice(12, 24))):
        (reached,) = torch.autograd.grad(found[product], two.pool.query, retain_graph=True)
        assert reached[..., own].abs().max() > 0
        reached[..., own] = 0
        assert reached.abs().max() == 0
    found["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in two.parameters())


def test_the_summary_stays_one_vector_and_heads_read_their_own(two, batch):
    two.eval()
    body, own = Body.of(two, "summary"), Body.for_teachers(two)
    with torch.no_grad():
        assert body(batch.points, True).shape == (B, 12) and own(batch.points, True).shape == (B, 24)
        torch.testing.assert_close(own(batch.points, True).unflatten(1, (2, 12)).mean(1), two.features(batch.points, True).summary)
        embedded = two.teachers.embed(own(batch.points, True))
        head = two.teachers.targets["image/dino_v2"].head
        torch.testing.assert_close(embedded["image/dino.v2"], head(own(batch.points, True)[:, 12:]))
        torch.testing.assert_close(two.teachers.project("text/clip", own(batch.points, True)), embedded["text/clip"])
    shared = Align(catalog.build("pointmae-tiny", dim=12, depth=1), (CLIP, DINO), AlignOptions(), STATISTICS).eval()
    assert Body.for_teachers(shared).summary is shared.pool


def test_queries_do_not_decay(two):
    config = config_of("align").optim
    plain = [p for group in optim.adamw(two, config).param_groups if group["weight_decay"] == 0 for p in group["params"]]
    assert any(p is two.pool.query for p in plain)


def test_everything_works_on_a_run_with_queries_of_teachers(cache_path, tmp_path):
    """Zero-shot, the spaces of teachers, exported graphs: by a teacher's own query. The guide's summary is their mean."""
    config = config_of("align", "align.queries=teacher", "align.balance=running", "optim.epochs=1")
    train(config, [cache_path], tmp_path / "run", device="cpu")
    cache, loaded = store.open_cache(cache_path), checkpoint.load(tmp_path / "run")
    stage, model = loaded.model.eval(), Model(loaded, "cpu")
    assert stage.teachers.balance.mean.min() > 0, "it came back with the checkpoint"
    shapes = of_split(cache, "test")
    wanted = embeddings(stage, Body.for_teachers(stage), shapes, 0)["text/random-a"]
    found = model.teacher_space_cache(cache, "random-a", "text", rows=shapes.rows)
    torch.testing.assert_close(torch.from_numpy(found), wanted)
    assert model.embed_cache(cache, pool="summary").shape[1] == 48
    assert zeroshot.run(stage, cache, cache, zeroshot.SMOKE).metrics
    points = Body.of(stage, "summary").blocks(shapes).read(shapes.rows[:3], 0)
    with torch.no_grad():
        named = graphs.Graph(stage, "points").named(points)
    torch.testing.assert_close(named["text/random-a"], wanted[:3])
    assert named["summary"].shape == (3, 48)

    student = config_of("distill", "guide_online=true", "distill.projected_weight=1", "optim.epochs=0")
    with pytest.raises(ValueError, match=r"read summaries of their own \(align\.queries=teacher\), of which a guide tells only the mean"):
        train(student, [cache_path], tmp_path / "student", guide_run=tmp_path / "run", device="cpu")
    train(config_of("align", "align.balance=uncertainty", "optim.epochs=0"), [cache_path], tmp_path / "shared", device="cpu")
    train(student, [cache_path], tmp_path / "student", guide_run=tmp_path / "shared", device="cpu")

    shared = dataclasses.replace(loaded.header.facts, teachers=loaded.header.facts.teachers[:1])
    with pytest.raises(ValueError, match=r"align\.queries=teacher has no effect with one teacher"):
        build(loaded.config, shared)


# ------------------------------------------------------------------------------------------------------------ balanced losses


def balanced(how: str, **options) -> TeacherLosses:
    torch.manual_seed(0)
    return TeacherLosses(D, (CLIP, DINO), AlignOptions(balance=how, **options), STATISTICS)


def test_uncertainty_is_the_formula_of_its_paper(batch, summary):
    plain, learned = balanced("none")(summary, batch, EVERYONE), balanced("uncertainty")
    variance = torch.tensor([0.5, 2.0, 3.0])
    with torch.no_grad():
        learned.balance.log_variance.copy_(variance.log())
    found = learned(summary, batch, EVERYONE)
    image, text, dino = (plain[name].item() for name in ("image/clip", "text/clip", "image/dino.v2"))
    assert {name: found[name].item() for name in plain if name != "loss"} == {n: x.item() for n, x in plain.items() if n != "loss"}
    deviation = variance.sqrt().log().tolist()
    clip = (image / 0.5 + deviation[0] + text / 2 + deviation[1]) / 2
    assert found["loss"].item() == pytest.approx(clip / 2 + (dino / (2 * 3) + deviation[2]) / 2, rel=1e-5)


def test_a_learned_variance_comes_to_rest_where_both_kinds_of_loss_count_alike(batch, summary):
    learned, loss = balanced("uncertainty"), torch.tensor(0.3)
    optimizer = torch.optim.Adam(learned.balance.parameters(), lr=0.05)
    for _ in range(300):
        parts = [
            learned.balance(name, loss, torch.tensor(True), contrast) for name, contrast in (("text/clip", True), ("image/dino.v2", False))
        ]
        optimizer.zero_grad()
        sum(parts).backward()
        optimizer.step()
    factors = (-learned.balance.log_variance.detach()).exp()[1:] / torch.tensor([1, 2])
    torch.testing.assert_close(factors, torch.full((2,), 1 / (2 * 0.3)), rtol=0.02, atol=0)


def test_running_means_bring_losses_to_one(batch, summary):
    plain, running = balanced("none")(summary, batch, EVERYONE), balanced("running")
    found = running(summary, batch, EVERYONE)
    assert found["loss"].item() == pytest.approx(1), "each is divided by itself in the first step"
    first = torch.stack([plain[name] for name in ("image/clip", "text/clip", "image/dino.v2")]).detach()
    torch.testing.assert_close(running.balance.mean, first)
    other = dataclasses.replace(batch, image={name: -value for name, value in batch.image.items()})
    found = running(summary, other, EVERYONE)
    now = torch.stack([found[name] for name in ("image/clip", "text/clip", "image/dino.v2")]).detach()
    mean = 0.99 * first + 0.01 * now
    torch.testing.assert_close(running.balance.mean, mean)
    assert found["loss"].item() == pytest.approx((((now / mean)[:2].mean() + (now / mean)[2]) / 2).item(), rel=1e-5)
    running.eval()(summary, batch, EVERYONE)
    torch.testing.assert_close(running.balance.mean, mean)


@pytest.mark.parametrize("how", ["uncertainty", "running"])
def test_divergence_shows_in_the_losses_before_they_are_balanced(batch, summary, how):
    plain, found = balanced("none")(summary, batch, EVERYONE), balanced(how)(summary, batch, EVERYONE)
    assert UNBALANCED not in plain
    torch.testing.assert_close(found[UNBALANCED], plain["loss"])
    assert not found[UNBALANCED].requires_grad
    watch = Watch(3.0, str)
    for step in range(30):
        watch.read(step, ("loss", UNBALANCED), torch.tensor([1.0, 2.0]))
    older = Watch(3.0, str, [1.0] * 20, [1.0] * 20)  # of a checkpoint that knows the balanced sum alone
    for step in range(30):
        older.read(step, ("loss", UNBALANCED), torch.tensor([1.0, 5.0]))
    assert older.watched == UNBALANCED and set(older.first) == {5.0}
    with pytest.raises(ValueError, match="diverged; the loss was 2 at the start"):
        for step in range(30):
            watch.read(step, ("loss", UNBALANCED), torch.tensor([1.0, 9.0]))


@pytest.mark.parametrize("how", ["uncertainty", "running"])
def test_a_loss_of_no_shape_moves_nothing(batch, summary, how):
    losses = balanced(how)
    keep = EVERYONE.keep.clone()
    keep[:, 1] = False
    losses(summary, batch, AlignDraw(keep=keep))["loss"].backward()
    if how == "running":
        assert losses.balance.mean[2] == 0 < losses.balance.mean[:2].min()
    else:
        assert losses.balance.log_variance.grad[2] == 0 < losses.balance.log_variance.grad[:2].abs().min()


def test_new_settings_change_no_weight_that_was_there():
    plain = balanced("none").state_dict()
    for how in ("uncertainty", "running"):
        own = balanced(how).state_dict()
        assert all(torch.equal(own[name], value) for name, value in plain.items()) and len(own) == len(plain) + 1


def test_compiled_it_is_the_same(batch, summary):
    losses, again = balanced("running"), balanced("running")
    found = torch.compile(losses, backend="eager", fullgraph=True)(summary, batch, EVERYONE)
    assert found["loss"].item() == pytest.approx(again(summary, batch, EVERYONE)["loss"].item(), rel=1e-5)
    torch.testing.assert_close(losses.balance.mean, again.balance.mean)


@pytest.mark.parametrize(
    ("stage", "settings", "message"),
    [
        ("align", ("align.pool=max", "align.queries=teacher"), r"align\.queries would have no effect where align\.pool=max"),
        ("distill", ("align.queries=teacher",), r"align\.queries is a setting of stage 1"),
        ("distill", ("align.balance=running",), r"align\.balance has no effect without losses on teachers' embeddings"),
        ("distill", ("align.reconstruction_weight=1",), r"align\.reconstruction_weight is a loss of stage 1"),
    ],
)
def test_what_nobody_reads_is_refused(stage, settings, message):
    with pytest.raises(ValueError, match=message):
        config_of(stage, *settings)
