"""Vectors in files, shapes that a user names, and predictions."""

import csv
import json
import shutil
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
import torch

from cache_schema import store
from cache_schema.crowds import OUTLYING_SAID
from cache_schema.errors import UserError
from cache_schema.spec import PointSpec
from trainer import checkpoint, cli, cli_use, clouds, given, labels, pictures, predict, vectors
from trainer.model import Model, Prediction
from trainer.points import Convention
from trainer.tasks import catalog, features
from trainer.vectors import Table

pytest.importorskip("pyarrow")


@pytest.fixture
def command(monkeypatch, capsys):
    monkeypatch.setattr(cli.signals, "install", lambda: None)

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["mmpd-train", *map(str, arguments), "--device", "cpu"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, *capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def model(aligned):
    return Model(checkpoint.load(aligned), "cpu")


def facts_of(path):
    from pyarrow import parquet

    return json.loads(parquet.read_schema(path).metadata[vectors.METADATA])


def test_three_formats_hold_the_same_vectors(command, aligned, cache_path, tmp_path, model, monkeypatch):
    from pyarrow import parquet

    monkeypatch.setattr(vectors, "CHUNK", 25)  # several row groups
    monkeypatch.setattr(vectors, "PART", 9)
    cache = store.open_cache(cache_path)
    wanted = model.embed_cache(cache, block=range(2))
    for ending in vectors.ENDINGS:
        code, out, err = command("embed", aligned, cache_path, tmp_path / f"v{ending}", "--json")
        assert code == 0, err
        assert [one["id"] for one in json.loads(out)["shapes"]["failed"]] == [cache.ids()[4], cache.ids()[9]]
        assert "2 without a vector" in err
    table = parquet.read_table(tmp_path / "v.parquet")
    assert parquet.ParquetFile(tmp_path / "v.parquet").num_row_groups == 3
    assert table.schema.field("vector").type.list_size == wanted.shape[1]
    rows = table.to_pylist()
    assert [row["id"] for row in rows] == cache.ids().tolist()
    assert [row["status"] for row in rows] == ["failed" if i in (4, 9) else "ok" for i in range(60)]
    assert all((row["vector"] is None) == (row["status"] == "failed") == bool(row["reason"]) for row in rows)
    np.testing.assert_allclose(np.array([row["vector"] for row in rows if row["vector"]], np.float32), wanted, atol=1e-6)
    assert {row["class"] for row in rows} == set(cache.manifest.classes) and {row["split"] for row in rows} == {"train", "test"}
    with np.load(tmp_path / "v.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["vector"], np.array([row["vector"] for row in rows if row["vector"]], np.float32))
        assert file["id"].tolist() == [row["id"] for row in rows if row["vector"]]
        assert file["failed_id"].tolist() == [cache.ids()[4], cache.ids()[9]] and all(file["failed_reason"])
        facts = json.loads(str(file["about"]))
    with open(tmp_path / "v.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    for line, row in zip(lines, rows, strict=True):
        assert [line["id"], line["class"], line["split"], line["status"]] == [row[n] for n in ("id", "class", "split", "status")]
        read = [float(line[f"v{i}"]) for i in range(wanted.shape[1]) if line[f"v{i}"]]
        assert np.array(read, np.float32).tolist() == (row["vector"] or [])
    assert facts == facts_of(tmp_path / "v.parquet") == json.loads((tmp_path / "v.csv.json").read_text())
    assert facts["blocks"] == 2 and facts["up"].startswith("as the source") and facts["noise"]["blocks"] == 1
    one, other = (value / np.linalg.norm(value, axis=1, keepdims=True) for value in (model.embed_cache(cache, block=b) for b in (0, 1)))
    assert facts["noise"]["same_shape"] == pytest.approx(np.median((one * other).sum(1)), abs=2e-6)
    mean = wanted / np.linalg.norm(wanted, axis=1, keepdims=True)
    assert facts["noise"]["nearest_neighbour"] == pytest.approx(np.median((mean @ mean.T - 2 * np.eye(58)).max(1)), abs=2e-6)
    assert facts["run"]["weights"] == model.digest and facts["run"]["points"]["count"] == 64
    assert facts["points"]["count"] == 64 and facts["pool"] == model.pool and facts["dim"] == wanted.shape[1]


def test_selection_blocks_and_pool(command, aligned, cache_path, tmp_path, model):
    from pyarrow import parquet

    cache, file = store.open_cache(cache_path), tmp_path / "v.parquet"
    test = [i for i in range(2, 60, 3) if i not in (4, 9)]
    code, _, err = command("embed", aligned, cache_path, file, "--split", "test", "--blocks", 2, "--pool", "summary")
    assert code == 0, err
    rows = [row for row in parquet.read_table(file).to_pylist() if row["vector"]]
    wanted = np.mean([model.embed_cache(cache, test, block, "summary") for block in (0, 1)], 0)
    np.testing.assert_allclose(np.array([row["vector"] for row in rows], np.float32), wanted, atol=1e-6)
    for arguments, said in (
        ((file,), "is there already"),
        ((tmp_path / "v.parquett",), "did you mean '.parquet'"),
        ((tmp_path / "w.csv", "--blocks", 3), "1..2"),
        ((tmp_path / "w.csv", "--where", "class=cones"), "did you mean 'cone'"),
        ((tmp_path / "w.csv", "--split", "test", "--where", "split=train"), "both choose splits"),
        ((tmp_path / "w.csv", "--set", "source.up=z"), "no effect"),
        ((tmp_path / "w.csv", "--map", tmp_path / "m.png"), ".html"),
    ):
        code, _, err = command("embed", aligned, cache_path, *arguments)
        assert code == 2 and said in err, err
    assert {path.name for path in tmp_path.iterdir()} == {"v.parquet"}, "nothing is left behind"
    assert command("embed", aligned, cache_path, file, "--force")[0] == 0


def test_other_programs_read_the_file(command, aligned, cache_path, tmp_path, model):
    file = tmp_path / "v.parquet"
    assert command("embed", aligned, cache_path, file)[0] == 0
    duckdb, pandas = pytest.importorskip("duckdb"), pytest.importorskip("pandas")
    frame = pandas.read_parquet(file)
    good = np.stack(frame.vector[frame.status == "ok"])
    np.testing.assert_array_equal(good, model.embed_cache(cache_path, block=range(2)))
    width = model.dim
    one = f"(select vector from '{file}' where id = 'cone/000000')::float[{width}]"
    query = f"select id, array_cosine_similarity(vector::float[{width}], {one}) c from '{file}' "
    near = duckdb.sql(query + "where status = 'ok' order by c desc, id limit 3").fetchall()
    assert near[0][0] == "cone/000000" and near[0][1] == pytest.approx(1)
    assert duckdb.sql(f"select count(*) from '{file}' where vector is not null and len(vector) = {width}").fetchall() == [(58,)]


def test_what_is_odd_about_stored_shapes_is_said_as_of_clouds():
    class Stored:
        """Blocks of a cache: an ordinary shape, a flat one, a line, one that a far point has made small, one of few points."""

        spec, xyz = PointSpec(count=200, ordered=32), np.random.default_rng(0).uniform(-0.57, 0.57, (5, 200, 3)).astype(np.float32)
        cache = SimpleNamespace(repeated=lambda: np.array([False, False, False, False, True]))

        def read(self, rows, block):
            return torch.from_numpy(self.xyz[rows])

    blocks = Stored()
    blocks.xyz[1, :, 2] = 0.3 * blocks.xyz[1, :, 0]
    blocks.xyz[2] = blocks.xyz[2, :, :1] * (1, 0.5, 0.2)
    blocks.xyz[3] *= 0.01
    said = clouds.remarks(blocks, np.arange(5), at_once=2)
    assert said == ["", clouds.FLAT_SAID, clouds.FLAT_SAID, OUTLYING_SAID, clouds.REPEATED_SAID]
    table = table_of(["a"] * 6, [None, None, "broken", None, None, None]).remarked(said)
    assert table.remarks == [None, clouds.FLAT_SAID, None, clouds.FLAT_SAID, OUTLYING_SAID, clouds.REPEATED_SAID]


def test_points_that_one_far_point_has_crushed_are_not_called_flat():
    """A far point makes the others a speck or a line. What is said is the far point, of a cloud in memory and of a stored one."""
    cloud = np.random.default_rng(0).uniform(-1, 1, (400, 3))
    cloud[7] = 1e6
    stored = (cloud - cloud.mean(0)) / np.linalg.norm(cloud - cloud.mean(0), axis=1).max()

    class Stored:
        spec, cache = PointSpec(count=400, ordered=32), SimpleNamespace(repeated=lambda: np.zeros(2, bool))

        def read(self, rows, block):
            both = np.stack([stored, np.where(np.arange(400)[:, None] == 7, stored[0], stored)])
            return torch.from_numpy(both.astype(np.float16).astype(np.float32)[rows])

    assert clouds.remarks(Stored(), np.arange(2)) == [OUTLYING_SAID] * 2
    convention = Convention(count=400, normalize="unit_sphere", dtype="float16")
    with pytest.warns(clouds.CloudWarning) as found:
        list(clouds.prepared(clouds.taken(cloud), convention, channels=3, batch=4, device=torch.device("cpu")))
    told = [str(one.message) for one in found]
    assert any(OUTLYING_SAID in one for one in told) and not any(clouds.FLAT_SAID in one for one in told)


def test_copies_of_one_file_are_told():
    digests = np.zeros((7, 32), np.uint8)
    digests[[0, 2, 3]], digests[[1, 4]], digests[6] = 1, 2, 3  # 5 is not known, and neither of 5 and another one is its copy
    table = Table(ids=list("abcdefg"), classes=[None] * 7, splits=[None] * 7, reasons=[None] * 4 + ["gone", None, None], remarks=[None] * 7)
    said = "made from the same data as {}, byte for byte (and 1 more)"
    assert vectors.copies(table, digests) == [said.format("c"), "", said.format("a"), said.format("a"), "", ""]


def test_pieces_of_one_scene_are_no_copies():
    ids, nothing = ["a#x0", "a#x1", "b#x0", "b#x1"], [None] * 4
    table = Table(ids=ids, classes=nothing, splits=nothing, reasons=nothing, remarks=nothing)
    alone, twice = np.repeat(np.arange(1, 3, dtype=np.uint8), 2)[:, None].repeat(32, 1), np.ones((4, 32), np.uint8)
    assert vectors.copies(table, alone, "#") == [""] * 4
    assert [text.split()[6].strip(",") for text in vectors.copies(table, twice, "#")] == ["b#x0", "b#x1", "a#x0", "a#x1"]


def test_a_file_that_cannot_be_finished_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match="disk"), vectors.whole(tmp_path / "v.npz") as file:
        file.write(b"half")
        raise OSError("disk")
    assert not list(tmp_path.iterdir())


def test_a_map_is_the_first_two_principal_components(monkeypatch):
    monkeypatch.setattr(vectors, "CHUNK", 7)
    values = (np.random.default_rng(0).standard_normal((50, 4)) * (5, 3, 0.5, 0.1)).astype(np.float32) + 7
    place, shares = vectors.plane(values)
    u, s, _ = np.linalg.svd(values - values.mean(0), full_matrices=False)
    np.testing.assert_allclose(np.abs(place), np.abs(u[:, :2] * s[:2]), rtol=1e-4, atol=1e-4)
    assert shares == pytest.approx(s[:2] ** 2 / (s**2).sum(), rel=1e-4)
    for bad in (values[:2], np.ones((5, 4), np.float32)):
        with pytest.raises(UserError):
            vectors.plane(bad)


# -------------------------------------------------------------------------------------- shapes without the pipeline


def test_points_without_the_pipeline(command, aligned, tmp_path, monkeypatch, model):
    monkeypatch.setattr(given, "lacking", lambda: ["trimesh"])
    folder = tmp_path / "scans"
    (folder / "a").mkdir(parents=True)
    cloud = np.random.default_rng(0).standard_normal((100, 3))
    np.save(folder / "a" / "one.npy", cloud)
    np.savetxt(folder / "two.xyz", cloud * 30, delimiter=",")
    wanted = model.embed([(cloud[:, [0, 2, 1]] * (1, 1, -1)).astype(np.float32)])  # +Z of the file is up
    code, _, err = command("embed", aligned, folder, tmp_path / "v.npz")
    assert code == 0 and "read by NumPy, with +Z up" in err, err
    with np.load(tmp_path / "v.npz") as file:
        assert file["id"].tolist() == ["a/one.npy", "two.xyz"]
        np.testing.assert_allclose(file["vector"], np.repeat(wanted, 2, 0), atol=1e-4)
    (folder / "mesh.glb").write_bytes(b"glTF")
    for arguments in (
        (folder, "w.csv"),
        (tmp_path / "absent", "w.csv"),
        (folder / "two.xyz", tmp_path / "w.csv", "--map", tmp_path / "m.html"),
    ):
        code, _, err = command("embed", aligned, *arguments)
        assert code == 2 and ("mmpd[pipeline]" in err or "does not exist" in err), err
    code, _, err = command("predict", aligned, folder / "mesh.glb", "--labels", "a,b")
    assert code == 2 and "mmpd[pipeline]" in err


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.xyz", "1,5 2,5 3,5\n2,5 3,5 4,5\n", "commas and blanks"),
        ("a.txt", "1 2\n3 4\n", r"\[2, 2\]"),
        ("a.txt", "1 2 nan\n", "not finite"),
        ("a.xyz", "1 2 3\n1 2 3\n", "a.xyz has no two different points"),
        ("a.pts", "1 2 3 0 0 -1\n", "perhaps normals"),
        ("a.xyz", "x y z\n1 2 3\n", "no table of numbers"),
        ("a.npy", "not an array", "no table of numbers"),
        ("a.npz", "not an archive", "no table of numbers"),
    ],
)
def test_tables_that_are_not_clear_are_refused(name, content, said, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=said):
        given.clouds([str(tmp_path / name)])


