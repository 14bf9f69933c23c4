"""Jobs that survive any stop: commands that depend on each other, each run once, some at a time.

    jobs = [Job(name="build/a", command=("mmpd-cache", ...)), Job(name="train/b", command=(...), after=("build/a",))]
    failed = Ledger(folder).work(jobs, slots=2)

Each job has a file `jobs/NAME.json` in the folder: its command, whether it is done, the processor time that it took, and the commit of the
code. It is written when the job begins, every `EVERY` seconds, and when it ends. A job that is done is not run again, and its time adds up
over all attempts. So after any stop, also kill -9 or a power cut, the same call goes on; at most `EVERY` seconds of processor time are then
not counted. Commands must be able to go on from where they were stopped; all of `mmpd-cache` and `mmpd-train` are.

A job that fails does not stop the others, except those that need it. One ledger works in a folder at a time. A job keeps the fingerprints
and the labels of the caches that it read. If one was built anew with other shapes or points since, or `mmpd-cache relabel` has changed it,
the ledger refuses to go on. A job that may be run again (`Job.grows`) is run again instead. A job whose own files do not fit what they were
made of any more (`Job.refuses`) fails, with what to remove.
"""

import contextlib
import ctypes
import dataclasses
import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, Any, Final

import elsewhere
from labelled import labels_of, points_of

from cache_schema import products
from cache_schema.errors import UserError
from cache_schema.files import write_file
from cache_schema.records import differences
from cache_schema.spec import GuideSpec, Record
from cache_schema.store import open_cache
from trainer import checkpoint, saved
from trainer.config import AlignConfig, DistillConfig

EVERY: Final = 10.0
"""Seconds from one note of a running job's processor time to the next."""
LOOK: Final = 0.2
"""Seconds from one look at the running jobs to the next."""
LONGEST: Final = 500
"""Most letters of the reason of a failure that are shown."""
DIE_WITH_PARENT: Final = 1
"""PR_SET_PDEATHSIG of Linux: the signal that a process gets when its parent has ended."""
BIN: Final = Path(sys.executable).parent
"""Folder of our commands. They import from this checkout before all others."""


Read = tuple[dict[str, str], dict[str, str]]
"""What a job reads: the fingerprint of the points of each cache, and that of its labels."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One command."""

    name: str
    """Where its file and its log are: `train/point-mae-0`."""
    command: tuple[str, ...]
    """Words, run in the study's folder. The first one is a command of ours, or a script beside this one."""
    after: tuple[str, ...] = ()
    """Names of the jobs that must be done before."""
    reads: tuple[str, ...] = ()
    """Caches that it reads, as paths in the folder."""
    writes: str = ""
    """A cache that it writes to. Of jobs that write to one cache, one runs at a time."""
    threads: int = 1
    grows: bool = False
    """Whether its command may change: then it is run again, and must itself keep what is there. So it is, too, after each of the jobs that
    it needs has run."""
    made: Callable[[], bool] | None = field(default=None, compare=False)
    """Whether what it makes is there and still holds. A job that was done is run again if not; None to trust the note that it was done. A
    job that failed before anything of it was there may get another command."""
    run: str = ""
    """The run that it makes or reads, as a path in the folder. If that was trained on another machine and is not here, the job is done."""
    beside: tuple[str, ...] = ()
    """Caches that have to be what they were on the machine that the folder came from, if it did (`elsewhere.py`)."""
    refuses: Callable[[], str] | None = field(default=None, compare=False)
    """Why what is there of it does not hold, and what to remove, in words: its command would refuse to go on with it, so the job fails with
    these words instead. Empty if it holds, or is not there; None if its command never refuses."""


def trained_otherwise(run: Path, config: AlignConfig | DistillConfig, guide: Path | None = None, init: Path | None = None) -> str:
    """How a run, if it is there, was trained otherwise than it would be now, and what to remove; empty if it was not. The words of its
    command only name a recipe and other runs, which may mean something else since.

    Args:
        run: folder of the run.
        config: the configuration that the command stands for. What is found out when a training begins is left out: the guide's name, and
            teachers and captions where none are named.
        guide: folder of the run whose features it learns; None for none. A run that is not there is not compared.
        init: folder of the run whose weights it starts from, likewise.
    """
    if not checkpoint.path(run).exists():
        return ""
    header = checkpoint.header(run)
    there = header.config
    if isinstance(there, DistillConfig) and isinstance(config, DistillConfig):
        config = dataclasses.replace(config, guide=there.guide)
    found = {name: getattr(there.data, name) for name in ("teachers", "captions") if not getattr(config.data, name)}
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, **found))
    changed = differences(there, config) if type(there) is type(config) else [f"its stage is {there.stage}, asked {config.stage}"]
    reasons = [f"another configuration than it has now ({'; '.join(changed)})"] if changed else []
    began = ((guide, header.guide), (init, header.init.weights if header.init else ""))
    known = [(need, digest) for need, digest in began if need is not None and digest and checkpoint.path(need).exists()]
    others = dict.fromkeys(need.name for need, digest in known if digest != weights_of(need))
    reasons += [f"other weights of {name} than it has now" for name in others]
    away = f"remove runs/{run.name} and jobs/train/{run.name}.json, and the same command trains it anew"
    return f"of {' and of '.join(reasons)}: {away}" if reasons else ""


