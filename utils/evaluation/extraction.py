"""Score the videos that have no scores yet: rank 0 finds them, every process scores its part, in rounds.

Scores are written as the extraction proceeds; after a kill, an error or a full disk the same command resumes it.
"""

import functools
import itertools
import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from utils import distributed, stopping
from utils.config import RunConfig
from utils.errors import UserError
from utils.evaluation.protocol import read_history
from utils.evaluation.provenance import EvaluationList, checkpoint_sha256, make_manifest, scores_folder
from utils.evaluation.result import RESULT_FILES
from utils.evaluation.score_index import index_scores, set_aside_corrupt_part
from utils.evaluation.scores import (
    SCORES_FOLDER,
    CorruptPartError,
    Manifest,
    PartWriter,
    describe_broken,
    open_scores,
)
from utils.evaluation.views import ViewScorer, score_ahead
from utils.files import move_to_earlier
from utils.logs import open_log
from utils.text import describe_time
from utils.training.precision import Precision

VideoCrops = tuple[int, tuple[int, ...]]
# Videos per process and round; after a round the processes exchange progress, errors and requests to stop.
_ROUND = 16


class ExtractionError(UserError):
    """The extraction cannot continue."""


class Frames(Protocol):
    """The decoded frames of a video for all of its views; implemented by `dataset.video_dataset.VideoFrames`."""

    @property
    def frames(self) -> torch.Tensor:
        """The distinct frames, uint8 [U, C, H, W]."""

    @property
    def clip_frames(self) -> torch.Tensor:
        """Indices into `frames` of every clip, int64 [clips, T]."""

    @property
    def missing(self) -> str:
        """Why the video could not be read; empty if it could."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Messages about the video for the log."""


@dataclass(frozen=True)
class ExtractionParts:
    """The data and the network of an extraction, provided by the composition root.

    Attributes:
        videos: The evaluation list.
        precision: Precision of the forward pass.
        load: Loads the weights; returns the scorer, and a description of the network.
        read: Yields the frames of videos, given their indices in the list.
    """

    videos: EvaluationList
    precision: Precision
    load: Callable[[], tuple[ViewScorer, str]]
    read: Callable[[Sequence[int]], Iterable[Frames]]


# Logits of a video, float32 [clips, crops, classes], or the reason why there are none.
Scores = NDArray[np.float32] | str
Result = tuple[tuple[VideoCrops, Frames], Scores]


@dataclass(frozen=True)
class Task:
    """The work found by rank 0.

    Attributes:
        manifest: Manifest of the scores.
        pending: (video, crops to score) for every video that lacks scores.
        missing: Recorded reasons of missing videos, by video.
    """

    manifest: Manifest
    pending: list[VideoCrops]
    missing: dict[int, str]


@dataclass
class Round:
    """The outcome of a round in one process.

    Attributes:
        scored: Videos scored.
        missing: Videos that could not be scored.
        notes: Messages for the log.
        problem: Message of the error that ended the round; empty if none.
        is_to_stop: Whether the process was asked to stop.
    """

    scored: int = 0
    missing: int = 0
    notes: list[str] = field(default_factory=list)
    problem: str = ""
    is_to_stop: bool = False


def extract_scores(
    config: RunConfig,
    parts: ExtractionParts,
    *,
    crops: tuple[int, ...],
    force: bool,
    trained_by: str,
    merged_by: str,
) -> None:
    """Score the videos that have no scores yet.

    Args:
        config: The record.
        parts: Data and network of the extraction.
        crops: Indices of the crops to score.
        force: Move earlier scores and results aside first.
        trained_by: The command that trains the weights, for messages.
        merged_by: The command that merges the scores, for messages.

    Raises:
        UserError: Weights, scores or videos cannot be used; raised on every process.
    """
    folder, log = scores_folder(config), open_log(config.run_dir, "extract")
    task = distributed.decide_on_main(
        lambda: _plan(config, parts, crops=crops, force=force, trained_by=trained_by, log=log)
    )
    if not task.pending:
        log.info(f"the scores are complete: {folder}; merge them with: {merged_by}")
        return
    scorer, network = distributed.run_on_all_ranks(parts.load)
    own = task.pending[distributed.rank() :: distributed.world_size()]
    items = zip(own, parts.read([video for video, _ in own]), strict=True)
    score = functools.partial(_score, scorer, config=config, path_of=parts.videos.path_of)
    with stopping.deferred():
        views = f"{config.sampler.eva_num_clips} clips x {len(crops)} crops"
        count = f"{len(task.pending)} of {len(parts.videos)} videos"
        where = f"{scorer.device.type}, {parts.precision}"
        log.info(f"{config.name}: {network}, {config.eva_model}; {count} x {views} to score, {where}")
        score_pending(folder, task, score_ahead(items, score, device=scorer.device), log=log)
    log.info(f"scores: {folder}; merge them with: {merged_by}")


