"""A trained run as a thing to use: shapes in, vectors, tokens, names out.

    model = Model.load("runs/align")                                    # or Model.from_pretrained("user/name")
    vectors = model.embed(clouds)                                       # [b, D]
    names = model.classify(clouds, "modelnet40").names                  # the likeliest class of each cloud

`clouds` is one cloud [n, 3] or [n, 6], several of equal size [b, n, 3 or 6], or a sequence of clouds of any sizes. They may have any
scale, place and number of points: `trainer.clouds` says how they are brought to what the run was trained on. NumPy arrays give NumPy
arrays, tensors give tensors on the model's device, both float32. A result does not depend on what else is in the batch.

Names in this module whose names do not begin with an underscore are stable: what a version of mmpd changes about them is in its change log.

Letters: b clouds, n points of a cloud or shapes of a cache, D width of a vector or token, G tokens, E a teacher's width, K classes.
"""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar, get_args, overload

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from cache_schema import label_files
from cache_schema.errors import UserError
from cache_schema.label_files import LabelFile
from cache_schema.names import path_name
from cache_schema.spec import did_you_mean, short
from cache_schema.store import Cache, open_cache
from cache_schema.terminal import counted
from trainer import checkpoint, classifiers, labels, ops
from trainer.batch import SIDES, Side, target
from trainer.checkpoint import Loaded
from trainer.classifiers import Kept
from trainer.clouds import Clouds, Given, Prepared, outside, prepared, taken
from trainer.distributed import device_of
from trainer.points import Convention
from trainer.tasks.features import Body, Pool, batch_size, extract, finite
from trainer.tasks.shapes import EVERYTHING, Shapes
from trainer.tasks.teachers import contrasted, same_specification
from trainer.tasks.zeroshot import class_means

Floats = NDArray[np.float32]
Head = Literal["both", "image", "text"]
"""Which of a shape's two embeddings in a teacher's space: from the head for pictures, from the head for texts, or their mean."""
Result = TypeVar("Result", Floats, Tensor)
Rows: TypeAlias = ArrayLike
"""Rows of a cache, [n] whole numbers."""
Kind = Literal["either", "labels", "classifier"]
"""What a name of classes stands for: a label set or file, or a kept classifier."""
BlockNumbers: TypeAlias = int | Sequence[int]
"""Number of the stored block of each shape; or several numbers, over whose features the mean is taken."""


class ModelWarning(UserWarning):
    """Something about a run, or the points of a cache, makes its results less sure."""


@dataclass(frozen=True, kw_only=True)
class Tokens(Generic[Result]):
    """Features of the parts of clouds."""

    features: Result
    """[b, G, D]: one for each group of points; zeros for one that is not `real`."""
    centres: Result
    """[b, G, 3]: where each group is, in the coordinates of the given cloud."""
    real: Result
    """[b, G] bool: which groups there are. A cloud of fewer points than groups has others only with a run that takes repeated points as any
    (`encoder.missing`)."""
    points: tuple[Result, ...] = ()
    """[n, D] for each cloud: features at each of its points, NaN at points that are not finite. Empty unless asked for."""


@dataclass(frozen=True, kw_only=True)
class Prediction(Generic[Result]):
    """Classes of shapes, and how probable each is, or which share of an SVM's votes it has."""

    classes: tuple[str, ...]
    """Names of the K classes."""
    probabilities: Result
    """[b, K]. The rows add up to 1. If `votes`, they are no probabilities; a warning says so."""
    about: str
    """What they are measured against, in words."""
    votes: bool = False
    """Whether `probabilities` are each class's share of the votes of a kept SVM, which only give an order."""

    @property
    def names(self) -> list[str]:
        """The likeliest class of each shape. [b]"""
        return [found[0][0] for found in self.top(1)]

    def top(self, count: int = 5) -> list[list[tuple[str, float]]]:
        """The `count` likeliest classes of each shape with their probabilities (shares if `votes`), the likeliest first."""
        # The stable order is that of `eval zeroshot`: of equally likely classes the first.
        order = torch.as_tensor(self.probabilities).cpu().argsort(dim=1, descending=True, stable=True)[:, :count]
        return [[(self.classes[k], float(row[k])) for k in best] for row, best in zip(self.probabilities, order.tolist(), strict=True)]


