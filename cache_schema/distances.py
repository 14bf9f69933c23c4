"""Distances from a sensor in the ids of shapes: `car/0003#0@23.4m` was 23.4 m away when it was scanned.

Sources of laser scans write them, and evaluations tell results by distance. All distances are over the ground, but each source gives the
one that it has:

  lidar          from the sensor to where the object begins: its middle is farther by half the diagonal of its box
  kitti          from the left grey camera, 27 cm ahead of the sensor, to the middle of the labelled box
  semantickitti  from the sensor to the mean of the points that were seen, most of which are on the near side

So a car in front of the sensor differs by about two metres between the sources. Compare results by distance within a source.
"""

import hashlib
import re
from typing import Final

from cache_schema.spec import TEXT_BYTES

_SAID: Final = re.compile(r"@(\d+\.\d)m$")


def at_distance(name: str, metres: float) -> str:
    """The id of a shape with this name that was scanned from this distance. A name too long for an id becomes its beginning and a hash."""
    said = f"@{metres:.1f}m"
    raw, room = name.encode(), TEXT_BYTES - len(said)
    if len(raw) > room:
        mark = "~" + hashlib.sha256(raw).hexdigest()[:16]
        name = raw[: room - len(mark)].decode("utf-8", "ignore") + mark
    return name + said


def distance_in(name: str) -> float | None:
    """The distance in metres that an id says; None if it says none."""
    said = _SAID.search(name)
    return float(said[1]) if said else None
