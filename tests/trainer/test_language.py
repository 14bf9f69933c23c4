"""Kinds of texts, and wrong texts of a shape: which are drawn, and the loss against a formula written out."""
# ruff: noqa: F811 - fixtures of other modules

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cache_schema import layout, store, synthetic
from cache_schema.errors import UserError
from cache_schema.spec import CUT, LACKING, CaptionSpec, PointSpec, Record
from tests.trainer.conftest import LABELS, config_of
from tests.trainer.test_align import CLIP, EVERYONE, STATISTICS, B, D, batch, generator, summary  # noqa: F401
from tests.trainer.test_data import TEACHERS, A, opened, same
from tests.trainer.test_loop import Killed, die_at, same_tensors
from trainer import captions
from trainer.align import AlignDraw, TeacherLosses
from trainer.data import Data
from trainer.loop import train
from trainer.options import AlignOptions
from trainer.part import DataConfig, Needs
from trainer.resident import Resident

KINDS = ("name", "sentence", "paragraph")
WRONG = ("count", "part")
TEXTS = {"templates": 0.0, "captions": ("told",)}
"""Settings that draw texts of `told` alone."""


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """60 shapes with the captions `synthetic`; `told` in three kinds, of which every third shape lacks the sentence and every fourth all;
    `wrong` in two kinds, of which every fifth shape lacks the first; `silent` in the same, which all lack; and `tagged` in one."""
    points = PointSpec(count=64, blocks=2, ordered=32)
    cache = synthetic.write(tmp_path_factory.mktemp("words") / "words.zarr", shapes=60, shard=16, points=points, labels=LABELS)
    rng = np.random.default_rng(7)

    def add(name, kinds, lacks, *, wrong=False):
        made = CaptionSpec(
            name=name, captioner="none", samples=len(kinds), keep=len(kinds), per="shape", kinds=kinds, stated=True, wrong=wrong
        )
        there = np.array([[not lacks(row, kind) for kind in kinds] for row in range(60)])
        said = [f"{name} {kind} of {row}" if there[row, i] else "" for row in range(60) for i, kind in enumerate(kinds)]
        cells = layout.text_cells(said).reshape(60, 1, len(kinds), -1)
        embedded = np.where(there[..., None], rng.standard_normal((60, len(kinds), 32)), 0).astype(np.float16)
        lost = ((LACKING, str(count)),) if (count := int((~there.any(axis=1)).sum())) else ()
        captioned = Record(product=f"captions/{name}", kind="captions", spec=made, per_shape=1, inputs=(), made_by=lost)
        text = Record(product=f"text/{name}/random-a", kind="text", spec=A, per_shape=len(kinds), inputs=(), made_by=(*lost, (CUT, "3")))
        values = {f"captions/{name}/text": cells, f"captions/{name}/score": np.zeros((60, 1, len(kinds)), np.float32)}
        synthetic.fill(cache, {captioned: values, text: {text.product: embedded}})

    add("told", KINDS, lambda row, kind: row % 4 == 0 or (row % 3 == 0 and kind == "sentence"))
    add("wrong", WRONG, lambda row, kind: row % 5 == 0 and kind == "count", wrong=True)
    add("silent", WRONG, lambda row, kind: True, wrong=True)
    add("tagged", ("tags",), lambda row, kind: False)
    return cache.path


def told(data, batches=6, views=1):
    """(row, kinds) of the texts of shapes, by their embeddings; "" for one that is not there."""
    cache, found = data.parts[0].cache, []
    texts = cache.array("text/told/random-a")[:]
    for number in range(batches):
        one = data.batch(number)
        valid = one.text_valid.get("random-a", torch.ones(len(one.index), views, dtype=torch.bool)).reshape(-1, views).tolist()
        for row, values, there in zip(one.index.tolist(), one.text["random-a"].numpy().reshape(len(valid), views, -1), valid, strict=True):
            places = [np.flatnonzero((texts[row] == value).all(-1)) for value in values]
            found.append((row, [KINDS[place[0]] if so else "" for place, so in zip(places, there, strict=True)]))
    return found


# ------------------------------------------------------------------------------------------------------- kinds of texts


def test_each_text_that_is_there_is_drawn_and_none_that_is_missing(words):
    seen = told(opened(words, batch=40, **TEXTS), batches=12)
    by_row = {row: {kind for other, kinds in seen if other == row for kind in kinds} for row, _ in seen}
    for row, kinds in by_row.items():
        assert kinds <= ({""} if row % 4 == 0 else set(KINDS) - ({"sentence"} if row % 3 == 0 else set()))
    assert set.union(*by_row.values()) == {*KINDS, ""}
    shares = [sum(kinds == [kind] for row, kinds in seen if row % 3 and row % 4) for kind in KINDS]
    assert min(shares) > 0.8 * sum(shares) / 3, "all kinds alike"


