"""Every source keeps the contract of `pipeline.sources.catalog`, whatever it reads; and what is particular to each."""

import dataclasses
import functools
import json
import os
import pickle
import shutil
import subprocess
import sys
import unicodedata
import zipfile
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest

from cache_schema.axes import UP
from cache_schema.spec import TEXT_BYTES, SourceSpec
from pipeline import building, reading
from pipeline import geometry as meshes
from pipeline.formats.catalog import ELSEWHERE, FORMATS, READINGS
from pipeline.opening import create, described, open_config_source
from pipeline.recipes import configured
from pipeline.sources import catalog, modelnet, shapenet
from pipeline.sources.catalog import Entry, Source, open_source, shape_id
from pipeline.sources.files import usual_up
from pipeline.sources.folder import name_in, split_level
from pipeline.starter import shapes
from pipeline.starter.kinds.catalog import KINDS
from pipeline.starter.kinds.thing import COLORS
from pipeline.work import Machine
from tests.pipeline.conftest import Silent

MADE = ("starter", "rooms", "forms")
"""Sources whose examples are made in code and read no files."""

LICENSED = ("ulip", "objaverse")
"""Sources that know the licence of the shapes of their example."""

TRIANGLE = "OFF\n3 1 0\n0 0 0\n1 0 0\n0 0 2\n3 0 1 2\n"


def plant(root: Path, *names: str) -> str:
    """Writes the same small .off file under each name."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(TRIANGLE)
    return str(root)


def table(source: Source) -> list[tuple[str, str, str]]:
    return [(entry.id, entry.label, entry.split) for entry in source.entries]


def highest(geometry: meshes.Geometry) -> float:
    """The largest Y."""
    vertices = geometry.points if isinstance(geometry, meshes.Cloud) else np.concatenate([part.vertices for part in geometry.parts])
    return float(vertices[:, 1].max())


# ------------------------------------------------------------------------------------------------- all of them alike


@pytest.fixture(params=catalog.SOURCES)
def example(request, tmp_path):
    """A source's own example: its name, the folder it lies in, and its location."""
    folder = tmp_path / "one"
    folder.mkdir()
    module = __import__(catalog.SOURCES[request.param], fromlist=["example"])
    return request.param, folder, module.example(folder)


def test_auto_finds_the_source_and_it_lists_shapes_in_order(example):
    name, _, location = example
    source = open_source(location)
    ids = [entry.id for entry in source.entries]
    assert source.reader.kind == name
    assert len(ids) > 1 and ids == sorted(set(ids))
    assert all(len(shape.encode()) <= TEXT_BYTES for shape in ids)
    assert all(source.skipped.values())


def test_nothing_recorded_names_the_machine(example):
    _, folder, location = example
    source = open_source(location)
    assert str(folder) not in repr((source.entries, source.reader.options, source.skipped))
    assert source.reader.options == tuple(sorted(source.reader.options))
    assert not any(os.path.isabs(entry.locator) for entry in source.entries)


def test_every_shape_reads_finite_in_another_process(example):
    _, _, location = example
    source = open_source(location)
    reader, entries = pickle.loads(pickle.dumps((source.reader, source.entries)))
    assert reader == source.reader and entries == source.entries
    for entry in entries[:: 1 + len(entries) // 8]:  # the collections that are made have hundreds, and tests of their own
        geometry = meshes.checked(reader.read(entry))
        arrays = [geometry.points] if isinstance(geometry, meshes.Cloud) else [part.vertices for part in geometry.parts]
        assert all(array.dtype == np.float32 and array.shape[1] == 3 and np.isfinite(array).all() for array in arrays)
        assert len(reader.digest(entry)) == 32 and reader.digest(entry) == source.reader.digest(entry)


def test_a_cache_can_note_how_every_shape_was_read(example):
    name, _, location = example
    source = open_source(location)
    found = [catalog.read_by(source.reader, entry) for entry in source.entries]
    made_in_code = not SourceSpec(kind=name, ids="", options=source.reader.options).from_files
    assert all(found) or (made_in_code and not any(found))


def test_every_format_and_every_source_with_files_of_its_own_has_a_number():
    assert set(FORMATS) | {"labels"} == {name for name in READINGS if name not in catalog.SOURCES}
    assert all(number >= 1 for number in READINGS.values())


def test_a_copy_made_in_another_order_is_the_same_source(example, tmp_path):
    _, folder, location = example
    for path in sorted((path for path in folder.rglob("*") if path.is_file()), reverse=True):
        to = tmp_path / "another" / path.relative_to(folder)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, to)
    source, again = open_source(location), open_source(location.replace(str(folder), str(tmp_path / "another")))
    assert again.entries == source.entries and again.reader.options == source.reader.options
    assert [again.reader.digest(entry) for entry in again.entries] == [source.reader.digest(entry) for entry in source.entries]


def test_recorded_options_open_the_same_source(example):
    name, _, location = example
    source = open_source(location, textures="grey")
    reader = source.reader
    assert open_source(reader.location, kind=name, textures=reader.textures, **dict(reader.options)) == source


def test_an_unknown_option_is_refused(example):
    name, _, location = example
    with pytest.raises(ValueError, match=f"source '{name}' has no option 'colour'"):
        open_source(location, colour="red")


def test_a_licence_holds_for_every_shape_that_has_none(example):
    name, _, location = example
    plain, licensed = open_source(location), open_source(location, licence="CC-BY-4.0")
    expected = "MIT" if name in MADE else "CC-BY-4.0"
    assert {entry.licence for entry in licensed.entries} == ({entry.licence for entry in plain.entries} - {""} or {expected})
    assert name in LICENSED or {entry.licence for entry in plain.entries} == {"MIT" if name in MADE else ""}
    assert licensed.reader == plain.reader and licensed.notes == plain.notes
    assert catalog.about()[name][1]["licence"] == ""


def test_a_location_may_be_relative_and_is_kept_absolute(example, monkeypatch):
    name, folder, location = example
    monkeypatch.chdir(folder.parent)
    source = open_source(location if name in MADE else os.path.relpath(location))
    monkeypatch.chdir("/")
    source.reader.read(source.entries[0])


def test_the_catalogue_imports_nothing_heavy():
    code = "import sys, pipeline.sources.catalog; print(*({'trimesh', 'h5py', 'zarr', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == []


def test_mistakes_of_the_caller_are_explained(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'folder'"):
        open_source(str(tmp_path), kind="foldr")
    with pytest.raises(ValueError, match="textures: expected one of require, grey, got 'gray'"):
        open_source(str(tmp_path), textures="gray")
    (tmp_path / "Meshes").mkdir()
    for place, told in (("nowhere", "collection"), ("meshs/", r"did you mean '.*/Meshes'\?"), ("no/where", "collection")):
        with pytest.raises(ValueError, match=f"does not exist: it is neither a path.*{told}; `mmpd-cache sources` lists") as raised:
            open_source(f"{tmp_path}/{place}")
        assert len(str(raised.value)) < 300 + len(str(tmp_path)) * 2
    with pytest.raises(ValueError, match="did you mean 'starter'"):
        open_source("startr")
    (tmp_path / "chair.blend").touch()
    with pytest.raises(ValueError, match="is a file of a kind no source reads"):
        open_source(str(tmp_path / "chair.blend"))
    with pytest.raises(ValueError, match=r"holds no shapes; source 'folder' looks for .*\.glb.*; it saw 1 \.blend"):
        open_source(str(tmp_path))
    with pytest.raises(ValueError, match="no folder"):
        open_source(str(tmp_path / "chair.blend"), kind="modelnet")


def test_ids_that_are_too_long_are_cut_and_stay_different():
    long = "é" * 300
    ids = {shape_id(long), shape_id(long + "a"), shape_id(long + "b")}
    assert len(ids) == 3 and all(len(one.encode()) <= TEXT_BYTES and one.startswith("é" * 100) for one in ids)
    assert shape_id("a" * TEXT_BYTES) == "a" * TEXT_BYTES


def test_two_shapes_of_one_id_are_an_error(tmp_path):
    reader = open_source(plant(tmp_path, "a.off")).reader
    with pytest.raises(ValueError, match=r"two shapes have the id 'x': 'a\.off' and 'b\.off'"):
        Source.of(reader, [Entry(id="x", locator="a.off"), Entry(id="w", locator="c.off"), Entry(id="x", locator="b.off")])


# ------------------------------------------------------------------------------------------------------------ folder


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        # CLASS/SPLIT, SPLIT/CLASS and other names of splits.
        (("chair/train/a.off", "sofa/Test/b.off"), [("chair", "train"), ("sofa", "test")]),
        (("training/chair/x.off", "validation/sofa/x.off"), [("chair", "train"), ("sofa", "val")]),
        (("set/train/chair/deep/x.off", "set/train/y.off"), [("set", "train"), ("set", "train")]),
        # A folder that is called like a split among others that are not is a class.
        (("bus/1.off", "car/1.off", "train/1.off"), [("bus", ""), ("car", ""), ("train", "")]),
        (("extra/1.off", "test/1.off", "train/1.off"), [("extra", ""), ("", "test"), ("", "train")]),
        # File names that tell no more than the folders, and ones that do.
        (("chair/chair_01.off", "sofa/sofa_B.off"), [("chair", ""), ("sofa", "")]),
        (("chair/model.off", "sofa/model.off"), [("chair", ""), ("sofa", "")]),
        (("city/bench.off", "city/car_taxi.off"), [("bench", ""), ("car taxi", "")]),
        (("chair_A.off", "chair_B_wood.off"), [("chair", ""), ("chair wood", "")]),
        (("a/1.off", "a/2.off", "a/copy of 2.off", "b/3.off", "b/3 old bad.off"), [("a", ""), ("a", ""), ("a", ""), ("b", ""), ("b", "")]),
        (
            ("a/1.off", "a/2.off", "a/3.off", "a/copy of 2.off", "a/best one.off"),
            [("", ""), ("", ""), ("", ""), ("best one", ""), ("copy of", "")],
        ),
        (("train/chair_1.off", "test/sofa_1.off"), [("sofa", "test"), ("chair", "train")]),
        (("0001.off", "0002.off"), [("", ""), ("", "")]),
    ],
)
def test_labels_and_splits_from_names(tmp_path, names, expected):
    assert [(entry.label, entry.split) for entry in open_source(plant(tmp_path, *names), kind="folder").entries] == expected


