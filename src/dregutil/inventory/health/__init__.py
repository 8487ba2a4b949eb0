"""What is broken in a registry: `registry` reads it by the API, `storage` judges its storage. Reads only."""
