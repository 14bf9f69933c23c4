"""Search among the shapes of a cache: by a text or a picture in the space of a teacher, by a shape in the space of the model.

    gallery = kept(loaded, model, cache, Space(teacher="clip-vit-b32"))     # computed once, then mapped from RUN/vectors
    found = gallery.nearest(embedding, top=10)

Letters: m usable shapes, E width of the space.
"""

import dataclasses
import hashlib
import json
import secrets
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from cache_schema import products, query_files
from cache_schema.errors import UserError
from cache_schema.files import write_file
from cache_schema.layout import texts
from cache_schema.query_files import Query
from cache_schema.spec import canonical, did_you_mean, fingerprint
from cache_schema.store import Cache
from trainer import search
from trainer.align import Teacher
from trainer.checkpoint import Loaded
from trainer.encoders.protocol import missing
from trainer.given import INSTALL, call_pipeline, lacking
from trainer.model import DRAWS, Model
from trainer.points import Blocks
from trainer.tasks.features import Body
from trainer.tasks.teachers import contrasted, same_specification
from trainer.vectors import CHUNK, Embedder, fill

FOLDER: Final = "vectors"
"""Name of the folder with the vectors of caches, inside the run's folder."""
FORMAT: Final = 1
"""Version of what the vectors are. Files of other versions are not used."""

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Space:
    """The space in which shapes are compared."""

    teacher: str = ""
    """Name of a teacher of the run; empty for the vectors of the model itself."""

    @property
    def told(self) -> str:
        """The space in words."""
        return f"the space of teacher {self.teacher}" if self.teacher else "the vectors of the model"


@dataclass(frozen=True, kw_only=True)
class Found:
    """A neighbour."""

    row: int
    """Row of the shape in the cache."""
    id: str
    label: str
    """Name of its class; empty for none."""
    cosine: float


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """The usable shapes of a cache with their vectors."""

    cache: Cache
    space: Space
    rows: Ints
    """Rows of the shapes in the cache. [m]"""
    vectors: Floats
    """Vectors of the shapes, each of unit length. [m, E]"""
    blocks: int
    """Number of stored blocks of a shape, from the first, over which the mean is taken."""
    computed: bool
    """Whether they were computed now; False if they were there."""

    def of(self, row: int) -> Floats:
        """The vector of the shape in a row of the cache. [E]"""
        return np.array(self.vectors[np.searchsorted(self.rows, row)])

    def nearest(self, query: Floats, top: int, without: Sequence[int] = ()) -> list[Found]:
        """The shapes with the highest cosine to a query.

        Args:
            query: of any length but 0. [E]
            top: number of neighbours.
            without: rows of shapes that are left out.
        """
        cosines, places = search.nearest(self.vectors, search.unit(query[None])[0], top + len(without))
        rows = self.rows[places]
        kept = [(int(row), float(cosine)) for row, cosine in zip(rows, cosines, strict=True) if row not in without][:top]
        ids, label, names = self.cache.ids(), self.cache.column("label"), self.cache.manifest.classes
        return [Found(row=row, id=ids[row], label=names[label[row]] if label[row] >= 0 else "", cosine=cosine) for row, cosine in kept]


Progress = Callable[[], AbstractContextManager[Callable[[int, int], None]]]
"""Shows progress while its context lasts: it gives a function that gets the number of finished shapes and of all."""


