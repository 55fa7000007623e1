"""The way in: `iter_edit` yields every step of an edit, `edit` runs it to its end, `Editing` can stop and go on.

Notebooks, widgets, progress bars, recorders and the stop button are all consumers of the same stream. Closing the
stream stops the work at once and leaves the model bit for bit as it was.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from pkgutil import resolve_name

import torch
from torch import Tensor

from gooddrag import cache
from gooddrag.adapter import Weights, refuse_adapted
from gooddrag.backbone import Backbone
from gooddrag.diffusion import SourcePath, ddim_invert
from gooddrag.errors import BadInput
from gooddrag.features import Frame
from gooddrag.loop import Edit
from gooddrag.lora import identity_key, train_identity
from gooddrag.methods import GradientMethod, Method
from gooddrag.result import Result
from gooddrag.steps import Inverted, Learned, Step
from gooddrag.task import DragTask


def edit(backbone: Backbone, task: DragTask, method: Method, *, use_cache: bool = True, frames: int = 0) -> Result:
    """Run an edit to its end.

    Parameters
    ----------
    backbone, task, method
        See `load_backbone`, `DragTask` and `GoodDrag`.
    use_cache
        Keep adapter and source path on disk, so that the next edit of this picture starts at once.
    frames
        How many pictures along the way to keep for an animation. Each costs one denoising from where it is taken.
    """
    with closing(iter_edit(backbone, task, method, use_cache=use_cache)) as stream:
        return Result.collect(stream, task, method, backbone, frames=frames)


def iter_edit(
    backbone: Backbone, task: DragTask, method: Method, *, use_cache: bool = True
) -> Generator[Step, None, None]:
    """GoodDrag's algorithm, or that of a rival, as a stream of steps.

    Yields `Learned`, `Inverted`, `Started`, then in the order of the schedule drags (J times `Supervised`, `Dragged`)
    and `Denoised`, at last `Finished`. Fine-tuning and inversion are passed over where the cache has their result.

    Raises
    ------
    BadInput
        Before any work is done, when method and task do not fit, or another edit's adapter is in the model.
    EditFailed
        When the numbers break down (NaN), or compat="official" meets a border where the published code fails.
    """
    yield from Editing(backbone, task, method, use_cache=use_cache).steps()


class Editing:
    """An edit that can be left and gone on with. Arguments as for `iter_edit`.

    `steps()` is the stream of `iter_edit`. Between two streams the model is as it was without the edit. A stream that
    is opened after the first was closed goes on behind the last step, and what follows is bit for bit what would have
    followed; only fine-tuning and inversion start anew where they weren't at their end.
    """

    def __init__(self, backbone: Backbone, task: DragTask, method: Method, *, use_cache: bool = True):
        self.backbone, self.task, self.method, self.use_cache = backbone, task, method, use_cache
        self.schedule = method.steps_to_take()
        self._frame = Frame.fit(
            task.image.size,
            backbone.latent_scale,
            backbone.image_multiple,
            backbone.working_side,
            official=method.official,
        )
        _check_fit(task, self._frame, method)
        if isinstance(method, GradientMethod) and method.guidance != 1 and backbone.wordless is None:
            raise BadInput(
                f"Guidance needs a prompt, and '{backbone.name}' was loaded without one (pocket knows none): load the "
                "engine with a prompt that says what the picture is to become, or leave guidance at 1."
            )
        self._adapter: Weights | None = None if method.lora else {}
        self._edit: Edit | None = None

    def steps(self) -> Generator[Step, None, None]:
        """Begin, or go on."""
        backbone, method = self.backbone, self.method
        refuse_adapted(backbone.unet)
        z0 = backbone.encode(self._frame.to_tensor(self.task.image))
        if self._adapter is None:
            self._adapter = yield from _learn_identity(backbone, z0, method, self.use_cache)
        with backbone.adapted(self._adapter):
            if self._edit is None:
                path = SourcePath(backbone, method.timeline, [z0])
                if method.abilities.inverts:
                    path = yield from _source_path(backbone, z0, method, self.use_cache)
                kind: type[Edit] = resolve_name(method.loop)
                self._edit = kind(backbone, self.task, method, self._frame, path, self._adapter)
            yield from self._edit.run(self.schedule)


def _check_fit(task: DragTask, frame: Frame, method: Method) -> None:
    """Refuse what the method's abilities don't reach to."""
    able, name = method.abilities, method.name
    if len(task.handles) > 1 and not able.several:
        raise BadInput(
            f"{name} moves one handle, and this task has {len(task.handles)}: keep one, or change the method."
        )
    if task.via and not able.paths:
        raise BadInput(f"{name} drags straight, and this task has a path: take it away, or change the method.")
    if task.mask is not None and not able.mask:
        raise BadInput(f"{name} can't keep to a mask, and this task has one: take it away, or change the method.")
    if task.mask is not None and not able.handles_outside_mask:
        x, y = task.handles.round().astype(int).T
        if not task.mask[y, x].all():
            raise BadInput(f"{name} moves only what the mask covers, and a handle lies outside: draw the mask over it.")
    p0, g = (frame.to_cells(points) // able.grain for points in (task.handles, task.targets))
    if bool((p0 == g).all()) and not task.via:
        cell, least = "feature cell" if able.grain == 1 else "latent cell", able.grain * max(frame.pixels_per_cell)
        raise BadInput(
            f"Every target lies on its handle's own {cell}, so there is nothing to drag: "
            f"move a target at least {least:.0f} px away."
        )


def _learn_identity(backbone: Backbone, z0: Tensor, method: Method, use_cache: bool) -> Generator[Step, None, Weights]:
    assert method.lora is not None
    key = identity_key(backbone, z0, method.lora, method.seed)
    weights = cache.load("lora", key) if use_cache else None
    if weights is None:
        with closing(train_identity(backbone, z0, method.lora, method.seed)) as training:
            for number, news in enumerate(training, start=1):
                if isinstance(news, dict):
                    weights = news
                else:
                    yield Learned(number, method.lora.steps, news)
        assert weights is not None
        if use_cache:
            cache.store("lora", key, weights)
    return {name: value.to(backbone.device) for name, value in weights.items()}


def _source_path(backbone: Backbone, z0: Tensor, method: Method, use_cache: bool) -> Generator[Step, None, SourcePath]:
    lora = method.lora.model_dump() if method.lora else None
    timeline = method.timeline
    short_cut = isinstance(method, GradientMethod) and method.source_path == "inverted"
    seed = method.seed if lora else None
    key = cache.content_key("path", backbone.fingerprint, z0, lora, seed, timeline, short_cut)
    use_cache = use_cache and backbone.keeps_paths
    stored = cache.load("path", key) if use_cache else None
    if stored is not None:
        return SourcePath(backbone, timeline, list(stored["latents"].to(backbone.device).split(1)))
    walk = SourcePath.invert(backbone, z0, timeline) if short_cut else ddim_invert(backbone, z0, timeline)
    reached: SourcePath | Tensor = z0
    for number, further in enumerate(walk, start=1):
        yield Inverted(number, len(timeline))
        reached = further
    path = reached if isinstance(reached, SourcePath) else SourcePath.denoise(backbone, reached, timeline)
    if use_cache:
        cache.store("path", key, {"latents": torch.cat(path.latents)})
    return path
