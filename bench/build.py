"""What overlapping is worth: a whole build against its stages alone, and against what the processor time of the stages allows.

    python bench/build.py                                   # with starter-resnet; then the default build, as a user starts it
    python bench/build.py --teacher vit-b32                 # a ViT-B/32 image tower with random weights
    python bench/build.py --source MESHES --shapes 0

Alone means: drawing with no teacher, then the teacher on the stored pictures. Where both are bound by the same cores, as without a GPU, no
overlap can beat the sum of their processor time.
"""

import argparse
import dataclasses
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in `mmpd-cache`, before torch is imported

import machine
from measure import Report, Turn, in_turns

from cache_schema import store
from pipeline import building
from pipeline.embedding import add_teacher
from pipeline.recipes import BuildConfig, SourceConfig
from pipeline.work import Machine


class Silent:
    """A terminal nobody looks at."""

    def say(self, text: str) -> None: ...

    def begin(self, totals: dict[str, int]) -> None: ...

    def advance(self, product: str, units: int) -> None: ...


def vit_b32(folder: Path) -> str:
    """An open_clip folder of a ViT-B/32 with random weights: right for timing, wrong for everything else."""
    from pipeline.torchvision_ops import declare_missing

    declare_missing()
    import json

    import open_clip
    from safetensors.torch import save_file

    model = open_clip.create_model("ViT-B-32")
    config = {"model_cfg": open_clip.get_model_config("ViT-B-32"), "preprocess_cfg": open_clip.get_model_preprocess_cfg(model)}
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return f"vit-b32=open_clip:{folder}"


class Stages:
    """The ways to build: each call makes a new cache, and removes the one before."""

    def __init__(self, root: Path, source: str, shapes: int, teacher: str) -> None:
        """`shapes`: how many shapes of the starter collection; 0 for all of `source`."""
        options = (f"count={shapes}",) if shapes else ()
        self.root, self.source, self.teacher = root, source, teacher
        self.config = BuildConfig(source=SourceConfig(options=options), labels=())
        self.machine = Machine(device="cpu")
        self.numbers = itertools.count()
        self.drawn = root / "none"

    def _build(self, teachers: tuple[str, ...]) -> tuple[Path, int]:
        path = self.root / f"{next(self.numbers)}.zarr"
        cache = building.build_cache(self.source, path, dataclasses.replace(self.config, teachers=teachers), self.machine, Silent())
        return path, cache.manifest.shapes

    def whole(self) -> int:
        path, shapes = self._build((self.teacher,))
        shutil.rmtree(path)
        return shapes

    def draw(self) -> int:
        shutil.rmtree(self.drawn, ignore_errors=True)
        self.drawn, shapes = self._build(())
        return shapes

    def embed(self) -> int:
        """Embed what `draw` has drawn last."""
        copy = self.root / f"{next(self.numbers)}.zarr"
        shutil.copytree(self.drawn, copy)
        add_teacher(copy, self.teacher, None, 64, self.machine, Silent())
        shutil.rmtree(copy)
        return store.open_cache(self.drawn).manifest.shapes


def allowed(drawing: Turn, embedding: Turn) -> Turn:
    """The least time that a build can take whose stages take this alone."""
    processor = drawing.processor + embedding.processor
    return Turn(max(drawing.wall, embedding.wall, processor / machine.cores()), processor, drawing.units)


def default_build(root: Path) -> int:
    """Build the default cache by the command line, with the start of the program. Returns the number of its shapes."""
    path = root / "default.zarr"
    shutil.rmtree(path, ignore_errors=True)
    path.with_name(f"{path.name}.journal").unlink(missing_ok=True)
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "--quiet", "build", "starter", str(path)]
    subprocess.run(command, check=True)
    return store.open_cache(path).manifest.shapes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="starter")
    parser.add_argument("--shapes", type=int, default=96, help="of the starter collection; 0 for all of --source")
    parser.add_argument("--teacher", default="starter-resnet")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mmpd-bench-") as place, Report("build") as report:
        root = Path(place)
        teacher = vit_b32(root / "vit-b32") if arguments.teacher == "vit-b32" else arguments.teacher
        stages = Stages(root, arguments.source, arguments.shapes, teacher)
        stages.whole()  # imports, and the page cache
        turns = in_turns({"a build": stages.whole, "drawing": stages.draw, "teacher": stages.embed}, arguments.rounds, warm=False)
        best = [allowed(one, other) for one, other in zip(turns["drawing"], turns["teacher"], strict=True)]
        report.row(
            f"a build with {arguments.teacher}: what overlaps",
            {
                "a build": turns["a build"],
                "what processor time allows": best,
                "drawing alone": turns["drawing"],
                "teacher alone": turns["teacher"],
            },
            "shapes",
            ("what processor time allows", "drawing alone", "teacher alone"),
        )
        if arguments.source == "starter":
            report.compare(
                "the default build, from the command to its end",
                {"default build": lambda: default_build(root)},
                1,
                unit="shapes",
                warm=False,
            )


if __name__ == "__main__":
    main()
