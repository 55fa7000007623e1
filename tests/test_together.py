"""Several edits at once: the same results as one by one, fewer passes, and nobody suffers from another's mishap."""

import gc
import threading
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from gooddrag import edit, iter_edit
from gooddrag.adapter import applied, each_with_its_own
from gooddrag.errors import BadInput, EditFailed
from gooddrag.lora import train_identity
from gooddrag.methods import DragDiffusion, DragNoise, FastDrag, FreeDrag, LoraSettings, SdeDrag
from gooddrag.result import Result
from gooddrag.steps import Denoised, Dragged, Finished, Learned
from gooddrag.task import DragTask
from gooddrag.together import Batch, edit_together, iter_together
from tests.conftest import make_tiny_backbone


def another(task: DragTask, seed: int) -> DragTask:
    picture = np.random.default_rng(seed).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    return DragTask(picture, [(20 + seed, 30)], [(34, 26 + seed)], task.mask, f"noise {seed}")


@pytest.fixture
def exact():
    """The tiny engine in double precision: in single precision Adam makes large steps of the least rounding."""
    return make_tiny_backbone(torch.float64)


def same(one: Result, other: Result) -> bool:
    """The same points and losses at each step, and the same picture."""
    a, b = one.trace.table, other.trace.table
    numbers = np.allclose(a[["x", "y", "loss_drag"]], b[["x", "y", "loss_drag"]], rtol=1e-6, equal_nan=True)
    return a["phase"].equals(b["phase"]) and numbers and one.image.tobytes() == other.image.tobytes()


@pytest.fixture
def passes(tiny, monkeypatch):
    """The batch size of each pass of the U-Net."""
    sizes: list[int] = []
    hook = tiny.unet.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    yield sizes
    hook.remove()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"lora": LoraSettings(steps=2, rank=2)},
        {"supervision": "standard", "eta": 1.0, "hold_outside": True, "mutual_attention": "always"},
        {"mask_term": "latent", "schedule": "drag_then_denoise"},
        {"source_path": "inverted", "lora": LoraSettings(steps=2, rank=2)},
    ],
    ids=["plain", "adapters", "other supervision", "early exit", "inversion's path"],
)
def test_together_edits_come_out_as_one_by_one(exact, task, quick, changes):
    method = quick.with_settings(**changes)
    jobs = [(task, method), (another(task, 1), method.with_settings(seed=1)), (another(task, 2), method)]
    together = edit_together(exact, jobs, use_cache=False)
    for (its_task, its_method), found in zip(jobs, together, strict=True):
        assert same(found, edit(exact, its_task, its_method, use_cache=False))


def test_edits_that_go_in_step_take_as_many_passes_as_one(tiny, task, quick, passes):
    edit(tiny, task, quick, use_cache=False)
    alone = len(passes)
    assert set(passes) == {1}
    passes.clear()
    edit_together(tiny, [(another(task, seed), quick) for seed in range(3)], use_cache=False)
    assert len(passes) == alone
    assert set(passes) == {3}


def test_methods_strengths_and_sizes_may_differ(exact, task, quick):
    wide = DragTask(np.asarray(task.image.resize((96, 64))), task.handles, task.targets)
    jobs = [
        (task, quick),
        (task, quick.with_settings(strength=0.6)),
        (wide, quick),
        (task, DragDiffusion(steps=10, strength=0.6, drags=3, r1=1, r2=3, lora=None)),
        (task, FreeDrag(steps=10, strength=0.6, drags=2, r1=2, supervision_steps=2, lora=None)),
        (task, FastDrag(steps=10, strength=0.6)),
    ]
    for (its_task, method), found in zip(jobs, edit_together(exact, jobs, use_cache=False), strict=True):
        assert same(found, edit(exact, its_task, method, use_cache=False)), method


def test_one_that_fails_leaves_its_reason_and_the_others_go_on(exact, task, quick, monkeypatch):
    from gooddrag.loop import GradientEdit

    whole, drags = GradientEdit._drag, []

    def drag(self, i):
        drags.append(self)
        if self.method.seed == 1 and self.drags_done == 1:
            raise EditFailed("It broke.")
        return whole(self, i)

    monkeypatch.setattr(GradientEdit, "_drag", drag)
    broken, sound = edit_together(exact, [(task, quick.with_settings(seed=1)), (task, quick)], use_cache=False)
    assert isinstance(broken, EditFailed)
    monkeypatch.undo()
    assert same(sound, edit(exact, task, quick, use_cache=False))


def test_a_pass_that_fails_fails_for_those_who_asked(tiny, task, quick, monkeypatch):
    def forward(*_, **__):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(tiny.unet, "forward", forward)
    found = edit_together(tiny, [(task, quick), (task, quick)], use_cache=False)
    assert [str(error) for error in found] == ["out of memory"] * 2
    assert not any(thread.name == "lane" for thread in threading.enumerate())


@pytest.mark.parametrize("at", [Learned, Dragged, Denoised])
def test_closing_the_stream_ends_all_edits_and_leaves_the_model_as_it_was(tiny, task, quick, at):
    before = {name: value.clone() for name, value in tiny.unet.state_dict().items()}
    method = quick.with_settings(lora=LoraSettings(steps=3, rank=2))
    stream = iter_together(tiny, [(task, method), (another(task, 1), method)], use_cache=False)
    next(news for _, news in stream if isinstance(news, at))
    stream.close()
    assert not any(thread.name == "lane" for thread in threading.enumerate())
    after = tiny.unet.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in tiny.unet.modules())
    edit(tiny, task, quick, use_cache=False)  # nobody is at work any more


