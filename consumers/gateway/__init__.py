"""The gateway: documents and a changes feed behind the part of Sync Gateway 3.3's public REST that the lab uses.

Different from the original, on purpose: there is one database, `fleet`, and its guest may do everything, so an unknown
database is 404 and not 401. Only current revisions keep their bodies; `style=all_docs` shows the current one alone.
Attachments, `_exp`, sync functions other than `channel(doc.channels)`, compressed requests and feed=websocket are
refused in words. Options that cannot be read are 400 instead of ignored; a body may hold only what a reader of the
feed can decode. Sequences have no gaps but those of documents that changed again, and are visible once committed.
Checkpoints do not expire.
"""
