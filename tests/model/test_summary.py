"""Costs of networks: multiply-adds calculated by hand, and those published by torchvision."""

import sys

import pytest
import torch
from torch import nn

from model import summary
from model.summary import match_names, measure, saved_bytes
from tests import forked
from tests.networks import RELEASED_FAMILIES, few_blocks, skip_initialization, tiny_network
from utils.config.network_names import UnknownNetworkError, clip_limits, list_names


def test_multiply_adds_of_a_resnet_by_hand() -> None:
    # c2d_resnet18 on 8 frames of 64 x 64, early_stride 4: two frames after the stem.
    frames = 2
    stem = frames * 32 * 32 * 64 * (3 * 4 * 7 * 7)
    stages = 0
    for width, narrow, size in ((64, 64, 16), (128, 64, 8), (256, 128, 4), (512, 256, 2)):
        first = narrow * 9 + (narrow if narrow != width else 0)  # 3x3, and 1x1 in the shortcut of a strided block
        stages += frames * size * size * width * (first + 3 * width * 9)
    classifier = 512 * 10
    cost = measure("c2d_resnet18", frames=8, size=64, num_classes=10)
    assert cost.multiply_adds == stem + stages + classifier


def test_multiply_adds_of_a_transformer_by_hand() -> None:
    # vit_t_p16 on 3 frames of 64 x 64: 16 patches and a class token, 12 blocks of width 192.
    tokens, width = 17, 192
    block = tokens * width * (3 * width + width + 8 * width) + 2 * tokens * tokens * width
    image = 16 * width * (3 * 16 * 16) + 12 * block + width * 10
    assert measure("vit_t_p16", frames=3, size=64, num_classes=10).multiply_adds == 3 * image


@pytest.mark.parametrize("backbone", ["r3d_18", "s3d", "swin3d_t", "mvit_v2_s"])
def test_costs_are_those_that_torchvision_publishes(backbone: str) -> None:
    from utils.torchvision_import import import_torchvision

    meta = import_torchvision().models.get_model_weights(backbone).DEFAULT.meta
    cost = measure(f"torchvision/{backbone}", frames=16, size=224 if backbone != "r3d_18" else 112)
    assert cost.parameters == meta["num_params"]
    assert cost.multiply_adds == pytest.approx(meta["_ops"] * 1e9, rel=1e-4)


def test_saved_bytes_counts_every_tensor_once() -> None:
    # The input of the first layer, and the output of the ReLU, which is saved by the ReLU and the second layer.
    network = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    assert saved_bytes(network, torch.randn(5, 8)) == 4 * 5 * (8 + 16)


def test_a_clip_that_does_not_fit_has_no_costs() -> None:
    assert measure("torchvision/mvit_v1_b", frames=8, size=112).multiply_adds is None
    assert measure("dg_p3d_resnet18", frames=8, size=64).multiply_adds is None


def test_patterns_and_unknown_names() -> None:
    assert match_names("*") == list_names()
    assert match_names("dg_p3d_resnet5?") == ["dg_p3d_resnet50"]
    with pytest.raises(UnknownNetworkError, match="did you mean dg_p3d_resnet50"):
        match_names("dg_p3d_resnet5O")


def test_the_command_prints_a_table_or_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["summary", "p3d[abc]_resnet18", "--size", "64"])
    summary.main()
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 4
    assert rows[1].split()[:2] == ["p3da_resnet18", "15.59"]
    command = [sys.executable, "-m", "model.summary", "p3e_resnet18"]
    done = forked.run(command)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    assert "did you mean p3d" in done.stderr


@pytest.mark.parametrize("name", [*RELEASED_FAMILIES, "torchvision/s3d", "torchvision/r3d_18", "torchvision/swin3d_t"])
@few_blocks()
def test_the_smallest_clips_that_a_record_may_have_are_trained(name: str) -> None:
    limits = clip_limits(name, 1)
    size, frames = max(limits.min_size, limits.patch), limits.min_frames
    with torch.device("meta"), skip_initialization():
        network = tiny_network(name, image_size=64).train()  # the goal of a path, whose first inputs are smaller
        network(torch.empty(2, 3, frames, size, size))[0].sum().backward()
        if limits.min_size > 1:
            assert not limits.takes_size(size - 1)
            with pytest.raises((RuntimeError, ValueError)):
                network(torch.empty(2, 3, frames, size - 1, size - 1))
