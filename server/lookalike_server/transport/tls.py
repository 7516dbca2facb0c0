"""Certificate of the server, and the authority of client certificates. Both may be replaced while it runs."""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc

from lookalike_indexer.errors import UsageError
from lookalike_server.common.tls_files import TLSFiles
from lookalike_server.transport.reloading_file import ReloadingFile


def credentials(files: TLSFiles) -> grpc.ServerCredentials:
    """Return credentials that are checked for changes at each new connection.

    Raises UsageError if they are unusable.
    """
    reloading = ReloadingFile(files.paths, lambda: _configuration(files))
    return grpc.dynamic_ssl_server_credentials(
        reloading.get(), reloading.get, require_client_authentication=files.client_ca is not None
    )


def _configuration(files: TLSFiles) -> grpc.ServerCertificateConfiguration:
    pair = _read(files.key, "--tls-key"), _read(files.cert, "--tls-cert")
    authority = None if files.client_ca is None else _read(files.client_ca, "--tls-client-ca")
    _check(files)
    return grpc.ssl_server_certificate_configuration([pair], root_certificates=authority)


def _check(files: TLSFiles) -> None:
    """Check the files. gRPC would accept any bytes, and then fail each connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # The empty password keeps OpenSSL from prompting for that of an encrypted key.
        context.load_cert_chain(files.cert, files.key, password="")  # nosec B106
    except (ssl.SSLError, ValueError) as error:
        raise UsageError(
            f"--tls-cert {files.cert} and --tls-key {files.key} are not a certificate and its unencrypted key, "
            f"both PEM ({_reason(error)})."
        ) from error
    if files.client_ca is None:
        return
    try:
        context.load_verify_locations(files.client_ca)
    except ssl.SSLError as error:
        raise UsageError(
            f"--tls-client-ca {files.client_ca} contains no PEM certificates ({_reason(error)})."
        ) from error


def _reason(error: Exception) -> str:
    return (getattr(error, "reason", None) or str(error) or type(error).__name__).lower().replace("_", " ")


def _read(path: Path, option: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{option} {path} cannot be read: {(error.strerror or str(error)).lower()}.") from error
