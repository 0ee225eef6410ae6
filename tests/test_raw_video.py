"""Frames of encoded videos by number, against decoding the whole file, against OpenCV and against numbers in pixels."""

import itertools
import pickle
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np
import pytest

from dataset import raw_video, video_index
from dataset.listing import VideoRecord
from dataset.raw_video import RawVideoReader
from dataset.read_errors import FewerFramesError, ReadError
from dataset.video_file import VideoFile
from dataset.video_index import FrameIndex, build_index, plan_runs
from tests.videos import (
    add_cover,
    add_sound,
    decode_all,
    encode_video,
    frame_numbers,
    mux_cover,
    mux_silence,
    remux,
    sequential_frames,
)

N = 38
MPEG4: dict[str, Any] = {"codec": "mpeg4", "options": {"bf": "2", "g": "12"}}
VP9 = {"deadline": "realtime", "cpu-used": "8", "g": "20", "auto-alt-ref": "1", "lag-in-frames": "16"}
X265 = "log-level=none:keyint=16:bframes=3:b-adapt=0:open-gop=1:b-pyramid=1:temporal-layers=3:pools=none"


def x264(**options: str) -> dict[str, Any]:
    return {"options": {"preset": "ultrafast", "threads": "1", "g": "12", **options}}


def cut_from_key(folder: Path) -> Path:
    """A cut without re-encoding, as made by `ffmpeg -ss ... -c copy`: an edit list hides what only serves decoding."""
    return remux(encode_video(folder / "whole.mp4", N + 14), folder / "cut.mp4", shift=-512 * 14)


def cut_within_first_group(folder: Path) -> Path:
    return remux(encode_video(folder / "whole.mp4", N + 5), folder / "trimmed.mp4", shift=-512 * 5)


def cut_within_group(folder: Path) -> Path:
    return remux(encode_video(folder / "whole.ts", N), folder / "cut.ts", drop=5)


