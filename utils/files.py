"""Write files so that neither a kill nor a full disk destroys existing content."""

import contextlib
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
from io import RawIOBase
from pathlib import Path
from typing import IO

from utils.errors import UserError

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
# Exceptions from reading a corrupt zip file, found by flipping every bit: zipfile has no common base class.
ZIP_ERRORS = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
_FOLDER_FLAG = 0x10  # MS-DOS attribute of a member: C libraries read a folder as empty
_BLOCK = 1 << 22  # bytes
_MAX_NAME = 255  # bytes, on Linux's file systems
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")  # names of write_atomically's temporary files


class FileError(UserError):
    """A file cannot be written; the message names it and the cause."""


def name_beside(path: Path, suffix: str) -> Path:
    """Return the temporary name of a file or folder that is being written: `.NAME` and a suffix.

    A digest replaces a name that would become longer than file systems allow.
    """
    hidden = f".{path.name}{suffix}"
    if len(os.fsencode(hidden)) > _MAX_NAME:
        hidden = f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()}{suffix}"
    return path.with_name(hidden)


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file so that at any moment it has either the old content or all of the new one.

    Args:
        path: The file; its folder is created if absent.
        write: Writes the content to the open binary file.

    Raises:
        FileError: The disk is full or the system refuses; the old content is kept.
    """
    temporary = name_beside(path, f".{secrets.token_hex(4)}.tmp")
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
    """Write UTF-8 text like `write_atomically`."""
    write_atomically(path, lambda file: file.write(text.encode("utf-8")))


def append_text(path: Path, text: str) -> None:
    """Append UTF-8 text to a file, such as a log; all of it or nothing.

    Raises:
        FileError: The disk is full or the system refuses.
    """
    try:
        with path.open("ab", buffering=0) as file:
            _replace_end(file, b"", text.encode("utf-8"))
    except OSError as error:
        raise FileError(describe_refusal(path, error)) from error


def append_json(path: Path, entry: object) -> None:
    """Append an entry to a file with a JSON list, formatted as `json.dumps(..., indent=2)`.

    The file is valid JSON after every call, including one that fails. An empty list must be "[" and "]" on a line each.

    Raises:
        FileError: The disk is full or the system refuses.
    """
    end = b"\n]\n"
    text = json.dumps([entry], indent=2, ensure_ascii=False)[1:].encode("utf-8", "backslashreplace") + b"\n"
    try:
        with path.open("r+b", buffering=0) as file:
            is_first = file.seek(-len(end), os.SEEK_END) == 1
            _replace_end(file, end, text if is_first else b"," + text)
    except OSError as error:
        raise FileError(describe_refusal(path, error)) from error


def _replace_end(file: RawIOBase, end: bytes, text: bytes) -> None:
    """Replace the end of an unbuffered file; if that fails, restore the file.

    Args:
        file: The file, open for writing.
        end: Current last bytes of the file.
        text: Bytes to replace them with, at least as many.

    Raises:
        OSError: The system refuses to write.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(size - len(end))
    rest = memoryview(text)
    try:
        while rest:
            rest = rest[file.write(rest) or 0 :]
    except BaseException:  # Ctrl-C too: the caller does not count this text as written
        with contextlib.suppress(OSError):
            file.seek(size - len(end))
            file.write(end)
            file.truncate(size)
        raise


def remove_temporaries(folder: Path) -> None:
    """Remove the temporary files of killed `write_atomically` calls below a folder; no process may be writing there."""
    for path in folder.rglob(".*.tmp"):
        if _TEMPORARY.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def move_to_earlier(run_dir: Path, names: Iterable[str], *, copied: Iterable[str] = ()) -> Path | None:
    """Move files and folders of a run into `run_dir/earlier-NNN`, the next free number.

    Args:
        run_dir: Folder of the run.
        names: Paths below run_dir to move.
        copied: Names of files to copy along.

    Returns:
        The new folder; None if there was nothing to move.

    Raises:
        FileError: The system refuses.
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
    """Return the SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def find_zip_damage(file: IO[bytes]) -> str:
    """Verify the checksum of every member of a zip file; return what is wrong, "" if nothing is."""
    member = "the list of members"
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
    """Return one line on why a file cannot be written, and what to do."""
    if error.errno in _DISK_FULL:
        return f"{path}: no space left on the disk; free some and run the same command again (written files are safe)"
    return f"{path}: cannot be written ({error.strerror or error})"
