"""Writing a guide into a cache: right, resumable, and read back by stage 2 as if it ran there."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch

from cache_schema import store, validate
from cache_schema.errors import UserError
from cache_schema.products import markers
from cache_schema.spec import GuideSpec, from_json, to_json
from tests.harm import copied, exchange, flip
from tests.trainer.conftest import FAILED, config_of
from trainer import checkpoint, guide, log, machine
from trainer.loop import train
from trainer.tasks import catalog


@pytest.fixture
def cache(cache_path, tmp_path):
    return copied(cache_path, tmp_path)


def files(cache):
    return {path.relative_to(cache.path): path.read_bytes() for path in sorted(cache.path.rglob("guide/**/*")) if path.is_file()}


def test_the_guide_holds_the_features_of_every_stored_block(guided, aligned):
    cache, loaded = store.open_cache(guided), checkpoint.load(aligned)
    record = cache.record("guide/own")
    spec = record.spec
    assert (spec.tokens, spec.dim, spec.blocks, spec.weights) == (32, 48, 2, loaded.weights)
    assert record.inputs == (("points", cache.record("points").fingerprint),)
    points = torch.from_numpy(cache.array("points/xyz")[:].astype(np.float32))
    tokens, summary = cache.array("guide/own/tokens")[:], cache.array("guide/own/summary")[:]
    for row, block in ((0, 0), (17, 1), (59, 1)):
        features = loaded.model.features(points[row, block][None], ordered=True)
        np.testing.assert_allclose(tokens[row, block], features.tokens[0], atol=2e-3)
        np.testing.assert_allclose(summary[row, block], features.summary[0], atol=2e-3)
    assert not tokens[list(FAILED)].any() and not summary[list(FAILED)].any()
    assert validate.problems(guided) == []


def test_a_guide_that_was_interrupted_ends_with_the_same_bytes(cache, aligned, monkeypatch):
    loaded = checkpoint.load(aligned)
    write, calls = store.Cache.write, []

    def dying(self, record, shard, values):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(shard)
        write(self, record, shard, values)

    monkeypatch.setattr(store.Cache, "write", dying)
    with pytest.raises(KeyboardInterrupt):
        guide.write(cache, loaded, "own", device="cpu")
    assert not cache.records()["guide/own"].complete
    monkeypatch.setattr(store.Cache, "write", write)
    guide.write(cache, loaded, "own", device="cpu")
    interrupted = files(cache)
    shutil.rmtree(cache.path / "guide" / "own")
    shutil.rmtree(cache.path / "products" / "guide" / "own")
    seen = []
    guide.write(cache, loaded, "own", device="cpu", progress=lambda done, total: seen.append((done, total)))
    assert files(cache) == interrupted and seen == [(n, 4) for n in range(5)]
    assert validate.problems(cache.path) == []


def test_a_small_guide_is_computed_by_one_thread_unless_a_user_sets_another_number(cache, aligned, monkeypatch):
    """Two threads sum in another order, and stage 2 would depend on the machine."""
    loaded, seen = checkpoint.load(aligned), []
    of = loaded.model.features
    monkeypatch.setattr(loaded.model, "features", lambda *given, **more: [seen.append(torch.get_num_threads()), of(*given, **more)][1])
    monkeypatch.setenv(machine.THREADS, "2")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for name, chosen in (("ours", {machine.THREADS: "2"}), ("theirs", {})):
            monkeypatch.setattr(machine, "_chosen", chosen)
            guide.write(cache, loaded, name, device="cpu")
            seen.append(name)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    ours, theirs = seen[: seen.index("ours")], seen[seen.index("ours") + 1 : -1]
    assert ours[-1] == 1 and set(theirs) == {2}


def test_a_damaged_shard_is_made_again(cache, aligned):
    loaded = checkpoint.load(aligned)
    made = guide.write(cache, loaded, "own", device="cpu")
    before = files(cache)
    shard = cache.path / cache.arrays(made)[0].key(2)
    shard.write_bytes(shard.read_bytes()[:-7])
    assert guide.write(cache, loaded, "own", device="cpu") == made
    assert files(cache) == before


def test_exchanged_shards_are_made_again(cache, aligned):
    loaded = checkpoint.load(aligned)
    made = guide.write(cache, loaded, "own", device="cpu")
    before = files(cache)
    exchange(cache, "guide/own")
    assert files(cache) != before
    with pytest.raises(UserError, match=r"guide/own is not as it was when it was finished.*verify --repair"):
        cache.proven("guide/own")
    assert guide.write(cache, loaded, "own", device="cpu") == made
    assert files(cache) == before and validate.problems(cache.path) == []


@pytest.mark.parametrize("also", [False, True])
def test_a_damaged_marker_and_file_are_made_again(cache, aligned, also):
    loaded = checkpoint.load(aligned)
    made = guide.write(cache, loaded, "own", device="cpu")
    before = files(cache)
    if also:
        exchange(cache, "guide/own")
    flip(cache.path / markers(cache.manifest, made).key(2))
    flip(cache.path / cache.arrays(made)[0].key(2))
    assert guide.write(cache, loaded, "own", device="cpu") == made
    assert files(cache) == before and validate.problems(cache.path) == []


def test_a_guide_that_does_not_come_out_as_it_was_is_said_to_be_another(cache, aligned):
    guide.write(cache, checkpoint.load(aligned), "own", device="cpu")
    exchange(cache, "guide/own")
    other = checkpoint.load(aligned)
    with torch.no_grad():
        next(other.model.encoder.parameters()).mul_(2)
    with pytest.raises(UserError, match=r"guide/own was made again and is not what it was.*is another"):
        guide.write(cache, other, "own", device="cpu")


def test_a_guide_of_damaged_points_is_not_written(cache, aligned):
    flip(cache.path / cache.arrays(cache.record("points"))[0].key(1))
    with pytest.raises(UserError, match=r"points/xyz.* is not as it was written.*verify --repair"):
        guide.write(cache, checkpoint.load(aligned), "own", device="cpu")
    assert cache.missing(cache.records()["guide/own"]) == [1, 2, 3], "the shard before is sound"


def test_fewer_blocks_and_another_guide_of_the_same_name(cache, aligned):
    loaded = checkpoint.load(aligned)
    assert guide.write(cache, loaded, "own", blocks=1, device="cpu").spec.blocks == 1
    with pytest.raises(ValueError, match=r"of another guide or other settings \(spec.blocks is 1, asked 2\): choose another --name"):
        guide.write(cache, loaded, "own", device="cpu")
    with pytest.raises(ValueError, match=r"spec.weights is .* choose another --name"):
        guide.write(cache, dataclasses.replace(loaded, weights="retrained"), "own", blocks=1, device="cpu")
    with pytest.raises(ValueError, match=r"--blocks must lie in 1..2"):
        guide.write(cache, loaded, "other", blocks=3, device="cpu")


def test_a_model_without_a_summary_is_no_guide(cache, tmp_path):
    config = config_of("distill", "optim.batch=8", "encoder.name=pointmae-tiny", recipe="scratch")
    train(config, [cache.path], tmp_path / "run", device="cpu")
    with pytest.raises(ValueError, match="without a summary"):
        guide.write(cache, checkpoint.load(tmp_path / "run"), "own", device="cpu")


@pytest.mark.parametrize("name", ["../escaped", "a/b", "", ".hidden", "a b"])
def test_a_name_that_is_none_is_refused_before_anything_is_written(cache, aligned, name):
    before = set(cache.path.parent.rglob("*"))
    with pytest.raises(ValueError, match="a guide's name must begin with a letter or a digit"):
        guide.write(cache, checkpoint.load(aligned), name, device="cpu")
    assert set(cache.path.parent.rglob("*")) == before


def test_a_guide_that_says_the_same_of_everything_is_found_out(guided):
    cache = store.open_cache(guided)
    assert guide.spread(cache, "own")[0] < guide.COLLAPSED, "of points that are all alike"
    unit = torch.nn.functional.normalize(torch.from_numpy(cache.array("guide/random/summary")[:][cache.ok(), 0]).double(), dim=-1)
    distance = 1 - unit @ unit.T
    assert guide.spread(cache, "random")[0] == pytest.approx(float(distance.sum() / (len(unit) * (len(unit) - 1))))
    assert guide.COLLAPSED < min(guide.spread(cache, "random"))
    same = np.ones((9, 4), np.float16)
    assert guide._apart(same) == guide._apart(0 * same) == 0
    assert guide._apart(same[:1]) is None  # one shape says nothing about how shapes differ
    assert guide._apart(np.array([[3, 0], [0, 1], [-2, 0]], np.float16)) == pytest.approx((1 + 1 + 2) / 3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_online_and_cached_guides_give_the_same_losses(guided, aligned, tmp_path, precision):
    losses = []
    for online in ("false", "true"):
        config = config_of("distill", "guide=own", f"precision={precision}", f"guide_online={online}")
        train(config, [guided], tmp_path / online, guide_run=aligned, device="cpu")
        losses.append([record["loss"] for record in log.records(tmp_path / online)])
    assert len(losses[0]) == 9
    assert losses[0][0] == pytest.approx(losses[1][0], abs=1e-5), "the features differ only by how they are stored"
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-3)


def test_the_students_start_must_be_named_and_the_right_one(guided, aligned, tmp_path):
    config = config_of("distill", "guide=own")
    with pytest.raises(ValueError, match="--init RUN"):
        train(config, [guided], tmp_path / "run", device="cpu")
    with pytest.raises(ValueError, match=r"was not made of .*aligned"):
        train(config_of("distill", "guide=random"), [guided], tmp_path / "run", guide_run=aligned, device="cpu")
    with pytest.raises(ValueError, match=r"several guides \(own, random\)"):
        train(config_of("distill"), [guided], tmp_path / "run", guide_run=aligned, device="cpu")
    with pytest.raises(ValueError, match=r"of no use: the student starts from random weights"):
        alone = ("distill.local_weight=0", "distill.global_weight=0", "distill.reconstruction_weight=1")
        train(config_of("distill", "start=random", *alone), [guided], tmp_path / "run", guide_run=aligned, device="cpu")
    with pytest.raises(ValueError, match=r"heads of .* another form: --set align\.projection=mlp"):
        linear = config_of("distill", "guide=own", "distill.projected_weight=1", "align.projection=linear")
        train(linear, [guided], tmp_path / "run", guide_run=aligned, device="cpu")
    assert not (tmp_path / "run").exists()


def test_features_of_a_run_that_was_trained_again_are_refused_with_the_commands_that_make_them_again(guided, aligned, tmp_path):
    run = shutil.copytree(aligned, tmp_path / "align")
    fits = ("guide=own", "optim.epochs=0", "optim.batch=8")
    train(config_of("distill", *fits, "start=run"), [guided], tmp_path / "fits", init=aligned, guide_run=run, device="cpu")
    shutil.rmtree(run)
    again = dataclasses.replace(checkpoint.header(aligned).config, seed=7)
    train(dataclasses.replace(again, optim=dataclasses.replace(again.optim, epochs=0)), [guided], run, device="cpu")
    make = rf"`mmpd-cache remove {guided} guide/own && mmpd-train guide {guided} {run} --name own`"
    for more, init in (((), None), (("start=random",), None), (("start=run",), aligned)):
        with pytest.raises(UserError, match=rf"was not made of {run} .*out of date: {make}"):
            train(config_of("distill", *fits, *more), [guided], tmp_path / "run", init=init, guide_run=run, device="cpu")
    assert not (tmp_path / "run").exists()
    # Going on compares, too, and a guide that is only named gives nothing to the run.
    with pytest.raises(UserError, match=make):
        train(config_of("distill", *fits, "start=run"), [guided], tmp_path / "fits", guide_run=run, resume=True, device="cpu")
    train(config_of("distill", *fits, "start=run"), [guided], tmp_path / "plain", init=aligned, device="cpu")
    assert checkpoint.load(tmp_path / "fits").weights == checkpoint.load(tmp_path / "plain").weights


def test_equal_weights_that_treat_repeated_points_otherwise_are_another_guide(guided, aligned):
    cache, loaded = store.open_cache(guided), checkpoint.load(aligned)
    spec = cache.record("guide/own").spec
    assert "missing" not in to_json(spec), "a record of an earlier version has no such field"
    guide.refuse_stale([(cache, from_json(GuideSpec, to_json(spec)))], loaded)
    with pytest.raises(UserError, match=r"encoder.missing=mask\) was not made of .*same weights, encoder.missing=repeat.*mmpd-train guide"):
        guide.refuse_stale([(cache, spec), (cache, dataclasses.replace(spec, missing="mask"))], loaded)


# ---------------------------------------------------------------------------------- the same weights, and other settings


@pytest.fixture
def regrouped(cache, aligned, tmp_path):
    """A run with the weights of the guide's, which puts fewer points in a group. How it would learn changes no feature."""
    changed = ("encoder.group_size=8", "encoder.drop_path=0.3")
    train(config_of("align", "optim.epochs=0", *changed), [cache.path], tmp_path / "regrouped", init=aligned, device="cpu")
    return tmp_path / "regrouped"


