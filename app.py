"""The Gradio app: photo, avatar, talk. Also a named API for ``gradio_client``, curl and MCP.

The endpoints are in ``pipeline/web/endpoints.py``, the layout in ``pipeline/web/page.py``.
"""

from __future__ import annotations

import os
import threading

import spaces  # noqa: F401  before anything that could touch CUDA

# isort: split
from pipeline import api
from pipeline.web import limits, looks, page


def warm_up() -> None:
    """Build or load the body model beforehand, so that the first visitor does not wait for it."""
    try:
        api.get_body()
        page.tiers_text()
    except Exception as error:  # the first visitor will see it; a server must not die of it
        print(f"warm-up: {error}")


def main() -> None:
    """Serve the app on ``GRADIO_SERVER_NAME``:``GRADIO_SERVER_PORT``, by default this machine only."""
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
        js=looks.ROLES,
        app_kwargs={"middleware": limits.middleware()},
    )


if __name__ == "__main__":
    main()
