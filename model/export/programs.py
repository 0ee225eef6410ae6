"""Write networks in each format, and load the files as networks again."""

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
# Batch size of the example input: torch.export would treat a batch of 1 as constant.
_EXAMPLE_CLIPS = 2


class Fused(nn.Module):
    """Wraps a network to return the fused logits of its heads."""

    def __init__(self, network: VideoNetwork) -> None:
        """Wrap a network."""
        super().__init__()
        self.network = network

    def forward(self, clips: Tensor) -> Tensor:
        """Classify clips, [N, C, T, H, W] -> [N, num_classes]."""
        return self.network.fuse(self.network(clips))


class Program(nn.Module):
    """An exported program with the interface of a network; it runs on the CPU, in float32.

    Attributes:
        clip_shape: Shape of a clip, [C, T, H, W].
    """

    clip_shape: tuple[int, ...]

    def fuse(self, heads: tuple[Tensor, ...]) -> Tensor:
        """Return the logits, [N, num_classes], which the program has fused."""
        return heads[0]


class TorchProgram(Program):
    """A program from a file of torch.export."""

    def __init__(self, path: Path) -> None:
        """Load the file."""
        super().__init__()
        program = torch.export.load(path)
        (clips,) = (node for node in program.graph.nodes if node.name in program.graph_signature.user_inputs)
        self.clip_shape = tuple(clips.meta["val"].shape[1:])
        self.run = program.module().__call__  # not a submodule: it does not support eval()

    def forward(self, clips: Tensor) -> tuple[Tensor, ...]:
        """Classify clips, [N, C, T, H, W] -> ([N, num_classes],)."""
        return (self.run(clips),)


def export_program(network: VideoNetwork, clip_shape: Sequence[int]) -> torch.export.ExportedProgram:
    """Trace the forward pass and fusion of a network for batches of any size of clips of a shape, [C, T, H, W]."""
    example = torch.zeros(_EXAMPLE_CLIPS, *clip_shape)
    with torch.no_grad():
        return torch.export.export(
            Fused(network).eval(), (example,), dynamic_shapes={INPUT: {0: torch.export.Dim("batch")}}, strict=False
        )


def write_torch(network: VideoNetwork, path: Path, *, clip_shape: Sequence[int], opset: int | None) -> None:  # noqa: ARG001
    """Write a network as a file of torch.export; arguments as in `write_network`, `opset` is ignored."""
    program = export_program(network, clip_shape)
    write_atomically(path, lambda file: torch.export.save(program, file))


def write_network(network: VideoNetwork, path: Path, *, clip_shape: Sequence[int], opset: int | None) -> int | None:
    """Write a network in the format of the path's suffix.

    Args:
        network: The network, on the CPU, in evaluation mode.
        path: File to write; its suffix is one of `model.export.folder.FORMATS`.
        clip_shape: Shape of a program's clips, [C, T, H, W]; the batch size stays free.
        opset: Version of ONNX's operator set; None: torch's default.

    Returns:
        The version of ONNX's operator set; None for other formats.

    Raises:
        ExportError: torch cannot write this version.
        FileError: The file cannot be written.
    """
    write = find_part(FORMATS[path.suffix.removeprefix(".")].writer)
    version: int | None = write(network, path, clip_shape=clip_shape, opset=opset)
    return version


def is_program(path: Path) -> bool:
    """Return whether a file is a program, not weights of a network."""
    kind = FORMATS.get(path.suffix.removeprefix("."))
    return kind is not None and bool(kind.program)


def open_program(config: RunConfig, path: Path) -> Program:
    """Load a program and check that it accepts a record's clips.

    Raises:
        ExportError: It takes other clips, or a package that runs it is not installed.
    """
    kind = FORMATS[path.suffix.removeprefix(".")]
    require_packages(str(path), kind.packages)
    program: Program = find_part(kind.program)(path)
    if program.clip_shape != (wanted := clip_shape(config)):
        raise ExportError(
            f"{path}: made for clips of [channels, frames, height, width] = {list(program.clip_shape)}, not "
            f"{list(wanted)}; keep the clips as they are, or export as safetensors, which takes any"
        )
    return program


def clip_shape(config: RunConfig) -> tuple[int, int, int, int]:
    """Return the shape of a view in a record's final evaluation, [C, T, H, W]."""
    size, channels = config.dataset.eva_crop_size, len(config.dataset.mean)
    return channels, config.evaluation_state.num_frames, size, size


def open_network(config: RunConfig, path: Path) -> VideoNetwork | Program:
    """Load a file of any format, program or weights, as a network on the CPU in evaluation mode.

    Raises:
        ExportError: The program does not accept the record's clips.
        CheckpointError, WeightsError: The weights cannot be read, or do not match the network.
    """
    return open_program(config, path) if is_program(path) else make_trained_network(config, path).eval()


def load_exported(folder: str | Path) -> VideoNetwork | Program:
    """Load the network of an exported folder, on the CPU, in evaluation mode; `fuse` fuses the logits of its heads.

    Raises:
        UserError: It is no such folder, or it is corrupt or was changed.
    """
    config = read_exported(Path(folder)).config
    return open_network(config, config.eva_model)
