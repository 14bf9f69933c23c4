"""Going on from another run: what is taken and told, what is frozen, at what rate the layers learn, and that it goes on exactly."""

import dataclasses
import io
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from rich.console import Console

from cache_schema import store
from cache_schema.errors import UserError
from tests.trainer.conftest import config_of
from tests.trainer.test_loop import Killed, die_at, same_tensors
from trainer import checkpoint, distributed, folder, guide, layers, optim, prepare, start
from trainer.config import OptimConfig
from trainer.encoders import catalog
from trainer.loop import train
from trainer.tasks.classify import Options
from trainer.tasks.features import Body, seeded
from trainer.tasks.finetune import fit
from trainer.tasks.shapes import of_split

TINY = [name for name in catalog.ENCODERS if name.endswith("-tiny")]


def begin(cache, run, *assignments, stage="align", **given):
    """Train, and return the header of the run and what was printed."""
    console = Console(file=io.StringIO(), width=500)
    config = assignments[0] if assignments and not isinstance(assignments[0], str) else config_of(stage, *assignments)
    train(config, [cache], run, device="cpu", console=console, **given)
    return checkpoint.header(run), console.file.getvalue()


def weights(run, prefix=checkpoint.WEIGHTS):
    return checkpoint.named(safetensors.torch.load_file(checkpoint.path(run)), prefix)


# -------------------------------------------------------------------------------------------------------------- the layers


@pytest.mark.parametrize("name", TINY)
def test_the_order_of_layers_is_that_in_which_they_run(name):
    encoder = catalog.build(name).train()
    state = torch.random.get_rng_state()
    order = layers.Order.of_encoder(encoder)
    assert encoder.training and torch.equal(torch.random.get_rng_state(), state)
    blocks = [site.block for site in encoder.sites()]
    assert order.blocks == len(blocks) and order.of.keys() == dict(encoder.named_parameters()).keys()
    parameters = dict(encoder.named_parameters())
    for number, block in enumerate(blocks, 1):
        own = {id(p) for p in block.parameters()}
        assert {order.of[n] for n, p in parameters.items() if id(p) in own} == {number}
    outside = {n: order.of[n] for n, p in parameters.items() if not any(p is q for b in blocks for q in b.parameters())}
    last = {n for n, layer in outside.items() if layer == len(blocks) + 1}
    assert last and all("norm" in n for n in last)
    levels = [site.level for site in encoder.sites()]
    for n, layer in outside.items():
        if n in last:
            continue
        tier = int(n.split(".")[1]) if n.startswith("tiers.") else 0
        # Below the first block of its own level: 0 on the finest, and on others the layer of that block.
        assert layer == (levels.index(tier) + 1 if tier else 0), n


def test_frozen_batch_norms_stay_so_when_ranks_replace_them():
    encoder = catalog.build("pointmae-tiny")
    frozen = layers.freeze(encoder, 1)
    distributed._synchronise(encoder)
    encoder.train()
    frozen.hold()
    modes = {name: module.training for name, module in encoder.named_modules() if name}
    norms = [name for name, module in encoder.named_modules() if isinstance(module, distributed.SyncBatchNorm)]
    assert norms and not any(modes[name] for name in (*norms, "transformer.blocks.0", "transformer.blocks.0.mlp"))
    assert modes["transformer.blocks.1"] and modes["norm"]


