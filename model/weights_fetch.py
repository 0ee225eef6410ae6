"""Download a public file of weights: what is there already is kept, and nothing is used before its checksum is right.

Only the command `python -m model.weights fetch` comes here; nothing else of this project uses a network.
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
_TIMEOUT = 30.0  # seconds without a byte
_RANGE_ENDED = 416  # there is nothing behind the bytes that are here


class FetchError(UserError):
    """A file that cannot be downloaded, or is not the one that was published."""


def fetch(url: str, path: Path, *, sha256_prefix: str) -> str:
    """Download a file; what an earlier call left of it in PATH.part is gone on with (HTTP Range).

    Args:
        url: Where it is, http or https.
        path: Where it will be. A file that is there is compared and kept.
        sha256_prefix: The first hexadecimal digits of its SHA-256.

    Returns:
        The whole SHA-256, hexadecimal.

    Raises:
        FetchError: The server or the network refuses; or the file is another one, which is then removed.
        FileError: It cannot be written.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise FetchError(f"{url}: expected an address that begins with http:// or https://")
    if path.exists():
        found = file_sha256(path)
        if not found.startswith(sha256_prefix):
            raise FetchError(f"{path} {_describe_other(found, sha256_prefix)}; move it away to download it anew")
        return found
    part = path.with_name(f"{path.name}.part")
    with _writing(part):
        part.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
    _download(url, part)
    found = file_sha256(part)
    with _writing(part):
        if not found.startswith(sha256_prefix):
            part.unlink()
            raise FetchError(f"{url} {_describe_other(found, sha256_prefix)}: not the published file; removed")
        part.replace(path)
    return found


def _describe_other(found: str, wanted: str) -> str:
    return f"has a SHA-256 that begins with {found[: len(wanted)]}, not with {wanted}"


def _download(url: str, part: Path) -> None:
    """Append to a file what it lacks; an answer that is not what lies behind its end replaces it."""
    done = part.stat().st_size
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    with _reading(url):
        try:
            answer = urllib.request.urlopen(request, timeout=_TIMEOUT)
        except urllib.error.HTTPError as error:
            if error.code == _RANGE_ENDED and done:
                return  # all of it is here; the checksum says whether it is right
            raise
    with answer:
        if not answer.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            done = 0
        length = answer.headers.get("Content-Length", "")
        total = done + int(length) if length.isdecimal() else None
        progress = tqdm(total=total, initial=done, unit="B", unit_scale=True, desc=part.stem, leave=False)
        with progress, _writing(part), part.open("r+b") as file:
            file.truncate(done)
            file.seek(done)
            while block := _read(answer, url):
                file.write(block)
                progress.update(len(block))
            done = file.tell()
    if total is not None and done < total:
        raise FetchError(f"{url}: broke off after {done:,} of {total:,} bytes; the same command goes on from there")


def _read(answer: http.client.HTTPResponse, url: str) -> bytes:
    with _reading(url):
        return answer.read1(_BLOCK)


@contextmanager
def _reading(url: str) -> Iterator[None]:
    """Say in one line what the network or a server refuses."""
    try:
        yield
    except urllib.error.HTTPError as error:
        raise FetchError(f"{url}: the server answers {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise FetchError(f"{url}: cannot be reached ({error.reason}); a mirror is named with --mirror") from None
    except (OSError, http.client.HTTPException) as error:
        reason = str(error) or type(error).__name__
        raise FetchError(f"{url}: broke off ({reason}); the same command goes on from there") from None


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say in one line what a disk refuses."""
    try:
        yield
    except OSError as error:
        raise FileError(describe_refusal(path, error)) from error
