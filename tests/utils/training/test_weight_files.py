"""Weight files of other projects: nestings, prefixes, safetensors, and pickled objects, which are not read."""

import argparse
import shlex
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import model
from tests import forked
from tests.networks import FAMILIES, SHAPES, tiny_network
from utils.training.checkpoint import NESTINGS, CheckpointError, Position, load_tensors, save_checkpoint
from utils.training.weight_files import network_weights

WEIGHTS = {"conv1.weight": torch.arange(4.0), "layer1.0.bn1.bias": torch.ones(2), "fc.bias": torch.zeros(3)}


def assert_weights(found: dict[str, Tensor], expected: dict[str, Tensor] = WEIGHTS) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def weights_of(content: dict[str, Any]) -> dict[str, Tensor]:
    return network_weights(content, Path("weights.pth"))


def read_weights(path: Path) -> dict[str, Tensor]:
    return network_weights(load_tensors(path), path)


@pytest.mark.parametrize(
    "nesting",
    [
        (),
        *((name,) for name in NESTINGS),
        ("model", "state_dict"),
        ("state_dict", "model"),
        ("net", "model_state", "state_dict"),
    ],
    ids=".".join,
)
@pytest.mark.parametrize("kind", [dict, OrderedDict])
def test_weights_are_found_under_entries_of_other_projects(tmp_path: Path, nesting: tuple[str, ...], kind: Any) -> None:
    content: dict[str, Any] = kind(WEIGHTS)
    for name in reversed(nesting):
        content = {"epoch": 3, "optimizer": {"state": {0: {"momentum_buffer": torch.ones(4)}}}, name: content}
    torch.save(content, tmp_path / "weights.pth")
    assert_weights(read_weights(tmp_path / "weights.pth"))


def test_entries_of_other_projects() -> None:
    assert {"state_dict", "model", "model_state", "model_state_dict", "net", "state_dict_ema"} <= set(NESTINGS)


@pytest.mark.parametrize(("average", "plain"), [("average", "network"), ("state_dict_ema", "state_dict")])
def test_an_average_comes_before_the_weights_themselves(average: str, plain: str) -> None:
    assert_weights(weights_of({plain: {"fc.bias": torch.full((3,), 9.0)}, average: WEIGHTS}))


def test_entries_without_tensors_are_ignored() -> None:
    content = {"model": {"name": "resnet50", "depth": 50}, "net": "resnet50", "state_dict": {}, **WEIGHTS}
    assert_weights(weights_of(content))
    assert_weights(weights_of({"state_dict": None, "model": WEIGHTS}))


@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "_orig_mod.",
        "model.",
        "backbone.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "model.backbone.",
        "module.model._orig_mod.backbone.",
    ],
)
def test_prefixes_of_wrappers_are_removed(tmp_path: Path, prefix: str) -> None:
    torch.save({"state_dict": {prefix + name: tensor for name, tensor in WEIGHTS.items()}}, tmp_path / "weights.pth")
    assert_weights(read_weights(tmp_path / "weights.pth"))


def test_real_wrappers_of_a_submodule_and_of_the_network_are_removed() -> None:
    network = tiny_network("c2d_resnet18")
    expected = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.layer2 = torch.compile(network.layer2, backend="eager")
    whole: Any = torch.compile(network, backend="eager")
    wrapped = nn.DataParallel(whole)
    names = list(wrapped.state_dict())
    assert all(name.startswith("module._orig_mod.") for name in names)
    assert any("layer2._orig_mod." in name for name in names)
    assert_weights(weights_of({"model": wrapped.state_dict()}), expected)


def test_no_network_has_names_with_these_prefixes() -> None:
    names = {entry for shapes in SHAPES.values() for entry in shapes}
    for name in (*FAMILIES, *(f"torchvision/{kind}" for kind in ("r2plus1d_18", "s3d", "swin3d_t", "mvit_v2_s"))):
        with torch.device("meta"):
            network = model.create_model(name, num_classes=2)
        for entry in network.state_dict():
            names |= {entry, *network.released_names(entry)}
    assert weights_of({name: torch.zeros(1) for name in names}).keys() == names


def test_two_entries_that_differ_only_in_wrappers_are_named(tmp_path: Path) -> None:
    path = tmp_path / "both.pth"
    torch.save({"fc.bias": torch.zeros(1), "module.fc.bias": torch.ones(1)}, path)
    with pytest.raises(CheckpointError, match=r"both.pth: fc.bias and module.fc.bias are both fc.bias without"):
        read_weights(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"encoder": WEIGHTS, "epoch": 3, "note": "x"},
            r"no weights at the top: found encoder \(dictionary of 3\), epoch \(int\), note \(str\); expected",
        ),
        ({"model": {"encoder": WEIGHTS}}, r"no weights at model: found encoder \(dictionary of 3\); expected"),
        ({"state_dict": {}}, r"no weights at the top: found state_dict \(dictionary of 0\)"),
        ({}, r"no weights at the top: found nothing"),
        ({f"n{i}": i for i in range(11)}, r"no weights at .* n7 \(int\) and 3 more; .*state_dict_ema"),
    ],
)
def test_a_file_without_weights_under_known_entries_is_described(tmp_path: Path, content: dict, message: str) -> None:
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=rf"other\.pth: {message}") as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)


