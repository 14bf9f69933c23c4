"""Rank the captions of a picture by their cosine to the picture, which an image-text teacher gives.

    order, scores = rank(image_embeddings, text_embeddings)   # [B, E], [B, K, E] -> [B, K] each

Letters: B pictures, K captions a picture, E embedding width.
"""

import numpy as np


def rank(images: np.ndarray, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order the texts of each picture by their cosine to it.

    Cosines are rounded to four decimals, so that differences in rounding between machines do not change the order. Texts with equal
    cosines keep their order.

    Args:
        images, texts: embeddings [B, E] and [B, K, E] by one teacher. Their length does not matter.

    Returns:
        Order [B, K] int64, best first, and the scores in that order [B, K] float32.
    """
    images, texts = images.astype(np.float64), texts.astype(np.float64)
    length = np.linalg.norm(images, axis=-1)[:, None] * np.linalg.norm(texts, axis=-1)  # [B, K]
    dots = np.einsum("be,bke->bk", images, texts)
    scores = np.round(np.divide(dots, length, out=np.zeros_like(dots), where=length > 0), 4).astype(np.float32)
    order = np.argsort(-scores, axis=1, kind="stable")
    return order, np.take_along_axis(scores, order, axis=1)
