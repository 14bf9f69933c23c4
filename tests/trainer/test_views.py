"""Several views and texts of a shape in a step: what is drawn of them, and the losses against formulas written out."""
# ruff: noqa: F811 - fixtures of other modules

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from cache_schema import store
from tests.trainer.conftest import config_of
from tests.trainer.ranks import in_ranks
from tests.trainer.test_align import CLIP, DINO, EVERYONE, STATISTICS, B, D, batch, generator, losses, summary  # noqa: F401  # noqa: F401
from tests.trainer.test_data import TEACHERS, flat, mixed, opened, other, same  # noqa: F401  # noqa: F401
from tests.trainer.test_loop import Killed, die_at, same_tensors
from trainer import checkpoint
from trainer.align import AlignDraw, TeacherLosses, answers
from trainer.batch import Batch
from trainer.data import Data
from trainer.loop import train
from trainer.options import AlignOptions
from trainer.part import DataConfig, Needs
from trainer.resident import Resident

V = 3


def views_in(data: Data, batches: int = 2) -> list[tuple[int, list[int]]]:
    """(row, views) of the shapes of some batches, found by their embeddings."""
    image, found = data.parts[0].cache.array("image/random-b")[:], []
    for number in range(batches):
        batch = data.batch(number)
        for row, values in zip(batch.index.tolist(), batch.image["random-b"].numpy(), strict=True):
            found.append((row, [int(np.flatnonzero((image[row] == one).all(-1))[0]) for one in np.atleast_2d(values)]))
    return found


# ----------------------------------------------------------------------------------------------------------- what is drawn


def test_views_of_a_shape_do_not_repeat_where_there_are_enough(cache_path):
    one = views_in(opened(cache_path, batch=38))
    two, three, five = (views_in(opened(cache_path, batch=38, views=count)) for count in (2, 3, 5))
    assert [(row, views[:1]) for row, views in two] == one == [(row, views[:1]) for row, views in three]
    assert all(len(set(views)) == 2 for _, views in two) and all(sorted(views) == [0, 1, 2] for _, views in three)
    assert all(set(views) == {0, 1, 2} and len(views) == 5 for _, views in five)
    told = [str(opened(cache_path, views=count)) for count in (3, 5)]
    assert "repeat" not in told[0] and "5 views and texts of a shape in a step, of 3 stored, so that views repeat" in told[1]
    assert len({tuple(sorted(views)) for _, views in two}) == 3, "every pair comes"


def test_nothing_else_changes_with_the_number_of_views(cache_path):
    one, several = (flat(opened(cache_path, views=count, negatives=6).batch(1)) for count in (1, 3))
    assert one.keys() == several.keys()
    for name, value in one.items():
        wide = name.startswith(("image/", "text/")) or name == "text_key/"
        assert torch.equal(value, several[name][:, 0] if wide else several[name]), name
        assert not wide or several[name].shape == (8, 3, *value.shape[1:])
    data = [opened(cache_path, views=count, negatives=6) for count in (1, 3)]
    assert torch.equal(data[0].batch(2).negatives.image["random-b"], data[1].batch(2).negatives.image["random-b"])
    assert "3 views and texts of a shape in a step" in str(data[1]) and "in a step" not in str(data[0])


def test_each_text_is_of_the_view_beside_it_or_a_template(cache_path):
    cache = store.open_cache(cache_path)
    image, text = cache.array("image/random-a")[:], cache.array("text/synthetic/random-a")[:]
    templates = cache.array("labels/source/random-a")[:]
    captions = set()
    for number in range(3):
        batch = opened(cache_path, batch=38, views=V).batch(number)
        for i, row in enumerate(batch.index.tolist()):
            for v in range(V):
                (view,) = [w for w in range(3) if np.array_equal(image[row, w], batch.image["random-a"][i, v])]
                said = batch.text["random-a"][i, v].numpy()
                of_view = np.array_equal(said, text[row, view])
                assert of_view or any(np.array_equal(said, one) for one in templates[row % 3])
                captions.add(of_view)
            keys, said = batch.text_key[i].tolist(), batch.text["random-a"][i]
            assert all((keys[v] == keys[w]) == torch.equal(said[v], said[w]) for v in range(V) for w in range(V))
    assert captions == {True, False}


