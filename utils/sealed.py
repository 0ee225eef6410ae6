"""JSON and YAML files with a checksum of their content, so that any change is detected."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.files import write_text_atomically
from utils.jsonl import as_json

_KEY = "sha256"
_TITLE = re.compile(r"# (.*), sha256 of the lines below: ([0-9a-f]{64})")


class SealError(UserError):
    """A file is corrupt, or was changed since it was written."""


def write_sealed_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object as JSON; its last entry, "sha256", is the checksum of the others."""
    plain = as_json(content)
    text = json.dumps({**plain, _KEY: _digest(plain)}, indent=2, ensure_ascii=False, allow_nan=False)
    write_text_atomically(path, text + "\n")


def read_sealed_json(path: Path) -> dict[str, Any]:
    """Read a file of `write_sealed_json`; return its content without the checksum.

    Raises:
        SealError: The file is absent, unreadable or corrupt, or has no checksum, as in earlier versions.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SealError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise SealError(f"{path}: corrupt, it is not JSON ({error})") from None
    return unseal(content, path)


def unseal(content: Any, path: Path) -> dict[str, Any]:
    """Return the parsed content of a file of `write_sealed_json` without its checksum.

    Raises:
        SealError: The checksum is absent or does not match.
    """
    entries = content if isinstance(content, dict) else {}
    rest = {name: value for name, value in entries.items() if name != _KEY}
    if not rest or entries.get(_KEY) != _digest(rest):
        cause = "corrupt, or changed since it was written" if _KEY in entries else "no checksum, as in earlier versions"
        raise SealError(f"{path}: {cause}")
    return rest


def _digest(content: Any) -> str:
    """Return the checksum of a JSON value, independent of its formatting."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def seal_text(text: str, title: str) -> str:
    """Return a text preceded by a comment with a title and the checksum of the text."""
    return f"# {title}, sha256 of the lines below: {hashlib.sha256(text.encode()).hexdigest()}\n{text}"


def require_sealed_text(path: Path) -> None:
    """Verify the checksum of a file of `seal_text`; a file without one, of an earlier version, is accepted.

    Raises:
        SealError: The checksum does not match.
    """
    title, _, text = path.read_bytes().partition(b"\n")
    match = _TITLE.fullmatch(title.decode("utf-8", "replace"))
    is_corrupt = _KEY.encode() in title if match is None else hashlib.sha256(text).hexdigest() != match[2]
    if is_corrupt:
        raise SealError(f"{path}: corrupt, or changed since it was written; restore it, or remove it")
