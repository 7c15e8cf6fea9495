"""Every security control has an id; tests say which one they prove; `tests/security/test_controls.py` compares."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

_F = TypeVar("_F", bound=Callable[..., object])

CONTROLS: dict[str, str] = {
    # ---- decisions
    "acl:tenant-isolation": "A class of another tenant is never opened.",
    "acl:allow-list": "Only who is on the allow list, directly or through groups, opens a lock; empty means nobody.",
    "acl:deny-overrides": "A deny of the subject, or of any hop, closes the lock whatever the allow list says.",
    "acl:deny-everyone": "A deny of everyone closes the lock for all, guests and services included.",
    "acl:unresolved-deny": "A deny naming somebody unmapped, deleted, unknown or incomplete closes the lock for all.",
    "acl:all-locks": "A class opens only if every one of its locks opens, and it has at least one.",
    "acl:allow-expiry": "An allow entry ends at its expiry, exclusive; a deny never ends.",
    "acl:agents-follow-owners": "An agent is active only while its owner is active in the directory.",
    "acl:revocation": "A revocation withholds exactly what it names, from the next view on, until somebody lifts it.",
    "acl:revocation-folded": "A synchronisation ends only those revocations whose right it took away itself.",
    "acl:revocation-whole": "A revocation killed at any step is in force with a record, or not at all.",
    "acl:drift-tightened": "A check for drift re-points or withholds at once whatever differs from the source.",
    "acl:label-dominance": "The clearance must dominate the label; a missing clearance sees nothing.",
    "acl:label-default": "A label that the taxonomy does not know demands more than any clearance has.",
    "acl:need-to-know": "Every compartment of the class must be among the subject's.",
    "acl:delegation-narrows": "Every hop must permit action, label, compartments, source, purpose and instant.",
    "acl:application-is-hop-zero": "Nothing is open without at least one hop, and with too many.",
    "acl:empty-subject": "An unknown, inactive or empty subject opens nothing.",
    "acl:everyone-is-members": "`everyone` holds active members only: no guests, services, agents or applications.",
    "acl:error-denies": "An exception inside an evaluation denies with a reason of its own.",
    # ---- engine
    "acl:startup-invariants": "The engine refuses to serve with altered rows, effects, model or a failing self-test.",
    "acl:one-casbin": "The `casbin` distribution is never installed beside `pycasbin`.",
    "acl:empty-policy-denies": "No named function answers true to the empty strings of an empty policy.",
    "acl:paths-agree": "Compiled set, Casbin and an independent brute force agree on every decision.",
    "acl:disagreement-recorded": "Paths that disagree in one view drop the chunk and leave an audit event first.",
    "acl:cache-by-content": "A cached scope is keyed by all it depends on and ends when the first entry expires.",
    "acl:restore-drops-index": "Another generation of the database drops index and cache.",
    "acl:reasons": "Every verdict has the reason that an auditor needs.",
    "acl:explain-agrees": "An explanation is of the decision that is made, and names its first failing control.",
    "acl:explain-past": "An explanation of a past moment is of what the history says of that moment.",
    "acl:access-lists-exact": "Who can read a document, and what somebody can read, equals brute force over all calls.",
    "acl:explain-own-sources": "No explanation or list names groups, titles or documents of other owners' sources.",
    "acl:explain-hidden": "To who may not be told, a document looks like none, byte for byte.",
    "acl:explain-recorded": "Acting as somebody and expanding groups are rights of their own, and on record.",
    "acl:explain-repairs": "What an explanation says has to change makes the control that failed pass.",
    # ---- mappings
    "acl:mapping-no-match-nobody": "A path that no rule matches is readable by nobody.",
    "acl:mapping-last-rule": "The last matching rule decides, and path patterns mean one thing.",
    "acl:mapping-unmapped": "An unmapped name in an allow list grants nothing; in a deny list it closes the lock.",
    "acl:mapping-collisions": "Two native names are one principal only when the data owner says so.",
    "acl:names-by-directory": "A native name means whom the directory has under its identifier or address, no other.",
    "acl:names-recycled": "A name that ever belonged to two principals, or belongs to nobody now, means nobody.",
    "acl:names-ambiguous": "A native name for which two lines name different principals means nobody.",
    "acl:names-broad": "Everyone-like names of a source mean somebody by an exact line only.",
    "acl:names-confirmed": "Only who may edit a mapping confirms names; it is recorded first and changes nothing else.",
    "acl:rules-only-add": "Rules and sidecars of a source with permissions of its own add to them and replace nothing.",
    "acl:permissions-unknown": "An item, or a whole source, whose permissions are not known is withheld, not deleted.",
    "acl:sidecar-narrows": "A sidecar may only add locks, compartments or a higher label, unless it is authoritative.",
    "acl:files-refused": "Malformed, oversized or trick YAML is refused with file, line and what is wrong.",
    "acl:ntfs-subset": "Whoever opens the locks read from NTFS and SMB lists may read the file at the source.",
    "acl:ntfs-refused": "A malformed or oversized NTFS dump is refused with its place; a bad item is withheld.",
    "acl:posix-subset": "Whoever opens the locks read from POSIX lists may open the file at the source.",
    "acl:posix-live": "Live POSIX permissions follow no link, and what changes while it is read is withheld.",
    "acl:nfs4-subset": "Whoever opens the locks read from NFSv4 lists may read the file at the source.",
    "acl:text-dumps-refused": "A malformed, oversized or incomplete dump of lists in text is refused with its place.",
    # ---- parsing
    "parsing:no-files": "A parser that a document took over reads and writes no file and no other process.",
    "parsing:no-network": "It reaches no network and no socket.",
    "parsing:no-processes": "It starts, signals and becomes no other process.",
    "parsing:no-secrets": "It has an empty environment, three descriptors and nothing of the server in memory.",
    "parsing:bounded": "Its memory, time and answer are bounded, and the parent pays for none of them.",
    "parsing:untrusted-answer": "Its answer is read as foreign input: one frame, sized, of a strict schema.",
    "parsing:one-process-per-document": "Whatever happens to one document, the next one is parsed by a fresh process.",
    "parsing:walls-required": "A wall that cannot be put up stops the parse unless the configuration accepts that.",
    "parsing:private-library": "The extractor's library is unpacked beforehand into a folder nobody else can write.",
    "parsing:archives-bounded": "Office archives are checked, by really unpacking them, before a parser opens them.",
    "parsing:type-agrees": "A file whose name and first bytes disagree is refused.",
    "parsing:hidden-text": "Text that a reader of the rendered document does not see is reported.",
    # ---- embedding and chunking
    "model:pinned-weights": "No model file is loaded before its digest is checked against the pinned one.",
    "model:private-cache": "The exported model is kept where nobody else can write.",
    "model:cache-integrity": "An exported model that does not match its recorded digest is never loaded.",
    "model:export-isolated": "The export runs with verified files only, offline and without the server's environment.",
    "model:no-torch-in-server": "The default engine serves without torch and without a network.",
    "model:no-pickle": "Pickled weights are never loaded and a model's own code is never run.",
    "model:unit-vectors": "A vector that is not finite, not of norm 1 or of another length is refused.",
    "model:reproducible": "The same text gives the same vector, bit by bit, whatever is embedded around it.",
    "chunking:complete": "Every visible character of a document is in exactly one chunk, with exact offsets.",
    "chunking:bounded": "No chunk is longer than its limits, and none is embedded only in part.",
    # ---- directory
    "acl:directory-validated": "Names, kinds, nesting, labels and dates of a directory are checked before any write.",
    "acl:directory-incomplete": "An incomplete import removes nothing and makes groups uncertain.",
    "acl:directory-tombstones": "A deleted group keeps its links, so that denies stay closed.",
    "acl:directory-atomic": "An import is written whole or not at all; unchanged content moves nothing.",
    "acl:graph-subset": "Whoever opens the locks read from Graph may read the item at the source without a link.",
    "acl:drive-subset": "Whoever opens the locks read from Drive may read the file at the source without a link.",
    "acl:adls-subset": "Whoever opens the locks read from ADLS lists and roles may read the file at the source.",
    "acl:prefix-acl-subset": "Prefix access files open only what every plausible reading opens; not listed is closed.",
    "acl:confluence-subset": "Whoever opens the locks read from Confluence may read the page at the source.",
    "acl:identity-rules": "Ids from SCIM and LDIF are never merged, and what an export lacks makes it incomplete.",
    "acl:aliases-dated": "An alias means one principal at a time; who gets it next does not inherit its past.",
    "acl:never-widens": "Removing a mapping line, a group or a page of a sync never enlarges a reader set.",
    "acl:plan-exact": "A plan shows exactly who gains and who loses what: the difference of two worlds.",
    "acl:plan-guarded": "A plan is applied once, whole, approved by somebody else, never giving more than it shows.",
    "acl:change-control": "From the first applied plan on, no file on disk decides who reads.",
    "acl:access-tests": "Access tests stop a plan that breaks them, and name rules whose loss they would not notice.",
    "acl:labels-guarded": "A used label cannot be removed; a reordering or another default needs a knowing yes.",
    # ---- audit
    "audit:durable-before-answer": "An acknowledged event survives the death of its process at any moment.",
    "audit:unavailable-refuses": "An event that cannot be made durable is refused, and later ones still chain.",
    "audit:one-chain-per-writer": "Processes write at once, each its own chain, and all of them verify.",
    "audit:tamper-evident": "A changed, removed, reordered, repeated or added row is found and named.",
    "audit:off-host-checkpoint": "A cut tail, a lost chain and recomputed hashes show against an exported checkpoint.",
    "audit:retention-signed": "Old events go by a signed cut only, and their bytes are gone.",
    "audit:no-content": "No content of documents is recorded, and query text only as a keyed digest unless enabled.",
    # ---- detection
    "detection:unicode": "Invisible, reordering and byte-carrying characters are found on raw text.",
    "detection:instruction-patterns": "Instructions to a model inside a document quarantine it, however dressed up.",
    "detection:hidden-markup": "Text that a parser extracts and no reader sees quarantines its document.",
    "detection:honest-text": "Business text that uses the words of attacks is not quarantined.",
    "detection:query-echo": "A passage whose body repeats the query is annotated.",
    "detection:near-duplicates": "Copies of low trust count once; nobody erases text of equal or higher trust.",
    "detection:trust-mixing": "External content never shares an answer or a context with content above the threshold.",
    # ---- HTTP API
    "api:two-identities": "Every call names caller and subject by tokens of two kinds that agree on the tenant.",
    "api:token-signature": "Only signatures by the issuer's keys, named by key id, with an allowed algorithm count.",
    "api:token-claims": "Issuer, one audience, integer times, a capped lifetime and canonical names are demanded.",
    "api:key-rotation": "A key taken out of the key set ends what it has signed at once, remembered or not.",
    "api:development-issuer": "The development issuer works in development on loopback only; production refuses it.",
    "api:errors-say-nothing": "No exception text and nothing of a request reaches an error response or the log.",
    "api:denied-equals-unknown": "Denied, unknown and empty have the same status, shape and bytes apart from ids.",
    "api:bounded-requests": "Head, body, time to send, connections and waiting calls are bounded.",
    "api:one-meaning": "Repeated headers, duplicate keys, unknown fields and loose types are refused.",
    "api:rate-before-audit": "Who asks too often never reaches the query flow, whatever subject is named.",
    "api:authenticated-first": "A body is not looked at, nor anything decided, before both tokens are verified.",
    # ---- client
    "client:tokens-stay-private": "Tokens go over https or loopback only, and never into logs, errors or reprs.",
    # ---- stores
    "store:hint-not-authority": "Class and text of a hit come from one statement; a stale store leaks nothing.",
    "store:empty-scope": "An empty scope answers nothing before the store is touched.",
    "store:scope-only": "Only live chunks of the scope's tenant and classes are ever returned.",
    "store:non-interference": "Documents outside a scope change neither ids, order nor scores of its answers.",
    "store:nothing-lost": "Answers are exact: the best allowed chunks, ties by chunk key, never fewer than there are.",
    "store:follower-fails-closed": "A store that no longer follows its database is not ready and refuses to search.",
    "store:one-engine": "Vectors of another embedding engine are never ranked.",
    "store:bad-vectors": "Damaged vectors and malformed queries are refused and hinder nothing else.",
    "store:crash-safe": "Killed writers and repeated steps leave a store equal to a fresh one.",
    "store:must-only": "Remote filters are typed and `must` only; a point that lacks a field matches nothing.",
    "store:no-text-outside": "A remote store gets keys and vectors, never text.",
    "store:reconciled": "Every difference between a remote store and the database is found, repaired and reported.",
    # ---- query flow
    "retrieval:one-final-view": "A change committed before the final view counts, at whatever statement it came.",
    "retrieval:no-torn-read": "Two states that both deny never add up to an allow.",
    "retrieval:non-interference": "Documents that a subject cannot see change nothing in the subject's answers.",
    "retrieval:text-through-one-door": "Text reaches callers through `authorize_chunks` only.",
    "retrieval:audit-before-answer": "An answer whose event is not durable does not leave.",
    "retrieval:bounded-refill": "A stale or flooded store costs bounded work and an incomplete answer, never a leak.",
    "retrieval:stale-permissions": "Permissions confirmed too long ago are withheld.",
    "retrieval:staleness-of-open-sources": "A caller's own limit of age looks only at what is open to the caller.",
    "retrieval:filter-narrows": "A caller's own filter can only narrow.",
    "retrieval:delegation-bound": "A delegation works only for its last hop, and ends with its parents.",
    "retrieval:context-bound": "A context keeps the two sides of the trust boundary apart across calls.",
    "retrieval:revocation-next-query": "A revocation counts for the very next query, in every process.",
    "retrieval:no-leak-over-http": "Every answer of a large random world over HTTP equals brute force.",
    "retrieval:no-leak-under-churn": "The same while another process revokes and grants.",
    # ---- ingest
    "ingest:content-then-permissions": "Content and permissions of two moments are never joined.",
    "ingest:no-links": "No link and no swapped folder leads out of a source.",
    "ingest:failure-withholds": "Whatever fails withholds its document.",
    "ingest:deletion-erases": "Deleted text and vectors are gone from the database files.",
    "ingest:crash-safe": "A killed run, repeated, ends like an undisturbed one.",
    "ingest:partial-listing": "An incomplete listing deletes and confirms nothing.",
    "ingest:quarantine-holds": "Quarantined content is never returned, and a release binds to one version.",
    "ingest:permission-sync": "A run of permissions opens no content and withholds whose permissions it cannot read.",
    "ingest:permissions-of-this-content": "Other permissions meet only content that is still the indexed one.",
    "ingest:source-bound": "A source writes only its own documents and vouches for its own trust.",
    # ---- operations
    "ops:restore-serves-nothing": "A restored home serves nothing until directory and sources are read again.",
    "ops:schema-checked": "A home of an older or newer release, or of none, is not opened, and the way out is named.",
    "ops:upgrade-whole": "An upgrade happens whole or not at all, whenever its process dies.",
    "ops:upgrade-keeps-guards": "An upgrade loses no trigger, no row and no constraint that guards depend on.",
    "ops:ids-never-return": "An id that was deleted is not given out again, also after a table was rebuilt.",
    "ops:triggers-checked": "A home with missing or altered triggers is not served.",
    "ops:stale-source-alarm": "A source that is withheld for its age is in the audit log, once for each time.",
    "ops:operators-only": "Management commands need an OS user that the home maps to a principal.",
    "ops:conformance": "The fail-closed cases pass on the product as it is installed, through real ingest runs.",
    "ops:roles": "Managing needs a role that the view shows, for the source at stake; errors and strangers are denied.",
    "ops:separation-of-duties": "An auditor never edits; nobody approves her own plan or lifts her own revocation.",
    "ops:private-files": "Every file of a home is readable by its owner only.",
    # ---- demo
    "demo:controls-matter": "Each control, switched off alone, makes a scenario fail.",
}


def control(*ids: str) -> Callable[[_F], _F]:
    """Mark a test as proof of controls.

    Raises:
        ValueError: an id that `CONTROLS` does not know, or none at all.
    """
    unknown = [x for x in ids if x not in CONTROLS]
    if unknown or not ids:
        raise ValueError(f"unknown control: {unknown}")

    def mark(test: _F) -> _F:
        return test

    return mark
