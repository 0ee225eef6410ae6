"""Damaged videos and videos with wrong metadata: a corrupt or wrong frame is never returned silently.

tests/data/videos holds small examples of files seen in the wild:
old_x264_444.mp4: H.264 4:4:4 of x264 before build 151; the decoder marks every key frame as corrupt.
false_keys_mpeg4.mp4, false_keys_h263.3gp: the index marks P frames as key frames, as in files of old phones.
field_pairs.ts: camcorder H.264 with one packet per field.
one_bad_packet.mp4: one of 20 packets cannot be decoded; players show the other 19 frames.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from dataset.listing import VideoRecord
from dataset.readers import FewerFramesError, ReadError, open_reader, raw_video
from dataset.readers.raw_video import RawVideoReader
from dataset.readers.video_file import VideoFile, decode_frames
from dataset.readers.video_index import build_index, rebuild_index
from tests.video_kinds import MPEG4, N
from tests.videos import (
    X264,
    decode_all,
    encode_video,
    frame_numbers,
    numbered_frame,
    overwrite_packet,
    sequential_frames,
)

FILES = Path(__file__).parents[2] / "data" / "videos"
INVALID = "Invalid data found when processing input"


def read(reader: RawVideoReader, path: Path, frames: list[int]) -> np.ndarray:
    return reader.read(VideoRecord(str(path), 1, 0), frames).numpy()


def garble(content: bytes) -> bytes:
    """Damage the second half of a slice, which decoders detect."""
    return content[: len(content) // 2] + bytes(len(content) - len(content) // 2)


@pytest.mark.parametrize(
    "name", ["false_keys_mpeg4.mp4", "false_keys_h263.3gp", "field_pairs.ts", "one_bad_packet.mp4"]
)
def test_random_access_gives_the_frames_of_a_sequential_pass(name: str) -> None:
    expected = sequential_frames(FILES / name)
    with VideoFile(FILES / name) as video:
        assert build_index(video).num_frames == len(expected)
    reader = RawVideoReader(FILES)
    backwards = [[number] for number in reversed(range(len(expected)))]
    for frames in [*backwards, [len(expected) - 1, 0], list(range(len(expected)))]:
        assert np.array_equal(read(reader, Path(name), frames), np.stack([expected[i] for i in frames])), frames
    record = VideoRecord(name, len(expected), 0)
    reader.verify(record, [0, len(expected) // 2, len(expected) - 1])
    assert len(list(decode_frames(FILES / name))) == len(expected)


def test_a_frame_that_is_corrupt_even_from_the_start_is_an_error() -> None:
    path = FILES / "old_x264_444.mp4"
    assert decode_all(path)[12].is_corrupt
    for number in (0, 12, 14, 35):
        with pytest.raises(ReadError, match=r"old_x264_444\.mp4: .*damaged"):
            read(RawVideoReader(""), path, [number])
    with pytest.raises(ReadError, match=r"old_x264_444\.mp4: .*damaged"):
        list(decode_frames(path))


def test_an_undecodable_packet_loses_its_own_frame_and_is_reported() -> None:
    path = FILES / "one_bad_packet.mp4"
    damage = f"1 packet cannot be decoded ({INVALID})"
    for index in (build_index, rebuild_index):
        with VideoFile(path) as video:
            found = index(video)
            assert (found.num_frames, found.damage, found.unsound) == (19, damage, frozenset())
    levels = [round(float(frame.mean()) / 10) for frame in read(RawVideoReader(""), path, list(range(19)))]
    assert levels == list(range(19))  # it would have added ten levels, which all later frames lack, as in players
    reader = open_reader("RAW", FILES)
    reader.read(VideoRecord("one_bad_packet.mp4#skip=12", 7, 0), [3])
    assert reader.take_notes() == (f"{path}: {damage}",)
    assert reader.take_notes() == ()
    with pytest.raises(
        FewerFramesError, match=r"frame 19 \(from 0\) is wanted, there are 19 \(1 packet cannot"
    ) as caught:
        reader.read(VideoRecord("one_bad_packet.mp4#skip=12", 8, 0), [7])
    assert caught.value.num_frames == 7


def parameters_in_the_first_packet_only(path: Path) -> Path:
    """H.264 whose header has the wrong entropy coding; only the first packet has the right parameters."""
    first, other = (encode_video(path.with_name(f"{i}.mp4"), N, options={**X264, "coder": coder}) for i, coder in
                    enumerate(("vlc", "ac")))  # fmt: skip
    with av.open(str(first)) as reading, av.open(str(other)) as template, av.open(str(path), "w") as writing:
        copy = writing.add_stream_from_template(template.streams.video[0])
        header = bytes(reading.streams.video[0].codec_context.extradata or b"")
        sps_size = int.from_bytes(header[6:8], "big")
        sps, pps = header[8 : 8 + sps_size], header[8 + sps_size + 3 :]
        in_band = b"".join(len(unit).to_bytes(4, "big") + unit for unit in (sps, pps))
        for number, packet in enumerate(reading.demux(video=0)):
            if packet.size:
                again = av.Packet((in_band if number == 0 else b"") + bytes(packet))
                again.pts, again.dts, again.time_base = packet.pts, packet.dts, packet.time_base
                again.is_keyframe, again.stream = packet.is_keyframe, copy
                writing.mux(again)
    return path


def test_parameters_of_the_first_packet_are_used(tmp_path: Path) -> None:
    path = parameters_in_the_first_packet_only(tmp_path / "a.mp4")
    assert frame_numbers(sequential_frames(path)) == list(range(N))
    reader = RawVideoReader("")
    for frames in ([30, 16, 37], [29, 14]):  # the second time, the file is not scanned again
        assert frame_numbers(read(reader, path, frames)) == frames
    with VideoFile(path) as video:
        keys = build_index(video).keys
    with VideoFile(path) as video:
        packets = video.packets_from_key(keys[2], latest=keys[2], known_keys=keys)
        assert packets is not None
        first = [*video.decode(next(packets)), *video.drain()][0]  # at the landing point, without a pass from the start
    assert frame_numbers([first.to_ndarray(format="rgb24")]) == [24]


def test_decoding_never_starts_from_a_false_key_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    path = FILES / "false_keys_mpeg4.mp4"
    expected = sequential_frames(path)
    with VideoFile(path) as video:
        index = build_index(video)
    believing = replace(index, keys=(0, 12 * 512, 24 * 512))
    monkeypatch.setattr(raw_video, "build_index", lambda _: believing)
    reader = RawVideoReader("")
    for number in (14, 30, 24):
        assert np.array_equal(read(reader, path, [number])[0], expected[number])
    (index,) = reader._indices._values.values()
    assert index.keys == (0,)


def test_false_key_frames_are_remembered(tmp_path: Path) -> None:
    path = tmp_path / "lie.mp4"
    with av.open(str(path), "w") as writing:
        options = {"preset": "ultrafast", "x265-params": "log-level=none:keyint=1000:scenecut=0:bframes=0:pools=none"}
        stream: Any = writing.add_stream("libx265", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in [*range(N), None]:
            frame = None if number is None else av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24")
            for packet in stream.encode(frame):
                packet.is_keyframe = round(packet.pts * packet.time_base * 25) % 12 == 0
                writing.mux(packet)
    expected = sequential_frames(path)
    reader = RawVideoReader("")
    with VideoFile(path) as video:
        assert len(build_index(video).keys) == 4 and not build_index(video).is_decoded
    assert np.array_equal(read(reader, path, [26, 30]), np.stack([expected[26], expected[30]]))
    (index,) = reader._indices._values.values()
    assert len(index.keys) == 1
    assert np.array_equal(read(reader, path, [37])[0], expected[37])


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Groups of 10 frames; the sixth of the second is damaged."""
    path = encode_video(tmp_path / "broken.mp4", 40, options={"preset": "ultrafast", "g": "10", "bf": "0"})
    overwrite_packet(path, 15, garble)
    return path


