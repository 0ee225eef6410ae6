"""Normalization on the device against the same arithmetic in float64."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from dataset.transforms.normalization import ClipNormalizer
from utils.config.network_names import Normalization

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")],
    ),
]


def make_clips(batch: int, frames: int, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(batch * frames)
    return torch.randint(0, 256, (batch, frames, 9, 7, channels), dtype=torch.uint8, generator=generator)


def normalize(clips: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    values = clips.numpy().astype(np.float64) / 255
    return ((values - mean) / std).transpose(0, 4, 1, 2, 3)


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
FLOW = ((0.5, 0.5), (0.229, 0.229))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("frames", [1, 5])
def test_rgb_equals_float64(device: str, frames: int) -> None:
    clips = make_clips(2, frames)
    result = ClipNormalizer()(clips.to(device))
    assert result.dtype == torch.float32
    assert result.device.type == device
    assert result.is_contiguous()
    np.testing.assert_allclose(result.cpu(), normalize(clips, *IMAGENET), atol=1e-6)


def test_every_byte_of_every_channel() -> None:
    clips = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16, 1).expand(1, 1, 16, 16, 3)
    np.testing.assert_allclose(ClipNormalizer()(clips), normalize(clips, *IMAGENET), atol=1e-6)


def test_flow_has_two_channels_and_its_own_statistics() -> None:
    clips = make_clips(2, 4, channels=2)
    np.testing.assert_allclose(ClipNormalizer(Normalization(*FLOW))(clips), normalize(clips, *FLOW), atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("frames", [3, 16, 20, 48])
def test_fore_subtracts_the_mean_of_every_16_frames(device: str, frames: int) -> None:
    clips = make_clips(2, frames)
    expected = normalize(clips, *IMAGENET)
    for start in range(0, frames, 16):
        group = expected[:, :, start : start + 16]
        group -= group.mean(axis=2, keepdims=True)
    np.testing.assert_allclose(ClipNormalizer(use_fore=True)(clips.to(device)).cpu(), expected, atol=3e-6)


def test_fore_of_a_still_clip_is_zero() -> None:
    clips = make_clips(1, 1).expand(1, 16, 9, 7, 3)
    assert ClipNormalizer(use_fore=True)(clips).abs().max() < 2e-6


def test_views_are_accepted_and_not_changed() -> None:
    clips = make_clips(3, 6)
    before = clips.clone()
    view = clips[1:, ::2, 1:8, 2:, :]
    np.testing.assert_allclose(ClipNormalizer(use_fore=True)(view), ClipNormalizer(use_fore=True)(view.clone()))
    assert torch.equal(clips, before)


@pytest.mark.parametrize("channels", [2, 3])
def test_channels_first_and_channels_last_clips_are_bit_equal(channels: int) -> None:
    """Training and validation use the former layout, score extraction the latter."""
    clips = make_clips(3, 16, channels)
    planes = clips.movedim(-1, 2).contiguous().movedim(2, -1)
    normalize = ClipNormalizer(Normalization(*FLOW) if channels == 2 else Normalization(*IMAGENET))
    assert torch.equal(normalize(planes), normalize(clips))
    assert torch.equal(normalize(planes[:, 3:, 1:, :-2]), normalize(clips[:, 3:, 1:, :-2]))


@pytest.mark.parametrize("device", DEVICES)
def test_it_writes_to_the_out_tensor(device: str) -> None:
    clips = make_clips(2, 20).to(device)
    room = torch.full((3, 3, 20, 9, 7), torch.nan, device=device)
    result = ClipNormalizer(use_fore=True)(clips, out=room[:2])
    assert result.data_ptr() == room.data_ptr()
    assert torch.equal(room[:2], ClipNormalizer(use_fore=True)(clips))
    assert room[2].isnan().all()


def test_a_cpu_and_a_gpu_do_the_same_arithmetic() -> None:
    """The CPU result is bit-equal to one addition and one multiplication of floats."""
    clips = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16, 1).repeat(1, 1, 1, 1, 3)
    for channel, (mean, std) in enumerate(zip(*IMAGENET, strict=True)):
        expected = torch.add(torch.tensor(-mean / std), clips[..., channel], alpha=1 / (255 * std))
        assert torch.equal(ClipNormalizer()(clips)[:, channel], expected)


@pytest.mark.parametrize(
    ("clips", "use_flow"),
    [
        (make_clips(1, 2).float(), False),
        (make_clips(1, 2)[0], False),
        (make_clips(1, 2), True),
        (make_clips(1, 2, channels=2), False),
    ],
)
def test_other_inputs_are_errors(clips: torch.Tensor, use_flow: bool) -> None:
    with pytest.raises(ValueError, match=r"clips to normalize are uint8 \[N, T, H, W, [23]\], not "):
        ClipNormalizer(Normalization(*FLOW) if use_flow else Normalization(*IMAGENET))(clips)
