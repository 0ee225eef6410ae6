"""Write a network and what is to be known of it, and see that the file answers as the network does on real clips."""

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

# Videos whose clips are compared, and how many clips at a time: other numbers than the program was followed with.
_VIDEOS, _BATCHES = 4, (1, 2, 3, 5)
# Largest difference of two logits that rounding explains, as a fraction of the largest logit.
_ROUNDING = 1e-4


@dataclass(frozen=True)
class Comparison:
    """How an exported network's answers differ from the network's.

    Attributes:
        clips: That were compared.
        largest_difference: Of two logits.
        largest_logit: Of the network, without its sign.
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
        config: The record; its evaluation list gives the clips that are compared.
        folder: Where to; new, or without a JSON file.
        kind: The format.
        opset: Of ONNX; None: torch's choice.

    Returns:
        What was written, in words.

    Raises:
        UserError: The weights or the videos cannot be read, or the files cannot be written.
        ExportError: What was written answers otherwise than the network; it is removed.
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
            f"{path}: answers otherwise than the network: logits up to {found.largest_logit:.3g} differ by "
            f"{found.largest_difference:.3g}; removed"
        )
    sidecar = path.with_suffix(".json")
    about = _describe(record, path, opset=written, names=choose_names(config, (), weights.class_names))
    write_sealed_json(sidecar, about | {"weights": config.eva_model.name, "compared": asdict(found)})
    return [
        f"{path}: {config.network.net_name}, {path.stat().st_size / 1e6:.1f} MB",
        f"  compared on {count(found.clips, 'clip')}: logits up to {found.largest_logit:.3g} differ by at most "
        f"{found.largest_difference:.2g}",
        f"{sidecar}: what goes in and what comes out",
    ]


def _portable(config: RunConfig, path: Path) -> RunConfig:
    """Return the record that evaluates an exported network: one state, nothing of this machine's, no autocast.

    What only a training of several states, or one from other weights, may say is left out.
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
    """Yield clips of the evaluation list's first videos, centre crop, as the network takes them: [N, C, T, H, W]."""
    videos, size = read_evaluation_list(config), config.dataset.eva_crop_size
    strict = replace(config, dataset=replace(config.dataset, on_error="raise"))
    views, normalize, clips = make_video_views(strict, videos=videos), make_normalizer(config), []
    for number in range(min(_VIDEOS, len(videos))):
        video = views[number]
        cuts = [cut_view(video.frames, rows, crop_position, size=size, crop=0) for rows in video.clip_frames]
        clips += [normalize(cut.movedim(1, -1)[None]) for cut in cuts]
    some = torch.cat((clips * sum(_BATCHES))[: sum(_BATCHES)])  # few clips count several times
    yield from some.split(_BATCHES)


def compare(network: VideoNetwork, other: VideoNetwork | Program, batches: list[Tensor]) -> Comparison:
    """Compare two networks' logits on clips."""
    difference = largest = 0.0
    with torch.inference_mode():
        for clips in batches:
            expected, found = network.fuse(network(clips)), other.fuse(other(clips))
            if found.shape != expected.shape:
                raise ExportError(f"logits of {list(found.shape)} in place of {list(expected.shape)}")
            difference = max(difference, float((found - expected).abs().nan_to_num(math.inf).max()))
            largest = max(largest, float(expected.abs().max()))
    return Comparison(sum(map(len, batches)), difference, largest)


def _describe(config: RunConfig, path: Path, *, opset: int | None, names: tuple[str, ...]) -> dict[str, Any]:
    """Return what the JSON file says, but for the comparison."""
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
