"""Names that become paths: one rule."""

import pytest

from cache_schema.names import path_name


@pytest.mark.parametrize("name", ["a", "modelnet40", "clip-vit-b32", "a.b_c-9", "9", "x" * 100])
def test_safe_names_stay(name):
    assert path_name(name, "it") == name


@pytest.mark.parametrize("name", ["", ".", "..", "a..b", ".a", "-a", "_a", "a/b", "a\\b", "a b", "a\n", "ä", "a\0", "x" * 101, "con:x"])
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match="cannot be a file name here"):
        path_name(name, "it")
