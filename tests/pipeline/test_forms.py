"""Forms, bodies without names: sound surfaces, all of them different, and the same for the same seed and index."""

import hashlib
from collections import Counter

import numpy as np
import pytest

from pipeline import geometry
from pipeline.sources.catalog import open_source
from pipeline.starter import forms

FIRST = 60
DIGEST = "8a6af70bd53b"
"""Of the first forms of seed 0. If forms change on purpose, raise `forms.REVISION`."""


def bytes_of(mesh: geometry.Mesh) -> bytes:
    return b"".join(array.tobytes() for part in mesh.parts for array in (part.vertices, part.normals, part.faces))


def test_forms_are_sound():
    """Unit normals that point outward as faces do, finite places, all vertices in use, no two alike, colours but for some."""
    seen, colored, state = set(), 0, hashlib.sha256()
    for index in range(FIRST):
        mesh = forms.make(0, index)
        colored += mesh.colored
        seen.add(bytes_of(mesh))
        state.update(np.concatenate([part.vertices for part in mesh.parts]).round(3).tobytes())
        for part in mesh.parts:
            assert np.isfinite(part.vertices).all() and np.allclose(np.linalg.norm(part.normals, axis=1), 1, atol=1e-4)
            assert part.faces.min() >= 0 and part.faces.max() < len(part.vertices)
            corners = part.vertices[part.faces].astype(float)
            across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
            along = (across * part.normals[part.faces].mean(axis=1)).sum(axis=1) / np.maximum(np.linalg.norm(across, axis=1), 1e-12)
            assert np.mean(along > 0) > 0.95, index  # a mirrored or warped surface keeps its outside
    assert len(seen) == FIRST
    assert 0.6 < colored / FIRST < 0.9
    assert state.hexdigest()[:12] == DIGEST


def test_a_form_depends_on_its_seed_and_index_alone():
    source = open_source("forms", count="40")
    assert {entry.label for entry in source.entries} == {""} and Counter(entry.split for entry in source.entries) == {"train": 40}
    again = {entry.id: bytes_of(source.reader.read(entry)) for entry in reversed(source.entries[:5])}
    assert again == {f"form/{index:06d}": bytes_of(forms.make(0, index)) for index in range(5)}
    other = open_source("forms", count="40", seed="1")
    assert bytes_of(other.reader.read(other.entries[0])) not in again.values()
    assert other.reader.digest(other.entries[0]) != source.reader.digest(source.entries[0])
    with pytest.raises(ValueError, match="revision"):
        open_source("forms", revision="0")


def test_a_folder_of_that_name_goes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert forms.recognises("forms")
    (tmp_path / "forms").mkdir()
    assert not forms.recognises("forms") and open_source("forms", kind="forms", count="3").reader.kind == "forms"
