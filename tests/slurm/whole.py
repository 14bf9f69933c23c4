"""Build a cache on a Slurm of two nodes on this machine, cancel one job and kill the command, and compare with a build without a cluster.

    python -m tests.slurm.whole build/slurm                     # the default cache: minutes
    python -m tests.slurm.whole build/slurm --set source.count=96

It exits with 1 if a byte differs. Two caches are left in the folder, `alone.zarr` and `cluster.zarr`.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.boxes import contents
from tests.slurm.local import lacking, local

ROOT = Path(__file__).resolve().parents[2]
SCHEDULER = "slurm:partition=few,nodes=2,cores={cores},memory=4GB"


def command(environment, *arguments):
    """Start `mmpd-cache`."""
    line = [sys.executable, "-c", "from pipeline.cli import main; main()", *map(str, arguments)]
    return subprocess.Popen(line, env={**environment, "PYTHONPATH": str(ROOT)})


def running(environment):
    """Numbers of the jobs that run."""
    said = subprocess.run(["squeue", "-h", "-t", "RUNNING", "-o", "%i"], env=environment, capture_output=True, text=True, check=True)
    return said.stdout.split()


def until_drawn(path, count, process):
    """Wait until some shards have views. Fails if the command ends before."""
    while sum(1 for _ in path.glob("products/views/c/*/*/*")) < count:
        assert process.poll() is None, "the command ended too early"
        time.sleep(0.2)


def finished(process):
    begin = time.monotonic()
    assert process.wait() == 0
    return time.monotonic() - begin


def main(folder, settings):
    """Build twice and compare. Returns the exit status."""
    if why := lacking():
        print(f"not run: {why}")
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    alone, together = folder / "alone.zarr", folder / "cluster.zarr"
    for path in (alone, together):
        shutil.rmtree(path, ignore_errors=True)
        path.with_name(path.name + ".journal").unlink(missing_ok=True)
    cores = max(len(os.sched_getaffinity(0)) // 2, 1)
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="mmpd-slurm-") as place, local(Path(place) / "s", cpus=cores) as environment:
        asked = ("build", "starter", together, *settings, "--scheduler", SCHEDULER.format(cores=cores))
        first = command(environment, *asked)
        until_drawn(together, 1, first)
        victim = running(environment)[-1]
        subprocess.run(["scancel", victim], env=environment, check=True)
        print(f"job {victim} was cancelled", flush=True)
        until_drawn(together, 3, first)
        first.kill()
        first.wait()
        print(f"the command was killed; jobs that went on: {' '.join(running(environment))}", flush=True)
        print(f"on the cluster, second part: {finished(command(environment, *asked)):.0f} s", flush=True)
        print(f"jobs left: {len(running(environment))}", flush=True)
    print(f"alone: {finished(command(dict(os.environ), 'build', 'starter', alone, *settings)):.0f} s", flush=True)
    same = contents(alone) == contents(together)
    print(f"{len(contents(alone))} files; {'the same bytes' if same else 'OTHER BYTES'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
