"""Who signs the content credentials: the user's key and certificate, or a key of this machine.

``ONESHOT_C2PA_KEY`` and ``ONESHOT_C2PA_CERT`` hold PEM text or the path of a PEM file: the private key, and the
certificate with its chain, leaf first. Without them a key is made once and kept in the user's cache, readable by the
user only. Its certificate vouches for nobody and is reported so.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.types import PipelineError

KEY_VARIABLE, CERTIFICATE_VARIABLE = "ONESHOT_C2PA_KEY", "ONESHOT_C2PA_CERT"
PURPOSE = "1.3.6.1.5.5.7.3.4"
"""Extended key usage of the certificates: e-mail protection, which the C2PA certificate profile accepts."""
VALID_DAYS = 3650
OWN_ORGANIZATION = "self-signed on the machine that made the video"
_CERTIFICATE_MARK = b"-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True)
class Identity:
    """Who signs.

    Attributes:
        key: private key, PEM. chain: certificates, PEM, leaf first.
        algorithm: C2PA's name, "ES256" for example.
        own: made by this software; vouches for nobody.
    """

    key: bytes = field(repr=False)
    chain: bytes
    algorithm: str
    own: bool


def identity() -> Identity:
    """The signing identity: the user's, else this machine's own.

    Raises:
        PipelineError: only one of the two variables is set, they do not fit together, or the cache is not writable.
    """
    key, chain = (os.environ.get(name, "") for name in (KEY_VARIABLE, CERTIFICATE_VARIABLE))
    if not key and not chain:
        return _own_identity()
    if not key or not chain:
        raise PipelineError(f"Signing needs both {KEY_VARIABLE} and {CERTIFICATE_VARIABLE}; set or unset both.")
    return _checked(_pem(key, KEY_VARIABLE), _pem(chain, CERTIFICATE_VARIABLE), own=False)


def _pem(value: str, name: str) -> bytes:
    if "-----BEGIN" in value:
        return value.replace("\\n", "\n").encode()
    try:
        return Path(value).expanduser().read_bytes()
    except (OSError, ValueError) as error:
        raise PipelineError(f"{name} is neither PEM text nor a readable PEM file; correct it.") from error


def _checked(key_pem: bytes, chain_pem: bytes, own: bool) -> Identity:
    """An identity whose key fits its certificate, which is valid now.

    Raises:
        PipelineError: it is not so.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_pem_private_key(key_pem, None)
        leaf = x509.load_pem_x509_certificates(chain_pem)[0]
    except (ValueError, TypeError, IndexError) as error:
        raise PipelineError(
            f"The signing key or certificate is not readable PEM without a password; check {KEY_VARIABLE} and "
            f"{CERTIFICATE_VARIABLE}."
        ) from error
    if key.public_key() != leaf.public_key():
        raise PipelineError("The signing key does not belong to the first certificate; put the leaf first.")
    if not leaf.not_valid_before_utc <= dt.datetime.now(dt.UTC) <= leaf.not_valid_after_utc:
        raise PipelineError("The signing certificate is not valid today; renew it.")
    return Identity(key_pem, chain_pem, _algorithm(key), own)


def _algorithm(key: Any) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ED25519"
    if isinstance(key, rsa.RSAPrivateKey):
        return "PS256"
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in ("secp256r1", "secp384r1", "secp521r1"):
        return {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}[key.curve.name]
    raise PipelineError("C2PA signs with EC keys (P-256, P-384, P-521), Ed25519 or RSA; use one of these.")


def _own_path() -> Path:
    from pipeline.body.cache import cache_dir

    return cache_dir() / "credentials" / "signer.pem"


def _own_identity() -> Identity:
    """This machine's key, made on first use; a damaged or expired one is replaced."""
    from pipeline.body.cache import only_one

    path = _own_path()
    with only_one(path):
        with contextlib.suppress(OSError, PipelineError):
            return _split(path.read_bytes())
        pem = _make_identity()
        _write_private(path, pem)
        return _split(pem)


def _split(pem: bytes) -> Identity:
    key, _, certificates = pem.partition(_CERTIFICATE_MARK)
    return _checked(key, _CERTIFICATE_MARK + certificates, own=True)


def _write_private(path: Path, data: bytes) -> None:
    """Readable by the user only, and whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".signer")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(name, path)
    except OSError as error:
        raise PipelineError(
            f"The signing key cannot be kept in {path.parent} ({error.strerror}); set ONESHOT_CACHE to another folder."
        ) from error


def _make_identity() -> bytes:
    """PEM of a new key, its certificate, and the certificate of an authority whose key is thrown away at once."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = _certificate("local root", "local root", root_key, root_key, authority=True).sign(root_key, hashes.SHA256())
    leaf = _certificate("local signer", "local root", key, root_key, authority=False).sign(root_key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + b"".join(c.public_bytes(serialization.Encoding.PEM) for c in (leaf, root))


def _certificate(name: str, issuer: str, key: Any, issuer_key: Any, *, authority: bool) -> Any:
    """A certificate of the C2PA profile: key identifiers, key usage, and for the leaf an extended key usage."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    def full(common: str) -> x509.Name:
        organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, OWN_ORGANIZATION)
        return x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, common)])

    start = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    usage = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
                           "encipher_only", "decipher_only"), False)  # fmt: skip
    signs = x509.KeyUsage(digital_signature=not authority, key_cert_sign=authority, crl_sign=authority, **usage)
    builder = (
        x509.CertificateBuilder()
        .subject_name(full(name))
        .issuer_name(full(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=VALID_DAYS))
        .add_extension(x509.BasicConstraints(authority, 0 if authority else None), True)
        .add_extension(signs, True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False)
    )
    if not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([x509.ObjectIdentifier(PURPOSE)]), False)
    return builder


def own_root() -> bytes:
    """This machine's own root certificate, if it has signed before."""
    with contextlib.suppress(OSError, PipelineError):
        chain = _split(_own_path().read_bytes()).chain
        return _CERTIFICATE_MARK + chain.split(_CERTIFICATE_MARK)[2]
    return b""
