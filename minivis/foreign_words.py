"""Words of PyTorch, torchvision, timm and transformers for what has another name here: what an error says to who uses them.

Not here: second names. Each thing has one; these words only make errors.
"""

import functools
import inspect
import sys

__all__ = ["explained", "hint", "no_attribute", "no_name"]

ON_GPU = 'mv.to_device(x, "gpu")'
LIKE = "x.data, with NumPy"

# methods of torch.Tensor
TENSOR = {
    "cuda": ON_GPU,
    "to": f'{ON_GPU}, or x.astype("float64")',
    "cpu": 'mv.to_device(x, "cpu"), or x.numpy()',
    "is_cuda": 'x.device == "gpu"',
    "half": 'x.astype("float16")',
    "float": 'x.astype("float32")',
    "double": 'x.astype("float64")',
    "long": 'x.numpy().astype("int64")',
    "int": 'x.numpy().astype("int32")',
    "bool": "x.numpy() != 0",
    "type": 'x.dtype, or x.astype("float64")',
    "view": "x.reshape(...)",
    "view_as": "x.reshape(y.shape)",
    "flatten": "x.reshape(...), or mv.nn.Flatten",
    "permute": "x.transpose(...)",
    "t": "x.T",
    "unsqueeze": "mv.ops.expand_dims(x, axis), or x[:, None]",
    "contiguous": "nothing: leave it out",
    "expand": "mv.ops.broadcast_to(x, shape)",
    "expand_as": "mv.ops.broadcast_to(x, y.shape)",
    "repeat": "mv.ops.concatenate([x, x], axis)",
    "chunk": "mv.ops.split(x, parts, axis)",
    "split": "mv.ops.split(x, parts, axis)",
    "unbind": "[x[i] for i in range(len(x))]",
    "gather": "mv.ops.take_along_axis(x, index, axis)",
    "index_select": "mv.ops.take(x, index, axis)",
    "scatter_add": "mv.ops.scatter_add",
    "scatter_": "mv.ops.scatter_add, which makes a new Tensor",
    "masked_fill": "mv.ops.where(mask, value, x)",
    "masked_fill_": "mv.ops.where(mask, value, x), which makes a new Tensor",
    "topk": "mv.ops.topk(x, k)",
    "sort": "x.argsort()",
    "matmul": "x @ y",
    "mm": "x @ y",
    "bmm": "x @ y",
    "clamp": "x.clip(low, high)",
    "pow": "x ** power",
    "norm": "mv.ops.sqrt((x * x).sum())",
    "std": "mv.ops.sqrt(x.var())",
    "softmax": "mv.ops.softmax(x, axis)",
    "log_softmax": "mv.ops.log_softmax(x, axis)",
    "dim": "x.ndim",
    "numel": "x.size",
    "clone": "mv.Tensor(x.data.copy()), or x + 0 to stay in the graph",
    "copy": "mv.Tensor(x.data.copy())",
    "tolist": "x.numpy().tolist()",
    "requires_grad_": "x.requires_grad = True",
    "retain_grad": "mv.Tensor(x.data, requires_grad=True): only leaves keep a gradient",
    "register_hook": "x.grad after backward",
    "is_leaf": "x.node is None",
    "grad_fn": "x.node",
    "add_": f"x.data += ... before the forward pass ({LIKE})",
    "mul_": f"x.data *= ... before the forward pass ({LIKE})",
    "copy_": f"x.data[...] = y before the forward pass ({LIKE})",
    "zero_": f"x.data[...] = 0 before the forward pass ({LIKE})",
    "fill_": f"x.data[...] = value before the forward pass ({LIKE})",
    "new_zeros": "np.zeros(shape, x.dtype)",
}

