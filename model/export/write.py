"""Export a network with its description, and check the file's outputs against the network's on real clips."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dataset.build import make_normalizer, make_video_views, read_evaluation_list
from dataset.prediction.request import choose_names
from dataset.transforms.normalization import FORE_FRAMES
from dataset.transforms.recipes import crop_position
from model.build import fill_network
from model.export.folder import ExportError
from model.export.programs import Program, clip_shape, open_network, write_network
from model.network import VideoNetwork
from utils.config import RunConfig
from utils.config.sections import BudgetConfig
from utils.evaluation.views import cut_view
from utils.files import file_sha256
from utils.sealed import write_sealed_json
from utils.text import count, versions
from utils.training.weight_files import read_weight_file

# Videos whose clips are compared, and batch sizes, including others than that of the program's example input.
_VIDEOS, _BATCHES = 4, (1, 2, 3, 5)
# Largest difference of logits that rounding explains, as a fraction of the largest logit.
_ROUNDING = 1e-4


@dataclass(frozen=True)
class Comparison:
    """The difference between the outputs of an exported network and of the network.

    Attributes:
        clips: Number of clips compared.
        largest_difference: Largest absolute difference of logits.
        largest_logit: Largest absolute logit of the network.
    """

    clips: int
    largest_difference: float
    largest_logit: float

    @property
    def is_rounding(self) -> bool:
        """Whether rounding explains the difference."""
        return math.isfinite(self.largest_logit) and self.largest_difference <= _ROUNDING * self.largest_logit


def export(config: RunConfig, folder: Path, *, kind: str, opset: int | None) -> list[str]:
    """Export a record's network.

    Args:
        config: The record; outputs are compared on clips of its evaluation list.
        folder: Folder to write; new, or without a JSON file.
        kind: The format, a key of `model.export.folder.FORMATS`.
        opset: Version of ONNX's operator set; None: torch's default.

    Returns:
        Lines that describe what was written.

    Raises:
        UserError: The weights or the videos cannot be read, or the files cannot be written.
        ExportError: The file's outputs differ from the network's; the file is removed.
    """
    path = folder / f"{config.name}.{kind}"
    weights = read_weight_file(config, config.eva_model)
    network = fill_network(config, weights, source=config.eva_model).eval()
    record = _portable(config, path)
    batches = list(_read_batches(config))
    written = write_network(network, path, clip_shape=clip_shape(record), opset=opset)
    found = compare(network, open_network(record, path), batches)
    if not found.is_rounding:
        path.unlink()
        raise ExportError(
            f"{path}: outputs differ from the network's: logits up to {found.largest_logit:.3g} differ by "
            f"{found.largest_difference:.3g}; removed"
        )
    sidecar = path.with_suffix(".json")
    about = _describe(record, path, opset=written, names=choose_names(config, (), weights.class_names))
    write_sealed_json(sidecar, about | {"weights": config.eva_model.name, "compared": asdict(found)})
    return [
        f"{path}: {config.network.net_name}, {path.stat().st_size / 1e6:.1f} MB",
        f"  compared on {count(found.clips, 'clip')}: logits up to {found.largest_logit:.3g} differ by at most "
        f"{found.largest_difference:.2g}",
        f"{sidecar}: description of inputs and outputs",
    ]


def _portable(config: RunConfig, path: Path) -> RunConfig:
    """Return the record that evaluates the exported network: one state, no paths of this machine, no autocast.

    Settings that are valid only with several states or with pretrained weights are reset.
    """
    nowhere = {"list_file": "", "root_path": "", "eva_list_file": "", "eva_root_path": ""}
    return replace(
        config.with_states([replace(config.states[-1], shares=1)]),
        dataset=replace(config.dataset, **nowhere, embedded=False),  # type: ignore[arg-type]
        network=replace(config.network, pretrained_model="", eva_model=str(path)),
        optimizer=replace(config.optimizer, amp="off", budget=BudgetConfig(0, 0, 0), frozen_stages=0),
        base="",
    )


def _read_batches(config: RunConfig) -> Iterator[Tensor]:
    """Yield batches of normalized clips, [N, C, T, H, W], center crops of the evaluation list's first videos."""
    videos, size = read_evaluation_list(config), config.dataset.eva_crop_size
    strict = replace(config, dataset=replace(config.dataset, on_error="raise"))
    views, normalize, clips = make_video_views(strict, videos=videos), make_normalizer(config), []
    for number in range(min(_VIDEOS, len(videos))):
        video = views[number]
        cuts = [cut_view(video.frames, rows, crop_position, size=size, crop=0) for rows in video.clip_frames]
        clips += [normalize(cut.movedim(1, -1)[None]) for cut in cuts]
    some = torch.cat((clips * sum(_BATCHES))[: sum(_BATCHES)])  # repeats clips if there are too few
    yield from some.split(_BATCHES)


def compare(network: VideoNetwork, other: VideoNetwork | Program, batches: list[Tensor]) -> Comparison:
    """Compare the fused logits of two networks on batches of clips, [N, C, T, H, W]."""
    difference = largest = 0.0
    with torch.inference_mode():
        for clips in batches:
            expected, found = network.fuse(network(clips)), other.fuse(other(clips))
            if found.shape != expected.shape:
                raise ExportError(f"found logits of shape {list(found.shape)}; expected {list(expected.shape)}")
            difference = max(difference, float((found - expected).abs().nan_to_num(math.inf).max()))
            largest = max(largest, float(expected.abs().max()))
    return Comparison(sum(map(len, batches)), difference, largest)


def _describe(config: RunConfig, path: Path, *, opset: int | None, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the content of the JSON file, without the comparison."""
    state, data = config.evaluation_state, config.dataset
    channels, frames, height, width = clip_shape(config)
    return {
        "file": path.name,
        "file_sha256": file_sha256(path),
        "format": path.suffix.removeprefix("."),
        "opset": opset,
        "network": config.network.net_name,
        "classes": list(names),
        "input": {
            "name": "clips",
            "type": "float32",
            "shape": ["any", channels, frames, height, width],
            "axes": "clips, channels (RGB; flow: x, y), frames, height, width",
            "segments": state.num_segments,
            "frames_of_a_segment": state.clip_length,
            "frame_distance": state.num_steps,
            "frame_rate": config.sampler.frame_rate,
            "short_side": data.eva_crop_size,
            "crop": [height, width],
            "mean": list(data.mean),
            "std": list(data.std),
            "minus_mean_of_frames": FORE_FRAMES if data.use_fore else 0,
        },
        "output": {"name": "logits", "type": "float32", "shape": ["any", data.num_classes]},
        "clips_of_a_video": config.sampler.eva_num_clips,
        "crops_of_a_clip": data.eva_num_crop,
        "versions": versions(),
        "record": config.to_dict(),
    }
