"""Identify the evaluation of a record: its manifest, its folder of scores, and the commands around it. No torch."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from utils.config import RunConfig
from utils.errors import UserError
from utils.evaluation.scores import SCORES_FOLDER, Manifest
from utils.files import file_sha256
from utils.text import versions

EXTRACT_SCRIPT, MERGE_SCRIPT = "extract_score_3d.py", "merge_score.py"
TRAIN_SCRIPT, SEARCH_SCRIPT = "train_3d.py", "train_3d_op.py"


class EvaluationError(UserError):
    """The evaluation cannot be run; the message names what is missing."""


class EvaluationList(Protocol):
    """The videos of an evaluation; implemented by `dataset.listing.VideoList`.

    Attributes:
        sha256: SHA-256 of the list file.
    """

    sha256: str

    def __len__(self) -> int:
        """Return the number of videos."""

    @property
    def labels(self) -> NDArray[np.int32]:
        """Classes of the videos, int32 [videos]."""

    def path_of(self, index: int, /) -> str:
        """Return the path of a video, given its index."""


def scores_folder(config: RunConfig) -> Path:
    """Return the folder of a record's scores."""
    return config.run_dir / SCORES_FOLDER


def command_line(script: str, config_file: Path, overrides: Sequence[str]) -> str:
    """Return the command that runs a script with a record, for messages."""
    return shlex.join(["python", script, "--config_file", str(config_file), *overrides])


def choose_crops(config: RunConfig, crop_idx: int | None) -> tuple[int, ...]:
    """Return the crops to score: crop_idx, or all crops of the record if it is None."""
    count = config.dataset.eva_num_crop
    if crop_idx is None:
        return tuple(range(count))
    if not 0 <= crop_idx < count:
        raise EvaluationError(f"--crop_idx {crop_idx}: dataset.eva_num_crop is {count}, the crops are 0..{count - 1}")
    return (crop_idx,)


def checkpoint_sha256(config: RunConfig, *, trained_by: str) -> str:
    """Return the SHA-256 of the evaluated weights.

    Args:
        config: The record.
        trained_by: The command that trains the weights, for the message.

    Raises:
        EvaluationError: There is no such file.
    """
    if not config.eva_model.is_file():
        is_own = config.eva_model == config.weights_path
        hint = f"train them with: {trained_by}" if is_own else "network.eva_model must name a file"
        raise EvaluationError(f"no weights to evaluate: {config.eva_model}: no such file; {hint}")
    return file_sha256(config.eva_model)


def make_manifest(config: RunConfig, videos: EvaluationList, *, checkpoint_sha256: str, precision: str) -> Manifest:
    """Return the manifest of the scores of this configuration.

    Args:
        config: The record; clips have the geometry of its last state.
        videos: Its evaluation list.
        checkpoint_sha256: SHA-256 of the weights.
        precision: Type of the forward pass, e.g. "float32"; it may differ between a CPU and a GPU.
    """
    net, data, state = config.network, config.dataset, config.states[-1]
    return Manifest(
        network=f"{net.net_name} (early_stride {net.early_stride}, base_width {net.base_width}, {net.pooling_name})",
        checkpoint_sha256=checkpoint_sha256,
        list_sha256=videos.sha256,
        num_videos=len(videos),
        num_classes=data.num_classes,
        format=data.format,
        root_path=data.eva_root_path,
        num_clips=config.sampler.eva_num_clips,
        num_crops=data.eva_num_crop,
        num_segments=config.sampler.eva_num_segments,
        clip_length=state.clip_length,
        num_steps=state.num_steps,
        frame_rate=config.sampler.frame_rate,
        crop_size=data.eva_crop_size,
        mean=list(data.mean),
        std=list(data.std),
        use_flow=data.use_flow,
        use_fore=data.use_fore,
        precision=precision,
        checkpoint=str(config.eva_model),
        list_file=data.eva_list_file,
        versions=versions(),
    )