# methods of torch.nn.Module, and of transformers' models
MODULE = {
    "cuda": 'model.to("gpu")',
    "cpu": 'model.to("cpu")',
    "half": 'model.to("float16")',
    "float": 'model.to("float32")',
    "double": 'model.to("float64")',
    "device": "model.parameters()[0].device",
    "dtype": "model.parameters()[0].dtype",
    "buffers": "model.named_buffers()",
    "children": "model.modules()",
    "named_children": "model.named_modules()",
    "apply": "for module in model.modules(): ...",
    "register_buffer": "an attribute that is an array: self.name = array",
    "register_parameter": "an attribute: self.name = mv.nn.Parameter(array)",
    "register_module": "an attribute: self.name = module",
    "add_module": "an attribute: self.name = module",
    "register_forward_hook": "with mv.nn.looking(model) as seen: ...",
    "register_full_backward_hook": "p.grad after backward",
    "get_parameter": "dict(model.named_parameters())[name]",
    "get_submodule": "dict(model.named_modules())[name]",
    "save_pretrained": "mv.export(model, folder), which transformers reads, or mv.save(model, folder)",
    "from_pretrained": "mv.from_pretrained(folder)",
    "compile": "nothing: leave it out",
}

# names in packages
PACKAGES = {
    "minivis": {
        "tensor": "mv.Tensor",
        "as_tensor": "mv.Tensor",
        "from_numpy": "mv.Tensor",
        "zeros": "mv.Tensor(np.zeros(shape, np.float32))",
        "ones": "mv.Tensor(np.ones(shape, np.float32))",
        "randn": "np.random.default_rng(0).normal(size=shape)",
        "rand": "np.random.default_rng(0).random(shape)",
        "arange": "np.arange",
        "manual_seed": "an argument: rng=0 of whatever draws numbers",
        "cat": "mv.ops.concatenate",
        "concatenate": "mv.ops.concatenate",
        "stack": "mv.ops.stack",
        "matmul": "mv.ops.matmul, or x @ y",
        "einsum": "mv.ops.einsum",
        "softmax": "mv.ops.softmax",
        "exp": "mv.ops.exp",
        "where": "mv.ops.where",
        "functional": "mv.ops",
        "Module": "mv.nn.Module",
        "inference_mode": "mv.no_grad",
        "set_grad_enabled": "mv.no_grad",
        "cuda": 'mv.to_device(x, "gpu"), model.to("gpu"); `minivis doctor` says whether there is one',
        "device": 'a text: "cpu" or "gpu"',
        "float32": 'a text: "float32"',
        "float16": 'a text: "float16"',
        "utils": "mv.data, for DataLoader",
        "hub": "mv.from_pretrained(folder), and `minivis fetch` for the files",
        "compile": "nothing: leave it out",
        "Trainer": "mv.train.fit",
    },
    "minivis.nn": {
        "functional": "mv.ops",
        "MultiheadAttention": "mv.nn.MultiHeadAttention",
        "CrossEntropyLoss": "mv.ops.cross_entropy",
        "NLLLoss": "mv.ops.cross_entropy, of logits",
        "BCELoss": "mv.ops.binary_cross_entropy_with_logits, of logits",
        "BCEWithLogitsLoss": "mv.ops.binary_cross_entropy_with_logits",
        "MSELoss": "mv.ops.mse_loss",
        "L1Loss": "mv.ops.l1_loss",
        "SmoothL1Loss": "mv.ops.smooth_l1_loss",
        "Softmax": "mv.ops.softmax",
        "LogSoftmax": "mv.ops.log_softmax",
        "Softplus": "mv.ops.softplus",
        "Conv1d": "mv.ops.conv1d, with a Parameter as weight",
        "Conv3d": "mv.ops.conv3d, with a Parameter as weight",
        "AdaptiveAvgPool2d": "mv.ops.adaptive_avg_pool2d",
        "Upsample": "mv.ops.interpolate",
        "Unfold": "mv.ops.unfold",
        "Fold": "mv.ops.fold",
        "ZeroPad2d": "mv.ops.pad",
        "ModuleDict": "a dict of modules, as an attribute",
        "ParameterList": "a list of mv.nn.Parameter, as an attribute",
        "ParameterDict": "a dict of mv.nn.Parameter, as an attribute",
        "SyncBatchNorm": "mv.nn.BatchNorm2d",
        "utils": "mv.optim.clip_grad_norm, for clipping",
    },
    "minivis.ops": {
        "cat": "mv.ops.concatenate",
        "permute": "mv.ops.transpose",
        "unsqueeze": "mv.ops.expand_dims",
        "view": "mv.ops.reshape",
        "flatten": "mv.ops.reshape",
        "mm": "mv.ops.matmul",
        "bmm": "mv.ops.matmul",
        "masked_fill": "mv.ops.where(mask, value, x)",
        "gather": "mv.ops.take_along_axis",
        "index_select": "mv.ops.take",
        "scatter": "mv.ops.scatter_add",
        "clamp": "mv.ops.clip",
        "chunk": "mv.ops.split",
        "expand": "mv.ops.broadcast_to",
        "upsample": "mv.ops.interpolate",
        "one_hot": "np.eye(K, dtype=np.float32)[labels]",
        "nll_loss": "mv.ops.cross_entropy, of logits",
        "binary_cross_entropy": "mv.ops.binary_cross_entropy_with_logits, of logits",
        "cosine_similarity": "(mv.ops.normalize(x) * mv.ops.normalize(y)).sum(axis=-1)",
        "sigmoid_focal_loss": "mv.losses.sigmoid_focal_loss",
        "nms": "mv.vision.nms",
        "box_iou": "mv.vision.box_iou",
        "roi_align": "mv.vision.roi_align",
        "zeros": "np.zeros",
        "ones": "np.ones",
    },
    "minivis.models": {
        "VisionTransformer": "mv.models.ViT",
        "SwinTransformer": "mv.models.Swin",
        "vit_b_16": "mv.models.vit_b16",
        "vit_b_32": "mv.models.vit_b32",
        "vit_l_16": "mv.models.vit_l16",
        "vit_h_14": "mv.models.vit_h14",
        "detr_resnet50": "mv.models.detr_r50",
        "detr_resnet101": "mv.models.detr_r101",
        "ResNet50": "mv.models.resnet50",
        "AutoModel": "mv.from_pretrained(folder)",
        "create_model": "mv.from_pretrained(folder), or a constructor such as mv.models.vit_b16",
        "get_model": "mv.from_pretrained(folder), or a constructor such as mv.models.vit_b16",
    },
    "minivis.losses": {
        "CrossEntropyLoss": "mv.ops.cross_entropy",
        "cross_entropy": "mv.ops.cross_entropy",
        "mse_loss": "mv.ops.mse_loss",
        "FocalLoss": "mv.losses.sigmoid_focal_loss",
        "DiceLoss": "mv.losses.dice_loss",
        "generalized_box_iou_loss": "mv.losses.box_giou_loss",
    },
    "minivis.vision": {
        "box_convert": "mv.vision.box_cxcywh_to_xyxy, or box_xyxy_to_cxcywh",
        "remove_small_boxes": "boxes[mv.vision.box_area(boxes) > smallest]",
        "clip_boxes_to_image": "mv.vision.clip_boxes",
        "MultiScaleRoIAlign": "mv.vision.roi_align",
        "RoIAlign": "mv.vision.roi_align",
        "transforms": "mv.data.transforms",
        "datasets": "mv.data",
        "models": "mv.models",
        "ops": "the package itself, such as mv.vision.nms",
        "read_image": "mv.data.read_image",
        "draw_bounding_boxes": "mv.viz.boxes_on_image",
    },
    "minivis.optim": {
        "lr_scheduler": "the optimiser's argument schedule, such as schedule=mv.optim.cosine(total_steps)",
        "CosineAnnealingLR": "schedule=mv.optim.cosine(total_steps)",
        "OneCycleLR": "schedule=mv.optim.one_cycle(total_steps)",
        "LambdaLR": "schedule=a function of the step that returns a factor",
        "StepLR": "schedule=a function of the step that returns a factor",
        "clip_grad_norm_": "mv.optim.clip_grad_norm",
    },
    "minivis.data": {
        "Dataset": "any object with len(dataset) and dataset[i]",
        "TensorDataset": "the arrays themselves: mv.data.DataLoader((images, labels))",
        "random_split": "mv.data.split",
        "RandomSampler": "mv.data.DataLoader(..., shuffle=True)",
        "SubsetRandomSampler": "mv.data.Subset",
        "default_collate": "mv.data.DataLoader(..., collate=a function of a list of samples)",
        "utils": "mv.data.DataLoader",
    },
}

