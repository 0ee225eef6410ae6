"""Turn the readouts of earlier searches into a prior, with less weight than a search's own readouts. No torch."""

from pathlib import Path
from typing import Any

from utils.config import RunConfig
from utils.errors import UserError
from utils.files import file_sha256
from utils.planning.law import Posterior, Readout, fit_posterior
from utils.sealed import read_sealed_json

TEMPER = 0.3  # power of an earlier posterior: with another network, budget or version of the data the law differs
_SHAPE = ("num_segments", "clip_length", "num_steps", "crop_size")


class ReuseError(UserError):
    """A file of search.reuse that is missing or not about this search's inputs."""


def identify_reused(config: RunConfig) -> dict[str, str]:
    """Return the SHA-256 of each file of search.reuse, by number: part of the identity of a search."""
    paths = [Path(name) for name in config.search.reuse]
    missing = next((path for path in paths if not path.is_file()), None)
    if missing is not None:
        raise ReuseError(f"{config.sources['search.reuse']}: search.reuse: no such file '{missing}'")
    return {f"reused search {number}": file_sha256(path) for number, path in enumerate(paths, start=1)}


def read_prior(config: RunConfig, *, tau_scale: float) -> Posterior | None:
    """Return the tempered posterior of the searches of search.reuse; None if there are none.

    Args:
        config: The search record.
        tau_scale: The scale of tau, as in `fit_posterior`.

    Raises:
        SealError: A file is corrupt.
        ReuseError: A file is not from a budgeted search with a plan, or from one with other inputs.
    """
    prior = None
    for name in config.search.reuse:
        posterior = fit_posterior(_read_readouts(config, Path(name)), tau_scale=tau_scale, prior=prior)
        prior = posterior.tempered(TEMPER) if posterior is not None else prior
    return prior


def _read_readouts(config: RunConfig, path: Path) -> list[Readout]:
    content = read_sealed_json(path)
    if not content.get("is_planned"):
        raise ReuseError(f"{path}: not the search.json of a budgeted search with a plan")
    own = [[getattr(each, key) for key in _SHAPE] for each in config.search.inputs]
    theirs = [_shape(each) for each in content["config"]["search"]["inputs"]]
    if own != theirs:
        names = ", ".join(_SHAPE)
        raise ReuseError(f"{path}: its inputs ({names}) are {theirs}, those of {config.name} are {own}")
    return [
        Readout(one["pilot"], one["at"], tuple(one["weighted"]), one["loss"], one["sd"]) for one in content["readouts"]
    ]


def _shape(setting: dict[str, Any]) -> list[int]:
    return [setting[key] for key in _SHAPE]
