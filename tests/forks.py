"""Processes of their own for tests, forked from one server that has imported what they need: an import of all of it takes seconds."""

import contextlib
import importlib
import multiprocessing
import os
import runpy
import signal
import sys
import time
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.trainer.preloaded", "tests.preloaded"])  # a process has one server, so all tests name the same


@contextlib.contextmanager
def local_cluster(**settings):
    """A dask scheduler in this process, and a worker of one thread in a process of its own, which is forked, too."""
    import dask
    import distributed.utils

    distributed.utils._forkserver_preload_set = True  # it would name something else to be imported
    with (
        dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}),
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0", processes=True, **settings) as cluster,
    ):
        yield cluster


class Command:
    """One of our commands or a script, as if typed into a terminal of 300 columns, with the environment of the test. What it says goes into
    files.

    Args:
        words: the command or the file of the script, and its arguments.
        said: a new folder for what is said.
        folder: where it is typed.
        first: called in the process before the command.
    """

    def __init__(self, words, said: Path, folder=".", first=None):
        said.mkdir()
        self.said = said / "out", said / "err"
        arguments = ([str(word) for word in words], *map(str, self.said), str(folder), dict(os.environ), first)
        self.process = FORKS.Process(target=_called, args=arguments)
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
    def out(self) -> str:
        return self.said[0].read_text()

    @property
    def err(self) -> str:
        return self.said[1].read_text() if self.said[1].exists() else ""

    def end(self) -> int:
        """Wait for its end, and return the exit status. Only the time limit of the test ends the waiting: a busy machine may take long."""
        try:
            self.process.join()
        except BaseException as error:
            error.add_note(f"it still runs: {self.err}")
            raise
        finally:
            if self.alive:
                self.process.kill()
        return self.process.exitcode


def says_into(out, err) -> None:
    """Let stdout and stderr of this process be files."""
    for number, name in ((1, out), (2, err)):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, number)
        os.close(file)


def has_environment(environment) -> None:
    """Let this process have an environment instead of that of the server."""
    os.environ.clear()
    os.environ.update(environment)


def _called(words, out, err, folder, environment, first) -> None:
    says_into(out, err)
    has_environment({**environment, "COLUMNS": "300"})
    os.chdir(folder)
    if first is not None:
        first()
    sys.argv = words
    if words[0].endswith(".py"):
        sys.path.insert(0, os.path.dirname(words[0]))
        runpy.run_path(words[0], run_name="__main__")
    else:
        importlib.import_module({"mmpd-cache": "pipeline.cli", "mmpd-train": "trainer.cli"}[words[0]]).main()
