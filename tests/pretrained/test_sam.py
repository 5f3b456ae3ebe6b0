"""Published SAMs: the authors' names, what is read off shapes, settings that cannot be honoured, photos there and back.

Not here: what the published code computes (tests/parity), the published lists of names (test_published_names.py).
"""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

import minivis as mv
from minivis import cli, models
from minivis.nn import init
from minivis.pretrained import sam
from minivis.pretrained.preprocess import preprocess_of
from minivis.vision import masks_in_photo, points_in_picture
from tests.parity.torch_published import FOLDER

HUB = FOLDER / "sam"
EXPECTED = load_file(HUB / "expected.safetensors")
ASKED = {name[7:]: x for name, x in EXPECTED.items() if name.startswith("prompt.")}
has_transformers = all(importlib.util.find_spec(name) for name in ("torch", "transformers", "torchvision"))

# transformers' words and the authors', written by hand, apart from the tables they judge
WORDS = [
    (r"^vision_encoder\.", "image_encoder."),
    (r"patch_embed\.projection", "patch_embed.proj"),
    (r"(image_encoder)\.layers\.(\d+)\.layer_norm", r"\1.blocks.\2.norm"),
    (r"image_encoder\.layers\.", "image_encoder.blocks."),
    (r"neck\.conv1", "neck.0"),
    (r"neck\.layer_norm1", "neck.1"),
    (r"neck\.conv2", "neck.2"),
    (r"neck\.layer_norm2", "neck.3"),
    (r"^shared_image_embedding\.positional_embedding", "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
    (r"\.point_embed\.", ".point_embeddings."),
    (r"mask_embed\.conv1", "mask_downscaling.0"),
    (r"mask_embed\.layer_norm1", "mask_downscaling.1"),
    (r"mask_embed\.conv2", "mask_downscaling.3"),
    (r"mask_embed\.layer_norm2", "mask_downscaling.4"),
    (r"mask_embed\.conv3", "mask_downscaling.6"),
    (r"layer_norm_final_attn", "norm_final_attn"),
    (r"(transformer\.layers\.\d+)\.layer_norm", r"\1.norm"),
    (r"upscale_conv1", "output_upscaling.0"),
    (r"upscale_layer_norm", "output_upscaling.1"),
    (r"upscale_conv2", "output_upscaling.3"),
    (r"((?:mlps\.\d|prediction_head))\.layers\.0", r"\1.layers.1"),
    (r"((?:mlps\.\d|prediction_head))\.proj_in", r"\1.layers.0"),
    (r"((?:mlps\.\d|prediction_head))\.proj_out", r"\1.layers.2"),
]  # fmt: skip


def in_the_authors_words(arrays):
    found = {}
    for name, x in arrays.items():
        if name.startswith("prompt_encoder.shared_embedding"):
            continue
        for theirs, authors in WORDS:
            name = re.sub(theirs, authors, name)
        found[name] = x
    return found


def authors(folder):
    save_file(in_the_authors_words(load_file(HUB / "model.safetensors")), folder / "model.safetensors")
    return folder


def test_a_file_of_the_authors_gives_the_same_model_but_for_an_epsilon(tmp_path):
    model = mv.from_pretrained(HUB)
    authors(tmp_path)
    with pytest.raises(
        ValueError, match="heads of the mask decoder do not follow from its width 16: write a config"
    ):
        mv.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"num_attention_heads": 2}')
    again = mv.from_pretrained(tmp_path)
    layers = again.mask_decoder.layers
    assert {norm.eps for layer in layers for norm in (layer.norm1, layer.norm4)} == {1e-5}
    assert model.mask_decoder.layers[0].norm1.eps == 1e-6
    for layer in layers:
        for norm in (layer.norm1, layer.norm2, layer.norm3, layer.norm4):
            norm.eps = 1e-6
    x = EXPECTED["input.images"]
    np.testing.assert_array_equal(again(x, **ASKED).masks.numpy(), model(x, **ASKED).masks.numpy())
    assert again.image_encoder.config["window"] == 3 and again.image_encoder.config["whole"] == (1,)
    assert again.labels == {} and again.things == []


def test_a_config_that_says_little_means_the_published_sizes():
    with init.skip_init():
        model = sam.build({"model_type": "sam"})
    assert sum(p.size for p in model.parameters()) == 93_735_472
    assert model.config["mask_decoder"].config["heads"] == 8


@pytest.mark.parametrize(
    ("part", "changed", "message"),
    [
        (
            "vision_config",
            {"use_rel_pos": False},
            "sam: vision_config: use_rel_pos must be True, found False",
        ),
        ("vision_config", {"hidden_act": "relu"}, "vision_config: hidden_act must be 'gelu', found 'relu'"),
        ("vision_config", {"num_pos_feats": 64}, "vision_config: num_pos_feats must be 128, found 64"),
        (
            "vision_config",
            {"image_size": 1000},
            "prompt_encoder_config: image_size must be 1000|patches of 16 do not",
        ),
        ("vision_config", {"global_attn_indexes": [2, 12]}, "whole name blocks 0 to 11"),
        ("vision_config", {"window_size": "14"}, "needs a whole number named 'window_size'"),
        ("prompt_encoder_config", {"num_point_embeddings": 6}, "num_point_embeddings must be 4, found 6"),
        (
            "mask_decoder_config",
            {"attention_downsample_rate": 4},
            "attention_downsample_rate must be 2, found 4",
        ),
        ("mask_decoder_config", {"num_attention_heads": 3}, "half of it by heads, got 256, 3"),
        ("mask_decoder_config", {"iou_head_depth": 2}, "iou_head_depth must be 3, found 2"),
    ],
)
def test_settings_that_minivis_does_not_have_are_refused(part, changed, message):
    with init.skip_init(), pytest.raises(ValueError, match=message):
        sam.build({"model_type": "sam", part: changed})


