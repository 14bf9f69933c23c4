"""Kept classifiers: what is loaded is what was trained, published heads compute what the published models do, a stranger's file is refused.

The published models are those that other tests have written plainly; their heads are applied here layer by layer.
"""

import itertools
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from sklearn.svm import SVC

from cache_schema import store
from cache_schema.errors import UserError
from tests.trainer import test_peers_vit as vit
from tests.trainer import test_pointm2ae as m2ae
from tests.trainer import test_pointmamba as mamba
from tests.trainer.test_cli import command  # noqa: F401
from tests.trainer.test_encoders import close, untrivial
from trainer import checkpoint, classifiers
from trainer.published import heads
from trainer.published.importing import import_checkpoint
from trainer.tasks import catalog, fewshot, svm
from trainer.tasks.features import Body, extract
from trainer.tasks.shapes import of_split

CLASSES = ("torus", "cone", "cube")
"""The cache's classes in another order."""
LEVELS = [f"encoder.{name}={','.join(map(str, m2ae.SMALL[name]))}" for name in ("counts", "sizes", "widths", "depths", "radii")]
SERIAL = ["encoder.groups=16", "encoder.group_size=8", "encoder.dim=24", "encoder.depth=2", "encoder.state=4"]
QUICK = ["epochs=1", "seeds=1", "train_split=all", "test_split=all"]


# ------------------------------------------------------------------------------------------------------------ published heads


def of_token(kind, *sizes):
    model = vit.peer(kind, *sizes)
    return model.state_dict(), model.feature


def of_ulip(channels):
    model = vit.peer(vit.ULIP, channels)
    return model.state_dict(), model.point_encoder.feature


def of_mamba():
    torch.manual_seed(3)
    model = mamba.Published(groups=16, group_size=8, dim=24, depth=2, state=4, decoder_depth=1).eval().requires_grad_(False)
    start = "MAE_encoder."
    weights = {name.removeprefix(start): value for name, value in model.state_dict().items() if name.startswith(start)}
    return weights, lambda points: model.both(points).mean(1)


def of_levels(join):
    torch.manual_seed(3)
    model = m2ae.Published().eval().requires_grad_(False)
    last, weights = "h_encoder.encoder_norms.2.", model.state_dict()
    kept = {name: value for name, value in weights.items() if name.startswith("h_encoder.") and "encoder_norms" not in name}
    kept |= {f"norm.{name.removeprefix(last)}": value for name, value in weights.items() if name.startswith(last)}
    return kept, lambda points: join(model.fine_tuned(points))


def beside(tokens):
    return torch.cat([tokens.mean(1), tokens.max(1).values], 1)


def beside_but_first(tokens):
    return torch.cat([tokens.mean(1), tokens[:, 1:].max(1).values], 1)


def added(tokens):
    return tokens.mean(1) + tokens.max(1).values


# A name with a blank is the architecture with another head.
PUBLISHED = {
    "point-mae": (of_token, (vit.ClassToken,), vit.DISTILL, 3),
    "act": (of_token, (vit.ClassToken,), vit.DISTILL, 3),
    "recon": (of_token, (vit.ReCon,), vit.DISTILL, 3),
    "ulip": (of_ulip, (3,), vit.SIZES, 3),
    "ulip-2": (of_ulip, (6,), vit.SIZES, 6),
    "pointmamba": (of_mamba, (), SERIAL, 3),
    "point-m2ae": (of_levels, (beside_but_first,), [*LEVELS, "encoder.heads=3"], 3),
    "point-m2ae ": (of_levels, (added,), [*LEVELS, "encoder.heads=3"], 3),
    "i2p-mae": (of_levels, (beside,), [*LEVELS, "encoder.heads=3"], 3),
    "i2p-mae ": (of_levels, (added,), [*LEVELS, "encoder.heads=3"], 3),
}

TUNED = ("point-mae", "recon", "pointmamba", "point-m2ae")
"""Architectures that are also tuned: one of each encoder. The others differ in what their published head reads."""


def layer_by_layer(weights, features):
    """The published head by hand, [B, F] to [B, K]."""
    x = features
    for linear, norm in ((0, 1), (4, 5)):
        x = x @ weights[f"{linear}.weight"].T + weights[f"{linear}.bias"]
        x = (x - weights[f"{norm}.running_mean"]) / (weights[f"{norm}.running_var"] + 1e-5).sqrt()
        x = F.relu(x * weights[f"{norm}.weight"] + weights[f"{norm}.bias"])
    return x @ weights["8.weight"].T + weights["8.bias"]


