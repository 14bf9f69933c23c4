"""`--set a.b=c`: typed, nested, and friendly about names that are nearly right."""

from dataclasses import dataclass
from typing import Literal

import pytest

from cache_schema.errors import UserError
from cache_schema.settings import override, refuse_unread


@dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float = 0.5
    mode: Literal["a", "b"] = "a"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Valid as a whole only."""

    low: int = 0
    high: int = 1

    def __post_init__(self) -> None:
        if self.low >= self.high:
            raise ValueError("low must lie below high")


@dataclass(frozen=True, kw_only=True)
class Outer:
    inner: Inner = Inner()
    maybe: Inner | None = None
    names: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    count: int = 1
    on: bool = False
    pair: Pair = Pair()


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
        ("sizes=[1,2", r"--set sizes: expected JSON, got '\[1,2'"),
        ("inner=quick", "--set inner: expected JSON, got 'quick'"),
    ],
)
def test_mistakes_are_answered_with_what_was_expected(assignment, message):
    with pytest.raises(UserError, match=message):
        override(Outer(), [assignment])


@pytest.mark.parametrize("assignments", [["pair.low=5", "pair.high=6"], ["pair.high=6", "pair.low=5"]])
def test_fields_that_depend_on_each_other_are_set_together_in_any_order(assignments):
    assert override(Outer(), assignments).pair == Pair(low=5, high=6)


def test_of_one_field_the_last_assignment_counts():
    assert override(Outer(), ["inner.rate=2", "inner.rate=3"]).inner == Inner(rate=3.0)
    assert override(Outer(), ["inner.rate=2", "inner=fast", "inner.mode=b"], {Inner: {"fast": Inner(rate=9.0)}}).inner == Inner(
        rate=9.0, mode="b"
    )


def test_settings_that_nothing_would_read_are_refused_together():
    changed = Outer(count=7, on=True)
    refuse_unread(changed, ["sizes"], "it rains")
    with pytest.raises(ValueError, match=r"^a\.count and a\.on would have no effect where it rains: leave it out$"):
        refuse_unread(changed, ["count", "on", "sizes"], "it rains", prefix="a.")
