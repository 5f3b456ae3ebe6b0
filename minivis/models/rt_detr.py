"""RT-DETR: a DETR that is fast enough for video. It chooses its queries among the pixels and refines their boxes.

Zhao et al., "DETRs beat YOLOs on real-time object detection", CVPR 2024, figure 4. Slides ``A/69-rt-detr-fires``,
``A/70-rt-detr-pipes``.
Not here: the hybrid encoder (rt_detr_encoder.py), the backbone (resnet.py), deformable attention (pixel_decoder.py), the loss
(losses/rt_detr.py). The queries of noisy boxes that help in training are in neither.
"""

import functools
import math

import numpy as np

from minivis import ops
from minivis.autograd import Tensor, no_grad
from minivis.backend import namespace, to_numpy
from minivis.models.common import as_images, map_to_tokens, published
from minivis.models.detr import DETROutput
from minivis.models.mask_classification import constant
from minivis.nn import (
    MLP,
    Dropout,
    LayerNorm,
    Linear,
    Module,
    MultiHeadAttention,
    Parameter,
    ReLU,
    Sequential,
    init,
)
from minivis.nn.transformer import ResidualLayer
from minivis.precision import rounded, widened
from minivis.vision.anchors import rt_detr_anchors
from minivis.vision.boxes import box_cxcywh_to_xyxy
from minivis.vision.detections import rt_detr_detections

__all__ = ["RTDETR", "rtdetr_r18vd", "rtdetr_r34vd", "rtdetr_r50vd", "rtdetr_r101vd"]

PRIOR = 0.01  # probability of each class at the start: most queries have no object


class DecoderLayer(ResidualLayer):
    """Self-attention among the queries, deformable attention to the maps around each query's box, then an MLP."""

    def __init__(self, width, heads, levels, points, mlp_width, dropout, rng):
        from minivis.models.pixel_decoder import DeformableAttention

        self.points = points
        self.samples = heads * levels * points
        self.self_attn = MultiHeadAttention(width, heads, dropout, rng=rng)
        self.norm1 = LayerNorm(width)
        self.cross_attn = DeformableAttention(width, heads, levels, points, rng)
        self.norm2 = LayerNorm(width)
        self.mlp = MLP(width, mlp_width, activation="relu", dropout=dropout, rng=rng)
        self.norm3 = LayerNorm(width)
        self.dropout = Dropout(dropout, rng=rng)

    def forward(self, x, codes, boxes, memory, shapes):
        """States x (B, Q, D) with codes (B, Q, D) and boxes (B, Q, 4); ``memory`` (B, N, D), the pixels of all maps."""
        xp = namespace(boxes)
        places = xp.tile(boxes[..., :2], self.samples)  # (B, Q, h L P 2)
        # an offset of P is half of the box's width or height away from its centre
        steps = xp.tile(boxes[..., 2:] * (0.5 / self.points), self.samples)

        def attend_to_queries(x):
            x_with_codes = x + codes
            return self.self_attn(x_with_codes, x_with_codes, x)

        def attend_to_maps(x):
            return self.cross_attn(x, codes, places, steps, shapes, memory)

        x = self.residual(self.norm1, attend_to_queries, x)
        x = self.residual(self.norm2, attend_to_maps, x)
        return self.residual(self.norm3, self.mlp, x)


