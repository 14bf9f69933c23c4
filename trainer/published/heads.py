"""Heads of published classifiers: which features they read, and how the published models were fine-tuned.

    form = read(peer, tensors, width=384)                # a form of head and features; None if it is not known

Letters: D width of the encoder's tokens, F features, K classes.
"""

from trainer.classifiers import About
from trainer.encoders.protocol import EncoderSettings


def unlike(about: About, settings: EncoderSettings) -> tuple[str, ...]:
    return ()
