"""Shape processes that tests use one after the other. A new one imports what reads and draws, which is most of what a small build costs."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from pipeline import worker

REAL = {"_popen": worker._popen, "_end": worker._end}
PROCESS = worker._Process
MOST = 4
"""How many may wait."""


class Counted(PROCESS):
    """A shape process that knows whether an answer is due."""

    def send(self, message):
        self.popen.due = True
        self.popen.large = getattr(self.popen, "large", False) or bool(getattr(message, "judge", ""))
        super().send(message)

    def receive(self, seconds):
        answer = super().receive(seconds)
        if isinstance(answer, str) or (isinstance(answer, worker.Made) and worker._MEMORY not in answer.reason):
            self.popen.due = False  # after any other answer the process ends, or says more
        return answer


@contextmanager
def kept():
    """Let processes that have answered everything wait for the next `Workers` with the same environment. They end with the block.

    Not those that hold a teacher, which take much memory.
    """
    waiting: list[subprocess.Popen[bytes]] = []

    def popen(threads, more, call="main()"):
        environment = {name: value for name, value in {**os.environ, **more}.items() if name != "PYTEST_CURRENT_TEST"}
        key = threads, os.getcwd(), frozenset(environment.items())
        for found in [one for one in waiting if one.key == key]:
            waiting.remove(found)
            if found.poll() is None:
                return found
            REAL["_end"](found)
        found = starter.submit(REAL["_popen"], threads, more, call).result()
        found.key, found.due, found.large = key, False, False
        found.kill = lambda: subprocess.Popen.kill(found) if found.due else None  # leaving `Workers` kills idle ones, too
        return found

    def end(found):
        if hasattr(found, "key") and not found.due and not found.large and found.poll() is None:
            waiting.append(found)
            found = waiting.pop(0) if len(waiting) > MOST else None
        if found is not None:
            found.due = True
            REAL["_end"](found)

    # A process dies with the thread that has started it.
    with ThreadPoolExecutor(1) as starter, pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "_popen", popen)
        patch.setattr(worker, "_end", end)
        patch.setattr(worker, "_Process", Counted)
        try:
            yield
        finally:
            for found in waiting:
                found.due = True
                REAL["_end"](found)


@pytest.fixture(scope="session", autouse=True)
def kept_processes():
    with kept():
        yield


@pytest.fixture
def fresh_processes(monkeypatch):
    """Processes as users have them: started for the task, and ended after it."""
    for name, function in REAL.items():
        monkeypatch.setattr(worker, name, function)
    monkeypatch.setattr(worker, "_Process", PROCESS)
