"""Data in every form that people have: the same rows, or a sentence that says which row is wrong and why."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
import torch
from shared_models import noise_picture
from tiny_families import BUILDERS
from tiny_rows import MULTI_TURN, ROWS, processor_of, row

from skipcore import InputError
from skipcore.finetune.collate import Collator
from skipcore.finetune.problems import find_problems, listed, without
from skipcore.finetune.rows import Row, Rows, read_data, split_off

LLAVA = [
    {
        "id": "1",
        "image": "a.png",
        "conversations": [
            {"from": "human", "value": "<image>\nWhat is it?"},
            {"from": "gpt", "value": "A cat."},
            {"from": "human", "value": "Sure?"},
            {"from": "gpt", "value": "Yes."},
        ],
    },
    {
        "image": ["a.png", "sub/b.png"],
        "conversations": [
            {"from": "human", "value": "First <image> then <image> same?"},
            {"from": "gpt", "value": "No."},
        ],
    },
    {"conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hi."}]},
]


def text(words: str) -> dict:
    return {"type": "text", "text": words}


PICTURE = {"type": "image"}
MESSAGES = [
    {
        "images": ["a.png"],
        "messages": [
            {"role": "user", "content": [PICTURE, text("What is it?")]},
            {"role": "assistant", "content": [text("A cat.")]},
            {"role": "user", "content": "Sure?"},
            {"role": "assistant", "content": "Yes."},
        ],
    },
    {
        "images": ["a.png", "sub/b.png"],
        "messages": [
            {"role": "user", "content": "First <image> then <image> same?"},
            {"role": "assistant", "content": "No."},
        ],
    },
    {"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi."}]},
]


def marked(content: str | list[dict]) -> str:
    """Contents as a text alone."""
    return content if isinstance(content, str) else "".join(part.get("text", "<image>") for part in content)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    noise_picture(1).save(tmp_path / "a.png")
    noise_picture(2).save(tmp_path / "sub" / "b.png")
    (tmp_path / "llava.json").write_text(json.dumps(LLAVA))
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, MESSAGES)) + "\n\n")
    return tmp_path


def batch(rows: Rows) -> dict[str, torch.Tensor]:
    return Collator(processor_of("Qwen2.5-VL"))(list(rows))


def test_every_form_makes_the_same_batches(folder: Path) -> None:
    """A7: LLaVA's JSON, messages with pictures beside them, and saved data sets with their pictures inside."""
    datasets = pytest.importorskip("datasets")
    wanted = batch(read_data(folder / "llava.json"))
    assert (wanted["labels"] != -100).sum() > 0
    full = [
        {
            "messages": [{"role": turn["role"], "content": marked(turn["content"])} for turn in row["messages"]],
            "images": [{"bytes": (folder / name).read_bytes(), "path": None} for name in row.get("images", [])],
        }
        for row in MESSAGES
    ]
    features = datasets.Features(
        {
            "messages": datasets.List({"role": datasets.Value("string"), "content": datasets.Value("string")}),
            "images": datasets.List(datasets.Image()),
        }
    )
    saved = datasets.Dataset.from_list(full, features=features)
    saved.save_to_disk(str(folder / "saved"))
    datasets.DatasetDict({"train": saved}).save_to_disk(str(folder / "splits"))
    saved.to_parquet(str(folder / "rows.parquet"))
    for source in ("rows.jsonl", "saved", "splits", "rows.parquet"):
        found = batch(read_data(folder / source))
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted), source


def test_a_folder_of_pictures(folder: Path) -> None:
    pytest.importorskip("datasets")
    pictures = folder / "pictures"
    pictures.mkdir()
    noise_picture(1).save(pictures / "a.png")
    line = {"file_name": "a.png", "question": "What is it?", "answer": "A cat."}
    (pictures / "metadata.jsonl").write_text(json.dumps(line))
    (found,) = read_data(pictures)
    assert found.answers == ["A cat."] and len(found.images) == 1 and found.messages[0]["content"][0] == PICTURE


def test_forms_of_hugging_face(folder: Path) -> None:
    prompt = {"role": "user", "content": [PICTURE, text("What?")]}
    rows = read_data(
        [
            {"prompt": [prompt], "completion": [{"role": "assistant", "content": "x"}], "image": "a.png"},
            {"question": "What?", "answer": "x", "image": noise_picture(1)},
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image", "image": "a.png"}, text("What?")]},
                    {"role": "assistant", "content": "x"},
                ]
            },
        ],
        images=folder,
    )
    assert len({str(row.messages) for row in rows}) == 1 and all(len(row.images) == 1 for row in rows)


