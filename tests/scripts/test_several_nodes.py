"""Two nodes with networks of their own train to the weights of one node with as many processes."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from tests import forked
from tests.conftest import ROOT, MakeRecord
from utils.config import load_config
from utils.distributed import choose_interface
from utils.training.checkpoint import load_checkpoint

ADDRESSES = ("10.77.13.1", "10.77.13.2")


def ip(*words: str) -> bool:
    """Run ip, and return whether the system let it."""
    return subprocess.run(["ip", *words], capture_output=True, check=False).returncode == 0


@pytest.fixture
def nodes() -> Iterator[list[list[str]]]:
    """What starts a command on each of two nodes: network namespaces, where they can be made, joined by a cable."""
    names = [f"node{number}-{secrets.token_hex(3)}" for number in range(2)]
    ends = ("end0", "end1")
    try:
        made = shutil.which("ip") is not None and all(ip("netns", "add", name) for name in names)
        if made:
            assert ip("link", "add", ends[0], "netns", names[0], "type", "veth", "peer", ends[1], "netns", names[1])
            for name, end, address in zip(names, ends, ADDRESSES, strict=True):
                assert ip("-n", name, "addr", "add", f"{address}/24", "dev", end)
                assert all(ip("-n", name, "link", "set", link, "up") for link in ("lo", end))
        yield [["ip", "netns", "exec", name] for name in names] if made else [[], []]
    finally:
        for name in names:
            ip("netns", "delete", name)


def test_two_nodes_equal_one_with_as_many_processes(make_record: MakeRecord, nodes: list[list[str]]) -> None:
    sections = {"optimizer": {"num_gpu": 2, "epochs": 1}, "sampler": {"batch_size": 2}}
    one, two = (make_record(name, **sections) for name in ("one", "two"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, "NPROC": "1", "NNODES": "2", "MASTER_PORT": str(port)}
    environment["MASTER_ADDR"] = ADDRESSES[0] if nodes[0] else "127.0.0.1"
    command = [sys.executable, "-m", "utils.launch", "train_3d.py", "--config_file", str(two)]
    agents = [
        subprocess.Popen(
            [*node, *command],
            cwd=ROOT,
            env={**environment, "NODE_RANK": str(number)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number, node in enumerate(nodes)
    ]
    said = [agent.communicate(timeout=100)[1] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], said
    forked.run([sys.executable, "-m", "tests.stopped_ranks", one, "2", "train"], check=True)
    weights = [load_checkpoint(load_config(record).weights_path)[0]["network"] for record in (one, two)]
    assert [name for name in weights[0] if not torch.equal(weights[0][name], weights[1][name])] == []


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere gloo's own choice stays")
def test_the_interface_is_the_one_that_reaches_the_first_node() -> None:
    several = {"LOCAL_WORLD_SIZE": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    cases = (
        (several, "lo"),
        ({**several, "LOCAL_WORLD_SIZE": "2"}, None),  # one node
        ({**several, "GLOO_SOCKET_IFNAME": "ib0"}, "ib0"),  # a user's choice
        ({**several, "MASTER_ADDR": "::1"}, None),
    )
    for environment, expected in cases:
        choose_interface(environment)
        assert environment.get("GLOO_SOCKET_IFNAME") == expected
