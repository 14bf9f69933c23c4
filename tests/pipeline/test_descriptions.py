"""Captions of what a source states: nothing is invented, wrong ones are wrong in one thing, and caches keep them apart from right ones."""

import dataclasses
import difflib
import gzip
import json
import re
import shutil
import sys
import threading

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast
from typer.testing import CliRunner

from cache_schema import layout, products, store, validate
from cache_schema.errors import Partial, UserError
from cache_schema.files import journal_file
from cache_schema.lacking import lacking_ids, textless
from cache_schema.spec import CUT, CaptionSpec
from pipeline import building, captioning, cli, cli_make, findings, lengths, render, repair
from pipeline.append import Wanted, append
from pipeline.captioners import catalog as captioners
from pipeline.captioners import descriptions
from pipeline.cli import app
from pipeline.recipes import SourceConfig
from pipeline.snapshot import Snapshot
from pipeline.sources import objaverse
from pipeline.sources.catalog import open_source
from pipeline.starter import shapes
from pipeline.statements import Sort, Statement, Variety, stated, varied
from pipeline.teachers import catalog as teachers
from pipeline.teachers import openclip
from pipeline.words import adjective, counted, listed, plural, several, with_article
from pipeline.work import Machine
from tests.boxes import Silent, box_off, contents, write_meshes
from tests.pipeline import made_up_captioner
from tests.pipeline.conftest import small

CPU = Machine(workers=1, device="cpu")
RIGHT = captioners.CAPTIONERS["descriptions"].spec
WRONG = captioners.CAPTIONERS["wrong-descriptions"].spec
CHAIR = Statement(
    name="chair",
    design="swivel chair",
    style=("padded",),
    color="brown",
    material="fabric",
    parts=(Sort(noun="wheel", count=5, color="grey", material="metal"), Sort(noun="armrest", count=2)),
)
OTHERS = Variety(
    colors=("black", "brown", "grey"), materials=("fabric", "wood"), counts=(("wheel", (4, 5)), ("armrest", (2,))), absent=(("leg", (4,)),)
)


NOTHING = Variety()


def told(spec, statement, variety=NOTHING, key="one"):
    return dict(zip(spec.kinds, captioners.load(spec).tell(key, statement, variety), strict=True))


# ------------------------------------------------------------------------------------------------------------ the texts


def test_english():
    assert [plural(one) for one in ("leg", "shelf", "cross", "box", "bench", "brush", "battery", "tray", "Battery")] == [
        "legs",
        "shelves",
        "crosses",
        "boxes",
        "benches",
        "brushes",
        "batteries",
        "trays",
        "Batteries",
    ]
    assert (with_article("oval table"), with_article("stairs"), several(1, "lid"), several(6, "drawer"), several(7, "drawer")) == (
        "an oval table",
        "stairs",
        "a lid",
        "six drawers",
        "many drawers",
    )
    assert (listed(["a"]), listed(["a", "b", "c"]), adjective("wood"), adjective("metal")) == ("a", "a, b and c", "wooden", "metal")


def test_words_of_other_sources_are_english_too():
    assert (with_article("Airplane"), with_article("")) == ("an Airplane", "")
    for wrong in ({"noun": " ", "count": 1}, {"noun": "leg", "count": 0}):
        with pytest.raises(UserError, match="needs a noun and a count of 1 or more"):
            Sort(**wrong)


def test_a_wrong_text_that_does_not_fit_into_its_cell_is_none():
    parts = tuple(Sort(noun=f"very long name of a part of the rack that somebody has written down as {i}", count=3) for i in range(3))
    rack = Statement(name="rack", color="red", parts=parts)
    others = Variety(colors=("red", "blue"), counts=tuple((part.noun, (3, 4)) for part in parts))
    for number in range(8):
        assert set(told(WRONG, rack, others, key=f"rack/{number}").values()) == {""}
    assert told(WRONG, dataclasses.replace(rack, parts=()), others)["color"].endswith("a blue rack")


