"""Part labels in and beside files of shapes: of faces, of vertices, of points.

    how = Labels.of("seg", parts)                       # what the option `labels` of a source says, and the vocabulary
    load("chair.off", ..., labels=Labelling(how))       # a shape whose triangles have `Part.part`

The ways, as the option `labels` writes them:
  seg            a file beside the shape. `chair.seg` has one whole number for each face of `chair.off`, in the order of the faces
                 (Princeton's benchmark, COSEG), or one for each point of a cloud. `chair_labels.txt` has pairs of lines: a name, and the
                 numbers of its faces, counted from 1 (https://people.cs.umass.edu/~kalo/papers/LabelMeshes/). The folders gt, seg and
                 labels beside the folder of the shape are looked into, too, as COSEG has them
  field          a property of faces, vertices or points with a usual name (`label`, `part`, ...); field:NAME names it
  column:7       the seventh column of a table without names
  material       names of materials
  texture:NAME   the nearest texel of a picture, whose colours are raw labels such as `#ff0000`; transparent texels have none. {} in NAME
                 stands for the shape's name without extension. The picture lies on the surface by the first texture coordinates
  group          names of groups and objects (OBJ), of nodes (glTF)

A raw label is what the file writes: a whole number, or a name. `Labels.names` gives the part of each raw label. Negative numbers and names
that are empty mean no part (-1). A number without a part makes the shape fail; a name without a part gives -1 and a warning.

Letters: P polygons, F triangles, n points.
"""

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError
from cache_schema.terminal import some
from pipeline import textures
from pipeline.formats import columns
from pipeline.geometry import Cloud, Geometry, Mesh
from pipeline.reading import File, decoded, load

Way = Literal["seg", "field", "column", "material", "group", "texture"]
"""Where labels are. The head of this module explains the ways."""

FIELDS: Final = (
    "part",
    "parts",
    "partid",
    "partlabel",
    "label",
    "labels",
    "scalarlabel",
    "seg",
    "segid",
    "segmentation",
    "semantic",
    "semanticlabel",
    "categoryid",
    "category",
    "classid",
    "class",
    "classification",
    "scalarclassification",
    "pid",
)
"""Usual names of fields with labels, as `columns.plain` gives them."""

BESIDE: Final = ("{}.seg", "{}.SEG", "{}_labels.txt", "../gt/{}.seg", "../seg/{}.seg", "../labels/{}.seg")
"""Places of a file of labels, relative to the folder of the shape. `{}` stands for the shape's name without extension."""

COLORS: Final = 1024
"""Largest number of colours of a picture of labels."""

MOST: Final = np.iinfo(np.int16).max
"""Largest number of parts. A cache holds them as int16."""


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Where the part labels of shapes are (the option `labels`), and which part each raw label means (the option `parts`)."""

    way: Way
    name: str = ""
    """Name of the field, or number of the column from 1; empty for a field with a usual name."""
    objects: str = ""
    """Name of the field with the number of the object of each face, vertex or point; empty for none. For the way `field` only."""
    names: tuple[tuple[str, str], ...] = ()
    """(raw label, name of the part; empty for none). Several raw labels may have one part."""

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts, in the order of their indices."""
        return tuple(dict.fromkeys(name for _, name in self.names if name))

    @property
    def option(self) -> str:
        """The option `labels` that says this way."""
        return f"{self.way}:{self.name}" if self.name else self.way

    @property
    def vocabulary(self) -> str:
        """The option `parts` that says these names."""
        return ",".join(f"{_quoted(raw)}:{_quoted(name)}" for raw, name in self.names)


def _quoted(text: str) -> str:
    """A raw label or a name as the option `parts` writes it: with %2C for a comma, %3A for a colon and %25 for a percent sign."""
    return text.replace("%", "%25").replace(",", "%2C").replace(":", "%3A")


