"""BERT: a transformer encoder that predicts hidden words from the words on both sides of them.

Devlin et al., "BERT: pre-training of deep bidirectional transformers for language understanding", NAACL 2019. Slide
``C/125-masked-modelling``.
Not here: hiding words and the loss (losses/masked_words.py), the second task of the paper, whether two sentences follow
one another.
"""

import numpy as np

from minivis import ops
from minivis.nn import (
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    Module,
    Parameter,
    SinePositionCode1d,
    TransformerEncoder,
    TransformerEncoderLayer,
    init,
)
from minivis.nn.mlp import activation_named
from minivis.nn.module import as_tensor

__all__ = ["BERT", "bert_base", "bert_large"]

EPS = 1e-12  # of the norms, as published
STD = 0.02  # of the starting values


def _small(shape, rng):
    return init.normal(shape, STD, rng)


class WordHead(Module):
    """Scores of all words for every token: linear, activation, norm, then the product with the embeddings of the words.

    Parameters
    ----------
    vocabulary, width : int
        V and D.
    activation : str
        Name of the activation.
    eps : float
        Epsilon of the norm.
    rng : numpy.random.Generator
        Draws the starting values.
    """

    def __init__(self, vocabulary, width, activation, eps, rng):
        self.dense = Linear(width, width, weight_init=_small, rng=rng)
        self.activation = activation_named(activation)
        self.norm = LayerNorm(width, eps)
        self.bias = Parameter(init.zeros((vocabulary,)))

    def forward(self, z, embeddings):
        """Logits (B, N, V) of tokens (B, N, D); the weight (V, D) is the table of the embeddings itself."""
        z = self.norm(self.activation(self.dense(z)))
        return ops.linear(z, embeddings, self.bias)


