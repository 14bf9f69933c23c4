"""OpenShape's files, ULIP's triplets and Objaverse's objects, written in the official layouts: what is read, stored, refused and said."""

import gzip
import io
import json
import os
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from cache_schema import store
from cache_schema.errors import Partial, UserError
from cache_schema.lacking import lacking_ids, textless
from cache_schema.spec import fingerprint
from pipeline import building
from pipeline.recipes import configured
from pipeline.sources import annotations, objaverse, openshape, ulip
from pipeline.sources.catalog import open_source
from pipeline.statements import stated
from pipeline.work import Machine
from tests.boxes import Silent, contents
from tests.pipeline.test_unpickled import Call

DIM = 8
RNG = np.random.default_rng(3)


class Heard(Silent):
    """Remembers what was said."""

    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


def build(location, path, *assignments):
    config = configured("points", ["points.count=32", "points.blocks=1", "points.ordered=16", "shard=2", *assignments])
    heard = Heard()
    return building.build_cache(str(location), path, config, Machine(workers=1, device="cpu"), heard), heard


def sample(name, **changes):
    """The dict of a shape in OpenShape's layout, with changes; None removes a key."""
    held = openshape.sample(np.random.default_rng(int.from_bytes(name.encode()) % 2**32), name, points=200, dim=DIM).item()
    return {key: value for key, value in (held | changes).items() if value is not None}


def save(path, held):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.array(held, dtype=object), allow_pickle=True)


def planted(root, shapes):
    """Files by `DATASET/.../ID`, in the folders of OpenShape's archives."""
    base = root / "objaverse-processed" / openshape.WITHIN
    for place, held in shapes.items():
        save(base / f"{place}.npy", held)
    return base


# ------------------------------------------------------------------------------------------------------------- OpenShape


@pytest.fixture(scope="module")
def taken(tmp_path_factory):
    """Five shapes in OpenShape's layout, and the cache that was built from them."""
    root = tmp_path_factory.mktemp("openshape")
    shapes = {
        "Objaverse/000-000/aa": sample("aa"),
        "Objaverse/000-001/bb": sample("bb", msft_caption="long " * 100, msft_caption_feat={"prompt_avg": np.ones(DIM, np.float32)}),
        "ABO/cc": sample("cc", thumbnail_feat=None, blip_caption="", blip_caption_feat={}),
        "ShapeNet/03001627/dd": sample("dd", rgb=np.full((200, 3), 0.4), text=[], text_feat=[]),
        "3D-FUTURE/ee": sample(
            "ee", retrieval_text=[f"t{i}" for i in range(9)], retrieval_text_feat=[{"original": np.full(DIM, i + 1.0)} for i in range(9)]
        ),
    }
    base = planted(root, shapes)
    cache, heard = build(root, root / "out.zarr", "source.teacher=bigg", "source.split=0.5")
    return root, base, shapes, cache, heard


def test_points_pictures_and_texts_of_openshape_are_stored_as_they_are(taken):
    _, _, shapes, cache, _ = taken
    held = {place.rpartition("/")[2]: one for place, one in shapes.items()}
    ids = cache.ids().tolist()
    assert ids == sorted(held) and cache.ok().all()
    image = cache.array("image/bigg")[:]
    assert image.shape == (5, 12, DIM)
    for row, name in enumerate(ids):
        assert np.array_equal(image[row], held[name]["image_feat"].astype(np.float16))
        points = held[name]["xyz"] - held[name]["xyz"].mean(0)
        points /= np.linalg.norm(points, axis=1).max()
        apart = np.linalg.norm(cache.array("points/xyz")[row, 0][:, None].astype(np.float32) - points[None], axis=-1)
        nearest = apart.argmin(1)
        assert apart.min(1).max() < 2e-3, "every stored point is one of the file's: nothing is turned or mirrored"
        if name != "dd":
            assert np.abs(cache.array("points/rgb")[row, 0] / 255 - held[name]["rgb"][nearest]).max() < 0.01
    assert cache.colored().tolist() == [name != "dd" for name in ids], "grey 0.4 is no colour"


