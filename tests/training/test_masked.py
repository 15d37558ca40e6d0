"""Masked pretraining: what is hidden stays hidden, the error is that of the hidden patches, weights go on."""

from __future__ import annotations

import pytest
import torch

from holdfast import models, training
from holdfast.core.errors import UsageError
from holdfast.training.masked import Masked, MaskedImages

SMALL = {"dim": 16, "depth": 1, "heads": 2, "mlp": 16}
KIN = {"vit": {"patch": 2}, "deep_vit": {"patch": 2}, "simple_vit": {"patch": 4}, "cct": {"convs": 1}}


def encoder(name="vit", classes=2, size=8, channels=1, **options):
    torch.manual_seed(0)
    options = {**SMALL, **KIN[name], **options}
    return models.create(name, in_channels=channels, classes=classes, size=size, **options)


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_share_of_hidden_patches_is_exact_and_drawn_for_each_image():
    hidden = Masked(0.6).draw(200, 4, gen())
    assert hidden.shape == (200, 4, 4)
    assert (hidden.flatten(1).sum(1) == 10).all()
    often = hidden.float().mean(0)
    assert often.min() > 0.45
    assert often.max() < 0.8
    assert torch.equal(hidden, Masked(0.6).draw(200, 4, gen()))
    assert (Masked(0.01).draw(9, 2, gen()).flatten(1).sum(1) == 1).all()
    for ratio in (0.0, 1.0):
        with pytest.raises(UsageError, match="hidden patches"):
            Masked(ratio)


@pytest.mark.parametrize("name", KIN)
def test_hidden_pixels_decide_nothing_but_the_target(name):
    model = MaskedImages(encoder(name)).eval()
    x = torch.rand(6, 1, 8, 8, generator=gen())
    hidden = Masked(0.5).draw(6, model.side, gen())
    cells = hidden.repeat_interleave(model.patch, 1).repeat_interleave(model.patch, 2)[:, None]
    other = torch.where(cells, torch.rand(x.shape, generator=gen(1)), x)
    assert torch.equal(model._tokens(x, hidden).tokens, model._tokens(other, hidden).tokens)
    assert not torch.equal(model._tokens(x, None).tokens, model._tokens(other, None).tokens)
    # And the encoder is as it was, its running statistics too.
    assert torch.equal(model.encoder(x), encoder(name).eval()(x))


def test_the_loss_is_the_mean_error_of_hidden_patches_each_by_its_own_token():
    model = MaskedImages(encoder(channels=2, size=8)).eval()
    x = torch.rand(3, 2, 8, 8, generator=gen())
    hidden = Masked(0.4).draw(3, 4, gen())
    tokens = model._tokens(x, hidden).tokens
    target = model.encoder.scaling(x)
    errors = []
    for image in range(3):
        for row in range(4):
            for column in range(4):
                if hidden[image, row, column]:
                    patch = target[image, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
                    guess = model.decoder(tokens[image, 4 * row + column]).reshape(2, 2, 2)
                    errors.append((guess - patch).abs().mean())
    with torch.no_grad():
        assert float(model(x, hidden)) == pytest.approx(float(torch.stack(errors).mean()), rel=1e-5)


def test_what_takes_no_part_is_frozen_and_all_else_learns():
    model = MaskedImages(encoder())
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {"encoder.head.weight", "encoder.head.bias"}
    model(torch.rand(4, 1, 8, 8), Masked().draw(4, 4, gen())).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in (model.token, model.decoder.weight))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: models.create("cnn", in_channels=1, classes=2, size=8), "embed or tokenizer.*got cnn"),
        (lambda: encoder("cct", size=9), "patches that tile 9×9"),
        (lambda: encoder(patch=8), "at least 2×2"),
    ],
    ids=["cnn", "uneven", "one-patch"],
)
def test_other_models_are_refused(make, says):
    with pytest.raises(UsageError, match=says):
        MaskedImages(make())


def test_pretraining_learns_resumes_and_is_fine_tuned(streams, tmp_path):
    train, val = streams
    settings = {"epochs": 3, "batch_size": 40, "lr": 1e-2}

    class Interrupting:
        def __init__(self):
            self.info, self.left = train.info, 8

        def batches(self, *arguments, **options):
            for batch in train.batches(*arguments, **options):
                self.left -= 1
                if not self.left:
                    raise KeyboardInterrupt
                yield batch

    random_before = torch.get_rng_state()
    model = encoder()
    torch.set_rng_state(random_before)
    whole = training.pretrain_masked(model, train, val, **settings, out=tmp_path / "a")
    assert torch.equal(torch.get_rng_state(), random_before)
    assert whole.metric == "val_loss"
    assert whole.best_value == min(line["val_loss"] for line in whole.history)
    assert whole.best_value < whole.history[0]["val_loss"]
    with pytest.raises(KeyboardInterrupt):
        training.pretrain_masked(
            encoder(), Interrupting(), val, **settings, checkpoint_steps=1, out=tmp_path / "b"
        )
    resumed = training.pretrain_masked(
        encoder(), train, val, **settings, checkpoint_steps=1, out=tmp_path / "b"
    )
    assert resumed.best.read_bytes() == whole.best.read_bytes()

    tuned = training.fit(encoder(), train, val, epochs=1, batch_size=40, init=whole.best, out=tmp_path / "c")
    plain = training.fit(encoder(), train, val, epochs=1, batch_size=40, out=tmp_path / "d")
    assert tuned.best.read_bytes() != plain.best.read_bytes()
    with pytest.raises(UsageError, match="init="):
        training.fit(encoder(), train, val, epochs=1, batch_size=40, init=tuned.best, out=tmp_path / "c")
