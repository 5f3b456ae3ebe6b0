# ruff: noqa: F403 (a flat list of names is the purpose of this file)
"""Models, one file for each paper. Each takes arrays or Tensors and returns Tensors.

Not here: layers (nn/), training (train.py, recipes/).
"""

from minivis import foreign_words
from minivis.models.alexnet import *
from minivis.models.bert import *
from minivis.models.bit import *
from minivis.models.cifar_resnet import *
from minivis.models.clip import *
from minivis.models.clip_resnet import *
from minivis.models.cnn import *
from minivis.models.darknet import *
from minivis.models.detr import *
from minivis.models.dino import *
from minivis.models.dinov2 import *
from minivis.models.faster_rcnn import *
from minivis.models.fcn import *
from minivis.models.lenet import *
from minivis.models.local_net import *
from minivis.models.lr_net import *
from minivis.models.mae import *
from minivis.models.mask2former import *
from minivis.models.mask_rcnn import *
from minivis.models.maskformer import *
from minivis.models.non_local import *
from minivis.models.ode_net import *
from minivis.models.rcnn import *
from minivis.models.resnet import *
from minivis.models.rt_detr import *
from minivis.models.rt_detr_encoder import *
from minivis.models.sagan import *
from minivis.models.sam import *
from minivis.models.sam_encoder import *
from minivis.models.san import *
from minivis.models.sasa import *
from minivis.models.segmenter import *
from minivis.models.segnet import *
from minivis.models.setr import *
from minivis.models.size_table import *
from minivis.models.swin import *
from minivis.models.unet import *
from minivis.models.vgg import *
from minivis.models.vit import *
from minivis.models.vivit import *
from minivis.models.wide_resnet import *
from minivis.models.yolo import *
from minivis.models.yolo_v2 import *

__all__ = sorted(name for name, value in globals().items() if callable(value))


def __getattr__(name):
    raise foreign_words.no_name(__name__, name)
