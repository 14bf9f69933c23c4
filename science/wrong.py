"""What teachers can tell of texts that are wrong in one thing: a wrong text that looks right to a teacher teaches an encoder nothing.

    python science/wrong.py shapes.zarr                # a table of every teacher and every kind of wrong text

The cache has `descriptions` and `wrong-descriptions`. For each kind: the number of shapes that have such a text, its mean cosine to the
right sentence, and the share of shapes whose pictures, on average, are nearer to the right one, with its 95 % interval (chance is 50 %).
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from running import plainly

from cache_schema import products
from cache_schema.errors import UserError
from cache_schema.intervals import wilson
from cache_schema.spec import CaptionSpec
from cache_schema.store import Cache, open_cache


def unit(values: NDArray[np.float16]) -> NDArray[np.float64]:
    """Vectors of length 1; zeros stay. [..., E]"""
    wide = values.astype(np.float64)
    return np.asarray(wide / np.maximum(np.linalg.norm(wide, axis=-1, keepdims=True), 1e-9))


def table(cache: Cache, right: str, wrong: str) -> list[tuple[str, str, int, float, float]]:
    """(teacher, kind, shapes, mean cosine, share of shapes whose pictures are nearer to the right text), of teachers that read text."""
    told, false = (cache.record(products.CAPTIONS.product(captions=name)).spec for name in (right, wrong))
    assert isinstance(told, CaptionSpec) and isinstance(false, CaptionSpec)
    found = []
    for record in cache.of(products.TEXT, captions=wrong):
        teacher = products.parts(record)["teacher"]
        image = unit(unit(cache.array(products.IMAGE.product(teacher=teacher))[:]).mean(axis=1))  # type: ignore[arg-type]  # [N, E]
        sentence = unit(cache.array(products.TEXT.product(captions=right, teacher=teacher))[:, told.kinds.index("sentence")])
        for place, kind in enumerate(false.kinds[: false.keep]):
            other = unit(cache.array(record.product)[:, place])
            there = other.any(axis=-1) & sentence.any(axis=-1) & image.any(axis=-1)
            cosine = (sentence * other).sum(axis=-1)[there]
            nearer = ((image * sentence).sum(axis=-1) > (image * other).sum(axis=-1))[there]
            if len(cosine):
                found.append((teacher, kind, len(cosine), float(cosine.mean()), float(nearer.mean())))
    return found


@plainly()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--right", default="descriptions", help="captions with right sentences")
    parser.add_argument("--wrong", default="wrong-descriptions", help="captions that are wrong on purpose")
    arguments = parser.parse_args()
    found = table(open_cache(arguments.cache), arguments.right, arguments.wrong)
    if not found:
        raise UserError(
            f"{arguments.cache} has no shape with a right and a wrong sentence that a teacher has embedded: expected a teacher with a text "
            f"side, which `mmpd-cache add-teacher` adds, and wrong texts in captions {arguments.wrong!r}"
        )
    for teacher, kind, shapes, cosine, share in found:
        low, high = wilson(100 * share, shapes)
        print(
            f"{teacher:20} {kind:10} {shapes:6} shapes  cosine {cosine:.3f}  pictures nearer to the right text {share:.1%} "
            f"({low:.1f} % to {high:.1f} %)"
        )


if __name__ == "__main__":
    main()
