"""The temporal shape of a clip, shared by configuration, data sets and scoring."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClipShape:
    """The frames of a clip relative to its position in a video.

    Attributes:
        num_segments: Segments per clip.
        clip_length: Frames per segment.
        num_steps: Distance between the frames of a segment, frames.
        frame_rate: Frames per second at which frames are counted; 0: the frames of the video as they are.
    """

    num_segments: int
    clip_length: int
    num_steps: int
    frame_rate: float = 0.0

    @property
    def num_frames(self) -> int:
        """Frames per clip: T of the network's input."""
        return self.num_segments * self.clip_length

    @property
    def span(self) -> int:
        """Frames of the video that a segment spans, the skipped ones after its last frame included."""
        return self.clip_length * self.num_steps
