"""Everything that can go wrong, as types: each names the thing, the place and the remedy.

    ActorflowError
    ├── GraphError (ValueError)              the graph as declared can't run: all problems at once
    ├── BadContext (TypeError)               context= is not of the class that the graph declares
    │   └── NoContext                        it is missing: this process has none for the graph
    ├── NodeError                            a node broke a rule; a restart would not help
    │   ├── BadUpdate (TypeError)            wrong type, unknown field, or something that can't be encoded
    │   ├── ReducerError                     a reducer raised or returned the wrong type
    │   ├── ConcurrentWrite                  two branches wrote one field and nothing says how to merge
    │   ├── UndeclaredTarget (LookupError)   a branch or Goto named a target that was not declared
    │   ├── StateMutated                     a node changed its state in place (debug mode only)
    │   ├── NodeTimeout (TimeoutError)       a node took longer than its timeout
    │   │   └── StepTimeout                  a step of it did
    │   ├── StateTooLarge                    an update would make the state larger than max_state
    │   ├── WaitInMiddleware (RuntimeError)  middleware, or a step, asked somebody; only nodes can wait
    │   ├── AmbiguousStep                    two steps of one name side by side, without a key=
    │   ├── OutcomeUnknown                   a step that must not run twice was begun, and nobody knows its outcome
    │   ├── StepFailed                       a step failed for good
    │   ├── BadStepResult (TypeError)        what a step returned can't be kept, or is of another type
    │   ├── UnknownUndo (LookupError)        a step is undone by what the graph does not declare
    │   ├── AttemptOver (RuntimeError)       a node recorded something after its attempt was over
    │   ├── WorkerDied (ChildProcessError)   the worker process of a node ended under it
    │   ├── NotInWorker (AttributeError)     a node in a worker process asked for what is not there
    │   └── NestedWorkers (RuntimeError)     a module that a worker process imports starts workers itself
    ├── JoinStarved                          nothing is open, and a join waits for legs that can't come
    ├── TooManyActivations                   the run passed max_activations
    ├── TooManyItems                         a fan-out is larger than max_items
    ├── TooManySteps                         a node has more steps than max_steps
    ├── NoItems (LookupError)                a fan-out has no items, and on_empty="fail"
    ├── TooDeep (RecursionError)             graphs inside graphs, without an end
    ├── UnknownNode (LookupError)            an open activation names a node that this graph lacks
    ├── MigrationError                       a saved state can't be brought to the code's version
    │   ├── DuplicateMigration               two migrations for one edge (at registration)
    │   ├── AmbiguousMigration               two shortest chains
    │   ├── NoMigration (LookupError)        no chain leads there
    │   ├── MigrationFailed                  a migration raised; __cause__ is what it raised
    │   ├── MigrationTimeout (TimeoutError)  a migration passed its time limit
    │   ├── BadMigration (TypeError)         what a migration returned does not decode
    │   ├── SchemaTooNew                     the file is newer than the code
    │   └── SchemaDrift (TypeError)          same version, other fields
    ├── RunError                             about one run
    │   ├── BadRunId (ValueError)            this string can't be a run id
    │   ├── NoSuchRun (LookupError)          no run of this id exists
    │   ├── RunExists                        the id is taken (or its input was another one)
    │   ├── WrongGraph                       the id belongs to a run of another graph
    │   ├── UnknownGraph (LookupError)       the graph of the run is not registered here
    │   ├── RunOwned                         a live actor elsewhere owns the run
    │   │   └── ImportUnfinished             it is being imported, or its import was cut off
    │   ├── RunDeleted (LookupError)         the id was deleted
    │   ├── ChildNotBegun                    it can't be deleted before a run that it has spawned is begun
    │   ├── CheckpointGone (LookupError)     retention let go of this checkpoint
    │   ├── RunWaiting                       it waits for somebody, so that it has no result yet
    │   ├── RunEnded                         it is over, and this is only for a run that is not
    │   ├── NotWaiting                       it has no such question open
    │   ├── BadAnswer (TypeError)            an answer is not what was asked for
    │   ├── NoSuchTarget (LookupError)       the run has no such node or scope
    │   ├── AmbiguousTarget (LookupError)    several activations, or several questions, could be meant
    │   ├── InputPending                     it still works on what it was given before
    │   ├── NotPaused                        it goes on by itself, and this needs it to wait or be paused
    │   ├── RunFailed                        the run ended as failed; __cause__ is the node's error
    │   ├── RunCancelled                     the run ended as cancelled
    │   ├── BadCallerId (ValueError)         this string can't be the id of a message
    │   ├── IdempotencyConflict              the id of a message was used for another content
    │   ├── MailboxFull                      so much waits for the run that it takes no more
    │   ├── BadMessage (TypeError)           the run takes no messages of this type
    │   ├── MessageRejected                  the graph refused the message
    │   ├── AskFailed                        the run did not answer
    │   ├── ChildFailed                      a run whose result was waited for did not finish
    │   ├── LinkedExit                       a run that it is linked to ended badly
    │   ├── OutOfOrder                       a message came before others of its lane
    │   ├── WindowFull                       the run remembers as many ids of messages as it can
    │   ├── Quarantined                      the run is set aside: a crash loop
    │   └── Blocked                          this process can't run what the newest header says
    ├── StoreError (OSError)                 about the store
    │   ├── UnsafeStore                      this store can't keep the guarantees
    │   ├── BadStoreUrl (ValueError)         this URL names no store
    │   │   └── NoSuchStore                  there is none, and it was not to be made
    │   ├── StoreMarkerMissing               runs without actorflow.json: not touched
    │   ├── ForeignStore                     actorflow.json is not ours, or of a later format
    │   ├── StoreFull                        no space, no quota, or over a limit
    │   ├── StoreDenied (PermissionError)    not allowed
    │   ├── StoreUnavailable                 the store does not answer; nothing was decided
    │   ├── CommitTooLarge                   one commit over the limit
    │   ├── CommitRefused                    validate= refused a commit
    │   ├── MessageTooLarge                  one message over the limit
    │   ├── CorruptMessage                   a message is damaged, foreign or not where it belongs
    │   ├── MissingKey                       a file is sealed under a key that is not in the keyring
    │   ├── MissingExtra                     reading or writing this takes a library that is not installed
    │   ├── CommitUnknown                    it stayed unclear whether a commit took effect
    │   ├── Fenced                           another owner claimed the run
    │   └── CorruptCheckpoint                a file is damaged, foreign or not where it belongs
    │       ├── UnsupportedFormat            a file of a format or with a flag this version can't read
    │       └── NotSealed                    a file is protected less than the store requires
    ├── BadKeyring (ValueError)              these keys can't be used
    ├── ReloadRefused                        runs can't go on under new code, and stay with the old
    ├── SupervisorError                      about one supervisor
    │   ├── RestartIntensity                 its children crashed more often than it may restart them
    │   ├── SupervisorExists (ValueError)    one of this name is entered already
    │   └── SupervisorClosed (RuntimeError)  it was left, or gave up
    └── RuntimeClosed (RuntimeError)         the runtime is not open

User exceptions travel unchanged as ``__cause__``; from another process they
come back as `RemoteError`, with type name, message and traceback as text.
"""

