"""Keep: bytes, and the protocol that makes them safe. Sync calls, for worker threads; no event loop.

    store          `open_store`: a folder or a name in memory, with its runs
    log            one run: tip, read, claim        append_log, object_log, chain
    ownership      the right to commit              append_ownership
    frames         what a commit says               framing: to bytes and back
    sealing        who can read and write them      keyring, compression
    liveness       who lives                        the process lock; heartbeat on a bucket; machine
    markers        where to look for runs           identity: actorflow.json
    blobs          large values, beside the log
    inbox          messages from elsewhere          taking, lanes, callers, messages, dead_letters, envelope
    retention      what old commits may go          pruning, merging, stubs
    transfer       a run into another store         placing; damage: what keeps a run from being read
    backend        bytes under keys                 local, memory, buckets/; files, faults, filesystem
    wrappers       a backend before a backend       observing
    keys           names of everything              verify: what is wrong with a run; strays, doctor

Imports point downwards. Nothing here knows graphs, records or nodes.
"""
