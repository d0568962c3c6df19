"""The wordings of the questions.

A slot is filled in by `words.word`: {noun} "dog", {a} "a dog" or "some food", {any} "a dog" or "any food",
{plural} "dogs", {are} "is" or "are", {do} "does" or "do"; the same with {other_...} for a second noun.
"""

from __future__ import annotations

EXISTENCE = (
    "{are} there {any}?",
    "{are} there {any} in the picture?",
    "{are} there {any} in the image?",
    "do you see {any}?",
    "can you see {any}?",
    "can you find {any} here?",
    "does the picture show {any}?",
    "does the image contain {any}?",
    "{are} {a} in the picture?",
    "{are} there {any} anywhere?",
)
EXISTENCE_OF_SEVERAL = (
    "are there any {plural}?",
    "do you see any {plural}?",
    "are there any {plural} in the picture?",
    "can you see any {plural} here?",
    "does the image show any {plural}?",
)
COUNT = (
    "how many {plural} are there?",
    "how many {plural} do you see?",
    "how many {plural} can you see?",
    "how many {plural} are in the picture?",
    "how many {plural} are in the image?",
    "how many {plural} are there in the picture?",
    "how many {plural} does the picture show?",
    "count the {plural}.",
    "what is the number of {plural}?",
    "can you count the {plural}?",
)
MORE = (
    "are there more {plural} than {other_plural}?",
    "do you see more {plural} than {other_plural}?",
    "are there more {plural} than {other_plural} in the picture?",
    "does the picture show more {plural} than {other_plural}?",
    "can you see more {plural} than {other_plural}?",
)
AS_MANY = (
    "are there as many {plural} as {other_plural}?",
    "are there equally many {plural} and {other_plural}?",
    "do you see as many {plural} as {other_plural}?",
    "does the picture show as many {plural} as {other_plural}?",
    "is the number of {plural} the same as the number of {other_plural}?",
)
WHICH_MORE = (
    "what are there more of, {plural} or {other_plural}?",
    "which are there more of, {plural} or {other_plural}?",
    "are there more {plural} or more {other_plural}?",
    "what do you see more of, {plural} or {other_plural}?",
    "which are more, the {plural} or the {other_plural}?",
)
COLOR = (
    "what colour is the {noun}?",
    "what color is the {noun}?",
    "what's the colour of the {noun}?",
    "what is the color of the {noun}?",
    "which colour does the {noun} have?",
    "which color is the {noun}?",
    "what colour does the {noun} have?",
    "what color does the {noun} have?",
)
COLOR_THERE = (
    "what colour is the {noun} <place>?",
    "what color is the {noun} <place>?",
    "what is the color of the {noun} <place>?",
    "which colour does the {noun} <place> have?",
    "which color is the {noun} <place>?",
)
PLACES = (
    "at the top left",
    "at the top",
    "at the top right",
    "on the left",
    "in the middle",
    "on the right",
    "at the bottom left",
    "at the bottom",
    "at the bottom right",
)
"""The nine cells of the picture, row by row."""
WHERE = (
    "where {are} the {noun}?",
    "where {are} the {noun} in the picture?",
    "where do you see the {noun}?",
    "where in the image {are} the {noun}?",
    "in which part of the picture {are} the {noun}?",
    "where can you see the {noun}?",
    "where can i find the {noun}?",
)
WHAT_THERE = (
    "what is <place>?",
    "what's <place>?",
    "what do you see <place>?",
    "what is <place> of the picture?",
    "what can you see <place>?",
    "what is shown <place>?",
)
WHETHER_THERE = (
    "{are} the {noun} <place>?",
    "{are} the {noun} <place> of the picture?",
    "do you see the {noun} <place>?",
    "can you see the {noun} <place>?",
    "{do} the {noun} stand <place>?",
)
OUTERMOST = {
    "left": ("what is the leftmost thing?", "what is furthest left?", "which thing is leftmost?",
             "what is furthest to the left?", "what thing is the furthest left?"),
    "right": ("what is the rightmost thing?", "what is furthest right?", "which thing is rightmost?",
              "what is furthest to the right?", "what thing is the furthest right?"),
    "top": ("what is the topmost thing?", "what is highest up?", "which thing is the highest?",
            "what is the highest thing?", "what is nearest to the top edge?"),
    "bottom": ("what is the lowest thing?", "what is furthest down?", "which thing is the lowest?",
               "what is the bottommost thing?", "what is nearest to the bottom edge?"),
}  # fmt: skip
RELATIONS = {
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
    "above": ("above", "higher than"),
    "below": ("below", "lower than"),
}
WHETHER_RELATED = (
    "{are} the {noun} <relation> the {other_noun}?",
    "{are} the {noun} <relation> the {other_noun} in the picture?",
    "{do} the {noun} stand <relation> the {other_noun}?",
    "is it true that the {noun} {are} <relation> the {other_noun}?",
    "would you say the {noun} {are} <relation> the {other_noun}?",
)
WHAT_RELATED = (
    "what is <relation> the {noun}?",
    "what's <relation> the {noun}?",
    "what do you see <relation> the {noun}?",
    "what can you see <relation> the {noun}?",
    "which thing is <relation> the {noun}?",
)
BETWEEN = (
    "what is between the {noun} and the {other_noun}?",
    "what's between the {noun} and the {other_noun}?",
    "what do you see between the {noun} and the {other_noun}?",
    "which thing is between the {noun} and the {other_noun}?",
    "what stands between the {noun} and the {other_noun}?",
)
NEAREST = (
    "what is nearest to the {noun}?",
    "what is closest to the {noun}?",
    "which thing is nearest to the {noun}?",
    "what {are} the {noun} next to?",
    "what is next to the {noun}?",
    "what's closest to the {noun}?",
)
READ_SIGN = (
    "what does the {noun} say?",
    "what is written on the {noun}?",
    "what's on the {noun}?",
    "read the {noun}.",
    "can you read the {noun}?",
    "what can you read on the {noun}?",
    "what does it say on the {noun}?",
)
READ_NUMBER = (
    "what number is on the {noun}?",
    "which number is on the {noun}?",
    "what number does the {noun} show?",
    "what is the number on the {noun}?",
)
READ_WORD = (
    "what word is on the {noun}?",
    "which word is on the {noun}?",
    "what word does the {noun} show?",
    "what is the word on the {noun}?",
)
WHETHER_SAYS = (
    "does the {noun} say <text>?",
    "is <text> written on the {noun}?",
    "do you read <text> on the {noun}?",
    "does it say <text> on the {noun}?",
)
WHAT_IS_THIS = (
    "what is this?",
    "what's this?",
    "what is shown here?",
    "what is that?",
    "what am i looking at?",
    "what is in the picture?",
    "what is the one thing in the picture?",
)
WHICH_OF_GROUP = (
    "what {noun} is this?",
    "what {noun} is there?",
    "which {noun} is in the picture?",
    "which {noun} do you see?",
    "what kind of {noun} is this?",
    "what {noun} does the image show?",
)
WHAT_SHAPE = (
    "what is the {noun}?",
    "what's the {noun}?",
    "which shape is the {noun}?",
    "what kind of shape is the {noun}?",
)
WHAT_SHAPE_OF_COLOR = (
    "what shape is <color>?",
    "which shape is <color>?",
    "what <color> shape is there?",
    "what <color> shape do you see?",
)
DESCRIBE = (
    "describe the picture.",
    "describe this image.",
    "describe what you see.",
    "what do you see?",
    "what can you see here?",
    "tell me about the picture.",
    "what does the picture show?",
    "what does the image show?",
    "can you describe the picture?",
    "give a description of the image.",
)
DESCRIBE_SEVERAL = (*DESCRIBE, "what is in the picture?", "what is in the image?")
"""Of more than one thing; "what is in the picture?" asks for a single one's name."""
BEFORE = (
    "please ",
    "hi, ",
    "hello! ",
    "tell me, ",
    "please tell me: ",
    "can you tell me: ",
    "could you tell me, ",
    "i wonder, ",
)
"""Polite words before a question."""
AFTER = (", please", " please", ", can you tell me")
"""Polite words at a question's end, before its mark."""


def with_words(templates: tuple[str, ...], mark: str, words: tuple[str, ...]) -> tuple[str, ...]:
    """Every template with every one of the words in the mark's place."""
    return tuple(template.replace(mark, word) for template in templates for word in words)