def test_a_shape_is_told_in_three_lengths():
    for number in range(12):
        texts = told(RIGHT, CHAIR, key=f"chair/{number}")
        assert texts["name"] in {f"{first}{name}" for first in ("", "brown ", "padded ") for name in ("chair", "swivel chair")}
        bare = texts["sentence"].removeprefix("this is ").removeprefix("there is ")
        parts = bare.partition(" with ")[2]
        assert bare.startswith(("a padded brown fabric chair with", "a padded brown fabric swivel chair with"))
        assert parts in ("five grey wheels and two armrests", "two armrests and five grey wheels")
        assert texts["paragraph"].startswith("this is a swivel chair. it is ") and "five grey metal wheels" in texts["paragraph"]
        assert all(word in texts["paragraph"] for word in ("padded", "brown", "made of fabric", "two armrests"))
        assert len(texts["name"]) < len(texts["sentence"]) < len(texts["paragraph"])


def test_what_is_not_stated_is_not_said():
    assert told(RIGHT, Statement()) == {"name": "", "sentence": "", "paragraph": ""}
    texts = told(RIGHT, Statement(name="lamp"))
    assert texts["name"] == "lamp" and texts["sentence"].endswith("a lamp") and texts["paragraph"] == ""
    written = Statement(name="lamp", title="Old Lamp No. 3", tags=("iron", "old"), text="A lamp that I found. It is from Prague." * 20)
    texts = told(RIGHT, written)
    assert texts["sentence"].endswith("a lamp, called Old Lamp No. 3, tagged iron and old")
    assert written.text.startswith(texts["paragraph"]) and texts["paragraph"].endswith(".") and len(texts["paragraph"]) <= 256
    assert told(RIGHT, Statement(title="Old Lamp")) == {"name": "Old Lamp", "sentence": "called Old Lamp", "paragraph": ""}


def test_words_of_a_text_are_those_of_the_statement():
    """Of the starter collection, whose descriptions are the truth."""
    source = open_source("starter", count="24", classes="chair,lamp,bed,boat")
    frame = set("this is there it has a an with and made of".split())
    for entry in source.entries:
        one = stated(source.reader, entry)
        truth = shapes.make(0, int(entry.locator)).description
        assert (one.name, one.color, one.material, one.style) == (truth.kind, truth.color, truth.material, truth.style)
        assert [(part.noun, part.count) for part in one.parts] == [(part.noun, part.count) for part in truth.parts]
        known = frame | {*one.name.split(), *one.design.split(), *one.style, one.color, one.material, adjective(one.material)}
        for part in one.parts:
            nouns = {*part.noun.split(), *plural(part.noun).split()}
            known |= nouns | {counted(part.count), part.color, part.material, adjective(part.material)}
        for text in told(RIGHT, one, key=entry.id).values():
            assert text and set(text.replace(",", "").replace(".", "").split()) <= known, text


def test_a_wrong_text_is_the_sentence_with_one_thing_exchanged():
    for number in range(12):
        key = f"chair/{number}"
        right = told(RIGHT, CHAIR, key=key)["sentence"]
        for kind, text in told(WRONG, CHAIR, OTHERS, key=key).items():
            matched = difflib.SequenceMatcher(None, right.split(), text.split()).get_opcodes()
            changed = [(right.split()[a:b], text.split()[c:d]) for tag, a, b, c, d in matched if tag != "equal"]
            before = " ".join(word for one, _ in changed for word in one)
            after = " ".join(word for _, one in changed for word in one)
            assert (before, after) in {
                "color": {("brown", "black")},  # a wheel is grey
                "material": {("fabric", "wooden")},
                "count": {("five", "four")},  # all have two armrests
                "part": {("five grey wheels", "four legs"), ("two armrests", "four legs")},
            }[kind]