def test_the_label_can_be_chosen(tmp_path):
    location = plant(tmp_path, "city/bench_A.off", "city/train/car.off")
    assert table(open_source(location, kind="folder", label="file")) == [
        ("city/bench_A.off", "bench", ""),
        ("city/train/car.off", "car", "train"),
    ]
    assert [entry.label for entry in open_source(location, kind="folder", label="folder").entries] == ["city", "city"]
    assert [entry.label for entry in open_source(location, kind="folder", label="none").entries] == ["", ""]
    with pytest.raises(ValueError, match=r"option label: expected one of .*, got 'files'; did you mean 'file'"):
        open_source(location, kind="folder", label="files")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("chair_A.gltf", "chair"),
        ("banner_patternA_blue.gltf.glb", "banner pattern blue"),
        ("building_A_withoutBase.gltf", "building without base"),
        ("night-stand 02.STL", "night stand"),
        ("pan_006.obj", "pan"),
        ("Sofa17.ply", "sofa"),
        ("0017.off", ""),
        ("1a04e3eab45ca15dd86060f189eb133.obj", ""),
        ("3f2a-11ee-9c56_x.glb", ""),
        ("stuhl_größe_ü.glb", "stuhl größe ü"),
        ("椅.glb", "椅"),
    ],
)
def test_the_name_in_a_file_name(file, name):
    assert name_in(file) == name


def test_the_split_level():
    assert split_level([["chair", "train"], ["sofa", "TEST"], ["sofa"]]) == 1
    assert split_level([["train"], ["car"]]) == split_level([[]]) == split_level([]) == -1
    assert split_level([["train"], ["val"], ["extra"]]) == 0


def test_what_is_no_shape_is_counted(tmp_path):
    location = plant(tmp_path, "a.OFF", "b.off", "t/c.off", ".git/d.off", ".e.off")
    for name in ("a.png", "B.PNG", "t/scene.bin", "x.blend", "README", "notes.txt"):
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "pipe.off")
    source = open_source(location)
    assert [entry.id for entry in source.entries] == ["a.OFF", "b.off", "t/c.off"]
    assert source.skipped == {".bin": 1, ".blend": 1, ".png": 2, ".txt": 1, "device or pipe": 1, "hidden": 2, "no extension": 1}


def test_links_are_followed_once_and_loops_end(tmp_path):
    root = tmp_path / "in" / "root"
    plant(root, "a/one.off")
    plant(tmp_path / "elsewhere", "two.off")
    (root / "0_same").symlink_to(root / "a")
    (root / "a" / "loop").symlink_to(root / "a")
    (root / "self").symlink_to("self")
    (root / "up").symlink_to(tmp_path)
    (root / "out").symlink_to(tmp_path / "elsewhere")
    (root / "out2").symlink_to(tmp_path / "elsewhere")
    (root / "gone.off").symlink_to("nothing.off")
    source = open_source(str(root))
    assert [entry.id for entry in source.entries] == ["a/one.off", "gone.off", "out/two.off"]
    assert source.skipped == {"link to a folder seen before": 4, "no extension": 1}
    for read in (source.reader.read, source.reader.digest):
        with pytest.raises(ValueError, match=r"no such file: gone\.off"):
            read(source.entries[1])


def test_names_are_text_that_any_machine_writes_alike(tmp_path):
    decomposed = unicodedata.normalize("NFD", "stühle") + "/é.off"
    location = plant(tmp_path, decomposed, "A.off", "a.off", *("/".join(["x" * 200] * 3) + f"/{i}.off" for i in (1, 2)))
    raw = os.fsencode(tmp_path) + b"/caf\xe9.off"
    with open(raw, "w") as file:
        file.write(TRIANGLE)
    source = open_source(location, label="folder")
    ids = [entry.id for entry in source.entries]
    assert ids[:3] == ["A.off", "a.off", r"caf\xe9.off"] and ids[3] == unicodedata.normalize("NFC", decomposed)
    assert ids[4][:200] == "x" * 200 and len(ids[4].encode()) == len(ids[5].encode()) == TEXT_BYTES
    assert source.entries[3].label == "stühle"
    for entry in pickle.loads(pickle.dumps(source)).entries:
        source.reader.read(entry)


def test_names_that_differ_only_in_their_unicode_form_are_an_error(tmp_path):
    location = plant(tmp_path, unicodedata.normalize("NFD", "é.off"), unicodedata.normalize("NFC", "é.off"))
    with pytest.raises(ValueError, match="two shapes have the id") as refused:
        open_source(location)
    assert r"'é.off': '\xe9.off' and 'e\u0301.off', which look alike" in str(refused.value)


def test_a_folder_that_may_not_be_read_is_an_error(tmp_path, monkeypatch):
    location = plant(tmp_path, "a.off", "locked/b.off")
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ValueError, match=r"cannot list the folder '.*locked': Permission denied"):
        open_source(location)


def test_the_up_axis(tmp_path):
    """The triangle is 2 high in Z and 0 in Y."""
    location = plant(tmp_path, "shape.off")
    (tmp_path / "shape.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 0 2\nf 1 2 3\n")
    for up, expected in (
        ("auto", {"shape.off": 2, "shape.obj": 0}),
        ("y", {"shape.off": 0, "shape.obj": 0}),
        ("z", {"shape.off": 2, "shape.obj": 2}),
        ("-x", {"shape.off": 0, "shape.obj": 0}),
        ("-z", {"shape.off": 0, "shape.obj": 0}),
    ):
        source = open_source(location, up=up)
        assert {entry.id: highest(source.reader.read(entry)) for entry in source.entries} == expected
        assert ("up", up) in source.reader.options
    with pytest.raises(ValueError, match="option up: expected one of 'auto', 'x', 'y', 'z', '-x', '-y', '-z', got 'up'"):
        open_source(location, up="up")


@pytest.mark.parametrize(("said", "up"), [("Z_UP", "z"), ("Y_UP", "y"), ("", "y")])
def test_collada_says_its_up_axis(tmp_path, monkeypatch, said, up):
    (tmp_path / "a.dae").write_text(f"<COLLADA><asset><up_axis>{said}</up_axis></asset></COLLADA>")
    asked = []
    monkeypatch.setattr(reading, "load", lambda path, **how: asked.append(how))
    source = open_source(str(tmp_path), textures="grey")
    source.reader.read(source.entries[0])
    assert asked == [{"up": up, "textures": "grey", "labels": None}]


def test_broken_files_fail_alone_when_they_are_read(tmp_path):
    location = plant(tmp_path, "good.off")
    (tmp_path / "broken.off").write_text("OFF 3 1 0\n0 0")
    np.save(tmp_path / "objects.npy", np.array([{"no": "cloud"}]), allow_pickle=True)
    source = open_source(location)
    failed = []
    for entry in source.entries:
        try:
            source.reader.read(entry)
        except ValueError:
            failed.append(entry.id)
    assert failed == ["broken.off", "objects.npy"]


def test_every_extension_listed_is_one_that_can_be_read():
    assert set(UP) == set(FORMATS)
    assert not set(FORMATS) & set(ELSEWHERE)


# ---------------------------------------------------------------------------------------------- ModelNet and ShapeNet


def test_modelnet_takes_its_own_tree_only(tmp_path):
    location = plant(
        tmp_path, "night_stand/train/night_stand_0001.off", "chair/test/chair_0001.off", "chair/loose.off", "chair/old/train/x.off"
    )
    (tmp_path / "README.txt").touch()
    source = open_source(location)
    assert source.reader.kind == "modelnet"
    assert table(source) == [
        ("chair/test/chair_0001.off", "chair", "test"),
        ("night_stand/train/night_stand_0001.off", "night_stand", "train"),
    ]
    assert source.skipped == {".off elsewhere": 2, ".txt": 1}
    assert highest(source.reader.read(source.entries[0])) == 2  # +Z up in the file


def test_a_tree_with_other_formats_too_is_no_modelnet(tmp_path):
    plant(tmp_path, "chair/train/a.off", "chair/train/b.stl")
    assert not modelnet.recognises(str(tmp_path))
    assert not modelnet.recognises(str(tmp_path / "chair" / "train" / "a.off"))


def test_shapenet_meshes(tmp_path):
    location = shapenet.example(tmp_path)
    (tmp_path / "99999999" / "1z").mkdir(parents=True)
    (tmp_path / "99999999" / "1z" / "model.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    (tmp_path / "stray.obj").touch()
    source = open_source(location)
    assert table(source) == [
        ("03001627-1a", "chair", ""),
        ("03001627-2b", "chair", ""),
        ("04379243-3c", "table", ""),
        ("99999999-1z", "99999999", ""),
    ]
    assert source.skipped == {".obj elsewhere": 1}


def test_empty_lists_of_shapenet_do_not_mean_that_there_are_none(tmp_path):
    for split in ("train", "test"):
        (tmp_path / f"{split}.txt").write_text("\n")
    with pytest.raises(ValueError, match="names no model, and neither does another list"):
        shapenet.read_lists(tmp_path)


def test_shapenet_lists_choose_and_split(tmp_path):
    location = shapenet.example(tmp_path / "core")
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "shapenet55_train.txt").write_text("03001627-1a.npy\n03001627/gone\n")
    (lists / "shapenet55_test.txt").write_text("04379243-3c.npy\n")
    (lists / "notes.txt").write_text("nothing to do with it")
    source = open_source(location, lists=str(lists))
    assert table(source) == [("03001627-1a", "chair", "train"), ("03001627-gone", "chair", "train"), ("04379243-3c", "table", "test")]
    assert source.skipped == {"not in the lists": 1}
    with pytest.raises(ValueError, match=r"no such file: 03001627/gone/models/model_normalized\.obj"):
        source.reader.read(source.entries[1])
    assert source.reader.options == ()

    (lists / "shapenet55_val.txt").write_text("03001627-1a\n")
    with pytest.raises(ValueError, match=r"shapenet55_val\.txt, line 1: 03001627-1a is in the split"):
        open_source(location, lists=str(lists))
    (lists / "shapenet55_val.txt").write_text("chair 1\n")
    with pytest.raises(ValueError, match="expected SYNSET-MODEL, got 'chair 1'"):
        open_source(location, lists=str(lists))
    with pytest.raises(ValueError, match=r"holds no \.txt file with train, val or test"):
        open_source(location, lists=str(tmp_path / "core"))


