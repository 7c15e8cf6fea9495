"""The routes; `calls` is what every one of them goes through."""
