"""Choices of the pocket model: what is measured of them, and that an interrupted comparison goes on."""

from dataclasses import replace

import pytest
import torch

from gooddrag.backbone import Backbone, Look
from gooddrag.methods import GoodDrag
from gooddrag.pocket import choices
from gooddrag.pocket.choices import CHOICES, denoising, measure, table
from gooddrag.pocket.quality import held_out_loss, held_out_pictures
from gooddrag.pocket.train import TrainSettings, build_unet

SMALL = TrainSettings(size=64, world=8, channels=4, widths=(8, 16, 16, 16), batch=4, warmup=2)


@pytest.fixture(scope="module")
def images():
    return held_out_pictures(4)


def test_it_is_the_held_out_loss_of_the_model_card(tiny, images):
    model = replace(tiny, prediction="v_prediction")
    losses = held_out_loss(model, images)
    assert denoising(model, images)["velocity_loss"] == pytest.approx(sum(losses.values()) / 10, rel=1e-4)


def test_a_model_that_knows_the_noise_is_never_off(tiny, images, monkeypatch):
    z0 = tiny.encode(images)

    def knows(self, z, t, features=False):
        level = self._levels(t, z)
        return Look((z - level.sqrt() * z0) / (1 - level).sqrt())

    monkeypatch.setattr(Backbone, "predict", knows)
    assert denoising(tiny, images) == pytest.approx({"velocity_loss": 0, "picture_error": 0}, abs=2e-2)


@pytest.mark.parametrize("name", CHOICES)
def test_every_choice_is_a_model(name):
    settings = CHOICES[name]
    side = settings.size // settings.patch
    unet = build_unet(side, settings.channels, settings.widths)
    z = torch.zeros(1, settings.channels, side, side)
    with torch.no_grad():
        assert unet(z, 1, torch.zeros(1, 8, 64)).sample.shape == z.shape


def test_a_choice_is_trained_once_and_told_in_a_row(tmp_path, monkeypatch):
    monkeypatch.setitem(CHOICES, "small", replace(SMALL, patch=8))
    monkeypatch.setattr(choices, "KINDS", ["move"])
    monkeypatch.setattr(choices, "TUNING", [100])
    monkeypatch.setattr(GoodDrag, "fast", lambda: GoodDrag(steps=4, drags=1, lora=None))
    choices.train(tmp_path / "small", tmp_path, CHOICES["small"], minutes=0)  # interrupted before it was measured
    found = measure("small", tmp_path, tmp_path, minutes=0)
    assert found["pictures"] == SMALL.batch
    (row,) = table({"small": found}).splitlines()[2:]
    assert row.startswith("| small | 4 |")
    monkeypatch.setattr(choices, "train", None)
    assert measure("small", tmp_path, tmp_path, minutes=0) == found


def test_a_choice_that_there_is_not_is_refused_before_any_work(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["choices", "as it is", "twice as tall"])
    monkeypatch.setattr(choices, "render_world", None)
    with pytest.raises(SystemExit):
        choices.main()
    assert "there is no choice 'twice as tall': take one of as it is, noise prediction" in capsys.readouterr().err
