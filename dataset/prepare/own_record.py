"""The record of a user's own videos: each choice with its reason beside it, and the commands that come next."""

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

_COMMENT_COLUMN = 34


@dataclass(frozen=True, slots=True)
class Places:
    """Where videos and lists are, as a record names them.

    Attributes:
        root: Folder of the videos.
        lists: List of each split.
        copy: Folder of a copy of small frames, where one is to be made.
    """

    root: Path
    lists: Mapping[str, Path]
    copy: Path

    @property
    def evaluation(self) -> str:
        """The split that is evaluated on: the test videos are looked at once, at the end, where there are others."""
        return "val" if "val" in self.lists else "test"

    def copied(self, split: str) -> Path:
        """Return the list of a split of the copy: X_train_list.txt becomes X_small_train_list.txt."""
        listed = self.lists[split]
        return listed.with_name(f"{listed.name.removesuffix(f'_{split}_list.txt')}_small_{split}_list.txt")


def write_record(path: Path, places: Places, *, found: Survey, labels: Sequence[int], advice: Advice) -> None:
    """Write a record, and print what was found, what it says, and the commands that come next.

    Args:
        path: Of the record.
        places: What it names.
        found: What the training videos are like.
        labels: Class of each training video.
        advice: The choices.

    Raises:
        PrepareError: Another file is there.
    """
    head = (
        f"{len(labels):,} training videos: {describe_counts(labels, found.class_names)}",
        found.describe(),
        f"what tells the classes apart: {advice.intent} ({advice.why})",
    )
    text = "".join(_lines(head, places, found=found, advice=advice))
    is_new = _write(path, text)
    say(*head, f"{path}: written, with the reason of every choice" if is_new else f"{path} is there already, the same")
    if not is_new:
        return
    for choice in advice.choices:
        if choice.reason:
            say(f"  {choice.section}.{choice.key}={_written(choice)}: {choice.reason}")
    say(f"  {advice.copy_reason}", "next:", *(f"  {command}" for command in next_commands(path, places, advice)))


def next_commands(record: Path, places: Places, advice: Advice) -> Iterator[str]:
    """Give the commands that lead from the record to predictions, as they can be pasted."""
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
    """Return a command line, with words quoted where a shell needs it."""
    return " ".join([script, *(shlex.quote(str(word)) for word in words)])


def _lines(head: Sequence[str], places: Places, *, found: Survey, advice: Advice) -> Iterator[str]:
    """Give the lines of a record."""
    yield from (f"# {one_line(line)}\n" for line in head)
    if advice.intent == "appearance":
        yield "# Few videos gain most by trained weights: python -m model.weights list, docs/weights.md\n"
    yield f'base: "{advice.base}"\n'
    data = (*_data(places, found=found, advice=advice), *advice.choices)
    for section in dict.fromkeys(choice.section for choice in data):
        yield f"{section}:\n"
        for choice in data:
            if choice.section == section:
                yield _line(choice)


def _data(places: Places, *, found: Survey, advice: Advice) -> Iterator[Choice]:
    """Give the keys that say where the videos are."""
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
    """Return a value as YAML has it."""
    style = '"' if isinstance(choice.value, str) else None  # line breaks and the like are spelled out in quotes alone
    return yaml.safe_dump(choice.value, allow_unicode=True, width=10**6, default_style=style).splitlines()[0]


def _write(path: Path, text: str) -> bool:
    """Write a record unless one that says the same is there; return whether it was written.

    Reasons are not compared: they name measured times, which are never the same twice.

    Raises:
        PrepareError: Another file is there.
    """
    if not path.exists():
        write_text_atomically(path, text)
        return True
    try:
        there = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        there = None
    if there != yaml.safe_load(text):
        raise PrepareError(f"{path} is there with another content; move it away, or choose another name")
    return False
