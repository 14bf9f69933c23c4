"""Captions: what each depends on, how long they may be, and their order."""

import dataclasses
import importlib.metadata
import json
import shutil

import numpy as np
import pytest
import torch

from cache_schema import layout, store, validate
from cache_schema.errors import UserError
from cache_schema.spec import TEXT_BYTES, CaptionSpec, Server, fingerprint, from_json, to_json
from pipeline.captioners import catalog as captioners
from pipeline.captioners import opt
from pipeline.captioners.blip2 import NEAR, picked
from pipeline.models import Models
from pipeline.ranking import rank
from pipeline.recipes import configured
from pipeline.teachers import catalog as teachers
from tests.pipeline import chat, plain_captions
from tests.pipeline.checkpoints import blip2, fill
from tests.pipeline.conftest import build, small

RANDOM = CaptionSpec(captioner="blip2", model=str(blip2()), samples=3, max_tokens=8)
STARTER = captioners.CAPTIONERS["starter-blip2"].spec
SERVED = dataclasses.replace(
    captioners.CAPTIONERS["http"].spec, model="stub-vl-7b", samples=2, server=Server(address=chat.always(), at_once=2)
)
FILLED = CaptionSpec(captioner="template", templates=("a {}", "one {}", "the {}", "some {}"), samples=3)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8).repeat(16, 1).repeat(16, 2)


KEYS = [f"shape {i}" for i in range(5)]
NAMES = ["chair", "table", "lamp", "bed", "door"]


# --------------------------------------------------------------------------------------------------- every backend


def in_batches(captioner, size, images, keys, names):
    """Captions of pictures that are given `size` at a time."""
    slices = [slice(start, start + size) for start in range(0, len(images), size)]
    return [texts for some in slices for texts in captioner.caption(images[some], keys[some], names[some])]


SMALL = {"blip2": RANDOM, "descriptions": captioners.CAPTIONERS["descriptions"].spec, "http": SERVED, "template": FILLED}
every_backend = pytest.mark.parametrize("backend", captioners.BACKENDS)


@every_backend
def test_a_backend_comes_with_what_tests_it(backend):
    assert backend in SMALL, "add here a small specification of this backend"
    assert backend in {choice.spec.captioner for choice in captioners.CAPTIONERS.values()}
    assert all(importlib.metadata.version(package) for package in captioners.packages(backend))


@every_backend
def test_every_captioner_gives_a_picture_the_same_texts_in_any_batch_and_order(backend, images):
    spec = SMALL[backend]
    texts = captioners.load(spec).caption(images, KEYS, NAMES)
    assert [len(row) for row in texts] == [spec.samples] * 5
    assert all(text == captioners.fit(text) for row in texts for text in row)
    order = [3, 0, 4, 1, 2]
    mixed = in_batches(captioners.load(spec), 2, images[order], [KEYS[i] for i in order], [NAMES[i] for i in order])
    assert mixed == [texts[i] for i in order]
    alone = [captioners.load(spec).caption(images[i : i + 1], KEYS[i : i + 1], NAMES[i : i + 1])[0] for i in (0, 4)]
    assert alone == [texts[0], texts[4]]
    assert captioners.load(dataclasses.replace(spec, seed=7)).caption(images, KEYS, NAMES) != texts


@every_backend
def test_every_captioners_specification_survives_the_cache(backend):
    loaded = captioners.load(SMALL[backend]).spec
    assert from_json(CaptionSpec, json.loads(json.dumps(to_json(loaded)))) == loaded
    again = captioners.load(dataclasses.replace(loaded, model=SMALL[backend].model)).spec  # a record has no path of this machine
    assert fingerprint(again) == fingerprint(loaded)


@every_backend
def test_every_captioners_texts_are_ranked_with_finite_scores(backend, images):
    teacher = teachers.load("starter-resnet")
    texts = captioners.load(SMALL[backend]).caption(images, KEYS, NAMES)
    seen = teacher.embed_images(torch.stack([teacher.preprocess(image) for image in images])).numpy()
    read = np.stack([teacher.embed_texts(row).numpy() for row in texts])
    order, scores = rank(seen, read)
    assert np.isfinite(scores).all() and (np.diff(scores, axis=1) <= 0).all()
    assert (np.sort(order, axis=1) == np.arange(order.shape[1])).all()


