"""ViViT: a film becomes tokens in space and time, and a transformer classifies it; four ways to split its attention.

Arnab et al., "ViViT: a video vision transformer", ICCV 2021, sections 3.2 to 3.4. Slides ``A/108-vivit-idea`` to
``A/119-factorised-heads``.
Not here: attention split in space and time (vision/factorised.py), tubelets without parameters
(vision/tubelets.py), training (recipes/), published weights (pretrained/).
"""

import math
import re

import numpy as np

from minivis import ops
from minivis.models.common import published, small_normal
from minivis.nn import (
    MLP,
    Dropout,
    LayerNorm,
    Linear,
    Module,
    MultiHeadAttention,
    Parameter,
    ResidualLayer,
    TransformerEncoderLayer,
    init,
)
from minivis.nn.module import as_tensor
from minivis.pairs import pair
from minivis.vision.factorised import factorised_attention, factorised_heads
from minivis.vision.tubelets import (
    central_frame_kernel,
    inflated_kernel,
    tubelet_embed,
    uniform_frames,
)

__all__ = [
    "ViViT",
    "vivit_b16x2",
    "vivit_b16x2_factorised_attention",
    "vivit_b16x2_factorised_encoder",
    "vivit_b16x2_factorised_heads",
]

# models 1 to 4 of the paper
VARIANTS = ("joint", "factorised encoder", "factorised self-attention", "factorised dot-product")
JOINT, ENCODER, SELF_ATTENTION, DOT_PRODUCT = VARIANTS


class TubeletEmbed(Module):
    """Map each block of t x P x P pixels of a film linearly to a token; see `minivis.vision.tubelet_embed`.

    Parameters
    ----------
    channels, width : int
        C of the film, D of the tokens.
    tubelet : (int, int, int)
        Frames, height and width of a block.
    rng : numpy.random.Generator
        Draws the starting values: Xavier's, for the matrix (D, C t P P); the bias is 0.
    """

    def __init__(self, channels, width, tubelet, rng):
        kernel = (channels, *tubelet)
        matrix = init.xavier_uniform((width, math.prod(kernel)), rng)
        self.weight = Parameter(matrix.reshape(width, *kernel))
        self.bias = Parameter(init.zeros((width,)))

    def forward(self, video):
        return tubelet_embed(video, self.weight, self.bias)  # (B, T, N, D)


class FactorisedBlock(ResidualLayer):
    """A block of model 3: attention in space, attention in time, an MLP; each after a norm, each with a residual.

    .. math::
        y_s = \\mathrm{MSA}(\\mathrm{LN}(z)) + z, \\quad y_t = \\mathrm{MSA}(\\mathrm{LN}(y_s)) + y_s, \\quad
        z' = \\mathrm{MLP}(\\mathrm{LN}(y_t)) + y_t

    Parameters
    ----------
    width, heads, hidden_width : int
        D, the number of heads, the width inside the MLP.
    dropout, activation, eps, order, rng
        As for `ViViT`.
    """

    norm_first = True

    def __init__(self, width, heads, hidden_width, dropout, activation, eps, order, rng):
        self.order = order
        self.norm1 = LayerNorm(width, eps)
        self.self_attn = MultiHeadAttention(width, heads, dropout, rng=rng)  # in space
        self.norm_time = LayerNorm(width, eps)
        self.time_attn = MultiHeadAttention(width, heads, dropout, rng=rng)
        self.norm2 = LayerNorm(width, eps)
        self.mlp = MLP(width, hidden_width, activation=activation, dropout=dropout, rng=rng)
        self.dropout = Dropout(dropout, rng=rng)

    def forward(self, x):
        def space(x):
            return self.dropout(self.self_attn(self.norm1(x)))

        def time(x):
            return self.dropout(self.time_attn(self.norm_time(x)))

        x = factorised_attention(x, space, time, self.order)  # (B, T, N, D)
        return self.residual(self.norm2, self.mlp, x)