def kept(loaded: Loaded, model: Model, cache: Cache, space: Space, progress: Progress) -> Gallery:
    """The vectors of all usable shapes of a cache. They are computed once and kept in the folder of the run.

    What a file was made of, weights, points and status of the shapes, is in its name, so a changed cache or run never meets old vectors. If
    the folder cannot be written, they are computed for this time only.

    Raises:
        UserError: the run has no such teacher, or the points do not fit the run.
    """
    blocks = samples(Body.of(loaded.model, "mean_max"), cache)
    facts = _facts(loaded, cache, space, blocks)
    folder = loaded.run / FOLDER
    path = folder / f"{hashlib.sha256(canonical(facts)).hexdigest()[:24]}.npy"
    rows = np.flatnonzero(cache.ok())
    if (known := _mapped(path, len(rows))) is not None:
        return Gallery(cache=cache, space=space, rows=rows, vectors=known, blocks=blocks, computed=False)

    def embed(cache: Cache, part: Ints) -> Floats:
        if space.teacher:
            return model.teacher_space_cache(cache, space.teacher, rows=part, block=range(blocks))
        return model.embed_cache(cache, part, range(blocks))

    temporary = folder / f".{path.name}.{secrets.token_hex(8)}.tmp"
    try:
        folder.mkdir(exist_ok=True)
        with progress() as step:
            fill(temporary, embed, cache, rows, step=step, change=search.unit)
        temporary.replace(path)
        write_file(path.with_suffix(".json"), (json.dumps(facts, indent=2) + "\n").encode())
    except OSError:  # a run that is read only for this user, or a full disk
        vectors = _for_once(embed, cache, rows, progress)
        return Gallery(cache=cache, space=space, rows=rows, vectors=vectors, blocks=blocks, computed=True)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    written = _mapped(path, len(rows))
    assert written is not None
    return Gallery(cache=cache, space=space, rows=rows, vectors=written, blocks=blocks, computed=True)


def stored_blocks(body: Body, cache: Cache) -> int:
    """Number of blocks of a shape that a body finds in a cache. Several small ones may be joined to one."""
    return Blocks(cache, body.convention, channels=body.channels, centres=body.encoder.centres).blocks


def samples(body: Body, cache: Cache, asked: int | None = None) -> int:
    """Number of stored blocks over which the features of a shape are averaged: what is asked for; if None, as many as `Model.embed` takes
    shares of a cloud, or all if there are fewer.

    Raises:
        UserError: there are not so many, or the points do not fit the run.
    """
    there = stored_blocks(body, cache)
    if asked is not None and asked > there:
        raise UserError(f"--blocks must lie in 1..{there}, the blocks of {cache.path} with the number of points of the run, got {asked}")
    return min(DRAWS, there) if asked is None else asked


FIRST: Final = 64
"""Number of shapes on which the noise of vectors is measured."""


