"""Workers as jobs of Slurm: `--scheduler slurm:partition=gpu,gpus=1,nodes=4`.

    with held(terminal.say), connected("slurm:partition=gpu,gpus=1") as client: ...

The dask scheduler runs in this process, and every job is one dask worker for each of its GPUs. Jobs end with the block `held`, whatever
ends it. If this process is killed, the workers find no scheduler and end within a minute; the next command cancels jobs that still wait.
Jobs that die are replaced. This module imports dask-jobqueue when it is used.
"""

import contextlib
import logging
import os
import platform
import re
import shlex
import shutil
import signal
import site
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cache_schema.errors import UserError
from cache_schema.spec import did_you_mean

if TYPE_CHECKING:
    import dask_jobqueue
    import distributed

PREFIX: Final = "slurm:"
"""Beginning of an address that means jobs of Slurm."""
LOOK_SECONDS: Final = 2.0
"""Time between two looks at what Slurm says about the jobs."""
IN_VAIN: Final = 3
"""So many jobs for each node may end without a shard that is done; then the cluster is given up."""
DEATH_SECONDS: Final = 60
"""Workers end after so many seconds without a scheduler."""
PASSED_ON: Final = (
    "LD_LIBRARY_PATH",
    "OMP_WAIT_POLICY",
    "LP_NUM_THREADS",
    "PYOPENGL_PLATFORM",
    "EGL_PLATFORM",
    "EGL_DEVICE_ID",
    "LIBGL_ALWAYS_SOFTWARE",
    "GALLIUM_DRIVER",
    "__EGL_VENDOR_LIBRARY_FILENAMES",
    "__EGL_VENDOR_LIBRARY_DIRS",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "TORCH_HOME",
    "XDG_CACHE_HOME",
)
"""Environment variables that jobs get from this process. Slurm keeps scripts of jobs where administrators read them, so no credentials."""

# ------------------------------------------------------------------------------------------------------- what is asked for

_WORD: Final = r"[A-Za-z0-9_][A-Za-z0-9_.@&|*:/-]{0,99}"
_FORMS: Final = {
    "nodes": (r"[1-9][0-9]{0,3}", "a whole number from 1 to 9999"),
    "gpus": (rf"({_WORD.replace(':', '').replace('/', '')}:)?[0-9]{{1,2}}", "a whole number from 0 to 99, perhaps after a type: a100:1"),
    "cores": (r"[1-9][0-9]{0,3}", "a whole number from 1 to 9999"),
    "memory": (r"[1-9][0-9]{0,6}(MB|GB|TB)", "a size like 500MB or 16GB"),
    "time": (r"([0-9]{1,3}-)?[0-9]{1,3}:[0-9]{2}:[0-9]{2}", "HH:MM:SS or D-HH:MM:SS"),
    "logs": (r"[^\s,'\"\\$`%]{1,300}", "a folder without blanks and quotes"),
}
"""Regular expression of a value and what it is in words, by key. All other keys take one word."""


