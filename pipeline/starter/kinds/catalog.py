"""Every kind of thing the starter collection has, and its maker: a function from a random generator to a `Thing`.

    thing = KINDS["night stand"](np.random.default_rng(0))

A new kind is one module beside this one, one name here, and another `shapes.REVISION`, since the kinds of all indices move. Its parts are
named from `thing.PARTS`.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Final

from pipeline.starter.kinds.thing import Rng, Thing

NAMES: Final = (
    "airplane bathtub bed bench boat bookshelf bottle bowl bucket car chair clock desk door dresser fence frying_pan guitar house "
    "keyboard ladder lamp laptop mailbox microwave monitor mug night_stand piano potted_plant radio refrigerator rocket sink sofa "
    "stairs stool table teapot tent toilet traffic_cone umbrella vase wardrobe"
).split()
"""The modules, each with a maker of its own name. The order is part of what an index means."""

KINDS: Final[dict[str, Callable[[Rng], Thing]]] = {
    name.replace("_", " "): getattr(import_module(f"pipeline.starter.kinds.{name}"), name) for name in NAMES
}
