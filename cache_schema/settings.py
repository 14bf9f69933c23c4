"""Overrides of frozen, typed settings: `--set a.b=c`, the same in every command.

    config = override(config, ["points.count=2048", "teachers=clip-vit-b32,dinov2-small"])

The value is read by the field's type. A name that is nearly right is answered with the right one.

Where one setting chooses what there is to be set beside it (an encoder by its name, a source by its kind), the dataclass keeps those
settings as text in a field made by `settings_of_choice`, and offers them typed:

    @dataclass(frozen=True, kw_only=True)
    class EncoderConfig:
        name: str = "pointmae-s"
        options: tuple[str, ...] = settings_of_choice()                 # `encoder.depth=6` gives ("depth=6",)

Text is what goes to disk, so that a file can be read before what was chosen is known.
"""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from cache_schema.errors import UserError
from cache_schema.spec import did_you_mean, from_json

T = TypeVar("T")

CHOICE: Final = "settings of choice"
"""Key in the metadata of a field that `settings_of_choice` made."""


@dataclasses.dataclass
class _Change:
    """What is asked of one field: a value, changes of its own fields, or both."""

    where: str
    value: str | None = None
    fields: "dict[str, _Change]" = dataclasses.field(default_factory=dict)


def settings_of_choice() -> Any:
    """A field of type `tuple[str, ...]` for settings of whatever the other fields choose, name=value each.

    `override` puts assignments there whose name the dataclass itself does not have. Who reads the field checks the names.
    """
    return dataclasses.field(default=(), metadata={CHOICE: True})


def override(config: T, assignments: Sequence[str], named: Mapping[type, Mapping[str, Any]] | None = None) -> T:
    """A copy of a dataclass with fields replaced, all at once: what one assignment needs of another may come after it.

    Args:
        config: a frozen dataclass, possibly of dataclasses.
        assignments: `path.to.field=value` each; of the same field the last one counts. Lists are comma separated or JSON; `none`
            empties an optional field.
        named: for field types whose values have names, the values by name.

    Raises:
        UserError: not an assignment, no such field, or a value of another type.
    """
    changes = _Change("")
    for assignment in assignments:
        path, equals, value = assignment.partition("=")
        if not equals:
            raise UserError(f"--set takes a.b=c, got {assignment!r}")
        change = changes
        for name in path.strip().split("."):
            change = change.fields.setdefault(name, _Change(path.strip()))
        change.value, change.fields = value.strip(), {}
    return _changed(config, changes.fields, named or {})


def refuse_unread(options: Any, names: Iterable[str], where: str, *, prefix: str = "") -> None:
    """Refuse to be silent about a setting that nothing would read.

    Args:
        options: a dataclass.
        names: of its fields that are not read.
        where: when that is so, as `by=svm`.
        prefix: what the fields are called by, as `align.`.

    Raises:
        UserError: one of them is not as the class has it.
    """
    set_ = [f"{prefix}{name}" for name in names if getattr(options, name) != getattr(type(options), name)]
    if set_:
        raise UserError(f"{' and '.join(set_)} would have no effect where {where}: leave it out")


def _changed(config: T, changes: Mapping[str, _Change], named: Mapping[type, Mapping[str, Any]]) -> T:
    """A dataclass with all changes of its fields, checked by it once."""
    assert dataclasses.is_dataclass(config) and not isinstance(config, type)
    hints = typing.get_type_hints(type(config))
    fields = {field.name: field for field in dataclasses.fields(config)}
    values: dict[str, Any] = {}
    others: dict[str, _Change] = {}
    for name, change in changes.items():
        if name not in fields:
            others[name] = change
            continue
        value = getattr(config, name) if change.value is None else _value(hints[name], change.value, change.where, named)
        if change.fields and not dataclasses.is_dataclass(value):
            raise UserError(f"--set {change.where}: {name} is {value!r} and has no fields; set {name} itself")
        values[name] = _changed(value, change.fields, named) if change.fields else value
    if others:
        choice = next((name for name, field in fields.items() if CHOICE in field.metadata), None)
        if choice is None:
            name, change = next(iter(others.items()))
            raise UserError(f"--set {change.where}: {type(config).__name__} has no field {name!r}{did_you_mean(name, fields)}")
        values[choice] = _merged(values.get(choice, getattr(config, choice)), _texts(others))
    return dataclasses.replace(config, **values)


def _texts(changes: Mapping[str, _Change], prefix: str = "") -> Iterator[str]:
    """Changes as assignments again."""
    for name, change in changes.items():
        if change.value is not None:
            yield f"{prefix}{name}={change.value}"
        yield from _texts(change.fields, f"{prefix}{name}.")


def _merged(held: Iterable[str], more: Iterable[str]) -> tuple[str, ...]:
    """Assignments, of which a later one replaces an earlier one of the same name."""
    return tuple({option.partition("=")[0].strip(): option for option in (*held, *more)}.values())


def _value(kind: Any, value: str, where: str, named: Mapping[type, Mapping[str, Any]]) -> Any:
    if kind not in named:
        return from_json(kind, _parsed(kind, value, where), f"--set {where}")
    if value not in named[kind]:
        raise UserError(f"--set {where}: there is no {value!r}{did_you_mean(value, named[kind])}")
    return named[kind][value]


def _parsed(kind: Any, value: str, where: str) -> Any:
    """Text as the JSON value that a field of type `kind` takes."""
    origin, options = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value.lower() == "none" and type(None) in options:
            return None
        return _parsed(next(o for o in options if o is not type(None)), value, where)
    if kind is bool:
        if value.lower() not in ("true", "false"):
            raise UserError(f"--set {where}: expected true or false, got {value!r}")
        return value.lower() == "true"
    if kind in (int, float):
        try:
            number = kind(value)
        except ValueError:
            raise UserError(f"--set {where}: expected {'a whole number' if kind is int else 'a number'}, got {value!r}") from None
        if isinstance(number, float) and not math.isfinite(number):
            raise UserError(f"--set {where}: expected a number, got {number}")
        return number
    if origin is tuple:
        if value.startswith("["):
            return json.loads(value)
        return [_parsed(options[0], item.strip(), where) for item in value.split(",") if item.strip()]
    return value if kind is str or origin is typing.Literal else json.loads(value)
