"""The gateway as a Litestar application: routes, errors, limits. It holds no state beside the database it is given."""

import logging
import time

from litestar import Litestar, Request, Response, Router, get, post, route
from litestar.connection import ASGIConnection
from litestar.enums import HttpMethod, MediaType
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler

from consumers.gateway.answers import error_answer, json_answer
from consumers.gateway.bulk_routes import bulk_docs, bulk_get, get_all_docs, post_all_docs, revs_diff
from consumers.gateway.changes_routes import get_changes, post_changes
from consumers.gateway.database import DocumentDatabase
from consumers.gateway.document_routes import (
    delete_document,
    delete_local,
    get_document,
    get_local,
    post_document,
    put_document,
    put_local,
)
from consumers.gateway.document_text import encode
from consumers.gateway.errors import Refusal
from consumers.gateway.feed_options import MINIMUM_HEARTBEAT_MS
from consumers.gateway.requests import (
    DATABASE_NAME,
    MAXIMUM_REQUEST_BYTES,
    GatewayRequest,
    GatewayState,
    check_keyspace,
)
from consumers.json_application import JsonApplication
from fleetwire.errors import StorageError

PROTOCOL_VERSION = "3.3"
LOG_EVERY_S = 1.0
READ = [HttpMethod.GET, HttpMethod.HEAD]

logger = logging.getLogger(__name__)


def create_application(
    database: DocumentDatabase,
    *,
    database_name: str = DATABASE_NAME,
    minimum_heartbeat_ms: int = MINIMUM_HEARTBEAT_MS,
) -> Litestar:
    """The application that serves this database under this name."""
    state = GatewayState(
        {
            "database": database,
            "database_name": database_name,
            "minimum_heartbeat_ms": minimum_heartbeat_ms,
            "unavailable_said_s": -LOG_EVERY_S,
        }
    )
    return JsonApplication(
        route_handlers=[welcome, ping, _keyspace_router()],
        state=state,
        request_max_body_size=MAXIMUM_REQUEST_BYTES,
        exception_handlers={
            Refusal: _refused,
            StorageError: _unavailable,
            HTTPException: _http_error,
            Exception: _failed,
        },
        openapi_config=None,
        logging_config=None,
    )


@get("/")
async def welcome() -> Response[bytes]:
    """Who answers here."""
    return json_answer(
        encode(
            {
                "couchdb": "Welcome",
                "vendor": {"name": "storefleet gateway", "version": PROTOCOL_VERSION},
                "version": f"storefleet gateway/{PROTOCOL_VERSION}, after Couchbase Sync Gateway",
            }
        )
    )


@route("/_ping", http_method=READ)
async def ping() -> Response[str]:
    """The process answers."""
    return Response("OK", media_type=MediaType.TEXT)


@route("/", http_method=READ)
async def database_information(state: GatewayState) -> Response[bytes]:
    """How far the database is."""
    database = state.database
    return json_answer(
        encode(
            {
                "db_name": state.database_name,
                "update_seq": database.update_sequence,
                "committed_update_seq": database.update_sequence,
                "instance_start_time": database.opened_us,
                "compact_running": False,
                "purge_seq": 0,
                "disk_format_version": 0,
                "state": "Online",
                "server_uuid": database.server_uuid,
            }
        )
    )


@post("/_ensure_full_commit")
async def ensure_full_commit(state: GatewayState) -> Response[bytes]:
    """Does nothing: what was answered is committed."""
    return json_answer(encode({"instance_start_time": state.database.opened_us, "ok": True}), 201)


def _keyspace_router() -> Router:
    return Router(
        "/{keyspace:str}",
        guards=[_keyspace_exists],
        route_handlers=[
            database_information,
            ensure_full_commit,
            bulk_docs,
            bulk_get,
            get_all_docs,
            post_all_docs,
            revs_diff,
            get_changes,
            post_changes,
            get_local,
            put_local,
            delete_local,
            get_document,
            put_document,
            post_document,
            delete_document,
        ],
    )


async def _keyspace_exists(connection: ASGIConnection, _: BaseRouteHandler) -> None:  # type: ignore[type-arg]
    # async, because Litestar runs a plain guard in a thread
    check_keyspace(connection.path_params["keyspace"], connection.app.state["database_name"])


def _refused(_: GatewayRequest, refusal: Refusal) -> Response[bytes]:
    return error_answer(refusal.status, refusal.reason)


def _unavailable(request: GatewayRequest, error: StorageError) -> Response[bytes]:
    state, now_s = request.app.state, time.monotonic()
    if now_s - state.unavailable_said_s >= LOG_EVERY_S:
        state.unavailable_said_s = now_s
        logger.warning("answered 503: %s", error)
    return error_answer(503, str(error))


def _http_error(_: GatewayRequest, error: HTTPException) -> Response[bytes]:
    return error_answer(error.status_code, error.detail)


def _failed(request: Request, error: Exception) -> Response[bytes]:  # type: ignore[type-arg]
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return error_answer(500, f"Internal error: {type(error).__name__}")
