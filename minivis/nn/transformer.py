"""Transformer layers and the encoder-decoder Transformer, with the norm after each branch (2017) or before it.

Not here: attention (attention.py), position codes (position.py), vision models (models/).
"""

import functools
import math

import numpy as np

from minivis.nn import init
from minivis.nn.attention import MultiHeadAttention
from minivis.nn.dropout import Dropout
from minivis.nn.linear import Embedding, Linear
from minivis.nn.mlp import MLP
from minivis.nn.module import Module, Parameter, as_tensor
from minivis.nn.norm import LayerNorm
from minivis.nn.position import SinePositionCode1d

__all__ = [
    "LayerScale",
    "ResidualLayer",
    "Transformer",
    "TransformerDecoder",
    "TransformerDecoderLayer",
    "TransformerEncoder",
    "TransformerEncoderLayer",
]


class LayerScale(Module):
    """Multiply each feature of a branch by a learned number that starts small, so that a deep model starts near the identity.

    .. math:: x \\leftarrow x + \\mathrm{diag}(\\lambda_1, \\dots, \\lambda_D)\\, f(x)

    Parameters
    ----------
    width : int
        D, the number of features.
    value : float, default 1e-5
        The starting value of all :math:`\\lambda_i`. With 0 a block is the identity.

    Attributes
    ----------
    weight : Parameter, shape (D,)

    Raises
    ------
    ValueError
        If ``width`` is not a whole number of at least 1; when called, if x does not end in an axis of this length.

    References
    ----------
    Touvron et al., "Going deeper with image transformers", ICCV 2021, equation 4.

    Examples
    --------
    >>> import numpy as np
    >>> LayerScale(3, value=0.5)(np.ones((2, 3), np.float32)).numpy()
    array([[0.5, 0.5, 0.5],
           [0.5, 0.5, 0.5]], dtype=float32)
    """

    def __init__(self, width, value=1e-5):
        init.check_sizes("LayerScale", width=width)
        self.weight = Parameter(init.ones((width,)) * np.float32(value))

    def forward(self, x):
        x = as_tensor(x)
        if x.shape[-1:] != self.weight.shape:
            raise ValueError(f"LayerScale: x must be (..., D={self.weight.shape[0]}) (x: {tuple(x.shape)})")
        return x * self.weight


class ResidualLayer(Module):
    """Base class of transformer layers: branches with residual connections, and a norm after or before each branch.

    .. math:: \\text{post-norm: } x \\leftarrow \\mathrm{LN}(x + f(x)), \\qquad \\text{pre-norm: } x \\leftarrow x + f(\\mathrm{LN}(x))

    Attributes
    ----------
    norm_first : bool
        False, the default, is post-norm, as in 2017. True is pre-norm, which trains without a long warm-up.
    dropout : Dropout
        Applied to the result of every branch; a subclass must set it.

    References
    ----------
    Vaswani et al. 2017, section 3.1. Xiong et al., "On layer normalization in the transformer architecture", ICML 2020,
    for pre-norm.
    """

    norm_first = False

    def residual(self, norm, branch, x):
        """Tokens x plus ``branch`` of the tokens, with the norm after or before; all (..., N, D)."""
        if self.norm_first:
            return x + self.dropout(branch(norm(x)))
        return norm(x + self.dropout(branch(x)))


class TransformerEncoderLayer(ResidualLayer):
    """Self-attention among the tokens, then an MLP on each token separately; both with a residual connection.

    .. math::
        \\text{post-norm: } & x \\leftarrow \\mathrm{LN}(x + \\mathrm{SA}(x)), \\quad x \\leftarrow \\mathrm{LN}(x + \\mathrm{MLP}(x)) \\\\
        \\text{pre-norm: } & x \\leftarrow x + \\mathrm{SA}(\\mathrm{LN}(x)), \\quad x \\leftarrow x + \\mathrm{MLP}(\\mathrm{LN}(x))

    Parameters
    ----------
    d_model : int
        Width D of the tokens.
    nhead : int
        Number of attention heads.
    dim_feedforward : int, default 2048
        Width inside the MLP.
    dropout : float, default 0
        Probability for attention weights, inside the MLP and at the end of both branches.
    activation : str, default "relu"
        Activation of the MLP; see `MLP`.
    layer_norm_eps : float, default 1e-5
        Added to the variance.
    norm_first : bool, default False
        False: post-norm, as in 2017. True: pre-norm, which trains without a long warm-up.
    rng : numpy.random.Generator, int or None
        Draws the starting values; None is seed 0.

    Attributes
    ----------
    self_attn : MultiHeadAttention
    mlp : MLP
        Its layers ``mlp.fc1`` and ``mlp.fc2`` are ``linear1`` and ``linear2`` in torch.
    norm1, norm2 : LayerNorm
        Norms of the attention branch and of the MLP branch.

    References
    ----------
    Vaswani et al. 2017, section 3.1. Xiong et al., "On layer normalization in the transformer architecture", ICML
    2020, for pre-norm. Slides ``A/23-encoder``, ``C/113-transformer-communicates-by-attention``,
    ``C/114-transformer-block``, ``H/8-vit-equations``.

    Examples
    --------
    >>> import numpy as np
    >>> TransformerEncoderLayer(8, 2, 16)(np.ones((2, 5, 8), np.float32)).shape
    (2, 5, 8)
    """

    def __init__(
        self, d_model, nhead, dim_feedforward=2048, dropout=0.0, activation="relu", layer_norm_eps=1e-5, norm_first=False,
        *, rng=None,
    ):  # fmt: skip
        rng = init.generator(rng)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, layer_norm_eps)
        self.self_attn = MultiHeadAttention(d_model, nhead, dropout, rng=rng)
        self.norm2 = LayerNorm(d_model, layer_norm_eps)
        self.mlp = MLP(d_model, dim_feedforward, activation=activation, dropout=dropout, rng=rng)
        self.dropout = Dropout(dropout, rng=rng)

    def forward(self, x, mask=None, *, is_causal=False):
        """Encode tokens (B, N, D); ``mask`` (True = may be attended) and ``is_causal`` as for `MultiHeadAttention`."""

        def attend(x):
            return self.self_attn(x, mask=mask, is_causal=is_causal)

        x = self.residual(self.norm1, attend, as_tensor(x))
        return self.residual(self.norm2, self.mlp, x)