def test_where_nothing_can_be_exchanged_there_is_no_wrong_text():
    assert set(told(WRONG, CHAIR, Variety()).values()) == {""}
    assert set(told(WRONG, Statement(name="chair"), OTHERS).values()) == {""}
    same = dataclasses.replace(OTHERS, colors=("brown", "grey"), materials=("fabric", "metal"), counts=(("wheel", (5,)),), absent=())
    assert set(told(WRONG, CHAIR, same).values()) == {""}, "what another part has is not exchanged for either"
    many = dataclasses.replace(CHAIR, parts=(Sort(noun="bar", count=8),))
    assert told(WRONG, many, Variety(counts=(("bar", (7, 8, 9)),)))["count"] == "", "seven and eight are both many"


def test_wrong_texts_of_starter_shapes_are_wrong_and_of_their_kind():
    source = open_source("starter", count="24", classes="chair,lamp")
    for entry in source.entries:
        one, others = stated(source.reader, entry), varied(source.reader, entry)
        made = shapes.make(0, int(entry.locator))
        faces = {shapes.PARTS[label] for part in made.mesh.parts for label in np.unique(part.part) if label >= 0}
        absent = {noun for noun, _ in others.absent}
        assert not absent & faces and not absent & {part.noun for part in one.parts} and absent <= {noun for noun, _ in others.counts}
        assert varied(source.reader, dataclasses.replace(entry, id="other")) == others
        right = told(RIGHT, one, key=entry.id)
        assert all(text not in right.values() for text in told(WRONG, one, others, key=entry.id).values())
    lamps = [varied(source.reader, entry) for entry in source.entries if entry.label == "lamp"]
    assert len({(one.colors, one.materials, one.counts) for one in lamps}) == 1 and lamps[0].counts, "what varies is of the kind"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"kinds": ("name", "color"), "samples": 2, "keep": 2},
            "kinds are name, sentence, paragraph, got 'color'. Wrong texts are captions of",
        ),
        ({"kinds": ("name", "tags"), "samples": 2, "keep": 2}, "writes no texts of the kind 'tags'"),
        ({"kinds": (), "samples": 1, "keep": 1}, "which texts of what the source states"),
        ({"prompt": "Say it."}, "captions.prompt has no effect with captioner 'descriptions'"),
    ],
)
def test_settings_that_make_no_texts_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        captioners.load(dataclasses.replace(RIGHT, **change))


def test_other_captioners_are_not_of_what_is_stated():
    with pytest.raises(UserError, match=r"captions.stated is for captioners of what a source states, not 'template'"):
        captioners.load(dataclasses.replace(captioners.CAPTIONERS["template"].spec, stated=True, per="shape"))
    with pytest.raises(UserError, match=r"set captions.per=shape and captions.sheet=0"):
        dataclasses.replace(RIGHT, sheet=4)
    with pytest.raises(UserError, match=r"captions.wrong is for texts about shapes of several kinds"):
        dataclasses.replace(WRONG, kinds=())
    assert descriptions.load(dataclasses.replace(RIGHT, stated=False), device="cpu").spec.stated


# ------------------------------------------------------------------------------------------------------------- sources


def test_objaverse_states_what_makers_wrote(tmp_path):
    root = tmp_path / "hf-objaverse-v1"
    objaverse.example(tmp_path)
    said = {
        "0a01": {
            "name": "Chair 7",
            "tags": [{"name": "oak"}, {"name": " old "}, {}],
            "description": "An oak chair,\nsee https://x.org/a?b .",
        },
        "0b02": {"name": 5, "tags": "none"},
    }
    (root / "metadata" / "000-001.json.gz").write_bytes(gzip.compress(json.dumps(said).encode()))
    source = open_source(str(root))
    one, two = (stated(source.reader, entry) for entry in source.entries)
    assert one == Statement(name="chair", title="Chair 7", tags=("oak", "old"), text="An oak chair, see .")
    assert two == Statement(name="lamp") and varied(source.reader, source.entries[0]) == Variety()


def test_scans_and_joined_sources_state_what_the_objects_do():
    plain = open_source("starter", count="2", classes="car")
    for location in ("scan:starter", "lidar:starter"):
        other = open_source(location, count="2", classes="car")
        assert {stated(other.reader, entry) for entry in other.entries} == {stated(plain.reader, entry) for entry in plain.entries}
        assert {varied(other.reader, entry) for entry in other.entries} == {varied(plain.reader, entry) for entry in plain.entries}


