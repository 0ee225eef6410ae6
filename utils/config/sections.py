"""The sections of an experiment's configuration: the meaning, type, limits and scope of every key.

Values live in `base_config/default.yml`, the base config of the data set and the record. Nothing here has a default, so
each value is written in exactly one place. Key names are those of the paper's released records. After a change,
`python -m utils.config.reference` regenerates docs/config.md and docs/config.schema.json.
"""

from dataclasses import dataclass

from utils.clip_shape import ClipShape
from utils.config.declaring import CONTENT, EVALUATION, LARGER, NEITHER, key, own_key
from utils.config.network_names import EARLY_STRIDES, POOLING_NAMES
from utils.parts import FORMATS, TRANSFORMS


@dataclass(frozen=True)
class DatasetConfig:
    """The videos, and the cropping and augmentation of clips; crop_size is a key of states."""

    dataset_class: str = key("kind of data set", choices=("video_dataset",))
    format: str = key(
        "storage of the videos: video files, folders of JPEGs, or one LMDB per video", choices=tuple(FORMATS)
    )
    list_file: str = key("training list, lines of 'path num_frames label'", scope=CONTENT)
    root_path: str = key("root folder of the paths in the training list", scope=CONTENT)
    num_classes: int = key("number of classes; labels are 0 .. num_classes-1", at_least=2, at_most=1_000_000)
    eva_list_file: str = key("evaluation list", scope=CONTENT)
    eva_root_path: str = key("root folder of the paths in the evaluation list", scope=CONTENT)
    time_dim: str = key("T: a clip is [C, T, H, W] for every network", choices=("T",))
    eva_crop_size: int = key(
        "short side and crop in the final evaluation, pixels; the result marks a size other than crop_size of the last "
        "state",
        scope=EVALUATION,
        at_least=1,
        at_most=4096,
    )
    eva_num_crop: int = key(
        "crops in the final evaluation, in this order: center, first (top, left), last (bottom, right)",
        scope=EVALUATION,
        choices=(1, 2, 3),
    )
    num_workers: int = key("loader processes per training process", scope=NEITHER, at_least=0, at_most=512)
    transform_type: str = key("training augmentation", choices=tuple(TRANSFORMS))
    crop_scale: tuple[float, ...] = own_key(
        "smallest and largest area of a training crop, as fractions of the frame, e.g. [0.5, 1.0]; "
        "[]: 0.2 to 1, mvit_default 0.08 to 1, flow 0.5 to 1"
    )
    ra_n: int = key("rand_augment: operations per clip", at_least=0, at_most=100)
    ra_m: float = key("rand_augment: magnitude, on a scale of 30", at_least=0)
    no_horizontal_flip: bool = key("no horizontal flips, for classes that tell left from right")
    flip_labels: bool = own_key(
        "a flipped clip of class '... left ...' gets the label of '... right ...' and vice versa; class names are read "
        "from X_list.classes.txt"
    )
    use_flow: bool = key("read optical flow (x and y) in place of RGB; needs FRAME or LMDB")
    use_fore: bool = key("subtract the mean frame of every 16 frames; RGB only")
    mean: tuple[float, ...] = own_key(
        "mean subtracted from values of 0..1, one number per channel; "
        "[]: that of the network's published weights (ImageNet's; flow: 0.5)"
    )
    std: tuple[float, ...] = own_key(
        "standard deviation the values are then divided by, one number per channel; "
        "[]: that of the network's published weights (ImageNet's; flow: 0.229)"
    )
    use_mixup: bool = key("mixup 0.8 or cutmix 1.0 on every batch, label smoothing 0.1")
    on_error: str = own_key(
        "an unreadable or corrupt video stops the run (raise), or is skipped and counted (skip)",
        scope=NEITHER,
        choices=("raise", "skip"),
    )
    picture_rate: float = own_key(
        "frames per second of videos stored as pictures (FRAME, LMDB), which have no time stamps; needed only with "
        "sampler.frame_rate; 0: unknown",
        at_least=0,
        at_most=1000,
    )
    max_pixels: int = own_key(
        "maximum pixels of a picture; larger ones are refused", scope=NEITHER, at_least=1, below=1 << 27
    )
    embedded: bool = own_key("run.sh generates the data set with dataset/synthetic if it is absent", scope=NEITHER)


@dataclass(frozen=True)
class BudgetConfig:
    """The training budget of a path in one of three units; all 0: no budget, states have their own epochs."""

    epochs: float | int = own_key(
        "epochs of the goal's input (the last state's), in frames x pixels", at_least=0, at_most=100_000
    )
    hours: float | int = own_key(
        "hours of training steps, loading included; 20 steps of every state are measured", at_least=0
    )
    frames: float | int = own_key("frames of the goal's input, in frames x pixels", at_least=0)

    @property
    def num_units(self) -> int:
        """The number of units that are set."""
        return sum(number > 0 for number in (self.epochs, self.hours, self.frames))

    @property
    def is_given(self) -> bool:
        """Whether any unit is set."""
        return self.num_units > 0


