"""Where an avatar and its videos come from: the consent record, and what is put on everything that is drawn.

The consent record is what the person at the keyboard stated. The software cannot check it; it keeps the statement with
the avatar and with every video, so that whoever is handed them can read it.

Every video carries an invisible mark (:mod:`pipeline.watermark`), signed content credentials
(:mod:`pipeline.credentials`) and, on request, a visible label. :mod:`pipeline.verify` reads them back.
"""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.types import Array, MotionClip, PipelineError

if TYPE_CHECKING:
    from pipeline.visible_label import VisibleLabel
    from pipeline.watermark import Marker

CONSENT_BASES = {
    "own": "This is a photo of me.",
    "permission": "The person in the photo gave me permission to make an avatar of them.",
    "public-domain": "The photo is in the public domain, or shows nobody real.",
}
"""What a user may state, and the sentence that they state with it."""
NOT_STATED = "not-stated"
MARK_KEY_VARIABLE = "ONESHOT_WATERMARK_KEY"
SOFTWARE = "one-shot-talking-avatar"
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""IPTC's word for a mixture of a real picture and what a machine made; the photo is real, all movement is not."""


@dataclass(frozen=True)
class Consent:
    """A statement of consent.

    Attributes:
        basis: a key of :data:`CONSENT_BASES`, or ``"not-stated"``.
        stated_at: when, ISO 8601, UTC, to the second.
    """

    basis: str
    stated_at: str

    @staticmethod
    def state(basis: str | None) -> Consent:
        """Record a statement made now; None records that nothing was stated.

        Raises:
            PipelineError: an unknown basis.
        """
        basis = basis or NOT_STATED
        if basis not in CONSENT_BASES and basis != NOT_STATED:
            raise PipelineError(f"Consent '{basis}' is not known; choose one of {', '.join(CONSENT_BASES)}.")
        return Consent(basis, datetime.now(UTC).isoformat(timespec="seconds"))

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``avatar.json``, with the sentence that was agreed to."""
        return {**asdict(self), "statement": CONSENT_BASES.get(self.basis, "Nothing was stated.")}


def require_consent(basis: str | None) -> Consent:
    """The record of a statement that must be made, as in the app and its API.

    Raises:
        PipelineError: nothing or something unknown was stated.
    """
    if not basis or basis == NOT_STATED:
        raise PipelineError(
            "Please say first whether this is a photo of you, of someone who agreed, or in the public domain: "
            "an avatar is made only then."
        )
    return Consent.state(basis)


def mark_key() -> bytes:
    """The key of the invisible mark: ``$ONESHOT_WATERMARK_KEY``, else the public one that everybody can check."""
    from pipeline.watermark import PUBLIC_KEY

    return os.environ.get(MARK_KEY_VARIABLE, "").encode() or PUBLIC_KEY


def mark_id(source_sha256: str) -> int:
    """The invisible mark's number, 0..65535: the first four hex digits of the source photo's SHA-256, 0 if unknown."""
    return int(source_sha256[:4], 16) if re.fullmatch(r"[0-9a-f]{64}", source_sha256) else 0


@dataclass(frozen=True)
class Stamp:
    """What is put on one picture or video: on each frame before it is encoded, and on the file at the very end.

    Attributes:
        marker: the invisible mark.
        label: the visible label, or None.
        manifest: the content credentials.
    """

    marker: Marker
    label: VisibleLabel | None
    manifest: dict[str, Any]

    @staticmethod
    def of(
        meta: dict[str, Any], size: tuple[int, int], *, motion: MotionClip | None = None, label: bool = False
    ) -> Stamp:
        """The stamp of an avatar's picture or video.

        Args:
            meta: the avatar's ``meta``: its source hash and consent record.
            size: (width, height) of the frames.
            motion: what it does; None for a still.
            label: also put the visible label on it.
        """
        from pipeline.visible_label import VisibleLabel
        from pipeline.watermark import Marker

        number = mark_id(str(meta.get("source_sha256", "")))
        marker = Marker(mark_key(), number, size)
        return Stamp(marker, VisibleLabel(size) if label else None, _manifest(meta, motion, number, label))

    def mark(self, frame: Array) -> Array:
        """A marked, and where asked labelled, copy of an (H, W, 3) or (H, W, 4) uint8 frame; alpha is kept."""
        return self.marker.mark(frame if self.label is None else self.label.draw(frame))

    def seal(self, path: Path) -> None:
        """Sign a finished file or folder in place, or beside it (:func:`pipeline.credentials.sign`).

        Raises:
            PipelineError: it cannot be signed.
        """
        from pipeline.credentials import sign

        sign(path, self.manifest)


def _manifest(meta: dict[str, Any], motion: MotionClip | None, number: int, label: bool) -> dict[str, Any]:
    """A C2PA manifest definition: how it was made and from what, without a photo, a name or a path."""
    import pipeline
    from pipeline.credentials import ASSERTION

    consent = meta.get("consent") or {}
    origin = {
        "consent": {k: str(consent.get(k, "")) for k in ("basis", "stated_at", "statement")},
        "motion": motion_name(motion),
        "source_sha256": str(meta.get("source_sha256", "")),
        "watermark": {"method": "phase tile 1", "id": f"{number:04x}"},
        "visible_label": label,
    }
    created = {
        "action": "c2pa.created",
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "softwareAgent": {"name": SOFTWARE, "version": pipeline.__version__},
        "digitalSourceType": SOURCE_TYPE,
        "description": "A person drawn by a program, from one photo.",
    }
    return {
        "claim_generator_info": [{"name": SOFTWARE, "version": pipeline.__version__}],
        "title": "An animated avatar",
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [created]}},
            {"label": ASSERTION, "data": origin},
        ],
    }


def motion_name(motion: MotionClip | None) -> str:
    """The name of a preset; of other motions only that they are the user's own, as file names may name people."""
    if motion is None:
        return "none"
    from pipeline.motion.presets import motions_folder

    name = str(motion.meta.get("name", ""))
    known = re.fullmatch(r"[\w-]+", name) is not None and (motions_folder() / f"{name}.npz").is_file()
    return name if known else "the user's own"
