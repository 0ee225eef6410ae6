"""The shape of a clip in time, as one value from a record's states to the data sets."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClipShape:
    """Which frames make a clip, wherever in a video it is.

    Attributes:
        num_segments: Pieces that the clip is put together from.
        clip_length: Frames of a piece.
        num_steps: Distance between the frames of a piece.
        frame_rate: Frames a second that all of this is counted in; 0: whatever frames a video has.
    """

    num_segments: int
    clip_length: int
    num_steps: int
    frame_rate: float = 0.0

    @property
    def num_frames(self) -> int:
        """Frames of the clip: what the network sees as T."""
        return self.num_segments * self.clip_length

    @property
    def span(self) -> int:
        """Frames of the video that a piece reaches over, and those that it steps over."""
        return self.clip_length * self.num_steps
