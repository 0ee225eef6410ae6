"""RandAugment: the two tables, the draws, and the effect of the operations."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from dataset.transforms.rand_augment import INCREASING_OPERATIONS, PAPER_OPERATIONS, Operation, RandAugment
from dataset.transforms.recipes import build_train_transform


def make_clip(frames: int, height: int, width: int) -> np.ndarray:
    """A smooth image with noise that differs between frames."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    scene = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return np.clip(scene + rng.integers(-20, 20, (frames, height, width, 3)), 0, 255).astype(np.uint8)


# The facts about the released table: full-strength value, and whether it takes both signs.
PAPER_LIMITS = {
    "AutoContrast": (0, False),
    "Equalize": (0, False),
    "Invert": (0, False),
    "Rotate": (30, True),
    "Posterize": (4, False),
    "Solarize": (256, False),
    "SolarizeAdd": (110, False),
    "Color": (0.9, True),
    "Contrast": (0.9, True),
    "Brightness": (0.9, True),
    "Sharpness": (0.9, True),
    "ShearX": (0.3, True),
    "ShearY": (0.3, True),
    "Cutout": (0.3571, False),
    "TranslateX": (0.4464, True),
    "TranslateY": (0.4464, True),
}


def test_the_papers_table() -> None:
    assert {row.name: (row.limit, row.signed) for row in PAPER_OPERATIONS} == PAPER_LIMITS
    increasing = {row.name: (row.limit, row.signed) for row in INCREASING_OPERATIONS}
    usual = {name: row for name, row in PAPER_LIMITS.items() if name != "Cutout"}
    assert increasing == usual | {"TranslateX": (0.45, True), "TranslateY": (0.45, True)}


def affine_in_pillow(image: Image.Image, *matrix: float) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST)


def solarize_add_in_pillow(image: Image.Image, amount: int) -> Image.Image:
    return image.point([min(255, value + amount) if value < 128 else value for value in range(256)] * 3)


# The facts in Pillow's terms; v is signed, and image.size is (width, height).
IN_PILLOW = {
    "AutoContrast": lambda image, v: ImageOps.autocontrast(image),
    "Equalize": lambda image, v: ImageOps.equalize(image),
    "Invert": lambda image, v: ImageOps.invert(image),
    "Rotate": lambda image, v: image.rotate(v),
    "Posterize": lambda image, v: ImageOps.posterize(image, 4 - int(v)),
    "Solarize": lambda image, v: ImageOps.solarize(image, 256 - v),
    "SolarizeAdd": lambda image, v: solarize_add_in_pillow(image, int(v)),
    "Color": lambda image, v: ImageEnhance.Color(image).enhance(1 + v),
    "Contrast": lambda image, v: ImageEnhance.Contrast(image).enhance(1 + v),
    "Brightness": lambda image, v: ImageEnhance.Brightness(image).enhance(1 + v),
    "Sharpness": lambda image, v: ImageEnhance.Sharpness(image).enhance(1 + v),
    "ShearX": lambda image, v: affine_in_pillow(image, 1, v, 0, 0, 1, 0),
    "ShearY": lambda image, v: affine_in_pillow(image, 1, 0, 0, v, 1, 0),
    "TranslateX": lambda image, v: affine_in_pillow(image, 1, 0, v * image.size[0], 0, 1, 0),
    "TranslateY": lambda image, v: affine_in_pillow(image, 1, 0, 0, 0, 1, v * image.size[1]),
}


@pytest.mark.parametrize("magnitude", [0, 9, 17, 23, 27])
@pytest.mark.parametrize("name", IN_PILLOW)
def test_rand_augment_matches_the_released_operations(name: str, magnitude: int) -> None:
    clip = make_clip(2, 41, 58)
    row = next(row for row in PAPER_OPERATIONS if row.name == name)
    always = RandAugment((row,), count=1, strength=magnitude / 30)
    limit, signed = PAPER_LIMITS[name]
    signs = (1, -1) if signed else (1,)
    expected = [
        np.stack([np.asarray(IN_PILLOW[name](Image.fromarray(frame), sign * magnitude / 30 * limit)) for frame in clip])
        for sign in signs
    ]
    results = [always(clip, np.random.default_rng(seed)).astype(int) for seed in range(12)]
    nearest = [min(range(len(signs)), key=lambda i: np.abs(result - expected[i]).sum()) for result in results]
    for result, index in zip(results, nearest, strict=True):
        assert np.abs(result - expected[index]).max() <= 1
    if magnitude > 0:
        assert set(nearest) == set(range(len(signs)))


def noting_table(table: tuple[Operation, ...]) -> tuple[tuple[Operation, ...], list[tuple[str, float]]]:
    notes: list[tuple[str, float]] = []

    def row(operation: Operation) -> Operation:
        def apply(clip: np.ndarray, value: float, _rng: np.random.Generator) -> np.ndarray:
            notes.append((operation.name, value))
            return clip

        return replace(operation, apply=apply)

    return tuple(map(row, table)), notes


