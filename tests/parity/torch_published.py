"""Writing a small random model of transformers as the hub would publish it, with what it computes: for every family.

Not here: which models (make_*_fixtures.py), the comparison (test_published_parity.py). It needs torch and transformers.
"""

import json
import re
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "published"


def randomise(model, seed):
    """Give every weight and statistic of a model a random value: what starts at 0 or 1 would hide mistakes."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, x in [*model.named_parameters(), *model.named_buffers()]:
            if not x.is_floating_point():
                continue
            noise = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.dtype)
            fan_in = x[0].numel() if x.ndim > 1 else 1
            if name.endswith("running_var"):
                x.copy_(0.5 + noise.abs())
            elif x.ndim == 1 and name.endswith("weight"):  # of a norm
                x.copy_(1 + 0.2 * noise)
            else:
                x.copy_(noise * (fan_in**-0.5 if name.endswith("weight") and x.ndim > 1 else 0.3))
    return model


def publish(
    folder,
    model,
    images,
    mask=None,
    outputs=("logits",),
    seed=0,
    noise=None,
    fixed=(),
    tokens=None,
    prompts=None,
    **options,
):
    """Write a folder with config.json, model.safetensors and expected.safetensors: inputs, outputs and gradients.

    Parameters
    ----------
    folder : path or str
        Where to; a plain name is one in ``published`` beside this file.
    model : transformers.PreTrainedModel
        Made under ``torch.set_default_dtype(torch.float64)``; it is randomised here.
    images : tensor, (B, 3, H, W)
        Its input.
    mask : bool tensor, (B, H, W), optional
        True = valid.
    outputs : sequence of str, or dict of our name to theirs
        Which of its outputs to keep, and to differentiate in a random direction; a name may be a path, see `reached`.
    seed : int
        Of weights and cotangents.
    noise : tensor, (B, N), optional
        Decides which patches a masked autoencoder hides.
    fixed : sequence of str
        Ends of the names of tables that do not learn.
    tokens : tensor of int, (T, L), optional
        Texts, for a model that takes images and texts by name.
    prompts : dict of our name to array, optional
        Prompts as our model takes them, for a model whose other ``options`` are the same in transformers' words.
    **options
        Of the model's forward.
    """
    import torch
    import transformers
    from safetensors.torch import save_file

    folder = FOLDER / folder if isinstance(folder, str) else Path(folder)
    randomise(model, seed).requires_grad_(True).eval()
    if mask is not None:
        options["pixel_mask"] = mask
    if noise is not None:
        options["noise"] = noise
    torch.set_default_dtype(torch.float64)  # some tables and losses are made in the default dtype
    try:
        if tokens is None:
            found = model(images, **options)
        else:
            found = model(pixel_values=images, input_ids=tokens, **options)
        outputs = outputs if isinstance(outputs, dict) else {name: name for name in outputs}
        results = {ours: reached(found, theirs) for ours, theirs in outputs.items()}
        generator = torch.Generator().manual_seed(seed + 1)
        cotangents = {
            n: torch.randn(x.shape, generator=generator, dtype=torch.float64) for n, x in results.items()
        }
        sum((x * cotangents[n]).sum() for n, x in results.items()).backward()
    finally:
        torch.set_default_dtype(torch.float32)
    expected = {"input.images": images} | ({} if mask is None else {"input.mask": mask})
    expected |= {} if noise is None else {"input.noise": noise}
    expected |= {} if tokens is None else {"input.tokens": tokens}
    expected |= {f"prompt.{n}": torch.as_tensor(x) for n, x in (prompts or {}).items()}
    expected |= {f"output.{n}": x.detach() for n, x in results.items()}
    expected |= {f"cotangent.{n}": x for n, x in cotangents.items()}
    learned = [
        (n, p) for n, p in model.named_parameters() if p.grad is not None and not n.endswith(tuple(fixed))
    ]
    expected |= {f"grad.{n}": p.grad.float() for n, p in learned}
    model.save_pretrained(folder)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "seed": str(seed)}
    save_file(
        {n: x.clone().contiguous() for n, x in expected.items()}, folder / "expected.safetensors", versions
    )
    for path in folder.iterdir():
        path.chmod(0o644)
        if path.name not in ("config.json", "model.safetensors", "expected.safetensors"):
            path.unlink()


def rename(folder, rules, config):
    """Rewrite a published folder, gradients included, in the names of the authors' code, with another config.json.

    Parameters
    ----------
    folder : path
        As `publish` has written it.
    rules : list of (str, str)
        Regular expressions and what takes their place, one after the other. A name that ends in ``#0``, ``#1``, ... after
        that is a block of rows of the array of that name, as the query rows are of a packed qkv.
    config : dict
        The new config.json.
    """
    from safetensors.torch import load_file, save_file

    for file, prefix in (("model.safetensors", ""), ("expected.safetensors", "grad.")):
        arrays = load_file(folder / file)
        old = {name[len(prefix) :]: x for name, x in arrays.items() if name.startswith(prefix)}
        kept = {name: x for name, x in arrays.items() if not name.startswith(prefix)}
        new = {prefix + name: x for name, x in _packed(old, rules).items()}
        save_file({name: x.contiguous() for name, x in (kept | new).items()}, folder / file)
    (folder / "config.json").write_text(json.dumps(config))


def _packed(arrays, rules):
    import torch

    blocks = {}
    for name, x in arrays.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        name, _, place = name.partition("#")
        blocks.setdefault(name, {})[place] = x
    return {name: torch.cat([rows[place] for place in sorted(rows)]) for name, rows in blocks.items()}


def reached(x, path):
    """What a path of attributes, keys and numbers, such as auxiliary_logits.0.masks, leads to; ``:`` keeps an axis."""
    head, _, rest = path.partition(".:.")
    if rest:
        return reached(x, head)[:, int(rest)]
    for piece in path.split("."):
        x = x[int(piece)] if piece.isdigit() else x[piece] if isinstance(x, dict) else getattr(x, piece)
    return x


def main(rows):
    """Write the fixtures of a make_*_fixtures.py: a dict of name to a function that publishes into a folder."""
    for name, make in rows.items():
        make(FOLDER / name)
        size = sum(path.stat().st_size for path in (FOLDER / name).iterdir())
        config = FOLDER / name / "config.json"  # torchvision has none
        kind = json.loads(config.read_text())["model_type"] if config.exists() else name
        print(f"{name}: {kind}, {size / 1024:.0f} KB")


def images(*shape, seed=0):
    """Random pictures, float64."""
    import torch

    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))
