"""Frames of video files against a full decode, against OpenCV and against frame numbers in the pixels."""

import pickle
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from dataset.listing import VideoRecord
from dataset.readers import FewerFramesError, ReadError, raw_video, video_index
from dataset.readers.raw_video import RawVideoReader
from dataset.readers.video_file import VideoFile, decode_frames
from dataset.readers.video_index import FrameIndex, build_index
from tests.video_kinds import BAD_VIDEOS, VIDEOS, WHOLE, N, make_video
from tests.videos import decode_all, encode_video, frame_numbers, sequential_frames


@pytest.fixture(scope="module")
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(request.param, tmp_path_factory.mktemp("video"))


def read(reader: RawVideoReader, path: Path, frames: list[int]) -> np.ndarray:
    return reader.read(VideoRecord(str(path), 1, 0), frames).numpy()


@pytest.mark.parametrize("video", VIDEOS, indirect=True)
def test_every_frame_is_that_of_a_full_decode(video: Path) -> None:
    decoded = decode_all(video)
    if decoded[-1].is_corrupt:  # the file ends within it
        assert video.name == "cut.ts"
        with pytest.raises(FewerFramesError, match=rf"there are {len(decoded) - 1} \(1 frame damaged\)$"):
            read(RawVideoReader(""), video, [len(decoded) - 1])
        decoded.pop()
    expected = [frame.to_ndarray(format="rgb24") for frame in decoded]
    reader = RawVideoReader("")
    rng = np.random.default_rng(0)
    singles = rng.permutation(len(expected)).tolist()
    scattered = [rng.integers(0, len(expected), size=6).tolist() for _ in range(8)]
    runs = [list(range(start, start + 8)) for start in range(0, len(expected) - 8, 9)]
    for frames in [[single] for single in singles] + scattered + runs + [list(range(len(expected)))]:
        got = read(reader, video, frames)
        assert got.dtype == np.uint8
        wrong = {i for i, one in zip(frames, got, strict=True) if not np.array_equal(one, expected[i])}
        assert not wrong, f"wrong frames {wrong} of {frames}"


@pytest.mark.parametrize("video", VIDEOS, indirect=True)
def test_a_known_file_that_is_not_probed_decodes_the_same(video: Path) -> None:
    with VideoFile(video) as file:
        depth = build_index(file).reorder_depth
        assert depth is None or "mp4" in file.format_name
    if depth is None:
        return
    with VideoFile(video, reorder_depth=depth) as file:
        assert file.decoder.pix_fmt is None  # no packet has been parsed yet
        frames = [(frame.pts, frame.to_ndarray(format="rgb24")) for frame, _ in file.frames_from_start()]
    expected = decode_all(video)
    assert [pts for pts, _ in frames] == [frame.pts for frame in expected]
    assert all(
        np.array_equal(one, frame.to_ndarray(format="rgb24")) for (_, one), frame in zip(frames, expected, strict=True)
    )


def test_a_read_file_is_opened_without_probing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    depths: list[int | None] = []

    class Watched(VideoFile):
        def __init__(self, path: Path, *, reorder_depth: int | None = None, **options: int) -> None:
            depths.append(reorder_depth)
            super().__init__(path, reorder_depth=reorder_depth, **options)

    monkeypatch.setattr(raw_video, "VideoFile", Watched)
    path, reader = encode_video(tmp_path / "a.mp4", 30), RawVideoReader("")
    once, again = read(reader, path, [7, 8]), read(reader, path, [7, 8])
    assert np.array_equal(once, again)
    assert depths[0] is None and isinstance(depths[1], int)
    encode_video(path, 20)  # a new file needs a new index
    read(reader, path, [7])
    assert depths[2] is None


@pytest.mark.parametrize("video", WHOLE, indirect=True)
def test_frames_show_their_numbers(video: Path) -> None:
    assert frame_numbers(read(RawVideoReader(""), video, list(range(N)))) == list(range(N))


@pytest.mark.parametrize("video", VIDEOS, indirect=True)
def test_a_frame_past_the_end_is_an_error_with_the_true_count(video: Path) -> None:
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


def test_an_invalid_rotation_is_ignored(tmp_path: Path) -> None:
    """A damaged rotation matrix without an angle; players show such a video as it is stored."""
    path = encode_video(tmp_path / "a.mp4", 5)
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    assert content[matrix : matrix + 4] == b"\0\1\0\0"
    content[matrix + 1] = 0
    path.write_bytes(content)
    stored = np.stack(sequential_frames(path))
    assert np.array_equal(read(RawVideoReader(""), path, list(range(5))), stored)
    assert np.array_equal(np.stack(list(decode_frames(path))), stored)


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


def test_a_new_resolution_is_scaled_to_that_of_the_first_frame(tmp_path: Path) -> None:
    parts = [encode_video(tmp_path / f"{h}.ts", 20, size=(h, w)).read_bytes() for h, w in ((48, 64), (96, 128))]
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(parts))
    expected = sequential_frames(path)
    assert [frame.shape[0] for frame in expected] == [48] * 20 + [96] * 20
    reader = RawVideoReader("")
    mixed = read(reader, path, [3, 30])
    assert mixed.shape == (2, 48, 64, 3)
    assert np.array_equal(mixed[0], expected[3])
    # The code takes a quarter of the larger frames, so at half the size it is not the whole code of the smaller ones.
    smaller = cv2.resize(expected[30], (64, 48), interpolation=cv2.INTER_AREA)
    assert np.abs(mixed[1].astype(int) - smaller).mean() < 12
    assert np.array_equal(read(reader, path, [39])[0], expected[39])