def test_a_made_up_captioner_needs_an_entry_of_the_catalogue_and_nothing_else(meshes, tmp_path, monkeypatch):
    monkeypatch.setitem(captioners.BACKENDS, "brightness", "tests.pipeline.made_up_captioner")
    spec = CaptionSpec(captioner="brightness", samples=2, rank_by="starter-resnet")
    build(meshes, tmp_path / "c.zarr", small(captions=spec, teachers=("starter-resnet",), labels=()))
    cache = store.open_cache(tmp_path / "c.zarr")
    assert validate.problems(cache.path) == []
    assert dict(cache.record("captions/brightness").made_by)["numpy"] == np.__version__
    texts, scores = layout.texts(cache.column("captions/brightness/text")), cache.column("captions/brightness/score")  # [N, V, 2] each
    picture = cache.array("views/rgb")[0, 1]
    assert cache.ok()[0] and set(texts[0, 1]) == {f"slab of {picture.mean():.0f}, told {i} times" for i in range(2)}
    assert np.isfinite(scores).all() and scores[0].any()
    assert cache.array("text/brightness/starter-resnet")[0].any()


def test_several_captioners_are_kept_apart(images):
    models = Models("cpu")
    first, second = captioners.load(FILLED), captioners.load(dataclasses.replace(FILLED, seed=1))
    models.add(first)
    models.add(second)
    assert models.captioner(first.spec) is first and models.captioner(second.spec) is second
    third = dataclasses.replace(FILLED, seed=2)
    assert models.captioner(third).spec == third and models.captioner(third) is models.captioner(third)


# ----------------------------------------------------------------------------------------------------------- BLIP-2


def test_a_caption_depends_on_its_picture_key_and_sample_only(images):
    texts = captioners.load(RANDOM).caption(images, KEYS, NAMES)
    assert [len(row) for row in texts] == [3] * 5
    assert len({text for row in texts for text in row}) == 15
    for batch in (1, 2):
        assert in_batches(captioners.load(RANDOM), batch, images, KEYS, NAMES) == texts
    assert captioners.load(RANDOM).caption(images[3:], KEYS[3:], NAMES[3:]) == texts[3:]
    more = dataclasses.replace(RANDOM, samples=4)
    assert [row[:3] for row in captioners.load(more).caption(images, KEYS, NAMES)] == texts


@pytest.mark.parametrize("spec", [RANDOM, dataclasses.replace(RANDOM, prompt="a picture of", temperature=0.3, samples=6), STARTER])
def test_captions_are_those_of_the_plain_loop(spec, images):
    captioner = captioners.load(spec)
    texts = captioner.caption(images, KEYS, NAMES)
    assert texts == plain_captions.caption(captioner, images, KEYS)
    assert len({text for row in texts for text in row}) > 5


def test_a_caption_changes_with_picture_key_and_seed(images):
    captioner = captioners.load(RANDOM)
    (texts,) = captioner.caption(images[:1], KEYS[:1], [""])
    assert captioner.caption(images[1:2], KEYS[:1], [""]) != [texts]
    assert captioner.caption(images[:1], KEYS[1:2], [""]) != [texts]
    assert captioners.load(dataclasses.replace(RANDOM, seed=1)).caption(images[:1], KEYS[:1], [""]) != [texts]


@pytest.mark.parametrize("prompt", ["", "a picture of"])
def test_with_one_choice_left_it_is_the_librarys_greedy_caption(prompt, images):
    from transformers import Blip2ForConditionalGeneration, Blip2Processor

    folder = blip2()
    model = Blip2ForConditionalGeneration.from_pretrained(folder).eval()
    processor = Blip2Processor.from_pretrained(folder)
    inputs = processor(images=list(images), text=[prompt] * 5, return_tensors="pt")
    with torch.no_grad():
        tokens = model.generate(**inputs, do_sample=False, min_new_tokens=1, max_new_tokens=8)
    expected = [text.strip() for text in processor.batch_decode(tokens, skip_special_tokens=True)]
    texts = captioners.load(dataclasses.replace(RANDOM, prompt=prompt, top_p=1e-9, samples=2)).caption(images, KEYS, NAMES)
    assert texts == [[text] * 2 for text in expected]
    assert all(text.startswith(prompt) for text in expected)


