"""Names, manifests, images and the graph of what refers to what, in the terms of the OCI specifications.

    names                  registries, repositories, tags, digests, references
    manifest, image        manifests and configs, parsed from their bytes (`go_json`: as the registry reads them)
    graph                  what refers to what in one repository; `settle` is the rule that keeps a child of an index
                           that stays, and every other part of what stays
    api_address            the address of a service's API that the user names
    listing                a repository as the API of the registry's service lists it
    placeholder            the manifest to which tags are moved for a moment

Values and pure functions: no I/O, no clock.
"""
