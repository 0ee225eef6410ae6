"""The example folders: what distinguishes their classes, and their files."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dataset.prepare.finding import find_videos
from dataset.readers.video_file import VideoFile, decode_frames
from dataset.synthetic.clutter import HEIGHT, RATES, WIDTH, Backdrop, draw_timing
from dataset.synthetic.examples import EXAMPLES, Parameters, frames_of, make_example
from dataset.synthetic.generation import SyntheticError, VideoSpec
from dataset.synthetic.materials import MATERIALS, draw_texture
from dataset.synthetic.strokes import SHAPES, trace
from tests.conftest import ROOT


def signed_area(tips: np.ndarray) -> float:
    """Twice the area enclosed by a trajectory, positive if clockwise on the screen."""
    x, y = tips.T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))


def test_circles_and_lines_have_the_direction_of_their_names() -> None:
    for seed in range(20):
        traces = {name: trace(np.random.default_rng(seed), shape, num_frames=60) for name, shape in SHAPES.items()}
        assert signed_area(traces["circle clockwise"]) > 0 > signed_area(traces["circle counter-clockwise"])
        assert traces["line right"][-1, 0] - traces["line right"][0, 0] > 100
        assert traces["line left"][-1, 0] - traces["line left"][0, 0] < -100
        for tips in traces.values():
            assert (tips > -20).all() and (tips < (WIDTH + 20, HEIGHT + 20)).all()


def test_a_circle_and_its_reversal_pass_the_same_places() -> None:
    share = np.linspace(0, 1, 50)
    assert np.allclose(SHAPES["circle clockwise"](share), SHAPES["circle counter-clockwise"](1 - share))


def test_materials_differ_from_each_other_more_than_within() -> None:
    means = {
        name: np.stack([draw_texture(name, np.random.default_rng(s)).mean(axis=(0, 1)) for s in range(8)])
        for name in MATERIALS
    }
    for name in ("brick", "grass", "water"):
        others = np.stack([means[other].mean(axis=0) for other in MATERIALS if other != name])
        assert np.linalg.norm(others - means[name].mean(axis=0), axis=1).min() > means[name].std(axis=0).max()


@pytest.mark.parametrize("example", EXAMPLES)
def test_scenes_move_and_belong_to_one_split(example: str) -> None:
    parameters = Parameters(example, 4, 4, 0)
    name = EXAMPLES[example].classes[0]

    def first_two(split: str, index: int) -> tuple[np.ndarray, np.ndarray]:
        _, frames = frames_of(VideoSpec(split, index, name, 0), parameters)
        return next(frames).astype(int), next(frames).astype(int)

    one, one_later = first_two("train", 0)
    assert one.shape == (HEIGHT, WIDTH, 3)
    assert (np.abs(one_later - one).mean(axis=2) > 40).any()
    again, _ = first_two("train", 0)
    assert np.array_equal(one, again)
    other, _ = first_two("test", 0)
    assert np.abs(other - one).mean() > 25


def test_a_scene_is_shared() -> None:
    timing = draw_timing(np.random.default_rng(0))
    one, two = (Backdrop(np.random.default_rng(7), np.random.default_rng(seed), timing=timing)._room for seed in (0, 1))
    assert np.array_equal(one, two)


def test_a_folder_is_made_continued_and_not_changed_again(tmp_path: Path) -> None:
    root, parameters = tmp_path / "set", Parameters("motion", 3, 1, 25)  # short videos
    make_example(parameters, root, workers=1)
    found = find_videos(root).videos
    assert found == (
        "test/circle clockwise/00000.mp4", "train/circle clockwise/00000.mp4",
        "train/circle counter-clockwise/00001.mp4", "train/cross/00002.mp4",
    )  # fmt: skip
    with VideoFile(root / found[1]) as video:
        assert video.codec_name == "h264" and video.frame_rate in RATES
    frames = [frame.shape for frame in decode_frames(root / found[1])]
    assert set(frames) == {(HEIGHT, WIDTH, 3)} and 20 <= len(frames) <= 180
    content = (root / found[3]).read_bytes()
    (root / found[3]).unlink()
    (root / "synthetic.json").write_text((root / "synthetic.json").read_text().replace("true", "false"))
    make_example(parameters, root, workers=1)
    assert (root / found[3]).read_bytes() == content
    with pytest.raises(SyntheticError, match="holds a dataset with seed 25, but seed 1 was requested"):
        make_example(Parameters("motion", 3, 1, 1), root)
    with pytest.raises(SyntheticError, match="num_test must be at least 1, not 0"):
        Parameters("motion", 3, 0, 0)


def test_the_command_reports_mistakes() -> None:
    command = [sys.executable, "-m", "dataset.synthetic.examples", "motion", "--root", "unused", "--num_train", "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "error: num_train must be at least 1, not 0\n")