def head_of(features, classes=3):
    layers = [[torch.nn.Linear(wide, 256), torch.nn.BatchNorm1d(256), torch.nn.ReLU(), torch.nn.Dropout()] for wide in (features, 256)]
    head = torch.nn.Sequential(*itertools.chain(*layers), torch.nn.Linear(256, classes)).requires_grad_(False)
    untrivial(head)
    return head.state_dict()


def file_of(tmp_path, made, architecture, points):
    """A fine-tuned file, as the authors save one; its head and the function that gives the features that the head reads."""
    kind, sizes, _, channels = PUBLISHED[made]
    weights, features = kind(*sizes)
    head = head_of(features(points[..., :channels]).shape[1])
    prefix = "point_encoder." if architecture.startswith("ulip") else ""
    weights = weights | {f"{prefix}cls_head_finetune.{name}": value for name, value in head.items()}
    torch.save({"base_model": {f"module.{name}": value for name, value in weights.items()}}, tmp_path / "peer.pth")
    (tmp_path / "names.txt").write_bytes("\ufefftorus\r\ncone \r\ncube\r\n\r\n".encode())
    return head, features


def imported(tmp_path, made, *, run="run", **options):
    architecture = made.strip()
    teacher = {"teacher": "random-a"} if architecture.startswith("ulip") else {}
    sizes = [*PUBLISHED[made][2], "points.count=64"]
    return import_checkpoint(tmp_path / "peer.pth", architecture, tmp_path / run, sizes, **teacher, **options)


@pytest.mark.parametrize("made", PUBLISHED)
def test_a_published_head_is_kept_with_the_features_that_it_reads(made, tmp_path, cache_path):
    torch.manual_seed(0)
    points, channels = torch.cat([torch.randn(4, 64, 3), torch.rand(4, 64, 3)], -1), PUBLISHED[made][3]
    head, features = file_of(tmp_path, made, made.strip(), points)
    report = imported(tmp_path, made, classes=str(tmp_path / "names.txt"))
    assert sum("classifiers/published: head." in tensor.ours[0] for tensor in report.taken) == len(head) and not report.dropped
    kept = classifiers.load(tmp_path / "run", "published")
    assert kept.classes == CLASSES and kept.convention.count == 64 and kept.about.named
    expected = layer_by_layer(head, features(points[..., :channels]))
    assert close(kept.logits(points[..., :channels], ordered=False), expected)
    if made != made.strip():
        return  # the rest was seen with the other head of this architecture

    cache, loaded = store.open_cache(cache_path), checkpoint.load(tmp_path / "run")
    shapes = of_split(cache, "all")
    found = extract(kept.body, shapes, 0, kept.head)
    assert close(found[:6], layer_by_layer(head, features(shapes.points(np.arange(6), 0, channels))))
    right = [CLASSES[i] == shapes.classes[label] for i, label in zip(found.argmax(1).tolist(), shapes.labels, strict=True)]
    result = catalog.measure(loaded, "published", cache, ["test_split=all"])
    assert result.scores.metrics[0].values == pytest.approx((100 * np.mean(right),)) and 0 < np.mean(right) < 1
    assert result.title == "classify as published, small all" and any("without votes" in note for note in result.scores.notes)
    assert any("no fine-tuned file" in note for note in result.scores.notes) == made.startswith("ulip")

    if made not in TUNED:
        return
    tuned = catalog.evaluate("classify", loaded, cache, catalog.options("classify", [*QUICK, "tune=full"]))
    catalog.keep(tuned, loaded, "mine")
    again = catalog.measure(checkpoint.load(tmp_path / "run"), "mine", cache, ["test_split=all"])
    assert again.scores.metrics[0] == tuned.scores.metrics[0] and again.scores.confusion == tuned.scores.confusion
    assert classifiers.names(tmp_path / "run") == ("mine", "published")


