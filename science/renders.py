"""The accuracy of the teachers on the pictures of a cache, to compare a 3D encoder with that learns from them.

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

from cache_schema import products
from cache_schema.classes import SOURCE
from cache_schema.store import Cache, open_cache
from trainer.part import teachers_of
from trainer.tasks import svm
from trainer.tasks.shapes import EVERYTHING, of_split
from trainer.tasks.zeroshot import class_embeddings


def embedded(cache: Cache, teacher: str, rows: np.ndarray) -> torch.Tensor:
    """Embeddings of the views of the shapes in these rows of the cache, [n, V, E], of length 1."""
    return F.normalize(torch.from_numpy(cache.array(products.IMAGE.product(teacher=teacher))[:][rows]).float(), dim=-1)


def probed(cache: Cache, teacher: str) -> float:
    train, test = of_split(cache, "train"), of_split(cache, None)
    features = embedded(cache, teacher, train.rows).mean(1).numpy()
    probe = svm.fit(features, train.labels, svm.choose(features, train.labels, svm.Options().seed))
    return float(probe.score(embedded(cache, teacher, test.rows).mean(1).numpy(), test.labels))


def named(cache: Cache, teacher: str) -> dict[str, float]:
    shapes = of_split(cache, EVERYTHING)
    near = embedded(cache, teacher, shapes.rows) @ class_embeddings(cache, SOURCE, teacher).T  # [N, V, C]
    truth = torch.from_numpy(shapes.labels)
    return {
        "views": float((near.argmax(2) == truth[:, None]).float().mean()),
        "shapes": float((near.mean(1).argmax(1) == truth).float().mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache")
    cache = open_cache(parser.parse_args().cache)
    scores = {}
    for teacher in sorted(teachers_of(cache)):
        texts = named(cache, teacher) if cache.of(products.LABELS, set=SOURCE, teacher=teacher) else {}
        scores[teacher] = {name: round(value, 4) for name, value in {"svm": probed(cache, teacher), **texts}.items()}
    print(json.dumps(scores, indent=2))


if __name__ == "__main__":
    main()
