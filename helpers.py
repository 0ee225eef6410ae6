"""Composition root: sections of a configuration become wired objects. No loops over data, no maths, no file formats.

Only this module knows both the configuration and the classes of dataset, layers and model.
"""

import functools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import model
from dataset.heldout import split_heldout
from dataset.listing import VideoList, read_class_names, read_list
from dataset.loading import VideoLoader
from dataset.readers import FrameReader, open_reader
from dataset.transforms.label_flip import make_label_flip
from dataset.transforms.mixing import MixUp
from dataset.transforms.normalization import ClipNormalizer
from dataset.transforms.recipes import build_train_transform, crop_position
from dataset.video_dataset import EvaluationClips, TrainingClips, VideoFrames, VideoViews, collate_clips, worker_init
from layers.channels_last import use_channels_last
from layers.convolution_check import recall_bf16_fault
from layers.losses import LABEL_SMOOTHING, HeadsLoss
from layers.norm import set_frozen_batch_norm
from utils import distributed
from utils.config import RunConfig, StateConfig
from utils.evaluation.views import ViewScorer
from utils.search.explore import EdgeExplorer, SearchJournal
from utils.search.result import SEARCH_FOLDER
from utils.training.averaging import WeightAverage
from utils.training.batches import EpochBatches, StepPlan, plan_steps
from utils.training.engine import Learner
from utils.training.optimizer import make_optimizer
from utils.training.precision import Precision, make_scaler, resolve_precision
from utils.training.schedule import Schedule
from utils.training.state import StateTrainer
from utils.training.weight_files import read_fitting_weights

Transform = Callable[[np.ndarray, np.random.Generator], np.ndarray]

LIST_HINT = "make it with python -m dataset.prepare or set the key to yours; docs/data says how for each data set"
WEIGHTS_HINT = "put the file there or set the key to yours (network.pretrained_model= for random weights)"


def read_training_list(config: RunConfig) -> VideoList:
    """Read and validate the training list."""
    path = config.require_file("dataset", "list_file", hint=LIST_HINT)
    return read_list(path, num_classes=config.dataset.num_classes)


def read_evaluation_list(config: RunConfig) -> VideoList:
    """Read and validate the evaluation list."""
    path = config.require_file("dataset", "eva_list_file", hint=LIST_HINT)
    return read_list(path, num_classes=config.dataset.num_classes)


def read_quick_list(config: RunConfig) -> VideoList | None:
    """Read the list of the quick evaluation while training; None when there is none."""
    return read_evaluation_list(config) if config.optimizer.eva_inter else None


def read_search_lists(config: RunConfig) -> tuple[VideoList, VideoList]:
    """Read the videos a search trains on and those that score its states."""
    videos, search = read_training_list(config), config.search
    if search.selection == "heldout":
        return split_heldout(videos, fraction=search.heldout_fraction, seed=search.heldout_seed)
    return videos, read_evaluation_list(config)


def make_reader(config: RunConfig, root_path: str) -> FrameReader:
    """Return the reader of the data set's format."""
    return open_reader(config.dataset.format, root_path, use_flow=config.dataset.use_flow)


def make_normalizer(config: RunConfig) -> ClipNormalizer:
    """Return the device-side step from uint8 clips to network input."""
    return ClipNormalizer(config.normalization, use_fore=config.dataset.use_fore)


def make_plan(config: RunConfig, state_index: int) -> StepPlan:
    """Share a state's batches among the processes of this run."""
    state = config.states[state_index]
    return plan_steps(
        batch_size=state.batch_size,
        iter_size=state.iter_size,
        num_gpu=config.optimizer.num_gpu,
        world_size=distributed.world_size(),
    )


