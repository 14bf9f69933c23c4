"""Whatever one shape does to its process, it gets an answer and the others get theirs."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cache_schema.spec import TEXT_BYTES, BoxSpec, PointSpec
from cache_schema.terminal import one_line
from pipeline import worker
from pipeline.geometry import GREY, Boxes, Cloud, Mesh, Part, joined
from pipeline.sources.catalog import Entry
from pipeline.worker import Limits, Stopped, Task, Workers, started

pytestmark = pytest.mark.usefixtures("fresh_processes")


@pytest.fixture
def task(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])]))
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    from hostile_reader import HostileReader

    points = PointSpec(count=32, blocks=1, ordered=8)
    return Task(reader=HostileReader(), points=points, views=None, limits=Limits(seconds=15, memory_gib=2))


def test_every_kind_of_trouble_is_a_reason_and_stops_nobody_else(task):
    trouble = {
        "hang": "took longer than 15 s",
        "crash": "died (SIGSEGV), twice",
        "exit": "died (exit status 3), twice",
        "memory": "needs more than 2 GiB of memory",
        "raise": "if other programs open it, please report this [KeyError in hostile_reader.py",
        "refuse": "is not a shape",
    }
    entries = [Entry(id=f"{i}{what}", locator=what) for i, what in enumerate([*trouble, "fine", "chatter", "fine"])]
    with Workers(task, 2) as workers:
        made = [future.result() for future in [workers.submit(entry) for entry in entries]]
    for entry, one in zip(entries, made, strict=True):
        if entry.locator in trouble:
            assert trouble[entry.locator] in one.reason
            assert one.xyz is None
            assert one.source_sha256 == bytes([7]) * 32  # however it failed: by this it is known when its file has changed
        else:
            assert one.reason == ""
            assert one.xyz.shape == (1, 32, 3)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("no\n  texture ", "no texture"),
        ("a" * TEXT_BYTES, "a" * TEXT_BYTES),
        ("a" * 300, "a" * 252 + " ..."),
        ("word " * 60, " ".join(["word"] * 50) + " ..."),
        ("abc " * 62 + "abcd and more", "abc " * 62 + "abcd ..."),
        ("ü" * 300, "ü" * 126 + " ..."),
    ],
)
def test_a_reason_too_long_for_its_cell_is_cut_between_words_and_says_so(text, line):
    assert one_line(text) == line
    assert len(line.encode()) <= TEXT_BYTES


def test_what_is_made_depends_on_the_shape_alone(task):
    def made(count, order):
        with Workers(task, count) as workers:
            futures = {i: workers.submit(Entry(id=f"shape{i}", locator="fine")) for i in order}
            return [futures[i].result().xyz for i in sorted(futures)]

    assert all(np.array_equal(a, b) for a, b in zip(made(1, [0, 1, 2]), made(2, [2, 0, 1]), strict=True))


def test_leaving_ends_the_processes_even_busy_ones(task):
    with Workers(task, 2) as workers:
        workers.submit(Entry(id="a", locator="fine")).result()
        hanging = workers.submit(Entry(id="b", locator="hang"))
        time.sleep(0.5)
        processes = [process.popen.pid for process in workers._processes]
        for pid in processes:  # as a cluster does that ends a job: the parent decides what becomes of them
            os.kill(pid, signal.SIGTERM)
        workers.submit(Entry(id="c", locator="fine")).result()
        assert set(processes) <= {process.popen.pid for process in workers._processes}
    with pytest.raises(Stopped):  # no verdict on the shape
        hanging.result()
    assert processes
    for pid in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_processes_that_are_started_ahead_do_one_task_after_another_and_end(task):
    with started(2, {}):
        ahead = {popen.pid for popen in worker._ahead}
        assert len(ahead) == 2 and worker.driver(task, {}) == ""
        assert {popen.pid for popen in worker._ahead} == ahead  # the one that told its driver can do another task
        with Workers(task, 1) as workers:
            assert not workers.submit(Entry(id="a", locator="fine")).result().reason
            (used,) = {process.popen.pid for process in workers._processes}
    assert used in ahead and not worker._ahead
    for pid in ahead:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


CLOUD = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
PART = Part(vertices=CLOUD, faces=np.arange(48).reshape(16, 3), base_color=(GREY, GREY, GREY, 1.0))
MAP, PLACES = np.arange(24, dtype=np.int16).reshape(4, 6) % 2, np.full((16, 3, 2), 0.5, np.float32)
BOX = np.ones((1, 7))
GLASS = joined([replace(PART, base_color=(GREY, GREY, GREY, alpha), alpha_mode="BLEND") for alpha in (0.5, 0.7)])


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (Cloud(points=CLOUD.astype(float)), ""),
        (Cloud(points=CLOUD, colors=np.full((50, 3), 9, np.uint8)), ""),
        (Mesh(parts=(PART,), colored=False), ""),
        (Cloud(points=CLOUD, part=np.zeros(50, np.uint8)), ""),
        (Mesh(parts=(GLASS,), colored=False), ""),
        (Mesh(parts=(replace(GLASS, base_color=(1, 0, 0, 1)),), colored=False), "Mesh.colored is False, and a Part has a colour"),
        (Mesh(parts=(replace(PART, base_color=(200, 9, 9, 255)),), colored=True), "Part.base_color is (200, 9, 9, 255), expected four"),
        (Mesh(parts=(replace(PART, texture=np.full((2, 2, 4), 0.7)),), colored=True), "Part.texture is float64 [2, 2, 4], expected uint8"),
        (Mesh(parts=(replace(PART, texture=np.zeros((2, 2, 3), np.uint8)),), colored=True), "Part.texture is uint8 [2, 2, 3], expected"),
        (Mesh(parts=None, colored=True), "it returned a Mesh, expected a Mesh of Parts or a Cloud"),
        (None, "it returned a NoneType, expected a Mesh of Parts or a Cloud"),
        (Mesh(parts=(replace(PART, base_color=(1, 1, 1, 1)),), colored=False), "Mesh.colored is False, and a Part has a colour"),
        (Mesh(parts=(CLOUD,), colored=False), "it returned a Mesh, expected a Mesh of Parts or a Cloud"),
        (Cloud(points=CLOUD.tolist()), "Cloud.points is a list, expected an array of NumPy"),
        (Cloud(points=CLOUD.T), "Cloud.points is float32 [3, 50], expected float32 [n, 3]"),
        (Cloud(points=CLOUD, colors=np.full((50, 3), 0.7)), "Cloud.colors is float64 [50, 3], expected uint8 (0 to 255) [50, 3]"),
        (Cloud(points=CLOUD, colors=np.full((49, 3), 9, np.uint8)), "Cloud.colors is uint8 [49, 3], expected uint8 (0 to 255) [50, 3]"),
        (Cloud(points=CLOUD, normals=CLOUD), "Cloud.normals holds vectors of another length than 1 or 0"),
        (Cloud(points=CLOUD, part=np.zeros(50)), "Cloud.part is float64 [50], expected integers [50]"),
        (Mesh(parts=(replace(PART, faces=PART.faces + 9),), colored=False), "Part.faces names vertices 9 to 56 of 50"),
        (Mesh(parts=(replace(PART, faces=PART.faces - 1),), colored=False), "Part.faces names vertices -1 to 46 of 50"),
        (Mesh(parts=(replace(PART, colors=np.ones((50, 4))),), colored=True), "Part.colors is float64 [50, 4], expected uint8 (0 to 255)"),
        (Mesh(parts=(replace(PART, alpha_mode="blend"),), colored=False), "Part.alpha_mode is 'blend', expected OPAQUE or MASK or BLEND"),
        (Mesh(parts=(replace(PART, label_map=MAP, label_uv=PLACES),), colored=False), ""),
        (Mesh(parts=(replace(PART, label_map=MAP),), colored=False), "label_map and Part.label_uv must be given together"),
        (Mesh(parts=(replace(PART, label_map=MAP / 2, label_uv=PLACES),), colored=False), "Part.label_map is float64 [4, 6], expected"),
        (Mesh(parts=(replace(PART, label_map=MAP[0], label_uv=PLACES),), colored=False), "Part.label_map is int16 [6], expected integers"),
        (Mesh(parts=(replace(PART, label_map=MAP[:0], label_uv=PLACES),), colored=False), "Part.label_map is empty: [0, 6]"),
        (Mesh(parts=(replace(PART, label_map=MAP, label_uv=PLACES[:, 0]),), colored=False), "Part.label_uv is float32 [16, 2], expected"),
        (
            Mesh(parts=(replace(PART, label_map=MAP + 2, label_uv=PLACES),), colored=False),
            "label_map holds labels 2 to 3, expected -1 to 2",
        ),
        (Mesh(parts=(replace(PART, part=np.full(16, 3)),), colored=False), "Part.part holds labels 3 to 3, expected -1 to 2 (Labelled.p"),
        (Cloud(points=CLOUD, part=np.full(50, -2)), "Cloud.part holds labels -2 to -2, expected -1 to 2 (Labelled.parts)"),
        (Cloud(points=CLOUD, instance=np.full(50, 2**40)), "Cloud.instance holds labels 1099511627776 to 1099511627776"),
        (Cloud(points=CLOUD, boxes=Boxes(box=BOX, kind=np.array([1]))), ""),
        (Mesh(parts=(PART,), colored=False, boxes=Boxes(box=BOX[:, :6], kind=np.array([1]))), "Boxes.box is float64 [1, 6], expected"),
        (Cloud(points=CLOUD, boxes=Boxes(box=BOX * np.nan, kind=np.array([1]))), "Boxes.box holds values that are not finite"),
        (Cloud(points=CLOUD, boxes=Boxes(box=-BOX, kind=np.array([1]))), "Boxes.box holds a size of -1, expected lengths"),
        (Cloud(points=CLOUD, boxes=Boxes(box=BOX, kind=np.array([1, 1]))), "Boxes.kind is int64 [2], expected integers [1]"),
        (Cloud(points=CLOUD, boxes=Boxes(box=BOX, kind=np.array([0.5]))), "Boxes.kind is float64 [1], expected integers [1]"),
        (Cloud(points=CLOUD, boxes=Boxes(box=BOX, kind=np.array([2]))), "Boxes.kind holds labels 2 to 2, expected 0 to 1 (Labelled.boxes)"),
        (Cloud(points=CLOUD, boxes=(BOX, np.array([1]))), "`boxes` is a tuple, expected Boxes"),
    ],
)
def test_what_a_reader_of_another_package_returns_must_have_the_promised_form(read, said):
    reader = SimpleNamespace(digest=lambda entry: bytes(32), read=lambda entry: read)
    points = PointSpec(count=32, blocks=1, ordered=8, parts=("a", "b", "c"), instances=True)
    made = worker.make(
        Task(reader=reader, points=points, views=None, boxes=BoxSpec(names=("x", "y"), most=2)), Entry(id="a", locator="a"), None
    )
    assert made.reason.startswith("the reader of this file breaks its promise") == bool(said) and said in made.reason


@pytest.mark.parametrize(("digest", "told"), [("0" * 64, "a str"), (bytes(16), "16 bytes"), (None, "a NoneType")])
def test_a_digest_that_is_none_is_a_reason(digest, told):
    reader = SimpleNamespace(digest=lambda entry: digest, read=lambda entry: Cloud(points=CLOUD))
    made = worker.make(Task(reader=reader, points=PointSpec(count=32, blocks=1, ordered=8), views=None), Entry(id="a", locator="a"), None)
    assert f"`digest` returned {told}, expected 32 bytes" in made.reason and made.source_sha256 == bytes(32)
