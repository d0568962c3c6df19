"""A report as a table for people, on the command line."""

from __future__ import annotations

from collections.abc import Sequence

from profiling.report import Arm, Report

NOT_AVAILABLE = "not available"


def table_of(report: Report) -> str:
    """Return the report as plain text, one column an arm."""
    conditions, runs, *found = summary_lines(report)
    return "\n".join([conditions, runs, f"Question: {report.question}", "", *columns(table_rows(report)), "", *found])


def table_rows(report: Report) -> list[list[str]]:
    """Return the figures, one column an arm; the first row names the arms."""
    rows: list[list[str]] = [["", *(arm.name for arm in report.arms)]]
    return rows + [[title, *(show(arm) for arm in report.arms)] for title, show in _ROWS]


def summary_lines(report: Report) -> list[str]:
    """Say what was measured on what (two lines), what was saved, how far the arms agree, and what is not available."""
    device = report.device
    return [
        f"{report.model} on {device['name']} ({device['kind']}, {device['dtype']}, {device['attention']}, "
        f"{counted(device['threads'], 'CPU thread')})",
        f"torch {report.versions['torch']}, transformers {report.versions['transformers']}; median of "
        f"{counted(report.repeats, 'timed run')} per arm after {report.warmup_runs} warm-up, interleaved",
        *(_savings_line(report, name) for name in report.savings),
        *(agreement_line(report, name) for name in report.agreement),
        *([report.reason] if report.reason else []),
        f"Decoding: {report.decoding}.",
        *report.notes,
        *(f"{name}: {NOT_AVAILABLE}, {reason}." for name, reason in report.unavailable.items()),
    ]


def counted(number: int, name: str) -> str:
    """ "1 run", or "2 runs"."""
    return f"{number} {name}{'s' * (number != 1)}"


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align cells in lines, with a rule below the first."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [lines[0], "-" * max(len(line) for line in lines), *lines[1:]]


def _savings_line(report: Report, name: str) -> str:
    saved = report.savings[name]
    line = (
        f"{name} saves {saved.flops_prefill:.1%} of the prefill FLOPs, {saved.prefill_time:.1%} of the prefill time "
        f"and {saved.kv_bytes:.1%} of the KV cache."
    )
    if saved.flops_turned_into_time is None:
        return line
    return f"{line} {saved.flops_turned_into_time:.0%} of the FLOP saving became time."


def agreement_line(report: Report, name: str) -> str:
    """Say how far an arm agrees with the first one."""
    found = report.agreement[name]
    differ = (
        "the answers are the same"
        if found.first_difference is None
        else f"the answers first differ in token {found.first_difference}"
    )
    return (
        f"{name} agrees with {report.arms[0].name} on the likeliest next token at {found.top1:.0%} of "
        f"{found.positions} positions (KL {found.kl:.4f} nats); {differ}."
    )


def shown(value: float | None, form: str) -> str:
    """Format a value, such as by "{:,.2f} ms", or say that it is not available."""
    return NOT_AVAILABLE if value is None else form.format(value)


def _time(arm: Arm, name: str) -> str:
    spread = arm.spread.get(name)
    p90 = f" (p90 {spread.p90:,.2f})" if spread is not None and spread.runs > 1 else ""
    return shown(getattr(arm, name), "{:,.2f} ms") + p90


_ROWS = [
    ("Answer", lambda arm: arm.answer if len(arm.answer) <= 60 else arm.answer[:57] + "…"),
    ("New tokens", lambda arm: str(arm.new_tokens)),
    ("Vision", lambda arm: _time(arm, "vision_ms")),
    ("Prefill", lambda arm: _time(arm, "prefill_ms")),
    ("TTFT (median of vision + prefill)", lambda arm: _time(arm, "ttft_ms")),
    ("TPOT", lambda arm: _time(arm, "tpot_ms")),
    ("Decode", lambda arm: shown(arm.decode_tokens_per_s, "{:,.1f} tokens/s")),
    ("KV cache tokens", lambda arm: f"{arm.kv_tokens:,.0f}"),
    ("KV cache, measured", lambda arm: f"{arm.kv_bytes:,} B"),
    ("KV cache, predicted", lambda arm: f"{arm.kv_bytes_predicted:,} B"),
    ("Prefill FLOPs, counted", lambda arm: f"{arm.flops_prefill / 1e9:,.4f} G"),
    ("Prefill FLOPs, predicted", lambda arm: f"{arm.flops_prefill_predicted / 1e9:,.4f} G"),
    ("Peak memory", lambda arm: shown(arm.peak_memory_bytes, "{:,} B")),
    ("Energy", lambda arm: shown(arm.energy_j, "{:,.2f} J")),
]
