"""Composition root: join the data of `dataset.build` and the networks of `model.build` for training and scoring.

No loops over data, no math, no file formats. No package imports this module.
"""

import functools
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from dataset.build import (
    make_class_weights,
    make_normalizer,
    make_plans,
    make_training_loader,
    make_validation_loader,
    make_views_loader,
    read_evaluation_list,
    read_lists,
    read_search_lists,
)
from dataset.classes import describe_counts
from dataset.heldout import count_groups, describe_heldout
from dataset.listing import VideoList, read_class_names
from dataset.transforms.mixing import MixUp
from dataset.transforms.recipes import crop_position
from layers.convolution_check import cached_bf16_fault
from layers.losses import LABEL_SMOOTHING, HeadsLoss
from layers.norm import set_frozen_batch_norm
from model.build import (
    WEIGHTS_HINT,
    count_multiply_adds,
    describe_network,
    fill_network,
    make_initial_network,
    make_trained_network,
    measure_weights,
    place_network,
)
from model.export.programs import is_program, open_program
from model.features import WithFeatures
from model.network import VideoNetwork
from utils import distributed
from utils.config import RunConfig, StateConfig
from utils.config.budget import budget_to_epochs
from utils.errors import UserError
from utils.evaluation.extraction import ExtractionParts, extract_scores
from utils.evaluation.predictions import Prediction
from utils.evaluation.views import ViewScorer
from utils.files import file_sha256
from utils.lock import lock_folder
from utils.planning.graph import State
from utils.search.budgeted_plan import InputSteps, describe_budget, make_policy
from utils.search.budgeted_runs import BudgetedParts
from utils.search.cost import describe_cost, describe_graph
from utils.search.result import Selection, describe_selection
from utils.search.setup import SearchParts
from utils.text import say
from utils.training.averaging import WeightAverage
from utils.training.batches import StateLength
from utils.training.costs import load_or_measure_costs, measure_clip
from utils.training.engine import Learner
from utils.training.optimizer import make_optimizer
from utils.training.precision import Precision, make_scaler, resolve_precision
from utils.training.run import open_run, train_states
from utils.training.schedule import make_rate
from utils.training.selection import BestEpoch
from utils.training.state import StateTrainer
from utils.training.weight_files import read_weight_file

if TYPE_CHECKING:
    from dataset.prediction.request import Request


def choose_precision(config: RunConfig, device: torch.device) -> Precision:
    """Return the precision that optimizer.amp selects on a device; see `resolve_precision`."""
    width = config.network.base_width
    return resolve_precision(config.optimizer.amp, device, base_width=width, find_fault=cached_bf16_fault)


def make_view_scorer(
    config: RunConfig, *, network: nn.Module, dtype: torch.dtype | None, device: torch.device
) -> ViewScorer:
    """Return the scorer of a video's views.

    Args:
        config: The record.
        network: On `device`, in evaluation mode.
        dtype: Autocast type; None is float32.
        device: Device of the forward pass.
    """
    return ViewScorer(
        network=network,
        normalize=make_normalizer(config),
        crop_position=crop_position,
        crop_size=config.dataset.eva_crop_size,
        batch_size=config.states[-1].batch_size,
        dtype=dtype,
        device=device,
    )


def extract(config: RunConfig, *, crops: tuple[int, ...], force: bool, trained_by: str, merged_by: str) -> None:
    """Score the videos of a record's evaluation list that have no scores yet; arguments as for `extract_scores`."""
    with distributed.session() as device, distributed.enter_on_main(lambda: lock_folder(config.run_dir)):
        videos, precision = read_evaluation_list(config), choose_precision(config, device)

        def load() -> tuple[ViewScorer, str]:
            network = make_trained_network(config, config.eva_model)
            network = place_network(config, network, device).eval()
            scorer = make_view_scorer(config, network=network, dtype=precision.dtype, device=device)
            return scorer, describe_network(config, network)

        parts = ExtractionParts(
            videos=videos,
            precision=precision,
            load=load,
            read=lambda indices: make_views_loader(config, videos=videos, indices=indices),
        )
        extract_scores(config, parts, crops=crops, force=force, trained_by=trained_by, merged_by=merged_by)


