"""Act: actors, their supervisor, and the runtime that users enter."""
