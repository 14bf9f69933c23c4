"""The options `labels`, `parts` and `instances` of sources whose shapes are files: how part labels are read, and which parts there are.

    labels, options, notes = chosen("auto", "", "", root, paths)

A cache fixes its list of parts before the first shape is read. The list comes from the option `parts`, else from a file `parts.txt` in
the root, else from a pass over the labels of all shapes.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from cache_schema.errors import UserError
from cache_schema.terminal import some
from pipeline.formats import labels
from pipeline.formats.labels import Labels
from pipeline.reading import decoded
from pipeline.sources.catalog import Labelled, shape_text

FILE: Final = "parts.txt"
"""Name of a file in the root that names the parts, one a line: `NAME`, `RAW:NAME` or `NUMBER NAME`."""

NAMING: Final = f"name them with --set source.parts=RAW:NAME,... or, one a line, in {FILE}"
"""The advice where nothing names the parts."""


GLANCE: Final = 100
"""Number of shapes beside which files of labels are looked for before the search is given up, if nobody asked for labels."""


def chosen(
    option: str, parts: str, instances: str, root: Path, paths: Sequence[Path]
) -> tuple[Labels | None, tuple[tuple[str, str], ...], list[str]]:
    """Checks the options `labels`, `parts` and `instances`, and finds the names of the parts where the options give none.

    Args:
        option: the option `labels`: `none`, `auto` or one of the ways of `pipeline.formats.labels`. `auto` reads the files of labels beside
            shapes if every shape has one.
        parts: the option `parts`: `NAME` or `RAW:NAME`, with commas between; empty where it is not given.
        instances: the option `instances`: name of the field with the number of each point's object; empty for none.
        root: the folder that may hold `parts.txt`.
        paths: the files of the shapes. Those that are missing are passed over.

    Returns:
        What is read (None for nothing), the options that a cache records, and notes.

    Raises:
        UserError: an option is invalid, `parts.txt` cannot be read, or no label is found where labels are asked for.
    """
    if instances and not option.startswith("field"):
        raise UserError("option instances names a field beside labels of parts: set labels to field or field:NAME, too")
    if option in ("auto", "none") and not any(labels.beside(path) for path in paths[:GLANCE]):
        there, having = [], list[Path]()  # looking beside each of a million shapes would take minutes
    else:
        there = [path for path in paths if path.is_file()]
        having = [path for path in there if option in ("auto", "none", "seg") and labels.beside(path)]
    every = bool(having) and len(having) == len(there)
    notes = []
    if option == "none" or (option == "auto" and not every):
        if parts:
            raise UserError("option parts has no effect without labels: set labels to seg, field, column:NUMBER, material or group")
        if having and option == "auto":
            notes.append(
                f"{len(having):,} of {len(there):,} shapes have a file of labels beside them; --set source.labels=seg reads them, and the "
                "others get no labels"
            )
        return None, (("labels", "none"),) if option == "none" and every else (), notes
    if option == "auto":
        notes.append(
            "every shape has a file of labels beside it, which are read as labels of faces; leave them out with --set source.labels=none"
        )
    how = labels.asked("seg" if option == "auto" else option)
    if how.way == "seg" and len(having) < len(there):
        notes.append(f"{len(there) - len(having):,} of {len(there):,} shapes have no file of labels beside them; their points get no part")
    names, said = _names(how, parts, root, there)
    how = replace(how, names=names, objects=instances)
    more = (("instances", instances),) if instances else ()
    return how, (("labels", how.option), ("parts", how.vocabulary), *more), [*notes, *said]


def labelled_by(how: Labels | None) -> Labelled:
    """The labels of points that a source promises if its shapes are read with these labels; none for None."""
    return Labelled(parts=how.parts, instances=bool(how.objects)) if how else Labelled()


def _names(how: Labels, parts: str, root: Path, paths: Sequence[Path]) -> tuple[tuple[tuple[str, str], ...], list[str]]:
    """Raw labels and names of parts, and notes.

    Raises:
        UserError: see `chosen`.
    """
    words = how.way in ("material", "group", "texture") or (how.way == "seg" and _named_faces(paths))
    if parts:
        return labels.vocabulary(parts.split(","), not words, "option parts"), []
    if (root / FILE).is_file():
        lines = [line.strip() for line in decoded((root / FILE).read_bytes()).splitlines() if line.strip() and not line.startswith("#")]
        items = [line if words else re.sub(r"^(\d+)[\s:]+", r"\1:", line) for line in lines]
        return labels.vocabulary(map(shape_text, items), not words, FILE), [f"the parts are named by {FILE}"]
    found, failed = _listed(how, paths)
    if not found:
        raise UserError(f"option labels: no shape has a label by {how.option}" + (f"; {failed:,} shapes cannot be read" if failed else ""))
    unread = f" ({failed:,} shapes could not be read, and fail)" if failed else ""
    told = f"{len(found):,} parts were found by reading the labels of {len(paths):,} shapes{unread}: {some(found)}; {NAMING}"
    if len(found) > labels.MOST:
        raise UserError(f"option labels: {len(found):,} different labels, at most {labels.MOST:,} can be stored")
    return tuple((raw, shape_text(raw)) for raw in found), [told]


def _named_faces(paths: Iterable[Path]) -> bool:
    """Whether the first file of labels holds names of parts, not numbers."""
    return next((name.endswith("_labels.txt") for path in paths if (name := labels.beside(path))), False)


def _listed(how: Labels, paths: Iterable[Path]) -> tuple[list[str], int]:
    """All raw labels of shapes, numbers first and in their order; and the number of shapes that cannot be read."""
    found: set[str] = set()
    failed = 0
    for path in paths:
        try:
            found |= labels.raw_labels(path, how)
        except (UserError, OSError):
            failed += 1
    return sorted(found, key=lambda raw: (0, int(raw), "") if raw.isdecimal() else (1, 0, raw)), failed