def test_heads_that_are_not_understood_are_dropped_with_the_reason(tmp_path):
    head, _ = file_of(tmp_path, "point-mae", "point-mae", torch.randn(2, 64, 6))
    weights = torch.load(tmp_path / "peer.pth")["base_model"]
    start = "module.cls_head_finetune."

    def again(changes, reason, run):
        torch.save({name: value for name, value in (weights | changes).items() if value is not None}, tmp_path / "peer.pth")
        report = imported(tmp_path, "point-mae", run=run)
        assert all(reason in tensor.reason for tensor in report.dropped) and len(report.dropped) >= len(head) - 1
        assert not classifiers.names(tmp_path / run)
        with pytest.raises(UserError, match=r"--classes scanobjectnn: .* has no classifier that could be kept, since"):
            imported(tmp_path, "point-mae", run="none", classes="scanobjectnn")

    again({start + "5.running_mean": None}, "5.running_mean is missing", "a")
    again({start + "0.weight": torch.ones(256, 30)}, "it reads 30 features, the published classifier 48", "b")
    again({start + "8.weight": torch.ones(3, 7)}, "8.weight is [3, 7], expected [3, 256]", "c")
    again({"module.cls_token": None, "module.cls_pos": None}, "the file has no learnt_tokens", "d")
    with pytest.raises(UserError, match=r"cls_head_finetune\.8\.bias is not finite"):
        torch.save(weights | {start + "8.bias": torch.full((3,), torch.nan)}, tmp_path / "peer.pth")
        imported(tmp_path, "point-mae", run="e")
    linear = {name: value for name, value in weights.items() if start not in name}
    linear |= {start + "0.weight": torch.ones(5, 48).half(), start + "0.bias": torch.ones(5)}  # as for linear probing, in half precision
    torch.save(linear, tmp_path / "peer.pth")
    report = imported(tmp_path, "point-mae", run="f")
    assert any("5 classes, whose names are not known" in note for note in report.notes)
    assert classifiers.load(tmp_path / "f", "published").classes == ("0", "1", "2", "3", "4")


def test_classes_without_names_are_not_compared_and_others_must_fit(tmp_path, cache_path):
    file_of(tmp_path, "point-mae", "point-mae", torch.randn(2, 64, 6))
    imported(tmp_path, "point-mae")
    loaded = checkpoint.load(tmp_path / "run")
    assert any("called by number" in note for note in classifiers.load(tmp_path / "run", "published", loaded=loaded).notes)
    with pytest.raises(UserError, match="import it again with --classes"):
        catalog.measure(loaded, "published", store.open_cache(cache_path), ["test_split=all"])
    with pytest.raises(UserError, match="modelnet40 has 40 names, but the classifier of the file has 3 classes"):
        imported(tmp_path, "point-mae", run="b", classes="modelnet40")
    assert not (tmp_path / "b").exists()
    file = tmp_path / "names.txt"
    for content, message in ((b"a\n\nb\n", "line 2 has none"), (b"a\nb\na\n", "'a' twice"), (b"\xff\xfea", "no text in UTF-8")):
        file.write_bytes(content)
        with pytest.raises(UserError, match=message):
            heads.class_names(str(file), 3)
    with pytest.raises(UserError, match="neither a file nor a list; did you mean 'scanobjectnn'"):
        heads.class_names("scanobjctnn", 3)


def test_what_differs_from_the_published_fine_tuning_is_said(tmp_path):
    names = [f"class {i}" for i in range(15)]
    weights, _ = of_token(vit.ClassToken)
    torch.save(weights | {f"cls_head_finetune.{name}": value for name, value in head_of(48, 15).items()}, tmp_path / "peer.pth")
    report = imported(tmp_path, "point-mae", classes="scanobjectnn")
    (note,) = [note for note in report.notes if "were fine-tuned with" in note]
    assert "points.count=2048 (here 64), points.normalize=none (here unit_sphere), encoder.groups=128 (here 16)" in note
    (tmp_path / "names.txt").write_text("\n".join(names))
    assert not [
        note for note in imported(tmp_path, "point-mae", run="b", classes=str(tmp_path / "names.txt")).notes if "tuned with" in note
    ]


# ------------------------------------------------------------------------------------------------------- kept by an evaluation


@pytest.fixture
def run(aligned, tmp_path):
    return shutil.copytree(aligned, tmp_path / "run")