def guided_otherwise(cache: Path, guide: str, run: Path) -> str:
    """Compare the features of a guide in a cache with the run that made them. Returns in words how they differ from what the run would make
    now, and what to remove. Empty if they do not differ, or if the features or the run are not there."""
    record = guide_in(cache, guide)
    if record is None or not isinstance(record.spec, GuideSpec) or not checkpoint.path(run).exists():
        return ""
    of, settings = record.spec, saved.settings(run)
    if of.weights == weights_of(run) and (not of.settings or not settings or of.settings == settings):
        return ""
    away = shlex.join(["mmpd-cache", "remove", f"caches/{cache.name}", record.product])
    return f"of other weights or settings of {run.name} than it has now: `{away}`, and the same command writes them anew"


def guide_in(cache: Path, guide: str) -> Record | None:
    """The record of a guide's features in a cache, finished or not; None if they or the cache are not there."""
    if not (cache / "zarr.json").exists():
        return None
    return open_cache(cache).records().get(products.GUIDE.product(guide=guide))


def weights_of(run: Path) -> str:
    """Digest of the weights of a run, computed once while its file is the same."""
    run = run.resolve()
    state = checkpoint.path(run).stat()
    return _weights_of(run, state.st_mtime_ns, state.st_ino)


@cache
def _weights_of(run: Path, *state: int) -> str:
    return saved.weights(run)


