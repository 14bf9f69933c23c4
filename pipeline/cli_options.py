"""Arguments and options that several commands of `mmpd-cache` have."""

from pathlib import Path
from typing import Annotated

import typer

CachePath = Annotated[Path, typer.Argument(metavar="CACHE", help="Folder of the cache, NAME.zarr.", show_default=False)]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=C", help="Change one setting of the recipe. Repeatable.", show_default=False)
]
_LIMITS = "what each shape may take (limits.seconds, limits.memory_gib)"
_SERVER = "where and how a captioner's server is asked (captions.server.NAME)"
SetOfNew = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="source.B=C",
        help=f"Change how the source is read (source.NAME), {_LIMITS}, or {_SERVER}. Repeatable.",
        show_default=False,
    ),
]
SetOfOld = Annotated[
    list[str] | None, typer.Option("--set", metavar="limits.B=C", help=f"Change {_LIMITS}, or {_SERVER}. Repeatable.", show_default=False)
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 1 if any shape of the cache failed.")]
Moved = Annotated[str, typer.Option("--source", help="Where the shapes are now, if they have moved.", show_default=False)]
Recipe = Annotated[
    str,
    typer.Option(
        help="Which products to make; see `mmpd-cache recipes`. Without it: the settings of the cache's last build, or `default`.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Workers = Annotated[int, typer.Option(min=0, help="Number of processes that read and draw shapes. 0: one per core.")]
Scheduler = Annotated[
    str,
    typer.Option(
        metavar="ADDRESS",
        help="Run on a dask cluster, e.g. tcp://host:8786; or on jobs of Slurm, e.g. slurm:partition=gpu,gpus=1,nodes=4.",
        show_default=False,
    ),
]
Device = Annotated[
    str, typer.Option(help="Torch devices of the models, with commas between them. auto: all GPUs, or the CPU if there is none.")
]
Overlay = Annotated[
    Path | None,
    typer.Option(
        "--overlay",
        metavar="MINE.zarr",
        help="Write new products into this folder of your own and leave CACHE as it is. Both are then one cache, MINE.zarr.",
        show_default=False,
    ),
]
Jobs = Annotated[int, typer.Option(min=1, max=256, help="Number of files that move at once.")]
Batch = Annotated[int, typer.Option(min=1, help="Number of pictures or texts per forward pass.")]


def names_in(text: str) -> tuple[str, ...]:
    """Return the names in a text with commas between them."""
    return tuple(filter(None, (name.strip() for name in text.split(","))))
