"""Mask R-CNN: Faster R-CNN with a third head, which paints the mask of each object inside its box.

He et al., "Mask R-CNN", ICCV 2017, section 3 and figure 4, on a feature pyramid. Slides ``C/57-roi-align``,
``C/89-mask-rcnn``.
Not here: the other parts of the detector (faster_rcnn.py), cutting masks out and pasting them (vision/region_masks.py), the
loss of the masks (losses/region_masks.py).
"""

import numpy as np

from minivis import ops
from minivis.backend import device_of, to_device, to_numpy
from minivis.losses.region_masks import mask_loss
from minivis.models.common import he_normal, published
from minivis.models.faster_rcnn import FasterRCNN
from minivis.nn import Conv2d, ConvTranspose2d, Module, init
from minivis.vision import mask_targets, paste_masks

__all__ = ["MaskRCNN", "maskrcnn_resnet50_fpn"]


class MaskHead(Module):
    """Convolutions that turn the cells of a region into a mask for each class, twice as fine.

    Parameters
    ----------
    in_channels : int
        Channels of the region.
    width : int
        Channels of every layer.
    depth : int
        Number of 3 x 3 convolutions.
    num_classes : int
        K, with the background, whose mask is never used.
    rng : numpy.random.Generator
        Draws the starting values: He's from the fan-out.
    """

    def __init__(self, in_channels, width, depth, num_classes, rng):
        start = {"weight_init": he_normal, "rng": rng}
        channels = [in_channels] + [width] * depth
        self.convs = [Conv2d(a, width, 3, padding=1, **start) for a in channels[:-1]]
        self.up = ConvTranspose2d(channels[-1], width, 2, stride=2, rng=rng)
        self.out = Conv2d(width, num_classes, 1, **start)

    def forward(self, regions):
        """Logits (R, K, 2 S, 2 S) of regions (R, C, S, S)."""
        x = regions
        for conv in self.convs:
            x = ops.relu(conv(x))
        return self.out(ops.relu(self.up(x)))


