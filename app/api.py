"""The API: the same comparison as on the page, the models and the methods, as typed endpoints and MCP tools."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any, Literal

import gradio as gr
from anyio import to_thread

from app.runs.comparison import run
from app.runs.offered_methods import OFFERED, OWN, summary_of
from app.server.models import models_for
from app.server.pool import ModelPool
from app.server.refusals import Refusal, refusing
from app.settings import Settings
from profiling import Report
from skipcore import Vlm

RetainRule = Literal["saliency", "raster", "uniform", "random"]
if TYPE_CHECKING:
    MethodName = str
else:
    MethodName = Literal[(OWN, *OFFERED)]


def compare_endpoint(pool: ModelPool) -> Callable[..., Awaitable[dict[str, Any]]]:
    """The function behind the endpoint `/compare`."""

    async def compare(
        image: gr.FileData,
        question: str,
        num_retained: int | float | None = None,
        num_skipped: int | float | None = None,
        retain: RetainRule | None = None,
        text_attends_skipped: bool | None = None,
        max_new_tokens: int = 32,
        repeats: int = 1,
        method: MethodName | None = None,
        budget: float | None = None,
        then_skip_vision: bool = False,
        model: str | None = None,
    ) -> dict[str, Any]:
        """Ask one question about a picture, dense and with Skip-Vision or another method on the same weights, and
        measure both. The first four settings are of Skip-Vision; those left out are the model's own.

        Args:
            image: a picture file.
            question: what to ask about it.
            num_retained: visual tokens that run the whole decoder block: a count, or a share such as 0.2.
            num_skipped: those that skip the FFN and are dropped from the KV cache: count or share; others merged.
            retain: which tokens are retained: "saliency", "raster", "uniform" or "random".
            text_attends_skipped: whether text sees the skipped tokens while the prompt is read.
            max_new_tokens: longest answer, 1 to 256.
            repeats: timed runs per method, 1 to 20; times are medians.
            method: what is compared with dense; the settings above are of "SkipVision". Default: "SkipVision" where one
                of them is given, or else "own": what the model was calibrated or trained with, or else the preset, as
                on the page and the command line.
            budget: of any other method, a share from 0 to 1: of the visual tokens that it keeps (those of the last
                layers, where it drops in stages), of the layers that freeze them ("ShortV"), or of those that see them
                ("VTW"). Default: what the method's authors chose, or near it.
            then_skip_vision: let Skip-Vision, with its settings, follow any other method.
            model: name of a loaded model, as "models" lists them. Default: the one that always runs here.

        Returns:
            The report: both answers, times, FLOPs and KV bytes (measured and predicted), and what was saved.
        """
        settings = Settings(
            num_retained,
            num_skipped,
            retain,
            text_attends_skipped,
            max_new_tokens,
            repeats,
            method,
            budget,
            then_skip_vision,
        )
        try:
            with refusing(), pool.running(model) as chosen:
                report = await report_of(chosen.vlm, image, question, settings)
        except Refusal as refusal:
            raise gr.Error(str(refusal), print_exception=False) from refusal
        if report is None:
            raise gr.Error("The run was stopped before it had ended: ask again.", print_exception=False)
        return report.to_dict()

    return compare


async def report_of(vlm: Vlm, picture: Any, question: str, settings: Settings) -> Report | None:
    """The report of a comparison that runs on another thread; None where it was stopped.

    Cancelling this stops the run before the next layer: Gradio does so when the client cancels its job.

    Raises:
        Refusal: see `app.runs.comparison.run`.
    """
    stop = threading.Event()

    def last_event() -> Report | None:
        with closing(run(vlm, picture, question, settings, stop)) as events:
            return next((event for event in events if isinstance(event, Report)), None)

    try:
        return await to_thread.run_sync(last_event, abandon_on_cancel=True)
    finally:
        stop.set()


def models_endpoint(pool: ModelPool) -> Callable[[], list[dict[str, Any]]]:
    """The function behind the endpoint `/models`."""

    def models() -> list[dict[str, Any]]:
        """List vision-language models of the families that this software supports, and say which ones run here.

        Returns:
            One entry a model, the smallest first: name, family, number of weights, GiB that they take in bfloat16 and
            in float32, what it is good for, "runs_here" (always), the "address" on this server that opens the page with
            it where it is loaded, and for the one that always runs here where its setting for skipping comes from
            ("skipping").
        """
        return models_for(pool.first.vlm, pool.addresses)

    return models


def methods() -> list[dict[str, Any]]:
    """List the methods that "compare" can compare with dense.

    Returns:
        One entry a method: "name" for the argument "method", its title, what it does, and what the argument "budget"
        means to it with its usual value (null for Skip-Vision, which takes num_retained and num_skipped instead).
    """
    return [
        {"name": name, "title": method.name, "summary": summary_of(method), "budget": _budget_of(name)}
        for name, method in OFFERED.items()
    ]


def _budget_of(name: str) -> dict[str, Any] | None:
    budget = OFFERED[name].budget
    return None if budget is None else {"means": budget.means, "usual": budget.usual}