class TransformerDecoderLayer(ResidualLayer):
    """Self-attention among the target tokens, cross-attention to the encoded source, then an MLP.

    Parameters
    ----------
    d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, norm_first, rng
        As for `TransformerEncoderLayer`.

    Attributes
    ----------
    self_attn, cross_attn : MultiHeadAttention
        The second is ``multihead_attn`` in torch.
    mlp : MLP
    norm1, norm2, norm3 : LayerNorm
        Norms of the three branches, in this order.

    References
    ----------
    Vaswani et al. 2017, section 3.1. Slides ``A/24-decoder``, ``C/126-masked-self-attention``,
    ``I/26-self-versus-cross``.

    Examples
    --------
    >>> import numpy as np
    >>> layer = TransformerDecoderLayer(8, 2, 16)
    >>> layer(np.ones((2, 3, 8), np.float32), np.ones((2, 5, 8), np.float32), is_causal=True).shape
    (2, 3, 8)
    """

    def __init__(
        self, d_model, nhead, dim_feedforward=2048, dropout=0.0, activation="relu", layer_norm_eps=1e-5, norm_first=False,
        *, rng=None,
    ):  # fmt: skip
        rng = init.generator(rng)
        attention = functools.partial(MultiHeadAttention, d_model, nhead, dropout, rng=rng)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, layer_norm_eps)
        self.self_attn = attention()
        self.norm2 = LayerNorm(d_model, layer_norm_eps)
        self.cross_attn = attention()
        self.norm3 = LayerNorm(d_model, layer_norm_eps)
        self.mlp = MLP(d_model, dim_feedforward, activation=activation, dropout=dropout, rng=rng)
        self.dropout = Dropout(dropout, rng=rng)

    def forward(self, x, memory, mask=None, memory_mask=None, *, is_causal=False):
        """Decode ``x`` (B, N, D) with ``memory`` (B, M, D); ``mask`` is (N, N), ``memory_mask`` (N, M), or with a batch."""

        def attend(x):
            return self.self_attn(x, mask=mask, is_causal=is_causal)

        def attend_to_memory(x):
            return self.cross_attn(x, memory, mask=memory_mask)

        x = self.residual(self.norm1, attend, as_tensor(x))
        x = self.residual(self.norm2, attend_to_memory, x)
        return self.residual(self.norm3, self.mlp, x)


class TransformerEncoder(Module):
    """A stack of encoder layers, optionally with a norm at the end.

    Parameters
    ----------
    layers : list of TransformerEncoderLayer
        From first to last.
    norm : LayerNorm, optional
        Applied to the result; a pre-norm stack needs one.
    """

    def __init__(self, layers, norm=None):
        self.layers = list(layers)
        self.norm = norm

    def forward(self, x, mask=None, *, is_causal=False):
        """Encode tokens (B, N, D)."""
        for layer in self.layers:
            x = layer(x, mask, is_causal=is_causal)
        return as_tensor(x) if self.norm is None else self.norm(x)


class TransformerDecoder(Module):
    """A stack of decoder layers, optionally with a norm at the end.

    Parameters
    ----------
    layers : list of TransformerDecoderLayer
        From first to last.
    norm : LayerNorm, optional
        Applied to the result.
    """

    def __init__(self, layers, norm=None):
        self.layers = list(layers)
        self.norm = norm

    def forward(self, x, memory, mask=None, memory_mask=None, *, is_causal=False):
        """Decode target tokens (B, N, D) with the encoded source (B, M, D)."""
        for layer in self.layers:
            x = layer(x, memory, mask, memory_mask, is_causal=is_causal)
        return as_tensor(x) if self.norm is None else self.norm(x)


