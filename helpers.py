"""Composition root: what `dataset.build` and `model.build` make of a configuration is joined for training and scoring.

No loops over data, no maths, no file formats. No package imports this module.
"""

import functools
import logging
from collections.abc import Callable

import torch

from dataset.build import make_normalizer, make_plan, make_quick_loader, make_training_loader
from dataset.listing import VideoList
from dataset.transforms.mixing import MixUp
from dataset.transforms.recipes import crop_position
from layers.convolution_check import recall_bf16_fault
from layers.losses import LABEL_SMOOTHING, HeadsLoss
from layers.norm import set_frozen_batch_norm
from model.build import make_initial_network, place_network
from model.network import VideoNetwork
from utils import distributed
from utils.config import RunConfig, StateConfig
from utils.evaluation.views import ViewScorer
from utils.search.explore import EdgeExplorer, SearchJournal
from utils.search.result import SEARCH_FOLDER
from utils.training.averaging import WeightAverage
from utils.training.engine import Learner
from utils.training.optimizer import make_optimizer
from utils.training.precision import Precision, make_scaler, resolve_precision
from utils.training.schedule import Schedule
from utils.training.state import StateTrainer


def choose_precision(config: RunConfig, device: torch.device) -> Precision:
    """Return what optimizer.amp means on a device: on a CPU, bf16 only where it has been seen to be right."""
    return resolve_precision(config.optimizer.amp, device, find_fault=recall_bf16_fault)


def make_view_scorer(
    config: RunConfig, *, network: VideoNetwork, dtype: torch.dtype | None, device: torch.device
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


def make_learner(
    config: RunConfig, state_index: int, *, network: VideoNetwork, num_videos: int, device: torch.device
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
    network: VideoNetwork,
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
    network: VideoNetwork,
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
