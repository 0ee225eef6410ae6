"""Say what videos show: the best classes of each, with their scores.

  python predict_3d.py --config_file record/X.yml --weights output/X/current.pth video.mp4
  python predict_3d.py --config_file record/X.yml videos/ --json out.json --annotate annotated --timeline timeline

A video is scored as in the evaluation of the record: sampler.eva_num_clips clips, dataset.eva_num_crop crops, mean of
their probabilities (softmax of the logits). --timeline and --annotate score a long video window by window too (a window
is as long as a clip, centre crop). A folder stands for all videos below it. Without --weights the record's own are
taken. A word of the form section.key=value changes a value of the record. No GPU is needed.

A file that cannot be read is named in a line, the others are done, and the exit code is 1. Nothing is overwritten.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from dataset.listing import read_class_names
from utils.cli import run_script
from utils.config import RunConfig, load_config
from utils.config.schema import SECTIONS
from utils.errors import UserError
from utils.evaluation.predictions import Prediction, Window, best_guesses, describe, write_csv, write_json
from utils.evaluation.scores import describe_broken
from utils.metrics import probabilities
from utils.text import say

if TYPE_CHECKING:  # torch is imported once the command line and the record are known to be right
    import numpy as np

    from dataset.video_dataset import VideoFrames
    from utils.evaluation.views import ViewScorer

DEFAULT_RATE = 25  # frames a second where a file does not say


class PredictionError(UserError):
    """Something that no prediction can be made of, or written to."""


@dataclass(frozen=True)
class Video:
    """A video file: `name` is what its results are called, `times` the seconds of its frames, float64 [num_frames]."""

    path: Path
    name: str
    num_frames: int
    times: "np.ndarray"
    rate: Fraction
    damage: str


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; `inputs` are files and folders, `overrides` changes of the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="+", metavar="VIDEO|FOLDER|section.key=value", help="what to look at")
    parser.add_argument("--config_file", required=True, type=Path, metavar="record/X.yml", help="the network's record")
    parser.add_argument("--weights", help="this project's or released names (default: what the record has trained)")
    parser.add_argument("--top_k", type=int, default=5, help="classes to name (5)")
    parser.add_argument(
        "--classes", type=Path, help="class names, one a line (default: those beside the record's list)"
    )
    parser.add_argument("--json", type=Path, help="write all results to this file")
    parser.add_argument("--csv", type=Path, help="write the classes as a table to this file")
    parser.add_argument("--annotate", type=Path, metavar="FOLDER", help="write copies of the videos with their classes")
    parser.add_argument("--timeline", type=Path, metavar="FOLDER", help="draw the scores of long videos over time")
    arguments = parser.parse_intermixed_args(words)
    is_override = {word: _is_override(word) for word in arguments.inputs}
    arguments.overrides = [word for word in arguments.inputs if is_override[word]]
    arguments.inputs = [Path(word) for word in arguments.inputs if not is_override[word]]
    if not arguments.inputs:
        parser.error("no video and no folder to look at")
    if arguments.top_k < 1:
        parser.error(f"--top_k {arguments.top_k}: must be at least 1")
    return arguments


def _is_override(word: str) -> bool:
    return word.partition(".")[0] in SECTIONS and "=" in word and not Path(word).exists()


def main(words: Sequence[str] | None = None) -> None:
    """Parse, then predict."""
    arguments = parse_arguments(words)
    weights = [f"network.eva_model={json.dumps(arguments.weights)}"] if arguments.weights else []
    config = load_config(arguments.config_file, [*arguments.overrides, *weights])
    if config.dataset.use_flow:
        raise PredictionError(f"{config.name} looks at optical flow (dataset.use_flow), which no video file holds")
    if not config.eva_model.is_file():
        raise PredictionError(f"no weights: {config.eva_model} is not there; train {config.name}, or give --weights")
    names = _class_names(config, arguments.classes)
    inputs = list(_find(arguments.inputs))
    _require_new(arguments, [name for _, name, _ in inputs])
    predictions = list(predict(config, inputs, names, arguments))
    if arguments.json:
        write_json(arguments.json, predictions, names, top_k=arguments.top_k)
    if arguments.csv:
        write_csv(arguments.csv, predictions)
    if any(prediction.error for prediction in predictions):
        sys.exit(1)


def _class_names(config: RunConfig, classes: Path | None) -> list[str]:
    data = config.dataset
    if classes is None:
        numbers = [str(number) for number in range(data.num_classes)]
        found = (read_class_names(path, data.num_classes) for path in (data.eva_list_file, data.list_file))
        return next((names for names in found if names != numbers), numbers)
    from dataset.prepare.annotations import read_class_file

    names = list(read_class_file(classes))
    if len(names) != data.num_classes:
        raise PredictionError(f"{classes}: {len(names)} names for dataset.num_classes {data.num_classes}")
    return names


def _find(inputs: Sequence[Path]) -> Iterator[tuple[Path, str, str]]:
    """Each file with the name of its results (a path below any output folder), and what is wrong with it."""
    from dataset.prepare.finding import describe_left_out, find_videos

    for path in inputs:
        if not path.is_dir():
            yield path, path.name, ""
            continue
        found = find_videos(path)
        for line in describe_left_out(found.left_out):
            say(f"{path}: {line}", file=sys.stderr)
        if not found.videos:
            yield path, path.name, f"{path}: no video in this folder"
        yield from ((path / video, video, "") for video in found.videos)


def _require_new(arguments: argparse.Namespace, names: Sequence[str]) -> None:
    """Refuse to overwrite results, and two videos whose results have the same name."""
    targets = [path for path in (arguments.json, arguments.csv) if path]
    for folder, suffix in ((arguments.annotate, ".mp4"), (arguments.timeline, ".png")):
        targets += [folder / f"{name}{suffix}" for name in names] if folder else []
    for target in targets:
        if target.exists():
            raise PredictionError(f"{target} is there already; choose another name")
        if targets.count(target) > 1:
            raise PredictionError(f"two of the videos are called {target.stem}; their results would be one file")


def predict(
    config: RunConfig, inputs: Sequence[tuple[Path, str, str]], names: Sequence[str], arguments: argparse.Namespace
) -> Iterator[Prediction]:
    """Predict one video after the other, and print what comes out; what cannot be read is named on stderr."""
    import torch

    import helpers
    from model.build import make_trained_network, place_network

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = make_trained_network(config, config.eva_model)
    precision = helpers.choose_precision(config, device)
    if precision.notice:
        print(f"scores in {precision}", file=sys.stderr, flush=True)
    network = place_network(config, network, device, dtype=precision.dtype).eval()
    scorer = helpers.make_view_scorer(config, network=network, dtype=precision.dtype, device=device)
    for path, name, problem in inputs:
        try:
            if problem:
                raise PredictionError(problem)
            prediction = _predict_video(config, open_video(path, name), scorer, names, arguments)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            yield Prediction(_printable(path), error=str(error))
            continue
        print(describe(prediction), flush=True)
        yield prediction


def _printable(path: Path) -> str:
    """The path in UTF-8, whatever bytes it has."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def open_video(path: Path, name: str) -> Video:
    """Count a video's frames.

    Raises:
        ReadError: it cannot be read.
        PredictionError: its name is not UTF-8.
    """
    import numpy as np

    from dataset.readers.video_file import VideoFile
    from dataset.readers.video_index import build_index, frame_times

    if _printable(path) != str(path):
        raise PredictionError(f"{_printable(path)}: its name is not UTF-8; rename it")
    with VideoFile(path) as file:
        index, rate = build_index(file), Fraction(file.frame_rate or DEFAULT_RATE)
        known = index.pts is not None or file.frame_rate is not None
        times = frame_times(file, index) if known else np.arange(index.num_frames) / float(rate)
    return Video(path, name, index.num_frames, times, rate, index.damage)