@dataclass(frozen=True, kw_only=True)
class Jobs:
    """What the jobs ask of Slurm. A key that is not given is left to the settings of the cluster."""

    nodes: int = 1
    """Number of jobs. Each asks for one node, or a part of it."""
    partition: str = ""
    gpus: str = "0"
    """GPUs of a job, perhaps with their type. Each gets a worker of its own."""
    cores: int = 4
    """CPU cores of a job."""
    memory: str = "16GB"
    """Memory of a job."""
    time: str = "08:00:00"
    """Longest time of a job. A job that reaches it is replaced by another."""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    reservation: str = ""
    interface: str = ""
    """Network that scheduler and workers talk over, such as ib0."""
    logs: str = ""
    """Folder for the logs of jobs, which all nodes must see. Empty: one in the home folder."""

    @property
    def processes(self) -> int:
        """Number of dask workers in a job, W."""
        return max(int(self.gpus.rpartition(":")[2]), 1)

    @property
    def devices(self) -> tuple[str, ...]:
        """Names of the torch devices of a job."""
        count = int(self.gpus.rpartition(":")[2])
        return tuple(f"cuda:{i}" for i in range(count)) or ("cpu",)

    @property
    def cores_each(self) -> int:
        """CPU cores of one dask worker."""
        return max(self.cores // self.processes, 1)


def is_slurm(address: str) -> bool:
    """Whether an address asks for jobs of Slurm."""
    return address == PREFIX[:-1] or address.startswith(PREFIX)


def parsed(address: str) -> Jobs:
    """Read what `--scheduler slurm:...` asks for.

    Raises:
        UserError: a key is unknown or given twice, or a value cannot be.
    """
    known = [field.name for field in fields(Jobs)]
    found: dict[str, str] = {}
    for pair in filter(None, address.removeprefix(PREFIX[:-1]).removeprefix(":").split(",")):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if key not in known or not equals:
            what = f"no key {key!r}{did_you_mean(key, known)}" if equals or key not in known else f"{key!r} has no value"
            raise UserError(f"--scheduler {address}: {what}; expected slurm:KEY=VALUE,... with the keys {', '.join(known)}")
        if key in found:
            raise UserError(f"--scheduler {address}: {key} is given twice")
        form, words = _FORMS.get(key, (_WORD, "one word of letters, digits and ._-"))
        if not re.fullmatch(form, value):
            raise UserError(f"--scheduler {address}: {key} cannot be {value!r}; expected {words}")
        found[key] = value
    numbers = {key: int(value) for key, value in found.items() if key in ("nodes", "cores")}
    return Jobs(**{**found, **numbers})  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------- how long they live


@dataclass(kw_only=True)
class _Held:
    """The clusters of one command."""

    say: Callable[[str], None]
    ends: contextlib.ExitStack
    clusters: dict[str, "_Cluster"]


_holds: list[_Held] = []
"""The blocks `held` that this process is in."""


@contextlib.contextmanager
def held(say: Callable[[str], None]) -> Iterator[None]:
    """Keep clusters that are started inside until this block ends, so that the steps of one command share their jobs.

    Args:
        say: told what Slurm says while jobs wait.
    """
    with contextlib.ExitStack() as ends:
        _holds.append(_Held(say=say, ends=ends, clusters={}))
        try:
            yield
        finally:
            _holds.pop()


@contextlib.contextmanager
def connected(address: str) -> Iterator["distributed.Client"]:
    """Connect to the cluster that an address asks for. It is started if no block around this one has done so, and it has a worker then.

    Raises:
        UserError: dask-jobqueue or Slurm is not installed, Slurm refuses the jobs, or they end before a worker is there; or all jobs end,
            again and again, before a shard is done.
    """
    with contextlib.ExitStack() as alone:
        if not _holds:
            alone.enter_context(held(lambda text: None))
        here = _holds[-1]
        if address not in here.clusters:
            here.clusters[address] = here.ends.enter_context(_started(parsed(address), here.say))
        cluster = here.clusters[address]
        import distributed

        with distributed.Client(cluster.dask, set_as_default=False, timeout=20) as client:  # type: ignore[no-untyped-call]
            cluster.await_worker(client)
            cluster.client = client
            try:
                yield client
            except Exception as error:
                if cluster.given_up:
                    raise UserError(cluster.given_up) from error
                raise
            finally:
                cluster.client = None


def progress(address: str) -> None:
    """Note that a shard is done, so that jobs are replaced when they end."""
    for one in _holds:
        if address in one.clusters:
            one.clusters[address].in_vain = 0


def logs(address: str) -> Path | None:
    """Return the folder with the logs of the jobs of a running cluster."""
    return next((one.clusters[address].logs for one in _holds if address in one.clusters), None)


# ------------------------------------------------------------------------------------------------------------- the cluster


@contextlib.contextmanager
def _started(jobs: Jobs, say: Callable[[str], None]) -> Iterator["_Cluster"]:
    """Submit the jobs, and cancel them at the end. Their logs are removed if nothing went wrong."""
    if lacking := [name for name in ("sbatch", "squeue", "scancel") if shutil.which(name) is None]:
        raise UserError(f"{lacking[0]} is not found: --scheduler slurm: works where jobs are submitted to Slurm, such as a login node")
    make = _maker()
    _cancel_orphans(say)
    folder = _log_folder(jobs)
    logging.getLogger("distributed").setLevel(logging.ERROR)  # its scheduler tells of every connection
    dask = make(**_options(jobs, folder))
    cluster = _Cluster(jobs, dask, folder, say)
    try:
        cluster.check()
        dask.scale(jobs=jobs.nodes)
        cluster.watching.start()
        yield cluster
    except BaseException:
        cluster.end()
        if any(folder.glob("*.err")):
            say(f"the logs of the jobs are in {folder}")
        raise
    cluster.end()
    shutil.rmtree(folder, ignore_errors=True)


def _maker() -> "Callable[..., dask_jobqueue.SLURMCluster]":
    """Import what makes clusters.

    Raises:
        UserError: a package is missing.
    """
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        import cryptography  # noqa: F401  # for the keys of the connections
        import dask_jobqueue
    except ModuleNotFoundError as error:
        raise UserError(f"--scheduler slurm: needs the package {error.name}, which is not installed: pip install 'mmpd[slurm]'") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, interrupt)  # the import lets Ctrl-C end this process with status 0
    made: Callable[..., dask_jobqueue.SLURMCluster] = dask_jobqueue.SLURMCluster
    return made


