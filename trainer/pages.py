"""Pages with the neighbours of shapes. Each is one file that needs no other, nor a network. `pages.html` is their frame.

    write_file(Path("chairs.html"), of_search(gallery, found, sought, facts, notes))    # neighbours of a query
    write_file(Path("map.html"), of_map(shown, facts, notes))                          # a map, and neighbours of every shape

Names come from files of strangers, so every text is escaped.
"""

import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cache_schema.store import Cache
from cache_schema.terminal import counted, printable
from trainer import search
from trainer.neighbours import Found, Gallery
from trainer.pictures import Pictures
from trainer.vectors import Table, plane

SHOWN: Final = 120
"""Largest number of shapes whose neighbours a map page shows."""
DOTS: Final = 3000
"""Largest number of dots on a map. They are spread over the shapes."""
TELLING: Final = 24
"""Largest number of classes that tell shapes of a map apart better than their folders."""
NEAR: Final = 5
"""Number of neighbours of each shape on a map page."""
COLORS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#4aa3df", "#8a5fd0", "#7f7f7f")
"""Colours of classes. The first five and the sixth are those of Okabe and Ito, which people without colour vision tell apart best."""
CORNERS: Final[Mapping[str, Sequence[tuple[float, float]]]] = {
    "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "triangle": ((0, -1.15), (1.1, 0.85), (-1.1, 0.85)),
    "diamond": ((0, -1.25), (1.1, 0), (0, 1.25), (-1.1, 0)),
    "bow": ((-1.1, -0.9), (0, 0), (1.1, -0.9), (1.1, 0.9), (0, 0), (-1.1, 0.9)),
}
"""Corners of dots that are no circles, for a radius of 1."""
FORMS: Final = ("circle", *CORNERS)
"""Forms of dots. Classes differ in colour and in form."""
WIDE, HIGH, EDGE = 1000, 640, 46
"""Size of a map and of its margin, in units of the drawing."""


@dataclass(frozen=True, kw_only=True)
class Sought:
    """What was searched for."""

    title: str
    picture: str = ""
    """A picture of it as a data URI; empty for none."""
    name: str = ""


def of_search(gallery: Gallery, found: Sequence[Found], sought: Sought, facts: Mapping[str, str], notes: Sequence[str]) -> bytes:
    """The page of one search."""
    pictures = Pictures(gallery.cache)
    query = ""
    if sought.picture:
        query = f'<div class="query">{_picture(sought.picture, "The query")}<p class="name">{_text(sought.name)}</p></div>'
    cards = "".join(
        f"<li>{_picture(pictures(one.row), f'{one.id}, {pictures.what}')}"
        f'<p class="name"><bdi>{_text(one.id)}</bdi></p><p class="label"><bdi>{_text(one.label)}</bdi></p>'
        f'<p class="number">{i}. cosine {one.cosine:.3f}</p></li>'
        for i, one in enumerate(found, 1)
    )
    body = f'<h2>Nearest of {counted(len(gallery.rows), "shape")}</h2><ol class="near">{cards}</ol>'
    foot = f"<footer>Pictures: {_text(pictures.what)}. A cosine of 1 means the same direction, 0 none in common.</footer>"
    return _page(sought.title, query + _facts(facts) + _notes(notes), body + foot)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Shapes on a map page."""

    cache: Cache
    table: Table
    """All n shapes that were asked for, those without a vector, too."""
    rows: NDArray[np.int64]
    """Rows of the m shapes with a vector in the cache. [m]"""
    values: NDArray[np.float32]
    """Vectors. [m, D]"""


def of_map(shown: Shown, title: str, facts: Mapping[str, str], notes: Sequence[str]) -> bytes:
    """The page with a map of shapes, the neighbours of each, and the shapes that could not be read.

    Raises:
        UserError: there are too few shapes for a map, or all vectors are equal.
    """
    fine = np.flatnonzero(shown.table.fine)
    ids = [shown.table.ids[i] for i in fine.tolist()]
    classes = [shown.table.classes[i] or "" for i in fine.tolist()]
    listed = _spread(len(ids), SHOWN)
    head = _facts(facts) + _notes(notes)
    body = _map(shown.values, ids, _grouped(ids, classes), set(listed.tolist())) + _neighbours(shown, ids, classes, listed)
    return _page(title, head, body + _failed(shown.table))


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` of `count` places, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


@dataclass(frozen=True, kw_only=True)
class Groups:
    """What the colours of a map mean."""

    what: str
    names: Sequence[str]
    """Name of each shape's group; empty for none. [m]"""


