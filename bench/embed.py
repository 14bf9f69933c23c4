"""What embedding costs beside the encoder: `Model.embed_cache` from a cache against the plain forward pass on points in memory.

    python bench/embed.py [--rounds 9] [--shapes 512] [--encoder pointmae-tiny]

All ways take the same shapes of 1024 points, in batches of 64. The weights are random: right for timing only. A ratio of 1 means that
reading and checking cost nothing. Beside it stands `Model.embed` of the same points as clouds in memory.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from measure import Report

from cache_schema import store, synthetic
from cache_schema.spec import PointSpec
from trainer import checkpoint
from trainer.align import Teacher
from trainer.checkpoint import Header
from trainer.config import AlignConfig
from trainer.model import Model
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--shapes", type=int, default=512)
    parser.add_argument("--encoder", default="pointmae-tiny")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mmpd-bench-") as place:
        path = Path(place) / "c.zarr"
        synthetic.write(path, shapes=arguments.shapes, shard=128, points=PointSpec(), teachers=(synthetic.teacher("t", 512),))
        cache, used = store.open_cache(path), model(Path(place) / "run", arguments.encoder)
        encoder = used._stage.encoder
        held = torch.from_numpy(cache.column("points/xyz")[:, 0]).float()

        @torch.no_grad()
        def forward() -> None:
            for points in held.split(BATCH):
                encoder(encoder.patchify(points, True))

        forward_pass = "the encoder's forward pass on points in memory"
        ways = {"Model.embed_cache": lambda: used.embed_cache(cache), "Model.embed": lambda: used.embed(held)}
        with Report("embed") as report:
            what = f"{arguments.shapes} shapes, {arguments.encoder}"
            for name, way in ways.items():
                both = {name: way, forward_pass: forward}
                report.compare(what, both, arguments.rounds, per=arguments.shapes, unit="shapes", limits=(forward_pass,))


if __name__ == "__main__":
    main()
