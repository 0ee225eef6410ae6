"""Write the results of each video as soon as they are computed."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from dataset.prediction.request import Outputs
from dataset.prediction.videos import Video
from dataset.readers.video_file import decode_frames
from dataset.writers.annotated_video import write_annotated
from utils.evaluation.predictions import (
    GUESS_COLUMNS,
    SEGMENT_COLUMNS,
    Prediction,
    Window,
    as_json,
    best_guesses,
    csv_text,
    guess_rows,
    segment_rows,
)
from utils.files import append_json, append_text, write_atomically, write_text_atomically


class Results:
    """The requested output files; those for all videos are valid at any time and hold the videos that are done."""

    def __init__(self, outputs: Outputs, names: Sequence[str], *, top_k: int) -> None:
        """Create the files for all videos, without any video.

        Args:
            outputs: The outputs to write; existing files are overwritten.
            names: Class names.
            top_k: Number of classes to report.

        Raises:
            FileError: A file cannot be written.
        """
        self._outputs, self._names, self._top_k = outputs, names, top_k
        for path, text in (
            (outputs.json, "[\n]\n"),
            (outputs.csv, csv_text([GUESS_COLUMNS])),
            (outputs.segments, csv_text([SEGMENT_COLUMNS])),
        ):
            if path:
                write_text_atomically(path, text)

    def add(self, prediction: Prediction) -> None:
        """Add a video to the files for all videos.

        Raises:
            FileError: A file cannot be written.
        """
        outputs, names = self._outputs, self._names
        if outputs.json:
            append_json(outputs.json, as_json(prediction, names, top_k=self._top_k))
        if outputs.csv:
            append_text(outputs.csv, csv_text(guess_rows(prediction)))
        if outputs.segments:
            append_text(outputs.segments, csv_text(segment_rows(prediction, names)))

    def own_files(self, video: Video, prediction: Prediction) -> Iterator[Callable[[], None]]:
        """Yield a function for each output of this video alone, which writes it and may raise a UserError."""
        outputs, windows = self._outputs, prediction.windows
        if outputs.features:
            yield partial(_write_features, video, prediction, outputs.features / f"{video.name}.npy")
        if outputs.timeline and len(windows) > 1:
            target = outputs.timeline / f"{video.name}.png"
            yield partial(_draw_timeline, windows, self._names, title=video.name, target=target)
        if outputs.annotate:
            yield partial(_annotate, video, prediction, self._names, outputs.annotate / f"{video.name}.mp4")


def _write_features(video: Video, prediction: Prediction, target: Path) -> None:
    """Write the features of a video's windows, float32 [windows, channels], and a table of the windows' frames."""
    features = np.stack([window.features for window in prediction.windows]).astype(np.float32)
    rows = [
        (number, first, last, f"{video.seconds(first):.6f}", f"{video.seconds(last + 1):.6f}")
        for number, (first, last) in enumerate(window.seen for window in prediction.windows)
    ]
    write_atomically(target, lambda file: np.save(file, features))
    table = csv_text([("window", "first_frame", "last_frame", "begin", "end"), *rows])
    write_text_atomically(target.with_suffix(".csv"), table)


def _draw_timeline(windows: Sequence[Window], names: Sequence[str], *, title: str, target: Path) -> None:
    # importing matplotlib takes 0.3 s, and helpers imports this module for every script
    from utils.figures.timeline import draw_timeline

    draw_timeline(windows, names, title=title, target=target)


def _annotate(video: Video, prediction: Prediction, names: Sequence[str], target: Path) -> None:
    """Write a copy of the video with the classes of each window, or those of the video if it has one window."""
    count = len(prediction.guesses)
    of_windows = [best_guesses(window.scores, names, top_k=count) for window in prediction.windows]
    guesses = of_windows if len(of_windows) > 1 else [prediction.guesses]
    texts = [[f"{100 * guess.score:.0f} %  {guess.name}" for guess in of_window] for of_window in guesses]
    starts = [window.first_frame for window in prediction.windows] or [0]

    def lines_at(frame: int) -> list[str]:
        return texts[int(np.searchsorted(starts, frame, side="right")) - 1]

    frames = decode_frames(video.path, max_pixels=video.max_pixels)
    write_annotated(frames, target, lines_at, times=video.times, time_base=video.time_base, rate=video.rate)
