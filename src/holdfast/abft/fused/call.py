"""A call of a fused layer whose check failed, as the ladder sees it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from holdfast.abft.checksum import image_sum
from holdfast.abft.events import Event
from holdfast.abft.fused.workspace import Buffer, Workspace
from holdfast.abft.ladder import recover
from holdfast.abft.product import Product, index_of
from holdfast.abft.threshold import Thresholds, thresholds
from holdfast.core.errors import FaultError, InputDamaged
from holdfast.kernels import BatchStats, batch_sum, reference

if TYPE_CHECKING:
    from holdfast.abft.fused.layer import FusedLayer, Plan


_MANY = 16
"""Of so many positions, a single one is computed again faster than the layer."""


class FusedCall:
    """``ladder.Call`` of a fused layer.

    The native pass has left the positions that are off as the product made them, bias and all, and finished
    the others, so that the ladder can read those alone. What single blocks do not explain is computed again,
    by the same pass.
    """

    whole = False

    def __init__(
        self,
        layer: FusedLayer,
        plan: Plan,
        x: Tensor,
        residual: Tensor | None,
        out: Tensor,
        pooled: Tensor | None,
        source: Buffer,
        beside: Buffer | None,
        result: Buffer | None,
        workspace: Workspace,
    ) -> None:
        self.layer, self.plan = layer, plan
        self.name, self.outputs = layer.name, layer.outputs
        self.x, self.residual, self.out, self.pooled = x, residual, out, pooled
        self.source, self.beside, self.result = source, beside, result
        self.workspace = workspace
        self.d = layer.canonical(x)
        self.cd1 = source.total((*self.d.shape[2:], self.d.shape[1]), len(x)).movedim(-1, 0)
        self.stats = source.stats
        self.threshold, self.deviation = workspace.check.memory[:2].tolist()
        self._co5 = workspace.check.values(plan[1], torch.float64)
        self._fine = torch.zeros(plan[1], dtype=torch.bool)
        self._struck: frozenset[int] = frozenset()
        self._again = False
        """Whether single blocks have been computed again."""

    # ---- the way in and out --------------------------------------------------------------------------------

    def handle(self, found: int) -> Tensor:
        """Recover, given what the pass returned: v violated positions, or −1 − v with a damaged map.

        Returns the finished output, or what it was pooled from. Raises FaultError, InputDamaged.
        """
        self._take(found)
        if not self.open.numel():
            return self.out
        size = self.out.shape[2:] if self.out.dim() == 4 else self.out.shape[1:-1]
        location = index_of(int(self.open[0]), size) if size else None
        recover(self, self.layer.guard, location=location, deviation=self.deviation)
        if self._struck & self.layer.struck:
            self.layer.repair_weights()  # the same channel as last time: its kernel may be what is damaged
        self.layer.struck = self._struck
        if self.open.numel():
            self._finish()
        return self.out

    def _take(self, found: int) -> None:
        """Note what the pass has found: these positions are off, and nothing else is."""
        if found < 0:
            self._map_damaged()
            found = -1 - found
        self.open = self.workspace.violated.memory[:found].clone()
        self._off: Tensor | None = self.open

    def _map_damaged(self) -> None:
        """The residual, or what a Linear read, is not what was summed: only the whole model can mend that."""
        guard = self.layer.guard
        recorded = guard.on_fault == "record"
        action = "recorded" if recorded else "raised"
        event = Event(self.name, "CoC-D", "deviation", None, float("inf"), 0.0, action, False)  # type: ignore[arg-type]
        guard.events.append(event)
        if not recorded:
            role = "read by" if self.residual is None else "added in"
            error = (InputDamaged if guard.on_fault == "correct" else FaultError)(
                f"feature map that is {role} layer {self.name!r}",
                expected="as it was summed when it was made",
                got="changed",
                remedy="run the model again",
            )
            error.event, error.damaged = event, self.x if self.residual is None else self.residual
            raise error

    def _finish(self) -> None:
        """Residual, activation and sum over the batch for the positions that were left out."""
        if self.pooled is not None:  # then the whole output is still as the product made it
            at = 0 if self.result is None else self.result.at
            out, pooled = self.out.data_ptr(), self.pooled.data_ptr()
            self.layer.kernels.finish_layer(self.plan[0], out, pooled, 0, 0, 0, at, 0, 0)
            return
        rows = self._rows(self.out)
        values = rows[:, self.open]
        if self.residual is not None:
            added = self._rows(self.residual)[:, self.open]
            values = values + added
            if self.beside is not None:
                carried = self.beside.total(tuple(rows.shape[1:]), len(rows))[self.open]
                if not torch.equal(image_sum(added), carried.to(torch.float64)):
                    self._map_damaged()
        kind, parameter = self.layer.chain.activation
        if kind == "relu":
            values = functional.relu(values)
        elif kind == "clamp":
            values = values.clamp(0.0, parameter)
        elif kind == "leaky":
            values = functional.leaky_relu(values, parameter)
        rows[:, self.open] = values
        if self.result is not None:
            _, stats = reference.batch_sum(values)
            old = self.result.stats
            # In the order of the native pass, so that a later comparison can be exact.
            total = self.result.total(tuple(rows.shape[1:]), len(rows))
            total[self.open] = image_sum(values).to(total.dtype)
            self.result.stats = BatchStats(
                max(old.max_abs, stats.max_abs),
                old.sum_squares + stats.sum_squares,
                max(old.total_max_abs, stats.total_max_abs),
                old.total_squares + stats.total_squares,
            )

    def _rows(self, values: Tensor) -> Tensor:
        """``values``, shaped like the output, as (N, P, M): a view."""
        last = values.detach().permute(0, 2, 3, 1) if values.dim() == 4 and not self.layer.linear else values
        return last.view(len(values), -1, self.layer.outputs)

    # ---- what the ladder asks for --------------------------------------------------------------------------

    @cached_property
    def product(self) -> Product:
        """The product with the weights that compute."""
        return self.layer.product(lambda: self._weight)

    @cached_property
    def _weight(self) -> Tensor:
        return self.layer.packed.dense()

    @property
    def _bias(self) -> Tensor:
        bias = self.layer.packed.bias
        return torch.zeros(1, dtype=torch.float64) if bias is None else bias.to(torch.float64)

    def violated(self) -> Tensor:
        """The positions (V,) that are off now, those with NaN or Inf included."""
        if self._off is None:
            sums = self._rows(self.out)[:, self.open].to(torch.float64).sum((0, 2))
            self._off = self.open[~(self._right(sums) | self._fine[self.open])]
        return self._off

    def _right(self, sums: Tensor) -> Tensor:
        """Whether S5 (V,) of the positions that were left out, bias and all, is as it should be."""
        offset = len(self.x) * self.layer.bias_sum
        deviation = (sums - self._co5.index_select(0, self.open) - offset).abs()
        return deviation.le(self.threshold)  # a NaN is not

    def expected(self, positions: Tensor) -> Tensor:
        """Co5 (V,) float64, free of bias, at ``positions``."""
        return self._co5[positions]

    def near_co1(self, positions: Tensor) -> Tensor:
        """Co1 (M, V) at ``positions``, as exact as the layer's own output."""
        co1: Tensor = self.layer.near(self.cd1[None], positions)[0]
        return co1

    def thresholds(self) -> Thresholds:
        """All thresholds of this call."""
        layer = self.layer
        tau = thresholds(layer.scale, layer.scale_by_m, self.d, self.stats, torch.float32)
        return tau.times(layer.protected.factor)

    def read(self, positions: Tensor) -> Tensor:
        """Blocks (N, M, V) of the output in float64, free of bias."""
        rows = self._rows(self.out)[:, positions].to(torch.float64) - self._bias
        return rows.transpose(1, 2)

    def write(self, positions: Tensor, blocks: Tensor, changed: Tensor) -> None:
        """Put the ``changed`` (N, M, V) ones of ``blocks`` into the output, with the bias."""
        n, m, v = changed.nonzero(as_tuple=True)
        values = (blocks + self._bias[:, None])[n, m, v]
        self._rows(self.out)[n, positions[v], m] = values.to(self.out.dtype)
        self._struck |= frozenset(m.tolist())
        self._off = None

    def discard(self, positions: Tensor) -> None:
        """Believe the output at ``positions``: their checksum is damaged."""
        self._fine[positions] = True
        self._off = None

    def sum_input(self) -> tuple[Tensor, BatchStats]:
        """Cd1 and the statistics of ``d`` as it is now."""
        if len(self.d) == 1 and torch.equal(self.d[0], self.cd1):
            return self.cd1, self.stats
        total, stats = batch_sum(self.d.movedim(1, -1))
        return total.movedim(-1, 0).to(self.cd1.dtype), stats

    def expect(self, cd1: Tensor) -> None:
        """Use ``cd1`` and its Co5 from now on."""
        self.cd1.copy_(cd1)
        self._co5.copy_(self.layer.co5(cd1.to(torch.float64)))
        self._fine.zero_()
        self._off = None

    def repair_weights(self) -> str:
        """Reload weights, or renew checksums of weights, that are not as they were; what was done, or ""."""
        self.__dict__.pop("_weight", None)
        done = self.layer.repair_weights()
        self.plan = self.layer.plan(self.x)
        return done

    def sound(self) -> bool:
        """Whether the output is right; computed again for that, as the pass has finished what was right."""
        self._again = True
        self.recompute()
        return not self.open.numel()

    def recompute(self) -> None:
        """Run the product again, and the pass that checks and finishes it; or just a single position."""
        if self._block_again():
            return
        self.__dict__.pop("_weight", None)
        self.out = self.layer.multiply(self.x)
        self._struck = frozenset()
        self._take(
            self.layer.finish(
                self.plan,
                self.out,
                self.pooled,
                self.residual,
                self.source,
                self.beside,
                self.result,
                self.workspace,
            )
        )

    def _block_again(self) -> bool:
        """Compute the only position that is off again; whether a single block was, and all is right.

        Where several blocks or positions were off, D or W may have been hit, and other positions with them.
        """
        if self._again or len(self.open) > 1 or len(self._fine) < _MANY:
            return False
        self._again = True
        position = int(self.open)
        new = self.layer.at(self.x, position)
        if new is None:
            return False
        old = self._rows(self.out)[:, position]
        wrong = ~((new - old).abs() <= self.threshold)
        sums = torch.where(wrong, new, old).sum(dtype=torch.float64)
        offset = float(self._co5[position]) + len(self.x) * self.layer.bias_sum
        if int(wrong.sum()) != 1 or not abs(float(sums) - offset) <= self.threshold:
            return False
        n, m = divmod(int(wrong.view(-1).int().argmax()), self.outputs)
        old[n, m] = new[n, m]
        self._struck = frozenset((m,))
        self._off = self.open[:0]
        return True
