"""Views that are chosen for each shape: what the choice is worth, that it is always the same, and that every command keeps to it."""

import contextlib
import dataclasses
import itertools
import math
import shutil
from concurrent.futures import Future
from contextlib import closing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache_schema import spec, store, validate
from cache_schema.errors import UserError
from cache_schema.records import differences, restoring
from cache_schema.spec import Camera, CameraRig, Coverage, ViewSpec
from pipeline import building, complete, embedding, estimate
from pipeline.append import Wanted, append
from pipeline.cameras import RIGS
from pipeline.choosing import Candidates, likeness
from pipeline.describe import chosen_views, describe
from pipeline.executors import here
from pipeline.geometry import Cloud, Mesh, Part, normalized
from pipeline.opening import open_config_source
from pipeline.recipes import DenseConfig, configured
from pipeline.render import Renderer
from pipeline.repair import repair
from pipeline.retry import retry
from pipeline.snapshot import Snapshot
from pipeline.teachers import catalog
from pipeline.work import Machine
from pipeline.worker import Made, Task, _judge, _renderer, make
from tests.boxes import box_off, write_meshes
from tests.harm import flip
from tests.pipeline.conftest import Silent, build, contents, small

CPU = Machine(workers=1, device="cpu")
BARE = Coverage(count=3, size=32, points=128, teacher="", likeness=0.0)
"""A policy without a teacher: shape processes need not import torch, which takes most of the time of a small build."""
POLICY = dataclasses.replace(BARE, teacher="starter-resnet", likeness=1.0)
CHOSEN = small(views=ViewSpec(rig=RIGS["dome30"], size=48, policy=BARE), teachers=(), captions=None, labels=(), shard=4)


# ------------------------------------------------------------------------------------------------------ what it is worth


def made_up(seed: int, count: int = 7, points: int = 12) -> Candidates:
    rng = np.random.default_rng(seed)
    kernels = rng.random((2, count, count)).round(rng.integers(0, 3))  # rounded ones have ties
    return Candidates(
        seen=rng.random((count, points)) < rng.uniform(0.05, 0.6), alike=kernels[0], near=kernels[1], usable=np.ones(count, bool)
    )


WEIGHTS = st.tuples(*[st.sampled_from([0.0, 0.1, 1.0, 3.0])] * 3).filter(any)


def weighed(weights: tuple[float, float, float], count: int) -> Coverage:
    surface, like, spread = weights
    return Coverage(count=count, surface=surface, likeness=like, spread=spread, teacher="starter-resnet" if like else "")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), WEIGHTS, st.integers(1, 4))
def test_the_greedy_choice_has_its_bound_and_its_first_cameras_are_the_choice_of_fewer(seed, weights, count):
    found, policy = made_up(seed), weighed(weights, count)
    taken = found.greedy(policy)
    best = max(found.value(some, policy) for some in itertools.combinations(range(7), count))
    assert len(set(taken)) == count
    assert found.value(taken, policy) >= (1 - 1 / math.e) * best - 1e-5
    assert taken[:-1] == found.greedy(dataclasses.replace(policy, count=max(count - 1, 1)))[: count - 1]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), WEIGHTS, st.data())
def test_the_value_is_monotone_and_submodular(seed, weights, data):
    found, policy = made_up(seed), weighed(weights, 1)
    large = data.draw(st.sets(st.integers(0, 6), max_size=6))
    few = data.draw(st.sets(st.sampled_from(sorted(large)), max_size=len(large))) if large else set()
    more = data.draw(st.integers(0, 6))

    def value(some: set[int]) -> float:
        return found.value(sorted(some), policy)

    assert value(few) <= value(large) + 1e-12
    assert value(few | {more}) - value(few) >= value(large | {more}) - value(large) - 1e-12
    assert 0 <= value(large) <= sum(weights) + 1e-12


def test_ties_go_to_the_first_camera_and_what_shows_nothing_comes_last():
    alike = Candidates(
        seen=np.ones((5, 4), bool), alike=np.ones((5, 5)), near=np.ones((5, 5)), usable=np.array([False, True, True, True, True])
    )
    assert alike.greedy(Coverage(count=4)) == [1, 2, 3, 4]
    assert alike.greedy(Coverage(count=5)) == [1, 2, 3, 4, 0]
    assert alike.surface([1]) == 1.0 and alike.value([], Coverage()) == 0.0


