"""Lets `import torchvision` succeed beside a torch without CUDA. Call `declare_missing()` before anything that imports it.

open_clip, timm and transformers import torchvision. Package registries carry only its CUDA build, whose compiled library
cannot load into a CPU build of torch; importing it then ends with "operator torchvision::nms does not exist", because it
registers shape rules for two operators that the library would have brought. Their schemas are all that the import needs:
nothing here ever calls them, and a call would fail with torch's own message.
"""

import importlib.machinery
import importlib.util

import torch

_declared: list[torch.library.Library] = []  # a declaration lives as long as its Library object


def declare_missing() -> None:
    """Declare torchvision's `nms` and `qnms` where this torch has no CUDA and the real operators cannot be loaded."""
    if _declared or torch.version.cuda is not None or _loads():
        return
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)


def _loads() -> bool:
    """Whether torchvision's compiled library loads here: true for a CPU build of torchvision."""
    package = importlib.util.find_spec("torchvision")
    compiled = package and importlib.machinery.PathFinder.find_spec("_C", package.submodule_search_locations)
    if not compiled or not compiled.origin:
        return False
    try:
        torch.ops.load_library(compiled.origin)
    except OSError:  # built against a torch with CUDA
        return False
    return True