@pytest.mark.parametrize(
    ("task", "assignments", "own"),
    [
        ("classify", ["tune=linear"], False),
        ("classify", ["tune=mlp", "pool=summary_max"], False),
        ("classify", ["tune=linear", "scratch=true"], True),
        ("classify", ["tune=full", "pool=summary"], True),
        ("classify", ["tune=full", "pool=max", "class_token=true", "drop_path=0.2"], True),
        ("classify", ["tune=linear", "groups=8", "group_size=16", "points=48"], False),
        ("classify", ["tune=lora", "efficient.lora_rank=3"], True),
        ("classify", ["tune=prompt"], True),
        ("classify", ["tune=pointgst", "efficient.window=8"], True),
        ("classify", ["tune=adapter", "efficient.adapter_width=3"], True),
        ("classify", ["tune=most", "efficient.monarch_blocks=4"], True),
        ("classify", ["tune=pointlora", "efficient.selected=4", "efficient.selected_large=2"], True),
        ("svm", ["c=0.1"], False),
        ("svm", ["c=0.1", "pool=depths"], False),
    ],
)
def test_what_is_loaded_is_what_was_trained(task, assignments, own, run, cache_path):
    loaded, cache = checkpoint.load(run), store.open_cache(cache_path)
    quick = QUICK if task == "classify" else QUICK[2:]
    result = catalog.evaluate(task, loaded, cache, catalog.options(task, [*quick, *assignments]))
    file, _ = catalog.keep(result, loaded, "mine")
    kept, trained, shapes = classifiers.load(run, "mine"), result.scores.trained, of_split(cache, "all")
    assert torch.equal(extract(kept.body, shapes, 0, kept.head), extract(trained.body, shapes, 0, trained.head))
    measured = catalog.measure(loaded, "mine", cache, ["test_split=all"]).scores
    assert measured.metrics[0].values[0] == result.scores.metrics[0].values[0] == kept.about.origin.score.values[0]
    assert kept.about.own == own == any(name.startswith("body.") for name in safetensors.torch.load_file(file))
    written = file.read_bytes()
    catalog.keep(result, loaded, "mine")  # the same once more
    assert file.read_bytes() == written
    assert any("are also training shapes" in note for note in measured.notes)


def test_a_few_shot_classifier_knows_the_classes_of_its_fold(run, cache_path):
    loaded, cache = checkpoint.load(run), store.open_cache(cache_path)
    options = ["ways=2", "shots=3", "folds=2", "queries=5", *QUICK[2:]]
    for by in (["by=svm"], ["by=finetune", "training.epochs=1", "training.tune=linear"]):
        result = catalog.evaluate("fewshot", loaded, cache, catalog.options("fewshot", [*options, *by]))
        _, which = catalog.keep(result, loaded, by[0][3:])
        kept = classifiers.load(run, by[0][3:])
        shapes = of_split(cache, "all")
        learned, asked = fewshot.deal(shapes, shapes, catalog.options("fewshot", options), 0)
        assert set(kept.classes) == {shapes.classes[label] for label in shapes.labels[learned]} and which.startswith("fold 0 of 2")
        queries = shapes.of(asked)
        found = [kept.classes[i] for i in extract(kept.body, queries, 0, kept.head).argmax(1).tolist()]
        right = [name == shapes.classes[label] for name, label in zip(found, queries.labels, strict=True)]
        assert kept.about.origin.score.values[0] == result.scores.metrics[0].values[0] == pytest.approx(100 * np.mean(right))


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_votes_are_those_of_the_svm(classes):
    rng = np.random.default_rng(classes)
    x, y = rng.standard_normal((90, 5)).astype(np.float32) * 3 + 1, np.arange(90) % classes
    probe = svm.fit(x, y, 1.0)
    head = svm.voting(probe, classes)
    new = np.concatenate([x, rng.standard_normal((500, 5)).astype(np.float32) * 5])
    votes = head(torch.from_numpy(new))
    assert (votes.argmax(1).numpy() == probe.predict(new)).all()
    assert (votes.round().sum(1) == classes * (classes - 1) / 2).all() and isinstance(probe[-1], SVC)
    shares = classifiers.Kept.scores(SimpleNamespace(votes=True), votes)
    assert (shares == 0).any() and not shares.signbit().any()  # "-0.000" would puzzle a reader


def test_a_head_for_other_weights_is_refused_and_a_tuned_one_says_so(run, cache_path):
    loaded, cache = checkpoint.load(run), store.open_cache(cache_path)
    for name, tune in (("head", "linear"), ("whole", "full")):
        catalog.keep(catalog.evaluate("classify", loaded, cache, catalog.options("classify", [*QUICK, f"tune={tune}"])), loaded, name)
    model = loaded.model
    with torch.no_grad():
        next(model.encoder.parameters()).add_(1)
    checkpoint.save(run, loaded.header, model, {}, {})
    with pytest.raises(UserError, match="is a head for other weights than those of"):
        classifiers.load(run, "head")
    assert any("made from other weights" in note for note in classifiers.load(run, "whole").notes)


