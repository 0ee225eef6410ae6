"""The public files of weights that load into the networks here: those that the installed torchvision lists.

Address, size, license and published accuracy of each file are torchvision's metadata. The end of a file's name is the
beginning of its SHA-256; the rest is not published.
"""

import difflib
import fnmatch
import glob
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from utils.config.network_names import EFFICIENTNETS, RESNETS, TORCHVISION, TORCHVISION_VIDEO, VITS
from utils.errors import UserError
from utils.torchvision_import import import_torchvision

_HASH = re.compile(r"-([0-9a-f]{8,64})$")
# Networks without a counterpart in torchvision, whose largest EfficientNet is b7; 103 layers are of the paper's code.
_NOT_IN_TORCHVISION = ("resnet103", "eftnet_b8")

COLUMNS: tuple[str, ...] = ("file", "network", "trained on", "top-1", "MB", "license")


class PublicWeightsError(UserError):
    """No public file, or more than one, has this name."""


@dataclass(frozen=True)
class PublicFile:
    """A public file of weights.

    Attributes:
        url: Address of the file.
        net_name: Network whose weights it contains, including the classifier.
        data_set: Data set that it was last trained on.
        top1: Published accuracy, percent; None if the installed torchvision does not list the file.
        megabytes: Size of the file, in units of 2**20 bytes; None likewise.
        license: Address of the file's own license, "" if it has none.
    """

    url: str
    net_name: str
    data_set: str
    top1: float | None = None
    megabytes: float | None = None
    license: str = ""

    @property
    def file_name(self) -> str:
        """The last part of the address."""
        return self.url.rpartition("/")[2]

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return self.file_name.rpartition(".")[0]

    @property
    def short_name(self) -> str:
        """The name without the digits of the checksum; several files may share it."""
        return _HASH.sub("", self.name)

    @property
    def sha256_prefix(self) -> str:
        """The first hexadecimal digits of the file's SHA-256."""
        found = _HASH.search(self.name)
        assert found, self.name
        return found[1]


# torchvision's ResNet-50 as published up to torchvision 0.8, which the paper's code and its records use. The installed
# torchvision lists later files only, so that accuracy and size are unknown.
_EARLIER_FILES = (PublicFile("https://download.pytorch.org/models/resnet50-19c8e357.pth", "resnet50", "ImageNet-1K"),)


def list_public_files() -> list[PublicFile]:
    """Return all public files; networks are in the order of the table of names."""
    builders = [(name, name) for name in RESNETS]
    builders += [(name, f"efficientnet_{name.removeprefix('eftnet_')}") for name in EFFICIENTNETS]
    builders += [(name, name.replace("_p", "_")) for name in VITS if name[4] in "bl"]
    builders += [(f"{TORCHVISION}/{name}", name) for name in TORCHVISION_VIDEO]
    models = import_torchvision().models
    found = [
        _describe(net_name, weights)
        for net_name, builder in builders
        if net_name not in _NOT_IN_TORCHVISION
        for weights in models.get_model_weights(builder)
    ]
    return [*_EARLIER_FILES, *found]


def _describe(net_name: str, weights: Any) -> PublicFile:
    """Return the file of an entry of torchvision's enumerations of weights."""
    ((data_set, metrics),) = weights.meta["_metrics"].items()
    license = weights.meta.get("license", "")
    return PublicFile(weights.url, net_name, data_set, metrics["acc@1"], weights.meta["_file_size"], license)


def match_public_files(pattern: str) -> list[PublicFile]:
    """Return the files whose name or network matches a pattern of shell wildcards.

    Raises:
        PublicWeightsError: No file matches.
    """
    files = list_public_files()
    found = [file for file in files if fnmatch.filter((file.name, file.short_name, file.net_name), pattern)]
    if found:
        return found
    known = {name for file in files for name in (file.name, file.short_name, file.net_name)}
    near = difflib.get_close_matches(pattern, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise PublicWeightsError(f"no public file is called {pattern!r}; {hint}python -m model.weights list lists all")


def find_public_file(name: str) -> PublicFile:
    """Return a file by its name, with or without folder, suffix and checksum, or by its network.

    Raises:
        PublicWeightsError: No file has this name, or several have.
    """
    bare = name.rpartition("/")[2].removesuffix(".pth") if name.endswith(".pth") else name
    found = match_public_files(glob.escape(bare))
    if len(found) > 1:
        choice = ", ".join(f"{file.name} ({_number(file.top1)})" for file in found)
        raise PublicWeightsError(f"{name}: found {len(found)} files; choose one (published top-1): {choice}")
    return found[0]


def rows(files: Sequence[PublicFile]) -> Iterator[tuple[str, ...]]:
    """Yield the row of each file, in the order of COLUMNS."""
    for file in files:
        size = _number(file.megabytes, digits=0)
        yield file.name, file.net_name, file.data_set, _number(file.top1), size, file.license or "-"


def _number(value: float | None, *, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
