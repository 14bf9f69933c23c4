"""Drawing on every core, as a build does it, against pyrender's plain lit loop in one process. Prints views/s and the ratio.

    python bench/render.py                             # shapes of the starter collection
    python bench/render.py MESHES [MORE ...] --shapes 20

The plain loop is what a script would do: trimesh loads, `pyrender.Mesh.from_trimesh`, one directional light on the camera
and ambient light, pyrender's own shader, software GL on its default threads. Both draw the same shapes from the same 12
cameras at 224 x 224 from meshes in memory; loading is not timed. Rounds in turn, median of the rounds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np

from pipeline.cameras import RIGS, poses
from pipeline.geometry import Mesh, normalized
from pipeline.sources.catalog import open_source


def shapes(locations: list[str], count: int) -> list[Mesh]:
    """Meshes spread evenly over each collection."""
    found: list[Mesh] = []
    for location in locations:
        source = open_source(location)
        for entry in source.entries[:: max(1, len(source.entries) * len(locations) // count)]:
            geometry = normalized(source.reader.read(entry), "unit_sphere")
            assert isinstance(geometry, Mesh)
            found.append(geometry)
    return found


def ours(meshes: list[Mesh]) -> Any:
    from cache_schema.spec import ViewSpec
    from pipeline.render import Renderer

    renderer = Renderer(ViewSpec(rig=RIGS["ring12"]))
    return lambda: [renderer.render(mesh) for mesh in meshes]


def plain(meshes: list[Mesh]) -> Any:
    os.environ["PYOPENGL_PLATFORM"] = "egl"
    import pyrender
    import trimesh
    from PIL import Image

    renderer = pyrender.OffscreenRenderer(224, 224)
    rig = RIGS["ring12"]
    prepared = []
    for mesh in meshes:
        parts = []
        for part in mesh.parts:
            visual: Any = None
            if part.texture is not None and part.uv is not None:
                material = trimesh.visual.material.PBRMaterial(
                    baseColorTexture=Image.fromarray(part.texture), baseColorFactor=part.base_color
                )
                visual = trimesh.visual.TextureVisuals(uv=part.uv, material=material)
            elif part.colors is not None:
                visual = trimesh.visual.ColorVisuals(vertex_colors=part.colors)
            parts.append(trimesh.Trimesh(part.vertices, part.faces, visual=visual, process=False))
        prepared.append((parts, poses(rig, np.concatenate([part.vertices for part in mesh.parts]))))

    def draw() -> None:
        for parts, cameras in prepared:
            scene = pyrender.Scene(bg_color=[1.0, 1.0, 1.0, 1.0], ambient_light=[0.3] * 3)
            for part in parts:
                scene.add(pyrender.Mesh.from_trimesh(part.copy()))
            camera = scene.add(pyrender.PerspectiveCamera(np.radians(rig.fov)))
            light = scene.add(pyrender.DirectionalLight(intensity=3.0))
            for pose in cameras:
                scene.set_pose(camera, pose)
                scene.set_pose(light, pose)
                renderer.render(scene)

    return draw


def serve(kind: str, locations: list[str], count: int, part: int, parts: int) -> None:
    """Child: the seconds of one round per line of input."""
    import warnings

    warnings.simplefilter("ignore")
    meshes = shapes(locations, count)[part::parts]
    draw = ours(meshes) if kind == "ours" else plain(meshes)
    draw()  # shaders compile
    print(json.dumps(["ready", 12 * len(meshes)]), flush=True)
    for _ in sys.stdin:
        draw()
        print("done", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("locations", nargs="*", default=["starter"])
    parser.add_argument("--shapes", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(*json.loads(arguments.serve))
        return
    cores = len(os.sched_getaffinity(0))

    def start(kind: str, part: int, parts: int) -> "subprocess.Popen[str]":
        environment = {k: v for k, v in os.environ.items() if k != "LP_NUM_THREADS"} | ({"LP_NUM_THREADS": "1"} if parts > 1 else {})
        job = json.dumps([kind, arguments.locations, arguments.shapes, part, parts])
        command = [sys.executable, __file__, "--serve", job]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        )

    teams = {
        "plain pyrender, 1 process": [start("plain", 0, 1)],
        f"ours, {cores} processes": [start("ours", i, cores) for i in range(cores)],
    }
    views = {name: sum(json.loads(p.stdout.readline())[1] for p in team) for name, team in teams.items()}  # type: ignore[union-attr]
    rates: dict[str, list[float]] = {name: [] for name in teams}
    for _ in range(arguments.rounds):
        for name, team in teams.items():
            begin = time.perf_counter()
            for process in team:
                print("go", file=process.stdin, flush=True)
            for process in team:
                process.stdout.readline()  # type: ignore[union-attr]
            rates[name].append(views[name] / (time.perf_counter() - begin))
    for team in teams.values():
        for process in team:
            process.kill()
    for name, values in rates.items():
        print(f"{name:28} {statistics.median(values):7.1f} views/s   ({min(values):.1f} to {max(values):.1f})")
    slow, fast = (statistics.median(values) for values in rates.values())
    pairs = [b / a for a, b in zip(*rates.values(), strict=True)]
    print(f"ratio {fast / slow:.2f} ({min(pairs):.2f} to {max(pairs):.2f} round by round), {views[name]} views a round")


if __name__ == "__main__":
    main()
