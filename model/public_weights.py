"""The public files of weights that load into the networks here: torchvision's, as the installed torchvision lists them.

Address, size, licence and published accuracy are torchvision's own words of each file. The end of a file's name is the
beginning of its SHA-256, which is all that is published of it.
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
# Where torchvision has no network of ours: its largest EfficientNet is b7, and 103 layers are of the paper's code.
_ABSENT = ("resnet103", "eftnet_b8")

COLUMNS: tuple[str, ...] = ("file", "network", "trained on", "top-1", "MB", "licence")


class PublicWeightsError(UserError):
    """No public file, or more than one, has this name."""


@dataclass(frozen=True)
class PublicFile:
    """A public file of weights.

    Attributes:
        url: Where it is.
        net_name: The network whose weights it holds, those of its classifier too.
        data_set: What it was trained on last.
        top1: Accuracy as published, percent; None where the installed torchvision does not list the file.
        megabytes: Its size, in units of 2**20 bytes; None likewise.
        licence: The address of its own licence, "" where it has none of its own.
    """

    url: str
    net_name: str
    data_set: str
    top1: float | None = None
    megabytes: float | None = None
    licence: str = ""

    @property
    def file_name(self) -> str:
        """The file's name, its address's last part."""
        return self.url.rpartition("/")[2]

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return self.file_name.rpartition(".")[0]

    @property
    def short_name(self) -> str:
        """The name without the digits of the checksum; several files may have the same."""
        return _HASH.sub("", self.name)

    @property
    def sha256_prefix(self) -> str:
        """The first hexadecimal digits of the file's SHA-256."""
        found = _HASH.search(self.name)
        assert found, self.name
        return found[1]


# Under this name the paper's code and its records know torchvision's ResNet-50, as it was published up to torchvision
# 0.8; the installed torchvision lists the later file only, so that nothing else is known of this one.
_EARLIER = (PublicFile("https://download.pytorch.org/models/resnet50-19c8e357.pth", "resnet50", "ImageNet-1K"),)


def list_public_files() -> list[PublicFile]:
    """Return all public files, networks in the order of their names' table."""
    builders = [(name, name) for name in RESNETS]
    builders += [(name, f"efficientnet_{name.removeprefix('eftnet_')}") for name in EFFICIENTNETS]
    builders += [(name, name.replace("_p", "_")) for name in VITS if name[4] in "bl"]
    builders += [(f"{TORCHVISION}/{name}", name) for name in TORCHVISION_VIDEO]
    models = import_torchvision().models
    found = [
        _describe(net_name, weights)
        for net_name, builder in builders
        if net_name not in _ABSENT
        for weights in models.get_model_weights(builder)
    ]
    return [*_EARLIER, *found]


def _describe(net_name: str, weights: Any) -> PublicFile:
    """Read what torchvision says of one of its files."""
    ((data_set, metrics),) = weights.meta["_metrics"].items()
    licence = weights.meta.get("license", "")
    return PublicFile(weights.url, net_name, data_set, metrics["acc@1"], weights.meta["_file_size"], licence)


def match_public_files(pattern: str) -> list[PublicFile]:
    """Return the files whose name or network matches a pattern of shell wildcards.

    Raises:
        PublicWeightsError: None does.
    """
    files = list_public_files()
    found = [file for file in files if fnmatch.filter((file.name, file.short_name, file.net_name), pattern)]
    if found:
        return found
    known = {name for file in files for name in (file.name, file.short_name, file.net_name)}
    near = difflib.get_close_matches(pattern, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise PublicWeightsError(f"no public file is called {pattern!r}; {hint}python -m model.weights list names them all")


def find_public_file(name: str) -> PublicFile:
    """Return a file by its name, with or without folder, suffix and checksum.

    Raises:
        PublicWeightsError: No file is called so, or several are.
    """
    bare = name.rpartition("/")[2].removesuffix(".pth") if name.endswith(".pth") else name
    found = match_public_files(glob.escape(bare))
    if len(found) > 1:
        choice = ", ".join(f"{file.name} ({_number(file.top1)})" for file in found)
        raise PublicWeightsError(f"{name}: there are several, choose one (top-1 as published): {choice}")
    return found[0]


def rows(files: Sequence[PublicFile]) -> Iterator[tuple[str, ...]]:
    """Yield a file's row of a table, in the order of COLUMNS."""
    for file in files:
        size = _number(file.megabytes, digits=0)
        yield file.name, file.net_name, file.data_set, _number(file.top1), size, file.licence or "-"


def _number(value: float | None, *, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
