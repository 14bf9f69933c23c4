"""Processes of their own for tests, forked from one server that has imported what they need: an import of all of it takes seconds."""

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.preloaded"])  # a process has one server, so all tests name the same


class Command:
    """`mmpd-cache` with arguments, as if typed into a terminal of 300 columns. What it says goes into files.

    Args:
        arguments: of the command.
        folder: a new folder for what is said.
        first: called in the process before the command.
    """

    def __init__(self, arguments, folder: Path, first=None):
        folder.mkdir()
        self.said = folder / "out", folder / "err"
        self.process = FORKS.Process(target=_called, args=([str(word) for word in arguments], *map(str, self.said), first))
        self.process.start()

    @property
    def alive(self) -> bool:
        return self.process.is_alive()

    def send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, number)

    def says(self, words: str) -> bool:
        """Wait until it has said that on stderr. False if it ends before."""
        while words not in self.err:
            if not self.alive:
                return words in self.err
            time.sleep(0.02)
        return True

    @property
    def err(self) -> str:
        return self.said[1].read_text() if self.said[1].exists() else ""

    def end(self) -> int:
        """Wait for its end, and return the exit status."""
        self.process.join(240)
        if self.alive:
            self.process.kill()
            raise TimeoutError(f"it still runs: {self.err}")
        return self.process.exitcode


def _called(arguments, out, err, first) -> None:
    for number, name in ((1, out), (2, err)):
        file = os.open(name, os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(file, number)
        os.close(file)
    os.environ["COLUMNS"] = "300"
    if first is not None:
        first()
    from pipeline import cli

    cli.out.width = cli.err.width = 300
    sys.argv = ["mmpd-cache", *arguments]
    cli.main()