class BERT(Module):
    """Predicts the word at every position of a text, from all positions.

    .. math::
        z_0 &= \\mathrm{LN}(E_{w_i} + P_i + S_{s_i}), \\qquad z = \\mathrm{Encoder}(z_0) \\\\
        \\ell_i &= E\\, \\mathrm{LN}(\\mathrm{GELU}(W z_i + b)) + c

    with the embeddings E of the words, which are used twice, P of the positions and S of the sentences.

    Parameters
    ----------
    vocabulary : int, default 30522
        V, the number of words.
    length : int, default 512
        The longest text, in words.
    width : int, default 768
        D, the length of a token.
    depth : int, default 12
        Number of layers.
    heads : int, default 12
        Number of attention heads. It must divide D.
    mlp_ratio : float, default 4
        Width inside the MLPs, as a multiple of D.
    types : int, default 2
        Number of kinds of sentences that share a text; 0 leaves their embeddings out.
    head : bool, default True
        Whether there is a head that predicts words. Without it the model returns the tokens.
    pooler : bool, default False
        Adds a linear layer and tanh on the first token, which `pooled` returns, for tasks on whole texts.
    dropout : float, default 0
        Probability in every layer and after the embeddings. The paper trains with 0.1.
    attention_dropout : float, default 0
        Probability of dropping an attention weight.
    activation : str, default "gelu"
        Activation of the MLPs and of the head.
    positions : {"learned", "sine"}, default "learned"
        Position codes: the paper's table, or sines and cosines, which are not trained.
    norm_first : bool, default False
        Pre-norm layers and a norm after the last. The paper has post-norm layers.
    eps : float, default 1e-12
        Epsilon of the norms.
    rng : numpy.random.Generator, int or None
        Draws the starting values: normal with standard deviation 0.02; biases are 0. None is seed 0.

    Raises
    ------
    ValueError
        If a size is not a whole number of at least 1, the heads do not divide the width, or `positions` is unknown.

    References
    ----------
    Devlin et al. 2019, section 3 and figure 2; the head follows the published code. Hendrycks and Gimpel, "Gaussian
    error linear units", 2016. Slide ``C/125-masked-modelling``.

    Examples
    --------
    >>> import numpy as np
    >>> model = BERT(vocabulary=30, length=16, width=8, depth=1, heads=2)
    >>> model(np.array([[1, 5, 3, 2], [1, 7, 2, 0]])).shape
    (2, 4, 30)
    """

    def __init__(
        self, vocabulary=30522, length=512, width=768, depth=12, heads=12, mlp_ratio=4.0, types=2, head=True, pooler=False,
        dropout=0.0, attention_dropout=0.0, activation="gelu", positions="learned", norm_first=False, eps=EPS, rng=None,
    ):  # fmt: skip
        init.check_sizes(
            "BERT",
            vocabulary=vocabulary,
            length=length,
            width=width,
            depth=depth,
            heads=heads,
        )
        if not hasattr(types, "__index__") or not 0 <= types <= init.LARGEST_SIZE:
            raise ValueError(f"BERT: types must be a whole number of at least 0, got {types!r}")
        if positions not in ("learned", "sine"):
            raise ValueError(f'BERT: positions must be "learned" or "sine", got {positions!r}')
        rng = init.generator(rng)
        self.length = length
        self.words = Embedding(vocabulary, width, rng=rng)
        self.positions = (
            SinePositionCode1d(width) if positions == "sine" else Embedding(length, width, rng=rng)
        )
        self.types = Embedding(types, width, rng=rng) if types else None
        self.norm = LayerNorm(width, eps)
        self.dropout = Dropout(dropout, rng=rng)
        options = (dropout, activation, eps, norm_first)
        layers = [
            TransformerEncoderLayer(width, heads, round(width * mlp_ratio), *options, rng=rng)
            for _ in range(depth)
        ]
        for layer in layers:
            layer.self_attn.dropout.p = attention_dropout
        self.encoder = TransformerEncoder(layers, LayerNorm(width, eps) if norm_first else None)
        self.head = WordHead(vocabulary, width, activation, eps, rng) if head else None
        self.pooler = Linear(width, width, rng=rng) if pooler else None
        for parameter in self.parameters():
            if parameter.ndim > 1:
                parameter.data = _small(parameter.shape, rng)

    def forward(self, ids, valid=None, types=None):
        """Predict the word at every position.

        Inside `looking`, it shows the attention weights of every layer, ``encoder.layers.0.self_attn.weights``, ...

        Parameters
        ----------
        ids : integer ndarray, shape (B, N)
            Numbers of words; N at most ``length``.
        valid : bool ndarray, shape (B, N), optional
            True for words, False for padding, which no word attends to. By default all are words.
        types : integer ndarray, shape (B, N), optional
            Which sentence a word belongs to; default: the first.

        Returns
        -------
        Tensor, shape (B, N, V)
            Logits; without a head the tokens, (B, N, D).

        Raises
        ------
        ValueError
            If the shapes do not fit, or the text is longer than ``length``.
        IndexError
            If there is no such word.
        """
        z = self.features(ids, valid, types)
        return z if self.head is None else self.head(z, self.words.weight)

    def features(self, ids, valid=None, types=None):
        """The tokens after the last layer, (B, N, D); the arguments are those of `forward`."""
        ids, valid, types = (
            np.asarray(x) if isinstance(x, (list, tuple)) else x for x in (ids, valid, types)
        )
        ids = self._checked(ids, valid, types)
        z = self.words(ids)  # (B, N, D)
        if isinstance(self.positions, SinePositionCode1d):
            z = z + self.positions(z)
        else:
            z = z + self.positions.weight[: ids.shape[1]]
        if self.types is not None:
            z = z + (self.types.weight[0] if types is None else self.types(types))
        z = self.dropout(self.norm(z))
        return self.encoder(z, None if valid is None else valid[:, None, :])

    def pooled(self, ids, valid=None, types=None):
        """The first token after a linear layer and tanh, (B, D): a summary of the text, for models with a pooler."""
        if self.pooler is None:
            raise ValueError("BERT: there is no pooler; make the model with pooler=True")
        return ops.tanh(self.pooler(self.features(ids, valid, types)[:, 0]))

    def example(self):
        """A text of the first word, as long as the model takes, for drawings and `minivis.nn.summary`."""
        return (np.zeros((1, self.length), np.int64),)

    def _checked(self, ids, valid, types):
        ids = as_tensor(ids)
        shapes = {"ids": ids.shape} | {
            name: x.shape for name, x in {"valid": valid, "types": types}.items() if x is not None
        }
        if ids.ndim != 2 or len(set(shapes.values())) > 1:
            words = ", ".join(f"{name}: {tuple(shape)}" for name, shape in shapes.items())
            raise ValueError(f"BERT: ids, valid and types must have one shape (B, N) ({words})")
        if ids.shape[1] > self.length:
            raise ValueError(f"BERT: a text has at most {self.length} words (ids: {tuple(ids.shape)})")
        if types is not None and self.types is None:
            raise ValueError("BERT: the model has no embeddings of types")
        return ids


def bert_base(rng=None, **options):
    """BERT-base: width 768, 12 layers, 12 heads; 109,514,298 parameters with its 30,522 words.

    Parameters
    ----------
    rng : numpy.random.Generator, int or None
        Draws the starting values; None is seed 0.
    **options
        Arguments of `BERT`, for example ``head=False, pooler=True`` for 109,482,240 parameters.

    Returns
    -------
    BERT
    """
    return BERT(**{"width": 768, "depth": 12, "heads": 12, "rng": rng, **options})


def bert_large(rng=None, **options):
    """BERT-large: width 1024, 24 layers, 16 heads; 335,174,458 parameters with its 30,522 words.

    Parameters
    ----------
    rng, **options
        As for `bert_base`.

    Returns
    -------
    BERT
    """
    return BERT(**{"width": 1024, "depth": 24, "heads": 16, "rng": rng, **options})
