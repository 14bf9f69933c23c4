"""Checks of numbers that people give: one range, one message.

within("views.size", 224, 16, 4096)
"""

import math

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
