"""Two ranks of a training, as processes that are forked from one that has imported everything."""

import os
from collections.abc import Callable
from pathlib import Path

import torch

from tests import forks  # noqa: F401 - names what the server of all forks imports


def in_ranks(function: Callable[..., None], *arguments: object) -> None:
    """Call a function of a module with its rank, 0 or 1, and `arguments` in two processes. An error in one is an error here."""
    torch.multiprocessing.start_processes(function, arguments, nprocs=2, start_method="forkserver")


def joined(rank: int, folder: Path, function: Callable[..., None], *arguments: object) -> None:
    """Call a function in a rank that has met the other in a folder, as `torchrun` starts it. For `in_ranks`."""
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2")
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    function(*arguments)
    torch.distributed.destroy_process_group()