class RTDETR(Module):
    """Real-time DEtection TRansformer: images to a set of boxes, without anchors to tune and without suppression.

    An encoder fuses the backbone's maps. Every pixel of them predicts how likely each class is, and the Q most likely pixels
    become the queries, each with a first box around it. Decoder layers look at a few points around each box and correct it:

    .. math::
        b_0 = \\sigma\\bigl(\\mathrm{MLP}(x_n) + \\sigma^{-1}(a_n)\\bigr), \\qquad
        b_l = \\sigma\\bigl(\\mathrm{MLP}_l(x_l) + \\sigma^{-1}(b_{l-1})\\bigr), \\qquad p_l = \\sigma(W_l x_l)

    where n is the chosen pixel, a its anchor and x its state. The scores of the classes are independent sigmoids: there is
    no class "no object".

    Parameters
    ----------
    backbone : Module
        It has ``features(images)``, which returns a list of maps, finest first, and ``channels``, the channels of each.
    num_classes : int
        K.
    queries : int, default 300
        Q, at most the number of pixels of the maps together.
    width : int, default 256
        D of the decoder.
    heads : int, default 8
        Heads of every attention. The number must divide D, and ``encoder_width`` too.
    encoder_width, encoder_depth, encoder_mlp_width, expansion
        Width, depth, mlp_width and expansion of the `HybridEncoder`; defaults D, 1, 1024 and 1.
    encoder_heads : int, optional
        Heads in the encoder; default ``heads``.
    decoder_depth : int, default 6
        Layers of the decoder, at least 1.
    mlp_width : int, default 1024
        Width inside the MLPs of the decoder.
    levels : int, default 3
        Number of the backbone's maps that are used, counted from the coarsest.
    points : int, default 4
        Points that a head of the decoder reads in every map.
    dropout : float, default 0
        Probability for attention weights, inside the MLPs and after every branch.
    rng : numpy.random.Generator, int or None
        Draws the starting values; None is seed 0.

    Raises
    ------
    ValueError
        If a size is not positive, the backbone has fewer maps than ``levels``, or heads do not divide a width; when called,
        if the maps have fewer pixels than there are queries.

    Notes
    -----
    The first box does not pass gradients to the decoder, nor does each corrected box to the next layer, so that every layer
    learns its own correction. With N pixels in all maps, attention to them costs N D^2 + 4 Q L P D multiply-adds a layer and
    the queries' own projections; DETR's costs 2 N D^2 + 2 Q N D.

    References
    ----------
    Zhao et al. 2024, figure 4 and section 4.3. Zhu et al., "Deformable DETR: deformable transformers for end-to-end object
    detection", ICLR 2021, section 4.2 and appendix A.4. Slides ``A/69-rt-detr-fires``, ``A/70-rt-detr-pipes``.

    Examples
    --------
    >>> import numpy as np
    >>> from minivis.models import ResNet
    >>> backbone = ResNet((1, 1), "basic", widths=(8, 16), stem_width=8, num_classes=0, variant="d")
    >>> model = RTDETR(backbone, 6, queries=5, width=16, heads=2, encoder_mlp_width=8, decoder_depth=2, mlp_width=8, levels=2)
    >>> output = model(np.zeros((2, 3, 64, 64), np.float32))
    >>> output.logits.shape, output.boxes.shape, len(output.auxiliary)
    ((2, 5, 6), (2, 5, 4), 2)
    """

    def __init__(
        self, backbone, num_classes, queries=300, width=256, heads=8, encoder_width=None, encoder_depth=1, encoder_heads=None,
        encoder_mlp_width=1024, expansion=1.0, decoder_depth=6, mlp_width=1024, levels=3, points=4, dropout=0.0, rng=None,
    ):  # fmt: skip
        from minivis.models.rt_detr_encoder import HybridEncoder, conv_norm

        init.check_sizes(
            "RTDETR", num_classes=num_classes, queries=queries, width=width, heads=heads, decoder_depth=decoder_depth,
            levels=levels, points=points,
        )  # fmt: skip
        if width % heads:
            raise ValueError(f"RTDETR: {heads} heads do not divide the width {width}")
        if len(backbone.channels) < levels:
            raise ValueError(f"RTDETR: levels={levels}, but the backbone has {len(backbone.channels)} maps")
        rng = init.generator(rng)
        self.queries, self.levels = queries, levels
        inside = width if encoder_width is None else encoder_width
        encoder_heads = heads if encoder_heads is None else encoder_heads
        self.backbone = backbone
        self.encoder = HybridEncoder(
            backbone.channels[-levels:], inside, encoder_heads, encoder_depth, encoder_mlp_width, expansion, dropout, rng,
        )  # fmt: skip
        self.decoder_proj = [conv_norm(inside, width, 1, rng, activation=False) for _ in range(levels)]
        self.pixel_proj = Linear(width, width, rng=rng)
        self.pixel_norm = LayerNorm(width)
        self.pixel_class_head = _class_head(width, num_classes, rng)
        self.pixel_box_head = _box_head(width, rng)
        self.query_codes = MLP(4, 2 * width, width, activation="relu", rng=rng)
        layer = (width, heads, levels, points, mlp_width, dropout, rng)
        self.layers = [DecoderLayer(*layer) for _ in range(decoder_depth)]
        self.class_heads = [_class_head(width, num_classes, rng) for _ in range(decoder_depth)]
        self.box_heads = [_box_head(width, rng) for _ in range(decoder_depth)]

    def forward(self, images):
        """Detect objects.

        Inside `looking`, the model shows ``chosen`` (B, Q), the numbers of the pixels that became queries, counted through
        all maps, the finest first, and ``starts``, the number of the first pixel of each map. Each decoder layer shows the
        points that it read, ``layers.0.cross_attn.locations`` (B, Q, h, L, P, 2).

        Parameters
        ----------
        images : ndarray or Tensor, shape (B, 3, H, W)
            Any size; the published models are trained at 640 x 640.

        Returns
        -------
        DETROutput
            ``logits`` (B, Q, K) and ``boxes`` (B, Q, 4), normalised cxcywh. ``auxiliary`` has first what the chosen pixels
            predicted, then the predictions after each decoder layer except the last.
        """
        maps = self.encoder(self.backbone.features(as_images("RTDETR", images))[-self.levels :])
        maps = [project(x) for project, x in zip(self.decoder_proj, maps, strict=True)]
        shapes = [tuple(x.shape[2:]) for x in maps]
        memory = ops.concatenate([map_to_tokens(x) for x in maps], axis=1)  # (B, N, D)
        x, first = self._choose(memory, shapes)
        x = x.detach()
        predictions = [first]
        boxes = widened(first.boxes.data)
        for layer, class_head, box_head in zip(self.layers, self.class_heads, self.box_heads, strict=True):
            codes = self.query_codes(Tensor(rounded(boxes, memory.dtype)))
            x = layer(x, codes, boxes, memory, shapes)
            refined = ops.sigmoid(widened(box_head(x)) + inverse_sigmoid(boxes))
            boxes = refined.data
            predictions.append(DETROutput(class_head(x), rounded(refined, memory.dtype)))
        *earlier, last = predictions
        return DETROutput(last.logits, last.boxes, earlier)

    def _choose(self, memory, shapes):
        """The Q pixels with the highest score of a class: their states (B, Q, D), and what they predict."""
        B, N, D = memory.shape
        if self.queries > N:
            raise ValueError(
                f"RTDETR: {self.queries} queries are to be chosen among the {N} pixels of all maps: take larger images or "
                "fewer queries"
            )
        anchors, valid = (constant(make, memory, *shapes) for make in (_anchor_logits, _valid))
        states = self.pixel_norm(self.pixel_proj(memory * valid))
        logits = self.pixel_class_head(states)  # (B, N, K)
        chosen = ops.topk(ops.max(logits, axis=-1), self.queries)[1]  # (B, Q)
        self.show(chosen=chosen, starts=lambda: np.cumsum([0, *(H * W for H, W in shapes[:-1])]))
        image = namespace(chosen).arange(B)[:, None]
        states = states[image, chosen]  # (B, Q, D)
        logits = logits[image, chosen]  # (B, Q, K)
        boxes = ops.sigmoid(widened(self.pixel_box_head(states)) + anchors[chosen])
        return states, DETROutput(logits, rounded(boxes, memory.dtype))

    def detect(self, images, threshold=0.0):
        """Find objects: the Q highest scores of all queries and classes. A query can be found with several classes.

        Parameters
        ----------
        images : ndarray or Tensor, shape (B, 3, H, W)
            As for a call.
        threshold : float, default 0
            Scores that are not larger are left out. Use 0 for average precision and about 0.5 for pictures.

        Returns
        -------
        list of dict
            For each image ``boxes (n, 4)``, left, top, right, bottom in pixels, ``labels (n,)`` from 0, and ``scores (n,)``,
            the best first; arrays on the CPU.
        """
        images = as_images("RTDETR", images)
        with no_grad():
            output = self(images)
        H, W = images.shape[2:]
        found = []
        for logits, boxes in zip(to_numpy(output.logits), to_numpy(output.boxes), strict=True):
            corners = box_cxcywh_to_xyxy(boxes)
            corners = rounded(widened(corners) * [W, H, W, H], boxes.dtype)
            found.append(rt_detr_detections(logits, corners, threshold))
        return found


