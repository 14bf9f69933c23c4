"""From a folder of meshes to vectors, names and neighbours, as a user of a trained run does it."""

import contextlib
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from cache_schema import query_files, store
from cache_schema.errors import UserError
from cache_schema.spec import fingerprint
from pipeline import query, reading
from pipeline.cli import main as mmpd_cache
from pipeline.teachers import catalog
from tests.boxes import write_meshes
from tests.trainer.conftest import config_of
from tests.trainer.test_vectors import command  # noqa: F401
from trainer import checkpoint, given
from trainer.loop import train
from trainer.model import Model

parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(scope="module")
def run(built, tmp_path_factory):
    """A run that learned from the teachers of the cache of boxes."""
    folder = tmp_path_factory.mktemp("runs") / "boxes"
    train(config_of("align", "data.splits=train,test", "optim.batch=4"), [built], folder, device="cpu")
    return folder


@pytest.fixture
def here(monkeypatch):
    """Let mmpd-cache run in this process, which has the heavy packages already."""

    def call(*arguments, fine=(0,)):
        with monkeypatch.context() as patch:
            patch.setattr("sys.argv", ["mmpd-cache", *arguments])
            patch.setattr("signal.signal", lambda *_: None)
            try:
                mmpd_cache()
            except SystemExit as ended:
                if (ended.code or 0) not in fine:
                    raise UserError("mmpd-cache did not succeed") from ended

    monkeypatch.setattr(given, "call_pipeline", call)
    monkeypatch.setattr(given, "ahead", lambda what: contextlib.nullcontext())
    monkeypatch.setattr("trainer.neighbours.call_pipeline", call)


