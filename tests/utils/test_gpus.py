"""A GPU that torch cannot use is reported with a remedy; nothing else prevents running on the CPU."""

from pathlib import Path

import pytest
import torch

from utils.gpus import Build, Gpu, GpuError, explain_unusable, find_gpu, hide_gpus_on_request, read_build

FOR_CUDA_13 = Build("2.13.0+cu130", "13.0", None)
FOR_CPUS = Build("2.13.0+cpu", None, None)
FOR_HIP = Build("2.13.0+rocm7.0", None, "7.0")
VERSION = "NVRM version: NVIDIA UNIX {}  {}  Sat Nov  1 00:00:00 UTC 2025\nGCC version: gcc 12.3.0\n"


@pytest.mark.parametrize(
    ("files", "vendor"),
    [
        ((), ""),
        (("dev/null",), ""),
        (("dev/nvidiactl", "dev/nvidia-uvm"), ""),  # drivers without a card
        (("dev/nvidiactl", "dev/nvidia0"), "NVIDIA"),
        (("dev/nvidia17",), "NVIDIA"),
        (("dev/nvmap",), "NVIDIA"),
        (("dev/dxg",), ""),
        (("dev/dxg", "usr/lib/wsl/lib/nvidia-smi"), "NVIDIA"),
        (("dev/kfd",), "AMD"),
    ],
)
def test_gpus_are_found_by_their_device_files(files: tuple[str, ...], vendor: str, tmp_path: Path) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    assert find_gpu({}, root=tmp_path).vendor == vendor
    assert find_gpu({"CUDA_VISIBLE_DEVICES": "0"}, root=tmp_path).vendor == vendor
    for hidden in ("", "-1"):
        assert find_gpu({"CUDA_VISIBLE_DEVICES": hidden}, root=tmp_path) == Gpu()


@pytest.mark.parametrize("kind", ["x86_64 Kernel Module", "Open Kernel Module for x86_64"])
def test_the_version_of_the_driver_is_read(kind: str, tmp_path: Path) -> None:
    for folder in ("dev", "proc/driver/nvidia"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "dev/nvidia0").touch()
    (tmp_path / "proc/driver/nvidia/version").write_text(VERSION.format(kind, "535.104.05"))
    assert find_gpu({}, root=tmp_path) == Gpu("NVIDIA", "535.104.05")


@pytest.mark.parametrize(
    ("gpu", "build", "parts"),
    [
        (Gpu("NVIDIA", "535.104.05"), FOR_CUDA_13, ("driver 535.104.05", "needs driver 580 or newer", "whl/cu126")),
        (Gpu("NVIDIA", "470.82.01"), FOR_CUDA_13, ("driver 470.82.01", "whl/cu118")),
        (Gpu("NVIDIA", "580.65.06"), FOR_CPUS, ("2.13.0+cpu is built without CUDA", "whl/cu130")),
        (Gpu("NVIDIA"), FOR_CPUS, ("an NVIDIA GPU, and torch", "pip install")),
        (Gpu("NVIDIA", "580.65.06"), FOR_HIP, ("built without CUDA",)),
    ],
)
def test_the_message_has_the_cause_and_the_remedy(gpu: Gpu, build: Build, parts: tuple[str, ...]) -> None:
    said = explain_unusable(gpu, build)
    assert [part for part in (*parts, "set DEVICE=cpu to run on the CPU") if part not in said] == []
    assert "\n" not in said


def test_torchs_reason_is_used_if_nothing_else_explains_it() -> None:
    assert explain_unusable(Gpu("NVIDIA", "580.65.06"), FOR_CUDA_13) == ""
    assert "it finds none" in explain_unusable(Gpu("NVIDIA", "580.65.06"), FOR_CUDA_13, reason="it finds none")
    assert "of AMD" in explain_unusable(Gpu("AMD"), FOR_HIP, reason="it finds none")


def test_the_cpu_is_used_if_torch_supports_no_gpu_of_the_machine() -> None:
    for build in (FOR_CPUS, FOR_CUDA_13, FOR_HIP):
        assert explain_unusable(Gpu(), build, reason="no NVIDIA driver") == ""
    assert explain_unusable(Gpu("AMD"), FOR_CPUS, reason="no CUDA") == ""  # integrated graphics of a laptop


def test_device_cpu_hides_gpus() -> None:
    environment = {"DEVICE": "cpu", "CUDA_VISIBLE_DEVICES": "3"}
    hide_gpus_on_request(environment)
    assert environment["CUDA_VISIBLE_DEVICES"] == ""
    untouched = {"CUDA_VISIBLE_DEVICES": "3"}
    hide_gpus_on_request(untouched)
    assert untouched == {"CUDA_VISIBLE_DEVICES": "3"}
    with pytest.raises(GpuError, match="DEVICE=cuda:0: expected cpu"):
        hide_gpus_on_request({"DEVICE": "cuda:0"})


def test_the_build_is_read_without_importing_it() -> None:
    assert read_build() == Build(torch.__version__, torch.version.cuda, torch.version.hip)
