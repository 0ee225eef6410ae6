"""Score the evaluation list of a record: every clip and crop of every video, in files that merge_score.py joins.

  python extract_score_3d.py --config_file record/synthetic-dg-p3d-resnet18.yml
  torchrun --nproc_per_node=4 extract_score_3d.py --config_file record/op-kinetics-dg-p3d-resnet50.yml

Each video is decoded once; its sampler.eva_num_clips clips and dataset.eva_num_crop crops are cut from the decoded
frames on the device. The weights are network.eva_model (the record's own output/<record>/current.pth by default), the
clip has the geometry of the last state. An interrupted extraction is continued by the same command, with any number of
processes; a video is scored once. With --crop_idx one crop only is scored; merging joins the crops.

What is stored are the network's logits, in float32. A video that cannot be read, or whose logits are NaN or infinite,
stops the extraction (dataset.on_error=raise) or is recorded as missing (skip), never replaced by another one; the same
command tries missing videos again.

Written to output/<record>/scores/: manifest.json (what the scores are of) and part-*.npz. Scores of another checkpoint,
list or protocol are never mixed in: that is an error, and --force moves them and their result to
output/<record>/earlier-NNN first.
"""

import functools
import itertools
import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils import stopping
from utils.cli import distributed_parser, run_script
from utils.config import RunConfig, load_config
from utils.errors import UserError
from utils.evaluation.provenance import (
    EVALUATION_FILES,
    MERGE_SCRIPT,
    SEARCH_SCRIPT,
    TRAIN_SCRIPT,
    checkpoint_sha256,
    command_line,
    make_manifest,
    scores_folder,
    training_differences,
    training_progress,
)
from utils.evaluation.score_index import index_scores, keep_torn_part
from utils.evaluation.scores import Manifest, PartWriter, TornPartError, describe_broken, open_scores
from utils.files import move_to_earlier
from utils.lock import lock_folder

if TYPE_CHECKING:  # torch is imported once the configuration is known to be right
    from dataset.listing import VideoList
    from utils.evaluation.views import ViewScorer

VideoCrops = tuple[int, tuple[int, ...]]
# ((video and its crops, its frames), (its scores or None, why it is missing or ""))
Result = tuple[tuple[VideoCrops, Any], tuple[Any, str]]
# Videos that each process scores before all of them compare notes: how far they are, and whether one met an error.
_ROUND = 16


class ExtractionError(UserError):
    """An extraction that cannot go on."""


@dataclass(frozen=True)
class Task:
    """What rank 0 found to be done.

    Attributes:
        manifest: What the scores are of.
        pending: Videos and, of each, the crops to score.
        missing: Why videos were recorded as missing before.
    """

    manifest: Manifest
    pending: list[VideoCrops]
    missing: dict[int, str]


@dataclass
class Round:
    """What one process did in a round."""

    scored: int = 0
    missing: int = 0
    notes: list[str] = field(default_factory=list)
    problem: str = ""
    is_to_stop: bool = False


def main() -> None:
    """Parse, then extract."""
    parser = distributed_parser(__doc__)
    parser.add_argument("--crop_idx", type=int, metavar="i", help="score this crop only, 0 .. dataset.eva_num_crop-1")
    arguments = parser.parse_intermixed_args()
    config_file, overrides = arguments.config_file, arguments.overrides
    config = load_config(config_file, overrides)
    extract(
        config,
        crops=choose_crops(config, arguments.crop_idx),
        force=arguments.force,
        trained_by=command_line(SEARCH_SCRIPT if config.is_search else TRAIN_SCRIPT, config_file, overrides),
        merged_by=command_line(MERGE_SCRIPT, config_file, overrides),
    )


def choose_crops(config: RunConfig, crop_idx: int | None) -> tuple[int, ...]:
    """Return the crops to score: one, or all of the record."""
    count = config.dataset.eva_num_crop
    if crop_idx is None:
        return tuple(range(count))
    if not 0 <= crop_idx < count:
        raise ExtractionError(f"--crop_idx {crop_idx}: dataset.eva_num_crop is {count}, the crops are 0..{count - 1}")
    return (crop_idx,)


def extract(config: RunConfig, *, crops: tuple[int, ...], force: bool, trained_by: str, merged_by: str) -> None:
    """Score what has no score yet.

    Args:
        config: The record.
        crops: The crops to score.
        force: Move earlier scores and results aside first.
        trained_by: The command that makes the weights, for messages.
        merged_by: The command that comes next, for messages.
    """
    import helpers
    from dataset.build import make_views_loader, read_evaluation_list
    from model.build import describe_network, make_trained_network, place_network
    from utils import distributed
    from utils.evaluation.views import score_ahead
    from utils.logs import open_log
    from utils.text import describe_time

    with distributed.session() as device, distributed.hold_on_main(lambda: lock_folder(config.run_dir)):
        videos = read_evaluation_list(config)
        precision = helpers.choose_precision(config, device)
        log = open_log(config.run_dir, "extract")
        task = distributed.decide_on_main(
            lambda: _plan(
                config, videos, crops=crops, precision=precision.name, force=force, trained_by=trained_by, log=log
            )
        )
        if not task.pending:
            log.info(f"all scores are there: {scores_folder(config)}; merge them with: {merged_by}")
            return
        network = distributed.agree(lambda: make_trained_network(config, config.eva_model))
        network = place_network(config, network, device, dtype=precision.dtype).eval()
        log.info(
            f"{config.name}: {describe_network(config, network)}, {config.eva_model}; {len(task.pending)} of "
            f"{len(videos)} videos x {config.sampler.eva_num_clips} clips x {len(crops)} crops to score, "
            f"{device.type}, {precision}"
        )
        scorer = helpers.make_view_scorer(config, network=network, dtype=precision.dtype, device=device)
        share = task.pending[distributed.rank() :: distributed.world_size()]
        loader = make_views_loader(config, videos=videos, indices=[video for video, _ in share])
        began = time.monotonic()
        score = functools.partial(_score, scorer, config=config, videos=videos)
        results = score_ahead(zip(share, loader, strict=True), score, device=device)
        total = score_pending(scores_folder(config), task, results, log=log)
        missing = f", {total.missing} could not be read or scored" if total.missing else ""
        log.info(f"{total.scored} videos scored in {describe_time(time.monotonic() - began)}{missing}")
        log.info(f"scores: {scores_folder(config)}; merge them with: {merged_by}")


