"""A few tries of each kind that `make torture` makes by the thousand: points only, so that each takes a second or two."""

import pytest

from tests.kept import kept_processes  # noqa: F401
from tests.torture import torture


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    return torture.prepare(tmp_path_factory.mktemp("ground"), "points")


@pytest.mark.parametrize("kind", torture.KINDS)
def test_it_holds(ground, kind):
    assert torture.one_try(kind, ground, 11) in ("", torture.SAID, torture.ADVICE)


def test_what_does_not_hold_is_noticed(ground, monkeypatch):
    """The judge itself: damage that nobody names is told."""
    monkeypatch.setattr(torture.validate, "problems", lambda path: [])
    assert "is not named" in torture.one_try("bit flipped", ground, 1)
