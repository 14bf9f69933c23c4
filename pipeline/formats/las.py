"""Laser scans (.las, .laz), read with the package `laspy` of the extra `las`."""

import re
import struct
from typing import Any, Final

import numpy as np

from cache_schema.errors import UserError
from pipeline.formats import columns
from pipeline.geometry import Cloud
from pipeline.reading import File

DENSEST: Final = 100
"""Largest number of points for each byte of a file. A damaged header may declare any number, and reading them would take hours."""

MODEL, GEOGRAPHIC = 1024, 2
"""The key of GeoTIFF for the kind of coordinates, and its value for longitudes and latitudes (GTModelTypeGeoKey)."""

HORIZONTAL: Final = re.compile(
    r"\b(PROJCS|PROJCRS|PROJECTEDCRS|GEOGCS|GEOGCRS|GEOGRAPHICCRS|GEODCRS|GEODETICCRS|LOCAL_CS|ENGCRS|ENGINEERINGCRS)\s*[\[(]",
    re.IGNORECASE,
)
"""The beginning of a horizontal system of coordinates in a text (WKT 1 and 2)."""

NOISE: Final = (7, 18)
"""Classes of points that are noise: low and high points (LAS 1.4)."""


def read(file: File) -> Cloud:
    """The points of a scan, with colours if the scan has any. A remark names fields that the format does not have by itself.

    Points that are marked as withheld, which means deleted, or as noise (classes 7 and 18) are left out with a remark.

    Raises:
        UserError: laspy is not installed, the file is damaged or no scan, or its places are in degrees.
    """
    try:
        import laspy
        from laspy.errors import LaspyException
    except ImportError as error:
        raise UserError(f"{file.suffix} files need laspy: pip install 'mmpd[las]'") from error
    try:
        with laspy.open(file.path) as reader:
            count, size = reader.header.point_count, file.path.stat().st_size
            if count > DENSEST * size:
                raise UserError(f"damaged: the file declares {count:,} points in {size:,} bytes")
            scan = reader.read()
        degrees = any(map(_in_degrees, (*scan.header.vlrs, *(scan.evlrs or ()))))
        names = set(scan.point_format.dimension_names)
        points = np.stack([np.asarray(scan.x), np.asarray(scan.y), np.asarray(scan.z)], axis=1)
        rest = list(scan.point_format.extra_dimension_names)  # every scan has a dozen others, such as its times, which nobody misses
        dropped = np.isin(np.asarray(scan.classification), NOISE) | (np.asarray(scan.withheld) != 0)
        rgb = np.stack([np.asarray(scan[name]) for name in ("red", "green", "blue")], axis=1) if "red" in names else None
    except UserError:
        raise
    except (LaspyException, ValueError, OSError, EOFError, struct.error, RuntimeError) as error:
        if "LazBackend" in str(error):
            raise UserError(f"{file.suffix} files need lazrs: pip install 'mmpd[las]'") from error
        raise UserError(f"cannot be read as a laser scan, damaged or cut short? ({error})") from error
    if len(points) != scan.header.point_count:
        raise UserError(f"the file is cut short: it says {scan.header.point_count} points and holds {len(points)}")
    if degrees:
        raise UserError("the file says that its places are in degrees: project them to metres first, for instance to UTM")
    columns.left_out(rest, file.warn)
    if dropped.all():
        file.warn("all points are marked as withheld or noise: they are kept")
    elif dropped.any():
        file.warn(f"{np.count_nonzero(dropped):,} of {len(points):,} points are marked as withheld or noise and left out")
        points, rgb = points[~dropped], None if rgb is None else rgb[~dropped]
    if rgb is None or not rgb.any():  # many scanners write 0 for colours
        return Cloud(points=points, warnings=tuple(file.warnings))
    if rgb.max() > 255:
        return Cloud(points=points, colors=np.rint(rgb / 257).astype(np.uint8), warnings=tuple(file.warnings))
    file.warn("colours of 8 bits where the format has 16")
    return Cloud(points=points, colors=columns.as_bytes(rgb, file.warn, "colours"), warnings=tuple(file.warnings))


def _in_degrees(record: Any) -> bool:
    """Whether a record of the header says that places are longitudes and latitudes: a key of GeoTIFF, or a text (WKT)."""
    keys = {key.id: key.value_offset for key in getattr(record, "geo_keys", ())}
    text = getattr(record, "string", "")
    return keys.get(MODEL) == GEOGRAPHIC or (isinstance(text, str) and _text_in_degrees(text))


def _text_in_degrees(text: str) -> bool:
    """Whether the horizontal coordinates of a text (WKT) are degrees.

    The first horizontal system decides. One that is projected contains a geographic one, and compound and bound ones begin with the
    horizontal one. A geodetic system may also be Cartesian, with its origin in the middle of the earth.
    """
    text = re.sub(r'"[^"]*"', '""', text)  # names
    found = HORIZONTAL.search(text)
    if found is None or not found[1].upper().startswith("GEO"):
        return False
    axes = re.search(r"\bCS\s*[\[(]\s*(\w+)", text[found.end() :], re.IGNORECASE)
    return axes is None or axes[1].lower() != "cartesian"