def test_texts_lie_beside_their_embeddings(taken):
    from cache_schema.layout import texts

    _, _, shapes, cache, heard = taken
    held = {place.rpartition("/")[2]: one for place, one in shapes.items()}
    for name, (key, _) in openshape.TEXTS.items():
        record = cache.record(f"captions/{name}")
        said = texts(cache.column(f"captions/{name}/text"))
        stored = cache.array(f"text/{name}/bigg")[:]
        for row, one in enumerate(cache.ids()):
            value, features = held[one][key], held[one][f"{key}_feat"]
            value, features = ([value], [features]) if isinstance(value, str) else (value, features)
            prompt = "original" if key == "retrieval_text" else "prompt_avg"
            expected = [(t, f[prompt].reshape(-1)) for t, f in zip(value, features, strict=True) if t][: record.spec.samples]
            assert [text for text in said[row, 0] if text] == [" ".join(t.split())[:256].rstrip() for t, _ in expected]
            assert np.array_equal(stored[row, : len(expected)], np.array([f for _, f in expected], np.float16).reshape(-1, DIM))
            assert not stored[row, len(expected) :].any()
    assert {r.lacking for r in cache.products().values()} == {0, 1, 4}
    assert any("longer than 256 bytes" in line for line in heard.lines)
    assert any("4 shapes lack something in captions/openshape-msft" in line for line in heard.lines)


def test_imported_products_say_so_and_differ_from_computed_ones(taken):
    from cache_schema import synthetic
    from pipeline.describe import describe

    _, _, _, cache, _ = taken
    records = cache.products()
    assert records["image/bigg"].spec.backend == "imported" and "imported, told to be of bigg" in describe(records["image/bigg"])
    assert len({record.fingerprint for record in records.values()}) == len(records)
    computed = synthetic.teacher("bigg", DIM)
    assert fingerprint(computed) != fingerprint(records["image/bigg"].spec)
    mean, variance = cache.column("stats/text/openshape-msft/bigg")
    stored = cache.array("text/openshape-msft/bigg")[:].astype(float).reshape(-1, DIM)
    assert np.allclose(mean, stored[stored.any(1)].mean(0)) and np.allclose(variance, stored[stored.any(1)].var(0))


def test_a_build_that_was_stopped_goes_on_and_gives_the_same_bytes(taken, tmp_path, monkeypatch):
    root, _, _, cache, _ = taken
    written = store.Cache.write_files

    def stop(self, record, shard, files):
        if record.product == "text/openshape-blip/bigg" and shard == 1:
            raise KeyboardInterrupt
        written(self, record, shard, files)

    monkeypatch.setattr(store.Cache, "write_files", stop)
    with pytest.raises(KeyboardInterrupt):
        build(root, tmp_path / "out.zarr", "source.teacher=bigg", "source.split=0.5")
    monkeypatch.undo()
    build(root, tmp_path / "out.zarr", "source.teacher=bigg", "source.split=0.5")
    assert contents(tmp_path / "out.zarr") == contents(cache.path)