def _plan(
    config: RunConfig,
    videos: "VideoList",
    *,
    crops: tuple[int, ...],
    precision: str,
    force: bool,
    trained_by: str,
    log: logging.Logger,
) -> Task:
    """Open the folder of scores and find what is lacking in it; torn parts are set aside."""
    manifest = make_manifest(
        config,
        list_sha256=videos.sha256,
        num_videos=len(videos),
        checkpoint_sha256=checkpoint_sha256(config, trained_by=trained_by),
        precision=precision,
    )
    if force and (earlier := move_to_earlier(config.run_dir, EVALUATION_FILES)) is not None:
        log.info(f"moved the earlier scores and results to {earlier}")
    progress = training_progress(config)
    if progress and progress[0] < progress[1]:
        log.info(f"the training is not complete: {progress[0]} of {progress[1]} epochs")
    for difference in training_differences(config):
        log.info(f"the weights were trained with another configuration: {difference}")
    folder = scores_folder(config)
    manifest = open_scores(folder, manifest)

    def set_aside(path: Path, error: TornPartError) -> None:
        log.info(f"{error}; kept as {keep_torn_part(path).name}, its videos are scored again")

    index = index_scores(folder, manifest, on_torn=set_aside)
    pending = index.pending(crops)
    if pending and len(pending) < len(videos):
        log.info(f"continuing: {len(videos) - len(pending)} of {len(videos)} videos have their scores")
    return Task(manifest, pending, index.missing)


def _score(
    scorer: "ViewScorer", item: tuple[VideoCrops, Any], *, config: RunConfig, videos: "VideoList"
) -> tuple[Any, str]:
    """Return (a video's scores, ""), or (None, why it has none).

    Raises:
        ExtractionError: its logits are NaN or infinite, and such videos are not to be skipped.
    """
    (number, crops), frames = item
    if frames.missing:
        return None, frames.missing
    scores = scorer(frames.frames, frames.clip_frames, crops)
    broken = describe_broken(scores)
    if not broken:
        return scores, ""
    cause = f"{videos[number].path}: {broken}"
    if config.dataset.on_error == "skip":
        return None, cause
    raise ExtractionError(
        f"{cause}: {config.eva_model} may have diverged (train with a lower optimizer.base_learning_rate), or mixed "
        "precision overflows (optimizer.amp=off); dataset.on_error=skip counts such videos as missing"
    )


def score_pending(
    folder: Path,
    task: Task,
    results: Iterable[Result],
    *,
    log: logging.Logger,
) -> Round:
    """Write this process's share, a round at a time; an error of one process stops all of them after the round.

    What has been scored until then is written, so that the same command goes on from there.

    Args:
        folder: The folder of scores.
        task: What all processes together have to do.
        results: Of this process's share.
        log: Of this process.

    Returns:
        The counts over all processes.

    Raises:
        ExtractionError: on every process, with the first message of any.
        Stopped: one of them was asked to stop.
    """
    from tqdm import tqdm

    from utils import distributed

    processes = distributed.world_size()
    remaining, total = iter(results), Round()
    num_rounds = math.ceil(len(task.pending) / (processes * _ROUND))
    with (
        stopping.deferred(),
        PartWriter(folder, task.manifest, rank=distributed.rank()) as writer,
        tqdm(total=len(task.pending), desc="scoring", unit="video", disable=not distributed.is_main()) as bar,
    ):
        for number in range(num_rounds):
            own = _score_round(
                itertools.islice(remaining, _ROUND),
                task,
                writer=writer,
                is_last=number == num_rounds - 1,
                advance=lambda: bar.update(min(processes, len(task.pending) - bar.n)),
            )
            for one in distributed.gather_objects(own):
                total.scored += one.scored
                total.missing += one.missing
                total.problem = total.problem or one.problem
                total.is_to_stop |= one.is_to_stop
                for note in one.notes:
                    log.info(note)
            if total.problem:
                raise ExtractionError(total.problem)
            bar.update(total.scored + total.missing - bar.n)
            if total.is_to_stop:
                raise stopping.stopped(f"{total.scored} videos scored since the start are kept")
    return total


def _score_round(
    results: Iterable[Result],
    task: Task,
    *,
    writer: PartWriter,
    is_last: bool,
    advance: Callable[[], object],
) -> Round:
    """Write some videos' scores; a user's mistake is returned, so that the other processes hear of it."""
    done = Round()
    try:
        for ((video, crops), frames), (scores, missing) in results:
            done.notes += frames.notes
            if missing:
                done.missing += 1
                done.notes.append(f"missing: {missing}")
                if task.missing.get(video) != missing:
                    writer.add_missing(video, crops, missing)
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


if __name__ == "__main__":
    run_script(main)