SIZES = {
    "t5": {"decoder_start_token_id": 1, "d_model": 64, "d_ff": 128, "d_kv": 32, "num_layers": 2, "num_heads": 2},
    "opt": {
        "bos_token_id": 2,
        "hidden_size": 64,
        "ffn_dim": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "word_embed_proj_dim": 32,
    },
}


@pytest.fixture(params=SIZES)
def as_transformers_has_it(request, tmp_path):
    """A captioner with a language model that runs as transformers has it: one with an encoder, or an OPT of an unusual form."""
    from transformers import Blip2Config, Blip2ForConditionalGeneration

    folder = shutil.copytree(blip2(), tmp_path / request.param)
    config = Blip2Config.from_pretrained(folder)
    words = {"vocab_size": config.text_config.vocab_size, "pad_token_id": 1, "eos_token_id": 2}
    text = {"model_type": request.param, "max_position_embeddings": 64, "do_layer_norm_before": False, **words, **SIZES[request.param]}
    parts = {"vision_config": config.vision_config.to_dict(), "qformer_config": config.qformer_config.to_dict(), "text_config": text}
    with torch.random.fork_rng(devices=[]):
        model = Blip2ForConditionalGeneration(Blip2Config(num_query_tokens=8, image_token_index=config.image_token_index, **parts))
    fill(model, seed=0)
    model.save_pretrained(folder)
    captioner = captioners.load(dataclasses.replace(RANDOM, model=str(folder), prompt="a picture of"))
    assert captioner.steps is None
    return captioner


def test_a_language_model_of_another_form_writes_the_captions_of_the_plain_loop(as_transformers_has_it, images):
    captioner = as_transformers_has_it
    texts = captioner.caption(images, KEYS, NAMES)
    assert texts == plain_captions.caption(captioner, images, KEYS)
    assert len({text for row in texts for text in row}) > 5
    for text in texts[0]:  # a model with an encoder gets its prompt back
        assert text.startswith("a picture of ")
        assert text.count("picture of") == 1
        assert len(text) > len("a picture of ")


def test_a_model_that_wants_its_words_chosen_in_another_way_is_refused(monkeypatch):
    from transformers import GenerationConfig, OPTForCausalLM

    plain = OPTForCausalLM.__init__

    def changed(self, *args, **kwargs):
        plain(self, *args, **kwargs)
        self.generation_config = GenerationConfig(repetition_penalty=1.3, eos_token_id=2)

    monkeypatch.setattr(OPTForCausalLM, "__init__", changed)
    with pytest.raises(UserError, match="ask for repetition_penalty, which captions are not drawn with"):
        captioners.load(RANDOM)


