"""memory="low": the same results in less memory, and the plan that says how much there has to be."""

from copy import deepcopy
from dataclasses import replace
from unittest.mock import Mock, patch

import pytest
import torch

from gooddrag import cli
from gooddrag.backbone import VaeCodec, attend_in_slices, from_pipeline, load_backbone
from gooddrag.diffusion import SourcePath, Timeline
from gooddrag.editor import edit
from gooddrag.errors import BadInput
from gooddrag.lora import train_identity
from gooddrag.methods import GoodDrag, LoraSettings
from gooddrag.plan import GB, _peak, _without_numbers, architecture_of, parse_size, plan
from tests.single_files import TINY, make_pipeline
from tests.test_backbone import QUICK, photo_task


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("sd")
    make_pipeline("sd15").save_pretrained(place)
    return place


@pytest.fixture(scope="module", params=["sd15", "sdxl"])
def two(request):
    """The same model with normal and with low memory."""
    return tuple(from_pipeline(make_pipeline(request.param), "tiny", memory=memory) for memory in ("normal", "low"))


def test_low_memory_edits_as_normal_memory_does(two):
    method = GoodDrag(**QUICK | {"lora": None}, per_denoise=2, mutual_attention="always")
    normal, low = (edit(backbone, photo_task(), method, use_cache=False) for backbone in two)
    a, b = (torch.tensor(list(result.image.convert("RGB").tobytes())).float() for result in (normal, low))
    assert (a - b).abs().max() <= 1
    columns = ["x", "y"]
    assert (normal.trace.drags[columns] - low.trace.drags[columns]).abs().to_numpy().max() < 1e-3


def exact(backbone):
    """A copy in double precision."""
    added = {name: value.double() for name, value in backbone.added.items()}
    return replace(backbone, unet=deepcopy(backbone.unet).double(), context=backbone.context.double(), added=added)


def test_low_memory_learns_the_same_adapter(two):
    """In double precision: AdamW would make whole steps of single precision's rounding, on some CPUs."""
    z, settings = torch.randn(1, 4, 8, 8).double(), LoraSettings(steps=2, rank=2, batch=3)
    (*losses, first), (*others, second) = (list(train_identity(exact(backbone), z, settings)) for backbone in two)
    assert losses == pytest.approx(others, rel=1e-4)
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, atol=1e-4, rtol=1e-3)


def kept_for_gradients(backbone, z):
    """Bytes that a pass keeps for its way back."""
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        look = backbone.predict(z.requires_grad_(), 401, features=True)
    (gradient,) = torch.autograd.grad(look.eps.square().sum() + look.features.square().sum(), z)
    return sum(kept.values()), gradient


def test_low_memory_keeps_less_for_the_same_gradients(two):
    z = torch.randn(1, 4, 32, 32)
    (much, wanted), (little, gradient) = (kept_for_gradients(backbone, z) for backbone in two)
    assert little < much / 2
    torch.testing.assert_close(gradient, wanted, atol=1e-5, rtol=1e-4)


def test_low_memory_keeps_the_source_for_one_timestep(two):
    for backbone, kept in zip(two, (3, 1), strict=True):
        path = SourcePath.denoise(backbone, torch.randn(1, 4, 8, 8), Timeline(4, 0.75))
        features = path.features(0)
        assert len(path._features) == len(path._attention) == kept
        assert torch.equal(features, path.features(0))


def test_attention_in_slices_gives_the_same_prediction(two):
    whole, sliced = (from_pipeline(make_pipeline("sd15"), "tiny") for _ in range(2))
    attend_in_slices(sliced.unet)
    z = torch.randn(1, 4, 8, 8)
    torch.testing.assert_close(sliced.predict(z, 401).eps, whole.predict(z, 401).eps, atol=1e-5, rtol=1e-4)


