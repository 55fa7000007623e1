"""Masks from the points alone: what the drags pull at, what objects lie under them, swept along their ways."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gooddrag.automask import object_area, pulled_area, shifted, suggest_mask, swept
from gooddrag.errors import BadInput
from gooddrag.pocket.tasks import make_task
from gooddrag.task import DragTask


@pytest.mark.parametrize("kind", ["turn-head", "grow", "longer-ears"])
def test_pockets_mask_holds_what_the_true_result_changes(pocket, kind):
    known = make_task(kind, 3)
    mask = suggest_mask(pocket, known.task)
    changed = np.abs(np.asarray(known.truth, int) - np.asarray(known.task.image, int)).max(-1) > 10
    assert mask[changed].mean() > 0.8  # nearly all that has to change may
    assert mask.mean() < 0.65  # and it is no mask that allows everything
    handles = known.task.handles.round().astype(int)
    targets = known.task.targets.round().astype(int)
    assert mask[handles[:, 1], handles[:, 0]].all()
    assert mask[targets[:, 1], targets[:, 0]].all()


def test_the_mask_that_a_task_has_is_not_looked_at(pocket):
    task = make_task("move", 3).task
    assert (suggest_mask(pocket, task) == suggest_mask(pocket, task.with_mask(None))).all()


def test_a_suggested_mask_has_the_pictures_size(tiny):
    task = DragTask(Image.new("RGB", (90, 50), "teal"), [(20, 20)], [(60, 30)])
    assert suggest_mask(tiny, task).shape == (50, 90)
    assert pulled_area(tiny, task).any()


def test_an_area_is_swept_along_a_bent_way():
    area = np.zeros((40, 40), bool)
    area[4:7, 4:7] = True
    covered = swept(area, [np.array([[5.0, 5.0], [30.0, 5.0], [30.0, 30.0]])])
    assert covered[5, 4:32].all()
    assert covered[5:32, 30].all()
    assert not covered[20, 15]  # the diagonal is not its way
    assert covered.sum() == 3 * 28 + 3 * 25


@given(st.integers(-50, 50), st.integers(-50, 50))
def test_shifting_moves_every_cell_that_stays_in_the_picture(dx, dy):
    area = np.random.default_rng(0).random((20, 30)) > 0.5
    moved = shifted(area, dx, dy)
    wanted = np.zeros_like(area)
    for y, x in zip(*np.nonzero(area), strict=True):
        if 0 <= y + dy < 20 and 0 <= x + dx < 30:
            wanted[y + dy, x + dx] = True
    assert (moved == wanted).all()


@pytest.fixture(scope="session")
def sam_folder(tmp_path_factory):
    """SAM 2 of hardly any size, with random weights."""
    from transformers import Sam2Config, Sam2Model

    config = Sam2Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": 8,
                "num_attention_heads": 1,
                "image_size": [64, 64],
                "blocks_per_stage": [1, 1, 1, 2],
                "embed_dim_per_stage": [8, 16, 32, 64],
                "num_attention_heads_per_stage": [1, 1, 2, 2],
                "window_size_per_stage": [8, 4, 4, 4],
                "global_attention_blocks": [4],
                "window_positional_embedding_background_size": [2, 2],
            },
            "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
            "fpn_hidden_size": 16,
        },
        prompt_encoder_config={"hidden_size": 16, "image_size": 64, "patch_size": 16, "mask_input_channels": 8},
        mask_decoder_config={"hidden_size": 16, "mlp_dim": 16, "num_attention_heads": 2, "iou_head_hidden_dim": 16},
    )
    folder = tmp_path_factory.mktemp("sam")
    torch.manual_seed(0)
    Sam2Model(config).save_pretrained(folder)
    return folder


def test_sam_finds_an_area_of_the_pictures_size(sam_folder):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 70, 3)).astype(np.uint8))
    area = object_area(sam_folder, picture, np.array([(20, 20), (40, 30)]))
    assert area.shape == (50, 70)
    assert area.any()


def test_a_missing_segmentation_model_gets_one_sentence(tmp_path):
    with pytest.raises(BadInput, match="segmentation model") as error:
        object_area(tmp_path / "nothing", Image.new("RGB", (8, 8)), np.array([(2, 2)]))
    assert "\n" not in str(error.value)
