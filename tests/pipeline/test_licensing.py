"""Licences of shapes and models: where they come from, what is stored, what is said."""

import dataclasses
import json
import struct

import pytest

from cache_schema import licences, store, validate
from cache_schema.errors import UserError
from cache_schema.spec import fingerprint
from cache_schema.synthetic import teacher, write
from pipeline import weights
from pipeline.licensing import set_licence, told
from pipeline.recipes import configured
from pipeline.sources.catalog import open_source
from pipeline.sources.stated import licence_in
from tests.boxes import Silent

CARDS = {
    "---\nlicense: mit\n---\n# A model": "mit",
    "---\nlanguage: en\nlicense: 'apache-2.0' # free\ntags:\n- a\n---\n": "apache-2.0",
    "---\r\nlicense: other\r\nlicense_name: dinov3-license\r\n---\r\n": "dinov3-license",
    "---\nlicense: other\n---\n": "other",
    "---\nlicense:\n- mit\n- cc-by-4.0\n---\n": "mit AND cc-by-4.0",
    "---\nlicense: [mit, cc0-1.0]\n---\n": "mit AND cc0-1.0",
    "---\nlicense:\n- MIT OR Apache-2.0\n- all-rights-reserved\n---\n": "(MIT OR Apache-2.0) AND all-rights-reserved",
    "\ufeff---\nlicense: openrail\n---": "openrail",
    "---\ntags:\n- license: mit\n---\n": "",
    "# license: mit\n": "",
    "---\nlicense: mit\n": "",
    "---\nlicense:\n---\n": "",
    "": "",
}


@pytest.mark.parametrize(("card", "name"), CARDS.items())
def test_a_card_tells_the_licence_of_a_model(tmp_path, card, name):
    (tmp_path / "README.md").write_bytes(card.encode())
    assert weights.licence(str(tmp_path), tmp_path) == name
    assert weights.licence("starter-resnet", tmp_path) == "MIT"  # ours


def test_a_model_without_card_has_no_licence(tmp_path):
    assert weights.licence(str(tmp_path), tmp_path) == ""


def glb(path, document):
    body = json.dumps(document).encode()
    path.write_bytes(b"glTF" + struct.pack("<II", 2, 20 + len(body)) + struct.pack("<I4s", len(body), b"JSON") + body)
    return path


ASSETS = [
    ({"copyright": "CC-BY-4.0"}, "CC-BY-4.0"),
    ({"copyright": "(c) 2020 by Ann, CC BY-NC 4.0"}, "CC BY-NC 4.0"),
    ({"copyright": "2021 Ann"}, ""),
    ({"copyright": "CC BY 4.0 or CC BY-NC 4.0"}, ""),
    ({"extras": {"license": "CC-BY-SA-4.0 (http://creativecommons.org/licenses/by-sa/4.0/)", "author": "Ann"}}, "CC-BY-SA-4.0"),
    ({"extras": {"license": 7}, "copyright": "MIT"}, "MIT"),
    ({"copyright": "x" * 100_000}, ""),
    ({}, ""),
]


@pytest.mark.parametrize(("asset", "name"), ASSETS)
def test_gltf_files_state_licences(tmp_path, asset, name):
    document = {"asset": {"version": "2.0", **asset}}
    assert licence_in(glb(tmp_path / "a.glb", document)) == name
    (tmp_path / "a.gltf").write_text(json.dumps(document))
    assert licence_in(tmp_path / "a.gltf") == name


@pytest.mark.parametrize("data", [b"", b"glTF", b"glTF" + b"\xff" * 40, b"[]", b'{"asset": 1}', b"[" * 100_000])
def test_damaged_files_state_nothing(tmp_path, data):
    (tmp_path / "a.glb").write_bytes(data)
    assert licence_in(tmp_path / "a.glb") == ""


def test_a_folder_takes_the_licences_of_its_files(tmp_path):
    for number, (asset, _) in enumerate(ASSETS):
        glb(tmp_path / f"{number}.glb", {"asset": {"version": "2.0", **asset}})
    source = open_source(str(tmp_path), licence="file")
    assert [entry.licence for entry in source.entries] == [name for _, name in ASSETS]
    assert any("licences read from 8 files: 4 without, " in note for note in source.notes)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.off").write_text("OFF\n")
    with pytest.raises(UserError, match="there is no such shape"):
        open_source(str(tmp_path / "other"), licence="file")


def test_a_licence_is_no_part_of_what_a_teacher_is(tmp_path):
    one = teacher("clip")
    licensed = dataclasses.replace(one, licence="MIT")
    assert fingerprint(one) == fingerprint(licensed)
    cache = write(tmp_path / "x.zarr", teachers=(one,))
    assert told(cache).products["image/clip"] == "" and told(cache).together.startswith("nobody knows")
    with pytest.raises(UserError, match="did you mean 'clip'"):
        set_licence(cache.path, "clpi", "MIT", Silent())
    before = {name: record.fingerprint for name, record in cache.records().items()}
    changed = set_licence(cache.path, "clip", "by-nc", Silent())
    assert set(changed) == {name for name in before if name.endswith("/clip")} and "image/clip" in changed
    again = store.open_cache(cache.path)
    assert {name: record.fingerprint for name, record in again.records().items()} == before
    assert told(again).products["image/clip"] == "by-nc" and list(validate.problems(cache.path)) == []
    assert "" in told(again).names  # those of the shapes


def test_texts_are_under_the_licences_of_both_models(tmp_path):
    clip = dataclasses.replace(teacher("clip"), licence="MIT")
    cache = write(tmp_path / "x.zarr", teachers=(clip,))
    (text,) = [name for name in cache.records() if name.startswith("text/")]
    records = cache.records()
    captions = text.split("/")[1]
    written = records[f"captions/{captions}"]
    spec = dataclasses.replace(written.spec, model="some/model", licence="by-nc")
    records[written.product] = dataclasses.replace(written, spec=spec)
    assert licences.of_products(records)[text] == "MIT AND by-nc"
    records[written.product] = dataclasses.replace(written, spec=dataclasses.replace(spec, licence="by OR proprietary"))
    assert licences.of_products(records)[text] == "MIT AND (by OR proprietary)"
    records[written.product] = dataclasses.replace(written, spec=dataclasses.replace(spec, licence=""))
    assert licences.of_products(records)[text] == ""  # one that is not known leaves the whole unknown


def test_licences_of_a_build_are_given_by_teacher():
    config = configured("smoke", ["licences=starter-resnet=MIT,starter-regnet=by-nc"])
    assert (config.licence_of("starter-regnet"), config.licence_of("other")) == ("by-nc", "")
    with pytest.raises(UserError, match="TEACHER=LICENCE"):
        configured("smoke", ["licences=MIT"])
