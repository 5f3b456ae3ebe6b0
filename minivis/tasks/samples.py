"""From a data set of photos to batches for a model: sized as its preprocessing says, kept in memory, changed at random, stacked.

Not here: reading the photos (data/), the random changes themselves (data/paired.py).
"""

import copy
import dataclasses

import numpy as np

from minivis.data import DataLoader, Subset, image_size
from minivis.data._sized import nearest
from minivis.data.coco import collate as pad
from minivis.data.color import ColorJitter
from minivis.data.loader import stack
from minivis.data.paired import OnImage, RandomFlip, RandomResizedCrop

__all__ = ["Batch", "Changes", "Samples", "loader"]

MOST_BYTES = 2**30  # sized photos that are kept in memory; more are read again each time


class Samples:
    """The pictures of a data set in the size that a model reads, each read once and then kept, as long as there is room.

    Parameters
    ----------
    dataset : object
        ``dataset[i]`` is (image, target), as of `minivis.tasks.recognise`.
    paths : list of path
        The picture of each sample.
    preprocess : Preprocess
        Of the model. Its sizes are used here, its colours in `Batch`, so that random changes see colours from 0 to 1.

    Notes
    -----
    ``samples[i]`` is (image, target): (3, H, W) float32 in [0, 1]. Boxes from 0 to 1 stay as they are, a map of classes gets
    the size of the image. ``order`` has for each sample its number in `dataset`: all of them, until `leave_out_broken`.
    """

    def __init__(self, dataset, paths, preprocess):
        self.dataset = dataset
        self.paths = paths
        self.order = list(range(len(dataset)))
        plain = {"scale": 1 / 255, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
        alone = {"pad_to": None, "always_pad": False, "dtype": np.dtype(np.float32)}
        self.sized = dataclasses.replace(preprocess, **plain, **alone)
        self._kept = {}
        self._bytes = 0

    def __len__(self):
        return len(self.order)

    def __getitem__(self, i):
        i = self.order[i]
        if i not in self._kept:
            return self._read(i)
        pixels, target = self._kept[i]
        return pixels.astype(np.float32) / 255, target

    def leave_out_broken(self, seen):
        """Read the samples, as many as can be kept, and leave out those that cannot be read.

        Parameters
        ----------
        seen : callable
            ``seen()`` is called after each.

        Returns
        -------
        list of str
            Why each of those is left out.
        """
        broken = {}
        for i in self.order:
            try:
                if self._bytes < MOST_BYTES:
                    self._read(i)
            except (OSError, ValueError) as error:
                broken[i] = str(error)
            seen()
        self.order = [i for i in self.order if i not in broken]
        return list(broken.values())

    def _read(self, i):
        image, target = self._photo(i)
        image = self.sized(image)[0]
        if isinstance(target, np.ndarray):
            target = nearest(target, *image.shape[1:])
        elif isinstance(target, dict):
            target = {name: target[name] for name in ("labels", "boxes")}
        if self._bytes + image.size <= MOST_BYTES:
            self._kept[i] = np.rint(image * 255).astype(np.uint8), target
            self._bytes += image.size
        return image, target

    def _photo(self, i):
        """A photo with its target; a large one is reduced while it is decoded, to no less than twice the size needed."""
        height, width = image_size(self.paths[i])
        new = self.sized.new_size(height, width)
        factor = min(height // (2 * new[0]), width // (2 * new[1]))
        if factor < 2:
            return self.dataset[i]
        part = self.dataset
        reduced = copy.copy(part.dataset if isinstance(part, Subset) else part)
        reduced.size = height // factor, width // factor
        return reduced[part.indices[i] if isinstance(part, Subset) else i]


class Changes:
    """Change a sample at random, its target along with it: ``changes(image, target, rng)``.

    Parameters
    ----------
    flip : bool
        Whether half of the pictures are mirrored left to right.

    Notes
    -----
    A part of at least half of the picture is enlarged to the whole, and brightness, contrast and saturation vary by a fifth.
    """

    colours = OnImage(ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2))

    def __init__(self, flip):
        self.flip = RandomFlip(0.5 if flip else 0.0)

    def __call__(self, image, target, rng):
        image, target = self.flip(image, target, rng)
        image, target = RandomResizedCrop(image.shape[1:], (0.5, 1))(image, target, rng)
        return self.colours(image, target, rng)

    def __str__(self):
        mirrored = "mirrored or not, " if self.flip.horizontal else ""
        return f"every time a picture is seen it is {mirrored}cut to a random part of at least half, and its colours vary a little"


class Batch:
    """Make a batch of samples: ``batch(samples)``, for the `collate` of a `DataLoader`.

    Parameters
    ----------
    kind : str
        Of the `Task`. With "boxes", photos of different sizes are padded and the batch is (images, valid, targets);
        otherwise it is (images, targets as one array).
    preprocess : Preprocess
        Of the model: its mean and standard deviation.
    """

    def __init__(self, kind, preprocess):
        self.boxes = kind == "boxes"
        shape = (3, 1, 1)
        self.scale = np.float32(255 * preprocess.scale)
        self.mean = np.array(preprocess.mean, np.float32).reshape(shape)
        self.std = np.array(preprocess.std, np.float32).reshape(shape)

    def __call__(self, samples):
        samples = [((image * self.scale - self.mean) / self.std, target) for image, target in samples]
        return pad(samples) if self.boxes else stack(samples)

    def colours(self, image):
        """The colours from 0 to 1 of an image (3, H, W) of a batch, to show it."""
        return np.clip((np.asarray(image) * self.std + self.mean) / self.scale, 0, 1)


def loader(samples, batch, batch_size, changes=None, rng=None):
    """Batches of samples: changed, and in a new order every epoch, if there is an `rng`; otherwise in their own order."""
    return DataLoader(samples, batch_size, shuffle=rng is not None, rng=rng, collate=batch, augment=changes)
