"""From mesh files to a verified cache: what is in it is right, whoever makes it and however often it is killed."""

import dataclasses
import importlib
import inspect
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from cache_schema import layout, spec, store, validate
from cache_schema.errors import UserError
from cache_schema.files import exclusive, held_token
from pipeline import captioning, describe, embedding, label_sets, opening
from pipeline.captioners import catalog as captioners
from pipeline.executors import dask
from pipeline.models import Models
from pipeline.recipes import SourceConfig
from pipeline.repair import repair
from pipeline.sources.catalog import SOURCES, open_source
from pipeline.teachers import catalog, huggingface, openclip
from pipeline.work import Machine
from tests.forks import FORKS, local_cluster
from tests.pipeline import checkpoints
from tests.pipeline.checkpoints import dino
from tests.pipeline.conftest import Silent, build, contents, small

CPU = Machine(workers=1, device="cpu")


def test_every_file_is_a_row_with_points_or_a_reason(built):
    cache = store.open_cache(built)
    assert validate.problems(built) == []
    reasons = dict(zip(cache.ids(), layout.texts(cache.array("reason")[:]), strict=True))
    assert len(reasons) == 9
    failed = {name for name, reason in reasons.items() if reason}
    assert failed == {"slab/train/broken.off", "tower/test/empty.off"}
    assert [name for name, ok in zip(cache.ids(), cache.ok(), strict=True) if not ok] == sorted(failed)
    for row, ok in enumerate(cache.ok()):
        for product in ("points/xyz", "views/rgb", "image/starter-resnet", "text/blip2/starter-resnet", "captions/blip2/text"):
            assert bool(np.any(cache.array(product)[row])) == bool(ok), (row, product)


def test_labels_and_splits_are_those_of_the_folders(built):
    cache = store.open_cache(built)
    classes, splits = cache.manifest.classes, cache.manifest.splits
    for name, label, split in zip(cache.ids(), cache.array("label")[:], cache.array("split")[:], strict=True):
        assert name.split("/")[:2] == [classes[label], splits[split]]


def test_a_cached_embedding_is_the_teachers_own_of_the_stored_view(built):
    """Whatever batch it was in: only float16 rounding lies between the cache and a direct call."""
    cache = store.open_cache(built)
    row, view = int(np.flatnonzero(cache.ok())[2]), 3
    for name, reference in (("starter-resnet", "starter-resnet"), ("random-dino", f"transformers:{dino()}")):
        teacher = catalog.load(reference)
        direct = teacher.embed_images(teacher.preprocess(cache.array("views/rgb")[row, view])[None])[0]
        assert np.allclose(cache.array(f"image/{name}")[row, view], direct.numpy(), atol=2e-3, rtol=1e-3)
    teacher = catalog.load("starter-resnet")
    text = layout.texts(cache.array("captions/blip2/text")[row])[view, 0]
    assert np.allclose(cache.array("text/blip2/starter-resnet")[row, view], teacher.embed_texts([text])[0].numpy(), atol=2e-3, rtol=1e-3)


def test_captions_are_best_first_by_the_rankers_cosine(built):
    cache = store.open_cache(built)
    scores = cache.array("captions/blip2/score")[:]
    assert (np.diff(scores[cache.ok()], axis=2) <= 0).all()
    row = int(np.flatnonzero(cache.ok())[0])
    image = torch.from_numpy(cache.array("image/starter-resnet")[row, 0].astype(np.float32))
    texts = catalog.load("starter-resnet").embed_texts(layout.texts(cache.array("captions/blip2/text")[row])[0].tolist())
    assert np.allclose(scores[row, 0], torch.cosine_similarity(texts, image[None]).numpy(), atol=2e-3)


def test_a_second_build_changes_nothing(copied, meshes):
    before = {p: p.stat().st_mtime_ns for p in copied.rglob("*") if p.is_file()}
    build(meshes, copied)
    assert {p: p.stat().st_mtime_ns for p in copied.rglob("*") if p.is_file()} == before


