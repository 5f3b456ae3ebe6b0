"""SAM: an image is embedded once; points, boxes, texts and masks then ask for the mask of a thing, each in little time.

Kirillov et al., "Segment anything", ICCV 2023, section 3 and appendix A. Slides ``A/84-promptable-segmentation`` to
``A/92-sam-output-tokens``.
Not here: image encoders (sam_encoder.py), the code of a position (vision/prompts.py), the loss and clicks for training
(losses/prompted_masks.py, vision/clicks.py), masks without a prompt (vision/unprompted_masks.py).
"""

from dataclasses import dataclass

import numpy as np

from minivis import backend, ops
from minivis.autograd import Tensor
from minivis.debugging import may_read
from minivis.models.common import LayerNorm2d, as_images, published
from minivis.nn import (
    GELU,
    MLP,
    Conv2d,
    ConvTranspose2d,
    LayerNorm,
    Linear,
    Module,
    MultiHeadAttention,
    Parameter,
    Sequential,
    init,
)
from minivis.nn.module import as_tensor
from minivis.pairs import checked_pair, pair
from minivis.precision import rounded
from minivis.vision.prompts import point_position_code

__all__ = ["SAM", "MaskDecoder", "PromptEncoder", "SAMOutput", "sam_vit_b", "sam_vit_h", "sam_vit_l"]


@dataclass
class SAMOutput:
    """The answer to P prompts about each of B images.

    Attributes
    ----------
    masks : Tensor, shape (B, P, M, 4 h, 4 w)
        Logits of M masks for each prompt, positive where a pixel belongs to the thing. M is 3, or 1 with
        ``multimask=False``. The embedding of the image has h x w cells.
    iou : Tensor, shape (B, P, M)
        The model's own estimate of the IoU of each mask with the thing that was meant.
    """

    masks: Tensor
    iou: Tensor


