"""The command `search`: the shapes of a cache that are nearest to a text, a picture or another shape. `trainer.cli` registers it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.text import Text

from cache_schema.errors import UserError
from cache_schema.files import write_file
from cache_schema.terminal import counted, printable, some
from trainer.cli_use import (
    LISTED,
    Device,
    Force,
    Json,
    Opened,
    RunPath,
    Set,
    check_page,
    chosen_rows,
    columns,
    notes_on,
    opened_run,
    quiet,
    refuse_none,
    wanted_of,
)
from trainer.terminal import out, print_json, progress, say

if TYPE_CHECKING:
    from cache_schema.store import Cache
    from trainer.neighbours import Found, Gallery, Space
    from trainer.pages import Sought

ShapeQuery = Annotated[
    str, typer.Option(metavar="FILE|ID", help="Search by a shape: a file, or the id of a shape of CACHE.", show_default=False)
]
SpaceOf = Annotated[
    str,
    typer.Option(
        metavar="NAME", help="Whose space to search in, for a text or picture. Default: the run's first that fits.", show_default=False
    ),
]
Page = Annotated[Path | None, typer.Option(metavar="PAGE.html", help="Write a page with pictures.", show_default=False)]


def search(
    run: RunPath,
    cache: Annotated[Path, typer.Argument(metavar="CACHE", help="The cache with the shapes to search in.", show_default=False)],
    text: Annotated[str, typer.Option(help="Search by a text.", show_default=False)] = "",
    image: Annotated[Path | None, typer.Option(metavar="PICTURE", help="Search by a picture.", show_default=False)] = None,
    shape: ShapeQuery = "",
    top: Annotated[int, typer.Option(min=1, help="Number of neighbours.")] = 10,
    teacher: SpaceOf = "",
    page: Page = None,
    set_: Set = None,
    force: Force = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Find the shapes of a cache that are nearest to a text, a picture or another shape.

    A text or a picture is embedded by the teacher that the run learned from, by mmpd-cache, and compared with the shapes in the teacher's
    space. A shape is compared with the vectors of the model. Vectors of the cache are computed once and kept in RUN/vectors.

    \b
    mmpd-train search runs/align out.zarr --text "a wooden chair" --page chairs.html
    mmpd-train search runs/align out.zarr --image photo.jpg --top 20
    mmpd-train search runs/align out.zarr --shape mine.glb
    """
    from cache_schema.store import open_cache

    if sum((bool(text), image is not None, bool(shape))) != 1:
        raise UserError("search needs one thing to search for: give one of --text, --image and --shape")
    if teacher and shape:
        raise UserError("--teacher would have no effect: a shape is compared with the vectors of the model. Leave it out")
    if set_ and not shape:
        raise UserError("--set would have no effect: only the file of --shape is read with it. Leave it out")
    if page is not None:
        check_page(page, force)
    using, opened = opened_run(run, device), open_cache(cache)
    if shape:
        query = _shape_query(using, opened, shape, set_ or [])
    else:
        query = _teacher_query(using, opened, text, image, teacher, device)
    gallery = _gallery(using, opened, query.space)
    found = gallery.nearest(query.vector, top, query.rows)
    _print_found(using, gallery, query, found, page, as_json)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What `search` looks for."""

    said: dict[str, str]
    """What the user gave, as JSON values."""
    vector: NDArray[np.float32]
    """[E]"""
    space: "Space"
    sought: "Sought"
    rows: tuple[int, ...] = ()
    """Rows of the shape, if the cache has it; it is no neighbour of itself."""


def _teacher_query(using: Opened, cache: "Cache", text: str, image: Path | None, teacher: str, device: str) -> Asked:
    """Embed a text or a picture in the space of a teacher."""
    from trainer import neighbours
    from trainer.pages import Sought
    from trainer.pictures import file_uri

    used = neighbours.teacher_of(using.loaded, teacher, text=bool(text))
    query, vector = neighbours.embedded(used, teacher, cache.path, text, image, device)
    using.notes += query.notes
    title = f"Shapes near {query.picture or f'“{text}”'}"
    sought = Sought(title=title, picture="" if image is None else file_uri(image), name=query.picture)
    said = {"text": text} if image is None else {"image": str(image)}
    return Asked(said=said, vector=vector, space=neighbours.Space(teacher=used.name), sought=sought)


def _print_found(using: Opened, gallery: "Gallery", query: Asked, found: "Sequence[Found]", page: Path | None, as_json: bool) -> None:
    from trainer import neighbours
    from trainer.given import up_told
    from trainer.pages import of_search

    if page is not None:
        facts = {
            "Model": f"{using.facts['name']}, {using.facts['encoder']}, weights {using.model.digest[:12]}",
            "Compared in": f"{query.space.told}, the mean over {counted(gallery.blocks, 'stored sample')} of each shape",
            "Up axis": up_told(gallery.cache),
            "Cache": str(gallery.cache.path),
        }
        write_file(page, of_search(gallery, found, query.sought, facts, using.notes))
    if as_json:
        print_json(neighbours.told(gallery, found, query.said, using.notes, using.facts))
    else:
        table = columns("", "cosine", "shape", "class")
        for i, one in enumerate(found, 1):
            table.add_row(str(i), f"{one.cosine:.3f}", Text(printable(one.id)), Text(printable(one.label)))
        out.print(table)
    said = f"{counted(len(gallery.rows), 'shape')} in {query.space.told}, the mean over {counted(gallery.blocks, 'stored sample')} of each"
    if not found:
        say("Nothing is near it: there is no other shape with a vector to compare it with")
    say(f"Nearest of {said}" + (f". {page} shows them" if page else ""))


def _gallery(using: Opened, cache: "Cache", space: "Space") -> "Gallery":
    from trainer import neighbours

    with quiet():
        gallery = neighbours.kept(using.loaded, using.model, cache, space, lambda: progress("vectors of the cache"))
    using.notes += notes_on(using, cache, gallery.rows)
    return gallery


def _shape_query(using: Opened, cache: "Cache", shape: str, settings: Sequence[str]) -> Asked:
    """The vector of a file, or of a shape of the cache."""
    from trainer import neighbours
    from trainer.given import opened
    from trainer.pages import Sought
    from trainer.pictures import Pictures
    from trainer.tasks.features import Body

    def asked(cache: "Cache", row: int, known: tuple[int, ...]) -> Asked:
        sought = Sought(title=f"Shapes near {shape}", picture=Pictures(cache)(row), name=shape)
        blocks = neighbours.samples(Body.of(using.loaded.model, using.model.pool), cache)
        vector = using.model.embed_cache(cache, np.array([row]), range(blocks))[0]
        return Asked(said={"shape": shape}, vector=vector, space=neighbours.Space(), sought=sought, rows=known)

    if not Path(shape).exists():
        row = neighbours.row_of(cache, shape)
        with quiet():
            return asked(cache, row, (row,))
    up = neighbours.up_of(cache)
    if up and not any(one.strip().startswith("source.up=") for one in settings):
        note = f"{shape} is read as the files of {cache.path} were, with {up[0]}; --set source.up=y|z changes that"
        say(f"Note: {note}")
        using.notes.append(note)
        settings = [*settings, *up]
    settings = ["source.label=none", *settings]  # its class does not matter
    with opened([shape], wanted_of(using, settings), say) as given, quiet():
        rows, table = chosen_rows(using, given.cache, "", "")
        refuse_none(table, given.cache)
        if len(rows) != 1:
            raise UserError(f"--shape takes one shape, {shape} has {len(rows)}")
        using.notes += [*given.notes, *filter(None, table.remarks)]
        if known := neighbours.rows_of_file(cache, given.cache.column("source_sha256")[rows[0]]):
            names = some([*map(printable, cache.ids()[list(known)])], LISTED)
            note = f"the cache has this very file and leaves it out: {names}"
            say(f"Note: {note}")
            using.notes.append(note)
        return asked(given.cache, int(rows[0]), known)