FAULTS = {
    "another width": ({"image_feat": np.ones((12, 9), np.float32)}, "image_feat: expected embeddings 8 wide, got an array .12, 9."),
    "another number": ({"image_feat": np.ones((11, DIM), np.float32)}, "expected 12 embeddings, as in the first files, got 11"),
    "no pictures": ({"image_feat": None}, "image_feat: .*got nothing"),
    "NaN": ({"image_feat": np.full((12, DIM), np.nan)}, "NaN"),
    "zeros": ({"image_feat": np.zeros((12, DIM))}, "all zeros"),
    "too large": ({"image_feat": np.full((12, DIM), 1e6)}, "too large for float16"),
    "whole numbers": ({"image_feat": np.ones((12, DIM), np.int64)}, "expected embeddings"),
    "no points": ({"xyz": None}, "xyz: expected points"),
    "points of two": ({"xyz": np.ones((200, 2))}, "xyz: expected points"),
    "fewer colours": ({"rgb": np.ones((199, 3))}, "rgb: expected colours .200, 3."),
    "a text without embedding": ({"blip_caption_feat": {}}, "blip_caption_feat, prompt_avg: expected embeddings"),
    "fewer embeddings than texts": ({"text_feat": []}, "text_feat has 0 entries for 2 texts"),
    "another id": ({"id": "ff"}, "called bad and says that it is 'ff'"),
    "a list": ([1, 2], "expected a dict"),
    "an attack": ({"xyz": Call(os.system, "touch owned")}, r"asks for \w+.system"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_unsound_file_fails_alone_with_its_reason(fault, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changes, reason = FAULTS[fault]
    shapes = {f"ABO/{name}": sample(name) for name in ("aa", "ab")}
    base = planted(tmp_path, shapes | {"ABO/bad": sample("bad", **changes) if isinstance(changes, dict) else changes})
    source = open_source(str(tmp_path), teacher="bigg")
    assert [entry.id for entry in source.entries] == ["aa", "ab", "bad"] and source.given.dim == DIM
    for entry in source.entries[:2]:
        source.reader.read(entry)
    with pytest.raises(UserError, match=reason):
        source.reader.read(source.entries[2])
    assert not (tmp_path / "owned").exists() and (base / "ABO").is_dir()


def test_lists_of_openshape_choose_split_and_class(tmp_path):
    planted(tmp_path, {f"Objaverse/000-000/{name}": sample(name) for name in ("aa", "bb", "cc")})
    where = "/mnt/data/objaverse-processed/merged_for_training_final/Objaverse/000-000"
    rows = [{"dataset": "Objaverse", "group": "000-000", "id": n, "data_path": f"{where}/{n}.npy"} for n in ("bb", "aa")]
    lists = tmp_path / "meta_data" / "split"
    lists.mkdir(parents=True)
    (lists / "train_all.json").write_text(json.dumps(rows))
    lvis = [
        {"uid": n, "group": "000-000", "category": c, "data_path": f"{where.replace('final', 'all')}/{n}.npy"}
        for n, c in (("cc", "chair"), ("aa", "Band_Aid"))
    ]
    (lists / "lvis.json").write_text("﻿" + json.dumps(lvis), encoding="utf-8")
    train, test = (open_source(str(lists / name), teacher="bigg") for name in ("train_all.json", "lvis.json"))
    assert [(e.id, e.label, e.split) for e in train.entries] == [("aa", "", "train"), ("bb", "", "train")]
    assert [(e.id, e.label, e.split) for e in test.entries] == [("aa", "Band_Aid", "test"), ("cc", "chair", "test")]
    train.reader.read(train.entries[0])
    np.save(lists.parent / "lvis_cat_name_pt_feat.npy", np.ones((3, DIM), np.float32))
    assert (
        open_source(str(tmp_path), teacher="bigg").skipped == {".json": 0} or len(open_source(str(tmp_path), teacher="bigg").entries) == 3
    )
    for rows, message in (
        ([{"data_path": "/etc/passwd"}], "data_path is no path of a .npy"),
        ([{"data_path": f"{where}/../../../../x.npy"}], "data_path is no path"),
        ([{"data_path": f"{where}/aa.npy", "id": "bb"}], "expected id, the name of the file"),
        ([{"data_path": 7}], "expected an object with data_path"),
    ):
        (lists / "wrong.json").write_text(json.dumps(rows))
        with pytest.raises(UserError, match=message):
            open_source(str(lists / "wrong.json"), kind="openshape", teacher="bigg")


def test_settings_of_openshape(tmp_path):
    planted(tmp_path, {"ABO/aa": sample("aa"), "ABO/bb": sample("bb", thumbnail_feat=None)})
    with pytest.raises(UserError, match="8 wide, and the embeddings that OpenShape publishes are 1280 wide"):
        open_source(str(tmp_path))
    bare = open_source(str(tmp_path), features="none")
    assert bare.given.dim == 0 and bare.reader.extras(bare.entries[0]).image is None
    source = open_source(str(tmp_path), teacher="bigg", thumbnail="true", prompt="original", texts="1")
    extras = source.reader.extras(source.entries[0])
    assert source.given.views == 13 and extras.image.shape == (13, DIM)
    assert np.array_equal(extras.embedded["openshape-text"][0], sample("aa")["text_feat"][0]["original"])
    with pytest.raises(UserError, match="thumbnail_feat: expected"):
        source.reader.read(source.entries[1])
    assert any("thumbnail_feat is left out" in note for note in open_source(str(tmp_path), teacher="bigg").notes)
    up = [open_source(str(tmp_path), teacher="bigg", up=axis) for axis in "yz"]
    y, z = (one.reader.read(one.entries[0]).points for one in up)
    assert np.array_equal(y, sample("aa")["xyz"]) and np.array_equal(z, np.stack([y[:, 0], y[:, 2], -y[:, 1]], 1))


# ------------------------------------------------------------------------------------------------------------------ ULIP


def test_triplets_of_shapenet(tmp_path):
    location = ulip.example(tmp_path)
    cache, _ = build(location, tmp_path / "out.zarr")
    assert cache.manifest.licences == ("ShapeNet terms of use",) and cache.manifest.splits == ("test", "train")
    assert [cache.manifest.classes[i] for i in cache.column("label")] == ["airplane", "airplane", "chair"]
    from cache_schema.layout import texts

    said = texts(cache.column("captions/ulip-blip2/text"))
    assert said.shape == (3, 3, 2) and said[1, 2].tolist() == ["02691156-1a6f at 24, text 0", "02691156-1a6f at 24, text 1"]
    names = texts(cache.column("captions/ulip-names/text"))
    assert names[0, 0].tolist() == ["airplane", "aeroplane", "plane"] and names[2, 0].tolist() == ["chair", "", ""]
    root = tmp_path / "shapenet-55"
    (root / "captions" / "03001627-1006.json").write_text(json.dumps({"03001627-1006_r_012.png": ["only this"]}))
    (root / "train.txt").write_bytes(b"02691156-1a04.npy\r\n03001627-1006.npy\r\n\r\n02691156-gone.npy\r\n")
    source = open_source(str(root))
    extras = source.reader.extras(source.entries[3])
    assert extras.texts["ulip-blip2"] == [[], ["only this"], []], "a view without texts keeps its place"
    with pytest.raises(UserError, match="no such file"):
        source.reader.read(source.entries[2])
    (root / "captions" / "03001627-1006.json").write_text(json.dumps({"03001627-1006_r_999.png": ["a new view"]}))
    late = open_source(str(root), captions="none")
    assert not late.given.texts
    with pytest.raises(UserError, match="two lists"):
        (root / "test.txt").write_text("02691156-1a04.npy\n")
        open_source(str(root))


def test_texts_of_a_source_that_are_all_empty_are_told_with_how_to_go_on(tmp_path):
    location = Path(ulip.example(tmp_path))
    for path in (location / "captions").glob("*.json"):
        path.write_text(json.dumps({view: ["" for _ in texts] for view, texts in json.loads(path.read_text()).items()}))
    path = tmp_path / "out.zarr"
    for _ in range(2):
        with pytest.raises(
            Partial, match=r"captions/ulip-blip2: everything else is complete.*\. The source has captions/ulip-blip2, .*given=false"
        ):
            build(location, path)
        cache = store.open_cache(path)
        assert textless(cache) == ["captions/ulip-blip2"] and len(lacking_ids(cache)["captions/ulip-blip2"]) == 3, "each shape is listed"
    before = contents(path / "captions")
    build(location, path, "given=false")
    assert contents(path / "captions") == before, "what is there stays"
    build(location, tmp_path / "new.zarr", "given=false")
    build(location, tmp_path / "none.zarr", "source.captions=none")


def test_triplets_of_objaverse_and_the_lvis_test_set(tmp_path):
    root = tmp_path / "ULIP-Objaverse_triplets"
    for uid in ("0a", "0b"):
        folder = root / "objaverse_pc_parallel" / uid
        folder.mkdir(parents=True)
        np.savez(folder / f"{uid}_8192.npz", RNG.uniform(-1, 1, (64, 3)).astype(np.float32))
    said = {f"/export/x/render_images_split_100/0a/{view}.png": [f"view {view}", "  "] for view in (10, 2, 1)}
    (root / "merged_data.json").write_text(json.dumps(said))
    source = open_source(str(root))
    assert [(e.id, e.licence) for e in source.entries] == [("0a", "ODC-By-1.0"), ("0b", "ODC-By-1.0")]
    assert source.reader.extras(source.entries[0]).texts == {"ulip-blip2": [["view 1"], ["view 2"], ["view 10"]]}
    assert source.reader.extras(source.entries[1]).texts == {} and source.reader.read(source.entries[1]).points.shape == (64, 3)
    lvis = tmp_path / "objaverse-lvis"
    save(lvis / "000-000" / "0c.npy", sample("0c", image_feat=None))
    (lvis / "lvis.json").write_text(json.dumps({"0c": "000-000/0c.npy"}))
    (lvis / "objaverse_lvis_metadata.json").write_text(
        json.dumps({"value_to_key_mapping": {"0c": "Band Aid"}, "key_to_id": {"Band Aid": 0}})
    )
    source = open_source(str(lvis))
    assert [(e.id, e.label, e.split) for e in source.entries] == [("0c", "Band Aid", "test")]
    assert np.array_equal(source.reader.read(source.entries[0]).points, sample("0c")["xyz"])
    (lvis / "lvis.json").write_text(json.dumps({"0c": "../secret.npy"}))
    with pytest.raises(UserError, match="a path below the folder"):
        open_source(str(lvis))


# ------------------------------------------------------------------------------------------------------------- Objaverse


def test_objects_of_objaverse_with_licence_class_and_name(tmp_path):
    from cache_schema.layout import texts

    root = objaverse.example(tmp_path)
    cache, _ = build(root, tmp_path / "out.zarr")
    assert [cache.manifest.licences[i] for i in cache.column("licence")] == ["CC-BY-4.0", "CC-BY-NC-4.0"]
    assert [cache.manifest.classes[i] for i in cache.column("label")] == ["chair", "lamp"]
    assert texts(cache.column("captions/objaverse-name/text")).reshape(-1).tolist() == ["A chair", "Lamp 2"]
    (tmp_path / "ids.txt").write_text("# chosen\n0b02\r\n")
    assert [entry.id for entry in open_source(root, uids=str(tmp_path / "ids.txt")).entries] == ["0b02"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("ids.txt", "0a01\nnot-there\n", "no object 'not-there'"),
        ("ids.txt", "0a01\n0a01\n", "twice"),
        ("ids.json", "[]", "holds no ids"),
        ("ids.json", "[1]", "ids as texts"),
        ("ids.json", "{", "no JSON"),
    ],
)
def test_wrong_lists_of_objects(tmp_path, name, text, message):
    root = objaverse.example(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        open_source(root, uids=str(tmp_path / name))


def test_lists_of_objects_in_all_forms(tmp_path):
    root = objaverse.example(tmp_path)
    for name, text in (
        ("a.csv", "name,uid\nx,0b02\n"),
        ("b.csv", "0b02\r\n"),
        ("c.json", '["0b02"]'),
        ("d.json", '{"0b02": 1}'),
        ("e.txt", "0b02.glb"),
    ):
        (tmp_path / name).write_text(text)
        assert [entry.id for entry in open_source(root, uids=str(tmp_path / name)).entries] == ["0b02"]


def test_objects_that_were_not_downloaded_are_no_shapes(tmp_path):
    """object-paths.json.gz names all 800,000 objects of Objaverse, whatever was downloaded."""
    root = tmp_path / "hf-objaverse-v1"
    objaverse.example(tmp_path)
    paths = {f"{number:04d}": f"glbs/000-{number % 160:03d}/{number:04d}.glb" for number in range(500)}
    paths |= {uid: f"glbs/000-001/{uid}.glb" for uid in ("0a01", "0b02")}
    (root / "object-paths.json.gz").write_bytes(gzip.compress(json.dumps(paths).encode()))
    for place in (root, root / "glbs", tmp_path):
        source = open_source(str(place))
        assert [entry.id for entry in source.entries] == ["0a01", "0b02"] and source.reader.kind == "objaverse"
        assert any("500 objects that object-paths.json.gz names were not downloaded" in note for note in source.notes)
    (tmp_path / "ids.txt").write_text("0a01\n0007\n")
    listed = open_source(str(root), uids=str(tmp_path / "ids.txt"))
    assert [entry.id for entry in listed.entries] == ["0007", "0a01"]
    with pytest.raises(UserError, match="it was not downloaded"):
        listed.reader.read(listed.entries[0])
    for path in (root / "glbs" / "000-001").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"none of the 502 objects that object-paths\.json\.gz names was downloaded"):
        open_source(str(root))


def test_what_objaverse_does_not_know_is_said(tmp_path):
    root = tmp_path / "hf-objaverse-v1"
    objaverse.example(tmp_path)
    (root / "metadata" / "000-001.json.gz").write_bytes(gzip.compress(json.dumps({"0a01": {"license": "all mine"}}).encode()))
    (root / "lvis-annotations.json.gz").write_bytes(gzip.compress(json.dumps({"chair": ["0a01"], "stool": ["0a01", "0b02"]}).encode()))
    source = open_source(str(root))
    said = " ".join(source.notes)
    assert [entry.label for entry in source.entries] == ["", "stool"] and [entry.licence for entry in source.entries] == ["", ""]
    assert "2 of 2 objects have no licence" in said and "under 'all mine'" in said and "1 objects have several classes" in said
    (root / "object-paths.json.gz").write_bytes(gzip.compress(json.dumps({"x": "../../etc/passwd"}).encode()))
    with pytest.raises(UserError, match="leads out of its folder"):
        open_source(str(root))
    (root / "object-paths.json.gz").write_bytes(b"\x1f\x8b\x08 cut")
    with pytest.raises(UserError, match="cannot read object-paths"):
        open_source(str(root))
    for name, content, message in (
        ("lvis-annotations.json", {"chair": [["x"]]}, "expected a list of ids for each class"),
        ("lvis-annotations.json", {"chair \ud800": ["0a01"]}, "half of a surrogate pair"),
        ("object-paths.json", {"0a01\ud800": "glbs/000-001/0a01.glb"}, "half of a surrogate pair"),
        ("object-paths.json", {"0a01": "glbs/000-001/\ud800.glb"}, "half of a surrogate pair"),
    ):
        shutil.rmtree(root)
        objaverse.example(root.parent)
        (root / f"{name}.gz").write_bytes(gzip.compress(json.dumps(content).encode()))
        with pytest.raises(UserError, match=message):
            open_source(str(root))


def test_objects_are_downloaded_by_the_package(tmp_path, monkeypatch):
    (tmp_path / "ids.txt").write_text("0a01\n")
    monkeypatch.setitem(sys.modules, "objaverse", None)
    with pytest.raises(UserError, match=r"pip install 'mmpd\[objaverse\]'"):
        open_source(f"objaverse:{tmp_path / 'ids.txt'}")
    asked = []

    def load_objects(uids, download_processes):
        asked.append((uids, download_processes))
        return {uid: uid for uid in uids if uid != "gone"}

    def load_annotations(uids):
        """As the package 0.1.7: it looks up every id among the paths, which it has downloaded first."""
        root = tmp_path / "hf-objaverse-v1"
        if not root.exists():
            objaverse.example(tmp_path)
        paths = json.loads(gzip.decompress((root / "object-paths.json.gz").read_bytes()))
        return {paths[uid].split("/")[1] for uid in uids}

    package = types.SimpleNamespace(
        load_annotations=load_annotations,
        load_lvis_annotations=lambda: None,
        load_objects=load_objects,
        _VERSIONED_PATH=str(tmp_path / "hf-objaverse-v1"),
    )
    monkeypatch.setitem(sys.modules, "objaverse", package)
    source = open_source(f"objaverse:{tmp_path / 'ids.txt'}", download="3")
    assert [(e.id, e.licence) for e in source.entries] == [("0a01", "CC-BY-4.0")] and asked == [(["0a01"], 3)]
    assert source.reader.read(source.entries[0]).parts and str(tmp_path) not in repr(source.entries)
    (tmp_path / "ids.txt").write_text("0a01\ngone\n")
    with pytest.raises(UserError, match="does not know 1 of 2 ids, the first is 'gone'"):
        open_source(f"objaverse:{tmp_path / 'ids.txt'}")


def test_texts_that_the_first_files_do_not_have_are_not_lost_without_a_word(tmp_path):
    """The first files decide which texts a cache has room for. A later shape with other texts has a remark that they were left out."""
    few = {"blip_caption": None, "blip_caption_feat": None}
    names = [f"{number:02}" for number in range(openshape.LOOKED + 1)]
    shapes = {f"ABO/{name}": sample(name, **(few if name != names[-1] else {})) for name in names}
    planted(tmp_path / "open", shapes)
    source = open_source(str(tmp_path / "open"), kind="openshape", teacher="t")
    first, last = (source.reader.read(source.entries[place]).warnings for place in (0, -1))
    assert "openshape-blip" not in {one.name for one in source.given.texts}
    assert [text for text in last if text not in first] == ["left out, because none of the first 8 files has it: blip_caption"]

    folder = tmp_path / "ulip"
    (folder / "shapenet_pc").mkdir(parents=True)
    (folder / "captions").mkdir()
    for number in range(ulip.LOOKED + 1):
        name = f"03001627-{number:02}"
        np.save(folder / "shapenet_pc" / f"{name}.npy", np.random.default_rng(number).uniform(-1, 1, (64, 3)))
        said = [f"text {i}" for i in range(1 + 2 * (number == ulip.LOOKED))]
        (folder / "captions" / f"{name}.json").write_text(json.dumps({f"{name}_r_000.png": said}))
    source = open_source(str(folder), kind="ulip")
    first, last = (source.reader.read(source.entries[place]).warnings for place in (0, -1))
    assert first == () and last == ("2 texts are left out, because none of the first 16 files has so many of a view",)


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1 << 20])
def test_annotations_are_read_one_by_one_as_json_reads_them_whole(chunk, monkeypatch):
    monkeypatch.setattr(annotations, "CHUNK", chunk)
    held = {
        "a": {"name": "Ä \ud83e\ude91", "tags": [{"name": "x"}] * 9, "n": -1.25e-7},
        "b \ud800": 1.5e-3,
        "": [1, {}],
        "c": None,
        "d": 12,
    }
    for text in (json.dumps(held), json.dumps(held, indent=2), f"\ufeff {json.dumps(held, ensure_ascii=True)} \n", "{}", " { } "):
        found = dict(annotations.entries(io.BytesIO(text.encode()), 10_000))
        assert found == json.loads(text.lstrip("\ufeff")) and list(found) == list(json.loads(text.lstrip("\ufeff")))
    whole = json.dumps(held)
    for text in (
        *(whole[:cut] for cut in range(0, len(whole), 11)),
        whole + "]",
        whole + whole,
        "[]",
        "null",
        '{"a": 1,}',
        "{1: 2}",
        '{"a" 1}',
    ):
        with pytest.raises(ValueError):
            list(annotations.entries(io.BytesIO(text.encode()), 10_000))
    with pytest.raises(ValueError, match="larger than 50 characters"):
        list(annotations.entries(io.BytesIO(whole.encode()), 50))


