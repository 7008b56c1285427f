"""Content credentials: a signed C2PA manifest in a video, or beside it, and its reading back.

MP4 files (and PNG, JPEG, GIF and WebP pictures) carry the manifest inside. WebM has no place for one in the standard's
library: it gets a sidecar ``<name>.c2pa``. A folder of frames gets ``SHA256SUMS`` (as ``sha256sum`` writes it) and the
sidecar of that. Signing is the last thing that is done to a file; any change of a byte afterwards shows.

Who signs is the matter of :mod:`pipeline.signing`. No time-stamp server and no other host is asked.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from pipeline.signing import PURPOSE, identity, own_root
from pipeline.types import PipelineError

EMBEDDED = {".mp4": "video/mp4", ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg",
            ".gif": "image/gif", ".webp": "image/webp", ".mov": "video/quicktime", ".m4v": "video/x-m4v"}  # fmt: skip
SIDECAR_SUFFIX, SUMS_NAME = ".c2pa", "SHA256SUMS"
BYTES = "application/octet-stream"
MAX_MANIFEST_BYTES = 16 << 20


@dataclass(frozen=True)
class Credentials:
    """What a file's credentials say and how far to believe them.

    Attributes:
        state: "none"; "altered" (the file or the manifest was changed after signing, or cannot be checked); "unknown
            signer" (intact, signed by a certificate that nothing here vouches for); "this machine" (intact, signed
            by this machine's own key); "trusted" (intact, and the certificate leads to one that the user trusts).
        place: "embedded", "sidecar" or "".
        signer: organisation and name in the certificate.
        software: who wrote the manifest.
        source_type: last word of the IPTC digital source type.
        statement: this software's own assertion, empty in other software's manifests.
        problems: C2PA's codes of what is wrong.
    """

    state: str
    place: str = ""
    signer: str = ""
    software: str = ""
    source_type: str = ""
    statement: dict[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def intact(self) -> bool:
        """There are credentials, and the file is as it was signed."""
        return self.state in ("unknown signer", "this machine", "trusted")


ASSERTION = "org.one-shot-avatar.origin"


def sign(path: Path, manifest: dict[str, Any]) -> Path | None:
    """Sign a finished file or folder of frames in place.

    Args:
        path: a video, a picture, or a folder of frames.
        manifest: a C2PA manifest definition.

    Returns:
        The sidecar, or None where the manifest is inside the file.

    Raises:
        PipelineError: it could not be signed; a file is then as it was.
    """
    import c2pa

    who = identity()
    with _said_plainly(c2pa, path):
        info = c2pa.C2paSignerInfo(
            alg=c2pa.C2paSigningAlg[who.algorithm], sign_cert=who.chain, private_key=who.key, ta_url=None
        )
        context = c2pa.Context(c2pa.Settings.from_dict(_settings(())))
        with c2pa.Signer.from_info(info) as signer, c2pa.Builder(json.dumps(manifest), context=context) as builder:
            if path.suffix.lower() in EMBEDDED and path.is_file():
                _embed(builder, signer, path)
                return None
            return _beside(builder, signer, path)


@contextlib.contextmanager
def _said_plainly(c2pa: Any, path: Path) -> Iterator[None]:
    try:
        yield
    except c2pa.C2paError as error:
        reason = " ".join(str(error).split())[:200]
        raise PipelineError(
            f"'{path.name}' could not be signed ({reason}); check the signing key and certificate and the disk space."
        ) from error


def _embed(builder: Any, signer: Any, path: Path) -> None:
    signed = path.with_name(f"{path.stem}.signed{path.suffix}")
    try:
        with path.open("rb") as source, signed.open("w+b") as out:
            builder.sign(signer, EMBEDDED[path.suffix.lower()], source, out)
        os.replace(signed, path)
    finally:
        signed.unlink(missing_ok=True)


def _beside(builder: Any, signer: Any, path: Path) -> Path:
    if path.is_dir():
        sums = path / SUMS_NAME
        sums.write_text(_sums(path), encoding="ascii")
        path = sums
    builder.set_no_embed()
    with path.open("rb") as source, tempfile.TemporaryFile() as unchanged:
        manifest = builder.sign(signer, BYTES, source, unchanged)
    sidecar = path.with_name(path.name + SIDECAR_SUFFIX)
    sidecar.write_bytes(manifest)
    return sidecar


def _sums(folder: Path) -> str:
    """One line per picture, as ``sha256sum *.png`` writes it."""
    return "".join(f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in sorted(folder.glob("*.png")))


def _settings(anchors: tuple[bytes, ...]) -> dict[str, Any]:
    """No network, no thumbnails; trusted are exactly the given roots."""
    trust = {"user_anchors": b"\n".join(anchors).decode("ascii"), "trust_config": PURPOSE} if anchors else {}
    return {
        "trust": trust,
        "verify": {"verify_trust": bool(anchors), "remote_manifest_fetch": False, "ocsp_fetch": False},
        "builder": {"thumbnail": {"enabled": False}},
    }


def read(path: Path, anchors: bytes = b"") -> Credentials:
    """Read and check the credentials of a file or a folder of frames.

    Args:
        path: what to check; a sidecar is looked for beside it.
        anchors: root certificates to trust, PEM.

    Raises:
        PipelineError: the file cannot be read, or ``anchors`` is no PEM.
    """
    subject = path / SUMS_NAME if path.is_dir() else path
    if path.is_dir() and not subject.is_file():
        return Credentials("none")
    sidecar = subject.with_name(subject.name + SIDECAR_SUFFIX)
    beside = sidecar.is_file()
    if not beside and subject.suffix.lower() not in EMBEDDED:
        return Credentials("none")
    place = "sidecar" if beside else "embedded"
    if path.is_dir() and subject.read_text("ascii", "replace") != _sums(path):
        return Credentials("altered", place, problems=("a frame differs from SHA256SUMS",))
    own = own_root()
    for state, roots in (("trusted", anchors), ("this machine", own), ("unknown signer", b"")):
        if roots or state == "unknown signer":
            found = _read_with(subject, sidecar if beside else None, roots, place, state)
            if found.state != "unknown signer":
                return found
    return found


def _read_with(subject: Path, sidecar: Path | None, anchors: bytes, place: str, word: str) -> Credentials:
    """The credentials under one set of trusted roots; ``word`` is their state if these vouch for the signer."""
    import c2pa

    try:
        context = c2pa.Context(c2pa.Settings.from_dict(_settings((anchors,) if anchors else ())))
        with _open(subject) as stream:
            if sidecar is None:
                reader = c2pa.Reader.try_create(EMBEDDED[subject.suffix.lower()], stream, context=context)
            else:
                if sidecar.stat().st_size > MAX_MANIFEST_BYTES:
                    return Credentials("altered", place, problems=("the sidecar is too large",))
                reader = c2pa.Reader(BYTES, stream, sidecar.read_bytes(), context=context)
            if reader is None:
                return Credentials("none")
            with reader:
                return _said(json.loads(reader.json()), place, word)
    except c2pa.C2paError as error:
        return Credentials("altered", place, problems=(" ".join(str(error).split())[:200],))
    except (ValueError, KeyError, TypeError) as error:
        return Credentials("altered", place, problems=(f"unreadable manifest ({type(error).__name__})",))


@contextlib.contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as stream:
            yield stream
    except OSError as error:
        raise PipelineError(f"'{path}' cannot be read ({error.strerror}); check the path.") from error


def _said(store: dict[str, Any], place: str, word: str) -> Credentials:
    """A parsed manifest store in our words."""
    manifest = store["manifests"][store["active_manifest"]]
    problems = tuple(str(p.get("code")) for p in store.get("validation_status") or ())
    state = store.get("validation_state")
    wrong = tuple(p for p in problems if p != "signingCredential.untrusted")
    if state == "Invalid" or state not in ("Valid", "Trusted"):
        word = "altered"
    elif state == "Valid":
        word = "unknown signer"
    assertions = {a["label"]: a["data"] for a in manifest.get("assertions", ())}
    actions = next((d.get("actions") for label, d in assertions.items() if label.startswith("c2pa.actions")), None)
    source = next((a["digitalSourceType"] for a in actions or () if "digitalSourceType" in a), "")
    signature = manifest.get("signature_info") or {}
    signer = ", ".join(s for s in (signature.get("common_name"), signature.get("issuer")) if s)
    software = " ".join(str(v) for v in list((manifest.get("claim_generator_info") or [{}])[0].values())[:2])
    statement = assertions.get(ASSERTION)
    return Credentials(
        word, place, signer, software, source.rsplit("/", 1)[-1], statement if isinstance(statement, dict) else {},
        wrong if word == "altered" else ()
    )  # fmt: skip
