"""List files: accepted variants, error messages, and that workers share one copy."""

import hashlib
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
import torch.multiprocessing as multiprocessing

from dataset.heldout import split_heldout
from dataset.listing import ListError, VideoList, VideoRecord, read_class_names, read_list

GOOD = "a/one.mp4 10 0\nspaces in a name.avi 300 2\nünï/视频.mkv 7 1\n"


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "list.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_list_has_its_videos_in_order(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    videos = read_list(path, num_classes=3)
    expected = [
        VideoRecord("a/one.mp4", 10, 0),
        VideoRecord("spaces in a name.avi", 300, 2),
        VideoRecord("ünï/视频.mkv", 7, 1),
    ]
    assert list(videos) == expected
    assert [videos[i] for i in (-3, -2, -1)] == expected
    assert videos[np.int64(1)] == expected[1]
    assert videos[1:] == expected[1:]
    assert len(videos) == 3
    assert videos.num_frames.tolist() == [10, 300, 7]
    assert videos.labels.tolist() == [0, 2, 1]
    assert videos.path == str(path)
    assert videos.sha256 == hashlib.sha256(GOOD.encode()).hexdigest()
    for index in (3, -4):
        with pytest.raises(IndexError):
            videos[index]


@pytest.mark.parametrize(
    "variant",
    [
        GOOD.removesuffix("\n"),
        GOOD + "\n  \n\n",
        GOOD.replace("\n", "\r\n"),
        GOOD.replace("\n", "\r"),
        "\ufeff" + GOOD,
        GOOD.replace(" 10 ", "\t10  "),
        GOOD.replace("2\nü", "2\n\nü"),
    ],
    ids=["no final newline", "blank lines at the end", "CRLF", "CR", "byte order mark", "tabs", "blank line between"],
)
def test_harmless_variants_give_the_same_videos(tmp_path: Path, variant: str) -> None:
    reference = list(read_list(write(tmp_path, GOOD)))
    assert list(read_list(write(tmp_path, variant), num_classes=3)) == reference


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a.mp4 10 0\nb.mp4 10 3\n", "line 2: label 3 is outside 0..2 (num_classes 3)"),
        ("a.mp4 10 -1", "line 1: label -1 is outside 0..2 (num_classes 3)"),
        ("a.mp4 10 0\n\nb.mp4 0 1\n", "line 3: num_frames 0 is outside 1..2147483647"),
        ("a.mp4 -4 1\n", "line 1: num_frames -4 is outside 1..2147483647"),
        ("a.mp4 3000000000 1\n", "line 1: num_frames 3000000000 is outside 1..2147483647"),
        ("a.mp4 10 0\r\nb.mp4 10\r\n", "line 2: expected 'path num_frames label', found 'b.mp4 10'"),
        ("a.mp4\n", "line 1: expected 'path num_frames label', found 'a.mp4'"),
        ("a.mp4,10,0\n", "line 1: expected 'path num_frames label', found 'a.mp4,10,0'"),
        ("a.mp4 ten 0\n", "line 1: num_frames 'ten' is not an integer in 'a.mp4 ten 0'"),
        ("my clip.mp4 0\n", "line 1: num_frames 'clip.mp4' is not an integer in 'my clip.mp4 0'"),
        ("a.mp4 10 1.5\n", "line 1: label '1.5' is not an integer in 'a.mp4 10 1.5'"),
        ("a.mp4 1_0 1\n", "line 1: num_frames '1_0' is not an integer in 'a.mp4 1_0 1'"),
        ("x" * 200 + "\n", f"line 1: expected 'path num_frames label', found '{'x' * 77}...'"),
        (b"a.mp4 10 0\nb\xe9.mp4 10 0\n", "line 2: not UTF-8 text (byte 0xe9)"),
        ("a.mp4 10 0\n".encode("utf-16"), "line 1: not UTF-8 text (byte 0xff)"),
        (b"a.mp4 10 0\nb\0.mp4 10 0\n", "line 2: not a text file (holds a NUL byte)"),
    ],
)
def test_a_bad_line_is_named_with_its_fault(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(ListError) as caught:
        read_list(path, num_classes=3)
    assert str(caught.value) == f"{path}, {message}"


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff"])
def test_an_empty_list_is_refused(tmp_path: Path, content: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(ListError) as caught:
        read_list(path)
    assert str(caught.value) == f"{path} lists no videos: every line should be 'path num_frames label'"


def test_a_missing_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(ListError, match=r"^cannot read the list .*none\.txt: No such file or directory$"):
        read_list(tmp_path / "none.txt")
    with pytest.raises(ListError, match=r"^cannot read the list .*: Is a directory$"):
        read_list(tmp_path)


def test_without_num_classes_any_label_from_zero_is_fine(tmp_path: Path) -> None:
    assert read_list(write(tmp_path, "a 1 99999\n"))[0].label == 99999
    with pytest.raises(ListError, match=r"label -1 is outside 0\.\.2147483647$"):
        read_list(write(tmp_path, "a 1 -1\n"))


def test_a_plain_pickle_gives_an_equal_list(tmp_path: Path) -> None:
    videos = read_list(write(tmp_path, GOOD))
    copy = pickle.loads(pickle.dumps(videos))
    assert list(copy) == list(videos)
    assert (copy.path, copy.sha256) == (videos.path, videos.sha256)


def change_a_label(videos: VideoList) -> None:
    videos.labels[0] = 77


def test_a_worker_that_was_sent_the_list_maps_the_same_memory(tmp_path: Path) -> None:
    videos = read_list(write(tmp_path, GOOD))
    worker = multiprocessing.get_context("spawn").Process(target=change_a_label, args=(videos,))
    worker.start()
    worker.join()
    assert worker.exitcode == 0
    assert videos.labels[0] == 77  # the write of the other process is visible here: the memory is shared
    assert videos[0] == VideoRecord("a/one.mp4", 10, 77)


def test_a_quarter_million_lines_load_in_under_a_second(tmp_path: Path) -> None:
    lines = [f"class_{i % 400:03d}/video_{i:06d}_000010_000020.mp4 {i % 300 + 1} {i % 400}" for i in range(240_000)]
    path = write(tmp_path, "\n".join(lines))
    start = time.process_time()
    videos = read_list(path, num_classes=400)
    seconds = time.process_time() - start
    assert len(videos) == 240_000
    assert videos[239_999] == VideoRecord("class_399/video_239999_000010_000020.mp4", 300, 399)
    assert seconds < 1.0  # 0.3 s on one core of 2023
    packed = len(pickle.dumps(videos))
    assert packed < 70 * 240_000  # about 46 bytes of path and 16 bytes of numbers per video


def write_classes(path: Path, counts: list[int]) -> VideoList:
    """A list with the given number of videos of each class, classes interleaved."""
    lines = [f"class {label}/v{i} é.mp4 {10 + i} {label}" for label, count in enumerate(counts) for i in range(count)]
    path.write_text("\n".join(sorted(lines, key=lambda line: hash_of(line))) + "\n")
    return read_list(path)


def hash_of(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.25, 0.5, 0.99])
def test_a_part_of_every_class_is_held_out(tmp_path: Path, fraction: float) -> None:
    counts = [40, 17, 2, 1, 8]
    videos = write_classes(tmp_path / "list.txt", counts)
    kept, heldout = split_heldout(videos, fraction=fraction, seed=3)
    assert sorted([*kept, *heldout], key=str) == sorted(videos, key=str)
    assert [video for video in videos if video in set(kept)] == list(kept)
    for label, count in enumerate(counts):
        share = sum(video.label == label for video in heldout)
        assert share == (0 if count == 1 else min(max(round(count * fraction), 1), count - 1))
    assert len({videos.sha256, kept.sha256, heldout.sha256}) == 3


def test_the_split_depends_on_the_seed_only(tmp_path: Path) -> None:
    videos = write_classes(tmp_path / "list.txt", [30, 30])
    first, again = (split_heldout(videos, fraction=0.3, seed=1)[1] for _ in range(2))
    other = split_heldout(videos, fraction=0.3, seed=2)[1]
    assert (list(first), first.sha256) == (list(again), again.sha256)
    assert list(first) != list(other)
    assert first.sha256 != other.sha256


def test_nothing_to_hold_out_is_an_error(tmp_path: Path) -> None:
    videos = write_classes(tmp_path / "list.txt", [1, 1, 1])
    with pytest.raises(ListError, match=r"list\.txt: no class has two videos.*eval_list"):
        split_heldout(videos, fraction=0.5, seed=0)


def test_a_subset_is_a_list(tmp_path: Path) -> None:
    videos = write_classes(tmp_path / "list.txt", [5, 5])
    for indices in ([], [3], [9, 0, 4]):
        subset = videos.subset(np.array(indices, dtype=np.int64))
        assert list(subset) == [videos[i] for i in indices]
        assert subset.labels.tolist() == [videos[i].label for i in indices]
        assert list(pickle.loads(pickle.dumps(subset))) == list(subset)


def test_class_names_come_from_the_file_next_to_the_list(tmp_path: Path) -> None:
    list_file = str(tmp_path / "test_list.txt")
    assert read_class_names(list_file, 3) == ["0", "1", "2"]
    (tmp_path / "classes.txt").write_text("one\ntwo words \nthree\n\n")
    assert read_class_names(list_file, 3) == ["one", "two words", "three"]
    with pytest.raises(ListError, match=r"classes\.txt: 3 names for dataset\.num_classes 4"):
        read_class_names(list_file, 4)
    (tmp_path / "classes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ListError, match=r"classes\.txt, line 1: not UTF-8 text"):
        read_class_names(list_file, 3)
