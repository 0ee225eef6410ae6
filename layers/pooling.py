"""Global pooling: from a feature map to one vector."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor


def average(features: Tensor) -> Tensor:
    """Mean over time and space: [N, C, T, H, W] or [N, C, H, W] -> [N, C]."""
    return features.mean(dim=tuple(range(2, features.dim())))


def maximum(features: Tensor) -> Tensor:
    """Maximum over time and space: [N, C, T, H, W] or [N, C, H, W] -> [N, C]."""
    pool = F.adaptive_max_pool3d if features.dim() == 5 else F.adaptive_max_pool2d
    return pool(features, 1).flatten(1)


# The keys are utils.config.network_names.POOLING_NAMES, which configurations are checked against.
POOLINGS: dict[str, Callable[[Tensor], Tensor]] = {"PoolingAverage": average, "PoolingMax": maximum}
