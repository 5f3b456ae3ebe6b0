"""DETR: a CNN, a transformer, and object queries, each of which predicts one class and box or "no object".

Carion et al., "End-to-end object detection with transformers", ECCV 2020, figures 2 and 10.
Slides ``A/52-detr-idea`` to ``A/67-encoder-separates-instances``, ``C/124-detr``, ``H/14-detr-idea`` to
``H/21-what-encoder-and-decoder-look-at``, ``Z/49-detr-as-translation`` to ``Z/67-position-variants``.
Not here: matching and loss (losses/), the mask head (detr_panoptic.py), the backbone (resnet.py), training (recipes/).
"""

from dataclasses import dataclass, field

import numpy as np

from minivis import ops
from minivis.autograd import Tensor
from minivis.backend import namespace
from minivis.models.common import as_images, map_to_tokens, published
from minivis.nn import (
    Conv2d,
    LayerNorm,
    LearnedPositionCode2d,
    Linear,
    Module,
    Parameter,
    Sequential,
    TransformerDecoderLayer,
    TransformerEncoderLayer,
    init,
)
from minivis.nn.mlp import ReLU
from minivis.nn.module import as_tensor
from minivis.vision.position_codes import padded_sine_position_code

__all__ = ["DETR", "DETROutput", "detr_r50", "detr_r50_dc5", "detr_r101"]

POSITIONS = ("none", "sine_input", "learned_attention", "sine_decoder", "sine_attention")


@dataclass
class DETROutput:
    """One class and one box for each query.

    Attributes
    ----------
    logits : Tensor, shape (B, Q, K + 1)
        Scores of the classes; the last is "no object".
    boxes : Tensor, shape (B, Q, 4)
        Centre, width and height as fractions of the image: normalised cxcywh.
    auxiliary : list of DETROutput
        The predictions after each decoder layer except the last, the first layer first.
    masks : Tensor, shape (B, Q, H / 4, W / 4), or (n, H / 4, W / 4) for n chosen masks, or None
        Logits of the mask head, if there is one.
    """

    logits: Tensor
    boxes: Tensor
    auxiliary: list = field(default_factory=list)
    masks: Tensor | None = None


class EncoderLayer(TransformerEncoderLayer):
    """Self-attention of image tokens. Position codes are added to queries and keys in every layer, never to values."""

    def forward(self, x, codes, mask):
        """Tokens x (B, N, D) with codes (B, N, D); ``mask`` (B, 1, N) is True at keys that may be attended."""

        def attend(x):
            x_with_codes = _add_codes(x, codes)
            return self.self_attn(x_with_codes, x_with_codes, x, mask)

        x = self.residual(self.norm1, attend, x)
        return self.residual(self.norm2, self.mlp, x)


class DecoderLayer(TransformerDecoderLayer):
    """Self-attention among the queries, cross-attention to the image, then an MLP. Codes are added in every layer."""

    def forward(self, x, query_codes, memory, memory_with_codes, mask):
        """States x (B, Q, D) of the queries; the values are ``memory`` (B, N, D), the keys ``memory_with_codes``."""

        def attend_to_queries(x):
            x_with_codes = _add_codes(x, query_codes)
            return self.self_attn(x_with_codes, x_with_codes, x)

        def attend_to_image(x):
            return self.cross_attn(_add_codes(x, query_codes), memory_with_codes, memory, mask)

        x = self.residual(self.norm1, attend_to_queries, x)
        x = self.residual(self.norm2, attend_to_image, x)
        return self.residual(self.norm3, self.mlp, x)


