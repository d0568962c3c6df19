"""The paper's claim, measured by our own training: dense, skipping and mixed from one start, side by side."""

from skipcore.builtin.claim.claim_arms import ARMS, Arm, arm_recipe
from skipcore.builtin.claim.claim_tables import claim_table
from skipcore.builtin.claim.measure import measure_claim
from skipcore.builtin.claim.turns import step_flops, train_by_turns

__all__ = ["ARMS", "Arm", "arm_recipe", "claim_table", "measure_claim", "step_flops", "train_by_turns"]
