"""Drawing on every core, as a build does it, against pyrender's plain lit loop in one process.

    python bench/render.py                             # shapes of the starter collection
    python bench/render.py MESHES [MORE ...] --shapes 20    # one row for each collection

The plain loop is what a script would do: trimesh loads, `pyrender.Mesh.from_trimesh`, one directional light on the camera
and ambient light, pyrender's own shader, software GL on its default threads. Both draw the same shapes from the same 12
cameras at 224 x 224 from meshes in memory; loading is not timed.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import machine
import numpy as np
from measure import Report

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


class Team:
    """Processes that draw the same shapes again and again, each its part of them."""

    def __init__(self, kind: str, location: str, count: int, parts: int) -> None:
        """`count`: how many shapes. `parts`: how many processes. Several get one thread of software GL each, one as many as it takes."""
        environment = {k: v for k, v in os.environ.items() if k != "LP_NUM_THREADS"} | ({"LP_NUM_THREADS": "1"} if parts > 1 else {})
        jobs = [json.dumps([kind, [location], count, part, parts]) for part in range(parts)]
        self.processes = [
            subprocess.Popen(
                [sys.executable, __file__, "--serve", job],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=environment,
            )
            for job in jobs
        ]
        self.views: int = sum(json.loads(self._answer(process))[1] for process in self.processes)

    def _answer(self, process: "subprocess.Popen[str]") -> str:
        assert process.stdout is not None
        return process.stdout.readline()

    def draw(self) -> int:
        """Draw everything once. Returns the number of views."""
        for process in self.processes:
            print("go", file=process.stdin, flush=True)
        for process in self.processes:
            self._answer(process)
        return self.views

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("locations", nargs="*", default=["starter"])
    parser.add_argument("--shapes", type=int, default=24, help="of each collection")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(*json.loads(arguments.serve))
        return
    cores = machine.cores()
    with Report("render") as report:
        for location in arguments.locations:
            teams = {
                f"ours, {cores} processes": Team("ours", location, arguments.shapes, cores),
                "plain pyrender, 1 process": Team("plain", location, arguments.shapes, 1),
            }
            what = f"drawing {arguments.shapes} shapes of {Path(location).name}"
            report.compare(what, {name: team.draw for name, team in teams.items()}, arguments.rounds, unit="views")
            for team in teams.values():
                team.end()


if __name__ == "__main__":
    main()
