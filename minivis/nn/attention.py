"""MultiHeadAttention: several attentions in parallel, each on its own projection of the tokens.

Not here: attention itself (ops/attention.py), the transformer block (transformer.py).
"""

from minivis import ops
from minivis.autograd import Tensor
from minivis.nn import init
from minivis.nn.dropout import Dropout
from minivis.nn.linear import Linear
from minivis.nn.module import Module
from minivis.ops.attention import reached

__all__ = ["MultiHeadAttention"]


class MultiHeadAttention(Module):
    """Multi-head attention: in each head, a query token's result is a weighted mean of the values of all key tokens.

    .. math::
        \\mathrm{head}_i = \\mathrm{softmax}\\Big(\\frac{Q_i K_i^T}{\\sqrt{d}}\\Big) V_i, \\qquad
        Y = [\\mathrm{head}_1, \\dots, \\mathrm{head}_h]\\, W_o^T + b_o

    where Q = query W_q^T + b_q, K = key W_k^T + b_k, V = value W_v^T + b_v are split into h heads of width d = D / h.

    Parameters
    ----------
    embed_dim : int
        Width D of queries and output.
    num_heads : int
        h; it must divide D.
    dropout : float, default 0
        Probability of dropping an attention weight in training.
    bias : bool, default True
        Whether the four projections have biases.
    kdim, vdim : int, optional
        Widths of keys and values; default D.
    rng : numpy.random.Generator, int or None
        Draws the starting values: Xavier for the weights; biases are 0. None is seed 0.

    Attributes
    ----------
    query, key, value, out : Linear
        The projections. torch packs the first three into ``in_proj_weight`` (3D, D): first the rows of query, then those
        of key and of value.

    Raises
    ------
    ValueError
        If the heads do not divide D; when called, if the tokens are not (..., N, D).

    References
    ----------
    Vaswani et al. 2017, section 3.2.2. Slides ``A/27-several-heads``, ``C/97-self-attention-layer``,
    ``C/104-permutation-equivariance``, ``C/105-multi-head-self-attention``, ``I/15-multi-head-attention``,
    ``Z/34-multi-head-attention``.

    Examples
    --------
    >>> import numpy as np
    >>> tokens = np.ones((2, 5, 8), np.float32)
    >>> attention = MultiHeadAttention(8, num_heads=2)
    >>> attention(tokens).shape
    (2, 5, 8)
    >>> from minivis.nn import looking
    >>> with looking(attention) as seen:
    ...     y = attention(tokens)
    >>> seen["weights"].shape
    (2, 2, 5, 5)
    """

    def __init__(self, embed_dim, num_heads, dropout=0.0, bias=True, kdim=None, vdim=None, *, rng=None):
        init.check_sizes("MultiHeadAttention", embed_dim=embed_dim, num_heads=num_heads)
        if embed_dim % num_heads:
            raise ValueError(f"MultiHeadAttention: {num_heads} heads do not divide embed_dim {embed_dim}")
        rng = init.generator(rng)
        self.num_heads = num_heads
        self.query = Linear(embed_dim, embed_dim, bias, weight_init=init.xavier_uniform, rng=rng)
        self.key = Linear(kdim or embed_dim, embed_dim, bias, weight_init=init.xavier_uniform, rng=rng)
        self.value = Linear(vdim or embed_dim, embed_dim, bias, weight_init=init.xavier_uniform, rng=rng)
        self.out = Linear(embed_dim, embed_dim, bias, weight_init=init.xavier_uniform, rng=rng)
        self.dropout = Dropout(dropout, rng=rng)

    def forward(self, query, key=None, value=None, mask=None, *, bias=None, is_causal=False):
        """Attend. Inside `looking`, the layer shows ``weights`` (..., h, N, M), before dropout.

        Parameters
        ----------
        query : ndarray or Tensor, shape (..., N, D)
            Tokens that attend. The leading axes are a batch, or a batch and its windows.
        key : ndarray or Tensor, shape (..., M, kdim), optional
            Tokens that are attended to. The default is ``query``: self-attention.
        value : ndarray or Tensor, shape (..., M, vdim), optional
            Tokens whose projections are averaged. The default is ``key``.
        mask : bool ndarray, (N, M), (..., N, M) or (..., h, N, M), axes may be 1, optional
            True = may be attended. For padded keys, pass ``valid[:, None, :]``.
        bias : ndarray or Tensor, broadcasts to (..., h, N, M), optional
            Added to the scaled scores, such as Swin's bias for relative positions.
        is_causal : bool, default False
            Query i attends only to keys 0 to i.

        Returns
        -------
        Tensor, shape (..., N, D)
        """
        key = query if key is None else key
        value = key if value is None else value
        mask = _for_heads(mask, query)
        query, key, value = _without_unreached(query, key, value, mask, is_causal)
        q, k, v = self._split(self.query(query)), self._split(self.key(key)), self._split(self.value(value))
        self.show(weights=lambda: ops.attention_weights(q, k, mask, bias, is_causal=is_causal))
        dropout_p = self.dropout.p if self.training else 0.0
        heads = ops.scaled_dot_product_attention(
            q, k, v, mask, bias, is_causal=is_causal, dropout_p=dropout_p, rng=self.dropout.rng
        )
        return self.out(self._join(heads))

    def _split(self, x):
        if x.ndim < 2:
            raise ValueError(
                f"MultiHeadAttention: query, key and value must be (..., N, D) (projected: {x.shape})"
            )
        *lead, N, D = x.shape
        x = x.reshape(*lead, N, self.num_heads, D // self.num_heads)
        return _swap_heads_and_tokens(x)  # (..., h, N, d)

    def _join(self, x):
        *lead, h, N, d = x.shape
        return _swap_heads_and_tokens(x).reshape(*lead, N, h * d)  # (..., N, D)

    def extra_repr(self):
        return f"{self.query.weight.shape[0]}, num_heads={self.num_heads}"


def _swap_heads_and_tokens(x):
    """Exchange the axes of heads and tokens: (..., N, h, d) to (..., h, N, d), or back."""
    *lead, a, b, last = range(x.ndim)
    return x.transpose(*lead, b, a, last)


def _without_unreached(query, key, value, mask, is_causal):
    """Set tokens (..., N, D) that take part in no allowed pair to 0: NaN there would spread to the weights' gradients."""
    tokens = (query, key, value)
    if mask is None or any(x.ndim < 2 for x in tokens):
        return tokens
    arrays = [(x.data if isinstance(x, Tensor) else x)[..., None, :, :] for x in tokens]  # (..., 1, N, D)
    rows = reached(*arrays, mask, is_causal)
    # (..., 1, N, 1), or (N, 1) for a mask (N, M) that is shared by the batch
    rows = [used if used is None or used.ndim < 3 else used[..., 0, :, :] for used in rows]
    return [x if used is None else ops.where(used, x, 0.0) for x, used in zip(tokens, rows, strict=True)]


def _for_heads(mask, query):
    """Give a mask (..., N, M) an axis for the heads. (N, M) needs none, and (..., h, N, M) has one already."""
    mask = mask.data if isinstance(mask, Tensor) else mask
    return mask if mask is None or mask.ndim < 3 or mask.ndim > query.ndim else mask[..., None, :, :]
