"""Small random Faster and Mask R-CNNs of torchvision, and what they detect, lose and learn; two are stored.

Written with torch 2.13.0 and torchvision 0.28.0, seeds as given, from the repository's root, with the extras dev and
parity and torchvision:  python -m tests.parity.make_rcnn_fixtures
"""

import importlib.util
import sys

import numpy as np

from tests.parity.make_torchvision_fixtures import torchvision_models
from tests.parity.torch_published import FOLDER, randomise

has_torchvision = importlib.util.find_spec("torchvision") is not None
SIZES = ((48, 64), (50, 37))  # pictures of one list may differ
PROPOSALS = {"pre": 100, "post": 60}  # of a level before suppression, of a picture after it
ALL = 10**9  # as many samples as there are: nothing is drawn


def detection():
    """The module ``torchvision.models.detection``, with suppression and RoIAlign in Python: compiled ones may be missing."""
    import torch

    torchvision_models()
    import torchvision.models.detection

    align = sys.modules["torchvision.ops.roi_align"]
    align._has_ops = lambda: False
    align._roi_align = getattr(align._roi_align, "__wrapped__", align._roi_align)  # without its compilation
    boxes = sys.modules["torchvision.ops.boxes"]

    def nms(candidates, scores, threshold):
        order = torch.argsort(scores, descending=True, stable=True)
        drops = (boxes.box_iou(candidates, candidates) > threshold).numpy()
        dropped = np.zeros(len(order), bool)
        kept = []
        for one in order.tolist():
            if not dropped[one]:
                kept.append(one)
                dropped |= drops[one]
        return torch.tensor(kept, dtype=torch.int64)

    boxes.nms = nms
    return torchvision.models.detection


