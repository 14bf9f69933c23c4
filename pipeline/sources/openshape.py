"""OpenShape's training data (arXiv:2305.10764): a pickled `.npy` for each shape, with points, colours, embeddings and texts. +Y up.

    open_source("openshape/")                            # with objaverse-processed/merged_for_training_final/ in it, or that folder
    open_source("meta_data/split/train_all.json", root="openshape/")    # the shapes of one of OpenShape's lists
    open_source("openshape/", features="none")           # points and colours alone

The layout is that of the authors' page on their data and of the loader in their code (github.com/Colin97/OpenShape_code, src/data.py):
  DATASET/GROUP/ID.npy (Objaverse) or DATASET/ID.npy (ShapeNet, ABO, 3D-FUTURE), each a dict with
    xyz [10000, 3], rgb [10000, 3] in 0..1
    image_feat [12, 1280], pictures of the shape; thumbnail_feat [1280], of Objaverse alone
    text, retrieval_text: lists of texts; blip_caption, msft_caption: texts, perhaps empty
    text_feat, retrieval_text_feat: lists of {"original": [1280], "prompt_avg": [1280]}; blip_caption_feat, msft_caption_feat: one such dict
  lists: [{"dataset", "group", "id" or "uid", "data_path", "category"?}, ...]
The embeddings are of OpenCLIP ViT-bigG-14 (laion2b_s39b_b160k). The files are read without executing anything (`formats.unpickled`).

Id: that of OpenShape, the name of the file. Class: the `category` of a list (lvis.json), else none. Split: from the name of the list;
lvis.json is the test set. `split=0.8` makes one by a hash of the id, see `splits.made`.
Up is `y`: OpenShape's configuration says `y_up: True`, and its loader exchanges y and z, which also mirrors a shape; here nothing is
mirrored. A shape whose points all have the grey that OpenShape gives to shapes without colours (0.4) is read as one without colours.

A build stores `image/<teacher>`, and `captions/openshape-text`, `-blip`, `-msft` and `-retrieval` with their embeddings. As in OpenShape's
training, embeddings of texts are those averaged over prompts (`prompt=prompt_avg`, or `original`), and those of retrieved texts are
`original`. A shape with an unsound embedding (another width, NaN, zeros) fails.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError
from cache_schema.names import path_name
from cache_schema.terminal import article
from pipeline.formats import columns, unpickled
from pipeline.geometry import Cloud, finished
from pipeline.sources import splits
from pipeline.sources.catalog import Entry, Extras, Given, GivenTexts, Source, Textures, shape_id, shape_text
from pipeline.sources.files import find_files
from pipeline.sources.folders import folder_at
from pipeline.sources.options import choice, whole

LOOKS_FOR: Final = "OpenShape's pickled .npy files with embeddings and texts, or one of its lists (train_all.json, lvis.json)"

WITHIN: Final = "merged_for_training_final"
"""Folder that holds the folders of the data sets, in the archives that OpenShape publishes and in the paths of its lists."""

OUTSIDE: Final = re.compile(r".*merged_for_training_\w+/")
"""Pattern of what stands before the folder of a data set in a path of a list: a folder of the authors' machine, in one of its versions."""

META: Final = "meta_data"
"""Folder with lists and test sets, which are no shapes of the training data."""

TEACHER: Final = "openclip-bigg14"
MODEL: Final = "open_clip ViT-bigG-14/laion2b_s39b_b160k"
"""Name and model of the teacher that the authors of OpenShape used."""
WIDTH: Final = 1280
"""Width of its embeddings."""

POINTS: Final = 10_000
"""Number of points of a file, as the authors say."""

GREYS: Final = (0.4, 100 / 255)
"""Colours of shapes without colours: the loader sets 0.4, and 100 of 255 for ModelNet40."""

LOOKED: Final = 8
"""Number of files that are looked into to learn the number and the width of embeddings."""

