"""Training: the same seed the same losses, a kill loses nothing, and exported weights make an engine."""

from contextlib import closing
from dataclasses import replace
from itertools import islice

import pytest
import torch
from safetensors.torch import load_file

from gooddrag.backbone import load_pocket
from gooddrag.errors import EditFailed
from gooddrag.pocket import train
from gooddrag.pocket.train import TrainSettings, export, iter_training, learning_rate_at

SMALL = TrainSettings(size=32, world=16, channels=4, widths=(8, 16, 16, 16), batch=4, warmup=2, hold=10)


@pytest.fixture(autouse=True)
def _from_scratch(monkeypatch, tmp_path):
    """No committed weights to start from, and rendering in this process."""
    monkeypatch.setattr(train, "WEIGHTS", tmp_path / "none")


def run(folder, steps, settings=SMALL):
    with closing(iter_training(folder, settings)) as progress:
        return [p.loss.item() for p in islice(progress, steps)]


def test_the_same_seed_gives_the_same_losses(tmp_path):
    assert run(tmp_path / "a", 6) == run(tmp_path / "b", 6)


def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(tmp_path):
    whole = run(tmp_path / "a", 8)
    halves = run(tmp_path / "b", 5) + run(tmp_path / "b", 3)
    assert halves == pytest.approx(whole, rel=1e-6)


def test_a_kill_while_saving_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    run(tmp_path, 2)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()

    def die(tensors, path, *rest):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "save_file", die)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, 2)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before


def test_exported_weights_make_an_engine_and_training_goes_on_from_them(tmp_path, monkeypatch):
    run(tmp_path / "a", 3)
    facts = export(tmp_path / "a", SMALL, tmp_path / "weights")
    assert facts["pictures"] == 12
    backbone = load_pocket(tmp_path / "weights")
    assert backbone.predict(torch.randn(1, 4, 8, 8), 401).eps.shape == (1, 4, 8, 8)
    assert backbone.prediction == "v_prediction"
    monkeypatch.setattr(train, "WEIGHTS", tmp_path / "weights")
    run(tmp_path / "b", 1)
    assert int(load_file(tmp_path / "b" / "checkpoint.safetensors")["step"]) == 4


def test_other_latents_and_predictions_make_engines_too(tmp_path):
    other = replace(SMALL, patch=2, channels=6, prediction="epsilon")
    run(tmp_path, 2, other)
    export(tmp_path, other, tmp_path / "weights")
    backbone = load_pocket(tmp_path / "weights")
    assert (backbone.prediction, backbone.latent_scale) == ("epsilon", 2)
    assert backbone.encode(torch.zeros(1, 3, 32, 32)).shape == (1, 6, 16, 16)


def test_from_scratch_passes_the_committed_weights_by(tmp_path, monkeypatch):
    run(tmp_path / "a", 3)
    export(tmp_path / "a", SMALL, tmp_path / "weights")
    monkeypatch.setattr(train, "WEIGHTS", tmp_path / "weights")
    with closing(iter_training(tmp_path / "b", SMALL, from_scratch=True, world=tmp_path / "a")) as progress:
        assert next(progress).step == 1
    assert not list((tmp_path / "b").glob("world-*"))


def test_pictures_seen_count_where_the_batch_is_another_one(tmp_path, monkeypatch):
    run(tmp_path / "a", 3)
    export(tmp_path / "a", SMALL, tmp_path / "weights")
    monkeypatch.setattr(train, "WEIGHTS", tmp_path / "weights")
    larger = replace(SMALL, batch=6)
    with closing(iter_training(tmp_path / "b", larger, world=tmp_path / "a")) as progress:
        assert next(progress).pictures == 3 * SMALL.batch + larger.batch


def test_processes_that_render_the_same_world_dont_write_into_each_others_file(tmp_path, monkeypatch):
    def save(file, pictures):
        file.write(b"half")  # what another process sees now
        assert not list(tmp_path.glob("*.npy"))
        names.append(file.name)
        raise OSError(28, "no space left")

    names = []
    monkeypatch.setattr(train.np, "save", save)
    for process in (1, 2):
        monkeypatch.setattr("os.getpid", lambda process=process: process)
        with pytest.raises(EditFailed, match="disk"):
            train.render_world(tmp_path, SMALL)
    assert len(set(names)) == 2
    assert not list(tmp_path.iterdir())


def test_timesteps_stay_in_the_schedule_whatever_is_drawn(tmp_path, monkeypatch):
    settings = replace(SMALL, batch=1024)
    pictures = torch.from_numpy(train.render_world(tmp_path, settings))
    codec = train.PatchCodec.fit(train.to_tensor(pictures), settings.channels)
    monkeypatch.setattr(torch, "rand", lambda n, **_: torch.full((n,), 1 - 2**-24))  # the most that it ever gives
    _, t, _ = train.draw_batch(pictures, codec, train.noise_schedule(), 0, settings)
    assert (t.min(), t.max()) == (0, 999)


def test_the_learning_rate_warms_up_holds_falls_and_cools_down():
    rates = [learning_rate_at(step, TrainSettings()) for step in (0, 499, 2999, 12_000)]
    assert rates[0] < rates[1] == rates[2] == TrainSettings().learning_rate
    assert rates[3] == pytest.approx(rates[2] / 2)
    cooling = TrainSettings(pictures=32_000, cooldown=16_000)
    assert learning_rate_at(750, cooling) == pytest.approx(learning_rate_at(499, cooling) / 2)


@pytest.mark.parametrize("t", [5, 450, 999])
def test_missing_as_much_as_usual_costs_the_same_at_every_noise_level(t):
    usual = train.UNKNOWABLE[t // 100].sqrt()
    v = torch.zeros(3, 4, 8, 8)
    assert train.balanced_loss(v, v + usual, torch.full((3,), t)) == pytest.approx(train.UNKNOWABLE.mean())
