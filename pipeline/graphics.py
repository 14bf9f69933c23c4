"""Which graphics card draws: the same one that computes.

    Workers(task, count, graphics.environment("cuda:1"))

EGL has its own list of devices. pyrender takes the one whose number is in the variable EGL_DEVICE_ID, otherwise the first. The order of
that list is not that of CUDA, and CUDA_VISIBLE_DEVICES does not change it. So without a match all processes draw on one card of many.
"""

import ctypes
import functools
import os
import re
from dataclasses import dataclass
from typing import Any, Final

VARIABLE: Final = "EGL_DEVICE_ID"
"""Environment variable with the number of the EGL device that draws."""
_UUID: Final = 0x335C
"""EGL_DEVICE_UUID_EXT (https://registry.khronos.org/EGL/extensions/EXT/EGL_EXT_device_persistent_id.txt)."""
_CUDA: Final = 0x323A
"""EGL_CUDA_DEVICE_NV (https://registry.khronos.org/EGL/extensions/NV/EGL_NV_device_cuda.txt)."""
_MOST: Final = 64
"""Most devices that are asked for."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """A device of EGL, as it names itself."""

    uuid: str = ""
    """32 hexadecimal digits, which CUDA has for the same card, too; empty if the driver does not tell."""
    ordinal: int | None = None
    """Number of the card in CUDA; None for a card without CUDA, and for drawing in software."""


def environment(device: str) -> dict[str, str]:
    """The variables of the environment with which a process draws on a torch device. None are needed on a CPU. Where the user has set
    EGL_DEVICE_ID, that holds; where the cards cannot be matched, EGL's first device draws."""
    found = None if VARIABLE in os.environ else number(device)
    return {} if found is None else {VARIABLE: str(found)}


def number(device: str) -> int | None:
    """The number of a torch device among the devices of EGL; None for a CPU, and if no device of EGL can be told to be the same card."""
    import torch

    place = torch.device(device)
    if place.type != "cuda":
        return None
    own = place.index if place.index is not None else torch.cuda.current_device()
    uuid = re.sub("^GPU-|-", "", str(getattr(torch.cuda.get_device_properties(own), "uuid", ""))).lower()
    cards = devices()
    for i, card in enumerate(cards):
        if uuid and card.uuid == uuid:
            return i
    # Drivers differ in whether this number counts all cards or those of CUDA_VISIBLE_DEVICES. So it is taken only if these are the same.
    if "CUDA_VISIBLE_DEVICES" not in os.environ:
        same = [i for i, card in enumerate(cards) if card.ordinal == own and not card.uuid]
        return same[0] if len(same) == 1 else None
    return None


@functools.cache
def devices() -> tuple[Card, ...]:
    """The devices of EGL in its order; none if there is no EGL, or one that does not list its devices. It opens no display."""
    try:
        library = ctypes.CDLL("libEGL.so.1")
    except OSError:
        return ()
    pointer, whole = ctypes.c_void_p, ctypes.c_int
    listed = _function(library, "eglQueryDevicesEXT", whole, ctypes.POINTER(pointer), ctypes.POINTER(whole))
    binary = _function(library, "eglQueryDeviceBinaryEXT", pointer, whole, whole, ctypes.c_char_p, ctypes.POINTER(whole))
    attribute = _function(library, "eglQueryDeviceAttribEXT", pointer, whole, ctypes.POINTER(ctypes.c_ssize_t))
    found, count = (pointer * _MOST)(), whole()
    if listed is None or not listed(_MOST, found, ctypes.byref(count)):
        return ()
    cards = []
    for device in found[: count.value]:
        text, size, ordinal = ctypes.create_string_buffer(16), whole(), ctypes.c_ssize_t()
        named = binary is not None and binary(device, _UUID, 16, text, ctypes.byref(size)) and size.value == 16
        counted = attribute is not None and attribute(device, _CUDA, ctypes.byref(ordinal))
        cards.append(Card(uuid=text.raw.hex() if named else "", ordinal=ordinal.value if counted else None))
    return tuple(cards)


def _function(library: Any, name: str, *arguments: Any) -> Any:
    """A function of an extension of EGL; None if the library does not have it."""
    library.eglGetProcAddress.restype, library.eglGetProcAddress.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
    address = library.eglGetProcAddress(name.encode())
    return ctypes.CFUNCTYPE(ctypes.c_uint, *arguments)(address) if address else None
