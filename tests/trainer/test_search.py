"""Exact search, the vectors that a run keeps of a cache, the file of a query, and pages of neighbours."""

import contextlib
import json
import re
import shutil

import numpy as np
import pytest

from cache_schema import query_files, store
from cache_schema.errors import UserError
from cache_schema.spec import TeacherSpec
from trainer import checkpoint, neighbours, pages, search
from trainer.model import Model
from trainer.neighbours import Found, Gallery, Space
from trainer.vectors import Table

ENGINES = [pytest.param("numpy"), pytest.param("faiss", marks=pytest.mark.skipif(search.engine() != "faiss", reason="no faiss"))]


def reference(vectors, query, top):
    """The definition: cosines in double precision, rounded, then the row."""
    cosines = [round(float(np.dot(one.astype(float), query.astype(float))), search.DIGITS) for one in vectors]
    rows = sorted(range(len(vectors)), key=lambda row: (-cosines[row], row))[:top]
    return [cosines[row] for row in rows], rows


@pytest.mark.parametrize("by", ENGINES)
@pytest.mark.parametrize("copies", [0, 3, 150])
def test_neighbours_are_those_of_the_definition(by, copies, monkeypatch):
    monkeypatch.setattr(search, "CHUNK", 64)
    rng = np.random.default_rng(copies)
    for n, width, top in ((1, 5, 10), (7, 2, 3), (300, 16, 10), (300, 16, 300)):
        vectors = search.unit(rng.standard_normal((n, width)))
        vectors[rng.integers(0, n, min(copies, n))] = vectors[0]  # equal vectors: the lower row comes first
        for query in (vectors[0], search.unit(rng.standard_normal((1, width)))[0]):
            cosines, rows = search.nearest(vectors, query, top, by)
            wanted, wanted_rows = reference(vectors, query, top)
            assert rows.tolist() == wanted_rows
            assert cosines.tolist() == pytest.approx(wanted, abs=1e-9)


def test_what_cannot_be_searched():
    vectors = search.unit(np.eye(3))
    for query, top in ((vectors[0], 0), (vectors[0, :2], 1), (np.array([np.nan, 0, 1], np.float32), 1), (vectors, 1)):
        with pytest.raises(UserError):
            search.nearest(vectors, query, top)
    assert (search.unit(np.zeros((2, 3))) == 0).all()


@pytest.fixture
def using(aligned, cache_path, tmp_path):
    """A copy of the run that may be changed, its model, and the cache."""
    run = tmp_path / "run"
    shutil.copytree(aligned, run)
    loaded = checkpoint.load(run)
    return loaded, Model(loaded, "cpu"), store.open_cache(cache_path)


def test_vectors_of_a_cache_are_computed_once(using):
    loaded, model, cache = using
    rows, steps = np.flatnonzero(cache.ok()), []
    for space in (Space(), Space(teacher="random-a")):
        first = neighbours.kept(*using, space, _counted(steps))
        assert first.computed and steps == [0, len(rows)]
        again = neighbours.kept(*using, space, _counted(steps))
        assert not again.computed and steps == [0, len(rows)]
        if space.teacher:
            wanted = model.teacher_space_cache(cache, "random-a", block=range(2))
        else:
            wanted = search.unit(model.embed_cache(cache, block=range(2)))
        np.testing.assert_allclose(again.vectors, wanted, atol=1e-6)
        assert again.rows.tolist() == rows.tolist()
        assert again.of(int(rows[5])).tolist() == again.vectors[5].tolist()
        steps.clear()
    (file, *_) = (loaded.run / neighbours.FOLDER).glob("*.npy")
    file.write_bytes(file.read_bytes()[:-8])  # cut short: computed anew
    assert sum(neighbours.kept(*using, space, _counted(steps)).computed for space in (Space(), Space(teacher="random-a"))) == 1
    assert not list((loaded.run / neighbours.FOLDER).glob(".*.tmp"))


def _counted(steps):
    @contextlib.contextmanager
    def progress():
        yield lambda done, total: steps.append(done)

    return progress


def test_other_weights_or_heads_never_meet_old_vectors(using):
    loaded, _, cache = using
    known = neighbours._facts(loaded, cache, Space(teacher="random-a"), 2)
    next(loaded.model.teachers.parameters()).data += 1  # a head: the digest of the run does not hold it
    changed = neighbours._facts(loaded, cache, Space(teacher="random-a"), 2)
    assert known["weights"] == changed["weights"] and known["heads"] != changed["heads"]
    assert neighbours._facts(loaded, cache, Space(), 2)["heads"] == ""
    assert neighbours._facts(loaded, cache, Space(), 1) != neighbours._facts(loaded, cache, Space(), 2), "nor does another number of blocks"


def test_a_run_that_cannot_be_written_is_searched_all_the_same(using):
    loaded, *_ = using
    (loaded.run / neighbours.FOLDER).write_text("in the way")
    found = neighbours.kept(*using, Space(), _counted([]))
    assert found.computed and found.nearest(found.of(0), 1)[0].row == 0