def test_likeness_is_0_to_1_and_does_not_stretch_rounding():
    rng = np.random.default_rng(0)
    embedded = rng.normal(size=(6, 8)).astype(np.float32)
    found = likeness(embedded, np.ones(6, bool))
    assert found.min() == 0 and np.allclose(np.diag(found), 1) and np.array_equal(found, found.T)
    assert np.array_equal(
        found.argsort(),
        (embedded / np.linalg.norm(embedded, axis=1, keepdims=True) @ embedded.T / np.linalg.norm(embedded, axis=1)).argsort(),
    )
    same = np.tile(embedded[:1], (6, 1)) * (1 + 1e-6 * rng.random((6, 1)).astype(np.float32))
    assert likeness(same, np.ones(6, bool)).min() > 0.999


# -------------------------------------------------------------------------------------------------------- what it shows


def plates(*plates: np.ndarray) -> Mesh:
    """A mesh of rectangles, each given by its four corners."""
    parts = [Part(vertices=np.asarray(corners, np.float32), faces=np.array([[0, 1, 2], [0, 2, 3]])) for corners in plates]
    shape = normalized(Mesh(parts=tuple(parts), colored=False), "unit_sphere")
    assert isinstance(shape, Mesh)
    return shape


def cupboard() -> Mesh:
    """A deep box that is open at one side, towards azimuth 90 (+X), with shelves inside."""
    x, y, z = (0.0, 2.0), (0.0, 1.0), (0.0, 1.0)
    walls = [[(x[0], y[0], z[0]), (x[0], y[1], z[0]), (x[0], y[1], z[1]), (x[0], y[0], z[1])]]  # the back
    for at in (*y, 0.33, 0.66):
        walls.append([(x[0], at, z[0]), (x[1], at, z[0]), (x[1], at, z[1]), (x[0], at, z[1])])
    for at in z:
        walls.append([(x[0], y[0], at), (x[1], y[0], at), (x[1], y[1], at), (x[0], y[1], at)])
    return plates(*map(np.array, walls))


def directions(pose: np.ndarray) -> np.ndarray:
    """Where cameras stand: [V, 3] of length 1."""
    return pose[:, :3, 2]


def test_the_open_side_of_a_cupboard_is_seen_first():
    policy = Coverage(count=4, teacher="", likeness=0.0)
    with closing(Renderer(ViewSpec(rig=RIGS["dome30"], size=48, policy=policy))) as renderer:
        first, again = renderer.render(cupboard()), renderer.render(cupboard())
        given_pose = renderer.render(cupboard(), first.pose)
    assert directions(first.pose)[0, 0] > 0.8  # from +X, into it
    assert all(np.array_equal(a, b) for a, b in zip(first[:2], again[:2], strict=True))
    assert np.array_equal(given_pose.rgb, first.rgb)
    assert first.choosing > 0 and len(first.pose) == 4


@pytest.mark.parametrize("thin", [0.0, 1e-5])
def test_a_sheet_is_not_seen_from_its_edge(thin):
    """From there it is a line, which no picture is less like. It is one face, or a board as thin as paper."""
    front = np.array([(-1.0, -1, 0), (1, -1, 0), (1, 1, 0), (-1, 1, 0)])
    sheet = plates(front, front[::-1] - (0, 0, thin)) if thin else plates(front)
    unlike = CameraRig(name="two", cameras=tuple(Camera(azimuth=angle, elevation=0.0) for angle in (90, 0, 180, 270, 30)))
    policy = Coverage(count=3, size=32, teacher="starter-resnet")

    def judge(pictures: np.ndarray) -> np.ndarray:
        line = (pictures < 250).any(3).mean((1, 2)) < 0.1
        return np.stack([line, ~line], 1).astype(np.float32)

    with closing(Renderer(ViewSpec(rig=unlike, size=48, policy=policy), judge=judge)) as renderer:
        assert abs(directions(renderer.render(sheet).pose)[:, 2]).min() > 0.8
    needle = plates(front * (1, 1e-4, 1) @ [(0.8, 0, 0.6), (0, 1, 0), (-0.6, 0, 0.8)])
    with closing(Renderer(ViewSpec(rig=unlike, size=48, policy=policy), judge=judge)) as renderer:
        assert min((picture < 250).any(2).sum() for picture in renderer.render(needle).rgb) > 10  # lines, not the dots that it covers