def noise(embed: Callable[[Ints, range], Floats], cache: Cache, rows: Ints, values: Floats, blocks: int, stored: int) -> dict[str, Any]:
    """How much vectors change with the sample of points, beside how near other shapes are, measured on the first shapes.

    Args:
        embed: gives the mean vectors of rows over stored blocks.
        cache, rows: the shapes.
        values: their vectors, each a mean over `blocks` stored blocks. [m, D]
        blocks: see `values`.
        stored: number of stored blocks of a shape.

    Returns:
        JSON values: the number of shapes, the number of blocks in each of the two means that are compared (`blocks`, or fewer if a shape
        has fewer than twice as many), the median cosine of these two means of a shape, and the median cosine of a shape's vector and its
        nearest neighbour's. The medians are None where there is only one block, or only one shape.
    """
    first, half = rows[:FIRST], min(blocks, stored // 2)
    found: dict[str, Any] = {"shapes": len(first), "blocks": half, "same_shape": None, "nearest_neighbour": None}
    if half:
        known = values[: len(first)] if half == blocks else embed(first, range(half))
        one, other = search.unit(known), search.unit(embed(first, range(half, 2 * half)))
        found["same_shape"] = round(float(np.median((one * other).sum(1))), search.DIGITS)
    if len(rows) > 1:
        queries, best = search.unit(values[: len(first)]), np.full(len(first), -1.0, np.float32)
        for start in range(0, len(rows), CHUNK):
            cosines = queries @ search.unit(values[start : start + CHUNK]).T
            own = np.arange(start, min(start + cosines.shape[1], len(first)))
            cosines[own, own - start] = -1  # a shape is no neighbour of itself
            best = np.maximum(best, cosines.max(1))
        found["nearest_neighbour"] = round(float(np.median(best)), search.DIGITS)
    return found


def noise_told(found: dict[str, Any]) -> str:
    """The result of `noise` as a sentence."""
    same, near, count = found["same_shape"], found["nearest_neighbour"], found["blocks"]
    if same is None:
        return "how much vectors change with the sample of points is not known: the cache has one sample of each shape"
    means = "two samples" if count == 1 else f"two means over {count} samples"
    beside = "" if near is None else f", nearest neighbours have {near:.4f}"
    told = "one shape" if found["shapes"] == 1 else f"first {found['shapes']} shapes"
    warning = "; differences between neighbours that are smaller than this noise mean nothing" if near is not None else ""
    return f"{means} of the same shape have a median cosine of {same:.4f}{beside} ({told}){warning}"


def _for_once(embed: Embedder, cache: Cache, rows: Ints, progress: Progress) -> Floats:
    with tempfile.TemporaryDirectory() as folder, progress() as step:
        return np.array(fill(Path(folder) / "vectors.npy", embed, cache, rows, step=step, change=search.unit))


def _mapped(path: Path, count: int) -> Floats | None:
    """The vectors of a file, mapped; None if it is not there, or cut short."""
    try:
        vectors: Floats = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return vectors if vectors.ndim == 2 and len(vectors) == count and vectors.dtype == np.float32 else None


def _facts(loaded: Loaded, cache: Cache, space: Space, blocks: int) -> dict[str, Any]:
    """Everything that decides the vectors, as JSON values."""
    points, status = (cache.proven(kind.name) for kind in (products.POINTS, products.STATUS))
    run = loaded.model.convention
    return {
        "format": FORMAT,
        "weights": loaded.weights,
        "heads": _heads(loaded, space),
        "space": dataclasses.asdict(space),
        "pool": "" if space.teacher else Model.pool,
        "blocks": blocks,
        "convention": None if run is None else dataclasses.asdict(run),
        "points": [points.fingerprint, points.content],
        "status": status.content,
        **({"missing": "mask"} if missing(loaded.model.encoder) == "mask" else {}),
        # A run without steps may have the weights of another one. Of others the weights tell enough.
        **({"settings": loaded.settings} if loaded.settings and not loaded.header.steps else {}),
    }


def _heads(loaded: Loaded, space: Space) -> str:
    """sha256 over the heads into the space of a teacher, which the digest of a run leaves out; empty for the model's own space."""
    heads = loaded.model.teachers
    if not space.teacher or heads is None:
        return ""
    out = hashlib.sha256()
    for name, value in sorted(heads.state_dict().items()):
        out.update(f"{name} {list(value.shape)} ".encode())
        out.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return out.hexdigest()


def notes(loaded: Loaded, cache: Cache, rows: Ints, what: str = "embedded") -> tuple[str, ...]:
    """What a reader of vectors should know of the points of these shapes: other counts, no colours, repeated points."""
    encoder = loaded.model.encoder
    blocks = Blocks(cache, loaded.model.convention, channels=encoder.config.channels, centres=encoder.centres)
    said = [loaded.header.unfinished] if loaded.header.unfinished else []
    if loaded.model.convention is None:
        said.append("it is not known what points the run was trained on, so the points of the cache are taken as they are")
    return (*said, *blocks.notes(rows, what, masked=missing(encoder) == "mask"))


# ------------------------------------------------------------------------------------------------------------- queries


def teacher_of(loaded: Loaded, asked: str, *, text: bool) -> Teacher:
    """The teacher in whose space texts or pictures are compared with shapes: the one that is asked for, or the run's first.

    Raises:
        UserError: the run was not aligned with such a teacher, or with none.
    """
    if loaded.model.teachers is None:
        raise UserError("this run learned without words and pictures: use `search --shape`, or a run that `mmpd-train align` made")
    name = asked.partition("=")[0]
    return contrasted(loaded.model, (name,) if name else (), text=text)[0]


def embedded(teacher: Teacher, reference: str, cache: Path, text: str, picture: Path | None, device: str) -> tuple[Query, Floats]:
    """Embed a text or a picture with a teacher, by `mmpd-cache query` in a process of its own.

    Args:
        teacher: the teacher of the run.
        reference: what to load, as `mmpd-cache` takes it.
        cache: a cache that may have been made with this teacher.
        text, picture: what to embed, one of both.
        device: torch device, or auto.

    Returns:
        What was embedded, and its embedding. [E]

    Raises:
        UserError: the pipeline is not installed, cannot load the teacher, or loads another one than that of the run.
    """
    if absent := lacking():
        raise UserError(f"a text or picture is embedded by mmpd-cache, which needs packages that lack ({', '.join(absent[:3])}): {INSTALL}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "query.safetensors"
        what = f"--text={text}" if picture is None else f"--image={picture}"
        same = [f"--same={teacher.fingerprint}"] if teacher.fingerprint else []
        call_pipeline("query", reference or teacher.name, str(path), what, f"--cache={cache}", f"--device={device}", *same)
        query, embedding = query_files.read(path)
    same_specification(teacher, query.teacher, "the query")
    if not embedding.any():
        raise UserError("the embedding of the query is all zeros, which has no direction to compare with")
    return query, embedding


def up_of(cache: Cache) -> tuple[str, ...]:
    """The setting of the up axis with which the files of a cache were read, so that a query is read in the same way; none if each format's
    usual axis was taken."""
    said = dict(cache.manifest.source.options).get("up", "auto")
    return () if said == "auto" else (f"source.up={said}",)


def row_of(cache: Cache, name: str) -> int:
    """The row of the usable shape with this id.

    Raises:
        UserError: there is none. The message has the reason why the shape failed, or near ids.
    """
    ids = cache.ids()
    found = np.flatnonzero(ids == name)
    usable = found[cache.ok()[found]]
    if len(usable):
        return int(usable[0])
    if len(found):
        reason = texts(cache.column("reason")[found])[0] or "no reason is recorded"
        raise UserError(f"--shape: {name} of {cache.path} could not be read: {reason}")
    near = did_you_mean(name, ids[:MANY].tolist())
    said = near if near.startswith("; did you mean") else ""  # no list of all ids
    raise UserError(f"--shape: there is no file {name!r}, and {cache.path} has no shape with this id{said}")


MANY: Final = 20_000
"""Number of ids among which near ones are looked for. It takes time."""


def rows_of_file(cache: Cache, digest: NDArray[np.uint8]) -> tuple[int, ...]:
    """The usable rows of a cache that were read from a file with this SHA-256, [32] uint8; none if it is zeros, as that of a file which
    could not be read."""
    same = (cache.column("source_sha256") == digest).all(1) & cache.ok()
    return tuple(same.nonzero()[0].tolist()) if digest.any() else ()


def told(gallery: Gallery, found: Sequence[Found], query: dict[str, Any], said: Sequence[str], run: dict[str, Any]) -> dict[str, Any]:
    """The result of a search as JSON values."""
    points = gallery.cache.record(products.POINTS.name)
    return {
        "query": query,
        "space": gallery.space.told,
        "run": run,
        "cache": str(gallery.cache.path),
        "points": fingerprint(points),
        "shapes": len(gallery.rows),
        "blocks": gallery.blocks,
        "engine": search.engine(),
        "notes": list(said),
        "neighbours": [
            {"rank": i, "row": one.row, "id": one.id, "class": one.label or None, "cosine": one.cosine} for i, one in enumerate(found, 1)
        ],
    }
