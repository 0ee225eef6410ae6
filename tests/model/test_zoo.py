"""Properties of one network of every family: inflation, options, compilers and memory formats."""

import copy
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import model
from layers.channels_last import use_channels_last
from layers.checkpointing import Checkpointed
from layers.drop import DropPath
from layers.norm import set_frozen_batch_norm
from tests.networks import (
    ADDED,
    CLASSES,
    FAMILIES,
    RELEASED_FAMILIES,
    few_blocks,
    min_clip_frames,
    randomized_network,
    tiny_clips,
    tiny_network,
    zero_global_terms,
)
from utils.config.network_names import DEPTH, POOLING, find_row, parse_name
from utils.errors import UserError

# Tolerance of float64, where values are equal up to rounding.
CLOSE: dict[str, Any] = {"atol": 1e-8, "rtol": 1e-8}
RESIDUAL = tuple(name for name in FAMILIES if DEPTH not in find_row(name).lacks)
POOLED = tuple(name for name in FAMILIES if POOLING not in find_row(name).lacks)


def make_network_2d(name: str, **options: object) -> Any:
    """Return the 2D network that a tiny network extends, as a frame network in evaluation mode, in float64."""
    return randomized_network(parse_name(name).backbone, **options).double()


def extend(network_2d: Any, name: str, **options: object) -> Any:
    """Inflate a 2D network, including its classifiers, in float64 and evaluation mode."""
    network = tiny_network(name, **options).double()
    model.inflate(network, model.export_weights(network_2d))
    classifier = network_2d.get_submodule(network_2d.classifier_names[0])
    for head in network.classifier_names:
        network.get_submodule(head).load_state_dict(classifier.state_dict())
    return zero_global_terms(network).eval()


# Zero padding in time affects I3D: test_model_weights.py checks its middle frame. S3D extends no published 2D network.
# Padding may affect units outside the released ones, too: test_layers.py checks their middle frame.
STILL = tuple(name for name in RELEASED_FAMILIES if not name.startswith(("i3d", "s3d")))


@pytest.mark.parametrize("name", STILL)
@few_blocks()
def test_inflated_network_has_the_output_of_its_2d_network_on_a_still_clip(name: str) -> None:
    network_2d = make_network_2d(name)
    images = torch.randn(2, 3, 1, 32, 32).double()
    with torch.inference_mode():
        expected = network_2d(images)[0]
    for early_stride in (1, 2, 4):
        network = extend(network_2d, name, early_stride=early_stride)
        frames = max(2 * early_stride, min_clip_frames(name, early_stride))
        with torch.inference_mode():
            found = network(images.repeat(1, 1, frames, 1, 1))[0]
        torch.testing.assert_close(found, expected, **CLOSE)


def test_the_inflated_stem_uses_only_the_middle_frame() -> None:
    for name in ("c2d_resnet18", "c2d_eftnet_b0", "c2d_vit_t_p16"):
        network_2d = make_network_2d(name)
        network = extend(network_2d, name, early_stride=4)
        clip = torch.randn(2, 3, 4, 32, 32).double()
        with torch.inference_mode():
            torch.testing.assert_close(network(clip)[0], network_2d(clip[:, :, 2:3])[0], **CLOSE)


@pytest.mark.parametrize("name", ["s3d", "s3dg"])
@few_blocks()
def test_inflated_s3d_has_temporal_identities(name: str) -> None:
    """On a still clip all frames of a feature map are equal: zero padding in time has no effect."""
    network = randomized_network(name).double()
    kernels = {
        network.source_name(key): tensor[:, :, 0] if tensor.dim() == 5 else tensor
        for key, tensor in network.state_dict().items()
        if not ("temporal" in key or "gating" in key or key.startswith("fc"))
    }
    before = {key: tensor.clone() for key, tensor in network.state_dict().items() if "gating" in key}
    model.inflate(network, kernels)
    assert all(torch.equal(network.state_dict()[key], tensor) for key, tensor in before.items())
    images, features = torch.randn(2, 3, 1, 32, 32).double(), []
    list(network.repeated_blocks())[-1].register_forward_hook(lambda _, __, output: features.append(output))
    with torch.inference_mode():
        network(images.repeat(1, 1, 8, 1, 1))
        network(images.repeat(1, 1, 16, 1, 1))
    assert features[0].shape[2] == 2 and features[1].shape[2] == 4
    torch.testing.assert_close(features[1], features[0][:, :, :1].expand(-1, -1, 4, -1, -1), **CLOSE)


@pytest.mark.parametrize(
    "name", ["resnet18", "seq_resnet18", "eftnet_b0", "c2d_eftnet_b0", "vit_t_p16", "c2d_vit_t_p16"]
)
def test_inflation_for_flow_takes_the_mean_over_color(name: str) -> None:
    network_2d = make_network_2d(name)
    network = extend(network_2d, name, in_channels=2)
    gray = torch.randn(2, 1, 1, 32, 32).double()
    with torch.inference_mode():
        # Two equal channels are two thirds of the three of a gray image.
        flow = network(1.5 * gray.repeat(1, 2, 1, 1, 1))[0]
        torch.testing.assert_close(flow, network_2d(gray.repeat(1, 3, 1, 1, 1))[0], **CLOSE)


