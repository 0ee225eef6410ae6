"""The benchmarks of the training step run, and what they say is of what they name."""

import re
import subprocess
import sys

import pytest

from benchmarks import gpu_step, precision, training_step
from tests.conftest import ROOT


def test_variants_of_a_step_are_timed_and_compared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = "--networks p3d_resnet18 --base_width 8 --frames 4 --size 16 --repeats 1 --threads 1 --frozen"
    options += " --variants fused last bf16"
    monkeypatch.setattr(sys, "argv", ["training_step.py", *options.split()])
    training_step.main()
    lines = capsys.readouterr().out.splitlines()[-4:]
    assert [line.split()[0] for line in lines] == ["plain", "fused", "last", "bf16"]
    *exact, rough = [float(line.split()[-2]) for line in lines]
    assert all(0 < error < 1e-4 for error in exact)
    assert 1e-4 < rough < 0.3


def test_it_says_where_the_time_goes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    options = "--networks p3d_resnet18 --base_width 8 --frames 4 --size 16 --variants last --threads 1 --profile"
    monkeypatch.setattr(sys, "argv", ["training_step.py", *options.split()])
    training_step.main()
    assert re.search(r"aten::convolution_backward +\d+ ms +\d+\.\d% +\d+ calls", capsys.readouterr().out)


def test_without_a_gpu_one_line_says_so() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu_step.py")]
    done = subprocess.run(command, capture_output=True, text=True, env={"CUDA_VISIBLE_DEVICES": ""}, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "gpu_step.py: torch sees no GPU, so there is nothing to measure\n"


def test_every_part_of_the_gpu_benchmark_runs_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [name for name in gpu_step.SETTINGS if "compile" not in name]
    options = (
        "--device cpu --network p3d_resnet18 --base_width 8 --frames 8 --size 32 --batch 2 --largest 3 --repeats 2"
    )
    options += " --warmup 1 --matmul 64 --workers 1 --videos 2 --video_frames 20 --stores RAW-12"
    monkeypatch.setattr(sys, "argv", ["gpu_step.py", *options.split(), "--settings", *settings])
    gpu_step.main()
    output = capsys.readouterr().out
    skipped = [line for line in output.splitlines() if "skipped" in line]
    assert [line.split("skipped")[0].strip() for line in skipped] == ["all that, CUDA graphs"]
    for name in settings:
        assert re.search(rf"^  {name} ", output, re.MULTILINE), name
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

    gpu_step.attempt("a name", fail)
    assert capsys.readouterr().out.split("skipped: ") == [f"  {'a name':28}", "RuntimeError: no kernel image\n"]


def test_loss_curves_of_both_precisions_begin_alike(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = "--seeds 2 --steps 2 --parts 2 --batch 4 --network p3d_resnet18"
    monkeypatch.setattr(sys, "argv", ["precision.py", *options.split()])
    precision.main()
    first = capsys.readouterr().out.splitlines()[-2].split()
    assert first[0] == "1-1" and first[1] != first[3]
    assert float(first[1]) == pytest.approx(float(first[3]), rel=0.05)