class Model:
    """A trained model, ready to use."""

    def __init__(self, loaded: Loaded, device: str = "auto") -> None:
        """
        Args:
            loaded: a run, as `trainer.checkpoint.load` gives it.
            device: a name that torch knows; `auto` for a GPU if there is one.
        """
        self.run: Final = loaded.run
        """The folder of the run."""
        self.digest: Final = loaded.weights
        """sha256 over the weights that produce the features. Vectors of equal digests, settings, pools and conventions can be compared."""
        self.settings: Final = dict(loaded.settings)
        """Settings that change the features and that no weight tells, such as the number of points in a group; values as JSON."""
        self.device: Final = device_of(device)
        self._loaded = loaded
        self._stage = loaded.model.to(self.device).requires_grad_(False)
        self._kept: tuple[tuple[str, int, int], Kept] | None = None
        if loaded.header.unfinished:
            warnings.warn(f"{loaded.run}: {loaded.header.unfinished}", ModelWarning, stacklevel=outside())

    @classmethod
    def load(cls, run: str | os.PathLike[str], device: str = "auto") -> "Model":
        """The model of a run, from its folder.

        Raises:
            UserError: there is no run, or its file is damaged.
        """
        return cls(checkpoint.load(Path(run)), device)

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], device: str = "auto") -> "Model":
        """The model of a run: a folder, or a run on the Hugging Face hub by its name, such as `user/name`, which is
        fetched once, or `starter-point-mae`, which comes along.

        Raises:
            UserError: there is no such run, or it cannot be fetched.
        """
        from trainer.handing import fetch  # it knows cards and places, which nothing else here needs

        return cls.load(fetch(os.fspath(name)), device)

    # ------------------------------------------------------------------------------------------------------ what it is

    @property
    def convention(self) -> Convention | None:
        """The kind of points that the run was trained on; None if unknown."""
        return self._stage.convention

    pool: Final[Pool] = "mean_max"
    """How tokens become one vector unless a caller chooses: mean and maximum over them, as in `eval svm` and `eval knn`. It was as good as
    the run's own summary after stage 1, and better after stage 2 (`docs/howto/use-model.md` has the numbers)."""

    @property
    def dim(self) -> int:
        """Width of a vector of `embed`, D: mean and maximum of the tokens."""
        return 2 * self._stage.encoder.dim

    @property
    def teachers(self) -> tuple[str, ...]:
        """Names of the teachers in whose spaces it embeds shapes (`teacher_space`)."""
        heads = self._stage.teachers
        return () if heads is None else tuple(teacher.name for teacher in heads.teachers if teacher.objective == "contrast")

    @property
    def label_sets(self) -> dict[str, tuple[str, ...]]:
        """Names of the label sets that travel with the run, and the teachers that embedded each."""
        return labels.sets(self.run)

    @property
    def classifiers(self) -> tuple[str, ...]:
        """Names of the classifiers that are kept with the run."""
        return tuple(classifiers.names(self.run))

    # -------------------------------------------------------------------------------------------------------- vectors

    @overload
    def embed(self, clouds: NDArray[Any] | Sequence[NDArray[Any]], pool: Pool | None = None, *, placed: bool = False) -> Floats: ...
    @overload
    def embed(self, clouds: Tensor | Sequence[Tensor], pool: Pool | None = None, *, placed: bool = False) -> Tensor: ...
    def embed(self, clouds: Clouds, pool: Pool | None = None, *, placed: bool = False) -> Any:
        """One vector for each cloud, [b, D].

        +Y is up. Turn clouds whose up axis is Z: `cloud[:, [0, 2, 1]] * (1, 1, -1)` for [n, 3].

        Args:
            clouds: see the module.
            pool: how tokens become one vector: `mean_max`, mean and maximum; `summary`, the run's own, half as wide; `summary_max`;
                `depths`, mean and maximum after each quarter of the blocks, or on each level; `max`, `mean` and `mean_plus_max`, which
                published heads read; None for `Model.pool`.
            placed: the clouds lie as the blocks of a cache do. They are then not moved, and centres are found from the first point.

        Raises:
            UserError: a cloud has another form, or cannot be read; the run has no summary, or does not say what points it was trained on.
        """
        return self._result(taken(clouds), self._body(pool), placed)

    def embed_cache(
        self, cache: Cache | str | os.PathLike[str], rows: Rows | None = None, block: BlockNumbers = 0, pool: Pool | None = None
    ) -> Floats:
        """One vector for each shape of a cache, [n, D]. Nothing is sampled anew where the cache has the points of the run's training.

        Args:
            cache: the cache, or its folder.
            rows: rows of shapes, none for an empty result; None for all usable ones, which are `numpy.flatnonzero(cache.ok())`.
            block: number of the stored block of each shape; or several numbers, as `range(4)`: then the mean over these blocks, as `embed`
                takes the mean over shares of a cloud.
            pool: as in `embed`.

        Raises:
            UserError: a shape is not usable, the points have another normalisation than the run's, or a file is damaged.
        """
        return self._of_cache(self._body(pool), cache, rows, block).numpy()

    @overload
    def tokens(self, clouds: NDArray[Any] | Sequence[NDArray[Any]], per_point: bool = False) -> Tokens[Floats]: ...
    @overload
    def tokens(self, clouds: Tensor | Sequence[Tensor], per_point: bool = False) -> Tokens[Tensor]: ...
    def tokens(self, clouds: Clouds, per_point: bool = False) -> Tokens[Any]:
        """Features of groups of points, and where the groups are.

        Args:
            clouds: see the module.
            per_point: whether to give also features at each point: those of the three nearest groups, by inverse squared distance.

        Raises:
            UserError: as `embed`.
        """
        given, encoder = taken(clouds), self._stage.encoder
        features = torch.empty(len(given), encoder.groups, encoder.dim, device=self.device)
        centres = torch.empty(len(given), encoder.groups, 3, device=self.device)
        real = torch.ones(len(given), encoder.groups, dtype=torch.bool, device=self.device)
        points: dict[int, Tensor] = {}
        for batch in self._prepared(given, self._convention(), encoder.config.channels):
            patches = encoder.patchify(batch.points, False)
            encoded = encoder(patches)
            tokens, middles = finite(encoded.tokens.float()), patches.coarsest.centres
            there = torch.ones_like(real[batch.which]) if encoded.real is None else encoded.real
            real[batch.which] = there
            features[batch.which] = tokens
            centres[batch.which] = batch.back(middles).to(self.device)
            if per_point:
                for i, number in enumerate(batch.which.tolist()):
                    points[number] = self._at_points(batch, i, given.clouds[number], middles[i][there[i]], tokens[i][there[i]])
        form = _form(given)
        return Tokens(
            features=form(features), centres=form(centres), real=form(real), points=tuple(form(points[i]) for i in sorted(points))
        )

    # --------------------------------------------------------------------------------------------------- with teachers

    @overload
    def teacher_space(self, clouds: NDArray[Any] | Sequence[NDArray[Any]], teacher: str, head: Head = "both") -> Floats: ...
    @overload
    def teacher_space(self, clouds: Tensor | Sequence[Tensor], teacher: str, head: Head = "both") -> Tensor: ...
    def teacher_space(self, clouds: Clouds, teacher: str, head: Head = "both") -> Any:
        """Embeddings of clouds in the space of a teacher, [b, E] of unit length. Their cosines with the teacher's embeddings of pictures
        and sentences say how well these fit.

        Args:
            clouds: see the module.
            teacher: one of `Model.teachers`.
            head: `image` is trained on pictures, `text` on sentences, `both` is the direction of their sum, whose order of sentences is
                that of the mean of both cosines.

        Raises:
            UserError: as `embed`; or the run was not aligned with this teacher by contrast.
        """
        self._heads(teacher, head)
        given = taken(clouds)
        return _form(given)(self._project(self._vectors(given, self._space()), teacher, head))

    def teacher_space_cache(
        self, cache: Cache | str | os.PathLike[str], teacher: str, head: Head = "both", rows: Rows | None = None, block: BlockNumbers = 0
    ) -> Floats:
        """Embeddings of shapes of a cache in the space of a teacher, [n, E] of unit length. Arguments and errors as in `teacher_space` and
        `embed_cache`."""
        self._heads(teacher, head)
        return self._project(self._of_cache(self._space(), cache, rows, block), teacher, head).cpu().numpy()

    @overload
    def classify(self, clouds: NDArray[Any] | Sequence[NDArray[Any]], labels: str | os.PathLike[str]) -> Prediction[Floats]: ...
    @overload
    def classify(self, clouds: Tensor | Sequence[Tensor], labels: str | os.PathLike[str]) -> Prediction[Tensor]: ...
    def classify(self, clouds: Clouds, labels: str | os.PathLike[str]) -> Prediction[Any]:
        """Classes of clouds with their probabilities.

        By a label set, the logits are the mean of the cosines of both heads with each class, as in `eval zeroshot`, so that the likeliest
        class is the same, times the scale that the run learned for this teacher (the geometric mean over both heads).

        Args:
            clouds: see the module.
            labels: a label set of the run (`modelnet40`, or `modelnet40@TEACHER`; by default the run's first teacher that embedded it), a
                label file, or a classifier that is kept with the run.

        Raises:
            UserError: as `embed`; there are no such labels, or another teacher embedded them.
        """
        name, given = _label_name(labels), taken(clouds)

        def features(body: Body, head: nn.Module | None) -> Tensor:
            return self._vectors(given, body, head)

        return self._predicted(name, features, _form(given))

    def classify_cache(
        self,
        cache: Cache | str | os.PathLike[str],
        labels: str | os.PathLike[str],
        rows: Rows | None = None,
        block: BlockNumbers = 0,
        *,
        _kind: Kind = "either",
    ) -> Prediction[Floats]:
        """Classes of shapes of a cache with their probabilities. Arguments and errors as in `classify` and `embed_cache`."""

        def features(body: Body, head: nn.Module | None) -> Tensor:
            return self._of_cache(body, cache, rows, block, head)

        return self._predicted(_label_name(labels), features, lambda values: values.cpu().numpy(), _kind)

    # -------------------------------------------------------------------------------------------------------- helpers

    def _body(self, pool: Pool | None) -> Body:
        _choose("pool", pool or self.pool, get_args(Pool))
        return Body.of(self._stage, pool or self.pool)

    def _space(self) -> Body:
        """The body that gives what the heads of teachers read."""
        return Body.for_teachers(self._stage)

    def _convention(self, convention: Convention | None = None) -> Convention:
        found = convention or self.convention
        if found is None:
            raise UserError(
                f"{self.run} does not say what points it was trained on, so that clouds cannot be brought to them: import it again with "
                "--set points.count=N, or train it again; embed_cache works"
            )
        return found

    def _prepared(self, given: Given, convention: Convention, channels: int, *, draws: int = 1, placed: bool = False) -> Iterator[Prepared]:
        size = batch_size(convention.count)
        return prepared(given, convention, channels=channels, batch=size, device=self.device, draws=draws, placed=placed)

    @torch.no_grad()
    def _vectors(self, given: Given, body: Body, head: nn.Module | None = None, placed: bool = False) -> Tensor:
        """Features of clouds by a body and a head, [b, F], on the model's device."""
        convention = self._convention(body.convention)
        if not len(given):
            return _none(body, convention.count, head).to(self.device)
        size, out, owner = batch_size(convention.count), [], []
        for batch in self._prepared(given, convention, body.channels, draws=DRAWS, placed=placed):
            for points in batch.points.split(size):
                # A stored block begins with its centres. Found again from the first point, they are the same.
                features = body(points, False)
                out.append(features if head is None else head(features))
            owner.append(batch.which)
        features, which = torch.cat(out), torch.cat(owner).to(self.device)  # [m, F], [m]
        total = features.new_zeros(len(given), features.shape[1]).index_add_(0, which, features)
        return finite(total / which.bincount(minlength=len(given))[:, None])

    def _result(self, given: Given, body: Body, placed: bool) -> Any:
        return _form(given)(self._vectors(given, body, placed=placed))

    def _of_cache(
        self, body: Body, cache: Cache | str | os.PathLike[str], rows: Rows | None, block: BlockNumbers, head: nn.Module | None = None
    ) -> Tensor:
        """Features of shapes of a cache by a body and a head, [n, F], on the CPU. Of several blocks the mean, as over shares of a cloud."""
        shapes = _shapes(cache if isinstance(cache, Cache) else open_cache(cache), rows)
        stored = body.blocks(shapes).blocks
        blocks = list(block) if isinstance(block, Sequence) else [block]
        if not blocks or not all(0 <= one < stored for one in blocks):
            raise UserError(f"block must lie in 0..{stored - 1}, the blocks of {shapes.cache.path}, got {block}")
        if not len(shapes):
            return _none(body, body.blocks(shapes).count, head).cpu()
        for note in body.notes(shapes):
            warnings.warn(f"{shapes.cache.path}: {note}", ModelWarning, stacklevel=outside())
        total = extract(body, shapes, blocks[0], head)
        for one in blocks[1:]:
            total += extract(body, shapes, one, head)
        return total / len(blocks)

    def _at_points(self, batch: Prepared, number: int, cloud: Tensor, centres: Tensor, tokens: Tensor) -> Tensor:
        """Features [n, D] at the points of a cloud, from its tokens [G, D] at centres [G, 3] of the prepared points."""
        xyz = batch.forth(number, cloud[:, :3].to(batch.centre)).to(self.device)
        seen = xyz.isfinite().all(1)
        parts = [
            ops.interpolate(part[None], centres[None], tokens[None], min(3, len(centres)))[
                0
            ]  # at most so many rows, since distances to all centres are kept
            for part in xyz.where(seen[:, None], 0).split(_POINTS)
        ]
        return torch.cat(parts).where(seen[:, None], torch.nan)

    def _heads(self, teacher: str, head: Head) -> tuple[str, ...]:
        """The names of the heads into a teacher's space, such as `image/clip`. Raises UserError if there are none."""
        _choose("head", head, get_args(Head))
        found = contrasted(self._stage, (teacher,), text=head == "text")[0]
        sides: tuple[Side, ...] = SIDES if head == "both" and found.text else ("image",) if head == "both" else (head,)
        return tuple(target(side, teacher) for side in sides)

    @torch.no_grad()
    def _project(self, summaries: Tensor, teacher: str, head: Head) -> Tensor:
        """Summaries [n, D] in the space of a teacher, [n, E] of unit length."""
        teachers, summaries = self._stage.teachers, summaries.to(self.device)
        assert teachers is not None
        return F.normalize(torch.stack([teachers.project(name, summaries) for name in self._heads(teacher, head)]).mean(0), dim=-1)

    def _predicted(
        self, name: str, features: Callable[[Body, nn.Module | None], Tensor], form: Callable[[Tensor], Any], kind: Kind = "either"
    ) -> Prediction[Any]:
        """Probabilities of the classes that `name` says, of shapes whose features a function gives for a body and a head."""
        known = self._label_file(name) if kind != "classifier" else None
        kept = self.classifiers if kind != "labels" else ()
        if known is not None and name in kept:
            raise UserError(
                f"{self.run} has a label set and a classifier that are called {name!r}: name the label set {name}@TEACHER, or, for the "
                f"classifier, give {classifiers.path(self.run, name)} another name"
            )
        if known is None and name not in kept:
            raise UserError(
                f"{self.run} has no label set and no classifier {name!r}, and there is no such file"
                f"{did_you_mean(name, [*self.label_sets, *kept])}. `mmpd-train labels {self.run} CACHE {name.partition('@')[0]}` copies a "
                "label set"
            )
        if known is None:
            found = self._classifier(name)
            for note in found.notes:
                warnings.warn(note, ModelWarning, stacklevel=outside())
            logits = features(found.body, found.head)
            scores = form(found.scores(logits))
            return Prediction(classes=found.classes, probabilities=scores, about=f"classifier {name}", votes=found.votes)
        return self._zero_shot(known, features(self._space(), None), form)

    def _classifier(self, name: str) -> Kept:
        """A kept classifier, from its file if it is not the one that was used last. Raises as `classifiers.load`."""
        stat = classifiers.path(self.run, name).stat()
        key = (name, stat.st_mtime_ns, stat.st_size)
        if self._kept is None or self._kept[0] != key:
            self._kept = key, classifiers.load(self.run, name, self.device, self._loaded)
        return self._kept[1]

    def _zero_shot(self, file: LabelFile, summaries: Tensor, form: Callable[[Tensor], Any]) -> Prediction[Any]:
        """Probabilities of the classes of a label file, of shapes by their summaries [n, D]."""
        teacher = file.teacher.name
        heads, teachers = self._heads(teacher, "both"), self._stage.teachers
        assert teachers is not None
        classes = class_means(file.embeddings).to(self.device)  # [K, E]
        summaries = summaries.to(self.device)
        with torch.no_grad():
            cosines = torch.stack([teachers.project(name, summaries) @ classes.T for name in heads]).mean(0)  # [n, K]
            scale = torch.stack([teachers.contrast(name).log_scale.float() for name in heads]).mean().exp()
        about = f"label set {file.labels.name} of {counted(len(classes), 'class')} by {teacher}, temperature {1 / float(scale):.3g}"
        return Prediction(classes=file.labels.classes, probabilities=form((scale * cosines).softmax(-1)), about=about)

    def _label_file(self, name: str) -> LabelFile | None:
        """The label file of a name or path; None if there is none. Raises UserError if it is of another teacher."""
        file = self._found(name)
        if file is not None:
            (teacher,) = contrasted(self._stage, (file.teacher.name,), text=True)
            same_specification(teacher, file.teacher, f"label set {file.labels.name}")
        return file

    def _found(self, name: str) -> LabelFile | None:
        if name.endswith(label_files.SUFFIX):
            return label_files.read(Path(name))
        known, (label_set, _, teacher) = self.label_sets, name.partition(labels.AT)
        if label_set not in known or (teacher and teacher not in known[label_set]):
            return None
        path_name(label_set, "label set")
        first = next((each for each in self.teachers if each in known[label_set]), known[label_set][0])
        return labels.read(self.run, label_set, teacher or first)