@dataclass(frozen=True)
class OptimizerConfig:
    """Optimizer, schedule, loss and model selection; base_learning_rate and epochs are keys of states.

    Without an envelope every state has its own schedule. With one, base_learning_rate is a state's peak rate, and
    lr_scheduler, lr_decay_* and warmup_epoch are ignored.
    """

    envelope: str = own_key(
        "shape of the learning rate over the whole path, by fraction of its compute (frames x pixels); linear, cosine: "
        "decay to zero; wsd: constant, then linear decay over the last 0.4; steps: x 0.1 from 0.5 on, x 0.01 from 0.75 "
        "on; none: lr_scheduler for every state",
        choices=("none", "linear", "cosine", "wsd", "steps", "constant"),  # utils.planning.envelope.SHAPES
    )
    envelope_warmup: float = own_key(
        "warm-up of an envelope, once per path, from 1 / warmup_multiplier of its rate: a fraction of the path's "
        "compute, which fits any budget",
        at_least=0,
        below=1,
    )
    envelope_epochs: float = own_key(
        "length of an envelope, epochs of the last state's input: paths with a common beginning then train it equally; "
        "0: the compute of the path",
        at_least=0,
    )
    keep_momentum: bool = own_key("start a state with the momenta of the previous one instead of a fresh optimizer")
    budget: BudgetConfig = own_key(  # noqa: RUF009 - a declaration, like all fields here
        "training budget of the whole path: {epochs: 20} or {frames: 2e8} of the goal's input (the last state's), or "
        "{hours: 12}; each state gets its fraction (shares), and optimizer.epochs is ignored; {}: none"
    )
    warmup_epoch: float = key("epochs of linear warm-up from base_learning_rate / warmup_multiplier; negative: none")
    warmup_multiplier: float = key("warm-up starts from base_learning_rate / warmup_multiplier", at_least=1)
    lr_scheduler: str = key(
        "learning rate schedule after warm-up (constant was added by this project)",
        choices=("cosine", "step", "constant"),
    )
    lr_decay_epochs: tuple[int, ...] = key("step: epochs at which the rate is multiplied by lr_decay_rate")
    lr_decay_rate: float = key("step: factor of each decay", at_least=0)
    weight_decay: float = key("L2 penalty (SGD) or decoupled decay (AdamW)", at_least=0)
    momentum: float = key("SGD momentum", at_least=0, below=1)
    nesterov: bool = key("SGD with Nesterov momentum")
    clip_gradient: float = key("maximum norm of the gradient; 0: no clipping", at_least=0)
    loss_weight: float = key("factor of the loss", at_least=0)
    num_gpu: int = key(
        "processes that the batch sizes are written for; any number of processes trains the same steps",
        at_least=1,
        at_most=65_536,
    )
    label_smooth: bool = key("label smoothing 0.1")
    class_weights: str = own_key(
        "class weights in the loss; balanced: all classes have equal total weight; sqrt: in proportion to the square "
        "root of the class size; the mean weight of an epoch's clips is 1",
        choices=("none", "balanced", "sqrt"),
    )
    eva_inter: bool = key("validation during training (1 clip, center crop)", scope=NEITHER)
    eva_inter_freq: int = key("epochs between validations", scope=NEITHER, at_least=1)
    fc_higher_lr: bool = key("10 times the learning rate for the classifiers")
    frozen_stages: int = own_key(
        "number of first stages (ResNets: stem, then four) that are not trained and whose batch norm keeps its "
        "statistics; needs network.pretrained_model; 0: none",
        at_least=0,
        at_most=1000,
    )
    layer_decay: float = own_key(
        "factor of the learning rate from each stage to the previous one, e.g. 0.75; the last stage has this fraction "
        "of the classifiers' rate; 1: the same rate everywhere",
        above=0,
        at_most=1,
    )
    select: str = own_key(
        "epoch whose weights a state ends with; best: highest top-1 in validation (the latest of equal ones), which "
        "then uses a held-out part of the training list, groups kept together, and never the evaluation list",
        choices=("last", "best"),
    )
    patience: int = own_key(
        "select best: epochs without improvement after which a state ends early; 0: never",
        at_least=0,
        at_most=100_000,
    )
    heldout_fraction: float = own_key(
        "select best: fraction of every class of the training list that is held out", at_least=0, below=1
    )
    heldout_seed: int = own_key("select best: seed of the held-out draw", at_least=0, at_most=2**63 - 1)
    adamw_solver: bool = key("AdamW in place of SGD")
    amp: str = own_key(
        "mixed precision; auto: bf16 if the device supports it and computes it correctly, on a CPU only if "
        "network.base_width is at least 64",
        choices=("auto", "bf16", "fp16", "off"),
    )
    seed: int = own_key("seed of initial weights, order of videos and augmentation", at_least=0, at_most=2**63 - 1)
    ema: float = own_key(
        "decay per step, e.g. 0.999, of an exponential moving average of the weights, which is evaluated, saved and "
        "passed to the next state; 0: none",
        at_least=0,
        below=1,
    )
    precise_bn: int = own_key(
        "micro-batches of the new state, e.g. 100, from which a state change recomputes the running statistics of "
        "batch norm (frozen ones too); 0: none",
        at_least=0,
        at_most=1_000_000,
    )


