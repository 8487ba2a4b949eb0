"""What Kubernetes clusters and local engines run, and would run again, as lists of images in use.

    kubeconfig   the files of kubectl, or the service account of a pod → how a cluster is reached
    exec_plugin  runs the program of a kubeconfig that prints a credential
    client       calls an API server: GET requests, and what an answer other than 200 means
    discovery    the lists of an API server's kinds → the kinds that can name images
    objects      the objects of a cluster → the text of a list, in the form of `kubectl get -o json`
    engine       the containers of a local Docker or podman
    read         all of it: a section of a policy → its lists

`discovery` and `objects` are pure. Nothing is written to a cluster. Any doubt refuses the run: an answer that is not
200, a list that ends early. No message quotes a credential.
"""