from __future__ import annotations

from actorflow.errors.graph import (
    AmbiguousStep,
    AttemptOver,
    BadContext,
    BadStepResult,
    BadUpdate,
    ConcurrentWrite,
    GraphError,
    JoinStarved,
    NestedWorkers,
    NoContext,
    NodeError,
    NodeTimeout,
    NoItems,
    NotInWorker,
    OutcomeUnknown,
    ReducerError,
    StateMutated,
    StateTooLarge,
    StepFailed,
    StepTimeout,
    TooDeep,
    TooManyActivations,
    TooManyItems,
    TooManySteps,
    UndeclaredTarget,
    UnknownNode,
    UnknownUndo,
    WaitInMiddleware,
    WorkerDied,
)
from actorflow.errors.migration import (
    AmbiguousMigration,
    BadMigration,
    DuplicateMigration,
    MigrationError,
    MigrationFailed,
    MigrationTimeout,
    NoMigration,
    SchemaDrift,
    SchemaTooNew,
)
from actorflow.errors.root import (
    ActorflowError,
    RemoteError,
    RuntimeClosed,
)
from actorflow.errors.run import (
    AmbiguousTarget,
    AskFailed,
    BadAnswer,
    BadCallerId,
    BadMessage,
    BadRunId,
    Blocked,
    CheckpointGone,
    ChildFailed,
    ChildNotBegun,
    IdempotencyConflict,
    ImportUnfinished,
    InputPending,
    LinkedExit,
    MailboxFull,
    MessageRejected,
    NoSuchRun,
    NoSuchTarget,
    NotPaused,
    NotWaiting,
    OutOfOrder,
    Quarantined,
    ReloadRefused,
    RunCancelled,
    RunDeleted,
    RunEnded,
    RunError,
    RunExists,
    RunFailed,
    RunOwned,
    RunWaiting,
    UnknownGraph,
    WindowFull,
    WrongGraph,
)
from actorflow.errors.store import (
    BadKeyring,
    BadStoreUrl,
    CommitRefused,
    CommitTooLarge,
    CommitUnknown,
    CorruptCheckpoint,
    CorruptMessage,
    Fenced,
    ForeignStore,
    MessageTooLarge,
    MissingExtra,
    MissingKey,
    NoSuchStore,
    NotSealed,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreMarkerMissing,
    StoreUnavailable,
    UnsafeStore,
    UnsupportedFormat,
)
from actorflow.errors.supervision import (
    RestartIntensity,
    SupervisorClosed,
    SupervisorError,
    SupervisorExists,
)

