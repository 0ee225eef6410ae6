"""Lists of a user's own folders: classes, splits, and the files in no list with their reasons."""

import os
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataset.heldout import group_names
from dataset.listing import read_class_names, read_list
from dataset.prepare.annotations import PrepareError
from dataset.prepare.folder import given_splits, split_groups
from tests.dataset.prepare.commands import prepare, records
from tests.official_sets import Videos, write_text
from tests.videos import encode_video
from utils.config import load_config


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
        for split in ("train", "test"):  # the groups are kept for later held-out splits
            videos = read_list(output / f"data_set_{split}_list.txt")
            assert group_names(videos) == [re.findall(r"person(\d)", video.path)[0] for video in videos]
    with pytest.raises(PrepareError, match="does not match 24 of 24 videos, e.g. hand waving/person0 take 0.mp4"):
        prepare("folder", "--root", data, "--group", "actor", output=tmp_path / "none")
    with pytest.raises(PrepareError, match="is no regular expression"):
        prepare("folder", "--root", data, "--group", "(", output=tmp_path / "none")


@pytest.mark.parametrize("sizes", [[1, 2, 3, 40, 7], [5, 5], [1, 1, 10]])
def test_every_class_is_split_by_the_fraction(sizes: list[int]) -> None:
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    for fraction in (0.01, 0.2, 0.5, 0.99):
        is_test = split_groups(labels, [str(i) for i in range(len(labels))], fraction=fraction, seed=0)
        for label, size in enumerate(sizes):
            chosen = sum(test for test, of in zip(is_test, labels, strict=True) if of == label)
            wanted = min(max(size * fraction, 1), size - 1)
            assert abs(chosen - wanted) <= 0.5


def test_names_that_no_list_can_hold_are_named(tmp_path: Path, videos: Videos) -> None:
    for name in ("a/fine.mp4", "a/line\nbreak.mp4", "b/fine too.mp4", "b/x.mp4", "b/y.mp4"):
        videos.make(tmp_path / "set" / name, 16)
    (tmp_path / "set/b/x.mp4").rename(tmp_path / "set/b" / os.fsdecode(b"\xff.mp4"))
    prepare("folder", "--root", tmp_path / "set", output=tmp_path)
    listed = [row[0] for split in ("train", "test") for row in records(tmp_path / f"set_{split}_list.txt")]
    assert sorted(listed) == ["a/fine.mp4", "b/fine too.mp4", "b/y.mp4"]
    refused = "".join(path.read_text() for path in tmp_path.glob("*.missing.txt"))
    assert "a line break in its name" in refused and "its name is not UTF-8" in refused


CLASSES = ("jump", "run", "walk")


def walking(folder: Path, videos: Videos, *tops: str) -> Path:
    """Classes jump, run, walk below each folder; names and lengths of videos are unique."""
    for number, top in enumerate(tops):
        for label, name in enumerate(CLASSES):
            videos.make(folder / top / name / f"{top.replace('/', '')}{label}.mp4", 16 + number)
    return folder


def split_lists(output: Path) -> dict[str, list[tuple[str, int, int]]]:
    return {path.name.split("_")[-2]: records(path) for path in output.glob("*_list.txt")}


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Training", "validation", "testset"), ("TRAIN_set", "dev")]
)
def test_folders_named_like_splits_are_splits(names: tuple[str, ...], tmp_path: Path, videos: Videos) -> None:
    data, output = walking(tmp_path / "data", videos, *names), tmp_path / "lists"
    (data / names[0] / "fly").mkdir()
    videos.make(data / names[1] / "fly/only.mp4", 16)
    record = tmp_path / "mine.yml"
    prepare("folder", "--root", data, "--record", record, output=output)
    lists = split_lists(output)
    assert list(lists) == sorted(lists, key=list(lists).index) and set(lists) == {
        *("train", "val", "test")[: len(names)]
    }
    for split, top in zip(("train", "val", "test"), names, strict=False):
        found = [(path, label) for path, _, label in lists[split] if "fly" not in path]
        assert found == [
            (f"{top}/{name}/{top}{label - 1}.mp4", label) for label, name in enumerate(("jump", "run", "walk"), 1)
        ]
    config = load_config(record, [])
    assert config.dataset.num_classes == 4
    assert config.dataset.eva_list_file == str(output / "data_val_list.txt")
    assert read_class_names(output / "data_val_list.txt", 4) == ["fly", "jump", "run", "walk"]