class SplitHeads(MultiHeadAttention):
    """Multi-head attention over the tokens of a film, with half of the heads in space and half in time.

    The parameters are those of `MultiHeadAttention`: only which tokens a head compares is different. Inside `looking`, it
    shows ``space_weights`` (B, T, h/2, N, N) and ``time_weights`` (B, N, h/2, T, T).

    Parameters
    ----------
    width, heads : int
        D and the number of heads, even.
    order : {"space_time", "time_space"}
        Which heads come first.
    rng : numpy.random.Generator
        Draws the starting values.
    """

    def __init__(self, width, heads, order, rng):
        super().__init__(width, heads, rng=rng)
        self.order = order

    def forward(self, x):
        B, T, N, D = x.shape
        q, k, v = (
            layer(x).reshape(B, T, N, self.num_heads, D // self.num_heads)
            for layer in (self.query, self.key, self.value)
        )
        self._show(q, k)
        y = factorised_heads(q, k, v, self.order)
        return self.out(y.reshape(B, T, N, D))

    def _show(self, q, k):
        """Show the weights of both halves of the heads, if somebody is looking."""
        half = self.num_heads // 2
        for axis, heads in zip(self.order.split("_"), (slice(None, half), slice(half, None)), strict=True):
            places = (0, 1, 3, 2, 4) if axis == "space" else (0, 2, 3, 1, 4)

            def weights(heads=heads, places=places):
                return ops.attention_weights(*(x[:, :, :, heads].transpose(*places) for x in (q, k)))

            self.show(**{f"{axis}_weights": weights})


class SplitHeadsBlock(ResidualLayer):
    """A block of model 4: attention with `SplitHeads` and an MLP, each after a norm and with a residual."""

    norm_first = True

    def __init__(self, width, heads, hidden_width, dropout, activation, eps, order, rng):
        self.norm1 = LayerNorm(width, eps)
        self.self_attn = SplitHeads(width, heads, order, rng)
        self.norm2 = LayerNorm(width, eps)
        self.mlp = MLP(width, hidden_width, activation=activation, dropout=dropout, rng=rng)
        self.dropout = Dropout(dropout, rng=rng)

    def forward(self, x):
        x = self.residual(self.norm1, self.self_attn, x)
        return self.residual(self.norm2, self.mlp, x)


class TemporalEncoder(Module):
    """The second encoder of model 2: from one token for each step in time to one for the film.

    Parameters
    ----------
    frames, width : int
        T, the number of steps in time, and D.
    blocks : list of TransformerEncoderLayer
        From first to last.
    eps, rng
        As for `ViViT`.
    """

    def __init__(self, frames, width, blocks, eps, rng):
        self.cls_token = Parameter(small_normal((1, 1, width), rng))
        self.pos_embed = Parameter(small_normal((1, 1 + frames, width), rng))
        self.blocks = list(blocks)
        self.norm = LayerNorm(width, eps)

    def forward(self, x):
        """Tokens of frames (B, T, D) -> normalised tokens (B, 1 + T, D), the token of the film first."""
        x = _with_token(self.cls_token, x) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


def _with_token(token, x):
    """Tokens x (..., N, D) with one learned token in front: (..., 1 + N, D)."""
    token = ops.broadcast_to(token, (*x.shape[:-2], 1, x.shape[-1]))
    return ops.concatenate([token, x], axis=-2)


class ViViT(Module):
    """Video Vision Transformer: films to class logits.

    .. math::
        z_0 = [v_1 E;\\; \\dots;\\; v_N E] + p, \\qquad v_i \\in \\mathbb{R}^{t \\times P \\times P \\times C}

    and the tokens of space and time go through one of four transformers:

    - "joint" (model 1): every token attends to every token of all frames.
    - "factorised encoder" (model 2): the tokens of a frame attend to each other; one token for each frame goes on to a
      second encoder, in which the frames attend to each other.
    - "factorised self-attention" (model 3): each block attends in space, then in time.
    - "factorised dot-product" (model 4): in each block half of the heads attend in space, half in time.

    Parameters
    ----------
    variant : str, default "joint"
        One of the four.
    frames : int, default 32
        T of the films.
    image_size : int or (int, int), default 224
        Height and width of the films.
    tubelet : (int, int, int), default (2, 16, 16)
        Frames, height and width of the block that becomes one token. (1, P, P) are the patches of single frames.
    sampled : int, optional
        Uniform frame sampling: only so many frames of the film are used, at equal distances.
    width, depth, heads : int, default 768, 12, 12
        D, number of blocks, number of attention heads.
    temporal_depth : int, default 4
        Number of blocks of the second encoder of model 2; the others have none.
    mlp_ratio : float, default 4
        Width inside the MLPs, as a multiple of D.
    num_classes : int, default 400
        K. With 0 there is no head, and the model returns the features.
    channels : int, default 3
        C of the films.
    order : {"space_time", "time_space"}, default "space_time"
        For models 3 and 4: whether space comes first, as in the paper, or time, as in the published code by default.
    dropout : float, default 0
        Probability, as for `TransformerEncoderLayer`. Model 4 drops no attention weights.
    activation : str, default "gelu_tanh"
        Activation of the MLPs.
    eps : float, default 1e-6
        Epsilon of the norms.
    rng : numpy.random.Generator, int or None
        Draws the starting values: Xavier for projections; normal with standard deviation 0.02 for learned tokens,
        positions and the head; biases are 0. None is seed 0.

    Raises
    ------
    ValueError
        If the variant or order is unknown, the tubelets do not fill the film, the heads do not divide the width, or model
        4 has an odd number of heads; when called, if the film has another size than the positions were made for.

    Notes
    -----
    Models 1 and 2 have class tokens; models 3 and 4 have none and average all tokens at the end. For T N tokens, attention
    compares (T N)^2 pairs in model 1, and about T N^2 + N T^2 in models 3 and 4. The published training also drops whole
    layers; its code scales them neither in training nor afterwards, and it is not here.

    References
    ----------
    Slides ``A/108-vivit-idea``, ``A/109-four-variants``, ``A/110-video-tokens``, ``A/112-positions-from-images``,
    ``A/113-spatio-temporal-attention``, ``A/115-factorised-encoder``, ``A/116-spatial-encoder``,
    ``A/117-temporal-encoder``, ``A/118-factorised-self-attention``, ``A/119-factorised-heads``.

    Examples
    --------
    >>> sizes = {"frames": 4, "image_size": 8, "tubelet": (2, 4, 4), "width": 16, "depth": 1, "heads": 2}
    >>> film = np.zeros((3, 4, 3, 8, 8), np.float32)
    >>> [ViViT(variant, **sizes, num_classes=5)(film).shape for variant in VARIANTS]
    [(3, 5), (3, 5), (3, 5), (3, 5)]
    """

    def __init__(
        self, variant="joint", frames=32, image_size=224, tubelet=(2, 16, 16), sampled=None, width=768, depth=12, heads=12,
        temporal_depth=4, mlp_ratio=4.0, num_classes=400, channels=3, order="space_time", dropout=0.0,
        activation="gelu_tanh", eps=1e-6, rng=None,
    ):  # fmt: skip
        init.check_sizes(
            "ViViT", frames=frames, image_size=image_size, tubelet=tubelet, width=width, depth=depth, heads=heads,
            temporal_depth=temporal_depth,
        )  # fmt: skip
        _check(variant, order, heads, tubelet, frames, sampled)
        rng = init.generator(rng)
        self.variant = variant
        self.frames = frames
        self.image_size = pair(image_size)
        self.sampled = sampled
        self.tubelet = tuple(tubelet)
        self.grid = self._grid()
        self.embed = TubeletEmbed(channels, width, self.tubelet, rng)
        self.dropout = Dropout(dropout, rng=rng)
        T, rows, columns = self.grid
        self.cls_token = self.temporal = None
        tokens = rows * columns if variant == ENCODER else T * rows * columns
        if variant in (JOINT, ENCODER):
            self.cls_token = Parameter(small_normal((1, 1, width), rng))
            tokens += 1
        self.pos_embed = Parameter(small_normal((1, tokens, width), rng))

        def block(kind=None):
            sizes = (width, heads, round(width * mlp_ratio), dropout, activation, eps)
            if kind in (FactorisedBlock, SplitHeadsBlock):
                return kind(*sizes, order, rng)
            return TransformerEncoderLayer(*sizes, norm_first=True, rng=rng)

        kind = {SELF_ATTENTION: FactorisedBlock, DOT_PRODUCT: SplitHeadsBlock}.get(variant)
        self.blocks = [block(kind) for _ in range(depth)]
        self.norm = LayerNorm(width, eps)
        if variant == ENCODER:
            later = [block() for _ in range(temporal_depth)]
            self.temporal = TemporalEncoder(T, width, later, eps, rng)
        self.head = Linear(width, num_classes, weight_init=small_normal, rng=rng) if num_classes else None

    def forward(self, video):
        """Classify films.

        Inside `looking`, it shows the ``grid`` (steps in time, rows and columns of tokens) and the attention weights of
        every block.

        Parameters
        ----------
        video : ndarray or Tensor, shape (B, T, C, H, W)
            Films of the size that the model was made for.

        Returns
        -------
        Tensor, shape (B, K)
            Logits; without a head the features, (B, D).
        """
        z = self.features(video)
        y = z.mean(axis=1) if self.cls_token is None else z[:, 0]  # (B, D)
        return y if self.head is None else self.head(y)

    def features(self, video):
        """The normalised tokens at the end: (B, 1 + T N, D) of model 1, (B, 1 + T, D) of model 2, (B, T N, D) of 3 and 4.

        A first token, if there is one, is the class token.
        """
        video = self._as_video(video)
        self.show(grid=lambda: np.array(self.grid))
        z = self.embed(video)  # (B, T, N, D)
        B, T, N, D = z.shape
        if self.variant == JOINT:
            z = z.reshape(B, T * N, D)
        if self.cls_token is not None:
            z = _with_token(self.cls_token, z)
        positions = self.pos_embed if self.cls_token is not None else self.pos_embed.reshape(1, T, N, D)
        z = self.dropout(z + positions)  # model 2: the same positions in every frame
        for block in self.blocks:
            z = block(z)
        z = self.norm(z)
        if self.variant == ENCODER:
            return self.temporal(z[:, :, 0])  # (B, 1 + T, D)
        return z if self.variant == JOINT else z.reshape(B, T * N, D)

    def start_from(self, vit, kernel="central frame", temporal="zeros"):
        """Begin with the weights of an image model instead of random ones; what it has no weights for stays as it is.

        Parameters
        ----------
        vit : ViT
            With patches, width, heads and at least as many blocks as this model. Its head is not used.
        kernel : {"central frame", "inflated"}, default "central frame"
            How the kernel of an image becomes that of a tubelet, see `minivis.vision.central_frame_kernel` and
            `minivis.vision.inflated_kernel`.
        temporal : {"zeros", "copy"}, default "zeros"
            Attention in time of model 3. "zeros": its output projection starts at zero, as in the paper, so that each frame
            is treated by itself at first. "copy": it starts as a copy of that in space, as in the published code.

        Returns
        -------
        ViViT
            The model itself.

        Raises
        ------
        ValueError
            If the image model has other sizes, or an option is unknown.

        Notes
        -----
        The positions of the image are repeated for each step in time. In model 2 all frames share one table anyway; its
        second encoder has no counterpart in an image model.

        References
        ----------
        Arnab et al. 2021, section 3.4, equations 7 to 9. Slide ``A/112-positions-from-images``.
        """
        kernels = {"central frame": central_frame_kernel, "inflated": inflated_kernel}
        if kernel not in kernels or temporal not in ("zeros", "copy"):
            raise ValueError(
                f'ViViT: kernel must be "central frame" or "inflated" and temporal "zeros" or "copy", got {kernel!r} and '
                f"{temporal!r}"
            )
        state = _as_video_names(vit.state_dict())
        self._check_image_model(vit, state)
        state["embed.weight"] = kernels[kernel](state["embed.weight"], self.tubelet[0])
        state["pos_embed"] = self._repeated(state["pos_embed"], vit.prefix)
        if self.variant == SELF_ATTENTION:
            for name in [name for name in state if ".self_attn." in name]:
                start = 0 if temporal == "zeros" and ".out." in name else 1
                state[name.replace("self_attn", "time_attn")] = start * state[name]
            for name in [name for name in state if ".norm1." in name]:
                state[name.replace("norm1", "norm_time")] = state[name]
        mine = self.state_dict()
        state = {name: array for name, array in state.items() if name in mine}
        if wrong := [name for name, array in state.items() if array.shape != mine[name].shape]:
            raise ValueError(
                f"ViViT: {wrong[0]} of the image model has another size (there: {state[wrong[0]].shape}, "
                f"here: {mine[wrong[0]].shape})"
            )
        if missing := [
            name for name in mine if name not in state and not name.startswith(("head", "temporal"))
        ]:
            raise ValueError(f"ViViT: the image model has nothing for {missing[0]}")
        self.load_state_dict({**mine, **state})
        return self

    def _check_image_model(self, vit, state):
        """Refuse a model whose weights would fit here and mean something else."""
        if not {"embed.weight", "pos_embed", "blocks.0.self_attn.query.weight"} <= state.keys():
            raise ValueError(f"ViViT: the image model must be a ViT, got {type(vit).__name__}")
        heads, mine = vit.blocks[0].attn.num_heads, self.blocks[0].self_attn.num_heads
        if heads != mine:
            raise ValueError(f"ViViT: the image model has {heads} heads, this one {mine}")
        there = {name for name in state if name.startswith("blocks.0.")}
        if strange := sorted(there - set(self.state_dict())):
            raise ValueError(f"ViViT: there is no place here for {strange[0]} of the image model")

    def _repeated(self, table, prefix):
        """The position table (1, prefix + N, D) of an image model, repeated for every step in time."""
        patches = table[:, prefix:]
        if self.variant != ENCODER:
            patches = patches.repeat(self.grid[0], axis=0).reshape(1, -1, table.shape[2])
        if self.cls_token is None:
            return patches
        return np.concatenate([table[:, :1], patches], axis=1)

    def _as_video(self, video):
        """The film as a Tensor, of the size that the positions were made for, only the sampled frames."""
        video = as_tensor(video)
        expected = (self.frames, self.embed.weight.shape[1], *self.image_size)
        if video.ndim != 5 or video.shape[1:] != expected:
            raise ValueError(
                f"ViViT: films must be (B, T, C, H, W) with T, C, H, W = {expected} (video: {tuple(video.shape)})"
            )
        return video if self.sampled is None else uniform_frames(video, self.sampled)

    def _grid(self):
        """Steps in time, rows and columns of tokens."""
        size = (self.frames if self.sampled is None else self.sampled, *self.image_size)
        if any(n % side for n, side in zip(size, self.tubelet, strict=True)):
            raise ValueError(
                f"ViViT: tubelets of {' x '.join(map(str, self.tubelet))} do not fill {size[0]} frames of "
                f"{size[1]} x {size[2]} pixels"
            )
        return tuple(n // side for n, side in zip(size, self.tubelet, strict=True))


def _check(variant, order, heads, tubelet, frames, sampled):
    """Refuse options that are unknown or do not go together."""
    if variant not in VARIANTS:
        raise ValueError(f"ViViT: variant must be one of {', '.join(VARIANTS)}, got {variant!r:.100}")
    if order not in ("space_time", "time_space"):
        raise ValueError(f'ViViT: order must be "space_time" or "time_space", got {order!r:.100}')
    if variant == DOT_PRODUCT and heads % 2:
        raise ValueError(f"ViViT: half of the heads attend in space, half in time; {heads} is odd")
    if not isinstance(tubelet, (tuple, list)) or len(tubelet) != 3:
        raise ValueError(f"ViViT: tubelet must be (frames, height, width), got {tubelet!r:.100}")
    if sampled is not None and not (hasattr(sampled, "__index__") and 1 <= sampled <= frames):
        raise ValueError(
            f"ViViT: sampled must be a whole number from 1 to {frames} frames, got {sampled!r:.100}"
        )


# names of a ViT's weights -> names of the same weights here
RENAMED = ((r"^patch_embed\.proj\.", "embed."), (r"\.attn\.", ".self_attn."))


def _as_video_names(state):
    """The arrays of a ViT with the names that they have in a ViViT."""
    found = {}
    for name, array in state.items():
        for pattern, new in RENAMED:
            name = re.sub(pattern, new, name)
        if not name.startswith("head"):
            found[name] = array
    return found


def _published(name, variant, parameters, about):
    example = "``frames=16``, ``image_size=128``"
    return published(name, ViViT, about, parameters, classes=400, example=example, variant=variant)


_SIZE = "32 frames, tubelets of 2 x 16 x 16, width 768, 12 blocks, 12 heads, "
vivit_b16x2 = _published("vivit_b16x2", JOINT, 88_954_000, _SIZE + "joint attention in space and time")
vivit_b16x2_factorised_encoder = _published(
    "vivit_b16x2_factorised_encoder", ENCODER, 115_062_928, _SIZE + "then 4 blocks in time"
)
vivit_b16x2_factorised_attention = _published(
    "vivit_b16x2_factorised_attention",
    SELF_ATTENTION,
    117_319_312,
    _SIZE + "attention in space, then in time",
)
vivit_b16x2_factorised_heads = _published(
    "vivit_b16x2_factorised_heads", DOT_PRODUCT, 88_952_464, _SIZE + "half of them in space, half in time"
)
