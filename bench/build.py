"""What overlapping is worth: a whole build against its stages run alone. Prints seconds and ratios.

    python bench/build.py                                   # with starter-resnet
    python bench/build.py --teacher vit-b32                 # a ViT-B/32 image tower with random weights
    python bench/build.py --source MESHES --shapes 0

Alone means: drawing with no teacher, then the teacher on the stored pictures. Where both are bound by the same cores, as
without a GPU, no overlap can beat the sum of their processor time; that limit is printed beside the longest stage.
"""

import argparse
import dataclasses
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in `mmpd-cache`, before torch is imported

from pipeline import commands
from pipeline.recipes import BuildConfig, SourceConfig


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


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds, children's included."""

    def used() -> float:
        return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))

    wall, cpu = time.perf_counter(), used()
    work()
    return time.perf_counter() - wall, used() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="starter")
    parser.add_argument("--shapes", type=int, default=96, help="of the starter collection; 0 for all of --source")
    parser.add_argument("--teacher", default="starter-resnet")
    arguments = parser.parse_args()
    options = (f"count={arguments.shapes}",) if arguments.shapes else ()
    machine = commands.Machine(device="cpu")
    with tempfile.TemporaryDirectory(prefix="mmpd-bench-") as place:
        root = Path(place)
        teacher = vit_b32(root / "vit-b32") if arguments.teacher == "vit-b32" else arguments.teacher
        config = BuildConfig(source=SourceConfig(options=options), labels=())

        def build(name: str, teachers: tuple[str, ...]) -> None:
            commands.build_cache(arguments.source, root / name, dataclasses.replace(config, teachers=teachers), machine, Silent())

        build("warm.zarr", (teacher,))  # imports, and the page cache
        drawing, drawing_cpu = seconds(lambda: build("parts.zarr", ()))
        embedding, embedding_cpu = seconds(lambda: commands.add_teacher(root / "parts.zarr", teacher, None, 64, machine, Silent()))
        whole, _ = seconds(lambda: build("whole.zarr", (teacher,)))
    limit = max(drawing, embedding, (drawing_cpu + embedding_cpu) / len(os.sched_getaffinity(0)))
    print(f"drawing and points alone   {drawing:7.1f} s")
    print(f"teacher alone              {embedding:7.1f} s")
    print(f"whole build                {whole:7.1f} s   {whole / max(drawing, embedding):.2f}x the longest stage alone")
    print(f"one after the other        {drawing + embedding:7.1f} s   the build is {(drawing + embedding) / whole:.2f}x faster")
    print(f"processor time allows      {limit:7.1f} s   the build is {whole / limit:.2f}x that")


if __name__ == "__main__":
    main()