def _log_folder(jobs: Jobs) -> Path:
    """Make a new folder for the logs of jobs, for this user alone: the keys of the connections lie in it."""
    above = Path(jobs.logs or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "mmpd", "slurm")).absolute()
    if re.search(r"[\s'\"\\$`%]", str(above)):
        raise UserError(f"{above} cannot hold the logs of jobs, because of a blank or quote in its path: give another by logs=FOLDER")
    above.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=above))


def _options(jobs: Jobs, folder: Path) -> dict[str, object]:
    """Options of the SLURMCluster."""
    import dask

    # A worker has two threads: one task draws while another runs the models.
    said: dict[str, str] = {"qos": jobs.qos, "constraint": jobs.constraint, "reservation": jobs.reservation}
    directives = [f"--{key}={value}" for key, value in said.items() if value]
    if jobs.devices != ("cpu",):
        directives.append(f"--gres=gpu:{jobs.gpus}")
    options: dict[str, object] = {
        "cores": 2 * jobs.processes,
        "job_cpu": jobs.cores,
        "processes": jobs.processes,
        "memory": jobs.memory,
        "job_mem": jobs.memory.removesuffix("B"),
        "walltime": jobs.time,
        "python": sys.executable,
        "job_name": _job_name(os.getpid()),
        "death_timeout": DEATH_SECONDS,
        "log_directory": str(folder),
        "shared_temp_directory": str(folder),
        "security": True,
        "job_script_prologue": [*dask.config.get("jobqueue.slurm.job-script-prologue", []), *_environment()],
        "job_extra_directives": [*dask.config.get("jobqueue.slurm.job-extra-directives", []), *directives],
        "scheduler_options": {"dashboard": False, "dashboard_address": "127.0.0.1:0"},
    }
    given = {"queue": jobs.partition, "account": jobs.account, "interface": jobs.interface}
    return options | {key: value for key, value in given.items() if value}


def _job_name(process: int) -> str:
    return f"mmpd-{platform.node() or 'host'}-{process}"


