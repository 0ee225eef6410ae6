"""Build lists, readers, transforms and loaders from a configuration."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from dataset.heldout import split_heldout
from dataset.listing import FRAME_RATE, VideoList, read_class_names, read_fingerprint, read_list
from dataset.loading import VideoLoader
from dataset.readers import FrameReader, open_reader
from dataset.transforms.label_flip import make_label_flip, mirrored_labels
from dataset.transforms.normalization import ClipNormalizer
from dataset.transforms.recipes import build_train_transform
from dataset.video_dataset import EvaluationClips, TrainingClips, VideoFrames, VideoViews, collate_clips, worker_init
from utils import distributed
from utils.config import ConfigError, RunConfig, StateConfig
from utils.training.balance import class_weights, make_order
from utils.training.batches import EpochBatches, StepPlan, plan_steps

Transform = Callable[[np.ndarray, np.random.Generator], np.ndarray]

LIST_HINT = "make it with python -m dataset.prepare or set the key to yours; docs/data says how for each data set"
EMBEDDED_HINT = "run.sh makes it, and so does python -m dataset.synthetic.embedded with the same --config_file"


def read_training_list(config: RunConfig) -> VideoList:
    """Read and validate the training list."""
    return _read_list(config, "list_file")


def read_evaluation_list(config: RunConfig) -> VideoList:
    """Read and validate the evaluation list."""
    return _read_list(config, "eva_list_file")


def _read_list(config: RunConfig, key: str) -> VideoList:
    data = config.dataset
    is_embedded = data.embedded and Path(getattr(data, key)).parent == Path(data.root_path)
    hint = EMBEDDED_HINT if is_embedded else LIST_HINT
    path, rate = config.require_file("dataset", key, hint=hint), data.picture_rate
    made_with = read_fingerprint(path).get(FRAME_RATE, rate) if config.sampler.frame_rate and rate else rate
    if made_with != rate:
        found = f"found {rate:g}, but the videos of {path} were made with {made_with:g}"
        raise ConfigError(f"{config.sources['dataset.picture_rate']}: dataset.picture_rate: {found} frames per second")
    return read_list(path, num_classes=config.dataset.num_classes)


def read_lists(config: RunConfig) -> tuple[VideoList, VideoList | None]:
    """Return the training videos and those of validation, which are None without one."""
    training, settings = read_training_list(config), config.optimizer
    if not settings.eva_inter:
        return training, None
    evaluation = read_evaluation_list(config)  # always: an invalid list must fail now, not after the training
    if settings.select == "last":
        return training, evaluation
    fraction, seed = settings.heldout_fraction, settings.heldout_seed
    return split_heldout(training, fraction=fraction, seed=seed, otherwise="optimizer.select=last")


def read_search_lists(config: RunConfig) -> tuple[VideoList, VideoList]:
    """Return the videos that a search trains on and those that score its states.

    A budgeted search scores at most `search.readout_videos` videos, spread evenly over the list.
    """
    training, search = read_training_list(config), config.search
    if search.selection == "heldout":
        training, scoring = split_heldout(training, fraction=search.heldout_fraction, seed=search.heldout_seed)
    else:
        scoring = read_evaluation_list(config)
    if search.policy != "released" and len(scoring) > search.readout_videos:
        scoring = scoring.subset(np.linspace(0, len(scoring) - 1, search.readout_videos).round().astype(np.int64))
    return training, scoring


def make_reader(config: RunConfig, root_path: str) -> FrameReader:
    """Return a reader for the format of the dataset."""
    data = config.dataset
    return open_reader(
        data.format, root_path, use_flow=data.use_flow, max_pixels=data.max_pixels, picture_rate=data.picture_rate
    )


def make_normalizer(config: RunConfig) -> ClipNormalizer:
    """Return the on-device conversion from uint8 clips to network input."""
    return ClipNormalizer(config.normalization, use_fore=config.dataset.use_fore)


def make_transform(config: RunConfig, state_index: int) -> Transform:
    """Return the augmentation of a state's clips.

    With `dataset.flip_labels` it never flips: LabelFlip mirrors clip and label together.
    """
    data = config.dataset
    return build_train_transform(
        data.transform_type,
        crop_size=config.states[state_index].crop_size,
        ra_n=data.ra_n,
        ra_m=data.ra_m,
        horizontal_flip=not (data.no_horizontal_flip or data.flip_labels),
        use_flow=data.use_flow,
        crop_scale=(data.crop_scale[0], data.crop_scale[1]) if data.crop_scale else None,
        normalization=config.normalization,
    )


def make_training_clips(
    config: RunConfig, state_index: int, *, videos: VideoList, reader: FrameReader, transform: Transform
) -> TrainingClips:
    """Return the training dataset of a state."""
    state, data = config.states[state_index], config.dataset
    names = read_class_names(data.list_file, data.num_classes) if data.flip_labels else []
    return TrainingClips(
        videos,
        reader,
        transform,
        shape=config.clip_shape(state),
        seed=(config.optimizer.seed, state_index),
        on_error=data.on_error,
        label_flip=make_label_flip(names, source=data.list_file, use_flow=data.use_flow) if names else None,
    )


def make_class_weights(config: RunConfig, videos: VideoList) -> torch.Tensor | None:
    """Return the loss weight of each class, float32 [classes]; None for an unweighted loss."""
    data, rule = config.dataset, config.optimizer.class_weights
    if rule == "none":
        return None
    counts = np.bincount(videos.labels, minlength=data.num_classes).astype(np.float64)
    if data.flip_labels:  # half of the clips of a class are those of its mirror image
        names = read_class_names(data.list_file, data.num_classes)
        counts = (counts + counts[list(mirrored_labels(names, source=data.list_file))]) / 2
    return torch.tensor(class_weights(counts, rule), dtype=torch.float32)


def make_plan(config: RunConfig, state_index: int) -> StepPlan:
    """Return how the batches of a state are divided among the processes of this run."""
    state = config.states[state_index]
    return plan_steps(
        batch_size=state.batch_size,
        iter_size=state.iter_size,
        num_gpu=config.optimizer.num_gpu,
        world_size=distributed.world_size(),
    )


def make_plans(config: RunConfig) -> list[StepPlan]:
    """Return the step plan of every state."""
    return [make_plan(config, index) for index in range(len(config.states))]


def make_training_loader(
    config: RunConfig, state_index: int, *, videos: VideoList, plan: StepPlan
) -> tuple[VideoLoader, EpochBatches]:
    """Return the loader of a state's micro-batches on this rank, and its batch sampler, which sets the epoch."""
    reader = make_reader(config, config.dataset.root_path)
    transform = make_transform(config, state_index)
    clips = make_training_clips(config, state_index, videos=videos, reader=reader, transform=transform)
    batches = EpochBatches(
        len(videos),
        plan,
        rank=distributed.rank(),
        seed=(config.optimizer.seed, state_index),
        order=make_order(videos.labels, config.sampler.balance),
    )
    return _make_loader(config, clips, batches), batches