# arguments: the names that the same thing has here, the first that a function has; or what to do instead
HERE = "nothing is computed in place: leave it out"
LOADER = "the loader does without: leave it out"
ARGUMENTS = {
    "img_size": ("image_size",),
    "input_size": ("image_size",),
    "in_chans": ("channels", "in_channels"),
    "in_channels": ("channels",),
    "num_channels": ("channels", "in_channels"),
    "embed_dim": ("width", "widths"),
    "hidden_size": ("width", "widths"),
    "hidden_dim": ("width",),
    "d_model": ("width",),
    "dim": ("axis", "width"),
    "num_heads": ("heads",),
    "nhead": ("heads", "num_heads"),
    "num_attention_heads": ("heads", "num_heads"),
    "num_layers": ("depth", "depths"),
    "num_hidden_layers": ("depth", "depths"),
    "layers": ("depths", "depth"),
    "num_encoder_layers": ("encoder_depth",),
    "encoder_layers": ("encoder_depth",),
    "num_decoder_layers": ("decoder_depth",),
    "decoder_layers": ("decoder_depth",),
    "num_labels": ("num_classes",),
    "num_queries": ("queries",),
    "mlp_dim": ("mlp_width", "mlp_ratio"),
    "intermediate_size": ("mlp_width", "mlp_ratio"),
    "dim_feedforward": ("mlp_width", "mlp_ratio"),
    "drop_rate": ("dropout",),
    "hidden_dropout_prob": ("dropout",),
    "attn_drop_rate": ("attention_dropout",),
    "attention_probs_dropout_prob": ("attention_dropout",),
    "drop_path_rate": ("drop_path",),
    "layer_norm_eps": ("eps",),
    "act_layer": ("activation",),
    "hidden_act": ("activation",),
    "norm_layer": ("norm",),
    "window_size": ("window",),
    "global_pool": ("pool",),
    "replace_stride_with_dilation": ("dilated",),
    "in_features": ("width",),
    "hidden_features": ("hidden_width",),
    "out_features": ("out_width",),
    "pretrained": "mv.from_pretrained(folder) loads published weights",
    "weights": "mv.from_pretrained(folder) loads published weights",
    "device": 'model.to("gpu") moves a model, mv.to_device(x, "gpu") an array',
    "dtype": 'model.to("float64") converts a model, x.astype("float64") an array',
    "inplace": HERE,
    "batch_first": "tokens are always (B, N, D): leave it out",
    "padding_mode": "mv.ops.pad goes before it",
    "keepdim": ("keepdims",),
    "input": ("x", "logits"),
    "attn_mask": ("mask",),
    "num_workers": ("workers",),
    "collate_fn": ("collate",),
    "generator": ("rng",),
    "seed": ("rng",),
    "sampler": "mv.data.Subset takes a part of a data set, shuffle=True another order",
    "batch_sampler": "mv.data.Subset takes a part of a data set, shuffle=True another order",
    "pin_memory": LOADER,
    "persistent_workers": LOADER,
    "prefetch_factor": LOADER,
    "worker_init_fn": LOADER,
    "root": ("folder", "images"),
    "annFile": ("annotations",),
    "train": ("split",),
    "download": "nothing is downloaded here: put the files into the folder",
    "transform": "mv.data.DataLoader(..., augment=...) changes each sample, its target along with it",
    "transforms": "mv.data.DataLoader(..., augment=...) changes each sample, its target along with it",
    "pretrained_model_name_or_path": ("folder",),
    "torch_dtype": ("dtype",),
    "device_map": ("device",),
    "id2label": ("labels",),
    "dataloader": ("loader",),
    "train_dataloaders": ("loader",),
    "criterion": ("loss",),
    "loss_fn": ("loss",),
    "max_epochs": ("epochs",),
    "num_epochs": ("epochs",),
    "num_train_epochs": ("epochs",),
    "max_steps": ("steps",),
    "gradient_accumulation_steps": ("accumulate",),
    "accumulate_grad_batches": ("accumulate",),
    "max_grad_norm": ("clip",),
    "gradient_clip_val": ("clip",),
    "output_dir": ("out",),
    "resume_from_checkpoint": ("resume",),
    "callbacks": "before_step, after_step and evaluate are functions that it calls",
    "scheduler": "the optimiser has its schedule: mv.optim.AdamW(model, schedule=mv.optim.cosine(1000))",
    "learning_rate": ("lr",),
    "foreach": "steps are as fast as they can be: leave it out",
    "fused": "steps are as fast as they can be: leave it out",
}


