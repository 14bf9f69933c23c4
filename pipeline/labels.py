"""Label sets: class names in sentences. Zero-shot classification compares shapes with their embeddings.

    embeddings = embed(label_set("modelnet40"), catalog.load("openclip-vit-l14"))  # [C, M, E]

A set is one of `cache_schema.class_lists`, the cache's own classes (`source`), the names of the parts of its shapes (`parts`), or a JSON or
text file.
"""

import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cache_schema import class_lists
from cache_schema.class_lists import CLASS_LISTS
from cache_schema.errors import UserError
from cache_schema.names import path_name
from cache_schema.spec import LabelSet, did_you_mean

if TYPE_CHECKING:
    from pipeline.teachers.catalog import Teacher

_MEDIA = (
    "a photo of",
    "a picture of",
    "a rendering of",
    "a 3d model of",
    "a computer drawing of",
    "a close view of",
    "a point cloud of",
    "an image of",
)
_THINGS = ("the {}", "one {}", "a single {}", "a small {}", "a large {}", "a plain {}", "some kind of {}", "a {} on a white background")

TEMPLATES: tuple[str, ...] = tuple(f"{medium} {thing}" for medium in _MEDIA for thing in _THINGS)
"""64 sentences with one `{}`: eight kinds of pictures times eight ways to name a thing. All are lower case, as SigLIP 2 was trained."""

PART_TEMPLATES: tuple[str, ...] = (
    "a {}",
    "the {}",
    "the {} of an object",
    "a photo of a {}",
    "a picture of the {} of an object",
    "a rendering of the {} of an object",
    "a close view of a {}",
    "a 3d model of a {}",
)
"""Eight sentences with one `{}` for the name of a part. None shows it on a background, because a part is seen in its object."""


def readable(name: str) -> str:
    """Write a class or file name as words: `night_stand` becomes `night stand`."""
    return " ".join(name.replace("_", " ").replace("-", " ").split())


def confused(classes: Sequence[str]) -> list[list[str]]:
    """Find groups of class names that read alike, such as `night-stand` and `Night stand`. No sentence can tell them apart.

    Upper and lower case do not count, because most teachers read lower case only.
    """
    groups: dict[str, list[str]] = {}
    for name in classes:
        groups.setdefault(unicodedata.normalize("NFKC", readable(name)).casefold(), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def told_confused(classes: Sequence[str]) -> str:
    """Return a message about classes that read alike; empty if there are none."""
    groups = confused(classes)
    if not groups:
        return ""
    shown = "; ".join(" and ".join(map(repr, group[:4])) for group in groups[:3]) + (
        f" and {len(groups) - 3} more such" if groups[3:] else ""
    )
    return (
        f"no label set can be made of these classes: {shown} read alike, so that no sentence tells them apart; "
        "give them different words (or one name, if they are one class), or take a label set from a file"
    )


def label_set(reference: str, classes: Sequence[str] = (), parts: Sequence[str] = ()) -> LabelSet:
    """Return the label set of a name or file.

    Args:
        reference: a name in `CLASS_LISTS`; `source` for the classes of a cache; `parts` for the names of its parts; or a file: `.json` with
            a list of names or `{"classes": [...], "templates": [...]}`, or a text file with one name per line. The set has the name of the
            file, without its ending.
        classes: the cache's class names, for `source`.
        parts: the names of parts in the cache's points, for `parts`.

    Raises:
        UserError: there is no such set, the cache has no classes or classes that read alike, or the file has another form.
    """
    if reference == "source":
        if not classes:
            raise UserError(f"this cache has no classes to make a label set of; name another{did_you_mean('', CLASS_LISTS)}")
        if said := told_confused(classes):
            raise UserError(said)
        return LabelSet(name="source", classes=tuple(map(readable, classes)), templates=TEMPLATES)
    if reference == "parts":
        if not parts:
            raise UserError("the points of this cache have no names of parts to make a label set of")
        if said := told_confused(parts):
            raise UserError(said)
        return LabelSet(name="parts", classes=tuple(map(readable, parts)), templates=PART_TEMPLATES)
    if reference in CLASS_LISTS:
        return LabelSet(name=reference, classes=tuple(map(readable, class_lists.names(reference))), templates=TEMPLATES)
    path = Path(reference)
    if not path.is_file():
        raise UserError(f"no label set and no file {reference!r}{did_you_mean(reference, [*CLASS_LISTS, 'source', 'parts'])}")
    return _from_file(path)


def of_names(name: str, classes: Sequence[str]) -> LabelSet:
    """Return a label set of class names, in the sentences of `TEMPLATES`.

    Raises:
        UserError: a name is empty, two read alike, or the name of the set cannot be the name of a file.
    """
    path_name(name, "label set")
    return _checked("--names", name, [text.strip() for text in classes], TEMPLATES)


def _from_file(path: Path) -> LabelSet:
    name = path_name(path.stem, f"label set {path.name!r}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no UTF-8 text: {error}") from error
    if path.suffix.lower() != ".json":
        names = [line.strip() for line in text.splitlines() if line.strip()]
        return _checked(path, name, names, TEMPLATES)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}") from error
    data = data if isinstance(data, dict) else {"classes": data}
    classes: Any = data.get("classes")
    templates: Any = data.get("templates", TEMPLATES)
    if not all(isinstance(part, list | tuple) and all(isinstance(item, str) for item in part) for part in (classes, templates)):
        raise UserError(f'{path}: expected a list of class names, or {{"classes": [...], "templates": [...]}} with texts in both')
    return _checked(path, name, classes, templates)


def _checked(path: Path | str, name: str, classes: Sequence[str], templates: Sequence[str]) -> LabelSet:
    empty = [number for number, text in enumerate(classes, 1) if not text.strip()]
    if empty:
        raise UserError(f"{path}: the class name number {empty[0]} is empty")
    if groups := confused(classes):
        raise UserError(
            f"{path}: {' and '.join(map(repr, groups[0]))} read alike, so that no sentence tells them apart; take one of them out"
        )
    return LabelSet(name=name, classes=tuple(classes), templates=tuple(templates))


def embed(labels: LabelSet, teacher: "Teacher", batch: int = 256) -> np.ndarray:
    """Embed every sentence of a label set.

    Returns:
        [C, M, E] float16, as the teacher gives them.

    Raises:
        UserError: the teacher has no text side, or its values do not fit float16.
    """
    texts = [template.replace("{}", name) for name in labels.classes for template in labels.templates]  # C x M
    return embed_texts(teacher, texts, batch, labels.name).reshape(len(labels.classes), len(labels.templates), -1)  # [C, M, E]


def embed_texts(teacher: "Teacher", texts: Sequence[str], batch: int, what: str) -> np.ndarray:
    """Embed texts, at most `batch` at a time. `what` names them in the error.

    Returns:
        [T, E] float16 for T texts, as the teacher gives them.

    Raises:
        UserError: the teacher has no text side, or its values do not fit float16.
    """
    from pipeline.teachers.trial import answers, not_finite  # only here, as they import torch

    groups = [texts[i : i + batch] for i in range(0, len(texts), batch)]
    parts = [answers(teacher, teacher.embed_texts(group), len(group), "embed_texts") for group in groups]
    # An overflow becomes infinite and is reported below with the teacher's name, which numpy's warning would not give.
    with np.errstate(over="ignore"):
        values = np.concatenate(parts).astype(np.float16)
    if not np.isfinite(values).all():
        why = not_finite(np.concatenate(parts), teacher.spec.precision)
        raise UserError(f"teacher {teacher.spec.name}: text embeddings of {what} are not finite in float16{why}")
    return values
