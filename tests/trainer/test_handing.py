"""A run that is handed on: what travels, what stays here, and what is refused. Without the package of the hub; see test_runs_afar.py."""

import dataclasses
import getpass
import json
import pickle
import re
import shutil

import numpy as np
import pytest
import safetensors
import torch

from cache_schema import local, store
from cache_schema.errors import UserError
from cache_schema.spec import PointSpec
from pipeline import edits
from tests.boxes import Silent
from tests.growth import grow
from tests.trainer.conftest import LABELS, RANDOM, config_of, keep, write_small
from trainer import card, checkpoint, classifiers, handing, labels
from trainer.loop import train
from trainer.model import Model
from trainer.tasks import catalog


@pytest.fixture(scope="module")
def run(cache_path, tmp_path_factory):
    """A run with an average of its weights, a result, a label set and a kept classifier that name places, and things that must stay."""
    run = tmp_path_factory.mktemp("home") / "janedoe" / "mine"
    train(config_of("align", "optim.ema=0.9"), [cache_path], run, device="cpu")
    loaded = checkpoint.load(run)
    catalog.save(
        catalog.evaluate("zeroshot", loaded, store.open_cache(cache_path), catalog.options("zeroshot", ["labels=source"]), None), run
    )
    labels.add(loaded, cache_path, "source")
    said = {"mmpd": json.dumps({"model": f"{run}/deep/model.bin", "classes": ["cone"]})}
    safetensors.torch.save_file({"embeddings": torch.arange(6.0).view(2, 3)}, run / "labels" / "one@me.safetensors", said)
    keep(loaded, cache_path, "shapes")
    (run / "notes.txt").write_text("secret")
    (run / "labels" / "evil.pkl").write_bytes(pickle.dumps("x"))
    return run


@pytest.fixture(scope="module")
def pushed(run, tmp_path_factory):
    place = tmp_path_factory.mktemp("places") / "mine"
    told = []
    handing.push(run, str(place), allow_unknown=True, say=told.append)
    assert "licence is not known" in told[0]
    return place


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_weights_results_and_a_card_travel_and_nothing_else(run, pushed, cache_path):
    assert files(pushed) == {
        "model.safetensors", "config.json", "README.md", "curves.png", "labels/one@me.safetensors", "labels/source@random-a.safetensors",
        "classifiers/shapes.safetensors",
        *(f"eval/{path.name}" for path in (run / "eval").glob("*.json")),
    }  # fmt: skip
    for name in files(pushed):
        data = (pushed / name).read_bytes()
        for secret in (str(run), str(run.parent), str(cache_path.parent), "janedoe"):
            assert secret.encode() not in data, f"{name} holds {secret}"
    # The average over steps is the run's result: it travels as the weights, so the digest stays.
    assert checkpoint.weights(pushed) == checkpoint.weights(run)
    with safetensors.safe_open(pushed / "model.safetensors", "pt") as opened:
        assert all(name.startswith("model.") for name in opened.keys())
    points = torch.rand(2, 64, 3)
    mine, theirs = (checkpoint.load(place).model.features(points, ordered=False) for place in (run, handing.fetch(str(pushed))))
    torch.testing.assert_close(mine.summary, theirs.summary, rtol=0, atol=0)
    with safetensors.safe_open(pushed / "labels" / "one@me.safetensors", "pt") as opened:
        assert torch.equal(opened.get_tensor("embeddings"), torch.arange(6.0).view(2, 3))
        assert json.loads(opened.metadata()["mmpd"]) == {"model": "deep/model.bin", "classes": ["cone"]}  # relative to the run


def test_the_card_says_where_the_run_comes_from_and_what_it_scored(run, pushed, cache_path):
    text = (pushed / "README.md").read_text()
    head = dict(line.split(": ", 1) for line in text.split("---\n")[1].splitlines())
    assert head["license"] == "unknown" and head["library_name"] == "mmpd" and head["pipeline_tag"] == "feature-extraction"
    assert checkpoint.weights(run) in text
    (result,) = (json.loads(path.read_text()) for path in (run / "eval").glob("*.json"))
    metric = result["scores"]["metrics"][0]
    low, high = metric["interval"]
    assert f"[{low:.1f}, {high:.1f}] | {metric['shapes']} shapes | {metric['chance']:.1f} |" in text
    manifest = store.open_cache(cache_path)
    for name in ("points", "image/random-a", "text/random/random-a"):
        if name in manifest.products():
            assert f"`{manifest.products()[name].fingerprint}`" in text
    assert "38 shapes" in text and "small.zarr" in text and "64 points" in text and "no colours" in text
    assert "not known: 38 shapes of small.zarr" in text
    assert re.search(r"Model\.from_pretrained\(\"mine\"\)\nvectors = model\.embed\(clouds\)", text)


