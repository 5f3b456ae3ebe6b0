"""Small random Swins of transformers, as classifier and as backbone, and what they compute; the first of each is stored.

Written with torch 2.13.0 and transformers 4.57.6, seeds as given, from the repository's root, with the extras dev and
parity:  python -m tests.parity.make_swin_fixtures
"""

from tests.parity.torch_published import images, main, publish

SMALL = {
    "patch_size": 2,
    "embed_dim": 8,
    "depths": [2, 2],
    "num_heads": [2, 4],
    "window_size": 3,
    "mlp_ratio": 2.0,
    "num_labels": 5,
}


def swin(seed=0, size=(24, 18), kind="SwinForImageClassification", **options):
    """A function that publishes a Swin and what it makes of pictures of one size."""

    def make(folder):
        import torch
        import transformers

        torch.set_default_dtype(torch.float64)
        options_ = {**SMALL, **options}
        if kind == "SwinBackbone":
            options_["out_features"] = [f"stage{i + 1}" for i in range(len(options_["depths"]))]
        config = transformers.SwinConfig(**options_)
        model = getattr(transformers, kind)(config)
        maps = {str(i): f"feature_maps.{i}" for i in range(len(config.depths))}
        outputs = maps if kind == "SwinBackbone" else ["logits"]
        publish(folder, model, images(2, config.num_channels, *size, seed=seed), outputs=outputs, seed=seed)

    return make


STORED = {"swin": swin(seed=0), "swin-backbone": swin(seed=1, kind="SwinBackbone", size=(21, 26))}
LIVE = {
    # maps 9 x 11 and 5 x 6: padded to windows, to patches and to pairs
    "swin, windows that do not divide": swin(seed=2, size=(17, 21), num_channels=1),
    "swin, one head, one window at the end": swin(seed=3, size=(16, 16), window_size=4, num_heads=[1, 1]),
    "swin, three stages, many heads": swin(
        seed=4, size=(28, 40), depths=[2, 3, 1], num_heads=[2, 8, 16], embed_dim=16, window_size=2
    ),
    "swin, no bias of queries, another activation": swin(seed=5, qkv_bias=False, hidden_act="gelu_new"),
    "swin backbone, maps smaller than a window": swin(
        seed=6, kind="SwinBackbone", size=(10, 18), window_size=7
    ),
    "swin backbone, three stages": swin(
        seed=7, kind="SwinBackbone", size=(33, 20), depths=[1, 2, 2], num_heads=[1, 2, 4]
    ),
}

if __name__ == "__main__":
    main(STORED)