# --------------------------------------------------------------------------------------------------------------- caches


def config(*options, **changes):
    plain = small(**{"captions": None, "teachers": ("starter-resnet",), "labels": ()} | changes)
    return dataclasses.replace(plain, source=SourceConfig(options=tuple(f"{one}" for one in options)))


@pytest.fixture(scope="module")
def chairs(tmp_path_factory):
    """Six starter shapes in two shards, with their descriptions and wrong ones."""
    path = tmp_path_factory.mktemp("chairs") / "chairs.zarr"
    made = building.build_cache("starter", path, config("count=6", "classes=chair,table"), CPU, Silent())
    for spec in (RIGHT, WRONG):
        captioning.add_captioner(path, spec, 8, CPU, Silent())
    assert validate.problems(path) == []
    return made.path


def texts_of(cache, name):
    return layout.texts(cache.column(f"captions/{name}/text"))[:, 0]


def test_a_cache_gets_the_texts_that_its_source_states(chairs):
    cache, source = store.open_cache(chairs), open_source("starter", count="6", classes="chair,table")
    for spec in (RIGHT, WRONG):
        for entry, texts in zip(source.entries, texts_of(cache, spec.name), strict=True):
            variety = varied(source.reader, entry) if spec.wrong else Variety()
            assert dict(zip(spec.kinds, texts, strict=True)) == told(spec, stated(source.reader, entry), variety, entry.id)
    teacher = teachers.load("starter-resnet")
    for name in ("descriptions", "wrong-descriptions"):
        stored, texts = cache.array(f"text/{name}/starter-resnet")[:], texts_of(cache, name)
        longer = np.reshape(teacher.too_long(texts.ravel().tolist()), texts.shape)
        empty = (texts == "") | (longer & (name == "wrong-descriptions"))
        assert np.array_equal(~stored.any(axis=-1), empty)
        assert cache.record(f"text/{name}/starter-resnet").cut == (longer & (texts != "")).sum()


def test_a_build_makes_them_too_and_goes_on_where_it_was_stopped(chairs, tmp_path, monkeypatch):
    """The bytes are those of `add-captioner`, and of a build that nobody stopped."""
    asked = dataclasses.replace(config("count=6", "classes=chair,table"), captions=RIGHT)
    plain, rows = descriptions.Descriptions.tell, []

    def stopped(self, key, statement, variety):
        rows.append(key)
        if len(rows) > 5:
            raise UserError("stopped")
        return plain(self, key, statement, variety)

    with monkeypatch.context() as patch:
        patch.setattr(descriptions.Descriptions, "tell", stopped)
        with pytest.raises(UserError, match="stopped"):
            building.build_cache("starter", tmp_path / "c.zarr", asked, CPU, Silent())
    begun = store.open_cache(tmp_path / "c.zarr")
    record = begun.records()["captions/descriptions"]
    assert not record.complete and begun.missing(record) == [1]
    building.build_cache("starter", tmp_path / "c.zarr", asked, CPU, Silent())
    assert validate.problems(begun.path) == []
    one, two = ({name: data for name, data in contents(path).items() if "/descriptions/" in name} for path in (chairs, begun.path))
    arrays = [name for name in one if "/c/" in name and not name.startswith("products/")]
    assert len(arrays) >= 6 and all(one[name] == two[name] for name in arrays)
    assert building.build_cache("starter", begun.path, asked, CPU, Silent()).record("captions/descriptions").complete


def test_damaged_texts_are_made_again_from_the_source(chairs, tmp_path):
    path = tmp_path / "chairs.zarr"
    shutil.copytree(chairs, path)
    before = contents(path)
    for name in ("captions/wrong-descriptions/text/c/0/0/0/0", "text/descriptions/starter-resnet/c/1/0/0"):
        (path / name).write_bytes(b"x")
    with pytest.raises(UserError, match="names its source; give it with --source"):
        repair.repair(path, "", CPU, Silent())
    repair.repair(path, "starter", CPU, Silent())
    assert validate.problems(path) == [] and contents(path) == before