def test_tables_that_are_clear(tmp_path):
    (tmp_path / "a.pts").write_bytes(b"2\r\n0 0 0 255 0 0\r\n1 2 3 0 0 51\r\n")
    (tmp_path / "b.txt").write_text("\ufeff# comment\n1, 2, 3\n\n4, 5, 6 # end\n")
    np.save(tmp_path / "c.npy", np.array(["1", {}], object), allow_pickle=True)
    found = given.clouds([str(tmp_path / "a.pts"), str(tmp_path / "b.txt")])
    np.testing.assert_allclose(found["a.pts"], [[0, 0, 0, 1, 0, 0], [1, 3, -2, 0, 0, 0.2]], rtol=1e-6)
    assert found["b.txt"].tolist() == [[1, 2, 3], [4, 5, 6]]
    with pytest.raises(UserError, match="no table"):  # a pickle is never loaded
        given.clouds([str(tmp_path / "c.npy")])


def test_what_a_build_is_told(tmp_path):
    run = Convention(count=2048, normalize="none", ordered=0, dtype="float16")
    wanted = given.Wanted(convention=run, centres=64)
    assert given.points(wanted)[:4] == ["points.count=2048", "points.normalize=none", "points.ordered=512", "points.dtype=float16"]
    assert "points.ordered=32" in given.points(given.Wanted(convention=Convention(count=32), centres=64))
    with pytest.raises(UserError, match="the run decides"):
        given.Wanted(convention=run, settings=("points.count=4",))
    for name, text in (("chairs.txt", "a.glb\nb.glb\n"), ("cloud.txt", "# x y z\n1 2 3\n"), ("cloud.CSV", "0.5;1;2e-3\n")):
        (tmp_path / name).write_text(text)
    assert given._source([str(tmp_path / "chairs.txt")], tmp_path) == str(tmp_path / "chairs.txt")
    for name in ("cloud.txt", "cloud.CSV"):
        assert json.loads((tmp_path / given._source([str(tmp_path / name)], tmp_path)).read_text()) == {name: str(tmp_path / name)}
    for what in (["s3://lab/a.zarr"], [str(tmp_path), str(tmp_path / "cloud.txt")], ["a.glb", "b.glb"]):
        with pytest.raises(UserError):
            given._check_there(what)


