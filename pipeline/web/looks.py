"""How the page looks: the theme, and colours with enough contrast in light and dark."""

from __future__ import annotations

from typing import Any

CSS = """
.gradio-container { max-width: 1500px !important; }
.gradio-container h1 { text-wrap: balance; }
#report { min-height: 96px; }
#report table { display: block; max-height: 260px; overflow: auto; }
.view-empty { min-height: 420px; display: grid; place-items: center; text-align: center; padding: 1em; margin: 0;
  border: 1px dashed var(--border-color-primary); border-radius: 8px; color: var(--body-text-color); }
#advice { min-height: 4.5em; }
#tiers { min-height: 2em; }
#motions_place { min-height: 332px; }
#motions img { object-fit: cover; }
button:focus-visible, input:focus-visible, textarea:focus-visible, [tabindex]:focus-visible {
  outline: 3px solid var(--link-text-color); outline-offset: 2px; }
@media (max-width: 640px) {
  .gradio-container { padding: 8px !important; }
  #photo, #photo .image-container { max-height: 300px; }
}
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


ROLES = """() => {
  const name = () => document.querySelectorAll('div.empty[aria-label]:not([role])').forEach((e) => (e.role = 'img'));
  new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
  name();
}"""
"""Gradio names its empty galleries without giving them a role, which screen readers then do not read."""


def theme() -> Any:
    """Gradio's soft theme with darker words on light and lighter words on dark, fonts of the system."""
    import gradio as gr

    fonts = ["system-ui", "sans-serif"]
    return gr.themes.Soft(font=fonts, font_mono=["ui-monospace", "monospace"]).set(
        body_background_fill="*neutral_50",
        block_border_width="1px",
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