def test_two_processes_and_another_place_make_the_same_bytes(built, meshes, tmp_path):
    build(meshes, tmp_path / "other.zarr", workers=2)
    assert contents(tmp_path / "other.zarr") == contents(built)


def test_killed_at_any_moment_the_same_command_ends_with_the_same_bytes(built, meshes, tmp_path):
    """A real process and a real SIGKILL, each time after a little more was done. A server forks them: it has the models' code loaded."""
    path, kills = tmp_path / "killed.zarr", 0
    for files in (1, 22, 50):
        process = FORKS.Process(target=build, args=(meshes, path))
        process.start()
        while process.is_alive() and sum(len(names) for *_, names in os.walk(path)) < files:  # often, so it must cost little
            time.sleep(0.01)
        if process.is_alive():
            process.kill()
            kills += 1
        process.join()
    assert kills >= 2
    build(meshes, path)
    assert contents(path) == contents(built)


def test_a_dask_cluster_makes_the_same_bytes(built, meshes, tmp_path):
    """A scheduler and a worker of their own, as a user would start them, whose one thread is not what the local build had."""
    with local_cluster() as cluster:
        build(meshes, tmp_path / "dask.zarr", scheduler=cluster.scheduler_address)
    assert contents(tmp_path / "dask.zarr") == contents(built)


def test_bytes_do_not_depend_on_torchs_threads(built, meshes, tmp_path):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        build(meshes, tmp_path / "c.zarr")
    finally:
        torch.set_num_threads(before)
    assert contents(tmp_path / "c.zarr") == contents(built)


def test_an_orphan_of_a_killed_client_writes_nothing(copied, meshes):
    cache = store.open_cache(copied)
    record = cache.record("image/starter-resnet")
    with exclusive(copied):
        orphan = store.open_cache(copied, token=held_token(copied))
    before = contents(copied)
    with exclusive(copied), pytest.raises(UserError, match="another build has taken over"):
        orphan.write(record, 0, {"image/starter-resnet": np.ones((4, 4, 128), np.float16)})
    with exclusive(copied), pytest.raises(UserError, match="another build has taken over"):
        orphan.reopen(record, 0)
    assert contents(copied) == before


def test_a_scheduler_that_is_lost_is_one_clear_line(meshes, tmp_path, monkeypatch):
    import distributed

    completed = distributed.as_completed

    def losing(*arguments, **options):
        cluster.close()
        return completed(*arguments, **options)

    monkeypatch.setattr(distributed, "as_completed", losing)
    few = small(views=None, teachers=(), captions=None, labels=())
    lost = pytest.raises(UserError, match=r"the dask scheduler at .* is lost\. What is done is kept; run the same command")
    with local_cluster() as cluster, lost:
        build(meshes, tmp_path / "c.zarr", few, scheduler=cluster.scheduler_address)


def test_no_path_of_this_machine_gets_into_a_cache(built):
    for file in built.rglob("zarr.json"):
        assert "/" + str(dino()).split("/")[1] + "/" not in file.read_text(), file
    assert store.open_cache(built).record("image/random-dino").spec.model == f"./{dino().name}"


def test_a_captioner_is_added_and_nothing_else_is_touched(copied, built, meshes):
    root = copied / "zarr.json"
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in copied.rglob("*") if p.is_file() and p != root}
    asked = captioners.asked("words=template", ["samples=2", "rank_by=starter-resnet"])
    made = captioning.add_captioner(copied, asked, 8, CPU, Silent())
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in before} == before
    cache = store.open_cache(copied)
    assert made.product == "captions/words" and {"captions/words", "text/words/starter-resnet"} <= set(cache.products())
    assert validate.problems(copied) == []
    # A build with that captioner from the start makes the same.
    fresh = copied.with_name("fresh.zarr")
    build(meshes, fresh, small(captions=asked))
    for array in ("captions/words/text", "captions/words/score", "text/words/starter-resnet"):
        np.testing.assert_array_equal(cache.array(array)[:], store.open_cache(fresh).array(array)[:])
    with pytest.raises(UserError, match="captions/words made from another specification"):
        captioning.add_captioner(copied, dataclasses.replace(asked, samples=3), 8, CPU, Silent())