class Transformer(Module):
    """The encoder-decoder Transformer: the encoder reads the source; the decoder attends to it and predicts the target.

    Without vocabularies it maps tokens to tokens, as ``torch.nn.Transformer`` does. With vocabularies its inputs are
    symbols: they are embedded and multiplied by sqrt(D), and sine position codes are added. The output has one logit for
    each symbol of the target vocabulary.

    Parameters
    ----------
    d_model : int, default 512
        Width D of the tokens.
    nhead : int, default 8
        Number of heads of every attention.
    num_encoder_layers, num_decoder_layers : int, default 6
        Numbers of layers.
    dim_feedforward : int, default 2048
        Width inside the MLPs.
    dropout : float, default 0
        Probability in every layer and after the embeddings.
    activation : str, default "relu"
        Activation of the MLPs.
    layer_norm_eps : float, default 1e-5
        Added to the variance.
    norm_first : bool, default False
        Pre-norm instead of post-norm.
    source_vocabulary, target_vocabulary : int, optional
        Numbers of symbols. If both are given, source and target are integers (B, M) and (B, N).
    rng : numpy.random.Generator, int or None
        Draws the starting values; None is seed 0.

    Raises
    ------
    ValueError
        If only one of the vocabularies is given.

    References
    ----------
    Vaswani et al., "Attention is all you need", NeurIPS 2017, sections 3.1 to 3.5. Slides ``A/22-encoder-decoder``,
    ``I/5-transformer-translates``, ``I/6-encoder-decoder-stack``, ``Z/35-original-transformer``.

    Examples
    --------
    >>> import numpy as np
    >>> model = Transformer(8, 2, 1, 1, 16, source_vocabulary=11, target_vocabulary=13)
    >>> model(np.array([[1, 2, 3]]), np.array([[0, 4]])).shape
    (1, 2, 13)
    """

    def __init__(
        self, d_model=512, nhead=8, num_encoder_layers=6, num_decoder_layers=6, dim_feedforward=2048, dropout=0.0,
        activation="relu", layer_norm_eps=1e-5, norm_first=False,
        *, source_vocabulary=None, target_vocabulary=None, rng=None,
    ):  # fmt: skip
        if (source_vocabulary is None) != (target_vocabulary is None):
            raise ValueError("Transformer: give both source_vocabulary and target_vocabulary, or neither")
        rng = init.generator(rng)
        options = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, norm_first)
        self.encoder = TransformerEncoder(
            [TransformerEncoderLayer(*options, rng=rng) for _ in range(num_encoder_layers)],
            LayerNorm(d_model, layer_norm_eps),
        )
        self.decoder = TransformerDecoder(
            [TransformerDecoderLayer(*options, rng=rng) for _ in range(num_decoder_layers)],
            LayerNorm(d_model, layer_norm_eps),
        )
        self.source_embedding = self.target_embedding = self.head = None
        if source_vocabulary is not None:
            self.source_embedding = Embedding(source_vocabulary, d_model, rng=rng)
            self.target_embedding = Embedding(target_vocabulary, d_model, rng=rng)
            for table in (self.source_embedding, self.target_embedding):
                # so that after the factor sqrt(D) the embeddings are not much larger than the position codes
                table.weight.data /= math.sqrt(d_model)
            self.position = SinePositionCode1d(d_model)
            self.dropout = Dropout(dropout, rng=rng)
            self.head = Linear(d_model, target_vocabulary, weight_init=init.xavier_uniform, rng=rng)

    def forward(
        self, source, target, source_mask=None, target_mask=None, memory_mask=None, *, is_causal=True
    ):
        """Predict. By default, the output at a position depends on the target only up to that position.

        Parameters
        ----------
        source : (B, M, D) tokens, or (B, M) integers
        target : (B, N, D) tokens, or (B, N) integers
        source_mask, target_mask, memory_mask : bool ndarray, optional
            True = may be attended: (M, M), (N, N), (N, M), or with a batch axis. For padding, pass
            ``valid[:, None, :]``.
        is_causal : bool, default True
            Position i of the target attends only to positions 0 to i. In torch this is not the default: pass a mask there.

        Returns
        -------
        Tensor, shape (B, N, D) or (B, N, target_vocabulary)
        """
        memory = self.encoder(self._embed(source, self.source_embedding), source_mask)
        target = self._embed(target, self.target_embedding)
        y = self.decoder(target, memory, target_mask, memory_mask, is_causal=is_causal)
        return y if self.head is None else self.head(y)

    def _embed(self, symbols, table):
        if table is None:
            return symbols
        x = table(symbols) * math.sqrt(table.weight.shape[1])
        return self.dropout(x + self.position(x))