def predict(config: RunConfig, request: "Request") -> list[Prediction]:
    """Predict the requested videos, on a GPU if there is one; return the predictions that have errors."""
    from dataset.prediction import predict as prediction  # imports PyAV: 0.1 s that training does not need

    views, names = (_open_program if is_program(request.weights) else _open_weights)(config, request)
    return prediction.predict_videos(request, prediction.VideoScorer(config, views), names=names)


def _open_weights(config: RunConfig, request: "Request") -> tuple[ViewScorer, Sequence[str]]:
    """Return a scorer with the weights of a file, and the class names stored in it."""
    device = distributed.local_device()
    weights, precision = read_weight_file(config, request.weights), choose_precision(config, device)
    notes = [f"note: trained with another setting: {difference}" for difference in weights.differences]
    notes += [f"note: {precision}"] if precision.dtype is not None and precision.notice else []
    if notes:
        say(*notes, file=sys.stderr)
    network = fill_network(config, weights, source=request.weights)
    network = place_network(config, network, device).eval()
    seen = WithFeatures(network) if request.outputs.features else network
    return make_view_scorer(config, network=seen, dtype=precision.dtype, device=device), weights.class_names


def _open_program(config: RunConfig, request: "Request") -> tuple[ViewScorer, Sequence[str]]:
    """Return a scorer with an exported program, which runs on the CPU in float32 and has no accessible layers."""
    if request.outputs.features:
        raise UserError(f"--features: {request.weights} gives logits only; export the network as safetensors")
    program = open_program(config, request.weights)
    return make_view_scorer(config, network=program, dtype=None, device=torch.device("cpu")), ()


