"""The motions as moving pictures, one of which is chosen; with reduced motion as still ones."""

from __future__ import annotations

from html import escape
from pathlib import Path
from urllib.parse import quote

from pipeline.motion import list_presets
from pipeline.motion.presets import PresetInfo, motions_folder
from pipeline.motion.preview import thumbnail_folder, thumbnail_path

STILLS = motions_folder() / "stills"

ON_LOAD = """
element.addEventListener('change', (event) => {
  if (event.target.name === 'motion-picture') trigger('select', { value: event.target.value });
});
"""
"""Tell the app which picture was chosen."""

FOLLOW = """(name) => {
  const pictures = [...document.querySelectorAll('#motions input')], chosen = pictures.find((p) => p.value === name);
  if (chosen) chosen.checked = true; else pictures.forEach((p) => (p.checked = false));
}"""
"""Mark the picture of the motion that the menu shows."""


def folders() -> list[Path]:
    """The folders that the pictures are served from."""
    return [STILLS, thumbnail_folder()]


def pictures(chosen: str | None) -> str:
    """A group of radio buttons with pictures as HTML; moving ones once :func:`pipeline.motion.preview.thumbnails` has
    made them, until then still ones.

    Args:
        chosen: the name of the motion that is marked.
    """
    tiles = [_tile(preset, preset.name == chosen) for preset in list_presets()]
    return f'<fieldset class="motions"><legend>Motions</legend>{"".join(tiles)}</fieldset>'


def _tile(preset: PresetInfo, chosen: bool) -> str:
    still, moving = STILLS / f"{preset.name}.jpg", thumbnail_path(preset)
    shown = next((path for path in (moving, still) if path.is_file()), None)
    picture = ""
    if shown:
        picture = f'<img src="{_address(shown)}" alt="" width="120" height="160" loading="lazy" decoding="async">'
    if shown == moving and still.is_file():
        picture = f'<source media="(prefers-reduced-motion: reduce)" srcset="{_address(still)}">{picture}'
    return (
        f'<label title="{escape(preset.description)}">'
        f'<input type="radio" name="motion-picture" value="{escape(preset.name)}"{" checked" if chosen else ""}>'
        f"<picture>{picture}</picture><span>{escape(preset.title)}</span></label>"
    )


def _address(path: Path) -> str:
    """Where the page finds a served file, relative to itself."""
    return "gradio_api/file=" + quote(path.resolve().as_posix())