def test_appended_shapes_get_texts_and_counts_add_up(chairs, tmp_path):
    path = tmp_path / "chairs.zarr"
    shutil.copytree(chairs, path)
    shutil.copy(journal_file(chairs), journal_file(path))
    counted_before = store.open_cache(path).record("text/descriptions/starter-resnet").cut
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "one.off").write_text(box_off((1, 1, 1)))
    append(path, str(tmp_path / "more"), Wanted(settings=("source.label=none",)), CPU, Silent())
    cache = store.open_cache(path)
    assert validate.problems(path) == []
    (row,) = [row for row, name in enumerate(cache.ids()) if name == "one.off"]
    assert set(texts_of(cache, "descriptions")[row]) == {""}, "nothing is stated about it"
    assert lacking_ids(cache)["captions/descriptions"] == ["one.off"] and cache.record("captions/descriptions").lacking == 1
    assert cache.record("text/descriptions/starter-resnet").cut == counted_before


def test_shapes_without_a_text_are_said(tmp_path):
    (tmp_path / "more" / "chair").mkdir(parents=True)
    for name in ("chair/one", "two", "three"):
        (tmp_path / "more" / f"{name}.off").write_text(box_off((1, 1, 1)))
    said = []

    class Heard(Silent):
        def say(self, text):
            said.append(text)

    plain = config("label=folder")
    building.build_cache(str(tmp_path / "more"), tmp_path / "c.zarr", plain, CPU, Silent())
    captioning.add_captioner(tmp_path / "c.zarr", RIGHT, 8, CPU, Heard())
    assert "Note: 2 shapes lack something in captions/descriptions; `mmpd-cache status` lists them" in said
    (tmp_path / "more").rename(tmp_path / "moved")
    other = dataclasses.replace(RIGHT, name="again")
    with pytest.raises(UserError, match="more' is no folder"):
        captioning.add_captioner(tmp_path / "c.zarr", other, 8, CPU, Silent())
    assert "captions/again" not in store.open_cache(tmp_path / "c.zarr").records(), "nothing was written"
    captioning.add_captioner(tmp_path / "c.zarr", other, 8, CPU, Silent(), str(tmp_path / "moved"))


def test_captions_that_would_be_empty_for_every_shape_are_refused_before_work(tmp_path):
    """Classes are stated, so there are descriptions, and nothing in them can be exchanged. Without classes there is not even a name."""
    (tmp_path / "more" / "chair").mkdir(parents=True)
    (tmp_path / "more" / "chair" / "one.off").write_text(box_off((1, 1, 1)))
    (tmp_path / "more" / "chair" / "bad.off").write_text("OFF")
    path = tmp_path / "c.zarr"
    nameless = dataclasses.replace(config("label=none"), captions=RIGHT)
    with pytest.raises(
        UserError, match=r"'descriptions' \(name, sentence, paragraph\) would be empty .* 'folder' states too little for a text"
    ):
        building.build_cache(str(tmp_path / "more"), path, nameless, CPU, Silent())
    assert not path.exists()
    building.build_cache(str(tmp_path / "more"), path, config("label=folder"), CPU, Silent())
    before = contents(path)
    done = CliRunner().invoke(app, ["add-captioner", str(path), "wrong-descriptions"])
    assert done.exit_code == 1
    assert "would be empty for every shape: the source 'folder' states nothing that can be exchanged" in str(done.exception)
    assert contents(path) == before
    captioning.add_captioner(path, RIGHT, 8, CPU, Silent())
    assert textless(store.open_cache(path)) == []