def test_captions_that_cannot_be_are_refused_before_a_captioner_is_loaded(copied, meshes, tmp_path, monkeypatch):
    asked = captioners.asked("words=template", ["samples=2", "rank_by=starter-resnet"])
    captioning.add_captioner(copied, asked, 8, CPU, Silent())
    no_text = {"rank_by": "random-dino"}
    with monkeypatch.context() as loading:
        loading.setattr(captioners, "load", lambda *_, **__: pytest.fail("a captioner was loaded"))
        for change, message in (
            ({"samples": 3}, "captions/words made from another specification"),
            ({"rank_by": "starter-resent"}, "no teacher 'starter-resent'.*did you mean 'starter-resnet'"),
            (no_text, "'random-dino' has no text side"),
            ({"name": "../words"}, "cannot be a file name"),
            ({"captioner": "blip"}, "no captioner 'blip'"),
        ):
            with pytest.raises(UserError, match=message):
                captioning.add_captioner(copied, dataclasses.replace(asked, **change), 8, CPU, Silent())
            if change not in ({"samples": 3}, no_text) and "captioner" not in change:
                with pytest.raises(UserError, match=message):
                    build(meshes, tmp_path / "c.zarr", small(captions=dataclasses.replace(asked, **change)))
    # A new cache does not know of a teacher what it reads. It is loaded after the captioner, and before anything is made.
    with pytest.raises(UserError, match="'random-dino' has no text side"):
        build(meshes, tmp_path / "c.zarr", small(captions=dataclasses.replace(asked, **no_text)))
    assert not (tmp_path / "c.zarr" / "zarr.json").exists()


def test_captions_of_a_shape_are_one_set_for_all_its_views(meshes, tmp_path):
    asked = dataclasses.replace(captioners.asked("template", ["samples=2"]), per="shape")
    build(meshes, tmp_path / "c.zarr", small(captions=asked, teachers=("starter-resnet",)))
    cache = store.open_cache(tmp_path / "c.zarr")
    assert cache.node("captions/template/text").shape[1] == 1 and cache.node("text/template/starter-resnet").shape[1] == 1
    assert (layout.texts(cache.column("captions/template/text"))[cache.ok()] != "").all()


def test_no_scheduler_is_a_clear_error(meshes, tmp_path, monkeypatch):
    monkeypatch.setattr(dask, "SECONDS", 2)
    with pytest.raises(ValueError, match=r"no dask scheduler answers at tcp://127.0.0.1:9"):
        build(meshes, tmp_path / "x.zarr", scheduler="tcp://127.0.0.1:9")