def test_contradictory_split_folders_are_errors(tmp_path: Path, videos: Videos) -> None:
    data = walking(tmp_path / "data", videos, "train", "val")
    for words, fault in (
        (["--test_fraction", "0.3"], r"--test_fraction 0\.3: .* is split by its folders train, val already"),
        (["--seed", "0"], "--seed 0: .* is split by its folders train, val already"),
        (
            ["--group", "[a-z]+[0-9]?$", "--classes", write_text(tmp_path / "c", "jump\nrun\n")],
            "'walk' of .* is no class",
        ),
        (["--group", "(jump|run|walk)"], "'jump' is in several of the folders train, val"),
    ):
        with pytest.raises(PrepareError, match=fault):
            prepare("folder", "--root", data, *words, output=tmp_path / "lists")
    within = walking(tmp_path / "within", videos, "jump/train", "jump/test", "run/train")
    with pytest.raises(PrepareError, match=r"test, train are within the classes \(jump/test/.*\); put them above"):
        prepare("folder", "--root", within, output=tmp_path / "lists")
    for extra, fault in (
        ("more/x/a.mp4", "train/, val/ are splits by their names, more/ is none"),
        ("valid/x/a.mp4", "val/ and valid/ are the same split"),
    ):
        videos.make(data / extra, 16)
        with pytest.raises(PrepareError, match=fault):
            prepare("folder", "--root", data, output=tmp_path / "lists")
        (data / extra).unlink()
    with pytest.raises(PrepareError, match=r"no folder train/ beside test/, val/"):
        given_splits(["val/a/x.mp4", "test/a/x.mp4"], data)
    with pytest.raises(PrepareError, match=r"found 1 with videos in it; is it --root .*only/train\?"):
        prepare("folder", "--root", walking(tmp_path / "only", videos, "train"), output=tmp_path / "lists")
    assert not (tmp_path / "lists").exists()


def test_a_class_with_an_accent_is_one_class_in_any_unicode_form(tmp_path: Path, videos: Videos) -> None:
    decomposed = unicodedata.normalize("NFD", "fähre")
    for folder in ("train/fähre", "train/bus", f"test/{decomposed}", "test/bus"):
        videos.make(tmp_path / "data" / folder / "a.mp4", 16)
    names = write_text(tmp_path / "names.txt", f"{decomposed}\nbus\n")
    prepare("folder", "--root", tmp_path / "data", "--classes", names, output=tmp_path)
    lists = split_lists(tmp_path)
    assert sorted(label for _, _, label in lists["train"]) == sorted(label for _, _, label in lists["test"]) == [0, 1]
    assert read_class_names(tmp_path / "data_test_list.txt", 2) == ["fähre", "bus"]


@pytest.mark.parametrize(("name", "fault"), [("a\nb", "a line break in its name"), (os.fsdecode(b"\xff"), "not UTF-8")])
def test_a_class_that_no_file_of_names_can_hold_is_an_error(
    name: str, fault: str, tmp_path: Path, videos: Videos
) -> None:
    for folder in (name, "fine"):
        videos.make(tmp_path / "data" / folder / "a.mp4", 16)
    with pytest.raises(PrepareError, match=f"cannot be a class: .*{fault}"):
        prepare("folder", "--root", tmp_path / "data", output=tmp_path / "lists")
    assert not (tmp_path / "lists").exists()


def test_a_class_may_be_called_like_a_split() -> None:
    assert given_splits(["train/a.mp4", "bus/b.mp4", "test data of mine/c.mp4"], Path()) == {}


KINDS: dict[str, dict[str, Any]] = {
    "camera.MTS": {}, "disc.m2ts": {}, "dvd.vob": {"codec": "mpeg2video", "options": {}},
    "moving.gif": {"codec": "gif", "options": {}, "pix_fmt": "rgb8"}, "old.asf": {"codec": "wmv2", "options": {}},
    "phone.3gp": {"codec": "mpeg4", "options": {}},
    "free.ogv": {"codec": "libvpx", "options": {"deadline": "realtime"}},
    "stream.h264": {}, "no suffix": {}, "strange.dat": {},
    "disc.DAT": {"codec": "mpeg1video", "options": {}},  # as on video discs
}  # fmt: skip


