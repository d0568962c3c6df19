"""Follow-up questions: answered as a chat answers them, undone when they break off, and one talk's caches at a time."""

from __future__ import annotations

import threading

import gradio as gr
import pytest
from PIL import Image

from app.panels.ask import AskPanel
from app.panels.follow import FollowPanel, reply_sentence, transcript
from app.runs.follow import FollowUpRun
from app.runs.talk import LastTalk, Reply, Talk, Turn
from app.server.device import device_held
from app.server.pool import ModelPool
from profiling import Report, compare
from skipcore import Chat, Dense, InputError, Vlm

QUESTION, NEXT, LAST = "What is it?", "What color is it?", "Is there a dog?"


@pytest.fixture
def report(tiny: Vlm, picture: Image.Image) -> Report:
    return compare(tiny, picture, QUESTION, max_new_tokens=4)


@pytest.fixture
def talk(tiny: Vlm, report: Report) -> Talk:
    return Talk.about(tiny, report, [Dense(), tiny.skipping])


def said(talk: Talk, question: str, stop: threading.Event | None = None) -> Turn:
    *_, turn = talk.ask(question, stop or threading.Event())
    return turn


def test_replies_are_those_of_chats_that_never_stopped(
    tiny: Vlm, picture: Image.Image, report: Report, talk: Talk
) -> None:
    turns = [said(talk, NEXT), said(talk, LAST)]
    assert talk.turns == turns
    for number, method in enumerate((Dense(), tiny.skipping)):
        chat = Chat(tiny, picture, method)
        first = "".join(token.text for token in chat.ask(QUESTION, 4))
        assert first.strip() == report.arms[number].answer
        for turn in turns:
            assert "".join(token.text for token in chat.ask(turn.question, 4)) == turn.replies[number].text
            assert turn.replies[number].reused == chat.reused > 64


def test_a_turn_that_breaks_off_leaves_the_talk_as_it_was(tiny: Vlm, report: Report, talk: Talk) -> None:
    whole = Talk.about(tiny, report, [Dense(), tiny.skipping])
    expected = [said(whole, NEXT), said(whole, LAST)]
    stop = threading.Event()
    stop.set()
    assert list(talk.ask(NEXT, stop)) == [] and talk.turns == []
    stopped = threading.Event()
    for _ in talk.ask(LAST, stopped):
        stopped.set()
    closed = talk.ask(LAST, threading.Event())
    next(closed)
    closed.close()
    with pytest.raises(InputError, match="Type a question"):
        said(talk, "  ")
    assert talk.turns == [] and all(len(chat.turns) == 1 for chat in talk.chats)
    assert [[reply.text for reply in said(talk, each.question).replies] for each in expected] == [
        [reply.text for reply in each.replies] for each in expected
    ]


def test_only_the_last_talk_holds_caches_and_the_other_goes_on(tiny: Vlm, report: Report, talk: Talk) -> None:
    last, other = LastTalk(), Talk.about(tiny, report, [Dense(), tiny.skipping])
    last.becomes(talk)
    said(talk, NEXT)
    last.becomes(talk)
    assert said(talk, LAST).replies[0].reused > 0
    last.becomes(other)
    assert all(chat._cache is None and chat._features is None for chat in talk.chats)
    said(other, NEXT)
    said(other, LAST)
    last.becomes(talk)
    assert all(reply.reused == 0 for reply in said(talk, QUESTION).replies)
    assert [turn.question for turn in talk.turns] == [NEXT, LAST, QUESTION]


@pytest.mark.parametrize(
    "reply, sentence",
    [
        (Reply(), "–"),
        (
            Reply("x", 4.25, 1583, 107.25),
            "first token after 4.2 ms, 1,583 tokens not read again (107 held in the KV cache)",
        ),
        (Reply("x", 1200, 0), "first token after 1.20 s, everything prefilled again"),
    ],
)
def test_sentences(reply: Reply, sentence: str) -> None:
    assert reply_sentence(reply) == sentence


def test_the_transcript_escapes_and_marks() -> None:
    turn = Turn("<b>?", (Reply("a <i> dog", 1, 1), Reply("a cat", 1, 1)))
    html = transcript(["Dense", "<s>"], [turn])
    assert "<b>" not in html and "<s>" not in html and "<i>" not in html
    assert "a <mark>&lt;i&gt; dog</mark>" in html and "a <mark>cat</mark>" in html
    assert "<mark>" not in transcript(["Dense", "s"], [], turn)
    assert transcript(["Dense"], []) == ""


def test_who_is_stopped_while_they_wait_takes_the_caches_from_nobody(tiny: Vlm, report: Report, talk: Talk) -> None:
    with gr.Blocks():
        panel = FollowPanel()
        asks_for = AskPanel(ModelPool(tiny), gr.State())
        following = FollowUpRun(asks_for, panel, gr.State(None))
    list(following.ask(talk, NEXT))
    held = [chat.reused for chat in talk.chats]
    assert all(held)
    with device_held():
        waiting = following.ask(Talk.about(tiny, report, [Dense(), tiny.skipping]), LAST)
        next(waiting)[following.stop].set()
        *_, last = waiting
    assert "Stopped" in str(last)
    list(following.ask(talk, LAST))
    assert [chat.reused > before for chat, before in zip(talk.chats, held, strict=True)] == [True, True]