def test_a_table_of_splits_of_shapenet(tmp_path):
    """As SHREC16's all.csv beside version 1, whose numbers of synsets have lost a zero. It lists more than most have."""
    location = Path(shapenet.example(tmp_path / "core"))
    head = "id,synsetId,subSynsetId,modelId,split\n"
    table_ = location / "all.csv"
    table_.write_text(f"{head}1,3001627,3001627,1a,train\n2,3001627,3001627,gone,val\n3,04379243,04379243,3c,test\n4,02691156,,9z,train\n")
    (location / "taxonomy.csv").write_text("synset,name\n03001627,chair\n")
    source = open_source(str(location))
    expected = [("03001627-1a", "chair", "train"), ("03001627-gone", "chair", "val"), ("04379243-3c", "table", "test")]
    assert table(source) == expected and source.skipped == {"not in the lists": 1, ".csv": 1}, "taxonomy.csv is none"
    assert "left out of the table, because no folder of theirs is here: 1 synset" in source.notes
    assert any(note.startswith("split told by all.csv: ") for note in source.notes)
    (location / "val.txt").write_text("03001627-gone\n")
    assert open_source(str(location)).skipped[".csv"] == 1, "a list is no table"
    (location / "val.txt").unlink()
    assert len(open_source(str(location), split="0.8").entries) == 3, "all that is here"
    one = str(location / "03001627")
    assert any(f"{str(table_)!r} is read by --set source.lists=FILE" in note for note in open_source(one, kind="shapenet").notes)
    table_.write_text(table_.read_text() + "damaged,\n")
    assert any("is read by --set source.lists=FILE" in note for note in open_source(one, kind="shapenet").notes), "nobody asked for it"
    table_.write_text(table_.read_text().removesuffix("damaged,\n"))
    moved = table_.rename(tmp_path / "split.csv")
    moved.write_text(moved.read_text().replace(",", ";"))
    assert table(open_source(str(location), lists=str(moved))) == expected
    alone = open_source(one, kind="shapenet", lists=str(moved))
    assert table(alone) == expected[:2] and not any("synset" in note for note in alone.notes)
    for row, match in (
        ("5,chair,,1a,train", "line 2: expected a synset"),
        ('5,"3001627,,1a,train', "no readable CSV"),
        ("", "names no model"),
        ("5,02691156,,9z,train", r"split\.csv lists no model of the synsets that are here \(03001627, 04379243\)"),
        ("1,3001627,,1a,train\n2,03001627,,1a,test", r"split\.csv, line 3: 03001627-1a is in the split 'train' already"),
    ):
        moved.write_text(f"{head}{row}\n")
        with pytest.raises(ValueError, match=match):
            open_source(str(location), lists=str(moved))
    with pytest.raises(ValueError, match="there is no file"):
        open_source(str(location), lists=str(tmp_path / "nope.csv"))


def test_shapenet_clouds_as_point_bert_gives_them(tmp_path):
    (tmp_path / "shapenet_pc").mkdir()
    (tmp_path / "ShapeNet-55").mkdir()
    points = np.random.default_rng(0).normal(size=(32, 3)).astype(np.float32)
    np.save(tmp_path / "shapenet_pc" / "02691156-aa.npy", points)
    (tmp_path / "ShapeNet-55" / "train.txt").write_text("02691156-aa.npy\n02691156-gone.npy\n")
    source = open_source(str(tmp_path))
    assert source.reader.kind == "shapenet"
    assert table(source) == [("02691156-aa", "airplane", "train"), ("02691156-gone", "airplane", "train")]
    assert np.array_equal(source.reader.read(source.entries[0]).points, points)  # +Y up already
    with pytest.raises(ValueError, match=r"no such file: shapenet_pc/02691156-gone\.npy"):
        source.reader.read(source.entries[1])


def test_a_synset_alone_and_what_of_shapenet_has_no_mesh_or_no_lists(tmp_path):
    core, model = tmp_path / "ShapeNetCore.v2", "models/model_normalized.obj"
    for place in ("02691156/1a04", "02691156/1a6f", "02958343/9fb1"):
        (core / place / "models").mkdir(parents=True)
        (core / place / "images").mkdir()
    for place in ("02691156/1a04", "02691156/1a6f"):
        (core / place / model).write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    source = open_source(str(core))
    assert table(source) == [("02691156-1a04", "airplane", ""), ("02691156-1a6f", "airplane", "")]
    assert any("1 folders of models have no mesh and are left out: 02958343/9fb1" in note for note in source.notes)
    assert any("no lists are here; those of ShapeNet-55" in note for note in source.notes)
    lists = tmp_path / "ShapeNet-55"
    lists.mkdir()
    (lists / "train.txt").write_text("02691156-1a04.npy\n02691156-gone.npy\n02958343-9fb1.npy\n")
    alone = open_source(str(core / "02691156"), lists=str(lists))
    assert table(alone) == [("02691156-1a04", "airplane", "train"), ("02691156-gone", "airplane", "train")]
    alone.reader.read(alone.entries[0])
    with pytest.raises(ValueError, match=f"no such file: gone/{model}"):
        alone.reader.read(alone.entries[1])
    (tmp_path / "shapenet_pc").mkdir()
    np.save(tmp_path / "shapenet_pc" / "02691156-1a04.npy", np.eye(3))
    assert any(f"those in {str(lists)!r} are read by" in note for note in open_source(str(tmp_path / "shapenet_pc")).notes)
    for place in ("02834778/a", "02858304/b"):  # only version 1 has them
        (tmp_path / "ShapeNetCore.v1" / place).mkdir(parents=True)
        (tmp_path / "ShapeNetCore.v1" / place / "model.obj").write_text("v 0 0 0\n")
    first = open_source(str(tmp_path / "ShapeNetCore.v1"), kind="shapenet")
    assert [entry.label for entry in first.entries] == ["bicycle", "boat"]


def test_folders_with_dates_for_names_are_no_shapenet(tmp_path):
    assert not shapenet.recognises(plant(tmp_path, "20240101/model.off"))
    assert len(shapenet.SYNSETS) == len(set(shapenet.SYNSETS.values())) == 55


# ---------------------------------------------------------------------------------------- archives, and several collections


def test_a_folder_around_a_known_collection_is_taken_for_it(tmp_path):
    """As archives unpack: one folder, junk of the Mac beside it, and a read-me."""
    plant(tmp_path / "ModelNet10", "night_stand/train/night_stand_0001.off", "bed/test/bed_0001.off", "bed/test/bed_0002.off")
    (tmp_path / "__MACOSX" / "ModelNet10").mkdir(parents=True)
    (tmp_path / "__MACOSX" / "ModelNet10" / "._README.txt").write_bytes(b"\0\5\x16\7")
    (tmp_path / "README.txt").write_text("ModelNet10 is a part of ModelNet40.\n")
    around = open_source(str(tmp_path))
    assert around.reader.kind == "modelnet" and table(around) == table(open_source(str(tmp_path / "ModelNet10")))
    assert any("is taken for the only folder in it" in note for note in around.notes)
    assert catalog.recognised(str(tmp_path)) == "modelnet"
    assert table(open_source(str(tmp_path), kind="modelnet")) == table(around)
    assert {entry.label for entry in open_source(str(tmp_path), kind="folder").entries} == {"night_stand", "bed"}
    mine = tmp_path / "mine.txt"
    mine.write_text("0.5 0.25 0.125\n" * 100)  # a cloud, not a read-me
    assert open_source(str(tmp_path)).reader.kind == "folder"
    mine.unlink()
    plant(tmp_path, "mine.off")
    assert open_source(str(tmp_path)).reader.kind == "folder"


def test_hdf5_files_further_in_are_meant_only_where_nothing_else_is_a_shape(tmp_path):
    plant(tmp_path, "project/run/meshes/bird/1.off", "project/run/meshes/fish/1.off", "project/run/meshes/fish/2.off")
    weights = tmp_path / "project" / "run" / "weights" / "best.h5"
    weights.parent.mkdir()
    with h5py.File(weights, "w") as file:
        file["kernel"] = np.ones((3, 3))
    assert [entry.label for entry in open_source(str(tmp_path)).entries] == ["bird", "fish", "fish"]
    shutil.rmtree(tmp_path / "project" / "run" / "meshes")
    with h5py.File(weights, "w") as file:
        file["data"] = np.ones((2, 64, 3), np.float32)
    assert open_source(str(tmp_path)).reader.kind == "hdf5"
    asked = open_source(str(tmp_path), kind="hdf5")  # it finds them anyway, and ids keep the whole path
    assert asked.entries[0].id == "project/run/weights/best.h5/000000"


def test_folders_that_may_not_be_looked_into_are_no_known_collection(tmp_path, monkeypatch):
    def refuse(location: str) -> bool:
        raise PermissionError(location)

    monkeypatch.setattr(modelnet, "recognises", refuse)
    for place in (plant(tmp_path / "one", "top/a/1.off", "top/b/1.off"), plant(tmp_path / "two", "a/1.off", "b/1.off")):
        assert open_source(place).reader.kind == "folder"


def test_a_folder_of_several_known_collections_is_told(tmp_path):
    plant(tmp_path, "ModelNet10/bed/test/bed_0001.off", "mine/a.off")
    notes = open_source(str(tmp_path)).notes
    assert any("read as one collection" in note and f"{str(tmp_path / 'ModelNet10')!r} (modelnet) alone" in note for note in notes)
    assert not any("read as one collection" in note for note in open_source(str(tmp_path / "mine")).notes)
    with pytest.raises(ValueError, match=r"has no option 'variant'.* In it is what other sources read: give .*ModelNet10' \(modelnet\)"):
        open_source(str(tmp_path), variant="OBJ_BG")


def test_a_folder_that_only_looks_like_a_known_collection_is_read_as_it_is(tmp_path):
    source = open_source(plant(tmp_path, "ShapeNet/02691156/1a04.off", "ShapeNet/02691156/1a6f.off"))
    assert source.reader.kind == "folder" and [entry.label for entry in source.entries] == ["ShapeNet", "ShapeNet"]
    assert not any("known layout" in note for note in source.notes)