GLANCE: Final = 200
"""Number of folders that are looked into to recognise the source."""

PROMPTS: Final = ("prompt_avg", "original")

TEXTS: Final[dict[str, tuple[str, str]]] = {
    "openshape-text": ("text", "metadata of the collections"),
    "openshape-blip": ("blip_caption", "BLIP"),
    "openshape-msft": ("msft_caption", "Microsoft Azure"),
    "openshape-retrieval": ("retrieval_text", "retrieved texts of similar pictures"),
}
"""By name of the captions: the key in a file, whose embeddings are at the same key with `_feat`, and who wrote them."""


@dataclass(frozen=True, kw_only=True)
class OpenShapeReader:
    """Reads the files. See `catalog.Reader` and `catalog.GivingReader`."""

    kind: str = "openshape"
    location: str
    root: str
    """Absolute path that locators are relative to."""
    up: Literal["y", "z"]
    options: tuple[tuple[str, str], ...]
    textures: Textures
    given: Given = Given()
    """What a sound file holds beside its points; nothing if only points are read."""
    prompt: str = "prompt_avg"
    thumbnail: bool = False
    """Whether `thumbnail_feat` follows the views."""

    def read(self, entry: Entry) -> Cloud:
        held = self._held(entry)
        self._extras(entry, held)  # a shape that is ok has sound embeddings
        cloud, given = cloud_of(held, self.up), {one.name for one in self.given.texts}
        left = [key for name, (key, _) in TEXTS.items() if self.given.dim and name not in given and texts_under(held, key)]
        said = f"left out, because none of the first {LOOKED} files has it: {', '.join(left)}"
        return replace(cloud, warnings=(*cloud.warnings, said)) if left else cloud

    def digest(self, entry: Entry) -> bytes:
        with _present(Path(self.root, entry.locator)).open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()

    def extras(self, entry: Entry) -> Extras:
        return self._extras(entry, self._held(entry))

    def _held(self, entry: Entry) -> Mapping[str, Any]:
        held = record_of(Path(self.root, entry.locator))
        said = held.get("id")
        if isinstance(said, str) and said != Path(entry.locator).stem:
            raise UserError(f"the file is called {Path(entry.locator).stem} and says that it is {said[:80]!r}")
        return held

    def _extras(self, entry: Entry, held: Mapping[str, Any]) -> Extras:
        if not self.given.dim:
            return Extras()
        texts, embedded = {}, {}
        for one in self.given.texts:
            key, _ = TEXTS[one.name]
            said = texts_under(held, key)[: one.samples]
            vectors = self._vectors(held, key, len(said))
            kept = [(text, vector) for text, vector in zip(said, vectors, strict=True) if text.strip()]
            if kept:
                texts[one.name], embedded[one.name] = [[text for text, _ in kept]], [np.stack([vector for _, vector in kept])]
        return Extras(image=self._image(held), texts=texts, embedded=embedded)

    def _image(self, held: Mapping[str, Any]) -> NDArray[np.float32]:
        """The embeddings of the pictures. [V, E]"""
        parts = [matrix(held, "image_feat", self.given.dim)]
        if self.thumbnail:
            parts.append(matrix(held, "thumbnail_feat", self.given.dim))
        image = np.concatenate(parts)
        if len(image) != self.given.views:
            raise UserError(f"image_feat: expected {self.given.views} embeddings, as in the first files, got {len(image)}")
        return image

    def _vectors(self, held: Mapping[str, Any], key: str, count: int) -> list[NDArray[np.float32]]:
        """The embeddings of the first `count` texts under a key."""
        if not count:
            return []
        prompt = "original" if key == "retrieval_text" else self.prompt
        given = held.get(f"{key}_feat")
        found = given if isinstance(given, list | tuple) else [given]
        if len(found) < count:
            raise UserError(f"{key}_feat has {len(found)} entries for {count} texts")
        return [matrix(one if isinstance(one, Mapping) else {}, prompt, self.given.dim, f"{key}_feat, ")[0] for one in found[:count]]


