"""Buckets: the backends whose bytes fsspec moves, and how a URL becomes one of them.

    resolve     a URL, as the backend for it       place: what a URL names
    s3, gcs, azure                                 native put-if-absent, exact deletes, nothing cached
    other       any other file system of fsspec    proven, probe: believed only after a trial
    bucket      what they share                    answers: what a server said, as our errors

Nothing of fsspec is imported before a URL asks for it.
"""
