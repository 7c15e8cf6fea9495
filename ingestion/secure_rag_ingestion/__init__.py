"""From a source to the index: connectors, parsing, tagging, scanning, chunking."""