def test_classes_and_lists_in_the_only_folder(tmp_path):
    """modelnet40_normal_resampled, given as the folder around it."""
    home = tmp_path / "modelnet40_normal_resampled"
    plant(home, *(f"{name}/{name}_000{number}.off" for name in ("airplane", "tv_stand") for number in (1, 2)))
    for split, number in (("train", 1), ("test", 2)):
        (home / f"modelnet40_{split}.txt").write_text(f"airplane_000{number}\ntv_stand_000{number}\n")
    source = open_source(str(tmp_path))
    assert [(label, split) for _, label, split in table(source)] == [(n, s) for n in ("airplane", "tv_stand") for s in ("train", "test")]
    assert table(source)[0][0] == "modelnet40_normal_resampled/airplane/airplane_0001.off"
    assert any("folder names in 'modelnet40_normal_resampled': 2 classes" in note for note in source.notes)
    home.rename(tmp_path / unicodedata.normalize("NFD", "Gerät"))  # as a Mac spells it
    assert [split for _, _, split in table(open_source(str(tmp_path)))] == ["train", "test"] * 2


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (("raw_scans/anise/anise_001/Scan/Scan.off", "raw_scans/anise/anise_002/Scan/Scan.off", "raw_scans/box/box_001/Scan/Scan.off"), 2),
        (("top/chair/0001.off", "top/chair/0002.off", "top/table/0001.off"), 2),
        (("chair/chair_01/model.off", "chair/chair_02/model.off"), 1),  # folders of one shape each are no classes
        (("top/3f2a1/raw_model.off", "top/3f2a1/model.off", "top/81bc0/raw_model.off", "top/81bc0/model.off"), 1),
        (("original/L/B01.off", "original/S/B02.off", "original/S/B03.off"), 1),  # letters are no names of classes
    ],
)
def test_classes_below_a_folder_that_all_shapes_share(tmp_path, names, labels):
    source = open_source(plant(tmp_path, *names), label="folder")
    assert len({entry.label for entry in source.entries}) == labels


def test_tables_of_one_name_beside_meshes_are_no_shapes(tmp_path):
    """As Pix3D's keypoints."""
    plant(tmp_path, "bed/IKEA_A/model.off", "chair/IKEA_B/model.off")
    for place in ("bed/IKEA_A", "chair/IKEA_B"):
        (tmp_path / place / "3d_keypoints.txt").write_text("0.5 0.25 0.125\n" * 12)
    source = open_source(str(tmp_path))
    assert [entry.id for entry in source.entries] == ["bed/IKEA_A/model.off", "chair/IKEA_B/model.off"]
    assert source.skipped["3d_keypoints.txt of few rows beside another shape"] == 2
    for place in ("bed/IKEA_A", "chair/IKEA_B"):
        (tmp_path / place / "scan.txt").write_text("0.5 0.25 0.125\n" * 100)  # a cloud
    assert len(open_source(str(tmp_path)).entries) == 4
    for place in ("bed/IKEA_A", "chair/IKEA_B"):
        (tmp_path / place / "scan.txt").unlink()
    (tmp_path / "bed" / "3d_keypoints.txt").write_text("0.5 0.25 0.125\n" * 12)  # not beside a shape: so the name says nothing
    assert len(open_source(str(tmp_path)).entries) == 5


def test_folders_that_hold_the_same_files_are_told(tmp_path):
    """As 3D-FUTURE's two forms of each model."""
    plant(tmp_path, *(f"{uid}/{name}.off" for uid in ("0a0f", "0b1e", "0c2d") for name in ("normalized_model", "raw_model")))
    assert any("3 folders hold normalized_model.off and raw_model.off each" in note for note in open_source(str(tmp_path)).notes)
    plant(tmp_path, *(f"{uid}/one_{uid}.off" for uid in ("1a", "1b", "1c")))
    assert not any("folders hold" in note for note in open_source(str(tmp_path)).notes)


# ------------------------------------------------------------------------------------------------------------- lists


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.csv", "\ufefflabel,path,split\r\nbig chair,a.off,train\r\n,t/b.off,\r\n"),
        ("list.csv", "label;path;split\nbig chair;a.off;train\n;t/b.off;\n"),
        ("list.csv", "\ufeffsep=;\r\nlabel;path;split\r\nbig chair;a.off;train\r\n;t/b.off;\r\n"),
        ("list.csv", '"sep=|"\nlabel|path|split\nbig chair|a.off|train\n|t/b.off|\n'),
        ("list.csv", '"label"\t"path"\t"split"\nbig chair\ta.off\ttrain\n\tt/b.off\t\n'),
        ("list.csv", "path,label,split\r\n.\\a.off,big chair,train\r\nt\\b.off,,\r\n"),
        ("list.jsonl", '{"path": "a.off", "label": "big chair", "split": "train"}\n\n{"path": "./t//b.off", "label": null}\n'),
        ("list.json", '[{"path": "a.off", "label": "big chair", "split": "train"}, "t/b.off"]'),
    ],
)
def test_lists_in_all_their_forms(tmp_path, name, text):
    plant(tmp_path, "a.off", "t/b.off", "not_listed.off")
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    source = open_source(str(tmp_path / name))
    assert table(source) == [("a.off", "big chair", "train"), ("t/b.off", "", "")]
    assert source.reader.options == (("up", "auto"),)
    source.reader.read(source.entries[1])


def test_splits_of_a_list_in_other_words_are_kept_and_said(tmp_path):
    plant(tmp_path, "a.off", "b.off", "c.off", "d.off")
    (tmp_path / "l.csv").write_text("path,label,split\na.off,x,Train\nb.off,x,TEST\nc.off,nan,validation\nd.off,x,fold 3\n")
    source = open_source(str(tmp_path / "l.csv"))
    assert [split for _, _, split in table(source)] == ["Train", "TEST", "validation", "fold 3"]
    told = "'TEST' is not test, 'Train' is not train, 'validation' is not val: write it so in the list"
    assert any(note.startswith("splits are kept as the list writes them") and told in note for note in source.notes)
    assert not any("splits are kept" in note for note in open_source(str(tmp_path / "l.csv"), split="0.8").notes)
    assert any(note.startswith("names of classes are taken as written: 'nan'; leave") for note in source.notes)
    (tmp_path / "l.csv").write_text("path,split\na.off,train\nb.off,mine\n")
    assert not any("splits are kept" in note or "as written" in note for note in open_source(str(tmp_path / "l.csv")).notes)


def test_a_plain_list_and_a_root_elsewhere(tmp_path):
    plant(tmp_path / "data", "b.off", "a.off")
    (tmp_path / "chosen.txt").write_text("# the good ones\n'b.off'\n\n\"a.off\"\nlost.off\n")
    source = open_source(str(tmp_path / "chosen.txt"), root=str(tmp_path / "data"))
    assert [entry.id for entry in source.entries] == ["a.off", "b.off", "lost.off"]
    source.reader.read(source.entries[0])
    with pytest.raises(ValueError, match=r"no such file: lost\.off"):
        source.reader.read(source.entries[2])
    assert source.reader.options == (("up", "auto"),)
    with pytest.raises(ValueError, match="option root: 'nowhere' is no folder"):
        open_source(str(tmp_path / "chosen.txt"), root="nowhere")


def test_objaverse_paths_by_uid(tmp_path):
    plant(tmp_path, "glbs/000-001/u2.off")
    outside = plant(tmp_path / "cache", "u1.off") + "/u1.off"
    (tmp_path / "object-paths.json").write_text(json.dumps({"u2": "glbs/000-001/u2.off", "u1": outside}))
    source = open_source(str(tmp_path / "object-paths.json"))
    assert [(entry.id, entry.locator) for entry in source.entries] == [("u1", "cache/u1.off"), ("u2", "glbs/000-001/u2.off")]


def test_an_absolute_path_needs_an_id(tmp_path):
    outside = plant(tmp_path / "outside", "x.off") + "/x.off"
    (tmp_path / "in").mkdir()
    chosen = tmp_path / "in" / "chosen.json"
    chosen.write_text(json.dumps({"uid": outside}))
    source = open_source(str(chosen))
    assert [entry.id for entry in source.entries] == ["uid"]
    source.reader.read(source.entries[0])
    chosen.write_text(json.dumps([outside]))
    with pytest.raises(ValueError, match=r"chosen\.json, item 1: .* does not lie below .*; give the shape an id, or the option root"):
        open_source(str(chosen))


@pytest.mark.parametrize("column", ["licence", "license"])
def test_a_list_gives_the_licence_of_each_shape(tmp_path, column):
    plant(tmp_path, "a.off")
    chosen = tmp_path / "chosen.csv"
    chosen.write_text(f"path,id,{column}\na.off,one,CC0-1.0\na.off,two,\n")
    assert [entry.licence for entry in open_source(str(chosen)).entries] == ["CC0-1.0", ""]
    source = open_source(str(chosen), licence="CC-BY-4.0")
    assert [entry.licence for entry in source.entries] == ["CC0-1.0", "CC-BY-4.0"]
    assert source.reader.options == (("up", "auto"),)


def test_the_cache_records_the_licences(tmp_path):
    location = plant(tmp_path / "meshes", "a.off", "b.off")
    config = configured("points", ["points.count=16", "points.ordered=4", "points.blocks=1", "source.licence=CC-BY-4.0"])
    source = open_config_source(location, config)
    cache = create(tmp_path / "c.zarr", source, 0)
    assert cache.manifest.licences == ("CC-BY-4.0",) and cache.array("licence")[:].tolist() == [0, 0]
    assert cache.manifest.source == described(open_config_source(location, configured("points", [])))


