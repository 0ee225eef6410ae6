"""The benchmarks of the training step run, and measure what they name."""

import argparse
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from benchmarks import gpu, gpu_convolutions, gpu_step, precision, training_step
from layers.convolution_check import Form
from tests.conftest import ROOT
from utils.config import load_config


def test_variants_of_a_step_are_timed_and_compared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = "--networks p3d_resnet18 --base_width 8 --frames 4 --size 16 --repeats 1 --threads 1 --forward"
    options += " --variants fused last bf16"
    monkeypatch.setattr(sys, "argv", ["training_step.py", *options.split()])
    training_step.main()
    lines = capsys.readouterr().out.splitlines()[-4:]
    assert [line.split()[0] for line in lines] == ["baseline", "fused", "last", "bf16"]
    *exact, rough = [float(line.split()[-2]) for line in lines]
    assert all(0 < error < 1e-4 for error in exact)
    assert 1e-4 < rough < 0.3


def test_checkpointed_blocks_take_less_memory_with_equal_results(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = "--networks c2d_resnet18 --base_width 8 --frames 8 --size 64 --variants blocks bf16-graphs --repeats 1"
    monkeypatch.setattr(sys, "argv", ["training_step.py", *options.split()])
    training_step.main()
    skipped, _, baseline, blocks = capsys.readouterr().out.splitlines()[-4:]
    assert skipped.split("skipped")[0].strip() == "bf16-graphs", "there are no CUDA graphs"
    assert 0 < float(blocks.split()[3]) < float(baseline.split()[3])
    assert blocks.split()[-2:] == baseline.split()[-2:]


def test_it_prints_the_time_by_operation(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    options = "--networks p3d_resnet18 --base_width 8 --frames 4 --size 16 --variants last --threads 1 --profile"
    monkeypatch.setattr(sys, "argv", ["training_step.py", *options.split()])
    training_step.main()
    assert re.search(r"aten::convolution_backward +\d+ ms +\d+\.\d% +\d+ calls", capsys.readouterr().out)


@pytest.mark.parametrize("script", [gpu, gpu_step, gpu_convolutions])
def test_without_a_gpu_one_line_says_so(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", [script.__file__])
    with pytest.raises(SystemExit) as ended:
        script.main()
    captured = capsys.readouterr()
    assert (ended.value.code, captured.out) == (2, "")
    assert (
        captured.err == f"{script.__name__.partition('.')[2]}.py: torch sees no GPU, so there is nothing to measure\n"
    )


def test_convolutions_that_are_wrong_or_slow_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu_convolutions.py", *gpu.TINY["convolutions"].split()])
    options = gpu_convolutions.parse_options()
    forms = gpu_convolutions.forms_of(options)
    assert Form((3, 1, 1), (1, 1, 1), (1, 0, 0), (2, 8, 8), channels=8, out_channels=8) in forms
    monkeypatch.setattr(gpu_convolutions, "forms_of", lambda _: forms[:2])
    monkeypatch.setattr(gpu_convolutions, "form_seconds", lambda form, dtype, _: 1.0 if dtype == torch.float32 else 1.5)
    monkeypatch.setitem(gpu_convolutions.LIMITS, torch.bfloat16, 1e-9)  # any rounding is wrong
    gpu_convolutions.main()
    *lines, last = capsys.readouterr().out.splitlines()[2:]
    assert sum(line.startswith("  wrong: bfloat16, ") for line in lines) == 4
    assert sum(line.startswith("  slow: float16, ") for line in lines) == 4
    assert re.match(r"p3d_resnet18: 8 of 8 forms tried; 8 wrong \(.+\), 8 slower than float32 \(.+ 1\.50 times", last)


def test_the_time_of_a_convolution_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu_convolutions.py", *gpu.TINY["convolutions"].split()])
    options = gpu_convolutions.parse_options()
    for last in (False, True):
        form = Form((3, 1, 1), (1, 1, 1), (1, 0, 0), (4, 4, 4), channels_last=last)
        assert 0 < gpu_convolutions.form_seconds(form, torch.bfloat16, options) < 60


def test_the_parts_of_the_gpu_benchmark_are_run_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A part that fails does not stop the next one, and is named at the end."""
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu", "--parts", "run", "search"])
    for part in ("run", "search"):
        monkeypatch.setitem(gpu.TINY, part, "no.such_key=1")
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    captured = capfd.readouterr()
    assert ended.value.code == 1
    assert re.findall(r"^== (\w+): \d+ s, exit status [^0]", captured.out, re.MULTILINE) == ["run", "search"]
    assert captured.err.count("no.such_key") == 2
    assert captured.out.splitlines()[-1] == "failed: run, search"


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_commands_of_the_gpu_benchmark_are_valid(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    commands = gpu.make_commands(argparse.Namespace(device=device, workers=16), tmp_path)
    assert list(commands) == list(gpu.TINY)
    scripts = (training_step, gpu_step, gpu_convolutions, precision)
    for part, script in zip(("steps", "limits", "convolutions", "precision"), scripts, strict=True):
        monkeypatch.setattr(sys, "argv", commands[part][1:])
        assert script.parse_options() and ROOT / commands[part][1] == Path(script.__file__ or "")
    for part in ("run", "search"):
        name, *overrides = commands[part][commands[part].index("run.sh") + 1 :]
        config = load_config(ROOT / "record" / f"{name}.yml", overrides)
        assert config.run_dir.parent == tmp_path and config.is_search == (part == "search")


def test_the_use_of_a_gpu_is_measured_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = gpu.TINY["limits"].replace("--largest 2", "--largest 3").replace("--repeats 1", "--repeats 2")
    monkeypatch.setattr(sys, "argv", ["gpu_step.py", *options.split(), "--stores", "RAW-12"])
    gpu_step.main()
    output = capsys.readouterr().out
    assert "skipped" not in output
    assert len(re.findall(r"\d+% of the matrix product's", output)) == 2
    assert "3 of at most 3" in output
    assert re.search(r"RAW-12 +batch 2, 1 workers: waiting \d+\.\d% of the time", output)


@pytest.mark.parametrize("largest", [0, 1, 2, 3, 6, 7, 8, 63, 64, 100])
def test_the_largest_batch_is_found(largest: int) -> None:
    tried: list[int] = []

    def fits(batch: int) -> bool:
        tried.append(batch)
        return batch <= largest

    assert gpu_step.largest_batch(fits, limit=64) == min(largest, 64)
    assert max(tried) <= 64 and len(tried) <= 14


def test_a_measurement_that_fails_is_skipped_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise RuntimeError("no kernel image\nand more")

    training_step.attempt("a name", fail)
    assert capsys.readouterr().out.split("skipped: ") == [f"  {'a name':28}", "RuntimeError: no kernel image\n"]


def test_loss_curves_of_both_precisions_start_equal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = "--seeds 2 --steps 2 --parts 2 --batch 4 --network p3d_resnet18"
    monkeypatch.setattr(sys, "argv", ["precision.py", *options.split()])
    precision.main()
    first = capsys.readouterr().out.splitlines()[-2].split()
    assert first[0] == "1-1" and first[1] != first[3]
    assert float(first[1]) == pytest.approx(float(first[3]), rel=0.05)
