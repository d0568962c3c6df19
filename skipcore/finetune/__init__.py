"""Fine-tuning of any supported model with Skip-Vision, on transformers' Trainer, accelerate, peft and datasets."""
