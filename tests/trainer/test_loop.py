"""The training loop: golden losses, stopping and going on, and what ends a run.

`python -m tests.trainer.test_loop` writes the golden losses anew, after a change that is meant to change them.
"""

import dataclasses
import io
import json
import math
import os
import signal
import tempfile
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch
from rich.console import Console

from cache_schema import store
from cache_schema.errors import UserError
from tests.forks import Command
from tests.trainer.conftest import SMALL, config_of, write_small
from trainer import afar, checkpoint, folder, log, loop, prepare, probes, signals
from trainer.data import Data
from trainer.distributed import Ranks
from trainer.loop import train
from trainer.meter import Watch
from trainer.recipes import configured
from trainer.tasks import catalog

GOLDEN = Path(__file__).with_name("golden_losses.txt")


def tensors(run):
    return safetensors.torch.load_file(checkpoint.path(run))


def same_tensors(a, b):
    a, b = tensors(a), tensors(b)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def losses(run):
    return [record["loss"] for record in log.records(run)]


class Killed(Exception):
    """A stand-in for the end of the process."""


def die_at(monkeypatch, step):
    learning_rate = loop.optim.learning_rate

    def dying(config, now, steps, per_epoch):
        if now == step:
            raise Killed
        return learning_rate(config, now, steps, per_epoch)

    monkeypatch.setattr(loop.optim, "learning_rate", dying)


# ------------------------------------------------------------------------------------------------------------ what it does


def test_losses_are_the_golden_ones(aligned):
    lines = [line.split() for line in GOLDEN.read_text().splitlines() if not line.startswith("#")]
    assert [record["step"] for record in log.records(aligned)] == [int(step) for step, _ in lines]
    assert losses(aligned) == pytest.approx([float(loss) for _, loss in lines], rel=2e-3)


def test_a_run_leaves_checkpoint_configuration_metrics_and_curves(aligned):
    left = {path.name for path in aligned.iterdir()}
    assert left == {"last.safetensors", "config.json", "metrics.jsonl", "curves.png", "tensorboard", ".lock"}
    body = json.loads((aligned / "config.json").read_text())
    assert body["config"]["optim"]["lr"] == 0.001 and body["encoder"]["dim"] == 48 and body["caches"][0]["path"].endswith("small.zarr")
    record = log.records(aligned)[-1]
    assert record["step"] == 9 and 0 <= record["data_wait"] <= 1 and math.isclose(record["epoch"], 9 * 8 / 38)
    assert {"image/random-a", "text/random-a", "image/random-b", "loss", "grad_norm", "lr", "samples_per_s"} < record.keys()
    products = dict(checkpoint.load(aligned).header.caches[0].products)
    assert {
        "points",
        "status",
        "index",
        "captions/synthetic",
        "text/synthetic/random-a",
        "image/random-b",
        "labels/source/random-a",
    } <= products.keys()
    assert (aligned / "curves.png").stat().st_size > 5000
    assert any((aligned / "tensorboard").iterdir())


def test_training_learns(cache_path, tmp_path):
    config = config_of("distill", "encoder.name=pointmae-tiny", "optim.batch=8", "optim.epochs=20", "optim.lr=0.005", recipe="point-mae")
    train(config, [cache_path], tmp_path / "run", device="cpu")
    found = losses(tmp_path / "run")
    assert sum(found[-20:]) < 0.8 * sum(found[:20])


def test_no_epochs_save_the_weights_of_the_start(cache_path, tmp_path):
    config = ["encoder.name=pointmae-tiny", "optim.batch=8"]
    train(config_of("distill", *config, recipe="scratch"), [cache_path], tmp_path / "scratch", device="cpu")
    loaded = checkpoint.load(tmp_path / "scratch")
    assert (loaded.step, loaded.header.steps) == (0, 0)
    train(config_of("distill", *config, "seed=1", recipe="scratch"), [cache_path], tmp_path / "other", device="cpu")
    assert checkpoint.load(tmp_path / "other").weights != loaded.weights


