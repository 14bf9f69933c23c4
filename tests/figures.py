"""Curves that no test looks at: `matplotlib` takes most of a small training's time to draw them."""

import pytest
from matplotlib.figure import Figure

from trainer import curves


class Undrawn(Figure):
    """A figure that is made as always, and of which no picture is drawn."""

    def savefig(self, file, *, format, **options):
        return file.write(b"\x89PNG") if format == "png" else super().savefig(file, format=format, **options)


@pytest.fixture(scope="session", autouse=True)
def undrawn_curves():
    """Trainings write files of curves without pictures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "Figure", Undrawn)
        yield
