"""The page shows what is in a cache - whole, unfinished, or with failures - holds all it shows, and trusts no text."""

import dataclasses
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from cache_schema import spec, store, synthetic
from cache_schema.layout import node_json, text_cells
from cache_schema.products import markers
from cache_schema.records import sealed
from cache_schema.spec import CaptionSpec, DenseSpec, Manifest, PointSpec, Record, SourceSpec, ViewSpec
from pipeline import findings, pictures, report, timings
from pipeline.cameras import RIGS, poses
from pipeline.describe import is_random
from pipeline.snapshot import Snapshot

NASTY = "</bdi><script>alert(1)</script>\"'<img src=x onerror=alert(1)>&amp;"


class Page(HTMLParser):
    """What a browser would see: tags, attributes and text."""

    def __init__(self, html):
        super().__init__()
        self.html = html
        self.open, self.tags, self.texts = [], [], []
        self.feed(html)
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "br", "link", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):  # inside SVG
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def pictures(self, alt):
        return [a["src"] for tag, a in self.tags if tag == "img" and "src" in a and a["alt"].startswith(alt)]


def page_of(cache, tmp_path, shapes=12):
    report.write(cache, tmp_path / "page.html", shapes)
    return Page((tmp_path / "page.html").read_text(encoding="utf-8"))


def add_views(cache, shards=None):
    """Views of one colour a shape, seen by cameras where they should be."""
    record = Record(product="views", kind="views", spec=ViewSpec(rig=RIGS["ring4"], size=16), inputs=())
    cache.begin(record)
    pose = poses(RIGS["ring4"], synthetic._ordered_sphere(64, 32, np.random.default_rng(0)))
    for shard in range(cache.manifest.shards) if shards is None else shards:
        rows = cache.manifest.rows(shard)
        rgb = np.broadcast_to(np.array(rows, np.uint8)[:, None, None, None, None] * 10, (len(rows), 4, 16, 16, 3))
        cache.write(record, shard, {"views/rgb": rgb, "views/pose": np.tile(pose, (len(rows), 1, 1, 1))})
    if shards is None:
        cache.finish(record)
    return cache


def share_data(cache, pairs):
    """Give the second shape of each pair the digest of the first."""
    record, node = cache.record("status"), cache.node("source_sha256")
    digests = cache.column("source_sha256").copy()
    for first, second in pairs:
        digests[second] = digests[first]
    for shard in range(cache.manifest.shards):
        rows = cache.manifest.rows(shard)
        values = {one.path: cache.shard_rows(one, shard) for one in cache.arrays(record)}
        cache.write(record, shard, values | {node.path: digests[rows.start : rows.stop]})


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return add_views(synthetic.write(tmp_path_factory.mktemp("report") / "shapes.zarr", shapes=21, failed=(3, 4)))


@pytest.fixture(scope="module")
def page(cache, tmp_path_factory):
    return page_of(cache, tmp_path_factory.mktemp("page"))


def test_the_page_says_what_the_cache_is(cache, page):
    assert "shapes.zarr" in page.text and "19 ok 2 failed 0 pending" in page.text
    for record in cache.records().values():
        assert record.product in page.text and record.fingerprint in page.text
    assert "count 64" in page.text and "weights random-a" in page.text and 'templates ["a {}", "the shape of a {}"]' in page.text
    assert "Random weights. image/random-a, image/random-b, text/synthetic/random-a, labels/three/random-a were made" in page.text
    assert page.text.count(" random ") >= 6
    assert "Not finished" not in page.text


def test_the_page_holds_all_it_shows(page):
    assert not [tag for tag, _ in page.tags if tag in ("link", "iframe", "object")]
    assert [tag for tag, _ in page.tags].count("script") == 1 and page.texts.count(report._file("report.js")) == 1
    addresses = [value for _, attributes in page.tags for key, value in attributes.items() if key in ("src", "href", "srcset")]
    assert len(addresses) > 100
    assert all(value.startswith(("data:image/webp;base64,", "#")) for value in addresses)
    rest = re.sub(r'="data:[^"]*"| data-points="[^"]*"', "", page.html)
    rest = re.sub(r"(?m)(^|[ ;])// .*$", "", rest)  # comments of the script
    assert "url(" not in rest and "@import" not in rest and "//" not in rest