def test_a_chosen_view_is_framed_as_a_rig_of_the_chosen_cameras():
    policy = Coverage(count=2, teacher="", likeness=0.0)
    with closing(Renderer(ViewSpec(rig=RIGS["dome30"], size=48, policy=policy))) as renderer:
        drawn = renderer.render(cupboard())
    cameras = []
    for x, y, z in directions(drawn.pose).astype(float):
        cameras.append(Camera(azimuth=round(math.degrees(math.atan2(x, z)), 3), elevation=round(math.degrees(math.asin(y)), 3)))
    known = {(c.azimuth % 360, c.elevation) for c in RIGS["dome30"].cameras}
    assert {(round(c.azimuth, 1) % 360, round(c.elevation, 1)) for c in cameras} <= known
    with closing(Renderer(ViewSpec(rig=CameraRig(name="two", cameras=tuple(cameras)), size=48))) as plain:
        assert np.allclose(plain.render(cupboard()).pose, drawn.pose, atol=1e-4)


def test_points_without_faces_choose_by_what_their_discs_hide():
    rng = np.random.default_rng(0)
    ball = rng.normal(size=(2000, 3))
    ball /= np.linalg.norm(ball, axis=1, keepdims=True)
    cloud = normalized(Cloud(points=ball.astype(np.float32)), "unit_sphere")
    with closing(Renderer(ViewSpec(rig=RIGS["dome30"], size=48, policy=Coverage(count=3, teacher="", likeness=0.0)))) as renderer:
        seen = directions(renderer.render(cloud).pose)
    cosine = seen @ seen.T
    assert cosine[np.triu_indices(3, 1)].max() < 0.5  # around the ball, not side by side


# ------------------------------------------------------------------------------------------------ what commands make of it


class InProcess:
    """Shape processes that are none: the same function in this process. Each process of its own would take longer than all it makes."""

    def __init__(self, task: Task, count: int, environment: object = None) -> None:
        self.task, self.drawer = task, _renderer(task, _judge(task))

    def __enter__(self) -> "InProcess":
        return self

    def __exit__(self, *_: object) -> None:
        if self.drawer is not None:
            self.drawer.close()

    def submit(self, entry, pose=None) -> "Future[Made]":
        future: Future[Made] = Future()
        future.set_result(make(self.task, entry, self.drawer, pose=pose))
        return future


@contextlib.contextmanager
def in_process():
    with pytest.MonkeyPatch.context() as patch:
        for module in (here, embedding, complete):
            patch.setattr(module, "Workers", InProcess)
        patch.setattr(building, "started", lambda count, environment: contextlib.nullcontext())
        yield


@pytest.fixture
def quick():
    with in_process():
        yield


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """Boxes, a cloud without faces, and files that are no shapes."""
    folder = write_meshes(tmp_path_factory.mktemp("chosen") / "boxes")
    ball = np.random.default_rng(1).normal(size=(300, 3)) * (1, 2, 0.3)
    np.savetxt(folder / "slab" / "train" / "cloud.xyz", ball, fmt="%.4f")
    return folder


@pytest.fixture(scope="module")
def chosen(shapes, tmp_path_factory):
    """A complete cache with views that are chosen for each shape. Tests do not change it."""
    path = tmp_path_factory.mktemp("cache") / "chosen.zarr"
    with in_process():
        build(shapes, path, CHOSEN)
    return path


@pytest.fixture
def copy_of(chosen, shapes, tmp_path):
    """A copy of the cache with its journal, and of its shapes."""
    shutil.copytree(chosen, tmp_path / "chosen.zarr")
    shutil.copytree(shapes, tmp_path / "boxes")
    journal = (chosen.parent / "chosen.zarr.journal").read_text().replace(str(shapes), str(tmp_path / "boxes"))
    (tmp_path / "chosen.zarr.journal").write_text(journal)
    return tmp_path / "chosen.zarr"


def test_a_cache_has_poses_of_its_own_for_each_shape(chosen):
    cache = store.open_cache(chosen)
    assert validate.problems(chosen) == []
    assert list(cache.ok()).count(False) == 2
    poses = cache.array("views/pose")[:][cache.ok()]
    assert poses.shape[1:] == (3, 4, 4) and cache.array("views/rgb").shape[1] == 3
    assert len({directions(pose).round(3).tobytes() for pose in poses}) > 1
    said = describe(cache.record("views"))
    assert "3 views" in said and "30 cameras" in said and "visible surface" in said and "teacher" not in said
    assert chosen_views(cache.records()) == said
    assert Snapshot(cache).views == [0, 1, 2] and Snapshot(cache).points_view == 0