# ------------------------------------------------------------------------------------------------------- predictions


def table_of(classes, reasons=None):
    none = [None] * len(classes)
    return Table(ids=[f"s{i}" for i in range(len(classes))], classes=classes, splits=none, reasons=reasons or none, remarks=none)


def test_agreement_is_counted_over_known_classes():
    chances = np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [0.4, 0.4, 0.2]], np.float32)
    found = predict.Predicted.of([Prediction(classes=("bed", "night stand", "sofa"), probabilities=chances, about="")])
    assert found.best.tolist() == [[0, 1, 2], [2, 0, 1], [0, 1, 2]], "of equally likely classes the first comes first"
    table = table_of(["bed", "night_stand", "sofa", "lamp"], [None, None, "broken", None])
    assert found.agreement(table) == {"shapes": 2, "agree": 1, "chance": pytest.approx(2 / 3)}
    assert found.agreement(table_of([None, "x", "y"])) is None and found.others(table_of([None, "x", "y"])) == ""
    assert found.others(table).startswith("1 of 3 shapes have a class that is not among these (lamp)")
    assert found.others(table_of(["bed", None, "sofa"])) == ""
    many = predict.Predicted.of([Prediction(classes=("bed",), probabilities=np.ones((12, 1), np.float32), about="")])
    assert "(x0, x1, x2, x3, x4, x5, x6, x7 and 3 more)" in many.others(table_of(["bed", *(f"x{i}" for i in range(11))]))
    rows = found.rows(table)
    assert rows[2] == {"id": "s2", "class": "sofa", "status": "failed", "reason": "broken"}
    assert rows[3]["top"][0] == {"class": "bed", "probability": pytest.approx(0.4)}
    lines = list(csv.DictReader(found.csv(table).decode().splitlines()))
    assert lines[1]["class_1"] == "sofa" and float(lines[1]["probability_1"]) == pytest.approx(0.4)
    assert lines[2]["status"] == "failed" and lines[2]["class_1"] == ""
    voted = predict.Predicted.of([Prediction(classes=("bed", "night stand", "sofa"), probabilities=chances, about="", votes=True)])
    assert voted.rows(table)[3]["top"][0] == {"class": "bed", "score": pytest.approx(0.4)}
    lines = list(csv.DictReader(voted.csv(table).decode().splitlines()))
    assert float(lines[1]["score_1"]) == pytest.approx(0.4) and not any(name.startswith("prob") for name in lines[1])


