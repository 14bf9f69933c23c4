"""The paper's table by one command, on miniatures of the official files; and what it finds, plans, estimates and writes."""

import itertools
import json
import pickle
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

SCIENCE = Path(__file__).parents[1] / "science"
sys.path.insert(0, str(SCIENCE))

import evals  # noqa: E402
import finding  # noqa: E402
import hours  # noqa: E402
import jobs  # noqa: E402
import official  # noqa: E402
import paper  # noqa: E402
import paper_table  # noqa: E402
import promised  # noqa: E402
from jobs import Job, Ledger  # noqa: E402

import pipeline.cli  # noqa: E402
import pipeline.recipes  # noqa: E402
import trainer.cli  # noqa: E402
from cache_schema import class_lists, synthetic  # noqa: E402
from cache_schema.errors import UserError  # noqa: E402
from cache_schema.settings import override  # noqa: E402
from cache_schema.store import open_cache  # noqa: E402
from pipeline.edits import relabel  # noqa: E402
from pipeline.geometry import Cloud  # noqa: E402
from pipeline.sources.catalog import open_source  # noqa: E402
from tests import official as miniature  # noqa: E402
from tests.boxes import Silent  # noqa: E402
from tests.figures import undrawn_curves  # noqa: E402, F401
from trainer.published.peers import PEERS  # noqa: E402
from trainer.recipes import RECIPES, configured  # noqa: E402
from trainer.tasks import catalog  # noqa: E402

TRIAL = ("--small", "--epochs", "1", "--seeds", "1", "--teachers", "starter-resnet", "--captioner", "template", "--recipes", "ulip2-like")


@pytest.fixture
def here(monkeypatch):
    """Run jobs in this process, where everything is imported already. Gives the names of those that ran."""
    ran = []

    class Here:
        """Stands for a process that has ended."""

        def __init__(self, job: Job, ledger: Ledger) -> None:
            ledger.note(job, 0, done=False)
            ran.append(job.name)
            self.job, self.log = job, ledger.folder / "jobs" / f"{job.name}.log"
            first, *words = job.command
            with monkeypatch.context() as inside:
                inside.chdir(ledger.folder)
                if first == "evals.py":
                    inside.setattr(sys, "argv", [first, *words])
                    self.code = self._evals()
                else:
                    app = {"mmpd-cache": pipeline.cli.app, "mmpd-train": trainer.cli.app}[first]
                    done = CliRunner().invoke(app, words)
                    self.log.write_text(done.output + str(done.exception or ""))
                    self.code = done.exit_code
            ledger.note(job, 1, done=self.code == 0)

        def _evals(self) -> int:
            try:
                evals.main()
            except SystemExit as error:
                return int(str(error.code))
            return 0

        def look(self) -> bool:
            return True

        def end(self) -> None: ...

    monkeypatch.setattr(jobs, "_Running", Here)
    monkeypatch.setattr(jobs, "LOOK", 0.0)
    return ran


def asked(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["paper.py", *map(str, words)])
    paper.main()


@pytest.mark.timeout(900)  # a minute of a core; a machine that does other things may take long
def test_every_data_set_in_its_official_layout_gives_a_number(tmp_path, monkeypatch, here, capsys):
    data, folder = tmp_path / "data", tmp_path / "out"
    miniature.all_of_them(data, points=128)
    shutil.rmtree(data / "ScanObjectNN" / "main_split_nobg")
    asked(monkeypatch, folder, "--data", data, *TRIAL)
    text, said = capsys.readouterr()
    assert said.startswith("# Data sets\nshapenet55: ShapeNet55-34 (shapenet)\n") and "obj_only: left out" in said
    found = json.loads((folder / "paper.json").read_text())
    lacking = {"OBJ_ONLY", *(f"{ways}-way {shots}-shot" for ways, shots in ((5, 20), (10, 10), (10, 20)))}
    tests = {name: test for name, test in official.TESTS.items() if name not in lacking}
    assert {(one["row"], one["column"]) for one in found["numbers"]} == {
        ("ulip2-like", title) for test in tests.values() for title, _ in test.columns
    }
    for one in found["numbers"]:
        assert all(0 <= value <= 100 for value in one["values"]) and one["commands"][0].startswith("mmpd-train eval ")
        score = json.loads((folder / "scores" / "ulip2-like-0" / f"{one['test']}.json").read_text())
        assert one["values"] == next(m for m in score["result"]["scores"]["metrics"] if m["name"] == one["metric"])["values"]
        assert score["result"]["protocol"] == "last epoch"
    few = next(one for one in found["numbers"] if one["test"] == "5-way 10-shot")
    assert (few["over"], len(few["values"]), few["test_shapes"]) == ("folds", 10, 45), "5 in each fold, and 5 twice"
    assert found["missing"] == []
    assert found["left_out"].keys() == {"obj_only", "5-way 20-shot", "10-way 10-shot", "10-way 20-shot"}
    assert "ScanObjectNN lacks main_split_nobg/training_objectdataset.h5" in found["left_out"]["obj_only"]
    assert (folder / "paper.md").read_text() in text
    assert (
        "- obj_only: expected in a folder of any name: main_split_nobg/" in text
        and "0 of 10 folds of 10-way 10-shot in ModelNetFewshot" in text
    )
    assert "| *MMPD, Point-M2AE (published, not ours)* |  | *96.1* | *91.2* |" in text
    before = len(here)
    asked(monkeypatch, folder, "--data", data, *TRIAL)
    assert len(here) == before, "a second run does nothing"
    again = capsys.readouterr().out
    assert text.endswith(again) and again.startswith("# The table of the paper")
    shutil.rmtree(folder / "caches" / "modelnet40.zarr")
    svm = folder / "scores" / "ulip2-like-0" / "ModelNet40 SVM.json"
    svm.write_text(svm.read_text().replace(json.loads(svm.read_text())["result"]["scores"]["test"]["points"], "0" * 64))
    asked(monkeypatch, folder, "--data", data, *TRIAL)
    assert here[before:] == ["build/modelnet40", "score/ulip2-like-0"], "what was removed, and what is of other points, is made again"
    assert capsys.readouterr().out.endswith(again)


# ---------------------------------------------------------------------------------------------------------------- finding


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_folder_without_data_sets_is_told_what_is_expected(tmp_path, monkeypatch):
    with pytest.raises(SystemExit) as error:
        asked(monkeypatch, tmp_path / "out", "--data", tmp_path, "--plan")
    said = str(error.value)
    assert "lacks ShapeNet-55, which every row is trained on" in said
    every = official.DATA_SETS.items()
    assert all(f"\n{name}: expected in a folder of any name: {one.places[0].expected}" in said for name, one in every)
    miniature.shapenet55(tmp_path)
    with pytest.raises(SystemExit, match=r"lacks every data set to test on:\nobj_bg: expected .*: main_split/training"):
        asked(monkeypatch, tmp_path / "out", "--data", tmp_path, "--plan")
    with pytest.raises(SystemExit, match="nowhere is no folder"):
        asked(monkeypatch, tmp_path / "out", "--data", tmp_path / "nowhere")


def test_meshes_of_shapenet_take_the_lists_that_lie_beside_them(tmp_path):
    miniature.shapenet55(tmp_path / "clouds")
    assert finding.look(tmp_path)[0]["shapenet55"].place.note.startswith("the teachers saw pictures of clouds")
    touch(tmp_path, "meshes/ShapeNetCore.v2/03001627/1a/models/model_normalized.obj")
    found = finding.look(tmp_path)[0]["shapenet55"]
    assert found.location == "DATA/meshes/ShapeNetCore.v2" and not found.notes
    assert "source.lists=DATA/clouds/ShapeNet55-34/ShapeNet-55" in found.settings
    shutil.rmtree(tmp_path / "clouds")
    found = finding.look(tmp_path)[0]["shapenet55"]
    assert "source.split=0.8" in found.settings and "41,952" in found.notes[0]


