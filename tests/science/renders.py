"""Zero-shot by the teachers themselves on a cache's pictures, all usable shapes with a class: what a 3D encoder is held against.

    python tests/science/renders.py modelnet10.zarr

Prints JSON: for each teacher with a text side the share of views named rightly, and of shapes by the mean over their views.
"""

import argparse
import json

import numpy as np
import torch
import torch.nn.functional as F

from cache_schema.store import open_cache
from trainer.tasks.zeroshot import class_embeddings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache")
    arguments = parser.parse_args()
    cache = open_cache(arguments.cache)
    usable = np.flatnonzero(cache.ok() & (cache.array("label")[:] >= 0))
    truth = torch.from_numpy(cache.array("label")[:].astype(np.int64)[usable])
    scores = {}
    for product in cache.products():
        kind, _, rest = product.partition("/")
        if kind != "labels" or not rest.startswith("source/"):
            continue
        teacher = rest.partition("/")[2]
        image = F.normalize(torch.from_numpy(cache.array(f"image/{teacher}")[:][usable]).float(), dim=-1)  # [N, V, E]
        near = image @ class_embeddings(cache, "source", teacher).T  # [N, V, C]
        scores[teacher] = {
            "views": round(float((near.argmax(2) == truth[:, None]).float().mean()), 4),
            "shapes": round(float((near.mean(1).argmax(1) == truth).float().mean()), 4),
        }
    print(json.dumps(scores, indent=2))


if __name__ == "__main__":
    main()
