"""Commands of ours, run one at a time, and the numbers that they print.

values = measured(["svm", "runs/a", "shapes.zarr"])[0]
"""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from jobs import BIN

from cache_schema.errors import UserError

STOPPED: Final = 130
"""Exit code after Ctrl-C, as shells have it."""


@contextmanager
def plainly(*, goes_on: bool = False) -> Iterator[None]:
    """Around a script's `main`: a mistake of its user, or Ctrl-C, ends it with one line, and without a traceback. `goes_on`: whether the
    script keeps what it has done."""
    try:
        yield
    except UserError as error:
        raise SystemExit(str(error)) from error
    except KeyboardInterrupt:
        print("stopped; the same command goes on" if goes_on else "stopped", file=sys.stderr)
        raise SystemExit(STOPPED) from None


def measured(words: list[str], metric: str = "") -> list[list[float]]:
    """For each test cache of `mmpd-train eval`, the values of a metric, one for each seed or stored block. Without a name, it is the
    headline metric."""
    results = json.loads(called(["mmpd-train", "eval", *words, "--json"], threads=1, log=None))
    every = [one["scores"]["metrics"] for one in (results if isinstance(results, list) else [results])]
    return [list(next(one for one in own if (one["name"] == metric if metric else one["headline"]))["values"]) for own in every]


def called(command: list[str], *, threads: int, log: Path | None) -> str:
    """Run a command of this environment, and return what it prints. With `log`, all of its words are written there."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run([str(BIN / command[0]), *command[1:]], capture_output=True, text=True, env=environment)
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(done.stdout + done.stderr)
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)}\n{done.stderr[-2000:]}")
    return done.stdout
