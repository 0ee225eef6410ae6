"""Weight files of image networks under the names of EfficientNet-PyTorch, timm, DeiT and torchvision.

The files are made from known weights by renaming; if the classes are the same, the classifier loads, too.
"""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import model
from model.build import make_initial_network, make_trained_network
from tests.conftest import MakeRecord
from tests.networks import CLASSES, SHAPES, randomized_network, tiny_clips, tiny_network
from utils.config import load_config

Weights = dict[str, Tensor]


def renamed(weights: Weights, *rules: tuple[str, str]) -> Weights:
    """Apply pairs of regular expression and replacement to all names, in order."""
    for old, new in rules:
        weights = {re.sub(old, new, name): tensor for name, tensor in weights.items()}
    return weights


BLOCKS = (1, 2, 2, 3, 3, 4, 1)  # blocks of each stage of b0
STAGES = [f"{stage}.{number}" for stage, blocks in enumerate(BLOCKS) for number in range(blocks)]
TIMM_EFFICIENTNET = [
    (r"^_conv_stem", "conv_stem"), (r"^_bn1", "bn2"), (r"^_bn0", "bn1"), (r"^_conv_head", "conv_head"),
    (r"^fc\.", "classifier."), (r"^_blocks\.0\._project_conv", "_blocks.0._conv_pw"),
    (r"^_blocks\.0\._bn", "_blocks.0.bn"), (r"_bn2", "bn3"), (r"\._bn1", ".bn2"), (r"\._bn0", ".bn1"),
    (r"_project_conv", "conv_pwl"), (r"_expand_conv", "conv_pw"), (r"_depthwise_conv", "conv_dw"),
    (r"_conv_pw", "conv_pw"), (r"_se_", "se.conv_"),
    *((rf"^_blocks\.{number}\.", f"blocks.{place}.") for number, place in enumerate(STAGES)),
]  # fmt: skip


# For every kind of file, a network that loads it, and the renaming from the released names, which are those of timm and
# EfficientNet-PyTorch except for the classifiers.
KINDS = {
    "EfficientNet-PyTorch": ("eftnet_b0", [(r"^fc\.", "_fc.")]),
    "timm's EfficientNets": ("eftnet_b0", TIMM_EFFICIENTNET),
    "timm": ("vit_t_p16", [(r"^fc\.", "head.")]),
    "DeiT": ("vit_deit_t_p16", [(r"^fc\.", "head."), (r"^fc_dist\.", "head_dist.")]),
    "timm's deep small": ("vit_deit_s_p16", [(r"^fc\.", "head."), (r"^fc_dist\.", "head_dist.")]),
}
PRE_LOGITS = {"pre_logits.fc.weight": torch.ones(24, 24), "pre_logits.fc.bias": torch.zeros(24)}