class DETRTransformer(Module):
    """Encoder over image tokens and decoder over queries.

    Parameters
    ----------
    encoder, decoder : list of EncoderLayer, list of DecoderLayer
        The layers.
    width : int
        D.
    norm_first : bool
        As in the layers. If True, the encoder's output gets a norm of its own.
    """

    def __init__(self, encoder, decoder, width, norm_first):
        self.encoder, self.decoder = encoder, decoder
        self.encoder_norm = LayerNorm(width) if norm_first else None
        self.decoder_norm = LayerNorm(width)

    def encode(self, x, codes=None, mask=None):
        """Image tokens x (B, N, D) -> memory (B, N, D); ``mask`` (B, 1, N) is True at tokens inside the image."""
        for layer in self.encoder:
            x = layer(x, codes, mask)
        return self.encoder_norm(x) if self.encoder_norm else x

    def decode(self, x, query_codes, memory, codes=None, mask=None):
        """States x (B, Q, D) of the queries -> the normalised states after every layer, (layers, B, Q, D)."""
        memory_with_codes = _add_codes(memory, codes)
        states = []
        for layer in self.decoder:
            x = layer(x, query_codes, memory, memory_with_codes, mask)
            states.append(x)
        return self.decoder_norm(ops.stack(states))


class DETR(Module):
    """DEtection TRansformer: images to a set of boxes, all at once, without anchors and without non-maximum suppression.

    The backbone's map becomes tokens, the encoder processes them with self-attention, and in the decoder Q learned
    queries attend to the result. Each query predicts a class and a box:

    .. math::
        M = \\mathrm{encoder}(W * \\mathrm{backbone}(x)), \\qquad Y = \\mathrm{decoder}(\\mathrm{queries}, M), \\qquad
        p = \\mathrm{softmax}(Y W_c^T + b_c), \\quad b = \\sigma(\\mathrm{MLP}(Y))

    Parameters
    ----------
    backbone : Module
        It has ``features(images)``, which returns a list of maps (B, C_i, H_i, W_i), finest first, and ``channels``, the
        C_i.
    num_classes : int
        K; class K is "no object".
    queries : int, default 100
        Q. It should be larger than the number of objects in any image.
    width : int, default 256
        D, divisible by 4.
    heads : int, default 8
        Number of attention heads. It must divide D.
    encoder_depth, decoder_depth : int, default 6
        Number of layers. The decoder needs at least 1.
    mlp_width : int, default 2048
        Width inside the MLPs.
    dropout : float, default 0.1
        Probability in training.
    decoder_dropout : float, optional
        Dropout probability in the decoder; default ``dropout``.
    norm_first : bool, default False
        Put the norm before each branch instead of after it. This trains without a long warm-up.
    position : str, default "sine_attention"
        How position codes are added, one value for each row of the paper's table 3: ``"none"``: no codes;
        ``"sine_input"``: sine codes, once, to the encoder's input; ``"learned_attention"``: learned codes, at every
        attention; ``"sine_decoder"``: sine codes, at the decoder's attention only; ``"sine_attention"``: sine codes, at
        every attention. With the first two, the queries are the decoder's input. With the others, the queries are added
        at every attention and the decoder's input is 0.
    feature_level : int, default -1
        Index of the backbone's map that becomes tokens.
    masks : bool, default False
        Add the mask head of the paper's section 4.4 (``minivis.models.detr_panoptic``).
    rng : numpy.random.Generator, int or None
        Draws the starting values: Xavier in the transformer, normal for the queries, torch's for the rest. None is seed 0.

    Raises
    ------
    ValueError
        If a size, ``position`` or ``feature_level`` is invalid; when called, if the mask does not fit the images.
    TypeError
        When called, if the mask is not boolean.

    Notes
    -----
    With N = H' W' tokens, attention costs encoder_depth * 2 N^2 D + decoder_depth * 2 (Q N + Q^2) D multiply-adds.

    References
    ----------
    Carion et al. 2020, section 3.2 and appendix A.3. Slides ``A/54-detr-backbone``, ``A/56-object-queries``,
    ``A/57-detr-branches``, ``C/124-detr``, ``H/18-detr-architecture``, ``H/20-detr-against-original-transformer``,
    ``Z/49-detr-as-translation``, ``Z/52-streamlined-pipeline``, ``Z/53-detr-backbone``, ``Z/63-decoder-layer``.

    Examples
    --------
    >>> import numpy as np
    >>> from minivis.models import ResNet
    >>> backbone = ResNet((1, 1), "basic", widths=(8, 16), num_classes=0)
    >>> model = DETR(backbone, num_classes=6, queries=5, width=16, heads=2, encoder_depth=1, decoder_depth=2, mlp_width=32)
    >>> output = model(np.zeros((2, 3, 64, 64), np.float32))
    >>> output.logits.shape, output.boxes.shape, len(output.auxiliary)
    ((2, 5, 7), (2, 5, 4), 1)
    """

    def __init__(
        self, backbone, num_classes, queries=100, width=256, heads=8, encoder_depth=6, decoder_depth=6, mlp_width=2048,
        dropout=0.1, decoder_dropout=None, norm_first=False, position="sine_attention", feature_level=-1, masks=False,
        rng=None,
    ):  # fmt: skip
        if position not in POSITIONS:
            raise ValueError(f"DETR: position must be one of {', '.join(POSITIONS)}, got {position!r}")
        if width % 4:
            raise ValueError(f"DETR: width must be divisible by 4, for the position codes, got {width}")
        init.check_sizes(
            "DETR", num_classes=num_classes, queries=queries, decoder_depth=decoder_depth, encoder_depth=encoder_depth or 1
        )  # fmt: skip
        if not -len(backbone.channels) <= feature_level < len(backbone.channels):
            raise ValueError(
                f"DETR: feature_level {feature_level} is out of range for {len(backbone.channels)} maps"
            )
        rng = init.generator(rng)
        self.position = position
        self.width = width
        self.level = feature_level % len(backbone.channels)
        self.backbone = backbone
        self.input_proj = Conv2d(backbone.channels[self.level], width, 1, rng=rng)
        sizes = (width, heads, mlp_width)
        options = {"norm_first": norm_first, "rng": rng}
        decoder_dropout = dropout if decoder_dropout is None else decoder_dropout
        encoder = [EncoderLayer(*sizes, dropout, **options) for _ in range(encoder_depth)]
        decoder = [DecoderLayer(*sizes, decoder_dropout, **options) for _ in range(decoder_depth)]
        self.transformer = DETRTransformer(encoder, decoder, width, norm_first)
        learned = position == "learned_attention"
        self.codes = LearnedPositionCode2d(50, 50, width, rng=rng) if learned else None
        self.queries = Parameter(init.normal((queries, width), 1.0, rng))
        self.class_head = Linear(width, num_classes + 1, rng=rng)
        self.box_head = _box_mlp(width, 4, rng)
        self.mask_head = None
        if masks:
            from minivis.models.detr_panoptic import MaskHead

            self.mask_head = MaskHead(width, heads, backbone.channels[: self.level], rng=rng)

    def forward(self, images, mask=None, choose=None):
        """Detect objects.

        Inside `looking`, the model shows the ``grid`` of image tokens, (H', W'): token n is the cell (n // W', n % W').
        The attention weights are in ``transformer.encoder.0.self_attn.weights``, (B, h, N, N),
        ``transformer.decoder.0.self_attn.weights``, (B, h, Q, Q), and ``transformer.decoder.0.cross_attn.weights``,
        (B, h, Q, N), which tells where in the image each query looks.

        Parameters
        ----------
        images : ndarray or Tensor, shape (B, C, H, W)
            Pad images of different sizes with zeros at the bottom and the right to a common size.
        mask : bool ndarray, shape (B, H, W), optional
            True = inside the image, False = padding.
        choose : function of (DETROutput) -> (int ndarray, int ndarray), optional
            Chooses from logits and boxes which masks to compute, and returns the index of the image and of the query of
            each. The default is all. Masks cost more than the rest of the model; a loss needs only those of matched
            queries, and a picture only those of confident queries.

        Returns
        -------
        DETROutput
        """
        images = as_images("DETR", images)
        maps = self.backbone.features(images)[: self.level + 1]
        source = self.input_proj(maps[-1])  # (B, D, H', W')
        grid = tuple(source.shape[2:])
        valid = None if mask is None else self._shrink(mask, images, grid)  # (B, H', W')
        self.show(grid=lambda: np.array(grid))
        states, memory = self.transform(source, valid)
        # (layers, B, Q, ...)
        logits = self.class_head(states)
        boxes = ops.sigmoid(self.box_head(states))
        *earlier, last = [DETROutput(logits[i], boxes[i]) for i in range(len(logits))]
        output = DETROutput(last.logits, last.boxes, earlier)
        if self.mask_head:
            chosen = choose(output) if choose else None
            output.masks = self.mask_head(states[-1], memory, source, maps[:-1], valid, chosen)
        return output

    def transform(self, source, valid=None):
        """The transformer alone: from a map (B, D, H', W') to the states (layers, B, Q, D) and the memory (B, N, D).

        Parameters
        ----------
        source : ndarray or Tensor, shape (B, D, H', W')
            The projected map of the backbone.
        valid : bool ndarray, shape (B, H', W'), optional
            True = inside the image. The values in padded cells have no effect.

        Returns
        -------
        (Tensor, Tensor)
        """
        source = as_tensor(source)
        B, _, H, W = source.shape
        tokens = map_to_tokens(source)  # (B, N, D)
        mask = None if valid is None else valid.reshape(B, 1, H * W)
        codes = self._codes(source, valid)
        queries = ops.broadcast_to(self.queries, (B, *self.queries.shape))
        if self.position in ("none", "sine_input"):
            memory = self.transformer.encode(_add_codes(tokens, codes), None, mask)
            return self.transformer.decode(queries, None, memory, None, mask), memory
        encoder_codes = None if self.position == "sine_decoder" else codes
        memory = self.transformer.encode(tokens, encoder_codes, mask)
        zeros = Tensor(namespace(queries.data).zeros_like(queries.data))
        return self.transformer.decode(zeros, queries, memory, codes, mask), memory

    def _codes(self, source, valid):
        """Position codes of the tokens, (B or 1, N, D), or None."""
        H, W = source.shape[2:]
        if self.position == "none":
            return None
        if self.codes:
            return map_to_tokens(self.codes(source)[None])
        valid = namespace(source.data).ones((1, H, W), bool) if valid is None else valid
        codes = padded_sine_position_code(valid, self.width).astype(source.dtype)
        return codes.reshape(len(valid), H * W, self.width)

    @staticmethod
    def _shrink(mask, images, grid):
        """The mask at the resolution of the map: True where the nearest pixel is inside the image."""
        B, _, H, W = images.shape
        if mask.dtype != bool:
            raise TypeError(f"DETR: mask must be boolean, True = inside the image, got {mask.dtype.name}")
        if tuple(mask.shape) != (B, H, W):
            raise ValueError(
                f"DETR: mask must be (B, H, W) of the images (mask: {tuple(mask.shape)}, images: {tuple(images.shape)})"
            )
        return ops.interpolate(mask[:, None].astype("float32"), size=grid)[:, 0] > 0.5


