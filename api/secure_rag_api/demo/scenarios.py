"""Scenario files: who asks what, what must and must not come back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from secure_rag.errors import ConfigError
from secure_rag.model.decisions import Notice, Reason

_MAX_BYTES = 1 << 20


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EndMembership(_Model):
    """Who leaves which group."""

    member: str
    group: str


class WorldChange(_Model):
    """A change right before a step; exactly one field is set. It is undone after the scenario."""

    end_membership: EndMembership | None = None
    expire_grant: str | None = None

    @model_validator(mode="after")
    def _one_change(self) -> WorldChange:
        if (self.end_membership is None) == (self.expire_grant is None):
            raise ValueError("exactly one change")
        return self


class Step(_Model):
    """One question. Documents are named `SOURCE/path`."""

    asked_as: Annotated[str, Field(alias="as")]
    app: str
    query: str
    tenant: str = "acme"
    through: tuple[str, ...] = ()
    k: int = 10
    purpose: str = "qa"
    context: str | None = None
    before: tuple[WorldChange, ...] = ()
    must_return: tuple[str, ...] = ()
    must_not_return: tuple[str, ...] = ()
    why: dict[str, Reason] = {}
    flags: dict[str, tuple[str, ...]] = {}
    notices: tuple[Notice, ...] = ()
    empty: bool = False


class Scenario(_Model):
    """Steps that show one control."""

    id: str
    title: str
    control: str
    steps: Annotated[tuple[Step, ...], Field(min_length=1)]


class ScenarioFile(_Model):
    """`scenarios.yaml`."""

    scenarios: Annotated[tuple[Scenario, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _ids_are_unique(self) -> ScenarioFile:
        if len({x.id for x in self.scenarios}) != len(self.scenarios):
            raise ValueError("two scenarios have the same id")
        return self


def load_scenarios(path: Path) -> tuple[Scenario, ...]:
    """Read a scenario file.

    Raises:
        ConfigError: missing, no YAML or malformed; names file and field.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if len(raw) > _MAX_BYTES:
        raise ConfigError(f"{path}: larger than {_MAX_BYTES} bytes")
    try:
        return ScenarioFile.model_validate(yaml.safe_load(raw)).scenarios
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ConfigError(f"{path}: {'.'.join(str(x) for x in first['loc'])}: {first['msg']}") from error
