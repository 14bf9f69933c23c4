"""The starter teachers' own tokenizers: byte-level BPE, trained on the grammar of `texts`, so that any word can be spelled.

tokenizer = image_text_tokenizer(corpus)      # <s> a chair </s>
tokenizer = captioner_tokenizer(corpus)       # </s> a chair, as OPT has it, and one token that stands for a picture
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

VOCABULARY: Final = 1024
"""Number of tokens of each tokenizer."""
START, PAD, END, UNKNOWN, IMAGE = SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<image>")


def image_text_tokenizer(corpus: Iterable[str]) -> Any:
    """Train the tokenizer of the image-text models on a corpus."""
    tokens = _trained(corpus)
    tokens.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(word, tokens.token_to_id(word)) for word in (START, END)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokens, bos_token=START, eos_token=END, pad_token=PAD, unk_token=UNKNOWN)


def captioner_tokenizer(corpus: Iterable[str]) -> Any:
    """Train the tokenizer of the captioner on a corpus."""
    tokens = _trained(corpus)
    tokens.post_processor = processors.TemplateProcessing(single=f"{END} $A", special_tokens=[(END, tokens.token_to_id(END))])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokens, bos_token=END, eos_token=END, pad_token=PAD, unk_token=UNKNOWN, additional_special_tokens=[IMAGE]
    )


def saved(folder: Path) -> Any:
    """Load the tokenizer of a starter teacher from the folder of its checkpoint."""
    return PreTrainedTokenizerFast.from_pretrained(folder)


def _trained(corpus: Iterable[str]) -> Tokenizer:
    tokens = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokens.normalizer = normalizers.Lowercase()
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokens.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False)
    tokens.train_from_iterator(corpus, trainer)
    return tokens
