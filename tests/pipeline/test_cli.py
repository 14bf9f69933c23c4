"""The command line as a user meets it: exit codes, one clear line for a mistake, JSON for scripts, a help that teaches."""

import contextlib
import io
import itertools
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

from cache_schema import files, lacking, spec, store, synthetic
from cache_schema.layout import text_cells
from cache_schema.terminal import printable
from pipeline import cli, cli_look, terminal
from tests.forks import Command
from tests.pipeline.conftest import box_off

ROOT = Path(__file__).parents[2]


def run(*arguments):
    """The command in this process, which need not load anything again: exit code, what was said on stdout, on stderr."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as out:
        with contextlib.redirect_stderr(io.StringIO()) as err:
            patch.chdir(ROOT)
            patch.setenv("COLUMNS", "300")
            patch.setattr(terminal.out, "width", 300)
            patch.setattr(terminal.err, "width", 300)
            patch.setattr(sys, "argv", ["mmpd-cache", *map(str, arguments)])
            try:
                cli.main()
                code = 0
            except SystemExit as ended:
                code = ended.code or 0
            finally:
                for number, handler in handlers.items():
                    signal.signal(number, handler)
    return code, out.getvalue(), err.getvalue()


COMMANDS = list(typer.main.get_command(cli.app).commands)


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_explains(command):
    code, out, _ = run(*filter(None, [command]), "--help")
    assert code == 0
    assert "Usage:" in out
    assert all(name in out for name in COMMANDS) or command


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("status", "nothing.zarr"), "nothing.zarr does not exist. `mmpd-cache build SOURCE nothing.zarr` makes one."),
        (("build", "starter", "x.zarr", "--recipe", "smok"), "did you mean 'smoke'?"),
        (("build", "starter", "x.zarr", "--set", "points.blcoks=2"), "did you mean 'blocks'?"),
        (("build", "starter", "x.zarr", "--set", "views.rig=rng30"), "did you mean 'ring30'?"),
        (("build", "nowhere/", "x.zarr"), "nowhere"),
        (("recipes", "none"), "no recipe 'none'"),
        (("build", "starter", "x.zarr", "--device", "cuda:99"), "device 'cuda:99' cannot be used ("),
        (("build", "starter", "x.zarr", "--device", "nothing"), "`--device cpu` works everywhere"),
        (("build", "starter", "x.zarr", "--set", "views.background=300,0,0"), "views.background"),
        (("build", "starter", "x.zarr", "--set", "limits.memory_gib=inf"), "limits.memory_gib: expected a number, got inf"),
        (("build", "starter", "x.zarr", "--set", "captions.max_tokens=0"), "captions.max_tokens must be a number from 1"),
        (
            ("build", "starter", "x.zarr", "--recipe", "points", "--set", "points.parts=leg,seat"),
            "points.parts, points.instances and points.origins: the source decides",
        ),
        (
            ("build", "starter", "x.zarr", "--recipe", "points", "--set", "points.instances=true"),
            "points.parts, points.instances and points.origins: the source decides",
        ),
        (("build", "starter", "x.zarr", "--set", "teachers=nobody"), "no teacher 'nobody'"),
        (("build", "starter", "x.zarr", "--set", "captions.rank_by=starter-attributes"), "has no text side"),
        (("build", "starter", "README.md/x.zarr", "--recipe", "points"), "README.md is a file"),
        (("build", "starter", "README.md", "--recipe", "points"), "README.md is a file; give the name of a folder"),
        (("build", "starter", "tests", "--recipe", "points"), "tests exists and is no cache"),
        (("build", "starter", "x.zarr", "--scheduler", "nonsense://x"), "nonsense://x"),
        (("retry", "x.zarr"), "x.zarr does not exist"),
        (("retry", "x.zarr", "--set", "points.count=3"), "limits.memory_gib and captions.server.NAME, got points.count=3"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(arguments, words):
    code, out, err = run(*arguments)
    assert code == 2
    assert words in err
    assert "Traceback" not in err
    assert out == ""
    assert err.count("\n") <= 6  # loading models may be said before
    assert not [
        name for name in ("x.zarr", "x.zarr.journal", "x.zarr.lock", "README.md.journal", "tests.journal") if (ROOT / name).exists()
    ]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return synthetic.write(tmp_path_factory.mktemp("cli") / "c.zarr", failed=(2,)).path


def test_status_info_and_verify_speak_json(cache):
    code, out, _ = run("status", cache, "--json")
    status = json.loads(out)
    assert code == 0
    assert status["shapes"] == {"ok": 23, "failed": 1, "pending": 0}
    assert status["failed"] == [{"id": "torus/000002", "reason": "synthetic failure"}]
    info = json.loads(run("info", cache, "--json")[1])
    assert info["products"]["image/random-a"]["spec"]["dim"] == 32
    for told in (status, info):
        assert (told["format"], told["licences"]) == (2, {}) and "segments" not in told
    assert info["products"]["points"]["fingerprint"] == store.open_cache(cache).record("points").fingerprint
    assert run("verify", cache, "--json")[:2] == (0, '{\n  "problems": []\n}\n')


def test_status_and_info_tell_licences_and_segments(tmp_path):
    made = spec.Manifest(shapes=11, shard=4, segments=(6, 3), licences=("CC0", "MIT"), source=spec.SourceSpec(kind="synthetic", ids=""))
    ids = [f"shape/{row}" for row in range(11)]
    cache = store.create(tmp_path / "c.zarr", made, ids, [-1] * 11, [-1] * 11, [0, 0, 1, 1, 1, -1, -1, -1, 0, 0, 0])
    for command in ("status", "info"):
        told = json.loads(run(command, cache.path, "--json")[1])
        assert told["licences"] == {"CC0": 5, "MIT": 3, "(none)": 1} and told["segments"] == [6, 3]
        out = run(command, cache.path)[1]
        assert "licences: 5 CC0, 3 MIT, 1 (none)" in out and "segments: 6 shapes, 3 shapes" in out


def test_info_of_an_older_format_says_how_to_convert_it(tmp_path):
    cache = synthetic.write(tmp_path / "c.zarr", format_version=1)
    assert "format 1; `mmpd-cache copy` converts it" in run("info", cache.path)[1]
    assert json.loads(run("info", cache.path, "--json")[1])["format"] == 1


def test_verify_exits_with_1_and_the_files_name(tmp_path):
    cache = synthetic.write(tmp_path / "c.zarr")
    file = cache.path / "points/rgb/c/1/0/0/0"
    data = bytearray(file.read_bytes())
    data[7] ^= 1
    file.write_bytes(data)
    code, out, _ = run("verify", cache.path)
    assert code == 1
    assert "points/rgb/c/1/0/0/0: corrupt" in out


def test_strict_turns_failed_shapes_into_an_exit_code(meshes, tmp_path):
    arguments = ("build", meshes, tmp_path / "c.zarr", "--recipe", "points", "--workers", "1")
    code, _, err = run(*arguments)
    assert code == 0
    assert "7 shapes ok, 2 failed" in err
    assert Command(("mmpd-cache", *arguments, "--strict"), tmp_path / "said").end() == 1


def test_when_every_shape_failed_nothing_has_succeeded(tmp_path):
    (tmp_path / "m").mkdir()
    for name in ("a.off", "b.off"):
        (tmp_path / "m" / name).write_text("")
    code, _, err = run("build", tmp_path / "m", tmp_path / "c.zarr", "--recipe", "points", "--workers", "1")
    assert code == 1
    assert "0 shapes ok, 2 failed" in err and "Traceback" not in err


def test_a_mended_shape_is_tried_again(meshes, tmp_path):
    folder = shutil.copytree(meshes, tmp_path / "m")
    arguments = ("build", folder, tmp_path / "c.zarr", "--recipe", "points", "--workers", "1")
    assert run(*arguments)[0] == 0
    (folder / "slab/train/broken.off").write_text(box_off((1, 2, 3)))
    code, _, err = run("retry", tmp_path / "c.zarr", "--workers", "1")
    assert code == 0
    assert "2 failed shapes tried again: 1 ok now, 1 failed again." in err
    assert "8 shapes ok, 1 failed" in err
    assert run("verify", tmp_path / "c.zarr")[0] == 0


def test_remarks_are_counted_and_listed(tmp_path):
    cache = synthetic.write(tmp_path / "c.zarr", failed=(2,))
    record = cache.records()["status"]
    for shard in range(cache.manifest.shards):
        columns = {node.path: cache.shard_rows(node, shard).copy() for node in cache.arrays(record)}
        columns["reason"][columns["status"] == 1] = text_cells(["its texture is grey\x1b[31m"])[0]
        columns["repeated"][0] = 1
        cache.reopen(record, shard)
        cache.write(cache.records()["status"], shard, columns)
    cache.finish(cache.records()["status"])
    code, out, _ = run("status", cache.path)
    assert code == 0
    assert "23 of the ok shapes have a remark" in out and "and 3 more with a remark" in out
    assert out.count("remark  ") == 20 and "its texture is grey\\x1b[31m" in out and "\x1b" not in out
    assert "3 of the ok shapes have fewer points" in out and "in blocks of 64, 64 differ" in out
    body = json.loads(run("status", cache.path, "--json")[1])
    assert body["remarked"] == len(body["remarks"]) == 23 and body["repeated"] == 3


@pytest.mark.parametrize("how", ["gone", "cut"])
def test_status_and_info_also_show_a_cache_whose_points_are_damaged(how, tmp_path):
    cache = synthetic.write(tmp_path / "c.zarr", shapes=10, real=(9, 64))
    file = next(path for path in sorted((tmp_path / "c.zarr" / "points" / "xyz" / "c").rglob("*")) if path.is_file())
    file.unlink() if how == "gone" else os.truncate(file, file.stat().st_size // 2)
    for command in ("status", "info"):
        code, out, _ = run(command, cache.path)
        assert code == 0 and "points not counted: " in out and "points/xyz" in out
        body = json.loads(run(command, cache.path, "--json")[1])
        assert body["uncounted"].startswith("points not counted: ") and "scarce" not in body and body["products"]


@pytest.mark.parametrize("how", ["gone", "cut", "lacking"])
def test_status_and_info_also_show_a_cache_whose_captions_are_damaged(how, built, tmp_path, monkeypatch):
    shutil.copytree(built, tmp_path / "c.zarr")
    cache = store.open_cache(tmp_path / "c.zarr")
    assert json.loads(run("info", cache.path, "--json")[1])["textless"] == []
    record = cache.record("captions/blip2")
    if how == "lacking":  # `status` then looks for the shapes that lack a text
        monkeypatch.setattr(lacking, "may_lack", lambda record: record.kind == "captions")
        monkeypatch.setattr(spec.Record, "lacking", 99)
    file = cache.path / cache.arrays(record)[0].key(0)
    file.unlink() if how == "gone" else os.truncate(file, file.stat().st_size // 2)
    for command, said in (("status", "what shapes lack is not known: "), ("info", "whether captions have texts is not known: ")):
        code, out, _ = run(command, cache.path)
        assert code == 0 and said in out and "captions/blip2/text" in out and "points" in out
        body = json.loads(run(command, cache.path, "--json")[1])
        assert "captions/blip2/text" in body["unseen"] and body["textless"] == [] and body["products"]


def test_the_list_of_failed_shapes_ends_somewhere(tmp_path, monkeypatch):
    cache = synthetic.write(tmp_path / "c.zarr", failed=(2, 5, 8))
    monkeypatch.setattr(cli_look, "FAILED_LISTED", 2)
    _, out, _ = run("status", cache.path)
    assert out.count("failed  ") == 2 and "and 1 more that failed; --json lists all" in out
    assert len(json.loads(run("status", cache.path, "--json")[1])["failed"]) == 3


@pytest.mark.parametrize("name", ["[/oops].zarr", "[red]x.zarr", "a\x1b[2Jb.zarr", "a\u202eb.zarr"])
def test_outside_text_is_shown_and_does_nothing(tmp_path, name):
    code, out, err = run("status", tmp_path / name)
    assert code == 2 and "Traceback" not in err
    assert "\x1b" not in err and "\u202e" not in err
    assert printable(name) in err
    cache = synthetic.write(tmp_path / name)
    for command in ("info", "status", "verify"):
        code, out, err = run(command, cache.path)
        assert code == 0, err
        assert "\x1b" not in out and "\u202e" not in out
    assert json.loads(run("info", cache.path, "--json")[1])["path"] == str(cache.path)


HEAVY = [
    "torch",
    "torchvision",
    "open_clip",
    "transformers",
    "safetensors",
    "huggingface_hub",
    "pyrender",
    "trimesh",
    "scipy",
    "PIL",
    "h5py",
    "fpsample",
    "jinja2",
    "dask",
    "distributed",
]
BARE = f"""
import json, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
from pipeline.cli import main
for words in json.loads(sys.argv[1]):
    sys.argv, code = ["mmpd-cache", *words], 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code or 0
    for stream in (sys.stdout, sys.stderr):
        print(f"ended with {{code}}", file=stream, flush=True)