def record_of(path: Path) -> Mapping[str, Any]:
    """The dict in a file.

    Raises:
        UserError: the file is missing, or holds something else.
    """
    held = unpickled.read(_present(path))
    if not isinstance(held, dict) or not all(isinstance(key, str) for key in held):
        raise UserError(f"expected a dict with xyz and rgb, as np.save writes it, got {article(type(held).__name__)}")
    return held


def _present(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"no such file: {path.name}")
    return path


def cloud_of(held: Mapping[str, Any], up: Literal["y", "z"]) -> Cloud:
    """The cloud in a dict with `xyz` and perhaps `rgb`, as OpenShape and ULIP-2 publish them.

    Raises:
        UserError: there is no `xyz`, or `rgb` does not fit it.
    """
    warnings: list[str] = []
    points, colors = unpickled.numbers_of(held.get("xyz")), held.get("rgb")
    if points is None or points.ndim != 2 or points.shape[1] != 3:
        raise UserError(f"xyz: expected points [n, 3], got {_told(held.get('xyz'))}")
    if len(points) != POINTS:
        warnings.append(f"{len(points):,} points, where OpenShape's files have {POINTS:,}")
    rgb = None if colors is None else unpickled.numbers_of(colors)
    if colors is not None and (rgb is None or rgb.shape != points.shape):
        raise UserError(f"rgb: expected colours {list(points.shape)}, as xyz, got {_told(colors)}")
    if rgb is not None and any(np.abs(rgb.astype(np.float64) - grey).max(initial=0) < 1e-3 for grey in GREYS):
        warnings.append("all points have the grey that OpenShape gives to shapes without colours: read as one without colours")
        rgb = None
    done = None if rgb is None else columns.as_bytes(rgb, warnings.append, "colours")
    if rgb is not None and done is None:
        raise UserError(f"rgb: expected colours from 0 to 1, got values from {rgb.min():g} to {rgb.max():g}")
    cloud = finished(Cloud(points=points, colors=done, warnings=tuple(warnings)), up)
    assert isinstance(cloud, Cloud)
    return cloud


def texts_under(held: Mapping[str, Any], key: str) -> list[str]:
    """The texts under a key of a file: a list of texts, one text, or nothing.

    Raises:
        UserError: there is something else.
    """
    value = held.get(key)
    said = [] if value is None else unpickled.texts_of(value)
    if said is None:
        raise UserError(f"{key}: expected texts, got {_told(value)}")
    return said if len(said) > 1 or "".join(said) else []


def matrix(held: Mapping[str, Any], key: str, dim: int, where: str = "") -> NDArray[np.float32]:
    """The embeddings under a key of a file. [n, dim]

    Args:
        held: the values of the file.
        key: the key.
        dim: width of an embedding; 0 for any.
        where: what the message says before the key.

    Raises:
        UserError: they are missing, have another width, or are not finite or zero.
    """
    values = unpickled.numbers_of(held.get(key))
    if values is None or values.dtype.kind != "f" or not values.size or (dim and values.shape[-1] != dim):
        raise UserError(f"{where}{key}: expected embeddings {dim or 'of numbers'} wide, got {_told(held.get(key))}")
    flat = values.reshape(-1, values.shape[-1]).astype(np.float32)
    with np.errstate(over="ignore"):  # infinity is refused in the next line
        stored = flat.astype(np.float16)
    if not np.isfinite(stored).all():
        raise UserError(f"{where}{key}: some numbers are NaN, infinite or too large for float16")
    if not stored.any(axis=1).all():
        raise UserError(f"{where}{key}: an embedding is all zeros")
    return flat


def _told(value: Any) -> str:
    """What a value is, in words."""
    if isinstance(value, np.ndarray):
        return f"an array {list(value.shape)} of {value.dtype}"
    return "nothing" if value is None else article(type(value).__name__)


