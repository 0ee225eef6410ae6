"""Bytes to numbers: clips leave the loader as uint8 and become floats on the device.

A clip of bytes is a quarter of the size of a clip of floats, in the workers, in shared memory and on the bus.
"""

import cv2
import torch

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
FLOW_MEAN = (0.5, 0.5)
FLOW_STD = (0.229, 0.229)
FORE_FRAMES = 16


class ClipNormalizer:
    """Turns uint8 clips [N, T, H, W, C] into the normalised float32 clips [N, C, T, H, W] that a network takes.

    A value v of 0..1 becomes (v - mean) / std of its channel, with the statistics of ImageNet for RGB, and mean 0.5,
    std 0.229 for the two channels of optical flow.
    """

    def __init__(self, *, use_flow: bool = False, use_fore: bool = False) -> None:
        """Chooses what the clips show.

        Args:
            use_flow: the clips are optical flow, of two channels.
            use_fore: foreground clips: after the normalisation, the mean of every 16 frames (of what is left, for
                the last ones) is taken away from them, so that only what moves remains.
        """
        self.mean: tuple[float, ...] = FLOW_MEAN if use_flow else IMAGENET_MEAN
        self.std: tuple[float, ...] = FLOW_STD if use_flow else IMAGENET_STD
        self.use_fore = use_fore
        levels = torch.arange(256, dtype=torch.uint8)
        self._tables = [
            self._affine(levels, channel, out=torch.empty(256)).numpy() for channel in range(len(self.mean))
        ]

    def __call__(self, clips: torch.Tensor, *, out: torch.Tensor | None = None) -> torch.Tensor:
        """Normalises on the device where the clips are.

        Args:
            clips: uint8 [N, T, H, W, C], of any strides.
            out: contiguous float32 [N, C, T, H, W] to write to; new memory by default.

        Returns:
            Contiguous float32 [N, C, T, H, W].

        Raises:
            ValueError: for another type or another number of axes or channels.
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
            self._look_up(clips, out)
        else:
            for channel in range(channels):
                self._affine(clips[..., channel], channel, out=out[:, channel])
        if self.use_fore:
            for group in out.split(FORE_FRAMES, dim=2):
                group.sub_(group.mean(dim=2, keepdim=True))
        return out

    def _affine(self, values: torch.Tensor, channel: int, *, out: torch.Tensor) -> torch.Tensor:
        """Bytes of a channel to floats: cast, affine map and permutation in a single pass."""
        mean, std = self.mean[channel], self.std[channel]
        # The offset stays on the CPU, as a number: bringing it to a GPU would wait for all that the GPU has to do.
        return torch.add(torch.tensor(-mean / std), values, alpha=1 / (255 * std), out=out)

    def _look_up(self, clips: torch.Tensor, out: torch.Tensor) -> None:
        """The same on a CPU, where torch is slow with bytes of three channels side by side."""
        for clip, target in zip(clips.numpy(), out.numpy(), strict=True):
            for time, frame in enumerate(clip):
                for channel, plane in enumerate(cv2.split(frame)):
                    cv2.LUT(plane, self._tables[channel], dst=target[channel, time])