def asked(option: str) -> Labels:
    """What an option `labels` asks for, without names of parts.

    Raises:
        UserError: it is no way, or names a column that is no number.
    """
    way, colon, name = option.partition(":")
    for known in get_args(Way):
        if way == known and (not colon or (name and way in ("field", "column", "texture"))) and (name or way != "texture"):
            if way == "column" and not re.fullmatch(r"[1-9]\d{0,3}", name):
                raise UserError(f"option labels: expected column:NUMBER, counted from 1, such as column:7, got {option!r}")
            return Labels(way=known, name=name)
    ways = ", ".join(one for one in get_args(Way) if one not in ("column", "texture"))
    raise UserError(f"option labels: expected none, auto, {ways}, field:NAME, column:NUMBER or texture:PICTURE, got {option!r}")


def vocabulary(items: Iterable[str], numbers: bool, where: str) -> tuple[tuple[str, str], ...]:
    """Raw labels and names of parts from texts `RAW:NAME` or `NAME`.

    Args:
        items: the texts, with %2C for a comma, %3A for a colon, %25 for a percent sign. A `NAME` alone has its place, counted from 0, as
            its raw label where raw labels are numbers; else itself.
        numbers: whether raw labels are numbers.
        where: what the texts come from, for messages.

    Raises:
        UserError: a raw label comes twice or is no number, or there are too many.
    """
    found: dict[str, str] = {}
    listed = [item.strip() for item in items]
    for place, item in enumerate(listed):
        raw, colon, name = item.rpartition(":")
        if not colon:
            raw = str(place) if numbers else item
        if numbers and not re.fullmatch(r"\s*\d+\s*", raw):
            raise UserError(f"{where}: expected NAME or NUMBER:NAME, got {item!r}")
        raw, name = str(int(raw)) if numbers else unquote(raw.strip()), unquote(name.strip())
        if raw in found:
            raise UserError(f"{where}: the label {raw!r} comes twice")
        found[raw] = name
    if len(found) > MOST:
        raise UserError(f"{where}: {len(found):,} labels, at most {MOST:,} can be stored")
    return tuple(found.items())