class Ledger:
    """What was done in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.commit = commit()
        self.began = time.monotonic()

    def read(self, name: str) -> dict[str, Any]:
        """What is known about a job; empty if it never began."""
        path = self._path(name)
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def seconds(self, name: str) -> float:
        """Processor time of all attempts at a job."""
        return float(self.read(name).get("seconds", 0))

    def done(self, job: Job) -> bool:
        """Whether a job need not run any more.

        Raises:
            SystemExit: it was done, or begun, with another command, or on other shapes, points or labels, and is no job that may be run
                again.
        """
        if refused := self.refused(job):
            raise SystemExit(f"{self._path(job.name)} is {refused}\nChoose another folder, or remove that file and what the command made")
        if self.away(job):
            return True
        found, changed = self.read(job.name), job.grows and self.changed(job)
        if found.get(elsewhere.MARK) and (job.writes or not job.run):
            return False  # what it made is on another machine
        return bool(found.get("done")) and not changed and not self.refuses(job) and (job.made is None or job.made())

    def away(self, job: Job) -> bool:
        """Whether a job is about a run that was trained on another machine and is not here."""
        return bool(job.run) and self.trained_away(Path(job.run).name)

    def trained_away(self, run: str) -> bool:
        """Whether a run was trained on another machine and is not here. `run`: its name."""
        return bool(self.read(f"train/{run}").get(elsewhere.MARK)) and not checkpoint.path(self.folder / "runs" / run).exists()

    def refused(self, job: Job) -> str:
        """Why no ledger works on a job, in words: what it was run with has changed, and it may not be run again. Empty if it may."""
        changed = "" if job.grows else self.changed(job)
        return f"of {changed}" if changed else ""

    def stale(self, job: Job) -> str:
        """Why what a job made does not hold any more, in words, such as `of other weights of stage-1-0 than it has now`; empty if it does.
        What rests on it does not hold either. Of what is on another machine only the command is compared."""
        try:
            changed = " ".join(self.changed(job).split())
        except UserError as error:
            return f"of a cache that cannot be read: {error}"
        if changed:
            return f"of {changed}"
        return "" if self.away(job) else self.refuses(job)

    def refuses(self, job: Job) -> str:
        """Why the command of a job would refuse to go on with what is there of it, in words; empty if it would not."""
        try:
            for cache in job.beside:
                if other := elsewhere.differs(self.folder, cache):
                    return f"of {cache}, which is not the cache of the seeds that were trained elsewhere: {other}"
            return job.refuses() if job.refuses is not None else ""
        except UserError as error:
            return f"of its run, one that it needs, or a cache that cannot be read: {error}"

    def changed(self, job: Job) -> str:
        """What a job was run with that is not so any more, in words: a cache that it read, its labels, or its command. Empty if nothing has
        changed, or the job never began. What an earlier version did not note is not compared, and no cache here with one elsewhere."""
        found = self.read(job.name)
        known = {} if self.away(job) else found
        for then, now, what in (
            (known.get("reads", {}), self._state(job), "it was before it was built anew"),
            (
                known.get("labels", {}),
                self._labels(job),
                "it was before its classes, splits or names changed (`mmpd-cache relabel`); its texts may still say the old ones",
            ),
        ):
            if other := [cache for cache, state in then.items() if cache in now and now[cache] != state]:
                return f"{', '.join(other)} as {what}"
        nothing = job.made is not None and not found.get("done") and not job.made()
        if found and found["command"] != list(job.command) and not nothing:
            return f"the command\n  {told(found['command'])}\nand now it is\n  {told(job.command)}"
        return ""

    def work(self, jobs: Sequence[Job], slots: int) -> list[str]:
        """Run all jobs, the first ones first.

        Args:
            jobs: the jobs; what one needs is among them.
            slots: number of threads of the jobs that run at a time.

        Returns:
            The names of those that failed, or that need one that failed.

        Raises:
            SystemExit: another process works in the folder; or a job was done by another command, or on other shapes or labels.
        """
        with self._alone():
            return self._work(jobs, slots)

    def _work(self, jobs: Sequence[Job], slots: int) -> list[str]:
        waiting: dict[str, Job] = {}
        again, ran = set[str](), set[str]()
        """Jobs that are done, and looked at once more when what they need has run; and those that were run."""
        for job in jobs:
            if not self.done(job):
                waiting[job.name] = job
            elif (job.grows or job.refuses is not None) and not self.away(job) and not waiting.keys().isdisjoint(job.after):
                waiting[job.name] = job
                again.add(job.name)
        missing = {need for job in jobs for need in job.after} - {job.name for job in jobs}
        assert not missing, f"jobs that nobody runs: {missing}"
        done, failed, running = {job.name for job in jobs} - set(waiting), list[str](), list[_Running]()
        try:
            while waiting or running:
                for name, job in list(waiting.items()):
                    if any(need in failed for need in job.after):
                        failed.append(name)
                        del waiting[name]
                    elif not done.issuperset(job.after) or any(one.job.writes == job.writes != "" for one in running):
                        continue
                    elif sum(min(one.job.threads, slots) for one in running) + min(job.threads, slots) > slots:
                        break  # the jobs behind it must not keep it waiting
                    elif reason := self.refuses(job) if job.grows or job.refuses is None else self.stale(job):
                        failed.append(name)
                        del waiting[name]
                        print(f"{_clock(self.began)} FAILED {name}: it is {reason}", flush=True)
                    elif name in again and ran.isdisjoint(job.after if job.grows else ()) and self.done(job):
                        done.add(name)
                        del waiting[name]
                    else:
                        ran.add(name)
                        print(f"{_clock(self.began)} {len(done)}/{len(jobs)} {name}: {told(job.command)}", flush=True)
                        running.append(_Running(job, self))
                        del waiting[name]
                for one in [one for one in running if one.look()]:
                    running.remove(one)
                    if one.code == 0:
                        done.add(one.job.name)
                    else:
                        failed.append(one.job.name)
                        print(f"{_clock(self.began)} FAILED {one.job.name}{last_words(one.log)}, see {one.log}", flush=True)
                time.sleep(LOOK)
        finally:  # after Ctrl-C the commands have got it, too, and write their state
            for one in running:
                one.end()
        return failed

    def note(self, job: Job, seconds: float, *, done: bool, read: Read | None = None) -> None:
        """Write what is known about a job now. `read`: what it found when it began; None to look at it now."""
        reads, labels = read or self.found_by(job)
        found = {"command": list(job.command), "done": done, "seconds": round(seconds, 2), "commit": self.commit, "reads": reads}
        path = self._path(job.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, (json.dumps(found | {"labels": labels}, indent=1) + "\n").encode())

    def found_by(self, job: Job) -> Read:
        """The caches that a job reads, as they are now."""
        return self._state(job), self._labels(job)

    def _state(self, job: Job) -> dict[str, str]:
        """Fingerprint of the points of each cache that a job reads and whose points are there: it changes with the shapes, and with nothing
        that is added to them. A cache whose build was stopped before has none yet."""
        paths = {cache: self.folder / cache for cache in job.reads}
        found = {cache: points_of(path) for cache, path in paths.items() if (path / "zarr.json").exists()}
        return {cache: points for cache, points in found.items() if points}

    def _labels(self, job: Job) -> dict[str, str]:
        """The labels of each cache that a job reads and whose points are there. No fingerprint of points tells them."""
        return {cache: labels_of(self.folder / cache) for cache in self._state(job)}

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other ledgers out of the folder."""
        path = self.folder / "jobs" / "lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise SystemExit(f"another command is at work in {self.folder}: wait until it has ended, or stop it") from None
            yield

    def _path(self, name: str) -> Path:
        return self.folder / "jobs" / f"{name}.json"


