# ruff: noqa: F403 (a flat list of names is the purpose of this file)
"""Vision without parameters: filters, patches, position codes, windows, boxes, matching, masks.

Not here: layers (nn/), pictures (viz/).
"""

from minivis import foreign_words
from minivis.analysis import attention_distance  # noqa: F401 (mv.vision.attention_distance)
from minivis.vision.anchors import *
from minivis.vision.box_coding import *
from minivis.vision.boxes import *
from minivis.vision.class_masks import *
from minivis.vision.clicks import *
from minivis.vision.cropping import *
from minivis.vision.deformable_attention import *
from minivis.vision.detections import *
from minivis.vision.factorised import *
from minivis.vision.filters import *
from minivis.vision.fusion import *
from minivis.vision.loss_weights import *
from minivis.vision.masking import *
from minivis.vision.masks import *
from minivis.vision.matching import *
from minivis.vision.neighbourhoods import *
from minivis.vision.non_local_operation import *
from minivis.vision.panoptic import *
from minivis.vision.patches import *
from minivis.vision.position_codes import *
from minivis.vision.prompts import *
from minivis.vision.proposals import *
from minivis.vision.receptive_fields import *
from minivis.vision.region_masks import *
from minivis.vision.regions import *
from minivis.vision.regression import *
from minivis.vision.rois import *
from minivis.vision.run_lengths import *
from minivis.vision.sliding import *
from minivis.vision.steering import *
from minivis.vision.suppression import *
from minivis.vision.tubelets import *
from minivis.vision.two_way_attention import *
from minivis.vision.unprompted_masks import *
from minivis.vision.upsampling import *
from minivis.vision.windows import *
from minivis.vision.yolo_grid import *

__all__ = sorted(name for name, value in globals().items() if callable(value))


def __getattr__(name):
    raise foreign_words.no_name(__name__, name)