def test_a_file_that_lacks_a_weight_names_it(tmp_path):
    arrays = load_file(HUB / "model.safetensors")
    del arrays["mask_decoder.iou_token.weight"]
    save_file(arrays, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((HUB / "config.json").read_bytes())
    with pytest.raises(ValueError, match=r"it lacks mask_decoder\.iou_token\.weight"):
        mv.from_pretrained(tmp_path)
    assert sam.infer({"head.weight": (3, 4)}) is None


def test_photos_are_padded_to_the_one_size_that_the_encoder_takes():
    prepare = preprocess_of(sam.FAMILY.preprocessor)
    assert prepare.new_size(480, 640) == (768, 1024) and prepare.new_size(2000, 999) == (1024, 511)
    small = preprocess_of({"image_processor_type": "SamImageProcessor", "size": {"longest_edge": 16}})
    batch = small(np.ones((3, 10, 20), np.float32))
    assert batch.shape == (1, 3, 16, 16)
    # zeros are added after the colours are normalised
    assert (batch[0, :, 8:] == 0).all()
    assert (batch[0, :, :8] > 1).all()


def test_points_and_boxes_go_from_the_photo_to_the_picture():
    points = points_in_picture(np.array([[10, 20], [0, 5]]), (480, 640), (768, 1024))
    np.testing.assert_allclose(points, [[16, 32], [0, 8]])
    boxes = points_in_picture(np.float32([[10, 20, 30, 40]]), (100, 50), (1024, 511))
    assert boxes.dtype == np.float32
    np.testing.assert_allclose(boxes, [[102.2, 204.8, 306.6, 409.6]], rtol=1e-6)
    with pytest.raises(
        ValueError, match=r"^points_in_picture: points must be \(..., 2\) or boxes \(..., 4\)"
    ):
        points_in_picture(np.zeros((2, 3)), (4, 4), (8, 8))


@pytest.mark.skipif(not has_transformers, reason="needs the parity extra")
def test_masks_come_back_to_the_photo_as_with_transformers():
    import torch

    from tests.parity.make_torchvision_fixtures import torchvision_models

    torchvision_models()
    import transformers

    processor = transformers.SamImageProcessor(pad_size={"height": 40, "width": 40})
    logits = np.random.default_rng(0).standard_normal((1, 2, 3, 10, 10))
    (theirs,) = processor.post_process_masks(
        torch.from_numpy(logits), [(33, 62)], [(21, 40)], binarize=False, pad_size={"height": 40, "width": 40}
    )
    ours = masks_in_photo(logits[0], (40, 40), (21, 40), (33, 62))
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-12)


def test_the_published_sizes_are_those_of_the_files():
    for name, vision in (("sam_vit_l", (1024, 24, 16)), ("sam_vit_h", (1280, 32, 16))):
        whole = {"sam_vit_l": [5, 11, 17, 23], "sam_vit_h": [7, 15, 23, 31]}[name]
        keys = ("hidden_size", "num_hidden_layers", "num_attention_heads")
        config = {**dict(zip(keys, vision, strict=True)), "global_attn_indexes": whole}
        with init.skip_init():
            pair = [getattr(models, name)(), sam.build({"model_type": "sam", "vision_config": config})]
        shapes = [[(n, p.shape) for n, p in model.named_parameters()] for model in pair]
        assert shapes[0] == shapes[1]


def test_a_sam_of_the_scenes_shows_what_it_finds_by_itself(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    backbone = models.ResNet((1, 1), "basic", (8, 8), stem_width=8, num_classes=0, norm="group", rng=0)
    parts = models.MapEncoder(backbone, 16, heads=2), models.PromptEncoder(16, 64, 16)
    model = models.SAM(*parts, models.MaskDecoder(16, heads=2, mlp_width=16))
    model.mask_decoder.iou_head.layers[-1].bias.data += 1  # sure of everything
    for mlp in model.mask_decoder.mask_mlps:
        mlp.layers[-1].bias.data *= 1e4
    mv.save(model, "run")
    Path("run/metrics.json").write_text('{"recipe": "sam-shapes"}')
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)).save("photo.png")
    assert cli.main(["predict", "run", "photo.png"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (
        re.fullmatch(r"\d+ things? without a name", lines[0])
        and int(lines[0].split()[0]) == len(lines) - 2 > 0
    )
    assert re.fullmatch(r"\d\.\d{3}  \d+\.\d % of the photo, from \(\d+, \d+\) to \(\d+, \d+\)", lines[1])
