"""Two real processes accumulate the gradients that one does, and exchange them once a step."""

import contextlib
import functools
import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import distributed as dist
from torch import nn

import helpers
from benchmarks import scaling
from model.build import make_initial_network
from tests import forked
from tests.conftest import MakeRecord
from tests.networks import CLASSES
from utils import distributed
from utils.config import RunConfig, load_config
from utils.files import FileError
from utils.jsonl import LineFileError
from utils.lock import LockError
from utils.planning.graph import build_graph
from utils.search.events import End
from utils.search.run import open_journal
from utils.search.weights import WeightFolder
from utils.training.checkpoint import Position
from utils.training.engine import EpochTotals, StepHooks, train_epoch
from utils.training.state import TrainingRecord

CPU = torch.device("cpu")
VIDEOS, CLIP = 24, (4, 24, 24, 3)
# Frozen norms, dropout off and float64: what is left between the two ways is the order of sums.
OVERRIDES = [
    *(f"dataset.num_classes={CLASSES}", "sampler.batch_size=2", "sampler.iter_size=3", "optimizer.num_gpu=2"),
    *("network.net_name=dg_p3d_resnet18", "network.dropout_ratio=0.0", "network.early_stride=1"),
    *("optimizer.base_learning_rate=0.01", "sampler.clip_length=4", "optimizer.epochs=1"),
]
SETTINGS: tuple[list[str], ...] = (
    [],
    ["network.frozen_bn=true", "network.checkpoint_blocks=true"],
    ["network.layout=plain"],
)
# Takes its rank, the folder and the record.
BE_A_PROCESS = "from tests.scripts.test_several_processes import be_a_process; be_a_process()"


def load_configs(record: Path) -> list[RunConfig]:
    return [load_config(record, [*OVERRIDES, *setting]) for setting in SETTINGS]


def make_batches(count: int) -> list[Any]:
    generator = torch.Generator().manual_seed(0)
    return [
        SimpleNamespace(
            clips=torch.randint(0, 256, (2, *CLIP), generator=generator, dtype=torch.uint8),
            labels=torch.randint(0, CLASSES, (2,), generator=generator),
            skipped=0,
            notes=(),
        )
        for _ in range(count)
    ]


