"""An exported folder as whoever uses it finds it: the network's file, and the JSON file beside it. No torch here."""

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
    """A kind of file; parts of it are "module:name".

    Attributes:
        writer: Writes it, as `model.export.programs.write_network`.
        program: Reads it, a `model.export.programs.Program` of its path; "" for weights of a network.
        packages: That it needs beside torch.
        to_write: That writing it needs beside these.
    """

    writer: str
    program: str = ""
    packages: tuple[str, ...] = ()
    to_write: tuple[str, ...] = ()


# By the suffix of the file.
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
    """A network that cannot be exported, or a folder that is not what an export has written."""


@dataclass(frozen=True)
class Exported:
    """An exported network.

    Attributes:
        config: The record that evaluates it; its network.eva_model is the network's file.
        class_names: Class i is called class_names[i].
    """

    config: RunConfig
    class_names: tuple[str, ...]


def require_packages(purpose: str, packages: Sequence[str]) -> None:
    """Refuse what needs packages that are not installed.

    Raises:
        ExportError: Names them and the way to get them.
    """
    if missing := [package for package in packages if find_spec(package) is None]:
        raise ExportError(f"{purpose} needs {', '.join(missing)}: pip install {' '.join(missing)}")


def require_new(folder: Path) -> None:
    """Refuse a folder that has an export already; what an interrupted one has left there is written anew.

    Raises:
        ExportError: Names it.
    """
    if found := sorted(folder.glob(_SIDECAR)):
        raise ExportError(f"{found[0]} is there already; choose another folder with --output")


def read_exported(folder: Path, overrides: Sequence[str] = ()) -> Exported:
    """Read an exported folder; its network is compared with its checksum.

    Args:
        folder: That `python -m model.export` wrote.
        overrides: `section.key=value` words that change how videos are looked at.

    Raises:
        ExportError, SealError: It is no such folder, or was damaged or changed.
        ConfigError: An override is wrong.
    """
    found = sorted(folder.glob(_SIDECAR))
    if len(found) != 1:
        what = f"{len(found)} JSON files" if found else "no JSON file"
        raise ExportError(f"{folder}: {what}, expected the one that python -m model.export writes")
    sidecar = read_sealed_json(found[0])
    if not {"record", "classes", "file", "file_sha256"} <= sidecar.keys():
        raise ExportError(f"{found[0]}: not written by python -m model.export")
    path = folder / sidecar["file"]
    if not path.is_file() or file_sha256(path) != sidecar["file_sha256"]:
        raise ExportError(f"{path}: {'damaged or exchanged' if path.is_file() else 'missing'}; export it again")
    sections = sidecar["record"] | {"network": sidecar["record"]["network"] | {"eva_model": str(path)}}
    return Exported(load_sections(sections, found[0], overrides), tuple(sidecar["classes"]))
