"""The sections of an experiment's configuration: every key, its meaning, its type, its limits and what it changes.

The values live in `base_config/default.yml`, the base of the data set and the record; nothing here has a default, so
that each value is written in exactly one place. Key names are those of the paper's released records. After a change,
`python -m utils.config.reference` writes docs/config.md and docs/config.schema.json anew.
"""

from dataclasses import dataclass

from utils.clip_shape import ClipShape
from utils.config.declaring import CONTENT, EVALUATION, LARGER, NEITHER, key, own_key
from utils.config.network_names import EARLY_STRIDES, POOLING_NAMES
from utils.parts import FORMATS, TRANSFORMS


@dataclass(frozen=True)
class DatasetConfig:
    """Where the videos are, and how a clip is cut from them and augmented; crop_size is a key of states."""

    dataset_class: str = key("kind of data set", choices=("video_dataset",))
    format: str = key(
        "how videos are stored: video files, folders of JPEGs, or one LMDB a video", choices=tuple(FORMATS)
    )
    list_file: str = key("training list: 'path num_frames label' a line", scope=CONTENT)
    root_path: str = key("folder the paths of the training list start from", scope=CONTENT)
    num_classes: int = key("number of classes; labels are 0 .. num_classes-1", at_least=2, at_most=1_000_000)
    eva_list_file: str = key("evaluation list", scope=CONTENT)
    eva_root_path: str = key("folder the paths of the evaluation list start from", scope=CONTENT)
    time_dim: str = key("T: a clip is [C, T, H, W], for every network", choices=("T",))
    eva_crop_size: int = key(
        "short side and crop in the final evaluation, pixels; a size unlike crop_size of the last state is marked in "
        "the result",
        scope=EVALUATION,
        at_least=1,
        at_most=4096,
    )
    eva_num_crop: int = key(
        "crops in the final evaluation: the centre, then the first (top, left), then the last (bottom, right)",
        scope=EVALUATION,
        choices=(1, 2, 3),
    )
    num_workers: int = key("loader processes per training process", scope=NEITHER, at_least=0, at_most=512)
    transform_type: str = key("training augmentation", choices=tuple(TRANSFORMS))
    crop_scale: tuple[float, ...] = own_key(
        "smallest and largest area of a training crop, fractions of the frame's, e.g. [0.5, 1.0]; "
        "[]: 0.2 to 1, mvit_default 0.08 to 1, flow 0.5 to 1"
    )
    ra_n: int = key("rand_augment: operations a clip", at_least=0, at_most=100)
    ra_m: float = key("rand_augment: magnitude, of 30", at_least=0)
    no_horizontal_flip: bool = key("never flip (left and right differ in meaning)")
    flip_labels: bool = own_key(
        "a flipped clip of '... left ...' is one of '... right ...', and the other way round; "
        "the names of the classes are in X_list.classes.txt"
    )
    use_flow: bool = key("read optical flow (x and y) in place of RGB; needs FRAME or LMDB")
    use_fore: bool = key("subtract the mean frame of every 16 frames; of RGB only")
    mean: tuple[float, ...] = own_key(
        "what is subtracted from values of 0..1, one number a channel; "
        "[]: what the network's published weights were trained with (ImageNet's; flow: 0.5)"
    )
    std: tuple[float, ...] = own_key(
        "what they are then divided by, one number a channel; "
        "[]: what the network's published weights were trained with (ImageNet's; flow: 0.229)"
    )
    use_mixup: bool = key("mixup 0.8 or cutmix 1.0 on every batch, label smoothing 0.1")
    on_error: str = own_key(
        "an unreadable or damaged video stops the run, or is skipped and counted",
        scope=NEITHER,
        choices=("raise", "skip"),
    )
    picture_rate: float = own_key(
        "frames a second of all videos that are kept as pictures (FRAME, LMDB), which say none; needed by "
        "sampler.frame_rate alone; 0: not known",
        at_least=0,
        at_most=1000,
    )
    max_pixels: int = own_key("most pixels of a picture; more are refused", scope=NEITHER, at_least=1, below=1 << 27)
    embedded: bool = own_key("run.sh makes the data set with dataset/synthetic when it is absent", scope=NEITHER)


@dataclass(frozen=True)
class BudgetConfig:
    """What a path may spend, in one of three units; all 0: states say their epochs."""

    epochs: float | int = own_key(
        "epochs of the goal's input, the last state's, counted in frames x pixels", at_least=0, at_most=100_000
    )
    hours: float | int = own_key(
        "hours of training steps, loading included: 20 of every state are measured", at_least=0
    )
    frames: float | int = own_key("frames of the goal's input, counted in frames x pixels", at_least=0)

    @property
    def num_units(self) -> int:
        """How many of the units have a number."""
        return sum(number > 0 for number in (self.epochs, self.hours, self.frames))

    @property
    def is_given(self) -> bool:
        """Whether there is a budget."""
        return self.num_units > 0


