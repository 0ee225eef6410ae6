"""Writing and keeping files so that neither a kill nor a full disk costs what was there before."""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

from utils.errors import UserError

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
# What reading a damaged zip file can end in (tried by flipping every bit): zipfile has no common exception.
ZIP_ERRORS = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
_FOLDER_FLAG = 0x10  # of a member's attributes, as DOS has it: C libraries read such a member as empty
_BLOCK = 1 << 22
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")  # of write_atomically


class FileError(UserError):
    """A file that cannot be written: names it and the cause."""


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file so that at any moment either the old content or the whole new one is under its name.

    Args:
        path: The file; its folder is made when absent.
        write: Gets the open binary file and writes the content.

    Raises:
        FileError: A full disk or any other refusal of the system. What was under the name before is still there.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise FileError(describe_refusal(path, error)) from error


def write_text_atomically(path: Path, text: str) -> None:
    """`write_atomically` for UTF-8 text."""
    write_atomically(path, lambda file: file.write(text.encode("utf-8")))


def append_text(path: Path, text: str) -> None:
    """Append UTF-8 text to a file that only grows, such as a log.

    Raises:
        FileError: A full disk or any other refusal of the system.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise FileError(describe_refusal(path, error)) from error


def append_json(path: Path, entry: object) -> None:
    """Add an entry to a file that holds a JSON list as `json.dumps(..., indent=2)` does, in lines of its own.

    The list is whole again after every entry; without any, "[" and "]" are a line each.

    Raises:
        FileError: A full disk or any other refusal of the system.
    """
    end = b"\n]\n"
    text = json.dumps([entry], indent=2, ensure_ascii=False)[1:].encode("utf-8", "backslashreplace") + b"\n"
    try:
        with path.open("r+b") as file:
            is_first = file.seek(-len(end), os.SEEK_END) == 1
            file.write(text if is_first else b"," + text)
    except OSError as error:
        raise FileError(describe_refusal(path, error)) from error


def remove_temporaries(folder: Path) -> None:
    """Remove what killed calls of `write_atomically` have left in a folder and those in it; nobody may be writing."""
    for path in folder.rglob(".*.tmp"):
        if _TEMPORARY.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def move_to_earlier(run_dir: Path, names: Iterable[str], *, copied: Iterable[str] = ()) -> Path | None:
    """Move files and folders of a run into `run_dir/earlier-NNN`, the next free number.

    Args:
        run_dir: Of the run.
        names: What is moved; paths in it.
        copied: Files that go along, and stay too.

    Returns:
        The folder they are in now, None when there was nothing to move.
    """
    present = [name for name in names if (run_dir / name).exists()]
    if not present:
        return None
    number = 1
    while (earlier := run_dir / f"earlier-{number:03d}").exists():
        number += 1
    try:
        earlier.mkdir()
        for name in copied:
            if (run_dir / name).exists():
                shutil.copy2(run_dir / name, earlier / name)
        for name in present:
            (earlier / name).parent.mkdir(exist_ok=True)
            (run_dir / name).rename(earlier / name)
    except OSError as error:
        raise FileError(f"cannot move earlier results from {run_dir} to {earlier}: {error.strerror}") from error
    return earlier


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def find_zip_damage(file: IO[bytes]) -> str:
    """Read every member of a zip file and compare it with its checksum; return what is wrong, "" when nothing is."""
    member = "the list of its members"
    try:
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                member = entry.filename
                if entry.external_attr & _FOLDER_FLAG:
                    return f"member {member}: marked as a folder"
                with archive.open(entry) as content:
                    while content.read(_BLOCK):
                        pass
    except ZIP_ERRORS as error:
        return f"member {member}: {' '.join(str(error).split()) or type(error).__name__}"
    return ""


def describe_refusal(path: Path, error: OSError) -> str:
    """Return in one line why a file cannot be written, and what to do."""
    if error.errno in _DISK_FULL:
        return f"{path}: no space left on the disk; free some and run the same command again, what is written is safe"
    return f"{path}: cannot be written ({error.strerror or error})"