def test_equal_weights_with_other_groups_are_another_guide(cache, aligned, regrouped, tmp_path):
    own, other = checkpoint.load(aligned), checkpoint.load(regrouped)
    assert own.weights == other.weights and dict(own.settings).items() - dict(other.settings).items() == {("encoder.group_size", "16")}
    record = guide.write(cache, own, "own", device="cpu")
    assert record.spec.run == "aligned" and guide.refuse_stale([(cache, record.spec)], own) == []
    with pytest.raises(UserError, match=r"of another guide or other settings \(spec\.settings: encoder\.group_size is "):
        guide.write(cache, other, "own", device="cpu")
    told = r"encoder\.group_size=16\) was not made of .*regrouped \(the same weights, encoder\.group_size=8\)"
    with pytest.raises(UserError, match=told):
        train(config_of("distill", "guide=own", "encoder.group_size=8"), [cache.path], tmp_path / "run", guide_run=regrouped, device="cpu")


def test_of_features_that_record_no_settings_the_weights_are_compared_and_this_is_said(cache, aligned, regrouped):
    own, other = checkpoint.load(aligned), checkpoint.load(regrouped)
    older = guide.write(cache, dataclasses.replace(own, settings=()), "own", device="cpu")
    assert "settings" not in to_json(older.spec), "an earlier version wrote no such field"
    before = files(cache)
    assert guide.write(cache, own, "own", device="cpu") == older and files(cache) == before
    assert guide.refuse_stale([(cache, older.spec)], own) == [], "the fingerprint of its training tells the settings, too"
    (note,) = guide.refuse_stale([(cache, older.spec)], other)
    assert "guide/own was written by an earlier version" in note and "nothing else could be compared" in note


