"""The ablation bench: what each term of the fit is worth, on synthetic people whose truth is known."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.console import Progress
from pipeline.types import Array, PipelineError

if TYPE_CHECKING:
    from pipeline.body import BodyModel
    from pipeline.evaluate.ablation.rows import Row
    from pipeline.evaluate.ablation.scenes import Size


def run_ablation(
    body: BodyModel, out: Path, *, quick: bool = False, seed: int = 0, subjects: int = 1, only: str | None = None,
    size: Size | None = None, rows: list[Row] | None = None, progress: Progress,
) -> dict[str, Any]:  # fmt: skip
    """Fit every row on every subject and write ``ablation.json``, ``ablation.md`` and ``ablation.png``
    after each: a run that is stopped leaves the rows that are done.

    Args:
        body: body model. out: folder.
        quick: few rows at a tiny size, to see that it works; its numbers mean nothing.
        seed: of the first subject; the next ones follow. subjects: how many people are made up.
        only: "terms", "lost-weight" or "head": the rows of that table alone.
        size, rows: other than those that ``quick`` chooses. progress: called with a stage and the share done.

    Returns:
        What the JSON holds: ``groups`` (group to row to mean scores) and how it was made.

    Raises:
        PipelineError: the folder cannot be written.
    """
    from pipeline.evaluate import metrics
    from pipeline.evaluate.ablation import rows as R
    from pipeline.evaluate.ablation.scenes import QUICK, Size, make_bench
    from pipeline.perceptual import load_lpips

    size = size or (QUICK if quick else Size())
    best, lpips = R.best_measure()
    rows = rows or (R.quick_rows() if quick else R.all_rows(best, load_lpips("squeeze") is not None))
    rows = [row for row in rows if only is None or row.group == only.replace("-", " ")]
    said = (" --quick" if quick else "") + (f" --only {only}" if only else "")
    found: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
    strips: list[Array] = []
    result: dict[str, Any] = {
        "command": "python -m pipeline ablate" + said, "subjects": subjects, "seed": seed,
        "size": dataclasses.asdict(size), "lpips": f"LPIPS-{lpips.network.name}" if lpips else None,
        "loss": best, "rows_done": 0, "rows_total": len(rows) * subjects, "groups": {},
    }  # fmt: skip
    for subject in range(subjects):
        progress(f"subject {subject + 1}", 0.0)
        bench = make_bench(body, seed + subject, size)
        strips = strips or [R.avatar_strip(bench, None, "truth"), R.label_strip(bench)]
        for i, row in enumerate(rows):
            progress(f"subject {subject + 1}: {row.name}", i / len(rows))
            avatar, scores = R.run_row(bench, row, size, seed, lpips)
            found[row.group, row.name].append(scores)
            result["rows_done"] += 1
            groups = result["groups"].setdefault(row.group, {})
            groups[row.name] = metrics.average(found[row.group, row.name])
            if not subject:
                strips.append(R.avatar_strip(bench, avatar, row.name))
            _write(out, result, np.concatenate(strips, 0))
    return result


def _write(out: Path, result: dict[str, Any], picture: Array) -> None:
    from pipeline.evaluate.ablation.report import page
    from pipeline.media import save_image

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as name:
            folder = Path(name)
            (folder / "ablation.json").write_text(json.dumps(result, indent=1, allow_nan=False), "utf-8")
            (folder / "ablation.md").write_text(page(result), "utf-8")
            save_image(folder / "ablation.png", picture)
            out.mkdir(exist_ok=True)
            for path in sorted(folder.iterdir()):
                os.replace(path, out / path.name)
    except OSError as error:
        raise PipelineError(f"{out} cannot be written ({error.strerror}); choose another folder.") from error
