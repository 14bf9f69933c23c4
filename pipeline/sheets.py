"""A contact sheet: some views of a shape on one picture, with their numbers.

    sheet(views, 4)            # [V, H, W, 3] -> [2 H, 2 W, 3]

Letters: V views, H x W pixels.
"""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont


def sheet(views: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Put `count` views, evenly chosen from all, onto a grid, row by row, with their numbers on the sheet in their upper left corners.

    Args:
        views: [V, H, W, 3].
        count: number of views on the sheet, V at most.

    Returns:
        The sheet, with as many columns as rows or one more. Cells without a view have the colour of the first view's first pixel.
    """
    _, height, width, _ = views.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    whole = Image.new("RGB", (columns * width, rows * height), tuple(views[0, 0, 0].tolist()))
    draw, font = ImageDraw.Draw(whole), ImageFont.load_default(max(9, height // 14))
    ink = (90, 90, 90) if views[0, 0, 0].mean() > 127 else (165, 165, 165)
    for place in range(count):
        x, y = place % columns * width, place // columns * height
        whole.paste(Image.fromarray(views[place * len(views) // count]), (x, y))
        draw.text((x + width // 40, y + height // 60), str(place + 1), fill=ink, font=font)
    for line in range(1, columns):
        draw.line((line * width, 0, line * width, rows * height), fill=(200, 200, 200))
    for line in range(1, rows):
        draw.line((0, line * height, columns * width, line * height), fill=(200, 200, 200))
    return np.asarray(whole)
