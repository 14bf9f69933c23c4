"""The commands: the whole way from a cache to a table, and a user's mistakes in one line each."""

import json
import re
import shutil

import pytest
import torch

from cache_schema import store, synthetic
from cache_schema.spec import LabelSet, PointSpec
from tests.trainer.conftest import SMALL
from trainer import checkpoint, cli, terminal
from trainer.log import Log
from trainer.recipes import RECIPES
from trainer.tasks.catalog import TASKS


@pytest.fixture
def command(monkeypatch, capsys):
    """Call `mmpd-train` as a terminal would: exit code, what was said on stdout, on stderr."""
    monkeypatch.setattr(cli.signals, "install", lambda: None)

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["mmpd-train", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return call


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """A cache with both classes in both splits."""
    path = tmp_path_factory.mktemp("cli") / "shapes.zarr"
    labels = LabelSet(name="source", classes=("cube", "cone"), templates=("a {}",))
    synthetic.write(path, shapes=36, shard=16, points=PointSpec(count=64, blocks=2, ordered=32), labels=labels)
    return path


SMOKE = ["--recipe", "smoke", *(f"--set={assignment}" for assignment in SMALL)]
GPU = pytest.param("auto", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"))


@pytest.mark.parametrize("device", ["cpu", GPU])
def test_from_a_cache_to_a_table(command, shapes, tmp_path, device):
    cache, align, distill = tmp_path / "shapes.zarr", tmp_path / "align", tmp_path / "distill"
    shutil.copytree(shapes, cache)
    for arguments in (
        ["align", cache, align, *SMOKE],
        ["guide", cache, align, "--name", "mine", "--blocks", 1],
        ["distill", cache, distill, "--guide", "mine", "--init", align, *SMOKE],
        ["distill", cache, distill, "--resume"],
    ):
        code, out, err = command(*arguments, "--device", device)
        assert (code, out) == (0, ""), err
        assert "Next: mmpd-train" in err
    assert checkpoint.load(distill).step == 6 and checkpoint.load(distill).config.guide == "mine"
    assert store.open_cache(cache).record("guide/mine").spec.blocks == 1
    single = []
    for run in (align, distill):
        code, out, err = command("eval", "knn", run, cache, "--json", "--device", device)
        assert code == 0, err
        single.append(json.loads(out))
    code, out, err = command("eval", "svm,knn", align, distill, cache, "--json", "--device", device)
    assert code == 0, err
    several = json.loads(out)
    assert [one["task"] for one in several] == ["svm", "knn"] * 2 and several[1::2] == single
    # the setting is knn's; the second run is missing, and the results of the first one are printed
    code, out, err = command("eval", "svm, knn", align, tmp_path / "empty", cache, "--json", "--set", "neighbours=3", "--device", device)
    assert code == 2 and "empty" in err
    assert [(one["task"], dict(one["settings"]).get("neighbours")) for one in json.loads(out)] == [("svm", None), ("knn", "3")]
    code, out, _ = command("eval", "table", align, distill)
    assert code == 0 and "align" in out and "distill" in out
    code, out, _ = command("eval", "compare", align, distill, "--json")
    assert code == 0 and {one["outcome"]["test"] for one in json.loads(out)["comparisons"]} <= {"McNemar", "permutation over shapes"}
    code, out, _ = command("eval", "compare", align, distill, "--against", align)
    assert code == 0 and "Holm" in out
    code, out, _ = command("eval", "table", align, distill, "--json")
    assert [row[0] for row in json.loads(out)["rows"]] == ["align", "distill"]
    code, out, err = command("eval", "table", align, tmp_path / "empty", "--csv")
    assert code == 0 and out.startswith("run,task,") and "empty does not exist: it is left out" in err
    code, _, err = command("curves", align, distill, tmp_path / "empty", tmp_path / "both.svg", "--x", "samples")
    assert code == 0 and (tmp_path / "both.svg").stat().st_size > 5000 and "empty has no metrics: it is left out" in err
    assert command("curves", align, distill)[0] == command("curves", tmp_path / "x.png")[0] == 2


OWNED = "x\x1b]0;owned\x07\x1b[2J"


def test_names_from_a_strangers_cache_do_nothing_to_a_terminal(command, tmp_path):
    classes = (OWNED, "$a_{b$ [red]|", "cone")
    labels = LabelSet(name="source", classes=classes, templates=("a {}",))
    points = PointSpec(count=64, blocks=2, ordered=32)
    cache, run = tmp_path / f"{OWNED}.zarr", tmp_path / f"run{OWNED.replace('/', '')}"
    synthetic.write(cache, shapes=36, shard=16, points=points, labels=labels)
    plain = synthetic.write(
        tmp_path / "plain.zarr",
        shapes=36,
        shard=16,
        points=points,
        labels=LabelSet(name="source", classes=classes[1:], templates=("a {}",)),
    )
    splits = ("--set", "train_split=all", "--set", "test_split=all", "--device", "cpu")
    said = [command("align", cache, run, "--device", "cpu", *SMOKE)]
    said.append(command("eval", "knn", run, plain.path, *splits, "--test-cache", cache))
    assert "\\x1b]0;owned\\x07" in said[-1][1], "a note names the class that is left out"
    said.append(command("eval", "zeroshot", run, cache, "--set", "test_split=all", "--device", "cpu", "--json"))
    assert json.loads(said[-1][1])["scores"]["classes"] == list(classes)
    said += [command("eval", "table", run), command("eval", "table", run, "--markdown"), command("eval", "table", run, "--json")]
    assert OWNED in json.loads(said[-1][1])["rows"][0][0]
    assert [code for code, _, _ in said] == [0] * 6, [err for _, _, err in said]
    said += [command("eval", "knn", run, cache, "--set", "test_split=none", "--device", "cpu"), command("align", cache, run)]
    assert [code for code, _, _ in said[-2:]] == [2, 2]
    for _, out, err in said:
        assert not {c for c in out + err if not c.isprintable()} - {"\n"}


def test_several_caches_can_be_mixed(command, shapes, cache_path, tmp_path):
    code, _, err = command("align", shapes, tmp_path / "run", "--also", cache_path, "--set", "data.passes=2,0.5", "--device", "cpu", *SMOKE)
    assert code == 0, err
    used = checkpoint.load(tmp_path / "run").header.caches
    assert [cache.path for cache in used] == [str(shapes), str(cache_path)]
    assert "shapes.zarr: 24 of 36 shapes; " in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["align", "nowhere.zarr", "run"], "nowhere.zarr does not exist"),
        (["align", "CACHE", "run", "--recipe", "mmpd"], "teacher openclip-bigg14 is not there. Complete: random-a, random-b."),
        (["align", "CACHE", "run", "--recipe", "tinny"], "no recipe 'tinny'; did you mean 'tiny'?"),
        (["align", "CACHE", "run", "--set", "optim.lrr=1"], "OptimConfig has no field 'lrr'; did you mean 'lr'?"),
        (["align", "CACHE", "run", "--recipe", "point-mae"], "recipe point-mae has no stage align"),
        (["distill", "CACHE", "run"], "the student starts from its guide's weights: name the guide's run by --init RUN"),
        (["distill", "CACHE", "run", "--set", "start=random"], "CACHE has no guide"),
        (["distill", "CACHE", "run", "--guide", "a", "--recipe", "point-mae"], "no guide is read from it: leave out --guide"),
        (["guide", "CACHE", "run"], "run is not a folder with a run"),
        (["eval", "svn", "run", "CACHE"], "no task is called 'svn'; did you mean 'svm'?"),
        (["eval", "svm", "run"], "takes a run and a cache, got 1 path: "),
        (
            ["eval", "svm", "run", "CACHE", "CACHE"],
            "CACHE is a cache, and no run: give runs, then one cache; a second cache is tested on by",
        ),
        (["eval", "svm,knn,svm", "run", "CACHE"], "names the task svm twice"),
        (
            ["eval", "svm, knn", "run", "CACHE", "--set", "neighbors=3"],
            "none of the tasks svm, knn has an option 'neighbors'; did you mean",
        ),
        (["eval", "svm,knn", "run", "CACHE", "--set", "c=1", "--set", "neighbours=x"], "task knn: --set neighbours"),
        (["eval", "svm,fewshot", "run", "CACHE", "--keep", "x"], "--keep would give the classifiers of several tasks one name"),
        (["eval", "table", "run", "--set", "c=1", "--device", "cpu"], "--set and --device would have no effect on eval table"),
        (["eval", "svm", "run", "CACHE", "--by", "run", "--markdown"], "--by and --markdown would have no effect on eval svm"),
        (["eval", "table", "run", "--json", "--markdown"], "--json and --markdown are several forms of one table"),
        (["show", "mmdp"], "did you mean 'mmpd'?"),
        (["import", "weights.pth", "run", "--as", "point-mea"], "no architecture 'point-mea'; did you mean 'point-mae'"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(command, shapes, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = command(*(str(shapes) if a == "CACHE" else a for a in arguments))
    assert (code, out) == (2, "")
    assert err.startswith("mmpd-train: ") and message.replace("CACHE", str(shapes)) in err and err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_run_of_the_other_stage_is_not_resumed(command, shapes, aligned, tmp_path):
    shutil.copytree(aligned, tmp_path / "run")
    code, _, err = command("distill", shapes, tmp_path / "run", "--resume")
    assert code == 2 and "is a run of align: mmpd-train align" in err


@pytest.mark.parametrize(
    ("arguments", "advice"), [(("align", "CACHE", "run"), "continue with --resume"), (("show", "tiny"), "Run the same command again")]
)
def test_stopping_exits_with_130_and_says_how_to_go_on(command, shapes, tmp_path, monkeypatch, arguments, advice):
    def stopped(name):
        raise cli.signals.Stopped

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("trainer.recipes.experiment", stopped)
    code, _, err = command(*(str(shapes) if a == "CACHE" else a for a in arguments))
    assert code == 130 and advice in err


def raising(error):
    def experiment(name):
        raise error

    return experiment


def test_a_mistake_of_ours_keeps_its_traceback(command, monkeypatch):
    monkeypatch.setattr("trainer.recipes.experiment", raising(RuntimeError("mat1 and mat2 shapes cannot be multiplied")))
    with pytest.raises(RuntimeError, match="mat1"):
        command("show", "tiny")


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("Tried to allocate 3 GiB.\nSee"), RuntimeError("can't allocate memory")]
)
def test_running_out_of_memory_is_one_line_of_advice(command, monkeypatch, error):
    monkeypatch.setattr("trainer.recipes.experiment", raising(error))
    code, _, err = command("show", "tiny")
    assert code == 2 and err.startswith("mmpd-train: out of memory (") and "--device cpu" in err and err.count("\n") == 1


def test_a_rank_that_fails_alone_speaks(command, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(cli, "ALONE", 0)
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    code, _, err = command("show", "mmdp")
    assert code == 2 and "did you mean 'mmpd'" in err


def test_what_can_be_set_is_shown(command):
    code, out, _ = command("show", "act-like")
    shown = json.loads(out)
    assert code == 0 and shown["distill"]["distill"]["mask_ratio"] == 0.8 and shown["distill"]["encoder"]["depth"] == 12
    assert "c" in json.loads(command("show", "svm")[1]) and "captions" in json.loads(command("show", "retrieval")[1])
    assert json.loads(command("show", "mmpd")[1])["align"]["data"]["captions"] == []
    assert set(json.loads(command("recipes", "--json")[1])) == set(RECIPES)
    assert "point-mae" in command("recipes")[1]


def test_where_no_bar_is_seen_lines_tell_how_long_the_rest_takes(monkeypatch, capsys, tmp_path):
    clock = [1000.0]
    monkeypatch.setattr("cache_schema.terminal.time.monotonic", lambda: clock[0])
    with terminal.progress("vectors") as step:
        for done, seconds in ((2, 0), (3, 5), (4, 5), (12, 30)):
            clock[0] += seconds
            step(done, 12)
    assert "vectors 4/12; about 40 seconds left" in (said := capsys.readouterr().err) and "3/12" not in said
    log = Log(tmp_path, 10, 50, terminal.err)
    for number, seconds in ((15, 5), (20, 5), (50, 5)):
        clock[0] += seconds
        log.write({"step": number, "loss": 1.0})
    log.close()
    said = capsys.readouterr().err
    assert "step 15" not in said and "step 20 of 50: loss 1; about 30 seconds left" in said and "step 50 of 50: loss 1\n" in said


@pytest.mark.parametrize("name", ["align", "guide", "distill", "eval", "import", "export", "show", "recipes"])
def test_every_command_explains_itself(command, name):
    code, out, _ = command(name, "--help")
    assert code == 0 and "mmpd-train" in out
    if name == "eval":
        assert all(task in re.sub(r"-\n\s*", "-", out) for task in TASKS)  # a narrow terminal may fold a name at its hyphen


def test_show_counts_the_parameters_of_an_encoder(command):
    code, out, _ = command("show", "pointmae-b")
    assert code == 0 and json.loads(out)["parameters"] == 85_819_392 and json.loads(out)["encoder"]["dim"] == 768


def test_quiet_shows_results_and_mistakes_only_and_a_log_keeps_the_rest(command, shapes, tmp_path):
    cache, run, log = shutil.copytree(shapes, tmp_path / "shapes.zarr"), tmp_path / "align", tmp_path / "log.txt"
    assert command("align", cache, run, *SMOKE, "--device=cpu", "--quiet", "--log-file", log) == (0, "", "")
    lines = log.read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d .", line) for line in lines)
    assert "mmpd-train align" in lines[0] and re.search(r"step (\d+) of \1", log.read_text()) and "is trained" in lines[-1]
    assert command("--quiet", "guide", cache, run, "--name=mine", "--device=cpu") == (0, "", "")
    code, out, err = command("eval", "knn", run, cache, "--json", "--quiet", f"--log-file={log}")
    assert code == 0 and json.loads(out)["task"] == "knn" and err == ""
    code, out, err = command("guide", cache, run, "--blocks=9", "--quiet", f"--log-file={log}")
    assert code == 2 and "--blocks must lie in" in err and "--blocks must lie in" in log.read_text().splitlines()[-1]
    code, _, err = command("show", "knn", "--log-file", tmp_path / "none" / "log.txt")
    assert code == 2 and "log.txt cannot be written" in err
    code, _, err = command("guide", cache, run, "--name=mine", "--device=cpu")
    assert code == 0 and "now has guide/mine" in err and not cli.log, "nothing stays quiet or logged afterwards"