def test_another_classifier_of_a_name_is_refused_before_the_training(run, cache_path):
    loaded, cache = checkpoint.load(run), store.open_cache(cache_path)
    chosen = [catalog.options("classify", [*QUICK, "tune=linear", f"lr={rate}"]) for rate in (0.001, 0.002)]
    catalog.check_keep("classify", loaded, "mine", chosen[0])
    results = [catalog.evaluate("classify", loaded, cache, options) for options in chosen]
    catalog.keep(results[0], loaded, "mine")
    catalog.check_keep("classify", loaded, "mine", chosen[0])
    for attempt in (lambda: catalog.check_keep("classify", loaded, "mine", chosen[1]), lambda: catalog.keep(results[1], loaded, "mine")):
        with pytest.raises(UserError, match="has another classifier called mine"):
            attempt()
    with pytest.raises(UserError, match=r"eval knn trains no classifier .* these do: svm, fewshot, classify"):
        catalog.check_keep("knn", loaded, "mine", catalog.options("knn"))
    with pytest.raises(ValueError, match="a kept classifier reads one block at a time"):
        catalog.check_keep("svm", loaded, "mine", catalog.options("svm", ["average=true"]))
    for name in ("../x", "", ".x", "a/b", "a b", "x" * 101, "a.safetensors", "q@a", "published"):
        with pytest.raises(UserError, match=r"a classifier cannot be called|is the name of the classifier that an imported run has"):
            catalog.check_keep("classify", loaded, name, chosen[0])


def _header(file, change):
    tensors = safetensors.torch.load_file(file)
    with safetensors.safe_open(file, "pt") as opened:
        body = json.loads(opened.metadata()[classifiers.METADATA])
    change(body, tensors)
    file.write_bytes(safetensors.torch.save(tensors, {classifiers.METADATA: json.dumps(body)}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b, t: b["about"].update(format=3), "format 3, this software reads 1 and 2"),
        (lambda b, t: b.pop("about"), "its header has another form"),
        (lambda b, t: b.pop("encoder"), "expected an object"),
        (lambda b, t: b["about"].update(mine=1), "has no field 'mine'"),
        (lambda b, t: b["about"].update(encoder="none"), "no encoder is called 'none'"),
        (lambda b, t: b["about"].update(classes=["a"]), "needs two classes"),
        (lambda b, t: b["about"].update(classes=["a", "b"]), r"head.0.weight is \[3, 96\], expected \[2, 96\]"),
        (lambda b, t: b["about"].update(classes=["a", "b", 3]), "expected str, got 3"),
        (lambda b, t: b["about"].update(pool="best"), "expected one of"),
        (lambda b, t: b["about"]["form"].update(features=-1), "cannot be"),
        (lambda b, t: b["about"]["form"].update(hidden=[5]), "those of another model"),
        (lambda b, t: t.pop("head.0.bias"), "head.0.bias is missing"),
        (lambda b, t: t.update({"head.9.bias": torch.ones(2)}), "head.9.bias is not expected"),
        (lambda b, t: t["head.0.weight"].fill_(torch.inf), "head.0.weight is not finite"),
        (lambda b, t: t.update({"head.0.weight": t["head.0.weight"].half()}), "is of torch.float16, expected torch.float32"),
        (lambda b, t: b["about"].update(own=True), "body.encoder"),
        (lambda b, t: b["about"].update(classes=["a", "b", "a"]), "two classes called 'a'"),
        (lambda b, t: b["about"].update(classes=["a", "b", " "]), "has an empty name"),
        (lambda b, t: b["about"]["form"].update(features=10**9), "a size of more than"),
        (lambda b, t: b["about"]["form"].update(features=10**18), "a size of more than"),
        (lambda b, t: b["about"]["form"].update(hidden=[2**20] * 4), "larger than its tensors"),
        (lambda b, t: b["about"]["form"].update(hidden=[1] * 200_000), "larger than its tensors"),
        (lambda b, t: b["about"].update(form={"kind": "votes", "features": 5}, classes=[str(i) for i in range(10**5)]), "larger than its"),
        (lambda b, t: b["encoder"].update(depth=2**20), "larger than its tensors"),
        (lambda b, t: b["encoder"].update(dim=3 * 2**17), "larger than its tensors"),
        (lambda b, t: b["about"].update(own=True) or b["encoder"].update(depth=10**9), "a size of more than"),
    ],
)
def test_a_changed_file_is_refused(change, message, run, cache_path):
    loaded, cache = checkpoint.load(run), store.open_cache(cache_path)
    catalog.keep(catalog.evaluate("classify", loaded, cache, catalog.options("classify", [*QUICK, "tune=linear"])), loaded, "mine")
    _header(classifiers.path(run, "mine"), change)
    with pytest.raises(UserError, match=message) as error:
        classifiers.load(run, "mine", loaded=loaded)
    assert "\n" not in str(error.value) and "mine.safetensors" in str(error.value)