def inverse_sigmoid(x, eps=1e-5):
    """The logit of numbers in [0, 1]; those nearer to an end than ``eps`` are moved to that distance. A plain array."""
    xp = namespace(x)
    return xp.log(xp.maximum(x, eps) / xp.maximum(1 - x, eps))


def _class_head(width, num_classes, rng):
    head = Linear(width, num_classes, weight_init=init.xavier_uniform, rng=rng)
    head.bias = Parameter(init.ones((num_classes,)) * -math.log((1 - PRIOR) / PRIOR))
    return head


def _box_head(width, rng):
    """An MLP of three layers that begins with the correction 0."""
    first = [Linear(width, width, rng=rng), ReLU(), Linear(width, width, rng=rng), ReLU()]
    return Sequential(*first, Linear(width, 4, weight_init=init.zeros, rng=rng))


@functools.lru_cache(16)
def _anchor_logits(*arguments):
    """The logits of all anchors (N, 4), as large as can be where the anchor is not valid: the box is then the corner."""
    *shapes, dtype = arguments
    dtype = np.promote_types(dtype, np.float32)
    anchors, valid = rt_detr_anchors(shapes, dtype=dtype)
    return np.where(valid[:, None], inverse_sigmoid(anchors), np.finfo(dtype).max)


@functools.lru_cache(16)
def _valid(*arguments):
    """1 where an anchor is valid and 0 elsewhere, (N, 1)."""
    *shapes, dtype = arguments
    return rt_detr_anchors(shapes)[1][:, None].astype(dtype)