DRAWS: Final = 4
"""Largest number of shares of a cloud whose vectors are averaged: a cloud with twice the points of the run's training has two."""
_POINTS: Final = 1 << 16
"""Number of points whose features are interpolated at once."""


def _label_name(labels: object) -> str:
    """The name or path of labels. Raises UserError for anything else, such as a list of words."""
    if isinstance(labels, str | os.PathLike):
        return os.fsdecode(labels)
    raise UserError(
        f"labels are the name of a label set, a label file or the name of a kept classifier, got {type(labels).__name__}. "
        'Words of your own become a label file by `mmpd-cache labels --names "chair,table" --teacher TEACHER mine.safetensors`'
    )


def _form(given: Given) -> Callable[[Tensor], Any]:
    """The function that gives a tensor in the form of the clouds: unchanged, or as a NumPy array."""
    return (lambda values: values) if given.tensors else (lambda values: values.cpu().numpy())


def _choose(what: str, value: object, choices: Sequence[str]) -> None:
    """Raise UserError if a value is none of the choices."""
    if value not in choices:
        near = did_you_mean(value, choices) if isinstance(value, str) else ""
        raise UserError(f"{what} must be one of {', '.join(choices)}, got {short(value)}{near}")


@torch.no_grad()
def _none(body: Body, count: int, head: nn.Module | None) -> Tensor:
    """The features of no shapes by a body and a head, [0, F]."""
    # A body does not say how wide its features are, so it is asked about one shape that is then left out.
    points = torch.rand(1, count, body.channels, generator=torch.Generator().manual_seed(0)).to(body.device)
    features: Tensor = body(points, False)
    return (features if head is None else head(features))[:0]


def _shapes(cache: Cache, rows: Rows | None) -> Shapes:
    """Shapes of a cache by their rows. Raises UserError for a row that does not exist or is not usable."""
    usable = cache.ok()
    if rows is None:
        chosen = np.flatnonzero(usable)
    else:
        given = np.asarray(rows)
        if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
            raise UserError(f"rows must be a list of whole numbers, got an array {list(given.shape)} of {given.dtype}")
        chosen = given.astype(np.int64)
        wrong = chosen[(chosen < 0) | (chosen >= len(usable))]
        if wrong.size:
            raise UserError(f"{cache.path} has {len(usable)} rows, from 0, and no row {wrong[0]}")
        if not usable[chosen].all():
            failed = int(chosen[~usable[chosen]][0])
            raise UserError(f"{cache.path}: the shape in row {failed} is not usable; `mmpd-cache status {cache.path}` says why")
    if rows is None and not len(chosen):
        raise UserError(f"{cache.path} has no usable shape; `mmpd-cache status {cache.path}` says why")
    return Shapes(
        cache=cache, split=EVERYTHING, rows=chosen, labels=cache.column("label")[chosen].astype(np.int64), classes=cache.manifest.classes
    )