def test_parts_of_a_batch_add_up_to_the_mean_of_their_gradients(cache_path, tmp_path):
    config = config_of("align", "optim.batch=16", "optim.accumulate=2", "optim.epochs=1")
    train(config, [cache_path], tmp_path / "run", device="cpu")
    first = log.records(tmp_path / "run")[0]
    ranks = Ranks(device=torch.device("cpu"))
    data = prepare.open_data(config, [store.open_cache(cache_path)], None, 8, ranks)
    stage, _ = prepare.new_stage(config, data, None)
    found, generator = [], torch.Generator()
    for number in range(2):
        batch = data.batch(number)
        generator.manual_seed(prepare.seed_of(config.seed, prepare.STEP, number))
        drawn, changes = stage.draw(8, generator), loop.draw(config.augment, 8, 64, generator)
        found.append(stage(dataclasses.replace(batch, points=loop.augment(batch.points, changes)), drawn)["loss"])
    (sum(found) / 2).backward()
    norm = torch.nn.utils.clip_grad_norm_([p for p in stage.parameters() if p.grad is not None], math.inf)
    assert (first["loss"], first["grad_norm"]) == pytest.approx((sum(found).item() / 2, norm.item()), rel=1e-5)
    assert len(log.records(tmp_path / "run")) == 2


def test_an_average_over_steps_is_kept_and_goes_on(cache_path, tmp_path, monkeypatch):
    config = config_of("align", "optim.ema=0.9", "save_every=2")
    train(config, [cache_path], tmp_path / "whole", device="cpu")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        die_at(patch, 5)
        train(config, [cache_path], tmp_path / "cut", device="cpu")
    train(config, [cache_path], tmp_path / "cut", resume=True, device="cpu")
    assert same_tensors(tmp_path / "whole", tmp_path / "cut")
    found = tensors(tmp_path / "whole")
    assert not torch.equal(found["ema.pool.query"], found["model.pool.query"])


def test_probes_are_written_beside_the_losses_and_change_no_bit(cache_path, tmp_path, monkeypatch, aligned):
    """`auto`, if it may take all the time it wants. The run is the one of `aligned`, which has no probes."""
    monkeypatch.setattr(probes, "SHARE", math.inf)
    monkeypatch.setattr("trainer.tasks.rank.notes", lambda *_: pytest.fail("nobody reads the notes of a probe"))
    said = io.StringIO()
    config = config_of("align", "probe=auto", "probe_every=1")
    train(config, [cache_path], tmp_path / "run", device="cpu", console=Console(file=said))
    assert said.getvalue().count("probe knn at step 5: ") == 1 and "probe knn at step 9" not in said.getvalue(), "it is not tried again"
    probed = [record for record in log.records(tmp_path / "run") if "loss" not in record]
    assert [record["step"] for record in probed] == [5, 9] and probed[-1]["epoch"] == pytest.approx(9 * 8 / 38)  # 4.75 steps an epoch
    assert all({"zeroshot random-a top-1", "chance/zeroshot random-a top-1"} <= record.keys() for record in probed)
    assert probed[0]["chance/zeroshot random-a top-1"] == pytest.approx(100 / 3)
    assert same_tensors(tmp_path / "run", aligned)
    trained = [record for record in log.records(tmp_path / "run") if "loss" in record]
    assert [(r["loss"], r["grad_norm"]) for r in trained] == [(r["loss"], r["grad_norm"]) for r in log.records(aligned)]


def test_automatic_probes_keep_to_their_share_of_the_time(cache_path, monkeypatch):
    """With a clock of our own: 1 s a step, 0.5 s for what is done the first time, 2 % of the time."""
    config = config_of("align", "probe=auto,svm", "optim.epochs=400", "probe_every=1")
    ranks = Ranks(device=torch.device("cpu"))
    data = prepare.open_data(config, [store.open_cache(cache_path)], None, 8, ranks)
    clock = [0.0]
    monkeypatch.setattr(probes.time, "monotonic", lambda: clock[0])
    found = probes.Probes(config, data, prepare.new_stage(config, data, None)[0], ranks)
    tested = probes.automatic(found.cache, found.stage)
    splits, usable = found.cache.column("split"), found.cache.ok()
    assert list(tested) == ["zeroshot", "knn"] and tested["knn"] - tested["zeroshot"] == (usable & (splits == 0)).sum()
    when = {name: [] for name in ("svm", *tested)}
    for step in range(1, 2000):
        clock[0] += 1
        if found.due(step, last=False):
            for name in found.chosen(last=False):
                when[name].append(step)
                found.costs.setdefault(name, []).append(3.0)
                clock[0] += 3.0
    assert len(when["svm"]) == 1999 * 8 // 38, "what is named is always measured"
    for name, count in tested.items():
        guess = (0.5 + 0.5 * count / 8) / 0.01  # two tasks share 2 %
        assert guess <= when[name][0] <= guess + 5 and when[name][1] >= 600
        assert 0.8 * 0.01 * 1999 < 3 * len(when[name]) <= 0.01 * 1999
    found.costs["knn"].clear()
    found.costs["zeroshot"].append(3.0)
    assert "zeroshot" not in found.chosen(last=False) and "zeroshot" in found.chosen(last=True), "at the end it may have what others left"


