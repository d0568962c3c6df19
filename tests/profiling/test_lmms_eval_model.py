"""The adapter under lmms-eval's own evaluator, on a tiny random model and a task made here."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from shared_models import ROOT, noise_picture
from tiny_families import tiny_model

from skipcore import METHODS, AnswerToken, Dense, InputError, Method, Sampling, SkipVision, Vlm, load
from skipcore.methods import Combined, FastV

pytest.importorskip("lmms_eval", reason="lmms-eval is an optional extra")

# Before anything of lmms-eval: the order in which a circular import would show.
from profiling import lmms_eval_model  # isort: skip
from profiling.lmms_eval_model import (  # isort: skip
    Decoding,
    SkipcoreModel,
    answer,
    chat_messages,
    check_against,
    method_of,
)
from lmms_eval.evaluator import simple_evaluate
from lmms_eval.models import MODEL_REGISTRY_V2
from lmms_eval.tasks import TaskManager

TEMPLATE = (
    "{% for message in messages %}{{ message.role }}:{% for part in message.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}\n{% endfor %}"
)
DROPPING = ("FastV", "layer=1,num_kept=0.25")
UTILS = """
from PIL import Image

def pictures(doc):
    return [Image.open(name) for name in doc["pictures"]]

def question(doc, lmms_eval_specific_kwargs=None):
    return doc["question"]

def messages(doc, lmms_eval_specific_kwargs=None):
    first, *others = ({"type": "image", "url": picture} for picture in pictures(doc))
    return [{"role": "user", "content": [first, {"type": "text", "text": doc["question"]}, *others]}]
"""
TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/docs.jsonl}}, cache_dir: {folder}/cache}}
test_split: test
output_type: generate_until
doc_to_visual: !function task_code.pictures
doc_to_text: !function task_code.question
{more}
doc_to_target: answer
generation_kwargs: {{max_new_tokens: 6, do_sample: false}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""


@pytest.fixture(scope="module", params=[None, TEMPLATE], ids=["no template", "template"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LLaVA with and without a chat template, as `save_pretrained` leaves it."""
    vlm, folder = tiny_model("LLaVA"), tmp_path_factory.mktemp("model")
    vlm.model.save_pretrained(folder)
    vlm.processor.chat_template = request.param
    vlm.processor.save_pretrained(folder)
    vlm.processor.chat_template = None
    return folder


@pytest.fixture(scope="module")
def vlm(folder: Path) -> Vlm:
    return load(folder)


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The project installed, as far as its entry points go; the registry forgets it afterwards."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    installed = tmp_path / "skip_vision-0.dist-info"
    installed.mkdir()
    installed.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: skip-vision\nVersion: 0\n")
    groups = (
        f"[{group}]\n" + "\n".join(f"{name} = {value}" for name, value in points.items())
        for group, points in project["entry-points"].items()
    )
    installed.joinpath("entry_points.txt").write_text("\n".join(groups))
    for known in ("_manifests", "_alias_to_model_id"):
        monkeypatch.setattr(MODEL_REGISTRY_V2, known, dict(getattr(MODEL_REGISTRY_V2, known)))
    monkeypatch.syspath_prepend(tmp_path)
    MODEL_REGISTRY_V2.load_entrypoint_manifests(overwrite=True)


def stock_answer(vlm: Vlm, method: Method, messages: list[dict[str, Any]], max_new_tokens: int) -> str:
    """The same by transformers' own `generate`."""
    inputs = vlm.prepare_messages(messages).inputs
    with method(vlm.model):
        ids = vlm.model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
    return vlm.processor.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()


def asked(*parts: Any) -> list[dict[str, Any]]:
    """One user's message of pictures and texts."""
    content = [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "image": part} for part in parts
    ]
    return [{"role": "user", "content": content}]


def test_lmms_eval_finds_the_model(registered: None) -> None:
    assert MODEL_REGISTRY_V2.get_model_class("skipcore") is SkipcoreModel


