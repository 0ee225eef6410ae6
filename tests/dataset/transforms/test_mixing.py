"""Mixup and cutmix: the mixed clips, and the matching targets."""

import numpy as np
import pytest
import torch

from dataset.transforms.mixing import MixUp, cutmix, draw_box, smooth_targets

CLASSES = 7


def make_clips(batch: int = 4) -> torch.Tensor:
    return torch.randn(batch, 3, 5, 12, 10, generator=torch.Generator().manual_seed(1))


def constant_clips(batch: int, *, height: int = 24, width: int = 20) -> torch.Tensor:
    """Clip i has the value i everywhere, so that a pixel shows its source."""
    return torch.arange(batch, dtype=torch.float32).view(-1, 1, 1, 1, 1).expand(batch, 3, 4, height, width).contiguous()


def test_smooth_targets_equal_the_released_ones() -> None:
    targets = smooth_targets(torch.tensor([2, 0]), num_classes=4, smoothing=0.1)
    expected = [[0.025, 0.025, 0.925, 0.025], [0.925, 0.025, 0.025, 0.025]]
    np.testing.assert_allclose(targets.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("cutmix_probability", [0.0, 1.0])
@pytest.mark.parametrize("batch", [1, 4, 5])
def test_targets_have_the_weights_of_the_mixed_clips(batch: int, cutmix_probability: float) -> None:
    mix = MixUp(num_classes=CLASSES, cutmix_probability=cutmix_probability, smoothing=0.0)
    clips = constant_clips(batch)
    labels = torch.arange(batch)
    generator = torch.Generator().manual_seed(3)
    for _ in range(30):
        mixed, targets = mix(clips, labels, generator)
        assert mixed.shape == clips.shape
        np.testing.assert_allclose(targets.sum(dim=1), 1, rtol=1e-6)
        # Clip i has the value i, so the mean of the mixed clip is the mean label of its target.
        np.testing.assert_allclose(mixed.mean(dim=(1, 2, 3, 4)), targets @ torch.arange(CLASSES).float(), atol=1e-5)
        np.testing.assert_array_equal((targets > 0).sum(dim=1) <= 2, True)


def test_cutmix_pastes_the_same_box_into_all_frames_and_weighs_by_its_area() -> None:
    clips = make_clips()
    rows, columns = 12, 10
    mixed, kept = cutmix(clips, (2, 3, 8, 10))
    assert kept == pytest.approx(1 - 6 * 7 / (rows * columns))
    inside = torch.zeros(rows, columns, dtype=torch.bool)
    inside[2:8, 3:10] = True
    assert torch.equal(mixed[..., inside], clips.flip(0)[..., inside])
    assert torch.equal(mixed[..., ~inside], clips[..., ~inside])


def test_box_has_the_wanted_area_unless_it_is_clipped() -> None:
    rng = np.random.default_rng(0)
    height, width = 90, 70
    whole = 0
    for _ in range(500):
        kept = rng.uniform()
        top, left, bottom, right = draw_box(height, width, kept=kept, rng=rng)
        assert 0 <= top <= bottom <= height
        assert 0 <= left <= right <= width
        share = (bottom - top) * (right - left) / (height * width)
        assert share <= 1 - kept + 1e-9
        if top > 0 and left > 0 and bottom < height and right < width:
            whole += 1
            assert share == pytest.approx(1 - kept, abs=0.03)
    assert whole > 50
    top, left, bottom, right = draw_box(height, width, kept=1.0, rng=rng)
    assert (bottom - top) * (right - left) == 0


def mixed_weights(mix: MixUp, draws: int) -> tuple[np.ndarray, np.ndarray]:
    """Weight of the clip's own label in each draw, and whether the draw was a cutmix (pixels unmixed)."""
    clips, labels = constant_clips(2), torch.tensor([0, 1])
    generator = torch.Generator().manual_seed(11)
    weights, pasted = [], []
    for _ in range(draws):
        mixed, targets = mix(clips, labels, generator)
        weights.append(targets[0, 0].item())
        pasted.append(bool(((mixed == 0) | (mixed == 1)).all()))
    return np.array(weights), np.array(pasted)


def test_half_of_the_batches_are_cutmix_and_lambda_has_the_betas_moments() -> None:
    weights, pasted = mixed_weights(MixUp(num_classes=2, smoothing=0.0), 3000)
    assert pasted.mean() == pytest.approx(0.5, abs=0.04)
    mixup = weights[~pasted]
    # Beta(a, a): mean 1/2, variance 1 / (4 (2 a + 1)).
    assert mixup.mean() == pytest.approx(0.5, abs=0.03)
    assert mixup.var() == pytest.approx(1 / (4 * (2 * 0.8 + 1)), rel=0.1)
    assert weights[pasted].mean() > 0.5  # boxes are clipped at the edge, so more is kept than drawn


def test_same_generator_state_gives_the_same_mix_and_nothing_is_changed_in_place() -> None:
    clips, labels = make_clips(), torch.tensor([0, 3, 6, 2])
    kept_clips, kept_labels = clips.clone(), labels.clone()
    mix = MixUp(num_classes=CLASSES)
    for seed in range(8):
        one = mix(clips, labels, torch.Generator().manual_seed(seed))
        torch.manual_seed(seed * 7)  # the global generator has no effect
        two = mix(clips, labels, torch.Generator().manual_seed(seed))
        assert torch.equal(one[0], two[0])
        assert torch.equal(one[1], two[1])
        np.testing.assert_allclose(one[1].sum(dim=1), 1, rtol=1e-6)
        assert one[1].min() >= 0.1 / CLASSES - 1e-7
    assert torch.equal(clips, kept_clips)
    assert torch.equal(labels, kept_labels)


def test_soft_targets_train_with_torchs_cross_entropy() -> None:
    mixed, targets = MixUp(num_classes=CLASSES)(make_clips(), torch.tensor([0, 3, 6, 2]), torch.Generator())
    logits = mixed.mean(dim=(2, 3, 4)) @ torch.ones(3, CLASSES)
    expected = -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean()
    assert torch.nn.functional.cross_entropy(logits, targets).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_mixing_on_a_gpu_equals_the_cpu() -> None:
    clips, labels, mix = make_clips(), torch.tensor([0, 3, 6, 2]), MixUp(num_classes=CLASSES)
    for seed in range(6):
        expected = mix(clips, labels, torch.Generator().manual_seed(seed))
        result = mix(clips.cuda(), labels.cuda(), torch.Generator().manual_seed(seed))
        for ours, other in zip(result, expected, strict=True):
            torch.testing.assert_close(ours.cpu(), other)