def public_file(kind: str, network: model.VideoNetwork) -> Weights:
    return renamed(model.export_weights(network), *KINDS[kind][1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_public_file_of_the_same_classes_loads_with_its_classifier(kind: str) -> None:
    name, _ = KINDS[kind]
    source, network = randomized_network(name), tiny_network(name).eval()
    weights = public_file(kind, source)
    classifiers = {key for key in weights if key.startswith(("_fc", "head", "classifier"))}
    assert len(classifiers) == 2 * len(network.classifier_names) and not any(key.startswith("fc") for key in weights)
    model.load_weights(network, weights)
    clips = tiny_clips(name)
    with torch.inference_mode():
        for expected, found in zip(source(clips), network(clips), strict=True):
            assert torch.equal(expected, found)


@pytest.mark.parametrize("kind", KINDS)
def test_a_classifier_of_other_classes_is_named_as_in_the_file_with_what_to_do(kind: str) -> None:
    name, _ = KINDS[kind]
    weights = public_file(kind, tiny_network(name, num_classes=1000))
    message = r"of another shape \((_fc|head|classifier)\.weight \[1000, \d+\], expected .*network.remove_fc: true "
    message += "leaves it out"
    with pytest.raises(model.WeightsError, match=message):
        model.load_weights(tiny_network(name), weights)
    network = tiny_network(name)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    model.load_weights(network, model.without_classifiers(network, weights), missing=network.classifier_names)
    released = model.export_weights(network)
    assert all(torch.equal(released[key], tensor) for key, tensor in weights.items() if key in released)
    kept = {key for key in before if key.startswith(tuple(f"{name}." for name in network.classifier_names))}
    assert all(torch.equal(network.state_dict()[key], before[key]) for key in kept)


@pytest.mark.parametrize("extra", ["pre_logits.fc", "pre_logits", "heads.pre_logits"])
def test_a_layer_before_the_classifier_is_a_part_of_it(extra: str) -> None:
    network, weights = tiny_network("vit_t_p16"), public_file("timm", tiny_network("vit_t_p16"))
    weights |= {f"{extra}.weight": torch.ones(24, 24), f"{extra}.bias": torch.zeros(24)}
    with pytest.raises(model.WeightsError, match=rf"2 unexpected \({extra}.weight, .*network.remove_fc: true"):
        model.load_weights(network, weights)
    model.load_weights(network, model.without_classifiers(network, weights), missing=network.classifier_names)


def test_the_published_names() -> None:
    """Compare with a few literal names of each kind of file."""
    expected = {
        "eftnet_b0": (
            "_conv_stem.weight _bn0.running_mean _blocks.0._depthwise_conv.weight _blocks.0._bn1.weight "
            "_blocks.0._se_reduce.bias _blocks.0._se_expand.weight _blocks.0._project_conv.weight _blocks.0._bn2.bias "
            "_blocks.15._expand_conv.weight _blocks.15._bn0.running_var _conv_head.weight _bn1.weight _fc.weight "
            "_fc.bias"
        ),
        "timm's EfficientNets": (
            "conv_stem.weight bn1.running_mean blocks.0.0.conv_dw.weight blocks.0.0.bn1.weight "
            "blocks.0.0.se.conv_reduce.bias blocks.0.0.conv_pw.weight blocks.0.0.bn2.bias blocks.1.1.conv_pw.weight "
            "blocks.1.1.bn1.bias blocks.1.1.conv_dw.weight blocks.1.1.bn2.bias blocks.5.3.conv_pwl.weight "
            "blocks.6.0.se.conv_expand.weight blocks.6.0.bn3.running_var conv_head.weight bn2.weight classifier.bias"
        ),
        "vit_t_p16": (
            "cls_token pos_embed patch_embed.proj.weight blocks.0.norm1.weight blocks.0.attn.qkv.bias "
            "blocks.11.attn.proj.weight blocks.11.norm2.bias blocks.11.mlp.fc1.weight blocks.11.mlp.fc2.bias "
            "norm.weight head.weight head.bias"
        ),
        "vit_deit_t_p16": "cls_token dist_token pos_embed head.weight head.bias head_dist.weight head_dist.bias",
    }
    for kind in ("EfficientNet-PyTorch", "timm's EfficientNets", "timm", "DeiT"):
        name, _ = KINDS[kind]
        names = expected.get(kind, expected[name])
        assert set(names.split()) <= public_file(kind, tiny_network(name)).keys()


def early_torchvision(weights: Weights) -> Weights:
    return renamed(weights, (r"\.mlp\.0\.", ".mlp.linear_1."), (r"\.mlp\.3\.", ".mlp.linear_2."))


def torchvision_vit(num_classes: int) -> Weights:
    network = tiny_network("vit_t_p16", num_classes=num_classes)
    names = {key: network.torchvision_name(network.released_name(key)) for key in network.state_dict()}
    return {names[key]: tensor for key, tensor in network.state_dict().items()}


def test_torchvisions_transformers_of_its_release_0_12() -> None:
    """Files of that time have the old names of two layers of every block, which torchvision renames while loading."""
    network, weights = tiny_network("vit_t_p16", num_classes=7), early_torchvision(torchvision_vit(7))
    assert "encoder.layers.encoder_layer_11.mlp.linear_2.bias" in weights
    for tensor in network.state_dict().values():
        tensor.zero_()
    model.load_weights(network, weights)
    assert torch.equal(
        network.image.blocks[11].mlp.fc1.weight, weights["encoder.layers.encoder_layer_11.mlp.linear_1.weight"]
    )
    assert torch.equal(network.image.fc.weight, weights["heads.head.weight"])


# 2D networks and their files, of 1000 classes, for tests from a record to the network.
FILES: dict[str, tuple[str, Callable[[], Weights]]] = {
    "EfficientNet-PyTorch": ("eftnet_b0", lambda: public_file("EfficientNet-PyTorch", network_2d("eftnet_b0"))),
    "timm": ("vit_t_p16", lambda: public_file("timm", network_2d("vit_t_p16")) | PRE_LOGITS),
    "DeiT": ("vit_deit_t_p16", lambda: public_file("DeiT", network_2d("vit_deit_t_p16"))),
    "torchvision 0.12": ("vit_t_p16", lambda: early_torchvision(torchvision_vit(1000))),
    "torchvision": ("resnet18", lambda: model.export_weights(network_2d("resnet18"))),
}


def network_2d(name: str) -> model.VideoNetwork:
    return tiny_network(name, num_classes=1000)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("kind", FILES)
def test_a_record_loads_the_file_into_the_2d_network_and_its_extensions(
    make_record: MakeRecord, tmp_path: Path, kind: str, suffix: str
) -> None:
    name, make = FILES[kind]
    weights, file = make(), tmp_path / f"public.{suffix}"
    if suffix == "pth":
        torch.save({"model": {f"module.{key}": tensor for key, tensor in weights.items()}}, file)
    else:
        pytest.importorskip("safetensors.torch").save_file(weights, file)
    extensions = [extended for extended in (f"c2d_{name}", f"seq_p3d_{name}") if extended in SHAPES]
    for net_name, transfer in [(name, False), *((extended, True) for extended in extensions)]:
        settings = {
            "net_name": net_name,
            "pretrained_model": str(file),
            "remove_fc": True,
            "transfer_weights": transfer,
        }
        config = load_config(make_record(network=settings, dataset={"crop_size": 32, "eva_crop_size": 32}))
        network = make_initial_network(config, trained=None)
        # The first kernel, at the middle (second) of two frames.
        kernel, expected = (next(t for t in some if t.dim() > 3) for some in (network.parameters(), weights.values()))
        torch.testing.assert_close(kernel.detach()[:, :, 1] if kernel.dim() == 5 else kernel.detach(), expected)
        assert network.get_submodule(network.classifier_names[0]).out_features != 1000


def test_a_mismatch_names_the_file(make_record: MakeRecord, tmp_path: Path) -> None:
    file = tmp_path / "public.pth"
    torch.save(public_file("timm", tiny_network("vit_t_p16", num_classes=CLASSES)), file)
    for settings in ({}, {"remove_fc": True}, {"remove_fc": True, "transfer_weights": True}):
        record = make_record(network={"net_name": "c2d_eftnet_b0", "pretrained_model": str(file), **settings})
        with pytest.raises(model.WeightsError, match=r"public\.pth: weights do not fit the network: \d+ missing"):
            make_initial_network(load_config(record), trained=None)
    record = make_record(network={"net_name": "eftnet_b0"})
    with pytest.raises(model.WeightsError, match=r"public\.pth: weights do not fit the network: \d+ missing"):
        make_trained_network(load_config(record), file)
