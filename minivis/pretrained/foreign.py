"""Error messages for a folder without safetensors: which files it has instead, and how to convert them.

Not here: opening such a file, because pickles can run code. The recipes below are text for the user.
"""

import re

from minivis.files import some

__all__ = ["INDEX", "WEIGHTS", "refuse_foreign", "refuse_without_weights"]

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
OTHERS = {".h5": "TensorFlow's", ".msgpack": "Flax's", ".npz": "NumPy's or Flax's", ".onnx": "ONNX"}
FOREIGN = (".pth", ".pt", ".bin", ".pkl", ".ckpt", ".tar", *OTHERS)

# Neither recipe runs code from the file: torch and the unpickler may only make arrays and options.
RECIPE_TORCH = """Where PyTorch is installed, convert it once, in its folder:
    import argparse, torch; from safetensors.torch import save_file
    torch.serialization.add_safe_globals([argparse.Namespace])
    state = torch.load({name!r}, map_location="cpu", weights_only=True)
    state = next((state[key] for key in ("model", "state_dict", "model_state_dict", "module") if key in state), state)
    state = {{k.removeprefix("module."): v.contiguous().clone() for k, v in state.items() if hasattr(v, "clone")}}
    save_file(state, "{weights}")"""
RECIPE_PICKLE = """Convert it once, in its folder:
    import pickle, numpy; from safetensors.numpy import save_file
    known = {{"numpy": ("ndarray", "dtype", "_reconstruct", "scalar"), "_codecs": ("encode",)}}
    class Arrays(pickle.Unpickler):
        def find_class(self, module, name):
            if name not in known.get(module.split(".")[0], ()):
                raise ValueError(f"it would run {{module}}.{{name}}: it holds more than arrays")
            return super().find_class(module, name)
    with open({name!r}, "rb") as file:
        state = Arrays(file, encoding="latin1").load()
    state = {{k: numpy.array(v, order="C") for k, v in state.get("model", state).items() if hasattr(v, "dtype")}}
    save_file(state, "{weights}")"""


def refuse_without_weights(folder):
    """Raise an error that tells which files the folder has instead of weights, and what to do with them."""
    paths = sorted(folder.iterdir())
    others = [path.name for path in paths if path.suffix == ".safetensors"]
    problem = f"from_pretrained: {folder} has neither {WEIGHTS} nor {INDEX}"
    if any(re.search(r"-\d+-of-\d+\.safetensors$", name) for name in others):
        raise FileNotFoundError(
            f"{problem}, only {some(others)}: parts of one model. Get {INDEX} too, which lies beside them on the hub"
        )
    if others:
        raise FileNotFoundError(f"{problem}. If {some(others)} is what you mean, rename it to {WEIGHTS}")
    refuse_foreign(paths)
    raise FileNotFoundError(problem)


def refuse_foreign(paths):
    """If there is a file in another format, raise an error that tells how to convert it to safetensors."""
    found = next((path for path in paths if path.suffix.lower() in FOREIGN), None)
    if found is None:
        return
    kind = found.suffix.lower()
    if kind in OTHERS:
        raise ValueError(
            f"from_pretrained: {found} is not read: it is a file of {OTHERS[kind]}. Look for the {WEIGHTS} of the same model "
            "on the hub, or let transformers convert it"
        )
    recipe = RECIPE_PICKLE if kind == ".pkl" else RECIPE_TORCH
    raise ValueError(
        f"from_pretrained: {found} is not read: a {found.suffix} file can hold code that runs when it is opened. "
        + recipe.format(name=found.name, weights=WEIGHTS)
    )
