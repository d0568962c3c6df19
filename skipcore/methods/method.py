"""The base of all methods: a frozen dataclass of settings that plans; a session runs the plans."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from typing import Any, ClassVar, cast

from PIL import Image
from transformers import PreTrainedModel

from skipcore.engine.layer_view import LayerView, Look
from skipcore.engine.planner import Execution
from skipcore.engine.session import Session
from skipcore.errors import InputError
from skipcore.methods.budget import Budget, Examples, Target
from skipcore.methods.settings import checked
from skipcore.plan.image_plan import ImagePlan, VisualTokens
from skipcore.plan.token_plan import TokenPlan
from skipcore.plan.tower_view import TowerLook
from skipcore.tower.blocks import Tower
from skipcore.tower.observer import TowerRecorder, look_at_tower
from skipcore.trace import Trace


@dataclass(frozen=True)
class DecoderShape:
    """What the cost of choosing tokens depends on.

    Attributes:
        layers, width, heads, key_value_heads, head_width, vocabulary: of the decoder.
        tower_width, tower_head_width: of the vision tower, and of one of its heads.
    """

    layers: int
    width: int
    heads: int
    key_value_heads: int
    head_width: int
    vocabulary: int
    tower_width: int
    tower_head_width: int

    @classmethod
    def of(cls, model: PreTrainedModel) -> DecoderShape:
        """Read off a model."""
        config, attention = model.get_decoder().config, Tower(model).attention(0)
        head_width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return cls(
            config.num_hidden_layers,
            config.hidden_size,
            config.num_attention_heads,
            config.num_key_value_heads,
            head_width,
            config.vocab_size,
            cast(int, attention.num_heads) * cast(int, attention.head_dim),
            cast(int, attention.head_dim),
        )

    @property
    def kv_width(self) -> int:
        """Numbers that a layer caches of each token: its keys and values."""
        return 2 * self.key_value_heads * self.head_width


class Method:
    """A way to run a vision-language model.

    A subclass is a frozen dataclass. It holds its settings as fields, which are checked by their annotations (see
    `skipcore.methods.settings.checked`), and decides what happens to visual tokens: before
    the decoder with `plan`, picture by picture, and before some layers with `decide`, prompt by prompt.
    `method(model)` is a context manager that puts the method to work on a stock model and takes it away again.
    """

    name: ClassVar[str]

    def __post_init__(self) -> None:
        for field in fields(cast(Any, self)):
            object.__setattr__(self, field.name, checked(field.name, str(field.type), getattr(self, field.name)))

    @property
    def label(self) -> str:
        """The name with the settings that tell it from others of its kind."""
        return self.name

    def picture(self, picture: Image.Image) -> Image.Image:
        """Return what the model is shown of a picture; here: the picture itself."""
        return picture

    def plan(self, image: VisualTokens) -> ImagePlan:
        """Decide before the decoder what happens to each visual token of one picture; here: all enter it."""
        return ImagePlan.keep_all(len(image.features))

    @property
    def tower_looks(self) -> frozenset[TowerLook]:
        """What the method asks to see of the vision tower, a constant of most; `plan` finds it in
        `VisualTokens.tower`."""
        return frozenset()

    @property
    def looks(self) -> frozenset[Look]:
        """What the method asks to see when it decides within the decoder, a constant of most."""
        return frozenset()

    def decision_layers(self, num_layers: int) -> Collection[int]:
        """Return the layers before which the method decides again, 0 … num_layers − 1; none for most."""
        return ()

    def looks_before(self, layer: int, num_layers: int) -> frozenset[Look]:
        """What it asks to see before one of these layers; here: the same before each."""
        return self.looks

    def decide(self, layer: int, view: LayerView, plan: TokenPlan) -> TokenPlan:
        """Revise one sample's plan before a layer, for this layer and all later ones."""
        return plan

    def at_tower(self, model: PreTrainedModel) -> AbstractContextManager[TowerRecorder | None]:
        """Wrap an encoding: look at the vision tower, and take part in it."""
        return look_at_tower(model, self.tower_looks)

    @property
    def shares_features(self) -> bool:
        """Whether the features that the model encodes without the method serve it, too."""
        return not self.tower_looks and type(self).picture is Method.picture

    def selection_flops(self, trace: Trace, decoder: DecoderShape) -> int:
        """FLOPs of the matrix products by which tokens of one prompt are chosen and merged, as torch counts them."""
        return 0

    @property
    def execution(self) -> Execution:
        """How a session runs the plans."""
        return Execution()

    # How the settings are chosen.

    budget: ClassVar[Budget | None] = None
    """What a share means to the method; None where `with_budget` knows none."""

    def with_budget(self, share: float, target: Target) -> Method:
        """Return the same method with the settings that spend a share from 0 to 1 on a model.

        Raises:
            InputError: the method has no budget.
        """
        raise InputError(f"There is no method {self.name!r} with a budget.")

    def budget_steps(self, target: Target) -> Sequence[Steps]:
        """Return all settings that differ in what they spend, the authors' way first, then others that spend less.
        Here: one visual token more in each step."""
        tokens = target.tokens or 1
        return [Steps(tokens - 1, lambda step: self.with_budget((step + 1) / tokens, target))]

    def tuned(self, examples: Examples) -> Method:
        """Return the same method with what it learns from examples, for any budget; here: nothing."""
        return self

    def __call__(self, model: PreTrainedModel, record: bool = False) -> Session:
        """A session of this method on `model`, to be used in a `with` statement.

        Args:
            model: a stock transformers vision-language model of a supported family.
            record: also measure the FFN update of every token in every layer.
        """
        return Session(self, model, record)

    def settings(self) -> dict[str, object]:
        """The settings as plain JSON values; the summary shows as "adaptive" or "mean"."""
        values = {field.name: getattr(self, field.name) for field in fields(cast(Any, self))}
        if "summary" in values:
            values["summary"] = "mean" if values["summary"] is None else "adaptive"
        return values


@dataclass(frozen=True)
class Steps:
    """A row of settings of one method, from the fewest FLOPs to the most.

    Attributes:
        last: they are numbered 0 … last; FLOPs never fall from one to the next.
        at: the method with the settings of a number.
    """

    last: int
    at: Callable[[int], Method]
