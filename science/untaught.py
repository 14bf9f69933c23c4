"""Teach starter-resnet again without the ten kinds that rows are tested on and never trained on (`testsets.UNSEEN`).

    python science/untaught.py teachers/starter-resnet-35

The teachers that come with the project were taught all kinds. So what a 3D encoder knows of an unseen kind it may have from them. This one
has seen no picture of these kinds and read none of their names; only its tokenizer was made of words of all kinds. It is taught in fewer
steps, of fewer shapes: `STEPS`, `SHAPES`. After a stop the same command goes on. The teacher is then `NAME=open_clip:FOLDER/starter-resnet`
for `mmpd-cache add-teacher`.
"""

import argparse
from pathlib import Path
from typing import Final

from rows import ONE
from testsets import UNSEEN

from pipeline.starter import train

SHAPES: Final = 4000
"""Number of shapes whose pictures it learns from."""
STEPS: Final = 0.35
"""Number of its steps, as a share of those of the teacher that comes with the project."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where pictures, the half-trained model and the teacher go")
    train.main(parser.parse_args().folder, only=[ONE], shapes=SHAPES, steps=STEPS, without=list(UNSEEN))


if __name__ == "__main__":
    main()
