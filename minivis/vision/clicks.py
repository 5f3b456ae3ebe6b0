"""Clicks that somebody who wants an object could make: in its middle, anywhere on it, and then on what a mask has wrong.

Not here: the codes of clicks (prompts.py), models that are asked with them (models/sam.py).
"""

import numpy as np

from minivis.backend import to_numpy

__all__ = ["central_click", "next_click", "uniform_click"]


def central_click(mask):
    """The pixel of a mask that lies farthest from its border: where people click, and where clicks are drawn for measuring.

    Parameters
    ----------
    mask : ndarray or Tensor of bool, shape (H, W)
        True on the object. The border of the image is a border of the object.

    Returns
    -------
    tuple of int
        x, y: column and row of the pixel. Of pixels that are equally far it is the first, row by row.

    Raises
    ------
    ValueError
        If the mask is not (H, W) or is empty.
    TypeError
        If the mask is not boolean.

    References
    ----------
    Kirillov et al. 2023, section 7.1: "the point farthest from the object boundary". Slide ``A/84-promptable-segmentation``.

    Examples
    --------
    >>> import numpy as np
    >>> mask = np.zeros((7, 9), bool)
    >>> mask[1:6, 3:8] = True
    >>> central_click(mask)
    (5, 3)
    """
    mask = _checked("central_click", mask=mask)[0]
    if not mask.any():
        raise ValueError(f"central_click: mask has no pixel (mask: {mask.shape})")
    return _place(_depth(mask).argmax(), mask)


def uniform_click(mask, rng):
    """A pixel of a mask, each with the same probability: clicks for training.

    Parameters
    ----------
    mask : ndarray or Tensor of bool, shape (H, W)
        True on the object.
    rng : numpy.random.Generator
        Draws the pixel.

    Returns
    -------
    tuple of int
        x, y: column and row of the pixel.

    Raises
    ------
    ValueError
        If the mask is not (H, W) or is empty.
    TypeError
        If the mask is not boolean.

    References
    ----------
    Kirillov et al. 2023, appendix A ("Training algorithm"). Slide ``A/84-promptable-segmentation``.

    Examples
    --------
    >>> import numpy as np
    >>> uniform_click(np.array([[False, False], [False, True]]), np.random.default_rng(0))
    (1, 1)
    """
    mask = _checked("uniform_click", mask=mask)[0]
    if not mask.any():
        raise ValueError(f"uniform_click: mask has no pixel (mask: {mask.shape})")
    return _place(rng.choice(np.flatnonzero(mask)), mask)


def next_click(found, truth, rng=None):
    """A click on what a mask has wrong: on a missing part of the object, or on a pixel that does not belong to it.

    Parameters
    ----------
    found : ndarray or Tensor of bool, shape (H, W)
        The mask so far.
    truth : ndarray or Tensor of bool, shape (H, W)
        The object.
    rng : numpy.random.Generator, optional
        Draws one of the wrong pixels, each with the same probability. Without it the click is on the wrong pixel that
        is farthest from the border of its region; missing pixels and pixels too many are different regions.

    Returns
    -------
    point : tuple of int
        x, y: column and row of the pixel.
    label : int
        1 if the pixel belongs to the object, 0 if not.

    Raises
    ------
    ValueError
        If the masks are not (H, W) of one size, or the object is empty.
    TypeError
        If the masks are not boolean.

    Notes
    -----
    Where nothing is wrong the click is on the object, as the first one: in its middle, or drawn from its pixels.

    References
    ----------
    Kirillov et al. 2023, appendix A ("Training algorithm"). Slide ``A/84-promptable-segmentation``.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.array([[True, True, True, False, False]])
    >>> next_click(np.array([[True, False, False, False, False]]), truth)  # a part is missing
    ((1, 0), 1)
    >>> next_click(np.array([[True, True, True, True, False]]), truth)  # one pixel too many
    ((3, 0), 0)
    """
    found, truth = _checked("next_click", found=found, truth=truth)
    if not truth.any():
        raise ValueError(f"next_click: truth has no pixel (truth: {truth.shape})")
    wrong = found != truth
    if not wrong.any():
        return central_click(truth) if rng is None else uniform_click(truth, rng), 1
    if rng is None:
        x, y = _place(np.maximum(_depth(truth & ~found), _depth(found & ~truth)).argmax(), truth)
    else:
        x, y = uniform_click(wrong, rng)
    return (x, y), int(truth[y, x])


def _checked(caller, **masks):
    """The masks as boolean arrays of one size on the CPU."""
    made = {name: to_numpy(mask) for name, mask in masks.items()}
    sizes = ", ".join(f"{name}: {mask.shape}" for name, mask in made.items())
    if any(mask.ndim != 2 for mask in made.values()) or len({mask.shape for mask in made.values()}) > 1:
        raise ValueError(f"{caller}: {' and '.join(made)} must be (H, W) ({sizes})")
    for name, mask in made.items():
        if mask.dtype != bool:
            raise TypeError(
                f"{caller}: {name} must be boolean, got {mask.dtype.name}; write {name} > 0 for logits"
            )
    return list(made.values())


def _depth(mask):
    """How far each pixel of a mask (H, W) is from the nearest pixel that is not in it, beyond the image too; else 0."""
    from scipy.ndimage import distance_transform_edt  # only here: importing minivis loads NumPy alone

    return distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]


def _place(flat, mask):
    y, x = np.unravel_index(flat, mask.shape)
    return int(x), int(y)
