"""One document or one checkpoint at a time: GET, HEAD, PUT, POST, DELETE."""

import uuid
from urllib.parse import quote

import msgspec
from litestar import Response, delete, get, post, put, route
from litestar.enums import HttpMethod

from consumers.gateway.answers import json_answer, multipart_answer, written_answer
from consumers.gateway.database import DocumentDatabase, Edit, LocalEdit, StoredDocument, Written
from consumers.gateway.document_text import (
    LOCAL_PREFIX,
    Properties,
    checked_local_id,
    encode,
    existing_revision,
    local_edit,
    new_revision,
    read_properties,
    render_body,
    render_document,
    text_property,
    tombstone,
)
from consumers.gateway.errors import Refusal
from consumers.gateway.feed_options import boolean
from consumers.gateway.requests import (
    GatewayRequest,
    GatewayState,
    accepts,
    document_id_of,
    json_body,
    local_id,
    revision_asked,
)
from fleetwire import bounded_json

Answer = Response[bytes]

_revisions_decoder = bounded_json.Decoder(list[str])


@route("/{document_id:path}", http_method=[HttpMethod.GET, HttpMethod.HEAD])
async def get_document(request: GatewayRequest, state: GatewayState) -> Answer:
    """The current revision; older ones are not kept, so asking for them by `rev` is 404."""
    document_id = document_id_of(request)
    with_revisions = boolean(request.query_params, "revs")
    [document] = await state.database.read([document_id])
    open_revisions = request.query_params.get("open_revs")
    if open_revisions:
        return _open_revisions(request, document, open_revisions, with_revisions)
    found = current_revision(document, request.query_params.get("rev", ""))
    content = render_document(found, with_revisions=with_revisions)
    return json_answer(content, headers={"Etag": f'"{found.revision}"'})


@put("/{document_id:path}")
async def put_document(request: GatewayRequest, state: GatewayState) -> Answer:
    """Writes a document under the id of the path."""
    document_id = document_id_of(request)
    properties = read_properties(await json_body(request))
    if "_id" in properties and text_property(properties, "_id") != document_id:
        raise Refusal(400, "The document ID provided in the body does not match the document ID in the path")
    if request.query_params.get("new_edits") == "false":
        edit = existing_revision(properties, document_id)
    else:
        edit = new_revision(properties, document_id, _parent(request, properties))
    return written_answer(document_id, await write_one(state.database, edit), 201)


@post("/")
async def post_document(request: GatewayRequest, state: GatewayState) -> Answer:
    """Writes a new document under its `_id`, or one that is made up."""
    properties = read_properties(await json_body(request))
    edit = posted_revision(properties)
    answer = written_answer(edit.id, await write_one(state.database, edit), 200)
    answer.headers["Location"] = quote(edit.id, safe="")  # a header holds no line end and nothing beyond Latin-1
    return answer


@delete("/{document_id:path}", status_code=200)
async def delete_document(request: GatewayRequest, state: GatewayState) -> Answer:
    """Puts a tombstone in the document's place, also where there never was one."""
    document_id = document_id_of(request)
    edit = tombstone(document_id, revision_asked(request))
    return written_answer(document_id, await write_one(state.database, edit), 200)


@get("/_local/{document_id:path}")
async def get_local(request: GatewayRequest, state: GatewayState) -> Answer:
    """A checkpoint."""
    document_id = checked_local_id(local_id(request))
    found = await state.database.read_local(document_id)
    if found is None:
        raise Refusal(404, "missing")
    revision, body = found
    return json_answer(render_body(LOCAL_PREFIX + document_id, revision, False, body))


@put("/_local/{document_id:path}")
async def put_local(request: GatewayRequest, state: GatewayState) -> Answer:
    """Writes a checkpoint; its revision counts 0-1, 0-2, and so on."""
    document_id = local_id(request)
    edit = local_edit(read_properties(await json_body(request)), document_id)
    revision = await _write_local(state.database, edit)
    return written_answer(LOCAL_PREFIX + document_id, revision, 201)


@delete("/_local/{document_id:path}", status_code=200)
async def delete_local(request: GatewayRequest, state: GatewayState) -> Answer:
    """Removes a checkpoint."""
    document_id = checked_local_id(local_id(request))
    revision = request.query_params.get("rev", "")
    await _write_local(state.database, LocalEdit(id=document_id, revision=revision, body=None))
    return json_answer(b"")


def posted_revision(properties: Properties) -> Edit:
    """A new document without an id in the path. Raises Refusal."""
    if text_property(properties, "_rev"):
        raise Refusal(404, "No previous revision to replace")
    return new_revision(properties, text_property(properties, "_id") or uuid.uuid4().hex, "")


def current_revision(document: StoredDocument | None, revision: str) -> StoredDocument:
    """The document, when it has this revision or, for "", when it is not deleted. Raises Refusal 404."""
    if document is None or (revision and revision != document.revision):
        raise Refusal(404, "missing")
    if document.deleted and not revision:
        raise Refusal(404, "deleted")
    return document


async def write_one(database: DocumentDatabase, edit: Edit) -> str:
    """Stores one edit and returns its revision. Raises Refusal, StorageError."""
    [outcome], _ = await database.write([edit])
    if not isinstance(outcome, Written):
        raise outcome
    return outcome.revision


async def _write_local(database: DocumentDatabase, edit: LocalEdit) -> str:
    _, [outcome] = await database.write([], [edit])
    if not isinstance(outcome, Written):
        raise outcome
    return outcome.revision


def _parent(request: GatewayRequest, properties: Properties) -> str:
    in_body = text_property(properties, "_rev")
    asked = revision_asked(request)
    if in_body and asked and in_body != asked:
        raise Refusal(400, "Revision IDs provided do not match")
    return asked or in_body


def _open_revisions(
    request: GatewayRequest, document: StoredDocument | None, asked: str, with_revisions: bool
) -> Answer:
    if asked == "all":
        if document is None:
            raise Refusal(404, "missing")
        revisions = [document.revision]
    else:
        revisions = _revision_list(asked)
    found = [
        render_document(document, with_revisions=with_revisions)
        if document is not None and document.revision == revision
        else None
        for revision in revisions
    ]
    pairs = list(zip(revisions, found, strict=True))
    if accepts(request, "multipart/"):
        return multipart_answer(
            (content or encode({"missing": revision}), content is None) for revision, content in pairs
        )
    rows = [
        b'{"ok":%b}' % content if content is not None else encode({"missing": revision}) for revision, content in pairs
    ]
    return json_answer(b"[\n" + b"\n,".join(rows) + b"\n]")


def _revision_list(text: str) -> list[str]:
    try:
        return _revisions_decoder.decode(text)
    except msgspec.MsgspecError as error:
        raise Refusal(400, "bad open_revs") from error