def make_learner(
    config: RunConfig,
    state_index: int,
    *,
    network: VideoNetwork,
    num_videos: int,
    device: torch.device,
    class_weights: torch.Tensor | None = None,
) -> Learner:
    """Return a state's learner: the network with its current weights, a fresh optimizer and the state's schedule."""
    state, settings, plans = config.states[state_index], config.optimizer, make_plans(config)
    dtype = choose_precision(config, device).dtype
    place_network(config, network, device)
    set_frozen_batch_norm(network, state.frozen_bn)
    network.freeze(settings.frozen_stages)
    return Learner(
        network=network,
        model=distributed.wrap(network, device),
        optimizer=make_optimizer(settings, network),
        scaler=make_scaler(device, dtype),
        rate=make_rate(config, state_index, plans=plans, num_videos=num_videos),
        length=StateLength.of_epochs(state.epochs, plans[state_index], num_videos=num_videos),
        plan=plans[state_index],
        criterion=HeadsLoss(LABEL_SMOOTHING if settings.label_smooth else 0.0, class_weights).to(device),
        normalize=make_normalizer(config),
        mix=MixUp(num_classes=config.dataset.num_classes) if config.dataset.use_mixup else None,
        dtype=dtype,
        device=device,
        loss_weight=settings.loss_weight,
        clip_gradient=settings.clip_gradient,
        seed=(settings.seed, state_index),
        num_videos=num_videos,
        average=WeightAverage(network, decay=settings.ema) if settings.ema else None,
        best=BestEpoch(settings.patience) if settings.select == "best" else None,
        multiply_adds=count_multiply_adds(config, state),
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
    """Return the trainer of a state: learner, training loader and validation loader.

    Args:
        config: The record; a budget has been converted to epochs.
        state_index: Index of the state, from 0.
        network: The network with the weights that the state starts from.
        videos: The training list.
        eva_videos: The validation list; None: no validation.
        device: Device of training.
        eva_root_path: Root of the validation videos; "": dataset.eva_root_path.
        eva_state: State whose clips validation uses; None: the trained state.
        title: Title of the progress bar; "": the state's number.
    """
    weights, count = make_class_weights(config, videos), len(videos)
    learner = make_learner(config, state_index, network=network, num_videos=count, device=device, class_weights=weights)
    loader, batches = make_training_loader(config, state_index, videos=videos, plan=learner.plan)
    root_path = eva_root_path or config.dataset.eva_root_path
    shown = eva_state or config.states[state_index]
    validation = make_validation_loader(config, shown, videos=eva_videos, root_path=root_path) if eva_videos else None
    return StateTrainer(
        config, state_index, learner=learner, loader=loader, batches=batches, validation=validation, title=title
    )


def convert_budget(config: RunConfig, *, videos: VideoList, device: torch.device) -> RunConfig:
    """Return the record with its budget converted to epochs; the costs that divide hours are measured once."""
    if not config.optimizer.budget.is_given:
        return config
    batches = [plan.record_batch for plan in make_plans(config)]
    measure = functools.partial(_measure_clips, config, videos=videos, device=device)
    return budget_to_epochs(
        config,
        clips_per_epoch=[max(len(videos) // batch, 1) * batch for batch in batches],
        seconds_per_clip=load_or_measure_costs(config, measure) if config.optimizer.budget.hours else (),
    )


def _measure_clips(config: RunConfig, *, videos: VideoList, device: torch.device) -> list[float]:
    """Return the seconds per training clip of every state."""
    network = make_initial_network(config, trained=None)
    make = functools.partial(make_state_trainer, config, network=network, videos=videos, eva_videos=None, device=device)
    return [measure_clip(make(index)) for index in range(len(config.states))]


def train(config: RunConfig, *, force: bool) -> None:
    """Train a record from its checkpoint, or from the beginning if there is none.

    Args:
        config: The record.
        force: Move an earlier run aside first.
    """
    with distributed.session() as device:
        videos, eva_videos = read_lists(config)
        heldout = describe_heldout(videos, eva_videos) if eva_videos and config.optimizer.select == "best" else ""
        class_names = read_class_names(config.dataset.list_file, config.dataset.num_classes)
        with open_run(config, "train", force=force) as log:
            record = convert_budget(config, videos=videos, device=device)
            train_states(
                record,
                log,
                list_sha256=videos.sha256,
                class_names=class_names,
                make_network=lambda content: make_initial_network(record, trained=content),
                make_trainer=lambda index, network: make_state_trainer(
                    record,
                    index,
                    network=network,
                    videos=videos,
                    eva_videos=eva_videos,
                    device=device,
                    eva_root_path=config.dataset.root_path if heldout else "",
                ),
                describe=lambda network: (
                    f"{describe_network(record, network)}, {len(videos)} training videos{heldout}, "
                    f"{device.type}, {choose_precision(record, device)}\n{describe_counts(videos.labels, class_names)}"
                ),
            )


def make_search_parts(config: RunConfig, device: torch.device) -> SearchParts[VideoNetwork]:
    """Return the lists and factories that a search needs."""
    training, scoring = read_search_lists(config)
    test = read_evaluation_list(config)  # used at the end of the search: its errors must show now
    heldout, of_goal = config.search.selection == "heldout", config.search.score_input == "goal"
    data = config.dataset

    def make_trainer(record: RunConfig, index: int, network: VideoNetwork, title: str) -> StateTrainer:
        return make_state_trainer(
            record,
            index,
            network=network,
            videos=training,
            eva_videos=scoring,
            device=device,
            eva_root_path=data.root_path if heldout else data.eva_root_path,
            eva_state=config.evaluation_state if of_goal else None,
            title=title,
        )

    def make_tester(network: VideoNetwork) -> StateTrainer:
        goal = config.evaluation_state
        return make_state_trainer(
            config, 0, network=network, videos=training, eva_videos=test, device=device, eva_state=goal
        )

    return SearchParts(
        training=training,
        scoring=scoring,
        class_names=read_class_names(config.dataset.list_file, config.dataset.num_classes),
        selection=_describe_lists(config, training=training, scoring=scoring),
        start_weights=_name_start_weights(config),
        make_network=lambda weights: make_initial_network(config, trained=weights and {"network": weights}),
        make_trainer=make_trainer,
        make_tester=make_tester,
        multiply_adds=lambda: tuple(count_multiply_adds(config, each) for each in config.search.inputs),
        describe_network=functools.partial(describe_network, config),
        describe_device=lambda: f"{device.type}, {choose_precision(config, device)}",
    )


def make_budgeted_parts(config: RunConfig, device: torch.device) -> BudgetedParts:
    """Return the parts of a budgeted search, whose states are scored on clips of their own input."""
    own = replace(config, search=replace(config.search, score_input="own"))
    parts = make_search_parts(own, device)

    def measure() -> tuple[float, ...]:
        inputs = _train_inputs(config)
        seconds = _measure_clips(inputs, videos=read_search_lists(config)[0], device=device)
        return tuple(each * plan.clips_per_step for each, plan in zip(seconds, make_plans(inputs), strict=True))

    return BudgetedParts(parts, _count_steps(config, num_videos=len(parts.training)), measure)


def _train_inputs(config: RunConfig) -> RunConfig:
    """Return a record with one state per search input, each of one epoch."""
    return config.with_states([config.state_config(State(i, 0), epochs=1) for i in range(len(config.search.inputs))])


def _count_steps(config: RunConfig, *, num_videos: int) -> tuple[InputSteps, ...]:
    inputs = _train_inputs(config)
    return tuple(
        InputSteps(plan.steps_per_epoch(num_videos), plan.clips_per_step * state.pixels_per_clip)
        for plan, state in zip(make_plans(inputs), inputs.states, strict=True)
    )


def _describe_lists(config: RunConfig, *, training: VideoList, scoring: VideoList) -> Selection:
    groups = count_groups(training, scoring) if config.search.selection == "heldout" else None
    return describe_selection(config, training_videos=len(training), scoring_videos=len(scoring), groups=groups)


def _name_start_weights(config: RunConfig) -> str:
    if not config.network.pretrained_model:
        return f"random, seed {config.optimizer.seed}"
    return file_sha256(config.require_file("network", "pretrained_model", hint=WEIGHTS_HINT))


def describe_search(config: RunConfig) -> list[str]:
    """Return lines on a search's graph and cost; only a budgeted search needs the lists of the data set."""
    if config.search.policy != "released":
        return _describe_budgeted(config)
    try:
        training, scoring = read_search_lists(config)
    except UserError as error:
        about, clips, scored = f"without its lists ({error})", None, 0
    else:
        about, scored = _describe_lists(config, training=training, scoring=scoring).text, len(scoring)
        clips = [plan.clips_per_epoch(len(training)) for plan in make_plans(_train_inputs(config))]
    cost = describe_cost(config, clips_per_epoch=clips, scoring_videos=scored, weight_bytes=measure_weights(config))
    return [f"{config.name}: {about}", *describe_graph(config), *cost]


def _describe_budgeted(config: RunConfig) -> list[str]:
    training, scoring = read_search_lists(config)
    inputs = _count_steps(config, num_videos=len(training))
    about = f"{config.name}: {_describe_lists(config, training=training, scoring=scoring).text}"
    if config.search.budget.hours:
        hours = f"{config.search.budget.hours:g} hours"
        return [about, f"budget: {hours}; the plan depends on the cost of the inputs, measured when the search begins"]
    policy = make_policy(config, inputs, scoring_videos=len(scoring))
    return [about, *describe_budget(config, policy, inputs)]
