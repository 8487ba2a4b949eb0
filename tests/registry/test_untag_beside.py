"""A tag beside one that is removed by its name: another user may move or delete it in the same moment."""

from __future__ import annotations

from pathlib import Path

from images import Pusher
from program import Program
from servers.http import Answer, Proxy, Request
from servers.memory import MemoryServer


def test_a_tag_that_another_user_deletes_beside_an_untagged_one_is_not_put_back(tmp_path: Path) -> None:
    """The server has shown with the first tag that a tag goes alone: a later missing one was not taken along, and it is
    not put on an image that it may no longer name."""
    with MemoryServer() as server, Pusher(server.url) as pusher:
        server.switches.untags = True
        for number in range(3):
            pusher.push_image("shop/web", f"old-{number}", seed=str(number))
            pusher.push_image("shop/web", f"new-{number}", seed=str(number))
        deleted: list[str] = []

        def after(request: Request, answer: Answer) -> Answer:
            if request.method == "DELETE" and request.reference.startswith("old-") and not deleted:
                deleted.append("")  # the first shows that a tag goes alone
            elif request.method == "DELETE" and request.reference.startswith("old-"):
                beside = request.reference.replace("old", "new")
                if len(deleted) == 1:
                    deleted.append(beside)
                    assert pusher.request("DELETE", f"/v2/shop/web/manifests/{beside}")[0] == 202
            return answer

        with Proxy(server.port, after=after) as proxy:
            removed = Program(proxy.url, tmp_path).run("remove-tags", "-r", "shop/web", "-re", "old-", "--untag", "-y")
        gone = deleted[1]
        assert gone not in pusher.tags("shop/web"), removed.stderr
        assert "took its whole manifest" not in removed.stderr
        assert set(pusher.tags("shop/web")) == {f"new-{number}" for number in range(3)} - {gone}
