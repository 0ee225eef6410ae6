"""Networks as files of each format, and such files as networks again."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from model.build import make_trained_network
from model.export.folder import FORMATS, ExportError, read_exported, require_packages
from model.network import VideoNetwork
from utils.config import RunConfig
from utils.files import write_atomically
from utils.parts import find_part

INPUT = "clips"
# A program is followed with two clips: with one, "any number" would be taken for "one".
_EXAMPLE_CLIPS = 2


class Fused(nn.Module):
    """A network with one answer, [N, num_classes]: the logits of its heads, joined."""

    def __init__(self, network: VideoNetwork) -> None:
        """Wrap a network."""
        super().__init__()
        self.network = network

    def forward(self, clips: Tensor) -> Tensor:
        """Classify clips, [N, C, T, H, W] -> [N, num_classes]."""
        return self.network.fuse(self.network(clips))


class Program(nn.Module):
    """An exported program in the place of a network; it runs on the CPU, in float32.

    Attributes:
        clip_shape: Of its clips, [C, T, H, W].
    """

    clip_shape: tuple[int, ...]

    def fuse(self, heads: tuple[Tensor, ...]) -> Tensor:
        """Return the one head, [N, num_classes]: the program has joined them."""
        return heads[0]


class TorchProgram(Program):
    """A file of torch.export."""

    def __init__(self, path: Path) -> None:
        """Read the file."""
        super().__init__()
        program = torch.export.load(path)
        (clips,) = (node for node in program.graph.nodes if node.name in program.graph_signature.user_inputs)
        self.clip_shape = tuple(clips.meta["val"].shape[1:])
        self.run = program.module().__call__  # no part of this module: it refuses to be set to evaluation again

    def forward(self, clips: Tensor) -> tuple[Tensor, ...]:
        """Classify clips, [N, C, T, H, W] -> ([N, num_classes],)."""
        return (self.run(clips),)


def export_program(network: VideoNetwork, clip_shape: Sequence[int]) -> torch.export.ExportedProgram:
    """Return the operations of a network's forward pass over any number of clips of a shape, [C, T, H, W]."""
    example = torch.zeros(_EXAMPLE_CLIPS, *clip_shape)
    with torch.no_grad():
        return torch.export.export(
            Fused(network).eval(), (example,), dynamic_shapes={INPUT: {0: torch.export.Dim("batch")}}, strict=False
        )


def write_torch(network: VideoNetwork, path: Path, *, clip_shape: Sequence[int], opset: int | None) -> None:  # noqa: ARG001
    """Write a network as a file of torch.export, which has no versions of operators."""
    program = export_program(network, clip_shape)
    write_atomically(path, lambda file: torch.export.save(program, file))


def write_network(network: VideoNetwork, path: Path, *, clip_shape: Sequence[int], opset: int | None) -> int | None:
    """Write a network in the format that a path's suffix says.

    Args:
        network: On the CPU, in evaluation mode.
        path: A file of one of `model.export.folder.FORMATS`.
        clip_shape: Of a program's clips, [C, T, H, W]; their number stays free.
        opset: The version of ONNX's operators; None: torch's choice.

    Returns:
        The version that was written; None for other formats.

    Raises:
        ExportError: torch does not write this version.
        FileError: The file cannot be written.
    """
    write = find_part(FORMATS[path.suffix.removeprefix(".")].writer)
    version: int | None = write(network, path, clip_shape=clip_shape, opset=opset)
    return version


def is_program(path: Path) -> bool:
    """Return whether a file is run as it is, and not as weights of a network."""
    kind = FORMATS.get(path.suffix.removeprefix("."))
    return kind is not None and bool(kind.program)


def open_program(config: RunConfig, path: Path) -> Program:
    """Return a program that takes a record's clips.

    Raises:
        ExportError: It takes others, or what runs it is not installed.
    """
    kind = FORMATS[path.suffix.removeprefix(".")]
    require_packages(str(path), kind.packages)
    program: Program = find_part(kind.program)(path)
    if program.clip_shape != (wanted := clip_shape(config)):
        raise ExportError(
            f"{path}: made for clips of [channels, frames, height, width] = {list(program.clip_shape)}, not of "
            f"{list(wanted)}; leave the clips as they are, or export as safetensors, which takes any"
        )
    return program


def clip_shape(config: RunConfig) -> tuple[int, int, int, int]:
    """Return what a record's final evaluation gives the network of one view, [C, T, H, W]."""
    size, channels = config.dataset.eva_crop_size, len(config.dataset.mean)
    return channels, config.evaluation_state.num_frames, size, size


def open_network(config: RunConfig, path: Path) -> VideoNetwork | Program:
    """Return the network that a file of any format is or has the weights of, on the CPU, in evaluation mode.

    Raises:
        ExportError: The file's clips are not the record's.
        CheckpointError, WeightsError: The weights cannot be read, or are another network's.
    """
    return open_program(config, path) if is_program(path) else make_trained_network(config, path).eval()


def load_exported(folder: str | Path) -> VideoNetwork | Program:
    """Return the network of an exported folder, on the CPU, in evaluation mode; `fuse` joins its heads.

    Raises:
        UserError: It is no such folder, or was damaged or changed.
    """
    config = read_exported(Path(folder)).config
    return open_network(config, config.eva_model)
