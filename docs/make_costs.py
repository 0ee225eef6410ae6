"""Calculate the cost of the paper's runs, for docs/reproducing.md; only shapes are computed.

    python -m docs.make_costs

prints the page's tables. A backward pass counts as two forward passes; memory is that of the largest micro-batch in
float32: activations saved for the backward pass, weights, gradients, momentum and clips.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

from model.summary import measure
from utils.config import RunConfig, load_config
from utils.config.sections import StateConfig
from utils.text import say

# Training videos of the official lists; fewer of them can still be downloaded.
VIDEOS = {
    "op-kinetics-dg-p3d-resnet50": 246_534,
    "op-ssv1-dg-p3d-resnet50": 86_017,
    "op-ssv2-dg-p3d-resnet50": 168_913,
    "op-ucf101-dg-p3d-resnet50": 9_537,
    "op-hmdb51-dg-p3d-resnet50": 3_570,
    "op-anet-dg-p3d-resnet50": 15_410,
}
COLUMNS = ("record", "videos", "epochs", "clips", "frames", "operations", "hours at 100 T/s", "GiB a process")

OPERATIONS_A_SECOND = 100e12  # assumed rate of a GPU over the whole run

# Input of a cluster for Kinetics. Measured clips per second per core, worker and main process together, by format, for
# clips of 16 frames and the transform `default`: half of the rate of two cores in benchmarks/README.md, section
# "Comparison with other projects".
CLIPS_A_CORE_SECOND = {"RAW, groups of 250": 68.7 / 2, "RAW, groups of 12": 114.8 / 2, "LMDB": 94.7 / 2}
MEASURED_FRAMES = 16
# Assumed size of a JPEG with a short side of 256, and of a video of 10 s resized to that, which is read as a whole.
JPEG_BYTES, VIDEO_BYTES = 22e3, 1e6
CLUSTERS = (4, 64)
CLUSTER_RECORD = "op-kinetics-dg-p3d-resnet50"
CLUSTER_COLUMNS = (
    "GPUs", "clips/s", *(f"cores, {name}" for name in CLIPS_A_CORE_SECOND),
    "reading LMDB, GB/s", "reading RAW, GB/s", "gradients, GB/s a GPU",
)  # fmt: skip


@dataclass(frozen=True)
class Costs:
    """The cost of a training: epochs, clips, frames, floating point operations, bytes of one process."""

    epochs: float
    clips: float
    frames: float
    operations: float
    bytes: int


def calculate(config: RunConfig, videos: int) -> Costs:
    """Calculate the cost of training a record on `videos` videos."""
    clips = [state.epochs * videos for state in config.states]
    measured = [_measure(config.network.net_name, state.num_frames, state.crop_size) for state in config.states]
    return Costs(
        epochs=sum(state.epochs for state in config.states),
        clips=sum(clips),
        frames=sum(count * state.num_frames for count, state in zip(clips, config.states, strict=True)),
        operations=sum(6 * count * cost.multiply_adds for count, cost in zip(clips, measured, strict=True)),
        bytes=max(map(_bytes_of_state, config.states, measured)),
    )


@dataclass(frozen=True)
class _Measured:
    """Cost of a clip's forward pass by `model.summary`, with 400 classes; the classifier is negligible."""

    parameters: int
    multiply_adds: int
    activation_bytes: int


@functools.cache
def _measure(net_name: str, frames: int, size: int) -> _Measured:
    cost = measure(net_name, frames=frames, size=size)
    assert cost.multiply_adds is not None and cost.activation_bytes is not None
    return _Measured(cost.parameters, cost.multiply_adds, cost.activation_bytes)


def _bytes_of_state(state: StateConfig, cost: _Measured) -> int:
    pixels = state.crop_size**2 * state.num_frames * 3
    return state.batch_size * (cost.activation_bytes + 4 * pixels) + 3 * 4 * cost.parameters


def format_rows() -> list[str]:
    """Return the lines of the table of records."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"| --- |{' ---: |' * (len(COLUMNS) - 1)}"]
    for name, videos in VIDEOS.items():
        costs = calculate(load_config(Path(f"record/{name}.yml")), videos)
        hours = costs.operations / OPERATIONS_A_SECOND / 3600
        lines.append(
            f"| `{name}` | {videos:,} | {costs.epochs:g} | {costs.clips / 1e6:.2f} M | {costs.frames / 1e6:,.0f} M "
            f"| {costs.operations:.1e} | {hours:.1f} | {costs.bytes / 2**30:.1f} |"
        )
    return lines


@dataclass(frozen=True)
class Demand:
    """Input and communication of a number of GPUs while they train, per second.

    Attributes:
        clips: Clips trained on.
        cores: Number of cores that load them, by format.
        lmdb_bytes: Bytes read from LMDB.
        raw_bytes: Bytes read from video files.
        gradient_bytes: Bytes sent, and received, by each GPU.
    """

    clips: float
    cores: dict[str, float]
    lmdb_bytes: float
    raw_bytes: float
    gradient_bytes: float


def demand(config: RunConfig, gpus: int) -> Demand:
    """Calculate the demand in the record's first state, whose clips are the shortest.

    Gradients are float32, with one ring all-reduce per step; the clips of a step do not depend on the number of GPUs.
    """
    state, settings = config.states[0], config.optimizer
    cost = _measure(config.network.net_name, state.num_frames, state.crop_size)
    clips = gpus * OPERATIONS_A_SECOND / (6 * cost.multiply_adds)
    steps = clips / (state.batch_size * state.iter_size * settings.num_gpu)
    frames = clips * state.num_frames
    return Demand(
        clips=clips,
        cores={name: frames / (MEASURED_FRAMES * speed) for name, speed in CLIPS_A_CORE_SECOND.items()},
        lmdb_bytes=frames * JPEG_BYTES,
        raw_bytes=clips * VIDEO_BYTES,
        gradient_bytes=steps * 4 * cost.parameters * 2 * (gpus - 1) / gpus,
    )


def format_cluster() -> list[str]:
    """Return the lines of the table of clusters."""
    config = load_config(Path(f"record/{CLUSTER_RECORD}.yml"))
    lines = [f"| {' | '.join(CLUSTER_COLUMNS)} |", f"|{' ---: |' * len(CLUSTER_COLUMNS)}"]
    for gpus in CLUSTERS:
        found = demand(config, gpus)
        cores = " | ".join(f"{count:,.0f}" for count in found.cores.values())
        rates = (found.lmdb_bytes, found.raw_bytes, found.gradient_bytes)
        lines.append(f"| {gpus} | {found.clips:,.0f} | {cores} | {' | '.join(f'{rate / 1e9:.2f}' for rate in rates)} |")
    return lines


if __name__ == "__main__":
    say(*format_rows(), "", *format_cluster())
