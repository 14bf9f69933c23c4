"""Licences that the files of shapes state themselves: glTF's `asset.copyright`, and `asset.extras.license` as Sketchfab writes it.

licence_in(Path("chair.glb"))       # CC-BY-4.0

Only the JSON of a file is read. It is not trusted: a file that is damaged states nothing here, and fails when it is read as a shape.
"""

import json
import re
import struct
from pathlib import Path
from typing import Any, Final

from cache_schema import licences

MOST: Final = 64 << 20
"""Largest JSON that is read, in bytes."""

STATED: Final = (".glb", ".gltf")
"""Extensions of files that can state a licence."""

_COMMONS: Final = re.compile(r"\bCC0(?:[ -]1\.0)?\b|\bCC[ -]BY(?:[ -](?:NC|SA|ND))*(?:[ -]\d\.\d)?\b", re.IGNORECASE)
"""A licence of Creative Commons in a sentence, such as `(c) 2020 by Ann, CC BY 4.0`."""


def licence_in(path: Path) -> str:
    """Return the name of the licence that a file states; empty if it states none, or in words that nobody here knows."""
    asset = _asset(path)
    extras = asset.get("extras")
    for said in (extras.get("license") if isinstance(extras, dict) else None, asset.get("copyright")):
        if isinstance(said, str) and len(said) <= 500 and (found := _named(said.strip())):
            return found
    return ""


def _named(said: str) -> str:
    """Return the name of a licence in a text; empty if there is none, or more than one."""
    name = re.sub(r"\s*\(https?://[^()]*\)$", "", said)  # Sketchfab adds the address to the name
    if licences.terms(name).sharing != "unknown":
        return name
    found = {licences.normal(one): one for one in _COMMONS.findall(said)}
    return found.popitem()[1] if len(found) == 1 else ""


def _asset(path: Path) -> dict[str, Any]:
    """Return the object `asset` of a glTF file; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(20)
            if head[:4] == b"glTF" and len(head) == 20:
                size, kind = struct.unpack("<I4s", head[12:])
                text = file.read(size) if kind == b"JSON" and size <= MOST else b""
            else:
                text = head + file.read(MOST)
        body = json.loads(text)
    except (OSError, ValueError, RecursionError):
        return {}
    asset = body.get("asset") if isinstance(body, dict) else None
    return asset if isinstance(asset, dict) else {}
