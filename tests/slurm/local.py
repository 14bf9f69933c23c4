"""A Slurm of two nodes on this machine: its real daemons, with their ports, keys and state in a folder of their own.

    with local(folder) as environment:
        subprocess.run(["sinfo"], env=environment)

Debian: apt-get install slurm-wlm munge. Its slurmd can run several times on one machine. Nothing that runs already is touched, and only
processes that were started here are ended.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel")
"""The programs that must be there."""
BEGIN_SECONDS = 120.0
"""Longest time until both nodes are idle."""

CONFIG = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={control}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
MpiDefault=none
ReturnToService=2
KillWait=1
MessageTimeout=60
{nodes}
PartitionName=few Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


def lacking() -> str:
    """Say why no Slurm can run here; empty if one can."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    absent = [name for name in NEEDED if shutil.which(name, path=path) is None]
    if absent:
        return f"{', '.join(absent)} not installed: apt-get install slurm-wlm munge"
    return "" if os.geteuid() == 0 else "slurmd starts jobs as root only"


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextlib.contextmanager
def local(folder: Path, nodes: int = 2, cpus: int = 1) -> Iterator[dict[str, str]]:
    """Run a Slurm with nodes n1, n2, ... in a partition `few`. Yields the environment for its commands.

    Args:
        folder: a new folder with a short path (that of a socket has at most 107 characters). The daemons' logs stay in it.
        nodes: number of nodes. All are this machine.
        cpus: number of CPUs that each node claims to have.

    Raises:
        RuntimeError: the daemons do not start. The message has the end of their logs.
    """
    (folder / "state").mkdir(parents=True)
    folder.chmod(0o755)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 - 64
    (folder / "gres.conf").write_text("Name=gpu File=/dev/zero\n")  # Slurm only counts it
    has = f"CPUs={cpus} RealMemory={memory} Gres=gpu:1 State=UNKNOWN"
    described = [f"NodeName=n{i} NodeHostname=localhost NodeAddr=127.0.0.1 Port={_free_port()} {has}" for i in _from1(nodes)]
    text = CONFIG.format(user="root", folder=folder, control=_free_port(), nodes="\n".join(described))
    (folder / "slurm.conf").write_text(text)
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o600)
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    environment["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    with contextlib.ExitStack() as running:

        def start(name: str, *command: str) -> None:
            log = running.enter_context((folder / f"{name}.out").open("wb"))
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True)
            running.callback(_end, process)

        socket_ = f"--socket={folder}/munge.socket"
        files = (
            f"--key-file={key}",
            f"--pid-file={folder}/munged.pid",
            f"--log-file={folder}/munged.log",
            f"--seed-file={folder}/munged.seed",
        )
        start("munged", "munged", "--foreground", "--force", "--num-threads=2", socket_, *files)
        _until(lambda: (folder / "munge.socket").exists(), folder)
        start("slurmctld", "slurmctld", "-D", "-f", str(folder / "slurm.conf"))
        for i in _from1(nodes):
            start(f"slurmd-n{i}", "slurmd", "-D", "-N", f"n{i}", "-f", str(folder / "slurm.conf"))
        _until(lambda: _idle(environment) == nodes, folder)
        yield environment
        subprocess.run(["scancel", "--user=root", "--signal=KILL"], env=environment, capture_output=True, check=False, timeout=20)


def _from1(count: int) -> range:
    return range(1, count + 1)


def _idle(environment: dict[str, str]) -> int:
    """Number of nodes that are ready."""
    said = subprocess.run(["sinfo", "-h", "-N", "-o", "%T"], env=environment, capture_output=True, text=True, check=False, timeout=20)
    return said.stdout.split().count("idle")


def _until(holds, folder: Path) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + BEGIN_SECONDS
    while not holds():
        if time.monotonic() > end:
            logs = "\n".join(f"{log.name}: {log.read_text(errors='replace')[-1000:]}" for log in sorted(folder.glob("*.log")))
            raise RuntimeError(f"Slurm does not start\n{logs}")
        time.sleep(0.1)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a daemon that was started here."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
