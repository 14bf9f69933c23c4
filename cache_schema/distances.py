"""Distances from a sensor in the ids of shapes: `car/0003#0@23.4m` was 23.4 m away when it was scanned.

Sources of laser scans write them, and evaluations tell results by distance.
"""

import re
from typing import Final

_SAID: Final = re.compile(r"@(\d+\.\d)m$")


def at_distance(name: str, metres: float) -> str:
    """The id of a shape with this name that was scanned from this distance."""
    return f"{name}@{metres:.1f}m"


def distance_in(name: str) -> float | None:
    """The distance in metres that an id says; None if it says none."""
    said = _SAID.search(name)
    return float(said[1]) if said else None
