"""A report as files for other programs: JSON, CSV and a trace that Perfetto and Chrome open. Report in, text out."""

from __future__ import annotations

import csv
import json
from io import StringIO
from typing import Any

from profiling.report import Report

_FIGURES = (
    "new_tokens", "vision_ms", "prefill_ms", "ttft_ms", "tpot_ms", "decode_tokens_per_s", "kv_tokens", "kv_bytes",
    "kv_bytes_predicted", "flops_prefill", "flops_prefill_predicted", "peak_memory_bytes", "energy_j",
)  # fmt: skip
_SPREADS = tuple(
    (phase, figure)
    for phase in ("vision_ms", "prefill_ms", "ttft_ms", "tpot_ms")
    for figure in ("runs", "p90", "min", "max")
)
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def json_text(report: Report) -> str:
    """Return the report as `--json` prints it."""
    return json.dumps(report.to_dict(), indent=2, ensure_ascii=False)


def csv_text(report: Report) -> str:
    """Return one row an arm: what it ran on, every figure (medians), and the spread of every time, with the number of
    its runs: the vision tower may have been timed less often than the rest. None is an empty cell."""
    file = StringIO()
    head = ["model", "device", "dtype", "threads", "torch", "transformers", "prompt_tokens", "repeats", "arm"]
    spreads = [f"{phase.removesuffix('_ms')}_{figure}{'_ms' * (figure != 'runs')}" for phase, figure in _SPREADS]
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow([*head, *_FIGURES, *spreads, "answer"])
    device, versions = report.device, report.versions
    shared = [report.model, device["name"], device["dtype"], device["threads"]]
    shared += [versions["torch"], versions["transformers"], report.prompt_tokens, report.repeats]
    for arm in report.arms:
        figures = [getattr(arm, name) for name in _FIGURES]
        spread = [getattr(arm.spread[phase], each) if phase in arm.spread else None for phase, each in _SPREADS]
        is_formula = arm.answer.startswith(_FORMULA_STARTS)  # to a spreadsheet; an apostrophe makes it text
        rows.writerow([*shared, arm.name, *figures, *spread, f"'{arm.answer}" if is_formula else arm.answer])
    return file.getvalue()


def chrome_trace(report: Report) -> str:
    """Return every timed run as trace events: an arm is a process, a run a thread, a phase or a token a slice.

    Written from the measured durations of each step, laid end to end: gaps between steps are not in it. The vision
    tower ran on a clock of its own, not in these runs: its slice is the median of its times, and says of how many.
    """
    events: list[dict[str, Any]] = []
    for process, arm in enumerate(report.arms, start=1):
        events.append({"ph": "M", "name": "process_name", "pid": process, "tid": 0, "args": {"name": arm.name}})
        of_phase = {
            "vision": {"median of": arm.spread["vision_ms"].runs},
            "prefill": {"FLOPs": arm.flops_prefill, "KV bytes": arm.kv_bytes},
        }
        for run, token_ms in enumerate(arm.run_token_ms, start=1):
            events.append(
                {"ph": "M", "name": "thread_name", "pid": process, "tid": run, "args": {"name": f"timed run {run}"}}
            )
            start = 0.0
            names = ["vision", "prefill", *(f"decode {number}" for number in range(2, len(token_ms) + 1))]
            for name, ms in zip(names, (arm.vision_ms, *token_ms), strict=True):
                slice_ = {"ph": "X", "name": name, "cat": name.split()[0], "pid": process, "tid": run}
                events.append(slice_ | {"ts": 1000 * start, "dur": 1000 * ms, "args": of_phase.get(name, {})})
                start += ms
    about = {"model": report.model, "device": report.device["name"], "question": report.question}
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ms", "otherData": about}, ensure_ascii=False)