def test_captions_are_refused_before_a_teacher_is_loaded_or_anything_is_drawn(tmp_path, monkeypatch):
    """No server, no name for a template, too few views for a sheet, and a teacher without a text side that should rank."""
    (tmp_path / "more").mkdir()
    for name in ("one", "__"):
        (tmp_path / "more" / f"{name}.off").write_text(box_off((1, 1, 1)))
    path, loaded, load = tmp_path / "c.zarr", [], teachers.load
    monkeypatch.setattr(teachers, "load", lambda name, **how: (loaded.append(name), load(name, **how))[1])
    plain = dataclasses.replace(config("label=none"), teachers=("starter-resnet", "starter-attributes"))
    template, nobody = captioners.CAPTIONERS["template"].spec, captioners.asked("http", ["server.address=http://127.0.0.1:9/v1", "model=m"])
    sheet = dataclasses.replace(nobody, per="shape", sheet=9)
    for captions, said in (
        (template, "'template': '__.off' has neither a class nor a name that could fill a template; give them one. Build without captions"),
        (dataclasses.replace(nobody, server=dataclasses.replace(nobody.server, patience=0.1)), "127.0.0.1:9"),
        (sheet, "captions.sheet: a shape has 4 views, got 9"),
    ):
        with pytest.raises(UserError, match=re.escape(said)):
            building.build_cache(str(tmp_path / "more"), path, dataclasses.replace(plain, captions=captions), CPU, Silent())
        assert not path.exists() and not loaded, said
    (tmp_path / "more" / "__.off").unlink()
    ranked = dataclasses.replace(template, rank_by="starter-attributes")
    with pytest.raises(UserError, match="teacher 'starter-attributes' has no text side"):
        building.build_cache(str(tmp_path / "more"), path, dataclasses.replace(plain, captions=ranked), CPU, Silent())
    assert not path.exists() and loaded == ["starter-attributes"]
    (tmp_path / "more" / "__.off").write_text(box_off((1, 1, 1)))
    building.build_cache(str(tmp_path / "more"), path, config("label=none"), CPU, Silent())
    before = contents(path)
    with pytest.raises(UserError, match=r"'__.off' has neither a class nor a name .*\. Nothing was written"):
        captioning.add_captioner(path, template, 8, CPU, Silent())
    assert contents(path) == before


@pytest.mark.parametrize("name", ["template", "descriptions"])
@pytest.mark.parametrize("setting", ["max_tokens=3", "temperature=0.5", "top_p=0.1", "precision=bfloat16"])
def test_settings_of_models_are_refused_by_captioners_without_one(tmp_path, name, setting):
    asked, where = captioners.asked(name, [setting]), f"captioner is {name!r}, which has no model: leave it out"
    said = re.escape(f"captions.{setting.partition('=')[0]} would have no effect where {where}")
    with pytest.raises(UserError, match=said):
        building.check(dataclasses.replace(config(), captions=asked), tmp_path / "nothing.zarr")
    with pytest.raises(UserError, match=said):
        captioning.add_captioner(tmp_path / "nothing.zarr", asked, 8, CPU, Silent())


def test_captions_of_before_with_a_setting_that_nobody_reads_go_on(tmp_path, monkeypatch):
    write_meshes(tmp_path / "more", 2, ())
    asked = dataclasses.replace(config(), captions=captioners.asked("template", ["max_tokens=30"]))
    with monkeypatch.context() as before:
        before.setattr(captioners, "refuse_idle", lambda spec: None)
        building.build_cache(str(tmp_path / "more"), tmp_path / "c.zarr", asked, CPU, Silent())
    building.build_cache(str(tmp_path / "more"), tmp_path / "c.zarr", asked, CPU, Silent())
    with pytest.raises(UserError, match="max_tokens would have no effect"):
        building.build_cache(str(tmp_path / "more"), tmp_path / "d.zarr", asked, CPU, Silent())


@pytest.fixture
def mute(monkeypatch):
    """A captioner of pictures that writes nothing, as a model may."""
    spec = CaptionSpec(name="mute", captioner="brightness", samples=1, keep=1)
    monkeypatch.setitem(captioners.BACKENDS, "brightness", "tests.pipeline.made_up_captioner")
    monkeypatch.setattr(made_up_captioner.Brightness, "caption", lambda self, images, keys, names: [[""] for _ in keys])
    return spec


