# ruff: noqa: F403 (the flat list of pictures is the purpose of this file)
"""Pictures: each function takes arrays or Tensors and returns a Figure with labelled axes and a caption.

Not here: computing what is shown. A new kind of picture is a new file in this folder and a line below.
"""

from minivis.viz.attention import *
from minivis.viz.boxes import *
from minivis.viz.charts import *
from minivis.viz.classes import *
from minivis.viz.clicks import *
from minivis.viz.computation_graph import *
from minivis.viz.confusion import *
from minivis.viz.depth import *
from minivis.viz.detection import *
from minivis.viz.detection_road import *
from minivis.viz.features import *
from minivis.viz.films import *
from minivis.viz.filter_bank import *
from minivis.viz.generation import *
from minivis.viz.hidden_patches import *
from minivis.viz.inside_vit import *
from minivis.viz.kernels import *
from minivis.viz.language import *
from minivis.viz.local_layers import *
from minivis.viz.mask_classification import *
from minivis.viz.masked_attention import *
from minivis.viz.masks import *
from minivis.viz.matching import *
from minivis.viz.mistakes import *
from minivis.viz.model_drawing import *
from minivis.viz.pictures import *
from minivis.viz.prompts import *
from minivis.viz.segmentation import *
from minivis.viz.segmenter import *
from minivis.viz.self_distillation import *
from minivis.viz.set_prediction import *
from minivis.viz.squares import *
from minivis.viz.style import *
from minivis.viz.surfaces import *
from minivis.viz.token_maps import *
from minivis.viz.trained_networks import *
from minivis.viz.training import *
from minivis.viz.video import *
from minivis.viz.widgets import *
from minivis.viz.windows import *
from minivis.viz.words import *
from minivis.viz.yolo import *

# The functions and constants that `import *` has brought, without the names of the files.
__all__ = sorted(name for name, value in globals().items() if callable(value) or name.isupper())
