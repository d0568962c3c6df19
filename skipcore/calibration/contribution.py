"""Layer contribution: what freezing all visual tokens in one layer changes (ShortV, ICCV 2025)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from skipcore.answering.agreement import Agreement, DenseAnswer, answer_densely, log_probs_along, one_for_each
from skipcore.answering.generate import check_max_new_tokens
from skipcore.families import decoder_layers
from skipcore.methods.shortv import ShortV
from skipcore.model.inputs import ImageLike, several_pictures
from skipcore.model.vlm import Vlm


def layer_contributions(
    vlm: Vlm,
    pictures: Sequence[ImageLike],
    questions: str | Sequence[str],
    *,
    answer_tokens: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[float, ...]:
    """For each layer the mean KL(frozen ‖ dense) of the next-token distributions, in nats, along the dense model's own
    answers (the authors: at the prompt's last position alone, which `answer_tokens=1` is). `ShortV(order=…)` takes the
    layers by rising contribution: `ShortV(0.6, sorted(range(len(found)), key=found.__getitem__))`.

    Args:
        vlm: from `load`; locked while this runs.
        pictures: a handful like those that will be asked about (authors: 40).
        questions: one for all pictures, or one for each.
        answer_tokens: so many tokens of each answer are compared.
        progress: called with the layers done and their number.

    Raises:
        InputError: bad pictures or settings.
    """
    check_max_new_tokens(answer_tokens)
    pictures = several_pictures(pictures, "layer_contributions")
    texts = one_for_each(pictures, questions)
    with vlm.lock:
        asked = [
            answer_densely(vlm, picture, text, answer_tokens) for picture, text in zip(pictures, texts, strict=True)
        ]
        return contributions(vlm, asked, progress)


def contributions(
    vlm: Vlm, asked: Sequence[DenseAnswer], progress: Callable[[int, int], None] | None = None
) -> tuple[float, ...]:
    """The same of what was asked already. The caller holds `vlm.lock`."""
    num_layers, found = len(decoder_layers(vlm.model)), []
    for layer in range(num_layers):
        frozen = ShortV(1, (layer,))
        of_answers = [
            Agreement.between(log_probs_along(vlm, one.inputs, frozen, one.answer), one.dense) for one in asked
        ]
        found.append(Agreement.mean(of_answers).kl)
        if progress is not None:
            progress(layer + 1, num_layers)
    return tuple(found)
