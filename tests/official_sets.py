"""Small data sets in the structure of the official distributions, with defects that occur in practice."""

import csv
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from tests.videos import encode_video, numbered_frame

MPEG4: dict[str, Any] = {"codec": "mpeg4", "options": {"g": "12"}}
VP8: dict[str, Any] = {"codec": "libvpx", "options": {"deadline": "realtime", "cpu-used": "8", "g": "20"}}
SIZE = (48, 64)


class Videos:
    """Makes videos; each length and container is encoded once and copied."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache

    def make(self, path: Path, num_frames: int, **options: Any) -> Path:
        """Write a video of `num_frames` numbered frames to `path`, whose suffix determines container and codec."""
        codec = {".avi": MPEG4, ".webm": VP8}.get(path.suffix, {})
        name = "_".join([str(num_frames), *map(str, options.values())])
        source = self._cache / f"{name}{path.suffix}"
        if not source.exists():
            encode_video(source, num_frames, **codec, **options)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, path)
        return path


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]], *, newline: str = "\n") -> Path:
    """Write a table by the csv module, with the line ending `newline`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=newline)
    writer.writerows([header, *rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.getvalue().encode())
    return path


def write_text(path: Path, text: str) -> Path:
    """Write text without changing line endings."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


def kinetics(folder: Path, videos: Videos) -> Path:
    """Training videos in folders by class, validation videos in one folder; one missing, one empty, one line twice."""
    header = ["label", "youtube_id", "time_start", "time_end", "split", "is_cc"]
    train = [
        ("washing hair", "-3B32lodo2M", 59, 69, "train", 0),
        ("abseiling", "_hVnm4sIbf8", 0, 10, "train", 1),
        ("massaging person's head", "0wR5jVB-WPk", 417, 427, "train", 0),
        ("abseiling", "gone0000000", 3, 13, "train", 0),
        ("abseiling", "_hVnm4sIbf8", 0, 10, "train", 1),
        ("washing hair", "empty000000", 1, 11, "train", 0),
    ]
    val = [
        ("abseiling", "3caPS4FHFF8", 36, 46, "val", 0),
        ("massaging person's head", "3yaoNwz99xM", 62, 72, "val", 0),
        ("washing hair", "6IbvOJxXnOo", 47, 57, "val", 0),
    ]
    write_csv(folder / "annotations/train.csv", header, train, newline="\r\n")
    write_csv(folder / "annotations/val.csv", header, val)
    root = folder / "videos"
    videos.make(root / "train/washing hair/-3B32lodo2M_000059_000069.mp4", 30)
    videos.make(root / "train/abseiling/_hVnm4sIbf8_000000_000010.mp4", 24)
    videos.make(root / "train/massaging_person's_head/0wR5jVB-WPk_000417_000427.mkv", 27)
    write_text(root / "train/washing hair/empty000000_000001_000011.mp4", "")
    for (_, video, start, end, *_), length in zip(val, (20, 22, 25), strict=True):
        videos.make(root / f"val/{video}_{start:06d}_{end:06d}.mp4", length)
    return folder


UCF_VIDEOS = {
    "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01": 20,
    "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01": 24,
    "HandstandPushups/v_HandStandPushups_g08_c02": 28,
    "HandstandPushups/v_HandStandPushups_g01_c02": 22,
    "YoYo/v_YoYo_g25_c05": 18,
    "YoYo/v_YoYo_g02_c01": 26,
}


def ucf101(folder: Path, videos: Videos) -> Path:
    """Three classes, numbered from 1, Windows line endings, no newline at the end of a test list."""
    lists = folder / "ucfTrainTestlist"
    write_text(lists / "classInd.txt", "1 ApplyEyeMakeup\r\n2 HandstandPushups\r\n3 YoYo\r\n")
    train = [name for name in UCF_VIDEOS if "_g0" not in name or "_g08" in name]
    test = [name for name in UCF_VIDEOS if name not in train]
    numbers = {"ApplyEyeMakeup": 1, "HandstandPushups": 2, "YoYo": 3}
    for split in ("01", "02", "03"):
        one, other = (train, test) if split == "01" else (test, train)
        text = "".join(f"{name}.avi {numbers[name.split('/')[0]]}\r\n" for name in one)
        write_text(lists / f"trainlist{split}.txt", text)
        write_text(lists / f"testlist{split}.txt", "\r\n".join(f"{name}.avi" for name in other))
    for name, length in UCF_VIDEOS.items():
        videos.make(folder / f"UCF-101/{name}.avi", length)
    return folder


HMDB_VIDEOS = {
    "brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi": (20, "1"),
    "brush_hair/Brushing my hair_brush_hair_u_cm_np1_fr_goo_0.avi": (21, "2"),
    "clap/#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi": (22, "1"),
    "clap/(Rad)Schläge_der_Bank!_clap_f_cm_np1_le_med_0.avi": (23, "2"),
    "clap/unused_clap_u_nm_np1_fr_bad_1.avi": (24, "0"),
}


def hmdb51(folder: Path, videos: Videos) -> Path:
    """Two classes; names with spaces, punctuation and umlauts; a space at the end of every line, as distributed."""
    for split in (1, 2, 3):
        for name in ("brush_hair", "clap"):
            lines = [
                f"{path.split('/')[1]} {flag if split == 1 else {'1': '2', '2': '1', '0': '0'}[flag]} "
                for path, (_, flag) in HMDB_VIDEOS.items()
                if path.startswith(name)
            ]
            write_text(
                folder / f"testTrainMulti_7030_splits/{name}_test_split{split}.txt",
                "\n".join(lines) + ("\n" if split == 1 else ""),
            )
    for path, (length, _) in HMDB_VIDEOS.items():
        videos.make(folder / f"hmdb51_org/{path}", length)
    return folder


SOMETHING_CLASSES = (
    "Holding something",
    "Pushing something from left to right",
    "Pushing something from right to left",
    "Showing that something is inside something",
)


def write_pictures(folder: Path, num_frames: int) -> Path:
    """Write a folder of JPEGs as in Something-Something V1."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(num_frames):
        Image.fromarray(numbered_frame(number)).save(folder / f"{number + 1:05d}.jpg", quality=95)
    return folder


def ssv1(folder: Path, _videos: Videos) -> Path:
    """Six folders of JPEGs, one with a gap, one with an empty picture; csv files with semicolons and no header."""
    lengths = {"100218": 12, "100001": 9, "7": 11, "100002": 10, "100003": 8, "100004": 8}
    names = [SOMETHING_CLASSES[i] for i in (0, 1, 2, 3, 0, 1)]
    rows = [f"{video};{name}" for video, name in zip(lengths, names, strict=True)]
    labels = "".join(f"{name}\n" for name in SOMETHING_CLASSES)
    write_text(folder / "annotations/something-something-v1-labels.csv", labels)
    write_text(folder / "annotations/something-something-v1-train.csv", "\r\n".join([*rows[:3], *rows[4:]]))
    write_text(folder / "annotations/something-something-v1-validation.csv", f"{rows[3]}\n")
    root = folder / "20bn-something-something-v1"
    for video, length in lengths.items():
        write_pictures(root / video, length)
    (root / "100003/00005.jpg").unlink()
    write_text(root / "100004/00003.jpg", "")
    return folder


def ssv2(folder: Path, videos: Videos) -> Path:
    """Five webm videos; class indices as text, templates with brackets."""
    labels = {name: str(number) for number, name in enumerate(SOMETHING_CLASSES)}
    write_text(folder / "labels/labels.json", json.dumps(labels))
    lengths = {"78687": 24, "1": 16, "220847": 20, "55": 18, "56": 21}
    templates = (
        "Holding [something]",
        "Pushing [something] from left to right",
        "Pushing [something] from right to left",
        "Showing that [something] is inside [something]",
        "Holding [something]",
    )
    items = [
        {"id": video, "label": template.replace("[something]", "a cup").lower(), "template": template,
         "placeholders": ["a cup"]}
        for video, template in zip(lengths, templates, strict=True)
    ]  # fmt: skip
    write_text(folder / "labels/train.json", json.dumps(items[:4]))
    write_text(folder / "labels/validation.json", json.dumps(items[4:]))
    for video, length in lengths.items():
        videos.make(folder / f"20bn-something-something-v2/{video}.webm", length, rate=12)
    return folder


def anet(folder: Path, videos: Videos) -> Path:
    """Three videos of 25 frames per second with segments; a fourth is missing, a fifth has no public labels."""
    database: dict[str, Mapping[str, Any]] = {
        "sJxn8LMZTi8": {
            "duration": 4.0, "subset": "training", "resolution": "64x48", "url": "",
            "annotations": [
                {"segment": [0.4, 1.6], "label": "Drinking coffee"},
                {"segment": [2.0, 99.0], "label": "Wrapping presents"},
                {"segment": [2.0, 3.0], "label": "Drinking coffee"},
            ],
        },
        "-5KAwRfKmo": {
            "duration": 2.0, "subset": "validation", "resolution": "64x48", "url": "",
            "annotations": [
                {"segment": [0.0, 1.0], "label": "Drinking coffee"},
                {"segment": [50.0, 60.0], "label": "Drinking coffee"},
            ],
        },
        "_wrap_00": {
            "duration": 2.4, "subset": "training", "resolution": "64x48", "url": "",
            "annotations": [{"segment": [0.0, 2.4], "label": "Wrapping presents"}],
        },
        "gone": {
            "duration": 2.0, "subset": "training", "resolution": "64x48", "url": "",
            "annotations": [{"segment": [0.5, 1.5], "label": "Wrapping presents"}],
        },
        "untold": {"duration": 2.0, "subset": "testing", "resolution": "64x48", "url": "", "annotations": []},
    }  # fmt: skip
    content = {"version": "VERSION 1.3", "taxonomy": [], "database": database}
    write_text(folder / "activity_net.v1-3.min.json", json.dumps(content))
    videos.make(folder / "videos/v_sJxn8LMZTi8.mp4", 100)
    videos.make(folder / "videos/v_-5KAwRfKmo.mkv", 50)
    videos.make(folder / "videos/v__wrap_00.mp4", 60)
    return folder


def own(folder: Path, videos: Videos) -> Path:
    """Class folders of unequal size, with spaces and unicode, people in the names, and files that are not videos."""
    for name, people in {"hand waving": 5, "笑う": 4, "jump": 3}.items():
        for person in range(people):
            for take in range(2):
                videos.make(folder / f"{name}/person{person} take {take}.mp4", 16 + person)
    write_text(folder / "jump/notes.txt", "no video")
    write_text(folder / "jump/.hidden.mp4", "no video")
    return folder