PROBLEMS: dict[str, tuple[dict, str]] = {
    "placeholders": (
        {"image": "a.png", "conversations": LLAVA[1]["conversations"]},
        r"2 placeholders <image>, but there are 1 pictures",
    ),
    "missing": (dict(LLAVA[0], image="none.png"), "There is no picture '.*none.png'"),
    "damaged": (dict(LLAVA[0], image="cut.png"), "damaged or cut short"),
    "no picture": (dict(LLAVA[0], image="llava.json"), "picture"),
    "empty answer": (
        {"conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": " "}]},
        "An answer is empty",
    ),
    "no answer": ({"messages": [{"role": "user", "content": "Hello"}]}, "It has no answer"),
    "role": ({"conversations": [{"from": "cat", "value": "x"}]}, "role of a message"),
    "form": ({"text": "x"}, "A row must have conversations"),
    "no object": (["x"], "A row must be an object"),
    "long": (
        {"conversations": [{"from": "human", "value": "Hello " * 200}, {"from": "gpt", "value": "x"}]},
        "more than 500",
    ),
}


def test_problems_are_found_before_the_first_step(folder: Path) -> None:
    """A5, A6: each with its row number."""
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:200])
    raw = [*LLAVA, *(bad for bad, _ in PROBLEMS.values())]
    rows = read_data(raw, folder)
    collator = Collator(processor_of("LLaVA"), max_length=500)
    seen: list[int] = []
    problems = find_problems(rows, collator, progress=seen.append)
    assert [problem.number for problem in problems] == list(range(4, len(raw) + 1)) and seen[-1] == len(raw)
    for problem, (_, words) in zip(problems, PROBLEMS.values(), strict=True):
        assert re.search(words, str(problem)), problem
    assert listed(problems).startswith("Row 4: ")
    assert listed(problems * 3).endswith("… and 10 more rows.")
    left = without(rows, problems)
    assert [row.answers for row in left] == [row.answers for row in read_data(LLAVA, folder)]
    with pytest.raises(InputError, match="Every row of the data has a problem; the first: Row 4"):
        without(rows.only(range(3, len(raw))), find_problems(rows.only(range(3, len(raw))), collator))
    quick = find_problems(rows, collator, read_pictures=False)
    assert {problem.number for problem in problems} - {problem.number for problem in quick} <= {6}


@pytest.mark.parametrize("name", BUILDERS)
def test_lengths_are_known_without_reading_pictures(name: str) -> None:
    collator = Collator(processor_of(name))
    wide = Row(ROWS[0].messages, (noise_picture(1, 120, 40),))
    for each in (ROWS[0], wide, ROWS[2], MULTI_TURN, row("?", "x", 1, 2)):
        exact = collator([each])["input_ids"].shape[1]
        known = collator.length(each, [image.size for image in each.images])
        assert known == exact or (name == "LLaVA-OneVision" and len(each.images) > 1 and known >= exact)


def test_a_share_is_held_out(folder: Path) -> None:
    rows = read_data([LLAVA[2]] * 50)
    train, held = split_off(rows, 0.1, seed=3)
    assert len(held) == 5 and sorted([*train.numbers, *held.numbers]) == list(range(50))
    assert held.numbers == split_off(rows, 0.1, seed=3)[1].numbers != split_off(rows, 0.1, seed=4)[1].numbers
    with pytest.raises(InputError, match="too few to evaluate"):
        split_off(read_data([LLAVA[2]]), 0.5, seed=0)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.json", None, "There is no file"),
        ("bad.jsonl", '{"a": 1}\n{', "Line 2 of .* is not JSON"),
        ("bad.json", "[1, ", "cannot be read"),
        ("empty.jsonl", "\n", "There is no row"),
        ("notes.txt", "x", "must end in one of"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: str | None, words: str) -> None:
    pytest.importorskip("datasets")
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=words):
        read_data(tmp_path / name)


def test_pictures_of_arrow_are_read_from_their_bytes() -> None:
    stored = io.BytesIO()
    noise_picture(1).save(stored, "PNG")
    (found,) = read_data([{"question": "?", "answer": "x", "image": {"bytes": stored.getvalue(), "path": "a.png"}}])
    assert found.images == (stored.getvalue(),)
