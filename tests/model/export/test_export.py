"""python -m model.export: the folder has the network's outputs, describes its input, and needs nothing else."""

import json
import logging
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dataset.build import make_normalizer
from model.build import make_initial_network
from model.export.__main__ import main
from model.export.folder import FORMATS, ExportError, read_exported
from model.export.programs import TorchProgram, clip_shape, open_network, write_network
from model.export.write import _portable, compare
from predict_3d import main as predict
from tests.conftest import ROOT, MakeRecord
from tests.networks import few_blocks, randomized_network, tiny_clips
from utils.config import load_config
from utils.config.load import load_sections
from utils.errors import UserError
from utils.parts import find_part
from utils.sealed import SealError
from utils.training.checkpoint import Position, save_checkpoint

# torch's exporters warn about torch's own code.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(autouse=True)
def quick_exporters() -> Iterator[None]:
    """Disable logging: pytest captures what torch's exporters log at every step, which takes half of the time."""
    logging.disable(logging.INFO)
    with few_blocks():
        yield
    logging.disable(logging.NOTSET)


NAMES = [f"class <{number}>" for number in range(12)]
PAGE = (ROOT / "docs/export.md").read_text()
(COMMANDS,) = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
# Preparing the input, and running onnx, pt2, and any folder with this code.
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
RECORD = Path("record/my-videos.yml")


@pytest.fixture
def record(make_record: MakeRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the page's record, trained: foreground clips of two segments, its own normalization and class names."""
    monkeypatch.chdir(tmp_path)
    RECORD.parent.mkdir()
    made = make_record(
        RECORD.stem,
        dataset={"use_fore": True, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]},
        sampler={"clip_length": 4, "num_steps": 2, "eva_num_segments": 2},
        optimizer={"amp": "auto"},
        logging={"output_dir": "output"},
    )
    config = load_config(made.rename(RECORD))
    network = make_initial_network(config, trained=None)
    with torch.no_grad():
        network.fc.weight.mul_(8)  # type: ignore[union-attr, operator]
    content = {"network": network.state_dict(), "config": config.to_dict(), "class_names": NAMES}
    save_checkpoint(config.weights_path, content, position=Position())
    return RECORD


def export(kind: str) -> Path:
    """Run the page's command and return the folder."""
    (line,) = (line for line in COMMANDS.splitlines() if line.endswith(f"--format {kind}"))
    main(shlex.split(line.removeprefix("python -m model.export ")))
    return Path(f"output/my-videos/exported-{kind}")


def need_packages(kind: str) -> None:
    for package in (*FORMATS[kind].packages, *FORMATS[kind].to_write):
        pytest.importorskip(package)


def scores_of(*words: object, output: Path) -> list[dict[str, Any]]:
    predict([*map(str, words), "--json", str(output)])
    return json.loads(output.read_text())[0]["predictions"]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_folder_alone_predicts_what_the_record_predicts(
    record: Path, kind: str, tiny_set: Path, tmp_path: Path
) -> None:
    need_packages(kind)
    video, config = Path("jump.mp4"), load_config(record)
    shutil.copy(next((tiny_set / "test").rglob("*.mp4")), video)
    expected = scores_of("--config_file", record, video, "optimizer.amp=off", output=tmp_path / "record.json")
    network = open_network(config, config.weights_path)
    folder = export(kind)
    record.unlink()
    config.weights_path.unlink()
    assert sorted(path.name for path in folder.iterdir()) == sorted(["my-videos.json", f"my-videos.{kind}"])
    last = COMMANDS.splitlines()[-1].replace("exported-safetensors", folder.name)
    found = scores_of(*last.split()[2:], output=tmp_path / "folder.json")
    assert [guess["class"] for guess in found] == [guess["class"] for guess in expected]
    assert {guess["class"] for guess in found} <= set(NAMES)
    np.testing.assert_allclose([one["score"] for one in found], [one["score"] for one in expected], atol=1e-5)
    if kind != "safetensors":
        with pytest.raises(UserError, match=rf"--features: .*\.{kind} gives logits only; export .* safetensors"):
            predict(["--exported", str(folder), str(video), "--features", "features"])
        with pytest.raises(ExportError, match=r"\[3, 8, 24, 24\], not \[3, 16, 24, 24\]; keep the clips"):
            predict(["--exported", str(folder), str(video), "sampler.eva_num_segments=4"])

    text = (folder / "my-videos.json").read_text()
    sidecar = json.loads(text)
    assert str(tiny_set) not in text and sidecar["classes"] == NAMES and sidecar["network"] == config.network.net_name
    assert sidecar["versions"]["torch"] == torch.__version__ and sidecar["clips_of_a_video"] == 2
    assert (sidecar["opset"] is not None) == (kind == "onnx") and sidecar["compared"]["clips"] == 11
    assert sidecar.keys() - {"sha256"} <= set(re.findall(r"`(\w+)`", PAGE))
    about = sidecar["input"]
    assert about["shape"] == ["any", 3, 8, 24, 24] and about["crop"] == [24, 24] and about["short_side"] == 24
    assert [about[key] for key in ("segments", "frames_of_a_segment", "frame_distance")] == [2, 4, 2]
    frames = np.random.default_rng(0).integers(0, 256, (3, 8, 24, 24, 3), np.uint8)
    ours = network.fuse(network(make_normalizer(config)(torch.from_numpy(frames)))).detach().numpy()
    for block in [BLOCKS[{"onnx": 1, "pt2": 2}.get(kind, 3)], BLOCKS[3]]:
        names: dict[str, Any] = {"folder": str(folder), "frames": frames, "checkout": str(ROOT)}
        exec(BLOCKS[0] + block, names)
        np.testing.assert_allclose(names["logits"], ours, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["dg_p3d_resnet18", "vit_t_p16"])
