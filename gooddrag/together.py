"""Several edits at once: what they ask of the U-Net is asked together, as a batch.

Each edit is the stream of steps that it always is, but its backbone is a `Lane`, which doesn't ask the U-Net itself: it
says what it wants to know, and waits. When all lanes wait, those that are behind get their answers, in as few passes as
there are kinds of questions; the others wait for them to catch up. On the way back of a gradient it is the same.

Lanes are threads, but only so that each can wait in the middle of its work: there is one baton, and whoever has it
runs. So nothing needs a lock, and things happen in the same order every time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, fields
from functools import cached_property
from queue import SimpleQueue
from typing import Any, ClassVar

import torch
from torch import Tensor

from gooddrag.adapter import Weights, each_with_its_own, layers_of, refuse_adapted
from gooddrag.backbone import Backbone, Look
from gooddrag.editor import Editing
from gooddrag.errors import BadInput
from gooddrag.methods import Method
from gooddrag.result import Recorder, Result
from gooddrag.steps import Started, Step
from gooddrag.task import DragTask

Job = tuple[DragTask, Method]


def edit_together(backbone: Backbone, jobs: Sequence[Job], *, use_cache: bool = True) -> list[Result | Exception]:
    """Run several edits to their end; an edit that can't be done or fails leaves its error, and the others go on.

    Results are those of `edit`, up to rounding, which differs between batches. Whether it is faster depends on how busy
    the device is with one picture: `benchmarks/together.py` measures that. Memory grows with the number of edits.

    Parameters
    ----------
    backbone, jobs
        One engine; for each edit its task and its method. Tasks and settings may differ, but only passes with latents
        of the same size are made together.
    use_cache
        Keep adapters on disk. Source paths aren't kept: their rounding depends on the company.

    Raises
    ------
    BadInput
        When a method acts on the U-Net itself and so needs it alone, or an edit is at work already.
    """
    recorders = [Recorder(task, method, backbone) for task, method in jobs]
    failed: dict[int, Exception] = {}
    with closing(iter_together(backbone, jobs, use_cache=use_cache)) as stream:
        for k, news in stream:
            if isinstance(news, Exception):
                failed[k] = news
            else:
                recorders[k].see(news)
    return [failed.get(k) or recorder.result() for k, recorder in enumerate(recorders)]


def iter_together(
    backbone: Backbone, jobs: Sequence[Job], *, use_cache: bool = True
) -> Generator[tuple[int, Step | Exception], None, None]:
    """Several edits as one stream: the number of an edit and its next step, or the error that ended it.

    Arguments and errors as for `edit_together`. Closing the stream ends all edits and leaves the model as it was.
    """
    refuse_adapted(backbone.unet)
    for _, method in jobs:
        if not method.abilities.together:
            raise BadInput(f"{method.name} changes the network while it drags, so it can't share it: run it by itself.")
    desks: dict[Desk, int] = {}
    try:
        for k, (task, method) in enumerate(jobs):
            desk = Desk()
            try:
                desk.open(Editing(Lane.of(backbone, desk), task, method, use_cache=use_cache))
                desks[desk] = k
            except BadInput as error:
                yield k, error
        answers: dict[Desk, Any] = dict.fromkeys(desks)
        questions: dict[Desk, Question | WayBack] = {}
        while answers:
            for desk, answer in answers.items():
                for news in desk.go_on(answer):
                    if isinstance(news, Question | WayBack):
                        questions[desk] = news
                    else:
                        yield desks[desk], news
            behind = min(map(_progress, questions.values()), default=None)
            answers = _answered(
                {d: questions.pop(d) for d in desks if d in questions and _progress(questions[d]) == behind}
            )
    finally:
        for desk in desks:
            desk.leave()


# Questions and answers


@dataclass(eq=False)
class Question:
    """What a lane wants of the U-Net for z (1, C, h, w) at timestep t."""

    backbone: Backbone
    z: Tensor
    t: int
    noise: bool
    features: bool
    records: bool
    adapter: Weights
    borrowed: Sequence[Tensor] | None
    gradients: bool
    dragging: bool  # inversion and source path are behind

    @property
    def kind(self) -> tuple[Any, ...]:
        """Questions of one kind can be answered by one pass."""
        adapter = tuple((name, self.adapter[f"{name}.up"].shape) for name in layers_of(self.adapter))
        wants = (self.noise, self.features, self.records, self.gradients, self.borrowed is not None)
        return id(self.backbone), self.z.shape, wants, adapter


@dataclass(eq=False)
class Batch:
    """A pass with gradients: z (B, C, h, w), and what came out, still tied to it."""

    z: Tensor
    out: list[Tensor]


@dataclass(eq=False)
class Answer:
    """A lane's row of what came out, and what its late self-attention saw, where that was recorded."""

    out: list[Tensor]
    recorded: list[Tensor]
    batch: Batch
    row: int


