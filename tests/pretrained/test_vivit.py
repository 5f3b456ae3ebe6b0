"""Published ViViTs: what their config.json and preprocessor_config.json say, and what is refused.

Not here: equality with transformers (tests/parity), the names of a published checkpoint (test_published_names.py).
"""

import numpy as np
import pytest

from minivis.nn import init
from minivis.pretrained import vivit
from minivis.pretrained.preprocess import preprocess_of

SMALL = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "image_size": 32,
}


def test_absent_settings_have_the_published_values():
    with init.skip_init():
        model = vivit.build({"num_labels": 400})
    assert sum(p.size for p in model.parameters()) == 88_954_000
    assert (model.frames, model.tubelet, model.variant) == (32, (2, 16, 16), "joint")
    assert model.norm.eps == 1e-6


def test_a_backbone_has_no_head():
    model = vivit.build({**SMALL, "architectures": ["VivitModel"]})
    assert model.head is None and "layernorm.weight" in vivit.names(model, "hf").values()


@pytest.mark.parametrize(
    "config, said",
    [
        ({"qkv_bias": False}, "vivit: qkv_bias is false"),
        (
            {"tubelet_size": [16, 16]},
            r"vivit: tubelet_size must be \[frames, height, width\], got \[16, 16\]",
        ),
        ({"num_frames": 3}, "ViViT: tubelets of 2 x 16 x 16 do not fill 3 frames"),
        ({"hidden_act": "tanh"}, "activation: hidden_act must be one of"),
    ],
)
def test_settings_that_are_not_possible_are_refused(config, said):
    with pytest.raises(ValueError, match=f"^{said}"):
        vivit.build({**SMALL, **config})


def test_frames_become_minus_one_to_one_without_a_file():
    prepare = preprocess_of(vivit.FAMILY.preprocessor)
    frame = np.zeros((300, 400, 3), np.uint8)
    frame[:, 200:] = 255
    found = prepare(frame)
    assert found.shape == (1, 3, 224, 224)
    np.testing.assert_allclose([found.min(), found.max()], [-1, 1], atol=1e-6)


def test_what_a_file_says_is_done():
    """transformers subtracts 1 and then normalises, if the file says both."""
    file = {"image_processor_type": "VivitImageProcessor", "size": {"shortest_edge": 256}}
    white = np.full((256, 256, 3), 255, np.uint8)
    assert preprocess_of(file)(white).max() == pytest.approx((1 - 0.5) / 0.5)
    plain = {**file, "offset": False, "rescale_factor": 1 / 255, "do_normalize": False}
    assert preprocess_of(plain)(white).max() == pytest.approx(1)