def joined_broadcasts(folder: Path) -> Path:
    """Time stamps start again half way."""
    return joined(folder, (range(N // 2), range(N // 2)))


def joined_backwards(folder: Path) -> Path:
    """The first half comes much later than the second, by its time stamps."""
    return joined(folder, (range(1000, 1000 + N // 2), range(N // 2)))


def joined_interleaved(folder: Path) -> Path:
    """By their time stamps, the frames of the second half belong between those of the first."""
    return joined(folder, (range(0, N, 2), range(5, 5 + N, 2)))


def joined(folder: Path, pts_of_halves: tuple[range, range]) -> Path:
    halves = [encode_video(folder / f"{i}.ts", N // 2, pts=pts) for i, pts in enumerate(pts_of_halves)]
    (folder / "joined.ts").write_bytes(b"".join(half.read_bytes() for half in halves))
    return folder / "joined.ts"


def cut_off(suffix: str, **options: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        content = encode_video(folder / f"whole{suffix}", N, **options).read_bytes()
        (folder / f"cut{suffix}").write_bytes(content[: int(len(content) * 0.6)])
        return folder / f"cut{suffix}"

    return make


def encoded(name: str, **options: Any) -> Callable[[Path], Path]:
    return lambda folder: encode_video(folder / name, N, **options)


VIDEOS: dict[str, Callable[[Path], Path]] = {
    "B-frames": encoded("a.mp4"),
    "no B-frames": encoded("a.mp4", **x264(bf="0")),
    "one key frame": encoded("a.mp4", **x264(g="1000", bf="3")),
    "open groups": encoded("a.mp4", **x264(bf="3", **{"b-adapt": "0", "x264-params": "open-gop=1:b-pyramid=strict"})),
    "intra refresh": encoded("a.mp4", **x264(**{"intra-refresh": "1"})),
    "interlaced": encoded("a.mp4", **x264(bf="2", **{"x264-params": "tff=1"})),
    "variable rate": encoded("a.mp4", pts=np.cumsum(np.arange(N) % 5 + 1).tolist()),
    "29.97 a second": encoded("a.mp4", rate=Fraction(30000, 1001)),
    "late start": encoded("a.mkv", pts=range(125, 125 + N)),
    "fragments": encoded("a.mp4", container_options={"movflags": "frag_keyframe+empty_moov"}),
    "edit list": cut_from_key,
    "edit list within a group": cut_within_first_group,
    "sound": encoded("a.mp4", with_sound=True),
    "sound in mkv": encoded("a.mkv", with_sound=True),
    "cover picture": encoded("a.mp4", cover=True),
    "mkv": encoded("a.mkv"),
    "flv": encoded("a.flv"),
    "avi, mpeg4": encoded("a.avi", **MPEG4),
    "avi, short groups": encoded("a.avi", codec="mpeg4", options={"bf": "2", "g": "3"}),
    "avi, h264": encoded("a.avi"),
    "mp4, mpeg4": encoded("a.mp4", **MPEG4),
    "motion jpeg": encoded("a.avi", codec="mjpeg", pix_fmt="yuvj420p", options={}),
    "transport stream": encoded("a.ts"),
    "within a group": cut_within_group,
    "joined": joined_broadcasts,
    "joined backwards": joined_backwards,
    "joined interleaved": joined_interleaved,
    "program stream": encoded("a.mpg", codec="mpeg2video", options={"bf": "2", "g": "12"}),
    "bare h264": encoded("a.h264"),
    "vp9": encoded("a.webm", codec="libvpx-vp9", options=VP9),
    "vp8": encoded("a.webm", codec="libvpx", options=VP9),
    "hevc": encoded("a.mp4", codec="libx265", options={"preset": "ultrafast", "x265-params": X265}),
    "lossless rgb": encoded("a.mkv", codec="libx264rgb", pix_fmt="rgb24", **x264(qp="0")),
    "wmv": encoded("a.wmv", codec="wmv2", options={"g": "12"}),
    "cut off mkv": cut_off(".mkv"),
    "cut off mp4": cut_off(".mp4", container_options={"movflags": "faststart"}),
    "cut off fragments": cut_off(".mp4", container_options={"movflags": "frag_keyframe+empty_moov"}),
    "cut off ts": cut_off(".ts"),
}


@pytest.fixture(scope="module")
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return VIDEOS[request.param](tmp_path_factory.mktemp("video"))
    except av.codec.codec.UnknownCodecError as error:
        pytest.skip(f"this FFmpeg has no such encoder: {error}")


def read(reader: RawVideoReader, path: Path, frames: list[int]) -> np.ndarray:
    return reader.read(VideoRecord(str(path), 1, 0), frames).numpy()


@pytest.mark.parametrize("video", VIDEOS, indirect=True)
def test_every_frame_is_that_of_a_full_decode(video: Path) -> None:
    decoded = decode_all(video)
    expected = [frame.to_ndarray(format="rgb24") for frame in decoded]
    # How a decoder makes up for a frame that the file's end cuts in two depends on what it decoded before.
    halves = {i for i, frame in enumerate(decoded) if frame.is_corrupt}
    assert halves <= {len(decoded) - 1}
    reader = RawVideoReader("")
    rng = np.random.default_rng(0)
    singles = rng.permutation(len(expected)).tolist()
    scattered = [rng.integers(0, len(expected), size=6).tolist() for _ in range(8)]
    runs = [list(range(start, start + 8)) for start in range(0, len(expected) - 8, 9)]
    for frames in [[single] for single in singles] + scattered + runs + [list(range(len(expected)))]:
        got = read(reader, video, frames)
        assert got.dtype == np.uint8
        wrong = {i for i, one in zip(frames, got, strict=True) if not np.array_equal(one, expected[i])}
        assert wrong <= halves, f"wrong frames {wrong} of {frames}"


WHOLE = [name for name in VIDEOS if not name.startswith(("cut off", "edit", "joined", "within"))]


@pytest.mark.parametrize("video", WHOLE, indirect=True)
def test_frames_show_their_numbers(video: Path) -> None:
    assert frame_numbers(read(RawVideoReader(""), video, list(range(N)))) == list(range(N))


@pytest.mark.parametrize("video", VIDEOS, indirect=True)
def test_a_frame_past_the_end_tells_how_many_there_are(video: Path) -> None:
    count = len(sequential_frames(video))
    with VideoFile(video) as file:
        index = build_index(file)
    assert index.num_frames == count
    assert index.pts is None or (len(index.pts) == count and np.all(np.diff(index.pts) > 0))
    with pytest.raises(FewerFramesError) as caught:
        read(RawVideoReader(""), video, [0, count])
    assert caught.value.num_frames == count
    assert str(caught.value).startswith(f"{video}: frame {count} (from 0) is wanted, there are {count}")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (type(copy), str(copy), copy.num_frames) == (FewerFramesError, str(caught.value), count)


# OpenCV cannot convert interlaced frames.
@pytest.mark.parametrize("video", [name for name in WHOLE if name != "interlaced"], indirect=True)
def test_opencv_decodes_the_same_frames(video: Path) -> None:
    capture = cv2.VideoCapture(str(video))
    expected = []
    while (grabbed := capture.read())[0]:
        expected.append(grabbed[1][:, :, ::-1])
    capture.release()
    assert len(expected) == N
    assert np.array_equal(read(RawVideoReader(""), video, list(range(N))), np.stack(expected))


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_a_rotation_in_the_metadata_is_applied(tmp_path: Path, rotation: int) -> None:
    path = encode_video(tmp_path / "a.mp4", 5, rotation=rotation)
    stored = sequential_frames(path)
    upright = [np.rot90(stored[i], rotation // 90) for i in (4, 0)]  # counter-clockwise
    assert np.array_equal(read(RawVideoReader(""), path, [4, 0]), np.stack(upright))


@pytest.mark.skipif(cv2.__version__.startswith("4."), reason="OpenCV 4 does not see the rotation in every file")
@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_a_rotation_is_applied_as_opencv_does(tmp_path: Path, rotation: int) -> None:
    path = encode_video(tmp_path / "a.mp4", 5, rotation=rotation)
    capture = cv2.VideoCapture(str(path))
    expected = [capture.read()[1][:, :, ::-1] for _ in range(5)]
    capture.release()
    got = read(RawVideoReader(""), path, [4, 0])
    assert got.shape[1:3] == ((64, 48) if abs(rotation) == 90 else (48, 64))
    assert np.array_equal(got, np.stack([expected[4], expected[0]]))


def test_a_new_resolution_is_scaled_to_that_of_the_first_frame_asked_for(tmp_path: Path) -> None:
    parts = [encode_video(tmp_path / f"{h}.ts", 20, size=(h, w)).read_bytes() for h, w in ((48, 64), (96, 128))]
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(parts))
    expected = sequential_frames(path)
    assert [frame.shape[0] for frame in expected] == [48] * 20 + [96] * 20
    reader = RawVideoReader("")
    mixed = read(reader, path, [3, 30])
    assert mixed.shape == (2, 48, 64, 3)
    assert np.array_equal(mixed[0], expected[3])
    # The code in the larger frames takes a quarter of their area, so scaled by half it is not all of the smaller one's.
    smaller = cv2.resize(expected[30], (64, 48), interpolation=cv2.INTER_AREA)
    assert np.abs(mixed[1].astype(int) - smaller).mean() < 12
    assert np.array_equal(read(reader, path, [39])[0], expected[39])


PLAIN = (
    "B-frames",
    "open groups",
    "variable rate",
    "late start",
    "fragments",
    "edit list within a group",
    "mkv",
    "flv",
    "transport stream",
    "vp9",
    "hevc",
)
DOUBTFUL = ("avi, mpeg4", "avi, h264", "mp4, mpeg4", "vp8", "edit list", "within a group", "joined")


@pytest.mark.parametrize("video", PLAIN + DOUBTFUL, indirect=True)
def test_only_doubtful_files_are_decoded_for_their_index(
    video: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    drain = VideoFile.drain

    def watched(file: VideoFile) -> list[av.VideoFrame]:
        decoded.append(file)
        return drain(file)

    monkeypatch.setattr(VideoFile, "drain", watched)
    with VideoFile(video) as file:
        build_index(file)
    assert bool(decoded) == (request.node.callspec.params["video"] in DOUBTFUL)


@pytest.mark.parametrize("video", ["interlaced", "B-frames"], indirect=True)
def test_an_interlaced_file_is_decoded_for_its_index_once_it_shows(
    video: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    rebuilt = []

    def watched(file: VideoFile) -> FrameIndex:
        rebuilt.append(file)
        return video_index.rebuild_index(file)

    monkeypatch.setattr(raw_video, "rebuild_index", watched)
    reader = RawVideoReader("")
    for frames in ([3, 9], [20], [3, 30]):
        assert frame_numbers(read(reader, video, frames)) == frames
    assert len(rebuilt) == (request.node.callspec.params["video"] == "interlaced")


def test_paths_may_hold_anything_and_an_absolute_one_is_taken_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("with space.mp4", "ünï 视频.mp4", "http:x%03d?.mp4", "sub folder/a'b.mp4"):
        encode_video(tmp_path / "root" / name, 3)
        record = VideoRecord(name, 3, 0)
        assert frame_numbers(RawVideoReader(tmp_path / "root").read(record, [2, 1]).numpy()) == [2, 1]
    monkeypatch.chdir(tmp_path / "root")
    assert frame_numbers(RawVideoReader("").read(VideoRecord("http:x%03d?.mp4", 3, 0), [1]).numpy()) == [1]
    outside = encode_video(tmp_path / "outside.mp4", 3)
    record = VideoRecord(str(outside), 3, 0)
    assert frame_numbers(RawVideoReader(tmp_path / "root").read(record, [1]).numpy()) == [1]


def test_metadata_in_another_encoding_stops_nobody(tmp_path: Path) -> None:
    path = encode_video(tmp_path / "a.mkv", 3, title="caf@ cr@me")
    path.write_bytes(path.read_bytes().replace(b"caf@ cr@me", b"caf\xe9 cr\xe8me"))
    assert frame_numbers(read(RawVideoReader(""), path, [2])) == [2]


def sound_only(folder: Path) -> Path:
    with av.open(str(folder / "a.m4a"), "w") as container:
        mux_silence(container, add_sound(container), seconds=0.5)
    return folder / "a.m4a"


def cover_only(folder: Path) -> Path:
    with av.open(str(folder / "a.m4a"), "w", format="mp4") as container:
        picture, sound = add_cover(container), add_sound(container)
        mux_cover(container, picture)
        mux_silence(container, sound, seconds=0.5)
    return folder / "a.m4a"


def content(data: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "a.mp4").write_bytes(data)
        return folder / "a.mp4"

    return make


def first_frame_damaged(folder: Path) -> Path:
    path = encode_video(folder / "a.mp4", 5, **x264(bf="0"))
    with av.open(str(path)) as container:
        packet = next(iter(container.demux(video=0)))
        start, size = packet.pos, packet.size
        assert start is not None
    data = path.read_bytes()
    path.write_bytes(data[:start] + b"\0" * size + data[start + size :])
    return path


INVALID = "Invalid data found when processing input"
BAD_VIDEOS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda folder: folder / "none.mp4", "No such file or directory"),
    "folder": (lambda folder: folder, "Is a directory"),
    "empty": (content(b""), "the file is empty"),
    "text": (content(b"this is no video\n" * 100), INVALID),
    "noise": (content(np.random.default_rng(0).bytes(5000)), INVALID),
    "cut off before its index": (cut_off(".mp4"), INVALID),
    "sound only": (sound_only, "it holds no video stream"),
    "cover only": (cover_only, "it holds only a cover picture"),
    "damaged": (first_frame_damaged, INVALID),
}


@pytest.mark.parametrize("name", BAD_VIDEOS)
def test_a_bad_video_is_named_with_the_cause(tmp_path: Path, name: str) -> None:
    make, cause = BAD_VIDEOS[name]
    path = make(tmp_path)
    with pytest.raises(ReadError) as caught:
        read(RawVideoReader(""), path, [3])
    assert not isinstance(caught.value, FewerFramesError)
    assert str(caught.value) == f"cannot read the video {path}: {cause}"


def test_frame_numbers_below_zero_and_none_at_all_are_refused(tmp_path: Path) -> None:
    path = encode_video(tmp_path / "a.mp4", 3)
    for frames in ([-1, 0], []):
        with pytest.raises(ValueError, match="frame numbers must be 0 or more"):
            read(RawVideoReader(""), path, frames)


def test_an_index_that_names_a_frame_which_never_comes_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = encode_video(tmp_path / "a.mp4", N)

    def mistaken(video: VideoFile) -> FrameIndex:
        index = build_index(video)
        assert index.pts is not None
        pts = np.sort(np.append(index.pts, index.pts[4] + 1))
        return FrameIndex(len(pts), pts, index.keys)

    monkeypatch.setattr(raw_video, "build_index", mistaken)
    reader = RawVideoReader("")
    assert frame_numbers(read(reader, path, [5, 20])) == [5, 20]
    assert frame_numbers(read(reader, path, [30])) == [30]


def test_an_index_that_stays_wrong_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encode_video(tmp_path / "a.mp4", N)
    wrong = FrameIndex(3, np.array([0, 7, 512]), (0,))
    monkeypatch.setattr(raw_video, "build_index", lambda video: wrong)
    monkeypatch.setattr(raw_video, "rebuild_index", lambda video: wrong)
    with pytest.raises(ReadError, match=r"a\.mp4: frame 1 of 3 does not come out of decoding$"):
        read(RawVideoReader(""), path, [0, 1])


@pytest.mark.parametrize("landing", ["nowhere", "too late"])
def test_a_seek_that_fails_is_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, landing: str) -> None:
    path = encode_video(tmp_path / "a.mp4", N)
    whole = VideoFile.packets_from_key

    def astray(video: VideoFile, aim: int, **bounds: object) -> object:
        return None if landing == "nowhere" else whole(video, aim + 512 * 13, **bounds)  # type: ignore[arg-type]

    monkeypatch.setattr(VideoFile, "packets_from_key", astray)
    assert frame_numbers(read(RawVideoReader(""), path, [36, 14, 25])) == [36, 14, 25]


@pytest.mark.parametrize(("name", "most"), [("a.mp4", 2 * 12), ("a.mkv", 2 * 12), ("a.ts", 4 * 12)])
def test_only_what_is_needed_is_decoded_and_each_frame_converted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, most: int
) -> None:
    path = encode_video(tmp_path / name, 120)
    reader = RawVideoReader("")
    read(reader, path, [0])
    packets, converted = [], []
    packets_of, put = VideoFile._packets, raw_video._Canvas.put

    def watched_packets(video: VideoFile) -> Iterator[av.Packet]:
        for packet in packets_of(video):
            packets.append(packet)
            yield packet

    def watched_put(canvas: raw_video._Canvas, number: int, frame: av.VideoFrame) -> None:
        converted.append(number)
        put(canvas, number, frame)

    monkeypatch.setattr(VideoFile, "_packets", watched_packets)
    monkeypatch.setattr(raw_video._Canvas, "put", watched_put)
    got = read(reader, path, [100, 6, 100, 5, 6])
    assert frame_numbers(got) == [100, 6, 100, 5, 6]
    assert converted == [5, 6, 100]
    assert len(packets) <= most  # groups of pictures, not the 93 frames between them, and no new scan


def test_going_to_a_key_frame_is_refused_where_it_lands_later(tmp_path: Path) -> None:
    with VideoFile(encode_video(tmp_path / "a.mp4", N)) as video:
        keys = build_index(video).keys
        assert len(keys) > 3
        assert video.packets_from_key(keys[2], latest=keys[1], known_keys=keys) is None
        assert video.packets_from_key(keys[1], latest=keys[2], known_keys=(keys[0], keys[2])) is None
        packets = video.packets_from_key(keys[1], latest=keys[2], known_keys=keys)
        assert packets is not None
        first = next(packets)
        assert first.is_keyframe and first.pts == keys[1]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format_name", "avi"),
        ("codec_name", "mpeg4"),
        ("declared_frames", 4),
        ("shown", [2, 6, None]),
        ("shown", [2, 6, 6]),
        ("shown", [2, 6, 1]),
        ("shown", []),
        ("keys", [2, None]),
        ("starts_with_key", False),
        ("damaged", True),
        ("in_order", False),
    ],
)
def test_packets_alone_are_trusted_only_if_nothing_at_all_is_odd(field: str, value: object) -> None:
    file: Any = SimpleNamespace(format_name="mpegts", codec_name="h264", declared_frames=3)
    scan = video_index._Scan(shown=[2, 6, 4], keys=[2], num_packets=3, starts_with_key=True)
    assert video_index._is_plain(file, scan)
    setattr(file if hasattr(file, field) else scan, field, value)
    assert not video_index._is_plain(file, scan)


@pytest.mark.parametrize(
    ("times", "shown", "keys", "interlaced", "expected"),
    [
        ([2, 4, 6], [2, 6, 4], (2,), False, [2, 4, 6]),
        ([2, 4, 6], [0, 2, 6, 4], (0,), False, [2, 4, 6]),  # a packet that shows nothing
        ([2, 4, 6], [2, 3, 4, 5, 6, 7], (2,), True, None),  # two fields a frame
        ([2, 4, 6], [2, 6, 4], (2,), True, [2, 4, 6]),
        ([2, None, 6], [2, 6, None], (2,), False, None),
        ([2, 6, 4], [2, 6, 4], (2,), False, None),
        ([2, 4, 6], [2, 4, 4], (2,), False, None),
        ([2, 4, 6], [2, 4, 7], (2,), False, None),
        ([2, 4, 6], [2, 4, 6], (4,), False, None),
        ([2, 4, 6], [2, 4, 6], (), False, None),
    ],
)
def test_decoded_times_find_frames_only_where_nothing_is_ambiguous(
    times: list[int | None],
    shown: list[int | None],
    keys: tuple[int, ...],
    interlaced: bool,
    expected: list[int] | None,
) -> None:
    scan = video_index._Scan(shown=shown)
    found = video_index._distinct_times(times, scan, keys=keys, interlaced=interlaced)
    assert (found is None) if expected is None else (found is not None and found.tolist() == expected)


def test_a_file_that_was_replaced_is_scanned_again(tmp_path: Path) -> None:
    path = encode_video(tmp_path / "a.mp4", 10)
    reader = RawVideoReader("")
    read(reader, path, [9])
    encode_video(path, 20)
    assert frame_numbers(read(reader, path, [19])) == [19]


def test_a_reader_can_be_pickled_and_closed(tmp_path: Path) -> None:
    encode_video(tmp_path / "a.mp4", 10)
    reader = RawVideoReader(tmp_path, index_cache_size=5)
    record = VideoRecord("a.mp4", 10, 0)
    reader.read(record, [1])
    copy = pickle.loads(pickle.dumps(reader))
    assert frame_numbers(copy.read(record, [7]).numpy()) == [7]
    reader.close()
    assert frame_numbers(reader.read(record, [7]).numpy()) == [7]


def test_runs_start_at_the_nearest_key_frame_and_only_where_that_saves_decoding() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        num_frames = int(rng.integers(1, 80))
        pts = np.cumsum(rng.integers(1, 4, size=num_frames))
        key_frames = [0, *np.flatnonzero(rng.random(num_frames - 1) < 0.15) + 1]
        keys = tuple(int(pts[i]) for i in key_frames)
        wanted = np.flatnonzero(rng.random(num_frames) < 0.2).tolist() or [num_frames - 1]
        runs = plan_runs(FrameIndex(num_frames, pts, keys), wanted)
        assert [frame for run in runs for frame in run.frames] == wanted
        key_before = {frame: max(i for i in key_frames if i <= frame) for frame in wanted}
        for run in runs:
            assert run.starts[0] == pts[key_before[run.frames[0]]]
            assert run.starts[1:] == tuple(key for key in keys if key < run.starts[0])[-1:]
        starts = {run.frames[0] for run in runs}
        for before, frame in itertools.pairwise(wanted):
            assert (frame in starts) == (key_before[frame] - before - 1 > video_index.FRAMES_WORTH_A_SEEK)
