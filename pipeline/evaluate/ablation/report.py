"""The ablation as a page: tables, and whether the paper's ordering shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Scores = dict[str, dict[str, float]]
"""Row name to its mean scores, within one group."""

GAIN_WANTED = 25.0
"""Percent by which head labels should improve the boxes of mouth and eyes."""


def page(result: dict[str, Any]) -> str:
    """Markdown of what :func:`pipeline.evaluate.ablation.run_ablation` returns."""
    groups: dict[str, Scores] = result["groups"]
    parts = [
        "# Ablation\n",
        f"Written by `{result['command']}`. {_how(result)}\n",
        "## Labels and terms\n",
        _table(groups.get("terms", {}), ("psnr", "ssim", "lpips", "photo_psnr")),
        "## The lost loss weight\n",
        "The paper names eight weights and prints seven values. Each row gives the seven values, in order, to the "
        "other seven weights; the weight named keeps our own value.\n",
        _table(groups.get("lost weight", {}), ("psnr", "ssim", "lpips", "photo_psnr")),
        "## Head labels\n",
        "The photo shows head and shoulders. Boxes of mouth and eyes, on facial expressions that no label shows.\n",
        _table(groups.get("head", {}), ("face_structural", "face_lpips", "photo_psnr")),
        "## Does the paper's ordering show?\n",
        *(f"- {sentence}\n" for sentence in findings(groups)),
    ]
    return "\n".join(parts)


TITLES = {
    "psnr": "PSNR, dB", "ssim": "SSIM", "lpips": "LPIPS", "photo_psnr": "photo's own view, dB",
    "face_structural": "structural loss", "face_lpips": "LPIPS in the boxes",
}  # fmt: skip


def _how(result: dict[str, Any]) -> str:
    size, lpips, done, total = result["size"], result["lpips"], result["rows_done"], result["rows_total"]
    return ("" if done == total else f"**Stopped after {done} of {total} rows.** ") + (
        f"{result['subjects']} synthetic subject(s), seed {result['seed']}; photos of {size['height']} rows, "
        f"{size['labels']} label frames of each kind, {size['steps']} steps, {size['poses']} held-out poses seen from "
        "0, 15, 30 degrees to both sides and 20 degrees up. PSNR, SSIM and LPIPS are taken inside the union of both "
        f"persons' masks. LPIPS is {lpips or 'left out: no weights were given'}."
    )


def _table(rows: Scores, keys: tuple[str, ...]) -> str:
    shown = [key for key in keys if any(key in row for row in rows.values())]
    if not rows:
        return "Not run.\n"
    lines = ["| row | " + " | ".join(TITLES[key] for key in shown) + " |", "|---" * (len(shown) + 1) + "|"]
    for name, row in rows.items():
        lines.append(f"| {name} | " + " | ".join(_number(key, row.get(key)) for key in shown) + " |")
    return "\n".join(lines) + "\n"


def _number(key: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if key.endswith("psnr") else f"{value:.4f}"


def findings(groups: dict[str, Scores]) -> list[str]:
    """One sentence per claim of the paper that these rows can test."""
    terms, head = groups.get("terms", {}), groups.get("head", {})
    best = best_labels(terms)
    out = []

    def claim(text: str, rows: Scores, better: str | None, worse: str | None) -> None:
        if better in rows and worse in rows:
            out.append(f"{text}: {_compare(rows[better], rows[worse])}")

    claim("Labels help (Fig. 6)", terms, best, "photo only")
    claim("A perceptual loss on labels beats L1 (Fig. 7)", terms, best, "+ labels, L1")
    claim("LPIPS-squeeze beats the structural loss", terms, "+ labels, lpips-squeeze", best)
    claim("Soft mesh constraints help, with labels (Fig. 8)", terms, best, "labels, - soft mesh constraints")
    claim("Soft mesh constraints help, photo only", terms, "photo only", "photo only, - soft mesh constraints")
    claim("The Laplacian helps", terms, best, "labels, - Laplacian")
    claim("Re-tracking helps (Eq. 6)", terms, best, "labels, - re-tracking")
    if "+ head labels" in head and "photo only" in head:
        out.append(_head_gain("+ head labels", head["+ head labels"], head["photo only"]))
    return out


def best_labels(terms: Scores) -> str | None:
    """The row that stands for the method: labels with the default perceptual loss."""
    order = ("+ labels, lpips-vgg", "+ labels, structural")
    return next((name for name in order if name in terms), None)


_JUDGES: dict[str, Callable[[float, float], bool]] = {
    "psnr": lambda a, b: a > b,
    "ssim": lambda a, b: a > b,
    "lpips": lambda a, b: a < b,
}


def _compare(better: dict[str, float], worse: dict[str, float]) -> str:
    keys = [key for key in _JUDGES if key in better and key in worse]
    won = [key for key in keys if _JUDGES[key](better[key], worse[key])]
    verdict = "**shows**" if len(won) == len(keys) else "**does not show**" if not won else "**shows in part**"
    numbers = ", ".join(f"{TITLES[k]} {_number(k, better[k])} against {_number(k, worse[k])}" for k in keys)
    return f"{verdict} ({numbers})."


def _head_gain(name: str, row: dict[str, float], base: dict[str, float]) -> str:
    keys = [key for key in ("face_structural", "face_lpips") if key in row and key in base]
    gains = {key: 100 * (1 - row[key] / base[key]) for key in keys}
    verdict = "**met**" if max(gains.values()) >= GAIN_WANTED else "**not met**"
    numbers = ", ".join(f"{TITLES[key]} {gain:+.0f} %" for key, gain in gains.items())
    wish = f"{name[2:].capitalize()} should improve the boxes by {GAIN_WANTED:.0f} % in one of both"
    return f"{wish}: {verdict} ({numbers})."