def test_captions_without_any_text_are_no_success(tmp_path, mute, monkeypatch, capsys):
    write_meshes(tmp_path / "more", 2, ())
    path, asked = tmp_path / "c.zarr", dataclasses.replace(config(), captions=mute)
    told_so = r"no shape has a text in captions/mute: .*`mmpd-cache remove .*c.zarr captions/mute`"
    for _ in range(2):  # the second time everything is there
        with pytest.raises(Partial, match=told_so):
            building.build_cache(str(tmp_path / "more"), path, asked, CPU, Silent())
        assert validate.problems(path) == [] and textless(store.open_cache(path)) == ["captions/mute"]
    with pytest.raises(Partial, match=told_so):
        captioning.add_captioner(path, mute, 8, CPU, Silent())
    monkeypatch.setattr(cli_make, "settings", lambda *asked_for: asked)
    monkeypatch.setattr(sys, "argv", ["mmpd-cache", "build", str(tmp_path / "more"), str(path), "--json"])
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        cli.main()
    told = capsys.readouterr()
    assert ended.value.code == 1 and json.loads(told.out)["shapes"]["ok"] == 2, "the outcome is told, too"
    assert "no shape has a text in captions/mute" in " ".join(told.err.split())
    status = json.loads(CliRunner().invoke(app, ["status", str(path), "--json"]).stdout)
    assert status["textless"] == ["captions/mute"] and status["products"]["captions/mute"]["complete"]
    wide = {"COLUMNS": "200"}
    assert "captions/mute: no shape has a text in it" in CliRunner().invoke(app, ["status", str(path)], env=wide).stdout
    assert "complete, without any text" in CliRunner().invoke(app, ["status", str(path)], env=wide).stdout
    assert "    no shape has a text in it" in CliRunner().invoke(app, ["info", str(path)], env=wide).stdout
    assert json.loads(CliRunner().invoke(app, ["info", str(path), "--json"]).stdout)["textless"] == ["captions/mute"]
    monkeypatch.setattr(
        made_up_captioner.Brightness, "caption", lambda self, images, keys, names: [["x" * key.endswith("#1")] for key in keys]
    )
    some = dataclasses.replace(mute, name="some")
    captioning.add_captioner(path, some, 8, CPU, Silent())  # a text of one view of each shape
    assert textless(store.open_cache(path)) == ["captions/mute"]


def test_wrong_texts_are_no_captions_for_people(chairs):
    snapshot = Snapshot(store.open_cache(chairs))
    assert [products.parts(one)["captions"] for one in findings.right_captions(snapshot)] == ["descriptions"]
    ranks = [one.captions for found in findings.findings(snapshot).neighbours for one in found.captions]
    assert ranks == ["descriptions"]
    said = CliRunner().invoke(app, ["info", str(chairs)], env={"COLUMNS": "200"}).stdout
    assert "3 per shape (name, sentence, paragraph), of what the source states" in said
    assert "of what the source states, wrong on purpose" in said


# ------------------------------------------------------------------------------------------------- longer than is read


def test_texts_that_a_teacher_cuts_are_those_with_more_tokens_than_it_reads(chairs):
    teacher = teachers.load("starter-resnet")
    words = ["chair"] * 60
    texts = [" ".join(words[:count]) for count in range(1, 60)]
    longer = teacher.too_long(texts)
    assert longer == sorted(longer) and 0 < sum(longer) < len(texts)
    short, cut = texts[longer.index(True) - 2], texts[longer.index(True)]
    read, other = (teacher.embed_texts([f"{text} table", f"{text} lamp"]) for text in (short, cut))
    assert (read[0] != read[1]).any() and (other[0] == other[1]).all(), "what is behind the cut makes no difference"
    record = store.open_cache(chairs).record("text/descriptions/starter-resnet")
    assert dict(record.made_by)[CUT] == str(record.cut)
    assert record.fingerprint == dataclasses.replace(record, made_by=()).fingerprint, "a count is no part of what a product is"


