"""The race itself: choose settings, ask questions, measure costs; what is recorded already is not done again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from statistics import fmean
from typing import Any

from profiling.compare import same_attention
from profiling.machine import device_facts
from profiling.race.accuracy import Outcome, measure_questions
from profiling.race.bisection import BASELINES, Choice, choose
from profiling.race.data import DataSet
from profiling.race.method_cost import measure_cost, prefill_flops
from profiling.race.processes import Process
from profiling.race.race_records import Records
from skipcore import METHODS, Dense, InputError, Method, SkipVision, Vlm
from skipcore.answering.batch import MAX_NEW_TOKENS, groups
from skipcore.builtin.evaluation.asked import AskedPicture
from skipcore.builtin.evaluation.finished import method_key
from skipcore.calibration.tuning import Examples
from skipcore.families import decoder_layers
from skipcore.json_lines import Line
from skipcore.methods.budget import Target
from skipcore.model.hardware import versions
from skipcore.progress_bar import progress_bar
from skipcore.provenance import model_sha256, now

PICTURES_IN_A_CHUNK = {"cpu": 12, "cuda": 50}
"""What is lost at most when a race is killed: about a minute."""
PICTURES_TO_TUNE_ON = 8
"""Of each data set."""


@dataclass(frozen=True)
class Race:
    """What is to be measured.

    Attributes:
        methods: names in `METHODS`; the baselines and Skip-Vision are always among them.
        budgets: shares of the dense prefill FLOPs.
        data: to ask.
        cost_prompts: so many prompts of each data set are timed; 0 for none.
        repeats: timed runs of each method on each of them.
        max_new_tokens: longest answer.
    """

    methods: Sequence[str]
    budgets: Sequence[float]
    data: Sequence[DataSet]
    cost_prompts: int = 2
    repeats: int = 5
    max_new_tokens: int = MAX_NEW_TOKENS

    def __post_init__(self) -> None:
        if unknown := [name for name in self.methods if name not in METHODS]:
            raise InputError(f"There is no method {unknown[0]!r}: take some of {', '.join(METHODS)}.")
        if not self.budgets or not all(0 < budget < 1 for budget in self.budgets):
            raise InputError("Budgets are shares of the dense prefill FLOPs between 0 and 1, such as 0.5 0.25 0.12.")
        if not self.data:
            raise InputError("Name at least one data set.")
        if len({data.name for data in self.data}) < len(self.data):
            raise InputError("Two data sets have one name: name each once, or rename a folder.")


def measure_race(vlm: Vlm, race: Race, output: Path, process: Process | None = None) -> Records:
    """Run a race, or this process's share of it, and record it as it goes.

    Times are measured by the main process alone, interleaved over all methods. On a CPU that several processes share
    those of one process depend on what the others do: times are left to a later run with one process.

    Args:
        output: a file that ends in .jsonl; processes but the main one write beside it.
        process: default: as the environment tells.

    Raises:
        InputError: a setting does not fit, or the records there are of something else.
    """
    process = process or Process.here()
    records = Records(output, process, header_of(vlm, race))
    for data in race.data:
        _record_data(records, data)
    with same_attention(vlm):
        methods = choose_all(vlm, race, records, process.is_main)
        _measure_quality(vlm, race, records, methods, process)
    if process.is_main and (process.count == 1 or vlm.device.type != "cpu"):
        _measure_costs(vlm, race, records, methods)
    return records


def header_of(vlm: Vlm, race: Race) -> Line:
    """The first line of a record."""
    device = device_facts(vlm)
    return {
        "model": vlm.name,
        "model_sha256": model_sha256(vlm),
        "dtype": device["dtype"],
        "max_new_tokens": race.max_new_tokens,
        "skipping": {"source": source_of(vlm), "settings": vlm.skip_vision.settings()},
        "device": device,
        "versions": versions(),
        "date": now(),
    }


def source_of(vlm: Vlm) -> str:
    """Where the race's Skip-Vision comes from: "calibrated", "trained" or "untrained"."""
    if isinstance(vlm.skipping, SkipVision):
        return vlm.skipping_source
    return "untrained" if vlm.method is None else "trained"