class PromptEncoder(Module):
    """Make tokens of points, boxes and texts, and a map of a mask.

    A point becomes the code of its position plus a learned vector that says whether it lies on the thing or beside it.
    A box becomes two such tokens, for its corner at the upper left and its corner at the lower right. A text becomes a
    linear map of its features. A mask is shrunk by convolutions to a map that is added to the embedding of the image;
    without a mask, one learned vector is added everywhere.

    Parameters
    ----------
    width : int
        D of tokens and maps, even.
    image_size : int or (int, int)
        Height and width in pixels of the images, as the encoder takes them.
    grid : int or (int, int)
        Rows and columns of the embedding of such an image.
    mask_channels : int, default 16
        Channels before the last convolution of a mask, divisible by 4.
    text_width : int, optional
        E, the length of the features of a text. The published models take no texts.
    rng : numpy.random.Generator, int or None
        Draws the starting values, also the frequencies of the position codes; None is seed 0.

    Attributes
    ----------
    gaussian : ndarray, shape (2, D / 2)
        A buffer, for `point_position_code`: it is saved, but not learned.
    point_types : list of 4 Parameter, shape (1, D)
        For a point beside the thing, a point on it, the upper left and the lower right corner of a box.
    not_a_point, no_mask : Parameter, shape (1, D)
        For the point that fills the place where there is none, and for the missing mask.

    Raises
    ------
    ValueError
        If a size does not fit; when called, if the shapes of the prompts do not fit together.

    References
    ----------
    Kirillov et al. 2023, section 3 and appendix A. Slides ``A/88-sam-prompt-encoder``, ``A/89-sam-mask-prompt``.

    Examples
    --------
    >>> encoder = PromptEncoder(8, image_size=32, grid=4)
    >>> tokens, maps = encoder(points=np.zeros((1, 2, 3, 2)), point_labels=np.ones((1, 2, 3), int))
    >>> tokens.shape, maps.shape  # three points, and one that stands for the missing box
    ((1, 2, 4, 8), (1, 1, 8, 1, 1))
    """

    def __init__(self, width, image_size, grid, mask_channels=16, text_width=None, rng=None):
        init.check_sizes(
            "PromptEncoder", width=width, image_size=image_size, grid=grid, mask_channels=mask_channels
        )
        if width % 2 or mask_channels % 4:
            raise ValueError(
                f"PromptEncoder: width must be even and mask_channels divisible by 4, got {width}, {mask_channels}"
            )
        rng = init.generator(rng)
        self.image_size, self.grid = pair(image_size), pair(grid)
        self.gaussian = init.normal((2, width // 2), 1.0, rng)
        self.point_types = [Parameter(init.normal((1, width), 1.0, rng)) for _ in range(4)]
        self.not_a_point = Parameter(init.normal((1, width), 1.0, rng))
        self.mask_downscaling = Sequential(
            Conv2d(1, mask_channels // 4, 2, stride=2, rng=rng),
            LayerNorm2d(mask_channels // 4),
            GELU(),
            Conv2d(mask_channels // 4, mask_channels, 2, stride=2, rng=rng),
            LayerNorm2d(mask_channels),
            GELU(),
            Conv2d(mask_channels, width, 1, rng=rng),
        )
        self.no_mask = Parameter(init.normal((1, width), 1.0, rng))
        self.text = Linear(text_width, width, rng=rng) if text_width else None

    def forward(
        self, points=None, point_labels=None, boxes=None, masks=None, texts=None, grid=None, size=None
    ):
        """Encode prompts; the arguments are those of `SAM.answer`.

        Returns
        -------
        tokens : Tensor, shape (B, P, n, D)
            One for each point, one for a missing box where there are points, two for a box, one for a text.
        maps : Tensor, shape (B, P, D, h, w), or (1, 1, D, 1, 1) without masks
            To be added to the embedding of the image.
        """
        grid = self.grid if grid is None else grid
        size = self.image_size if size is None else size
        B, P = _prompts(points, point_labels, boxes, masks, texts)
        D = self.no_mask.shape[1]
        tokens = []
        if points is not None:
            tokens.append(self._points(points, point_labels, size))
            if boxes is None:
                tokens.append(ops.broadcast_to(self.not_a_point, (B, P, 1, D)))
        if boxes is not None:
            corners = ops.concatenate(self.point_types[2:], axis=0)  # (2, D)
            tokens.append(self._code(_corners(boxes), size) + corners)
        if texts is not None:
            tokens.append(self._texts(texts).reshape(B, P, 1, D))
        if not tokens:
            tokens = [ops.broadcast_to(self.not_a_point, (B, P, 1, D))[:, :, :0]]
        tokens = ops.concatenate(tokens, axis=2) if len(tokens) > 1 else tokens[0]
        return tokens, self._masks(masks, grid)

    def grid_code(self, grid):
        """The position codes of the cells of an embedding, (h w, D), row by row: each is the code of its centre."""
        h, w = grid
        cells = np.stack(np.meshgrid(np.arange(w), np.arange(h)), axis=-1).reshape(h * w, 2)  # x, y
        return self._code(backend.move(cells, self.no_mask.device), (h, w))

    def _code(self, points, size):
        return as_tensor(point_position_code(points, size, self.gaussian))

    def _points(self, points, labels, size):
        """Tokens (B, P, n, D) of points. The code of a point with label -1 does not count."""
        kinds = ops.concatenate([self.not_a_point, *self.point_types[:2]], axis=0)  # (3, D): labels -1, 0, 1
        if may_read(labels) and not bool(((labels == -1) | (labels == 0) | (labels == 1)).all()):
            raise ValueError("SAM: point_labels must be 1 (on the thing), 0 (beside it) or -1 (no point)")
        labels = labels.astype("int64")
        there = (labels >= 0)[..., None]
        code = self._code(points, size)
        return ops.where(there, code, 0.0) + ops.take(kinds, labels + 1, axis=0)

    def _texts(self, texts):
        if self.text is None:
            raise ValueError("SAM: this model takes no texts; its PromptEncoder was made without text_width")
        return self.text(rounded(as_tensor(texts), self.no_mask.dtype))

    def _masks(self, masks, grid):
        D = self.no_mask.shape[1]
        if masks is None:
            return self.no_mask.reshape(1, 1, D, 1, 1)
        h, w = grid
        B, P = masks.shape[:2]
        if tuple(masks.shape[2:]) != (1, 4 * h, 4 * w):
            raise ValueError(
                f"SAM: masks must be (B, P, 1, {4 * h}, {4 * w}), four times the embedding of {h} x {w} cells "
                f"(masks: {tuple(masks.shape)})"
            )
        if masks.dtype.kind != "f":
            raise TypeError(
                f"SAM: masks must be logits, positive on the thing and negative beside it, got {masks.dtype.name}; "
                "np.where(mask, 10.0, -10.0) makes some of a mask"
            )
        masks = rounded(as_tensor(masks), self.no_mask.dtype)
        maps = self.mask_downscaling(masks.reshape(B * P, 1, 4 * h, 4 * w))
        return maps.reshape(B, P, D, h, w)


def _prompts(points, labels, boxes, masks, texts):
    """Check the shapes of prompts. Returns B and P, which all must share; without any prompt both are 1."""
    if (points is None) != (labels is None):
        raise ValueError("SAM: points and point_labels go together, one label for each point")
    axes = {
        "points (B, P, n, 2)": (points, 4, 2),
        "point_labels (B, P, n)": (labels, 3, None),
        "boxes (B, P, 4)": (boxes, 3, 4),
        "masks (B, P, 1, 4 h, 4 w)": (masks, 5, None),
        "texts (B, P, E)": (texts, 3, None),
    }
    given = {name: (x, *rest) for name, (x, *rest) in axes.items() if x is not None}
    wrong = any(x.ndim != ndim or (last and x.shape[-1] != last) for x, ndim, last in given.values())
    leading = {tuple(x.shape[:2]) for x, _, _ in given.values()}
    if wrong or len(leading) > 1 or (points is not None and points.shape[:3] != labels.shape):
        found = ", ".join(f"{name.split()[0]}: {tuple(x.shape)}" for name, (x, _, _) in given.items())
        raise ValueError(f"SAM: expected {', '.join(given)} with the same B and P ({found})")
    return leading.pop() if leading else (1, 1)


def _corners(boxes):
    """The corners (B, P, 2, 2) of boxes (B, P, 4): upper left, lower right."""
    corners = boxes.reshape(*boxes.shape[:2], 2, 2)
    if may_read(boxes) and bool((corners[:, :, 0] > corners[:, :, 1]).any()):
        raise ValueError(
            "SAM: boxes must be x0, y0, x1, y1, first the upper left corner and then the lower right one: x0 <= x1, y0 <= y1"
        )
    return corners


def _attention(width, heads, rng, shrink=1):
    """Attention whose queries, keys and values have width / shrink numbers."""
    inner = width // shrink
    attention = MultiHeadAttention(inner, heads, kdim=width, vdim=width, rng=rng)
    if shrink > 1:
        attention.query = Linear(width, inner, weight_init=init.xavier_uniform, rng=rng)
        attention.out = Linear(inner, width, weight_init=init.xavier_uniform, rng=rng)
    return attention


class TwoWayBlock(Module):
    """A layer of the mask decoder: tokens attend to each other and to the image, then the image attends to the tokens.

    Four steps, each with a residual sum and a norm: self-attention of the tokens, cross-attention from the tokens to the
    image, an MLP on each token, cross-attention from the image to the tokens. The position codes of image and tokens are
    added wherever they attend. In the first layer the tokens are their own codes, so there nothing is added, and the
    first step has no residual sum.
    """

    def __init__(self, width, heads, mlp_width, first, eps, rng):
        self.first = first
        self.self_attn = _attention(width, heads, rng)
        self.norm1 = LayerNorm(width, eps)
        self.tokens_to_image = _attention(width, heads, rng, shrink=2)
        self.norm2 = LayerNorm(width, eps)
        self.mlp = MLP(width, mlp_width, activation="relu", rng=rng)
        self.norm3 = LayerNorm(width, eps)
        self.image_to_tokens = _attention(width, heads, rng, shrink=2)
        self.norm4 = LayerNorm(width, eps)

    def forward(self, tokens, image, token_codes, image_codes):
        """Tokens (B, P, n, D) and image (B, P or 1, h w, D), with their codes: both, changed."""
        if self.first:
            tokens = self.norm1(self.self_attn(tokens))
        else:
            with_codes = tokens + token_codes
            tokens = self.norm1(tokens + self.self_attn(with_codes, with_codes, tokens))
        keys = image + image_codes
        tokens = self.norm2(tokens + self.tokens_to_image(tokens + token_codes, keys, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(image + self.image_to_tokens(keys, tokens + token_codes, tokens))
        return tokens, image


class ThreeLayerMLP(Module):
    """An MLP of three linear layers with ReLUs between them."""

    def __init__(self, width, out_width, hidden, rng):
        sizes = (width, hidden, hidden, out_width)
        self.layers = [Linear(n, m, rng=rng) for n, m in zip(sizes, sizes[1:], strict=False)]

    def forward(self, x):
        first, second, last = self.layers
        return last(ops.relu(second(ops.relu(first(x)))))


class MaskDecoder(Module):
    """From the embedding of an image and the tokens of a prompt to masks, each with an estimate of its IoU.

    Learned tokens join those of the prompt: one for the IoU, one for the mask when only one is wanted, and one for each
    of three masks, because a prompt may mean a thing, a part of it or a part of that. After the two-way layers the
    embedding is enlarged four times; an MLP makes of each mask token a vector, and its products with the pixels are the
    mask.

    .. math:: M_i(x, y) = \\langle \\mathrm{MLP}_i(t_i),\\ F(x, y) \\rangle

    Parameters
    ----------
    width : int
        D of tokens and maps, divisible by 8.
    depth : int, default 2
        Number of two-way layers.
    heads : int, default 8
        Heads of every attention. They must divide D / 2, the inner width of attention between tokens and image.
    mlp_width : int, default 2048
        Width inside the MLPs of the layers.
    masks : int, default 3
        How many masks a prompt gets.
    iou_width : int, optional
        Width inside the MLP that estimates the IoU; default D.
    eps : float, default 1e-5
        Epsilon of the norms inside the layers. Hugging Face's configuration has 1e-6.
    rng : numpy.random.Generator, int or None
        Draws the starting values; None is seed 0.

    Raises
    ------
    ValueError
        If a size does not fit.

    References
    ----------
    Kirillov et al. 2023, section 3, figure 14. Slides ``A/90-sam-mask-decoder``, ``A/91-sam-decoder-layer``,
    ``A/92-sam-output-tokens``.

    Examples
    --------
    >>> decoder = MaskDecoder(16, heads=2, mlp_width=32)
    >>> image, codes = np.zeros((2, 16, 3, 4), np.float32), np.zeros((12, 16), np.float32)
    >>> tokens, maps = np.zeros((2, 5, 1, 16), np.float32), np.zeros((1, 1, 16, 1, 1), np.float32)
    >>> y = decoder(image, codes, tokens, maps)
    >>> y.masks.shape, y.iou.shape
    ((2, 5, 3, 12, 16), (2, 5, 3))
    """

    def __init__(self, width, depth=2, heads=8, mlp_width=2048, masks=3, iou_width=None, eps=1e-5, rng=None):
        init.check_sizes(
            "MaskDecoder", width=width, depth=depth, heads=heads, mlp_width=mlp_width, masks=masks
        )
        if width % 8 or width // 2 % heads:
            raise ValueError(
                f"MaskDecoder: width must be divisible by 8, and half of it by heads, got {width}, {heads}"
            )
        rng = init.generator(rng)
        self.iou_token = Parameter(init.normal((1, width), 1.0, rng))
        self.mask_tokens = Parameter(init.normal((1 + masks, width), 1.0, rng))
        self.layers = [TwoWayBlock(width, heads, mlp_width, i == 0, eps, rng) for i in range(depth)]
        self.final_attn = _attention(width, heads, rng, shrink=2)
        self.final_norm = LayerNorm(width)  # always 1e-5, also in Hugging Face's code
        self.upscaling = Sequential(
            ConvTranspose2d(width, width // 4, 2, stride=2, rng=rng),
            LayerNorm2d(width // 4),
            GELU(),
            ConvTranspose2d(width // 4, width // 8, 2, stride=2, rng=rng),
            GELU(),
        )
        self.mask_mlps = [ThreeLayerMLP(width, width // 8, width, rng) for _ in range(1 + masks)]
        self.iou_head = ThreeLayerMLP(width, 1 + masks, iou_width or width, rng)

    def forward(self, image, image_codes, tokens, maps, multimask=True):
        """Answer prompts.

        Inside `looking`, the layers show the attention weights ``layers.0.self_attn.weights`` (B, P, heads, n, n),
        ``layers.0.tokens_to_image.weights`` (B, P, heads, n, h w) and ``layers.0.image_to_tokens.weights``, and the
        decoder the last ones, ``final_attn.weights``. Token 0 is the IoU's, tokens 1 to 4 are those of the masks.

        Parameters
        ----------
        image : ndarray or Tensor, shape (B, D, h, w)
            Embeddings of images.
        image_codes : ndarray or Tensor, shape (h w, D)
            Position codes of their cells.
        tokens, maps : ndarray or Tensor, shapes (B, P, n, D) and (B, P, D, h, w)
            From `PromptEncoder`.
        multimask : bool, default True
            Whether three masks are wanted or one.

        Returns
        -------
        SAMOutput
        """
        image, maps, prompt = as_tensor(image), as_tensor(maps), as_tensor(tokens)
        B, D, h, w = image.shape
        P = prompt.shape[1]
        x = image.reshape(B, 1, D, h, w) + maps  # (B, P or 1, D, h, w)
        x = x.reshape(*x.shape[:3], h * w).transpose(0, 1, 3, 2)  # (B, P or 1, h w, D)
        own = ops.concatenate([self.iou_token, self.mask_tokens], axis=0)
        own = ops.broadcast_to(own, (B, P, *own.shape))
        codes = ops.concatenate([own, prompt], axis=2)  # (B, P, 1 + 4 + n, D)
        t = codes
        for layer in self.layers:
            t, x = layer(t, x, codes, image_codes)
        t = self.final_norm(t + self.final_attn(t + codes, x + image_codes, x))
        pixels = self.upscaling(x.transpose(0, 1, 3, 2).reshape(B * P, D, h, w))
        return self._read(t, pixels, multimask)

    def _read(self, tokens, pixels, multimask):
        """Masks and IoUs from the tokens (B, P, n, D) and the enlarged embedding (B P, D / 8, 4 h, 4 w)."""
        B, P = tokens.shape[:2]
        _, C, H, W = pixels.shape
        wanted = slice(1, None) if multimask else slice(0, 1)
        numbers = range(len(self.mask_mlps))[wanted]
        vectors = [self.mask_mlps[i](tokens[:, :, 1 + i]) for i in numbers]
        vectors = ops.stack(vectors, axis=2)  # (B, P, M, D / 8)
        masks = vectors @ pixels.reshape(B, P, C, H * W)
        iou = self.iou_head(tokens[:, :, 0])[:, :, wanted]
        return SAMOutput(masks.reshape(B, P, len(numbers), H, W), iou)


class SAM(Module):
    """Segment anything: a heavy encoder reads the image once, a light decoder answers each prompt.

    Parameters
    ----------
    image_encoder : Module
        It maps images (B, 3, H, W) to embeddings (B, D, h, w): `SAMImageEncoder`, or any other network, such as
        `MapEncoder`.
    prompt_encoder : PromptEncoder
        Of the same width D.
    mask_decoder : MaskDecoder
        Of the same width D.

    Raises
    ------
    ValueError
        If the widths of prompt encoder and mask decoder differ.

    References
    ----------
    Kirillov et al. 2023, figure 4. Slides ``A/84-promptable-segmentation``, ``A/85-sam-architecture``,
    ``A/87-sam-image-encoder``.

    Examples
    --------
    >>> from minivis.models import MapEncoder, ResNet
    >>> backbone = ResNet((1, 1), "basic", widths=(8, 16), stem_width=8, num_classes=0)
    >>> parts = MapEncoder(backbone, 16, heads=2), PromptEncoder(16, 64, 16), MaskDecoder(16, heads=2, mlp_width=32)
    >>> model = SAM(*parts)
    >>> image = np.zeros((1, 3, 64, 64), np.float32)
    >>> model(image, boxes=np.array([[[4, 4, 20, 30]]])).masks.shape
    (1, 1, 3, 64, 64)
    >>> embedding = model.embed(image)
    >>> model.answer(embedding, np.array([[[[30, 12]]]]), np.array([[[1]]]), multimask=False).iou.shape
    (1, 1, 1)
    """

    head = None  # it finds things and does not name them

    def __init__(self, image_encoder, prompt_encoder, mask_decoder):
        widths = prompt_encoder.no_mask.shape[1], mask_decoder.iou_token.shape[1]
        if widths[0] != widths[1]:
            raise ValueError(
                f"SAM: prompt encoder and mask decoder need the same width, got {widths[0]} and {widths[1]}"
            )
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder

    def forward(
        self, images, points=None, point_labels=None, boxes=None, masks=None, texts=None, multimask=True
    ):
        """Embed images and answer prompts about them; see `answer` for the prompts.

        Parameters
        ----------
        images : ndarray or Tensor, shape (B, 3, H, W)
            Of a size that the image encoder accepts.

        Returns
        -------
        SAMOutput
        """
        images = as_images("SAM", images)
        prompts = {
            "points": points,
            "point_labels": point_labels,
            "boxes": boxes,
            "masks": masks,
            "texts": texts,
        }
        return self.answer(self.embed(images), **prompts, multimask=multimask, size=images.shape[2:])

    def embed(self, images):
        """The embeddings (B, D, h, w) of images (B, 3, H, W), to be used for many prompts."""
        return self.image_encoder(as_images("SAM", images))

    def answer(
        self, embedding, points=None, point_labels=None, boxes=None, masks=None, texts=None, multimask=True, size=None
    ):  # fmt: skip
        """Answer P prompts about each image. The prompts of one image do not influence each other.

        A prompt may have several parts: points and a box, say. All parts that are given have the same B and P. The order
        of the points does not matter.

        Parameters
        ----------
        embedding : ndarray or Tensor, shape (B, D, h, w)
            From `embed`.
        points : ndarray, shape (B, P, n, 2), optional
            x and y in pixels of the image as the encoder took it, also of parts of pixels. A point may lie outside.
        point_labels : ndarray, shape (B, P, n), optional
            1 for a point on the thing, 0 for one beside it, -1 for none: a filler for prompts with fewer points.
        boxes : ndarray, shape (B, P, 4), optional
            x0, y0, x1, y1 in pixels: first the corner at the upper left, then the one at the lower right.
        masks : ndarray or Tensor, shape (B, P, 1, 4 h, 4 w), optional
            Logits, such as a mask of the answer before.
        texts : ndarray or Tensor, shape (B, P, E), optional
            Features of CLIP's text encoder, for a model whose prompt encoder has a ``text_width``.
        multimask : bool, default True
            Three masks, or one. A prompt of one point may mean several things; with more prompts one mask is better.
        size : int or (int, int), optional
            Height and width of the image in pixels. The default follows from the embedding: its cells are as large as
            those of the images that the prompt encoder was made for.

        Returns
        -------
        SAMOutput

        Raises
        ------
        ValueError
            If the shapes do not fit, a label is not -1, 0 or 1, the corners of a box are in another order, or the model takes
            no texts.
        TypeError
            If ``masks`` are not logits, but boolean or whole numbers.
        """
        embedding = as_tensor(embedding)
        D = self.prompt_encoder.no_mask.shape[1]
        if embedding.ndim != 4 or embedding.shape[1] != D:
            raise ValueError(f"SAM: embedding must be (B, D={D}, h, w) (embedding: {tuple(embedding.shape)})")
        B, _, *grid = embedding.shape
        if size is None:
            made_for = zip(self.prompt_encoder.image_size, grid, self.prompt_encoder.grid, strict=True)
            size = [side * cells // of for side, cells, of in made_for]
        points, point_labels, boxes = (_plain(x) for x in (points, point_labels, boxes))
        masks, texts = (x if x is None else as_tensor(x) for x in (masks, texts))
        size = checked_pair("SAM", "size", size)
        tokens, maps = self.prompt_encoder(points, point_labels, boxes, masks, texts, grid, size)
        if tokens.shape[0] != B:
            if not all(x is None for x in (points, boxes, masks, texts)):
                raise ValueError(f"SAM: there are prompts for {tokens.shape[0]} images, but {B} embeddings")
            tokens = ops.broadcast_to(tokens, (B, *tokens.shape[1:]))  # no prompt at all
        codes = self.prompt_encoder.grid_code(grid)
        return self.mask_decoder(embedding, codes, tokens, maps, multimask)


def _plain(x):
    return x if x is None else backend.as_array(x.data if isinstance(x, Tensor) else x)


def _published_sam(name, width, depth, heads, whole, parameters):
    def build(rng, **options):
        from minivis.models.sam_encoder import SAMImageEncoder

        encoder = SAMImageEncoder(width=width, depth=depth, heads=heads, whole=whole, rng=rng, **options)
        return SAM(encoder, PromptEncoder(256, 1024, 64, rng=rng), MaskDecoder(256, rng=rng))

    about = f"SAM whose image encoder has {depth} blocks of width {width} and {heads} heads"
    return published(name, SAM, about, parameters, None, build=build)


sam_vit_b = _published_sam("sam_vit_b", 768, 12, 12, (2, 5, 8, 11), 93_735_472)
sam_vit_l = _published_sam("sam_vit_l", 1024, 24, 16, (5, 11, 17, 23), 312_342_832)
sam_vit_h = _published_sam("sam_vit_h", 1280, 32, 16, (7, 15, 23, 31), 641_090_608)
