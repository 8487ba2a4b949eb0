"""Services with their own APIs, simulated: what is known of each, with its source; not the services themselves."""