def _add_codes(x, codes):
    return x if codes is None else x + codes


def _box_mlp(width, out, rng):
    """The MLP that predicts the boxes. It has three layers, as in the paper."""
    first = [Linear(width, width, rng=rng), ReLU(), Linear(width, width, rng=rng), ReLU()]
    return Sequential(*first, Linear(width, out, rng=rng))


def _on_resnet(num_classes, rng, depths, dilated, **options):
    """A DETR on a ResNet with frozen norms."""
    from minivis.models.resnet import ResNet

    backbone = ResNet(depths, num_classes=0, norm="frozen", dilated=dilated, rng=rng)
    return DETR(backbone, num_classes, rng=rng, **options)


def _published(name, depths, parameters, dilated=False):
    about = f"ResNet-{3 * sum(depths) + 2} with frozen norms" + ", the last stage dilated" * dilated
    example = "``masks=True`` for the panoptic head"
    return published(
        name, DETR, about, parameters, 91, example, build=_on_resnet, depths=depths, dilated=dilated
    )


detr_r50 = _published("detr_r50", (3, 4, 6, 3), 41_524_768)
detr_r101 = _published("detr_r101", (3, 4, 23, 3), 60_464_672)
detr_r50_dc5 = _published("detr_r50_dc5", (3, 4, 6, 3), 41_524_768, dilated=True)
