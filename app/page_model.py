"""A loaded model with what the page says about it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from PIL import Image

from app.examples import Example, known_of, load_examples, offered
from app.server.models import running_model
from app.truth import Known
from app.world import world_of
from skipcore import Vlm
from skipcore.builtin.scenes.world_file import World


@dataclass(frozen=True, eq=False)
class PageModel:
    """Everything on the page that follows the choice of the model.

    Attributes:
        name: as in the list of models.
        world: what it was trained on; None where that is not known.
        examples: those that lie inside its world.
        num_visual_tokens: of a square picture: the end of the sliders.
    """

    vlm: Vlm
    name: str
    world: World | None
    examples: list[Example]
    num_visual_tokens: int

    @classmethod
    def of(cls, vlm: Vlm) -> PageModel:
        """Look up what the page needs.

        Raises:
            InputError: the model's folder says badly what the model was trained on.
        """
        world = world_of(vlm)
        tokens = vlm.num_visual_tokens(vlm.prepare(Image.new("RGB", (336, 336)), "?"))
        return cls(vlm, running_model(vlm).name, world, offered(load_examples(), world), tokens)

    @property
    def is_judge(self) -> bool:
        """Whether it answers in the scenes' words, so that a wrong answer may be called wrong."""
        return self.world is not None

    @property
    def in_shares(self) -> bool:
        """Whether tokens are chosen in per cent: pictures of such a model may have any number of them."""
        own = self.vlm.skip_vision
        return isinstance(own.num_retained, float) and isinstance(own.num_skipped, float)

    @property
    def most(self) -> int:
        """The end of the sliders that choose tokens."""
        return 100 if self.in_shares else self.num_visual_tokens

    @property
    def num_layers(self) -> int:
        """Layers of the decoder."""
        return int(self.vlm.model.get_decoder().config.num_hidden_layers)

    @cached_property
    def known(self) -> tuple[Known, ...]:
        """What is known about the examples' pictures."""
        return known_of(self.examples)
