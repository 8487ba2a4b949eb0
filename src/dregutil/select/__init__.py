"""Selectors: which images are meant, by tag, version, glob, age, size or label.

    selector, version      `-t`, `-x`, `-re`: each sees one tag at a time; every_version: several that match all
    content_selector       age, size, labels, platforms, bases: each sees what is behind one digest
    selection              which digests follow from the selected tags, and what the other tags hold back
    digests                manifests that are named by digest
    named, glob            repositories as users name them
    query, search          the same selectors as keywords of the library
    find, absent, nearest  what a digest or name means, and what is near to it
    quantity, bounded_regex, content_hints   ages and sizes, regular expressions with a time limit, likely typos

A selector that needs the other tags of a repository ("the last 3") belongs in `selection`, or is a rule of a policy
(`retention/keep`). A new one also needs a keyword in `query`, an option in `cli/options`, and in policies a key in
`retention/policyfile`. Pure: no network, no clock; `find` reads the content database.
"""
