"""Write a copy of a video with text drawn on its frames."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import IO

import av.error
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dataset.readers.video_file import cause_of
from dataset.writers.encoding import H264Writer
from dataset.writers.shrinking import shrink
from utils.files import FileError, write_atomically
from utils.text import one_line

# No B frames: MP4 derives the duration from decoding times, which fall short where the frame rate drops.
_OPTIONS = {"preset": "veryfast", "crf": "20", "g": "25", "bf": "0", "threads": "1"}
_LINES_PER_FRAME = 20  # a frame's height over the font size
_SMALLEST_TEXT = 10  # font size, pixels
_BAND = (0, 0, 0, 150)  # RGBA of the band behind the text


def write_annotated(
    frames: Iterable[np.ndarray],
    target: Path,
    lines_at: Callable[[int], Sequence[str]],
    *,
    times: Sequence[int] | np.ndarray,
    time_base: Fraction,
    rate: Fraction,
) -> None:
    """Write an MP4 copy of a video, without sound, with lines of text at the top left of every frame.

    The file is written atomically.

    Args:
        frames: Frames of the video, uint8 [H, W, 3], all of one size; exceptions of the iterator are passed on.
        target: The new file; its folder is created.
        lines_at: Returns the lines of text of a frame, by its index from 0.
        times: Presentation time of each frame, in units of the time base, increasing.
        time_base: Seconds per unit.
        rate: Average frame rate, frames per second.

    Raises:
        FileError: The copy cannot be written, or there are more or fewer frames than times.
    """

    def write(file: IO[bytes]) -> None:
        # By name: for a file object, FFmpeg's errors do not give the cause.
        with H264Writer(file.name, rate=rate, options=_OPTIONS, time_base=time_base) as writer:
            for frame, time in itertools.zip_longest(_with_text(frames, lines_at), times):
                if frame is None or time is None:
                    raise FileError(f"{target}: the video has more or fewer frames than the {len(times)} counted")
                writer.write(frame, time=int(time))

    try:
        write_atomically(target, write)
    except av.error.FFmpegError as error:
        raise FileError(f"{target}: cannot be encoded ({cause_of(error)})") from None


def _with_text(frames: Iterable[np.ndarray], lines_at: Callable[[int], Sequence[str]]) -> Iterator[np.ndarray]:
    font = None
    for number, frame in enumerate(shrink(frames, 0, step=2)):
        font = font or load_font(max(frame.shape[0] // _LINES_PER_FRAME, _SMALLEST_TEXT))
        yield write_lines(frame, lines_at(number), font)


def write_lines(
    frame: np.ndarray, lines: Sequence[str], font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> np.ndarray:
    """Draw lines of white text on a dark band at the top of a frame, uint8 [H, W, 3]; return a new frame."""
    picture = Image.fromarray(np.ascontiguousarray(frame)).convert("RGBA")
    layer = Image.new("RGBA", picture.size)
    draw = ImageDraw.Draw(layer)
    text = "\n".join(map(one_line, lines))
    _, _, right, bottom = draw.multiline_textbbox((4, 4), text, font=font)
    draw.rectangle((0, 0, right + 4, bottom + 4), fill=_BAND)
    draw.multiline_text((4, 4), text, font=font, fill="white")
    return np.asarray(Image.alpha_composite(picture, layer).convert("RGB"))


def load_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return matplotlib's DejaVu Sans, which covers many scripts, at a size in pixels."""
    from matplotlib import get_data_path  # takes 0.2 s, which only annotation needs

    return ImageFont.truetype(str(Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)
