"""Classifiers that a run keeps: an encoder's body, a head on it and the names of its classes, in one file each.

    kept = load(Path("runs/a"), "chairs")               # RUN/classifiers/chairs.safetensors
    logits = kept.logits(points, ordered=True)          # [B, K], for kept.classes
    names(Path("runs/a"))                               # ("chairs", "published")

A file is safetensors: tensors, and in its header, as JSON, everything else (`About`). Nothing is ever unpickled. If training left the
encoder as it was, the file has the head only, and it fits only the weights of the run that it was trained on.

Letters: B shapes, P points, C channels, F features, K classes, Q pairs of classes.
"""

import copy
import dataclasses
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cache_schema.errors import UserError
from cache_schema.files import write_file
from cache_schema.spec import did_you_mean, from_json, short, to_json
from cache_schema.store import Cache
from trainer import checkpoint
from trainer.bounded import bounded, refuse_huge
from trainer.checkpoint import Loaded, Source
from trainer.distributed import device_of
from trainer.encoders import catalog
from trainer.encoders.protocol import Encoder, EncoderSettings
from trainer.points import Convention
from trainer.tasks.features import SUMMARIES, Body, Readout
from trainer.tasks.result import Data, Metric
from trainer.tasks.seen import SHORT, Identities
from trainer.tasks.shapes import Shapes, labels_digest
from trainer.tuning.catalog import MODES, Efficient, adapt

