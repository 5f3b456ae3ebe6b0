"""What MaskFormer and Mask2Former share: the output, mask logits as dot products, the way down a feature pyramid.

Cheng et al., "Per-pixel classification is not all you need for semantic segmentation", NeurIPS 2021, section 3.
Not here: the models (maskformer.py, mask2former.py), the deformable pixel decoder (pixel_decoder.py), the losses (losses/).
"""

import functools
from dataclasses import dataclass, field

from minivis import backend, ops
from minivis.autograd import Tensor
from minivis.nn import Conv2d, GroupNorm, Sequential
from minivis.vision.position_codes import sine_position_code

__all__ = ["MaskFormerOutput"]


@dataclass
class MaskFormerOutput:
    """One class and one mask for each query: the predictions of MaskFormer or Mask2Former for a batch of images.

    Attributes
    ----------
    logits : Tensor, shape (B, Q, K + 1)
        Scores of the classes; the last is "no object".
    masks : Tensor, shape (B, Q, H / 4, W / 4)
        Logits, positive where a pixel belongs to the query's segment. As large as the backbone's finest map.
    auxiliary : list of MaskFormerOutput
        The predictions that only the loss needs. MaskFormer's are made after each decoder layer except the last,
        Mask2Former's before each layer, the first from the learned queries alone.

    References
    ----------
    Cheng et al. 2021, section 3.2. Slide ``I/32-maskformer``.

    Examples
    --------
    >>> import numpy as np
    >>> MaskFormerOutput(Tensor(np.zeros((1, 2, 4))), Tensor(np.zeros((1, 2, 8, 8)))).auxiliary
    []
    """

    logits: Tensor
    masks: Tensor
    auxiliary: list = field(default_factory=list)


def predict(x, pixels, class_head, mask_head):
    """Class and mask of every query (B, Q, D). A mask logit is the dot product of the query's and the pixel's embedding.

    Parameters
    ----------
    x : Tensor, shape (B, Q, D)
        States of the queries.
    pixels : Tensor, shape (B, C, H, W)
        Pixel embeddings.
    class_head : Linear
        D to K + 1.
    mask_head : list of 3 Linear
        D to C, with a ReLU between two layers.

    Returns
    -------
    MaskFormerOutput
    """
    B, C, H, W = pixels.shape
    first, second, last = mask_head
    embedding = last(ops.relu(second(ops.relu(first(x)))))  # (B, Q, C)
    masks = (embedding @ pixels.reshape(B, C, H * W)).reshape(B, x.shape[1], H, W)
    return MaskFormerOutput(class_head(x), masks)


def normed_conv(channels, width, kernel, groups, start, rng, bias=False):
    """A convolution that keeps the size of the map, and a group norm; ``start`` draws the weights."""
    conv = Conv2d(channels, width, kernel, padding=kernel // 2, bias=bias, weight_init=start, rng=rng)
    return Sequential(conv, GroupNorm(groups, width))


def top_down(y, maps, laterals, outputs, mode):
    """From the coarsest map y (B, D, H, W) through the finer ``maps``, coarsest first, to the finest, as in an FPN."""
    for lateral, output, x in zip(laterals, outputs, maps, strict=True):
        y = lateral(x) + ops.interpolate(y, size=tuple(x.shape[2:]), mode=mode)
        y = ops.relu(output(y))
    return y


def constant(make, like, *arguments):
    """The cached array ``make(*arguments)``, in the dtype and on the device of the Tensor ``like``."""
    return backend.move(make(*arguments, like.dtype), like.device)


@functools.lru_cache(32)
def grid_codes(height, width, dim, dtype):
    """The sine code of every pixel of a map, (H W, D)."""
    return sine_position_code(height, width, dim, normalize=True, dtype=dtype).reshape(-1, dim)