def test_the_contact_sheet_shows_points_views_and_captions(page):
    assert len(page.pictures("points of cone/")) == 4 and len(page.pictures("view ")) == 12 * 4
    assert len(page.pictures("view 2 of cone/000000")) == 1
    assert "points, as view 0" in page.text and "coloured" in page.text
    said = re.findall(r"a random cone, view (\d) view (\d)", page.text)  # synthetic captions count the samples, two a view
    assert len(said) == 4 * 3 and all(int(text) == 2 * int(view) for text, view in said)


def test_the_same_cache_gives_the_same_page(cache, page, tmp_path):
    assert page_of(cache, tmp_path).html == page.html


def test_a_cache_of_points_alone(tmp_path):
    cache = synthetic.write(tmp_path / "c.zarr", shapes=5)
    for product in cache.records():
        if product not in ("index", "status", "points"):
            shutil.rmtree(cache.path / "products" / product)
    page = page_of(cache, tmp_path)
    assert len(page.pictures("points of")) == 5 and not page.pictures("view")
    assert "Nearest neighbours" not in page.text and "Random weights" not in page.text and "There is no journal" in page.text


def test_a_cache_with_nothing_yet(tmp_path):
    source = SourceSpec(kind="none", ids=spec.ids_digest(["a"]))
    page = page_of(store.create(tmp_path / "c.zarr", Manifest(shapes=1, shard=1, source=source), ["a"], [-1], [-1]), tmp_path)
    assert "0 ok 0 failed 1 pending" in page.text and "No shape is ready yet" in page.text and "Not finished" in page.text


def test_an_unfinished_cache_shows_the_shards_that_are_done(tmp_path):
    cache = add_views(synthetic.write(tmp_path / "c.zarr", shapes=20, shard=8), shards=[0])
    for product in ("status", "points", "captions/synthetic", "image/random-a", "text/synthetic/random-a"):
        record = cache.record(product)
        node = cache.path / "products" / product / "zarr.json"
        node.write_bytes(node_json(markers(cache.manifest, record), sealed(dataclasses.replace(record, complete=False))))
        for shard in (1, 2) if product == "captions/synthetic" else (2,):
            for array in (*cache.arrays(record), markers(cache.manifest, record)):
                (cache.path / array.key(shard)).unlink()
    page = page_of(cache, tmp_path, shapes=99)
    assert "16 ok 0 failed 4 pending" in page.text and "Not finished" in page.text and "2 of 3 shards" in page.text
    assert len(page.pictures("points of")) == 16 and len(page.pictures("view 0 of")) == 8
    assert page.text.count("a random cone, view 0") == 3  # rows 0, 3 and 6 have captions
    assert "Among 16 shapes" in page.text


def hostile(tmp_path):
    """Write a cache in which every text of others would be markup."""
    ids = [f"{i}/{NASTY}" for i in range(30)]
    source = SourceSpec(kind="folder", ids=spec.ids_digest(ids), options=(("up", NASTY),))
    manifest = Manifest(shapes=30, shard=30, source=source, classes=(NASTY,), splits=(NASTY,))
    cache = store.create(tmp_path / "c.zarr", manifest, ids, [0] * 30, [0] * 30)
    status = np.array([spec.OK] * 3 + [spec.FAILED] * 27, np.uint8)
    dead = {"reason": text_cells([NASTY] * 30), "source_sha256": np.zeros((30, 32), np.uint8), "colored": np.zeros(30, np.uint8)}
    dead["repeated"] = dead["colored"]
    captions = CaptionSpec(captioner=NASTY, model=NASTY, samples=1, rank_by=NASTY)
    teacher = dataclasses.replace(synthetic.teacher("t"), backend=NASTY, model=NASTY)
    for record, values in (
        (Record(product="status", kind="status", spec=source, inputs=(), made_by=((NASTY, NASTY),)), {"status": status, **dead}),
        (
            Record(product="captions/synthetic", kind="captions", spec=captions, per_shape=1, inputs=()),
            {
                "captions/synthetic/text": text_cells([NASTY] * 30)[:, None, None],
                "captions/synthetic/score": np.ones((30, 1, 1), np.float32),
            },
        ),
        (Record(product="image/t", kind="image", spec=teacher, per_shape=1, inputs=()), {"image/t": np.ones((30, 1, 32), np.float16)}),
    ):
        cache.begin(record)
        cache.write(record, 0, values)
        cache.finish(record)
    journal(cache, {"time": 0, "event": NASTY}, {"time": 1, "event": "done"})
    return cache


