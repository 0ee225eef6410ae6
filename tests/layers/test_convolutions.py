"""Convolutions on CPUs: values and gradients of every form in the registry, and the check before bf16 is used."""

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layers import convolution_check, convolutions
from layers.convolutions import Conv2d, Conv3d, has_inner_window, is_at_risk, use_safe_convolutions
from layers.losses import HeadsLoss
from tests import forked
from tests.convolution_forms import KINDS, find_kinds
from tests.networks import FAMILIES, RELEASED_FAMILIES, blank_network, tiny_network
from utils.config.network_names import TORCHVISION_VIDEO
from utils.sealed import read_sealed_json, write_sealed_json
from utils.training.precision import has_bf16

CPU = torch.device("cpu")
NEEDS_BF16 = pytest.mark.skipif(not has_bf16(CPU), reason="this processor has no bf16 instructions")
# In addition to one network of every family: bottlenecks, groups, deep stems, patches of 32.
OTHERS = (
    "resnext50_32x4d",
    "i3d_resnext50_32x4d",
    "dg_p3d_resnext50_32x4d",
    "resnet103",
    "i3d_resnet103",
    "r2p1d_resnet50",
    "vit_b_p32",
    "c2d_vit_b_p32",
)


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=NEEDS_BF16)])
def test_every_form_has_the_values_and_gradients_of_float64(dtype: str) -> None:
    """In processes of its own: a wrong form may crash the process, or corrupt its heap."""
    some = ("--sides", "1", "2", "3", "7", "--frames", "1", "2", "3", "8")
    ended = forked.run([sys.executable, "-m", "tests.convolution_forms", dtype, *some])
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.startswith("0 of ") and int(ended.stdout.split()[2]) > 1000


def test_the_forms_are_those_of_the_registry() -> None:
    released = (*RELEASED_FAMILIES, *OTHERS, *(f"torchvision/{name}" for name in TORCHVISION_VIDEO))
    assert find_kinds(released) == KINDS


@pytest.mark.parametrize("name", [*FAMILIES, *OTHERS, *(f"torchvision/{name}" for name in TORCHVISION_VIDEO)])
def test_convolutions_that_may_be_wrong_on_a_cpu_are_of_this_project(name: str) -> None:
    with torch.device("meta"):
        size = {} if name.startswith("torchvision/") else {"image_size": 32}
        network = blank_network(name, **size)
    convs = [conv for conv in network.modules() if isinstance(conv, nn.Conv2d | nn.Conv3d)]
    assert all(type(conv) in (Conv2d, Conv3d) for conv in convs if max(*conv.kernel_size, *conv.stride) > 1)


def test_an_inner_window_reads_no_padding() -> None:
    for size in range(1, 20):
        for kernel in range(1, 8):
            for stride in range(1, 9):
                for padding in range(kernel // 2 + 1):
                    starts = range(-padding, size + padding - kernel + 1, stride)
                    expected = any(start >= 0 and start + kernel <= size for start in starts)
                    assert has_inner_window(size, kernel, stride, padding) == expected


FORMS: list[tuple[Any, Any, Any, Any, int]] = [
    ((3, 1, 1), (1, 1, 1), (1, 0, 0), (2, 5, 4), 1),
    ((3, 1, 1), (1, 2, 2), (1, 0, 0), (1, 5, 4), 2),
    ((3, 3, 3), (2, 2, 2), (1, 1, 1), (2, 3, 9), 4),
    ((7, 1, 1), (2, 1, 1), (3, 0, 0), (5, 2, 2), 1),
    ((1, 1, 1), (2, 2, 2), (0, 0, 0), (5, 1, 2), 1),
    ((3, 3, 3), (1, 2, 2), (1, 1, 1), (1, 2, 1), 2),
    ((3, 3, 3), (1, 8, 8), (1, 1, 1), (2, 7, 5), 4),
    ((2, 7, 7), (2, 4, 4), (0, 3, 3), (3, 2, 1), 1),
]


@pytest.mark.parametrize("kernel, stride, padding, size, groups", FORMS)
def test_what_is_rewritten_is_the_same_convolution(
    kernel: Any, stride: Any, padding: Any, size: Any, groups: int
) -> None:
    conv = Conv3d(4, 8, kernel, stride=stride, padding=padding, groups=groups).double()
    plain = nn.Conv3d(4, 8, kernel, stride=stride, padding=padding, groups=groups).double()
    plain.load_state_dict(conv.state_dict())
    x = torch.randn(2, 4, *size, dtype=torch.float64)
    results = []
    for one, forced in ((conv, True), (plain, False)):
        seen = x.clone().requires_grad_()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(convolutions, "is_at_risk", lambda conv, x, forced=forced: forced)
            out = one(seen)
        out.square().sum().backward()
        results.append([out, seen.grad, *(weight.grad for weight in one.parameters())])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-10)


