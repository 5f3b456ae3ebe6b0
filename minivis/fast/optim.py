"""The step of AdamW in one pass over memory.

Not here: the formula (minivis/optim.py), the loops (blocks.py, compiled.py, cuda.py).
"""

from minivis.fast import routines
from minivis.optim import adamw_step
from minivis.ways import faster

__all__ = ["adamw_step_in_one_pass"]


def _pays(parameter, grad, m, v, lr, beta1, beta2, eps, weight_decay, step, elements=None):
    return (elements or parameter.size) >= routines.LARGE or routines.large(parameter)


@faster(adamw_step, may=routines.exist, pays=_pays)
def adamw_step_in_one_pass(parameter, grad, m, v, lr, beta1, beta2, eps, weight_decay, step, elements=None):
    """`minivis.optim.adamw_step`."""
    found = routines.of(parameter, elements)
    found.adamw_step(parameter, grad, m, v, lr, beta1, beta2, eps, weight_decay, step)