@dataclass(frozen=True)
class SamplerConfig:
    """The sampling of clips and videos; the training clip and batch are keys of states."""

    frame_rate: float = own_key(
        "frames per second at which clips are sampled, in training and evaluation, so that they last equally long in "
        "every video, by time stamps where the file has them; 0: the frames of the video as they are",
        at_least=0,
        at_most=1000,
    )
    balance: str = own_key(
        "videos of a training epoch, as many as the list has; none: each once; balanced: equally many of each class "
        "(some of a large class, those of a small one repeatedly); sqrt: in proportion to the square root of the class "
        "size",
        choices=("none", "balanced", "sqrt"),
    )
    eva_num_segments: int = key("segments per evaluation clip", scope=EVALUATION, at_least=1, at_most=4096)
    eva_num_clips: int = key("clips per video in the final evaluation", scope=EVALUATION, at_least=1, at_most=4096)


@dataclass(frozen=True)
class NetworkConfig:
    """The network and its initial weights; frozen_bn is a key of states."""

    net_name: str = key("name of the network: <family>_<depth>, e.g. dg_p3d_resnet50, or torchvision/<name>")
    pooling_name: str = key("final pooling over space and time", choices=POOLING_NAMES)
    dropout_ratio: float = key("dropout probability before the classifier", at_least=0, below=1)
    early_stride: int = key("temporal kernel and stride of the stem", choices=EARLY_STRIDES)
    base_width: int = own_key(
        "channels of a ResNet's first stage (64 in the published networks); other networks scale in proportion, "
        "torchvision's do not",
        at_least=8,
        at_most=4096,
    )
    stochastic_depth: float = own_key(
        "probability that a clip skips the last residual branch in training, decreasing to 0 at the first; negative: "
        "the network's default (EfficientNet 0.2, torchvision's own, others 0)",
        below=1,
    )
    checkpoint_blocks: bool = own_key(
        "activation checkpointing: keep only the inputs of blocks for the backward pass; same weights, less memory",
        scope=NEITHER,
    )
    layout: str = own_key(
        "memory format of the network; auto: plain (contiguous); same weights and scores up to rounding",
        scope=NEITHER,
        choices=("auto", "plain", "channels_last"),
    )
    pretrained_model: str = key("file of initial weights; empty: random weights", scope=CONTENT)
    eva_model: str = key(
        "file of the evaluated weights; output/current.pth stands for those that this record has trained",
        scope=CONTENT,
    )
    remove_fc: bool = key("do not load the classifier from pretrained_model")
    transfer_weights: bool = key("inflate pretrained_model, a 2D network")


@dataclass(frozen=True)
class LoggingConfig:
    """The output of training."""

    print_freq: int = key("steps between updates of the progress line", scope=NEITHER, at_least=1)
    save_freq: int = key(
        "epochs between numbered checkpoints, kept beside current.pth; 0: none", scope=NEITHER, at_least=0
    )
    save_steps: int = own_key(
        "steps between checkpoints within an epoch (for long epochs); 0: only at epoch ends", scope=NEITHER, at_least=0
    )
    output_dir: str = key("folder in which each record has its own output folder", scope=NEITHER)


@dataclass(frozen=True)
class InputConfig:
    """The input (time and space), batch and learning rate of a state of the optimization path."""

    base_learning_rate: float = key("learning rate", at_least=0)
    num_segments: int = key("segments per clip", at_least=1, at_most=4096)
    clip_length: int = key("frames per segment", at_least=1, at_most=4096)
    num_steps: int = key("distance between the frames of a segment, frames", at_least=1, at_most=100_000)
    crop_size: int = key("side of the crop in training and validation, pixels", at_least=1, at_most=4096)
    batch_size: int = key("clips per process and micro-batch", at_least=1, at_most=65_536)
    iter_size: int = key("micro-batches accumulated per step", at_least=1, at_most=65_536)
    frozen_bn: bool = key("freeze the running statistics of batch norm (all but the first)")

    @property
    def clip_shape(self) -> ClipShape:
        """The frames of a clip."""
        return ClipShape(self.num_segments, self.clip_length, self.num_steps)

    @property
    def num_frames(self) -> int:
        """Frames of a training clip: T of the network's input."""
        return self.clip_shape.num_frames

    @property
    def pixels_per_clip(self) -> int:
        """Frames x pixels of a training clip, the unit of compute."""
        return self.num_frames * self.crop_size**2


