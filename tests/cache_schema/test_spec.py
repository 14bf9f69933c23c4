"""Descriptions survive JSON, refuse what they do not know, and fingerprint what changes a result and nothing else."""

import dataclasses
import json

import pytest

from cache_schema import spec
from cache_schema.spec import (
    Camera,
    CameraRig,
    CaptionSpec,
    GuideSpec,
    LabelSet,
    Manifest,
    PointSpec,
    Record,
    SourceSpec,
    TeacherSpec,
    ViewSpec,
)

RIG = CameraRig(name="two", cameras=(Camera(azimuth=0.0, elevation=20.0), Camera(azimuth=180.0, elevation=20.0)))
TEACHER = TeacherSpec(name="t", backend="b", model="m", weights="w", preprocess="p", dim=8, text=True, image_size=32)
SOURCE = SourceSpec(kind="folder", ids="0" * 64, options=(("up", "y"),))
SPECS = [
    SOURCE,
    PointSpec(),
    ViewSpec(rig=RIG),
    TEACHER,
    CaptionSpec(captioner="blip2"),
    GuideSpec(name="g", encoder="e", weights="w", tokens=4, dim=8, blocks=1),
]
MANIFEST = Manifest(shapes=10, shard=4, source=SOURCE, classes=("a", "b"))


@pytest.mark.parametrize("value", SPECS, ids=lambda v: type(v).__name__)
def test_records_of_every_spec_survive_json(value):
    record = Record(product="p", kind="points", spec=value, inputs=(("a", "b"),), made_by=(("torch", "2"),))
    assert spec.from_json(Record, json.loads(json.dumps(spec.to_json(record)))) == record
    assert spec.from_json(Manifest, json.loads(json.dumps(spec.to_json(MANIFEST)))) == MANIFEST


def test_no_two_specs_have_the_same_fields():
    """The union in `Record.spec` is resolved by field names."""
    fields = [frozenset(f.name for f in dataclasses.fields(value)) for value in SPECS]
    assert len(set(fields)) == len(fields)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"cuont": 3}, "has no field 'cuont'; did you mean 'count'"),
        ({"count": "3"}, "count: expected int, got '3'"),
        ({"dtype": "float8"}, "expected one of 'float16', 'float32', got 'float8'"),
        ({"count": 4, "ordered": 5}, r"must lie in 1..count \(4\), got 5"),
    ],
)
def test_json_errors_say_what_where_and_what_else(data, message):
    with pytest.raises(ValueError, match=message):
        spec.from_json(PointSpec, data)


def test_missing_keys_are_named():
    with pytest.raises(ValueError, match="missing kind, ids"):
        spec.from_json(SourceSpec, {})


def test_names_paths_and_versions_are_no_part_of_a_fingerprint():
    record = Record(product="image/t", kind="image", spec=TEACHER, inputs=())
    renamed = dataclasses.replace(TEACHER, name="other", model="/elsewhere", revision="abc")
    later = dataclasses.replace(record, made_by=(("torch", "3"),), complete=True, content="x")
    assert spec.fingerprint(TEACHER) == spec.fingerprint(renamed)
    assert record.fingerprint == later.fingerprint


@pytest.mark.parametrize("value", SPECS, ids=lambda v: type(v).__name__)
def test_every_other_field_changes_the_fingerprint(value):
    """A new field is part of the fingerprint unless it is marked; this holds for fields added later, too."""
    for field in dataclasses.fields(value):
        if not field.metadata.get("identity", True):
            continue
        current = getattr(value, field.name)
        match current:
            case bool():
                other = not current
            case int() | float():
                other = current + 1
            case str():
                other = current + "x"
            case CameraRig():
                other = dataclasses.replace(RIG, fov=50.0)
            case None if field.name == "policy":
                other = spec.Coverage()
            case _:
                other = (*current, "x") if isinstance(current, tuple) else current
        changed = object.__new__(type(value))  # past the checks: only the hash is at stake
        for f in dataclasses.fields(value):
            object.__setattr__(changed, f.name, other if f.name == field.name else getattr(value, f.name))
        assert spec.fingerprint(changed) != spec.fingerprint(value), field.name


def test_fingerprints_stay_what_they_are():
    """Golden: a change here means caches on disk are taken for others. Raise FORMAT_VERSION, or do not."""
    assert spec.fingerprint(PointSpec()) == "08538e39698ccf3a"


def test_a_whole_number_in_a_float_field_is_the_same_specification():
    whole, broken = Camera(azimuth=30, elevation=0), Camera(azimuth=30.0, elevation=0.0)
    assert spec.fingerprint(whole) == spec.fingerprint(broken)
    assert spec.canonical(spec.to_json(whole)) == spec.canonical(spec.to_json(broken))


def test_manifest_deals_every_row_once():
    assert [row for shard in range(MANIFEST.shards) for row in MANIFEST.rows(shard)] == list(range(10))


@pytest.mark.parametrize("templates", [("no place",), ("{} and {}",)])
def test_a_template_has_one_place(templates):
    with pytest.raises(ValueError, match="exactly one"):
        LabelSet(name="l", classes=("a",), templates=templates)
