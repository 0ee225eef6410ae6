"""Lists from official annotations: real videos in each official layout, and common mistakes."""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from dataset.listing import VideoRecord, read_class_names, read_list
from dataset.prepare import measuring
from dataset.prepare.annotations import Entry, PrepareError
from dataset.prepare.finding import MissingError, VideoTree
from dataset.readers import FewerFramesError, ReadError, open_reader
from tests import official_sets
from tests.conftest import ROOT
from tests.dataset.prepare.commands import missing, named_groups, prepare, records
from tests.official_sets import HMDB_VIDEOS, SOMETHING_CLASSES, UCF_VIDEOS, Videos, write_pictures, write_text
from tests.video_kinds import make_video
from tests.videos import encode_video, frame_numbers


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


def test_nothing_is_overwritten_and_repeating_a_command_is_fine(
    layout: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, output = layout("kinetics"), tmp_path / "lists"
    prepare(*kinetics_words(data), output=output)
    before = {path: path.read_bytes() for path in output.iterdir()}
    prepare(*kinetics_words(data), output=output)
    assert "(unchanged)" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in output.iterdir()} == before
    (data / "videos/train/abseiling/_hVnm4sIbf8_000000_000010.mp4").unlink()
    with pytest.raises(PrepareError, match="exists with other content; move it away, or choose another name"):
        prepare(*kinetics_words(data), output=output)
    assert {path: path.read_bytes() for path in output.iterdir()} == before


def test_lists_stay_in_their_folder(layout: Callable[[str], Path], tmp_path: Path) -> None:
    words = kinetics_words(layout("kinetics"))
    with pytest.raises(PrepareError, match=r"--name \.\./mine: expected a name without folders"):
        prepare(*words, "--name", "../mine", output=tmp_path / "lists")
    videos = layout("ssv1") / "20bn-something-something-v1"
    with pytest.raises(MissingError, match="no such file"):
        VideoTree(videos / "7", "folder").find(Entry("../7", 0, ""))


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
    journal.write_bytes(journal.read_bytes() + b'["truncated')
    prepare(*kinetics_words(data), output=output)
    assert asked[2] in asked[3:] and not set(asked[:2]) & set(asked[3:])
    assert len(records(output / "kinetics_video_train_list.txt")) == 3
    touched = data / "videos/val/3caPS4FHFF8_000036_000046.mp4"
    official_sets.Videos(tmp_path / "new").make(touched, 21)
    asked.clear()
    prepare(*kinetics_words(data), "--name", "later", output=output)
    with pytest.raises(PrepareError, match="other content"):  # it has 21 frames now
        prepare(*kinetics_words(data), output=output)
    assert asked.count(touched.name) == 2


