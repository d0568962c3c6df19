"""Law 5: predicted FLOPs and bytes are those counted by torch and by the tensors."""

from __future__ import annotations

import torch

from profiling import compare
from profiling.bench.random_models import DecoderSize, random_llava
from profiling.predict.prefill_flops import predict_prefill_flops
from skipcore import Dense, Method, SkipVision, Vlm
from skipcore.flops import FlopCount


def test_predictions_equal_the_counts(vlm: Vlm, picture, method: Method) -> None:
    arm = compare(vlm, picture, "What color is it?", [method], max_new_tokens=2).arms[0]
    assert arm.flops_prefill == arm.flops_prefill_predicted
    assert arm.kv_bytes == arm.kv_bytes_predicted
    assert arm.layer_kv_bytes == arm.layer_kv_bytes_predicted


def test_by_hand(picture) -> None:
    """d = 8, 2 layers, 2 heads, 1 key-value head, FFN 16, 16 visual tokens, vocabulary 259."""
    vlm = random_llava(DecoderSize(8, 2, 2, 1, intermediate_size=16), image_size=32, patch_size=8, vision_width=16)
    method = SkipVision(4, 3)
    report = compare(vlm, picture, "hm?", [Dense(), method], max_new_tokens=1)
    text = report.prompt_tokens - 16
    head = 2 * 8 * 259

    def layer(slots: int, ffn_rows: int, scores: int) -> int:
        projections = 2 * slots * (8 * 8 + 8 * 4 + 8 * 4 + 8 * 8)
        attention = 4 * 8 * scores
        return projections + attention + 2 * ffn_rows * 3 * 8 * 16

    dense = 2 * layer(text + 16, text + 16, (text + 16) ** 2) + head
    kept = text + 4 + 2  # two summaries
    before, after = len("USER: "), text - len("USER: ")
    assert 2 * after > kept  # long text: the second attention call is square
    scores = (before + 4 + 3 + 2) ** 2 + kept**2
    skip = 2 * layer(kept + 3, kept, scores) + head + 2 * 9 * 3 * 8  # 9 sources compared with 3 destinations
    assert [arm.flops_prefill for arm in report.arms] == [dense, skip]
    traced = zip((Dense(), method), report.arms, strict=True)
    executed = [predict_prefill_flops(vlm, each, arm.trace).executed for each, arm in traced]

    def unseen(slots: int) -> int:
        return 2 * 4 * 8 * slots * (slots - 1) // 2

    assert executed == [dense - unseen(text + 16), skip - unseen(before + 9) - unseen(kept)]
    assert [arm.kv_bytes for arm in report.arms] == [2 * 2 * 4 * 4 * (text + 16), 2 * 2 * 4 * 4 * kept]
    assert [arm.kv_tokens for arm in report.arms] == [text + 16, kept]


def test_parts_add_up(tiny: Vlm, picture) -> None:
    method = SkipVision(0.2, 0.3)
    inputs = tiny.prepare(picture, "what?").inputs
    with method(tiny.model) as session, torch.inference_mode():
        tiny.model(**inputs, logits_to_keep=1)
    flops = predict_prefill_flops(tiny, method, session.trace)
    assert flops.total == sum(vars(flops).values()) - flops.hidden and flops.executed < flops.total
    assert all(part > 0 for part in vars(flops).values())


def test_fused_attention_is_counted() -> None:
    query = torch.randn(2, 4, 10, 16)
    with FlopCount() as count, torch.inference_mode():
        torch.nn.functional.scaled_dot_product_attention(query, query, query, is_causal=True)
    assert count.total == 4 * 2 * 4 * 10 * 10 * 16