def test_up_axes_in_a_list_count_as_an_option(tmp_path):
    plant(tmp_path, "a.off")
    chosen = tmp_path / "chosen.csv"
    chosen.write_text("path,id,up\na.off,one,y\na.off,two,\n")
    source = open_source(str(chosen))
    assert [highest(source.reader.read(entry)) for entry in source.entries] == [0, 2]
    chosen.write_text("path,id,up\na.off,one,z\na.off,two,\n")
    again = open_source(str(chosen))
    assert again.reader.options != source.reader.options
    assert [highest(again.reader.read(entry)) for entry in again.entries] == [2, 2]
    with pytest.raises(ValueError, match="gives other up axes than it did"):
        open_source(str(chosen), **dict(source.reader.options))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("l.csv", "path,lable\na.off,x\n", "l.csv: unknown column 'lable'; did you mean 'label'"),
        ("l.csv", ",path\n0,a.off\n", "l.csv: a column without a name; pandas writes its index so"),
        ("l.csv", "file;label\na.off;x\n", "l.csv: unknown column 'file'"),
        ("l.csv", "path,label,label\na.off,x,y\n", "l.csv: the column 'label' is there twice"),
        ("l.json", '{"one": "a.off", "one": "b.off"}', "l.json: the key 'one' is there twice"),
        ("l.csv", "path\na.off,x\n", "l.csv, line 2: more cells than the 1 columns"),
        ("l.csv", "id\none\n", "l.csv, line 2: no path"),
        ("l.csv", "sep=,\nid\none\n", "l.csv, line 3: no path"),
        ("l.csv", 'path\n"a.off\n', "no readable CSV"),
        ("l.csv", "path,up\na.off,+x\n", "l.csv, line 2, up: expected one of '', 'x', 'y', 'z', '-x', '-y', '-z', got '+x'"),
        ("l.csv", "path\na.off\na.off\n", "two shapes have the id 'a.off'"),
        ("l.csv", "path\n", "holds no shapes; source 'list' looks for"),
        ("l.json", "[1]", "l.json, item 1: expected an object with the names path, id"),
        ("l.json", '{"uid": ["a.off"]}', "l.json, id 'uid': expected path as text"),
        ("l.json", '"a.off"', "expected a list of objects or paths"),
        ("l.json", "[\n{", "l.json, line 2: no readable JSON"),
        ("l.jsonl", '{"path": "a.off"}\n{"path"\n', "l.jsonl, line 2: no readable JSON"),
        ("l.jsonl", '{"path": "a.off", "label": 3}\n', "l.jsonl, line 1: expected label as text, got 3"),
        ("l.txt", b"\xff\xfe", "invalid start byte; save it as CSV UTF-8"),
    ],
)
def test_mistakes_in_a_list_are_named(tmp_path, name, text, message):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError) as error:
        open_source(str(tmp_path / name))
    assert message in str(error.value)


# -------------------------------------------------------------------------------------------------------------- HDF5


def clouds(path: Path, **sets) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, value in sets.items():
            file[name] = value


def test_scanobjectnn_has_three_variants(tmp_path):
    for folder in ("main_split", "main_split_nobg", "split1"):
        for number, ending in enumerate(("", "_augmentedrot", "_augmentedrot_scale75")):
            for split in ("training", "test"):
                data = np.full((2, 8, 3), number + 10 * (folder == "main_split_nobg"), np.float32)
                data[:, 1:] += 9
                clouds(tmp_path / folder / f"{split}_objectdataset{ending}.h5", data=data, label=np.array([14, 0]))
    first = {}
    for variant in ("OBJ_BG", "OBJ_ONLY", "PB_T50_RS"):
        source = open_source(str(tmp_path), kind="hdf5", variant=variant)
        assert [(entry.label, entry.split) for entry in source.entries] == [
            ("toilet", "test"),
            ("bag", "test"),
            ("toilet", "train"),
            ("bag", "train"),
        ]
        assert source.skipped == {f".h5 that is not {variant}": 16}
        assert source.reader.options == (("up", "y"), ("variant", variant))
        first[variant] = source.reader.read(source.entries[0]).points[0, 0]
    assert first == {"OBJ_BG": 0, "OBJ_ONLY": 10, "PB_T50_RS": 2}
    assert len(open_source(str(tmp_path / "main_split"), variant="OBJ_BG").entries) == 4
    with pytest.raises(ValueError, match="set the option variant to OBJ_BG, OBJ_ONLY, PB_T50_RS"):
        open_source(str(tmp_path))
    with pytest.raises(ValueError, match="holds no shapes"):
        open_source(str(tmp_path / "main_split"), variant="OBJ_ONLY")
    (tmp_path / "main_split").rename(tmp_path / "flat")
    flat = open_source(str(tmp_path / "flat"), variant="OBJ_ONLY")
    assert len(flat.entries) == 4 and "OBJ_ONLY is taken at your word" in flat.notes[0]
    with pytest.raises(ValueError, match=r"option variant: .* did you mean 'PB_T50_RS'"):
        open_source(str(tmp_path), variant="PB_T50")


def test_points_that_are_no_numbers_do_not_cost_the_cloud(tmp_path):
    data = np.random.default_rng(0).normal(size=(1, 16, 3)).astype(np.float32)
    data[0, 2, 0] = np.nan
    clouds(tmp_path / "some.h5", data=data)
    source = open_source(str(tmp_path / "some.h5"))
    cloud = source.reader.read(source.entries[0])
    assert len(cloud.points) == 15 and "1 of 16 points are not finite" in cloud.warnings[0]


def test_rows_are_shapes(tmp_path):
    data = np.random.default_rng(0).normal(size=(3, 16, 3)).astype(np.float32)
    data[1, 2, 0] = np.nan
    clouds(tmp_path / "some.h5", data=data)
    source = open_source(str(tmp_path / "some.h5"))
    assert table(source) == [(f"some.h5/00000{row}", "", "") for row in range(3)]
    assert np.array_equal(source.reader.read(source.entries[2]).points, data[2])
    assert len({source.reader.digest(entry) for entry in source.entries}) == 3

    turned = open_source(str(tmp_path / "some.h5"), up="z")
    assert np.array_equal(turned.reader.read(turned.entries[0]).points, np.stack([data[0, :, 0], data[0, :, 2], -data[0, :, 1]], axis=1))

    (tmp_path / "some.h5").unlink()
    with pytest.raises(ValueError, match=r"no such file: some\.h5"):
        source.reader.read(source.entries[0])


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ({"stuff": np.zeros((2, 4, 3))}, r"f\.h5: expected a data set `data` of the shape \[N, n, 3\]; the file holds stuff \(2, 4, 3\)"),
        ({"data": np.zeros((4, 3))}, r"expected .*; the file holds data \(4, 3\)"),
        ({"data": np.zeros((2, 4, 3)), "label": np.zeros(3)}, "2 clouds, but 3 labels"),
        ({"data": np.zeros((2, 4, 3)), "label": np.array([0, 1])}, "label 1, but there are 1 class names"),
    ],
)
def test_files_of_another_form_are_explained(tmp_path, sets, message):
    (tmp_path / "shape_names.txt").write_text("chair\n")
    clouds(tmp_path / "f.h5", **sets)
    with pytest.raises(ValueError, match=message):
        open_source(str(tmp_path / "f.h5"))


def test_names_of_rows_beside_hdf5_name_the_classes(tmp_path):
    """As in modelnet40_hdf5_2048 and shapenetcorev2_hdf5_2048, which have no shape_names.txt."""
    with h5py.File(tmp_path / "train0.h5", "w") as file:
        file["data"], file["label"] = np.ones((3, 64, 3), np.float32), np.array([[4], [0], [4]], np.uint8)
    names = tmp_path / "train0_id2name.json"
    names.write_text('["bench", "airplane", "bench"]')
    source = open_source(str(tmp_path))
    assert [label for _, label, _ in table(source)] == ["bench", "airplane", "bench"]
    assert not any("nothing names the classes" in note for note in source.notes)
    for text, message in (
        ('["bench", "airplane", "car"]', "a number has two names"),
        ('["bench", "bench", "bench"]', "a name two numbers"),
        ("[", "is no JSON"),
    ):
        names.write_text(text)
        with pytest.raises(ValueError, match=message):
            open_source(str(tmp_path))
    for text in ('["bench"]', '{"0": "airplane", "4": "bench"}'):  # another form of such a name
        names.write_text(text)
        source = open_source(str(tmp_path))
        assert [label for _, label, _ in table(source)] == ["class_4", "class_0", "class_4"]
        assert any("it is no list with the name of the class of each of 3 rows" in note for note in source.notes)


def test_a_list_of_hdf5_files_of_which_one_is_missing_is_refused(tmp_path):
    for name in ("ply_data_train0.h5", "ply_data_test0.h5"):
        with h5py.File(tmp_path / name, "w") as file:
            file["data"], file["label"] = np.ones((2, 64, 3), np.float32), np.array([[0], [1]], np.uint8)
    (tmp_path / "shape_names.txt").write_text("chair\nnight_stand\n")
    files = tmp_path / "train_files.txt"
    files.write_text("data/modelnet40_ply_hdf5_2048/ply_data_train0.h5\n")
    assert len(open_source(str(tmp_path)).entries) == 4
    files.write_text("data/modelnet40_ply_hdf5_2048/ply_data_train0.h5\ndata/modelnet40_ply_hdf5_2048/ply_data_train1.h5\n")
    with pytest.raises(ValueError, match=r"train_files\.txt names ply_data_train1\.h5, missing here"):
        open_source(str(tmp_path))
    files.unlink()
    (tmp_path / "train_hdf5_file_list.txt").write_text("# data/old.h5\ndata/modelnet40/ply_data_train0.h5\n")
    (tmp_path / "excluded_files.txt").write_text("bad.h5\n")
    assert len(open_source(str(tmp_path)).entries) == 4
    (tmp_path / "train_hdf5_file_list.txt").write_text("data/modelnet40/ply_data_train1.h5\n")
    with pytest.raises(ValueError, match=r"train_hdf5_file_list\.txt names ply_data_train1\.h5, missing here"):
        open_source(str(tmp_path))
    (tmp_path / "train_hdf5_file_list.txt").unlink()
    names = tmp_path / "ply_data_train0_id2name.json"
    names.write_text("no list")
    assert any("_id2name.json is not read" in note for note in open_source(str(tmp_path)).notes), "shape_names.txt suffices"
    names.write_text('["", "night stand"]')
    assert len(open_source(str(tmp_path)).entries) == 4
    names.write_text('["Chair", "night stand"]')
    assert len(open_source(str(tmp_path)).entries) == 4
    names.write_text('["night_stand", "chair"]')
    with pytest.raises(ValueError, match="row 0 is 'chair' by its number 0, and 'night_stand' by the names of the rows"):
        open_source(str(tmp_path))


def test_blocks_of_s3dis_have_z_up(tmp_path):
    """PointNet's indoor3d_sem_seg_hdf5_data."""
    with h5py.File(tmp_path / "ply_data_all_0.h5", "w") as file:
        file["data"] = np.random.default_rng(0).uniform(0, [1, 1, 3, 1, 1, 1, 1, 1, 1], (2, 64, 9)).astype(np.float32)
        file["label"] = np.zeros((2, 64), np.uint8)
    (tmp_path / "all_files.txt").write_text("indoor3d_sem_seg_hdf5_data/ply_data_all_0.h5\n")
    (tmp_path / "room_filelist.txt").write_text("Area_1_office_1\n" * 2)
    with pytest.raises(ValueError, match=r"blocks of rooms of S3DIS.*source\.up=z"):
        open_source(str(tmp_path))
    source = open_source(str(tmp_path), up="z")
    assert 2 < highest(source.reader.read(source.entries[0])) < 3


