"""A page or a sheet of what a network is shown: augmented training clips, and the views of the evaluation."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from dataset.prepare.annotations import PrepareError
from dataset.writers.annotated_video import load_font
from dataset.writers.encoding import encode_jpeg
from utils.files import write_atomically

_SHOWN_FRAMES = 8
_JPEG_QUALITY = 90
_CAPTION_HEIGHT, _MARGIN = 18, 8
_STYLE = (
    "body{font:14px sans-serif;margin:2em;color:#1f2933}figure{margin:0 0 1.2em}figcaption{margin-bottom:.3em}"
    "img{max-width:100%;image-rendering:auto}small{color:#66727f}"
)


@dataclass(frozen=True, slots=True)
class Strip:
    """One clip as it goes to the network.

    Attributes:
        caption: What it is.
        clip: uint8 [T, H, W, C], C is 3, or 2 for optical flow.
    """

    caption: str
    clip: np.ndarray


def write_browser(path: Path, sections: Sequence[tuple[str, Sequence[Strip]]], *, title: str) -> None:
    """Write headings with strips below each as a page that needs no other file (.html), or as a sheet (.png)."""
    write = _page if path.suffix == ".html" else _sheet
    content = write(sections, title)
    write_atomically(path, lambda file: file.write(content))


def require_new_picture(path: Path) -> None:
    """Raise a PrepareError for a file that is there, or neither .html nor .png."""
    if path.suffix not in (".html", ".png"):
        raise PrepareError(f"--output {path}: choose a name that ends in .html or .png")
    if path.exists():
        raise PrepareError(f"--output {path} is there; choose another name")


def film_strip(clip: np.ndarray) -> np.ndarray:
    """Put evenly spread frames of a clip side by side: uint8 [H, W x frames, 3]; flow has y below x, in grey."""
    chosen = np.linspace(0, len(clip) - 1, min(len(clip), _SHOWN_FRAMES)).round().astype(int)
    frames = [clip[index] for index in chosen]
    if clip.shape[-1] == 2:
        frames = [np.repeat(np.concatenate([f[..., 0], f[..., 1]])[..., None], 3, axis=2) for f in frames]
    return np.concatenate(frames, axis=1)


def _page(sections: Sequence[tuple[str, Sequence[Strip]]], title: str) -> bytes:
    parts = [f"<!doctype html><html><head><meta charset='utf-8'><title>{html.escape(title)}</title>"]
    parts.append(f"<style>{_STYLE}</style></head><body><h1>{html.escape(title)}</h1>")
    for heading, strips in sections:
        parts.append(f"<h2>{html.escape(heading)}</h2>")
        for strip in strips:
            picture = base64.b64encode(encode_jpeg(film_strip(strip.clip), _JPEG_QUALITY)).decode()
            frames, height, width = strip.clip.shape[:3]
            parts.append(
                f"<figure><figcaption>{html.escape(strip.caption)} <small>{frames} frames of {width} x {height}, "
                f"{min(frames, _SHOWN_FRAMES)} shown</small></figcaption>"
                f"<img alt='{html.escape(strip.caption, quote=True)}' src='data:image/jpeg;base64,{picture}'></figure>"
            )
    parts.append("</body></html>\n")
    return "".join(parts).encode()


def _sheet(sections: Sequence[tuple[str, Sequence[Strip]]], title: str) -> bytes:
    rows: list[tuple[str, np.ndarray | None]] = [(title, None)]
    for heading, strips in sections:
        rows.append((heading, None))
        rows += [(strip.caption, film_strip(strip.clip)) for strip in strips]
    pictures = [picture for _, picture in rows if picture is not None]
    width = max((picture.shape[1] for picture in pictures), default=200) + 2 * _MARGIN
    height = sum(_CAPTION_HEIGHT + (_MARGIN + picture.shape[0] if picture is not None else 0) for _, picture in rows)
    sheet = Image.new("RGB", (width, height + _MARGIN), "white")
    draw, font, top = ImageDraw.Draw(sheet), load_font(12), 2
    for caption, picture in rows:
        draw.text((_MARGIN, top), caption, fill="#1f2933", font=font)
        top += _CAPTION_HEIGHT
        if picture is not None:
            sheet.paste(Image.fromarray(picture), (_MARGIN, top))
            top += picture.shape[0] + _MARGIN
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()