def test_a_step_shows_and_finishes_its_own_edit(exact, task, quick):
    """Pictures that are asked for while all wait: the same as those of an edit by itself."""
    seen: dict[int, list] = {0: [], 1: []}
    jobs = [(task, quick), (another(task, 1), quick)]
    for k, news in iter_together(exact, jobs, use_cache=False):
        if isinstance(news, Dragged) and news.drag == 3:
            seen[k] = [news.preview(), news.finish()]
    for k, (its_task, method) in enumerate(jobs):
        stream = iter_edit(exact, its_task, method, use_cache=False)
        step = next(s for s in stream if isinstance(s, Dragged) and s.drag == 3)
        for here, alone in zip(seen[k], (step.preview(), step.finish()), strict=True):
            assert here.tobytes() == alone.tobytes()
        stream.close()


def test_passes_are_given_back_as_the_edits_go_on(tiny, task, quick, monkeypatch):
    """What a pass keeps for gradients is large: it must go with the step that needed it, and not wait for gc."""
    made: list[weakref.ref] = []
    monkeypatch.setattr(
        Batch, "__init__", lambda self, z, out: (vars(self).update(z=z, out=out), made.append(weakref.ref(self)))[0]
    )
    most = 0
    gc.disable()
    try:
        for _ in iter_together(tiny, [(task, quick), (another(task, 1), quick)], use_cache=False):
            most = max(most, sum(batch() is not None for batch in made))
    finally:
        gc.enable()
    assert len(made) > 20
    assert most <= 3


def test_steps_come_in_the_same_order_every_time(tiny, task, quick):
    def order():
        jobs = [(task, quick), (another(task, 1), quick.with_settings(drags=2))]
        return [(k, type(news).__name__) for k, news in iter_together(tiny, jobs, use_cache=False)]

    first = order()
    assert first == order()
    assert [name for k, name in first if k == 1].count("Dragged") == 2
    assert first[-1] == (0, "Finished") or first[-1] == (1, "Finished")
    assert sum(name == "Finished" for _, name in first) == 2


def test_the_same_jobs_give_the_same_bytes(tiny, task, quick):
    jobs = [(task, quick), (another(task, 1), quick)]
    one, other = (edit_together(tiny, jobs, use_cache=False) for _ in range(2))
    assert [r.image.tobytes() for r in one] == [r.image.tobytes() for r in other]


@pytest.mark.parametrize("method", [SdeDrag(lora=None), DragNoise(lora=None)], ids=["sdedrag", "dragnoise"])
def test_a_method_that_changes_the_network_is_refused(tiny, task, quick, method):
    with pytest.raises(BadInput, match="by itself"):
        edit_together(tiny, [(task, quick), (task, method)])


def test_bad_input_of_one_is_no_matter_of_the_others(tiny, task, quick):
    nowhere = replace(task, targets=task.handles)
    refused, found = edit_together(tiny, [(nowhere, quick), (task, quick)], use_cache=False)
    assert isinstance(refused, BadInput)
    assert isinstance(found, Result)


def test_nobody_else_may_be_at_work(tiny, task, quick):
    *_, adapter = train_identity(tiny, torch.randn(1, 4, 16, 16), LoraSettings(steps=1, rank=1))
    with applied(tiny.unet, adapter), pytest.raises(BadInput, match="another edit"):
        edit_together(tiny, [(task, quick)])


def test_each_row_of_a_batch_goes_by_its_own_adapter(tiny):
    z = torch.randn(3, 4, 16, 16)
    settings = LoraSettings(steps=2, rank=2, lr=1e-1)
    adapters = [list(train_identity(tiny, z[k : k + 1], settings, seed=k))[-1] for k in range(3)]
    with torch.no_grad():
        with each_with_its_own(tiny.unet, adapters):
            found = tiny.raw_predict(z, 401)
        for k, adapter in enumerate(adapters):
            with applied(tiny.unet, adapter):
                torch.testing.assert_close(found[k : k + 1], tiny.raw_predict(z[k : k + 1], 401), atol=1e-4, rtol=1e-3)
        assert not torch.allclose(found, tiny.raw_predict(z, 401), atol=1e-3)


def test_an_adapter_learned_alone_is_found_again_but_no_path_is_kept(tiny, task, quick):
    method = quick.with_settings(lora=LoraSettings(steps=2, rank=2), seed=77)
    edit(tiny, task, method.with_settings(strength=0.5))
    names = [type(news).__name__ for _, news in iter_together(tiny, [(task, method)])]
    assert "Learned" not in names
    assert "Inverted" in names
    assert "Inverted" in [type(news).__name__ for _, news in iter_together(tiny, [(task, method)])]


def test_an_edit_of_none_is_none(tiny):
    assert edit_together(tiny, []) == []


def test_finished_comes_once_for_each(tiny, task, quick):
    ends = [k for k, news in iter_together(tiny, [(task, quick)] * 3, use_cache=False) if isinstance(news, Finished)]
    assert sorted(ends) == [0, 1, 2]
