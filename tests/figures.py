"""Pictures that no test looks at: `matplotlib` takes most of a small training's time to draw its curves, and of an evaluation's for its
pictures. Those of the quickstart are drawn as users have them."""

import pytest
from matplotlib.figure import Figure

from trainer import curves
from trainer.tasks import picture, picture_above


class Undrawn(Figure):
    """A figure that is made as always, and of which no picture is drawn."""

    def savefig(self, file, *, format, **options):
        return file.write(b"\x89PNG") if format == "png" else super().savefig(file, format=format, **options)


@pytest.fixture(scope="session", autouse=True)
def undrawn_curves():
    """Trainings write files of curves without pictures, and evaluations draw without arranging, which takes as long."""
    draw = picture.as_png

    def unarranged(figure):
        figure.set_layout_engine("none")
        return draw(figure)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "Figure", Undrawn)
        for module in (picture, picture_above):
            patch.setattr(module, "as_png", unarranged)
        yield
