"""A captioner that is in no catalogue: `test_caption.py` registers it and builds a cache with it."""

from cache_schema.spec import CaptionSpec
from pipeline.captioners.catalog import fit

PACKAGES = ("numpy",)


class Brightness:
    """Says how bright a picture is."""

    def __init__(self, spec):
        self.spec = spec

    def caption(self, images, keys, names):
        return [
            [fit(f"{name} of {image.mean():.0f}, told {i} times") for i in range(self.spec.samples)]
            for image, name in zip(images, names, strict=True)
        ]


def load(spec: CaptionSpec, *, device):
    return Brightness(spec)
