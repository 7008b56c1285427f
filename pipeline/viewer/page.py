"""The player as one web page that needs no server and no network: the file that ``export --html`` writes."""

from __future__ import annotations

import base64
import html
from pathlib import Path

PLAYER = Path(__file__).with_name("player.js")
"""The player, a JavaScript module that exports ``Player``."""

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>:root {{ color-scheme: light dark }} body {{ margin: 16px }}</style>
<main><div id="viewer"></div></main>
<script type="module">
{player}
const url = (text) => text && URL.createObjectURL(new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))]));
window.player = new Player(document.getElementById("viewer"));
window.shown = window.player.show({{ scene: url("{scene}"), motion: url("{motion}"), still: "{still}" }});
</script>
</html>
"""


def standalone_page(scene: bytes, motion: bytes = b"", *, still: bytes = b"", title: str = "Avatar") -> str:
    """HTML of a page that shows an avatar in 3D.

    Args:
        scene: from :func:`pipeline.viewer.pack_scene`.
        motion: from :func:`pipeline.viewer.pack_motion`, or nothing.
        still: a JPEG for browsers without WebGL2, or nothing.
        title: of the page.
    """
    picture = f"data:image/jpeg;base64,{base64.b64encode(still).decode()}" if still else ""
    return _PAGE.format(
        title=html.escape(title),
        player=PLAYER.read_text("utf-8"),
        scene=base64.b64encode(scene).decode(),
        motion=base64.b64encode(motion).decode(),
        still=picture,
    )