def test_only_the_kinds_that_are_asked_for_are_drawn(words):
    seen = told(opened(words, batch=40, **TEXTS, caption_kinds=("paragraph", "name")))
    assert {kind for _, kinds in seen for kind in kinds} == {"name", "paragraph", ""}
    only = opened(words, batch=40, **TEXTS, caption_kinds=("sentence",))
    assert all((kinds == [""]) == (row % 4 == 0 or row % 3 == 0) for row, kinds in told(only))
    assert only.parts[0].lacking == {"text/random-a": sum(row % 4 == 0 or row % 3 == 0 for row in only.parts[0].rows.tolist())}
    assert "captions told (sentence) 100 %" in str(only)


def test_several_texts_of_a_shape_are_of_different_kinds_where_it_has_them(words):
    for row, kinds in told(opened(words, batch=40, views=3, **TEXTS), views=3):
        if row % 4 and row % 3:
            assert sorted(kinds) == sorted(KINDS)


@pytest.mark.parametrize("templates", [0.0, 0.4])
def test_texts_by_one_of_two_captioners_are_of_different_kinds_too(words, templates):
    mixed = {"captions": ("synthetic", "told"), "caption_weights": (1, 2), "templates": templates}
    data, one, numbers = opened(words, batch=40, views=4, **mixed), opened(words, batch=40, **mixed), set()
    for number in range(6):
        first, seen, _ = data._drawn(number, slice(None))
        alone = one._drawn(number, slice(None))[0]
        assert all(np.array_equal(*(getattr(d, name) for d in (first, alone))) for name in ("captioner", "caption", "template"))
        columns = (getattr(seen, name).reshape(-1, 4) for name in ("row", "captioner", "caption", "template"))
        for row, captioner, caption, template in zip(*columns, strict=True):
            kinds = caption[(captioner == 1) & (template < 0)].tolist()
            there = 0 if row[0] % 4 == 0 else 3 - (row[0] % 3 == 0)
            assert len(set(kinds)) == min(there, len(kinds)), "one comes twice only after each came once"
            numbers.add(len(kinds))
    assert {2, 3} <= numbers


def test_captions_without_the_kinds_asked_for_are_left_out_if_others_have_them(words):
    both = opened(words, batch=40, templates=0.0, captions=("tagged", "told"), caption_weights=(3, 1), caption_kinds=("name",))
    only = opened(words, batch=40, **TEXTS, caption_kinds=("name",))
    assert same(both.batch(0), only.batch(0)) and [c.share for c in both.parts[0].captions] == [1.0]
    assert "captions told (name) 100 %, nothing of tagged, which has none of the kinds asked for" in str(both)


