"""Frames of clips as a batch of images, and back."""

from torch import Tensor


def fold_frames(clips: Tensor, *, frames_per_image: int = 0) -> Tensor:
    """Lay the frames of all clips side by side as a batch.

    Args:
        clips: [N, C, T, H, W].
        frames_per_image: 0 for frames, [N x T, C, H, W]; s for pieces of s frames, [N x T/s, C, s, H, W], without the
            frames that are left over at the end.
    """
    if not frames_per_image:
        return clips.transpose(1, 2).flatten(0, 1)
    pieces = clips.shape[2] // frames_per_image
    clips = clips[:, :, : pieces * frames_per_image].unflatten(2, (pieces, frames_per_image))
    return clips.transpose(1, 2).flatten(0, 1)


def unfold_frames(images: Tensor, *, frames: int) -> Tensor:
    """[N x frames, C, H, W] -> [N, C, frames, H, W]."""
    return images.unflatten(0, (-1, frames)).transpose(1, 2)
