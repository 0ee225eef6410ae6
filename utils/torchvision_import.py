"""Import torchvision even if its compiled operators do not load, e.g. a CUDA build on a CPU-only torch.

Only the parts that need no compiled operators then work: networks and most transforms.
"""

import importlib
from types import ModuleType

import torch

# Operators for which torchvision registers an implementation at import, so that they must be declared.
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

# Declarations last as long as their library object.
_libraries: list[torch.library.Library] = []


def import_torchvision() -> ModuleType:
    """Import torchvision; if its operator nms does not exist, declare it and import again.

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
