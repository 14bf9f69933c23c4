"""Compare runs shape by shape: does one classify more of the same test shapes rightly than another, beyond chance?

    sides = sides_of(collect([Path("runs/a0"), Path("runs/a1"), Path("runs/b0"), Path("runs/b1")]), by="setup")
    print(compare(sides).markdown())

A side is one run, or several that differ only in their seeds. Each comparison is a paired test on the same test shapes. What varies decides
which one, and a result says which:

- One repetition on each side (one stored block, one seed): McNemar's exact test (https://doi.org/10.1007/BF02295996). It counts the shapes
  that only one side has right, and asks for the chance of a split as uneven among them.
- Several repetitions (blocks) of one run on each side: a permutation test over shapes. The repetitions share the shapes, so a shape
  counts once, with its share of right predictions. The two shares of a shape are exchanged at random, all those of a shape together. With
  one repetition this is McNemar's test.
- Several runs on each side: shapes and seeds both vary. A test over shapes alone would hold for these very runs and call the luck of a seed
  a difference. Exchanging seeds, three against three, cannot give p below 0.1; and a bootstrap over three seeds is too narrow, since it
  draws from three values as if they were all there are. So the variance of the difference is estimated from both: that over shapes, plus
  that over the seeds of each side, as in studies with several readers and cases. The difference is compared with Student's t with
  Satterthwaite's degrees of freedom. What shapes and seeds do together is in both parts, which makes the test careful.
- Several runs on one side and one on the other are refused: a single seed says nothing about the luck of seeds.

Few-shot results are left out, with a note: each fold chooses other training shapes. A test over test shapes would take these choices as
fixed, and call their luck a difference. Fewer than five test shapes are refused, and so are
results of weights that are no longer the run's.

All p values of one call are corrected by Holm's method (https://www.jstor.org/stable/4615733): at most 5 % of such calls name any
difference that is not there.

Letters: S runs of a side, R repetitions, n test shapes.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Group
from rich.table import Table as RichTable
from rich.text import Text
from scipy import stats

from cache_schema.errors import UserError
from cache_schema.spec import did_you_mean, to_json
from cache_schema.terminal import counted, json_text, printable
from trainer.tasks.predictions import Predictions
from trainer.tasks.result import Data, Result, most_told, timeless, told_apart, why_apart
from trainer.tasks.spread import Shared, Spread, shared

LEVEL: Final = 0.05
"""Largest corrected p at which a difference is called one."""
DRAWS: Final = 19_999
"""Number of random exchanges in the permutation test. No p is below 1 / 10,000."""
PORTION: Final = 4_000_000
"""Number of exchanged shapes that are held in memory at a time. It changes no result."""

LEAST: Final = 5
"""Smallest number of test shapes that are compared: with fewer, no spread over shapes can be estimated, and no test finds anything."""
UNTESTED_TASKS: Final[dict[str, str]] = {
    "fewshot": "each fold chooses other training shapes, and a test over test shapes would speak of these choices alone"
}
"""By name of a task that is not compared: the reason."""
STALE: Final = "out of date, "
"""How a note of `trainer.tasks.table.collect` begins on a result of other weights than the run's."""

