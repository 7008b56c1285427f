"""Reading back what a video carries: ``python -m pipeline verify VIDEO``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.credentials import Credentials
from pipeline.types import Array, PipelineError
from pipeline.watermark import Detection

MARKED, UNMARKED, ALTERED = 0, 3, 4
"""Exit codes of ``verify``."""
PICTURES = {".png", ".jpg", ".jpeg", ".gif", ".webp"}
MAX_PICTURE_PIXELS = 64_000_000
STATES = {
    "none": "No content credentials.",
    "altered": "Content credentials are there, but the file or the credentials were changed after signing.",
    "unknown signer": "Content credentials are intact; who signed them is not known here.",
    "this machine": "Content credentials are intact and were signed with this machine's own key, which vouches for "
    "nobody.",
    "trusted": "Content credentials are intact, and the signer is one that you trust.",
}


@dataclass(frozen=True)
class Verdict:
    """What a file carries.

    Attributes:
        path: the file or folder.
        credentials, watermark: what was found.
        public_key: the watermark was looked for with the public key.
    """

    path: Path
    credentials: Credentials
    watermark: Detection
    public_key: bool

    @property
    def code(self) -> int:
        """0: marked as made with this software or signed; 3: nothing found; 4: altered after signing."""
        if self.credentials.state == "altered" or self.contradiction:
            return ALTERED
        return MARKED if self.watermark.found or self.credentials.intact else UNMARKED

    @property
    def contradiction(self) -> bool:
        """The credentials name another watermark than the one in the pictures."""
        named = (self.credentials.statement.get("watermark") or {}).get("id")
        return named is not None and self.watermark.payload is not None and named != self.mark_id

    @property
    def mark_id(self) -> str | None:
        """The watermark's number as four hex digits."""
        return None if self.watermark.payload is None else f"{self.watermark.payload:04x}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "file": str(self.path),
            "verdict": {MARKED: "marked", UNMARKED: "no mark found", ALTERED: "altered"}[self.code],
            "credentials": asdict(self.credentials),
            "watermark": {**asdict(self.watermark), "id": self.mark_id, "public_key": self.public_key},
            "contradiction": self.contradiction,
        }


def verify(path: str | Path, *, anchors: bytes = b"") -> Verdict:
    """Check a video, a picture or a folder of frames.

    Args:
        path: what to check.
        anchors: root certificates whose signers are trusted, PEM.

    Raises:
        PipelineError: the file is missing or shows no picture, or the anchors are no certificates.
    """
    from pipeline import credentials, watermark
    from pipeline.provenance import mark_key

    path, key = Path(path), mark_key()
    if anchors and b"-----BEGIN CERTIFICATE-----" not in anchors:
        raise PipelineError("The file of trusted roots holds no PEM certificate; give one that does.")
    with ExitStack() as stack:
        try:
            found = watermark.detect(_pictures(path, stack), key)
        except ValueError as error:
            raise PipelineError(f"'{path}' cannot be checked ({error}); give the pictures of one video.") from error
    return Verdict(path, credentials.read(path, anchors), found, key == watermark.PUBLIC_KEY)


def _pictures(path: Path, stack: ExitStack) -> Iterator[Array]:
    """(H, W, 3) uint8 frames spread over whatever ``path`` is.

    Raises:
        PipelineError: it cannot be read.
    """
    from pipeline.video import VideoReader
    from pipeline.watermark import spread

    if path.is_dir():
        files = sorted(path.glob("*.png"))
        if not files:
            raise PipelineError(f"The folder '{path}' holds no PNG frames; give a video, a picture or such a folder.")
        return (next(_open_picture(file)) for file in spread(files, len(files)))
    if path.suffix.lower() in PICTURES:
        return _open_picture(path)
    reader = stack.enter_context(VideoReader(path))
    return spread(reader, reader.info.frames)


def _open_picture(path: Path) -> Iterator[Array]:
    from PIL import Image, ImageSequence

    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > MAX_PICTURE_PIXELS:
                raise PipelineError(f"'{path.name}' is too large to check; make it smaller than 64 megapixels.")
            for page in ImageSequence.Iterator(picture):
                yield np.asarray(page.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise PipelineError(f"'{path}' is not a picture that can be read; check the file.") from error


def as_text(verdict: Verdict) -> str:
    """The verdict in words."""
    said, found = verdict.credentials, verdict.watermark
    lines = [STATES[said.state]]
    if said.state != "none":
        lines += _details(said)
    if found.found:
        lines.append(f"An invisible watermark of this software is there (number {verdict.mark_id or 'unreadable'}).")
        how = [f"resized to {found.scale:.2f} of the original"] if abs(found.scale - 1) > 0.01 else []
        how += ["mirrored"] if found.mirrored else []
        lines += [f"  The pictures were {' and '.join(how)}."] if how else []
    else:
        lines.append("No invisible watermark of this software was found.")
    chance = f"{found.p_value:.0e}" if found.p_value < 0.1 else f"{found.p_value:.1f}"
    lines.append(f"  Score {found.score:.1f}, needed {found.threshold:.1f}; chance of this without a mark: {chance}.")
    if found.found and verdict.public_key:
        lines.append("  It was made with the public key: anyone could have put it there.")
    if verdict.contradiction:
        lines.append("The credentials name another watermark: they do not belong to these pictures.")
    if verdict.code == UNMARKED:
        lines.append("That does not show that the video is a real recording, only that nothing was found.")
    return "\n".join(lines)


def _details(said: Credentials) -> list[str]:
    lines = [f"  {word}: {text}." for word, text in (("Signer", said.signer), ("Made with", said.software)) if text]
    if said.source_type:
        lines.append(f"  Kind of source: {said.source_type}.")
    consent = (said.statement.get("consent") or {}).get("statement")
    lines += [f"  Consent that was stated: {consent}"] if consent else []
    motion = said.statement.get("motion")
    lines += [f"  Motion: {motion}."] if motion else []
    return lines + [f"  What is wrong: {problem}." for problem in said.problems]
