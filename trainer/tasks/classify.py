"""Fine-tuning for classification: the encoder and a head, a head on the frozen encoder, or small new parts in the encoder and a head.

    scores = run(stage, train_cache, test_cache, Options(tune="linear", seeds=3))

The result is the accuracy after the last epoch, as mean and deviation over seeds. The tables of other papers give the best test epoch of
the best seed. Many also let augmented copies vote, and give the best of several repetitions. With `peer_protocol` these numbers are added
to the result, marked as such.
"""

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cache_schema.errors import UserError
from cache_schema.settings import refuse_unread
from cache_schema.store import Cache
from trainer.augment import augment, draw
from trainer.classifiers import Kept, Learned, Trained
from trainer.published.heads import unlike
from trainer.stage import Stage
from trainer.tasks.accuracy import accuracies, confusion, counted, in_all
from trainer.tasks.features import Body, Pool, extract, seeded, trained
from trainer.tasks.finetune import FROZEN, Classifying, arithmetic, asked, begin, described, fit
from trainer.tasks.mistakes import mistakes
from trainer.tasks.predictions import predictions
from trainer.tasks.protocol import told
from trainer.tasks.result import Metric, Scores
from trainer.tasks.seen import Sides
from trainer.tasks.shapes import EVERYTHING, Shapes, matched, of_split, relabelled, split_names

VOTED: Final = "votes are means of logits; before November 2026 they were means of probabilities"
"""Note of results with votes. Results of before have none."""


