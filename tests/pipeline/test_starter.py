"""The grammar tells the truth and is read back; training pictures and batches follow from seeds; what is shipped is small and loads."""

import shutil
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import typer
from safetensors.torch import load_file
from scipy import ndimage

from cache_schema.errors import UserError
from pipeline.starter import pictures, score, students, texts, train
from pipeline.starter.kinds.catalog import KINDS
from pipeline.starter.kinds.thing import Parts, wood
from pipeline.starter.shapes import Description, make
from pipeline.weights import SHIPPED
from tests.forks import FORKS
from tests.pipeline import checkpoints

DESK = Description(
    kind="desk",
    color="brown",
    material="wood",
    style=("wide",),
    parts=(Parts(noun="drawer", count=3), Parts(noun="leg", count=1, material=wood(np.random.default_rng(0), "black"))),
)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_captions_tell_the_truth_and_are_read_back():
    draw, several = rng(), set()
    for index in range(90):
        truth = make(3, index).description
        for _ in range(4):
            text = texts.caption(truth, draw)
            said = texts.claims(text)
            assert said.kind == truth.kind, text
            assert texts.wrong(said, truth)[0] == [], text
            several.add(text)
    assert len(several) > 200


def test_a_number_that_is_not_known_is_not_told():
    draw = rng()
    told = {texts.caption(DESK, draw, ["drawer"]) for _ in range(200)}
    assert any(" drawers" in text for text in told) and not any("three" in text for text in told)


@pytest.mark.parametrize(
    ("text", "mistakes", "stated"),
    [
        ("a wide brown wooden desk with three drawers and a black leg", [], 6),
        ("a red desk with two drawers", ["red", "two drawers"], 2),
        ("a round metal desk", ["round", "metal"], 2),
        ("a desk with three white drawers", [], 1),  # nobody said what they are made of
        ("a desk with a white leg", ["white leg"], 2),
        ("a desk with drawers", [], 1),
        ("a desk with legs", ["some legs"], 1),  # it has one
        ("a desk", [], 0),
    ],
)
def test_what_a_caption_says_wrongly(text, mistakes, stated):
    assert texts.wrong(texts.claims(text), DESK) == (mistakes, stated)


def test_a_caption_without_a_known_kind_names_none():
    assert texts.claims("a red something with two legs").kind == ""
    assert texts.claims("").kind == ""


def test_sentences_tell_facts_in_many_ways():
    draw = rng()
    sentences = [texts.sentence(DESK, draw) for _ in range(300)]
    assert all(one.told <= texts.facts(DESK) and "desk" in one.told for one in sentences)
    assert len({one.text for one in sentences}) > 200
    assert any("writing desk" in one.text for one in sentences)
    bare = DESK.without_colors()
    assert not any(color in one.text.split() for one in (texts.sentence(bare, draw) for _ in range(100)) for color in ("brown", "black"))


@pytest.fixture(scope="module", autouse=True)
def forked():
    """Processes that draw are forked: a new one would import for seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "multiprocessing", SimpleNamespace(get_context=lambda kind: FORKS))
        yield


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Pictures of nine shapes, drawn by two processes."""
    folder, small = tmp_path_factory.mktemp("study"), pictures.Study(shapes=9, views=2, size=48, chunk=5, parts=True)
    return folder, small, pictures.draw(folder, small, workers=2)


class Here:
    """Stands for processes that draw: this one does, which has imported everything."""

    def __init__(self, count=0):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    imap_unordered = staticmethod(map)


@pytest.fixture
def drawn_here(monkeypatch):
    monkeypatch.setattr(pictures.multiprocessing, "get_context", lambda _: SimpleNamespace(Pool=Here))


