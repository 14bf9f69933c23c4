"""Embeddings and captions of other people brought into a cache: every form of file, every check, and what the cache says about it."""

import gzip
import json
import pickle
import shutil

import h5py
import numpy as np
import pytest
import safetensors.numpy
from typer.testing import CliRunner

from cache_schema import store, synthetic, validate
from cache_schema.errors import UserError
from cache_schema.layout import texts
from cache_schema.spec import LabelSet
from pipeline import captioning, cli
from pipeline.formats import said, vectors
from pipeline.importing import Captions, Embeddings, import_captions, import_embeddings
from pipeline.models import Models
from pipeline.opening import text_teachers
from pipeline.report import write
from tests.boxes import Silent, contents
from tests.pipeline.test_taken_in import Heard
from tests.pipeline.test_unpickled import Call

CLASSES = LabelSet(name="three", classes=("cone", "night stand", "torus"), templates=("a {}",))
RNG = np.random.default_rng(2)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A cache of ten shapes in shards of four; the fourth shape has failed."""
    return synthetic.write(tmp_path_factory.mktemp("base") / "c.zarr", shapes=10, shard=4, labels=CLASSES, failed=(3,)).path


@pytest.fixture
def cache(base, tmp_path):
    shutil.copytree(base, tmp_path / "c.zarr")
    return store.open_cache(tmp_path / "c.zarr")


def filed(path, ids, values):
    np.savez(path, ids=np.array(ids), features=values)
    return path


def image(teacher="clip", **more):
    return Embeddings(teacher=teacher, kind="image", **more)


# ------------------------------------------------------------------------------------------------------------ embeddings


def test_rows_are_matched_by_id_and_stored_as_they_are(cache, tmp_path):
    ids, values = cache.ids().tolist(), RNG.standard_normal((10, 3, 6)).astype(np.float32)
    order = RNG.permutation(10)
    file = filed(tmp_path / "f.npz", [ids[i] for i in order] + ["other"], np.concatenate([values[order], values[:1]]))
    heard = Heard()
    record = import_embeddings(cache.path, file, image(model="CLIP ViT-B/32"), heard)
    stored = cache.array("image/clip")[:]
    expected = values.astype(np.float16)
    expected[3] = 0  # this shape has failed
    assert np.array_equal(stored, expected) and record.lacking == 0 and record.per_shape == 3
    assert dict(record.made_by)["imported"] == "f.npz" and len(dict(record.made_by)["file_sha256"]) == 64
    assert record.inputs == (("file", dict(record.made_by)["file_sha256"][:16]),)
    assert record.spec.imported and record.spec.model == "CLIP ViT-B/32" and record.spec.dim == 6
    assert ["1 of 11 ids in f.npz are no shapes of the cache: other"] == heard.lines
    assert not validate.problems(cache.path)
    again = contents(cache.path)
    import_embeddings(cache.path, file, image(model="CLIP ViT-B/32"), heard)
    assert contents(cache.path) == again
    other = filed(tmp_path / "g.npz", ids, values + 1)
    with pytest.raises(UserError, match=r"made from another specification .inputs"):
        import_embeddings(cache.path, other, image(model="CLIP ViT-B/32"), heard)


def forms(path, ids, values):
    """The same embeddings in every kind of file; by name of the file, what is asked for besides."""
    listed = np.array(ids)
    np.savez(path / "own.npz", uid=listed, image_feat=values, extra=np.arange(3))
    np.savez(path / "by_id.npz", **dict(zip(ids, values, strict=True)))
    np.savez(path / "two.npz", ids=listed, a=values, b=values + 1)
    np.save(path / "plain.npy", values)
    (path / "ids.txt").write_bytes("\r\n".join(ids).encode())
    (path / "ids.json").write_text(json.dumps(ids))
    (path / "ids.csv").write_text("number,uid\n" + "".join(f"{i},{one}\n" for i, one in enumerate(ids)))
    np.save(path / "ids.npy", listed)
    np.save(path / "dict.npy", np.array(dict(zip(ids, values, strict=True)), dtype=object))
    (path / "dict.pkl").write_bytes(pickle.dumps({"ids": list(ids), "features": values}))
    safetensors.numpy.save_file({"features": values}, path / "f.safetensors", {"ids": json.dumps(ids)})
    safetensors.numpy.save_file(dict(zip(ids, values, strict=True)), path / "by_id.safetensors")
    with h5py.File(path / "f.h5", "w") as file:
        file["group/features"], file["ids"] = values.astype(np.float64), ids
    with h5py.File(path / "by_id.hdf5", "w") as file:
        for one, value in zip(ids, values, strict=True):
            file[one] = value
    given = {f"plain.npy, {kind}": ("plain.npy", {"ids": path / kind}) for kind in ("ids.txt", "ids.json", "ids.csv", "ids.npy")}
    names = ("own.npz", "by_id.npz", "dict.npy", "dict.pkl", "f.safetensors", "by_id.safetensors", "f.h5", "by_id.hdf5")
    return {**{name: (name, {}) for name in names}, **given, "two.npz": ("two.npz", {"key": "a"})}


def test_every_kind_of_file_gives_the_same_embeddings(tmp_path):
    ids, values = [f"cone/{i:06d}" for i in range(4)], RNG.standard_normal((4, 5)).astype(np.float32)
    for name, (file, asked) in forms(tmp_path, ids, values).items():
        found = vectors.read(tmp_path / file, **asked)
        place = [found.ids.index(one) for one in ids]
        assert found.entry == (5,) and np.array_equal(found.take(place), values), name


def test_bfloat16_and_parquet(tmp_path):
    import torch
    from safetensors.torch import save_file

    values = torch.randn(3, 4).to(torch.bfloat16)
    save_file({"e": values}, tmp_path / "b.safetensors", {"ids": '["a", "b", "c"]'})
    assert np.array_equal(vectors.read(tmp_path / "b.safetensors").take([0, 2]), values.float().numpy()[[0, 2]])
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError:
        with pytest.raises(UserError, match="pip install pyarrow"):
            vectors.read(tmp_path / "a.parquet")
        return
    parquet.write_table(pyarrow.table({"uid": ["a", "b"], "f": [[1.0, 2.0], [3.0, 4.0]]}), tmp_path / "a.parquet")
    assert vectors.read(tmp_path / "a.parquet").take([1]).tolist() == [[3.0, 4.0]]


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda p: np.savez(p / "f.npz", ids=np.array(["a"]), x=np.ones((2, 3), np.float32)), "expected .1, E. or .1, V, E. for 1 ids"),
        (lambda p: np.savez(p / "f.npz", ids=np.array(["a"]), x=np.ones((1, 3)), y=np.ones((1, 3))), "which of these arrays"),
        (lambda p: np.savez(p / "f.npz", ids=np.array(["a"]), x=np.ones((1, 3), int)), "which of these arrays .*none"),
        (lambda p: np.savez(p / "f.npz", x=np.ones((2, 3)), y=np.ones((2, 4))), "has no ids"),
        (lambda p: np.savez(p / "f.npz", ids=np.array([{}], dtype=object), x=np.ones((1, 3))), "cannot be read"),
        (lambda p: (p / "f.npz").write_bytes(b"PK\3\4 cut"), "cannot be read"),
        (lambda p: (p / "f.safetensors").write_bytes(b"\xff" * 64), "no sound safetensors"),
        (lambda p: (p / "f.h5").write_bytes(b"nothing"), "cannot be read"),
        (lambda p: (p / "f.pt").write_bytes(pickle.dumps({})), "embeddings are read from"),
        (lambda p: (p / "f.pkl").write_bytes(pickle.dumps({"a": Call(print, "owned")})), "asks for builtins.print"),
        (lambda p: np.save(p / "f.npy", np.ones((2, 3))), "has no ids"),
    ],
)
def test_files_of_another_form_are_explained(tmp_path, made, message):
    made(tmp_path)
    (file,) = tmp_path.iterdir()
    with pytest.raises(UserError, match=message):
        vectors.read(file)


def test_a_small_file_that_unpacks_to_gigabytes(tmp_path):
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file.create_dataset("x", (10**6, 10**4), np.float32, chunks=(1, 10**4), compression="gzip")
        file["ids"] = ["a"]
    with pytest.raises(UserError, match="times its size"):
        vectors.read(tmp_path / "f.h5")


def wrong(change):
    values = np.random.default_rng(1).standard_normal((10, 4)).astype(np.float32)
    change(values)
    return values


FAULTS = {
    "NaN": (wrong(lambda v: v.__setitem__((1, 2), np.nan)), "night stand/000001 has an embedding with NaN or infinity, and 0 more"),
    "zeros": (wrong(lambda v: v.__setitem__(0, 0)), "cone/000000 has an embedding of all zeros"),
    "too small": (wrong(lambda v: v.__setitem__(0, 1e-9)), "too small for float16"),
    "too large": (wrong(lambda v: v.__setitem__(2, 1e5)), "torus/000002 has an embedding with numbers beyond 65504"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_unsound_embeddings_are_refused_and_nothing_is_written(cache, tmp_path, fault):
    values, message = FAULTS[fault]
    before = contents(cache.path)
    with pytest.raises(UserError, match=message):
        import_embeddings(cache.path, filed(tmp_path / "f.npz", cache.ids().tolist(), values), image(), Silent())
    assert contents(cache.path) == before


def test_ids_that_do_not_match_are_counted_and_named(cache, tmp_path):
    ids, values = cache.ids().tolist(), np.ones((10, 4), np.float32)
    with pytest.raises(UserError, match="has the id 'night stand/000001' twice"):
        import_embeddings(cache.path, filed(tmp_path / "a.npz", [ids[1], *ids[1:]], values), image(), Silent())
    with pytest.raises(UserError, match=r"none of the 10 ids in b.npz .* the file has 000000, .* and 5 more, the cache cone/000000"):
        import_embeddings(cache.path, filed(tmp_path / "b.npz", [i.rpartition("/")[2] for i in ids], values), image(), Silent())
    file = filed(tmp_path / "c.npz", ids[2:], values[2:])
    with pytest.raises(UserError, match=r"nothing for 2 of 9 usable shapes: cone/000000, night stand/000001. --missing status"):
        import_embeddings(cache.path, file, image(), Silent())
    heard = Heard()
    record = import_embeddings(cache.path, file, image(missing="status"), heard)
    assert record.lacking == 2 and any("2 shapes lack something in image/clip" in line for line in heard.lines)
    shown = CliRunner().invoke(cli.app, ["status", str(cache.path), "--json"])
    assert json.loads(shown.stdout)["lacking"] == {"image/clip": ["cone/000000", "night stand/000001"]}
    mean, variance = cache.column("stats/image/clip")
    assert np.allclose(mean, 1) and np.allclose(variance, 0), "shapes without an embedding do not count"
    assert not validate.problems(cache.path)


def test_texts_belong_to_captions(cache, tmp_path):
    ids, values = cache.ids().tolist(), RNG.standard_normal((10, 3, 4)).astype(np.float32)
    file = filed(tmp_path / "f.npz", ids, values)
    with pytest.raises(UserError, match="need --captions NAME"):
        Embeddings(teacher="clip", kind="text")
    with pytest.raises(UserError, match="has no product 'captions/none'"):
        import_embeddings(cache.path, file, Embeddings(teacher="clip", kind="text", captions="none"), Silent())
    with pytest.raises(UserError, match=r"captions/synthetic has 3 texts of each shape, and g.npz 2"):
        bad = filed(tmp_path / "g.npz", ids, values[:, :2])
        import_embeddings(cache.path, bad, Embeddings(teacher="clip", kind="text", captions="synthetic"), Silent())
    record = import_embeddings(cache.path, file, Embeddings(teacher="clip", kind="text", captions="synthetic"), Silent())
    assert ("captions", cache.record("captions/synthetic").fingerprint) in record.inputs
    assert np.array_equal(cache.array(record.product)[0], values[0].astype(np.float16))


def test_a_teacher_keeps_its_width_model_and_text_side(cache, tmp_path):
    ids = cache.ids().tolist()
    import_embeddings(cache.path, filed(tmp_path / "a.npz", ids, np.ones((10, 4), np.float32)), image(model="M"), Silent())
    texts_of = {"teacher": "clip", "kind": "text", "captions": "synthetic"}
    for values, asked, message in (
        (np.ones((10, 3, 5), np.float32), Embeddings(**texts_of), "dim is 4, asked 5"),
        (np.ones((10, 3, 4), np.float32), Embeddings(**texts_of, model="N"), "weights is 'told:M', asked 'told:N'"),
        (np.ones((10, 4), np.float32), image(text_side=False), "text is True, asked False"),
        (np.ones((10, 4), np.float32), image("random-a"), "by another teacher random-a"),
    ):
        with pytest.raises(UserError, match=message):
            import_embeddings(cache.path, filed(tmp_path / "b.npz", ids, values), asked, Silent())
    file = filed(tmp_path / "c.npz", ids, np.ones((10, 3, 4), np.float32))
    assert import_embeddings(cache.path, file, Embeddings(**texts_of), Silent()).spec.model == "M", "what is told once holds"


def test_label_sets_of_openshape_and_of_the_cache(cache, tmp_path):
    def labels(name, held, *templates, **more):
        np.save(tmp_path / "l.npy", held if isinstance(held, np.ndarray) else np.array(held, dtype=object))
        asked = Embeddings(teacher="clip", kind="labels", labels=name, templates=templates, **more)
        return import_embeddings(cache.path, tmp_path / "l.npy", asked, Silent())

    values = RNG.standard_normal((3, 1, 4)).astype(np.float32)
    names = ("torus", "cone", "night_stand")
    held = {name: {"open_clip_text_feat": value} for name, value in zip(names, values, strict=True)}
    record = labels("published", held)
    assert record.labels.classes == ("torus", "cone", "night stand") and record.labels.templates == ("{}",)
    assert np.array_equal(cache.column(record.product), values.astype(np.float16))
    own = labels("source", held)
    assert own.labels.classes == ("cone", "night stand", "torus")
    assert np.array_equal(cache.column(own.product), values[[1, 2, 0]].astype(np.float16))
    (tmp_path / "names.txt").write_text("b\na\n")
    plain = labels("lvis", np.ones((2, 4), np.float32), ids=tmp_path / "names.txt")
    assert plain.labels.classes == ("b", "a")
    two = {name: np.ones((2, 4), np.float32) for name in "ab"}
    with pytest.raises(UserError, match="give the 2 sentences with --template"):
        labels("many", two)
    assert labels("many", two, "a {}", "the {}").labels.templates == ("a {}", "the {}")
    with pytest.raises(UserError, match="read alike"):
        labels("alike", {"night stand": np.ones(4, np.float32), "night_stand": np.ones(4, np.float32)})
    with pytest.raises(UserError, match="no embedding of torus"):
        labels("source", {"cone": np.ones(4, np.float32), "night stand": np.ones(4, np.float32)})


# -------------------------------------------------------------------------------------------------------------- captions


CSV = '{0},"A cone, red ""and"" tall"\r\n{1},plain words\r\n\r\n{1},second words\r\nunknown,nothing\r\n'


def test_captions_of_cap3d(cache, tmp_path):
    ids = cache.ids().tolist()
    file = tmp_path / "Cap3D_automated.csv"
    file.write_bytes(CSV.format(ids[0], ids[1]).encode())
    with pytest.raises(UserError, match=r"nothing for 7 of 9 usable shapes: cone/000006, .* and 2 more"):
        import_captions(cache.path, file, Captions(name="cap3d"), Silent())
    heard = Heard()
    record = import_captions(cache.path, file, Captions(name="cap3d", author="Cap3D", missing="status"), heard)
    said_ = texts(cache.column("captions/cap3d/text"))
    assert said_.shape == (10, 1, 2) and said_[0, 0].tolist() == ['A cone, red "and" tall', ""]
    assert said_[1, 0].tolist() == ["plain words", "second words"] and not said_[2:].any()
    assert record.lacking == 7 and record.spec.imported and record.spec.per == "shape" and record.spec.keep == 2
    assert any("1 of 3 ids in Cap3D_automated.csv are no shapes of the cache: unknown" in line for line in heard.lines)
    few = filed(tmp_path / "t.npz", ids[:2], np.array([[[1, 1.0], [0, 0]], [[1, 2], [3, 4]]], np.float32))
    text = import_embeddings(cache.path, few, Embeddings(teacher="clip", kind="text", captions="cap3d"), Silent())
    assert text.lacking == 7 and not cache.array(text.product)[0, 1].any(), "where there is no text, none is expected"
    assert not validate.problems(cache.path)


def test_ids_of_shapenet_as_cap3d_spells_them(tmp_path):
    names = LabelSet(name="two", classes=("02691156-1a", "03001627-2b"), templates=("a {}",))
    made = synthetic.write(tmp_path / "c.zarr", shapes=2, shard=2, labels=names)
    file = tmp_path / "Cap3D_automated_ShapeNet.csv"
    file.write_text("".join(f"{one.replace('-', '_')},text {number}\n" for number, one in enumerate(made.ids())))
    heard = Heard()
    import_captions(made.path, file, Captions(name="cap3d"), heard)
    cache = store.open_cache(made.path)
    assert texts(cache.column("captions/cap3d/text"))[:, 0, 0].tolist() == ["text 0", "text 1"]
    assert any("they are taken for SYNSET-MODEL" in line for line in heard.lines)


def test_three_columns_without_names_are_no_captions(tmp_path):
    """Cap3D_automated_ABO.csv is id, kind, caption."""
    file = tmp_path / "Cap3D_automated_ABO.csv"
    file.write_text("B075X4YWXY,general,a chair\n")
    with pytest.raises(UserError, match="or name the columns in a first line, as uid,kind,caption"):
        said.read(file)
    file.write_text("uid,kind,caption\nB075X4YWXY,general,a chair\n")
    assert said.read(file) == {"B075X4YWXY": ["a chair"]}


def test_captions_in_every_form(tmp_path):
    expected = {"a": ["one", "two"], "b": ["three"]}
    rows = [{"uid": "a", "caption": ["one", "two"]}, {"uid": "b", "caption": "three"}]
    (tmp_path / "a.csv").write_text("﻿caption,other,UID\none,x,a\ntwo,x,a\nthree,x,b\n", encoding="utf-8")
    (tmp_path / "b.tsv").write_text("a\tone\na\ttwo\nb\tthree\n")
    (tmp_path / "c.json").write_text(json.dumps(expected))
    (tmp_path / "d.json").write_text(json.dumps(rows))
    (tmp_path / "e.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    (tmp_path / "f.pkl").write_bytes(pickle.dumps({"a": ["one", "two"], "b": "three"}))
    (tmp_path / "g.json.gz").write_bytes(gzip.compress(json.dumps(expected).encode()))
    for file in tmp_path.iterdir():
        assert said.read(file) == expected, file.name


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "a,one,two\n", "line 1: expected 2 cells .id, caption., got 3; quote"),
        ("a.csv", 'a,"one\n', "no readable CSV"),
        ("a.csv", "", "holds no captions"),
        ("a.csv", "a,\nb, \n", "holds no captions"),
        ("a.json", "[1]", "expected an object with uid"),
        ("a.json", "{", "is no JSON"),
        ("a.json", '{"a": 7}', "expected a caption or a list"),
        ("a.json", "7", "expected captions by id"),
        ("a.jsonl", '{"uid": "a", "caption": "x"}\n{\n', "line 2, is no JSON"),
        ("a.xlsx", "x", "captions are read from"),
    ],
)
def test_wrong_files_of_captions(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        said.read(tmp_path / name)


def test_other_commands_leave_imported_products_alone(cache, tmp_path):
    ids = cache.ids().tolist()
    record = import_embeddings(cache.path, filed(tmp_path / "a.npz", ids, np.ones((10, 4), np.float32)), image(), Silent())
    file = tmp_path / "c.csv"
    file.write_text("".join(f"{one},a thing\n" for one in ids))
    captions = import_captions(cache.path, file, Captions(name="cap"), Silent())
    for described, load in ((record.spec, Models("cpu").teacher), (captions.spec, Models("cpu").captioner)):
        with pytest.raises(UserError, match="was imported, and no model here makes it"):
            load(described)
    assert "clip" not in [teacher.name for teacher in text_teachers(cache)]
    write(store.open_cache(cache.path), tmp_path / "page.html", 4)
    assert "imported, told to be of clip" in (tmp_path / "page.html").read_text()
    old = synthetic.write(tmp_path / "old.zarr", shapes=4, format_version=1)
    with pytest.raises(UserError, match="has format 1: convert it"):
        import_captions(old.path, file, Captions(name="cap"), Silent())


def test_imported_captions_are_embedded_by_the_teachers_of_a_cache(copied, tmp_path):
    """The text of a shape that is not in the file is no text: zeros, and training leaves it out."""
    from pipeline.work import Machine

    cache = store.open_cache(copied)
    ids = [one for one, ok in zip(cache.ids().tolist(), cache.ok(), strict=True) if ok]
    (tmp_path / "c.csv").write_text("".join(f"{one},a box number {i}\n" for i, one in enumerate(ids[1:])))
    shown = CliRunner().invoke(cli.app, ["import-captions", str(copied), str(tmp_path / "c.csv"), "--name", "cap"])
    assert isinstance(shown.exception, UserError) and "captions/cap" not in cache.records()
    asked = Captions(name="cap", missing="status")
    captioning.import_captions(copied, tmp_path / "c.csv", asked, 8, Machine(device="cpu"), Silent())
    stored = cache.array("text/cap/starter-resnet")[:]
    rows = [cache.ids().tolist().index(one) for one in ids]
    assert not stored[rows[0]].any() and stored[rows[1:]].any(axis=(1, 2)).all()
    assert not validate.problems(copied)


def shared():
    value = [1] * 10
    for _ in range(9):
        value = [value] * 10
    return value


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.pkl", lambda: pickle.dumps({"a": shared()}), "so many places"),
        ("a.pkl", lambda: pickle.dumps([shared()]), "so many places"),
        ("a.pkl", lambda: pickle.dumps({"a": [[1] * 10] * 10}), "expected a caption or a list of captions, got a list"),
        ("a.json", lambda: rb'{"a \ud800 b": "chair"}', "id 'a .ud800 b', has a text with half of a surrogate pair"),
        ("a.json", lambda: rb'{"b": ["red", "chair \udc80"]}', "id 'b', has a text with half of a surrogate pair"),
        ("a.pkl", lambda: pickle.dumps({"b": "chair \ud800"}), "half of a surrogate pair"),
        ("a.jsonl", lambda: b'{"id": "a", "caption": "b"}\n' + b"[" * 200_000 + b"]" * 200_000, "line 2, is no JSON"),
        ("a.parquet", lambda: b"PAR1" + bytes(100) + b"PAR1", "a.parquet cannot be read"),
        ("a.csv.gz", lambda: gzip.compress(b"a,b\n" * 100)[:12] + b"\xff" * 20, "cannot be read"),
    ],
)
def test_hostile_and_damaged_captions_end_in_one_sentence(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data())
    with pytest.raises(UserError, match=message):
        said.read(tmp_path / name)


def test_ids_of_embeddings_that_are_no_unicode(tmp_path):
    values = np.ones((2, 3), np.float32)
    np.savez(tmp_path / "a.npz", ids=np.array([65, 0xFFFFFFFF], np.uint32).view("<U1"), values=values)
    with pytest.raises(UserError, match="0xffffffff"):
        vectors.read(tmp_path / "a.npz")
    np.save(tmp_path / "b.npy", values)
    (tmp_path / "ids.json").write_text(r'["a", "b \ud800"]')
    with pytest.raises(UserError, match=r"ids.json has a text with half of a surrogate pair.*b .ud800"):
        vectors.read(tmp_path / "b.npy", ids=tmp_path / "ids.json")
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"a": values[0], "b\udfff": values[1]}))
    with pytest.raises(UserError, match="surrogate"):
        vectors.read(tmp_path / "a.pkl")
