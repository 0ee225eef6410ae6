"""Checkpoints: written atomically, plain types only, one clear line for any other file."""

import os
import pickle
import random
from pathlib import Path

import pytest
import torch

from utils.errors import UserError
from utils.training.checkpoint import CheckpointError, Position, load_checkpoint, load_tensors, save_checkpoint


def test_a_saved_checkpoint_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "run" / "current.pth"
    network = torch.nn.Linear(3, 2)
    save_checkpoint(path, {"network": network.state_dict(), "note": "x"}, position=Position(1, 4, 7))
    content, position = load_checkpoint(path)
    assert position == Position(state=1, epoch=4, step=7)
    assert torch.equal(content["network"]["weight"], network.weight)
    assert content["note"] == "x"
    assert [file.name for file in path.parent.iterdir()] == ["current.pth"]


@pytest.mark.parametrize("limit", [0, 1000, 30_000])
def test_a_full_disk_leaves_the_earlier_checkpoint_intact(tmp_path: Path, limit: int) -> None:
    resource = pytest.importorskip("resource")
    signal = pytest.importorskip("signal")
    path = tmp_path / "current.pth"
    save_checkpoint(path, {"network": {"w": torch.ones(4)}}, position=Position(0, 1))
    old_limit, old_handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old_limit[1]))  # writes beyond fail as on a full disk
    try:
        with pytest.raises(UserError, match="current.pth"):
            save_checkpoint(path, {"network": {"w": torch.ones(40_000)}}, position=Position(0, 2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)
        signal.signal(signal.SIGXFSZ, old_handler)
    content, position = load_checkpoint(path)
    assert position.epoch == 1
    assert torch.equal(content["network"]["w"], torch.ones(4))
    assert [file.name for file in tmp_path.iterdir()] == ["current.pth"]


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04truncated"])
def test_a_corrupt_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "truncated.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="truncated.pth: not a readable checkpoint"):
        load_tensors(path)


def test_a_truncated_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "half.pth"
    save_checkpoint(path, {"network": {"w": torch.ones(1000)}}, position=Position())
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(CheckpointError, match="half.pth: not a readable checkpoint"):
        load_tensors(path)


def test_flipped_bits_are_refused_or_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "current.pth"
    content = {"network": {"w": torch.arange(300.0), "n": torch.ones(3, dtype=torch.int64)}, "note": "x", "rate": 0.1}
    save_checkpoint(path, content, position=Position(0, 3))
    whole, expected = path.read_bytes(), load_tensors(path)
    places = random.Random(0).sample(range(len(whole) * 8), 200)
    entry = whole.find(b"PK\x01\x02")
    while entry >= 0:  # the flag of an entry's attributes that makes torch read memory that nobody has written
        places.append((entry + 38) * 8 + 4)
        entry = whole.find(b"PK\x01\x02", entry + 1)
    refused = 0
    for place in places:
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            found = load_tensors(path)
        except CheckpointError as error:
            refused += 1
            assert "current.pth: not a readable checkpoint" in str(error)
        else:
            assert repr(found) == repr(expected)
            assert all(torch.equal(found["network"][name], weight) for name, weight in expected["network"].items())
    assert refused > 100


def test_a_corrupt_checkpoint_names_the_member_and_the_newest_intact_one_beside_it(tmp_path: Path) -> None:
    names = ["state1_epoch010.pth", "state1_epoch020.pth", "state2_epoch010.pth", "current.pth"]
    for age, name in enumerate(reversed(names)):
        save_checkpoint(tmp_path / name, {"network": {"w": torch.full((300,), 1.5)}}, position=Position())
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    for name in names[2:]:
        content = bytearray((tmp_path / name).read_bytes())
        content[content.find(torch.full((1,), 1.5).numpy().tobytes() * 9) + 40] ^= 1
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(tmp_path / "current.pth")
    assert "member current/data/0: Bad CRC-32" in str(caught.value).replace("archive/", "current/")
    assert f"{tmp_path / names[1]}: copy it to {tmp_path / 'current.pth'} to resume" in str(caught.value)
    for name in names[:2]:
        (tmp_path / name).unlink()
    with pytest.raises(CheckpointError, match="restore it from a copy"):
        load_checkpoint(tmp_path / "current.pth")


def test_a_file_of_torch_before_checksums_is_read(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(3)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(load_tensors(tmp_path / "old.pth")["w"], torch.ones(3))


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self):
            return Path.touch, (tmp_path / "attacked",)

    path = tmp_path / "attack.pth"
    torch.save({"network": Attack()}, path)
    with pytest.raises(CheckpointError, match="attack.pth"):
        load_tensors(path)
    path.write_bytes(pickle.dumps(Attack()))
    with pytest.raises(CheckpointError, match="attack.pth"):
        load_tensors(path)
    assert not (tmp_path / "attacked").exists()


def test_a_missing_file_and_a_foreign_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="none.pth: no such file"):
        load_tensors(tmp_path / "none.pth")
    torch.save({"state_dict": {}}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="not a training checkpoint of this project"):
        load_checkpoint(tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="holds a list"):
        load_tensors(tmp_path / "list.pth")
