"""The pictures of the welcome page: one for each system, taken from the chapter that builds it.

Not here: drawing them. A picture is the output of a notebook's cell, which is found by its slide tag.
"""

import base64

import nbformat

from book.generate.chapters import caption_of

# chapter, its title on the card, the tag of the cell that draws its picture
PICTURES = [
    ("01_autograd", "An autograd engine: the gradient of any program", "slide:C/91-backpropagation"),
    ("02_convolution", "Convolution: filters by hand, then filters that learn", "slide:Z/11-convolution-2d"),
    ("03_lenet_to_resnet", "From LeNet to ResNet: deep networks", "slide:Z/22-activations-made-visible"),
    ("04_kernels_that_adapt", "Kernels that adapt to the image", "slide:A/7-kernels-that-adapt"),
    ("05_attention", "Attention: queries, keys and values", "slide:I/30-cross-attention-relates"),
    (
        "06_attention_inside_cnns",
        "Attention inside CNNs: where a place looks",
        "slide:A/14-non-local-correlations",
    ),
    ("07_transformer", "The Transformer: encoder and decoder", "slide:C/126-masked-self-attention"),
    ("08_vit", "The Vision Transformer, and where it looks", "slide:H/10-attention-finds-the-object"),
    ("09_masked_modelling", "Masked modelling: words and patches are hidden", "slide:C/125-masked-modelling"),
    ("10_swin", "Swin: attention in shifted windows", "slide:A/46-shifted-windows"),
    ("11_dino", "DINO: attention that finds the object", "slide:A/98-dino-idea"),
    ("12_clip", "CLIP: pictures and texts in one space", "slide:Z/40-clip"),
    ("13_vivit", "ViViT: transformers for films", "slide:A/109-four-variants"),
    ("14_detection", "Detection before transformers: Faster R-CNN and YOLO", "slide:Z/44-yolo"),
    ("15_detr", "DETR: object detection as set prediction", "slide:H/14-detr-idea"),
    ("16_segmentation", "U-Net and Mask R-CNN: segmentation", "slide:C/3-four-vision-problems"),
    ("17_setr_segmenter", "SETR and Segmenter: tokens that name pixels", "slide:H/38-segmenter-pictures"),
    ("18_maskformer", "MaskFormer: masks with a class", "slide:I/32-maskformer"),
    ("19_mask2former", "Mask2Former: masked attention", "slide:I/2-three-kinds-of-segmentation"),
]


def pages(executed):
    """Return {path: bytes}: the text with the cards, and the pictures."""
    found = {}
    cards = ["::::{grid} 1 1 2 2", ":gutter: 3", ""]
    for chapter, title, slide in PICTURES:
        png, alt = picture(executed / f"{chapter}.ipynb", slide)
        found[f"generated/{chapter}.png"] = png
        cards += [f":::{{grid-item-card}} {title}", f":img-top: /generated/{chapter}.png", f":img-alt: {alt}"]
        cards += [f":link: /notebooks/{chapter}", ":link-type: doc", "", f"Chapter {chapter[:2]}", ":::", ""]
    return {**found, "generated/pictures.md": "\n".join([*cards, "::::", ""]).encode()}


def picture(path, slide):
    """The PNG and the caption of the first picture that a cell of this slide has drawn."""
    for cell in nbformat.read(path, as_version=4).cells:
        if slide in cell.metadata.get("tags", []):
            for output in cell.get("outputs", []):
                if "image/png" in output.get("data", {}):
                    return base64.b64decode(output.data["image/png"]), caption_of(cell, output)
    raise LookupError(f"{path} has no picture in a cell tagged {slide}")
