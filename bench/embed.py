"""What embedding costs beside the encoder: from a cache against the plain forward pass, and from meshes against the slower of its stages.

    python bench/embed.py [--rounds 5] [--shapes 512] [--meshes 400] [--folder FOLDER] [--encoder pointmae-tiny]

From a cache, and of clouds in memory: the same shapes of 1024 points, in batches of 64, in one process. A share of 1 means that reading,
checking and pooling cost nothing. From meshes: the command with all its processes, against making points of the same files in processes
that are at work, and against the forward passes alone. If one of them keeps all cores busy, the other cannot run meanwhile. Then the sum
of both is the limit. The weights are random: right for timing only.
"""

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import trimesh
from measure import Report, Way, in_turns

from cache_schema import store, synthetic
from cache_schema.spec import PointSpec
from pipeline.opening import open_config_source
from pipeline.recipes import configured as pipeline_recipe
from pipeline.work import Machine
from pipeline.worker import Task, Workers
from trainer import checkpoint
from trainer.align import Teacher
from trainer.checkpoint import Header
from trainer.config import AlignConfig
from trainer.model import DRAWS, Model
from trainer.points import Convention
from trainer.recipes import configured
from trainer.stage import Facts, build
from trainer.tasks.features import BATCH


def model(run: Path, encoder: str) -> Model:
    """A run with random weights that says that it was trained on the points of the cache."""
    config = configured("tiny", "align", [f"encoder.name={encoder}"])
    assert isinstance(config, AlignConfig)
    teacher = Teacher(name="t", dim=512, text=True, objective="contrast")
    facts = Facts(teachers=(teacher,))
    header = Header(config=config, facts=facts, caches=(), step=1, steps=1, points=Convention(count=1024, ordered=512, dtype="float16"))
    run.mkdir()
    checkpoint.save(run, header, build(config, facts), {}, {})
    return Model.load(run, "cpu")


def write_meshes(folder: Path, count: int) -> None:
    """Ellipsoids of 5,120 triangles, as binary .ply files."""
    folder.mkdir()
    draws = np.random.default_rng(0)
    for i in range(count):
        mesh = trimesh.creation.icosphere(subdivisions=4)
        mesh.vertices *= draws.uniform(0.2, 1.0, 3)
        mesh.export(folder / f"{i:04}.ply")


def from_a_cache(report: Report, arguments: argparse.Namespace, used: Model, place: Path) -> None:
    """Vectors of a cache, and of clouds in memory, against the plain forward pass on the same points."""
    path = place / "c.zarr"
    synthetic.write(path, shapes=arguments.shapes, shard=128, points=PointSpec(), teachers=(synthetic.teacher("t", 512),))
    cache = store.open_cache(path)
    held = torch.from_numpy(cache.column("points/xyz")[:, 0]).float()
    forward = plain(used, held)
    for what, ours in ("a cache", lambda: used.embed_cache(cache)), ("clouds in memory", lambda: used.embed(held)):
        what = f"{arguments.encoder}: vectors of {what}"
        report.limit(what, ours, forward, "plain forward pass", arguments.rounds, arguments.shapes, "shapes")


def plain(used: Model, points: torch.Tensor) -> Callable[[], None]:
    """The forward pass of a model's encoder on points [n, P, 3] in memory, in the batches of a task."""
    encoder = used._stage.encoder

    @torch.no_grad()
    def forward() -> None:
        for part in points.split(BATCH):
            encoder(encoder.patchify(part, True))

    return forward


def from_meshes(report: Report, arguments: argparse.Namespace, used: Model, place: Path) -> None:
    """`mmpd-train embed` of a folder of meshes, with all that starts and ends, against each of its two stages in processes at work."""
    folder = arguments.folder or place / "meshes"
    if arguments.folder is None:
        write_meshes(folder, arguments.meshes)
    config = pipeline_recipe("points", ["points.normals=false", "point_labels=false", "given=false"])
    source = open_config_source(str(folder), config)
    task, count = Task(reader=source.reader, points=config.points, views=None), len(source.entries)
    points = torch.randn(count * DRAWS, config.points.count, 3).clamp(-1, 1)
    embed = [sys.executable, "-m", "trainer.cli", "embed", str(used.run), str(folder), str(place / "v.npz"), "--force"]
    with Workers(task, Machine().processes()) as pool:

        def sampled() -> None:
            for future in [pool.submit(entry) for entry in source.entries]:
                future.result()

        sampled()  # starts the processes
        ways: dict[str, Way] = {
            "mmpd-train embed": embed,
            "points of the meshes alone": sampled,
            "forward passes alone": plain(used, points),
        }
        turns = in_turns(ways, arguments.rounds, count, warm=False)
    pairs = list(zip(turns["points of the meshes alone"], turns["forward passes alone"], strict=True))
    slowest = [max(pair, key=lambda one: one.wall) for pair in pairs]
    both = [dataclasses.replace(one, wall=one.wall + other.wall, processor=one.processor + other.processor) for one, other in pairs]
    what = f"{arguments.encoder}: vectors of {count} meshes, each the mean over {DRAWS} samples"
    limits = ("points of the meshes alone", "forward passes alone", "the slower of the two", "the two one after the other")
    report.row(what, {**turns, "the slower of the two": slowest, "the two one after the other": both}, "meshes", limits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shapes", type=int, default=512)
    parser.add_argument("--meshes", type=int, default=400)
    parser.add_argument("--folder", type=Path, help="a folder of meshes; default: ellipsoids")
    parser.add_argument("--encoder", default="pointmae-tiny")
    arguments = parser.parse_args()
    with Report("embed") as report, tempfile.TemporaryDirectory(prefix="mmpd-bench-") as place:
        used = model(Path(place) / "run", arguments.encoder)
        from_a_cache(report, arguments, used, Path(place))
        from_meshes(report, arguments, used, Path(place))


if __name__ == "__main__":
    main()
