"""What handlers read of a request: the parts of its path, revisions from query and headers, and its JSON body."""

from typing import Any
from urllib.parse import unquote_to_bytes

from litestar import Request
from litestar.datastructures import State

from consumers.gateway.database import DocumentDatabase
from consumers.gateway.document_text import checked_id
from consumers.gateway.errors import Refusal

GatewayRequest = Request[Any, Any, State]

DATABASE_NAME = "fleet"
MAXIMUM_REQUEST_BYTES = 20 * 1024 * 1024


class GatewayState(State):
    """What the handlers share: the database, its name, and the shortest heartbeat a feed may have."""

    database: DocumentDatabase
    database_name: str
    minimum_heartbeat_ms: int


def check_keyspace(keyspace: str, database_name: str) -> None:
    """Refuses with 404 what is neither the database nor its default collection."""
    parts = keyspace.split(".")
    if parts[0] != database_name:
        raise Refusal(404, f'no such database "{parts[0]}"')
    if len(parts) > 1 and parts[1:] != ["_default", "_default"]:
        raise Refusal(404, f"keyspace {keyspace} not found")


def document_id_of(request: GatewayRequest) -> str:
    """The id in `/{keyspace}/{id}`, decoded after splitting, so that %2F stays inside. Raises Refusal."""
    parts = _raw_parts(request)
    document_id = _decoded(parts[1])
    if document_id.startswith("_"):
        raise Refusal(404, "unknown URL")
    if len(parts) > 2:
        raise Refusal(404, "attachments are not kept by this gateway")
    return checked_id(document_id)


def local_id(request: GatewayRequest) -> str:
    """Everything behind `_local/`, slashes included."""
    return _decoded(b"/".join(_raw_parts(request)[2:]))


def revision_asked(request: GatewayRequest) -> str:
    """The revision named by `?rev=`, otherwise by If-Match, otherwise ""."""
    return request.query_params.get("rev") or request.headers.get("if-match", "").strip().strip('"')


async def json_body(request: GatewayRequest) -> bytes:
    """The body. Raises Refusal 415 when it is declared to be no JSON or to be compressed."""
    content_type = request.headers.get("content-type", "")
    if content_type and not content_type.startswith("application/json"):
        raise Refusal(415, f"Invalid content type {content_type[:80]}")
    encoding = request.headers.get("content-encoding", "")
    if encoding not in ("", "identity"):
        raise Refusal(415, f"Unsupported Content-Encoding {encoding[:80]}; use identity")
    return await request.body()


def accepts(request: GatewayRequest, media_type: str) -> bool:
    """Whether the client takes this kind of answer; a client that does not say takes all."""
    accepted = request.headers.get("accept", "*/*")
    return media_type in accepted or "*/*" in accepted


def _raw_parts(request: GatewayRequest) -> list[bytes]:
    raw_path: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    return raw_path.partition(b"?")[0].strip(b"/").split(b"/")


def _decoded(part: bytes) -> str:
    try:
        return unquote_to_bytes(part).decode()
    except UnicodeDecodeError as error:
        raise Refusal(400, "Invalid doc ID") from error