def test_only_what_is_at_risk_is_rewritten() -> None:
    conv = Conv3d(4, 4, (3, 1, 1), padding=(1, 0, 0))
    two, three = torch.randn(1, 4, 2, 4, 4), torch.randn(1, 4, 3, 4, 4)
    assert not is_at_risk(conv, two) and is_at_risk(conv, two.bfloat16())
    assert not is_at_risk(conv, three.bfloat16())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert is_at_risk(conv, two) and not is_at_risk(conv, three)
    assert not is_at_risk(conv, two.bfloat16().to("meta"))
    strided = Conv3d(4, 4, 1, stride=(1, 2, 2))
    sides = [torch.randn(1, 4, 2, side, side).bfloat16() for side in (1, 2)]
    assert [is_at_risk(strided, maps) for maps in sides] == [True, True]  # one place each, although there are two
    assert not is_at_risk(strided, torch.randn(1, 4, 2, 3, 3).bfloat16())
    long = Conv3d(4, 4, (7, 1, 1), stride=(2, 1, 1), padding=(3, 0, 0))
    assert [is_at_risk(long, torch.randn(1, 4, frames, 2, 2)) for frames in (7, 8)] == [True, False]


def test_convolutions_of_other_libraries_are_exchanged_with_their_parameters() -> None:
    class Simple(nn.Conv3d):
        """Like torchvision's Conv3DSimple: inherits forward."""

    class Other(nn.Conv3d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + 1

    parts = nn.Sequential(
        nn.Conv3d(2, 4, 3, stride=2, padding=1, groups=2), Simple(4, 4, 1), Other(4, 4, 1), nn.Conv2d(4, 4, 3)
    )
    network = nn.Sequential(parts)
    before = dict(network.named_parameters())
    x = torch.randn(2, 2, 5, 5, 5)
    expected = parts[2](parts[1](parts[0](x)))
    use_safe_convolutions(network)
    assert [type(part) in (Conv2d, Conv3d) for part in parts] == [True, True, False, True]
    assert all(weight is before[name] for name, weight in network.named_parameters())
    torch.testing.assert_close(parts[2](parts[1](parts[0](x))), expected)


def gradients(network: nn.Module, clips: Tensor, dtype: torch.dtype | None) -> list[Tensor]:
    network.zero_grad()
    with torch.autocast("cpu", dtype=dtype) if dtype else torch.autocast("cpu", enabled=False):
        heads = network(clips)
    HeadsLoss()(heads, torch.arange(len(clips))).backward()
    return [weight.grad.double() for weight in network.parameters() if weight.grad is not None]


@NEEDS_BF16
@pytest.mark.parametrize("checkpoint_blocks", [False, True])
@pytest.mark.parametrize("name", ["dg_p3d_resnet18", "i3d_resnet18", "r2p1d_resnet18"])
def test_networks_with_two_frames_inside_have_right_gradients_in_bf16(name: str, checkpoint_blocks: bool) -> None:
    """8 frames with an early stride of 4; the dual head pools 8 frames, with an early stride of 1, to 2."""
    frames, early_stride = (8, 1) if name.startswith("dg") else (8, 4)
    network = tiny_network(
        name, early_stride=early_stride, base_width=16, dropout_ratio=0.0, checkpoint_blocks=checkpoint_blocks
    )
    clips = torch.randn(8, 3, frames, 32, 32)
    expected = gradients(copy.deepcopy(network).double(), clips.double(), None)
    for _ in range(2):  # the second time in memory that was used before
        convolution_check._poison_memory()
        found = gradients(network, clips, torch.bfloat16)
        for weight, ours, exact in zip(network.named_parameters(), found, expected, strict=True):
            if exact.abs().max() > 1e-6:
                assert F.cosine_similarity(ours.flatten(), exact.flatten(), dim=0) > 0.5, weight[0]
            assert ours.abs().max() < 100 * max(exact.abs().max().item(), 1e-3), weight[0]


def read_cache(folder: Path) -> dict[str, str]:
    return read_sealed_json(folder / "optimization-planning" / "bf16.json")


def test_the_check_is_cached_for_each_torch_and_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    check = convolution_check.cached_bf16_fault.__wrapped__  # without functools.cache, as in a new process
    found = check()
    (key,) = read_cache(tmp_path)
    assert key.startswith(f"torch {torch.__version__} ") and read_cache(tmp_path)[key] == found
    if has_bf16(CPU):
        assert found == ""
    file = tmp_path / "optimization-planning" / "bf16.json"
    write_sealed_json(file, {key: "told"})
    monkeypatch.setattr(sys, "executable", "/bin/false")  # fails at once if the check is run
    assert check() == "told"
    monkeypatch.setenv("DNNL_MAX_CPU_ISA", "ALL")
    assert check() == "its check ended with 1: "
    assert len(read_cache(tmp_path)) == 2
    file.write_text(file.read_text().replace("told", ""))  # a corrupt cache is rebuilt
    assert check() == "its check ended with 1: "
    (other,) = read_cache(tmp_path)
    assert "DNNL_MAX_CPU_ISA=ALL" in other


def test_the_check_reports_wrong_forms_and_crashes_of_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def differs(_form: object, _dtype: torch.dtype) -> float:
        return 0.5

    monkeypatch.setattr(convolution_check, "largest_error", differs)
    assert convolution_check.find_bf16_fault() == "3x1x1 stride 1x1x1 over 8 x 1x4x4, contiguous: 0.5 from float64"
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert convolution_check._check_in_subprocess().startswith("its check ended with 1")