def train(config: RunConfig, exchanges: list[bool]) -> dict[str, torch.Tensor]:
    """Train two steps of twelve clips on this process's share; return the weights, and note the exchanges."""
    network = make_initial_network(config, trained=None).double()
    learner = helpers.make_learner(config, 0, network=network, num_videos=VIDEOS, device=CPU)
    normalize = learner.normalize
    learner.normalize = lambda clips: normalize(clips).double()
    if distributed.world_size() > 1:

        def average(_: None, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
            exchanges.append(bucket.is_last())
            future = dist.all_reduce(bucket.buffer().div_(distributed.world_size()), async_op=True).get_future()
            return future.then(lambda done: done.value()[0])

        learner.model.register_comm_hook(None, average)  # type: ignore[operator]
    share = make_batches(VIDEOS // 2)[distributed.rank() :: distributed.world_size()]
    train_epoch(
        learner,
        share,
        epoch=0,
        first_step=0,
        totals=EpochTotals(),
        hooks=StepHooks(lambda done, line: None, 1, lambda done, totals: None, 0),
    )
    assert all(weight.dtype == torch.float64 for weight in network.parameters())
    return {name: weight.detach() for name, weight in network.named_parameters()}


def agree_on_values_and_mistakes(rank: int) -> None:
    assert distributed.decide_on_main(lambda: rank + 5) == 5
    assert distributed.run_on_all_ranks(lambda: rank + 5) == rank + 5

    def fail_on(failing: int) -> int:
        if rank == failing:
            raise LockError(f"of rank {rank}")
        return rank

    assert distributed.decide_on_main(lambda: fail_on(1)) == 0
    for failing, act in (
        (0, distributed.decide_on_main),
        (0, distributed.run_on_all_ranks),
        (1, distributed.run_on_all_ranks),
    ):
        with pytest.raises(LockError, match=f"of rank {failing}"):
            act(functools.partial(fail_on, failing))
    entered: list[int] = []

    def enter() -> contextlib.AbstractContextManager[None]:
        entered.append(rank)
        return contextlib.nullcontext()

    with distributed.enter_on_main(enter):
        assert entered == [0] * (rank == 0)


def meet_the_refusals_of_rank_0(rank: int, folder: Path, config: RunConfig) -> None:
    """What a run cannot write ends it on all ranks in the same line; none is left at a collective."""
    if rank == 0:
        config.run_dir.parent.touch()
    dist.barrier()
    network = make_initial_network(config, trained=None)
    learner = helpers.make_learner(config, 0, network=network, num_videos=VIDEOS, device=CPU)
    record = TrainingRecord(config, logging.getLogger(), list_sha256="", class_names=())
    with pytest.raises(FileError, match=r"current\.pth: cannot be written"):
        record.save(learner, Position(), None)
    graph = build_graph("basic", num_inputs=1, num_levels=1)
    journal = open_journal(folder / "search" / "journal.jsonl", {}, graph=graph)
    if rank == 0:
        (folder / "search").rename(folder / "away")
        (folder / "search").touch()
    with pytest.raises(LineFileError, match="journal.jsonl: cannot be written"):
        journal.append(End())
    weights = WeightFolder(folder / "search", graph, identity={}, say=pytest.fail)
    with pytest.raises(FileError, match=r"initial\.pth: cannot be written"):
        weights.keep_initial(lambda: nn.Linear(2, 2), begins=True)
    assert not journal.history.has_ended


def be_a_process() -> None:
    rank, folder, configs = int(sys.argv[1]), Path(sys.argv[2]), load_configs(Path(sys.argv[3]))
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    agree_on_values_and_mistakes(rank)
    meet_the_refusals_of_rank_0(rank, folder, configs[0])
    found = []
    for config in configs:
        exchanges: list[bool] = []
        found.append((train(config, exchanges), exchanges))
    torch.save(found, folder / f"rank{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_equal_one_and_exchange_gradients_once_a_step(make_record: MakeRecord, tmp_path: Path) -> None:
    record = make_record()
    words = [sys.executable, "-c", BE_A_PROCESS]
    ended = [one.complete() for one in [forked.Process([*words, str(rank), tmp_path, record]) for rank in range(2)]]
    assert [one.returncode for one in ended] == [0, 0], [one.stderr[-3000:] for one in ended]
    ranks = [torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2)]
    for config, *both in zip(load_configs(record), *ranks, strict=True):
        expected = train(config, [])
        start = dict(make_initial_network(config, trained=None).named_parameters())
        for weights, exchanges in both:
            # The last bucket went round once in each of the two steps of three micro-batches.
            assert sum(exchanges) == 2
            for name, value in expected.items():
                torch.testing.assert_close(weights[name], value, rtol=1e-9, atol=1e-10, msg=name)
            assert any(not torch.equal(value, start[name].double()) for name, value in expected.items())


def test_the_scaling_benchmark_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    # Every process imports torch; the settings that are left out differ in a number.
    settings = {name: scaling.SETTINGS[name] for name in ("1 process, 1 thread", "2 processes")}
    monkeypatch.setattr(scaling, "SETTINGS", settings)
    options = "--network c2d_resnet18 --frames 4 --size 64 --micro_batches 2 --repeats 1"
    monkeypatch.setattr(sys, "argv", ["scaling.py", *options.split()])
    scaling.main()
    lines = capsys.readouterr().out.splitlines()[-len(scaling.SETTINGS) :]
    for name, line in zip(scaling.SETTINGS, lines, strict=True):
        assert float(line.strip().removeprefix(name).split()[0]) > 0
