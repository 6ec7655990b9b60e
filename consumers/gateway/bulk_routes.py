"""Many documents at a time: `_bulk_docs`, `_bulk_get`, `_all_docs`, `_revs_diff`."""

from collections.abc import AsyncIterator
from typing import TypeVar

import msgspec
from litestar import Response, get, post
from litestar.response import Stream

from consumers.gateway.answers import JSON, json_answer, multipart_answer, refusal_row
from consumers.gateway.database import DocumentDatabase, Edit, LocalEdit, Outcome, StoredDocument, Written
from consumers.gateway.document_routes import current_revision, posted_revision
from consumers.gateway.document_text import (
    LOCAL_PREFIX,
    Properties,
    checked_json,
    encode,
    existing_revision,
    invalid_json,
    local_edit,
    new_revision,
    render_document,
    text_property,
)
from consumers.gateway.errors import Refusal
from consumers.gateway.feed_options import boolean, whole_number
from consumers.gateway.requests import GatewayRequest, GatewayState, accepts, json_body
from fleetwire import bounded_json
from fleetwire.revisions import generation_of

Answer = Response[bytes]
Body = TypeVar("Body")

ROWS_PER_PAGE = 200
MAXIMUM_KEYS = 1_000
ANCESTOR_GENERATIONS = 100


class BulkDocs(msgspec.Struct):
    """The body of `_bulk_docs`; a `new_edits` that is no boolean counts as true, as Sync Gateway has it."""

    docs: list[Properties]
    new_edits: object = True


class BulkGetItem(msgspec.Struct):
    """One wanted document; without `rev` the current revision."""

    id: str = ""
    rev: str | None = None


class BulkGet(msgspec.Struct):
    """The body of `_bulk_get`."""

    docs: list[BulkGetItem]


class Keys(msgspec.Struct):
    """The body of `POST _all_docs`."""

    keys: list[str]


_bulk_docs_decoder = bounded_json.Decoder(BulkDocs)
_bulk_get_decoder = bounded_json.Decoder(BulkGet)
_keys_decoder = bounded_json.Decoder(Keys)
_key_list_decoder = bounded_json.Decoder(list[str])
_revisions_decoder = bounded_json.Decoder(dict[str, list[str]])
_text_decoder = bounded_json.Decoder(str)


@post("/_bulk_docs")
async def bulk_docs(request: GatewayRequest, state: GatewayState) -> Answer:
    """Stores all documents in one transaction; a row for each, in order, checkpoints behind the documents."""
    batch = BulkWrite(read_bulk_docs(await json_body(request)))
    outcomes, local_outcomes = await state.database.write(batch.edits, batch.local_edits)
    return json_answer(batch.render(outcomes, local_outcomes), 201)


@post("/_bulk_get", status_code=200)
async def bulk_get(request: GatewayRequest, state: GatewayState) -> Answer:
    """The wanted documents as multipart/mixed, which is the only form that Sync Gateway has for them."""
    wanted = _decode(_bulk_get_decoder, await json_body(request), "missing 'docs' property").docs
    if not accepts(request, "multipart/"):
        raise Refusal(406, "Response is multipart")
    _check_count(len(wanted))
    with_revisions = boolean(request.query_params, "revs")
    documents = await state.database.read([item.id for item in wanted])
    return multipart_answer(
        _part(item, document, with_revisions) for item, document in zip(wanted, documents, strict=True)
    )


@get("/_all_docs")
async def get_all_docs(request: GatewayRequest, state: GatewayState) -> Stream:
    """Documents that are not deleted, by id, or those of `keys`."""
    keys = request.query_params.get("keys")
    if keys is None:
        return _all_docs(request, state, None)
    try:
        return _all_docs(request, state, _key_list_decoder.decode(keys))
    except msgspec.MsgspecError as error:
        raise Refusal(400, "Bad keys") from error


@post("/_all_docs", status_code=200)
async def post_all_docs(request: GatewayRequest, state: GatewayState) -> Stream:
    """The documents of `keys`, in that order."""
    keys = _decode(_keys_decoder, await json_body(request), "Bad/missing keys").keys
    return _all_docs(request, state, keys)


