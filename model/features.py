"""What a network's classifiers see of a clip: the vector that describes it, before it is classified."""

import threading

import torch
from torch import Tensor, nn

from model.network import VideoNetwork


class WithFeatures(nn.Module):
    """A network whose scores have its features behind them; several threads may call it.

    The features are the inputs of the classifiers, one behind the other where there are several heads, as float32.
    Where a classifier is applied to every frame or place of a clip, they are the mean over these.
    """

    def __init__(self, network: VideoNetwork) -> None:
        """Wrap a network; its classifiers are listened to, nothing else of it changes."""
        super().__init__()
        self.network = network
        self._own = threading.local()
        for name in network.classifier_names:
            network.get_submodule(name).register_forward_pre_hook(self._keep)

    def _keep(self, _classifier: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._own.inputs.append(inputs[0])

    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Return the network's score, [N, num_classes], and the features, [N, features], of clips [N, C, T, H, W]."""
        self._own.inputs = []
        scores = self.network.fuse(self.network(clips))
        return scores, torch.cat([_pool(one, len(clips)) for one in self._own.inputs], dim=1)

    def fuse(self, heads: tuple[Tensor, Tensor]) -> Tensor:
        """Return scores and features side by side, [N, num_classes + features]."""
        return torch.cat([head.float() for head in heads], dim=1)


def _pool(inputs: Tensor, num_clips: int) -> Tensor:
    """Return a classifier's inputs as one vector a clip, [N, channels]; they are [N * pieces, channels, *places]."""
    vectors = inputs.float().flatten(2).mean(2) if inputs.ndim > 2 else inputs.float()
    return vectors.unflatten(0, (num_clips, -1)).mean(1)
