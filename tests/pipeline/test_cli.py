"""The command line as a user meets it: exit codes, one clear line for a mistake, JSON for scripts, a help that teaches."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cache_schema import store, synthetic

ROOT = Path(__file__).parents[2]


def start(*arguments, **options):
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "300"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment, **options)


def run(*arguments, **options):
    process = start(*arguments, **options)
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


COMMANDS = ["build", "add-teacher", "labels", "status", "verify", "info", "report", "recipes", "teachers"]


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
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(arguments, words):
    code, out, err = run(*arguments)
    assert code == 2
    assert words in err
    assert "Traceback" not in err
    assert out == ""
    assert not (ROOT / "x.zarr").exists()
    (ROOT / "x.zarr.journal").unlink(missing_ok=True)


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
    assert info["products"]["points"]["fingerprint"] == store.open_cache(cache).record("points").fingerprint
    assert run("verify", cache, "--json")[:2] == (0, '{\n  "problems": []\n}\n')


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
    assert run(*arguments, "--strict")[0] == 1


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
        "points.blocks=400",
    )
    process = start(*arguments)
    while process.poll() is None and not list(tmp_path.glob("c.zarr/products/points/c/*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command to go on" in err
    assert run(*arguments)[0] == 0
    assert run("verify", tmp_path / "c.zarr")[0] == 0


def test_a_full_disk_is_said_and_survived(meshes, tmp_path):
    """A file-size limit stands in for the full disk: the write fails in the middle either way."""

    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    arguments = ("build", meshes, tmp_path / "c.zarr", "--recipe", "points", "--workers", "1")
    code, _, err = run(*arguments, preexec_fn=limited)
    assert code == 2
    assert "the disk is full" in err
    assert not list(tmp_path.rglob("*.tmp"))
    assert run(*arguments)[0] == 0
    assert run("verify", tmp_path / "c.zarr")[0] == 0


def test_two_builds_at_once_take_turns(meshes, tmp_path):
    arguments = ("build", meshes, tmp_path / "c.zarr", "--recipe", "points", "--workers", "1")
    both = [start(*arguments), start(*arguments)]
    results = [(process.communicate(timeout=240)[1], process.returncode) for process in both]
    assert [code for _, code in results] == [0, 0]
    assert sum("waiting for it" in err for err, _ in results) == 1
    assert run("verify", tmp_path / "c.zarr")[0] == 0


def test_a_place_that_cannot_be_written_is_named(meshes):
    code, _, err = run("build", meshes, "/proc/c.zarr", "--recipe", "points")
    assert code == 2
    assert "/proc/c.zarr" in err
