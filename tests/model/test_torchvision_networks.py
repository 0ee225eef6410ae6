"""torchvision's video networks: the same outputs, this project's interface, training and search."""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import nn

import helpers
import model
from dataset.build import make_normalizer, make_reader
from dataset.listing import VideoRecord
from layers.norm import set_frozen_batch_norm
from model.build import make_initial_network, make_trained_network
from tests.conftest import MakeRecord
from tests.networks import CLASSES, randomize_norms, skip_initialization
from tests.videos import encode_video
from utils.config import ConfigError, load_config
from utils.config.network_names import TORCHVISION_VIDEO, ClipLimits, clip_limits
from utils.errors import UserError
from utils.search.jobs import Work
from utils.search.run import explore_graph, open_journal
from utils.search.setup import identify_search
from utils.search.transition import train_transition
from utils.search.weights import WeightFolder
from utils.torchvision_import import import_torchvision
from utils.training.checkpoint import Position, load_checkpoint, save_checkpoint

# Networks that are fast on a CPU, one of each kind but MViT.
FAST = ("r3d_18", "mc3_18", "r2plus1d_18", "s3d", "swin3d_t")
BLOCKS = {"r3d_18": 8, "mc3_18": 8, "r2plus1d_18": 8, "s3d": 9, "mvit_v1_b": 16, "mvit_v2_s": 16, "swin3d_t": 12}


def make(backbone: str, **options: object) -> Any:
    torch.manual_seed(0)
    settings = {"num_classes": CLASSES} | options
    return model.create_model(f"torchvision/{backbone}", **settings)  # type: ignore[arg-type]


def make_torchvision_network(backbone: str, **options: object) -> Any:
    torch.manual_seed(1)
    settings = {"num_classes": CLASSES} | options
    plain = getattr(import_torchvision().models.video, backbone)(**settings)
    if backbone == "s3d":  # torchvision's last pooling needs at least 14 frames of 224 x 224
        return plain.eval()
    return randomize_norms(plain, torch.randn(2, 3, 16, 32, 32))


def remove_repeated_blocks(network: nn.Module) -> None:
    """Remove blocks with the same layers as the two before them; two are kept, since windows shift in every second."""
    for stage in [module for module in network.modules() if isinstance(module, nn.Sequential | nn.ModuleList)]:
        layers = [[(key, tensor.shape) for key, tensor in block.state_dict().items()] for block in stage]
        for number in range(len(stage) - 1, 1, -1):
            if layers[number] and layers[number] == layers[number - 1] == layers[number - 2]:
                del stage[number]


def draw_weights(network: nn.Module) -> None:
    """Give every layer random weights that affect the output."""
    torch.manual_seed(1)
    for key, weight in network.named_parameters():
        if weight.dim() > 1:
            nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
        elif key.endswith("bias"):
            nn.init.normal_(weight, std=0.1)
        else:
            nn.init.uniform_(weight, 0.5, 1.5)


@pytest.mark.parametrize("backbone", TORCHVISION_VIDEO)
def test_every_network_has_the_names_of_torchvision(backbone: str) -> None:
    with torch.device("meta"), skip_initialization():
        network = make(backbone, num_classes=400)
        plain = getattr(import_torchvision().models.video, backbone)(num_classes=400)
    released = {network.released_name(key): tensor.shape for key, tensor in network.state_dict().items()}
    assert released == {key: tensor.shape for key, tensor in plain.state_dict().items()}
    assert network.get_submodule(network.classifier_names[0]).weight.shape[0] == 400
    assert len(list(network.repeated_blocks())) == BLOCKS.get(backbone, 24)