def _plan(
    config: RunConfig,
    parts: ExtractionParts,
    *,
    crops: tuple[int, ...],
    force: bool,
    trained_by: str,
    log: logging.Logger,
) -> Task:
    """Open the folder of scores and return the work left; corrupt parts are set aside."""
    folder, count = scores_folder(config), len(parts.videos)
    manifest = make_manifest(
        config,
        parts.videos,
        checkpoint_sha256=checkpoint_sha256(config, trained_by=trained_by),
        precision=parts.precision.name,
    )
    if force and (earlier := move_to_earlier(config.run_dir, (SCORES_FOLDER, *RESULT_FILES))) is not None:
        log.info(f"moved the earlier scores and results to {earlier}")
    history = read_history(config)
    if history.progress and history.progress[0] < history.progress[1]:
        done, planned = history.progress
        log.info(f"the training is not complete: {done:g} of {planned:g} epochs")
    for difference in history.differences:
        log.info(f"the weights were trained with another configuration: {difference}")
    manifest = open_scores(folder, manifest)

    def set_aside(path: Path, error: CorruptPartError) -> None:
        log.info(f"{error}; kept as {set_aside_corrupt_part(path).name}, its videos are scored again")

    index = index_scores(folder, manifest, on_corrupt=set_aside)
    pending = index.pending(crops)
    if pending and len(pending) < count:
        log.info(f"continuing: {count - len(pending)} of {count} videos have their scores")
    return Task(manifest, pending, index.missing)


def _score(
    scorer: ViewScorer, item: tuple[VideoCrops, Frames], *, config: RunConfig, path_of: Callable[[int], str]
) -> Scores:
    """Return the logits of a video, or the reason why there are none.

    Raises:
        ExtractionError: The logits are NaN or infinite, and dataset.on_error is raise.
    """
    (number, crops), frames = item
    if frames.missing:
        return frames.missing
    scores = scorer(frames.frames, frames.clip_frames, crops)
    broken = describe_broken(scores)
    if not broken:
        return scores
    cause = f"{path_of(number)}: {broken}"
    if config.dataset.on_error == "skip":
        return cause
    raise ExtractionError(
        f"{cause}: {config.eva_model} may have diverged (train with a lower optimizer.base_learning_rate), or mixed "
        "precision overflows (optimizer.amp=off); dataset.on_error=skip counts such videos as missing"
    )


def score_pending(folder: Path, task: Task, results: Iterable[Result], *, log: logging.Logger) -> None:
    """Write the scores of this process in rounds; an error in one process stops all of them after the round.

    Args:
        folder: The folder of scores.
        task: The work of all processes.
        results: Yields the scores of this process's videos.
        log: Log of this process.

    Raises:
        ExtractionError: Some process met an error; raised on every process with the first message.
        Stopped: Some process was asked to stop.
    """
    began, remaining, scored, missing = time.monotonic(), iter(results), 0, 0
    num_rounds = math.ceil(len(task.pending) / (distributed.world_size() * _ROUND))
    with (
        PartWriter(folder, task.manifest, rank=distributed.rank()) as writer,
        tqdm(total=len(task.pending), desc="scoring", unit="video", disable=not distributed.is_main()) as bar,
    ):
        for number in range(num_rounds):
            own = _score_round(
                itertools.islice(remaining, _ROUND),
                task,
                writer=writer,
                is_last=number == num_rounds - 1,
                advance=lambda: bar.update(min(distributed.world_size(), len(task.pending) - bar.n)),
            )
            everyone = distributed.gather_objects(own)
            for note in itertools.chain.from_iterable(one.notes for one in everyone):
                log.info(note)
            if problem := next((one.problem for one in everyone if one.problem), ""):
                raise ExtractionError(problem)
            scored += sum(one.scored for one in everyone)
            missing += sum(one.missing for one in everyone)
            bar.update(scored + missing - bar.n)
            if any(one.is_to_stop for one in everyone):
                raise stopping.stopped(f"the scores of {scored} videos are saved")
    unread = f", {missing} could not be read or scored" if missing else ""
    log.info(f"{scored} videos scored in {describe_time(time.monotonic() - began)}{unread}")


def _score_round(
    results: Iterable[Result],
    task: Task,
    *,
    writer: PartWriter,
    is_last: bool,
    advance: Callable[[], object],
) -> Round:
    """Write the scores of a round; a `UserError` is returned as a message, so that all processes can raise it."""
    done = Round()
    try:
        for ((video, crops), frames), scores in results:
            done.notes += frames.notes
            if isinstance(scores, str):
                done.missing += 1
                done.notes.append(f"missing: {scores}")
                if task.missing.get(video) != scores:
                    writer.add_missing(video, crops, scores)
            else:
                writer.add(video, crops, scores)
                done.scored += 1
            advance()
            if stopping.requested():
                done.is_to_stop = True
                break
        if is_last:
            writer.flush()
    except UserError as error:
        done.problem = str(error)
    return done
