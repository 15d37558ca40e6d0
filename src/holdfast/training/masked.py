"""Masked images: what of an image is hidden, and a model that fills it in (SimMIM, Xie et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from holdfast.core.errors import UsageError
from holdfast.models import ModelConfig
from holdfast.stress.sites import evaluating


@dataclass(frozen=True)
class Masked:
    """Mean error of a MaskedImages in the hidden patches, a share ``ratio`` of each image's.

    Exactly round(``ratio`` · patches) of them, at least one, are hidden, anew in each image.
    """

    ratio: float = 0.6

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1:
            raise UsageError("ratio of hidden patches", expected="a number in (0, 1)", got=self.ratio)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, generator: Generator) -> Tensor:
        """Loss of a batch; ``y`` is not looked at."""
        loss: Tensor = model(x, self.draw(len(x), side_of(model), generator).to(x.device))
        return loss

    def draw(self, images: int, side: int, generator: Generator) -> Tensor:
        """Which patches are hidden: (``images``, ``side``, ``side``) bool."""
        patches = side * side
        hidden = max(1, min(patches - 1, round(self.ratio * patches)))
        order = torch.rand(images, patches, generator=generator).argsort(1)
        return (order.argsort(1) < hidden).reshape(images, side, side)


class MaskedImages(nn.Module):
    """``encoder`` with its head replaced by one linear layer that predicts pixels from each token.

    The encoder is a transformer of the zoo: ``scaling`` scales pixels, ``embed`` (or ``tokenizer``) makes
    of them a map (N, D, S, S) of tokens, and ``norm`` is the layer norm (N, T, D) that all tokens leave
    by, the class token first if there is one. Hidden pixels are zeroed behind the scaling, hidden tokens
    replaced by one learnt token, and the target are the scaled pixels. The loss is the mean absolute
    error over hidden patches. Parameters that do not take part (the head) are frozen. Raises UsageError
    for another kind of model.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        config = encoder.config
        assert isinstance(config, ModelConfig)
        self.config, self.encoder = config, encoder
        self.entrance = "tokenizer" if hasattr(encoder, "tokenizer") else "embed"
        parts = [getattr(encoder, name, None) for name in ("scaling", self.entrance, "norm")]
        if not all(isinstance(part, nn.Module) for part in parts) or not isinstance(parts[2], nn.LayerNorm):
            raise UsageError(
                "masked pretraining",
                expected="a transformer whose tokens come from embed or tokenizer and leave by norm",
                got=config.name,
            )
        zeros = torch.zeros(1, config.in_channels, config.size, config.size)
        with evaluating(encoder), torch.no_grad():  # zeros belong into no running statistics
            found = self._tokens(zeros, None)
        self.side, dim = found.side, found.tokens.shape[-1]
        if config.size % self.side or self.side < 2:
            expected = f"at least 2×2 patches that tile {config.size}×{config.size} cells"
            raise UsageError("masked pretraining", expected=expected, got=f"{self.side}×{self.side}")
        self.patch = config.size // self.side
        self.token = nn.Parameter(torch.zeros(dim))
        self.decoder = nn.Linear(dim, config.in_channels * self.patch**2)
        nn.init.trunc_normal_(self.token, std=0.02)
        self._freeze_idle(zeros)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Mean absolute error of the hidden pixels of images ``x`` (N, C, H, W).

        ``hidden`` (N, S, S) says which patches are hidden.
        """
        found = self._tokens(x, hidden)
        wanted = functional.pixel_unshuffle(found.target, self.patch).permute(0, 2, 3, 1)
        guessed = self.decoder(found.tokens).unflatten(1, (self.side, self.side))
        return functional.l1_loss(guessed[hidden], wanted[hidden])

    def _tokens(self, x: Tensor, hidden: Tensor | None) -> _Pass:
        """Run the encoder, hiding patches on the way in, and keep what leaves its norm."""
        found = _Pass()

        def hide_pixels(scaled: Tensor) -> Tensor:
            found.target = scaled.detach()
            if hidden is None:
                return scaled
            cells = hidden.repeat_interleave(self.patch, 1).repeat_interleave(self.patch, 2)
            return scaled.masked_fill(cells[:, None], 0)

        def hide_tokens(tokens: Tensor) -> Tensor:
            found.side = tokens.shape[-1]
            if hidden is None:
                return tokens
            return torch.where(hidden[:, None], self.token.to(tokens.dtype)[:, None, None], tokens)

        def keep(tokens: Tensor) -> Tensor:
            found.tokens = tokens[:, tokens.shape[1] - found.side**2 :]  # without a class token
            return tokens

        with ExitStack() as stack:
            for name, change in (("scaling", hide_pixels), (self.entrance, hide_tokens), ("norm", keep)):
                stack.enter_context(_changed(getattr(self.encoder, name), change))
            self.encoder(x)
        return found

    def _freeze_idle(self, zeros: Tensor) -> None:
        """Ask for no gradient of what has none: sharing gradients among processes waits for all of them."""
        hidden = torch.zeros(1, self.side, self.side, dtype=torch.bool)
        hidden[0, 0, 0] = True
        with evaluating(self):
            self(zeros, hidden).backward()
        for parameter in self.parameters():
            parameter.requires_grad_(parameter.grad is not None)
            parameter.grad = None


class _Pass:
    """What one pass of an encoder has left."""

    target: Tensor
    tokens: Tensor
    side: int


def _changed(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Any:
    """A context in which ``change`` is applied to what ``module`` returns."""
    handle = module.register_forward_hook(lambda _module, _inputs, output: change(output))
    stack = ExitStack()
    stack.callback(handle.remove)
    return stack


def side_of(model: nn.Module) -> int:
    """Patches along a side of the MaskedImages that ``model`` is or wraps."""
    while not isinstance(model, MaskedImages):
        model = model.module  # type: ignore[assignment]
    return model.side