def test_a_cheap_teacher_chooses_in_the_shape_process(shapes, tmp_path):
    """The record has the digest of its weights and the versions of its packages, and another teacher is not taken for it."""
    (tmp_path / "two" / "slab" / "train").mkdir(parents=True)
    for name in ("box_0.off", "box_2.off"):
        shutil.copy(shapes / "slab" / "train" / name, tmp_path / "two" / "slab" / "train" / name)
    views = ViewSpec(rig=RIGS["dome30"], size=48, policy=POLICY)
    config = dataclasses.replace(CHOSEN, views=views)
    cache = build(tmp_path / "two", tmp_path / "two.zarr", config)
    record = cache.record("views")
    made = record.spec
    assert isinstance(made, ViewSpec) and made.policy is not None and made.policy.judge is not None and cache.ok().all()
    judge = made.policy.judge
    assert spec.fingerprint(judge) == spec.fingerprint(catalog.load("starter-resnet").spec)
    assert {"torch", "open_clip_torch", "renderer"} <= dict(record.made_by).keys()
    assert f"starter-resnet weights {judge.weights[:12]}" in describe(record)
    source = open_config_source(str(tmp_path / "two"), config)
    task = Task(reader=source.reader, points=config.points, views=made, judge="starter-resnet")
    with closing(Renderer(made, judge=_judge(task))) as renderer:
        for row in (1, 0):  # in another order and another process
            assert np.array_equal(make(task, source.entries[row], renderer).pose, cache.array("views/pose")[row])
    with pytest.raises(UserError, match="not the teacher that chooses views"):
        _judge(dataclasses.replace(task, judge="starter-regnet"))
    other = dataclasses.replace(config, views=dataclasses.replace(views, policy=dataclasses.replace(POLICY, teacher="starter-regnet")))
    with pytest.raises(UserError, match=r"views\.policy\.teacher=starter-resnet"):
        build(tmp_path / "two", tmp_path / "two.zarr", other)


