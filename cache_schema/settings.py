"""Change frozen, typed settings by text, as `--set a.b=c` does in every command.

    config = override(config, ["points.count=2048", "teachers=clip-vit-b32,dinov2-small"])

The type of the field decides how a value is read. The error for a misspelt name suggests the right one.

Sometimes one setting decides which others there are: each encoder has settings of its own, and so has each kind of source. The dataclass
then keeps these settings as text, in a field made by `settings_of_choice`:

    @dataclass(frozen=True, kw_only=True)
    class EncoderConfig:
        name: str = "pointmae-s"
        options: tuple[str, ...] = settings_of_choice()                 # `encoder.depth=6` gives ("depth=6",)

The text is what is stored, so that a configuration can be read before the encoder or the source is known.
"""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from cache_schema.errors import UserError
from cache_schema.spec import did_you_mean, from_json, short

T = TypeVar("T")

CHOICE: Final = "settings of choice"
"""Key that `settings_of_choice` puts into the metadata of a field."""


@dataclasses.dataclass
class _Change:
    """Change of one field: a new value, changes of its own fields, or both."""

    where: str
    value: str | None = None
    fields: "dict[str, _Change]" = dataclasses.field(default_factory=dict)


def settings_of_choice() -> Any:
    """Make a field of type `tuple[str, ...]` that keeps the settings of what another field chooses, as `name=value` texts.

    `override` puts assignments there if the dataclass has no field of that name. The code that reads the field checks the names.
    """
    return dataclasses.field(default=(), metadata={CHOICE: True})


def override(config: T, assignments: Sequence[str], named: Mapping[type, Mapping[str, Any]] | None = None) -> T:
    """Return a copy of a dataclass with changed fields. All changes take effect together, so their order does not matter.

    Args:
        config: a frozen dataclass, possibly of dataclasses.
        assignments: texts `path.to.field=value`. The last one for a field counts. Lists are JSON, or items between commas; `none`
            empties an optional field.
        named: values by name, for each field type whose values are chosen by name.

    Raises:
        UserError: a text is not an assignment, there is no such field, or the value has another type.
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
    """Refuse a setting that was changed but would have no effect.

    Args:
        options: a dataclass.
        names: names of its fields that nothing reads here.
        where: the setting that makes them useless, such as `by=svm`.
        prefix: what `--set` writes before the names, such as `align.`.

    Raises:
        UserError: one of these fields differs from its default.
    """
    set_ = [f"{prefix}{name}" for name in names if getattr(options, name) != getattr(type(options), name)]
    if set_:
        raise UserError(f"{' and '.join(set_)} would have no effect where {where}: leave it out")


def _changed(config: T, changes: Mapping[str, _Change], named: Mapping[type, Mapping[str, Any]]) -> T:
    """Return a dataclass with all changes of its fields. Its own checks run once, after the last change."""
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
    """Turn changes back into assignments."""
    for name, change in changes.items():
        if change.value is not None:
            yield f"{prefix}{name}={change.value}"
        yield from _texts(change.fields, f"{prefix}{name}.")


def _merged(held: Iterable[str], more: Iterable[str]) -> tuple[str, ...]:
    """Join assignments. A later one replaces an earlier one of the same name."""
    return tuple({option.partition("=")[0].strip(): option for option in (*held, *more)}.values())


def _value(kind: Any, value: str, where: str, named: Mapping[type, Mapping[str, Any]]) -> Any:
    """Read the value of a field of type `kind`: by name, where values of that type (or of one in a union) have names."""
    options = [option for option in typing.get_args(kind) if option in named]
    if options and value.lower() != "none" and not value.startswith("{"):
        kind = options[0]
    if kind not in named:
        return from_json(kind, _parsed(kind, value, where), f"--set {where}")
    if value not in named[kind]:
        raise UserError(f"--set {where}: there is no {value!r}{did_you_mean(value, named[kind])}")
    return named[kind][value]


def _parsed(kind: Any, value: str, where: str) -> Any:
    """Turn text into the JSON value for a field of type `kind`."""
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
            return _json(value, where)
        return [_parsed(options[0], item.strip(), where) for item in value.split(",") if item.strip()]
    return value if kind is str or origin is typing.Literal else _json(value, where)


def _json(value: str, where: str) -> Any:
    try:
        return json.loads(value)
    except ValueError as error:
        raise UserError(f"--set {where}: expected JSON, got {short(value)} ({error})") from None
