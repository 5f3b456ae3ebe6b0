"""Published MaskFormers: the authors' names, what is read off shapes, settings that cannot be honoured, pictures.

Not here: what transformers computes (tests/parity), the published list of names (test_published_names.py).
"""

import re
import shutil

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

import minivis as mv
from minivis.models import MaskFormer, Swin
from minivis.nn import init
from minivis.pretrained import maskformer
from minivis.pretrained.prediction import predict
from tests.parity.torch_published import FOLDER
from tests.pretrained.test_mask2former import WORDS as OF_MASK2FORMER

HUB = FOLDER / "maskformer"
SMALL = {
    "backbone_config": {"model_type": "swin", "embed_dim": 2, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1]},
    "decoder_config": {"model_type": "detr", "d_model": 32, "decoder_layers": 1},
    "fpn_feature_size": 32,
}  # fmt: skip

# transformers' words and the authors', written by hand, apart from the tables they judge
LAYER = r"predictor\.transformer\.decoder\.layers\.(\d+)\."
WORDS = [
    (r"encoder\.model\.layernorm.*", ""),
    (r"model\.pixel_level_module\.encoder\.model\.(embeddings|encoder)\.", "backbone."),
    (r"hidden_states_norms\.(\d)", r"norm\1"),
    (r"model\.pixel_level_module\.encoder\.", "backbone."),
    *(pair for pair in OF_MASK2FORMER if pair[0].startswith(("backbone", "layernorm", "attention", "(blocks"))),
    (r"^(.*)intermediate\.dense", r"\1mlp.fc1"),
    (r"model\.pixel_level_module\.decoder\.", "sem_seg_head.pixel_decoder."),
    (r"fpn\.stem\.", "layer_4."),
    (r"fpn\.layers\.(\d)\.proj", lambda m: f"adapter_{3 - int(m[1])}"),
    (r"fpn\.layers\.(\d)\.block", lambda m: f"layer_{3 - int(m[1])}"),
    (r"((?:adapter|layer)_\d)\.0", r"\1"),
    (r"((?:adapter|layer)_\d)\.1", r"\1.norm"),
    (r"mask_projection", "mask_features"),
    (r"model\.transformer_module\.decoder\.", "sem_seg_head.predictor.transformer.decoder."),
    (r"model\.transformer_module\.", "sem_seg_head.predictor."),
    (r"queries_embedder", "query_embed"),
    (r"input_projection", "input_proj"),
    (r"transformer\.decoder\.layernorm", "transformer.decoder.norm"),
    (LAYER + "self_attn_layer_norm", r"predictor.transformer.decoder.layers.\1.norm1"),
    (LAYER + "encoder_attn_layer_norm", r"predictor.transformer.decoder.layers.\1.norm2"),
    (LAYER + "final_layer_norm", r"predictor.transformer.decoder.layers.\1.norm3"),
    (LAYER + "encoder_attn", r"predictor.transformer.decoder.layers.\1.multihead_attn"),
    (LAYER + r"fc(\d)", r"predictor.transformer.decoder.layers.\1.linear\2"),
    (r"attn\.([qkv])_proj\.", r"attn.in_proj_\1."),
    (r"^mask_embedder\.(\d)\.0", r"sem_seg_head.predictor.mask_embed.layers.\1"),
    (r"^class_predictor", "sem_seg_head.predictor.class_embed"),
]  # fmt: skip


def in_the_authors_words(arrays):
    """The arrays of transformers' MaskFormer as the authors store them: query, key and value packed into one."""
    found, packed = {}, {}
    for name, x in arrays.items():
        for theirs, authors in WORDS:
            name = re.sub(theirs, authors, name)
        if not name.startswith(("backbone.", "sem_seg_head.", "criterion.")):
            continue  # the norm that is not used
        if split := re.search(r"(attn\.qkv\.)(query|key|value)\.|(attn\.in_proj_)([qkv])\.", name):
            whole = name.replace(split[0], split[1] or split[3])
            packed.setdefault(whole, {})["qkv".index((split[2] or split[4])[0])] = x
        else:
            found[name] = x
    return found | {name: np.concatenate([parts[i] for i in range(3)]) for name, parts in packed.items()}


def test_a_file_of_the_authors_gives_the_same_model(tmp_path):
    model = mv.from_pretrained(HUB)
    images = load_file(HUB / "expected.safetensors")["input.images"]
    save_file(in_the_authors_words(load_file(HUB / "model.safetensors")), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"num_attention_heads": 2}')  # of 8 in every published one
    again = mv.from_pretrained(tmp_path)
    np.testing.assert_array_equal(again(images).masks.numpy(), model(images).masks.numpy())
    np.testing.assert_array_equal(again(images).logits.numpy(), model(images).logits.numpy())
    assert len(again.labels) == 5 and again.config["decoder_depth"] == 2


