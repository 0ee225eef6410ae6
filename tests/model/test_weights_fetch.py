"""Public files of weights: the table is that of the installed torchvision, its files load, downloads are verified."""

import hashlib
import http.server
import re
import shlex
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import model
from model.public_weights import (
    PublicFile,
    PublicWeightsError,
    find_public_file,
    list_public_files,
    match_public_files,
)
from model.weights_command import format_table
from model.weights_fetch import FetchError, fetch
from tests import forked
from tests.conftest import ROOT
from tests.networks import skip_initialization
from utils.config.network_names import list_names
from utils.files import FileError
from utils.torchvision_import import import_torchvision

CONTENT = bytes(range(256)) * 5000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT under every name, as the attributes of its server say."""

    server: "Server"

    def do_GET(self) -> None:
        requested = self.headers["Range"] or ""
        self.server.requests.append(requested)
        first = int(requested.removeprefix("bytes=").removesuffix("-") or 0) if self.server.has_ranges else 0
        if "gone" in self.path:
            return self.send_error(404, "Not here")
        if first >= len(CONTENT):
            return self.send_error(416)
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - first))
        self.end_headers()
        self.wfile.write(CONTENT[first : self.server.stops_at])
        return None

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class Server(http.server.ThreadingHTTPServer):
    """A server on the loopback interface.

    Attributes:
        requests: The requested ranges.
        has_ranges: Whether it supports ranges.
        stops_at: Number of bytes after which the connection is closed.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[str] = []
        self.has_ranges = True
        self.stops_at = len(CONTENT)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/models"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def get(server: Server, path: Path, *, prefix: str = SHA256[:8]) -> str:
    return fetch(f"{server.url}/{path.name}", path, sha256_prefix=prefix)