def test_a_probe_comes_at_the_end_of_a_run_with_fewer_epochs_too(cache_path, tmp_path):
    train(config_of("align", "probe=retrieval", "probe_every=100"), [cache_path], tmp_path / "run", device="cpu")
    probed = [record for record in log.records(tmp_path / "run") if any(name.startswith("retrieval ") for name in record)]
    assert [record["step"] for record in probed] == [9]


def test_a_probe_that_fails_is_spoken_of_and_the_training_goes_on(cache_path, tmp_path, monkeypatch):
    def failing(name, loaded, cache, chosen, judged):
        raise UserError("a class has one shape only")

    monkeypatch.setattr(catalog, "evaluate", failing)
    said = io.StringIO()
    config = config_of("align", "probe=svm", "probe_every=1")
    train(config, [cache_path], tmp_path / "run", device="cpu", console=Console(file=said))
    assert "probe svm at step 5: a class has one shape only. The training goes on" in said.getvalue()
    assert checkpoint.load(tmp_path / "run").step == 9 and len(losses(tmp_path / "run")) == 9


def test_a_probe_that_is_not_known_is_named_before_the_first_step(cache_path, tmp_path):
    with pytest.raises(ValueError, match="no task is called 'svmm'; did you mean 'svm'"):
        train(config_of("align", "probe=knn,svmm"), [cache_path], tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("probe", "splits", "told"),
    [
        ("svm", ("train", "rest"), "probe svm tests on a split 'test' or 'val', and .* has neither"),
        ("retrieval", (), "probe retrieval tests on a split 'test' or 'val', and .* has neither"),
        ("knn", ("learn", "test"), "probe knn learns from a split 'train', which .* does not have"),
    ],
)
def test_a_probe_without_a_split_is_named_before_the_first_step(cache_path, tmp_path, monkeypatch, probe, splits, told):
    opened = store.open_cache(cache_path)
    renamed = (*splits, "more")[: len(opened.manifest.splits)] if splits else ()
    opened.manifest = dataclasses.replace(opened.manifest, splits=renamed)
    monkeypatch.setattr(afar, "open_cache", lambda path: opened)
    with pytest.raises(ValueError, match=rf"{told}\. Leave it out by --set probe="):
        train(config_of("align", f"probe={probe}", "data.splits="), [cache_path], tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["encoder.groups=200"], r"200 groups of 16 need at least 200 points, got 64\. Lower encoder\.groups or encoder\.group_size, or"),
        (["encoder.group_size=65"], "groups of 65 need at least 65 points, got 64"),
    ],
)
def test_groups_that_need_more_points_are_refused_before_the_run_begins(cache_path, tmp_path, settings, told):
    with pytest.raises(ValueError, match=told):
        train(config_of("align", *settings), [cache_path], tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_only_the_forward_pass_is_in_half_precision(cache_path, tmp_path, monkeypatch):
    build, halved = prepare.build, []

    def hooked(*arguments):
        stage = build(*arguments)
        stage.register_forward_hook(lambda *_: halved.append(torch.is_autocast_enabled("cpu")))
        stage.pool.query.register_hook(lambda gradient: halved.append(torch.is_autocast_enabled("cpu")))
        return stage

    monkeypatch.setattr(prepare, "build", hooked)
    train(config_of("align", "precision=bfloat16", "optim.epochs=1"), [cache_path], tmp_path / "run", device="cpu")
    assert halved == [True, False] * 4


# --------------------------------------------------------------------------------------------------- stopping and going on


@pytest.mark.parametrize("kill_at", [1, 4])
def test_a_run_that_died_goes_on_and_ends_with_the_same_bits(cache_path, aligned, tmp_path, monkeypatch, kill_at):
    run = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        die_at(patch, kill_at)
        train(config_of("align", "save_every=2"), [cache_path], run, device="cpu")
    assert checkpoint.path(run).exists() == (kill_at == 4)
    train(config_of("align", "save_every=2"), [cache_path], run, resume=True, device="cpu")
    assert same_tensors(aligned, run)
    assert losses(run) == losses(aligned) and [record["step"] for record in log.records(run)] == list(range(1, 10))
    there, here = checkpoint.load(aligned).header, checkpoint.load(run).header
    assert there.first and (there.first, there.recent) == (here.first, here.recent)


def test_a_finished_run_may_be_asked_to_go_on(cache_path, tmp_path):
    for resume in (False, True):
        train(config_of("align"), [cache_path], tmp_path / "run", resume=resume, device="cpu")
    assert checkpoint.load(tmp_path / "run").step == 9 and len(log.records(tmp_path / "run")) == 9


def test_a_signal_saves_and_stops(cache_path, aligned, tmp_path, monkeypatch):
    run, draw = tmp_path / "run", loop.draw
    calls = []

    def signalling(*arguments):
        calls.append(None)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return draw(*arguments)

    monkeypatch.setattr(loop, "draw", signalling)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(signals.Stopped):
        train(config_of("align"), [cache_path], run, device="cpu")
    assert signal.getsignal(signal.SIGTERM) == before
    assert checkpoint.load(run).step == 3 and losses(run) == losses(aligned)[:3]
    train(config_of("align"), [cache_path], run, resume=True, device="cpu")
    assert same_tensors(aligned, run)


def test_the_second_signal_stops_at_once():
    with pytest.raises(signals.Stopped), signals.postponed() as asked:
        assert not asked()
        os.kill(os.getpid(), signal.SIGINT)
        assert asked()
        os.kill(os.getpid(), signal.SIGINT)


def test_kill_9_loses_nothing_but_time(cache_path, tmp_path):
    config = [f"--set={assignment}" for assignment in (*SMALL, "log_every=1", "save_every=2", "optim.epochs=12")]
    words = ["mmpd-train", "align", cache_path, tmp_path / "killed", "--recipe=smoke", "--device=cpu", *config]
    process = Command(words, tmp_path / "said")
    while process.alive and (not checkpoint.path(tmp_path / "killed").exists() or len(log.records(tmp_path / "killed")) < 7):
        time.sleep(0.01)
    process.send(signal.SIGKILL)
    assert process.end() == -signal.SIGKILL
    asked = folder.begun(tmp_path / "killed").config
    assert 0 < checkpoint.load(tmp_path / "killed").step < 55
    train(asked, [cache_path], tmp_path / "killed", resume=True, device="cpu")
    train(asked, [cache_path], tmp_path / "whole", device="cpu")
    assert same_tensors(tmp_path / "killed", tmp_path / "whole")
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")


# ---------------------------------------------------------------------------------------------------------- what ends a run


def test_numbers_that_are_not_finite_stop_a_run_with_step_and_cause(cache_path, tmp_path, monkeypatch):
    augment, calls = loop.augment, []

    def breaking(points, changes, grey):
        calls.append(None)
        return augment(points, changes, grey) * (math.nan if len(calls) == 4 else 1)

    monkeypatch.setattr(loop, "augment", breaking)
    remedy = r"Begin anew: .* with another folder .* --set optim.lr=0.0005"
    with pytest.raises(ValueError, match=rf"step 4: .*text/random-a.* not finite \(nan\)\. {remedy}"):
        train(config_of("align", "save_every=2"), [cache_path], tmp_path / "run", device="cpu")
    assert checkpoint.load(tmp_path / "run").step == 2
    assert all(value.isfinite().all() for value in tensors(tmp_path / "run").values())


def test_a_number_that_was_stored_wrongly_is_named_and_not_the_learning_rate(cache_path, tmp_path, monkeypatch):
    rows, read = [], Data.batch

    def broken(data, number, share=slice(None)):
        batch = read(data, number, share)
        if number == 3:
            batch.image["random-b"][2, 5] = math.nan
            rows.append(batch.index[2].item())
        return batch

    monkeypatch.setattr(Data, "batch", broken)
    with pytest.raises(ValueError, match=r"step 4: image/random-b.* not finite \(nan\)") as failed:
        train(config_of("align"), [cache_path], tmp_path / "run", device="cpu")
    assert f"Stored numbers are not finite: {cache_path} row {rows[0]} image/random-b. `mmpd-cache" in str(failed.value)
    assert "optim.lr" not in str(failed.value)


def test_a_loss_that_grows_stops_a_run():
    watch = Watch(2.0, lambda step: f"Because of {step}.")
    for step in range(60):
        watch.read(step, ("loss",), torch.tensor([1.0 + 0.01 * step]))
    later = Watch(2.0, watch.explain, watch.first, watch.recent)
    for one in (watch, later):
        with pytest.raises(ValueError, match=r"step 65: diverged; the loss was 1.095 at the start and is 2.268 now. Because of 65."):
            for step in range(60, 90):
                one.read(step, ("loss",), torch.tensor([4.0]))


def test_running_out_of_memory_says_what_to_lower(cache_path, tmp_path, monkeypatch):
    def full(points, changes, grey):
        raise torch.OutOfMemoryError("Tried to allocate 3 GiB")

    monkeypatch.setattr(loop, "augment", full)
    with pytest.raises(
        ValueError, match=r"out of memory with 8 shapes .* another folder and --set optim.accumulate=2, .* or a lower optim.b"
    ):
        train(config_of("align"), [cache_path], tmp_path / "run", device="cpu")
    odd = config_of("align", "optim.batch=15", "optim.accumulate=3")
    with pytest.raises(ValueError, match=r"out of memory with 5 shapes .* another folder and a lower optim.batch, now 15$"):
        train(odd, [cache_path], tmp_path / "odd", device="cpu")


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_with_something_else_is_left_alone(cache_path, tmp_path, resume):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match="exists and is no run"):
        train(config_of("align"), [cache_path], tmp_path, resume=resume, device="cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_run_goes_on_as_it_was_begun_before_its_first_checkpoint_too(cache_path, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        die_at(patch, 1)
        train(config_of("align"), [cache_path], tmp_path / "run", device="cpu")
    before = (tmp_path / "run" / "config.json").read_bytes()
    with pytest.raises(ValueError, match=r"begun with another configuration: optim\.lr is 0\.001, asked 0\.01\."):
        train(config_of("align", "optim.lr=0.01"), [cache_path], tmp_path / "run", resume=True, device="cpu")
    assert (tmp_path / "run" / "config.json").read_bytes() == before


def test_one_process_at_a_time_trains_a_run(cache_path, tmp_path):
    with folder.held(tmp_path / "run"), pytest.raises(ValueError, match="run is being trained by another process"):
        train(config_of("align"), [cache_path], tmp_path / "run", resume=True, device="cpu")
    train(config_of("align", "optim.epochs=1"), [cache_path], tmp_path / "run", resume=True, device="cpu")


@pytest.mark.parametrize("text", ["{}", "[]", '{"config": {"stage": "aline"}}', "not JSON"])
def test_a_configuration_that_says_nothing_is_named(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json does not say how the run was begun"):
        folder.begun(tmp_path)


@pytest.mark.parametrize("text", ["step 1\n", "[1]\n", "3\n", "{}\n"])
def test_metrics_from_elsewhere_are_named(tmp_path, text):
    (tmp_path / "metrics.jsonl").write_text(text)
    with pytest.raises(ValueError, match=r"metrics\.jsonl is damaged or was not written by mmpd-train"):
        log.records(tmp_path)


def test_a_batch_too_large_for_all_epochs_is_named(cache_path, tmp_path):
    with pytest.raises(ValueError, match="1 epoch of 38 shapes do not fill one batch of 64"):
        train(config_of("align", "optim.batch=64", "optim.accumulate=2", "optim.epochs=1"), [cache_path], tmp_path / "run", device="cpu")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        write_small(Path(folder) / "c.zarr")
        train(config_of("align"), [Path(folder) / "c.zarr"], Path(folder) / "run", device="cpu")
        lines = [f"{step} {loss:.5f}" for step, loss in enumerate(losses(Path(folder) / "run"), 1)]
    head = "# step and loss of a small run of stage 1; tests/trainer/test_loop.py says how to write this anew"
    GOLDEN.write_text("\n".join([head, *lines]) + "\n")


def test_what_a_killed_writer_left_is_cleared(cache_path, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    left = [run / ".last.safetensors.4711.1.tmp", run / ".config.json.4711.1.tmp"]
    for file in left:
        file.write_bytes(b"0" * 100)
    train(config_of("align"), [cache_path], run, device="cpu")
    assert not list(run.glob(".*.tmp")) and not any(file.exists() for file in left)
    left[0].write_bytes(b"0" * 100)
    train(config_of("align"), [cache_path], run, resume=True, device="cpu")
    assert not left[0].exists()


@pytest.mark.parametrize(
    ("stage", "settings", "recipe"),
    [
        ("align", ["encoder.name=pointmae-tiny"], "smoke"),
        ("distill", ["encoder.name=pointmae-tiny"], "point-mae"),
        (
            "distill",
            [
                "encoder.name=pointm2ae-tiny",
                "encoder.counts=32,16,8",
                "encoder.sizes=8,4,4",
                "encoder.widths=12,24,48",
                "encoder.depths=1,1,1",
                "encoder.heads=3",
                "distill.heads=3",
            ],
            "point-m2ae",
        ),
    ],
)
def test_parts_of_one_shape_can_be_trained_on(cache_path, tmp_path, stage, settings, recipe):
    small = [*settings, "optim.batch=2", "optim.accumulate=2", "optim.epochs=1", "data.fraction=0.2", "data.threads=1", "log_every=1"]
    train(configured(recipe, stage, small), [cache_path], tmp_path / "run", device="cpu")
    assert all(math.isfinite(record["loss"]) for record in log.records(tmp_path / "run"))
