"""A small random BertForMaskedLM of transformers: its weights, a batch, its logits, loss and gradients; one is stored.

Written with torch 2.13.0 and transformers 4.57.6, from the repository's root, with the extras dev and parity:
python -m tests.parity.make_bert_fixtures
"""

import contextlib
from pathlib import Path

import numpy as np

from tests.parity.make_torchvision_fixtures import torchvision_models
from tests.parity.torch_published import randomise

STORED = Path(__file__).parent / "fixtures" / "bert.safetensors"
SMALL = {
    "vocab_size": 13,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 9,
}
CASES = {  # changes of SMALL, and seeds; the first is stored
    "small": ({}, 0),
    "one head, three types": ({"num_attention_heads": 1, "type_vocab_size": 3}, 1),
    "deeper, tanh GELU": ({"num_hidden_layers": 4, "hidden_act": "gelu_new", "layer_norm_eps": 1e-5}, 2),
}


def made(options, seed):
    """Everything that a comparison needs, {name: ndarray}, in float64."""
    import torch
    import transformers

    with contextlib.suppress(ImportError):  # transformers imports it where it is there
        torchvision_models()
    torch.set_default_dtype(torch.float64)
    try:
        config = transformers.BertConfig(**{**SMALL, **options})
        model = randomise(transformers.BertForMaskedLM(config), seed).requires_grad_(True).eval()
        rng = np.random.default_rng(seed)
        ids = rng.integers(4, config.vocab_size, (3, 7))
        valid = np.arange(7) < np.array([[7], [5], [6]])
        types = rng.integers(0, config.type_vocab_size, ids.shape)
        chosen = valid & (rng.random(ids.shape) < 0.4)
        inputs = np.where(chosen, 3, ids)
        labels = np.where(chosen, ids, -100)
        given = {"input_ids": inputs, "attention_mask": valid.astype(np.int64)}
        given |= {"token_type_ids": types, "labels": labels}
        found = model(**{name: torch.from_numpy(x) for name, x in given.items()})
        found.loss.backward()
    finally:
        torch.set_default_dtype(torch.float32)
    batch = {"ids": inputs, "valid": valid, "types": types, "targets": ids, "chosen": chosen}
    arrays = {f"batch.{name}": x for name, x in batch.items()}
    arrays |= {"logits": found.logits.detach().numpy(), "loss": found.loss.detach().numpy()}
    for name, p in model.named_parameters():
        arrays[f"weight.{name}"] = p.detach().numpy()
        arrays[f"grad.{name}"] = p.grad.numpy()
    return arrays


if __name__ == "__main__":
    from safetensors.numpy import save_file

    arrays = made(*CASES["small"])
    save_file({name: np.array(x) for name, x in arrays.items()}, STORED)
    print(f"{STORED.name}: {STORED.stat().st_size / 1024:.0f} KB")
