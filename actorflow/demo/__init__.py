"""The demo: a survey of Python source that is killed twice, goes on, and is compared with a run that was not."""