class Labelling:
    """The labels of one shape while it is read. It turns raw labels into indices of parts, and remembers those that have no part."""

    def __init__(self, how: Labels, listing: bool = False) -> None:
        self.how, self.listing = how, listing
        """`listing`: no vocabulary is known yet, so no raw label is wrong."""
        self.seen: set[str] = set()
        """Raw labels of the shape."""
        place = {name: i for i, name in enumerate(how.parts)}
        self._index = {raw: place.get(name, -1) for raw, name in how.names}

    def of_numbers(self, values: NDArray[Any], where: str) -> NDArray[np.int16]:
        """Whole numbers `[n]` as indices of parts `[n]`.

        Args:
            values: raw labels. Negative ones are none.
            where: their place in messages.

        Raises:
            UserError: one is no whole number, or has no part.
        """
        numbers = whole(values, f"{where}: the label")
        kinds, place = np.unique(numbers, return_inverse=True)
        there = [str(kind) for kind in kinds.tolist() if kind >= 0]
        self.seen.update(there)
        lost = [raw for raw in there if raw not in self._index]
        if lost and not self.listing:
            known = some(list(self._index))
            raise UserError(
                f"{where}: no part has the label {lost[0]}, only {known or 'none'}; name it with --set source.parts=NUMBER:NAME,..."
            )
        index = np.array([self._index.get(str(kind), -1) for kind in kinds.tolist()], np.int16)
        return index[place.reshape(-1)]

    def of_words(self, words: Sequence[str], file: File) -> NDArray[np.int16]:
        """Names `[n]` as indices of parts `[n]`. Names without a part give -1 and a warning."""
        self.seen.update(word for word in words if word)
        lost = [word for word in dict.fromkeys(words) if word and word not in self._index]
        if lost and not self.listing:
            kinds = ", ".join(map(repr, lost[:3])) + (" ..." if len(lost) > 3 else "")
            file.warn(f"labels that are none of the parts give no part: {kinds}")
        return np.array([self._index.get(word, -1) for word in words], np.int16)

    def of_faces(self, file: File, count: int) -> NDArray[np.int16] | None:
        """Labels `[count]` of the faces or points of a file, from the file of labels beside it; None where there is none.

        Raises:
            UserError: the file of labels has another number of labels, or cannot be read.
        """
        name = beside(file.path) if self.how.way == "seg" else None
        if name is None:
            return None
        data = file.beside(name)
        if name.endswith("_labels.txt"):
            return self.of_words(_named_faces(data, name, count), file)
        numbers = whole_numbers(data, name)
        if len(numbers) != count:
            raise UserError(f"{name} holds {len(numbers):,} labels for {count:,} faces or points")
        return self.of_numbers(numbers, name)

    def of_picture(self, file: File) -> NDArray[np.int16]:
        """The picture of labels of a shape as indices of parts `[H, W]`, row 0 at the top. Call it for the way `texture` only.

        Raises:
            Missing: there is no such picture.
            UserError: it cannot be decoded, or has more than `COLORS` colours.
        """
        name = self.how.name.replace("{}", file.path.stem)
        pixels = textures.decode(file.beside(name), name, exact=True).astype(np.uint32)
        packed = np.where(pixels[..., 3] < 128, 1 << 24, pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2])
        kinds, place = np.unique(packed, return_inverse=True)
        if len(kinds) > COLORS:
            raise UserError(
                f"{name} has {len(kinds):,} colours; a picture of labels has few, without smooth edges, saved without loss (.png)"
            )
        words = ["" if kind == 1 << 24 else f"#{kind:06x}" for kind in kinds.tolist()]
        return self.of_words(words, file)[place.reshape(packed.shape)]

    def checked(self, file: File, shape: Geometry) -> Geometry:
        """The shape that was read from a file, with a warning if some of it has no label.

        Raises:
            UserError: there is a file of labels, and the format of the shape has no faces or points in an order of their own.
        """
        if isinstance(shape, Mesh) and any(part.label_map is not None for part in shape.parts):
            return shape
        given = [shape.part] if isinstance(shape, Cloud) else [part.part for part in shape.parts]
        there = [part for part in given if part is not None]
        if not there and self.how.way == "seg" and (name := beside(file.path)) is not None:
            raise UserError(f"{name} cannot be read for a {file.suffix} file, only for .off, .obj, .ply, .stl and tables of points")
        unlabelled = sum(int((part < 0).sum()) for part in there)
        total, what = sum(map(len, there)), "points" if isinstance(shape, Cloud) else "triangles"
        lacking = f"{unlabelled:,} of {total:,} {what} have no part" if unlabelled else ""
        if unlabelled == total:
            lacking = f"no labels found by labels={self.how.option}: no point has a part"
        numbered = [shape.instance] if isinstance(shape, Cloud) else [part.instance for part in shape.parts]
        if self.how.objects and all(one is None for one in numbered):
            lacking = "; ".join(filter(None, (lacking, f"there is no field {self.how.objects!r}: no point has an object")))
        return dataclasses.replace(shape, warnings=(*shape.warnings, lacking)) if lacking else shape

    def field(self, names: Iterable[str]) -> str | None:
        """The one of these fields that holds the labels; None where none does.

        Raises:
            UserError: several may.
        """
        if self.how.way != "field":
            return None
        wanted = [columns.plain(self.how.name)] if self.how.name else list(FIELDS)
        objects = columns.plain(self.how.objects) if self.how.objects else None
        found = [name for name in names if columns.plain(name) in wanted and columns.plain(name) != objects]
        if len(found) > 1:
            raise UserError(f"{' and '.join(map(repr, found[:4]))} may be labels; name one with --set source.labels=field:NAME")
        return found[0] if found else None

    def of_field(self, table: Mapping[str, NDArray[Any]], where: str) -> NDArray[np.int16] | None:
        """Labels `[n]` from named columns; None where no column holds them."""
        name = self.field(table)
        return None if name is None else self.of_numbers(table[name].reshape(-1), f"{where} {name}")

    def of_objects(self, table: Mapping[str, NDArray[Any]], where: str) -> NDArray[np.int32] | None:
        """Numbers of objects `[n]` from named columns, -1 for none; None where no column holds them or none are asked for.

        Raises:
            UserError: one is no whole number.
        """
        name = next((name for name in table if self.how.objects and columns.plain(name) == columns.plain(self.how.objects)), None)
        if name is None:
            return None
        return np.maximum(whole(table[name].reshape(-1), f"{where} {name}: the number"), -1).astype(np.int32)


