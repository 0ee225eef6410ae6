"""Errors of the frame readers, and the limit on image size."""

from utils.errors import UserError

# Default limit on the pixels of an image: decoding takes at least three bytes per pixel, and a file of a few kilobytes
# may claim any size.
MAX_PIXELS = 8192 * 8192


def oversize(width: int, height: int, max_pixels: int) -> str:
    """Return an error text if an image has more than `max_pixels` pixels, otherwise the empty string."""
    if width * height <= max_pixels:
        return ""
    return f"{width}x{height} pixels are more than dataset.max_pixels={max_pixels} allows"


class ReadError(UserError):
    """Frames of a video cannot be read; the message names the video and the cause."""

    on_every_rank = False


class FewerFramesError(ReadError):
    """A requested frame is beyond the end of the video: it has fewer frames than its list says."""

    def __init__(self, message: str, num_frames: int = 0) -> None:
        """Create the error; `num_frames` has a default because unpickling passes the message alone.

        Args:
            message: One line that names the video.
            num_frames: True number of frames of the video, at least 1.
        """
        super().__init__(message)
        self.num_frames = num_frames
