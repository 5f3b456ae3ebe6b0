"""The models that a training of one's own begins with: those that have a form on the model hub can leave again.

Not here: that they learn (test_training.py), that the library of the hub reads them (tests/parity).
"""

import numpy as np
import pytest

import minivis as mv
from minivis.tasks.starts import start


@pytest.mark.parametrize("name", ["vit", "resnet", "swin"])
def test_a_model_of_ones_own_can_be_exported_and_comes_back_with_equal_weights(tmp_path, name):
    model = start("classes", ["beach", "lake"], name, rng=np.random.default_rng(0)).model
    mv.export(model.eval(), tmp_path)
    again = mv.from_pretrained(tmp_path)
    assert again.labels == {0: "beach", 1: "lake"}
    theirs = again.state_dict()
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(theirs[key], value)
