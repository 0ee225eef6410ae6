"""Compare every form of a convolution that occurs in a network here with float64, in processes that may crash.

  python -m tests.convolution_forms bfloat16              # all frames 1..8 and sides 1..14, minutes
  python -m tests.convolution_forms float32 --sides 1 7 --frames 1 2   # some of them
  python -m tests.convolution_forms bfloat16 --torch      # torch's own padding, to see what it does on this processor

prints a line for each form that is wrong (its largest error, or its process's exit status), and how many were tried.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any
from unittest import mock

import torch
from torch import nn

from layers import convolutions
from layers.convolution_check import LIMITS, Form, largest_error
from tests.networks import ADDED, blank_network

DENSE, GROUPED, DEPTHWISE = 1, 2, 8  # groups of 8 channels
Kinds = dict[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]], tuple[int, ...]]
# Kernel, stride, padding and groups of every convolution of the released and torchvision's networks;
# test_convolutions.py compares the table with them.
KINDS: Kinds = {
    ((1, 1), (1, 1), (0, 0)): (DENSE,),
    ((1, 1), (2, 2), (0, 0)): (DENSE,),
    ((3, 1), (1, 1), (1, 0)): (DEPTHWISE,),
    ((3, 3), (1, 1), (0, 0)): (DEPTHWISE,),
    ((3, 3), (1, 1), (1, 1)): (DENSE, GROUPED),
    ((3, 3), (2, 2), (0, 0)): (DENSE, DEPTHWISE),
    ((3, 3), (2, 2), (1, 1)): (DENSE, GROUPED),
    ((5, 5), (1, 1), (0, 0)): (DEPTHWISE,),
    ((5, 5), (2, 2), (0, 0)): (DEPTHWISE,),
    ((7, 7), (2, 2), (3, 3)): (DENSE,),
    ((16, 16), (16, 16), (0, 0)): (DENSE,),
    ((32, 32), (32, 32), (0, 0)): (DENSE,),
    ((1, 1, 1), (1, 1, 1), (0, 0, 0)): (DENSE,),
    ((1, 1, 1), (1, 2, 2), (0, 0, 0)): (DENSE,),
    ((1, 1, 1), (2, 2, 2), (0, 0, 0)): (DENSE,),
    ((1, 3, 3), (1, 1, 1), (0, 0, 0)): (DEPTHWISE,),
    ((1, 3, 3), (1, 1, 1), (0, 1, 1)): (DENSE, GROUPED),
    ((1, 3, 3), (1, 2, 2), (0, 0, 0)): (DENSE, DEPTHWISE),
    ((1, 3, 3), (1, 2, 2), (0, 1, 1)): (DENSE, GROUPED),
    ((1, 5, 5), (1, 1, 1), (0, 0, 0)): (DEPTHWISE,),
    ((1, 5, 5), (1, 2, 2), (0, 0, 0)): (DEPTHWISE,),
    ((1, 7, 7), (1, 2, 2), (0, 3, 3)): (DENSE,),
    ((1, 16, 16), (1, 16, 16), (0, 0, 0)): (DENSE,),
    ((1, 32, 32), (1, 32, 32), (0, 0, 0)): (DENSE,),
    ((2, 3, 3), (2, 2, 2), (0, 0, 0)): (DENSE,),
    ((2, 3, 3), (2, 2, 2), (0, 1, 1)): (DENSE,),
    ((2, 4, 4), (2, 4, 4), (0, 0, 0)): (DENSE,),
    ((2, 7, 7), (2, 2, 2), (0, 3, 3)): (DENSE,),
    ((2, 16, 16), (2, 16, 16), (0, 0, 0)): (DENSE,),
    ((2, 32, 32), (2, 32, 32), (0, 0, 0)): (DENSE,),
    ((3, 1, 1), (1, 1, 1), (1, 0, 0)): (DENSE, GROUPED),
    ((3, 1, 1), (1, 2, 2), (1, 0, 0)): (DENSE, GROUPED),
    ((3, 1, 1), (2, 1, 1), (1, 0, 0)): (DENSE,),
    ((3, 3, 3), (1, 1, 1), (1, 1, 1)): (DENSE, GROUPED, DEPTHWISE),
    ((3, 3, 3), (1, 2, 2), (1, 1, 1)): (DENSE, GROUPED, DEPTHWISE),
    ((3, 3, 3), (1, 4, 4), (1, 1, 1)): (DEPTHWISE,),
    ((3, 3, 3), (1, 8, 8), (1, 1, 1)): (DEPTHWISE,),
    ((3, 3, 3), (2, 2, 2), (1, 1, 1)): (DENSE,),
    ((3, 7, 7), (1, 2, 2), (1, 3, 3)): (DENSE,),
    ((3, 7, 7), (2, 4, 4), (1, 3, 3)): (DENSE,),
    ((4, 3, 3), (4, 2, 2), (0, 0, 0)): (DENSE,),
    ((4, 3, 3), (4, 2, 2), (0, 1, 1)): (DENSE,),
    ((4, 7, 7), (4, 2, 2), (0, 3, 3)): (DENSE,),
    ((4, 16, 16), (4, 16, 16), (0, 0, 0)): (DENSE,),
    ((4, 32, 32), (4, 32, 32), (0, 0, 0)): (DENSE,),
    ((7, 1, 1), (2, 1, 1), (3, 0, 0)): (DENSE,),
}
PATCH = 16  # kernels of at least this size embed a transformer's patches; maps of 1..14 are too small for them


def find_kinds(names: Iterable[str]) -> Kinds:
    """Return kernel, stride, padding and groups of every convolution of the networks, for every early stride."""
    found: Kinds = {}
    strided = [{"image_size": 32, "early_stride": stride} for stride in (1, 2, 4)]
    for name, options in ((n, o) for n in names for o in ([{}] if n.startswith("torchvision/") else strided)):
        with torch.device("meta"):
            network = blank_network(name, **options)
        for conv in network.modules():
            if isinstance(conv, nn.Conv2d | nn.Conv3d):
                groups = DENSE if conv.groups == 1 else DEPTHWISE if conv.groups == conv.in_channels else GROUPED
                kind: Any = (conv.kernel_size, conv.stride, conv.padding)
                found[kind] = tuple(sorted({*found.get(kind, ()), groups}))
    return found


def list_forms(sides: Sequence[int], frames: Sequence[int]) -> list[Form]:
    """Return the forms over clips of these frames and maps of these sides, contiguous and channels last."""
    contiguous = _list_contiguous(sides, frames)
    return [replace(form, channels_last=last) for form in contiguous for last in (False, True) if _fits(form)]


def _fits(form: Form) -> bool:
    """Return whether the padded map is at least as large as the kernel."""
    return all(n + 2 * p >= k for n, p, k in zip(form.size, form.padding, form.kernel, strict=True))


def _list_contiguous(sides: Sequence[int], frames: Sequence[int]) -> Iterator[Form]:
    added = {kind: groups for kind, groups in find_kinds(ADDED).items() if kind not in KINDS}
    for (kernel, stride, padding), all_groups in (KINDS | added).items():
        for groups in all_groups:
            # A depthwise convolution has as many outputs as inputs; stems take RGB.
            channels = 3 if kernel[-1] in (7, PATCH, 2 * PATCH) else 8
            out_channels = 8 if groups == DEPTHWISE else 16
            for side in [2 * PATCH] if kernel[-1] >= PATCH else sides:
                # 2D kernels take frames as a batch; a kernel of (3, 1) takes frames as rows and positions as columns.
                first = frames if len(kernel) == 3 or kernel == (3, 1) else (side,)
                for rows in first:
                    size = (rows, side, side) if len(kernel) == 3 else (rows, side)
                    yield Form(kernel, stride, padding, size, groups, channels, out_channels)


def find_wrong(forms: Sequence[Form], dtype: torch.dtype) -> list[str]:
    """Try forms in a child process, after a crash in another one from the next form on; describe the wrong ones."""
    wrong, start = [], 0
    while start < len(forms):
        receive, send = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(receive)
            with os.fdopen(send, "w") as pipe:
                _try_forms(forms[start:], dtype, pipe.fileno())
            os._exit(0)
        os.close(send)
        with os.fdopen(receive) as pipe:
            errors = [float(line) for line in pipe.read().split()]
        status = os.waitpid(child, 0)[1]
        for form, error in zip(forms[start:], errors, strict=False):
            if not error <= LIMITS[dtype]:
                wrong.append(f"{form}: {error:.2g} from float64")
        start += len(errors)
        if status:
            wrong.append(f"{forms[min(start, len(forms) - 1)]}: the process ended with {status}")
            start += 1
    return wrong


def _try_forms(forms: Sequence[Form], dtype: torch.dtype, pipe: int) -> None:
    for form in forms:
        os.write(pipe, f"{largest_error(form, dtype)}\n".encode())  # at once: the next form may crash the process


def main() -> None:
    """Try the forms and print the wrong ones; exit with 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dtype", choices=["bfloat16", "float32"])
    parser.add_argument("--sides", type=int, nargs="+", default=list(range(1, 15)), help="of maps (1 to 14)")
    parser.add_argument("--frames", type=int, nargs="+", default=list(range(1, 9)), help="of clips (1 to 8)")
    parser.add_argument("--torch", action="store_true", help="use torch's own padding")
    parser.add_argument("--threads", type=int, default=1, help="of torch (1)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    forms = list_forms(options.sides, options.frames)
    torch_padding = mock.patch.object(convolutions, "is_at_risk", lambda conv, x: False)
    with torch_padding if options.torch else contextlib.nullcontext():
        wrong = find_wrong(forms, getattr(torch, options.dtype))
    print("\n".join([*wrong, f"{len(wrong)} of {len(forms)} forms are wrong in {options.dtype}"]))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