def detector(
    masks, norm, kind="bottleneck", widths=(8, 16, 24, 32), width=8, hidden=16, classes=5, **options
):
    """A small Faster or Mask R-CNN of torchvision on a ResNet of one block a stage."""
    library = detection()
    import torch
    from torchvision.models import resnet
    from torchvision.models.detection.backbone_utils import BackboneWithFPN
    from torchvision.ops.misc import FrozenBatchNorm2d

    frozen = norm == "frozen"
    block = resnet.Bottleneck if kind == "bottleneck" else resnet.BasicBlock
    layer = (lambda channels: FrozenBatchNorm2d(channels, eps=0.0)) if frozen else torch.nn.BatchNorm2d
    body = resnet.ResNet(block, [1, 1, 1, 1], norm_layer=layer)
    body.inplanes = 4
    body.conv1 = torch.nn.Conv2d(3, 4, 7, 2, 3, bias=False)
    body.bn1 = layer(4)
    for i, channels in enumerate(widths):
        stage = body._make_layer(block, channels // block.expansion, 1, stride=1 if i == 0 else 2)
        setattr(body, f"layer{i + 1}", stage)
    maps = {f"layer{i + 1}": str(i) for i in range(4)}
    backbone = BackboneWithFPN(body, maps, list(widths), width)
    sizes = {"min_size": 64, "max_size": 90, "box_detections_per_img": 6, **options}
    taken = {"rpn_batch_size_per_image": ALL, "box_batch_size_per_image": ALL}
    taken |= {
        f"rpn_{when}_nms_top_n_{mode}": PROPOSALS[when] for when in PROPOSALS for mode in ("train", "test")
    }
    faster, mask = library.faster_rcnn, library.mask_rcnn
    heads = {
        "box_head": faster.TwoMLPHead(width * 49, hidden),
        "box_predictor": faster.FastRCNNPredictor(hidden, classes),
    }
    if not masks:
        return library.FasterRCNN(backbone, **heads, **sizes, **taken)
    heads |= {"mask_head": mask.MaskRCNNHeads(width, (width, width), 1)}
    heads |= {"mask_predictor": mask.MaskRCNNPredictor(width, width, classes)}
    return library.MaskRCNN(backbone, **heads, **sizes, **taken)


def examples(sizes, classes, seed):
    """Random pictures, and for each some true boxes, labels and masks; the last picture has no objects."""
    rng = np.random.default_rng(seed)
    images, targets = [], []
    for i, (height, width) in enumerate(sizes):
        count = 0 if i == len(sizes) - 1 else 3
        images.append(rng.random((3, height, width)).astype(np.float32).astype(np.float64))
        corners = rng.random((count, 2)) * np.array([width, height]) * 0.5
        boxes = np.concatenate([corners, corners + rng.uniform(8, 20, (count, 2))], axis=1).round(1)
        labels = rng.integers(1, classes, count)
        y, x = np.mgrid[:height, :width] + 0.5
        inside = [(x - b[0]) * (x - b[2]) < (y - b[1]) * 3 for b in boxes]
        masks = np.array(inside, bool).reshape(count, height, width)
        targets.append({"boxes": boxes, "labels": labels, "masks": masks})
    return images, targets


def computed(model, images, targets):
    """What a detector of torchvision detects, its losses, and the gradient of their sum: a flat dict of arrays."""
    import torch

    found = {}
    tensors = [torch.from_numpy(image) for image in images]
    with torch.no_grad():
        for i, one in enumerate(model.eval()(tensors)):
            found |= {f"output.{i}.{name}": x.numpy() for name, x in one.items()}
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    truth = [{name: torch.from_numpy(x) for name, x in target.items()} for target in targets]
    losses = model(tensors, truth)
    sum(losses.values()).backward()
    found |= {f"loss.{name}": np.array(x.item()) for name, x in losses.items()}
    return found | {
        f"grad.{name}": p.grad.numpy() for name, p in model.named_parameters() if p.grad is not None
    }


def prepared(seed, masks, norm, confident=1.0, **options):
    """A detector of torchvision in float64 with random weights that find objects."""
    import torch

    model = detector(masks, norm, **options).double()
    randomise(model, seed).requires_grad_(True)
    with torch.no_grad():
        model.rpn.head.bbox_pred.weight *= 0.1
        model.roi_heads.box_predictor.cls_score.weight *= confident
        for x in [*model.parameters(), *model.buffers()]:
            if x.is_floating_point():
                x.copy_(x.float())  # as it is stored
    return model


def publish(folder, seed, sizes=SIZES, **options):
    """Write the weights of a detector, in float32 and without config.json, and what it computes in float64."""
    from safetensors.numpy import save_file

    model = prepared(seed, **options)
    weights = {
        name: x.numpy().astype(np.float32) if x.is_floating_point() else x.numpy()
        for name, x in model.state_dict().items()
    }
    images, targets = examples(sizes, 5, seed)
    found = computed(model, images, targets)
    # a few gradients of each part are enough to see that it learns the same
    found = {name: x for name, x in found.items() if not name.startswith("grad.") or x.size <= 200}
    found = {name: x.astype(np.float32) if "mask" in name and x.ndim > 1 else x for name, x in found.items()}
    folder.mkdir(exist_ok=True)
    save_file(weights, folder / "model.safetensors")
    save_file({name: np.ascontiguousarray(x) for name, x in found.items()}, folder / "detections.safetensors")
    size = sum(path.stat().st_size for path in folder.iterdir())
    boxes = [len(x) for name, x in found.items() if name.endswith("boxes")]
    print(f"{folder.name}: {boxes} boxes, {size / 1024:.0f} KB")


STORED = {
    "faster-rcnn": {"seed": 1, "masks": False, "norm": "batch", "kind": "basic", "widths": (4, 8, 8, 12)},
    "mask-rcnn": {"seed": 2, "masks": True, "norm": "frozen"},
}
LIVE_ROWS = {
    "wide pyramid, batch norm": {
        "seed": 3,
        "masks": True,
        "norm": "batch",
        "width": 16,
        "min_size": 96,
        "max_size": 200,
    },
    "high pictures, one too long": {
        "seed": 4,
        "masks": False,
        "norm": "frozen",
        "sizes": ((160, 30), (64, 64), (33, 47)),
    },
    "many boxes": {
        "seed": 5,
        "masks": True,
        "norm": "frozen",
        "box_detections_per_img": 100,
        "box_nms_thresh": 0.9,
    },
}

if __name__ == "__main__":
    for name, row in STORED.items():
        publish(FOLDER / name, **row)
