"""Published Mask2Formers: the authors' names, what is read off shapes, settings that cannot be honoured.

Not here: what transformers computes (tests/parity), the published lists of names (test_published_names.py).
"""

import re

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import minivis as mv
from minivis.nn import init
from minivis.pretrained import mask2former
from minivis.pretrained.settings import Settings
from tests.parity.torch_published import FOLDER

HUB = FOLDER / "mask2former"
SMALL = {
    "backbone_config": {
        "model_type": "swin",
        "embed_dim": 2,
        "depths": [1, 1, 1, 1],
        "num_heads": [1, 1, 1, 1],
    },
    "hidden_dim": 32,
    "feature_size": 32,
}


# transformers' words and the authors', written by hand, apart from the tables they judge
WORDS = [
    (r"model\.pixel_level_module\.encoder\.(embeddings|encoder)\.", "backbone."),
    (r"model\.pixel_level_module\.encoder\.", "backbone."),
    (r"backbone\.patch_embeddings\.projection", "backbone.patch_embed.proj"),
    (r"backbone\.norm\.", "backbone.patch_embed.norm."),
    (r"hidden_states_norms\.stage(\d)", lambda m: f"norm{int(m[1]) - 1}"),
    (r"layernorm_before", "norm1"),
    (r"layernorm_after", "norm2"),
    (r"attention\.self\.relative", "attn.relative"),
    (r"attention\.self\.(query|key|value)", r"attn.qkv.\1"),
    (r"attention\.output\.dense", "attn.proj"),
    (r"intermediate\.dense", "mlp.fc1"),
    (r"(blocks\.\d+)\.output\.dense", r"\1.mlp.fc2"),
    (r"model\.pixel_level_module\.decoder\.", "sem_seg_head.pixel_decoder."),
    (r"pixel_decoder\.(level_embed|encoder)", r"pixel_decoder.transformer.\1"),
    (r"input_projections", "input_proj"),
    (r"mask_projection", "mask_features"),
    (r"((?:adapter|layer)_1)\.0", r"\1"),
    (r"((?:adapter|layer)_1)\.1", r"\1.norm"),
    (r"(transformer\.encoder\.layers\.\d+)\.self_attn_layer_norm", r"\1.norm1"),
    (r"(transformer\.encoder\.layers\.\d+)\.final_layer_norm", r"\1.norm2"),
    (r"(transformer\.encoder\.layers\.\d+)\.fc(\d)", r"\1.linear\2"),
    (r"model\.transformer_module\.(decoder\.)?", "sem_seg_head.predictor."),
    (r"queries_embedder", "query_embed"),
    (r"queries_features", "query_feat"),
    (r"predictor\.layernorm", "predictor.decoder_norm"),
    (r"mask_predictor\.mask_embedder\.(\d)\.0", r"mask_embed.layers.\1"),
    (r"class_predictor", "sem_seg_head.predictor.class_embed"),
    (
        r"predictor\.layers\.(\d+)\.cross_attn\.",
        r"predictor.transformer_cross_attention_layers.\1.multihead_attn.",
    ),
    (
        r"predictor\.layers\.(\d+)\.(self|cross)_attn_layer_norm",
        r"predictor.transformer_\2_attention_layers.\1.norm",
    ),
    (r"predictor\.layers\.(\d+)\.self_attn\.", r"predictor.transformer_self_attention_layers.\1.self_attn."),
    (r"self_attn\.([qkv])_proj\.", r"self_attn.in_proj_\1."),
    (r"predictor\.layers\.(\d+)\.fc(\d)", r"predictor.transformer_ffn_layers.\1.linear\2"),
    (r"predictor\.layers\.(\d+)\.final_layer_norm", r"predictor.transformer_ffn_layers.\1.norm"),
]


def in_the_authors_words(arrays):
    """The arrays of transformers' Mask2Former as the authors store them: query, key and value packed into one."""
    found, packed = {}, {}
    for name, x in arrays.items():
        for theirs, authors in WORDS:
            name = re.sub(theirs, authors, name)
        if split := re.search(r"(attn\.qkv\.)(query|key|value)\.|(self_attn\.in_proj_)([qkv])\.", name):
            whole = name.replace(split[0], split[1] or split[3])
            packed.setdefault(whole, {})["qkv".index((split[2] or split[4])[0])] = x
        else:
            found[name] = x
    return found | {name: np.concatenate([parts[i] for i in range(3)]) for name, parts in packed.items()}


def test_a_file_of_the_authors_gives_the_same_model(tmp_path):
    model = mv.from_pretrained(HUB)
    images = load_file(HUB / "expected.safetensors")["input.images"]
    save_file(in_the_authors_words(load_file(HUB / "model.safetensors")), tmp_path / "model.safetensors")
    with pytest.raises(
        ValueError, match=r"heads and points do not follow from 48 offsets: write a config.json"
    ):
        mv.from_pretrained(tmp_path)  # 2 heads with 4 points, or 4 with 2?
    (tmp_path / "config.json").write_text('{"num_attention_heads": 2}')
    again = mv.from_pretrained(tmp_path)
    np.testing.assert_array_equal(again(images).masks.numpy(), model(images).masks.numpy())
    np.testing.assert_array_equal(again(images).logits.numpy(), model(images).logits.numpy())
    assert len(again.labels) == 5 and again.config["decoder_depth"] == 2


def test_the_published_number_of_heads_needs_no_config():
    # sampling_offsets of every published one: (192, 256)
    assert mask2former._heads(Settings("mask2former", {}), 192) == 8


def test_photos_are_prepared_as_published():
    model = mv.from_pretrained(HUB, dtype="float32")
    batch = model.preprocess(np.full((3, 30, 40), 0.5, np.float32))
    assert batch.shape == (1, 3, 384, 384) and batch.dtype == np.float32
    assert model.labels[0] == "LABEL_0"


def test_a_config_that_says_little_means_the_published_sizes():
    with init.skip_init():
        model = mask2former.build({"backbone_config": {"model_type": "swin"}, "num_labels": 133})
    assert sum(p.size for p in model.parameters()) == 47_435_264
    assert not model.backbone.config["shrink"]


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"pre_norm": True}, "mask2former: pre_norm must be False, found True"),
        ({"activation_function": "gelu"}, "mask2former: activation_function must be 'relu'"),
        ({"feature_size": 64}, "mask2former: feature_size must be 32, found 64"),
        ({"common_stride": 8}, "mask2former: common_stride must be 4"),
        (
            {"backbone_config": {"model_type": "convnext"}},
            "backbone_config must be of a swin or resnet .* found 'convnext'",
        ),
        (
            {"backbone_config": {"model_type": "swin", "out_features": ["stage4"]}},
            r"found 'swin' with \['stage4'\]",
        ),
        ({"backbone_config": None, "backbone": "resnet50"}, "backbone 'resnet50' is only named"),
    ],
)
def test_settings_that_minivis_does_not_have_are_refused(changed, message):
    with init.skip_init(), pytest.raises(ValueError, match=message):
        mask2former.build({**SMALL, **changed})


def test_files_of_the_authors_with_another_backbone_are_refused_by_name():
    arrays = in_the_authors_words(load_file(HUB / "model.safetensors"))
    shapes = {name: x.shape for name, x in arrays.items()}
    assert mask2former.infer({"head.weight": (3, 4)}) is None
    with pytest.raises(ValueError, match="minivis reads those with a Swin"):
        mask2former.infer({name: shape for name, shape in shapes.items() if not name.startswith("backbone.")})
