"""Network names: the released list, similar names, minimum frames of a clip, no torch."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.networks import SHAPES, min_clip_frames
from utils.config.network_names import NetworkName, UnknownNetworkError, list_names, parse_name
from utils.errors import UserError


def test_the_released_names_are_a_fixed_subset() -> None:
    released, names = list_names(released=True), list_names()
    assert len(released) == 165 and set(released) == set(SHAPES)
    assert names[:165] == released
    assert len(names) == len(set(names))
    assert sum(name.startswith("torchvision/") for name in names) == 9


@pytest.mark.parametrize(
    ("name", "family", "backbone"),
    [
        ("c2d_resnet18", "c2d", "resnet18"),
        ("p3da_wide_resnet101_2", "p3da", "wide_resnet101_2"),
        ("dg_p3d_resnext103_64x4d", "dg_p3d", "resnext103_64x4d"),
    ],
)
def test_parse_name(name: str, family: str, backbone: str) -> None:
    assert parse_name(name) == NetworkName(family, backbone)
    assert str(parse_name(name)) == name


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("dg_p3d_resnet5", "dg_p3d_resnet50"),
        ("i3d-resnet50", "i3d_resnet50"),
        ("lgdp3d_resnet101", "lgd_p3d_resnet101"),
        ("p3d_resnext103_64x4d", "dg_p3d_resnext103_64x4d"),
    ],
)
def test_an_unknown_name_suggests_similar_ones(wrong: str, meant: str) -> None:
    with pytest.raises(UnknownNetworkError) as caught:
        parse_name(wrong)
    message = str(caught.value)
    assert repr(wrong) in message and meant in message.split("did you mean")[1]
    assert "\n" not in message
    assert isinstance(caught.value, UserError)


def test_a_name_without_similar_ones_lists_the_families() -> None:
    families = "frame by frame, .*dg_p3d, .*torchvision"
    with pytest.raises(UnknownNetworkError, match=rf"^no network is called 'transformer' \(families: {families}"):
        parse_name("transformer")


@pytest.mark.parametrize(
    ("name", "early_stride", "frames"),
    [("p3d_resnet50", 1, 1), ("lgd_p3d_resnet50", 4, 4), ("dg_p3d_resnet18", 1, 4), ("dg_p3d_resnext103_64x4d", 4, 16)],
)
def test_min_clip_frames(name: str, early_stride: int, frames: int) -> None:
    assert min_clip_frames(name, early_stride) == frames


def test_min_clip_frames_of_an_unknown_name() -> None:
    with pytest.raises(UnknownNetworkError):
        min_clip_frames("dg_p3d_resnet51", 4)


def test_names_need_no_torch() -> None:
    code = "import sys, model, utils.config.network_names; model.list_models(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