def test_a_file_that_is_no_hdf5_is_explained(tmp_path):
    (tmp_path / "f.h5").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"f\.h5 is no HDF5 file that can be opened"):
        open_source(str(tmp_path / "f.h5"))


# ----------------------------------------------------------------------------------------------------------- starter


def test_the_starter_collection_is_what_its_numbers_say():
    source = open_source("starter")
    assert Counter(entry.label for entry in source.entries) == dict.fromkeys(KINDS, 8)
    assert Counter(entry.split for entry in source.entries) == {"train": 6 * len(KINDS), "test": 2 * len(KINDS)}
    assert source.entries[0].id == "airplane/0000"
    few = open_source("starter", count="30")
    assert {entry: few.reader.digest(entry) for entry in few.entries}.items() <= {
        e: source.reader.digest(e) for e in source.entries
    }.items()
    other = open_source("starter", seed="1")
    assert other.entries == source.entries and other.reader.options != source.reader.options
    assert other.reader.digest(other.entries[0]) != source.reader.digest(source.entries[0])


def test_some_kinds_of_the_starter_collection():
    """They are the same shapes as among all kinds, and only a cache that names kinds has the option in its identity."""
    all_kinds = open_source("starter", count=str(2 * len(KINDS)))
    few = open_source("starter", count="4", classes="table, chair")
    assert [entry.id for entry in few.entries] == ["chair/0000", "chair/0001", "table/0000", "table/0001"]
    assert set(few.entries) <= set(all_kinds.entries)
    assert dict(few.reader.options)["classes"] == "chair,table" and "classes" not in dict(all_kinds.reader.options)
    assert few == open_source("starter", **dict(few.reader.options))
    with pytest.raises(ValueError, match=r"option classes: there is no kind 'chiar'; did you mean 'chair'\?"):
        open_source("starter", classes="chiar")


@pytest.mark.parametrize(
    ("label", "classes", "known"),
    [
        ("design", "boat,stool", {"rowing boat", "sailing boat", "motor boat", "ship", "tall ship"}),
        ("material", "chair,mug", {"wood", "metal", "plastic", "fabric", "leather", "ceramic", "glass", "stone"}),
        ("color", "chair", set(COLORS)),
        ("count:drawer", "dresser,boat", {*map(str, range(1, 7)), "many"}),
    ],
)
def test_classes_of_starter_shapes_may_be_other_things_than_kinds(label, classes, known):
    """Ids, splits and shapes stay the same; the option is part of the identity; what says nothing of the label has no class."""
    plain, other = (open_source("starter", count="24", classes=classes, **more) for more in ({}, {"label": label}))
    assert [(e.id, e.locator, e.split) for e in plain.entries] == [(e.id, e.locator, e.split) for e in other.entries]
    assert dict(other.reader.options) == {**dict(plain.reader.options), "label": label}
    found = {entry.label for entry in other.entries} - {""}
    assert len(found) > 1 and found <= known
    for entry in other.entries:
        assert entry.label == shapes.make(0, int(entry.locator)).description.label(label)
    silent = {"design": "stool", "count:drawer": "boat"}.get(label)
    assert not silent or {entry.label for entry in other.entries if entry.id.startswith(silent)} == {""}


def test_labels_of_starter_shapes_that_there_are_not():
    with pytest.raises(ValueError, match=r"option label: expected one of 'kind', 'design', .*got 'colour'; did you mean 'color'\?"):
        open_source("starter", label="colour")
    with pytest.raises(ValueError, match=r"option label: nothing counts parts called 'drawers'; did you mean 'drawer'\?"):
        open_source("starter", label="count:drawers")
    with pytest.raises(ValueError, match="none of 6 shapes has a class by label=design: choose other classes"):
        open_source("starter", count="6", classes="car", label="design")
    some = open_source("starter", count="6", classes="boat,stool", label="design")
    assert "3 of 6 shapes have no class by label=design" in some.notes
    with pytest.raises(ValueError, match="option classes: expected names of kinds"):
        open_source("starter", classes=" ,")
    assert open_source("starter", classes=",".join(KINDS)) == open_source("starter")


@pytest.mark.parametrize(("option", "value"), [("count", "-1"), ("count", "many"), ("seed", "1.5"), ("seed", "9" * 10), ("revision", "0")])
def test_wrong_numbers_for_the_starter_collection(option, value):
    with pytest.raises(ValueError, match=f"option {option}"):
        open_source("starter", **{option: value})
    with pytest.raises(ValueError, match="holds no shapes"):
        open_source("starter", count="0")


def test_starter_shapes_are_sound(monkeypatch):
    """Normals of length 1, all vertices used, no two alike, colours but for some, and words that go with it."""
    monkeypatch.setattr(shapes, "make", functools.cache(shapes.make))  # the reader and this test ask for the same shapes
    source = open_source("starter", count=str(3 * len(KINDS)))
    colored, seen = 0, set()
    for entry in source.entries:
        shape = source.reader.read(entry)
        colored += shape.colored
        seen.add(np.concatenate([part.vertices for part in shape.parts]).tobytes())
        for part in shape.parts:
            assert part.faces.dtype == np.int32 and part.faces.min() >= 0 and part.faces.max() < len(part.vertices)
            assert np.allclose(np.linalg.norm(part.normals, axis=1), 1, atol=1e-4)
        grey = {part.base_color for part in shape.parts} == {(meshes.GREY, meshes.GREY, meshes.GREY, 1.0)}
        assert grey != shape.colored
        description = shapes.make(0, int(entry.locator)).description
        assert description.kind == entry.label and bool(description.color) == shape.colored
    assert len(seen) == len(source.entries)
    assert 0.6 < colored / len(source.entries) < 0.9


def test_a_starter_shape_does_not_depend_on_others():
    source = open_source("starter", count="20")
    forth = [source.reader.read(entry) for entry in source.entries]
    back = [source.reader.read(entry) for entry in reversed(source.entries)][::-1]
    for one, two in zip(forth, back, strict=True):
        assert [part.vertices.tobytes() for part in one.parts] == [part.vertices.tobytes() for part in two.parts]
        assert [part.base_color for part in one.parts] == [part.base_color for part in two.parts]


def test_starter_shapes_face_the_viewer():
    """+Z is the front: a bed's head and a chair's back are behind."""
    maker = open_source("starter").reader
    assert isinstance(maker, shapes.ShapeMaker)
    for kind in ("bed", "chair", "sofa"):
        for number in range(6):
            locator = str(number * len(KINDS) + list(KINDS).index(kind))
            vertices = np.concatenate([part.vertices for part in maker.read(Entry(id="", locator=locator)).parts])
            assert vertices[vertices[:, 1].argmax(), 2] < vertices[:, 2].mean()


# --------------------------------------------------------------------------------------- what is guessed is said, and splits


def numbers(count: int = 40) -> str:
    return "".join(f"{x:.4f} {y:.4f} {z:.4f}\n" for x, y, z in np.random.default_rng(count).normal(size=(count, 3)))


def test_guesses_are_said(tmp_path):
    source = open_source(plant(tmp_path, "city/bench.off", "city/car_A.off", "city/car_B.off", "0001.off"))
    assert source.notes == (
        "classes are guessed from file names: 2 classes, 1 of them with one shape; 1 without a class; "
        "choose with --set source.label=folder|file|none",
        "no split found; --set source.split=0.8 makes one by a hash of the id",
        "up is what is usual for the format: +Z for .off; choose with --set source.up=y|z (x, -x, -y and -z work, too)",
    )
    chosen = open_source(str(tmp_path), label="name", up="y", split="0.5")
    assert [entry.label for entry in chosen.entries] == [entry.label for entry in source.entries]
    assert chosen.reader.options == (("label", "file"), ("split", "0.5"), ("up", "y"))
    assert len(chosen.notes) == 3 and chosen.notes[1].startswith("split made by a hash of the id:")
    assert chosen.notes[0] == "classes are the file names: 2 classes, 1 of them with one shape; 1 without a class"


def test_a_table_that_was_not_understood_is_no_list_and_not_lost(tmp_path):
    (tmp_path / "scan.txt").write_text("Scan 12 of the hall\nX Y Z\n" + numbers())
    with pytest.raises(ValueError, match=r"scan\.txt is no list of paths: 40 of its first 42 lines are numbers; .*'Scan 12 of the hall'"):
        open_source(str(tmp_path / "scan.txt"), kind="list")
    (tmp_path / "lost.txt").write_text("nowhere\nnothing\n")
    assert not any(note.startswith("up is") for note in open_source(str(tmp_path / "lost.txt"), kind="list").notes)  # no format is known
    notes = open_source(plant(tmp_path, "a.off", "b.off"), up="-x").notes
    assert "left out, because they were not understood as tables of points: lost.txt, scan.txt" in notes


def test_a_known_split_is_said_and_a_folder_that_only_sounds_like_one(tmp_path):
    assert "split told by folder names: 1 train, 1 test" in open_source(plant(tmp_path / "a", "TRAIN/a.off", "testing/b.off")).notes
    notes = open_source(plant(tmp_path / "b", "train/a.off", "bus/b.off")).notes
    assert any("the folder 'train' is no split" in note for note in notes)


@pytest.mark.parametrize("split", ["0.8", "0.8,0.1"])
def test_a_made_split_stays_when_shapes_are_added(tmp_path, split):
    few = [f"{i:03d}.off" for i in range(0, 200, 2)]
    first = {entry.id: entry.split for entry in open_source(plant(tmp_path, *few), split=split).entries}
    more = {entry.id: entry.split for entry in open_source(plant(tmp_path, *(f"{i:03d}.off" for i in range(200))), split=split).entries}
    assert first.items() <= more.items()
    counts = Counter(more.values())
    assert 140 <= counts["train"] <= 180 and set(counts) == ({"train", "test"} if split == "0.8" else {"train", "val", "test"})
    other = open_source(str(tmp_path), split=split, split_seed="1")
    assert {entry.id: entry.split for entry in other.entries} != more
    assert ("split_seed", "1") in other.reader.options


@pytest.mark.parametrize("split", ["80", "0", "1", "-0.1", "nan", "0.8,0.2", "0.8,0.3", "0.5,0.2,0.2", "train", "0.8,"])
def test_wrong_splits(tmp_path, split):
    with pytest.raises(ValueError, match="option split: expected the part for training"):
        open_source(plant(tmp_path, "a.off"), split=split)
    with pytest.raises(ValueError, match="split_seed has no effect"):
        open_source(str(tmp_path), split_seed="3")


