"""Format counts, durations and versions, and print text safely."""

import platform
import re
import sys
from importlib import metadata
from typing import TextIO

_PACKAGES = ("torch", "torchvision", "av", "numpy", "opencv-python-headless", "lmdb", "matplotlib")
# What terminals interpret rather than show: control characters other than tab and line feed, other line separators and
# bidirectional marks; and bytes of a file name that are not UTF-8.
_UNPRINTABLE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Return text with everything a terminal would interpret escaped, except line feeds and tabs.

    Names of files and classes, and messages that quote them, may hold any character.
    """
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """Return text made `printable` with line feeds escaped too, for use within one line."""
    return printable(text).replace("\n", "\\n")


def say(*lines: str, file: TextIO | None = None) -> None:
    """Print text made `printable` and flush; all printing of this project goes through here.

    Args:
        lines: Text to print, each starting a new line; may contain line feeds.
        file: Output stream, standard output by default.
    """
    stream = file or sys.stdout
    encoding = stream.encoding or "utf-8"
    text = printable("\n".join(lines)).encode(encoding, "backslashreplace")
    print(text.decode(encoding), file=stream, flush=True)


def describe_time(seconds: float) -> str:
    """Return a duration in a readable unit: '45 s', '12 min', '3.5 h'."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"


def count(value: int, noun: str) -> str:
    """Return a number with its noun in singular or plural: '1 epoch', '1,200 epochs'."""
    return f"{value:,} {noun}" if value == 1 else f"{value:,} {noun}s"


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that scores depend on, by name, without importing them."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "absent"
    return found
