"""The Gradio app: photo, avatar, talk. Also a named API for ``gradio_client``, curl and MCP.

The endpoints are in ``pipeline/web/endpoints.py``, the layout in ``pipeline/web/page.py``.
"""

from __future__ import annotations

import os
import signal
import threading

import spaces  # noqa: F401  before anything that could touch CUDA

# isort: split
from pipeline import api, heap
from pipeline.motion.preview import thumbnails
from pipeline.web import limits, looks, page


def warm_up() -> None:
    """Build or load the body model, and draw the pictures of the motions, before the first visitor asks for them."""
    try:
        api.get_body()
        page.tiers_text()
        thumbnails()
    except Exception as error:  # the first visitor will see it; a server must not die of it
        print(f"warm-up: {error}")


def main() -> None:
    """Serve the app on ``GRADIO_SERVER_NAME``:``GRADIO_SERVER_PORT``, by default this machine only."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended like Ctrl-C: nothing is left behind
    heap.share_arenas()
    demo = page.build_demo()
    threading.Thread(target=warm_up, daemon=True).start()
    demo.launch(
        max_file_size=limits.MAX_UPLOAD,
        run_history=False,
        show_error=False,
        footer_links=["api"],
        mcp_server=os.environ.get("ONESHOT_MCP", "1") == "1",
        theme=looks.theme(),
        css=looks.CSS,
        js=looks.on_start(),
        app_kwargs={"middleware": limits.middleware()},
    )


if __name__ == "__main__":
    main()
