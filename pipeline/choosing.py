"""Choose the cameras that see a shape: few that show most of it, among many candidates.

    choice = Candidates(seen=seen, alike=alike, near=near, usable=usable)       # from small pictures of all candidates
    taken = choice.greedy(policy)                                               # [4, 17, 9, 0]: numbers of cameras, the best first

The value of a set of cameras is the weighted sum of three shares, each 0 to 1 (`cache_schema.spec.Coverage`):
- surface: of the points of the surface that any candidate sees, how many one of the set sees;
- likeness: the mean over all candidates of the likeness of a candidate's picture to the nearest picture of the set (facility location);
- spread: the same with the angle between cameras instead of pictures.
Each grows with the set, and by less the more is in it: the value is monotone and submodular. So the set that takes the best camera again
and again has at least 1 - 1/e = 63 % of the value of the best set of its size (Nemhauser, Wolsey and Fisher 1978,
https://doi.org/10.1007/BF01588971). The first cameras of a choice are the choice of fewer.

Of cameras that are equally good the first of the rig is taken, and nothing is random: the same small pictures give the same cameras.

Letters: C candidates, n points of the surface, H x W pixels, E embedding width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cache_schema.spec import Coverage
from pipeline.dense import sight

Judge = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Embeds pictures by the cheap teacher: [C, H, W, 3] -> [C, E]."""

APART: Final = 0.02
"""Least cosine distance that counts as quite unlike. Where no two pictures of a shape are that far apart, differences would be of rounding
and of pixels, and are not stretched to the full range."""
DIGITS: Final = 6
"""Number of digits by which gains are compared. Sums differ in the last digits from processor to processor."""


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """What the small pictures of a shape tell about the cameras."""

    seen: NDArray[np.bool_]
    """Which points of the surface each camera sees. [C, n]"""
    alike: NDArray[np.float64]
    """How alike pictures are: 1 for the same, 0 for the least alike. [C, C]; zeros without a teacher."""
    near: NDArray[np.float64]
    """How near directions are: 1 for the same, 0 for opposite ones. [C, C]"""
    usable: NDArray[np.bool_]
    """Which cameras see a surface; where none sees more than a line, those that see anything at all. The others are taken last, and no
    camera has to stand for them. [C]"""

    def value(self, chosen: Sequence[int], policy: Coverage) -> float:
        """Compute the value of a set of cameras; 0 for none."""
        if not len(chosen):
            return 0.0
        some = list(chosen)
        visible = max(int(self.seen.any(axis=0).sum()), 1)
        return policy.surface * float(self.seen[some].any(axis=0).sum()) / visible + sum(
            weight * float(kernel[some][:, self.usable].max(axis=0).sum()) / max(int(self.usable.sum()), 1)
            for weight, kernel in ((policy.likeness, self.alike), (policy.spread, self.near))
        )

    def greedy(self, policy: Coverage) -> list[int]:
        """Choose `policy.count` cameras, the most valuable one first, then the one that adds most, and so on."""
        taken: list[int] = []
        while len(taken) < policy.count:
            left = [camera for camera in range(len(self.usable)) if camera not in taken]
            left = [camera for camera in left if self.usable[camera]] or left
            values = np.round([self.value([*taken, camera], policy) for camera in left], DIGITS)
            taken.append(left[int(values.argmax())])
        return taken

    def surface(self, chosen: Sequence[int]) -> float:
        """Return the share of the surface that some cameras see, of what any candidate sees."""
        return float(self.seen[list(chosen)].any(axis=0).sum()) / max(int(self.seen.any(axis=0).sum()), 1)


def candidates(
    points: NDArray[np.floating],
    pose: NDArray[np.float32],
    depth: NDArray[np.floating],
    fov: float,
    shown: NDArray[np.bool_],
    embedded: NDArray[np.float32] | None,
) -> Candidates:
    """Tell what small pictures say about the cameras that they were drawn from.

    Args:
        points: places of the surface. [n, 3]
        pose, depth, fov: the cameras, and what they see; see `pipeline.dense.sight`. [C, 4, 4], [C, H, W]
        shown: whether a picture shows a surface; of a shape that is no more than a line, whether it shows anything. [C]
        embedded: the pictures as the cheap teacher sees them; None without one. [C, E]
    """
    back = pose[:, :3, 2].astype(np.float64)  # towards the camera
    return Candidates(
        seen=sight(points, pose, depth, fov).clear & shown[:, None],
        alike=np.zeros((len(pose), len(pose))) if embedded is None else likeness(embedded, shown),
        near=(1 + np.clip(back @ back.T, -1, 1)) / 2,
        usable=shown,
    )


def likeness(embedded: NDArray[np.float32], usable: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Compare pictures by the cosine of their embeddings `[C, E]`: 1 for equal ones, 0 for the two that are least alike. [C, C]"""
    long = embedded.astype(np.float64)
    unit = long / np.maximum(np.linalg.norm(long, axis=1, keepdims=True), 1e-12)
    far = 1 - unit @ unit.T
    scale = max(float(far[np.ix_(usable, usable)].max(initial=0.0)), APART)
    found: NDArray[np.float64] = np.clip(1 - far / scale, 0, 1)
    return found
