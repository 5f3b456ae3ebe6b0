"""Small random ResNets of transformers, and what they compute; the first of them is stored.

Written with torch 2.13.0 and transformers 4.57.6, seeds as given, from the repository's root, with the extras dev and
parity:  python -m tests.parity.make_resnet_fixtures
"""

from tests.parity.torch_published import images, main, publish

SMALL = {"embedding_size": 8, "hidden_sizes": [8, 16, 16, 24], "depths": [1, 2, 1, 1], "num_labels": 5}


def resnet(seed=0, size=(37, 50), **options):
    """A function that publishes a ResNet and what it makes of pictures of one size."""

    def make(folder):
        import torch
        import transformers

        torch.set_default_dtype(torch.float64)
        config = transformers.ResNetConfig(**{**SMALL, **options})
        model = transformers.ResNetForImageClassification(config)
        publish(folder, model, images(2, config.num_channels, *size, seed=seed), seed=seed)

    return make


STORED = {"resnet": resnet(seed=0)}
LIVE = {
    "resnet, basic blocks, odd size": resnet(seed=1, layer_type="basic", size=(33, 65)),
    "resnet, deeper, one channel": resnet(seed=2, depths=[2, 1, 3, 2], num_channels=1, size=(64, 31)),
    "resnet, two stages": resnet(seed=3, depths=[2, 1], hidden_sizes=[16, 32], size=(20, 28)),
}

if __name__ == "__main__":
    main(STORED)