@dataclass(frozen=True, kw_only=True)
class Options(Classifying):
    """Options of fine-tuning for classification, in addition to those of `Classifying`."""

    train_split: str = "train"
    test_split: str | None = told(None)
    """Split with the test shapes; None for `test`, or `val` if there is no `test`."""
    pool: Pool = "mean_max"
    """Input of the head (`trainer.tasks.features.Pool`): `mean_max` is mean and maximum of the tokens. Published heads read `max` with
    class_token=true (a plain Transformer), `mean` (PointMamba), or `mean_plus_max` (Point-M2AE on ModelNet40)."""
    scratch: bool = told(False)
    """Start from random weights, new ones for every seed, instead of the run's."""
    seeds: int = 3
    """Number of trainings, with seeds 0, 1, ..."""
    peer_protocol: bool = False
    """Also report the best epoch on the test shapes, the best seed, and votes: for comparison with papers that report these."""
    votes: int = 10
    """Peer protocol: number of augmented copies of a shape that vote."""
    vote_repeats: int = 10
    """Peer protocol: number of repetitions of the vote; the best one counts. The published code of Point-MAE repeats it 299 times, that of
    Point-M2AE 49 times, so their best vote is more of a lucky one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.seeds, self.votes, self.vote_repeats) < 1:
            raise UserError(f"seeds, votes and vote_repeats must be at least 1, got {self.seeds}, {self.votes} and {self.vote_repeats}")
        if not self.peer_protocol:
            refuse_unread(self, ["votes", "vote_repeats"], "--peer-protocol is not given")


SMOKE: Final = Options(epochs=1, batch=8, seeds=1)
KEEPS: Final = True
"""Whether `--keep` can keep a classifier of this task."""
RESUMES: Final = True
"""Whether its trainings go on after a stop."""


@dataclass
class Peak:
    """The best epoch of a training on the test shapes, which only the peer protocol looks for."""

    test: Shapes
    accuracy: float = -1.0
    """Accuracy in percent."""
    model: tuple[Body, nn.Module] | None = None
    """A copy of body and head after that epoch."""

    def see(self, body: Body, head: nn.Module) -> None:
        """Measure the model after an epoch."""
        accuracy = _percent(extract(body, self.test, 0, head), self.test)
        if accuracy > self.accuracy:
            self.accuracy, self.model = accuracy, copy.deepcopy((body, head))


def run(stage: Stage, train_cache: Cache, test_cache: Cache, options: Options) -> Scores:
    """Accuracy after the last epoch, for each seed, on the first block of every test shape."""
    train, test, notes = matched(of_split(train_cache, options.train_split), of_split(test_cache, options.test_split))
    last, peaks, first = [], [], None
    for seed in range(options.seeds):
        if options.peer_protocol:  # the test shapes take part in the training, so it is of no use for other ones
            peaks.append(Peak(test))
            with seeded(seed, next(stage.parameters()).device):
                body, head = learn(stage, train, options, seed, peaks[-1])
        else:
            body, head = trained(stage, train_cache, options, seed, partial(learn, stage, train, options, seed))
        first = first or (body, head)
        last.append(extract(body, test, 0, head).argmax(1).numpy())
    assert first is not None
    body, head = first
    worst, drawing = mistakes(test, last)
    return Scores(
        train=train.data,
        test=test.data,
        sides=Sides(train=train, test=test),
        metrics=(*in_all(test, last, "seeds"), *_peers(peaks, options)),
        variant=options.tune + (" from scratch" if options.scratch else ""),
        precision=arithmetic(options, next(stage.parameters()).device).precision,
        classes=test.classes,
        confusion=confusion(test.labels, last, len(test.classes)),
        predictions=(predictions("accuracy", test, last),),
        notes=(
            *notes,
            *body.notes(test, train, asked=options.points is not None),
            *asked(stage, body, options, test, scratch=options.scratch),
            *described(body, head, options),
            *((VOTED,) if options.peer_protocol else ()),
        ),
        trained=Trained(
            body=body,
            head=head,
            classes=train.classes,
            tune=options.tune,
            efficient=options.efficient,
            own=options.scratch or options.tune not in FROZEN,
            seed=0,
            train=train,
            test=test.data,
            score=accuracies(test.labels, last[:1], "seeds", len(test.classes))[0],
            of=f"seed 0 of {options.seeds}",
        ),
        worst=worst,
        drawing=drawing,
    )


def learn(stage: Stage, train: Shapes, options: Options, seed: int, peak: Peak | None = None) -> tuple[Body, nn.Sequential]:
    """Train one classifier: body and head after the last epoch. New weights come from torch's global generators, all else from the seed.

    Args:
        stage: the model to begin with.
        train: the training shapes.
        options: the settings. Those of the test are not read.
        seed: seed of the training.
        peak: what is to see the model after every epoch; None for nothing.
    """
    body = begin(stage, options.pool, options, train, scratch=options.scratch)
    for tuned, head in fit(body, train, options, seed):
        if peak is not None:
            peak.see(tuned, head)
    return tuned, head


def measure(kept: Kept, cache: Cache, test_split: str | None) -> Scores:
    """Accuracy of a kept classifier on the first block of every test shape. Classes are matched by name.

    Raises:
        UserError: the names of its classes are not known, or no test shape has one of its classes.
    """
    if not kept.about.named:
        raise UserError(
            f"the names of the classes of {kept.name} are not known, so they cannot be compared with those of {cache.path}: import it "
            "again with --classes, which takes a list such as modelnet40, or a file with one name on each line, in the order of the label "
            "numbers"
        )
    test, notes = relabelled(of_split(cache, test_split), kept.classes, f"the classifier {kept.name}")
    predicted = [extract(kept.body, test, 0, kept.head).argmax(1).numpy()]
    origin = kept.about.origin
    return Scores(
        train=origin.train if isinstance(origin, Learned) else None,
        test=test.data,
        sides=Sides(test=test, train=kept.learned, unknown=kept.learned is None),
        metrics=in_all(test, predicted, "seeds"),
        variant=f"{kept.about.tune} kept as {kept.name}" if isinstance(origin, Learned) else "as published",
        classes=test.classes,
        confusion=confusion(test.labels, predicted, len(test.classes)),
        predictions=(predictions("accuracy", test, predicted),),
        notes=(*notes, *kept.body.notes(test), *kept.notes, *_told(kept, test)),
    )


def _told(kept: Kept, test: Shapes) -> tuple[str, ...]:
    """Notes on where a classifier comes from, and whether it may know the test shapes."""
    origin, known = kept.about.origin, test.data
    if not isinstance(origin, Learned):
        return (
            f"the classifier of {origin.source.file}, on one pass without votes, on points of the cache and not of the authors' files. "
            "Published tables often give the best epoch on the test shapes, and votes of several passes",
            *unlike(kept.about, kept.body.encoder.config),
        )
    notes = [
        f"when it was kept: accuracy {origin.score.told} by {origin.task}, {origin.test.cache} {origin.test.split}, {origin.score.base}"
    ]
    if renamed := kept.renamed(test.cache):
        notes.append(renamed)
    then = origin.test
    now = dataclasses.replace(known, cache=then.cache)  # it may be called otherwise by now
    if origin.task != "fewshot" and (then.points, then.split) == (known.points, known.split) and not now.alike(then):
        notes.append(
            f"split {then.split!r} has other shapes, or other classes of them, than when it was kept ({then.shapes} shapes then, "
            f"{known.shapes} now; `mmpd-cache relabel` and `append` change them): the two accuracies do not compare"
        )
    splits = [set(split_names(data.split, test.cache.manifest.splits)) for data in (origin.train, known)]
    same_split = not splits[0].isdisjoint(splits[1]) or any(EVERYTHING in names for names in splits)
    if kept.learned is None and origin.train.points == known.points and same_split:
        notes.append(f"it was trained on split {origin.train.split!r} of this cache: these may be shapes that it knows")
    return tuple(notes)


def vote(body: Body, head: nn.Module, shapes: Shapes, options: Options, seed: int) -> float:
    """Accuracy in percent if augmented copies of each shape vote by the mean of their logits, as in the published code: the best of several
    repetitions on the test shapes. The copies have the points of one block, where the published ones have other points each."""
    chance = torch.Generator(body.device).manual_seed(seed)

    def change(points: Tensor) -> Tensor:
        return augment(points, draw(options.augment, len(points), points.shape[1], chance), body.grey)

    def once() -> float:
        copies = [extract(body, shapes, 0, head, change) for _ in range(options.votes)]
        return _percent(torch.stack(copies).mean(0), shapes)

    return max(once() for _ in range(options.vote_repeats))


def _peers(peaks: Sequence[Peak], options: Options) -> tuple[Metric, ...]:
    """The metrics of the peer protocol: the best epoch of each seed, and its votes. None if there are no peaks."""
    if not peaks:
        return ()
    test, best, voted = peaks[0].test, [peak.accuracy for peak in peaks], []
    for seed, peak in enumerate(peaks):
        assert peak.model is not None
        voted.append(vote(*peak.model, test, options, seed))
    return tuple(
        counted(f"{what} (peer protocol)", values, "seeds", len(test), 100 / len(test.classes), headline=True)
        for what, values in (
            ("best test epoch", tuple(best)),
            ("best test epoch of best seed", (max(best),)),
            ("best vote", tuple(voted)),
            ("best vote of best seed", (max(voted),)),
        )
    )


def _percent(scores: Tensor, shapes: Shapes) -> float:
    right: NDArray[np.bool_] = scores.argmax(1).numpy() == shapes.labels
    return 100 * float(right.mean())
