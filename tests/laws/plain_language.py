"""Plain random calls of the families about pictures and texts, as nobody's laws draw them.

Not here: corners. The strategies of the laws are in minivis/laws; these are written apart from them on purpose.
"""

import numpy as np

from minivis.data.byte_pairs import learn_merges

__all__ = ["PLAIN_LANGUAGE"]

WORDS = (
    "star", "stars", "starred", "the", "them", "theme", "Théâtre", "naïve", "звезда", "星", "★★", "it's", "you'll", "3", "1984",
    "!!", "...", "x_1", "(a)", "&quot;b&quot;", "R&amp;B", "ﬁn", "Ω", "ΣΑΣ",
)  # fmt: skip


def _clip_loss(rng):
    shape = tuple(int(n) for n in rng.integers(1, 8, 2))
    features = {
        name: (rng.standard_normal(shape) * rng.uniform(0.1, 9)).astype(np.float32)
        for name in ("image_features", "text_features")
    }
    return {**features, "logit_scale": float(rng.uniform(-1, 4.6))}


def _bpe_encode(rng):
    corpus = [" ".join(rng.choice(WORDS, 12))]
    text = " ".join(rng.choice(WORDS, int(rng.integers(0, 9)))) + str(rng.choice(["", " ", "\n\n", "?"]))
    return {"text": text, "merges": learn_merges(corpus, int(rng.choice([0, 5, 15, 80])))}


def _attention_pool(rng):
    heads, width, rows, columns, out = (int(n) for n in rng.integers(1, 5, 5))
    C = heads * width
    sizes = {"query": C, "key": C, "value": C, "out": out}
    weights = {f"{name}.weight": rng.standard_normal((n, C)) for name, n in sizes.items()}
    weights |= {f"{name}.bias": rng.standard_normal(n) for name, n in sizes.items()}
    return {
        "x": (rng.standard_normal((int(rng.integers(1, 4)), C, rows, columns)) * 2).astype(np.float32),
        "positions": rng.standard_normal((1 + rows * columns, C)).astype(np.float32),
        "weights": {name: w.astype(np.float32) for name, w in weights.items()},
        "heads": heads,
    }


PLAIN_LANGUAGE = {
    "clip_loss": _clip_loss,
    "bpe_encode": _bpe_encode,
    "attention_pool": _attention_pool,
}
