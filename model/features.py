"""Features of clips: the vectors that a network's classifiers take."""

import threading

import torch
from torch import Tensor, nn

from model.network import VideoNetwork


class WithFeatures(nn.Module):
    """Wraps a network to return features along with scores; several threads may call it.

    The features are the inputs of the classifiers, float32, concatenated over heads. If a classifier is applied to each
    frame or position of a clip, its inputs are averaged over them.
    """

    def __init__(self, network: VideoNetwork) -> None:
        """Wrap a network; forward pre-hooks on its classifiers record their inputs."""
        super().__init__()
        self.network = network
        self._thread = threading.local()
        for name in network.classifier_names:
            network.get_submodule(name).register_forward_pre_hook(self._record)

    def _record(self, _classifier: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._thread.inputs.append(inputs[0])

    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Return the fused scores, [N, num_classes], and the features, [N, features], of clips [N, C, T, H, W]."""
        self._thread.inputs = []
        scores = self.network.fuse(self.network(clips))
        return scores, torch.cat([_pool(inputs, len(clips)) for inputs in self._thread.inputs], dim=1)

    def fuse(self, heads: tuple[Tensor, Tensor]) -> Tensor:
        """Concatenate scores and features, [N, num_classes + features]."""
        return torch.cat([head.float() for head in heads], dim=1)


def _pool(inputs: Tensor, num_clips: int) -> Tensor:
    """Average a classifier's inputs, [N * pieces, channels, *positions], to one vector per clip, [N, channels]."""
    vectors = inputs.float().flatten(2).mean(2) if inputs.ndim > 2 else inputs.float()
    return vectors.unflatten(0, (num_clips, -1)).mean(1)
