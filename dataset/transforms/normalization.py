"""Bytes to numbers: clips leave the loader as uint8 and become floats on the device.

A clip of bytes is a quarter of the size of a clip of floats, in the workers, in shared memory and on the bus.
"""

import cv2
import torch

from utils.config.network_names import IMAGENET, Normalization

FORE_FRAMES = 16


class ClipNormalizer:
    """Turns uint8 clips [N, T, H, W, C] into the normalised float32 clips [N, C, T, H, W] that a network takes.

    A value v of 0..1 becomes (v - mean) / std of its channel.
    """

    def __init__(self, normalization: Normalization = IMAGENET, *, use_fore: bool = False) -> None:
        """Chooses what the clips become.

        Args:
            normalization: Mean and std of every channel of the clips, those that the weights were trained with.
            use_fore: Foreground clips: after the normalisation, the mean of every 16 frames (of what is left, for
                the last ones) is taken away from them, so that only what moves remains.
        """
        self.mean, self.std = normalization.mean, normalization.std
        self.use_fore = use_fore

    def __call__(self, clips: torch.Tensor, *, out: torch.Tensor | None = None) -> torch.Tensor:
        """Normalises on the device where the clips are.

        Args:
            clips: uint8 [N, T, H, W, C], of any strides.
            out: Contiguous float32 [N, C, T, H, W] to write to; new memory by default.

        Returns:
            Contiguous float32 [N, C, T, H, W].

        Raises:
            ValueError: For another type or another number of axes or channels.
        """
        channels = len(self.mean)
        if clips.dtype != torch.uint8 or clips.ndim != 5 or clips.shape[-1] != channels:
            raise ValueError(
                f"clips to normalise are uint8 [N, T, H, W, {channels}], not {clips.dtype} {list(clips.shape)}"
            )
        if out is None:
            batch, frames, height, width, _ = clips.shape
            out = torch.empty((batch, channels, frames, height, width), dtype=torch.float32, device=clips.device)
        if clips.device.type == "cpu" and clips.stride(-1) == 1:
            planes = torch.empty((1, channels, *clips.shape[1:4]), dtype=torch.uint8)
            for clip, target in zip(clips, out.split(1), strict=True):
                _take_apart(clip, planes[0])
                self._affine(planes, out=target)
        else:
            self._affine(clips.movedim(-1, 1), out=out)
        if self.use_fore:
            for group in out.split(FORE_FRAMES, dim=2):
                group.sub_(group.mean(dim=2, keepdim=True))
        return out

    def _affine(self, planes: torch.Tensor, *, out: torch.Tensor) -> None:
        """Bytes [N, C, T, H, W] to floats: cast, affine map and permutation."""
        for channel, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
            # The offset stays on the CPU, as a number: bringing it to a GPU would wait for all that the GPU has to do.
            offset = torch.tensor(-mean / std)
            values, floats = planes[:, channel], out[:, channel]
            if values.device.type == "cpu":  # where torch would cast into new memory; a GPU does all in one pass
                values = floats.copy_(values)
            torch.add(offset, values, alpha=1 / (255 * std), out=floats)


def _take_apart(clip: torch.Tensor, planes: torch.Tensor) -> None:
    """Write a clip [T, H, W, C] on the CPU to planes [C, T, H, W]: torch would go through its bytes one by one."""
    for frame, targets in zip(clip.numpy(), planes.numpy().swapaxes(0, 1), strict=True):
        cv2.split(frame, list(targets))