def choose_all(vlm: Vlm, race: Race, records: Records, is_shown: bool) -> dict[str, Method]:
    """Dense, then every method's settings for every budget: those recorded before, or those found and recorded now.

    Args:
        is_shown: whether progress is.

    Returns:
        The methods by key; those of the same settings once.
    """
    names = [name for name in METHODS if name in {*race.methods, *BASELINES, "SkipVision"}]
    wanted = [(name, budget) for name in names for budget in ([None] if name == "Dense" else race.budgets)]
    recorded = {(line["method"], line["budget"]): line for line in records.of("choice")}
    search: Search | None = None
    methods: dict[str, Method] = {}
    with progress_bar("settings", "method", len(wanted), is_shown=is_shown) as bar:
        for name, budget in wanted:
            line = recorded.get((name, budget))
            method = None if line is None else remade(name, line["settings"], vlm.skip_vision)
            if method is None or line is None or key_of(method) != line["key"]:
                search = search or Search(vlm, race)
                choice = search.choose(name, budget)
                method = choice.method
                records.add("choice", **choice_line(choice))
            methods[key_of(method)] = method
            bar.update()
    return methods


class Search:
    """Looks for settings, by the FLOPs of the first prompt of each data set."""

    def __init__(self, vlm: Vlm, race: Race) -> None:
        self._vlm = vlm
        asked = [data.pictures[0] for data in race.data]
        self._prompts = [(each.draw(), each.questions[0].text) for each in asked]
        self._known: dict[str, float] = {}
        self._dense = self._flops(Dense())
        tokens = [vlm.num_visual_tokens(vlm.prepare(*prompt)) for prompt in self._prompts]
        self._examples = examples_of(vlm, race.data)
        self._target = Target(
            layers=len(decoder_layers(vlm.model)),
            tokens=round(fmean(tokens)),
            is_fixed=len(set(tokens)) == 1,
            examples=self._examples,
        )

    def choose(self, name: str, budget: float | None) -> Choice:
        """A method's settings for a budget."""
        if budget is None:
            return Choice(Dense(), None, 1.0)
        return choose(METHODS[name]().tuned(self._examples), budget, self._target, self._share)

    def _share(self, method: Method) -> float:
        key = key_of(method)
        if key not in self._known:
            self._known[key] = self._flops(method) / self._dense
        return self._known[key]

    def _flops(self, method: Method) -> float:
        return fmean(prefill_flops(self._vlm, method, *prompt) for prompt in self._prompts)


def examples_of(vlm: Vlm, data: Sequence[DataSet]) -> Examples:
    """The first pictures of every data set, without answers."""
    pictures = [picture for each in data for picture in each.pictures[:PICTURES_TO_TUNE_ON]]
    return Examples(vlm, [each.draw() for each in pictures], [each.questions[0].text for each in pictures])


def remade(name: str, settings: Mapping[str, Any], own: SkipVision) -> Method | None:
    """A method from its recorded settings; None where it has others by now."""
    try:
        if name == "SkipVision":
            return replace(own, **{key: value for key, value in settings.items() if key != "summary"})
        return METHODS[name](**settings)
    except (InputError, TypeError):
        return None


def key_of(method: Method) -> str:
    """Tells a method and its settings, a trained summary included, from all others."""
    return f"{type(method).__name__}-{method_key('', method)[:12]}"


def choice_line(choice: Choice) -> Line:
    """A choice as JSON values."""
    method = choice.method
    return {
        "key": key_of(method),
        "method": type(method).__name__,
        "label": method.label,
        "settings": method.settings(),
        "budget": choice.budget,
        "flops": choice.flops,
    }