@dataclass(eq=False)
class WayBack:
    """A lane asks what its row's gradient is at z, given those at what came out."""

    batch: Batch
    row: int
    gradients: tuple[Tensor, ...]


def _progress(question: Question | WayBack) -> int:
    """Inversion, source path, drag, denoise: of two edits the one that has the smaller number isn't as far."""
    if isinstance(question, WayBack):
        return 2
    return 2 * question.dragging + (question.features != question.dragging)


def _answered(questions: Mapping[Desk, Question | WayBack]) -> dict[Desk, Any]:
    """Every question's answer, or the error that stands in its way."""
    groups: dict[Any, list[Desk]] = {}
    for desk, question in questions.items():
        groups.setdefault(question.kind if isinstance(question, Question) else question.batch, []).append(desk)
    answers: dict[Desk, Any] = {}
    for desks in groups.values():
        asked: list[Any] = [questions[desk] for desk in desks]
        work: Callable[[list[Any]], Sequence[Any]] = _forward if isinstance(asked[0], Question) else _backward
        try:
            answers |= zip(desks, work(asked), strict=True)
        except Exception as error:  # such as: out of memory. It belongs to those who asked
            answers |= dict.fromkeys(desks, error)
    return answers


def _forward(asked: list[Question]) -> list[Answer]:
    """One pass for questions of one kind."""
    first, backbone = asked[0], asked[0].backbone
    z = torch.cat([question.z.detach() for question in asked])
    t = torch.tensor([question.t for question in asked], device=z.device)
    with ExitStack() as stack, torch.set_grad_enabled(first.gradients):
        z.requires_grad_(first.gradients)
        if first.adapter:
            stack.enter_context(each_with_its_own(backbone.unet, [question.adapter for question in asked]))
        if first.borrowed is not None:
            layers = zip(*(question.borrowed or () for question in asked), strict=True)
            stack.enter_context(backbone.borrowing([torch.cat(tokens) for tokens in layers]))
        recorded = stack.enter_context(backbone.recording()) if first.records else []
        if first.noise:
            look = backbone.predict(z, t, features=first.features)
            out = [look.eps] if look.features is None else [look.eps, look.features]
        else:
            out = [backbone.features(z, t)]
    batch = Batch(z, out)
    return [
        Answer([each.detach()[row : row + 1] for each in out], [x[row : row + 1] for x in recorded], batch, row)
        for row in range(len(asked))
    ]


def _backward(asked: list[WayBack]) -> Sequence[Tensor]:
    """One way back for all rows of a batch that ask for it; the others count nothing.

    The batch keeps its activations until no lane holds it any more, so that one may still come later.
    """
    batch = asked[0].batch
    totals = [torch.zeros_like(each) for each in batch.out]
    for question in asked:
        for total, gradient in zip(totals, question.gradients, strict=True):
            total[question.row] = gradient[0]
    (gradient,) = torch.autograd.grad(batch.out, batch.z, totals, retain_graph=True)
    return [gradient[question.row : question.row + 1] for question in asked]


# Lanes