def test_texts_are_counted_after_a_kill_before_they_were(tmp_path, monkeypatch):
    asked = dataclasses.replace(config("count=2", "classes=chair,table"), captions=RIGHT)

    def killed(work, record):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(lengths, "measured", killed)
        with pytest.raises(KeyboardInterrupt):
            building.build_cache("starter", tmp_path / "c.zarr", asked, CPU, Silent())
    again = building.build_cache("starter", tmp_path / "c.zarr", asked, CPU, Silent())
    other = building.build_cache("starter", tmp_path / "d.zarr", asked, CPU, Silent())
    name = "text/descriptions/starter-resnet"
    assert again.record(name).cut == other.record(name).cut is not None and again.record(name) == other.record(name)


@pytest.mark.parametrize("pad", ["</s>", "<pad>"])
@pytest.mark.parametrize("end", [" </s>", ""])
def test_texts_are_too_long_whatever_a_tokenizer_pads_with(pad, end, tmp_path):
    """SigLIP's tokenizer in open_clip pads with the token that ends a text."""
    words = Tokenizer(models.WordLevel({"<pad>": 0, "</s>": 1, "<unk>": 2, "chair": 3}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(single=f"$A{end}", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", pad_token=pad, unk_token="<unk>").save_pretrained(tmp_path)
    tokenize = openclip.open_clip.tokenizer.HFTokenizer(str(tmp_path), context_length=8, clean="canonicalize")
    teacher = openclip.OpenClip.__new__(openclip.OpenClip)
    teacher.tokenize, teacher.lock = tokenize, threading.Lock()
    most = 8 - bool(end)
    assert teacher.too_long(["chair " * count for count in (0, 1, most, most + 1, most + 2, 50)]) == [False] * 3 + [True] * 3


def test_a_cache_without_views_gets_the_same_texts_and_views_later(chairs, tmp_path, monkeypatch):
    path, asked = tmp_path / "c.zarr", config("count=6", "classes=chair,table", teachers=())
    with monkeypatch.context() as patch:
        patch.setattr(render.Renderer, "__init__", lambda *_, **__: pytest.fail("nothing is drawn"))
        building.build_cache("starter", path, dataclasses.replace(asked, views=None, captions=RIGHT), CPU, Silent())
        captioning.add_captioner(path, WRONG, 8, CPU, Silent())
        with pytest.raises(UserError, match="views"):
            captioning.add_captioner(path, dataclasses.replace(RIGHT, name="seen", stated=False, captioner="template"), 8, CPU, Silent())
    cache = store.open_cache(path)
    assert validate.problems(path) == [] and "views" not in cache.records()
    for name in (RIGHT.name, WRONG.name):
        assert np.array_equal(texts_of(cache, name), texts_of(store.open_cache(chairs), name))
        record = cache.record(f"captions/{name}")
        assert products.needs(record) == ("status",) and dict(record.inputs).keys() == {"source"}
    # In a cache with views nothing changes: its fingerprints are what they were.
    drawn = store.open_cache(chairs)
    assert drawn.record("captions/descriptions").inputs == (("views", drawn.record("views").fingerprint),)

    (path / "captions/wrong-descriptions/text/c/0/0/0/0").write_bytes(b"x")
    repair.repair(path, "starter", CPU, Silent())
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "one.off").write_text(box_off((1, 1, 1)))
    append(path, str(tmp_path / "more"), Wanted(settings=("source.label=none",)), CPU, Silent())
    assert validate.problems(path) == [] and store.open_cache(path).record("captions/descriptions").lacking == 1

    later = tmp_path / "later.zarr"
    without = dataclasses.replace(asked, views=None, captions=RIGHT)
    building.build_cache("starter", later, without, CPU, Silent())
    made = store.open_cache(later).record("captions/descriptions")
    more = dataclasses.replace(asked, captions=RIGHT, teachers=("starter-resnet",))
    building.build_cache("starter", later, more, CPU, Silent())
    cache = store.open_cache(later)
    assert validate.problems(later) == [] and cache.record("captions/descriptions") == made
    assert np.array_equal(cache.array("text/descriptions/starter-resnet")[:], drawn.array("text/descriptions/starter-resnet")[:])
