"""Bytes to numbers: clips leave the loader as uint8 and become floats on the device.

A clip of bytes is a quarter of the size of a clip of floats, in the workers, in shared memory and on the bus.
"""

import torch

from utils.config.network_names import IMAGENET, Normalization

FORE_FRAMES = 16


class ClipNormalizer:
    """Turns uint8 clips [N, T, H, W, C] into the normalized float32 clips [N, C, T, H, W] that a network takes.

    A value v of 0..1 becomes (v - mean) / std of its channel.
    """

    def __init__(self, normalization: Normalization = IMAGENET, *, use_fore: bool = False) -> None:
        """Chooses what the clips become.

        Args:
            normalization: Mean and std of every channel of the clips, those that the weights were trained with.
            use_fore: Foreground clips: after the normalization, the mean of every 16 frames (of what is left, for
                the last ones) is taken away from them, so that only what moves remains.
        """
        self.mean, self.std = normalization.mean, normalization.std
        self.use_fore = use_fore

    def __call__(self, clips: torch.Tensor, *, out: torch.Tensor | None = None) -> torch.Tensor:
        """Normalize on the device where the clips are.

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
                f"clips to normalize are uint8 [N, T, H, W, {channels}], not {clips.dtype} {list(clips.shape)}"
            )
        if out is None:
            batch, frames, height, width, _ = clips.shape
            out = torch.empty((batch, channels, frames, height, width), dtype=torch.float32, device=clips.device)
        for channel, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
            values = clips[..., channel]
            if clips.device.type == "cpu":  # where torch would cast into new memory; a GPU does all in one pass
                values = out[:, channel].copy_(values)
            # The offset stays on the CPU, as a number: bringing it to a GPU would wait for all that the GPU has to do.
            torch.add(torch.tensor(-mean / std), values, alpha=1 / (255 * std), out=out[:, channel])
        if self.use_fore:
            for group in out.split(FORE_FRAMES, dim=2):
                group.sub_(group.mean(dim=2, keepdim=True))
        return out