def test_no_text_of_others_becomes_markup(tmp_path):
    cache = hostile(tmp_path)
    page = page_of(cache, tmp_path)
    assert page.texts.count(NASTY) > 45  # class, split, option, package, model, captions, reasons, event, as they were written
    assert [tag for tag, _ in page.tags].count("script") == 1 and not [tag for tag, attributes in page.tags if "onerror" in attributes]
    assert NASTY in next(attributes["data-shapes"] for _, attributes in page.tags if "data-shapes" in attributes).encode().decode(
        "unicode_escape"
    )


@pytest.mark.parametrize(
    ("shapes", "where", "message"), [(0, "p.html", "at least one"), (1, "", "is a folder"), (1, "shapes.zarr/p.html", "lies in the cache")]
)
def test_a_wrong_request_is_refused(cache, shapes, where, message):
    with pytest.raises(ValueError, match=message):
        report.write(cache, cache.path.parent / where, shapes)


def test_shapes_are_spread_over_the_classes():
    label = np.repeat([0, 1, 2, -1], [50, 2, 40, 8])
    rows = np.arange(100)
    chosen = report.choose(label, rows, 20)
    assert len(set(chosen)) == 20
    assert np.bincount(label[chosen] + 1).tolist() == [6, 6, 2, 6]
    assert chosen[label[chosen] == 0].tolist() == [0, 8, 16, 25, 33, 41]
    assert len(set(label[report.choose(label, rows, 3)])) == 3
    assert sorted(report.choose(label, rows, 500)) == rows.tolist()
    assert len(report.choose(label, rows[:0], 5)) == 0


def test_points_are_drawn_upright_where_the_camera_sees_them():
    (pose,) = poses(dataclasses.replace(RIGS["ring4"], cameras=(spec.Camera(azimuth=0, elevation=0),)), np.eye(3) * 2 - 1)
    pose[:3, 3] = (0, 0, 3)
    xyz = np.array([[0, 0.6, 0], [0.6, 0, 0], [0, 0, -0.5], [0, 0, 0.5]], np.float32)
    rgb = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0]], np.uint8)
    pixels = np.asarray(pictures.draw_points(np.repeat(xyz, [100, 1, 1, 1], 0)[99:], np.repeat(rgb, [100, 1, 1, 1], 0)[99:], pose, 40.0))
    middle = len(pixels) // 2
    reach = round(0.6 / (3 * np.tan(np.radians(20))) * middle)
    assert pixels[middle - reach, middle].argmax() == 0 and pixels[middle - reach, middle, 1] < 50  # +Y is up
    assert pixels[middle, middle + reach].argmax() == 1  # +X is to the right of a camera that looks along -Z
    assert pixels[middle, middle].tolist() == [255, 255, 0]  # the near point hides the far one
    assert (pixels[0, 0] == 255).all()


def test_captions_are_the_best_of_each_view_and_equal_ones_are_one(tmp_path):
    cache = synthetic.write(tmp_path / "c.zarr", shapes=2, views=4)
    record = dataclasses.replace(
        cache.record("captions/synthetic"),
        spec=CaptionSpec(name="synthetic", captioner="synthetic", samples=2, rank_by="random-a"),
        complete=False,
        content="",
    )
    for made in ("captions/synthetic", "text/synthetic"):
        shutil.rmtree(cache.path / "products" / made)
    cache.begin(record)
    texts = ["low", "x", "same", "x", "high", "x", "same", "x"]
    scores = np.array([0.1, 0, 0.3, 0, 0.9, 0, 0.2, 0], np.float32)
    cells = np.tile(text_cells(texts).reshape(1, 4, 2, -1), (2, 1, 1, 1))
    cache.write(record, 0, {"captions/synthetic/text": cells, "captions/synthetic/score": np.tile(scores.reshape(1, 4, 2), (2, 1, 1))})
    found = report.captions(Snapshot(cache), cache.records()["captions/synthetic"], 1)
    assert [(c["text"], c["views"]) for c in found] == [("high", [2]), ("same", [1, 3]), ("low", [0])]
    assert [c["score"] for c in found] == pytest.approx([0.9, 0.3, 0.1])


