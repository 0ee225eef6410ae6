"""The errors of a training step that cannot run."""

import pytest
import torch
from torch import nn

from tests.conftest import MakeRecord
from utils.config import load_config
from utils.training.state import BatchSizeError, explain_step_errors


def test_one_value_per_channel_in_batch_norm_is_a_batch_size_error(make_record: MakeRecord) -> None:
    config = load_config(make_record(), ["sampler.batch_size=1"])
    with pytest.raises(BatchSizeError) as caught, explain_step_errors(config, config.states[0]):
        nn.BatchNorm3d(2)(torch.zeros(1, 2, 1, 1, 1))
    assert str(caught.value).startswith("sampler.batch_size 1 with clips of 8 frames: ")
    with pytest.raises(ValueError, match="expected 5D"), explain_step_errors(config, config.states[0]):
        nn.BatchNorm3d(2)(torch.zeros(1, 2))
