"""What the teachers themselves reach on a cache's pictures: what a 3D encoder is held against, and a bound for what it can learn of them.

    python science/renders.py modelnet10.zarr

Prints JSON. For each teacher: the accuracy of a linear SVM on a shape's mean embedding over its views, fitted on the split train and
scored on test, or val, as `mmpd-train eval svm` does it with a 3D encoder's features. With a text side also the share of all usable
shapes with a class that it names rightly, by the mean over their views, and of single views.
"""

import argparse
import json

import numpy as np
import torch
import torch.nn.functional as F

from cache_schema.store import Cache, open_cache
from trainer.tasks import svm
from trainer.tasks.shapes import EVERYTHING, of_split
from trainer.tasks.zeroshot import class_embeddings


def embedded(cache: Cache, teacher: str, rows: np.ndarray) -> torch.Tensor:
    """Of the shapes in these rows of the cache, [n, V, E] of length 1."""
    return F.normalize(torch.from_numpy(cache.array(f"image/{teacher}")[:][rows]).float(), dim=-1)


def probed(cache: Cache, teacher: str) -> float:
    train, test = of_split(cache, "train"), of_split(cache, None)
    features = embedded(cache, teacher, train.rows).mean(1).numpy()
    probe = svm.fit(features, train.labels, svm.choose(features, train.labels, svm.Options().seed))
    return float(probe.score(embedded(cache, teacher, test.rows).mean(1).numpy(), test.labels))


def named(cache: Cache, teacher: str) -> dict[str, float]:
    shapes = of_split(cache, EVERYTHING)
    near = embedded(cache, teacher, shapes.rows) @ class_embeddings(cache, "source", teacher).T  # [N, V, C]
    truth = torch.from_numpy(shapes.labels)
    return {
        "views": float((near.argmax(2) == truth[:, None]).float().mean()),
        "shapes": float((near.mean(1).argmax(1) == truth).float().mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache")
    cache = open_cache(parser.parse_args().cache)
    products = set(cache.products())
    scores = {}
    for product in sorted(products):
        kind, _, teacher = product.partition("/")
        if kind != "image":
            continue
        texts = named(cache, teacher) if f"labels/source/{teacher}" in products else {}
        scores[teacher] = {name: round(value, 4) for name, value in {"svm": probed(cache, teacher), **texts}.items()}
    print(json.dumps(scores, indent=2))


if __name__ == "__main__":
    main()
