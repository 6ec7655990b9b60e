"""Answers that several handlers give: raw JSON, errors, multipart."""

import secrets
from collections.abc import Iterable, Mapping

from litestar import Response

from consumers.gateway.document_text import encode
from consumers.gateway.errors import Refusal, request_error, row_error

JSON = "application/json"


def json_answer(content: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response[bytes]:
    """A body that is JSON already."""
    return Response(content, status_code=status, media_type=JSON, headers=dict(headers or {}))


def error_answer(status: int, reason: str) -> Response[bytes]:
    """The error of a whole request."""
    return json_answer(encode({"error": request_error(status), "reason": reason}), status)


def written_answer(document_id: str, revision: str, status: int) -> Response[bytes]:
    """A document has been stored."""
    content = b'{"id":%b,"ok":true,"rev":"%b"}' % (encode(document_id), revision.encode())
    return json_answer(content, status, {"Etag": f'"{revision}"'})


def refusal_row(refusal: Refusal, **names: str) -> bytes:
    """The row of one document that was refused; `names` come first, empty ones are left out."""
    row: dict[str, object] = {name: value for name, value in names.items() if value}
    row.update(status=refusal.status, error=row_error(refusal.status), reason=refusal.reason)
    return encode(row)


def multipart_answer(parts: Iterable[tuple[bytes, bool]]) -> Response[bytes]:
    """`multipart/mixed` of JSON parts, each with whether it is an error."""
    boundary = secrets.token_hex(20)
    pieces = []
    for content, is_error in parts:
        error_mark = '; error="true"' if is_error else ""
        head = f"--{boundary}\r\nContent-Type: {JSON}{error_mark}\r\n\r\n"
        pieces += [head.encode(), content, b"\r\n"]
    pieces.append(f"--{boundary}--".encode())
    return Response(b"".join(pieces), media_type=f'multipart/mixed; boundary="{boundary}"')
