"""A reader whose shapes do to their process what broken files do. Imported by shape processes, by way of PYTHONPATH."""

import os
import signal
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.geometry import Mesh, Part


@dataclass(frozen=True)
class HostileReader:
    kind: str = "hostile"
    location: str = "nowhere"
    options: tuple[tuple[str, str], ...] = ()
    textures: str = "require"

    def digest(self, entry: Any) -> bytes:
        return bytes([7]) * 32

    def read(self, entry: Any) -> Mesh:
        match entry.locator:
            case "hang":
                time.sleep(3600)
            case "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "exit":
                os._exit(3)
            case "memory":
                np.ones(1 << 34, np.uint8)
            case "raise":
                raise KeyError("a loader's own bug")
            case "refuse":
                raise ValueError("is not\na shape")
            case "chatter":
                print("a loader that prints")
                os.write(1, b"and one that writes to the pipe")
        corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float32)
        faces = np.array([[0, 1, 2], [1, 3, 2], [4, 6, 5], [5, 6, 7], [0, 4, 1], [1, 4, 5], [2, 3, 6], [3, 7, 6]], np.int32)
        return Mesh(parts=(Part(vertices=corners, faces=faces),), colored=True)
