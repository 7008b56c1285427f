"""Where an avatar comes from and who agreed to it: the consent record.

The record is what the person at the keyboard stated. The software cannot check it; it keeps the statement with the
avatar, so that whoever is handed the avatar can read it. Signed content credentials and a watermark are not part of
this version.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from pipeline.types import PipelineError

CONSENT_BASES = {
    "own": "This is a photo of me.",
    "permission": "The person in the photo gave me permission to make an avatar of them.",
    "public-domain": "The photo is in the public domain, or shows nobody real.",
}
"""What a user may state, and the sentence that they state with it."""
NOT_STATED = "not-stated"


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
