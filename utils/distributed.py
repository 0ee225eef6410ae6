"""Collectives and process groups; the same code runs in one process or many.

Under plain `python` there is one process and no process group; under torchrun there is one process per GPU (nccl) or
per CPU worker (gloo). Rank 0 decides, the decision is broadcast, and all ranks act on the broadcast value.
"""

import contextlib
import fcntl
import functools
import os
import socket
import struct
import sys
import warnings
from collections.abc import Callable, Iterator, MutableMapping
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from utils.errors import UserError
from utils.gpus import Build, require_usable

Value = TypeVar("Value")
# The other ranks wait at a collective while rank 0 verifies a large data set or writes a large checkpoint.
TIMEOUT = timedelta(hours=2)
_SIOCGIFADDR = 0x8915  # Linux ioctl: get the address of an interface


class DistributedError(UserError):
    """The number of processes does not fit the machine."""


def rank() -> int:
    """Return the rank of this process among the processes of all nodes."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes on all nodes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Return whether this process is rank 0, which writes and prints."""
    return rank() == 0


@contextlib.contextmanager
def session() -> Iterator[torch.device]:
    """Join the process group if torchrun started this process; yield the device of this process."""
    device = local_device()
    if "RANK" not in os.environ:
        yield device
        return
    choose_interface(os.environ)
    if device.type == "cuda":
        dist.init_process_group("nccl", timeout=TIMEOUT, device_id=device)
    else:
        dist.init_process_group("gloo", timeout=TIMEOUT)
    try:
        yield device
    finally:
        _cpu_group.cache_clear()
        dist.destroy_process_group()


def choose_interface(environment: MutableMapping[str, str]) -> None:
    """Set GLOO_SOCKET_IFNAME to the interface that reaches the first node, for runs on several nodes.

    gloo's default is the address of the host name, which on many machines is 127.0.0.1 and unreachable from others.
    """
    is_one_node = environment.get("LOCAL_WORLD_SIZE") == environment["WORLD_SIZE"]
    if is_one_node or "GLOO_SOCKET_IFNAME" in environment or sys.platform != "linux":
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((environment["MASTER_ADDR"], 1))  # a UDP socket sends nothing here
        except OSError:  # no IPv4 address: keep gloo's default
            return
        own = probe.getsockname()[0]
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            with contextlib.suppress(OSError):  # an interface without an address
                if socket.inet_ntoa(fcntl.ioctl(probe, _SIOCGIFADDR, request)[20:24]) == own:
                    environment["GLOO_SOCKET_IFNAME"] = name


def local_device() -> torch.device:
    """Return the device of this process: a GPU if torch can use one, else the CPU.

    Raises:
        GpuError: The machine has a GPU that torch cannot use, and DEVICE=cpu is not set.
        DistributedError: There are more processes than GPUs.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns about a GPU that it cannot use; the error below says the same
        is_usable = torch.cuda.is_available()
    if not is_usable:
        require_usable(Build(torch.__version__, torch.version.cuda, torch.version.hip), reason=_refusal_of_gpu())
        return torch.device("cpu")
    index, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if index >= count:
        raise DistributedError(
            f"process {index + 1} of this node has no GPU of its own: {count} visible; set NPROC={count}"
        )
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    return device


def _refusal_of_gpu() -> str:
    """Return torch's reason for not using a GPU."""
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return str(error).splitlines()[0].split(". ")[0]
    return "it finds none"


def barrier() -> None:
    """Wait for all processes."""
    if dist.is_initialized():
        dist.barrier()


def broadcast_object(value: Value) -> Value:
    """Return rank 0's value on every rank; tensors must be on the CPU."""
    if world_size() == 1:
        return value
    box: list[Any] = [value if is_main() else None]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def gather_objects(value: Value) -> list[Value]:
    """Return the values of all ranks, in rank order, on every rank."""
    if world_size() == 1:
        return [value]
    box: list[Any] = [None] * world_size()
    dist.all_gather_object(box, value)
    return box


def any_rank(claim: bool) -> bool:
    """Return whether a claim holds on any rank: a reduction of one number between CPUs, which waits for no GPU."""
    if world_size() == 1:
        return claim
    found = torch.tensor(int(claim))
    dist.all_reduce(found, dist.ReduceOp.MAX, group=_cpu_group())
    return bool(found)


@functools.cache
def _cpu_group() -> dist.ProcessGroup | None:
    """Return a gloo group of all processes; None is the default group."""
    return None if dist.get_backend() == "gloo" else dist.new_group(backend="gloo", timeout=TIMEOUT)


def decide_on_main(decide: Callable[[], Value]) -> Value:
    """Call a function on rank 0; return its value, or raise its `UserError`, on every rank."""
    value, error = broadcast_object(_attempt(decide) if is_main() else (None, None))
    if error is not None:
        raise error
    return value  # type: ignore[return-value]


def run_on_all_ranks(act: Callable[[], Value]) -> Value:
    """Call a function on every rank and return its own value on each; a `UserError` on any rank is raised on all."""
    value, own_error = _attempt(act)
    for error in gather_objects(own_error):
        if error is not None:
            raise error
    return value  # type: ignore[return-value]


def _attempt(act: Callable[[], Value]) -> tuple[Value | None, UserError | None]:
    try:
        return act(), None
    except UserError as error:
        error.on_every_rank = True  # raised on all ranks, so that one of them prints it
        return None, error


@contextlib.contextmanager
def enter_on_main(enter: Callable[[], contextlib.AbstractContextManager[None]]) -> Iterator[None]:
    """Enter a context such as a lock on rank 0 for the block; a `UserError` on entering is raised on every rank."""
    with contextlib.ExitStack() as stack:
        decide_on_main(lambda: stack.enter_context(enter()))
        yield


def sum_over_ranks(tensor: torch.Tensor) -> torch.Tensor:
    """Return the sum of a tensor over all ranks."""
    if world_size() == 1:
        return tensor
    total = tensor.clone()
    dist.all_reduce(total)
    return total


def wrap(network: nn.Module, device: torch.device) -> nn.Module:
    """Return the network as training calls it: itself, or in DistributedDataParallel if there are several processes.

    static_graph is not used: in torch 2.13 it fails an assertion if the first backward pass runs under no_sync.
    """
    if world_size() == 1:
        return network
    with warnings.catch_warnings():
        # torch 2.13 renamed broadcast_buffers; older versions do not have the new name.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        return DistributedDataParallel(
            network,
            device_ids=[device] if device.type == "cuda" else None,
            broadcast_buffers=False,  # running statistics are averaged before every evaluation instead
            gradient_as_bucket_view=True,
        )


def average_buffers(network: nn.Module) -> None:
    """Average the running statistics over all ranks, so that all evaluate the same network."""
    if world_size() == 1:
        return
    for buffer in network.buffers():
        if buffer.is_floating_point():
            dist.all_reduce(buffer)
            buffer.div_(world_size())