@post("/_revs_diff", status_code=200)
async def revs_diff(request: GatewayRequest, state: GatewayState) -> Answer:
    """Which of these revisions are not stored, and which stored ones they may follow."""
    asked = _decode(_revisions_decoder, await json_body(request), "Document IDs with lists of revisions expected")
    _check_count(len(asked))
    documents = await state.database.read(list(asked), bodies=False)
    answer = {}
    for document, (document_id, revisions) in zip(documents, asked.items(), strict=True):
        missing = [revision for revision in revisions if not _knows(document, revision)]
        if missing:
            answer[document_id] = {"missing": missing, **_possible_ancestors(document, missing)}
    return json_answer(encode(answer))


def read_bulk_docs(payload: bytes) -> BulkDocs:
    """The body of `_bulk_docs`, each document a mapping of property to raw JSON. Raises Refusal 400."""
    text = checked_json(payload)
    try:
        return _bulk_docs_decoder.decode(text)
    except msgspec.ValidationError as error:
        reason = "Document body must be JSON" if "$.docs[" in str(error) else "missing 'docs' property"
        raise Refusal(400, reason) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid_json(error) from error


class BulkWrite:
    """The documents of one request: what is to be written, and where each outcome goes in the answer."""

    def __init__(self, request: BulkDocs) -> None:
        self.edits: list[Edit] = []
        self.local_edits: list[LocalEdit] = []
        self._rows: list[str | bytes] = []
        self._local_rows: list[str | bytes] = []
        makes_revisions = request.new_edits is not False
        for properties in request.docs:
            self._add(properties, makes_revisions)

    def render(self, outcomes: list[Outcome], local_outcomes: list[Outcome]) -> bytes:
        """The JSON array of rows; a row that is bytes already was refused before it was written."""
        rows = [*self._rows, *self._local_rows]
        results = iter((*outcomes, *local_outcomes))
        return b"[%b]" % b",".join(row if isinstance(row, bytes) else _outcome_row(row, next(results)) for row in rows)

    def _add(self, properties: Properties, makes_revisions: bool) -> None:
        document_id = text_property(properties, "_id")
        is_local = document_id.startswith(LOCAL_PREFIX)
        rows = self._local_rows if is_local else self._rows
        try:
            if is_local:
                self.local_edits.append(local_edit(properties, document_id[len(LOCAL_PREFIX) :]))
            else:
                self.edits.append(_edit(properties, document_id, makes_revisions))
                document_id = self.edits[-1].id
        except Refusal as refusal:
            rows.append(refusal_row(refusal, id=document_id))
        else:
            rows.append(document_id)


def _edit(properties: Properties, document_id: str, makes_revisions: bool) -> Edit:
    if not makes_revisions:
        return existing_revision(properties, document_id)
    if not document_id:
        return posted_revision(properties)
    return new_revision(properties, document_id, text_property(properties, "_rev"))


def _outcome_row(document_id: str, outcome: Outcome) -> bytes:
    if isinstance(outcome, Written):
        return b'{"id":%b,"rev":"%b"}' % (encode(document_id), outcome.revision.encode())
    return refusal_row(outcome, id=document_id)


def _part(item: BulkGetItem, document: StoredDocument | None, with_revisions: bool) -> tuple[bytes, bool]:
    revision = item.rev or ""
    if not item.id:
        return refusal_row(Refusal(400, "Invalid doc/rev ID in _bulk_get"), rev=revision), True
    try:
        found = current_revision(document, revision)
    except Refusal as refusal:
        return refusal_row(refusal, id=item.id, rev=revision), True
    return render_document(found, with_revisions=with_revisions), False


