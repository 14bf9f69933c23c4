"""Curves: what is put together, where the axes stand, and that lines can be told apart."""

import csv
import io
import itertools
import json

import numpy as np
import pytest

from trainer import curves
from trainer.curves import apart, smoothed


def write(run, steps=6, probe=True, sessions=1, **more):
    """A run of stage 1 with losses against two teachers, one record a second. It was continued `sessions - 1` times."""
    run.mkdir(parents=True)
    lines = []
    for i in range(1, steps + 1):
        seconds = float((i - 1) % (steps // sessions) + 1)
        lines.append({"step": 2 * i, "epoch": i / 2, "image/a": 3 - i / 10, "text/a": 2.0, "image/b": 0.5, "local/a": 0.1, "loss": 1.5})
        lines[-1] |= {"lr": 1e-3, "grad_norm": 2.0 + i % 2, "samples_per_s": 50.0, "data_wait": 0.01, "seconds": seconds, **more}
    if probe:
        lines.append({"step": 2 * steps, "knn accuracy": 70.0, "chance/knn accuracy": 25.0, "seconds": seconds})
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


def drawn(monkeypatch, runs, out, **options):
    """The figure, instead of its file."""
    figures = []
    monkeypatch.setattr(curves.Figure, "savefig", lambda self, file, **_: (figures.append(self), file.write(b"x")))
    left = curves.draw(runs, out, **options)
    return figures[0], left


def told(axes):
    return [text.get_text() for text in axes.texts]


def test_related_curves_of_a_run_share_a_panel_with_units_and_names(monkeypatch, tmp_path):
    figure, _ = drawn(monkeypatch, [write(tmp_path / "run", steps=100)], tmp_path / "c.png", x="epoch")
    panels = {axes.get_title(): axes for axes in figure.axes}
    assert list(panels) == [
        "Total loss",
        "Probes of the validation or test split",
        "Losses against teachers",
        "Losses against patch features",
        "Learning rate",
        "Gradient norm",
        "Speed",
        "Waiting for data",
    ]
    assert all(axes.get_xlabel() == "epoch" and axes.get_ylabel() for axes in figure.axes)
    assert told(panels["Losses against teachers"]) == ["image/a", "text/a", "image/b"]
    assert told(panels["Losses against patch features"]) == ["local/a"] and told(panels["Total loss"]) == []
    assert told(panels["Probes of the validation or test split"]) == ["chance 25", "knn accuracy"]
    assert panels["Probes of the validation or test split"].lines[0].get_ydata()[0] == 70 and figure.get_suptitle() == "run"
    assert panels["Waiting for data"].lines[0].get_ydata()[0] == pytest.approx(1)
    thin, thick = panels["Gradient norm"].lines[:2]
    assert thin.get_alpha() < 1 and np.ptp(thin.get_ydata()) == 1 and np.ptp(thick.get_ydata()[2:-2]) < 0.6


def test_several_runs_lie_over_each_other_and_differ_without_colours(monkeypatch, tmp_path):
    runs = [write(tmp_path / "x" / "a"), write(tmp_path / "y" / "a", steps=3), write(tmp_path / "b", probe=False)]
    (tmp_path / "empty").mkdir()
    figure, left = drawn(monkeypatch, [*runs, tmp_path / "empty"], tmp_path / "c.svg")
    assert left == [str(tmp_path / "empty")]
    (panel,) = [axes for axes in figure.axes if axes.get_title() == "Losses against teachers: image/a"]
    assert told(panel) == [str(runs[0]), str(runs[1]), "b"]
    lines = [line for line in panel.lines if len(line.get_xdata()) > 2]
    assert len({line.get_linestyle() for line in lines}) == len({line.get_marker() for line in lines}) == 3


def test_the_axis_shows_steps_epochs_shapes_or_hours(monkeypatch, tmp_path, aligned):
    run = write(tmp_path / "run", sessions=2)
    ends = {}
    for x in ("step", "epoch", "hours"):
        figure, _ = drawn(monkeypatch, [run], tmp_path / "c.png", x=x)
        ends[x] = figure.axes[0].lines[0].get_xdata()[-1]
    assert ends == {"step": 12, "epoch": 3, "hours": pytest.approx(6 / 3600)}
    figure, _ = drawn(monkeypatch, [aligned], tmp_path / "c.png", x="samples")
    assert figure.axes[0].lines[0].get_xdata()[-1] == 9 * 8 and figure.axes[0].get_xlabel() == "training shapes seen"
    with pytest.raises(ValueError, match=r"has no config\.json, so its batch size is unknown"):
        curves.draw([run], tmp_path / "c.png", "samples")


def test_a_table_of_all_values(tmp_path, aligned):
    curves.draw([aligned], tmp_path / "c.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "c.csv").read_text())))
    last = next(row for row in reversed(rows) if row["name"] == "loss")
    assert (last["run"], last["step"], last["samples"]) == ("aligned", "9", "72") and float(last["epoch"]) == pytest.approx(72 / 38)
    assert {"loss", "lr", "grad_norm", "image/random-a"} <= {row["name"] for row in rows}


def test_pictures_are_written(tmp_path):
    run = write(tmp_path / "run $x$ \x1b[2J")
    curves.draw([run], tmp_path / "c.svg")
    assert b"<svg" in (tmp_path / "c.svg").read_bytes()
    for runs, out, message in (([tmp_path], "c.png", r"no metrics\.jsonl there"), ([run], "c.pdf", r"must end in \.png, \.svg, \.csv")):
        with pytest.raises(ValueError, match=message):
            curves.draw(runs, tmp_path / out)


def test_names_beside_lines_do_not_overlap():
    for places in itertools.product((0.0, 0.05, 0.5, 0.52), repeat=4):
        moved = apart(places, 0.1)
        order = np.argsort(places, kind="stable")
        assert np.diff(np.array(moved)[order]).min() > 0.1 - 1e-9
        assert np.mean(moved) == pytest.approx(np.mean(places))
    assert apart([0.0, 0.5, 1.0], 0.1) == [0.0, 0.5, 1.0]


def test_a_running_mean_is_centred_and_keeps_both_ends():
    values = np.arange(9.0) ** 2
    assert smoothed(values, 1).tolist() == values.tolist()
    expected = [0, np.mean(values[0:3]), *(np.mean(values[i - 2 : i + 3]) for i in range(2, 7)), np.mean(values[6:9]), 64]
    assert smoothed(values, 5) == pytest.approx(np.array(expected))