def make_transform(config: RunConfig) -> Transform:
    """Return the augmentation of training clips; with flip_labels, clips are mirrored with their labels instead."""
    data = config.dataset
    return build_train_transform(
        data.transform_type,
        crop_size=data.crop_size,
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
    """Return the training clips of a state, from a reader and through a transform."""
    state, data = config.states[state_index], config.dataset
    names = read_class_names(data.list_file, data.num_classes) if data.flip_labels else []
    return TrainingClips(
        videos,
        reader,
        transform,
        num_segments=state.num_segments,
        clip_length=state.clip_length,
        num_steps=state.num_steps,
        seed=(config.optimizer.seed, state_index),
        on_error=data.on_error,
        label_flip=make_label_flip(names, source=data.list_file, use_flow=data.use_flow) if names else None,
    )


def make_training_loader(
    config: RunConfig, state_index: int, *, videos: VideoList, plan: StepPlan
) -> tuple[VideoLoader, EpochBatches]:
    """Return the loader of a state's micro-batches on this rank, and the batches object that chooses the epoch."""
    reader = make_reader(config, config.dataset.root_path)
    clips = make_training_clips(config, state_index, videos=videos, reader=reader, transform=make_transform(config))
    batches = EpochBatches(len(videos), plan, rank=distributed.rank(), seed=(config.optimizer.seed, state_index))
    return _make_loader(config, clips, batches), batches


def make_quick_loader(config: RunConfig, state: StateConfig, *, videos: VideoList, root_path: str) -> VideoLoader:
    """Return the loader of the quick evaluation: this rank's share, one clip and the centre crop of every video.

    The clip and the number of clips at a time are those of `state`.
    """
    clips = EvaluationClips(
        videos,
        make_reader(config, root_path),
        crop_size=config.dataset.crop_size,
        num_segments=state.num_segments,
        clip_length=state.clip_length,
        num_steps=state.num_steps,
        on_error=config.dataset.on_error,
    )
    share = range(distributed.rank(), len(videos), distributed.world_size())
    batches = [list(share[i : i + state.batch_size]) for i in range(0, len(share), state.batch_size)]
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


def make_views_loader(config: RunConfig, *, videos: VideoList, indices: Sequence[int]) -> VideoLoader:
    """Return the loader of the final evaluation: one item per video, its unique frames and the clips' rows in them."""
    state, data, sampler = config.states[-1], config.dataset, config.sampler
    views = VideoViews(
        videos,
        make_reader(config, data.eva_root_path),
        short_side=data.eva_crop_size,
        num_clips=sampler.eva_num_clips,
        num_segments=sampler.eva_num_segments,
        clip_length=state.clip_length,
        num_steps=state.num_steps,
        on_error=data.on_error,
    )
    return VideoLoader(
        views,
        sampler=indices,
        batch_size=None,  # an item is a whole video; its clips are batched on the device
        num_workers=data.num_workers,
        collate_fn=_as_it_is,
        worker_init_fn=worker_init,
        prefetch_factor=1 if data.num_workers else None,  # a long video's frames may be hundreds of megabytes
    )


def _as_it_is(video: VideoFrames) -> VideoFrames:
    return video


def make_initial_network(config: RunConfig, *, trained: dict[str, Any] | None) -> model.VideoNetwork:
    """Return the network that training starts or continues from, on the CPU.

    Args:
        config: The record.
        trained: A checkpoint's content to continue from; None: random (seeded), pretrained or inflated weights.
    """
    torch.manual_seed(config.optimizer.seed)
    network = model.create_model(**config.network_arguments)
    net = config.network
    if trained is not None:
        network.load_state_dict(trained["network"])
    elif net.pretrained_model:
        path = config.require_file("network", "pretrained_model", hint=WEIGHTS_HINT)
        weights = read_fitting_weights(config, path)
        if net.transfer_weights:
            model.inflate(network, weights, source=path)
        else:
            if net.remove_fc:
                weights = model.without_classifiers(network, weights)
            missing = network.classifier_names if net.remove_fc else ()
            model.load_weights(network, weights, missing=missing, source=path)
    return network


def make_trained_network(config: RunConfig, path: Path) -> model.VideoNetwork:
    """Return the network with the weights of a checkpoint (this project's or the released names), on the CPU."""
    network = model.create_model(**config.network_arguments)
    model.load_weights(network, read_fitting_weights(config, path), source=path)
    return network


def choose_precision(config: RunConfig, device: torch.device) -> Precision:
    """Return what optimizer.amp means on a device: on a CPU, bf16 only where it has been seen to be right."""
    return resolve_precision(config.optimizer.amp, device, find_fault=recall_bf16_fault)


def place_network(
    config: RunConfig, network: model.VideoNetwork, device: torch.device, *, dtype: torch.dtype | None
) -> model.VideoNetwork:
    """Bring the network to a device, in the layout of network.layout; its state dict stays as it is.

    The automatic layout is the faster one: channels last for float32 on a CPU (benchmarks/training_step.py).
    """
    network.to(device)
    layout = config.network.layout
    if layout == "channels_last" or (layout == "auto" and device.type == "cpu" and dtype is None):
        use_channels_last(network, device)
    return network


def make_view_scorer(
    config: RunConfig, *, network: model.VideoNetwork, dtype: torch.dtype | None, device: torch.device
) -> ViewScorer:
    """Return what scores the clips and crops of a video with a network that is on the device, in evaluation mode."""
    return ViewScorer(
        network=network,
        normalize=make_normalizer(config),
        crop_position=crop_position,
        crop_size=config.dataset.eva_crop_size,
        batch_size=config.states[-1].batch_size,
        dtype=dtype,
        device=device,
    )


def describe_network(config: RunConfig, network: model.VideoNetwork) -> str:
    """Return 'name, N M weights'."""
    return f"{config.network.net_name}, {sum(weight.numel() for weight in network.parameters()) / 1e6:.2f} M weights"


def make_learner(
    config: RunConfig, state_index: int, *, network: model.VideoNetwork, num_videos: int, device: torch.device
) -> Learner:
    """Return a state's learner: the network as it is, with a fresh optimizer and the state's schedule."""
    state, settings = config.states[state_index], config.optimizer
    plan = make_plan(config, state_index)
    dtype = choose_precision(config, device).dtype
    place_network(config, network, device, dtype=dtype)
    set_frozen_batch_norm(network, state.frozen_bn)
    return Learner(
        network=network,
        model=distributed.wrap(network, device),
        optimizer=make_optimizer(settings, network, classifier_names=network.classifier_names),
        scaler=make_scaler(device, dtype),
        schedule=Schedule(
            base=state.base_learning_rate,
            batches_per_epoch=plan.record_batches_per_epoch(num_videos),
            epochs=state.epochs,
            warmup_epochs=settings.warmup_epoch,
            warmup_multiplier=settings.warmup_multiplier,
            decay_epochs={"cosine": None, "step": settings.lr_decay_epochs, "constant": ()}[settings.lr_scheduler],
            decay_rate=settings.lr_decay_rate,
        ),
        plan=plan,
        criterion=HeadsLoss(label_smoothing=LABEL_SMOOTHING if settings.label_smooth else 0.0),
        normalize=make_normalizer(config),
        mix=MixUp(num_classes=config.dataset.num_classes) if config.dataset.use_mixup else None,
        dtype=dtype,
        device=device,
        loss_weight=settings.loss_weight,
        clip_gradient=settings.clip_gradient,
        seed=(settings.seed, state_index),
        num_videos=num_videos,
        average=WeightAverage(network, decay=settings.ema) if settings.ema else None,
    )


def make_state_trainer(
    config: RunConfig,
    state_index: int,
    *,
    network: model.VideoNetwork,
    videos: VideoList,
    eva_videos: VideoList | None,
    device: torch.device,
    eva_root_path: str = "",
    eva_state: StateConfig | None = None,
    title: str = "",
) -> StateTrainer:
    """Return a state ready to train: learner, loader and quick evaluation.

    By default that is of the evaluation set's root, with the clip of the state itself.
    """
    learner = make_learner(config, state_index, network=network, num_videos=len(videos), device=device)
    loader, batches = make_training_loader(config, state_index, videos=videos, plan=learner.plan)
    root_path = eva_root_path or config.dataset.eva_root_path
    shown = eva_state or config.states[state_index]
    quick = make_quick_loader(config, shown, videos=eva_videos, root_path=root_path) if eva_videos else None
    return StateTrainer(config, state_index, learner=learner, loader=loader, batches=batches, quick=quick, title=title)


def make_edge_trainer(
    config: RunConfig,
    state_index: int,
    network: model.VideoNetwork,
    title: str,
    *,
    training: VideoList,
    scoring: VideoList,
    eva_state: StateConfig | None,
    device: torch.device,
) -> StateTrainer:
    """Return a transition of a search ready to train: the last state of the record of its path."""
    heldout = config.search.selection == "heldout"
    return make_state_trainer(
        config,
        state_index,
        network=network,
        videos=training,
        eva_videos=scoring,
        device=device,
        eva_root_path=config.dataset.root_path if heldout else config.dataset.eva_root_path,
        eva_state=eva_state,
        title=title,
    )


def make_explorer(
    config: RunConfig,
    *,
    journal: SearchJournal,
    training: VideoList,
    scoring: VideoList,
    device: torch.device,
    log: logging.Logger,
    report: Callable[[], None],
) -> EdgeExplorer:
    """Return what explores the transitions of a search."""
    eva_state = config.evaluation_state if config.search.score_input == "goal" else None
    return EdgeExplorer(
        config,
        journal=journal,
        folder=config.run_dir / SEARCH_FOLDER,
        make_network=lambda weights: make_initial_network(config, trained=weights and {"network": weights}),
        make_trainer=functools.partial(
            make_edge_trainer, training=training, scoring=scoring, eva_state=eva_state, device=device
        ),
        log=log,
        report=report,
    )


def measure_weights(config: RunConfig) -> int:
    """Return the bytes of the network's weights, without making them."""
    with torch.device("meta"):
        network = model.create_model(**config.network_arguments)
    return sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
