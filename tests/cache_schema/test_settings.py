"""`--set a.b=c`: typed, nested, and friendly about names that are nearly right."""

from dataclasses import dataclass
from typing import Literal

import pytest

from cache_schema.settings import override


@dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float = 0.5
    mode: Literal["a", "b"] = "a"


@dataclass(frozen=True, kw_only=True)
class Outer:
    inner: Inner = Inner()
    maybe: Inner | None = None
    names: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    count: int = 1
    on: bool = False


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("inner.rate=2", Outer(inner=Inner(rate=2.0))),
        ("inner.mode=b", Outer(inner=Inner(mode="b"))),
        ("names=x, y", Outer(names=("x", "y"))),
        ("sizes=[1,2]", Outer(sizes=(1, 2))),
        ("sizes=1,2", Outer(sizes=(1, 2))),
        ("on=True", Outer(on=True)),
        ("maybe=none", Outer()),
        ('maybe={"rate": 1}', Outer(maybe=Inner(rate=1.0))),
        ("inner=fast", Outer(inner=Inner(rate=9.0))),
    ],
)
def test_values_are_read_by_the_type_of_their_field(assignment, expected):
    assert override(Outer(), [assignment], {Inner: {"fast": Inner(rate=9.0)}} if assignment == "inner=fast" else None) == expected


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("inner.rat=2", "Inner has no field 'rat'; did you mean 'rate'"),
        ("count=two", "expected a whole number, got 'two'"),
        ("on=maybe", "expected true or false"),
        ("inner.mode=c", "expected one of 'a', 'b'"),
        ("count.x=1", "count is 1 and has no fields"),
        ("count", "takes a.b=c"),
    ],
)
def test_mistakes_are_answered_with_what_was_expected(assignment, message):
    with pytest.raises(ValueError, match=message):
        override(Outer(), [assignment])
