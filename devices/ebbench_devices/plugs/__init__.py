"""Plugs and relays with an HTTP server in them: asked again and again, trusted with nothing."""