def _all_docs(request: GatewayRequest, state: GatewayState, keys: list[str] | None) -> Stream:
    query = request.query_params
    limit = whole_number(query, "limit")
    options = _RowOptions(*(boolean(query, name) for name in ("include_docs", "channels", "update_seq", "revs")))
    if keys is None:
        pages = _range_pages(state.database, options, _text(query.get("startkey")) or "", _text(query.get("endkey")))
    else:
        _check_count(len(keys))
        pages = _key_pages(state.database, options, keys)
    return Stream(_all_docs_body(state.database, options, pages, limit), media_type=JSON)


class _RowOptions(msgspec.Struct, frozen=True):
    """What the rows of `_all_docs` show beside id and revision."""

    include_docs: bool
    channels: bool
    update_seq: bool
    revs: bool


Page = list[tuple[str, StoredDocument | None]]


async def _all_docs_body(
    database: DocumentDatabase, options: _RowOptions, pages: AsyncIterator[Page], limit: int
) -> AsyncIterator[bytes]:
    count, update_sequence = 0, database.update_sequence
    chunk = b'{"rows":[\n'
    async for page in pages:
        for key, document in page[: limit - count] if limit else page:
            chunk += (b"," if count else b"") + _all_docs_row(key, document, options) + b"\n"
            count += 1
        yield chunk
        chunk = b""
        if limit and count >= limit:
            break
    yield chunk + b'],\n"total_rows":%d,"update_seq":%d}' % (count, update_sequence)


async def _range_pages(
    database: DocumentDatabase, options: _RowOptions, start: str, end: str | None
) -> AsyncIterator[Page]:
    while True:
        documents = await database.read_range(start, end, ROWS_PER_PAGE, bodies=options.include_docs)
        if not documents:
            return
        yield [(document.id, document) for document in documents]
        start = documents[-1].id + "\0"


async def _key_pages(database: DocumentDatabase, options: _RowOptions, keys: list[str]) -> AsyncIterator[Page]:
    for start in range(0, len(keys), ROWS_PER_PAGE):
        page = keys[start : start + ROWS_PER_PAGE]
        documents = await database.read(page, bodies=options.include_docs)
        yield list(zip(page, documents, strict=True))


def _all_docs_row(key: str, document: StoredDocument | None, options: _RowOptions) -> bytes:
    if document is None or document.deleted:
        return encode({"key": key, "error": "not_found", "status": 404})
    value: dict[str, object] = {"rev": document.revision}
    if options.channels and document.channels:
        value["channels"] = document.channels
    row: dict[str, object] = {"key": key, "id": document.id, "value": value}
    if options.include_docs:
        row["doc"] = msgspec.Raw(render_document(document, with_revisions=options.revs))
    if options.update_seq:
        row["update_seq"] = document.sequence
    return encode(row)


def _knows(document: StoredDocument | None, revision: str) -> bool:
    return document is not None and revision in (document.revision, *document.ancestors, *document.retired)


def _possible_ancestors(document: StoredDocument | None, missing: list[str]) -> dict[str, list[str]]:
    if document is None:
        return {}
    known = generation_of(document.revision)
    for revision in missing:
        try:
            generation = generation_of(revision)
        except ValueError:
            continue
        if generation - ANCESTOR_GENERATIONS <= known < generation:
            return {"possible_ancestors": [document.revision]}
        if known == generation and document.ancestors:
            return {"possible_ancestors": [document.ancestors[0]]}
    return {}


def _check_count(count: int) -> None:
    if count > MAXIMUM_KEYS:
        raise Refusal(400, f"{count} documents asked for; this gateway answers at most {MAXIMUM_KEYS} at a time")


def _text(json_text: str | None) -> str | None:
    """A key is a JSON string; without quotes it is taken as it is, as Sync Gateway does."""
    if json_text is None or not json_text.startswith('"'):
        return json_text
    try:
        return _text_decoder.decode(json_text)
    except msgspec.MsgspecError as error:
        raise Refusal(400, "startkey and endkey must be JSON strings") from error


def _decode(decoder: bounded_json.Decoder[Body], payload: bytes, reason: str) -> Body:
    text = checked_json(payload)
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        raise Refusal(400, reason) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid_json(error) from error
