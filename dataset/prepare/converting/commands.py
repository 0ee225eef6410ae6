"""The commands that convert a list's videos to another format."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dataset.prepare.annotations import PrepareError
from dataset.prepare.options import add_source_list, add_workers
from utils.parts import FORMATS
from utils.workers import usable_cores

if TYPE_CHECKING:  # torch is imported once the command line is known to be right
    from dataset.prepare.converting.encoders import Encoder

PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
FLOW_METHODS = ("dis", "farneback", "raft_small", "raft_large")
HELP = {
    "frames": "convert to FRAME: a folder of JPEGs for each video",
    "lmdb": "convert to LMDB: an environment for each video, or shards of many videos",
    "resize": "convert to smaller H.264 files with many key frames and without sound",
    "flow": "optical flow as grey JPEGs (x and y), in FRAME or LMDB",
}


def add_frames(parser: argparse.ArgumentParser) -> None:
    """The command line of `frames`."""
    _add_common(parser)
    _add_quality(parser, 95)
    parser.set_defaults(layout="FRAME")


def add_lmdb(parser: argparse.ArgumentParser) -> None:
    """The command line of `lmdb`."""
    _add_common(parser)
    _add_quality(parser, 95)
    _add_shards(parser)
    parser.set_defaults(layout="LMDB")


def add_resize(parser: argparse.ArgumentParser) -> None:
    """The command line of `resize`."""
    _add_common(parser)
    parser.add_argument("--key_interval", type=int, default=12, help="most frames from key frame to key frame (12)")
    parser.add_argument("--crf", type=int, default=20, help="quality of x264, 0 (lossless) to 51 (20)")
    parser.add_argument("--preset", choices=PRESETS, default="fast", metavar="NAME", help="preset of x264 (fast)")
    parser.add_argument("--rate", type=int, default=25, help="frames a second where a video does not say (25)")


def add_flow(parser: argparse.ArgumentParser) -> None:
    """The command line of `flow`."""
    _add_common(parser)
    _add_quality(parser, 95)
    _add_shards(parser)
    parser.add_argument("--layout", choices=("FRAME", "LMDB"), default="FRAME", help="format of the result (FRAME)")
    parser.add_argument("--method", choices=FLOW_METHODS, default="dis", help="of OpenCV: dis, farneback (dis)")
    parser.set_defaults(workers=None)
    parser.add_argument("--weights", default="", help="RAFT: state dict of torchvision's network, a local file")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="RAFT: where it runs (cpu)")
    parser.add_argument("--bound", type=float, default=20, help="largest displacement, in pixels (20)")


def _add_common(parser: argparse.ArgumentParser) -> None:
    add_source_list(parser)
    parser.add_argument("--format", choices=tuple(FORMATS), default="RAW", help="format of the list's videos (RAW)")
    parser.add_argument("--output", type=Path, required=True, help="folder of the results: the new list's root")
    parser.add_argument("--new_list", type=Path, required=True, help="list of the results, e.g. dataset/X_list.txt")
    parser.add_argument(
        "--short_side", type=int, default=256, help="larger frames are made smaller to this, in pixels (256); 0: none"
    )
    add_workers(parser)


def _add_quality(parser: argparse.ArgumentParser, quality: int) -> None:
    parser.add_argument("--quality", type=int, default=quality, help=f"of the JPEGs, 1 to 100 ({quality})")


def _add_shards(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--shard_videos", type=int, default=0,
        help="LMDB: videos that share an environment, e.g. 1000 (0: an environment for each video)",
    )  # fmt: skip


def run_frames(arguments: argparse.Namespace) -> int:
    """Run `frames` or `lmdb`."""
    from dataset.prepare.converting.encoders import PictureEncoder

    _check_range(arguments, "quality", 1, 100)
    return _run(arguments, PictureEncoder(_layout(arguments), arguments.short_side, arguments.quality))


def run_resize(arguments: argparse.Namespace) -> int:
    """Run `resize`."""
    from dataset.prepare.converting.encoders import VideoEncoder

    _check_range(arguments, "crf", 0, 51)
    _check_range(arguments, "key_interval", 1, 100_000)
    _check_range(arguments, "rate", 1, 1000)
    short_side = arguments.short_side
    if short_side % 2:
        raise PrepareError(f"--short_side {short_side}: H.264 needs an even number")
    return _run(arguments, VideoEncoder(short_side, arguments.key_interval, arguments.crf, arguments.preset))


def run_flow(arguments: argparse.Namespace) -> int:
    """Run `flow`."""
    from dataset.prepare.converting.flow import FlowEncoder, make_method

    _check_range(arguments, "quality", 1, 100)
    if not arguments.bound > 0:
        raise PrepareError(f"--bound {arguments.bound}: must be above 0")
    make_method(arguments.method, arguments.weights, arguments.device)  # a missing weight file shows at once
    if arguments.workers is None:  # every process would put a network of its own on the device
        arguments.workers = 1 if arguments.method.startswith("raft") else usable_cores()
    encoder = FlowEncoder(
        _layout(arguments),
        arguments.short_side,
        arguments.quality,
        arguments.bound,
        arguments.method,
        arguments.weights,
        arguments.device,
    )
    return _run(arguments, encoder)


def _layout(arguments: argparse.Namespace) -> str:
    sharded = arguments.layout == "LMDB" and arguments.shard_videos > 0
    return "LMDB_SET" if sharded else arguments.layout


def _check_range(arguments: argparse.Namespace, name: str, low: int, high: int) -> None:
    value = getattr(arguments, name)
    if not low <= value <= high:
        raise PrepareError(f"--{name} {value}: must be {low} to {high}")


def _run(arguments: argparse.Namespace, encoder: "Encoder") -> int:
    from dataset.prepare.converting.convert import convert_list
    from dataset.prepare.converting.sources import DEFAULT_RATE, Source

    if arguments.short_side < 0:
        raise PrepareError(f"--short_side {arguments.short_side}: must be 0 or more")
    if arguments.output.resolve() == arguments.root.resolve():
        raise PrepareError(f"--output {arguments.output} is the root of the videos; take another folder")
    failed = convert_list(
        arguments.list,
        Source(arguments.format, str(arguments.root), getattr(arguments, "rate", DEFAULT_RATE)),
        encoder,
        root=arguments.output,
        new_list=arguments.new_list,
        workers=arguments.workers,
        shard_videos=getattr(arguments, "shard_videos", 0),
    )
    return int(failed > 0)