def _predict_video(
    config: RunConfig, video: Video, scorer: "ViewScorer", names: Sequence[str], arguments: argparse.Namespace
) -> Prediction:
    """Score a video and write what was asked for."""
    from dataset.listing import VideoRecord

    whole = VideoRecord(str(video.path.resolve()), video.num_frames, 0)
    crops = tuple(range(config.dataset.eva_num_crop))
    scores = next(_scores(config, [whole], scorer, crops=crops, clips=config.sampler.eva_num_clips))
    if video.damage:
        print(f"note: {video.path}: only {video.num_frames} frames can be decoded ({video.damage})", file=sys.stderr)
    windows: tuple[Window, ...] = ()
    if arguments.timeline or arguments.annotate:
        windows = tuple(_windows(config, video, scorer))
    prediction = Prediction(
        str(video.path),
        video.num_frames,
        float(video.times[-1] + 1 / video.rate),
        best_guesses(scores, names, top_k=arguments.top_k),
        windows,
    )
    if arguments.timeline and windows:
        from utils.figures.style import save_figure
        from utils.figures.timeline import timeline_figure

        target = arguments.timeline / f"{video.name}.png"
        save_figure(timeline_figure(windows, names, title=video.name), target)
    if arguments.annotate:
        _annotate(video, prediction, names, arguments.annotate / f"{video.name}.mp4")
    return prediction