@pytest.mark.parametrize("video", ["interlaced", "B-frames"], indirect=True)
def test_a_file_whose_frames_turn_out_interlaced_is_decoded_for_its_index(
    video: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    rebuilt = []

    def watched(file: VideoFile) -> FrameIndex:
        rebuilt.append(file)
        return video_index.rebuild_index(file)

    monkeypatch.setattr(raw_video, "rebuild_index", watched)
    monkeypatch.setattr(VideoFile, "is_interlaced", False)  # as in a file that begins progressive
    reader = RawVideoReader("")
    for frames in ([3, 9], [20], [3, 30]):
        assert frame_numbers(read(reader, video, frames)) == frames
    assert len(rebuilt) == (request.node.callspec.params["video"] == "interlaced")


def test_paths_may_hold_any_characters_and_absolute_ones_are_unchanged(
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


def test_metadata_in_another_encoding_is_no_error(tmp_path: Path) -> None:
    path = encode_video(tmp_path / "a.mkv", 3, title="caf@ cr@me")
    path.write_bytes(path.read_bytes().replace(b"caf@ cr@me", b"caf\xe9 cr\xe8me"))
    assert frame_numbers(read(RawVideoReader(""), path, [2])) == [2]


@pytest.mark.parametrize("name", BAD_VIDEOS)
def test_a_bad_video_is_named_with_the_cause(tmp_path: Path, name: str) -> None:
    make, cause = BAD_VIDEOS[name]
    path = make(tmp_path)
    with pytest.raises(ReadError) as caught:
        read(RawVideoReader(""), path, [3])
    assert not isinstance(caught.value, FewerFramesError)
    assert str(caught.value) == f"cannot read the video {path}: {cause}"


def test_negative_or_no_frame_indices_are_errors(tmp_path: Path) -> None:
    path = encode_video(tmp_path / "a.mp4", 3)
    for frames in ([-1, 0], []):
        with pytest.raises(ValueError, match="frame_indices must be non-empty and non-negative"):
            read(RawVideoReader(""), path, frames)


def test_an_index_with_a_frame_that_is_never_decoded_is_rebuilt(
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
    monkeypatch.setattr(raw_video, "rebuild_index", lambda video: replace(wrong, is_decoded=True))
    with pytest.raises(ReadError, match=r"a\.mp4: frame 1 of 3 cannot be decoded$"):
        read(RawVideoReader(""), path, [0, 1])


@pytest.mark.parametrize("landing", ["nowhere", "too late"])
def test_a_failed_seek_falls_back_to_earlier_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, landing: str
) -> None:
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
    packets_of, put = VideoFile._packets, raw_video._FrameSink.put

    def watched_packets(video: VideoFile) -> Iterator[av.Packet]:
        for packet in packets_of(video):
            packets.append(packet)
            yield packet

    def watched_put(canvas: raw_video._FrameSink, number: int, frame: av.VideoFrame) -> None:
        converted.append(number)
        put(canvas, number, frame)

    monkeypatch.setattr(VideoFile, "_packets", watched_packets)
    monkeypatch.setattr(raw_video._FrameSink, "put", watched_put)
    got = read(reader, path, [100, 6, 100, 5, 6])
    assert frame_numbers(got) == [100, 6, 100, 5, 6]
    assert converted == [5, 6, 100]
    assert len(packets) <= most  # groups of pictures, not the 93 frames between them, and no second scan


def test_a_replaced_file_is_scanned_again(tmp_path: Path) -> None:
    path = encode_video(tmp_path / "a.mp4", 10)
    reader = RawVideoReader("")
    read(reader, path, [9])
    encode_video(path, 20)
    assert frame_numbers(read(reader, path, [19])) == [19]


def test_a_reader_can_be_pickled(tmp_path: Path) -> None:
    encode_video(tmp_path / "a.mp4", 10)
    reader = RawVideoReader(tmp_path, index_cache_size=5)
    record = VideoRecord("a.mp4", 10, 0)
    reader.read(record, [1])
    copy = pickle.loads(pickle.dumps(reader))
    assert frame_numbers(copy.read(record, [7]).numpy()) == [7]


def test_the_weight_of_a_cached_index_is_its_memory(tmp_path: Path) -> None:
    for number in range(40):
        encode_video(tmp_path / f"a_name_of_usual_length_{number:06d}.mp4", 20 + number)
    reader = RawVideoReader(tmp_path)
    tracemalloc.start()
    began = 0
    for number in range(40):
        if number == 10:  # one-time allocations are done by now
            began = tracemalloc.get_traced_memory()[0]
            weight = reader._indices._weight
        reader.read(VideoRecord(f"a_name_of_usual_length_{number:06d}.mp4", 20 + number, 0), [3])
    taken = tracemalloc.get_traced_memory()[0] - began
    tracemalloc.stop()
    assert taken == pytest.approx(8 * (reader._indices._weight - weight), rel=0.25)