def test_every_source_of_files_makes_a_split(tmp_path):
    plant(tmp_path / "lists", "a.off", "b.off")
    (tmp_path / "lists" / "l.csv").write_text("path,label,split\na.off,x,train\nb.off,y,test\n")
    clouds(tmp_path / "f.h5", data=np.random.default_rng(0).normal(size=(30, 8, 3)))
    for location in (str(tmp_path / "lists" / "l.csv"), str(tmp_path / "f.h5"), shapenet.example(tmp_path / "core")):
        source = open_source(location, split="0.5")
        assert {entry.split for entry in source.entries} <= {"train", "test"} and ("split", "0.5") in source.reader.options
        assert any("split made by a hash" in note for note in source.notes)


def test_lists_of_names_beside_the_shapes_tell_the_split(tmp_path):
    """As modelnet40_normal_resampled has them."""
    for name in ("chair/chair_0001", "chair/chair_0002", "sofa/sofa_0001"):
        (tmp_path / f"{name}.txt").parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.txt").write_text(numbers())
    (tmp_path / "modelnet40_train.txt").write_text("chair_0001\nsofa_0001\n")
    (tmp_path / "modelnet40_test.txt").write_text("chair_0002\n")
    (tmp_path / "modelnet40_shape_names.txt").write_text("chair\nsofa\n")
    source = open_source(str(tmp_path))
    assert table(source) == [
        ("chair/chair_0001.txt", "chair", "train"),
        ("chair/chair_0002.txt", "chair", "test"),
        ("sofa/sofa_0001.txt", "sofa", "train"),
    ]
    assert "split told by modelnet40_test.txt, modelnet40_train.txt: 2 train, 1 test" in source.notes
    assert source.skipped == {".txt": 3}
    (tmp_path / "modelnet10_test.txt").write_text("chair_0001\n")
    again = open_source(str(tmp_path))
    assert {entry.split for entry in again.entries} == {""} and any("no list is taken" in note for note in again.notes)
    (tmp_path / "modelnet10_test.txt").write_bytes(b"chair_\xff\n")
    third = open_source(str(tmp_path))
    assert table(third) == table(source) and any(note.startswith("modelnet10_test.txt cannot be read") for note in third.notes)


def test_shapenetpart(tmp_path):
    for name in ("02691156/1a", "02691156/2b", "03001627/3c"):
        (tmp_path / f"{name}.txt").parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.txt").write_text(numbers())
    (tmp_path / "synsetoffset2category.txt").write_text("Airplane\t02691156\n")
    (tmp_path / "train_test_split").mkdir()
    (tmp_path / "train_test_split" / "shuffled_train_file_list.json").write_text('["shape_data/02691156/1a", "shape_data/03001627/3c"]')
    (tmp_path / "train_test_split" / "shuffled_test_file_list.json").write_text('["shape_data/02691156/2b"]')
    source = open_source(str(tmp_path))
    assert source.reader.kind == "shapenet"
    assert table(source) == [("02691156-1a", "airplane", "train"), ("02691156-2b", "airplane", "test"), ("03001627-3c", "chair", "train")]
    source.reader.read(source.entries[0])


def test_a_text_of_numbers_is_a_cloud_and_one_of_paths_a_list(tmp_path):
    plant(tmp_path, "a.off")
    (tmp_path / "cloud.txt").write_text(numbers())
    (tmp_path / "list.txt").write_text("a.off\n")
    assert open_source(str(tmp_path / "list.txt")).reader.kind == "list"
    with pytest.raises(ValueError, match=r"cloud\.txt' is one shape; give a folder of them"):
        open_source(str(tmp_path / "cloud.txt"))
    (tmp_path / "a.txt").write_text(numbers())  # keypoints of a.off
    source = open_source(str(tmp_path))
    assert [entry.id for entry in source.entries] == ["a.off", "cloud.txt"]
    assert source.skipped == {".txt": 1, ".txt named like a shape beside it": 1}


def test_class_names_are_compared_exactly_and_what_is_easily_confused_is_said(tmp_path):
    source = open_source(plant(tmp_path, "t-bar/1.off", "T bar/1.off", "t_bar/2.off", "chair/1.off"))
    assert {entry.label for entry in source.entries} == {"t-bar", "T bar", "t_bar", "chair"}
    assert any("the classes 'T bar' and 't-bar' and 't_bar' differ in case, hyphens or blanks alone" in note for note in source.notes)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("f.ply.gz", "unpack"),
        ("g.pkl", "save these as .npy"),
        ("h.b3dm", "3d-tiles-tools"),
        ("a.fbx", "Blender"),
        ("b.STEP", "FreeCAD"),
        ("c.wrl", "Blender"),
        ("d.skp", "SketchUp"),
        ("e.e57", "CloudCompare"),
    ],
)
def test_shapes_that_no_one_reads_are_named_with_the_remedy(tmp_path, name, remedy):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ValueError, match=rf"holds no shapes.*1 {Path(name).suffix.lower()} cannot be read here: .*{remedy}"):
        open_source(str(tmp_path))
    source = open_source(plant(tmp_path, "ok.off"))
    assert source.skipped == {Path(name).suffix.lower(): 1} and any(remedy in note for note in source.notes)
    with pytest.raises(ValueError, match=f"(of a kind no source reads|is an archive).*{remedy}"):
        open_source(str(tmp_path / name))
    source = open_source(plant(tmp_path, "two.off"))
    assert any(remedy in note for note in source.notes) == (Path(name).suffix not in (".gz", ".pkl")), (
        "the archive of the shapes, or weights"
    )


@pytest.mark.parametrize(
    ("location", "word"),
    [
        ("s3://bucket/meshes", r"is an address.*download them first"),
        ("https://example.org/meshes.zip", "is an address"),
        ("hf://datasets/x", "is an address"),
        ("meshes.zip", "is an archive: unpack it"),
        ("meshes.tar.gz", "is an archive: unpack it"),
        ("gone.zip", "does not exist.*unpack the archive"),
        ("cache.zarr", "is a cache that was built already"),
    ],
)
@pytest.mark.parametrize("kind", ["auto", "folder"])
def test_shapes_that_do_not_lie_open_on_disk(tmp_path, monkeypatch, location, word, kind):
    monkeypatch.chdir(tmp_path)
    for name in ("meshes.zip", "meshes.tar.gz"):
        (tmp_path / name).write_bytes(b"PK")
    (tmp_path / "cache.zarr").mkdir()
    (tmp_path / "cache.zarr" / "zarr.json").write_text("{}")
    with pytest.raises(ValueError, match=word):
        open_source(location, kind=kind)


def test_characters_that_steer_a_terminal_are_written_out(tmp_path):
    names = ("a\nb.off", "c\x1b[31md.off", "e\u202ef.off", "\u2066g.off", "tab\th.off", "नमस्\u200dते.off", "ok 椅 é.off")
    ids = [entry.id for entry in open_source(plant(tmp_path, *names), label="none").entries]
    assert set(ids) == {r"a\x0ab.off", r"c\x1b[31md.off", r"e\u202ef.off", r"\u2066g.off", r"tab\x09h.off", "नमस्\u200dते.off", "ok 椅 é.off"}


