"""Results are written video by video, and the files are valid after each."""

import csv
import json
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataset.prediction.request import Outputs
from dataset.prediction.results import Results
from utils.evaluation.predictions import Guess, Prediction, Window, merge_windows
from utils.files import FileError, _replace_end, append_json

NAMES = ["a", "b\x1b", "c"]


def window(begin: float, *scores: float) -> Window:
    return Window(begin, begin + 1, int(begin), np.array(scores))


def test_each_video_is_in_the_files_once_it_is_added(tmp_path: Path) -> None:
    outputs = Outputs(json=tmp_path / "new/o.json", csv=tmp_path / "o.csv", segments=tmp_path / "s.csv")
    results = Results(outputs, NAMES, top_k=2)
    assert outputs.json and outputs.csv and outputs.segments
    assert json.loads(outputs.json.read_text()) == []
    windows = (window(0, 0.6, 0.4, 0), window(1, 0.8, 0.1, 0.1), window(2, 0.1, 0.7, 0.2), window(3, 0.5, 0.3, 0.2))
    known = Prediction("é\n.mp4", 100, 4.0, (Guess(1, NAMES[1], 0.5), Guess(0, "a", 0.3)), windows)
    for count, one in enumerate((known, Prediction("bad.mp4", error="no such file")), start=1):
        results.add(one)
        entries = json.loads(outputs.json.read_text())
        assert [entry["video"] for entry in entries] == ["é\n.mp4", "bad.mp4"][:count]
        assert outputs.json.read_text() == json.dumps(entries, indent=2, ensure_ascii=False) + "\n"
    assert entries[1] == {"video": "bad.mp4", "error": "no such file"}
    with outputs.csv.open(newline="") as file:
        assert [row["class"] for row in csv.DictReader(file)] == ["b\x1b", "a", ""]
    with outputs.segments.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["begin"], row["end"], row["class"], row["score"], row["windows"]) for row in rows] == [
        ("0.000", "2.000", "a", "0.700000", "2"),
        ("2.000", "3.000", "b\x1b", "0.700000", "1"),
        ("3.000", "4.000", "a", "0.500000", "1"),
        ("", "", "", "", ""),
    ]
    assert rows[3]["error"] == "no such file"


def test_no_window_is_no_segment() -> None:
    assert merge_windows([], NAMES) == ()


def test_a_list_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be written"):
        append_json(tmp_path / "none.json", {})


class Interrupted(FileIO):
    """A file in whose first write of more than three bytes Ctrl-C comes, with three of them written."""

    def write(self, data: Any) -> int:
        if len(data) > 3:
            super().write(data[:3])
            raise KeyboardInterrupt
        return super().write(data)


def test_an_interrupted_write_leaves_the_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "o.json"
    path.write_text("[\n1\n]\n")
    with Interrupted(str(path), "r+") as file, pytest.raises(KeyboardInterrupt):
        _replace_end(file, b"\n]\n", b",\n22222\n]\n")
    assert path.read_text() == "[\n1\n]\n"


@pytest.mark.parametrize("room", [1, 40])
def test_a_full_disk_leaves_the_files_whole(tmp_path: Path, room: int) -> None:
    """With room for the beginning of a video's entry in one file after the other, as on a disk that fills up."""
    resource, signal = pytest.importorskip("resource"), pytest.importorskip("signal")
    known = Prediction("v.mp4", 100, 4.0, (Guess(1, "b", 0.5), Guess(0, "a", 0.3)))
    for name in Outputs.__dataclass_fields__:
        if name in ("json", "csv", "segments"):
            path = tmp_path / f"o.{name}"
            results = Results(Outputs(**{name: path}), NAMES, top_k=2)
            results.add(known)
            before = path.read_text()
            old_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
            old_handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + room, old_limit[1]))
            try:
                with pytest.raises(FileError, match=f"o.{name}: cannot be written"):
                    results.add(Prediction("w" * 100, 100, 4.0, known.guesses))
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)
                signal.signal(signal.SIGXFSZ, old_handler)
            assert path.read_text() == before
            results.add(known)
            assert path.read_text().count("v.mp4") > before.count("v.mp4")
