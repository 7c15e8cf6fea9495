"""Entry point: joins the command groups."""

from __future__ import annotations

import os

import typer

from secure_rag_api.cli import (
    acl,
    acl_drift,
    acl_explain,
    acl_lint,
    acl_parity,
    acl_plan,
    acl_revoke,
    acl_test,
    audit,
    backup,
    conform,
    delegations,
    demo,
    directory,
    doctor,
    ingest,
    init,
    quarantine,
    retrieve,
    roles,
    runs,
    serve,
    token,
    upgrade,
)
from secure_rag_api.cli.boundary import Boundary
from secure_rag_api.logs import configure_logs

app = typer.Typer(
    name="secure-rag",
    cls=Boundary,
    help="The gate between a company's documents and its AI.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("init")(init.init)
app.command("doctor")(doctor.doctor)
app.command("retrieve")(retrieve.retrieve)
app.command("token")(token.token)
app.command("serve")(serve.serve)
app.command("demo")(demo.demo)
app.command("conform")(conform.conform)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.command("upgrade")(upgrade.upgrade)
acl.app.command("parity")(acl_parity.show_parity)
acl.app.command("explain")(acl_explain.explain)
acl.app.command("who-can")(acl_explain.who_can)
acl.app.command("what-can")(acl_explain.what_can)
acl.app.command("plan")(acl_plan.plan)
acl.app.command("show")(acl_plan.show)
acl.app.command("approve")(acl_plan.approve)
acl.app.command("apply")(acl_plan.apply)
acl.app.command("history")(acl_plan.history)
acl.app.command("diff")(acl_plan.diff)
acl.app.command("revert")(acl_plan.revert)
acl.app.command("lint")(acl_lint.lint)
acl.app.command("test")(acl_test.run_tests)
acl.app.command("revoke")(acl_revoke.revoke)
acl.app.command("revocations")(acl_revoke.revocations)
acl.app.command("lift")(acl_revoke.lift)
acl.app.command("drift")(acl_drift.drift)
app.add_typer(acl.app, name="acl", help="Permissions: see, explain, test, change and undo them.")
app.add_typer(directory.app, name="directory", help="Users, groups, applications, agents and their grants.")
app.add_typer(directory.labels_app, name="labels", help="Sensitivity labels and compartments.")
app.add_typer(roles.app, name="roles", help="Who manages what.")
app.add_typer(ingest.app, name="ingest", help="Bring documents and their permissions into the index.")
app.add_typer(runs.app, name="runs", help="What ingest runs did.")
app.add_typer(quarantine.app, name="quarantine", help="Documents that detectors held back.")
app.add_typer(delegations.app, name="delegations", help="Let an agent act for somebody, or stop it.")
app.add_typer(audit.app, name="audit", help="Read and verify the audit log.")


def main() -> None:
    """Run the command line."""
    # Models come from installed packages; nothing is fetched at run time.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    configure_logs()
    app(prog_name="secure-rag")


if __name__ == "__main__":
    main()