def test_ranks_share_them_and_two_caches_mix(cache_path, other):
    data = mixed(cache_path, other, batch=16, views=V)
    whole, parts = data.batch(1), [data.batch(1, slice(0, 8)), data.batch(1, slice(8, 16))]
    for name, value in flat(whole).items():
        assert torch.equal(value, torch.cat([flat(part)[name] for part in parts])), name
    there = whole.image_valid["random-b"]
    assert there.shape == (16, V) and set(there.sum(1).tolist()) == {0, V}, "the second cache lacks the teacher"
    assert (whole.image["random-b"][~there] == 0).all()


def test_they_are_the_same_from_the_memory_of_a_device_and_are_told_before(cache_path):
    caches, options = [store.open_cache(cache_path)], {"batch": 8, "seed": 0, "needs": TEACHERS}
    config = DataConfig(views=V, negatives=5)
    files = Data(caches, config, **options)
    held = Resident(caches, dataclasses.replace(config, resident="device"), device=torch.device("cpu"), **options)
    assert held._held and all(same(files.batch(number), held.batch(number)) for number in range(3))
    batch = files.batch(2, slice(4, 8))
    told = {rows.node.path: set(wanted.tolist()) for _, rows, wanted in files.reads(2, slice(4, 8))}
    assert told["points/xyz"] == set(batch.index.tolist()) < told["image/random-a"]
    assert len(told["image/random-a"]) == 4 + 5


@pytest.mark.parametrize(
    ("needs", "settings", "message"),
    [
        (Needs(), {}, r"^data\.views would have no effect: no loss uses a teacher.*--set data\.views=1\)"),
        (TEACHERS, {"views": 0}, r"data\.views must be at least 1, got 0"),
    ],
)
def test_what_has_no_effect_is_refused(cache_path, needs, settings, message):
    with pytest.raises(ValueError, match=message):
        opened(cache_path, needs=needs, **({"views": 2} | settings))


def test_shapes_with_one_view_and_one_text_have_no_several(tmp_path):
    from cache_schema import synthetic

    synthetic.write(tmp_path / "c.zarr", views=1)
    with pytest.raises(ValueError, match=r"data\.views has no effect: every shape has one view and one text"):
        opened(tmp_path / "c.zarr", views=2, templates=0)
    assert opened(tmp_path / "c.zarr", views=2, labels="three", templates=1).batch(0).views == 2


# -------------------------------------------------------------------------------------------------------------- losses


@pytest.fixture
def several(batch, generator) -> Batch:
    """Three views of each shape. Shapes 0 and 1 share a text, 2 and 3 a category; 4 has no text in its second view; 5 has a text and its
    category with extra rows."""
    return dataclasses.replace(
        batch,
        image={name: torch.randn(B, V, value.shape[1], generator=generator) for name, value in batch.image.items()},
        text={"clip": torch.randn(B, V, 7, generator=generator)},
        text_key=torch.tensor([[1, 7, 2], [7, 3, 3], [8, 8, 4], [9, 11, 12], [13, -1, 14], [15, 10, 16]]),
        text_valid={"clip": torch.tensor([[True] * V] * 4 + [[True, False, True], [True] * V])},
    )


def right(batch: Batch, i: int, j: int) -> bool:
    """Whether a target of shape j is right for shape i, whatever the view, apart from equal texts."""
    return i == j or batch.label[i] == batch.label[j] >= 0


def of_view(query: Tensor, keys: dict[object, Tensor], answers: set[object], scale: float) -> float:
    """Cross-entropy with the truth spread evenly over the answers, one exponential after the other."""
    likely = {name: math.exp(scale * F.cosine_similarity(query, key, dim=0).item()) for name, key in keys.items()}
    return -sum(math.log(likely[name] / sum(likely.values())) for name in answers) / len(answers)


