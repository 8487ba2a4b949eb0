"""Carrying out a plan, resuming it, and undoing it: the only room that writes to a registry.

For each effect: its intent is on the disk, then one request is sent, then a look says what it did, then its outcome is
recorded. A run that ends anywhere leaves enough to complete it (`resume`) or to take it back (`undo`).

    apply, run             a plan: its repositories, and what they share
    repository             the order of one repository's steps; `delete` and `sweep` act on their states (`steps`)
    intents                what is about to be done, made durable
    live_graph, looks      what the repository holds now; which tags came, moved, or went with what was deleted
    untag/                 removing tags and nothing else: by name, or by way of a placeholder
    last_look, repair      after the last DELETE: what a tag still needs comes back
    resume, clearing, cut_off   what an interrupted run left
    lost_answer            what became of a DELETE whose answer was lost
    undo/                  what a run removed comes back
    uploads, collector_run   whether the registry takes pushes; the command that runs its garbage collector
    put_back, placeholder  the two modules that put manifests: one puts what was there before, the other a placeholder

It writes to a registry through `registry.writer`, and to the disk through `journal`. All other rooms only read;
`doctor` sends one DELETE, of a digest that does not exist, to learn whether deletion is allowed; `collect` begins an
upload, and cancels it.
"""
