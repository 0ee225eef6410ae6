"""The prediction loop: score, print and write one video after the other; an error affects its own video only."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

from dataset.prediction.request import Request, choose_names
from dataset.prediction.results import Results
from dataset.prediction.scoring import VideoScorer
from dataset.prediction.videos import Video, open_video
from utils.errors import UserError
from utils.evaluation.predictions import Prediction, best_guesses, describe
from utils.shortage import describe_shortage
from utils.stopping import Stopped
from utils.text import one_line, say


def predict_videos(request: Request, scorer: VideoScorer, *, names: Sequence[str]) -> list[Prediction]:
    """Score all requested videos, print and write the results; errors are printed at once and again at the end.

    Args:
        request: The videos, and the files to write.
        scorer: Scores a video.
        names: Class names stored with the weights; empty for none.

    Returns:
        The videos with errors.

    Raises:
        FileError: A file of all videos cannot be written.
    """
    names = choose_names(scorer.config, request.class_names, names)
    results, failed, done = Results(request.outputs, names, top_k=request.top_k), [], 0
    try:
        for prediction in _predict(request, scorer, results, names=names):
            results.add(prediction)
            done += 1
            if prediction.error:
                failed.append(prediction)
    except Stopped as stop:
        kept = f"{done} of {len(request.sources)} are done"
        raise Stopped(stop.signum, kept, advice="name the others, and other files for their results") from None
    if failed and len(request.sources) > 1:
        say(f"{len(failed)} of {len(request.sources)} had errors:", file=sys.stderr)
        say(*(f"  {one_line(prediction.error)}" for prediction in failed), file=sys.stderr)
    return failed


def _predict(request: Request, scorer: VideoScorer, results: Results, *, names: Sequence[str]) -> Iterator[Prediction]:
    for source in request.sources:
        try:
            video = open_video(source, max_pixels=scorer.config.dataset.max_pixels)
            prediction = _score(video, request, scorer, names=names)
        except (UserError, MemoryError, RuntimeError) as error:
            if not (problem := str(error) if isinstance(error, UserError) else describe_shortage(error)):
                raise
            path = str(source.path).encode("utf-8", "backslashreplace").decode()  # a path may be any bytes
            yield Prediction(path, error=_complain(problem))
            continue
        say(describe(prediction))
        problems = []
        for write in results.own_files(video, prediction):
            try:
                write()
            except UserError as error:
                problems.append(_complain(str(error)))
        yield replace(prediction, error="; ".join(problems))


def _score(video: Video, request: Request, scorer: VideoScorer, *, names: Sequence[str]) -> Prediction:
    """Score a video and, if an output needs them, its windows.

    Raises:
        UserError: The video cannot be read or scored.
    """
    scores = scorer.score(video)
    wanted = request.outputs.want_windows
    windows = tuple(scorer.score_windows(video, stride=request.stride)) if wanted else ()
    if len(windows) == 1:  # the window is the whole video, whose scores use all clips and crops
        windows = (replace(windows[0], scores=scores),)
    if video.damage:
        say(f"note: {video.path}: {one_line(video.damage)}", file=sys.stderr)
    return Prediction(
        str(video.path),
        video.num_frames,
        video.seconds(video.num_frames),
        best_guesses(scores, names, top_k=request.top_k),
        windows,
    )


def _complain(problem: str) -> str:
    say(f"error: {one_line(problem)}", file=sys.stderr)
    return problem