def expected(points: Tensor, batch: Batch, scale: float) -> list[list[float]]:
    """The loss of every text that is there, shape by shape."""
    text, key, valid, extra = batch.text["clip"], batch.text_key.tolist(), batch.text_valid["clip"], batch.negatives
    out: list[list[float]] = []
    for i in range(B):
        out.append([])
        # Targets that are right for the shape: of its own, of its category, or with one of its texts.
        good = {(j, w) for j in range(B) for w in range(V) if right(batch, i, j) or (key[j][w] in key[i] and key[j][w] >= 0)}
        good |= {q for q in range(5) if extra.label[q] == batch.label[i] >= 0 or (extra.text_key[q] in key[i] and extra.text_key[q] >= 0)}
        usable = {(j, w): text[j, w] for j in range(B) for w in range(V) if valid[j, w]} | dict(enumerate(extra.text["clip"]))
        for v in range(V):
            if not valid[i, v]:
                continue
            # The answers of other views are neither right nor wrong.
            keys = {n: value for n, value in usable.items() if n not in good or isinstance(n, int) or n[1] == v}
            there = of_view(points[i], keys, good & set(keys), scale)
            back = {j for j in range(B) if right(batch, i, j) or (key[i][v] in key[j] and key[i][v] >= 0)}
            out[-1].append((there + of_view(text[i, v], dict(enumerate(points)), back, scale)) / 2)
    return out


def test_each_view_is_the_answer_of_a_softmax_of_its_own(several, summary, losses):
    with torch.no_grad():
        losses.targets["text/clip"].log_scale.fill_(math.log(5))
    found = losses(summary, several, EVERYONE)
    parts = expected(losses.embed(summary)["text/clip"].detach(), several, 5)
    assert [len(part) for part in parts] == [3, 3, 3, 3, 2, 3], "a caption that is missing does not remove the others"
    assert found["text/clip"].item() == pytest.approx(sum(sum(part) / len(part) for part in parts) / B, rel=1e-5)


def test_regression_is_the_mean_over_views(several, summary, losses):
    there = torch.tensor([[True] * V] * 4 + [[True, False, True], [False] * V])
    found = losses(summary, dataclasses.replace(several, image_valid={"dino.v2": there}), EVERYONE)
    average, variance = STATISTICS["image/dino.v2"]
    out, parts = losses.embed(summary)["image/dino.v2"].detach(), []
    for i in range(B - 1):
        target = (several.image["dino.v2"][i][there[i]] - average) / variance.sqrt()
        gap = (out[i] - target).abs()
        smooth = torch.where(gap < 1, gap.square() / 2, gap - 0.5).mean(1)
        parts.append((0.9 * (1 - target @ out[i] / out[i].norm() / target.norm(dim=1)) + 0.1 * smooth).mean())
    assert found["image/dino.v2"].item() == pytest.approx(torch.stack(parts).mean().item(), rel=1e-5)


def test_one_view_of_several_is_that_view_alone(batch, summary, losses):
    """With an axis for views of length 1, bit for bit; and a shape whose views are all the same has the loss of one view against more
    wrong answers."""
    one = losses(summary, batch, EVERYONE)
    wide = dataclasses.replace(
        batch,
        image={name: value.unsqueeze(1) for name, value in batch.image.items()},
        text={name: value.unsqueeze(1) for name, value in batch.text.items()},
        text_key=batch.text_key.unsqueeze(1),
    )
    assert all(torch.equal(loss, one[name]) for name, loss in losses(summary, wide, EVERYONE).items())
    twice = dataclasses.replace(wide, image={n: v.expand(-1, 2, -1) for n, v in wide.image.items()}, text={}, text_key=None)
    image = TeacherLosses(D, (DINO,), AlignOptions(), STATISTICS)
    assert image(summary, twice, EVERYONE)["loss"].item() == pytest.approx(image(summary, batch, EVERYONE)["loss"].item(), rel=1e-6)