def test_any_file_that_ffmpeg_opens_is_a_video_and_others_are_named(
    tmp_path: Path, videos: Videos, capsys: pytest.CaptureFixture[str]
) -> None:
    data, output = tmp_path / "data", tmp_path / "lists"
    container = {".MTS": ".ts", ".m2ts": ".ts", "": ".mp4", ".dat": ".mkv", ".DAT": ".mpg"}
    for name, options in KINDS.items():
        suffix = Path(name).suffix
        made = encode_video(tmp_path / f"made{container.get(suffix, suffix)}", 12, **options)
        (data / "all kinds").mkdir(parents=True, exist_ok=True)
        made.rename(data / "all kinds" / name)
    for number in range(7):
        videos.make(data / f"plain/{number}.mp4", 16)
        write_text(data / f"plain/{number}.txt", "about it\n" * 9)
    write_text(data / "plain/list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.4,\n../more.ts\n#EXT-X-ENDLIST\n")
    encode_video(data / "more.ts", 10)
    encode_video(data / "plain/still.png", 1, codec="png", options={}, pix_fmt="rgb24")
    write_text(data / "plain/.hidden.mp4", "")
    write_text(data / "plain/broken.mp4", "no video at all")
    videos.make(data / "beside.mp4", 16)
    (data / "empty/deeper").mkdir(parents=True)
    os.mkfifo(data / "plain/pipe")
    (data / "plain/lost").symlink_to("nowhere")
    (data / "plain/itself").symlink_to("itself")
    (data / "plain/up").symlink_to(data)
    prepare("folder", "--root", data, output=output)
    listed = {path for rows in split_lists(output).values() for path, _, _ in rows}
    assert listed == {f"all kinds/{name}" for name in KINDS} | {f"plain/{number}.mp4" for number in range(7)}
    left_out = dict(line.split("\t") for line in (output / "data.left_out.txt").read_text().splitlines())
    assert left_out == {
        "beside.mp4": "beside the folders of the classes", "more.ts": "beside the folders of the classes",
        "empty": "a class without a video",
        "plain/.hidden.mp4": "hidden", "plain/still.png": "a still image", "plain/pipe": "no regular file",
        "plain/lost": "a broken link", "plain/itself": "a broken link",
        "plain/up": "a link to a folder that is taken already",
        "plain/list.m3u8": "a list of other files",
        **{f"plain/{number}.txt": "no video: Invalid data found when processing input" for number in range(7)},
    }  # fmt: skip
    printed = capsys.readouterr().out
    assert "left out: 1 x a class without a video: empty\n" in printed and "plain/4.txt, ..." in printed
    assert f"all names: {output / 'data.left_out.txt'}" in printed
    assert "plain/broken.mp4\tInvalid data" in "".join(path.read_text() for path in output.glob("*.missing.txt"))


def test_too_few_classes_say_what_was_left_out(tmp_path: Path, videos: Videos) -> None:
    videos.make(tmp_path / "a/1.mp4", 16)
    write_text(tmp_path / "b/video.txt", "no video at all")
    (tmp_path / "b/lost.mp4").symlink_to("nowhere")
    said = "found 1 with videos in it; left out: 1 x a broken link: b/lost.mp4; left out: 1 x no video: .*: b/video.txt"
    with pytest.raises(PrepareError, match=said):
        prepare("folder", "--root", tmp_path, output=tmp_path / "lists")


def test_links_to_one_file_stay_on_one_side(tmp_path: Path, videos: Videos, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    for number in range(6):
        (data / f"b/{number}.mp4").parent.mkdir(parents=True, exist_ok=True)
        (data / f"b/{number}.mp4").symlink_to(videos.make(data / f"a/{number}.mp4", 16))
    for seed in range(3):
        output = tmp_path / str(seed)
        prepare("folder", "--root", data, "--seed", seed, "--test_fraction", "0.4", output=output)
        train, test = ({Path(row[0]).name for row in split_lists(output)[split]} for split in ("train", "test"))
        assert train and test and not train & test
    for split in ("train", "val"):
        for name in "ab":
            link = tmp_path / "given" / split / name / "0.mp4"
            link.parent.mkdir(parents=True)
            link.symlink_to(data / name / "0.mp4")
    capsys.readouterr()
    prepare("folder", "--root", tmp_path / "given", output=tmp_path / "lists")
    said = "note: 1 video in several splits, as links or copies, e.g. train/a/0.mp4 and val/a/0.mp4"
    assert said in capsys.readouterr().out


def test_copies_in_several_splits_or_classes_are_said(
    tmp_path: Path, videos: Videos, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not those of one class on one side, and not files that differ in their middle alone."""
    lengths = {"train/a/1": 16, "train/a/2": 17, "train/a/3": 17, "train/b/4": 18, "val/a/5": 19, "val/b/6": 18}
    for name, length in lengths.items():
        videos.make(tmp_path / "data" / f"{name}.mp4", length)
    prepare("folder", "--root", tmp_path / "data", output=tmp_path / "first")
    said = "note: 1 video in several splits, as links or copies, e.g. train/b/4.mp4 and val/b/6.mp4: "
    printed = capsys.readouterr().out
    assert said in printed and "several classes" not in printed
    videos.make(tmp_path / "data/train/b/7.mp4", 16)
    for name, byte in (("train/a/8.ts", b"8"), ("val/b/9.ts", b"9")):
        content = videos.make(tmp_path / "data" / name, 300).read_bytes()
        middle = len(content) // 2
        assert middle > 1 << 16
        (tmp_path / "data" / name).write_bytes(content[:middle] + byte + content[middle + 1 :])
    prepare("folder", "--root", tmp_path / "data", output=tmp_path / "second")
    printed = capsys.readouterr().out
    assert said in printed
    assert "1 video in several classes, as links or copies, e.g. train/a/1.mp4 and train/b/7.mp4" in printed
