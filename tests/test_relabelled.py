"""Captions after `mmpd-cache relabel`, by the commands a user types: a training says that they are old, how they are written anew, and
nothing more once they are."""

import importlib.util
import json
import re
import shlex

import pytest

from cache_schema.store import open_cache
from tests.forks import Command
from tests.test_learning import assigned, train
from trainer import checkpoint

pytestmark = [pytest.mark.skipif(importlib.util.find_spec("open_clip") is None, reason="builds a cache"), pytest.mark.timeout(600)]

SENTENCES = ["a {}.", "one {}, that is it", "the shape of a {}"]
SETTINGS = ("samples=2", "keep=2", "seed=5", f"templates={json.dumps(SENTENCES)}")


def pipeline(tmp_path, *command):
    made = Command(("mmpd-cache", *command), tmp_path / f"said-{len(list(tmp_path.iterdir()))}")
    assert made.end() == 0, made.err


def said(path):
    """The texts about each shape, and the products made of them."""
    cache = open_cache(path)
    texts = [bytes(cell).rstrip(b"\0").decode() for cell in cache.array("captions/names/text")[:].reshape(-1, 256)]
    return texts, sorted(name for name in cache.products() if "names" in name), cache.record("captions/names").spec


def noted(path, run):
    """The notes of a training on the cache that speak of relabelling."""
    train("align", path, run, "--recipe", "tiny", *assigned("optim.epochs=0", "optim.batch=4", "data.templates=0"))
    return [note for note in checkpoint.header(run).notes if "relabel" in note]


def test_the_command_of_a_note_writes_the_captions_that_there_were(tmp_path):
    path = tmp_path / "s.zarr"
    source = ("source.classes=chair,lamp", "source.count=6", "views.size=96", "teachers=starter-resnet", "captions=none")
    pipeline(tmp_path, "build", "starter", path, "--recipe", "smoke", *assigned(*source))
    pipeline(tmp_path, "add-captioner", path, "names=template", *assigned(*SETTINGS))
    before, made, spec = said(path)
    assert noted(path, tmp_path / "first") == []
    first = str(open_cache(path).ids()[0])
    (tmp_path / "new.csv").write_text(f"id,class\n{first},stool\n")
    pipeline(tmp_path, "relabel", path, tmp_path / "new.csv")
    (note,) = noted(path, tmp_path / "second")
    assert note.startswith("captions/names of s.zarr says another class of 1 of ")
    for command in re.findall(r"`(mmpd-cache (?:remove|add-captioner) [^`]*)`", note):
        pipeline(tmp_path, *(str(path) if word == "CACHE" else word for word in shlex.split(command)[1:]))
    after, again, now = said(path)
    count = len(before) // open_cache(path).manifest.shapes
    assert after[count:] == before[count:] and after[:count] == [text.replace("chair", "stool") for text in before[:count]]
    assert (again, now) == (made, spec)
    assert noted(path, tmp_path / "third") == []
