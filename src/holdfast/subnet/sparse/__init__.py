"""The sparse engine: packed networks by additions.

``reference`` is the specification in plain PyTorch, ``native/src/sparse*`` what computes. ``graph`` finds the
layers of a model, ``layout`` says how maps lie in memory, ``build`` makes a ``program`` of them for one size
of batch, ``plan`` measures how each layer runs best, ``compiled`` is what users call.
"""

from holdfast.subnet.sparse.compiled import Compiled
from holdfast.subnet.sparse.plan import Plan

__all__ = ["Compiled", "Plan"]
