"""Segmenter's decoder gives what mmsegmentation's gives, gradients too: against stored results everywhere.

Not here: the encoder, which is a ViT (test_nn_parity.py, test_published_parity.py). Where mmsegmentation lies on the path,
it is asked again.
"""

import pytest

from tests.parity import make_segmenter_fixtures as published
from tests.parity.test_nn_parity import assert_same

ROWS = {row.key: row for row in published.ROWS}


@pytest.mark.parametrize("key", ROWS)
def test_the_decoder_gives_what_mmsegmentation_gave(key):
    assert_same(published.ours(ROWS[key]), published.load(key))


@pytest.mark.skipif(not published.is_there(), reason="needs torch and the files of mmsegmentation")
@pytest.mark.parametrize("key", ROWS)
def test_the_stored_results_are_what_mmsegmentation_gives_now(key):
    assert_same(published.theirs(ROWS[key]), published.load(key))
