"""The numbers of the slides on transposed convolution, element by element.

Not here: the slides' other numbers and the laws (tests/ops/test_conv.py), or that the notebook shows them.
"""

import numpy as np

from minivis import ops


def test_stride_two_halves_and_its_transpose_needs_output_padding_to_double():
    w = np.ones((1, 1, 3, 3))
    assert ops.conv2d(np.ones((1, 1, 4, 4)), w, padding=1).shape == (1, 1, 4, 4)
    for side in (3, 4):  # both sizes become 2 x 2: that is why the way back must be told
        assert ops.conv2d(np.ones((1, 1, side, side)), w, stride=2, padding=1).shape == (1, 1, 2, 2)
    x = np.array([[[[1.0, 2], [3, 4]]]])
    assert ops.conv_transpose2d(x, w, stride=2, padding=1)[0, 0].tolist() == [
        [1, 3, 2],
        [4, 10, 6],
        [3, 7, 4],
    ]
    doubled = ops.conv_transpose2d(x, w, stride=2, padding=1, output_padding=1)
    assert doubled[0, 0].tolist() == [[1, 3, 2, 2], [4, 10, 6, 6], [3, 7, 4, 4], [3, 7, 4, 4]]


def test_transposed_copies_add_where_they_overlap():
    x = np.array([[[[2.0, 3]]]])
    w = np.array([[[[1.0, 10, 100]]]])
    assert ops.conv_transpose2d(x, w, stride=(1, 2))[0, 0, 0].tolist() == [2, 20, 203, 30, 300]
