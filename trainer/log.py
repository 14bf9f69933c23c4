"""Logging of a training: `metrics.jsonl` and TensorBoard files in the run's folder, and a progress line in the terminal.

`tensorboard --logdir runs` shows the TensorBoard files of all runs in the folder `runs`; `trainer.curves` draws the records. Experiment
trackers (`trainer.trackers`) get the same records.
"""

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from cache_schema.errors import UserError
from cache_schema.files import write_file
from cache_schema.terminal import Pace, printable, time_left
from trainer.config import LogConfig
from trainer.trackers.catalog import Trackers

METRICS: Final = "metrics.jsonl"
"""Name of the file with the records, one per line."""
NOT_LOSSES: Final = ("step", "epoch", "lr", "grad_norm", "samples_per_s", "data_wait", "seconds")
"""Keys of a record that are not losses or results of probes."""
CHANCE: Final = "chance/"
"""Beginning of the key with the score of guessing. The name of a probe's result follows."""
SCALE: Final = re.compile(r" \[(?P<scale>[^\[\]]+)\]$")
"""End of the name of a probe's result that is not in percent, or of which less is better: `height error [m, lower is better]`. A record has
numbers only, and a tracker no other place for it."""


class Log:
    """Writes and shows the records of one run. Only the first rank creates it."""

    def __init__(
        self, run: Path, start: int, steps: int, console: Console, trackers: LogConfig | None = None, facts: Mapping[str, Any] | None = None
    ) -> None:
        """
        Args:
            run: folder of the run.
            start: number of steps already done. Records of later steps, left by a killed process, are deleted.
            steps: number of steps of the whole run.
            console: console for the progress line and messages.
            trackers: experiment trackers that get the records, too; None for none.
            facts: configuration and size of the run, for the trackers.
        """
        self.run, self.start, self.steps, self.console = run, start, steps, console
        kept = [record for record in records(run) if record["step"] <= start]
        write_file(run / METRICS, "".join(json.dumps(record) + "\n" for record in kept).encode())
        self.file = open(run / METRICS, "a", encoding="utf-8")
        # Importing it takes seconds, so --help does not import it.
        from torch.utils.tensorboard import SummaryWriter

        self.board = SummaryWriter(str(run / "tensorboard"), purge_step=start + 1)
        self.trackers = Trackers(run, trackers, facts or {}, self.say) if trackers else None
        columns = (MofNCompleteColumn(), BarColumn(bar_width=20), TextColumn("{task.description}", markup=False), TimeRemainingColumn())
        self.progress = Progress(*columns, console=console, disable=not console.is_terminal or console.quiet)
        self.task = self.progress.add_task("", total=steps, completed=start)
        self.progress.start()
        self.last = start
        self.pace = Pace()

    def write(self, record: Mapping[str, Any]) -> None:
        """Write and show the record of one step. It must have the key "step"."""
        record = {**record, "seconds": round(time.monotonic() - self.pace.began, 3)}
        self.file.write(json.dumps(record) + "\n")
        self.file.flush()
        for name, value in record.items():
            if name != "step":
                self.board.add_scalar(name, value, record["step"])
        if self.trackers:
            self.trackers.log(record)
        self.last = record["step"]
        line = _line(record)
        self.progress.update(self.task, completed=record["step"], description=printable(line))
        if (self.console.quiet or not self.console.is_terminal) and (self.pace.due() or record["step"] == self.steps):
            left = self.steps - record["step"]
            rest = time_left((self.pace.began, record["step"] - self.start, left)) if left else ""
            self.say(f"step {record['step']} of {self.steps}: {line}{rest}")

    def say(self, text: str) -> None:
        """Print a line above the progress bar."""
        self.console.print(Text(printable(text)), soft_wrap=True)

    def close(self) -> None:
        """End the progress bar and close the files."""
        self.progress.stop()
        if self.trackers:
            self.trackers.close(finished=self.last >= self.steps)
        self.board.close()
        self.file.close()


def records(run: Path) -> list[dict[str, Any]]:
    """All records that a run has written so far. An incomplete last line, left by a killed process, is ignored.

    Raises:
        UserError: the file was not written by a run.
    """
    path = run / METRICS
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    try:
        found = [json.loads(line) for line in lines if line.endswith("\n")]
        if not all("step" in record for record in found):
            raise UserError("a line without a step")
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{path} is damaged or was not written by mmpd-train ({error}): move it away, and the run continues without its old metrics"
        ) from error
    return found


def _line(record: Mapping[str, Any]) -> str:
    """A record as one line of text."""
    parts = [f"{name} {value:.4g}" for name, value in record.items() if name not in NOT_LOSSES and not name.startswith(CHANCE)]
    if "samples_per_s" in record:
        parts.append(f"{record['samples_per_s']:.0f} shapes/s, data wait {record['data_wait']:.1%}")
    return "  ".join(parts)