@dataclass(frozen=True)
class OptimizerConfig:
    """How the weights are learned; base_learning_rate and epochs are keys of states.

    Without an envelope every state has a schedule of its own. Under one, base_learning_rate is a state's peak, and
    lr_scheduler, lr_decay_* and warmup_epoch have no meaning.
    """

    envelope: str = own_key(
        "one shape of the rate over the whole path, in fractions of its compute (frames x pixels): linear and cosine "
        "to zero, wsd: constant, then linear over the last 0.4, steps: a 10th from 0.5 on, a 100th from 0.75 on; none: "
        "lr_scheduler for every state",
        choices=("none", "linear", "cosine", "wsd", "steps", "constant"),  # utils.planning.envelope.SHAPES
    )
    envelope_warmup: float = own_key(
        "fraction of the path's compute over which an envelope rises, once, from 1 / warmup_multiplier of its rate; a "
        "fraction, so that it fits whatever the budget",
        at_least=0,
        below=1,
    )
    envelope_epochs: float = own_key(
        "epochs of the last state's input whose compute an envelope spans: beginnings of several paths are then the "
        "same; 0: the compute of the path itself",
        at_least=0,
    )
    keep_momentum: bool = own_key("a state goes on with the momenta of the state before; else its optimizer is fresh")
    budget: BudgetConfig = own_key(  # noqa: RUF009 - a declaration, as all here
        "what the whole path may spend: {epochs: 20} or {frames: 2e8} of the goal's input (the last state's), or "
        "{hours: 12}; each state has its fraction of it (shares), and epochs have no meaning; {}: none"
    )
    warmup_epoch: float = key("epochs of linear warm-up from base_learning_rate / warmup_multiplier; negative: none")
    warmup_multiplier: float = key("warm-up starts at base_learning_rate / warmup_multiplier", at_least=1)
    lr_scheduler: str = key(
        "learning rate after warm-up (constant is this project's)", choices=("cosine", "step", "constant")
    )
    lr_decay_epochs: tuple[int, ...] = key("step: epochs at which the rate is multiplied by lr_decay_rate")
    lr_decay_rate: float = key("step: factor of each decay", at_least=0)
    weight_decay: float = key("L2 penalty (SGD) or decoupled decay (AdamW)", at_least=0)
    momentum: float = key("SGD momentum", at_least=0, below=1)
    nesterov: bool = key("SGD with Nesterov momentum")
    clip_gradient: float = key("largest norm of the gradient; 0: no clipping", at_least=0)
    loss_weight: float = key("factor of the loss", at_least=0)
    num_gpu: int = key(
        "processes the batch sizes are written for; any number of processes trains on the same steps",
        at_least=1,
        at_most=65_536,
    )
    label_smooth: bool = key("label smoothing 0.1")
    class_weights: str = own_key(
        "weight of a clip in the loss; balanced: each class has as much of it as any other, whatever its number of "
        "videos; sqrt: half way there; weights are 1 in the mean over the clips of an epoch",
        choices=("none", "balanced", "sqrt"),
    )
    eva_inter: bool = key("validation while training (1 clip, centre crop)", scope=NEITHER)
    eva_inter_freq: int = key("epochs between validations", scope=NEITHER, at_least=1)
    fc_higher_lr: bool = key("10 times the rate on the classifiers")
    frozen_stages: int = own_key(
        "stages from the input on (ResNets: stem, then four) that are not trained and whose batch norm keeps its "
        "statistics; needs network.pretrained_model; 0: none",
        at_least=0,
        at_most=1000,
    )
    layer_decay: float = own_key(
        "factor of the rate from each stage to the one before it; classifiers have the whole rate, the last stage so "
        "much of it, e.g. 0.75; 1: all the same",
        above=0,
        at_most=1,
    )
    select: str = own_key(
        "epoch whose weights a state ends with; best: by top-1 of validation, which then is of a part of the "
        "training list that is set aside, groups kept together, and never of the evaluation list; of equals the latest",
        choices=("last", "best"),
    )
    patience: int = own_key(
        "select best: epochs without a better one after which a state ends early; 0: it does not",
        at_least=0,
        at_most=100_000,
    )
    heldout_fraction: float = own_key(
        "select best: fraction of every class of the training list that is set aside", at_least=0, below=1
    )
    heldout_seed: int = own_key("select best: seed of the draw", at_least=0, at_most=2**63 - 1)
    adamw_solver: bool = key("AdamW in place of SGD")
    amp: str = own_key(
        "mixed precision; auto: bf16 where the device has it and is right in it, on a CPU if network.base_width is at "
        "least 64",
        choices=("auto", "bf16", "fp16", "off"),
    )
    seed: int = own_key("seed of weights, order and augmentation", at_least=0, at_most=2**63 - 1)
    ema: float = own_key(
        "decay a step, e.g. 0.999, of the average of the weights that is evaluated, saved as the result and handed on "
        "to the next state; 0: none",
        at_least=0,
        below=1,
    )
    precise_bn: int = own_key(
        "micro-batches of the new state, e.g. 100, on which the running statistics of batch norm are computed anew at "
        "a state change (frozen ones too); 0: not",
        at_least=0,
        at_most=1_000_000,
    )


