"""Rank the captions of a picture by their cosine to the picture, which an image-text teacher gives.

    order, scores = rank(image_embeddings, text_embeddings)   # [B, E], [B, K, E] -> [B, K] each

Letters: B pictures, V views of a shape, K captions of a picture or a shape, E embedding width.
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
    scores = scored(images, texts)
    order = np.argsort(-scores, axis=1, kind="stable")
    return order, np.take_along_axis(scores, order, axis=1)


def scored(images: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Return the cosine of each text to its picture, rounded as in `rank`. [B, E], [B, K, E] -> [B, K] float32"""
    return np.round(_cosines(images, texts), 4).astype(np.float32)


def scored_over(views: np.ndarray, texts: np.ndarray, over: str) -> np.ndarray:
    """Return the scores of texts about a shape: their cosines to its views, brought together.

    Args:
        views, texts: embeddings [V, E] and [K, E] by one teacher.
        over: `first` (the first view), `mean` or `max`, as in `CaptionSpec.over`.

    Returns:
        Scores in the order of the texts [K] float32, rounded as in `rank`.
    """
    cosines = _cosines(views, np.broadcast_to(texts, (len(views), *texts.shape)))  # [V, K]
    whole = {"first": cosines[0], "mean": cosines.mean(axis=0), "max": cosines.max(axis=0)}[over]
    scores: np.ndarray = np.round(whole, 4).astype(np.float32)
    return scores


def _cosines(images: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Return the cosine of each text to its picture; 0 where either has no length. [B, E], [B, K, E] -> [B, K] float64"""
    images, texts = images.astype(np.float64), texts.astype(np.float64)
    length = np.linalg.norm(images, axis=-1)[:, None] * np.linalg.norm(texts, axis=-1)  # [B, K]
    dots = np.einsum("be,bke->bk", images, texts)
    return np.asarray(np.divide(dots, length, out=np.zeros_like(dots), where=length > 0))
