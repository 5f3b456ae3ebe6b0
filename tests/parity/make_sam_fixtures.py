"""Small random SAMs of transformers and of the authors, asked in every way, and what they answer; the first is stored.

Written with torch 2.13.0, transformers 4.57.6 and segment_anything 1.0, seeds as given, from the repository's root, with
the extras dev and parity:  python -m tests.parity.make_sam_fixtures
"""

import importlib.util
from unittest import mock

import numpy as np

from tests.parity.make_torchvision_fixtures import torchvision_models
from tests.parity.torch_published import images, main, publish

VISION = {
    "hidden_size": 12,
    "output_channels": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 40,
    "patch_size": 8,
    "window_size": 3,  # the 5 x 5 patches do not fill their windows
    "global_attn_indexes": [1],
    "num_pos_feats": 8,
    "mlp_ratio": 2.0,
}
PROMPTS = {"hidden_size": 16, "image_size": 40, "patch_size": 8, "mask_input_channels": 8}
DECODER = {"hidden_size": 16, "mlp_dim": 12, "num_attention_heads": 2, "iou_head_hidden_dim": 10}


def asked(seed, B=2, P=3, n=2, side=40, cells=5):
    """Points, labels and boxes, a prompt for each of P things in B pictures, and a mask for each picture."""
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.uniform(0, side, (B, P, 2, 2)), axis=2)
    return {
        "points": rng.uniform(0, side, (B, P, n, 2)),
        "point_labels": rng.integers(0, 2, (B, P, n)) * np.array([1, 1, -1][:P])[:, None],
        "boxes": corners.reshape(B, P, 4),
        "masks": np.repeat(rng.standard_normal((B, 1, 1, 4 * cells, 4 * cells)), P, axis=1),
    }


def sam(parts, seed=0, multimask=True, decoder=None, B=2, P=3, n=2, **vision):
    """A function that publishes a SAM, and its answer to prompts of the named parts."""

    def make(folder):
        import torch

        torchvision_models()  # transformers' SAM needs it to load
        import transformers

        torch.set_default_dtype(torch.float64)
        config = transformers.SamConfig({**VISION, **vision}, PROMPTS, {**DECODER, **(decoder or {})})
        model = transformers.SamModel(config).double()
        given = {name: x for name, x in asked(seed, B, P, n).items() if name in parts}
        theirs = {
            "points": "input_points",
            "point_labels": "input_labels",
            "boxes": "input_boxes",
            "masks": "input_masks",
        }
        options = {theirs[name]: torch.from_numpy(x) for name, x in given.items()}
        if "masks" in given:  # transformers takes one mask for all prompts of a picture
            options["input_masks"] = options["input_masks"][:, 0]
        publish(
            folder,
            model,
            images(B, 3, 40, 40, seed=seed),
            outputs={"masks": "pred_masks", "iou": "iou_scores"},
            seed=seed,
            prompts={**given, "multimask": multimask},
            multimask_output=multimask,
            **options,
        )

    return make


def authors(parts, seed=0, multimask=True, B=2, P=3, n=2, window=3):
    """A function that publishes a SAM of the authors' own code, and its answers, one picture after the other."""

    def make(folder):
        import torch

        torchvision_models()
        torch.set_default_dtype(torch.float64)
        model = _of_the_authors(window, multimask)
        given = {name: x for name, x in asked(seed, B, P, n).items() if name in parts}
        # they compute positions in float32, also in float64
        with (
            mock.patch.object(torch, "float32", torch.float64),
            mock.patch.object(torch, "float", torch.float64),
        ):
            publish(
                folder,
                model,
                images(B, 3, 40, 40, seed=seed),
                outputs=("masks", "iou"),
                seed=seed,
                prompts={**given, "multimask": multimask},
                **{name: torch.from_numpy(x) for name, x in given.items()},
            )

    return make


def _of_the_authors(window, multimask):
    """Their model, which saves itself and takes the prompts of several pictures."""
    import torch
    from safetensors.torch import save_file
    from segment_anything import modeling

    class Asked(modeling.Sam):
        def save_pretrained(self, folder):
            folder.mkdir(exist_ok=True)
            save_file({n: x.contiguous() for n, x in self.state_dict().items()}, folder / "model.safetensors")
            (folder / "config.json").write_text('{"num_attention_heads": 2}')

        def forward(self, images, points=None, point_labels=None, boxes=None, masks=None):
            embeddings = self.image_encoder(images)
            found = []
            for i in range(len(images)):
                clicks = None if points is None else (points[i], point_labels[i])
                rest = (None if x is None else x[i] for x in (boxes, masks))
                tokens, maps = self.prompt_encoder(clicks, *rest)
                codes = self.prompt_encoder.get_dense_pe()
                found.append(self.mask_decoder(embeddings[i : i + 1], codes, tokens, maps, multimask))
            return dict(zip(("masks", "iou"), map(torch.stack, zip(*found, strict=True)), strict=True))

    encoder = modeling.ImageEncoderViT(
        img_size=40, patch_size=8, embed_dim=12, depth=3, num_heads=2, mlp_ratio=2.0, out_chans=16, qkv_bias=True,
        norm_layer=lambda width: torch.nn.LayerNorm(width, eps=1e-6), use_rel_pos=True, window_size=window,
        global_attn_indexes=(1,),
    )  # fmt: skip
    prompts = modeling.PromptEncoder(16, (5, 5), (40, 40), 8)
    transformer = modeling.TwoWayTransformer(depth=2, embedding_dim=16, num_heads=2, mlp_dim=12)
    decoder = modeling.MaskDecoder(transformer_dim=16, transformer=transformer, iou_head_hidden_dim=10)
    return Asked(encoder, prompts, decoder).double()


POINTS = ("points", "point_labels")
STORED = {
    "sam": sam((*POINTS, "boxes", "masks"), seed=70),
}
LIVE = {
    "sam, points": sam(POINTS, seed=71),
    "sam, one mask of points": sam(POINTS, seed=72, multimask=False, n=4),
    "sam, boxes": sam(("boxes",), seed=73, qkv_bias=False, window_size=4),
    "sam, one mask of points and boxes": sam((*POINTS, "boxes"), seed=74, multimask=False, P=1),
    "sam, points and a mask, one layer, all attention in the whole picture": sam(
        (*POINTS, "masks"),
        seed=75,
        decoder={"num_hidden_layers": 1, "num_attention_heads": 4},
        window_size=0,
        B=1,
    ),
}

if importlib.util.find_spec("segment_anything"):
    LIVE |= {
        "sam of the authors, points": authors(POINTS, seed=76),
        "sam of the authors, one mask of points, a box and a mask": authors(
            (*POINTS, "boxes", "masks"), seed=77, multimask=False, window=4
        ),
        "sam of the authors, boxes": authors(("boxes",), seed=78, P=1, B=3),
    }

if __name__ == "__main__":
    main(STORED)