@pytest.mark.parametrize("backbone", TORCHVISION_VIDEO)
def test_logits_are_those_of_torchvision(backbone: str) -> None:
    """Networks for a single size of clips are built for a smaller one; test_summary.py runs them at their own."""
    frames, size = {"s3d": (14, 224), "mvit": (4, 64)}.get(backbone.split("_")[0], (4, 32))
    video = import_torchvision().models.video
    full, small = video.mvit.MViT, {"temporal_size": frames, "spatial_size": (size, size)}
    with skip_initialization(), mock.patch.object(video.mvit, "MViT", lambda **given: full(**given | small)):
        network, plain = make(backbone), getattr(video, backbone)(num_classes=CLASSES).eval()
    network.limits = ClipLimits(frames, patch=1)
    remove_repeated_blocks(network)
    remove_repeated_blocks(plain)
    draw_weights(plain)
    clips = torch.randn(1 if backbone == "s3d" else 2, 3, frames, size, size)
    if backbone != "s3d":  # torchvision's last pooling needs at least 14 frames of 224 x 224
        randomize_norms(plain, clips)
    model.load_weights(network, plain.state_dict())
    with torch.inference_mode():
        (logits,) = network.eval()(clips)
        expected = plain(clips)
    assert expected.std() > 0.1
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("backbone", FAST)
def test_every_parameter_gets_a_gradient(backbone: str) -> None:
    network = make(backbone, checkpoint_blocks=True)
    clips = torch.randn(2, 3, max(4, network.min_clip_frames), 32, 32)
    (logits,) = network(clips)
    assert logits.shape == (2, CLASSES)
    F.cross_entropy(logits, torch.tensor([0, 1])).backward()
    assert [key for key, weight in network.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize("backbone", FAST)
def test_the_least_number_of_frames_runs_and_fewer_are_refused(backbone: str) -> None:
    network = make(backbone).eval()
    frames = network.min_clip_frames
    with torch.inference_mode():
        assert network(torch.randn(1, 3, frames, 32, 32))[0].shape == (1, CLASSES)
    with pytest.raises(ValueError, match=f"a clip of {frames - 1} frames of 32 x 32 does not fit: it takes at least"):
        network(torch.randn(1, 3, frames - 1, 32, 32))


def test_s3d_of_torchvision_fails_below_the_stated_least_number_of_frames() -> None:
    network = make("s3d").eval()
    frames = network.min_clip_frames
    with pytest.raises(RuntimeError, match="too small"):
        network.video(torch.randn(1, 3, frames - 1, 32, 32))


def test_new_classifiers_are_initialized_like_those_of_torchvision() -> None:
    classifier = make("mc3_18").video.fc
    assert torch.count_nonzero(classifier.bias) == 0
    assert classifier.weight.std().item() == pytest.approx(0.01, rel=0.1)


def test_limits() -> None:
    assert clip_limits("torchvision/mvit_v1_b", 4) == ClipLimits(16, 16, image_size=224)
    assert str(clip_limits("torchvision/mvit_v1_b", 4)) == "exactly 16 frames, 224 x 224 pixels"
    with pytest.raises(ValueError, match="a clip of 8 frames of 224 x 224 does not fit: it takes exactly 16 frames"):
        make("mvit_v1_b")(torch.randn(1, 3, 8, 224, 224))


def test_frozen_batch_norm_and_dropout() -> None:
    network = make("mc3_18", dropout_ratio=0.5)
    set_frozen_batch_norm(network, True)
    network.train()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm3d)]
    assert [norm.training for norm in norms] == [True] + [False] * (len(norms) - 1)
    norms[0].eval()
    clips = torch.randn(1, 3, 2, 16, 16)
    with torch.no_grad():
        assert not torch.equal(network(clips)[0], network(clips)[0])
        assert torch.equal(network.eval()(clips)[0], network(clips)[0])


@pytest.mark.parametrize("backbone", ["mc3_18", "swin3d_t"])
def test_stochastic_depth_and_pooling(backbone: str) -> None:
    network = make(backbone, stochastic_depth=0.9, dropout_ratio=0.0, pooling_name="PoolingMax")
    for module in network.train().modules():
        if isinstance(module, nn.BatchNorm3d):
            module.eval()
    clips = torch.randn(2, 3, 4, 32, 32)
    with torch.no_grad():
        outputs = [network(clips)[0] for _ in range(4)]
        assert any(not torch.equal(output, outputs[0]) for output in outputs)
        average = make(backbone).eval()
        average.load_state_dict(network.state_dict())
        assert not torch.allclose(network.eval()(clips)[0], average(clips)[0])


