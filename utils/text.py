"""Counts, durations and versions in words, and the one way in which text reaches a terminal."""

import platform
import re
import sys
from importlib import metadata
from typing import TextIO

_PACKAGES = ("torch", "torchvision", "av", "numpy", "opencv-python-headless", "lmdb", "matplotlib")
# What terminals act on rather than show: control characters but tab and line feed, other line ends, marks that turn the
# direction of what follows; and bytes of a file name that are no UTF-8.
_UNPRINTABLE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Return text as it may be shown: what a terminal would act on is spelled out, line feeds and tabs stay.

    Names of files and classes, and whatever quotes them, may hold any character.
    """
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """Return text as it may be shown within a line: `printable`, and line feeds are spelled out too."""
    return printable(text).replace("\n", "\\n")


def say(*lines: str, file: TextIO | None = None) -> None:
    """Print lines, `printable`, at once; nothing else of this project prints.

    Args:
        lines: What to print; each may itself be several.
        file: The stream, standard output by default.
    """
    stream = file or sys.stdout
    encoding = stream.encoding or "utf-8"
    text = printable("\n".join(lines)).encode(encoding, "backslashreplace")
    print(text.decode(encoding), file=stream, flush=True)


def describe_time(seconds: float) -> str:
    """Return a duration as people say it: '45 s', '12 min', '3.5 h'."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"


def count(value: int, noun: str) -> str:
    """Return a number of things: '1 epoch', '1,200 epochs'."""
    return f"{value:,} {noun}" if value == 1 else f"{value:,} {noun}s"


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that scores depend on, without importing any of them."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "absent"
    return found