@pytest.mark.usefixtures("drawn_here")
def test_pictures_do_not_depend_on_who_draws_and_are_drawn_once(study, tmp_path):
    folder, small, views = study
    assert views.rgb.shape == (9, 2, 48, 48, 3) and [d.kind for d in views.descriptions][:3] == ["airplane", "bathtub", "bed"]
    alone = pictures.draw(tmp_path, small, workers=1)
    assert np.array_equal(alone.rgb, views.rgb) and np.array_equal(alone.part, views.part)
    files = {path: path.stat().st_mtime_ns for path in folder.rglob("*.npy")}
    again = pictures.draw(folder, small, workers=1)
    assert np.array_equal(again.rgb, views.rgb) and np.array_equal(again.part, views.part) and again.descriptions == views.descriptions
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.npy")} == files
    assert views.rgb.std(axis=(2, 3, 4)).min() > 1, "an empty picture"


@pytest.mark.usefixtures("drawn_here")
def test_pictures_show_the_parts_of_the_shape_and_nothing_beside_it(study, tmp_path):
    *_, small, views = study
    plain = pictures.draw(tmp_path, replace(small, parts=False), workers=1)
    assert plain.part is None and np.array_equal(plain.rgb, views.rgb)
    for index, (rgb, part) in enumerate(zip(views.rgb, views.part, strict=True)):
        made = {int(label) for piece in make(small.seed, index).mesh.parts for label in np.unique(piece.part)}
        seen = set(np.unique(part).tolist()) - {pictures.NOTHING}
        assert seen <= made and 2 * len(seen) >= len(made)
        beside = part == pictures.NOTHING
        shape = (np.abs(rgb.astype(int) - rgb[:, :1, :1]).max(-1) > 8).astype(bool)  # the background is plain
        around = np.ones((1, 3, 3))
        assert shape[ndimage.binary_erosion(beside, around, border_value=1)].mean() < 0.01  # what is thinner than a pixel
        inside = ~ndimage.binary_dilation(beside, around)
        assert not inside.any() or shape[inside].mean() > 0.9


def test_parts_are_mirrored_and_cropped_like_their_pictures():
    part = rng().integers(0, 3, (6, 8, 8)).astype(np.uint8).repeat(8, 1).repeat(8, 2)
    picture = np.where(part[..., None] == np.arange(3), 255, 0).astype(np.uint8)  # the part is the colour that is there
    pixels, moved = pictures.augmented(picture, size=48, rng=rng(), part=part)
    assert moved.shape == (6, 48, 48) and (pixels.argmax(1) == moved).float().mean() > 0.97
    alone, none = pictures.augmented(picture, size=48, rng=rng())
    assert none is None and torch.equal(alone, pixels)


def test_lessons_follow_from_seed_and_step(study):
    *_, views = study
    one, two, other = (train.lesson(views, 0, step) for step in (3, 3, 4))
    assert torch.equal(one.pixels, two.pixels) and one.descriptions == two.descriptions and not torch.equal(one.pixels, other.pixels)
    assert one.pixels.shape[1:] == (3, students.SIZE, students.SIZE) and 0 <= one.pixels.min() and one.pixels.max() <= 1
    grey = ((one.pixels - one.pixels.mean(1, keepdim=True)).abs().amax((1, 2, 3)) < 1e-3).tolist()
    assert any(grey) and not all(grey)
    assert all(not description.color for description, hidden in zip(one.descriptions, grey, strict=True) if hidden)


def test_kinds_are_left_out_of_pictures_and_words(study):
    first, *_, last = KINDS
    some = replace(pictures.Study(), without=tuple(kind for kind in KINDS if kind not in (first, last)))
    assert [make(some.seed, some.index(number)).description.kind for number in range(5)] == [first, last, first, last, first]
    assert len({some.index(number) for number in range(50)}) == 50 and some.name != pictures.Study().name
    assert [pictures.Study().index(number) for number in (0, 50)] == [0, 50]
    *_, views = study
    lesson = train.lesson(views, 0, 0)
    student: Any = students.ImageText(students.RESNET, students.saved(SHIPPED / "starter-resnet"), layers=1)
    read: list[str] = []
    student.encode = lambda said: read.extend(said) or torch.zeros(len(said), students.EMBEDDING)
    student.contrast(torch.zeros(len(lesson.descriptions), students.EMBEDDING), lesson)
    named = read[len(lesson.descriptions) :]
    assert lesson.kinds == list(KINDS)[:9] and all(kind in said for kind, said in zip(lesson.kinds, named, strict=True))