def test_what_is_there_in_part_is_told(tmp_path):
    touch(
        tmp_path, "ModelNet/modelnet40_normal_resampled/modelnet40_train_8192pts_fps.dat", "ScanObjectNN/main_split/test_objectdataset.h5"
    )
    found, left = finding.look(tmp_path)
    assert not found
    assert "modelnet40_normal_resampled has none of the files by which it would be known; pickles (.dat)" in left["modelnet40"]
    assert left["modelnet40"].count("none of the files") == 1, "the folder ModelNet around it says nothing"
    assert left["obj_bg"].endswith("; ScanObjectNN lacks main_split/training_objectdataset.h5")
    touch(tmp_path, "ModelNet/modelnet40_normal_resampled/modelnet40_train.txt", "modelnet40.tar.gz", "full/scans/scene0000_00/x.txt")
    left = finding.look(tmp_path)[1]
    assert "modelnet40_normal_resampled lacks airplane/*.txt, modelnet40_test.txt; pickles" in left["modelnet40"]
    assert "modelnet40.tar.gz is an archive: unpack it" in left["modelnet40"]
    assert left["scannet"].endswith("; full/scans has none of the files by which it would be known")


def rows_named(home, train_files=1):
    """ModelNet40 as https://github.com/antao97/PointCloudDatasets has it: HDF5 files whose rows are named beside them."""
    home.mkdir(parents=True)
    names = class_lists.names("modelnet40")
    for side, count in (("train", train_files), ("test", 1)):
        for number in range(count):
            with h5py.File(home / f"{side}{number}.h5", "w") as file:
                file["data"] = np.random.default_rng(0).normal(size=(40, 16, 3)).astype(np.float32)
                file["label"] = np.arange(40)[:, None]
            (home / f"{side}{number}_id2name.json").write_text(json.dumps([name.replace(" ", "_") for name in names]))
        (home / f"{side}_files.txt").write_text("".join(f"modelnet40_hdf5_2048/{side}{number}.h5\n" for number in range(count)))


def test_modelnet40_with_names_of_rows_is_known_and_a_part_of_it_is_not_the_whole(tmp_path):
    home = tmp_path / "modelnet40_hdf5_2048"
    rows_named(home, train_files=2)
    found, left = promised.kept(finding.look(tmp_path)[0], tmp_path, tmp_path / "caches")
    assert (found["modelnet40"].place.kind, found["modelnet40"].location) == ("hdf5", "DATA/modelnet40_hdf5_2048")
    (home / "shape_names.txt").write_text("\n".join(reversed(class_lists.names("modelnet40"))))
    found, left = promised.kept(finding.look(tmp_path)[0], tmp_path, tmp_path / "caches")
    assert not found and "row 0 is 'xbox' by its number 0, and 'airplane' by the names of the rows" in left["modelnet40"]
    (home / "shape_names.txt").unlink()
    (home / "train1.h5").unlink()
    found, left = promised.kept(finding.look(tmp_path)[0], tmp_path, tmp_path / "caches")
    assert not found and "train_files.txt names train1.h5, missing here: bring what is missing" in left["modelnet40"]
    (home / "test0_id2name.json").write_text('["chair"]')
    (home / "train0_id2name.json").write_text('["chair"]')
    (home / "train1_id2name.json").write_text('["chair"]')
    assert "*_id2name.json of 1 classes that are not the 40 of ModelNet40" in finding.look(tmp_path)[1]["modelnet40"]


