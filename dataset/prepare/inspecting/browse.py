"""Write a page or a sheet of the input of a network: augmented training clips, and the views of the evaluation."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
from PIL import Image, ImageDraw

from dataset.prepare.annotations import PrepareError
from dataset.writers.annotated_video import load_font
from dataset.writers.encoding import encode_jpeg
from dataset.writers.strips import join_frames
from utils.figures.markup import element, image, render_document, section
from utils.files import write_atomically
from utils.text import one_line

_SHOWN_FRAMES = 8
_JPEG_QUALITY = 90
_CAPTION_HEIGHT, _MARGIN = 18, 8  # pixels


@dataclass(frozen=True, slots=True)
class Strip:
    """A clip as it enters the network.

    Attributes:
        caption: Description of the clip.
        clip: uint8 [T, H, W, C], C is 3, or 2 for optical flow.
    """

    caption: str
    clip: np.ndarray


def write_browser(path: Path, sections: Sequence[tuple[str, Sequence[Strip]]], *, title: str) -> None:
    """Write a self-contained .html page, or a .png sheet.

    Args:
        path: The new file; its suffix selects the format.
        sections: Headings, each with the strips below it.
        title: Title of the page.
    """
    write = _page if path.suffix == ".html" else _sheet
    content = write(sections, title)
    write_atomically(path, lambda file: file.write(content))


def require_new_picture(path: Path) -> None:
    """Check that a file can be written by `write_browser`.

    Raises:
        PrepareError: It exists, or its suffix is neither .html nor .png.
    """
    if path.suffix not in (".html", ".png"):
        raise PrepareError(f"--output {path}: choose a name that ends in .html or .png")
    if path.exists():
        raise PrepareError(f"--output {path} exists already; choose another name")


def film_strip(clip: np.ndarray) -> np.ndarray:
    """Put evenly spaced frames of a clip side by side, with white gaps between them.

    Args:
        clip: uint8 [T, H, W, C].

    Returns:
        uint8 [H, frames x W + gaps, 3]; of optical flow the vertical component is below the horizontal one, in gray.
    """
    chosen = np.linspace(0, len(clip) - 1, min(len(clip), _SHOWN_FRAMES)).round().astype(int)
    frames = [clip[index] for index in chosen]
    if clip.shape[-1] == 2:
        frames = [np.repeat(np.concatenate([f[..., 0], f[..., 1]])[..., None], 3, axis=2) for f in frames]
    return join_frames(frames)


def _page(sections: Sequence[tuple[str, Sequence[Strip]]], title: str) -> bytes:
    parts = [section(f"part-{n}", heading, *map(_figure, strips)) for n, (heading, strips) in enumerate(sections)]
    return render_document(title, element("h1", title), *parts).encode()


def _figure(strip: Strip) -> Element:
    frames, height, width = strip.clip.shape[:3]
    shown = f"{frames} frames of {width} x {height}, {min(frames, _SHOWN_FRAMES)} shown"
    caption = element("figcaption", strip.caption, element("span", shown, kind="sub"))
    picture = image(encode_jpeg(film_strip(strip.clip), _JPEG_QUALITY), "jpeg", strip.caption)
    return element("figure", caption, picture)


def _sheet(sections: Sequence[tuple[str, Sequence[Strip]]], title: str) -> bytes:
    rows: list[tuple[str, np.ndarray | None]] = [(one_line(title), None)]
    for heading, strips in sections:
        rows.append((heading, None))
        rows += [(one_line(strip.caption), film_strip(strip.clip)) for strip in strips]
    font = load_font(12)
    widths = [max(font.getlength(text), 0 if strip is None else strip.shape[1]) for text, strip in rows]
    width = math.ceil(max(widths)) + 2 * _MARGIN
    height = sum(_CAPTION_HEIGHT + (_MARGIN + picture.shape[0] if picture is not None else 0) for _, picture in rows)
    sheet = Image.new("RGB", (width, height + _MARGIN), "white")
    draw, top = ImageDraw.Draw(sheet), 2
    for caption, picture in rows:
        draw.text((_MARGIN, top), caption, fill="#1f2933", font=font)
        top += _CAPTION_HEIGHT
        if picture is not None:
            sheet.paste(Image.fromarray(picture), (_MARGIN, top))
            top += picture.shape[0] + _MARGIN
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()
