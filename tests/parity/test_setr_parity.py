"""SETR's heads give what mmsegmentation's give, gradients too: against stored results everywhere.

Not here: the encoder, which is a ViT (test_nn_parity.py, test_published_parity.py). Where mmsegmentation lies on the path,
it is asked again.
"""

import numpy as np
import pytest

from tests.parity import make_setr_fixtures as published
from tests.parity.make_segmenter_fixtures import is_there
from tests.parity.test_nn_parity import assert_same

ROWS = {row.key: row for row in published.ROWS}


@pytest.mark.parametrize("key", ROWS)
def test_the_head_gives_what_mmsegmentation_gave(key):
    assert_same(published.ours(ROWS[key]), published.load(key))


def test_the_comparison_sees_aligned_corners():
    row = ROWS["multi-level"]
    aligned = published.head(row)
    aligned.align_corners = True
    expected = published.load(row.key)["scores"]
    B, H, W = row.map
    tokens = [x.reshape(B, -1, H * W).swapaxes(1, 2) for x in row.maps()]
    assert np.abs(aligned(tokens, (H, W)).numpy() - expected).max() > 1e-3


@pytest.mark.skipif(not is_there(), reason="needs torch and the files of mmsegmentation")
@pytest.mark.parametrize("key", ROWS)
def test_the_stored_results_are_what_mmsegmentation_gives_now(key):
    assert_same(published.theirs(ROWS[key]), published.load(key))