def _on_resnet(num_classes, rng, depths, kind, **options):
    """An RT-DETR on a ResNet-D with frozen norms."""
    from minivis.models.resnet import ResNet

    backbone = ResNet(depths, kind, num_classes=0, norm="frozen", variant="d", rng=rng)
    return RTDETR(backbone, num_classes, rng=rng, **options)


def _published(name, kind, depths, parameters, **sizes):
    about = f"ResNet-D of {kind} blocks {depths} with frozen norms"
    return published(
        name, RTDETR, about, parameters, 80, "``queries=100``", _on_resnet, kind=kind, depths=depths, **sizes
    )


SMALL = {"expansion": 0.5}
LARGE = {"encoder_width": 384, "encoder_mlp_width": 2048}
rtdetr_r18vd = _published("rtdetr_r18vd", "basic", (2, 2, 2, 2), 20_153_872, decoder_depth=3, **SMALL)
rtdetr_r34vd = _published("rtdetr_r34vd", "basic", (3, 4, 6, 3), 31_403_652, decoder_depth=4, **SMALL)
rtdetr_r50vd = _published("rtdetr_r50vd", "bottleneck", (3, 4, 6, 3), 42_870_636)
rtdetr_r101vd = _published("rtdetr_r101vd", "bottleneck", (3, 4, 23, 3), 76_535_532, **LARGE)
