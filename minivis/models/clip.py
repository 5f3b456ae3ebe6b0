"""CLIP: an image encoder and a text encoder that place a picture and its caption at the same point.

Radford et al., "Learning transferable visual models from natural language supervision", ICML 2021, sections 2.3 to 2.5
and figure 3. Slide ``Z/40-clip``.
Not here: the loss (losses/contrastive.py), the ResNet with attention pooling (clip_resnet.py), words and byte pairs
(data/), published weights (pretrained/clip.py).
"""

import math
from typing import Any, NamedTuple

import numpy as np

from minivis import ops
from minivis.autograd import Tensor, no_grad
from minivis.backend import namespace, to_numpy
from minivis.debugging import may_read
from minivis.models.common import as_images, map_to_tokens, published
from minivis.nn import Conv2d, Embedding, LayerNorm, Linear, Module, Parameter, TransformerEncoderLayer, init
from minivis.pairs import pair

__all__ = [
    "CLIP",
    "CLIPImageEncoder",
    "CLIPOutput",
    "CLIPTextEncoder",
    "FoldedMaps",
    "clip_b16",
    "clip_b32",
    "clip_l14",
    "clip_rn50",
    "clip_rn50x4",
    "clip_rn101",
]

LARGEST_SCALE = math.log(100)  # the paper's limit for the logarithm of the factor
START_SCALE = math.log(1 / 0.07)
BYTE_PAIRS = 49_408  # entries of the published vocabulary
TEXT_LENGTH = 77


class CLIPOutput(NamedTuple):
    """What a CLIP answers for B pictures and T texts.

    Attributes
    ----------
    logits_per_image : Tensor, shape (B, T)
        Cosines of pictures and texts, times the learned factor.
    logits_per_text : Tensor, shape (T, B)
        The same numbers, transposed.
    image_embeddings : Tensor, shape (B, E)
        Each of length 1.
    text_embeddings : Tensor, shape (T, E)
        Each of length 1.
    """

    logits_per_image: Any
    logits_per_text: Any
    image_embeddings: Any
    text_embeddings: Any


def _blocks(width, depth, heads, mlp_ratio, activation, eps, rng):
    """Pre-norm blocks."""
    options = {"activation": activation, "layer_norm_eps": eps, "norm_first": True, "rng": rng}
    return [TransformerEncoderLayer(width, heads, round(width * mlp_ratio), **options) for _ in range(depth)]