FOLDER: Final = "classifiers"
"""Name of the folder with a run's classifiers, inside the run's folder."""
SUFFIX: Final = ".safetensors"
"""Ending of the files' names."""
PUBLISHED: Final = "published"
"""Name of the classifier that an imported run has from its file."""
FORMAT: Final = 2
"""Version of the file's form. A reader refuses later ones."""
BARE: Final = 1
"""Version of a file that does not say which shapes the classifier has learned from, as all of earlier versions. It is still read."""
METADATA: Final = "mmpd-classifier"
"""Key of our metadata in the safetensors header."""
BODY, HEAD, LEARNED = "body.", "head.", "learned."
"""Prefixes of the names of tensors in the file: weights of body and head, and which shapes the classifier has learned from."""
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Pattern of the names that a classifier may have."""
TIE: Final = 1e-3
"""Range of what `Votes` takes off its votes, so that the first of several classes with equal votes wins."""


@dataclass(frozen=True, kw_only=True)
class Learned:
    """How a classifier was trained here."""

    task: str
    settings: tuple[tuple[str, str], ...]
    """The task's options, value as JSON."""
    seed: int
    """Seed of this training; the number of the fold in few-shot tasks, of the block of points for an SVM."""
    train: Data
    """Training shapes of the task. A few-shot classifier learned from some of them only."""
    test: Data
    """Test shapes of the task. A few-shot classifier was tested on some of them only."""
    score: Metric
    """Accuracy of this classifier on the test shapes."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """Where a classifier comes from that was trained elsewhere."""

    source: Source
    """The file that it was imported from."""
    class_list: str
    """Name of the list that the class names come from; empty if the names are not known, and the classes are called by number."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """The layers of a head."""

    kind: Literal["layers", "votes"]
    """`layers`: a perceptron (`layered`). `votes`: the pairs of a linear SVM (`Votes`)."""
    features: int
    """Number of features that it reads, F."""
    hidden: tuple[int, ...] = ()
    """Widths of the hidden layers; none if it is linear."""
    normed: bool = True
    """Whether hidden layers have a batch norm."""
    dropout: float = 0.0
    """Dropout rate in training. It changes no result."""

    def __post_init__(self) -> None:
        if min(self.features, *self.hidden, 1) < 1 or not 0 <= self.dropout < 1:
            raise UserError(f"a head of {self.features} features and widths {list(self.hidden)} with dropout {self.dropout} cannot be")


@dataclass(frozen=True, kw_only=True)
class About:
    """The contents of a file in addition to its tensors."""

    format: int = FORMAT
    classes: tuple[str, ...]
    """Names of the classes, in the order of the logits."""
    encoder: str
    """Name of the encoder in `trainer.encoders.catalog`."""
    pool: Readout
    """Pooling: the way in which the tokens become the features that the head reads."""
    points: Convention | None
    """The kind of points that the run was trained on; None if that is unknown."""
    tune: str
    """What was trained: a value of `trainer.tasks.finetune.Schedule.tune`, `svm`, or `published`."""
    efficient: Efficient | None = None
    """Sizes of new parts in the encoder; None if it has none."""
    form: Form
    own: bool
    """Whether the file has the body's weights. If not, they are those of the run."""
    weights: str
    """Digest of the run's weights (`checkpoint.Loaded.weights`) when the classifier was made."""
    origin: Learned | Published
    torch: str = field(default=torch.__version__)
    """Version of torch that wrote the file."""

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise UserError(f"a classifier needs two classes, got {len(self.classes)}")
        if not all(name.strip() for name in self.classes):
            raise UserError("a class of a classifier has an empty name")
        if len(set(self.classes)) < len(self.classes):
            twice = next(name for name, count in Counter(self.classes).items() if count > 1)
            raise UserError(f"a classifier has two classes called {short(twice)}: give each a name of its own")
        if self.form.kind == "votes" and self.form.hidden:
            raise UserError("an SVM has no hidden layers")

    @property
    def named(self) -> bool:
        """Whether the names of the classes are known."""
        return not isinstance(self.origin, Published) or bool(self.origin.class_list)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A classifier on its device, in evaluation mode."""

    name: str
    body: Body
    head: nn.Module
    about: About
    notes: tuple[str, ...] = ()
    """Notes for the reader of its predictions."""
    learned: Identities | None = None
    """The shapes that it has learned from; None if that is not known, as of an imported classifier, or one of an earlier version."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return self.about.classes

    @property
    def convention(self) -> Convention | None:
        """The kind of points that the classifier reads; None if that is unknown."""
        return self.about.points

    def renamed(self, cache: Cache) -> str:
        """A note if the shapes that it has learned from have other classes in their cache by now; empty if not, if this is another cache,
        and if it is not known."""
        origin, learned = self.about.origin, self.learned
        if not isinstance(origin, Learned) or not origin.train.labels or learned is None:
            return ""
        rows = learned.rows_in(cache)
        if rows is None or labels_digest(rows, cache.column("label")[rows].astype(np.int64), cache.manifest.classes) == origin.train.labels:
            return ""
        return (
            f"shapes that {self.name} has learned from have other classes in {cache.home.name} by now (`mmpd-cache relabel`), and it says "
            "those of before: train it again with --keep"
        )

    @property
    def votes(self) -> bool:
        """Whether the logits are votes of an SVM, whose softmax is no probability."""
        return self.about.form.kind == "votes"

    def scores(self, logits: Tensor) -> Tensor:
        """What logits [n, K] say of each class, [n, K], in rows that add up to 1: probabilities, or each class's share of the `votes`."""
        if not self.votes:
            return logits.softmax(-1)
        votes = logits.round(decimals=2) + 0.0  # without what was taken off to order equal votes (`TIE`), and without minus zeros
        return votes / votes.sum(1, keepdim=True)

    @torch.no_grad()
    def logits(self, points: Tensor, ordered: bool) -> Tensor:
        """Logits [B, K] in float32 for points [B, P, C].

        Args:
            points: points in the form of `convention`, on any device.
            ordered: whether the first points are the encoder's centres, in farthest-point order.

        Raises:
            UserError: the points have another number of channels than the encoder reads, or are too few for its groups.
        """
        found: Tensor = self.head(self.body(points.to(self.body.device), ordered))
        return found


# ------------------------------------------------------------------------------------------------------------------ heads