def test_the_authors_pixel_encoder_is_read_off_the_names(tmp_path):
    """The models for COCO have encoder layers, which transformers has not: the names are torch's own."""
    backbone = Swin(
        width=2, depths=(1, 1, 1, 1), heads=(1, 1, 1, 1), num_classes=0, shrink=False, feature_norms=True
    )
    sizes = {"queries": 3, "width": 32, "heads": 8, "decoder_depth": 2, "mlp_width": 4, "mask_width": 5}
    model = MaskFormer(backbone, 4, **sizes, pixel_encoder_depth=2, rng=1).eval()
    ours = model.state_dict()
    packed = {}
    for name, source in maskformer.names(model, "fb").items():
        if isinstance(source, str):
            packed[source] = ours[name]
        else:
            packed.setdefault(source.name, {})[source.index] = ours[name]
    packed = {
        name: np.concatenate([x[i] for i in sorted(x)]) if isinstance(x, dict) else np.array(x)
        for name, x in packed.items()
    }
    layer = "sem_seg_head.pixel_decoder.transformer.encoder.layers.1."
    assert packed[layer + "self_attn.in_proj_weight"].shape == (96, 32)
    assert packed[layer + "linear1.weight"].shape == (4, 32) and layer + "norm2.bias" in packed
    assert packed["sem_seg_head.pixel_decoder.input_proj.weight"].shape == (32, 16, 1, 1)
    assert "sem_seg_head.predictor.input_proj.weight" not in packed  # the map has the right width
    save_file(packed, tmp_path / "model.safetensors")
    again = mv.from_pretrained(tmp_path)
    assert again.config["pixel_encoder_depth"] == 2
    x = np.random.default_rng(0).standard_normal((1, 3, 40, 33)).astype(np.float32)
    np.testing.assert_array_equal(again(x).masks.numpy(), model(x).masks.numpy())


def test_photos_are_prepared_as_published():
    model = mv.from_pretrained(HUB, dtype="float32")
    batch = model.preprocess(np.full((3, 30, 40), 0.5, np.float32))
    assert batch.shape == (1, 3, 512, 704) and batch.dtype == np.float32  # 682 and up to a multiple of 32
    assert model.labels[0] == "LABEL_0"


def test_a_photo_gets_a_panoptic_picture(tmp_path, capsys):
    shutil.copytree(HUB, tmp_path / "model")
    weights = load_file(HUB / "model.safetensors")
    weights["class_predictor.bias"][0] += 40  # every query is sure that it sees a LABEL_0
    save_file(weights, tmp_path / "model" / "model.safetensors")
    (tmp_path / "model" / "preprocessor_config.json").write_text(
        '{"image_processor_type": "MaskFormerImageProcessor", "size": {"shortest_edge": 32, "longest_edge": 64}}'
    )
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 30, 3), np.uint8)).save(
        tmp_path / "photo.png"
    )
    predict(tmp_path / "model", tmp_path / "photo.png", tmp_path / "drawn.png", things=["LABEL_0"])
    said = capsys.readouterr().out.splitlines()
    count = int(said[0].split()[0])
    assert 1 <= count <= 3 and all("LABEL_0" in line for line in said[1 : 1 + count])
    assert (tmp_path / "drawn.png").exists()


def test_a_config_that_says_little_means_the_published_sizes():
    with init.skip_init():
        model = maskformer.build({"num_labels": 150})  # transformers' default is the Swin-B
    unused = 2 * 1024  # a norm in transformers' Swin
    assert sum(p.size for p in model.parameters()) == 101_831_439 - unused
    assert not model.backbone.config["shrink"] and model.config["dropout"] == 0.1


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"fpn_feature_size": 64}, "maskformer: fpn_feature_size must be 32, found 64"),
        ({"decoder_config": {"model_type": "t5"}}, "maskformer: decoder_config: model_type must be 'detr'"),
        ({"decoder_config": {"activation_function": "gelu"}}, "decoder_config: activation_function must be 'relu'"),
        ({"backbone_config": {"model_type": "convnext"}}, "backbone_config must be of a swin or resnet .* found 'convnext'"),
        ({"backbone_config": None, "backbone": "resnet50"}, "maskformer: backbone 'resnet50' is only named"),
    ],
)  # fmt: skip
def test_settings_that_minivis_does_not_have_are_refused(changed, message):
    with init.skip_init(), pytest.raises(ValueError, match=message):
        maskformer.build({**SMALL, **changed})


def test_files_of_the_authors_with_another_backbone_are_refused_by_name():
    arrays = in_the_authors_words(load_file(HUB / "model.safetensors"))
    shapes = {name: x.shape for name, x in arrays.items()}
    assert maskformer.infer({"head.weight": (3, 4)}) is None
    with pytest.raises(ValueError, match="minivis reads those with a Swin"):
        maskformer.infer({name: shape for name, shape in shapes.items() if not name.startswith("backbone.")})