def test_predict_by_an_svm_gives_scores_and_its_name_may_be_that_of_a_label_set(command, aligned, cache_path, tmp_path):
    run, cache = shutil.copytree(aligned, tmp_path / "run"), store.open_cache(cache_path)
    loaded = checkpoint.load(run)
    labels.add(loaded, cache_path, "source")
    result = catalog.evaluate("svm", loaded, cache, catalog.options("svm", ["train_split=all", "test_split=all"]))
    catalog.keep(result, loaded, "source")
    code, said, err = command("predict", run, cache_path, "--classifier", "source", "--device", "cpu")
    assert code == 0 and "%" not in said and "chance: 19.3 of 58 (33.3 %)" in err and "no probabilities" in err
    code, said, _ = command("predict", run, cache_path, "--classifier", "source", "--json", "--csv", tmp_path / "p.csv")
    shapes = json.loads(said)["shapes"]
    tops = [row["top"] for row in shapes if row["status"] == "ok"]
    assert code == 0 and all(sum(one["score"] for one in top) == pytest.approx(1) for top in tops) and "probability" not in tops[0][0]
    assert "class_1,score_1" in (tmp_path / "p.csv").read_text().splitlines()[0]
    code, said, err = command("predict", run, cache_path, "--labels", "source", "--json")
    assert code == 0 and "probability" in next(row["top"][0] for row in json.loads(said)["shapes"] if row["status"] == "ok"), err


