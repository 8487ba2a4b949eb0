"""A registry's own storage, read only: a folder, or `s3://…`, `gs://…`, `az://…`. Nothing is opened for writing.

`opened` begins here: `files` and `objects` read a folder and an object store, `reading` knows distribution's layout,
`stored` is the result, `garbage_collector` computes from it what distribution's collector marks. Touches the storage
only.
"""
