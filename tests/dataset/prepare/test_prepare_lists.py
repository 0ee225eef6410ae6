"""Lists from official annotation files: real videos in each official layout, and what goes wrong in practice."""

import hashlib
import json
import os
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from dataset.heldout import group_names
from dataset.listing import VideoRecord, read_class_names, read_list
from dataset.prepare import measuring
from dataset.prepare.__main__ import main
from dataset.prepare.annotations import Entry, PrepareError
from dataset.prepare.finding import MissingError, VideoTree, walk
from dataset.prepare.folder import split_groups
from dataset.readers import open_reader
from tests import official_sets
from tests.conftest import ROOT
from tests.official_sets import HMDB_VIDEOS, SOMETHING_CLASSES, UCF_VIDEOS, Videos, write_text
from tests.videos import encode_video, frame_numbers


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Videos:
    return Videos(tmp_path_factory.mktemp("encoded"))


@pytest.fixture
def layout(tmp_path: Path, videos: Videos) -> Callable[[str], Path]:
    """Make one of the official layouts in a folder whose name has a space."""
    return lambda name: getattr(official_sets, name)(tmp_path / "data set", videos)


def prepare(*words: object, output: Path) -> None:
    main([str(word) for word in (*words, "--output", output, "--workers", "1")])


def records(path: Path) -> list[tuple[str, int, int]]:
    return [(record.path, record.num_frames, record.label) for record in read_list(path)]


def named_groups(path: Path) -> list[tuple[str, str]]:
    videos = read_list(path)
    return [(video.path, group) for video, group in zip(videos, group_names(videos), strict=True)]


def missing(path: Path) -> dict[str, str]:
    lines = path.with_suffix(".missing.txt").read_text().splitlines()
    return dict(line.split("\t") for line in lines)


def kinetics_words(data: Path) -> list[str | Path]:
    splits = [f"--annotations={split}={data}/annotations/{split}.csv" for split in ("train", "val")]
    return ["kinetics", *splits, "--root", data / "videos"]