# ------------------------------------------------------------------------------------------------------------ the listing


def recognises(location: str) -> bool:
    """Whether the location is a list with `data_path`, or a folder whose first .npy holds Python values, among them `xyz`."""
    path = Path(location)
    if path.is_file():
        return path.suffix.lower() == ".json" and _is_list(path)
    if not path.is_dir() or any((path / name).exists() for name in ("lvis.json", "objaverse_lvis_metadata.json")):
        return False
    base = _base(path)
    return base != path or any(unpickled.holds_objects(file) and b"xyz" in file.read_bytes() for file in _first_arrays(base))


def _is_list(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError:
        return False
    return bool(re.match(rb"(?:\xef\xbb\xbf)?\s*\[\s*\{", head)) and b'"data_path"' in head


def _first_arrays(base: Path) -> Iterator[Path]:
    """The first .npy of the first folder that has any."""
    folders = [base]
    for _ in range(GLANCE):
        if not folders:
            return
        try:
            items = sorted(os.scandir(folders.pop(0)), key=lambda item: item.name)
        except OSError:
            continue
        if found := next((Path(item.path) for item in items if item.name.lower().endswith(".npy") and os.path.isfile(item.path)), None):
            yield found
            return
        # `item.is_dir()` would raise an error for a link to itself; and `isdir` of every file would ask the disk a million times.
        below = (item for item in items if not item.name.startswith(".") and item.name != META)
        folders += [Path(item.path) for item in below if not item.is_file(follow_symlinks=False) and os.path.isdir(item.path)]


def _base(path: Path) -> Path:
    """The folder with the folders of the data sets."""
    for below in (Path("objaverse-processed", WITHIN), Path(WITHIN), Path("mnt", "data", "objaverse-processed", WITHIN)):
        if (path / below).is_dir():
            return path / below
    return path


def open_source(
    location: str,
    *,
    textures: Textures = "require",
    root: str = "",
    up: str = "y",
    features: str = "auto",
    teacher: str = "",
    prompt: str = "prompt_avg",
    thumbnail: str = "false",
    texts: str = "4",
    split: str = "",
    split_seed: str = "0",
) -> Source:
    """Lists OpenShape's files.

    Args:
        location: the folder, or a list.
        textures: see `catalog.open_source`.
        root: the folder of the files, for a list; by default it is looked for beside the list and above it. It is not recorded.
        up: `y` or `z`.
        features: `auto` for what the files hold, `none` for points and colours alone.
        teacher: name of the teacher that the embeddings are of; it is needed if they are not 1280 wide.
        prompt: which embeddings of texts are stored: `prompt_avg` or `original`.
        thumbnail: `true` stores `thumbnail_feat` as one more view. A shape without one then fails.
        texts: largest number of texts that are kept of a list of texts.
        split: makes a split, see `splits.fractions`.
        split_seed: seed of the split that is made.
    """
    axis: Literal["y", "z"] = choice("option up", up, ("y", "z"))
    choice("option features", features, ("auto", "none"))
    choice("option prompt", prompt, PROMPTS)
    choice("option thumbnail", thumbnail, ("true", "false"))
    kept = whole("texts", texts, 1, 100, "a number of texts")
    recorded = splits.settings(split, split_seed)
    path = Path(location).absolute()
    base, entries, skipped, told_by = _of_list(path, root) if path.is_file() else _of_folder(location, root)
    entries, said = splits.finished(entries, split, split_seed, told_by)
    changed = (
        ("features", features, "auto"),
        ("teacher", teacher, ""),
        ("prompt", prompt, "prompt_avg"),
        ("thumbnail", thumbnail, "false"),
    )
    chosen = [(name, value) for name, value, usual in changed if value != usual] + ([("texts", texts)] if kept != 4 else [])
    options = tuple(sorted((*chosen, *recorded, *([("up", up)] if up != "y" else []))))
    reader = OpenShapeReader(location=str(path), root=str(base), up=axis, options=options, textures=textures)
    notes = [*said, _axes(up)]
    if features == "auto" and entries:
        given, more = _looked(base, entries, teacher, thumbnail == "true", kept)
        reader, notes = replace(reader, given=given, prompt=prompt, thumbnail=thumbnail == "true"), [*notes, *more]
    return Source.of(reader, entries, skipped, notes, given=reader.given)


def _axes(up: str) -> str:
    return (
        f"+{up.upper()} is taken for up, as OpenShape's configuration says of its files (y_up); choose with --set source.up=y|z. "
        "OpenShape's own loader exchanges y and z, which mirrors shapes; here they are not mirrored"
    )


def _of_folder(location: str, root: str) -> tuple[Path, list[Entry], dict[str, int], str]:
    if root:
        raise UserError("option root has no effect for a folder: it says where the files of a list are")
    base = _base(folder_at(location))
    locators, skipped = find_files(base, (".npy",))
    shapes = [locator for locator in locators if META not in locator.split("/")]
    if len(shapes) < len(locators):
        skipped[f".npy in {META}"] = len(locators) - len(shapes)
    return base, [_entry(Path(locator).stem, locator) for locator in shapes], dict(skipped), "names of files"


def _of_list(path: Path, root: str) -> tuple[Path, list[Entry], dict[str, int], str]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read the list {path.name}: {error}") from error
    if not isinstance(rows, list):
        raise UserError(f"{path.name}: expected a list of objects with data_path, got {article(type(rows).__name__)}")
    base = _base(folder_at(root)) if root else _found_root(path)
    split = "test" if path.stem.lower() == "lvis" else splits.split_named(path.stem)
    entries = [replace(_row(row, f"{path.name}, item {number}"), split=split) for number, row in enumerate(rows, 1)]
    return base, entries, {}, "the name of the list"


def _found_root(path: Path) -> Path:
    for folder in path.parents[:4]:
        if _base(folder) != folder:
            return _base(folder)
    raise UserError(f"{path.name} does not say where its files are on this machine: give the folder with --set source.root=FOLDER")


def _row(row: Any, where: str) -> Entry:
    """The entry of an item of a list."""
    if not isinstance(row, dict) or not isinstance(row.get("data_path"), str):
        raise UserError(f"{where}: expected an object with data_path, got {str(row)[:60]!r}")
    locator = OUTSIDE.sub("", row["data_path"].replace("\\", "/")).lstrip("/")
    if ".." in locator.split("/") or not locator.endswith(".npy"):
        raise UserError(f"{where}: data_path is no path of a .npy below {WITHIN}: {row['data_path'][:100]!r}")
    name = row.get("id", row.get("uid", Path(locator).stem))
    label = row.get("category", "")
    if not isinstance(name, str) or not isinstance(label, str) or name != Path(locator).stem:
        raise UserError(f"{where}: expected id, the name of the file, and category as texts, got {name!r:.60} and {label!r:.60}")
    return _entry(name, locator, label)


def _entry(name: str, locator: str, label: str = "") -> Entry:
    return Entry(id=shape_id(shape_text(name)), locator=locator, label=shape_text(label))


def _looked(base: Path, entries: Sequence[Entry], teacher: str, thumbnail: bool, kept: int) -> tuple[Given, list[str]]:
    """What the files hold beside points, learned from the first ones, and notes about it.

    Raises:
        UserError: nobody has said which teacher the embeddings are of.
    """
    held = list(_readable(base, sorted(entries, key=lambda entry: entry.id)))
    image = next((one for one in (_image_of(item) for item in held) if one is not None), None)
    if image is None:
        if teacher:
            raise UserError(f"option teacher: none of the first {LOOKED} files has image_feat")
        return Given(), [f"none of the first {LOOKED} files has embeddings (image_feat): only points and colours are read"]
    views, dim = image.shape
    if dim != WIDTH and not teacher:
        raise UserError(
            f"image_feat is {dim} wide, and the embeddings that OpenShape publishes are {WIDTH} wide: name their teacher with "
            "--set source.teacher=NAME, or leave them out with --set source.features=none"
        )
    texts = tuple(
        GivenTexts(name=name, author=author, samples=kept if key in ("text", "retrieval_text") else 1, embedded=True)
        for name, (key, author) in TEXTS.items()
        if any(key in item for item in held)
    )
    model = MODEL if not teacher else teacher
    given = Given(teacher=path_name(teacher or TEACHER, "the teacher"), model=model, dim=dim, views=views + thumbnail, texts=texts)
    return given, [*_notes(given, held, thumbnail), f"{'' if teacher else 'as the authors say, '}embeddings are told to be of {model}"]


def _notes(given: Given, held: Iterable[Mapping[str, Any]], thumbnail: bool) -> list[str]:
    notes = [f"imported from the files: {given.views} image embeddings of each shape, {given.dim} wide"]
    if given.texts:
        notes.append(f"imported from the files: texts and their embeddings: {', '.join(one.name for one in given.texts)}")
    if any("thumbnail_feat" in item for item in held) and not thumbnail:
        notes.append("thumbnail_feat is left out; --set source.thumbnail=true stores it as one more view")
    if any(one.name == "openshape-text" for one in given.texts):
        notes.append("openshape-text is not filtered; OpenShape's training leaves out those that gpt4_filtering.json marks N")
    return notes


def _readable(base: Path, entries: Sequence[Entry]) -> Iterator[Mapping[str, Any]]:
    for entry in entries[:LOOKED]:
        try:
            yield record_of(base / entry.locator)
        except UserError:
            continue  # it fails by itself when it is read


def _image_of(held: Mapping[str, Any]) -> NDArray[np.float32] | None:
    try:
        return matrix(held, "image_feat", 0)
    except UserError:
        return None


def example(folder: Path) -> str:
    """Two shapes, as the authors save them, with embeddings four wide."""
    base = folder / "openshape" / "objaverse-processed" / WITHIN
    rng = np.random.default_rng(0)
    for place in ("Objaverse/000-001/0a1b.npy", "ABO/B07.npy"):
        (base / place).parent.mkdir(parents=True, exist_ok=True)
        np.save(base / place, sample(rng, Path(place).stem, points=32, dim=WIDTH), allow_pickle=True)
    return str(folder / "openshape")


def sample(rng: np.random.Generator, name: str, *, points: int = POINTS, dim: int = WIDTH, views: int = 12) -> Any:
    """The dict of a shape of random numbers in OpenShape's layout, as an array that `np.save` writes.

    Args:
        rng: gives the numbers.
        name: its id.
        points: number of points.
        dim: width of the embeddings.
        views: number of image embeddings.
    """

    def both() -> dict[str, NDArray[np.float32]]:
        return {key: rng.standard_normal((1, dim)).astype(np.float32) for key in ("original", "prompt_avg")}

    return np.array(
        {
            "dataset": "Objaverse",
            "group": "000-001",
            "id": name,
            "xyz": rng.uniform(-1, 1, (points, 3)).astype(np.float32),
            "rgb": rng.uniform(0, 1, (points, 3)).astype(np.float32),
            "image_feat": rng.standard_normal((views, dim)).astype(np.float32),
            "thumbnail_feat": rng.standard_normal((1, dim)).astype(np.float32),
            "text": [f"the shape {name}", f"{name} again"],
            "text_feat": [both(), both()],
            "blip_caption": f"a picture of {name}",
            "blip_caption_feat": both(),
            "msft_caption": "",
            "msft_caption_feat": {},
            "retrieval_text": [f"a thing like {name} for sale"],
            "retrieval_text_feat": [{"original": rng.standard_normal((1, dim)).astype(np.float32)}],
        },
        dtype=object,
    )
