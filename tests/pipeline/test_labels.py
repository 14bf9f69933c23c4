"""Label sets: where the names come from, and what is embedded."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cache_schema import label_files
from cache_schema.products import LABELS
from cache_schema.spec import LabelSet, fingerprint
from cache_schema.store import open_cache
from pipeline import labels
from pipeline.teachers import catalog
from tests.pipeline.checkpoints import dino
from tests.pipeline.test_cli import run


class Counting:
    """A teacher whose embedding of a text is its length and its first letter, times `scale`."""

    spec = SimpleNamespace(name="counting", dim=2, precision="float32")

    def __init__(self, scale=1.0):
        self.scale, self.batches = scale, []

    def embed_texts(self, texts):
        self.batches.append(len(texts))
        return torch.tensor([[len(text), ord(text[0])] for text in texts], dtype=torch.float32) * self.scale


def test_templates():
    assert len(labels.TEMPLATES) == len(set(labels.TEMPLATES)) == 64
    assert all(template.count("{}") == 1 and template == template.lower() for template in labels.TEMPLATES)


@pytest.mark.parametrize(("name", "count"), [("modelnet10", 10), ("modelnet40", 40), ("scanobjectnn", 15)])
def test_built_in_sets(name, count):
    built = labels.label_set(name)
    assert (built.name, built.templates) == (name, labels.TEMPLATES)
    assert len(set(built.classes)) == count


def test_the_classes_of_a_cache_as_words():
    built = labels.label_set("source", ["night_stand", "tv-stand", "sofa"])
    assert built.classes == ("night stand", "tv stand", "sofa")
    with pytest.raises(ValueError, match="this cache has no classes"):
        labels.label_set("source")


def test_files(tmp_path):
    (tmp_path / "mine.txt").write_text("chair\n\n coffee table \n")
    assert labels.label_set(str(tmp_path / "mine.txt")) == LabelSet(
        name="mine", classes=("chair", "coffee table"), templates=labels.TEMPLATES
    )
    (tmp_path / "list.json").write_text(json.dumps(["chair"]))
    assert labels.label_set(str(tmp_path / "list.json")).classes == ("chair",)
    (tmp_path / "full.json").write_text(json.dumps({"classes": ["chair"], "templates": ["the {}"]}))
    assert labels.label_set(str(tmp_path / "full.json")) == LabelSet(name="full", classes=("chair",), templates=("the {}",))


@pytest.mark.parametrize("text", ['{"names": ["chair"]}', "[1, 2]", '{"classes": "chair"}', "[chair", '"chair"'])
def test_files_of_another_form(tmp_path, text):
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(ValueError, match=r"bad\.json"):
        labels.label_set(str(tmp_path / "bad.json"))


def test_unknown_set():
    with pytest.raises(ValueError, match="no label set and no file 'modelnet-40'; did you mean 'modelnet40'"):
        labels.label_set("modelnet-40")


@pytest.mark.parametrize("batch", [1, 5, 100])
def test_embed_keeps_every_sentence_in_its_place(batch):
    wanted = LabelSet(name="two", classes=("chair", "a {odd} bed", "table"), templates=("the {}", "one {} here"))
    teacher = Counting()
    values = labels.embed(wanted, teacher, batch)
    assert (values.dtype, values.shape) == (np.float16, (3, 2, 2))
    assert max(teacher.batches) <= batch
    assert values.tolist() == [[[9, 116], [14, 111]], [[15, 116], [20, 111]], [[9, 116], [14, 111]]]


def test_embed_refuses_what_float16_cannot_hold():
    with pytest.raises(ValueError, match="teacher counting: text embeddings of one are not finite in float16"):
        labels.embed(LabelSet(name="one", classes=("chair",), templates=("the {}",)), Counting(scale=1e6))


def test_a_real_teacher_and_one_without_text():
    wanted = LabelSet(name="two", classes=("chair", "bed"), templates=("the {}", "one {}"))
    teacher = catalog.load("starter-resnet")
    values = labels.embed(wanted, teacher)
    np.testing.assert_allclose(values[1, 0], teacher.embed_texts(["the bed"])[0].numpy(), rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="no text side"):
        labels.embed(wanted, catalog.load(f"transformers:{dino()}"))


@pytest.mark.parametrize("classes", [["t-bar", "t_bar"], ["T bar", "chair", "t bar"], ["C", "c"]])
def test_classes_that_read_alike_make_no_label_set(classes, tmp_path):
    with pytest.raises(ValueError, match="read alike, so that no sentence tells them apart; give them different words"):
        labels.label_set("source", classes)
    (tmp_path / "mine.txt").write_text("\n".join(classes))
    with pytest.raises(ValueError, match="read alike"):
        labels.label_set(str(tmp_path / "mine.txt"))


@pytest.mark.parametrize(
    "name", ["..txt", ".json", "...txt", "a..b.txt", "my names.txt", "möbel.txt", "-x.txt", "a\nb.txt", "x" * 101 + ".txt"]
)
def test_the_name_of_a_file_becomes_a_path_and_is_checked(tmp_path, name):
    (tmp_path / name).write_text("chair\n")
    with pytest.raises(ValueError, match="cannot be a file name here"):
        labels.label_set(str(tmp_path / name))


def test_bytes_of_label_files(tmp_path):
    (tmp_path / "mine.txt").write_bytes(b"\xef\xbb\xbfchair\r\ntable\r\n")
    assert labels.label_set(str(tmp_path / "mine.txt")).classes == ("chair", "table")
    (tmp_path / "mine.txt").write_bytes("möbel".encode("latin-1"))
    with pytest.raises(ValueError, match="no UTF-8 text"):
        labels.label_set(str(tmp_path / "mine.txt"))
    (tmp_path / "mine.json").write_text('["chair", " "]')
    with pytest.raises(ValueError, match="the class name number 2 is empty"):
        labels.label_set(str(tmp_path / "mine.json"))


def test_label_files_without_a_cache_have_the_bytes_of_a_cache(built, tmp_path):
    cache = open_cache(built)
    (record,) = [r for r in cache.of(LABELS) if r.labels.name == "source"]
    words, file = tmp_path / "words.json", tmp_path / "a.safetensors"
    words.write_text(json.dumps({"classes": record.labels.classes, "templates": record.labels.templates}))
    code, _, err = run("labels", words, "--teacher", "starter-resnet", file, "--device", "cpu")
    assert code == 0 and f"{file} now has the label set words: {len(record.labels.classes)} classes" in err, err
    found = label_files.read(file)
    assert np.array_equal(found.embeddings, cache.column(record.product)) and found.made_by == record.made_by
    assert fingerprint(found.teacher) == fingerprint(record.spec) and found.labels.classes == record.labels.classes
    code, _, err = run("labels", "--names", " chair,coffee table ", "--teacher", "starter-resnet", tmp_path / "own.safetensors")
    assert code == 0, err
    own = label_files.read(tmp_path / "own.safetensors").labels
    assert own == LabelSet(name="own", classes=("chair", "coffee table"), templates=labels.TEMPLATES)


NAMES = ("labels", "--names", "a,b", "--teacher", "starter-resnet")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ((*NAMES, "OUT.txt"), "ends in .safetensors"),
        ((*NAMES, "modelnet40", "OUT.safetensors"), "either SET and OUT.safetensors, or --names"),
        (("labels", "--names", "a,A", "--teacher", "starter-resnet", "OUT.safetensors"), "read alike"),
        (("labels", "--names", "a,,b", "--teacher", "starter-resnet", "OUT.safetensors"), "number 2 is empty"),
        ((*NAMES, "--teacher", "starter-regnet", "OUT.safetensors"), "run the command once for each"),
        ((*NAMES, "--overlay", "x.zarr", "OUT.safetensors"), "--overlay would have no effect with --teacher"),
        (("labels", "modelnet40", "OUT.safetensors"), "or a teacher for a label file"),
        (("labels", "--names", "a,b", "x.zarr", "modelnet40"), "--names would have no effect without --teacher"),
        (("labels", "source", "--teacher", "starter-resnet", "OUT.safetensors"), "source stands for names in a cache"),
        (("labels", "--names", "a", "--teacher", "starter-attributes", "OUT.safetensors"), "reads no text"),
        (("labels", "--names", "a", "--teacher", "no-such", "OUT.safetensors"), "no-such"),
    ],
)
def test_what_no_label_file_can_be_made_of_is_one_line(command, said, tmp_path):
    words = [str(tmp_path / word) if word.startswith("OUT") else word for word in command]
    code, _, err = run(*words)
    assert code == 2 and said in err and err.strip().splitlines()[-1].startswith("mmpd-cache: "), err
    assert not list(tmp_path.iterdir())