def test_right_answers_of_several_views(several):
    found = answers(several, "text")
    shapes = {(0, 0), (0, 1), (0, 2), (1, 0)}  # text 7 is said of shape 0, view 1, and of shape 1, view 0
    assert {(n // V, n % V) for n in found.of_shapes[0, : B * V].nonzero().flatten().tolist()} == shapes
    assert found.of_targets[0 * V + 1].nonzero().flatten().tolist() == [0, 1] and found.of_targets[0].nonzero().flatten().tolist() == [0]
    assert found.of_shapes[5, B * V :].tolist() == [True, False, False, False, False]
    assert found.of_targets[4 * V + 1].nonzero().flatten().tolist() == [4], "no text equals no text"


def cut(batch: Batch, part: slice) -> Batch:
    """Some rows of a batch, with all of its extra negatives."""

    def rows(value: object) -> object:
        return {k: v[part] for k, v in value.items()} if isinstance(value, dict) else value[part] if isinstance(value, Tensor) else value

    return dataclasses.replace(batch, **{name: rows(value) for name, value in vars(batch).items()})


def on_rank(rank: int, folder: Path, batch: Batch, summary: Tensor, state: dict[str, Tensor]) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    losses = TeacherLosses(D, (CLIP, DINO), AlignOptions(balance="running"), STATISTICS)
    losses.load_state_dict(state)
    part = slice(3 * rank, 3 * rank + 3)
    own = summary.detach()[part].clone().requires_grad_()
    found = losses(own, cut(batch, part), AlignDraw(keep=EVERYONE.keep[part]))
    found["loss"].backward()
    mean = losses.balance.mean
    torch.save({"loss": {k: v.detach() for k, v in found.items()}, "own": own.grad, "mean": mean}, folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_ranks_are_one(several, summary, tmp_path):
    """Losses of several views and their running means."""
    losses = TeacherLosses(D, (CLIP, DINO), AlignOptions(balance="running"), STATISTICS)
    before = {name: value.clone() for name, value in losses.state_dict().items()}
    in_ranks(on_rank, tmp_path, several, summary.detach(), before)
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    alone = losses(summary, several, EVERYONE)
    alone["loss"].backward()
    for name, loss in alone.items():
        assert (ranks[0]["loss"][name] + ranks[1]["loss"][name]).item() / 2 == pytest.approx(loss.item(), rel=1e-5), name
    torch.testing.assert_close(torch.cat([rank["own"] for rank in ranks]) / 2, summary.grad, atol=1e-5, rtol=1e-4)
    for rank in ranks:
        torch.testing.assert_close(rank["mean"], losses.balance.mean)


def test_a_run_with_several_views_in_bf16_goes_on_as_if_it_had_not_stopped(cache_path, tmp_path, monkeypatch):
    settings = ("data.views=3", "data.negatives=4", "precision=bfloat16", "align.queries=teacher", "align.reconstruction_weight=1")
    config = config_of("align", *settings, "align.balance=running", "align.teacher_drop=0.3", "optim.epochs=1", "save_every=2")
    train(config, [cache_path], tmp_path / "whole", device="cpu")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        die_at(patch, 3)
        train(config, [cache_path], tmp_path / "cut", device="cpu")
    train(config, [cache_path], tmp_path / "cut", resume=True, device="cpu")
    assert same_tensors(tmp_path / "whole", tmp_path / "cut")
    assert checkpoint.load(tmp_path / "cut").model.teachers.balance.mean.min() > 0
    fewer = dataclasses.replace(config, data=dataclasses.replace(config.data, views=2))
    with pytest.raises(ValueError, match=r"data\.views is 3, asked 2"):
        train(fewer, [cache_path], tmp_path / "cut", resume=True, device="cpu")