def test_a_parked_autoencoder_comes_for_its_work_and_goes_again():
    vae = TINY["sd15"].build_vae().eval()
    with patch.object(vae, "to", Mock(wraps=vae.to)) as moved:
        VaeCodec(vae, parked=True).decode(torch.randn(1, 4, 8, 8))
        assert [str(call.args[0]) for call in moved.call_args_list] == ["cpu", "cpu"]
        VaeCodec(vae).decode(torch.randn(1, 4, 8, 8))
        assert moved.call_count == 2


def test_the_switch_is_in_the_loader_and_knows_two_words(folder):
    assert load_backbone(folder, device="cpu", memory="low").unet.is_gradient_checkpointing
    assert not load_backbone(folder, device="cpu").unet.is_gradient_checkpointing
    with pytest.raises(BadInput, match="normal or low"):
        load_backbone(folder, device="cpu", memory="tiny")  # type: ignore[arg-type]


def test_the_command_line_hands_memory_and_autoencoder_on(tiny, task, tmp_path, monkeypatch):
    asked = Mock(return_value=tiny)
    monkeypatch.setattr("gooddrag.backbone.load_backbone", asked)
    task.write(tmp_path / "task")
    words = ["--memory", "low", "--vae", "other", "--set", "drags=1", "--set", "lora=null", "--set", "steps=4"]
    monkeypatch.setattr(
        "sys.argv", ["gooddrag", "edit", str(tmp_path / "task"), *words, "--out", str(tmp_path / "out")]
    )
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    assert asked.call_args.kwargs["memory"] == "low"
    assert str(asked.call_args.kwargs["vae"]) == "other"


def test_a_dry_run_counts_what_a_real_pass_takes():
    real = replace(from_pipeline(make_pipeline("sd15"), "tiny"), context=torch.zeros(1, 77, 64))
    z = torch.zeros(1, 4, 16, 24)

    def back(backbone, z):
        look = backbone.predict(z.clone().requires_grad_(), 500, features=True)
        (look.features.square().sum() + look.eps.square().sum()).backward()

    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        dry, nothing = _without_numbers(TINY["sd15"], "normal"), torch.zeros(1, 4, 16, 24)
        expected = _peak(lambda: back(dry, nothing))
    assert _peak(lambda: back(real, z)) == pytest.approx(expected, rel=0.03)


def test_the_plan_counts_weights_exactly_and_low_memory_lower():
    tiny = TINY["sd15"]
    much, little = (plan((128, 64), tiny, memory) for memory in ("normal", "low"))
    normal, low, half = (
        {phase.name: phase for phase in run.phases(dtype)}
        for run, dtype in ((much, torch.float32), (little, torch.float32), (little, torch.bfloat16))
    )
    parts = [tiny.build_unet(), tiny.build_vae(), *tiny.build_text_encoders()]
    assert normal["load"].weights == pytest.approx(sum(p.numel() for m in parts for p in m.parameters()) * 4 / GB)
    assert little.drag < much.drag / 1.5
    assert low["learn identity"].working < normal["learn identity"].working
    assert low["invert"].kept == pytest.approx(normal["invert"].kept / len(GoodDrag().timeline))
    assert all(half[name].total < low[name].total for name in half)


def test_sizes_and_models_that_cannot_be_planned_get_a_sentence(tmp_path):
    assert parse_size("512x768") == parse_size(" 512 × 768") == (512, 768)
    for wrong in (lambda: parse_size("512"), lambda: architecture_of("pocket"), lambda: architecture_of(str(tmp_path))):
        with pytest.raises(BadInput) as caught:
            wrong()
        assert str(caught.value).endswith(".")
    with pytest.raises(BadInput, match="sides from 8"):
        plan((4, 512), TINY["sd15"], "low")


def test_doctor_prints_a_plan(folder, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["gooddrag", "doctor", "--plan", "64x72", str(folder)])
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    shown = capsys.readouterr().out
    for word in ("load", "learn identity", "invert", "drag", "denoise", "decode", "peak", "bfloat16", "low"):
        assert word in shown