def test_flow_averages_the_first_kernel_over_color() -> None:
    plain, network = make_torchvision_network("mc3_18"), make("mc3_18", in_channels=2)
    model.load_weights(network, plain.state_dict())
    gray = torch.randn(1, 1, 2, 16, 16)
    with torch.inference_mode():
        flow = network.eval()(1.5 * gray.repeat(1, 2, 1, 1, 1))[0]
        torch.testing.assert_close(flow, plain(gray.repeat(1, 3, 1, 1, 1)), atol=1e-4, rtol=1e-3)


def test_they_are_not_inflated() -> None:
    with pytest.raises(UserError, match="not inflated from 2D networks"):
        model.inflate(make("mc3_18"), {})


MakeTorchvision = Callable[..., Path]
CLIPS = ("sampler.clip_length=5", "dataset.crop_size=32", "dataset.eva_crop_size=32")


@pytest.fixture
def make_torchvision(make_record: MakeRecord, tiny_set: Path, tmp_path: Path) -> MakeTorchvision:
    """Return a function that writes records of every third video: these networks have full width only."""
    lists = {"list_file": "train_list.txt", "eva_list_file": "test_list.txt"}
    for name in lists.values():
        lines = (tiny_set / name).read_text().splitlines(keepends=True)
        (tmp_path / name).write_text("".join(lines[::3]))

    def write(net_name: str, **network: object) -> Path:
        return make_record(
            dataset={key: str(tmp_path / name) for key, name in lists.items()},
            network={"net_name": f"torchvision/{net_name}", "base_width": 64} | network,
            optimizer={"epochs": 1, "num_gpu": 1},
            sampler={"clip_length": 2, "batch_size": 4},
            search={"heldout_fraction": 0.2},
        )

    return write


