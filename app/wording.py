"""Numbers and findings in words. Plain text: escape it before it goes into HTML."""

from __future__ import annotations

from profiling import Report, Savings
from profiling.output.table import NOT_AVAILABLE, shown
from skipcore import Role, SkipVision, Vlm

ROLE_NAMES = {Role.TEXT: "text", Role.RETAINED: "retained", Role.SUMMARY: "summary", Role.SKIPPED: "skipped"}
_SPLIT_NAMES = {
    "test": "scenes, test",
    "combinations": "scenes, new combinations",
    "style": "scenes, new art style",
    "easy-vqa": "easy-VQA, test",
}


def skipped_tokens_sentence(method: SkipVision) -> str:
    """What skipped tokens do under a method."""
    if method.layers is None and not method.attention_layers:
        return "Run attention only and leave the KV cache." if method.skip_kv else "Run attention only."
    count = None if method.layers is None else len(method.layers)
    ffn = "every layer" if count is None else "1 layer" if count == 1 else f"{count} layers"
    where = f"Skip the FFN in {ffn} and the attention in {len(method.attention_layers)}"
    return f"{where}, and leave the KV cache." if method.skip_kv else f"{where}."


def skipping_sentence(vlm: Vlm) -> str:
    """What skips and why, for a model that was not trained for skipping; else empty."""
    if vlm.skipping_source == "trained":
        return ""
    advice = " `python -m skipcore calibrate` measures on your own pictures what suits this model."
    return vlm.skipping_reason + advice * (vlm.skipping_source == "preset")


def split_name(name: str) -> str:
    """A split of the evaluation as people say it: "combinations" → "scenes, new combinations"."""
    return _SPLIT_NAMES.get(name.lower().replace("_", "-"), name)


def accuracy(value: float | None) -> str:
    """0.9637 → "96.4%", a dash where nothing was asked."""
    return "–" if value is None else f"{100 * value:.1f}%"


def milliseconds(value: float | None) -> str:
    """ "48 ms", "7.3 ms", "1.20 s"."""
    if value is None:
        return NOT_AVAILABLE
    if value >= 1000:
        return f"{value / 1000:.2f} s"
    return f"{value:.0f} ms" if value >= 20 else f"{value:.1f} ms"


def size(value: float | None) -> str:
    """Bytes in decimal units: "467 kB", "2.41 MB"."""
    return NOT_AVAILABLE if value is None else _in_units(value, "B", {"GB": 1e9, "MB": 1e6, "kB": 1e3})


def operations(value: float) -> str:
    """FLOPs: "1.71 GFLOP"."""
    return _in_units(value, "FLOP", {"TFLOP": 1e12, "GFLOP": 1e9, "MFLOP": 1e6})


def _in_units(value: float, smallest: str, units: dict[str, float]) -> str:
    """A value in the largest unit that it reaches, to three digits."""
    for unit, factor in units.items():
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value:.0f} {smallest}"


def pace(tokens_per_second: float | None) -> str:
    """ "314 tokens/s"."""
    return shown(tokens_per_second, "{:.3g} tokens/s")


def change(saved: float | None) -> str:
    """A share saved as a change: 0.53 → "−53%", −0.08 → "+8%"."""
    if saved is None:
        return NOT_AVAILABLE
    percent = round(saved * 100)
    return "±0%" if percent == 0 else f"{'−' if percent > 0 else '+'}{abs(percent)}%"


def share(value: float | None) -> str:
    """0.87 → "87%"."""
    return NOT_AVAILABLE if value is None else f"{round(value * 100)}%"


def saving_sentence(report: Report) -> str:
    """The headline: what the last arm saved against the first, and how much of it became time."""
    first, last = report.arms[0], report.arms[-1]
    saved = report.savings.get(last.name)
    if saved is None:
        return "Only one method ran, so there is nothing to compare."
    same = first.answer.strip() == last.answer.strip()
    answers = "The same answer" if same else "A different answer"
    first_token = _faster_or_slower(saved.ttft)
    return f"{answers}, its first token {first_token}. {flops_sentence(saved)}"


def flops_sentence(saved: Savings) -> str:
    """How much of the FLOP saving became time."""
    if saved.flops_turned_into_time is None:
        return "No prefill FLOPs were saved with these settings."
    if saved.flops_turned_into_time <= 0:
        return f"It saves {share(saved.flops_prefill)} of the prefill FLOPs, but none of that became time."
    return (
        f"It saves {share(saved.flops_prefill)} of the prefill FLOPs, "
        f"and {share(saved.flops_turned_into_time)} of that saving became time."
    )


def conditions_sentence(report: Report) -> str:
    """What the figures were measured on."""
    device = report.device
    runs = "one timed run" if report.repeats == 1 else f"median of {report.repeats} timed runs"
    threads = f", {device['threads']} CPU thread{'s' * (device['threads'] != 1)}" if device["kind"] == "cpu" else ""
    return (
        f"Measured on {device['name']} ({device['dtype']}{threads}): {runs} each, in turns, after a warm-up. "
        f"Model: {report.model}.{''.join(f' {note}' for note in report.notes)}"
    )


def recorded_sentence(report: Report) -> str:
    """Where a recorded report comes from, and what to look for in it."""
    return (
        f"Recorded on {report.device['name']}. Look for what changes in the answer when few tokens run in "
        "full: below, the picture shows which. Press Ask to measure it yourself."
    )


def _faster_or_slower(saved: float) -> str:
    percent = round(abs(saved) * 100)
    if percent == 0:
        return "just as soon"
    return f"{percent}% {'sooner' if saved > 0 else 'later'}"
