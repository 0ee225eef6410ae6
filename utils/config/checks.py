"""Refuse combinations of values that would fail later, when the configuration is parsed."""

from collections.abc import Callable, Iterator

from utils.config import network_names
from utils.config.schema import RunConfig
from utils.config.values import ConfigError
from utils.parts import FORMATS, flow_formats
from utils.planning.graph import GraphError

ROUNDING = 1e-6  # tolerance of the sum of shares around 1
Refusals = Iterator[tuple[str, str]]  # (key, what is wrong with its value); the first one is raised


def check_config(config: RunConfig) -> None:
    """Refuse invalid combinations of values.

    Raises:
        ConfigError: The first one found, with its file and key.
    """
    _refuse(config, _check_clips, _check_network, _check_rates, _check_normalization)
    _refuse(config, _check_budget, _check_selection, _check_small_sets, _check_training)


def check_warmup(config: RunConfig) -> None:
    """Refuse a warm-up that is not shorter than every state.

    Raises:
        ConfigError: It is not shorter than one of them.
    """
    _refuse(config, _check_warmup)


def check_search(config: RunConfig) -> None:
    """Refuse an invalid search section; the states of the configuration are not used.

    Raises:
        ConfigError: The first error found, with its file and key.
    """
    _refuse(config, _check_search)


def _refuse(config: RunConfig, *checks: Callable[[RunConfig], Refusals]) -> None:
    for check in checks:
        for name, message in check(config):
            raise ConfigError(f"{config.sources[name]}: {name}: {message}")


def _check_clips(config: RunConfig) -> Refusals:
    net_name, early_stride = config.network.net_name, config.network.early_stride
    try:
        limits = network_names.clip_limits(net_name, early_stride)
    except network_names.UnknownNetworkError as error:
        yield "network.net_name", str(error)
        return
    is_strided = limits != network_names.clip_limits(net_name, early_stride + 1)
    takes = f"{net_name}{f' with early_stride {early_stride}' if is_strided else ''} needs {limits}"
    what = "input" if config.is_search else "state"
    for index, state in enumerate(config.search.inputs or config.states, start=1):
        if not limits.takes_frames(state.num_frames):
            frames = f"{state.num_frames} frames (num_segments x clip_length)"
            name = "search.inputs" if config.is_search else "sampler.clip_length"
            yield name, f"{what} {index} has clips of {frames}; {takes}"
        if not limits.takes_size(state.crop_size):
            name = "search.inputs" if config.is_search else "dataset.crop_size"
            yield name, f"found {state.crop_size} in {what} {index}; {takes}"
    if not limits.takes_frames(config.evaluation_state.num_frames):
        yield "sampler.eva_num_segments", f"evaluation clips have {config.evaluation_state.num_frames} frames; {takes}"
    if not limits.takes_size(config.dataset.eva_crop_size):
        yield "dataset.eva_crop_size", f"found {config.dataset.eva_crop_size}; {takes}"


def _check_network(config: RunConfig) -> Refusals:
    """Refuse settings that the network does not support."""
    net = config.network
    for name, message in network_names.list_unsupported(
        net.net_name,
        pooling_name=net.pooling_name,
        base_width=net.base_width,
        stochastic_depth=net.stochastic_depth,
        image_size=config.states[-1].crop_size,
    ):
        yield f"network.{name}", message
    if net.transfer_weights and network_names.TRANSFER in network_names.find_row(net.net_name).lacks:
        yield "network.transfer_weights", f"{net.net_name} extends no 2D network; load weights of {net.net_name} itself"


def _check_rates(config: RunConfig) -> Refusals:
    """Refuse a frame_rate for videos without time stamps, and a picture_rate for videos that have them."""
    data, rate = config.dataset, config.sampler.frame_rate
    has_times = FORMATS[data.format].has_times
    if rate and not has_times and not data.picture_rate:
        cause = f"{data.format} has no time stamps; set dataset.picture_rate to the frames per second of all its videos"
        yield "sampler.frame_rate", f"{cause} (python -m dataset.prepare lmdb --fps 15 stores them at one rate)"
    if data.picture_rate and has_times:
        yield "dataset.picture_rate", f"{data.format} files have time stamps; set it to 0"


def _check_normalization(config: RunConfig) -> Refusals:
    data = config.dataset
    channels, kind = (2, "flow has x and y") if data.use_flow else (3, "RGB has three channels")
    for key, values in (("mean", data.mean), ("std", data.std)):
        if len(values) != channels:
            yield f"dataset.{key}", f"found {len(values)} numbers, expected {channels} ({kind}) or []"
    if not all(0 <= value <= 1 for value in data.mean):
        cause = "expected numbers of 0..1, the scale of bytes / 255 (0.485, not 123.675)"
        yield "dataset.mean", f"found {list(data.mean)}, {cause}"
    if not all(0 < value <= 1 for value in data.std):
        yield "dataset.std", f"found {list(data.std)}, expected numbers above 0, up to 1 (0.229, not 58.395)"


