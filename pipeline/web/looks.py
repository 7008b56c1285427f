"""How the page looks: the theme, and colours with enough contrast in light and dark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

START = Path(__file__).with_name("start.js")

CSS = """
.gradio-container h1 { text-wrap: balance; }
#report { min-height: 96px; }
#report table { display: block; max-height: 260px; overflow: auto; border: 0; }
#report :is(th, td) { border-color: var(--border-color-primary); }
.view-empty { min-height: 420px; display: grid; place-items: center; text-align: center; padding: 1em; margin: 0;
  border: 1px dashed var(--border-color-primary); border-radius: 8px; color: var(--body-text-color); }
#stage { display: grid; grid-template-columns: minmax(0, 1fr); }
#stage:has(.view-empty) > * { grid-area: 1 / 1; }
#stage:has(.view-empty):has(#previews img) #view, #stage:not(:has(#previews img)) #previews { visibility: hidden; }
#stage:not(:has(.view-empty)):not(:has(#previews img)) #previews { display: none; }
#stage:has(#previews img) #previews, #stage:has(#previews img) #previews .grid-wrap { height: auto !important;
  max-height: none; }
#previews .grid-container { grid-template-columns: repeat(4, minmax(0, 1fr)) !important; }
#stage:has(.view-empty) #previews .grid-container { grid-template: repeat(2, minmax(0, 1fr)) / 2fr 1fr !important;
  height: 420px; }
#stage:has(.view-empty) #previews .gallery-item { min-height: 0; }
#stage:has(.view-empty) #previews .gallery-item:first-child { grid-row: span 2; }
#previews .thumbnail-item { display: flex; flex-direction: column; aspect-ratio: auto; height: 100%; }
#previews .thumbnail-item img { flex: 1; min-height: 0; }
#previews .caption-label { position: static; max-width: none; width: 100%; border: 0; border-radius: 0; font-size: 12px;
  line-height: 1.3; min-height: 2.9em; padding: 2px 4px; white-space: normal; text-align: center; display: grid;
  place-items: center; }
#advice { min-height: 4.5em; }
#examples button { min-width: 80px; min-height: 80px; }
#report .wrap:has(.progress-level) > .progress-text { display: none; }
#said { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
#tiers { min-height: 2em; }
.motions { display: grid; grid-template-columns: repeat(auto-fill, minmax(92px, 1fr)); grid-auto-rows: max-content;
  gap: 8px; height: 372px; overflow-y: auto; padding: 4px; margin: 0; border: 0; }
.motions legend { font-weight: 600; padding: 0 0 6px; color: var(--block-label-text-color); }
.motions label { position: relative; display: block; border: 2px solid var(--border-color-primary); border-radius: 8px;
  overflow: hidden; cursor: pointer; background: var(--block-background-fill); color: var(--body-text-color); }
.motions label:hover { border-color: var(--color-accent); }
.motions label:has(:checked) { border-color: var(--color-accent); box-shadow: 0 0 0 2px var(--color-accent); }
.motions label:has(:focus-visible) { outline: 3px solid var(--link-text-color); outline-offset: 2px; }
.motions input { position: absolute; opacity: 0; width: 100%; height: 100%; margin: 0; cursor: pointer; }
.motions picture { display: block; aspect-ratio: 3 / 4; background: #f7f7fa; }
.motions img { display: block; width: 100%; height: 100%; object-fit: contain; }
.motions span { display: grid; place-items: center; text-align: center; height: 4.2em; padding: 0 4px; font-size: 12px;
  line-height: 1.3; overflow: hidden; }
button:focus-visible, input:focus-visible, textarea:focus-visible, [tabindex]:focus-visible {
  outline: 3px solid var(--link-text-color); outline-offset: 2px; }
@media (max-width: 640px) {
  .gradio-container { padding: 8px !important; }
  #photo, #photo .image-container { max-height: 300px; }
}
body:not(.page-ready) :is(main.contain, footer) { visibility: hidden; height: 0; overflow: hidden;
  animation: page-late 0s 8s forwards; }
@keyframes page-late { to { visibility: visible; height: auto; } }
@media (prefers-reduced-motion: reduce) { * { animation-duration: 0.01ms !important; transition: none !important; } }
"""

SHARE = """async (video) => {
  const url = video?.url ?? video?.video?.url;
  if (!url) return;
  const blob = await (await fetch(url)).blob(), name = 'avatar' + url.slice(url.lastIndexOf('.'));
  const file = new File([blob], name, { type: blob.type });
  if (navigator.canShare?.({ files: [file] })) {
    await navigator.share({ files: [file], title: 'A synthetic video' }).catch(() => {});
  } else {
    Object.assign(document.createElement('a'), { href: URL.createObjectURL(file), download: name }).click();
  }
}"""
"""Hand the video to the system's share sheet; where there is none, save it. Nothing is uploaded."""

STOPPED = """(report, pictures) => document.querySelector('#report .wrap:not(.hide) .progress-text')
  ? ['Stopped.', null] : [report, pictures]"""
"""A fit that is stopped leaves no pictures of itself; what was there before another job was stopped stays."""

PARTS = ("photo", "advice", "consent", "examples", "quality", "seed", "fit", "view", "previews", "report", "avatar_id",
         "motions", "motion", "motion_file", "framing", "label", "video")  # fmt: skip
"""Parts of the page of every kind; the page is complete when all are there."""


def on_start() -> str:
    """JavaScript that the page runs when it starts: ``start.js`` with the ids of the page's parts."""
    return f"() => ({START.read_text('utf-8')})({json.dumps(PARTS)})"


def theme() -> Any:
    """Gradio's soft theme with darker words on light and lighter words on dark, fonts of the system."""
    import gradio as gr

    fonts = ["system-ui", "sans-serif"]
    return gr.themes.Soft(font=fonts, font_mono=["ui-monospace", "monospace"]).set(
        body_background_fill="*neutral_50",
        block_border_width="1px",
        checkbox_border_color="*neutral_500",
        checkbox_border_color_dark="*neutral_400",
        checkbox_label_background_fill_selected="*primary_600",
        checkbox_label_background_fill_selected_dark="*primary_600",
        block_title_text_color="*neutral_800",
        block_title_text_color_dark="*neutral_100",
        block_label_text_color="*neutral_800",
        block_label_text_color_dark="*neutral_100",
        block_info_text_color="*neutral_700",
        block_info_text_color_dark="*neutral_200",
        body_text_color_subdued="*neutral_700",
        body_text_color_subdued_dark="*neutral_300",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_text_color="white",
        button_primary_background_fill_dark="*primary_600",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_300",
        input_placeholder_color="*neutral_600",
        input_placeholder_color_dark="*neutral_400",
    )
