"""What the examples share: a small cache, a small run that learned from it, and a way to call the commands.

The cache and the run of `make cache` and `make train` are taken if they are there. Else small ones are made once, in a temporary folder: 24
shapes and two epochs, enough to show every step, and not enough for good numbers. The variable MMPD_EXAMPLES names another folder for them.
"""

import contextlib
import io
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path(os.environ.get("MMPD_EXAMPLES") or Path(tempfile.gettempdir()) / f"mmpd-examples-{os.getuid()}")
MADE = ROOT / "build" / "starter.zarr", ROOT / "build" / "runs" / "pointmae-align"


def call(line: str, **paths: object) -> str:
    """Call a command as one would type it, with paths in place of {names}. Returns what it printed."""
    words = [word.format(**paths) for word in shlex.split(line)]
    print("$", shlex.join(words))
    if words[0] == "mmpd-cache":  # in a process of its own, which needs no program of this name on the PATH
        program = [sys.executable, "-c", "from pipeline.cli import main; main()", *words[1:]]
        return subprocess.run(program, check=True, stdout=subprocess.PIPE, text=True).stdout
    from trainer.cli import app

    with contextlib.redirect_stdout(io.StringIO()) as printed:
        app(words[1:], standalone_mode=False)
    return printed.getvalue()


def ready() -> tuple[Path, Path]:
    """A cache, and a run of stage 1 that learned from it."""
    if "MMPD_EXAMPLES" not in os.environ and all(path.exists() for path in MADE):
        return MADE
    cache, run = FOLDER / "tiny.zarr", FOLDER / "run"
    if not (run / "curves.png").exists():  # a run ends with this picture
        FOLDER.mkdir(parents=True, exist_ok=True)
        call("mmpd-cache build starter {cache} --recipe smoke --set source.count=24", cache=cache)
        call("mmpd-train align {cache} {run} --recipe smoke --resume", cache=cache, run=run)
    print("This run made two epochs on 24 shapes: what it finds shows how things are done, not how good they can be.")
    return cache, run


def fresh(name: str) -> Path:
    """An empty folder for what an example writes."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=FOLDER))
