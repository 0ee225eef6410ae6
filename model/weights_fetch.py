"""Download a public file of weights; it gets its name only once its checksum is right.

Only the command `python -m model.weights fetch` uses this module; nothing else in this project uses a network.
"""

import http.client
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from utils.errors import UserError
from utils.files import FileError, describe_refusal, file_sha256

_BLOCK = 1 << 20
_TIMEOUT = 30.0  # seconds without data
_RANGE_NOT_SATISFIABLE = 416  # HTTP status: the range begins at the end of the file


class FetchError(UserError):
    """A file that cannot be downloaded or is not the published one."""


def fetch(url: str, path: Path, *, sha256_prefix: str) -> str:
    """Download a file; a partial download in PATH.part is resumed (HTTP Range).

    Args:
        url: Address of the file, http or https.
        path: Where to write it. An existing file is compared and kept.
        sha256_prefix: The first hexadecimal digits of the file's SHA-256.

    Returns:
        The whole SHA-256, hexadecimal.

    Raises:
        FetchError: The server or the network fails, or the file is not the published one; a download is then removed.
        FileError: The file cannot be written.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise FetchError(f"{url}: expected an address that begins with http:// or https://")
    if path.exists():
        found = file_sha256(path)
        if not found.startswith(sha256_prefix):
            raise FetchError(f"{path} {_describe_other(found, sha256_prefix)}; move it away to download it again")
        return found
    part = path.with_name(f"{path.name}.part")
    with _disk_errors(part):
        part.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
    _download(url, part)
    found = file_sha256(part)
    with _disk_errors(part):
        if not found.startswith(sha256_prefix):
            part.unlink()
            raise FetchError(f"{url} {_describe_other(found, sha256_prefix)}: not the published file; removed")
        part.replace(path)
    return found


def _describe_other(found: str, wanted: str) -> str:
    return f"has a SHA-256 that begins with {found[: len(wanted)]}, not with {wanted}"


def _download(url: str, part: Path) -> None:
    """Append the rest of a file to `part`; a response that does not continue it replaces it."""
    done = part.stat().st_size
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    with _network_errors(url):
        try:
            response = urllib.request.urlopen(request, timeout=_TIMEOUT)
        except urllib.error.HTTPError as error:
            if error.code == _RANGE_NOT_SATISFIABLE and done:
                return  # the file is complete; the caller compares its checksum
            raise
    with response:
        if not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            done = 0
        length = response.headers.get("Content-Length", "")
        total = done + int(length) if length.isdecimal() else None
        progress = tqdm(total=total, initial=done, unit="B", unit_scale=True, desc=part.stem, leave=False)
        with progress, _disk_errors(part), part.open("r+b") as file:
            file.truncate(done)
            file.seek(done)
            while block := _read(response, url):
                file.write(block)
                progress.update(len(block))
            done = file.tell()
    if total is not None and done < total:
        raise FetchError(f"{url}: connection closed after {done:,} of {total:,} bytes; the same command resumes it")


def _read(response: http.client.HTTPResponse, url: str) -> bytes:
    with _network_errors(url):
        return response.read1(_BLOCK)


@contextmanager
def _network_errors(url: str) -> Iterator[None]:
    """Turn errors of the network or the server into a FetchError of one line."""
    try:
        yield
    except urllib.error.HTTPError as error:
        raise FetchError(f"{url}: the server answers {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise FetchError(f"{url}: cannot be reached ({error.reason}); a mirror is named with --mirror") from None
    except (OSError, http.client.HTTPException) as error:
        reason = str(error) or type(error).__name__
        raise FetchError(f"{url}: connection closed ({reason}); the same command resumes it") from None


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """Turn errors of the disk into a FileError of one line."""
    try:
        yield
    except OSError as error:
        raise FileError(describe_refusal(path, error)) from error
