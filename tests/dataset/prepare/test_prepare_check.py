"""The commands check, browse and benchmark."""

import base64
import io
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset.build import make_views_loader, read_evaluation_list
from dataset.heldout import group_names
from dataset.listing import ListError, VideoRecord, read_class_names, read_fingerprint, read_list, split_segment
from dataset.prepare.__main__ import main
from dataset.prepare.annotations import PrepareError
from dataset.prepare.inspecting import benchmark, check
from dataset.prepare.inspecting.browse import Strip, film_strip, write_browser
from dataset.readers.frame_reader import Put
from dataset.readers.raw_video import RawVideoReader
from dataset.readers.video_file import VideoFile
from dataset.readers.video_index import build_index
from dataset.transforms.recipes import evaluation_transform
from tests.conftest import MakeRecord
from tests.videos import encode_video
from utils.config import ConfigError, load_config


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    """A list with Windows line endings and no final newline; three of its lines are valid."""
    encode_video(tmp_path / "videos/good one.mp4", 40)
    content = encode_video(tmp_path / "videos/cut.mkv", 40).read_bytes()
    (tmp_path / "videos/cut.mkv").write_bytes(content[: len(content) * 6 // 10])
    (tmp_path / "videos/empty.mp4").touch()
    (tmp_path / "videos/text.mp4").write_text("no video " * 50)
    encode_video(tmp_path / "videos/hole.mp4", 40, options={"preset": "ultrafast", "g": "10", "bf": "0"})
    damage_one_key_frame(tmp_path / "videos/hole.mp4")
    lines = [
        "good one.mp4 40 1",
        "good one.mp4 45 1",
        "cut.mkv 40 0",
        "empty.mp4 40 0",
        "text.mp4 40 0",
        "none.mp4 40 0",
        "good one.mp4#skip=10 30 0",
        "good one.mp4#skip=10 31 0",
        "good one.mp4#skip=40 3 0",
        "hole.mp4 40 1",
        "good one.mp4 39 1",
    ]
    (tmp_path / "x_list.txt").write_bytes("\r\n".join(lines).encode())
    (tmp_path / "classes.txt").write_text("no\nyes\n")
    return tmp_path / "x_list.txt"


def damage_one_key_frame(path: Path) -> None:
    """Overwrite the third key frame, so that frames 20 to 29 cannot be decoded."""
    import av

    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.is_keyframe and packet.size][2]
        start, size = packet.pos, packet.size
    assert start is not None
    data = bytearray(path.read_bytes())
    data[start + 8 : start + size] = bytes(size - 8)
    path.write_bytes(data)


def run_check(listed: Path, *words: object) -> int:
    common = ("check", "--list", listed, "--root", listed.parent / "videos", "--workers", 1)
    try:
        main([str(word) for word in (*common, *words)])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_a_clean_list_keeps_the_groups(faulty: Path) -> None:
    groups = {split_segment(video.path)[0]: f"group {i % 2}" for i, video in enumerate(read_list(faulty))}
    text = "".join(f"{group}\t{path}\n" for path, group in groups.items())
    faulty.with_name("x_list.groups.txt").write_text(text)
    run_check(faulty)
    videos = read_list(faulty.with_name("x_list.clean.txt"))
    assert group_names(videos) == [groups[split_segment(video.path)[0]] for video in videos]
    assert faulty.with_name("x_list.clean.groups.txt").exists()


def test_a_clean_list_keeps_the_rate_of_its_videos(faulty: Path) -> None:
    beside = faulty.with_suffix(".fingerprint.json")
    beside.write_text('{"frame_rate": 12.5')
    with pytest.raises(ListError, match=r"fingerprint\.json: cannot be read"):  # before hours of decoding
        run_check(faulty)
    beside.write_text('{"frame_rate": 12.5}')
    run_check(faulty)
    assert read_fingerprint(faulty.with_name("x_list.clean.txt"))["frame_rate"] == 12.5


def test_rejects_are_listed_with_their_causes(faulty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_check(faulty, "--frames", 30) == 1
    clean = faulty.with_name("x_list.clean.txt")
    assert [f"{v.path} {v.num_frames} {v.label}" for v in read_list(clean)] == [
        "good one.mp4 40 1",
        "good one.mp4#skip=10 30 0",
        "good one.mp4 39 1",
    ]
    assert read_class_names(str(clean), 2) == ["no", "yes"]
    rejects = [line.split("\t") for line in faulty.with_name("x_list.rejects.txt").read_text().splitlines()]
    assert [path for path, _ in rejects] == [
        "good one.mp4", "cut.mkv", "empty.mp4", "text.mp4", "none.mp4", "good one.mp4#skip=10", "good one.mp4#skip=40",
        "hole.mp4",
    ]  # fmt: skip
    causes = [cause for _, cause in rejects]
    for cause, expected in zip(
        causes,
        [
            r"frame 44 \(from 0\) is wanted, there are 40",
            r"frame 39 \(from 0\) is wanted, there are \d\d",
            "the file is empty",
            "Invalid data found",
            "No such file or directory",
            r"frame 40 \(from 0\) is wanted, there are 40",
            "nothing is left of the segment",
            "hole.mp4: ",
        ],
        strict=True,
    ):
        assert re.search(expected, cause)
    assert "3 of 11 videos" in capsys.readouterr().out
    assert not list(faulty.parent.glob(".*.jsonl"))
    with pytest.raises(PrepareError, match=r"x_list\.clean\.txt exists: .* was checked before; move it away"):
        run_check(faulty)


def test_damage_between_the_checked_frames_is_found(faulty: Path) -> None:
    faulty.write_text("hole.mp4 40 1\nhole.mp4 20 1\nhole.mp4#skip=30 10 1\n")
    assert run_check(faulty, "--frames", 0) == 1
    damaged, short = faulty.with_name("x_list.rejects.txt").read_text().splitlines()
    assert re.search(r"hole\.mp4: frames damaged or dependent on damaged ones: 1, first frame 20 \(from 0\)$", damaged)
    assert re.search(
        r"hole\.mp4: frame 39 \(from 0\) is not decoded in a pass from .* \(1 packet cannot be decoded", short
    )
    assert len(read_list(faulty.with_name("x_list.clean.txt"))) == 1


def test_random_access_that_differs_from_a_sequential_pass_is_found(
    faulty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty.write_text("good one.mp4 40 1\n")
    decode = RawVideoReader.decode

    def astray(reader: RawVideoReader, record: VideoRecord, numbers: Sequence[int], put: Put) -> None:
        decode(reader, record, [*numbers[:-1], numbers[-1] - 1], put)

    monkeypatch.setattr(RawVideoReader, "decode", astray)
    assert run_check(faulty, "--frames", 0) == 1
    assert (
        "frame 39 (from 0) differs from that of a pass from the start"
        in faulty.with_name("x_list.rejects.txt").read_text()
    )


def test_a_killed_check_continues(faulty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode, seen = check.decode, []

    def interrupted(sample: check.Sample) -> str:
        seen.append(sample.index)
        if len(seen) == 5:
            raise KeyboardInterrupt
        return decode(sample)

    monkeypatch.setattr(check, "decode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_check(faulty)
    assert run_check(faulty) == 1
    assert seen == [0, 1, 2, 3, 4, *range(4, 11)]


def test_a_valid_list_passes_and_another_format_is_checked_by_its_reader(faulty: Path) -> None:
    faulty.write_text("good one.mp4 40 1\n")
    assert run_check(faulty) == 0
    assert faulty.with_name("x_list.rejects.txt").read_bytes() == b""
    assert run_check(faulty, "--format", "FRAME", "--output", faulty.parent / "other") == 1


class Page(HTMLParser):
    """All images and captions of a page, and everything that it would have to fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.pictures: list[np.ndarray] = []
        self.outside: list[str] = []
        self.captions: list[str] = []
        self.feed(text)

    def handle_starttag(self, _tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href") and value != "data:,":  # no icon is requested
                head, _, data = str(value).partition(",")
                if head != "data:image/jpeg;base64":
                    self.outside.append(str(value))
                    continue
                with Image.open(io.BytesIO(base64.b64decode(data))) as image:
                    self.pictures.append(np.asarray(image))
            elif name == "alt":
                self.captions.append(str(value))


def test_the_page_shows_the_input_of_the_network(make_record: MakeRecord, tmp_path: Path) -> None:
    path, page_file = make_record(), tmp_path / "page.html"
    main(["browse", "--config_file", str(path), "--output", str(page_file), "--clips", "3", "--videos", "2",
          "sampler.eva_num_clips=2"])  # fmt: skip
    page = Page(page_file.read_text())
    config = load_config(path, ["sampler.eva_num_clips=2"])
    assert not page.outside
    assert len(page.pictures) == len(page.captions) == 3 + 2 * 2 * config.dataset.eva_num_crop
    videos = read_evaluation_list(config)
    view = next(iter(make_views_loader(config, videos=videos, indices=[0])))
    clip = view.frames[view.clip_frames[0]].movedim(1, -1).numpy()
    center = evaluation_transform(clip, size=config.dataset.eva_crop_size)
    assert np.abs(page.pictures[3].astype(int) - film_strip(center)).mean() < 6
    assert f"({videos[0].path}), clip 0, crop 0" in page.captions[3]
    names = read_class_names(config.dataset.list_file, config.dataset.num_classes)
    for caption in page.captions[:3]:
        name, video = re.fullmatch(r"(.*) \((.*)\)", caption).groups()  # type: ignore[union-attr]
        assert video.split("/")[1] == name and name in names
    with pytest.raises(PrepareError, match=r"page\.html exists already; choose another name"):
        main(["browse", "--config_file", str(path), "--output", str(page_file)])


def test_the_sheet_is_an_image(make_record: MakeRecord, tmp_path: Path) -> None:
    words = ["browse", "--config_file", str(make_record()), "--clips", "2", "--videos", "1"]
    main([*words, "--output", str(tmp_path / "sheet.png")])
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width >= 8 * 24 and sheet.height > (2 + 6) * 24
        assert len(np.unique(np.asarray(sheet).reshape(-1, 3), axis=0)) > 100
    for wrong, fault in (("x.txt", "choose a name that ends in .html or .png"),):
        with pytest.raises(PrepareError, match=fault):
            main([*words, "--output", wrong])
    with pytest.raises(PrepareError, match=r"--state 2: tiny has the states 1\.\.1"):
        main([*words, "--state", "2", "--output", str(tmp_path / "other.png")])
    with pytest.raises(ConfigError, match="unknown key"):
        main([*words, "--output", str(tmp_path / "other.png"), "dataset.nonsense=1"])


def test_flow_is_shown_as_two_gray_images() -> None:
    clip = np.random.default_rng(0).integers(0, 256, (16, 4, 6, 2), dtype=np.uint8)
    strip = film_strip(clip)
    assert strip.shape == (8, 8 * 6 + 7 * 2, 3)
    assert np.array_equal(strip[:4, :6, 0], clip[0, ..., 0]) and np.array_equal(strip[4:, -6:, 2], clip[-1, ..., 1])
    assert (strip[:, 6:8] == 255).all(), "a white gap"


def test_a_long_caption_has_room_on_the_sheet(tmp_path: Path) -> None:
    """And a name with a line break does not run into its strip."""
    clip = np.zeros((2, 24, 24, 3), dtype=np.uint8)
    for number, caption in enumerate(("a", "name \n" * 40)):
        write_browser(tmp_path / f"{number}.png", [("part", [Strip(caption, clip)])], title="title")
    short, long = (np.asarray(Image.open(tmp_path / f"{number}.png").convert("L")) for number in (0, 1))
    assert short.shape[0] == long.shape[0] and short.shape[1] < 80 < 1000 < long.shape[1]
    written = np.flatnonzero((long[: -24 - 8] < 128).any(axis=0))
    assert long.shape[1] - 16 <= written[-1] <= long.shape[1] - 8


def test_the_benchmark_names_the_limit_of_each_store(
    make_record: MakeRecord, tiny_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed, lmdb_list = tiny_set / "train_list.txt", tmp_path / "lmdb_list.txt"
    main(["lmdb", "--list", str(listed), "--root", str(tiny_set), "--output", str(tmp_path / "lmdb"), "--new_list",
          str(lmdb_list), "--workers", "1"])  # fmt: skip
    capsys.readouterr()
    main(["benchmark", "--config_file", str(make_record()), "--clips", "16", "--store", "LMDB", str(lmdb_list),
          str(tmp_path / "lmdb")])  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("tiny: clips of 8 x 24 x 24, rand_augment, 0 workers")
    rows = [line for line in lines if line.startswith(("RAW", "LMDB"))]
    assert [row.split()[0] for row in rows] == ["RAW", "LMDB"]
    for row in rows:
        decode, transform, transfer, loader = (float(word) for word in row.split()[2:6])
        assert min(decode, transform, transfer, loader) > 0
        worker = 1 / (1 / decode + 1 / transform)
        expected = "transfer" if transfer < worker else "decode" if decode <= transform else "transform"
        assert row.split()[-1] == expected
    assert any(line.startswith("  - ") for line in lines)


def test_the_benchmark_times_clips_by_seconds(make_record: MakeRecord, capsys: pytest.CaptureFixture[str]) -> None:
    main(["benchmark", "--config_file", str(make_record()), "--clips", "2", "sampler.frame_rate=10"])
    assert capsys.readouterr().out.splitlines()[2].startswith("RAW")


def test_a_benchmark_of_no_clips_is_an_error(make_record: MakeRecord) -> None:
    with pytest.raises(PrepareError, match="--clips -9: must be at least 1"):
        main(["benchmark", "--config_file", str(make_record()), "--clips", "-9"])


def stages(decode: float, transform: float, transfer: float, *, workers: int = 4, cores: int = 8) -> benchmark.Stages:
    return benchmark.Stages(decode, transform, transfer, 1.0, workers, cores)


def test_the_limit_is_the_slowest_part() -> None:
    assert stages(40, 10, 2).limit == "decode"
    assert stages(10, 40, 2).limit == "transform"
    assert stages(10, 10, 6).limit == "transfer"  # 200 clips/s by 4 workers, 167 by the main process
    assert stages(10, 10, 4).limit == "decode"
    assert stages(10, 10, 4, workers=64).limit == "transfer"  # 8 processors share the work
    assert stages(10, 10, 2, workers=64).limit == "decode"
    assert stages(40, 10, 2).rates == {"decode": 100, "transform": 400, "transfer": 500}


def test_advice_fits_the_limit() -> None:
    def says(found: list[str]) -> str:
        return "\n".join(found)

    long = benchmark.advice(stages(40, 10, 2), format="RAW", group=250)
    assert "resize" in long[0] and "every 250 frames" in long[0] and "lmdb" in long[1] and "num_workers=8" in long[2]
    assert "resize" not in says(benchmark.advice(stages(40, 10, 2), format="RAW", group=12))
    assert "lmdb" not in says(benchmark.advice(stages(40, 10, 2), format="LMDB", group=None))
    assert "augmentation" in benchmark.advice(stages(10, 40, 2), format="RAW", group=250)[0]
    assert "more workers do not help" in says(benchmark.advice(stages(1, 1, 9), format="RAW", group=250))
    assert "all 8 processors" in says(benchmark.advice(stages(40, 10, 2, workers=8), format="RAW", group=12))


def test_the_mean_group_of_pictures_is_measured(tmp_path: Path) -> None:
    for group in (5, 1000):
        encode_video(tmp_path / f"{group}.mp4", 40, options={"preset": "ultrafast", "g": str(group), "bf": "0"})
        (tmp_path / "list.txt").write_text(f"{group}.mp4 40 0\nnone.mp4 40 0\n")
        with VideoFile(tmp_path / f"{group}.mp4") as video:
            keys = len(build_index(video).keys)
        assert benchmark.mean_group(read_list(tmp_path / "list.txt"), tmp_path) == 40 / keys == min(group, 40)


def test_a_loader_of_few_batches_is_repeated() -> None:
    class Batch:
        labels = range(4)

    seen: list[object] = []
    rate = benchmark.measure_loader([Batch(), Batch()], to_device=seen.append, most=20)  # type: ignore[list-item]
    assert rate > 0 and len(seen) == 1 + 5
    Batch.labels = range(0)  # every video was skipped
    assert benchmark.measure_loader([Batch(), Batch()], to_device=seen.append, most=20) == 0  # type: ignore[list-item]
