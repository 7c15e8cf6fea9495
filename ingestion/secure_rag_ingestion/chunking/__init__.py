"""From the text of a document to passages with exact offsets."""

from __future__ import annotations

from secure_rag.extras import require_server

require_server(__name__, "markdown_it", "semantic_text_splitter")
