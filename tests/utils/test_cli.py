"""Shared command-line handling of the scripts, among it --local-rank as torch.distributed.launch passes it."""

import gc
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests import forked
from tests.conftest import ROOT, MakeRecord
from utils.cli import LocalRankError, distributed_parser, importing

SCRIPTS = ("train_3d.py", "train_3d_op.py", "extract_score_3d.py")


@pytest.mark.parametrize("word", [["--local-rank=1"], ["--local_rank=1"], ["--local-rank", "1"], ["--local_rank", "1"]])
def test_the_number_of_this_process_is_accepted(monkeypatch: pytest.MonkeyPatch, word: list[str]) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    words = [*word, "--config_file=x.yml", "optimizer.epochs=1"]
    arguments = distributed_parser("").parse_intermixed_args(words)
    assert (str(arguments.config_file), arguments.overrides) == ("x.yml", ["optimizer.epochs=1"])


@pytest.mark.parametrize("own", [None, "0", "3"])
def test_another_number_is_refused(monkeypatch: pytest.MonkeyPatch, own: str | None) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if own is not None:
        monkeypatch.setenv("LOCAL_RANK", own)
    found = "LOCAL_RANK is not set" if own is None else f"LOCAL_RANK is {own}"
    with pytest.raises(LocalRankError, match=rf"--local_rank 1: .*{found}.*torchrun"):
        distributed_parser("").parse_intermixed_args(["--local_rank=1", "--config_file=x.yml"])


def test_a_single_process_is_number_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    distributed_parser("").parse_intermixed_args(["--local-rank", "0", "--config_file=x.yml"])


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_report_a_contradiction_in_one_line(script: str) -> None:
    words = [sys.executable, script, "--local_rank=1", "--config_file", "record/synthetic-dg-p3d-resnet18.yml"]
    environment = {**os.environ, "LOCAL_RANK": "2"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: --local_rank 1: this process is another one (LOCAL_RANK is 2)")


def test_the_released_command_line_trains(make_record: MakeRecord, tmp_path: Path) -> None:
    record = make_record(optimizer={"epochs": 1, "num_gpu": 2, "eva_inter": False})
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    launcher = [sys.executable, "-m", "torch.distributed.launch", "--nproc_per_node=2", f"--master_port={port}"]
    forked.run([*launcher, "train_3d.py", f"--config_file={record}"], check=True)
    assert (tmp_path / "output/tiny/current.pth").exists()


def test_imports_are_exempt_from_garbage_collection() -> None:
    before = gc.get_freeze_count()
    with importing():
        assert not gc.isenabled()
        made = [[number] for number in range(1000)]
    assert gc.isenabled() and gc.get_freeze_count() > before + len(made)
    with pytest.raises(ImportError), importing():
        raise ImportError("no such module")
    assert gc.isenabled()