def test_a_file_is_downloaded_once(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "folder/file.pth"
    assert get(server, path) == get(server, path) == SHA256
    assert path.read_bytes() == CONTENT and server.requests == [""]
    assert [file.name for file in path.parent.iterdir()] == ["file.pth"]
    path.write_bytes(b"other")
    with pytest.raises(FetchError, match=rf"file.pth has a SHA-256 that .*, not with {SHA256[:8]}; move it away"):
        get(server, path)
    assert path.read_bytes() == b"other"


@pytest.mark.parametrize("has_ranges", [True, False])
def test_a_download_that_was_interrupted_is_resumed(server: Server, tmp_path: Path, has_ranges: bool) -> None:
    path, server.stops_at, server.has_ranges = tmp_path / "file.pth", 700_000, has_ranges
    with pytest.raises(
        FetchError, match=r"connection closed after 700,000 of 1,280,000 bytes; the same command resumes it"
    ):
        get(server, path)
    assert not path.exists() and (tmp_path / "file.pth.part").read_bytes() == CONTENT[:700_000]
    server.stops_at = len(CONTENT)
    assert get(server, path) == SHA256
    assert path.read_bytes() == CONTENT and server.requests == ["", "bytes=700000-"]


def test_a_complete_partial_file_is_verified_and_a_wrong_one_removed(server: Server, tmp_path: Path) -> None:
    path, part = tmp_path / "file.pth", tmp_path / "file.pth.part"
    part.write_bytes(CONTENT)  # stopped before it was renamed
    assert get(server, path) == SHA256 and path.read_bytes() == CONTENT
    path.unlink()
    part.write_bytes(b"x" * 1000)  # of another file
    with pytest.raises(FetchError, match="not the published file; removed"):
        get(server, path)
    assert not part.exists() and get(server, path) == SHA256
    path.unlink()
    with pytest.raises(FetchError, match="begins with .*, not with 00000000: not the published file; removed"):
        get(server, path, prefix="00000000")
    assert list(tmp_path.iterdir()) == []


def test_errors_are_one_line(server: Server, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"gone\.pth: the server answers 404 Not here"):
        get(server, tmp_path / "gone.pth")
    with pytest.raises(FetchError, match="expected an address that begins with http"):
        fetch("file:///etc/passwd", tmp_path / "file.pth", sha256_prefix="")
    with pytest.raises(FetchError, match=r"cannot be reached \(.*refused\); a mirror is named with --mirror"):
        fetch("http://127.0.0.1:1/file.pth", tmp_path / "file.pth", sha256_prefix="")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot be written"):
        get(server, tmp_path / "file/file.pth")


def test_the_command_verifies_the_file_of_a_mirror(server: Server, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "model.weights", "fetch", "r3d_18", "--mirror", server.url]
    command += ["--output", str(tmp_path)]
    done = forked.run(command)
    assert done.returncode == 2 and done.stderr.splitlines()[-1] == (
        f"error: {server.url}/r3d_18-b3b3357e.pth has a SHA-256 that begins with {SHA256[:8]}, "
        "not with b3b3357e: not the published file; removed"
    )
    assert list(tmp_path.iterdir()) == [] and server.requests == [""]


FILES = list_public_files()
MODELS = import_torchvision().models
# torchvision's list: for each address, its weights and the name of the network's builder.
LISTED = {entry.url: (entry, name) for name in MODELS.list_models() for entry in MODELS.get_model_weights(name)}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_public_file_fits_its_network(file: PublicFile) -> None:
    """Load an uninitialized state dict of torchvision's network into ours, with the file's classes and image size."""
    weights, builder = LISTED.get(file.url, (None, file.net_name))
    classes = 1000 if file.data_set == "ImageNet-1K" else 400
    options = {"image_size": weights.meta["min_size"][0]} if builder.startswith("vit") else {}
    with torch.device("meta"), skip_initialization():
        theirs = MODELS.get_model(builder, weights=None, num_classes=classes, **options)
        ours = model.create_model(file.net_name, num_classes=classes, **options)
    model.load_weights(ours, theirs.state_dict())
    assert file.net_name in list_names() and file.url.startswith("https://")
    assert len(file.sha256_prefix) == 8 and file.file_name == f"{file.short_name}-{file.sha256_prefix}.pth"


def test_metadata_are_those_of_torchvision() -> None:
    swin = find_public_file("swin3d_b_22k")
    weights = MODELS.get_weight("Swin3D_B_Weights.KINETICS400_IMAGENET22K_V1")
    assert (swin.url, swin.top1, swin.megabytes) == (weights.url, 81.643, weights.meta["_file_size"])
    assert find_public_file("vit_b_16_swag").license.endswith("SWAG/blob/main/LICENSE")
    earlier = find_public_file("pretrained_weights/resnet50-19c8e357.pth")  # as in records
    assert (earlier.net_name, earlier.top1, earlier.sha256_prefix) == ("resnet50", None, "19c8e357")
    assert len({file.name for file in FILES}) == len(FILES)
    assert {file.net_name for file in FILES} >= {name for name in list_names() if name.startswith("torchvision/")}


def test_names() -> None:
    assert (
        find_public_file("torchvision/r3d_18") == find_public_file("r3d_18-b3b3357e.pth") == find_public_file("r3d_18")
    )
    with pytest.raises(PublicWeightsError, match=r"resnet50: found \d files; choose one .*resnet50-11ad3fa6 \(80.9\)"):
        find_public_file("resnet50")
    with pytest.raises(PublicWeightsError, match=r"no public file is called 'r3d_l8'; did you mean .*r3d_18"):
        find_public_file("r3d_l8")
    with pytest.raises(PublicWeightsError, match="no public file"):
        find_public_file("r3d_*")
    assert [file.net_name for file in match_public_files("swin3d_[ts]*")] == [
        "torchvision/swin3d_t",
        "torchvision/swin3d_s",
    ]


def test_the_page_has_the_table() -> None:
    """Print it with: python -m model.weights list --markdown."""
    assert format_table("*", markdown=True) in (ROOT / "docs/weights.md").read_text()


def test_the_commands_of_the_page() -> None:
    """They name existing files; the example fetches to the path in its comment and in the record below it."""
    (block,) = re.findall(r"```bash\n(.*?)```", (ROOT / "docs/weights.md").read_text(), re.DOTALL)
    for line in block.splitlines():
        command, name = shlex.split(line, comments=True)[3], "".join(shlex.split(line, comments=True)[4:]) or "*"
        if command == "list":
            assert format_table(name, markdown=False).count("\n")
        else:
            assert command == "fetch" and line.endswith(f"# to pretrained_weights/{find_public_file(name).file_name}")


def test_records_name_public_files_or_those_that_the_page_explains() -> None:
    page = (ROOT / "docs/weights.md").read_text()
    lines = [line for path in ROOT.glob("record/*.yml") for line in path.read_text().splitlines()]
    named = {line.split('"')[1].rpartition("/")[2] for line in lines if "pretrained_model" in line}
    private = {name for name in named if name not in {file.file_name for file in FILES}}
    assert private == {"op-kinetics-dg-p3d-resnet50-1e890a22.pth"} and all(name in page for name in private)
