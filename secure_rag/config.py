"""Settings of one home, read from `HOME/config.yaml`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from secure_rag.errors import ConfigError

_MAX_BYTES = 1 << 20


class Profile(StrEnum):
    """`development` binds to loopback only and may issue its own tokens; `production` does neither."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class IssuerSettings(_Section):
    """The identity provider whose tokens are accepted."""

    issuer: str
    jwks_file: Path
    audience: str = "secure-rag"
    subject_audience: str = "secure-rag-subject"
    algorithms: tuple[Literal["ES256", "ES384", "RS256", "PS256", "Ed25519", "EdDSA"], ...] = ("ES256",)
    max_lifetime_s: Annotated[int, Field(ge=60, le=86_400)] = 3_600


class AuditSettings(_Section):
    """The audit log."""

    query_text: bool = False
    """Store query text instead of only its keyed digest."""
    retention_days: Annotated[int, Field(ge=1)] | None = None
    checkpoint_every: Annotated[int, Field(ge=1)] = 1_000


class ParserSettings(_Section):
    """The parse sandbox."""

    accepted_weaknesses: tuple[str, ...] = ()
    """Sandbox layers that this host lacks and that the operator accepts knowingly; see `secure-rag doctor`."""
    memory_mib: Annotated[int, Field(ge=256)] = 2_048
    wall_seconds: Annotated[int, Field(ge=1, le=600)] = 30
    input_mib: Annotated[int, Field(ge=1, le=1_024)] = 64


class AccessSettings(_Section):
    """Plans that change who may read what. Whatever reaches the tenant's mixing threshold needs a second person."""

    approval_above: Annotated[int, Field(ge=0)] | None = None
    """A plan that widens more than this, in documents times the rank of their label, needs an approval too."""
    plan_valid_h: Annotated[int, Field(ge=1, le=8_760)] = 72


class QdrantSettings(_Section):
    """A Qdrant server as vector store."""

    url: str
    collection: str = "secure-rag"
    api_key_file: Path | None = None


class Settings(_Section):
    """All settings of a home."""

    profile: Profile = Profile.PRODUCTION
    tenant: str | None = None
    """Tenant that commands work on when none is named."""
    operators: dict[str, str] = Field(default_factory=dict)
    """Which principal an OS user of this host acts as in management commands."""
    embedding: str = "default"
    issuer: IssuerSettings | None = None
    audit: AuditSettings = AuditSettings()
    parser: ParserSettings = ParserSettings()
    access: AccessSettings = AccessSettings()
    qdrant: QdrantSettings | None = None
    requests_per_minute: Annotated[int, Field(ge=1)] = 600
    context_ttl_s: Annotated[int, Field(ge=60)] = 86_400
    near_duplicate_tau: Annotated[float, Field(gt=0, le=1)] = 0.85


def load_settings(home: Path) -> Settings:
    """Settings of a home.

    Raises:
        ConfigError: the file is missing, too large, no YAML or has a wrong value; names file and line or field.
    """
    path = home / "config.yaml"
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read; `secure-rag init` creates a home") from error
    if len(raw) > _MAX_BYTES:
        raise ConfigError(f"{path}: larger than {_MAX_BYTES} bytes")
    try:
        return Settings.model_validate(yaml.safe_load(raw) or {})
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}:{line}: not valid YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(x) for x in first["loc"])
        raise ConfigError(f"{path}: {field}: {first['msg']}") from error