def test_neighbours_and_captions_are_found_where_they_are(tmp_path):
    """Shapes on a circle, in pairs of one class close to each other; their captions beside them, but for two that are swapped."""
    cache = synthetic.write(tmp_path / "c.zarr", shapes=12, shard=4, views=2)
    manifest = dataclasses.replace(cache.manifest, classes=tuple("abcdef"))
    angle = np.arange(12) // 2 + np.arange(12) % 2 * 0.1
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)
    swapped = circle[[0, 1, 2, 9, 4, 5, 6, 7, 8, 3, 10, 11]]
    reader = Snapshot(cache)
    reader.manifest, reader.label = manifest, (np.arange(12) // 2).astype(np.int32)
    for product, values in (("image/random-a", circle), ("text/synthetic/random-a", swapped)):
        record = dataclasses.replace(reader.records[product], per_shape=2)
        rows = np.zeros((12, 2, 32), np.float16)
        rows[:, 0, :2], rows[:, 1, :2] = values * 3, values  # the length of an embedding says nothing
        for shard in range(3):
            cache.write(record, shard, {record.product: rows[shard * 4 : shard * 4 + 4]})
    record = reader.records["image/random-a"]
    measured = findings.neighbours(reader, record)
    found = report.alike(reader, record, measured, np.array([0, 5]))
    assert [r["query"]["id"] for r in found["rows"]] == ["cone/000000", "torus/000005"]
    assert [r["found"][0]["id"] for r in found["rows"]] == ["cube/000001", "cube/000004"]
    assert all(len(r["found"]) == 5 and r["found"][0]["same"] and not r["found"][1]["same"] for r in found["rows"])
    assert found["rows"][0]["found"][0]["cosine"] == pytest.approx(np.cos(0.1), abs=1e-3)
    assert (measured.same, measured.chance, measured.sampled, measured.counted) == (100, pytest.approx(100 / 11), 12, 12)
    assert measured.interval == pytest.approx((75.75, 100), abs=0.01)  # 12 / (12 + 1.96 ** 2)
    (ranks,) = measured.captions
    assert (ranks.captions, ranks.first, ranks.median, ranks.shapes) == ("synthetic", pytest.approx(1000 / 12), 1, 12)


def test_failures_are_grouped_by_what_they_have_in_common(tmp_path):
    cache = synthetic.write(tmp_path / "c.zarr", shapes=60, failed=tuple(range(50)))
    record = cache.record("status")
    reasons = [f"file 'a {i}.png', named in {i}.obj, is missing" if i % 5 else f"took longer than {i}.5 s" for i in range(50)]
    for shard in range(cache.manifest.shards):
        rows = cache.manifest.rows(shard)
        values = {node.path: cache.shard_rows(node, shard) for node in cache.arrays(record)}
        values["reason"] = text_cells([*reasons, *[""] * 10][rows.start : rows.stop])
        cache.write(record, shard, values)
    found = report.failures(Snapshot(cache), str)
    assert [(kind["name"], kind["count"]) for kind in found["kinds"]] == [
        ("file …, named in …, is missing", 40),
        ("took longer than … s", 10),
    ]
    page = page_of(cache, tmp_path)
    assert all(reason in page.text for reason in reasons) and "10 took longer than … s" in page.text


def journal(cache, *lines):
    text = "".join(json.dumps(line) + "\n" if isinstance(line, dict) else line for line in lines)
    cache.path.with_name(cache.path.name + ".journal").write_text(text, encoding="utf-8")


def shard_note(time, product, shard, **cost):
    return {"time": time, "event": "shard", "product": product, "shard": shard, **cost}


def test_timings_come_from_the_journal(tmp_path):
    cache = synthetic.write(tmp_path / "c.zarr", shapes=16, shard=8, failed=(1,))
    journal(
        cache,
        {"time": 1000.0, "event": "build", "source": "s", "kind": "k", "config": {}},
        shard_note(1010.0, "shapes", 0, shapes=8, waited=8.0, steps={"read": 3.0, "points": 5.0}),
        shard_note(1014.0, "image/random-a", 0, seconds=3.0),
        '{"time": 1015.0, "event": "sha',
        "\n",
        {"time": 2000.0, "event": "build", "source": "s", "kind": "k", "config": {}},
        shard_note(2001.0, "shapes", 1, shapes=8, waited=0.5, steps={"read": 1.0, "points": 1.0}),
        shard_note(2003.0, "image/random-a", 1, seconds=2.0),
        {"time": 2004.0, "event": "done"},
        {"time": 3000.0, "event": "add-teacher", "teacher": "random-b"},
        {"time": 3001.0, "event": "done"},
    )
    runs = timings.runs(cache)
    assert [(run.what, run.wall, run.finished) for run in runs] == [
        ("build", 14.0, False),
        ("build", 4.0, True),
        ("add-teacher random-b", 1.0, True),
    ]
    costs = timings.costs(Snapshot(cache))
    assert {s["name"]: (s["seconds"], s["units"], s["unit"]) for s in costs["stages"]} == {
        "read": (4.0, 16, "shapes"),
        "points": (6.0, 16, "shapes"),
        "image/random-a": (5.0, 15 * 3, "views"),  # what failed has no pictures to embed
    }
    assert costs["longest"] == runs[0] and (runs[0].waited, runs[0].models, runs[0].rest) == (8.0, 3.0, 3.0)
    spans = {lane["name"]: (lane["seconds"], lane["spans"]) for lane in costs["lanes"]}
    assert spans["shapes"] == (8.0, [pytest.approx((2 / 14 * 1000, 10 / 14 * 1000))])
    assert spans["image/random-a"] == (3.0, [pytest.approx((11 / 14 * 1000, 1000))])
    page = page_of(cache, tmp_path)
    assert "waited 8 seconds for shapes; the remaining 3 seconds" in page.text and "9.0 views/s" in page.text
    assert "add-teacher random-b 1970-01-01 00:50 UTC finished 1 second" in page.text and "stopped or still running" in page.text


def test_work_side_by_side_is_not_drawn_as_one_after_another(tmp_path):
    cache = synthetic.write(tmp_path / "c.zarr", shapes=16, shard=8)
    notes = [shard_note(10.0, "shapes", shard, shapes=8, waited=9.0, steps={}) for shard in (0, 1)]
    journal(cache, {"time": 0.0, "event": "build"}, *notes, {"time": 11.0, "event": "done"})
    assert timings.costs(Snapshot(cache))["lanes"] == []
    assert "made at once: 18 seconds of drawing" in page_of(cache, tmp_path).text


def test_a_random_checkpoint_is_told_by_its_name():
    teacher = synthetic.teacher("x")
    record = Record(product="image/x", kind="image", spec=teacher, inputs=())
    named = {
        model: is_random(dataclasses.replace(record, spec=dataclasses.replace(record.spec, model=model)))
        for model in ("random-clip", "org/tiny-random-dino", "/home/random/clip", "ViT-B-32/laion2b")
    }
    assert list(named.values()) == [True, True, False, False]
    assert not is_random(Record(product="points", kind="points", spec=PointSpec(), inputs=()))
    for model, expected in named.items():
        patches = DenseSpec(teacher=dataclasses.replace(teacher, model=model), blocks=1, groups=4, group_size=4, dim=8, method="patches")
        assert is_random(Record(product="dense/x", kind="dense", spec=patches, inputs=())) == expected


def test_patch_features_of_a_shipped_teacher_alone_get_its_warning(tmp_path):
    """A cache may have patch features of a teacher, and no embeddings of its views."""
    cache = synthetic.write(tmp_path / "c.zarr", shapes=4, shard=4)
    teacher = dataclasses.replace(synthetic.teacher("mine"), model="starter-resnet")
    patches = DenseSpec(teacher=teacher, blocks=1, groups=4, group_size=4, dim=8, method="patches")
    snapshot = Snapshot(cache)
    assert not report.warning(snapshot)
    snapshot.records["dense/mine"] = Record(product="dense/mine", kind="dense", spec=patches, inputs=())
    assert "starter-resnet knows the kinds of the starter collection and nothing else" in report.warning(snapshot)


def test_times_are_written_as_commands_write_them():
    assert [report.took(seconds) for seconds in (0.04, 59.9, 7320)] == ["less than a second", "60 seconds", "2.0 hours"]