def test_kinetics(layout: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, output = layout("kinetics"), tmp_path / "lists"
    prepare(*kinetics_words(data), output=output)
    train, val = output / "kinetics_video_train_list.txt", output / "kinetics_video_val_list.txt"
    assert records(train) == [
        ("train/washing hair/-3B32lodo2M_000059_000069.mp4", 30, 2),
        ("train/abseiling/_hVnm4sIbf8_000000_000010.mp4", 24, 0),
        ("train/massaging_person's_head/0wR5jVB-WPk_000417_000427.mkv", 27, 1),
    ]
    assert [row[1:] for row in records(val)] == [(20, 0), (22, 1), (25, 2)]
    assert read_class_names(str(train), 3) == ["abseiling", "massaging person's head", "washing hair"]
    assert read_class_names(str(val), 3) == read_class_names(str(train), 3)
    assert missing(train) == {
        "abseiling/gone0000000_000003_000013": "no such file",
        "train/washing hair/empty000000_000001_000011.mp4": "the file is empty",
    }
    fingerprint = json.loads(train.with_suffix(".fingerprint.json").read_text())
    assert fingerprint["sha256"] == hashlib.sha256(train.read_bytes()).hexdigest() == read_list(train).sha256
    counts = {key: fingerprint[key] for key in ("videos", "asked_for", "missing", "frames", "classes")}
    assert counts == {"videos": 3, "asked_for": 5, "missing": 2, "frames": 81, "classes": 3}
    printed = capsys.readouterr().out
    assert "kinetics_video_train_list.txt: 3 of 5 videos, 81 frames" in printed
    assert "train: 1 repeated line left out" in printed
    assert "3 classes, Kinetics-400 has 400" in printed
    assert "1 x no such file" in printed


def test_nothing_is_overwritten_and_the_same_again_is_fine(
    layout: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, output = layout("kinetics"), tmp_path / "lists"
    prepare(*kinetics_words(data), output=output)
    before = {path: path.read_bytes() for path in output.iterdir()}
    prepare(*kinetics_words(data), output=output)
    assert "there already, the same" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in output.iterdir()} == before
    (data / "videos/train/abseiling/_hVnm4sIbf8_000000_000010.mp4").unlink()
    with pytest.raises(PrepareError, match="is there with another content; move it away, or choose another name"):
        prepare(*kinetics_words(data), output=output)
    assert {path: path.read_bytes() for path in output.iterdir()} == before


def test_lists_stay_in_their_folder(layout: Callable[[str], Path], tmp_path: Path) -> None:
    words = kinetics_words(layout("kinetics"))
    with pytest.raises(PrepareError, match=r"--name \.\./mine: a name without folders"):
        prepare(*words, "--name", "../mine", output=tmp_path / "lists")
    videos = layout("ssv1") / "20bn-something-something-v1"
    with pytest.raises(MissingError, match="no such file"):
        VideoTree(videos / "7", folders=True).find(Entry("../7", 0, ""))


def test_a_killed_command_counts_only_what_it_has_not_counted(
    layout: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, output = layout("kinetics"), tmp_path / "lists"
    asked: list[str] = []
    kills = [3]
    build = measuring.build_index

    def interrupted(video):
        asked.append(video.path.name)
        if len(asked) in kills:
            kills.clear()
            raise KeyboardInterrupt
        return build(video)

    monkeypatch.setattr(measuring, "build_index", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(*kinetics_words(data), output=output)
    journal = next(output.glob("*.counts.jsonl"))
    journal.write_bytes(journal.read_bytes() + b'["torn')
    prepare(*kinetics_words(data), output=output)
    assert asked[2] in asked[3:] and not set(asked[:2]) & set(asked[3:])
    assert len(records(output / "kinetics_video_train_list.txt")) == 3
    touched = data / "videos/val/3caPS4FHFF8_000036_000046.mp4"
    official_sets.Videos(tmp_path / "new").make(touched, 21)
    asked.clear()
    prepare(*kinetics_words(data), "--name", "later", output=output)
    with pytest.raises(PrepareError, match="another content"):  # 21 frames now
        prepare(*kinetics_words(data), output=output)
    assert asked.count(touched.name) == 2


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("youtube_id,time_start,time_end\nabc,0,10\n", "line 1: no column 'label'; there are: youtube_id"),
        ("label,youtube_id,time_start,time_end\nrun,abc,zero,10\n", "line 2: time_start and time_end must be seconds"),
        ("label,youtube_id,time_start,time_end\nrun,abc\n", "line 2: nothing in column 'time_start'"),
        (
            "label,youtube_id,time_start,time_end\nrun,abc,0,10\nhop,abc,0,10\nrun,abc,0,10\nrun,x,0,10\nhop,x,0,10\n",
            "none of the videos is in there; the annotations ask for 'run/abc_000000_000010'",
        ),
    ],
)
def test_faults_of_a_csv_are_named(tmp_path: Path, content: str, fault: str) -> None:
    table = write_text(tmp_path / "train.csv", content)
    with pytest.raises(PrepareError, match=re.escape(fault)):
        prepare("kinetics", "--annotations", f"train={table}", "--root", tmp_path, output=tmp_path)


def test_ucf101(layout: Callable[[str], Path], tmp_path: Path) -> None:
    data, output = layout("ucf101"), tmp_path / "lists"
    for split in ("1", "3"):
        words = ["--annotations", data / "ucfTrainTestlist", "--root", data / "UCF-101", "--split", split]
        prepare("ucf101", *words, output=output)
    first = [f"ucf101_video_{side}_list.txt" for side in ("train", "test")]
    third = [f"ucf101_split3_video_{side}_list.txt" for side in ("test", "train")]
    labels = {"ApplyEyeMakeup": 0, "HandstandPushups": 1, "YoYo": 2}
    for names in (first, third):
        train, test = (records(output / name) for name in names)
        assert {path: frames for path, frames, _ in train + test} == {
            f"{name}.avi": length for name, length in UCF_VIDEOS.items()
        }
        assert all(label == labels[path.split("/")[0]] for path, _, label in train + test)
        assert len(train) == len(test) == 3
        for video, group in ((v, g) for name in names for v, g in named_groups(output / name)):
            assert group == re.sub(r".*/(v_.*_g\d+)_c\d+\.avi", r"\1", video)


def test_a_byte_order_mark_is_no_part_of_a_file(layout: Callable[[str], Path], tmp_path: Path) -> None:
    for name, files, words in [
        ("ucf101", "ucfTrainTestlist/*.txt", ["ucf101", "--annotations={}/ucfTrainTestlist", "--root={}/UCF-101"]),
        ("kinetics", "annotations/*.csv", [str(word) for word in kinetics_words(Path("{}"))]),
    ]:
        data, output = layout(name), tmp_path / name
        for path in data.glob(files):
            path.write_bytes("\ufeff".encode() + path.read_bytes())
        prepare(*(word.format(data) for word in words), output=output)
        assert len(records(next(output.glob("*_train_list.txt")))) == 3


def test_ucf101_numbers_must_agree_with_the_class_index(layout: Callable[[str], Path], tmp_path: Path) -> None:
    data = layout("ucf101")
    words = ["ucf101", "--annotations", data / "ucfTrainTestlist", "--root", data / "UCF-101"]
    listed = data / "ucfTrainTestlist/trainlist01.txt"
    good = listed.read_text()
    for wrong, fault in [
        (good.replace(" 1", " 0"), "line 1: class 0 is not 'ApplyEyeMakeup', which .* calls 1"),
        (good.replace("YoYo/", "Yoyo/"), "class 'Yoyo' is not one of the 3"),
        (good.replace("YoYo/", ""), "expected 'Class/video.avi'"),
    ]:
        listed.write_text(wrong)
        with pytest.raises(PrepareError, match=fault):
            prepare(*words, output=tmp_path / "lists")
    listed.write_text(good)
    write_text(data / "ucfTrainTestlist/classInd.txt", "0 ApplyEyeMakeup\n1 YoYo\n")
    with pytest.raises(PrepareError, match="line 1: expected '1 ClassName', found '0 ApplyEyeMakeup'"):
        prepare(*words, output=tmp_path / "lists")


@pytest.mark.parametrize("split", ["1", "2"])
def test_hmdb51(layout: Callable[[str], Path], tmp_path: Path, split: str) -> None:
    data, output = layout("hmdb51"), tmp_path / "lists"
    words = ["--annotations", data / "testTrainMulti_7030_splits", "--root", data / "hmdb51_org", "--split", split]
    prepare("hmdb51", *words, output=output)
    name = "hmdb51_video" if split == "1" else "hmdb51_split2_video"
    sides = ("train", "test") if split == "1" else ("test", "train")
    for side, flag in zip(sides, "12", strict=True):
        expected = [
            (path, length, int(path.startswith("clap"))) for path, (length, of) in HMDB_VIDEOS.items() if of == flag
        ]
        assert records(output / f"{name}_{side}_list.txt") == expected
        films = {path: re.sub(r"(.*/)(.*)_(brush_hair|clap)_.*", r"\2", path) for path, _, _ in expected}
        assert dict(named_groups(output / f"{name}_{side}_list.txt")) == films
    record = read_list(output / f"{name}_{sides[1]}_list.txt")[0]
    frames = open_reader("RAW", data / "hmdb51_org").read(record, [0, record.num_frames - 1])
    assert frame_numbers(frames.numpy()) == [0, record.num_frames - 1]


def test_something_v1(layout: Callable[[str], Path], tmp_path: Path) -> None:
    data, output = layout("ssv1"), tmp_path / "lists"
    files = data / "annotations"
    splits = [
        f"--annotations={split}={files}/something-something-v1-{name}.csv"
        for split, name in (("train", "train"), ("val", "validation"))
    ]
    root = data / "20bn-something-something-v1"
    prepare("ssv1", *splits, "--labels", files / "something-something-v1-labels.csv", "--root", root, output=output)
    train = output / "ssv1_frame_train_list.txt"
    assert records(train) == [("100218", 12, 0), ("100001", 9, 1), ("7", 11, 2)]
    assert missing(train) == {
        "100003": "00005.jpg is missing, though there are 7 pictures",
        "100004": "00003.jpg is empty",
    }
    assert records(output / "ssv1_frame_val_list.txt") == [("100002", 10, 3)]
    assert read_class_names(str(train), 4) == list(SOMETHING_CLASSES)
    got = open_reader("FRAME", root).read(VideoRecord("7", 11, 2), range(11))
    assert frame_numbers(got.numpy()) == list(range(11))


def test_something_v2(layout: Callable[[str], Path], tmp_path: Path) -> None:
    data, output = layout("ssv2"), tmp_path / "lists"
    labels, root = data / "labels", data / "20bn-something-something-v2"
    splits = [f"--annotations=train={labels}/train.json", f"--annotations=val={labels}/validation.json"]
    prepare("ssv2", *splits, "--labels", labels / "labels.json", "--root", root, output=output)
    train = output / "ssv2_video_train_list.txt"
    assert records(train) == [("78687.webm", 24, 0), ("1.webm", 16, 1), ("220847.webm", 20, 2), ("55.webm", 18, 3)]
    assert records(output / "ssv2_video_val_list.txt") == [("56.webm", 21, 0)]
    assert read_class_names(str(train), 4) == list(SOMETHING_CLASSES)
    (labels / "train.json").write_text(json.dumps([{"id": "78687"}]))
    with pytest.raises(PrepareError, match=r"entry 1: expected 'id' and 'template', found \['id'\]"):
        prepare("ssv2", *splits, "--labels", labels / "labels.json", "--root", root, output=output)
    (labels / "labels.json").write_text('{"a": "1", "b": "2"}')
    with pytest.raises(PrepareError, match=r"the numbers of the 2 classes are not 0..1"):
        prepare("ssv2", *splits, "--labels", labels / "labels.json", "--root", root, output=output)


def test_activitynet_segments_are_lines_and_are_read_to_the_frame(
    layout: Callable[[str], Path], tmp_path: Path
) -> None:
    data, output = layout("anet"), tmp_path / "lists"
    words = ["--annotations", data / "activity_net.v1-3.min.json", "--root", data / "videos"]
    prepare("anet", *words, output=output)
    train = output / "anet_video_train_list.txt"
    assert records(train) == [
        ("v_sJxn8LMZTi8.mp4#skip=10", 30, 0),  # 0.4 s to 1.6 s at 25 frames a second
        ("v_sJxn8LMZTi8.mp4#skip=50", 50, 1),  # to the end of the video, not of the annotation
        ("v_sJxn8LMZTi8.mp4#skip=50", 25, 0),
        ("v__wrap_00.mp4#skip=0", 60, 1),
    ]
    assert missing(train) == {"v_gone [0.5 s - 1.5 s]": "no such file"}
    val = output / "anet_video_val_list.txt"
    assert records(val) == [("v_-5KAwRfKmo.mkv#skip=0", 25, 0)]
    assert missing(val) == {"v_-5KAwRfKmo [50 s - 60 s]": "the segment shows none of the 50 frames"}
    reader = open_reader("RAW", data / "videos")
    for record in read_list(train):
        skipped = int(record.path.split("=")[1])
        wanted = [0, 7, record.num_frames - 1]
        assert frame_numbers(reader.read(record, wanted).numpy()) == [skipped + frame for frame in wanted]
    prepare("anet", *words, "--mode", "untrimmed", output=output)
    untrimmed = records(output / "anet_untrimmed_video_train_list.txt")
    assert untrimmed == [("v_sJxn8LMZTi8.mp4", 100, 1), ("v__wrap_00.mp4", 60, 1)]


def test_a_segment_in_seconds_follows_the_time_stamps(tmp_path: Path) -> None:
    pts = [0, 1, 2, 30, 31, 60, 61, 62, 90]  # in units of 1/25 s, after a start that is not 0
    encode_video(tmp_path / "v.mkv", len(pts), pts=[stamp + 50 for stamp in pts])
    for seconds, expected in {(0, 1.2): (0, 3), (1.2, 2.4): (3, 2), (2.4, 3.0): (5, 3), (3.6, 9): (8, 1)}.items():
        found = measuring.measure(measuring.Measurement(str(tmp_path), "v.mkv", segments=(seconds,)))
        assert found.segments == (expected,)


def test_folder_of_class_folders(layout: Callable[[str], Path], tmp_path: Path) -> None:
    data, output = layout("own"), tmp_path / "lists"
    prepare("folder", "--root", data, "--seed", "3", output=output)
    train, test = (output / f"data_set_{split}_list.txt" for split in ("train", "test"))
    assert read_class_names(str(train), 3) == ["hand waving", "jump", "笑う"]
    both = records(train) + records(test)
    assert len(both) == len({path for path, _, _ in both}) == 24
    assert all(frames == 16 + int(re.findall(r"person(\d)", path)[0]) for path, frames, _ in both)
    assert [sum(label == k for _, _, label in records(test)) for k in range(3)] == [2, 1, 2]  # of 10, 6, 8
    again = tmp_path / "again"
    prepare("folder", "--root", data, "--seed", "3", output=again)
    assert (again / train.name).read_bytes() == train.read_bytes()
    prepare("folder", "--root", data, "--seed", "4", "--name", "other", output=again)
    assert records(again / "other_test_list.txt") != records(test)


def test_a_person_stays_on_one_side(layout: Callable[[str], Path], tmp_path: Path) -> None:
    data = layout("own")
    for seed in range(4):
        output = tmp_path / str(seed)
        prepare("folder", "--root", data, "--seed", str(seed), "--group", r"person(\d+)", output=output)
        sides = [
            {re.findall(r"person(\d)", path)[0] for path, _, _ in records(output / f"data_set_{split}_list.txt")}
            for split in ("train", "test")
        ]
        assert sides[0] and sides[1] and not sides[0] & sides[1]
        for split in ("train", "test"):  # the lists carry the persons, for what is held out of them later
            videos = read_list(output / f"data_set_{split}_list.txt")
            assert group_names(videos) == [re.findall(r"person(\d)", video.path)[0] for video in videos]
    with pytest.raises(PrepareError, match="does not match 24 of 24 videos, e.g. hand waving/person0 take 0.mp4"):
        prepare("folder", "--root", data, "--group", "actor", output=tmp_path / "none")
    with pytest.raises(PrepareError, match="is no regular expression"):
        prepare("folder", "--root", data, "--group", "(", output=tmp_path / "none")


@pytest.mark.parametrize("sizes", [[1, 2, 3, 40, 7], [5, 5], [1, 1, 10]])
def test_every_class_is_split_to_its_share(sizes: list[int]) -> None:
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    for fraction in (0.01, 0.2, 0.5, 0.99):
        is_test = split_groups(labels, [str(i) for i in range(len(labels))], fraction=fraction, seed=0)
        for label, size in enumerate(sizes):
            chosen = sum(test for test, of in zip(is_test, labels, strict=True) if of == label)
            wanted = min(max(size * fraction, 1), size - 1)
            assert abs(chosen - wanted) <= 0.5


def test_names_that_no_list_can_hold_are_refused_by_name(tmp_path: Path, videos: Videos) -> None:
    for name in ("a/fine.mp4", "a/line\nbreak.mp4", "b/fine too.mp4", "b/x.mp4", "b/y.mp4"):
        videos.make(tmp_path / "set" / name, 16)
    (tmp_path / "set/b/x.mp4").rename(tmp_path / "set/b" / os.fsdecode(b"\xff.mp4"))
    prepare("folder", "--root", tmp_path / "set", output=tmp_path)
    listed = [row[0] for split in ("train", "test") for row in records(tmp_path / f"set_{split}_list.txt")]
    assert sorted(listed) == ["a/fine.mp4", "b/fine too.mp4", "b/y.mp4"]
    refused = "".join(path.read_text() for path in tmp_path.glob("*.missing.txt"))
    assert "a line break in its name" in refused and "its name is not UTF-8" in refused


def test_workers_and_the_command_line(layout: Callable[[str], Path], tmp_path: Path) -> None:
    data, output = layout("ucf101"), tmp_path / "lists"
    words = ["ucf101", "--annotations", data / "ucfTrainTestlist", "--root", data / "UCF-101"]
    prepare(*words, output=output)
    command = [sys.executable, "-m", "dataset.prepare", *map(str, words), "--workers", "2"]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "two")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "3 of 3 videos" in done.stdout and "counting frames" in done.stderr
    for path in output.glob("*_list.txt"):
        assert (tmp_path / "two" / path.name).read_bytes() == path.read_bytes()
    failed = subprocess.run(
        [*command[:4], "--annotations", "nowhere", "--root", str(data)], cwd=ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert failed.returncode == 2
    assert failed.stderr.strip() == "error: cannot read nowhere/classInd.txt: No such file or directory"


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
    assert VideoTree(root).find(Entry("z", 0, "")) == "new/z.mp4"  # the other one is empty
    with pytest.raises(MissingError, match="no such file"):
        tree.find(Entry("w", 0, ""))
    with pytest.raises(PrepareError, match="nowhere, is no folder"):
        VideoTree(tmp_path / "nowhere")


def test_links_are_followed_and_circles_end(tmp_path: Path, videos: Videos) -> None:
    videos.make(tmp_path / "disk/v.mp4", 16)
    (tmp_path / "root").mkdir()
    (tmp_path / "root/link").symlink_to(tmp_path / "disk")
    (tmp_path / "disk/circle").symlink_to(tmp_path / "disk")
    assert walk(tmp_path / "root") == ["link/v.mp4"]
