"""Normalization on the device: clips leave the loader as uint8 and become float32 there.

A uint8 clip takes a quarter of the memory of a float32 clip in the workers, in shared memory and on the bus.
"""

import torch

from utils.config.network_names import IMAGENET, Normalization

FORE_FRAMES = 16


class ClipNormalizer:
    """Converts uint8 clips [N, T, H, W, C] to normalized float32 network input [N, C, T, H, W].

    A value v of 0..1 becomes (v - mean) / std of its channel.
    """

    def __init__(self, normalization: Normalization = IMAGENET, *, use_fore: bool = False) -> None:
        """Create the normalizer.

        Args:
            normalization: Mean and standard deviation of every channel, in 0..1, as the weights were trained with.
            use_fore: Foreground clips: after the normalization, subtract from every 16 frames (fewer at the end) their
                temporal mean, so that only moving content remains.
        """
        self.mean, self.std = normalization.mean, normalization.std
        self.use_fore = use_fore

    def __call__(self, clips: torch.Tensor, *, out: torch.Tensor | None = None) -> torch.Tensor:
        """Normalize clips on their device.

        Args:
            clips: uint8 [N, T, H, W, C], of any strides.
            out: Contiguous float32 [N, C, T, H, W] to write to; allocated by default.

        Returns:
            Contiguous float32 [N, C, T, H, W].

        Raises:
            ValueError: The clips have another dtype, number of dimensions or number of channels.
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
            if clips.device.type == "cpu":  # torch would cast into a temporary; a GPU fuses cast and addition
                values = out[:, channel].copy_(values)
            # The offset is a CPU scalar, which a kernel takes by value: copying it to a GPU would synchronize.
            torch.add(torch.tensor(-mean / std), values, alpha=1 / (255 * std), out=out[:, channel])
        if self.use_fore:
            for group in out.split(FORE_FRAMES, dim=2):
                group.sub_(group.mean(dim=2, keepdim=True))
        return out
