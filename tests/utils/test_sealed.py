"""Sealed files: content is read back; a flipped bit is refused, or changes nothing that is read."""

import json
import math
from pathlib import Path

import pytest

from utils.config import load_config
from utils.config.saved import load_saved_config
from utils.sealed import SealError, read_sealed_json, require_sealed_text, seal_text, write_sealed_json

CONTENT = {"top1": 0.1, "ü": [1, None, True, {"b": "x", "a": 1e-5}], "n": 3, "m": 2}


def flips(content: bytes, step: int = 1):
    for place in range(0, len(content) * 8, step):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        yield bytes(flipped)


def test_json_is_read_back_and_ends_with_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_sealed_json(path, {**CONTENT, "broken": math.nan})
    assert read_sealed_json(path) == {**CONTENT, "broken": None}
    assert list(json.loads(path.read_text()))[-1] == "sha256"
    path.write_text(json.dumps(json.loads(path.read_text())))  # the same content in another formatting
    assert read_sealed_json(path) == {**CONTENT, "broken": None}


def test_flipped_bits_of_json_are_refused_or_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_sealed_json(path, CONTENT)
    refused = 0
    for flipped in flips(path.read_bytes(), step=7):
        path.write_bytes(flipped)
        try:
            assert repr(read_sealed_json(path)) == repr(CONTENT)
        except SealError as error:
            refused += 1
            assert str(path) in str(error)
    assert refused > 90


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "it is not JSON"),
        ("[]", "no checksum"),
        ("1", "no checksum"),
        ('{"sha256": 1}', "corrupt"),
        (None, "read"),
    ],
)
def test_a_file_without_a_valid_seal_is_named(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "x.json").write_text(text)
    with pytest.raises(SealError, match=rf"x\.json: .*{message}"):
        read_sealed_json(tmp_path / "x.json")


def test_flipped_bits_of_a_saved_configuration_are_refused_or_change_nothing(tmp_path: Path) -> None:
    config = load_config("record/synthetic-dg-p3d-resnet18.yml")
    path = tmp_path / "config.yml"
    path.write_text(seal_text(config.to_yaml(), "Effective configuration"), encoding="utf-8")
    whole = path.read_bytes()
    loaded = load_saved_config(path)
    assert loaded == load_config(path)
    title = whole.index(b"\n") + 1
    refused = 0
    for flipped in [*flips(whole[:title], step=5), *flips(whole, step=301)]:
        path.write_bytes(flipped if len(flipped) == len(whole) else flipped + whole[title:])
        try:
            require_sealed_text(path)
        except SealError:
            refused += 1
        else:  # in a word of the title
            assert path.read_bytes()[title - 1 :] == whole[title - 1 :]
    assert refused > 120
    path.write_text(f"# Effective configuration, as it ran.\n{config.to_yaml()}")  # of an earlier version
    require_sealed_text(path)
    assert load_saved_config(path) == loaded
