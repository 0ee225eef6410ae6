"""Video networks: `create_model`, `list_models`, `load_weights`, `inflate`, `export_weights`.

Names are imported when first used (PEP 562), so that importing the package does not import torch.
"""

from typing import TYPE_CHECKING, Any

from utils.parts import find_part

if TYPE_CHECKING:
    from model.network import VideoNetwork as VideoNetwork
    from model.registry import create_model as create_model
    from model.weights import WeightsError as WeightsError
    from model.weights import export_weights as export_weights
    from model.weights import inflate as inflate
    from model.weights import load_weights as load_weights
    from model.weights import without_classifiers as without_classifiers
    from utils.config.network_names import list_names as list_models  # noqa: F401 - in `__all__`

_LOCATIONS = {
    "VideoNetwork": "model.network:VideoNetwork",
    "WeightsError": "model.weights:WeightsError",
    "create_model": "model.registry:create_model",
    "export_weights": "model.weights:export_weights",
    "inflate": "model.weights:inflate",
    "list_models": "utils.config.network_names:list_names",
    "load_weights": "model.weights:load_weights",
    "without_classifiers": "model.weights:without_classifiers",
}

__all__ = list(_LOCATIONS)


def __getattr__(name: str) -> Any:
    """Import the object called `name`."""
    if name not in _LOCATIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return find_part(_LOCATIONS[name])