def test_a_pulled_run_is_an_ordinary_run(run, pushed, cache_path, tmp_path):
    sizes = handing.pull(str(pushed), tmp_path / "theirs")
    assert sizes["last.safetensors"] == (tmp_path / "theirs" / "last.safetensors").stat().st_size
    loaded = checkpoint.load(tmp_path / "theirs")
    assert loaded.weights == checkpoint.weights(run) and loaded.header.caches[0].path == "small.zarr"
    again = catalog.evaluate("zeroshot", loaded, store.open_cache(cache_path), catalog.options("zeroshot", ["labels=source"]), None)
    (before,) = (json.loads(path.read_text()) for path in (run / "eval").glob("*.json"))
    assert [list(metric.values) for metric in again.scores.metrics] == [metric["values"] for metric in before["scores"]["metrics"]]
    handing.push(tmp_path / "theirs", str(tmp_path / "on"), caches=[cache_path], allow_unknown=True)  # and can be handed on itself
    assert checkpoint.weights(tmp_path / "on") == checkpoint.weights(run)
    with pytest.raises(UserError, match="exists; give a new folder"):
        handing.pull(str(pushed), tmp_path / "theirs")


def test_label_sets_and_classifiers_come_along(pushed, tmp_path):
    handing.pull(str(pushed), tmp_path / "theirs")
    (tmp_path / "theirs" / "labels" / "one@me.safetensors").unlink()  # no label set, but a file with a name of one
    model = Model.from_pretrained(tmp_path / "theirs", "cpu")
    assert model.label_sets == {"source": ("random-a",)} and model.classifiers == ("shapes",)
    assert model.classify(torch.rand(64, 3), "source").classes == ("cone", "cube", "torus")
    handing.push(tmp_path / "theirs", str(pushed.parent / "again"), allow_unknown=True)
    handing.push(tmp_path / "theirs", str(pushed.parent / "again"), allow_unknown=True)
    (tmp_path / "theirs" / "labels" / "o ne@me.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="cannot be a file name"):
        handing.push(tmp_path / "theirs", str(tmp_path / "place"), allow_unknown=True)


def test_the_training_goes_along_if_asked(run, cache_path, tmp_path):
    handing.push(run, str(tmp_path / "all"), allow_unknown=True, training=True)
    handing.pull(str(tmp_path / "all"), tmp_path / "theirs")
    mine, theirs = (checkpoint.read(place)[2] for place in (run, tmp_path / "theirs"))
    assert mine.keys() == theirs.keys() and any(name.startswith("optimizer.") for name in mine)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_licences_are_obeyed(run, cache_path, tmp_path):
    with pytest.raises(UserError, match=r"nobody knows whether .*: 38 shapes of small.zarr, .* add --allow-unknown"):
        handing.push(run, str(tmp_path / "place"))
    copy = tmp_path / "forbids.zarr"
    shutil.copytree(cache_path, copy)
    cache = store.open_cache(copy)
    record = cache.products()["image/random-a"]
    cache.rewrite_record(dataclasses.replace(record, spec=dataclasses.replace(record.spec, licence="CC BY-ND 4.0")))
    with pytest.raises(UserError, match=r"must not be given away: teacher random-a \(CC BY-ND 4.0: it forbids"):
        handing.push(run, str(tmp_path / "place"), caches=[copy], allow_unknown=True)
    assert not (tmp_path / "place").exists()


def test_licences_of_classifiers_are_obeyed(run, cache_path, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    study = tmp_path / "study.zarr"
    write_small(study, shapes=48, points=PointSpec(count=64, blocks=1, ordered=32), licence="CC BY-ND 4.0")
    keep(checkpoint.load(tmp_path / "run"), study, "study")
    with pytest.raises(UserError, match=r"must not be given away: shapes of classifier study \(CC BY-ND 4.0: it forbids"):
        handing.push(tmp_path / "run", str(tmp_path / "place"), caches=[study], allow_unknown=True)
    with pytest.raises(UserError, match=r"nobody knows whether .* classifier study, trained on study, which is not here"):
        handing.push(tmp_path / "run", str(tmp_path / "place"))
    (tmp_path / "run" / "classifiers" / "junk.safetensors").write_bytes(b"junk of no kind")
    with pytest.raises(UserError, match=r"junk.safetensors is no safetensors file"):
        handing.push(tmp_path / "run", str(tmp_path / "place"), allow_unknown=True)
    # A cache that is where the run was trained on it need not be named.
    train(config_of("align", "optim.epochs=1"), [study], tmp_path / "own", device="cpu")
    keep(checkpoint.load(tmp_path / "own"), study, "study")
    with pytest.raises(UserError, match=r"48 shapes of study.zarr|must not be given away: .*shapes of classifier study"):
        handing.push(tmp_path / "own", str(tmp_path / "place"), allow_unknown=True)
    assert not (tmp_path / "place").exists()


def holders(loaded, *caches):
    """Who is under which licence, without teachers."""
    found = card.gathered(loaded, caches).holders
    return {
        licence: kept for licence, who in found.items() if (kept := [one for one in who if not one.startswith(("teacher", "captions"))])
    }


@pytest.fixture
def homed(tmp_path):
    """A cache under MIT, a run on it, and a cache of other data under the same names, with another licence and equal fingerprints."""
    home, other = tmp_path / "home.zarr", tmp_path / "other.zarr"
    write_small(home, licence="MIT")
    write_small(other, licence="CC BY-ND 4.0", seed=1)
    train(config_of("distill", *ALONE), [home], tmp_path / "run", device="cpu")
    both = [{name: record.fingerprint for name, record in store.open_cache(path).products().items()} for path in (home, other)]
    assert both[0] == both[1]
    return home, other, checkpoint.load(tmp_path / "run")


def test_a_cache_of_the_same_names_and_other_data_is_not_the_one(homed, tmp_path):
    home, other, loaded = homed
    assert holders(loaded, other) == {"MIT": ["38 shapes of home.zarr"]}
    moved = home.rename(tmp_path / "moved.zarr")
    wrong = "cache home.zarr, which is not here; other.zarr has shapes of the same names and other data"
    assert holders(loaded, other) == {"": [wrong]}
    assert holders(loaded, other, moved) == {"MIT": ["38 shapes of home.zarr"]}
    handing.push(loaded.run, str(tmp_path / "place"), caches=[other], allow_unknown=True)
    text = (tmp_path / "place" / "README.md").read_text()
    assert "The cache was not here when this card was written, so its licences are not known" in text
    other.rename(home)
    assert holders(loaded) == {"": ["cache home.zarr, which has other data by now"]}
    # A checkpoint of an earlier version has no digest of the data: then it is said that nothing was compared.
    older = dataclasses.replace(loaded.header, caches=(dataclasses.replace(loaded.header.caches[0], data=""),))
    facts = card.gathered(dataclasses.replace(loaded, header=older), [moved])
    assert facts.data[0].shapes == {"MIT": 38} and not facts.data[0].compared
    assert "their data could not be compared" in card._data(facts)
    assert card.gathered(dataclasses.replace(loaded, header=older), []).data[0].compared, "it lies where it was then"


def test_a_cache_that_has_grown_is_the_one_and_its_new_shapes_do_not_count(homed, tmp_path):
    home, _, loaded = homed
    before = card.gathered(loaded, [])
    grown = grow(
        shutil.copytree(home, tmp_path / "grown.zarr"), labels=LABELS, points=PointSpec(count=64, blocks=2, ordered=32), guide=RANDOM
    )
    shutil.rmtree(home)
    after = card.gathered(loaded, [grown.path])
    assert grown.products()["index"].fingerprint != dict(loaded.header.caches[0].products)["index"]
    assert after.holders == before.holders and after.data[0].shapes == {"MIT": 38}
    assert before.data[0].classes == 3 and after.data[0].classes == 0, "it may have more of them by now"


def test_a_cache_with_other_splits_gives_the_licences_of_all_its_shapes(homed, tmp_path):
    home, _, loaded = homed
    table = tmp_path / "splits.csv"
    table.write_text("id,split\n" + "".join(f"{name},test\n" for name in store.open_cache(home).ids()))
    edits.relabel(home, table, Silent())
    facts = card.gathered(loaded, [])
    assert holders(loaded) == {"MIT": ["shapes of home.zarr"]} and not facts.data[0].sure
    assert "38 shapes. Which of its shapes these are is not known by now" in card._data(facts)


def test_a_product_that_was_made_anew_is_not_known(run, cache_path, tmp_path):
    copy, loaded = shutil.copytree(cache_path, tmp_path / "small.zarr"), checkpoint.load(run)
    used = loaded.header.caches[0]
    made = tuple((name, "0" * 16 if name.startswith(("image/random-b", "labels/", "index")) else value) for name, value in used.products)
    changed = dataclasses.replace(loaded.header, caches=(dataclasses.replace(used, products=made, path="/gone/small.zarr"),))
    facts = card.gathered(dataclasses.replace(loaded, header=changed), [copy])
    assert facts.data[0].lost == ("image/random-b",), "class names are embedded by a teacher that is known by its pictures"
    assert "image/random-b of small.zarr, which was made anew since" in facts.holders[""]
    assert re.search(r"\| image/random-b \| +\| not known, it was made anew since \|", card._data(facts))


def test_what_a_run_remembers_of_runs_that_are_gone_counts(homed, tmp_path):
    home, other, loaded = homed
    later, guide = tmp_path / "later", loaded.run
    train(config_of("distill", *ALONE, "data.splits=test"), [other], later, device="cpu", init=guide)
    both = {"MIT": ["38 shapes of home.zarr of the run that it started from"], "CC BY-ND 4.0": ["20 shapes of other.zarr"]}
    assert holders(checkpoint.load(later)) == both
    shutil.rmtree(guide)
    assert holders(checkpoint.load(later)) == both
    loaded = checkpoint.load(later)
    init = dataclasses.replace(loaded.header.init, unknown=("unknown data (imported from pretrain.pth)",))
    foreign = dataclasses.replace(loaded, header=dataclasses.replace(loaded.header, init=init))
    assert holders(foreign)[""] == ["unknown data (imported from pretrain.pth) of the run that it started from"]
    old = dataclasses.replace(loaded, header=dataclasses.replace(loaded.header, init=dataclasses.replace(init, unknown=None)))
    assert holders(old)[""] == ["the run that it started from, whose run is not here"]
    shutil.rmtree(home)
    assert holders(loaded)[""] == ["cache home.zarr of the run that it started from, which is not here"]


def test_a_classifier_has_the_licences_of_the_shapes_that_it_learned_from(homed):
    home, other, loaded = homed
    keep(loaded, home, "mine")
    gone = home.rename(home.with_name("away.zarr"))
    assert card._of_classifier(loaded, "mine", [store.open_cache(other)]) == [("", "classifier mine, trained on home, which is not here")]
    assert card._of_classifier(loaded, "mine", [store.open_cache(gone)]) == [("MIT", "shapes of classifier mine")]
    cache = store.open_cache(gone)
    cache.manifest = dataclasses.replace(cache.manifest, licences=("MIT", "CC BY-ND 4.0"))
    licence = np.arange(60) % 2
    licence[np.asarray(classifiers.learned(loaded.run, "mine").rows)] = 0
    cache.column = lambda path, plain=cache.column: licence if path == "licence" else plain(path)
    assert card._of_classifier(loaded, "mine", [cache]) == [("MIT", "shapes of classifier mine")], "those that failed gave nothing"


def test_licences_are_known_after_each_hop(cache_path, tmp_path):
    home = tmp_path / "home.zarr"
    write_small(home, shapes=48, licence="MIT")
    train(config_of("distill", *ALONE), [home], tmp_path / "run", device="cpu")
    handing.push(tmp_path / "run", str(tmp_path / "0"))
    home.rename(tmp_path / "gone.zarr")
    for hop in range(2):
        handing.pull(str(tmp_path / f"{hop}"), tmp_path / f"run{hop}")
        handing.push(tmp_path / f"run{hop}", str(tmp_path / f"{hop + 1}"))
    text = (tmp_path / "2" / "README.md").read_text()
    assert text.count("shapes of home.zarr (as whoever pushed the run says)") == 1 and "nobody has checked" in text
    # The licence of the pulled run counts for a run that starts from it, but not for a classifier that was added since.
    train(config_of("distill", *ALONE), [tmp_path / "gone.zarr"], tmp_path / "next", device="cpu", init=tmp_path / "run1")
    handing.push(tmp_path / "next", str(tmp_path / "nexts"))
    keep(checkpoint.load(tmp_path / "run1"), cache_path, "mine")
    with pytest.raises(UserError, match=r"classifier mine, trained on small, which is not here"):
        handing.push(tmp_path / "run1", str(tmp_path / "p"))
    shutil.rmtree(tmp_path / "run1" / "classifiers")
    # A statement about other weights, or none, as in older files, leaves them unknown.
    for harm in (lambda said: said.update(digest="0" * 64), lambda said: said.pop("holders")):
        shutil.rmtree(tmp_path / "other", ignore_errors=True)
        shutil.copytree(tmp_path / "run0", tmp_path / "other")
        change(tmp_path / "other", harm)
        with pytest.raises(UserError, match=r"cache home.zarr, which is not here"):
            handing.push(tmp_path / "other", str(tmp_path / "p"))
    change(tmp_path / "run0", lambda said: said.update(holders=[["no-redistribution", ["shapes"]]]))
    with pytest.raises(UserError, match=r"must not be given away: shapes \(as whoever"):
        handing.push(tmp_path / "run0", str(tmp_path / "p"), allow_unknown=True)


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-9]), "does not match its checksum"),
        (lambda f: (f / "eval").rename(f / "gone"), "is not there"),
        (lambda f: (f / "config.json").write_text("{}"), "describes no run of this project"),
        (lambda f: (f / "config.json").write_text("[" * 9999), "is damaged"),
        (lambda f: (f / "config.json").unlink(), "holds no run"),
        (lambda f: change(f, lambda m: m.update(format=7)), "has format 7, this software reads 1"),
        (lambda f: change(f, lambda m: m["files"][0].update(name="../../evil.png")), "cannot be a file name|no file of a run"),
        (lambda f: change(f, lambda m: m["files"][0].update(name="evil.pkl")), "no file of a run"),
        (lambda f: change(f, lambda m: m.update(digest="0" * 64)), "are not those of its config.json"),
    ],
)
def test_a_damaged_or_strange_place_is_named_and_nothing_of_it_is_kept(pushed, tmp_path, harm, says):
    place = tmp_path / "place"
    shutil.copytree(pushed, place)
    harm(place)
    with pytest.raises(UserError, match=says):
        handing.pull(str(place), tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()


def test_a_damaged_folder_is_not_loaded_either(pushed, tmp_path):
    place = tmp_path / "place"
    shutil.copytree(pushed, place)
    for name in ("model.safetensors", "classifiers/shapes.safetensors"):
        data = bytearray((place / name).read_bytes())
        with safetensors.safe_open(place / name, "pt") as opened:
            assert not list(opened.keys())[-1].startswith("model.encoder")
        data[-1] ^= 64  # in a head, which does not enter the digest of the weights
        (place / name).write_bytes(data)
        with pytest.raises(UserError, match=f"{name} of .* does not match its checksum"):
            handing.fetch(str(place))
        shutil.copy(pushed / name, place / name)
    handing.fetch(str(place))
    change(place, lambda said: said.update(digest="0" * 64))
    with pytest.raises(UserError, match=r"are not those of its config.json"):
        handing.fetch(str(place))
    (place / "config.json").write_text("{}")
    with pytest.raises(UserError, match="describes no run of this project"):
        handing.fetch(str(place))


ALONE = ("start=random", "distill.local_weight=0", "distill.global_weight=0", "distill.reconstruction_weight=1", "optim.epochs=1")
"""Settings of a stage 2 that needs no guide and no teacher, so its licences are those of its shapes."""


def change(folder, how):
    body = json.loads((folder / "config.json").read_text())
    how(body["mmpd"])
    (folder / "config.json").write_text(json.dumps(body))


def test_a_place_with_something_else_is_left_alone(run, aligned, pushed, tmp_path):
    handing.push(run, str(pushed), allow_unknown=True)  # the same run again
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds thesis.txt and no run"):
        handing.push(run, str(other), allow_unknown=True)
    with pytest.raises(UserError, match=r"holds another run .*--replace"):
        handing.push(aligned, str(pushed), allow_unknown=True)
    with pytest.raises(UserError, match="a run is a model: give hf://USER/NAME"):
        handing.push(run, "hf://datasets/me/chairs", allow_unknown=True)
    with pytest.raises(UserError, match="--public is for models on the hub"):
        handing.push(run, str(tmp_path / "p"), public=True, allow_unknown=True)


def test_names_of_this_user_do_not_go_out(run, tmp_path, monkeypatch):
    monkeypatch.setattr(local.getpass, "getuser", lambda: "carolmiller")
    assert getpass.getuser() == "carolmiller"
    copy = tmp_path / "carolmiller-run"
    shutil.copytree(run, copy)
    handing.push(copy, str(tmp_path / "place"), allow_unknown=True)
    for name in files(tmp_path / "place") - {"model.safetensors", "curves.png"}:
        assert b"carolmiller" not in (tmp_path / "place" / name).read_bytes(), name


def test_fetch_names_what_it_cannot_find(tmp_path):
    with pytest.raises(UserError, match="no name of a model on the hub, which is USER/NAME"):
        handing.fetch("chairs")
    with pytest.raises(UserError, match="fetch it first, mmpd-train pull s3://lab/chairs RUN"):
        handing.fetch("s3://lab/chairs")