def test_starter_models_on_other_shapes_are_not_taken_for_real_ones(meshes, tmp_path, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(Silent, "say", lambda _, text: said.append(text))
    build(meshes, tmp_path / "c.zarr", small(teachers=("starter-resnet",), captions=None))
    told = "the kinds of the starter collection and nothing else"
    assert sum("starter-resnet" in text and told in text for text in said) == 1
    said.clear()
    embedding.add_teacher(tmp_path / "c.zarr", "starter-regnet", None, 8, CPU, Silent())
    assert sum("starter-regnet" in text and told in text for text in said) == 1


@pytest.mark.parametrize(
    ("location", "options", "expected"),
    [
        ("starter", {"count": "2"}, ""),
        ("rooms", {"count": "1"}, "nothing else"),
        ("forms", {"count": "1"}, "nothing else"),
        ("scan:starter", {"count": "2"}, "otherwise"),
        ("lidar:starter", {"classes": "car"}, "otherwise"),
        ("lidar:street", {"classes": "car"}, "nothing else"),
        ("MESHES", {}, "nothing else"),
        ("scan:MESHES", {}, "nothing else"),
        ("lidar:MESHES", {}, "nothing else"),
    ],
)
def test_the_warning_about_starter_models_goes_by_what_is_scanned(meshes, location, options, expected):
    source = open_source(location.replace("MESHES", str(meshes)), **options)
    described, classes = opening.described(source), {entry.label for entry in source.entries}
    warning = describe.starter_warning(["starter-resnet"], described, classes)
    assert warning.endswith(expected) if expected != "nothing else" else expected in warning
    assert bool(warning) == bool(expected) and describe.starter_warning(["ViT-B-32"], described, classes) == ""
    joined = dataclasses.replace(opening.described(open_source("starter", count="2")), also=(described,))
    assert describe.starter_warning(["starter-resnet"], joined, classes) == warning, "a source that was appended counts, too"


def test_every_source_that_scans_another_one_is_known_as_such():
    """One that takes the options of another source records the kind of that one as `inner`."""
    takes = {name for name in SOURCES if any(p.kind == p.VAR_KEYWORD for p in parameters(name))}
    assert takes == set(spec.SCANNERS) and all("inner" in {p.name for p in parameters(name)} for name in takes)


def parameters(name):
    return inspect.signature(importlib.import_module(SOURCES[name]).open_source).parameters.values()


def test_teachers_with_the_same_preprocessing_share_what_is_prepared(copied, meshes, tmp_path, monkeypatch):
    seen = []
    prepare = openclip.Preparation.__call__
    monkeypatch.setattr(openclip.Preparation, "__call__", lambda self, image: seen.append(image.shape) or prepare(self, image))
    teachers = ("starter-resnet", "starter-regnet")
    both = build(meshes, tmp_path / "both.zarr", small(teachers=teachers, captions=None, labels=()))
    assert seen.count((48, 48, 3)) == 4 * both.ok().sum()
    embedding.add_teacher(copied, "starter-regnet", None, 64, CPU, Silent())
    alone = store.open_cache(copied)
    for name in teachers:
        assert np.array_equal(both.column(f"image/{name}"), alone.column(f"image/{name}"))


def test_teachers_whose_preprocessing_is_only_described_alike_share_nothing(meshes, tmp_path, monkeypatch):
    """ConvNext's `crop_pct` changes the pixels. Whatever a description leaves out, each teacher gets its own."""
    monkeypatch.setattr(huggingface, "_settings", lambda processor: {})
    shares = {"wide": (0.875, 4), "narrow": (0.5, 5)}
    references = [f"{name}=transformers:{checkpoints.convnext(*share)}" for name, share in shares.items()]
    cache = build(meshes, tmp_path / "c.zarr", small(teachers=tuple(references), captions=None, labels=()))
    row = int(np.flatnonzero(cache.ok())[0])
    found = {}
    for reference in references:
        teacher = catalog.load(reference)
        pixels = torch.stack([teacher.preprocess(picture) for picture in cache.array("views/rgb")[row]])
        assert teacher.spec.preprocess == "ConvNextImageProcessor {}"
        found[teacher.spec.name] = pixels
        np.testing.assert_allclose(cache.array(f"image/{teacher.spec.name}")[row], teacher.embed_images(pixels), rtol=2e-3, atol=2e-3)
    assert found["wide"].shape == found["narrow"].shape and (found["wide"] - found["narrow"]).abs().max() > 0.5


def test_only_the_same_object_counts_as_the_same_preparation():
    class Equal:
        def __eq__(self, other):
            return True

        def __init__(self, value):
            self.value = value

        def __call__(self, picture):
            return torch.full((3, 2, 2), self.value)

    models, first, second = Models("cpu", threads=1), Equal(1.0), Equal(2.0)
    kept = models.prepared(b"a", first)
    assert kept.get(0, lambda: None) is models.prepared(b"a", first).get(0, lambda: None)
    assert models.prepared(b"a", second).get(0, lambda: None).unique() == 2
    assert models.prepared(b"b", second) is not models.prepared(b"a", second)
    assert kept.get(1, lambda: None).unique() == 1  # whoever still holds it gets nobody else's pictures


def test_open_clips_preparations_are_the_same_if_all_their_settings_are():
    settings = openclip.PreprocessCfg(size=48)
    same = openclip.Preparation.of(settings)
    assert openclip.Preparation.of(openclip.PreprocessCfg(size=(48, 48))) is same
    other = {"size": 32, "mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": "bilinear", "resize_mode": "longest", "fill_color": 9}
    assert {"mode", *other} == {field.name for field in dataclasses.fields(openclip.PreprocessCfg)}
    for name, value in other.items():
        assert openclip.Preparation.of(dataclasses.replace(settings, **{name: value})) is not same


def test_a_teacher_and_a_label_set_are_added_and_nothing_else_is_touched(meshes, tmp_path):
    path = tmp_path / "c.zarr"
    one = small(teachers=("starter-resnet",))
    build(meshes, path, one)
    root = path / "zarr.json"  # it lists what is finished
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in path.rglob("*") if p.is_file() and p != root}
    embedding.add_teacher(path, f"random-dino=transformers:{dino()}", None, 8, CPU, Silent())
    embedding.add_teacher(path, "second=starter-resnet", None, 8, CPU, Silent())
    label_sets.add_labels(path, "modelnet10", 64, CPU, Silent())
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in before} == before
    products = store.open_cache(path).products()
    added = {"image/random-dino", "image/second", "text/blip2/second", "labels/source/second", "labels/modelnet10/starter-resnet"}
    assert added <= set(products)
    assert "text/blip2/random-dino" not in products
    cache = store.open_cache(path)
    # Other batches: the last bits of float16 may differ.
    np.testing.assert_allclose(cache.array("image/second")[:], cache.array("image/starter-resnet")[:], rtol=2e-3, atol=2e-3)
    assert products["image/second"].fingerprint == products["image/starter-resnet"].fingerprint
    assert validate.problems(path) == []