@pytest.mark.parametrize("name", [name for name in FAMILIES if min_clip_frames(name, 4) > 1])
@few_blocks()
def test_frames_that_do_not_fill_a_stride_are_ignored(name: str) -> None:
    network = tiny_network(name, early_stride=4).eval()
    frames = min_clip_frames(name, 4) * 2
    longer = torch.randn(1, 3, frames + 3, 32, 32)
    with torch.inference_mode():
        for a, b in zip(network(longer), network(longer[:, :, :frames]), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["resnet18", "eftnet_b0", "vit_t_p16", "vit_deit_t_p16", "c2d_vit_t_p16"])
def test_scores_of_a_frame_network_are_the_mean_of_its_frames(name: str) -> None:
    network = randomized_network(name, early_stride=2).double()
    pieces = torch.randn(3, 2, 3, 2, 32, 32).double()  # three pieces of two clips, two frames each
    with torch.inference_mode():
        whole = network(torch.cat(list(pieces), dim=2))
        alone = [network(piece) for piece in pieces]
    for head, logits in enumerate(whole):
        torch.testing.assert_close(logits, torch.stack([heads[head] for heads in alone]).mean(0), **CLOSE)


@pytest.mark.parametrize("name", FAMILIES)
@few_blocks()
def test_dropout_and_stochastic_depth_act_in_training_only(name: str) -> None:
    settings = {"dropout_ratio": 0.0, "stochastic_depth": 0.9} if name in RESIDUAL else {"dropout_ratio": 0.5}
    network = randomized_network(name, **settings)
    clips = tiny_clips(name)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(network(clips), network(clips), strict=True))
        network.train()
        for module in network.modules():  # only random layers may differ
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        outputs = [network(clips)[0] for _ in range(4)]
        assert any(not torch.equal(output, outputs[0]) for output in outputs)


@pytest.mark.parametrize("name", RESIDUAL)
def test_stochastic_depth_rises_from_the_first_to_the_last_block(name: str) -> None:
    network = tiny_network(name, stochastic_depth=0.8)
    rates = [module.rate for module in network.modules() if isinstance(module, DropPath)]
    assert rates[0] == 0 and 0.7 < max(rates) <= 0.8 and (len(set(rates)) > 4 or name in ADDED)
    own = [module.rate for module in tiny_network(name).modules() if isinstance(module, DropPath)]
    assert max(own) == pytest.approx(0.2 * 15 / 16 if "eftnet" in name else 0)


@pytest.mark.parametrize("name", POOLED)
@few_blocks()
def test_pooling_choices(name: str) -> None:
    mean, maximum = (randomized_network(name, pooling_name=f"Pooling{kind}") for kind in ("Average", "Max"))
    clips = torch.randn(1, 3, 2 * min_clip_frames(name, 1), 64, 64)
    maximum.load_state_dict(mean.state_dict())
    with torch.inference_mode():
        assert not torch.allclose(mean(clips)[0], maximum.eval()(clips)[0], rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vit_t_p16", {"pooling_name": "PoolingMax"}, "pooling_name: vit_t_p16 classifies a token"),
        ("torchvision/mvit_v2_s", {"pooling_name": "PoolingMax", "base_width": 64}, "classifies a token"),
        ("s3d", {"stochastic_depth": 0.1}, "stochastic_depth: s3d has no residual branches to drop"),
        ("torchvision/r3d_18", {"base_width": 8}, "base_width: torchvision/r3d_18 has a fixed width; set 64"),
        ("vit_b_p32", {"image_size": 48}, "image_size: vit_b_p32 needs .*multiple of 32, not 48 x 48"),
        ("torchvision/mvit_v1_b", {"base_width": 64}, "exactly 16 frames, 224 x 224 pixels, not 32 x 32"),
    ],
)
def test_unsupported_options_are_refused_by_name(name: str, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        tiny_network(name, **options)


@pytest.mark.parametrize("name", POOLED)
@few_blocks()
def test_frozen_batch_norm_updates_only_the_first_statistics(name: str) -> None:
    network = tiny_network(name)
    set_frozen_batch_norm(network, True)
    network.train()
    norms: dict[str, Any] = {
        path: module for path, module in network.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)
    }
    before = {path: norm.running_mean.clone() for path, norm in norms.items()}
    heads = network(tiny_clips(name))
    changed = [path for path, norm in norms.items() if not torch.equal(norm.running_mean, before[path])]
    assert changed == list(norms)[:1]
    torch.stack([head.sum() for head in heads]).sum().backward()
    assert all(norm.weight.grad is not None for norm in norms.values())


