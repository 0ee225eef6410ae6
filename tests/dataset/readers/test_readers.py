"""The three formats give the same frames; images are decoded as by Pillow; every fault is named."""

import io
import multiprocessing
import os
import pickle
import re
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
from PIL import Image, ImageOps

from dataset.listing import VideoRecord
from dataset.readers import FewerFramesError, FrameReader, ReadError, open_reader
from dataset.readers.caching import BoundedCache
from dataset.readers.images import FolderStore, NumberedImageReader
from dataset.readers.jpeg import ImageError, decode_image
from tests.videos import encode_video, frame_numbers, numbered_frame
from utils.errors import UserError

N = 12
VIDEOS = ("a/one.mp4", "two words.mp4")


def encode_picture(pixels: np.ndarray, kind: str = "JPEG", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(stream, kind, **options)
    return stream.getvalue()


def write_folders(root: Path, pictures: dict[str, dict[str, bytes]]) -> Path:
    """A folder of images per video, by name without leading zeros (`12` or `12_c1`)."""
    for video, named in pictures.items():
        (root / video).mkdir(parents=True)
        for name, data in named.items():
            number, _, rest = name.partition("_")
            (root / video / f"{int(number):05d}{'_' + rest if rest else ''}.jpg").write_bytes(data)
    return root


def write_environments(root: Path, pictures: dict[str, dict[str, bytes]]) -> Path:
    """The same, an LMDB environment per video."""
    for video, named in pictures.items():
        (root / video).mkdir(parents=True)
        write_keys(root / video, {lmdb_key(name): data for name, data in named.items()})
    return root


def write_one_environment(root: Path, pictures: dict[str, dict[str, bytes]]) -> Path:
    """The same, in a single LMDB environment."""
    root.mkdir(parents=True)
    write_keys(
        root, {f"{video}/{lmdb_key(name)}": data for video, named in pictures.items() for name, data in named.items()}
    )
    return root


def lmdb_key(name: str) -> str:
    number, _, rest = name.partition("_")
    return f"{int(number):06d}{'_' + rest if rest else ''}.jpg"


def write_keys(path: Path, values: dict[str, bytes], *, subdir: bool = True) -> None:
    with lmdb.open(str(path), map_size=1 << 24, subdir=subdir) as environment, environment.begin(write=True) as writing:
        for key, data in values.items():
            writing.put(key.encode(), data)


LAYOUTS = {
    "FRAME": ("FRAME", write_folders),
    "LMDB a video": ("LMDB", write_environments),
    "LMDB a data set": ("LMDB", write_one_environment),
}


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> str:
    return request.param


def open_layout(
    layout: str, root: Path, pictures: dict[str, dict[str, bytes]], *, use_flow: bool = False
) -> FrameReader:
    format, write = LAYOUTS[layout]
    return open_reader(format, write(root, pictures), use_flow=use_flow)


def numbered_pictures(num_frames: int = N, kind: str = "JPEG", **options: object) -> dict[str, bytes]:
    return {str(i + 1): encode_picture(numbered_frame(i), kind, **options) for i in range(num_frames)}


def test_raw_and_lossless_pictures_are_equal(tmp_path: Path, layout: str) -> None:
    raw = tmp_path / "raw"
    for video in VIDEOS:
        encode_video(raw / video, N)
    reader = open_reader("RAW", raw)
    pixels = {video: reader.read(VideoRecord(video, N, 0), range(N)).numpy() for video in VIDEOS}
    pictures = {
        video: {str(i + 1): encode_picture(frame, "PNG") for i, frame in enumerate(frames)}
        for video, frames in pixels.items()
    }
    reader = open_layout(layout, tmp_path / "pictures", pictures)
    for video in VIDEOS:
        for frames in (list(range(N)), [5], [7, 2, 7, 11]):
            got = reader.read(VideoRecord(video, N, 0), frames).numpy()
            assert np.array_equal(got, pixels[video][frames])
            assert frame_numbers(got) == frames


def test_jpegs_are_equal_in_every_layout(tmp_path: Path, layout: str) -> None:
    pictures = {video: numbered_pictures(quality=90) for video in VIDEOS}
    reader = open_layout(layout, tmp_path / "root", pictures)
    for video in VIDEOS:
        got = reader.read(VideoRecord(video, N, 0), [3, 0, 11, 3])
        assert got.dtype.is_floating_point is False and got.shape == (4, 48, 64, 3)
        assert frame_numbers(got.numpy()) == [3, 0, 11, 3]
        for frame, name in zip(got.numpy(), ("4", "1", "12", "4"), strict=True):
            with Image.open(io.BytesIO(pictures[video][name])) as image:
                assert np.array_equal(frame, np.asarray(image))


def test_flow_has_two_channels(tmp_path: Path, layout: str) -> None:
    rng = np.random.default_rng(0)
    fields = rng.integers(0, 255, size=(5, 6, 8, 2), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    named = {f"{i + 1}_c{c + 1}": encode_picture(fields[i, :, :, c], "PNG") for i in range(5) for c in range(2)}
    reader = open_layout(layout, tmp_path / "root", {"v": named}, use_flow=True)
    assert np.array_equal(reader.read(VideoRecord("v", 5, 0), [4, 1, 1]).numpy(), fields[[4, 1, 1]])
    with pytest.raises(FewerFramesError) as caught:
        reader.read(VideoRecord("v", 7, 0), [5])
    assert caught.value.num_frames == 5
    jpegs = {f"{i + 1}_c{c + 1}": encode_picture(fields[i, :, :, c]) for i in range(5) for c in range(2)}
    reader = open_layout(layout, tmp_path / "jpegs", {"v": jpegs}, use_flow=True)
    got = reader.read(VideoRecord("v", 5, 0), [2]).numpy()[0]
    for channel in range(2):
        with Image.open(io.BytesIO(jpegs[f"3_c{channel + 1}"])) as image:
            assert np.array_equal(got[:, :, channel], np.asarray(image))


def test_frames_past_the_end_and_gaps_are_different_errors(tmp_path: Path, layout: str) -> None:
    pictures = {name: numbered_pictures() for name in ("a", "b", "c")}
    pictures["b"].pop("5")
    reader = open_layout(layout, tmp_path / "root", pictures)
    for video in ("a", "b"):
        with pytest.raises(FewerFramesError) as caught:
            reader.read(VideoRecord(video, 30, 0), [0, 20])
        assert caught.value.num_frames == N
        assert str(caught.value).endswith("frame 20 (from 0) is wanted, there are 12")
    name = r"/b/00005\.jpg" if layout == "FRAME" else r"key (b/)?000005\.jpg"
    with pytest.raises(ReadError, match=rf"^cannot read .*{name}: it is missing, though later frames exist$") as gap:
        reader.read(VideoRecord("b", N, 0), range(N))
    assert not isinstance(gap.value, FewerFramesError)
    assert frame_numbers(reader.read(VideoRecord("b", N, 0), [3, 5]).numpy()) == [3, 5]


def test_a_missing_video_is_named(tmp_path: Path, layout: str) -> None:
    reader = open_layout(layout, tmp_path / "root", {"a": numbered_pictures(2)})
    causes = {
        "FRAME": "cannot read the frames of .*/none: no such folder",
        "LMDB a video": "cannot read the LMDB environment .*/none: No such file or directory",
        "LMDB a data set": r"cannot read .*/root, key none/000001\.jpg: the video has no frames named like this",
    }
    with pytest.raises(ReadError, match=f"^{causes[layout]}$"):
        reader.read(VideoRecord("none", 5, 0), [0])


def test_bad_pictures_are_named_with_the_cause(tmp_path: Path, layout: str) -> None:
    whole = numbered_pictures(4)
    whole["2"] = whole["2"][:-100]
    whole["3"] = b"no picture at all"
    whole["4"] = encode_picture(numbered_frame(3, width=80))
    reader = open_layout(layout, tmp_path / "root", {"v": whole})
    record = VideoRecord("v", 4, 0)
    with pytest.raises(ReadError, match=r"0002\.jpg: image file is truncated"):
        reader.read(record, [0, 1])
    with pytest.raises(ReadError, match=r"0003\.jpg: not an image \(17 bytes\)$"):
        reader.read(record, [2])
    with pytest.raises(ReadError, match=r"0004\.jpg: it is 48x80, frames before it 48x64 \(height x width\)$"):
        reader.read(record, [0, 3])


def test_broken_environments_are_named(tmp_path: Path) -> None:
    write_environments(tmp_path, {"whole": numbered_pictures(2)})
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text/data.mdb").write_bytes(b"not a database " * 1000)
    reader = open_reader("LMDB", tmp_path)
    for video, cause in (("empty", "No such file or directory"), ("text", "MDB_INVALID: File is not an LMDB file")):
        message = f"cannot read the LMDB environment {tmp_path / video}: {cause}"
        with pytest.raises(ReadError, match=f"^{re.escape(message)}$"):
            reader.read(VideoRecord(video, 2, 0), [0])


def test_an_environment_may_be_a_single_file(tmp_path: Path) -> None:
    values = {lmdb_key(name): data for name, data in numbered_pictures(3).items()}
    write_keys(tmp_path / "video.lmdb", values, subdir=False)
    write_keys(tmp_path / "set.lmdb", {f"v/{key}": data for key, data in values.items()}, subdir=False)
    for root, video in ((tmp_path, "video.lmdb"), (tmp_path / "set.lmdb", "v")):
        got = open_reader("LMDB", root).read(VideoRecord(video, 3, 0), [2, 0])
        assert frame_numbers(got.numpy()) == [2, 0]


def test_no_environment_stays_open(tmp_path: Path) -> None:
    root = write_environments(tmp_path / "root", {"a": numbered_pictures(2)})
    (tmp_path / "link").symlink_to(root)
    for reader in [open_reader("LMDB", path) for path in (root, root, tmp_path / "link")]:
        assert frame_numbers(reader.read(VideoRecord("a", 2, 0), [1]).numpy()) == [1]
        lmdb.open(str(root / "a"), readonly=True, lock=False).close()  # fails if it is open already


def read_numbers(reader: FrameReader, opened: list[int], results: "multiprocessing.Queue[list[int]]") -> None:
    results.put(frame_numbers(reader.read(VideoRecord("v", 3, 0), [2, 1]).numpy()))
    results.put(opened)


def test_a_reader_works_in_the_parent_and_in_forked_workers(
    tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []
    open_environment = lmdb.open

    def watched(*arguments: Any, **options: Any) -> lmdb.Environment:
        opened.append(os.getpid())
        return open_environment(*arguments, **options)

    reader = open_layout(layout, tmp_path / "root", {"v": numbered_pictures(3)})
    monkeypatch.setattr(lmdb, "open", watched)
    assert frame_numbers(reader.read(VideoRecord("v", 3, 0), [0]).numpy()) == [0]
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    worker = context.Process(target=read_numbers, args=(reader, opened, results))
    worker.start()
    assert results.get(timeout=60) == [2, 1]
    # The worker opens its own files, whatever its parent had open.
    assert results.get(timeout=60) == ([] if layout == "FRAME" else [os.getpid(), worker.pid])
    worker.join()
    assert worker.exitcode == 0
    assert frame_numbers(reader.read(VideoRecord("v", 3, 0), [1]).numpy()) == [1]


def test_readers_can_be_pickled(tmp_path: Path, layout: str) -> None:
    reader = open_layout(layout, tmp_path / "root", {"v": numbered_pictures(3)})
    reader.read(VideoRecord("v", 3, 0), [0])
    copy = pickle.loads(pickle.dumps(reader))
    assert frame_numbers(copy.read(VideoRecord("v", 3, 0), [2]).numpy()) == [2]


def test_negative_or_no_frame_indices_are_errors(tmp_path: Path) -> None:
    reader = NumberedImageReader(FolderStore(tmp_path))
    for frames in ([-1, 0], []):
        with pytest.raises(ValueError, match="frame_indices must be non-empty and non-negative"):
            reader.read(VideoRecord("v", 3, 0), frames)


def test_a_wrong_format_or_root_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="^unknown data format 'raw': choose one of .*RAW, FRAME, LMDB"):
        open_reader("raw", tmp_path)
    with pytest.raises(UserError, match="^the root of the videos, .*none, does not exist$"):
        open_reader("RAW", tmp_path / "none")
    with pytest.raises(UserError, match="^format RAW holds no optical flow: use FRAME or LMDB$"):
        open_reader("RAW", tmp_path, use_flow=True)


def cmyk_picture() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(numbered_frame(77)).convert("CMYK").save(stream, "JPEG")
    return stream.getvalue()


def turned_picture() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: rotated by 90 degrees
    return encode_picture(numbered_frame(77), exif=exif)


PICTURES = {
    "4:2:0": encode_picture(numbered_frame(77), quality=90),
    "4:4:4": encode_picture(numbered_frame(77), quality=95, subsampling=0),
    "progressive": encode_picture(numbered_frame(77), progressive=True),
    "gray": encode_picture(numbered_frame(77)[:, :, 0]),
    "comment": encode_picture(numbered_frame(77), comment=b"\xff\xc0" + b"c" * 3000),
    "padded": encode_picture(numbered_frame(77)) + bytes(100),
    "trailing junk": encode_picture(numbered_frame(77)) + b"junk",
    "odd size": encode_picture(numbered_frame(77)[:47, :63]),
    "turned": turned_picture(),
    "CMYK": cmyk_picture(),
    "PNG": encode_picture(numbered_frame(77), "PNG"),
    "PNG with alpha": encode_picture(np.dstack([numbered_frame(77), numbered_frame(3)[:, :, :1]]), "PNG"),
    "BMP": encode_picture(numbered_frame(77), "BMP"),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_images_are_decoded_as_by_pillow(kind: str) -> None:
    data = PICTURES[kind]
    with Image.open(io.BytesIO(data)) as opened:
        image = ImageOps.exif_transpose(opened)
        color, gray = np.asarray(image.convert("RGB")), np.asarray(image.convert("L"))
    assert np.array_equal(decode_image(data, color=True), color)
    got = decode_image(data, color=False)
    assert got.shape == (*gray.shape, 1)
    # The JPEG's own luma is used; Pillow computes it from rounded RGB.
    assert np.abs(got[:, :, 0].astype(int) - gray).max() <= (0 if kind in ("gray", "PNG", "BMP", "CMYK") else 2)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 20, 200, 600, 750])
@pytest.mark.parametrize("kind", ["4:2:0", "progressive", "PNG"])
def test_a_truncated_image_is_an_error(kind: str, size: int) -> None:
    with pytest.raises(ImageError):
        decode_image(PICTURES[kind][:size], color=True)


def test_a_cache_drops_what_was_used_least_recently() -> None:
    cache: BoundedCache[str] = BoundedCache(10, weigh=len)

    def there() -> dict[int, str]:
        return {key: value for key in range(1, 5) if (value := cache.get(key))}

    cache.put(1, "aaaa")
    cache.put(2, "bbbb")
    assert cache.get(1) == "aaaa"
    cache.put(3, "cccc")
    assert there() == {1: "aaaa", 3: "cccc"}
    cache.put(1, "dd")
    assert there() == {1: "dd", 3: "cccc"}
    cache.put(4, "e" * 20)
    assert there() == {4: "e" * 20}