def test_layers_learn_at_the_rates_of_beit():
    """In BEiT (https://arxiv.org/abs/2106.08254) the rate falls from the head through L blocks to the embeddings: decay ** (L + 1 - i)."""
    encoder = catalog.build("pointmae-tiny", depth=3)
    model = torch.nn.ModuleDict({"encoder": encoder, "head": torch.nn.Linear(96, 3)})
    optimizer = optim.adamw(model, OptimConfig(batch=8, epochs=1, lr=1.0, layer_decay=0.5, weight_decay=0.3))
    optim.set_rate(optimizer, 0.8)
    names = {id(p): n for n, p in model.named_parameters()}
    rate = {names[id(p)]: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    expected = {"head.weight": 0.8, "encoder.norm.weight": 0.8, "encoder.embed.lift.weight": 0.8 / 16, "encoder.positions.0.bias": 0.8 / 16}
    expected |= {f"encoder.transformer.blocks.{i}.norm1.weight": 0.8 / 2 ** (3 - i) for i in range(3)}
    assert {name: rate[name] for name in expected} == pytest.approx(expected) and rate.keys() == dict(model.named_parameters()).keys()
    decays = {names[id(p)]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decays["encoder.embed.lift.weight"] == 0.3 and decays["encoder.embed.lift.bias"] == 0
    plain = optim.adamw(model, OptimConfig(batch=8, epochs=1, lr=1.0))
    assert [group["scale"] for group in plain.param_groups] == [1, 1]


def test_more_blocks_than_there_are_or_an_encoder_without_blocks_is_named():
    with pytest.raises(UserError, match=r"freeze must lie in 1\.\.4"):
        layers.freeze(catalog.build("pointmae-tiny"), 5)
    with pytest.raises(UserError, match="does not tell its blocks"):
        layers.freeze(torch.nn.Linear(2, 2), 1)
    with pytest.raises(UserError, match="layer_decay needs an encoder"):
        layers.rates(torch.nn.Linear(2, 2), 0.5)
    for wrong in ({"freeze": -2}, {"layer_decay": 0.0}, {"layer_decay": 1.1}, {"freeze": -1, "layer_decay": 0.5}):
        with pytest.raises(UserError, match="optim"):
            OptimConfig(batch=8, epochs=1, lr=1.0, **wrong)
    with pytest.raises(UserError, match="layer_decay would have no effect where tune=mlp"):
        Options(tune="mlp", layer_decay=0.5)


# -------------------------------------------------------------------------------------------------------------- what is frozen


@pytest.mark.parametrize(("freeze", "encoder"), [(1, "pointmamba-tiny"), (-1, "pointmae-tiny")])
def test_what_is_frozen_keeps_its_bits(cache_path, tmp_path, freeze, encoder):
    settings = (f"encoder.name={encoder}", "encoder.depth=2", "encoder.drop_path=0.5")
    if encoder == "pointmamba-tiny":
        settings += ("encoder.dim=16", "encoder.embed=8,8,8", "align.heads=2")
    begin(cache_path, tmp_path / "old", *settings, "optim.epochs=0")
    more = (f"optim.freeze={freeze}", "optim.weight_decay=0.5", "optim.ema=0.9", "optim.epochs=1")
    with pytest.raises(UserError, match=r"optim\.freeze would keep random weights"):
        begin(cache_path, tmp_path / "new", *settings, *more)
    _, said = begin(cache_path, tmp_path / "new", *settings, *more, init=tmp_path / "old")
    old = weights(tmp_path / "old")
    assert ("Frozen: the encoder\n" if freeze == -1 else "Frozen: the embeddings and 1 of 2 blocks") in said
    order = layers.Order.of_encoder(checkpoint.load(tmp_path / "old").model.encoder)
    learns = {f"encoder.{n}" for n, layer in order.of.items() if freeze != -1 and layer > freeze}
    for prefix in (checkpoint.WEIGHTS, checkpoint.AVERAGE):
        new = weights(tmp_path / "new", prefix)
        moved = {name for name in old if not torch.equal(old[name], new[name])}
        assert {name for name in moved if name.startswith("encoder.")} <= learns and "pool.query" in moved
        assert len(moved & learns) >= 0.9 * len(learns)
    trained = weights(tmp_path / "new", checkpoint.OPTIMIZER)
    assert not [n for n in trained if n.startswith("encoder.") and n.rpartition(".")[0] not in learns]


def test_fine_tuning_freezes_and_decays(cache_path, aligned):
    cache = store.open_cache(cache_path)
    body = Body.of(checkpoint.load(aligned).model, "mean_max")
    before = {name: value.clone() for name, value in body.state_dict().items()}
    options = Options(epochs=1, batch=16, seeds=1, freeze=1, layer_decay=0.65)
    with seeded(0, torch.device("cpu")):
        *_, (tuned, _) = fit(body, of_split(cache, "train"), options, 0)
    moved = {name for name, value in tuned.state_dict().items() if not torch.equal(before[name], value)}
    assert moved == {"encoder.norm.weight", "encoder.norm.bias"}  # one block: all of the encoder but its last norm
    assert all(torch.equal(before[name], value) for name, value in body.state_dict().items())


# ---------------------------------------------------------------------------------------------------------- what is taken


def test_the_same_stage_takes_everything_and_says_so(cache_path, aligned, tmp_path):
    header, said = begin(cache_path, tmp_path / "run", "optim.epochs=0", init=aligned)
    old, new = weights(aligned), weights(tmp_path / "run")
    assert old.keys() == new.keys() and all(torch.equal(old[name], new[name]) for name in old)
    assert "Starts from aligned (align, 9 steps): took encoder, pool, head image/random-a" in said
    assert "the state of the optimiser is not taken" in said and "Not used" not in said and "New:" not in said
    assert header.init.weights == checkpoint.load(aligned).weights and header.init.caches == checkpoint.header(aligned).caches
    setups = {checkpoint.setup(header), checkpoint.setup(dataclasses.replace(header, init=None))}
    assert len(setups) == 2, "a run that started elsewhere is another experiment"


def test_a_head_is_taken_only_for_its_own_teacher(cache_path, aligned, tmp_path):
    loaded = checkpoint.load(aligned)
    one = begin(cache_path, tmp_path / "one", "data.teachers=random-a", "align.heads=3", "optim.epochs=0", init=aligned)
    assert [(part.name, part.reason) for part in one[0].init.new] == [("pool", "of another number of heads")]
    unused = {part.name for part in one[0].init.unused}
    assert unused - {"pool"} and all("random-b" in name for name in unused - {"pool"})
    assert "Not used of that run: " in one[1] and "(not in the new model)" in one[1]

    # A teacher of the same name and another fingerprint is another teacher.
    facts = dataclasses.replace(
        loaded.header.facts, teachers=tuple(dataclasses.replace(t, fingerprint="f" * 16) for t in loaded.header.facts.teachers)
    )
    taken = start.take(checkpoint.load(aligned).model, loaded.config, facts, "", dataclasses.replace(loaded, run=Path("x")))
    assert taken.taken == ("encoder", "pool") and {part.reason for part in taken.new} == {"of another teacher"}


def test_a_student_takes_decoders_and_another_guides_last_layer_stays_new(cache_path, guided, aligned, tmp_path):
    begin(guided, tmp_path / "old", "guide=own", "optim.epochs=1", "distill.reconstruction_weight=1", stage="distill", init=aligned)
    header = checkpoint.header(tmp_path / "old")
    assert header.config.start == "guide" and header.init.taken == ("encoder",) and header.guide == header.init.weights
    assert checkpoint.setup(header) == checkpoint.setup(dataclasses.replace(header, init=None)), "the guide is in it already"

    settings = ("guide=own", "optim.epochs=0", "distill.reconstruction_weight=1")
    same, _ = begin(guided, tmp_path / "same", *settings, stage="distill", init=tmp_path / "old")
    old, new = weights(tmp_path / "old"), weights(tmp_path / "same")
    assert same.config.start == "run" and all(torch.equal(old[name], new[name]) for name in old) and not same.init.new

    other, _ = begin(guided, tmp_path / "other", *settings[1:], "guide=random", stage="distill", init=tmp_path / "old")
    assert {(part.name, part.reason) for part in other.init.new} == {
        ("local.head", "of another shape"),
        ("summary.head", "of another shape"),
    }
    masked, said = begin(guided, tmp_path / "mae", *settings, "distill.heads=3", stage="distill", init=tmp_path / "old")
    assert "decoder of coordinates (of another number of heads)" in said and "reconstruction" not in masked.init.taken
    back, _ = begin(guided, tmp_path / "back", "optim.epochs=0", init=tmp_path / "old")
    assert back.init.taken == ("encoder",) and {part.name for part in back.init.unused} >= {"local", "summary", "reconstruction"}


def test_another_encoder_or_a_run_that_would_not_be_used_is_refused(cache_path, guided, aligned, tmp_path):
    for setting in ("encoder.dim=96", "encoder.heads=3"):
        with pytest.raises(UserError, match=r"cannot start from .*aligned.*leave --init out"):
            begin(cache_path, tmp_path / "run", setting, init=aligned)
    with pytest.raises(UserError, match="stage 1 has no guide"):
        begin(cache_path, tmp_path / "run", guide_run=aligned)
    with pytest.raises(UserError, match="name the run whose weights the student starts from"):
        begin(guided, tmp_path / "run", "guide=own", "start=run", stage="distill")
    with pytest.raises(UserError, match=r"name its run by --guide-run RUN"):
        begin(guided, tmp_path / "run", "guide=own", "start=run", "guide_online=true", stage="distill", init=aligned)
    with pytest.raises(UserError, match=r"was not made of .*--set start=run to start from another"):
        begin(guided, tmp_path / "run", "guide=random", stage="distill", init=aligned)
    assert not (tmp_path / "run").exists()
    header, said = begin(guided, tmp_path / "run", "guide=random", "start=run", "optim.epochs=0", stage="distill", init=aligned)
    assert header.config.start == "run" and header.init.taken == ("encoder",) and "pool (not in the new model)" in said


def test_a_baseline_starts_from_a_run_when_asked(cache_path, aligned, tmp_path):
    settings = config_of("distill", "optim.epochs=0", "optim.batch=8", recipe="point-mae")
    encoder = checkpoint.header(aligned).config.encoder
    header, _ = begin(cache_path, tmp_path / "run", dataclasses.replace(settings, encoder=encoder), init=aligned)
    assert header.config.start == "run" and header.init.taken == ("encoder",)


def test_a_recipe_that_goes_on_with_point_mae_does_not_begin_without_it(cache_path, tmp_path):
    """From coordinates alone through both stages, each with the weights and the decoder of coordinates of the one before."""
    small = ("optim.epochs=1", "optim.batch=8")
    with pytest.raises(UserError, match=r"start=run: name the run whose weights stage 1 starts from by --init RUN.*start=any"):
        begin(cache_path, tmp_path / "run", config_of("align", *small, recipe="tiny-on-mae"))
    assert not (tmp_path / "run").exists()
    begin(cache_path, tmp_path / "mae", config_of("distill", *small, recipe="tiny-mae"))
    grown = tmp_path / "grown.zarr"
    shutil.copytree(cache_path, grown)
    header, said = begin(grown, tmp_path / "run", config_of("align", *small, recipe="tiny-on-mae"), init=tmp_path / "mae")
    assert set(header.init.taken) == {"encoder", "reconstruction"} and "Starts from" in said
    guide.write(store.open_cache(grown), checkpoint.load(tmp_path / "run"), "run", device="cpu")
    student = config_of("distill", *small, "guide=run", recipe="tiny-on-mae")
    header, _ = begin(grown, tmp_path / "student", student, init=tmp_path / "run")
    assert header.config.start == "guide" and student.distill.reconstruction_weight > 0
    header, _ = begin(cache_path, tmp_path / "any", config_of("align", *small, "start=any", recipe="tiny-on-mae"))
    assert header.init is None or not header.init.taken


# -------------------------------------------------------------------------------------------------------------- going on


def test_a_run_with_a_start_goes_on_exactly_when_that_is_gone(guided, aligned, tmp_path, monkeypatch):
    shutil.copytree(aligned, tmp_path / "init")
    settings = ("guide=own", "save_every=2", "optim.epochs=1", "optim.freeze=1", "optim.layer_decay=0.8", "optim.ema=0.9")
    begin(guided, tmp_path / "whole", *settings, stage="distill", init=tmp_path / "init")
    with monkeypatch.context() as patch:
        die_at(patch, 3)
        with pytest.raises(Killed):
            begin(guided, tmp_path / "killed", *settings, stage="distill", init=tmp_path / "init")
    shutil.rmtree(tmp_path / "init")
    header, said = begin(guided, tmp_path / "killed", folder.begun(tmp_path / "killed").config, resume=True)
    assert same_tensors(tmp_path / "whole", tmp_path / "killed") and "Starts from" not in said
    assert header == dataclasses.replace(checkpoint.header(tmp_path / "whole"), recent=header.recent) and header.init.run == "init"

    # Another start than the first one is refused.
    begin(guided, tmp_path / "second", "optim.epochs=0")
    with pytest.raises(UserError, match=r"it started from weights|its guide is|was not made of"):
        begin(guided, tmp_path / "killed", *settings, stage="distill", init=tmp_path / "second", resume=True)


def test_more_epochs_are_a_new_run_with_the_settings_of_the_old_one(cache_path, aligned, tmp_path):
    shutil.copytree(aligned, tmp_path / "old")
    with pytest.raises(UserError, match=r"epochs is 2, asked 200.*--init .*old") as refused:
        begin(cache_path, tmp_path / "old", "optim.epochs=200", resume=True)
    assert "\n" not in str(refused.value)
    assert start.like("align", aligned, "tiny") == checkpoint.header(aligned).config
    student = start.like("distill", aligned, "tiny")
    assert student.stage == "distill" and student.encoder == checkpoint.header(aligned).config.encoder


def test_going_on_with_other_software_is_said_in_the_run(cache_path, tmp_path, monkeypatch):
    settings, run = ("save_every=2", "optim.epochs=1"), tmp_path / "run"
    with monkeypatch.context() as patch:
        die_at(patch, 3)
        with pytest.raises(Killed):
            begin(cache_path, run, *settings)
    stopped, made_by = tmp_path / "stopped", checkpoint.header(run).made_by
    shutil.copytree(run, stopped)
    assert dict(made_by).keys() == {"code", "mmpd", "torch"} and checkpoint.header(run).step == 2
    assert begin(cache_path, run, *settings, resume=True)[0].notes == ()

    other = tuple((name, "other" if name == "code" else value) for name, value in made_by)
    monkeypatch.setattr(prepare, "software", lambda: other)
    header, said = begin(cache_path, stopped, *settings, resume=True)
    note = f"other software made the first 2 steps: code {dict(made_by)['code']}, now other"
    assert header.notes == (note,) and f"Note: {note}\n" in said and header.made_by == other
    monkeypatch.undo()
    header, said = begin(cache_path, stopped, *settings, resume=True)
    assert "Note" in said and checkpoint.header(stopped).notes == (note,), "nothing was left to do"
    assert same_tensors(run, stopped)