Kind = Literal["McNemar", "permutation over shapes", "shapes and seeds"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The difference between two sides on the same test shapes."""

    means: tuple[float, float]
    """Share of right predictions of each side, in percent."""
    difference: float
    """The first one less the second one, in points of percent."""
    interval: tuple[float, float]
    """The 95 % interval of the difference by Student's t, over what the test varies."""
    p: float
    """Chance of a difference at least as large if there was none."""
    test: Kind
    shapes: int
    """Number of test shapes, n."""
    repetitions: int
    """Number of blocks, folds or trainings in a result of each run, R."""
    runs: tuple[int, int]
    """Number of runs of each side, S."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two sides, compared in one metric of one task."""

    title: str
    """Task, variant and test shapes in words, and the metric."""
    one: str
    other: str
    outcome: Outcome
    adjusted: float
    """p, corrected by Holm's method for all comparisons of the call."""
    mark: str = ""
    measured_last: bool | None = None
    """See `Data.mark` and `Data.last` of `trainer.tasks.result`."""

    @property
    def differs(self) -> bool:
        """Whether the difference is significant after the correction."""
        return self.adjusted <= LEVEL


@dataclass(frozen=True, kw_only=True)
class Comparisons:
    """All comparisons of a call."""

    found: tuple[Comparison, ...]
    notes: tuple[str, ...]

    def json(self) -> str:
        """A list of comparisons, each with its outcome, the corrected p and whether the sides differ; and the notes."""
        rows = [to_json(one) | {"title": timeless(one.title), "differs": one.differs} for one in self.found]
        return json_text({"comparisons": rows, "notes": list(self.notes)}, allow_nan=False)

    def markdown(self) -> str:
        """A table with a line for each comparison, and the notes."""
        rows = [("title", *HEADER), ("---", "---", "---", *["---:"] * 4, "---")]
        rows += [(one.title, *_cells(one)) for one in self.found]
        body = "\n".join(f"| {' | '.join(printable(cell).replace('|', '/') for cell in row)} |" for row in rows)
        return body + "".join(f"\n\n{printable(note)}" for note in self.notes) + "\n"

    def rich(self) -> Group:
        """For a terminal: a table for each title, and the notes."""
        parts: list[RichTable | Text] = []
        for title in dict.fromkeys(one.title for one in self.found):
            table = RichTable(title=Text(printable(title)), title_justify="left")
            for i, name in enumerate(HEADER):
                table.add_column(name, justify="right" if 2 <= i < 6 else "left", overflow="fold")
            for one in self.found:
                if one.title == title:
                    table.add_row(*(Text(printable(cell)) for cell in _cells(one)))
            parts.append(table)
        return Group(*parts, *(Text(printable(note)) for note in self.notes))


HEADER: Final = ("one", "other", "means", "difference [95 %]", "p", "Holm", "")
"""Columns of a table of comparisons."""


def _cells(one: Comparison) -> tuple[str, ...]:
    found = one.outcome
    low, high = found.interval
    means = f"{found.means[0]:.1f} / {found.means[1]:.1f}"
    said = f"{'higher' if found.difference > 0 else 'lower'}" if one.differs else ""
    return (one.one, one.other, means, f"{found.difference:+.1f} [{low:+.1f}, {high:+.1f}]", _p(found.p), _p(one.adjusted), said)


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"


# ------------------------------------------------------------------------------------------------------------- the test


def paired(one: Sequence[Predictions], other: Sequence[Predictions], seed: int = 0, *, seeds: Spread | None = None) -> Outcome:
    """Compare two sides.

    Args:
        one: the predictions of each run of the first side.
        other: those of the second side, for the same test shapes.
        seed: seed of the random exchanges of the permutation test.
        seeds: how much runs of either side vary over seeds. Without it, it is estimated from each side's own runs. It changes nothing
            where a side has a single run.

    Raises:
        UserError: they are of different test shapes, of different repetitions, or of fewer than `LEAST` shapes; or one side has several
            runs and the other one.
    """
    every = [*one, *other]
    if len({kept.shapes for kept in every}) > 1:
        raise UserError(
            "the runs were measured on different test shapes, or on shapes with other classes: they cannot be compared by shape"
        )
    if (len(one) > 1) != (len(other) > 1):
        raise UserError(
            f"one side has {len(one)} run{'s' * (len(one) > 1)} and the other {len(other)}: with a single seed the luck of the seed "
            "cannot be told from a difference. Give one run on each side, or several that differ in their seeds (--by setup)"
        )
    right = [kept.right for kept in every]  # [R, n] each
    tested = ~np.isnan(right[0])  # [R, n]
    if any(own.shape != tested.shape or (np.isnan(own) == tested).any() for own in right):
        raise UserError("the runs have different numbers of repetitions, or tested different shapes in them: give all the same settings")
    # What a shape adds to the mean of the values: repetitions weigh the same, also if they tested different numbers of shapes.
    weights = np.where(tested, 1 / tested.sum(1, keepdims=True), 0) / len(tested)  # [R, n]
    kept = tested.any(0)  # [n]
    credit = np.stack([(weights * np.nan_to_num(own)).sum(0)[kept] for own in right])  # [S, n]
    first, second = credit[: len(one)], credit[len(one) :]
    apart = first.mean(0) - second.mean(0)  # [n]; their sum is the difference of the means
    shapes = int(kept.sum())
    if shapes < LEAST:
        raise UserError(f"expected at least {LEAST} test shapes, got {shapes}: measure on more shapes, this says nothing about others")
    parts = [(shapes * float(apart.var(ddof=1)), shapes - 1)]  # variances, and degrees of freedom
    kind: Kind
    if len(one) > 1 and len(other) > 1:
        kind = "shapes and seeds"
        if seeds:
            parts.append((seeds.variance * (1 / len(first) + 1 / len(second)), seeds.freedom))
        else:
            parts += [(float(side.sum(1).var(ddof=1)) / len(side), len(side) - 1) for side in (first, second)]
    else:
        kind = "McNemar" if len(every) == 2 and len(tested) == 1 else "permutation over shapes"
    difference, (spread, freedom) = float(apart.sum()), _joined(parts)
    if kind == "shapes and seeds" and spread < 1e-12:
        kind = "permutation over shapes"  # each shape and seed differs by the same: Student's t would say p = 0
    if kind == "shapes and seeds":
        p = float(2 * stats.t.sf(abs(difference) / spread, freedom))
    elif kind == "McNemar":
        ahead, behind = int((apart > 0).sum()), int((apart < 0).sum())
        p = float(stats.binomtest(ahead, ahead + behind).pvalue) if ahead + behind else 1.0
    else:
        p = exchanged(apart, seed)
    reach = float(stats.t.isf(0.025, freedom)) * spread if spread else 0.0
    return Outcome(
        means=(100 * float(first.mean(0).sum()), 100 * float(second.mean(0).sum())),
        difference=100 * difference,
        interval=(100 * (difference - reach), 100 * (difference + reach)),
        p=p,
        test=kind,
        shapes=shapes,
        repetitions=len(tested),
        runs=(len(one), len(other)),
    )


def _joined(parts: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """Standard deviation of a sum of independent estimates, and its degrees of freedom (Satterthwaite, https://doi.org/10.2307/3002019).

    `parts`: the variance of each, and its degrees of freedom."""
    whole = sum(variance for variance, _ in parts)
    below = sum(variance**2 / freedom for variance, freedom in parts if variance)
    return math.sqrt(whole), whole**2 / below if below else 1.0


def exchanged(apart: NDArray[np.float64], seed: int) -> float:
    """p of a permutation test: the share of random exchanges of the two sides of each shape, which change the sign of its difference, whose
    sum is at least as far from zero. The true one counts as one of them.

    Args:
        apart: the difference of each shape. [n]
        seed: seed of the exchanges.
    """
    apart = apart[np.abs(apart) > 1e-12]
    if not len(apart):
        return 1.0
    rng = np.random.default_rng(seed)
    reached, least = 0, abs(float(apart.sum())) - 1e-9  # sums that are equal differ by rounding
    step = max(1, PORTION // len(apart))
    for start in range(0, DRAWS, step):
        signs = rng.integers(0, 2, (min(step, DRAWS - start), len(apart)), np.int8)
        reached += int((np.abs((2.0 * signs - 1) @ apart) >= least).sum())
    return (1 + reached) / (1 + DRAWS)


def holm(values: Sequence[float]) -> list[float]:
    """p values, corrected by Holm's method, in the same order: the smallest is multiplied by their number, the next by one less, and so on;
    none becomes smaller than the one before."""
    out, largest = [0.0] * len(values), 0.0
    for rank, i in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        largest = max(largest, min(1.0, values[i] * (len(values) - rank)))
        out[i] = largest
    return out


# ------------------------------------------------------------------------------------------------- from results to pairs


def sides_of(results: Sequence[Result], by: Literal["run", "setup"]) -> dict[str, list[Result]]:
    """The sides of a comparison, by the name of their first run.

    Args:
        results: results of several runs.
        by: `run`: each run is a side. `setup`: runs that differ only in their seeds are one side.
    """
    names: dict[str, str] = {}
    sides: dict[str, list[Result]] = {}
    for result in results:
        sides.setdefault(names.setdefault(getattr(result, by), result.run), []).append(result)
    return sides


def compare(sides: Mapping[str, Sequence[Result]], against: str = "", *, share_seeds: bool = False) -> Comparisons:
    """Compare sides in all that they have been measured in.

    Args:
        sides: by name of a side the results of its runs.
        against: name of a run of the side that the others are compared with; empty for all pairs.
        share_seeds: how much seeds matter is told by all sides together (`trainer.tasks.spread`), where they have enough runs for that.

    Raises:
        UserError: there is one side only, or none of that name; two sides were measured on different shapes or with different settings; a
            result is out of date; or there is nothing to compare.
    """
    names = list(sides)
    if len(names) < 2:
        raise UserError(
            f"a comparison needs two sides, got {', '.join(names) or 'none'}; runs that differ only in their seeds are one side"
        )
    pairs = _pairs(names)
    if against:
        base = next((name for name, own in sides.items() if against in {name, *(result.run for result in own)}), None)
        if base is None:
            raise UserError(f"there is no side {against!r}{did_you_mean(against, names)}; there are {', '.join(names)}")
        pairs = [(name, base) for name in names if name != base]
    every = [result for own in sides.values() for result in own]
    apart = told_apart(every)
    each = iter(apart)
    measured = {name: _by_title([next(each) for _ in own]) for name, own in sides.items()}
    raw: list[tuple[str, Data, str, str, Outcome]] = []
    notes: dict[str, None] = {}
    spreads: dict[str, Shared | None] = {}
    for one, other in pairs:
        for title in [title for title in measured[one] if title in measured[other]]:
            first, second = measured[one][title], measured[other][title]
            if reason := UNTESTED_TASKS.get(first[0].task):
                notes[f"{title}: not compared, because {reason}."] = None
                continue
            refuse_unlike(title, [*first, *second])
            for result in (*first, *second):
                if result.scores.warning:
                    notes[f"{title}: test shapes of {result.run} that may not be new: {result.scores.warning}."] = None
            for kept in first[0].scores.predictions:
                mine, theirs = ([_of_metric(result, kept.metric) for result in side] for side in (first, second))
                what = f"{title}: {kept.metric}"
                if share_seeds and what not in spreads:
                    spreads[what] = shared(_shares(measured, title, kept.metric))
                spread = spreads.get(what)
                try:
                    outcome = paired(mine, theirs, seeds=None if spread is None else spread.of(one, other))
                    raw.append((what, first[0].scores.test, one, other, outcome))
                except UserError as error:
                    raise UserError(f"{title}, {one} and {other}: {error}") from error
    if not raw:
        raise UserError(
            "there is nothing to compare: the runs have no task in common with a predicted class for each test shape (svm, crossval, knn, "
            "zeroshot, classify). Results of earlier versions lack these: evaluate again"
            f"{''.join(f'. {note}' for note in notes).removesuffix('.')}"
        )
    corrected = holm([outcome.p for *_, outcome in raw])
    found_ = tuple(
        Comparison(title=title, one=one, other=other, outcome=outcome, adjusted=adjusted, mark=test.mark, measured_last=test.last)
        for (title, test, one, other, outcome), adjusted in zip(raw, corrected, strict=True)
    )
    return Comparisons(
        found=found_,
        notes=(*_told(found_), *why_apart(every, apart), *notes, *itertools.starmap(_told_shared, spreads.items()), *_unmatched(measured)),
    )


def _shares(measured: Mapping[str, Mapping[str, Sequence[Result]]], title: str, metric: str) -> dict[str, list[float]]:
    """By side the shares of right predictions, 0 to 1, of its runs in one metric of the results of one title."""
    return {name: [fmean(_of_metric(one, metric).values) / 100 for one in own[title]] for name, own in measured.items() if title in own}


def _told_shared(what: str, found: Shared | None) -> str:
    """A sentence on how much seeds matter, as all sides tell together; `what` was measured."""
    if found is None:
        return f"{what}: all sides together have too few runs to tell how much seeds matter, so each tells for itself."
    said = f"{100 * found.spread.variance**0.5:.1f} points of standard deviation over seeds, as all sides tell together"
    more = f"; {', '.join(found.alone)}: more, which stands for itself" if found.alone else ""
    return f"{what}: {said} ({found.spread.freedom} degrees of freedom){more}."


def _pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    return [(one, other) for i, one in enumerate(names) for other in names[i + 1 :]]


def _by_title(results: Sequence[Result]) -> dict[str, list[Result]]:
    """The results of a side by title, one of each run.

    Raises:
        UserError: a run has two results of one title, or an experiment is there twice.
    """
    found: dict[str, list[Result]] = {}
    for result in results:
        if not result.scores.predictions:
            continue
        own = found.setdefault(result.title, [])
        for before in own:
            if before.run == result.run:
                raise UserError(f"{result.run} has two results of {result.title}: remove one of the files in its folder")
            if before.trial == result.trial:
                raise UserError(
                    f"{before.run} and {result.run} are one experiment with the same seeds, which is no repetition: leave one out"
                )
        own.append(result)
    return found


def refuse_unlike(title: str, results: Sequence[Result]) -> None:
    """Refuse results that were not measured in the same way.

    Raises:
        UserError: the settings, the training or test shapes or their points, or the classes differ; or a result is of other weights than
            the run's.
    """
    for result in results:
        if old := [note for note in result.scores.notes if note.startswith(STALE)]:
            raise UserError(f"{title} of {result.run} cannot be compared: {old[0]}")
    first, *others = most_told(results)
    for result in others:
        mine, theirs = dict(result.settings), dict(first.settings)
        changed = [f"{k} {theirs.get(k)} / {mine.get(k)}" for k in sorted(mine.keys() | theirs) if mine.get(k) != theirs.get(k)]
        changed += ["other shapes, points or classes under the same name"] if not result.alike(first) else []
        changed += (
            [f"precision {first.scores.precision} / {result.scores.precision}"] if result.scores.precision != first.scores.precision else []
        )
        if changed:
            raise UserError(f"{title} of {first.run} and {result.run} cannot be compared: {', '.join(changed)}")


def _of_metric(result: Result, metric: str) -> Predictions:
    for kept in result.scores.predictions:
        if kept.metric == metric:
            return kept
    raise UserError(f"{result.run} has no {metric} in {result.title}: evaluate it with the same settings")


def _told(found: Sequence[Comparison]) -> list[str]:
    """What the numbers mean, in words."""
    said = [
        f"Difference in points of percent. Holm: p corrected for {counted(len(found), 'comparison')}; {LEVEL:g} or below is called a "
        "difference."
    ]
    kinds = dict.fromkeys(one.outcome.test for one in found)
    meaning: dict[Kind, str] = {
        "McNemar": "McNemar's exact test over test shapes. It holds for these runs, not for other seeds",
        "permutation over shapes": "a permutation test over test shapes. It holds for these runs, not for other seeds",
        "shapes and seeds": "a t test in which both the test shapes and the seeds of the runs vary",
    }
    for kind in kinds:
        where = f"{sum(one.outcome.test == kind for one in found)} of the comparisons: " if len(kinds) > 1 else "Test: "
        said.append(f"{where}{meaning[kind]}.")
    return said


def _unmatched(measured: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Sentences on what only some sides have been measured in."""
    titles = dict.fromkeys(title for own in measured.values() for title in own)
    return [
        f"{title}: not measured for {', '.join(name for name, own in measured.items() if title not in own)}."
        for title in titles
        if any(title not in own for own in measured.values())
    ]
