"""Fine-tuning of any supported model with Skip-Vision, on transformers' Trainer, accelerate, peft and datasets.

    python -m skipcore finetune --model MODEL --data train.json --eval-share 0.02 --output out
    accelerate launch --config_file skipcore/finetune/configs/fsdp2-8gpu.yaml -m skipcore finetune …

Or in code, with a Trainer of your own:

    class MyTrainer(SkippingSteps, Trainer): ...

    vlm = load(MODEL, device="cpu")
    train_parts(vlm.model.train(), ["connector", "decoder"])
    arguments = TrainingArguments(output_dir="out", remove_unused_columns=False, bf16=True)
    rows = read_data("train.json")
    trainer = MyTrainer(vlm.model, arguments, Collator(vlm.processor), rows, processing_class=vlm.processor,
                        method=SkipVision(0.17, 0.27), skip_share=0.7)
    trainer.train()
    trainer.save_model()  # load("out") takes it, with its method

`SkippingSteps` is in `tuner`, `Collator` in `collate`, `read_data` in `rows`, `train_parts` in `parts`.
"""
