"""One array in another's layout."""

import numpy as np


def equal_up_to_layout(ours, value):
    """The permutation and shape that turn `ours` into `value`, when that makes them equal."""
    scale = float(np.abs(value).max())
    same = lambda a: bool(np.isfinite(scale)) and float(np.abs(a - value).max()) <= 2e-4 * scale
    if ours.shape == value.shape:
        return (None, value.shape) if same(ours) else None
    perms = {4: ((0, 2, 3, 1), (0, 3, 1, 2)), 3: ((0, 2, 1),)}.get(ours.ndim, ())
    for perm in perms:
        if same(ours.transpose(perm).reshape(value.shape)):
            return perm, value.shape
    return (None, value.shape) if same(ours.reshape(value.shape)) else None


def laid_out(array, layout):
    perm, shape = layout
    return (array if perm is None else array.transpose(perm)).reshape(shape)
