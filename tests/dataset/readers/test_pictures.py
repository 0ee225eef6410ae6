"""Images and their numbering: size limit, 16-bit samples, orientation, names from 0 or of 6 digits."""

import io
import struct
import warnings
import zlib
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
from PIL import Image, ImageOps

from dataset.listing import VideoRecord
from dataset.readers import FewerFramesError, FrameReader, ReadError, open_reader
from dataset.readers import lmdb as lmdb_frames
from dataset.readers.errors import MAX_PIXELS
from dataset.readers.images import Naming, find_naming
from dataset.readers.jpeg import ImageError, decode_image
from tests.videos import frame_numbers, numbered_frame


def encode(pixels: np.ndarray, kind: str = "JPEG", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def png_of_size(width: int, height: int, *, bits: int) -> bytes:
    """A PNG whose header claims a size, with almost no data."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    content = zlib.compress(b"\0" * 100)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def jpeg_of_size(width: int, height: int) -> bytes:
    data = bytearray(encode(numbered_frame(0)))
    place = data.index(b"\xff\xc0")
    data[place + 5 : place + 9] = struct.pack(">HH", height, width)
    return bytes(data)


BOMBS = {
    "JPEG": jpeg_of_size(60000, 50000),
    "PNG": png_of_size(60000, 50000, bits=8),
    "PNG of 16 bits": png_of_size(60000, 50000, bits=16),
    "more than Pillow opens": png_of_size(1 << 30, 1 << 30, bits=8),
    "one row too many": jpeg_of_size(8192, 8193),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_the_size_is_read_before_the_pixels(kind: str) -> None:
    with pytest.raises(ImageError, match=r"pixels are more than dataset\.max_pixels=67108864 allows|too large"):
        decode_image(BOMBS[kind], color=True)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])
def test_the_limit_is_max_pixels_and_not_pillows(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(numbered_frame(1), kind)  # 64 x 48 = 3072 pixels
    assert decode_image(data, color=True, max_pixels=3072).shape == (48, 64, 3)
    with pytest.raises(ImageError, match=r"^64x48 pixels are more than dataset\.max_pixels=3071 allows$"):
        decode_image(data, color=True, max_pixels=3071)
    limit = Image.MAX_IMAGE_PIXELS
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)  # Pillow warns above this, and raises above twice this
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode_image(data, color=False).shape == (48, 64, 1)
    assert limit and 2 * limit > (1 << 27) > MAX_PIXELS  # so that every limit of a record is within Pillow's
    if kind != "JPEG":
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
        with pytest.raises(ImageError, match="^it is too large: Image size"):
            decode_image(data, color=True)


def test_a_picture_that_is_too_large_is_named(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v/00001.jpg").write_bytes(BOMBS["JPEG"])
    reader = open_reader("FRAME", tmp_path, max_pixels=100)
    with pytest.raises(
        ReadError, match=r"^cannot read .*/v/00001\.jpg: 60000x50000 pixels are more than .*=100 allows$"
    ):
        reader.read(VideoRecord("v", 1, 0), [0])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_samples_of_16_bits_are_scaled(channels: int) -> None:
    rng = np.random.default_rng(0)
    samples = rng.integers(0, 1 << 16, size=(40, 30, channels), dtype=np.uint16)
    samples[0, :2, :] = [[0], [65535]]
    data = cv2.imencode(".png", samples if channels == 1 else samples[:, :, [2, 1, 0, 3][:channels]])[1].tobytes()
    assert data[24] == 16
    expected = np.rint(samples.astype(np.float64) * 255 / 65535).astype(np.uint8)[:, :, :3]
    assert np.array_equal(decode_image(data, color=True), np.broadcast_to(expected, (40, 30, 3)))
    if channels == 1:
        assert np.array_equal(decode_image(data, color=False), expected)
        tiff = encode(samples[:, :, 0], "TIFF")
        assert np.array_equal(decode_image(tiff, color=False), expected)
    for size in (60, len(data) // 2, len(data) - 200):
        with pytest.raises(ImageError):
            decode_image(data[:size], color=True)


def test_samples_of_32_bits_are_errors() -> None:
    data = encode(np.arange(12, dtype=np.float32).reshape(3, 4), "TIFF")
    with pytest.raises(ImageError, match=r"^its samples are of 32 bits \(Pillow's mode F\)"):
        decode_image(data, color=True)


@pytest.mark.parametrize("kind", ["JPEG", "CMYK", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_exif_orientation_is_applied(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(numbered_frame(77))
    stream = io.BytesIO()
    if kind == "PNG":
        picture.save(stream, "PNG", exif=exif)
    else:
        (picture.convert("CMYK") if kind == "CMYK" else picture).save(stream, "JPEG", exif=exif)
    with Image.open(io.BytesIO(stream.getvalue())) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        stored = np.asarray(image.convert("RGB"))
    got = decode_image(stream.getvalue(), color=True)
    assert np.array_equal(got, expected)
    assert np.array_equal(got, stored) == (orientation == 1)


def write(root: Path, layout: str, videos: dict[str, list[str]]) -> FrameReader:
    """Images of numbered frames, by video and name, as folders or in one LMDB environment."""
    root.mkdir()
    if layout == "FRAME":
        for video, names in videos.items():
            (root / video).mkdir()
            for number, name in enumerate(names):
                (root / video / name).write_bytes(encode(numbered_frame(number)))
    else:
        with lmdb.open(str(root), map_size=1 << 24) as environment, environment.begin(write=True) as writing:
            for video, names in videos.items():
                for number, name in enumerate(names):
                    writing.put(f"{video}/{name}".encode(), encode(numbered_frame(number)))
    return open_reader(layout, root)


@pytest.mark.parametrize("layout", ["FRAME", "LMDB"])
def test_numbers_from_0_and_of_five_or_six_digits_are_recognized(tmp_path: Path, layout: str) -> None:
    videos = {f"{d} from {f}": [f"{i + f:0{d}d}.jpg" for i in range(12)] for d in (5, 6) for f in (0, 1)}
    reader = write(tmp_path / "root", layout, videos)
    for video in videos:
        assert frame_numbers(reader.read(VideoRecord(video, 12, 0), [0, 11, 5]).numpy()) == [0, 11, 5]
        with pytest.raises(FewerFramesError, match=r"frame 12 \(from 0\) is wanted, there are 12$") as caught:
            reader.read(VideoRecord(video, 13, 0), [3, 12])
        assert caught.value.num_frames == 12


@pytest.mark.parametrize("layout", ["FRAME", "LMDB"])
def test_images_named_in_two_ways_are_an_error(tmp_path: Path, layout: str) -> None:
    reader = write(tmp_path / "root", layout, {"v": ["00001.jpg", "00002.jpg", "000000.jpg"]})
    with pytest.raises(
        ReadError,
        match=r"^cannot read .*\bv\b.*: both 00001\.jpg and 000000\.jpg exist, so the first frame is ambiguous",
    ):
        reader.read(VideoRecord("v", 3, 0), [0])


def test_a_gap_in_images_from_0_is_named(tmp_path: Path) -> None:
    reader = write(tmp_path / "root", "FRAME", {"v": ["000000.jpg", "000001.jpg", "000003.jpg"]})
    with pytest.raises(ReadError, match=r"v/000002\.jpg: it is missing, though later frames exist$"):
        reader.read(VideoRecord("v", 3, 0), [0, 2])


def test_a_single_name_decides() -> None:
    for name, expected in (("00000_c1.jpg", (5, 0)), ("000001_c1.jpg", (6, 1)), ("1_c1.jpg", (9, 9))):
        found = find_naming(lambda there, name=name: there == name, "_c1", usual=Naming(9, 9), place="v")  # type: ignore[misc]
        assert found == expected


def test_damage_is_an_image_error_whatever_pillow_raises(tmp_path: Path) -> None:
    png, jpeg = encode(numbered_frame(0), "PNG"), encode(numbered_frame(0))
    header = png.index(b"IHDR")
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "words " * 10  # orientation and description
    stream = io.BytesIO()
    Image.fromarray(numbered_frame(0)).convert("CMYK").save(stream, "JPEG", exif=exif)
    cmyk = stream.getvalue()
    tag = cmyk.index(b"Exif") + 17  # of the description
    damaged = {
        "not an integer": cmyk[:tag] + b"\x00" + cmyk[tag + 1 :],
        "bad operand type": cmyk[:tag] + b"\x1a" + cmyk[tag + 1 :],
        "Truncated IHDR chunk": png[: header - 4]
        + b"\0\0\0\1"
        + png[header : header + 5]
        + bytes(4)
        + png[header + 5 :],
        "invalid literal": b"P6 6x 4 255\n" + bytes(72),
    }
    for cause, data in damaged.items():
        with pytest.raises(ImageError, match=cause):
            decode_image(data, color=True)
    # A duplicated part, as after an interrupted copy: OpenCV decodes it, Pillow does not.
    scan = jpeg.index(b"\xff\xda") + 100
    (tmp_path / "v").mkdir()
    (tmp_path / "v/00001.jpg").write_bytes(jpeg[:scan] + jpeg[scan - 512 : scan] + jpeg[scan:])
    with pytest.raises(ReadError, match=r"v/00001\.jpg: broken data stream"):
        open_reader("FRAME", tmp_path).read(VideoRecord("v", 1, 0), [0])
    progressive = encode(numbered_frame(0), progressive=True)
    assert np.array_equal(decode_image(progressive, color=True), np.asarray(Image.open(io.BytesIO(progressive))))


def test_a_damaged_environment_is_an_error_wherever_it_shows(tmp_path: Path) -> None:
    path = tmp_path / "v"
    with lmdb.open(str(path), map_size=1 << 24) as environment, environment.begin(write=True) as writing:
        for number in range(200):
            writing.put(f"{number + 1:06d}.jpg".encode(), b"picture" * 10)
    data = (path / "data.mdb").read_bytes()
    ends = []
    for page in range(2, len(data) // 4096):
        flags = page * 4096 + 10  # an invalid page type
        (path / "data.mdb").write_bytes(data[:flags] + bytes(2) + data[flags + 2 :])
        store = lmdb_frames.LmdbStore(tmp_path)
        for call in ((store.images, [0, 199], ""), (store.count, ""), (store.describe, 0, "")):
            try:
                ends.append(call[0]("v", *call[1:]) is None)
            except ReadError as error:
                ends.append(str(path) in str(error))
    assert len(ends) >= 9 and ends.count(True) >= 3


@pytest.mark.parametrize("subdir", [True, False])
def test_a_truncated_environment_is_an_error_before_it_is_mapped(tmp_path: Path, subdir: bool) -> None:
    path = tmp_path / "v"
    with lmdb.open(str(path), map_size=1 << 24, subdir=subdir) as environment, environment.begin(write=True) as writing:
        for number in range(30):
            writing.put(f"{number + 1:06d}.jpg".encode(), encode(numbered_frame(number)))
    file = path / "data.mdb" if subdir else path
    data = file.read_bytes()
    record = VideoRecord("v", 30, 0)
    assert frame_numbers(open_reader("LMDB", tmp_path).read(record, [0, 29]).numpy()) == [0, 29]
    for size in (len(data) - 1, len(data) // 2, 3 * 4096, 8192):
        file.write_bytes(data[:size])
        message = (
            rf"^cannot read the LMDB environment .*/v: {file.name} is truncated, {size} bytes of {len(data)}; copy"
        )
        with pytest.raises(ReadError, match=message):
            open_reader("LMDB", tmp_path).read(record, [29])
    for size in (5000, 100, 1, 0):
        file.write_bytes(data[:size])
        with pytest.raises(ReadError, match=r"^cannot read the LMDB environment .*/v: "):
            open_reader("LMDB", tmp_path).read(record, [29])
    file.write_bytes(data)
    assert frame_numbers(open_reader("LMDB", tmp_path).read(record, [29]).numpy()) == [29]
