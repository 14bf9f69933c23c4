"""Embed one text or one picture with a teacher, for a search among shapes.

    query, embedding = embed(teacher, text="a wooden chair")                # [E] float32
    embed(load("starter-resnet", fingerprint, cache, "cpu"), picture=Path("chair.png"))

The teacher must be the one that a run learned from, so it is compared by its fingerprint.
"""

import dataclasses
import io
import typing
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cache_schema import products, store
from cache_schema.errors import UserError
from cache_schema.query_files import Query
from cache_schema.spec import TeacherSpec, fingerprint
from pipeline import labels, textures
from pipeline.models import Models
from pipeline.opening import places
from pipeline.teachers import catalog
from pipeline.teachers.catalog import Precision, Teacher
from pipeline.teachers.trial import answers

UPRIGHT: Final = {3: 2, 6: 3, 8: 1}
"""Quarter turns, counter-clockwise, that bring a photo with this EXIF orientation upright."""
SQUARE: Final = 1.1
"""Largest ratio of the sides of a picture without a note that the teacher may not see all of it."""


def load(reference: str, wanted: str, cache: Path | None, device: str) -> Teacher:
    """Load a teacher by its record in a cache, or by its reference.

    Args:
        reference: as `pipeline.teachers.catalog.load` takes it. Its name is looked for in the cache.
        wanted: fingerprint that the teacher must have; empty for any.
        cache: a cache that may have been made with it; None for none.
        device: torch device.

    Raises:
        UserError: there is no such teacher, or it is another one than wanted.
    """
    name = reference.partition("=")[0] if "=" in reference else reference
    known = _recorded(cache, name) if cache is not None else []
    for spec in known:
        if not spec.imported and wanted in ("", fingerprint(spec)):
            return Models(device, places(cache) if cache is not None else None).teacher(spec)
    try:
        teacher = catalog.load(reference, device=device)
    except UserError as error:
        if "=" in reference or ":" in reference:
            raise
        raise UserError(f"{error}. {reference!r} is a name of your own: say what to load, --teacher {reference}=BACKEND:MODEL") from error
    for precision in typing.get_args(Precision):
        if wanted == fingerprint(dataclasses.replace(teacher.spec, precision=precision)) and precision != teacher.spec.precision:
            return catalog.load(reference, device=device, precision=precision)
    if wanted not in ("", fingerprint(teacher.spec)):
        spec = teacher.spec
        raise UserError(
            f"{reference} is another teacher here than the one that the run learned from: {spec.backend}:{spec.model}, weights "
            f"{spec.weights[:12]}, fingerprint {fingerprint(spec)}, expected {wanted}. Name the right one: --teacher "
            f"{name}=BACKEND:MODEL@REVISION"
        )
    return teacher


def _recorded(path: Path, name: str) -> list[TeacherSpec]:
    """Descriptions of the teachers with this name in a cache."""
    kinds = (products.IMAGE, products.TEXT, products.LABELS)
    records = [record for kind in kinds for record in store.open_cache(path).of(kind)]
    return [record.spec for record in records if isinstance(record.spec, TeacherSpec) and record.spec.name == name]


def embed(teacher: Teacher, *, text: str = "", picture: Path | None = None) -> tuple[Query, NDArray[np.float32]]:
    """Embed a text, or else a picture. The text is given to the teacher as it is, without any template.

    Returns:
        What was embedded, and the embedding as the teacher gives it. [E]

    Raises:
        UserError: the text is empty, the teacher reads no texts, or the picture cannot be read.
    """
    if picture is not None:
        pixels, notes = read_picture(picture)
        found = answers(teacher, teacher.embed_images(teacher.preprocess(pixels)[None]), 1)[0]
        return Query(teacher=teacher.spec, picture=picture.name, notes=notes), found
    if not text.strip():
        raise UserError("the text to search for is empty")
    if not teacher.spec.text:
        raise UserError(f"teacher {teacher.spec.name} reads no texts: search by --image, or choose a teacher with a text side")
    found = labels.embed_texts(teacher, [text], 1, "the query")[0]
    return Query(teacher=teacher.spec, text=text), np.asarray(found, np.float32)


def read_picture(path: Path) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Read a picture, [H, W, 3], upright and on white, as the stored views are. Also notes for the reader of the result.

    Raises:
        UserError: there is no such file, or no picture in it.
    """
    if not path.is_file():
        raise UserError(f"there is no picture {path}")
    data, notes = path.read_bytes(), []
    pixels = textures.decode(data, path.name, exact=True)
    pixels = np.rot90(pixels, UPRIGHT.get(_orientation(data), 0))
    alpha = pixels[..., 3:].astype(np.float32) / 255
    if alpha.min() < 1:
        notes.append("transparent parts of the picture became white")
    if max(pixels.shape[:2]) > SQUARE * min(pixels.shape[:2]):
        notes.append("the picture is not square: most teachers see only the square in its middle")
    return np.rint(pixels[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8), tuple(notes)


def _orientation(data: bytes) -> int:
    """The EXIF orientation of a picture; 1, upright, if it has none. Only pictures that `textures.decode` has read come here."""
    from PIL import Image

    try:
        return int(Image.open(io.BytesIO(data)).getexif().get(0x0112, 1))
    except (OSError, ValueError, SyntaxError, TypeError):
        return 1
