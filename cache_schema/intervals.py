"""How certain a share is that was measured on a sample.

wilson(90.0, 50)                # (78.6, 95.7): 45 of 50 shapes were right
"""

import math
from typing import Final

SIDE: Final = 1.959964
"""Standard normal deviate at either end of a 95 % interval."""


def wilson(percent: float, count: float, side: float = SIDE) -> tuple[float, float]:
    """The 95 % interval, in percent, of a share measured on `count` shapes (Wilson's score interval,
    https://en.wikipedia.org/wiki/Binomial_proportion_confidence_interval). Without shapes it is 0 to 100. `side` is
    the standard normal deviate at either end.
    """
    if not count:
        return 0.0, 100.0
    z, share = side, min(max(percent / 100, 0.0), 1.0)
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return 100 * max(middle - half, 0.0), 100 * min(middle + half, 1.0)
