"""How many pixels a position of a feature map can depend on, from the sizes of the layers alone.

Not here: how much it does depend on each of them (analysis.receptive_field), the layers of a given model (nn.summary).
"""

from minivis.dtypes import whole

__all__ = ["field_of_view"]


def field_of_view(layers):
    """The side of the square of pixels that one position of the last map sees, and the distance of two such squares.

    .. math:: r_0 = 1, \\quad j_0 = 1, \\qquad r_l = r_{l-1} + (k_l - 1)\\, d_l\\, j_{l-1}, \\quad j_l = j_{l-1} s_l

    Parameters
    ----------
    layers : sequence of (int, int, int)
        (kernel, stride, dilation) of each convolution or pooling, from the image on.

    Returns
    -------
    (int, int)
        Side of the field and stride of the last map, in pixels.

    Raises
    ------
    ValueError
        If a layer is not three whole numbers of at least 1.

    Notes
    -----
    It is the theoretical field, as if the image had no border. A network depends mostly on its middle: see
    `minivis.analysis.receptive_field`.

    References
    ----------
    Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015, section 2.3.
    Slide ``Z/29-vgg``.

    Examples
    --------
    >>> field_of_view([(3, 1, 1), (3, 1, 1)])  # two 3 x 3 convolutions see as much as one of 5 x 5
    (5, 1)
    """
    size = 1
    distance = 1  # of two neighbouring positions of the map so far
    for i, layer in enumerate(layers):
        numbers = whole(layer)
        numbers = numbers if isinstance(numbers, tuple) else ()
        if len(numbers) != 3 or min(numbers) < 1:
            raise ValueError(
                f"field_of_view: layers must be (kernel, stride, dilation), whole numbers of at least 1 (layer {i}: {layer})"
            )
        kernel, stride, dilation = numbers
        size += (kernel - 1) * dilation * distance
        distance *= stride
    return size, distance
