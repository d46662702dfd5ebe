"""Workers: the processes that run nodes declared with ``isolate="process"``."""
