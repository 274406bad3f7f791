"""A signed C2PA manifest inside an image file: what made it, and that nobody changed it since.

Needs the optional extra "marking" (c2pa-python). The signature proves that the file is unchanged; it does not
prove who signed, as the certificate is made on the spot and its key is thrown away. A publisher signs with a
certificate of his own. Any program that saves the file again drops the manifest: the watermark stays.
"""

import datetime
import importlib.util
import io
from dataclasses import dataclass
from pathlib import Path

INSTALL = 'pip install -e ".[marking]"'
TITLE = "Face swap made by smoothswap_lib"
SOURCE_TYPE = (
    "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"  # IPTC's word
)
MIME_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
UNTRUSTED = "signingCredential.untrusted"  # C2PA's code: nobody vouches for the signer
VALID = datetime.timedelta(days=1)  # of the certificate: the key is used once


@dataclass(frozen=True)
class Manifest:
    """What a file's manifest says, and whether file and signature fit."""

    title: str
    source_type: str  # the last part of IPTC's address, "" if it names none
    intact: bool
    problems: tuple[str, ...]  # C2PA's codes, UNTRUSTED among them


def installed() -> bool:
    """Whether manifests can be written and read here."""
    return importlib.util.find_spec("c2pa") is not None


def _certificates() -> tuple[str, str]:
    """PEM of a chain of two certificates, and of the key of the first, both made now."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def name(text):
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "smoothswap_lib, nobody vouches for it"),
                x509.NameAttribute(NameOID.COMMON_NAME, text),
            ]
        )

    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=5)  # clocks differ
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
    )
    usage |= {"encipher_only": False, "decipher_only": False}

    def certificate(subject, public_key, is_root):
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name("root"))
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + VALID)
            .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=not is_root, key_cert_sign=is_root, crl_sign=is_root, **usage
                ),
                critical=True,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False
            )
        )
        if not is_root:
            allowed = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])  # C2PA asks for one
            builder = builder.add_extension(allowed, critical=False)
        signed = builder.sign(root_key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM).decode()

    chain = certificate("one swap", key.public_key(), False) + certificate(
        "root", root_key.public_key(), True
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return chain, private.decode()


def sign(image_bytes: bytes, suffix: str) -> bytes:
    """The bytes of an image file with a signed manifest inside.

    Parameters
    ----------
    suffix : of the file's name, one of MIME_TYPES
    """
    import c2pa

    kind = MIME_TYPES[suffix.lower()]
    action = {"action": "c2pa.created", "digitalSourceType": SOURCE_TYPE}
    definition = {
        "claim_generator_info": [{"name": "smoothswap_lib"}],
        "title": TITLE,
        "format": kind,
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
    }
    chain, key = _certificates()
    info = c2pa.C2paSignerInfo("es256", chain.encode(), key.encode(), None)
    # a thumbnail would be larger than a 64 px swap, and unmarked
    settings = {"builder": {"thumbnail": {"enabled": False}}}
    signed = io.BytesIO()
    with (
        c2pa.Context.from_dict(settings) as context,
        c2pa.Signer.from_info(info) as signer,
        c2pa.Builder(definition, context=context) as builder,
    ):
        builder.sign(signer, kind, io.BytesIO(image_bytes), signed)
    return signed.getvalue()


def read(path: str | Path) -> Manifest | None:
    """The manifest of an image file; None if it has none (or a kind of file that C2PA does not read)."""
    import c2pa

    try:
        with open(path, "rb") as file, c2pa.Reader(file) as reader:  # the kind of file is seen from its bytes
            active, results = reader.get_active_manifest() or {}, reader.get_validation_results() or {}
    except (c2pa.C2paError.ManifestNotFound, c2pa.C2paError.NotSupported):
        return None
    except c2pa.C2paError as error:
        return Manifest("unreadable", "", False, (str(error),))
    found = [
        action.get("digitalSourceType", "")
        for assertion in active.get("assertions", [])
        if assertion["label"].startswith("c2pa.actions")
        for action in assertion["data"]["actions"]
    ]
    source = next(filter(None, found), "").rsplit("/", 1)[-1]
    codes = tuple(
        entry["code"] for entry in results.get("activeManifest", {}).get("failure", []) if "code" in entry
    )
    intact = not set(codes) - {UNTRUSTED}
    return Manifest(active.get("title") or "without a title", source, intact, codes)