def test_a_folder_of_meshes_to_vectors_and_neighbours(command, run, tmp_path, request):  # noqa: F811
    """In a real process of mmpd-cache: what is read, what fails, and that the folder and the cache that is kept give the same vectors."""
    meshes = write_meshes(tmp_path / "boxes")
    file, kept, page = tmp_path / "v.parquet", tmp_path / "kept.zarr", tmp_path / "map.html"
    code, out, err = command(
        "embed", run, meshes, file, "--keep-cache", kept, "--map", page, "--set=source.up=z", "--set=source.kind=folder", "--json"
    )
    assert code == 0, err
    said = json.loads(out)
    assert said["shapes"]["embedded"] == 7 and sorted(one["id"] for one in said["shapes"]["failed"]) == [
        "slab/train/broken.off",
        "tower/test/empty.off",
    ]
    assert said["source"][0]["options"]["up"] == "z" and said["points"]["count"] == 64
    rows = {row["id"]: row for row in parquet.read_table(file).to_pylist()}
    assert len(rows) == 9 and rows["slab/train/broken.off"]["vector"] is None and rows["slab/train/box_0.off"]["class"] == "slab"
    cache = store.open_cache(kept)
    wanted = Model(checkpoint.load(run), "cpu").embed_cache(cache, block=range(min(4, cache.record("points").spec.blocks)))
    np.testing.assert_allclose([row["vector"] for row in rows.values() if row["vector"]], wanted, atol=1e-6)
    assert "could not be read: 2" in page.read_text() and "+Z, given (source.up=z)" in page.read_text()
    assert said["up"] == "+Z, given (source.up=z)" and said["blocks"] == min(4, cache.record("points").spec.blocks)
    assert "Reasons: mmpd-cache" not in err
    assert {path.name for path in tmp_path.iterdir()} == {"boxes", file.name, kept.name, f"{kept.name}.journal", page.name}

    one = meshes / "slab" / "train" / "box_2.off"
    request.getfixturevalue("here")
    code, out, err = command("search", run, kept, "--shape", one, "--top", 7, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert "slab/train/box_2.off" not in {row["id"] for row in found["neighbours"]} and len(found["neighbours"]) == 6
    assert any("the cache has this very file and leaves it out: slab/train/box_2.off" in note for note in found["notes"])
    other = tmp_path / "other.off"
    other.write_text(one.read_text() + "\n")
    code, out, err = command("search", run, kept, "--shape", other, "--top", 7, "--json")
    assert code == 0, err
    assert {row["id"]: row["cosine"] for row in json.loads(out)["neighbours"]}["slab/train/box_2.off"] > 0.8
    code, _, err = command("search", run, kept, "--shape", meshes / "tower" / "test" / "empty.off")
    assert code == 2 and "empty.off: the file is empty" in err, "the reason is told although the cache of the query is gone"
    assert any("source.up=z" in note for note in found["notes"]), "the query is read as the cache was, and that is said"
    again = ("embed", run, meshes, file, "--keep-cache", kept, "--set=source.up=z", "--set=source.kind=folder", "--force")
    code, _, err = command(*again)
    assert code == 0 and f"reuses {kept}" in err.replace("\n", ""), err
    one.write_text(one.read_text() + "\n")
    code, _, err = command(*again)
    assert code == 2 and "box_2.off has changed since" in err, err


def test_words_and_pictures_find_shapes(command, run, built, tmp_path, here):  # noqa: F811
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    cache = store.open_cache(built)
    teacher = catalog.load("starter-resnet")
    embedded = query.embed(teacher, text="a tower")[1]
    model = Model(checkpoint.load(copy), "cpu")
    cosines = model.teacher_space_cache(cache, "starter-resnet", block=range(min(4, cache.record("points").spec.blocks))) @ (
        embedded / np.linalg.norm(embedded)
    )
    wanted = cache.ids()[cache.ok()][np.argsort(-cosines, kind="stable")[:3]]
    code, out, err = command("search", copy, built, "--text", "a tower", "--top", 3, "--json", "--page", tmp_path / "p.html")
    assert code == 0, err
    found = json.loads(out)
    assert [one["id"] for one in found["neighbours"]] == wanted.tolist()
    assert [one["cosine"] for one in found["neighbours"]] == pytest.approx(np.sort(cosines)[::-1][:3], abs=2e-3)
    assert "starter shapes" in " ".join(found["notes"]) or "starter collection" in " ".join(found["notes"])
    Image.fromarray(np.asarray(cache.array("views/rgb")[0, 0])).save(tmp_path / "view.png")
    code, out, err = command("search", copy, built, "--image", tmp_path / "view.png", "--teacher", "starter-resnet", "--json")
    assert code == 0 and len(json.loads(out)["neighbours"]) == 7, err
    code, out, err = command("predict", copy, built, "--labels", "slab,tower", "--json")
    assert code == 0 and json.loads(out)["agreement"]["shapes"] == 7, err


def test_points_have_the_same_axis_up_with_and_without_the_pipeline(tmp_path):
    points = np.arange(6.0).reshape(2, 3)
    np.save(tmp_path / "a.npy", points)
    ours = given.clouds([str(tmp_path / "a.npy")])["a.npy"]
    np.testing.assert_array_equal(ours, reading.load(tmp_path / "a.npy", up="z", textures="require").points)
    np.testing.assert_array_equal(given.clouds([str(tmp_path / "a.npy")], "y")["a.npy"], points)


def test_another_teacher_is_refused(built, tmp_path):
    wanted = next(r.spec for r in store.open_cache(built).records().values() if r.product == "image/starter-resnet")
    assert query.load("starter-resnet", fingerprint(wanted), built, "cpu").spec == wanted
    assert query.load("starter-resnet", fingerprint(wanted), None, "cpu").spec == wanted
    with pytest.raises(UserError, match="another teacher"):
        query.load("starter-regnet", fingerprint(wanted), None, "cpu")
    with pytest.raises(UserError, match="name of your own"):
        query.load("mine", fingerprint(wanted), built, "cpu")


def test_pictures_are_read_as_people_see_them(tmp_path):
    pixels = np.zeros((20, 40, 4), np.uint8)
    pixels[:, :20] = (255, 0, 0, 255)  # the left half is red, the right half transparent
    image = Image.fromarray(pixels)
    image.save(tmp_path / "a.png")
    found, notes = query.read_picture(tmp_path / "a.png")
    assert found[0, 0].tolist() == [255, 0, 0] and found[0, 39].tolist() == [255, 255, 255] and len(notes) == 2
    turned = Image.Exif()
    turned[0x0112] = 6  # shown after a quarter turn clockwise: what was left is above
    Image.fromarray(found).save(tmp_path / "b.jpg", exif=turned, quality=95)
    upright, _ = query.read_picture(tmp_path / "b.jpg")
    assert upright.shape[:2] == (40, 20) and upright[5, 10, 1] < 60 and upright[35, 10, 1] > 200
    (tmp_path / "c.png").write_text("no picture")
    for name in ("c.png", "absent.png"):
        with pytest.raises(UserError):
            query.read_picture(tmp_path / name)


def test_the_command_query(monkeypatch, tmp_path, capsys):
    for arguments, code in ((["--text", "a chair"], 0), (["--text", "a", "--image", "b"], 2), ([], 2), (["--text", "a", "--same", "0"], 2)):
        with monkeypatch.context() as patch:
            patch.setattr("sys.argv", ["mmpd-cache", "query", "starter-resnet", str(tmp_path / "q.safetensors"), *arguments])
            patch.setattr("signal.signal", lambda *_: None)
            with pytest.raises(SystemExit) as ended:
                mmpd_cache()
        assert (ended.value.code or 0) == code, capsys.readouterr().err
    said, embedding = query_files.read(tmp_path / "q.safetensors")
    assert said.text == "a chair" and embedding.shape == (128,)