"""
ANSWERS = [
    (("teachers",), 0, "dinov2-small"),
    (("captioners",), 0, "blip2-opt-2.7b"),
    (("captioners", "--json"), 0, '"about": "no model'),
    (("recipes",), 0, "clip-dino"),
    (("recipes", "default"), 0, "starter-blip2"),
    (("sources",), 0, "modelnet"),
    (("--version",), 0, "mmpd 0."),
    (("build", "starter", "x.zarr"), 2, "needs the package torch, which is not installed: pip install 'mmpd[pipeline]'"),
    (("status", "nothing.zarr"), 2, "nothing.zarr does not exist"),
]


@pytest.fixture(scope="module")
def bare():
    """What each command says where the extra is missing, and its exit status, on stdout and on stderr: all in one process, which imports
    what they need once."""
    line = [sys.executable, "-c", BARE, json.dumps([words for words, *_ in ANSWERS])]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "COLUMNS": "300"})
    assert done.returncode == 0, done.stderr
    return [
        [(said, int(code)) for said, code in re.findall(r"(.*?)ended with (\d+)\n", text, re.DOTALL)] for text in (done.stdout, done.stderr)
    ]


@pytest.mark.parametrize("number", range(len(ANSWERS)), ids=lambda number: " ".join(ANSWERS[number][0]))
def test_without_the_extra_lists_are_lists_and_the_rest_names_it(bare, number):
    _, code, words = ANSWERS[number]
    (out, ended), (err, same) = (stream[number] for stream in bare)
    assert ended == same == code, err
    assert words in (err if code else out)
    assert "Traceback" not in err
    assert not (ROOT / "x.zarr.journal").exists()


def test_ctrl_c_leaves_a_state_that_goes_on(meshes, tmp_path):
    arguments = (
        "build",
        meshes,
        tmp_path / "c.zarr",
        "--recipe",
        "points",
        "--workers",
        "1",
        "--set",
        "shard=1",
        "--set",
        "points.blocks=100",
    )
    process = Command(("mmpd-cache", *arguments), tmp_path / "said")
    while process.alive and not list(tmp_path.glob("c.zarr/products/points/c/*")):
        time.sleep(0.01)
    process.send(signal.SIGINT)
    assert process.end() == 130
    assert "run the same command to go on" in process.err
    assert run(*arguments)[0] == 0
    assert run("verify", tmp_path / "c.zarr")[0] == 0


def limited():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def test_a_full_disk_is_said_and_survived(meshes, tmp_path):
    """A file-size limit stands in for the full disk: the write fails in the middle either way."""
    arguments = ("build", meshes, tmp_path / "c.zarr", "--recipe", "points", "--workers", "1")
    process = Command(("mmpd-cache", *arguments), tmp_path / "said", first=limited)
    assert process.end() == 2
    assert "the disk is full" in process.err
    assert not list(tmp_path.rglob("*.tmp"))
    assert run(*arguments)[0] == 0
    assert run("verify", tmp_path / "c.zarr")[0] == 0


def test_two_builds_at_once_take_turns(meshes, tmp_path):
    path = tmp_path / "c.zarr"
    arguments = ("build", meshes, path, "--recipe", "points", "--workers", "1")
    # Neither of them can end before the other wants the cache, however long each takes to start.
    with files.exclusive(path):
        both = [Command(("mmpd-cache", *arguments), tmp_path / name) for name in ("one", "other")]
        assert all(process.says("waiting for it") for process in both)
    assert [process.end() for process in both] == [0, 0]
    events = [json.loads(line)["event"] for line in files.journal_file(path).read_text().splitlines()]
    assert [event for event, _ in itertools.groupby(events)] == ["build", "shard", "done", "build", "done"]  # the second makes nothing anew
    assert run("verify", path)[0] == 0


def test_a_place_that_cannot_be_written_is_named(meshes):
    code, _, err = run("build", meshes, "/proc/c.zarr", "--recipe", "points")
    assert code == 2
    assert "/proc/c.zarr" in err