def test_a_damaged_annotation_is_not_read_to_the_end_of_the_file(monkeypatch):
    monkeypatch.setattr(annotations, "CHUNK", 16)
    monkeypatch.setattr(annotations, "LONGEST", 64)
    file = io.BytesIO(b'{"a": {"name": "' + b"x" * 100_000)
    with pytest.raises(ValueError):
        list(annotations.entries(file, 1 << 30))
    assert file.closed or file.tell() < 50_000


def test_what_makers_wrote_is_read_once_and_again_if_the_file_changes(tmp_path, monkeypatch):
    root, reads = Path(objaverse.example(tmp_path)), []
    plain = annotations.entries
    monkeypatch.setattr(annotations, "entries", lambda *args: [reads.append(1), *plain(*args)][1:])
    source = open_source(str(root))
    one, two = source.entries
    reads.clear()
    names = [source.reader.extras(entry).texts for entry in (one, two, one)]
    assert names == [{objaverse.NAMES: [[name]]} for name in ("A chair", "Lamp 2", "A chair")] and len(reads) == 1
    assert stated(source.reader, one).title == "A chair" and stated(source.reader, two).title == "Lamp 2" and len(reads) == 2
    (root / "metadata" / "000-001.json.gz").write_bytes(gzip.compress(json.dumps({"0a01": {"name": "A stool"}}).encode()))
    assert stated(source.reader, one).title == "A stool" and stated(source.reader, two).title == ""
    (root / "metadata" / "000-001.json.gz").write_bytes(gzip.compress(json.dumps({"0a01": {"name": "A stool"}}).encode())[:-9])
    with pytest.raises(UserError, match=r"cannot read 000-001\.json\.gz, cut short"):
        stated(source.reader, one)
    (root / "metadata" / "000-001.json.gz").write_bytes(gzip.compress(b"[1]"))
    with pytest.raises(UserError, match="expected annotations by id"):
        source.reader.extras(one)
    (root / "metadata" / "000-001.json.gz").unlink()
    assert source.reader.extras(one).texts == {} and stated(source.reader, one).title == ""
