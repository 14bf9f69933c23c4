"""Checks of numbers that people give. Comparisons alone let NaN through: `nan <= 0` is false.

within("views.size", 224, 16, 4096)                       # one number, one range
check_numbers(config, {"epochs": 1, "weight_decay": 0})   # every number of a configuration is finite, some have a least value
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from cache_schema.errors import UserError


def within(name: str, value: float, low: float, high: float) -> None:
    """Refuse a number outside a range, both ends of which are in it.

    Args:
        name: what the setting is called.
        value: the number. NaN lies in no range.
        low, high: the range; `high` may be `math.inf`, which `value` still may not be.

    Raises:
        UserError: it lies outside.
    """
    if math.isfinite(value) and low <= value <= high:
        return
    allowed = f"from {low:.12g} to {high:.12g}" if high != math.inf else f"of {low:.12g} or more"
    raise UserError(f"{name} must be a number {allowed}, got {value:.12g}")


def check_numbers(config: Any, least: Mapping[str, float] | None = None, prefix: str = "") -> None:
    """Check every number in a dataclass, also those in its tuples and in the dataclasses it holds.

    Args:
        config: the dataclass.
        least: for fields of its own by name, the smallest value; those that are None are left alone.
        prefix: what the fields are called by, as `optim.`.

    Raises:
        UserError: a number is NaN or infinite, or below its least value; the message names the field.
    """
    for name, value in _numbers(config, prefix):
        if not math.isfinite(value):
            raise UserError(f"{name} must be a finite number, got {value}")
    for name, smallest in (least or {}).items():
        held = getattr(config, name)
        if any(value < smallest for value in (held if isinstance(held, tuple) else (held,)) if value is not None):
            raise UserError(f"{prefix}{name} must be at least {smallest:g}, got {held}")


def _numbers(value: Any, name: str) -> Iterator[tuple[str, float]]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _numbers(
                getattr(value, field.name), f"{name}{field.name}" if name.endswith(".") or not name else f"{name}.{field.name}"
            )
    elif isinstance(value, tuple):
        for item in value:
            yield from _numbers(item, name)
    elif isinstance(value, float):
        yield name, value
