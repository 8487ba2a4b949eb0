"""Where an image is, and what happened to it: `events` are pure, `records` reads them, `routes` answers."""