@pytest.mark.parametrize("interleaved", [False, True])
def test_lmms_eval_evaluates(
    folder: Path, vlm: Vlm, registered: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interleaved: bool
) -> None:
    """Answers are those of `generate` in a session. Only questions that the dense model answers otherwise are asked;
    three of four targets are what the method answers, so the score is 0.75 only if it is at work."""
    name, settings = DROPPING
    method = method_of(name, {"layer": 1, "num_kept": 0.25})
    docs, expected = [], []
    for number in range(12):
        pictures = [noise_picture(10 * number + each) for each in range(1 + number % 2)]
        files = [str(tmp_path / f"{number}-{each}.png") for each in range(len(pictures))]
        for picture, file in zip(pictures, files, strict=True):
            picture.save(file)
        question = f"What is {number}?"
        first, *others = pictures
        messages = asked(first, question, *others) if interleaved else asked(*pictures, question)
        skipping, dense = (stock_answer(vlm, each, messages, 6) for each in (method, Dense()))
        if skipping != dense and len(docs) < 4:
            expected.append(skipping)
            docs.append({"pictures": files, "question": question, "answer": skipping if docs else dense})
    assert len(docs) == 4
    assert {len(doc["pictures"]) for doc in docs} == {1, 2}
    tmp_path.joinpath("docs.jsonl").write_text("".join(json.dumps(doc) + "\n" for doc in docs))
    tmp_path.joinpath("task_code.py").write_text(UTILS)
    task = f"tiny_{tmp_path.name}"
    more = "doc_to_messages: !function task_code.messages" if interleaved else ""
    tmp_path.joinpath("tiny.yaml").write_text(TASK.format(name=task, folder=tmp_path, more=more))
    results = simple_evaluate(
        model="skipcore",
        model_args=f"pretrained={folder},method={name},{settings}",
        tasks=[task],
        task_manager=TaskManager(include_path=str(tmp_path), include_defaults=False),
        log_samples=True,
        device="cpu",
        batch_size=1,
    )
    samples = sorted(results["samples"][task], key=lambda sample: sample["doc_id"])
    assert [sample["resps"][0][0] for sample in samples] == expected
    assert results["results"][task]["exact_match,none"] == 0.75


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, Decoding()),
        ({"max_new_tokens": 7, "until": ["\n\n"], "do_sample": False}, Decoding(7)),
        ({"until": "end", "temperature": 0, "top_p": None, "num_beams": 1}, Decoding(until=("end",))),
        ({"until": ["", "\n\n", "a", "b"], "do_sample": False, "temperature": 0.7}, Decoding(until=("a", "b"))),
        ({"until": None, "top_k": 1, "temperature": 0.7, "repetition_penalty": 1.0}, Decoding()),
        ({"image_aspect_ratio": "original"}, Decoding()),
    ],
)
def test_greedy_options(options: dict[str, Any], expected: Decoding) -> None:
    assert Decoding.of(options) == expected


def test_a_task_may_not_switch_off_what_the_model_asks_for(tiny: Vlm, monkeypatch) -> None:
    check_against(tiny, {"repetition_penalty": 1.0, "max_new_tokens": 4})
    monkeypatch.setattr(tiny.model.generation_config, "repetition_penalty", 1.1)
    check_against(tiny, {"max_new_tokens": 4})
    check_against(tiny, {"repetition_penalty": 1.1})
    with pytest.raises(InputError, match=r"repetition_penalty=1\.0, but the model's generation config"):
        check_against(tiny, {"repetition_penalty": 1.0})


