"""ONNX programs, run by onnxruntime."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor

from model.export.folder import ExportError
from model.export.programs import INPUT, Program, export_program
from model.network import VideoNetwork
from utils.files import write_atomically

_OUTPUT = "logits"


class OnnxProgram(Program):
    """A program from an ONNX file."""

    def __init__(self, path: Path) -> None:
        """Load the file."""
        super().__init__()
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.clip_shape = tuple(self.session.get_inputs()[0].shape[1:])

    def forward(self, clips: Tensor) -> tuple[Tensor, ...]:
        """Classify clips, [N, C, T, H, W] -> ([N, num_classes],)."""
        return (torch.from_numpy(self.session.run([_OUTPUT], {INPUT: clips.numpy()})[0]),)


def write(network: VideoNetwork, path: Path, *, clip_shape: Sequence[int], opset: int | None) -> int:
    """Write a network as an ONNX file; arguments as in `write_network`.

    Returns:
        The version of the operator set.

    Raises:
        ExportError: torch cannot write the network in version `opset`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", (DeprecationWarning, FutureWarning))  # of torch's own code
        written = torch.onnx.export(
            export_program(network, clip_shape),
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=[_OUTPUT],
            opset_version=opset,
        )
    assert written is not None
    found = written.model.opset_imports[""]
    if opset not in (None, found):
        raise ExportError(f"--opset {opset}: torch {torch.__version__} writes this network in opset {found}")
    content = written.model_proto.SerializeToString()
    write_atomically(path, lambda file: file.write(content))
    return found
