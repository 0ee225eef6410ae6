"""Stages of every network: their parameters, freezing, and rates that fall toward the input."""

from typing import Any

import pytest
import torch

import helpers
import model
from layers.losses import HeadsLoss
from model.network import VideoNetwork
from tests.conftest import MakeRecord
from tests.networks import CLASSES, FAMILIES, tiny_clips, tiny_network
from utils.config import ConfigError, load_config
from utils.errors import UserError
from utils.training.optimizer import make_optimizer

# Number of stages, of networks that are not ResNets and of one torchvision network of every kind.
NUMBERS = {"eftnet_b0": 9, "vit_t_p16": 13, "vit_deit_t_p16": 13, "s3d": 5, "torchvision/s3d": 5}
TORCHVISION = {"r3d_18": 5, "mc3_18": 5, "r2plus1d_18": 5, "s3d": 5, "swin3d_t": 5, "mvit_v1_b": 17, "mvit_v2_s": 17}


def meta_network(name: str) -> Any:
    with torch.device("meta"):
        return model.create_model(name, num_classes=CLASSES, image_size=224)


@pytest.mark.parametrize("name", [*FAMILIES, *(f"torchvision/{name}" for name in TORCHVISION)])
def test_every_weight_is_in_a_stage_or_a_classifier_and_stages_are_in_order(name: str) -> None:
    network = meta_network(name)
    heads = tuple(f"{head}." for head in network.classifier_names)
    names = [weight for weight, _ in network.named_parameters()]
    stages = [network.stage_of(weight) for weight in names if not weight.startswith(heads)]
    assert set(stages) == set(range(len(network.stages)))  # no stage is empty, nothing comes after the last one
    assert {network.stage_of(weight) for weight in names if weight.startswith(heads)} == {len(network.stages)}
    if name.split("_")[-1] != "p16" and "mvit" not in name:  # parameters of the module itself are registered first
        assert stages == sorted(stages)
    expected = NUMBERS.get(name) or TORCHVISION.get(name.removeprefix("torchvision/"))
    assert expected in (None, len(network.stages))


@pytest.mark.parametrize("name", ["dg_p3d_resnet18", "resnet18", "c2d_vit_t_p16", "s3dg", "seq_eftnet_b0"])
@pytest.mark.parametrize("count", [1, 2])
def test_frozen_stages_keep_their_weights_and_others_train(name: str, count: int) -> None:
    network = tiny_network(name)
    network.freeze(count)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    network.train()
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=1.0)
    HeadsLoss()(network(tiny_clips(name)), torch.tensor([1, 2])[: len(tiny_clips(name))]).backward()
    optimizer.step()
    changed = {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert {network.stage_of(key) for key in changed} == set(range(count, len(network.stages) + 1))
    assert {network.stage_of(key) for key in before.keys() - changed} >= set(range(count))


def test_rates_fall_toward_the_input(make_record: MakeRecord) -> None:
    changes = ["optimizer.layer_decay=0.5", "optimizer.fc_higher_lr=true", "optimizer.frozen_stages=1"]
    config = load_config(make_record(), [*changes, "network.pretrained_model=any.pth"])
    network = tiny_network("dg_p3d_resnet18")
    network.freeze(1)
    optimizer = make_optimizer(config.optimizer, network)
    factor_of = {id(w): group["rate_factor"] for group in optimizer.param_groups for w in group["params"]}
    found = {name: factor_of.get(id(weight), 0.0) for name, weight in network.named_parameters()}
    expected = {"stem": 0.0, "layer1": 0.0625, "layer2": 0.125, "layer3": 0.25, "layer4": 0.5, "fc": 10.0}
    expected |= {"layer4_dual": 0.5, "fc_dual": 10.0}
    assert found == {name: expected[name.split(".")[0]] for name in found}


def test_the_reported_rate_is_that_of_the_schedule(make_record: MakeRecord) -> None:
    config = load_config(make_record(), ["optimizer.layer_decay=0.5", "optimizer.lr_scheduler=constant"])
    network = model.create_model("p3d_resnet18", num_classes=6, base_width=8, early_stride=2)
    learner = helpers.make_learner(config, 0, network=network, num_videos=36, device=torch.device("cpu"))
    for group in learner.optimizer.param_groups:
        group["lr"] = learner.rate(0, 0) * group["rate_factor"]
    assert learner.last_rate == config.states[0].base_learning_rate


def test_mistakes_end_in_one_line(make_record: MakeRecord) -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.frozen_stages: random weights would stay random"):
        load_config(make_record(), ["optimizer.frozen_stages=1"])
    with pytest.raises(ConfigError, match=r"optimizer\.layer_decay: found 1\.5, must be at most 1"):
        load_config(make_record(), ["optimizer.layer_decay=1.5"])
    with pytest.raises(UserError, match=r"optimizer\.frozen_stages: found 6, the network has 5 stages"):
        tiny_network("p3d_resnet18").freeze(6)
    settings = load_config(make_record(), ["optimizer.layer_decay=0.5"]).optimizer
    with pytest.raises(UserError, match=r"optimizer\.layer_decay: found 0\.5, but the network has no named stages"):
        make_optimizer(settings, VideoNetwork())