@dataclass(frozen=True)
class SamplerConfig:
    """What is sampled; the training clip and batch are keys of states."""

    frame_rate: float = own_key(
        "frames a second that clips are counted in, in training and evaluation, so that they last as long whatever the "
        "video's rate: by time stamps where the file has them; 0: frames as they are in the video",
        at_least=0,
        at_most=1000,
    )
    balance: str = own_key(
        "videos of a training epoch; none: each once; balanced: as many of each class (some of a large class, those of "
        "a small one several times), as many as the list has in all; sqrt: half way there",
        choices=("none", "balanced", "sqrt"),
    )
    eva_num_segments: int = key("segments of an evaluation clip", scope=EVALUATION, at_least=1, at_most=4096)
    eva_num_clips: int = key("clips a video in the final evaluation", scope=EVALUATION, at_least=1, at_most=4096)


@dataclass(frozen=True)
class NetworkConfig:
    """Which network, from which weights; frozen_bn is a key of states."""

    net_name: str = key("name of the network: <family>_<depth>, e.g. dg_p3d_resnet50, or torchvision/<name>")
    pooling_name: str = key("last pooling over space and time", choices=POOLING_NAMES)
    dropout_ratio: float = key("dropout before the classifier", at_least=0, below=1)
    early_stride: int = key("temporal kernel and stride of the stem", choices=EARLY_STRIDES)
    base_width: int = own_key(
        "channels of the first stage (64 in the published networks); other networks scale with it, torchvision's do "
        "not",
        at_least=8,
        at_most=4096,
    )
    stochastic_depth: float = own_key(
        "fraction of clips that skip the last residual branch in training, falling to 0 at the first; negative: the "
        "network's own (EfficientNet 0.2, torchvision's as they are, others 0)",
        below=1,
    )
    checkpoint_blocks: bool = own_key(
        "keep only the inputs of blocks for the backward pass: same weights, less memory", scope=NEITHER
    )
    layout: str = own_key(
        "where numbers lie in memory; auto: plain; same weights and scores but for rounding",
        scope=NEITHER,
        choices=("auto", "plain", "channels_last"),
    )
    pretrained_model: str = key("weights to start from; empty: random", scope=CONTENT)
    eva_model: str = key(
        "weights that are evaluated; output/current.pth is this record's own, any other path is taken as it is",
        scope=CONTENT,
    )
    remove_fc: bool = key("do not take the classifier from pretrained_model")
    transfer_weights: bool = key("pretrained_model is a 2D network: inflate it")


@dataclass(frozen=True)
class LoggingConfig:
    """What is written while training, and where."""

    print_freq: int = key("steps between updates of the progress line", scope=NEITHER, at_least=1)
    save_freq: int = key(
        "epochs between numbered checkpoints that are kept, beside current.pth; 0: none", scope=NEITHER, at_least=0
    )
    save_steps: int = own_key(
        "steps between checkpoints inside an epoch (long epochs); 0: at epoch ends only", scope=NEITHER, at_least=0
    )
    output_dir: str = key("each record writes to its own folder in here", scope=NEITHER)


@dataclass(frozen=True)
class InputConfig:
    """What one state of the optimization path trains on and how fast: input (time and space), batch and rate."""

    base_learning_rate: float = key("learning rate", at_least=0)
    num_segments: int = key("pieces a clip is put together from", at_least=1, at_most=4096)
    clip_length: int = key("frames of a piece", at_least=1, at_most=4096)
    num_steps: int = key("distance between frames of a piece", at_least=1, at_most=100_000)
    crop_size: int = key("side of a training crop, also of validation, pixels", at_least=1, at_most=4096)
    batch_size: int = key("clips a process and micro-batch", at_least=1, at_most=65_536)
    iter_size: int = key("micro-batches accumulated a step", at_least=1, at_most=65_536)
    frozen_bn: bool = key("keep the running statistics of batch norm (all but the first)")

    @property
    def clip_shape(self) -> ClipShape:
        """Which frames make a clip."""
        return ClipShape(self.num_segments, self.clip_length, self.num_steps)

    @property
    def num_frames(self) -> int:
        """Frames of a training clip: what the network sees as T."""
        return self.clip_shape.num_frames

    @property
    def pixels_per_clip(self) -> int:
        """Frames x pixels of a training clip: what its compute is counted in."""
        return self.num_frames * self.crop_size**2