def no_attribute(thing, name, words):
    """The error for an attribute that an object does not have.

    Parameters
    ----------
    thing : object
        The object.
    name : str
        The attribute.
    words : dict of str to str
        Foreign words, and what to write instead.

    Returns
    -------
    AttributeError

    Examples
    --------
    >>> no_attribute(1.5, "cuda", TENSOR)
    AttributeError('\\'float\\' object has no attribute \\'cuda\\'; here it is mv.to_device(x, "gpu")')
    """
    instead = f"; here it is {words[name]}" if name in words else ""
    text = f"{type(thing).__name__!r} object has no attribute {name!r}{instead}"
    return AttributeError(text, name=name, obj=thing)


def no_name(package, name):
    """The error for a name that a package does not have.

    Parameters
    ----------
    package, name : str
        Such as "minivis.nn" and "functional".

    Returns
    -------
    AttributeError

    Examples
    --------
    >>> no_name("minivis.nn", "functional")
    AttributeError("module 'minivis.nn' has no attribute 'functional'; here it is mv.ops")
    """
    words = PACKAGES[package]
    instead = f"; here it is {words[name]}" if name in words else ""
    return AttributeError(f"module {package!r} has no attribute {name!r}{instead}", name=name)


class Imports:
    """Explain ``from minivis.nn import functional`` and ``import minivis.nn.functional``: Python drops the text of `no_name` there.

    Python asks it, as the last in ``sys.meta_path``, for modules that nobody else has found.
    """

    @staticmethod
    def find_spec(name, path=None, target=None):
        package, _, word = name.rpartition(".")
        if word in PACKAGES.get(package, {}):
            raise ImportError(f"{no_name(package, word)}", name=package)


