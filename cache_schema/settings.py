"""Overrides of frozen, typed settings: `--set a.b=c`, the same in every command.

    config = override(config, ["points.count=2048", "teachers=clip-vit-b32,dinov2-small"])

The value is read by the field's type. A name that is nearly right is answered with the right one.
"""

import dataclasses
import json
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from cache_schema.spec import did_you_mean, from_json

T = TypeVar("T")


def override(config: T, assignments: Sequence[str], named: Mapping[type, Mapping[str, Any]] | None = None) -> T:
    """A copy of a dataclass with fields replaced.

    Args:
        config: a frozen dataclass, possibly of dataclasses.
        assignments: `path.to.field=value` each. Lists are comma separated or JSON; `none` empties an optional field.
        named: for field types whose values have names, the values by name.

    Raises:
        ValueError: not an assignment, no such field, or a value of another type.
    """
    for assignment in assignments:
        path, equals, value = assignment.partition("=")
        if not equals:
            raise ValueError(f"--set takes a.b=c, got {assignment!r}")
        config = _replaced(config, path.strip().split("."), value.strip(), path.strip(), named or {})
    return config


def _replaced(config: Any, path: list[str], value: str, where: str, named: Mapping[type, Mapping[str, Any]]) -> Any:
    name, rest = path[0], path[1:]
    fields = {f.name for f in dataclasses.fields(config)}
    if name not in fields:
        raise ValueError(f"--set {where}: {type(config).__name__} has no field {name!r}{did_you_mean(name, fields)}")
    current = getattr(config, name)
    if rest:
        if not dataclasses.is_dataclass(current):
            raise ValueError(f"--set {where}: {name} is {current!r} and has no fields; set {name} itself")
        return dataclasses.replace(config, **{name: _replaced(current, rest, value, where, named)})
    kind = typing.get_type_hints(type(config))[name]
    if kind in named:
        if value not in named[kind]:
            raise ValueError(f"--set {where}: there is no {value!r}{did_you_mean(value, named[kind])}")
        return dataclasses.replace(config, **{name: named[kind][value]})
    return dataclasses.replace(config, **{name: from_json(kind, _parsed(kind, value, where), f"--set {where}")})


def _parsed(kind: Any, value: str, where: str) -> Any:
    """Text as the JSON value that a field of type `kind` takes."""
    origin, options = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value.lower() == "none" and type(None) in options:
            return None
        return _parsed(next(o for o in options if o is not type(None)), value, where)
    if kind is bool:
        if value.lower() not in ("true", "false"):
            raise ValueError(f"--set {where}: expected true or false, got {value!r}")
        return value.lower() == "true"
    if kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            raise ValueError(f"--set {where}: expected {'a whole number' if kind is int else 'a number'}, got {value!r}") from None
    if origin is tuple:
        if value.startswith("["):
            return json.loads(value)
        return [_parsed(options[0], item.strip(), where) for item in value.split(",") if item.strip()]
    return value if kind is str or origin is typing.Literal else json.loads(value)
