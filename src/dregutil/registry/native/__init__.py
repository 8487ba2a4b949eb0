"""The API that a registry service has beside the distribution API: what it lists in one request, and what it deletes.

    service    the interface: one module for each service implements it
    list_only  what those have in common that only list
    services   which service a registry has
    access     what a service's module gets: connection, credentials, scopes
    hosts      the other hosts of services, by the registry's exact name
    login      the login at an API, where it is not the registry's own
    client     JSON over HTTP: pages, bounds, refusals
    fields     values in a document, which may be missing or nonsense

A listing serves queries, searches, `du` and the selection of what may go. Nothing is deleted on it alone: a listing may
be stale about a tag that stays, so a removal looks at every tag through the distribution API as everywhere.

Touches the network through `registry/http`. A login is sent to another host only where that belongs to the registry by
its exact name (docker.io: hub.docker.com; ghcr.io: api.github.com), or where the user named that host
(`oci/api_address`), never to a host that an answer names.
"""