def test_safetensors_files_are_read(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    path = tmp_path / "weights.safetensors"
    safetensors.save_file({f"module.{name}": tensor for name, tensor in WEIGHTS.items()}, path)
    assert_weights(read_weights(path))
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: not a readable safetensors file"):
        read_weights(path)
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: not a readable safetensors file"):
        read_weights(path)
    with pytest.raises(CheckpointError, match=r"none\.safetensors: no such file"):
        read_weights(tmp_path / "none.safetensors")


def test_without_the_package_a_safetensors_file_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"")
    monkeypatch.setitem(sys.modules, "safetensors", None)  # importing it fails as if it was not installed
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: .* pip install safetensors"):
        read_weights(path)


def whole_network() -> nn.Module:
    """A module whose state dict is WEIGHTS."""
    network = nn.Module()
    for name, tensor in WEIGHTS.items():
        *parents, last = name.split(".")
        module = network
        for parent in parents:
            if parent not in dict(module.named_children()):
                module.add_module(parent, nn.Module())
            module = module.get_submodule(parent)
        module.register_parameter(last, nn.Parameter(tensor))
    return network


OBJECTS: list[tuple[str, Any, str, dict[str, Any]]] = [
    ("namespace", {"model": WEIGHTS, "epoch": 3, "args": argparse.Namespace(lr=0.1)}, "argparse.Namespace", {}),
    (
        "old",
        {"model": WEIGHTS, "args": argparse.Namespace(lr=0.1)},
        "argparse.Namespace",
        {"_use_new_zipfile_serialization": False},
    ),
    ("path", {"state_dict": WEIGHTS, "dir": Path("x")}, "pathlib", {}),
    ("number", {"model_state": WEIGHTS, "best": np.float64(71.5)}, r"numpy\S*\.multiarray\.scalar, numpy\.dtype", {}),
    ("bare", {**WEIGHTS, "args": argparse.Namespace()}, "argparse.Namespace", {}),
    ("ordered", OrderedDict({**WEIGHTS, "args": argparse.Namespace()}), "argparse.Namespace", {}),
    ("named", {"net": WEIGHTS, "args": argparse.Namespace(model="x", network="y")}, "argparse.Namespace", {}),
    ("twice", {"model": {"state_dict": WEIGHTS, "args": argparse.Namespace()}}, "argparse.Namespace", {}),
    ("whole", whole_network(), r"torch\.nn\.modules\.module\.Module", {}),
    ("inside", {"net": whole_network(), "epoch": 3}, r"torch\.nn\.modules\.module\.Module", {}),
]


@pytest.mark.parametrize(("content", "types", "options"), [case[1:] for case in OBJECTS], ids=[c[0] for c in OBJECTS])
def test_objects_beside_weights_are_named_with_a_command_that_works(
    tmp_path: Path, content: Any, types: str, options: dict[str, Any]
) -> None:
    path = tmp_path / "it's with $args.pth"
    torch.save(content, path, **options)
    with pytest.raises(CheckpointError, match=rf"args\.pth: holds .*{types}") as caught:
        read_weights(path)
    message = str(caught.value)
    assert "\n" not in message
    # torch's reason in full, to its last word.
    assert "(torch: Unsupported global: GLOBAL " in message and "was not an allowed global by default)" in message
    command = shlex.split(message.partition("name that file: ")[2])
    assert command[0] == "python"
    forked.run([sys.executable, *command[1:]], check=True)
    assert_weights(read_weights(Path(command[-1])))


def test_objects_blocked_by_torch_come_without_a_command(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            import os

            return os.system, (f"touch {tmp_path / 'attacked'}",)

    path = tmp_path / "attack.pth"
    torch.save({"model": Attack()}, path)
    with pytest.raises(CheckpointError, match=r"attack\.pth: holds \w+\.system .*Do not open it") as caught:
        read_weights(path)
    assert "python -c" not in str(caught.value)
    assert not (tmp_path / "attacked").exists()


def test_checkpoints_of_this_project_are_read(tmp_path: Path) -> None:
    path = tmp_path / "current.pth"
    save_checkpoint(path, {"network": WEIGHTS, "average": None, "note": "x"}, position=Position(1, 4, 7))
    assert_weights(read_weights(path))