def _environment() -> list[str]:
    """Lines for a job's script: what its workers need of the environment of this process."""
    root = str(Path(__file__).resolve().parents[2])
    paths = [str(Path(path).absolute()) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if root not in (*paths, *site.getsitepackages(), site.getusersitepackages()):
        paths.append(root)  # this software was not installed, or by a link
    variables = {"PYTHONPATH": os.pathsep.join(paths)} if paths else {}
    variables |= {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]


class _Cluster:
    """A SLURMCluster that tells what Slurm says about its jobs, and replaces jobs that died."""

    def __init__(self, jobs: Jobs, dask: "dask_jobqueue.SLURMCluster", folder: Path, say: Callable[[str], None]) -> None:
        self.jobs, self.dask, self.logs, self.say = jobs, dask, folder, say
        self.in_vain = 0
        """Number of jobs that ended since the last shard was done."""
        self.given_up = ""
        """Why the cluster was given up; empty if it was not."""
        self.client: distributed.Client | None = None
        self._told = ""
        self._ended = threading.Event()
        self.watching = threading.Thread(target=self._watch, name="slurm", daemon=True)

    def check(self) -> None:
        """Let Slurm say whether it would take the jobs.

        Raises:
            UserError: it would not.
        """
        script = self.logs / "job.sh"
        script.write_text(self.dask.job_script())
        said = _asked("sbatch", "--test-only", str(script))
        if said.returncode:
            why = "; ".join(line.removeprefix("sbatch: error: ").removeprefix("allocation failure: ") for line in said.stderr.splitlines())
            raise UserError(f"Slurm refuses the job: {why or 'no reason is given'}. `sinfo` lists partitions; the job is {script}")

    def await_worker(self, client: "distributed.Client") -> None:
        """Wait until a worker is there, and say what Slurm says meanwhile.

        Raises:
            UserError: the jobs end, again and again, without a worker.
        """
        while not client.scheduler_info(n_workers=-1)["workers"]:
            if self.given_up:
                raise UserError(self.given_up)
            told = self._told_by_slurm()
            if told and told != self._told:
                self.say(f"waiting for a worker; {told}")
                self._told = told
            time.sleep(0.5)

    def _told_by_slurm(self) -> str:
        """Say in words what Slurm says about the jobs; empty if it has none."""
        try:
            states = self._states()
        except UserError as error:
            return str(error)
        each = [f"{state.lower()} ({reason})" if reason != "None" else state.lower() for state, reason in states.values()]
        words = ", ".join(f"{each.count(one)} {one}" for one in dict.fromkeys(each))
        return words and f"Slurm says of {len(each)} job{'s' * (len(each) != 1)}: {words}"

    def _states(self) -> dict[str, tuple[str, str]]:
        """State and reason of each job that has not ended, by its number.

        Raises:
            UserError: Slurm does not say it.
        """
        said = _asked("squeue", "-h", "-n", _job_name(os.getpid()), "-o", "%i|%T|%r")
        if said.returncode:
            raise UserError(f"squeue failed: {said.stderr.strip()}")
        rows = [line.split("|") for line in said.stdout.split("\n") if line.count("|") == 2]
        return {number: (state, reason) for number, state, reason in rows}

    def _watch(self) -> None:
        """Replace jobs that have ended, until the cluster is given up."""
        seen: dict[str, object] = {}
        while not self._ended.wait(LOOK_SECONDS):
            mine = {str(job.job_id): name for name, job in list(self.dask.workers.items()) if job.job_id}
            seen |= mine
            try:
                alive = self._states()
            except UserError:
                continue  # Slurm's daemon may be down for a while
            ended = [number for number in seen if number not in alive]
            self.in_vain += len(ended)
            if self.in_vain > IN_VAIN * self.jobs.nodes:
                self._give_up()
                return
            if ended and not self._ended.is_set():
                for number in ended:
                    self.say(f"job {number} has ended{_because(self._tail(number))}; another takes its place")
                self.dask.loop.add_callback(self._replace, [seen.pop(number) for number in ended])

    def _replace(self, names: list[object]) -> None:
        """Submit others for jobs that have ended. It runs in dask's loop. Their names are new: dask still watches for the old ones."""
        for name in names:
            self.dask.worker_spec.pop(name, None)
            self.dask.workers.pop(name, None)
        self.dask.scale(jobs=self.jobs.nodes)

    def _tail(self, number: str) -> str:
        """The last line that a job wrote and that is no message of dask's own."""
        for log in self.logs.glob(f"*-{number}.err"):
            lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
            telling = [line for line in lines if " - INFO - " not in line and not line.startswith("distributed.")]
            return (telling or [""])[-1][:300]
        return ""

    def _give_up(self) -> None:
        why = next((tail for log in sorted(self.logs.glob("*.err"))[::-1] if (tail := self._tail(log.stem.rpartition("-")[2]))), "")
        self.given_up = (
            f"jobs of Slurm ended {self.in_vain} times in a row before a shard was done{_because(why)}. Their logs are in {self.logs}. "
            "What is done is kept; run the same command to go on"
        )
        if self.client is not None:
            self.client.close()  # type: ignore[no-untyped-call]  # whoever waits for its tasks then learns of it

    def end(self) -> None:
        """End the scheduler, and cancel all jobs."""
        self._ended.set()
        numbers = [str(job.job_id) for job in self.dask.workers.values() if job.job_id]
        try:
            self.dask.close(timeout=10)
        finally:
            with contextlib.suppress(UserError):
                numbers += self._states()
            if numbers:
                _asked("scancel", *dict.fromkeys(numbers))
            for name, file in vars(self.dask).items():
                if name.startswith("_job_") and hasattr(file, "close"):
                    file.close()  # the keys of the connections
        if self.watching.is_alive():
            self.watching.join(LOOK_SECONDS + 1)


def _because(line: str) -> str:
    return f" ({line})" if line else ""


def _cancel_orphans(say: Callable[[str], None]) -> None:
    """Cancel jobs of commands on this machine that were killed. Jobs that run end by themselves, but those that wait would still begin."""
    said = _asked("squeue", "-h", "--me", "-o", "%i|%j")
    begin = _job_name(0).removesuffix("0")
    orphans = []
    for number, _, name in (line.partition("|") for line in said.stdout.splitlines()):
        process = name.removeprefix(begin)
        if name.startswith(begin) and process.isdecimal() and not Path(f"/proc/{process}").exists():
            orphans.append(number)
    if orphans:
        say(f"cancelling job{'s' * (len(orphans) != 1)} {', '.join(orphans)} of a command that was killed")
        _asked("scancel", *orphans)


def _asked(*command: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of Slurm. One that does not answer, as while its daemon starts again, has failed."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", f"{command[0]} gives no answer ({type(error).__name__})")