def _grouped(ids: Sequence[str], classes: Sequence[str]) -> Groups:
    """Groups for colours: the classes; or the folders, if there are too many classes and fewer folders, as with classes that were guessed
    from names of files."""
    folders = [name.rpartition("/")[0].split("/")[0] for name in ids]
    if len(set(classes)) > TELLING and 1 < len(set(folders)) <= TELLING:
        return Groups(what="folder", names=folders)
    return Groups(what="class", names=classes)


def _map(values: NDArray[np.float32], ids: Sequence[str], groups: Groups, listed: set[int]) -> str:
    classes = groups.names
    place, shares = plane(values)
    low, high = place.min(0), place.max(0)
    room = np.array([WIDE, HIGH]) - 2 * EDGE
    at = (place - low) / np.where(high > low, high - low, 1) * room * (1, -1) + (EDGE, HIGH - EDGE)
    styles = _styles(classes)
    dots = []
    chosen = np.union1d(_spread(len(ids), DOTS), np.array(sorted(listed), np.int64))
    for i in chosen.tolist():
        dot = _dot(styles[classes[i]], float(at[i, 0]), float(at[i, 1]), 7) + f"<title>{_text(ids[i])} {_text(classes[i])}</title>"
        link = f'<a href="#s{i}" aria-label="{_text(ids[i])}">{dot}</a>' if i in listed else f"<g>{dot}</g>"
        dots.append(link)
    axes = [f"principal component {n}: {100 * share:.0f} % of the variance" for n, share in enumerate(shares, 1)]
    shown = {styles[one] for one in classes}
    said = f"Map of {counted(len(ids), 'shape')}" + (f", {len(chosen)} of them drawn" if len(chosen) < len(ids) else "")
    key = "".join(
        f'<li><svg width="18" height="18" aria-hidden="true">{_dot(style, 9, 9, 6)}</svg><bdi>{_text(name) or f"no {groups.what}"}</bdi> '
        f'<span class="soft">{sum(styles[one] == style for one in classes)}</span></li>'
        for name, style in _legend(styles)
        if style in shown
    )
    return (
        f"<h2>Map</h2><p>Shapes that lie near each other have similar vectors. The map keeps {100 * sum(shares):.0f} % of the differences "
        "between vectors, so neighbours on it may be far apart in truth; the lists below compare whole vectors.</p>"
        f'<svg class="map" viewBox="0 0 {WIDE} {HIGH}" role="group" aria-label="{said}">'
        f'<rect class="frame" x="{EDGE / 2}" y="{EDGE / 2}" width="{WIDE - EDGE}" height="{HIGH - EDGE}"/>'
        f'<text x="{WIDE / 2}" y="{HIGH - 5}" text-anchor="middle">{axes[0]}</text>'
        f'<text transform="translate(15 {HIGH / 2}) rotate(-90)" text-anchor="middle">{axes[1]}</text>{"".join(dots)}</svg>'
        f'<p class="soft">{said}. Colour and form: the {groups.what} of a shape.</p><ul class="legend">{key}</ul>'
    )


Style = tuple[str, str]
"""Colour and form of a dot."""
OTHERS: Final[Style] = ("#9a9a9a", "circle")


def _styles(classes: Sequence[str]) -> dict[str, Style]:
    """Colour and form for each class, the largest classes first. If there are too many, the smallest share one."""
    order = sorted(Counter(classes).items(), key=lambda item: (-item[1], item[0]))
    # Eight colours and five forms have no common factor, so both change from class to class, and forty pairs differ.
    known = [(COLORS[i % len(COLORS)], FORMS[i % len(FORMS)]) for i in range(len(COLORS) * len(FORMS))]
    named = [name for name, _ in order if name]
    return {name: known[i] if i < len(known) else OTHERS for i, name in enumerate(named)} | {"": OTHERS}


def _legend(styles: Mapping[str, Style]) -> list[tuple[str, Style]]:
    shown = [(name, style) for name, style in styles.items() if style != OTHERS]
    return [*shown, ("all others" if len(styles) > len(shown) + 1 else "", OTHERS)]