def test_kinds_choose_nothing_of_captions_without_kinds(words):
    both = opened(words, batch=40, templates=0.0, captions=("synthetic", "told"), caption_kinds=("name",))
    keys = {c.name: c for c in both.parts[0].captions}
    assert keys["synthetic"].drawn == (0,) and keys["told"].drawn == (0,)
    plain, other = (opened(words, batch=40, templates=0.0, captions=("synthetic",)).batch(n) for n in (0, 0))
    assert same(plain, other)
    assert captions.chosen(store.open_cache(words), ()) == ["synthetic", "tagged", "told"], "none that is wrong on purpose"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"caption_kinds": ("nam",)}, "captions 'told' have the kinds name, sentence, paragraph, got nam"),
        ({"caption_kinds": ("name", "tags")}, r"no caption of the kind 'tags' is read; there is: name, paragraph, sentence$"),
        ({"captions": ("synthetic",), "caption_kinds": ("name",)}, "no caption of the kind 'name' is read, only captions without kinds"),
        ({"captions": ("wrong",)}, "the captions 'wrong' are wrong on purpose, so nothing takes them for right ones.*data.hard=wrong"),
        ({"hard": "told"}, "data.hard=told: these captions are not wrong on purpose"),
        ({"hard": "silent"}, "data.hard: no shape that is trained on has a text in the captions 'silent'"),
        ({"hard": "wrnog"}, "data.hard: no cache has captions 'wrnog'"),
        ({"hard": "wrong", "hard_kinds": ("color",)}, "captions 'wrong' have the kinds count, part, got color"),
    ],
)
def test_captions_that_are_not_there_are_refused(words, settings, message):
    with pytest.raises(UserError, match=message):
        opened(words, batch=8, **{**TEXTS, **settings})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["data.hard_kinds=part"], "data.hard_kinds has no effect without data.hard"),
        (["data.caption_kinds=name,name"], "data.caption_kinds has the same kind twice"),
        (["data.hard=wrong"], "with align.positives=either a text about another shape of the class is a right answer"),
        (["data.hard=wrong", "align.positives=text", "objective=regress"], "regression has no wrong answers"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        config_of("align", *settings)


def test_wrong_texts_without_a_loss_on_teachers_are_refused(words):
    with pytest.raises(UserError, match=r"^data\.hard would have no effect: no loss uses a teacher"):
        Data([store.open_cache(words)], DataConfig(hard="wrong"), batch=8, seed=0, needs=Needs())


# --------------------------------------------------------------------------------------------------------- wrong texts


def test_wrong_texts_are_those_of_the_shape_and_change_nothing_else(words):
    stored = store.open_cache(words).array("text/wrong/random-a")[:]
    plain, hard = (opened(words, batch=40, **TEXTS, **more) for more in ({}, {"hard": "wrong"}))
    one, two = plain.batch(3), hard.batch(3)
    assert same(one, dataclasses.replace(two, hard={}, hard_valid=None))
    for row, values, there in zip(two.index.tolist(), two.hard["random-a"].numpy(), two.hard_valid.tolist(), strict=True):
        assert there == [row % 5 != 0, True] and np.array_equal(values, stored[row])
    part = opened(words, batch=40, **TEXTS, hard="wrong", hard_kinds=("part",)).batch(3)
    assert torch.equal(part.hard["random-a"], two.hard["random-a"][:, 1:]) and part.hard_valid.all()
    assert "wrong texts of each shape: wrong (count, part)" in str(hard)
    reads = {rows.node.path: list(found) for _, rows, found in hard.reads(3)}
    assert reads["text/wrong/random-a"] == two.index.tolist()


def test_texts_that_are_too_long_are_cut_and_wrong_ones_left_out(words):
    assert ", 3 of text/told/random-a cut, 3 of text/wrong/random-a left out" in str(opened(words, batch=40, **TEXTS, hard="wrong"))


def test_a_wrong_text_that_is_drawn_as_a_right_one_is_none(words, monkeypatch):
    data = opened(words, batch=40, **TEXTS, hard="wrong")
    right = data._text_keys
    monkeypatch.setattr(
        data,
        "_text_keys",
        lambda drawn: torch.from_numpy(data.parts[0].hard_captions.key[drawn.row, 1]) if drawn.row.size else right(drawn),
    )
    found = data.batch(0)
    assert not found.hard_valid[:, 1].any() and found.hard_valid[:, 0].any()


def test_wrong_texts_in_the_memory_of_the_device_are_the_same(words):
    settings = DataConfig(**TEXTS, hard="wrong", views=2, resident="device")
    device = torch.device("cpu")
    held = Resident([store.open_cache(words)], settings, batch=8, seed=0, needs=TEACHERS, device=device)
    assert same(held.batch(1), opened(words, batch=8, **TEXTS, hard="wrong", views=2).batch(1))


H = 3


def hard_batch(batch):
    there = torch.rand(B, H, generator=torch.Generator().manual_seed(3)) < 0.6
    wrong = torch.randn(B, H, CLIP.dim, generator=torch.Generator().manual_seed(4))
    return dataclasses.replace(batch, hard={CLIP.name: wrong}, hard_valid=there)


def test_the_loss_has_the_wrong_texts_of_a_shape_in_its_own_softmax_alone(batch, summary):
    found = TeacherLosses(D, (CLIP,), AlignOptions(positives="none"), STATISTICS)
    draw = AlignDraw(keep=EVERYONE.keep[:, :1])
    batch = dataclasses.replace(batch, negatives=None)
    given = hard_batch(batch)
    losses, plain = found(summary, given, draw), found(summary, batch, draw)
    contrast = found.contrast(f"text/{CLIP.name}")
    points = contrast.head(summary)
    target, wrong = F.normalize(batch.text[CLIP.name].float(), dim=-1), F.normalize(given.hard[CLIP.name], dim=-1)
    scale = contrast.log_scale.exp()
    expected = []
    for shape in range(B):
        own = [scale * points[shape] @ wrong[shape, place] for place in range(H) if given.hard_valid[shape, place]]
        logits = torch.stack([*(scale * points[shape] @ target[other] for other in range(B)), *own])
        backward = torch.stack([scale * points[other] @ target[shape] for other in range(B)])
        expected.append((F.cross_entropy(logits, torch.tensor(shape)) + F.cross_entropy(backward, torch.tensor(shape))) / 2)
    torch.testing.assert_close(losses[f"text/{CLIP.name}"], torch.stack(expected).mean(), rtol=1e-5, atol=1e-5)
    assert torch.equal(losses[f"image/{CLIP.name}"], plain[f"image/{CLIP.name}"]) and losses["loss"] > plain["loss"]
    nothing = dataclasses.replace(given, hard={CLIP.name: torch.zeros_like(given.hard[CLIP.name])})
    torch.testing.assert_close(found(summary, nothing, draw)["loss"], plain["loss"]), "zeros are no embedding"


def test_a_run_with_wrong_texts_goes_on_after_a_stop(words, tmp_path):
    settings = ["optim.epochs=2", "data.templates=0", "align.positives=text", "data.captions=told", "data.hard=wrong", "data.views=2"]
    runs = tmp_path / "whole", tmp_path / "parts"
    train(config_of("align", *settings), [words], runs[0], device="cpu")
    with pytest.MonkeyPatch.context() as patch:
        die_at(patch, 3)
        with pytest.raises(Killed):
            train(config_of("align", *settings, "save_every=2"), [words], runs[1], device="cpu")
    train(config_of("align", *settings, "save_every=2"), [words], runs[1], resume=True, device="cpu")
    assert same_tensors(*runs)
