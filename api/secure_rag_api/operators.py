"""Who manages a home: the OS user of this process, as the principal that the home's settings map it to."""

from __future__ import annotations

import os
import pwd

from secure_rag.config import Settings
from secure_rag.errors import AuthenticationError, ConfigError, PolicyError
from secure_rag.model.ids import PrincipalId, principal_id


def os_user() -> str:
    """Name of the user that this process runs as, or its number when it has no name.

    Asked of the kernel. `getpass.getuser` believes the environment, which whoever starts the process chooses.
    """
    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def operator(settings: Settings) -> PrincipalId:
    """The principal that this OS user acts as.

    Raises:
        AuthenticationError: `operators` in the settings does not name this user.
        ConfigError: what it names is no principal.
    """
    user = os_user()
    found = settings.operators.get(user)
    if found is None:
        raise AuthenticationError(
            f"OS user {user!r} is no operator of this home; see `operators` in its config.yaml"
        )
    try:
        return principal_id(found)
    except PolicyError as error:
        raise ConfigError(f"config.yaml: operators.{user}: {error}") from error
