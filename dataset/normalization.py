"""Bytes to numbers: clips leave the loader as uint8 and become floats on the device.

A clip of bytes is a quarter of the size of a clip of floats, in the workers, in shared memory and on the bus.
"""

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

    def __call__(self, clips: torch.Tensor) -> torch.Tensor:
        """Normalises on the device where the clips are.

        Args:
            clips: uint8 [N, T, H, W, C], of any strides.

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
        batch, frames, height, width, _ = clips.shape
        out = torch.empty((batch, channels, frames, height, width), dtype=torch.float32, device=clips.device)
        for channel, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
            # Cast, affine map and permutation in a single pass over the bytes; no tensor in between is written.
            offset = torch.tensor(-mean / std, device=clips.device)
            torch.add(offset, clips[..., channel], alpha=1 / (255 * std), out=out[:, channel])
        if self.use_fore:
            for group in out.split(FORE_FRAMES, dim=2):
                group.sub_(group.mean(dim=2, keepdim=True))
        return out
