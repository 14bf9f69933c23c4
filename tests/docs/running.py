"""Our commands, run as a user does."""

import itertools
import os
import subprocess
import sys

from tests.docs.pages import ROOT
from tests.forks import Command

MODULES = {"mmpd-cache": "pipeline.cli", "mmpd-train": "trainer.cli"}


def run(words, folder, **more):
    """Run one of our commands in a folder. Returns what it printed."""
    program = f"import sys; sys.argv[0] = {words[0]!r}; from {MODULES[words[0]]} import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}
    done = subprocess.run([sys.executable, "-c", program, *words[1:]], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stderr[-3000:]}"
    return done.stdout


NUMBERS = itertools.count()


def forked(words, folder):
    """The same in a process that is forked from one that has imported what commands need."""
    command = Command(words, folder / f"said{next(NUMBERS)}", folder)
    assert command.end() == 0, f"{' '.join(words)}\n{command.err[-3000:]}"
    return command.out