class _Running:
    """A command that runs now."""

    def __init__(self, job: Job, ledger: Ledger) -> None:
        self.job, self.ledger, self.before, self.code = job, ledger, ledger.seconds(job.name), -1
        self.read = ledger.found_by(job)
        ledger.note(job, self.before, done=False, read=self.read)
        self.log = ledger.folder / "jobs" / f"{job.name}.log"
        self.output: IO[bytes] = self.log.open("ab")
        environment = os.environ | {"OMP_NUM_THREADS": str(job.threads), "PYTHONPATH": os.pathsep.join(_paths())}
        self.process = subprocess.Popen(
            _words(job.command), cwd=ledger.folder, stdout=self.output, stderr=subprocess.STDOUT, env=environment, preexec_fn=_end_with_us
        )
        self.noted = time.monotonic()

    def look(self) -> bool:
        """Whether it has ended. Notes its processor time now and then."""
        number, state, used = os.wait4(self.process.pid, os.WNOHANG)
        if number == 0:
            if time.monotonic() - self.noted > EVERY:
                self.noted = time.monotonic()
                self.ledger.note(self.job, self.before + _spent(self.process.pid), done=False, read=self.read)
            return False
        self.code = self.process.returncode = os.waitstatus_to_exitcode(state)
        self.output.close()
        self.ledger.note(self.job, self.before + used.ru_utime + used.ru_stime, done=self.code == 0, read=self.read)
        return True

    def end(self) -> None:
        """Ask it to end in order, and wait."""
        self.process.send_signal(signal.SIGTERM)
        while not self.look():
            time.sleep(LOOK)


def commit() -> str:
    """The commit of the code, with a plus if files have changed since."""
    here = Path(__file__).parent
    words = ["git", "-C", str(here)]
    found = subprocess.run([*words, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True).stdout.strip()
    changed = subprocess.run([*words, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True).stdout.strip()
    return f"{found}+" if changed else found


def last_words(log: Path) -> str:
    """The reason of a failure in a log, after a colon: where the message of one of our commands begins, else the last line with words in
    it. Empty if there is none."""
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    except OSError:
        return ""
    told = [line for line in lines if line.startswith(("mmpd-cache: ", "mmpd-train: "))] or [line for line in lines if line]
    last = told[-1] if told else ""
    return f": {last if len(last) <= LONGEST else f'{last[:LONGEST]} ...'}" if last else ""


def options(settings: Iterable[str]) -> list[str]:
    """Words of a command that give it some settings."""
    return [part for setting in settings for part in ("--set", setting)]


def told(command: Sequence[str], scripts: str = "science") -> str:
    """A command as a line for a shell. `scripts`: the folder of the scripts beside this one, from where it is run."""
    first, *rest = command
    return shlex.join(["python", f"{scripts}/{first}", *rest] if first.endswith(".py") else command)


def _words(command: Sequence[str]) -> list[str]:
    """The words that the system runs."""
    first, *rest = command
    return [sys.executable, str(Path(__file__).parent / first), *rest] if first.endswith(".py") else [str(BIN / first), *rest]


def _paths() -> list[str]:
    """Folders that commands import from: this checkout before all others."""
    return [str(Path(__file__).resolve().parents[1]), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]


def _end_with_us() -> None:
    """Let the system end this process if its parent ends, even by kill -9: two processes must not write to one run. Linux alone can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)


def _spent(process: int) -> float:
    """Processor time of a running process and of those of its own that have ended, in seconds; 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _clock(began: float) -> str:
    minutes, seconds = divmod(int(time.monotonic() - began), 60)
    return f"[{minutes // 60}:{minutes % 60:02d}:{seconds:02d}]"
