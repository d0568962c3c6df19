"""A tokenizer of bytes and the special tokens of every family, built in code."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

TOKENS = (
    "<pad>", "<s>", "</s>", "<image>", "<video>", "<start>", "<end>", "<fake_token_around_image>", "<global-img>",
    "<end_of_utterance>",
    *(f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)),
)  # fmt: skip
VOCABULARY = len(TOKENS) + 256
SPECIAL = {name: TOKENS.index(token) for name, token in (("pad", "<pad>"), ("bos", "<s>"), ("eos", "</s>"))}
IMAGE, VIDEO, START, END = (TOKENS.index(token) for token in ("<image>", "<video>", "<start>", "<end>"))


def tokenizer(*further: str, **special: str) -> PreTrainedTokenizerFast:
    """Bytes, the special tokens of every family, and further ones that a processor asks for by name."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*TOKENS, *alphabet, *further])}
    bpe = Tokenizer(models.BPE(vocabulary, []))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.add_special_tokens([*TOKENS, *further])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        padding_side="left",
        extra_special_tokens=special,
    )