def make_validation_loader(config: RunConfig, state: StateConfig, *, videos: VideoList, root_path: str) -> VideoLoader:
    """Return the loader of validation: one clip, center crop, of every video of this rank.

    `state` gives the clip's shape, the crop size and the batch size.
    """
    clips = EvaluationClips(
        videos,
        make_reader(config, root_path),
        crop_size=state.crop_size,
        shape=config.clip_shape(state),
        on_error=config.dataset.on_error,
    )
    own = range(distributed.rank(), len(videos), distributed.world_size())
    batches = [list(own[i : i + state.batch_size]) for i in range(0, len(own), state.batch_size)]
    return _make_loader(config, clips, batches)


def _make_loader(
    config: RunConfig, clips: TrainingClips | EvaluationClips, batches: EpochBatches | list[list[int]]
) -> VideoLoader:
    workers = config.dataset.num_workers
    return VideoLoader(
        clips,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate_clips,
        worker_init_fn=worker_init,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def make_video_views(config: RunConfig, *, videos: VideoList) -> VideoViews:
    """Return the dataset of the final evaluation: of each video its unique frames, and the rows of each clip."""
    data = config.dataset
    return VideoViews(
        videos,
        make_reader(config, data.eva_root_path),
        short_side=data.eva_crop_size,
        num_clips=config.sampler.eva_num_clips,
        shape=config.clip_shape(config.evaluation_state),
        on_error=data.on_error,
    )


def make_views_loader(config: RunConfig, *, videos: VideoList, indices: Sequence[int]) -> VideoLoader:
    """Return the loader of the final evaluation: one item per video."""
    return VideoLoader(
        make_video_views(config, videos=videos),
        sampler=indices,
        batch_size=None,  # an item is a whole video; its clips are batched on the device
        num_workers=config.dataset.num_workers,
        collate_fn=_identity,
        worker_init_fn=worker_init,
        prefetch_factor=1 if config.dataset.num_workers else None,  # a long video's frames may be hundreds of megabytes
    )


def _identity(video: VideoFrames) -> VideoFrames:
    return video
