"""The paper's claim, measured by our own training: dense, skipping and mixed from one start, side by side."""

from skipcore.training.claim.arms import ARMS, Arm, arm_recipe
from skipcore.training.claim.measure import measure_claim
from skipcore.training.claim.report import claim_table
from skipcore.training.claim.turns import step_flops, train_by_turns

__all__ = ["ARMS", "Arm", "arm_recipe", "claim_table", "measure_claim", "step_flops", "train_by_turns"]
