"""What goes wrong when frames of a video are read."""

from utils.errors import UserError

# Pixels that a picture may have at most, by default: it is decoded into three bytes a pixel or more, and a file of some
# kilobytes may claim to be of any size.
MAX_PIXELS = 8192 * 8192


def oversize(width: int, height: int, max_pixels: int) -> str:
    """Return what is wrong with a picture's size in pixels, empty for nothing."""
    if width * height <= max_pixels:
        return ""
    return f"{width}x{height} pixels are more than dataset.max_pixels={max_pixels} allows"


class ReadError(UserError):
    """Frames of a video cannot be had; the message names the video and the cause."""

    on_every_rank = False


class FewerFramesError(ReadError):
    """A frame beyond the real end of a video was asked for: its list claims more frames than there are."""

    def __init__(self, message: str, num_frames: int = 0) -> None:
        """Keep the count beside the message; pickling rebuilds from the message and restores the attribute.

        Args:
            message: One line that names the video.
            num_frames: How many frames the video really has, at least 1.
        """
        super().__init__(message)
        self.num_frames = num_frames
