"""The pre-training steps of torch-pointcloud (PyPI), for `step.py`, which starts this file in an environment of its own.

    python bench/peer_step.py point-mae --precision bfloat16      # waits for lines of input, and takes a step for each

Its models are used as they are, in training mode, with their own Chamfer distance. Only farthest points and nearest neighbours are ours:
theirs need an extension that is not on PyPI. Input are clouds of random numbers, and AdamW is torch's fused one, as in `step.py`.
"""

import argparse
import sys
from pathlib import Path

import torch
from served import serve
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent))
from trainer import machine, ops  # they need torch alone

SIZES = {"point-mae": (32, 1024), "point-m2ae": (16, 2048)}
"""Shapes in a batch, and points of a shape."""


MODELS = {"point-mae": "point-mae-base.pretrain.yatian-pang", "point-m2ae": "point-m2ae-base.pretrain.renrui-zhang"}


def grouped(
    pos: Tensor, batch: Tensor, num_groups: int, group_size: int, random_start: bool = False, return_indices: bool = False
) -> object:
    """torch-pointcloud's `group` for clouds of equal size."""
    clouds = pos.unflatten(0, (int(batch[-1]) + 1, -1))  # [B, P, 3]
    centres = ops.gather(clouds, ops.farthest_points(clouds, num_groups))
    members = ops.nearest(centres, clouds, group_size)
    groups = ops.gather(clouds, members) - centres.unsqueeze(2)  # [B, G, K, 3]
    first = torch.arange(0, len(pos), clouds.shape[1]).view(-1, 1, 1)
    return (groups, centres, (members + first).flatten()) if return_indices else (groups, centres)


def neighbours(x: Tensor, y: Tensor, k: int, batch_x: Tensor, batch_y: Tensor, **_: object) -> Tensor:
    """torch-geometric's `knn` for clouds of equal size: rows of y and of their nearest in x, [2, M k]."""
    many = int(batch_x[-1]) + 1
    found = ops.nearest(y.unflatten(0, (many, -1)), x.unflatten(0, (many, -1)), k)  # [B, Q, k]
    first = torch.arange(0, len(x), len(x) // many).view(-1, 1, 1)
    return torch.stack([torch.arange(len(y)).repeat_interleave(k), (found + first).flatten()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=SIZES)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--keep", action="store_true", help="with the memory settings of mmpd-train")
    arguments = parser.parse_args()
    if arguments.keep:
        machine.keep_freed()
    from torch_pointcloud.losses import chamfer_distance
    from torch_pointcloud.models import create_model, point_m2ae, point_mae
    from torch_pointcloud.ops import cluster

    point_mae.group = point_m2ae.group = grouped
    cluster.pool.knn = neighbours
    model = create_model(MODELS[arguments.model], pretrained=False)
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-4, fused=True)
    size, points = SIZES[arguments.model]
    xyz = torch.randn(size, points, 3, generator=torch.Generator().manual_seed(0))
    pos = (xyz / xyz.norm(dim=-1).amax(1)[:, None, None]).flatten(0, 1)
    batch = torch.arange(size).repeat_interleave(points)

    def run() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=arguments.precision == "bfloat16"):
            pred, target, pred_batch, target_batch = model(None, pos, batch)
        chamfer_distance(pred.float(), target.float(), pred_batch=pred_batch, target_batch=target_batch).backward()
        optimizer.step()

    serve(run, per=size)


if __name__ == "__main__":
    main()
