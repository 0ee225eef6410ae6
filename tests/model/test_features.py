"""The input of the classifiers, for every kind of network."""

import threading

import pytest
import torch
from torch.nn import functional as F

from model.features import WithFeatures
from tests.networks import FAMILIES, tiny_clips, tiny_network


@pytest.mark.parametrize("name", (*FAMILIES, "torchvision/swin3d_t", "torchvision/s3d"))
def test_classifiers_applied_to_the_features_give_the_heads(name: str) -> None:
    network, clips = tiny_network(name).eval(), tiny_clips(name)
    with torch.inference_mode():
        heads = network(clips)
        expected = network.fuse(heads)
        scores, features = WithFeatures(network)(clips)
        assert torch.equal(scores, expected)
        classifiers = [network.get_submodule(name) for name in network.classifier_names]
        parts = features.split([classifier.weight.shape[1] for classifier in classifiers], dim=1)
        for head, part, classifier in zip(heads, parts, classifiers, strict=True):
            logits = F.linear(part, classifier.weight.flatten(1), classifier.bias)  # torchvision's S3D: a convolution
            torch.testing.assert_close(logits, head, atol=1e-4, rtol=1e-4)


def test_threads_do_not_see_each_others_clips() -> None:
    wrapped = WithFeatures(tiny_network("seq_resnet18").eval())
    clips, found = [torch.randn(1, 3, 2, 32, 32) for _ in range(4)], {}

    def run(number: int) -> None:
        with torch.inference_mode():
            found[number] = wrapped.fuse(wrapped(clips[number]))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        with torch.inference_mode():
            torch.testing.assert_close(found[number], wrapped.fuse(wrapped(clips[number])))