def test_a_weight_file_is_loaded_and_trained(make_torchvision: MakeTorchvision, tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    plain = make_torchvision_network("s3d", num_classes=400)
    torch.save(plain.state_dict(), file)
    record = make_torchvision("s3d", pretrained_model=str(file), remove_fc=True)
    start = make_initial_network(load_config(record, CLIPS), trained=None)
    key = "features.15.branch0.0.weight"
    assert torch.equal(start.state_dict()[f"video.{key}"], plain.state_dict()[key])
    helpers.train(load_config(record, CLIPS), force=False)
    trained = load_checkpoint(tmp_path / "output/tiny/current.pth")[0]["network"]
    assert not torch.equal(trained[f"video.{key}"], plain.state_dict()[key])


def test_a_path_is_searched(make_torchvision: MakeTorchvision) -> None:
    record = make_torchvision("s3d")
    space = ("search.inputs=[{clip_length: 5}, {clip_length: 7}]", "search.lr_factors=[1.0]", "search.graph=basic")
    config = load_config(record, (*CLIPS, *space, "search.attempt_epochs=1", "search.max_epochs=1"))
    parts = helpers.make_search_parts(config, torch.device("cpu"))
    folder = config.run_dir / "search"
    journal = open_journal(folder / "journal.jsonl", {"network": config.network.net_name}, graph=config.graph)
    weights = WeightFolder(folder, config.graph, identity=identify_search(config, parts), say=print)
    work = Work(config, helpers.make_search_parts, train_transition, identify_search)
    log = logging.getLogger("search")
    plan = explore_graph(work, parts, history=journal.history, weights=weights, note=journal.append, log=log)
    assert len(plan.outcomes) == 3
    assert all(0 <= outcome.score <= 100 for outcome in plan.outcomes.values())
    assert weights.read(plan.steps).keys() == make("s3d").state_dict().keys()


@pytest.mark.parametrize(
    ("net_name", "overrides", "message"),
    [
        ("mvit_v2_s", [], r"clip_length: state 1 has clips of 2 frames .*needs exactly 16 frames"),
        ("mvit_v2_s", ["sampler.clip_length=16"], r"dataset.crop_size: found 24 in state 1; .*224 x 224 pixels"),
        ("s3d", [], r"state 1 has clips of 2 frames .*torchvision/s3d needs at least 5 frames"),
        ("r3d_18", ["network.base_width=24"], r"network.base_width: torchvision/r3d_18 has a fixed width; set 64"),
        ("r3d_18", ["network.transfer_weights=true", "network.remove_fc=true"], "extends no 2D network"),
        ("r3d_81", [], r"net_name: no network is called 'torchvision/r3d_81'; did you mean torchvision/r3d_18"),
    ],
)
def test_limits_are_errors_of_the_configuration(
    make_torchvision: MakeTorchvision, net_name: str, overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(make_torchvision(net_name), overrides)


PRESETS = {
    "r3d_18": "R3D_18_Weights",
    "mc3_18": "MC3_18_Weights",
    "r2plus1d_18": "R2Plus1D_18_Weights",
    "s3d": "S3D_Weights",
    "mvit_v1_b": "MViT_V1_B_Weights",
    "mvit_v2_s": "MViT_V2_S_Weights",
    "swin3d_t": "Swin3D_T_Weights",
    "swin3d_s": "Swin3D_S_Weights",
    "swin3d_b": "Swin3D_B_Weights",
}


@pytest.mark.parametrize("backbone", TORCHVISION_VIDEO)
def test_clips_reach_the_network_as_through_the_preset_of_its_weights(
    make_record: MakeRecord, tmp_path: Path, backbone: str
) -> None:
    """Compare with the transform that torchvision ships with the weights, on decoded frames that need no resize.

    Equal clips give equal logits, as tested above.
    """
    size = 224 if backbone.startswith("mvit") or backbone == "s3d" else 64
    encode_video(tmp_path / "clip.mp4", 16, size=(size, size))
    config = load_config(
        make_record(
            dataset={"crop_size": size, "eva_crop_size": size},
            sampler={"clip_length": 16},
            network={"net_name": f"torchvision/{backbone}", "base_width": 64, "dropout_ratio": 0.0},
        )
    )
    frames = make_reader(config, str(tmp_path)).read(VideoRecord("clip.mp4", 16, 0), np.arange(16))
    preset = getattr(import_torchvision().models.video, PRESETS[backbone]).DEFAULT.transforms
    expected = preset(crop_size=(size, size), resize_size=(size, size))(frames.movedim(-1, 1))
    clips = make_normalizer(config)(frames[None])
    torch.testing.assert_close(clips[0], expected, atol=1e-6, rtol=0)


def test_weights_of_a_run_without_stored_normalization_are_used_with_that_of_imagenet_only(
    make_record: MakeRecord,
) -> None:
    """Earlier runs used ImageNet's normalization for every network and stored none in checkpoint and config.yml."""
    own = {"net_name": "torchvision/mc3_18", "base_width": 64}
    config = load_config(make_record("old", network=own))
    sections = config.to_dict()
    del sections["dataset"]["mean"], sections["dataset"]["std"]
    network = make_initial_network(config, trained=None)
    content = {"network": network.state_dict(), "config": sections, "list_sha256": ""}
    config.run_dir.mkdir(parents=True)
    config.saved_path.write_text(yaml.safe_dump(sections))
    save_checkpoint(config.weights_path, content, position=Position(state=1))
    old = "'dataset.mean=[0.485, 0.456, 0.406]' 'dataset.std=[0.229, 0.224, 0.225]'"
    with pytest.raises(ConfigError, match=re.escape(f"set that of the weights: {old}")):
        make_trained_network(config, config.weights_path)
    with pytest.raises(ConfigError, match=r"dataset\.mean: was \[0\.485, .* restore the values"):
        helpers.train(config, force=False)
    finer = load_config(make_record("finer", network=own | {"pretrained_model": str(config.weights_path)}))
    with pytest.raises(ConfigError, match=re.escape(old)):
        make_initial_network(finer, trained=None)
    words = [word.strip("'") for word in old.replace("' '", "'\n'").splitlines()]
    same = load_config(make_record("old", network=own), words)
    make_trained_network(same, same.weights_path)