def test_frames_that_depend_on_a_damaged_one_are_damaged(broken: Path) -> None:
    assert [i for i, frame in enumerate(decode_all(broken)) if frame.is_corrupt] == [15]
    reader = RawVideoReader("")
    sound = [*range(15), *range(20, 40)]
    assert frame_numbers(read(reader, broken, sound)) == sound
    for number in range(15, 20):
        for one in (reader, RawVideoReader("")):
            with pytest.raises(ReadError, match=rf"broken\.mp4: frame {number} \(from 0\) is damaged or depends on"):
                read(one, broken, [3, number])
    with pytest.raises(
        ReadError, match=r"broken\.mp4: frames damaged or dependent on .*: 5, first frame 15 \(from 0\)$"
    ):
        reader.verify(VideoRecord(str(broken), 40, 0), [0, 39])
    reader.verify(VideoRecord(str(broken), 15, 0), [0, 14])
    reader.verify(VideoRecord(str(broken), 40, 0), [20, 39])
    with pytest.raises(ReadError, match=r"frame 15 \(from 0\) is damaged"):
        list(decode_frames(broken))
    assert frame_numbers(list(decode_frames(broken, first=20))) == list(range(20, 40))
    with VideoFile(broken) as video:
        index = rebuild_index(video)
    assert (index.num_frames, sorted(index.unsound), index.damage) == (40, list(range(15, 20)), "5 frames damaged")


