"""Published Faster and Mask R-CNNs: files with torchvision's names, old or new, of a ResNet with a feature pyramid.

Not here: the models (models/faster_rcnn.py, mask_rcnn.py), torchvision's second versions and those on a MobileNet.
"""

from minivis.models.faster_rcnn import FasterRCNN
from minivis.models.mask_rcnn import MaskRCNN
from minivis.pretrained import resnet
from minivis.pretrained.family import PublishedFamily, labels_of, names_of, translate
from minivis.pretrained.settings import Settings

__all__ = ["FAMILY"]

BODY = "backbone.body."
HEADS = "roi_heads."
# The names of COCO's classes by the numbers in its files, which have gaps.
COCO = (
    "__background__", "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "N/A", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse",
    "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "N/A", "backpack", "umbrella", "N/A", "N/A", "handbag",
    "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove",
    "skateboard", "surfboard", "tennis racket", "bottle", "N/A", "wine glass", "cup", "fork", "knife", "spoon",
    "bowl", "banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake",
    "chair", "couch", "potted plant", "bed", "N/A", "dining table", "N/A", "N/A", "toilet", "N/A", "tv", "laptop",
    "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "N/A",
    "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip


def build(config):
    """Make the detector that a config describes."""
    settings = Settings(config["model_type"], config)
    norm = settings.text("norm", "frozen")
    eps = 0.0 if norm == "frozen" else 1e-5  # as torchvision publishes them; it does not show in the weights
    body = settings.part("backbone_config") or Settings("resnet", {})
    backbone = resnet.build(body.values, num_classes=0, norm=norm, eps=eps)
    options = {
        "num_classes": len(labels_of(config)),
        "width": settings.whole("width", 256),
        "hidden": settings.whole("hidden_size", 1024),
        "published_form": True,
    }
    if settings.name == "faster_rcnn":
        return FasterRCNN(backbone, **options)
    masks = {
        f"mask_{name}": settings.whole(f"mask_{name}", usual)
        for name, usual in (("width", 256), ("depth", 4))
    }
    return MaskRCNN(backbone, **options, **masks, paste="torchvision")


def names(model, dialect):
    """Torchvision's names of a detector's weights; "old" are those of its published files, from before version 0.13."""
    step = "" if dialect == "old" else "0."
    table = [
        (f"backbone.{ours}", BODY + theirs)
        for ours, theirs in resnet.rules("timm", len(model.backbone.stages))
    ]
    table += [
        ("pyramid.lateral.*.*", f"backbone.fpn.inner_blocks.*.{step}*"),
        ("pyramid.output.*.*", f"backbone.fpn.layer_blocks.*.{step}*"),
        ("rpn.conv.*", f"rpn.head.conv.{2 * step}*"),
        ("rpn.objectness.*", "rpn.head.cls_logits.*"),
        ("rpn.deltas.*", "rpn.head.bbox_pred.*"),
        ("head.first.*", HEADS + "box_head.fc6.*"),
        ("head.second.*", HEADS + "box_head.fc7.*"),
        ("class_head.*", HEADS + "box_predictor.cls_score.*"),
        ("box_head.*", HEADS + "box_predictor.bbox_pred.*"),
    ]
    if isinstance(model, MaskRCNN):
        depth = len(model.mask_head.convs)
        theirs = [f"mask_fcn{i + 1}" if dialect == "old" else f"{i}.0" for i in range(depth)]
        table += [(f"mask_head.convs.{i}.*", f"{HEADS}mask_head.{theirs[i]}.*") for i in range(depth)]
        table += [
            ("mask_head.up.*", HEADS + "mask_predictor.conv5_mask.*"),
            ("mask_head.out.*", HEADS + "mask_predictor.mask_fcn_logits.*"),
        ]
    return translate(names_of(model), table)


def infer(shapes, config=None):
    """A complete config for a file of torchvision, from its shapes."""
    if not {"rpn.head.cls_logits.weight", "rpn.head.bbox_pred.weight"} <= shapes.keys():
        return None
    known = {BODY + "conv1.weight", BODY + "layer1.0.conv1.weight", HEADS + "box_head.fc6.weight"}
    if not known <= shapes.keys() or f"{HEADS}keypoint_predictor.kps_score_lowres.weight" in shapes:
        raise ValueError(
            "faster_rcnn: minivis has torchvision's first versions of Faster R-CNN and Mask R-CNN, on a ResNet: "
            "fasterrcnn_resnet50_fpn and maskrcnn_resnet50_fpn"
        )
    anchors, width = shapes["rpn.head.cls_logits.weight"][:2]
    if anchors != 3:
        raise ValueError(
            f"faster_rcnn: torchvision's detectors have 3 anchors a cell, this one has {anchors}"
        )
    masks = f"{HEADS}mask_predictor.mask_fcn_logits.weight"
    convolutions = [n for n, s in shapes.items() if n.startswith(HEADS + "mask_head.") and len(s) == 4]
    num_classes = shapes[f"{HEADS}box_predictor.cls_score.weight"][0]
    return {
        "model_type": "mask_rcnn" if masks in shapes else "faster_rcnn",
        "backbone_config": resnet.body(shapes, BODY),
        "norm": "batch" if f"{BODY}bn1.num_batches_tracked" in shapes else "frozen",
        "width": width,
        "hidden_size": shapes[f"{HEADS}box_head.fc6.weight"][0],
        **({"mask_width": shapes[masks][1], "mask_depth": len(convolutions)} if masks in shapes else {}),
        "num_labels": num_classes,
        **({"id2label": {str(i): name for i, name in enumerate(COCO)}} if num_classes == len(COCO) else {}),
    }


FAMILY = PublishedFamily(
    model_types=("faster_rcnn", "mask_rcnn"),
    build=build,
    names=names,
    dialects=("torchvision", "old"),
    infer=infer,
    # the model resizes and normalises photos itself, so that its boxes are in pixels of the photo
    preprocessor={"image_processor_type": "DetrImageProcessor", "do_resize": False, "do_normalize": False},
    of=lambda model: isinstance(model, FasterRCNN) and not model.aligned,
)
