"""Finding videos: by name in any container, through links, and the reasons for rejected files."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from dataset.prepare.annotations import Entry, PrepareError
from dataset.prepare.finding import MissingError, VideoTree, find_videos, rejection_reason
from tests.official_sets import Videos, write_text


def test_of_several_files_the_class_folder_and_then_the_content_decides(tmp_path: Path, videos: Videos) -> None:
    root = tmp_path / "root"
    for name in ("a/x.avi", "b/x.avi", "b/y.avi", "elsewhere/y.avi", "elsewhere/z.avi", "new/z.mp4"):
        videos.make(root / name, 16)
    write_text(root / "old/z.avi", "")
    decomposed = unicodedata.normalize("NFD", "fähre")
    videos.make(root / f"a/{decomposed}.avi", 17)
    tree = VideoTree(root)
    assert tree.find(Entry("x", 0, "", folders=("b",))) == "b/x.avi"
    assert tree.find(Entry("y", 0, "", folders=("b",))) == "b/y.avi"
    assert tree.find(Entry(unicodedata.normalize("NFC", "fähre"), 0, "")) == f"a/{decomposed}.avi"
    for entry in (Entry("x", 0, ""), Entry("z", 0, "", folders=("c",))):
        with pytest.raises(MissingError, match=r"several files of that name: \w+/[xz].avi, \w+/[xz]"):
            tree.find(entry)
    (root / "elsewhere/z.avi").unlink()
    assert VideoTree(root).find(Entry("z", 0, "")) == "new/z.mp4"  # the other file is empty
    with pytest.raises(MissingError, match="no such file"):
        tree.find(Entry("w", 0, ""))
    with pytest.raises(PrepareError, match="nowhere, is no folder"):
        VideoTree(tmp_path / "nowhere")


def test_a_file_without_a_video_suffix_is_found(tmp_path: Path, videos: Videos) -> None:
    videos.make(tmp_path / "v.ts", 16).rename(tmp_path / "v.bin")
    write_text(tmp_path / "v.json", "{}")
    write_text(tmp_path / "w.json", "{}")
    assert VideoTree(tmp_path).find(Entry("v", 0, "")) == "v.bin"
    with pytest.raises(MissingError, match="w.json: no video: Invalid data"):
        VideoTree(tmp_path).find(Entry("w", 0, ""))
    videos.make(tmp_path / "v.mp4", 16)
    assert VideoTree(tmp_path).find(Entry("v", 0, "")) == "v.mp4"


def test_text_art_and_noise_are_no_videos(tmp_path: Path) -> None:
    assert rejection_reason(write_text(tmp_path / "a.nfo", "* " * 90)) == "text"
    for number in range(20):
        (tmp_path / "noise.bin").write_bytes(np.random.default_rng(number).bytes(200_000))
        assert rejection_reason(tmp_path / "noise.bin")
    assert rejection_reason(write_text(tmp_path / "empty", "")).startswith("no video: ")


def test_links_are_followed_and_cycles_end(tmp_path: Path, videos: Videos) -> None:
    videos.make(tmp_path / "disk/v.mp4", 16)
    (tmp_path / "root").mkdir()
    (tmp_path / "root/link").symlink_to(tmp_path / "disk")
    (tmp_path / "disk/circle").symlink_to(tmp_path / "disk")
    found = find_videos(tmp_path / "root")
    assert found.videos == ("link/v.mp4",) and found.folders == ("link",)
    assert found.left_out == (("link/circle", "a link to a folder that is taken already"),)
