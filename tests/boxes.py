"""What the tests of the pipeline and `make torture` share: a small collection of mesh files, and how a cache is compared."""

from pathlib import Path

import numpy as np

BROKEN = {"slab/train/broken.off": "OFF\n3 1 0\n0 0 nan\n", "tower/test/empty.off": ""}
"""Files that are no shapes."""


class Silent:
    """A terminal nobody looks at."""

    def say(self, text: str) -> None: ...

    def begin(self, totals: dict[str, int]) -> None: ...

    def advance(self, product: str, units: int) -> None: ...


def box_off(size: tuple[float, float, float]) -> str:
    """An OFF file of a box."""
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * size
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    lines = [" ".join(map(str, corner)) for corner in corners] + [f"4 {' '.join(map(str, face))}" for face in faces]
    return f"OFF\n8 6 0\n{chr(10).join(lines)}\n"


def write_meshes(folder: Path, boxes: int = 7, broken: tuple[str, ...] = tuple(BROKEN)) -> Path:
    """Boxes of two classes, the last two in `test` and the others in `train`, and files that are no shapes."""
    for i in range(boxes):
        file = folder / ("tower" if i % 2 else "slab") / ("test" if i >= boxes - 2 else "train") / f"box_{i}.off"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(box_off((1, 1, 2 + i) if i % 2 else (3, 2 + i, 1)))
    for name in broken:
        (folder / name).write_text(BROKEN[name])
    return folder


def contents(path: Path) -> dict[str, bytes]:
    """Every file of a cache with its bytes."""
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}