def test_damaged_frames_at_the_end_do_not_count(tmp_path: Path) -> None:
    path = encode_video(tmp_path / "a.mp4", 40, options={"preset": "ultrafast", "g": "10", "bf": "0"})
    overwrite_packet(path, 36, garble)
    assert frame_numbers(list(decode_frames(path))) == list(range(36))
    with pytest.raises(
        FewerFramesError, match=r"frame 37 \(from 0\) is wanted, there are 36 \(4 frames damaged\)"
    ) as caught:
        read(RawVideoReader(""), path, [37])
    assert caught.value.num_frames == 36


def test_b_frames_before_a_damaged_frame_are_held_back(tmp_path: Path) -> None:
    path = encode_video(tmp_path / "a.mp4", 24)  # three B frames between references, which precede them in the file
    overwrite_packet(path, 5, garble)
    frames = decode_all(path)
    (marked,) = [i for i, frame in enumerate(frames) if frame.is_corrupt]
    before = [i for i in range(marked) if all(f.pict_type == av.video.frame.PictureType.B for f in frames[i:marked])]
    assert len(before) == 3
    with VideoFile(path) as video:
        assert sorted(rebuild_index(video).unsound) == [*before, *range(marked, 12)]


FUZZED: dict[str, tuple[str, dict[str, Any]]] = {
    "h264": ("a.mp4", {"options": {**X264, "preset": "fast"}}),
    "mpeg4": ("a.avi", MPEG4),
    "mpeg2": ("a.mpg", {"codec": "mpeg2video", "options": {"bf": "2", "g": "12"}}),
}


@pytest.mark.parametrize("kind", FUZZED)
def test_most_frames_garbled_by_fuzzing_are_rejected(tmp_path: Path, kind: str) -> None:
    name, options = FUZZED[kind]
    path = encode_video(tmp_path / name, N, **options)
    whole, data = decode_all(path), path.read_bytes()
    expected = {frame.pts: frame.to_ndarray(format="rgb24").astype(int) for frame in whole}
    rng = np.random.default_rng(0)
    garbled = marked = refused = 0
    for _ in range(15):
        fuzzed = bytearray(data)
        for place in rng.integers(len(data) // 20, len(data), size=2):
            fuzzed[place] ^= int(rng.integers(1, 256))
        path.write_bytes(fuzzed)
        with VideoFile(path) as video:
            for frame, is_sound in video.frames_from_start():
                pixels = frame.to_ndarray(format="rgb24")
                if frame.pts not in expected or np.abs(pixels - expected[frame.pts]).mean() > 1:
                    garbled += 1
                    marked += frame.is_corrupt
                    refused += not is_sound
    assert garbled > 50 and refused > 0.6 * garbled and refused > 3 * marked, (garbled, marked, refused)


def test_frames_above_the_size_limit_are_errors(tmp_path: Path) -> None:
    path = encode_video(tmp_path / "a.mp4", 3, size=(48, 64))
    assert len(list(decode_frames(path, max_pixels=48 * 64))) == 3
    message = r"a\.mp4: 64x48 pixels are more than dataset\.max_pixels=3071 allows"
    with pytest.raises(ReadError, match=message):
        open_reader("RAW", tmp_path, max_pixels=3071).read(VideoRecord("a.mp4", 3, 0), [0])
    with pytest.raises(ReadError, match=message):
        list(decode_frames(path, max_pixels=3071))


def test_frames_that_grow_beyond_the_limit_are_not_decoded(tmp_path: Path) -> None:
    small = encode_video(tmp_path / "small.ts", 10, size=(48, 64))
    large = encode_video(tmp_path / "large.ts", 10, size=(96, 128), pts=range(15, 25))
    path = tmp_path / "joined.ts"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    reader = RawVideoReader("", max_pixels=48 * 64)
    assert frame_numbers(read(reader, path, [0, 9])) == [0, 9]
    with pytest.raises(FewerFramesError, match=r"there are 10 \(10 packets cannot be decoded"):
        read(reader, path, [10])