def labelling(file: File) -> Labelling | None:
    """The `Labelling` that a file is read with; None if nobody asks for labels."""
    assert file.labels is None or isinstance(file.labels, Labelling)
    return file.labels


def fields_apart(file: File, table: Sequence[tuple[str, NDArray[Any]]]) -> tuple[dict[str, NDArray[Any]], list[tuple[str, NDArray[Any]]]]:
    """The labels of points in named columns or arrays, and the other columns.

    Returns:
        `part` `[n]` and `instance` `[n]`, each if it is there and asked for; and the columns that hold neither.

    Raises:
        UserError: a column has not one label for each point, or a label is none.
    """
    asked_for = labelling(file)
    if asked_for is None or asked_for.how.way != "field":
        return {}, list(table)
    named_columns: dict[str, NDArray[Any]] = {}
    for one, values in table:
        named_columns.setdefault(one, values)  # of several columns with one name the first counts
    part, instance = asked_for.of_field(named_columns, "the field"), asked_for.of_objects(named_columns, "the field")
    used = {asked_for.field(named_columns)} if part is not None else set[str | None]()
    used |= {name for name in named_columns if instance is not None and columns.plain(name) == columns.plain(asked_for.how.objects)}
    odd = next((name for name, values in table if name in used and values.size != max(values.shape, default=0)), None)
    if odd is not None:
        raise UserError(f"{odd}: expected one label for each point, got {list(named_columns[odd].shape)}")
    found = {"part": part, "instance": instance}
    return {name: values for name, values in found.items() if values is not None}, [one for one in table if one[0] not in used]


def column_apart(file: File, values: NDArray[Any]) -> tuple[NDArray[np.int16] | None, list[int]]:
    """The labels `[n]` in a column of a table `[n, c]` without names, None where none are asked for; and the numbers of the other columns,
    from 1.

    Raises:
        UserError: the table has no such column.
    """
    numbers = list(range(1, values.shape[1] + 1)) if values.ndim == 2 else []
    asked_for = labelling(file)
    if asked_for is None or asked_for.how.way != "column":
        return None, numbers
    column = int(asked_for.how.name)
    if column < 4 or column not in numbers:
        raise UserError(f"labels=column:{column} needs a table with this column after x, y and z; it is {list(values.shape)}")
    part = asked_for.of_numbers(values[:, column - 1], f"column {column}")
    return part, [number for number in numbers if number != column]


def with_labels(file: File, cloud: Cloud, given: Mapping[str, NDArray[Any]]) -> Cloud:
    """The cloud with labels `part` `[n]` and `instance` `[n]`, each if it is given; or with the parts in a file beside it.

    Raises:
        UserError: the number of labels differs from that of points.
    """
    found: dict[str, Any] = dict(given)
    asked_for = labelling(file)
    if asked_for is not None and "part" not in found:
        found["part"] = asked_for.of_faces(file, len(cloud.points))
    for values in found.values():
        if values is not None and len(values) != len(cloud.points):
            raise UserError(f"{len(values):,} labels for {len(cloud.points):,} points")
    return dataclasses.replace(cloud, **found)


