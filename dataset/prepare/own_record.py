"""Write the record of a user's own videos, with a comment on every choice, and print the next commands."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from dataset.classes import describe_counts
from dataset.prepare.advice import Advice, Choice
from dataset.prepare.annotations import PrepareError
from dataset.prepare.survey import Survey
from utils.files import write_text_atomically
from utils.text import one_line, say

_COMMENT_COLUMN = 34  # where comments start in a record


@dataclass(frozen=True, slots=True)
class Places:
    """The paths in a record.

    Attributes:
        root: Folder of the videos.
        lists: List of each split.
        copy: Folder of the downscaled copy, if one is to be made.
    """

    root: Path
    lists: Mapping[str, Path]
    copy: Path

    @property
    def evaluation(self) -> str:
        """The split for evaluation: `val` if there is one, so that the test videos are used once, at the end."""
        return "val" if "val" in self.lists else "test"

    def copied(self, split: str) -> Path:
        """Return the path of the copy's list of a split: X_train_list.txt becomes X_small_train_list.txt."""
        listed = self.lists[split]
        return listed.with_name(f"{listed.name.removesuffix(f'_{split}_list.txt')}_small_{split}_list.txt")


def write_record(path: Path, places: Places, *, found: Survey, labels: Sequence[int], advice: Advice) -> None:
    """Write a record, and print the survey, the choices and the next commands.

    Args:
        path: Path of the record.
        places: The paths in it.
        found: The survey of the training videos.
        labels: Class index of each training video.
        advice: The choices.

    Raises:
        PrepareError: A file with other content exists.
    """
    head = (
        f"{len(labels):,} training videos: {describe_counts(labels, found.class_names)}",
        found.describe(),
        f"what distinguishes the classes: {advice.intent} ({advice.why})",
    )
    text = "".join(_lines(head, places, found=found, advice=advice))
    is_new = _write(path, text)
    say(*head, f"{path}: written, with the reason for every choice" if is_new else f"{path}: unchanged")
    if not is_new:
        return
    for choice in advice.choices:
        if choice.reason:
            say(f"  {choice.section}.{choice.key}={_written(choice)}: {choice.reason}")
    say(f"  {advice.copy_reason}", "next:", *(f"  {command}" for command in next_commands(path, places, advice)))


def next_commands(record: Path, places: Places, advice: Advice) -> Iterator[str]:
    """Yield the shell commands that lead from the record to predictions."""
    if advice.copy_side:
        for split, listed in places.lists.items():
            yield _command(
                "python -m dataset.prepare lmdb", "--list", listed, "--root", places.root, "--output", places.copy,
                "--new_list", places.copied(split), "--short_side", advice.copy_side, "--shard_videos", 1000,
            )  # fmt: skip
    name = record.stem if record.parent == Path("record") else record if len(record.parts) > 1 else f"./{record}"
    yield _command("bash run.sh", name)
    if "test" in places.lists and places.evaluation != "test":
        listed = places.copied("test") if advice.copy_side else places.lists["test"]
        yield _command("bash run.sh", name, f"dataset.eva_list_file={listed}") + "    # once, at the end"
    weights = Path("output", record.stem, "current.pth")
    yield _command("python predict_3d.py", "--config_file", record, "--weights", weights, places.root)


def _command(script: str, *words: object) -> str:
    """Return a command line, with arguments quoted for the shell."""
    return " ".join([script, *(shlex.quote(str(word)) for word in words)])


def _lines(head: Sequence[str], places: Places, *, found: Survey, advice: Advice) -> Iterator[str]:
    """Yield the lines of a record."""
    yield from (f"# {one_line(line)}\n" for line in head)
    if advice.intent == "appearance":
        yield "# Small sets gain most from pretrained weights: python -m model.weights list, docs/weights.md\n"
    yield f'base: "{advice.base}"\n'
    data = (*_data(places, found=found, advice=advice), *advice.choices)
    for section in dict.fromkeys(choice.section for choice in data):
        yield f"{section}:\n"
        for choice in data:
            if choice.section == section:
                yield _line(choice)


def _data(places: Places, *, found: Survey, advice: Advice) -> Iterator[Choice]:
    """Yield the keys for the location of the videos."""
    is_copied = bool(advice.copy_side)
    root = str(places.copy if is_copied else places.root)
    reason = f"a copy with a short side of {advice.copy_side} pixels: {advice.copy_reason}" if is_copied else ""
    train, evaluation = (
        str(places.copied(split) if is_copied else places.lists[split]) for split in ("train", places.evaluation)
    )
    yield Choice("dataset", "num_classes", len(found.class_names))
    yield Choice("dataset", "format", "LMDB" if is_copied else "RAW", reason or advice.copy_reason)
    for prefix, listed in (("", train), ("eva_", evaluation)):
        yield Choice("dataset", f"{prefix}list_file", listed)
        yield Choice("dataset", f"{prefix}root_path", root)


def _line(choice: Choice) -> str:
    text = f"  {choice.key}: {_written(choice)}"
    return f"{text:{_COMMENT_COLUMN}}# {one_line(choice.reason)}\n" if choice.reason else f"{text}\n"


def _written(choice: Choice) -> str:
    """Return a value in YAML."""
    style = '"' if isinstance(choice.value, str) else None  # only double quotes escape line breaks and the like
    return yaml.safe_dump(choice.value, allow_unicode=True, width=10**6, default_style=style).splitlines()[0]


def _write(path: Path, text: str) -> bool:
    """Write a record unless one with the same content exists; return whether it was written.

    Comments are not compared: they hold measured times, which always differ.

    Raises:
        PrepareError: A file with other content exists.
    """
    if not path.exists():
        write_text_atomically(path, text)
        return True
    try:
        there = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        there = None
    if there != yaml.safe_load(text):
        raise PrepareError(f"{path} exists with other content; move it away, or choose another name")
    return False
