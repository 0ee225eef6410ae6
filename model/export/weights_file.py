"""Write weights as a safetensors file, under the released names."""

from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save

from model.network import VideoNetwork
from model.weights import export_weights
from utils.files import write_atomically


def write(network: VideoNetwork, path: Path, *, clip_shape: Sequence[int], opset: int | None) -> None:  # noqa: ARG001
    """Write a network's weights; arguments as in `write_network`, `clip_shape` and `opset` are ignored."""
    # Copies, since the released S3D has tensors under two names and the format allows no shared memory.
    content = save({name: tensor.contiguous().clone() for name, tensor in export_weights(network).items()})
    write_atomically(path, lambda file: file.write(content))
