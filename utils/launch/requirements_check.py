"""Print the requirements that this Python does not satisfy: `python utils/launch/requirements_check.py FILE ...`.

Exit code 0 and no output if all are satisfied. It runs before anything is installed, also in environments without pip,
so it uses only the standard library. A line such as `torch==2.13.0  # or torch>=2.6` has the version that pip installs
and the versions that are accepted.
"""

import importlib.metadata
import re
import sys
from pathlib import Path

_REQUIREMENT = re.compile(r"([\w.-]+)\s*(?:(==|>=)\s*([\w.+]+))?")


def unsatisfied(path: Path) -> list[str]:
    """Return the requirements of a file that are not installed or have another version."""
    found = []
    for line in path.read_text().splitlines():
        installed, _, comment = (part.strip() for part in line.partition("#"))
        if installed and (
            problem := _describe(comment.removeprefix("or ") if comment.startswith("or ") else installed)
        ):
            found.append(problem)
    return found


def _describe(requirement: str) -> str:
    """Return a description of an unsatisfied requirement; "" if it is satisfied."""
    parsed = _REQUIREMENT.fullmatch(requirement)
    if parsed is None:
        raise SystemExit(f"error: requirement '{requirement}': expected NAME, NAME==VERSION or NAME>=VERSION")
    name, relation, wanted = parsed.groups()
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return f"{requirement} (not installed)"
    if wanted and not is_satisfied(version, relation, wanted):
        return f"{requirement} (found {version})"
    # A torchvision wheel is built for one version of torch and does not load with another.
    needs = importlib.metadata.requires(name) if name == "torchvision" else None
    made_for = next((need.removeprefix("torch==") for need in needs or () if need.startswith("torch==")), "")
    if made_for and not is_satisfied(torch := importlib.metadata.version("torch"), "==", made_for):
        return f"torchvision for torch {torch} (found {version}, which is for {made_for})"
    return ""


def is_satisfied(version: str, relation: str, wanted: str) -> bool:
    """Return whether a version is (==) or is at least (>=) a release; '2.13.0+cpu' and '2.13' are release 2.13.0."""
    mine, theirs = _release(version), _release(wanted)
    return mine == theirs if relation == "==" else mine >= theirs


def _release(version: str) -> tuple[int, ...]:
    leading = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(number) for number in leading[0].split(".")] if leading else []
    return tuple(numbers + [0] * (6 - len(numbers)))


if __name__ == "__main__":
    missing = [line for name in sys.argv[1:] for line in unsatisfied(Path(name))]
    print("\n".join(missing), end="\n" if missing else "")
    sys.exit(1 if missing else 0)
