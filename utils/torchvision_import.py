"""Import torchvision also where its compiled operators do not load, as a CUDA build does not on a CPU-only torch.

Only parts of torchvision that need none of its compiled operators can be used then: networks and most transforms.
"""

import importlib
from types import ModuleType

import torch

# Operators that torchvision gives a second implementation while it is imported, so that they must be declared.
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

# A library's declarations last as long as the object.
_libraries: list[torch.library.Library] = []


def import_torchvision() -> ModuleType:
    """Import torchvision; where that fails for want of its operator nms, declare the operator and import again.

    Raises:
        ImportError: torchvision is not installed.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::nms does not exist" not in str(error):
            raise
    library = torch.library.Library("torchvision", "DEF")
    for schema in _SCHEMAS:
        library.define(schema)
    _libraries.append(library)
    return importlib.import_module("torchvision")