def _dot(style: Style, x: float, y: float, r: float) -> str:
    color, form = style
    common = f'class="dot" fill="{color}"'
    if form == "circle":
        return f'<circle {common} cx="{x:.1f}" cy="{y:.1f}" r="{r}"/>'
    corners = CORNERS[form]
    return f'<polygon {common} points="{" ".join(f"{x + r * u:.1f},{y + r * v:.1f}" for u, v in corners)}"/>'


def _neighbours(shown: Shown, ids: Sequence[str], classes: Sequence[str], listed: NDArray[np.int64]) -> str:
    pictures, vectors = Pictures(shown.cache), search.unit(shown.values)
    near = {i: _nearest(vectors, i) for i in listed.tolist()}
    drawn = {i: pictures(int(shown.rows[i])) for i in sorted({*near, *(j for found in near.values() for j, _ in found)})}
    # Each picture is in the page once, and is shown at every place where it is needed.
    store = "".join(f'<symbol id="p{i}" viewBox="0 0 1 1"><image href="{uri}" width="1" height="1"/></symbol>' for i, uri in drawn.items())

    def cell(i: int, number: str) -> str:
        picture = f'<svg class="picture" role="img" aria-label="{_text(ids[i])}" viewBox="0 0 1 1"><use href="#p{i}"/></svg>'
        words = f'<p class="name"><bdi>{_text(ids[i])}</bdi></p><p class="label"><bdi>{_text(classes[i])}</bdi></p>'
        inside = f'{picture}{words}<p class="number">{number}</p>'
        return f'<a href="#s{i}">{inside}</a>' if i in near else f"<div>{inside}</div>"

    parts = []
    for i, found in near.items():
        cells = "".join([cell(i, "this shape"), *(cell(j, f"cosine {cosine:.3f}") for j, cosine in found)])
        parts.append(f'<section class="shape" id="s{i}" aria-label="{_text(ids[i])}"><div class="row">{cells}</div></section>')
    some = f" {len(near)} of the {len(ids)} shapes are shown." if len(near) < len(ids) else ""
    return (
        f"<h2>Neighbours</h2><p>Each row has a shape and the {NEAR} shapes whose vectors are nearest to its own.{some} Pictures: "
        f'{_text(pictures.what)}.</p><svg width="0" height="0" aria-hidden="true" style="position:absolute">{store}</svg>{"".join(parts)}'
    )


def _nearest(vectors: NDArray[np.float32], i: int) -> list[tuple[int, float]]:
    cosines, rows = search.nearest(vectors, vectors[i], NEAR + 1)
    return [(int(row), float(cosine)) for row, cosine in zip(rows, cosines, strict=True) if row != i][:NEAR]


def _failed(table: Table) -> str:
    said = []
    for what, reasons in (("Shapes that could not be read", table.reasons), ("Shapes with a remark", table.remarks)):
        rows = [(name, reason) for name, reason in zip(table.ids, reasons, strict=True) if reason]
        if rows:
            cells = "".join(
                f'<tr><td class="name"><bdi>{_text(name)}</bdi></td><td><bdi>{_text(why)}</bdi></td></tr>' for name, why in rows
            )
            said.append(f'<h2>{what}: {len(rows)}</h2><table><tr><th scope="col">shape</th><th scope="col">why</th></tr>{cells}</table>')
    return "".join(said)


# --------------------------------------------------------------------------------------------------------------- parts


def _page(title: str, head: str, body: str) -> bytes:
    frame = string.Template(resources.files("trainer").joinpath("pages.html").read_text(encoding="utf-8"))
    return frame.substitute(title=_text(title), head=head, body=body).encode()


def _text(text: str) -> str:
    """A text that is shown as it is, whatever it holds."""
    return escape(printable(text), quote=True)


def _picture(uri: str, what: str) -> str:
    return f'<img class="picture" src="{uri}" alt="{_text(what)}" loading="lazy">'


def _facts(facts: Mapping[str, str]) -> str:
    return "<dl>" + "".join(f"<dt>{_text(name)}</dt><dd><bdi>{_text(value)}</bdi></dd>" for name, value in facts.items()) + "</dl>"


def _notes(notes: Sequence[str]) -> str:
    return "".join(f'<p class="notice">{_text(note)}</p>' for note in notes)
