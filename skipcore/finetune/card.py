"""The card of a fine-tuned model: what it was trained from, on and for, and how it scores."""

from __future__ import annotations

from pathlib import Path

from skipcore.finetune.run_settings import Settings

CARD = """---
{front}
---

# {title}

{base} fine-tuned with [Skip-Vision](https://arxiv.org/abs/2503.21817): {method}, in {share:.0%} of {steps:,} steps,
on {rows:,} rows of `{data}`. {how}.

```python
from skipcore import ask, load

vlm = load("{folder}")
print(ask(vlm, "picture.png", "What is it?"))  # with its own method
```
{scores}
## Settings

```toml
{settings}```
"""
SCORES = """
| on held-out rows | loss | answers right word for word |
|---|---|---|
| dense | {eval_dense_loss:.4f} | {eval_dense_accuracy:.1%} |
| {method} | {eval_loss:.4f} | {eval_accuracy:.1%} |
"""


def write_card(folder: Path, settings: Settings, method: str, rows: int, steps: int, scores: dict[str, float]) -> None:
    """Write README.md into the folder of a result.

    Args:
        method: its label.
        rows: that were learned from.
        scores: of the last evaluation, if there was one.
    """
    adapters = settings.lora and not settings.merge
    front = [f"base_model: {settings.model}", f"library_name: {'peft' if adapters else 'transformers'}"]
    front += ["pipeline_tag: image-text-to-text", "tags:", "- skip-vision"]
    how = (
        f"Adapters of rank {settings.lora} on the decoder" if settings.lora else f"Trained: {', '.join(settings.train)}"
    )
    (folder / "README.md").write_text(
        CARD.format(
            front="\n".join(front),
            title=folder.resolve().name,
            base=settings.model,
            method=method,
            share=settings.skip_share,
            steps=steps,
            rows=rows,
            data=settings.data,
            how=how + (", merged" if settings.merge else ""),
            folder=settings.push or folder,
            scores=SCORES.format(method=method, **scores) if "eval_accuracy" in scores else "",
            settings=settings.to_toml(),
        ),
        encoding="utf-8",
    )