@pytest.mark.parametrize("sizes", [{"depth": 2**20}, {"dim": 3 * 2**17}, {"dim": 10**18, "heads": 1}])
def test_a_run_whose_header_asks_for_more_than_its_tensors_is_refused(sizes, run):
    file = checkpoint.path(run)
    with safetensors.safe_open(file, "pt") as opened:
        body = json.loads(opened.metadata()[checkpoint.METADATA])
    body["encoder"] |= sizes
    file.write_bytes(safetensors.torch.save(safetensors.torch.load_file(file), {checkpoint.METADATA: json.dumps(body)}))
    with pytest.raises(UserError, match=r"last\.safetensors is damaged, .*(larger than its tensors|a size of more than)"):
        checkpoint.load(run)


def test_what_is_no_file_of_ours_is_refused(run):
    folder = run / classifiers.FOLDER
    folder.mkdir()
    torch.save({"a": torch.ones(2)}, folder / "pickle.safetensors")
    (folder / "text.safetensors").write_text("hello, I am no such file")
    (folder / "empty.safetensors").touch()
    shutil.copy(run / "last.safetensors", folder / "run.safetensors")
    (folder / "cut.safetensors").write_bytes((run / "last.safetensors").read_bytes()[:-9])
    for name, message in {
        "pickle": "is a pickle by its first bytes",
        "text": "is no safetensors file",
        "empty": "is no safetensors file",
        "run": "is no classifier of mmpd",
        "cut": "is cut short or damaged",
        "txt": "has no classifier 'txt'; did you mean 'text'",
    }.items():
        with pytest.raises(UserError, match=message):
            classifiers.load(run, name)
    assert classifiers.names(run.parent) == () and len(classifiers.names(run)) == 5


def test_from_keeping_to_measuring_on_the_command_line(command, run, cache_path):  # noqa: F811
    quick = [f"--set={assignment}" for assignment in (*QUICK, "tune=linear")]
    code, out, err = command("eval", "classify", run, cache_path, "--keep", "mine", "--json", "--device", "cpu", *quick)
    first = json.loads(out)
    assert code == 0 and "The classifier of seed 0 of 1 is in" in err and "predict" in err and "trained" not in first["scores"]
    code, out, _ = command("eval", "classify", run, cache_path, "--classifier", "mine", "--json", "--device", "cpu", "--set=test_split=all")
    second = json.loads(out)
    assert code == 0 and second["scores"]["metrics"] == first["scores"]["metrics"] and second["scores"]["variant"] == "linear kept as mine"
    code, out, err = command("predict", run, cache_path, "--classifier", "mine", "--json", "--device", "cpu", "--split", "test")
    found = json.loads(out)
    count = sum(shape["status"] == "ok" for shape in found["shapes"])
    note = f"mine has learned from {count} of these {count} shapes: it knows them"
    assert code == 0 and count and note in found["notes"] and note in " ".join(err.split())
    for arguments, message in (
        (["--classifier", "mine", "--keep", "b"], "without training: give neither"),
        (["--classifier", "mine", "--as-published"], "without training: give neither"),
        (["--classifier", "mine", "--set=lr=1"], "--set lr=1 would have no effect"),
        (["--classifier", "other"], "has no classifier 'other'; did you mean|has no classifier 'other'; there is: mine"),
        (["--as-published"], "has no classifier 'published'; there is: mine"),
    ):
        code, _, err = command("eval", "classify", run, cache_path, *arguments)
        assert code == 2
        assert any(part in " ".join(err.split()) for part in message.split("|")), err
    assert command("eval", "svm", run, cache_path, "--classifier", "mine")[0] == 2


def test_several_test_caches_share_a_training(run, cache_path, monkeypatch):
    from trainer.tasks import classify, features

    loaded, cache, trainings = checkpoint.load(run), store.open_cache(cache_path), []
    learn = classify.learn
    monkeypatch.setattr(classify, "learn", lambda *arguments: trainings.append(1) or learn(*arguments))
    with features.once():
        both = [catalog.evaluate("classify", loaded, cache, catalog.options("classify", QUICK), other) for other in (None, cache)]
    assert len(trainings) == 1 and both[0].scores.metrics == both[1].scores.metrics
    assert isinstance(both[0].scores.trained.body, Body)