@dataclass(frozen=True)
class StateConfig(InputConfig):
    """One state of the optimization path. A list in the record gives one entry per state."""

    epochs: float | int = key(
        "epochs of this state, also fractions of one such as 0.5: rounded to steps, the last epoch is cut short",
        above=0,
        at_most=100_000,
    )
    shares: float | int = own_key(
        "fraction of the budget that this state may spend; all add up to 1", above=0, at_most=1
    )


@dataclass(frozen=True)
class SearchConfig:
    """The search space of train_3d_op.py; a record with inputs is a search, one without is trained as it is.

    The transitions of policy released are trained at a constant rate, whatever envelope, lr_scheduler, lr_decay_* and
    warmup_* say; a path of policy budgeted or studied under optimizer.envelope, and lr_factors to score_input have no
    meaning.
    """

    inputs: tuple[InputConfig, ...] = own_key("inputs from short to long; a key left out has the record's own value")
    policy: str = own_key(
        "released: the paper's graph of states, to every knee; budgeted: peak rate and path for a budget, planned in a "
        "part of it, and trained; studied: the same, planned on top of it, for plans that are used again",
        choices=("released", "budgeted", "studied"),
    )
    budget: BudgetConfig = own_key(  # noqa: RUF009 - it is a field
        "budgeted: everything that may be spent, e.g. {epochs: 20} of the goal's input, or {hours: 12}; studied: the "
        "path's",
        scope=LARGER,
    )
    overhead: float = own_key("studied: most that planning may spend, as a fraction of the budget", above=0)
    peaks: tuple[float, ...] = own_key(
        "budgeted: factors of base_learning_rate that are tried, rising; []: the rates as they are written"
    )
    least_steps: int = own_key("budgeted: fewest steps of a peak's run; a pilot has three times as many", at_least=1)
    readout_videos: int = own_key("budgeted: most videos that score a run, taken evenly from the list", at_least=1)
    reuse: tuple[str, ...] = own_key(
        "budgeted: files search.json of searches over the same inputs, whose pilots count beside this one's",
        scope=CONTENT,
    )
    lr_factors: tuple[float, ...] = own_key("learning rates of every input, high to low, as factors of its own")
    graph: tuple[str, ...] = own_key(
        "basic | extended | a list of transitions such as 'initial -> (0,0)' and '(0,0) -> (1,0)', (input,rate)"
    )
    attempt_epochs: int = own_key(
        "epochs that must pass beyond the knee of a curve (T of the paper)", at_least=1, at_most=100_000
    )
    max_epochs: int = own_key(
        "most epochs of one transition; the longest state of the paper's paths has 151, found at 161",
        at_least=1,
        at_most=100_000,
    )
    horizon: int = own_key("last epoch that may be the knee of a fitted curve", at_least=1, at_most=100_000)
    metric: str = own_key(
        "score of a state, of one clip a video and the centre crop; mean: of top-1, top-3 and top-5; of few classes "
        "top-3 and top-5 are top-(classes - 1)",
        choices=("mean", "top1", "top3", "top5"),
    )
    score_input: str = own_key(
        "clip that scores the states: the goal's (that of the final evaluation, as in the paper's code), or each "
        "state's own",
        choices=("goal", "own"),
    )
    selection: str = own_key(
        "videos that score the states: a part of the training list that is set aside, or, as in the paper's code, the "
        "evaluation list",
        choices=("heldout", "eval_list"),
    )
    heldout_fraction: float = own_key(
        "heldout: fraction of every class of the training list that is set aside", at_least=0, below=1
    )
    heldout_seed: int = own_key("heldout: seed of the draw", at_least=0, at_most=2**63 - 1)
    workers: int = own_key(
        "transitions, or runs of peaks and pilots, that are trained at the same time, each on its part of this node's "
        "processes, GPUs and cores; the plan does not depend on it",
        scope=NEITHER,
        at_least=1,
        at_most=512,
    )
    executor: str = own_key(
        "who the workers are: processes of this node, or one process each of a cluster of Ray's",
        scope=NEITHER,
        choices=("local", "ray"),
    )
