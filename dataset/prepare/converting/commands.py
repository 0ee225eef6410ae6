"""Command lines of the conversions, without torch; `run` executes them."""

import argparse
from pathlib import Path

from dataset.prepare.options import add_source_list, add_workers
from utils.parts import FORMATS

PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
FLOW_METHODS = ("dis", "farneback", "raft_small", "raft_large")
HELP = {
    "frames": "convert to FRAME: a folder of JPEGs per video",
    "lmdb": "convert to LMDB: an environment per video, or shards of many videos",
    "resize": "convert to smaller H.264 files with many key frames and without sound",
    "flow": "compute optical flow as gray JPEGs (x and y), in FRAME or LMDB",
}


def add_frames(parser: argparse.ArgumentParser) -> None:
    """Add the command line of `frames`."""
    _add_common(parser)
    _add_rates(parser)
    _add_quality(parser)
    parser.set_defaults(layout="FRAME")


def add_lmdb(parser: argparse.ArgumentParser) -> None:
    """Add the command line of `lmdb`."""
    _add_common(parser)
    _add_rates(parser)
    _add_quality(parser)
    _add_shards(parser)
    parser.set_defaults(layout="LMDB")


def add_resize(parser: argparse.ArgumentParser) -> None:
    """Add the command line of `resize`."""
    _add_common(parser)
    _add_rates(parser)
    parser.add_argument("--key_interval", type=int, default=12, help="largest distance between key frames, frames (12)")
    parser.add_argument("--crf", type=int, default=20, help="x264's quality, 0 (lossless) to 51 (20)")
    parser.add_argument("--preset", choices=PRESETS, default="fast", metavar="NAME", help="x264's preset (fast)")


def add_flow(parser: argparse.ArgumentParser) -> None:
    """Add the command line of `flow`."""
    _add_common(parser)
    _add_quality(parser)
    _add_shards(parser)
    flow_formats = tuple(name for name, format in FORMATS.items() if format.has_flow)
    parser.add_argument("--layout", choices=flow_formats, default="FRAME", help="format of the result (FRAME)")
    parser.add_argument(
        "--method", choices=FLOW_METHODS, default="dis", help="dis and farneback are OpenCV's, RAFT torchvision's (dis)"
    )
    parser.set_defaults(workers=None)
    parser.add_argument("--weights", default="", help="RAFT: local file with the state dict of torchvision's network")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="RAFT: device of the network (cpu)")
    parser.add_argument("--bound", type=float, default=20, help="largest stored displacement, pixels (20)")


def _add_common(parser: argparse.ArgumentParser) -> None:
    add_source_list(parser)
    parser.add_argument("--output", type=Path, required=True, help="folder of the results: the root of the new list")
    parser.add_argument("--new_list", type=Path, required=True, help="list of the results, e.g. dataset/X_list.txt")
    parser.add_argument(
        "--short_side", type=int, default=256,
        help="downscale larger frames to this short side, pixels (256); 0: keep all sizes",
    )  # fmt: skip
    add_workers(parser)


def _add_rates(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fps", type=float, default=0,
        help="resample to this frame rate, taking the frames nearest in time, so that all results have it (0: every "
        "frame)",
    )  # fmt: skip
    parser.add_argument(
        "--rate", type=float, default=0,
        help="frame rate of videos that do not give theirs (25); required for --fps with a source of images",
    )  # fmt: skip


def _add_quality(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quality", type=int, default=95, help="quality of the JPEGs, 1 to 100 (95)")


def _add_shards(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--shard_videos", type=int, default=0,
        help="LMDB: number of videos per environment, e.g. 1000 (0: an environment per video)",
    )  # fmt: skip