def test_lower_precision_runs(images):
    captioner = captioners.load(dataclasses.replace(RANDOM, precision="bfloat16"))
    assert captioner.spec.precision == "bfloat16"
    assert all(captioner.caption(images[:2], KEYS[:2], NAMES[:2])[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_steps_of_opt_are_those_of_transformers(dtype):
    """With a head width that is no power of two, too, whose root is a number that rounds."""
    from transformers import OPTConfig, OPTForCausalLM

    sizes = {"hidden_size": 160, "word_embed_proj_dim": 160, "num_attention_heads": 2, "ffn_dim": 96, "num_hidden_layers": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = OPTForCausalLM(OPTConfig(**sizes, vocab_size=64, max_position_embeddings=32, init_std=0.2)).eval().to(dtype)
        prefix = torch.randn(3, 5, 160).to(dtype)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    row, word = torch.tensor([0, 0, 2]), torch.tensor([5, 7, 9])
    with torch.inference_mode():
        decoder = opt.Steps(model).begin(prefix)
        first = decoder.scores
        decoder.step(row, word)
        longer = torch.cat([prefix[row], model.model.decoder.embed_tokens(word)[:, None]], dim=1)
        for scores, beginning in ((first, prefix), (decoder.scores, longer)):
            expected = model(inputs_embeds=beginning).logits[:, -1].float()
            torch.testing.assert_close(scores, expected, rtol=0, atol=1e-4 if dtype == torch.float32 else 0.01)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    attention = model.model.decoder.layers[0].self_attn
    assert attention.q_proj.weight.untyped_storage().data_ptr() == attention.v_proj.weight.untyped_storage().data_ptr()  # kept once


@pytest.mark.parametrize("words", [3, *(near + 1 for near in NEAR), 1000])
@pytest.mark.parametrize("top_p", [1e-9, 0.5, 0.9, 1.0])
def test_words_are_those_of_the_plain_loop(words, top_p):
    rng = np.random.default_rng(words)
    scores = torch.from_numpy(rng.normal(size=(40, words)) * rng.choice([0.05, 1, 6], (40, 1))).float()
    scores[::2] = scores[::2].bfloat16().float()  # many words are equally likely
    scores[::3, 1] = -torch.inf
    chance = torch.from_numpy(np.append(rng.random(78), [0, 1 - 2**-53]))
    row = torch.arange(80) // 2
    draw = plain_captions.Draw(chance[:, None], 0.7, top_p)
    expected = draw(torch.zeros(80, 0), scores[row]).argmax(dim=1)
    assert torch.equal(picked(scores, row, chance, 0.7, top_p), expected)


def test_words_follow_temperature_and_top_p():
    scores, row = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]])), torch.zeros(2000, dtype=torch.int64)
    chance = torch.from_numpy(np.random.default_rng(0).random(2000))

    def frequencies(temperature, top_p):
        return np.bincount(picked(scores, row, chance, temperature, top_p).numpy(), minlength=4) / 2000

    np.testing.assert_allclose(frequencies(1.0, 1.0), [0.5, 0.3, 0.15, 0.05], atol=0.03)
    np.testing.assert_allclose(frequencies(1.0, 0.6), [0.625, 0.375, 0, 0], atol=0.03)
    squared = np.array([0.25, 0.09, 0.0225, 0.0025])
    np.testing.assert_allclose(frequencies(0.5, 1.0), squared / squared.sum(), atol=0.03)
    assert frequencies(1.0, 1e-9)[0] == 1


def test_the_specification_is_completed_and_checked(tmp_path):
    spec = captioners.load(RANDOM).spec
    assert len(spec.weights) == 64
    assert spec.model == "./random-blip2"  # nothing of where it lies
    here = dataclasses.replace(spec, model=RANDOM.model)
    assert dataclasses.replace(here, weights="") == RANDOM
    assert captioners.load(here).spec == spec
    with pytest.raises(ValueError, match=r"weights of .*random-blip2 have changed: expected digest beef"):
        captioners.load(dataclasses.replace(here, weights="beef"))
    folder = shutil.copytree(blip2(), tmp_path / "copy")
    assert captioners.load(dataclasses.replace(spec, model=str(folder))).spec.weights == spec.weights
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="cannot load BLIP-2"):
        captioners.load(dataclasses.replace(RANDOM, model=str(folder)))


def test_known_captioners():
    assert all(choice.spec.captioner in captioners.BACKENDS and choice.about for choice in captioners.CAPTIONERS.values())
    with pytest.raises(ValueError, match="no captioner 'blip'; did you mean 'blip2'"):
        captioners.load(dataclasses.replace(RANDOM, captioner="blip"))


# -------------------------------------------------------------------------------------------------------- templates


def test_templates_are_filled_each_once():
    captioner = captioners.load(FILLED)
    texts = captioner.caption(np.zeros((5, 1, 1, 3), np.uint8), KEYS, NAMES)
    for row, name in zip(texts, NAMES, strict=True):
        assert len(set(row)) == 3
        assert set(row) < {f"{word} {name}" for word in ("a", "one", "the", "some")}
    assert captioner.caption(np.zeros((2, 1, 1, 3), np.uint8), KEYS[3:], NAMES[3:]) == texts[3:]
    assert len({tuple(text.split()[0] for text in row) for row in texts}) > 1
    reseeded = captioners.load(dataclasses.replace(FILLED, seed=1)).caption(np.zeros((5, 1, 1, 3), np.uint8), KEYS, NAMES)
    assert reseeded != texts


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"templates": ("a {}",)}, "samples is 3, but there are only 1 templates"),
        ({"templates": ("a {}", "one", "the {}")}, "exactly one {}, got 'one'"),
    ],
)
def test_templates_that_cannot_be_filled(change, message):
    with pytest.raises(ValueError, match=message):
        captioners.load(dataclasses.replace(FILLED, **change))