class CLIPImageEncoder(Module):
    """CLIP's vision transformer: a ViT with one more norm before the blocks, and patches without a bias.

    .. math::
        z_0 = \\mathrm{LN}([x_{class};\\, x_1 E;\\, \\dots;\\, x_N E] + E_{pos}), \\qquad y = \\mathrm{LN}(z_L^0)

    Parameters
    ----------
    image_size : int or (int, int), default 224
        Height and width of the images, pixels.
    patch_size : int or (int, int), default 32
        P.
    width, depth, heads : int, defaults 768, 12, 12
        D, the number of blocks, and the attention heads of each.
    mlp_ratio : float, default 4
        Width inside the MLPs, as a multiple of D.
    channels : int, default 3
        C of the images.
    activation : str, default "quick_gelu"
        Activation of the MLPs.
    eps : float, default 1e-5
        Epsilon of the norms.
    rng : numpy.random.Generator, int or None
        Draws the starting values: Xavier for projections; class token and positions normal with standard deviation
        D to the power -1/2. None is seed 0.

    Raises
    ------
    ValueError
        If the patches do not fill the image, or the heads do not divide the width; when called, for images of another
        size.

    References
    ----------
    Radford et al. 2021, section 2.4. Slide ``Z/40-clip``.

    Examples
    --------
    >>> import numpy as np
    >>> encoder = CLIPImageEncoder(image_size=8, patch_size=4, width=16, depth=1, heads=2)
    >>> encoder(np.zeros((5, 3, 8, 8), np.float32)).shape
    (5, 16)
    """

    def __init__(
        self, image_size=224, patch_size=32, width=768, depth=12, heads=12, mlp_ratio=4.0, channels=3,
        activation="quick_gelu", eps=1e-5, rng=None,
    ):  # fmt: skip
        sizes = {"image_size": image_size, "patch_size": patch_size, "width": width, "depth": depth}
        init.check_sizes("CLIPImageEncoder", **sizes, heads=heads, channels=channels)
        rng = init.generator(rng)
        self.image_size, self.patch_size = pair(image_size), pair(patch_size)
        self.grid = tuple(side // p for side, p in zip(self.image_size, self.patch_size, strict=True))
        if any(side % p for side, p in zip(self.image_size, self.patch_size, strict=True)):
            raise ValueError(
                f"CLIPImageEncoder: patches of {self.patch_size} pixels do not fill an image of {self.image_size}"
            )
        kernel = {"kernel_size": self.patch_size, "stride": self.patch_size, "bias": False}
        self.patch_embed = Conv2d(channels, width, **kernel, weight_init=init.xavier_uniform, rng=rng)
        self.cls_token = Parameter(init.normal((width,), width**-0.5, rng))
        tokens = 1 + self.grid[0] * self.grid[1]
        self.pos_embed = Parameter(init.normal((tokens, width), width**-0.5, rng))
        self.norm_before = LayerNorm(width, eps)
        self.blocks = _blocks(width, depth, heads, mlp_ratio, activation, eps, rng)
        self.norm = LayerNorm(width, eps)

    def forward(self, images):
        """The normalised class token (B, D) of images (B, C, H, W)."""
        return self.norm(self.tokens(images)[:, 0])

    def tokens(self, images):
        """All tokens after the last block, (B, 1 + N, D), not normalised: the class token, then the patches."""
        images = as_images("CLIPImageEncoder", images)
        if images.shape[2:] != self.image_size:
            raise ValueError(
                f"CLIPImageEncoder: the position table is for images of {self.image_size} pixels "
                f"(images: {tuple(images.shape)})"
            )
        self.show(grid=lambda: np.array(self.grid))
        z = map_to_tokens(self.patch_embed(images))  # (B, N, D)
        first = ops.broadcast_to(self.cls_token, (z.shape[0], 1, z.shape[2]))
        z = self.norm_before(ops.concatenate([first, z], axis=1) + self.pos_embed)  # (B, 1 + N, D)
        for block in self.blocks:
            z = block(z)
        return z


class FoldedMaps(Module):
    """The last two maps of a backbone as one map: the coarse one, and behind it the fine one with 2 x 2 cells in a column.

    A backbone that was taught what things are forgets on the way what does not matter for that, such as their texture. The
    finer map still has it.

    Parameters
    ----------
    backbone : Module
        Has ``features(images)``, ``channels`` and ``stride``, as `ResNet` has, and its last map has half the rows and columns
        of the one before.

    Attributes
    ----------
    channels : tuple of int
        Channels of the one map that `features` returns.
    stride : int
        Distance in pixels between its cells.

    Raises
    ------
    ValueError
        If the backbone has one map only; when called, if the last two maps have other sizes, as with images whose sides
        are no multiples of the stride.

    Examples
    --------
    >>> import numpy as np
    >>> from minivis.models import ResNet
    >>> maps = FoldedMaps(ResNet((1, 1), "basic", widths=(4, 8), stem_width=4, num_classes=0))
    >>> maps.channels, maps.features(np.zeros((1, 3, 32, 32), np.float32))[0].shape
    ((24,), (1, 24, 4, 4))
    """

    def __init__(self, backbone):
        if len(backbone.channels) < 2:
            raise ValueError("FoldedMaps: backbone must have two maps or more, got one")
        self.backbone = backbone
        fine, coarse = backbone.channels[-2:]
        self.channels = (coarse + 4 * fine,)
        self.stride = backbone.stride

    def features(self, images):
        """A list with the one map, (B, channels[0], H / stride, W / stride)."""
        fine, coarse = self.backbone.features(images)[-2:]
        B, C, H, W = fine.shape
        if (H, W) != tuple(2 * side for side in coarse.shape[2:]):
            raise ValueError(
                f"FoldedMaps: of the last two maps, the first must have twice the rows and columns of the second, got "
                f"{H} x {W} and {coarse.shape[2]} x {coarse.shape[3]} (images: {tuple(images.shape)})"
            )
        fine = fine.reshape(B, C, H // 2, 2, W // 2, 2).transpose(0, 1, 3, 5, 2, 4)  # (B, C, 2, 2, H/2, W/2)
        return [ops.concatenate([coarse, fine.reshape(B, 4 * C, H // 2, W // 2)], axis=1)]


class CLIPTextEncoder(Module):
    """CLIP's text encoder: a causal transformer, whose feature of a text is its token at the end symbol.

    No token sees what comes after it. So only the end symbol has seen the whole text, and the padding behind it changes
    nothing.

    Parameters
    ----------
    vocabulary : int, default 49408
        Number of symbols.
    length : int, default 77
        Longest text, symbols.
    width, depth, heads : int, defaults 512, 12, 8
        D, the number of blocks, and the attention heads of each.
    mlp_ratio : float, default 4
        Width inside the MLPs, as a multiple of D.
    end_id : int, optional
        The end symbol; a text's feature stands at the first one in it. None, the default, takes the largest number of the
        text for it, as the published code does: there the end symbol has the largest number of all.
    activation : str, default "quick_gelu"
        Activation of the MLPs.
    eps : float, default 1e-5
        Epsilon of the norms.
    rng : numpy.random.Generator, int or None
        Draws the starting values, normal as published: symbols with standard deviation 0.02, positions 0.01, projections
        into attention and MLP so that the variance stays, those out of them less the deeper the model. None is seed 0.

    Raises
    ------
    ValueError
        If the heads do not divide the width; when called, if ``tokens`` is not (B, L), is too long, or a text has no end
        symbol.
    IndexError
        If there is no such symbol.

    References
    ----------
    Radford et al. 2021, section 2.4. Slide ``Z/40-clip``.

    Examples
    --------
    >>> import numpy as np
    >>> encoder = CLIPTextEncoder(vocabulary=10, length=5, width=16, depth=1, heads=2, end_id=2)
    >>> encoder(np.array([[1, 7, 2, 0, 0], [1, 5, 9, 6, 2]])).shape
    (2, 16)
    """

    def __init__(
        self, vocabulary=BYTE_PAIRS, length=TEXT_LENGTH, width=512, depth=12, heads=8, mlp_ratio=4.0, end_id=None,
        activation="quick_gelu", eps=1e-5, rng=None,
    ):  # fmt: skip
        sizes = {"vocabulary": vocabulary, "length": length, "width": width, "depth": depth, "heads": heads}
        init.check_sizes("CLIPTextEncoder", **sizes)
        if end_id is not None and not (hasattr(end_id, "__index__") and 0 <= end_id < vocabulary):
            raise ValueError(f"CLIPTextEncoder: end_id must be a symbol, 0 to {vocabulary - 1}, got {end_id}")
        rng = init.generator(rng)
        self.end_id = end_id
        self.token_embed = Embedding(vocabulary, width, rng=rng)
        self.token_embed.weight = Parameter(init.normal((vocabulary, width), 0.02, rng))
        self.pos_embed = Parameter(init.normal((length, width), 0.01, rng))
        self.blocks = _blocks(width, depth, heads, mlp_ratio, activation, eps, rng)
        for block in self.blocks:
            _start_as_published(block, width, depth, rng)
        self.norm = LayerNorm(width, eps)

    def forward(self, tokens):
        """The features (B, D) of texts (B, L) of integers, L at most `length`. Inside `looking` it shows ``ends`` (B,)."""
        tokens = tokens.data if isinstance(tokens, Tensor) else tokens
        tokens = np.asarray(tokens) if isinstance(tokens, (list, tuple)) else tokens
        length = self.pos_embed.shape[0]
        if getattr(tokens, "ndim", None) != 2 or not 1 <= tokens.shape[1] <= length:
            raise ValueError(
                f"CLIPTextEncoder: tokens must be (B, L) with L of 1 to {length} (tokens: {np.shape(tokens)})"
            )
        ends = self._ends(tokens)
        self.show(ends=lambda: ends)
        z = self.token_embed(tokens) + self.pos_embed[: tokens.shape[1]]  # (B, L, D)
        for block in self.blocks:
            z = block(z, is_causal=True)
        z = z[namespace(tokens).arange(len(tokens)), ends]  # (B, D)
        return self.norm(z)

    def _ends(self, tokens):
        """The place of the end symbol in each text, (B,)."""
        if self.end_id is None:
            return tokens.argmax(axis=1)
        here = tokens == self.end_id
        if may_read(here) and not bool(here.any(axis=1).all()):
            row = int(to_numpy(here.any(axis=1)).argmin())
            raise ValueError(
                f"CLIPTextEncoder: text {row} has no end symbol {self.end_id} (tokens: {tuple(tokens.shape)})"
            )
        return here.argmax(axis=1)


def _start_as_published(block, width, depth, rng):
    """Starting values of a text block: less of each branch the more branches are added up."""
    into = width**-0.5
    out = into * (2 * depth) ** -0.5
    attention, mlp = block.self_attn, block.mlp
    stds = [(attention.query, into), (attention.key, into), (attention.value, into), (attention.out, out)]
    for layer, std in [*stds, (mlp.fc1, (2 * width) ** -0.5), (mlp.fc2, out)]:
        layer.weight = Parameter(init.normal(layer.weight.shape, std, rng))


class CLIP(Module):
    """Two encoders and a projection each: pictures and texts become directions, and those that belong together agree.

    .. math::
        u_i = \\frac{W_I f(x_i)}{\\lVert W_I f(x_i) \\rVert}, \\qquad v_j = \\frac{W_T g(t_j)}{\\lVert W_T g(t_j) \\rVert},
        \\qquad \\text{logits}_{ij} = e^{s}\\, u_i \\cdot v_j

    Parameters
    ----------
    image_encoder : Module
        Maps images (B, C, H, W) to features (B, F).
    text_encoder : CLIPTextEncoder or Module
        Maps symbols (B, L) to features (B, G).
    width : int, default 512
        E, the length of an embedding, for pictures and texts alike.
    image_width : int, optional
        F. None, the default, is for an image encoder that ends in a projection of its own, so that F is E.
    text_width : int, optional
        G; the default is the width of a `CLIPTextEncoder`.
    rng : numpy.random.Generator, int or None
        Draws the starting values of the projections. None is seed 0.

    Attributes
    ----------
    logit_scale : Parameter, shape ()
        s, the logarithm of the factor; it starts at ln(1 / 0.07), and `limit_scale` keeps it below ln 100.

    Raises
    ------
    ValueError
        If a width is not a whole number of at least 1.

    References
    ----------
    Radford et al. 2021, figure 3 and section 2.5. Slide ``Z/40-clip``.

    Examples
    --------
    >>> import numpy as np
    >>> image = CLIPImageEncoder(image_size=8, patch_size=4, width=16, depth=1, heads=2)
    >>> text = CLIPTextEncoder(vocabulary=10, length=5, width=24, depth=1, heads=2, end_id=2)
    >>> model = CLIP(image, text, width=12, image_width=16)
    >>> out = model(np.zeros((3, 3, 8, 8), np.float32), np.array([[1, 7, 2, 0, 0], [1, 5, 9, 6, 2]]))
    >>> out.logits_per_image.shape, out.text_embeddings.shape
    ((3, 2), (2, 12))
    """

    head = None  # it has no classes of its own: whoever asks gives them as texts

    def __init__(self, image_encoder, text_encoder, width=512, image_width=None, text_width=None, rng=None):
        if text_width is None:
            text_width = text_encoder.pos_embed.shape[-1]
        in_image = width if image_width is None else image_width
        init.check_sizes("CLIP", width=width, image_width=in_image, text_width=text_width)
        rng = init.generator(rng)
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder
        start = {"bias": False, "weight_init": _by_width, "rng": rng}
        self.image_projection = Linear(image_width, width, **start) if image_width else None
        self.text_projection = Linear(text_width, width, **start)
        self.logit_scale = Parameter(np.array(START_SCALE, np.float32))

    def forward(self, images, tokens):
        """Compare every picture with every text.

        Parameters
        ----------
        images : ndarray or Tensor, shape (B, C, H, W)
            Pictures.
        tokens : int ndarray, shape (T, L)
            Texts as symbols.

        Returns
        -------
        CLIPOutput
        """
        u, v = self.encode_image(images), self.encode_text(tokens)
        logits = ops.exp(self.logit_scale) * (u @ v.T)  # (B, T)
        return CLIPOutput(logits, logits.T, u, v)

    def encode_image(self, images):
        """The embeddings (B, E) of images (B, C, H, W), each of length 1."""
        features = self.image_encoder(images)
        return ops.normalize(self.image_projection(features) if self.image_projection else features)

    def encode_text(self, tokens):
        """The embeddings (T, E) of texts (T, L), each of length 1."""
        return ops.normalize(self.text_projection(self.text_encoder(tokens)))

    def class_embeddings(self, prompts):
        """An embedding for each class from its prompts: the mean of their embeddings, brought to length 1 again.

        ``encode_image(images) @ class_embeddings(prompts).T`` are the cosines that classify pictures without training.

        Parameters
        ----------
        prompts : list of ndarray of int, each (n, L)
            For each class the symbols of one or several texts that describe it.

        Returns
        -------
        Tensor, shape (K, E)
            Nothing is kept for backward.

        References
        ----------
        Radford et al. 2021, section 3.1.4.
        """
        with no_grad():
            means = [ops.mean(self.encode_text(texts), axis=0) for texts in prompts]
            return ops.normalize(ops.stack(means))

    def example(self):
        """A picture of zeros and one text, for `minivis.nn.summary`."""
        height, width = pair(self.image_encoder.config["image_size"])
        channels = next(p.shape[1] for p in self.image_encoder.parameters() if p.ndim == 4)
        tokens = np.zeros((1, len(self.text_encoder.pos_embed.data)), np.int64)
        tokens[0, -1] = self.text_encoder.end_id or 0
        return np.zeros((1, channels, height, width), np.float32), tokens

    def limit_scale(self):
        """Bring the learned factor down to 100 if it is above; call it after each step. It writes in place."""
        self.logit_scale.data[...] = self.logit_scale.data.clip(None, LARGEST_SCALE)


def _by_width(shape, rng):
    """Starting values of a projection (out, in): normal with standard deviation in ** -0.5."""
    return init.normal(shape, shape[1] ** -0.5, rng)


# ------------------------------------------------------------------ published sizes


def _with_vit(
    rng, image_size, patch_size, image_width, image_depth, text_width, embedding, vocabulary, length, end_id
):
    """A CLIP with a vision transformer. Every head is 64 wide, in both encoders."""
    image = CLIPImageEncoder(image_size, patch_size, image_width, image_depth, image_width // 64, rng=rng)
    text = CLIPTextEncoder(vocabulary, length, text_width, heads=text_width // 64, end_id=end_id, rng=rng)
    return CLIP(image, text, embedding, image_width=image_width, rng=rng)


def _with_resnet(
    rng, image_size, image_depths, image_width, text_width, embedding, vocabulary, length, end_id
):
    """A CLIP with a ResNet, whose attention pooling ends in a projection of its own."""
    from minivis.models.clip_resnet import CLIPResNet

    heads = image_width * 32 // 64
    image = CLIPResNet(image_depths, image_width, embedding, heads, image_size, rng=rng)
    text = CLIPTextEncoder(vocabulary, length, text_width, heads=text_width // 64, end_id=end_id, rng=rng)
    return CLIP(image, text, embedding, rng=rng)


def _published(name, build, about, parameters, **sizes):
    sizes = {"image_size": 224, "vocabulary": BYTE_PAIRS, "length": TEXT_LENGTH, "end_id": None, **sizes}
    return published(
        name,
        CLIP,
        about,
        parameters,
        classes=None,
        build=build,
        example="``vocabulary``, ``length``",
        **sizes,
    )


def _vit(name, patch, width, depth, text_width, embedding, parameters):
    about = f"a ViT of {depth} blocks of width {width} on patches of {patch} x {patch}, texts of width {text_width}"
    sizes = {"patch_size": patch, "image_width": width, "image_depth": depth}
    return _published(name, _with_vit, about, parameters, **sizes, text_width=text_width, embedding=embedding)


def _resnet(name, depths, width, side, text_width, embedding, parameters):
    about = f"a ResNet with {depths} bottlenecks and attention pooling on images of {side} x {side}, texts of width {text_width}"
    sizes = {"image_depths": depths, "image_width": width, "image_size": side}
    return _published(
        name, _with_resnet, about, parameters, **sizes, text_width=text_width, embedding=embedding
    )


clip_b32 = _vit("clip_b32", 32, 768, 12, 512, 512, 151_277_313)
clip_b16 = _vit("clip_b16", 16, 768, 12, 512, 512, 149_620_737)
clip_l14 = _vit("clip_l14", 14, 1024, 24, 768, 768, 427_616_513)
clip_rn50 = _resnet("clip_rn50", (3, 4, 6, 3), 64, 224, 512, 1024, 102_007_137)
clip_rn101 = _resnet("clip_rn101", (3, 4, 23, 3), 64, 224, 512, 512, 119_688_033)
clip_rn50x4 = _resnet("clip_rn50x4", (4, 6, 10, 6), 80, 288, 640, 640, 178_300_601)
