"""What callers may catch. Foreign exceptions never leave the product; denied and unknown look the same."""

from __future__ import annotations

__all__ = [
    "AuthenticationError",
    "ConfigError",
    "IngestionError",
    "InvalidRequestError",
    "ModelError",
    "NotFoundError",
    "PermissionsUnknownError",
    "PolicyError",
    "QuotaExceededError",
    "RateLimitedError",
    "SecureRagError",
    "StaleSourceError",
    "StoreError",
    "UnavailableError",
]


class SecureRagError(Exception):
    """Root of everything that secure-rag raises on purpose."""


class ConfigError(SecureRagError):
    """A file or a setting is wrong; the message names the place and what is wrong with it."""


class AuthenticationError(SecureRagError):
    """The caller or the subject could not be authenticated. Says no more than that to the caller."""


class InvalidRequestError(SecureRagError):
    """The request is malformed: query length, k, filter or another field."""


class NotFoundError(SecureRagError):
    """There is no such thing, or the caller may not know of it."""


class PolicyError(SecureRagError):
    """Policy data (directory, labels, locks, mappings) breaks a rule that decisions rely on."""


class PermissionsUnknownError(PolicyError):
    """Nobody knows for certain who may read an item; it is withheld."""


class QuotaExceededError(PolicyError):
    """A source asks for more than one source may have; what does not fit fails, nothing is cut off."""


class IngestionError(SecureRagError):
    """A document or a source could not be ingested; it is withheld."""


class ModelError(SecureRagError):
    """The embedding model is missing, altered or does not fit the index."""


class StoreError(SecureRagError):
    """A vector store failed or refused."""


class UnavailableError(SecureRagError):
    """The answer could not be decided or recorded safely now; nothing was returned. Try again."""


class RateLimitedError(SecureRagError):
    """Too many requests of one caller."""


class StaleSourceError(SecureRagError):
    """Permissions of a source open to the caller are older than the caller accepts."""
