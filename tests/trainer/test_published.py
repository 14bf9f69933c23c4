"""Published checkpoints: what fits is taken to the last bit, what does not is named, and nothing runs code. The files are made here."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch

from cache_schema import store
from tests.trainer.conftest import SMALL, config_of
from tests.trainer.test_cli import command  # noqa: F401
from trainer import checkpoint, guide
from trainer.encoders import catalog, pointm2ae, pointmae, pointmamba
from trainer.loop import train
from trainer.published import exporting, importing
from trainer.published.importing import import_checkpoint
from trainer.published.peers import PEERS, signs
from trainer.recipes import configured
from trainer.stage import Facts, build

MODULES = {"point-mae": pointmae, "point-m2ae": pointm2ae, "pointmamba": pointmamba}
SIZES = {
    "point-mae": ["encoder.name=pointmae-tiny", *SMALL, "distill.reconstruction_depth=2"],
    "point-m2ae": [
        "encoder.name=pointm2ae-tiny",
        "encoder.counts=32,16,8",
        "encoder.sizes=8,4,4",
        "encoder.embed=8,16,24",
        "encoder.widths=12,24,48",
        "encoder.depths=1,2,1",
        "distill.heads=3",
    ],
    "pointmamba": ["encoder.name=pointmamba-tiny", *SMALL, "distill.reconstruction_depth=2"],
}


def stage_of(architecture):
    """A pre-training model with weights, and statistics of batch norms, that none has at its start."""
    torch.manual_seed(1)
    stage = build(configured(architecture, "distill", SIZES[architecture]), Facts())
    with torch.no_grad():
        for value in stage.state_dict().values():
            if value.is_floating_point():
                value.add_(0.1 * torch.rand_like(value))
    return stage.eval()


def weights_of(architecture):
    """The same under the published names."""
    return MODULES[architecture].to_published(stage_of(architecture).state_dict())


def wrapped(weights):
    """As the peers save a model: with optimiser and metrics, from several GPUs."""
    metrics = {"acc": np.float64(0.9)}
    return {"base_model": {f"module.{name}": value for name, value in weights.items()}, "optimizer": {"state": {}}, "metrics": metrics}


@pytest.fixture
def imported(tmp_path):
    """Save weights, then import them: the report and the model of the run."""

    def call(architecture, weights, sizes):
        torch.save(weights, tmp_path / "peer.pth")
        report = import_checkpoint(tmp_path / "peer.pth", architecture, tmp_path / "run", [*sizes, "points.count=64"])
        return report, checkpoint.load(tmp_path / "run")

    return call


def same_features(model, other):
    points = torch.randn(2, 64, 3)
    return torch.equal(model.features(points, ordered=True).tokens, other.features(points, ordered=True).tokens)


@pytest.mark.parametrize("architecture", MODULES)
def test_a_pre_training_model_comes_whole_and_goes_back_to_the_last_bit(imported, architecture, tmp_path):
    stage, weights = stage_of(architecture), weights_of(architecture)
    report, loaded = imported(architecture, wrapped(weights), SIZES[architecture])
    assert {tensor.name for tensor in (*report.taken, *report.dropped)} == set(weights)
    unused = {"h_encoder.encoder_norms.0.weight", "h_encoder.encoder_norms.0.bias"} if architecture == "point-m2ae" else set()
    assert {tensor.name for tensor in report.dropped} == unused
    assert all(tensor.name.startswith("summary.") for tensor in report.missing)
    assert {name for tensor in report.taken for name in tensor.ours} == set(stage.state_dict())
    assert all(torch.equal(loaded.model.state_dict()[name], value) for name, value in stage.state_dict().items())
    assert same_features(loaded.model, stage)
    assert report.source == loaded.header.source and report.source.sha256 == importing._digest(tmp_path / "peer.pth")
    assert not loaded.header.unfinished

    count = exporting.export_encoder(tmp_path / "run", tmp_path / "encoder.safetensors")
    back = safetensors.torch.load_file(tmp_path / "encoder.safetensors")
    assert len(back) == count and all(torch.equal(back[name], weights[name]) for name in back)
    left = {
        MODULES[architecture].PUBLISHED[p]
        for p in MODULES[architecture].PUBLISHED
        for name in weights
        if name.startswith(p) and name not in back
    }
    assert left and all(prefix.startswith("reconstruction.") for prefix in left)
    with pytest.raises(ValueError, match="exists: give another name"):
        exporting.export_encoder(tmp_path / "run", tmp_path / "encoder.safetensors")


@pytest.mark.parametrize("architecture", MODULES)
def test_what_was_exported_is_imported_again(architecture, imported, tmp_path):
    imported(architecture, weights_of(architecture), SIZES[architecture])
    exporting.export_encoder(tmp_path / "run", tmp_path / "encoder.safetensors")
    report = import_checkpoint(
        tmp_path / "encoder.safetensors", architecture, tmp_path / "again", [*SIZES[architecture], "points.count=64"]
    )
    assert same_features(checkpoint.load(tmp_path / "again").model, checkpoint.load(tmp_path / "run").model)
    assert all(tensor.name.startswith("summary.") for tensor in report.missing)


@pytest.mark.parametrize("container", [None, "state_dict", "model"])
def test_whatever_the_weights_are_wrapped_in(imported, container):
    weights = weights_of("point-mae")
    _, loaded = imported("point-mae", {container: weights, "epoch": 3} if container else weights | {"epoch": 3}, SIZES["point-mae"])
    assert same_features(loaded.model, stage_of("point-mae"))


def test_fine_tuned_models_of_the_other_encoders(imported, tmp_path):
    for architecture, start in (("pointmamba", "MAE_encoder."), ("point-m2ae", "")):
        weights = weights_of(architecture)
        if start:
            weights = {n.removeprefix(start): v for n, v in weights.items() if n.startswith(start)}
        else:
            last = "h_encoder.encoder_norms.2."
            weights = {n.replace(last, "norm."): v for n, v in weights.items() if n.startswith("h_enc") and (last in n or "norms" not in n)}
        report, loaded = imported(architecture, weights | {"cls_head_finetune.0.bias": torch.ones(3)}, SIZES[architecture])
        assert [tensor.name for tensor in report.dropped] == ["cls_head_finetune.0.bias"]
        assert same_features(loaded.model, stage_of(architecture)) and loaded.model.reconstruction is None
        shutil.rmtree(tmp_path / "run")


def test_i2p_mae_is_point_m2ae_without_heads(imported):
    weights = {name: value for name, value in weights_of("point-m2ae").items() if not name.startswith("rec_head")}
    others = {"rec_head_3d.weight": torch.ones(12, 24, 1), "rec_head_2d.bias": torch.ones(5), "clip_model.visual.proj": torch.ones(3)}
    report, loaded = imported("i2p-mae", weights | others, SIZES["point-m2ae"])
    assert same_features(loaded.model, stage_of("point-m2ae"))
    assert set(others) < {tensor.name for tensor in report.dropped}
    new = {tensor.name for tensor in report.missing if not tensor.name.startswith("summary.")}
    assert new == {"reconstruction.head.weight", "reconstruction.head.bias"}


@pytest.mark.parametrize("architecture", ["point-m2ae", "i2p-mae"])
def test_of_two_last_norms_a_fine_tuned_point_m2ae_has_trained_its_own(imported, architecture):
    weights = {name: value for name, value in weights_of("point-m2ae").items() if name.startswith("h_encoder.")}
    norms = {name for name in weights if "encoder_norms" in name}
    tuned = {f"norm.{end}": weights[f"h_encoder.encoder_norms.2.{end}"] for end in ("weight", "bias")}
    mixed = {name: torch.full_like(value, 7) if name in norms else value for name, value in weights.items()} | tuned
    report, loaded = imported(architecture, mixed | {"cls_head_finetune.0.bias": torch.ones(3)}, SIZES["point-m2ae"])
    assert {tensor.name for tensor in report.dropped} == norms | {"cls_head_finetune.0.bias"}
    assert {tensor.reason for tensor in report.dropped if tensor.name in norms} == {"fine-tuning trained norm. in its place"}
    assert same_features(loaded.model, stage_of("point-m2ae")) and loaded.model.reconstruction is None


def test_two_tensors_for_one_place_are_refused(imported):
    whole, norm = weights_of("point-m2ae"), "h_encoder.encoder_norms.2.weight"
    with pytest.raises(ValueError, match=rf"has both {norm} and norm\.weight for encoder\.norm\.weight"):
        imported("point-m2ae", whole | {"norm.weight": whole[norm]}, SIZES["point-m2ae"])
    weights, name = weights_of("point-mae"), "MAE_encoder.pos_embed.0.bias"
    with pytest.raises(ValueError, match=rf"has both {name} and pos_embed\.0\.bias for encoder\.positions\.0\.bias"):
        imported("point-mae", weights | {"pos_embed.0.bias": weights[name]}, SIZES["point-mae"])
    with pytest.raises(ValueError, match=rf"has both {name} and module\.{name}, which are one name"):
        imported("point-mae", weights | {f"module.{name}": weights[name]}, SIZES["point-mae"])


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_refused(imported, tmp_path, value):
    weights, name = weights_of("point-mae"), "MAE_encoder.blocks.blocks.0.mlp.fc1.bias"
    weights[name][3] = value
    with pytest.raises(ValueError, match=f"{name} is not finite"):
        imported("point-mae", weights, SIZES["point-mae"])
    assert not (tmp_path / "run").exists()


def test_a_run_of_ours_is_not_imported(aligned, tmp_path):
    with pytest.raises(ValueError, match="is already a run of mmpd: use the run as it is, or `mmpd-train export` it"):
        import_checkpoint(checkpoint.path(aligned), "point-mae", tmp_path / "run")


def test_the_summary_is_the_mean_of_the_tokens(imported):
    _, loaded = imported("point-mae", weights_of("point-mae"), SIZES["point-mae"])
    found = loaded.model.features(torch.randn(2, 64, 3), ordered=True)
    torch.testing.assert_close(found.summary, torch.nn.functional.layer_norm(found.tokens, (48,)).mean(1))


def test_it_serves_as_guide_and_start(imported, cache_path, tmp_path):
    _, loaded = imported("point-mae", weights_of("point-mae"), SIZES["point-mae"])
    shutil.copytree(cache_path, tmp_path / "small.zarr")
    guide.write(store.open_cache(tmp_path / "small.zarr"), loaded, "peer", blocks=1, device="cpu")
    config = config_of("distill", "guide=peer", "optim.epochs=0", "data.blocks=1")
    train(config, [tmp_path / "small.zarr"], tmp_path / "student", guide_run=tmp_path / "run", device="cpu")
    student = checkpoint.load(tmp_path / "student")
    assert student.header.guide == loaded.weights and same_features(student.model, loaded.model)


def test_two_files_are_two_experiments_and_runs_that_were_trained_stay_what_they_were(imported, tmp_path, aligned):
    weights = weights_of("point-mae")
    first = imported("point-mae", weights, SIZES["point-mae"])[1].header
    torch.save({name: 2 * value for name, value in weights.items()}, tmp_path / "other.pth")
    import_checkpoint(tmp_path / "other.pth", "point-mae", tmp_path / "two", SIZES["point-mae"])
    assert checkpoint.setup(first) != checkpoint.setup(checkpoint.load(tmp_path / "two").header)
    assert checkpoint.load(aligned).header.source is None


@pytest.mark.parametrize(
    "wrap",
    [
        "module.{}",
        "_orig_mod.{}",
        "net.{}",
        "model.{}",
        "module._orig_mod.{}",
        "_orig_mod.module.{}",
        "model.net.{}",
        "module.model.{}",
        "model.encoder_wrapper.{}",
        "student.{}",
        "trainer.student.backbone.{}",
        "base_model.module.{}",
        "ema_model.{}",
    ],
)
def test_whatever_stands_before_the_names(imported, wrap):
    weights = {wrap.format(name): value for name, value in weights_of("point-mae").items()}
    report, loaded = imported("point-mae", {"state_dict": weights, "epoch": 3}, SIZES["point-mae"])
    assert same_features(loaded.model, stage_of("point-mae")) and loaded.model.reconstruction is not None
    assert not report.dropped


def test_a_part_that_was_compiled(imported):
    inside = {n.replace("MAE_encoder.", "MAE_encoder._orig_mod."): value for n, value in weights_of("point-mae").items()}
    assert same_features(imported("point-mae", inside, SIZES["point-mae"])[1].model, stage_of("point-mae"))


SMALL = [*SIZES["point-mae"], "points.count=64"]


def test_what_is_in_the_way_is_left_out_as_asked(imported, tmp_path):
    weights = {f"model.{name}": value for name, value in weights_of("point-mae").items()} | {"criterion.weight": torch.ones(3)}
    with pytest.raises(ValueError, match=r"is not understood.*--drop criterion\.weight leaves it out"):
        imported("point-mae", weights, SIZES["point-mae"])
    report = import_checkpoint(tmp_path / "peer.pth", "point-mae", tmp_path / "run", SMALL, drop=["criterion."])
    assert [(left.name, left.reason) for left in report.dropped] == [("criterion.weight", "left out as asked")]
    assert same_features(checkpoint.load(tmp_path / "run").model, stage_of("point-mae"))
    with pytest.raises(ValueError, match=r"--drop head\.: no tensor of .* has a name that begins so"):
        import_checkpoint(tmp_path / "peer.pth", "point-mae", tmp_path / "other", SIZES["point-mae"], drop=["head."])


@pytest.mark.parametrize(
    ("chosen", "wrapped_too"),
    [({"drop": ["teacher."]}, True), ({"key": "student"}, True), ({"key": "student"}, False), ({"key": "model.student"}, True)],
)
def test_one_of_two_in_a_flat_file_is_chosen(tmp_path, chosen, wrapped_too):
    weights = weights_of("point-mae")
    flat = {f"student.{name}": value for name, value in weights.items()} | {f"teacher.{name}": 2 * value for name, value in weights.items()}
    torch.save({"model": flat, "epoch": 3} if wrapped_too else flat, tmp_path / "peer.pth")
    report = import_checkpoint(tmp_path / "peer.pth", "point-mae", tmp_path / "run", SMALL, **chosen)
    assert same_features(checkpoint.load(tmp_path / "run").model, stage_of("point-mae"))
    assert {left.name for left in report.dropped} == {name for name in flat if "drop" in chosen and name.startswith("teacher.")}
    with pytest.raises(ValueError, match=r"--drop student\. --drop teacher\. leaves nothing"):
        import_checkpoint(tmp_path / "peer.pth", "point-mae", tmp_path / "other", SMALL, drop=["student.", "teacher."])


def test_counts_of_batches_may_be_missing(imported):
    weights = {name: value for name, value in weights_of("point-mae").items() if not name.endswith("num_batches_tracked")}
    report, run = imported("point-mae", weights, SIZES["point-mae"])
    assert same_features(run.model, stage_of("point-mae"))
    assert sum(left.name.endswith("num_batches_tracked") and left.reason.startswith("0: ") for left in report.missing) == 2


@pytest.mark.parametrize(
    ("channels", "settings", "colored"),
    [(3, [], False), (6, ["encoder.channels=6"], None), (6, ["encoder.channels=6", "points.colored=false"], False)],
)
def test_of_a_model_with_other_channels_it_is_not_known_whether_it_saw_colours(imported, channels, settings, colored):
    torch.manual_seed(1)
    stage = build(configured("point-mae", "distill", [*SIZES["point-mae"], f"encoder.channels={channels}"]), Facts())
    _, run = imported("point-mae", MODULES["point-mae"].to_published(stage.state_dict()), [*SIZES["point-mae"], *settings])
    assert run.header.points.colored is colored


def test_groups_that_need_more_points_are_refused_before_the_run_is_made(imported, tmp_path):
    told = (
        r"200 groups of 16 need at least 200 points, got 64\. Lower encoder\.groups or encoder\.group_size, "
        r"or give the number of points .* --set points\.count=N"
    )
    with pytest.raises(ValueError, match=told):
        imported("point-mae", weights_of("point-mae"), [*SIZES["point-mae"], "encoder.groups=200"])
    assert not (tmp_path / "run").exists()


def test_complex_numbers_are_refused(imported):
    weights = {name: value.to(torch.complex64) if value.ndim == 2 else value for name, value in weights_of("point-mae").items()}
    with pytest.raises(ValueError, match="is of complex numbers"):
        imported("point-mae", weights, SIZES["point-mae"])


def test_one_of_two_is_chosen(imported, tmp_path):
    weights = weights_of("point-mae")
    doubled = {name: 2 * value for name, value in weights.items()}
    with pytest.raises(ValueError, match="say which to take by --key NAME"):
        imported("point-mae", {"model": weights, "ema": doubled}, SIZES["point-mae"])
    import_checkpoint(tmp_path / "peer.pth", "point-mae", tmp_path / "run", SMALL, key="model")
    assert same_features(checkpoint.load(tmp_path / "run").model, stage_of("point-mae"))


@pytest.mark.parametrize(
    ("architecture", "name", "message"),
    [
        ("point-mae", "h_encoder.token_embed.0.x", "--as point-m2ae or --as i2p-mae"),
        ("point-m2ae", "MAE_encoder.norm.weight", "try --as point-mae$"),
        ("point-mae", "MAE_encoder.blocks.layers.0.mixer.D", "try --as pointmamba"),
        ("point-mae", "MAE_encoder.blocks.blocks.0.norm1_contrast.weight", "try --as recon"),
        ("point-mae", "point_encoder.cls_token", "try --as ulip or --as ulip-2"),
        ("ulip-2", "transformer_q.cls_token", "Point-BERT's own pre-training, which mmpd cannot read"),
        ("point-mae", "MAE_encoder.propagation.weight", None),
        ("pointmamba", "MAE_encoder.blocks.layers.0.mixer.norm_ffn.weight", "older PointMamba"),
        ("point-bert", "mask_token", "no architecture 'point-bert'"),
    ],
)
def test_another_architecture_is_named(imported, architecture, name, message):
    with pytest.raises(ValueError, match=message or "is not understood.*'MAE_encoder.propagation.weight'"):
        imported(architecture, {name: torch.ones(3)}, [])


def test_other_sizes_are_told(imported, tmp_path):
    weights = weights_of("point-mae")
    with pytest.raises(ValueError, match=r"is \[16\], expected \[128\].*If the model's sizes differ"):
        imported("point-mae", weights, [])
    del weights["MAE_encoder.norm.bias"]
    with pytest.raises(ValueError, match=r"encoder\.norm\.bias is missing"):
        imported("point-mae", weights, SIZES["point-mae"])
    with pytest.raises(ValueError, match="is read by the encoders pointmae-s, pointmae-b, pointmae-l, pointmae-tiny, not by pointmamba-s"):
        imported("point-mae", weights, ["encoder.name=pointmamba-s"])
    with pytest.raises(ValueError, match=r"an import of point-mae only sets encoder\.\*, distill\.reconstruction_depth, distill"):
        imported("point-mae", weights, ["distill.global_weight=0"])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").touch()
    with pytest.raises(ValueError, match="is in use"):
        imported("point-mae", weights, [])


def test_on_the_command_line(command, tmp_path):  # noqa: F811
    torch.save(wrapped(weights_of("point-m2ae")), tmp_path / "peer.pth")
    sizes = [f"--set={assignment}" for assignment in SIZES["point-m2ae"]]
    code, out, err = command("import", tmp_path / "peer.pth", tmp_path / "a", "--as", "point-m2ae", *sizes)
    assert code == 0 and "2 dropped" in err
    assert "taken    mask_token -> reconstruction.mask_token" in out and "dropped  h_encoder.encoder_norms.0.weight: " in out
    assert "missing  summary.pool.query: the mean of the tokens" in out
    code, out, _ = command("import", tmp_path / "peer.pth", tmp_path / "b", "--as", "point-m2ae", "--json", *sizes)
    body = json.loads(out)
    assert code == 0 and set(body) == {"source", "encoder", "taken", "dropped", "missing", "input", "notes"}
    assert len(body["source"]["sha256"]) == 64
    code, _, exported = command("export", tmp_path / "a", tmp_path / "e.safetensors")
    assert code == 0 and "has the encoder of" in exported and "Input of the published model: 2048 points" in err
    code, _, err = command("import", tmp_path / "peer.pth", tmp_path / "c", "--as", "recon")
    assert code == 2 and "try --as point-m2ae" in err
    assert command("import", tmp_path / "peer.pth", tmp_path / "c", "--as", "point-bert")[0] == 2


def test_the_help_of_the_command_explains_every_architecture(command):  # noqa: F811
    named = re.findall(r"[a-z0-9-]+", command("import", "--help")[1])
    assert set(PEERS) <= set(named)


def test_every_architecture_reads_into_an_encoder_there_is():
    for peer in PEERS.values():
        assert configured(peer.recipe, peer.stage, peer.settings).encoder.name in catalog.ENCODERS


def test_adding_a_peer_is_one_entry(monkeypatch, imported):
    mine = dataclasses.replace(
        PEERS["point-mae"], renamed={"my_encoder.": "MAE_encoder."}, signs=("my_encoder.",), shared_signs=(), implied={}
    )
    monkeypatch.setitem(PEERS, "mine", mine)
    weights = {name.replace("MAE_encoder.", "my_encoder."): value for name, value in weights_of("point-mae").items()}
    report, loaded = imported("mine", weights, SIZES["point-mae"])
    assert report.source.architecture == "mine" and same_features(loaded.model, stage_of("point-mae"))


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["point_encoder.blocks.blocks.0", "open_clip_model.visual.x"], ("ulip", "ulip-2")),
        (["MAE_encoder.blocks.blocks.0.norm1_contrast.weight"], ("recon",)),
        (["ACT_encoder.blocks.blocks.0.x"], ("act",)),
        (["h_encoder.x", "rec_head_3d.weight"], ("i2p-mae",)),
        (["h_encoder.x", "rec_head.weight"], ("point-m2ae",)),
        (["h_encoder.x"], ("point-m2ae", "i2p-mae")),
        (["transformer_q.blocks.blocks.0.x"], ()),
        (["MAE_encoder.blocks.layers.0.mixer.D"], ("pointmamba",)),
        (["MAE_encoder.blocks.blocks.0.x"], ("point-mae",)),
        (["blocks.blocks.0.x"], ("point-mae", "act")),
    ],
)
def test_the_first_sign_that_is_found_tells_the_architecture(names, found):
    assert next(of for sign, of in signs().items() if any(sign in name for name in names)) == found
