"""An exported folder: the network's file and a JSON file. This module imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from utils.config import RunConfig
from utils.config.load import load_sections
from utils.errors import UserError
from utils.files import file_sha256
from utils.sealed import read_sealed_json


@dataclass(frozen=True)
class Format:
    """A format of the network's file.

    Attributes:
        writer: "module:name" of the function that writes it, with the arguments of
            `model.export.programs.write_network`.
        program: "module:name" of the subclass of `model.export.programs.Program` that runs it; "" for weights.
        packages: Packages that reading it needs in addition to torch.
        to_write: Further packages that writing it needs.
    """

    writer: str
    program: str = ""
    packages: tuple[str, ...] = ()
    to_write: tuple[str, ...] = ()


# Formats by file suffix.
FORMATS = {
    "safetensors": Format("model.export.weights_file:write", packages=("safetensors",)),
    "pt2": Format("model.export.programs:write_torch", "model.export.programs:TorchProgram"),
    "onnx": Format(
        "model.export.onnx_program:write",
        "model.export.onnx_program:OnnxProgram",
        packages=("onnxruntime",),
        to_write=("onnx", "onnxscript"),
    ),
}
_SIDECAR = "*.json"


class ExportError(UserError):
    """A network that cannot be exported, or a folder that no export has written."""


@dataclass(frozen=True)
class Exported:
    """An exported network.

    Attributes:
        config: The record to evaluate it with; its network.eva_model is the network's file.
        class_names: Name of each class, by label.
    """

    config: RunConfig
    class_names: tuple[str, ...]


def require_packages(purpose: str, packages: Sequence[str]) -> None:
    """Check that packages are installed.

    Raises:
        ExportError: Some are not; the message says how to install them.
    """
    if missing := [package for package in packages if find_spec(package) is None]:
        raise ExportError(f"{purpose} needs {', '.join(missing)}: pip install {' '.join(missing)}")


def require_new(folder: Path) -> None:
    """Check that a folder contains no export; the remains of an interrupted one are overwritten.

    Raises:
        ExportError: The folder contains an export.
    """
    if found := sorted(folder.glob(_SIDECAR)):
        raise ExportError(f"{found[0]} is there already; choose another folder with --output")


def read_exported(folder: Path, overrides: Sequence[str] = ()) -> Exported:
    """Read an exported folder and verify the checksum of the network's file.

    Args:
        folder: Folder that `python -m model.export` has written.
        overrides: Words `section.key=value` that change how videos are sampled and cropped.

    Raises:
        ExportError, SealError: It is no such folder, or it is corrupt or was changed.
        ConfigError: An override is invalid.
    """
    found = sorted(folder.glob(_SIDECAR))
    if len(found) != 1:
        what = f"{len(found)} JSON files" if found else "no JSON file"
        raise ExportError(f"{folder}: found {what}; expected the one that python -m model.export writes")
    sidecar = read_sealed_json(found[0])
    if not {"record", "classes", "file", "file_sha256"} <= sidecar.keys():
        raise ExportError(f"{found[0]}: not written by python -m model.export")
    path = folder / sidecar["file"]
    if not path.is_file() or file_sha256(path) != sidecar["file_sha256"]:
        raise ExportError(f"{path}: {'corrupt or replaced' if path.is_file() else 'missing'}; export it again")
    sections = sidecar["record"] | {"network": sidecar["record"]["network"] | {"eva_model": str(path)}}
    return Exported(load_sections(sections, found[0], overrides), tuple(sidecar["classes"]))