def test_a_shape_without_a_name_cannot_fill_a_template():
    with pytest.raises(ValueError, match="shape 1 has no label"):
        captioners.load(FILLED).caption(np.zeros((2, 1, 1, 3), np.uint8), KEYS[:2], ["chair", ""])


# ----------------------------------------------------------------------------------------------- length and order


@pytest.mark.parametrize(
    ("text", "fitted"),
    [
        ("  a\n chair\t\0 of wood\n", "a chair of wood"),
        ("", ""),
        ("x" * 300, "x" * 256),
        ("é" * 200, "é" * 128),
        ("x" + "é" * 200, "x" + "é" * 127),
        ("😀" * 100, "😀" * 64),
        ("x" * 255 + " y", "x" * 255),
    ],
)
def test_texts_fit_their_cells(text, fitted):
    assert captioners.fit(text) == fitted
    assert len(fitted.encode()) <= TEXT_BYTES


def test_rank_puts_the_nearest_first_and_keeps_ties():
    images = np.array([[1, 0], [0, 2]], np.float32)
    texts = np.array([[[0, 1], [3, 0], [1, 1], [2, 2]], [[0, 0], [1, 0], [0, 1], [0, -1]]], np.float32)
    order, scores = rank(images, texts)
    assert order.tolist() == [[1, 2, 3, 0], [2, 0, 1, 3]]
    np.testing.assert_allclose(scores, [[1, 0.7071, 0.7071, 0], [1, 0, 0, -1]], atol=1e-6)
    assert scores.dtype == np.float32


def test_rank_does_not_see_float_rounding():
    rng = np.random.default_rng(0)
    images, texts = rng.normal(size=(4, 64)).astype(np.float32), rng.normal(size=(4, 8, 64)).astype(np.float32)
    texts[:, 1::2] = texts[:, ::2] * (1 + 1e-6 * rng.normal(size=(4, 4, 64)))
    order, _ = rank(images, texts)
    twins = order.reshape(4, 4, 2)
    assert (twins[..., 0] % 2 == 0).all()
    assert (twins[..., 1] == twins[..., 0] + 1).all()


def test_captions_of_another_captioner_do_not_keep_the_recipes_name():
    ours = configured("smoke", []).captions
    assert ours is not None and ours.name == "starter-blip2"
    assert configured("smoke", ["captions=template"]).captions == captioners.CAPTIONERS["template"].spec
    other = configured("smoke", ["captions.captioner=template", "captions.templates=a {},the {}", "captions.samples=2"]).captions
    assert (other.name, other.model) == ("template", "")
    assert configured("smoke", ["captions.model=Some/blip2-large"]).captions.name == "blip2-large"
    assert configured("smoke", ["captions.model=Some/blip2-large", "captions.name=mine"]).captions.name == "mine"
    assert configured("smoke", ["captions.samples=3"]).captions.name == "starter-blip2"
    with pytest.raises(UserError, match="there is no 'templat'; did you mean 'template'"):
        configured("smoke", ["captions=templat"])


@pytest.mark.parametrize(
    ("reference", "settings", "message"),
    [
        ("tempate", [], "did you mean 'template'"),
        ("zarr.json=template", [], "Zarr uses itself"),
        ("../x=template", [], "cannot be a file name"),
        ("mine=template", ["name=other"], "leave one out"),
        ("template", ["sampels=2"], "did you mean 'samples'"),
    ],
)
def test_a_reference_to_a_captioner_that_cannot_be_is_refused(reference, settings, message):
    with pytest.raises(UserError, match=message):
        captioners.asked(reference, settings)
