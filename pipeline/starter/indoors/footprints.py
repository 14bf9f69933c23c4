"""Rectangles on the floor that may be turned: where their corners are, and whether they overlap.

    chair = Footprint(x=1.0, z=2.0, width=0.5, depth=0.6, turn=0.3)
    chair.overlaps(table)

A turn is in radians about +Y, counter-clockwise seen from above, as for `pipeline.geometry.Boxes`.
"""

import math
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """A rectangle on the floor, in metres."""

    x: float
    z: float
    width: float
    """Length along its own x."""
    depth: float
    """Length along its own z."""
    turn: float = 0.0

    def place(self, x: float, z: float) -> tuple[float, float]:
        """A place given in the rectangle's own axes, seen from its middle, in the axes of the room."""
        c, s = math.cos(self.turn), math.sin(self.turn)
        return self.x + c * x + s * z, self.z - s * x + c * z

    def corners(self) -> np.ndarray:
        """[4, 2]: x and z of the corners."""
        w, d = self.width / 2, self.depth / 2
        return np.array([self.place(x, z) for x, z in ((-w, -d), (w, -d), (w, d), (-w, d))])

    def wider(self, by: float) -> "Footprint":
        """The rectangle with this margin on every side."""
        return replace(self, width=self.width + 2 * by, depth=self.depth + 2 * by)

    def before(self, metres: float) -> "Footprint":
        """The rectangle of this depth just before it, on the side of its own +z."""
        x, z = self.place(0.0, (self.depth + metres) / 2)
        return replace(self, x=x, z=z, depth=metres)

    def overlaps(self, other: "Footprint") -> bool:
        """Whether two rectangles share an area. It holds unless one of their four axes separates them."""
        if (
            math.hypot(self.x - other.x, self.z - other.z)
            >= (math.hypot(self.width, self.depth) + math.hypot(other.width, other.depth)) / 2
        ):
            return False
        mine, theirs = self.corners(), other.corners()
        for turn in (self.turn, other.turn):
            axes = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
            a, b = mine @ axes, theirs @ axes
            if (a.max(axis=0) <= b.min(axis=0) + 1e-9).any() or (b.max(axis=0) <= a.min(axis=0) + 1e-9).any():
                return False
        return True