@dataclass(frozen=True)
class StateConfig(InputConfig):
    """One state of the optimization path; a list in the record has one entry per state."""

    epochs: float | int = key(
        "epochs of this state, rounded to steps; fractions such as 0.5 end in a partial epoch",
        above=0,
        at_most=100_000,
    )
    shares: float | int = own_key("this state's fraction of the budget; all add up to 1", above=0, at_most=1)


@dataclass(frozen=True)
class SearchConfig:
    """The search space of train_3d_op.py; a record with inputs is searched, one without is trained.

    With policy released, transitions are trained at a constant rate, and envelope, lr_scheduler, lr_decay_* and
    warmup_* are ignored. With policy budgeted or studied, the path is trained under optimizer.envelope, and the keys
    from lr_factors to score_input are ignored.
    """

    inputs: tuple[InputConfig, ...] = own_key("inputs from short to long; an omitted key has the record's own value")
    policy: str = own_key(
        "released: the paper's graph of states, trained to every knee; budgeted: peak rate and path for a budget, of "
        "which a part is spent on planning, and the trained network; studied: the same, with planning on top of the "
        "budget, for plans that are reused",
        choices=("released", "budgeted", "studied"),
    )
    budget: BudgetConfig = own_key(  # noqa: RUF009 - a declaration, like all fields here
        "budgeted: the total budget, e.g. {epochs: 20} of the goal's input, or {hours: 12}; studied: the budget of the "
        "path",
        scope=LARGER,
    )
    overhead: float = own_key("studied: maximum cost of planning, as a fraction of the budget", above=0)
    peaks: tuple[float, ...] = own_key(
        "budgeted: candidate factors of base_learning_rate, increasing; []: the rates as written"
    )
    least_steps: int = own_key("budgeted: minimum steps of a peak's run; a pilot has three times as many", at_least=1)
    readout_videos: int = own_key("budgeted: maximum videos that score a run, spread evenly over the list", at_least=1)
    reuse: tuple[str, ...] = own_key(
        "budgeted: files search.json of earlier searches over the same inputs, whose pilots are added to this one's",
        scope=CONTENT,
    )
    lr_factors: tuple[float, ...] = own_key("factors of every input's base_learning_rate, from high to low")
    graph: tuple[str, ...] = own_key(
        "basic | extended | a list of transitions such as 'initial -> (0,0)' and '(0,0) -> (1,0)', (input,rate)"
    )
    attempt_epochs: int = own_key(
        "epochs that must pass after the knee of a curve (T in the paper)", at_least=1, at_most=100_000
    )
    max_epochs: int = own_key(
        "maximum epochs of a transition; the longest state of the paper's paths has 151, found at 161",
        at_least=1,
        at_most=100_000,
    )
    horizon: int = own_key("last epoch that may be the knee of a fitted curve", at_least=1, at_most=100_000)
    metric: str = own_key(
        "score of a state, of one clip per video and the center crop; mean: of top-1, top-3 and top-5; with few "
        "classes top-3 and top-5 are top-(classes - 1)",
        choices=("mean", "top1", "top3", "top5"),
    )
    score_input: str = own_key(
        "clip that scores the states; goal: that of the final evaluation, as in the paper's code; own: each state's "
        "own",
        choices=("goal", "own"),
    )
    selection: str = own_key(
        "videos that score the states; heldout: a held-out part of the training list; eval_list: the evaluation list, "
        "as in the paper's code",
        choices=("heldout", "eval_list"),
    )
    heldout_fraction: float = own_key(
        "heldout: fraction of every class of the training list that is held out", at_least=0, below=1
    )
    heldout_seed: int = own_key("heldout: seed of the held-out draw", at_least=0, at_most=2**63 - 1)
    workers: int = own_key(
        "transitions, or runs of peaks and pilots, trained at the same time, each on its part of this node's "
        "processes, GPUs and cores; the plan does not depend on it",
        scope=NEITHER,
        at_least=1,
        at_most=512,
    )
    executor: str = own_key(
        "where workers run; local: processes of this node; ray: one process each of a Ray cluster",
        scope=NEITHER,
        choices=("local", "ray"),
    )