def raw_labels(path: Path, how: Labels) -> set[str]:
    """All raw labels of a shape. For `seg` only its file of labels is read, else the whole shape.

    Raises:
        UserError: the shape or its file of labels cannot be read.
    """
    if how.way != "seg":
        labelling = Labelling(how, listing=True)
        load(path, up="y", textures="grey", labels=labelling)
        return labelling.seen
    name = beside(path)
    if name is None:
        return set()
    data = (path.parent / name).read_bytes()
    if name.endswith("_labels.txt"):
        return {line.strip() for line in decoded(data).splitlines() if not re.fullmatch(r"[\d\s]*", line)}
    return {str(number) for number in np.unique(whole_numbers(data, name)).tolist() if number >= 0}


def beside(path: Path) -> str | None:
    """The file of labels of a shape, relative to the shape's folder; None where there is none. The ways of `BESIDE` are tried in order."""
    # Not `Path.is_file`, which raises where such a name would be longer than names of files may be.
    return next((name for one in BESIDE if os.path.isfile(path.parent / (name := one.format(path.stem)))), None)


def named(name: str) -> str:
    """The name of a material, group or node without blanks around it and without the number that Blender appends (`leg.001`)."""
    return re.sub(r"\.\d{3}$", "", name.strip())


def whole(values: NDArray[Any], what: str) -> NDArray[np.int64]:
    """Numbers of any type as int64.

    Raises:
        UserError: one of them is no whole number. `what` names them in the message.
    """
    if values.dtype.kind not in "fiub":
        raise UserError(f"{what} should be a whole number, got {values.dtype}")
    if values.dtype.kind == "f":
        wrong = ~(np.isfinite(values) & (values == np.rint(values)) & (np.abs(values) < 1 << 31))
        if wrong.any():
            places = int(wrong.argmax())
            raise UserError(f"{what} {values.reshape(-1)[places]} at place {places} is no whole number")
    return values.astype(np.int64)


def whole_numbers(data: bytes, where: str) -> NDArray[np.int64]:
    """The whole numbers in a text, separated by blanks or line ends of any kind.

    Raises:
        UserError: a word is no whole number. `where` names the text in the message.
    """
    words = decoded(data).split()
    try:
        values = np.array(words, np.float64) if words else np.zeros(0)
    except ValueError:
        odd = next(word for word in words if not re.fullmatch(r"[+-]?\d+(\.0*)?", word))
        raise UserError(f"{where}: {odd[:40]!r} is no whole number") from None
    return whole(values, f"{where}: the label")


def majority(corners: NDArray[Any]) -> NDArray[Any]:
    """The label `[F]` that most corners `[F, 3]` of each triangle have. If all three differ, that of the first corner."""
    first, second, third = corners.T
    chosen: NDArray[Any] = np.where(second == third, second, first)
    return chosen


def _named_faces(data: bytes, where: str, count: int) -> list[str]:
    """The name of each of `count` faces in a text of pairs of lines, a name and numbers of faces from 1; empty for a face without a name.

    Raises:
        UserError: the text is otherwise, or names a face twice.
    """
    words = np.full(count, "", object)
    name = ""
    for line in decoded(data).splitlines():
        text = line.strip()
        if not re.fullmatch(r"[\d\s]*", text):
            name = text
            continue
        if text and not name:
            raise UserError(f"{where}: expected a name before the numbers of its faces, got {text[:40]!r}")
        numbers = whole_numbers(text.encode(), where)
        if len(numbers) and not 1 <= numbers.min() <= numbers.max() <= count:
            wrong = numbers.min() if numbers.min() < 1 else numbers.max()
            raise UserError(f"{where}: face {wrong} of {name!r}; expected 1 to {count:,}, the number of faces")
        taken = words[numbers - 1] != ""
        if taken.any():
            raise UserError(f"{where}: face {numbers[taken][0]} is of {words[numbers[taken][0] - 1]!r} and of {name!r}")
        words[numbers - 1] = name
    return list(words)
