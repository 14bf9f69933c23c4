"""A way to be measured that lives in a process of its own, in another environment perhaps. Its program calls `serve`."""

import subprocess
import sys
from collections.abc import Callable, Sequence


class Served:
    """A child. A call runs what it serves once, and returns how many units of work were done."""

    def __init__(self, command: Sequence[str], environment: dict[str, str] | None = None) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
        self._answer("ready")

    def __call__(self) -> float:
        print("go", file=self.process.stdin, flush=True)
        return float(self._answer("done"))

    def _answer(self, word: str) -> str:
        for line in self.process.stdout or ():  # libraries print, too
            if line.startswith(f"{word} "):
                return line.partition(" ")[2]
        self.close()
        raise RuntimeError(f"the child ended before it was {word}: {self.process.args!r}")

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def serve(run: Callable[[], object], per: float = 1.0) -> None:
    """In the child of `Served`: run once for each line of input, and say how many units were done."""
    print("ready ", flush=True)
    for _ in sys.stdin:
        done = run()
        print(f"done {done if isinstance(done, int | float) else per}", flush=True)