__all__ = [
    "ActorflowError",
    "AmbiguousMigration",
    "AmbiguousStep",
    "AmbiguousTarget",
    "AskFailed",
    "AttemptOver",
    "BadAnswer",
    "BadCallerId",
    "BadContext",
    "BadKeyring",
    "BadMessage",
    "BadMigration",
    "BadRunId",
    "BadStepResult",
    "BadStoreUrl",
    "BadUpdate",
    "Blocked",
    "CheckpointGone",
    "ChildFailed",
    "ChildNotBegun",
    "CommitRefused",
    "CommitTooLarge",
    "CommitUnknown",
    "ConcurrentWrite",
    "CorruptCheckpoint",
    "CorruptMessage",
    "DuplicateMigration",
    "Fenced",
    "ForeignStore",
    "GraphError",
    "IdempotencyConflict",
    "ImportUnfinished",
    "InputPending",
    "JoinStarved",
    "LinkedExit",
    "MailboxFull",
    "MessageRejected",
    "MessageTooLarge",
    "MigrationError",
    "MigrationFailed",
    "MigrationTimeout",
    "MissingExtra",
    "MissingKey",
    "NestedWorkers",
    "NoContext",
    "NoItems",
    "NoMigration",
    "NoSuchRun",
    "NoSuchStore",
    "NoSuchTarget",
    "NodeError",
    "NodeTimeout",
    "NotInWorker",
    "NotPaused",
    "NotSealed",
    "NotWaiting",
    "OutOfOrder",
    "OutcomeUnknown",
    "Quarantined",
    "ReducerError",
    "ReloadRefused",
    "RemoteError",
    "RestartIntensity",
    "RunCancelled",
    "RunDeleted",
    "RunEnded",
    "RunError",
    "RunExists",
    "RunFailed",
    "RunOwned",
    "RunWaiting",
    "RuntimeClosed",
    "SchemaDrift",
    "SchemaTooNew",
    "StateMutated",
    "StateTooLarge",
    "StepFailed",
    "StepTimeout",
    "StoreDenied",
    "StoreError",
    "StoreFull",
    "StoreMarkerMissing",
    "StoreUnavailable",
    "SupervisorClosed",
    "SupervisorError",
    "SupervisorExists",
    "TooDeep",
    "TooManyActivations",
    "TooManyItems",
    "TooManySteps",
    "UndeclaredTarget",
    "UnknownGraph",
    "UnknownNode",
    "UnknownUndo",
    "UnsafeStore",
    "UnsupportedFormat",
    "WaitInMiddleware",
    "WindowFull",
    "WorkerDied",
    "WrongGraph",
]

for _name in __all__:
    globals()[_name].__module__ = __name__  # a traceback names an error by where it is imported from