def test_the_pickles_of_modelnet40_become_files_that_are_known_by_what_the_page_shows(tmp_path, monkeypatch):
    page = (SCIENCE.parent / "docs" / "howto" / "official-data.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    home = tmp_path / "ModelNet40"
    home.mkdir()
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        shapes = [rng.normal(size=(64, 6)).astype(np.float32) for _ in range(3)], [np.array([one], np.int32) for one in (0, 8, 33)]
        (home / f"modelnet40_{split}_8192pts_fps.dat").write_bytes(pickle.dumps(list(shapes)))
    (home / "modelnet40_shape_names.txt").write_text("\n".join(class_lists.names("modelnet40")))
    said = finding.look(tmp_path)[1]["modelnet40"]
    assert "pickles (.dat) are not read: fetch the texts" in said and "docs/howto/official-data.md" in said
    monkeypatch.chdir(home)
    exec(code, {})
    found, left = promised.kept(finding.look(tmp_path)[0], tmp_path, tmp_path / "caches")
    assert found["modelnet40"].place.kind == "hdf5" and not left
    source = open_source(str(home))
    assert [(entry.label, entry.split) for entry in source.entries if entry.split == "train"] == [
        (name, "train") for name in ("airplane", "chair", "table")
    ]
    cloud = source.reader.read(next(entry for entry in source.entries if entry.split == "test"))
    points, normals = np.split(shapes[0][0], 2, axis=1)
    assert np.array_equal(cloud.points, points)
    assert np.allclose(cloud.normals, normals / np.linalg.norm(normals, axis=1, keepdims=True), atol=1e-6)


NAMES = {
    "ShapeNet55-34": "pretraining",
    "ScanObjectNN": "chairs/h5",
    "modelnet40_ply_hdf5_2048": "MN",
    "ModelNetFewshot": "few",
    "shapenetcore_partanno_segmentation_benchmark_v0_normal": "seg/normal",
    "Stanford3dDataset_v1.2_Aligned_Version": "rooms",
    "scannet_train_detection_data": "house/votenet",
}
"""By official name of a folder: another one."""


@pytest.fixture(scope="module")
def renamed(tmp_path_factory):
    """Every data set, none under its own name."""
    data = tmp_path_factory.mktemp("data")
    miniature.all_of_them(data, points=16)
    for old, new in NAMES.items():
        (data / new).parent.mkdir(exist_ok=True)
        (data / old).rename(data / new)
    return data


def test_data_sets_are_known_by_their_files_and_not_by_their_names(renamed, monkeypatch, capsys):
    found, left = finding.look(renamed)
    assert not left and not any(one.passed for one in found.values())
    scans = dict.fromkeys(("obj_bg", "obj_only", "pb_t50_rs"), "chairs/h5")
    others = {"modelnet40": "MN", "fewshot": "few", "shapenetpart": "seg/normal", "s3dis": "rooms", "scannet": "house/votenet"}
    assert {name: str(one.path) for name, one in found.items()} == {"shapenet55": "pretraining", **scans, **others}
    lists = (renamed / "MN" / "shape_names.txt").read_text()
    (renamed / "MN" / "shape_names.txt").write_text(lists.replace("night stand", "night_stand"))
    assert "modelnet40" in finding.look(renamed)[0], "underscores are no other names"
    (renamed / "MN" / "shape_names.txt").write_text("bed\nchair\n")
    found, left = finding.look(renamed, at={"s3dis": renamed / "rooms"})
    assert "modelnet40" not in found and found["s3dis"].location == "DATA/rooms"
    with pytest.raises(UserError, match=r"MN has a shape_names.txt of 2 classes that are not the 40 of ModelNet40"):
        finding.look(renamed, at={"modelnet40": renamed / "MN"})
    (renamed / "MN" / "shape_names.txt").write_text(lists)


def test_two_folders_with_one_data_set_are_refused_unless_one_is_named(renamed, tmp_path, monkeypatch):
    data = tmp_path / "data"
    shutil.copytree(renamed, data)
    (data / "MN40").symlink_to(data / "MN")
    assert finding.look(data)[0]["modelnet40"].path == Path("MN"), "a link is no other folder"
    touch(
        data, *(f"off/ModelNet{count}/{name}/{side}/1.off" for count, name in ((10, "bed"), (40, "airplane")) for side in ("train", "test"))
    )
    shutil.copytree(data / "rooms", tmp_path / "more" / "s3dis")
    shutil.copytree(data / "rooms", data / "rooms2")
    with pytest.raises(SystemExit) as error:
        asked(monkeypatch, tmp_path / "out", "--data", data, "--plan")
    said = str(error.value)
    assert f"s3dis is in rooms and rooms2: choose with --at s3dis={data}/rooms, or move one away" in said and "modelnet40" not in said
    shutil.rmtree(data / "rooms2")
    found, left = finding.look(data)
    lines = finding.told(found, left)
    here = found["modelnet40"]
    taken, other = ("MN", "off/ModelNet40")[:: 1 if here.path == Path("MN") else -1]
    assert f"modelnet40: {taken} ({here.place.kind})" in lines
    assert f"  not taken: {other}, the same in another layout" in lines
    assert not (tmp_path / "out").exists()
    at = paper.named([f"modelnet40={data}/off", f"s3dis={tmp_path}/more"])
    found, _ = finding.look(data, at=at)
    assert found["modelnet40"].place.kind == "modelnet" and found["modelnet40"].location == "DATA/off/ModelNet40"
    assert found["s3dis"].location == f"{tmp_path}/more/s3dis"
    made = paper.Paper(tmp_path / "out", found, paper.Asked(recipes=("scratch",)))
    (job,) = made.builds()["s3dis"]
    asking = []
    failed = subprocess.CompletedProcess([], 2, "", "no")
    monkeypatch.setattr(hours.subprocess, "run", lambda words, **more: (asking.append(words), failed)[1])
    hours._build(made, job, Path("/elsewhere"), done=False)
    hours._build(made, made.builds()["modelnet40"][0], Path("/elsewhere"), done=False)
    assert [words[2] for words in asking] == [f"{tmp_path}/more/s3dis", "/elsewhere/off/ModelNet40"]


def test_ctrl_c_ends_it_with_one_line(tmp_path, monkeypatch, capsys):
    def stopped(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(paper, "found_in", stopped)
    with pytest.raises(SystemExit) as error:
        asked(monkeypatch, tmp_path / "out", "--data", tmp_path)
    assert error.value.code == 130 and capsys.readouterr().err == "stopped; the same command goes on\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["modelnet4=."], "no data set 'modelnet4'; did you mean 'modelnet40'"),
        (["modelnet40"], "--at expects NAME=FOLDER"),
        (["s3dis=.", "s3dis=.."], "--at names s3dis twice"),
        (["s3dis=nowhere"], "that is no folder"),
        (["s3dis=/"], "--only leaves s3dis out"),
    ],
)
def test_a_folder_that_cannot_be_named_is_refused(tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    only = ["--only", "fewshot"] if "leaves" in said else []
    with pytest.raises(SystemExit, match=said):
        asked(monkeypatch, tmp_path / "out", "--data", tmp_path, "--plan", *only, "--at", *words)


def test_scans_of_objects_without_their_folder_are_taken_at_the_users_word(tmp_path):
    touch(tmp_path, *(f"mine/{side}_objectdataset.h5" for side in ("training", "test")))
    said = finding.look(tmp_path)[1]["obj_bg"]
    assert "mine has training_objectdataset.h5 and test_objectdataset.h5, and nothing tells whether the scans are with" in said
    found, left = finding.look(tmp_path, at={"obj_only": tmp_path / "mine"})
    assert found["obj_only"].path == Path("mine") and "source.variant=OBJ_ONLY" in found["obj_only"].settings and "obj_bg" in left
    (tmp_path / "mine").rename(tmp_path / "main_split")
    found, _ = finding.look(tmp_path)
    assert found.keys() == {"obj_bg"} and found["obj_bg"].location == "DATA"
    assert finding.look(tmp_path, at={"obj_bg": tmp_path / "main_split"})[0]["obj_bg"].location == "DATA", "one too deep"
    with pytest.raises(UserError, match="main_split lacks main_split_nobg/training"):
        finding.look(tmp_path, at={"obj_only": tmp_path / "main_split"})


def test_scans_in_two_folders_are_one_data_set_and_folders_of_shapes_are_not_looked_into(tmp_path, monkeypatch):
    touch(tmp_path, "big/scannet/scans/scene0000_00/scene0000_00_vh_clean_2.ply")
    assert finding.look(tmp_path)[0]["scannet"].path == Path("big/scannet"), "the deepest that is looked at"
    assert finding.look(tmp_path / "big")[0]["scannet"].path == Path("scannet/scans")
    touch(tmp_path, "big/scannet/scans_test/scene0707_00/scene0707_00_vh_clean_2.ply", "big/votenet/scene0000_00_vert.npy")
    found, _ = finding.look(tmp_path / "big", at={"scannet": tmp_path / "big" / "scannet"})
    assert found["scannet"].location == "DATA/scannet"
    with pytest.raises(UserError, match="scannet is in scannet and votenet"):
        finding.look(tmp_path / "big")
    monkeypatch.setattr(finding, "CROWDED", 1)
    found, left = finding.look(tmp_path)
    assert not found and left["scannet"].endswith("big was not looked into, it has 2 folders")


def test_lists_that_differ_are_refused(tmp_path):
    touch(tmp_path, "meshes/03001627/1a/models/model_normalized.obj")
    for place, text in (("a", "03001627-1a\n"), ("b", "03001627-1a\n")):
        touch(tmp_path, f"{place}/ShapeNet-55/train.txt")
        (tmp_path / place / "ShapeNet-55" / "train.txt").write_text(text)
    assert "source.lists=DATA/a/ShapeNet-55" in finding.look(tmp_path)[0]["shapenet55"].settings
    (tmp_path / "b" / "ShapeNet-55" / "train.txt").write_text("")
    with pytest.raises(UserError, match="lists of ShapeNet-55 that differ are in a/ShapeNet-55 and b/ShapeNet-55"):
        finding.look(tmp_path)


def test_what_its_build_or_its_test_would_refuse_is_not_promised(tmp_path, monkeypatch, capsys):
    """Each data set is known by its files, and lacks what comes apart or is damaged."""
    miniature.all_of_them(tmp_path, points=64)
    found, left = paper.found_in(tmp_path, None)
    assert found.keys() == official.DATA_SETS.keys(), "all are there"
    few = {name for name in left if "-way" in name}
    assert left.keys() == few
    part = "a part of it, or something else: "
    learn, test = ("{} to learn from, where the published files have {}", "{} to test on, where the published files have {}")
    assert found["shapenet55"].fewer == part + learn.format(12, "41,952")
    assert found["modelnet40"].fewer == f"{part}{learn.format(12, '9,843')}; {test.format(6, '2,468')}"
    assert found["shapenetpart"].fewer == f"{part}{learn.format(10, '14,007')}; {test.format(2, '2,874')}", "train and val"
    assert found["s3dis"].fewer == part + test.format(1, "68") and not found["fewshot"].fewer
    assert f"  {found['s3dis'].fewer}" in finding.told(found, left)
    scans = tmp_path / "scannet_train_detection_data"
    for name in ("train", "val"):
        (scans / f"scannetv2_{name}.txt").unlink()
    shutil.rmtree(tmp_path / "Stanford3dDataset_v1.2_Aligned_Version" / "Area_5")
    parts = tmp_path / "shapenetcore_partanno_segmentation_benchmark_v0_normal"
    (parts / "train_test_split" / "shuffled_test_file_list.json").unlink()
    scan = tmp_path / "ScanObjectNN" / "main_split" / "test_objectdataset.h5"
    scan.write_bytes(scan.read_bytes()[:100])
    folds = tmp_path / "ModelNetFewshot" / "5way_10shot"
    for path in folds.glob("*.pkl"):
        path.write_bytes(path.read_bytes()[:20])
    found, left = paper.found_in(tmp_path, None)
    assert found.keys() == {"shapenet55", "obj_only", "pb_t50_rs", "modelnet40"}
    assert left["scannet"].startswith(
        "scannet_train_detection_data was found, and has no shape in the split train (there is no split at all)"
    )
    assert "fetch scannetv2_train.txt and scannetv2_val.txt (https://github.com/ScanNet/ScanNet" in left["scannet"]
    assert "has no shape in the split test (there is train); the papers test on Area_5" in left["s3dis"]
    assert "has no shape in the split test (there is train, val); the lists are train_test_split/" in left["shapenetpart"]
    assert "was found, and it cannot be built: " in left["obj_bg"] and "test_objectdataset.h5" in left["obj_bg"]
    assert "was found, and " in left["fewshot"] and ".pkl" in left["fewshot"]
    made = paper.Paper(tmp_path / "out", found, paper.Asked())
    assert [job.name for jobs in made.builds().values() for job in jobs] == [f"build/{name}" for name in found]
    shutil.rmtree(tmp_path / "ShapeNet55-34" / "shapenet_pc")
    touch(tmp_path, "ShapeNet55-34/shapenet_pc/02691156-train0.npy")
    monkeypatch.setattr(hours, "measured", lambda *asked: (1.0, "here"))
    with pytest.raises(SystemExit, match=r"lacks ShapeNet-55, which every row(.|\n)*\nshapenet55: ShapeNet55-34 was found, and it "):
        asked(monkeypatch, tmp_path / "out", "--data", tmp_path, "--plan")


def test_scans_without_boxes_are_tested_for_what_they_have(tmp_path):
    """Pointcept's arrays of ScanNet have labels of points, and no boxes. Scans for the test server have neither."""
    miniature.shapenet55(tmp_path, 64)
    rng = np.random.default_rng(0)
    for split, number in (("train", 0), ("val", 1), ("test", 707)):
        scan = tmp_path / "arrays" / split / f"scene{number:04d}_00"
        scan.mkdir(parents=True)
        np.save(scan / "coord.npy", rng.uniform(0, 2, (300, 3)).astype(np.float32))
        np.save(scan / "color.npy", rng.integers(0, 256, (300, 3)).astype(np.uint8))
        if split != "test":
            np.save(scan / "segment20.npy", rng.integers(0, 20, 300).astype(np.int16))
            np.save(scan / "instance.npy", rng.integers(0, 3, 300).astype(np.int16))
    found, left = paper.found_in(tmp_path, ["scannet"])
    assert left.keys() == {"ScanNet detection", *official.DATA_SETS} - {"scannet", "shapenet55"}
    assert left["modelnet40"] == "not asked for (--only)" and left["ScanNet detection"] in found["scannet"].lacking.values()
    reason = "has nothing to use in the split train, of 1 that were tried: scene0000_00#whole has no boxes of objects; "
    assert left["ScanNet detection"].startswith(reason)
    assert left["ScanNet detection"].endswith("Pointcept's arrays have no boxes") and "scannetv2_train.txt" not in left["ScanNet detection"]
    made = paper.Paper(tmp_path / "out", found, paper.Asked(recipes=("scratch",)))
    assert [job.name for job in made.builds()["scannet"]] == ["build/scannet-columns"]
    assert [test.name for test in made.tests()] == ["ScanNet segmentation"]
    assert "test_split=val" in made.eval(official.TESTS["ScanNet segmentation"], made.rows["scratch"], 0), (
        "those of the split test have no labels"
    )
    touch(tmp_path, "out/caches/scannet-columns.zarr/zarr.json")
    again, _ = paper.found_in(tmp_path, ["scannet"], caches=tmp_path / "out" / "caches")
    assert again == found, "what is built is not asked again"


def test_a_few_damaged_shapes_make_no_data_set_unusable_and_no_remedy_is_told_that_does_not_help():
    def source(split, usable):
        def read(entry):
            if not usable(int(entry.id)):
                raise UserError("damaged")
            return Cloud(points=np.zeros((4, 3), np.float32))

        entries = [SimpleNamespace(id=str(number), split=split) for number in range(100)]
        return SimpleNamespace(entries=entries, reader=SimpleNamespace(read=read))

    def lacks(name, *asked):
        return promised._lacks(official.TESTS[name], source(*asked), official.DATA_SETS["scannet"].fetch)

    assert not list(promised._without(source("train", lambda number: number > 60), "train", "")), "the first sixty are damaged"
    (damaged,) = promised._without(source("train", lambda number: False), "train", "")
    assert damaged == ("has nothing to use in the split train, of 8 that were tried: 0 cannot be read: damaged", None)
    splits, labels = official.DATA_SETS["scannet"].fetch["splits"], official.DATA_SETS["scannet"].fetch["labels"]
    assert splits in lacks("ScanNet detection", "", bool) and labels not in lacks("ScanNet detection", "", bool)
    said = lacks("ScanNet detection", "train", lambda number: number > 60)
    assert "of 8 that were tried: 62 has no boxes of objects" in said and labels in said and splits in said, "and there is no split val"
    assert labels not in lacks("ScanNet detection", "train", lambda number: False)


# ------------------------------------------------------------------------------------------------------------------- plan


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Everything there is, as if it were found."""
    return {
        name: official.Found(place=one.places[0], path=Path(name), settings=one.places[0].settings)
        for name, one in official.DATA_SETS.items()
    }


@pytest.mark.parametrize("encoder", ["pointm2ae-s", "pointmae-s"])
def test_every_recipe_can_be_planned_for_every_encoder(tmp_path, found, encoder):
    """Commands have valid settings, jobs come after what they need, and rows with one stage 1 share it."""
    every = tuple(name for name in RECIPES if name not in paper.OWN)
    made = paper.Paper(tmp_path, found, paper.Asked(encoder=encoder, recipes=every, runs=2))
    plan = [job for several in made.builds().values() for job in several] + made.trainings() + made.scores()
    known: set[str] = set()
    for job in plan:
        assert known.issuperset(job.after), f"{job.name} comes before what it needs"
        known.add(job.name)
    assert len(known) == len(plan)
    assert all(row.about and "\n" not in row.about and "  " not in row.about for row in made.rows.values()), "a row of a table is a line"
    by_name = {job.name: shlex.join(job.command) for job in plan}
    assert [name for name in by_name if name.startswith("train/mmpd") and "stage-1-0" in name] == [
        f"train/{name}-stage-1-0" for name in ("mmpd", "mmpd-2-teachers", "mmpd-1-teacher", "mmpd-dense", "mmpd-on-mae")
    ]
    baseline = "point-m2ae" if "m2ae" in encoder else "point-mae"
    assert f"--init runs/{baseline}-1 " in by_name["train/mmpd-on-mae-stage-1-1"]
    alone = paper.Paper(tmp_path, found, paper.Asked(encoder=encoder, recipes=("mmpd-on-mae",)))
    assert list(alone.rows) == [baseline, "mmpd-on-mae-stage-1", "mmpd-on-mae"], "what it starts from is trained, too"
    assert "--guide mmpd-stage-1-1 --init runs/mmpd-stage-1-1 " in by_name["train/mmpd-no-shuffle-1"]
    assert "--guide mmpd-stage-1-0 " in by_name["train/act-like-0"] and "--init" not in by_name["train/act-like-0"]
    assert "data.teachers=openclip-bigg14,siglip-so400m " in by_name["train/mmpd-2-teachers-stage-1-0"]
    assert "optim.epochs" not in by_name["train/scratch-0"] and "seed=1" in by_name["train/scratch-1"]
    assert all(f"points.count={2048 if 'm2ae' in encoder else 1024}" in by_name[f"build/{name}"] for name in ("shapenet55", "modelnet40"))
    for words in (job.command for job in plan if job.name.startswith("build/")):
        recipe = words[words.index("--recipe") + 1]
        built = pipeline.recipes.configured(recipe, [value for key, value in itertools.pairwise(words) if key == "--set"])
        assert (built.captions is not None and built.captions.rank_by == built.teachers[0]) == (built.teachers != ())
    for row in made.rows.values():
        for test in made.tests(row):
            words = shlex.split(made.eval(test, row, 0))
            settings = [value for key, value in itertools.pairwise(words) if key == "--set"]
            catalog.options(test.task, settings)  # a setting that nobody reads is refused
            assert ("scratch=true" in settings) == (row.name == "scratch" and test.scratch)
        assert any(test.labels for test in made.tests(row)) == (row.stage == "align")


def test_epochs_seeds_and_teachers_are_those_that_are_asked_for(tmp_path, found):
    few = paper.Paper(tmp_path, found, paper.Asked(epochs="0.1x", seeds=5, teachers=("clip-vit-b32", "dinov2-small")))
    by_name = {job.name: shlex.join(job.command) for job in few.trainings()}
    assert (
        "optim.epochs=25 " in by_name["train/mmpd-stage-1-0"]
        and "data.teachers=clip-vit-b32,dinov2-small" in by_name["train/mmpd-stage-1-0"]
    )
    assert "optim.epochs=30 " in by_name["train/mmpd-0"] and "train/point-m2ae-0" in by_name
    row = few.rows["mmpd"]
    assert "epochs=30 " in few.eval(official.TESTS["PB_T50_RS"], row, 0) and "seeds=5" in few.eval(official.TESTS["PB_T50_RS"], row, 0)
    assert "training.epochs=15" in few.eval(official.TESTS["5-way 10-shot"], row, 0)
    usual = paper.Paper(tmp_path, found, paper.Asked())
    assert "epochs" not in usual.eval(official.TESTS["PB_T50_RS"], row, 0)
    assert paper.Asked(epochs="7").times(300) == 7 and paper.Asked(epochs="7").times(0) == 0 and paper.Asked(epochs="0.001x").times(60) == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"encoder": "pointm2ae"}, "no encoder 'pointm2ae'; did you mean"),
        ({"recipes": ("mmpd-no-shufle",)}, "did you mean 'mmpd-no-shuffle'"),
        ({"recipes": ("tiny",)}, "no recipe 'tiny' for a row of the table"),
        ({"epochs": "0x"}, "epochs must be a number"),
        ({"epochs": "-1"}, "epochs must be a number"),
        ({"seeds": 0}, "seeds and runs must be at least 1"),
        ({"teachers": ("clip-vit-b32", "clip-vit-b23")}, "no teacher 'clip-vit-b23'; did you mean 'clip-vit-b32'"),
        ({"captioner": "templat"}, "no captioner is called 'templat'; did you mean 'template'"),
    ],
)
def test_a_wish_that_cannot_be_is_refused(settings, said):
    with pytest.raises(UserError, match=said):
        paper.Asked(**settings)


def test_a_recipe_that_needs_more_teachers_is_refused(tmp_path, found):
    with pytest.raises(UserError, match="needs 2 teachers, and 1 are given"):
        paper.Paper(tmp_path, found, paper.Asked(recipes=("mmpd-2-teachers",), teachers=("clip-vit-b32",)))


def test_a_plan_prints_lines_to_paste_and_writes_nothing(tmp_path, monkeypatch, capsys):
    miniature.shapenet55(tmp_path / "data")
    miniature.fewshot(tmp_path / "data", points=8)
    answer = {"shapes": 1000, "low": 1.0, "high": 2.0, "missing": ["clip"]}
    monkeypatch.setattr(hours.subprocess, "run", lambda words, **more: subprocess.CompletedProcess(words, 0, json.dumps(answer), ""))
    monkeypatch.setattr(hours, "SECONDS", 0.0)
    asked(monkeypatch, tmp_path / "out", "--data", tmp_path / "data", "--plan", *TRIAL)
    lines = capsys.readouterr().out.splitlines()
    assert f"mkdir -p {tmp_path}/out" in lines and f"ln -sfn {tmp_path}/data DATA" in lines
    assert any(line.startswith("mmpd-cache build DATA/ModelNetFewshot caches/fewshot.zarr") for line in lines)
    assert any(line.startswith("mmpd-train eval fewshot runs/ulip2-like-0 caches/fewshot.zarr --set stored=true") for line in lines)
    assert any("build/fewshot  (without clip, whose weights are not here)" in line for line in lines)
    assert any("there and back through the encoder, measured here" in line for line in lines)
    assert not (tmp_path / "out").exists()
    asked(monkeypatch, tmp_path / "out", "--data", tmp_path / "data", "--plan", *TRIAL, "--rate", "100")
    lines = capsys.readouterr().out.splitlines()
    assert "100.0 shapes a second, there and back through the encoder, as told by --rate." in lines
    (train,) = [line.split() for line in lines if line.endswith("train/ulip2-like-0")]
    assert float(train[0]) == pytest.approx(1000 * 0.8 / 100 / 3600, abs=0.01) and train[1] == "to"


def test_passes_are_those_of_the_papers(tmp_path, found):
    made = paper.Paper(tmp_path, found, paper.Asked(seeds=2, epochs="0.5x"))
    assert hours.passes(made, official.TESTS["PB_T50_RS"], 11416) == 11416 * 150 * 2 * 2  # of twice as many points
    assert hours.passes(made, official.TESTS["10-way 20-shot"], 10500) == 10 * 20 * 10 * 75
    assert hours.passes(made, official.TESTS["ModelNet40 SVM"], 9843) == 9843


def test_a_build_that_cannot_be_estimated_is_told(tmp_path, found, monkeypatch):
    one = paper.Paper(tmp_path, {name: found[name] for name in ("shapenet55", "fewshot")}, paper.Asked(recipes=("scratch",)))
    failed = subprocess.CompletedProcess([], 2, "", "mmpd-cache: no such place\n")
    monkeypatch.setattr(hours.subprocess, "run", lambda words, **more: failed)
    told = hours.told(hours.estimate(one, tmp_path, 10.0))
    assert "build/shapenet55  (not counted: mmpd-cache: no such place)" in told
    assert "train/scratch-0  (not counted)" in told and "scratch-0, 5-way 10-shot  (not counted)" in told
    assert told.endswith("; without 7 jobs, marked above")


# ---------------------------------------------------------------------------------------------------------------- running


def test_a_data_set_that_cannot_be_built_costs_its_own_columns_alone(tmp_path, found, monkeypatch):
    ran = []

    def work(self, several, slots):
        ran.append([job.name for job in several])
        return [job.name for job in several if job.name == "build/s3dis"]

    monkeypatch.setattr(Ledger, "work", work)
    there = {name: found[name] for name in ("shapenet55", "obj_bg", "s3dis")}
    made = paper.Paper(tmp_path, there, paper.Asked(recipes=("scratch",)))
    assert paper.run(made, 1) == {"s3dis": "could not be built; see jobs/build/s3dis.log"}
    assert ran == [["build/shapenet55"], ["build/obj_bg", "build/s3dis"], ["train/scratch-0", "score/scratch-0"]]
    ran.clear()
    monkeypatch.setattr(Ledger, "work", lambda self, several, slots: (ran.append(len(several)), [job.name for job in several])[1])
    with pytest.raises(SystemExit, match="shapenet55 could not be built"):
        paper.run(made, 1)
    assert ran == [1], "nothing else is built for a table without rows"


def test_what_an_earlier_version_made_by_another_command_costs_its_own_columns_alone(tmp_path, found, monkeypatch):
    there = {name: found[name] for name in ("shapenet55", "obj_bg", "modelnet40")}
    made = paper.Paper(tmp_path, there, paper.Asked(encoder="pointmae-s", recipes=("scratch", "mmpd")))
    builds = {job.name: job for job in itertools.chain(*made.builds().values())}
    ledger, (train,) = Ledger(tmp_path), (job for job in made.trainings() if job.name == "train/mmpd-stage-1-0")
    for job in (builds["build/obj_bg"], train):
        command = tuple("points.count=1024" if word == "points.count=2048" else word for word in job.command)
        ledger.note(Job(name=job.name, command=command if command != job.command else (*command, "x")), 1, done=True)
    ran = []
    monkeypatch.setattr(Ledger, "work", lambda self, several, slots: (ran.extend(job.name for job in several), [])[1])
    failed = paper.run(made, 1)
    assert ran[:2] == ["build/shapenet55", "build/modelnet40"]
    assert {"labels/modelnet40", "train/scratch-0", "score/scratch-0"} <= set(ran) and not any("mmpd-0" in name for name in ran)
    assert failed["obj_bg"].startswith("build/obj_bg is of the command mmpd-cache build ") and "points.count=1024" in failed["obj_bg"]
    assert failed["obj_bg"].endswith(": remove jobs/build/obj_bg.json and caches/obj_bg.zarr, and the same command makes it anew")
    assert ": remove jobs/train/mmpd-stage-1-0.json and runs/mmpd-stage-1-0, and" in failed["train/mmpd-stage-1-0"]
    assert failed["train/mmpd-0"] == "not done, because it needs guide/mmpd-stage-1-0", "and that the training"
    assert f"# {failed['obj_bg']}" in paper.commands(made)
    monkeypatch.setattr(hours, "_build", lambda paper, job, data, done: (None, 100.0 * done))
    assert not any("stage-1-0" in line.name and "train" in line.name for line in hours.estimate(made, tmp_path, 1.0).lines)


def test_a_job_that_waits_for_a_failed_one_is_not_said_to_have_a_log(tmp_path, found, monkeypatch):
    made = paper.Paper(tmp_path, {name: found[name] for name in ("shapenet55", "obj_bg")}, paper.Asked(recipes=("scratch",)))
    monkeypatch.setattr(Ledger, "work", lambda self, several, slots: [job.name for job in several if not job.name.startswith("build/")])
    assert paper.run(made, 1) == {
        "train/scratch-0": "failed; see jobs/train/scratch-0.log",
        "score/scratch-0": "not done, because it needs train/scratch-0",
    }


def test_results_of_other_data_are_refused_and_no_file_of_a_user_is_removed(tmp_path, monkeypatch):
    one, other, folder = tmp_path / "one", tmp_path / "other", tmp_path / "out"
    for place in (one, other):
        miniature.shapenet55(place, 8)
        miniature.scanobjectnn(place, 8)
    paper.prepared(folder, one)
    paper.prepared(folder, other)  # nothing was made of the first one yet
    assert (folder / "DATA").resolve() == other
    (folder / "jobs").mkdir()
    for words in ([], ["--plan", "--rate", "1"], ["--table"]):
        with pytest.raises(SystemExit, match=f"holds results of {other}, and --data is {one}: give another folder"):
            asked(monkeypatch, folder, "--data", one, *words)
    assert (folder / "DATA").resolve() == other
    (folder / "DATA").unlink()
    (folder / "DATA").write_text("mine")
    with pytest.raises(SystemExit, match="DATA lies where a link to the data belongs, and is none"):
        asked(monkeypatch, folder, "--data", one)
    assert (folder / "DATA").read_text() == "mine"
    (folder / "DATA").unlink()
    (folder / "DATA").mkdir()
    with pytest.raises(UserError, match="DATA lies where a link"):
        paper.prepared(folder, one)


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--jobs", "0"], "--jobs must be at least 1, got 0"), (["--plan", "--rate", "0"], "--rate must be a positive number"),
     (["--plan", "--rate", "-3"], "--rate must be a positive number")],
)  # fmt: skip
def test_numbers_that_cannot_be_are_refused(tmp_path, monkeypatch, words, said):
    with pytest.raises(SystemExit, match=said):
        asked(monkeypatch, tmp_path / "out", "--data", tmp_path, *words)


def test_what_was_removed_or_does_not_hold_is_not_done(tmp_path, found, monkeypatch):
    """Jobs that were done once: all of them hold; then the points of a test, the weights of a run, and a cache are others."""
    state = {"weights": "w", "points": "p"}
    monkeypatch.setattr(evals.score, "points", lambda path: state["points"])
    monkeypatch.setattr(evals.saved, "weights", lambda run: state["weights"])
    monkeypatch.setattr(evals.saved, "settings", lambda run: ())
    made = paper.Paper(tmp_path, {name: found[name] for name in ("shapenet55", "obj_bg")}, paper.Asked(recipes=("scratch",)))
    ledger = Ledger(tmp_path)
    plan = [job for several in made.builds().values() for job in several] + made.trainings() + made.scores()
    for job in plan:
        ledger.note(job, 1, done=True)
    scored(made, "scratch", 0, "OBJ_BG", 80.0)

    def left():
        return [job.name for job in plan if not ledger.done(job)]

    assert left() == ["build/shapenet55", "build/obj_bg"], "the caches are not there"
    for name in ("shapenet55", "obj_bg"):
        touch(tmp_path, f"caches/{name}.zarr/zarr.json")
    monkeypatch.setattr(Ledger, "_state", lambda self, job: {})
    monkeypatch.setattr(hours, "_build", lambda *job, **done: (None, 100.0))
    assert left() == [] and paper.commands(made) == []
    for name in state:
        with monkeypatch.context() as inside:
            inside.setitem(state, name, "other")
            assert left() == ["score/scratch-0"]
            (command,) = paper.commands(made)
            assert command.startswith("mmpd-train eval classify runs/scratch-0 caches/obj_bg.zarr")
            assert paper_table.gathered(made, {})["not_current"] == ["scores/scratch-0/OBJ_BG.json"]
            assert [line.name for line in hours.estimate(made, tmp_path, 1.0).lines] == ["scratch-0, OBJ_BG"]
    assert not hours.estimate(made, tmp_path, 1.0).lines
    assert [one["mean"] for one in paper_table.gathered(made, {})["numbers"]] == [80.0]


def test_tests_of_a_run_that_is_trained_again_run_again(tmp_path, here, monkeypatch):
    """At the start they still hold: the weights of the run are those of its last training."""
    monkeypatch.setattr(evals, "main", lambda: None)
    train = Job(name="train/a", command=("evals.py",))
    score = Job(name="score/a", command=("evals.py", "x"), after=("train/a",), grows=True, made=lambda: True)
    ledger = Ledger(tmp_path)
    assert ledger.work([train, score], 1) == [] and here == ["train/a", "score/a"]
    assert ledger.work([train, score], 1) == [] and len(here) == 2
    (tmp_path / "jobs" / "train" / "a.json").unlink()
    assert ledger.work([train, score], 1) == [] and here[2:] == ["train/a", "score/a"]


def test_a_test_that_fails_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    def measured(one, loaded, folder):
        if one.task == "svm":
            raise UserError("too few shapes")

    monkeypatch.setattr(evals, "measured", measured)
    monkeypatch.setattr(evals.Eval, "done", lambda self, folder: self.task == "knn")
    loaded = SimpleNamespace(run=Path("runs/a"), model=SimpleNamespace(to=lambda device: None))
    monkeypatch.setattr(evals.checkpoint, "load", lambda run: loaded)
    lines = [f"{task}: mmpd-train eval {task} runs/a caches/b.zarr --set x=1" for task in ("svm", "knn", "classify")]
    monkeypatch.setattr(sys, "argv", ["evals.py", str(tmp_path), *lines])
    with pytest.raises(SystemExit) as error:
        evals.main()
    said = capsys.readouterr()
    assert error.value.code == 1 and said.out == "classify\n" and "FAILED svm: too few shapes" in said.err


# -------------------------------------------------------------------------------------------------------------- the table


def scored(made, row, seed, test, *values, command=None, weights="w"):
    """A result of a test."""
    metrics = [
        {"name": name or "first top-1", "values": values, "over": "seeds", "headline": True, "shapes": 9}
        for _, name in official.TESTS[test].columns
    ]
    data = {"cache": "c", "points": "p", "split": "test", "shapes": 9}
    result = {"task": "t", "run": "r", "setup": "s", "trial": "t", "weights": weights, "protocol": "last epoch", "settings": []}
    result |= {"scores": {"test": data, "metrics": metrics, "notes": ["said"]}}
    own = made.eval(official.TESTS[test], made.rows[row], seed) if command is None else command
    path = made.folder / "scores" / made.rows[row].run(seed) / f"{test}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"command": own, "weights": weights, "commit": "c", "seconds": 1, "result": result}))


@pytest.fixture
def same_weights(monkeypatch):
    """Runs whose weights are `w`."""
    monkeypatch.setattr(evals.saved, "weights", lambda run: "w")
    monkeypatch.setattr(evals.saved, "settings", lambda run: ())


def test_cells_have_mean_deviation_and_number_of_values(tmp_path, found, same_weights):
    made = paper.Paper(tmp_path, found, paper.Asked())
    scored(made, "mmpd", 0, "PB_T50_RS", 90.0, 91.0, 92.0)
    scored(made, "scratch", 0, "PB_T50_RS", 84.0)
    scored(made, "mmpd-stage-1", 0, "ModelNet40 zero-shot", 70.0, 71.0)
    scored(made, "mmpd", 0, "ShapeNetPart", 84.0, 85.0)
    text = paper_table.write(made, {"s3dis": "expected a folder"})
    assert "| row | epochs | PB_T50_RS | MN40 zero-shot | Part mIoU_C | Part mIoU_I |" in text
    assert "| 250 + 300 | 91.0 ± 1.0 (3) |  | 84.5 ± 0.7 (2) | 84.5 ± 0.7 (2) |" in text
    assert "| 0 | 84.0 (1) |  |  |  |" in text and "70.5 ± 0.7 (2)" in text
    assert "| *MMPD, Point-M2AE (published, not ours)* |  | *91.2* |  |  |  |" in text
    assert "| *Point-M2AE (published, not ours)* |  | *88.1* |" in text and "- s3dis: expected a folder." in text
    assert "- PB_T50_RS: " in text and "- ShapeNetPart: the published loops" in text and "- S3DIS" not in text
    assert "- PB_T50_RS: said (scratch, mmpd)" in text
    assert "Rows in italics" in text and "\n## Published rows" in text
    short = paper.Paper(tmp_path / "short", found, paper.Asked(epochs="1"))
    scored(short, "scratch", 0, "ShapeNetPart", 84.0, 85.0)
    text = paper_table.write(short, {})
    assert "84.5 ± 0.7 (2)" in text and "; 1 epoch." in text
    assert "italics" not in text and "Published rows" not in text, "no published row has a number in these columns"


def test_a_part_of_a_data_set_is_told(tmp_path, found, same_weights, monkeypatch):
    made = paper.Paper(tmp_path, found, paper.Asked())
    for test in ("ShapeNetPart", "S3DIS Area 5", "5-way 10-shot"):
        scored(made, "mmpd", 0, test, 84.0)
    synthetic.write(tmp_path / "caches/shapenet55.zarr", shapes=9)
    text = paper_table.write(made, {})
    assert "- shapenet55: pre-training learns from 6 shapes, and the papers' list has 41,952: no row is comparable." in text
    assert "- S3DIS Area 5: 9 test shapes where the published files have 68: its numbers are not comparable with those of papers." in text
    assert "- ShapeNetPart: 9 test shapes where the published files have 2,874" in text
    text = "\n".join(paper_table._parts({"learned_from": 41_940, "numbers": []}))
    assert text == "shapenet55: pre-training learns from 41,940 shapes, and the papers' list has 41,952", "a few that failed"
    assert next(paper_table._parts({"learned_from": 41_000, "numbers": []})).endswith(": no row is comparable")
    text = paper_table.write(made, {})
    assert "5-way 10-shot: 9" not in text, "nobody has counted how many shapes the folds have together"
    monkeypatch.setattr(paper_table, "_learned_from", lambda made: official.LEARNED)
    monkeypatch.setitem(paper_table.TESTS, "ShapeNetPart", replace(official.TESTS["ShapeNetPart"], whole=((), 9)))
    text = paper_table.write(made, {})
    assert "pre-training learns" not in text and "- ShapeNetPart: 9" not in text


def test_several_pre_trainings_count_as_one_value_each(tmp_path, found, same_weights):
    made = paper.Paper(tmp_path, found, paper.Asked(runs=2))
    scored(made, "mmpd", 0, "OBJ_BG", 90.0, 92.0)
    scored(made, "mmpd", 1, "OBJ_BG", 93.0, 93.0)
    (one,) = paper_table.gathered(made, {})["numbers"]
    assert one["values"] == [91.0, 93.0] and one["over"] == "pre-trainings" and one["each"] == [[90.0, 92.0], [93.0, 93.0]]


def test_a_result_of_other_weights_or_another_command_is_no_number(tmp_path, found, same_weights):
    made = paper.Paper(tmp_path, found, paper.Asked())
    scored(made, "mmpd", 0, "OBJ_BG", 90.0, weights="v")
    scored(made, "mmpd", 0, "PB_T50_RS", 90.0, command="mmpd-train eval classify")
    text = paper_table.write(made, {})
    assert "There is no number yet." in text
    assert (
        "- scores/mmpd-0/OBJ_BG.json: of another command, of other weights, or of other points or labels" in text
        and "scores/mmpd-0/PB_T50_RS.json" in text
    )


def test_what_rests_on_a_training_of_other_labels_is_no_number(tmp_path, found, same_weights, monkeypatch):
    made = paper.Paper(tmp_path, {name: found[name] for name in ("shapenet55", "obj_bg")}, paper.Asked(recipes=("scratch", "point-mae")))
    for name in ("scratch", "point-mae"):
        scored(made, name, 0, "OBJ_BG", 80.0)
    cache = synthetic.write(tmp_path / "caches/shapenet55.zarr", shapes=4).path
    monkeypatch.setattr(paper.Paper, "scored", lambda self, test, row, seed: True)
    jobs = {job.name: job for job in made.trainings()}
    Ledger(tmp_path).note(jobs["train/point-mae-0"], 1, done=True)
    assert [one["row"] for one in paper_table.gathered(made, {})["numbers"]] == ["scratch", "point-mae"]
    table = tmp_path / "t.csv"
    table.write_text(f"id,class\n{open_cache(cache).ids()[0]},new\n")
    relabel(cache, table, Silent())
    data = paper_table.gathered(made, {})
    assert [one["row"] for one in data["numbers"]] == ["scratch"] and data["not_current"] == ["scores/point-mae-0/OBJ_BG.json"]
    why = "- train/point-mae-0, and what rests on it: of caches/shapenet55.zarr as it was before its classes, splits or names changed"
    assert why in paper_table.markdown(data)


def test_what_rests_on_a_training_by_another_configuration_is_no_number(tmp_path, found, same_weights, monkeypatch):
    why = "of another configuration than it has now (augment.per_axis is False, asked True): remove runs/point-mae-0"
    monkeypatch.setattr(paper, "trained_otherwise", lambda run, *now: why if run.name == "point-mae-0" else "")
    made = paper.Paper(tmp_path, {name: found[name] for name in ("shapenet55", "obj_bg")}, paper.Asked(recipes=("scratch", "point-mae")))
    for name in ("scratch", "point-mae"):
        scored(made, name, 0, "OBJ_BG", 80.0)
    data = paper_table.gathered(made, {})
    assert [one["row"] for one in data["numbers"]] == ["scratch"] and data["not_current"] == ["scores/point-mae-0/OBJ_BG.json"]
    assert f"- train/point-mae-0, and what rests on it: {why}." in paper_table.markdown(data)
    monkeypatch.setattr(hours, "_build", lambda *job, **done: (None, 100.0))
    assert f"# train/point-mae-0 is {why}" in paper.commands(made)


def test_what_rests_on_labels_or_patch_features_of_before_is_no_number(tmp_path, found, same_weights, monkeypatch):
    there = {name: found[name] for name in ("shapenet55", "modelnet40")}
    made = paper.Paper(tmp_path, there, paper.Asked(recipes=("ulip2-like",)))
    for test in ("ModelNet40 SVM", "ModelNet40 zero-shot"):
        scored(made, "ulip2-like", 0, test, 80.0)
    cache = synthetic.write(tmp_path / "caches/shapenet55.zarr", shapes=4).path
    monkeypatch.setattr(paper.Paper, "scored", lambda self, test, row, seed: True)
    labels = next(job for job in made.trainings() if job.name == "labels/modelnet40")
    Ledger(tmp_path).note(labels, 1, done=True)
    assert len(paper_table.gathered(made, {})["numbers"]) == 2
    table = tmp_path / "t.csv"
    table.write_text(f"id,class\n{open_cache(cache).ids()[0]},new\n")
    relabel(cache, table, Silent())
    data = paper_table.gathered(made, {})
    assert [one["test"] for one in data["numbers"]] == ["ModelNet40 SVM"]
    assert data["not_current"] == ["scores/ulip2-like-0/ModelNet40 zero-shot.json"]
    dense = paper.Paper(tmp_path, there, paper.Asked(recipes=("mmpd-dense",)))
    jobs = {job.name: job for job in (*dense.trainings(), *itertools.chain(*dense.builds().values()))}
    needs = paper_table._needs(dense, dense.rows["mmpd-dense"], official.TESTS["ModelNet40 SVM"], 0, jobs)
    assert needs[:2] == ("build/shapenet55", "build/modelnet40") and needs[-1] == "train/mmpd-dense-0"
    assert any(name.startswith("patches/") for name in needs), "stage 1 rests on them"
    assert needs.index("train/mmpd-dense-stage-1-0") < needs.index("guide/mmpd-dense-stage-1-0")


def test_what_has_no_number_is_named_with_the_reason(tmp_path, found, same_weights):
    there = {name: found[name] for name in ("shapenet55", "obj_bg", "obj_only", "s3dis")}
    made = paper.Paper(tmp_path, there, paper.Asked(recipes=("scratch", "point-m2ae")))
    scored(made, "scratch", 0, "OBJ_BG", 80.0)
    ledger = Ledger(tmp_path)
    jobs = {job.name: job for job in [*itertools.chain(*made.builds().values()), *made.trainings(), *made.scores()]}
    for name in ("build/shapenet55", "build/obj_bg", "build/obj_only", "train/scratch-0"):
        ledger.note(jobs[name], 1, done=True)
    ledger.note(jobs["score/scratch-0"], 1, done=False)
    text = paper_table.write(made, {"s3dis": "could not be built"})
    state = "score/scratch-0 has failed, was stopped or still runs: see jobs/score/scratch-0.log"
    assert f"- scratch-0 has no result of OBJ_ONLY: {state}." in text
    assert "- point-m2ae-0 has no result of OBJ_BG, OBJ_ONLY: train/point-m2ae-0 has not begun." in text
    assert "- s3dis: could not be built." in text and "S3DIS Area 5" not in text


def test_what_differs_depends_on_the_encoder():
    tests = official.TESTS
    said = {name: tests[name].unlike("pointm2ae", 2048) for name in tests}
    assert "read 1,024 points" in said["ModelNet40 SVM"] and "reads 2,048" in said["ModelNet40 SVM"]
    assert "1,024" not in tests["ModelNet40 SVM"].unlike("pointmae", 1024)
    assert "features are standardised" in said["ModelNet40 SVM"] and "sum of mean and maximum, as" in said["ModelNet40 SVM"]
    assert "first token out of the maximum" in said["PB_T50_RS"] and "first token" not in tests["PB_T50_RS"].unlike("pointmae", 1024)
    assert "were found in the repository" in said["5-way 10-shot"]
    for name in ("PB_T50_RS", "ModelNet40 fine-tuned", "5-way 10-shot"):
        assert "one of the stored blocks" in tests[name].unlike("pointmae", 1024).lower()
    assert "layers of its own" in said["ShapeNetPart"] and "layers of its own" not in tests["ShapeNetPart"].unlike("pointmae", 1024)


def test_settings_are_the_published_ones_where_they_can_be(tmp_path, found):
    tests = official.TESTS
    assert tests["ModelNet40 fine-tuned"].by_family is official.ROUND_HEADS
    # What heads read is told in two places: for published files, and for fine-tuning here.
    reads = {"pointmae": "point-mae", "recon": "recon", "pointmamba": "pointmamba"}
    for family, peer in reads.items():
        (published,) = PEERS[peer].reads
        wanted = {f"pool={published.pool}"} | {"class_token=true" for value in published.settings.values() if value == "joined"}
        for table in (official.ROUND_HEADS, official.SCAN_HEADS):
            assert wanted == {one for one in table.get(family, table[""]) if one.startswith(("pool", "class_token"))}
    made = paper.Paper(tmp_path, found, paper.Asked(encoder="pointmae-s"))
    builds = {job.name: shlex.join(job.command) for job in itertools.chain(*made.builds().values())}
    assert "points.count=2048" in builds["build/pb_t50_rs"] and "points.count=1024" in builds["build/modelnet40"]
    # ACT reads metres, and does not rotate.
    assert {"scale=1", "middle=0", "augment.rotate=false", "augment.scale=0.8,1.25", "augment.shift=0.1"} == set(
        tests["S3DIS Area 5"].settings
    )
    assert "augment.quarters=false" in tests["ScanNet detection"].settings
    for test in tests.values():  # every setting is one of its task, for every family
        for more in (test.by_family or {"": ()}).values():
            override(catalog.options(test.task), [*test.settings, *more])


def test_published_figures_have_a_column_and_a_source():
    for one in paper_table.PUBLISHED:
        assert one.source and set(one.values) <= set(paper_table.COLUMNS)
    assert configured("mmpd", "align").data.teachers == paper.Asked().teachers
