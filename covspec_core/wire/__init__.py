"""Messages between device and edge: protocols, formats of laws, layout and sizes."""

from covspec_core.wire.formats import FORMATS, LawFormat
from covspec_core.wire.frame import HEADER, ID_BYTES, MOST_BYTES, VERSION
from covspec_core.wire.messages import Draft, LawMessage, Terms, Top, Verdict, Wish
from covspec_core.wire.protocols import PROTOCOLS, WireProtocol, protocol
from covspec_core.wire.sizes import again_bytes, download_bytes, upload_bytes

__all__ = [
    "FORMATS",
    "HEADER",
    "ID_BYTES",
    "MOST_BYTES",
    "PROTOCOLS",
    "VERSION",
    "Draft",
    "LawFormat",
    "LawMessage",
    "Terms",
    "Top",
    "Verdict",
    "WireProtocol",
    "Wish",
    "again_bytes",
    "download_bytes",
    "protocol",
    "upload_bytes",
]
