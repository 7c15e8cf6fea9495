"""Which verifier a home has, from its settings."""

from __future__ import annotations

from pathlib import Path

from secure_rag.config import Profile, Settings
from secure_rag.errors import ConfigError
from secure_rag.ports import Clock
from secure_rag_api.auth import development_issuer as development
from secure_rag_api.auth.keys import FixedKeys, JwksFile
from secure_rag_api.auth.tokens import TokenVerifier


def verifier_of(home: Path, settings: Settings, clock: Clock, *, host: str) -> TokenVerifier:
    """The verifier that a service on `host` uses: the configured issuer, or in development the local one.

    Raises:
        ConfigError: production without an issuer, or with the name of the development issuer; development
            without an issuer on a host that is not loopback; or keys that cannot be read.
    """
    issuer = settings.issuer
    if issuer is None:
        if settings.profile is not Profile.DEVELOPMENT:
            raise ConfigError("issuer: the production profile needs one")
        local = development.DevelopmentIssuer.open(home, settings, clock, host=host)
        return TokenVerifier(development.SETTINGS, FixedKeys(local.keys()), clock)
    if issuer.issuer == development.DEVELOPMENT_ISSUER:
        raise ConfigError("issuer.issuer: the development issuer cannot be configured")
    return TokenVerifier(issuer, JwksFile(home / issuer.jwks_file), clock)