def test_predict(command, aligned, cache_path, tmp_path, monkeypatch):
    from cache_schema.label_files import LabelFile, write
    from cache_schema.products import LABELS

    cache = store.open_cache(cache_path)
    product = LABELS.product(set="source", teacher="random-a")
    record = cache.record(product)
    file = LabelFile(labels=record.labels, teacher=record.spec, embeddings=cache.column(product))
    write(tmp_path / "mine.safetensors", file)
    out = tmp_path / "p.csv"
    monkeypatch.setattr(predict, "PART", 7)
    code, said, err = command("predict", aligned, cache_path, "--labels", tmp_path / "mine.safetensors", "--json", "--csv", out)
    assert code == 0, err
    found = json.loads(said)
    wanted = Model(checkpoint.load(aligned), "cpu").classify_cache(cache, str(tmp_path / "mine.safetensors"), block=range(2))
    best = [row["top"][0]["class"] for row in found["shapes"] if row["status"] == "ok"]
    assert best == wanted.names and len(found["shapes"]) == 60
    own = [cache.manifest.classes[i] for i in cache.column("label")[cache.ok()]]
    agree = sum(a == b for a, b in zip(best, own, strict=True))
    assert found["agreement"] == {"shapes": 58, "agree": agree, "chance": pytest.approx(58 / 3)}
    assert f"{agree} of 58 shapes" in err and len(out.read_text().splitlines()) == 61
    code, said, err = command("predict", aligned, cache_path, "--labels", tmp_path / "mine.safetensors")
    assert code == 0 and "failed" in said and "and 40 more shapes" in err
    for arguments, message in (
        ((), "give one of --labels"),
        (("--labels", "nothing"), "no label set 'nothing'"),
        (("--classifier", "nothing"), "no classifier 'nothing'"),
        (("--labels", tmp_path / "mine.safetensors", "--teacher", "random-a"), "no effect"),
        (("--labels", tmp_path / "mine.safetensors", "--csv", out), "is there already"),
    ):
        code, _, err = command("predict", aligned, cache_path, *arguments)
        assert code == 2 and message in err, err


# ----------------------------------------------------------------------------------------------------------- pictures


def test_near_points_cover_far_ones():
    side, turn, tilt = pictures.SIDE, np.radians(pictures.AZIMUTH), np.radians(pictures.ELEVATION)
    toward = np.array([np.sin(turn) * np.cos(tilt), np.sin(tilt), np.cos(turn) * np.cos(tilt)], np.float32)
    corners = np.array([[1, 0, 0], [-1, 0, 0], [0, 0, 1], [0, 0, -1]], np.float32)
    xyz = np.concatenate([[toward], [-toward], corners]).astype(np.float32)
    rgb = np.zeros((6, 3))
    rgb[0, 0] = rgb[1, 2] = 1  # the near point is red, the far one blue
    for order in ([0, 1, 2, 3, 4, 5], [1, 0, 2, 3, 4, 5]):
        picture = pictures.drawn(xyz[order], rgb[order])
        assert picture.shape == (side, side, 3)
        assert picture[side // 2, side // 2].tolist() == [255, 0, 0]
    assert pictures.drawn(np.zeros((1, 3), np.float32), None).shape == (side, side, 3)


def test_the_command_offers_every_pool():
    assert get_args(cli_use.PoolName) == get_args(features.Pool)
