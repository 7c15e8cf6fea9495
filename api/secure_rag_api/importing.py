"""Imports of labels and directories into an opened home, each recorded before and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from secure_rag.model.ids import PrincipalId
from secure_rag_acl.directory import DirectoryReport, import_directory
from secure_rag_acl.directory_files import DirectoryFile
from secure_rag_acl.labels import LabelsFile, LabelsReport, import_labels

if TYPE_CHECKING:
    from secure_rag_api.wiring import Installation


def apply_directory(
    opened: Installation, document: DirectoryFile, actor: PrincipalId, forget: Sequence[str] = ()
) -> DirectoryReport:
    """Import a directory.

    The event before it makes sure that no rights change without a trace, the one after it says what changed.

    Raises:
        ConfigError: the file does not fit; nothing was changed.
        UnavailableError: database or audit log could not be written.
    """
    event = opened.new_id()
    begun = {"by": actor, "complete": document.complete, "forget": list(forget)}
    opened.audit.record(document.tenant, "directory_import_started", f"{event}-started", begun)
    report = import_directory(opened.engine, document, actor=actor, now=opened.clock.now(), forget=forget)
    opened.audit.record(report.tenant, "directory_import", event, {"by": actor, **report.counts()})
    return report


def apply_labels(
    opened: Installation, document: LabelsFile, actor: PrincipalId, *, accept_changes: bool = False
) -> LabelsReport:
    """Import a taxonomy.

    Raises:
        ConfigError: a change needs `accept_changes`, or removes what is used; nothing was changed.
        UnavailableError: database or audit log could not be written.
    """
    event = opened.new_id()
    begun = {"by": actor, "accept_changes": accept_changes}
    opened.audit.record(document.tenant, "labels_import_started", f"{event}-started", begun)
    report = import_labels(
        opened.engine, document, actor=actor, now=opened.clock.now(), accept_changes=accept_changes
    )
    opened.audit.record(report.tenant, "labels_import", event, {"by": actor, **report.to_dict()})
    return report