@pytest.mark.parametrize(
    ("said", "name"), [(b"<x:up_axis>X_UP</x:up_axis>", "a.dae"), (b"<up_axis>X_UP</up_axis>", "a.zae"), (b"<up_axis> Z_UP", "b.zae")]
)
def test_all_axes_of_collada(tmp_path, said, name):
    path = tmp_path / name
    if name.endswith(".zae"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("doc/model.dae", b"<COLLADA>" + said)
    else:
        path.write_bytes(b"<x:COLLADA>" + said)
    assert usual_up(path) == ("z" if b"Z" in said else "x")


# ------------------------------------------------------------------------------------------------------ HDF5 of any form

POINTS = np.random.default_rng(0).normal(size=(4, 64, 3)).astype(np.float32)
UNIT = POINTS / np.linalg.norm(POINTS, axis=2, keepdims=True)
FOUR = np.array([2, 0, 1, 1])
NUMBERED = ["class_2", "class_0", "class_1", "class_1"]
NAMED = ["sofa", "chair", "table", "table"]


@pytest.mark.parametrize(
    ("sets", "labels"),
    [
        *(({key: POINTS, "label": FOUR}, NUMBERED) for key in ("points", "point", "pc", "xyz", "clouds", "Points", "point_cloud")),
        *(({"data": POINTS, key: FOUR}, NUMBERED) for key in ("labels", "y", "cls", "class", "Label", "class_id")),
        ({"data": POINTS}, [""] * 4),
        ({"data": POINTS, "label": FOUR[:, None].astype(np.uint8)}, NUMBERED),
        ({"data": POINTS, "label": FOUR.astype(np.float32)}, NUMBERED),
        ({"data": POINTS, "label": np.eye(3)[FOUR]}, NUMBERED),
        ({"data": POINTS, "label": np.array([-1, 0, 1, -1])}, ["", "class_0", "class_1", ""]),
        ({"data": POINTS, "label": np.array([b"sofa", b"chair", b"table", b""])}, ["sofa", "chair", "table", ""]),
        ({"data": POINTS, "label": ["sofa", "chair", "tablé", "x\ny"]}, ["sofa", "chair", "tablé", r"x\x0ay"]),
        ({"data": POINTS, "label": FOUR, "classes": ["chair", "table", "sofa"]}, NAMED),
        ({"data": POINTS, "label": FOUR, "class_names": np.array([b"chair", b"table", b"sofa"])}, NAMED),
    ],
)
def test_hdf5_with_other_keys_and_labels(tmp_path, sets, labels):
    clouds(tmp_path / "f.h5", **sets)
    source = open_source(str(tmp_path / "f.h5"))
    assert [entry.label for entry in source.entries] == labels
    assert np.array_equal(source.reader.read(source.entries[1]).points, POINTS[1])
    assert any("class_0, class_1 and so on" in note for note in source.notes) == ("class_0" in labels)
    assert {entry.label for entry in open_source(str(tmp_path / "f.h5"), label="none").entries} == {""}


@pytest.mark.parametrize(("labels", "said"), [([1, 2, 1, 2], True), ([0, 2, 1, 2], False), ([-1, -1, -1, -1], False)])
def test_numbers_of_named_classes_that_seem_to_count_from_1_are_said(tmp_path, labels, said):
    clouds(tmp_path / "f.h5", data=POINTS, label=np.array(labels), classes=["chair", "table", "sofa"])
    notes = [note for note in open_source(str(tmp_path / "f.h5")).notes if "no shape has the label 0, 'chair'" in note]
    assert len(notes) == said
    clouds(tmp_path / "g.h5", data=POINTS, label=np.array(labels))
    assert not any("label 0" in note for note in open_source(str(tmp_path / "g.h5")).notes)


@pytest.mark.parametrize("value", [0, 1, 5])
@pytest.mark.parametrize("shape", [(4, 64), (4, 64, 1)])
def test_labels_of_points_are_no_classes(tmp_path, shape, value):
    clouds(tmp_path / "f.h5", data=POINTS, label=np.full(shape, value))
    source = open_source(str(tmp_path / "f.h5"))
    assert {entry.label for entry in source.entries} == {""}
    (note,) = [note for note in source.notes if note.startswith("f.h5, label")]
    assert "labels of points, one for each of 64, and are not used as classes" in note and "source.keys" in note


def test_a_backslash_in_a_name_stays(tmp_path):
    plant(tmp_path, "t\\b.off", "t/b.off")
    (tmp_path / "list.txt").write_text("t\\b.off\n")
    assert [entry.locator for entry in open_source(str(tmp_path / "list.txt")).entries] == ["t\\b.off"]


def test_class_names_in_an_attribute(tmp_path):
    clouds(tmp_path / "f.h5", data=POINTS, label=FOUR)
    with h5py.File(tmp_path / "f.h5", "a") as file:
        file.attrs["classes"] = ["chair", "table", "sofa"]
    assert [entry.label for entry in open_source(str(tmp_path / "f.h5")).entries] == NAMED


def test_clouds_that_lie_on_their_side(tmp_path):
    clouds(tmp_path / "f.h5", data=POINTS.swapaxes(1, 2))
    source = open_source(str(tmp_path / "f.h5"))
    assert "f.h5, data: stored as [4, 3, 64], read as clouds of 64 points" in source.notes
    assert np.array_equal(source.reader.read(source.entries[1]).points, POINTS[1])


def test_keys_can_be_named(tmp_path):
    clouds(tmp_path / "f.h5", **{"in/first": POINTS, "in/second": POINTS + 1, "what": FOUR, "paint": np.full((4, 64, 3), 0.2)})
    with pytest.raises(ValueError, match=r"f\.h5: expected a data set `data`.*the file holds in \(a group\), paint.*source\.keys="):
        open_source(str(tmp_path / "f.h5"))
    source = open_source(str(tmp_path / "f.h5"), keys="in/second,what,paint")
    assert [entry.label for entry in source.entries] == NUMBERED
    assert ("keys", "in/second,what,paint") in source.reader.options
    cloud = source.reader.read(source.entries[0])
    assert np.array_equal(cloud.points, POINTS[0] + 1) and (cloud.colors == 51).all()
    with pytest.raises(ValueError, match=r"f\.h5 has no 'gone'; the file holds in"):
        open_source(str(tmp_path / "f.h5"), keys="gone")
    with pytest.raises(ValueError, match="option keys: expected"):
        open_source(str(tmp_path / "f.h5"), keys="a,b,c,d")
    clouds(tmp_path / "g.h5", data=POINTS, points=POINTS)
    with pytest.raises(ValueError, match="'points' and 'data', either of which can be the clouds"):
        open_source(str(tmp_path / "g.h5"))


@pytest.mark.parametrize(
    ("extra", "colors", "normals"),
    [(np.full((4, 64, 3), [255, 0, 9]), [255, 0, 9], False), (np.full((4, 64, 3), [1, 0, 0.2]), [255, 0, 51], False), (UNIT, None, True)],
)
def test_further_columns_are_judged_as_in_tables(tmp_path, extra, colors, normals):
    clouds(tmp_path / "f.h5", data=np.concatenate([POINTS, extra], axis=2).astype(np.float32))
    source = open_source(str(tmp_path / "f.h5"))
    cloud = source.reader.read(source.entries[0])
    assert np.array_equal(cloud.points, POINTS[0]) and cloud.warnings == ()
    assert np.allclose(cloud.normals, UNIT[0], atol=1e-6) if normals else cloud.normals is None
    assert (cloud.colors is None) if colors is None else (cloud.colors == colors).all()


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("train.h5", "test.h5"), ["test", "train"]),
        (("Train.h5", "TEST.H5"), ["test", "train"]),
        (("ModelNetTrain.hdf5", "ModelNetTest.hdf5"), ["test", "train"]),
        (("my_training_set.h5", "my_validation.h5"), ["train", "val"]),
        (("ply_data_train0.h5", "ply_data_test1.h5"), ["test", "train"]),
        (("Train/a.h5", "Testing/a.h5"), ["test", "train"]),
        (("latest.h5", "contrast.h5"), ["", ""]),
        (("train_test.h5", "train.h5"), ["train", ""]),
    ],
)
def test_no_split_of_hdf5_files_is_lost_in_silence(tmp_path, names, splits):
    for name in names:
        clouds(tmp_path / name, data=POINTS[:1])
    source = open_source(str(tmp_path))
    assert source.reader.kind == "hdf5" and [entry.split for entry in source.entries] == splits
    assert any("tell no split" in note for note in source.notes) == ("" in splits)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ({"data": POINTS, "label": np.array([0, 1.5, 0, 0])}, r"f\.h5, label: labels that are no whole numbers, such as 1\.5"),
        ({"data": POINTS, "label": np.array([0, -7, 0, 0])}, r"f\.h5, label: label -7"),
        ({"data": POINTS, "label": np.zeros((4, 65), int) + 1}, r"f\.h5, label: labels of the shape \[4, 65\].*source\.keys"),
        ({"data": POINTS, "label": np.zeros(4, complex)}, "labels of the type complex128"),
        ({"data": np.zeros((4, 5, 100))}, r"got float64 \[4, 5, 100\]"),
        ({"data": POINTS[:, :, :2]}, r"f\.h5, data: expected .* \[N, n, 3\], got float32 \[4, 64, 2\]"),
        ({"data": np.zeros((2, 3, 3), "S1")}, r"f\.h5, data: expected"),
        ({"data": POINTS, "label": FOUR, "classes": ["a", "b", "a"]}, r"f\.h5, classes gives the name 'a' to two classes"),
        ({"data": POINTS, "rgb": POINTS[:2]}, r"f\.h5, rgb: expected colours \[4, n, 3\]"),
    ],
)
def test_hdf5_of_another_form_names_file_key_and_shape(tmp_path, sets, message):
    clouds(tmp_path / "f.h5", **sets)
    with pytest.raises(ValueError, match=message):
        open_source(str(tmp_path / "f.h5"))


def test_hdf5_is_not_followed_out_of_the_file(tmp_path):
    (tmp_path / "in").mkdir()
    clouds(tmp_path / "secret.h5", data=POINTS)
    (tmp_path / "secret.bin").write_bytes(POINTS.tobytes())
    bad = tmp_path / "in" / "f.h5"

    def refused(make, word: str, **options: str) -> None:
        with h5py.File(bad, "w") as file:
            make(file)
        with pytest.raises(ValueError, match=word):
            open_source(str(bad), **options)

    def link(file) -> None:
        file["data"] = h5py.ExternalLink("../secret.h5", "data")

    def group(file) -> None:
        file["out"] = h5py.ExternalLink("../secret.h5", "/")
        file["data"] = h5py.SoftLink("/out/data")

    def storage(file) -> None:
        file.create_dataset("data", POINTS.shape, "f4", external=[(str(tmp_path / "secret.bin"), 0, POINTS.nbytes)])

    def virtual(file) -> None:
        layout = h5py.VirtualLayout(POINTS.shape, "f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "data", POINTS.shape)
        file.create_virtual_dataset("data", layout)

    def loop(file) -> None:
        file["data"], file["a"] = h5py.SoftLink("/a"), h5py.SoftLink("/data")

    refused(link, "is a link to another file")
    refused(link, "is a link to another file", keys="data")
    refused(group, "is a link to another file")
    refused(group, "is a link to another file", keys="out/data")
    refused(storage, "keeps its numbers in another file")
    refused(virtual, "is a virtual data set")
    refused(loop, "a chain of more than")
    with h5py.File(bad, "w") as file:
        file["x/y"], file["data"] = POINTS, h5py.SoftLink("x/y")
    assert len(open_source(str(bad)).entries) == 4


@pytest.mark.parametrize(
    ("shape", "chunks", "word"),
    [
        ((10**9, 16, 3), (1024, 16, 3), "declares 1,000,000,000 shapes; more than"),
        ((1000, 16, 3), (10, 16, 3), "holds 0 bytes of them: not written to its end"),
        ((2_000_000, 16, 3), (10, 16, 3), "not written to its end"),
        ((2, 10**9, 3), (1, 1024, 3), "declares 1,000,000,000 points a shape"),
    ],
)
def test_a_file_that_declares_too_much_is_refused_at_once(tmp_path, shape, chunks, word):
    with h5py.File(tmp_path / "f.h5", "w") as file:
        data = file.create_dataset("data", shape, "f4", chunks=chunks)
        file.create_dataset("label", shape[:1], "i4", chunks=(1024,) if shape[0] > 1024 else True)
        if "0 bytes" not in word:
            data[0, 0] = 1
    with pytest.raises(ValueError, match=word):
        open_source(str(tmp_path / "f.h5"))


# ---------------------------------------------------------------------------------------------------- what a build says


class Heard(Silent):
    """A terminal that remembers what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def test_a_build_says_what_was_guessed_and_goes_on_without_a_label_set_that_would_lie(tmp_path):
    location = plant(tmp_path / "meshes", "t-bar/1.off", "T bar/1.off", "chair/1.off")
    config = dataclasses.replace(configured("points", ["points.count=16", "points.ordered=4", "points.blocks=1"]), labels=("source",))
    heard = Heard()
    cache = building.build_cache(location, tmp_path / "c.zarr", config, Machine(workers=1, device="cpu"), heard)
    assert cache.manifest.classes == ("T bar", "chair", "t-bar")
    assert sorted(cache.array("label")[:].tolist()) == [0, 1, 2]
    said = "\n".join(heard.lines)
    assert "Note: classes are guessed from folder names: 3 classes" in said and "Note: no split found" in said
    assert "Warning: no label set can be made of these classes: 'T bar' and 't-bar' read alike" in said
