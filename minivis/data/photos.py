"""Two real photos, a tower and a flower, to try layers on; scikit-learn contains them, so there is no download.
Not here: your own photos (`minivis.data.read_image`), or enough photos to train on."""

import numpy as np

from minivis.data._sklearn import sklearn_datasets
from minivis.data.geometry import resize

__all__ = ["CREDITS", "china", "flower", "load", "names"]

# Both are under CC BY 2.0, https://creativecommons.org/licenses/by/2.0/: if you print one, name the photographer.
CREDITS = {
    "china": "danielbuechele, flickr.com/photos/danielbuechele/6061409035, CC BY 2.0",
    "flower": "vultilion, flickr.com/photos/vultilion/6056698931, CC BY 2.0",
}


def names():
    """List the available photos.

    Returns
    -------
    tuple of str
        Names for `load`.

    Examples
    --------
    >>> names()
    ('china', 'flower')
    """
    return tuple(CREDITS)


def load(name, size=None):
    """Load a photo by its name.

    Parameters
    ----------
    name : {"china", "flower"}
        Which photo.
    size : int or (int, int), optional
        Height and width in pixels to resize to (antialiased, bilinear); one number is the new shorter side.
        None keeps the photo's 427 x 640.

    Returns
    -------
    numpy.ndarray
        (3, H, W) float32 in [0, 1], RGB. A model wants a batch: ``photo[None]``.

    Raises
    ------
    ValueError
        If there is no photo of that name, or `size` is below 1.
    ImportError
        If scikit-learn, whose package contains the photos, is not installed.

    Notes
    -----
    Both photos have the same size, so they fit into one batch, and come from the same package as the digits.

    Examples
    --------
    >>> load("china").shape, load("china", size=224).shape
    ((3, 427, 640), (3, 224, 335))
    """
    if name not in CREDITS:
        raise ValueError(f"photos: name must be one of {', '.join(map(repr, CREDITS))}, got {name!r}")
    stored = sklearn_datasets("photos").load_sample_image(f"{name}.jpg")  # (427, 640, 3) uint8
    photo = np.ascontiguousarray(stored.transpose(2, 0, 1)).astype(np.float32) / 255  # (3, H, W)
    return photo if size is None else resize(photo[None], size)[0]


def china(size=None):
    """Load the photo of a Chinese tower by a lake: straight edges, fine repeats, an even sky; see `load`.

    Parameters
    ----------
    size : int or (int, int), optional
        As for `load`.

    Returns
    -------
    numpy.ndarray
        (3, H, W) float32 in [0, 1], RGB.

    Examples
    --------
    >>> china(size=(32, 48)).shape
    (3, 32, 48)
    """
    return load("china", size)


def flower(size=None):
    """Load the photo of a dahlia: one object, sharp, and a blurred background around it; see `load`.

    Parameters
    ----------
    size : int or (int, int), optional
        As for `load`.

    Returns
    -------
    numpy.ndarray
        (3, H, W) float32 in [0, 1], RGB.

    Examples
    --------
    >>> flower(size=(32, 48)).shape
    (3, 32, 48)
    """
    return load("flower", size)