def test_a_shape_is_no_neighbour_of_itself(using):
    found = neighbours.kept(*using, Space(), _counted([]))
    rows = [one.row for one in found.nearest(found.of(3), 5)]
    assert rows[0] == 3
    assert [one.row for one in found.nearest(found.of(3), 4, without=[3])] == rows[1:]
    assert neighbours.row_of(found.cache, found.cache.ids()[3]) == 3
    digests = found.cache.column("source_sha256")
    same = ((digests == digests[3]).all(1) & found.cache.ok()).nonzero()[0]
    assert 3 in same and neighbours.rows_of_file(found.cache, digests[3]) == tuple(same)
    assert neighbours.rows_of_file(found.cache, digests[3] ^ 1) == neighbours.rows_of_file(found.cache, digests[3] * 0) == ()
    with pytest.raises(UserError, match="could not be read: "):
        neighbours.row_of(found.cache, found.cache.ids()[4])
    with pytest.raises(UserError, match=f"did you mean '{found.cache.ids()[3]}'"):
        neighbours.row_of(found.cache, found.cache.ids()[3] + "x")


TEACHER = TeacherSpec(name="t", backend="b", model="m", revision="", weights="w", preprocess="p", dim=3, text=True, image_size=8)


def test_the_file_of_a_query(tmp_path):
    query, path = query_files.Query(teacher=TEACHER, text="a chair", notes=("a note",)), tmp_path / "q.safetensors"
    query_files.write(path, query, np.arange(3))
    found, embedding = query_files.read(path)
    assert found == query and embedding.tolist() == [0, 1, 2]
    query_files.write(tmp_path / "narrow.safetensors", query, np.arange(2))
    query_files.write(tmp_path / "nan.safetensors", query, np.array([1, np.nan, 2]))
    (tmp_path / "cut.safetensors").write_bytes(path.read_bytes()[:50])
    for name in ("narrow", "nan", "cut", "absent"):
        with pytest.raises(UserError, match=name):
            query_files.read(tmp_path / f"{name}.safetensors")


def test_the_teacher_of_a_query_is_one_of_the_run(using):
    loaded, *_ = using
    assert neighbours.teacher_of(loaded, "", text=False).name == "random-a"
    assert neighbours.teacher_of(loaded, "random-a=open_clip:x", text=False).name == "random-a"
    with pytest.raises(UserError, match="random-x"):
        neighbours.teacher_of(loaded, "random-x", text=True)


HOSTILE = '<script>alert("1")</script>&\x1b[2J\u202e'


def test_pages_show_names_of_strangers_and_do_not_obey_them(using):
    _, _, cache = using
    rows = np.flatnonzero(cache.ok())[:6]
    found = [Found(row=int(row), id=HOSTILE, label=HOSTILE, cosine=0.5) for row in rows]
    values = np.random.default_rng(0).standard_normal((6, 4), np.float32)
    shapes = Gallery(cache=cache, space=Space(), rows=rows, vectors=search.unit(values), blocks=1, computed=True)
    names = [HOSTILE] * 6
    table = Table(ids=[*names, "bad"], classes=[*names, None], splits=[None] * 7, reasons=[None] * 6 + [HOSTILE], remarks=[None] * 7)
    facts = {HOSTILE: HOSTILE}
    for page in (
        pages.of_search(shapes, found, pages.Sought(title=HOSTILE, picture="data:,", name=HOSTILE), facts, [HOSTILE]),
        pages.of_map(pages.Shown(cache=cache, table=table, rows=rows, values=values), HOSTILE, facts, [HOSTILE]),
    ):
        text = page.decode()
        assert "<script" not in text and "\x1b" not in text and "\u202e" not in text
        assert "&lt;script&gt;" in text and "default-src &#x27;none&#x27;" in text.replace("'", "&#x27;")
        assert not re.search(r"""(src|href)=["'](?!data:|#)""", text), "it needs no other file"
        assert text.count("cosine ") >= 6
        opened = [tag for tag in ("main", "ol", "svg", "section", "table") if text.count(f"<{tag}") != text.count(f"</{tag}>")]
        assert not opened


def test_forty_classes_have_forty_looks():
    styles = pages._styles([f"class {i:02}" for i in range(50)])
    looks = [style for style in styles.values() if style != pages.OTHERS]
    assert len(looks) == len(set(looks)) == 40
    assert len({form for _, form in looks[:5]}) == 5, "they differ also without colours"


def test_maps_are_coloured_by_what_tells_shapes_apart():
    ids, many = [f"{i % 3}/{i}.stl" for i in range(60)], [f"class {i}" for i in range(60)]
    assert pages._grouped(ids, many).what == "folder"
    assert pages._grouped(ids, ["a"] * 60).what == "class"
    assert pages._grouped([name[2:] for name in ids], many).what == "class"


def test_the_command(aligned, cache_path, tmp_path, monkeypatch, capsys):
    from trainer import cli

    run = tmp_path / "run"
    shutil.copytree(aligned, run)
    monkeypatch.setattr(cli.signals, "install", lambda: None)

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["mmpd-train", "search", str(run), str(cache_path), "--device", "cpu", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, *capsys.readouterr()

    name = store.open_cache(cache_path).ids()[0]
    code, out, err = call("--shape", name, "--top", 3, "--json", "--page", tmp_path / "page.html")
    assert code == 0, err
    found = json.loads(out)
    assert len(found["neighbours"]) == 3 and name not in [one["id"] for one in found["neighbours"]]
    assert found["shapes"] == 58 and (tmp_path / "page.html").stat().st_size > 2000
    for arguments, said in (
        ((), "give one of --text"),
        (("--text", "a", "--shape", name), "give one of --text"),
        (("--shape", "nothing"), "no file 'nothing'"),
        (("--shape", name, "--page", tmp_path / "page.html"), "is there already"),
        (("--shape", name, "--teacher", "random-a"), "no effect"),
        (("--text", "a chair", "--teacher", "nobody"), "nobody"),
    ):
        code, _, err = call(*arguments)
        assert code == 2 and said in err