class MaskRCNN(FasterRCNN):
    """Mask R-CNN: pictures to a list of boxes, each with a class, a score and a mask.

    .. math:: L = L_{cls} + L_{box} + L_{mask} \\quad (+ \\text{ the two losses of the proposals})

    The class is decided by the box head. The mask head paints a mask for every class, and that of the predicted class is
    used: deciding what an object is and where it ends are two tasks.

    Parameters
    ----------
    backbone, num_classes
        As for `FasterRCNN`.
    mask_width : int, default 256
        Channels inside the mask head.
    mask_depth : int, default 4
        Number of its 3 x 3 convolutions.
    mask_cells : int, default 14
        Cells along each side of a region for the mask head. The mask has twice as many.
    paste : {"exact", "torchvision"}, default "exact"
        How masks are put into the picture and cut out of it for training: see ``form`` of `paste_masks` and
        `mask_targets`. Torchvision's weights are used with "torchvision".
    rng : numpy.random.Generator, int or None
        As for `FasterRCNN`.
    **options
        The other arguments of `FasterRCNN`.

    Attributes
    ----------
    paste : str
        As given; it may be changed at any time. The others are those of `FasterRCNN`.

    Raises
    ------
    ValueError
        As for `FasterRCNN`; also if ``paste`` is unknown.

    Notes
    -----
    At test time the mask head runs on the boxes that are left after suppression, not on all proposals: the masks fit the
    corrected boxes, and there are fewer of them.

    References
    ----------
    He et al. 2017, section 3 and figure 4, right. Slides ``C/57-roi-align``, ``C/89-mask-rcnn``.

    Examples
    --------
    >>> from minivis.models import ResNet
    >>> backbone = ResNet((1, 1), "basic", widths=(8, 16), stem_width=8, num_classes=0)
    >>> model = MaskRCNN(backbone, 4, mask_width=8, mask_depth=1, mask_cells=7, width=8, anchor_sizes=[(16, 32)],
    ...                  hidden=16, min_size=None, detections=3, score_threshold=0)
    >>> found = model([np.zeros((3, 40, 64), np.float32)])[0]
    >>> found["boxes"].shape, found["masks"].shape
    ((3, 4), (3, 1, 40, 64))
    """

    def __init__(
        self, backbone, num_classes, mask_width=256, mask_depth=4, mask_cells=14, paste="exact", rng=None, **options
    ):  # fmt: skip
        init.check_sizes("MaskRCNN", mask_width=mask_width, mask_depth=mask_depth, mask_cells=mask_cells)
        if paste not in ("exact", "torchvision"):
            raise ValueError(f'MaskRCNN: paste must be "exact" or "torchvision", got {paste!r}')
        rng = init.generator(rng)
        super().__init__(backbone, num_classes, rng=rng, **options)
        self.mask_cells, self.paste = mask_cells, paste
        width = self.pyramid.output[0].weight.shape[0]
        self.mask_head = MaskHead(width, mask_width, mask_depth, num_classes, rng)

    def forward(self, images):
        """Detect objects and paint their masks.

        Inside `looking`, the model shows what `FasterRCNN` shows, and ``masks`` (n, m, m), the probabilities of the
        objects of the first picture before they are pasted.

        Parameters
        ----------
        images : list of ndarray or Tensor, shape (3, H, W) each, or one of shape (B, 3, H, W)
            Pictures in [0, 1].

        Returns
        -------
        list of dict
            For each picture ``boxes``, ``labels`` and ``scores`` as from `FasterRCNN`, and ``masks`` (n, 1, H, W), the
            probability that a pixel of the picture belongs to the object; ``> 0.5`` gives boolean masks. Arrays on the
            CPU.
        """
        return super().forward(images)

    def losses(self, images, targets, rng=None):
        """The four losses of Faster R-CNN, that of the masks, and their sum.

        Parameters
        ----------
        images : list of ndarray or Tensor, or one of shape (B, 3, H, W)
            As for `forward`.
        targets : list of dict
            For each picture ``boxes`` (T, 4) and ``labels`` (T,) as for `FasterRCNN`, and ``masks`` (T, H, W) of bool or 0
            and 1.
        rng : numpy.random.Generator, int or None
            Draws the samples; default the model's ``sampler``.

        Returns
        -------
        dict of str to Tensor, shape ()
            As from `FasterRCNN`, and ``mask``.
        """
        return super().losses(images, targets, rng)

    def complete(self, found, maps, pictures):
        """Add ``masks`` (n, m, m): the probabilities of the predicted class, inside the box."""
        logits = to_numpy(self.paint(maps, [one["boxes"] for one in found], pictures))
        ends = np.cumsum([len(one["boxes"]) for one in found])
        whole = []
        for one, its in zip(found, np.split(logits, ends[:-1]), strict=True):
            chosen = its[np.arange(len(its)), one["labels"]]
            whole.append({**one, "masks": ops.sigmoid(chosen)})
        self.show(masks=lambda: whole[0]["masks"])
        return whole

    def more_losses(self, samples, maps, pictures, targets):
        """The loss of the masks of the regions with an object."""
        objects = [np.flatnonzero(labels > 0) for labels in samples.labels]
        boxes = [boxes[rows] for boxes, rows in zip(samples.boxes, objects, strict=True)]
        labels = np.concatenate([labels[rows] for labels, rows in zip(samples.labels, objects, strict=True)])
        truth = [
            mask_targets(target["masks"], its, which[rows], 2 * self.mask_cells, self.paste)
            for target, its, which, rows in zip(targets, boxes, samples.objects, objects, strict=True)
        ]
        logits = self.paint(maps, boxes, pictures)
        labels, truth = (to_device(x, device_of(logits.data)) for x in (labels, np.concatenate(truth)))
        return {"mask": mask_loss(logits, labels, truth)}

    def paint(self, maps, boxes, pictures):
        """Logits (R, K, m, m) of the masks of the regions of all pictures."""
        return self.mask_head(self.pool(maps, boxes, pictures, self.mask_cells))

    def finish(self, found, size, original):
        """Bring boxes and masks to the ``original`` picture: masks (n, 1, H, W)."""
        found = super().finish(found, size, original)
        boxes = found["boxes"].astype(np.promote_types(found["boxes"].dtype, np.float32), copy=False)
        return {**found, "masks": paste_masks(found["masks"], boxes, *original, self.paste)[:, None]}

    def prepare_target(self, target, size, original):
        """As for `FasterRCNN`; the masks are resized by taking the nearest pixel."""
        masks = to_numpy(target["masks"])
        target = super().prepare_target(target, size, original)
        if masks.shape != (len(target["labels"]), *original):
            raise ValueError(
                f"MaskRCNN: a target must have masks (T, H, W) = {(len(target['labels']), *original)} "
                f"(masks: {tuple(masks.shape)})"
            )
        if size != original:
            masks = ops.interpolate(masks.astype(np.float32)[:, None], size=size)[:, 0]
        return {**target, "masks": masks}


def _on_resnet50(num_classes, rng, norm="frozen", **options):
    """Mask R-CNN on a ResNet-50, in the form of the published weights."""
    from minivis.models.resnet import ResNet

    eps = 0.0 if norm == "frozen" else 1e-5
    backbone = ResNet((3, 4, 6, 3), num_classes=0, norm=norm, eps=eps, rng=rng)
    published_form = {"published_form": True, "paste": "torchvision"}
    return MaskRCNN(backbone, num_classes, rng=rng, **{**published_form, **options})


maskrcnn_resnet50_fpn = published(
    "maskrcnn_resnet50_fpn", MaskRCNN, "ResNet-50 with frozen norms and a pyramid of five maps, as torchvision has it",
    44_401_393, 91, '``min_size=480``; also ``norm="batch"``', build=_on_resnet50,
)  # fmt: skip
