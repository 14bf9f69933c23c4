"""Overrides of frozen, typed settings: `--set a.b=c`, the same in every command.

    config = override(config, ["points.count=2048", "teachers=clip-vit-b32,dinov2-small"])

The value is read by the field's type. A name that is nearly right is answered with the right one.
"""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from cache_schema.errors import UserError
from cache_schema.spec import did_you_mean, from_json

T = TypeVar("T")


@dataclasses.dataclass
class _Change:
    """What is asked of one field: a value, changes of its own fields, or both."""

    where: str
    value: str | None = None
    fields: "dict[str, _Change]" = dataclasses.field(default_factory=dict)


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
    return typing.cast(T, _changed(config, changes.fields, named or {}))


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


def _changed(config: Any, changes: Mapping[str, _Change], named: Mapping[type, Mapping[str, Any]]) -> Any:
    """A dataclass with all changes of its fields, checked by it once."""
    hints = typing.get_type_hints(type(config))
    kinds = {field.name: hints[field.name] for field in dataclasses.fields(config)}
    values = {}
    for name, change in changes.items():
        if name not in kinds:
            raise UserError(f"--set {change.where}: {type(config).__name__} has no field {name!r}{did_you_mean(name, kinds)}")
        value = getattr(config, name) if change.value is None else _value(kinds[name], change.value, change.where, named)
        if change.fields and not dataclasses.is_dataclass(value):
            raise UserError(f"--set {change.where}: {name} is {value!r} and has no fields; set {name} itself")
        values[name] = _changed(value, change.fields, named) if change.fields else value
    return dataclasses.replace(config, **values)


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