def test_sampling_follows_torchs_seed() -> None:
    def drawn(**options: Any) -> Sampling:
        return Decoding.of(options).sampling

    torch.manual_seed(5)
    first, repeat = drawn(temperature=0.7, top_p=0.9), drawn(do_sample=True)
    torch.manual_seed(5)
    assert drawn(temperature=0.7, top_p=0.9) == first
    assert (first.temperature, first.top_p, repeat.temperature, repeat.top_p) == (0.7, 0.9, 1.0, 1.0)
    assert first.seed != repeat.seed


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"num_beams": 4}, "num_beams=4 is not supported"),
        ({"top_k": 50, "temperature": 1}, "top_k=50 is not supported"),
        ({"repetition_penalty": 1.2}, "repetition_penalty=1.2 is not supported"),
        ({"no_repeat_ngram_size": 3}, "no_repeat_ngram_size=3 is not supported"),
        ({"guidance_scale": 2.0}, "guidance_scale=2.0 is not supported"),
        ({"max_new_tokens": 0}, "max_new_tokens must be"),
        ({"temperature": 11.0}, "temperature must lie"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Decoding.of(options)


@pytest.mark.parametrize(
    ("until", "text", "written"),
    [
        ((), "A red ball. Or two", 5),
        (("absent",), "A red ball. Or two", 5),
        (("ball",), "A red", 3),
        (("Or", "red"), "A", 2),
        ((".", "l. O"), "A red bal", 4),  # both are complete at once, and one began in the token before
        (("A",), "", 1),
    ],
)
def test_an_answer_ends_before_the_first_stop(
    vlm: Vlm, monkeypatch: pytest.MonkeyPatch, until: tuple[str, ...], text: str, written: int
) -> None:
    closed = []

    def tokens(*_: Any, **__: Any) -> Generator[AnswerToken, None, None]:
        try:
            for number, piece in enumerate(["A", " red", " ball", ". Or", " two "]):
                yield AnswerToken(number, piece, 0.0, 0.0)
        finally:
            closed.append(True)

    monkeypatch.setattr(lmms_eval_model, "generate", tokens)
    found = answer(vlm, Dense(), asked("What is it?"), Decoding(12, until))
    assert (found.text, found.token_counts.output_tokens, closed) == (text, written, [True])


def test_an_answer_ends_where_the_context_ends(vlm: Vlm, monkeypatch: pytest.MonkeyPatch) -> None:
    messages = asked("Text alone.")
    prompt = vlm.prepare_messages(messages).num_tokens
    monkeypatch.setattr(vlm.model.config.get_text_config(), "max_position_embeddings", prompt + 3)
    assert answer(vlm, Dense(), messages, Decoding(100)).token_counts.output_tokens == 3


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("Dense", {}, Dense()),
        ("SkipVision", {"num_retained": 10, "num_skipped": 0.5}, SkipVision(10, 0.5)),
        ("SkipVision", {"layers": "[0, 2]", "retain": "uniform"}, SkipVision(layers=(0, 2), retain="uniform")),
        ("SkipVision", {"layers": "None", "skip_kv": True}, SkipVision()),
        ("ShortV", {"num_frozen": 2, "order": "[2,1,0]"}, METHODS["ShortV"](num_frozen=2, order=(2, 1, 0))),
    ],
)
def test_methods_by_name(name: str, settings: dict[str, Any], expected: Method) -> None:
    assert method_of(name, settings) == expected


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("", "Name the model"),
        ("pretrained", "must be name=value"),
        ("pretrained=FOLDER,batch_size=2", "use --batch_size 1, not 2"),
        ("pretrained=FOLDER,method=Fast", "no method 'Fast': choose own or one of Dense, SkipVision"),
        ("pretrained=FOLDER,method=FastV,kept=3", "FastV has no setting 'kept': it has .*num_kept"),
        ("pretrained=FOLDER,method=Dense,kept=3", "Dense has no setting 'kept': it has none"),
        ("pretrained=FOLDER,method=SkipVision,summary=x", "has no setting 'summary'"),
        ("pretrained=FOLDER,method=ShortV,order=__import__('os')", "order must be a list"),
        ("pretrained=FOLDER,method=FastV,num_kept=1.5", "num_kept as a share"),
        ("pretrained=FOLDER,then_skip_vision=True", "only with another method"),
        ("pretrained=FOLDER,method=FastV,then_skip_vision=maybe", "is True or False"),
        ("pretrained=FOLDER,positions=nowhere", "positions must be"),
        ("pretrained=FOLDER/none", "cannot be loaded"),
    ],
)
def test_arguments_that_cannot_be(folder: Path, arguments: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        SkipcoreModel.create_from_arg_string(arguments.replace("FOLDER", str(folder)), {"batch_size": 1})


def test_own_method_with_changes(folder: Path, vlm: Vlm) -> None:
    model = SkipcoreModel.create_from_arg_string(f"pretrained={folder},positions=renumbered", {"batch_size": 1})
    assert model.method.settings() == vlm.skipping.settings() | {"positions": "renumbered"}


def test_skip_vision_after_another_method(folder: Path, vlm: Vlm) -> None:
    arguments = f"pretrained={folder},method=FastV,num_kept=0.25,then_skip_vision=True"
    model = SkipcoreModel.create_from_arg_string(arguments)
    assert isinstance(model.method, Combined) and model.method.dropping == FastV(num_kept=0.25)
    assert model.method.skipping.settings() == vlm.skip_vision.settings()


def test_several_processes_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="one process"):
        SkipcoreModel(str(folder))


def test_what_cannot_be_asked_is_named(folder: Path) -> None:
    model = SkipcoreModel(str(folder), "Dense")
    model.task_dict["clips"] = {"test": {3: None}}

    def messages(doc: None) -> list[dict[str, Any]]:
        return [{"role": "user", "content": [{"type": "video", "url": "a.mp4"}]}]

    request = SimpleNamespace(args=("", messages, {}, 3, "clips", "test"))
    with pytest.raises(InputError, match=r"Question 3 of the task clips: .* pictures and texts, but .* video"):
        model.generate_until([request])
    for refused in (model.loglikelihood, model.generate_until_multi_round):
        with pytest.raises(InputError, match="choose a task with generate_until"):
            refused([])


def test_pictures_stand_under_transformers_name() -> None:
    picture = noise_picture(0)
    given = [{"role": "user", "content": [{"type": "image", "url": picture}, {"type": "text", "text": "?"}]}]
    assert chat_messages(given) == asked(picture, "?")