sys.meta_path.append(Imports)


def hint(word, known):
    """What a foreign argument is called here, as a part of an error; empty if it is not known.

    Parameters
    ----------
    word : str
        The argument.
    known : collection of str
        The arguments that the function has.

    Returns
    -------
    str

    Examples
    --------
    >>> hint("num_heads", ["width", "heads"])
    ': here it is heads'
    """
    ours = ARGUMENTS.get(word, ())
    if isinstance(ours, str):
        return f": {ours}"
    return next((f": here it is {name}" for name in ours if name in known), "")


def wrong_argument(name, function, given):
    """The error for an argument that a function does not have, or None if it has them all."""
    parameters = inspect.signature(function).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return None
    known = [key for key in parameters if key != "self"]
    foreign = next((key for key in given if key not in known), None)
    if foreign is None:
        return None
    listed = ", ".join(known) or "none"
    return TypeError(f"{name}: there is no argument {foreign!r}{hint(foreign, known)} (there are {listed})")


def explained(function):
    """Decorate a function or a constructor: an argument that it does not have is named, with what it is called here.

    Examples
    --------
    >>> @explained
    ... def fit(model, steps=None): ...
    >>> fit(None, max_steps=2)
    Traceback (most recent call last):
    TypeError: fit: there is no argument 'max_steps': here it is steps (there are model, steps)
    """

    @functools.wraps(function)
    def checked(*args, **kwargs):
        __tracebackhide__ = True  # IPython and pytest leave this frame out of the traceback
        try:
            return function(*args, **kwargs)
        except TypeError:
            constructor = args and function.__name__ == "__init__"
            name = type(args[0]).__name__ if constructor else function.__name__
            if (wrong := wrong_argument(name, function, kwargs)) is not None:
                raise wrong from None
            raise

    return checked
