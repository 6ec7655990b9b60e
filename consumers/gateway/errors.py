"""What the gateway refuses, with its HTTP status, and the words Sync Gateway has for a status."""

from http import HTTPStatus

from fleetwire.errors import FleetError

REQUEST_ERRORS = {404: "not_found", 409: "conflict"}
ROW_ERRORS = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    406: "not_acceptable",
    409: "conflict",
    412: "file_exists",
    415: "bad_content_type",
}


class Refusal(FleetError):
    """A request, or one document of it, is refused: `status` is the HTTP status, `reason` what the client reads."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason


def request_error(status: int) -> str:
    """The `error` of a whole request: `not_found`, `conflict`, otherwise the status in words."""
    return REQUEST_ERRORS.get(status) or HTTPStatus(status).phrase


def row_error(status: int) -> str:
    """The `error` of one row in a bulk answer: CouchDB's name, otherwise the number as text."""
    return ROW_ERRORS.get(status, str(status))