@pytest.fixture(scope="module")
def masters(study, tmp_path_factory):
    """The folder of students that others learn from, or begin with; and what all read."""
    *_, views = study
    folder, words = tmp_path_factory.mktemp("masters"), list(texts.corpus(views.descriptions, rng()))
    for name in ("starter-resnet", "starter-attributes", "starter-regnet"):
        place = folder / name
        place.mkdir()
        students.STUDENTS[name](words, views.usual_parts(1), folder).save(place)
    return folder, words


@pytest.mark.parametrize("name", students.STUDENTS)
def test_a_student_learns_and_goes_on_where_it_was_cut_off(name, study, masters, tmp_path, monkeypatch):
    *_, views = study
    folder, words = masters
    monkeypatch.setattr(train, "BATCH", 4)
    monkeypatch.setattr(train, "KEEP_EVERY", 1)

    def student():
        torch.manual_seed(0)
        return students.STUDENTS[name](words, views.usual_parts(1), folder)

    def weights(folder):
        return load_file(next(folder.glob("*.safetensors")))

    untrained, whole, cut = (tmp_path / each for each in ("untrained", "whole", "cut"))
    for place in (untrained, whole, cut):
        place.mkdir()
    one = student()
    one.save(untrained)
    train.teach(one, views, name, whole, cycles=(1, 1), seed=0)
    lesson = train.lesson

    def killed(views, seed, step):
        if step == 1:
            raise KeyboardInterrupt
        return lesson(views, seed, step)

    monkeypatch.setattr(train, "lesson", killed)
    with pytest.raises(KeyboardInterrupt):
        train.teach(student(), views, name, cut, cycles=(1, 1), seed=0)
    assert not (cut / name).exists()
    monkeypatch.setattr(train, "lesson", lesson)
    train.teach(student(), views, name, cut, cycles=(1, 1), seed=0)
    before, first, second = weights(untrained), weights(whole / name), weights(cut / name)
    assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
    assert sum(not torch.equal(before[key], first[key]) for key in first) > len(first) // 4


def test_a_vit_of_open_clip_begins_as_starter_attributes_sees_enlarged_patches():
    student: Any = students.STUDENTS["starter-parts"]([], [], SHIPPED)
    visual = student.clip.visual.eval()
    master: Any = students.Dinov2Model.from_pretrained(SHIPPED / "starter-attributes", num_hidden_layers=students.PART_LAYERS).eval()
    picture = torch.from_numpy(rng().normal(size=(2, 3, students.SIZE, students.SIZE)).astype(np.float32))
    with torch.inference_mode():
        tiles = torch.nn.functional.unfold(picture, students.PART_PATCH, stride=students.PART_PATCH)  # [2, 3 * side * side, tiles]
        tiles = tiles.transpose(1, 2).unflatten(2, (3, students.PART_PATCH, students.PART_PATCH)).flatten(0, 1)
        large = torch.nn.functional.interpolate(tiles, size=students.PATCH, mode="bilinear", align_corners=False)
        count = students.SIZE // students.PART_PATCH
        whole = (
            large.unflatten(0, (2, count, count)).permute(0, 3, 1, 4, 2, 5).reshape(2, 3, count * students.PATCH, count * students.PATCH)
        )
        expected = master(pixel_values=whole).pooler_output @ visual.proj
        assert torch.allclose(visual(picture), expected, atol=2e-3, rtol=1e-3)


def test_places_are_told_from_the_names_of_parts(study):
    student: Any = students.STUDENTS["starter-parts"]([], [], SHIPPED)
    part = torch.full((2, 96, 96), pictures.NOTHING)
    part[0, :48, :], part[1, :, 48:] = 5, 9  # the upper half, and the right one
    texts_of = torch.nn.functional.one_hot(torch.arange(2), 128).float()
    student.encode = lambda names: texts_of  # in the order of the numbers
    maps = torch.zeros(2, 8, 8, 128)
    maps[0, :4, :, 0], maps[1, :, 4:, 1] = 1, 1
    maps[0, 4:, :, 1], maps[1, :, :4, 0] = 1, 1  # beside the shape anything may be
    with torch.inference_mode():
        good, bad = (float(student.naming(one.flatten(1, 2), part, rng())) for one in (maps, maps.flip(0)))
    assert good < 0.1 and bad > 5  # half of the places of the second are right