class Desk:
    """Where one edit's thread and `iter_together` hand each other questions, answers and steps."""

    def __init__(self) -> None:
        self.adapter: Weights = {}
        self.borrowed: Sequence[Tensor] | None = None
        self.recorded: list[Tensor] | None = None
        self.started = False
        self.over = True
        self._in: SimpleQueue[Any] = SimpleQueue()
        self._out: SimpleQueue[Any] = SimpleQueue()

    def open(self, editing: Editing) -> None:
        """Make the thread; it begins at the first `go_on`."""
        self.over = False
        self._thread = threading.Thread(target=self._work, args=(editing,), name="lane", daemon=True)
        self._thread.start()

    def go_on(self, answer: Any) -> Iterator[Question | WayBack | Step | Exception]:
        """Hand over the baton, with the answer to the last question: steps, until there is a question or an end."""
        self._in.put(answer)
        while isinstance(news := self._out.get(), Step):
            self.started = self.started or isinstance(news, Started)
            yield news
            self._in.put(None)
        if isinstance(news, _End):
            self.over = True
            if news.error is not None:
                yield news.error
        else:
            yield news

    def leave(self) -> None:
        """End the edit wherever it is."""
        while not self.over:
            self._in.put(_Left())
            self.over = isinstance(self._out.get(), _End)

    def ask(self, question: Question | WayBack) -> Any:
        """Called by the lane: wait for the answer. Anybody else, who wants a preview of a step, gets it at once."""
        if threading.current_thread() is not self._thread:
            answer = _answered({self: question})[self]
        else:
            self._out.put(question)
            answer = self._in.get()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _work(self, editing: Editing) -> None:
        error: Exception | None = None
        try:
            self._take_baton()
            # Gradients are computed by the thread that asks for them, also on a GPU: others would wait for each other.
            with torch.autograd.set_multithreading_enabled(False), closing(editing.steps()) as stream:
                for step in stream:
                    self._out.put(step)
                    self._take_baton()
        except _Left:
            pass
        except Exception as failure:
            error = failure
        self._out.put(_End(error))

    def _take_baton(self) -> None:
        if isinstance(order := self._in.get(), _Left):
            raise order


@dataclass(frozen=True)
class _End:
    error: Exception | None


class _Left(BaseException):
    """Unwinds a lane whose edit nobody wants any more."""


@dataclass(frozen=True, eq=False)
class Lane(Backbone):
    """A backbone that asks the U-Net together with others, through its desk."""

    keeps_paths: ClassVar[bool] = False

    base: Backbone = field(kw_only=True)
    desk: Desk = field(kw_only=True)

    @classmethod
    def of(cls, base: Backbone, desk: Desk) -> Lane:
        return cls(**{f.name: getattr(base, f.name) for f in fields(Backbone)}, base=base, desk=desk)

    def __post_init__(self) -> None:
        """Nothing: the network is ready, as it is the base's."""

    @property
    def fingerprint(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.base.fingerprint

    @cached_property
    def unprompted(self) -> Backbone:
        return Lane.of(self.base.unprompted, self.desk)

    def predict(self, z: Tensor, t: int | Tensor, features: bool = False) -> Look:
        return Look(*self._ask(z, t, noise=True, features=features))

    def features(self, z: Tensor, t: int | Tensor) -> Tensor:
        (F,) = self._ask(z, t, noise=False, features=True)
        return F

    def _ask(self, z: Tensor, t: int | Tensor, noise: bool, features: bool) -> list[Tensor]:
        desk, gradients = self.desk, z.requires_grad and torch.is_grad_enabled()
        records = desk.recorded is not None
        question = Question(
            self.base, z, int(t), noise, features, records, desk.adapter, desk.borrowed, gradients, desk.started
        )
        answer: Answer = desk.ask(question)
        if desk.recorded is not None:
            desk.recorded += answer.recorded
        return list(_Tied.apply(z, answer, desk)) if gradients else answer.out

    @contextmanager
    def adapted(self, weights: Weights) -> Iterator[None]:
        with _set(self.desk, "adapter", weights):
            yield

    @contextmanager
    def borrowing(self, source: Sequence[Tensor]) -> Iterator[None]:
        with _set(self.desk, "borrowed", source):
            yield

    @contextmanager
    def recording(self) -> Iterator[list[Tensor]]:
        inputs: list[Tensor] = []
        with _set(self.desk, "recorded", inputs):
            yield inputs


@contextmanager
def _set(desk: Desk, name: str, value: Any) -> Iterator[None]:
    before = getattr(desk, name)
    setattr(desk, name, value)
    try:
        yield
    finally:
        setattr(desk, name, before)


class _Tied(torch.autograd.Function):
    """A lane's row of a batch, tied to the lane's own latent: gradients go back through the batch."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, answer: Answer, desk: Desk) -> tuple[Tensor, ...]:
        ctx.batch, ctx.row, ctx.desk = answer.batch, answer.row, desk  # without what is returned, which holds ctx
        return tuple(answer.out)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return ctx.desk.ask(WayBack(ctx.batch, ctx.row, gradients)), None, None