def layered(features: int, hidden: Sequence[int], classes: int, dropout: float, *, normed: bool = True) -> nn.Sequential:
    """A perceptron from features [B, F] to logits [B, K]: a linear layer, a batch norm if it is `normed`, ReLU and dropout for each hidden
    width, then a linear layer. It is the head of Point-MAE (https://arxiv.org/abs/2203.06604), whose hidden widths are 256 and 256."""
    layers: list[nn.Module] = []
    for width in hidden:
        norm = [nn.BatchNorm1d(width)] if normed else []
        layers += [nn.Linear(features, width), *norm, nn.ReLU(), nn.Dropout(dropout)]
        features = width
    return nn.Sequential(*layers, nn.Linear(features, classes))


class Votes(nn.Module):
    """A linear SVM on standardised features: one decision for each pair of classes, as scikit-learn's `SVC`. [B, F] to votes [B, K].

    The votes are no logits: their softmax is no probability. Of classes with equal votes the first one has the most.
    """

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor
    sides: Tensor
    """[Q, K]: 1 at the first class of a pair, -1 at the second one."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        first, second = torch.triu_indices(classes, classes, 1)
        for name, shape in {"mean": (features,), "scale": (features,), "weight": (len(first), features), "bias": (len(first),)}.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))
        sides = nn.functional.one_hot(first, classes) - nn.functional.one_hot(second, classes)
        self.register_buffer("sides", sides.double(), persistent=False)
        self.classes = classes

    @classmethod
    def of(
        cls,
        mean: NDArray[np.float64],
        scale: NDArray[np.float64],
        coefficients: NDArray[np.float64],
        intercepts: NDArray[np.float64],
        classes: int,
    ) -> "Votes":
        """The SVM with these numbers of scikit-learn: mean and scale [F] of a `StandardScaler`, coefficients [Q, F] and intercepts [Q] of
        an `SVC`."""
        made = cls(len(mean), classes)
        sign = -1.0 if classes == 2 else 1.0  # of two classes, scikit-learn turns the sign: a positive decision is the second one
        values = {"mean": mean, "scale": scale, "weight": sign * coefficients, "bias": sign * intercepts}
        made.load_state_dict({name: torch.from_numpy(np.array(value, np.float64)) for name, value in values.items()})
        return made.eval()

    def forward(self, features: Tensor) -> Tensor:
        x = (features.double() - self.mean).float()  # rounded as scikit-learn rounds float32 features
        x = (x.double() / self.scale).float().double()
        won = x @ self.weight.mT + self.bias > 0  # [B, Q]
        numbers = torch.arange(self.classes, device=x.device)
        # Class k is the second one of k pairs, and loses one of these votes to each first one that wins. Whole numbers: the sums are exact.
        votes = (won.double() @ self.sides + numbers).to(features.dtype)
        return votes - TIE / self.classes * numbers


def _head(form: Form, classes: int) -> nn.Module:
    """A new head."""
    if form.kind == "votes":
        return Votes(form.features, classes)
    return layered(form.features, form.hidden, classes, form.dropout, normed=form.normed)


def form_of(head: nn.Module) -> Form:
    """The form of a head of `layered` or of `Votes`."""
    if isinstance(head, Votes):
        return Form(kind="votes", features=len(head.mean))
    linears = [module for module in head.modules() if isinstance(module, nn.Linear)]
    rates = [module.p for module in head.modules() if isinstance(module, nn.Dropout)]
    hidden = tuple(linear.out_features for linear in linears[:-1])
    normed = not hidden or any(isinstance(module, nn.BatchNorm1d) for module in head.modules())
    return Form(kind="layers", features=linears[0].in_features, hidden=hidden, normed=normed, dropout=rates[0] if rates else 0.0)


# ----------------------------------------------------------------------------------------------------------- write and read


def path(run: Path, name: str) -> Path:
    """The file of a classifier, whether or not it exists.

    Raises:
        UserError: a classifier cannot have this name.
    """
    if not _possible(name):
        raise UserError(
            f"a classifier cannot be called {short(name)}: take letters, digits and . _ -, beginning with a letter or digit, not ending in "
            f"{SUFFIX}"
        )
    return run / FOLDER / f"{name}{SUFFIX}"


def _possible(name: str) -> bool:
    return NAME.fullmatch(name) is not None and not name.lower().endswith(SUFFIX)  # with this ending, it would name a label file


def names(run: Path) -> tuple[str, ...]:
    """Names of the classifiers of a run, sorted."""
    found = (file.name.removesuffix(SUFFIX) for file in (run / FOLDER).glob(f"*{SUFFIX}"))
    return tuple(sorted(name for name in found if _possible(name)))


def save(
    run: Path,
    name: str,
    about: About,
    settings: EncoderSettings,
    head: nn.Module,
    body: Body | None = None,
    learned: Identities | None = None,
) -> Path:
    """Write a classifier into the folder of its run. If the same one is there, nothing is written but what an earlier version did not keep:
    `learned`, and the digests of classes.

    Args:
        run: the folder of the run.
        name: name of the classifier.
        about: what it is.
        settings: configuration of its encoder.
        head: the head, of the form `about.form`.
        body: the body with its weights if `about.own`; None otherwise.
        learned: the shapes that it has learned from; None if that is not known.

    Returns:
        The file.

    Raises:
        UserError: the name is not possible, or another classifier has it.
    """
    assert about.own == (body is not None)
    tensors = {HEAD + key: value for key, value in head.state_dict().items()}
    if body is not None:
        tensors |= {BODY + key: value for key, value in body.state_dict().items()}
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}

    def written(version: int, more: dict[str, Tensor], about: About = about) -> bytes:
        described = to_json(dataclasses.replace(about, format=version))
        text = json.dumps({"about": described, "encoder": to_json(settings)}, sort_keys=True)
        return safetensors.torch.save(tensors | more, {METADATA: text})

    file, version, more = path(run, name), BARE, {}
    if learned is not None:
        known = {"rows": torch.from_numpy(learned.rows), "digests": torch.from_numpy(learned.digests)}
        version, more = FORMAT, {LEARNED + key: value for key, value in known.items()}
    data, older = written(version, more), _unlabelled(about)
    there = file.read_bytes() if file.exists() else data
    if there not in (data, written(BARE, {}), written(version, more, older), written(BARE, {}, older)):
        raise UserError(f"{run} has another classifier called {name}: give another name, or remove {file}")
    if not file.exists() or there != data:
        file.parent.mkdir(exist_ok=True)
        write_file(file, data)
    return file


def _unlabelled(about: About) -> About:
    """What a classifier is, as earlier versions wrote it: without the digests of the classes of its shapes."""
    origin = about.origin
    if isinstance(origin, Learned):
        train, test = (dataclasses.replace(data, labels="") for data in (origin.train, origin.test))
        origin = dataclasses.replace(origin, train=train, test=test)
    return dataclasses.replace(about, origin=origin)


def about(run: Path, name: str) -> About:
    """What a classifier is, without its weights. Raises as `load`."""
    return _read(run, name, weights=False)[0]


def learned(run: Path, name: str) -> Identities | None:
    """The shapes that a classifier has learned from, without loading it; None if that is not known. Raises as `load`."""
    found, _, tensors = _read(run, name)
    return _learned(found, {key: value for key, value in tensors.items() if key.startswith(LEARNED)}, path(run, name))


def load(run: Path, name: str, device: str | torch.device = "cpu", loaded: Loaded | None = None) -> Kept:
    """A classifier of a run.

    Args:
        run: the folder of the run.
        name: name of the classifier.
        device: where it computes; `auto` for a GPU if there is one.
        loaded: the run, if it is loaded already; it stays as it is.

    Raises:
        UserError: there is no such classifier, its file is damaged or of another program or version, or it belongs to other weights than
            the run's.
    """
    found, settings, tensors = _read(run, name)
    loaded, file = loaded or checkpoint.load(run), path(run, name)
    learned = _learned(found, {key: tensors.pop(key) for key in list(tensors) if key.startswith(LEARNED)}, file)
    if not found.own and found.weights != loaded.weights:
        raise UserError(
            f"{file} is a head for other weights than those of {run}: the run was trained further, or the file is another run's. Train it "
            "again with --keep, or take the weights that it was made with"
        )
    try:
        refuse_huge([to_json(each) for each in (settings, found.form, found.efficient or Efficient())])
        with bounded(tensors if found.own else {**tensors, **loaded.model.state_dict()}):
            body, head = _built(found, settings, loaded)
    except UserError as error:
        raise UserError(f"{file} is damaged, or was written by another version of mmpd: {error}") from error
    wanted = head.state_dict(prefix=HEAD) | (body.state_dict(prefix=BODY) if found.own else {})
    for key, value in tensors.items():
        if key in wanted and value.dtype != wanted[key].dtype:
            raise UserError(f"{file} is damaged: {key} is of {value.dtype}, expected {wanted[key].dtype}")
        if not value.isfinite().all():
            raise UserError(f"{file} is damaged: {key} is not finite")
    both = nn.ModuleDict({HEAD[:-1]: head} | ({BODY[:-1]: body} if found.own else {}))
    checkpoint.assign(both, tensors, str(file))
    body.convention = found.points
    device = device_of(device) if isinstance(device, str) else device
    kept = Kept(
        name=name,
        body=body.to(device).eval(),
        head=head.to(device).eval(),
        about=found,
        notes=_notes(found, name, run, loaded),
        learned=learned,
    )
    body.requires_grad_(False)
    head.requires_grad_(False)
    return kept


def _notes(found: About, name: str, run: Path, loaded: Loaded) -> tuple[str, ...]:
    notes = []
    if found.weights != loaded.weights:
        notes.append(f"{name} was made from other weights than those that {run.resolve().name} has now; it has its own encoder")
    if not found.named:
        notes.append(f"the names of the classes of {name} are not known: they are called by number, in the order of its file")
    if found.form.kind == "votes":
        notes.append(f"{name} is an SVM: its scores count votes between pairs of classes, and are no probabilities")
    if found.efficient is not None and found.tune == "pointgst" and found.efficient.basis == "batch":
        notes.append("basis=batch: the features of a shape depend on the other shapes of its batch")
    return tuple(notes)


def _learned(found: About, tensors: dict[str, Tensor], file: Path) -> Identities | None:
    """The shapes that a classifier has learned from, of the tensors that say so; None without any. Raises as `load`."""
    if not tensors or not isinstance(found.origin, Learned):
        return None
    rows, digests = (tensors.get(LEARNED + key, torch.empty(0)) for key in ("rows", "digests"))
    if (rows.dtype, rows.dim(), digests.dtype, digests.shape) != (torch.int64, 1, torch.uint8, (len(rows), SHORT)):
        raise UserError(f"{file} is damaged: what it says of the shapes that it has learned from has another form")
    return Identities(points=found.origin.train.points, rows=rows.numpy(), digests=digests.numpy())


def _built(found: About, settings: EncoderSettings, loaded: Loaded) -> tuple[Body, nn.Module]:
    """Body and head of a file; the weights of the head, and of a body that has its own, are still to come.

    Raises:
        UserError: the sizes do not fit together.
    """
    with torch.random.fork_rng([]):  # the weights are replaced, so they must not change what is drawn next
        encoder: Encoder = catalog.family(found.encoder).build(settings)
        assert isinstance(encoder, nn.Module)
        if not found.own:
            checkpoint.assign(encoder, loaded.model.get_submodule("encoder").state_dict(), f"the encoder of {loaded.run}")
        encoder.eval()
        if found.tune in MODES:
            encoder = adapt(encoder, found.tune, found.efficient or Efficient())
        summary = None
        if found.pool in SUMMARIES:
            summary = copy.deepcopy(Body.of(loaded.model, found.pool).summary)
        return Body(encoder, summary, found.pool), _head(found.form, len(found.classes))


def _read(run: Path, name: str, *, weights: bool = True) -> tuple[About, EncoderSettings, dict[str, Tensor]]:
    """Description, configuration of the encoder, and tensors of a classifier's file. Raises as `load`."""
    file = path(run, name)
    if not file.is_file():
        if not run.is_dir():
            raise UserError(f"{run} is not a folder with a run")
        there = names(run)
        how = "" if there else ". `mmpd-train eval classify RUN CACHE --keep NAME` keeps one"
        raise UserError(f"{run} has no classifier {name!r}{did_you_mean(name, there)}{how}")
    with open(file, "rb") as opened:
        start = opened.read(9)
    if start[8:] != b"{":
        kind = "is a pickle by its first bytes" if start.startswith((b"PK", b"\x80")) else "is no safetensors file"
        raise UserError(f"{file} {kind}: it is no classifier of mmpd, and is not loaded")
    try:
        with safetensors.safe_open(file, "pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {key: opened.get_tensor(key) for key in opened.keys()} if weights else {}
    except (safetensors.SafetensorError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is cut short or damaged ({error}): restore it from a copy, or train again with --keep") from error
    if METADATA not in metadata:
        raise UserError(f"{file} is no classifier of mmpd: its header does not describe one")
    return *_described(file, metadata[METADATA]), tensors


def _described(file: Path, text: str) -> tuple[About, EncoderSettings]:
    """The description in the header of a file, and the configuration of its encoder. Raises as `load`."""
    try:
        whole: Any = json.loads(text)
        if not isinstance(whole, dict) or not isinstance(whole.get("about"), dict):
            raise UserError("its header has another form")
        version = whole["about"].get("format")
        if version not in (BARE, FORMAT):
            raise UserError(f"it has format {short(version)}, this software reads {BARE} and {FORMAT}")
        found: About = from_json(About, whole["about"])
        settings: EncoderSettings = from_json(type(catalog.config(found.encoder)), whole.get("encoder"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is damaged, or was written by another version of mmpd: {error}") from error
    return found, settings


# ---------------------------------------------------------------------------------------------------------- to be kept


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A classifier that a task has trained, before it is kept."""

    body: Body
    head: nn.Module
    classes: tuple[str, ...]
    tune: str
    """As in `About`."""
    efficient: Efficient | None = None
    own: bool
    """Whether the body has other weights than the run."""
    seed: int
    """As in `Learned`."""
    train: Shapes
    """The shapes that it has learned from."""
    test: Data
    score: Metric
    of: str
    """Which of the trainings of the task it is, in words: `seed 0 of 3`."""

    def keep(self, loaded: Loaded, name: str, task: str, settings: tuple[tuple[str, str], ...]) -> tuple[Path, str]:
        """Write this classifier into the folder of its run. Returns the file, and in words which of the task's trainings it is.

        Raises as `save`.
        """
        origin = Learned(task=task, settings=settings, seed=self.seed, train=self.train.data, test=self.test, score=self.score)
        described = About(
            classes=self.classes,
            encoder=loaded.config.encoder.name,
            pool=self.body.pool,
            points=self.body.convention,
            tune=self.tune,
            efficient=self.efficient if self.tune in MODES else None,
            form=form_of(self.head),
            own=self.own,
            weights=loaded.weights,
            origin=origin,
        )
        settings_ = self.body.encoder.config
        body, learned = self.body if self.own else None, Identities.of(self.train)
        return save(loaded.run, name, described, settings_, self.head, body, learned), self.of


def refuse_taken(run: Path, name: str, weights: str, task: str, settings: tuple[tuple[str, str], ...]) -> None:
    """Check before a training that its classifier can be kept under a name.

    Raises:
        UserError: the name is not possible, or a classifier has it that was made otherwise.
    """
    if name == PUBLISHED:
        raise UserError(f"{PUBLISHED} is the name of the classifier that an imported run has from its file: give another name")
    if not path(run, name).exists():
        return
    there = about(run, name)
    same = isinstance(there.origin, Learned) and (there.origin.task, there.origin.settings) == (task, settings)
    if not same or there.weights != weights:
        made = f"by {there.origin.task}, " if isinstance(there.origin, Learned) else ""
        raise UserError(
            f"{run} has another classifier called {name} ({made}of {len(there.classes)} classes): give another name, or remove "
            f"{path(run, name)}"
        )
