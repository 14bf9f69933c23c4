"""Selections of shapes: what is written selects what a loop over the rows would, and a name that is not there is refused."""

import dataclasses

import numpy as np
import pytest

from cache_schema import spec, store, synthetic
from cache_schema.errors import UserError
from cache_schema.selection import Selection, held


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return synthetic.write(tmp_path_factory.mktemp("c") / "c.zarr", shapes=20, shard=6)


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("", lambda c, s: True),
        ("split=train", lambda c, s: s == "train"),
        ("split=train,class=cone", lambda c, s: s == "train" and c == "cone"),
        ("class=cone|cube", lambda c, s: c in ("cone", "cube")),
        ("class=cone, class = cube , split=train", lambda c, s: c in ("cone", "cube") and s == "train"),
    ],
)
def test_the_rows_are_those_that_a_loop_finds(cache, text, fits):
    names = zip(cache.column("label"), cache.column("split"), strict=True)
    m = cache.manifest
    expected = [row for row, (c, s) in enumerate(names) if fits(m.classes[c], m.splits[s])]
    selection = Selection.parse(text)
    assert selection.rows(cache).tolist() == expected
    assert Selection.parse(selection.text) == selection


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("klass=cone", "did you mean 'class'"),
        ("class=conee", "no class 'conee'; did you mean 'cone'"),
        ("licence=MIT", "no licence 'MIT'; there is none"),
        ("class", "expected conditions"),
        ("class=", "expected conditions"),
        ("class=cone||cube", "expected conditions"),
        ("class=cone,", "expected conditions"),
        ("class=a=b", "expected conditions"),
        ("class=torus,split=train", "no shape fits class=torus,split=train"),
    ],
)
def test_what_selects_nothing_is_refused(cache, text, message):
    with pytest.raises(UserError, match=message):
        Selection.parse(text).rows(cache)


def test_any_name_can_be_selected_and_rows_without_a_shape_never_are(tmp_path):
    odd = ("a,b", "c|d=e", "back\\slash", " ")
    source = spec.SourceSpec(kind="synthetic", ids=spec.ids_digest("abcdefg"))
    manifest = spec.Manifest(shapes=7, shard=4, segments=(2, 3), source=source, classes=odd[:3])
    path = tmp_path / "c.zarr"
    store.create(path, manifest, [*"abcdefg"], [0, 1, 0, 0, 2, -1, 0], [-1] * 7)
    cache = store.open_cache(path)
    for number, rows in enumerate([[0, 6], [1], [4]]):
        selection = Selection(values=(("class", (odd[number],)),))
        assert Selection.parse(selection.text) == selection
        assert selection.rows(cache).tolist() == rows
    assert np.flatnonzero(held(manifest)).tolist() == [0, 1, 4, 5, 6] == Selection().rows(cache).tolist()
    assert held(dataclasses.replace(manifest, segments=())).all()