def test_two_processes_and_a_stop_give_the_same_bytes(chosen, shapes, tmp_path, monkeypatch):
    path = tmp_path / "chosen.zarr"
    write, left = store.Cache.write, [3]

    def stopped(self, *arguments):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return write(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(store.Cache, "write", stopped)
        with pytest.raises(KeyboardInterrupt), in_process():
            build(shapes, path, CHOSEN)
    build(shapes, path, CHOSEN, workers=2)
    assert contents(path) == contents(chosen)
    with in_process():
        build(shapes, path, CHOSEN)  # all is there
    assert contents(path) == contents(chosen)


def test_repair_retry_and_append_choose_alike(chosen, copy_of, shapes, tmp_path, quick):
    flip(copy_of / "views" / "pose" / "c" / "0" / "0" / "0" / "0")
    repair(copy_of, "", CPU, Silent())
    assert contents(copy_of) == contents(chosen)
    broken = tmp_path / "boxes" / "slab" / "train" / "broken.off"
    broken.write_text(box_off((3, 7, 1)))
    retry(copy_of, "", CPU, Silent())
    more = write_meshes(tmp_path / "more", broken=())
    (more / "slab" / "train" / "broken.off").write_text(broken.read_text())
    whole = build(more, tmp_path / "whole.zarr", CHOSEN)
    mended = store.open_cache(copy_of)
    rows = {name: row for row, name in enumerate(mended.ids())}
    for row, name in enumerate(whole.ids()):
        for array in ("views/pose", "views/rgb"):
            assert np.array_equal(whole.array(array)[row], mended.array(array)[rows[str(name)]]), (name, array)
    new = tmp_path / "new" / "slab" / "train"
    new.mkdir(parents=True)
    (new / "late.off").write_text(box_off((3, 2, 1)))
    grown = append(copy_of, str(tmp_path / "new"), Wanted(), CPU, Silent()).cache
    at = {name: row for row, name in enumerate(grown.ids())}
    twin = at["slab/train/box_0.off"]  # the same box under another name
    assert np.array_equal(grown.array("views/pose")[at["slab/train/late.off"]], grown.array("views/pose")[twin])


def test_a_teacher_and_patch_features_come_later(copy_of, shapes, tmp_path, quick):
    """Depth is drawn again from the stored poses: the features are those of stored depth."""
    before = contents(copy_of)
    image = embedding.add_teacher(copy_of, "starter-resnet", None, 16, CPU, Silent())
    assert store.open_cache(copy_of).array("image/starter-resnet").shape[1] == image.per_shape == 3
    how = DenseConfig(teachers=("starter-resnet",), groups=8, group_size=4)
    embedding.add_dense(copy_of, "starter-resnet", how, None, 16, CPU, Silent())
    after = contents(copy_of)
    assert all(after[name] == data for name, data in before.items() if name != "zarr.json")
    deep = dataclasses.replace(CHOSEN, views=dataclasses.replace(CHOSEN.views, depth=True), teachers=("starter-resnet",), dense=how)
    stored = build(shapes, tmp_path / "deep.zarr", deep)
    cache = store.open_cache(copy_of)
    for array in ("features", "seen"):
        assert np.array_equal(cache.array(f"dense/starter-resnet/{array}")[:], stored.array(f"dense/starter-resnet/{array}")[:])


def test_another_policy_is_refused_with_the_settings_that_fit(chosen, shapes, quick):
    other = dataclasses.replace(CHOSEN, views=dataclasses.replace(CHOSEN.views, policy=dataclasses.replace(BARE, surface=2.0)))
    with pytest.raises(UserError, match=r"views\.policy\.surface=1\.0"):
        build(shapes, chosen, other)


def test_a_plan_measures_what_choosing_costs(shapes, tmp_path, quick):
    found = estimate.estimate(str(shapes), tmp_path / "planned.zarr", CHOSEN, CPU, Silent(), sample=4)
    steps = {step.name: step.hours for step in found.steps}
    assert steps["choose views"] > 0 and steps["views"] > 0
    assert found.bytes["views"] > 0 and not (tmp_path / "planned.zarr").exists()


# ------------------------------------------------------------------------------------------------------------- settings


def test_fingerprints_of_views_without_a_policy_are_those_of_before():
    assert spec.fingerprint(ViewSpec(rig=RIGS["ring12"])) == "07367900f658af5a"
    assert "policy" not in spec.to_json(ViewSpec(rig=RIGS["ring12"]))
    views = ViewSpec(rig=RIGS["dome30"], policy=POLICY)
    assert spec.from_json(ViewSpec, spec.to_json(views)) == views


def test_all_that_changes_the_choice_is_in_the_fingerprint():
    judge = spec.TeacherSpec(name="a", backend="open_clip", model="m", weights="w", preprocess="p", dim=8, text=False, image_size=32)
    base = dataclasses.replace(POLICY, judge=judge)

    def print_of(policy: Coverage | None) -> str:
        return spec.fingerprint(ViewSpec(rig=RIGS["dome30"], policy=policy))

    changes = {"count": 4, "size": 48, "surface": 2.0, "likeness": 2.0, "spread": 0.2, "points": 256, "revision": 1}
    different = [dataclasses.replace(base, **{name: value}) for name, value in changes.items()]  # type: ignore[arg-type]
    different += [None, POLICY, dataclasses.replace(base, judge=dataclasses.replace(judge, weights="other"))]
    assert set(changes) | {"teacher", "judge"} == {field.name for field in dataclasses.fields(Coverage)}
    assert len({print_of(one) for one in (base, *different)}) == len(different) + 1
    assert print_of(dataclasses.replace(base, teacher="mine=open_clip:/there")) == print_of(base)


def test_policies_by_name_and_settings_that_nobody_reads():
    assert configured("default", ["views.policy=rig"]).views == configured("default", []).views
    config = configured("default", ["views.policy=coverage", "views.policy.count=6", "views.rig=dome30"])
    assert config.views is not None and config.views.policy == Coverage(count=6) and config.views.count == 6
    bare = configured("adaptive", ["views.policy=surface"]).views
    assert bare is not None and bare.policy == Coverage(teacher="", likeness=0.0)
    for wrong, why in (
        (["views.policy=covrage"], "coverage"),
        (["views.policy=coverage", "views.policy.count=13"], "13 views cannot be chosen from the 12 cameras"),
        (["views.policy=coverage", "views.policy.teacher="], "no teacher to compare"),
        (["views.policy=coverage", "views.policy.likeness=0"], "nobody would read it"),
        (["views.policy=surface", "views.policy.surface=0", "views.policy.spread=0"], "nothing to choose by"),
    ):
        with pytest.raises(UserError, match=why):
            configured("default", wrong)


def test_the_options_that_restore_a_policy_are_options():
    there = ViewSpec(rig=RIGS["dome30"], policy=Coverage(count=3, teacher="", likeness=0.0))
    for asked in (ViewSpec(rig=RIGS["ring12"]), ViewSpec(rig=RIGS["dome30"], policy=dataclasses.replace(there.policy, count=5))):
        options = [option.partition(" ")[2].strip("'") for option in restoring(there, asked, "views.")]
        begun = [] if asked.policy is None else ["views.policy=surface", "views.policy.count=5"]
        assert configured("default", [*begun, *options, "views.rig=dome30", "views.policy.teacher="]).views == there
    assert differences(there, there) == []
