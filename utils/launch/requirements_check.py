"""Say which requirements the running Python does not satisfy: `python utils/launch/requirements_check.py FILE ...`.

Exit code 0 and no output when all are satisfied. Runs before anything is installed, so it needs the standard library
and pip alone.
"""

import importlib.metadata
import sys
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement

from utils.text import say


def unsatisfied(path: Path) -> list[str]:
    """Return the requirements of a file that are missing or have another version."""
    lines = [line.split("#")[0].strip() for line in path.read_text().splitlines()]
    found = []
    for requirement in map(Requirement, filter(None, lines)):
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            found.append(str(requirement))
            continue
        # A local label ('2.13.0+cpu') is the same release.
        if not requirement.specifier.contains(version.split("+")[0], prereleases=True):
            found.append(f"{requirement} (found {version})")
    return found


if __name__ == "__main__":
    missing = [line for name in sys.argv[1:] for line in unsatisfied(Path(name))]
    if missing:
        say(*missing)
        sys.exit(1)
