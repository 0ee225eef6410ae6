"""Fold the frames of clips into a batch of images, and unfold them again."""

from torch import Tensor


def fold_frames(clips: Tensor, *, frames_per_image: int = 0) -> Tensor:
    """Fold the time axis into the batch axis.

    Args:
        clips: [N, C, T, H, W].
        frames_per_image: 0 for single frames; s for pieces of s consecutive frames, which drops the last T % s frames.

    Returns:
        [N x T, C, H, W] for single frames, [N x T/s, C, s, H, W] for pieces.
    """
    if not frames_per_image:
        return clips.transpose(1, 2).flatten(0, 1)
    pieces = clips.shape[2] // frames_per_image
    clips = clips[:, :, : pieces * frames_per_image].unflatten(2, (pieces, frames_per_image))
    return clips.transpose(1, 2).flatten(0, 1)


def unfold_frames(images: Tensor, *, frames: int) -> Tensor:
    """[N x frames, C, H, W] -> [N, C, frames, H, W]."""
    return images.unflatten(0, (-1, frames)).transpose(1, 2)