def one_bad_packet(path: Path) -> Path:
    """A video of 20 frames, one of which has a damaged packet."""
    encode_video(path, 20, options={"bf": "0", "g": "100", "threads": "1"})
    with av.open(str(path)) as made:
        places = [packet.pos or 0 for packet in made.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    data[places[10] : places[10] + 4] = b"\xff" * 4  # the length of the NAL unit
    path.write_bytes(data)
    return path


def test_unverified_videos_are_counted_and_verifying_finds_damage(
    tmp_path: Path, videos: Videos, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a/whole.mp4", "a/two.mp4", "b/three.mp4"):
        videos.make(tmp_path / "set" / name, 16)
    one_bad_packet(tmp_path / "set/b/bad.mp4")
    words = ["folder", "--root", tmp_path / "set", "--test_fraction", "0.5"]
    prepare(*words, output=tmp_path)
    note = r"note: [34] videos were counted without decoding, so damaged frames go unnoticed \(--verify finds them\)"
    assert re.search(note, capsys.readouterr().out)  # parsing packets may already find the damaged one
    prepare(*words, "--name", "seen", "--verify", output=tmp_path)  # a journal of its own
    prepare(*words, "--name", "seen", output=tmp_path)  # verified counts are kept
    assert "not decoded" not in capsys.readouterr().out
    damaged = "".join(path.read_text() for path in tmp_path.glob("seen_*.missing.txt"))
    assert re.fullmatch(r"b/bad\.mp4\tlisted with (1[0-9]|20) frames, but damaged: .*\n", damaged)
    (tmp_path / "set.counts.jsonl").rename(tmp_path / "mine.counts.jsonl")
    prepare(*words, "--name", "mine", "--verify", output=tmp_path)  # counts without decoding are redone
    assert "".join(path.read_text() for path in tmp_path.glob("mine_*.missing.txt")) == damaged


KINDS = ("interlaced", "edit list", "within a group", "vp8", "joined", "cut off ts", "cut off mkv", "cut off fragments")
FILES = sorted((ROOT / "tests/data/videos").iterdir())  # field pairs, a damaged packet, false key frames, ...


@pytest.mark.parametrize("kind", [*KINDS, *FILES], ids=lambda kind: getattr(kind, "name", kind))
def test_a_list_has_the_frame_count_of_the_reader(kind: str | Path, tmp_path: Path) -> None:
    """The listed last frame can be read, and there is none after it; both counts reject the same files."""
    path = kind if isinstance(kind, Path) else make_video(kind, tmp_path)
    reader = open_reader("RAW", path.parent)
    for count in (measuring.verify, measuring.measure):
        found = count(measuring.CountTask(str(path.parent), path.name))
        record = VideoRecord(path.name, found.num_frames, 0)
        if found.cause:
            with pytest.raises(ReadError, match=re.escape(found.cause)):
                reader.read(record, [0])
            return
        assert len(reader.read(record, [0, found.num_frames - 1])) == 2
        with pytest.raises(FewerFramesError):
            reader.read(record, [found.num_frames])


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("digits", [5, 6])
def test_images_are_counted_as_they_are_read(first: int, digits: int, tmp_path: Path) -> None:
    write_pictures(tmp_path / "v", 4)
    for number in range(1, 5) if first == 0 else range(4, 0, -1):
        (tmp_path / f"v/{number:05d}.jpg").rename(tmp_path / f"v/{number - 1 + first:0{digits}d}.jpg")
    found = measuring.measure(measuring.CountTask(str(tmp_path), "v", "folder"))
    assert found == measuring.Measurement(4)
    assert frame_numbers(open_reader("FRAME", tmp_path).read(VideoRecord("v", 4, 0), range(4)).numpy()) == [0, 1, 2, 3]


def test_images_are_verified_too(tmp_path: Path) -> None:
    write_pictures(tmp_path / "v", 5)
    middle = tmp_path / "v/00003.jpg"
    middle.write_bytes(middle.read_bytes()[:200])
    task = measuring.CountTask(str(tmp_path), "v", "folder")
    assert measuring.measure(task) == measuring.Measurement(5)
    assert measuring.verify(task).cause.startswith("00003.jpg: ")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("youtube_id,time_start,time_end\nabc,0,10\n", "line 1: no column 'label'; there are: youtube_id"),
        ("label,youtube_id,time_start,time_end\nrun,abc,zero,10\n", "line 2: time_start and time_end must be seconds"),
        ("label,youtube_id,time_start,time_end\nrun,abc\n", "line 2: nothing in column 'time_start'"),
        (
            "label,youtube_id,time_start,time_end\nrun,abc,0,10\nhop,abc,0,10\nrun,abc,0,10\nrun,x,0,10\nhop,x,0,10\n",
            "holds none of the annotated videos, such as 'run/abc_000000_000010'",
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
        "100003": "00005.jpg is missing, one of 8 images",
        "100004": "00003.jpg is empty, one of 8 images",
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
        ("v_sJxn8LMZTi8.mp4#skip=10", 30, 0),  # 0.4 s to 1.6 s at 25 frames per second
        ("v_sJxn8LMZTi8.mp4#skip=50", 50, 1),  # up to the end of the video, not of the annotation
        ("v_sJxn8LMZTi8.mp4#skip=50", 25, 0),
        ("v__wrap_00.mp4#skip=0", 60, 1),
    ]
    assert missing(train) == {"v_gone [0.5 s - 1.5 s]": "no such file"}
    val = output / "anet_video_val_list.txt"
    assert records(val) == [("v_-5KAwRfKmo.mkv#skip=0", 25, 0)]
    assert missing(val) == {"v_-5KAwRfKmo [50 s - 60 s]": "none of the 50 frames is in the segment"}
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
        found = measuring.measure(measuring.CountTask(str(tmp_path), "v.mkv", segments=(seconds,)))
        assert found.segments == (expected,)


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
