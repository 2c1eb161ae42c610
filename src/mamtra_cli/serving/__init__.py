"""Serving: many callers over HTTP and WebSocket on one loop of streams."""