@pytest.mark.parametrize("name", FAMILIES)
@few_blocks()
def test_checkpointed_blocks_are_bit_equal(name: str) -> None:
    settings = {"stochastic_depth": 0.3} if name in RESIDUAL else {}
    clips, labels = tiny_clips(name, count=3), torch.tensor([0, 1, 2])
    found = []
    for checkpoint_blocks in (False, True):
        network = tiny_network(name, checkpoint_blocks=checkpoint_blocks, **settings).train()
        torch.manual_seed(5)
        torch.stack([F.cross_entropy(head, labels) for head in network(clips)]).sum().backward()
        found.append(
            {key: weight.grad for key, weight in network.named_parameters()}
            | {key: buffer.clone() for key, buffer in network.named_buffers()}
        )
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(tensor, found[1][key]) for key, tensor in found[0].items())


def test_checkpointed_blocks_save_less_for_the_backward_pass() -> None:
    from model.summary import saved_bytes

    clips = tiny_clips("p3d_resnet18", count=4)
    plain, checkpointed = (
        saved_bytes(tiny_network("p3d_resnet18", checkpoint_blocks=flag).train(), clips) for flag in (False, True)
    )
    assert checkpointed < 0.6 * plain


def test_checkpointing_and_memory_formats_patch_no_module() -> None:
    """The class and attributes of a module define what it does; names of weights and reprs stay the same."""
    for name in ("dg_p3d_resnet18", "s3dg", "c2d_eftnet_b0", "vit_t_p16", "torchvision/mc3_18"):
        make = partial(model.create_model if "/" in name else tiny_network, name, num_classes=2)
        plain, network = make(), make(checkpoint_blocks=True)
        use_channels_last(network)
        assert not any("forward" in vars(module) for module in network.modules()), name
        assert list(network.state_dict()) == list(plain.state_dict()) and repr(network) == repr(plain)
        assert all(isinstance(block, Checkpointed) for block in network.repeated_blocks()), name


def test_a_copy_of_a_checkpointed_network_uses_its_own_weights() -> None:
    network = tiny_network("c2d_resnet18", checkpoint_blocks=True).train()
    other = copy.deepcopy(network)
    for weight in other.parameters():
        nn.init.zeros_(weight)
    assert torch.count_nonzero(other(tiny_clips("c2d_resnet18"))[0]) == 0


@pytest.mark.parametrize("name", FAMILIES)
@few_blocks()
def test_channels_last_differs_by_rounding_only(name: str) -> None:
    network = randomized_network(name).double()
    clips = tiny_clips(name).double()
    with torch.inference_mode():
        plain = network(clips)
        use_channels_last(network)
        last = network(clips.contiguous(memory_format=torch.channels_last_3d))
    for a, b in zip(plain, last, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


# One of each kind of extension to clips; the other families differ only in their units.
TRACED = ("resnet18", "seq_resnet18", "lgd_p3d_resnet18", "seq_p3d_eftnet_b0", "c2d_eftnet_b0", "c2d_vit_t_p16", "s3dg")


@pytest.mark.parametrize("name", TRACED)
@few_blocks()
def test_compiled_network_has_the_same_output(name: str) -> None:
    network = randomized_network(name).double()
    clips = tiny_clips(name).double()
    torch.compiler.reset()
    with torch.no_grad():
        compiled = torch.compile(network, backend="eager", fullgraph=True)(clips)
        for a, b in zip(network(clips), compiled, strict=True):
            torch.testing.assert_close(a, b, **CLOSE)


@pytest.mark.parametrize("name", TRACED)
@few_blocks()
def test_exported_program_has_the_same_output(name: str) -> None:
    network = randomized_network(name).double()
    clips = tiny_clips(name).double()
    exported = torch.export.export(network, (clips,)).module()
    with torch.no_grad():
        for a, b in zip(network(clips), exported(clips), strict=True):
            torch.testing.assert_close(a, b, **CLOSE)


@few_blocks()
def test_classifiers_have_the_declared_names() -> None:
    for name in FAMILIES:
        network = tiny_network(name)
        heads: tuple[Tensor, ...] = network.eval()(tiny_clips(name))
        assert len(heads) == len(network.classifier_names)
        for classifier in network.classifier_names:
            assert network.get_submodule(classifier).out_features == CLASSES


@pytest.mark.parametrize(("name", "divisor"), [("vit_deit_t_p16", 8), ("vit_deit_s_p16", 96)])
def test_attention_by_its_equations(name: str, divisor: int) -> None:
    """Tiny networks have heads of 8 or 12 channels and tokens of 24 or 96; vit_deit_s scales by the token width."""
    attention = tiny_network(name).image.blocks[0].attn.double()
    tokens = torch.randn(2, 6, attention.proj.in_features).double()
    width = tokens.shape[2] // attention.heads
    parts = [part.split(width, dim=2) for part in attention.qkv(tokens).chunk(3, dim=2)]
    heads = []
    for q, k, v in zip(*parts, strict=True):
        heads.append(torch.softmax(q @ k.transpose(1, 2) / divisor**0.5, dim=2) @ v)
    torch.testing.assert_close(attention(tokens), attention.proj(torch.cat(heads, dim=2)), **CLOSE)