def test_programs_of_other_networks_take_any_batch_size(name: str, tmp_path: Path) -> None:
    network, path, clips = randomized_network(name), tmp_path / "network.pt2", tiny_clips(name, count=3)
    write_network(network, path, clip_shape=clips.shape[1:], opset=None)
    program = TorchProgram(path)
    found = compare(network, program, [clips, clips[:1]])
    assert found.is_rounding and found.clips == 4 and found.largest_logit > 0.1


def test_onnx_has_the_requested_version_of_the_operator_set(tmp_path: Path) -> None:
    need_packages("onnx")
    network, path, clips = randomized_network("resnet18"), tmp_path / "n.onnx", tiny_clips("resnet18", count=3)
    assert write_network(network, path, clip_shape=clips.shape[1:], opset=20) == 20
    import onnx

    assert {entry.version for entry in onnx.load(path).opset_import if entry.domain == ""} == {20}
    program = find_part(FORMATS["onnx"].program)(path)
    assert compare(network, program, [clips, clips[:1]]).is_rounding
    with pytest.raises(ExportError, match=r"--opset 9: torch .* writes this network in opset \d+"):
        write_network(network, path, clip_shape=clips.shape[1:], opset=9)


def test_different_outputs_are_detected() -> None:
    network, clips = randomized_network("p3d_resnet18"), tiny_clips("p3d_resnet18")
    assert compare(network, randomized_network("p3d_resnet18"), [clips]).largest_difference == 0
    other = randomized_network("p3d_resnet18")
    with torch.no_grad():
        other.fc.bias[3] += 0.01
    found = compare(network, other, [clips, clips])
    assert not found.is_rounding and found.largest_difference == pytest.approx(0.01, rel=1e-3) and found.clips == 4
    with torch.no_grad():
        other.fc.bias[3] = torch.nan
    assert not compare(network, other, [clips]).is_rounding and not compare(other, other, [clips]).is_rounding


def test_a_corrupt_folder_is_refused(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_packages("safetensors")
    folder = export("safetensors")
    for words in (["--config_file", str(record)], ["--config_file", str(record), "--output", str(folder)]):
        with pytest.raises(ExportError, match=r"my-videos\.json is there already; choose another folder with --output"):
            main([*words, "--format", "safetensors"])
    weights, sidecar = folder / "my-videos.safetensors", folder / "my-videos.json"
    content, text = weights.read_bytes(), sidecar.read_text()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ExportError, match=r"my-videos\.safetensors: corrupt or replaced; export it again"):
        read_exported(folder)
    weights.unlink()
    with pytest.raises(ExportError, match=r"my-videos\.safetensors: missing"):
        read_exported(folder)
    sidecar.write_text(text.replace("0.4", "0.5"))
    with pytest.raises(SealError, match=r"my-videos\.json: corrupt, or changed"):
        read_exported(folder)
    sidecar.unlink()
    with pytest.raises(ExportError, match="found no JSON file; expected the one that python -m model.export writes"):
        read_exported(folder)
    monkeypatch.setitem(FORMATS, "pt2", replace(FORMATS["pt2"], packages=("no_such_package",)))
    with pytest.raises(ExportError, match="--format pt2 needs no_such_package: pip install no_such_package"):
        main(["--config_file", str(record), "--format", "pt2"])


def test_mistakes_on_the_command_line(record: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, complaint in (
        (["--format", "pt2", "--opset", "18"], "--opset 18: pt2 has no operator sets"),
        (["--format", "pth"], "invalid choice: 'pth'"),
    ):
        with pytest.raises(SystemExit):
            main(["--config_file", str(record), *words])
        assert complaint in capsys.readouterr().err
    for words, complaint in (
        (["--exported", "x", "--config_file", "y", "v.mp4"], "not allowed with"),
        (["--exported", "x", "--weights", "y", "v.mp4"], "--weights: an exported folder has its own"),
    ):
        with pytest.raises(SystemExit):
            predict(words)
        assert complaint in capsys.readouterr().err


def test_torch_hub_lists_and_creates_networks() -> None:
    names = torch.hub.load(str(ROOT), "list_models", source="local", verbose=False)
    network = torch.hub.load(str(ROOT), "create_model", "p3d_resnet18", num_classes=5, source="local", verbose=False)
    assert "dg_p3d_resnet50" in names and network.fc.out_features == 5


@pytest.mark.parametrize(
    "words",
    [
        ["optimizer.frozen_stages=2", "network.pretrained_model=start.pth", "optimizer.select=best"],
        ["optimizer.budget={epochs: 4}", "optimizer.shares=[0.25, 0.75]", "optimizer.keep_momentum=true"],
        ["optimizer.epochs=[3, 2]", "optimizer.class_weights=sqrt", "sampler.frame_rate=12.5"],
    ],
)
def test_the_record_of_an_export_is_valid_for_every_kind_of_training(make_record: MakeRecord, words: list[str]) -> None:
    portable = _portable(load_config(make_record(), words), Path("x.pt2"))
    again = load_sections(portable.to_dict(), Path("tiny.yml"))
    assert again == portable
    assert clip_shape(again) == clip_shape(portable)