def _record_data(records: Records, data: DataSet) -> None:
    line = {
        "data": data.name,
        "fingerprint": data.fingerprint,
        "questions": data.num_questions,
        "pictures": len(data.pictures),
        "has_truth": data.has_truth,
        "blind": data.blind,
    }
    known = [each for each in records.of("data") if each["data"] == data.name]
    if any(each["fingerprint"] != data.fingerprint for each in known):
        raise InputError(
            f"The record holds answers to {known[0]['questions']} other questions of {data.name!r}: ask the same "
            "number as before, or name another output."
        )
    if not known:
        records.add("data", **line)


def _measure_quality(vlm: Vlm, race: Race, records: Records, methods: dict[str, Method], process: Process) -> None:
    known = {(line["data"], line["chunk"], line["key"]) for line in records.of("quality")}
    todo = []
    for data, number, pictures in _own_chunks(vlm, race, process):
        missing = {key: each for key, each in methods.items() if (data.name, number, key) not in known}
        todo.append((data, number, pictures, missing))
    total = sum(_questions(pictures) * len(methods) for _, _, pictures, _ in todo)
    left = sum(_questions(pictures) * len(missing) for _, _, pictures, missing in todo)
    with progress_bar("questions", "answer", total, total - left, is_shown=process.is_main) as bar:
        for data, number, pictures, missing in todo:
            if not missing:
                continue
            outcomes = measure_questions(vlm, pictures, missing, data.has_truth, bar.update, race.max_new_tokens)
            for key, of_method in outcomes.items():
                records.add("quality", key=key, data=data.name, chunk=number, **quality_line(pictures, of_method))


def _own_chunks(vlm: Vlm, race: Race, process: Process) -> Iterator[tuple[DataSet, int, list[AskedPicture]]]:
    """This process's share of all pictures; every other one takes the next few."""
    turn = count()
    for data in race.data:
        for number, pictures in enumerate(groups(data.pictures, PICTURES_IN_A_CHUNK.get(vlm.device.type, 12))):
            if process.does(next(turn)):
                yield data, number, pictures


def _questions(pictures: Sequence[AskedPicture]) -> int:
    return sum(len(each.questions) for each in pictures)


def quality_line(pictures: Sequence[AskedPicture], outcomes: Sequence[Outcome]) -> Line:
    """Outcomes as JSON values: "1101 01" for the questions to two pictures, None where there is no truth; sums of KL
    (nats) and of the share of like top-1 tokens over the questions."""
    sizes = [len(picture.questions) for picture in pictures]
    has_truth = all(each.is_right is not None for each in outcomes)
    return {
        "right": _marks([bool(each.is_right) for each in outcomes], sizes) if has_truth else None,
        "same": _marks([each.is_same for each in outcomes], sizes),
        "kl": sum(each.agreement.kl for each in outcomes),
        "top1": sum(each.agreement.top1 for each in outcomes),
    }


def _marks(marks: Sequence[bool], sizes: Sequence[int]) -> str:
    digits = iter("01"[mark] for mark in marks)
    return " ".join("".join(next(digits) for _ in range(size)) for size in sizes)


def _measure_costs(vlm: Vlm, race: Race, records: Records, methods: dict[str, Method]) -> None:
    """Times compare only where the methods ran alternately: with one more method, all are measured again."""
    measured = {(line["data"], line["prompt"]): set(line["methods"]) for line in records.of("cost")}
    pictures = [
        (data.name, number, picture)
        for data in race.data
        for number, picture in enumerate(data.pictures[: race.cost_prompts])
    ]
    with progress_bar("costs", "prompt", len(pictures)) as bar:
        for name, number, picture in pictures:
            if not set(methods) <= measured.get((name, number), set()):
                question = picture.questions[0].text
                costs = measure_cost(vlm, picture.draw(), question, methods, race.repeats)
                records.add("cost", prompt=number, data=name, date=now(), **costs)
            bar.update()