def test_rand_augment_draws_operations_uniformly_with_replacement_and_both_signs() -> None:
    table, notes = noting_table(PAPER_OPERATIONS)
    transform = RandAugment(table, count=2, strength=0.9)
    rng, draws = np.random.default_rng(0), 4000
    twice = 0
    for _ in range(draws):
        transform(make_clip(1, 2, 2), rng)
        twice += notes[-1][0] == notes[-2][0]
    assert len(notes) == 2 * draws
    assert twice / draws == pytest.approx(1 / 16, abs=0.015)
    for name, (limit, signed) in PAPER_LIMITS.items():
        values = np.array([value for noted, value in notes if noted == name])
        assert len(values) / len(notes) == pytest.approx(1 / 16, abs=0.01), name
        np.testing.assert_allclose(np.abs(values), 0.9 * limit)
        assert (values < 0).mean() == pytest.approx(0.5 if signed else 0, abs=0.07), name


def test_the_built_transforms_have_the_released_settings() -> None:
    paper = build_train_transform("rand_augment", crop_size=4, ra_n=3, ra_m=17, horizontal_flip=False)
    assert paper.steps[1] == RandAugment(PAPER_OPERATIONS, 3, 17 / 30)
    table, notes = noting_table(INCREASING_OPERATIONS)
    mvit = build_train_transform("mvit_default", crop_size=4, horizontal_flip=False)
    operations = mvit.steps[1]
    assert isinstance(operations, RandAugment)
    assert operations.operations == INCREASING_OPERATIONS
    rng, draws = np.random.default_rng(0), 3000
    for _ in range(draws):
        replace(operations, operations=table)(make_clip(1, 2, 2), rng)
    assert len(notes) / draws == pytest.approx(4 * 0.5, abs=0.08)
    assert {name for name, _ in notes} == {row.name for row in INCREASING_OPERATIONS}
    levels = np.array([abs(value) / 30 * 10 for name, value in notes if name == "Rotate"])
    assert levels.mean() == pytest.approx(7, abs=0.1)
    assert levels.std() == pytest.approx(0.5, abs=0.08)


def test_geometric_operations_of_mvit_are_bicubic_with_gray_fill() -> None:
    rng = np.random.default_rng(0)
    flat = np.full((1, 40, 40, 3), 200, np.uint8)
    two_values = make_clip(1, 40, 40) // 128 * 200
    for row in INCREASING_OPERATIONS:
        if row.name in ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"):
            assert set(np.unique(row.apply(flat, row.limit, rng))) == {128, 200}, row.name
            assert len(np.unique(row.apply(two_values, 0.3 * row.limit, rng))) > 3, row.name


@pytest.mark.parametrize("value", [0.0, 0.003, 0.1, 0.25, 0.3571])
def test_cutout_covers_the_rectangle_that_pillow_draws(value: float) -> None:
    """The released operation's corners, x before y, drawn by Pillow; the last row and column are part of it."""
    cutout = next(row for row in PAPER_OPERATIONS if row.name == "Cutout")
    clip = make_clip(2, 37, 53)
    height, width = clip.shape[1:3]
    sides = set()
    for seed in range(200):
        rng, side = np.random.default_rng(seed), value * width
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        left, top = int(max(0, x - side / 2)), int(max(0, y - side / 2))
        expected = [Image.fromarray(frame) for frame in clip]
        for image in expected:
            if value > 0:
                corners = (left, top, min(width, left + side), min(height, top + side))
                ImageDraw.Draw(image).rectangle(corners, fill=(125, 123, 114))
        result = cutout.apply(clip, value, np.random.default_rng(seed))
        np.testing.assert_array_equal(result, np.stack([np.asarray(image) for image in expected]))
        assert not np.shares_memory(result, clip)
        sides.add(int((result != clip).any(axis=(0, 3)).any(axis=0).sum()))
    assert max(sides) == (int(value * width) + 1 if value else 0)


def test_cutout_covers_a_square_of_the_drawn_size_around_any_point() -> None:
    cutout = next(row for row in PAPER_OPERATIONS if row.name == "Cutout")
    height, width, value = 60, 80, 0.25
    rng = np.random.default_rng(0)
    covered = np.zeros((height, width))
    for _ in range(600):
        result = cutout.apply(np.zeros((2, height, width, 3), np.uint8), value, rng)
        mask = (result == (125, 123, 114)).all(axis=-1)
        assert (mask[0] == mask[1]).all()
        assert (result[~mask] == 0).all()
        rows, columns = mask[0].any(axis=1), mask[0].any(axis=0)
        np.testing.assert_array_equal(mask[0], rows[:, None] & columns)  # a rectangle
        for line in (rows, columns):
            extent = np.flatnonzero(line)
            assert extent[-1] - extent[0] + 1 == len(extent) <= 21
            if extent[0] > 0 and extent[-1] < len(line) - 1:
                assert len(extent) == 21
        covered += mask[0]
    assert (covered > 0).all()
