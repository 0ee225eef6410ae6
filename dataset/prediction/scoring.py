"""Score a video: as a whole, with the record's evaluation protocol, and window by window."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from dataset.build import make_video_views
from dataset.listing import VideoRecord, list_of
from dataset.prediction.request import PredictionError, Stride
from dataset.prediction.videos import Place, Video, place_windows
from dataset.sampling import spread_clips
from dataset.video_dataset import VideoFrames, VideoViews
from utils.config import RunConfig
from utils.evaluation.predictions import Window
from utils.evaluation.scores import describe_broken
from utils.evaluation.views import ViewScorer, score_ahead
from utils.metrics import probabilities

# Windows are read in groups of about this many frames, so that frames of overlapping windows are decoded once.
_FRAMES_AT_ONCE = 256


@dataclass(frozen=True)
class VideoScorer:
    """Scores video files with a network.

    Attributes:
        config: The record.
        views: Scores the views of a video: logits, followed by features if wanted.
    """

    config: RunConfig
    views: ViewScorer

    def score(self, video: Video) -> NDArray[np.floating]:
        """Return the probabilities of a video, float [classes]: the mean over the clips and crops of the record.

        Raises:
            ReadError: The video cannot be read.
            PredictionError: A logit is NaN or infinite.
        """
        scores, _ = self._score(video, self._reader(video)[0], crops=tuple(range(self.config.dataset.eva_num_crop)))
        return scores.mean(axis=(0, 1))

    def score_windows(self, video: Video, *, stride: Stride | None) -> Iterator[Window]:
        """Score the windows of a video, each as long as a clip, by its center crop.

        Raises:
            ReadError: The video cannot be read.
            PredictionError: A logit is NaN or infinite.
        """
        shape = self.config.clip_shape(self.config.evaluation_state)
        span, reader = shape.num_segments * shape.span, self._reader(video)
        ticks = reader.ticks(reader.videos[0])
        counted = video.at_rate(shape.frame_rate, num_ticks=len(ticks)) if shape.frame_rate else video
        places = list(place_windows(counted, span, stride=stride))
        groups = [list(group) for _, group in groupby(places, key=lambda place: place.first // _FRAMES_AT_ONCE)]
        length = min(span, len(ticks))
        clip = spread_clips(length, shape, num_clips=1)[0]
        read = (_read(reader, ticks, group, clip) for group in groups)
        results = score_ahead(read, lambda frames: self._score(video, frames, crops=(0,)), device=self.views.device)
        for group, (_, (scores, features)) in zip(groups, results, strict=True):
            for place, score, feature in zip(group, scores[:, 0], features[:, 0], strict=True):
                begin, end = counted.seconds(place.begin), counted.seconds(place.end)
                begin_frame, first, last = ticks[[place.begin, place.first, place.first + length - 1]].tolist()
                yield Window(begin, end, begin_frame, score, (first, last), feature)

    def _reader(self, video: Video) -> VideoViews:
        """Return the dataset that reads the views of one video; an unreadable video raises a ReadError."""
        data = replace(self.config.dataset, format="RAW", eva_root_path="/", on_error="raise", picture_rate=0.0)
        record = VideoRecord(str(video.path.resolve()), video.num_frames, 0)
        return make_video_views(replace(self.config, dataset=data), videos=list_of([record], path="command line"))

    def _score(
        self, video: Video, frames: VideoFrames, *, crops: tuple[int, ...]
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Return probabilities [clips, crops, classes] and features [clips, crops, channels or 0 if not wanted]."""
        scores = self.views(frames.frames, frames.clip_frames, crops)
        if broken := describe_broken(scores):
            raise PredictionError(f"{video.path}: {broken}; the weights or their precision are broken")
        logits, features = np.split(scores, [self.config.dataset.num_classes], axis=2)
        return probabilities(logits), features


def _read(reader: VideoViews, ticks: NDArray[np.int64], places: list[Place], clip: NDArray[np.int64]) -> VideoFrames:
    """Read the windows at some places; `clip` holds the ticks of a window relative to its first, int64 [T]."""
    firsts = np.array([place.first for place in places])
    frames, rows = reader.read_clips(reader.videos[0], ticks[firsts[:, None] + clip])
    return VideoFrames(0, 0, frames, rows, "", ())
