"""Comparisons of runs by shape: against SciPy's tests and sums by hand, on made-up predictions with a known truth."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import stats

from trainer.tasks.compare import compare, exchanged, holm, paired, sides_of
from trainer.tasks.predictions import Predictions
from trainer.tasks.result import Data, Metric, Result, Scores
from trainer.tasks.spread import Spread, shared


def kept(*right, shapes="a"):
    """Predictions of two classes whose true one is 1 everywhere; NaN is not tested."""
    rows = [" ".join("-1" if np.isnan(one) else str(int(one)) for one in own) for own in right]
    return Predictions(metric="accuracy", shapes=shapes, truth=" ".join("1" for _ in right[0]), predicted=tuple(rows))


def test_one_repetition_on_each_side_is_mcnemars_test():
    """9 shapes that the first side alone has right, 2 that the second one alone has: 2 * (1 + 11 + 55) / 2048."""
    one, other = np.repeat([1, 1, 0, 0], [30, 9, 2, 4]), np.repeat([1, 0, 1, 0], [30, 9, 2, 4])
    found = paired([kept(one)], [kept(other)])
    assert found.test == "McNemar" and found.p == pytest.approx(2 * 67 / 2048) == stats.binomtest(9, 11).pvalue
    assert found.difference == pytest.approx(100 * 7 / 45) and found.means == pytest.approx((100 * 39 / 45, 100 * 32 / 45))
    back = paired([kept(other)], [kept(one)])
    assert back.p == found.p and back.difference == -found.difference
    assert paired([kept(one)], [kept(one)]).p == 1


def test_several_blocks_are_exchanged_together():
    """As SciPy's permutation test of the shares of each shape; with one block nearly McNemar's p."""
    rng = np.random.default_rng(0)
    one, other = (rng.random((3, 60)) < chance for chance in (0.75, 0.6))
    found = paired([kept(*one)], [kept(*other)])
    rest = stats.permutation_test(
        (one.sum(0), other.sum(0)),
        lambda a, b, axis: (a - b).sum(axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=10_000,
        rng=1,
    )
    assert found.test == "permutation over shapes" and found.p == pytest.approx(rest.pvalue, abs=0.01)
    assert found.interval[0] < found.difference < found.interval[1]
    single = np.repeat([1.0, -1.0, 0.0], [9, 2, 34])
    assert exchanged(single, 0) == pytest.approx(stats.binomtest(9, 11).pvalue, abs=0.01)
    assert exchanged(single, 0) == exchanged(single, 0)


def test_folds_that_test_some_shapes_weigh_alike():
    """The difference is that of the means over folds, also if a fold tested fewer shapes."""
    nan = np.nan
    one, other = [[1, 1, nan, nan], [nan, nan, 0, nan]], [[1, 0, nan, nan], [nan, nan, 1, nan]]
    one, other = np.repeat(one, 2, axis=1), np.repeat(other, 2, axis=1)
    found = paired([kept(*one)], [kept(*other)])
    assert found.means == pytest.approx((50.0, 75.0)) and found.shapes == 6 and found.difference == pytest.approx(-25.0)


def test_several_seeds_vary_beside_the_shapes():
    """The variance is that over shapes plus that over the seeds of each side, by hand."""
    rng = np.random.default_rng(3)
    one, other = (rng.random((seeds, 50)) < chance for seeds, chance in ((3, 0.75), (4, 0.6)))
    found = paired([kept(own) for own in one], [kept(own) for own in other])
    apart, means = one.mean(0) - other.mean(0), [side.mean(1) for side in (one, other)]
    parts = [apart.var(ddof=1) / 50, *(mean.var(ddof=1) / len(mean) for mean in means)]
    freedom = sum(parts) ** 2 / sum(part**2 / n for part, n in zip(parts, (49, 2, 3), strict=True))
    assert found.test == "shapes and seeds" and found.runs == (3, 4)
    assert found.p == pytest.approx(2 * stats.t.sf(apart.mean() / np.sqrt(sum(parts)), freedom))
    for sides in ((one, other[:1]), (one[:1], other)):
        with pytest.raises(ValueError, match="with a single seed the luck of the seed cannot be told"):
            paired(*([kept(own) for own in side] for side in sides))


def test_what_other_trainings_tell_of_seeds_takes_the_place_of_two_seeds():
    """By hand; and 150 pairs of sides that differ by luck alone: about 5 % are called different, with two seeds a side."""
    rng = np.random.default_rng(4)
    one, other = (rng.random((2, 50)) < chance for chance in (0.75, 0.6))
    spread = Spread(variance=0.03**2, freedom=40)
    found = paired([kept(own) for own in one], [kept(own) for own in other], seeds=spread)
    apart = one.mean(0) - other.mean(0)
    parts = [apart.var(ddof=1) / 50, 0.03**2 * (1 / 2 + 1 / 2)]
    freedom = sum(parts) ** 2 / sum(part**2 / n for part, n in zip(parts, (49, 40), strict=True))
    assert found.p == pytest.approx(2 * stats.t.sf(abs(apart.mean()) / np.sqrt(sum(parts)), freedom))
    assert found.interval[1] - found.difference == pytest.approx(100 * stats.t.isf(0.025, freedom) * np.sqrt(sum(parts)))
    called = 0
    for _ in range(150):
        hard = rng.normal(0.0, 1.0, 400)
        sides = [(hard + rng.normal(0, 0.2, (2, 1)) + rng.normal(0, 0.2, (2, 400)) > 0) for _ in range(2)]
        truth = Spread(variance=float(np.var(stats.norm.cdf(rng.normal(0, 0.2, 10_000) / np.sqrt(1 + 0.2**2)))), freedom=10**6)
        called += paired(*([kept(own) for own in side] for side in sides), seeds=truth).p <= 0.05
    assert called <= 0.08 * 150
    single = [kept(one[0])], [kept(other[0])]
    assert paired(*single, seeds=spread) == paired(*single)


def test_the_spread_over_seeds_is_that_of_rows_that_vary_alike():
    """A mean of variances weighted by degrees of freedom; a side that gets stuck with one seed stands for itself, one that varies less does
    not; and of two thousand sides of one variance it is that variance."""
    rng = np.random.default_rng(0)
    rows = {f"row {i}": rng.normal(0.6, 0.02, 2 + i % 2) for i in range(12)} | {"single": [0.9], "even": [0.6, 0.6]}
    found, more = shared(rows), shared(rows | {"stuck": [0.6, 0.2, 0.61]})
    freedom = sum(len(own) - 1 for own in rows.values())
    mean = sum(np.var(own, ddof=1) * (len(own) - 1) for own in rows.values() if len(own) > 1) / freedom
    assert found.alone == () and found.spread.freedom == freedom and found.spread.variance == pytest.approx(mean)
    assert more.alone == ("stuck",) and more.spread == found.spread
    assert more.of("row 1", "even") == found.spread and more.of("stuck", "row 1") is more.of("row 1", "stuck") is None
    many = shared({f"row {i}": own for i, own in enumerate(rng.normal(0.6, 0.02, (2_000, 2)))})
    assert len(many.alone) < 3 and many.spread.variance == pytest.approx(0.02**2, rel=0.1)
    assert shared({f"row {i}": [0.5, 0.6] for i in range(9)}) is None
    assert shared({f"row {i}": [0.5, 0.5] for i in range(12)} | {"moves": [0.5, 0.6]}).alone == ("moves",)


def test_without_any_spread_p_is_that_of_the_permutation():
    """All seeds of one side have all shapes right, and all of the other one have none: Student's t would divide by 0. 8 shapes have 256
    exchanges, of which two are as far apart."""
    found = paired([kept([1] * 8)] * 3, [kept([0] * 8)] * 3)
    assert found.test == "permutation over shapes" and found.p == pytest.approx(2 / 256, abs=0.003) and found.difference == 100
    assert paired([kept([1] * 8)] * 3, [kept([1] * 8)] * 3).p == 1


def test_a_handful_of_shapes_is_refused():
    for sides in ([kept([1] * 4)], [kept([0] * 4)]), ([kept([1])] * 3, [kept([0])] * 3):
        with pytest.raises(ValueError, match="expected at least 5 test shapes, got"):
            paired(*sides)


def test_where_there_is_no_difference_few_are_found():
    """120 shapes, three seeds a side that differ by luck: about 5 % at most are called different, and far more over shapes alone."""
    rng = np.random.default_rng(5)
    called = np.zeros(2)
    for _ in range(300):
        hard = rng.normal(1.0, 1.0, 120)
        sides = [(hard + rng.normal(0, 0.3, (3, 1)) + rng.normal(0, 0.5, (3, 120)) > 0) for _ in range(2)]
        kinds = [[kept(own) for own in side] for side in sides], [[kept(*side)] for side in sides]
        called += [paired(*kind).p <= 0.05 for kind in kinds]
    assert called[0] <= 0.08 * 300 and called[1] > 0.15 * 300


def test_where_there_is_a_difference_it_is_found():
    rng = np.random.default_rng(6)
    hard = rng.normal(0.5, 1.0, 120)
    sides = [[kept(hard + gain + rng.normal(0, 0.5, 120) > 0) for _ in range(3)] for gain in (0.6, 0.0)]
    assert paired(*sides).p < 0.01


def test_holm_by_hand():
    """0.01 * 4, then 0.02 * 3, then 0.03 * 2, not below the one before, then 0.9."""
    assert holm([0.03, 0.01, 0.9, 0.02]) == pytest.approx([0.06, 0.04, 0.9, 0.06])
    assert holm([]) == [] and holm([0.7, 0.6]) == [1.0, 1.0]


def test_other_shapes_or_repetitions_are_refused():
    with pytest.raises(ValueError, match="different test shapes"):
        paired([kept([1, 0])], [kept([1, 0], shapes="b")])
    with pytest.raises(ValueError, match="different numbers of repetitions"):
        paired([kept([1, 0])], [kept([1, 0], [1, 1])])
    with pytest.raises(ValueError, match="tested different shapes"):
        paired([kept([1, np.nan])], [kept([np.nan, 1])])


# ---------------------------------------------------------------------------------------------------- results of runs


def result(run, right, setup="", shapes="a", **more):
    scores = Scores(
        test=Data(cache="c", points="p", split="test", shapes=len(right)),
        metrics=(Metric(name="accuracy", values=(100 * float(np.mean(right)),), over="blocks", headline=True),),
        predictions=(kept(right, shapes=shapes),),
        classes=("no", "yes"),
    )
    settings = (("c", more.pop("c", "1.0")),)
    return Result(task="svm", run=run, setup=setup or run, trial=run, weights="", protocol="last epoch", settings=settings, scores=scores)


def runs():
    """Three runs of a setup that is right for 50 of 60 shapes, and three of one that is right for 30."""
    rng = np.random.default_rng(2)
    return [result(f"{name}{seed}", rng.random(60) < share, setup=name) for name, share in (("a", 0.85), ("b", 0.4)) for seed in range(3)]


def test_runs_that_differ_only_in_their_seeds_are_one_side():
    found = compare(sides_of(runs(), "setup"))
    (one,) = found.found
    assert (one.one, one.other, one.title) == ("a0", "b0", "svm, c test: accuracy") and one.differs and one.adjusted == one.outcome.p
    assert one.outcome.runs == (3, 3) and any("the test shapes and the seeds of the runs vary" in note for note in found.notes)
    alone = compare(sides_of(runs(), "run"))
    assert len(alone.found) == 15 and {one.outcome.test for one in alone.found} == {"McNemar"}
    assert len(compare(sides_of(runs(), "run"), "b1").found) == 5 and {
        one.other for one in compare(sides_of(runs(), "setup"), "b1").found
    } == {"b0"}


def test_all_sides_together_tell_how_much_seeds_matter_if_asked():
    """Twelve sides of two runs; by default each tells for itself. One that gets stuck in a run does, anyway."""
    rng = np.random.default_rng(9)
    every = [result(f"s{i}-{seed}", rng.random(400) < 0.7, setup=f"s{i}") for i in range(12) for seed in range(2)]
    every += [result(f"stuck-{seed}", rng.random(400) < share, setup="stuck") for seed, share in enumerate((0.1, 0.9))]
    sides = sides_of(every, "setup")
    plain, told = compare(sides, "s0-0"), compare(sides, "s0-0", share_seeds=True)
    width = [np.diff([one.outcome.interval for one in found.found])[:, 0] for found in (plain, told)]
    assert np.median(width[1]) < np.median(width[0]) and width[1][-1] == width[0][-1]
    assert [one.outcome.difference for one in told.found] == [one.outcome.difference for one in plain.found]
    (note,) = (note for note in told.notes if "as all sides tell together" in note)
    assert "accuracy: 2." in note and "(12 degrees of freedom); stuck-0: more, which stands for itself" in note
    few = compare(sides_of(every[:6], "setup"), "s0-0", share_seeds=True)
    assert any("too few runs to tell how much seeds matter" in note for note in few.notes)
    assert [one.outcome for one in few.found] == [one.outcome for one in compare(sides_of(every[:6], "setup"), "s0-0").found]


def test_comparisons_can_be_read_by_people_and_scripts():
    found = compare(sides_of(runs(), "setup"))
    (one,) = json.loads(found.json())["comparisons"]
    assert one["differs"] and one["outcome"]["shapes"] == 60 and one["outcome"]["test"] == "shapes and seeds"
    low, high = one["outcome"]["interval"]
    assert low < one["outcome"]["difference"] < high
    text = found.markdown()
    assert "| svm, c test: accuracy | a0 | b0 |" in text and "| higher |" in text and "p corrected for 1 comparison;" in text


def test_what_cannot_be_compared_is_refused():
    one, other = result("a", [1, 0, 1]), result("b", [1, 1, 1])
    for changed, words in (
        (dataclasses.replace(other, settings=(("c", "0.1"),)), "cannot be compared: c 1.0 / 0.1"),
        (result("b", [1, 1, 1, 1]), "other shapes, points or classes under the same name"),
        (result("b", [1, 1, 1], shapes="z"), "svm, c test, a and b: the runs were measured on different test shapes"),
    ):
        with pytest.raises(ValueError, match=words):
            compare(sides_of([one, changed], "run"))
    with pytest.raises(ValueError, match="needs two sides, got a"):
        compare(sides_of([one], "run"))
    with pytest.raises(ValueError, match="there is no side 'c'"):
        compare(sides_of([one, other], "run"), "c")
    bare = [dataclasses.replace(own, scores=dataclasses.replace(own.scores, predictions=())) for own in (one, other)]
    with pytest.raises(ValueError, match=r"nothing to compare: .* evaluate again"):
        compare(sides_of(bare, "run"))
    with pytest.raises(ValueError, match="one experiment with the same seeds"):
        compare({"a": [one, dataclasses.replace(one, run="copy")], "b": [other]})


def test_results_on_other_points_are_refused():
    one, other = result("a", [1, 0, 1]), result("b", [1, 1, 1])
    moved = dataclasses.replace(other.scores, test=dataclasses.replace(other.scores.test, points="q"))
    with pytest.raises(ValueError, match="other shapes, points or classes under the same name"):
        compare(sides_of([one, dataclasses.replace(other, scores=moved)], "run"))


def test_few_shot_results_are_left_out_with_the_reason():
    every = [*runs(), *(dataclasses.replace(own, task="fewshot") for own in runs())]
    found = compare(sides_of(every, "setup"))
    assert [one.title for one in found.found] == ["svm, c test: accuracy"]
    assert any(note.startswith("fewshot, c test: not compared, because each fold chooses other training shapes") for note in found.notes)
    with pytest.raises(ValueError, match=r"nothing to compare: .* fewshot, c test: not compared"):
        compare(sides_of(every[6:], "setup"))


def test_results_of_other_weights_than_the_runs_are_refused(tmp_path, monkeypatch):
    from trainer.tasks import table

    for own in (result("a", [1, 0, 1]), result("b", [1, 1, 1])):
        own.save(tmp_path / own.run)
        (tmp_path / own.run / "weights").touch()
    monkeypatch.setattr(table.saved, "path", lambda run: run / "weights")
    monkeypatch.setattr(table.saved, "weights", lambda run: "new")
    with pytest.raises(ValueError, match=r"svm, c test of a cannot be compared: out of date, .*evaluate again"):
        compare(sides_of(table.collect([tmp_path / "a", tmp_path / "b"]), "run"))


def test_results_and_their_predictions_come_back_from_a_file(tmp_path):
    from trainer.tasks.result import load

    own = result("a", [1, 0, 1])
    assert load(own.save(tmp_path)) == own