def test_the_captioner_learns_to_go_on_from_what_it_is_asked_with(study, tmp_path):
    *_, views = study
    words = list(texts.corpus(views.descriptions, rng()))
    for master in ("starter-resnet", "starter-attributes"):
        (tmp_path / master).mkdir()
        students.STUDENTS[master](words, views.usual_parts(1), tmp_path).save(tmp_path / master)
    student: Any = students.STUDENTS["starter-blip2"](words, views.usual_parts(1), tmp_path)
    asked = student.processor(images=[np.zeros((9, 9, 3), np.uint8)], text=[""], return_tensors="pt")["input_ids"][0].tolist()
    assert student.start == asked
    ids, pixels = torch.tensor([asked]), torch.zeros(2, 3, students.SIZE, students.SIZE)
    pixels[1] = 1
    with torch.inference_mode():
        words_of_two = [student.captioner(pixel_values=one[None], input_ids=ids).logits for one in pixels]
    assert not torch.allclose(*words_of_two), "what is said does not depend on the picture"


def test_captions_tell_what_the_heads_find_likely():
    facts = students.Facts(4, ["one leg", "two drawer", "three drawer", "four drawer"])

    def left(color, material, wide, *parts):
        has = torch.full((1, len(students.STYLES) + 4), -9.0)
        has[0, students.STYLES.index("wide")] = wide
        has[0, len(students.STYLES) :] = torch.tensor(parts).logit()
        pair = torch.zeros(1, len(students.COLORS)), torch.zeros(1, len(students.SUBSTANCES))
        pair[0][0, list(students.COLORS).index("brown")], pair[1][0, students.SUBSTANCES.index("wood")] = color, material
        [answer] = facts.likely([torch.zeros(1, len(students.KINDS)), *pair, has], [DESK], 0.6)
        return answer

    assert left(9.0, 9.0, 9.0, 0.9, 0.1, 0.8, 0.1) == (DESK, [])
    assert left(9.0, 9.0, 9.0, 0.9, 0.2, 0.3, 0.2) == (DESK, ["drawer"]), "there are several, it is not known how many"
    nothing = left(1.0, 1.0, 0.0, 0.5, 0.1, 0.2, 0.1)
    assert nothing == (Description(kind="desk"), [])


def going_on(folder, begin=SHIPPED):
    train.main(folder, begin=begin, steps=0.001)  # one step of each cycle
    return load_file(folder / "starter-blip2" / "model.safetensors")


def test_a_captioner_goes_on_by_the_command_also_where_it_was_cut_off(study, tmp_path, monkeypatch):
    *_, views = study
    lesson = train.lesson
    monkeypatch.setattr(train, "draw", lambda *_, **__: views)
    monkeypatch.setattr(train, "BATCH", 4)
    monkeypatch.setattr(train, "KEEP_EVERY", 1)
    whole, cut = tmp_path / "whole", tmp_path / "cut"

    def killed(views, seed, step):
        if step == 1:
            raise KeyboardInterrupt
        return lesson(views, seed, step)

    monkeypatch.setattr(train, "lesson", killed)
    with pytest.raises(KeyboardInterrupt):
        going_on(cut)
    before = load_file(SHIPPED / "starter-blip2" / "model.safetensors")
    state = torch.load(cut / "state-starter-blip2.pt", weights_only=True)["model"]
    assert all(torch.equal(value, state[f"0.{name}"].half()) for name, value in before.items()), "it keeps still while its heads begin"
    torch.manual_seed(0)
    new = students.GOING_ON["starter-blip2"](views.usual_parts(1), SHIPPED).model.state_dict()
    assert {name.split(".")[0] for name in new if not torch.equal(new[name], state[name])} == {"1", "2"}  # both groups of heads
    monkeypatch.setattr(train, "lesson", lesson)
    first, second = going_on(whole), going_on(cut)
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    changed = {name.split(".")[0] for name in first if not torch.equal(before[name], first[name])}
    assert first.keys() == before.keys() and changed == {"vision_model", "query_tokens", "qformer", "language_projection", "language_model"}
    assert (whole / "starter-blip2" / "tokenizer.json").read_text() == (SHIPPED / "starter-blip2" / "tokenizer.json").read_text()
    shutil.copytree(SHIPPED, tmp_path / "other")
    shutil.copy(whole / "starter-blip2" / "model.safetensors", tmp_path / "other" / "starter-blip2")
    with pytest.raises(typer.BadParameter, match="name another folder"):
        going_on(whole, tmp_path / "other")


