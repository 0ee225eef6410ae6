"""Compare the protocol of the final evaluation with that of training, and their accuracies.

Accuracies of different protocols are not comparable. Validation uses clips like those of training. A final evaluation
with other clips (larger ones, say) may find the same weights far worse or better, and neither number shows why. So the
result names every difference, and gives both numbers if they disagree.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from utils.config import RunConfig
from utils.config.record import list_differences
from utils.config.saved import load_saved_config
from utils.evaluation.scores import Manifest
from utils.training.epoch_lines import reached_epochs, read_epochs

CROP_NAMES = ("center", "top left", "bottom right")
# Accuracies disagree if they differ by more than this many standard deviations: by chance 1 pair in 22 does.
DEVIATIONS = 2.0
SPREAD_RULE = (
    f"{DEVIATIONS:g} sqrt(p (1-p) (1/n1 + 1/n2)), {DEVIATIONS:g} standard deviations of the difference of two binomial "
    "fractions (p: of both)"
)


@dataclass(frozen=True)
class Trained:
    """The training of the evaluated weights.

    Attributes:
        config: Configuration of the training; comparisons use the last state.
        epochs: The lines of log.jsonl, at least one.
    """

    config: RunConfig
    epochs: Sequence[Mapping[str, Any]]

    @property
    def best_epoch(self) -> int | None:
        """Epoch of the last state that the weights are from; None: its last epoch."""
        return self.epochs[-1].get("best_epoch")

    @property
    def kept(self) -> Mapping[str, Any]:
        """The line of the epoch that the weights are from."""
        last = self.epochs[-1]
        if self.best_epoch is None:
            return last
        return next(line for line in self.epochs if (line["state"], line["epoch"]) == (last["state"], self.best_epoch))

    @property
    def validation(self) -> Mapping[str, Any] | None:
        """The last line with validation up to the epoch that the weights are from; None if there is none."""
        end = self.kept["total_epoch"]
        return next(
            (line for line in reversed(self.epochs) if "eval_top1" in line and line["total_epoch"] <= end), None
        )

    @property
    def scores_heldout(self) -> bool:
        """Whether validation used a held-out part of the training list."""
        if self.config.is_search:
            return self.config.search.selection == "heldout"
        return self.config.optimizer.select == "best"


@dataclass(frozen=True)
class History:
    """What is known of the training of the evaluated weights.

    Attributes:
        trained: The training; None if unknown.
        progress: Epochs trained and epochs of the record; None for weights that the record has not trained.
        differences: 'section.key: was X, is Y' for every change of the record since training.
    """

    trained: Trained | None = None
    progress: tuple[float, float] | None = None
    differences: Sequence[str] = ()


def read_history(config: RunConfig) -> History:
    """Return what is known of the training of a record's weights; nothing for weights from elsewhere.

    Training refuses to resume with a changed record. Evaluation accepts one (with dataset.on_error=skip, say), and the
    result names the differences.

    Raises:
        UserError: log.jsonl or config.yml is corrupt.
    """
    if config.eva_model != config.weights_path:
        return History()
    epochs = read_epochs(config.run_dir)
    saved = load_saved_config(config.saved_path) if config.saved_path.exists() else config
    differences = list_differences(config, saved)
    if not epochs:
        return History(differences=differences)
    planned = saved if config.optimizer.budget.is_given else config  # saved has the epochs of the budget
    whole = planned.epochs_before(len(planned.states))
    # The epochs of a search are not known in advance.
    progress = None if config.is_search else (reached_epochs(planned, epochs[-1]), whole)
    return History(Trained(saved, epochs), progress, differences)


@dataclass(frozen=True)
class Aspect:
    """A property of the protocol in words, of training and of the final evaluation; None if unknown."""

    name: str
    training: Callable[[Trained], str | None]
    final: Callable[[Manifest], str | None]


def _pixels(side: int) -> str:
    return f"{side} pixels"


def _frames(num_segments: int, clip_length: int) -> str:
    return f"{num_segments} x {clip_length}"


def spacing(num_steps: int, frame_rate: float) -> str:
    """Return the distance between the frames of a clip in words; a frame rate of 0 is that of the video."""
    text = "consecutive" if num_steps == 1 else f"every {num_steps} frames"
    return f"{text} at {frame_rate:g} per second" if frame_rate else text


def normalization(mean: Sequence[float], std: Sequence[float]) -> str:
    """Return the mean and the standard deviation of a normalization in words."""
    return f"mean {' '.join(f'{value:g}' for value in mean)}, std {' '.join(f'{value:g}' for value in std)}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _videos_of_validation(trained: Trained) -> str | None:
    line = trained.validation
    return None if line is None else str(line["eval_videos"] + line["eval_missing"])


# The clip as the network sees it; training, validation and the final evaluation should agree.
CLIP_ASPECTS = (
    Aspect("crop size", lambda t: _pixels(t.config.states[-1].crop_size), lambda m: _pixels(m.crop_size)),
    Aspect(
        "frames",
        lambda t: _frames(t.config.states[-1].num_segments, t.config.states[-1].clip_length),
        lambda m: _frames(m.num_segments, m.clip_length),
    ),
    Aspect(
        "spacing",
        lambda t: spacing(t.config.states[-1].num_steps, t.config.sampler.frame_rate),
        lambda m: spacing(m.num_steps, m.frame_rate),
    ),
    Aspect(
        "normalization",
        lambda t: normalization(t.config.dataset.mean, t.config.dataset.std),
        lambda m: normalization(m.mean, m.std),
    ),
    Aspect("flow", lambda t: _yes(t.config.dataset.use_flow), lambda m: _yes(m.use_flow)),
    Aspect("use_fore", lambda t: _yes(t.config.dataset.use_fore), lambda m: _yes(m.use_fore)),
    Aspect("precision", lambda t: t.epochs[-1].get("precision"), lambda m: m.precision),
)
# Where the final evaluation differs from validation by design, and other causes of different accuracies.
VIEW_ASPECTS = (
    Aspect("clips", lambda _: "1 per video", lambda m: f"{m.num_clips} per video"),
    Aspect("crops", lambda _: CROP_NAMES[0], lambda m: ", ".join(CROP_NAMES[: m.num_crops])),
    Aspect(
        "list",
        lambda t: (
            "held-out part of " + t.config.dataset.list_file if t.scores_heldout else t.config.dataset.eva_list_file
        ),
        lambda m: m.list_file,
    ),
    Aspect("videos", _videos_of_validation, lambda m: str(m.num_videos)),
    Aspect(
        "folder",
        lambda t: t.config.dataset.root_path if t.scores_heldout else t.config.dataset.eva_root_path,
        lambda m: m.root_path,
    ),
    Aspect("format", lambda t: t.config.dataset.format, lambda m: m.format),
)


def differences(aspects: Sequence[Aspect], trained: Trained, manifest: Manifest) -> list[dict[str, str]]:
    """Return {what, training, here} for every aspect that differs; unknown ones are omitted."""
    found = []
    for aspect in aspects:
        before, now = aspect.training(trained), aspect.final(manifest)
        if before is not None and now is not None and before != now:
            found.append({"what": aspect.name, "training": before, "here": now})
    return found


def spread(first: float, second: float, *, videos: tuple[int, int]) -> float:
    """Return the difference of two accuracies (fractions of 1) that chance explains, see SPREAD_RULE.

    A video counts once, whatever its number of views, because the views of a video are correlated. Accuracies of the
    same videos differ less than this, so the rule is conservative.
    """
    pooled = (first * videos[0] + second * videos[1]) / sum(videos)
    return DEVIATIONS * math.sqrt(max(pooled * (1 - pooled), 0.0) * (1 / videos[0] + 1 / videos[1]))


def compare_with_validation(
    trained: Trained, manifest: Manifest, *, accuracies: Mapping[str, float], num_videos: int
) -> dict[str, Any] | None:
    """Compare a result with the last validation during training.

    Args:
        trained: The training of the weights.
        manifest: Manifest of the result's scores.
        accuracies: Top-1 accuracies of the result, fractions of 1, by name.
        num_videos: Videos of these accuracies.

    Returns:
        In plain types: the accuracies of validation, the differences in protocol, and whether each accuracy agrees;
        None if there was no validation.
    """
    line = trained.validation
    if line is None:
        return None
    validation, videos = line["eval_top1"] / 100, line["eval_videos"]
    compared = {}
    for name, accuracy in accuracies.items():
        apart = spread(validation, accuracy, videos=(videos, num_videos))
        compared[name] = {"top1": accuracy, "spread": apart, "agrees": abs(accuracy - validation) <= apart}
    differs = differences((*CLIP_ASPECTS, *VIEW_ASPECTS), trained, manifest)
    last = trained.kept["total_epoch"]
    if line["total_epoch"] != last:
        differs.append({"what": "weights", "training": f"epoch {line['total_epoch']}", "here": f"epoch {last}"})
    return {
        "epoch": line["total_epoch"],
        "videos": videos,
        "missing": line["eval_missing"],
        **{f"top{k}": line[f"eval_top{k}"] / 100 for k in (1, 3, 5)},
        "compared": compared,
        "agrees": all(one["agrees"] for one in compared.values()),
        "rule": SPREAD_RULE,
        "differs": differs,
    }