@pytest.mark.parametrize("name", ["views/rgb", "captions/blip2/text"])
def test_nothing_is_made_of_damaged_data(copied, name):
    file = copied / name / ("c/0/0/0/0/0" if name == "views/rgb" else "c/0/0/0/0")
    data = bytearray(file.read_bytes())
    data[-1 if name == "captions/blip2/text" else 8] ^= 1
    file.write_bytes(data)
    with pytest.raises(UserError, match=r"verify --repair") as caught:
        embedding.add_teacher(copied, "second=starter-resnet", None, 8, CPU, Silent())
    assert str(file) in str(caught.value)
    wrong = "image/second" if name == "views/rgb" else "text/blip2/second"
    assert not store.open_cache(copied).records()[wrong].complete


def test_label_sentences_are_the_teachers_own(built):
    cache = store.open_cache(built)
    labels = cache.record("labels/source/starter-resnet").labels
    values = cache.array("labels/source/starter-resnet")[:]
    assert values.shape == (2, 64, 128)
    direct = catalog.load("starter-resnet").embed_texts([labels.templates[5].format(labels.classes[1])])[0]
    assert np.allclose(values[1, 5], direct.numpy(), atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"points": spec.PointSpec(count=64, blocks=2, ordered=16, seed=7)},
            r"spec.seed is 0, asked 7.*--set points\.seed=0 --set points\.normals=true$",
        ),
        (
            {"captions": dataclasses.replace(small().captions, samples=1)},
            r"captions/blip2 made from another specification.*--set captions\.samples=[0-9]+$",
        ),
        ({"shard": 8}, r"has shards of 4 shapes, asked 8; .* --set shard=4$"),
        ({"source": SourceConfig(textures="grey")}, r"read otherwise.*--set source\.textures=require$"),
    ],
)
def test_another_specification_is_refused_and_nothing_is_written(copied, meshes, change, message):
    before = contents(copied)
    with pytest.raises(ValueError, match=message):
        build(meshes, copied, small(**change))
    assert contents(copied) == before