def _check_training(config: RunConfig) -> Refusals:
    settings, data, network = config.optimizer, config.dataset, config.network
    if not settings.budget.is_given:  # otherwise the states have no epochs yet
        yield from _check_warmup(config)
    if settings.envelope == "none" and settings.lr_scheduler == "step" and not settings.lr_decay_epochs:
        yield "optimizer.lr_decay_epochs", "lr_scheduler step needs the epochs of the decays, e.g. [30, 60]"
    scale = data.crop_scale
    if scale and not (len(scale) == 2 and 0 < scale[0] <= scale[1] <= 1):
        expected = "two fractions of the frame's area such as [0.5, 1.0]"
        yield "dataset.crop_scale", f"found {list(scale)}, expected {expected}"
    if data.flip_labels and data.no_horizontal_flip:
        cause = "labels are only swapped for flipped clips; set dataset.no_horizontal_flip: false"
        yield "dataset.flip_labels", cause
    if data.use_flow and not FORMATS[data.format].has_flow:
        yield "dataset.use_flow", f"{data.format} has no optical flow; set dataset.format to {flow_formats()}"
    if data.use_flow and data.use_fore:
        yield "dataset.use_fore", "the mean frame is subtracted from RGB only; set use_fore or use_flow to false"
    if network.transfer_weights and not network.remove_fc:
        cause = "the classifier of a 2D network is not transferred; set network.remove_fc: true"
        yield "network.transfer_weights", cause
    if settings.nesterov and settings.momentum == 0 and not settings.adamw_solver:
        yield "optimizer.nesterov", "Nesterov momentum needs optimizer.momentum above 0"


def _check_small_sets(config: RunConfig) -> Refusals:
    settings = config.optimizer
    if settings.class_weights != "none" and config.sampler.balance != "none":
        yield "optimizer.class_weights", "sampler.balance already balances the classes; set one of the two to none"
    if settings.frozen_stages and not config.network.pretrained_model:
        cause = "random weights would stay random; set network.pretrained_model, or set it to 0"
        yield "optimizer.frozen_stages", cause


def _check_selection(config: RunConfig) -> Refusals:
    settings = config.optimizer
    if settings.select == "last":
        if settings.patience:
            yield "optimizer.patience", "early stopping needs a held-out part; set optimizer.select: best"
        return
    if not settings.eva_inter:
        yield "optimizer.eva_inter", "optimizer.select best needs validation; set it to true"
    if settings.heldout_fraction == 0:
        yield "optimizer.heldout_fraction", "nothing would be held out; set a fraction such as 0.15"
    if settings.keep_momentum and len(config.states) > 1:
        cause = "the momenta of a state's last epoch do not belong to its best epoch; set optimizer.select: last"
        yield "optimizer.keep_momentum", cause


def _check_warmup(config: RunConfig) -> Refusals:
    settings = config.optimizer
    for index, state in enumerate(config.states, start=1):
        if settings.envelope == "none" and 0 < settings.warmup_epoch >= state.epochs:
            lengths = f"{settings.warmup_epoch:g} epochs of warm-up do not fit into the {state.epochs:g} epochs"
            yield "optimizer.warmup_epoch", f"{lengths} of state {index}; lower it, or set -1 for no warm-up"


def _check_budget(config: RunConfig) -> Refusals:
    budget, shares = config.optimizer.budget, [state.shares for state in config.states]
    if budget.num_units > 1:
        yield "optimizer.budget", "found several units, expected one of epochs, hours and frames"
    if budget.is_given and abs(sum(shares) - 1) > ROUNDING:
        found = f"found {shares}, which add up to {sum(shares):g}"
        yield "optimizer.shares", f"{found}; give each of the {len(shares)} states its fraction of the budget"
    if not budget.is_given and any(share != 1 for share in shares):
        yield "optimizer.shares", "there is no budget to divide; set optimizer.budget, e.g. {epochs: 20}"


def _check_search(config: RunConfig) -> Refusals:
    search, settings = config.search, config.optimizer
    is_released = search.policy == "released"
    for key, is_set in (
        ("envelope", is_released and settings.envelope != "none"),
        ("budget", settings.budget.is_given),
        ("keep_momentum", is_released and settings.keep_momentum),
    ):
        if is_set:
            what = "a search trains its transitions at constant rates with fresh optimizers; leave it at its default"
            yield f"optimizer.{key}", what if is_released else "a search has search.budget; leave it empty"
    if settings.select != "last":
        yield "optimizer.select", "a search selects epochs by its own rules; set it to last"
    factors = search.lr_factors
    if not factors or min(factors) <= 0 or list(factors) != sorted(set(factors), reverse=True):
        yield "search.lr_factors", f"found {list(factors)}, expected decreasing factors such as [1.0, 0.1, 0.01]"
    try:
        _ = config.graph  # cached
    except GraphError as error:
        yield "search.graph", str(error)
    if search.max_epochs < search.attempt_epochs:
        expected = f"must be at least attempt_epochs ({search.attempt_epochs})"
        yield "search.max_epochs", f"found {search.max_epochs}, {expected}"
    if not is_released:
        yield from _check_budgeted(config)
    if search.selection == "heldout" and search.heldout_fraction == 0:
        yield "search.heldout_fraction", "nothing would be held out; set a fraction such as 0.1"


def _check_budgeted(config: RunConfig) -> Refusals:
    search = config.search
    if config.optimizer.envelope == "none":
        yield "optimizer.envelope", f"search.policy {search.policy} needs an envelope, e.g. linear"
    if config.optimizer.envelope_epochs:
        yield "optimizer.envelope_epochs", f"search.policy {search.policy} sets it; leave it at 0"
    if search.budget.num_units != 1:
        expected = f"search.policy {search.policy} needs one of epochs, hours and frames, e.g. {{epochs: 20}}"
        yield "search.budget", expected
    if list(search.peaks) != sorted(set(search.peaks)) or not all(factor > 0 for factor in search.peaks):
        yield "search.peaks", f"found {list(search.peaks)}, expected increasing factors such as [0.5, 1, 2, 4]"