def _scores(
    config: RunConfig, records: Sequence, scorer: "ViewScorer", *, crops: tuple[int, ...], clips: int
) -> "Iterator[np.ndarray]":
    """Probabilities, float [classes], of videos or segments, each the mean over clips and crops.

    Raises:
        PredictionError: a logit of one is NaN or infinite.
    """
    from dataset.build import make_views_loader
    from dataset.listing import list_of
    from utils.evaluation.views import score_ahead

    own = replace(
        config,
        dataset=replace(config.dataset, format="RAW", eva_root_path="/", num_workers=0, on_error="raise"),
        sampler=replace(config.sampler, eva_num_clips=clips),
    )
    videos = list_of(records, path="command line")
    loader = make_views_loader(own, videos=videos, indices=range(len(records)))

    def score(video: "VideoFrames") -> "np.ndarray":
        logits = scorer(video.frames, video.clip_frames, crops)
        if broken := describe_broken(logits):
            raise PredictionError(f"{videos[video.video].path}: {broken}; the weights or their precision are broken")
        return probabilities(logits).mean(axis=(0, 1))

    for _, scores in score_ahead(loader, score, device=scorer.device):
        yield scores


def _windows(config: RunConfig, video: Video, scorer: "ViewScorer") -> Iterator[Window]:
    """Score a video piece by piece, one after the other, if it has room for two; the last may overlap the one before.

    A window is as long as the evaluation's clip.
    """
    from dataset.listing import VideoRecord, segment_path

    shape = config.evaluation_state.clip_shape
    span = shape.num_segments * shape.span
    if video.num_frames < 2 * span:
        return
    starts = list(range(0, video.num_frames - span + 1, span))
    if starts[-1] + span < video.num_frames:
        starts.append(video.num_frames - span)
    path = str(video.path.resolve())
    records = [VideoRecord(segment_path(path, start), span, 0) for start in starts]
    end_of_video = float(video.times[-1] + 1 / video.rate)
    scores = _scores(config, records, scorer, crops=(0,), clips=1)
    begin = 0.0
    for start, score in zip(starts, scores, strict=True):
        last = start + span
        end = float(video.times[last]) if last < video.num_frames else end_of_video
        yield Window(begin, end, start, score)
        begin = end


def _annotate(video: Video, prediction: Prediction, names: Sequence[str], target: Path) -> None:
    """Write a copy of the video with the classes of its windows, or of the whole of a short one."""
    import numpy as np

    from dataset.writers.annotated_video import write_annotated

    count = len(prediction.guesses)
    texts = [
        [f"{100 * guess.score:.0f} %  {guess.name}" for guess in guesses]
        for guesses in (
            [best_guesses(window.scores, names, top_k=count) for window in prediction.windows] or [prediction.guesses]
        )
    ]
    starts = [window.first_frame for window in prediction.windows] or [0]

    def lines_at(frame: int) -> list[str]:
        return texts[int(np.searchsorted(starts, frame, side="right")) - 1]

    write_annotated(video.path, target, lines_at, rate=video.rate)


if __name__ == "__main__":
    run_script(main)