def test_a_captioner_that_went_on_lies_between_the_weights_of_before_and_the_new(tmp_path):
    begun: Any = students.GOING_ON["starter-blip2"]([], SHIPPED)
    with torch.no_grad():
        begun.captioner.query_tokens += 1
    begun.save(tmp_path)
    moved = [load_file(folder / "model.safetensors")["query_tokens"].float() for folder in (SHIPPED / "starter-blip2", tmp_path)]
    assert torch.allclose(moved[1] - moved[0], torch.tensor(students.NEW), atol=2e-3)


def test_what_is_needed_to_go_on_is_named(tmp_path):
    folder = tmp_path / "more"
    with pytest.raises(typer.BadParameter, match="not for starter-resnet"):
        train.main(folder, only=["starter-resnet"], begin=SHIPPED)
    with pytest.raises(UserError, match=f"cannot go on from {tmp_path}, which lacks starter-blip2/config.json, starter-blip2/model"):
        train.main(folder, begin=tmp_path)
    (tmp_path / "starter-blip2").symlink_to(SHIPPED / "starter-blip2")
    with pytest.raises(UserError, match=f"cannot go on from {tmp_path}, which lacks starter-resnet/open_clip_config.json"):
        train.main(folder, begin=tmp_path)
    assert not folder.exists()


def test_what_is_shipped_is_small_whole_and_half_precision():
    assert {folder.name for folder in SHIPPED.iterdir()} == set(students.STUDENTS)
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file()) < 24_000_000
    for folder in SHIPPED.iterdir():
        state = load_file(next(folder.glob("*.safetensors")))
        assert {value.dtype for value in state.values() if value.is_floating_point()} == {torch.float16}
        assert all(torch.isfinite(value).all() for value in state.values() if value.is_floating_point())
        assert "Limits:" in (folder / "README.md").read_text()


def test_a_captioner_is_scored_on_what_it_says(tmp_path):
    (tmp_path / score.CAPTIONER).symlink_to(checkpoints.blip2())
    (tmp_path / "starter-resnet").symlink_to(SHIPPED / "starter-resnet")
    numbers = score.captioned(tmp_path, np.full((2, 1, 48, 48, 3), 255, np.uint8), [DESK, DESK])
    assert numbers["names the kind"] == 0 and len(numbers["examples"]) == 2  # random weights say words in no order


def test_patch_features_that_are_shipped_know_parts():
    numbers = score.parted(SHIPPED, 8)
    assert numbers[score.PIXELS] > 0.3 and numbers[score.PARTWISE] > 0.02  # of 136 names; chance is 0.007


def test_a_new_card_keeps_what_the_old_one_says_of_its_weights():
    told = "These weights: made in two goes,\nby hand.\n"
    old = score.card("starter-resnet", {score.VIEWS: 0.5}, 10).replace("but that.\n", f"but that.\n{told}")
    new = score.card("starter-resnet", {score.VIEWS: 0.75}, 20, old)
    assert told in new and "75.0%" in new and "50.0%" not in new
    assert score.card("starter-resnet", {score.VIEWS: 0.75}, 20, new) == new