def test_other_shapes_are_refused_by_name(copied, tmp_path):
    from tests.pipeline.conftest import box_off, write_meshes

    other = write_meshes(tmp_path / "other")
    (other / "slab" / "train" / "new.off").write_text(box_off((1, 2, 3)))
    with pytest.raises(ValueError, match=r"1 new \(slab/train/new.off\), 0 gone"):
        build(other, copied)


def test_captions_and_teachers_can_come_later(built, meshes, tmp_path):
    """First points and pictures, then the whole recipe: the same cache as at once."""
    build(meshes, tmp_path / "c.zarr", small(teachers=(), captions=None, labels=()))
    assert set(store.open_cache(tmp_path / "c.zarr").products()) == {"index", "status", "points", "views"}
    build(meshes, tmp_path / "c.zarr")
    assert contents(tmp_path / "c.zarr") == contents(built)


@pytest.mark.parametrize(
    "name",
    [
        "points/xyz",
        "points/normal",
        "views/rgb",
        "status",
        "id",
        "captions/blip2/text",
        "image/starter-resnet",
        "labels/source/starter-resnet",
        "stats/image/random-dino",
    ],
)
def test_repair_makes_the_damaged_shard_again_and_no_other(copied, built, name):
    file = max((copied / name / "c").rglob("*"), key=lambda p: (p.is_file(), str(p)))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 16
    file.write_bytes(data)
    found = validate.problems(copied)
    assert file.relative_to(copied).as_posix() in {problem.where for problem in found}
    times = {p: p.stat().st_mtime_ns for p in copied.rglob("*") if p.is_file() and p != file}
    repair(copied, "", CPU, Silent())
    assert contents(copied) == contents(built)
    touched = {p.relative_to(copied).as_posix() for p, t in times.items() if p.stat().st_mtime_ns != t}
    assert all(
        other.startswith(("products/", name.split("/")[0], "reason", "source_sha256", "colored", "repeated", "label", "split"))
        for other in touched
    ), touched
    shard = file.relative_to(copied / name / "c").parts[0]
    assert all(f"/c/{shard}" in other or other.endswith("zarr.json") for other in touched), touched


def test_repair_without_the_source_says_what_it_needs(copied):
    Path(f"{copied}.journal").unlink()
    (copied / "points/xyz/c/0/0/0/0").write_bytes(b"")
    with pytest.raises(ValueError, match="give it with --source"):
        repair(copied, "", CPU, Silent())


def test_repair_of_changed_meshes_does_not_pretend(copied, tmp_path):
    from tests.pipeline.conftest import box_off, write_meshes

    other = write_meshes(tmp_path / "other")
    (other / "slab" / "train" / "box_0.off").write_text(box_off((9, 1, 1)))
    (copied / "points/xyz/c/0/0/0/0").write_bytes(b"")
    with pytest.raises(ValueError, match="is not as it was when its points were made"):
        repair(copied, str(other), CPU, Silent())


def test_a_reader_at_work_is_not_disturbed_by_a_product_being_added(copied):
    cache = store.open_cache(copied)
    rows = cache.rows("image/starter-resnet")
    first = rows.gather(np.arange(9))
    embedding.add_teacher(copied, f"late=transformers:{dino()}", None, 8, CPU, Silent())
    assert np.array_equal(rows.gather(np.arange(9)), first)
    assert "image/late" in store.open_cache(copied).products()
