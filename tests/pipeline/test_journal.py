"""The journal: every event comes back as it was written, lines of before are read, and what is not known does no harm."""

import dataclasses
import io
import json

import pytest

from pipeline import journal

EVENTS = [
    journal.Build(source="starter", kind="starter", config={"shard": 4}, models={"ab": "/models/clip"}),
    journal.Retry(source="/meshes", kind="folder", config={}),
    journal.AddTeacher(teacher="clip", models={"ab": "/models/clip"}),
    journal.AddCaptioner(captioner="template"),
    journal.Labels(set="modelnet40"),
    journal.Repair(files=("points/xyz/c/0/0/0/0",)),
    journal.ShapesMade(shard=3, shapes=16, waited=1.5, steps={"read": 0.25}, lost=("a.off",)),
    journal.ShapesMade(shard=3, shapes=16, steps={}),
    journal.ShardMade(product="image/clip", shard=3, seconds=0.5),
    journal.Done(),
    journal.Import(product="image/clip"),
    journal.AddDense(teacher="dino", models={"ab": "/models/dino"}),
    journal.Append(source="/more", kind="folder", config={}),
    journal.Remove(product="image/clip"),
    journal.Relabel(source="names.csv", changed={"class": 2}),
    journal.ShardMade(product="image/clip", shard=4, seconds=0.5, machine="AMD EPYC, 4 cores"),
    journal.Asking(product="captions/a", shard=1),
    journal.Asked(product="captions/a", shard=1, asked={"questions": 2.0}),
]


def read(tmp_path, text):
    (tmp_path / "c.zarr.journal").write_text(text, encoding="utf-8")
    return journal.read_journal(tmp_path / "c.zarr")


def test_every_event_comes_back_as_it_was_written(tmp_path):
    file = io.StringIO()
    for event in EVENTS:
        journal.append(file, event)
    found = read(tmp_path, file.getvalue())
    assert found.ignored == 0 and all(event.time > 1.7e9 for event in found.events)
    assert [dataclasses.replace(event, time=0.0) for event in found.events] == EVENTS
    assert type(found.last_build) is journal.Append


def test_every_kind_of_event_is_tried_here():
    kinds = [cls for cls in vars(journal).values() if isinstance(cls, type) and issubclass(cls, journal.Event)]
    written = {cls for cls in kinds if cls not in (journal.Event, journal.Begun, journal.Loading, journal.Unknown)}
    assert written == {type(event) for event in EVENTS}


def test_a_line_has_the_form_that_it_always_had():
    file = io.StringIO()
    journal.append(file, EVENTS[7])
    journal.append(file, EVENTS[8])
    shapes, made = map(json.loads, file.getvalue().splitlines())
    shapes.pop("time")
    assert shapes == {"event": "shard", "product": "shapes", "shard": 3, "shapes": 16, "waited": 0.0, "steps": {}}
    assert list(made) == ["time", "event", "product", "shard", "seconds"]


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ('{"time": 5.5, "event": "build"}', journal.Build(time=5.5)),
        (
            '{"time": 1, "event": "shard", "product": "shapes", "shard": 0, "shapes": 2, "steps": {"read": 1}}',
            journal.ShapesMade(time=1, shard=0, shapes=2, steps={"read": 1}),
        ),
        ('{"time": 1, "event": "done", "more": [1, {}]}', journal.Done(time=1)),
        ('{"time": 1, "event": "prepend", "source": "x"}', journal.Unknown(time=1, name="prepend")),
    ],
)
def test_lines_of_before_and_of_later_are_read(tmp_path, line, event):
    assert read(tmp_path, line + "\n") == journal.Journal(events=(event,))


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_no_field_of_an_event_is_read_unchecked(tmp_path, event):
    assert {field.name for field in dataclasses.fields(event)} <= journal.FIELDS.keys()
    file = io.StringIO()
    journal.append(file, event)
    for name in json.loads(file.getvalue()):
        assert read(tmp_path, json.dumps({**json.loads(file.getvalue()), name: [[]]})) == journal.Journal(ignored=1)


@pytest.mark.parametrize(
    ("event", "title"),
    [
        (EVENTS[0], "build"),
        (EVENTS[2], "add-teacher clip"),
        (EVENTS[3], "add-captioner template"),
        (EVENTS[11], "add-dense dino"),
        (EVENTS[4], "labels modelnet40"),
        (journal.Labels(), "labels"),
        (EVENTS[13], "remove image/clip"),
        (journal.Unknown(name="prepend"), "prepend"),
    ],
)
def test_the_title_of_a_command_tells_what_it_adds(event, title):
    assert event.title == title
