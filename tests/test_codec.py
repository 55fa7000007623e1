"""Pocket's codec: components are exact both ways, and the detail adds what they can't tell and nothing else."""

from dataclasses import replace
from itertools import islice

import pytest
import torch

from gooddrag.pocket.codec import Detail, PatchCodec, to_tensor
from gooddrag.pocket.quality import held_out_pictures, restored
from gooddrag.pocket.train import TrainSettings, render_world
from gooddrag.pocket.train_detail import iter_training


@pytest.fixture(scope="module")
def images():
    return held_out_pictures(8)


@pytest.fixture
def codec(images):
    """A codec with a detail that has learned nothing yet and so adds noise."""
    torch.manual_seed(0)
    return replace(PatchCodec.fit(images, channels=12), detail=Detail(12, 4))


def test_the_detail_changes_the_picture_but_not_what_is_read_from_it(codec, images):
    z = codec.encode(images)
    plain, with_detail = replace(codec, detail=None).decode(z), codec.decode(z)
    assert (with_detail - plain).abs().max() > 0.01
    torch.testing.assert_close(codec.encode(with_detail), z, atol=1e-5, rtol=1e-4)


def test_a_codec_comes_back_from_its_file(codec, images, tmp_path):
    codec.save(tmp_path / "codec.safetensors")
    loaded, z = PatchCodec.load(tmp_path / "codec.safetensors"), codec.encode(images)
    torch.testing.assert_close(loaded.encode(images), z)
    torch.testing.assert_close(loaded.decode(z), codec.decode(z), atol=2e-3, rtol=0)  # the network is kept in halves
    assert not any(weights.requires_grad for weights in loaded.detail.parameters())
    assert list(tmp_path.iterdir()) == [tmp_path / "codec.safetensors"]


def test_training_a_detail_brings_pictures_nearer_and_leaves_components_alone(tmp_path, images):
    pictures = render_world(tmp_path, TrainSettings(world=32))
    codec = PatchCodec.fit(to_tensor(pictures), channels=12)
    steps = list(islice(iter_training(codec, pictures, 200), 30))
    trained = steps[-1][2]
    assert torch.equal(trained.basis, codec.basis)
    assert steps[-1][1] < steps[0][1]
    again = list(islice(iter_training(codec, pictures, 200), 30))
    assert [loss for _, loss, _ in steps] == [loss for _, loss, _ in again]


def test_the_shipped_detail_restores_pictures_it_never_saw(pocket, images):
    plain = replace(pocket, codec=replace(pocket.codec, detail=None))
    with_detail, without = (restored(engine, pocket.encode(images), images) for engine in (pocket, plain))
    assert with_detail > without + 3  # dB
    assert pocket.fingerprint != plain.fingerprint
