"""Testing: what you need to try a backend of your own, or a graph on a store that fails.

    backend_contract    `BackendContract`: what every `Backend` must do, as tests to subclass; needs pytest
    faulty              `FaultyBackend`: a backend that fails as it is told to

Nothing is loaded before you import the module that you need.
"""
