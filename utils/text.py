"""Durations and versions in words."""

import platform
from importlib import metadata

_PACKAGES = ("torch", "torchvision", "av", "numpy", "opencv-python-headless", "lmdb", "matplotlib")


def describe_time(seconds: float) -> str:
    """Return a duration as people say it: '45 s', '12 min', '3.5 h'."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that scores depend on, without importing any of them."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "absent"
    return found