def test_an_unfinished_guide_without_settings_is_not_finished_by_another_run(cache, aligned, regrouped, monkeypatch):
    begin(cache, dataclasses.replace(checkpoint.load(aligned), settings=()), monkeypatch)
    with pytest.raises(UserError, match="of another guide or other settings"):
        guide.write(cache, checkpoint.load(regrouped), "own", device="cpu")
    assert guide.write(cache, checkpoint.load(aligned), "own", device="cpu").complete


def test_an_unfinished_guide_of_which_only_the_weights_are_known_is_finished_and_this_is_said(cache, aligned, monkeypatch):
    loaded = checkpoint.load(aligned)
    with monkeypatch.context() as patch:
        patch.setattr(guide, "setup", lambda header: "")  # as a version wrote it that recorded no fingerprint of a training
        begin(cache, dataclasses.replace(loaded, settings=()), patch)
    made = guide.write(cache, loaded, "own", device="cpu")
    assert made.complete and made.spec.settings == () and made.spec.setup == "" and validate.problems(cache.path) == []
    (note,) = guide.refuse_stale([(cache, made.spec)], loaded)
    assert "nothing else could be compared" in note


def begin(cache, loaded, patch):
    """Begin a guide and write none of it."""
    with patch.context() as stopping, pytest.raises(KeyboardInterrupt):
        stopping.setattr(store.Cache, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        guide.write(cache, loaded, "own", device="cpu")


# ------------------------------------------------------------------------------------------- a guide whose run nobody named


def test_features_are_compared_with_the_run_of_their_name_nearby(cache, aligned, regrouped, tmp_path):
    spec = guide.write(cache, checkpoint.load(aligned), "own", device="cpu").spec
    near, far = tmp_path / "runs", tmp_path / "elsewhere"
    assert guide.compare_nearby([(cache, spec)], [aligned.parent]) == []
    (note,) = guide.compare_nearby([(cache, spec)], [near, far])
    assert note == "guide/own in the cache was not compared with the run called aligned, which is not near: --guide-run RUN compares it"
    shutil.copytree(regrouped, near / "aligned")
    (note,) = guide.compare_nearby([(cache, spec)], [far, near])
    assert note == (
        "guide/own in the cache was made by a run called aligned (encoder.group_size=16). The run of that name nearby differs (the same "
        "weights, encoder.group_size=8), so it may be another, or the features may be out of date: --guide-run RUN compares it"
    )
    (note,) = guide.compare_nearby([(cache, dataclasses.replace(spec, weights="others"))], [aligned.parent])
    assert f"(weights others). The run of that name nearby differs (weights {spec.weights[:12]})" in note
    assert guide.compare_nearby([(cache, spec)], [near, aligned.parent]) == [], "the right one is there as well"
    # An earlier version recorded neither name nor settings: by the guide's own name the run may be found, or another one.
    older = dataclasses.replace(spec, settings=(), run="", name="aligned")
    assert guide.compare_nearby([(cache, older)], [aligned.parent]) == [], "the fingerprint of its training is the same"
    (note,) = guide.compare_nearby([(cache, older)], [near])
    assert "whose name an earlier version did not record; only the weights were" in note
    (note,) = guide.compare_nearby([(cache, dataclasses.replace(older, weights="others"))], [near])
    assert "only the weights" not in note


def test_a_folder_of_that_name_with_something_else_is_passed_over(guided, aligned, tmp_path):
    cache = store.open_cache(guided)
    spec = dataclasses.replace(cache.record("guide/own").spec, settings=())
    shutil.copytree(aligned, tmp_path / "aligned")
    with safetensors.safe_open(aligned / checkpoint.LAST, "pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["mmpd"])
    for header in ({**metadata["header"], "format": 2}, {**metadata["header"], "config": {"stage": "align"}}, {}):
        safetensors.torch.save_file(tensors, tmp_path / "aligned" / checkpoint.LAST, {"mmpd": json.dumps({**metadata, "header": header})})
        (note,) = guide.compare_nearby([(cache, spec)], [tmp_path])
        assert note == "guide/own in the cache was not compared with the run called aligned, which is not near: --guide-run RUN compares it"


def test_a_student_that_starts_elsewhere_says_what_differs_nearby_or_that_it_compared_none(guided, aligned, tmp_path):
    fits = ("guide=own", "optim.epochs=0", "optim.batch=8", "start=random")
    train(config_of("distill", *fits), [guided], tmp_path / "alone", device="cpu")
    loaded = checkpoint.load(tmp_path / "alone")
    note = "guide/own in the cache was not compared with the run called aligned, which is not near: --guide-run RUN compares it"
    assert loaded.header.notes == (note,)
    options = dataclasses.replace(catalog.task("knn").SMOKE, train_split="all", test_split="all")
    result = catalog.evaluate("knn", loaded, store.open_cache(guided), options)
    assert note in result.scores.notes and result.model == loaded.settings

    shutil.copytree(aligned, tmp_path / "aligned")
    train(config_of("distill", *fits), [guided], tmp_path / "beside", device="cpu")
    assert checkpoint.header(tmp_path / "beside").notes == ()

    shutil.rmtree(tmp_path / "aligned")
    train(config_of("align", "optim.epochs=0", "seed=7"), [guided], tmp_path / "aligned", device="cpu")
    config = config_of("distill", *fits[:-1], "start=run")
    train(config, [guided], tmp_path / "right", init=aligned, device="cpu")  # the right one lies beside the start
    assert checkpoint.header(tmp_path / "right").notes == ()
    train(config_of("distill", *fits), [guided], tmp_path / "wrong", device="cpu")
    (note,) = checkpoint.header(tmp_path / "wrong").notes
    assert "The run of that name nearby differs (weights " in note and "remove" not in note
    with pytest.raises(UserError, match=r"was not made of .*aligned .*out of date: .*mmpd-cache remove .*--guide-run$"):
        train(config_of("distill", *fits), [guided], tmp_path / "run", guide_run=tmp_path / "aligned", device="cpu")


def test_what_is_compared_later_is_not_said_any_more_to_be_uncompared(guided, aligned, tmp_path):
    run = tmp_path / "run"
    train(config_of("distill", "guide=own", "optim.epochs=1", "start=random"), [guided], run, device="cpu")
    before, tensors = checkpoint.header(run), checkpoint.read(run)[2]
    (note,) = before.notes
    assert note.endswith("--guide-run RUN compares it") and before.step == before.steps
    made = (checkpoint.path(run)).read_bytes()
    train(before.config, [guided], run, resume=True, device="cpu")
    assert checkpoint.path(run).read_bytes() == made, "nobody compared it, and there was nothing to do"
    train(before.config, [guided], run, resume=True, guide_run=aligned, device="cpu")
    after, _, others = checkpoint.read(run)
    past = checkpoint.learned_from(checkpoint.header(aligned))
    assert before.guide_past is None and after == dataclasses.replace(before, notes=(), guide_past=past) and tensors.keys() == others.keys()
    assert all(torch.equal(tensors[name], others[name]) for name in tensors)


def test_what_is_advised_fits_what_was_given(guided, aligned):
    cache, loaded = store.open_cache(guided), checkpoint.load(aligned)
    spec = dataclasses.replace(cache.record("guide/own").spec, weights="others")
    with pytest.raises(UserError, match=r"Else name the guide's run by --init, or add --set start=run"):
        guide.refuse_stale([(cache, spec)], loaded, "guide")
    for start in ("run", "random"):
        with pytest.raises(UserError, match=r"Else name the run that made them by --guide-run$"):
            guide.refuse_stale([(cache, spec)], loaded, start)
